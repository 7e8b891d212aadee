//! One client of the server: its stream, and how far its request and its answer have come.
//!
//! In: bytes of a request. Out: bytes of one response; then the connection is closed.
//! Always holds: no call blocks; each phase has a deadline.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token, event};
use nix::sys::socket::{getsockopt, sockopt};

use crate::daemon::http::{self, HEAD_BYTES_MAX, Head, Response};

/// A request has to arrive within this time ...
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// ... the client has to receive the response within this time ...
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// ... and has to close the connection within this time; otherwise it is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Up to this many bytes that a client sends after its request are discarded: closing with unread
/// bytes could cost the client the response.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(super) enum Phase {
    /// The part of the request that has arrived.
    Asking(Vec<u8>),
    /// The response, and how many bytes of it were sent.
    Answering(Vec<u8>, usize),
    /// The response was sent; how many further bytes of the client were discarded.
    Closing(usize),
}

pub(super) struct Client {
    pub(super) stream: Stream,
    pub(super) endpoint: usize,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since: Instant,
    pub(super) deadline: Instant,
}

/// What to do next with a client.
pub(super) enum Step {
    /// Continue at once.
    Next,
    /// Continue when its descriptor is ready.
    Wait,
    /// Drop it.
    Done,
}

impl Client {
    /// Reads the part of the request that is there, and answers it once it is complete.
    pub(super) fn ask(
        &mut self,
        answer: impl FnOnce(&http::Request<'_>) -> Response,
        now: Instant,
    ) -> io::Result<Step> {
        let Phase::Asking(asked) = &mut self.phase else { return Ok(Step::Next) };
        let mut chunk = [0; 1024];
        let room = (HEAD_BYTES_MAX - asked.len()).min(chunk.len());
        match self.stream.read(&mut chunk[..room]) {
            Ok(0) => return Ok(Step::Done),
            Ok(len) => asked.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Step::Next),
            Err(error) => return Err(error),
        }
        let asked = std::mem::take(asked);
        match http::parse(&asked) {
            Head::Partial => self.phase = Phase::Asking(asked),
            Head::Refused(code) => self.respond(&Response::refusal(code), false, now),
            Head::Request(request) => {
                let response = answer(&request);
                self.respond(&response, request.is_head, now);
            }
        }
        Ok(Step::Next)
    }

    pub(super) fn respond(&mut self, response: &Response, is_head: bool, now: Instant) {
        self.phase = Phase::Answering(response.encode(is_head), 0);
        (self.since, self.deadline) = (now, now + RESPONSE_TIMEOUT);
    }

    pub(super) fn answer(&mut self, now: Instant) -> io::Result<Step> {
        let Phase::Answering(bytes, at) = &mut self.phase else { return Ok(Step::Next) };
        match self.stream.write(&bytes[*at..]) {
            Ok(0) => return Ok(Step::Done),
            Ok(len) => *at += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if *at == bytes.len() {
            self.stream.shutdown_writing()?;
            self.phase = Phase::Closing(0);
            (self.since, self.deadline) = (now, now + CLOSE_TIMEOUT);
        }
        Ok(Step::Next)
    }

    pub(super) fn discard(&mut self) -> io::Result<Step> {
        let Phase::Closing(discarded) = &mut self.phase else { return Ok(Step::Next) };
        match self.stream.read(&mut [0; 4096]) {
            Ok(0) => return Ok(Step::Done),
            Ok(len) => *discarded += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(if *discarded > DISCARDED_BYTES_MAX { Step::Done } else { Step::Next })
    }
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    /// Whether the client is root or this process's user, who may read the output as well.
    pub(super) fn may_see_lines(&self) -> bool {
        match self {
            Stream::Tcp(_) => false,
            Stream::Unix(stream) => getsockopt(stream, sockopt::PeerCredentials)
                .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == crate::sys::host::user()),
        }
    }

    fn shutdown_writing(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

source!(Stream, Stream::Tcp(stream) => stream, Stream::Unix(stream) => stream);
