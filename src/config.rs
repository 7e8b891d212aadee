//! The settings of a run: validated, typed, every limit with its unit.
//!
//! In: texts, for the parsers below. Out: the types of settings; [`Config`] has all of them, and
//! nothing has to check it again.
//! Always holds: the error for a text says what would be accepted.

mod brokers;
mod job;
mod metrics;
mod output;
mod pattern;
mod record_rule;
mod template;
mod values;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use brokers::{
    BrokerError, Build, Certificates, Compression, Header, Kafka, Nats, OnRefused, Sasl, Security,
    parse_addresses, parse_broker, parse_key, parse_server, parse_stream, parse_topic,
    record_bytes_max, refused_property, refused_value,
};
pub use job::JobRules;
pub(crate) use job::{ID, JobPattern, UID, below_path, file_name};
pub use metrics::Metrics;
pub use output::Output;
pub(crate) use output::TOPIC_BYTES_MAX;
#[cfg(feature = "nats")]
pub(crate) use output::{SUBJECT_BYTES_MAX, subject_filter};
pub use pattern::Filters;
pub(crate) use pattern::LinePattern;
pub use record_rule::{RecordRule, RecordRules};
pub(crate) use template::Fields;
pub use template::{Alphabet, Template, TemplateError};
pub(crate) use values::{Host, parse_duration, parse_host, parse_label, parse_size};

use crate::patterns::{PatternError, Patterns};
use crate::sys::LinkRule;
use crate::sys::host;

/// The highest line limit that is accepted, in bytes: the read buffer holds a whole line, and
/// anything longer is a file rather than a line.
pub(crate) const LINE_BYTES_LIMIT: u64 = 1 << 30;

/// The longest duration that is accepted: a hundred years can be added to any clock without
/// overflow.
pub(crate) const DURATION_LIMIT: Duration = Duration::from_secs(36_525 * 86_400);

/// The longest path of a unix socket, in bytes: `sun_path` without its NUL, unix(7).
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The line's bytes and a newline.
    Raw,
    /// Path, TAB, the line's bytes, newline.
    Text,
    /// One JSON object per line.
    Json,
    /// A syslog message (RFC 5424), preceded by its length in bytes (RFC 6587).
    Syslog,
}

impl Format {
    /// Every value with its name.
    pub const NAMES: [(&'static str, Format); 4] = [
        ("raw", Format::Raw),
        ("text", Format::Text),
        ("json", Format::Json),
        ("syslog", Format::Syslog),
    ];
}

/// Where reading starts in files that exist at the first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// Byte 0.
    Beginning,
    /// The start of the last, unfinished line, or the end.
    End,
}

impl StartAt {
    /// Every value with its name.
    pub const NAMES: [(&'static str, StartAt); 2] =
        [("beginning", StartAt::Beginning), ("end", StartAt::End)];
}

/// What happens to a new file whose first block is binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// It is read like any other file.
    Deliver,
    /// It is left out.
    Skip,
}

impl Binary {
    /// Every value with its name.
    pub const NAMES: [(&'static str, Binary); 2] =
        [("deliver", Binary::Deliver), ("skip", Binary::Skip)];
}

/// The name of a value, from a table that has all values.
pub(crate) fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names.iter().find(|(_, known)| known == value).expect("every value has a name").0
}

/// What a carriage return is that no newline follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarriageReturn {
    /// A byte of the line.
    Data,
    /// The end of a record.
    Split,
    /// The same, and of the records of one read that it ends, only the last one is delivered.
    Latest,
}

impl CarriageReturn {
    /// Every value with its name.
    pub const NAMES: [(&'static str, CarriageReturn); 3] = [
        ("data", CarriageReturn::Data),
        ("split", CarriageReturn::Split),
        ("latest", CarriageReturn::Latest),
    ];
}

/// When records tell that a log is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndRules {
    /// A writer closed it, and nothing came for this long. `None`: closes count for nothing.
    pub closed: Option<Duration>,
    /// Nothing came for this long. `None`: that counts for nothing.
    pub idle: Option<Duration>,
}

impl EndRules {
    /// Whether they tell it at all: then also of files that leave or begin anew.
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.closed.is_some() || self.idle.is_some()
    }
}

