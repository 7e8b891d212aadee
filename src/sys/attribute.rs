//! Extended attributes of an open file: small values stored beside its content, xattr(7).
//!
//! In: an open file and a name. Out: bytes, or the system's error.
//! Always holds: a missing attribute is `None`, not an error.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `fgetxattr(2)`. `None`: the file has no such attribute, its file system does not support any, or
/// the value is longer than `buffer`.
///
/// # Errors
/// Those of `fgetxattr(2)`.
pub(crate) fn get<'a>(
    file: impl AsFd,
    name: &CStr,
    buffer: &'a mut [u8],
) -> io::Result<Option<&'a [u8]>> {
    let descriptor = file.as_fd().as_raw_fd();
    #[expect(unsafe_code, reason = "nix has no extended attributes")]
    // SAFETY: the descriptor is borrowed for the call; `name` ends with a NUL; at most
    // `buffer.len()` bytes are written to `buffer`.
    let len = unsafe {
        nix::libc::fgetxattr(descriptor, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
    };
    match usize::try_from(len) {
        Ok(len) => Ok(buffer.get(..len)),
        Err(_) => match io::Error::last_os_error() {
            error
                if matches!(
                    error.raw_os_error(),
                    Some(nix::libc::ENODATA | nix::libc::EOPNOTSUPP | nix::libc::ERANGE)
                ) =>
            {
                Ok(None)
            }
            error => Err(error),
        },
    }
}

/// `fsetxattr(2)`: creates or replaces an attribute, atomically.
///
/// # Errors
/// Those of `fsetxattr(2)`; `EOPNOTSUPP`: the file system does not support any.
pub(crate) fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    let descriptor = file.as_fd().as_raw_fd();
    #[expect(unsafe_code, reason = "nix has no extended attributes")]
    // SAFETY: the descriptor is borrowed for the call; `name` ends with a NUL; `value` is read
    // only, as long as it is.
    let outcome = unsafe {
        nix::libc::fsetxattr(descriptor, name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
