//! One file's turn to be read: what one read knows of the one before it.

use crate::engine::namespace::registry::SlotId;
use crate::engine::schedule::lag::{Queued, Stamp};
use crate::reader::READ_BYTES;

/// One file's turn.
#[derive(Debug)]
pub(in crate::engine) struct ReadPass {
    pub(in crate::engine) id: SlotId,
    /// When the kernel told of what is read.
    pub(in crate::engine) since: Stamp,
    /// The wall-clock time of the turn, in nanoseconds since the epoch.
    pub(in crate::engine) wall: u64,
    pub(in crate::engine) budget: usize,
    /// Bytes to ask for after the mark; grows for a line longer than it.
    pub(in crate::engine) len: usize,
    /// How many bytes of what was read last, behind the mark, come before the first newline or NUL.
    pub(in crate::engine) searched: usize,
    /// What was read last held no whole line.
    pub(in crate::engine) is_in_long_line: bool,
    /// The length of the open file when it was shown to be the slot's; `None`: it was not shown
    /// yet.
    pub(in crate::engine) proven_size: Option<u64>,
    /// The encoder was told about this file, or did not need to be.
    pub(in crate::engine) is_begun: bool,
    /// What was encoded last holds a piece of a line.
    pub(in crate::engine) has_piece: bool,
}

impl ReadPass {
    pub(in crate::engine) fn new(
        Queued { id, since }: Queued,
        wall: u64,
        budget: usize,
        proven_size: Option<u64>,
    ) -> Self {
        ReadPass {
            id,
            since,
            wall,
            budget,
            len: READ_BYTES.min(budget),
            searched: 0,
            is_in_long_line: false,
            proven_size,
            is_begun: false,
            has_piece: false,
        }
    }
}
