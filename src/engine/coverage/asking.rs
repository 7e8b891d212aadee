//! Which PATH covers a path in a client's question, and where in the tree it is.
//!
//! In: any path in any spelling; the client may not be allowed to see anything outside of the
//! PATHs. Out: a known directory, and the names behind it.
//! Always holds: the spelling alone decides which PATH covers a path. A path that no PATH covers is
//! never accessed. On other paths, links are followed as far as the settings allow.

use std::io;

use crate::engine::coverage::Coverage;
use crate::engine::coverage::root::RootState;
use crate::engine::coverage::ways::spelling::{absolute, components, join, up};
use crate::engine::namespace::registry::{Registry, SlotId};
use crate::engine::namespace::tree::{DirId, Role, Tree};
use crate::names::split_path;
use crate::sys::{FileKind, FileSystem, LinkRule, Links, RefusedLink, Stat};

/// Where a path lies.
#[derive(Debug)]
pub(in crate::engine) enum Covered {
    /// Below a known directory; with the rest of the path.
    By(DirId, Vec<Vec<u8>>),
    /// Below a missing PATH.
    Missing,
    /// A known file in a directory that is not listed: it was rotated there, or is the target of a
    /// link.
    Known(SlotId),
    No,
}

impl Coverage {
    /// What covers a path.
    pub(in crate::engine) fn covered(
        &self,
        files: &Registry,
        tree: &Tree,
        fs: &mut impl FileSystem,
        asked: &[u8],
    ) -> Covered {
        let asked = spellings(asked, b"");
        let Some((root, below)) = self.covering_root(&asked) else {
            let known = self.known_elsewhere(files, tree, &asked);
            return known.map_or(Covered::No, Covered::Known);
        };
        let RootState::Found(key) = self.roots[root].state else {
            return Covered::Missing;
        };
        let Some(dir) = tree.alive(key) else { return Covered::Missing };
        let mut rest: Vec<Vec<u8>> = components(&below).map(<[u8]>::to_vec).collect();
        if !self.roots[root].is_tree {
            rest.insert(0, split_path(&self.roots[root].path).1.to_vec());
            return Covered::By(dir, rest);
        }
        let dir = self.descend(tree, fs, dir, &mut rest);
        Covered::By(dir, rest)
    }

    /// Descends from a directory as long as the next directory is known. Looks find directories
    /// that are known by another name.
    fn descend(
        &self,
        tree: &Tree,
        fs: &mut impl FileSystem,
        mut dir: DirId,
        rest: &mut Vec<Vec<u8>>,
    ) -> DirId {
        while rest.len() > 1 {
            let name = rest[0].clone();
            let Some(next) =
                tree.find(dir, &name).or_else(|| self.known_by_inode(tree, fs, dir, &name))
            else {
                break;
            };
            dir = next;
            rest.remove(0);
        }
        dir
    }

    /// A directory of the tree that has a second name here.
    fn known_by_inode(
        &self,
        tree: &Tree,
        fs: &mut impl FileSystem,
        dir: DirId,
        name: &[u8],
    ) -> Option<DirId> {
        let (_, target) = self.look_in(tree, fs, dir, name);
        let found = target.ok().filter(|found| found.kind == FileKind::Directory)?;
        tree.find_inode((found.id.device, found.id.inode))
            .filter(|&known| tree.has_role(known, Role::Listed))
    }

    /// Looks at a name in a directory and, if that is a followed link, at its target.
    pub(in crate::engine) fn look_in(
        &self,
        tree: &Tree,
        fs: &mut impl FileSystem,
        dir: DirId,
        name: &[u8],
    ) -> (io::Result<Stat>, io::Result<Stat>) {
        let mut path = Vec::new();
        let links = tree.write_name(dir, name, &mut path);
        let found = fs.stat(&path, links);
        let target = match &found {
            Ok(found) if found.kind == FileKind::Link => {
                match self.links_through(tree, dir, name, &path) {
                    Some(links) => fs.stat(&path, links),
                    None => Ok(*found),
                }
            }
            Ok(found) => Ok(*found),
            Err(error) => Err(copy_of(error)),
        };
        (found, target)
    }

