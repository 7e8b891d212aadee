//! Which directory is visited when; directories that are added, renamed or no longer covered.
//!
//! In: directories that an event, a listing or a sweep reported. Out: visits, in slices, with
//! events processed in between.
//! Always holds: a directory waits for at most one visit, which does all that its reasons ask for.

use std::time::Instant;

use crate::engine::coverage::Coverage;
use crate::engine::coverage::looks::leads_to;
use crate::engine::coverage::root::RootState;
use crate::engine::discovery::Discovery;
use crate::engine::discovery::visits::{Queued, Visit};
use crate::engine::namespace::inputs::ScopeId;
use crate::engine::namespace::tree::{DirId, DirKey, Tree, VisitWork};
use crate::engine::schedule::deadlines::TaskKind;
use crate::engine::{DOUBTS_MAX, ENTRIES_PER_TURN, Engine};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Entries taken from one listing before it is another group's turn.
const ENTRIES_AT_ONCE: usize = 128;

/// The fixed cost of a visit, in entries.
pub(in crate::engine) const VISIT_COST: usize = 8;

/// What the urgent queue returns.
enum Next<L> {
    /// A listing that continues.
    GoOn(Visit<L>),
    /// A visit that begins.
    Begin(DirKey, VisitWork),
}

impl<L> Discovery<L> {
    /// Queues a visit of the directory. If one is queued already, it does this work as well.
    pub(in crate::engine) fn push_visit(&mut self, tree: &mut Tree, dir: DirId, work: VisitWork) {
        let key = tree.key(dir);
        let queued = &mut tree.get_mut(dir).queued;
        let was_queued = !queued.is_empty();
        *queued |= work;
        if !was_queued {
            self.urgent.push(tree.group(dir), key);
        }
    }

    /// A directory is moved or removed. PATHs within it get no event about that, so they are
    /// visited.
    pub(in crate::engine) fn visit_roots_within(
        &mut self,
        coverage: &Coverage,
        tree: &mut Tree,
        dir: DirId,
        path: &mut Vec<u8>,
    ) {
        path.clear();
        tree.write_path(dir, path);
        for root in &coverage.roots {
            let RootState::Found(key) = root.state else { continue };
            if root.path.starts_with(path)
                && let Some(within) = tree.alive(key).filter(|&within| within != dir)
            {
                rare!("a directory was renamed or lost with a PATH in it");
                self.push_visit(tree, within, VisitWork::APPEARED);
            }
        }
    }

    /// The next directory: one that is being listed, or one to visit and the work to do.
    fn next(&mut self, tree: &mut Tree, budget: &mut usize) -> Option<Next<L>> {
        let key = match self.urgent.pop()? {
            Queued::Begun(visit) => return Some(Next::GoOn(visit)),
            Queued::New(key) => key,
        };
        *budget = budget.saturating_sub(VISIT_COST);
        let dir = tree.alive(key)?;
        if self.urgent.wait_if_needed() {
            self.urgent.wait(tree.group(dir), key);
            return None;
        }
        let work = std::mem::take(&mut tree.get_mut(dir).queued);
        (!work.is_empty()).then_some(Next::Begin(key, work))
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Takes a slice of the due listings, of the searches and of the sweeps.
    pub(in crate::engine) fn discover(&mut self, now: Now) {
        if self.discovery.is_rescan_due && !self.discovery.urgent.has_work() {
            self.discovery.is_rescan_due = false;
            self.kernel.is_missing_events = true;
            self.observer.stats.rescans += 1;
            rare!("everything was listed because events were lost");
            self.kernel.suspect(self.kernel.drained_at);
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
            let visit = match self.discovery.next(&mut self.tree, &mut budget) {
                Some(Next::GoOn(visit)) => Some(visit),
                Some(Next::Begin(key, work)) => self.begin_visit(key, work, now),
                None => None,
            };
            let Some(visit) = visit else { continue };
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
            let (total, notices) = (self.observer.stats.old_files, &mut self.observer.notices);
            self.discovery.old_files.report(total, notices, now.instant);
            if std::mem::take(&mut self.kernel.is_missing_events) {
                self.give_useless_watches_back();
            }
            if self.schedule.by_age.has_open_groups() {
                self.schedule.give_back();
            }
            self.discovery.has_scanned = true;
        }
        if !self.discovery.urgent.has_work()
            && !self.discovery.sweeps.is_running()
            && self.schedule.doubts.is_empty()
        {
            self.kernel.suspect_since = None;
            let (needed, notices) = (self.tree.len(), &mut self.observer.notices);
            self.kernel.report_watch_limit(needed, notices, now.instant);
        }
    }

    /// No listing is under way, and every name that was found has been looked at.
    pub(in crate::engine) fn is_calm(&self) -> bool {
        !self.discovery.urgent.has_work()
            && !self.discovery.searches.is_under_way()
            && self.schedule.doubts.is_empty()
            && !self.has_unapplied_finds()
    }

    /// See [`Discovery::push_visit`].
    pub(in crate::engine) fn push_visit(&mut self, dir: DirId, work: VisitWork) {
        self.discovery.push_visit(&mut self.tree, dir, work);
    }

    /// Adds a directory that a listing or an event reported, if it is to be followed, and returns
    /// it.
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
                // The file continues under its other name, and a look at that does not check this
                // one.
                self.files.remove_alias(parent, name);
            }
        }
        let scope = self.coverage.scope_below(&self.tree, parent, name, &mut self.path);
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
        // Some of its contents may have been dropped already.
        let was_dropping = self.discovery.below.is_dropping() && self.tree.is_any_dropping(dir);
        self.discovery.visit_roots_within(&self.coverage, &mut self.tree, dir, &mut self.path);
        // A PATH may not lead to the new place.
        self.discovery.is_path_lost |= self.coverage.has_path_within(&self.tree, dir);
        self.tree.rename(dir, parent, name);
        // A glob about paths may now accept files and directories that it refused.
        let is_covered_anew = self.rescope_moved(dir, now);
        self.push_visit(
            dir,
            if is_covered_anew || was_dropping { VisitWork::RECHECK } else { VisitWork::APPEARED },
        );
    }

    /// Updates what covers a directory below another, and drops it if nothing does. Returns whether
    /// it was dropped.
    pub(in crate::engine) fn drop_if_uncovered(&mut self, dir: DirId, now: Instant) -> bool {
        self.coverage.rescope(&mut self.tree, dir, ScopeId::default(), &mut self.path);
        let is_uncovered = self.coverage.inputs.is_empty(self.tree.get(dir).scope);
        if is_uncovered {
            self.drop_directory(dir, now);
        }
        is_uncovered
    }

    /// Whether the directory's path still leads to it. If not, it counts as lost.
    pub(in crate::engine) fn is_directory_intact(&mut self, dir: DirId, now: Now) -> bool {
        match leads_to(&self.tree, dir, &mut self.path, &mut self.fs) {
            Ok(true) => return true,
            Ok(false) if !self.tree.is_any_moving(dir) => self.lost_directory(dir, now),
            Ok(false) | Err(_) => {}
        }
        false
    }

    /// Whether some directory was renamed away or is being dropped, and is not settled yet.
    pub(in crate::engine) fn are_directories_moving(&self) -> bool {
        self.schedule.deadlines.has(TaskKind::JudgeDirectory) || self.discovery.below.is_dropping()
    }
}
