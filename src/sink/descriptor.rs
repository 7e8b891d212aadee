//! `stdout` and `fd:N`: a descriptor that another program opened and may still share with us.
//!
//! In: the number. Out: bytes written to it: a pipe, terminal, socket, regular file or device.
//! Always holds: the file status flags of the inherited open file description never change, even if
//! we are killed. A pipe or terminal is therefore opened a second time through `/proc/self/fd`,
//! which gives a description of our own that may be non-blocking. Where that is refused (no /proc,
//! another user's pipe), poll(2) comes before each small write. A regular file is not opened again,
//! because that would lose its position and `O_APPEND`.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Instant;

use mio::Interest;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::unistd::{Whence, lseek};

use super::backoff::Backoff;
use super::channel::{Channel, Offer, Way};
use super::outage::Outage;
use super::regular::position;
use super::{
    FilePoint, Place, Poller, Receiver, Records, Sent, Sink, SinkError, SinkState, Wants, may_heal,
    write,
};
use crate::sys;

/// Bytes that fit into a pipe that polls writable: `PIPE_BUF` of limits.h, pipe(7).
const PIPE_BYTES: usize = nix::libc::PIPE_BUF;
/// The Linux driver reports a terminal as writable while fewer than this many bytes wait
/// (`WAKEUP_CHARS`). It does not report how many fit.
const TERMINAL_BYTES: usize = 256;

#[derive(Debug)]
enum Target {
    /// Can be full; epoll reports when it no longer is.
    Channel(Channel),
    /// Regular file or device: always writable, and not supported by epoll(7).
    Direct(OwnedFd),
}

/// The `stdout` and `fd:N` output.
#[derive(Debug)]
pub(super) struct DescriptorSink {
    receiver: Target,
    own_file: Option<(u64, u64)>,
    /// It is a regular file that had a name at the start.
    had_name: bool,
    /// Times that another program truncated it.
    truncations: u64,
    outage: Outage,
}

impl DescriptorSink {
    /// Finds out what kind of file `number` is.
    pub(super) fn open(
        name: String,
        number: RawFd,
        poller: &Rc<Poller>,
    ) -> Result<Self, SinkError> {
        let (receiver, own_file) =
            look_at(number, poller).map_err(|error| SinkError::new(&name, "open", error))?;
        let outage = Outage::new(name, Backoff::for_room());
        let mut sink =
            DescriptorSink { receiver, own_file, had_name: false, truncations: 0, outage };
        sink.had_name = sink.file().is_some_and(|(_, found)| found.st_nlink > 0);
        Ok(sink)
    }

    /// The regular file, and its attributes now.
    fn file(&self) -> Option<(&OwnedFd, FileStat)> {
        match &self.receiver {
            Target::Direct(file) if self.own_file.is_some() => Some((file, fstat(file).ok()?)),
            _ => None,
        }
    }

    /// Decides what a failed write means.
    fn failed(&mut self, errno: Errno, now: Instant) -> Result<Sent, SinkError> {
        if matches!(errno, Errno::EPIPE | Errno::ECONNRESET) {
            return Ok(Sent::Closed);
        }
        // A terminal that hung up returns EIO.
        if let Target::Channel(channel) = &self.receiver
            && channel.is_broken() == Ok(true)
        {
            return Ok(Sent::Closed);
        }
        if may_heal(errno) {
            self.outage.failed(now, "cannot write", errno);
            return Ok(Sent::Blocked);
        }
        Err(SinkError::new(self.outage.output(), "write", errno))
    }
}

impl Sink for DescriptorSink {
    fn send(&mut self, records: Records<'_>, now: Instant) -> Result<Sent, SinkError> {
        let bytes = records.bytes;
        let is_waiting = self.outage.backoff.is_waiting(now);
        let offered = match &mut self.receiver {
            Target::Channel(channel) if bytes.is_empty() => match channel.is_broken() {
                Ok(true) => return Ok(Sent::Closed),
                Ok(false) => return Ok(Sent::Accepted(0)),
                Err(errno) => Err(errno),
            },
            Target::Direct(_) if bytes.is_empty() => return Ok(Sent::Accepted(0)),
            _ if is_waiting => return Ok(Sent::Blocked),
            Target::Channel(channel) => channel.offer(bytes),
            Target::Direct(descriptor) => write(descriptor, bytes).map(Offer::Took),
        };
        match offered {
            Ok(Offer::Took(taken)) => {
                // A short write does not end an outage: a full disk accepts what fits and fails the
                // rest.
                if taken == bytes.len() {
                    self.outage.ended();
                    self.outage.backoff.reset();
                }
                Ok(Sent::Accepted(taken))
            }
            Ok(Offer::Full) => Ok(Sent::Blocked),
            Err(errno) => self.failed(errno, now),
        }
    }

    fn wants(&self) -> Wants {
        Wants::Bytes
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        None
    }

    fn unacknowledged(&mut self) -> u64 {
        0
    }

