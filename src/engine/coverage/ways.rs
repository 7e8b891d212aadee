//! Ways: the directories and links that the kernel walks to get to each PATH. Their names are
//! watched, so that a link that is pointed elsewhere, an ancestor that is renamed or gets other
//! permissions, and a mount are noticed at once, without a sweep.
//!
//! In: PATHs, events, changes of the table of mounts. Out: looks at the PATHs whose way changed;
//! what those find is the tree's business.
//! Always holds: a directory is watched before the name in it is looked at, so a change after the
//! look is told; a way is walked at most every [`SPACING_LONGEST`] while it goes on changing;
//! nothing here has a deadline unless something changed.
//!
//! inotify has one watch per inode, so the tree and a way can share one. The watch reports the
//! events that either needs. It is removed when neither needs it.

use std::io;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use nix::libc;

use crate::engine::Engine;
use crate::engine::coverage::root::RootState;
use crate::engine::namespace::tree::{DirId, VisitWork};
use crate::mounts::{self, Mount};
use crate::names::split_path;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, LINKS_MAX, Links, WatchId};

mod ends;
mod mount_points;
mod quiet;
pub(in crate::engine) mod spelling;

use spelling::{above, absolute, components, join, or_dot, up};

/// From the first change to the walk: a rename away and one into its place are seen as one.
const SETTLE: Duration = Duration::from_millis(20);

/// Least time between two walks; it doubles with every walk while changes go on, up to the longest
/// one.
const SPACING_FIRST: Duration = Duration::from_millis(100);
pub(in crate::engine) const SPACING_LONGEST: Duration = Duration::from_secs(2);

/// After this long without a walk the first spacing applies again.
const CALM_AFTER: Duration = Duration::from_secs(8);

/// Whose way it is: the number of a PATH, or the state directory.
type WayId = usize;
const STATE_DIRECTORY: WayId = usize::MAX;

/// A name that is part of a way.
type WatchedName = (Box<[u8]>, WayId);

/// Why a way is to be walked again. Of two reasons the later one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    No,
    /// A name on it came, went or changed.
    Names,
    /// Permissions on it changed: what is below may have become readable.
    Attributes,
}

/// One component of a way: a name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    directory: Box<[u8]>,
    name: Box<[u8]>,
    watch: Option<WatchId>,
}

/// A way as it was walked last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    steps: Vec<Step>,
    /// The current directory, for what is relative to it. Empty: not known.
    base: Vec<u8>,
    /// Where it ends, without links; what does not exist (yet) is as the PATH spells it.
    real: Vec<u8>,
    /// Device and inode of the directory that it leads to, if it leads to one.
    inode: Option<(u64, u64)>,
    /// Every change that could make it lead elsewhere, or to something at last, is told.
    is_told: bool,
}

/// All ways.
#[derive(Debug)]
pub(in crate::engine) struct Ways {
    /// By the number of the PATH.
    ways: Vec<(Option<Way>, Due)>,
    /// That of the state directory, and whether something changed on it.
    state: Option<(Vec<u8>, Option<Way>, Due)>,
    /// What may have happened to the state directory is to be looked at by the committer.
    is_state_doubtful: bool,
    /// Which names in a watched directory belong to which ways, sorted.
    watched: HashMap<WatchId, Vec<WatchedName>>,
    /// Mount points that would lie on a way.
    points: HashMap<Box<[u8]>, Vec<WayId>>,
    /// Where the ways of directories lead to.
    ends: HashMap<Box<[u8]>, Vec<WayId>>,
    /// The mounts on ways and below their ends, sorted.
    mounts: Vec<Mount>,
    /// The table of mounts cannot be read; that was said.
    is_table_missing: bool,
    /// When the turn began, and its number.
    now: Option<Instant>,
    turn: u64,
    /// The turn in which a directory was visited last.
    visited_in: u64,
    /// A directory was visited about when something on a way changed.
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

    /// Whether a watch is there for a way.
    pub(in crate::engine) fn needs(&self, watch: WatchId) -> bool {
        self.watched.contains_key(&watch)
    }

