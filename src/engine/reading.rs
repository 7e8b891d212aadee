//! Dirty files -> records: open, pread, close, split, encode, within the turn's budget.
//!
//! In: files whose turn it is. Out: records in the outbox; what each file needs next.
//! Always holds: an offset moves only past what was encoded, or skipped and counted. An unfinished
//! line stays in the file.

pub(super) mod binary;
mod encoding;
pub(super) mod ends;
pub(super) mod held_files;
pub(super) mod jobs;
pub(super) mod kept_files;
mod nul_runs;
pub(super) mod open_files;
mod opening;
mod positions;
mod read_pass;
pub(super) mod rewriting;
mod routing;
mod source;
mod splitter;

use std::io;
use std::time::Duration;

use crate::engine::commit::nanos;
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::reading::opening::{Opened, is_mark_weak};
use crate::engine::reading::read_pass::ReadPass;
use crate::engine::reading::rewriting::read_upto;
use crate::engine::schedule::lag::Queued;
use crate::engine::schedule::unread::Because;
use crate::engine::schedule::{Schedule, Unfinished};
use crate::engine::{BYTES_PER_TURN, Engine, EngineError, FILES_PER_TURN};
use crate::planted::is_planted;
use crate::rare::rare;
use crate::reader::{READ_BYTES, mark_of};
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Bytes of one file read in a row at most, if no other file waits; then it goes to the back of the
/// queue. A longer line is read to its end.
const FILE_BUDGET: usize = 1024 * 1024;

/// The same while others wait: one read.
const SHARED_BUDGET: usize = READ_BYTES;

/// The same for a file that changed, so that files with little to read need not wait for those with
/// much.
const CHANGED_BUDGET: usize = READ_BYTES / 8;

/// An unfinished line longer than this is not read again from its start until its end is there.
const SCANNED_MIN: u32 = 64 * 1024;

/// Why a file's turn ended.
#[derive(Debug)]
enum Pause {
    /// Everything was read.
    AtEnd,
    /// The budget is spent, or the output has no room.
    More,
    /// The open file is not the one that the slot stands for.
    OtherFile,
}

/// How many bytes of a file may be read in this turn. `is_alone`: no other file waits.
#[inline]
fn budget(because: Because, is_alone: bool, scanned: u32) -> usize {
    match because {
        _ if is_alone => FILE_BUDGET,
        // The search for the end of a long line takes larger steps.
        Because::Changed if scanned == 0 => CHANGED_BUDGET,
        _ => SHARED_BUDGET,
    }
}

