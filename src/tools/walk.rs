//! Walks through the trees of inputs as a run would follow them.
//!
//! In: PATHs and rules. Out: each directory and each file that a run would follow, and why others
//! are left out.
//! Always holds: no file is opened, and `statx` is called only for entries whose kind the listing
//! does not give. A directory is listed once, by whatever path it is reached; a file in it belongs
//! to the first input that accepts it, of those with a PATH above it: the innermost PATH comes
//! first.

use std::cmp::Reverse;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use hashbrown::HashSet;

use crate::config::{JobPattern, RecordRule};
use crate::names::split_path;
use crate::patterns::{Patterns, Refused};
use crate::status::numbers::words;
use crate::sys::{FileKind, FileSystem, Guard, LinkRule, Links, Linux, Stat, USER_MOUNT};

/// PATHs that are followed under the same globs.
#[derive(Debug)]
pub struct Input {
    /// Each PATH as given, as bytes: a directory or a file.
    pub paths: Vec<Vec<u8>>,
    /// Include and exclude globs.
    pub patterns: Patterns,
    /// Finds the fields of jobs in names.
    pub job: Option<JobPattern>,
    /// Which lines make one record, if several may.
    pub record: Option<RecordRule>,
}

/// What is followed, and by which rules.
#[derive(Debug)]
pub struct Trees {
    /// At least one input.
    pub inputs: Vec<Input>,
    /// Whether sub-directories are followed.
    pub recursive: bool,
    /// Which symbolic links below PATH are followed.
    pub follow_links: Option<LinkRule>,
    /// Whether only files that belong to the owner of the first component below PATH are read.
    pub same_owner: bool,
}

/// The kind of a PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathKind {
    Missing,
    Directory,
    File,
    /// A file that the globs exclude.
    LeftOut,
    Special,
    /// The system's text for the error.
    Failed(String),
}

/// A PATH of an input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root<'a> {
    pub(super) path: &'a [u8],
    pub(super) input: &'a Input,
    /// The place of the input among all.
    pub(super) number: usize,
}

/// A directory or a file that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) input: &'a Input,
    /// The place of the input among all.
    pub(super) input_number: usize,
    /// The place of the PATH that it belongs to in [`Walk::roots`].
    pub(super) root: usize,
    /// As the file system is asked for it.
    pub(super) path: &'a [u8],
    /// How it is reached by that path.
    pub(super) links: Links,
    /// The length of the PATH in it, with the slash behind.
    pub(super) prefix_len: usize,
    /// `st_dev`; of a file in a listing, that of its directory.
    pub(super) device: u64,
    /// It is a PATH itself, or the target of a link.
    pub(super) is_single: bool,
}

impl<'a> Found<'a> {
    /// The last component of its path.
    pub(super) fn name(&self) -> &'a [u8] {
        split_path(self.path).1
    }

    /// The part of its path below PATH; of a PATH that is a file, its name.
    pub(super) fn below(&self) -> &'a [u8] {
        if self.is_path() { self.name() } else { &self.path[self.prefix_len..] }
    }

    /// Whether it is a PATH itself.
    pub(super) fn is_path(&self) -> bool {
        self.prefix_len >= self.path.len()
    }
}

