//! Ways: the directories and links that the kernel walks to get to each PATH. Their names are
//! watched. So a link that is changed, a directory above that is renamed or gets other permissions,
//! and a mount are noticed at once, without a sweep.
//!
//! In: PATHs, events, changes of the table of mounts. Out: looks at the PATHs whose way changed.
//! Always holds: a directory is watched before the look at a name in it, so later changes are
//! reported; a way that keeps changing is walked at most every [`SPACING_LONGEST`]; there is no
//! deadline unless something changed.
//!
//! inotify has one watch per inode, so the tree and a way can share one. The watch reports the
//! events that either needs. It is removed when neither needs it.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::engine::Engine;
use crate::engine::coverage::Coverage;
use crate::engine::coverage::root::RootState;
use crate::engine::namespace::tree::{Tree, VisitWork};
use crate::mounts::{self, Mount};
use crate::names::split_path;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{FileSystem, Links, WatchId};

mod ends;
mod mount_points;
mod quiet;
pub(in crate::engine) mod spelling;
mod walking;

use mount_points::Mounted;
use spelling::{above, absolute, join};
use walking::{Step, Way};

/// From the first change to the walk, so that a rename away and one into its place count as one
/// change.
const SETTLE: Duration = Duration::from_millis(20);

/// The shortest time between two walks. It doubles with every walk while changes continue, up to
/// the longest time.
const SPACING_FIRST: Duration = Duration::from_millis(100);
pub(in crate::engine) const SPACING_LONGEST: Duration = Duration::from_secs(2);

/// After this time without a walk the first spacing applies again.
const CALM_AFTER: Duration = Duration::from_secs(8);

/// Identifies a way: the number of a PATH, or the state directory.
type WayId = usize;
const STATE_DIRECTORY: WayId = usize::MAX;

/// A name that is part of a way.
type WatchedName = (Box<[u8]>, WayId);

/// Why a way is to be walked again. The last variant includes the others: a way that is due for its
/// attributes is looked at in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Due {
    No,
    /// A name on it appeared, disappeared or changed.
    Names,
    /// Permissions on it changed, so what is below may have become readable.
    Attributes,
}

/// All ways.
#[derive(Debug)]
pub(in crate::engine) struct Ways {
    /// By the number of the PATH.
    ways: Vec<(Option<Way>, Due)>,
    /// The path of the state directory, its way, and whether something changed on it.
    state: Option<(Vec<u8>, Option<Way>, Due)>,
    /// The committer has to look at the state directory.
    is_state_doubtful: bool,
    /// Which names in a watched directory belong to which ways, sorted.
    watched: HashMap<WatchId, Vec<WatchedName>>,
    /// Mount points that would lie on a way.
    points: HashMap<Box<[u8]>, Vec<WayId>>,
    /// The ends of ways that lead to directories.
    ends: HashMap<Box<[u8]>, Vec<WayId>>,
    /// The mounts on ways and below their ends, sorted.
    mounts: Vec<Mount>,
    /// The table of mounts cannot be read, and that was logged.
    is_table_missing: bool,
    /// The start of the current turn, and its number.
    now: Option<Instant>,
    turn: u64,
    /// The turn of the last visit of a directory.
    visited_in: u64,
    /// A directory was visited at about the time of a change on a way.
    is_visit_doubtful: bool,
    due_at: Option<Instant>,
    walked_at: Option<Instant>,
    spacing: Duration,
}

impl Ways {
    pub(in crate::engine) fn new() -> Self {
        Ways {
            ways: Vec::new(),
            state: None,
            is_state_doubtful: false,
            watched: HashMap::new(),
            points: HashMap::new(),
            ends: HashMap::new(),
            mounts: Vec::new(),
            is_table_missing: false,
            now: None,
            turn: 0,
            visited_in: 0,
            is_visit_doubtful: false,
            due_at: None,
            walked_at: None,
            spacing: SPACING_FIRST,
        }
    }

    /// When ways are to be walked again, if something changed.
    pub(in crate::engine) fn deadline(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether a way needs the watch.
    pub(in crate::engine) fn needs(&self, watch: WatchId) -> bool {
        self.watched.contains_key(&watch)
    }

    /// The watches that ways need.
    pub(in crate::engine) fn watches(&self) -> impl Iterator<Item = WatchId> + '_ {
        self.watched.keys().copied()
    }

    /// Another PATH gets this number.
    pub(in crate::engine) fn forget(&mut self, root: usize) {
        if let Some(way) = self.ways.get_mut(root) {
            *way = (None, Due::Names);
        }
    }

