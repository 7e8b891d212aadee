//! `joblogs append`: writes lines to a tree the way schedulers do, and keeps the ledger.
//!
//! By default each line is one open (`O_APPEND`), one write and one close; lines go to random jobs.
//! Between lines it rotates, renames, truncates and deletes logs and starts new jobs, according to
//! its options. A log is deleted or truncated, and an old generation removed, only after it had no
//! line for the grace period: a follower that is not later than that loses nothing.

use crate::jobs::{self, JOBS_MAX, Paths, Tree, with_suffix};
use crate::ledger::{self, Job, Ledger};
use crate::line::{self, LINE_BYTES_MIN, Line};
use crate::random::Random;
use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::time::TimeValLike;
use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Lines between two checks of the clock and of signals.
const LINES_PER_LOOK: u64 = 512;
/// The pause of a writer that is ahead of its rate.
const TICK: Duration = Duration::from_millis(1);
/// How often a victim is drawn before a rotation or similar operation is skipped.
const DRAWS_MAX: usize = 16;

#[derive(Args, Clone)]
pub(crate) struct Options {
    /// The tree that `make` made
    dir: PathBuf,
    /// Stop after this many lines
    #[arg(long)]
    lines: Option<u64>,
    /// Stop after this many seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// Lines per second [default: full speed]
    #[arg(long)]
    rate: Option<f64>,
    /// With --rate: write this many lines at once, then rest
    #[arg(long, requires = "rate", default_value_t = 1)]
    burst: u64,
    /// Lines that a job gets in a row, each with its own open
    #[arg(long, default_value_t = 1)]
    run: u32,
    /// Lines in each write
    #[arg(long, value_name = "N", default_value_t = 1)]
    lines_per_write: u32,
    /// Keep logs open from their first write on, as jobs that write without pause do
    #[arg(long, conflicts_with_all = ["rotate_every", "delete_every", "truncate_every", "rename_every"])]
    keep_open: bool,
    /// Write to this many jobs only, drawn at random
    #[arg(long)]
    active: Option<usize>,
    /// Fill lines up to this many bytes, with the newline
    #[arg(long, default_value_t = 0)]
    line_bytes: usize,
    /// After every N lines rename a log to .1 (.1 to .2 and so on); its next line starts a new one
    #[arg(long, value_name = "N")]
    rotate_every: Option<u64>,
    /// Rotated generations that are kept
    #[arg(long, default_value_t = 2)]
    keep: usize,
    /// After every N lines delete a log
    #[arg(long, value_name = "N")]
    delete_every: Option<u64>,
    /// After every N lines truncate a log to nothing
    #[arg(long, value_name = "N")]
    truncate_every: Option<u64>,
    /// After every N lines give a log another name in its directory
    #[arg(long, value_name = "N")]
    rename_every: Option<u64>,
    /// After every N lines start a new job
    #[arg(long, value_name = "N")]
    create_every: Option<u64>,
    /// Seconds without a line before a log is deleted or truncated, or a generation removed
    #[arg(long, default_value_t = 2.0)]
    grace: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// The tree's ledger [default: DIR.ledger]
    #[arg(long)]
    ledger: Option<PathBuf>,
}

pub(crate) fn append(options: &Options) -> Result<()> {
    check_options(options)?;
    let ledger_path =
        std::path::absolute(ledger::path_for(&options.dir, options.ledger.as_deref()))?;
    let mut ledger = Ledger::read(&ledger_path)?;
    std::env::set_current_dir(&options.dir)
        .with_context(|| format!("cannot enter {}", options.dir.display()))?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?; // the threads inherit it
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut writers: Vec<Writer<'_>> =
        (0..options.threads).map(|thread| Writer::new(options, &ledger, thread)).collect();

    let stop = AtomicBool::new(false);
    let (started, cpu_before) = (Instant::now(), cpu_us()?);
    let outcome = std::thread::scope(|scope| {
        let stop = &stop;
        let first = writers
            .iter_mut()
            .map(|writer| scope.spawn(move || writer.run(started, stop)))
            .collect::<Vec<_>>();
        while !first.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            if matches!(signals.read_signal(), Ok(Some(_))) {
                stop.store(true, Ordering::Relaxed);
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        first.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    });
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_us()? - cpu_before);

    let mut counts = Counts::default();
    for writer in writers {
        counts.add(&writer.counts);
        writer.close(&mut ledger);
    }
    ledger.write(&ledger_path)?;
    let Counts { lines, created, rotated, renamed, truncated, deleted } = counts;
    println!(
        "lines={lines} seconds={seconds:.3} lines_per_s={:.0} cpu_us={cpu} cpu_us_per_line={:.2} \
        created={created} rotated={rotated} \
         renamed={renamed} truncated={truncated} deleted={deleted}",
        lines as f64 / seconds,
        cpu as f64 / lines.max(1) as f64
    );
    outcome
}

