//! The values of single settings: sizes, durations, addresses, the host, labels.
//!
//! In: a text. Out: a value, or the reason why it is not one.

use std::net::SocketAddrV6;
use std::time::Duration;

use super::DURATION_LIMIT;

/// A text that is not a size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SizeError {
    /// Not a whole number, or an unknown unit.
    #[error("expected a whole number of bytes, or one with KiB, MiB, GiB, k, M or G, as in 64KiB")]
    Malformed,
    /// More than fits into 64 bits.
    #[error("too large")]
    TooLarge,
}

/// Reads a size in bytes: digits and one of `KiB` = `k`, `MiB` = `M`, `GiB` = `G` (all powers of
/// two) or nothing.
///
/// # Errors
/// For everything else: signs, fractions, blanks, other spellings of the units.
pub(crate) fn parse_size(text: &str) -> Result<u64, SizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "KiB" | "k" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return Err(SizeError::Malformed),
    };
    if number.is_empty() {
        return Err(SizeError::Malformed);
    }
    let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
    number.checked_mul(1 << shift).ok_or(SizeError::TooLarge)
}

/// A text that is not a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DurationError {
    /// No number, no unit, or an unknown unit.
    #[error(
        "expected numbers with the units us, ms, s, min, h or d, as in 500ms; only 0 may stand \
        alone"
    )]
    Malformed,
    /// More than [`DURATION_LIMIT`].
    #[error("longer than a hundred years")]
    TooLong,
}

/// Reads a duration: numbers with units, `500us`, `5min`, `1h 30min`; `0` needs no unit. Other
/// units of `humantime` (`2weeks`) are refused.
///
/// # Errors
/// When the text is not a duration, or is longer than [`DURATION_LIMIT`].
pub(crate) fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    // humantime has more units: months and years, which nobody means exactly, and `m`, which could
    // mean months or minutes.
    const UNITS: [&str; 7] = ["", "us", "ms", "s", "min", "h", "d"];
    if text.split(|c: char| !c.is_ascii_alphabetic()).any(|unit| !UNITS.contains(&unit)) {
        return Err(DurationError::Malformed);
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= DURATION_LIMIT => Ok(duration),
        Ok(_) | Err(humantime::DurationError::NumberOverflow) => Err(DurationError::TooLong),
        Err(_) => Err(DurationError::Malformed),
    }
}

/// Whether json and syslog records name the host, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// Records do not name the host.
    Off,
    /// The system's own name, gethostname(2).
    Own,
    /// This name.
    Named(String),
}

/// A text that cannot be a host name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HostError {
    /// An empty name says nothing.
    #[error("is empty")]
    Empty,
    /// A host name is at most 255 bytes long, hostname(7).
    #[error("is longer than 255 bytes, or contains a control character")]
    NoName,
}

/// Reads `true`, `false` or a name.
///
/// # Errors
/// When the name is not valid.
pub(crate) fn parse_host(text: &str) -> Result<Host, HostError> {
    match text {
        "true" => Ok(Host::Own),
        "false" => Ok(Host::Off),
        "" => Err(HostError::Empty),
        name if name.len() > 255 || name.contains(char::is_control) => Err(HostError::NoName),
        name => Ok(Host::Named(name.to_owned())),
    }
}

/// A text that is not a label.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected KEY=VALUE with a KEY that is not empty")]
pub(crate) struct LabelError;

/// Reads `KEY=VALUE`; VALUE may be empty and may contain more of `=`.
///
/// # Errors
/// When there is no `=`, or nothing before it.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), LabelError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(LabelError),
    }
}

/// Whether `address` has the right form: a host, or an IPv6 address in brackets, and a port other
/// than 0.
pub(crate) fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_name = !host.is_empty()
        && !host.contains([':', '/', '[', ']', '@'])
        && !host.contains(char::is_whitespace);
    is_port && (is_name || address.parse::<SocketAddrV6>().is_ok())
}

/// `a, b or c`.
pub(super) fn one_of_kinds(kinds: &[&str]) -> String {
    let (last, others) = kinds.split_last().expect("there is a kind");
    format!("{} or {last}", others.join(", "))
}