    /// Whether the state directory is to be looked at. Resets that.
    pub(in crate::engine) fn take_state_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_state_doubtful)
    }

    fn schedule(&mut self) {
        // Before the first turn nothing is scheduled: that turn walks all ways.
        let Some(now) = self.now else { return };
        self.is_visit_doubtful |= self.visited_in + 1 >= self.turn;
        let spaced = self.walked_at.map_or(now, |at| at + self.spacing);
        self.due_at.get_or_insert(spaced.max(now + SETTLE));
    }

    fn mark(&mut self, way: WayId, why: Due) {
        if let Some((_, due)) = self.ways.get_mut(way) {
            *due = why.max(*due);
        } else if let Some((_, _, due)) = self.state.as_mut().filter(|_| way == STATE_DIRECTORY) {
            *due = why.max(*due);
        }
    }

    /// A name in a watched directory changed.
    pub(in crate::engine) fn name_changed(&mut self, watch: WatchId, name: &[u8], why: Due) {
        let Some(names) = self.watched.get(&watch) else { return };
        let first = names.partition_point(|(known, _)| **known < *name);
        let touched: Vec<WayId> = names[first..]
            .iter()
            .take_while(|(known, _)| **known == *name)
            .map(|&(_, way)| way)
            .collect();
        // The name of a journal changes with every new one.
        let is_state_file = name == b"lock" || name.starts_with(b"journal.");
        self.is_state_doubtful |= is_state_file
            && names.iter().any(|(known, way)| *way == STATE_DIRECTORY && known.is_empty());
        if !touched.is_empty() {
            touched.into_iter().for_each(|way| self.mark(way, why));
            self.schedule();
        }
    }

    /// Something happened to a watched directory itself.
    pub(in crate::engine) fn directory_changed(&mut self, watch: WatchId, why: Due) {
        let Some(names) = self.watched.get(&watch) else { return };
        let touched: Vec<WayId> = names.iter().map(|&(_, way)| way).collect();
        touched.into_iter().for_each(|way| self.mark(way, why));
        self.schedule();
    }

    /// Updates which names, mount points and ends belong to which ways.
    fn index(&mut self) {
        self.watched.clear();
        self.points.clear();
        self.ends.clear();
        let ways =
            self.ways.iter().enumerate().filter_map(|(at, (way, _))| Some((at, way.as_ref()?)));
        let state =
            self.state.iter().filter_map(|(_, way, _)| Some((STATE_DIRECTORY, way.as_ref()?)));
        for (at, way) in ways.chain(state) {
            for step in &way.steps {
                if let Some(watch) = step.watch {
                    self.watched.entry(watch).or_default().push((step.name.clone(), at));
                }
                if let Some(point) = absolute(&way.base, &join(&step.directory, &step.name)) {
                    self.points.entry(point.into()).or_default().push(at);
                }
            }
            if let Some(end) = absolute(&way.base, &way.real)
                .filter(|_| at != STATE_DIRECTORY && way.inode.is_some())
            {
                self.ends.entry(end.into()).or_default().push(at);
            }
        }
        self.watched.values_mut().for_each(|names| {
            names.sort_unstable();
            names.dedup();
        });
    }

    /// Whether a mount there changes where a way leads to, or what is below its end.
    fn concerns(&self, point: &[u8]) -> bool {
        self.points.contains_key(point) || above(point).any(|end| self.ends.contains_key(end))
    }

    /// The state directory's path, for people.
    pub(in crate::engine) fn state_directory_text(&self) -> String {
        let state = self.state.as_ref();
        state.map_or_else(String::new, |(path, ..)| String::from_utf8_lossy(path).into_owned())
    }

    /// Whether a directory is at the state directory's path: a new state directory may just have
    /// been made there.
    pub(in crate::engine) fn is_state_directory(
        &self,
        name: &[u8],
        path: &[u8],
        links: Links,
        fs: &mut impl FileSystem,
    ) -> bool {
        let Some((_, Some(way), _)) = &self.state else { return false };
        if split_path(&way.real).1 != name {
            return false;
        }
        let real = absolute(&way.base, &way.real);
        fs.canonical(path, links).is_ok_and(|path| Some(path) == real)
    }

    /// Removes a watch that the tree had. A way that needs it sets it again, for names alone.
    pub(in crate::engine) fn unwatch(&mut self, watch: WatchId, fs: &mut impl FileSystem) {
        fs.unwatch(watch);
        if self.needs(watch) {
            self.directory_changed(watch, Due::Names);
            self.watched.remove(&watch);
        }
    }

    /// The kernel dropped a watch.
    pub(in crate::engine) fn watch_ended(
        &mut self,
        watch: WatchId,
        tree: &Tree,
        fs: &mut impl FileSystem,
    ) {
        if self.needs(watch) {
            self.directory_changed(watch, Due::Names);
            self.watched.remove(&watch);
            if tree.find_watch(watch).is_none() {
                fs.unwatch(watch);
            }
        }
    }

    /// Events were lost: every way may have changed.
    pub(in crate::engine) fn events_lost(&mut self) {
        let all = (0..self.ways.len()).chain([STATE_DIRECTORY]);
        all.for_each(|way| self.mark(way, Due::Names));
        self.is_state_doubtful |= self.state.is_some();
        self.schedule();
    }

    /// Called before a directory is looked at, watched and listed by its path. If the way there
    /// changes meanwhile, these may be three directories.
    pub(in crate::engine) fn visit_begins(&mut self) {
        self.visited_in = self.turn;
        self.is_visit_doubtful |= self.due_at.is_some();
    }

    /// Called when a turn begins. Returns whether ways are to be walked if no event is queued.
    fn begin_turn(&mut self, now: Instant) -> bool {
        self.now = Some(now);
        self.turn += 1;
        self.due_at.is_some_and(|at| at <= now)
    }

    /// Updates how long the next walk has to wait after this one.
    fn space(&mut self, now: Instant) {
        let is_calm =
            self.walked_at.is_none_or(|at| now.saturating_duration_since(at) > CALM_AFTER);
        self.spacing =
            if is_calm { SPACING_FIRST } else { (self.spacing * 2).min(SPACING_LONGEST) };
    }

    fn walk_to_state(&mut self, fs: &mut impl FileSystem) {
        let Some((path, known, due)) = &mut self.state else { return };
        if std::mem::replace(due, Due::No) == Due::No {
            return;
        }
        let mut way = Way::walk(path, fs);
        // The names in it are watched as well. An empty name, which no event has, stands for the
        // directory itself.
        if way.inode.is_some() {
            let watch = fs.watch_names(&way.real).ok();
            let directory = way.real.as_slice().into();
            way.steps.push(Step { directory, name: Box::default(), watch });
        }
        self.is_state_doubtful |= known.is_some();
        *known = Some(way);
    }

    fn let_unused_watches_go(&mut self, tree: &Tree, fs: &mut impl FileSystem) {
        let before: Vec<WatchId> = self.watches().collect();
        self.index();
        for watch in before {
            if !self.needs(watch) && tree.find_watch(watch).is_none() {
                fs.unwatch(watch);
            }
        }
    }
}

