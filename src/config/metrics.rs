//! `--metrics URI`: where metrics are served or written.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::SOCKET_PATH_BYTES_MAX;
use super::values::{is_host_and_port, one_of_kinds};

/// Where metrics are served or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metrics {
    /// HTTP at this `HOST:PORT`.
    Tcp(String),
    /// HTTP at a unix stream socket.
    Unix(PathBuf),
    /// A file that is rewritten periodically.
    Textfile(PathBuf),
}

/// A text that does not name a place for metrics.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetricsError {
    /// None of the known kinds.
    #[error("expected {}", one_of_kinds(&Metrics::KINDS))]
    UnknownKind,
    /// `unix:` or `textfile:` alone.
    #[error("the path is missing")]
    NoPath,
    /// `textfile:` and a directory.
    #[error("the path has no file name")]
    NoFileName,
    /// The kernel accepts no longer path.
    #[error("the path of a unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes")]
    SocketPathTooLong,
    /// No host and port.
    #[error("expected an address and a port, as in tcp:127.0.0.1:9107 or tcp:[::1]:9107")]
    Address,
}

impl Metrics {
    /// Where metrics may be.
    pub const KINDS: [&'static str; 3] = ["tcp:HOST:PORT", "unix:PATH", "textfile:PATH"];

    /// Reads one of [`Metrics::KINDS`]. Port 0 means any that is free.
    ///
    /// # Errors
    /// For everything else.
    pub fn parse(uri: &OsStr) -> Result<Metrics, MetricsError> {
        let bytes = uri.as_bytes();
        let colon = bytes.iter().position(|&byte| byte == b':').ok_or(MetricsError::UnknownKind)?;
        let (kind, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        let path = || PathBuf::from(OsStr::from_bytes(rest));
        match kind {
            b"unix" | b"textfile" if rest.is_empty() => Err(MetricsError::NoPath),
            b"unix" if rest.len() > SOCKET_PATH_BYTES_MAX => Err(MetricsError::SocketPathTooLong),
            b"unix" => Ok(Metrics::Unix(path())),
            b"textfile" if path().file_name().is_none() || rest.ends_with(b"/") => {
                Err(MetricsError::NoFileName)
            }
            b"textfile" => Ok(Metrics::Textfile(path())),
            b"tcp" => match str::from_utf8(rest) {
                Ok(address) if is_address(address) => Ok(Metrics::Tcp(address.to_owned())),
                _ => Err(MetricsError::Address),
            },
            _ => Err(MetricsError::UnknownKind),
        }
    }
}

fn is_address(address: &str) -> bool {
    // Ports other than 0 follow the rules of an output.
    is_host_and_port(address)
        || address.strip_suffix(":0").is_some_and(|host| is_host_and_port(&format!("{host}:1")))
}

/// As given on the command line.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metrics::Tcp(address) => write!(f, "tcp:{address}"),
            Metrics::Unix(path) => write!(f, "unix:{}", path.display()),
            Metrics::Textfile(path) => write!(f, "textfile:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_are_taken_as_they_are_written() {
        for uri in [
            "tcp:127.0.0.1:9107",
            "tcp:[::1]:0",
            "tcp:localhost:9107",
            "unix:/run/m.sock",
            "textfile:m.prom",
        ] {
            assert_eq!(
                Metrics::parse(uri.as_ref()).map(|metrics| metrics.to_string()),
                Ok(uri.to_owned())
            );
        }
    }

    #[test]
    fn what_is_no_place_for_metrics_is_refused_with_the_reason() {
        let too_long = format!("unix:/{}", "x".repeat(SOCKET_PATH_BYTES_MAX));
        for (uri, error) in [
            ("", MetricsError::UnknownKind),
            ("127.0.0.1:9107", MetricsError::UnknownKind),
            ("tcp:", MetricsError::Address),
            ("tcp:9107", MetricsError::Address),
            ("tcp:localhost:99999", MetricsError::Address),
            ("tcp:::1:9107", MetricsError::Address),
            ("unix:", MetricsError::NoPath),
            ("textfile:", MetricsError::NoPath),
            ("textfile:/tmp/", MetricsError::NoFileName),
            ("textfile:..", MetricsError::NoFileName),
            (&too_long, MetricsError::SocketPathTooLong),
        ] {
            assert_eq!(Metrics::parse(uri.as_ref()), Err(error), "{uri}");
        }
    }
}
