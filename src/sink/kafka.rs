//! `kafka:TOPIC`: records to Apache Kafka, each exactly once with a state directory, else at least
//! once.
//!
//! In: records with their file and offset; what the journal says about the last commit. Out:
//! records at the brokers; with transactions also the number of the commit, as the offset of a
//! group that has our identity.
//! Always holds: the client library has threads of its own, and its calls that block are made on
//! [`helper`]'s thread or the one that stores offsets. Whatever fails for good in between: the
//! client is given up, the next one fences it, the brokers say which commit holds, and what is not
//! part of it is sent again. No record is given up unless the settings say so.

mod client;
mod failure;
mod helper;
mod properties;
mod receiving;
mod running;
mod sending;
#[cfg(test)]
mod tests;
mod transactions;
mod trial;
mod window;

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;
use nix::sys::eventfd::{EfdFlags, EventFd};

use self::client::{Client, Group, Report};
use self::failure::Failure;
use self::helper::Helper;
use self::properties::Properties;
use self::transactions::Numbers;
pub(super) use self::trial::try_out;
use self::window::Window;
use super::backoff::Backoff;
use super::outage::Outage;
use super::settle::Mismatch;
use super::{Brokers, Poller, Receiver, Records, Sent, Sink, SinkError, SinkState, Wants};
use crate::config::{Header, OnRefused};

/// After a failure the next client comes soon ...
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// ... and when it fails again and again, not more often than this: all that was accepted is sent
/// each time.
const RETRY_LONGEST: Duration = Duration::from_secs(15);
/// No broker confirmed a record for so long: this is logged. A new leader is found in less, and a
/// transaction lasts longer.
const STALLED: Duration = Duration::from_secs(7);
/// The brokers do not accept us any more, and confirmed nothing for so long: the next client reads
/// the files with our secrets again.
const LOCKED_OUT: Duration = Duration::from_secs(5);
/// Brokers that hold answers back for this long have a quota that matters ...
const HELD_BACK: Duration = Duration::from_millis(100);
/// ... and that is logged not more often than this.
const HELD_BACK_QUIET: Duration = Duration::from_secs(300);
/// A record that was refused is offered to the brokers again after this long.
const REFUSED: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });

/// A client that is connected.
#[derive(Debug)]
struct Up {
    client: Arc<Client>,
    /// Most bytes of a batch.
    batch_bytes: u32,
    /// With transactions.
    group: Option<Arc<Group>>,
    /// A transaction was begun.
    is_begun: bool,
}

#[derive(Debug)]
enum Link {
    /// No client is wanted yet, or never again.
    Down,
    /// The helper makes one.
    Connecting,
    Up(Up),
}

/// How records are acknowledged.
#[derive(Debug)]
enum Mode {
    /// By the report about each.
    AtLeastOnce,
    /// By commits. `None`: the journal did not say yet what it knows.
    Transactions(Option<Numbers>),
}

/// What a record is made of, beside itself.
#[derive(Debug)]
struct Form {
    headers: Vec<Header>,
    host: String,
    on_refused: OnRefused,
}

/// The `kafka:TOPIC` output.
#[derive(Debug)]
pub(super) struct KafkaSink {
    form: Form,
    properties: Properties,
    link: Link,
    mode: Mode,
    window: Window,
    /// A client was lost, and with it what was accepted: the engine has to know.
    is_restart_due: bool,
    /// What failed, until the client can be given up.
    broken: Option<Failure>,
    /// It can do nothing any more.
    is_fatal: bool,
    /// The last failure was about records or a commit: a connection alone does not end it.
    is_suspect: bool,
    /// What the brokers have is none of ours.
    mismatch: Option<Mismatch>,
    /// How long records are added to those that are on their way.
    round: Duration,
    /// When nothing more is added to the records that are on their way.
    round_ends: Option<Instant>,
    /// The library has to be told then to send them.
    is_push_due: bool,
    /// It has records that it was not told to send.
    is_collecting: bool,
    /// Since when no report came although records are on their way.
    waiting_since: Option<Instant>,
    /// Since when the brokers do not accept us.
    locked_out_since: Option<Instant>,
    /// When a record that was refused is tried again.
    refused_until: Option<Instant>,
    /// When a record that was left out was last logged, and how many were since.
    left_out: LeftOut,
    /// A quota holds our requests back.
    quota: Quota,
    spare: Vec<Report>,
    outage: Outage,
    helper: Helper,
    wake: Arc<EventFd>,
    poller: Rc<Poller>,
}

/// Records that were left out.
#[derive(Debug, Default)]
struct LeftOut {
    count: u64,
    logged_at: Option<Instant>,
    suppressed: u64,
}

/// How brokers hold our requests back, and when that was last logged.
#[derive(Debug, Default)]
struct Quota {
    held_back: Duration,
    logged_at: Option<Instant>,
}

impl KafkaSink {
    /// Checks the settings. Without transactions it begins to connect; with them, when it hears
    /// what the journal knows.
    pub(super) fn open(
        name: String,
        brokers: &Brokers<'_>,
        poller: Rc<Poller>,
    ) -> Result<Self, SinkError> {
        let properties = Properties::new(brokers.kafka)
            .map_err(|why| SinkError::new(&name, "open", io::Error::other(why)))?;
        Self::with(properties, name, brokers, poller)
    }

