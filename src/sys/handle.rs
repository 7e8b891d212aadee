//! `name_to_handle_at(2)`: the inode and generation of a file in one call, without opening it.
//!
//! In: a path or a descriptor. Out: the opaque handle, used only as a fingerprint of (inode,
//! generation).
//! Always holds: a file system without handles gives `None`, not an error; callers then use the
//! birth time.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

use super::Links;

/// `MAX_HANDLE_SZ` of the kernel's `<linux/exportfs.h>`.
const HANDLE_BYTES_MAX: usize = 128;

/// `AT_HANDLE_FID` of `<linux/fcntl.h>` (Linux 6.5): asks for a handle that cannot be opened.
const AT_HANDLE_FID: libc::c_int = 0x200;

/// `OVL_FILEID_V0` and `OVL_FILEID_V1` of the kernel's `fs/overlayfs/overlayfs.h`: the types of an
/// overlay's handles. The handle of a file in a lower layer does not change when the file is copied
/// up.
const OVERLAY_KINDS: [i32; 2] = [0xfb, 0xf8];

/// The upper byte of the digest of such a handle, which distinguishes it from the digest of a birth
/// time.
const OVERLAY_DIGEST: u32 = 0xf8 << 24;

/// Whether a generation is the digest of an overlay's handle. (One in 256 other generations looks
/// the same.)
pub(super) fn is_of_overlay(inode_generation: u32) -> bool {
    inode_generation & 0xff00_0000 == OVERLAY_DIGEST
}

/// `struct file_handle` with room for the largest handle.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Handle {
    len: u32,
    kind: i32,
    bytes: [u8; HANDLE_BYTES_MAX],
}

impl Handle {
    /// Whether the handle visibly contains this inode number: ext4, xfs, btrfs and tmpfs store it
    /// unchanged.
    pub(super) fn names_inode(&self, inode: u64) -> bool {
        let low = inode.to_ne_bytes();
        let low = if cfg!(target_endian = "little") { &low[..4] } else { &low[4..] };
        self.used().chunks_exact(4).any(|word| word == low)
    }

    /// A digest of the whole handle, which differs when the generation differs.
    pub(super) fn digest(&self) -> u32 {
        let digest = digest(self.used()) ^ self.kind.cast_unsigned();
        if self.is_of_overlay() { digest & 0x00ff_ffff | OVERLAY_DIGEST } else { digest }
    }

    fn is_of_overlay(&self) -> bool {
        OVERLAY_KINDS.contains(&self.kind)
    }

    fn used(&self) -> &[u8] {
        &self.bytes[..(self.len as usize).min(HANDLE_BYTES_MAX)]
    }
}

/// FNV-1a, 64 bits, folded: equal in every run and on every machine, because digests are stored.
pub(super) fn digest(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    #[expect(clippy::cast_possible_truncation, reason = "folding")]
    let folded = (hash ^ (hash >> 32)) as u32;
    folded
}

/// The handle of the file that `path` names.
pub(super) fn name_to_handle(path: &[u8], links: Links) -> io::Result<Option<Handle>> {
    let flags = if links == Links::Follow { libc::AT_SYMLINK_FOLLOW } else { 0 };
    // Most paths fit on the stack; longer ones are allocated.
    let mut short = [0_u8; 512];
    if path.len() < short.len() && !path.contains(&0) {
        short[..path.len()].copy_from_slice(path);
        let path =
            CStr::from_bytes_until_nul(&short).expect("shorter than the buffer, which is zeroed");
        return call(libc::AT_FDCWD, path, flags);
    }
    call(libc::AT_FDCWD, &CString::new(path)?, flags)
}

/// The handle of a name in an open directory, or of a path from the current directory; of a link
/// itself.
pub(super) fn entry_to_handle(
    directory: Option<BorrowedFd<'_>>,
    name: &CStr,
) -> io::Result<Option<Handle>> {
    call(directory.map_or(libc::AT_FDCWD, |directory| directory.as_raw_fd()), name, 0)
}

/// The handle of an open file.
pub(super) fn file_to_handle(file: BorrowedFd<'_>) -> io::Result<Option<Handle>> {
    call(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// Most file systems give handles that can be opened. An overlay gives one only when it is mounted
/// with `nfs_export=on`, but newer kernels still identify the file. This second kind is not used on
/// other file systems, where it does not distinguish the lives of an inode.
fn call(
    directory: libc::c_int,
    path: &std::ffi::CStr,
    flags: libc::c_int,
) -> io::Result<Option<Handle>> {
    match name(directory, path, flags) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let named = name(directory, path, flags | AT_HANDLE_FID);
            // A kernel that does not know the flag returns EINVAL; any other error would have come
            // before.
            Ok(named.ok().flatten().filter(Handle::is_of_overlay))
        }
        outcome => outcome,
    }
}

#[expect(unsafe_code, reason = "neither std nor nix has this call")]
fn name(
    directory: libc::c_int,
    path: &std::ffi::CStr,
    flags: libc::c_int,
) -> io::Result<Option<Handle>> {
    let mut handle = Handle {
        len: u32::try_from(HANDLE_BYTES_MAX).expect("128"),
        kind: 0,
        bytes: [0; HANDLE_BYTES_MAX],
    };
    let mut mount_id: libc::c_int = 0;
    // SAFETY: `path` is a NUL-terminated string that outlives the call; `handle` is laid out as
    // `struct file_handle` with `len` bytes of room behind its head, as the call wants; `mount_id`
    // is an int. The kernel keeps none of the pointers.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            directory,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount_id,
            flags,
        )
    };
    if outcome == 0 {
        return Ok(Some(handle));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // No handles: the handle is too large, or the call is filtered out.
        Some(libc::EOVERFLOW | libc::ENOSYS | libc::EPERM | libc::EINVAL) => Ok(None),
        _ => Err(error),
    }
}
