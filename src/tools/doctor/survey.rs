//! Examines the trees: what is there, on which file systems, and what cannot be read.
//!
//! In: PATHs and rules. Out: a [`Survey`]: counts, and some names for each kind of trouble.
//! Always holds: no file is opened, and `statx` is called only for entries whose kind the listing
//! does not give; read permission is checked for a sample of the files. A directory counts once, by
//! whatever path it is reached.

use std::cmp::Reverse;
use std::io;
use std::os::unix::ffi::OsStrExt;

use hashbrown::{HashMap, HashSet};

use super::{Input, Request};
use crate::file_systems::FileSystemType;
use crate::names::split_path;
use crate::patterns::{Patterns, Refused};
use crate::status::file::shown;
use crate::status::numbers::words;
use crate::sys::failure::Failure;
use crate::sys::host::Wanted;
use crate::sys::{FileKind, FileSystem, Guard, Links, Linux, USER_MOUNT};

/// How many names are kept for each kind of trouble.
const NAMES_MAX: usize = 5;

/// Read permission is checked for the first file of each directory, and then for one file in this
/// many.
pub(super) const SAMPLE_EVERY: usize = 64;

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

/// One PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathFacts {
    pub(super) path: Vec<u8>,
    pub(super) kind: PathKind,
    /// The directories below the PATH, itself included.
    pub(super) directories: u64,
    pub(super) files: u64,
    /// What is not followed there.
    pub(super) left_out: Vec<LeftOut>,
    /// The input, from 1 on, if there are several.
    pub(super) input: Option<usize>,
    /// What the pattern for jobs makes of the files, if there is one.
    pub(super) jobs: Option<JobFacts>,
}

/// What the pattern for jobs makes of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct JobFacts {
    pub(super) matched: u64,
    pub(super) others: u64,
    /// The paths below PATH of the first of the others.
    pub(super) names: Vec<String>,
}

/// Files and directories that are not followed for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) why: String,
    pub(super) count: u64,
    /// The path of the first, below PATH.
    pub(super) first: String,
}

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileSystemFacts {
    /// `None`: the kernel did not give its type.
    pub(super) kind: Option<FileSystemType>,
    /// The first directory that was found on it.
    pub(super) path: Vec<u8>,
    pub(super) directories: u64,
    pub(super) files: u64,
}

/// What cannot be read: the number, and the first names with the system's text for the error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) count: u64,
    pub(super) names: Vec<String>,
}

impl Trouble {
    fn note(&mut self, path: &[u8], error: &io::Error) {
        self.count += 1;
        if self.names.len() < NAMES_MAX {
            self.names.push(format!("{} ({})", shown(path), words(error)));
        }
    }
}

/// The facts about the trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) paths: Vec<PathFacts>,
    pub(super) file_systems: Vec<FileSystemFacts>,
    /// Directories that need a watch.
    pub(super) directories: u64,
    /// Files that would be followed.
    pub(super) files: u64,
    /// The length of all their names.
    pub(super) name_bytes: u64,
    /// FIFOs, sockets and devices: never opened.
    pub(super) special: u64,
    pub(super) unreadable_directories: Trouble,
    /// Mount points of users other than root.
    pub(super) user_mounts: Trouble,
    /// Files whose read permission was checked.
    pub(super) sampled: u64,
    pub(super) unreadable_files: Trouble,
}

/// Walks through all PATHs.
pub(super) fn survey(request: &Request) -> Survey {
    let mut walk = Walk {
        fs: Linux::new(),
        request,
        found: Survey::default(),
        seen: HashSet::new(),
        linked: HashSet::new(),
        devices: HashMap::new(),
        below: Vec::new(),
        input: &request.inputs[0],
        left_out: Vec::new(),
        jobs: None,
    };
    if let Some(directory) = &request.state_dir
        && let Ok(found) = walk.fs.stat(directory.as_os_str().as_bytes(), Links::Follow)
    {
        // The state directory is never followed.
        walk.seen.insert((found.id.device, found.id.inode));
    }
    // The innermost PATHs come first, as they get the files; the result has the given order.
    let mut paths: Vec<_> = request
        .inputs
        .iter()
        .zip(1..)
        .flat_map(|(input, number)| input.paths.iter().map(move |path| (path, input, number)))
        .enumerate()
        .collect();
    paths.sort_by_key(|(_, (path, _, _))| Reverse(walk.depth(path)));
    let mut order = Vec::new();
    for (at, (path, input, number)) in paths {
        walk.input = input;
        walk.path(path, (request.inputs.len() > 1).then_some(number));
        order.push(at);
    }
    let found = std::mem::take(&mut walk.found.paths);
    let mut found: Vec<(usize, PathFacts)> = order.into_iter().zip(found).collect();
    found.sort_by_key(|(at, _)| *at);
    walk.found.paths = found.into_iter().map(|(_, facts)| facts).collect();
    walk.found
}

