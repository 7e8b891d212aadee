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
use std::time::{Duration, Instant, SystemTime};

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::namespace::registry::{FileSlot, Life, Registry, SlotId, SlotKey, State};
use crate::engine::reading::read_pass::ReadPass;
use crate::engine::schedule::deadlines::Task;
use crate::reader::{MARK_BYTES, Reader};
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{FileSystem, OpenInode};

/// Files that are remembered at most; the oldest one is forgotten first.
const REWRITES_MAX: usize = 64;

/// Files that are remembered for a turn because their times prove nothing. If there are more, no
/// file is judged in that turn.
const TOUCHED_MAX: usize = 256;

/// How long a write(2) may be under way that has set the file's times and not yet its size: the
/// kernel does so in this order, and a busy machine may let others run in between.
const WRITE_WITHIN: Duration = Duration::from_millis(200);

/// Bytes of the former content that are remembered at most: from its end backwards.
const OLD_BYTES_MAX: usize = 4096;

/// A file that is, or may be, written over from the front.
#[derive(Debug)]
struct Rewrite {
    key: SlotKey,
    /// When it was modified before the last read that found nothing new.
    modified: SystemTime,
    /// Since when it seems to be written to before the offset; a write that makes it longer may be
    /// under way.
    seems_since: Option<Instant>,
    /// It was written to before the offset.
    is_certain: bool,
    /// It was read again from its start because the writer came to the mark.
    is_restarted: bool,
    /// Where the former content ends.
    end: u64,
    /// The last bytes of the former content, as they were delivered; empty: not known.
    old: Vec<u8>,
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
    /// When the last turn ended, and the same as a wall-clock time.
    turn_ended_at: Instant,
    quiet_since: SystemTime,
}

/// What `status FILE` says about such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Rewriting {
    /// The writer has not reached the offset yet.
    BeforeOffset,
    /// It is read up to the writer's position; the former content behind it ends here.
    FollowedUpTo(u64),
}

