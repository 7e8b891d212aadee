//! What a failed call means for the file that it was about.
//!
//! In: errors of calls that take a path. Out: a class of errors.
//! Always holds: an error is in one class.

use std::io;

use nix::libc;

use super::USER_MOUNT;

/// Classes of errors, as far as anything depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The name leads nowhere: `ENOENT`, `ENOTDIR`, `ELOOP`.
    Gone,
    /// The path is in a mount made by a user.
    UserMount,
    /// Permission is missing: `EACCES`, `EPERM`.
    Refused,
    /// The name is longer than the system allows.
    TooLong,
    /// The system lacks descriptors or memory, or a signal arrived. This says nothing about the
    /// file, and passes.
    Shortage,
    /// Everything else: a broken disk, a server that does not answer.
    Other,
}

impl Failure {
    /// The class of an error.
    #[must_use]
    pub(crate) fn of(error: &io::Error) -> Failure {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Failure::Gone,
            Some(USER_MOUNT) => Failure::UserMount,
            Some(libc::EACCES | libc::EPERM) => Failure::Refused,
            Some(libc::ENAMETOOLONG) => Failure::TooLong,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN | libc::EINTR) => {
                Failure::Shortage
            }
            _ if error.kind() == io::ErrorKind::PermissionDenied => Failure::Refused,
            _ => Failure::Other,
        }
    }
}
