//! All that is known of a run at one moment, as plain numbers and names: what metrics, `status` and
//! dashboards show.
//!
//! In: counters and states of the engine, the output, the process. Out: [`Status`], which can be
//! sent as JSON and read back.
//! Always holds: nothing here measures; times are seconds, sizes bytes, as in the names of the
//! metrics.

pub mod file;
pub mod histogram;
pub(crate) mod numbers;
pub mod prometheus;
pub mod stats;
pub mod top;

use serde::{Deserialize, Serialize};

use crate::status::histogram::Histogram;
use crate::status::stats::Stats;
use crate::sys::process::Process;

/// A whole run at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Who runs, since when, with what.
    pub about: About,
    /// What happened so far.
    pub counters: Stats,
    /// Files by what is going on with them.
    pub files: Files,
    /// What waits to be read.
    pub backlog: Backlog,
    /// Directories and watches.
    pub directories: Directories,
    /// PATHs at which nothing is found (to follow), each as given: they are waited for.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Inputs that never had a file since the start, or since their globs changed: the PATHs of
    /// each.
    #[serde(default)]
    pub without_files: Vec<String>,
    /// Where records go.
    pub output: OutputStatus,
    /// How offsets are kept.
    pub commits: CommitStatus,
    /// What a turn of the loop took.
    pub turns: Histogram,
    /// From the turn in which the kernel told of a change to the end of the one in which the output
    /// acknowledged it, per part of a file that was read at once. The time in the kernel's queue
    /// before is not in it.
    pub deliveries: Histogram,
    /// What was said on stderr, by cause.
    pub diagnostics: Vec<Diagnostic>,
    /// The process.
    pub process: Process,
}

/// How often one cause of diagnostics came up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Its name.
    pub cause: String,
    /// Diagnostics that were said.
    pub said: u64,
    /// Diagnostics that were kept back, because their cause or their file had been said enough.
    pub suppressed: u64,
}

/// What does not change while a process runs, or only by the administrator's word.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Of manytail.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// Seconds since 1970.
    pub start_time: f64,
    /// Seconds since then.
    pub uptime: f64,
    /// The output as given.
    pub output: String,
    /// Each PATH as given; what is not UTF-8 is replaced.
    pub inputs: Vec<String>,
    /// The state directory, if there is one.
    pub state_directory: Option<String>,
    /// Why the settings could not be read again at the last SIGHUP: those of before hold, and a
    /// restart would refuse.
    #[serde(default)]
    pub bad_settings: Option<String>,
}

/// Files by state. Each known file is in one; their sum is `known`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// All of them.
    pub known: u64,
    /// Followed, and read to their end.
    pub idle: u64,
    /// To be read as soon as their turn comes.
    pub queued: u64,
    /// To be read, but the output takes nothing.
    pub blocked: u64,
    /// To be read when `--coalesce` is over.
    pub cooling: u64,
    /// To be read after a predecessor, when a listing is through, or when their generation is
    /// stored.
    pub waiting: u64,
    /// Followed, and to be looked at, or tried again after a failure.
    pub in_doubt: u64,
    /// Cannot be read.
    pub unreadable: u64,
    /// Names that were heard of and not looked at yet.
    pub new: u64,
    /// Lost their name a moment ago.
    pub leaving: u64,
    /// Deleted, held open, and not read to their end.
    pub finishing: u64,
    /// Left the tree or were deleted, and are remembered for ten minutes.
    pub parked: u64,
    /// Never read: own output, FIFOs, sockets, devices.
    pub ignored: u64,
    /// Held open without being read.
    pub held: u64,
}

impl Files {
    /// The states and their numbers.
    #[must_use]
    pub fn by_state(&self) -> [(&'static str, u64); 12] {
        [
            ("idle", self.idle),
            ("queued", self.queued),
            ("blocked", self.blocked),
            ("cooling", self.cooling),
            ("waiting", self.waiting),
            ("in_doubt", self.in_doubt),
            ("unreadable", self.unreadable),
            ("new", self.new),
            ("leaving", self.leaving),
            ("finishing", self.finishing),
            ("parked", self.parked),
            ("ignored", self.ignored),
        ]
    }
}

/// What waits to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    /// Files that wait.
    pub files: u64,
    /// Bytes in them that were not read: of so many files as were looked at, and in proportion of
    /// the others.
    pub unread_bytes: u64,
    /// How many of the files were looked at for that.
    pub sampled: u64,
    /// How long the one that has waited longest has unread bytes; 0: none waits.
    pub oldest_unread_seconds: f64,
}

/// Directories and their watches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directories {
    /// All that are known.
    pub known: u64,
    /// Listed every second, because there is no watch for them or they cannot be listed now.
    pub polled: u64,
    /// Cannot be read.
    pub unreadable: u64,
    /// Watches in use.
    pub watches: u64,
    /// `fs.inotify.max_user_watches`: of this user's processes together; 0: not known.
    pub watches_max: u64,
    /// Passes of the sweep that were begun.
    pub sweeps: u64,
    /// A first scan or another listing is under way.
    pub is_listing: bool,
}

/// Where records go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputStatus {
    /// `stdout`, `fd`, `file`, `unix` or `tcp`.
    pub kind: String,
    /// The receiver is there, as far as is known.
    pub is_connected: bool,
    /// What failed last, and why, as long as nothing went well since.
    #[serde(default)]
    pub failure: Option<String>,
    /// What is wrong with the place of a `file:` output though it takes records: its path leads
    /// elsewhere, or a SIGHUP cannot be obeyed.
    #[serde(default)]
    pub misplaced: Option<String>,
    /// Attempts to connect, open or write that failed.
    pub errors: u64,
    /// Times that a receiver was there again after one was lost.
    pub reconnects: u64,
    /// Times that somebody else truncated a `file:` output.
    #[serde(default)]
    pub truncations: u64,
    /// How long records have been waiting without any being taken; 0: none wait, or they are taken.
    pub blocked_seconds: f64,
    /// The same, of all such times in the past and this one.
    pub blocked_seconds_total: f64,
    /// Bytes of records that were read and not acknowledged yet.
    pub unacknowledged_bytes: u64,
    /// How long the oldest of them have been waiting since the kernel told of them.
    pub oldest_unacknowledged_seconds: f64,
}

/// How offsets are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// There is a state directory.
    pub is_kept: bool,
    /// How long there has been something to commit; 0: nothing waits.
    pub age_seconds: f64,
    /// The last attempt failed.
    pub is_failing: bool,
    /// Why.
    #[serde(default)]
    pub failure: Option<String>,
    /// The journal's length.
    pub journal_bytes: u64,
}
