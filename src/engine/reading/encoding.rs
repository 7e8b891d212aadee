//! Bytes that were read -> records, and the offset behind them.
//!
//! In: the buffer, which begins with the mark. Out: records in the outbox; an offset.
//! Always holds: the offset moves only past what was encoded, or skipped and counted.

use std::io;

use crate::config::Format;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::namespace::inputs::{InputId, Inputs};
use crate::engine::namespace::registry::{FileSlot, Life, Registry, SlotId, State};
use crate::engine::output::batch::Reached;
use crate::engine::output::outbox::Outbox;
use crate::engine::reading::Pause;
use crate::engine::reading::binary::{Decision, decide};
use crate::engine::reading::nul_runs::{Cut, NulRun, find_hole};
use crate::engine::reading::open_files::Reading;
use crate::engine::reading::read_pass::ReadPass;
use crate::engine::reading::source::begin_source;
use crate::engine::reading::splitter::{Rest, Splitter};
use crate::engine::schedule::lag::Stamp;
use crate::lines::{Line, Lines, lines_of, split_lines};
use crate::rare::rare;
use crate::reader::{MARK_BYTES, READ_BYTES, mark_of};
use crate::record::{Encoder, LossCause, push_lines};
use crate::sink::Sink;
use crate::status::stats::Stats;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// What became of bytes that were read.
#[derive(Debug, Clone, Copy)]
struct Encoded {
    /// How many of them were used.
    consumed: usize,
    /// The number of records.
    records: usize,
    /// The number of records that the filters left out.
    left_out: usize,
    /// The output had room for all.
    has_room: bool,
}

impl<T> Reading<T> {
    /// Sets the mark of the bytes before `end` in the buffer, which is where the offset is now.
    pub(super) fn set_mark(&self, files: &mut Registry, id: SlotId, end: usize) {
        let before = &self.reader.bytes(end)[end.saturating_sub(MARK_BYTES)..];
        let slot = files.get_mut(id);
        slot.mark = mark_of(before);
        slot.mark_len = u8::try_from(before.len()).expect("at most MARK_BYTES");
    }
}

/// The file was read to its end, this many bytes after the offset, without a newline. Returns by
/// how much that is shorter than before: the file was truncated within the unfinished line.
fn set_unfinished(slot: &mut FileSlot, unfinished: usize) -> u64 {
    let unfinished = u32::try_from(unfinished).expect("at most the line limit");
    let before = std::mem::replace(&mut slot.scanned, unfinished);
    slot.clear(State::FLUSH);
    u64::from(before.saturating_sub(unfinished))
}

/// Appends whole lines, which are the records of format raw. Returns how many.
fn take_whole_lines<S: Sink>(
    lines: &mut Lines<'_>,
    first_offset: u64,
    outbox: &mut Outbox<S>,
    wants_origins: bool,
) -> usize {
    let (whole, count) = lines.take_whole_lines();
    let begin = outbox.bytes().len();
    outbox.bytes().extend_from_slice(whole);
    if wants_origins {
        outbox.note_lines(begin, first_offset);
    }
    count
}

#[inline]
fn count(
    stats: &mut Stats,
    (inputs, input): (&mut Inputs, InputId),
    encoded: &Encoded,
    splitter: &Splitter,
) {
    let (records, bytes) = (encoded.records as u64, encoded.consumed as u64);
    stats.records += records;
    stats.bytes += bytes;
    inputs.count(input, records, bytes);
    stats.filtered_records += encoded.left_out as u64;
    stats.superseded_segments += splitter.superseded();
}

/// Appends a record.
#[inline]
fn encode_record<S: Sink>(
    encoder: &mut Encoder,
    line: &Line<'_>,
    (is_multiline, wants_origins): (bool, bool),
    outbox: &mut Outbox<S>,
) {
    let begin = outbox.bytes().len();
    encoder.encode(line, outbox.bytes());
    if is_multiline {
        push_lines(lines_of(line), outbox.bytes());
    }
    if wants_origins {
        outbox.note_record(begin, line.offset, !line.is_ended());
    }
}

