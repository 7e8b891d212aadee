//! Signals as descriptors: SIGHUP and SIGUSR1 are blocked and read from a `signalfd(2)`. A thread
//! waits for SIGTERM and SIGINT and writes them to a pipe.
//!
//! In: signals from the kernel. Out: [`Signal`]s, one at a time, between two turns.
//! Always holds: no signal handler runs, so no code is interrupted; the second SIGTERM or SIGINT
//! ends the process.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::pipe2;

use super::again::again;

/// What the administrator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: read the settings again, open the output again.
    Reload,
    /// SIGUSR1.
    Report,
}

/// How long the process may take to end by itself after the second SIGTERM or SIGINT.
const GRACE: Duration = Duration::from_secs(1);

/// The blocked signals' descriptors.
#[derive(Debug)]
pub(crate) struct Signals {
    requests: SignalFd,
    /// Receives a byte for each SIGTERM or SIGINT.
    stops: OwnedFd,
}

impl Signals {
    /// Blocks the signals and creates the descriptors. SIGTERM and SIGINT get a thread, so that the
    /// second one ends the process even while a system call of the loop does not return.
    ///
    /// # Errors
    /// Those of `sigprocmask(2)`, `signalfd(2)`, `pipe(2)` and `pthread_create(3)`.
    pub(crate) fn new() -> io::Result<Self> {
        // An output that reaches RLIMIT_FSIZE is treated like a full disk (EFBIG), and must not
        // kill the process.
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
    pub(crate) fn descriptors(&self) -> [RawFd; 2] {
        [self.stops.as_raw_fd(), self.requests.as_raw_fd()]
    }

    /// The next signal, if one is pending.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub(crate) fn next(&self) -> io::Result<Option<Signal>> {
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

/// The signals that ask the process to end.
const ENDS: [Number; 2] = [Number::SIGTERM, Number::SIGINT];

/// Stack of the thread that waits for signals.
const STACK_BYTES: usize = 64 * 1024;

/// Writes a byte for each signal. If the process does not end by itself after the second one, the
/// signal's default action ends it, except for threads that the kernel does not let be killed.
fn wait_for_ends(ends: &SigSet, writer: &OwnedFd) {
    for number in 1_u32.. {
        let Ok(signal) = ends.wait() else { continue };
        // If the pipe is full, a stop is pending already.
        let _ = nix::unistd::write(writer, b"!");
        if number == 2 {
            super::clock::pause(GRACE);
            eprintln!("manytail: a system call does not return: ended by the second signal");
            act_by_default(signal);
            let _ = ends.thread_unblock();
            let _ = nix::sys::signal::kill(nix::unistd::getpid(), signal);
        }
    }
}

/// Gives a signal its default action. A shell without job control starts what runs in its
/// background with SIGINT ignored, and execve(2) keeps that: it still comes to a thread that waits
/// for it, but ends nothing.
#[expect(unsafe_code, reason = "nix cannot know that there is no handler")]
fn act_by_default(signal: Number) {
    // SAFETY: the default action is no function, so nothing runs in a handler.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
}

/// Blocks SIGHUP and SIGUSR1, which would end the process. One that arrives early stays pending
/// until the daemon runs.
///
/// # Panics
/// Never: `sigprocmask(2)` fails for wrong arguments only.
pub(crate) fn hold_back_requests() {
    let requests: SigSet = [Number::SIGHUP, Number::SIGUSR1].into_iter().collect();
    requests.thread_block().expect("the arguments are right");
}

/// Blocks signals, and creates a descriptor that delivers them.
fn receive(signals: &[Number]) -> io::Result<SignalFd> {
    let mut wanted = SigSet::empty();
    signals.iter().for_each(|&signal| wanted.add(signal));
    wanted.thread_block()?;
    Ok(SignalFd::with_flags(&wanted, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// The next pending signal.
fn read(signals: &SignalFd) -> io::Result<Option<siginfo>> {
    Ok(again(|| signals.read_signal())?)
}

/// Signals for a program that uses the terminal: those that end it, and SIGWINCH, as a descriptor.
#[derive(Debug)]
pub(crate) struct Interrupts(SignalFd);

impl Interrupts {
    /// Blocks the signals and creates the descriptor.
    ///
    /// # Errors
    /// Those of `sigprocmask(2)` and `signalfd(2)`.
    pub(crate) fn new() -> io::Result<Self> {
        let ends = [Number::SIGTERM, Number::SIGINT, Number::SIGHUP, Number::SIGQUIT];
        Ok(Interrupts(receive(&[&ends[..], &[Number::SIGWINCH]].concat())?))
    }

    /// The descriptor to poll.
    #[must_use]
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next pending signal, if there is one. `true`: the program shall end. `false`: the size
    /// of the terminal changed.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub(crate) fn next(&self) -> io::Result<Option<bool>> {
        let resized = u32::try_from(Number::SIGWINCH as i32).expect("signal numbers are positive");
        Ok(read(&self.0)?.map(|info| info.ssi_signo != resized))
    }
}
