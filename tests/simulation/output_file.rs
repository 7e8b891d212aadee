//! A regular file as the output (`file:PATH`): with a page cache, a disk, and log rotation.
//!
//! In: the bytes that the engine sends. Out: records, passed to the model as soon as they are
//! whole; after a crash, the remaining ones.
//! Always holds: as `src/sink/file.rs` guarantees, a write takes whole records while the process
//! lives; only a kill tears one. The file's name is durable at once: the process that makes or
//! rotates it is responsible for that.

use std::time::Duration;

use manytail::testing::checkpoint::stamp::Stamp;
use manytail::testing::sink::Sent;
use manytail::testing::sys::FileId;

use crate::cached_file::CachedFile;
use crate::kernel::DEVICE;
use crate::random::Random;

/// The first inode number of output files: no file in the tree has such a number.
const NUMBER_FIRST: u64 = 1 << 40;

/// How often each fault comes: once in this many calls, 0 = never.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileRates {
    /// One in this many writes finds no room, for a while.
    pub(crate) no_space: u32,
    pub(crate) no_space_for: Duration,
    pub(crate) failed_sync: u32,
    /// Once in this many turns, the file is renamed and the engine is asked to reopen it.
    pub(crate) rotated: u32,
    /// The file exists before the first start, with lines of another program.
    pub(crate) is_old: bool,
}

#[derive(Debug)]
struct Segment {
    file: CachedFile,
    id: FileId,
    /// Bytes at the front that are not ours.
    foreign: usize,
    /// Up to here the model has received the records.
    parsed: usize,
    /// The number of records in the earlier segments.
    records_before: u64,
    /// Records that the journal will not have when it learns of the file: they were written
    /// earlier.
    unknown: u64,
    /// The last commit with which the file was stamped.
    stamp: Option<Stamp>,
}

impl Segment {
    fn records_upto(&self, len: usize) -> u64 {
        let ours = &self.file.bytes()[self.foreign..len.max(self.foreign)];
        self.records_before + memchr::memchr_iter(b'\n', ours).count() as u64
    }

    fn whole_len(&self) -> usize {
        memchr::memrchr(b'\n', self.file.bytes()).map_or(0, |newline| newline + 1)
    }
}

/// What a commit stored about the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: usize,
    pub(crate) len: usize,
}

/// The open file as it was when the engine ended, up to the end of its last whole record.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) segment: usize,
    pub(crate) bytes: Vec<u8>,
    /// The page cache survived.
    pub(crate) is_whole: bool,
}

#[derive(Debug)]
pub(crate) struct OutputFile {
    random: Random,
    rates: FileRates,
    active: bool,
    segments: Vec<Segment>,
    /// The segment that has the output's name.
    named: Option<usize>,
    /// The segment that the engine has open: always the last.
    open: usize,
    blocked_until: Option<Duration>,
    /// A sync failed in this life: the content of the disk is unknown.
    pub(crate) is_doubtful: bool,
    pub(crate) syncs_failed: u64,
    pub(crate) rotations: u64,
}

const FOREIGN: &[u8] = b"somebody else wrote this\n";

impl OutputFile {
    pub(crate) fn new(random: Random, rates: FileRates) -> Self {
        let mut output = OutputFile {
            random,
            active: true,
            segments: Vec::new(),
            named: None,
            open: 0,
            blocked_until: None,
            is_doubtful: false,
            syncs_failed: 0,
            rotations: 0,
            rates,
        };
        if output.rates.is_old {
            output.create(0);
            let segment = &mut output.segments[0];
            segment.file.append(FOREIGN);
            segment.file.sync();
            (segment.foreign, segment.parsed) = (FOREIGN.len(), FOREIGN.len());
        }
        output
    }

    fn create(&mut self, records_before: u64) {
        let id = FileId {
            device: DEVICE,
            inode: NUMBER_FIRST + self.segments.len() as u64,
            inode_generation: self.segments.len() as u32 + 1,
        };
        self.segments.push(Segment {
            file: CachedFile::default(),
            id,
            foreign: 0,
            parsed: 0,
            records_before,
            unknown: records_before,
            stamp: None,
        });
        self.named = Some(self.segments.len() - 1);
    }

