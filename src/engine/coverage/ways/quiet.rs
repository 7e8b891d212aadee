//! Watches on a way that report on their directory alone, not on the names in it.
//!
//! In: the ways as they were walked. Out: watches with a smaller mask.
//! Always holds: each directory on a way is watched; names that come and go beside a way cause no
//! wake-up.

use crate::engine::coverage::ways::walking::Step;
use crate::engine::coverage::ways::{Due, Ways};
use crate::engine::namespace::tree::Tree;
use crate::sys::FileSystem;

/// Whether a directory is the one of this name in another one, by their paths.
fn is_child(directory: &[u8], above: &[u8], name: &[u8]) -> bool {
    let above = above.strip_suffix(b"/").unwrap_or(above);
    directory.strip_suffix(name).and_then(|rest| rest.strip_suffix(b"/")) == Some(above)
}

impl Ways {
    /// A directory that is on the way itself has a watch that reports its end. The directory above
    /// it then needs no events about names: those beside the way (in `/tmp`, say) would only wake
    /// the loop up.
    pub(super) fn ignore_other_names(&mut self, tree: &Tree, fs: &mut impl FileSystem) {
        let ways = self.ways.iter().filter_map(|(way, _)| way.as_ref());
        let ways = ways.chain(self.state.iter().filter_map(|(_, way, _)| way.as_ref()));
        let (mut told, mut wanted) = (Vec::new(), Vec::new());
        for way in ways {
            for (at, step) in way.steps.iter().enumerate() {
                let Some(watch) = step.watch else { continue };
                let is_next = |next: &Step| {
                    next.watch.is_some() && is_child(&next.directory, &step.directory, &step.name)
                };
                match way.steps.get(at + 1).is_some_and(is_next) {
                    true => told.push((watch, step.directory.clone())),
                    false => wanted.push(watch),
                }
            }
        }
        told.retain(|(watch, _)| !wanted.contains(watch) && tree.find_watch(*watch).is_none());
        told.sort_unstable();
        told.dedup();
        for (watch, directory) in told {
            if fs.watch_self(&directory).ok() != Some(watch) {
                // Another directory is there by now.
                self.directory_changed(watch, Due::Names);
            }
        }
    }
}
