//! Settings files: TOML -> what they say, with the line of each value.
//!
//! In: a file and the `*.toml` of the directory `conf.d` beside it, in the order of their names.
//! Out: [`Files`]. A single value (and a list) comes from the last file that has it; `[[input]]`
//! tables add up.
//! Always holds: unknown keys, wrong types and a key that comes twice in one file are refused
//! with file and line, all of them at once. Only regular files are read: they are read again while
//! the loop waits.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::secrets::{self, sounds_secret};
use super::{
    BROKERS, Files, Form, Given, InputTable, KAFKA, Key, Kind, Label, NATS, Row, Scope,
    SettingError, Source, TABLE, Text, Values, Variables, set_label, similar,
};
use crate::config::{INPUTS_MAX, RecordRule, refused_property, refused_value};
use crate::sys::text;

/// The directory of further files.
const MORE: &str = "conf.d";

/// The table of an input.
const INPUT: &str = "input";

/// No more of a malformed text is shown.
const SHOWN_CHARS: usize = 60;

/// The table of labels, for all inputs or in an input's table.
const LABELS: &str = "labels";

/// Reads a settings file and those of `conf.d` beside it. What is wrong with them is added to
/// `errors`.
pub(crate) fn read(
    main: &OsStr,
    variables: Variables<'_>,
    errors: &mut Vec<SettingError>,
) -> Files {
    let main = Path::new(main);
    let more = main.parent().unwrap_or(Path::new("")).join(MORE);
    let names = text::names(&more).unwrap_or_else(|error| {
        errors.push(SettingError::File {
            path: more.display().to_string(),
            reason: format!("cannot list it: {error}"),
        });
        Vec::new()
    });
    let is_ours = |name: &&OsStr| {
        Path::new(name).extension() == Some(OsStr::new("toml"))
            && !name.as_encoded_bytes().starts_with(b".")
    };
    let mut files = Files::default();
    let others = names.iter().map(|name| &**name).filter(is_ours).map(|name| more.join(name));
    for path in std::iter::once(main.to_owned()).chain(others) {
        let name = path.display().to_string();
        match text::read(&path) {
            Ok(bytes) => merge(&mut files, parse(&name, &bytes, variables, errors)),
            Err(error) => {
                errors.push(SettingError::File {
                    path: name,
                    reason: format!("cannot read the settings: {error}"),
                });
            }
        }
    }
    errors.extend(check_inputs(&files).err());
    files
}

/// Adds what a later file says.
fn merge(files: &mut Files, later: Files) {
    files.values.extend(later.values);
    for label in later.labels {
        set_label(&mut files.labels, label);
    }
    files.inputs.extend(later.inputs);
}

/// Checks what needs all files.
fn check_inputs(files: &Files) -> Result<(), SettingError> {
    if let (Some(paths), Some(input)) = (files.values.get(&Key::Paths), files.inputs.first()) {
        let reason = format!(
            "contradicts the [[input]] table at {}: write another table for these paths",
            input.source
        );
        return Err(SettingError::Value {
            at: paths.source.clone(),
            key: Key::Paths.name().to_owned(),
            reason,
        });
    }
    match files.inputs.get(INPUTS_MAX) {
        None => Ok(()),
        Some(input) => {
            let reason =
                format!("there are {} inputs, {INPUTS_MAX} is the limit", files.inputs.len());
            Err(SettingError::Value { at: input.source.clone(), key: INPUT.to_owned(), reason })
        }
    }
}

/// Reads the text of one file.
pub(super) fn parse(
    path: &str,
    bytes: &[u8],
    variables: Variables<'_>,
    errors: &mut Vec<SettingError>,
) -> Files {
    let document =
        Document { path: path.into(), text: bytes, variables, errors: RefCell::default() };
    let files = document.read().unwrap_or_else(|error| {
        document.errors.borrow_mut().push(error);
        Files::default()
    });
    errors.extend(document.errors.into_inner());
    files
}