/// What becomes of the bytes behind the last record that is over, of so many that were read.
/// `is_cut`: no line goes on behind them.
#[inline]
fn rest_of(slot: &FileSlot, len: usize, is_at_end: bool, is_cut: bool, is_once: bool) -> Rest {
    let is_finishing = slot.life() == Life::Finishing;
    let is_last = is_finishing && slot.state().contains(State::DELETED);
    if is_cut || (is_at_end && (is_once || is_last)) {
        return Rest::IsAll;
    }
    let is_due = slot.state().contains(State::FLUSH) && len == slot.scanned as usize;
    let is_left = is_finishing || slot.state().contains(State::IS_AWAITED);
    match is_at_end {
        true if is_due => Rest::IsDue,
        true if is_left => Rest::Leaves,
        _ => Rest::Stays,
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Takes what was read behind the mark. Returns how the turn ends, or nothing if it goes on.
    pub(super) fn take_bytes(
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
        if data.first() == Some(&0) && self.files.get(pass.id).state().contains(State::SKIP_NULS) {
            match self.skip_nuls(pass, file, (mark_len, got), got < wanted, now)? {
                NulRun::Skipped => return Ok(None),
                NulRun::Waits => return Ok(Some(Pause::AtEnd)),
                NulRun::Data => {}
            }
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
            cut = find_hole(&mut self.fs, file, offset, data, first_nul)?;
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
        let data = &self.reading.reader.bytes(data_end)[mark_len..];
        let (files, schedule, is_once) = (&mut self.files, &mut self.schedule, self.config.once);
        match decide(files, schedule, pass.id, data, is_at_end, is_once) {
            Decision::Read => {}
            Decision::Wait => return Ok(Some(Pause::AtEnd)),
            Decision::LeaveOut => {
                self.observer.stats.binary_files += 1;
                notice!(info: self.observer.notices, Cause::Binary, about &self.path, now.instant,
                    "its first block is binary: left out (binary = \"skip\")");
                return Ok(Some(Pause::AtEnd));
            }
        }
        let encoded =
            self.encode(pass, mark_len, data_end, is_at_end, matches!(cut, Cut::Run(_)), now);
        self.advance(pass, mark_len, &encoded, is_at_end);
        if !encoded.has_room {
            return Ok(Some(Pause::More));
        }
        if is_at_end {
            let rest = &self.reading.reader.bytes(data_end)[mark_len + encoded.consumed..];
            pass.has_open_record =
                self.is_multiline(pass.id) && memchr::memchr(b'\n', rest).is_some();
            let lost = set_unfinished(self.files.get_mut(pass.id), rest.len());
            self.observer.count_truncated(&self.path, lost, now.instant);
            self.tell_loss(pass.id, lost, LossCause::Truncated, pass.owner);
        }
        if matches!(cut, Cut::Run(_)) {
            self.files.get_mut(pass.id).set(State::SKIP_NULS);
            return Ok(None);
        }
        if is_at_end {
            return Ok(Some(Pause::AtEnd));
        }
        // The line is longer than what was read: read more, up to what decides.
        let longest = self.longest_read(pass.id).max(READ_BYTES);
        pass.is_in_long_line = encoded.consumed == 0;
        pass.len = if encoded.consumed == 0 { (pass.len * 8).min(longest) } else { READ_BYTES };
        Ok(None)
    }

    /// There are NULs where a text began that nothing ended: the file was truncated, and the writer
    /// kept its position.
    pub(super) fn lose_text_at_offset(&mut self, pass: &ReadPass, now: Now) {
        let lost = u64::from(std::mem::take(&mut self.files.get_mut(pass.id).scanned));
        if lost > 0 {
            rare!("a text behind NULs was truncated before anything ended it");
            self.observer.count_truncated(&self.path, lost, now.instant);
            self.tell_loss(pass.id, lost, LossCause::Truncated, pass.owner);
        }
    }

    /// Moves the offset past what was encoded, and remembers the bytes before it.
    #[inline]
    fn advance(
        &mut self,
        pass: &mut ReadPass,
        mark_len: usize,
        encoded: &Encoded,
        is_at_end: bool,
    ) {
        let consumed = encoded.consumed;
        if consumed == 0 {
            return;
        }
        self.reading.set_mark(&mut self.files, pass.id, mark_len + consumed);
        let slot = self.files.get_mut(pass.id);
        slot.scanned = 0;
        slot.offset += consumed as u64;
        slot.is_end_told = false;
        // Up to then the bytes may be cut off again, and others written behind NULs.
        slot.clear(State::SKIP_NULS);
        pass.has_advanced = true;
        let read_at = if is_at_end && encoded.has_room { pass.wall } else { 0 };
        let reached = Reached { read_at, ..Reached::of(&self.files, pass.id) };
        if encoded.records > 0 {
            let first_offset = reached.offset - consumed as u64;
            self.outbox.note(reached, first_offset, !pass.has_piece, pass.since);
        } else {
            self.moved_on(reached, consumed as u64, pass.since);
        }
    }

    /// The offset moved by so many bytes without a record. It counts once all records before it
    /// were acknowledged.
    pub(super) fn moved_on(&mut self, reached: Reached, bytes: u64, since: Stamp) {
        if self.outbox.is_empty() {
            rare!("the offset moved without a record, and none was on its way");
            self.offsets.moved_on(&reached);
        } else {
            rare!("the offset moved without a record, behind others");
            self.outbox.note_moved(reached, reached.offset - bytes, since);
        }
    }

    /// Encodes the lines between `start` and `end` of the buffer.
    fn encode(
        &mut self,
        pass: &mut ReadPass,
        start: usize,
        end: usize,
        is_at_end: bool,
        is_cut: bool,
        now: Now,
    ) -> Encoded {
        let (before, data) = self.reading.reader.bytes(end).split_at(start);
        let slot = self.files.get(pass.id);
        let rest = rest_of(slot, data.len(), is_at_end, is_cut, self.config.once);
        let (first_offset, input) = (slot.offset, slot.input);
        let rules = self.coverage.inputs.get(input);
        let mut lines = split_lines(data, first_offset, self.config.line_bytes_max);
        let mut splitter = Splitter::new(rules, &lines, before.last().copied(), rest);
        let is_filtered = rules.filters.are_any();
        let wants_origins = self.reading.routing.is_some();
        // Whole lines of json can be encoded with less ado.
        let is_json = self.config.format == Format::Json && !wants_origins;
        pass.has_piece = !splitter.is_of_lines() || is_filtered;
        if splitter.is_of_lines() {
            lines = lines.searched(pass.searched);
        }
        let mut encoded = Encoded { consumed: 0, records: 0, left_out: 0, has_room: true };
        if self.config.format == Format::Raw {
            encoded.records =
                take_whole_lines(&mut lines, first_offset, &mut self.outbox, wants_origins);
            pass.is_begun |= encoded.records > 0;
        }
        loop {
            if !self.outbox.has_room() {
                encoded.has_room = false;
                break;
            }
            let rules = self.coverage.inputs.get(input);
            let Some(line) = splitter.next(rules, &mut lines) else { break };
            if is_filtered && rules.filters.leave_out(line.bytes) {
                encoded.left_out += 1;
                continue;
            }
            if !pass.is_begun {
                pass.is_begun = true;
                let encoder = (&mut self.reading.encoder, &mut self.reading.jobs);
                let source = (pass.id, &*self.path, pass.owner);
                begin_source(encoder, &self.files, &mut self.coverage.inputs, source, now.wall);
            }
            encoded.records += 1;
            let how = (splitter.is_multiline(), wants_origins);
            encode_record(&mut self.reading.encoder, &line, how, &mut self.outbox);
            if !line.is_ended() {
                pass.has_piece = true;
                self.observer.stats.pieces += 1;
                continue;
            }
            if lines.consumed() == data.len() {
                break;
            }
            if is_json && splitter.is_of_lines() {
                let len_max = self.outbox.len_max();
                let (encoder, out) = (&mut self.reading.encoder, self.outbox.bytes());
                let (records, left_out) = if is_filtered {
                    let filters = &self.coverage.inputs.get(input).filters;
                    let leaves_out = |line: &[u8]| filters.leave_out(line);
                    encoder.encode_plain_lines(&mut lines, len_max, out, leaves_out)
                } else {
                    encoder.encode_plain_lines(&mut lines, len_max, out, |_| false)
                };
                encoded.records += records;
                encoded.left_out += left_out;
            }
        }
        encoded.consumed = lines.consumed();
        let inputs = (&mut self.coverage.inputs, input);
        count(&mut self.observer.stats, inputs, &encoded, &splitter);
        encoded
    }
}
