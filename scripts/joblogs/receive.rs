//! `joblogs receive`: reads a follower's output as it arrives, counts it, and reports its latency
//! and the follower's CPU time.
//!
//! Latency is the time of arrival minus the time in the line, for lines that were written after the
//! start. With `--canary` it first tests whether the follower is awake: it appends canaries to a
//! file of the tree until one arrives and the follower has come to rest, then prints `ready` on
//! standard error; the follower's CPU time counts from there, and, if lines are missing, up to the
//! last one that arrived.

use crate::latency::Latency;
use crate::line;
use crate::records::{Chunk, Format, Records, split};
use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CANARY_PERIOD: Duration = Duration::from_millis(200);
/// A follower is at rest if it spent less than `REST_CPU_NS` in `REST`.
const REST: Duration = Duration::from_millis(500);
const REST_CPU_NS: u64 = 1_000_000;
/// The follower's work after the last line counts, too.
const AFTERMATH: Duration = Duration::from_millis(50);
/// If nothing arrives for this long, the CPU time so far may be the whole cost of the lines.
const PAUSE: Duration = Duration::from_millis(200);

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
    /// End this many seconds after the start (or `ready`), whatever came
    #[arg(long)]
    deadline: Option<f64>,
    /// With --canary and --cpu-of: take a follower that does not come to rest for ready after this
    /// many seconds
    #[arg(long, requires = "canary")]
    rest_timeout: Option<f64>,
    /// Say how late lines were
    #[arg(long)]
    latency: bool,
    /// Take no notice of lines of files elsewhere (text and json)
    #[arg(long, value_name = "DIR")]
    only: Option<PathBuf>,
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

/// Returns whether everything expected arrived.
pub(crate) fn receive(options: &Options) -> Result<bool> {
    let idle_timeout =
        Duration::try_from_secs_f64(options.idle_timeout).context("--idle-timeout")?;
    let deadline =
        options.deadline.map(Duration::try_from_secs_f64).transpose().context("--deadline")?;
    let rest_timeout = options
        .rest_timeout
        .map(Duration::try_from_secs_f64)
        .transpose()
        .context("--rest-timeout")?;
    let listener = match &options.unix {
        Some(path) => Some(
            UnixListener::bind(path)
                .with_context(|| format!("cannot listen on {}", path.display()))?,
        ),
        None => None,
    };
    let tee = options.tee.as_ref().map(|path| {
        File::create(path).with_context(|| format!("cannot create {}", path.display()))
    });
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
        cpu_at_pause: None,
    };
    let mut source = Source::open(listener.as_ref(), idle_timeout)?;
    if let Some(canary) = &options.canary {
        receiver.wake(&mut source, canary, idle_timeout)?;
        eprintln!("awake");
        receiver.await_rest(&mut source, rest_timeout)?;
        eprintln!("ready");
    }
    let cpu_before = options.cpu_of.map(cpu_ns).transpose()?;
    let end = deadline.map(|deadline| Instant::now() + deadline);
    while options.expect.is_none_or(|expect| receiver.lines < expect)
        && end.is_none_or(|end| Instant::now() < end)
    {
        match receiver.take_with_pause(&mut source, idle_timeout, end)? {
            Taken::Some => {}
            Taken::End if listener.is_some() => match Source::open(listener.as_ref(), idle_timeout)
            {
                Ok(next) => source = next,
                Err(_) => break,
            },
            Taken::Nothing | Taken::End => break,
        }
    }
    receiver.report(cpu_before)?;
    Ok(options.expect.is_none_or(|expect| receiver.lines == expect))
}

/// The follower's output, and whether it can be read.
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
    loop {
        // The process was stopped and continued, or is traced: then it is unknown whether a read
        // would wait.
        match epoll.wait(&mut [EpollEvent::empty()], timeout) {
            Err(Errno::EINTR) => {}
            outcome => return Ok(outcome? > 0),
        }
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
    /// When the first and the last line arrived.
    first: Option<Instant>,
    last: Instant,
    /// The time of the last line, in microseconds since 1970; 0 = none.
    last_at_us: u64,
    /// The follower's CPU time when nothing had arrived for `PAUSE`; none if lines arrived since.
    cpu_at_pause: Option<u64>,
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
        if self.options.latency || self.options.canary.is_some() || self.options.only.is_some() {
            for record in split(bytes) {
                let Some(record) = self.options.format.record(record) else {
                    self.lines += 1;
                    continue;
                };
                if line::is_canary(record.line) {
                    self.canaries += 1;
                    continue;
                }
                if let (Some(only), Some(path)) = (&self.options.only, record.path)
                    && !path.starts_with(only.as_os_str().as_bytes())
                {
                    continue;
                }
                self.lines += 1;
                if let Some(sent_ns) =
                    line::sent_ns(record.line).filter(|sent_ns| *sent_ns >= self.started_ns)
                {
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

    /// As `take`, up to `end`; records the follower's CPU time when a pause begins.
    fn take_with_pause(
        &mut self,
        source: &mut Source,
        timeout: Duration,
        end: Option<Instant>,
    ) -> Result<Taken> {
        let left =
            end.map_or(timeout, |end| timeout.min(end.saturating_duration_since(Instant::now())));
        let before = self.lines;
        let mut taken = self.take(source, left.min(PAUSE))?;
        if matches!(taken, Taken::Nothing) && left > PAUSE {
            if let (Some(pid), None) = (self.options.cpu_of, self.cpu_at_pause) {
                self.cpu_at_pause = Some(cpu_ns(pid)?);
            }
            taken = self.take(source, left - PAUSE)?;
        }
        if self.lines > before {
            self.cpu_at_pause = None;
        }
        Ok(taken)
    }

    /// Appends canaries until one comes back.
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
        Ok(())
    }

    /// Waits until the follower rests, at most `timeout`.
    fn await_rest(&mut self, source: &mut Source, timeout: Option<Duration>) -> Result<()> {
        let Some(pid) = self.options.cpu_of else { return Ok(()) };
        let started = Instant::now();
        let mut since = (started, cpu_ns(pid)?);
        while since.0.elapsed() < REST && timeout.is_none_or(|timeout| started.elapsed() < timeout)
        {
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
        let mut report = format!(
            "lines={} bytes={} seconds={seconds:.3} lines_per_s={rate:.0}",
            self.lines, self.bytes
        );
        if self.options.latency {
            report += &format!(" {}", self.latency.report());
        }
        if let (Some(pid), Some(before)) = (self.options.cpu_of, cpu_before) {
            let after = if let Some(cpu) = self.cpu_at_pause {
                cpu
            } else {
                std::thread::sleep(AFTERMATH);
                cpu_ns(pid)?
            };
            let cpu_us = (after - before) as f64 / 1000.0;
            report += &format!(
                " follower_cpu_us={cpu_us:.0} follower_cpu_us_per_line={:.3}",
                cpu_us / self.lines.max(1) as f64
            );
        }
        println!(
            "{report} last_at={}.{:06}",
            self.last_at_us / 1_000_000,
            self.last_at_us % 1_000_000
        );
        Ok(())
    }
}

/// CPU time of a process so far, in ns, including threads that have ended.
fn cpu_ns(pid: u32) -> Result<u64> {
    let of_process = || -> nix::Result<_> {
        // In some followers threads come and go: the sum over the current ones would fall.
        let clock = clock_getcpuclockid(Pid::from_raw(pid as i32))?;
        ClockId::now(clock)
    };
    let spent = of_process().with_context(|| format!("no process {pid}"))?;
    Ok(Duration::from(spent).as_nanos() as u64)
}
