//! Where reading goes on: at the start of the content, at the start of its last line, or after what
//! was searched for a newline.
//!
//! In: an open file, and where its slot is. Out: another offset, or more bytes that were searched.
//! Always holds: a content that restarts is a new generation.

use std::io;

use crate::config::CarriageReturn;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::namespace::registry::{FileSlot, Registry, SlotId, State};
use crate::engine::output::batch::Reached;
use crate::engine::reading::Pause;
use crate::engine::reading::open_files::Reading;
use crate::engine::reading::read_pass::ReadPass;
use crate::lines::Multiline;
use crate::reader::READ_BYTES;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// The content of a file begins at byte 0, in another generation.
pub(super) fn begin_anew(slot: &mut FileSlot) {
    slot.offset = 0;
    slot.mark_len = 0;
    slot.scanned = 0;
    slot.generation += 1;
    slot.is_end_told = false;
    slot.set(State::SKIP_NULS);
}

/// The last position before `len` at which a line ends; with `splits`, or a segment.
fn last_end(bytes: &[u8], len: usize, splits: bool) -> Option<usize> {
    if !splits {
        return memchr::memrchr(b'\n', &bytes[..len]);
    }
    memchr::memrchr2_iter(b'\n', b'\r', &bytes[..len]).find(|&at| {
        bytes[at] == b'\n' || bytes.get(at + 1).is_some_and(|&following| following != b'\n')
    })
}

impl<T> Reading<T> {
    /// A long unfinished line grew: searches only the new bytes. `None`: its end may be there, so
    /// it is read as a whole.
    pub(super) fn scan_on<F: FileSystem<File = T>>(
        &mut self,
        fs: &mut F,
        files: &mut Registry,
        pass: &mut ReadPass,
        file: &T,
        (line_bytes_max, longest_read): (usize, usize),
        splits: bool,
    ) -> io::Result<Option<Pause>> {
        // The last byte that was searched may be a `\r` that ends a segment.
        let known = usize::from(splits);
        loop {
            let slot = files.get(pass.id);
            let (end, scanned) = (slot.offset + u64::from(slot.scanned), slot.scanned as usize);
            let got = self.reader.fill(fs, file, end - known as u64, 0, READ_BYTES)?;
            let new = got.saturating_sub(known);
            let is_longer = scanned + new > line_bytes_max;
            let read = self.reader.bytes(got);
            let has_end = memchr::memchr2(b'\n', 0, read).is_some()
                || (splits && memchr::memchr(b'\r', read).is_some());
            if new == 0 || is_longer || has_end {
                // The end, or a truncation: a read from the offset sees which.
                if new == 0 && fs.stat_file(file)?.size == end {
                    return Ok(Some(Pause::AtEnd));
                }
                pass.len = longest_read;
                return Ok(None);
            }
            files.get_mut(pass.id).scanned += u32::try_from(new).expect("at most READ_BYTES");
            if got < READ_BYTES {
                return Ok(Some(Pause::AtEnd));
            }
        }
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The content restarts: truncated below the offset, or overwritten in place.
    pub(super) fn restart(&mut self, id: SlotId, owner: Option<u32>, now: Now) {
        self.tell_replacement(id, owner);
        let slot = self.files.get_mut(id);
        self.observer.stats.truncations += 1;
        self.observer.count_truncated(&self.path, u64::from(slot.scanned), now.instant);
        notice!(info: self.observer.notices, Cause::Truncated, about &self.path, now.instant,
            offset = slot.offset, "truncated or overwritten: read again from its start");
        begin_anew(slot);
        slot.clear(State::STARTED_AT_END);
        self.offsets.begin_generation(&mut self.files, &self.coverage.inputs, id, 0);
    }

    /// How many bytes show what becomes of a long record: one beyond the limit, and one more,
    /// because a `\r` there may belong to a newline; or, of several lines, more.
    pub(super) fn longest_read(&self, id: SlotId) -> usize {
        let limit = self.config.line_bytes_max;
        if self.is_multiline(id) { Multiline::longest(limit) } else { limit + 2 }
    }

    /// Whether several lines of a file may make one record.
    pub(in crate::engine) fn is_multiline(&self, id: SlotId) -> bool {
        self.coverage.inputs.get(self.files.get(id).input).multiline.is_some()
    }

    /// Whether carriage returns end records of a file.
    pub(super) fn splits(&self, id: SlotId) -> bool {
        let input = self.files.get(id).input;
        self.coverage.inputs.get(input).carriage_return != CarriageReturn::Data
    }

    /// Looks, backwards, for the start of the unfinished last line of a file that is read from its
    /// end.
    pub(super) fn seek_line(&mut self, pass: &mut ReadPass, file: &F::File) -> io::Result<()> {
        let offset = self.files.get(pass.id).offset;
        let start = offset.saturating_sub(READ_BYTES as u64);
        let len = usize::try_from(offset - start).expect("at most READ_BYTES");
        let splits = self.splits(pass.id);
        // The byte behind a `\r` shows whether it ends a segment.
        let wanted = len + usize::from(splits);
        let got = self.reading.reader.fill(&mut self.fs, file, start, len, wanted)?;
        let slot = self.files.get_mut(pass.id);
        if got < len {
            // It shrank since it was looked at: what is there now is new.
            slot.offset = 0;
            slot.clear(State::SEEK_LINE);
            self.offsets.begin_generation(&mut self.files, &self.coverage.inputs, pass.id, 0);
            return Ok(());
        }
        if let Some(at) = last_end(self.reading.reader.bytes(got), len, splits) {
            slot.offset = start + at as u64 + 1;
            slot.clear(State::SEEK_LINE);
            self.reading.set_mark(&mut self.files, pass.id, at + 1);
            if self.outbox.is_empty() {
                self.offsets.moved_on(&Reached::of(&self.files, pass.id));
            }
        } else {
            slot.offset = start;
            slot.put(State::SEEK_LINE, start > 0);
        }
        Ok(())
    }
}
