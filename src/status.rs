//! The state of a run at one moment, as plain numbers and names: the basis of metrics, `status` and
//! dashboards.
//!
//! In: counters and states of the engine, the output and the process. Out: [`Status`], which can be
//! sent as JSON and read back.
//! Always holds: nothing here measures; times are seconds, and sizes are bytes, as in the names of
//! the metrics.

pub(crate) mod file;
pub(crate) mod histogram;
pub(crate) mod numbers;
pub(crate) mod prometheus;
pub(crate) mod stats;
pub(crate) mod top;

use serde::{Deserialize, Serialize};

use crate::status::histogram::Histogram;
use crate::status::stats::Stats;
use crate::sys::process::Process;

/// The state of a run at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The process, its start and its settings.
    pub about: About,
    /// Counters since the start.
    pub counters: Stats,
    /// Files by state.
    pub files: Files,
    /// Files that wait to be read.
    pub backlog: Backlog,
    /// Directories and watches.
    pub directories: Directories,
    /// PATHs that do not exist, each as given; a run waits for them.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Inputs that have had no file since the start, or since their globs changed: the PATHs of
    /// each.
    #[serde(default)]
    pub without_files: Vec<String>,
    /// The inputs in the order of the settings.
    #[serde(default)]
    pub inputs: Vec<InputStatus>,
    /// Inputs with a pattern for jobs, and what it does not match.
    #[serde(default)]
    pub jobs: Vec<JobStatus>,
    /// Where records go.
    pub output: OutputStatus,
    /// How offsets are stored.
    pub commits: CommitStatus,
    /// Durations of the turns of the loop.
    pub turns: Histogram,
    /// Times from the turn in which an event was read to the end of the turn in which the output
    /// acknowledged the change, one per part of a file that was read at once. The time in the
    /// kernel's queue is not included.
    pub deliveries: Histogram,
    /// Times that the output took for its commits.
    #[serde(default)]
    pub settlements: Histogram,
    /// Diagnostics on stderr, by cause.
    pub diagnostics: Vec<Diagnostic>,
    /// The process.
    pub process: Process,
}

/// What became of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputStatus {
    /// Its PATHs as given; bytes that are not UTF-8 are replaced.
    pub paths: Vec<String>,
    /// Whether it had a file since the start, or since its globs changed.
    pub has_had_files: bool,
    /// How many files it has now, if they were counted: see [`FilesOfInputs`].
    #[serde(default)]
    pub files: Option<u64>,
    /// Records of its files since the start, or since the input was added.
    pub records: u64,
    /// The bytes of which they were made.
    pub bytes: u64,
}

/// How many of some files belong to which input. The daemon counts in parts, which are asked for
/// one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesOfInputs {
    /// By the place of the input in the settings.
    pub files: Vec<u64>,
    /// The cursor of the next part; `None`: this is the last one.
    pub next: Option<u64>,
}

/// How well the pattern for jobs fits the files of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The PATHs of the input.
    pub input: String,
    /// How many reads were of files whose names the pattern does not match.
    pub mismatches: u64,
    /// The path of the last one of these.
    pub example: Option<String>,
}

/// How many diagnostics one cause has produced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The name of the cause.
    pub cause: String,
    /// Diagnostics that were logged.
    pub said: u64,
    /// Diagnostics that were suppressed, because their cause or their file was logged often enough.
    pub suppressed: u64,
}

/// What does not change while a process runs, or only through a reload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The version of manytail.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// The start, in seconds since 1970.
    pub start_time: f64,
    /// Seconds since the start.
    pub uptime: f64,
    /// The output as given.
    pub output: String,
    /// Each PATH as given; bytes that are not UTF-8 are replaced.
    pub inputs: Vec<String>,
    /// The state directory, if there is one.
    pub state_directory: Option<String>,
    /// Why the last SIGHUP could not reload the settings: the previous ones stay in force, and a
    /// restart would fail.
    #[serde(default)]
    pub bad_settings: Option<String>,
}

