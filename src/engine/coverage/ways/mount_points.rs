//! Mounts on a way or below a PATH.
//!
//! In: the table of mounts, and what changed in it. Out: ways to walk again, directories to visit.
//! Always holds: without the table, the sweep alone notices mounts, and that is told.

use crate::engine::Engine;
use crate::engine::coverage::root::RootState;
use crate::engine::coverage::ways::spelling::{above, components};
use crate::engine::coverage::ways::{Due, WayId};
use crate::engine::namespace::tree::VisitWork;
use crate::sink::Sink;
use crate::sys::FileSystem;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    pub(super) fn read_mounts(&mut self) -> Option<Vec<u8>> {
        if self.coverage.ways.is_table_missing {
            return None;
        }
        match self.fs.mounts() {
            Ok(table) => Some(table),
            Err(error) => {
                tracing::debug!(%error, "the table of mounts cannot be read: mounts are noticed by \
                    the sweep alone");
                self.coverage.ways.is_table_missing = true;
                None
            }
        }
    }

    /// Something was mounted there, or unmounted. Adds the PATHs to look at for that to `seen`.
    pub(super) fn mount_changed(&mut self, point: &[u8], seen: &mut Vec<WayId>) {
        tracing::debug!(point = %point.escape_ascii(), "a mount changed");
        for at in self.coverage.ways.points.get(point).cloned().unwrap_or_default() {
            self.coverage.ways.mark(at, Due::Names);
            seen.push(at);
        }
        for end in above(point) {
            for at in self.coverage.ways.ends.get(end).cloned().unwrap_or_default() {
                self.visit_mount_point(at, &point[end.len()..]);
            }
        }
    }

    /// Something was mounted below a PATH, or unmounted.
    fn visit_mount_point(&mut self, root: usize, below: &[u8]) {
        let RootState::Found(key) = self.coverage.roots[root].state else { return };
        let Some(mut dir) = self.tree.alive(key).filter(|_| self.coverage.roots[root].is_tree)
        else {
            return;
        };
        let mut names = components(below).peekable();
        while let Some(name) = names.next() {
            match self.tree.find(dir, name) {
                Some(child) => dir = child,
                // It is a file, or the directory was not followed so far.
                None if names.peek().is_none() => {
                    if let Some(id) = self.files.find(dir, name) {
                        self.doubt(id);
                    }
                }
                None => return,
            }
        }
        self.push_visit(dir, VisitWork::APPEARED);
    }
}
