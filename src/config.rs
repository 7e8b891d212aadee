//! The settings of a run: validated, typed, every limit with its unit.
//!
//! In: texts, for the parsers below. Out: the types of settings; [`Config`] has all of them, and
//! nothing has to check it again.
//! Always holds: the error for a text says what would be accepted.

mod brokers;
mod metrics;
mod template;
mod values;

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddrV6;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use brokers::{
    Certificates, Compression, Header, Kafka, Nats, OnRefused, Sasl, Security,
};
pub use metrics::Metrics;
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

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An inherited descriptor; 1 is stdout.
    Descriptor(i32),
    /// Created (0640) and appended to; a FIFO is treated as a pipe.
    File(PathBuf),
    /// A unix stream socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
    /// Apache Kafka; the topic.
    Kafka(Template),
    /// NATS JetStream; the subject.
    Nats(Template),
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
            ConfigError::SyslogFile => "format",
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

/// A text that does not name an output.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OutputError {
    /// None of the known kinds.
    #[error("expected {}", one_of_kinds(&Output::KINDS))]
    UnknownKind,
    /// A path alone.
    #[error("expected {}; did you mean file:{path}?", one_of_kinds(&Output::KINDS))]
    PlainPath {
        /// As given.
        path: String,
    },
    /// `fd:` without a number.
    #[error("expected the number of an open descriptor, as in fd:3")]
    Descriptor,
    /// Records would mix with diagnostics there.
    #[error(
        "descriptor 2 is for diagnostics, which would mix with the records: use another one, as in \
        fd:3"
    )]
    Diagnostics,
    /// `file:` or `unix:` alone.
    #[error("the path is missing")]
    NoPath,
    /// The kernel accepts no longer path.
    #[error("the path of a unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes")]
    SocketPathTooLong,
    /// No host and port.
    #[error(
        "expected a host name or address and a port, as in tcp:localhost:5140 or tcp:[::1]:5140"
    )]
    Address,
}

impl Output {
    /// What an output may be.
    pub const KINDS: [&'static str; 5] =
        ["stdout", "fd:N", "file:PATH", "unix:PATH", "tcp:HOST:PORT"];

    /// Reads one of [`Output::KINDS`].
    ///
    /// # Errors
    /// For everything else. Whether the output exists is not checked.
    pub fn parse(uri: &OsStr) -> Result<Output, OutputError> {
        let bytes = uri.as_bytes();
        if bytes == b"stdout" {
            return Ok(Output::Descriptor(1));
        }
        let colon = bytes.iter().position(|byte| *byte == b':').ok_or_else(|| unknown_kind(uri))?;
        let (kind, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        let path = || PathBuf::from(OsStr::from_bytes(rest));
        match kind {
            b"fd" if rest.iter().all(u8::is_ascii_digit) => {
                let number = str::from_utf8(rest).ok().and_then(|digits| digits.parse().ok());
                match number {
                    Some(2) => Err(OutputError::Diagnostics),
                    number => number.map(Output::Descriptor).ok_or(OutputError::Descriptor),
                }
            }
            b"fd" => Err(OutputError::Descriptor),
            b"file" | b"unix" if rest.is_empty() => Err(OutputError::NoPath),
            b"file" => Ok(Output::File(path())),
            b"unix" if rest.len() > SOCKET_PATH_BYTES_MAX => Err(OutputError::SocketPathTooLong),
            b"unix" => Ok(Output::Unix(path())),
            b"tcp" => match str::from_utf8(rest) {
                Ok(address) if is_host_and_port(address) => Ok(Output::Tcp(address.to_owned())),
                _ => Err(OutputError::Address),
            },
            _ => Err(unknown_kind(uri)),
        }
    }
}

/// `a, b or c`.
fn one_of_kinds(kinds: &[&str]) -> String {
    let (last, others) = kinds.split_last().expect("there is a kind");
    format!("{} or {last}", others.join(", "))
}

/// The error for an unknown kind, with a hint if the text looks like a path.
fn unknown_kind(uri: &OsStr) -> OutputError {
    match uri.to_str() {
        Some(path)
            if path.starts_with(['/', '.'])
                || (path.contains(['/', '.']) && !path.contains(':')) =>
        {
            OutputError::PlainPath { path: path.to_owned() }
        }
        _ => OutputError::UnknownKind,
    }
}

/// Whether `address` has the right form: a host, or an IPv6 address in brackets, and a port other
/// than 0.
fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_name = !host.is_empty()
        && !host.contains([':', '/', '[', ']', '@'])
        && !host.contains(char::is_whitespace);
    is_port && (is_name || address.parse::<SocketAddrV6>().is_ok())
}

/// As given on the command line.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Descriptor(1) => f.write_str("stdout"),
            Output::Descriptor(number) => write!(f, "fd:{number}"),
            Output::File(path) => write!(f, "file:{}", path.display()),
            Output::Unix(path) => write!(f, "unix:{}", path.display()),
            Output::Tcp(address) => write!(f, "tcp:{address}"),
            Output::Kafka(topic) => write!(f, "kafka:{}", topic.text()),
            Output::Nats(subject) => write!(f, "nats:{}", subject.text()),
        }
    }
}

#[cfg(test)]
mod tests;