/// What a read that found nothing new proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// Nothing.
    Ordinary,
    /// It may have been written to before the offset.
    Possible,
    /// The same, and a further read will prove it, or not.
    Likely,
    /// It was.
    Certain,
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

    /// A turn begins: what was modified before the end of the turn before may have been read in
    /// that.
    pub(in crate::engine) fn turn_begins(&mut self, now: Now) {
        let since = now.instant.saturating_duration_since(self.turn_ended_at);
        self.quiet_since = now.wall.checked_sub(since).unwrap_or(now.wall);
        self.turn_ended_at = now.instant;
    }

    /// A turn is over.
    pub(in crate::engine) fn turn_ended(&mut self, now: Instant) {
        self.turn_ended_at = now;
        self.touched.clear();
    }

    /// An event told that the attributes of a file changed, perhaps its times.
    pub(in crate::engine) fn note_attributes(&mut self, key: SlotKey) {
        self.touch(key.id);
        if let Some(at) = self.find(key).filter(|&at| !self.known[at].is_certain) {
            self.forget(at);
        }
    }

    /// The times of a file prove nothing in this turn. If its turn ended before the file did, it
    /// may get another one at once: what was modified since the turn before was read by then.
    pub(super) fn touch(&mut self, id: SlotId) {
        if self.touched.len() < TOUCHED_MAX {
            self.touched.push(id);
        }
    }

    fn is_touched(&self, id: SlotId) -> bool {
        self.touched.len() >= TOUCHED_MAX || self.touched.contains(&id)
    }

    fn find(&self, key: SlotKey) -> Option<usize> {
        self.known.iter().position(|rewrite| rewrite.key == key)
    }

    /// Files of which nothing is certain make room first.
    fn remember(&mut self, rewrite: Rewrite) {
        if self.known.len() >= REWRITES_MAX {
            let at = self.known.iter().position(|rewrite| !rewrite.is_certain).unwrap_or(0);
            self.known.remove(at);
        }
        self.known.push_back(rewrite);
        self.count();
    }

    fn forget(&mut self, at: usize) -> Option<Rewrite> {
        let rewrite = self.known.remove(at);
        self.count();
        rewrite
    }

    fn count(&mut self) {
        self.restarted = self.known.iter().filter(|rewrite| rewrite.is_restarted).count();
    }

    /// If the file was modified and is as long as it was, something was written before the offset.
    /// That bytes which were read already cause one more event is ordinary, so it must have been
    /// modified after the last turn that can have read them, or twice. `end`: up to where it was
    /// read.
    fn judge(&mut self, key: SlotKey, found: &OpenInode, end: u64, now: Now) -> Finding {
        let known = self.find(key);
        if known.is_some_and(|at| self.known[at].is_restarted) {
            return Finding::Ordinary;
        }
        // One that grew since is an ordinary file. A time that is still to come was set by a
        // program, or by a clock that is not ours.
        let known = known.filter(|&at| self.known[at].end == end || self.forget(at).is_none());
        if found.size != end || found.modified > now.wall {
            return Finding::Ordinary;
        }
        if self.is_touched(key.id) {
            let is_open = known.is_some_and(|at| self.known[at].seems_since.is_some());
            return if is_open { Finding::Likely } else { Finding::Ordinary };
        }
        let is_later = known.is_some_and(|at| found.modified > self.known[at].modified);
        // A write sets both times. A program that sets the one, or changes something else, sets
        // only the other to the present.
        let is_written = found.modified == found.changed;
        let seems = is_written && (is_later || found.modified > self.quiet_since);
        let at = known.unwrap_or_else(|| {
            self.remember(Rewrite {
                key,
                modified: found.modified,
                seems_since: None,
                is_certain: false,
                is_restarted: false,
                end,
                old: Vec::new(),
            });
            self.known.len() - 1
        });
        let rewrite = &mut self.known[at];
        rewrite.modified = found.modified;
        let is_proved = match rewrite.seems_since {
            Some(since) => now.instant.saturating_duration_since(since) >= WRITE_WITHIN,
            None => seems && rewrite.is_certain,
        };
        if is_proved {
            rewrite.is_certain = true;
            rewrite.seems_since = None;
            Finding::Certain
        } else if seems && rewrite.seems_since.is_none() {
            rewrite.seems_since = Some(now.instant);
            Finding::Likely
        } else {
            Finding::Possible
        }
    }

    /// Leaves out bytes at the end of what was `read` that are of the former content and were
    /// delivered. Returns how many bytes are left.
    #[inline]
    pub(super) fn leave_old_out(
        &mut self,
        files: &Registry,
        id: SlotId,
        mark_len: usize,
        read: &[u8],
        is_all: bool,
    ) -> usize {
        if self.restarted == 0 {
            read.len()
        } else {
            self.leave_out_known(files, id, mark_len, read, is_all)
        }
    }

    fn leave_out_known(
        &mut self,
        files: &Registry,
        id: SlotId,
        mark_len: usize,
        read: &[u8],
        is_all: bool,
    ) -> usize {
        let got = read.len();
        let known = self.find(files.key(id));
        let Some(at) = known.filter(|&at| self.known[at].is_restarted) else { return got };
        let offset = files.get(id).offset;
        let data_end = offset + (got - mark_len) as u64;
        let end = self.known[at].end;
        if data_end > end || (is_all && data_end < end) {
            // The writer passed the former end, or the file is shorter.
            self.forget(at);
            return got;
        }
        if data_end < end {
            return got;
        }
        let rewrite = &mut self.known[at];
        if rewrite.old.is_empty() {
            // All of it is delivered, this once.
            rewrite.old = read[read.len().saturating_sub(OLD_BYTES_MAX)..].to_vec();
            return got;
        }
        let from = rewrite.old_from().max(offset);
        let bytes_since = |start: u64| usize::try_from(from - start).expect("both are in memory");
        let new = &read[mark_len + bytes_since(offset)..];
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

    /// Remembers the end of the former content, unless it is too long.
    fn remember_former(&mut self, key: SlotKey, bytes: &[u8]) {
        if bytes.len() <= OLD_BYTES_MAX
            && let Some(at) = self.find(key)
        {
            self.known[at].old = bytes.to_vec();
        }
    }

    /// What is known about a file that is written over from the front.
    pub(in crate::engine) fn status(&self, files: &Registry, id: SlotId) -> Option<Rewriting> {
        let key = files.key(id);
        let rewrite = self.known.iter().find(|rewrite| rewrite.key == key && rewrite.is_certain)?;
        let slot = files.get(id);
        if !rewrite.is_restarted {
            return (rewrite.end == read_upto(slot).1).then_some(Rewriting::BeforeOffset);
        }
        let is_behind = slot.offset < rewrite.end && !rewrite.old.is_empty();
        is_behind.then_some(Rewriting::FollowedUpTo(rewrite.end))
    }
}

