//! Where records go: the [`Sink`] trait, its contract, and the kinds of output.
//!
//! In: whole records, in order; some may be offered again. Out: how many bytes were accepted, and
//! how many of those are acknowledged; of outputs that commit, which commit holds.
//! Always holds: a sink never blocks the loop, never reorders and never drops bytes; the caller
//! keeps what was not accepted.

/// What a sink answers that is no regular file: it has no point, no place and no owner, gives
/// nothing back, and has nothing to reopen.
macro_rules! no_regular_file {
    () => {
        fn point(&mut self) -> Option<$crate::sink::FilePoint> {
            None
        }

        fn withdraw(&mut self, _bytes: u64) -> bool {
            false
        }

        fn reopen(&mut self) -> Result<(), $crate::sink::SinkError> {
            Ok(())
        }

        fn place(&mut self) -> $crate::sink::Place {
            $crate::sink::Place::Here
        }

        fn replace(&mut self, _from: Option<u64>) -> Result<(), $crate::sink::SinkError> {
            Ok(())
        }

        fn owed(&self) -> u64 {
            0
        }

        fn own_file(&self) -> Option<(u64, u64)> {
            None
        }
    };
}

mod backoff;
mod boundary;
mod channel;
mod descriptor;
mod file;
#[cfg(feature = "kafka")]
mod kafka;
pub(crate) mod nats;
mod outage;
mod owed;
mod records;
mod regular;
mod settle;
mod socket;
#[cfg(test)]
mod tests;
mod trial;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;

#[cfg(not(all(feature = "kafka", feature = "nats")))]
use crate::config::Build;
use crate::config::{Config, Format, Kafka, Nats, Output, Routes};
use crate::diagnostics::notices::NoticeCounts;
use crate::sys::again::again;
use crate::sys::{self, FileId};

pub(crate) use records::{Of, Origins};
pub use records::{Origin, Record, Records, Wants};
pub use settle::{
    Decided, IsStored, Known, Mismatch, Number, OutputCommit, Settle, Unsettled, Verdict, decide,
};
pub(crate) use trial::Found;

/// The outcome of an offer to a [`Sink`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// This many bytes from the front were accepted (at least 1 unless none were offered).
    Accepted(usize),
    /// Nothing fits now. Offer again after [`Sink::ready`], or at [`Sink::deadline`].
    Blocked,
    /// The receiver is gone, and the last `unacknowledged` of all accepted bytes may not have
    /// reached it. The caller goes back to the start of the record that contains the first of them,
    /// and offers again from there. Returned exactly once per loss. The next offer goes to the new
    /// receiver (or is `Blocked` until there is one).
    Restarted {
        /// Bytes accepted but not acknowledged when the receiver was lost. At least the bytes of a
        /// torn last record.
        unacknowledged: u64,
    },
    /// Nobody will ever read again (`| head -1`): the run ends without an error.
    Closed,
}

/// An output that cannot continue. Conditions that may clear by themselves return [`Sent::Blocked`]
/// instead.
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

/// The state of an output, for people. No decision depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkState {
    /// The receiver is there, and the last offer did not fail with an error.
    pub is_connected: bool,
    /// The last failure and its reason, until something succeeds.
    pub failure: Option<String>,
    /// Attempts to connect, open or write that failed.
    pub errors: u64,
    /// Times that a receiver came back after one was lost.
    pub reconnects: u64,
    /// Times that another program truncated the file.
    pub truncations: u64,
    /// Records that were left out because the receiver will never take them.
    pub refused: u64,
    /// Records that were sent to a broker and not confirmed yet.
    pub in_flight: u64,
    /// Batches that a stream stored.
    pub batches: u64,
    /// What holds records back though nothing fails.
    pub remark: Option<String>,
    /// Failures that were logged, and failures that were suppressed so that an unstable output does
    /// not flood the log.
    pub notices: NoticeCounts,
}

