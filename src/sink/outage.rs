//! The times when an output takes nothing: when to try again, and one word about it at the start and at the end.

use std::fmt::Display;
use std::time::{Duration, Instant};

use super::SinkState;
use super::backoff::Backoff;
use crate::notices::Told;

/// Least time between two warnings: a peer that comes and goes many times a second is one cause, not many.
const QUIET: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Records flow, as far as is known.
    Fine,
    /// They do not, and a warning said so.
    Said,
    /// They do not, but the last warning is too young for another.
    Unsaid,
}

/// One output's trouble.
#[derive(Debug)]
pub(super) struct Outage {
    output: String,
    state: State,
    said_at: Option<Instant>,
    told: Told,
    /// Failures that were not said since the last one that was.
    kept_back: u64,
    /// What failed last, and why.
    failure: String,
    /// Attempts that failed.
    errors: u64,
    /// Receivers that were found so far.
    receivers: u64,
    /// When to try again.
    pub(super) backoff: Backoff,
}

impl Outage {
    /// No trouble yet. `output` as given on the command line.
    pub(super) fn new(output: String, backoff: Backoff) -> Self {
        Outage {
            output,
            state: State::Fine,
            said_at: None,
            told: Told::default(),
            kept_back: 0,
            failure: String::new(),
            errors: 0,
            receivers: 0,
            backoff,
        }
    }

    /// The output as given on the command line.
    pub(super) fn output(&self) -> &str {
        &self.output
    }

    /// An attempt failed: waits, and says so unless that was said.
    pub(super) fn failed(&mut self, now: Instant, what: &'static str, why: &dyn Display) {
        self.backoff.wait(now);
        self.errors += 1;
        self.failure = format!("{what}: {why}");
        if self.state == State::Fine {
            self.state = State::Unsaid;
        }
        if self.state == State::Unsaid && self.said_at.is_none_or(|at| now.duration_since(at) >= QUIET) {
            self.told.said += 1;
            let kept_back = std::mem::take(&mut self.kept_back);
            tracing::warn!(output = %self.output, reason = %why, kept_back, "{what}; records wait, and it is tried again");
            self.state = State::Said;
            self.said_at = Some(now);
        } else {
            self.told.suppressed += 1;
            self.kept_back += 1;
            tracing::debug!(output = %self.output, reason = %why, "{what}");
        }
    }

    /// A receiver is there: a peer, or a FIFO's reader.
    pub(super) fn found(&mut self) {
        self.receivers += 1;
        self.ended();
    }

    /// How the output is, if nothing but its own trouble counts.
    pub(super) fn state(&self) -> SinkState {
        SinkState {
            is_connected: self.state == State::Fine,
            failure: Some(&self.failure).filter(|_| self.state != State::Fine).cloned(),
            errors: self.errors,
            reconnects: self.receivers.saturating_sub(1),
            told: self.told,
        }
    }

    /// Records flow again. The back-off is the caller's to reset.
    pub(super) fn ended(&mut self) {
        match std::mem::replace(&mut self.state, State::Fine) {
            State::Fine => {}
            State::Said => tracing::info!(output = %self.output, "the output goes on"),
            State::Unsaid => tracing::debug!(output = %self.output, "the output goes on"),
        }
    }

    /// Whether a warning stands, for tests.
    #[cfg(test)]
    fn is_said(&self) -> bool {
        self.state == State::Said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_once_and_flapping_at_most_once_per_period() {
        let start = crate::sys::clock::now().instant;
        let wait = Duration::from_millis(50);
        let mut outage = Outage::new("tcp:x:1".to_owned(), Backoff::new(wait, wait));
        outage.failed(start, "cannot connect", &"refused");
        assert!(outage.is_said());
        assert_eq!(outage.state().failure.as_deref(), Some("cannot connect: refused"));
        outage.ended();
        assert_eq!(outage.state().failure, None);
        outage.failed(start + QUIET / 2, "cannot connect", &"refused");
        assert!(!outage.is_said(), "a second warning within the period");
        outage.failed(start + QUIET, "cannot connect", &"refused");
        assert!(outage.is_said(), "an outage that lasts is said in the end");
        assert_eq!(outage.state().told, Told { said: 2, suppressed: 1 });
    }
}
