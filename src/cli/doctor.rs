//! `doctor`: look at PATHs and the machine before a run.
//!
//! In: what clap read. Out: a [`Request`] with compiled globs, or a [`Refusal`] that names the
//! option.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::layers::Invocation;
use super::{Refusal, one_of, refuse, state_directory};
use crate::config::{ConfigError, RESCAN_REMOTE, Symlinks, parse_duration};
use crate::patterns::Patterns;
use crate::sys::user::become_user;
use crate::tools::doctor::{Input, Request, Tried};
use crate::tools::style::Style;

pub(super) const DOCTOR_HELP: &str = "\
Look whether PATHs and this machine are what a run needs, as the user it is called by, or as \
--user. Changes nothing, opens no log.

Counts directories and files, tells what the globs take and what they leave out, names the types \
of file systems and what inotify does not tell \
there, compares the limits of inotify, descriptors and memory with what is needed, asks whether \
directories (all) and files (one per directory, and \
every 64th) may be read, and looks at the state directory. With --config it takes all settings \
from there, and tries the output (write access, \
space, connection), the addresses of metrics and the place of the control socket, too. Each \
finding is ok, a warning or a problem, with what to do; \
sysctl lines to paste come last.";

const EXAMPLES: &str = "\
Exit codes: 0 no problem, 1 at least one problem, 2 bad usage.

Examples:
  manytail doctor --config /etc/manytail/manytail.toml --user manytail
  manytail doctor /srv/grid/jobs --state-dir /var/lib/manytail
  manytail doctor --format json /srv/grid/jobs | jq -r 'select(.verdict == \"problem\").finding'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorOptions {
    /// Directories and files that are to be followed
    #[arg(value_name = "PATH", required_unless_present = "config")]
    paths: Vec<OsString>,

    /// The settings file of the run [default: none]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "include", "exclude", "no_default_excludes",
        "recursive", "follow_symlinks", "same_owner", "rescan_remote"])]
    config: Option<PathBuf>,

    /// Look as this user, by name or number; needs root [default: whoever calls]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// With --user: as a service that has CAP_DAC_READ_SEARCH, as that of the packages [default:
    /// off]
    #[arg(long, requires = "user")]
    cap_dac_read_search: bool,

    /// Where a run will keep its offsets [default: $STATE_DIRECTORY, else none]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// Only files that match, as in `run` (repeat) [default: all]
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Leave out, as in `run` (repeat) [default: *.gz *.bz2 *.xz *.zst *.lz4 *.zip *.Z core
    /// core.[0-9]* *.core]
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

    /// As in `run`: how often files are looked at where others write unseen
    #[arg(long, value_name = "DURATION", default_value = RESCAN_REMOTE, value_parser = parse_duration)]
    rescan_remote: Duration,

    /// How the answer is written
    #[arg(short, long, value_name = "text|json", default_value = "text", value_parser = one_of(&Style::NAMES),
        hide_possible_values = true)]
    format: Style,
}

/// What is to be looked at; `variables`: those of the environment. As another user it is known only
/// once this process is that user: what may be set depends on what it may do.
pub(super) fn call(
    options: DoctorOptions,
    variables: Vec<(OsString, OsString)>,
) -> Result<DoctorCall, Refusal> {
    match &options.user {
        None => Ok(DoctorCall {
            user: None,
            request: Deferred::Known(Box::new(request(options, variables)?)),
        }),
        Some(name) => {
            let user = AsUser { name: name.clone(), reads_all: options.cap_dac_read_search };
            Ok(DoctorCall {
                user: Some(user),
                request: Deferred::Open(Box::new(options), variables),
            })
        }
    }
}

/// `doctor`, as parsed.
#[derive(Debug)]
pub struct DoctorCall {
    user: Option<AsUser>,
    request: Deferred,
}

#[derive(Debug)]
enum Deferred {
    Known(Box<Request>),
    Open(Box<DoctorOptions>, Vec<(OsString, OsString)>),
}

impl DoctorCall {
    /// Becomes the user that is wanted, for good, and tells what is to be looked at.
    ///
    /// # Errors
    /// When this process cannot become that user, or the settings are refused.
    pub fn request(self) -> Result<Request, Refusal> {
        if let Some(AsUser { name, reads_all }) = self.user {
            become_user(&name, reads_all)
                .map_err(|error| refuse("doctor", "user", &error.to_string()))?;
        }
        match self.request {
            Deferred::Known(request) => Ok(*request),
            Deferred::Open(options, variables) => request(*options, variables),
        }
    }
}

/// Another user than the one who calls.
#[derive(Debug)]
struct AsUser {
    /// Name or number.
    name: String,
    /// With `CAP_DAC_READ_SEARCH`.
    reads_all: bool,
}

fn request(
    options: DoctorOptions,
    variables: Vec<(OsString, OsString)>,
) -> Result<Request, Refusal> {
    match &options.config {
        Some(config) => of_settings(config.clone(), options, variables),
        None => of_options(options),
    }
}

/// As a run with this settings file would be.
fn of_settings(
    config: PathBuf,
    options: DoctorOptions,
    variables: Vec<(OsString, OsString)>,
) -> Result<Request, Refusal> {
    let arguments = vec!["manytail".into(), "run".into(), "--config".into(), config.into()];
    let config = Invocation { command: "run", arguments, variables }.read()?.config;
    let engine = config.engine;
    Ok(Request {
        inputs: engine
            .inputs
            .into_iter()
            .map(|input| Input { paths: input.paths, patterns: input.patterns })
            .collect(),
        recursive: engine.recursive,
        follow_links: engine.follow_links,
        same_owner: engine.same_owner,
        state_dir: options.state_dir.or(config.state_dir),
        rescan_remote: engine.rescan_remote,
        tried: Some(Tried {
            output: config.output,
            metrics: config.metrics,
            control_socket: config.control_socket,
        }),
        style: options.format,
    })
}

fn of_options(options: DoctorOptions) -> Result<Request, Refusal> {
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
        inputs: vec![Input {
            paths: options.paths.into_iter().map(OsString::into_vec).collect(),
            patterns,
        }],
        recursive: options.recursive,
        follow_links: options
            .follow_symlinks
            .rule()
            .map_err(|error| refuse("doctor", error.key(), &error.to_string()))?,
        same_owner: options.same_owner,
        state_dir,
        rescan_remote: Some(options.rescan_remote).filter(|period| !period.is_zero()),
        tried: None,
        style: options.format,
    })
}
