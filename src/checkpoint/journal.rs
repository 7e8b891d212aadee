//! Reads one journal from its first byte to its last.
//!
//! In: bytes by position. Out: every frame in order, and the end of the good bytes; or what is
//! wrong, and where.
//! Always holds: any bytes give an answer, in time and memory proportional to their number. Items
//! come only from frames that match their checksum. A file that no crash of its writer can leave is
//! refused, never guessed at.
//!
//! A commit is synced before the next is written, so a crash leaves at most one torn frame, and
//! nothing good behind it. Therefore the bytes after the last good frame are searched for a frame
//! that matches its checksum and has a later number. If there is none, the tail is torn. If there
//! is one, the file was damaged, and the commits in between are lost.

use std::io;

use super::format::{
    self, FRAME_MAGIC, HEAD_BYTES, HEADER_BYTES, Head, HeaderError, Kind, Malformed,
    PAYLOAD_BYTES_MAX,
};
use super::state::StoredOffsets;

/// How long a journal may be, in bytes, before it is rewritten, for this number of files. During
/// the rewrite there are two.
#[must_use]
pub(crate) fn bytes_max(files: u64) -> u64 {
    const BYTES: u64 = 4 << 20;
    const BYTES_PER_FILE: u64 = 256;
    BYTES + BYTES_PER_FILE * files
}

/// A torn tail is at most one frame.
const TAIL_BYTES_MAX: u64 = (HEAD_BYTES + PAYLOAD_BYTES_MAX) as u64;

/// Bytes of one read of a payload or a tail. A length field may be wrong, so memory grows only with
/// bytes that exist.
const READ_BYTES: usize = 64 * 1024;

/// How many bytes the search of a tail may checksum, beside a few times its length: enough for any
/// real tail, too little for an attack.
const SEARCH_BYTES: u64 = 16 << 20;

/// The least cost of one candidate, in bytes: a `pread(2)`.
const CANDIDATE_BYTES: u64 = 4096;

/// The good part of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The file's salt.
    pub salt: u64,
    /// The number of frames, which is also the number of the last one.
    pub frames: u64,
    /// Bytes up to the end of the last good frame.
    pub bytes: u64,
    /// Bytes of that frame.
    pub last_bytes: u64,
    /// Bytes after that: a torn commit.
    pub torn_bytes: u64,
    /// The version of its layout.
    pub version: u32,
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Defect {
    /// Not ours, not of this version, or damaged.
    #[error("the header is not that of a journal of this version")]
    Header(HeaderError),
    /// Its bytes are not those that were written.
    #[error("{what} at byte {position}")]
    Damaged {
        /// Where the first bad frame begins.
        position: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot be read")]
    Read(#[from] io::Error),
}

/// Reads a journal. `read_at` is like [`crate::sys::Disk::read_at`]: it returns 0 only at the end.
/// `take` gets the payload of each frame; what it received before an error is void.
///
/// # Errors
/// When it is not good.
pub(crate) fn read(
    read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    mut take: impl FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<Extent, Defect> {
    let mut source = Source { read_at };
    let mut header = [0; HEADER_BYTES];
    let got = source.fill(&mut header, 0)?;
    let (salt, version) = format::parse_header(&header[..got]).map_err(Defect::Header)?;
    let mut extent = Extent {
        salt,
        frames: 0,
        bytes: HEADER_BYTES as u64,
        last_bytes: 0,
        torn_bytes: 0,
        version,
    };
    let mut payload = Vec::new();
    let mut has_snapshot = false;
    while let Some(head) = source.frame(&extent, &mut payload)? {
        let damaged = |what| Defect::Damaged { position: extent.bytes, what };
        if has_snapshot != (head.kind == Kind::Commit) {
            return Err(damaged("a frame of the wrong kind"));
        }
        take(&payload[..head.payload_len]).map_err(|_| damaged("a frame with an unknown item"))?;
        has_snapshot = head.kind != Kind::Part;
        extent.frames += 1;
        extent.last_bytes = (HEAD_BYTES + head.payload_len) as u64;
        extent.bytes += extent.last_bytes;
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
    let extent = read(read_at, |payload| state.take_frame(payload))?;
    Ok((state, extent))
}

struct Source<R> {
    read_at: R,
}

impl<R: FnMut(&mut [u8], u64) -> io::Result<usize>> Source<R> {
    /// Fills the buffer, or reads to the end of the file.
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

    /// The next frame, with its payload at the front of `payload`. `None`: there is no good one.
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

    /// How many bytes follow the good ones. An error if a later frame is among them.
    fn torn_bytes(&mut self, extent: &Extent) -> Result<u64, Defect> {
        let damaged = |what| Defect::Damaged { position: extent.bytes, what };
        let mut window = vec![0; READ_BYTES];
        let mut at = extent.bytes;
        let mut spent = 0;
        loop {
            let got = self.fill(&mut window, at)?;
            let (window, is_end) = (&window[..got], got < window.len());
            for found in memchr::memmem::find_iter(window, &FRAME_MAGIC) {
                // A head that the window cuts off is at the start of the next window.
                let Some(head) = window[found..].first_chunk() else { break };
                let Some(head) = Head::parse(head).filter(|head| head.sequence > extent.frames)
                else {
                    continue;
                };
                let position = at + found as u64;
                if position == extent.bytes && head.sequence == extent.frames + 1 {
                    continue; // The next frame in order, which was checked before and is not good.
                }
                let (is_good, read) =
                    self.is_good(&head, extent.salt, position + HEAD_BYTES as u64)?;
                spent += read.max(CANDIDATE_BYTES);
                if is_good {
                    return Err(damaged("a damaged frame, followed by good ones,"));
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

    /// Whether the payload at `offset` belongs to this head, and how many bytes were read to find
    /// out.
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
