//! Tests of the store: what a crash after any call leaves, with any one call failing before.

mod memory;

use std::collections::BTreeSet;

use self::memory::{Fault, Memory, UNSYNCED, Unsynced};
use super::*;
use crate::checkpoint::format::{Item, items, put};
use crate::checkpoint::{Entry, EntryFlags, OutputPoint};
use crate::config::Format;
use crate::sys::FileId;

fn id(inode: u64) -> FileId {
    FileId { device: 0xfd01, inode, inode_generation: 1 }
}

/// The payload of commit `number`: one of five files goes on, or is forgotten, and the output says
/// which commit it is.
fn commit(number: u64) -> Vec<u8> {
    let flags = EntryFlags::empty();
    let file = id(number % 5);
    let entry = Entry {
        id: file,
        generation: 0,
        offset: number,
        mark: 1,
        mark_len: 2,
        flags,
        complete_at: 3,
        absent_since: 0,
    };
    let path = format!("job{number}.log").into_bytes();
    let point = OutputPoint { id: id(99), len: number, format: Format::Json };
    let first = if number.is_multiple_of(7) {
        Item::Forget(file, 1)
    } else {
        Item::Entry(entry, Some(&path))
    };
    payload([first, Item::Output(Some(point))])
}

fn payload<'a>(items: impl IntoIterator<Item = Item<'a>>) -> Vec<u8> {
    let mut payload = Vec::new();
    items.into_iter().for_each(|item| put(&item, &mut payload));
    payload
}

/// What the first `number` commits add up to.
fn state_after(number: u64) -> StoredOffsets {
    let mut state = StoredOffsets::default();
    for number in 1..=number {
        items(&commit(number)).for_each(|item| state.apply(&item.unwrap()));
    }
    state
}

fn said(state: &StoredOffsets) -> BTreeSet<String> {
    state.items().map(|item| format!("{item:?}")).collect()
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Append,
    Begin,
    Extend,
    Complete,
}

use Step::{Append, Begin, Complete, Extend};

const HISTORY: [Step; 17] = [
    Begin, Extend, Complete, Append, Append, Begin, Append, Extend, Append, Complete, Append,
    Append, Begin, Begin, Complete, Append, Append,
];

/// A user of a store, who knows what was tried and what was reported durable.
struct User {
    memory: Memory,
    store: Store<Memory>,
    tried: u64,
    durable: u64,
}

impl User {
    #[track_caller]
    fn new(memory: &Memory) -> User {
        let (store, state) = Store::open(memory.clone()).expect("what is there is good");
        let number = state.output().map_or(0, |point| point.len);
        assert_eq!(said(&state), said(&state_after(number)), "commits are found whole");
        // What was loaded from a store that is not appendable may be lost once more.
        let durable = if store.is_appendable() { number } else { 0 };
        User { memory: memory.clone(), store, tried: number, durable }
    }

    fn take(&mut self, step: Step) {
        let all = payload(state_after(self.tried).items());
        let outcome = match step {
            Begin => self.store.begin(&all),
            Extend => self.store.extend(&payload([Item::Scanned(b"/srv")])[..0]),
            Complete => self.store.complete(&all),
            Append => {
                self.tried += 1;
                self.store.append(&commit(self.tried))
            }
        };
        if outcome.is_ok() && matches!(step, Append | Complete) {
            self.durable = self.tried;
        }
    }

    fn live(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.take(*step));
    }

    /// Whatever happened: one new journal, and all is well again.
    #[track_caller]
    fn recover(&mut self) {
        if !self.store.is_appendable() {
            self.live(&[Begin, Complete]);
        }
        self.take(Append);
        assert_eq!(self.durable, self.tried, "a new journal mends everything");
    }

    /// After each crash that is possible now, what was durable is found.
    #[track_caller]
    fn crashes(&self, fates: &[Unsynced]) -> Vec<(Memory, User)> {
        let open = |crashed: Memory| {
            let next = User::new(&crashed);
            assert!(
                (self.durable..=self.tried).contains(&next.tried),
                "{} of {}..={}",
                next.tried,
                self.durable,
                self.tried
            );
            (crashed, next)
        };
        self.memory.crashes(fates).into_iter().map(open).collect()
    }

    /// And the store goes on.
    #[track_caller]
    fn check_crashes(&self, fates: &[Unsynced]) {
        for (crashed, mut next) in self.crashes(fates) {
            next.recover();
            for again in crashed.crashes(&[Unsynced::Lost]) {
                assert_eq!(
                    User::new(&again).tried,
                    next.tried,
                    "and what was added is found after one more crash"
                );
            }
        }
    }
}

/// The calls of opening an empty directory. Nothing is there that they could harm.
const OPENING: usize = 2;