/// Which symbolic links below PATH are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks {
    /// None.
    Ignore,
    /// The links that a rule allows.
    Follow(LinkRule),
    /// All links, although the process can read whatever they lead to, regardless of permissions.
    AnyPrivileged,
}

impl Symlinks {
    /// Every value with its name.
    pub const NAMES: [(&'static str, Symlinks); 5] = [
        ("owner", Symlinks::Follow(LinkRule::Owner)),
        ("any", Symlinks::Follow(LinkRule::Any)),
        ("any-privileged", Symlinks::AnyPrivileged),
        ("true", Symlinks::Follow(LinkRule::Owner)),
        ("false", Symlinks::Ignore),
    ];

    /// The rule, if any link is followed.
    ///
    /// # Errors
    /// When the value is `any` and the process overrides permissions: anyone who can make a link
    /// would choose what it reads.
    pub(crate) fn rule(self) -> Result<Option<LinkRule>, ConfigError> {
        match self {
            Symlinks::Ignore => Ok(None),
            Symlinks::Follow(LinkRule::Any) if host::overrides_permissions() => {
                Err(ConfigError::AnyPrivileged)
            }
            Symlinks::Follow(rule) => Ok(Some(rule)),
            Symlinks::AnyPrivileged => Ok(Some(LinkRule::Any)),
        }
    }
}

/// How many files may stay open for a moment after a read, by default. Up to this number they may
/// use a quarter of the descriptor limit; a higher number may use half of it.
pub(crate) const KEEP_OPEN: u32 = 256;

/// How many of the `asked_for` files may stay open under a limit of descriptors.
pub(crate) fn open_files_allowed(asked_for: u32, descriptors: u64) -> u64 {
    let part = if asked_for <= KEEP_OPEN { descriptors / 4 } else { descriptors / 2 };
    u64::from(asked_for).min(part)
}

/// The highest number of inputs: an input's number fits into one byte of each file's slot.
pub(crate) const INPUTS_MAX: usize = 256;

/// Files that are followed under the same rules: an `[[input]]` of a settings file, or the PATHs of
/// a command line.
#[derive(Debug)]
pub struct InputConfig {
    /// Each PATH as given, as bytes: a directory or a file.
    pub paths: Vec<Vec<u8>>,
    /// Include and exclude globs.
    pub patterns: Patterns,
    /// Where reading starts in files that the first scan finds.
    pub from: StartAt,
    /// What happens to new files whose first block is binary.
    pub binary: Binary,
    /// Whether carriage returns end records.
    pub carriage_return: CarriageReturn,
    /// Which lines make one record; `None`: each one does.
    pub multiline: Option<RecordRules>,
    /// Which records are delivered.
    pub filters: Filters,
    /// When records tell that a log is over.
    pub ends: EndRules,
    /// What records tell of the job whose log they are of.
    pub job: JobRules,
    /// Added to each json record, in this order.
    pub labels: Vec<(String, String)>,
}

/// Where the records of each file go, for outputs that want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// The topic or subject.
    pub destination: Template,
    /// The key: records with the same one keep their order.
    pub key: Template,
    /// The host's name, for both.
    pub host: String,
}

impl Routes {
    /// Whether a topic, subject or key has the number of a job.
    pub(crate) fn has_job(&self) -> bool {
        self.destination.has_job() || self.key.has_job()
    }
}

