//! Command line, environment and settings files -> the settings of a run.
//!
//! In: what the command line says, the variables, and the files they name. Out: [`Settings`], or a
//! [`Refusal`] that names key and place.
//! Always holds: all that is wrong in files and variables is refused at once, before anything that
//! does not fit together.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::brokers;
use super::convert::{self, Misfit};
use super::{Arguments, Refusal, refuse, refuse_because};
use crate::config::{Build, Config, ConfigError, Output};
use crate::diagnostics::Diagnostics;
use crate::names::is_glob;
use crate::settings::{
    Change, Effective, Files, Given, InputTable, Key, Layers, Row, Scope, Setting, SettingError,
    Source, Text, Values, Variables, rows,
};
use crate::settings::{environment, file, refusals};
use crate::status::file::shown;
use crate::sys::LinkRule;

/// Settings that the service manager gives (`StateDirectory=` and `RuntimeDirectory=`,
/// systemd.exec(5)) if nothing else does: the key, the variable with a list of directories of which
/// the first counts, the path below it.
const SURROUNDINGS: [(Key, &str, &str); 2] = [
    (Key::StateDir, super::STATE_DIRECTORY, ""),
    (Key::ControlSocket, super::RUNTIME_DIRECTORY, super::CONTROL_SOCKET),
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
    /// What they say.
    pub(super) given: Values,
    pub(super) variables: Vec<(OsString, OsString)>,
    /// What this build can talk to.
    pub(super) build: Build,
}

impl Invocation {
    pub(super) fn read(self) -> Result<Settings, Refusal> {
        let (layers, mut warnings) = self.layers()?;
        let inputs = layers.inputs();
        if inputs.is_empty() {
            return Err(self.refuse_no_path(&layers));
        }
        let run = layers.view(None);
        let diagnostics =
            Diagnostics { level: run.value(Key::LogLevel), format: run.value(Key::LogFormat) };
        let config = convert::config(&layers, &inputs, self.build)
            .map_err(|misfits| self.refuse_misfits(&misfits, &layers, &inputs))?;
        warnings.extend(brokers::warnings(&config, &layers));
        if config.engine.follow_links == Some(LinkRule::Any) {
            warnings.push(
                "follow_symlinks: whoever can make a link below a PATH chooses what is read: \
                    all are followed"
                    .to_owned(),
            );
        }
        warnings.extend(globs_as_paths(&config));
        warnings.extend(repeated_paths(&config, &layers, &inputs));
        let effective = effective(&layers, &inputs, &config.output);
        Ok(Settings {
            config,
            diagnostics,
            origin: Origin { effective, warnings, invocation: self },
        })
    }

    /// What each layer says, every value well-formed, and the warnings.
    fn layers(&self) -> Result<(Layers, Vec<String>), Refusal> {
        let command_line = self.given.clone();
        let (environment, warnings) =
            environment::read(&self.variables).map_err(|error| misplaced(&[error]))?;
        let mut errors: Vec<SettingError> = refusals(&environment).collect();
        let config = command_line.get(&Key::Config).or(environment.get(&Key::Config));
        let files = match config.and_then(|given| given.texts.last()) {
            Some(path) => file::read(&path.text, Variables(&self.variables), &mut errors),
            None => Files::default(),
        };
        let of_files =
            std::iter::once(&files.values).chain(files.inputs.iter().map(|input| &input.values));
        errors.extend(of_files.flat_map(refusals));
        if !errors.is_empty() {
            return Err(misplaced(&errors));
        }
        let surroundings = surroundings(&self.variables);
        let mut layers = Layers { command_line, environment, files, surroundings };
        brokers::complete(&mut layers);
        let refused = refusals(&layers.command_line).next();
        match refused {
            Some(SettingError::Value { at: Source::CommandLine, reason, .. }) => {
                Err(refuse(self.command, Key::Brokers.name(), &reason))
            }
            Some(error) => Err(misplaced(&[error])),
            None => {
                layers.expand_presets();
                Ok((layers, warnings))
            }
        }
    }

