//! What changes when the settings are read again, or when a directory has a new place.
//!
//! In: new inputs; a directory that was moved, or found under a second path. Out: directories to
//! visit again or to drop.
//! Always holds: a file that the same rules cover is neither read again nor dropped.

use std::time::Instant;

use crate::config::InputConfig;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::coverage::Coverage;
use crate::engine::coverage::root::{Root, RootState};
use crate::engine::coverage::single_files::SingleFile;
use crate::engine::namespace::inputs::{InputId, RootId};
use crate::engine::namespace::registry::SlotId;
use crate::engine::namespace::tree::{DirId, Role, Tree, VisitWork};
use crate::names::{prefix_of, split_path};
use crate::rare::rare;
use crate::sink::Sink;
use crate::status::file::shown;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// How new settings change the PATHs.
struct Arranged {
    /// Those with other rules.
    changed: Vec<RootId>,
    /// Those that are not followed any more, with the directories that they led to.
    removed: Vec<(RootId, Option<DirId>)>,
    /// Those that are new.
    added: Vec<(Vec<u8>, InputId)>,
}

impl Coverage {
    /// Adds a PATH; it is started later.
    fn add_path(&mut self, path: Vec<u8>, input: InputId) {
        let root = Root { path, state: RootState::Missing, is_tree: false };
        match self.roots.iter().position(|root| root.state == RootState::Removed) {
            Some(at) => {
                self.inputs.assign(RootId::from(at), input);
                self.ways.forget(at);
                self.roots[at] = root;
            }
            None => {
                self.inputs.add_root(input);
                self.roots.push(root);
            }
        }
    }

    /// Takes new inputs, and finds each of their PATHs among those that are followed. `is_settled`:
    /// all followed files match the former settings.
    fn replace_inputs(&mut self, tree: &Tree, new: Vec<InputConfig>, is_settled: bool) -> Arranged {
        let paths: Vec<Vec<Vec<u8>>> = new.iter().map(|input| input.paths.clone()).collect();
        let of_path: Vec<(Vec<u8>, InputId)> = self
            .all_roots()
            .map(|root| (self.root(root).path.clone(), self.inputs.of_root(root)))
            .collect();
        let known = |path: &[u8]| {
            of_path.iter().filter(|(known, _)| *known == path).map(|(_, id)| *id).collect()
        };
        let replaced = self.inputs.replace(new, known, is_settled);
        let mut wanted: Vec<(Vec<u8>, InputId, bool)> = Vec::new();
        for ((input, is_changed), paths) in replaced.into_iter().zip(paths) {
            wanted.extend(paths.into_iter().map(|path| (path, input, is_changed)));
        }
        self.arrange_roots(tree, wanted)
    }

