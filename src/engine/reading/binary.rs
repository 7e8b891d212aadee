//! Binary files (`binary = "skip"`): a new file is left out if its first block has NULs that belong
//! neither to a hole nor to wide text.
//!
//! In: the first bytes that would become records; looks at files that are left out. Out: files that
//! are not read, each logged at most once per period.
//! Always holds: a file is never left out after bytes of it were delivered. A file that is left out
//! is opened at most once per [`AGAIN_AFTER`], and only if something was written to it.

use std::io;
use std::time::{Duration, Instant};

use crate::config::Binary;
use crate::engine::Engine;
use crate::engine::commit::nanos;
use crate::engine::namespace::registry::{Life, Registry, SlotId, State};
use crate::engine::reading::positions::begin_anew;
use crate::engine::schedule::Schedule;
use crate::reader::mark_of;
use crate::sink::Sink;
use crate::sys::{FileSystem, Stat};
use crate::wide_text::is_wide_text;

/// The number of bytes that decide.
const BLOCK_BYTES: usize = 4096;

/// When something was written to a file that is left out, its content is checked this much later.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A digest of what a look shows, in the place of a mark: while it stays the same, so does the
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

/// What these first bytes of a file are. `is_all`: nothing follows them yet.
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

/// What the first bytes of a file decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is read.
    Read,
    /// There are too few bytes to tell: its turn is over.
    Wait,
    /// It is left out.
    LeaveOut,
}

/// Bytes of a file are here. If they are its first, they decide. `is_at_end`: nothing follows them
/// now.
#[inline]
pub(super) fn decide(
    files: &mut Registry,
    schedule: &mut Schedule,
    id: SlotId,
    bytes: &[u8],
    is_at_end: bool,
    is_once: bool,
) -> Decision {
    let slot = files.get(id);
    if !slot.state().contains(State::UNDECIDED) || bytes.is_empty() {
        return Decision::Read;
    }
    let is_last = is_once || slot.life() == Life::Finishing;
    let block = judge(bytes, is_at_end && !is_last);
    let slot = files.get_mut(id);
    match block {
        Block::Unknown => {
            slot.scanned = 0;
            return Decision::Wait;
        }
        Block::Text => {
            slot.clear(State::UNDECIDED);
            return Decision::Read;
        }
        Block::Binary => {}
    }
    slot.scanned = 0;
    slot.mark = 0;
    slot.clear(State::UNDECIDED | State::FLUSH);
    schedule.drop_unread(files, id);
    if files.get(id).life() == Life::Following {
        files.get_mut(id).set(State::BINARY);
        files.set_life(id, Life::Ignored);
    }
    Decision::LeaveOut
}

/// Something was written to a file that is left out: whether its content is another one is checked
/// a moment later.
pub(in crate::engine) fn written_to_binary(
    schedule: &mut Schedule,
    files: &mut Registry,
    id: SlotId,
    now: Instant,
) {
    if !files.get(id).state().contains(State::RETRY) {
        schedule.retry_at(files, id, now + AGAIN_AFTER);
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A look was taken at a file that is left out. It stays left out unless its content or the
    /// settings changed; then it begins anew.
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
                // The next event or sweep checks it again.
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
        begin_anew(slot);
        self.offsets.begin_generation(&mut self.files, &self.coverage.inputs, id, 0);
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
        // NULs of a hole prove nothing, nor do those before a writer that kept its position.
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
