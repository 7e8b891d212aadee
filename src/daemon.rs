//! Settings -> a running process: the mio loop, its tokens, signals and the end of the run.
//!
//! In: validated [`Settings`]. Out: an exit, or an error with its whole chain.
//! Always holds: one thread; between two turns the process sleeps in `epoll_wait(2)`, or pauses to
//! keep its pace. mio is edge-triggered: if a descriptor is not drained, the next turn follows at
//! once, because no further edge would come.

mod aside;
pub(crate) mod http;
mod listening;
mod own;
mod pressure;
mod reload;
mod report;
mod routes;
mod server;
mod service;
mod state_dir;
mod textfile;
mod yielding;

use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::resource::{Resource, getrlimit};

use crate::checkpoint::stamp::Stamp;
use crate::cli::{Origin, Settings};
use crate::config::{self, Config, KEEP_OPEN};
use crate::engine::{Engine, EngineError, Turn};
use crate::sink::{self, Brokers, Poller, Sink};
use crate::status::About;
use crate::sys::signal::{Signal, Signals};
use crate::sys::{Linux, clock, disk, host, memory};
use crate::tools::progress::Progress;
use pressure::Pressure;
use server::Server;
use service::{Seen, Service};
use yielding::Yielding;

const EVENTS: Token = Token(0);
const SIGNALS: Token = Token(1);
const OUTPUT: Token = Token(2);
const OFFSETS: Token = Token(3);
const MOUNTS: Token = Token(4);

/// How often the loop checks whether a commit has ended, in case nothing wakes it at that moment.
const OUTCOME_POLL: Duration = Duration::from_secs(1);

/// Follows the configured paths until everything is read (`--once`), a signal arrives, or the
/// output's reader is gone. `progress` is the progress line on the terminal, if one is wanted.
///
/// # Errors
/// When the output cannot be opened or fails permanently, or a system call of the loop fails.
pub(crate) fn run(settings: Settings, progress: Option<Progress>) -> anyhow::Result<()> {
    memory::return_large_blocks();
    for warning in &settings.origin.warnings {
        tracing::warn!("{warning}");
    }
    if host::links_files_of_others() && !settings.config.engine.same_owner {
        tracing::warn!(
            "sysctl fs.protected_hardlinks is 0: anyone who can write to a directory below a PATH \
            can link a file of another user into it, and have it read; set it to 1, or use \
            --same-owner"
        );
    }
    let mut daemon = Daemon::new(settings)?;
    daemon.progress = progress;
    daemon.log_started();
    let outcome = daemon.run();
    daemon.progress = None;
    daemon.server.finish(&mut daemon.engine, clock::now());
    match daemon.engine.committed_output() {
        Some(output) if is_orderly(&outcome) => Stamp::end(output),
        _ => {}
    }
    if let Err(error) = &outcome {
        daemon.notify(|service, now| service.failed(&format!("{error:#}"), now));
    }
    // Does nothing if a signal already did this.
    daemon.notify(|service, now| service.stopping(Duration::ZERO, now));
    report::log("done", &daemon.engine, clock::now());
    outcome
}

/// Whether the run reached its end, even if some data could not be read or delivered.
fn is_orderly(outcome: &anyhow::Result<()>) -> bool {
    let is_partial = |error: &anyhow::Error| {
        matches!(error.downcast_ref(), Some(EngineError::NotRead(_) | EngineError::CutShort))
    };
    outcome.as_ref().err().is_none_or(is_partial)
}

/// How many of the `asked_for` files may be open besides the one being read. The remaining
/// descriptors are for clients of metrics, listings and outputs.
fn open_files_max(asked_for: u32) -> usize {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has this limit");
    let allowed = config::open_files_allowed(asked_for, limit);
    if asked_for > KEEP_OPEN && allowed < u64::from(asked_for) {
        tracing::warn!(
            "no more than {allowed} files can stay open, not --keep-open {asked_for}: half of the \
            descriptor limit (LimitNOFILE= of a service, `ulimit -n` in a shell)"
        );
    }
    usize::try_from(allowed).unwrap_or(usize::MAX)
}

/// The engine on the real system.
type Running = Engine<Linux, Box<dyn Sink>>;