fn run(faults: &[(usize, Fault)], write_max: usize) -> User {
    let memory = Memory::new();
    let mut user = User::new(&memory);
    assert_eq!(memory.get().calls, OPENING);
    memory.get_mut().faults = faults.to_vec();
    memory.get_mut().write_max = write_max;
    user.live(&HISTORY);
    memory.get_mut().faults.clear();
    user
}

#[test]
fn after_a_crash_between_any_two_calls_the_last_durable_commit_is_found() {
    let whole = run(&[], 40);
    assert_eq!((whole.durable, whole.tried), (8, 8));
    let calls = whole.memory.get().changing_calls.clone();
    assert!(calls.len() > 60, "writes are short");
    for call in calls {
        run(&[(call, Fault::PowerOff)], 40).check_crashes(&UNSYNCED);
    }
    whole.check_crashes(&UNSYNCED);
}

#[test]
fn after_any_failure_and_a_crash_later_the_last_durable_commit_is_found() {
    let calls = run(&[], usize::MAX).memory.get().calls;
    for at in OPENING + 1..=calls {
        for fault in [Fault::Fails, Fault::FailsHalfDone] {
            let user = run(&[(at, fault)], usize::MAX);
            user.check_crashes(&UNSYNCED);
            let later: Vec<usize> = user
                .memory
                .get()
                .changing_calls
                .iter()
                .copied()
                .filter(|call| *call > at)
                .collect();
            for crash in later {
                run(&[(at, fault), (crash, Fault::PowerOff)], usize::MAX)
                    .crashes(&[Unsynced::Lost, Unsynced::Kept]);
            }
        }
    }
}

#[test]
fn after_any_failure_one_new_journal_makes_the_store_usable_again() {
    let calls = run(&[], usize::MAX).memory.get().calls;
    for at in OPENING + 1..=calls {
        for fault in [Fault::Fails, Fault::FailsHalfDone] {
            let mut user = run(&[(at, fault)], usize::MAX);
            user.recover();
            user.check_crashes(&[Unsynced::Lost, Unsynced::Hole]);
        }
    }
}

#[test]
fn after_any_failure_a_process_that_starts_without_a_crash_relies_on_nothing_that_is_only_cached() {
    let calls = run(&[], usize::MAX).memory.get().calls;
    for at in OPENING + 1..=calls {
        for steps in 1..HISTORY.len() {
            let memory = Memory::new();
            let mut first = User::new(&memory);
            memory.get_mut().faults = vec![(at, Fault::Fails)];
            first.live(&HISTORY[..steps]);
            let mut second = User::new(&memory.copied());
            assert!((first.durable..=first.tried).contains(&second.tried));
            second.check_crashes(&[Unsynced::Lost, Unsynced::Nul]);
            second.recover();
            second.check_crashes(&[Unsynced::Lost, Unsynced::Nul]);
        }
    }
}

#[test]
fn a_new_journal_that_is_not_as_written_never_becomes_the_current_one() {
    let mut user = User::new(&Memory::new());
    user.live(&[Begin, Complete, Append]);
    let from = user.memory.get().calls;
    user.live(&[Begin, Complete]);
    let to = user.memory.get().calls;
    for at in from + 1..=to {
        let memory = Memory::new();
        memory.get_mut().faults = vec![(at, Fault::Lies)];
        let mut user = User::new(&memory);
        user.live(&[Begin, Complete, Append, Begin]);
        let all = payload(state_after(user.tried).items());
        let is_complete = user.store.complete(&all).is_ok();
        assert!(!is_complete || memory.names() == ["journal.2"], "call {at}");
        assert_eq!(User::new(&memory.copied()).tried, 1, "call {at}");
        user.check_crashes(&UNSYNCED);
    }
}

#[test]
fn a_journal_that_failed_takes_no_commit_until_a_new_one_is_complete() {
    let memory = Memory::new();
    let mut user = User::new(&memory);
    assert!(
        user.store.append(&commit(1)).unwrap_err().to_string().contains("append"),
        "there is none"
    );
    user.live(&[Begin, Complete]);
    let bytes = user.store.bytes();
    let sync = memory.get().calls + 3;
    memory.get_mut().faults = vec![(sync, Fault::Fails)];
    let failed = user.store.append(&commit(1)).unwrap_err();
    assert_eq!(failed.to_string(), "cannot sync journal.1 in the state directory");
    let calls = memory.get().calls;
    for _ in 0..3 {
        assert!(user.store.append(&commit(1)).is_err());
    }
    assert_eq!(memory.get().calls, calls, "the disk is not asked again");
    assert!(!user.store.is_appendable());
    assert_eq!(user.store.bytes(), bytes);
    user.live(&[Begin, Complete]);
    assert!(user.store.is_appendable());
    assert_eq!(memory.names(), ["journal.2"]);
}