    fn with(
        mut properties: Properties,
        name: String,
        brokers: &Brokers<'_>,
        poller: Rc<Poller>,
    ) -> Result<Self, SinkError> {
        let failed = |why: String| SinkError::new(&name, "open", io::Error::other(why));
        let routes = brokers.routes.ok_or_else(|| failed("it has no topic".to_owned()))?;
        let kafka = brokers.kafka;
        let is_transactional = brokers.is_kept && kafka.transactions;
        properties.aim(routes, is_transactional).map_err(failed)?;
        let start = || {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
            let mut source = SourceFd(&wake.as_raw_fd());
            poller.registry.register(&mut source, poller.token, Interest::READABLE)?;
            let helper = Helper::start(Arc::clone(&wake))?;
            Ok((wake, helper))
        };
        let (wake, helper) = start().map_err(|error: io::Error| failed(error.to_string()))?;
        let mode = if is_transactional { Mode::Transactions(None) } else { Mode::AtLeastOnce };
        let mut sink = KafkaSink {
            form: Form {
                headers: kafka.headers.clone(),
                host: routes.host.clone(),
                on_refused: kafka.on_refused,
            },
            round: properties.round(),
            properties,
            link: Link::Down,
            mode,
            window: Window::default(),
            is_restart_due: false,
            broken: None,
            is_fatal: false,
            is_suspect: false,
            mismatch: None,
            round_ends: None,
            is_push_due: false,
            is_collecting: false,
            waiting_since: None,
            locked_out_since: None,
            refused_until: None,
            left_out: LeftOut::default(),
            quota: Quota::default(),
            spare: Vec::new(),
            outage: Outage::new(name, Backoff::new(RETRY_FIRST, RETRY_LONGEST)),
            helper,
            wake,
            poller,
        };
        if !is_transactional {
            sink.connect(None);
        }
        Ok(sink)
    }

    /// The numbers of commits, with transactions.
    fn numbers(&mut self) -> Option<&mut Numbers> {
        match &mut self.mode {
            Mode::AtLeastOnce => None,
            Mode::Transactions(numbers) => numbers.as_mut(),
        }
    }

    /// A commit is under way, or has to be decided: until then nothing is sent, and the client is
    /// kept.
    fn is_committing(&self) -> bool {
        match &self.mode {
            Mode::Transactions(Some(numbers)) => numbers.is_open(),
            Mode::Transactions(None) | Mode::AtLeastOnce => false,
        }
    }

    /// The engine waits for an answer.
    fn is_asked(&self) -> bool {
        match &self.mode {
            Mode::Transactions(Some(numbers)) => numbers.is_asked(),
            Mode::Transactions(None) | Mode::AtLeastOnce => false,
        }
    }

    /// The brokers have a number that is none of ours: the run ends.
    fn check(&self) -> Result<(), SinkError> {
        match self.mismatch {
            Some(mismatch) => {
                let error = io::Error::other(mismatch);
                Err(SinkError::new(self.outage.output(), "commit", error))
            }
            None => Ok(()),
        }
    }
}

impl Sink for KafkaSink {
    fn send(&mut self, records: Records<'_>, now: Instant) -> Result<Sent, SinkError> {
        self.check()?;
        self.look_at_the_time(now);
        if !matches!(self.link, Link::Up(_)) || self.is_committing() || self.is_asked() {
            return Ok(Sent::Blocked);
        }
        if self.broken.is_some() || self.window.has_failed() {
            // The client is given up when the reports of all records are there.
            return Ok(Sent::Blocked);
        }
        if std::mem::take(&mut self.is_restart_due) {
            let is_lost = matches!(self.mode, Mode::Transactions(_));
            return Ok(Sent::Restarted { unacknowledged: self.window.restart(is_lost) });
        }
        if records.bytes.is_empty() {
            return Ok(Sent::Accepted(0));
        }
        if self.holds_back(records.bytes.len(), now) {
            return Ok(Sent::Blocked);
        }
        Ok(self.offer(records, now))
    }

    fn wants(&self) -> Wants {
        Wants::Origins
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        match self.mode {
            Mode::AtLeastOnce => None,
            Mode::Transactions(_) => Some(self),
        }
    }

    fn unacknowledged(&mut self) -> u64 {
        self.window.bytes()
    }

    fn ready(&mut self, now: Instant) {
        self.serve(now);
    }

    fn deadline(&self) -> Option<Instant> {
        if !matches!(self.link, Link::Up(_)) || self.is_committing() || self.is_asked() {
            return None;
        }
        let stalled = self.waiting_since.map(|since| since + STALLED);
        let locked_out = self.locked_out_since.map(|since| since + LOCKED_OUT);
        [stalled, locked_out, self.refused_until, self.push_at()].into_iter().flatten().min()
    }

    no_regular_file!();

    fn state(&self) -> SinkState {
        let state = self.outage.state();
        SinkState {
            is_connected: state.is_connected && matches!(self.link, Link::Up(_)),
            refused: self.left_out.count,
            in_flight: self.window.in_flight() as u64,
            remark: self.quota_in_words(),
            ..state
        }
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        if let Link::Up(up) = std::mem::replace(&mut self.link, Link::Down) {
            self.helper.retire(up.client);
        }
        // It may be gone with the loop.
        let _ = self.poller.registry.deregister(&mut SourceFd(&self.wake.as_raw_fd()));
    }
}
