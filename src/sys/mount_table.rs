//! `/proc/self/mountinfo`, kept open: polling the open file reports every change since it was
//! opened.
//!
//! In: the number of a mount. Out: the table's text; whether a user other than root made the mount.
//! Always holds: an answer is about a mount that exists, as long as the caller has a file open in
//! it, because the mount's number cannot be used again before that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use hashbrown::HashMap;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::mounts;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// A longer table, in bytes, is not read: it has more than a hundred thousand mounts.
const BYTES_MAX: usize = 16 << 20;

/// The table.
#[derive(Debug)]
pub(super) struct MountTable(OwnedFd);

impl MountTable {
    /// # Errors
    /// Those of `open(2)`: `/proc` is not mounted.
    pub(super) fn open() -> io::Result<MountTable> {
        Ok(MountTable(nix::fcntl::open(
            "/proc/self/mountinfo",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// Has `EPOLLPRI` when the table changed.
    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Whether the table changed since it was opened, or since the last call.
    fn has_changed(&self) -> bool {
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        poll(&mut asked, PollTimeout::ZERO).is_err() || asked[0].any() == Some(true)
    }

    /// Reads the whole text.
    ///
    /// # Errors
    /// Those of `pread(2)`; `EFBIG` when it is too long.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let len = text.len();
            if len > BYTES_MAX {
                return Err(Errno::EFBIG.into());
            }
            text.resize(len + READ_BYTES, 0);
            let given = nix::sys::uio::pread(&self.0, &mut text[len..], len.cast_signed() as i64)?;
            text.truncate(len + given);
            if given == 0 {
                return Ok(text);
            }
        }
    }
}

/// Which mounts were made by users.
#[derive(Debug, Default)]
pub(super) struct Makers {
    /// Its own open file, so that no other user of the table consumes its changes.
    table: Option<MountTable>,
    is_made_by_user: HashMap<u64, bool>,
}

impl Makers {
    /// Whether a user other than root made the mount of this number, in which the caller has a file
    /// open. True as well if the mount is not found.
    pub(super) fn is_made_by_user(&mut self, number: u64) -> bool {
        let is_stale = self.table.as_ref().is_none_or(MountTable::has_changed);
        if is_stale || !self.is_made_by_user.contains_key(&number) {
            self.read();
        }
        self.is_made_by_user.get(&number).copied().unwrap_or(true)
    }

    fn read(&mut self) {
        self.is_made_by_user.clear();
        if self.table.is_none() {
            self.table = MountTable::open().ok();
        }
        if let Some(text) = self.table.as_ref().and_then(|table| table.read().ok()) {
            self.is_made_by_user.extend(mounts::makers(&text));
        }
    }
}