struct Daemon {
    poll: Poll,
    signals: Signals,
    /// Where the settings come from.
    origin: Origin,
    engine: Running,
    server: Server,
    /// The event descriptor that is registered.
    registered: Option<RawFd>,
    /// The table of mounts is polled, or cannot be polled.
    are_mounts_polled: bool,
    /// The service manager, if one expects messages.
    service: Option<Service>,
    pace: Duration,
    /// How much of the pace and of the cooling time the load asks for; `None`: all of it.
    pressure: Option<Pressure>,
    /// While the loop lets writers finish first.
    yielding: Option<Yielding>,
    shutdown_timeout: Duration,
    /// When to stop waiting for the output, after the first SIGTERM.
    stops_by: Option<Instant>,
    /// The progress line, for a person at a terminal.
    progress: Option<Progress>,
    started_at: Instant,
    /// How many stored offsets the run resumes from; `None`: there is no state directory.
    resumed: Option<usize>,
    is_ready_logged: bool,
}

/// Whether the loop continues.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Poll(Option<Duration>),
    Exit,
}

fn about(config: &Config) -> About {
    let started = clock::now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        start_time: started.as_secs_f64(),
        uptime: 0.0,
        output: config.output.to_string(),
        inputs: Vec::new(),
        state_directory: config.state_dir.as_ref().map(|path| path.display().to_string()),
        bad_settings: None,
    }
}

/// Opens the output.
fn open_sink(config: &Config, poll: &Poll) -> anyhow::Result<Box<dyn Sink>> {
    let registry = poll.registry().try_clone().context("cannot share the epoll instance")?;
    Ok(sink::open(&config.output, &Brokers::of(config), Poller { registry, token: OUTPUT })?)
}

impl Daemon {
    fn new(settings: Settings) -> anyhow::Result<Self> {
        let Settings { config, origin, .. } = settings;
        sink::check(&config.output)?;
        let service = Service::from_environment(config.output.to_string(), clock::now());
        let poll = Poll::new().context("cannot make an epoll instance")?;
        let signals = Signals::new().context("cannot receive signals")?;
        for descriptor in signals.descriptors() {
            let registry = poll.registry();
            registry
                .register(&mut SourceFd(&descriptor), SIGNALS, Interest::READABLE)
                .context("cannot poll signals")?;
        }
        let mut kept = config.state_dir.as_deref().map(state_dir::open).transpose()?;
        let sink = open_sink(&config, &poll)?;
        if let Some(kept) = &mut kept {
            kept.reconcile(&config.output)?;
            if let Some(routes) = &config.engine.routes {
                kept.name_for_output(&routes.host);
            }
        }
        let server = Server::new(&config, about(&config), poll.registry())?;
        own::warn_of_shared(&own::names(&config));
        let is_once = config.engine.once;
        let resumed = kept.as_ref().map(state_dir::StateDir::entries);
        let mut engine = Engine::new(config.engine, Linux::new(), sink, clock::now());
        if let Some(kept) = kept {
            engine.leave_out_directory(kept.directory);
            if let Some(path) = &config.state_dir {
                engine.watch_state_directory(path.as_os_str().as_bytes().to_vec());
            }
            let waker = Waker::new(poll.registry(), OFFSETS).context("cannot make a waker")?;
            engine.keep_offsets(kept.start(waker, config.commit_interval)?);
        } else if is_once {
            engine.mark_records(disk::any_number());
        }
        if let Some(diagnostics) = crate::sys::file::regular_file(io::stderr()) {
            engine.add_own_file(diagnostics);
        }
        for (directory, name) in own::places(&config.output, &config.metrics) {
            engine.leave_out_rotations(directory, &name);
        }
        engine.limit_open_files(open_files_max(config.keep_open));
        let mut daemon = Daemon {
            poll,
            signals,
            origin,
            engine,
            server,
            registered: None,
            are_mounts_polled: false,
            service,
            pace: config.pace,
            pressure: None,
            yielding: None,
            shutdown_timeout: config.shutdown_timeout,
            stops_by: None,
            progress: None,
            started_at: clock::now().instant,
            resumed,
            is_ready_logged: false,
        };
        let now = clock::now();
        daemon.adapt(config.adaptive, now);
        daemon.yield_to_writers(config.sched_batch, now);
        Ok(daemon)
    }

    /// From now on `--pace` and `--coalesce` are scaled with the load, or apply in full.
    fn adapt(&mut self, is_adaptive: bool, now: clock::Now) {
        self.pressure = is_adaptive.then(|| Pressure::new(now.instant));
        self.engine.set_pressure(if is_adaptive { 0.0 } else { 1.0 });
    }

