//! `offsets`: look into a state directory, or edit it.
//!
//! In: what clap read. Out: a [`Request`] that names a state directory, or a [`Refusal`].

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Refusal, one_of, refuse, state_directory};
use crate::tools::offsets::{Action, Request};
use crate::tools::style::Style;

#[derive(Debug, Subcommand)]
pub(super) enum OffsetsAction {
    /// Print how far each file was delivered, by path
    #[command(long_about = LIST_HELP, after_help = LIST_EXAMPLES)]
    List(OffsetsOptions),
    /// Forget files, so that the next run reads them from their beginning
    #[command(long_about = FORGET_HELP, after_help = FORGET_EXAMPLES)]
    Forget {
        #[command(flatten)]
        options: OffsetsOptions,

        /// Files, or directories for all files below them, as `list` prints their paths
        #[arg(value_name = "PATH", required_unless_present = "all", conflicts_with = "all")]
        paths: Vec<OsString>,

        /// Forget all files; a journal that cannot be read is moved aside
        #[arg(long)]
        all: bool,
    },
    /// Part with a broker that is ahead of the state directory, or cannot be asked
    #[command(long_about = SETTLE_HELP, after_help = SETTLE_EXAMPLES)]
    Settle(OffsetsOptions),
    /// Read the whole journal, and look at each file it names
    #[command(long_about = VERIFY_HELP, after_help = VERIFY_EXAMPLES)]
    Verify(OffsetsOptions),
}

/// What all actions on a state directory have in common.
#[derive(Debug, Args)]
pub(super) struct OffsetsOptions {
    /// The state directory [default: $STATE_DIRECTORY]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// How the answer is written
    #[arg(short, long, value_name = "text|json", default_value = "text", value_parser = one_of(&Style::NAMES),
        hide_possible_values = true)]
    format: Style,
}

const LIST_HELP: &str = "\
Print how far each file was delivered, by path. Changes nothing.

text: OFFSET, FILE, PATH, and since when the file is absent if it is, separated by TABs. OFFSET \
counts bytes from the start of the \
file, or is - (json: null) for a file that received our own output and is never read; FILE is \
`file` of json records; in PATH, \\, control characters, marks of writing direction and bytes that \
are not UTF-8 are written \\xHH.
json: one object per line: path, path_bytes (base64, where the path is not UTF-8), file, offset, \
absent_since (where it applies).";

const FORGET_HELP: &str = "\
Forget files, so that the next run reads them from their beginning.

A PATH is a file, or a directory for all files below it, byte for byte as `list --format json` \
prints paths; slashes at its end do not count. If a PATH is unknown, the others are forgotten and \
the exit code is 1. A forgotten file keeps its number in `file` of json records; its next \
generation gets a higher one.
--all forgets all files and the first scan, so that --from applies again. It renames a damaged, \
foreign or newer journal to journal.N.damaged, never deletes it, and starts a new one.";

const SETTLE_HELP: &str = "\
Part with a broker that is ahead of the state directory, or cannot be asked.

For a state directory that was restored from a backup or copied, which a run with an output kafka: \
refuses, and for a last commit in doubt whose broker is gone. The directory gets another name at \
the broker with the next run; a commit in doubt counts as not made. Lines that the broker has may \
come again; none is lost.";

const VERIFY_HELP: &str = "\
Read the whole journal, and look at each file it names. Changes nothing. Exits with 1, and the \
position, if the journal is damaged.

Counts the files by state: unchanged (as long as the offset), grown, truncated \
(shorter than the offset), gone, replaced \
(another file has the path), unknown (no path is stored, or the file cannot be looked at). \
Relative paths are relative to the working \
directory of the run: verify in the same one.";

pub(super) const OFFSETS_EXAMPLES: &str = "\
Exit codes: 0 done, 1 failed, or a process uses the state directory, 2 bad usage.

Examples:
  manytail offsets list --state-dir /var/lib/manytail
  manytail offsets forget --state-dir /var/lib/manytail /srv/grid/jobs/d7 /srv/grid/jobs/d8/job1.log
  manytail offsets verify --state-dir /var/lib/manytail --format json";

const LIST_EXAMPLES: &str = "\
Examples:
  manytail offsets list --state-dir /var/lib/manytail
  manytail offsets list --state-dir /var/lib/manytail --format json | grep job7";

const FORGET_EXAMPLES: &str = "\
Examples:
  manytail offsets forget --state-dir /var/lib/manytail /srv/grid/jobs/d7 /srv/grid/jobs/d8/job1.log
  manytail offsets forget --state-dir /var/lib/manytail --all";

const SETTLE_EXAMPLES: &str = "\
Examples:
  manytail offsets settle --state-dir /var/lib/manytail
  manytail offsets settle --state-dir /var/lib/manytail --format json";

const VERIFY_EXAMPLES: &str = "\
Examples:
  manytail offsets verify --state-dir /var/lib/manytail
  manytail offsets verify --state-dir /var/lib/manytail --format json";

pub(super) fn request(action: OffsetsAction) -> Result<Request, Refusal> {
    let (name, options, action) = match action {
        OffsetsAction::List(options) => ("list", options, Action::List),
        OffsetsAction::Verify(options) => ("verify", options, Action::Verify),
        OffsetsAction::Settle(options) => ("settle", options, Action::Settle),
        OffsetsAction::Forget { options, all: true, .. } => ("forget", options, Action::ForgetAll),
        OffsetsAction::Forget { options, paths, all: false } => {
            ("forget", options, Action::Forget(paths.into_iter().map(OsString::into_vec).collect()))
        }
    };
    let refuse = |key, reason| refuse(&format!("offsets {name}"), key, reason);
    if let Action::Forget(paths) = &action
        && paths.iter().any(Vec::is_empty)
    {
        return Err(refuse("PATH", "a PATH is empty"));
    }
    match options
        .state_dir
        .or_else(state_directory)
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        Some(state_dir) => Ok(Request { state_dir, style: options.format, action }),
        None => {
            Err(refuse("state_dir", "a state directory is needed, here or in $STATE_DIRECTORY"))
        }
    }
}
