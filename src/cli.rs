//! Parses argv into a [`Command`]. No module outside of `cli` and `settings` names clap.
//!
//! In: the arguments, and the environment variables. Out: a [`Command`] with validated settings, or
//! a [`Refusal`] that knows its text and its exit code.
//! Always holds: every refusal names the option; `--help` and `--version` are refusals to run with
//! exit code 0.

mod brokers;
mod check;
mod convert;
mod doctor;
mod documents;
mod insight;
mod jobs;
mod layers;
mod offsets;
mod run;
mod trees;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Build;
use crate::settings::{Key, without_user};
use crate::tools::jobs::Request as JobsRequest;
use crate::tools::offsets::Request;
use crate::tools::status::StatusRequest;
use crate::tools::style::Style;
use crate::tools::tap::TapRequest;
use crate::tools::top::TopRequest;
pub(crate) use doctor::DoctorCall;
use layers::Invocation;
pub(crate) use layers::{Origin, Settings};
use run::RunOptions;

/// A command with its options.
#[derive(Debug)]
pub enum Command {
    /// Follow files.
    Run(Box<Settings>),
    /// Print which settings hold, and try the output; or print which input follows some paths.
    Check(Box<Settings>, Style, bool, Vec<PathBuf>),
    /// Look into a state directory, or edit it.
    Offsets(Request),
    /// Look whether a run has what it needs.
    Doctor(DoctorCall),
    /// Tell how a daemon does.
    Status(StatusRequest),
    /// Show what the logs of jobs say last.
    Jobs(Box<JobsRequest>),
    /// Show records as they pass.
    Tap(TapRequest),
    /// Show it live.
    Top(TopRequest),
    /// Print a text: a manual page, or completions.
    Print(Vec<u8>),
}

/// Why nothing is done: bad usage, or a question that is answered by a text.
#[derive(Debug)]
pub struct Refusal(Box<clap::Error>);

impl Refusal {
    /// Prints the answer to stdout, or the error to stderr, as far as they are open. Returns 0 or
    /// 2.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Nobody is left to tell when the descriptor is closed (`--help | head -1`).
        self.0.print().ok();
        ExitCode::from(self.exit_code())
    }

    /// Whether it is an answer for stdout: `--help` or `--version`.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        !self.0.use_stderr()
    }

    fn exit_code(&self) -> u8 {
        if self.0.use_stderr() { 2 } else { 0 }
    }
}

impl std::fmt::Display for Refusal {
    /// The reason as one line, without a word about usage.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&one_line(&self.0.to_string()))
    }
}

/// Parses the arguments, the program's name first; `variables` are those of the environment.
///
/// # Errors
/// When they are no valid command, or say what cannot be, and for `--help` and `--version`.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, Refusal> {
    parse_for(Build::THIS, arguments, variables)
}

/// The same, as a build would that can talk to these brokers.
fn parse_for(
    build: Build,
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, Refusal> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let refuse = |error| Refusal(Box::new(with_hint(error)));
    let matches = Arguments::command().try_get_matches_from(&arguments).map_err(refuse)?;
    if let Some((name, _)) = matches.subcommand()
        && let Some(options) = Arguments::command().find_subcommand(name)
    {
        refuse_values_of_switches(name, options, &arguments)?;
    }
    let parsed = Arguments::from_arg_matches(&matches).map_err(refuse)?;
    let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();
    let settings = |command, RunOptions(given)| {
        let variables = variables.clone();
        Invocation { command, arguments, given, variables, build }.read().map(Box::new)
    };
    match parsed.command {
        Subcommands::Run(options) => settings("run", options).map(Command::Run),
        Subcommands::Check(options) => settings("check", options.run).map(|settings| {
            Command::Check(settings, options.report, options.connect, options.path)
        }),
        Subcommands::Offsets { action } => offsets::request(action).map(Command::Offsets),
        Subcommands::Doctor(options) => doctor::call(options, variables).map(Command::Doctor),
        Subcommands::Status(options) => insight::status(options).map(Command::Status),
        Subcommands::Jobs(options) => {
            jobs::request(options, variables).map(Box::new).map(Command::Jobs)
        }
        Subcommands::Tap(options) => Ok(Command::Tap(insight::tap(options))),
        Subcommands::Top(options) => insight::top(options).map(Command::Top),
        Subcommands::Completions(options) => Ok(Command::Print(documents::completions(&options))),
        Subcommands::Man(options) => Ok(Command::Print(documents::man(&options))),
    }
}

