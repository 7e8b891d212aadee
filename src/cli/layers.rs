//! Command line, environment and settings files -> the settings of a run.
//!
//! In: the arguments, the variables, and the files they name. Out: [`Settings`], or a [`Refusal`]
//! that names key and place.
//! Always holds: the options of `run` are the one list of settings. What a file or a variable says
//! goes through the parser of the option, so a value is well-formed everywhere or nowhere.

use std::collections::HashSet;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory};

use super::convert::{self, Misfit};
use super::run::InputOptions;
use super::{Arguments, Refusal, RunOptions, refuse};
use crate::config::{Config, ConfigError, Format};
use crate::diagnostics::Diagnostics;
use crate::names::is_glob;
use crate::settings::{
    Effective, Files, Given, InputTable, Key, Kind, LABEL, Layers, Setting, SettingError, Source,
    Text, Values, Variables,
};
use crate::settings::{environment, file};
use crate::status::file::shown;
use crate::sys::LinkRule;

/// The name of PATHs in files.
const PATHS: &str = "paths";

/// The settings file.
const CONFIG: &str = "config";

/// Settings that the service manager knows (`StateDirectory=` and `RuntimeDirectory=`,
/// systemd.exec(5)) when nobody says them: the key, the variable with directories of which the
/// first counts, the path below it.
const SURROUNDINGS: [(&str, &str, &str); 2] = [
    ("state_dir", super::STATE_DIRECTORY, ""),
    ("control_socket", super::RUNTIME_DIRECTORY, super::CONTROL_SOCKET),
];

/// All that a run needs to know before it starts.
#[derive(Debug)]
pub struct Settings {
    /// What to follow, and how.
    pub config: Config,
    /// What to say meanwhile.
    pub diagnostics: Diagnostics,
    /// Where that comes from.
    pub origin: Origin,
}

/// Where settings come from, and how they are found out again.
#[derive(Debug)]
pub struct Origin {
    /// The settings one by one, each with its source.
    pub effective: Effective,
    /// What is likely not meant so.
    pub warnings: Vec<String>,
    invocation: Invocation,
}

impl Origin {
    /// Reads all again: the same command line, the same variables, the files as they are now.
    ///
    /// # Errors
    /// When a file cannot be read, or says what cannot be.
    pub fn read_again(&self) -> Result<Settings, Refusal> {
        self.invocation.clone().read()
    }
}

/// What the process was started with.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    /// The subcommand.
    pub(super) command: &'static str,
    pub(super) arguments: Vec<OsString>,
    pub(super) variables: Vec<(OsString, OsString)>,
}

impl Invocation {
    pub(super) fn read(self) -> Result<Settings, Refusal> {
        let matches = Arguments::command()
            .try_get_matches_from(&self.arguments)
            .map_err(|error| Refusal(Box::new(error)))?;
        let (_, given) = matches.subcommand().expect("clap lets only a subcommand through");
        let mut options = RunOptions::augment_args(clap::Command::new("settings"))
            .no_binary_name(true)
            .args_override_self(true);
        let keys = keys(&options);
        let (layers, mut warnings) = self.layers(&keys, given, &mut options)?;
        let inputs = layers.inputs();
        if inputs.is_empty() {
            return Err(self.refuse_no_path(&layers));
        }
        let run: RunOptions = parse(&keys, &layers, None);
        let diagnostics = Diagnostics { level: run.log_level, format: run.log_format };
        let pairs = |input: Option<&InputTable>| {
            layers.labels(input).into_iter().map(|label| (label.name, label.value)).collect()
        };
        let with_labels = inputs
            .iter()
            .map(|&input| (parse::<InputOptions>(&keys, &layers, input), pairs(input)))
            .collect();
        let config = convert::config(run, with_labels)
            .map_err(|misfits| self.refuse_misfits(&misfits, &layers, &inputs))?;
        if matches!(config.engine.format, Format::Raw | Format::Text) {
            if config.engine.inputs.iter().any(|input| !input.labels.is_empty()) {
                warnings.push(
                    "labels are part of json and syslog records: with another format \
                    they change nothing"
                        .to_owned(),
                );
            }
            if config.engine.host.is_some() {
                warnings.push(
                    "host is part of json and syslog records: with another format it \
                    changes nothing"
                        .to_owned(),
                );
            }
        }
        if config.engine.follow_links == Some(LinkRule::Any) {
            warnings.push(
                "follow_symlinks: whoever can make a link below a PATH chooses what is read: \
                    all are followed"
                    .to_owned(),
            );
        }
        warnings.extend(globs_as_paths(&config));
        warnings.extend(repeated_paths(&config, &layers, &inputs));
        let effective = effective(&keys, &layers, &inputs);
        Ok(Settings {
            config,
            diagnostics,
            origin: Origin { effective, warnings, invocation: self },
        })
    }

