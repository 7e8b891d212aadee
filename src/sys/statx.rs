//! `statx(2)` of a name in an open directory, which the standard library does not offer.
//!
//! In: a directory and a name, or an open file. Out: attributes, or the number of a mount.
//! Always holds: no call asks a file server, mounts anything, or follows a link at the end.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::libc;

use super::stat::Found;

/// Looks at a name in the directory, or at a path from the current directory; at a link itself. No
/// file server is asked, so the attributes of a remote file may be out of date.
///
/// # Errors
/// Those of `statx(2)`.
pub(super) fn statx(directory: Option<BorrowedFd<'_>>, name: &CStr) -> io::Result<Found> {
    let found = call(
        directory,
        name,
        libc::AT_SYMLINK_NOFOLLOW,
        libc::STATX_BASIC_STATS | libc::STATX_BTIME,
    )?;
    Ok(Found {
        device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
        mode: u32::from(found.stx_mode),
        size: found.stx_size,
        links: u64::from(found.stx_nlink),
        modified: time(&found.stx_mtime),
        owner: found.stx_uid,
        born: (found.stx_mask & libc::STATX_BTIME != 0).then(|| time(&found.stx_btime)),
        is_mount_root: found.stx_attributes & MOUNT_ROOT != 0,
    })
}

/// The number of the mount whose root the open file is. `None`: it is not the root of a mount, or
/// the kernel does not report it (before Linux 5.8).
///
/// # Errors
/// Those of `statx(2)`.
pub(super) fn mount_at(file: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let found = call(Some(file), c"", libc::AT_EMPTY_PATH, libc::STATX_MNT_ID)?;
    let is_told = found.stx_mask & libc::STATX_MNT_ID != 0;
    Ok((is_told && found.stx_attributes & MOUNT_ROOT != 0).then_some(found.stx_mnt_id))
}

/// The bit of `stx_attributes` for the root of a mount.
const MOUNT_ROOT: u64 = libc::STATX_ATTR_MOUNT_ROOT as u64;

fn call(
    directory: Option<BorrowedFd<'_>>,
    name: &CStr,
    flags: libc::c_int,
    wanted: libc::c_uint,
) -> io::Result<libc::statx> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let directory = directory.map_or(libc::AT_FDCWD, |directory| directory.as_raw_fd());
    let flags = flags | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
    #[expect(
        unsafe_code,
        reason = "neither the standard library nor nix has statx(2) of a name in a directory"
    )]
    let status =
        // SAFETY: the name ends with a NUL, and the kernel writes one `struct statx` at most.
        unsafe { libc::statx(directory, name.as_ptr(), flags, wanted, found.as_mut_ptr()) };
    Errno::result(status)?;
    #[expect(unsafe_code, reason = "see above")]
    // SAFETY: all of it are numbers: zeros, or what the kernel wrote.
    Ok(unsafe { found.assume_init() })
}

fn time(stamp: &libc::statx_timestamp) -> SystemTime {
    let whole = Duration::from_secs(stamp.tv_sec.unsigned_abs());
    let second = if stamp.tv_sec < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(stamp.tv_nsec.into())))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