/// Who wants to know what is found.
pub(super) trait Visitor {
    /// A directory that a run would watch. An error: it is not listed.
    fn directory(&mut self, fs: &mut Linux, found: &Found<'_>) -> io::Result<()>;
    /// A file that a run would follow.
    fn file(&mut self, fs: &mut Linux, found: &Found<'_>);
    /// A directory could not be listed, or is a mount point of a user.
    fn failed(&mut self, path: &[u8], error: &io::Error);
    /// Something is not followed. `below`: its path below the PATH of that place.
    fn left_out(&mut self, root: usize, why: impl Fn() -> String, below: &[u8]);
    /// A FIFO, a socket or a device whose name matches: never opened.
    fn special(&mut self) {}
}

/// A walk through all PATHs.
pub(super) struct Walk<'a, V> {
    pub(super) fs: Linux,
    trees: &'a Trees,
    /// All PATHs, the innermost ones first.
    pub(super) roots: Vec<Root<'a>>,
    pub(super) visitor: V,
    /// Directories that were listed, by device and inode.
    seen: HashSet<(u64, u64)>,
    /// Directories that were told because a PATH is a file in them, and not listed for that.
    homes: HashSet<(u64, u64)>,
    /// Files that were reached by a PATH or a link, by device and inode.
    linked: HashSet<(u64, u64)>,
    /// Directories that are still to be listed.
    below: Vec<Below>,
}

/// A directory that is still to be listed.
struct Below {
    /// With a slash at its end.
    path: Vec<u8>,
    /// The length of the PATH in it.
    prefix_len: usize,
    /// Up to which byte links are followed, if that is after PATH.
    followed: usize,
    /// Who may follow files there, the first one first.
    takers: Rc<[Taker]>,
}

/// A PATH above a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taker {
    /// Its place in [`Walk::roots`].
    root: usize,
    /// Its length in the path of the directory, with the slash behind.
    prefix_len: usize,
}

/// A path without slashes at its end.
fn bare(path: &[u8]) -> &[u8] {
    let len = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    &path[..len]
}

impl<'a, V: Visitor> Walk<'a, V> {
    /// `own`: the state directory, which is never followed.
    pub(super) fn new(trees: &'a Trees, own: Option<&Path>, visitor: V) -> Self {
        let mut walk = Walk {
            fs: Linux::new(),
            trees,
            roots: Vec::new(),
            visitor,
            seen: HashSet::new(),
            homes: HashSet::new(),
            linked: HashSet::new(),
            below: Vec::new(),
        };
        let inputs = trees.inputs.iter().enumerate();
        walk.roots = inputs
            .flat_map(|(number, input)| {
                input.paths.iter().map(move |path| Root { path, input, number })
            })
            .collect();
        let mut roots = std::mem::take(&mut walk.roots);
        roots.sort_by_key(|root| Reverse(walk.depth(root.path)));
        walk.roots = roots;
        if let Some(directory) = own
            && let Ok(found) = walk.fs.stat(directory.as_os_str().as_bytes(), Links::Follow)
        {
            walk.seen.insert((found.id.device, found.id.inode));
        }
        walk
    }

