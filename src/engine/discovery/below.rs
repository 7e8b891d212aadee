//! Updates everything below a directory that was renamed or dropped. Works in slices, since users
//! choose how much is there.
//!
//! In: renamed directories, directories to drop. Out: their files have their new paths, or are
//! parked.
//! Always holds: a small tree is done at once; of large ones, a turn does [`STEPS_PER_TURN`] files.
//! A directory that is being dropped has no name. Until the drop is complete, it is treated like a
//! directory in the middle of a rename, and files below it are not looked at.

use std::collections::VecDeque;
use std::time::Instant;

use crate::engine::Engine;
use crate::engine::namespace::registry::{SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirId, DirKey, Role, Tree, VisitWork};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;

/// Files and directories updated per turn: a few milliseconds.
const STEPS_PER_TURN: usize = 4_096;

/// The deepest directory that is followed. More levels do not fit into a path (`PATH_MAX` is 4096
/// bytes), though renames can make them.
const DEPTH_MAX: usize = 2_048;

/// The updates that are still to be made.
#[derive(Debug)]
pub(in crate::engine) struct Below {
    /// Directories that have a new place, and those below them.
    moved: VecDeque<DirKey>,
    /// Their files, and whether another input may cover them now.
    files: Vec<(SlotKey, bool)>,
    dropping: VecDeque<DirKey>,
    steps: usize,
    steps_per_turn: usize,
}

impl Below {
    pub(in crate::engine) fn new() -> Self {
        let (moved, files, dropping) = (VecDeque::new(), Vec::new(), VecDeque::new());
        Below { moved, files, dropping, steps: STEPS_PER_TURN, steps_per_turn: STEPS_PER_TURN }
    }

    pub(in crate::engine) fn has_work(&self) -> bool {
        !(self.dropping.is_empty() && self.moved.is_empty() && self.files.is_empty())
    }

    /// Whether directories are being dropped.
    pub(in crate::engine) fn is_dropping(&self) -> bool {
        !self.dropping.is_empty()
    }

    /// A directory has a new place in the tree. `is_covered_anew`: another input may cover it
    /// there.
    fn note_moved(&mut self, tree: &mut Tree, dir: DirId, is_covered_anew: bool) {
        let key = tree.key(dir);
        match &mut tree.get_mut(dir).moved {
            Some(known) => *known |= is_covered_anew,
            moved @ None => {
                *moved = Some(is_covered_anew);
                self.moved.push_back(key);
            }
        }
    }

    /// Counts a step. Returns whether work that can wait is left to the next turn.
    fn is_interrupted(&mut self, can_wait: bool) -> bool {
        self.steps = self.steps.saturating_sub(1);
        can_wait && self.steps == 0
    }

    /// The directories that are being dropped, for the check of invariants.
    pub(in crate::engine) fn dropping(&self) -> impl Iterator<Item = DirKey> + '_ {
        self.dropping.iter().copied()
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Sets how many files and directories are updated per turn: fewer than usual, for tests.
    pub fn limit_steps(&mut self, steps: usize) {
        (self.discovery.below.steps, self.discovery.below.steps_per_turn) = (steps, steps);
    }

    /// Updates paths below renamed directories and drops directories, within the turn's steps.
    pub(in crate::engine) fn update_below(&mut self, now: Instant) {
        self.discovery.below.steps = self.discovery.below.steps_per_turn;
        if !self.discovery.below.has_work() {
            return;
        }
        // Half of the steps are for directories that are dropped.
        self.update_moved(self.discovery.below.steps_per_turn / 2, now);
        while self.discovery.below.steps > 0
            && let Some(&key) = self.discovery.below.dropping.front()
        {
            let dir = self.tree.alive(key).filter(|&dir| self.tree.get(dir).is_dropping);
            if dir.is_some_and(|dir| !self.drop_within(dir, true, now)) {
                break;
            }
            self.discovery.below.dropping.pop_front();
        }
    }

    /// Updates everything below a directory that has a new place in the tree; small trees at once.
    pub(in crate::engine) fn came_to_another_place(
        &mut self,
        dir: DirId,
        is_covered_anew: bool,
        now: Instant,
    ) {
        self.discovery.below.note_moved(&mut self.tree, dir, is_covered_anew);
        self.update_moved(0, now);
    }

    /// Updates what is below moved directories, until `steps_left` steps remain.
    fn update_moved(&mut self, steps_left: usize, now: Instant) {
        while self.discovery.below.steps > steps_left {
            if let Some((key, is_covered_anew)) = self.discovery.below.files.pop() {
                if let Some(id) = self.files.alive(key).filter(|&id| self.files.get(id).is_bound())
                {
                    self.update_moved_file(id, is_covered_anew);
                }
            } else if let Some(key) = self.discovery.below.moved.pop_front() {
                if let Some(dir) = self.tree.alive(key) {
                    self.update_moved_directory(dir, now);
                }
            } else {
                return;
            }
            self.discovery.below.steps = self.discovery.below.steps.saturating_sub(1);
        }
    }

