//! How many files are in which state: counted where a state changes, so that a question costs nothing.
//!
//! In: every change of a file's life and of the bits that decide what it counts as. Out: the counts.
//! Always holds: the counts are those that counting all slots anew gives.

use super::{FileSlot, Life, Registry, SlotId, State};
use crate::status::Files;

/// What a file counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// No file.
    Free,
    New,
    Idle,
    /// To be read, because it changed.
    Queued,
    /// To be read, and it is backlog.
    Backlog,
    Cooling,
    Waiting,
    InDoubt,
    Unreadable,
    Leaving,
    Finishing,
    Parked,
    Ignored,
}

const CLASSES: usize = Class::Ignored as usize + 1;

/// Bits that decide what a file counts as.
const COUNTED: State = State::UNREADABLE.union(State::SCHEDULED).difference(State::QUEUED);

impl Class {
    #[inline]
    fn of(life: Life, state: State) -> Class {
        match life {
            Life::Free => Class::Free,
            Life::Parked => Class::Parked,
            Life::Ignored => Class::Ignored,
            Life::Leaving => Class::Leaving,
            _ if state.contains(State::UNREADABLE) => Class::Unreadable,
            Life::Named => Class::New,
            Life::Finishing => Class::Finishing,
            Life::Following if state.intersects(State::DOUBT | State::RETRY) => Class::InDoubt,
            Life::Following if !state.contains(State::DIRTY) => Class::Idle,
            Life::Following if state.intersects(State::WAITING | State::LISTED | State::UNSTORED) => Class::Waiting,
            Life::Following if state.contains(State::COOLING) => Class::Cooling,
            Life::Following if state.intersects(State::BACKLOG | State::HAS_MORE) => Class::Backlog,
            Life::Following => Class::Queued,
        }
    }
}

/// By [`Class`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counts([usize; CLASSES]);

impl Counts {
    pub(super) const NONE: Counts = Counts([0; CLASSES]);

    #[inline]
    fn change(&mut self, from: Class, to: Class) {
        self.0[from as usize] = self.0[from as usize].wrapping_sub(1);
        self.0[to as usize] += 1;
    }

    /// A slot was made for a file.
    pub(super) fn add(&mut self, slot: &FileSlot) {
        self.0[Class::of(slot.life, slot.state) as usize] += 1;
    }

    /// A slot is about to be freed.
    pub(super) fn remove(&mut self, slot: &FileSlot) {
        self.0[Class::of(slot.life, slot.state) as usize] -= 1;
    }
}

impl Registry {
    /// Sets and clears bits of [`State::SCHEDULED`]: the schedule's business alone.
    #[inline]
    pub(crate) fn reschedule(&mut self, id: SlotId, set: State, clear: State) {
        debug_assert!(State::SCHEDULED.contains(set | clear), "{set:?} and {clear:?} are not the schedule's");
        self.change(id, set, clear);
    }

    /// It was said that the file cannot be read, or that it can be again.
    pub(crate) fn set_unreadable(&mut self, id: SlotId, is_unreadable: bool) {
        let none = State::empty();
        let (set, clear) = if is_unreadable { (State::UNREADABLE, none) } else { (none, State::UNREADABLE) };
        self.change(id, set, clear);
    }

    /// The file's life goes on like this.
    pub(crate) fn set_life(&mut self, id: SlotId, life: Life) {
        let slot = &mut self.slots[id.0 as usize];
        self.counts.change(Class::of(slot.life, slot.state), Class::of(life, slot.state));
        slot.life = life;
    }

    #[inline]
    fn change(&mut self, id: SlotId, set: State, clear: State) {
        let slot = &mut self.slots[id.0 as usize];
        let before = slot.state;
        slot.state = before.union(set).difference(clear);
        if (before ^ slot.state).intersects(COUNTED) {
            self.counts.change(Class::of(slot.life, before), Class::of(slot.life, slot.state));
        }
    }

    /// How many files are in which state. `is_blocked`: the output keeps what changed from being read; `is_backlog_blocked`: it keeps
    /// backlog.
    pub(crate) fn counts(&self, is_blocked: bool, is_backlog_blocked: bool) -> Files {
        let count = |class: Class| self.counts.0[class as usize] as u64;
        let (changed, backlog) = (count(Class::Queued), count(Class::Backlog));
        let blocked = [(changed, is_blocked), (backlog, is_backlog_blocked)];
        let blocked = blocked.into_iter().filter(|&(_, is_blocked)| is_blocked).map(|(count, _)| count).sum();
        Files {
            new: count(Class::New),
            idle: count(Class::Idle),
            queued: changed + backlog - blocked,
            blocked,
            cooling: count(Class::Cooling),
            waiting: count(Class::Waiting),
            in_doubt: count(Class::InDoubt),
            unreadable: count(Class::Unreadable),
            leaving: count(Class::Leaving),
            finishing: count(Class::Finishing),
            parked: count(Class::Parked),
            ignored: count(Class::Ignored),
            ..Files::default()
        }
    }

    /// Whether counting anew gives the counts that are kept.
    pub(crate) fn are_counts_right(&self) -> bool {
        let mut anew = Counts::NONE;
        self.slots.iter().filter(|slot| slot.life != Life::Free).for_each(|slot| anew.add(slot));
        anew == self.counts
    }
}
