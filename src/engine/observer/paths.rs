//! Paths as records show them.

use crate::engine::namespace::registry::{Registry, SlotId};
use crate::engine::namespace::tree::{DirId, Tree};

/// The path of a file that has one.
pub(in crate::engine) fn path_of(files: &Registry, tree: &Tree, id: SlotId) -> Option<Vec<u8>> {
    let slot = files.get(id);
    slot.is_bound().then(|| {
        let mut path = Vec::new();
        tree.write_path(slot.dir(), &mut path);
        path.extend_from_slice(files.name(id));
        path
    })
}

/// The path of a name in a directory.
pub(super) fn path_in(tree: &Tree, dir: DirId, name: &[u8]) -> Vec<u8> {
    let mut path = Vec::new();
    tree.write_path(dir, &mut path);
    path.extend_from_slice(name);
    if path.is_empty() { b".".to_vec() } else { path }
}
