//! Which input a name belongs to, which PATHs cover a directory, and what changes when the settings
//! are read again.
//!
//! In: names in directories; new inputs. Out: the input that accepts a name; directories to visit
//! again, or to let go.
//! Always holds: what stays covered by the same rules is neither read again nor let go.

use std::time::Instant;

use crate::config::InputConfig;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::coverage::root::{Root, RootState};
use crate::engine::coverage::single_files::SingleFile;
use crate::engine::namespace::inputs::{InputId, RootId, ScopeId};
use crate::engine::namespace::registry::SlotId;
use crate::engine::namespace::tree::{DirId, Role, VisitWork};
use crate::names::{prefix_of, split_path};
use crate::rare::rare;
use crate::sink::Sink;
use crate::status::file::shown;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The input that a file of this name in this directory belongs to, if it is one to follow.
    pub(in crate::engine) fn input_of(&mut self, dir: DirId, name: &[u8]) -> Option<InputId> {
        // A PATH that is the file itself is the innermost.
        if let Some(input) = self.wanted_by(dir, name) {
            return Some(input);
        }
        let scope = self.tree.get(dir).scope;
        if self.coverage.inputs.needs_path() {
            self.write_name(dir, name);
        }
        let path = &self.path;
        let mut roots = self.coverage.inputs.roots(scope).iter().copied();
        let accepts = |root: RootId| {
            self.coverage
                .inputs
                .rules(root)
                .patterns
                .accepts_file(name, self.below(root, dir, path))
        };
        roots.find(|&root| accepts(root)).map(|root| self.coverage.inputs.of_root(root))
    }

    /// The input whose PATH this single file is.
    fn wanted_by(&self, dir: DirId, name: &[u8]) -> Option<InputId> {
        if self.coverage.single_files.is_empty() {
            return None;
        }
        match self.coverage.single_files.get(dir, name) {
            Some(&SingleFile::Path(input)) => {
                self.coverage.inputs.get(input).patterns.accepts_file(name, name).then_some(input)
            }
            _ => None,
        }
    }

    /// What covers a directory of this name below another: nothing if it is not to be followed.
    pub(in crate::engine) fn scope_below(&mut self, parent: DirId, name: &[u8]) -> ScopeId {
        let scope = self.tree.get(parent).scope;
        if self.coverage.inputs.needs_path() {
            self.write_name(parent, name);
        }
        let path = &self.path;
        let accepts = |&root: &RootId| {
            self.coverage
                .inputs
                .rules(root)
                .patterns
                .accepts_directory(name, self.below(root, parent, path))
        };
        let roots = self.coverage.inputs.roots(scope);
        let is_alike = roots.iter().all(accepts);
        if is_alike {
            return scope;
        }
        let fewer = roots.iter().copied().filter(accepts).collect();
        self.coverage.inputs.scope(fewer)
    }

    /// The part of a path in `dir` that lies below a PATH that covers it.
    pub(in crate::engine) fn below<'a>(
        &self,
        root: RootId,
        dir: DirId,
        path: &'a [u8],
    ) -> &'a [u8] {
        if !self.coverage.inputs.needs_path() {
            return b"";
        }
        let top = self.root_directory(root).unwrap_or(dir);
        let own = &path[self.tree.prefix_len(dir)..];
        // A directory that another PATH covers may hang from a PATH within that one.
        if self.tree.root_of(dir) == top {
            return own;
        }
        let mut prefix = Vec::new();
        self.tree.write_path(top, &mut prefix);
        // Where the same directory is reached by two spellings, what lies below the one at hand has
        // to do.
        path.strip_prefix(&*prefix).unwrap_or(own)
    }

    /// Every PATH that the settings name.
    pub(in crate::engine) fn all_roots(&self) -> impl Iterator<Item = RootId> + '_ {
        let is_there = |&at: &usize| self.coverage.roots[at].state != RootState::Removed;
        (0..self.coverage.roots.len()).filter(is_there).map(RootId::from)
    }

    /// The directory that a PATH leads to, or the home of the file.
    fn root_directory(&self, root: RootId) -> Option<DirId> {
        match self.coverage.roots[root.0 as usize].state {
            RootState::Found(key) => self.tree.alive(key),
            RootState::Missing | RootState::Removed => None,
        }
    }

    /// Every PATH that is there and a directory, with that directory.
    fn trees(&self) -> impl Iterator<Item = (RootId, DirId)> + '_ {
        let trees = self.all_roots().filter(|root| self.coverage.roots[root.0 as usize].is_tree);
        trees.filter_map(|root| Some((root, self.root_directory(root)?)))
    }

    /// The PATHs that lead to this very directory and cover what is in it.
    fn roots_at(&self, dir: DirId) -> Vec<RootId> {
        if !self.tree.get(dir).is_path {
            return Vec::new();
        }
        self.trees().filter(|&(_, at)| at == dir).map(|(root, _)| root).collect()
    }

    /// Works out anew what covers a directory below another. Says whether that is something else
    /// than before.
    pub(in crate::engine) fn rescope(&mut self, dir: DirId, at_least: ScopeId) -> bool {
        let Some(parent) = self.tree.parent(dir) else { return false };
        let name = self.tree.name(dir).to_vec();
        let mut scope = self.scope_below(parent, &name);
        if self.tree.get(dir).is_path {
            let roots = self
                .coverage
                .inputs
                .roots(scope)
                .iter()
                .copied()
                .chain(self.roots_at(dir))
                .collect();
            scope = self.coverage.inputs.scope(roots);
        }
        if self.coverage.inputs.is_empty(scope) {
            scope = at_least;
        }
        std::mem::replace(&mut self.tree.get_mut(dir).scope, scope) != scope
    }

    /// A directory came to another place, where other PATHs may cover it, and what is below it.
    /// Says whether that may be so.
    pub(in crate::engine) fn rescope_moved(&mut self, dir: DirId, now: Instant) -> bool {
        let Some(parent) = self.tree.parent(dir) else { return false };
        // One that is followed goes on under a name that does not match.
        let scope = self.tree.get(parent).scope;
        // Where globs are about paths, those below it may be covered otherwise though it is not
        // itself.
        let is_covered_anew = self.rescope(dir, scope) || self.coverage.inputs.needs_path();
        self.came_to_another_place(dir, is_covered_anew, now);
        is_covered_anew
    }

    /// A file may belong to another input where it is now. It goes on in any case.
    pub(in crate::engine) fn find_input(&mut self, id: SlotId) {
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        if let Some(input) = self.input_of(dir, &name) {
            self.files.get_mut(id).input = input;
            self.coverage.inputs.note_accepted(input);
        }
    }

    /// More PATHs cover a directory: so they do what is below.
    fn cover_below(&mut self, dir: DirId) {
        let mut below = vec![dir];
        while let Some(dir) = below.pop() {
            let children: Vec<DirId> = self.tree.children(dir).collect();
            below.extend(
                children.into_iter().filter(|&child| self.rescope(child, ScopeId::default())),
            );
        }
    }

    /// A directory was reached by one more way: what the PATHs above that accept counts in it as
    /// well.
    pub(in crate::engine) fn widen(&mut self, dir: DirId, by: DirId) {
        let (scope, more) = (self.tree.get(dir).scope, self.tree.get(by).scope);
        let is_path = self.tree.get(by).is_path;
        self.tree.get_mut(dir).is_path |= is_path;
        if self.tree.get(dir).role != Role::Listed
            || self
                .coverage
                .inputs
                .roots(more)
                .iter()
                .all(|&root| self.coverage.inputs.covers(scope, root))
        {
            return;
        }
        let roots = self
            .coverage
            .inputs
            .roots(scope)
            .iter()
            .chain(self.coverage.inputs.roots(more))
            .copied()
            .collect();
        rare!("one more PATH covered a directory");
        self.tree.get_mut(dir).scope = self.coverage.inputs.scope(roots);
        self.cover_below(dir);
        let is_first = self.tree.get(by).unfinished.applies_from();
        self.push_visit(dir, if is_first { VisitWork::RELOAD } else { VisitWork::WIDENED });
    }

    /// Follows other inputs from now on. PATHs that stay go on where they are; new ones are
    /// scanned, and `from` applies to them; what no PATH covers any more is let go, and remembered
    /// for ten minutes. Where globs changed, all below is listed anew, in slices.
    pub fn reload(&mut self, new: Vec<InputConfig>, now: Now) {
        if self.discovery.is_started {
            rare!("the settings were read again");
        }
        let mut wanted: Vec<(Vec<u8>, InputId, bool)> = Vec::new();
        let paths: Vec<Vec<Vec<u8>>> = new.iter().map(|input| input.paths.clone()).collect();
        let of_path: Vec<(Vec<u8>, InputId)> = self
            .all_roots()
            .map(|root| {
                (
                    self.coverage.roots[root.0 as usize].path.clone(),
                    self.coverage.inputs.of_root(root),
                )
            })
            .collect();
        let told = self.coverage.inputs.replace(
            new,
            |path| of_path.iter().filter(|(known, _)| *known == path).map(|(_, id)| *id).collect(),
            self.discovery.has_scanned,
        );
        for ((input, is_changed), paths) in told.into_iter().zip(paths) {
            wanted.extend(paths.into_iter().map(|path| (path, input, is_changed)));
        }
        let changed = self.arrange_roots(wanted, now);
        self.cover_roots();
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

    /// Finds each PATH among those that are followed, and lets go of the rest. Returns those for
    /// which other rules hold now.
    fn arrange_roots(
        &mut self,
        mut wanted: Vec<(Vec<u8>, InputId, bool)>,
        now: Now,
    ) -> Vec<RootId> {
        let mut changed = Vec::new();
        let mut removed = Vec::new();
        let mut unmatched: Vec<RootId> = Vec::new();
        // First those that stay with their input.
        for root in self.all_roots().collect::<Vec<_>>() {
            let (known, of) =
                (&self.coverage.roots[root.0 as usize], self.coverage.inputs.of_root(root));
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
            let at = root.0 as usize;
            if let Some(place) =
                wanted.iter().position(|(path, _, _)| *path == self.coverage.roots[at].path)
            {
                let (_, input, _) = wanted.swap_remove(place);
                self.coverage.inputs.assign(root, input);
                changed.push(root);
            } else {
                removed.push((root, self.root_directory(root)));
                self.coverage.roots[at].state = RootState::Removed;
            }
        }
        let is_shared = |&root: &RootId| {
            let scope = self
                .root_directory(root)
                .map(|dir| self.coverage.inputs.roots(self.tree.get(dir).scope));
            scope.is_some_and(|scope| removed.iter().any(|(removed, _)| scope.contains(removed)))
        };
        changed.extend(self.all_roots().filter(is_shared));
        self.coverage
            .inputs
            .rearrange(|root| self.coverage.roots[root.0 as usize].state == RootState::Removed);
        for (root, directory) in removed {
            self.leave_root(root, directory, now);
        }
        for (path, input, _) in wanted {
            self.add_path(path, input);
        }
        changed
    }

    /// A PATH is not followed any more. What else covers its directory is asked anew.
    fn leave_root(&mut self, root: RootId, directory: Option<DirId>, now: Now) {
        let Some(dir) = directory else { return };
        rare!("a PATH was not followed any more");
        let (path, is_tree) = (
            self.coverage.roots[root.0 as usize].path.clone(),
            self.coverage.roots[root.0 as usize].is_tree,
        );
        notice!(info: self.observer.notices, Cause::PathRemoved, about &path, now.instant,
            "PATH is not followed any more");
        if !is_tree {
            let (_, name) = split_path(&path);
            if matches!(self.coverage.single_files.get(dir, name), Some(SingleFile::Path(_))) {
                self.coverage.single_files.remove(dir, name);
            }
            // The same file may be a PATH of another input.
            let other = self.all_roots().find(|&other| self.is_single_file(other, dir, name));
            if let Some(other) = other {
                self.coverage.single_files.insert(
                    dir,
                    name,
                    SingleFile::Path(self.coverage.inputs.of_root(other)),
                );
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
        match self.input_of(dir, name) {
            Some(input) => {
                self.files.get_mut(id).input = input;
                self.coverage.inputs.note_accepted(input);
            }
            None => self.leave_at_once(id, now.instant),
        }
    }

    fn is_single_file(&self, root: RootId, dir: DirId, name: &[u8]) -> bool {
        let found = &self.coverage.roots[root.0 as usize];
        !found.is_tree
            && self.root_directory(root) == Some(dir)
            && split_path(&found.path).1 == name
    }

    /// Each PATH covers its directory itself, if another one did so for it that does not any more.
    fn cover_roots(&mut self) {
        for (root, dir) in self.trees().collect::<Vec<_>>() {
            let scope = self.tree.get(dir).scope;
            if !self.coverage.inputs.covers(scope, root) {
                let roots =
                    self.coverage.inputs.roots(scope).iter().copied().chain([root]).collect();
                self.tree.get_mut(dir).scope = self.coverage.inputs.scope(roots);
                self.cover_below(dir);
            }
        }
    }

    /// Lets go of the directories that no PATH covers any more, and keeps the PATHs that lie in
    /// them.
    fn drop_uncovered(&mut self, now: Now) {
        for (root, dir) in self.trees().collect::<Vec<_>>() {
            let above = self.tree.parent(dir);
            if above.is_some_and(|above| self.coverage.inputs.is_empty(self.tree.get(above).scope))
            {
                rare!("a PATH lay in a directory that was let go");
                self.tree.promote(dir, &prefix_of(&self.coverage.roots[root.0 as usize].path));
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
        let Some(dir) = self.root_directory(root) else { return };
        if self.coverage.roots[root.0 as usize].is_tree {
            self.push_visit(dir, VisitWork::RELOAD);
            return;
        }
        let (path, input) =
            (self.coverage.roots[root.0 as usize].path.clone(), self.coverage.inputs.of_root(root));
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
        self.all_roots().map(|root| shown(&self.coverage.roots[root.0 as usize].path))
    }

    /// Some input reads files that are there at the start from their beginning.
    pub fn reads_from_beginning(&self) -> bool {
        self.all_roots()
            .any(|root| self.coverage.inputs.rules(root).from == crate::config::StartAt::Beginning)
    }

    /// Inputs that never had a file though all was listed, by their PATHs: what they name is empty,
    /// or their globs match nothing.
    pub fn inputs_without_files(&self) -> Vec<String> {
        if !self.discovery.has_scanned {
            return Vec::new();
        }
        let idle = self
            .coverage
            .inputs
            .accepted()
            .into_iter()
            .filter(|(_, has_accepted)| !has_accepted)
            .filter_map(|(input, _)| {
                let own = self
                    .all_roots()
                    .filter(|&root| self.coverage.inputs.of_root(root) == input)
                    .map(|root| &self.coverage.roots[root.0 as usize]);
                let own: Vec<&Root> = own.collect();
                // PATHs that are missing are told of as such.
                let is_any_found = own.iter().any(|root| matches!(root.state, RootState::Found(_)));
                let paths: Vec<String> = own.iter().map(|root| shown(&root.path)).collect();
                is_any_found.then(|| paths.join(" "))
            });
        idle.collect()
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
        if let Some(input) = self.input_of(dir, name) {
            self.files.get_mut(id).input = input;
            self.coverage.inputs.note_accepted(input);
            return true;
        }
        self.write_name(dir, name);
        let below = &self.path[self.tree.prefix_len(dir)..];
        // The PATH by which it came in may be gone, so each directory above may have been it.
        let starts =
            std::iter::once(0).chain(memchr::memchr_iter(b'/', below).map(|slash| slash + 1));
        let was_accepted = starts.map(|start| &below[start..]).any(|below| {
            self.coverage
                .inputs
                .get(self.files.get(id).input)
                .all_patterns()
                .any(|globs| globs.accepts_file(name, below))
        });
        if was_accepted {
            rare!("a known file did not belong to any input any more");
            self.leave_at_once(id, now.instant);
        }
        // A file that was renamed goes on under a name that never matched.
        !was_accepted
    }
}
