//! Settings in layers: default < file < environment < command line. Each value is parsed once,
//! keeps the text it was given as, and knows its source.
//!
//! In: settings files, environment variables, the command line. Out: for each key of the table the
//! value that counts.
//! Always holds: a key that nobody knows and a value of the wrong kind are refused with key, file
//! and line.

mod brokers;
pub(crate) mod environment;
pub(crate) mod file;
mod kind;
mod presets;
mod references;
mod report;
mod row;
mod secrets;
mod table;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::rc::Rc;

pub use brokers::BROKERS;
pub(crate) use brokers::{KAFKA, NATS};
pub(crate) use kind::{Form, Kind, Parsed};
pub(crate) use references::Variables;
pub(crate) use report::{Effective, Setting, Value};
pub(crate) use row::{Change, Key, Live};
pub use row::{Row, Scope};
pub(crate) use secrets::without_user;
pub use table::TABLE;
pub(crate) use table::rows;

/// Where a value comes from.
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
    /// In the preset of this name, which is given there.
    Preset(&'static str, Box<Source>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{path}:{line}"),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::CommandLine => f.write_str("command line"),
            Source::Preset(name, at) => write!(f, "preset {name}, {at}"),
        }
    }
}

/// One value of a setting; a list has several.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// As it was given.
    pub(crate) text: OsString,
    /// What it means, or why it means nothing.
    value: Result<Parsed, String>,
    pub(crate) source: Source,
}

impl Text {
    pub(crate) fn new(key: Key, text: OsString, source: &Source) -> Text {
        let value = key.row().kind.parse(&text);
        Text { text, value, source: source.clone() }
    }

    /// Of a value that is parsed already.
    pub(crate) fn parsed(text: OsString, value: Parsed, source: &Source) -> Text {
        Text { text, value: Ok(value), source: source.clone() }
    }

    /// Why it is refused, if it is.
    fn refusal(&self, key: Key) -> Option<SettingError> {
        let why = self.value.as_ref().err()?;
        let reason = if self.text.is_empty() {
            "is empty".to_owned()
        } else {
            format!("`{}`: {why}", self.shown(key))
        };
        Some(SettingError::Value { at: self.source.clone(), key: key.name().to_owned(), reason })
    }

    /// As it may be shown: an address may have a secret in it.
    fn shown(&self, key: Key) -> Cow<'_, str> {
        match key.row().kind {
            Kind::Output | Kind::Addresses | Kind::Brokers | Kind::Servers => {
                secrets::without_user(&self.text)
            }
            _ => self.text.to_string_lossy(),
        }
    }

    /// `None`: it is no value.
    fn try_get<T: Clone + 'static>(&self) -> Option<T> {
        self.value.as_ref().ok().map(value_of)
    }

    fn get<T: Clone + 'static>(&self) -> T {
        value_of(self.value.as_ref().expect("what is no value was refused"))
    }
}

fn value_of<T: Clone + 'static>(parsed: &Parsed) -> T {
    parsed.downcast_ref::<T>().expect("a value is read as the type of its kind").clone()
}

/// What one layer says of one setting.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) source: Source,
    pub(crate) texts: Vec<Text>,
}

impl Given {
    pub(crate) fn new(
        key: Key,
        texts: impl IntoIterator<Item = OsString>,
        source: &Source,
    ) -> Given {
        let texts = texts.into_iter().map(|text| Text::new(key, text, source)).collect();
        Given { source: source.clone(), texts }
    }
}

/// What one layer says.
pub(crate) type Values = BTreeMap<Key, Given>;

/// Values that are none, in the order of the table.
pub(crate) fn refusals(values: &Values) -> impl Iterator<Item = SettingError> {
    values.iter().flat_map(|(key, given)| given.texts.iter().filter_map(|text| text.refusal(*key)))
}

/// A label of an input, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// An `[[input]]` table.
#[derive(Debug)]
pub(crate) struct InputTable {
    pub(crate) source: Source,
    pub(crate) values: Values,
    pub(crate) labels: Vec<Label>,
}

/// All that the settings files say.
#[derive(Debug, Default)]
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
    pub(crate) fn find<'a>(&'a self, key: Key, input: Option<&'a InputTable>) -> Option<&'a Given> {
        let own = input.and_then(|table| table.values.get(&key));
        let outer = || self.files.values.get(&key).or_else(|| self.surroundings.get(&key));
        self.command_line.get(&key).or_else(|| self.environment.get(&key)).or(own).or_else(outer)
    }

    /// Adds the values of each preset to those of its place.
    pub(crate) fn expand_presets(&mut self) {
        let format = self.view(None).value(Key::Format);
        let of_inputs = self.files.inputs.iter_mut().map(|input| &mut input.values);
        [&mut self.command_line, &mut self.environment, &mut self.files.values]
            .into_iter()
            .chain(of_inputs)
            .for_each(|values| presets::expand(values, format));
    }

    /// What counts for the whole run, or for an input.
    pub(crate) fn view<'a>(&'a self, input: Option<&'a InputTable>) -> View<'a> {
        View { layers: self, input }
    }

    /// The inputs, one after the other; `None` is one that has no table. PATHs of the command line
    /// and of the environment are an input that takes the place of those in files.
    pub(crate) fn inputs(&self) -> Vec<Option<&InputTable>> {
        let is_said_outside = self.command_line.contains_key(&Key::Paths)
            || self.environment.contains_key(&Key::Paths);
        if !is_said_outside && !self.files.inputs.is_empty() {
            return self.files.inputs.iter().map(Some).collect();
        }
        if is_said_outside || self.files.values.contains_key(&Key::Paths) {
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
        for text in self.find(Key::Label, None).into_iter().flat_map(|given| &given.texts) {
            let (name, value) = text.get();
            set_label(&mut labels, Label { name, value, source: text.source.clone() });
        }
        labels
    }
}

/// The values that count.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    layers: &'a Layers,
    input: Option<&'a InputTable>,
}

impl View<'_> {
    /// The value of a setting that has a default.
    pub(crate) fn value<T: Clone + 'static>(self, key: Key) -> T {
        self.optional(key).expect("it has a default")
    }

    /// `None`: nobody said anything, and there is no default.
    pub(crate) fn optional<T: Clone + 'static>(self, key: Key) -> Option<T> {
        let default = || {
            let text = OsStr::new(key.row().default?);
            Some(value_of(&key.row().kind.parse(text).expect("each default is a value")))
        };
        match self.layers.find(key, self.input) {
            Some(given) => given.texts.last().map(Text::get),
            None => default(),
        }
    }

    /// Whether somebody said something.
    pub(crate) fn is_said(self, key: Key) -> bool {
        let given = self.layers.find(key, self.input);
        given.is_some_and(|given| given.source != Source::Default)
    }

    /// Whether it is from a preset.
    pub(crate) fn is_of_preset(self, key: Key) -> bool {
        let given = self.layers.find(key, self.input);
        given.is_some_and(|given| matches!(given.source, Source::Preset(..)))
    }

    /// All values of a list.
    pub(crate) fn list<T: Clone + 'static>(self, key: Key) -> Vec<T> {
        let given = self.layers.find(key, self.input);
        given.into_iter().flat_map(|given| &given.texts).map(Text::get).collect()
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
        /// Where it comes from.
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
        Source::File { .. } | Source::Preset(..) => format!("{source}: {key}: "),
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
