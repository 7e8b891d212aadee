//! Dirty files -> records: open, pread, close, split, encode, within the turn's budget.
//!
//! An offset moves only past what was encoded, or skipped and counted: an unfinished line stays in
//! the file.

pub(super) mod binary;
pub(super) mod held_files;
pub(super) mod kept_files;
pub(super) mod nul_runs;
pub(super) mod open_files;
pub(super) mod opening;
pub(super) mod read_pass;
pub(super) mod rewriting;

use std::io;
use std::time::Instant;

use crate::config::Format;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::commit::nanos;
use crate::engine::commit::resume::entry_flags;
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::output::outbox::Reached;
use crate::engine::reading::nul_runs::{Cut, NulRun};
use crate::engine::reading::opening::Opened;
use crate::engine::reading::read_pass::ReadPass;
use crate::engine::schedule::Schedule;
use crate::engine::schedule::lag::Queued;
use crate::engine::schedule::unread::Because;
use crate::engine::{BYTES_PER_TURN, Engine, EngineError, FILES_PER_TURN};
use crate::lines::{Line, split_lines};
use crate::planted::is_planted;
use crate::rare::rare;
use crate::reader::{MARK_BYTES, READ_BYTES, mark_of};
use crate::record::Source;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Bytes read from one file per turn at most, if no other waits; then it goes to the back of the
/// queue. A longer line is read to its end.
const FILE_BUDGET: usize = 1024 * 1024;

/// The same while others wait: one read.
const SHARED_BUDGET: usize = READ_BYTES;

/// The same of one that changed, so that those that have little to read need not wait for those
/// that have much.
const FIRST_BUDGET: usize = READ_BYTES / 8;

/// An unfinished line longer than this is not read again from its start until its end is there.
const SCANNED_MIN: u32 = 64 * 1024;

/// Of a last line that was read, and truncated before its newline came.
const UNFINISHED_TRUNCATED: &str = "truncated or overwritten in the middle of a line";