/// The engine's settings. See [`Config`] for the rest.
#[derive(Debug)]
pub struct EngineConfig {
    /// 1 to [`INPUTS_MAX`] inputs. A file that several of them accept belongs to the one with the
    /// innermost PATH; if their PATHs are the same, to the first.
    pub inputs: Vec<InputConfig>,
    /// Whether sub-directories are followed.
    pub recursive: bool,
    /// Which symbolic links below PATH are followed.
    pub follow_links: Option<LinkRule>,
    /// Only files that belong to the owner of the first component below PATH are read.
    pub same_owner: bool,
    /// How records are written.
    pub format: Format,
    /// The host name in json and syslog records, if they have one.
    pub host: Option<String>,
    /// Where the records of each file go; only outputs that want origins need it.
    pub routes: Option<Routes>,
    /// Read everything that is there, then finish.
    pub once: bool,
    /// The longest time for which a file is not read again after a read.
    pub coalesce: Duration,
    /// The longest line, in bytes without its newline, that becomes one record.
    pub line_bytes_max: usize,
    /// An unterminated last line is delivered after this long without growth; `None` = never.
    pub partial_after: Option<Duration>,
    /// How often the sweep looks at every file; `None` = never.
    pub rescan: Option<Duration>,
    /// How often the sweep does so where other machines write unseen, if that is more often; `None`
    /// = as elsewhere.
    pub rescan_remote: Option<Duration>,
    /// Reading starts at the end of files that were not modified for this long when first seen.
    pub ignore_older: Option<Duration>,
}

impl EngineConfig {
    /// About as many bytes as the longest record has: a line of which each byte needs an escape,
    /// and all that stands beside it.
    pub(crate) fn record_bytes_max(&self) -> usize {
        /// Path, labels and what else there is.
        const BESIDE: usize = 8 << 10;
        let line = self.line_bytes_max;
        match self.format {
            Format::Raw => line + 1,
            Format::Text | Format::Syslog => line + BESIDE,
            // `\\u0001` for a byte; and base64, if one of them is not UTF-8.
            Format::Json => line * 6 + line.div_ceil(3) * 4 + BESIDE,
        }
    }
}

/// A whole run.
#[derive(Debug)]
pub struct Config {
    /// The engine's part.
    pub engine: EngineConfig,
    /// Where records go.
    pub output: Output,
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// How NATS is reached.
    pub nats: Nats,
    /// The longest pause between two consecutive turns; zero = none.
    pub pace: Duration,
    /// Whether [`Config::pace`] and [`EngineConfig::coalesce`] are scaled with the load; otherwise
    /// they always apply in full.
    pub adaptive: bool,
    /// The loop runs with `SCHED_BATCH` while that causes no delay.
    pub sched_batch: bool,
    /// How many files may be open besides the one being read, as far as the descriptor limit allows
    /// it.
    pub keep_open: u32,
    /// How long to wait after SIGTERM for the output to accept what was already read.
    pub shutdown_timeout: Duration,
    /// Where offsets are kept across restarts; `None`: in memory only.
    pub state_dir: Option<PathBuf>,
    /// How often acknowledged offsets become durable.
    pub commit_interval: Duration,
    /// Where metrics are served or written.
    pub metrics: Vec<Metrics>,
    /// The path of the control socket, if one is wanted.
    pub control_socket: Option<PathBuf>,
}

