//! Skips the NULs of holes, and those that a truncation under a writer leaves, once data follows
//! them. All other NULs are data.

use std::io;

use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, Registry};
use crate::engine::output::batch::Reached;
use crate::engine::reading::open_files::Reading;
use crate::engine::reading::read_pass::ReadPass;
use crate::planted::is_planted;
use crate::rare::rare;
use crate::reader::{MARK_BYTES, mark_of};
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;
use crate::wide_text::nuls_of_text;

/// What a hole does to the bytes that were read. Positions count from the offset.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    /// No hole.
    None,
    /// A run of NULs that belongs to a hole begins here, and data follows it.
    Run(usize),
    /// The same, but nothing follows it yet.
    Tail(usize),
}

/// What became of a run of NULs at the offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NulRun {
    /// The offset moved on.
    Skipped,
    /// It is not known yet what follows it, so nothing is skipped.
    Waits,
    /// It is data.
    Data,
}

/// Fewer NULs than this are never a hole: they may be the upper bytes of a character (UTF-16,
/// UTF-32).
const RUN_MIN: usize = 4;

impl<T> Reading<T> {
    /// Moves the offset past NULs. `is_hole`: they were not read.
    fn pass_over(
        &self,
        files: &mut Registry,
        pass: &ReadPass,
        mark_len: usize,
        skipped: u64,
        is_hole: bool,
    ) {
        let slot = files.get_mut(pass.id);
        slot.offset += skipped;
        slot.scanned = 0;
        if !is_hole {
            rare!("NULs that a truncation left were skipped");
            let read = usize::try_from(skipped).expect("at most what was read");
            self.set_mark(files, pass.id, mark_len + read);
        } else if skipped >= MARK_BYTES as u64 {
            rare!("a hole was skipped");
            // A hole reads as zeros.
            slot.mark = mark_of(&[0; MARK_BYTES]);
            slot.mark_len = u8::try_from(MARK_BYTES).expect("64");
        } else {
            slot.mark_len = 0;
        }
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A hole, or a run of NULs that a truncation left, is at the offset: skips to its end, if that
    /// is there yet. NULs that belong to the text after the run are not skipped, nor is a run of a
    /// few NULs at the start of a file.
    pub(super) fn skip_nuls(
        &mut self,
        pass: &ReadPass,
        file: &F::File,
        (mark_len, got): (usize, usize),
        is_at_end: bool,
        now: Now,
    ) -> io::Result<NulRun> {
        let slot = self.files.get(pass.id);
        let offset = slot.offset;
        let is_last = self.config.once || slot.life() == Life::Finishing;
        let data = &self.reading.reader.bytes(got)[mark_len..];
        let run = data.iter().position(|&byte| byte != 0).unwrap_or(data.len());
        let is_short = offset == 0 && run < RUN_MIN;
        if is_short && (run < data.len() || (is_at_end && is_last)) {
            return Ok(NulRun::Data);
        }
        let Some(data_from) = self.fs.data_from(file, offset)? else {
            rare!("nothing but a hole was left up to the end of a file");
            // Nothing but a hole up to the end.
            self.lose_text_at_offset(pass, now);
            return Ok(NulRun::Waits);
        };
        let data = &self.reading.reader.bytes(got)[mark_len..];
        let skipped = if data_from > offset {
            data_from - offset
        } else if run < data.len() {
            match nuls_of_text(offset + run as u64, &data[run..]) {
                None if is_at_end && !is_last => {
                    self.lose_text_at_offset(pass, now);
                    return Ok(NulRun::Waits);
                }
                of_text => run.saturating_sub(of_text.unwrap_or(0)) as u64,
            }
        } else if is_at_end {
            rare!("NULs up to the end of a file were left until something follows");
            self.lose_text_at_offset(pass, now);
            return Ok(NulRun::Waits);
        } else {
            // The last ones may belong to the text that follows.
            (run - (RUN_MIN - 1)) as u64
        };
        if skipped == 0 || (offset == 0 && data_from == 0 && skipped < RUN_MIN as u64) {
            return Ok(NulRun::Data);
        }
        self.lose_text_at_offset(pass, now);
        self.observer.stats.skipped_nul_bytes += skipped;
        let is_hole = data_from > offset;
        self.reading.pass_over(&mut self.files, pass, mark_len, skipped, is_hole);
        self.moved_on(Reached::of(&self.files, pass.id), skipped, pass.since);
        Ok(NulRun::Skipped)
    }
}

/// Whether a run of NULs belongs to a hole: the hole begins in it, or right after the block that it
/// fills up. `data`: what was read from `offset` on.
pub(super) fn find_hole<F: FileSystem>(
    fs: &mut F,
    file: &F::File,
    offset: u64,
    data: &[u8],
    first_nul: usize,
) -> io::Result<Cut> {
    if is_planted!(NulsSkipped) {
        return Ok(Cut::Run(first_nul));
    }
    // Where the file system cannot tell, nothing is a hole.
    let Ok(hole) = fs.hole_from(file, offset + first_nul as u64) else {
        return Ok(Cut::None);
    };
    let Ok(hole_at) = usize::try_from(hole - offset) else { return Ok(Cut::None) };
    if hole_at >= data.len() {
        return Ok(Cut::None);
    }
    rare!("a hole began in what was read");
    let run = data[..hole_at].iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    Ok(if fs.data_from(file, hole)?.is_some() { Cut::Run(run) } else { Cut::Tail(run) })
}
