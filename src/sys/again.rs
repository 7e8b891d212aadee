//! Calls that a signal may interrupt.
//!
//! In: a system call. Out: its outcome.
//! Always holds: the outcome is not `EINTR`.

use nix::errno::Errno;

/// Makes a call, and repeats it as long as a signal interrupts it.
#[inline]
pub(crate) fn again<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            outcome => return outcome,
        }
    }
}
