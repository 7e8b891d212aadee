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
use crate::engine::reading::positions::longest_read;
use crate::engine::reading::read_pass::ReadPass;
use crate::engine::reading::source::begin_source;
use crate::lines::{End, Line, Lines, Segments, split_lines};
use crate::rare::rare;
use crate::reader::{MARK_BYTES, READ_BYTES, mark_of};
use crate::record::LossCause;
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

/// The next line, or segment if carriage returns end records.
#[inline]
fn next_line<'a>(lines: &mut Lines<'a>, segments: &mut Option<Segments>) -> Option<Line<'a>> {
    match segments {
        None => lines.next(),
        Some(segments) => segments.next(lines),
    }
}

#[inline]
fn count(
    stats: &mut Stats,
    (inputs, input): (&mut Inputs, InputId),
    encoded: &Encoded,
    segments: Option<&Segments>,
) {
    let (records, bytes) = (encoded.records as u64, encoded.consumed as u64);
    stats.records += records;
    stats.bytes += bytes;
    inputs.count(input, records, bytes);
    stats.superseded_segments += segments.map_or(0, Segments::superseded);
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
            let slot = self.files.get_mut(pass.id);
            let lost = set_unfinished(slot, data_end - mark_len - encoded.consumed);
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
        let longest = longest_read(self.config.line_bytes_max).max(READ_BYTES);
        pass.is_in_long_line = encoded.consumed == 0;
        pass.len = if encoded.consumed == 0 { (pass.len * 8).min(longest) } else { READ_BYTES };
        Ok(None)
    }

    /// Moves the offset past what was encoded, and remembers the bytes before it.
    #[inline]
    fn advance(&mut self, pass: &ReadPass, mark_len: usize, encoded: &Encoded, is_at_end: bool) {
        let consumed = encoded.consumed;
        if consumed == 0 {
            return;
        }
        self.reading.set_mark(&mut self.files, pass.id, mark_len + consumed);
        let slot = self.files.get_mut(pass.id);
        slot.scanned = 0;
        slot.offset += consumed as u64;
        slot.is_end_told = false;
        if encoded.records == 0 {
            rare!("only empty segments were read");
            if self.outbox.is_empty() {
                self.offsets.moved_on(&self.files, pass.id);
            }
            return;
        }
        let read_at = if is_at_end && encoded.has_room { pass.wall } else { 0 };
        let reached = Reached { read_at, ..Reached::of(&self.files, pass.id) };
        let first_offset = reached.offset - consumed as u64;
        self.outbox.note(reached, first_offset, !pass.has_piece, pass.since);
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
        let is_due = slot.state().contains(State::FLUSH) && data.len() == slot.scanned as usize;
        let is_last = slot.life() == Life::Finishing && slot.state().contains(State::DELETED);
        let takes_rest = is_cut || (is_at_end && (is_due || self.config.once || is_last));
        let (first_offset, input) = (slot.offset, slot.input);
        let mut lines = split_lines(data, first_offset, self.config.line_bytes_max);
        let rule = self.coverage.inputs.get(input).carriage_return;
        let mut segments = Segments::new(rule, &lines, before.last().copied(), takes_rest);
        pass.has_piece = segments.is_some();
        if segments.is_none() {
            lines = lines.searched(pass.searched);
        }
        let mut records = 0;
        if self.config.format == Format::Raw {
            let wants_origins = self.reading.routing.is_some();
            records = take_whole_lines(&mut lines, first_offset, &mut self.outbox, wants_origins);
            pass.is_begun |= records > 0;
        }
        let (consumed, has_room) = loop {
            if !self.outbox.has_room() {
                break (lines.consumed(), false);
            }
            let line = match next_line(&mut lines, &mut segments) {
                Some(line) => line,
                None if takes_rest && lines.consumed() < data.len() => {
                    let at = lines.consumed();
                    let offset = first_offset + at as u64;
                    Line { bytes: &data[at..], offset, end: End::Open }
                }
                None => break (lines.consumed(), true),
            };
            if !pass.is_begun {
                pass.is_begun = true;
                let encoder = (&mut self.reading.encoder, &mut self.reading.jobs);
                let source = (pass.id, &*self.path, pass.owner);
                begin_source(encoder, &self.files, &mut self.coverage.inputs, source, now.wall);
            }
            let begin = self.outbox.bytes().len();
            self.reading.encoder.encode(&line, self.outbox.bytes());
            records += 1;
            if self.reading.routing.is_some() {
                self.outbox.note_record(begin, line.offset, !line.is_ended());
            }
            if line.is_ended() {
                if lines.consumed() == data.len() {
                    break (data.len(), true);
                }
                if self.config.format == Format::Json && self.reading.routing.is_none() {
                    let len_max = self.outbox.len_max();
                    records += self.reading.encoder.encode_plain_lines(
                        &mut lines,
                        len_max,
                        self.outbox.bytes(),
                    );
                }
                continue;
            }
            pass.has_piece = true;
            self.observer.stats.pieces += 1;
            let begin =
                usize::try_from(line.offset - first_offset).expect("a line is in the buffer");
            if lines.consumed() < begin + line.bytes.len() {
                break (data.len(), true);
            }
        };
        let encoded = Encoded { consumed, records, has_room };
        let inputs = (&mut self.coverage.inputs, input);
        count(&mut self.observer.stats, inputs, &encoded, segments.as_ref());
        encoded
    }
}
