//! `jobs`: what the logs of jobs say last.
//!
//! In: what clap read. Out: a [`Request`] with compiled globs and patterns, or a [`Refusal`] that
//! names the option.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::layers::Invocation;
use super::run::{argument, given};
use super::{FORMAT, Refusal, format_argument, refuse_because, trees};
use crate::config::{Build, ID, JobPattern, parse_duration};
use crate::settings::{Given, Key, Layers, Source, Values};
use crate::status::numbers::words;
use crate::sys::user::number_of_user;
use crate::tools::jobs::{JobName, Request, columns};
use crate::tools::style::Style;

/// The settings of the packaged service.
const SERVICE: &str = "/etc/manytail/manytail.toml";

pub(super) const JOBS_HELP: &str = "\
Show what the logs of jobs say last: a row for each job, or task of an array, with its owner, the \
time since its log was written, the size of its logs, and their last line (of a progress bar, the \
last update).

Asks no daemon: it looks through the PATHs of the settings, as the user who calls, and reads the \
end of one log of each job; a row of a log that this user may not read has no line. The pattern \
`job`, or that of `preset`, of its input finds the job in the name of a log.

text: JOB, TASK (of an array, or the process), USER, AGE, SIZE and LAST LINE, by the number of the \
job; control characters are `?`, and on a terminal lines are cut at its width. json: one object \
per line: job, uid, user (null: not known here), path, path_bytes (base64, where the path is not \
UTF-8), files, size, modified, age_seconds, line, bytes (base64, where the line is not UTF-8), cut \
(where the line begins before the last 4096 bytes), error (why line is null). path, modified and \
line are those of the log that was written last and is not empty.";

const EXAMPLES: &str = "\
Exit codes: 0 there is such a job, 1 none was found, 2 bad usage.

Examples:
  manytail jobs
  manytail jobs --job 4711023
  manytail jobs --user 61011 --active-within 1d --quiet-for 10min
  manytail jobs --preset slurm /home/alice --format json | jq -c '[.job.id, .line]'";

const JOB: &str = "of_job";
const USER: &str = "user";
const QUIET_FOR: &str = "quiet_for";
const ACTIVE_WITHIN: &str = "active_within";
const PATTERN: &str = "pattern";

/// The settings of a run that a settings file may give instead, with the help that they have here.
const OF_RUN: [(Key, &str); 8] = [
    (Key::Paths, "Directories and files to look through"),
    (Key::Preset, "The names of a scheduler's logs, as in `run`"),
    (Key::Include, "Only files that match, as in `run` (repeat)"),
    (Key::Exclude, "Leave out, as in `run` (repeat)"),
    (Key::NoDefaultExcludes, "Do not exclude compressed files and core dumps"),
    (Key::Recursive, "Look into sub-directories"),
    (Key::FollowSymlinks, "Follow symbolic links, as in `run` [without a value: owner]"),
    (Key::SameOwner, "Only logs that a run with this option reads"),
];

#[derive(Debug)]
pub(super) struct JobsOptions {
    /// The settings of a run that the command line gives.
    run: Values,
    jobs: Vec<String>,
    user: Option<String>,
    quiet_for: Option<Duration>,
    active_within: Option<Duration>,
    pattern: Option<String>,
    format: Style,
}