    /// Finds each PATH among those that are followed. `wanted`: each PATH, its input, and whether
    /// that has other rules.
    fn arrange_roots(
        &mut self,
        tree: &Tree,
        mut wanted: Vec<(Vec<u8>, InputId, bool)>,
    ) -> Arranged {
        let mut changed = Vec::new();
        let mut removed = Vec::new();
        let mut unmatched: Vec<RootId> = Vec::new();
        // First those that stay with their input.
        for root in self.all_roots().collect::<Vec<_>>() {
            let (known, of) = (self.root(root), self.inputs.of_root(root));
            match wanted.iter().position(|(path, input, _)| *path == known.path && *input == of) {
                Some(place) => {
                    if wanted.swap_remove(place).2 {
                        changed.push(root);
                    }
                }
                None => unmatched.push(root),
            }
        }
        for root in unmatched {
            let known = wanted.iter().position(|(path, _, _)| *path == self.root(root).path);
            if let Some(place) = known {
                let (_, input, _) = wanted.swap_remove(place);
                self.inputs.assign(root, input);
                changed.push(root);
            } else {
                removed.push((root, self.root_directory(tree, root)));
                self.roots[root.0 as usize].state = RootState::Removed;
            }
        }
        let is_shared = |&root: &RootId| {
            let scope =
                self.root_directory(tree, root).map(|dir| self.inputs.roots(tree.get(dir).scope));
            scope.is_some_and(|scope| removed.iter().any(|(removed, _)| scope.contains(removed)))
        };
        changed.extend(self.all_roots().filter(is_shared));
        let roots = &self.roots;
        self.inputs.rearrange(|root| roots[root.0 as usize].state == RootState::Removed);
        let added = wanted.into_iter().map(|(path, input, _)| (path, input)).collect();
        Arranged { changed, removed, added }
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A directory has a new place: updates what covers it and everything below. Returns whether
    /// that may have changed.
    pub(in crate::engine) fn rescope_moved(&mut self, dir: DirId, now: Instant) -> bool {
        let Some(parent) = self.tree.parent(dir) else { return false };
        // A followed directory is followed on under a name that does not match.
        let scope = self.tree.get(parent).scope;
        // Where globs match paths, the coverage below may change though that of the directory does
        // not.
        let is_rescoped = self.coverage.rescope(&mut self.tree, dir, scope, &mut self.path);
        let is_covered_anew = is_rescoped || self.coverage.inputs.needs_path();
        self.came_to_another_place(dir, is_covered_anew, now);
        is_covered_anew
    }

    /// A directory was found under a second path: the PATHs above that cover it as well.
    pub(in crate::engine) fn widen(&mut self, dir: DirId, by: DirId) {
        let (more, is_path) = (self.tree.get(by).scope, self.tree.get(by).is_path);
        self.tree.get_mut(dir).is_path |= is_path;
        if self.tree.get(dir).role != Role::Listed {
            return;
        }
        let more = self.coverage.inputs.roots(more).to_vec();
        if self.coverage.widen(&mut self.tree, dir, &more, &mut self.path) {
            rare!("one more PATH covered a directory");
            let is_first = self.tree.get(by).unfinished.applies_from();
            self.push_visit(dir, if is_first { VisitWork::RELOAD } else { VisitWork::WIDENED });
        }
    }

    /// Follows other inputs from now on. PATHs that stay continue where they are; new ones are
    /// scanned, and `from` applies to them. Files that no PATH covers any more are dropped, and
    /// remembered for ten minutes. Where globs changed, everything below is listed again, in
    /// slices.
    pub fn reload(&mut self, new: Vec<InputConfig>, now: Now) {
        if self.discovery.is_started {
            rare!("the settings were read again");
        }
        let was_multiline = self.coverage.inputs.are_multiline();
        let Arranged { changed, removed, added } =
            self.coverage.replace_inputs(&self.tree, new, self.discovery.has_scanned);
        for (root, directory) in removed {
            self.leave_root(root, directory, now);
        }
        for (path, input) in added {
            self.coverage.add_path(path, input);
        }
        self.coverage.cover_roots(&mut self.tree, &mut self.path);
        self.schedule.make_room_for_parked(self.files.len());
        self.drop_uncovered(now);
        self.observer.stats.reload_rescans += u64::from(!changed.is_empty());
        for root in changed {
            self.visit_root_again(root, now);
        }
        self.start_missing(now);
        self.reading.ends.rules_changed(now.instant);
        if was_multiline || self.coverage.inputs.are_multiline() {
            self.split_unfinished_again(now.instant);
        }
        self.identities.departures.set_for_records(self.coverage.inputs.wants_ends());
        self.discovery.is_path_lost = false;
        self.discovery.has_scanned = false;
    }

    /// A PATH is not followed any more. Another one may still cover its directory.
    fn leave_root(&mut self, root: RootId, directory: Option<DirId>, now: Now) {
        let Some(dir) = directory else { return };
        rare!("a PATH was not followed any more");
        let (path, is_tree) =
            (self.coverage.root(root).path.clone(), self.coverage.root(root).is_tree);
        notice!(info: self.observer.notices, Cause::PathRemoved, about &path, now.instant,
            "PATH is not followed any more");
        if !is_tree {
            let (_, name) = split_path(&path);
            if matches!(self.coverage.single_files.get(dir, name), Some(SingleFile::Path(_))) {
                self.coverage.single_files.remove(dir, name);
            }
            // The same file may be a PATH of another input.
            if let Some(other) = self.coverage.root_of_file(&self.tree, dir, name) {
                let input = self.coverage.inputs.of_root(other);
                self.coverage.single_files.insert(dir, name, SingleFile::Path(input));
            }
            self.let_go_unless_accepted(dir, name, now);
            self.release_home(dir);
            return;
        }
        // Another PATH may cover it.
        self.push_visit(dir, VisitWork::RELOAD);
    }

    fn let_go_unless_accepted(&mut self, dir: DirId, name: &[u8], now: Now) {
        let Some(id) = self.files.find(dir, name).filter(|&id| self.files.get(id).is_bound())
        else {
            return;
        };
        match self.coverage.input_of(&self.tree, dir, name, &mut self.path) {
            Some(input) => {
                let was_multiline = self.is_multiline(id);
                self.coverage.assign_input(&mut self.files, id, input);
                if was_multiline || self.is_multiline(id) {
                    self.read_unfinished_again(id);
                }
            }
            None => self.leave_at_once(id, now.instant),
        }
    }

    /// Drops the directories that no PATH covers any more, and keeps the PATHs within them.
    fn drop_uncovered(&mut self, now: Now) {
        for (root, dir) in self.coverage.trees(&self.tree).collect::<Vec<_>>() {
            let above = self.tree.parent(dir);
            if above.is_some_and(|above| self.coverage.inputs.is_empty(self.tree.get(above).scope))
            {
                rare!("a PATH lay in a directory that was let go");
                self.tree.promote(dir, &prefix_of(&self.coverage.root(root).path));
                self.came_to_another_place(dir, false, now.instant);
            }
        }
        for place in 0..self.tree.places() {
            let Some(dir) = self.tree.at_place(place) else { continue };
            let found = self.tree.get(dir);
            if found.role == Role::Listed
                && self.tree.parent(dir).is_none()
                && self.coverage.inputs.is_empty(found.scope)
            {
                self.drop_directory(dir, now.instant);
            }
        }
    }

    /// A PATH has other rules: they are applied to everything below it.
    fn visit_root_again(&mut self, root: RootId, now: Now) {
        let Some(dir) = self.coverage.root_directory(&self.tree, root) else { return };
        if self.coverage.root(root).is_tree {
            self.push_visit(dir, VisitWork::RELOAD);
            return;
        }
        let (path, input) =
            (self.coverage.root(root).path.clone(), self.coverage.inputs.of_root(root));
        let (_, name) = split_path(&path);
        self.coverage.single_files.insert(dir, name, SingleFile::Path(input));
        if self.files.find(dir, name).is_some() {
            self.let_go_unless_accepted(dir, name, now);
        } else {
            self.track_if_accepted(dir, name);
        }
        // Its watch may have to report more.
        self.push_visit(dir, VisitWork::RELOAD);
    }

    /// Starts the PATHs that are new, or whose directory was dropped with another.
    fn start_missing(&mut self, now: Now) {
        if self.discovery.is_started {
            self.arm_ways(now);
        }
        for at in 0..self.coverage.roots.len() {
            if let RootState::Found(key) = self.coverage.roots[at].state
                && self.tree.alive(key).is_none()
            {
                self.coverage.roots[at].state = RootState::Missing;
            }
            if self.discovery.is_started && self.coverage.roots[at].state == RootState::Missing {
                self.start_named_root(at, now);
                self.discovery.absence.begin_scan();
            }
        }
    }

    /// Each PATH as given, for people.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.coverage.all_roots().map(|root| shown(&self.coverage.root(root).path))
    }

