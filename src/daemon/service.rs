//! Notifies the service manager: READY, STATUS, WATCHDOG, RELOADING, STOPPING, as in sd_notify(3).
//!
//! In: the state of the run after each turn. Out: datagrams to `$NOTIFY_SOCKET`, and when the loop
//! has to wake up for the next one.
//! Always holds: notifying never blocks and never fails the run; only the end of a turn pings the
//! watchdog; without a watchdog nothing wakes an idle process.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::record::printable;
use crate::status::numbers::{count, counted};
use crate::sys::clock::{self, Now};

/// STATUS is sent at most this often, except when a trouble that it reports begins or ends.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// STATUS mentions an output that has taken nothing for this long.
const BLOCKED_LONG: Duration = Duration::from_secs(1);

/// How often we ask a manager that waits for the first scan for more time ...
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// ... and for how much: several times the interval, so that a slow turn does not end the run.
const EXTEND_BY: Duration = Duration::from_secs(60);

/// Time for the last commit, beyond `--shutdown-timeout`.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// If the manager's queue is full, we try again after this long.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Pings come at a third of the watchdog's timeout: sd_watchdog_enabled(3) recommends half of it,
/// and a wake-up may be late.
const PINGS_PER_TIMEOUT: u32 = 3;

/// The state of the run after a turn.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) now: Now,
    /// The first scan, or the scan after a reload, is complete.
    pub(super) has_scanned: bool,
    /// The output is still to be reopened.
    pub(super) is_reopening: bool,
    /// Grows with everything that is found or read.
    pub(super) progress: u64,
    pub(super) files: usize,
    pub(super) directories: usize,
    /// Files with unread bytes.
    pub(super) unread: usize,
    /// How long the output has taken nothing, if records wait for it.
    pub(super) blocked: Option<Duration>,
    /// What the output is asked before anything goes on.
    pub(super) question: Option<String>,
}

impl Seen {
    /// How long the output has taken nothing, if that is long enough for STATUS.
    fn blocked_long(&self) -> Option<Duration> {
        self.blocked.filter(|&blocked| blocked >= BLOCKED_LONG)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until the first scan is complete.
    Starting {
        extended_at: Instant,
        progress: u64,
    },
    Ready,
    Reloading,
    Stopping,
}

/// The troubles that the last STATUS reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Trouble {
    has_unread: bool,
    is_blocked: bool,
}

#[derive(Debug)]
struct Watchdog {
    every: Duration,
    pinged_at: Option<Instant>,
}

/// The service manager that started us.
#[derive(Debug)]
pub(super) struct Service {
    socket: UnixDatagram,
    manager: SocketAddr,
    /// The output as given.
    output: String,
    phase: Phase,
    watchdog: Option<Watchdog>,
    /// Messages about changes of the phase that are not sent yet.
    unsent: String,
    retry_at: Option<Instant>,
    /// The last STATUS sent.
    status: String,
    status_sent_at: Option<Instant>,
    trouble: Trouble,
    /// Since when the output has been blocked, as STATUS reports it.
    blocked_since: String,
    has_failed: bool,
}

impl Service {
    /// The manager at `$NOTIFY_SOCKET`, if that is set.
    pub(super) fn from_environment(output: String, now: Now) -> Option<Service> {
        let address = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        let watchdog = match (env::var("WATCHDOG_USEC"), env::var("WATCHDOG_PID")) {
            (Err(_), _) => None,
            (Ok(timeout), pid) => {
                watchdog_interval(&timeout, pid.ok().as_deref(), std::process::id())
            }
        };
        match Service::new(&address, watchdog, output, now) {
            Ok(service) => Some(service),
            Err(error) => {
                tracing::debug!(?address, %error, "the service manager cannot be notified");
                None
            }
        }
    }

