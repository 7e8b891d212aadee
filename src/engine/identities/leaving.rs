//! Files that lose their name: moved, deleted, or gone with what is above them.
//!
//! In: events and looks by which a name goes away. Out: the file goes on under another name,
//! is read to its end by the descriptor that holds it open, or is remembered for a while.
//! Always holds: a second look decides whether a file is really gone; a failed look does not.
//!
//! | when a name goes away | called by | what becomes of the file |
//! |---|---|---|
//! | `leave` | an event of a deletion or rename, and the functions down to `leave_at_once` | `Leaving`: judged later |
//! | `cover_file` (`renames.rs`) | a rename to the name | the same; judged after [`timers::GRACE`], as it may be exchanged |
//! | `leave_ahead` (`finds.rs`) | a look that found another file or none | the same; its event is still queued, or was lost |
//! | `leave_link` (`behind.rs`) | a followed link leads elsewhere | it goes on under a further name, if it has one |
//! | `further_name_left` (`behind.rs`) | an event about a further name | it goes on under its other names |
//! | `stop_following` (`identify.rs`) | a look that found nothing to follow | `leave_ahead`; a slot without a file is freed |
//! | `leave_at_once` | a directory is dropped, a PATH is given up | judged at once, without a look |
//! | `judge` | the deadline, or all is calm after a deletion | back under the name it has, or `gone` |
//! | `gone` | `judge`, `leave_at_once` | `Finishing` if it is held open with unread bytes, otherwise `part_with` |
//! | `part_with` | `gone`, the read that reaches its end | a loss is counted; `Parked` by `park` |
//! | `drop_parked` | ten minutes are over, or there is no room | `free_slot` |
//! | `free_slot` | nothing refers to the file any more | the slot is free |

use std::time::Instant;

