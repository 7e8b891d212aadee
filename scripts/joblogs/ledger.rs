//! The ledger: how many lines each job got, and which of them a follower may have had no chance to
//! read.
//!
//! A text file: a head line, then one line per job, `made base given gone flags`. Lines 1 to `made`
//! are from `make`, those above `base` from the last `append`, up to `given`. Lines up to `gone`
//! were in a file that was deleted or truncated after its grace; flags: `d` deleted, `r` renamed to
//! its other name, `s` has rotated generations, `c` to be created at its next line, `-` none.

use crate::jobs::{JOBS_MAX, Layout, Tree, with_suffix};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// One job's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Job {
    /// Lines that `make` wrote.
    pub(crate) made: u32,
    /// Lines before the last `append`.
    pub(crate) base: u32,
    /// The number of all lines, which is the last line's number.
    pub(crate) given: u32,
    /// The last line that was deleted or truncated.
    pub(crate) gone: u32,
    /// Its log does not exist and will never exist again.
    pub(crate) deleted: bool,
    /// Its log has its other name.
    pub(crate) renamed: bool,
    /// Older generations may exist beside it.
    pub(crate) rotated: bool,
    /// Its log is created with its next line.
    pub(crate) absent: bool,
}

/// A tree and the accounts of its jobs, by job number.
pub(crate) struct Ledger {
    pub(crate) tree: Tree,
    pub(crate) jobs: Vec<Job>,
}

/// The ledger beside a tree, unless another one was named.
pub(crate) fn path_for(tree: &Path, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| with_suffix(tree, ".ledger"), Path::to_path_buf)
}

impl Ledger {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the ledger {}", path.display()))?;
        let mut lines = text.lines();
        let tree = lines
            .next()
            .and_then(head)
            .with_context(|| format!("{} is not a ledger of joblogs", path.display()))?;
        let mut jobs = Vec::new();
        for line in lines {
            jobs.push(job(line).with_context(|| {
                format!("{}: bad line for job {}: {line}", path.display(), jobs.len())
            })?);
        }
        if jobs.len() > JOBS_MAX as usize {
            bail!("{} has more than {JOBS_MAX} jobs", path.display());
        }
        Ok(Ledger { tree, jobs })
    }

    /// Writes the ledger under another name and renames it, so that a reader finds a complete one.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let beside = with_suffix(path, ".new");
        let write = || -> std::io::Result<()> {
            let mut out = BufWriter::new(fs::File::create(&beside)?);
            let Tree { layout, dirs, seed } = self.tree;
            let layout = layout
                .to_possible_value()
                .map_or_else(String::new, |value| value.get_name().to_owned());
            writeln!(out, "joblogs-ledger 1 {layout} {dirs} {seed}")?;
            for job in &self.jobs {
                write!(out, "{} {} {} {} ", job.made, job.base, job.given, job.gone)?;
                for (is_set, flag) in [
                    (job.deleted, b"d"),
                    (job.renamed, b"r"),
                    (job.rotated, b"s"),
                    (job.absent, b"c"),
                ] {
                    out.write_all(if is_set { flag } else { b"" })?;
                }
                let has_flags = job.deleted || job.renamed || job.rotated || job.absent;
                out.write_all(if has_flags { b"\n" } else { b"-\n" })?;
            }
            out.into_inner()?;
            fs::rename(&beside, path)
        };
        write().with_context(|| format!("cannot write the ledger {}", path.display()))
    }
}

fn head(line: &str) -> Option<Tree> {
    let mut words = line.strip_prefix("joblogs-ledger 1 ")?.split(' ');
    let layout = Layout::from_str(words.next()?, false).ok()?;
    Tree::new(layout, words.next()?.parse().ok()?, words.next()?.parse().ok()?).ok()
}

fn job(line: &str) -> Option<Job> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse().ok();
    let (made, base, given, gone) = (number()?, number()?, number()?, number()?);
    let flags = words.next()?;
    let has = |flag| flags.contains(flag);
    Some(Job {
        made,
        base,
        given,
        gone,
        deleted: has('d'),
        renamed: has('r'),
        rotated: has('s'),
        absent: has('c'),
    })
}