    fn ready(&mut self, _now: Instant) {}

    fn deadline(&self) -> Option<Instant> {
        self.outage.backoff.deadline()
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn point(&mut self) -> Option<FilePoint> {
        None
    }

    fn withdraw(&mut self, _bytes: u64) -> bool {
        false
    }

    fn place(&mut self) -> Place {
        let Some((file, found)) = self.file() else { return Place::Here };
        if self.had_name && found.st_nlink == 0 {
            return Place::Deleted;
        }
        let size = u64::try_from(found.st_size).unwrap_or(0);
        if position(file).is_some_and(|position| size < position) {
            // Otherwise the next record would be written where the last one ended, behind NULs.
            let is_at_end = lseek(file, 0, Whence::SeekEnd).is_ok();
            self.truncations += 1;
            let output = self.outage.output();
            tracing::warn!(%output, size, is_at_end, "the output file was truncated by somebody \
                else: records that were in it are gone");
        }
        Place::Here
    }

    fn replace(&mut self, _from: Option<u64>) -> Result<(), SinkError> {
        let why = "the file was deleted, and only the program that started manytail can open \
            another one: start manytail again";
        Err(SinkError::new(self.outage.output(), "go on", io::Error::other(why)))
    }

    fn owed(&self) -> u64 {
        0
    }

    fn own_file(&self) -> Option<(u64, u64)> {
        self.own_file
    }

    fn state(&self) -> SinkState {
        SinkState { truncations: self.truncations, ..self.outage.state() }
    }
}

/// A duplicate of the descriptor of this number that was left open for us, for writing.
pub(super) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    let descriptor =
        sys::descriptor::inherited(number).map_err(|error| match error.raw_os_error() {
            Some(errno) if errno == Errno::EBADF as i32 => {
                let what = format!(
                    "descriptor {number} was closed when manytail was started: open it \
                (`{number}>FILE`), or choose another --output"
                );
                io::Error::new(io::ErrorKind::NotConnected, what)
            }
            _ => error,
        })?;
    let flags = OFlag::from_bits_retain(fcntl(&descriptor, FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_PATH) || flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        let what = format!(
            "descriptor {number} is not open for writing: open it so (`{number}>FILE`), or choose \
            another --output"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(descriptor)
}

fn look_at(number: RawFd, poller: &Rc<Poller>) -> io::Result<(Target, Option<(u64, u64)>)> {
    let descriptor = inherited(number)?;
    let stat = fstat(&descriptor)?;
    let receiver = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => {
            return Ok((Target::Direct(descriptor), Some((stat.st_dev, stat.st_ino))));
        }
        SFlag::S_IFIFO => open_own(descriptor, &stat, PIPE_BYTES, poller)?,
        SFlag::S_IFCHR if nix::unistd::isatty(&descriptor).unwrap_or(false) => {
            open_own(descriptor, &stat, TERMINAL_BYTES, poller)?
        }
        SFlag::S_IFSOCK if getsockopt(&descriptor, sockopt::AcceptConn)? => {
            let what = format!(
                "descriptor {number} is a listening socket: manytail writes only to connected \
                sockets"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        SFlag::S_IFSOCK if getsockopt(&descriptor, sockopt::SockType)? == SockType::Stream => {
            Target::Channel(Channel::new(descriptor, Way::Send, Interest::PRIORITY, poller)?)
        }
        SFlag::S_IFCHR => Target::Direct(descriptor),
        _ => {
            let what = format!(
                "descriptor {number} is not a pipe, terminal, stream socket, regular file or \
                character device"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
    };
    Ok((receiver, None))
}

/// A non-blocking description of our own for the pipe or terminal behind `inherited`. If that
/// cannot be opened, `inherited` itself, with a poll(2) before each write of at most `bytes_max`.
fn open_own(
    inherited: OwnedFd,
    stat: &FileStat,
    bytes_max: usize,
    poller: &Rc<Poller>,
) -> io::Result<Target> {
    let path = sys::descriptor::proc_path(&inherited);
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    if !is_terminal_multiplexer(stat)
        && let Ok(own) = nix::fcntl::open(path.as_str(), flags, Mode::empty())
        && is_same(&own, stat)
    {
        return Ok(Target::Channel(Channel::new(own, Way::Write, Interest::PRIORITY, poller)?));
    }
    // Also when nobody reads any more (ENXIO): the first write or check reports that.
    Ok(Target::Channel(Channel::new(
        inherited,
        Way::Ask { bytes_max },
        Interest::PRIORITY,
        poller,
    )?))
}

/// Whether it is `/dev/ptmx`: opening that again creates another terminal.
fn is_terminal_multiplexer(stat: &FileStat) -> bool {
    let is_device =
        SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFCHR;
    is_device && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2)
}

/// Whether /proc led to the same file.
fn is_same(opened: impl AsFd, stat: &FileStat) -> bool {
    fstat(opened).is_ok_and(|own| (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino))
}
