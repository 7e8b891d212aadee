//! `SCHED_BATCH` while it costs nothing: when a writer wakes the loop, the writer finishes first,
//! and the loop reads everything it wrote in one turn.
//!
//! In: the end of each turn. Out: the scheduling policy of the loop's thread.
//! Always holds: where other processes keep the processors busy and the loop has to wait for their
//! time slices, the policy is `SCHED_OTHER`, except for an occasional trial of [`LOOK_EVERY`];
//! where the policy may not be changed, it stays as it is.

use std::time::{Duration, Instant};

use crate::sys::scheduling::{Policy, Schedstat, Waits, set_policy};

/// How often the cost is checked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A longer average wait for a processor costs more than it saves. A writer's burst takes less
/// time; a computing program keeps a processor for milliseconds.
const WAIT_MAX: Duration = Duration::from_micros(500);

/// If the thread ran fewer times than this between two checks, the average means nothing: one long
/// wait is not load.
const RUNS_MIN: u64 = 8;

/// How long the policy is `SCHED_OTHER` before the next trial: doubled with each trial that fails.
/// The first and the longest time.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// See the module.
#[derive(Debug)]
pub(super) struct Yielding {
    schedstat: Schedstat,
    trial: Trial,
}

impl Yielding {
    /// The calling thread yields from now on. `None`: it may not, or its cost cannot be measured;
    /// the reason is logged.
    pub(super) fn begin(now: Instant) -> Option<Self> {
        let schedstat = Schedstat::open()
            .and_then(|schedstat| schedstat.read().map(|waits| (schedstat, waits)));
        match schedstat.and_then(|known| set_policy(Policy::Batch).map(|()| known)) {
            Ok((schedstat, waits)) => Some(Yielding { schedstat, trial: Trial::new(waits, now) }),
            Err(error) => {
                tracing::debug!(%error, "the scheduling policy stays as it is");
                None
            }
        }
    }

    /// A turn ended.
    #[inline]
    pub(super) fn turned(&mut self, now: Instant) {
        if now >= self.trial.look_at {
            self.look(now);
        }
    }

    #[cold]
    fn look(&mut self, now: Instant) {
        let waits = self.schedstat.read().unwrap_or_else(|error| {
            tracing::debug!(%error, "the scheduler's counts cannot be read now");
            self.trial.seen
        });
        if let Some(policy) = self.trial.look(waits, now)
            && let Err(error) = set_policy(policy)
        {
            // It could be changed before, so the next check tries again.
            tracing::debug!(%error, ?policy, "the scheduling policy could not be changed");
        }
    }

    /// Restores the previous policy.
    pub(super) fn end(self) {
        if let Err(error) = set_policy(Policy::Other) {
            tracing::debug!(%error, "the scheduling policy could not be put back");
        }
    }
}

/// Whether to yield.
#[derive(Debug)]
struct Trial {
    is_batch: bool,
    /// The counts at the last check.
    seen: Waits,
    look_at: Instant,
    patience: Duration,
}

impl Trial {
    /// A trial begins with yielding.
    fn new(seen: Waits, now: Instant) -> Self {
        Trial { is_batch: true, seen, look_at: now + LOOK_EVERY, patience: PATIENCE.0 }
    }

    /// Judges the cost since the last check. Returns the new policy, if it changes.
    fn look(&mut self, waits: Waits, now: Instant) -> Option<Policy> {
        let runs = waits.runs.saturating_sub(self.seen.runs);
        let waited = waits.waited.saturating_sub(self.seen.waited);
        self.seen = waits;
        self.look_at = now + LOOK_EVERY;
        if !self.is_batch {
            self.is_batch = true;
            return Some(Policy::Batch);
        }
        if runs < RUNS_MIN {
            return None;
        }
        if waited.as_nanos() / u128::from(runs) <= WAIT_MAX.as_nanos() {
            self.patience = PATIENCE.0;
            return None;
        }
        self.is_batch = false;
        self.look_at = now + self.patience;
        self.patience = (self.patience * 2).min(PATIENCE.1);
        Some(Policy::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    struct Life {
        trial: Trial,
        now: Instant,
        waits: Waits,
    }

    impl Life {
        fn new() -> Life {
            let now = clock::now().instant;
            Life { trial: Trial::new(Waits::default(), now), now, waits: Waits::default() }
        }

        /// Until the next check, each of `runs` runs waits for `micros`.
        fn look(&mut self, micros: u64, runs: u64) -> (Option<Policy>, Duration) {
            let begun = self.now;
            self.now = self.trial.look_at;
            self.waits.waited += Duration::from_micros(micros * runs);
            self.waits.runs += runs;
            (self.trial.look(self.waits, self.now), self.now - begun)
        }
    }

    #[test]
    fn it_yields_for_as_long_as_that_costs_little() {
        let mut life = Life::new();
        assert!((0..100).all(|_| life.look(490, 100) == (None, LOOK_EVERY)));
        assert_eq!(life.look(510, 100), (Some(Policy::Other), LOOK_EVERY));
    }

    #[test]
    fn trials_that_fail_come_after_one_two_four_and_at_last_sixteen_seconds() {
        let mut life = Life::new();
        life.look(5_000, 100);
        for seconds in [1, 2, 4, 8, 16, 16, 16] {
            // Waits between two trials do not count for the next trial.
            assert_eq!(life.look(5_000, 100), (Some(Policy::Batch), Duration::from_secs(seconds)));
            assert_eq!(life.look(5_000, 100), (Some(Policy::Other), LOOK_EVERY));
        }
        life.look(0, 100);
        assert_eq!(life.look(10, 100), (None, LOOK_EVERY), "the trial went well");
        assert_eq!(life.look(5_000, 100).0, Some(Policy::Other));
        assert_eq!(
            life.look(0, 100),
            (Some(Policy::Batch), Duration::from_secs(1)),
            "patience begins anew"
        );
    }

    #[test]
    fn a_few_long_waits_are_no_load() {
        let mut life = Life::new();
        assert!((0..10).all(|_| life.look(9_000, RUNS_MIN - 1) == (None, LOOK_EVERY)));
        assert_eq!(life.look(9_000, RUNS_MIN).0, Some(Policy::Other));
    }
}
