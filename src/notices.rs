//! Which diagnostics may be said now: one cause cannot flood the log.
//!
//! In: a cause and the time. Out: whether to speak, and how many of its kind were kept back since.
//! Always holds: at most [`PER_PERIOD`] diagnostics per cause and [`PERIOD`].

use std::time::{Duration, Instant};

/// How long a period is.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);
/// How many diagnostics of one cause a period takes.
pub(crate) const PER_PERIOD: u32 = 10;

/// What a diagnostic is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause {
    PathMissing,
    NotRegular,
    Unreadable,
    Truncated,
    DeletedUnread,
    Overflow,
    WatchLimit,
    OwnOutput,
    Failed,
    BlindFileSystem,
    SkippedNuls,
}

const CAUSES: usize = Cause::SkippedNuls as usize + 1;

#[derive(Debug, Clone, Copy, Default)]
struct Spoken {
    since: Option<Instant>,
    said: u32,
    kept_back: u64,
}

/// What was said lately.
#[derive(Debug, Default)]
pub(crate) struct Notices([Spoken; CAUSES]);

impl Notices {
    /// `Some(n)`: speak, and mention that `n` of this kind were kept back since the last one. `None`: keep quiet.
    pub(crate) fn admit(&mut self, cause: Cause, now: Instant) -> Option<u64> {
        let spoken = &mut self.0[cause as usize];
        if spoken.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            spoken.since = Some(now);
            spoken.said = 0;
        }
        if spoken.said >= PER_PERIOD {
            spoken.kept_back += 1;
            return None;
        }
        spoken.said += 1;
        Some(std::mem::take(&mut spoken.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_other_causes_still_speak() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let mut notices = Notices::default();
        let said = (0..1000).filter(|_| notices.admit(Cause::Unreadable, start).is_some()).count();
        assert_eq!(said, PER_PERIOD as usize);
        assert_eq!(notices.admit(Cause::Truncated, start), Some(0));
        assert_eq!(notices.admit(Cause::Unreadable, start + PERIOD), Some(1000 - u64::from(PER_PERIOD)));
    }
}
