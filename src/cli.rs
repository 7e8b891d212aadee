//! argv to what is to be done. Nothing else names clap.
//!
//! In: the arguments. Out: a [`Command`] with validated settings, or a [`Refusal`] that knows its text and its exit code.
//! Always holds: every refusal names the option; `--help` and `--version` are refusals to run with exit code 0.

mod doctor;
mod insight;
mod offsets;
mod run;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError, Metrics, Output};
use crate::diagnostics::Diagnostics;
use crate::insight::{StatusRequest, TopRequest};
use crate::offsets::Request;
pub(crate) use run::RunOptions;

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Follow files.
    Run {
        /// What to follow, and how.
        config: Config,
        /// What to say meanwhile.
        diagnostics: Diagnostics,
    },
    /// Look into a state directory, or edit it.
    Offsets(Request),
    /// Look whether a run has what it needs.
    Doctor(crate::doctor::Request),
    /// Tell how a daemon does.
    Status(StatusRequest),
    /// Show it live.
    Top(TopRequest),
}

/// Why nothing is done: bad usage, or a question that is answered by a text.
#[derive(Debug)]
pub struct Refusal(Box<clap::Error>);

impl Refusal {
    /// Prints the answer to stdout, or the error to stderr, as far as they are open. Returns 0 or 2.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Nobody is left to tell when the descriptor is closed (`--help | head -1`).
        self.0.print().ok();
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        if self.0.use_stderr() { 2 } else { 0 }
    }
}

/// Parses the arguments, the program's name first.
///
/// # Errors
/// When they are no valid command, and for `--help` and `--version`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Refusal> {
    let parsed = Arguments::try_parse_from(spell_out_recursive(arguments)).map_err(|error| Refusal(Box::new(error)))?;
    match parsed.command {
        Subcommands::Run(mut options) => {
            options.state_dir = options.state_dir.or_else(state_directory);
            options.control_socket = options.control_socket.or_else(default_control_socket);
            let diagnostics = Diagnostics { level: options.log_level, format: options.log_format };
            let config = Config::try_from(options).map_err(|error| refuse(&error))?;
            Ok(Command::Run { config, diagnostics })
        }
        Subcommands::Offsets { action } => offsets::request(action).map(Command::Offsets),
        Subcommands::Doctor(options) => doctor::request(options).map(Command::Doctor),
        Subcommands::Status(options) => insight::status(options).map(Command::Status),
        Subcommands::Top(options) => insight::top(options).map(Command::Top),
    }
}

/// What the service manager says (`StateDirectory=`, systemd.exec(5)): the first of the directories in `$STATE_DIRECTORY`.
fn state_directory() -> Option<PathBuf> {
    first_directory("STATE_DIRECTORY")
}

/// In what `RuntimeDirectory=` made, likewise.
fn default_control_socket() -> Option<PathBuf> {
    first_directory("RUNTIME_DIRECTORY").map(|directory| directory.join("control.sock"))
}

fn first_directory(variable: &str) -> Option<PathBuf> {
    let all = std::env::var_os(variable)?.into_vec();
    let first = all.split(|&byte| byte == b':').next().filter(|first| !first.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(first)))
}

/// Says what clap cannot know, in clap's words.
fn refuse(error: &ConfigError) -> Refusal {
    let option = match error.key() {
        "PATH" => "PATH".to_owned(),
        key => format!("--{}", key.replace('_', "-")),
    };
    let mut arguments = Arguments::command();
    arguments.build();
    let run = arguments.find_subcommand_mut("run").expect("run is a subcommand");
    Refusal(Box::new(run.error(ErrorKind::ValueValidation, format!("{option}: {error}"))))
}

/// `--recursive` alone means true. clap would take the PATH behind it for its value, so it is told.
fn spell_out_recursive(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut spelled: Vec<OsString> = arguments.into_iter().collect();
    let options = spelled.iter().position(|argument| argument == "--").unwrap_or(spelled.len());
    for at in 0..options {
        let has_value = spelled.get(at + 1).is_some_and(|next| next == "true" || next == "false");
        if spelled[at] == "--recursive" && !has_value {
            spelled[at] = "--recursive=true".into();
        }
    }
    spelled
}

/// One of a few names.
fn one_of<T: Copy + Send + Sync + 'static>(names: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name)).map(move |given| {
        let (_, value) = names.iter().find(|(name, _)| *name == given).expect("clap lets only these names through");
        *value
    })
}

fn output_uri() -> impl TypedValueParser<Value = Output> {
    OsStringValueParser::new().try_map(|uri| Output::parse(&uri))
}

fn metrics_uri() -> impl TypedValueParser<Value = Metrics> {
    OsStringValueParser::new().try_map(|uri| Metrics::parse(&uri))
}

/// tail -F for hundreds of thousands of job logs
#[derive(Debug, Parser)]
#[command(name = "manytail", version, propagate_version = true, args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
enum Subcommands {
    /// Follow every regular file under each PATH
    Run(RunOptions),
    /// Look into, or edit, a state directory that no process uses
    #[command(after_help = offsets::OFFSETS_EXAMPLES)]
    Offsets {
        #[command(subcommand)]
        action: offsets::OffsetsAction,
    },
    /// Look whether PATHs and this machine are what a run needs
    #[command(long_about = doctor::DOCTOR_HELP)]
    Doctor(doctor::DoctorOptions),
    /// Tell whether a running manytail keeps up, or what is known of a file
    #[command(long_about = insight::STATUS_HELP, after_help = insight::STATUS_EXAMPLES)]
    Status(insight::StatusOptions),
    /// Show a running manytail live
    #[command(long_about = insight::TOP_HELP)]
    Top(insight::TopOptions),
}

#[cfg(test)]
mod tests;
