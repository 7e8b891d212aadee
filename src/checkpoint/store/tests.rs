//! Tests of the store: crashes after any call, with any one call failing before.

mod displaced;
mod found;
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

/// The payload of commit `number`: one of five files advances or is forgotten, and the output's
/// length is the number of the commit.
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

/// The state after the first `number` commits.
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

/// A user of a store, with the last commit that was tried and the last that was reported durable.
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
        // The content of a store that is not appendable may still be lost.
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

    /// After any failure, one new journal makes the store work again.
    #[track_caller]
    fn recover(&mut self) {
        if !self.store.is_appendable() {
            self.live(&[Begin, Complete]);
        }
        self.take(Append);
        assert_eq!(self.durable, self.tried, "a new journal mends everything");
    }

    /// Checks that after each crash that is possible now, all durable commits are found.
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

    /// Checks also that the store works after each crash.
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

/// The calls of opening an empty directory, in which there is nothing that they could harm.
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

/// The kernel takes the pages for clean after a sync that failed, and the next process reads them.
#[test]
fn a_commit_that_was_neither_synced_nor_cut_off_is_durable_once_a_later_start_found_it() {
    for fault in [Fault::Fails, Fault::FailsHalfDone] {
        let memory = Memory::new();
        let mut user = User::new(&memory);
        user.live(&[Begin, Complete]);
        let sync = memory.get().calls + 3;
        memory.get_mut().faults = vec![(sync, fault), (sync + 1, Fault::Fails)];
        assert!(user.store.append(&commit(1)).is_err());
        let next = memory.copied();
        let mut user = User::new(&next);
        assert_eq!((user.durable, user.store.is_appendable()), (1, true));
        user.check_crashes(&UNSYNCED);
        user.live(&[Append, Append]);
        assert_eq!(user.durable, 3);
        user.check_crashes(&UNSYNCED);
    }
}

#[test]
fn a_part_without_a_begun_journal_is_an_error_and_the_current_one_goes_on() {
    let mut user = User::new(&Memory::new());
    user.live(&[Begin, Complete]);
    assert!(user.store.extend(&[]).is_err() && user.store.complete(&[]).is_err());
    assert!(user.store.is_appendable());
}
