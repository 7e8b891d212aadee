//! Logs that are written over from the front without being truncated (systemd's
//! `StandardOutput=file:`): the writer's position is before our offset.
//!
//! In: reads that find nothing new though the file was modified; marks that do not match. Out: one
//! diagnostic per file and period; a restart at byte 0 when the writer comes to the mark; from then
//! on what the writer adds, and nothing of the former content again.
//! Always holds: at most [`REWRITES_MAX`] files are remembered, each with at most [`OLD_BYTES_MAX`]
//! bytes; an ordinary file is not.

use std::collections::VecDeque;
use std::io;
use std::time::{Instant, SystemTime};

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, SlotId, SlotKey, State};
use crate::engine::reading::read_pass::ReadPass;
use crate::reader::MARK_BYTES;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Files remembered at most: the one that was remembered first is forgotten first.
const REWRITES_MAX: usize = 64;

/// Files remembered for a turn because their times prove nothing; if there are more, none is judged
/// in that turn.
const TOUCHED_MAX: usize = 256;

/// Bytes of the former content that are remembered at most: from its end backwards.
const OLD_BYTES_MAX: usize = 4096;

/// A file that is, or may be, written over from the front.
#[derive(Debug)]
struct Rewrite {
    key: SlotKey,
    /// When it was modified before the last read that found nothing new.
    modified: SystemTime,
    /// It was written to before the offset.
    is_certain: bool,
    /// It was read again from its start because the writer came to the mark.
    is_restarted: bool,
    /// Where the former content ends.
    end: u64,
    /// The last bytes of the former content, as they were delivered; empty: not known.
    old: Vec<u8>,
}

impl Rewrite {
    fn old_from(&self) -> u64 {
        self.end - self.old.len() as u64
    }
}

/// All of them.
#[derive(Debug)]
pub(in crate::engine) struct Rewrites {
    known: VecDeque<Rewrite>,
    /// How many of them follow their writer.
    restarted: usize,
    /// Files whose times prove nothing in this turn: their attributes changed, or they were read in
    /// it already.
    touched: Vec<SlotId>,
    /// When the turn before was over; and its wall-clock time, as of the turn under way.
    turn_ended_at: Instant,
    quiet_since: SystemTime,
}

impl Rewrites {
    pub(in crate::engine) fn new(now: Now) -> Self {
        Rewrites {
            known: VecDeque::with_capacity(REWRITES_MAX),
            restarted: 0,
            touched: Vec::new(),
            turn_ended_at: now.instant,
            quiet_since: now.wall,
        }
    }
}

impl Rewrites {
    /// A turn is over.
    pub(in crate::engine) fn turn_ended(&mut self, now: Instant) {
        self.turn_ended_at = now;
        self.touched.clear();
    }

    fn count(&mut self) {
        self.restarted = self.known.iter().filter(|rewrite| rewrite.is_restarted).count();
    }
}

