//! Binary files (`binary = "skip"`): a new file is left out if its first block holds NULs that are
//! neither a hole's nor those of wide text.
//!
//! In: the first bytes that would become records; looks at files that are left out. Out: files that
//! are not read, each named once per period.
//! Always holds: a file of which bytes were delivered is never cut off; a file that is left out is
//! opened at most once per [`AGAIN_AFTER`], and only if something was written to it.

use std::io;
use std::time::{Duration, Instant};

use crate::config::Binary;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::commit::nanos;
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::reader::mark_of;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{FileSystem, Stat};
use crate::wide_text::is_wide_text;

/// The first bytes that decide.
const BLOCK_BYTES: usize = 4096;

/// After something was written to a file that is left out, whether it is another content is asked
/// this much later.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a look tells of a file, in the place of a mark: while it stays the same, so does the
/// content. Never 0.
fn digest_of(found: &Stat) -> u32 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&nanos(found.modified).to_le_bytes());
    bytes[8..].copy_from_slice(&found.size.to_le_bytes());
    mark_of(&bytes).max(1)
}

/// What the first block of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Block {
    Text,
    Binary,
    /// There are too few bytes yet.
    Unknown,
}

/// What these first bytes of a file are. `is_all`: nothing follows them.
fn judge(bytes: &[u8], is_all: bool) -> Block {
    let block = &bytes[..bytes.len().min(BLOCK_BYTES)];
    if memchr::memchr(0, block).is_none() || is_wide_text(block) {
        Block::Text
    } else if block.len() < 4 && is_all {
        Block::Unknown
    } else {
        Block::Binary
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A generation begins: if it does so at byte 0 and the input wants that, its first block
    /// decides whether it is read.
    pub(in crate::engine) fn decide_by_first_block(&mut self, id: SlotId) {
        let is_asked = self.coverage.inputs.get(self.files.get(id).input).binary == Binary::Skip;
        let slot = self.files.get_mut(id);
        // Of a file that goes on, nothing was delivered so far if it is at its start.
        slot.put(State::UNDECIDED, is_asked && slot.offset == 0);
    }

    /// Bytes of a file are here. If they are its first, they decide. Says whether its turn is over:
    /// it is left out, or there are too few bytes to tell.
    pub(in crate::engine) fn leave_out_binary(
        &mut self,
        id: SlotId,
        start: usize,
        end: usize,
        is_at_end: bool,
        now: Now,
    ) -> bool {
        if !self.files.get(id).state().contains(State::UNDECIDED) {
            return false;
        }
        let is_last = self.config.once || self.files.get(id).life() == Life::Finishing;
        let bytes = &self.reading.reader.bytes(end)[start..];
        if bytes.is_empty() {
            return false;
        }
        let block = judge(bytes, is_at_end && !is_last);
        let slot = self.files.get_mut(id);
        match block {
            Block::Unknown => {
                slot.scanned = 0;
                return true;
            }
            Block::Text => {
                slot.clear(State::UNDECIDED);
                return false;
            }
            Block::Binary => {}
        }
        slot.scanned = 0;
        slot.mark = 0;
        slot.clear(State::UNDECIDED | State::FLUSH);
        self.schedule.drop_unread(&mut self.files, id);
        if self.files.get(id).life() == Life::Following {
            self.files.get_mut(id).set(State::BINARY);
            self.files.set_life(id, Life::Ignored);
        }
        self.observer.stats.binary_files += 1;
        notice!(info: self.observer.notices, Cause::Binary, about &self.path, now.instant,
            "its first block is binary: left out (binary = \"skip\")");
        true
    }

    /// Something was written to a file that is left out: whether its content is another one is
    /// asked a moment later.
    pub(in crate::engine) fn written_to_binary(&mut self, id: SlotId, now: Instant) {
        if !self.files.get(id).state().contains(State::RETRY) {
            self.schedule.retry_at(&mut self.files, id, now + AGAIN_AFTER);
        }
    }

    /// A look came by a file that is left out: it stays so, unless its content, or what the
    /// settings say, is something else now. Then it begins anew.
    pub(in crate::engine) fn is_still_left_out(&mut self, id: SlotId, found: &Stat) -> bool {
        let is_left_out = self.coverage.inputs.get(self.files.get(id).input).binary == Binary::Skip;
        let before = std::mem::replace(&mut self.files.get_mut(id).mark, digest_of(found));
        self.files.set_life(id, Life::Ignored);
        if is_left_out && before == digest_of(found) {
            return true;
        }
        if is_left_out {
            match self.first_block(id) {
                Ok(Block::Binary) => return true,
                Ok(Block::Text | Block::Unknown) => {}
                // It is asked again with the next event or sweep.
                Err(error) => {
                    tracing::debug!(path = %self.path.escape_ascii(), %error, "a file that is left \
                        out cannot be read");
                    self.files.get_mut(id).mark = 0;
                    return true;
                }
            }
        }
        self.files.set_life(id, Life::Following);
        let slot = self.files.get_mut(id);
        slot.clear(State::BINARY);
        slot.offset = 0;
        slot.mark_len = 0;
        slot.scanned = 0;
        slot.generation += 1;
        slot.set(State::SKIP_NULS);
        self.begin_generation(id);
        self.mark_dirty(id);
        false
    }

    /// Reads the first block of a file.
    fn first_block(&mut self, id: SlotId) -> io::Result<Block> {
        let links = self.write_path(id);
        self.observer.stats.opens += 1;
        let file = self.fs.open(&self.path, links)?;
        let found = self.fs.stat_file(&file)?;
        if Some(found.id) != self.files.file_id(id) {
            // Another file has the name: the event that tells of it is on its way.
            return Ok(Block::Binary);
        }
        self.check_owner(id, found.owner)?;
        // NULs of a hole, or those that a writer left who kept its position, say nothing.
        let start = self.fs.data_from(&file, 0)?.unwrap_or(found.size);
        let got = self.reading.reader.fill(&mut self.fs, &file, start, 0, BLOCK_BYTES)?;
        Ok(judge(self.reading.reader.bytes(got), got < BLOCK_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_binary_if_it_holds_nuls_that_are_not_of_wide_text() {
        assert_eq!(judge(b"text\n", true), Block::Text);
        assert_eq!(judge(b"text\0\n", true), Block::Binary);
        assert_eq!(judge(b"\0", true), Block::Unknown);
        assert_eq!(judge(b"\0", false), Block::Binary);
        assert_eq!(judge(b"\0A\0\n", true), Block::Text);
        let late: Vec<u8> = std::iter::repeat_n(b'x', BLOCK_BYTES).chain([0; 64]).collect();
        assert_eq!(judge(&late, false), Block::Text, "the first block decides");
    }
}
