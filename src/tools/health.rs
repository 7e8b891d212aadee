//! Is the run keeping up, and if not, why? Two states of a daemon -> rates, and its health in
//! words.
//!
//! In: two [`Status`] of one run. Out: [`Health`] and [`Rates`].
//! Always holds: the result depends on the two states alone.

use serde::Serialize;

use crate::names::is_glob;
use crate::status::Status;
use crate::status::file::Listed;
use crate::status::numbers::{approximate, counted, size};
use crate::tools::text::seconds;

/// In seconds: an output that takes nothing for this long is blocked, and a scan for which lines
/// wait this long is mentioned.
const BLOCKED: f64 = 1.0;

/// In seconds: if a line has waited this long to be read, reading does not keep up.
const BEHIND: f64 = 5.0;

/// In seconds: offsets that wait this long for a commit need attention.
const UNCOMMITTED: f64 = 60.0;

/// What happens per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// The time between the two states.
    pub(super) over_seconds: f64,
    pub(super) records: f64,
    pub(super) bytes: f64,
    pub(super) events: f64,
    pub(super) opens: f64,
    /// CPU time as a share of one processor.
    pub(super) cpu: f64,
}

impl Rates {
    /// The rates between two states; 0 if they are not of the same run, or of the same moment.
    pub(super) fn between(before: &Status, after: &Status) -> Rates {
        let over_seconds = after.about.uptime - before.about.uptime;
        let is_same = (before.about.pid, before.about.start_time)
            == (after.about.pid, after.about.start_time);
        if !is_same || over_seconds <= 0.0 {
            return Rates::default();
        }
        let rate = |count: fn(&Status) -> u64| {
            approximate(count(after).saturating_sub(count(before))) / over_seconds
        };
        Rates {
            over_seconds,
            records: rate(|status| status.counters.records),
            bytes: rate(|status| status.counters.bytes),
            events: rate(|status| status.counters.events),
            opens: rate(|status| status.counters.opens),
            cpu: (after.process.cpu_seconds - before.process.cpu_seconds).max(0.0) / over_seconds,
        }
    }
}

/// The answer to "is it keeping up".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    /// Whether every line is delivered soon after it was written.
    pub(super) keeps_up: bool,
    /// Why the run does not keep up.
    pub(super) reasons: Vec<String>,
    /// What else needs attention.
    pub(super) troubles: Vec<String>,
}

impl Health {
    /// Judges a state. `unreadable` has the first files and directories that cannot be read.
    pub(super) fn new(status: &Status, rates: &Rates, unreadable: &[Listed]) -> Health {
        let reasons = reasons(status, rates);
        Health { keeps_up: reasons.is_empty(), reasons, troubles: troubles(status, unreadable) }
    }

    /// Whether nothing needs attention.
    pub(super) fn is_well(&self) -> bool {
        self.keeps_up && self.troubles.is_empty()
    }

    pub(super) fn headline(&self) -> &'static str {
        match (self.keeps_up, self.troubles.is_empty()) {
            (true, true) => "keeping up",
            (true, false) => "keeping up, but see below",
            (false, _) => "NOT keeping up",
        }
    }
}

fn reasons(status: &Status, rates: &Rates) -> Vec<String> {
    let Status { output, backlog, about, directories, .. } = status;
    let mut reasons = Vec::new();
    if !output.is_connected {
        let trouble = output
            .failure
            .as_ref()
            .map_or("is not there".to_owned(), |failure| format!("fails: {failure}"));
        reasons.push(format!(
            "the output {} {trouble} ({} so far)",
            about.output,
            counted(output.errors, "error", "errors")
        ));
    } else if output.blocked_seconds >= BLOCKED {
        reasons.push(format!(
            "the output {} has taken nothing for {}",
            about.output,
            seconds(output.blocked_seconds)
        ));
    }
    if backlog.oldest_unread_seconds >= BEHIND {
        let left = if rates.bytes < 1.0 {
            "nothing is read now".to_owned()
        } else {
            format!(
                "about {} at this rate",
                seconds(approximate(backlog.unread_bytes) / rates.bytes)
            )
        };
        let oldest = seconds(backlog.oldest_unread_seconds);
        reasons.push(format!(
            "{} with {} unread, the oldest for {oldest}: {left}",
            counted(backlog.files, "file waits", "files wait"),
            size(backlog.unread_bytes)
        ));
    }
    if directories.is_listing && backlog.oldest_unread_seconds >= BLOCKED {
        reasons.push("directories are still being listed (first scan, or a rescan)".to_owned());
    }
    reasons
}