fn check_options(options: &Options) -> Result<()> {
    if options.lines.is_none() && options.seconds.is_none() {
        bail!("say when to stop: --lines or --seconds");
    }
    let counts = [options.threads, options.run, options.lines_per_write];
    if counts.contains(&0) || options.keep == 0 || options.burst == 0 || options.active == Some(0) {
        bail!(
            "--threads, --run, --lines-per-write, --keep, --burst and --active must be at least 1"
        );
    }
    if options.rate.is_some_and(|rate| rate <= 0.0)
        || options.grace < 0.0
        || options.seconds.is_some_and(|seconds| seconds < 0.0)
    {
        bail!("--rate, --grace and --seconds must be positive");
    }
    if options.line_bytes != 0 && options.line_bytes < LINE_BYTES_MIN {
        bail!("--line-bytes must be at least {LINE_BYTES_MIN}");
    }
    Ok(())
}

/// CPU time of this process so far, in microseconds.
fn cpu_us() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(usage.user_time().num_microseconds() + usage.system_time().num_microseconds())
}

#[derive(Default)]
struct Counts {
    lines: u64,
    created: u64,
    rotated: u64,
    renamed: u64,
    truncated: u64,
    deleted: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.lines += other.lines;
        self.created += other.created;
        self.rotated += other.rotated;
        self.renamed += other.renamed;
        self.truncated += other.truncated;
        self.deleted += other.deleted;
    }
}

/// A job of this writer.
struct Slot {
    account: Job,
    /// The time of its last line, in ns since 1970; 0 = before this run.
    written_ns: u64,
}

/// A rotated file: `.1` is the last one in its job's list.
#[derive(Clone, Copy)]
struct Generation {
    last_seq: u32,
    rotated_ns: u64,
}

#[derive(Clone, Copy)]
enum End {
    Deleted,
    Truncated,
}

/// One thread's share: the jobs whose number leaves `thread` when divided by the number of threads.
struct Writer<'a> {
    options: &'a Options,
    thread: u32,
    paths: Paths,
    slots: Vec<Slot>,
    /// The jobs that get lines.
    live: Vec<u32>,
    /// Jobs that get no more lines until their grace period is over and they end: oldest first.
    resting: VecDeque<(u64, u32, End)>,
    generations: HashMap<u32, Vec<Generation>>,
    grace_ns: u64,
    /// With --keep-open: the logs written so far.
    open: HashMap<u32, OwnedFd>,
    random: Random,
    text: Vec<u8>,
    now_ns: u64,
    counts: Counts,
}

impl<'a> Writer<'a> {
    fn new(options: &'a Options, ledger: &Ledger, thread: u32) -> Self {
        let tree: Tree = ledger.tree;
        let mut writer = Writer {
            options,
            thread,
            paths: Paths::new(tree),
            slots: Vec::new(),
            live: Vec::new(),
            resting: VecDeque::new(),
            generations: HashMap::new(),
            grace_ns: (options.grace * 1e9) as u64,
            open: HashMap::new(),
            random: Random::new(options.seed ^ u64::from(thread) << 40),
            text: Vec::new(),
            now_ns: line::now_ns(),
            counts: Counts::default(),
        };
        for job in (thread..ledger.jobs.len() as u32).step_by(options.threads as usize) {
            let account = ledger.jobs[job as usize];
            let slot = writer.push(job, Job { base: account.given, ..account });
            if account.renamed {
                writer.paths.rename(slot as usize);
            }
            if account.rotated {
                // Which lines are in the old generations is unknown: at most all of them.
                let old = Generation { last_seq: account.given, rotated_ns: 0 };
                let found = (1..=options.keep)
                    .filter(|number| generation(writer.paths.get(slot as usize), *number).exists());
                writer.generations.insert(slot, vec![old; found.count()]);
            }
            if !account.deleted {
                writer.live.push(slot);
            }
        }
        let active = options
            .active
            .map_or(writer.live.len(), |active| active.div_ceil(options.threads as usize));
        for at in 0..active.min(writer.live.len()) * usize::from(active < writer.live.len()) {
            let other = at + writer.random.below(writer.live.len() - at);
            writer.live.swap(at, other);
        }
        writer.live.truncate(active);
        writer
    }

    fn push(&mut self, job: u32, account: Job) -> u32 {
        self.paths.push(job);
        self.slots.push(Slot { account, written_ns: 0 });
        self.slots.len() as u32 - 1
    }

    fn job(&self, slot: u32) -> u32 {
        slot * self.options.threads + self.thread
    }