    /// What each layer says, every value well-formed, and the warnings.
    fn layers(
        &self,
        keys: &[Key],
        given: &ArgMatches,
        options: &mut clap::Command,
    ) -> Result<(Layers, Vec<String>), Refusal> {
        let command_line = on_command_line(keys, given);
        let (environment, warnings) =
            environment::read(&self.variables, keys).map_err(|error| misplaced(&[error]))?;
        let mut errors = Vec::new();
        check(&environment, keys, options, &mut errors);
        let files = match command_line
            .get(CONFIG)
            .or(environment.get(CONFIG))
            .and_then(|given| given.texts.last())
        {
            Some(path) => file::read(&path.text, keys, Variables(&self.variables), &mut errors),
            None => Files::default(),
        };
        for values in
            std::iter::once(&files.values).chain(files.inputs.iter().map(|input| &input.values))
        {
            check(values, keys, options, &mut errors);
        }
        if !errors.is_empty() {
            return Err(misplaced(&errors));
        }
        Ok((
            Layers { command_line, environment, files, surroundings: self.surroundings() },
            warnings,
        ))
    }

    /// What the service manager says.
    fn surroundings(&self) -> Values {
        let given = |&(key, variable, below): &(&str, &str, &str)| {
            let (_, all) = self.variables.iter().find(|(name, _)| name == variable)?;
            let mut path = super::first_directory(all.clone())?;
            if !below.is_empty() {
                path.push(below);
            }
            Some((key.to_owned(), Given::new([path.into()], &Source::Variable(variable.into()))))
        };
        SURROUNDINGS.iter().filter_map(given).collect()
    }

    /// Nothing to follow: in clap's words, or with the name of the file that could have said it.
    fn refuse_no_path(&self, layers: &Layers) -> Refusal {
        let file = layers.find(CONFIG, None).and_then(|given| given.texts.last());
        if let Some(file) = file {
            let reason = "nothing to follow: it needs `paths` or an [[input]] table, or the \
                command line a PATH"
                .to_owned();
            return misplaced(&[SettingError::File {
                path: file.text.display().to_string(),
                reason,
            }]);
        }
        let mut arguments = Arguments::command()
            .mut_subcommand(self.command, |run| run.mut_arg(PATHS, |paths| paths.required(true)));
        match arguments.try_get_matches_from_mut(&self.arguments) {
            Err(error) => Refusal(Box::new(error)),
            Ok(_) => refuse(self.command, "PATH", &ConfigError::NoPath.to_string()),
        }
    }

    /// Says where it was said what does not fit: all that files and variables say, else the first
    /// of the command line.
    fn refuse_misfits(
        &self,
        misfits: &[Misfit],
        layers: &Layers,
        inputs: &[Option<&InputTable>],
    ) -> Refusal {
        let mut elsewhere = Vec::new();
        for misfit in misfits {
            match self.misfit(misfit, layers, inputs) {
                Ok(error) => elsewhere.push(error),
                Err(refusal) => return refusal,
            }
        }
        misplaced(&elsewhere)
    }

    /// What does not fit, as an error of a file or a variable; else the refusal of the command
    /// line.
    fn misfit(
        &self,
        misfit: &Misfit,
        layers: &Layers,
        inputs: &[Option<&InputTable>],
    ) -> Result<SettingError, Refusal> {
        let input = inputs.get(misfit.input).copied().flatten();
        let key = misfit.error.key();
        let find = |key: &str| layers.find(if key == "PATH" { PATHS } else { key }, input);
        let mut reason = misfit.error.to_string();
        if let (ConfigError::OnceFromEnd, Some(from)) = (&misfit.error, find("from"))
            && from.source != Source::CommandLine
        {
            reason = format!("{reason} ({})", from.source);
        }
        let given = find(key);
        let said = |text: &&Text| misfit.error.text().is_some_and(|wrong| text.text == wrong);
        let place = given.and_then(|given| {
            given.texts.iter().find(said).map(|text| &text.source).or(Some(&given.source))
        });
        match place {
            None | Some(Source::Default | Source::CommandLine) => {
                Err(refuse(self.command, key, &reason))
            }
            Some(source) => {
                let key = if key == "PATH" { PATHS } else { key };
                Ok(SettingError::Value { at: source.clone(), key: key.to_owned(), reason })
            }
        }
    }
}