impl Args for JobsOptions {
    fn augment_args(command: Command) -> Command {
        let of_run = |key: Key, help| argument(key.row(), help).help_heading(None);
        let instead = OF_RUN.map(|(key, help)| of_run(key, help));
        let [paths, others @ ..] = instead;
        let help = format!("The settings file of the run [default without a PATH: {SERVICE}]");
        let config = argument(Key::Config.row(), "").help_heading(None).help(help);
        let needs_path = |other: Arg| other.requires(Key::Paths.name());
        let option = |name: &'static str, word: &'static str, help: &'static str| {
            Arg::new(name).value_name(word).help(help)
        };
        let job =
            option(JOB, "ID", "Only this job, or task of it, as 4711_17 (repeat) [default: all]")
                .long("job")
                .action(ArgAction::Append);
        let user = option(USER, "NAME", "Only jobs of this user, by name or number [default: all]")
            .long("user")
            .visible_alias("uid");
        let duration = |name, help| option(name, "DURATION", help).value_parser(parse_duration);
        let quiet_for =
            duration(QUIET_FOR, "Only jobs of which nothing came for this long [default: all]")
                .long("quiet-for");
        let active_within =
            duration(ACTIVE_WITHIN, "Only jobs of which something came within it [default: all]")
                .long("active-within");
        let pattern = option(
            PATTERN,
            "PATTERN",
            "Finds the job in the name, as `--job` of `run` [default: that of the preset]",
        )
        .long("pattern");
        command
            .arg(paths)
            .args([job, user, quiet_for, active_within])
            .arg(
                config
                    .conflicts_with_all(OF_RUN.map(|(key, _)| key.name()))
                    .conflicts_with(PATTERN),
            )
            .args(others.map(needs_path))
            .arg(needs_path(pattern))
            .arg(format_argument())
            .after_help(EXAMPLES)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for JobsOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<JobsOptions, clap::Error> {
        let of_run = OF_RUN.iter().map(|(key, _)| *key).chain([Key::Config]);
        Ok(JobsOptions {
            run: given(of_run, matches),
            jobs: matches.get_many(JOB).into_iter().flatten().cloned().collect(),
            user: matches.get_one(USER).cloned(),
            quiet_for: matches.get_one(QUIET_FOR).copied(),
            active_within: matches.get_one(ACTIVE_WITHIN).copied(),
            pattern: matches.get_one(PATTERN).cloned(),
            format: *matches.get_one(FORMAT).expect("it has a default"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Makes a request of the options; `variables` are those of the environment.
pub(super) fn request(
    mut options: JobsOptions,
    variables: Vec<(OsString, OsString)>,
) -> Result<Request, Refusal> {
    let owner = options.user.as_deref().map(number_of_user).transpose();
    let owner = owner.map_err(|error| super::refuse("jobs", "user", &error.to_string()))?;
    let trees = if options.run.contains_key(&Key::Paths) {
        if let Some(pattern) = &options.pattern {
            let given = Given::new(Key::Job, [pattern.into()], &Source::CommandLine);
            options.run.insert(Key::Job, given);
        }
        let mut layers = Layers { command_line: options.run, ..Layers::default() };
        if let Some(why) = crate::settings::refusals(&layers.command_line).next() {
            return Err(refuse_because("jobs", &why.to_string()));
        }
        layers.expand_presets();
        trees::of_options("jobs", layers.view(None))?
    } else {
        let config = match options.run.remove(&Key::Config) {
            Some(config) => config,
            None => of_service()?,
        };
        let given = Values::from([(Key::Config, config)]);
        let (command, arguments) = ("run", Vec::new());
        let invocation = Invocation { command, arguments, given, variables, build: Build::THIS };
        trees::of_settings(&mut invocation.read()?.config.engine)
    };
    let tells_job = |pattern: &JobPattern| pattern.names().any(|name| name == ID);
    if !trees.inputs.iter().filter_map(|input| input.job.as_ref()).any(tells_job) {
        let why = "no input has a pattern with a group `id`, which tells the job: set `job` or \
            `preset`, or give --preset or --pattern with a PATH";
        return Err(refuse_because("jobs", why));
    }
    Ok(Request {
        trees,
        jobs: options.jobs.iter().map(|job| JobName::new(job)).collect(),
        owner,
        quiet_for: options.quiet_for,
        active_within: options.active_within,
        style: options.format,
        columns: columns(),
    })
}

/// The settings of the service.
fn of_service() -> Result<Given, Refusal> {
    match Path::new(SERVICE).try_exists() {
        Ok(true) => Ok(Given::new(Key::Config, [SERVICE.into()], &Source::Default)),
        Ok(false) => {
            let why = format!("there is no {SERVICE}: give a PATH, or --config");
            Err(refuse_because("jobs", &why))
        }
        Err(error) => {
            let why = format!("{SERVICE}: {}: give a PATH, or --config", words(&error));
            Err(refuse_because("jobs", &why))
        }
    }
}
