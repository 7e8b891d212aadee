//! Names that are followed in directories that are not listed: single files, and the targets of
//! followed links.
//!
//! In: PATHs and links. Out: why a name is followed, the names in a directory.
//! Always holds: each name is followed either as a PATH or as the target of a link; no operation
//! takes much longer because there are many names.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::tree::DirId;

type Name = (DirId, Box<[u8]>);

/// Why a name is followed in a directory that is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum SingleFile {
    /// It is a PATH of this input.
    Path(InputId),
    /// A followed link leads to it: the directory and the name of the link.
    Link(DirId, Box<[u8]>),
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::engine) struct SingleFiles {
    /// In the order of their names, so that what follows from them does not differ between runs.
    by_home: HashMap<DirId, BTreeMap<Box<[u8]>, SingleFile>>,
    /// The names to which each link leads.
    targets: HashMap<Name, Vec<Name>>,
}

impl SingleFiles {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.by_home.is_empty()
    }

    pub(in crate::engine) fn get(&self, home: DirId, name: &[u8]) -> Option<&SingleFile> {
        self.by_home.get(&home)?.get(name)
    }

    /// Whether a followed link leads to this name.
    pub(in crate::engine) fn is_target(&self, home: DirId, name: &[u8]) -> bool {
        matches!(self.get(home, name), Some(SingleFile::Link(..)))
    }

    pub(in crate::engine) fn insert(&mut self, home: DirId, name: &[u8], wanted: SingleFile) {
        self.remove(home, name);
        if let SingleFile::Link(dir, link) = &wanted {
            self.targets.entry((*dir, link.clone())).or_default().push((home, name.into()));
        }
        self.by_home.entry(home).or_default().insert(name.into(), wanted);
    }

    pub(in crate::engine) fn remove(&mut self, home: DirId, name: &[u8]) -> Option<SingleFile> {
        let names = self.by_home.get_mut(&home)?;
        let wanted = names.remove(name)?;
        if names.is_empty() {
            self.by_home.remove(&home);
        }
        if let SingleFile::Link(dir, link) = &wanted {
            let of_link = (*dir, link.clone());
            if let Some(targets) = self.targets.get_mut(&of_link) {
                targets.retain(|(at, target)| *at != home || **target != *name);
                if targets.is_empty() {
                    self.targets.remove(&of_link);
                }
            }
        }
        Some(wanted)
    }

    /// The names in a directory, and why each is followed.
    pub(in crate::engine) fn of_home(
        &self,
        home: DirId,
    ) -> impl Iterator<Item = (&Box<[u8]>, &SingleFile)> {
        self.by_home.get(&home).into_iter().flatten()
    }

    /// The names in a directory.
    pub(in crate::engine) fn names_in(&self, home: DirId) -> Vec<Box<[u8]>> {
        self.of_home(home).map(|(name, _)| name.clone()).collect()
    }

    /// Removes the names to which a link leads. Returns their directories.
    pub(in crate::engine) fn forget_targets(&mut self, dir: DirId, link: &[u8]) -> Vec<DirId> {
        if self.targets.is_empty() {
            return Vec::new();
        }
        let targets = self.targets.remove(&(dir, link.into())).unwrap_or_default();
        targets.iter().for_each(|(home, name)| drop(self.remove(*home, name)));
        targets.into_iter().map(|(home, _)| home).collect()
    }

    /// Removes the targets of links in this directory.
    pub(in crate::engine) fn forget_targets_in(&mut self, home: DirId) {
        let targets =
            self.of_home(home).filter(|(_, wanted)| matches!(wanted, SingleFile::Link(..)));
        let targets: Vec<Box<[u8]>> = targets.map(|(name, _)| name.clone()).collect();
        targets.iter().for_each(|name| drop(self.remove(home, name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::inputs::InputId;

    #[test]
    fn names_are_found_by_home_and_by_link_and_leave_nothing() {
        let mut wanted = SingleFiles::default();
        let (home, links) = (DirId(1), DirId(2));
        wanted.insert(home, b"path", SingleFile::Path(InputId::default()));
        for number in 0..100_000_u32 {
            let link = number.to_string().into_bytes();
            wanted.insert(
                home,
                &[b"target", &*link].concat(),
                SingleFile::Link(links, link.into()),
            );
        }
        wanted.insert(home, b"target7", SingleFile::Link(links, b"8".as_slice().into()));
        assert_eq!(
            (wanted.names_in(home).len(), wanted.forget_targets(links, b"7")),
            (100_001, vec![])
        );
        assert_eq!(wanted.forget_targets(links, b"8"), [home, home]);
        for number in 9..100_000_u32 {
            assert_eq!(wanted.forget_targets(links, number.to_string().as_bytes()), [home]);
        }
        wanted.forget_targets_in(home);
        assert_eq!(
            (wanted.names_in(home), wanted.targets.len()),
            (vec![b"path".as_slice().into()], 0)
        );
        assert!(wanted.remove(home, b"path").is_some() && wanted.is_empty());
    }
}