    /// From now on the loop lets writers finish first while that causes no delay, or never does.
    fn yield_to_writers(&mut self, yields: bool, now: clock::Now) {
        if let Some(yielding) = self.yielding.take() {
            yielding.end();
        }
        if yields {
            self.yielding = Yielding::begin(now.instant);
        }
    }

    /// Notes the end of a turn. Returns how long to pause before the next one, if this one did
    /// something.
    fn turned(&mut self, began: Instant, ended: Instant) -> Duration {
        self.engine.turn_ended(began, ended);
        if let Some(yielding) = &mut self.yielding {
            yielding.turned(ended);
        }
        let Some(pressure) = &mut self.pressure else { return self.pace };
        let pressure = pressure.turned(began, ended);
        self.engine.set_pressure(pressure);
        Pressure::rest(self.pace, pressure)
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut ready = Events::with_capacity(16);
        let mut timeout = Some(Duration::ZERO);
        loop {
            self.engine.file_system_mut().release();
            match self.poll.poll(&mut ready, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => ready.clear(),
                outcome => outcome.context("cannot wait for events")?,
            }
            match self.turn(&ready)? {
                Next::Poll(next) => timeout = next,
                Next::Exit if self.engine.is_cut_short() => {
                    return Err(EngineError::CutShort.into());
                }
                Next::Exit => {
                    self.warn_of_undelivered();
                    return Ok(());
                }
            }
        }
    }

    /// Passes the ready descriptors to the engine, and runs one turn.
    fn turn(&mut self, ready: &Events) -> anyhow::Result<Next> {
        let now = clock::now();
        self.server.begin_turn(&mut self.engine, now);
        for event in ready {
            match event.token() {
                EVENTS => self.engine.events_ready(),
                OUTPUT => self.engine.output_ready(now),
                // The turn collects the outcome of the commit.
                OFFSETS => {}
                MOUNTS => self.engine.mounts_changed(now),
                Token(server::FIRST_TOKEN..) => {
                    self.server.ready(event.token(), &mut self.engine, now)
                }
                _ => {
                    if self.take_signals(now)? == Next::Exit {
                        return Ok(Next::Exit);
                    }
                }
            }
        }
        self.server.expire(&mut self.engine, now)?;
        let before = (self.engine.stats().events, self.engine.stats().records);
        let turn = self.engine.turn(now)?;
        let rest = self.turned(now.instant, clock::now().instant);
        self.register_events()?;
        self.log_when_ready(now.instant);
        let report_due = self.notify_turn(now);
        let is_productive = before != (self.engine.stats().events, self.engine.stats().records);
        let next = match turn {
            Turn::Finished => return Ok(Next::Exit),
            Turn::Again => Some(now.instant),
            Turn::WaitUntil(deadline) => Some(deadline),
            Turn::WaitForEvents => None,
        };
        if self.stops_by.is_some_and(|by| by <= now.instant) {
            return Ok(Next::Exit);
        }
        if is_productive
            && turn != Turn::Again
            && !rest.is_zero()
            && self.engine.is_output_drained()
        {
            clock::pause(rest);
        }
        let engine = &self.engine;
        if self
            .progress
            .as_mut()
            .is_some_and(|progress| !progress.turned(|| engine.reading(), now.instant))
        {
            self.progress = None;
        }
        // The end of a commit wakes the loop, unless that fails.
        let outcome = self.engine.is_storing().then(|| now.instant + OUTCOME_POLL);
        let line = self.progress.as_ref().and_then(Progress::deadline);
        let deadline = next
            .into_iter()
            .chain(self.stops_by)
            .chain(report_due)
            .chain(line)
            .chain(outcome)
            .chain(self.server.deadline())
            .min();
        Ok(Next::Poll(match turn {
            Turn::Again => Some(Duration::ZERO),
            _ => deadline.map(|at| at.saturating_duration_since(clock::now().instant)),
        }))
    }

    fn take_signals(&mut self, now: clock::Now) -> anyhow::Result<Next> {
        while let Some(signal) = self.signals.next().context("cannot read signals")? {
            match signal {
                Signal::Stop if self.stops_by.is_some() => return Ok(Next::Exit),
                Signal::Stop => {
                    tracing::info!("stopping");
                    self.stops_by = Some(now.instant + self.shutdown_timeout);
                    let timeout = self.shutdown_timeout;
                    self.notify(|service, now| service.stopping(timeout, now));
                    self.engine.stop();
                }
                Signal::Reload => {
                    self.notify(Service::reloading);
                    self.reload(now);
                    self.engine.reopen_output(now)?;
                }
                Signal::Report => report::log("status", &self.engine, now),
            }
        }
        Ok(Next::Poll(None))
    }

