//! PATHs: directories, single files, missing ones; and homes, the directories of single files and
//! of links' targets, which are watched but never listed.
//!
//! In: the PATHs of the settings; directories that were lost. Out: trees to visit, single files to
//! look at.
//! Always holds: a PATH is found, or missing and looked for; a home is removed with its last file.

use std::time::Instant;

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::coverage::Coverage;
use crate::engine::coverage::looks::known_directory;
use crate::engine::coverage::root::RootState;
use crate::engine::coverage::single_files::SingleFile;
use crate::engine::coverage::ways::spelling::{absolute, components};
use crate::engine::namespace::inputs::RootId;
use crate::engine::namespace::registry::{SlotId, State};
use crate::engine::namespace::tree::{DirId, DirKey, Role, Tree, VisitWork};
use crate::engine::schedule::timers;
use crate::engine::{Engine, EngineError};
use crate::names::{prefix_of, split_path};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Links};

impl Coverage {
    /// A PATH leads to a directory, which becomes the root of a tree.
    fn add_tree(&mut self, at: usize, tree: &mut Tree) -> DirId {
        self.roots[at].is_tree = true;
        let dir = tree.add_root(&prefix_of(&self.roots[at].path), Role::Listed);
        tree.get_mut(dir).scope = self.inputs.scope(vec![RootId::from(at)]);
        tree.get_mut(dir).is_path = true;
        dir
    }

    /// A PATH does not lead to this directory any more: its rules do not apply to new names there.
    fn forget_tree(&self, dir: DirId, tree: &mut Tree) {
        let is_path = self.trees(tree).any(|(_, at)| at == dir);
        tree.get_mut(dir).is_path = is_path;
    }

    /// Updates how many directories are above what a PATH leads to.
    fn set_depth(&mut self, at: usize, fs: &mut impl FileSystem) {
        let (base, real) = self.ways.end_of(at);
        let path = &self.roots[at].path;
        let real = absolute(base, real)
            .unwrap_or_else(|| fs.canonical(path, Links::Follow).unwrap_or_else(|_| path.clone()));
        self.inputs.set_depth(RootId::from(at), components(&real).count());
    }

