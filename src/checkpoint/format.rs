//! The bytes of a journal, pure: header, frames, items.
//!
//! In: facts as [`Item`]s, or any bytes. Out: bytes that another program can read by this page; or
//! facts, or an error.
//! Always holds: decoding is total; [`items`] returns exactly the items that [`put`] wrote; no
//! version ever changes.
//!
//! # Layout, version 2
//!
//! Version 1 has no items 8 to 11.
//!
//! All integers are little endian. Nothing is aligned. `crc32c` is the Castagnoli CRC of RFC 3720
//! (`crc32c("123456789") = e3069283`).
//!
//! ```text
//! journal  = header frame*              the snapshot (frames of kind 1, then one of kind 2), then commits (kind 3)
//! header   = "manytail journal"         16 bytes
//!            version: u32               2
//!            salt: u64                  random, another one in each file
//!            crc: u32                   crc32c of the 28 bytes before it
//! frame    = magic: u32                 0x9d00f5a7, that is the bytes a7 f5 00 9d
//!            kind: u8                   1 a part of the snapshot, 2 its last part, 3 a commit
//!            len: u32                   bytes of the payload, at most 2^30
//!            sequence: u64              1 in the first frame of the file, then one more in each
//!            crc: u32                   crc32c of salt (8 bytes), the 17 bytes before this field, and the payload
//!            payload                    items, one after the other
//! item     = 1 entry                    the path is the one stored before
//!          | 2 entry path               an empty path: not known
//!          | 3 id generation: u32      forget: the file is gone
//!          | 4 bucket: u16 generation: u32               floor
//!          | 5                          the output is no regular file
//!          | 6 id len: u64 format: u8   what the output held; format: 0 raw, 1 text, 2 json
//!          | 7 path                     the first scan of this PATH is complete
//!          | 8 this: u64 previous: u64  the first item of a commit that the output makes, too: its number, and that of the one before
//!          | 9 number: u64              the first item of its frame: the commit with this number was made
//!          | 10 sequence: u64           where the output's stream ended
//!          | 11 name                    under which this state directory commits at its output
//! id       = device: u64 inode: u64 generation: u32
//! entry    = id generation: u32 offset: u64 mark: u32 mark_len: u8 flags: u8 complete_at: u64 absent_since: u64
//!                                      flags: 1 NULs at the offset are skipped, 2 the offset is within the last line, 4 found gone,
//!                                             8 its end was told
//! path, name = len: u16, bytes
//! ```
//!
//! An offset of 2^64 - 1 means that the file received our own output and is never read. A program
//! that does not know this takes the file for a truncated one, and reads it.
//!
//! Every version has this header. Items apply in their order; a later one of the same file replaces
//! the earlier. An unknown tag, flag, kind or format and a `mark_len` over 64 are errors: a program
//! that adds one must increase the version.
//!
//! A commit with a number is in doubt until a later frame says in item 9, or as `previous` in item
//! 8, that it was made; if such a frame says another number, it was not, and its items count for
//! nothing. The output alone knows whether the last one was made. Frames without a number count in
//! either case, in their order.
//!
//! The salt is part of each checksum, so that nobody who chooses log paths can write bytes that
//! pass for a frame.

use super::{Entry, EntryFlags, OutputPoint};
use crate::checkpoint::numbers::Number;
use crate::config::Format;
use crate::reader::MARK_BYTES;
use crate::sys::FileId;

/// The first bytes of each journal.
pub(crate) const MAGIC: [u8; 16] = *b"manytail journal";
/// The version of the layout above.
pub(crate) const VERSION: u32 = 2;
/// The oldest version that is read.
pub(crate) const VERSION_MIN: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 32;
/// The first bytes of each frame. They contain a NUL, which no path does.
pub const FRAME_MAGIC: [u8; 4] = [0xa7, 0xf5, 0x00, 0x9d];
/// Bytes of a frame without its payload.
pub const HEAD_BYTES: usize = 21;
/// Most bytes of a payload.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// The longest stored path; a longer one is stored as not known. (`PATH_MAX` is 4096.)
pub(crate) const PATH_BYTES_MAX: usize = u16::MAX as usize;
/// The longest mark.
pub(crate) const MARK_BYTES_MAX: u8 = 64;
const _: () = assert!(MARK_BYTES == MARK_BYTES_MAX as usize, "every mark can be stored");
/// Number of buckets that remember the generation that an inode had reached when its file was
/// forgotten. Inodes that share a bucket skip some numbers, which is harmless.
pub(crate) const GENERATION_BUCKETS: usize = 1 << 14;