    /// Nothing to follow: in clap's words, or with the name of the file that could have said it.
    fn refuse_no_path(&self, layers: &Layers) -> Refusal {
        let file = layers.find(Key::Config, None).and_then(|given| given.texts.last());
        if let Some(file) = file {
            let reason = "nothing to follow: it needs `paths` or an [[input]] table, or the \
                command line a PATH"
                .to_owned();
            return misplaced(&[SettingError::File {
                path: file.text.display().to_string(),
                reason,
            }]);
        }
        let mut arguments = Arguments::command().mut_subcommand(self.command, |run| {
            run.mut_arg(Key::Paths.name(), |paths| paths.required(true))
        });
        match arguments.try_get_matches_from_mut(&self.arguments) {
            Err(error) => Refusal(Box::new(error)),
            Ok(_) => refuse(self.command, "PATH", &ConfigError::NoPath.to_string()),
        }
    }

    /// The error for values that do not fit together: all of files and variables with their places,
    /// otherwise the first of the command line.
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
        let named = misfit.error.key();
        let key = if named == "PATH" { Key::Paths } else { Key::named(named) };
        let mut reason = misfit.error.to_string();
        if let (ConfigError::OnceFromEnd, Some(from)) =
            (&misfit.error, layers.find(Key::From, input))
            && from.source != Source::CommandLine
        {
            reason = format!("{reason} ({})", from.source);
        }
        let said = |text: &&Text| misfit.error.text().is_some_and(|wrong| text.text == wrong);
        let place = layers.find(key, input).and_then(|given| {
            given.texts.iter().find(said).map(|text| &text.source).or(Some(&given.source))
        });
        match place {
            // No option says it: that nobody did is what is wrong.
            None | Some(Source::Default) if key.row().table().is_some() => {
                Err(refuse_because(self.command, &format!("{named}: {reason}")))
            }
            None | Some(Source::Default | Source::CommandLine) => {
                Err(refuse(self.command, named, &reason))
            }
            Some(source) => {
                Ok(SettingError::Value { at: source.clone(), key: key.name().to_owned(), reason })
            }
        }
    }
}

/// What the service manager says.
pub(super) fn surroundings(variables: &[(OsString, OsString)]) -> Values {
    let given = |&(key, variable, below): &(Key, &str, &str)| {
        let (_, all) = variables.iter().find(|(name, _)| name == variable)?;
        let mut path = super::first_directory(all.clone())?;
        if !below.is_empty() {
            path.push(below);
        }
        Some((key, Given::new(key, [path.into()], &Source::Variable(variable.into()))))
    };
    SURROUNDINGS.iter().filter_map(given).collect()
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
        for text in layers.find(Key::Paths, input).into_iter().flat_map(|given| &given.texts) {
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

fn effective(layers: &Layers, inputs: &[Option<&InputTable>], output: &Output) -> Effective {
    let settings = |is_of_inputs: bool, input| -> Vec<Setting> {
        let rows = rows().filter(|row| (row.scope == Scope::Input) == is_of_inputs);
        let setting = |row: &'static Row| {
            let given = layers.find(row.key, input);
            let mut setting = Setting::new(row, given);
            setting.is_shown =
                row.table().is_none_or(|table| Some(table) == brokers::table(output))
                    || given.is_some();
            if brokers::needs_restart(row.key, output) {
                setting.change = Change::Restart;
            }
            setting
        };
        rows.map(setting).collect()
    };
    let with_labels = inputs.iter().map(|&input| {
        let labels = layers.labels(input).into_iter().map(Setting::label);
        settings(true, input).into_iter().chain(labels).collect()
    });
    Effective { settings: settings(false, None), inputs: with_labels.collect() }
}

/// A refusal of what was not said on the command line: no usage helps there. A line for each error.
fn misplaced(errors: &[SettingError]) -> Refusal {
    let lines: Vec<String> = errors.iter().map(|error| format!("{error}\n")).collect();
    Refusal(Box::new(clap::Error::raw(ErrorKind::ValueValidation, lines.join("error: "))))
}

#[cfg(test)]
mod tests;
