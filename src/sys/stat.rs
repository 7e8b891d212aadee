//! The result of a look at a file: the attributes of `stat(2)` and `statx(2)`, and the file's
//! identity.
//!
//! In: attributes, and a handle if there is one. Out: a [`Stat`].
//! Always holds: without a handle, the birth time distinguishes the lives of an inode.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use super::handle::{Handle, digest, file_to_handle};
use super::{FileId, FileKind, Stat};

/// The part of a `struct statx` that is used here.
pub(super) struct Found {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// `st_mode`.
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) links: u64,
    pub(super) modified: SystemTime,
    pub(super) owner: u32,
    /// Not every file system stores it.
    pub(super) born: Option<SystemTime>,
    /// `false` where this was not asked for.
    pub(super) is_mount_root: bool,
}

impl From<&std::fs::Metadata> for Found {
    fn from(found: &std::fs::Metadata) -> Found {
        Found {
            device: found.dev(),
            inode: found.ino(),
            mode: found.mode(),
            size: found.size(),
            links: found.nlink(),
            modified: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            owner: found.uid(),
            born: found.created().ok(),
            is_mount_root: false,
        }
    }
}

pub(super) fn stat_of(found: &Found, handle: Option<&Handle>) -> Stat {
    let kind = match found.mode & nix::libc::S_IFMT {
        nix::libc::S_IFREG => FileKind::Regular,
        nix::libc::S_IFDIR => FileKind::Directory,
        nix::libc::S_IFLNK => FileKind::Link,
        _ => FileKind::Special,
    };
    let inode_generation = handle.map_or_else(|| birth_digest(found.born), Handle::digest);
    Stat {
        id: FileId { device: found.device, inode: found.inode, inode_generation },
        kind,
        size: found.size,
        links: found.links,
        modified: found.modified,
        owner: found.owner,
    }
}

/// Distinguishes two lives of an inode where there are no handles: a digest of statx(2)'s birth
/// time, or a constant if that is missing.
fn birth_digest(born: Option<SystemTime>) -> u32 {
    let since =
        born.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    digest(&since.as_nanos().to_le_bytes())
}

pub(super) fn stat_open(file: &OpenFile) -> io::Result<Stat> {
    let handle = file_to_handle(file.as_fd())?;
    Ok(stat_of(&Found::from(&file.0.metadata()?), handle.as_ref()))
}

/// An open regular file.
#[derive(Debug)]
pub struct OpenFile(
    #[expect(clippy::disallowed_types, reason = "std's fstat tells the birth time")]
    pub(super)  std::fs::File,
);

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
