//! Rotation order: a file whose name another one had before lets that one be read first, whenever
//! both have something to read. Where nothing is known of names, the times of last modification
//! tell.

use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, SlotId, SlotKey, State};
use crate::engine::namespace::tree::DirId;
use crate::engine::schedule::{KeptBack, Schedule};
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;

/// Empty predecessors passed over at most in the search for one with unread bytes.
const PREDECESSORS_MAX: usize = 16;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The file takes a name that another one may have had before it.
    pub(in crate::engine) fn claim(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        let before =
            self.identities.succession.predecessor(id).and_then(|key| self.files.alive(key));
        if before.is_some_and(|older| self.is_unsettled(older)) {
            rare!("a file took a second name while it waited for the one that had its first");
            // It still waits for the one whose name it took before.
            return;
        }
        let vacated =
            self.identities.succession.vacated(dir, name).and_then(|key| self.files.alive(key));
        if vacated.is_some_and(|older| self.comes_after(older, id)) && self.is_unsettled(id) {
            rare!("a file took its own name back from one that waits for it");
            // It had this name before: the one that had it in between still waits for it.
            return;
        }
        if self.identities.succession.claim(id, dir, name) {
            self.files.get_mut(id).set(State::HAS_PREDECESSOR);
        }
    }

    /// Whether `newer` took its name from `older`, or from one that did.
    fn comes_after(&self, newer: SlotId, older: SlotId) -> bool {
        let before = |&id: &SlotId| {
            self.identities.succession.predecessor(id).and_then(|key| self.files.alive(key))
        };
        std::iter::successors(before(&newer), before).take(PREDECESSORS_MAX).any(|id| id == older)
    }

    /// Lets files go on that waited for this one.
    #[inline]
    pub(in crate::engine) fn release_successor(&mut self, id: SlotId) {
        if self.files.get(id).state().contains(State::IS_AWAITED) {
            self.release_awaited(id);
        }
    }

    #[cold]
    fn release_awaited(&mut self, id: SlotId) {
        if is_planted!(ReleaseForgotten) {
            return;
        }
        self.files.get_mut(id).clear(State::IS_AWAITED);
        for next in self.identities.succession.release(id) {
            self.schedule.release_successor(&mut self.files, &self.tree, next);
        }
    }

    /// Files that waited for a name that was only heard of ask again: the file that it turned out
    /// to stand for may be another to wait for.
    pub(in crate::engine) fn let_ask_again(&mut self, id: SlotId) {
        self.files.get_mut(id).clear(State::IS_AWAITED);
        for next in self.identities.succession.release(id) {
            rare!("a file that waited for a name asked again whom to wait for");
            self.schedule.release(&mut self.files, &self.tree, next, KeptBack::Predecessor);
        }
    }

    /// Before a file is read: makes it wait if the one that had its name before has something to
    /// read, or may have.
    pub(in crate::engine) fn must_wait(&mut self, id: SlotId) -> bool {
        if is_planted!(NeverWaits) {
            return false;
        }
        let mut newer = id;
        for _ in 0..PREDECESSORS_MAX {
            let older =
                self.identities.succession.predecessor(newer).and_then(|key| self.files.alive(key));
            let Some(older) = older else {
                if newer == id {
                    self.files.get_mut(id).clear(State::HAS_PREDECESSOR);
                    self.identities.succession.forget(id);
                }
                return false;
            };
            if self.is_unsettled(older) {
                if !self.identities.succession.wait(id, older) {
                    rare!("a file did not wait because that would close a circle");
                    return false;
                }
                rare!("a file waited for the one that had its name before");
                Schedule::hold_back(&mut self.files, id, KeptBack::Predecessor);
                self.files.get_mut(older).set(State::IS_AWAITED);
                self.schedule.end_cooling(&mut self.files, &self.tree, older);
                return true;
            }
            // One that was read waited for its own predecessor; an empty one did not.
            if self.files.get(older).offset > 0 {
                return false;
            }
            rare!("a predecessor without a line was passed over");
            newer = older;
        }
        false
    }

    /// The file that has to be read before this one, if that is still to come.
    pub(in crate::engine) fn unread_predecessor(&self, id: SlotId) -> Option<SlotKey> {
        let older = self.identities.succession.predecessor(id)?;
        self.files.alive(older).filter(|&older| self.is_unsettled(older)).map(|_| older)
    }

    /// Whether the file has something to read, or may have.
    fn is_unsettled(&self, id: SlotId) -> bool {
        let slot = self.files.get(id);
        match slot.life() {
            // One that cannot be looked at is heard of again when that changes.
            Life::Named => slot.state() & (State::UNREADABLE | State::DOUBT) != State::UNREADABLE,
            // What is held open is read to its end though it was deleted.
            Life::Leaving => {
                let is_readable =
                    slot.state().contains(State::DIRTY) && self.reading.held.contains_key(&id);
                !slot.state().contains(State::DELETED)
                    || slot.state().contains(State::LINKED)
                    || is_readable
            }
            // What could not be read is dirty only if it is to be tried again.
            Life::Following | Life::Finishing => {
                slot.state().intersects(State::DIRTY | State::DOUBT | State::RETRY)
            }
            Life::Free | Life::Parked | Life::Ignored => false,
        }
    }
}
