//! Which PATH covers a path that somebody asks about, and what of the tree it names.
//!
//! In: any path in any spelling; whoever asks may be allowed to see nothing but what is below the
//! PATHs. Out: a directory that is known, and the names behind it.
//! Always holds: which PATH covers a path follows from their spelling alone. A path that no PATH
//! covers is never accessed. On other paths, links are followed as far as the settings allow.

use std::io;

use crate::engine::Engine;
use crate::engine::coverage::root::RootState;
use crate::engine::coverage::ways::spelling::{absolute, components, join, up};
use crate::engine::namespace::registry::SlotId;
use crate::engine::namespace::tree::{DirId, Role};
use crate::names::split_path;
use crate::sink::Sink;
use crate::sys::{FileKind, FileSystem, LinkRule, Links, RefusedLink, Stat};

/// Where a path lies.
#[derive(Debug)]
pub(in crate::engine) enum Covered {
    /// Below a directory that is known: what remains of the path.
    By(DirId, Vec<Vec<u8>>),
    /// Below a PATH that is not there.
    Missing,
    /// A file that is known in a directory that is not listed: rotated there, or the target of a
    /// link.
    Known(SlotId),
    No,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// What covers a path.
    pub(in crate::engine) fn covered(&mut self, asked: &[u8]) -> Covered {
        let spellings = self.spellings(asked, b"");
        let Some((root, below)) = self.covering_root(&spellings) else {
            return self.known_elsewhere(&spellings).map_or(Covered::No, Covered::Known);
        };
        let RootState::Found(key) = self.coverage.roots[root].state else {
            return Covered::Missing;
        };
        let Some(dir) = self.tree.alive(key) else { return Covered::Missing };
        let mut rest: Vec<Vec<u8>> = components(&below).map(<[u8]>::to_vec).collect();
        if !self.coverage.roots[root].is_tree {
            rest.insert(0, split_path(&self.coverage.roots[root].path).1.to_vec());
            return Covered::By(dir, rest);
        }
        let dir = self.descend(dir, &mut rest);
        Covered::By(dir, rest)
    }

    /// A path without `.` and `..`, as it is spelled and from the root on. `..` leads to what is
    /// above by the spelling.
    fn spellings(&self, path: &[u8], base: &[u8]) -> Vec<Vec<u8>> {
        let mut plain = if path.starts_with(b"/") { b"/".to_vec() } else { Vec::new() };
        for name in components(path) {
            if name == b".." { up(&mut plain) } else { plain = join(&plain, name) }
        }
        absolute(base, path).into_iter().chain([plain]).collect()
    }

    /// The PATH nearest above a path, or the path itself, and what remains of that.
    fn covering_root(&self, asked: &[Vec<u8>]) -> Option<(usize, Vec<u8>)> {
        let mut nearest: Option<(usize, Vec<u8>)> = None;
        for at in 0..self.coverage.roots.len() {
            if self.coverage.roots[at].state == RootState::Removed {
                continue;
            }
            let (base, real) = self.coverage.ways.end_of(at);
            let ways = self
                .spellings(&self.coverage.roots[at].path, base)
                .into_iter()
                .chain(absolute(base, real));
            for path in ways.collect::<Vec<_>>() {
                for below in asked.iter().filter_map(|asked| below(asked, &path)) {
                    if nearest.as_ref().is_none_or(|(_, before)| below.len() < before.len()) {
                        nearest = Some((at, below.to_vec()));
                    }
                }
            }
        }
        nearest
    }

    /// A file in a directory that is watched for single files.
    fn known_elsewhere(&self, asked: &[Vec<u8>]) -> Option<SlotId> {
        let bases: Vec<&[u8]> =
            (0..self.coverage.roots.len()).map(|at| self.coverage.ways.end_of(at).0).collect();
        for (prefix, &key) in &self.coverage.homes {
            let Some(dir) = self.tree.alive(key) else { continue };
            let ways = bases
                .iter()
                .copied()
                .chain([&b""[..]])
                .flat_map(|base| self.spellings(prefix, base));
            for way in ways {
                let names = asked
                    .iter()
                    .filter_map(|asked| below(asked, &way))
                    .filter(|name| !name.contains(&b'/'));
                let known = names.filter_map(|name| self.files.find(dir, name));
                if let Some(id) = known.filter(|&id| self.files.get(id).is_identified()).last() {
                    return Some(id);
                }
            }
        }
        None
    }

