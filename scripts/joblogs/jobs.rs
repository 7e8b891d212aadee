//! The path of each job's log: the layout of a tree, and the names of its files, made in advance.

use crate::random::{Random, mix};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The number of jobs that seven digits can name.
pub(crate) const JOBS_MAX: u32 = 10_000_000;

/// How files are spread over directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// All in one directory
    Flat,
    /// Evenly over `--dirs` directories
    Hashed,
    /// Over `--dirs` users, a few of whom have most of the jobs
    Users,
    /// As hashed, but every tenth job has a directory of its own, which comes and goes with its log
    Own,
}

/// With `Layout::Own`: one job in this many has its own directory.
const OWN_EVERY: u32 = 10;

/// A tree: which directory each job is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) layout: Layout,
    pub(crate) dirs: u32,
    pub(crate) seed: u64,
}

impl Tree {
    pub(crate) fn new(layout: Layout, dirs: u32, seed: u64) -> Result<Self> {
        if dirs == 0 || dirs > 65_536 {
            bail!("--dirs must be between 1 and 65536");
        }
        Ok(Tree { layout, dirs, seed })
    }

    /// The directories, below the tree's root.
    pub(crate) fn directories(self) -> impl Iterator<Item = String> {
        let dirs = if self.layout == Layout::Flat { 0 } else { self.dirs };
        (0..dirs).map(move |dir| {
            if self.layout == Layout::Users {
                format!("user{dir:05}")
            } else {
                format!("{dir:04x}")
            }
        })
    }

    /// Whether `job` has a directory of its own.
    pub(crate) fn has_own_directory(self, job: u32) -> bool {
        self.layout == Layout::Own && job.is_multiple_of(OWN_EVERY)
    }

    /// Writes the path of `job` below the tree's root, and a NUL.
    fn write_path(self, out: &mut Vec<u8>, job: u32) {
        let place = mix(self.seed ^ u64::from(job) << 20);
        let written = match self.layout {
            Layout::Flat => Ok(()),
            Layout::Own if self.has_own_directory(job) => {
                write!(out, "{:04x}/own{job:07}/", place % u64::from(self.dirs))
            }
            Layout::Hashed | Layout::Own => write!(out, "{:04x}/", place % u64::from(self.dirs)),
            // The square prefers low numbers: a quarter of the users own half of the jobs.
            Layout::Users => write!(
                out,
                "user{:05}/",
                (Random::new(place).unit().powi(2) * f64::from(self.dirs - 1)) as u32
            ),
        };
        written
            .and_then(|()| write!(out, "job{job:07}.log\0"))
            .unwrap_or_else(|_| unreachable!("a Vec takes all"));
    }
}

/// The paths of many jobs in one buffer, each ended by a NUL, so that it can be passed to the
/// kernel unchanged.
pub(crate) struct Paths {
    tree: Tree,
    bytes: Vec<u8>,
    /// Where each path ends in `bytes`, after its NUL.
    ends: Vec<usize>,
}

impl Paths {
    pub(crate) fn new(tree: Tree) -> Self {
        Paths { tree, bytes: Vec::new(), ends: Vec::new() }
    }

    pub(crate) fn tree(&self) -> Tree {
        self.tree
    }

    pub(crate) fn push(&mut self, job: u32) {
        self.tree.write_path(&mut self.bytes, job);
        self.ends.push(self.bytes.len());
    }

    /// The path with this index.
    pub(crate) fn get(&self, index: usize) -> &CStr {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let path = &self.bytes[start..self.ends[index]];
        CStr::from_bytes_with_nul(path)
            .unwrap_or_else(|_| unreachable!("write_path ends a path with its only NUL"))
    }

    /// Gives the path its other name: `job...` becomes `run...` and the reverse.
    pub(crate) fn rename(&mut self, index: usize) {
        let end = self.ends[index];
        let prefix = &mut self.bytes[end - "job0000000.log\0".len()..][..3];
        prefix.copy_from_slice(if prefix == b"job" { b"run" } else { b"job" });
    }
}

/// The number of the job of a path, also after rotations and renames.
pub(crate) fn job_of_path(path: &[u8]) -> Option<u32> {
    let name = &path[memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1)..];
    if !(name.starts_with(b"job") || name.starts_with(b"run")) {
        return None;
    }
    std::str::from_utf8(name.get(3..10)?).ok()?.parse().ok()
}

/// Makes the directory that `path` is in, if it does not exist.
pub(crate) fn create_directory_of(path: &CStr) -> io::Result<()> {
    match directory_of(path).map_or(Ok(()), fs::create_dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

/// Removes the directory that `path` is in, unless rotated generations are left there.
pub(crate) fn remove_directory_of(path: &CStr) -> io::Result<()> {
    match directory_of(path).map_or(Ok(()), fs::remove_dir) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        outcome => outcome,
    }
}

fn directory_of(path: &CStr) -> Option<&Path> {
    Path::new(OsStr::from_bytes(path.to_bytes())).parent()
}

/// `path` with `suffix` at the end of its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.components().as_path().as_os_str().to_owned(); // without a slash at its end
    path.push(suffix);
    PathBuf::from(path)
}
