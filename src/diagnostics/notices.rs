//! Limits on diagnostics: neither a cause nor a file can flood the log.
//!
//! In: a cause, the file it is about, the time. Out: whether to log, and how many of its kind were
//! suppressed meanwhile.
//! Always holds: within any `PERIOD`, at most `PER_PERIOD` diagnostics per cause are logged, and
//! one per cause and file. All are counted. The memory is fixed.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

/// How long a period is.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);
/// How many diagnostics of one cause are logged in a period.
pub(crate) const PER_PERIOD: usize = 10;

/// What a diagnostic is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    PathMissing,
    PathAppeared,
    PathLeftOut,
    PathRemoved,
    NotRegular,
    Unreadable,
    ReadableAgain,
    Truncated,
    DeletedUnread,
    MovedUnread,
    Vanished,
    Overflow,
    WatchLimit,
    OwnOutput,
    Failed,
    BlindFileSystem,
    Offsets,
    OffsetsAgain,
    Reopen,
    OutputDeleted,
    OutputMoved,
    OutputHung,
    OutputCommit,
    IgnoredOlder,
    StateDirectory,
    Binary,
    WrittenBefore,
    LinkRefused,
    UserMount,
}

impl Cause {
    /// Every cause with its name, in the order of the variants.
    const NAMES: [(Cause, &'static str); 29] = [
        (Cause::PathMissing, "path_missing"),
        (Cause::PathAppeared, "path_appeared"),
        (Cause::PathLeftOut, "path_left_out"),
        (Cause::PathRemoved, "path_removed"),
        (Cause::NotRegular, "not_regular"),
        (Cause::Unreadable, "unreadable"),
        (Cause::ReadableAgain, "readable_again"),
        (Cause::Truncated, "truncated"),
        (Cause::DeletedUnread, "deleted_unread"),
        (Cause::MovedUnread, "moved_unread"),
        (Cause::Vanished, "vanished"),
        (Cause::Overflow, "overflow"),
        (Cause::WatchLimit, "watch_limit"),
        (Cause::OwnOutput, "own_output"),
        (Cause::Failed, "failed"),
        (Cause::BlindFileSystem, "blind_file_system"),
        (Cause::Offsets, "offsets"),
        (Cause::OffsetsAgain, "offsets_again"),
        (Cause::Reopen, "reopen"),
        (Cause::OutputDeleted, "output_deleted"),
        (Cause::OutputMoved, "output_moved"),
        (Cause::OutputHung, "output_hung"),
        (Cause::OutputCommit, "output_commit"),
        (Cause::IgnoredOlder, "ignored_older"),
        (Cause::StateDirectory, "state_directory"),
        (Cause::Binary, "binary"),
        (Cause::WrittenBefore, "written_before_offset"),
        (Cause::LinkRefused, "link_refused"),
        (Cause::UserMount, "user_mount"),
    ];
}

/// The number of diagnostics since the start of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoticeCounts {
    /// Diagnostics that were logged.
    pub said: u64,
    /// Diagnostics that were suppressed, because there were enough with their cause or about their
    /// file.
    pub suppressed: u64,
}

/// One cause.
#[derive(Debug, Clone, Copy, Default)]
struct RecentlyLogged {
    /// The last ones that were logged, with the digest of the file that each was about.
    last: [Option<(Instant, Option<u64>)>; PER_PERIOD],
    /// The oldest of them.
    oldest: usize,
    /// Suppressed since the last one that was logged.
    suppressed: u64,
    counts: NoticeCounts,
}

/// The diagnostics that were logged lately.
#[derive(Debug, Default)]
pub(crate) struct Notices([RecentlyLogged; Cause::NAMES.len()]);

impl Notices {
    /// `Some(n)`: log it, and mention how many of this kind were suppressed since the last one, if
    /// any were. `None`: suppress it.
    pub(crate) fn admit(&mut self, cause: Cause, now: Instant) -> Option<Option<u64>> {
        self.0[cause as usize].admit(None, now)
    }

    /// The same for a diagnostic about one file, which is logged at most once per period.
    pub(crate) fn admit_about(
        &mut self,
        cause: Cause,
        path: &[u8],
        now: Instant,
    ) -> Option<Option<u64>> {
        let mut hasher = DefaultHasher::new();
        hasher.write(path);
        self.0[cause as usize].admit(Some(hasher.finish()), now)
    }

    /// Each cause by its name, with the number of diagnostics that were logged and suppressed.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, NoticeCounts)> + '_ {
        Cause::NAMES.iter().map(|&(cause, name)| (name, self.0[cause as usize].counts))
    }
}

