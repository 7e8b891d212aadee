//! Mounts below a PATH that a user other than root made: a process of that user answers there, or
//! delays the answer.
//!
//! In: a look, an open or a visit that failed at such a mount. Out: the directory is left out until
//! it is unmounted, and that is reported once.
//! Always holds: no system call is made on anything inside such a mount. Files that the mount hides
//! count as moved out of the tree until it is unmounted.

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::coverage::looks::leads_to;
use crate::engine::namespace::registry::SlotId;
use crate::engine::namespace::tree::{DirId, Tree, VisitWork};
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;

fn is_user_mount_above(
    dir: DirId,
    tree: &Tree,
    path: &mut Vec<u8>,
    fs: &mut impl FileSystem,
) -> bool {
    leads_to(tree, dir, path, fs).is_err_and(|error| Failure::of(&error) == Failure::UserMount)
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A file cannot be accessed, because a user mounted something on it or on a directory above
    /// it.
    pub(in crate::engine) fn hidden_by_user_mount(&mut self, id: SlotId, now: Now) {
        let dir = self.files.get(id).dir();
        let is_new = self.became_unreadable(id);
        if self.files.get(id).is_bound()
            && is_user_mount_above(dir, &self.tree, &mut self.path, &mut self.fs)
        {
            // The visit of its directory decides what happens to the file.
            self.push_visit(dir, VisitWork::RECHECK);
        } else if is_new {
            self.write_path(id);
            self.report_user_mount(now);
        }
    }

    /// A directory is hidden by such a mount, on it or further above: the topmost is left out.
    pub(in crate::engine) fn leave_user_mount_out(&mut self, dir: DirId, now: Now) {
        let mut top = dir;
        while let Some(parent) = self.tree.parent(top)
            && is_user_mount_above(parent, &self.tree, &mut self.path, &mut self.fs)
        {
            top = parent;
        }
        let is_known_below =
            self.files.in_dir(top).next().is_some() || self.tree.children(top).next().is_some();
        if is_known_below && let Some(parent) = self.tree.parent(top) {
            // Users choose how much is below, so it is dropped in slices. The visit of the
            // directory that replaces it finds the mount.
            let (name, via_link) = (self.tree.name(top).to_vec(), self.tree.get(top).via_link);
            self.discovery.visit_roots_within(&self.coverage, &mut self.tree, top, &mut self.path);
            self.drop_directory(top, now.instant);
            if let Some(added) = self.add_directory(parent, &name, VisitWork::APPEARED) {
                self.tree.get_mut(added).via_link = via_link;
            }
            return;
        }
        if !self.tree.set_unreadable(top, true) {
            self.tree.write_bare_path(top, &mut self.path);
            self.report_user_mount(now);
        }
    }

    /// Reports the path at hand.
    fn report_user_mount(&mut self, now: Now) {
        notice!(warn: self.observer.notices, Cause::UserMount, about &self.path, now.instant,
            "a user other than root mounted something here: left out until it is unmounted");
    }
}
