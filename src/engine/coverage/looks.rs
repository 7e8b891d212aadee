//! Looks that compare what a path leads to with what is known.
//!
//! In: a directory that is known, or a path. Out: whether they are still the same.
//! Always holds: a failed look does not count as a difference.

use std::io;

use crate::engine::coverage::Coverage;
use crate::engine::namespace::registry::Registry;
use crate::engine::namespace::tree::{DirId, Tree};
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Links};

/// Whether the directory's path leads to it. `path` becomes that path.
pub(in crate::engine) fn leads_to(
    tree: &Tree,
    dir: DirId,
    path: &mut Vec<u8>,
    fs: &mut impl FileSystem,
) -> io::Result<bool> {
    let links = tree.write_bare_path(dir, path);
    match fs.stat(path, links) {
        // A file may have the number of a directory that was deleted.
        Ok(found) => Ok(found.kind == FileKind::Directory
            && (found.id.device, found.id.inode) == tree.get(dir).inode),
        Err(error) if Failure::of(&error) == Failure::Gone => Ok(false),
        Err(error) => Err(error),
    }
}

/// The known directory, under any path, that this path leads to. There was no link on the path a
/// moment ago.
pub(in crate::engine) fn known_directory(
    tree: &Tree,
    prefix: &[u8],
    fs: &mut impl FileSystem,
) -> Option<DirId> {
    let bare = if prefix.len() > 1 { prefix.strip_suffix(b"/").unwrap_or(prefix) } else { prefix };
    let found = fs.stat(bare, Links::Beneath(1)).ok()?;
    tree.find_inode((found.id.device, found.id.inode))
}

impl Coverage {
    /// Whether a PATH within another one's tree leads elsewhere or nowhere now. For other PATHs a
    /// visit finds that out.
    pub(super) fn has_moved(
        &self,
        root: usize,
        dir: DirId,
        tree: &Tree,
        fs: &mut impl FileSystem,
    ) -> bool {
        if !self.roots[root].is_tree || tree.parent(dir).is_none() {
            return false;
        }
        match fs.stat(&self.roots[root].path, Links::Follow) {
            Ok(found) => (found.id.device, found.id.inode) != tree.get(dir).inode,
            Err(error) => Failure::of(&error) == Failure::Gone,
        }
    }

    /// Whether another PATH's tree contains what this PATH leads to, so that nothing is missing.
    pub(super) fn is_covered(
        &self,
        root: usize,
        files: &Registry,
        tree: &Tree,
        fs: &mut impl FileSystem,
    ) -> bool {
        let Ok(found) = fs.stat(&self.roots[root].path, Links::Follow) else { return false };
        match found.kind {
            // The known directory may be gone without an event so far, and its inode number reused.
            FileKind::Directory => {
                let known = tree.find_inode((found.id.device, found.id.inode));
                let is_there = |known| leads_to(tree, known, &mut Vec::new(), fs).unwrap_or(false);
                known.is_some_and(is_there)
            }
            FileKind::Regular => files.find_id(found.id).is_some_and(|id| files.get(id).is_bound()),
            _ => false,
        }
    }
}
