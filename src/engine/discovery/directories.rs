//! Directories: visit (look, watch, list, in this order), rename, drop. Listings are taken in
//! slices, events are served in between.

use std::time::{Duration, Instant};

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::discovery::visits::{Queued, Visit};
use crate::engine::namespace::inputs::ScopeId;
use crate::engine::namespace::registry::SlotId;
use crate::engine::namespace::tree::{DirId, DirKey, Role, Trust, VisitWork};
use crate::engine::schedule::deadlines::TaskKind;
use crate::engine::schedule::timers;
use crate::engine::{DOUBTS_MAX, ENTRIES_PER_TURN, Engine};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Guard, Links};

/// Entries taken from one listing before other groups have their turn.
const ENTRIES_AT_ONCE: usize = 128;

/// What a visit costs beside its entries, in entries.
pub(in crate::engine) const VISIT_COST: usize = 8;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Takes a slice of the listings that are due, and one of the sweeps.
    pub(in crate::engine) fn discover(&mut self, now: Now) {
        if self.discovery.is_rescan_due && !self.discovery.urgent.has_work() {
            self.discovery.is_rescan_due = false;
            self.kernel.is_missing_events = true;
            self.observer.stats.rescans += 1;
            rare!("everything was listed because events were lost");
            self.suspect(self.kernel.drained_at);
            for place in 0..self.tree.places() {
                if let Some(dir) = self.tree.at_place(place) {
                    self.push_visit(dir, VisitWork::LOOK_AT_KNOWN);
                }
            }
        }
        if self.discovery.is_path_lost {
            self.root_lost(now);
        }
        let mut budget = ENTRIES_PER_TURN;
        while budget > 0
            && self.schedule.doubts.len() < DOUBTS_MAX
            && self.discovery.urgent.has_work()
        {
            let Some(visit) = self.next_visit(&mut budget, now) else { continue };
            let slice = budget.min(ENTRIES_AT_ONCE);
            let mut left = slice;
            let visit = self.list(visit, &mut left, now);
            budget -= slice - left;
            if let Some((visit, dir)) =
                visit.and_then(|visit| self.tree.alive(visit.directory).map(|dir| (visit, dir)))
            {
                self.discovery.urgent.go_on(self.tree.group(dir), visit);
            }
        }
        self.search(&mut budget, now);
        self.sweep_slices(now);
        if !self.schedule.by_age.is_empty() {
            self.release_by_age(now.instant);
        }
        if self.is_calm() {
            self.say_old_files(now.instant);
            if std::mem::take(&mut self.kernel.is_missing_events) {
                self.give_useless_watches_back();
            }
            if self.schedule.by_age.has_open_groups() {
                self.schedule.give_back();
            }
            self.discovery.has_scanned = true;
        }
        if !self.discovery.urgent.has_work()
            && !self.is_sweeping()
            && self.schedule.doubts.is_empty()
        {
            self.kernel.suspect_since = None;
            let (needed, notices) = (self.tree.len(), &mut self.observer.notices);
            self.kernel.report_watch_limit(needed, notices, now.instant);
        }
    }

    /// No listing is under way, and every name that came up was looked at.
    pub(in crate::engine) fn is_calm(&self) -> bool {
        !self.discovery.urgent.has_work()
            && !self.discovery.searches.is_under_way()
            && self.schedule.doubts.is_empty()
            && !self.has_unapplied_finds()
    }

    /// From now on until all is calm: files modified since then are read once even if their size is
    /// as it was.
    pub(in crate::engine) fn suspect(&mut self, since: std::time::SystemTime) {
        // File systems stamp with a clock that lags by a tick or, on network file systems, more.
        let since = since.checked_sub(Duration::from_secs(1)).unwrap_or(since);
        self.kernel.suspect_since =
            Some(self.kernel.suspect_since.map_or(since, |known| known.min(since)));
    }

    pub(in crate::engine) fn push_visit(&mut self, dir: DirId, work: VisitWork) {
        let key = self.tree.key(dir);
        let queued = &mut self.tree.get_mut(dir).queued;
        let is_queued = !queued.is_empty();
        *queued |= work;
        if !is_queued {
            let group = self.tree.group(dir);
            self.discovery.urgent.push(group, key);
        }
    }

    /// The listing that goes on or begins now.
    fn next_visit(&mut self, budget: &mut usize, now: Now) -> Option<Visit<F::Listing>> {
        let key = match self.discovery.urgent.pop()? {
            Queued::Begun(visit) => return Some(visit),
            Queued::New(key) => key,
        };
        *budget = budget.saturating_sub(VISIT_COST);
        let dir = self.tree.alive(key)?;
        if self.discovery.urgent.must_wait() {
            let group = self.tree.group(dir);
            self.discovery.urgent.wait(group, key);
            return None;
        }
        let work = std::mem::take(&mut self.tree.get_mut(dir).queued);
        if work.is_empty() { None } else { self.begin_visit(key, work, now) }
    }

    /// Files of this group may come up of which nothing is known, so that they are read in the
    /// order of their last modification.
    #[inline]
    pub(in crate::engine) fn is_listing(&self, group: u32) -> bool {
        self.schedule.by_age.is_group_open(group)
    }

    /// Adds a directory that was listed or heard of, if it is to be followed, and returns it.
    pub(in crate::engine) fn add_directory(
        &mut self,
        parent: DirId,
        name: &[u8],
        work: VisitWork,
    ) -> Option<DirId> {
        if let Some(id) = self.files.find(parent, name).filter(|&id| self.files.get(id).is_bound())
        {
            // The file and the directory are both checked. A later event that moves the file away
            // does not mention the directory.
            self.doubt(id);
            if self.files.is_alias(parent, name) {
                // The file goes on under its other name, and a look there would tell nothing of
                // this one.
                self.files.remove_alias(parent, name);
            }
        }
        let scope = self.scope_below(parent, name);
        if self.coverage.inputs.is_empty(scope) {
            return None;
        }
        let dir = self.tree.add(parent, name);
        self.tree.get_mut(dir).scope = scope;
        self.push_visit(dir, work);
        Some(dir)
    }

    pub(in crate::engine) fn rename_directory(
        &mut self,
        dir: DirId,
        parent: DirId,
        name: &[u8],
        now: Instant,
    ) {
        // Some of what was below may have been let go already.
        let was_dropping = self.discovery.below.is_dropping() && self.is_any_dropping(dir);
        self.visit_roots_within(dir);
        // What was a PATH may be none at its new place.
        self.discovery.is_path_lost |= self.has_path_within(dir);
        self.tree.rename(dir, parent, name);
        // A glob about paths may accept what it refused, in files and directories that are not
        // known.
        let is_covered_anew = self.rescope_moved(dir, now);
        self.push_visit(
            dir,
            if is_covered_anew || was_dropping { VisitWork::RECHECK } else { VisitWork::APPEARED },
        );
    }

    /// Writes the directory's path. Returns which links are followed on paths of names in it.
    pub(in crate::engine) fn write_directory(&mut self, dir: DirId) -> Links {
        self.path.clear();
        let trust = self.tree.write_path(dir, &mut self.path);
        self.links_on(trust)
    }

    /// Which links are followed on a path that is trusted so far.
    pub(in crate::engine) fn links_on(&self, Trust { trusted, followed }: Trust) -> Links {
        match self.config.follow_links.filter(|_| followed > trusted) {
            Some(rule) => Links::Guarded(Guard { trusted, followed, rule }),
            None => Links::Beneath(trusted),
        }
    }

    /// Writes the path of a name in the directory, whatever has it. Returns which links on the path
    /// are followed.
    pub(in crate::engine) fn write_name(&mut self, dir: DirId, name: &[u8]) -> Links {
        let links = self.write_directory(dir);
        self.path.extend_from_slice(name);
        links
    }

    /// The directory's path without the slash at its end, which would make `O_NOFOLLOW` and `lstat`
    /// follow a link. Returns which links on it are followed.
    pub(in crate::engine) fn write_directory_bare(&mut self, dir: DirId) -> Links {
        let below = self.write_directory(dir);
        // A PATH.
        let links = if below == Links::Beneath(self.path.len()) { Links::Follow } else { below };
        if self.path.len() > 1 && self.path.ends_with(b"/") {
            self.path.pop();
        }
        if self.path.is_empty() {
            self.path.push(b'.');
        }
        links
    }

    /// Looks at a directory, watches it and starts to list it: in this order, so that nothing that
    /// comes later is missed.
    pub(in crate::engine) fn begin_visit(
        &mut self,
        key: DirKey,
        work: VisitWork,
        now: Now,
    ) -> Option<Visit<F::Listing>> {
        let dir = self.tree.alive(key)?;
        // What a visit that failed was to do is still to be done.
        let mut work = work | self.tree.get(dir).unfinished.after_failure();
        self.tree.get_mut(dir).unfinished = work;
        if self.is_any_moving(dir) {
            rare!("a visit waited until a renamed directory was settled");
            self.visit_later(dir, now);
            return None;
        }
        let inode_before = self.tree.get(dir).inode;
        let was_visited = inode_before != (0, 0);
        self.visit_begins();
        let links = self.write_directory_bare(dir);
        match self.fs.stat(&self.path, links) {
            Ok(found) if found.kind == FileKind::Directory => {
                let inode = (found.id.device, found.id.inode);
                if self.own.directories.contains(&inode) || self.is_state_directory(dir, links) {
                    self.leave_out(dir, now);
                    return None;
                }
                if !self.settle_inode(dir, inode, now) {
                    return None;
                }
                self.tree.get_mut(dir).owner = found.owner;
                self.identities.former.take_deleted(key);
                if inode_before != inode || !self.tree.get(dir).is_type_known {
                    self.choose_sweep(dir, inode.0, now);
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
            // What happened here without a watch was not told.
            work |= VisitWork::LOOK_AT_KNOWN;
        }
        self.write_directory_bare(dir);
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
            // Another directory, though the inode number is the same: what is known below is not
            // about this one.
            if self.drop_replacement(dir, now) {
                return None;
            }
            work |= VisitWork::LOOK_AT_KNOWN;
        }
        self.start_listing(dir, links, work, now)
    }

    /// The state directory lies in the tree: its files change with every commit, so following them
    /// would never end.
    fn leave_out(&mut self, dir: DirId, now: Now) {
        rare!("the state directory lay in the tree");
        self.write_directory_bare(dir);
        notice!(warn: self.observer.notices, Cause::OwnOutput, about &self.path, now.instant,
            "this is the state directory: left out");
        self.drop_directory(dir, now.instant);
    }

    /// Visits the directory with the next poll.
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
        self.write_directory_bare(dir);
        match self.fs.list(&self.path, links) {
            Ok(listing) => {
                self.tree.set_unreadable(dir, false);
                if self.config.once {
                    // Nothing is watched then, so a visit that succeeds is the last one.
                    self.kernel.set_polled(&mut self.tree, dir, false);
                }
                // Where no event tells, several rotations may have come between two visits.
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

    /// A directory cannot be watched or listed that could be looked at a moment ago. If it is gone
    /// by now an event says so, or the next visit: one that followed at once would find the same,
    /// on and on, while somebody exchanges names or the file system contradicts itself, and all
    /// that waits for a listing would wait.
    fn visit_interrupted(&mut self, dir: DirId, error: &std::io::Error, now: Now) {
        if Failure::of(error) == Failure::Gone && !self.config.once {
            self.visit_later(dir, now);
        } else {
            self.visit_failed(dir, error, now);
        }
    }

    /// Compares the directory's inode with what is known. Says whether the visit goes on.
    fn settle_inode(&mut self, dir: DirId, inode: (u64, u64), now: Now) -> bool {
        let before = self.tree.get(dir).inode;
        if before == inode {
            return true;
        }
        if before != (0, 0) {
            rare!("another directory had the path of a known one");
            if self.is_found_on_its_way(dir, before, now.instant) {
                return false;
            }
            if self.tree.parent(dir).is_some() && !self.tree.get(dir).is_path {
                // Events of renames may still be queued: those of the directory that was here.
                self.lost_directory(dir, now);
                return false;
            }
            // What was below the old one is let go and found again by identity if it is still here.
            self.visit_roots_within(dir);
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

    /// Another directory has the name of a followed one. The former may have been renamed to a name
    /// that no PATH covers: then the new one is dropped. Returns whether it was.
    fn drop_replacement(&mut self, dir: DirId, now: Now) -> bool {
        let is_dropped =
            self.tree.parent(dir).is_some() && self.drop_if_uncovered(dir, now.instant);
        if is_dropped {
            rare!("another directory had a name that only the one before was followed by");
        }
        is_dropped
    }

    /// Works out anew what covers a directory below another, and drops it if nothing does. Returns
    /// whether it was dropped.
    pub(in crate::engine) fn drop_if_uncovered(&mut self, dir: DirId, now: Instant) -> bool {
        self.rescope(dir, ScopeId::default());
        let is_uncovered = self.coverage.inputs.is_empty(self.tree.get(dir).scope);
        if is_uncovered {
            self.drop_directory(dir, now);
        }
        is_uncovered
    }

    /// The same directory under two names: an alias (bind mount, link, overlapping PATHs), or moved
    /// while events were missed.
    fn settle_twice_found(
        &mut self,
        dir: DirId,
        other: DirId,
        inode: (u64, u64),
        now: Now,
    ) -> bool {
        let is_there = match self.leads_to(other) {
            // One that was renamed away, even if it is back under the old name by now, goes on
            // where it was found.
            Ok(is_there) => is_there && !self.is_any_moving(other),
            // Whether it is there or not: it can be followed here, and not there.
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
            // A listed directory serves the single files in it as well.
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
            // What led here may tell that it can be read now: a PATH without a watch is told of
            // that by this name only.
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
                self.write_directory_bare(dir);
                notice!(warn: self.observer.notices, Cause::Unreadable, about &self.path,
                    now.instant, %error, "directory cannot be read: picked up when that changes");
            }
            failure @ (Failure::Shortage | Failure::Other) => {
                rare!("a directory could not be listed for now");
                // Out of descriptors, or a disk error: neither says anything about the directory.
                let is_tried_again = !self.config.once || failure == Failure::Shortage;
                self.kernel.set_polled(&mut self.tree, dir, is_tried_again);
                self.discovery.directories_failed += usize::from(!is_tried_again);
                if is_tried_again {
                    self.kernel.poll_by(now.instant + timers::POLL_EVERY);
                }
                self.write_directory_bare(dir);
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

    /// Whether the directory's path still leads to it. If not, what is lost is dropped.
    pub(in crate::engine) fn is_directory_intact(&mut self, dir: DirId, now: Now) -> bool {
        match self.leads_to(dir) {
            Ok(true) => return true,
            Ok(false) if !self.is_any_moving(dir) => self.lost_directory(dir, now),
            Ok(false) | Err(_) => {}
        }
        false
    }

    /// Some directory was renamed away, or let go, and is not settled yet.
    pub(in crate::engine) fn are_directories_moving(&self) -> bool {
        self.schedule.deadlines.has(TaskKind::JudgeDirectory) || self.discovery.below.is_dropping()
    }

    pub(in crate::engine) fn is_any_moving(&self, dir: DirId) -> bool {
        self.and_above(dir).any(|at| self.tree.get(at).is_moving)
    }

    fn is_any_dropping(&self, dir: DirId) -> bool {
        self.and_above(dir).any(|at| self.tree.get(at).is_dropping)
    }

    fn and_above(&self, dir: DirId) -> impl Iterator<Item = DirId> + '_ {
        std::iter::successors(Some(dir), |&at| self.tree.parent(at))
    }

    /// Whether the directory's path leads to it. A failure to look says neither.
    pub(in crate::engine) fn leads_to(&mut self, dir: DirId) -> std::io::Result<bool> {
        let inode = self.tree.get(dir).inode;
        let links = self.write_directory_bare(dir);
        match self.fs.stat(&self.path, links) {
            // A file may have the number of one that was deleted.
            Ok(found) => {
                Ok(found.kind == FileKind::Directory && (found.id.device, found.id.inode) == inode)
            }
            Err(error) if Failure::of(&error) == Failure::Gone => Ok(false),
            Err(error) => Err(error),
        }
    }
}
