//! What a start finds: whole journals, torn and damaged ones, and files that are not ours.

use super::*;
use crate::checkpoint::format::{Head, PAYLOAD_BYTES_MAX};

/// A journal.1 with a snapshot of two frames and five commits; where the snapshot and each commit
/// ends.
fn journal_of_five_commits() -> (Vec<u8>, Vec<usize>) {
    let mut user = User::new(&Memory::new());
    user.live(&[Begin, Complete]);
    let mut ends = Vec::new();
    for _ in 0..5 {
        ends.push(usize::try_from(user.store.bytes()).unwrap());
        user.take(Append);
    }
    ends.push(usize::try_from(user.store.bytes()).unwrap());
    (user.memory.bytes_of("journal.1"), ends)
}

fn with(bytes: &[u8]) -> Memory {
    let memory = Memory::new();
    memory.put("journal.1", Some(bytes));
    memory
}

#[test]
fn a_journal_cut_anywhere_after_its_snapshot_gives_the_commits_before_the_cut() {
    let (bytes, ends) = journal_of_five_commits();
    for cut in 0..bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let memory = with(&bytes[..cut]);
        if whole == 0 {
            assert!(Store::open(memory.clone()).is_err(), "cut at {cut}");
            assert_eq!(memory.bytes_of("journal.1").len(), cut, "what is refused is not changed");
            continue;
        }
        assert_eq!(User::new(&memory).tried, whole as u64 - 1, "cut at {cut}");
        assert_eq!(
            memory.bytes_of("journal.1"),
            bytes[..ends[whole - 1]],
            "the torn tail is cut off"
        );
        let found = look(&mut with(&bytes[..cut])).unwrap().unwrap();
        assert_eq!(found.extent.torn_bytes, (cut - ends[whole - 1]) as u64);
        assert_eq!(
            (found.extent.frames, found.extent.bytes),
            (whole as u64 + 1, ends[whole - 1] as u64)
        );
    }
}

#[test]
fn a_changed_bit_before_the_last_frame_is_refused_and_one_in_the_last_is_a_torn_tail() {
    let (bytes, ends) = journal_of_five_commits();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let frame = ends.iter().filter(|end| **end <= bit / 8).count();
        let memory = with(&changed);
        match Store::open(memory.clone()) {
            Ok((_, state)) => {
                assert_eq!(frame, 5, "bit {bit}");
                assert_eq!(said(&state), said(&state_after(4)));
            }
            Err(error) => {
                assert!(frame < 5, "bit {bit}: {error}");
                assert!(
                    error.to_string().contains("journal.1")
                        && error.to_string().contains("forget --all")
                );
                if frame > 0 {
                    assert!(
                        error.to_string().contains(&format!("at byte {} ", ends[frame - 1])),
                        "bit {bit}: {error}"
                    );
                }
                assert_eq!(memory.bytes_of("journal.1"), changed, "what is refused is not changed");
            }
        }
    }
}

#[test]
fn frames_left_out_or_of_another_file_are_not_taken_for_commits() {
    let (bytes, ends) = journal_of_five_commits();
    let without_third = [&bytes[..ends[1]], &bytes[ends[2]..]].concat();
    let end = ends[1] as u64;
    assert!(matches!(
        Store::open(with(&without_third)),
        Err(StoreError::Damaged { position, .. }) if position == end
    ));
    let twice = [&bytes[..], &bytes[..]].concat();
    assert_eq!(User::new(&with(&twice)).tried, 5);
    let mut other = User::new(&Memory::new());
    other.memory.get_mut().calls = 0;
    other.live(&[Begin, Begin, Complete, Append, Append, Append, Append, Append, Append]);
    let other = other.memory.bytes_of("journal.2");
    assert_eq!(
        User::new(&with(&[&bytes[..], &other[ends[5]..]].concat())).tried,
        5,
        "its salt is another"
    );
}

#[test]
fn a_snapshot_part_after_the_snapshot_and_an_unknown_item_are_damage() {
    let (bytes, ends) = journal_of_five_commits();
    let salt = format::parse_header(&bytes).unwrap().0;
    let with_frame = |kind, payload: &[u8]| {
        let head = Head::encode(salt, kind, 8, payload);
        with(&[&bytes[..], &head, payload].concat())
    };
    for (kind, payload) in
        [(Kind::Part, &[5][..]), (Kind::LastPart, &[]), (Kind::Commit, &[5, 200])]
    {
        let error = Store::open(with_frame(kind, payload)).unwrap_err();
        assert!(
            matches!(error, StoreError::Damaged { position, .. } if position == ends[5] as u64),
            "{error}"
        );
    }
    assert!(Store::open(with_frame(Kind::Commit, &[5])).is_ok());
    let first = with(&[&bytes[..HEADER_BYTES], &Head::encode(salt, Kind::Commit, 1, &[])].concat());
    assert!(matches!(Store::open(first), Err(StoreError::Damaged { position: 32, .. })));
}

