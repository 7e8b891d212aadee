//! `doctor`: look at PATHs and the machine before a run.
//!
//! In: what clap read. Out: a [`Request`] with compiled globs, or a [`Refusal`] that names the
//! option.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::layers::{Invocation, surroundings};
use super::run::{argument, given};
use super::{FORMAT, Refusal, format_argument, refuse, trees};
use crate::config::Build;
use crate::settings::{Key, Layers, Values};
use crate::sys::user::become_user;
use crate::tools::doctor::{Request, Tried};
use crate::tools::style::Style;

pub(super) const DOCTOR_HELP: &str = "\
Check whether PATHs and this machine are ready for a run, as the calling user or as --user. \
Changes nothing, opens no log.

Counts directories and files, lists what the globs of each input match and exclude, and which \
names its pattern for jobs does not match, names the types of file systems and what inotify does \
not report there, compares the limits of inotify, descriptors and memory with the need, checks \
whether all directories and some files (one per directory, and every 64th) are readable, and \
checks the state directory. With --config it takes all settings from there, and also tries the \
output (write access, space, connection), the addresses of metrics and the place of the control \
socket. \
Each finding is ok, a warning or a problem, with what to do; sysctl lines to paste come last.";

const EXAMPLES: &str = "\
Exit codes: 0 no problem, 1 at least one problem, 2 bad usage.

Examples:
  manytail doctor --config /etc/manytail/manytail.toml --user manytail
  manytail doctor /srv/grid/jobs --state-dir /var/lib/manytail
  manytail doctor --format json /srv/grid/jobs | jq -r 'select(.verdict == \"problem\").finding'";

#[derive(Debug)]
pub(super) struct DoctorOptions {
    /// The settings of a run that the command line gives.
    run: Values,
    user: Option<String>,
    reads_all: bool,
    format: Style,
}

const USER: &str = "user";
const READS_ALL: &str = "cap_dac_read_search";

/// The settings of a run that a settings file may give instead, with the help that they have here.
const OF_RUN: [(Key, &str); 10] = [
    (Key::Paths, "Directories and files to follow"),
    (Key::Preset, "The names of a scheduler's logs, as in `run`"),
    (Key::Include, "Only files that match, as in `run` (repeat)"),
    (Key::Exclude, "Leave out, as in `run` (repeat)"),
    (Key::NoDefaultExcludes, "Do not exclude compressed files and core dumps"),
    (Key::Job, "The pattern of a run for jobs: which names it matches"),
    (Key::Recursive, "Look into sub-directories"),
    (Key::FollowSymlinks, "Follow symbolic links, as in `run` [without a value: owner]"),
    (Key::SameOwner, "Check a run with this option"),
    (Key::RescanRemote, "As in `run`: how often to check files on NFS, Lustre, FUSE and such"),
];

impl Args for DoctorOptions {
    fn augment_args(command: Command) -> Command {
        let of_run = |key: Key, help| argument(key.row(), help).help_heading(None);
        let instead = OF_RUN.map(|(key, help)| of_run(key, help));
        let [paths, others @ ..] = instead;
        let config = of_run(Key::Config, "The settings file of the run");
        let user = Arg::new(USER)
            .long("user")
            .value_name("NAME")
            .help("Look as this user, by name or number; needs root [default: whoever calls]");
        let reads_all = Arg::new(READS_ALL)
            .long("cap-dac-read-search")
            .action(ArgAction::SetTrue)
            .requires(USER)
            .help(
                "With --user: add CAP_DAC_READ_SEARCH, which the packaged service has \
                [default: off]",
            );
        command
            .arg(paths.help(OF_RUN[0].1).required_unless_present(Key::Config.name()))
            .arg(config.conflicts_with_all(OF_RUN.map(|(key, _)| key.name())))
            .args([user, reads_all, of_run(Key::StateDir, "Where a run will keep its offsets")])
            .args(others)
            .arg(format_argument())
            .after_help(EXAMPLES)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DoctorOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<DoctorOptions, clap::Error> {
        let of_run = OF_RUN.iter().map(|(key, _)| *key).chain([Key::Config, Key::StateDir]);
        Ok(DoctorOptions {
            run: given(of_run, matches),
            user: matches.get_one(USER).cloned(),
            reads_all: matches.get_flag(READS_ALL),
            format: *matches.get_one(FORMAT).expect("it has a default"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Makes a request of the options; `variables` are those of the environment. For another user the
/// request is made once this process is that user: its rights decide which settings are refused.
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
            let user = AsUser { name: name.clone(), reads_all: options.reads_all };
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
    /// Becomes the user of `--user`, for good, and returns the request.
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
    if options.run.contains_key(&Key::Config) {
        of_settings(options, variables)
    } else {
        of_options(options, &variables)
    }
}

/// As a run with this settings file would be.
fn of_settings(
    mut options: DoctorOptions,
    variables: Vec<(OsString, OsString)>,
) -> Result<Request, Refusal> {
    let given = Values::from_iter(options.run.remove_entry(&Key::Config));
    let said = Layers { command_line: options.run, ..Layers::default() };
    let invocation =
        Invocation { command: "run", arguments: Vec::new(), given, variables, build: Build::THIS };
    let mut config = invocation.read()?.config;
    let trees = trees::of_settings(&mut config.engine);
    let engine = &config.engine;
    Ok(Request {
        trees,
        state_dir: said.view(None).optional(Key::StateDir).or(config.state_dir.clone()),
        rescan_remote: engine.rescan_remote,
        tried: Some(Tried { config }),
        style: options.format,
    })
}

fn of_options(
    options: DoctorOptions,
    variables: &[(OsString, OsString)],
) -> Result<Request, Refusal> {
    let surroundings = surroundings(variables);
    let mut layers = Layers { command_line: options.run, surroundings, ..Layers::default() };
    layers.expand_presets();
    let run = layers.view(None);
    Ok(Request {
        trees: trees::of_options("doctor", run)?,
        state_dir: run.optional(Key::StateDir),
        rescan_remote: Some(run.value(Key::RescanRemote))
            .filter(|period: &Duration| !period.is_zero()),
        tried: None,
        style: options.format,
    })
}
