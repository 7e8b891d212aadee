//! The options of `run`.
//!
//! In: what clap read. Out: [`RunOptions`] and [`InputOptions`], of which [`super::convert`] makes
//! the [`crate::config::Config`].
//! Always holds: each option is well-formed by itself; what contradicts another is found later. An
//! option is a key of settings files and an environment variable, too: all there is to say of it is
//! said here, see `layers::keys`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{metrics_uri, one_of, output_uri};
use crate::config::{
    Binary, Format, Host, KEEP_OPEN, Metrics, Output, RESCAN_REMOTE, StartAt, Symlinks,
};
use crate::config::{parse_duration, parse_host, parse_label, parse_size};
use crate::diagnostics::{Level, LogFormat};

const EXAMPLES: &str = "\
Sizes take KiB MiB GiB (k M G are the same powers of two); durations take us ms s min h d.
A symbolic link below PATH is followed with the rule `owner` if root made it or its owner owns \
what it leads to, with `any` whoever made it. To a \
process that may read everything (root, CAP_DAC_READ_SEARCH) `any` has to be said as \
`any-privileged`. Links of /proc are never followed.
Exit codes: 0 done or stopped by a signal, 1 failed, 2 bad usage.

Examples:
  manytail run /srv/grid/jobs
  manytail run --format json --include '*.log' -o unix:/run/collector.sock /srv/grid/jobs
  manytail run --from end --exclude 'tmp/' --exclude '*.bak' -o file:/var/log/all-jobs.log jobs
  manytail run --once --format raw jobs | grep ERROR
  manytail run --config /etc/manytail/manytail.toml";

/// What holds for the files below some PATHs: in a file, each `[[input]]` may have its own.
#[derive(Debug, Args)]
pub(crate) struct InputOptions {
    /// Directories and files to follow [default: those of the settings file]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,

    /// Only files that match; with a / matched to the path below PATH (repeat) [default: all]
    #[arg(long, value_name = "GLOB", help_heading = "Which files")]
    pub(crate) include: Vec<String>,

    /// Leave out (repeat) [default: *.gz *.bz2 *.xz *.zst *.lz4 *.zip *.Z core core.[0-9]* *.core]
    #[arg(long, value_name = "GLOB", help_heading = "Which files")]
    pub(crate) exclude: Vec<String>,

    /// Do not exclude compressed files and core dumps [default: off]
    #[arg(long, help_heading = "Which files")]
    pub(crate) no_default_excludes: bool,

    /// Where to start in files that exist at the first start
    #[arg(long, value_name = "beginning|end", default_value = "beginning", value_parser = one_of(&StartAt::NAMES),
        hide_possible_values = true, help_heading = "What is read")]
    pub(crate) from: StartAt,

    /// What becomes of a new file whose first block holds NULs and is no UTF-16 or UTF-32
    #[arg(long, value_name = "deliver|skip", default_value = "deliver", value_parser = one_of(&Binary::NAMES),
        hide_possible_values = true, help_heading = "What is read")]
    pub(crate) binary: Binary,
}