struct Walk<'a> {
    fs: Linux,
    request: &'a Request,
    found: Survey,
    /// Known directories, by device and inode.
    seen: HashSet<(u64, u64)>,
    /// Files that were reached by a PATH or a link, by device and inode.
    linked: HashSet<(u64, u64)>,
    /// Devices and their indices in `found.file_systems`.
    devices: HashMap<u64, usize>,
    /// Directories that are still to be listed.
    below: Vec<Below>,
    /// The input of the current PATH.
    input: &'a Input,
    /// What is not followed below the current PATH.
    left_out: Vec<LeftOut>,
    /// What the pattern for jobs makes of the files there.
    jobs: Option<JobFacts>,
}

/// A directory that is still to be listed.
struct Below {
    /// With a slash at its end.
    path: Vec<u8>,
    /// The length of the PATH in it.
    prefix_len: usize,
    /// Up to which byte links are followed, if that is after PATH.
    followed: usize,
}

impl Walk<'_> {
    fn path(&mut self, path: &[u8], number: Option<usize>) {
        self.jobs = self.input.job.is_some().then(JobFacts::default);
        let before = (self.found.directories, self.found.files);
        let kind = match self.fs.stat(path, Links::Follow) {
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
                let mut prefix = path.to_vec();
                if !prefix.ends_with(b"/") {
                    prefix.push(b'/');
                }
                let prefix_len = prefix.len();
                self.below.push(Below { path: prefix, prefix_len, followed: prefix_len });
                while let Some(directory) = self.below.pop() {
                    self.directory(&directory);
                }
                PathKind::Directory
            }
            Ok(found) if found.kind == FileKind::Regular => {
                self.single_file(path, (found.id.device, found.id.inode))
            }
            Ok(_) => PathKind::Special,
        };
        let (directories, files) = (self.found.directories - before.0, self.found.files - before.1);
        let left_out = std::mem::take(&mut self.left_out);
        self.found.paths.push(PathFacts {
            path: path.to_vec(),
            kind,
            directories,
            files,
            left_out,
            input: number,
            jobs: self.jobs.take().filter(|jobs| jobs.matched + jobs.others > 0),
        });
    }

    /// How many directories are above the target of a PATH.
    fn depth(&mut self, path: &[u8]) -> usize {
        let real = self.fs.canonical(path, Links::Follow).unwrap_or_else(|_| path.to_vec());
        real.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).count()
    }

    fn patterns(&self) -> &Patterns {
        &self.input.patterns
    }

    fn leave_out(&mut self, why: String, below: &[u8]) {
        match self.left_out.iter_mut().find(|known| known.why == why) {
            Some(known) => known.count += 1,
            None => self.left_out.push(LeftOut { why, count: 1, first: shown(below) }),
        }
    }

    /// Whether the globs exclude a file. Notes the reason.
    fn is_left_out(&mut self, name: &[u8], below: &[u8]) -> bool {
        let Some(refused) = self.patterns().refusal_of_file(name, below) else { return false };
        let why = match refused {
            Refused::Excluded(glob) => format!("excluded by {glob}"),
            Refused::NotIncluded => "matching no --include".to_owned(),
        };
        self.leave_out(why, below);
        true
    }

    /// A PATH that is a file: the directory that contains it is watched.
    fn single_file(&mut self, path: &[u8], inode: (u64, u64)) -> PathKind {
        let (home, name) = split_path(path);
        if !self.patterns().accepts_file(name, name) {
            return PathKind::LeftOut;
        }
        let home = if home.is_empty() { b"./" } else { home };
        if let Ok(found) = self.fs.stat(home, Links::Follow) {
            let place = self.file_system(found.id.device, home, Links::Follow);
            if self.seen.insert((found.id.device, found.id.inode)) {
                self.count_directory(place);
            }
            if self.linked.insert(inode) {
                self.count_file(place, name, name);
                self.ask(path, Links::Follow);
            }
        }
        PathKind::File
    }

    /// Which links may be followed on a path that begins with a PATH.
    fn links(&self, prefix_len: usize, followed: usize) -> Links {
        match self.request.follow_links.filter(|_| followed > prefix_len) {
            Some(rule) => Links::Guarded(Guard { trusted: prefix_len, followed, rule }),
            None => Links::Beneath(prefix_len),
        }
    }

    fn directory(&mut self, directory: &Below) {
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
            Err(error) if error.raw_os_error() == Some(USER_MOUNT) => {
                return self.found.user_mounts.note(bare, &error);
            }
            Err(error) => return self.found.unreadable_directories.note(bare, &error),
        };
        if !self.seen.insert((found.id.device, found.id.inode)) {
            return;
        }
        let place = self.file_system(found.id.device, bare, links);
        self.count_directory(place);
        if let Err(error) = self.fs.may(bare, links, Wanted::List) {
            return self.found.unreadable_directories.note(bare, &error);
        }
        if let Err(error) = self.list(bare, directory, links, place) {
            self.found.unreadable_directories.note(bare, &error);
        }
    }

    fn list(
        &mut self,
        bare: &[u8],
        directory: &Below,
        links: Links,
        place: usize,
    ) -> io::Result<()> {
        let &Below { ref path, prefix_len, followed } = directory;
        let mut listing = self.fs.list(bare, links)?;
        let (mut name, mut full, mut files) = (Vec::new(), path.clone(), 0);
        while let Some(kind) = self.fs.next_entry(&mut listing, &mut name)? {
            full.truncate(path.len());
            full.extend_from_slice(&name);
            let beneath = self.links(prefix_len, followed);
            let kind = if kind == FileKind::Unknown {
                self.fs.stat(&full, beneath).map_or(kind, |found| found.kind)
            } else {
                kind
            };
            let below = &full[prefix_len..];
            match kind {
                FileKind::Regular if self.is_left_out(&name, below) => {}
                FileKind::Regular => {
                    self.count_file(place, &name, below);
                    if files % SAMPLE_EVERY == 0 {
                        self.ask(&full, beneath);
                    }
                    files += 1;
                }
                FileKind::Directory => self.descend(&name, &full, prefix_len, followed),
                FileKind::Link if self.request.follow_links.is_some() => {
                    self.link(&name, &full, prefix_len)
                }
                FileKind::Link => self.leave_out(
                    "symbolic links, which are not followed (--follow-symlinks)".to_owned(),
                    below,
                ),
                FileKind::Special if self.patterns().accepts_file(&name, below) => {
                    self.found.special += 1
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn descend(&mut self, name: &[u8], full: &[u8], prefix_len: usize, followed: usize) {
        let below = &full[prefix_len..];
        if !self.request.recursive {
            return self.leave_out(
                "directories, which are not followed (--recursive false)".to_owned(),
                below,
            );
        }
        if let Some(Refused::Excluded(glob)) = self.patterns().refusal_of_directory(name, below) {
            let why = format!("directories excluded by {glob}");
            return self.leave_out(why, below);
        }
        let mut path = full.to_vec();
        path.push(b'/');
        self.below.push(Below { path, prefix_len, followed });
    }

    fn link(&mut self, name: &[u8], full: &[u8], prefix_len: usize) {
        let links = self.links(prefix_len, full.len());
        let Ok(target) = self.fs.stat(full, links) else { return };
        match target.kind {
            FileKind::Directory => self.descend(name, full, prefix_len, full.len() + 1),
            FileKind::Regular
                if self.patterns().accepts_file(name, &full[prefix_len..])
                    && self.linked.insert((target.id.device, target.id.inode)) =>
            {
                let place = self.file_system(target.id.device, full, links);
                self.count_file(place, name, &full[prefix_len..]);
                self.ask(full, links);
            }
            _ => {}
        }
    }

    /// The index of a device among the file systems.
    fn file_system(&mut self, device: u64, path: &[u8], links: Links) -> usize {
        let (fs, all) = (&mut self.fs, &mut self.found.file_systems);
        *self.devices.entry(device).or_insert_with(|| {
            all.push(FileSystemFacts {
                kind: fs.file_system(path, links).ok(),
                path: path.to_vec(),
                directories: 0,
                files: 0,
            });
            all.len() - 1
        })
    }

    fn count_directory(&mut self, place: usize) {
        self.found.directories += 1;
        self.found.file_systems[place].directories += 1;
    }

    /// `below`: its path below PATH.
    fn count_file(&mut self, place: usize, name: &[u8], below: &[u8]) {
        self.found.files += 1;
        self.found.name_bytes += name.len() as u64;
        self.found.file_systems[place].files += 1;
        if let (Some(pattern), Some(jobs)) = (&self.input.job, &mut self.jobs) {
            if pattern.is_match(pattern.text_of(name, below)) {
                jobs.matched += 1;
            } else {
                jobs.others += 1;
                if jobs.names.len() < NAMES_MAX {
                    jobs.names.push(shown(below));
                }
            }
        }
    }

    /// Checks whether a file may be read.
    fn ask(&mut self, path: &[u8], links: Links) {
        self.found.sampled += 1;
        match self.fs.may(path, links, Wanted::Read) {
            Err(error) if Failure::of(&error) == Failure::Refused => {
                self.found.unreadable_files.note(path, &error)
            }
            // Gone since it was listed.
            _ => {}
        }
    }
}
