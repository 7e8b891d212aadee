//! A descriptor that can be full and become writable again, registered with the loop: pipe, FIFO,
//! terminal or socket.
//!
//! In: bytes. Out: how many were accepted.
//! Always holds: a write never blocks, and the file status flags of a shared description never
//! change. The loop polls for WRITABLE only while the channel is full: otherwise each read at the
//! far end would wake it. It is always woken when the far end is gone (`EPOLLERR`, `EPOLLHUP`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use mio::Interest;
use mio::unix::SourceFd;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use super::Poller;
use crate::sys::again::again;

/// How to write without blocking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `write(2)`: the description is our own and has `O_NONBLOCK`.
    Write,
    /// `send(2)` with `MSG_DONTWAIT` and `MSG_NOSIGNAL`.
    Send,
    /// The description is shared and may block: call poll(2) first and write at most this many
    /// bytes. A pipe that polls writable accepts `PIPE_BUF` bytes without blocking (unless another
    /// writer is faster).
    Ask {
        /// Most bytes of one write.
        bytes_max: usize,
    },
}

/// The outcome of an offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// This many bytes were accepted, at least one.
    Took(usize),
    /// None fits; the loop will be woken when some do.
    Full,
}

/// What [`Channel::discard_input`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// There is no more input now, or ever.
    Drained,
    /// There may be more: call again.
    Undrained,
}

/// Most reads of [`INPUT_BYTES`] that one call discards, so that a peer that floods us does not
/// occupy the loop.
const INPUT_READS_MAX: usize = 16;
/// Bytes of one such read.
const INPUT_BYTES: usize = 4096;

/// A registered descriptor. Dropping it deregisters and closes it.
#[derive(Debug)]
pub(super) struct Channel {
    descriptor: OwnedFd,
    way: Way,
    /// The interest while the channel is not full. `PRIORITY` (urgent data, which nobody sends)
    /// means errors only.
    resting: Interest,
    is_full: bool,
    poller: Rc<Poller>,
}

impl Channel {
    /// Registers `descriptor`.
    ///
    /// # Errors
    /// `EPERM` when epoll(7) does not serve this kind of descriptor.
    pub(super) fn new(
        descriptor: OwnedFd,
        way: Way,
        resting: Interest,
        poller: &Rc<Poller>,
    ) -> std::io::Result<Self> {
        poller.registry.register(&mut SourceFd(&descriptor.as_raw_fd()), poller.token, resting)?;
        Ok(Channel { descriptor, way, resting, is_full: false, poller: Rc::clone(poller) })
    }

    /// Offers bytes, at least one.
    ///
    /// # Errors
    /// `EPIPE` when nobody reads; else the error of the system call.
    pub(super) fn offer(&mut self, bytes: &[u8]) -> Result<Offer, Errno> {
        assert!(!bytes.is_empty(), "an empty write tells nothing");
        match self.write(bytes) {
            Ok(taken) => {
                if taken == bytes.len() {
                    self.set_full(false)?;
                }
                Ok(Offer::Took(taken))
            }
            // EPOLL_CTL_MOD re-arms and reports the present state, so room that appeared since the
            // write is not missed.
            Err(Errno::EAGAIN) => {
                self.set_full(true)?;
                Ok(Offer::Full)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Whether the far end is gone for good: poll(2) reports an error or a hang-up.
    pub(super) fn is_broken(&self) -> Result<bool, Errno> {
        Ok(self
            .poll_now()?
            .intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL))
    }

    /// Reads and discards the input of a socket, so that it cannot fill up and stop the peer.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) fn discard_input(&mut self) -> Result<Input, Errno> {
        let mut buffer = [0; INPUT_BYTES];
        for _ in 0..INPUT_READS_MAX {
            match recv(self.descriptor.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                // 0: the peer sends no more, but may still read.
                Ok(0) | Err(Errno::EAGAIN) => return Ok(Input::Drained),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Input::Undrained)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.way {
            Way::Write => super::write(&self.descriptor, bytes),
            Way::Send => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                again(|| send(self.descriptor.as_raw_fd(), bytes, flags))
            }
            Way::Ask { bytes_max } => {
                let state = self.poll_now()?;
                if state.contains(PollFlags::POLLERR) {
                    return Err(Errno::EPIPE);
                }
                if !state.contains(PollFlags::POLLOUT) {
                    return Err(Errno::EAGAIN);
                }
                super::write(&self.descriptor, &bytes[..bytes.len().min(bytes_max)])
            }
        }
    }

    fn poll_now(&self) -> Result<PollFlags, Errno> {
        let mut descriptors = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT)];
        again(|| poll(&mut descriptors, PollTimeout::ZERO))?;
        Ok(descriptors[0].revents().unwrap_or(PollFlags::POLLERR))
    }

    fn set_full(&mut self, is_full: bool) -> Result<(), Errno> {
        if self.is_full == is_full {
            return Ok(());
        }
        let interest = if is_full { self.resting | Interest::WRITABLE } else { self.resting };
        let raw = self.descriptor.as_raw_fd();
        self.poller
            .registry
            .reregister(&mut SourceFd(&raw), self.poller.token, interest)
            .map_err(|error| errno_of(&error))?;
        self.is_full = is_full;
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // A duplicate elsewhere would keep the registration alive. It may already be gone.
        let _ = self.poller.registry.deregister(&mut SourceFd(&self.descriptor.as_raw_fd()));
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
