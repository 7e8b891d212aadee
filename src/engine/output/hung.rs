//! An output that is there and takes nothing: said when that has lasted for a while, again with
//! growing pauses, and when it is over.
//!
//! In: how long records have been waiting. Out: a word in the log. What fails with an error is the
//! sink's to say.

use std::time::{Duration, Instant};

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::sink::Sink;
use crate::sys::FileSystem;

/// Said first after this long, and then after so many times as long, up to the longest.
const FIRST: Duration = Duration::from_secs(10);
const TIMES: u32 = 6;
const LONGEST: Duration = Duration::from_secs(3600);

/// What was said of it.
#[derive(Debug)]
pub(in crate::engine) struct Hung {
    /// How long it has to last before it is said next.
    next: Duration,
    is_said: bool,
}

impl Default for Hung {
    fn default() -> Self {
        Hung { next: FIRST, is_said: false }
    }
}

impl Hung {
    /// It lasts for so long: whether to say so.
    fn lasts(&mut self, lasts: Duration) -> bool {
        let is_due = lasts >= self.next;
        if is_due {
            self.next += (self.next * (TIMES - 1)).min(LONGEST);
            self.is_said = true;
        }
        is_due
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Says what is to be said of an output that takes nothing.
    pub(in crate::engine) fn watch_blocked_output(&mut self, now: Instant) {
        let Some(lasts) = self.outbox.blocked(now) else {
            if std::mem::take(&mut self.observer.hung).is_said {
                tracing::info!("the output takes records again");
            }
            return;
        };
        let fails =
            self.outbox.sink().state().failure.is_some() || self.output_file.failure().is_some();
        if !fails && self.observer.hung.lasts(lasts) {
            let lasts = humantime::format_duration(Duration::from_secs(lasts.as_secs()));
            notice!(warn: self.observer.notices, Cause::OutputHung, now, lasts = lasts.to_string(),
                "the output takes nothing: records wait for it");
        }
    }

    /// When there is something to say though nothing happens.
    pub(in crate::engine) fn hung_deadline(&self, now: Instant) -> Option<Instant> {
        let lasts = self.outbox.blocked(now)?;
        Some(now + self.observer.hung.next.saturating_sub(lasts).max(Duration::from_secs(1)))
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
