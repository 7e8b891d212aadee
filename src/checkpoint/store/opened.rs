//! An open journal: writes frames to it, and reads it back.
//!
//! In: payloads, through [`Disk`]. Out: how many frames and bytes the journal has.
//! Always holds: only frames that were written whole are counted; the store decides which are
//! durable.

use std::io;

use crate::checkpoint::again::write_again;
use crate::checkpoint::format::{self, HEAD_BYTES, Head, Kind, PAYLOAD_BYTES_MAX};
use crate::checkpoint::journal::{self, Defect, Extent};
use crate::sys::Disk;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal<F> {
    pub(super) number: u64,
    pub(super) file: F,
    pub(super) salt: u64,
    /// Frames that were written whole; in the current journal they are also synced.
    pub(super) frames: u64,
    /// Bytes up to the end of those frames.
    pub(super) bytes: u64,
}

impl<F> Journal<F> {
    /// Writes a frame. Returns the number of frames and bytes including it.
    pub(super) fn write<D: Disk<File = F>>(
        &self,
        disk: &mut D,
        kind: Kind,
        payload: &[u8],
    ) -> io::Result<(u64, u64)> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a commit is at most 1 GiB"));
        }
        write_all(disk, &self.file, &Head::encode(self.salt, kind, self.frames + 1, payload))?;
        write_all(disk, &self.file, payload)?;
        Ok((self.frames + 1, self.bytes + (HEAD_BYTES + payload.len()) as u64))
    }
}

/// Cuts the torn tail off a journal that was found, and makes it durable: its writer may have died
/// before it did so. The last frame is written once more, because its sync may have failed.
pub(super) fn settle<D: Disk>(
    disk: &mut D,
    journal: &Journal<D::File>,
    extent: &Extent,
) -> io::Result<()> {
    if extent.torn_bytes > 0 {
        disk.truncate(&journal.file, extent.bytes)?;
    }
    write_again(extent.bytes - extent.last_bytes, extent.bytes, |buffer, at| {
        let read = disk.read_at(&journal.file, buffer, at)?;
        disk.overwrite(&journal.file, &buffer[..read], at)
    })?;
    disk.sync(&journal.file)?;
    disk.sync_directory()
}

/// Checks that the journal contains everything that was written, and nothing else.
pub(super) fn prove<D: Disk>(disk: &mut D, journal: &Journal<D::File>) -> io::Result<()> {
    let found = journal::read(
        |buffer, offset| disk.read_at(&journal.file, buffer, offset),
        |payload| format::items(payload).try_for_each(|item| item.map(|_| ())),
    );
    let found = found.map_err(|defect| match defect {
        Defect::Read(source) => source,
        defect => io::Error::new(io::ErrorKind::InvalidData, defect),
    })?;
    let wanted = Extent {
        salt: journal.salt,
        frames: journal.frames,
        bytes: journal.bytes,
        torn_bytes: 0,
        version: format::VERSION,
        ..found
    };
    if found == wanted {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "its content differs from what was written"))
    }
}

pub(super) fn write_all<D: Disk>(disk: &mut D, file: &D::File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match disk.append(file, bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}