impl Document<'_> {
    /// What is not TOML is refused as a whole.
    fn read(&self) -> Result<Files, SettingError> {
        let text = str::from_utf8(self.text).map_err(|error| SettingError::Syntax {
            at: self.source(&(error.valid_up_to()..self.text.len())),
            reason: "is not UTF-8".to_owned(),
        })?;
        let root = DeTable::parse(text).map_err(|error| self.syntax(text, &error))?;
        Ok(self.root(root.get_ref()))
    }

    fn syntax(&self, text: &str, error: &toml::de::Error) -> SettingError {
        let span = error.span().unwrap_or(text.len()..text.len());
        let reason = error.message().replace('\n', ", ");
        let line = text.get(..span.end).unwrap_or(text).lines().next_back().unwrap_or_default();
        // The key that is there twice, or the word that is none.
        let word = text.get(span.clone()).filter(|word| {
            (1..=SHOWN_CHARS).contains(&word.chars().count())
                && !word.contains('\n')
                && !sounds_secret(line)
        });
        let reason = word.map(|word| format!("{word}: {reason}")).unwrap_or(reason);
        SettingError::Syntax { at: self.source(&span), reason }
    }
}

/// Counted from 1.
fn line_of(text: &[u8], at: usize) -> usize {
    let before = &text[..at.min(text.len())];
    memchr::memchr_iter(b'\n', before).count() + 1
}

type Name<'a> = Spanned<Cow<'a, str>>;
type Entry<'t, 'a> = (&'t Name<'a>, &'t Spanned<DeValue<'a>>);

/// The entries of a table in the order of the file.
fn entries<'t, 'a>(table: &'t DeTable<'a>) -> Vec<Entry<'t, 'a>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// A file being read.
struct Document<'t> {
    path: Rc<str>,
    text: &'t [u8],
    variables: Variables<'t>,
    /// What is wrong with single settings.
    errors: RefCell<Vec<SettingError>>,
}