    /// How many directories are above the target of a PATH.
    fn depth(&mut self, path: &[u8]) -> usize {
        let real = self.fs.canonical(path, Links::Follow).unwrap_or_else(|_| path.to_vec());
        real.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).count()
    }

    /// Walks through the PATH of this place.
    pub(super) fn path(&mut self, root: usize) -> PathKind {
        let path = self.roots[root].path;
        match self.fs.stat(path, Links::Follow) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                PathKind::Missing
            }
            Err(error) => PathKind::Failed(words(&error)),
            Ok(found) if found.kind == FileKind::Directory => {
                let path = [bare(path), b"/"].concat();
                let prefix_len = path.len();
                let takers = self.takers(root);
                self.below.push(Below { path, prefix_len, followed: prefix_len, takers });
                while let Some(directory) = self.below.pop() {
                    self.directory(&directory, root);
                }
                PathKind::Directory
            }
            Ok(found) if found.kind == FileKind::Regular => self.single_file(root, &found),
            Ok(_) => PathKind::Special,
        }
    }

    /// The PATHs that the files below a PATH may belong to: itself, and those that are the same or
    /// above it and do not exclude what is between.
    fn takers(&self, root: usize) -> Rc<[Taker]> {
        let path = bare(self.roots[root].path);
        let own = Taker { root, prefix_len: path.len() + 1 };
        let others = (root + 1..self.roots.len()).filter_map(|other| {
            let above = bare(self.roots[other].path);
            let between = path.strip_prefix(above)?;
            if between.is_empty() {
                return Some(Taker { root: other, prefix_len: above.len() + 1 });
            }
            let between = between.strip_prefix(b"/").filter(|_| self.trees.recursive)?;
            let patterns = &self.roots[other].input.patterns;
            let ends = memchr::memchr_iter(b'/', between).chain([between.len()]);
            let mut directories = ends.map(|end| &between[..end]);
            let is_excluded = directories.any(|below| is_excluded(patterns, below));
            (!is_excluded).then_some(Taker { root: other, prefix_len: above.len() + 1 })
        });
        [own].into_iter().chain(others).collect()
    }

    /// The first one that accepts a file.
    fn accepting(&self, takers: &[Taker], name: &[u8], full: &[u8]) -> Option<Taker> {
        let accepts = |taker: &&Taker| {
            let patterns = &self.roots[taker.root].input.patterns;
            patterns.accepts_file(name, &full[taker.prefix_len..])
        };
        takers.iter().find(accepts).copied()
    }

    /// Who takes a file: the first one that accepts it. Otherwise tells why nobody does.
    fn taker(&mut self, takers: &[Taker], name: &[u8], full: &[u8]) -> Option<Taker> {
        let accepting = self.accepting(takers, name, full);
        if accepting.is_some() {
            return accepting;
        }
        let first = takers.first()?;
        let patterns = &self.roots[first.root].input.patterns;
        let refused = patterns.refusal_of_file(name, &full[first.prefix_len..])?;
        let why = || match &refused {
            Refused::Excluded(glob) => format!("excluded by {glob}"),
            Refused::NotIncluded => "matching no --include".to_owned(),
        };
        self.visitor.left_out(first.root, why, &full[first.prefix_len..]);
        None
    }

    /// A PATH that is a file: the directory that contains it is watched.
    fn single_file(&mut self, root: usize, file: &Stat) -> PathKind {
        let Root { path, input, number } = self.roots[root];
        let (home, name) = split_path(path);
        if !input.patterns.accepts_file(name, name) {
            return PathKind::LeftOut;
        }
        let home = if home.is_empty() { b"./" } else { home };
        if let Ok(found) = self.fs.stat(home, Links::Follow) {
            let at = |path, device| Found {
                input,
                input_number: number,
                root,
                path,
                links: Links::Follow,
                prefix_len: path.len(),
                device,
                is_single: true,
            };
            let id = (found.id.device, found.id.inode);
            if !self.seen.contains(&id) && self.homes.insert(id) {
                // Nothing is listed.
                self.visitor.directory(&mut self.fs, &at(home, found.id.device)).ok();
            }
            if self.linked.insert((file.id.device, file.id.inode)) {
                self.visitor.file(&mut self.fs, &at(path, found.id.device));
            }
        }
        PathKind::File
    }

    /// Which links may be followed on a path that begins with a PATH.
    fn links(&self, prefix_len: usize, followed: usize) -> Links {
        match self.trees.follow_links.filter(|_| followed > prefix_len) {
            Some(rule) => Links::Guarded(Guard { trusted: prefix_len, followed, rule }),
            None => Links::Beneath(prefix_len),
        }
    }

    fn directory(&mut self, directory: &Below, root: usize) {
        let path = &directory.path[..];
        let is_path = directory.prefix_len == path.len();
        let links = if is_path {
            Links::Follow
        } else {
            self.links(directory.prefix_len, directory.followed)
        };
        let bare = if path.len() > 1 { &path[..path.len() - 1] } else { path };
        let found = match self.fs.stat(bare, links) {
            Ok(found) if found.kind == FileKind::Directory => found,
            // Gone since it was listed.
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.visitor.failed(bare, &error),
        };
        let id = (found.id.device, found.id.inode);
        if !self.seen.insert(id) {
            return;
        }
        let prefix_len = directory.prefix_len;
        let found = Found {
            input: self.roots[root].input,
            input_number: self.roots[root].number,
            root,
            path: bare,
            links,
            prefix_len,
            device: found.id.device,
            is_single: false,
        };
        let told = if self.homes.contains(&id) {
            Ok(())
        } else {
            self.visitor.directory(&mut self.fs, &found)
        };
        if let Err(error) = told.and_then(|()| self.list(&found, directory)) {
            self.visitor.failed(bare, &error);
        }
    }

    fn list(&mut self, found: &Found<'_>, directory: &Below) -> io::Result<()> {
        let &Below { ref path, prefix_len, followed, ref takers } = directory;
        let mut listing = self.fs.list(found.path, found.links)?;
        let (mut name, mut full) = (Vec::new(), path.clone());
        while let Some(kind) = self.fs.next_entry(&mut listing, &mut name)? {
            full.truncate(path.len());
            full.extend_from_slice(&name);
            let links = self.links(prefix_len, followed);
            let kind = if kind == FileKind::Unknown {
                self.fs.stat(&full, links).map_or(kind, |found| found.kind)
            } else {
                kind
            };
            match kind {
                // A PATH is this file, or a link led to it.
                FileKind::Regular
                    if !self.linked.is_empty()
                        && self.linked.contains(&(found.device, self.fs.entry_inode(&listing))) => {
                }
                FileKind::Regular => {
                    if let Some(taker) = self.taker(takers, &name, &full) {
                        self.tell(taker, (&full, links), found.device, false);
                    }
                }
                FileKind::Directory => self.descend(takers, &name, &full, prefix_len, followed),
                FileKind::Link if self.trees.follow_links.is_some() => {
                    self.link(takers, &name, &full, prefix_len)
                }
                FileKind::Link => self.visitor.left_out(
                    found.root,
                    || "symbolic links, which are not followed (--follow-symlinks)".to_owned(),
                    &full[prefix_len..],
                ),
                FileKind::Special => {
                    if self.accepting(takers, &name, &full).is_some() {
                        self.visitor.special();
                    }
                }
                FileKind::Unknown => {}
            }
        }
        Ok(())
    }

    /// Tells of a file, and to whom it belongs.
    fn tell(&mut self, taker: Taker, (path, links): (&[u8], Links), device: u64, is_single: bool) {
        let Taker { root, prefix_len } = taker;
        let Root { input, number, .. } = self.roots[root];
        let file =
            Found { input, input_number: number, root, path, links, prefix_len, device, is_single };
        self.visitor.file(&mut self.fs, &file);
    }

    fn descend(
        &mut self,
        takers: &Rc<[Taker]>,
        name: &[u8],
        full: &[u8],
        prefix_len: usize,
        followed: usize,
    ) {
        let first = takers[0];
        let below = &full[first.prefix_len..];
        if !self.trees.recursive {
            let why = || "directories, which are not followed (--recursive false)".to_owned();
            return self.visitor.left_out(first.root, why, below);
        }
        let patterns = |taker: &Taker| &self.roots[taker.root].input.patterns;
        let is_open = |taker: &Taker| !is_excluded(patterns(taker), &full[taker.prefix_len..]);
        let open = if takers.iter().all(is_open) {
            Rc::clone(takers)
        } else {
            takers.iter().copied().filter(is_open).collect()
        };
        if open.is_empty() {
            let refused = patterns(&first).refusal_of_directory(name, below);
            let why = || match &refused {
                Some(Refused::Excluded(glob)) => format!("directories excluded by {glob}"),
                _ => "directories that are excluded".to_owned(),
            };
            return self.visitor.left_out(first.root, why, below);
        }
        let mut path = full.to_vec();
        path.push(b'/');
        self.below.push(Below { path, prefix_len, followed, takers: open });
    }

    fn link(&mut self, takers: &Rc<[Taker]>, name: &[u8], full: &[u8], prefix_len: usize) {
        let links = self.links(prefix_len, full.len());
        let Ok(target) = self.fs.stat(full, links) else { return };
        match target.kind {
            FileKind::Directory => self.descend(takers, name, full, prefix_len, full.len() + 1),
            FileKind::Regular => {
                if let Some(taker) = self.accepting(takers, name, full)
                    && self.linked.insert((target.id.device, target.id.inode))
                {
                    self.tell(taker, (full, links), target.id.device, true);
                }
            }
            _ => {}
        }
    }
}

/// Whether the globs exclude a directory. `below`: its path below PATH.
fn is_excluded(patterns: &Patterns, below: &[u8]) -> bool {
    let name = split_path(below).1;
    matches!(patterns.refusal_of_directory(name, below), Some(Refused::Excluded(_)))
}

/// Whether an error is that of a mount point of a user other than root.
pub(super) fn is_user_mount(error: &io::Error) -> bool {
    error.raw_os_error() == Some(USER_MOUNT)
}
