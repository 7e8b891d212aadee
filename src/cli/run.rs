//! The options of `run`, made of the table of settings.
//!
//! In: [`TABLE`]; what clap read. Out: clap's arguments, and what a command line says, parsed.
//! Always holds: each option is well-formed by itself; what contradicts another is found later.

use std::ffi::{OsStr, OsString};

use clap::builder::{
    BoolValueParser, OsStringValueParser, PathBufValueParser, PossibleValuesParser,
    StringValueParser, TypedValueParser, ValueParser,
};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};

use crate::settings::{Form, Given, Key, Kind, Parsed, Row, Source, TABLE, Text, Values};

const EXAMPLES: &str = "\
Sizes take KiB MiB GiB (k M G are the same powers of two); durations take us ms s min h d.
A symbolic link below PATH is followed with `owner` if root made it or its owner owns the target, \
and with `any` in every case. A process that may read everything (root, CAP_DAC_READ_SEARCH) \
needs `any-privileged` instead of `any`. Links of /proc are never followed.
Exit codes: 0 done or stopped by a signal, 1 failed, 2 bad usage.

Examples:
  manytail run /srv/grid/jobs
  manytail run --format json --include '*.log' -o unix:/run/collector.sock /srv/grid/jobs
  manytail run --from end --exclude 'tmp/' --exclude '*.bak' -o file:/var/log/all-jobs.log jobs
  manytail run --once --format raw jobs | grep ERROR
  manytail run --config /etc/manytail/manytail.toml";

/// The options of `run`: what the command line says of the settings.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions(pub(super) Values);

impl Args for RunOptions {
    fn augment_args(command: Command) -> Command {
        command.args(TABLE.iter().map(|row| argument(row, row.help))).after_help(EXAMPLES)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RunOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<RunOptions, clap::Error> {
        Ok(RunOptions(given(TABLE.iter().map(|row| row.key), matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A setting as an argument, with this help.
pub(super) fn argument(row: &'static Row, help: &str) -> Arg {
    let argument = Arg::new(row.name);
    let argument = if row.is_option() {
        argument.long(row.option()).short(row.short).help_heading(row.heading)
    } else {
        argument.num_args(1..)
    };
    let argument = match row.kind.bare() {
        Some(bare) => argument.num_args(0..=1).require_equals(true).default_missing_value(bare),
        None => argument,
    };
    let argument = match row.kind {
        Kind::Switch => argument.action(ArgAction::SetTrue),
        kind => argument
            .action(if kind.form() == Form::List { ArgAction::Append } else { ArgAction::Set })
            .value_name(kind.placeholder())
            .value_parser(parser(kind))
            .hide_possible_values(!matches!(kind, Kind::Listed(..))),
    };
    let argument = match row.kind {
        Kind::Path(_) => argument.value_hint(ValueHint::AnyPath),
        _ => argument,
    };
    match (row.in_words, row.default) {
        (None, Some(default)) => argument.help(help.to_owned()).default_value(default),
        (words, _) => argument.help(format!("{help} [default: {}]", words.unwrap_or_default())),
    }
}

/// The parser of a kind, below the one of clap's that words the refusals of such values.
fn parser(kind: Kind) -> ValueParser {
    fn parse<T: AsRef<OsStr>>(
        kind: Kind,
    ) -> impl Fn(T) -> Result<Parsed, String> + Clone + Send + Sync + 'static {
        move |text| kind.parse(text.as_ref())
    }
    match (kind, kind.choices()) {
        (Kind::Boolean, _) => {
            BoolValueParser::new().map(|value| value.to_string()).try_map(parse(kind)).into()
        }
        (_, Some(choices)) => {
            PossibleValuesParser::new(choices.names()).try_map(parse(kind)).into()
        }
        (Kind::Path(_), _) => PathBufValueParser::new().try_map(parse(kind)).into(),
        (Kind::Output | Kind::Metrics | Kind::Paths, _) => {
            OsStringValueParser::new().try_map(parse(kind)).into()
        }
        _ => StringValueParser::new().try_map(parse(kind)).into(),
    }
}

/// What was given of these settings, as it was written and as it was parsed.
pub(super) fn given(keys: impl Iterator<Item = Key>, matches: &ArgMatches) -> Values {
    let source = Source::CommandLine;
    let is_given = |key: &Key| matches.value_source(key.name()) == Some(ValueSource::CommandLine);
    let of_key = |key: Key| {
        if let Kind::Switch = key.row().kind {
            return (key, Given::new(key, ["true".into()], &source));
        }
        let texts = matches.get_raw(key.name()).into_iter().flatten().map(OsString::from);
        let values = matches.get_many::<Parsed>(key.name()).into_iter().flatten();
        let texts = texts.zip(values);
        let texts = texts.map(|(text, value)| Text::parsed(text, value.clone(), &source)).collect();
        (key, Given { source: source.clone(), texts })
    };
    keys.filter(is_given).map(of_key).collect()
}