impl Document<'_> {
    fn source(&self, span: &Range<usize>) -> Source {
        Source::File { path: self.path.clone(), line: line_of(self.text, span.start) }
    }

    fn refuse(&self, span: &Range<usize>, key: &str, reason: impl Into<String>) -> SettingError {
        SettingError::Value { at: self.source(span), key: key.to_owned(), reason: reason.into() }
    }

    /// What is right; the rest is noted.
    fn noted<T>(&self, outcome: Result<T, SettingError>) -> Option<T> {
        outcome.map_err(|error| self.errors.borrow_mut().push(error)).ok()
    }

    fn root(&self, table: &DeTable<'_>) -> Files {
        let mut files = Files::default();
        for (name, value) in entries(table) {
            match name.get_ref().as_ref() {
                INPUT => files.inputs = self.noted(self.inputs(value)).unwrap_or_default(),
                LABELS => files.labels = self.noted(self.labels(value)).unwrap_or_default(),
                KAFKA => {
                    files.values.extend(self.noted(self.table(KAFKA, value)).unwrap_or_default())
                }
                NATS => {
                    files.values.extend(self.noted(self.table(NATS, value)).unwrap_or_default())
                }
                key => files.values.extend(self.noted(self.setting(
                    key,
                    name,
                    value,
                    Row::is_in_files,
                ))),
            }
        }
        files
    }

    fn inputs(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<InputTable>, SettingError> {
        let refuse = |span: &Range<usize>| {
            self.refuse(span, INPUT, "expected tables, each under a line [[input]]")
        };
        let DeValue::Array(tables) = value.get_ref() else { return Err(refuse(&value.span())) };
        let mut inputs = Vec::new();
        for table in tables.iter() {
            let DeValue::Table(entries) = table.get_ref() else {
                return Err(refuse(&table.span()));
            };
            inputs.extend(self.noted(self.input(entries, &table.span())));
        }
        Ok(inputs)
    }

    fn input(&self, table: &DeTable<'_>, span: &Range<usize>) -> Result<InputTable, SettingError> {
        let mut input = InputTable {
            source: self.source(span),
            values: super::Values::new(),
            labels: Vec::new(),
        };
        let mut has_paths = false;
        for (name, value) in entries(table) {
            match name.get_ref().as_ref() {
                LABELS => input.labels = self.noted(self.labels(value)).unwrap_or_default(),
                key => {
                    let is_known = |row: &Row| row.scope == Scope::Input;
                    input.values.extend(self.noted(self.setting(key, name, value, is_known)));
                    has_paths |= key == Key::Paths.name();
                }
            }
        }
        if has_paths { Ok(input) } else { Err(self.refuse(span, INPUT, "`paths` is missing")) }
    }

    /// A table of settings.
    fn table(
        &self,
        table: &'static str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Values, SettingError> {
        let DeValue::Table(lines) = value.get_ref() else {
            let reason = format!(
                "expected a table, under a line [{table}], not {}",
                type_name(value.get_ref())
            );
            return Err(self.refuse(&value.span(), table, reason));
        };
        let mut values = Values::new();
        for (name, value) in entries(lines) {
            let key = format!("{table}.{}", name.get_ref());
            let given = match BROKERS.iter().find(|row| row.name == key) {
                Some(row) => self.given(row, value).map(|given| (row.key, given)),
                None => Err(self.refuse(&name.span(), &key, why_not_in(table, name.get_ref()))),
            };
            values.extend(self.noted(given));
        }
        Ok(values)
    }

    /// One line `key = value`. `is_known`: whether the key may stand here.
    fn setting(
        &self,
        name: &str,
        written: &Name<'_>,
        value: &Spanned<DeValue<'_>>,
        is_known: impl Fn(&Row) -> bool,
    ) -> Result<(Key, Given), SettingError> {
        match TABLE.iter().find(|row| row.name == name && is_known(row)) {
            Some(row) => Ok((row.key, self.given(row, value)?)),
            None => Err(self.refuse(&written.span(), name, Self::why_unknown(name, is_known))),
        }
    }

    fn why_unknown(name: &str, is_known: impl Fn(&Row) -> bool) -> String {
        if TABLE.iter().any(|row| row.name == name && row.is_in_files()) {
            return "is one for all inputs: write it before the first table".to_owned();
        }
        let tables = BROKERS.iter().filter(|row| row.bare_name() == name).filter_map(Row::table);
        let tables: Vec<String> = tables.map(|table| format!("[{table}]")).collect();
        if !tables.is_empty() {
            return format!("is a key of {}: write it there", tables.join(" or "));
        }
        let known = TABLE.iter().filter(|row| is_known(row)).map(|row| row.name);
        match similar(name, known.chain([INPUT, LABELS, KAFKA, NATS])) {
            Some(meant) => format!("unknown key; did you mean `{meant}`?"),
            None => "unknown key".to_owned(),
        }
    }

    fn given(&self, row: &Row, value: &Spanned<DeValue<'_>>) -> Result<Given, SettingError> {
        let source = self.source(&value.span());
        let given = |text: String| Ok(Given::new(row.key, [text.into()], &source));
        match (row.kind.form(), value.get_ref()) {
            (Form::Boolean | Form::Rule, DeValue::Boolean(value)) => given(value.to_string()),
            (Form::Text | Form::Number | Form::Rule, DeValue::String(text)) => {
                let text = self.expand(text, &value.span(), row.name)?;
                match row.kind {
                    Kind::File if !text.is_empty() => {
                        let path = secrets::path(&text, Path::new(&*self.path), self.variables);
                        Ok(Given::new(row.key, [path], &source))
                    }
                    _ => given(text),
                }
            }
            (Form::Number, DeValue::Integer(number)) => match decimal(number) {
                Some(number) => given(number),
                None => Err(self.refuse(&value.span(), row.name, "too large")),
            },
            (Form::List, DeValue::Array(values)) => {
                let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
                    DeValue::String(text) => {
                        let text = self.expand(text, &value.span(), row.name)?;
                        Ok(Text::new(row.key, text.into(), &self.source(&value.span())))
                    }
                    other => Err(self.wrong_type(row, other, &value.span())),
                };
                let texts: Vec<Text> = values.iter().map(text).collect::<Result<_, _>>()?;
                if texts.is_empty() && row.key == Key::Paths {
                    return Err(self.refuse(
                        &value.span(),
                        row.name,
                        "at least one path is needed",
                    ));
                }
                Ok(Given { source, texts })
            }
            (Form::Table, DeValue::Table(table)) => {
                let mut texts = Vec::new();
                self.properties(row, row.name, table, &mut texts)?;
                Ok(Given { source, texts })
            }
            (_, DeValue::Table(table)) if matches!(row.kind, Kind::RecordRule) => {
                given(self.record_rule(row, table, &value.span())?)
            }
            (_, other) => Err(self.wrong_type(row, other, &value.span())),
        }
    }

    /// `{ end = 'PATTERN' }` as `end=PATTERN`.
    fn record_rule(
        &self,
        row: &Row,
        table: &DeTable<'_>,
        span: &Range<usize>,
    ) -> Result<String, SettingError> {
        let [(name, value)] = entries(table)[..] else {
            let names = RecordRule::NAMES.join("`, `");
            return Err(self.refuse(span, row.name, format!("expected one of `{names}`")));
        };
        match value.get_ref() {
            DeValue::String(text) => {
                let text = self.expand(text, &value.span(), row.name)?;
                Ok(format!("{}={text}", name.get_ref()))
            }
            other => Err(self.wrong_type(row, other, &value.span())),
        }
    }

    /// Properties for a client library. Their names have dots, which TOML reads as tables.
    fn properties(
        &self,
        row: &Row,
        above: &str,
        table: &DeTable<'_>,
        texts: &mut Vec<Text>,
    ) -> Result<(), SettingError> {
        for (name, value) in entries(table) {
            let key = format!("{above}.{}", name.get_ref());
            let text = match value.get_ref() {
                DeValue::Table(below) => {
                    self.properties(row, &key, below, texts)?;
                    continue;
                }
                DeValue::String(text) => Some(self.expand(text, &value.span(), &key)?),
                DeValue::Boolean(value) => Some(value.to_string()),
                DeValue::Integer(number) => decimal(number),
                _ => None,
            };
            let refuse = |why: &str| Err(self.refuse(&name.span(), &key, why));
            let Some(text) = text else { return refuse("expected a string, an integer or true") };
            let property = &key[row.name.len() + 1..];
            let is_name = !property.is_empty()
                && property.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=');
            if !is_name {
                return refuse("is no name of a property");
            }
            let refused = refused_property(property).or_else(|| refused_value(property, &text));
            if let Some(why) = refused {
                return refuse(why);
            }
            let pair = (property.to_owned(), text);
            if texts.iter().any(|known| known.get::<(String, String)>().0 == pair.0) {
                return refuse("is there twice");
            }
            let shown = format!("{}={}", pair.0, pair.1).into();
            texts.push(Text::parsed(shown, Arc::new(pair), &self.source(&value.span())));
        }
        Ok(())
    }

    /// A text with what it says of variables replaced.
    fn expand(&self, text: &str, span: &Range<usize>, key: &str) -> Result<String, SettingError> {
        self.variables.expand(text).map_err(|reason| self.refuse(span, key, reason))
    }

    fn wrong_type(&self, row: &Row, value: &DeValue<'_>, span: &Range<usize>) -> SettingError {
        let expected = match row.kind.form() {
            Form::Boolean => "true or false, without quotes",
            Form::Number => "a number, or a string with a number and its unit",
            Form::Rule => "true, false or a string",
            Form::Text if matches!(row.kind, Kind::RecordRule) => {
                "a table of one string, as in { start = \"PATTERN\" }"
            }
            Form::Text => "a string",
            Form::List => "a list of strings, as in [\"a\", \"b\"]",
            Form::Table => "a table of strings, as in { \"socket.keepalive.enable\" = \"true\" }",
        };
        self.refuse(span, row.name, format!("expected {expected}, not {}", type_name(value)))
    }

    fn labels(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Label>, SettingError> {
        let DeValue::Table(table) = value.get_ref() else {
            let reason = format!(
                "expected a table of strings, as in {{ cluster = \"a\" }}, not {}",
                type_name(value.get_ref())
            );
            return Err(self.refuse(&value.span(), LABELS, reason));
        };
        let mut labels = Vec::new();
        for (name, value) in entries(table) {
            let key = format!("{LABELS}.{}", name.get_ref());
            if name.get_ref().is_empty() {
                return Err(self.refuse(&name.span(), &key, "the name of a label is empty"));
            }
            let DeValue::String(text) = value.get_ref() else {
                return Err(self.refuse(
                    &value.span(),
                    &key,
                    format!("expected a string, not {}", type_name(value.get_ref())),
                ));
            };
            let text = self.expand(text, &value.span(), &key)?;
            labels.push(Label {
                name: name.get_ref().to_string(),
                value: text,
                source: self.source(&value.span()),
            });
        }
        Ok(labels)
    }
}

/// Why a table has no such key.
fn why_not_in(table: &'static str, name: &str) -> String {
    // `passwd_file` is a slip.
    if sounds_secret(name) && !name.contains("file") {
        let files = if table == KAFKA { "" } else { ", `credentials_file` or `nkey_file`" };
        return format!(
            "a secret is never in the settings: write it to a file that only the service can \
            read, and name that in `password_file`{files}"
        );
    }
    if TABLE.iter().any(|row| row.name == name && row.is_in_files()) {
        return format!("is none of [{table}]: write it before the first table");
    }
    let known = BROKERS.iter().filter(|row| row.table() == Some(table)).map(Row::bare_name);
    match similar(name, known) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?"),
        None if table == KAFKA => {
            "unknown key; properties of the client library are in [kafka.properties]".to_owned()
        }
        None => "unknown key".to_owned(),
    }
}

/// The digits of an integer that TOML may write with a base and underscores.
fn decimal(number: &DeInteger<'_>) -> Option<String> {
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