/// Settings that are well-formed one by one, but do not make a valid run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ConfigError {
    /// There is nothing to follow.
    #[error("at least one PATH is needed")]
    NoPath,
    /// Most likely an unset variable in a script: it must not become the current directory.
    #[error("a PATH is empty; write . for the current directory")]
    EmptyPath,
    /// A bad glob.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The path cannot be that of a socket.
    #[error(
        "is empty, or longer than the {SOCKET_PATH_BYTES_MAX} bytes that the path of a unix socket \
        can have"
    )]
    ControlSocket,
    /// A line limit of 0, or of more than [`LINE_BYTES_LIMIT`].
    #[error("must be between 1 byte and 1GiB, not {bytes} bytes")]
    LineBytesMax {
        /// As given.
        bytes: u64,
    },
    /// Anyone who can make a link below a PATH would choose what is read.
    #[error(
        "`any`: this process has a capability that overrides permissions (CAP_DAC_READ_SEARCH or \
        CAP_DAC_OVERRIDE), so whoever can make a link below a PATH would have any file of the \
        system read; say `owner`, or `any-privileged` if that is meant"
    )]
    AnyPrivileged,
    /// Messages preceded by their lengths are for a stream.
    #[error(
        "`syslog` is for a receiver (unix:PATH, tcp:HOST:PORT, stdout), not for a file: use json \
        or text there"
    )]
    SyslogFile,
    /// The same.
    #[error(
        "`syslog` is for a receiver of syslog (unix:PATH, tcp:HOST:PORT, stdout), not for a \
        broker: use json there"
    )]
    SyslogBroker,
    /// These formats cannot say what ends a record.
    #[error(
        "`{rule}` needs a format that can say what ends a record, and the format is {format}: \
        set `format = \"json\"`, or leave this out"
    )]
    CarriageReturn {
        /// As given.
        rule: &'static str,
        /// The name of the format.
        format: &'static str,
    },
    /// These formats have records of lines alone.
    #[error(
        "needs a format whose records can tell more than a line, and the format is {format}: set \
        `format = \"json\"`, or leave this out"
    )]
    JsonOnly {
        /// The name of the setting.
        key: &'static str,
        /// The name of the format.
        format: &'static str,
    },
    /// Two rules for where a record ends.
    #[error("contradicts `carriage_return` = `{rule}`: leave one of the two out")]
    RecordOfSegments {
        /// What it contradicts.
        rule: &'static str,
    },
    /// Patterns that take too much memory together.
    #[error("the patterns are too large together")]
    Patterns {
        /// The name of the setting.
        key: &'static str,
    },
    /// Two members of one name.
    #[error(
        "has a group `uid`, and `uid = true` adds a field of this name: rename the group, or leave \
        one of the two out"
    )]
    JobUid,
    /// A setting of a broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Nobody would be asked.
    #[error("is for the outputs kafka:TOPIC and nats:SUBJECT, and the output is {output}")]
    NoBroker {
        /// As given.
        output: String,
    },
    /// The system does not give its name.
    #[error("this system does not give its name ({reason}): set one, as in `host = \"node7\"`")]
    NoHostName {
        /// The system's reason.
        reason: String,
    },
    /// Nothing would ever be read.
    #[error("contradicts `from` = `end`: one reads what is there, the other skips it")]
    OnceFromEnd,
}

impl ConfigError {
    /// The name of the setting in a file: the option without its dashes, `_` for `-`. `PATH` for
    /// the arguments.
    #[must_use]
    pub(crate) fn key(&self) -> &'static str {
        match self {
            ConfigError::NoPath | ConfigError::EmptyPath => "PATH",
            ConfigError::Pattern(error) => error.key,
            ConfigError::ControlSocket => "control_socket",
            ConfigError::LineBytesMax { .. } => "max_line_bytes",
            ConfigError::SyslogFile | ConfigError::SyslogBroker => "format",
            ConfigError::CarriageReturn { .. } => "carriage_return",
            ConfigError::JsonOnly { key, .. } | ConfigError::Patterns { key } => key,
            ConfigError::RecordOfSegments { .. } => "record",
            ConfigError::JobUid => "job",
            ConfigError::Broker(error) => error.key,
            ConfigError::NoBroker { .. } => "brokers",
            ConfigError::NoHostName { .. } => "host",
            ConfigError::OnceFromEnd => "once",
            ConfigError::AnyPrivileged => "follow_symlinks",
        }
    }

    /// The wrong value, if the setting has several.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            ConfigError::EmptyPath => Some(""),
            ConfigError::Pattern(error) => Some(&error.glob),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
