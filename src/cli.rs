//! argv to what is to be done. The only file that names clap.
//!
//! In: the arguments. Out: a [`Command`] with validated settings, or a [`Refusal`] that knows its text and its exit code.
//! Always holds: every refusal names the option; `--help` and `--version` are refusals to run with exit code 0.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError, Format, From, Output, parse_duration, parse_size};
use crate::diagnostics::{Diagnostics, Level, LogFormat};

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
        Subcommands::Run(options) => {
            let diagnostics = Diagnostics { level: options.log_level, format: options.log_format };
            let config = Config::try_from(options).map_err(|error| refuse(&error))?;
            Ok(Command::Run { config, diagnostics })
        }
    }
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

/// tail -F for hundreds of thousands of job logs
#[derive(Debug, Parser)]
#[command(name = "manytail", version, propagate_version = true, args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Follow every regular file under each PATH
    Run(RunOptions),
}

const EXAMPLES: &str = "\
Sizes take KiB MiB GiB (k M G are the same powers of two); durations take us ms s min h d.
Exit codes: 0 done or stopped by a signal, 1 failed, 2 bad usage.

Examples:
  manytail run /srv/grid/jobs
  manytail run --format json --include '*.log' -o unix:/run/collector.sock /srv/grid/jobs
  manytail run --from end --exclude 'tmp/' --exclude '*.bak' -o file:/var/log/all-jobs.log jobs
  manytail run --once --format raw jobs | grep ERROR";

/// The options of `run`, each well-formed by itself; [`Config`] is made of them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunOptions {
    /// Directories and files to follow
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,

    /// stdout, fd:N, file:PATH, unix:PATH (stream) or tcp:HOST:PORT
    #[arg(short, long, value_name = "URI", default_value = "stdout", value_parser = output_uri(), help_heading = "Output")]
    pub(crate) output: Output,

    /// How records are written
    #[arg(short, long, value_name = "raw|text|json", default_value = "text", value_parser = one_of(&Format::NAMES),
        hide_possible_values = true, help_heading = "Output")]
    pub(crate) format: Format,

    /// On SIGTERM, wait this long for the output to take what was read
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration, help_heading = "Output")]
    pub(crate) shutdown_timeout: Duration,

    /// Only files that match; with a / matched to the path below PATH (repeat) [default: all]
    #[arg(long, value_name = "GLOB", help_heading = "Which files")]
    pub(crate) include: Vec<String>,

    /// Never these files and directories (repeat) [default: *.gz *.bz2 *.xz *.zst *.lz4 *.zip *.Z]
    #[arg(long, value_name = "GLOB", help_heading = "Which files")]
    pub(crate) exclude: Vec<String>,

    /// Do not exclude compressed files [default: off]
    #[arg(long, help_heading = "Which files")]
    pub(crate) no_default_excludes: bool,

    /// Follow sub-directories; alone it means true
    #[arg(long, value_name = "true|false", default_value = "true", action = clap::ArgAction::Set,
        hide_possible_values = true, help_heading = "Which files")]
    pub(crate) recursive: bool,

    /// Follow symbolic links to files and directories [default: off]
    #[arg(long, help_heading = "Which files")]
    pub(crate) follow_symlinks: bool,

    /// Where to start in files that exist at the first start
    #[arg(long, value_name = "beginning|end", default_value = "beginning", value_parser = one_of(&From::NAMES),
        hide_possible_values = true, help_heading = "What is read")]
    pub(crate) from: From,

    /// Read up to the end of each file, then exit [default: off]
    #[arg(long, help_heading = "What is read")]
    pub(crate) once: bool,

    /// Start at the end of files not modified for this long; 0 = off [default: off]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "What is read")]
    pub(crate) ignore_older: Option<Duration>,

    /// Deliver longer lines in pieces of this size, at most 1GiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_size, help_heading = "What is read")]
    pub(crate) max_line_bytes: u64,

    /// Deliver an unfinished last line that rests for this long; 0 = never
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration, help_heading = "What is read")]
    pub(crate) partial_after: Duration,

    /// Least time between two reads of one file
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = parse_duration, help_heading = "Timing")]
    pub(crate) coalesce: Duration,

    /// Least time between two turns of the loop; 0 = none
    #[arg(long, value_name = "DURATION", default_value = "500us", value_parser = parse_duration, help_heading = "Timing")]
    pub(crate) pace: Duration,

    /// Look for what events did not tell, spread over this time; 0 = never
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = parse_duration, help_heading = "Timing")]
    pub(crate) rescan: Duration,

    /// How much is said on stderr
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = one_of(&Level::NAMES), help_heading = "Diagnostics")]
    pub(crate) log_level: Level,

    /// How it is said on stderr
    #[arg(long, value_name = "text|json", default_value = "text", value_parser = one_of(&LogFormat::NAMES),
        hide_possible_values = true, help_heading = "Diagnostics")]
    pub(crate) log_format: LogFormat,
}

#[cfg(test)]
mod tests;
