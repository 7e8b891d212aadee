//! When to try again.
//!
//! In: failures and successes. Out: whether it is too early to try.
//! Always holds: the wait doubles with every failure, up to the longest.

use std::time::{Duration, Instant};

/// An exponential back-off. Without jitter, because a process has only one output.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    until: Option<Instant>,
}

/// A full disk, or a FIFO without a reader, is tried again after this long ...
const ROOM_FIRST: Duration = Duration::from_millis(100);
/// ... and then at least this often: someone who makes room, or starts the reader, should see
/// records at once.
const ROOM_LONGEST: Duration = Duration::from_secs(1);

impl Backoff {
    /// For a file, a device or a pipe that has no room.
    pub(super) fn for_room() -> Self {
        Backoff::new(ROOM_FIRST, ROOM_LONGEST)
    }

    /// Waits `first` after the first failure, at most `longest` after later ones.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, longest, next: first, until: None }
    }

    /// Something failed: starts a wait, and doubles the next one.
    pub(super) fn wait(&mut self, now: Instant) {
        self.until = Some(now + self.next);
        self.next = (self.next * 2).min(self.longest);
    }

    /// Whether it is too early to try. When it no longer is, the deadline is cleared, because the
    /// caller tries now.
    pub(super) fn is_waiting(&mut self, now: Instant) -> bool {
        if self.until.is_some_and(|until| now >= until) {
            self.until = None;
        }
        self.until.is_some()
    }

    /// When to try again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// It works again: the next failure starts with the shortest wait.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_reset() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_millis(150));
        let mut now = crate::sys::clock::now().instant;
        let mut backoff = Backoff::new(first, longest);
        assert!(!backoff.is_waiting(now));
        for wait in [50, 100, 150, 150] {
            backoff.wait(now);
            assert_eq!(backoff.deadline(), Some(now + Duration::from_millis(wait)));
            now += Duration::from_millis(wait - 1);
            assert!(backoff.is_waiting(now));
            now += Duration::from_millis(1);
            assert!(!backoff.is_waiting(now));
            assert_eq!(backoff.deadline(), None, "a deadline that has come does not come again");
        }
        backoff.reset();
        backoff.wait(now);
        assert_eq!(backoff.deadline(), Some(now + first));
    }
}