impl RecentlyLogged {
    fn admit(&mut self, about: Option<u64>, now: Instant) -> Option<Option<u64>> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < PERIOD;
        let is_enough = self.last[self.oldest].is_some_and(|(at, _)| is_recent(at));
        let is_repeated = about.is_some()
            && self.last.iter().flatten().any(|&(at, file)| file == about && is_recent(at));
        if is_enough || is_repeated {
            self.suppressed += 1;
            self.counts.suppressed += 1;
            return None;
        }
        self.last[self.oldest] = Some((now, about));
        self.oldest = (self.oldest + 1) % PER_PERIOD;
        self.counts.said += 1;
        Some(Some(std::mem::take(&mut self.suppressed)).filter(|&suppressed| suppressed > 0))
    }
}

/// Logs an event if its cause, and the file it is about, were not logged often enough already:
/// `notice!(LEVEL: NOTICES, CAUSE, [about PATH,] NOW, FIELDS…, MESSAGE)`. The path is the first
/// field; the number of events that were suppressed meanwhile is the last one.
macro_rules! notice {
    (
        $level:ident: $notices:expr, $cause:expr, about $path:expr, $now:expr,
        $(%$shown:ident,)* $($name:ident $(= $value:expr)?,)* $message:literal
    ) => {
        if let Some(suppressed) = $notices.admit_about($cause, $path, $now) {
            let path = String::from_utf8_lossy($path);
            tracing::$level!(
                ?path, $(%$shown,)* $($name $(= $value)?,)* suppressed, $message
            );
        }
    };
    (
        $level:ident: $notices:expr, $cause:expr, $now:expr,
        $(%$shown:ident,)* $($name:ident $(= $value:expr)?,)* $message:literal
    ) => {
        if let Some(suppressed) = $notices.admit($cause, $now) {
            tracing::$level!($(%$shown,)* $($name $(= $value)?,)* suppressed, $message);
        }
    };
}
pub(crate) use notice;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts_of(notices: &Notices, name: &str) -> (u64, u64) {
        notices
            .counts()
            .find(|(cause, _)| *cause == name)
            .map(|(_, counts)| (counts.said, counts.suppressed))
            .unwrap()
    }

    #[test]
    fn a_flood_is_cut_and_counted_and_other_causes_still_speak() {
        let start = crate::sys::clock::now().instant;
        let mut notices = Notices::default();
        let files = (0..1000).map(|number: u32| number.to_le_bytes());
        let said = files
            .filter(|file| notices.admit_about(Cause::Unreadable, file, start).is_some())
            .count();
        assert_eq!(said, PER_PERIOD);
        assert_eq!(notices.admit(Cause::Truncated, start), Some(None));
        assert_eq!(counts_of(&notices, "unreadable"), (10, 990));
        assert_eq!(
            notices.admit_about(Cause::Unreadable, b"other", start + PERIOD),
            Some(Some(990))
        );
        assert_eq!(
            (counts_of(&notices, "unreadable"), counts_of(&notices, "truncated")),
            ((11, 990), (1, 0))
        );
    }

    #[test]
    fn a_file_is_named_once_per_period_and_cause_whenever_the_period_begins() {
        let start = crate::sys::clock::now().instant;
        let mut notices = Notices::default();
        let late = start + PERIOD - Duration::from_millis(1);
        assert_eq!(notices.admit_about(Cause::Unreadable, b"b", start), Some(None));
        assert_eq!(notices.admit_about(Cause::Unreadable, b"a", late), Some(None));
        assert_eq!(
            notices.admit_about(Cause::Unreadable, b"a", start + PERIOD),
            None,
            "said a moment ago"
        );
        assert_eq!(
            notices.admit_about(Cause::Unreadable, b"b", start + PERIOD),
            Some(Some(1)),
            "said a period ago"
        );
        assert_eq!(notices.admit_about(Cause::Truncated, b"a", late), Some(None), "another cause");
        assert_eq!(notices.admit_about(Cause::Unreadable, b"a", late + PERIOD), Some(None));
    }

    #[test]
    fn no_period_wherever_it_begins_takes_more_than_its_share() {
        let start = crate::sys::clock::now().instant;
        let mut notices = Notices::default();
        let said: Vec<Duration> = (0..600)
            .map(|second| Duration::from_millis(second * 500))
            .filter(|&at| notices.admit(Cause::Overflow, start + at).is_some())
            .collect();
        assert!(
            said.windows(PER_PERIOD + 1).all(|some| some[PER_PERIOD] - some[0] >= PERIOD),
            "{said:?}"
        );
        assert_eq!(said.len(), 50, "all of each period's share");
    }

    #[test]
    fn each_cause_has_a_name_of_its_own() {
        for (at, (cause, name)) in Cause::NAMES.iter().enumerate() {
            assert_eq!(*cause as usize, at, "{name}");
            assert_eq!(Cause::NAMES.iter().filter(|(_, other)| other == name).count(), 1, "{name}");
        }
    }
}