#[test]
fn what_is_no_journal_of_this_version_is_refused_by_name_and_left_as_it_is() {
    let mut newer = format::header(1);
    newer[16] = 3;
    let crc = crc32c::crc32c(&newer[..28]);
    newer[28..].copy_from_slice(&crc.to_le_bytes());
    for (bytes, what) in [
        (Some(&b""[..]), "not a journal"),
        (Some(&[0; 4096]), "not a journal"),
        (Some(b"SQLite format 3\0"), "not a journal"),
        (Some(&format::header(1)[..20]), "damaged"),
        (Some(&format::header(1)), "incomplete snapshot at byte 32"),
        (Some(&newer), "version 3"),
        (None, "should be a regular file"),
    ] {
        let memory = Memory::new();
        memory.put("journal.7", bytes);
        memory.put("journal.3", Some(&journal_of_five_commits().0));
        let error = Store::open(memory.clone()).unwrap_err().to_string();
        assert!(
            error.contains("journal.7")
                && error.contains(what)
                && error.contains("`manytail offsets forget --all`"),
            "{error}"
        );
        assert_eq!(memory.names(), ["journal.3", "journal.7"]);
    }
}

#[test]
fn leftovers_are_removed_and_what_is_not_ours_stays() {
    let (bytes, _) = journal_of_five_commits();
    let memory = Memory::new();
    for name in [
        "lock",
        "journal",
        "journal.01",
        "journal.+1",
        "journal.x",
        "journal.9.damaged",
        "journal.4.new.bak",
    ] {
        memory.put(name, Some(b"not ours"));
    }
    let mut others = memory.names();
    for name in ["journal.3", "journal.5", "journal.12.new", "journal.2.new"] {
        memory.put(name, Some(&bytes));
    }
    memory.put("journal.1", None);
    let mut user = User::new(&memory);
    others.push("journal.5".into());
    others.sort();
    assert_eq!(memory.names(), others);
    user.live(&[Begin, Complete]);
    assert!(
        memory.names().contains(&"journal.13".to_owned()),
        "a number that was used before is not used again"
    );
}

#[test]
fn a_journal_moved_aside_keeps_its_bytes_and_takes_no_name_that_is_there() {
    let (bytes, _) = journal_of_five_commits();
    let mut memory = Memory::new();
    memory.put("journal.3", Some(b"damaged"));
    memory.put("journal.3.damaged", Some(b"before"));
    memory.put("journal.2", Some(&bytes));
    assert_eq!(set_aside(&mut memory).unwrap(), ["journal.2.damaged", "journal.3.damaged.2"]);
    assert_eq!(memory.bytes_of("journal.3.damaged.2"), b"damaged");
    assert_eq!(memory.bytes_of("journal.3.damaged"), b"before");
    let mut user = User::new(&memory);
    assert_eq!(user.tried, 0);
    user.live(&[Begin, Complete]);
    assert!(memory.names().contains(&"journal.4".to_owned()));
}

#[test]
fn the_search_of_a_tail_ends_though_it_is_full_of_frames_that_are_none() {
    let (bytes, _) = journal_of_five_commits();
    let salt = format::parse_header(&bytes).unwrap().0;
    let mut fake = Head::encode(salt ^ 1, Kind::Commit, 1 << 40, &[]);
    fake[5..9].copy_from_slice(&(PAYLOAD_BYTES_MAX as u32).to_le_bytes());
    let tail: Vec<u8> = fake.iter().copied().cycle().take(8 << 20).collect();
    let error = Store::open(with(&[&bytes[..], &tail].concat())).unwrap_err().to_string();
    assert!(error.contains("no crash leaves"), "{error}");
    let torn: Vec<u8> = Head::encode(salt, Kind::Commit, 8, &vec![1; 40 << 20])
        .iter()
        .copied()
        .chain(vec![1; 30 << 20])
        .collect();
    assert_eq!(
        User::new(&with(&[&bytes[..], &torn].concat())).tried,
        5,
        "a large commit may be torn"
    );
}
