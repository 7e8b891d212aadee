//! Flips every bit of a small journal, and cuts it to every length: it gives its state, or the
//! state of one commit earlier, or it is refused. It never gives another state, and never panics.
//! `tests/decoders.rs` changes larger ones at random; `end_to_end/state_directory.rs` does some of
//! this with the real binary.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use manytail::testing::checkpoint::format::{HEAD_BYTES, HEADER_BYTES, Item, put};
use manytail::testing::checkpoint::journal::{Defect, decode};
use manytail::testing::checkpoint::state::StoredOffsets;
use manytail::testing::checkpoint::store::{Store, StoreError};
use manytail::testing::checkpoint::{Entry, EntryFlags, OutputPoint};
use manytail::testing::config::Format;
use manytail::testing::sys::FileId;
use manytail::testing::sys::disk::{Access, LinuxDisk};

fn id(inode: u64) -> FileId {
    FileId { device: 0xfd01, inode, inode_generation: 3 }
}

fn entry(inode: u64, offset: u64) -> Entry {
    let flags = EntryFlags::empty();
    Entry {
        id: id(inode),
        generation: 1,
        offset,
        mark: 0x1234_5678,
        mark_len: 64,
        flags,
        complete_at: 9,
        absent_since: 0,
    }
}

fn payload(items: &[Item<'_>]) -> Vec<u8> {
    let mut payload = Vec::new();
    items.iter().for_each(|item| put(item, &mut payload));
    payload
}

fn point(len: u64) -> Item<'static> {
    Item::Output(Some(OutputPoint { id: id(900), len, format: Format::Json }))
}

/// A journal as the store itself wrote it: a snapshot in two parts, and three commits.
struct Sample {
    bytes: Vec<u8>,
    /// Where each frame is.
    frames: Vec<Range<usize>>,
    /// The number of frames of the snapshot: a journal with fewer is invalid.
    snapshot: usize,
    /// The state after each number of frames.
    said: Vec<Vec<u8>>,
}

fn said(state: &StoredOffsets) -> Vec<u8> {
    let mut said = Vec::new();
    state.items().for_each(|item| put(&item, &mut said));
    said
}

/// On a file system in memory syncs take no time.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
        .expect("a directory")
}

fn journal_of(directory: &Path) -> PathBuf {
    directory.join("journal.1")
}

fn open(directory: &Path) -> Result<(Store<LinuxDisk>, StoredOffsets), StoreError> {
    Store::open(LinuxDisk::open(directory, Access::Change).expect("the directory"))
}

fn sample() -> Sample {
    let payloads = [
        payload(&[Item::Entry(entry(1, 100), Some(b"/srv/jobs/1.log")), Item::Floor(7, 2)]),
        payload(&[
            Item::Entry(entry(2, 50), Some(b"/srv/jobs/2.log")),
            Item::Scanned(b"/srv/jobs"),
            Item::Settled(3),
            Item::Sequence(4),
            Item::Identity(b"manytail-a-1"),
            point(10),
        ]),
        payload(&[Item::Entry(entry(1, 140), None), point(20)]),
        payload(&[Item::Forget(id(2), 1), point(30)]),
        payload(&[Item::Entry(entry(3, 7), Some(b"/srv/jobs/3.log")), point(40)]),
    ];
    let directory = directory();
    let (mut store, _) = open(directory.path()).expect("an empty directory");
    store.begin(&payloads[0]).expect("begin");
    store.complete(&payloads[1]).expect("complete");
    payloads[2..].iter().for_each(|payload| store.append(payload).expect("append"));
    drop(store);
    let bytes = fs::read(journal_of(directory.path())).expect("the journal");
    let mut at = HEADER_BYTES;
    let frames: Vec<Range<usize>> = payloads
        .iter()
        .map(|payload| {
            let frame = at..at + HEAD_BYTES + payload.len();
            at = frame.end;
            frame
        })
        .collect();
    assert_eq!(at, bytes.len(), "the frames of this test are those of the journal");
    let said = (0..=frames.len()).map(|count| {
        let items = payloads[..count]
            .iter()
            .flat_map(|payload| manytail::testing::checkpoint::format::items(payload));
        let mut state = StoredOffsets::default();
        items.for_each(|item| state.apply(&item.expect("an item")));
        said(&state)
    });
    Sample { said: said.collect(), bytes, frames, snapshot: 2 }
}

/// The correct result for a journal whose first `good` frames are intact, and no later one is.
enum Right {
    Refused,
    /// The state after that many frames.
    Frames(usize),
}

impl Sample {
    /// One bit is changed. Only the last commit can be one that a crash left incomplete.
    fn with_a_bit_flipped(&self, byte: usize) -> Right {
        let last = self.frames.len() - 1;
        if self.frames[last].contains(&byte) { Right::Frames(last) } else { Right::Refused }
    }

    /// The journal is cut to a length.
    fn cut_to(&self, len: usize) -> Right {
        let whole = self.frames.iter().filter(|frame| frame.end <= len).count();
        if whole < self.snapshot { Right::Refused } else { Right::Frames(whole) }
    }