    /// A PATH that was a file may be a directory now. Returns whether there is such a PATH; it
    /// counts as missing then.
    fn file_became_directory(&mut self, home: DirKey, name: &[u8]) -> bool {
        let is_named = |path: &[u8]| {
            path == name || path.strip_suffix(name).is_some_and(|prefix| prefix.ends_with(b"/"))
        };
        let mut is_wanted = false;
        for root in &mut self.roots {
            if root.state == RootState::Found(home) && !root.is_tree && is_named(&root.path) {
                root.state = RootState::Missing;
                is_wanted = true;
            }
        }
        if is_wanted {
            self.single_files.remove(home.id, name);
        }
        is_wanted
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Looks at every PATH, in the first turn.
    pub(in crate::engine) fn start_roots(&mut self, now: Now) -> Result<(), EngineError> {
        if self.discovery.is_started {
            return Ok(());
        }
        self.arm_ways(now);
        for at in 0..self.coverage.roots.len() {
            self.start_named_root(at, now);
        }
        self.discovery.is_started = true;
        if self.config.once
            && self.coverage.roots.iter().all(|root| root.state == RootState::Missing)
        {
            return Err(EngineError::NoPath);
        }
        Ok(())
    }

    /// Looks at a missing PATH, and starts to follow it if it exists.
    pub(in crate::engine) fn start_root(&mut self, at: usize, work: VisitWork, now: Now) {
        if self.coverage.roots[at].state != RootState::Missing {
            return;
        }
        let path = self.coverage.roots[at].path.clone();
        let found = match self.fs.stat(&path, Links::Follow) {
            Ok(found) if found.kind == FileKind::Directory => {
                let dir = self.coverage.add_tree(at, &mut self.tree);
                self.push_visit(dir, work);
                dir
            }
            Ok(found) if found.kind == FileKind::Regular => self.start_file(at, work, now),
            _ if self.config.once => return,
            found => {
                let is_missing = found.err().is_none_or(|error| {
                    matches!(Failure::of(&error), Failure::Gone | Failure::Refused)
                });
                if is_missing && self.coverage.ways.is_reported(at) {
                    return;
                }
                self.kernel.poll_by(now.instant + timers::POLL_EVERY);
                return;
            }
        };
        if self.discovery.is_started {
            notice!(info: self.observer.notices, Cause::PathAppeared, about &path, now.instant,
                "PATH appeared");
        }
        self.coverage.roots[at].state = RootState::Found(self.tree.key(found));
        // This has to precede anything that is found below it.
        self.coverage.set_depth(at, &mut self.fs);
    }

    /// Starts a PATH that the settings have just named, or reports that it leads to nothing.
    pub(super) fn start_named_root(&mut self, at: usize, now: Now) {
        // If an earlier run scanned this tree, its new files were written since.
        let is_scanned = self.offsets.is_scanned(&self.coverage.roots[at].path);
        let work = if is_scanned { VisitWork::APPEARED } else { VisitWork::FIRST_SCAN };
        self.start_root(at, work, now);
        if self.coverage.roots[at].state == RootState::Missing {
            let what = if self.config.once {
                "PATH does not exist or cannot be read: left out"
            } else {
                "PATH does not exist or cannot be followed: waiting for it"
            };
            self.report_missing(at, what, now);
        }
    }

    /// Reports that a PATH leads to nothing.
    fn report_missing(&mut self, at: usize, what: &'static str, now: Now) {
        let path = &self.coverage.roots[at].path;
        notice!(warn: self.observer.notices, Cause::PathMissing, about path, now.instant, "{what}");
    }

    fn start_file(&mut self, at: usize, work: VisitWork, now: Now) -> DirId {
        self.coverage.roots[at].is_tree = false;
        let (path, input) =
            (self.coverage.roots[at].path.clone(), self.coverage.inputs.of_root(RootId::from(at)));
        let (prefix, name) = split_path(&path);
        let home = self.home(prefix, true);
        self.tree.trust(home);
        if self.coverage.input_of(&self.tree, home, name, &mut self.path).is_none() {
            self.coverage.single_files.insert(home, name, SingleFile::Path(input));
        }
        if self.files.find(home, name).is_none() {
            if let Some(input) = self.coverage.input_of(&self.tree, home, name, &mut self.path) {
                let id = self.track_name(home, name, input);
                self.files.get_mut(id).put(State::FIRST_SCAN, work.applies_from());
            } else {
                notice!(warn: self.observer.notices, Cause::PathLeftOut, about &path, now.instant,
                    "PATH does not match --include, or matches --exclude: left out");
            }
        }
        home
    }

    /// The home with this path, for a PATH or for the target of a link. Adds it if necessary.
    pub(in crate::engine) fn home(&mut self, prefix: &[u8], is_path: bool) -> DirId {
        if let Some(&known) = self.coverage.homes.get(prefix) {
            if let Some(dir) = self.tree.alive(known) {
                return dir;
            }
            self.coverage.homes.remove(prefix);
        }
        let dir = if is_path {
            self.tree.add_root(prefix, Role::Home)
        } else {
            self.tree.add_target(prefix)
        };
        self.coverage.homes.insert(prefix.into(), self.tree.key(dir));
        self.push_visit(dir, VisitWork::APPEARED);
        dir
    }

    /// The directory of a PATH was deleted or moved: PATHs that do not lead to their directories
    /// any more are looked for from now on.
    pub(in crate::engine) fn root_lost(&mut self, now: Now) {
        self.discovery.is_path_lost = false;
        for at in 0..self.coverage.roots.len() {
            let RootState::Found(key) = self.coverage.roots[at].state else { continue };
            if let Some(other) = self.tree.alive(key) {
                // A PATH within the lost one gets no event.
                self.push_visit(other, VisitWork::APPEARED);
                if !self.coverage.has_moved(at, other, &self.tree, &mut self.fs) {
                    continue;
                }
                rare!("a PATH in another one's tree led elsewhere");
                self.coverage.roots[at].state = RootState::Missing;
                self.coverage.forget_tree(other, &mut self.tree);
                self.rescope_moved(other, now.instant);
            }
            let is_covered = self.coverage.is_covered(at, &self.files, &self.tree, &mut self.fs);
            if is_covered && !self.coverage.roots[at].is_tree {
                rare!("the file of a lost PATH was followed below another one");
                continue;
            }
            self.coverage.roots[at].state = RootState::Missing;
            if !is_covered {
                rare!("a PATH was lost");
                self.report_missing(at, "PATH is gone: waiting for it", now);
            }
            self.start_root(at, VisitWork::APPEARED, now);
        }
    }

    /// A PATH that was a file may be a directory now, or a directory there is gone: looks at the
    /// PATH again.
    pub(in crate::engine) fn path_became_directory(
        &mut self,
        home: DirId,
        name: &[u8],
        now: Instant,
    ) {
        if self.coverage.file_became_directory(self.tree.key(home), name) {
            rare!("the PATH of a file stood for a directory");
            self.kernel.poll_by(now);
        }
    }

    /// A directory turned out to be the same as `other`, which takes over its single files.
    pub(in crate::engine) fn merge_home(&mut self, dir: DirId, other: DirId) {
        for name in self.coverage.single_files.names_in(dir) {
            let wanted = self.coverage.single_files.remove(dir, &name).expect("just listed");
            if self.coverage.single_files.get(other, &name).is_none() {
                self.coverage.single_files.insert(other, &name, wanted);
            }
            if let Some(id) = self.files.find(other, &name) {
                self.coverage.find_input(&mut self.files, &self.tree, id, &mut self.path);
            } else if let Some(input) =
                self.coverage.input_of(&self.tree, other, &name, &mut self.path)
            {
                let was_first = self
                    .files
                    .find(dir, &name)
                    .map(|id| self.files.get(id).state() & State::FIRST_SCAN);
                let id = self.track_name(other, &name, input);
                self.files.get_mut(id).set(was_first.unwrap_or(State::empty()));
            }
        }
        let (from, to) = (self.tree.key(dir), self.tree.key(other));
        for root in &mut self.coverage.roots {
            if root.state == RootState::Found(from) {
                root.state = RootState::Found(to);
            }
        }
    }

    /// A home is watched now. Its single files may have appeared before that.
    pub(in crate::engine) fn look_at_single_files(&mut self, home: DirId) {
        for name in self.coverage.single_files.names_in(home) {
            match self.files.find(home, &name) {
                Some(id) => self.doubt(id),
                None if self.track_if_accepted(home, &name).is_some() => {}
                None => {
                    self.look_through_links_to(home, &name);
                    if let Some(id) = self.files.find(home, &name) {
                        self.identities.recent_renames.guess(self.files.key(id));
                    }
                }
            }
        }
    }

    /// The name is the target of a followed link: looks at the link.
    pub(in crate::engine) fn look_through_links_to(&mut self, dir: DirId, name: &[u8]) {
        if self.coverage.single_files.is_empty() {
            return;
        }
        if let Some(SingleFile::Link(at, link)) = self.coverage.single_files.get(dir, name).cloned()
            && self.tree.at_place(at.0).is_some()
        {
            rare!("the target of a link came up");
            let linked = match self.files.find(at, &link) {
                Some(id) => {
                    self.doubt(id);
                    Some(id)
                }
                None => self.track_if_accepted(at, &link),
            };
            if let Some(linked) = linked {
                self.track_target(linked, dir, name, (at, link));
            }
        }
    }

    /// A file is reached through a link: watches the directory of the target, where its changes are
    /// reported.
    pub(in crate::engine) fn watch_link_target(&mut self, id: SlotId, now: Instant) {
        if self.config.once || !self.files.get(id).is_bound() {
            return;
        }
        let links = self.write_path(id);
        let target = match self.fs.canonical(&self.path, links) {
            Ok(target) => target,
            Err(error) => {
                rare!("where a link leads could not be told for now");
                // No event reports changes of the target meanwhile.
                let is_short = Failure::of(&error) == Failure::Shortage;
                self.schedule.retry_at(
                    &mut self.files,
                    id,
                    now + if is_short { timers::RETRY_AFTER } else { timers::POLL_EVERY },
                );
                return;
            }
        };
        if !self
            .fs
            .stat(&self.path, links)
            .is_ok_and(|found| Some(found.id) == self.files.file_id(id))
        {
            rare!("what a link led to was renamed while its path was asked for");
            // The path may be that of the new name, to which the link does not lead.
            self.doubt(id);
            return;
        }
        let (prefix, name) = split_path(&target);
        let home = known_directory(&self.tree, prefix, &mut self.fs)
            .unwrap_or_else(|| self.home(prefix, false));
        let slot = self.files.get(id);
        if slot.dir() == home && self.files.name(id) == name {
            return;
        }
        let at: (DirId, Box<[u8]>) = (slot.dir(), self.files.name(id).into());
        rare!("the directory of a link's target was watched");
        if self.coverage.single_files.get(home, name).is_none() {
            // What it led to before is no longer its target.
            self.coverage.single_files.forget_targets(at.0, &at.1);
            self.coverage.single_files.insert(home, name, SingleFile::Link(at.0, at.1));
        }
        self.identities.lead_to(&mut self.files, &self.tree, &mut self.schedule, id, home, name);
    }

    /// Removes a home in which no file is followed any more.
    pub(in crate::engine) fn release_home(&mut self, dir: DirId) {
        if self.tree.at_place(dir.0).is_none() || self.tree.get(dir).role != Role::Home {
            return;
        }
        let is_used = self.files.in_dir(dir).next().is_some()
            || self
                .coverage
                .single_files
                .of_home(dir)
                .any(|(_, wanted)| matches!(wanted, SingleFile::Path(_)))
            || self.files.has_alias_in(dir);
        if !is_used
            && let Some((_, is_left)) =
                self.coverage.home_at_hand.as_mut().filter(|(at_hand, _)| *at_hand == dir)
        {
            *is_left = true;
        } else if !is_used {
            rare!("a directory watched for single files was let go");
            self.coverage.single_files.forget_targets_in(dir);
            let mut path = Vec::new();
            self.tree.write_path(dir, &mut path);
            self.coverage.homes.remove(&*path);
            if let Some(watch) = self.tree.watch(dir) {
                self.coverage.ways.unwatch(watch, &mut self.fs);
            }
            self.kernel.set_polled(&mut self.tree, dir, false);
            self.tree.remove(dir);
        }
    }

    /// The current event is processed: removes its home if that is due. A rename may take the last
    /// file out of a home and move another one in.
    pub(in crate::engine) fn put_home_down(&mut self) {
        if let Some((home, true)) = self.coverage.home_at_hand.take() {
            self.release_home(home);
            if self.tree.at_place(home.0).is_some() {
                rare!("a directory watched for single files lost its last one to another one");
            }
        }
    }
}
