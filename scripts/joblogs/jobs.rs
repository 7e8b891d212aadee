//! Where each job's log lives: the layout of a tree, and the names of its files, built before they are needed.

use crate::random::{Random, mix};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::ffi::CStr;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Jobs that seven digits can number.
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
}

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
        (0..dirs).map(move |dir| if self.layout == Layout::Hashed { format!("{dir:04x}") } else { format!("user{dir:05}") })
    }

    /// Writes the path of `job` below the tree's root, and a NUL. All paths of a tree have the same length.
    fn write_path(self, out: &mut Vec<u8>, job: u32) {
        let place = mix(self.seed ^ u64::from(job) << 20);
        let written = match self.layout {
            Layout::Flat => Ok(()),
            Layout::Hashed => write!(out, "{:04x}/", place % u64::from(self.dirs)),
            // The square draws low numbers: a quarter of the users own half of the jobs.
            Layout::Users => write!(out, "user{:05}/", (Random::new(place).unit().powi(2) * f64::from(self.dirs - 1)) as u32),
        };
        written.and_then(|()| write!(out, "job{job:07}.log\0")).unwrap_or_else(|_| unreachable!("a Vec takes all"));
    }
}

/// The paths of many jobs in one buffer, each ended by a NUL so that the kernel can have it as it is.
pub(crate) struct Paths {
    tree: Tree,
    bytes: Vec<u8>,
    path_bytes: usize,
}

impl Paths {
    pub(crate) fn new(tree: Tree) -> Self {
        let mut bytes = Vec::new();
        tree.write_path(&mut bytes, 0);
        Paths { tree, path_bytes: bytes.len(), bytes: Vec::new() }
    }

    pub(crate) fn push(&mut self, job: u32) {
        self.tree.write_path(&mut self.bytes, job);
    }

    /// The path that was pushed as the `index`th.
    pub(crate) fn get(&self, index: usize) -> &CStr {
        let path = &self.bytes[index * self.path_bytes..][..self.path_bytes];
        CStr::from_bytes_with_nul(path).unwrap_or_else(|_| unreachable!("write_path ends a path with its only NUL"))
    }

    /// Gives the path its other name: `job...` becomes `run...` and the reverse.
    pub(crate) fn rename(&mut self, index: usize) {
        let end = (index + 1) * self.path_bytes;
        let prefix = &mut self.bytes[end - "job0000000.log\0".len()..][..3];
        prefix.copy_from_slice(if prefix == b"job" { b"run" } else { b"job" });
    }
}

/// The number of the job that a path belongs to, whatever the rotations and renames of its name.
pub(crate) fn job_of_path(path: &[u8]) -> Option<u32> {
    let name = &path[memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1)..];
    if !(name.starts_with(b"job") || name.starts_with(b"run")) {
        return None;
    }
    std::str::from_utf8(name.get(3..10)?).ok()?.parse().ok()
}

/// `path` with `suffix` at the end of its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.components().as_path().as_os_str().to_owned(); // without a slash at its end
    path.push(suffix);
    PathBuf::from(path)
}