/// The bucket of an inode. Depends on device and inode alone: two lives of an inode share it.
#[must_use]
pub fn generation_bucket(id: FileId) -> u16 {
    let mixed = (id.inode ^ id.device.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The upper 14 bits are mixed best.
    (mixed >> 50) as u16
}

/// One fact of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// How far a file was delivered. `None`: its path is the one stored before.
    Entry(Entry, Option<&'a [u8]>),
    /// A file is gone: its entry is dropped, and the inode never gets a generation up to this one
    /// again.
    Forget(FileId, u32),
    /// Inodes in this bucket ([`generation_bucket`]) get no generation below this one.
    Floor(u16, u32),
    /// The length of the output; `None`: the output is not a regular file.
    Output(Option<OutputPoint>),
    /// A PATH whose first scan is complete, so that `--from` no longer applies to it.
    Scanned(&'a [u8]),
    /// The first item of a commit that the output makes, too.
    Number(Number),
    /// The first item of its frame: the commit with this number was made.
    Settled(u64),
    /// Where the output's stream ended.
    Sequence(u64),
    /// The name under which this state directory commits at its output.
    Identity(&'a [u8]),
}

const ENTRY: u8 = 1;
const ENTRY_WITH_PATH: u8 = 2;
const FORGET: u8 = 3;
const FLOOR: u8 = 4;
const NO_OUTPUT: u8 = 5;
const OUTPUT: u8 = 6;
const SCANNED: u8 = 7;
const NUMBER: u8 = 8;
const SETTLED: u8 = 9;
const SEQUENCE: u8 = 10;
const IDENTITY: u8 = 11;

const ID_BYTES: usize = 20;
const ENTRY_BYTES: usize = 54;

/// Formats by their number in the journal.
const FORMATS: [Format; 3] = [Format::Raw, Format::Text, Format::Json];

/// Appends an item to a payload.
#[inline]
pub fn put(item: &Item<'_>, payload: &mut Vec<u8>) {
    match item {
        Item::Entry(entry, None) => payload.extend_from_slice(&entry_bytes(ENTRY, entry)),
        Item::Entry(entry, Some(path)) => {
            payload.extend_from_slice(&entry_bytes(ENTRY_WITH_PATH, entry));
            put_path(path, payload);
        }
        Item::Forget(id, generation) => {
            payload.push(FORGET);
            payload.extend_from_slice(&id_bytes(*id));
            payload.extend_from_slice(&generation.to_le_bytes());
        }
        Item::Floor(bucket, generation) => {
            debug_assert!(
                usize::from(*bucket) < GENERATION_BUCKETS,
                "a bucket is one of generation_bucket"
            );
            payload.push(FLOOR);
            payload.extend_from_slice(&bucket.to_le_bytes());
            payload.extend_from_slice(&generation.to_le_bytes());
        }
        Item::Output(None) => payload.push(NO_OUTPUT),
        Item::Output(Some(point)) => {
            payload.push(OUTPUT);
            payload.extend_from_slice(&id_bytes(point.id));
            payload.extend_from_slice(&point.len.to_le_bytes());
            payload.push(match point.format {
                Format::Raw => 0,
                Format::Text => 1,
                Format::Json => 2,
                Format::Syslog => unreachable!("the settings refuse it for files"),
            });
        }
        // A PATH that cannot be stored is scanned again as if it were new: nothing is lost by that.
        Item::Scanned(path) if path.len() > PATH_BYTES_MAX => {}
        Item::Scanned(path) => {
            payload.push(SCANNED);
            put_path(path, payload);
        }
        Item::Number(number) => {
            payload.push(NUMBER);
            payload.extend_from_slice(&number.this.to_le_bytes());
            payload.extend_from_slice(&number.previous.to_le_bytes());
        }
        Item::Settled(number) => {
            payload.push(SETTLED);
            payload.extend_from_slice(&number.to_le_bytes());
        }
        Item::Sequence(sequence) => {
            payload.push(SEQUENCE);
            payload.extend_from_slice(&sequence.to_le_bytes());
        }
        Item::Identity(name) => {
            payload.push(IDENTITY);
            put_path(name, payload);
        }
    }
}

fn put_path(path: &[u8], payload: &mut Vec<u8>) {
    let (len, path) = u16::try_from(path.len()).map_or((0, &[][..]), |len| (len, path));
    payload.extend_from_slice(&len.to_le_bytes());
    payload.extend_from_slice(path);
}

#[inline]
fn id_bytes(id: FileId) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes[0..8].copy_from_slice(&id.device.to_le_bytes());
    bytes[8..16].copy_from_slice(&id.inode.to_le_bytes());
    bytes[16..20].copy_from_slice(&id.inode_generation.to_le_bytes());
    bytes
}

#[inline]
fn entry_bytes(tag: u8, entry: &Entry) -> [u8; 1 + ENTRY_BYTES] {
    debug_assert!(entry.mark_len <= MARK_BYTES_MAX, "a mark is at most {MARK_BYTES_MAX} bytes");
    let mut bytes = [0; 1 + ENTRY_BYTES];
    bytes[0] = tag;
    bytes[1..21].copy_from_slice(&id_bytes(entry.id));
    bytes[21..25].copy_from_slice(&entry.generation.to_le_bytes());
    bytes[25..33].copy_from_slice(&entry.offset.to_le_bytes());
    bytes[33..37].copy_from_slice(&entry.mark.to_le_bytes());
    bytes[37] = entry.mark_len;
    bytes[38] = entry.flags.bits();
    bytes[39..47].copy_from_slice(&entry.complete_at.to_le_bytes());
    bytes[47..55].copy_from_slice(&entry.absent_since.to_le_bytes());
    bytes
}

/// A payload contains something other than items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an unknown item at byte {position} of a payload")]
pub struct Malformed {
    /// Where the item begins.
    pub position: usize,
}

/// The items of a payload, in order. Ends after the first error.
pub fn items(payload: &[u8]) -> impl Iterator<Item = Result<Item<'_>, Malformed>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let (&tag, after) = rest.split_first()?;
        let position = payload.len() - rest.len();
        let mut fields = Fields(after);
        let item = fields.item(tag).ok_or(Malformed { position });
        rest = if item.is_ok() { fields.0 } else { &[] };
        Some(item)
    })
}