    fn run(&mut self, started: Instant, stop: &AtomicBool) -> Result<()> {
        let threads = u64::from(self.options.threads);
        let lines = self.options.lines.map_or(u64::MAX, |lines| {
            lines / threads + u64::from(u64::from(self.thread) < lines % threads)
        });
        let seconds = self.options.seconds.unwrap_or(f64::INFINITY);
        let rate = self.options.rate.map(|rate| rate / threads as f64);
        // With a rate nothing is written before a whole write is due.
        let burst = self.options.burst.next_multiple_of(u64::from(self.options.lines_per_write));
        let stretch = u64::from(self.options.run) * u64::from(self.options.lines_per_write);
        while self.counts.lines < lines && !stop.load(Ordering::Relaxed) {
            let elapsed = started.elapsed().as_secs_f64();
            if elapsed >= seconds {
                break;
            }
            let due = rate.map_or(u64::MAX, |rate| {
                ((elapsed * rate) as u64).saturating_sub(self.counts.lines)
            });
            let due = (due - due % burst).min(lines - self.counts.lines);
            if due == 0 {
                std::thread::sleep(TICK);
            }
            for _ in 0..due.min(LINES_PER_LOOK.max(burst)).div_ceil(stretch) {
                if self.live.is_empty() {
                    bail!("no job is left to write to");
                }
                let slot = self.live[self.random.below(self.live.len())];
                let until = (self.counts.lines + stretch).min(lines);
                while self.counts.lines < until {
                    self.append_lines(
                        slot,
                        u64::from(self.options.lines_per_write).min(until - self.counts.lines),
                    )?;
                }
                self.disturb(stretch)?;
            }
            self.end_rested()?;
        }
        Ok(())
    }

    /// One write.
    fn append_lines(&mut self, slot: u32, count: u64) -> Result<()> {
        let job = self.job(slot);
        let path = self.paths.get(slot as usize);
        let Slot { account, written_ns } = &mut self.slots[slot as usize];
        self.now_ns = line::now_ns();
        self.text.clear();
        for _ in 0..count {
            account.given += 1;
            line::write(
                &mut self.text,
                Line { job, seq: account.given, sent_ns: self.now_ns },
                self.options.line_bytes,
            );
        }
        if account.absent && self.paths.tree().has_own_directory(job) {
            jobs::create_directory_of(path).with_context(|| {
                format!("cannot make the directory of {}", path.to_string_lossy())
            })?;
        }
        let mut append = || match self.open.entry(slot) {
            Entry::Occupied(open) => write_text(open.get(), &self.text),
            Entry::Vacant(vacant) => {
                let file = open_log(path, account.absent)?;
                write_text(&file, &self.text)?;
                if self.options.keep_open {
                    vacant.insert(file);
                }
                Ok(())
            }
        };
        append().with_context(|| format!("cannot append to {}", path.to_string_lossy()))?;
        account.absent = false;
        *written_ns = self.now_ns;
        self.counts.lines += count;
        Ok(())
    }

    /// Makes the due operations other than lines; `stretch` lines were written since the last call.
    fn disturb(&mut self, stretch: u64) -> Result<()> {
        let (options, before) = (self.options, self.counts.lines.saturating_sub(stretch));
        let is_due = |every: Option<u64>| {
            every.is_some_and(|every| self.counts.lines / every.max(1) > before / every.max(1))
        };
        let dues = [
            options.create_every,
            options.rotate_every,
            options.rename_every,
            options.truncate_every,
            options.delete_every,
        ];
        let [create, rotate, rename, truncate, delete] = dues.map(is_due);
        if create {
            self.create()?;
        }
        if rotate && let Some(slot) = self.draw(|writer, slot| writer.may_rotate(slot)) {
            self.rotate(slot)?;
        }
        if rename
            && let Some(slot) =
                self.draw(|writer, slot| !writer.slots[slot as usize].account.rotated)
        {
            self.rename(slot)?;
        }
        if truncate {
            self.rest(End::Truncated);
        }
        if delete {
            self.rest(End::Deleted);
        }
        Ok(())
    }

    /// A random live job that has a log and fulfils the condition.
    fn draw(&mut self, suits: impl Fn(&Self, u32) -> bool) -> Option<u32> {
        for _ in 0..DRAWS_MAX.min(self.live.len()) {
            let slot = self.live[self.random.below(self.live.len())];
            if !self.slots[slot as usize].account.absent && suits(self, slot) {
                return Some(slot);
            }
        }
        None
    }