#[test]
fn a_part_without_a_begun_journal_is_an_error_and_the_current_one_goes_on() {
    let mut user = User::new(&Memory::new());
    user.live(&[Begin, Complete]);
    assert!(user.store.extend(&[]).is_err() && user.store.complete(&[]).is_err());
    assert!(user.store.is_appendable());
}

/// A directory whose journal.1 holds a snapshot of two frames and five commits; where the snapshot
/// and each commit ends.
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
    let salt = format::parse_header(&bytes).unwrap();
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
    newer[16] = 2;
    let crc = crc32c::crc32c(&newer[..28]);
    newer[28..].copy_from_slice(&crc.to_le_bytes());
    for (bytes, what) in [
        (Some(&b""[..]), "not a journal"),
        (Some(&[0; 4096]), "not a journal"),
        (Some(b"SQLite format 3\0"), "not a journal"),
        (Some(&format::header(1)[..20]), "damaged"),
        (Some(&format::header(1)), "incomplete snapshot at byte 32"),
        (Some(&newer), "version 2"),
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
    let salt = format::parse_header(&bytes).unwrap();
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

/// A store with three commits in it, and the directory.
fn committed() -> (Store<Memory>, Memory) {
    let memory = Memory::new();
    let (mut store, _) = Store::open(memory.clone()).unwrap();
    store.begin(&commit(1)).unwrap();
    store.complete(&commit(2)).unwrap();
    store.append(&commit(3)).unwrap();
    assert!(store.check().is_ok());
    (store, memory)
}

#[test]
fn a_commit_into_a_journal_without_a_name_fails_and_the_next_journal_has_one() {
    type Displace = fn(&Memory);
    let displace: [(Displace, Displaced); 4] = [
        (|memory| memory.displace(None), Displaced::Directory),
        (Memory::unlock, Displaced::Lock),
        (|memory| memory.lose("journal.1"), Displaced::Journal),
        (|memory| memory.put("journal.1", Some(b"something else")), Displaced::Journal),
    ];
    for (displace, wanted) in displace {
        let (mut store, memory) = committed();
        displace(&memory);
        assert!(
            matches!(store.append(&commit(4)), Err(CommitError::Displaced(what)) if what == wanted),
            "{wanted}"
        );
        assert!(!store.is_appendable() && store.take_anew().is_none());
        store.begin(&commit(1)).unwrap();
        assert!(!store.is_appendable(), "the old one is not appended to meanwhile");
        (2..4).for_each(|number| store.extend(&commit(number)).unwrap());
        store.complete(&commit(4)).unwrap();
        assert!(store.is_appendable() && store.check().is_ok());
        let anew = store.take_anew().expect("it came into its place again");
        let is_foreign = memory.names().contains(&"journal.1.aside".to_owned());
        assert_eq!(
            anew.aside,
            if is_foreign { vec!["journal.1.aside".to_owned()] } else { Vec::new() }
        );
        let (_, state) = Store::open(memory.copied()).unwrap();
        assert_eq!(said(&state), said(&state_after(4)), "{wanted}");
    }
}

#[test]
fn a_journal_that_is_not_ours_is_kept_under_another_name_and_its_number_is_not_used() {
    let (mut store, memory) = committed();
    let theirs = Memory::new();
    theirs.put("journal.7", Some(b"theirs"));
    theirs.put("journal.7.aside", Some(b"older"));
    memory.displace(Some(&theirs));
    assert!(store.check().is_err());
    store.begin(&commit(1)).unwrap();
    store.complete(&commit(2)).unwrap();
    assert_eq!(
        store.take_anew().map(|anew| anew.aside),
        Some(vec!["journal.7.aside.2".to_owned()])
    );
    assert_eq!(memory.names(), ["journal.7.aside", "journal.7.aside.2", "journal.8"]);
    assert_eq!(memory.bytes_of("journal.7.aside.2"), b"theirs");
}

#[test]
fn a_place_that_another_process_has_is_left_alone_until_it_is_free() {
    let (mut store, memory) = committed();
    memory.displace(None);
    memory.get_mut().is_other_locked = true;
    assert!(store.check().is_err());
    assert!(matches!(store.begin(&commit(1)), Err(CommitError::Anew(_))));
    assert!(matches!(store.begin(&commit(1)), Err(CommitError::Anew(_))) && !store.is_appendable());
    memory.get_mut().is_other_locked = false;
    store.begin(&commit(1)).unwrap();
    store.complete(&commit(2)).unwrap();
    assert!(store.is_appendable());
}
