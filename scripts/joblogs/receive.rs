//! `joblogs receive`: takes a follower's output as it comes, counts it, and says how late it was and what the follower spent.
//!
//! Latency is arrival here minus the time in the line, for lines that were written after the start. With `--canary` it first asks
//! whether the follower is awake: it appends canaries to a file of the tree until one comes back and the follower has come to rest,
//! then says `ready` on standard error; what the follower spends is counted from there.

use crate::latency::Latency;
use crate::line;
use crate::records::{Chunk, Format, Records, split};
use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CANARY_PERIOD: Duration = Duration::from_millis(200);
/// A follower is at rest when it spent less than `REST_CPU_NS` in `REST`.
const REST: Duration = Duration::from_millis(500);
const REST_CPU_NS: u64 = 1_000_000;
/// After the last line a follower may have something to put away, which counts.
const AFTERMATH: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(crate) struct Options {
    /// Listen on this unix socket instead of reading standard input
    #[arg(long)]
    unix: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// End after this many lines
    #[arg(long)]
    expect: Option<u64>,
    /// End when nothing came for this many seconds
    #[arg(long, default_value_t = 30.0)]
    idle_timeout: f64,
    /// Say how late lines were
    #[arg(long)]
    latency: bool,
    /// Write all that comes to this file too
    #[arg(long)]
    tee: Option<PathBuf>,
    /// A file of the tree for canaries; nothing but canaries may be in it
    #[arg(long)]
    canary: Option<PathBuf>,
    /// The follower: say what CPU time it spent from `ready`, or the start, to the last line
    #[arg(long, value_name = "PID")]
    cpu_of: Option<u32>,
}

/// Says whether all that was expected came.
pub(crate) fn receive(options: &Options) -> Result<bool> {
    let idle_timeout = Duration::try_from_secs_f64(options.idle_timeout).context("--idle-timeout")?;
    let listener = match &options.unix {
        Some(path) => Some(UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?),
        None => None,
    };
    let tee = options.tee.as_ref().map(|path| File::create(path).with_context(|| format!("cannot create {}", path.display())));
    let mut receiver = Receiver {
        options,
        tee: tee.transpose()?,
        started_ns: line::now_ns(),
        latency: Latency::new(),
        lines: 0,
        canaries: 0,
        bytes: 0,
        first: None,
        last: Instant::now(),
        last_at_us: 0,
    };
    let mut source = Source::open(listener.as_ref(), idle_timeout)?;
    if let Some(canary) = &options.canary {
        receiver.wake(&mut source, canary, idle_timeout)?;
        eprintln!("ready");
    }
    let cpu_before = options.cpu_of.map(cpu_ns).transpose()?;
    while options.expect.is_none_or(|expect| receiver.lines < expect) {
        match receiver.take(&mut source, idle_timeout)? {
            Taken::Some => {}
            Taken::End if listener.is_some() => match Source::open(listener.as_ref(), idle_timeout) {
                Ok(next) => source = next,
                Err(_) => break,
            },
            Taken::Nothing | Taken::End => break,
        }
    }
    receiver.report(cpu_before)?;
    Ok(options.expect.is_none_or(|expect| receiver.lines == expect))
}

/// The follower's output, and whether there is something to read.
struct Source {
    records: Records<File>,
    /// None: a regular file, which is always readable.
    epoll: Option<Epoll>,
}

impl Source {
    fn open(listener: Option<&UnixListener>, timeout: Duration) -> Result<Self> {
        let input = match listener {
            Some(listener) => {
                let epoll = watch(listener)?.context("a socket can be polled")?;
                if !is_ready(&epoll, timeout)? {
                    bail!("nobody connected");
                }
                OwnedFd::from(listener.accept()?.0)
            }
            None => io::stdin().as_fd().try_clone_to_owned()?,
        };
        let epoll = watch(&input)?;
        Ok(Source { records: Records::new(File::from(input)), epoll })
    }

    fn is_ready(&self, timeout: Duration) -> Result<bool> {
        self.epoll.as_ref().map_or(Ok(true), |epoll| is_ready(epoll, timeout))
    }
}

fn watch(input: &impl AsFd) -> Result<Option<Epoll>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    match epoll.add(input, EpollEvent::new(EpollFlags::EPOLLIN, 0)) {
        Err(Errno::EPERM) => Ok(None),
        outcome => Ok(outcome.map(|()| Some(epoll))?),
    }
}

fn is_ready(epoll: &Epoll, timeout: Duration) -> Result<bool> {
    let timeout = EpollTimeout::try_from(timeout).context("a timeout of at most 24 days")?;
    match epoll.wait(&mut [EpollEvent::empty()], timeout) {
        Err(Errno::EINTR) => Ok(true),
        outcome => Ok(outcome? > 0),
    }
}