/// How long a file that is read now is not opened again.
fn cools_for(pressure: f32, coalesce: Duration) -> Duration {
    // It is nearly always one of the first two.
    match pressure {
        0.0 => Duration::ZERO,
        1.0 => coalesce,
        pressure => coalesce.mul_f32(pressure),
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Reads dirty files while there is room for records.
    pub(super) fn read_dirty(&mut self, now: Now) -> Result<(), EngineError> {
        if self.outbox.unsent() > 0 {
            // The output may take waiting records by now. What is read comes after them.
            self.send(now)?;
        }
        let mut bytes = BYTES_PER_TURN;
        let wall = nanos(now.wall);
        for _ in 0..FILES_PER_TURN {
            if bytes == 0 || !self.outbox.has_room() {
                break;
            }
            let Some((waiting, because)) =
                self.schedule.unread.pop(self.outbox.has_room_for_backlog())
            else {
                break;
            };
            let read = self.read_file(waiting, because, wall, now)?;
            self.schedule.unread.took(because, read);
            bytes = bytes.saturating_sub(read);
            if self.outbox.is_full() {
                self.send(now)?;
            }
        }
        Ok(())
    }

    /// A file came out of its queue: whether it is to be read, and now.
    #[inline]
    fn may_be_read(&mut self, id: SlotId) -> bool {
        let slot = self.files.get(id);
        let state = slot.state();
        if !slot.is_read() || !state.contains(State::DIRTY) || state.intersects(State::HELD_BACK) {
            return false;
        }
        state & (State::HAS_PREDECESSOR | State::RELEASED) != State::HAS_PREDECESSOR
            || !self.identities.succession.wait_if_needed(
                &mut self.files,
                &self.tree,
                &mut self.schedule,
                |id| self.reading.held.contains_key(&id),
                id,
            )
    }

    /// Gives a file its turn, which takes it out of its queue. Returns how many bytes it read.
    #[inline]
    fn read_file(
        &mut self,
        waiting: Queued,
        because: Because,
        wall: u64,
        now: Now,
    ) -> Result<usize, EngineError> {
        let Queued { id, since } = waiting;
        if !self.may_be_read(id) {
            Schedule::unqueue(&mut self.files, id);
            self.schedule.lag.keep(id, since);
            return Ok(0);
        }
        Schedule::begin_read(&mut self.files, id);
        let Opened { file, proven_size, owner } = match self.open(id) {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                rare!("another file had the name of one that was to be read");
                self.look_before_reading(id, None, now);
                return Ok(0);
            }
            Err(error) => {
                self.open_failed(id, &error, now);
                return Ok(0);
            }
        };
        let is_alone = self.schedule.unread.is_empty();
        let budget = budget(because, is_alone, self.files.get(id).scanned);
        let mut pass = ReadPass::new(waiting, wall, budget, proven_size);
        pass.owner = owner;
        let before = (self.observer.stats.bytes, self.observer.stats.records);
        let end_before = read_upto(self.files.get(id));
        let outcome = loop {
            if let Some(outcome) = self.read_open(&mut pass, &file, now).transpose() {
                break outcome;
            }
            // A batch leaves while its bytes are still in the processor's cache.
            self.send(now)?;
            if !self.outbox.has_room() {
                break Ok(Pause::More);
            }
        };
        // Nothing came if an unfinished line was delivered that rests.
        self.log_goes_on(id, read_upto(self.files.get(id)) != end_before, now.instant);
        tracing::trace!(
            slot = id.0,
            path = %self.path.escape_ascii(),
            ?outcome,
            offset = self.files.get(id).offset,
            "read"
        );
        self.reading.reader.relax();
        if self.observer.busiest.is_some() {
            self.observer.count_busy(self.files.key(id), before, now.instant);
        }
        if matches!(outcome, Ok(Pause::AtEnd | Pause::More)) {
            self.note_readable(id, now.instant);
        }
        self.end_read(file, &pass, outcome, end_before, now);
        Ok(budget - pass.budget)
    }

    /// A file's turn is over: decides what it needs next.
    #[inline]
    fn end_read(
        &mut self,
        file: F::File,
        pass: &ReadPass,
        outcome: io::Result<Pause>,
        end_before: (u32, u64),
        now: Now,
    ) {
        let id = pass.id;
        match outcome {
            Ok(Pause::AtEnd) => {
                if !pass.has_advanced {
                    self.note_read(id, &file, end_before, now);
                }
                let has_grown = read_upto(self.files.get(id)) != end_before;
                self.reached_end(file, pass, has_grown, now);
            }
            Ok(Pause::More) => {
                self.reading.rewrites.touch(id);
                self.schedule.lag.keep(id, pass.since);
                if self.outbox.has_room() && !self.files.get(id).state().contains(State::BACKLOG) {
                    self.schedule.go_on(&mut self.files, &self.tree, id);
                } else {
                    self.schedule.go_on_first(&mut self.files, &self.tree, id);
                }
                self.reading.hold(&self.files, &self.path, id, file);
            }
            Ok(Pause::OtherFile) => {
                rare!("an open file was not the one that was meant");
                self.look_before_reading(id, None, now);
            }
            Err(error) if self.files.get(id).life() == Life::Finishing => {
                self.finishing_failed(id, file, &error, now)
            }
            Err(error) => self.read_failed(id, &error, now),
        }
    }

    /// Reads until the file's turn ends, or (`None`) until a batch is full.
    fn read_open(
        &mut self,
        pass: &mut ReadPass,
        file: &F::File,
        now: Now,
    ) -> io::Result<Option<Pause>> {
        if self.coverage.inputs.wants_owner() && pass.owner.is_none() {
            pass.owner = Some(self.fs.inode_of(file)?.owner);
        }
        loop {
            let slot = self.files.get(pass.id);
            let (state, scanned, offset, mark, mark_len) =
                (slot.state(), slot.scanned, slot.offset, slot.mark, usize::from(slot.mark_len));
            if is_mark_weak(slot) && !pass.is_proven(&mut self.fs, &self.files, file)? {
                return Ok(Some(Pause::OtherFile));
            }
            if state.contains(State::SEEK_LINE) {
                self.seek_line(pass, file)?;
                continue;
            }
            let may_scan = scanned >= SCANNED_MIN && !state.contains(State::FLUSH);
            if may_scan && pass.len == READ_BYTES && !self.is_multiline(pass.id) {
                let splits = self.splits(pass.id);
                let lens = (self.config.line_bytes_max, self.longest_read(pass.id));
                let (fs, files) = (&mut self.fs, &mut self.files);
                if let Some(end) = self.reading.scan_on(fs, files, pass, file, lens, splits)? {
                    return Ok(Some(end));
                }
            }
            let wanted = mark_len + pass.len;
            let got = self.reading.reader.fill(
                &mut self.fs,
                file,
                offset - mark_len as u64,
                mark_len,
                wanted,
            )?;
            let is_cut_off = got < mark_len
                || (mark_len == 0 && pass.proven_size.is_some_and(|size| size < offset));
            let is_other = mark_len > 0
                && mark_of(self.reading.reader.bytes(mark_len)) != mark
                && !is_planted!(MarkUnread);
            if is_cut_off || is_other {
                if !pass.is_proven(&mut self.fs, &self.files, file)? {
                    return Ok(Some(Pause::OtherFile));
                }
                if got < mark_len && self.fs.stat_file(file)?.size >= offset {
                    rare!("a read was short though the file was not");
                    // The file is as long as before: the read was short for another reason.
                    continue;
                }
                self.mark_changed(pass, file, now)?;
                if self.files.get(pass.id).state().contains(State::UNSTORED) {
                    return Ok(Some(Pause::More));
                }
                (pass.is_begun, pass.has_advanced) = (false, false);
                continue;
            }
            let read = self.reading.reader.bytes(got);
            let (files, rewrites) = (&self.files, &mut self.reading.rewrites);
            let got = rewrites.leave_old_out(files, pass.id, mark_len, read, got < wanted);
            pass.budget = pass.budget.saturating_sub(got - mark_len);
            if let Some(routing) = &mut self.reading.routing {
                let file = (pass.id, &*self.path);
                let (inputs, jobs) = (&self.coverage.inputs, &mut self.reading.jobs);
                routing.begin(&self.files, inputs, jobs, file, &mut self.outbox);
            }
            if let Some(end) = self.take_bytes(pass, file, mark_len, got, wanted, now)? {
                return Ok(Some(end));
            }
            // In the middle of a long line the offset did not move yet: stopping here would read
            // the same bytes for ever.
            if pass.budget == 0 && !pass.is_in_long_line {
                return Ok(Some(Pause::More));
            }
            if self.outbox.is_full() {
                return Ok(None);
            }
        }
    }

    /// Everything was read: the file cools down, an unfinished last line is timed, and a file that
    /// waits for this one may go on.
    fn reached_end(&mut self, file: F::File, pass: &ReadPass, has_grown: bool, now: Now) {
        let id = pass.id;
        self.release_successor(id);
        Schedule::reached_end(&mut self.files, id);
        let slot = self.files.get(id);
        let (is_finishing, is_unfinished) = (slot.life() == Life::Finishing, slot.scanned > 0);
        if !pass.has_advanced {
            self.offsets.read_to_end(&self.files, id, nanos(now.wall));
        }
        if is_unfinished && !self.config.once {
            // This includes a file that left the tree: it may come back as it is.
            let what = if pass.has_open_record { Unfinished::Record } else { Unfinished::Line };
            let after = self.delivered_after(id, what);
            let before = self.schedule.unfinished(id).filter(|(before, _)| *before == what);
            let at = before.filter(|_| !has_grown).map_or(now.instant, |(_, at)| at);
            self.schedule.time_piece(&mut self.files, id, (what, after), at);
        }
        if is_finishing {
            self.part_with(id, now.instant);
        }
        if is_finishing || self.config.once {
            return;
        }
        self.reading.keep(&self.files, &self.tree, id, file, now.instant);
        let cools_for = cools_for(self.schedule.pressure, self.config.coalesce);
        if !cools_for.is_zero() {
            self.schedule.cool(&mut self.files, id, cools_for, now.instant);
        }
    }
}