impl Rewrite {
    fn old_from(&self) -> u64 {
        self.end - self.old.len() as u64
    }

    /// Where the line begins in which the content differs first from what was delivered, if the
    /// writer went on: then everything that was remembered is as it was, save for the bytes of the
    /// mark. A content that was replaced as a whole differs sooner; of a small file that cannot be
    /// known, so it counts as replaced.
    fn writer_goes_on<F: FileSystem>(
        &self,
        reader: &mut Reader,
        fs: &mut F,
        file: &F::File,
    ) -> io::Result<Option<u64>> {
        let (from, len) = (self.old_from(), self.old.len());
        let got = reader.fill(fs, file, from, len, len)?;
        let new = reader.bytes(got);
        let Some(differs) = new.iter().zip(&self.old).position(|(new, old)| new != old) else {
            return Ok(None);
        };
        if got < len || len < 2 * MARK_BYTES || differs < len - MARK_BYTES {
            return Ok(None);
        }
        Ok(memchr::memrchr(b'\n', &new[..differs]).map(|newline| from + newline as u64 + 1))
    }
}

/// The generation of a file, and up to where it was read.
#[inline]
pub(super) fn read_upto(slot: &FileSlot) -> (u32, u64) {
    (slot.generation, slot.offset + u64::from(slot.scanned))
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A read came to the end of the file, and no line was complete. `before`: [`read_upto`] when
    /// it began.
    pub(super) fn note_read(&mut self, id: SlotId, file: &F::File, before: (u32, u64), now: Now) {
        let slot = self.files.get(id);
        let is_read = slot.life() == Life::Following && !slot.state().contains(State::FLUSH);
        let now_at = read_upto(slot);
        if before == now_at && now_at.1 > 0 && is_read {
            self.found_nothing_new(id, file, now_at.1, now);
        }
    }

    fn found_nothing_new(&mut self, id: SlotId, file: &F::File, end: u64, now: Now) {
        let Ok(found) = self.fs.inode_of(file) else { return };
        let key = self.files.key(id);
        match self.reading.rewrites.judge(key, &found, end, now) {
            Finding::Ordinary => {}
            Finding::Possible => self.ask_about_further_names(id),
            Finding::Likely => {
                self.schedule.deadlines.add(now.instant + WRITE_WITHIN, Task::ReadAgain(key));
            }
            Finding::Certain => {
                // The bytes around the offset are in the buffer: the read proved them.
                let slot = self.files.get(id);
                let read = usize::from(slot.mark_len) + slot.scanned as usize;
                let bytes = self.reading.reader.bytes(read);
                self.reading.rewrites.remember_former(key, bytes);
                notice!(warn: self.observer.notices, Cause::WrittenBefore, about &self.path,
                    now.instant, offset = end,
                    "written before the offset, without truncation: read again from its start when \
                    the writer comes to the offset");
            }
        }
    }

    /// The bytes before the offset changed: the content restarts, unless it did so a moment ago and
    /// the writer only went on.
    pub(super) fn mark_changed(
        &mut self,
        pass: &ReadPass,
        file: &F::File,
        now: Now,
    ) -> io::Result<()> {
        let id = pass.id;
        let (_, read_upto) = read_upto(self.files.get(id));
        let size = self.fs.inode_of(file)?.size;
        let rewrites = &mut self.reading.rewrites;
        let known = rewrites.find(self.files.key(id)).and_then(|at| rewrites.forget(at));
        match known {
            Some(rewrite) if rewrite.is_restarted && size == rewrite.end => {
                // What was read since the restart is unchanged, so the writer went on from there.
                let start = if read_upto == rewrite.end {
                    rewrite.writer_goes_on(&mut self.reading.reader, &mut self.fs, file)?
                } else {
                    None
                };
                match start {
                    Some(start) => self.restart_within(id, start, pass.owner),
                    None => self.restart(id, pass.owner, now),
                }
                // After a whole restart everything is delivered once more, and then becomes the
                // former content.
                let old = if start.is_none() && read_upto == rewrite.end {
                    Vec::new()
                } else {
                    rewrite.old
                };
                self.reading.rewrites.remember(Rewrite { old, ..rewrite });
            }
            Some(rewrite)
                if rewrite.is_certain && size == read_upto && rewrite.end == read_upto =>
            {
                self.restart(id, pass.owner, now);
                self.reading.rewrites.remember(Rewrite { is_restarted: true, ..rewrite });
            }
            _ => {
                self.restart(id, pass.owner, now);
                if size == read_upto && self.files.get(id).life() == Life::Following {
                    let (key, modified, old) = (self.files.key(id), now.wall, Vec::new());
                    self.reading.rewrites.remember(Rewrite {
                        key,
                        modified,
                        seems_since: None,
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

    /// The next generation of a file begins in its middle: what comes before was delivered a moment
    /// ago, in the last generation. A crash may lose that, so for the journal it begins at 0.
    fn restart_within(&mut self, id: SlotId, start: u64, owner: Option<u32>) {
        self.tell_replacement(id, owner);
        let slot = self.files.get_mut(id);
        slot.offset = 0;
        slot.mark_len = 0;
        slot.scanned = 0;
        slot.generation += 1;
        slot.is_end_told = false;
        self.offsets.begin_generation(&mut self.files, &self.coverage.inputs, id, 0);
        let slot = self.files.get_mut(id);
        slot.offset = start;
        slot.clear(State::UNDECIDED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::tree::DirId;
    use crate::sys::clock;

    #[test]
    fn a_write_under_way_is_not_taken_for_one_before_the_offset() {
        let (mut files, start) = (Registry::new(), clock::now());
        let id = files.insert(DirId(0), b"1.log");
        let key = files.key(id);
        let after = |time| Now { instant: start.instant + time, wall: start.wall + time };
        let at = |modified, size| OpenInode {
            device: 1,
            inode: 2,
            is_regular: true,
            size,
            modified,
            changed: modified,
            owner: 0,
        };
        let mut rewrites = Rewrites::new(start);
        let tick = Duration::from_millis(1);
        let written = start.wall + tick;
        assert_eq!(rewrites.judge(key, &at(written, 10), 10, after(tick)), Finding::Likely);
        // It grew after all.
        assert_eq!(rewrites.judge(key, &at(written, 20), 10, after(tick)), Finding::Ordinary);
        let again = rewrites.judge(key, &at(written, 20), 20, after(2 * WRITE_WITHIN));
        assert_ne!(again, Finding::Certain, "the former finding does not count any more");
        rewrites.forget(0);
        assert_eq!(rewrites.judge(key, &at(written, 20), 20, after(tick)), Finding::Likely);
        assert_eq!(rewrites.judge(key, &at(written, 20), 20, after(2 * tick)), Finding::Possible);
        let end = after(tick + WRITE_WITHIN);
        assert_eq!(rewrites.judge(key, &at(written, 20), 20, end), Finding::Certain);
    }
}