/// What `status FILE` tells of such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Rewriting {
    /// The writer did not come to the offset yet.
    BeforeOffset,
    /// It is read up to the writer's position; the former content behind it ends here.
    FollowedUpTo(u64),
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A turn begins: whatever was modified before the end of the one before may have been read in
    /// that.
    pub(in crate::engine) fn note_turn(&mut self, now: Now) {
        let since = now.instant.saturating_duration_since(self.reading.rewrites.turn_ended_at);
        self.reading.rewrites.quiet_since = now.wall.checked_sub(since).unwrap_or(now.wall);
        self.reading.rewrites.turn_ended_at = now.instant;
    }

    /// An event told that the attributes of a file changed, perhaps its times.
    pub(in crate::engine) fn note_attributes(&mut self, id: SlotId) {
        if self.reading.rewrites.touched.len() < TOUCHED_MAX {
            self.reading.rewrites.touched.push(id);
        }
        if let Some(at) =
            self.find_rewrite(id).filter(|&at| !self.reading.rewrites.known[at].is_certain)
        {
            self.forget_rewrite(at);
        }
    }

    /// A file's turn ended before the file did, and it may get another one at once: what was
    /// modified since the turn before was read by then.
    pub(in crate::engine) fn note_read_in_part(&mut self, id: SlotId) {
        if self.reading.rewrites.touched.len() < TOUCHED_MAX {
            self.reading.rewrites.touched.push(id);
        }
    }

    /// The generation of a file, and how far it was read.
    pub(in crate::engine) fn read_upto(&self, id: SlotId) -> (u32, u64) {
        let slot = self.files.get(id);
        (slot.generation, slot.offset + u64::from(slot.scanned))
    }

    /// A read came to the end of the file, and no line was complete. `before`:
    /// [`Engine::read_upto`] when it began.
    pub(in crate::engine) fn note_read(
        &mut self,
        id: SlotId,
        file: &F::File,
        before: (u32, u64),
        now: Now,
    ) {
        let slot = self.files.get(id);
        let is_read = slot.life() == Life::Following && !slot.state().contains(State::FLUSH);
        let now_at = self.read_upto(id);
        if before == now_at && now_at.1 > 0 && is_read {
            self.found_nothing_new(id, file, now_at.1, now);
        }
    }

    fn is_touched(&self, id: SlotId) -> bool {
        self.reading.rewrites.touched.len() >= TOUCHED_MAX
            || self.reading.rewrites.touched.contains(&id)
    }

    fn find_rewrite(&self, id: SlotId) -> Option<usize> {
        let key = self.files.key(id);
        self.reading.rewrites.known.iter().position(|rewrite| rewrite.key == key)
    }

    /// Those of which nothing is certain make room first.
    fn remember_rewrite(&mut self, rewrite: Rewrite) {
        let known = &mut self.reading.rewrites.known;
        if known.len() >= REWRITES_MAX {
            let at = known.iter().position(|rewrite| !rewrite.is_certain).unwrap_or(0);
            known.remove(at);
        }
        known.push_back(rewrite);
        self.reading.rewrites.count();
    }

    fn forget_rewrite(&mut self, at: usize) -> Option<Rewrite> {
        let rewrite = self.reading.rewrites.known.remove(at);
        self.reading.rewrites.count();
        rewrite
    }

    /// If the file was modified and is as long as it was, something was written before the offset.
    /// That bytes which were read already cause one more event is ordinary: so it must have been
    /// modified after the last turn that can have read them, or twice.
    fn found_nothing_new(&mut self, id: SlotId, file: &F::File, end: u64, now: Now) {
        let Ok(found) = self.fs.inode_of(file) else { return };
        let known = self.find_rewrite(id);
        if known.is_some_and(|at| self.reading.rewrites.known[at].is_restarted) {
            return;
        }
        // One that grew since is an ordinary file. A time that is still to come was set by
        // somebody, or by a clock that is not ours.
        let known = known.filter(|&at| {
            self.reading.rewrites.known[at].end == end || self.forget_rewrite(at).is_none()
        });
        if found.size != end || found.modified > now.wall || self.is_touched(id) {
            return;
        }
        let is_later =
            known.is_some_and(|at| found.modified > self.reading.rewrites.known[at].modified);
        // A write sets both times; whoever sets the one, or changes something else, sets only the
        // other to the present.
        let is_written = found.modified == found.changed;
        let is_certain =
            is_written && (is_later || found.modified > self.reading.rewrites.quiet_since);
        let key = self.files.key(id);
        let at = known.unwrap_or_else(|| {
            self.remember_rewrite(Rewrite {
                key,
                modified: found.modified,
                is_certain: false,
                is_restarted: false,
                end,
                old: Vec::new(),
            });
            self.reading.rewrites.known.len() - 1
        });
        self.reading.rewrites.known[at].modified = found.modified;
        if !is_certain {
            self.ask_about_further_names(id);
            return;
        }
        self.reading.rewrites.known[at].is_certain = true;
        self.reading.rewrites.known[at].end = end;
        let slot = self.files.get(id);
        // The bytes around the offset are in the buffer: the read proved them.
        let read = usize::from(slot.mark_len) + slot.scanned as usize;
        if read <= OLD_BYTES_MAX {
            self.reading.rewrites.known[at].old = self.reading.reader.bytes(read).to_vec();
        }
        notice!(warn: self.observer.notices, Cause::WrittenBefore, about &self.path, now.instant,
            offset = end,
            "written before the offset, without truncation: read again from its start when the \
            writer comes to the offset");
    }

    /// The bytes before the offset are others than before: the content restarts, unless it did so a
    /// moment ago and the writer only went on.
    pub(in crate::engine) fn mark_changed(
        &mut self,
        pass: &ReadPass,
        file: &F::File,
        now: Now,
    ) -> io::Result<()> {
        let id = pass.id;
        let slot = self.files.get(id);
        let read_upto = slot.offset + u64::from(slot.scanned);
        let size = self.fs.inode_of(file)?.size;
        let known = self.find_rewrite(id).and_then(|at| self.forget_rewrite(at));
        match known {
            Some(rewrite) if rewrite.is_restarted && size == rewrite.end => {
                // What was read in since the restart is as it was, so the writer went on from
                // there.
                let start = if read_upto == rewrite.end {
                    self.writer_goes_on(&rewrite, file)?
                } else {
                    None
                };
                match start {
                    Some(start) => self.restart_within(id, start),
                    None => self.restart(id, now),
                }
                // After a whole restart all is delivered once more, and becomes the former content
                // then.
                let old = if start.is_none() && read_upto == rewrite.end {
                    Vec::new()
                } else {
                    rewrite.old
                };
                self.remember_rewrite(Rewrite { old, ..rewrite });
            }
            Some(rewrite)
                if rewrite.is_certain && size == read_upto && rewrite.end == read_upto =>
            {
                self.restart(id, now);
                self.remember_rewrite(Rewrite { is_restarted: true, ..rewrite });
            }
            _ => {
                self.restart(id, now);
                if size == read_upto && self.files.get(id).life() == Life::Following {
                    let (key, modified, old) = (self.files.key(id), now.wall, Vec::new());
                    self.remember_rewrite(Rewrite {
                        key,
                        modified,
                        is_certain: true,
                        is_restarted: true,
                        end: size,
                        old,
                    });
                }
            }
        }
        Ok(())
    }

    /// Where the line begins in which the content differs first from what was delivered, if the
    /// writer went on: then all that was remembered is as it was, save for the bytes of the mark. A
    /// content that was replaced as a whole differs sooner; of a small file that cannot be known,
    /// so it counts as replaced.
    fn writer_goes_on(&mut self, rewrite: &Rewrite, file: &F::File) -> io::Result<Option<u64>> {
        let (from, len) = (rewrite.old_from(), rewrite.old.len());
        let got = self.reading.reader.fill(&mut self.fs, file, from, len, len)?;
        let new = self.reading.reader.bytes(got);
        let Some(differs) = new.iter().zip(&rewrite.old).position(|(new, old)| new != old) else {
            return Ok(None);
        };
        if got < len || len < 2 * MARK_BYTES || differs < len - MARK_BYTES {
            return Ok(None);
        }
        Ok(memchr::memrchr(b'\n', &new[..differs]).map(|newline| from + newline as u64 + 1))
    }

    /// The next generation of a file begins in its middle: what is before was delivered a moment
    /// ago, in the generation before. A crash may have lost that, so that for the journal it begins
    /// at 0.
    fn restart_within(&mut self, id: SlotId, start: u64) {
        let slot = self.files.get_mut(id);
        slot.offset = 0;
        slot.mark_len = 0;
        slot.scanned = 0;
        slot.generation += 1;
        self.begin_generation(id);
        let slot = self.files.get_mut(id);
        slot.offset = start;
        slot.clear(State::UNDECIDED);
    }

    /// Of bytes that were read, leaves those at the end out that are of the former content and were
    /// delivered: returns how many are left.
    #[inline]
    pub(in crate::engine) fn leave_old_out(
        &mut self,
        id: SlotId,
        mark_len: usize,
        got: usize,
        is_all: bool,
    ) -> usize {
        if self.reading.rewrites.restarted == 0 {
            got
        } else {
            self.leave_out_known(id, mark_len, got, is_all)
        }
    }

    fn leave_out_known(&mut self, id: SlotId, mark_len: usize, got: usize, is_all: bool) -> usize {
        let Some(at) =
            self.find_rewrite(id).filter(|&at| self.reading.rewrites.known[at].is_restarted)
        else {
            return got;
        };
        let offset = self.files.get(id).offset;
        let data_end = offset + (got - mark_len) as u64;
        if data_end > self.reading.rewrites.known[at].end
            || (is_all && data_end < self.reading.rewrites.known[at].end)
        {
            // The writer passed the former end, or the file is shorter.
            self.forget_rewrite(at);
            return got;
        }
        if data_end < self.reading.rewrites.known[at].end {
            return got;
        }
        let rewrite = &mut self.reading.rewrites.known[at];
        if rewrite.old.is_empty() {
            // All of it is delivered, this once.
            let read = self.reading.reader.bytes(got);
            rewrite.old = read[read.len().saturating_sub(OLD_BYTES_MAX)..].to_vec();
            return got;
        }
        let from = rewrite.old_from().max(offset);
        let bytes_since = |start: u64| usize::try_from(from - start).expect("both are in memory");
        let new = &self.reading.reader.bytes(got)[mark_len + bytes_since(offset)..];
        let old = &rewrite.old[bytes_since(rewrite.old_from())..];
        let differs = new.iter().zip(old).rposition(|(new, old)| new != old);
        let upto = match differs {
            // The line that the writer wrote last ends behind the last byte that differs.
            Some(last) => {
                memchr::memchr(b'\n', &new[last..]).map_or(last + 1, |newline| last + newline + 1)
            }
            None => 0,
        };
        got - (new.len() - upto)
    }

    /// What is known of a file that is written over from the front.
    pub(in crate::engine) fn rewriting(&self, id: SlotId) -> Option<Rewriting> {
        let key = self.files.key(id);
        let rewrite = self
            .reading
            .rewrites
            .known
            .iter()
            .find(|rewrite| rewrite.key == key && rewrite.is_certain)?;
        if !rewrite.is_restarted {
            return (rewrite.end == self.read_upto(id).1).then_some(Rewriting::BeforeOffset);
        }
        let is_behind = self.files.get(id).offset < rewrite.end && !rewrite.old.is_empty();
        is_behind.then_some(Rewriting::FollowedUpTo(rewrite.end))
    }
}
