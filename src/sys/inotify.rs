//! The inotify event format: a total, copy-free decoder, and the mask of every watch.
//!
//! In: bytes as `read(2)` gives them (inotify(7)). Out: [`RawEvent`]s that borrow their names.
//! Always holds: any bytes give events or an end; a torn last event is left out, never guessed.

use super::{Closes, NAME_BYTES_MAX, WatchId};

/// Most bytes of one event: the fixed part, a name of `NAME_MAX` bytes and its NUL.
pub const EVENT_BYTES_MAX: usize = HEAD_BYTES + NAME_BYTES_MAX + 1;

/// The fixed part of `struct inotify_event`.
const HEAD_BYTES: usize = 16;

/// The mask of every watch. `IN_MODIFY`: new bytes or a truncation. `IN_CREATE`, `IN_DELETE`,
/// `IN_MOVED_FROM`, `IN_MOVED_TO`: names come, go and change. `IN_DELETE_SELF`, `IN_MOVE_SELF`: a
/// PATH itself goes away, which no watched parent reports. `IN_ATTRIB`: a file becomes readable.
/// `IN_ONLYDIR`: a file that replaced a directory is not watched by accident. Not `IN_EXCL_UNLINK`:
/// a file that lost the name by which a writer opened it may still exist under another name, and
/// the kernel reports its changes under the former name. Never `IN_OPEN` or `IN_ACCESS`: our own
/// reads would wake us.
pub const WATCH_MASK: u32 = mask::MODIFY
    | mask::ATTRIB
    | mask::MOVED_FROM
    | mask::MOVED_TO
    | mask::CREATE
    | mask::DELETE
    | mask::DELETE_SELF
    | mask::MOVE_SELF
    | mask::ONLYDIR;

impl Closes {
    /// [`WATCH_MASK`], and `IN_CLOSE_WRITE` if closes are reported: a writer may be done.
    #[must_use]
    pub fn watch_mask(self) -> u32 {
        match self {
            Closes::Reported => WATCH_MASK | mask::CLOSE_WRITE,
            Closes::Unreported => WATCH_MASK,
        }
    }
}

/// The mask of a watch that is needed for only some names in a directory: those bits of
/// [`WATCH_MASK`] that report names, permissions and the directory's own end. Never `IN_MODIFY`:
/// writes in a busy directory must cost nothing. `IN_MASK_ADD` removes no bits from an existing
/// watch (inotify(7)).
pub const NAMES_MASK: u32 =
    SELF_MASK | mask::MOVED_FROM | mask::MOVED_TO | mask::CREATE | mask::DELETE | mask::MASK_ADD;

/// The mask of a watch that reports only what happens to the directory itself.
pub const SELF_MASK: u32 =
    mask::ATTRIB | mask::DELETE_SELF | mask::MOVE_SELF | mask::ONLYDIR | mask::DONT_FOLLOW;

/// The bits of `struct inotify_event.mask`, as in `<sys/inotify.h>`.
#[allow(missing_docs)]
pub mod mask {
    pub const MODIFY: u32 = 0x0000_0002;
    pub const ATTRIB: u32 = 0x0000_0004;
    pub const CLOSE_WRITE: u32 = 0x0000_0008;
    pub const MOVED_FROM: u32 = 0x0000_0040;
    pub const MOVED_TO: u32 = 0x0000_0080;
    pub const CREATE: u32 = 0x0000_0100;
    pub const DELETE: u32 = 0x0000_0200;
    pub const DELETE_SELF: u32 = 0x0000_0400;
    pub const MOVE_SELF: u32 = 0x0000_0800;
    pub const UNMOUNT: u32 = 0x0000_2000;
    pub const Q_OVERFLOW: u32 = 0x0000_4000;
    pub const IGNORED: u32 = 0x0000_8000;
    pub const ONLYDIR: u32 = 0x0100_0000;
    pub const DONT_FOLLOW: u32 = 0x0200_0000;
    pub const MASK_ADD: u32 = 0x2000_0000;
    pub const ISDIR: u32 = 0x4000_0000;
}

/// One event as the kernel wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawEvent<'a> {
    /// The watch; -1 for the overflow event.
    pub watch: WatchId,
    /// Bits of [`mask`].
    pub mask: u32,
    /// Pairs `IN_MOVED_FROM` with `IN_MOVED_TO`; else 0.
    pub cookie: u32,
    /// The name below the watched directory, without its NUL padding; empty for events about the
    /// directory itself.
    pub name: &'a [u8],
}

/// The events in a buffer, in order.
#[derive(Debug, Clone)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// Decodes the whole events in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Events { rest: bytes }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = RawEvent<'a>;

    fn next(&mut self) -> Option<RawEvent<'a>> {
        let (head, after) = self.rest.split_first_chunk::<HEAD_BYTES>()?;
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let name_bytes = word(12) as usize;
        if name_bytes > after.len() {
            self.rest = &[];
            return None;
        }
        let (padded, rest) = after.split_at(name_bytes);
        self.rest = rest;
        let name_end = memchr::memchr(0, padded).unwrap_or(padded.len());
        Some(RawEvent {
            watch: WatchId(word(0).cast_signed()),
            mask: word(4),
            cookie: word(8),
            name: &padded[..name_end],
        })
    }
}

/// Appends one event in the kernel's layout. The inverse of [`Events`], for simulated kernels and
/// tests.
pub fn encode(event: &RawEvent<'_>, bytes: &mut Vec<u8>) {
    // The kernel pads a name with NULs to a multiple of the fixed part.
    let padded =
        if event.name.is_empty() { 0 } else { (event.name.len() + 1).next_multiple_of(HEAD_BYTES) };
    bytes.extend_from_slice(&event.watch.0.to_ne_bytes());
    bytes.extend_from_slice(&event.mask.to_ne_bytes());
    bytes.extend_from_slice(&event.cookie.to_ne_bytes());
    bytes.extend_from_slice(
        &u32::try_from(padded).expect("a name is shorter than 4 GiB").to_ne_bytes(),
    );
    bytes.extend_from_slice(event.name);
    bytes.resize(bytes.len() + padded - event.name.len(), 0);
}