    /// Whether some input reads files that exist at the start from their beginning.
    pub fn reads_from_beginning(&self) -> bool {
        self.coverage.reads_from_beginning()
    }

    /// The PATHs of inputs that have no file although everything was listed: their directories are
    /// empty, or their globs match nothing.
    pub fn inputs_without_files(&self) -> Vec<String> {
        if self.discovery.has_scanned { self.coverage.inputs_without_files() } else { Vec::new() }
    }

    /// The rules changed: a known file stays, is assigned to another input, or is dropped. Returns
    /// whether it stays.
    pub(in crate::engine) fn still_belongs(
        &mut self,
        id: SlotId,
        dir: DirId,
        name: &[u8],
        now: Now,
    ) -> bool {
        if let Some(input) = self.coverage.input_of(&self.tree, dir, name, &mut self.path) {
            self.coverage.assign_input(&mut self.files, id, input);
            return true;
        }
        self.tree.write_name(dir, name, &mut self.path);
        let was_accepted =
            self.coverage.was_accepted(&self.files, &self.tree, id, (dir, name), &self.path);
        if was_accepted {
            rare!("a known file did not belong to any input any more");
            self.leave_at_once(id, now.instant);
        }
        // A file that was renamed to a name that never matched is followed on.
        !was_accepted
    }
}
