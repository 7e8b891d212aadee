//! Journals that earlier versions wrote are read: `tests/fixtures/journal.v1` was made once, by the
//! first version of this code, and is never made again. When this test fails, the code has changed
//! what stored offsets mean, and the fixture is right.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use manytail::testing::checkpoint::format::{HeaderError, generation_bucket, put};
use manytail::testing::checkpoint::journal::{Defect, decode};
use manytail::testing::checkpoint::state::StoredOffsets;
use manytail::testing::checkpoint::store::{Store, StoreError};
use manytail::testing::checkpoint::{Entry, EntryFlags, OutputPoint};
use manytail::testing::config::Format;
use manytail::testing::sys::FileId;
use manytail::testing::sys::disk::{Access, LinuxDisk};

const BYTES: usize = 1052;
const TORN_BYTES: u64 = 50;

fn fixture() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal.v1")).unwrap()
}

fn id(inode: u64, inode_generation: u32) -> FileId {
    FileId { device: 0xfd01, inode, inode_generation }
}

fn entry(id: FileId, generation: u32, offset: u64, mark: u32, mark_len: u8) -> Entry {
    Entry {
        id,
        generation,
        offset,
        mark,
        mark_len,
        flags: EntryFlags::empty(),
        complete_at: 0,
        absent_since: 0,
    }
}

fn expected() -> BTreeMap<FileId, (Entry, Vec<u8>)> {
    let gone = EntryFlags::GONE;
    let last = FileId { inode: u64::MAX, ..id(0, u32::MAX) };
    let all = [
        (entry(id(101, 1), 0, 2_000, 0x99aa_bbcc, 64), &b"/srv/grid/jobs/d1/job101.log"[..]),
        (
            Entry {
                flags: gone,
                complete_at: 5,
                absent_since: 1_790_000_001,
                ..entry(id(102, 1), 2, 40, 6, 40)
            },
            b"/srv/grid/jobs/d1/job102.log",
        ),
        (entry(id(103, 7), 0, 99, 0x5566_7799, 64), b"/srv/grid/jobs/d2/renamed.log"),
        (entry(id(104, 2), 6, 1, 8, 1), b"/srv/grid/jobs/d2/job104.log"),
        (entry(id(105, 1), 0, 10, 3, 10), b""),
        (
            Entry {
                flags: EntryFlags::SKIP_NULS | EntryFlags::SEEK_LINE | gone,
                complete_at: u64::MAX,
                absent_since: u64::MAX,
                ..entry(last, u32::MAX, u64::MAX, u32::MAX, 64)
            },
            b"x",
        ),
    ];
    all.into_iter().map(|(entry, path)| (entry.id, (entry, path.to_vec()))).collect()
}

#[track_caller]
fn check(state: &StoredOffsets) {
    let found: BTreeMap<_, _> =
        state.entries().map(|(entry, path)| (entry.id, (entry, path.to_vec()))).collect();
    assert_eq!(found, expected());
    let point = OutputPoint { id: id(900, 0x0a0b_0c0d), len: 9_999, format: Format::Json };
    assert_eq!(state.output(), Some(point));
    assert!(
        state.is_scanned(b"/srv/grid/jobs")
            && state.is_scanned(b"relative/path")
            && !state.is_scanned(b"/srv")
    );
    let floors: BTreeMap<u16, u32> = state.floors().collect();
    assert_eq!(floors, BTreeMap::from([(3, 9), (generation_bucket(id(104, 1)), 6), (16_383, 1)]));
    assert_eq!((state.generation_floor(id(104, 9)), state.generation_floor(id(102, 1))), (7, 3));
}

fn directory_with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.1");
    fs::write(&journal, bytes).unwrap();
    (directory, journal)
}

#[test]
fn a_journal_of_version_1_is_read_as_it_was_written() {
    let bytes = fixture();
    assert_eq!(bytes.len(), BYTES);
    let (state, extent) = decode(&bytes).unwrap();
    check(&state);
    assert_eq!(
        (extent.frames, extent.torn_bytes, extent.bytes),
        (5, TORN_BYTES, BYTES as u64 - TORN_BYTES)
    );
}

#[test]
fn a_journal_of_version_1_is_not_appended_to_and_the_next_one_replaces_it() {
    let (directory, journal) = directory_with(&fixture());
    let open = || Store::open(LinuxDisk::open(directory.path(), Access::Change).unwrap()).unwrap();
    let (mut store, state) = open();
    check(&state);
    assert_eq!(fs::read(&journal).unwrap(), fixture()[..BYTES - TORN_BYTES as usize]);
    assert!(!store.is_appendable());
    store.append(&[]).unwrap_err();
    let mut payload = Vec::new();
    state.items().for_each(|item| put(&item, &mut payload));
    store.begin(&payload).unwrap();
    store.complete(&[]).unwrap();
    assert!(store.is_appendable() && !journal.exists());
    store.append(&[]).unwrap();
    drop(store);
    check(&open().1);
}

#[test]
fn a_journal_of_version_3_is_refused_by_name_and_left_as_it_is() {
    let mut bytes = fixture();
    bytes[16] = 3;
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(decode(&bytes), Err(Defect::Header(HeaderError::Version(3)))));
    let (directory, journal) = directory_with(&bytes);
    let error =
        Store::open(LinuxDisk::open(directory.path(), Access::Change).unwrap()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Version { name, version: 3 } if name == "journal.1"),
        "{error}"
    );
    assert!(error.to_string().contains("journal.1") && error.to_string().contains("version 3"));
    assert_eq!(fs::read(&journal).unwrap(), bytes);
}
