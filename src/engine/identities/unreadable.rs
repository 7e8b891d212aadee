//! Files that cannot be read.
//!
//! In: looks and reads that failed, and the first one that succeeds. Out: one warning per file, and
//! one message when it can be read again.
//! Always holds: no file waits for such a file, and it is not kept open.

use std::time::Instant;

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::namespace::registry::{SlotId, State};
use crate::engine::schedule::timers;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The file of the path at hand was read.
    #[inline]
    pub(in crate::engine) fn note_readable(&mut self, id: SlotId, now: Instant) {
        if self.files.get(id).state().contains(State::UNREADABLE) {
            self.readable_again(id, now);
        }
    }

    #[cold]
    fn readable_again(&mut self, id: SlotId, now: Instant) {
        self.files.set_unreadable(id, false);
        if self.files.get(id).state().contains(State::VIA_LINK) {
            rare!("the target of a link could be read before a look at the link succeeded");
            // No event reports changes of the target until a look at the link succeeds.
            self.doubt(id);
        }
        notice!(info: self.observer.notices, Cause::ReadableAgain, about &self.path, now,
            "can be read again");
    }

    /// The file cannot be read or looked at: warns once per file.
    pub(in crate::engine) fn unreadable(&mut self, id: SlotId, error: &std::io::Error, now: Now) {
        let is_new = self.became_unreadable(id);
        // If a setting leaves the file out, it is no loss when it goes away.
        self.files.get_mut(id).put(State::MAY_HOLD_BYTES, error.raw_os_error().is_some());
        if is_new {
            notice!(warn: self.observer.notices, Cause::Unreadable, about &self.path, now.instant,
                %error, "cannot be read: picked up when that changes");
        }
    }

    /// A look did not get through to the file. Behind a link, no event reports when that changes:
    /// the directories on the way to the target are not watched. It is looked at again soon, like
    /// the target of a link that leads nowhere.
    pub(in crate::engine) fn poll_behind_link(&mut self, id: SlotId, now: Instant) {
        let state = self.files.get(id).state();
        if self.config.once || state.contains(State::RETRY) || !self.files.get(id).is_bound() {
            return;
        }
        if state.contains(State::VIA_LINK)
            || (self.config.follow_links.is_some() && self.is_link(id))
        {
            rare!("no look got through a link to its target");
            self.schedule.retry_at(&mut self.files, id, now + timers::POLL_EVERY);
        }
    }

    /// Nothing is read from the file for now. Returns whether that is new; its path is at hand
    /// then.
    pub(in crate::engine) fn became_unreadable(&mut self, id: SlotId) -> bool {
        self.release_successor(id);
        if !self.files.get(id).state().intersects(State::DIRTY | State::COOLING) {
            self.reading.close(id);
        }
        if self.files.get(id).state().contains(State::UNREADABLE) {
            return false;
        }
        rare!("a file could not be read");
        self.files.set_unreadable(id, true);
        self.files.get_mut(id).clear(State::MAY_HOLD_BYTES);
        if self.files.get(id).is_bound() {
            self.write_path(id);
        } else {
            self.identities.departures.write_last_path(&self.files, &self.tree, id, &mut self.path);
        }
        true
    }
}
