//! `--output URI`: where records go.
//!
//! In: a text. Out: an [`Output`], or the reason why it is none.
//! Always holds: the error says what would be accepted.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::SOCKET_PATH_BYTES_MAX;
use super::template::{Alphabet, Template, TemplateError};
use super::values::{is_host_and_port, one_of_kinds};

/// The longest name of a topic that Kafka takes, in bytes.
pub(crate) const TOPIC_BYTES_MAX: usize = 249;

/// The longest subject, in bytes. A server of NATS takes lines of 4096 bytes, and there is more in
/// them.
pub(crate) const SUBJECT_BYTES_MAX: usize = 2048;

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
    /// `kafka:` alone.
    #[error("the topic is missing, as in kafka:jobs")]
    NoTopic,
    /// `nats:` alone.
    #[error("the subject is missing, as in nats:jobs.{{host}}")]
    NoSubject,
    /// Where the topic or the subject should be.
    #[error(
        "the address of a broker is no part of the output: name the topic or the subject, as in \
        kafka:jobs or nats:jobs.{{host}}, and the broker with --brokers HOST:PORT or in the \
        settings file (`brokers` of [kafka], `servers` of [nats])"
    )]
    BrokerAddress,
    /// A topic or a subject that cannot be.
    #[error(transparent)]
    Template(TemplateError),
    /// Kafka takes no longer name.
    #[error("the name of a topic has at most {TOPIC_BYTES_MAX} bytes")]
    TopicTooLong,
    /// Names that Kafka refuses.
    #[error("a topic cannot be called `.` or `..`")]
    TopicDots,
    /// Each topic costs the brokers files and memory.
    #[error(
        "{{path}}, {{file}} and {{job}} would make a topic for each file: use {{host}} or \
        {{label:NAME}} here, and `key` of [kafka] for what keeps records together"
    )]
    TopicPerFile,
    /// An empty token.
    #[error("a subject neither begins nor ends with a dot, and has no two dots in a row")]
    SubjectDots,
    /// It would not fit into the protocol's lines.
    #[error("a subject has at most {SUBJECT_BYTES_MAX} bytes")]
    SubjectTooLong,
    /// What our records, and nobody else's, are found by after a crash.
    #[error(
        "a subject that differs between files has {{host}} and a dot in front of the first field \
        that does, as in nats:jobs.{{host}}.{{label:cluster}}: below that part one manytail writes \
        alone"
    )]
    SubjectPrefix,
}

impl Output {
    /// What an output may be.
    pub const KINDS: [&'static str; 7] = [
        "stdout",
        "fd:N",
        "file:PATH",
        "unix:PATH",
        "tcp:HOST:PORT",
        "kafka:TOPIC",
        "nats:SUBJECT",
    ];

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
            b"kafka" => topic(rest).map(Output::Kafka),
            b"nats" => subject(rest).map(Output::Nats),
            _ => Err(unknown_kind(uri)),
        }
    }
}

/// The topic behind `kafka:`.
fn topic(text: &[u8]) -> Result<Template, OutputError> {
    let topic = name(text)?.ok_or(OutputError::NoTopic)?;
    let shortest = topic.shortest();
    if shortest.len() > TOPIC_BYTES_MAX {
        return Err(OutputError::TopicTooLong);
    }
    if shortest == "." || shortest == ".." {
        return Err(OutputError::TopicDots);
    }
    if topic.is_per_file() { Err(OutputError::TopicPerFile) } else { Ok(topic) }
}

/// The subject behind `nats:`.
fn subject(text: &[u8]) -> Result<Template, OutputError> {
    let subject = name(text)?.ok_or(OutputError::NoSubject)?;
    if subject.shortest().split('.').any(str::is_empty) {
        return Err(OutputError::SubjectDots);
    }
    if subject.shortest().len() > SUBJECT_BYTES_MAX {
        return Err(OutputError::SubjectTooLong);
    }
    if !subject.is_fixed() && tokens_in_front(&subject, b"a") == tokens_in_front(&subject, b"b") {
        return Err(OutputError::SubjectPrefix);
    }
    Ok(subject)
}

/// The whole tokens in front of the first field that differs between files, on this host.
fn tokens_in_front(subject: &Template, host: &[u8]) -> Option<Vec<u8>> {
    let mut prefix = subject.prefix(host);
    prefix.truncate(prefix.iter().rposition(|&byte| byte == b'.')?);
    Some(prefix)
}

/// The subject of all records, or the filter of their subjects on this host.
///
/// What a stream stored last below the filter tells what arrived. Where two processes share one,
/// the one that began last goes on, and the other one is blocked and says so.
#[cfg(feature = "nats")]
pub(crate) fn subject_filter(subject: &Template, host: &[u8]) -> String {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a template of names gives ASCII");
    match tokens_in_front(subject, host) {
        Some(tokens) if !subject.is_fixed() => text(tokens) + ".>",
        _ => text(subject.prefix(host)),
    }
}

/// A topic or a subject. `None`: there is nothing.
fn name(text: &[u8]) -> Result<Option<Template>, OutputError> {
    let text = String::from_utf8_lossy(text);
    // A colon between braces is that of {label:NAME}.
    let is_address = |part: &str| part.contains(':') || part.starts_with('/');
    if text.split('{').filter_map(|part| part.split('}').next_back()).any(is_address) {
        return Err(OutputError::BrokerAddress);
    }
    match Template::parse(&text, Alphabet::Name) {
        Err(TemplateError::Empty) => Ok(None),
        other => other.map(Some).map_err(OutputError::Template),
    }
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
