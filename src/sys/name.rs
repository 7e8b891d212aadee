//! The name of a file, in the forms that the calls of a look take.
//!
//! In: a path, an open file, or an entry of an open directory. Out: the file's attributes and its
//! identity.
//! Always holds: both are of the same file, though a look makes two calls and the name may be given
//! to another file between them.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::handle::{Handle, entry_to_handle, file_to_handle, name_to_handle};
use super::stat::{Found, OpenFile, stat_of, stat_open};
use super::statx::statx;
use super::{Links, Stat};

/// The object of a look.
pub(super) enum Name<'a> {
    /// With [`Links::Keep`] or [`Links::Follow`].
    Path(&'a [u8], Links),
    /// A file that was opened by following links.
    Open(OpenFile),
    /// An entry of an open directory, or a path from the current directory. A link is looked at
    /// itself.
    Entry(Option<Rc<OwnedFd>>, CString),
}

impl Name<'_> {
    /// The attributes of the file.
    pub(super) fn look(&self) -> io::Result<Found> {
        match self {
            Name::Path(path, Links::Follow) => {
                Ok(Found::from(&Path::new(OsStr::from_bytes(path)).metadata()?))
            }
            Name::Path(path, _) => {
                Ok(Found::from(&Path::new(OsStr::from_bytes(path)).symlink_metadata()?))
            }
            Name::Open(file) => Ok(Found::from(&file.0.metadata()?)),
            Name::Entry(directory, name) => {
                statx(directory.as_ref().map(|directory| directory.as_fd()), name)
            }
        }
    }

    fn handle(&self) -> io::Result<Option<Handle>> {
        match self {
            Name::Path(path, links) => name_to_handle(path, *links),
            Name::Open(file) => file_to_handle(file.as_fd()),
            Name::Entry(directory, name) => {
                entry_to_handle(directory.as_ref().map(|directory| directory.as_fd()), name)
            }
        }
    }

    /// Opens the file, so that both calls are about the same one.
    fn pin(&self) -> io::Result<OpenFile> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let opened = match self {
            Name::Path(path, Links::Follow) => nix::fcntl::open(*path, flags, Mode::empty()),
            Name::Path(path, _) => {
                nix::fcntl::open(*path, flags | OFlag::O_NOFOLLOW, Mode::empty())
            }
            Name::Open(file) => return Ok(OpenFile(file.0.try_clone()?)),
            Name::Entry(Some(directory), name) => nix::fcntl::openat(
                &**directory,
                name.as_c_str(),
                flags | OFlag::O_NOFOLLOW,
                Mode::empty(),
            ),
            Name::Entry(None, name) => {
                nix::fcntl::open(name.as_c_str(), flags | OFlag::O_NOFOLLOW, Mode::empty())
            }
        };
        Ok(OpenFile(opened?.into()))
    }

    /// Adds the identity to what a look found.
    pub(super) fn identify(&self, found: &Found) -> io::Result<Stat> {
        match self.handle()? {
            None => Ok(stat_of(found, None)),
            Some(handle) if handle.names_inode(found.inode) => Ok(stat_of(found, Some(&handle))),
            // Either the name was given to another file between the calls, or the handle's layout
            // is unknown.
            Some(_) => stat_open(&self.pin()?),
        }
    }
}
