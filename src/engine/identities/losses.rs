//! Reports of files and names that are gone before they were read.
//!
//! In: a slot, and the last path of its file. Out: counts, one limited diagnostic each, and an
//! entry in the list of losses.
//! Always holds: nothing here decides what becomes of a file.

use std::time::Instant;

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::namespace::registry::{FileSlot, Life, State};
use crate::engine::observer::Observer;
use crate::planted::is_planted;
use crate::rare::rare;

impl Observer {
    /// A file left the tree, perhaps before it was read to its end.
    pub(in crate::engine) fn count_loss(&mut self, slot: &FileSlot, path: &[u8], now: Instant) {
        if is_planted!(LossUncounted) {
            return;
        }
        let (offset, unfinished) = (slot.offset, u64::from(slot.scanned));
        self.stats.lost_bytes += unfinished;
        let (cause, what) = if slot.state().contains(State::DELETED) {
            rare!("a file was deleted before it was read to its end");
            self.stats.deleted_unread += 1;
            (
                Cause::DeletedUnread,
                "deleted, perhaps before it was read to its end: what followed is lost",
            )
        } else {
            rare!("a file was moved away before it was read to its end");
            self.stats.moved_unread += 1;
            self.stats.lost_moved_bytes += unfinished;
            let what = "moved to where nothing is watched, perhaps before it was read to its end: \
                        what followed is lost unless it comes back within ten minutes";
            (Cause::MovedUnread, what)
        };
        self.lost.note(path, what, unfinished, now);
        let path = String::from_utf8_lossy(path);
        notice!(warn: self.notices, cause, about path.as_bytes(), now, offset, unfinished,
            "{what}");
    }

    /// A name went away before it was looked at. All bytes that were written there are lost, if
    /// there were any.
    pub(in crate::engine) fn count_vanished(&mut self, slot: &FileSlot, path: &[u8], now: Instant) {
        let held_bytes = slot.state().intersects(State::MAY_HOLD_BYTES | State::DIRTY)
            && !slot.state().contains(State::VIA_LINK);
        if slot.is_identified() || slot.life() == Life::Ignored || !held_bytes {
            return;
        }
        rare!("a name went away before it was looked at");
        self.stats.vanished += 1;
        self.lost.note(path, "gone before it was read: what it held is lost", 0, now);
        let path = String::from_utf8_lossy(path);
        notice!(warn: self.notices, Cause::Vanished, about path.as_bytes(), now,
            "gone before it was read: what it held is lost");
    }

    /// The path is not that of a regular file.
    pub(in crate::engine) fn report_not_regular(&mut self, path: &[u8], now: Instant) {
        notice!(warn: self.notices, Cause::NotRegular, about path, now,
            "not a regular file: never opened");
    }
}