    /// Registers the event descriptor, which exists once there is a watch.
    fn register_events(&mut self) -> anyhow::Result<()> {
        let current = self.engine.file_system_mut().events_descriptor();
        if let Some(descriptor) = current.filter(|_| current != self.registered) {
            let registry = self.poll.registry();
            registry
                .register(&mut SourceFd(&descriptor), EVENTS, Interest::READABLE)
                .context("cannot poll inotify events")?;
            self.registered = current;
            self.engine.events_ready();
        }
        self.register_mounts();
        Ok(())
    }

    /// Registers the table of mounts, which is open once it was read. Changes since then are
    /// reported at once.
    fn register_mounts(&mut self) {
        if self.are_mounts_polled {
            return;
        }
        let Some(descriptor) = self.engine.file_system_mut().mounts_descriptor() else { return };
        self.are_mounts_polled = true;
        if let Err(error) =
            self.poll.registry().register(&mut SourceFd(&descriptor), MOUNTS, Interest::PRIORITY)
        {
            tracing::debug!(%error, "changes of mounts cannot be polled: only the sweep notices \
                them");
        }
    }

    /// Logs one line about what this run does.
    fn log_started(&self) {
        if self.engine.is_once() {
            return;
        }
        let paths: Vec<String> = self.engine.paths().collect();
        let about = &self.server.about;
        tracing::info!(
            version = about.version,
            paths = paths.join(" "),
            output = about.output,
            state_dir = about.state_directory,
            offsets = self.resumed,
            "started"
        );
        let is_service =
            ["INVOCATION_ID", "NOTIFY_SOCKET"].iter().any(|name| std::env::var_os(name).is_some());
        if is_service && self.resumed.is_none() && self.engine.reads_from_beginning() {
            tracing::warn!(
                "no state directory: a restart delivers all logs again from their beginning; set \
                state_dir, or from = \"end\""
            );
        }
    }

    /// Logs what is not delivered at the end of an orderly run.
    fn warn_of_undelivered(&self) {
        let bytes = self.engine.undelivered_bytes();
        if bytes > 0 && self.resumed.is_some() {
            tracing::warn!(
                bytes,
                "stopped before the output took all that was read: the next run reads it again"
            );
        } else if bytes > 0 {
            tracing::warn!(
                bytes,
                "stopped before the output took all that was read: without a state directory, the \
                next run delivers it only if it reads all logs from their beginning"
            );
        }
        if self.engine.is_once() {
            self.warn_of_inputs_without_files();
        }
    }

    fn warn_of_inputs_without_files(&self) {
        for paths in self.engine.inputs_without_files() {
            tracing::warn!("no file was found below {paths}: nothing is there, or no glob matches");
        }
    }

    /// Logs once that the first scan is complete, and nothing is missed from then on.
    fn log_when_ready(&mut self, now: Instant) {
        if self.is_ready_logged || self.engine.is_once() || !self.engine.has_scanned() {
            return;
        }
        self.is_ready_logged = true;
        self.warn_of_inputs_without_files();
        let sizes = self.engine.sizes();
        let after = humantime::format_duration(Duration::from_millis(
            u64::try_from(now.saturating_duration_since(self.started_at).as_millis())
                .unwrap_or(u64::MAX),
        ));
        let (files, directories) = (sizes.files, sizes.directories);
        tracing::info!(files, directories, %after, "ready: nothing that is written from now on is \
            missed");
    }

    /// Reports the state of the run to the service manager. Returns when the next report is due.
    fn notify_turn(&mut self, now: clock::Now) -> Option<Instant> {
        let service = self.service.as_mut()?;
        let (stats, sizes) = (self.engine.stats(), self.engine.sizes());
        service.turned(&Seen {
            now,
            has_scanned: self.engine.has_scanned(),
            is_reopening: self.engine.is_reopening(),
            progress: (sizes.files + sizes.directories) as u64 + stats.events + stats.bytes,
            files: sizes.files,
            directories: sizes.directories,
            unread: self.engine.unread_files(),
            blocked: self.engine.output_blocked_for(now.instant),
            question: self.engine.question_to_output(),
        })
    }

    /// Sends a message to the service manager, if there is one.
    fn notify(&mut self, what: impl FnOnce(&mut Service, Instant)) {
        if let Some(service) = &mut self.service {
            what(service, clock::now().instant);
        }
    }
}
