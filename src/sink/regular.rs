//! A regular file to which records are appended, and what is known of its length.
//!
//! In: bytes written, and looks at the file. Out: where our last byte ended, and whether another
//! program shortened the file.
//! Always holds: appends by others make the file longer than is known here, never shorter.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::{Whence, ftruncate, lseek};

use super::{owed, write};
use crate::sys::FileId;

#[derive(Debug)]
pub(super) struct Regular {
    pub(super) descriptor: OwnedFd,
    pub(super) id: FileId,
    /// Where our last byte ended; `None`: not known yet.
    pub(super) end: Option<u64>,
    /// Something was written through this descriptor.
    pub(super) is_written: bool,
    /// It had a name when it was opened.
    pub(super) had_name: bool,
    /// The end of the whole records when the file was last found in its place. `None`: not looked
    /// at yet, because the end that a crash left is cut off after the file is opened and locked.
    pub(super) seen: Option<u64>,
    /// Bytes written since then: the file is at least this much longer, unless another program
    /// truncated it.
    pub(super) written: u64,
    /// Nothing was written since it was opened or found truncated, so it may end within another
    /// program's line.
    pub(super) is_end_unknown: bool,
}

impl Regular {
    /// Where our last byte ended; before our first byte, where the file ends.
    pub(super) fn end(&mut self) -> Option<u64> {
        if self.end.is_none() {
            let asked =
                if self.is_written { position(&self.descriptor) } else { size(&self.descriptor) };
            self.end = Some(asked?);
        }
        self.end
    }

    /// Something is about to be written. If the file ends within a line, which is not ours, adds a
    /// newline so that the next record stands alone. Returns whether it did.
    ///
    /// # Errors
    /// When the newline cannot be written. No record may be written before it.
    pub(super) fn begin_writing(&mut self) -> Result<bool, Errno> {
        if self.seen.is_none() {
            self.seen = self.end();
        }
        self.end = None;
        self.is_written = true;
        if !self.is_end_unknown {
            return Ok(false);
        }
        let is_torn = ends_within_a_line(&self.descriptor);
        if is_torn {
            self.written += write(&self.descriptor, b"\n")? as u64;
        }
        self.is_end_unknown = false;
        Ok(is_torn)
    }

    /// The file was found in its place, with this size. Returns whether another program truncated
    /// it. `is_whole`: our last byte ended a record.
    pub(super) fn look(&mut self, size: u64, is_whole: bool) -> bool {
        let end = self.end().unwrap_or(size);
        // Appends by others only make it longer.
        let is_truncated =
            self.seen.is_some_and(|seen| size < end || size.min(end) < seen + self.written);
        if is_truncated {
            self.is_end_unknown = size < end;
            self.end = Some(size.min(end));
            self.seen = self.end;
        }
        self.written = 0;
        if is_whole {
            self.seen = self.end.or(self.seen);
        }
        is_truncated
    }

    /// We cut the file off; it ends there now.
    pub(super) fn was_cut(&mut self, end: u64) {
        self.end = Some(end);
        self.seen = self.seen.map(|seen| seen.min(end));
        self.written = 0;
    }
}

pub(super) fn size(descriptor: impl AsFd) -> Option<u64> {
    u64::try_from(fstat(descriptor).ok()?.st_size).ok()
}

/// Whether a file has a last line without a newline. `false` if it cannot be read.
fn ends_within_a_line(descriptor: impl AsFd) -> bool {
    let Some(last) = size(&descriptor).and_then(|size| size.checked_sub(1)) else { return false };
    let mut byte = [0];
    owed::read_at(&descriptor, &mut byte, last).is_ok_and(|got| got == 1) && byte != *b"\n"
}

/// Where the last write ended. With `O_APPEND` a write moves the position to the end of what it
/// appended, and a failed one leaves it.
pub(super) fn position(descriptor: impl AsFd) -> Option<u64> {
    u64::try_from(lseek(descriptor, 0, Whence::SeekCur).ok()?).ok()
}

/// Cuts the last `torn` bytes off if they are ours: if the `taken` bytes written since `begin` are
/// in one piece at the end of the file.
pub(super) fn cut(descriptor: &OwnedFd, begin: Option<u64>, taken: u64, torn: u64) -> bool {
    let (Some(begin), Some(end), Ok(stat)) = (begin, position(descriptor), fstat(descriptor))
    else {
        return false;
    };
    let is_ours = end == begin + taken && u64::try_from(stat.st_size) == Ok(end);
    // Files end below i64::MAX.
    is_ours && ftruncate(descriptor, (end - torn).cast_signed()).is_ok()
}