impl Coverage {
    /// Whether a PATH is a single file whose home is watched and is on its way: the tree gets the
    /// events about its name itself.
    fn is_home_of_file(&self, root: usize, way: &Way, tree: &Tree) -> bool {
        let RootState::Found(key) = self.roots[root].state else { return false };
        let home = tree.alive(key).filter(|_| !self.roots[root].is_tree);
        let watch = home.and_then(|home| tree.watch(home));
        watch.is_some() && way.steps.iter().any(|step| step.watch == watch)
    }

    /// Walks the ways of PATHs that are due. `points`: the ways on which a mount changed. Returns
    /// the PATHs to look at, and why.
    fn walk_to_roots(
        &mut self,
        points: &[WayId],
        tree: &Tree,
        fs: &mut impl FileSystem,
    ) -> Vec<(usize, Due)> {
        let mut changed = Vec::new();
        for at in 0..self.ways.ways.len() {
            let is_removed = self.roots[at].state == RootState::Removed;
            let (way, due) = &mut self.ways.ways[at];
            let (before, why) = (way.take(), std::mem::replace(due, Due::No));
            if why == Due::No || is_removed {
                *way = before.filter(|_| !is_removed);
                continue;
            }
            let way = Way::walk(&self.roots[at].path, fs);
            let is_same = way.is_reported
                && before.as_ref() == Some(&way)
                && self.is_home_of_file(at, &way, tree);
            if !is_same || why == Due::Attributes || points.contains(&at) {
                changed.push((at, why));
            }
            self.ways.ways[at].0 = Some(way);
        }
        changed
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The table of mounts changed.
    pub fn mounts_changed(&mut self, now: Now) {
        self.coverage.ways.now = Some(now.instant);
        self.coverage.ways.schedule();
    }

    /// Watches the way to the state directory, so that its loss is noticed even if nothing is
    /// committed.
    pub fn watch_state_directory(&mut self, path: Vec<u8>) {
        self.coverage.ways.state = Some((path, None, Due::Names));
    }

    /// Walks the ways that were not walked yet: before the first look at PATHs, or after the
    /// settings changed.
    pub(in crate::engine) fn arm_ways(&mut self, now: Now) {
        if self.config.once {
            return;
        }
        self.coverage.ways.now = Some(now.instant);
        self.coverage.ways.ways.resize_with(self.coverage.roots.len(), || (None, Due::Names));
        for (at, why) in self.walk_due(now) {
            // The caller starts those that are missing.
            if self.coverage.roots[at].state != RootState::Missing {
                self.look_at_end(at, why, now);
            }
        }
    }

    /// Walks the ways that changed and looks at their PATHs, once the kernel's queue is empty and
    /// the time has come.
    pub(in crate::engine) fn follow_ways(&mut self, now: Now) {
        let is_due = self.coverage.ways.begin_turn(now.instant);
        if !is_due || self.kernel.are_events_pending {
            return;
        }
        self.coverage.ways.space(now.instant);
        for (at, why) in self.walk_due(now) {
            let path = String::from_utf8_lossy(&self.coverage.roots[at].path);
            tracing::debug!(?path, ?why, "what leads to this PATH changed");
            self.look_at_end(at, why, now);
            // A listing during the change may have listed another directory.
            self.discovery.is_rescan_due |=
                std::mem::take(&mut self.coverage.ways.is_visit_doubtful);
        }
        self.coverage.ways.is_visit_doubtful = false;
    }

    /// Walks the ways that are due. Returns the PATHs to look at, and why.
    fn walk_due(&mut self, now: Now) -> Vec<(usize, Due)> {
        self.coverage.ways.due_at = None;
        self.coverage.ways.walked_at = Some(now.instant);
        // The table is read before the walks: a later mount causes the next change.
        let table = self.coverage.ways.read_mounts(&mut self.fs);
        let points = table.as_deref().map_or_else(Vec::new, |table| {
            let after = relevant(table, &self.coverage.ways);
            mounts::changed(&self.coverage.ways.mounts, &after)
        });
        let mut seen = Vec::new();
        for point in &points {
            self.coverage.mount_changed(point, &mut seen);
            for Mounted { dir, file } in self.coverage.mounted_below(point, &self.files, &self.tree)
            {
                file.into_iter().for_each(|id| self.doubt(id));
                self.push_visit(dir, VisitWork::APPEARED);
            }
        }
        let Engine { coverage, tree, fs, .. } = self;
        let changed = coverage.walk_to_roots(&seen, tree, fs);
        coverage.ways.walk_to_state(fs);
        coverage.ways.let_unused_watches_go(tree, fs);
        coverage.ways.ignore_other_names(tree, fs);
        if let Some(table) = table {
            coverage.ways.mounts = relevant(&table, &coverage.ways);
        }
        changed
    }

    /// The way to a PATH changed: looks at the PATH.
    fn look_at_end(&mut self, at: usize, why: Due, now: Now) {
        let RootState::Found(key) = self.coverage.roots[at].state else {
            self.start_root(at, VisitWork::APPEARED, now);
            return;
        };
        let Some(dir) = self.tree.alive(key) else {
            self.discovery.is_path_lost = true;
            return;
        };
        if self.coverage.roots[at].is_tree {
            // A visit does not find that out for a PATH below another one.
            self.discovery.is_path_lost |= self.tree.parent(dir).is_some();
            // With other permissions, a name may have changed as well.
            let more = if why == Due::Attributes { VisitWork::RECHECK } else { VisitWork::empty() };
            self.push_visit(dir, VisitWork::APPEARED | more);
            return;
        }
        let path = self.coverage.roots[at].path.clone();
        let (_, name) = split_path(&path);
        if let Some(id) = self.files.find(dir, name) {
            self.doubt(id);
        }
        self.push_visit(dir, VisitWork::APPEARED);
    }
}

/// The mounts of a table that concern a way.
fn relevant(table: &[u8], ways: &Ways) -> Vec<Mount> {
    let mut mounts: Vec<Mount> =
        mounts::parse(table).filter(|mount| ways.concerns(&mount.point)).collect();
    mounts.sort_unstable();
    mounts
}

#[cfg(test)]
mod tests;