/// Files by state. Each known file is in one state; the sum of all is `known`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// All known files.
    pub known: u64,
    /// Followed and read to their end.
    pub idle: u64,
    /// They have unread bytes, and are read when their turn comes.
    pub queued: u64,
    /// They have unread bytes, but the output takes nothing.
    pub blocked: u64,
    /// They have unread bytes, and are read when `--coalesce` is over.
    pub cooling: u64,
    /// They have unread bytes, and wait for a predecessor, the end of a listing, or the storing of
    /// their generation.
    pub waiting: u64,
    /// Followed, but their names are to be resolved, or a failed read is to be repeated.
    pub in_doubt: u64,
    /// Cannot be read.
    pub unreadable: u64,
    /// Names that an event or a listing reported, and that are not resolved yet.
    pub new: u64,
    /// They lost their name a moment ago.
    pub leaving: u64,
    /// Deleted, held open, and not read to their end.
    pub finishing: u64,
    /// They left the tree or were deleted, and are remembered for ten minutes.
    pub parked: u64,
    /// Never read: own output, FIFOs, sockets, devices.
    pub ignored: u64,
    /// Held open between reads.
    pub held: u64,
}

impl Files {
    /// The states and how many files are in each.
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

/// Files that wait to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    /// Files that wait to be read.
    pub files: u64,
    /// Unread bytes in them: counted in a sample of the files, and extrapolated to the others.
    pub unread_bytes: u64,
    /// The size of that sample.
    pub sampled: u64,
    /// How long the file that has waited longest has had unread bytes; 0: no file waits.
    pub oldest_unread_seconds: f64,
}

/// Directories and their watches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directories {
    /// All known directories.
    pub known: u64,
    /// Directories that are listed every second, because they have no watch or could not be listed.
    pub polled: u64,
    /// Cannot be read.
    pub unreadable: u64,
    /// Watches in use.
    pub watches: u64,
    /// `fs.inotify.max_user_watches`: the limit for all processes of this user together; 0: not
    /// known.
    pub watches_max: u64,
    /// How many passes of the sweep began.
    pub sweeps: u64,
    /// A first scan or another listing is in progress.
    pub is_listing: bool,
}

/// Where records go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputStatus {
    /// `stdout`, `fd`, `file`, `unix` or `tcp`.
    pub kind: String,
    /// The receiver is connected, as far as is known.
    pub is_connected: bool,
    /// The last failure and its reason, until something succeeds.
    #[serde(default)]
    pub failure: Option<String>,
    /// What is wrong with the place of a `file:` output even if it takes records: its path leads to
    /// another file, or a SIGHUP could not reopen it.
    #[serde(default)]
    pub misplaced: Option<String>,
    /// Attempts to connect, open or write that failed.
    pub errors: u64,
    /// How often a receiver came back after one was lost.
    pub reconnects: u64,
    /// How often another process truncated a `file:` output.
    #[serde(default)]
    pub truncations: u64,
    /// Records that were left out because the receiver will never take them.
    #[serde(default)]
    pub refused: u64,
    /// Records that were sent to a broker and not confirmed yet.
    #[serde(default)]
    pub in_flight: u64,
    /// Batches that a stream stored.
    #[serde(default)]
    pub batches: u64,
    /// What holds records back though nothing fails.
    #[serde(default)]
    pub remark: Option<String>,
    /// How long records have waited while the output took none; 0: no record waits, or the output
    /// takes records.
    pub blocked_seconds: f64,
    /// How long records have waited like this in total since the start.
    pub blocked_seconds_total: f64,
    /// Bytes of records that the output has not acknowledged yet.
    pub unacknowledged_bytes: u64,
    /// The age of the oldest of them, counted from the event about them.
    pub oldest_unacknowledged_seconds: f64,
}

/// How offsets are stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// Whether there is a state directory.
    pub is_kept: bool,
    /// How long the oldest offset has waited for a commit; 0: none waits.
    pub age_seconds: f64,
    /// Whether the last commit failed.
    pub is_failing: bool,
    /// Why it failed.
    #[serde(default)]
    pub failure: Option<String>,
    /// What the output is asked before anything goes on.
    #[serde(default)]
    pub question: Option<String>,
    /// The number of the last commit that the output made; 0: none, or it makes none.
    #[serde(default)]
    pub number: u64,
    /// How long ago it made one, if it did since the start.
    #[serde(default)]
    pub made_seconds: Option<f64>,
    /// The journal's length.
    pub journal_bytes: u64,
}
