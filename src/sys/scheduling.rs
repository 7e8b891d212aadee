//! How the kernel schedules this thread: sched_setscheduler(2), and what
//! `/proc/thread-self/schedstat` tells of it (proc_pid_schedstat(5)).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::sys::uio::pread;

/// How a thread is put before others, as far as this is ours to choose (sched(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `SCHED_OTHER`: it may take the processor from whoever wakes it.
    Other,
    /// `SCHED_BATCH`: it waits until whoever wakes it sleeps, or has used up its time.
    Batch,
}

/// Changes the policy of the calling thread.
///
/// # Errors
/// `EPERM`: not allowed here, by a filter of system calls for example.
#[expect(
    unsafe_code,
    reason = "nix does not have this call, and musl's function of this name always fails"
)]
pub fn set_policy(policy: Policy) -> io::Result<()> {
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

/// What the scheduler counted of a thread since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// Ready to run, and waiting for a processor.
    pub waited: Duration,
    /// How often it was given one.
    pub runs: u64,
}

/// The counts of the thread that opened it.
#[derive(Debug)]
pub struct Schedstat(OwnedFd);

impl Schedstat {
    /// Opens the counts of the calling thread.
    ///
    /// # Errors
    /// `ENOENT`: `/proc` is not mounted, or this kernel does not count (`CONFIG_SCHED_INFO`).
    pub fn open() -> io::Result<Self> {
        Ok(Schedstat(open(
            "/proc/thread-self/schedstat",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// Reads them: one `pread(2)`, about a microsecond.
    ///
    /// # Errors
    /// That of the read; `InvalidData` if it is not three numbers.
    pub fn read(&self) -> io::Result<Waits> {
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