    /// Opens the file by its name, or makes it.
    pub(crate) fn open(&mut self, records: u64) {
        if self.named.is_none() {
            self.create(records);
        }
        self.open = self.named.expect("it is there");
        self.blocked_until = None;
    }

    /// `rename(2)` by log rotation.
    pub(crate) fn rename_aside(&mut self) {
        self.named = None;
        self.rotations += 1;
    }

    pub(crate) fn rotates(&mut self) -> bool {
        self.active && self.named.is_some() && self.random.one_in(self.rates.rotated)
    }

    pub(crate) fn behave(&mut self) {
        self.active = false;
    }

    pub(crate) fn block_until(&mut self, until: Duration) {
        self.blocked_until = Some(until);
    }

    pub(crate) fn id(&self) -> FileId {
        self.segments[self.open].id
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.segments[self.open].file.bytes()
    }

    /// Where the output is, or was when it had this length.
    pub(crate) fn place(&self, len: Option<usize>) -> Place {
        Place { segment: self.open, len: len.unwrap_or(self.bytes().len()) }
    }

    /// The number of records in all files up to there.
    pub(crate) fn records_upto(&self, len: Option<usize>) -> u64 {
        self.segments[self.open].records_upto(len.unwrap_or(self.bytes().len()))
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        self.segments[self.open].file.read_at(buffer, offset)
    }

    pub(crate) fn cut(&mut self, len: u64) {
        let segment = &mut self.segments[self.open];
        segment.file.cut(usize::try_from(len).expect("files here are small"));
    }

    /// Takes whole records, or nothing; a kill in the middle of the write (`is_last`) may tear one.
    pub(crate) fn send(
        &mut self,
        bytes: &[u8],
        time: Duration,
        is_last: bool,
    ) -> Result<Sent, String> {
        // As in the engine's own sink, a deadline that has passed does not return; a life may
        // inherit one without anything to send.
        self.blocked_until = self.blocked_until.filter(|&until| time < until);
        if bytes.is_empty() {
            return Ok(Sent::Accepted(0));
        }
        if bytes.last() != Some(&b'\n') {
            return Err("an offer that does not end with a whole record".to_owned());
        }
        if self.blocked_until.is_some() {
            return Ok(Sent::Blocked);
        }
        let mut taken = bytes.len();
        if is_last {
            taken = self.random.between(0, bytes.len());
        } else if self.active && self.random.one_in(self.rates.no_space) {
            self.blocked_until = Some(time + self.rates.no_space_for);
            let room = self.random.between(0, bytes.len());
            taken = memchr::memrchr(b'\n', &bytes[..room]).map_or(0, |newline| newline + 1);
        }
        self.segments[self.open].file.append(&bytes[..taken]);
        Ok(if taken == 0 { Sent::Blocked } else { Sent::Accepted(taken) })
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.blocked_until
    }

    /// Records that the journal does not have although it knows the open file.
    pub(crate) fn records_unknown(&self) -> u64 {
        self.segments[self.open].unknown
    }

    /// The journal does not know the open file, which has this many records by now.
    pub(crate) fn is_unknown(&mut self, records: u64) {
        self.segments[self.open].unknown = records;
    }

    /// `pwrite(2)` of what is there already.
    pub(crate) fn overwrite(&mut self, bytes: &[u8], offset: u64) {
        self.segments[self.open].file.overwrite(bytes, offset);
    }

    /// Removes the last bytes. Returns how many records are left.
    pub(crate) fn withdraw(&mut self, bytes: u64) -> u64 {
        let segment = &mut self.segments[self.open];
        let len =
            segment.file.bytes().len() - usize::try_from(bytes).expect("files here are small");
        segment.file.cut(len);
        segment.parsed = len;
        segment.records_upto(len)
    }

