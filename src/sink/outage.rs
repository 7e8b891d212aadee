//! The times when an output accepts nothing.
//!
//! In: failed and successful attempts. Out: when to try again, and log lines at the start, now and
//! then, and at the end.
//! Always holds: the time between two warnings about one reason is at least [`QUIET`]; within it at
//! most [`REASONS_MAX`] reasons are logged.

use std::io;
use std::time::{Duration, Instant};

use super::SinkState;
use super::backoff::Backoff;
use crate::diagnostics::notices::NoticeCounts;

/// Least time between two warnings: a peer that comes and goes many times a second has one cause,
/// not many.
const QUIET: Duration = Duration::from_secs(30);

/// When one thing is mended, the next one that is wrong is worth a line at once; so many are,
/// before it is quiet.
const REASONS_MAX: usize = 12;

/// A lasting outage is logged again after this long, and then after so many times as long, up to
/// the longest.
const AGAIN_FIRST: Duration = Duration::from_secs(60);
const AGAIN_TIMES: u32 = 5;
const AGAIN_LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug, PartialEq, Eq)]
enum OutageState {
    /// Records flow, as far as we know.
    Fine,
    /// They do not, and a warning was logged.
    Logged,
    /// They do not, but the last warning is too recent for another.
    Unlogged,
}

/// One output's trouble.
#[derive(Debug)]
pub(super) struct Outage {
    output: String,
    state: OutageState,
    logged_at: Option<Instant>,
    /// When the outage began, and how long after the last warning it is logged again.
    began: Option<Instant>,
    again_after: Duration,
    /// What was logged since it was quiet.
    reasons: Vec<String>,
    notices: NoticeCounts,
    /// Failures that were not logged since the last warning.
    suppressed: u64,
    /// The last failure and its reason.
    failure: String,
    /// Attempts that failed.
    errors: u64,
    /// Receivers that were found so far.
    receivers: u64,
    /// When to try again.
    pub(super) backoff: Backoff,
}