    #[track_caller]
    fn check(&self, what: &str, bytes: &[u8], right: &Right) {
        match (decode(bytes), right) {
            (Ok((state, extent)), Right::Frames(frames)) => {
                assert_eq!(extent.frames, *frames as u64, "{what}");
                assert_eq!(said(&state), self.said[*frames], "{what}: another state");
                assert_eq!(extent.bytes + extent.torn_bytes, bytes.len() as u64, "{what}");
            }
            (Err(Defect::Header(_) | Defect::Damaged { .. }), Right::Refused) => {}
            (Ok((_, extent)), Right::Refused) => {
                panic!("{what}: {} frames are believed", extent.frames)
            }
            (Err(defect), _) => panic!("{what}: {defect}"),
        }
    }

    /// The same with the store on a disk: a refused journal stays as it is, an accepted one is cut
    /// to its good part and continued.
    #[track_caller]
    fn check_store(&self, what: &str, bytes: &[u8], right: &Right, directory: &Path) {
        let journal = journal_of(directory);
        fs::write(&journal, bytes).expect("write");
        match (open(directory), right) {
            (Ok((mut store, state)), Right::Frames(frames)) => {
                assert_eq!(said(&state), self.said[*frames], "{what}: another state");
                let good = &self.bytes[..self.frames[frames - 1].end];
                assert_eq!(
                    fs::read(&journal).expect("read"),
                    good,
                    "{what}: the torn end is cut off"
                );
                store
                    .append(&payload(&[point(99)]))
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                drop(store);
                let (_, state) = open(directory).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(
                    state.output().map(|point| point.len),
                    Some(99),
                    "{what}: what was committed behind it is found"
                );
            }
            (Err(error), Right::Refused) => {
                let told = error.to_string();
                assert!(
                    told.contains("journal.1") && told.contains("manytail offsets"),
                    "{what}: {told}"
                );
                assert_eq!(fs::read(&journal).expect("read"), bytes, "{what}: it was written over");
            }
            (Ok(_), Right::Refused) => panic!("{what}: it is believed"),
            (Err(error), Right::Frames(_)) => panic!("{what}: {error}"),
        }
        for entry in fs::read_dir(directory).expect("ls").flatten() {
            if entry.file_name() != "lock" {
                fs::remove_file(entry.path()).expect("rm");
            }
        }
    }
}

#[test]
fn the_sample_is_read_as_it_was_written() {
    let sample = sample();
    sample.check("whole", &sample.bytes, &Right::Frames(sample.frames.len()));
    assert!(
        (400..900).contains(&sample.bytes.len()),
        "{} bytes: small enough for every bit",
        sample.bytes.len()
    );
    let mut distinct = sample.said.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(
        distinct.len(),
        sample.said.len(),
        "no two numbers of frames say the same, or a wrong one could pass"
    );
}

#[test]
fn a_journal_with_any_one_bit_flipped_is_refused_or_lacks_its_last_commit() {
    let sample = sample();
    let (mut refused, mut prefixes) = (0, 0);
    for byte in 0..sample.bytes.len() {
        let right = sample.with_a_bit_flipped(byte);
        for bit in 0..8 {
            let mut bytes = sample.bytes.clone();
            bytes[byte] ^= 1 << bit;
            sample.check(&format!("bit {bit} of byte {byte} flipped"), &bytes, &right);
        }
        *if matches!(right, Right::Refused) { &mut refused } else { &mut prefixes } += 8;
    }
    assert!(refused > 1_000 && prefixes > 500, "both happen: {refused}, {prefixes}");
}

#[test]
fn a_journal_cut_at_any_length_says_what_its_whole_commits_say_or_is_refused() {
    let sample = sample();
    for len in 0..=sample.bytes.len() {
        sample.check(&format!("cut to {len} bytes"), &sample.bytes[..len], &sample.cut_to(len));
    }
}

/// A crash may leave a file that is longer than what was written to it.
#[test]
fn a_journal_cut_at_any_length_and_filled_with_zeros_is_read_as_if_it_ended_there() {
    let sample = sample();
    for len in 0..=sample.bytes.len() {
        let mut bytes = sample.bytes[..len].to_vec();
        bytes.resize(len + 4_096, 0);
        // The bytes cut off may have been zeros.
        let same = sample.bytes[len..].iter().take_while(|byte| **byte == 0).count();
        sample.check(
            &format!("cut to {len} bytes, then zeros"),
            &bytes,
            &sample.cut_to(len + same),
        );
    }
}

#[test]
fn the_store_cuts_or_refuses_a_journal_with_a_damaged_byte_and_goes_on() {
    let sample = sample();
    let directory = directory();
    for byte in 0..sample.bytes.len() {
        let mut bytes = sample.bytes.clone();
        bytes[byte] ^= 1 << (byte % 8);
        let right = sample.with_a_bit_flipped(byte);
        sample.check_store(
            &format!("bit {} of byte {byte} flipped", byte % 8),
            &bytes,
            &right,
            directory.path(),
        );
    }
}

#[test]
fn the_store_cuts_or_refuses_a_journal_of_any_length_and_goes_on() {
    let sample = sample();
    let directory = directory();
    for len in 0..=sample.bytes.len() {
        sample.check_store(
            &format!("cut to {len} bytes"),
            &sample.bytes[..len],
            &sample.cut_to(len),
            directory.path(),
        );
    }
}
