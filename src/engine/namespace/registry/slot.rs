//! One file: what is known about it, in 64 bytes.
//!
//! In: what the registry and the engine store. Out: the same.
//! Always holds: bits that decide whether the file is read, or how it is counted, are set through
//! the registry.

use super::State;
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::tree::DirId;
use crate::names::NameRef;

/// The life of a file, as far as it is known.
///
/// ```text
///            a name is tracked             a look identifies it
///   Free ------------------------> Named ------------------------> Following <-----------+
///    ^                               |                              |   ^                |
///    |          it is our own, no regular file, or binary           |   | it has a name  |
///    |                               v                              |   | again          |
///    |                            Ignored <-------------------------+   |                |
///    |                                                              v   |                | it comes back
///    |                              its name went away:          Leaving                 | within ten
///    |                              judged a moment later        |      |                | minutes
///    |                                       deleted, but held   |      | it is not      |
///    |                                       open with unread    v      | in the tree    |
///    |                                       bytes           Finishing  |                |
///    |                                     read to its end       |      v                |
///    |        its ten minutes are over, or there is no room      +--> Parked ------------+
///    +------------------------------------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// No file: the slot is free.
    Free,
    /// The name is known, but not what it stands for.
    Named,
    /// Identified and in the tree.
    Following,
    /// Its name is gone; an event with a new one may follow.
    Leaving,
    /// It left the tree, and is remembered for some minutes in case it comes back.
    Parked,
    /// Deleted, but held open with unread bytes.
    Finishing,
    /// Not read: our own output, a FIFO, a socket, a device; or binary, until its content or the
    /// settings change.
    Ignored,
}

/// One file. Offsets are bytes from the start of the file.
#[derive(Debug)]
pub(crate) struct FileSlot {
    pub(super) inode: u64,
    /// Everything before it was encoded into records, or skipped and counted. It is the start of a
    /// line, or of a further piece of one.
    pub(crate) offset: u64,
    pub(super) inode_generation: u32,
    /// Grows when the content restarts. It is the third part of `file` in json records.
    pub(crate) generation: u32,
    /// How many bytes from `offset` on are known to hold no newline.
    pub(crate) scanned: u32,
    /// Digest of the `mark_len` bytes just before `offset`.
    pub(crate) mark: u32,
    pub(super) dir: u32,
    pub(super) name: NameRef,
    pub(super) next: u32,
    pub(super) previous: u32,
    pub(super) version: u32,
    pub(super) device: u16,
    pub(super) state: State,
    pub(super) life: Life,
    /// At most [`crate::reader::MARK_BYTES`]. 0: the bytes before `offset` are unknown.
    pub(crate) mark_len: u8,
    /// The input that it belongs to.
    pub(crate) input: InputId,
    /// A record said that this log is over, and nothing was delivered of it since.
    pub(crate) is_end_told: bool,
}

const _: () =
    assert!(size_of::<FileSlot>() == 64, "one cache line, and the README's bytes per file");

impl FileSlot {
    /// The directory of the name, or of the last name.
    pub(crate) fn dir(&self) -> DirId {
        DirId(self.dir)
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    #[inline]
    pub(crate) fn life(&self) -> Life {
        self.life
    }

    /// Sets bits that do not affect schedule and counts: see [`State::SCHEDULED`] for the others.
    #[inline]
    pub(crate) fn set(&mut self, bits: State) {
        self.put(bits, true);
    }

    /// Clears such bits.
    #[inline]
    pub(crate) fn clear(&mut self, bits: State) {
        self.put(bits, false);
    }

    /// Sets or clears such bits.
    #[inline]
    pub(crate) fn put(&mut self, bits: State, is_set: bool) {
        debug_assert!(
            !bits.intersects(State::SCHEDULED | State::UNREADABLE),
            "{bits:?} have owners"
        );
        self.state.set(bits, is_set);
    }

    /// Whether the file has, or may have, unread bytes, even if it cannot be read.
    pub(crate) fn may_have_unread(&self) -> bool {
        self.state.contains(State::DIRTY)
            || self.state.contains(State::UNREADABLE | State::MAY_HOLD_BYTES)
    }

    /// Whether the file was deleted, as far as is known: its name was, and it had no other one.
    pub(crate) fn is_deleted(&self) -> bool {
        self.state & (State::DELETED | State::LINKED) == State::DELETED
    }

    /// Whether the slot is found by its name.
    pub(crate) fn is_bound(&self) -> bool {
        self.state.contains(State::BOUND)
    }

    /// Whether the identity is known.
    pub(crate) fn is_identified(&self) -> bool {
        self.state.contains(State::IDENTIFIED)
    }

    /// Whether an event about this file may mean new bytes.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.life, Life::Following | Life::Finishing)
    }
}
