//! What changes when the settings are read again, or when a directory comes to another place.
//!
//! In: new inputs; a directory that was moved, or reached by one more way. Out: directories to
//! visit again, or to let go.
//! Always holds: what stays covered by the same rules is neither read again nor let go.

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

/// What new settings change in the PATHs.
struct Arranged {
    /// Those for which other rules hold now.
    changed: Vec<RootId>,
    /// Those that are not followed any more, and the directories that they led to.
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
    /// all that is followed is as the former settings say.
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

    /// Finds each PATH among those that are followed. `wanted`: its input, and whether other rules
    /// hold for that.
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
    /// A directory came to another place, where other PATHs may cover it, and what is below it.
    /// Says whether that may be so.
    pub(in crate::engine) fn rescope_moved(&mut self, dir: DirId, now: Instant) -> bool {
        let Some(parent) = self.tree.parent(dir) else { return false };
        // One that is followed goes on under a name that does not match.
        let scope = self.tree.get(parent).scope;
        // Where globs are about paths, those below it may be covered otherwise though it is not
        // itself.
        let is_rescoped = self.coverage.rescope(&mut self.tree, dir, scope, &mut self.path);
        let is_covered_anew = is_rescoped || self.coverage.inputs.needs_path();
        self.came_to_another_place(dir, is_covered_anew, now);
        is_covered_anew
    }

    /// A directory was reached by one more way: what the PATHs above that accept counts in it as
    /// well.
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

    /// Follows other inputs from now on. PATHs that stay go on where they are; new ones are
    /// scanned, and `from` applies to them; what no PATH covers any more is let go, and remembered
    /// for ten minutes. Where globs changed, all below is listed anew, in slices.
    pub fn reload(&mut self, new: Vec<InputConfig>, now: Now) {
        if self.discovery.is_started {
            rare!("the settings were read again");
        }
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
        self.discovery.is_path_lost = false;
        self.discovery.has_scanned = false;
    }

    /// A PATH is not followed any more. What else covers its directory is asked anew.
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
        // It may be covered by another one.
        self.push_visit(dir, VisitWork::RELOAD);
    }

    fn let_go_unless_accepted(&mut self, dir: DirId, name: &[u8], now: Now) {
        let Some(id) = self.files.find(dir, name).filter(|&id| self.files.get(id).is_bound())
        else {
            return;
        };
        match self.coverage.input_of(&self.tree, dir, name, &mut self.path) {
            Some(input) => self.coverage.assign_input(&mut self.files, id, input),
            None => self.leave_at_once(id, now.instant),
        }
    }

    /// Lets go of the directories that no PATH covers any more, and keeps the PATHs that lie in
    /// them.
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

    /// Other rules hold for a PATH: what is there is asked for anew.
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
    }

    /// Starts the PATHs that are new, or whose directory went with another.
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
                let work = if self.is_scanned(&self.coverage.roots[at].path) {
                    VisitWork::APPEARED
                } else {
                    VisitWork::FIRST_SCAN
                };
                self.start_root(at, work, now);
                self.say_if_missing(at, now);
                self.scan_is_under_way();
            }
        }
    }

    pub(in crate::engine) fn say_if_missing(&mut self, at: usize, now: Now) {
        if self.coverage.roots[at].state != RootState::Missing {
            return;
        }
        let what = if self.config.once {
            "PATH does not exist or cannot be read: left out"
        } else {
            "PATH does not exist or cannot be followed: waiting for it"
        };
        self.say_missing(at, what, now);
    }

    /// Each PATH as given, for people.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.coverage.all_roots().map(|root| shown(&self.coverage.root(root).path))
    }

    /// Some input reads files that are there at the start from their beginning.
    pub fn reads_from_beginning(&self) -> bool {
        self.coverage.reads_from_beginning()
    }

    /// Inputs that never had a file though all was listed, by their PATHs: what they name is empty,
    /// or their globs match nothing.
    pub fn inputs_without_files(&self) -> Vec<String> {
        if self.discovery.has_scanned { self.coverage.inputs_without_files() } else { Vec::new() }
    }

    /// Other rules hold: a known file in a listing stays, belongs to another input now, or is let
    /// go. Says whether it stays.
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
        // A file that was renamed goes on under a name that never matched.
        !was_accepted
    }
}