    /// Why a link leads to no file, if its owner is the reason. The answer does not reveal whether
    /// the target exists, because the client may have made the link.
    pub(in crate::engine) fn why_not_through(
        &self,
        tree: &Tree,
        fs: &mut impl FileSystem,
        dir: DirId,
        name: &[u8],
        found: &Stat,
    ) -> Option<String> {
        let mut path = Vec::new();
        tree.write_name(dir, name, &mut path);
        let Links::Guarded(guard) = self.links_through(tree, dir, name, &path)? else {
            return None;
        };
        if fs
            .refused_link(&path, guard)
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

    /// The nearest PATH that contains a path, and the rest of the path.
    fn covering_root(&self, asked: &[Vec<u8>]) -> Option<(usize, Vec<u8>)> {
        let mut nearest: Option<(usize, Vec<u8>)> = None;
        for (at, root) in self.roots.iter().enumerate() {
            if root.state == RootState::Removed {
                continue;
            }
            let (base, real) = self.ways.end_of(at);
            for path in spellings(&root.path, base).into_iter().chain(absolute(base, real)) {
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
    fn known_elsewhere(&self, files: &Registry, tree: &Tree, asked: &[Vec<u8>]) -> Option<SlotId> {
        let bases: Vec<&[u8]> =
            (0..self.roots.len()).map(|at| self.ways.end_of(at).0).chain([&b""[..]]).collect();
        for (prefix, &key) in &self.homes {
            let Some(dir) = tree.alive(key) else { continue };
            for path in bases.iter().flat_map(|base| spellings(prefix, base)) {
                let names = asked
                    .iter()
                    .filter_map(|asked| below(asked, &path))
                    .filter(|name| !name.contains(&b'/'));
                let mut known = names.filter_map(|name| files.find(dir, name));
                if let Some(id) = known.rfind(|&id| files.get(id).is_identified()) {
                    return Some(id);
                }
            }
        }
        None
    }

    /// The state directory, if the path is in it.
    pub(in crate::engine) fn state_directory_above(&self, asked: &[u8]) -> Option<Vec<u8>> {
        let (path, real) = self.ways.state_directory()?;
        let asked = spellings(asked, b"");
        let is_in = |directory: &[u8]| {
            asked.iter().any(|asked| below(asked, directory).is_some_and(|below| !below.is_empty()))
        };
        (is_in(path) || is_in(real)).then(|| path.to_vec())
    }
}

/// Looks at a path below a directory whose intermediate directories are not known. Returns the same
/// as [`Coverage::look_in`], but never follows a link at the end.
pub(in crate::engine) fn look_below(
    tree: &Tree,
    fs: &mut impl FileSystem,
    dir: DirId,
    names: &[Vec<u8>],
) -> (io::Result<Stat>, io::Result<Stat>) {
    let mut path = Vec::new();
    let links = tree.write_name(dir, &names.join(&b'/'), &mut path);
    let found = fs.stat(&path, links);
    let target = found.as_ref().map_err(copy_of).copied();
    (found, target)
}

/// The spellings of a path without `.` and `..`: as given, and absolute. `..` removes the component
/// before it.
fn spellings(path: &[u8], base: &[u8]) -> Vec<Vec<u8>> {
    let mut plain = if path.starts_with(b"/") { b"/".to_vec() } else { Vec::new() };
    for name in components(path) {
        if name == b".." { up(&mut plain) } else { plain = join(&plain, name) }
    }
    absolute(base, path).into_iter().chain([plain]).collect()
}

/// The rest of a path below another one; empty if they are the same.
fn below<'a>(path: &'a [u8], above: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(above)?;
    let rest = match above.last() {
        // The current directory contains every relative path.
        None => (!rest.starts_with(b"/")).then_some(rest)?,
        Some(b'/') => rest,
        Some(_) if rest.is_empty() => rest,
        Some(_) => rest.strip_prefix(b"/")?,
    };
    // Only a relative path begins with `..`.
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
