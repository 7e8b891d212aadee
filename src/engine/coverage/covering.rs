//! Which PATHs cover a directory, and which input a name in it belongs to.
//!
//! In: directories and names; where each PATH leads to. Out: the scope of a directory, the input
//! that accepts a name.
//! Always holds: a file that is a PATH itself belongs to that PATH's input; any other name belongs
//! to the innermost PATH that accepts it.

use crate::config::StartAt;
use crate::engine::coverage::Coverage;
use crate::engine::coverage::root::{Root, RootState};
use crate::engine::coverage::single_files::SingleFile;
use crate::engine::namespace::inputs::{InputId, RootId, ScopeId};
use crate::engine::namespace::registry::{Registry, SlotId};
use crate::engine::namespace::tree::{DirId, Tree};
use crate::names::split_path;
use crate::status::file::shown;

impl Coverage {
    /// The input of a file with this name in this directory, if it is to be followed. If globs
    /// match paths, the path of the name is written to `path`.
    pub(in crate::engine) fn input_of(
        &self,
        tree: &Tree,
        dir: DirId,
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> Option<InputId> {
        // A PATH that is the file itself is the innermost.
        if let Some(input) = self.input_of_path(dir, name) {
            return Some(input);
        }
        if self.inputs.needs_path() {
            tree.write_name(dir, name, path);
        }
        let mut roots = self.inputs.roots(tree.get(dir).scope).iter().copied();
        let accepts = |root: RootId| {
            let below = self.below(tree, root, dir, path);
            self.inputs.rules(root).patterns.accepts_file(name, below)
        };
        roots.find(|&root| accepts(root)).map(|root| self.inputs.of_root(root))
    }

    /// The input whose PATH this single file is.
    fn input_of_path(&self, dir: DirId, name: &[u8]) -> Option<InputId> {
        if self.single_files.is_empty() {
            return None;
        }
        match self.single_files.get(dir, name) {
            Some(&SingleFile::Path(input)) => {
                self.inputs.get(input).patterns.accepts_file(name, name).then_some(input)
            }
            _ => None,
        }
    }

    /// Updates the input of a file that has a new name. The file is followed in any case.
    pub(in crate::engine) fn find_input(
        &mut self,
        files: &mut Registry,
        tree: &Tree,
        id: SlotId,
        path: &mut Vec<u8>,
    ) {
        if let Some(input) = self.input_of(tree, files.get(id).dir(), files.name(id), path) {
            self.assign_input(files, id, input);
        }
    }

    /// Assigns a file to an input that accepts it.
    pub(in crate::engine) fn assign_input(
        &mut self,
        files: &mut Registry,
        id: SlotId,
        input: InputId,
    ) {
        files.get_mut(id).input = input;
        self.inputs.note_accepted(input);
    }

    /// Whether the globs of a file's input accept it, or did so under earlier settings. `path`: the
    /// path of its name.
    pub(super) fn was_accepted(
        &self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
        (dir, name): (DirId, &[u8]),
        path: &[u8],
    ) -> bool {
        let below = &path[tree.prefix_len(dir)..];
        // The PATH through which it was found may be gone, so any directory above may have been
        // that PATH.
        let starts =
            std::iter::once(0).chain(memchr::memchr_iter(b'/', below).map(|slash| slash + 1));
        let rules = self.inputs.get(files.get(id).input);
        starts
            .map(|start| &below[start..])
            .any(|below| rules.all_patterns().any(|globs| globs.accepts_file(name, below)))
    }

    /// What covers a directory of this name below another; nothing if it is not to be followed. If
    /// globs match paths, the path of the name is written to `path`.
    pub(in crate::engine) fn scope_below(
        &mut self,
        tree: &Tree,
        parent: DirId,
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> ScopeId {
        let scope = tree.get(parent).scope;
        if self.inputs.needs_path() {
            tree.write_name(parent, name, path);
        }
        let accepts = |&root: &RootId| {
            let below = self.below(tree, root, parent, path);
            self.inputs.rules(root).patterns.accepts_directory(name, below)
        };
        let roots = self.inputs.roots(scope);
        if roots.iter().all(accepts) {
            return scope;
        }
        let fewer = roots.iter().copied().filter(accepts).collect();
        self.inputs.scope(fewer)
    }

    /// The part of a path in `dir` that lies below a PATH that covers it.
    pub(in crate::engine) fn below<'a>(
        &self,
        tree: &Tree,
        root: RootId,
        dir: DirId,
        path: &'a [u8],
    ) -> &'a [u8] {
        if !self.inputs.needs_path() {
            return b"";
        }
        let top = self.root_directory(tree, root).unwrap_or(dir);
        let own = &path[tree.prefix_len(dir)..];
        // The directory may be below a PATH that is itself within this PATH.
        if tree.root_of(dir) == top {
            return own;
        }
        let mut prefix = Vec::new();
        tree.write_path(top, &mut prefix);
        // If the directory is reached by another spelling, the part below its own root is used.
        path.strip_prefix(&*prefix).unwrap_or(own)
    }

