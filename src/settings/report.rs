//! The settings as they hold, for people and programs: what `check` prints, and what a run compares
//! after it read them again.
//!
//! In: rows of the table with the values that count. Out: TOML that can be used as a settings file
//! again, each line with its source, or JSON lines.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::{Change, Form, Given, Key, Label, Row, Source, Text};

/// The source of a value begins in this column, unless the value is longer.
const SOURCE_COLUMN: usize = 52;

/// What holds for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nobody said anything, and it is off or found out elsewhere: so, in words.
    Unset(&'static str),
    /// `true` or `false`.
    Boolean(bool),
    /// A text, perhaps of a number.
    Text(OsString),
    /// Several.
    List(Vec<OsString>),
    /// Names with a value each.
    Table(Vec<(String, String)>),
}

impl Value {
    fn new(row: &Row, given: Option<&Given>) -> Value {
        let texts = || given.iter().flat_map(|given| &given.texts).map(|text| text.text.clone());
        let last = texts().next_back().or_else(|| row.default.map(OsString::from));
        match (row.kind.form(), last) {
            (Form::List, _) => Value::List(texts().collect()),
            (Form::Table, _) => {
                let pairs = given.iter().flat_map(|given| &given.texts).map(Text::get);
                Value::Table(pairs.collect())
            }
            (_, None) => Value::Unset(row.in_words.unwrap_or_default()),
            (Form::Boolean | Form::Rule, Some(text)) if text == "true" || text == "false" => {
                Value::Boolean(text == "true")
            }
            (_, Some(text)) => Value::Text(text),
        }
    }

    /// As in a settings file.
    fn to_toml(&self) -> String {
        match self {
            Value::Unset(words) => (*words).to_owned(),
            Value::Boolean(value) => value.to_string(),
            Value::Text(text) => quoted(text),
            Value::List(texts) => format!(
                "[{}]",
                texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
            ),
            Value::Table(pairs) if pairs.is_empty() => "{}".to_owned(),
            Value::Table(pairs) => {
                let quoted = |text: &String| quoted(OsStr::new(text));
                let pairs = pairs.iter();
                let pairs =
                    pairs.map(|(name, text)| format!("{} = {}", quoted(name), quoted(text)));
                format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let json = |text: &OsString| serde_json::Value::from(text.to_string_lossy());
        match self {
            Value::Unset(_) => serde_json::Value::Null,
            Value::Boolean(value) => (*value).into(),
            Value::Text(text) => json(text),
            Value::List(texts) => texts.iter().map(json).collect(),
            Value::Table(pairs) => pairs.iter().cloned().collect(),
        }
    }
}

/// A string of TOML that means this text. JSON's strings are such, except for one byte, and for
/// references to variables.
fn quoted(text: &OsStr) -> String {
    serde_json::Value::from(text.to_string_lossy())
        .to_string()
        .replace('\x7f', "\\u007f")
        .replace("${", "$${")
}

/// A setting, its value, and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As it is called in a file.
    pub key: String,
    /// The value that applies.
    pub value: Value,
    /// Where the value comes from.
    pub source: Source,
    /// Whether a settings file may say it.
    is_in_files: bool,
    /// Whether it is worth a line: it has to do with the run.
    pub(crate) is_shown: bool,
    /// What a run does with a new value.
    pub(crate) change: Change,
}

impl Setting {
    pub(crate) fn new(row: &Row, given: Option<&Given>) -> Setting {
        Setting {
            key: row.name.to_owned(),
            value: Value::new(row, given),
            source: given.map_or(Source::Default, |given| given.source.clone()),
            is_in_files: row.is_in_files(),
            is_shown: true,
            change: row.change,
        }
    }

    pub(crate) fn label(label: Label) -> Setting {
        let is_bare = label
            .name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let name = if is_bare { label.name } else { quoted(OsStr::new(&label.name)) };
        Setting {
            key: format!("labels.{name}"),
            value: Value::Text(label.value.into()),
            source: label.source,
            is_in_files: true,
            is_shown: true,
            change: Change::Inputs,
        }
    }

    /// Whether both have the same value, wherever it comes from.
    #[must_use]
    pub fn is_same(&self, other: &Setting) -> bool {
        self.key == other.key && self.value == other.value
    }

    /// What a run does with the value of `after`: nothing before a restart if either of them needs
    /// one.
    pub(crate) fn change_to(&self, after: &Setting) -> Change {
        if self.change == Change::Restart { Change::Restart } else { after.change }
    }

    /// One line. What is no line of a settings file is a comment.
    fn line(&self) -> String {
        let comment =
            if self.is_in_files && !matches!(self.value, Value::Unset(_)) { "" } else { "# " };
        let mut line = String::new();
        let width = 22 - comment.len();
        let _ = write!(line, "{comment}{:width$} = {}", self.key, self.value.to_toml());
        let _ = write!(
            line,
            "{:pad$}  # {}",
            "",
            self.source,
            pad = SOURCE_COLUMN.saturating_sub(line.chars().count())
        );
        line
    }
}

/// All settings as they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    /// Those of the whole run.
    pub settings: Vec<Setting>,
    /// Those of each input.
    pub inputs: Vec<Vec<Setting>>,
}

impl Effective {
    /// Where the PATHs of each input are set.
    #[must_use]
    pub(crate) fn sources_of_inputs(&self) -> Vec<String> {
        let source = |input: &Vec<Setting>| {
            let paths = input.iter().find(|setting| setting.key == Key::Paths.name());
            paths.map_or(&Source::Default, |paths| &paths.source).to_string()
        };
        self.inputs.iter().map(source).collect()
    }

    /// Writes a settings file with these settings, each with its source.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_toml(&self, out: &mut impl Write) -> io::Result<()> {
        for setting in self.settings.iter().filter(|setting| setting.is_shown) {
            writeln!(out, "{}", setting.line())?;
        }
        for input in &self.inputs {
            writeln!(out, "\n[[input]]")?;
            for setting in input {
                writeln!(out, "{}", setting.line())?;
            }
        }
        Ok(())
    }

    /// Writes an object per setting and line: `input` (counted from 1, where it applies), `key`,
    /// `value` (null: off or found out elsewhere), `source`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            input: Option<usize>,
            key: &'a str,
            value: serde_json::Value,
            source: String,
        }
        let shown = self.settings.iter().filter(|setting| setting.is_shown);
        let of_run = shown.map(|setting| (None, setting));
        let of_inputs = self
            .inputs
            .iter()
            .zip(1..)
            .flat_map(|(input, number)| input.iter().map(move |s| (Some(number), s)));
        for (input, setting) in of_run.chain(of_inputs) {
            let line = Line {
                input,
                key: &setting.key,
                value: setting.value.to_json(),
                source: setting.source.to_string(),
            };
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// The settings of the whole run that differ: before, after.
    pub(crate) fn differences<'a>(
        &'a self,
        after: &'a Effective,
    ) -> impl Iterator<Item = (&'a Setting, &'a Setting)> {
        self.settings.iter().zip(&after.settings).filter(|(before, after)| !before.is_same(after))
    }

    /// These settings of the whole run hold, whatever was read.
    pub(crate) fn put_back(&mut self, kept: Vec<Setting>) {
        for before in kept {
            if let Some(setting) =
                self.settings.iter_mut().find(|setting| setting.key == before.key)
            {
                *setting = before;
            }
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => write!(f, "{}", text.display()),
            _ => f.write_str(&self.to_toml()),
        }
    }
}