fn troubles(status: &Status, unreadable: &[Listed]) -> Vec<String> {
    let Status { files, directories, commits, output, about, .. } = status;
    let mut troubles = Vec::new();
    if let Some(why) = &about.bad_settings {
        troubles.push(format!(
            "the settings could not be read again, and a restart would refuse them: {why}"
        ));
    }
    if let Some(misplaced) = &output.misplaced {
        troubles.push(format!("the output {}: {misplaced}", about.output));
    }
    if let Some(remark) = &output.remark {
        troubles.push(format!("the output {}: {remark}", about.output));
    }
    if commits.is_failing {
        let why = commits.failure.as_ref().map_or_else(|| "see the log".to_owned(), Clone::clone);
        troubles.push(format!("offsets cannot be stored, so a crash would repeat lines: {why}"));
    } else if commits.age_seconds >= UNCOMMITTED {
        troubles
            .push(format!("offsets have waited for {} to be stored", seconds(commits.age_seconds)));
    }
    if let Some(first) = status.missing.first() {
        let others = status.missing.len() - 1;
        let more = if others == 0 {
            String::new()
        } else {
            format!(", nor at {}", counted(others as u64, "other", "others"))
        };
        let hint =
            if is_glob(first.as_bytes()) { " (a PATH is not a glob: see --include)" } else { "" };
        troubles.push(format!("nothing is found at PATH {first:?}{more}: waiting for it{hint}"));
    }
    for paths in &status.without_files {
        troubles.push(format!(
            "no file was found below {paths} since the start, or since its globs changed: nothing \
            is there, or no glob matches (`manytail doctor`)"
        ));
    }
    if directories.polled > 0 {
        let polled = counted(directories.polled, "directory is", "directories are");
        troubles.push(format!(
            "{polled} polled: no watch (fs.inotify.max_user_watches, or no inotify), or not to be \
            listed; `manytail status --list polled`"
        ));
    }
    let counts =
        [(directories.unreadable, "directory", "directories"), (files.unreadable, "file", "files")];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|of| of.0 > 0)
        .map(|(of, one, many)| counted(of, one, many))
        .collect();
    if !counts.is_empty() {
        let named: Vec<String> =
            unreadable.iter().map(|of| format!("{} ({})", of.path.shown(), of.why)).collect();
        let named =
            if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
        let counts = counts.join(" and ");
        troubles.push(format!(
            "{counts} cannot be read, or are left out{named}; all of them: `manytail status --list \
            unreadable`, `--list excluded`"
        ));
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change, and the words that report it.
    type Case = (fn(&mut Status), &'static str);

    fn at(uptime: f64, records: u64) -> Status {
        let mut status = Status::default();
        status.about.uptime = uptime;
        status.about.output = "tcp:h:1".to_owned();
        status.output.is_connected = true;
        status.counters.records = records;
        status
    }

    #[test]
    fn rates_are_those_between_two_looks_at_one_run() {
        let rates = Rates::between(&at(10.0, 100), &at(10.5, 600));
        assert_eq!((rates.records, rates.over_seconds), (1000.0, 0.5));
        assert_eq!(Rates::between(&at(10.0, 100), &at(1.0, 5)), Rates::default(), "started anew");
        let mut other = at(20.0, 200);
        other.about.pid = 7;
        assert_eq!(Rates::between(&at(10.0, 100), &other), Rates::default());
    }

    #[test]
    fn a_quiet_daemon_keeps_up() {
        let health = Health::new(&at(1.0, 0), &Rates::default(), &[]);
        assert!(health.is_well() && health.headline() == "keeping up");
    }

    #[test]
    fn whatever_keeps_lines_back_is_named() {
        let cases: [Case; 5] = [
            (|status| status.output.is_connected = false, "tcp:h:1 is not there"),
            (
                |status| {
                    status.output.is_connected = false;
                    status.output.failure = Some("cannot write: no space".to_owned());
                },
                "tcp:h:1 fails: cannot write: no space (0 errors",
            ),
            (|status| status.output.blocked_seconds = 75.0, "taken nothing for 1m15s"),
            (
                |status| {
                    status.backlog = crate::status::Backlog {
                        oldest_unread_seconds: 6.0,
                        unread_bytes: 2048,
                        files: 3,
                        sampled: 3,
                    }
                },
                "3 files wait with 2.0 KiB unread, the oldest for 6.0s: nothing is read now",
            ),
            (
                |status| {
                    (status.directories.is_listing, status.backlog.oldest_unread_seconds) =
                        (true, 1.5)
                },
                "being listed",
            ),
        ];
        for (change, word) in cases {
            let mut status = at(1.0, 0);
            change(&mut status);
            let health = Health::new(&status, &Rates::default(), &[]);
            assert!(
                !health.keeps_up && health.reasons.iter().any(|reason| reason.contains(word)),
                "{word}: {health:?}"
            );
        }
    }

    #[test]
    fn whatever_needs_somebody_is_named_though_lines_are_delivered() {
        let cases: [Case; 11] = [
            (
                |status| status.missing = vec!["/a".to_owned(), "/b".to_owned()],
                "PATH \"/a\", nor at 1 other:",
            ),
            (|status| status.commits.is_failing = true, "cannot be stored"),
            (|status| status.commits.age_seconds = 61.0, "waited for 1m01s"),
            (|status| status.directories.polled = 1_000, "1,000 directories are polled"),
            (|status| status.directories.unreadable = 2, "2 directories cannot be read"),
            (|status| status.files.unreadable = 1, "1 file cannot be read"),
            (|status| status.missing = vec!["/home/*/logs".to_owned()], "a PATH is not a glob"),
            (
                |status| status.without_files = vec!["/srv /mnt".to_owned()],
                "no file was found below /srv /mnt since the start",
            ),
            (
                |status| status.output.misplaced = Some("it was renamed".to_owned()),
                "the output tcp:h:1: it was renamed",
            ),
            (
                |status| status.output.remark = Some("a quota".to_owned()),
                "the output tcp:h:1: a quota",
            ),
            (
                |status| {
                    status.commits.is_failing = true;
                    status.commits.failure = Some("No space left on device".to_owned());
                },
                "cannot be stored, so a crash would repeat lines: No space left on device",
            ),
        ];
        for (change, word) in cases {
            let mut status = at(1.0, 0);
            change(&mut status);
            let health = Health::new(&status, &Rates::default(), &[]);
            assert!(health.keeps_up && !health.is_well(), "{word}");
            assert!(
                health.troubles.iter().any(|trouble| trouble.contains(word)),
                "{word}: {health:?}"
            );
        }
    }
}
