//! argv to what is to be done. The only file that names clap.
//!
//! In: the arguments. Out: a [`Command`] with validated settings, or a [`Refusal`] that knows its text and its exit code.
//! Always holds: every refusal names the option; `--help` and `--version` are refusals to run with exit code 0.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError, Format, From, Output, parse_duration, parse_size};
use crate::diagnostics::{Diagnostics, Level, LogFormat};
use crate::offsets::{Action, Request, Style};

/// What is to be done.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one command")]
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
            let diagnostics = Diagnostics { level: options.log_level, format: options.log_format };
            let config = Config::try_from(options).map_err(|error| refuse(&error))?;
            Ok(Command::Run { config, diagnostics })
        }
        Subcommands::Offsets { action } => offsets(action).map(Command::Offsets),
    }
}

fn offsets(action: OffsetsAction) -> Result<Request, Refusal> {
    let (name, options, action) = match action {
        OffsetsAction::List(options) => ("list", options, Action::List),
        OffsetsAction::Verify(options) => ("verify", options, Action::Verify),
        OffsetsAction::Forget { options, all: true, .. } => ("forget", options, Action::ForgetAll),
        OffsetsAction::Forget { options, paths, all: false } => {
            ("forget", options, Action::Forget(paths.into_iter().map(OsString::into_vec).collect()))
        }
    };
    let refuse = |message: &str| {
        let mut arguments = Arguments::command();
        arguments.build();
        let offsets = arguments.find_subcommand_mut("offsets").expect("offsets is a subcommand");
        let action = offsets.find_subcommand_mut(name).expect("every action is a subcommand of offsets");
        Refusal(Box::new(action.error(ErrorKind::ValueValidation, message)))
    };
    if let Action::Forget(paths) = &action
        && paths.iter().any(Vec::is_empty)
    {
        return Err(refuse("PATH: a PATH is empty"));
    }
    match options.state_dir.or_else(state_directory).filter(|directory| !directory.as_os_str().is_empty()) {
        Some(state_dir) => Ok(Request { state_dir, style: options.format, action }),
        None => Err(refuse("--state-dir: a state directory is needed, here or in $STATE_DIRECTORY")),
    }
}

/// What the service manager says (`StateDirectory=`, systemd.exec(5)): the first of the directories in `$STATE_DIRECTORY`.
fn state_directory() -> Option<PathBuf> {
    let all = std::env::var_os("STATE_DIRECTORY")?.into_vec();
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
    /// Look into, or edit, a state directory that no process uses
    #[command(after_help = OFFSETS_EXAMPLES)]
    Offsets {
        #[command(subcommand)]
        action: OffsetsAction,
    },
}

#[derive(Debug, Subcommand)]
enum OffsetsAction {
    /// Print how far each file was delivered, by path
    #[command(long_about = LIST_HELP)]
    List(OffsetsOptions),
    /// Forget files, so that the next run reads them from their beginning
    #[command(long_about = FORGET_HELP)]
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
    /// Read the whole journal, and look at each file it names
    #[command(long_about = VERIFY_HELP)]
    Verify(OffsetsOptions),
}

/// What all actions on a state directory have in common.
#[derive(Debug, Args)]
struct OffsetsOptions {
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

text: OFFSET, FILE, PATH, and since when the file is absent if it is, separated by TABs. OFFSET counts bytes from the start of the \
file; FILE is `file` of json records; in PATH, \\, control bytes and bytes that are not UTF-8 are written \\xHH.
json: one object per line: path, path_bytes (base64, where the path is not UTF-8), file, offset, absent_since (where it applies).";

const FORGET_HELP: &str = "\
Forget files, so that the next run reads them from their beginning.

A PATH is a file, or a directory for all files below it, byte for byte as `list --format json` prints paths; slashes at its end do not \
count. A PATH that nothing is known of makes the exit code 1, after the others were forgotten. What was forgotten keeps its number in \
`file` of json records: a later generation gets a higher one.
--all forgets all files, and that the first scan is done, so that --from applies again. A journal that is damaged, foreign or of a newer version is renamed to \
journal.N.damaged, never deleted, and a new one is begun.";

const VERIFY_HELP: &str = "\
Read the whole journal, and look at each file it names. Changes nothing. Exits with 1, and the position, if the journal is damaged.

What is found of the files is counted: unchanged (as long as the offset), grown, truncated (shorter than the offset), gone, replaced \
(another file has the path), unknown (no path is stored, or the file cannot be looked at). Relative paths are relative to the working \
directory of the run: verify in the same one.";

const OFFSETS_EXAMPLES: &str = "\
Exit codes: 0 done, 1 failed, or a process uses the state directory, 2 bad usage.

Examples:
  manytail offsets list --state-dir /var/lib/manytail
  manytail offsets forget --state-dir /var/lib/manytail /srv/grid/jobs/d7 /srv/grid/jobs/d8/job1.log
  manytail offsets verify --state-dir /var/lib/manytail --format json";

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

    /// Keep offsets in this directory across restarts [default: $STATE_DIRECTORY, else none]
    #[arg(long, value_name = "DIR", help_heading = "State")]
    pub(crate) state_dir: Option<PathBuf>,

    /// How often acknowledged offsets become durable
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration, help_heading = "State")]
    pub(crate) commit_interval: Duration,

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
