//! Examines the trees: what is there, on which file systems, and what cannot be read.
//!
//! In: PATHs and rules. Out: a [`Survey`]: counts, and some names for each kind of trouble.
//! Always holds: read permission is checked for a sample of the files, and nothing else is asked of
//! them.

use std::io;

use hashbrown::HashMap;

use super::Request;
use crate::file_systems::FileSystemType;
use crate::status::file::shown;
use crate::status::numbers::words;
use crate::sys::failure::Failure;
use crate::sys::host::Wanted;
use crate::sys::{FileSystem, Links, Linux};
use crate::tools::walk::{Found, Input, PathKind, Visitor, Walk, is_user_mount};

/// How many names are kept for each kind of trouble.
const NAMES_MAX: usize = 5;

/// Read permission is checked for the first file of each directory, and then for one file in this
/// many.
pub(super) const SAMPLE_EVERY: usize = 64;

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
    let inputs = &request.trees.inputs;
    let surveyor = Surveyor {
        found: Survey::default(),
        devices: HashMap::new(),
        of_roots: Vec::new(),
        files_here: 0,
    };
    let mut walk = Walk::new(&request.trees, request.state_dir.as_deref(), surveyor);
    walk.visitor.of_roots.resize_with(walk.roots.len(), OfRoot::default);
    let kinds: Vec<PathKind> = (0..walk.roots.len()).map(|root| walk.path(root)).collect();
    let of_roots = std::mem::take(&mut walk.visitor.of_roots);
    let facts = walk.roots.iter().zip(kinds).zip(of_roots).map(|((root, kind), of_root)| {
        let OfRoot { directories, files, left_out, jobs } = of_root;
        PathFacts {
            path: root.path.to_vec(),
            kind,
            directories,
            files,
            left_out,
            input: (inputs.len() > 1).then_some(root.number + 1),
            jobs: Some(jobs).filter(|jobs| jobs.matched + jobs.others > 0),
        }
    });
    let mut facts: Vec<PathFacts> = facts.collect();
    // In the order in which they were given.
    let given = inputs.iter().flat_map(|input| &input.paths);
    let given: Vec<&[u8]> = given.map(|path| &**path).collect();
    let place = |path: &[u8]| given.iter().position(|other| *other == path);
    facts.sort_by_key(|facts| (facts.input, place(&facts.path)));
    let mut found = walk.visitor.found;
    found.paths = facts;
    found
}

/// What was found below one PATH.
#[derive(Default)]
struct OfRoot {
    directories: u64,
    files: u64,
    /// What is not followed there.
    left_out: Vec<LeftOut>,
    /// What the pattern for jobs makes of the files.
    jobs: JobFacts,
}

/// Collects what a walk finds.
struct Surveyor {
    found: Survey,
    /// Devices and their indices in `found.file_systems`.
    devices: HashMap<u64, usize>,
    of_roots: Vec<OfRoot>,
    /// Files of the current directory.
    files_here: usize,
}

impl Surveyor {
    /// The file system of a device.
    fn file_system(&mut self, fs: &mut Linux, found: &Found<'_>) -> &mut FileSystemFacts {
        let all = &mut self.found.file_systems;
        let at = *self.devices.entry(found.device).or_insert_with(|| {
            all.push(FileSystemFacts {
                kind: fs.file_system(found.path, found.links).ok(),
                path: found.path.to_vec(),
                directories: 0,
                files: 0,
            });
            all.len() - 1
        });
        &mut all[at]
    }

    /// Checks whether a file may be read.
    fn ask(&mut self, fs: &mut Linux, path: &[u8], links: Links) {
        self.found.sampled += 1;
        match fs.may(path, links, Wanted::Read) {
            Err(error) if Failure::of(&error) == Failure::Refused => {
                self.found.unreadable_files.note(path, &error)
            }
            // Gone since it was listed.
            _ => {}
        }
    }

    fn count_job(&mut self, input: &Input, found: &Found<'_>) {
        let Some(pattern) = &input.job else { return };
        let jobs = &mut self.of_roots[found.root].jobs;
        if pattern.is_match(pattern.text_of(found.name(), found.below())) {
            jobs.matched += 1;
        } else {
            jobs.others += 1;
            if jobs.names.len() < NAMES_MAX {
                jobs.names.push(shown(found.below()));
            }
        }
    }
}

impl Visitor for Surveyor {
    fn directory(&mut self, fs: &mut Linux, found: &Found<'_>) -> io::Result<()> {
        self.files_here = 0;
        self.file_system(fs, found).directories += 1;
        self.found.directories += 1;
        self.of_roots[found.root].directories += 1;
        fs.may(found.path, found.links, Wanted::List)
    }

    fn file(&mut self, fs: &mut Linux, found: &Found<'_>) {
        self.found.files += 1;
        self.of_roots[found.root].files += 1;
        self.found.name_bytes += found.name().len() as u64;
        self.file_system(fs, found).files += 1;
        self.count_job(found.input, found);
        if found.is_single || self.files_here.is_multiple_of(SAMPLE_EVERY) {
            self.ask(fs, found.path, found.links);
        }
        self.files_here += usize::from(!found.is_single);
    }

    fn failed(&mut self, path: &[u8], error: &io::Error) {
        if is_user_mount(error) {
            self.found.user_mounts.note(path, error);
        } else {
            self.found.unreadable_directories.note(path, error);
        }
    }

    fn left_out(&mut self, root: usize, why: impl Fn() -> String, below: &[u8]) {
        let (why, left_out) = (why(), &mut self.of_roots[root].left_out);
        match left_out.iter_mut().find(|known| known.why == why) {
            Some(known) => known.count += 1,
            None => left_out.push(LeftOut { why, count: 1, first: shown(below) }),
        }
    }

    fn special(&mut self) {
        self.found.special += 1;
    }
}
