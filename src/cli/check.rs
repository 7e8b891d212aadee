//! `check`: which settings apply, and where each comes from.
//!
//! In: what clap read: the options of `run`, and how the answer is written. The settings themselves
//! are those of `layers`.

use std::path::PathBuf;

use clap::Args;

use super::{RunOptions, one_of};
use crate::tools::style::Style;

/// The options of `run` and one more.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    #[command(flatten)]
    pub(super) run: RunOptions,

    /// How the answer is written: as a settings file, or one JSON object per setting
    #[arg(long, value_name = "text|json", default_value = "text", value_parser = one_of(&Style::NAMES),
        hide_possible_values = true, help_heading = "Answer")]
    pub(super) report: Style,

    /// Try the output: write access and space, a connection, a broker [default: off]
    #[arg(long, help_heading = "Answer")]
    pub(super) connect: bool,

    /// Print instead which input follows this path, and its labels and job (repeat) [default: none]
    #[arg(long, value_name = "PATH", help_heading = "Answer")]
    pub(super) path: Vec<PathBuf>,
}

pub(super) const CHECK_HELP: &str = "\
Print the settings that apply, each with its source: default, FILE:LINE, environment variable or \
command line. Takes what `run` takes, refuses what `run` refuses, and reports all errors in files \
and variables at once. Opens only settings files: no PATH, no output, no state directory; with \
--connect it tries the output and reports the result on stderr: of a broker also the topic or \
the stream, rights and limits, without a change there. `manytail doctor --config` tries everything.

With --path, the answer is about that path, as text: which input follows it, with which labels, \
and which fields of the job its records have. The path need not exist.

text: a settings file with these values; the others are in comments.
json: one object per line: input (its number, where it applies), key, value (null: off, or found \
out at the start), source.";

pub(super) const CHECK_EXAMPLES: &str = "\
Exit codes: 0 a run would start with these settings, 1 the output cannot be used now (--connect) \
or no input follows a path (--path), \
2 a run would refuse them.

Examples:
  manytail check --config /etc/manytail/manytail.toml
  manytail check --connect --config /etc/manytail/manytail.toml > /dev/null
  manytail check --config /etc/manytail/manytail.toml --path /home/bob/train_4711023_17.out
  manytail check --format json --include '*.log' /srv/grid/jobs > manytail.toml";