    /// The watches that are there for ways.
    pub(in crate::engine) fn watches(&self) -> impl Iterator<Item = WatchId> + '_ {
        self.watched.keys().copied()
    }

    /// The number stands for another PATH from now on.
    pub(in crate::engine) fn forget(&mut self, root: usize) {
        if let Some(way) = self.ways.get_mut(root) {
            *way = (None, Due::Names);
        }
    }

    /// Whether the state directory is to be looked at; asked once.
    pub(in crate::engine) fn take_state_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_state_doubtful)
    }

    fn schedule(&mut self) {
        // Without a turn so far the first one walks all ways.
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
    fn name_changed(&mut self, watch: WatchId, name: &[u8], why: Due) {
        let Some(names) = self.watched.get(&watch) else { return };
        let first = names.partition_point(|(known, _)| **known < *name);
        let touched: Vec<WayId> = names[first..]
            .iter()
            .take_while(|(known, _)| **known == *name)
            .map(|&(_, way)| way)
            .collect();
        // Its journals' names change with every one.
        let is_state_file = name == b"lock" || name.starts_with(b"journal.");
        self.is_state_doubtful |= is_state_file
            && names.iter().any(|(known, way)| *way == STATE_DIRECTORY && known.is_empty());
        if !touched.is_empty() {
            touched.into_iter().for_each(|way| self.mark(way, why));
            self.schedule();
        }
    }

    /// Something happened to a watched directory itself.
    fn directory_changed(&mut self, watch: WatchId, why: Due) {
        let Some(names) = self.watched.get(&watch) else { return };
        let touched: Vec<WayId> = names.iter().map(|&(_, way)| way).collect();
        touched.into_iter().for_each(|way| self.mark(way, why));
        self.schedule();
    }

    /// Works out which names, mount points and ends belong to which ways.
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

    /// Whether a mount there changes what a way leads to, or what is found at its end.
    fn concerns(&self, point: &[u8]) -> bool {
        self.points.contains_key(point) || above(point).any(|end| self.ends.contains_key(end))
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The loop saw that the table of mounts changed.
    pub fn mounts_changed(&mut self, now: Now) {
        self.coverage.ways.now = Some(now.instant);
        self.coverage.ways.schedule();
    }

    /// What leads to the state directory is watched, so that its loss is noticed though nothing is
    /// committed.
    pub fn watch_state_directory(&mut self, path: Vec<u8>) {
        self.coverage.ways.state = Some((path, None, Due::Names));
    }

    /// The state directory's path, for people.
    pub(in crate::engine) fn state_directory_text(&self) -> String {
        self.coverage
            .ways
            .state
            .as_ref()
            .map_or_else(String::new, |(path, ..)| String::from_utf8_lossy(path).into_owned())
    }

    /// Whether a directory that was just looked at, under the path at hand, has the state
    /// directory's place: a new one may have been made there a moment ago.
    pub(in crate::engine) fn is_state_directory(&mut self, dir: DirId, links: Links) -> bool {
        let Some((_, Some(way), _)) = &self.coverage.ways.state else { return false };
        let (_, last) = split_path(&way.real);
        if last != self.tree.name(dir) {
            return false;
        }
        let real = absolute(&way.base, &way.real);
        self.fs.canonical(&self.path, links).is_ok_and(|path| Some(path) == real)
    }

    /// Lets a watch go that the tree had. A way that needs it arms it anew, for names alone.
    pub(in crate::engine) fn unwatch(&mut self, watch: WatchId) {
        self.fs.unwatch(watch);
        if self.coverage.ways.needs(watch) {
            self.coverage.ways.directory_changed(watch, Due::Names);
            self.coverage.ways.watched.remove(&watch);
        }
    }

    /// An event came from a watch. The tree hears of it as well.
    pub(in crate::engine) fn tell_ways_of_name(
        &mut self,
        watch: WatchId,
        name: &[u8],
        is_attribute: bool,
    ) {
        self.coverage.ways.name_changed(
            watch,
            name,
            if is_attribute { Due::Attributes } else { Due::Names },
        );
    }

    pub(in crate::engine) fn tell_ways_of_directory(&mut self, watch: WatchId, is_attribute: bool) {
        self.coverage
            .ways
            .directory_changed(watch, if is_attribute { Due::Attributes } else { Due::Names });
    }

    /// The kernel dropped a watch, or it is not known which events were missed.
    pub(in crate::engine) fn tell_ways_of_loss(&mut self, watch: Option<WatchId>) {
        match watch {
            Some(watch) if self.coverage.ways.needs(watch) => {
                self.coverage.ways.directory_changed(watch, Due::Names);
                self.coverage.ways.watched.remove(&watch);
                if self.tree.find_watch(watch).is_none() {
                    self.fs.unwatch(watch);
                }
            }
            Some(_) => {}
            None => {
                (0..self.coverage.ways.ways.len())
                    .chain([STATE_DIRECTORY])
                    .for_each(|way| self.coverage.ways.mark(way, Due::Names));
                self.coverage.ways.is_state_doubtful |= self.coverage.ways.state.is_some();
                self.coverage.ways.schedule();
            }
        }
    }

    /// Before PATHs are looked at for the first time, or after the settings changed: walks to each
    /// that was not walked to yet.
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

    /// Once the kernel's queue is empty and the time has come: walks the ways on which something
    /// changed, and looks at their PATHs.
    pub(in crate::engine) fn follow_ways(&mut self, now: Now) {
        self.coverage.ways.now = Some(now.instant);
        self.coverage.ways.turn += 1;
        if self.kernel.are_events_pending
            || self.coverage.ways.due_at.is_none_or(|at| at > now.instant)
        {
            return;
        }
        let is_calm = self
            .coverage
            .ways
            .walked_at
            .is_none_or(|at| now.instant.saturating_duration_since(at) > CALM_AFTER);
        self.coverage.ways.spacing = if is_calm {
            SPACING_FIRST
        } else {
            (self.coverage.ways.spacing * 2).min(SPACING_LONGEST)
        };
        for (at, why) in self.walk_due(now) {
            let path = String::from_utf8_lossy(&self.coverage.roots[at].path);
            tracing::debug!(?path, ?why, "what leads to this PATH changed");
            self.look_at_end(at, why, now);
            // What was listed while the way changed may have been listed elsewhere.
            self.discovery.is_rescan_due |=
                std::mem::take(&mut self.coverage.ways.is_visit_doubtful);
        }
        self.coverage.ways.is_visit_doubtful = false;
    }

    /// Walks the ways that are due. Returns the PATHs to look at, and why.
    fn walk_due(&mut self, now: Now) -> Vec<(usize, Due)> {
        self.coverage.ways.due_at = None;
        self.coverage.ways.walked_at = Some(now.instant);
        // Before the walks: what is mounted after this is told by the next change.
        let table = self.read_mounts();
        let points = table.as_deref().map_or_else(Vec::new, |table| {
            let after = relevant(table, &self.coverage.ways);
            mounts::changed(&self.coverage.ways.mounts, &after)
        });
        let mut seen = Vec::new();
        for point in &points {
            self.mount_changed(point, &mut seen);
        }
        let mut changed = Vec::new();
        for at in 0..self.coverage.ways.ways.len() {
            let (before, why) = (
                self.coverage.ways.ways[at].0.take(),
                std::mem::replace(&mut self.coverage.ways.ways[at].1, Due::No),
            );
            if why == Due::No || self.coverage.roots[at].state == RootState::Removed {
                self.coverage.ways.ways[at].0 =
                    before.filter(|_| self.coverage.roots[at].state != RootState::Removed);
                continue;
            }
            let path = self.coverage.roots[at].path.clone();
            let way = self.walk(&path);
            let is_same =
                way.is_told && before.as_ref() == Some(&way) && self.is_home_of_file(at, &way);
            if !is_same || why == Due::Attributes || seen.contains(&at) {
                changed.push((at, why));
            }
            self.coverage.ways.ways[at].0 = Some(way);
        }
        self.walk_to_state();
        self.let_unused_watches_go();
        self.ignore_other_names();
        if let Some(table) = table {
            self.coverage.ways.mounts = relevant(&table, &self.coverage.ways);
        }
        changed
    }

    /// Whether a PATH is a single file in a directory that is watched and is on its way: what
    /// happens to its name there the tree hears itself.
    fn is_home_of_file(&self, root: usize, way: &Way) -> bool {
        let RootState::Found(key) = self.coverage.roots[root].state else { return false };
        let watch = self
            .tree
            .alive(key)
            .filter(|_| !self.coverage.roots[root].is_tree)
            .and_then(|home| self.tree.watch(home));
        watch.is_some() && way.steps.iter().any(|step| step.watch == watch)
    }

    /// A directory is about to be looked at, watched and listed by its path. If what leads there
    /// changes meanwhile, these may be three directories.
    pub(in crate::engine) fn visit_begins(&mut self) {
        self.coverage.ways.visited_in = self.coverage.ways.turn;
        self.coverage.ways.is_visit_doubtful |= self.coverage.ways.due_at.is_some();
    }

    fn walk_to_state(&mut self) {
        let Some((path, _, due)) =
            self.coverage.ways.state.as_mut().filter(|(_, _, due)| *due != Due::No)
        else {
            return;
        };
        *due = Due::No;
        let path = path.clone();
        let mut way = self.walk(&path);
        // The names in it are looked at as well. The directory at the end: an empty name, which no
        // event has.
        if way.inode.is_some() {
            let watch = self.fs.watch_names(&way.real).ok();
            way.steps.push(Step {
                directory: way.real.as_slice().into(),
                name: Box::default(),
                watch,
            });
        }
        if let Some((_, known, _)) = &mut self.coverage.ways.state {
            let is_first = known.is_none();
            *known = Some(way);
            self.coverage.ways.is_state_doubtful |= !is_first;
        }
    }

    fn let_unused_watches_go(&mut self) {
        let before: Vec<WatchId> = self.coverage.ways.watches().collect();
        self.coverage.ways.index();
        for watch in before {
            if !self.coverage.ways.needs(watch) && self.tree.find_watch(watch).is_none() {
                self.fs.unwatch(watch);
            }
        }
    }

    /// `..` on a way: up from `at`. Where this leads to changes when the directory is moved, so its
    /// name is watched unless it is known which one it is.
    fn step_up(&mut self, at: &mut Vec<u8>, component: Box<[u8]>, way: &mut Way) {
        if at.is_empty() || at.ends_with(b"..") {
            let watch = self.fs.watch_names(at);
            way.is_told &= watch.is_ok();
            let directory = at.as_slice().into();
            way.steps.push(Step { directory, name: component, watch: watch.ok() });
        }
        up(at);
    }

    /// Walks a path as the kernel does, component by component; each directory is watched before
    /// the name in it is looked at.
    fn walk(&mut self, path: &[u8]) -> Way {
        let mut at: Vec<u8> = if path.starts_with(b"/") { b"/".to_vec() } else { Vec::new() };
        let mut todo: Vec<Box<[u8]>> = components(path).rev().map(Box::from).collect();
        let mut way = Way {
            steps: Vec::new(),
            base: Vec::new(),
            real: Vec::new(),
            inode: None,
            is_told: true,
        };
        if at.is_empty() {
            way.base = self.fs.canonical(b"", Links::Follow).unwrap_or_default();
        }
        let mut links = 0;
        let mut failure = None;
        while let Some(component) = todo.pop() {
            if *component == *b".." {
                self.step_up(&mut at, component, &mut way);
                continue;
            }
            let named = join(&at, &component);
            let watch = self.fs.watch_names(&at);
            let found = self.fs.stat(&named, Links::Keep);
            let errno = |error: &io::Error| error.raw_os_error();
            if let Err(error) = &watch {
                tracing::debug!(path = %at.escape_ascii(), %error, "names on the way to a PATH \
                    cannot be watched here");
                // Where nothing can be looked up, something above has to change first, and that is
                // told.
                way.is_told &= found.as_ref().is_err_and(|found| errno(found) == errno(error));
            }
            way.steps.push(Step {
                directory: at.as_slice().into(),
                name: component,
                watch: watch.ok(),
            });
            let outcome = found.and_then(|found| {
                if found.kind == FileKind::Link {
                    self.fs.read_link(&named).map(Some)
                } else {
                    Ok(None)
                }
            });
            links += usize::from(matches!(outcome, Ok(Some(_))));
            match outcome {
                Ok(Some(target)) if links <= LINKS_MAX => {
                    if target.starts_with(b"/") {
                        at = b"/".to_vec();
                    }
                    todo.extend(components(&target).rev().map(Box::from));
                }
                Ok(None) => at = named,
                outcome => {
                    let too_many_links = || io::Error::from_raw_os_error(libc::ELOOP);
                    failure = Some(outcome.err().unwrap_or_else(too_many_links));
                    at = named;
                    break;
                }
            }
        }
        match failure {
            None => way.inode = self.directory_at(or_dot(&at)),
            Some(error) => {
                let is_told = matches!(Failure::of(&error), Failure::Gone | Failure::Refused);
                way.is_told &= is_told && !self.is_any_blind(&way.steps);
            }
        }
        // What is missing is as it is spelled.
        todo.iter().rev().for_each(|component| at = join(&at, component));
        way.real = at;
        way
    }

    fn directory_at(&mut self, path: &[u8]) -> Option<(u64, u64)> {
        let found = self
            .fs
            .stat(path, Links::Keep)
            .ok()
            .filter(|found| found.kind == FileKind::Directory)?;
        Some((found.id.device, found.id.inode))
    }

    /// Whether one of the directories is where others make names without an event.
    fn is_any_blind(&mut self, steps: &[Step]) -> bool {
        steps.iter().any(|step| match self.fs.file_system(or_dot(&step.directory), Links::Follow) {
            Ok(found) => found.sight().is_blind(),
            Err(error) => !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)),
        })
    }

    /// What leads to a PATH changed: looks where it leads to now.
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
            // Below another PATH a visit does not tell.
            self.discovery.is_path_lost |= self.tree.parent(dir).is_some();
            self.push_visit(
                dir,
                if why == Due::Attributes { VisitWork::RECHECK } else { VisitWork::APPEARED },
            );
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
