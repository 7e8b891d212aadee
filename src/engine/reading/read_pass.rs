//! One file's turn to be read: what the next read has to know about the last one.

use std::io;

use crate::engine::namespace::registry::{Registry, SlotId};
use crate::engine::schedule::lag::{Queued, Stamp};
use crate::reader::READ_BYTES;
use crate::sys::FileSystem;

/// One file's turn.
#[derive(Debug)]
pub(super) struct ReadPass {
    pub(super) id: SlotId,
    /// When the event about what is read was read.
    pub(super) since: Stamp,
    /// The wall-clock time of the turn, in nanoseconds since the epoch.
    pub(super) wall: u64,
    pub(super) budget: usize,
    /// Bytes to ask for after the mark; grows for a line longer than it.
    pub(super) len: usize,
    /// The number of bytes after the mark and before the first newline or NUL in what was read
    /// last.
    pub(super) searched: usize,
    /// What was read last has no whole line.
    pub(super) is_in_long_line: bool,
    /// The length of the open file when it was proven to be the slot's; `None`: not proven yet.
    pub(super) proven_size: Option<u64>,
    /// The owner of the open file, if that is known.
    pub(super) owner: Option<u32>,
    /// The encoder has the fields of this file, or does not need them.
    pub(super) is_begun: bool,
    /// What was encoded last may have a record that is no whole line, or may leave lines out.
    pub(super) has_piece: bool,
    /// The offset moved.
    pub(super) has_advanced: bool,
    /// The file ends with whole lines of a record that may go on.
    pub(super) has_open_record: bool,
}

impl ReadPass {
    pub(super) fn new(
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
            owner: None,
            is_begun: false,
            has_piece: false,
            has_advanced: false,
            has_open_record: false,
        }
    }

    /// Whether the open file is the slot's. Asked only when the mark cannot tell.
    pub(super) fn is_proven<F: FileSystem>(
        &mut self,
        fs: &mut F,
        files: &Registry,
        file: &F::File,
    ) -> io::Result<bool> {
        if self.proven_size.is_none() {
            let found = fs.stat_file(file)?;
            self.proven_size = (Some(found.id) == files.file_id(self.id)).then_some(found.size);
        }
        Ok(self.proven_size.is_some())
    }
}