/// Adds a hint: a PATH without a command most likely means `run`. Leaves out what may be a secret:
/// an address with a user in it.
fn with_hint(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && is_of_address(&error)
    {
        let shown = without_user(OsStr::new(value)).into_owned();
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    if error.kind() == ErrorKind::InvalidSubcommand
        && error.get(ContextKind::SuggestedSubcommand).is_none()
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
    {
        let hint = format!("to follow it, say `manytail run {word}`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

/// Whether an error is about an option whose values have addresses in them.
fn is_of_address(error: &clap::Error) -> bool {
    let options = [Key::Output, Key::Brokers].map(|key| format!("--{} ", key.row().option()));
    matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(argument))
        if options.iter().any(|option| argument.starts_with(option)))
}

/// Set by the service manager (`StateDirectory=`, systemd.exec(5)).
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
/// Likewise (`RuntimeDirectory=`).
const RUNTIME_DIRECTORY: &str = "RUNTIME_DIRECTORY";
/// In it.
const CONTROL_SOCKET: &str = "control.sock";

/// The first of the directories in `$STATE_DIRECTORY`.
fn state_directory() -> Option<PathBuf> {
    first_directory(std::env::var_os(STATE_DIRECTORY)?)
}

/// The control socket of a run without `--control-socket`.
fn default_control_socket() -> Option<PathBuf> {
    first_directory(std::env::var_os(RUNTIME_DIRECTORY)?)
        .map(|directory| directory.join(CONTROL_SOCKET))
}

fn first_directory(all: OsString) -> Option<PathBuf> {
    let all = all.into_vec();
    let first = all.split(|&byte| byte == b':').next().filter(|first| !first.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(first)))
}

/// The first paragraph of an error for people, as one line.
fn one_line(text: &str) -> String {
    let lines = text
        .trim()
        .trim_start_matches("error: ")
        .lines()
        .take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ").replace(" error: ", "; ")
}

/// Says of the command line what clap cannot know. `command`: with its own subcommand, if it has
/// some. `key`: as in a file, or an argument in capitals.
fn refuse(command: &str, key: &str, reason: &str) -> Refusal {
    let is_argument = key.bytes().all(|byte| byte.is_ascii_uppercase());
    let option = if is_argument { key.to_owned() } else { format!("--{}", key.replace('_', "-")) };
    refuse_because(command, &format!("{option}: {reason}"))
}

/// The same of what is no option's fault, in clap's words.
fn refuse_because(command: &str, why: &str) -> Refusal {
    let mut arguments = Arguments::command();
    arguments.build();
    let command = command
        .split(' ')
        .fold(&mut arguments, |at, name| at.find_subcommand_mut(name).expect("it is a subcommand"));
    Refusal(Box::new(command.error(ErrorKind::ValueValidation, why)))
}

/// Refuses `true` or `false` behind an option that takes no value: clap would follow it as a PATH
/// of that name.
fn refuse_values_of_switches(
    command: &str,
    options: &clap::Command,
    arguments: &[OsString],
) -> Result<(), Refusal> {
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let takes_value =
        |option: &clap::Arg| option.get_num_args().is_some_and(|values| values.takes_values());
    let is_switch = |option: &clap::Arg| {
        matches!(option.get_action(), ArgAction::SetTrue)
            || (takes_value(option) && option.is_require_equals_set())
    };
    let switches: Vec<String> = options
        .get_arguments()
        .filter(|option| is_switch(option))
        .filter_map(|option| Some(format!("--{}", option.get_long()?)))
        .collect();
    for pair in arguments[..end].windows(2) {
        let value = pair[1].to_str().filter(|value| ["true", "false"].contains(value));
        if let Some(value) = value
            && let Some(switch) = switches.iter().find(|switch| pair[0] == switch.as_str())
        {
            let advice = if value == "true" {
                "it is on when it is given"
            } else {
                "leave it out, or set its environment variable"
            };
            let why = format!(
                "{switch}: it takes no value behind a blank, and {value} would be a PATH: \
                {advice}; write ./{value} for a PATH"
            );
            return Err(refuse_because(command, &why));
        }
    }
    Ok(())
}

/// One of a few names.
fn one_of<T: Copy + Send + Sync + 'static>(
    names: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name)).map(move |given| {
        let (_, value) = names
            .iter()
            .find(|(name, _)| *name == given)
            .expect("clap lets only these names through");
        *value
    })
}

/// The name of [`format_argument`].
const FORMAT: &str = "format";

/// The option of a command that answers in a [`Style`].
fn format_argument() -> Arg {
    Arg::new(FORMAT)
        .short('f')
        .long("format")
        .value_name("text|json")
        .default_value("text")
        .value_parser(one_of(&Style::NAMES))
        .hide_possible_values(true)
        .help("How the answer is written")
}

const EXAMPLES: &str = "\
`manytail COMMAND --help` describes one command, `man manytail` describes all of them.

Examples:
  manytail run /srv/grid/jobs
  manytail check --config /etc/manytail/manytail.toml
  manytail man | man -l -";

/// tail -F for hundreds of thousands of job logs
#[derive(Debug, Parser)]
#[command(name = "manytail", version, propagate_version = true, args_override_self = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Follow every regular file under each PATH
    Run(RunOptions),
    /// Print the settings that apply and their sources; change nothing
    #[command(long_about = check::CHECK_HELP, after_help = check::CHECK_EXAMPLES)]
    Check(check::CheckOptions),
    /// List, verify or forget the offsets of a stopped run
    #[command(after_help = offsets::OFFSETS_EXAMPLES)]
    Offsets {
        #[command(subcommand)]
        action: offsets::OffsetsAction,
    },
    /// Check whether PATHs and this machine are ready for a run
    #[command(long_about = doctor::DOCTOR_HELP)]
    Doctor(doctor::DoctorOptions),
    /// Report whether a running manytail keeps up, or the state of a file
    #[command(long_about = insight::STATUS_HELP, after_help = insight::STATUS_EXAMPLES)]
    Status(insight::StatusOptions),
    /// Show what the logs of jobs say last
    #[command(long_about = jobs::JOBS_HELP)]
    Jobs(jobs::JobsOptions),
    /// Show records as they pass to the output of a running manytail
    #[command(long_about = insight::TAP_HELP, after_help = insight::TAP_EXAMPLES)]
    Tap(insight::TapOptions),
    /// Show a running manytail live
    #[command(long_about = insight::TOP_HELP, after_help = insight::TOP_EXAMPLES)]
    Top(insight::TopOptions),
    /// Print a script that makes a shell complete these commands
    Completions(documents::CompletionsOptions),
    /// Print a manual page, as roff
    Man(documents::ManOptions),
}

#[cfg(test)]
mod tests;
