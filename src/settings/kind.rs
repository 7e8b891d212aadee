//! What a setting takes: the kinds of values, each with its parser.
//!
//! In: a text, of the command line, a variable or a file. Out: the value, or why it is none.
//! Always holds: whoever says a value, it is parsed here, and once.

use std::any::Any;
use std::ffi::OsStr;
use std::num::ParseIntError;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{
    JobPattern, LinePattern, Metrics, Output, RecordRule, Symlinks, parse_addresses, parse_broker,
    parse_duration, parse_host, parse_key, parse_label, parse_server, parse_size, parse_stream,
    parse_topic,
};

/// A value of the type that its kind has.
pub(crate) type Parsed = Arc<dyn Any + Send + Sync>;

/// A few names, each with its value.
pub(crate) trait Choices: Sync {
    /// All of them.
    fn names(&self) -> Vec<&'static str>;
    /// The value of this one.
    fn value(&self, name: &str) -> Option<Parsed>;
}

impl<T: Copy + Send + Sync + 'static, const N: usize> Choices for [(&'static str, T); N] {
    fn names(&self) -> Vec<&'static str> {
        self.iter().map(|(name, _)| *name).collect()
    }

    fn value(&self, name: &str) -> Option<Parsed> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| Arc::new(*value) as Parsed)
    }
}

const BOOLEANS: [(&str, bool); 2] = [("true", true), ("false", false)];

