//! Descriptors that were inherited: a number on the command line becomes an owned descriptor, or an error.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// A duplicate (`F_DUPFD_CLOEXEC`, fcntl(2)) of the inherited descriptor `number`: the same open file description, so position and
/// status flags are shared with whoever else has it.
///
/// # Errors
/// `EBADF` when the number is not open, or is close-on-exec: then it was not inherited but is one of our own.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF.into());
    }
    #[expect(unsafe_code, reason = "a number has no owner to borrow from")]
    // SAFETY: not -1, and used for two fcntl calls only, which answer EBADF when the number is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if FdFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFD)?).contains(FdFlag::FD_CLOEXEC) {
        return Err(Errno::EBADF.into());
    }
    // 3: never in the place of a standard descriptor that is closed.
    let duplicate = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    #[expect(unsafe_code, reason = "fcntl returns a number")]
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}
