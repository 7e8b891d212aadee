//! Files and directories that lose their name: moved, deleted, or gone with what is above them. A
//! second look decides.

use std::time::Instant;

use crate::checkpoint::OWN_OUTPUT;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::namespace::registry::{Life, SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirId, DirKey, Role, Why};
use crate::engine::schedule::Schedule;
use crate::engine::schedule::deadlines::{Task, TaskKind};
use crate::engine::schedule::timers;
use crate::engine::{Engine, LOOKS_PER_TURN};
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A bound slot loses its name. `how` is [`State::DELETED`] or nothing.
    pub(in crate::engine) fn leave(&mut self, id: SlotId, how: State, now: Instant) {
        if self.files.get(id).life() == Life::Finishing {
            return;
        }
        self.identities.departures.note_name(&self.files, &self.tree, id, &mut self.path);
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        if how.contains(State::DELETED) {
            self.identities.former.lose(&self.files, &self.tree, id, dir, &name);
        }
        self.keep_open(id);
        // Who takes this name next comes after what is still unread here; a deleted file can be
        // read only if it is held.
        let key = self.files.key(id);
        if how.is_empty() || self.reading.held.contains_key(&id) {
            self.identities.succession.vacate(key, dir, &name, now);
        } else if let Some(older) = self.identities.succession.unread_predecessor(
            &self.files,
            |id| self.reading.held.contains_key(&id),
            id,
        ) {
            rare!("a file that is gone unread left its place in the line to who takes its name");
            self.identities.succession.vacate(older, dir, &name, now);
        }
        self.unbind(id);
        if self.files.get(id).offset == OWN_OUTPUT {
            // Nothing of it is to be read, so nothing is lost.
            self.schedule.forget_unread(&mut self.files, id);
        }
        self.files.set_life(id, Life::Leaving);
        Schedule::lose_turn(&mut self.files, id);
        let slot = self.files.get_mut(id);
        slot.clear(State::DELETED | State::SEEN);
        slot.set(how);
        if how.contains(State::DELETED) {
            self.schedule.judge_deleted(key, now);
        } else {
            self.schedule.judge_at(key, now + timers::GRACE);
        }
    }

    /// A file that had lost its name has one again.
    pub(in crate::engine) fn return_to(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        self.bind(id, dir, name);
        self.identities.succession.take_name(
            &mut self.files,
            |id| self.reading.held.contains_key(&id),
            id,
            dir,
            name,
        );
        self.files.get_mut(id).set(State::UNCONFIRMED);
        self.doubt(id);
    }

    pub(in crate::engine) fn bind(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        self.files.bind(id, dir, name);
        self.schedule.end_absence(&self.files, id);
        let is_identified = self.files.get(id).is_identified();
        let slot = self.files.get_mut(id);
        slot.clear(State::DELETED);
        if slot.offset == OWN_OUTPUT {
            self.files.set_life(id, Life::Ignored);
        } else if slot.life() != Life::Ignored {
            self.files.set_life(id, if is_identified { Life::Following } else { Life::Named });
        }
        if is_identified {
            self.path_changed(id);
        }
        self.find_input(id);
    }

    /// Judges deletions, once all events and doubts before them are worked off.
    pub(in crate::engine) fn judge_deleted(&mut self, now: Now) {
        if self.kernel.are_events_pending {
            return;
        }
        let is_calm = self.schedule.doubts.is_empty() && !self.identities.has_finds();
        for _ in 0..LOOKS_PER_TURN {
            let Some(key) = self.schedule.take_deleted(is_calm, now.instant) else { break };
            self.judge(key, now);
        }
    }

    /// A second look at a file that lost its name: is it really gone?
    pub(in crate::engine) fn judge(&mut self, key: SlotKey, now: Now) {
        let Some(id) =
            self.files.alive(key).filter(|&id| self.files.get(id).life() == Life::Leaving)
        else {
            return;
        };
        let Some(file) = self.files.file_id(id) else {
            if self.files.get(id).state().contains(State::VIA_LINK) {
                // A link that led nowhere is gone: nothing vanished.
                let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
                self.link_removed(dir, &name, now.instant);
            } else {
                self.count_vanished(id, now.instant);
            }
            self.forget(id);
            return;
        };
        if let Some((dir, name)) = self.take_further_name(id, now.instant) {
            rare!("a file that lost a name went on under another one");
            self.return_to(id, dir, &name);
            return;
        }
        let dir = self.files.get(id).dir();
        if self.tree.at_place(dir.0).is_some() {
            let links = self.write_path(id);
            match self.fs.stat(&self.path, links) {
                Ok(found) if found.id == file => {
                    let name = self.files.name(id).to_vec();
                    if let Some(other) = self.files.find(dir, &name) {
                        rare!("two files had a name, one by the events and one by a look");
                        // Someone else has the name by what events said: looking at it settles
                        // both.
                        self.doubt(other);
                    } else {
                        rare!("a file that lost its name still had it");
                        self.return_to(id, dir, &name);
                        return;
                    }
                    self.schedule.judge_at(key, now.instant + timers::GRACE);
                    return;
                }
                Ok(_) => {}
                Err(error) if matches!(Failure::of(&error), Failure::Gone | Failure::UserMount) => {
                }
                Err(_) => {
                    rare!("a file that lost its name could not be looked at");
                    // A failure to look is not a deletion.
                    self.schedule.judge_at(key, now.instant + timers::RETRY_AFTER);
                    return;
                }
            }
        }
        if self.is_searched_for(id) {
            self.schedule.judge_at(key, now.instant + timers::GRACE);
            return;
        }
        self.gone(id, now.instant);
    }

    /// A further name under which a file that lost one goes on. When a link is removed, its target
    /// outside of the tree is let go; when the link points elsewhere now, the target goes on where
    /// it is.
    fn take_further_name(&mut self, id: SlotId, now: Instant) -> Option<(DirId, Box<[u8]>)> {
        let slot = self.files.get(id);
        let is_link_gone = slot.state().contains(State::VIA_LINK)
            && self
                .tree
                .at_place(slot.dir().0)
                .is_none_or(|dir| self.files.find(dir, self.files.name(id)).is_none());
        let link = is_link_gone.then(|| (slot.dir(), self.files.name(id).to_vec()));
        let mut further = None;
        while let Some((dir, name)) = self.files.take_alias(id) {
            if !is_link_gone || self.tree.get(dir).role == Role::Listed {
                // Under this one it is reached through a link only if the next look says so.
                self.files.get_mut(id).clear(State::VIA_LINK);
                further = Some((dir, name));
                break;
            }
            self.coverage.single_files.remove(dir, &name);
            self.release_home(dir);
        }
        if let Some((dir, name)) = link {
            self.link_removed(dir, &name, now);
        }
        further
    }

    /// The file is not in the tree any more.
    pub(in crate::engine) fn gone(&mut self, id: SlotId, now: Instant) {
        if let Some(held) =
            self.reading.held.get(&id).filter(|_| self.files.get(id).state().contains(State::DIRTY))
        {
            if self.fs.stat_file(&held.file).is_ok_and(|found| found.links > 0) {
                rare!("a file that left the tree was held open and read to its end");
                // It goes on outside of the tree, and may come back: its last line may still get
                // its end.
                self.files.get_mut(id).clear(State::DELETED);
            }
            rare!("a file without a name was held open and read to its end");
            self.files.set_life(id, Life::Finishing);
            self.schedule.end_cooling(&mut self.files, &self.tree, id);
        } else {
            self.part_with(id, now);
        }
    }

    /// Nothing more can be read of a file that is not in the tree. It is remembered for a while.
    pub(in crate::engine) fn part_with(&mut self, id: SlotId, now: Instant) {
        let slot = self.files.get(id);
        let (state, has_unread) = (slot.state(), slot.may_have_unread() || slot.scanned > 0);
        let is_rescanning = self.is_rescanning();
        if has_unread && is_rescanning {
            // Events were missed, so it may still be found elsewhere. Only a file whose loss is
            // still to be reported keeps its name.
            self.schedule
                .deadlines
                .add(now + timers::LOSS_AFTER, Task::CountLoss(self.files.key(id)));
        } else {
            if has_unread {
                self.count_loss(id, now);
            }
            self.files.drop_name(id);
        }
        if state & (State::DELETED | State::LINKED) == State::DELETED && !is_rescanning {
            // No event tells of a link made outside of the tree, nor a look, once the name is gone:
            // it may come in all the same.
            self.files.get_mut(id).clear(State::DELETED);
            self.drop_entry(id);
            self.park(id, true, now);
        } else {
            self.park(id, false, now);
        }
    }

    /// Remembers a file that left the tree, or was deleted, for a while.
    fn park(&mut self, id: SlotId, is_deleted: bool, now: Instant) {
        self.release_successor(id);
        self.close(id);
        self.identities.departures.conclude(&self.files, id, now);
        self.files.set_life(id, Life::Parked);
        if let Some(oldest) = self.schedule.park(self.files.key(id), is_deleted, now) {
            self.forget_parked(oldest, now);
        }
    }

    /// A file that left the tree, if it did not come back, is not waited for any more.
    pub(in crate::engine) fn forget_parked(&mut self, key: SlotKey, now: Instant) {
        let Some(id) =
            self.files.alive(key).filter(|&id| self.files.get(id).life() == Life::Parked)
        else {
            return;
        };
        rare!("a file that had left was forgotten");
        if !self.files.name(id).is_empty() {
            self.count_loss(id, now);
        }
        self.forget(id);
    }

    /// Events were missed, and not everything was looked at since: a deleted file may have another
    /// name that is not known yet.
    pub(in crate::engine) fn is_rescanning(&self) -> bool {
        self.kernel.polled > 0
            || self.schedule.deadlines.has(TaskKind::LookAgain)
            || self.is_catching_up()
    }

    /// The same, but for what is looked at again and again.
    pub(in crate::engine) fn is_catching_up(&self) -> bool {
        self.discovery.is_rescan_due
            || self.discovery.urgent.has_work()
            || self.kernel.suspect_since.is_some()
    }

    /// A file left the tree, perhaps before it was read to its end.
    pub(in crate::engine) fn count_loss(&mut self, id: SlotId, now: Instant) {
        let slot = self.files.get(id);
        if is_planted!(LossUncounted) {
            return;
        }
        let (offset, unfinished) = (slot.offset, u64::from(slot.scanned));
        let is_deleted = slot.state().contains(State::DELETED);
        self.observer.stats.lost_bytes += unfinished;
        let (cause, what) = if is_deleted {
            rare!("a file was deleted before it was read to its end");
            self.observer.stats.deleted_unread += 1;
            (
                Cause::DeletedUnread,
                "deleted, perhaps before it was read to its end: what followed is lost",
            )
        } else {
            rare!("a file was moved away before it was read to its end");
            self.observer.stats.moved_unread += 1;
            self.observer.stats.lost_moved_bytes += unfinished;
            let what = "moved to where nothing is watched, perhaps before it was read to its end: \
                        what followed is lost unless it comes back within ten minutes";
            (Cause::MovedUnread, what)
        };
        let path =
            self.identities.departures.last_path(&self.files, &self.tree, id, &mut self.path);
        self.observer.lost.note(&self.path, what, unfinished, now);
        notice!(warn: self.observer.notices, cause, about path.as_bytes(), now, offset, unfinished,
            "{what}");
    }

    /// A name is gone before it was ever looked at. Whatever was written there is lost.
    pub(in crate::engine) fn count_vanished(&mut self, id: SlotId, now: Instant) {
        let slot = self.files.get(id);
        let held_bytes = slot.state().intersects(State::MAY_HOLD_BYTES | State::DIRTY)
            && !slot.state().contains(State::VIA_LINK);
        if slot.is_identified() || slot.life() == Life::Ignored || !held_bytes {
            return;
        }
        rare!("a name went away before it was looked at");
        self.observer.stats.vanished += 1;
        let path =
            self.identities.departures.last_path(&self.files, &self.tree, id, &mut self.path);
        self.observer.lost.note(
            &self.path,
            "gone before it was read: what it held is lost",
            0,
            now,
        );
        notice!(warn: self.observer.notices, Cause::Vanished, about path.as_bytes(), now,
            "gone before it was read: what it held is lost");
    }

    /// Frees an unbound slot and all that refers to it.
    pub(in crate::engine) fn forget(&mut self, id: SlotId) {
        self.release_successor(id);
        if self.files.get(id).state().intersects(State::AWAITS_PREDECESSOR | State::HAS_PREDECESSOR)
        {
            self.identities.succession.remove(id);
        }
        self.schedule.forget(&self.files, id);
        self.close(id);
        if self.files.get(id).offset == OWN_OUTPUT
            && let Some(file) = self.files.file_id(id)
        {
            self.own.remember(file);
        }
        self.forget_entry(id);
        self.identities.behind_links.remove(&self.files.key(id));
        let home = self.files.get(id).dir();
        while let Some((dir, name)) = self.files.take_alias(id) {
            self.coverage.single_files.remove(dir, &name);
            self.release_home(dir);
        }
        self.files.free(id);
        self.release_home(home);
    }

    /// The directory's path leads nowhere. It is dropped only once the kernel's queue is empty:
    /// events of a rename may still be queued, and the files below continue at their new place,
    /// even where no glob matches them.
    pub(in crate::engine) fn lost_directory(&mut self, dir: DirId, now: Now) {
        if self.config.once {
            self.drop_lost(dir, now);
        } else if !std::mem::replace(&mut self.tree.get_mut(dir).is_lost, true) {
            let key = self.tree.key(dir);
            self.discovery.urgent.lost.push_back(key);
        }
    }

    /// Checks directories that the turn before did not find once more.
    pub(in crate::engine) fn settle_lost(&mut self, now: Now) {
        for _ in 0..LOOKS_PER_TURN {
            let Some(key) = self.discovery.urgent.lost.pop_front() else { break };
            let Some(dir) = self.tree.alive(key) else { continue };
            self.tree.get_mut(dir).is_lost = false;
            match self.leads_to(dir) {
                Ok(false) => self.drop_lost(dir, now),
                Ok(true) => {
                    rare!(
                        "a directory that a look had missed was there after the events that explain it"
                    );
                    self.push_visit(dir, Why::Appeared);
                }
                Err(_) => self.visit_later(dir, now),
            }
        }
    }

    /// The topmost directory above this one, or itself, whose path leads nowhere is dropped.
    fn drop_lost(&mut self, dir: DirId, now: Now) {
        if self.is_any_moving(dir) {
            return self.visit_later(dir, now);
        }
        let mut lost = dir;
        while let Some(parent) = self.tree.parent(lost) {
            match self.leads_to(parent) {
                Ok(true) => break,
                Ok(false) => {
                    rare!("the parent of a lost directory was lost as well");
                    lost = parent;
                }
                Err(_) => return self.visit_later(dir, now),
            }
        }
        let was_link = self.tree.get(lost).via_link;
        let parent = self.tree.parent(lost).map(|parent| (parent, self.tree.name(lost).to_vec()));
        self.visit_roots_within(lost);
        self.drop_directory(lost, now.instant);
        match parent {
            None => self.root_lost(now),
            Some((parent, name)) => {
                // What stands under its name now, if anything, may be another directory, or a file.
                let links = self.write_name(parent, &name);
                if self
                    .fs
                    .stat(&self.path, links)
                    .is_ok_and(|found| found.kind == FileKind::Directory)
                {
                    self.add_directory(parent, &name, Why::Appeared);
                } else if self.files.find(parent, &name).is_none() {
                    self.track_if_accepted(parent, &name);
                }
                // What was reached through the link may be in the tree under its own name as well.
                self.discovery.is_rescan_due |= was_link;
            }
        }
    }

    /// A directory was renamed away and no new name came up in time.
    pub(in crate::engine) fn judge_directory(&mut self, key: DirKey, now: Instant) {
        let Some(dir) = self
            .tree
            .alive(key)
            .filter(|&dir| self.tree.get(dir).is_moving && !self.tree.get(dir).is_dropping)
        else {
            return;
        };
        let parent =
            self.tree.parent(dir).expect("only directories below a root are moved by name");
        let name = self.tree.name(dir).to_vec();
        match self.leads_to(dir) {
            Ok(true) if self.tree.find(parent, &name).is_none() => {
                rare!("a directory that was renamed away had its old name again");
                self.rename_directory(dir, parent, &name, now);
            }
            Ok(_) => {
                self.visit_roots_within(dir);
                self.drop_directory(dir, now);
            }
            Err(_) => {
                self.schedule.deadlines.add(now + timers::RETRY_AFTER, Task::JudgeDirectory(key))
            }
        }
    }

    /// A file is not followed any more, though nothing happened to it; its directory may have gone.
    pub(in crate::engine) fn leave_at_once(&mut self, id: SlotId, now: Instant) {
        self.leave(id, State::empty(), now);
        // Its directory was looked at: no second look is to be had.
        if self.files.get(id).life() != Life::Leaving {
            return;
        }
        if !self.files.get(id).is_identified() {
            self.count_vanished(id, now);
            self.forget(id);
        } else if let Some((dir, name)) = self.take_further_name(id, now) {
            rare!("a file of a directory that was let go went on under another name");
            self.return_to(id, dir, &name);
        } else {
            self.gone(id, now);
        }
    }
}