    /// Goes down from a directory, by what is known and otherwise by looks, as long as what is
    /// there is known.
    fn descend(&mut self, mut dir: DirId, rest: &mut Vec<Vec<u8>>) -> DirId {
        while rest.len() > 1 {
            let name = rest[0].clone();
            let Some(next) = self.tree.find(dir, &name).or_else(|| self.known_by_inode(dir, &name))
            else {
                break;
            };
            dir = next;
            rest.remove(0);
        }
        dir
    }

    /// A directory of the tree that has a second name here.
    fn known_by_inode(&mut self, dir: DirId, name: &[u8]) -> Option<DirId> {
        let (_, target) = self.look_in(dir, name);
        let found = target.ok().filter(|found| found.kind == FileKind::Directory)?;
        self.tree
            .find_inode((found.id.device, found.id.inode))
            .filter(|&known| self.tree.get(known).role == Role::Listed)
    }

    /// Looks at a name in a directory: at what has it, and, if that is a link that is followed, at
    /// what it leads to.
    pub(in crate::engine) fn look_in(
        &mut self,
        dir: DirId,
        name: &[u8],
    ) -> (io::Result<Stat>, io::Result<Stat>) {
        let links = self.write_name(dir, name);
        let found = self.fs.stat(&self.path, links);
        let target = match &found {
            Ok(found) if found.kind == FileKind::Link => match self.links_through(dir, name) {
                Some(links) => self.fs.stat(&self.path, links),
                None => Ok(*found),
            },
            Ok(found) => Ok(*found),
            Err(error) => Err(copy_of(error)),
        };
        (found, target)
    }

    /// Looks at what lies deeper below a directory than what is known of it.
    pub(in crate::engine) fn look_below(
        &mut self,
        dir: DirId,
        names: &[Vec<u8>],
    ) -> io::Result<Stat> {
        let links = self.write_name(dir, &names.join(&b'/'));
        self.fs.stat(&self.path, links)
    }

    /// Why a link leads to no file, if its owner is the reason. The answer is the same whether the
    /// target belongs to somebody else or does not exist: the client may be the one who made the
    /// link.
    pub(in crate::engine) fn why_not_through(
        &mut self,
        dir: DirId,
        name: &[u8],
        found: &Stat,
    ) -> Option<String> {
        self.write_name(dir, name);
        let Links::Guarded(guard) = self.links_through(dir, name)? else { return None };
        if self
            .fs
            .refused_link(&self.path, guard)
            .is_some_and(|RefusedLink { target_owner, .. }| target_owner.is_none())
        {
            return Some("is a symbolic link into /proc: never followed".to_owned());
        }
        let owner = found.owner;
        (guard.rule == LinkRule::Owner && owner != 0).then(|| {
            format!(
                "is a symbolic link of user {owner}, and does not lead to anything \
                that this user owns: not followed"
            )
        })
    }

    /// The state directory, if the path is in it.
    pub(in crate::engine) fn state_directory_above(&mut self, asked: &[u8]) -> Option<Vec<u8>> {
        let (path, real) = self.coverage.ways.state_directory()?;
        let asked = self.spellings(asked, b"");
        let is_in = |directory: &[u8]| {
            asked.iter().any(|asked| below(asked, directory).is_some_and(|below| !below.is_empty()))
        };
        (is_in(path) || is_in(real)).then(|| path.to_vec())
    }
}

/// What remains of a path below another one, or of that one itself.
fn below<'a>(path: &'a [u8], above: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(above)?;
    let rest = match above.last() {
        // The current directory, and what is relative to it.
        None => (!rest.starts_with(b"/")).then_some(rest)?,
        Some(b'/') => rest,
        Some(_) if rest.is_empty() => rest,
        Some(_) => rest.strip_prefix(b"/")?,
    };
    // Only a relative path begins so.
    (!components(rest).any(|name| name == b"..")).then_some(rest)
}

pub(in crate::engine) fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn what_lies_below_a_path_is_told_by_whole_names() {
        let cases: [(&str, &str, Option<&str>); 12] = [
            ("/a/b", "/a", Some("b")),
            ("/a", "/a", Some("")),
            ("/ab", "/a", None),
            ("/a/b/c", "/", Some("a/b/c")),
            ("/b", "/a", None),
            ("a/b", "", Some("a/b")),
            ("/a/b", "", None),
            ("../a", "", None),
            ("../a", "..", Some("a")),
            ("../../a", "..", None),
            ("", "", Some("")),
            ("a", "a/b", None),
        ];
        for (path, above, wanted) in cases {
            assert_eq!(
                below(path.as_bytes(), above.as_bytes()),
                wanted.map(str::as_bytes),
                "{path} {above}"
            );
        }
    }
}
