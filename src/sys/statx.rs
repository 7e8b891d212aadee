//! `statx(2)` of a name in an open directory, which the standard library does not offer.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::libc;

use super::file::Found;

/// Looks at what has this name in the directory; at a link itself.
///
/// # Errors
/// Those of `statx(2)`.
pub(super) fn statx(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Found> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: the name ends with a NUL, and the kernel writes one `struct statx` at most.
    #[expect(unsafe_code, reason = "neither the standard library nor nix has statx(2) of a name in a directory")]
    let status =
        unsafe { libc::statx(directory.as_raw_fd(), name.as_ptr(), libc::AT_SYMLINK_NOFOLLOW, wanted, found.as_mut_ptr()) };
    Errno::result(status)?;
    #[expect(unsafe_code, reason = "see above")]
    // SAFETY: all of it are numbers: zeros, or what the kernel wrote.
    let found = unsafe { found.assume_init() };
    Ok(Found {
        device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
        mode: u32::from(found.stx_mode),
        size: found.stx_size,
        links: u64::from(found.stx_nlink),
        modified: time(&found.stx_mtime),
        owner: found.stx_uid,
        born: (found.stx_mask & libc::STATX_BTIME != 0).then(|| time(&found.stx_btime)),
    })
}

fn time(stamp: &libc::statx_timestamp) -> SystemTime {
    let whole = Duration::from_secs(stamp.tv_sec.unsigned_abs());
    let second =
        if stamp.tv_sec < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    second.and_then(|second| second.checked_add(Duration::from_nanos(stamp.tv_nsec.into()))).unwrap_or(SystemTime::UNIX_EPOCH)
}