/// Takes fields off the front of bytes. `None`: too few bytes are left, or a value is not valid.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn path(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        let (path, rest) = self.0.split_at_checked(usize::from(len))?;
        self.0 = rest;
        Some(path)
    }

    fn id(&mut self) -> Option<FileId> {
        Some(FileId { device: self.u64()?, inode: self.u64()?, inode_generation: self.u32()? })
    }

    #[inline]
    fn entry(&mut self) -> Option<Entry> {
        // One length check for all fields.
        let entry = self.array::<ENTRY_BYTES>()?;
        let mut fields = Fields(&entry);
        Some(Entry {
            id: fields.id()?,
            generation: fields.u32()?,
            offset: fields.u64()?,
            mark: fields.u32()?,
            mark_len: fields.u8().filter(|&len| len <= MARK_BYTES_MAX)?,
            flags: fields.u8().and_then(EntryFlags::from_bits)?,
            complete_at: fields.u64()?,
            absent_since: fields.u64()?,
        })
    }

    fn item(&mut self, tag: u8) -> Option<Item<'a>> {
        Some(match tag {
            ENTRY => Item::Entry(self.entry()?, None),
            ENTRY_WITH_PATH => Item::Entry(self.entry()?, Some(self.path()?)),
            FORGET => Item::Forget(self.id()?, self.u32()?),
            FLOOR => Item::Floor(
                self.u16().filter(|&bucket| usize::from(bucket) < GENERATION_BUCKETS)?,
                self.u32()?,
            ),
            NO_OUTPUT => Item::Output(None),
            OUTPUT => Item::Output(Some(OutputPoint {
                id: self.id()?,
                len: self.u64()?,
                format: *FORMATS.get(usize::from(self.u8()?))?,
            })),
            SCANNED => Item::Scanned(self.path()?),
            NUMBER => Item::Number(Number { this: self.u64()?, previous: self.u64()? }),
            SETTLED => Item::Settled(self.u64()?),
            SEQUENCE => Item::Sequence(self.u64()?),
            IDENTITY => Item::Identity(self.path()?),
            _ => return None,
        })
    }
}

