//! Calls `statx` on each name in doubt and finds out which file has it.
//!
//! In: slots in doubt. Out: slots that stand for the file that has their name.
//! Always holds: where events and a look differ, the look wins. A file that is new under its name
//! is accepted only when no event is left in the queue.

use std::io::ErrorKind;
use std::time::Instant;

use nix::libc;

use crate::checkpoint::OWN_OUTPUT;
use crate::config::StartAt;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::coverage::own::Own;
use crate::engine::identities::behind::is_led_to;
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::namespace::tree::{DirId, Role, Why};
use crate::engine::schedule::timers;
use crate::engine::schedule::{KeptBack, Schedule};
use crate::engine::{Engine, FOUND_MAX, LOOKS_PER_TURN};
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Stat};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Looks at names in doubt, oldest first.
    pub(in crate::engine) fn look(&mut self, now: Now) {
        self.identities.drop_outdated_finds(&self.files);
        let mut batch = std::mem::take(&mut self.identities.looked_at);
        let room = FOUND_MAX.saturating_sub(self.identities.found.len()).min(LOOKS_PER_TURN);
        // Taken at once: what one of these looks puts in doubt waits for the next turn, for what
        // was found of it is outdated only then.
        batch.extend(std::iter::from_fn(|| self.schedule.doubts.pop()).take(room));
        for id in batch.drain(..) {
            let slot = self.files.get(id);
            if slot.state().contains(State::DOUBT) && slot.life() != Life::Free {
                Schedule::end_doubt(&mut self.files, id);
                if self.files.get(id).is_bound() {
                    self.look_at(id, now);
                } else {
                    rare!("a name in doubt was lost before it was looked at");
                    // It lost its name meanwhile. If it is held open, the rest of it can be read.
                    self.schedule.enqueue(&mut self.files, &self.tree, id);
                }
            }
        }
    }

    /// Looks at a path: at a link itself unless links are followed. Says whether a link was
    /// followed.
    pub(in crate::engine) fn stat_name(&mut self, id: SlotId) -> std::io::Result<(Stat, bool)> {
        let is_known_link = self.files.get(id).state().contains(State::VIA_LINK);
        let links = self.write_path(id);
        if is_known_link {
            return Ok((self.fs.stat(&self.path, links)?, true));
        }
        let found = self.stat_stored(links)?;
        if found.kind == FileKind::Link {
            if let Some(links) = self.links_through(self.files.get(id).dir(), self.files.name(id)) {
                return Ok((self.fs.stat(&self.path, links)?, true));
            }
        } else if self.is_foreign_target(id, found.owner) {
            self.close(id);
            return Err(std::io::Error::from_raw_os_error(libc::ELOOP));
        }
        Ok((found, false))
    }

    fn look_at(&mut self, id: SlotId, now: Now) {
        if self.are_directories_moving() && self.is_any_moving(self.files.get(id).dir()) {
            rare!("a look waited until a renamed directory was settled");
            // Its path is not known at the moment; another directory may have it.
            self.schedule.retry(&mut self.files, id, now.instant);
            return;
        }
        let outcome = self.stat_name(id);
        tracing::trace!(slot = id.0, path = %self.path.escape_ascii(), ?outcome, "look");
        match outcome {
            Ok((found, via_link)) => {
                self.files.get_mut(id).put(State::VIA_LINK, via_link);
                match found.kind {
                    // If another file has the name, that is believed only once the kernel's queue was
                    // seen to hold nothing about the name: the look may be ahead of a rename whose
                    // events are still to come.
                    FileKind::Regular if self.files.file_id(id) != Some(found.id) => {
                        self.identities.found.push((self.files.key(id), Some(found)));
                    }
                    FileKind::Regular => self.seen_again(id, &found, now.instant),
                    FileKind::Directory => self.became_directory(id, via_link, now),
                    FileKind::Link => self.let_go(id, now),
                    FileKind::Special | FileKind::Unknown => self.ignore_special(id, now),
                }
            }
            Err(error) => self.look_failed(id, &error, now),
        }
    }

    fn look_failed(&mut self, id: SlotId, error: &std::io::Error, now: Now) {
        match Failure::of(error) {
            Failure::Gone => self.name_missing(id, now),
            Failure::Refused | Failure::TooLong => self.unreadable(id, error, now),
            Failure::UserMount => self.is_in_user_mount(id, now),
            // A shortage passes, so it is waited for also with `--once`; a broken disk may be
            // broken for good.
            Failure::Other if self.config.once => self.unreadable(id, error, now),
            _ if error.kind() == ErrorKind::Interrupted => self.doubt(id),
            _ if self.give_way(error) => self.doubt(id),
            _ => {
                notice!(warn: self.observer.notices, Cause::Failed, about &self.path, now.instant,
                    %error, "cannot be looked at now: tried again");
                self.schedule.retry(&mut self.files, id, now.instant);
            }
        }
    }

    /// The name leads nowhere.
    fn name_missing(&mut self, id: SlotId, now: Now) {
        let dir = self.files.get(id).dir();
        let is_link = self.files.get(id).state().contains(State::VIA_LINK);
        if is_link
            || (self.files.get(id).life() == Life::Named
                && self.config.follow_links.is_some()
                && self.is_dangling(id))
        {
            rare!("a link led nowhere");
            // The target may come (back): there is no event for that here.
            self.files.get_mut(id).set(State::VIA_LINK);
            let is_dangling = self.is_dangling(id);
            if is_dangling && !self.files.get(id).is_identified() && self.is_link_refused(id, now) {
                return;
            }
            if !self.config.once && is_dangling {
                if self.files.get(id).is_identified() {
                    if self.refused_link(id).is_some() {
                        // The link may not be followed any more: nothing is read by the descriptor
                        // either.
                        self.close(id);
                    }
                    self.search_behind(id);
                    self.leave_link(id, State::empty(), now.instant);
                    return;
                }
                self.schedule.look_again_at(self.files.key(id), now.instant + timers::POLL_EVERY);
                return;
            }
        }
        if !self.is_directory_intact(dir, now) {
            rare!("a name was missing because its directory was");
            // Its directory's fate is the file's.
            self.schedule.retry(&mut self.files, id, now.instant);
            return;
        }
        let key = self.files.key(id);
        self.identities.found.push((key, None));
    }

    fn is_dangling(&mut self, id: SlotId) -> bool {
        let links = self.write_directory(self.files.get(id).dir());
        self.path.extend_from_slice(self.files.name(id));
        self.fs.stat(&self.path, links).is_ok_and(|found| found.kind == FileKind::Link)
    }

    /// The name does not stand for a file to follow (any more).
    fn let_go(&mut self, id: SlotId, now: Now) {
        if self.files.get(id).is_identified() {
            self.search_behind(id);
            self.leave_ahead(id, now);
        } else {
            // A listing may be older than a rename. A deletion since then has an event of its own.
            if !self.identities.recent_renames.take_guess(&self.files, id)
                && !self.files.get(id).state().contains(State::BY_AGE)
            {
                self.count_vanished(id, now.instant);
            }
            // A writer may go on in what had the name: its events tell of nothing new.
            let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
            self.identities.former.lose(&self.files, &self.tree, id, dir, &name);
            self.unbind(id);
            self.forget(id);
        }
    }

    fn became_directory(&mut self, id: SlotId, via_link: bool, now: Now) {
        rare!("the name of a file stood for a directory");
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        // A link that the first scan found leads to what was there before, too.
        let is_first = self.files.get(id).state().contains(State::FIRST_SCAN);
        self.let_go(id, now);
        if self.tree.at_place(dir.0).is_some() {
            self.path_became_directory(dir, &name, now.instant);
            if self.tree.get(dir).role == Role::Home {
                return;
            }
        }
        if self.config.recursive
            && self.tree.get(dir).role == Role::Listed
            && self.tree.find(dir, &name).is_none()
        {
            let why = if is_first { Why::FirstScan } else { Why::Appeared };
            if let Some(added) = self.add_directory(dir, &name, why) {
                self.tree.get_mut(added).via_link = via_link;
            }
        }
    }

    /// A FIFO, socket or device is never opened. The slot stays, so that its events cost nothing.
    fn ignore_special(&mut self, id: SlotId, now: Now) {
        if self.files.get(id).life() == Life::Ignored {
            return;
        }
        if self.files.get(id).is_identified() {
            rare!("the name of a known file stood for something that is never opened");
            let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
            let input = self.files.get(id).input;
            self.leave(id, State::empty(), now.instant);
            self.track_another(dir, &name, input);
            return;
        }
        self.files.set_life(id, Life::Ignored);
        self.release_successor(id);
        self.write_path(id);
        self.say_not_regular(now);
    }

    /// Says that the path at hand is no regular file.
    pub(in crate::engine) fn say_not_regular(&mut self, now: Now) {
        notice!(warn: self.observer.notices, Cause::NotRegular, about &self.path, now.instant,
            "not a regular file: never opened");
    }

    /// Results of looks wait until the kernel's queue is empty.
    pub(in crate::engine) fn is_look_unsettled(&self) -> bool {
        self.identities.has_finds() || !self.discovery.urgent.lost.is_empty()
    }

    /// Believes what the looks of the turn before found, unless an event touched the name since.
    pub(in crate::engine) fn settle_found(&mut self, now: Now) {
        if self.kernel.are_events_pending {
            return;
        }
        self.settle_lost(now);
        let mut all = std::mem::take(&mut self.identities.found);
        for (key, found) in all.drain(..) {
            let Some(id) = self.files.alive(key) else { continue };
            let slot = self.files.get(id);
            if slot.is_bound() && !slot.state().contains(State::DOUBT) {
                match found {
                    Some(found) => self.settle(id, &found, now),
                    None => self.let_go(id, now),
                }
            }
        }
        self.identities.found = all;
    }

    fn settle(&mut self, id: SlotId, found: &Stat, now: Now) {
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
        // Another file has the name. What events tell of the slot's own file is still to come, or
        // was missed.
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        let kept =
            self.files.get(id).state() & (State::VIA_LINK | State::UNCONFIRMED | State::DIRTY);
        self.search_behind(id);
        let how = self.leave_ahead(id, now);
        let other = self.track_another(dir, &name, self.files.get(id).input);
        Schedule::end_doubt(&mut self.files, other);
        // What changed under the name since the look changed the new file.
        self.files.get_mut(other).set(kept & State::VIA_LINK);
        if kept.contains(State::DIRTY) {
            self.schedule.mark_unread(&mut self.files, other);
        }
        if kept.contains(State::UNCONFIRMED) && how.is_empty() {
            rare!("a file was identified ahead of the rename that gave it its name");
            // The slot was identified ahead of the rename that gave it this name: the file that
            // really has it is the older one.
            let (older, newer) = (self.files.key(other), self.files.key(id));
            let has_predecessor = self.identities.succession.turn_round(older, newer);
            self.files.get_mut(other).put(State::HAS_PREDECESSOR, has_predecessor);
            self.files.get_mut(id).set(State::HAS_PREDECESSOR);
        }
        self.settle(other, found, now);
    }

    /// The file no longer has its name. The event that explains it is still queued, or was lost.
    /// Returns how the file left.
    fn leave_ahead(&mut self, id: SlotId, now: Now) -> State {
        let how = self.identities.recent_renames.how_it_left(&self.files, id);
        if how.is_empty() && !self.is_catching_up() {
            self.identities.former.lose_ahead(&self.files, &self.tree, id);
        }
        self.leave(id, how, now.instant);
        how
    }

    /// Another file has the name of a known one, which may have been renamed to a name that does
    /// not match. Under such a name only a file that the journal knows is followed.
    fn track_another(&mut self, dir: DirId, name: &[u8], input: InputId) -> SlotId {
        let is_accepted =
            self.input_of(dir, name).is_some() || self.coverage.single_files.is_target(dir, name);
        let other = self.track_name(dir, name, input);
        self.files.get_mut(other).put(State::ONLY_KNOWN, !is_accepted);
        other
    }

    /// The same file as before: is there something to read?
    fn seen_again(&mut self, id: SlotId, found: &Stat, now: Instant) {
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
        // were missed, the time tells.
        if found.size != end
            || slot.state().contains(State::UNREADABLE)
            || self.kernel.is_suspect(found)
        {
            self.mark_dirty(id);
        }
        self.after_look(id, now);
    }

    pub(in crate::engine) fn after_look(&mut self, id: SlotId, now: Instant) {
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
                self.close(id);
            }
        }
    }

    /// A name turned out to stand for a file that has a slot already: renamed, come back, or linked
    /// twice.
    fn found_known(&mut self, id: SlotId, known: SlotId, found: &Stat, now: Instant) {
        if self.files.get(id).state().contains(State::DIRTY) {
            // It grew since it was looked at.
            self.mark_dirty(known);
        }
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        let via_link = self.files.get(id).state().contains(State::VIA_LINK);
        if self.files.get(known).is_bound() {
            rare!("a known file was found under one more name");
            // A hard link, a symbolic one, or the same directory by two paths. A link and its
            // target count as one file even if a rename of the target is under way: its events are
            // still queued, and follow the target's name.
            let elsewhere = is_led_to(&self.files, &self.coverage.single_files, known, id)
                || is_led_to(&self.files, &self.coverage.single_files, id, known)
                || self.stat_name(known).is_ok_and(|(there, _)| there.id == found.id);
            if elsewhere {
                if self.coverage.single_files.is_target(dir, &name)
                    && self.identities.succession.take_over(id, known)
                {
                    // The rotated files that a link did not lead to long enough to be looked at
                    // come before it.
                    self.files.get_mut(known).set(State::HAS_PREDECESSOR);
                }
                self.unbind(id);
                self.add_name(known, dir, &name);
                self.forget(id);
                self.seen_again(known, found, now);
                return;
            }
        }
        if self.files.get(known).life() == Life::Parked {
            rare!("a file that had left came back");
            // It comes back, maybe to another input.
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
        // Not before: a home goes with the last name in it.
        self.forget(id);
        self.files.get_mut(known).put(State::VIA_LINK, via_link);
        self.seen_again(known, found, now);
    }

    /// A file was found under another name before any event said so: something else may have its
    /// old name now.
    fn move_away(&mut self, id: SlotId, now: Instant) {
        rare!("a file was found under another name before any event said so");
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        if !self.is_catching_up() {
            self.identities.former.lose_ahead(&self.files, &self.tree, id);
        }
        self.unbind(id);
        self.identities.succession.vacate(self.files.key(id), dir, &name, now);
        self.track_if_accepted(dir, &name);
        // What a look found under the old name may still be to be settled: it is not about this
        // file.
        self.doubt(id);
    }

    /// A file has one more name, by a hard link or through a symbolic one. In a listed directory
    /// that is its name for users.
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

    /// A file that was never seen before.
    fn adopt(&mut self, id: SlotId, found: &Stat, now: Now) {
        while let Some(former) = self.files.find_former(found.id) {
            rare!("a new file had the inode of one that had left");
            self.forget_parked(self.files.key(former), now.instant);
        }
        self.files.get_mut(id).put(State::LINKED, found.links > 1);
        if let Some(own) = self.own_of(id, found) {
            rare!("our own output lay in the tree");
            self.leave_out_file(id, found, own, now);
            return;
        }
        let has_changed = if self.resume(id, found) {
            if self.files.get(id).offset == OWN_OUTPUT {
                self.leave_out_file(id, found, Own::Former, now);
                return;
            }
            self.files.set_life(id, Life::Following);
            self.may_have_changed(id, found)
        } else if self.files.get(id).state().contains(State::ONLY_KNOWN) {
            rare!(
                "a file under a name that does not match had the inode of another one in the journal"
            );
            // Another file has the inode now, and its name does not match.
            self.unbind(id);
            self.forget(id);
            return;
        } else {
            if self.search_stored(id, found).is_err() {
                rare!("a file whose predecessor could not be looked for waited");
                self.schedule.retry(&mut self.files, id, now.instant);
                return;
            }
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
                // It may be deleted before its turn, which is some time away.
                self.hold_open(id);
            }
            return;
        }
        Schedule::stop_holding_back(&mut self.files, id, KeptBack::ByAge);
        if has_changed {
            self.mark_dirty(id);
            self.hold_unstored(id);
        }
        self.after_look(id, now.instant);
    }

    /// Where a file begins of which nothing is known.
    fn start(&mut self, id: SlotId, found: &Stat, now: Now) {
        let is_old = self.config.ignore_older.is_some_and(|limit| {
            now.wall.duration_since(found.modified).is_ok_and(|age| age >= limit)
        });
        if self.identities.left_behind.start_there(&mut self.files, id, found.id) {
            self.files.set_life(id, Life::Following);
            self.begin_generation(id);
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
            // Stories are stored in the order in which they are to be read.
            self.put_generation_off(id);
        } else if found.size == 0 {
            self.begin_empty_generation(id, now);
        } else {
            self.begin_generation(id);
        }
    }
}
