//! How many bytes a socket has not delivered yet.
//!
//! In: a TCP socket. Out: a number of bytes.
//! Always holds: the answer stays true after the connection is reset, until the socket is closed.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

nix::ioctl_read_bad!(
    /// `SIOCOUTQ`, which is the same number as `TIOCOUTQ`.
    outq,
    nix::libc::TIOCOUTQ,
    nix::libc::c_int
);

/// Bytes written to a TCP socket that its peer's kernel has not acknowledged (`SIOCOUTQ`, tcp(7)).
/// The answer stays true after the connection was reset, until the socket is closed.
///
/// # Errors
/// Those of ioctl(2).
pub(crate) fn unacknowledged(socket: impl AsFd) -> io::Result<u64> {
    let mut bytes = 0;
    #[expect(unsafe_code, reason = "an ioctl")]
    // SAFETY: SIOCOUTQ writes one int, which `bytes` is; the descriptor is borrowed for the call.
    unsafe { outq(socket.as_fd().as_raw_fd(), &raw mut bytes) }?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}