    /// Updates what covers a directory below another. Returns whether that changed.
    pub(in crate::engine) fn rescope(
        &mut self,
        tree: &mut Tree,
        dir: DirId,
        at_least: ScopeId,
        path: &mut Vec<u8>,
    ) -> bool {
        let Some(parent) = tree.parent(dir) else { return false };
        let mut scope = self.scope_below(tree, parent, tree.name(dir), path);
        if tree.get(dir).is_path {
            let roots = self.inputs.roots(scope).iter().copied().chain(self.roots_at(tree, dir));
            let roots = roots.collect();
            scope = self.inputs.scope(roots);
        }
        if self.inputs.is_empty(scope) {
            scope = at_least;
        }
        std::mem::replace(&mut tree.get_mut(dir).scope, scope) != scope
    }

    /// More PATHs cover a directory: updates the directories below it.
    pub(super) fn cover_below(&mut self, tree: &mut Tree, dir: DirId, path: &mut Vec<u8>) {
        let mut below = vec![dir];
        while let Some(dir) = below.pop() {
            let children: Vec<DirId> = tree.children(dir).collect();
            let rescoped = |&child: &DirId| self.rescope(tree, child, ScopeId::default(), path);
            below.extend(children.into_iter().filter(rescoped));
        }
    }

    /// Lets more PATHs cover a directory and everything below it. Returns whether any of them adds
    /// something.
    pub(super) fn widen(
        &mut self,
        tree: &mut Tree,
        dir: DirId,
        more: &[RootId],
        path: &mut Vec<u8>,
    ) -> bool {
        let scope = tree.get(dir).scope;
        if more.iter().all(|&root| self.inputs.covers(scope, root)) {
            return false;
        }
        let roots = self.inputs.roots(scope).iter().chain(more).copied().collect();
        tree.get_mut(dir).scope = self.inputs.scope(roots);
        self.cover_below(tree, dir, path);
        true
    }

    /// Lets each PATH cover its own directory, if another PATH did that and does not any more.
    pub(super) fn cover_roots(&mut self, tree: &mut Tree, path: &mut Vec<u8>) {
        for (root, dir) in self.trees(tree).collect::<Vec<_>>() {
            self.widen(tree, dir, &[root], path);
        }
    }

    /// Every PATH that the settings name.
    pub(in crate::engine) fn all_roots(&self) -> impl Iterator<Item = RootId> + '_ {
        let is_there = |&at: &usize| self.roots[at].state != RootState::Removed;
        (0..self.roots.len()).filter(is_there).map(RootId::from)
    }

    /// A PATH.
    pub(in crate::engine) fn root(&self, root: RootId) -> &Root {
        &self.roots[root.0 as usize]
    }

    /// The PATHs that exist.
    pub(in crate::engine) fn found_roots(&self) -> Vec<Vec<u8>> {
        let found = self.roots.iter().filter(|root| matches!(root.state, RootState::Found(_)));
        found.map(|root| root.path.clone()).collect()
    }

    /// The directory that a PATH leads to, or the home of the file.
    pub(super) fn root_directory(&self, tree: &Tree, root: RootId) -> Option<DirId> {
        match self.root(root).state {
            RootState::Found(key) => tree.alive(key),
            RootState::Missing | RootState::Removed => None,
        }
    }

    /// Every PATH that exists and is a directory, with that directory.
    pub(super) fn trees<'a>(&'a self, tree: &'a Tree) -> impl Iterator<Item = (RootId, DirId)> {
        let trees = self.all_roots().filter(|&root| self.root(root).is_tree);
        trees.filter_map(|root| Some((root, self.root_directory(tree, root)?)))
    }

    /// The PATHs that lead to this directory itself.
    fn roots_at(&self, tree: &Tree, dir: DirId) -> Vec<RootId> {
        if !tree.get(dir).is_path {
            return Vec::new();
        }
        self.trees(tree).filter(|&(_, at)| at == dir).map(|(root, _)| root).collect()
    }

    /// Whether a PATH's directory is this one or below it.
    pub(in crate::engine) fn has_path_within(&self, tree: &Tree, dir: DirId) -> bool {
        self.trees(tree).any(|(_, at)| tree.is_within(at, dir))
    }

    /// The PATH, of any input, that is this file itself.
    pub(super) fn root_of_file(&self, tree: &Tree, dir: DirId, name: &[u8]) -> Option<RootId> {
        self.all_roots().find(|&root| {
            let found = self.root(root);
            !found.is_tree
                && self.root_directory(tree, root) == Some(dir)
                && split_path(&found.path).1 == name
        })
    }

    /// Whether some input reads files that exist at the start from their beginning.
    pub(super) fn reads_from_beginning(&self) -> bool {
        self.all_roots().any(|root| self.inputs.rules(root).from == StartAt::Beginning)
    }

    /// The PATHs of inputs that have never had a file although one of their PATHs exists.
    pub(super) fn inputs_without_files(&self) -> Vec<String> {
        let idle = self.inputs.accepted().into_iter().filter(|(_, has_accepted)| !has_accepted);
        let paths = idle.filter_map(|(input, _)| {
            let own = self.all_roots().filter(|&root| self.inputs.of_root(root) == input);
            let own: Vec<&Root> = own.map(|root| self.root(root)).collect();
            // Missing PATHs are reported as such.
            let is_any_found = own.iter().any(|root| matches!(root.state, RootState::Found(_)));
            let paths: Vec<String> = own.iter().map(|root| shown(&root.path)).collect();
            is_any_found.then(|| paths.join(" "))
        });
        paths.collect()
    }
}

#[cfg(test)]
mod tests;
