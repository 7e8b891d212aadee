//! The paths of directories, built on demand, and the links that are followed on them.
//!
//! In: a directory, and perhaps a name in it. Out: the path for a system call, and which links on
//! it are followed.
//! Always holds: nothing is stored; a path costs no memory beyond the buffer that it is written to,
//! unless it is very deep.

use crate::engine::namespace::tree::trust::{Prefix, Trust};
use crate::engine::namespace::tree::{DirId, Directory, Tree};
use crate::sys::{LinkRule, Links};

/// Paths with at most this many levels are built without an allocation for the list of levels.
const NEAREST: usize = 8;

impl Tree {
    /// Which links in the tree are followed.
    pub(crate) fn link_rule(&self) -> Option<LinkRule> {
        self.link_rule
    }

    /// Writes the path of a name in the directory into `path`. Returns which links on it are
    /// followed.
    pub(crate) fn write_name(&self, id: DirId, name: &[u8], path: &mut Vec<u8>) -> Links {
        path.clear();
        let trust = self.write_path(id, path);
        path.extend_from_slice(name);
        trust.links(self.link_rule)
    }

    /// Writes the directory's path into `path`, without the slash at its end, which would make
    /// `O_NOFOLLOW` and `lstat` follow a link. Returns which links on it are followed.
    pub(crate) fn write_bare_path(&self, id: DirId, path: &mut Vec<u8>) -> Links {
        let below = self.write_name(id, b"", path);
        // A PATH.
        let links = if below == Links::Beneath(path.len()) { Links::Follow } else { below };
        if path.len() > 1 && path.ends_with(b"/") {
            path.pop();
        }
        if path.is_empty() {
            path.push(b'.');
        }
        links
    }

    /// Writes the directory's path, with a slash at its end, into an empty `path`. Returns how far
    /// it is trusted.
    pub(crate) fn write_path(&self, id: DirId, path: &mut Vec<u8>) -> Trust {
        let mut nearest = [self.get(id); NEAREST];
        let mut levels = 0;
        let prefix = loop {
            let found = nearest[levels];
            if let Some(prefix) = &found.prefix {
                break prefix;
            }
            levels += 1;
            if levels == NEAREST {
                return self.write_deep_path(id, path);
            }
            nearest[levels] = self.get(DirId(found.parent));
        };
        self.write_names(prefix, nearest[..levels].iter().rev().copied(), path)
    }

    /// The same for any depth, since users choose how deep their directories are.
    fn write_deep_path(&self, id: DirId, path: &mut Vec<u8>) -> Trust {
        let chain = std::iter::successors(Some(id), |&at| self.parent(at)).map(|at| self.get(at));
        let mut chain: Vec<&Directory> = chain.collect();
        let top = chain.iter().position(|found| found.prefix.is_some()).expect("a root has a path");
        chain.truncate(top + 1);
        let prefix = chain.pop().and_then(|found| found.prefix.as_ref()).expect("just found");
        self.write_names(prefix, chain.into_iter().rev(), path)
    }

    #[inline]
    fn write_names<'a>(
        &self,
        prefix: &Prefix,
        below: impl Iterator<Item = &'a Directory>,
        path: &mut Vec<u8>,
    ) -> Trust {
        path.extend_from_slice(&prefix.path);
        let mut trust = prefix.trust;
        for found in below {
            path.extend_from_slice(self.names.get(found.name));
            path.push(b'/');
            if found.via_link {
                trust.followed = path.len();
            }
        }
        trust
    }

    /// How much of the directory's path is trusted.
    pub(crate) fn trusted_len(&self, id: DirId) -> usize {
        let mut at = self.get(id);
        loop {
            match &at.prefix {
                Some(prefix) => return prefix.trust.trusted,
                None => at = self.get(DirId(at.parent)),
            }
        }
    }

    /// Of this directory and those above it, the one right below the nearest PATH. `None` for a
    /// PATH itself.
    pub(crate) fn first_below_path(&self, id: DirId) -> Option<DirId> {
        let (mut at, mut below) = (id, None);
        while !self.get(at).is_path {
            below = Some(at);
            at = self.parent(at)?;
        }
        below
    }

    /// The length of the root's path. The rest of a path is "the path below PATH".
    pub(crate) fn prefix_len(&self, id: DirId) -> usize {
        self.get(self.root_of(id)).prefix.as_ref().map_or(0, |prefix| prefix.path.len())
    }
}
