//! When files that lost their names are judged: are they really gone?
//!
//! In: files that lost their names, and whether by a deletion. Out: files to judge, each in
//! its turn.
//! Always holds: a file that came back and left again is not judged when it would have been the
//! first time. A deletion waits until all events and doubts before it are worked off, but at most
//! for [`DELETION_WAITS_MAX`]: other programs may keep names in doubt for as long as they like.

use std::time::{Duration, Instant};

use crate::engine::namespace::registry::{Life, Registry, SlotId, SlotKey, State};
use crate::engine::schedule::Schedule;
use crate::engine::schedule::deadlines::Task;
use crate::planted::is_planted;
use crate::rare::rare;

/// How long a deletion waits at most while names are in doubt under which the file may be found.
const DELETION_WAITS_MAX: Duration = Duration::from_secs(1);

impl Schedule {
    /// A file without a name is judged at this time, and not before.
    pub(in crate::engine) fn judge_at(&mut self, key: SlotKey, at: Instant) {
        self.deadlines.add(at, Task::Judge(key));
        self.judged_at.insert(key.id, at);
    }

    /// The name of a file was deleted: it is judged as soon as all events and doubts are worked
    /// off.
    pub(in crate::engine) fn await_judgement(&mut self, key: SlotKey, now: Instant) {
        if !is_planted!(DeletionForgotten) {
            self.deleted.push_back((now, key));
        }
    }

    /// The file that was deleted last may have been covered by an exchange: it is judged at this
    /// time instead.
    pub(in crate::engine) fn judge_covered_at(&mut self, key: SlotKey, at: Instant) {
        if self.deleted.back().is_some_and(|(_, last)| *last == key) {
            self.deleted.pop_back();
            self.judge_at(key, at);
        }
    }

    /// Takes a file whose name was deleted and that is to be judged now. `is_calm`: all events and
    /// doubts are worked off.
    pub(in crate::engine) fn take_deleted(
        &mut self,
        is_calm: bool,
        now: Instant,
    ) -> Option<SlotKey> {
        let (since, key) = *self.deleted.front()?;
        if !is_calm && since + DELETION_WAITS_MAX > now {
            return None;
        }
        self.deleted.pop_front();
        Some(key)
    }

    /// The time `at` has come. Returns whether the file is judged now: not if another time counts
    /// for it, and not yet if it was deleted meanwhile.
    pub(in crate::engine) fn begin_judging(
        &mut self,
        files: &Registry,
        key: SlotKey,
        at: Instant,
        now: Instant,
    ) -> bool {
        if !self.is_judged_at(key.id, at) {
            return false;
        }
        let is_deleted =
            files.alive(key).is_some_and(|id| files.get(id).state().contains(State::DELETED));
        if is_deleted {
            rare!("a file that lost its name was deleted meanwhile");
            // It moved, came back and was deleted, or a look failed. A find may be this file under
            // another name.
            self.deleted.push_back((now, key));
        }
        !is_deleted
    }

    /// The file has a name again: it is neither judged nor remembered among those that left.
    pub(in crate::engine) fn end_absence(&mut self, files: &Registry, id: SlotId) {
        self.judged_at.remove(&id);
        if files.get(id).life() == Life::Parked {
            self.unpark(id);
        }
    }

    /// Whether this is the time at which the file is judged.
    pub(in crate::engine) fn is_judged_at(&self, id: SlotId, at: Instant) -> bool {
        self.judged_at.get(&id) == Some(&at)
    }

    /// Files whose names were deleted and that are to be judged.
    pub(in crate::engine) fn deleted(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.deleted.iter().map(|&(_, key)| key)
    }

    /// Whether there are any.
    pub(in crate::engine) fn has_deleted(&self) -> bool {
        !self.deleted.is_empty()
    }
}