impl Outage {
    /// No outage yet. `output` is the name as given on the command line.
    pub(super) fn new(output: String, backoff: Backoff) -> Self {
        Outage {
            output,
            state: OutageState::Fine,
            logged_at: None,
            began: None,
            again_after: AGAIN_FIRST,
            reasons: Vec::new(),
            notices: NoticeCounts::default(),
            suppressed: 0,
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

    /// An attempt failed: starts a wait, and logs a warning unless there was one a short time ago.
    pub(super) fn failed(&mut self, now: Instant, what: &'static str, why: impl Into<io::Error>) {
        let why = why.into();
        self.backoff.wait(now);
        self.errors += 1;
        self.failure = format!("{what}: {why}");
        if self.state == OutageState::Fine {
            self.state = OutageState::Unlogged;
            self.began = Some(now);
            self.again_after = AGAIN_FIRST;
        }
        let quiet_for = if self.state == OutageState::Logged { self.again_after } else { QUIET };
        let is_due = self.logged_at.is_none_or(|at| now.duration_since(at) >= quiet_for);
        if is_due {
            self.reasons.clear();
        }
        // The kernel has several numbers for one lost connection; brokers have sentences.
        let is_sentence = why.raw_os_error().is_none();
        if is_due || (is_sentence && self.is_news()) {
            self.reasons.push(self.failure.clone());
            self.notices.said += 1;
            let suppressed =
                Some(std::mem::take(&mut self.suppressed)).filter(|&suppressed| suppressed > 0);
            let lasts = (self.state == OutageState::Logged).then(|| self.lasts(now));
            let output = &self.output;
            tracing::warn!(%output, reason = %why, lasts, suppressed, "{what}; records wait; tried \
                again");
            if self.state == OutageState::Logged && is_due {
                self.again_after = (self.again_after * AGAIN_TIMES).min(AGAIN_LONGEST);
            }
            self.state = OutageState::Logged;
            self.logged_at = Some(now);
        } else {
            self.notices.suppressed += 1;
            self.suppressed += 1;
            tracing::debug!(output = %self.output, reason = %why, "{what}");
        }
    }

    /// Whether the failure has another reason than those that were logged. Numbers in it may
    /// differ: they are those of an attempt.
    fn is_news(&self) -> bool {
        let without_numbers = |text: &str| text.replace(|char: char| char.is_ascii_digit(), "");
        let failure = without_numbers(&self.failure);
        self.reasons.len() < REASONS_MAX
            && !self.reasons.iter().any(|known| without_numbers(known) == failure)
    }

    /// How long the outage has lasted, in words.
    fn lasts(&self, now: Instant) -> String {
        let lasts = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        humantime::format_duration(Duration::from_secs(lasts.as_secs())).to_string()
    }

    /// A receiver was found: a peer, or a FIFO's reader.
    pub(super) fn found(&mut self) {
        self.receivers += 1;
        self.ended();
    }

    /// Nothing is wrong any more.
    pub(super) fn is_over(&self) -> bool {
        self.state == OutageState::Fine
    }

    /// The state of the output, as far as outages decide it.
    pub(super) fn state(&self) -> SinkState {
        SinkState {
            is_connected: self.is_over(),
            failure: Some(&self.failure).filter(|_| self.state != OutageState::Fine).cloned(),
            errors: self.errors,
            reconnects: self.receivers.saturating_sub(1),
            truncations: 0,
            refused: 0,
            in_flight: 0,
            batches: 0,
            remark: None,
            notices: self.notices,
        }
    }

    /// Records flow again. The caller resets the back-off.
    pub(super) fn ended(&mut self) {
        match std::mem::replace(&mut self.state, OutageState::Fine) {
            OutageState::Fine => {}
            OutageState::Logged => tracing::info!(output = %self.output, "the output works again"),
            OutageState::Unlogged => {
                tracing::debug!(output = %self.output, "the output works again")
            }
        }
    }

    /// Whether the present outage was logged, for tests.
    #[cfg(test)]
    fn is_logged(&self) -> bool {
        self.state == OutageState::Logged
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn an_outage_is_logged_once_and_flapping_at_most_once_per_period() {
        let start = crate::sys::clock::now().instant;
        let wait = Duration::from_millis(50);
        let mut outage = Outage::new("tcp:x:1".to_owned(), Backoff::new(wait, wait));
        outage.failed(start, "cannot connect", io::Error::other("refused"));
        assert!(outage.is_logged());
        assert_eq!(outage.state().failure.as_deref(), Some("cannot connect: refused"));
        outage.ended();
        assert_eq!(outage.state().failure, None);
        outage.failed(start + QUIET / 2, "cannot connect", io::Error::other("refused"));
        assert!(!outage.is_logged(), "a second warning within the period");
        outage.failed(start + QUIET, "cannot connect", io::Error::other("refused"));
        assert!(outage.is_logged(), "an outage that lasts is said in the end");
        assert_eq!(outage.state().notices, NoticeCounts { said: 2, suppressed: 1 });
    }

    #[test]
    fn another_reason_is_logged_at_once_but_not_one_after_the_other_for_ever() {
        let start = crate::sys::clock::now().instant;
        let mut outage =
            Outage::new("kafka:jobs".to_owned(), Backoff::new(Duration::ZERO, Duration::ZERO));
        let mut failed =
            |why: &str| outage.failed(start, "cannot deliver", io::Error::other(why.to_owned()));
        failed("no password");
        failed("no topic (attempt 1)");
        failed("no topic (attempt 2)");
        failed("no password");
        for letter in "abcdefghijklmnop".chars() {
            failed(&letter.to_string());
        }
        let said = REASONS_MAX as u64;
        assert_eq!(outage.state().notices, NoticeCounts { said, suppressed: 20 - said });
    }

    #[test]
    fn the_numbers_that_the_kernel_has_for_a_lost_connection_are_one_reason() {
        let start = crate::sys::clock::now().instant;
        let mut outage =
            Outage::new("tcp:[::1]:1".to_owned(), Backoff::new(Duration::ZERO, Duration::ZERO));
        for errno in [Errno::ECONNRESET, Errno::EPIPE, Errno::ECONNREFUSED] {
            outage.failed(start, "lost the connection", errno);
        }
        assert_eq!(outage.state().notices, NoticeCounts { said: 1, suppressed: 2 });
    }

    #[test]
    fn an_outage_that_lasts_is_logged_again_with_growing_pauses() {
        let start = crate::sys::clock::now().instant;
        let wait = Duration::from_millis(50);
        let mut outage = Outage::new("tcp:x:1".to_owned(), Backoff::new(wait, wait));
        let mut said = Vec::new();
        for second in 0..4 * 3600 {
            let before = outage.state().notices.said;
            outage.failed(
                start + Duration::from_secs(second),
                "cannot connect",
                io::Error::other("refused"),
            );
            if outage.state().notices.said > before {
                said.push(second);
            }
        }
        let pauses: Vec<u64> = said.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [60, 300, 1500, 3600, 3600, 3600]);
        outage.ended();
        outage.failed(
            start + Duration::from_secs(5 * 3600),
            "cannot connect",
            io::Error::other("refused"),
        );
        outage.failed(
            start + Duration::from_secs(5 * 3600 + 61),
            "cannot connect",
            io::Error::other("refused"),
        );
        assert_eq!(outage.state().notices.said, said.len() as u64 + 2, "the next one begins anew");
    }
}
