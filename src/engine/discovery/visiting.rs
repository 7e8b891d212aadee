//! One visit of a directory: look, watch, list, in this order. Also, what follows if the path leads
//! to something else.
//!
//! In: a directory, and the work to do. Out: a listing that has begun; or a diagnostic, and a time
//! or an event for the next attempt.
//! Always holds: a directory is watched before it is listed, so no later change is missed; a failed
//! visit is repeated, or an event that is sure to come causes the next one.

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::coverage::looks::leads_to;
use crate::engine::discovery::visits::Visit;
use crate::engine::namespace::registry::SlotId;
use crate::engine::namespace::tree::{DirId, DirKey, Role, VisitWork};
use crate::engine::schedule::timers;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Links};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Looks at a directory, watches it and starts to list it, in this order, so that no later
    /// change is missed.
    pub(in crate::engine) fn begin_visit(
        &mut self,
        key: DirKey,
        work: VisitWork,
        now: Now,
    ) -> Option<Visit<F::Listing>> {
        let dir = self.tree.alive(key)?;
        // The work of a failed visit is still to be done.
        let mut work = work | self.tree.get(dir).unfinished.after_failure();
        self.tree.get_mut(dir).unfinished = work;
        if self.tree.is_any_moving(dir) {
            rare!("a visit waited until a renamed directory was settled");
            self.visit_later(dir, now);
            return None;
        }
        let inode_before = self.tree.get(dir).inode;
        let was_visited = inode_before != (0, 0);
        self.coverage.ways.visit_begins();
        let links = self.tree.write_bare_path(dir, &mut self.path);
        match self.fs.stat(&self.path, links) {
            Ok(found) if found.kind == FileKind::Directory => {
                let inode = (found.id.device, found.id.inode);
                if self.own.directories.contains(&inode)
                    || self.coverage.ways.is_state_directory(
                        self.tree.name(dir),
                        &self.path,
                        links,
                        &mut self.fs,
                    )
                {
                    self.leave_out(dir, now);
                    return None;
                }
                if !self.settle_inode(dir, inode, now) {
                    return None;
                }
                self.tree.get_mut(dir).owner = found.owner;
                self.identities.former.take_deleted(key);
                if inode_before != inode || !self.tree.get(dir).is_type_known {
                    let (tree, fs) = (&mut self.tree, &mut self.fs);
                    self.discovery.sweeps.choose(dir, tree, fs, &mut self.observer.notices, now);
                }
            }
            Ok(_) => {
                rare!("a directory's path led to something else");
                self.lost_directory(dir, now);
                return None;
            }
            Err(error) => {
                self.visit_failed(dir, &error, now);
                return None;
            }
        }
        let watch_before = self.tree.watch(dir);
        if was_visited && watch_before.is_none() {
            // There were no events for what happened without a watch.
            work |= VisitWork::LOOK_AT_KNOWN;
        }
        self.tree.write_bare_path(dir, &mut self.path);
        if !self.config.once
            && let Err(error) = self.arm(dir, links)
            && !self.limit_reached(dir, &error, now)
        {
            self.visit_interrupted(dir, &error, now);
            return None;
        }
        let is_watch_ended = std::mem::take(&mut self.tree.get_mut(dir).is_watch_ended);
        if is_watch_ended || watch_before.is_some_and(|before| self.tree.watch(dir) != Some(before))
        {
            rare!("another directory had the path and the inode number of a known one");
            // It is another directory with the same inode number: what is known below does not
            // belong to it.
            if self.drop_replacement(dir, now) {
                return None;
            }
            work |= VisitWork::LOOK_AT_KNOWN;
        }
        self.start_listing(dir, links, work, now)
    }

    /// The state directory is in the tree. Its files change with every commit, so following them
    /// would never end.
    fn leave_out(&mut self, dir: DirId, now: Now) {
        rare!("the state directory lay in the tree");
        self.tree.write_bare_path(dir, &mut self.path);
        notice!(warn: self.observer.notices, Cause::OwnOutput, about &self.path, now.instant,
            "this is the state directory: left out");
        self.drop_directory(dir, now.instant);
    }

    /// Leaves the visit to the next poll.
    pub(in crate::engine) fn visit_later(&mut self, dir: DirId, now: Now) {
        self.kernel.set_polled(&mut self.tree, dir, true);
        self.kernel.poll_by(now.instant + timers::RETRY_AFTER);
    }

    fn start_listing(
        &mut self,
        dir: DirId,
        links: Links,
        work: VisitWork,
        now: Now,
    ) -> Option<Visit<F::Listing>> {
        if self.tree.get(dir).role == Role::Home {
            self.tree.get_mut(dir).unfinished = VisitWork::empty();
            let ids: Vec<SlotId> = self.files.in_dir(dir).collect();
            ids.into_iter().for_each(|id| self.doubt(id));
            self.look_at_single_files(dir);
            self.track_stored(dir);
            return None;
        }
        self.tree.write_bare_path(dir, &mut self.path);
        match self.fs.list(&self.path, links) {
            Ok(listing) => {
                self.tree.set_unreadable(dir, false);
                if self.config.once {
                    // Nothing is watched with `--once`, so a successful visit is the last one.
                    self.kernel.set_polled(&mut self.tree, dir, false);
                }
                // Without events, several rotations may have happened between two visits.
                if work.contains(VisitWork::FINDS_NEW) || self.tree.get(dir).is_polled {
                    let group = self.tree.group(dir);
                    self.schedule.by_age.open_group(group);
                }
                let had_files = self.files.in_dir(dir).next().is_some()
                    || self.tree.children(dir).next().is_some();
                Some(Visit { directory: self.tree.key(dir), work, listing, had_files })
            }
            Err(error) => {
                self.visit_interrupted(dir, &error, now);
                None
            }
        }
    }

    /// A directory cannot be watched or listed, though a look just succeeded. If it is gone, an
    /// event or the next visit reports that. An immediate visit could find the same again and
    /// again, while somebody exchanges names or the file system contradicts itself; everything that
    /// waits for a listing would be stuck.
    fn visit_interrupted(&mut self, dir: DirId, error: &std::io::Error, now: Now) {
        if Failure::of(error) == Failure::Gone && !self.config.once {
            self.visit_later(dir, now);
        } else {
            self.visit_failed(dir, error, now);
        }
    }

    /// Compares the directory's inode with the known one. Returns whether the visit continues.
    fn settle_inode(&mut self, dir: DirId, inode: (u64, u64), now: Now) -> bool {
        let before = self.tree.get(dir).inode;
        if before == inode {
            return true;
        }
        if before != (0, 0) {
            rare!("another directory had the path of a known one");
            if self.follow_on_its_way(dir, before, now.instant) {
                return false;
            }
            if self.tree.parent(dir).is_some() && !self.tree.get(dir).is_path {
                // Rename events of the former directory may still be queued.
                self.lost_directory(dir, now);
                return false;
            }
            // The contents of the former one are dropped, and found again by identity if they are
            // still here.
            self.discovery.visit_roots_within(&self.coverage, &mut self.tree, dir, &mut self.path);
            self.empty_directory(dir, now.instant);
        }
        if let Some(other) = self.tree.find_inode(inode).filter(|&other| other != dir) {
            return self.settle_twice_found(dir, other, inode, now);
        }
        if before != (0, 0) && self.drop_replacement(dir, now) {
            return false;
        }
        self.tree.set_inode(dir, inode);
        true
    }

    /// Another directory has the name of a followed one. The former may have been followed under a
    /// name that no PATH covers; the new one is then dropped. Returns whether it was.
    fn drop_replacement(&mut self, dir: DirId, now: Now) -> bool {
        let is_dropped =
            self.tree.parent(dir).is_some() && self.drop_if_uncovered(dir, now.instant);
        if is_dropped {
            rare!("another directory had a name that only the one before was followed by");
        }
        is_dropped
    }

    /// The same directory was found under two names: an alias (bind mount, link, overlapping
    /// PATHs), or a move whose events were missed.
    fn settle_twice_found(
        &mut self,
        dir: DirId,
        other: DirId,
        inode: (u64, u64),
        now: Now,
    ) -> bool {
        let is_there = match leads_to(&self.tree, other, &mut self.path, &mut self.fs) {
            // One that was renamed away continues where it was found, even if it is back under the
            // old name by now.
            Ok(is_there) => is_there && !self.tree.is_any_moving(other),
            // It can be followed here and not there, whether it is there or not.
            Err(error)
                if matches!(
                    Failure::of(&error),
                    Failure::Refused | Failure::TooLong | Failure::UserMount
                ) =>
            {
                false
            }
            Err(error) => {
                self.visit_failed(dir, &error, now);
                return false;
            }
        };
        let parent_and_name =
            self.tree.parent(dir).map(|parent| (parent, self.tree.name(dir).to_vec()));
        if self.tree.get(other).role == Role::Home && self.tree.get(dir).role == Role::Listed {
            rare!("a directory watched for a single file was listed as well");
            // A listed directory covers the single files in it as well.
            self.merge_home(other, dir);
            self.drop_directory(other, now.instant);
            self.tree.set_inode(dir, inode);
            return true;
        }
        if !is_there && let Some((parent, name)) = parent_and_name {
            rare!("a directory was found under another name before any event said so");
            if self.tree.is_within(parent, other) {
                return false;
            }
            self.drop_directory(dir, now.instant);
            // Something else may have its old name now.
            if let Some(left) = self.tree.parent(other) {
                self.push_visit(left, VisitWork::APPEARED);
            }
            self.rename_directory(other, parent, &name, now.instant);
            return false;
        }
        if !is_there {
            self.drop_directory(other, now.instant);
            self.tree.set_inode(dir, inode);
            return true;
        }
        rare!("a directory was reached by a second path");
        self.merge_home(dir, other);
        self.widen(other, dir);
        self.tree.get_mut(dir).is_path = false;
        self.drop_directory(dir, now.instant);
        if self.tree.get(other).is_unreadable() {
            rare!("a directory that could not be read was reached by a second path");
            // It may have become readable: for a PATH without a watch, only an event about this
            // name reports that.
            self.push_visit(other, VisitWork::RECHECK);
        }
        false
    }

    pub(in crate::engine) fn visit_failed(&mut self, dir: DirId, error: &std::io::Error, now: Now) {
        match Failure::of(error) {
            Failure::Gone => self.lost_directory(dir, now),
            Failure::UserMount => self.leave_user_mount_out(dir, now),
            Failure::Refused | Failure::TooLong => {
                rare!("a directory could not be read");
                if self.tree.set_unreadable(dir, true) {
                    return;
                }
                self.tree.write_bare_path(dir, &mut self.path);
                notice!(warn: self.observer.notices, Cause::Unreadable, about &self.path,
                    now.instant, %error, "directory cannot be read: picked up when that changes");
            }
            failure @ (Failure::Shortage | Failure::Other) => {
                rare!("a directory could not be listed for now");
                // A shortage of descriptors or a disk error does not concern the directory.
                let is_tried_again = !self.config.once || failure == Failure::Shortage;
                self.kernel.set_polled(&mut self.tree, dir, is_tried_again);
                self.discovery.directories_failed += usize::from(!is_tried_again);
                if is_tried_again {
                    self.kernel.poll_by(now.instant + timers::POLL_EVERY);
                }
                self.tree.write_bare_path(dir, &mut self.path);
                let what = if is_tried_again {
                    "directory cannot be listed now: tried again"
                } else {
                    "directory cannot be listed: left out"
                };
                notice!(warn: self.observer.notices, Cause::Failed, about &self.path, now.instant,
                    %error, "{what}");
            }
        }
    }
}