impl SinkState {
    /// The state of an output that cannot fail.
    #[must_use]
    pub fn sound() -> Self {
        SinkState {
            is_connected: true,
            failure: None,
            errors: 0,
            reconnects: 0,
            truncations: 0,
            refused: 0,
            in_flight: 0,
            batches: 0,
            remark: None,
            notices: NoticeCounts::default(),
        }
    }
}

/// A position in a regular output file.
#[derive(Debug)]
pub struct FilePoint {
    /// Which file.
    pub id: FileId,
    /// Its length in bytes, up to the last byte that was accepted.
    pub len: u64,
    /// A descriptor of it, for `fdatasync(2)` on another thread; `None` if it cannot be duplicated,
    /// or in a simulation.
    pub file: Option<OwnedFd>,
}

/// Where the file is that receives records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its path leads to it. Also the answer of outputs that are not regular files.
    Here,
    /// Its path leads elsewhere or nowhere, but it has a name somewhere: it was renamed, or
    /// something was mounted over it.
    Moved,
    /// It has no name any more: its content is lost when it is closed.
    Deleted,
}

/// An output.
///
/// # What a call must do
/// * Return at once: no call blocks. (The exception is a host name, which [`Sink::send`] resolves.)
/// * Accept bytes in stream order, without a gap. `accepted` counts the bytes that [`Sink::send`]
///   accepted; `accepted - unacknowledged()` of them are acknowledged, oldest first. Offsets are
///   stored only for acknowledged bytes.
/// * Start each new receiver with a whole record. A record ends with a newline and contains no
///   other one, so a sink finds where a record begins.
///
/// # What a call may do
/// * Accept only a part of an offer, or nothing.
/// * Connect, open and register descriptors with the loop ([`Poller`]).
///
/// # Limits
/// Only a regular file has a point, a place and an owner ([`Sink::point`], [`Sink::place`],
/// [`Sink::own_file`]); the other kinds answer `None` or [`Place::Here`], and cannot
/// [`Sink::withdraw`].
///
/// # Errors
/// An error of [`Sink::send`] ends the run; conditions that may clear by themselves are
/// [`Sent::Blocked`]. After another error the sink stays as it was.
///
/// No method has a default: a sink that lacked one would silently report a file that is in its
/// place.
pub trait Sink {
    /// Offers the next bytes of the stream: whole records, except that a front part of the first
    /// may have been accepted before. Without bytes, only checks whether the receiver is still
    /// there. `write(2)`; for sockets `send(2)`.
    ///
    /// # Errors
    /// When the output can never continue.
    fn send(&mut self, records: Records<'_>, now: Instant) -> Result<Sent, SinkError>;

    /// What it looks at: always the same.
    fn wants(&self) -> Wants;

    /// The receiver, if it remembers commits.
    fn receiver(&mut self) -> Option<&mut dyn Receiver>;

    /// Bytes accepted but not yet acknowledged: 0 where acceptance is acknowledgement (pipes,
    /// files, unix sockets); for TCP the bytes that the peer's kernel has not confirmed
    /// (`SIOCOUTQ`, tcp(7)); with transactions all bytes since the last commit.
    fn unacknowledged(&mut self) -> u64;

    /// The descriptor became writable, failed, or was closed by its peer.
    fn ready(&mut self, now: Instant);

    /// When to call [`Sink::send`] again even if nothing became ready: a back-off ends, or a full
    /// disk is tried again.
    fn deadline(&self) -> Option<Instant>;

    /// Where the next byte will be written, if the output is a regular file. It is committed
    /// together with offsets.
    fn point(&mut self) -> Option<FilePoint>;

    /// Removes the last `bytes` accepted, whole records, from a regular file (`ftruncate(2)`); they
    /// will be offered again. Returns whether that was possible: not if another program wrote
    /// behind them.
    fn withdraw(&mut self, bytes: u64) -> bool;

    /// SIGHUP: opens the file again, and the next bytes go there. Called only between two records.
    /// No effect on other kinds.
    ///
    /// # Errors
    /// When the file cannot be opened again; the old one stays in use.
    fn reopen(&mut self) -> Result<(), SinkError>;

    /// Where the regular file is that receives records, by `fstat(2)` and `stat(2)`.
    fn place(&mut self) -> Place;

    /// After [`Place::Deleted`]: continues in another file at the same path, creating it if there
    /// is none. The bytes of the deleted file from `from` on (`None`: from the end at which it was
    /// last found in its place) are owed to the new one: the next calls of [`Sink::send`] write
    /// them before anything else.
    ///
    /// # Errors
    /// When no such file can be opened; the deleted one stays in use.
    fn replace(&mut self, from: Option<u64>) -> Result<(), SinkError>;

    /// Bytes still owed to the new file.
    fn owed(&self) -> u64;

    /// Device and inode of the regular file that receives records, so that it is never followed as
    /// an input.
    fn own_file(&self) -> Option<(u64, u64)>;

    /// The state of the output.
    fn state(&self) -> SinkState;
}

/// The receiver of a sink, as far as commits concern it.
///
/// # Two kinds
/// * A stream numbers what it stores. A commit stores the last such number
///   ([`Receiver::sequence`]); at the next start the stream answers what it has beyond.
/// * With transactions nothing is acknowledged before a commit. [`Receiver::settle`] begins one:
///   offsets are stored under a number, then the receiver commits that number together with the
///   records. At the next start, or when the receiver was lost, it answers which number it has.
///
/// Like those of [`Sink`], no call blocks.
pub trait Receiver {
    /// At a start with a state directory, once, before anything is offered: what the journal says.
    fn begin(&mut self, known: &Known);

