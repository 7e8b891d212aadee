//! Calls `statx` on each name in doubt and finds out which file has it.
//!
//! In: slots in doubt. Out: slots that stand for the file that has their name, and finds:
//! answers that contradict what events said. `finds.rs` applies those.
//! Always holds: one look ends one doubt. Where events and a look differ, the look wins, but only
//! when no event is left in the queue.
//!
//! | the look answers | which leads to |
//! |---|---|
//! | a regular file, which the slot stands for | `seen_again`: is there something to read? |
//! | another regular file | a find, applied next turn |
//! | a directory | `became_directory`: its files are listed |
//! | a link that is not followed | `stop_following` |
//! | a FIFO, socket or device | `ignore_special`: never opened |
//! | [`Failure::Gone`] | `name_missing`: a link that leads nowhere is polled, a lost directory decides for its files, anything else is a find |
//! | [`Failure::Refused`], [`Failure::TooLong`] | `unreadable`: one warning; behind a link, it is polled |
//! | [`Failure::UserMount`] | `is_in_user_mount`: left out |
//! | [`Failure::Shortage`], [`Failure::Other`] | looked at again: next turn after a signal or if a kept file could be closed, otherwise in 100 ms. With `--once`, `Other` is `unreadable` |

use std::io::ErrorKind;

use nix::libc;

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::namespace::tree::{Role, VisitWork};
use crate::engine::schedule::{Schedule, timers};
use crate::engine::{Engine, FOUND_MAX, LOOKS_PER_TURN};
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
        // Taken at once: a name that one of these looks puts in doubt waits for the next turn,
        // because only then are its finds dropped.
        batch.extend(std::iter::from_fn(|| self.schedule.doubts.pop()).take(room));
        for id in batch.drain(..) {
            let slot = self.files.get(id);
            if slot.state().contains(State::DOUBT) && slot.life() != Life::Free {
                Schedule::end_doubt(&mut self.files, id);
                if self.files.get(id).is_bound() {
                    self.look_at(id, now);
                } else {
                    rare!("a name in doubt was lost before it was looked at");
                    // If it is held open, the rest of it can be read.
                    self.schedule.enqueue(&mut self.files, &self.tree, id);
                }
            }
        }
    }

    /// Looks at a path: at a link itself unless links are followed. Returns whether a link was
    /// followed.
    pub(in crate::engine) fn stat_name(&mut self, id: SlotId) -> std::io::Result<(Stat, bool)> {
        let is_known_link = self.files.get(id).state().contains(State::VIA_LINK);
        let links = self.write_path(id);
        if is_known_link {
            return Ok((self.fs.stat(&self.path, links)?, true));
        }
        let found = self.offsets.stat(&mut self.fs, &self.path, links)?;
        if found.kind == FileKind::Link {
            if let Some(links) = self.coverage.links_to(&self.files, &self.tree, id, &self.path) {
                return Ok((self.fs.stat(&self.path, links)?, true));
            }
        } else if self.coverage.is_foreign_target(
            &self.files,
            &self.tree,
            &self.identities.behind_links,
            id,
            found.owner,
            &mut self.fs,
        ) {
            self.reading.close(id);
            return Err(std::io::Error::from_raw_os_error(libc::ELOOP));
        }
        Ok((found, false))
    }

    fn look_at(&mut self, id: SlotId, now: Now) {
        if self.are_directories_moving() && self.tree.is_any_moving(self.files.get(id).dir()) {
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
                    // Applied only once the kernel's queue holds no event about the name: the look
                    // may be ahead of a rename whose events are still to come.
                    FileKind::Regular if self.files.file_id(id) != Some(found.id) => {
                        self.identities.found.push((self.files.key(id), Some(found)));
                    }
                    FileKind::Regular => self.seen_again(id, &found, now.instant),
                    FileKind::Directory => self.became_directory(id, via_link, now),
                    FileKind::Link => self.stop_following(id, now),
                    FileKind::Special | FileKind::Unknown => self.ignore_special(id, now),
                }
            }
            Err(error) => self.look_failed(id, &error, now),
        }
    }

    fn look_failed(&mut self, id: SlotId, error: &std::io::Error, now: Now) {
        match Failure::of(error) {
            Failure::Gone => self.name_missing(id, now),
            Failure::Refused | Failure::TooLong => {
                self.unreadable(id, error, now);
                self.poll_behind_link(id, now.instant);
            }
            Failure::UserMount => self.hidden_by_user_mount(id, now),
            // A shortage passes, so it is waited for also with `--once`; a broken disk may stay
            // broken.
            Failure::Other if self.config.once => self.unreadable(id, error, now),
            _ if error.kind() == ErrorKind::Interrupted => self.doubt(id),
            _ if self.reading.give_way(error) => self.doubt(id),
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
                && self.is_link(id))
        {
            rare!("a link led nowhere");
            // The target may appear (again), and no event reports that here.
            self.files.get_mut(id).set(State::VIA_LINK);
            let is_dangling = self.is_link(id);
            if is_dangling && !self.files.get(id).is_identified() && self.is_link_refused(id, now) {
                return;
            }
            if !self.config.once && is_dangling {
                if self.files.get(id).is_identified() {
                    if self
                        .coverage
                        .refused_link(&self.files, &self.tree, id, &mut self.path, &mut self.fs)
                        .is_some()
                    {
                        // The link may not be followed any more, so the open file is not read
                        // either.
                        self.reading.close(id);
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
            // What becomes of its directory decides.
            self.schedule.retry(&mut self.files, id, now.instant);
            return;
        }
        let key = self.files.key(id);
        self.identities.found.push((key, None));
    }

    /// Whether the name is that of a link, wherever it leads.
    pub(super) fn is_link(&mut self, id: SlotId) -> bool {
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id));
        let links = self.tree.write_name(dir, name, &mut self.path);
        self.fs.stat(&self.path, links).is_ok_and(|found| found.kind == FileKind::Link)
    }

    /// The name does not stand for a file to follow (any more).
    pub(super) fn stop_following(&mut self, id: SlotId, now: Now) {
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
            // A program may go on writing to the file that had the name. Its events do not mean a
            // new file.
            let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
            self.identities.former.lose(&self.files, &self.tree, id, dir, &name);
            self.unbind(id);
            self.free_slot(id);
        }
    }

    fn became_directory(&mut self, id: SlotId, via_link: bool, now: Now) {
        rare!("the name of a file stood for a directory");
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        // The first scan found the link, so its target was there before, too.
        let is_first = self.files.get(id).state().contains(State::FIRST_SCAN);
        self.stop_following(id, now);
        // Its directory was there for this file alone, perhaps.
        if self.tree.at_place(dir.0).is_some() {
            self.path_became_directory(dir, &name, now.instant);
        }
        let there = self.tree.at_place(dir.0);
        let is_listed = there.is_some_and(|dir| self.tree.get(dir).role == Role::Listed);
        if self.config.recursive && is_listed && self.tree.find(dir, &name).is_none() {
            let work = if is_first { VisitWork::FIRST_SCAN } else { VisitWork::APPEARED };
            if let Some(added) = self.add_directory(dir, &name, work) {
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
        self.observer.report_not_regular(&self.path, now.instant);
    }
}