enum Taken {
    Some,
    Nothing,
    End,
}

struct Receiver<'a> {
    options: &'a Options,
    tee: Option<File>,
    started_ns: u64,
    latency: Latency,
    lines: u64,
    canaries: u64,
    bytes: u64,
    /// When the first and the last line came.
    first: Option<Instant>,
    last: Instant,
    /// The time of day of the last line, in microseconds since 1970; 0 = none came.
    last_at_us: u64,
}

impl Receiver<'_> {
    /// One read, if there is something to read within `timeout`.
    fn take(&mut self, source: &mut Source, timeout: Duration) -> Result<Taken> {
        if !source.is_ready(timeout)? {
            return Ok(Taken::Nothing);
        }
        let bytes = match source.records.next()? {
            Chunk::Records(bytes) => bytes,
            Chunk::End(rest) => {
                if let Some(tee) = &mut self.tee {
                    tee.write_all(rest)?;
                }
                return Ok(Taken::End);
            }
        };
        let now_ns = line::now_ns();
        let before = self.lines;
        if self.options.latency || self.options.canary.is_some() {
            for record in split(bytes) {
                let Some(record) = self.options.format.record(record) else {
                    self.lines += 1;
                    continue;
                };
                if line::is_canary(record.line) {
                    self.canaries += 1;
                    continue;
                }
                self.lines += 1;
                if let Some(sent_ns) = line::sent_ns(record.line).filter(|sent_ns| *sent_ns >= self.started_ns) {
                    self.latency.add(now_ns.saturating_sub(sent_ns) / 1000);
                }
            }
        } else {
            self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        }
        self.bytes += bytes.len() as u64;
        if let Some(tee) = &mut self.tee {
            tee.write_all(bytes).context("cannot write the --tee file")?;
        }
        if self.lines > before {
            self.last = Instant::now();
            self.last_at_us = now_ns / 1000;
            self.first.get_or_insert(self.last);
        }
        Ok(Taken::Some)
    }

    /// Appends canaries until one comes back, then waits until the follower rests.
    fn wake(&mut self, source: &mut Source, canary: &Path, timeout: Duration) -> Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(canary)?;
        let mut give_up = Instant::now() + timeout;
        let mut next = Instant::now();
        let mut number = 0;
        while self.canaries == 0 {
            let now = Instant::now();
            if now >= give_up {
                bail!("no canary came back within {timeout:?}");
            }
            if now >= next {
                number += 1;
                file.write_all(format!("canary {number}\n").as_bytes())?;
                next = now + CANARY_PERIOD;
            }
            match self.take(source, next.saturating_duration_since(Instant::now()))? {
                Taken::End => bail!("the follower closed its output"),
                Taken::Some => give_up = Instant::now() + timeout, // it reads what was there before
                Taken::Nothing => {}
            }
        }
        let Some(pid) = self.options.cpu_of else { return Ok(()) };
        let mut since = (Instant::now(), cpu_ns(pid)?);
        while since.0.elapsed() < REST {
            if matches!(self.take(source, REST / 5)?, Taken::End) {
                bail!("the follower closed its output");
            }
            let spent = cpu_ns(pid)?;
            if spent > since.1 + REST_CPU_NS {
                since = (Instant::now(), spent);
            }
        }
        Ok(())
    }

    fn report(&self, cpu_before: Option<u64>) -> Result<()> {
        let seconds = self.first.map_or(0.0, |first| (self.last - first).as_secs_f64());
        let rate = self.lines as f64 / seconds.max(1e-9);
        let mut report = format!("lines={} bytes={} seconds={seconds:.3} lines_per_s={rate:.0}", self.lines, self.bytes);
        if self.options.latency {
            report += &format!(" {}", self.latency.report());
        }
        if let (Some(pid), Some(before)) = (self.options.cpu_of, cpu_before) {
            std::thread::sleep(AFTERMATH);
            let cpu_us = (cpu_ns(pid)? - before) as f64 / 1000.0;
            report += &format!(" follower_cpu_us={cpu_us:.0} follower_cpu_us_per_line={:.3}", cpu_us / self.lines.max(1) as f64);
        }
        println!("{report} last_at={}.{:06}", self.last_at_us / 1_000_000, self.last_at_us % 1_000_000);
        Ok(())
    }
}

/// CPU time of all threads of a process, in ns: the first number of proc(5) schedstat.
fn cpu_ns(pid: u32) -> Result<u64> {
    let mut sum = 0;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("no process {pid}"))?;
    for task in tasks {
        let mut text = String::new();
        File::open(task?.path().join("schedstat")).and_then(|mut file| file.read_to_string(&mut text))?;
        sum += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).context("schedstat has no time")?;
    }
    Ok(sum)
}
