//! Signals as a descriptor: SIGTERM, SIGINT, SIGHUP and SIGUSR1 are blocked and read from a `signalfd(2)`.
//!
//! In: what the kernel delivers. Out: [`Signal`]s, one at a time, between two turns.
//! Always holds: no handler runs, so nothing is ever interrupted in the middle.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

/// What the administrator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: read the settings again, open the output again.
    Reload,
    /// SIGUSR1.
    Report,
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
        // A file that reached RLIMIT_FSIZE is a full disk (EFBIG), not a reason to die.
        SigSet::from(Number::SIGXFSZ).thread_block()?;
        Ok(Signals(receive(&[Number::SIGTERM, Number::SIGINT, Number::SIGHUP, Number::SIGUSR1])?))
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
        let Some(info) = read(&self.0)? else { return Ok(None) };
        let is = |number: Number| i64::from(info.ssi_signo) == i64::from(number as i32);
        Ok(Some(if is(Number::SIGHUP) {
            Signal::Reload
        } else if is(Number::SIGUSR1) {
            Signal::Report
        } else {
            Signal::Stop
        }))
    }
}

/// Blocks SIGHUP and SIGUSR1, which would end the process: one that comes before there is a daemon waits until there is one.
///
/// # Panics
/// Never: `sigprocmask(2)` fails for wrong arguments only.
pub fn hold_back_requests() {
    let requests: SigSet = [Number::SIGHUP, Number::SIGUSR1].into_iter().collect();
    requests.thread_block().expect("the arguments are right");
}

/// Blocks signals, and makes a descriptor that tells of them.
fn receive(signals: &[Number]) -> io::Result<SignalFd> {
    let mut wanted = SigSet::empty();
    signals.iter().for_each(|&signal| wanted.add(signal));
    wanted.thread_block()?;
    Ok(SignalFd::with_flags(&wanted, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// The next signal that is pending. A call that was interrupted is made again.
fn read(signals: &SignalFd) -> io::Result<Option<siginfo>> {
    loop {
        match signals.read_signal() {
            Err(Errno::EINTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// For a program that has the terminal: the signals that end it, and SIGWINCH, as a descriptor.
#[derive(Debug)]
pub struct Interrupts(SignalFd);

impl Interrupts {
    /// Blocks the signals and makes the descriptor.
    ///
    /// # Errors
    /// Those of `sigprocmask(2)` and `signalfd(2)`.
    pub fn new() -> io::Result<Self> {
        let ends = [Number::SIGTERM, Number::SIGINT, Number::SIGHUP, Number::SIGQUIT];
        Ok(Interrupts(receive(&[&ends[..], &[Number::SIGWINCH]].concat())?))
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next signal, if one is pending: whether it means the end. If not, the terminal has another size.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn next(&self) -> io::Result<Option<bool>> {
        let resized = u32::try_from(Number::SIGWINCH as i32).expect("signal numbers are positive");
        Ok(read(&self.0)?.map(|info| info.ssi_signo != resized))
    }
}
