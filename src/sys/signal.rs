//! Signals as descriptors: SIGHUP and SIGUSR1 are blocked and read from a `signalfd(2)`, SIGTERM
//! and SIGINT by a thread that tells of them.
//!
//! In: what the kernel delivers. Out: [`Signal`]s, one at a time, between two turns.
//! Always holds: no handler runs, so nothing is ever interrupted in the middle; the second SIGTERM
//! or SIGINT ends the process.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::pipe2;

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

/// After the second SIGTERM or SIGINT the process has this long to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// The blocked signals' descriptors.
#[derive(Debug)]
pub struct Signals {
    requests: SignalFd,
    /// A byte for each SIGTERM or SIGINT.
    stops: OwnedFd,
}

impl Signals {
    /// Blocks the signals and makes the descriptors. A thread waits for those that ask for the end:
    /// a call may keep the caller for as long as somebody else likes, and the second of them ends
    /// the process all the same.
    ///
    /// # Errors
    /// Those of `sigprocmask(2)`, `signalfd(2)`, `pipe(2)` and of a new thread.
    pub fn new() -> io::Result<Self> {
        // A file that reached RLIMIT_FSIZE is a full disk (EFBIG), not a reason to die.
        SigSet::from(Number::SIGXFSZ).thread_block()?;
        let requests = receive(&[Number::SIGHUP, Number::SIGUSR1])?;
        let ends: SigSet = ENDS.into_iter().collect();
        ends.thread_block()?;
        let (stops, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        std::thread::Builder::new()
            .name("signals".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || wait_for_ends(&ends, &writer))?;
        Ok(Signals { requests, stops })
    }

    /// The descriptors to poll.
    #[must_use]
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.stops.as_raw_fd(), self.requests.as_raw_fd()]
    }

    /// The next signal, if one is pending.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        match nix::unistd::read(&self.stops, &mut [0]) {
            Ok(1..) => return Ok(Some(Signal::Stop)),
            Ok(0) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(info) = read(&self.requests)? else { return Ok(None) };
        let is_reload = i64::from(info.ssi_signo) == i64::from(Number::SIGHUP as i32);
        Ok(Some(if is_reload { Signal::Reload } else { Signal::Report }))
    }
}

/// What asks for the end.
const ENDS: [Number; 2] = [Number::SIGTERM, Number::SIGINT];

/// Of the thread that waits for signals.
const STACK_BYTES: usize = 64 * 1024;

/// Writes a byte for each signal. The second one ends the process unless it ends by itself: the
/// default action reaches every thread that the kernel lets be killed.
fn wait_for_ends(ends: &SigSet, writer: &OwnedFd) {
    for number in 1_u32.. {
        let Ok(signal) = ends.wait() else { continue };
        // If the pipe is full, a stop is pending already.
        let _ = nix::unistd::write(writer, b"!");
        if number == 2 {
            super::clock::pause(GRACE);
            eprintln!("manytail: a call does not return: ended by the second signal");
            let _ = ends.thread_unblock();
            let _ = nix::sys::signal::kill(nix::unistd::getpid(), signal);
        }
    }
}

/// Blocks SIGHUP and SIGUSR1, which would end the process: one that comes before there is a daemon
/// waits until there is one.
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

    /// The next signal, if one is pending: whether it means the end. If not, the terminal has
    /// another size.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn next(&self) -> io::Result<Option<bool>> {
        let resized = u32::try_from(Number::SIGWINCH as i32).expect("signal numbers are positive");
        Ok(read(&self.0)?.map(|info| info.ssi_signo != resized))
    }
}
