//! Mounts on a way or below a PATH.
//!
//! In: the table of mounts, and what changed in it. Out: ways to walk again, directories to visit.
//! Always holds: without the table, only the sweep notices mounts, and that is logged.

use crate::engine::coverage::Coverage;
use crate::engine::coverage::root::RootState;
use crate::engine::coverage::ways::spelling::{above, components};
use crate::engine::coverage::ways::{Due, WayId, Ways};
use crate::engine::namespace::registry::{Registry, SlotId};
use crate::engine::namespace::tree::{DirId, Tree};
use crate::sys::FileSystem;

impl Ways {
    pub(super) fn read_mounts(&mut self, fs: &mut impl FileSystem) -> Option<Vec<u8>> {
        if self.is_table_missing {
            return None;
        }
        match fs.mounts() {
            Ok(table) => Some(table),
            Err(error) => {
                tracing::debug!(%error, "the table of mounts cannot be read: mounts are noticed by \
                    the sweep alone");
                self.is_table_missing = true;
                None
            }
        }
    }
}

/// What is followed at a mount point below a PATH.
pub(super) struct Mounted {
    /// The directory there, or the one that contains the mount point.
    pub(super) dir: DirId,
    /// The file there.
    pub(super) file: Option<SlotId>,
}

impl Coverage {
    /// A file system was mounted or unmounted there: marks the ways that pass it.
    pub(super) fn mount_changed(&mut self, point: &[u8], due: &mut Vec<WayId>) {
        tracing::debug!(point = %point.escape_ascii(), "a mount changed");
        for at in self.ways.points.get(point).cloned().unwrap_or_default() {
            self.ways.mark(at, Due::Names);
            due.push(at);
        }
    }

    /// What is at a mount point below PATHs.
    pub(super) fn mounted_below(
        &self,
        point: &[u8],
        files: &Registry,
        tree: &Tree,
    ) -> Vec<Mounted> {
        let ends = above(point).filter_map(|end| Some((end, self.ways.ends.get(end)?)));
        let below = ends.flat_map(|(end, ways)| ways.iter().map(|&at| (at, &point[end.len()..])));
        below.filter_map(|(at, names)| self.mounted_at(at, names, files, tree)).collect()
    }

    fn mounted_at(
        &self,
        root: usize,
        below: &[u8],
        files: &Registry,
        tree: &Tree,
    ) -> Option<Mounted> {
        let RootState::Found(key) = self.roots[root].state else { return None };
        let mut dir = tree.alive(key).filter(|_| self.roots[root].is_tree)?;
        let mut names = components(below).peekable();
        while let Some(name) = names.next() {
            match tree.find(dir, name) {
                Some(child) => dir = child,
                // It is a file, or the directory was not followed so far.
                None if names.peek().is_none() => {
                    return Some(Mounted { dir, file: files.find(dir, name) });
                }
                None => return None,
            }
        }
        Some(Mounted { dir, file: None })
    }
}