/// The settings that there are: the options of `run`, each an entry of [`RunOptions`] and nothing
/// else. So a new option is a key of files, a variable and a line of `check` at once. What it takes
/// is told by its action and the name of its value: `SIZE`, `DURATION` and `N` may be integers in
/// TOML, `true|false` is a boolean, `RULE` and `NAME` a boolean or a text. Whether a run takes a
/// new value without a restart is told in `daemon::reload`.
pub(super) fn keys(options: &clap::Command) -> Vec<Key> {
    let of_inputs = InputOptions::augment_args(clap::Command::new("input"));
    let of_inputs: HashSet<&str> =
        of_inputs.get_arguments().map(|option| option.get_id().as_str()).collect();
    let is_setting = |option: &&clap::Arg| {
        !matches!(
            option.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        )
    };
    let key = |option: &clap::Arg| {
        let kind = kind(option);
        let defaults: Vec<_> =
            option.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let is_off = kind == Kind::Switch;
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        let words = help
            .rsplit_once("[default: ")
            .and_then(|(_, words)| words.split(']').next())
            .unwrap_or("none");
        let name = option.get_long().unwrap_or(option.get_id().as_str()).replace('-', "_");
        Key {
            kind,
            default: if is_off {
                Some("false".to_owned())
            } else {
                (!defaults.is_empty()).then(|| defaults.join(" "))
            },
            default_in_words: words.to_owned(),
            is_of_inputs: of_inputs.contains(option.get_id().as_str()),
            is_in_files: name != CONFIG && name != LABEL,
            name,
        }
    };
    options.get_arguments().filter(is_setting).map(key).collect()
}

fn kind(option: &clap::Arg) -> Kind {
    let value = option.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    match (option.get_action(), value) {
        (ArgAction::SetTrue, _) => Kind::Switch,
        (ArgAction::Append, _) => Kind::List,
        (_, Some("true|false")) => Kind::Boolean,
        (_, Some("RULE" | "NAME")) => Kind::Rule,
        (_, Some("SIZE" | "DURATION" | "N")) => Kind::Number,
        _ => Kind::Text,
    }
}

/// What was given to the command, as it was written.
fn on_command_line(keys: &[Key], given: &ArgMatches) -> Values {
    let source = Source::CommandLine;
    let is_given = |key: &&Key| given.value_source(&id(key)) == Some(ValueSource::CommandLine);
    let values = |key: &Key| match key.kind {
        Kind::Switch => Given::new(["true".into()], &source),
        _ => Given::new(
            given.get_raw(&id(key)).into_iter().flatten().map(OsStr::to_os_string),
            &source,
        ),
    };
    keys.iter().filter(is_given).map(|key| (key.name.clone(), values(key))).collect()
}

/// What clap calls a setting: the derived options are called after their fields.
fn id(key: &Key) -> String {
    key.name.clone()
}

/// One value as an argument.
fn argument(key: &Key, text: &OsStr) -> Vec<OsString> {
    let option = format!("--{}", key.name.replace('_', "-"));
    match key.kind {
        _ if key.name == PATHS => vec!["--".into(), text.to_owned()],
        Kind::Switch if text == "true" => vec![option.into()],
        Kind::Switch => Vec::new(),
        _ => vec![OsString::from_vec([option.as_bytes(), b"=", text.as_bytes()].concat())],
    }
}

/// Asks the parsers of the options whether they take these values. What they do not take is added
/// to `errors`.
fn check(
    values: &Values,
    keys: &[Key],
    options: &mut clap::Command,
    errors: &mut Vec<SettingError>,
) {
    for key in keys {
        for text in values.get(&key.name).into_iter().flat_map(|given| &given.texts) {
            if let Err(error) = options.try_get_matches_from_mut(argument(key, &text.text)) {
                let reason = reason(&error, &text.text);
                errors.push(SettingError::Value {
                    at: text.source.clone(),
                    key: key.name.clone(),
                    reason,
                });
            }
        }
    }
}

/// Why clap refuses a value, without the words about the command line.
fn reason(error: &clap::Error, value: &OsStr) -> String {
    if value.is_empty() {
        return "is empty".to_owned();
    }
    let why = match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(known))) => {
            format!("expected {}", known.join(", "))
        }
        (ErrorKind::InvalidUtf8, _) => "it is not UTF-8".to_owned(),
        _ => match error.source() {
            Some(source) => source.to_string(),
            None => one_line(&error.to_string()),
        },
    };
    format!("`{}`: {why}", value.display())
}

