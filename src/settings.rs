//! Settings in layers: default < file < environment < command line. Each value stays the text it
//! was given as, and knows its source.
//!
//! In: the keys that there are (the options of `run`; `cli` tells them), settings files,
//! environment variables, the command line. Out: for each key the value that counts; whether it is
//! well-formed is told by the parsers of the command line.
//! Always holds: a key that nobody knows and a value of the wrong kind are refused with key, file
//! and line.

pub(crate) mod environment;
pub(crate) mod file;
mod references;
mod report;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::rc::Rc;

pub(crate) use references::Variables;
pub use report::{Effective, Setting, Value};

/// The option that says a label; files have a table of them.
pub(crate) const LABEL: &str = "label";

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere.
    Default,
    /// In a settings file.
    File {
        /// As given, or as found in `conf.d`.
        path: Rc<str>,
        /// Counted from 1.
        line: usize,
    },
    /// In an environment variable of this name.
    Variable(Rc<str>),
    /// On the command line.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{path}:{line}"),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::CommandLine => f.write_str("command line"),
        }
    }
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`; on the command line the bare option.
    Switch,
    /// `true` or `false`.
    Boolean,
    /// `true`, `false` or one of a few words; on the command line the bare option, or one with a
    /// word behind `=`.
    Rule,
    /// A number, perhaps with a unit.
    Number,
    /// One text.
    Text,
    /// Any number of texts.
    List,
}

/// A setting: an option of `run`, or PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// As it is called in a file: the option without its dashes, `_` for `-`.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// What holds when nobody says anything, as a value. `None`: it is then off, or found out
    /// elsewhere.
    pub(crate) default: Option<String>,
    /// The same in words, from the help.
    pub(crate) default_in_words: String,
    /// Whether each input may have its own.
    pub(crate) is_of_inputs: bool,
    /// Whether a settings file may say it.
    pub(crate) is_in_files: bool,
}

impl Key {
    /// The environment variable of this setting.
    pub(crate) fn variable(&self) -> String {
        format!("{}{}", environment::PREFIX, self.name.to_ascii_uppercase())
    }
}

/// One value of a setting; a list has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: OsString,
    pub(crate) source: Source,
}

/// What one layer says of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) source: Source,
    pub(crate) texts: Vec<Text>,
}

impl Given {
    pub(crate) fn new(texts: impl IntoIterator<Item = OsString>, source: &Source) -> Given {
        let texts = texts.into_iter().map(|text| Text { text, source: source.clone() }).collect();
        Given { source: source.clone(), texts }
    }
}

/// What one layer says, by the names of keys.
pub(crate) type Values = BTreeMap<String, Given>;

/// A label of an input, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// An `[[input]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputTable {
    pub(crate) source: Source,
    pub(crate) values: Values,
    pub(crate) labels: Vec<Label>,
}

/// All that the settings files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) values: Values,
    /// Of all inputs that do not say their own.
    pub(crate) labels: Vec<Label>,
    pub(crate) inputs: Vec<InputTable>,
}

/// The layers, the first to be asked first.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) command_line: Values,
    pub(crate) environment: Values,
    pub(crate) files: Files,
    /// What the surroundings say if nobody else does: `$STATE_DIRECTORY`.
    pub(crate) surroundings: Values,
}

impl Layers {
    /// What counts for a setting; of an input, if one is given. `None`: the default.
    pub(crate) fn find<'a>(
        &'a self,
        key: &str,
        input: Option<&'a InputTable>,
    ) -> Option<&'a Given> {
        let own = input.and_then(|table| table.values.get(key));
        let outer = || self.files.values.get(key).or_else(|| self.surroundings.get(key));
        self.command_line.get(key).or_else(|| self.environment.get(key)).or(own).or_else(outer)
    }

    /// The inputs, one after the other; `None` is one that has no table. PATHs of the command line
    /// and of the environment are an input that takes the place of those in files.
    pub(crate) fn inputs(&self) -> Vec<Option<&InputTable>> {
        let is_said_outside =
            self.command_line.contains_key("paths") || self.environment.contains_key("paths");
        if !is_said_outside && !self.files.inputs.is_empty() {
            return self.files.inputs.iter().map(Some).collect();
        }
        if is_said_outside || self.files.values.contains_key("paths") {
            vec![None]
        } else {
            Vec::new()
        }
    }

    /// The labels of an input: those of all, its own, which win, and those of the environment or
    /// else of the command line, which win over both.
    pub(crate) fn labels(&self, input: Option<&InputTable>) -> Vec<Label> {
        let mut labels = self.files.labels.clone();
        for own in input.into_iter().flat_map(|table| &table.labels) {
            set_label(&mut labels, own.clone());
        }
        for given in self.find(LABEL, None).into_iter().flat_map(|given| &given.texts) {
            let text = given.text.to_string_lossy();
            if let Some((name, value)) = text.split_once('=') {
                set_label(
                    &mut labels,
                    Label {
                        name: name.to_owned(),
                        value: value.to_owned(),
                        source: given.source.clone(),
                    },
                );
            }
        }
        labels
    }
}

/// Adds a label, or replaces the one of that name.
fn set_label(labels: &mut Vec<Label>, label: Label) {
    match labels.iter_mut().find(|known| known.name == label.name) {
        Some(known) => *known = label,
        None => labels.push(label),
    }
}

/// A setting that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingError {
    /// A value, or a key.
    #[error("{}{reason}", place(at, key))]
    Value {
        /// Where it is said.
        at: Source,
        /// As it is called in a file.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text around the settings.
    #[error("{at}: {reason}")]
    Syntax {
        /// Where.
        at: Source,
        /// What the parser says.
        reason: String,
    },
    /// A file as a whole.
    #[error("{path}: {reason}")]
    File {
        /// As given, or as found in `conf.d`.
        path: String,
        /// Why it cannot be used.
        reason: String,
    },
}

/// What a refusal begins with. A variable's name says the key.
fn place(source: &Source, key: &str) -> String {
    match source {
        Source::Variable(name) => format!("{name}: "),
        Source::Default | Source::CommandLine => format!("{key}: "),
        Source::File { .. } => format!("{source}: {key}: "),
    }
}

/// What somebody may have meant who wrote `name`.
fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // As clap does for options.
    const LIKENESS: f64 = 0.8;
    let name = name.replace('-', "_");
    let likeness = |other: &&'a str| strsim::jaro_winkler(&name, other);
    known
        .filter(|other| likeness(other) > LIKENESS)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}