use crate::checkpoint::OWN_OUTPUT;
use crate::engine::namespace::registry::{Life, SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirId, Role};
use crate::engine::schedule::Schedule;
use crate::engine::schedule::deadlines::Task;
use crate::engine::schedule::timers;
use crate::engine::{Engine, LOOKS_PER_TURN};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Counts and reports the unread bytes of a file under the last path that it had.
    pub(in crate::engine) fn count_loss(&mut self, id: SlotId, now: Instant) {
        self.identities.departures.write_last_path(&self.files, &self.tree, id, &mut self.path);
        self.observer.count_loss(self.files.get(id), &self.path, now);
        self.tell_lost_rest(id);
    }

    /// Counts and reports a name that went away before it was resolved.
    pub(super) fn count_vanished(&mut self, id: SlotId, now: Instant) {
        self.identities.departures.write_last_path(&self.files, &self.tree, id, &mut self.path);
        self.observer.count_vanished(self.files.get(id), &self.path, now);
    }

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
        let is_held = self.reading.held.contains_key(&id);
        if is_held && self.files.get(id).scanned > 0 && self.is_multiline(id) {
            rare!("a file lost its name with lines of a record that might go on");
            self.schedule.mark_unread(&mut self.files, id);
        }
        // The next file under this name comes after the bytes that are still unread here. A deleted
        // file can be read only if it is held.
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
            // None of it is to be read, so nothing is lost.
            self.schedule.drop_unread(&mut self.files, id);
        }
        self.files.set_life(id, Life::Leaving);
        Schedule::lose_turn(&mut self.files, id);
        let slot = self.files.get_mut(id);
        slot.clear(State::DELETED | State::SEEN);
        slot.set(how);
        if how.contains(State::DELETED) {
            self.schedule.await_judgement(key, now);
        } else {
            self.schedule.judge_at(key, now + timers::GRACE);
        }
    }

    /// A file that had lost its name has one again.
    pub(in crate::engine) fn return_to(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        self.bind(id, dir, name);
        self.take_name(id, dir, name);
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
            self.offsets.path_changed(&self.files, id);
        }
        self.coverage.find_input(&mut self.files, &self.tree, id, &mut self.path);
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

    /// Looks a second time for a file that lost its name: is it really gone?
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
            self.free_slot(id);
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
                        // According to the events, another file has the name. A look at that one
                        // resolves both.
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

    /// Takes a further name under which a file that lost one goes on. If its link is removed, its
    /// target outside of the tree is not followed any more; if the link leads elsewhere now, the
    /// target goes on where it is.
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
                // By this name it is reached through a link only if the next look finds one.
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
                // It goes on outside of the tree, and may come back: its last line may still be
                // finished.
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
        let (is_deleted, has_unread) =
            (slot.is_deleted(), slot.may_have_unread() || slot.scanned > 0);
        let is_rescanning = self.kernel.is_rescanning(&self.discovery, &self.schedule);
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
            self.tell_departure(id);
            self.files.drop_name(id);
        }
        if is_deleted && !is_rescanning {
            // It may come back by a link that was made outside of the tree: no event reports such a
            // link, and once the name is gone, no look finds it.
            self.files.get_mut(id).clear(State::DELETED);
            self.offsets.drop_entry(&mut self.files, id);
            self.park(id, true, now);
        } else {
            self.park(id, false, now);
        }
    }

    /// Remembers a file that left the tree, or was deleted, for a while.
    pub(super) fn park(&mut self, id: SlotId, is_deleted: bool, now: Instant) {
        self.release_successor(id);
        self.reading.close(id);
        self.identities.departures.conclude(&self.files, id, now);
        self.files.set_life(id, Life::Parked);
        if let Some(oldest) = self.schedule.park(self.files.key(id), is_deleted, now) {
            self.drop_parked(oldest, now);
        }
    }

    /// A file that left the tree did not come back: it is not remembered any more.
    pub(in crate::engine) fn drop_parked(&mut self, key: SlotKey, now: Instant) {
        let Some(id) =
            self.files.alive(key).filter(|&id| self.files.get(id).life() == Life::Parked)
        else {
            return;
        };
        rare!("a file that had left was forgotten");
        if !self.files.name(id).is_empty() {
            self.count_loss(id, now);
            self.tell_departure(id);
        }
        self.free_slot(id);
    }

    /// Frees an unbound slot, and removes everything that refers to it.
    pub(in crate::engine) fn free_slot(&mut self, id: SlotId) {
        self.release_successor(id);
        if self.files.get(id).state().intersects(State::AWAITS_PREDECESSOR | State::HAS_PREDECESSOR)
        {
            self.identities.succession.remove(id);
        }
        self.schedule.remove(&self.files, id);
        self.reading.close(id);
        self.reading.ends.remove(id);
        if self.files.get(id).offset == OWN_OUTPUT
            && let Some(file) = self.files.file_id(id)
        {
            self.own.remember(file);
        }
        self.offsets.forget_entry(&self.files, id);
        self.identities.behind_links.remove(&self.files.key(id));
        let home = self.files.get(id).dir();
        while let Some((dir, name)) = self.files.take_alias(id) {
            self.coverage.single_files.remove(dir, &name);
            self.release_home(dir);
        }
        self.files.free(id);
        self.release_home(home);
    }

    /// A file is not followed any more, though nothing happened to it; its directory may be gone.
    pub(in crate::engine) fn leave_at_once(&mut self, id: SlotId, now: Instant) {
        self.leave(id, State::empty(), now);
        // Its directory was looked at, so there is nothing to look at again.
        if self.files.get(id).life() != Life::Leaving {
            return;
        }
        if !self.files.get(id).is_identified() {
            self.count_vanished(id, now);
            self.free_slot(id);
        } else if let Some((dir, name)) = self.take_further_name(id, now) {
            rare!("a file of a directory that was let go went on under another name");
            self.return_to(id, dir, &name);
        } else {
            self.gone(id, now);
        }
    }
}
