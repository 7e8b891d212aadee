//! Where records go: the [`Sink`] trait, its contract, and the kinds of output.
//!
//! In: bytes of whole records, in order, possibly offered again. Out: how many were taken, and how
//! many of those are safe.
//! Always holds: a sink never blocks the loop, never reorders, never drops; what it did not take
//! stays with the caller.

mod backoff;
mod boundary;
mod channel;
mod descriptor;
mod file;
mod outage;
mod owed;
mod regular;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;

use crate::config::Output;
use crate::diagnostics::notices::NoticeCounts;
use crate::sys::{self, FileId};

/// What became of bytes offered to a [`Sink`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// This many bytes from the front were taken (at least 1 unless none were offered).
    Accepted(usize),
    /// Nothing fits now. Offer again when the loop calls [`Sink::ready`] or at [`Sink::deadline`].
    Blocked,
    /// The receiver of before is gone, and of all bytes taken so far the last `unacknowledged`
    /// never reached it for certain. The caller goes back to the start of the record in which the
    /// first of them lies and offers again from there. Said exactly once per loss; the next offer
    /// goes to the new receiver (or is `Blocked` until there is one).
    Restarted {
        /// Bytes taken but not acknowledged when the receiver was lost. At least the bytes of a
        /// torn last record.
        unacknowledged: u64,
    },
    /// Nobody will ever read again (`| head -1`): the run ends quietly.
    Closed,
}

/// An output that cannot go on. Everything that waiting can heal is [`Sent::Blocked`] instead.
#[derive(Debug, thiserror::Error)]
#[error("output {output}: cannot {action}")]
pub struct SinkError {
    /// The output as given on the command line.
    pub output: String,
    /// What failed: `open`, `write` ...
    pub action: &'static str,
    /// The system's reason.
    #[source]
    pub source: std::io::Error,
}

/// How an output is, for people: nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkState {
    /// The receiver is there, and took what it was offered last or did not refuse it with an error.
    pub is_connected: bool,
    /// What failed last, and why, as long as nothing went well since.
    pub failure: Option<String>,
    /// Attempts to connect, open or write that failed.
    pub errors: u64,
    /// Times that a receiver was there again after one was lost.
    pub reconnects: u64,
    /// Times that somebody else truncated the file.
    pub truncations: u64,
    /// Failures that were said, and kept back: an output that comes and goes does not flood the
    /// log.
    pub told: NoticeCounts,
}

impl SinkState {
    /// Of an output that cannot fail.
    #[must_use]
    pub fn sound() -> Self {
        SinkState {
            is_connected: true,
            failure: None,
            errors: 0,
            reconnects: 0,
            truncations: 0,
            told: NoticeCounts::default(),
        }
    }
}

/// Where a regular output file is.
#[derive(Debug)]
pub struct FilePoint {
    /// Which file.
    pub id: FileId,
    /// Its length in bytes, up to the last byte that was accepted.
    pub len: u64,
    /// A descriptor of it, for `fdatasync(2)` on another thread; `None` if none is to be had, or in
    /// a simulation.
    pub file: Option<OwnedFd>,
}

/// Where the file that receives records is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its path leads to it. Also of outputs that are no regular file.
    Here,
    /// Its path leads elsewhere or nowhere, but it has a name somewhere: it was renamed, or
    /// something was mounted over it.
    Moved,
    /// It has no name any more: what it gets is gone when it is closed.
    Deleted,
}

/// An output. Bytes count in stream order: `accepted` grows with what [`Sink::send`] takes, and
/// `accepted - unacknowledged()` of them are acknowledged, oldest first. Offsets may be stored only
/// for acknowledged bytes. Each record ends with a newline and holds no other one: so a sink finds
/// where a record begins.
pub trait Sink {
    /// Offers the next bytes of the stream, a run of whole records of which a front part may have
    /// been taken before. With no bytes it only looks whether the receiver is still there. Never
    /// blocks.
    ///
    /// # Errors
    /// When the output cannot go on, ever.
    fn send(&mut self, bytes: &[u8], now: Instant) -> Result<Sent, SinkError>;

    /// Bytes accepted but not yet acknowledged: 0 where taking is acknowledging (pipes, files, unix
    /// sockets); for TCP what the peer's kernel has not confirmed (`SIOCOUTQ`).
    fn unacknowledged(&mut self) -> u64;

    /// The loop's word that the descriptor became writable, failed, or was closed by its peer.
    fn ready(&mut self, now: Instant);

    /// When to call again though nothing became ready: the end of a back-off, a full disk to be
    /// tried again.
    fn deadline(&self) -> Option<Instant>;

    /// Where the next byte will be written, if that is in a regular file: what is committed
    /// together with offsets.
    fn point(&mut self) -> Option<FilePoint>;

    /// Takes the last `bytes` that were accepted, whole records, out of a regular file again: they
    /// will be offered anew. Says whether that was possible: nobody else may have written behind
    /// them.
    fn withdraw(&mut self, bytes: u64) -> bool;

