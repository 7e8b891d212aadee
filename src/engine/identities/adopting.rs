//! Files that were never seen before: where they begin, and whether they are read at all.
//!
//! In: a slot without a file, and the file that a look found under its name. Out: the slot stands
//! for the file. Its offset comes from the journal, from an earlier name of its content, or from
//! the settings.
//! Always holds: a file that is left out, or whose start is not known yet, gets no generation.

use crate::checkpoint::OWN_OUTPUT;
use crate::config::StartAt;
use crate::engine::Engine;
use crate::engine::commit::nanos;
use crate::engine::coverage::own::Own;
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::schedule::{HeldBack, Schedule};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{FileSystem, Stat};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A file that was never seen before.
    pub(super) fn adopt(&mut self, id: SlotId, found: &Stat, now: Now) {
        while let Some(former) = self.files.find_former(found.id) {
            rare!("a new file had the inode of one that had left");
            self.drop_parked(self.files.key(former), now.instant);
        }
        self.files.get_mut(id).put(State::LINKED, found.links > 1);
        if let Some(own) = self.own_of(id, found) {
            rare!("our own output lay in the tree");
            self.leave_out_file(id, found, own, now);
            return;
        }
        // The slot has no file id yet: if this fails, the next look starts the file as a new one.
        if self.search_stored(id, found).is_err() {
            rare!("a file whose predecessor could not be looked for waited");
            self.schedule.retry(&mut self.files, id, now.instant);
            return;
        }
        let has_changed = if self.resume(id, found) {
            if self.files.get(id).offset == OWN_OUTPUT {
                self.leave_out_file(id, found, Own::Former, now);
                return;
            }
            self.files.set_life(id, Life::Following);
            self.offsets.may_have_changed(&self.files, id, found)
        } else if self.files.get(id).state().contains(State::ONLY_KNOWN) {
            rare!(
                "a file under a name that does not match had the inode of another one in the journal"
            );
            // Another file has the inode now.
            self.unbind(id);
            self.free_slot(id);
            return;
        } else {
            self.start(id, found, now);
            found.size > 0
        };
        self.discovery.found_bytes += found.size.saturating_sub(self.files.get(id).offset);
        let was_there_before = self.files.get(id).state().contains(State::FIRST_SCAN);
        self.files.get_mut(id).clear(State::FIRST_SCAN);
        // An event since the look counts as well.
        let is_dirty = has_changed || self.files.get(id).state().contains(State::DIRTY);
        if is_dirty && self.files.get(id).state().contains(State::BY_AGE) {
            let time = if has_changed { found.modified } else { now.wall };
            self.schedule.hold_by_age(&mut self.files, id, time);
            self.mark_dirty(id);
            if !was_there_before && self.discovery.urgent.has_work() {
                rare!("a file that a listing brought up was held open until its turn");
                // It may be deleted before its turn comes.
                self.hold_open(id);
            }
            return;
        }
        Schedule::stop_holding_back(&mut self.files, id, HeldBack::ByAge);
        if has_changed {
            self.mark_dirty(id);
            self.hold_unstored(id);
        }
        self.after_look(id, now.instant);
    }

    /// Starts a file that the journal does not know.
    fn start(&mut self, id: SlotId, found: &Stat, now: Now) {
        let is_old = self.config.ignore_older.is_some_and(|limit| {
            now.wall.duration_since(found.modified).is_ok_and(|age| age >= limit)
        });
        if self.identities.left_behind.start_there(&mut self.files, id, found.id) {
            self.files.set_life(id, Life::Following);
            self.offsets.begin_generation(&mut self.files, &self.coverage.inputs, id, 0);
            return;
        }
        self.files.set_life(id, Life::Following);
        let slot = self.files.get_mut(id);
        let at_end = is_old
            || (slot.state().contains(State::FIRST_SCAN)
                && self.coverage.inputs.get(slot.input).from == StartAt::End);
        if at_end && found.size > 0 {
            rare!("a file started at its end");
            slot.offset = found.size;
            slot.set(State::SEEK_LINE | State::STARTED_AT_END);
            slot.put(State::WAS_OLD, is_old);
            if is_old {
                self.observer.stats.old_files += 1;
                self.discovery.old_files.add();
            }
        }
        if found.size > 0 && self.files.get(id).state().contains(State::BY_AGE) {
            // Generations are stored in the order in which they are to be read.
            self.offsets.put_generation_off(&mut self.files, &self.coverage.inputs, id);
        } else {
            let read_at = if found.size == 0 { nanos(now.wall) } else { 0 };
            self.offsets.begin_generation(&mut self.files, &self.coverage.inputs, id, read_at);
        }
    }
}
