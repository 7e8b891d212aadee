//! One journal, read from its first byte to its last.
//!
//! In: bytes by position. Out: every item in order, and where the good bytes end; or what is wrong,
//! and where.
//! Always holds: any bytes give an answer, in time and memory in proportion to their number; items
//! are given away only from frames that fit their checksum; a file that cannot have come from a
//! crash of its writer is refused, never guessed at.
//!
//! A commit is synced before the next is written, so a crash leaves one torn frame at most, and
//! nothing good behind it: what comes after the last good frame is searched for one that fits its
//! checksum and has a later number. There is none: the tail is torn. There is one: the file was
//! damaged, and what was committed in between is lost.

use std::io;

use super::format::{
    self, FRAME_MAGIC, HEAD_BYTES, HEADER_BYTES, Head, HeaderError, Item, Kind, PAYLOAD_BYTES_MAX,
};
use super::state::StoredOffsets;

/// How many bytes a journal may have before it is written anew, for so many files. While that goes
/// on there are two.
#[must_use]
pub fn bytes_max(files: u64) -> u64 {
    const BYTES: u64 = 4 << 20;
    const BYTES_PER_FILE: u64 = 256;
    BYTES + BYTES_PER_FILE * files
}

/// A torn tail is one frame at most.
const TAIL_BYTES_MAX: u64 = (HEAD_BYTES + PAYLOAD_BYTES_MAX) as u64;

/// Bytes of one read while a payload or a tail comes in: a length field may lie, so memory follows
/// what is there.
const READ_BYTES: usize = 64 * 1024;

/// What the search of a tail may spend on checksums, beside a few times its length: enough for any
/// real tail, and no attack.
const SEARCH_BYTES: u64 = 16 << 20;

/// What one candidate costs at least: a `pread(2)`.
const CANDIDATE_BYTES: u64 = 4096;

/// A journal as far as it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The file's salt.
    pub salt: u64,
    /// How many frames there are, which is the number of the last.
    pub frames: u64,
    /// Bytes up to the end of the last good frame.
    pub bytes: u64,
    /// Bytes after it: a torn commit.
    pub torn_bytes: u64,
}

/// Why a journal is not read.
#[derive(Debug, thiserror::Error)]
pub enum Defect {
    /// Not ours, not of this version, or damaged.
    #[error("the header is not one of a journal of this version")]
    Header(HeaderError),
    /// Its bytes are not those that were written.
    #[error("{what} at byte {position}")]
    Damaged {
        /// Where the first frame begins that is not good.
        position: u64,
        /// What it is about.
        what: &'static str,
    },
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[from] io::Error),
}

