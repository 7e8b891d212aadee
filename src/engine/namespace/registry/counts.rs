//! How many files are in which state. The counts are updated with every change of a state, so
//! reading them is cheap.
//!
//! In: every change of a file's life and of the bits that decide how it is counted. Out: the
//! counts.
//! Always holds: a new count of all slots gives the same numbers.

use super::{FileSlot, Life, Registry, SlotId, State};
use crate::status::Files;

/// Bits that decide how a followed file without bits of [`RARE`] is counted. They are the lowest
/// ones, so that they index a table: they change with every line.
const ORDINARY: State =
    State::DIRTY.union(State::COOLING).union(State::BACKLOG).union(State::HAS_MORE);

/// Bits that take precedence over those.
const RARE: State = State::UNREADABLE
    .union(State::DOUBT)
    .union(State::RETRY)
    .union(State::AWAITS_PREDECESSOR)
    .union(State::BY_AGE)
    .union(State::UNSTORED);

const PLACES: usize = ORDINARY.bits() as usize + 1;

/// How other files are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    New,
    Idle,
    Queued,
    InDoubt,
    Unreadable,
    Leaving,
    Finishing,
    Parked,
    Ignored,
}

const CLASSES: usize = Class::Ignored as usize + 1;

/// How many files there are of each sort. Followed files that are neither dirty nor rare are not
/// counted: they are the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    /// Followed dirty files without bits of [`RARE`], by their bits of [`ORDINARY`].
    dirty: [usize; PLACES],
    /// The others, by [`Class`].
    others: [usize; CLASSES],
}

impl Counts {
    pub(super) const NONE: Counts = Counts { dirty: [0; PLACES], others: [0; CLASSES] };

    /// The count that includes such a file, unless it is one of the rest.
    fn count_of(&mut self, life: Life, state: State) -> Option<&mut usize> {
        let class = match life {
            Life::Free => return None,
            Life::Parked => Class::Parked,
            Life::Ignored => Class::Ignored,
            Life::Leaving => Class::Leaving,
            _ if state.contains(State::UNREADABLE) => Class::Unreadable,
            Life::Named => Class::New,
            Life::Finishing => Class::Finishing,
            Life::Following if state.intersects(State::DOUBT | State::RETRY) => Class::InDoubt,
            Life::Following if !state.intersects(RARE) => {
                return state.contains(State::DIRTY).then(|| &mut self.dirty[place(state)]);
            }
            Life::Following if !state.contains(State::DIRTY) => Class::Idle,
            Life::Following => Class::Queued,
        };
        Some(&mut self.others[class as usize])
    }

    /// Called before a slot is freed, or its state changes.
    pub(super) fn remove(&mut self, slot: &FileSlot) {
        self.count_of(slot.life, slot.state).into_iter().for_each(|count| *count -= 1);
    }

    /// Called after a slot was made for a file, or its state has changed.
    pub(super) fn add(&mut self, slot: &FileSlot) {
        self.count_of(slot.life, slot.state).into_iter().for_each(|count| *count += 1);
    }

    #[cold]
    fn change(&mut self, life: Life, before: State, after: State) {
        self.count_of(life, before).into_iter().for_each(|count| *count -= 1);
        self.count_of(life, after).into_iter().for_each(|count| *count += 1);
    }
}

#[inline]
fn place(state: State) -> usize {
    (state & ORDINARY).bits() as usize
}

impl Registry {
    /// Sets and clears bits of [`State::SCHEDULED`]. Only the schedule calls this. Returns the
    /// state before.
    #[inline(always)]
    pub(crate) fn reschedule(&mut self, id: SlotId, set: State, clear: State) -> State {
        debug_assert!(
            State::SCHEDULED.contains(set | clear),
            "{set:?} and {clear:?} are not the schedule's"
        );
        let slot = &mut self.slots[id.0 as usize];
        let before = slot.state;
        let after = before.union(set).difference(clear);
        slot.state = after;
        if (set | clear).intersects(ORDINARY | RARE)
            && (before | set).intersects(State::DIRTY | RARE)
        {
            if slot.life == Life::Following && !(before | set).intersects(RARE) {
                if before.contains(State::DIRTY) {
                    self.counts.dirty[place(before)] -= 1;
                }
                if after.contains(State::DIRTY) {
                    self.counts.dirty[place(after)] += 1;
                }
            } else {
                self.counts.change(slot.life, before, after);
            }
        }
        before
    }

    /// Notes whether the file cannot be read.
    pub(crate) fn set_unreadable(&mut self, id: SlotId, is_unreadable: bool) {
        let slot = &mut self.slots[id.0 as usize];
        self.counts.remove(slot);
        slot.state.set(State::UNREADABLE, is_unreadable);
        self.counts.add(slot);
    }

    /// Sets the file's life.
    pub(crate) fn set_life(&mut self, id: SlotId, life: Life) {
        let slot = &mut self.slots[id.0 as usize];
        self.counts.remove(slot);
        slot.life = life;
        self.counts.add(slot);
    }

    /// How many files are in which state. `is_blocked`: the output has no room for changed files;
    /// `is_backlog_blocked`: it has no room for backlog.
    pub(crate) fn counts(&self, is_blocked: bool, is_backlog_blocked: bool) -> Files {
        let count = |class: Class| self.counts.others[class as usize] as u64;
        let mut files = Files {
            new: count(Class::New),
            waiting: count(Class::Queued),
            in_doubt: count(Class::InDoubt),
            unreadable: count(Class::Unreadable),
            leaving: count(Class::Leaving),
            finishing: count(Class::Finishing),
            parked: count(Class::Parked),
            ignored: count(Class::Ignored),
            ..Files::default()
        };
        for (bits, &count) in (0..).zip(&self.counts.dirty) {
            let state = State::from_bits_truncate(bits);
            let is_held_up = if state.intersects(State::BACKLOG | State::HAS_MORE) {
                is_backlog_blocked
            } else {
                is_blocked
            };
            let total = match state {
                _ if state.contains(State::COOLING) => &mut files.cooling,
                _ if is_held_up => &mut files.blocked,
                _ => &mut files.queued,
            };
            *total += count as u64;
        }
        let counted: usize = self.counts.dirty.iter().chain(&self.counts.others).sum();
        files.idle = count(Class::Idle) + (self.len - counted) as u64;
        files
    }

    /// Whether a new count gives the same numbers.
    pub(crate) fn are_counts_right(&self) -> bool {
        let mut anew = Counts::NONE;
        self.slots.iter().filter(|slot| slot.life != Life::Free).for_each(|slot| anew.add(slot));
        anew == self.counts
    }
}