/// What a setting takes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A `bool`; on the command line the bare option.
    Switch,
    /// A `bool`; on the command line with its value.
    Boolean,
    /// Whether records name the host, and how; the bare option is `true`.
    Host,
    /// Which links are followed; the bare option is `owner`.
    Symlinks,
    /// One of a few names.
    Choice(&'static dyn Choices),
    /// The same, with a word that stands for the names; the help lists them.
    Listed(&'static str, &'static dyn Choices),
    /// A [`std::time::Duration`].
    Duration,
    /// Bytes, a `u64`.
    Size,
    /// A `u32`.
    Count,
    /// A path that is not empty, and the word that stands for it.
    Path(&'static str),
    /// An [`Output`].
    Output,
    /// Any number of PATHs, which are arguments and no option.
    Paths,
    /// Any number of globs.
    Globs,
    /// Any number of pairs of a name and a value.
    Labels,
    /// Any number of [`Metrics`].
    Metrics,
    /// Any number of a few names.
    Several(&'static dyn Choices),
    /// A text that is not empty, and the word that stands for it.
    Name(&'static str),
    /// The path of a file that is not read here; a relative one leads from where it is said.
    File,
    /// Addresses of brokers or servers in one text, a `Vec<String>`.
    Addresses,
    /// Any number of brokers, each a `String`.
    Brokers,
    /// Any number of servers, each a `String` with its scheme.
    Servers,
    /// The name of a topic, a `String`.
    Topic,
    /// The name of a stream, a `String`.
    Stream,
    /// The key of records, a [`crate::config::Template`].
    RecordKey,
    /// A regular expression with named groups, a [`JobPattern`].
    JobPattern,
    /// Any number of regular expressions, each a [`LinePattern`].
    LinePatterns,
    /// Which lines make one record, a [`RecordRule`]; a file may say it as a table of one name.
    RecordRule,
    /// Any number of pairs of a name and a value, for the client library.
    Properties,
}

/// How a value is written, in a file above all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `true` or `false`.
    Boolean,
    /// `true`, `false` or a text.
    Rule,
    /// A number, perhaps with a unit.
    Number,
    /// One text.
    Text,
    /// Any number of texts.
    List,
    /// Names with a value each.
    Table,
}

impl Kind {
    pub(crate) fn form(self) -> Form {
        match self {
            Kind::Switch | Kind::Boolean => Form::Boolean,
            Kind::Host | Kind::Symlinks => Form::Rule,
            Kind::Duration | Kind::Size | Kind::Count => Form::Number,
            Kind::Choice(_) | Kind::Listed(..) | Kind::Path(_) | Kind::Output => Form::Text,
            Kind::Name(_) | Kind::File | Kind::Topic | Kind::Stream | Kind::RecordKey => Form::Text,
            Kind::JobPattern | Kind::RecordRule => Form::Text,
            // In a variable, a colon would be between two items of a list.
            Kind::Addresses => Form::Text,
            Kind::Paths | Kind::Globs | Kind::Labels | Kind::Metrics => Form::List,
            Kind::Several(_) | Kind::Brokers | Kind::Servers => Form::List,
            Kind::LinePatterns => Form::List,
            Kind::Properties => Form::Table,
        }
    }

    /// What the option means that is given without a value, if that may be.
    pub(crate) fn bare(self) -> Option<&'static str> {
        match self {
            Kind::Host => Some("true"),
            Kind::Symlinks => Some("owner"),
            _ => None,
        }
    }

    /// All values, if there are only a few.
    pub(crate) fn choices(self) -> Option<&'static dyn Choices> {
        match self {
            Kind::Switch | Kind::Boolean => Some(&BOOLEANS),
            Kind::Symlinks => Some(&Symlinks::NAMES),
            Kind::Choice(choices) | Kind::Listed(_, choices) | Kind::Several(choices) => {
                Some(choices)
            }
            _ => None,
        }
    }

    /// What stands for a value in the help.
    pub(crate) fn placeholder(self) -> String {
        let word = match self {
            Kind::Switch | Kind::Boolean => return BOOLEANS.names().join("|"),
            Kind::Choice(choices) | Kind::Several(choices) => return choices.names().join("|"),
            Kind::Listed(word, _) | Kind::Path(word) | Kind::Name(word) => word,
            Kind::Host => "NAME",
            Kind::Symlinks => "RULE",
            Kind::Duration => "DURATION",
            Kind::Size => "SIZE",
            Kind::Count => "N",
            Kind::Output | Kind::Metrics => "URI",
            Kind::Paths => "PATH",
            Kind::Globs => "GLOB",
            Kind::Labels => "KEY=VALUE",
            Kind::File => "FILE",
            Kind::Addresses => "HOST:PORT[,HOST:PORT...]",
            Kind::Brokers => "HOST:PORT",
            Kind::Servers => "nats://HOST:PORT",
            Kind::Topic => "TOPIC",
            Kind::Stream => "STREAM",
            Kind::RecordKey => "file|path|job|label:NAME|TEXT",
            Kind::JobPattern | Kind::LinePatterns => "PATTERN",
            Kind::RecordRule => "end|start|next=PATTERN",
            Kind::Properties => "NAME = VALUE",
        };
        word.to_owned()
    }

    /// Reads one value; of a list, one of several.
    pub(crate) fn parse(self, text: &OsStr) -> Result<Parsed, String> {
        let utf8 = || text.to_str().ok_or("it is not UTF-8");
        match self {
            Kind::Switch | Kind::Boolean => choice(&BOOLEANS, utf8()?),
            Kind::Symlinks => choice(&Symlinks::NAMES, utf8()?),
            Kind::Choice(choices) | Kind::Listed(_, choices) | Kind::Several(choices) => {
                choice(choices, utf8()?)
            }
            Kind::Host => parsed(parse_host(utf8()?)),
            Kind::Duration => parsed(parse_duration(utf8()?)),
            Kind::Size => parsed(parse_size(utf8()?)),
            Kind::Count => parsed(parse_count(utf8()?)),
            Kind::Labels => parsed(parse_label(utf8()?)),
            Kind::Globs => Ok(Arc::new(utf8()?.to_owned())),
            Kind::Output => parsed(Output::parse(text)),
            Kind::Metrics => parsed(Metrics::parse(text)),
            Kind::Path(_) | Kind::File | Kind::Name(_) if text.is_empty() => {
                Err("is empty".to_owned())
            }
            Kind::Path(_) | Kind::File => Ok(Arc::new(PathBuf::from(text))),
            Kind::Name(_) => Ok(Arc::new(utf8()?.to_owned())),
            Kind::Addresses => parsed(parse_addresses(utf8()?)),
            Kind::Brokers => parsed(parse_broker(utf8()?)),
            Kind::Servers => parsed(parse_server(utf8()?)),
            Kind::Topic => parsed(parse_topic(utf8()?)),
            Kind::Stream => parsed(parse_stream(utf8()?)),
            Kind::RecordKey => parsed(parse_key(utf8()?)),
            Kind::JobPattern => parsed(JobPattern::parse(utf8()?)),
            Kind::LinePatterns => parsed(LinePattern::parse(utf8()?)),
            Kind::RecordRule => parsed(RecordRule::parse(utf8()?)),
            Kind::Properties => parsed(parse_label(utf8()?)),
            Kind::Paths => Ok(Arc::new(text.to_owned())),
        }
    }
}

fn parsed<T, E>(outcome: Result<T, E>) -> Result<Parsed, String>
where
    T: Send + Sync + 'static,
    E: ToString,
{
    outcome.map(|value| Arc::new(value) as Parsed).map_err(|error| error.to_string())
}

fn choice(choices: &dyn Choices, name: &str) -> Result<Parsed, String> {
    choices.value(name).ok_or_else(|| format!("expected {}", choices.names().join(", ")))
}

fn parse_count(text: &str) -> Result<u32, String> {
    let number: i64 = text.parse().map_err(|error: ParseIntError| error.to_string())?;
    u32::try_from(number).map_err(|_| format!("{number} is not in 0..={}", u32::MAX))
}