    /// SIGHUP: the next bytes go into a freshly opened file. Called only between two records. No
    /// effect on other kinds.
    ///
    /// # Errors
    /// When the file cannot be opened anew; the old one stays in use.
    fn reopen(&mut self) -> Result<(), SinkError>;

    /// Looks where the regular file is that receives records.
    fn place(&mut self) -> Place {
        Place::Here
    }

    /// After [`Place::Deleted`]: goes on in another file at the same path, which is made if there
    /// is none. What the deleted one got from the byte `from` on (`None`: since it was last found
    /// in its place) is owed to the new one: it is written by the next calls of [`Sink::send`],
    /// before anything else.
    ///
    /// # Errors
    /// When there is no such file to be had; the deleted one stays in use.
    fn replace(&mut self, _from: Option<u64>) -> Result<(), SinkError> {
        Ok(())
    }

    /// Bytes that are still owed to the new file.
    fn owed(&self) -> u64 {
        0
    }

    /// Device and inode of a regular file that receives records, so that it is never followed as an
    /// input.
    fn own_file(&self) -> Option<(u64, u64)>;

    /// How the output is.
    fn state(&self) -> SinkState;
}

/// How a sink registers its own descriptors with the loop: all of them under one token.
#[derive(Debug)]
pub struct Poller {
    /// A clone of the loop's registry.
    pub registry: mio::Registry,
    /// Events with this token mean [`Sink::ready`].
    pub token: mio::Token,
}

/// Opens an output. A peer or a FIFO's reader that is not there is no error: sinks look for it from
/// the first [`Sink::send`] on, which may be an empty one.
///
/// # Errors
/// When the output can never work: a descriptor that is not open for writing, a file that cannot be
/// created, a malformed address.
pub fn open(output: &Output, poller: Poller) -> Result<Box<dyn Sink>, SinkError> {
    let name = output.to_string();
    let poller = Rc::new(poller);
    Ok(match output {
        Output::Descriptor(number) => {
            Box::new(descriptor::DescriptorSink::open(name, *number, &poller)?)
        }
        Output::File(path) => Box::new(file::FileSink::open(name, path.clone(), poller)?),
        Output::Unix(path) => {
            Box::new(socket::SocketSink::open(name, socket::Address::Unix(path.clone()), poller)?)
        }
        Output::Tcp(address) => {
            Box::new(socket::SocketSink::open(name, socket::Address::Tcp(address.clone()), poller)?)
        }
    })
}

/// Looks whether the descriptor that an output needs was left open for us. Comes before anything of
/// our own is opened, made or changed, so that a run that cannot deliver leaves all as it is.
///
/// # Errors
/// When the descriptor was closed, or is not open for writing. Of other outputs [`open`] tells.
pub fn check(output: &Output) -> Result<(), SinkError> {
    let number = match output {
        Output::Descriptor(number) => Some(*number),
        // `/dev/stdout` and its like lead to descriptors by number.
        Output::File(path) => sys::descriptor::named_by(path),
        Output::Unix(_) | Output::Tcp(_) => None,
    };
    match number.map(descriptor::inherited) {
        Some(Err(error)) => Err(SinkError::new(&output.to_string(), "open", error)),
        _ => Ok(()),
    }
}

impl Sink for Box<dyn Sink> {
    fn send(&mut self, bytes: &[u8], now: Instant) -> Result<Sent, SinkError> {
        (**self).send(bytes, now)
    }

    fn unacknowledged(&mut self) -> u64 {
        (**self).unacknowledged()
    }

    fn ready(&mut self, now: Instant) {
        (**self).ready(now);
    }

    fn deadline(&self) -> Option<Instant> {
        (**self).deadline()
    }

    fn point(&mut self) -> Option<FilePoint> {
        (**self).point()
    }

    fn withdraw(&mut self, bytes: u64) -> bool {
        (**self).withdraw(bytes)
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        (**self).reopen()
    }

    fn place(&mut self) -> Place {
        (**self).place()
    }

    fn replace(&mut self, from: Option<u64>) -> Result<(), SinkError> {
        (**self).replace(from)
    }

    fn owed(&self) -> u64 {
        (**self).owed()
    }

    fn own_file(&self) -> Option<(u64, u64)> {
        (**self).own_file()
    }

    fn state(&self) -> SinkState {
        (**self).state()
    }
}

impl SinkError {
    fn new(output: &str, action: &'static str, source: impl Into<io::Error>) -> Self {
        SinkError { output: output.to_owned(), action, source: source.into() }
    }
}

/// Whether waiting may heal a failed write to a file or a device: no room, a sick disk, no memory.
fn may_heal(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENOSPC
            | Errno::EDQUOT
            | Errno::EIO
            | Errno::EFBIG
            | Errno::ENOMEM
            | Errno::ENOBUFS
            | Errno::ETIMEDOUT
            | Errno::EAGAIN
    )
}

/// `write(2)`, again when a signal came first. A device that takes nothing and names no error has
/// no room.
fn write(descriptor: impl std::os::fd::AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match nix::unistd::write(descriptor.as_fd(), bytes) {
            Err(Errno::EINTR) => {}
            Ok(0) if !bytes.is_empty() => return Err(Errno::ENOSPC),
            result => return result,
        }
    }
}
