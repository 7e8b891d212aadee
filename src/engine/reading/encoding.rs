//! Bytes that were read -> records, and the offset behind them.
//!
//! In: the buffer, which begins with the mark. Out: records in the outbox; an offset.
//! Always holds: the offset moves only past what was encoded, or skipped and counted.

use std::io;
use std::time::SystemTime;

use crate::config::Format;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::namespace::inputs::Inputs;
use crate::engine::namespace::registry::{FileSlot, Life, Registry, SlotId, State};
use crate::engine::output::batch::Reached;
use crate::engine::output::outbox::Outbox;
use crate::engine::reading::Pause;
use crate::engine::reading::binary::{Decision, decide};
use crate::engine::reading::nul_runs::{Cut, NulRun, find_hole};
use crate::engine::reading::open_files::Reading;
use crate::engine::reading::read_pass::ReadPass;
use crate::lines::{Line, split_lines};
use crate::reader::{MARK_BYTES, READ_BYTES, mark_of};
use crate::record::{Encoder, Source};
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<T> Reading<T> {
    /// Moves the offset past what was encoded, and remembers the bytes before it.
    fn advance<S: Sink>(
        &self,
        files: &mut Registry,
        outbox: &mut Outbox<S>,
        pass: &ReadPass,
        mark_len: usize,
        consumed: usize,
        read_at: u64,
    ) {
        if consumed == 0 {
            return;
        }
        self.set_mark(files, pass.id, mark_len + consumed);
        let slot = files.get_mut(pass.id);
        slot.scanned = 0;
        slot.offset += consumed as u64;
        let reached = Reached { read_at, ..Reached::of(files, pass.id) };
        outbox.note(reached, reached.offset - consumed as u64, !pass.has_piece, pass.since);
    }

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

/// The records that follow are of this file.
fn begin_source(
    encoder: &mut Encoder,
    files: &Registry,
    inputs: &Inputs,
    (id, path): (SlotId, &[u8]),
    read_at: SystemTime,
) {
    let file = files.file_id(id).expect("only identified files are read");
    let slot = files.get(id);
    encoder.begin(&Source {
        path,
        device: file.device,
        inode: file.inode,
        generation: slot.generation,
        labels: &inputs.get(slot.input).labels,
        read_at,
    });
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
        let (consumed, has_room) =
            self.encode(pass, mark_len, data_end, is_at_end, matches!(cut, Cut::Run(_)), now);
        let read_at = if is_at_end && has_room { pass.wall } else { 0 };
        let (files, outbox) = (&mut self.files, &mut self.outbox);
        self.reading.advance(files, outbox, pass, mark_len, consumed, read_at);
        if !has_room {
            return Ok(Some(Pause::More));
        }
        if is_at_end {
            let slot = self.files.get_mut(pass.id);
            let lost = set_unfinished(slot, data_end - mark_len - consumed);
            self.observer.count_truncated(&self.path, lost, now.instant);
        }
        if matches!(cut, Cut::Run(_)) {
            self.files.get_mut(pass.id).set(State::SKIP_NULS);
            return Ok(None);
        }
        if is_at_end {
            return Ok(Some(Pause::AtEnd));
        }
        // The line is longer than what was read: read more, up to one byte beyond the limit, which
        // decides.
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
        let mut records = 0;
        if self.config.format == Format::Raw {
            // The lines are the records.
            let (whole, count) = lines.take_whole_lines();
            pass.is_begun |= count > 0;
            let begin = self.outbox.bytes().len();
            self.outbox.bytes().extend_from_slice(whole);
            records = count;
            if self.reading.routing.is_some() {
                self.outbox.note_lines(begin, first_offset);
            }
        }
        let (consumed, has_room) = loop {
            if !self.outbox.has_room() {
                break (lines.consumed(), false);
            }
            let line = match lines.next() {
                Some(line) => line,
                None if takes_rest && lines.consumed() < data.len() => {
                    let at = lines.consumed();
                    Line { bytes: &data[at..], offset: first_offset + at as u64, ended: false }
                }
                None => break (lines.consumed(), true),
            };
            if !pass.is_begun {
                pass.is_begun = true;
                let (encoder, inputs) = (&mut self.reading.encoder, &self.coverage.inputs);
                begin_source(encoder, &self.files, inputs, (pass.id, &self.path), now.wall);
            }
            let begin = self.outbox.bytes().len();
            self.reading.encoder.encode(&line, self.outbox.bytes());
            records += 1;
            if self.reading.routing.is_some() {
                self.outbox.note_record(begin, line.offset, !line.ended);
            }
            if line.ended {
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
        self.observer.stats.records += records as u64;
        self.observer.stats.bytes += consumed as u64;
        (consumed, has_room)
    }
}
