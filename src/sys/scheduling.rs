//! How the kernel schedules this thread: sched_setscheduler(2), and the counts of
//! `/proc/thread-self/schedstat` (proc_pid_schedstat(5)).
//!
//! In: a policy. Out: the scheduler's counts.
//! Always holds: everything is about the calling thread alone, and needs no privilege.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::sys::uio::pread;

/// Scheduling policies that an unprivileged thread can choose (sched(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// `SCHED_OTHER`: the thread may preempt the one that wakes it.
    Other,
    /// `SCHED_BATCH`: the thread waits until the one that wakes it sleeps or has used up its time
    /// slice.
    Batch,
}

/// Changes the policy of the calling thread.
///
/// # Errors
/// `EPERM`: refused, by a system call filter for example.
#[expect(
    unsafe_code,
    reason = "nix does not have this call, and musl's function of this name always fails"
)]
pub(crate) fn set_policy(policy: Policy) -> io::Result<()> {
    const CALLING_THREAD: libc::pid_t = 0;
    let number = match policy {
        Policy::Other => libc::SCHED_OTHER,
        Policy::Batch => libc::SCHED_BATCH,
    };
    let priority: libc::c_int = 0;
    // SAFETY: `sched_param` begins with, and the kernel reads no more than, this one integer, which
    // outlives the call.
    let outcome = unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, CALLING_THREAD, number, &raw const priority)
    };
    Errno::result(outcome).map(drop).map_err(io::Error::from)
}

/// The scheduler's counts of a thread since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Waits {
    /// How long it was ready to run and waited for a processor.
    pub waited: Duration,
    /// How often it got one.
    pub runs: u64,
}

/// The open counts of one thread.
#[derive(Debug)]
pub(crate) struct Schedstat(OwnedFd);

impl Schedstat {
    /// Opens the counts of the calling thread.
    ///
    /// # Errors
    /// `ENOENT`: `/proc` is not mounted, or this kernel does not count (`CONFIG_SCHED_INFO`).
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Schedstat(open(
            "/proc/thread-self/schedstat",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// Reads the counts with one `pread(2)`: about a microsecond.
    ///
    /// # Errors
    /// That of the read; `InvalidData` if it is not three numbers.
    pub(crate) fn read(&self) -> io::Result<Waits> {
        let mut buffer = [0; 96];
        let len = pread(&self.0, &mut buffer, 0)?;
        parse(&buffer[..len]).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// `RAN WAITED RUNS`: nanoseconds, nanoseconds, a count.
fn parse(text: &[u8]) -> Option<Waits> {
    let mut numbers = std::str::from_utf8(text)
        .ok()?
        .split_ascii_whitespace()
        .map(|word| word.parse::<u64>().ok());
    let (_, waited, runs) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some(Waits { waited: Duration::from_nanos(waited), runs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_scheduler_tells_are_three_numbers() {
        assert_eq!(
            parse(b"17 2500 3\n"),
            Some(Waits { waited: Duration::from_nanos(2_500), runs: 3 })
        );
        for broken in ["", "1", "1 2", "1 2 x", "1 -2 3", "\u{e9}"] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken}");
        }
    }
}
