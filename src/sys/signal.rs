//! Signals as a descriptor: SIGTERM, SIGINT and SIGHUP are blocked and read from a `signalfd(2)`.
//!
//! In: what the kernel delivers. Out: [`Signal`]s, one at a time, between two turns.
//! Always holds: no handler runs, so nothing is ever interrupted in the middle.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What the administrator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reopen,
}

/// The blocked signals' descriptor.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals and makes the descriptor.
    ///
    /// # Errors
    /// Those of `sigprocmask(2)` and `signalfd(2)`.
    pub fn new() -> io::Result<Self> {
        let mut wanted = SigSet::empty();
        for signal in [Number::SIGTERM, Number::SIGINT, Number::SIGHUP] {
            wanted.add(signal);
        }
        wanted.thread_block()?;
        // A file that reached RLIMIT_FSIZE is a full disk (EFBIG), not a reason to die.
        let mut too_large = SigSet::empty();
        too_large.add(Number::SIGXFSZ);
        too_large.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&wanted, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next signal, if one is pending.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        let hangup = u32::try_from(Number::SIGHUP as i32).expect("signal numbers are positive");
        Ok(Some(if info.ssi_signo == hangup { Signal::Reopen } else { Signal::Stop }))
    }
}