    /// What the receiver has beyond that, after [`Receiver::begin`]; and after [`Settle::Lost`] or
    /// a commit that failed as [`Unsettled`], whether that commit was made. `None`: not known yet,
    /// ask again after [`Sink::ready`]. Given once per question; nothing is offered until then.
    ///
    /// # Errors
    /// When state directory and receiver do not belong together ([`Mismatch`]).
    fn verdict(&mut self) -> Result<Option<Verdict>, SinkError>;

    /// Whether it acknowledges by commits alone.
    fn has_transactions(&self) -> bool;

    /// What a commit has to do with the output now.
    fn settle(&mut self) -> Settle;

    /// The commit that [`Receiver::settle`] began was made, or the verdict was that it was: all
    /// that was accepted is acknowledged.
    fn settled(&mut self, is_stored: IsStored);

    /// Where the receiver's stream ended when it had stored all accepted bytes but the last
    /// `beyond`, or earlier. `None`: it is no stream, or has stored nothing yet.
    fn sequence(&mut self, beyond: u64) -> Option<u64>;
}

/// What a sink needs to register its descriptors with the loop, all under one token.
#[derive(Debug)]
pub(crate) struct Poller {
    /// A clone of the loop's registry.
    pub registry: mio::Registry,
    /// Events with this token mean [`Sink::ready`].
    pub token: mio::Token,
}

/// What the sink of a broker needs beside the name of the output.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "a build without one of the clients does not read all of it")]
pub(crate) struct Brokers<'a> {
    /// How Kafka is reached.
    pub kafka: &'a Kafka,
    /// How NATS is reached.
    pub nats: &'a Nats,
    /// Where records go; outputs that are brokers have it.
    pub routes: Option<&'a Routes>,
    /// How records are written.
    pub format: Format,
    /// There is a state directory: commits concern the receiver.
    pub is_kept: bool,
}

impl<'a> Brokers<'a> {
    /// Those of a run.
    pub(crate) fn of(config: &'a Config) -> Self {
        Brokers {
            kafka: &config.kafka,
            nats: &config.nats,
            routes: config.engine.routes.as_ref(),
            format: config.engine.format,
            is_kept: config.state_dir.is_some(),
        }
    }
}

