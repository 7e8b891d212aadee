//! Asks a running daemon over its control socket: one question per connection, in HTTP/1.1.
//!
//! In: the socket's path and the question. Out: the body of the answer, or the reason why there is
//! none.
//! Always holds: nothing here blocks; [`ask`] ends by its deadline even if the daemon is stopped or
//! its backlog is full.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};

use crate::status::file::shown;
use crate::sys::clock;

/// The longest answer is two lists of 64 files, with escaped paths of at most 4,095 bytes each.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most header fields of an answer.
const HEADERS_MAX: usize = 32;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// No process listens at the socket.
    #[error(
        "no manytail answers at {}: {source}; is it running (`systemctl status manytail`), was it \
        started without --control-socket, or with another one?",
        shown(socket.as_os_str().as_bytes())
    )]
    NoDaemon {
        /// The path of the socket.
        socket: PathBuf,
        /// The error of `connect(2)`.
        #[source]
        source: io::Error,
    },
    /// This user may not connect to the socket.
    #[error(
        "{} cannot be asked: {source}; ask as root, or as a member of the daemon's group",
        shown(socket.as_os_str().as_bytes())
    )]
    NotAllowed {
        /// The path of the socket.
        socket: PathBuf,
        /// The error of `connect(2)`.
        #[source]
        source: io::Error,
    },
    /// A process listens, but its answer does not come, or is not complete.
    #[error(
        "no answer from {} within {} s: stopped, or hanging",
        shown(socket.as_os_str().as_bytes()),
        timeout.as_secs_f64()
    )]
    Silent {
        /// The path of the socket.
        socket: PathBuf,
        /// How long this command waited.
        timeout: Duration,
    },
    /// The connection broke, or the answer is not valid.
    #[error("no answer from {}: {source}", shown(socket.as_os_str().as_bytes()))]
    Broken {
        /// The path of the socket.
        socket: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// A question in progress.
#[derive(Debug)]
pub(super) struct Question {
    stream: UnixStream,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
}

impl Question {
    /// Connects; `target` is the path and query of the request. [`Question::go_on`] returns the
    /// answer.
    pub(super) fn begin(socket: &Path, target: &str) -> io::Result<Question> {
        let stream = UnixStream::connect(socket)?;
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: manytail\r\nConnection: close\r\n\r\n")
                .into_bytes();
        Ok(Question { stream, request, sent: 0, answer: Vec::new() })
    }

    /// The stream, to be registered for reading and writing.
    pub(super) fn source(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Sends and receives as far as possible without waiting. `None`: the answer is not complete
    /// yet.
    pub(super) fn go_on(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.exchange() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => body(&self.answer),
            Err(error) => Err(error),
            Ok(()) => match body(&self.answer)? {
                Some(whole) => Ok(Some(whole)),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }

    /// Sends the request, and receives until the peer closes its side.
    fn exchange(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A server that refuses a request may answer before it has read everything.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                outcome => self.sent += outcome?,
            }
        }
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(got) if self.answer.len() + got > ANSWER_BYTES_MAX => {
                    return Err(invalid("an endless answer"));
                }
                Ok(got) => self.answer.extend_from_slice(&buffer[..got]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// The body of an answer, once it has the length that its head gives.
fn body(answer: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(answer) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(invalid(format!("not HTTP: {error}"))),
    };
    let length =
        response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|header| str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    let length = length.ok_or_else(|| invalid("an answer without a length"))?;
    let Some(body) = answer[head..].get(..length) else { return Ok(None) };
    match response.code {
        Some(200) => Ok(Some(body.to_vec())),
        code => Err(invalid(format!(
            "{} {}",
            code.unwrap_or(0),
            String::from_utf8_lossy(body).trim_end()
        ))),
    }
}

/// Asks, and waits for the answer.
///
/// # Errors
/// When no process listens, no answer comes in time, or the answer is not valid.
pub(super) fn ask(socket: &Path, target: &str, timeout: Duration) -> Result<Vec<u8>, AskError> {
    let broken = |source| AskError::Broken { socket: socket.to_owned(), source };
    let silent = || AskError::Silent { socket: socket.to_owned(), timeout };
    let mut question = match Question::begin(socket, target) {
        // Its backlog is full: it has not accepted a connection for a while.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(silent()),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(AskError::NotAllowed { socket: socket.to_owned(), source });
        }
        outcome => {
            outcome.map_err(|source| AskError::NoDaemon { socket: socket.to_owned(), source })?
        }
    };
    let mut poll = Poll::new().map_err(broken)?;
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(question.source(), Token(0), both).map_err(broken)?;
    let mut events = Events::with_capacity(4);
    let deadline = clock::now().instant + timeout;
    loop {
        if let Some(answer) = question.go_on().map_err(broken)? {
            return Ok(answer);
        }
        let left = deadline.saturating_duration_since(clock::now().instant);
        if left.is_zero() {
            return Err(silent());
        }
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => outcome.map_err(broken)?,
        }
    }
}

/// A path as the value of a query.
pub(super) fn percent_encoded(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_as_much_came_as_it_says() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\n\r\nhello";
        for len in 0..answer.len() {
            assert_eq!(body(&answer[..len]).unwrap(), None, "{len}");
        }
        assert_eq!(body(answer).unwrap(), Some(b"hello".to_vec()));
    }

    #[test]
    fn what_is_no_answer_is_an_error_with_its_text() {
        assert!(body(b"SSH-2.0-OpenSSH\r\n").is_err());
        assert!(body(b"HTTP/1.1 200 OK\r\n\r\n").unwrap_err().to_string().contains("length"));
        let refused =
            body(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno such\n").unwrap_err();
        assert_eq!(refused.to_string(), "404 no such");
    }

    #[test]
    fn bytes_that_mean_something_in_a_query_are_escaped() {
        assert_eq!(percent_encoded(b"a/b-1.log"), "a/b-1.log");
        assert_eq!(percent_encoded(b"a b&c=%\xff\n+#?"), "a%20b%26c%3D%25%FF%0A%2B%23%3F");
    }
}
