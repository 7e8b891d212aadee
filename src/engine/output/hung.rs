//! An output that is there and takes nothing: this is logged when it has lasted for a while, again
//! with growing pauses, and when it is over.
//!
//! In: how long records have been waiting. Out: log lines.
//! Always holds: an output that fails with an error is left to the sink, which logs the failure.

use std::time::{Duration, Instant};

use crate::diagnostics::notices::{Cause, Notices, notice};
use crate::engine::output::outbox::Outbox;
use crate::engine::output::output_file::OutputFile;
use crate::sink::Sink;

/// The first log line comes after this long. The pauses grow by this factor, up to the longest.
const FIRST: Duration = Duration::from_secs(10);
const TIMES: u32 = 6;
const LONGEST: Duration = Duration::from_secs(3600);

/// What was logged about it.
#[derive(Debug)]
pub(in crate::engine) struct Hung {
    /// How long it has to last before the next line.
    next: Duration,
    is_reported: bool,
}

impl Default for Hung {
    fn default() -> Self {
        Hung { next: FIRST, is_reported: false }
    }
}

impl Hung {
    /// Whether to log that it has lasted for so long.
    fn lasts(&mut self, lasts: Duration) -> bool {
        let is_due = lasts >= self.next;
        if is_due {
            self.next += (self.next * (TIMES - 1)).min(LONGEST);
            self.is_reported = true;
        }
        is_due
    }

    /// Logs what there is to log about an output that takes nothing. The sink logs failures.
    pub(in crate::engine) fn watch<S: Sink>(
        &mut self,
        outbox: &Outbox<S>,
        output_file: &OutputFile,
        notices: &mut Notices,
        now: Instant,
    ) {
        let Some(lasts) = outbox.blocked(now) else {
            if std::mem::take(self).is_reported {
                tracing::info!("the output takes records again");
            }
            return;
        };
        let is_failing = outbox.sink().state().failure.is_some() || output_file.failure().is_some();
        if !is_failing && self.lasts(lasts) {
            let lasts = humantime::format_duration(Duration::from_secs(lasts.as_secs()));
            notice!(warn: notices, Cause::OutputHung, now, lasts = lasts.to_string(),
                "the output takes nothing: records wait for it");
        }
    }

    /// When there is something to log though nothing happens.
    pub(in crate::engine) fn deadline<S: Sink>(
        &self,
        outbox: &Outbox<S>,
        now: Instant,
    ) -> Option<Instant> {
        let lasts = outbox.blocked(now)?;
        Some(now + self.next.saturating_sub(lasts).max(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow() {
        let mut hung = Hung::default();
        let said: Vec<u64> =
            (0..3 * 3600).filter(|&second| hung.lasts(Duration::from_secs(second))).collect();
        assert_eq!(said, [10, 60, 360, 2160, 5760, 9360]);
    }
}
