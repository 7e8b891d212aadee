//! `doctor`: look at PATHs and the machine before a run.
//!
//! In: what clap read. Out: a [`Request`] with compiled globs, or a [`Refusal`] that names the option.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::Args;

use super::{Refusal, one_of, refuse, state_directory};
use crate::config::{ConfigError, Symlinks};
use crate::doctor::Request;
use crate::offsets::Style;
use crate::patterns::Patterns;

pub(super) const DOCTOR_HELP: &str = "\
Look whether PATHs and this machine are what a run needs, as the user it is called by. Changes nothing, opens no file.

Counts directories and files, names the types of file systems and what inotify does not tell there, compares the limits of inotify, \
descriptors and memory with what is needed, asks whether directories (all) and files (one per directory, and every 64th) may be read, \
and looks at the state directory. Each finding is ok, a warning or a problem, with what to do; sysctl lines to paste come last.";

const EXAMPLES: &str = "\
Exit codes: 0 no problem, 1 at least one problem, 2 bad usage.

Examples:
  manytail doctor /srv/grid/jobs --state-dir /var/lib/manytail
  setpriv --reuid manytail --clear-groups manytail doctor /srv/grid/jobs
  manytail doctor --format json /srv/grid/jobs | jq -r 'select(.verdict == \"problem\").finding'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorOptions {
    /// Directories and files that are to be followed
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,

    /// Where a run will keep its offsets [default: $STATE_DIRECTORY, else none]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// Only files that match, as in `run` (repeat) [default: all]
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Leave out, as in `run` (repeat) [default: *.gz *.bz2 *.xz *.zst *.lz4 *.zip *.Z core core.[0-9]* *.core]
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// Do not exclude compressed files and core dumps [default: off]
    #[arg(long)]
    no_default_excludes: bool,

    /// Look into sub-directories
    #[arg(long, value_name = "true|false", default_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    recursive: bool,

    /// Follow symbolic links, as in `run` [without a value: owner] [default: off]
    #[arg(long, value_name = "RULE", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "owner", hide_default_value = true, value_parser = one_of(&Symlinks::NAMES),
        hide_possible_values = true)]
    follow_symlinks: Symlinks,

    /// A run is to have this option [default: off]
    #[arg(long)]
    same_owner: bool,

    /// How the answer is written
    #[arg(short, long, value_name = "text|json", default_value = "text", value_parser = one_of(&Style::NAMES),
        hide_possible_values = true)]
    format: Style,
}

pub(super) fn request(options: DoctorOptions) -> Result<Request, Refusal> {
    if options.paths.iter().any(|path| path.is_empty()) {
        return Err(refuse("doctor", "PATH", &ConfigError::EmptyPath.to_string()));
    }
    let patterns = Patterns::new(&options.include, &options.exclude, !options.no_default_excludes)
        .map_err(|error| refuse("doctor", error.key, &error.to_string()))?;
    let state_dir = options.state_dir.or_else(state_directory);
    if state_dir.as_ref().is_some_and(|directory| directory.as_os_str().is_empty()) {
        return Err(refuse("doctor", "state_dir", &ConfigError::EmptyStateDir.to_string()));
    }
    Ok(Request {
        paths: options.paths.into_iter().map(OsString::into_vec).collect(),
        patterns,
        recursive: options.recursive,
        follow_links: options.follow_symlinks.rule().map_err(|error| refuse("doctor", error.key(), &error.to_string()))?,
        same_owner: options.same_owner,
        state_dir,
        style: options.format,
    })
}
