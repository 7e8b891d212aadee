//! `joblogs make`: a tree of job logs, and its ledger.

use crate::jobs::{self, JOBS_MAX, Layout, Paths, Tree};
use crate::ledger::{self, Job, Ledger};
use crate::line::{self, LINE_BYTES_MIN, Line};
use crate::random::Random;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A log is written in pieces of this size.
const WRITE_BYTES: usize = 1 << 20;
/// Lines of the longest log in a `mixed` tree: some MiB.
const LINES_MAX: f64 = 30_000.0;

#[derive(Args)]
pub(crate) struct Options {
    /// The tree; it must not exist, or be empty
    dir: PathBuf,
    /// How many job logs
    #[arg(long, default_value_t = 100_000)]
    files: u32,
    #[arg(long, value_enum, default_value_t = Layout::Hashed)]
    layout: Layout,
    /// How many directories (not for flat)
    #[arg(long, default_value_t = 256)]
    dirs: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_enum, default_value_t = Size::Tiny)]
    size: Size,
    /// Every log has exactly this many bytes (instead of --size)
    #[arg(long, conflicts_with_all = ["size", "empty"])]
    bytes: Option<usize>,
    /// With --bytes: how long lines are, about, with their newline
    #[arg(long, requires = "bytes", default_value_t = 128)]
    line_bytes: usize,
    /// Every log is empty (instead of --size)
    #[arg(long, conflicts_with = "size")]
    empty: bool,
    /// Where the ledger goes [default: DIR.ledger]
    #[arg(long)]
    ledger: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Size {
    /// Three lines, about 250 bytes
    Tiny,
    /// Most a few lines, some KiB, few up to MiB
    Mixed,
}

pub(crate) fn make(options: &Options) -> Result<()> {
    let started = Instant::now();
    if options.files > JOBS_MAX {
        bail!("--files must be at most {JOBS_MAX}");
    }
    if options.line_bytes < LINE_BYTES_MIN
        || options.bytes.is_some_and(|bytes| bytes < LINE_BYTES_MIN)
    {
        bail!(
            "--bytes and --line-bytes must be at least {LINE_BYTES_MIN}; --empty makes empty files"
        );
    }
    let tree = Tree::new(options.layout, options.dirs, options.seed)?;
    let ledger_path =
        std::path::absolute(ledger::path_for(&options.dir, options.ledger.as_deref()))?;
    make_directories(&options.dir, tree)?;
    std::env::set_current_dir(&options.dir)?; // paths below the tree are short
    let mut paths = Paths::new(tree);
    let mut random = Random::new(options.seed);
    let mut accounts = Vec::with_capacity(options.files as usize);
    let (mut lines, mut bytes) = (0, 0);
    for job in 0..options.files {
        paths.push(job);
        let path = paths.get(job as usize);
        let mut create = || -> Result<(u32, u64)> {
            if tree.has_own_directory(job) {
                jobs::create_directory_of(path)?;
            }
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let file = open(path, flags, Mode::from_bits_truncate(0o644))?;
            write_lines(fs::File::from(file), job, options, &mut random)
        };
        let (made, made_bytes) =
            create().with_context(|| format!("cannot create {}", path.to_string_lossy()))?;
        accounts.push(Job { made, base: made, given: made, ..Job::default() });
        lines += u64::from(made);
        bytes += made_bytes;
    }
    Ledger { tree, jobs: accounts }.write(&ledger_path)?;
    println!(
        "files={} lines={lines} bytes={bytes} seconds={:.2}",
        options.files,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn make_directories(root: &Path, tree: Tree) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    if fs::read_dir(root)?.next().is_some() {
        bail!("{} is not empty", root.display());
    }
    for directory in tree.directories() {
        fs::create_dir(root.join(&directory))
            .with_context(|| format!("cannot create {directory}"))?;
    }
    Ok(())
}

/// Writes the first lines of `job`. Returns the numbers of lines and bytes.
fn write_lines(
    mut file: fs::File,
    job: u32,
    options: &Options,
    random: &mut Random,
) -> Result<(u32, u64)> {
    let (lines, bytes_min) = match options.bytes {
        _ if options.empty => (0, 0),
        Some(bytes) => ((bytes / options.line_bytes).max(1) as u32, bytes as u64),
        None if options.size == Size::Tiny => (3, 0),
        // A Pareto tail: half of the logs have at most 5 lines, one in 200 more than 250.
        None => ((3.0 * random.unit().powf(-1.0 / 1.2)).min(LINES_MAX) as u32, 0),
    };
    let (mut text, mut written) = (Vec::new(), 0);
    for seq in 1..=lines {
        let left = bytes_min.saturating_sub(written + text.len() as u64);
        let share = if seq == lines { left } else { left / u64::from(lines - seq + 1) };
        line::write(&mut text, Line { job, seq, sent_ns: line::now_ns() }, share as usize);
        if text.len() >= WRITE_BYTES || seq == lines {
            file.write_all(&text)?;
            written += text.len() as u64;
            text.clear();
        }
    }
    Ok((lines, written))
}