/// Why a file is not a journal of a known version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// It does not begin as a journal does.
    Foreign,
    /// It begins as a journal, but the header is cut short or does not match its checksum.
    Damaged,
    /// A version that this program does not know.
    Version(u32),
}

/// The header of a new journal.
#[must_use]
pub fn header(salt: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..16].copy_from_slice(&MAGIC);
    bytes[16..20].copy_from_slice(&VERSION.to_le_bytes());
    bytes[20..28].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[0..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The salt and the version of a journal that begins with `bytes`.
///
/// # Errors
/// When this is not a header of a known version.
pub(crate) fn parse_header(bytes: &[u8]) -> Result<(u64, u32), HeaderError> {
    let (magic, _) = bytes.split_first_chunk::<16>().ok_or(HeaderError::Foreign)?;
    if *magic != MAGIC {
        return Err(HeaderError::Foreign);
    }
    let (head, _) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(HeaderError::Damaged)?;
    let mut fields = Fields(&head[16..]);
    let (Some(version), Some(salt), Some(crc)) = (fields.u32(), fields.u64(), fields.u32()) else {
        return Err(HeaderError::Damaged);
    };
    if crc != crc32c::crc32c(&head[..28]) {
        return Err(HeaderError::Damaged);
    }
    if (VERSION_MIN..=VERSION).contains(&version) {
        Ok((salt, version))
    } else {
        Err(HeaderError::Version(version))
    }
}

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A part of the snapshot at the start of a journal.
    Part,
    /// The last part of the snapshot.
    LastPart,
    /// A commit.
    Commit,
}

const KINDS: [(u8, Kind); 3] = [(1, Kind::Part), (2, Kind::LastPart), (3, Kind::Commit)];

/// The head of a frame, which precedes its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The kind of the frame.
    pub kind: Kind,
    /// Bytes of its payload.
    pub payload_len: usize,
    /// The frame's number in the file, from 1.
    pub sequence: u64,
    /// Must equal [`Head::checksum`], extended by the payload.
    pub crc: u32,
}

impl Head {
    /// The head of a frame with this payload, as bytes.
    #[must_use]
    pub fn encode(salt: u64, kind: Kind, sequence: u64, payload: &[u8]) -> [u8; HEAD_BYTES] {
        assert!(
            payload.len() <= PAYLOAD_BYTES_MAX,
            "a payload is at most {PAYLOAD_BYTES_MAX} bytes"
        );
        let mut head = Head { kind, payload_len: payload.len(), sequence, crc: 0 };
        head.crc = crc32c::crc32c_append(head.checksum(salt), payload);
        head.bytes()
    }

    /// Parses a head. `None`: these bytes are not one.
    #[must_use]
    pub fn parse(bytes: &[u8; HEAD_BYTES]) -> Option<Head> {
        let mut fields = Fields(bytes);
        let (magic, kind, len, sequence, crc) =
            (fields.array::<4>()?, fields.u8()?, fields.u32()?, fields.u64()?, fields.u32()?);
        let kind = KINDS.iter().find(|(number, _)| *number == kind)?.1;
        let payload_len = usize::try_from(len).ok().filter(|&len| len <= PAYLOAD_BYTES_MAX)?;
        (magic == FRAME_MAGIC).then_some(Head { kind, payload_len, sequence, crc })
    }

    /// The checksum of salt and head; [`crc32c::crc32c_append`] extends it by the payload.
    #[must_use]
    pub fn checksum(&self, salt: u64) -> u32 {
        let crc = crc32c::crc32c(&salt.to_le_bytes());
        crc32c::crc32c_append(crc, &self.bytes()[..HEAD_BYTES - 4])
    }

    fn bytes(&self) -> [u8; HEAD_BYTES] {
        let (number, _) =
            KINDS.iter().find(|(_, kind)| *kind == self.kind).expect("every kind has a number");
        let len = u32::try_from(self.payload_len).expect("a payload is at most 1 GiB");
        let mut bytes = [0; HEAD_BYTES];
        bytes[0..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4] = *number;
        bytes[5..9].copy_from_slice(&len.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests;