    fn update_moved_file(&mut self, id: SlotId, is_covered_anew: bool) {
        if is_covered_anew {
            self.coverage.find_input(&mut self.files, &self.tree, id, &mut self.path);
        }
        self.offsets.path_changed(&self.files, id);
        // A file that could not be read may be readable now, and no event reports that.
        if self.files.get(id).state().contains(State::UNREADABLE) {
            self.doubt(id);
        }
    }

    fn update_moved_directory(&mut self, dir: DirId, now: Instant) {
        let is_covered_anew = self.tree.get_mut(dir).moved.take().unwrap_or_default();
        if self.tree.depth(dir) > DEPTH_MAX {
            rare!("directories were renamed into one another until no path was long enough");
            self.drop_directory(dir, now);
            return;
        }
        if self.tree.get(dir).is_unreadable() {
            rare!("a directory that could not be read came to another place");
            self.push_visit(dir, VisitWork::RECHECK);
        }
        self.tree.set_top(dir);
        let files = self.files.in_dir(dir).map(|id| (self.files.key(id), is_covered_anew));
        self.discovery.below.files.extend(files);
        let scope = self.tree.get(dir).scope;
        let children: Vec<DirId> = self.tree.children(dir).collect();
        for child in children {
            // Where globs match paths, the coverage of a directory may change though that of its
            // parent does not.
            let is_anew = is_covered_anew
                && (self.coverage.rescope(&mut self.tree, child, scope, &mut self.path)
                    || self.coverage.inputs.needs_path());
            self.discovery.below.note_moved(&mut self.tree, child, is_anew);
        }
    }

    /// Drops a directory and everything below it. Large trees are dropped in slices; until that is
    /// complete, the directory counts as moving and has no name. Its files are remembered for a
    /// while.
    pub(in crate::engine) fn drop_directory(&mut self, dir: DirId, now: Instant) {
        let is_root = self.tree.parent(dir).is_none();
        if self.drop_within(dir, !is_root, now) {
            return;
        }
        rare!("a directory with much below it was let go in slices");
        if !self.tree.get(dir).is_moving {
            self.tree.detach(dir);
        }
        let key = self.tree.key(dir);
        if !std::mem::replace(&mut self.tree.get_mut(dir).is_dropping, true) {
            self.discovery.below.dropping.push_back(key);
        }
    }

    /// Drops everything in the directory of a PATH. The directory itself stays.
    pub(in crate::engine) fn empty_directory(&mut self, dir: DirId, now: Instant) {
        let children: Vec<DirId> = self.tree.children(dir).collect();
        for child in children {
            self.drop_within(child, false, now);
        }
        self.let_files_go(dir, false, now);
    }

    /// Removes a directory with everything below it, the deepest first. Returns whether it is done;
    /// if it `can_wait`, it may not be.
    fn drop_within(&mut self, top: DirId, can_wait: bool, now: Instant) -> bool {
        let top_key = self.tree.key(top);
        let mut dir = top;
        loop {
            while let Some(child) = self.tree.children(dir).next() {
                dir = child;
            }
            let (key, above) = (self.tree.key(dir), self.tree.parent(dir));
            if !self.let_files_go(dir, can_wait, now) {
                return false;
            }
            // A home is removed with the last file that is followed in it.
            if let Some(dir) = self.tree.alive(key) {
                self.discovery.is_path_lost |= self.tree.get(dir).is_path;
                self.kernel.set_polled(&mut self.tree, dir, false);
                self.tree.remove(dir);
            }
            match above {
                Some(above) if key != top_key => dir = above,
                _ => return true,
            }
        }
    }

    /// Drops the files in a directory. Returns whether all are gone.
    fn let_files_go(&mut self, dir: DirId, can_wait: bool, now: Instant) -> bool {
        // This comes first, so that no file continues under a further name in this directory.
        while let Some(linked) = self.files.take_alias_in(dir) {
            if self.tree.get(dir).role == Role::Home {
                // The link that led here leads nowhere or elsewhere now.
                self.doubt(linked);
            }
            if self.discovery.below.is_interrupted(can_wait) {
                return false;
            }
        }
        self.end_watch(dir);
        let key = self.tree.key(dir);
        while let Some(id) = self.tree.alive(key).and_then(|dir| self.files.in_dir(dir).next()) {
            self.leave_at_once(id, now);
            debug_assert!(
                self.tree.alive(key).and_then(|dir| self.files.in_dir(dir).next()) != Some(id),
                "it lost its name"
            );
            if self.discovery.below.is_interrupted(can_wait) {
                return false;
            }
        }
        self.coverage.single_files.forget_targets_in(dir);
        true
    }
}