    fn create(&mut self) -> Result<()> {
        let job = self.job(self.slots.len() as u32);
        if job >= JOBS_MAX {
            return Ok(());
        }
        let slot = self.push(job, Job { absent: true, ..Job::default() });
        self.live.push(slot);
        self.counts.created += 1;
        if self.counts.lines
            < self.options.lines.unwrap_or(u64::MAX) / u64::from(self.options.threads)
        {
            self.append_lines(slot, 1)
        } else {
            Ok(())
        }
    }

    /// The generation that is removed must have had its grace period.
    fn may_rotate(&self, slot: u32) -> bool {
        self.generations.get(&slot).is_none_or(|generations| {
            generations.len() < self.options.keep
                || generations[0].rotated_ns + self.grace_ns < self.now_ns
        })
    }

    fn rotate(&mut self, slot: u32) -> Result<()> {
        let path = self.paths.get(slot as usize);
        let account = &mut self.slots[slot as usize].account;
        let generations = self.generations.entry(slot).or_default();
        if generations.len() >= self.options.keep {
            account.gone = account.gone.max(generations.remove(0).last_seq);
            fs::remove_file(generation(path, self.options.keep))?;
        }
        for number in (0..=generations.len()).rev() {
            fs::rename(generation(path, number), generation(path, number + 1))?;
        }
        generations.push(Generation { last_seq: account.given, rotated_ns: self.now_ns });
        account.rotated = true;
        account.absent = true;
        self.counts.rotated += 1;
        Ok(())
    }

    fn rename(&mut self, slot: u32) -> Result<()> {
        let old = generation(self.paths.get(slot as usize), 0);
        self.paths.rename(slot as usize);
        fs::rename(old, generation(self.paths.get(slot as usize), 0))?;
        let account = &mut self.slots[slot as usize].account;
        account.renamed = !account.renamed;
        self.counts.renamed += 1;
        Ok(())
    }

    /// A random job gets no more lines until it ends.
    fn rest(&mut self, end: End) {
        if self.live.len() < 2 {
            return;
        }
        let slot = self.live.swap_remove(self.random.below(self.live.len()));
        self.resting.push_back((self.now_ns + self.grace_ns, slot, end));
    }

    fn end_rested(&mut self) -> Result<()> {
        let now_ns = line::now_ns();
        while let Some((due_ns, slot, end)) = self.resting.front().copied()
            && due_ns <= now_ns
        {
            self.resting.pop_front();
            let path = generation(self.paths.get(slot as usize), 0);
            let ends_directory = self.paths.tree().has_own_directory(self.job(slot));
            let account = &mut self.slots[slot as usize].account;
            let exists = !std::mem::replace(&mut account.absent, matches!(end, End::Deleted));
            account.gone = account.given;
            match end {
                End::Deleted if exists => fs::remove_file(&path),
                End::Truncated if exists => {
                    fs::OpenOptions::new().write(true).truncate(true).open(&path).map(drop)
                }
                End::Deleted | End::Truncated => Ok(()),
            }
            .with_context(|| format!("cannot end {}", path.display()))?;
            match end {
                End::Deleted => {
                    if exists && ends_directory {
                        let path = self.paths.get(slot as usize);
                        jobs::remove_directory_of(path).with_context(|| {
                            format!("cannot end the directory of {}", path.to_string_lossy())
                        })?;
                    }
                    account.deleted = true;
                    self.counts.deleted += 1;
                }
                End::Truncated => {
                    account.absent = !exists;
                    self.live.push(slot);
                    self.counts.truncated += 1;
                }
            }
        }
        Ok(())
    }

    fn close(self, ledger: &mut Ledger) {
        for (slot, Slot { account, .. }) in self.slots.iter().enumerate() {
            let job = self.job(slot as u32) as usize;
            if job >= ledger.jobs.len() {
                ledger.jobs.resize(job + 1, Job { absent: true, ..Job::default() });
            }
            ledger.jobs[job] = *account;
        }
    }
}

/// A log that another process moved away is made again.
fn open_log(path: &CStr, is_absent: bool) -> Result<OwnedFd> {
    let flags = OFlag::O_APPEND | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let creating = || open(path, flags | OFlag::O_CREAT, Mode::from_bits_truncate(0o644));
    match if is_absent { creating() } else { open(path, flags, Mode::empty()) } {
        Err(Errno::ENOENT) => Ok(creating()?),
        outcome => Ok(outcome?),
    }
}

fn write_text(file: &OwnedFd, text: &[u8]) -> Result<()> {
    let written = nix::unistd::write(file, text)?;
    if written < text.len() {
        bail!("only {written} of {} bytes were taken", text.len());
    }
    Ok(())
}

/// The path of a job's `number`th rotated generation; 0 is the log itself.
fn generation(path: &CStr, number: usize) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    if number == 0 { path.to_path_buf() } else { with_suffix(path, &format!(".{number}")) }
}