/// The first paragraph of an error for people, as one line.
pub(super) fn one_line(text: &str) -> String {
    let lines = text
        .trim()
        .trim_start_matches("error: ")
        .lines()
        .take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ").replace(" error: ", "; ")
}

/// What counts, parsed as the options of a command line. `input`: for this input.
fn parse<O: Args>(keys: &[Key], layers: &Layers, input: Option<&InputTable>) -> O {
    let command = O::augment_args(clap::Command::new("settings"))
        .no_binary_name(true)
        .args_override_self(true);
    let ids: HashSet<String> =
        command.get_arguments().map(|option| option.get_id().to_string()).collect();
    let is_paths = |key: &&Key| key.name == PATHS;
    let (mut words, mut paths) = (Vec::new(), vec![OsString::from("--")]);
    for key in keys.iter().filter(|key| ids.contains(&id(key))) {
        let texts = layers.find(&key.name, input).into_iter().flat_map(|given| &given.texts);
        if is_paths(&key) {
            paths.extend(texts.map(|text| text.text.clone()));
        } else {
            words.extend(texts.flat_map(|text| argument(key, &text.text)));
        }
    }
    let matches = command
        .try_get_matches_from(words.into_iter().chain(paths))
        .expect("each value was taken by itself");
    O::from_arg_matches(&matches).expect("the options are those of the matches")
}

/// PATHs that a shell would have expanded if it could.
fn globs_as_paths(config: &Config) -> Vec<String> {
    let paths =
        config.engine.inputs.iter().flat_map(|input| &input.paths).filter(|path| is_glob(path));
    let warning = |path: &Vec<u8>| {
        let path = shown(path);
        format!(
            "PATH {path} is taken as it is written: if a glob is meant, it is no glob; name the \
            directory above it, and give the rest to --include"
        )
    };
    paths.map(warning).collect()
}

/// PATHs that come twice, so that the second one gets no file that the first one takes.
fn repeated_paths(config: &Config, layers: &Layers, inputs: &[Option<&InputTable>]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen: Vec<(Vec<u8>, usize, &Source)> = Vec::new();
    for (number, &input) in inputs.iter().enumerate() {
        for text in layers.find(PATHS, input).into_iter().flat_map(|given| &given.texts) {
            let absolute =
                std::path::absolute(&text.text).unwrap_or_else(|_| text.text.clone().into());
            let path = plain(absolute.as_os_str().as_bytes());
            let patterns = |number: usize| &config.engine.inputs[number].patterns;
            let before = seen.iter().find(|(known, of, _)| {
                *known == path && patterns(*of).leaves_nothing_to(patterns(number))
            });
            if let Some((_, _, first)) = before {
                let path = shown(&path);
                warnings.push(format!(
                    "PATH {path} is given twice, at {first} and {}: the first one gets all of its \
                    files",
                    text.source
                ));
            } else {
                seen.push((path, number, &text.source));
            }
        }
    }
    warnings
}

/// A path without what changes nothing in it.
fn plain(path: &[u8]) -> Vec<u8> {
    let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    let plain = names.collect::<Vec<_>>().join(&b'/');
    if path.starts_with(b"/") { [b"/", &*plain].concat() } else { plain }
}

fn effective(keys: &[Key], layers: &Layers, inputs: &[Option<&InputTable>]) -> Effective {
    let settings = keys
        .iter()
        .filter(|key| !key.is_of_inputs)
        .map(|key| Setting::new(key, layers.find(&key.name, None)));
    let of_input = |&input: &Option<&InputTable>| {
        let own = keys
            .iter()
            .filter(|key| key.is_of_inputs)
            .map(|key| Setting::new(key, layers.find(&key.name, input)));
        own.chain(layers.labels(input).into_iter().map(Setting::label)).collect()
    };
    Effective { settings: settings.collect(), inputs: inputs.iter().map(of_input).collect() }
}

/// A refusal of what was not said on the command line: no usage helps there. A line for each error.
fn misplaced(errors: &[SettingError]) -> Refusal {
    let lines: Vec<String> = errors.iter().map(|error| format!("{error}\n")).collect();
    Refusal(Box::new(clap::Error::raw(ErrorKind::ValueValidation, lines.join("error: "))))
}

#[cfg(test)]
mod tests;