/// Opens an output. A missing peer or FIFO reader is not an error: sinks look for it from the first
/// [`Sink::send`] on, which may be empty.
///
/// # Errors
/// When the output can never work: a descriptor that is not open for writing, a file that cannot be
/// created, a malformed address.
pub(crate) fn open(
    output: &Output,
    brokers: &Brokers<'_>,
    poller: Poller,
) -> Result<Box<dyn Sink>, SinkError> {
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
        #[cfg(feature = "kafka")]
        Output::Kafka(_) => Box::new(kafka::KafkaSink::open(name, brokers, poller)?),
        #[cfg(not(feature = "kafka"))]
        Output::Kafka(_) => {
            let why = Build::missing("Kafka", "kafka-tls");
            return Err(SinkError::new(&name, "open", io::Error::other(why)));
        }
        Output::Nats(_) => open_nats(name, brokers, poller)?,
    })
}

/// Tries the broker of an output before a run. `record_bytes_max`: of the longest record. Empty:
/// the output is none, or this build has no client for it.
#[cfg_attr(
    not(any(feature = "kafka", feature = "nats")),
    expect(unused_variables, reason = "nobody is asked")
)]
pub(crate) fn try_out(
    output: &Output,
    brokers: &Brokers<'_>,
    record_bytes_max: usize,
) -> Vec<Found> {
    match output {
        #[cfg(feature = "kafka")]
        Output::Kafka(_) => kafka::try_out(brokers, record_bytes_max),
        #[cfg(feature = "nats")]
        Output::Nats(_) => nats::try_out(brokers, record_bytes_max),
        _ => Vec::new(),
    }
}

#[cfg(feature = "nats")]
fn open_nats(
    name: String,
    brokers: &Brokers<'_>,
    poller: Rc<Poller>,
) -> Result<Box<dyn Sink>, SinkError> {
    Ok(Box::new(nats::NatsSink::open(name, brokers, poller)?))
}

#[cfg(not(feature = "nats"))]
fn open_nats(
    name: String,
    _brokers: &Brokers<'_>,
    _poller: Rc<Poller>,
) -> Result<Box<dyn Sink>, SinkError> {
    let why = Build::missing("NATS", "nats");
    Err(SinkError::new(&name, "open", io::Error::other(why)))
}

/// Checks that the descriptor that an output needs was left open for us. Called before we open,
/// create or change anything, so that a run that cannot deliver leaves everything as it is.
///
/// # Errors
/// When the descriptor was closed, or is not open for writing. Errors of other outputs come from
/// [`open`].
pub(crate) fn check(output: &Output) -> Result<(), SinkError> {
    let number = match output {
        Output::Descriptor(number) => Some(*number),
        // `/dev/stdout` and similar paths lead to descriptors by number.
        Output::File(path) => sys::descriptor::named_by(path),
        Output::Unix(_) | Output::Tcp(_) | Output::Kafka(_) | Output::Nats(_) => None,
    };
    match number.map(descriptor::inherited) {
        Some(Err(error)) => Err(SinkError::new(&output.to_string(), "open", error)),
        _ => Ok(()),
    }
}

impl Sink for Box<dyn Sink> {
    fn send(&mut self, records: Records<'_>, now: Instant) -> Result<Sent, SinkError> {
        (**self).send(records, now)
    }

    fn wants(&self) -> Wants {
        (**self).wants()
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        (**self).receiver()
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

/// Whether a failed write to a file or device may succeed later: no space, a failing disk, no
/// memory.
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

/// `write(2)`, repeated after `EINTR`. A device that accepts nothing without an error has no space.
fn write(descriptor: impl std::os::fd::AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    match again(|| nix::unistd::write(descriptor.as_fd(), bytes)) {
        Ok(0) if !bytes.is_empty() => Err(Errno::ENOSPC),
        result => result,
    }
}