/// Why a file's turn ended.
#[derive(Debug)]
pub(super) enum Pause {
    /// All there is was read.
    AtEnd,
    /// The budget is spent, or the output has no room.
    More,
    /// The open file is not the one that the slot stands for.
    OtherFile,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Reads dirty files while there is room for records.
    pub(super) fn read_dirty(&mut self, now: Now) -> Result<(), EngineError> {
        if self.outbox.unsent() > 0 {
            // The output may take some by now: what is read goes behind it.
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

    /// A file is out of its queue: says whether it is to be read at all, and now.
    #[inline]
    fn may_be_read(&mut self, id: SlotId) -> bool {
        let slot = self.files.get(id);
        let state = slot.state();
        if !slot.is_read() || !state.contains(State::DIRTY) || state.intersects(State::KEPT_BACK) {
            return false;
        }
        state & (State::HAS_PREDECESSOR | State::RELEASED) != State::HAS_PREDECESSOR
            || !self.identities.succession.must_wait(
                &mut self.files,
                &self.tree,
                &mut self.schedule,
                |id| self.reading.held.contains_key(&id),
                id,
            )
    }

    /// How many bytes of a file may be read in this turn.
    #[inline]
    fn budget(&self, id: SlotId, because: Because) -> usize {
        match because {
            _ if self.schedule.unread.is_empty() => FILE_BUDGET,
            // The search for the end of a long line takes larger steps.
            Because::Changed if self.files.get(id).scanned == 0 => FIRST_BUDGET,
            _ => SHARED_BUDGET,
        }
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
        let Opened { file, proven_size } = match self.open(id) {
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
        let budget = self.budget(id, because);
        let mut pass = ReadPass::new(waiting, wall, budget, proven_size);
        let before = (self.observer.stats.bytes, self.observer.stats.records);
        let end_before = self.read_upto(id);
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
        tracing::trace!(
            slot = id.0,
            path = %self.path.escape_ascii(),
            ?outcome,
            offset = self.files.get(id).offset,
            "read"
        );
        self.reading.reader.relax();
        if self.observer.busiest.is_some() {
            self.count_busy(id, before, now.instant);
        }
        if matches!(outcome, Ok(Pause::AtEnd | Pause::More)) {
            self.note_readable(id, now.instant);
        }
        self.end_read(file, &pass, outcome, end_before, now);
        Ok(budget - pass.budget)
    }

    /// A file's turn is over: what it needs next.
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
                if !pass.is_begun {
                    self.note_read(id, &file, end_before, now);
                }
                self.reached_end(id, file, pass.is_begun, now);
            }
            Ok(Pause::More) => {
                self.note_read_in_part(id);
                self.schedule.lag.keep(id, pass.since);
                if self.outbox.has_room() && !self.files.get(id).state().contains(State::BACKLOG) {
                    self.schedule.go_on(&mut self.files, &self.tree, id);
                } else {
                    self.schedule.go_on_first(&mut self.files, &self.tree, id);
                }
                self.hold(id, file);
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
        loop {
            let slot = self.files.get(pass.id);
            let (state, scanned, offset, mark, mark_len) =
                (slot.state(), slot.scanned, slot.offset, slot.mark, usize::from(slot.mark_len));
            if self.is_mark_weak(pass.id) && !self.is_proven(pass, file)? {
                return Ok(Some(Pause::OtherFile));
            }
            if state.contains(State::SEEK_LINE) {
                self.seek_line(pass, file)?;
                continue;
            }
            if scanned >= SCANNED_MIN
                && pass.len == READ_BYTES
                && !state.contains(State::FLUSH)
                && let Some(end) = self.scan_on(pass, file)?
            {
                return Ok(Some(end));
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
                if !self.is_proven(pass, file)? {
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
                pass.is_begun = false;
                continue;
            }
            let got = self.leave_old_out(pass.id, mark_len, got, got < wanted);
            pass.budget = pass.budget.saturating_sub(got - mark_len);
            if let Some(end) = self.take_bytes(pass, file, mark_len, got, wanted, now)? {
                return Ok(Some(end));
            }
            // In the middle of a long line nothing was used up yet: stopping here would read the
            // same bytes for ever.
            if pass.budget == 0 && !pass.is_in_long_line {
                return Ok(Some(Pause::More));
            }
            if self.outbox.is_full() {
                return Ok(None);
            }
        }
    }

    /// Takes what was read behind the mark. Returns how the turn ends, or nothing if it goes on.
    fn take_bytes(
        &mut self,
        pass: &mut ReadPass,
        file: &F::File,
        mark_len: usize,
        got: usize,
        wanted: usize,
        now: Now,
    ) -> io::Result<Option<Pause>> {
        let mut data_end = got;
        let mut cut = Cut::None;
        let data = &self.reading.reader.bytes(got)[mark_len..];
        if self.files.get(pass.id).state().contains(State::SKIP_NULS) && !data.is_empty() {
            if data[0] == 0 {
                match self.skip_nuls(pass, file, mark_len, got, got < wanted)? {
                    NulRun::Skipped => return Ok(None),
                    NulRun::Waits => return Ok(Some(Pause::AtEnd)),
                    NulRun::Data => {}
                }
            }
            self.files.get_mut(pass.id).clear(State::SKIP_NULS);
        }
        let data = &self.reading.reader.bytes(got)[mark_len..];
        // Most of what is read is one line without a NUL: one search shows it.
        let first = memchr::memchr2(0, b'\n', data);
        pass.searched = first.unwrap_or(data.len());
        let rest = first.map_or(&[][..], |at| &data[at..]);
        if rest != b"\n"
            && let Some(first_nul) =
                memchr::memchr(0, rest).map(|distance| pass.searched + distance)
        {
            let offset = self.files.get(pass.id).offset;
            cut = self.find_hole(file, offset, mark_len, got, first_nul)?;
            match cut {
                Cut::None => {}
                Cut::Run(at) | Cut::Tail(at) => data_end = mark_len + at,
            }
            if let Cut::Run(0) = cut {
                self.files.get_mut(pass.id).set(State::SKIP_NULS);
                return Ok(None);
            }
        }
        let is_at_end = got < wanted || matches!(cut, Cut::Tail(_));
        if self.leave_out_binary(pass.id, mark_len, data_end, is_at_end, now) {
            return Ok(Some(Pause::AtEnd));
        }
        let (consumed, has_room) =
            self.encode(pass, mark_len, data_end, is_at_end, matches!(cut, Cut::Run(_)), now);
        self.advance(pass, mark_len, consumed, if is_at_end && has_room { pass.wall } else { 0 });
        if !has_room {
            return Ok(Some(Pause::More));
        }
        if is_at_end {
            self.note_unfinished(pass.id, data_end - mark_len - consumed, now.instant);
        }
        if matches!(cut, Cut::Run(_)) {
            self.files.get_mut(pass.id).set(State::SKIP_NULS);
            return Ok(None);
        }
        if is_at_end {
            return Ok(Some(Pause::AtEnd));
        }
        // A line longer than what was asked for: ask for more, up to one byte beyond the limit,
        // which decides.
        let longest = self.config.line_bytes_max + 1;
        pass.is_in_long_line = consumed == 0;
        pass.len =
            if consumed == 0 { (pass.len * 8).min(longest.max(READ_BYTES)) } else { READ_BYTES };
        Ok(None)
    }

    /// Encodes the lines between `start` and `end` of the buffer. Returns how many bytes were used,
    /// and whether there was room for all.
    fn encode(
        &mut self,
        pass: &mut ReadPass,
        start: usize,
        end: usize,
        is_at_end: bool,
        is_cut: bool,
        now: Now,
    ) -> (usize, bool) {
        let data = &self.reading.reader.bytes(end)[start..];
        let slot = self.files.get(pass.id);
        let is_due = slot.state().contains(State::FLUSH) && data.len() == slot.scanned as usize;
        let is_last = slot.life() == Life::Finishing && slot.state().contains(State::DELETED);
        let takes_rest = is_cut || (is_at_end && (is_due || self.config.once || is_last));
        let first_offset = slot.offset;
        pass.has_piece = false;
        let mut lines =
            split_lines(data, first_offset, self.config.line_bytes_max).searched(pass.searched);
        if self.config.format == Format::Raw {
            // The lines are the records.
            let (whole, count) = lines.take_whole_lines();
            pass.is_begun |= count > 0;
            self.outbox.bytes().extend_from_slice(whole);
            self.observer.stats.records += count as u64;
            self.observer.stats.bytes += whole.len() as u64;
        }
        loop {
            if !self.outbox.has_room() {
                return (lines.consumed(), false);
            }
            let line = match lines.next() {
                Some(line) => line,
                None if takes_rest && lines.consumed() < data.len() => {
                    let at = lines.consumed();
                    Line { bytes: &data[at..], offset: first_offset + at as u64, ended: false }
                }
                None => return (lines.consumed(), true),
            };
            if !pass.is_begun {
                pass.is_begun = true;
                let file = self.files.file_id(pass.id).expect("only identified files are read");
                let generation = slot.generation;
                let labels = &*self.coverage.inputs.get(slot.input).labels;
                let source = Source {
                    path: &self.path,
                    device: file.device,
                    inode: file.inode,
                    generation,
                    labels,
                    read_at: now.wall,
                };
                self.reading.encoder.begin(&source);
            }
            self.reading.encoder.encode(&line, self.outbox.bytes());
            self.observer.stats.records += 1;
            self.observer.stats.bytes += line.bytes.len() as u64 + u64::from(line.ended);
            if line.ended {
                if lines.consumed() == data.len() {
                    return (data.len(), true);
                }
                if self.config.format == Format::Json {
                    let (before, len_max) = (lines.consumed(), self.outbox.len_max());
                    self.observer.stats.records += self.reading.encoder.encode_plain_lines(
                        &mut lines,
                        len_max,
                        self.outbox.bytes(),
                    ) as u64;
                    self.observer.stats.bytes += (lines.consumed() - before) as u64;
                }
                continue;
            }
            pass.has_piece = true;
            self.observer.stats.pieces += 1;
            let begin =
                usize::try_from(line.offset - first_offset).expect("a line is in the buffer");
            if lines.consumed() < begin + line.bytes.len() {
                return (data.len(), true);
            }
        }
    }

    /// The file was read to its end, which is this many bytes behind the offset and no newline
    /// among them.
    fn note_unfinished(&mut self, id: SlotId, unfinished: usize, now: Instant) {
        let slot = self.files.get_mut(id);
        let before = std::mem::replace(
            &mut slot.scanned,
            u32::try_from(unfinished).expect("at most the line limit"),
        );
        slot.clear(State::FLUSH);
        // Shorter than it was: truncated within the unfinished line.
        let lost = u64::from(before.saturating_sub(slot.scanned));
        self.observer.stats.lost_bytes += lost;
        self.observer.stats.lost_truncated_bytes += lost;
        if lost > 0 {
            self.observer.lost.note(&self.path, UNFINISHED_TRUNCATED, lost, now);
        }
    }

    /// Moves the offset past what was encoded, and remembers the bytes before it.
    fn advance(&mut self, pass: &ReadPass, mark_len: usize, consumed: usize, read_at: u64) {
        if consumed == 0 {
            return;
        }
        self.set_mark(pass.id, mark_len + consumed);
        let slot = self.files.get_mut(pass.id);
        slot.scanned = 0;
        slot.offset += consumed as u64;
        let reached = Reached { read_at, ..self.reached(pass.id) };
        self.outbox.note(reached, reached.offset - consumed as u64, !pass.has_piece, pass.since);
    }

    /// Where a file is.
    pub(super) fn reached(&self, id: SlotId) -> Reached {
        let slot = self.files.get(id);
        Reached {
            file: self.files.key(id),
            generation: slot.generation,
            offset: slot.offset,
            mark: slot.mark,
            mark_len: slot.mark_len,
            flags: entry_flags(slot.state()),
            read_at: 0,
        }
    }

    /// The mark of the bytes before `end` in the buffer, which is where the offset is now.
    pub(super) fn set_mark(&mut self, id: SlotId, end: usize) {
        let before = &self.reading.reader.bytes(end)[end.saturating_sub(MARK_BYTES)..];
        let slot = self.files.get_mut(id);
        slot.mark = mark_of(before);
        slot.mark_len = u8::try_from(before.len()).expect("at most MARK_BYTES");
    }

    /// Whether the open file is the slot's: asked only when the mark cannot tell.
    fn is_proven(&mut self, pass: &mut ReadPass, file: &F::File) -> io::Result<bool> {
        if pass.proven_size.is_none() {
            let found = self.fs.stat_file(file)?;
            pass.proven_size =
                (Some(found.id) == self.files.file_id(pass.id)).then_some(found.size);
        }
        Ok(pass.proven_size.is_some())
    }

    /// The content restarts: truncated below the offset, or overwritten in place.
    pub(super) fn restart(&mut self, id: SlotId, now: Now) {
        let slot = self.files.get_mut(id);
        self.observer.stats.truncations += 1;
        self.observer.stats.lost_bytes += u64::from(slot.scanned);
        self.observer.stats.lost_truncated_bytes += u64::from(slot.scanned);
        if slot.scanned > 0 {
            self.observer.lost.note(
                &self.path,
                UNFINISHED_TRUNCATED,
                u64::from(slot.scanned),
                now.instant,
            );
        }
        notice!(info: self.observer.notices, Cause::Truncated, about &self.path, now.instant,
            offset = slot.offset, "truncated or overwritten: read again from its start");
        slot.offset = 0;
        slot.mark_len = 0;
        slot.scanned = 0;
        slot.generation += 1;
        slot.set(State::SKIP_NULS);
        slot.clear(State::STARTED_AT_END);
        self.begin_generation(id);
    }

    /// Looks, backwards, for the start of the unfinished last line of a file that is read from its
    /// end.
    fn seek_line(&mut self, pass: &mut ReadPass, file: &F::File) -> io::Result<()> {
        let offset = self.files.get(pass.id).offset;
        let start = offset.saturating_sub(READ_BYTES as u64);
        let len = usize::try_from(offset - start).expect("at most READ_BYTES");
        let got = self.reading.reader.fill(&mut self.fs, file, start, len, len)?;
        let slot = self.files.get_mut(pass.id);
        if got < len {
            // It shrank since it was looked at: what is there now is new.
            slot.offset = 0;
            slot.clear(State::SEEK_LINE);
            self.begin_generation(pass.id);
            return Ok(());
        }
        if let Some(at) = memchr::memrchr(b'\n', self.reading.reader.bytes(len)) {
            slot.offset = start + at as u64 + 1;
            slot.clear(State::SEEK_LINE);
            self.set_mark(pass.id, at + 1);
            self.moved_on(pass.id);
        } else {
            slot.offset = start;
            slot.put(State::SEEK_LINE, start > 0);
        }
        Ok(())
    }

    /// A long unfinished line grew: searches only the new bytes. `None`: its end may be there, read
    /// it whole.
    fn scan_on(&mut self, pass: &mut ReadPass, file: &F::File) -> io::Result<Option<Pause>> {
        loop {
            let slot = self.files.get(pass.id);
            let (offset, scanned) = (slot.offset, slot.scanned);
            let got = self.reading.reader.fill(
                &mut self.fs,
                file,
                offset + u64::from(scanned),
                0,
                READ_BYTES,
            )?;
            let is_longer = scanned as usize + got > self.config.line_bytes_max;
            if got == 0
                || is_longer
                || memchr::memchr2(b'\n', 0, self.reading.reader.bytes(got)).is_some()
            {
                // The end, or a truncation: whoever reads from the offset sees which.
                if got == 0 && self.fs.stat_file(file)?.size == offset + u64::from(scanned) {
                    return Ok(Some(Pause::AtEnd));
                }
                pass.len = self.config.line_bytes_max + 1;
                return Ok(None);
            }
            let slot = self.files.get_mut(pass.id);
            slot.scanned += u32::try_from(got).expect("at most READ_BYTES");
            if got < READ_BYTES {
                return Ok(Some(Pause::AtEnd));
            }
        }
    }

    /// All there is was read: the file cools down, its last line is timed if unfinished, who waits
    /// for it may go on.
    fn reached_end(&mut self, id: SlotId, file: F::File, has_advanced: bool, now: Now) {
        self.release_successor(id);
        Schedule::reached_end(&mut self.files, id);
        let slot = self.files.get(id);
        let (is_finishing, is_unfinished) = (slot.life() == Life::Finishing, slot.scanned > 0);
        if let Some(commits) = self.commits.as_mut().filter(|_| !has_advanced) {
            commits.ledger.read_to_end(self.files.key(id), nanos(now.wall));
        }
        if is_unfinished && !self.config.once {
            // Also of a file that left the tree: it may come back as it is.
            self.schedule.time_piece(&mut self.files, id, self.config.partial_after, now.instant);
        }
        if is_finishing {
            self.part_with(id, now.instant);
        }
        if is_finishing || self.config.once {
            return;
        }
        self.keep_for_now(id, file, now.instant);
        let cools_for = self.cools_for();
        if !cools_for.is_zero() {
            self.schedule.cool(&mut self.files, id, cools_for, now.instant);
        }
    }
}