    /// `fdatasync(2)` of the file that the engine has open. A failed one leaves the bytes dirty.
    pub(crate) fn sync(&mut self) -> bool {
        if self.active && self.random.one_in(self.rates.failed_sync) {
            self.is_doubtful = true;
            self.syncs_failed += 1;
            return false;
        }
        self.segments[self.open].file.sync();
        true
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.segments[self.open].stamp
    }

    /// Sets an attribute of the file. After a loss of power it may be older; here it never is.
    pub(crate) fn set_stamp(&mut self, stamp: Option<Stamp>) {
        self.segments[self.open].stamp = stamp;
    }

    /// SIGHUP. Returns whether the content of the old file is durable, as it has to be.
    pub(crate) fn reopen(&mut self, records: u64) -> bool {
        let old = &mut self.segments[self.open];
        let is_durable = old.file.is_durable();
        // If the sync failed, the kernel writes it back by itself here.
        old.file.sync();
        self.is_doubtful = false;
        self.open(records);
        is_durable
    }

    /// The next whole record that the model has not seen, without its newline.
    pub(crate) fn next_record(&mut self) -> Option<Vec<u8>> {
        let segment = &mut self.segments[self.open];
        let rest = &segment.file.bytes()[segment.parsed..];
        let newline = memchr::memchr(b'\n', rest)?;
        let record = rest[..newline].to_vec();
        segment.parsed += newline + 1;
        Some(record)
    }

    /// Whether the file ends with a whole record.
    pub(crate) fn is_settled(&self) -> bool {
        let segment = &self.segments[self.open];
        segment.parsed == segment.file.bytes().len()
    }

    // ---- crashes ----

    /// Keeps only the disk's content, and some of the pending changes. Returns an error if it
    /// should have had more.
    pub(crate) fn power_crash(&mut self) -> Result<(), String> {
        for (index, segment) in self.segments.iter_mut().enumerate() {
            if index != self.open && !segment.file.is_durable() {
                return Err(format!("output file {index} was left behind before it was durable"));
            }
            segment.file.power_crash(&mut self.random);
        }
        Ok(())
    }

    /// The open file, if one was opened.
    pub(crate) fn before(&self) -> Option<Before> {
        let segment = self.segments.get(self.open)?;
        let bytes = segment.file.bytes()[..segment.whole_len()].to_vec();
        Some(Before { segment: self.open, bytes, is_whole: true })
    }

    /// What is left of `before` in the file that was open, and the records in all files. `None`:
    /// the content is different.
    pub(crate) fn compare(&mut self, segment: usize, before: &[u8]) -> Option<u64> {
        let segment = &mut self.segments[segment];
        let is_part = before.starts_with(segment.file.bytes())
            && segment.whole_len() == segment.file.bytes().len();
        segment.parsed = segment.file.bytes().len();
        is_part.then(|| segment.records_upto(segment.parsed))
    }

    /// A file that is not written to any more, because it was renamed between two lives: a torn
    /// record stays.
    pub(crate) fn leave_behind(&mut self, segment: usize, before: &[u8]) -> u64 {
        let segment = &mut self.segments[segment];
        let same = segment
            .file
            .bytes()
            .iter()
            .zip(before)
            .take_while(|(left, right)| left == right)
            .count();
        let whole = memchr::memrchr(b'\n', &before[..same]).map_or(0, |newline| newline + 1);
        segment.parsed = whole;
        segment.file.sync();
        segment.records_upto(whole)
    }

    /// The owner of the file cuts off a torn record.
    pub(crate) fn mend(&mut self, segment: usize, before: &[u8]) -> u64 {
        let kept = self.leave_behind(segment, before);
        let segment = &mut self.segments[segment];
        segment.file.cut(segment.parsed);
        segment.file.sync();
        kept
    }

    pub(crate) fn is_open(&self, segment: usize) -> bool {
        self.open == segment
    }

    pub(crate) fn is_named(&self, segment: usize) -> bool {
        self.named == Some(segment)
    }
}