/// Reads a journal. `read_at` gives bytes at a position, 0 at the end only, as
/// [`crate::sys::Disk::read_at`]. Items given away before an error are void.
///
/// # Errors
/// When it is not good.
pub fn read(
    read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    mut take: impl FnMut(&Item<'_>),
) -> Result<Extent, Defect> {
    let mut source = Source { read_at };
    let mut header = [0; HEADER_BYTES];
    let got = source.fill(&mut header, 0)?;
    let salt = format::parse_header(&header[..got]).map_err(Defect::Header)?;
    let mut extent = Extent { salt, frames: 0, bytes: HEADER_BYTES as u64, torn_bytes: 0 };
    let mut payload = Vec::new();
    let mut has_snapshot = false;
    while let Some(head) = source.frame(&extent, &mut payload)? {
        let damaged = |what| Defect::Damaged { position: extent.bytes, what };
        if has_snapshot != (head.kind == Kind::Commit) {
            return Err(damaged("a frame of the wrong kind"));
        }
        for item in format::items(&payload[..head.payload_len]) {
            take(&item.map_err(|_| damaged("a frame with an unknown item"))?);
        }
        has_snapshot = head.kind != Kind::Part;
        extent.frames += 1;
        extent.bytes += (HEAD_BYTES + head.payload_len) as u64;
    }
    if !has_snapshot {
        return Err(Defect::Damaged { position: extent.bytes, what: "an incomplete snapshot" });
    }
    extent.torn_bytes = source.torn_bytes(&extent)?;
    Ok(extent)
}

/// Reads a journal that is in memory.
///
/// # Errors
/// When it is not good.
pub fn decode(bytes: &[u8]) -> Result<(StoredOffsets, Extent), Defect> {
    let mut state = StoredOffsets::default();
    let read_at = |buffer: &mut [u8], offset: u64| {
        let rest =
            usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    };
    let extent = read(read_at, |item| state.apply(item))?;
    Ok((state, extent))
}

struct Source<R> {
    read_at: R,
}

impl<R: FnMut(&mut [u8], u64) -> io::Result<usize>> Source<R> {
    /// Fills the buffer as far as the file goes.
    fn fill(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match (self.read_at)(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                got => filled += got,
            }
        }
        Ok(filled)
    }

    /// The frame that comes next, its payload at the front of `payload`; `None` when there is no
    /// good one.
    fn frame(&mut self, extent: &Extent, payload: &mut Vec<u8>) -> io::Result<Option<Head>> {
        let mut head = [0; HEAD_BYTES];
        if self.fill(&mut head, extent.bytes)? < HEAD_BYTES {
            return Ok(None);
        }
        let Some(head) = Head::parse(&head).filter(|head| head.sequence == extent.frames + 1)
        else {
            return Ok(None);
        };
        let mut filled = 0;
        while filled < head.payload_len {
            let end = head.payload_len.min(filled + READ_BYTES);
            if payload.len() < end {
                payload.resize(end, 0);
            }
            let got =
                self.fill(&mut payload[filled..end], extent.bytes + (HEAD_BYTES + filled) as u64)?;
            filled += got;
            if filled < end {
                return Ok(None);
            }
        }
        let crc = crc32c::crc32c_append(head.checksum(extent.salt), &payload[..head.payload_len]);
        Ok((crc == head.crc).then_some(head))
    }

    /// How many bytes follow the good ones; damage when a later frame is among them.
    fn torn_bytes(&mut self, extent: &Extent) -> Result<u64, Defect> {
        let damaged = |what| Defect::Damaged { position: extent.bytes, what };
        let mut window = vec![0; READ_BYTES];
        let mut at = extent.bytes;
        let mut spent = 0;
        loop {
            let got = self.fill(&mut window, at)?;
            let (window, is_end) = (&window[..got], got < window.len());
            for found in memchr::memmem::find_iter(window, &FRAME_MAGIC) {
                // One that is cut by the window's end begins the next window.
                let Some(head) = window[found..].first_chunk() else { break };
                let Some(head) = Head::parse(head).filter(|head| head.sequence > extent.frames)
                else {
                    continue;
                };
                let position = at + found as u64;
                if position == extent.bytes && head.sequence == extent.frames + 1 {
                    continue; // It would have been the next one, had it been good.
                }
                let (is_good, read) =
                    self.is_good(&head, extent.salt, position + HEAD_BYTES as u64)?;
                spent += read.max(CANDIDATE_BYTES);
                if is_good {
                    return Err(damaged("a damaged frame, with good ones behind it,"));
                }
                if spent > SEARCH_BYTES + 4 * (position - extent.bytes) {
                    return Err(damaged("a tail that no crash leaves"));
                }
            }
            if is_end {
                return Ok(at + got as u64 - extent.bytes);
            }
            at += (got - (HEAD_BYTES - 1)) as u64;
            if at - extent.bytes > TAIL_BYTES_MAX {
                return Err(damaged("a tail that is longer than any commit"));
            }
        }
    }

    /// Whether the payload at `offset` is the one of this head, and how many bytes were read to
    /// know.
    fn is_good(&mut self, head: &Head, salt: u64, offset: u64) -> io::Result<(bool, u64)> {
        let mut buffer = vec![0; READ_BYTES.min(head.payload_len)];
        let mut crc = head.checksum(salt);
        let mut read = 0;
        while read < head.payload_len {
            let wanted = buffer.len().min(head.payload_len - read);
            let got = self.fill(&mut buffer[..wanted], offset + read as u64)?;
            crc = crc32c::crc32c_append(crc, &buffer[..got]);
            read += got;
            if got < wanted {
                break;
            }
        }
        Ok((read == head.payload_len && crc == head.crc, read as u64))
    }
}