/// The options of `run`, each well-formed by itself; [`super::convert`] makes the
/// [`crate::config::Config`] of them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunOptions {
    /// A TOML file with these options as keys; then conf.d/*.toml beside it [default: none]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    pub(crate) config: Option<PathBuf>,

    /// stdout, fd:N, file:PATH, unix:PATH (stream) or tcp:HOST:PORT
    #[arg(short, long, value_name = "URI", default_value = "stdout", value_parser = output_uri(), help_heading = "Output")]
    pub(crate) output: Output,

    /// How records are written
    #[arg(short, long, value_name = "raw|text|json|syslog", default_value = "text", value_parser = one_of(&Format::NAMES),
        hide_possible_values = true, help_heading = "Output")]
    pub(crate) format: Format,

    /// json, syslog: the host's name in each record; =NAME: this one [default: off; syslog: on]
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", hide_default_value = true, value_parser = parse_host, help_heading = "Output")]
    pub(crate) host: Host,

    /// json, syslog: this label in each record (repeat) [default: none]
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label, help_heading = "Output")]
    pub(crate) label: Vec<(String, String)>,

    /// On SIGTERM, wait this long for the output to take what was read
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration, help_heading = "Output")]
    pub(crate) shutdown_timeout: Duration,

    #[command(flatten)]
    pub(crate) input: InputOptions,

    /// Follow sub-directories
    #[arg(long, value_name = "true|false", default_value = "true", action = clap::ArgAction::Set,
        hide_possible_values = true, help_heading = "Which files")]
    pub(crate) recursive: bool,

    /// Follow symbolic links: owner, any or any-privileged, see below; bare: owner [default: off]
    #[arg(long, value_name = "RULE", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "owner", hide_default_value = true, value_parser = one_of(&Symlinks::NAMES),
        hide_possible_values = true, help_heading = "Which files")]
    pub(crate) follow_symlinks: Symlinks,

    /// Only files of the owner of what is right below PATH on the way to them [default: off]
    #[arg(long, help_heading = "Which files")]
    pub(crate) same_owner: bool,

    /// Read up to the end of each file, then exit [default: off]
    #[arg(long, help_heading = "What is read")]
    pub(crate) once: bool,

    /// Start at the end of files not modified for this long; 0 = off [default: off]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "What is \
        read")]
    pub(crate) ignore_older: Option<Duration>,

    /// Deliver longer lines in pieces of this size, at most 1GiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_size, help_heading = "What is read")]
    pub(crate) max_line_bytes: u64,

    /// Deliver an unfinished last line that rests for this long; 0 = never
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration, help_heading = "What is read")]
    pub(crate) partial_after: Duration,

    /// Keep offsets in this directory across restarts [default: $STATE_DIRECTORY, else none]
    #[arg(long, value_name = "DIR", help_heading = "State")]
    pub(crate) state_dir: Option<PathBuf>,

    /// How often acknowledged offsets become durable
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration, help_heading = "State")]
    pub(crate) commit_interval: Duration,

    /// A file that was read is not read again for this long, at most; 0 = at once
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = parse_duration, help_heading = "Timing")]
    pub(crate) coalesce: Duration,

    /// A rest of this length between two turns of the loop, at most; 0 = none
    #[arg(long, value_name = "DURATION", default_value = "500us", value_parser = parse_duration, help_heading = "Timing")]
    pub(crate) pace: Duration,

    /// Use as much of --coalesce and --pace as the load asks for; false: always all of it
    #[arg(long, value_name = "true|false", default_value = "true", action = clap::ArgAction::Set,
        hide_possible_values = true, help_heading = "Timing")]
    pub(crate) adaptive: bool,

    /// Let whoever writes finish first (SCHED_BATCH), while that costs no time
    #[arg(long, value_name = "true|false", default_value = "true", action = clap::ArgAction::Set,
        hide_possible_values = true, help_heading = "Timing")]
    pub(crate) sched_batch: bool,

    /// Files that stay open for up to 2s after a read, at most; 0 = none
    #[arg(long, value_name = "N", default_value_t = KEEP_OPEN, help_heading = "Timing")]
    pub(crate) keep_open: u32,

    /// Look for what events did not tell, spread over this time; 0 = never
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = parse_duration, help_heading = "Timing")]
    pub(crate) rescan: Duration,

    /// The same where others write unseen (NFS, Lustre, FUSE, overlay ...); 0 = as elsewhere
    #[arg(long, value_name = "DURATION", default_value = RESCAN_REMOTE, value_parser = parse_duration, help_heading = "Timing")]
    pub(crate) rescan_remote: Duration,

    /// Metrics for Prometheus: tcp:HOST:PORT, unix:PATH or textfile:PATH (repeat) [default: none]
    #[arg(long, value_name = "URI", value_parser = metrics_uri(), help_heading = "Insight")]
    pub(crate) metrics: Vec<Metrics>,

    /// Socket for `manytail status` and `top` [default: $RUNTIME_DIRECTORY/control.sock, else none]
    #[arg(long, value_name = "PATH", help_heading = "Insight")]
    pub(crate) control_socket: Option<PathBuf>,

    /// How much is said on stderr
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = one_of(&Level::NAMES), help_heading = "Diagnostics")]
    pub(crate) log_level: Level,

    /// How it is said on stderr
    #[arg(long, value_name = "text|json", default_value = "text", value_parser = one_of(&LogFormat::NAMES),
        hide_possible_values = true, help_heading = "Diagnostics")]
    pub(crate) log_format: LogFormat,
}