    fn new(
        address: &OsStr,
        watchdog: Option<Duration>,
        output: String,
        now: Now,
    ) -> io::Result<Service> {
        let manager = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "neither a path nor an abstract socket",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Service {
            socket,
            manager,
            output,
            phase: Phase::Starting { extended_at: now.instant, progress: 0 },
            watchdog: watchdog.map(|every| Watchdog { every, pinged_at: None }),
            unsent: String::new(),
            retry_at: None,
            status: String::new(),
            status_sent_at: None,
            trouble: Trouble::default(),
            blocked_since: String::new(),
            has_failed: false,
        })
    }

    /// Notifies the manager after a turn. Returns when the next turn is due even if nothing
    /// happens.
    pub(super) fn turned(&mut self, seen: &Seen) -> Option<Instant> {
        let now = seen.now.instant;
        if let Some(at) = self.retry_at.filter(|&at| now < at) {
            return Some(at);
        }
        let has_changed = self.advance(seen);
        let mut message = String::new();
        let is_ping_due = self
            .watchdog
            .as_ref()
            .is_some_and(|dog| dog.pinged_at.is_none_or(|at| now >= at + dog.every));
        if is_ping_due {
            message.push_str("WATCHDOG=1\n");
        }
        let trouble =
            Trouble { has_unread: seen.unread > 0, is_blocked: seen.blocked_long().is_some() };
        if has_changed || self.is_status_due(trouble, now) {
            self.status_sent_at = Some(now);
            self.trouble = trouble;
            let status = self.describe(seen);
            if status != self.status {
                // The manager reads up to the end of the line, and the output's name may contain
                // anything.
                let _ = writeln!(message, "STATUS={}", printable(&status));
                self.status = status;
            }
        }
        if self.send(&message, now) {
            if is_ping_due && let Some(dog) = &mut self.watchdog {
                dog.pinged_at = Some(now);
            }
        } else {
            // The manager did not receive the status.
            self.status.clear();
            self.status_sent_at = None;
        }
        self.deadline(seen)
    }

    /// SIGHUP arrived, and the reload is about to begin.
    pub(super) fn reloading(&mut self, now: Instant) {
        // A manager that still waits for READY, or that stops the service, does not expect a
        // reload.
        if self.phase == Phase::Ready {
            self.phase = Phase::Reloading;
            let _ =
                write!(self.unsent, "RELOADING=1\nMONOTONIC_USEC={}\n", clock::monotonic_usec());
            self.send("", now);
        }
    }

    /// The run ends: at once, or as soon as the output has taken everything that was read,
    /// `timeout` from now at the latest.
    pub(super) fn stopping(&mut self, timeout: Duration, now: Instant) {
        if self.phase != Phase::Stopping {
            self.phase = Phase::Stopping;
            let _ = writeln!(
                self.unsent,
                "STOPPING=1\nEXTEND_TIMEOUT_USEC={}",
                (timeout + STOP_MARGIN).as_micros()
            );
            self.status = "stopping".to_owned();
            let status = format!("STATUS={}\n", self.status);
            self.send(&status, now);
        }
    }

    /// The run failed.
    pub(super) fn failed(&mut self, error: &str, now: Instant) {
        self.stopping(Duration::ZERO, now);
        self.send(&format!("STATUS=failed: {}\n", printable(error)), now);
    }

    /// Updates the phase after a turn. Returns whether it changed to ready.
    fn advance(&mut self, seen: &Seen) -> bool {
        let now = seen.now.instant;
        match self.phase {
            Phase::Starting { .. } if seen.has_scanned => self.phase = Phase::Ready,
            Phase::Starting { extended_at, progress } => {
                let goes_on = seen.progress != progress || seen.question.is_some();
                if now >= extended_at + EXTEND_EVERY && goes_on {
                    self.phase = Phase::Starting { extended_at: now, progress: seen.progress };
                    let _ = writeln!(self.unsent, "EXTEND_TIMEOUT_USEC={}", EXTEND_BY.as_micros());
                }
                return false;
            }
            Phase::Reloading if !seen.is_reopening && seen.has_scanned => self.phase = Phase::Ready,
            Phase::Reloading | Phase::Ready | Phase::Stopping => return false,
        }
        self.unsent.push_str("READY=1\n");
        true
    }

    /// Whether to send STATUS: at once when a trouble begins or ends, otherwise every
    /// [`STATUS_EVERY`].
    fn is_status_due(&self, trouble: Trouble, now: Instant) -> bool {
        let is_time = self.status_sent_at.is_none_or(|at| now >= at + STATUS_EVERY);
        let has_ended = (self.trouble.has_unread && !trouble.has_unread)
            || (self.trouble.is_blocked && !trouble.is_blocked);
        let is_new = trouble.is_blocked && !self.trouble.is_blocked;
        self.phase != Phase::Stopping && (is_time || has_ended || is_new)
    }

    fn describe(&mut self, seen: &Seen) -> String {
        let (files, directories) = (
            counted(seen.files as u64, "file", "files"),
            counted(seen.directories as u64, "directory", "directories"),
        );
        if let Some(question) = &seen.question {
            return format!("waiting for {}: {question}", self.output);
        }
        if matches!(self.phase, Phase::Starting { .. }) {
            return format!("first scan: {files} in {directories} so far");
        }
        let mut status = format!("following {files} in {directories}");
        if seen.unread > 0 {
            let _ = write!(status, "; {} with unread bytes", count(seen.unread as u64));
        }
        let Some(blocked) = seen.blocked_long() else {
            self.blocked_since.clear();
            return status;
        };
        if self.blocked_since.is_empty() {
            // The time, not the duration: it stays true without being sent again.
            let since = seen.now.wall.checked_sub(blocked).unwrap_or(seen.now.wall);
            self.blocked_since = humantime::format_rfc3339_seconds(since).to_string();
        }
        let _ = write!(status, "; output {} blocked since {}", self.output, self.blocked_since);
        status
    }

    /// Sends what is unsent, and `more`, which is dropped if it cannot be sent now. Returns whether
    /// the manager took it.
    fn send(&mut self, more: &str, now: Instant) -> bool {
        self.retry_at = None;
        if self.unsent.is_empty() && more.is_empty() {
            return true;
        }
        let message = format!("{}{more}", self.unsent);
        match self.socket.send_to_addr(message.trim_end().as_bytes(), &self.manager) {
            Ok(_) => {
                tracing::trace!(message = message.trim_end(), "notified the service manager");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.retry_at = Some(now + RETRY_AFTER);
                return false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::debug!(%error, "a message to the service manager failed");
                }
            }
        }
        self.unsent.clear();
        true
    }

    fn deadline(&self, seen: &Seen) -> Option<Instant> {
        let ping = self.watchdog.as_ref().and_then(|dog| Some(dog.pinged_at? + dog.every));
        // A blocked output is reported once, even if nothing else happens.
        // The manager is told to go on waiting, however long the output takes to answer.
        let extension = match self.phase {
            Phase::Starting { extended_at, .. } => {
                seen.question.as_ref().map(|_| extended_at + EXTEND_EVERY)
            }
            _ => None,
        };
        let is_unreported =
            !self.trouble.is_blocked && matches!(self.phase, Phase::Ready | Phase::Reloading);
        let blocked = seen.blocked.filter(|_| is_unreported);
        let word = blocked.map(|blocked| seen.now.instant + BLOCKED_LONG.saturating_sub(blocked));
        [ping, self.retry_at, word, extension].into_iter().flatten().min()
    }
}

/// How often to ping a manager that expects pings of `pid` within `timeout` microseconds.
fn watchdog_interval(timeout: &str, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    match timeout.parse() {
        Ok(usec) if usec > 0 => Some(Duration::from_micros(usec) / PINGS_PER_TIMEOUT),
        _ => {
            tracing::debug!(timeout, "WATCHDOG_USEC is not a time: no watchdog");
            None
        }
    }
}

#[cfg(test)]
mod tests;
