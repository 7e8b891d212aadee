//! Watches on a way that report events of their directory alone, not of the names in it.
//!
//! In: the ways as they were walked. Out: watches with a smaller mask.
//! Always holds: each directory on a way is watched; changes of names that are not on a way do not
//! wake the loop up.

use crate::engine::coverage::ways::walking::Step;
use crate::engine::coverage::ways::{Due, Ways};
use crate::engine::namespace::tree::Tree;
use crate::sys::FileSystem;

/// Whether `directory` is the path of `name` in `above`.
fn is_child(directory: &[u8], above: &[u8], name: &[u8]) -> bool {
    let above = above.strip_suffix(b"/").unwrap_or(above);
    directory.strip_suffix(name).and_then(|rest| rest.strip_suffix(b"/")) == Some(above)
}

impl Ways {
    /// If a directory on the way has a watch of its own, that reports its end. The directory above
    /// it then needs no events about names: those of other names (in `/tmp`, for example) would
    /// only wake the loop up.
    pub(super) fn ignore_other_names(&mut self, tree: &Tree, fs: &mut impl FileSystem) {
        let ways = self.ways.iter().filter_map(|(way, _)| way.as_ref());
        let ways = ways.chain(self.state.iter().filter_map(|(_, way, _)| way.as_ref()));
        let (mut reported, mut needed) = (Vec::new(), Vec::new());
        for way in ways {
            for (at, step) in way.steps.iter().enumerate() {
                let Some(watch) = step.watch else { continue };
                let is_next = |next: &Step| {
                    next.watch.is_some() && is_child(&next.directory, &step.directory, &step.name)
                };
                match way.steps.get(at + 1).is_some_and(is_next) {
                    true => reported.push((watch, step.directory.clone())),
                    false => needed.push(watch),
                }
            }
        }
        reported.retain(|(watch, _)| !needed.contains(watch) && tree.find_watch(*watch).is_none());
        reported.sort_unstable();
        reported.dedup();
        for (watch, directory) in reported {
            if fs.watch_self(&directory).ok() != Some(watch) {
                // There is another directory by now.
                self.directory_changed(watch, Due::Names);
            }
        }
    }
}
