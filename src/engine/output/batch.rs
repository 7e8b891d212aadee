//! Records that go out together, and which parts of files they are.
//!
//! In: encoded records. Out: what a sink did not take yet; where what it took brings files.
//! Always holds: the parts of files follow each other and cover the batch.

use crate::checkpoint::EntryFlags;
use crate::checkpoint::record_parser::{self, Progress};
use crate::config::Format;
use crate::engine::namespace::registry::{FileSlot, Registry, SlotId, SlotKey, State};
use crate::engine::schedule::lag::Stamp;
use crate::sink::{Of, Origins, Records};

/// A batch is sent when it holds this much, or when the turn ends.
pub(super) const BATCH_BYTES: usize = 128 * 1024;

/// Parts of files that a batch has room for at first: what a turn reads.
const SPANS: usize = 256;

/// A batch that grew beyond this, for a long record or very short lines, is dropped instead of
/// reused. This is three doublings of [`Batch::new`]. One read of lines of 100 bytes takes half of
/// it as json.
pub(super) const KEPT_BYTES_MAX: usize = 10 * BATCH_BYTES;

/// The same of a batch behind which very many files moved on without a record.
pub(super) const KEPT_SPANS_MAX: usize = 8192;

/// Where a file is once the output has some of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) file: SlotKey,
    pub(crate) generation: u32,
    pub(crate) offset: u64,
    /// Of the bytes before the offset, as in the slot.
    pub(crate) mark: u32,
    pub(crate) mark_len: u8,
    pub(crate) flags: EntryFlags,
    /// When the file was read to its end, in nanoseconds since 1970; 0: there may be more.
    pub(crate) read_at: u64,
}

impl Reached {
    /// Where a file is now.
    pub(crate) fn of(files: &Registry, id: SlotId) -> Self {
        let slot = files.get(id);
        Reached {
            file: files.key(id),
            generation: slot.generation,
            offset: slot.offset,
            mark: slot.mark,
            mark_len: slot.mark_len,
            flags: entry_flags(slot),
            read_at: 0,
        }
    }
}

impl Reached {
    /// Where the first ones of the records that bring a file here bring it.
    pub(super) fn after(&self, progress: &Progress) -> Self {
        let (mark, mark_len) = progress.mark();
        let flags = progress.flags(self.flags);
        Reached { offset: progress.end, mark, mark_len, flags, read_at: 0, ..*self }
    }
}

/// The part of a slot's state that the journal stores.
pub(crate) fn entry_flags(slot: &FileSlot) -> EntryFlags {
    let (mut flags, state) = (EntryFlags::empty(), slot.state());
    flags.set(EntryFlags::ENDED, slot.is_end_told);
    flags.set(EntryFlags::SKIP_NULS, state.contains(State::SKIP_NULS));
    flags.set(EntryFlags::SEEK_LINE, state.contains(State::SEEK_LINE));
    flags
}

/// Which part of a file lies in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) reached: Reached,
    /// The file's offset before its first record.
    pub(super) first_offset: u64,
    /// No record of it is a piece of a line.
    pub(super) is_plain: bool,
    /// When the event about its first bytes was read.
    pub(super) since: Stamp,
    /// Where the part's records end in the batch.
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<Span>,
    /// What each record is of; empty unless the sink wants that.
    pub(super) of: Vec<Of>,
    pub(super) origins: Origins,
    /// How much of `bytes` the sink took.
    pub(super) sent: usize,
    /// How many of `of` it took.
    pub(super) records_sent: usize,
    /// How many of `spans` were acknowledged.
    pub(super) acked: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Batch {
            bytes: Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4),
            spans: Vec::with_capacity(SPANS),
            of: Vec::new(),
            origins: Origins::default(),
            sent: 0,
            records_sent: 0,
            acked: 0,
        }
    }
}

impl Batch {
    /// Notes where the records up to here bring a file that was at `first_offset` before.
    #[inline]
    pub(super) fn note(
        &mut self,
        reached: Reached,
        first_offset: u64,
        is_plain: bool,
        since: Stamp,
    ) {
        let end = self.bytes.len();
        let place = |reached: &Reached| (reached.file, reached.generation);
        match self.spans.last_mut() {
            Some(last)
                if place(&last.reached) == place(&reached)
                    && last.reached.flags == reached.flags
                    && last.reached.offset == first_offset =>
            {
                *last = Span {
                    reached,
                    first_offset: last.first_offset,
                    is_plain: last.is_plain && is_plain,
                    end,
                    ..*last
                };
            }
            _ => self.spans.push(Span { reached, first_offset, is_plain, since, end }),
        }
    }

    /// What the sink did not take yet.
    pub(super) fn rest(&self) -> Records<'_> {
        let bytes = &self.bytes[self.sent..];
        if self.of.is_empty() {
            return Records::plain(bytes);
        }
        Records::with_origins(bytes, &self.of[self.records_sent..], &self.origins)
    }

    /// Where the whole records that the sink took of a span bring its file, if it took some.
    pub(super) fn part_of(&self, span: usize, format: Format) -> Option<Reached> {
        let begin = span.checked_sub(1).map_or(0, |before| self.spans[before].end);
        let span = &self.spans[span];
        let records = self.bytes.get(begin..self.sent).filter(|records| !records.is_empty())?;
        let offset = self.of.get(self.records_sent).expect("a record follows").offset();
        // Only json tells of pieces of lines; then the bytes before the offset are not known.
        let progress = record_parser::progress(format, records, span.first_offset)
            .filter(|progress| progress.end == offset)
            .unwrap_or_default();
        Some(Reached { offset, ..span.reached.after(&progress) })
    }

    /// The sink took so many bytes in all.
    pub(super) fn set_sent(&mut self, sent: usize) {
        if !self.of.is_empty() {
            self.count_records(sent);
        }
        self.sent = sent;
    }

    /// Counts the records up to there.
    fn count_records(&mut self, sent: usize) {
        let (mut at, mut count) =
            if sent < self.sent { (0, 0) } else { (self.sent, self.records_sent) };
        while at < sent {
            at += self.of[count].len as usize;
            count += 1;
        }
        assert_eq!(at, sent, "a sink that wants origins takes whole records");
        self.records_sent = count;
    }

    /// Room for other records.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        if !self.of.is_empty() {
            self.of.clear();
            self.origins.clear();
            self.records_sent = 0;
        }
        self.sent = 0;
        self.acked = 0;
    }
}
