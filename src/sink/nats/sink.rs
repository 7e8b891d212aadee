//! The loop's side of the output.
//!
//! In: records, and what the thread says of them. Out: how many were accepted, and how many of
//! those are in the stream.
//! Always holds: nothing is accepted before the stream said what it has beyond the last commit.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;

use super::connection::Servers;
use super::link::{Event, Link, Start};
use super::positions::Positions;
use super::protocol::printable_identity;
use super::publisher::{self, Settings};
use crate::config::{Routes, subject_filter};
use crate::sink::backoff::Backoff;
use crate::sink::outage::Outage;
use crate::sink::{
    Brokers, IsStored, Known, Poller, Receiver, Records, Sent, Settle, Sink, SinkError, SinkState,
    Verdict, Wants,
};

/// The thread's stack: the client library polls deep futures on it.
const STACK_BYTES: usize = 1024 * 1024;

/// Least time between two log lines about records that were left out.
const QUIET: Duration = Duration::from_secs(30);

/// The `nats:SUBJECT` output.
#[derive(Debug)]
pub(in crate::sink) struct NatsSink {
    link: Arc<Link>,
    poller: Rc<Poller>,
    is_kept: bool,
    /// Records may be offered.
    is_begun: bool,
    verdict: Option<Verdict>,
    /// Bytes accepted, and bytes that are in the stream.
    accepted: u64,
    stored: u64,
    positions: Positions,
    outage: Outage,
    is_up: bool,
    /// Connections that were made.
    connections: u64,
    /// Batches that the stream stored.
    batches: u64,
    /// Records that were left out; how many of them since the last log line, and when that was.
    refused: u64,
    refused_since: u64,
    refused_at: Option<Instant>,
    has_thread_ended: bool,
}

impl NatsSink {
    /// Checks the settings and starts the thread, which connects.
    pub(in crate::sink) fn open(
        name: String,
        brokers: &Brokers<'_>,
        poller: Rc<Poller>,
    ) -> Result<Self, SinkError> {
        let error = |why: String| SinkError::new(&name, "open", io::Error::other(why));
        let Some(Routes { destination, host, .. }) = brokers.routes else {
            return Err(error("there is no subject for records".to_owned()));
        };
        let filter = subject_filter(destination, host.as_bytes());
        let servers = Servers::new(brokers.nats).map_err(error)?;
        let nats = brokers.nats.clone();
        let settings = Settings { nats, servers, filter, format: brokers.format };
        let link = Arc::new(Link::new().map_err(|why| SinkError::new(&name, "open", why))?);
        poller
            .registry
            .register(&mut SourceFd(&link.descriptor()), poller.token, Interest::READABLE)
            .map_err(|why| SinkError::new(&name, "open", why))?;
        let shared = Arc::clone(&link);
        thread::Builder::new()
            .name("nats".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || publisher::run(&shared, &settings))
            .map_err(|why| SinkError::new(&name, "start a thread for", why))?;
        let is_kept = brokers.is_kept;
        if !is_kept {
            let identity = printable_identity(format!("manytail-{host}").as_bytes());
            link.start(Start { identity, is_kept, sequence: None });
        }
        // The thread decides when to try again.
        let outage = Outage::new(name, Backoff::new(Duration::ZERO, Duration::ZERO));
        Ok(NatsSink {
            link,
            poller,
            is_kept,
            is_begun: !is_kept,
            verdict: None,
            accepted: 0,
            stored: 0,
            positions: Positions::default(),
            outage,
            is_up: false,
            connections: 0,
            batches: 0,
            refused: 0,
            refused_since: 0,
            refused_at: None,
            has_thread_ended: false,
        })
    }

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Up => {
                self.is_up = true;
                self.connections += 1;
            }
            Event::Well => self.outage.ended(),
            Event::Failed { is_lost, failure } => {
                self.is_up &= !is_lost;
                self.outage.failed(now, failure.what, io::Error::other(failure.why));
            }
            Event::Found { verdict, end } => {
                self.verdict = Some(verdict);
                self.positions.stored(0, end);
            }
            Event::Stored { bytes, end } => {
                self.batches += 1;
                self.stored += bytes;
                assert!(self.stored <= self.accepted, "only accepted records are stored");
                if self.is_kept {
                    self.positions.stored(self.stored, end);
                }
            }
            Event::Refused { path, offset, why } => self.refused(&path, offset, &why, now),
            Event::Remark(text) => tracing::warn!(output = %self.outage.output(), "{text}"),
        }
    }

    /// A record was left out.
    fn refused(&mut self, path: &[u8], offset: u64, why: &str, now: Instant) {
        self.refused += 1;
        if self.refused_at.is_some_and(|at| now.saturating_duration_since(at) < QUIET) {
            self.refused_since += 1;
            return;
        }
        let others = Some(std::mem::take(&mut self.refused_since)).filter(|&others| others > 0);
        let path = String::from_utf8_lossy(path);
        tracing::error!(output = %self.outage.output(), %path, offset, reason = why, others,
            "a record was left out that the server does not take (on_refused = \"skip\")");
        self.refused_at = Some(now);
    }
}

impl Sink for NatsSink {
    fn send(&mut self, records: Records<'_>, _now: Instant) -> Result<Sent, SinkError> {
        if self.has_thread_ended {
            let why = io::Error::other("its thread has ended");
            return Err(SinkError::new(self.outage.output(), "write", why));
        }
        if records.bytes.is_empty() {
            return Ok(Sent::Accepted(0));
        }
        if !self.is_begun {
            return Ok(Sent::Blocked);
        }
        Ok(match self.link.accept(&records) {
            0 => Sent::Blocked,
            taken => {
                self.accepted += taken as u64;
                Sent::Accepted(taken)
            }
        })
    }

    fn wants(&self) -> Wants {
        Wants::Origins
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        if self.is_kept { Some(self) } else { None }
    }

    fn unacknowledged(&mut self) -> u64 {
        self.accepted - self.stored
    }

    fn ready(&mut self, now: Instant) {
        for event in self.link.events() {
            self.take(event, now);
        }
        self.has_thread_ended = self.link.has_thread_ended();
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    no_regular_file!();

    fn state(&self) -> SinkState {
        let state = self.outage.state();
        SinkState {
            is_connected: self.is_up && state.is_connected,
            reconnects: self.connections.saturating_sub(1),
            refused: self.refused,
            in_flight: self.link.in_flight(),
            batches: self.batches,
            ..state
        }
    }
}

impl Receiver for NatsSink {
    fn begin(&mut self, known: &Known) {
        let identity = printable_identity(&known.identity);
        self.link.start(Start { identity, is_kept: true, sequence: known.sequence });
    }

    fn verdict(&mut self) -> Result<Option<Verdict>, SinkError> {
        let verdict = self.verdict.take();
        self.is_begun |= verdict.is_some();
        Ok(verdict)
    }

    fn has_transactions(&self) -> bool {
        false
    }

    fn settle(&mut self) -> Settle {
        Settle::Acknowledged
    }

    fn settled(&mut self, _is_stored: IsStored) {}

    fn sequence(&mut self, beyond: u64) -> Option<u64> {
        self.positions.sequence(self.accepted.saturating_sub(beyond))
    }
}

impl Drop for NatsSink {
    fn drop(&mut self) {
        self.link.close();
        // The thread may keep the descriptor open for a moment.
        let _ = self.poller.registry.deregister(&mut SourceFd(&self.link.descriptor()));
    }
}
