//! Applies results of looks that the slot does not stand for yet: a first file, another one, or
//! none.
//!
//! In: finds, each a name and the result of its look. Out: slots that stand for the files that have
//! their names.
//! Always holds: a find is applied in a turn after its look, when the kernel's queue is empty and
//! no event about the name came since. Where events and a look differ, the look wins.
//!
//! | the slot is | the look found | which leads to |
//! |---|---|---|
//! | without a file | a file that is not known | `adopt` in `adopting.rs` |
//! | without a file | a known file | `found_known`: it goes on under this name, or has one more |
//! | a file | the same file | `seen_again`: is there something to read? |
//! | a file | the same file, copied up (overlay) | `go_on_copied_up`, then `seen_again` |
//! | a file | another file | `leave_ahead`; the name gets a slot of its own, and the find is applied to it |
//! | any | nothing to follow | `stop_following` |

use std::time::Instant;

use crate::engine::Engine;
use crate::engine::identities::behind::is_led_to;
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::namespace::tree::{DirId, Role};
use crate::engine::schedule::Schedule;
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{FileSystem, Stat};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Whether results of looks wait until the kernel's queue is empty.
    pub(in crate::engine) fn has_unapplied_finds(&self) -> bool {
        self.identities.has_finds() || !self.discovery.urgent.lost.is_empty()
    }

    /// Applies the results of the last turn's looks, unless an event touched the name since.
    pub(in crate::engine) fn apply_finds(&mut self, now: Now) {
        if self.kernel.are_events_pending {
            return;
        }
        self.recheck_lost(now);
        let mut all = std::mem::take(&mut self.identities.found);
        for (key, found) in all.drain(..) {
            let Some(id) = self.files.alive(key) else { continue };
            let slot = self.files.get(id);
            if slot.is_bound() && !slot.state().contains(State::DOUBT) {
                match found {
                    Some(found) => self.apply_find(id, &found, now),
                    None => self.stop_following(id, now),
                }
            }
        }
        self.identities.found = all;
    }

    pub(super) fn apply_find(&mut self, id: SlotId, found: &Stat, now: Now) {
        let Some(known) = self.files.file_id(id) else {
            match self.files.find_id(found.id) {
                Some(known) => self.found_known(id, known, found, now.instant),
                None => self.adopt(id, found, now),
            }
            return;
        };
        if known == found.id {
            self.seen_again(id, found, now.instant);
            return;
        }
        if self.is_copied_up(id, known, found) {
            self.go_on_copied_up(id, known, found);
            self.seen_again(id, found, now.instant);
            return;
        }
        rare!("another file had the name of a known one");
        // Another file has the name. The events that report what became of the slot's own file are
        // still queued, or were missed.
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        let kept =
            self.files.get(id).state() & (State::VIA_LINK | State::UNCONFIRMED | State::DIRTY);
        self.search_behind(id);
        let how = self.leave_ahead(id, now);
        let other = self.track_another(dir, &name, self.files.get(id).input);
        Schedule::end_doubt(&mut self.files, other);
        // A change under the name since the look was a change of the new file.
        self.files.get_mut(other).set(kept & State::VIA_LINK);
        if kept.contains(State::DIRTY) {
            self.schedule.mark_unread(&mut self.files, other);
        }
        if kept.contains(State::UNCONFIRMED) && how.is_empty() {
            rare!("a file was identified ahead of the rename that gave it its name");
            // The file that really has the name is the older one.
            let (older, newer) = (self.files.key(other), self.files.key(id));
            let has_predecessor = self.identities.succession.turn_round(older, newer);
            self.files.get_mut(other).put(State::HAS_PREDECESSOR, has_predecessor);
            self.files.get_mut(id).set(State::HAS_PREDECESSOR);
        }
        self.apply_find(other, found, now);
    }

    /// The file no longer has its name. The event that explains it is still queued, or was lost.
    /// Returns how the file left.
    pub(super) fn leave_ahead(&mut self, id: SlotId, now: Now) -> State {
        let how = self.identities.recent_renames.how_it_left(&self.files, id);
        if how.is_empty() && !self.kernel.is_catching_up(&self.discovery) {
            self.identities.former.lose_ahead(&self.files, &self.tree, id);
        }
        self.leave(id, how, now.instant);
        how
    }

    /// Another file has the name of a known one, which may have been renamed to a name that does
    /// not match. Under such a name only a file that the journal knows is followed.
    pub(super) fn track_another(&mut self, dir: DirId, name: &[u8], input: InputId) -> SlotId {
        let is_accepted = self.coverage.input_of(&self.tree, dir, name, &mut self.path).is_some()
            || self.coverage.single_files.is_target(dir, name);
        let other = self.track_name(dir, name, input);
        self.files.get_mut(other).put(State::ONLY_KNOWN, !is_accepted);
        other
    }

    /// The slot's own file was found: is there something to read?
    pub(super) fn seen_again(&mut self, id: SlotId, found: &Stat, now: Instant) {
        if self.files.get(id).state().contains(State::BINARY) && self.is_still_left_out(id, found) {
            self.release_successor(id);
            return;
        }
        if self.files.get(id).state().contains(State::UNCONFIRMED) {
            self.files.get_mut(id).clear(State::UNCONFIRMED);
            self.identities.recent_renames.end_exchange(self.files.key(id));
        }
        self.files.get_mut(id).put(State::LINKED, found.links > 1);
        self.prove_path(id);
        let slot = self.files.get(id);
        let end = slot.offset + u64::from(slot.scanned);
        // An overwrite in place may keep the size. Every event is followed by a read; where events
        // were missed, the time of the last modification counts.
        if found.size != end
            || slot.state().contains(State::UNREADABLE)
            || self.kernel.is_suspect(found)
        {
            self.mark_dirty(id);
        }
        self.after_look(id, now);
    }

    pub(in crate::engine) fn after_look(&mut self, id: SlotId, now: Instant) {
        self.log_goes_on(id, false, now);
        let state = self.files.get(id).state();
        if state.contains(State::VIA_LINK) {
            self.watch_link_target(id, now);
        }
        if state.contains(State::IS_AWAITED) {
            self.schedule.end_cooling(&mut self.files, &self.tree, id);
        } else {
            self.schedule.enqueue(&mut self.files, &self.tree, id);
        }
        if !self.files.get(id).state().contains(State::DIRTY) {
            self.release_successor(id);
            if !self.files.get(id).state().contains(State::COOLING) {
                // Permissions may have changed.
                self.reading.close(id);
            }
        }
    }

    /// A name stands for a file that has a slot already: the file was renamed, came back, or has
    /// two names.
    fn found_known(&mut self, id: SlotId, known: SlotId, found: &Stat, now: Instant) {
        if self.files.get(id).state().contains(State::DIRTY) {
            // It grew since it was looked at.
            self.mark_dirty(known);
        }
        if self.reading.ends.is_closed(id) {
            self.file_closed(known, now);
        }
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        let via_link = self.files.get(id).state().contains(State::VIA_LINK);
        if self.files.get(known).is_bound() {
            rare!("a known file was found under one more name");
            // A hard link, a symbolic link, or the same directory by two paths. A link and its
            // target count as one file even if a rename of the target is under way: its events are
            // still queued, and follow the target's name.
            let elsewhere = is_led_to(&self.files, &self.coverage.single_files, known, id)
                || is_led_to(&self.files, &self.coverage.single_files, id, known)
                || self.stat_name(known).is_ok_and(|(there, _)| there.id == found.id);
            if elsewhere {
                if self.coverage.single_files.is_target(dir, &name)
                    && self.identities.succession.take_over(id, known)
                {
                    // Rotated files that the link led to too briefly to be looked at come before
                    // it.
                    self.files.get_mut(known).set(State::HAS_PREDECESSOR);
                }
                self.unbind(id);
                self.add_name(known, dir, &name);
                self.free_slot(id);
                self.seen_again(known, found, now);
                return;
            }
        }
        if self.files.get(known).life() == Life::Parked {
            rare!("a file that had left came back");
            // It may belong to another input now.
            self.files.get_mut(known).input = self.files.get(id).input;
        }
        let (heard_of, key) = (self.files.key(id), self.files.key(known));
        let has_predecessor = !is_planted!(SuccessionNotPassedOn)
            && self.identities.succession.pass_on(heard_of, key, now);
        self.files.get_mut(known).put(State::HAS_PREDECESSOR, has_predecessor);
        self.identities.succession.ask_again(&mut self.files, &self.tree, &mut self.schedule, id);
        self.unbind(id);
        if self.files.get(known).is_bound() {
            self.move_away(known, now);
        }
        self.bind(known, dir, &name);
        if let Some(link) = self.identities.behind_links.remove(&heard_of) {
            self.identities.behind_links.entry(key).or_insert(link);
        }
        // Not before: the last name in a home takes the home with it.
        self.free_slot(id);
        self.files.get_mut(known).put(State::VIA_LINK, via_link);
        self.seen_again(known, found, now);
    }

    /// A file was found under another name before any event reported that: another file may have
    /// its old name now.
    fn move_away(&mut self, id: SlotId, now: Instant) {
        rare!("a file was found under another name before any event said so");
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        if !self.kernel.is_catching_up(&self.discovery) {
            self.identities.former.lose_ahead(&self.files, &self.tree, id);
        }
        self.unbind(id);
        self.identities.succession.vacate(self.files.key(id), dir, &name, now);
        self.track_if_accepted(dir, &name);
        // A result of a look under the old name may still be to be applied: it is not about this
        // file.
        self.doubt(id);
    }

    /// A file has one more name, by a hard link or through a symbolic link. If the name is in a
    /// listed directory, it is the one that users see.
    fn add_name(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        let before = self.files.get(id).dir();
        if self.tree.get(before).role == Role::Home && self.tree.get(dir).role == Role::Listed {
            rare!("the target of a link was known before the link");
            let target = self.files.name(id).to_vec();
            self.unbind(id);
            self.files.add_alias(id, before, &target);
            self.bind(id, dir, name);
            self.files.get_mut(id).set(State::VIA_LINK);
        } else {
            self.files.add_alias(id, dir, name);
        }
    }
}
