//! After a crash: makes the output file and the offsets match beyond the last commit.
//!
//! In: the file, the [`OutputPoint`] of the last commit, the stored offsets. Out: a file of whole
//! records, and the offsets behind them.
//! Always holds: only a file that the journal knows by identity is cut, and never below its length
//! at the last commit. Whole json records stay, because they say which lines they contain, and
//! those lines are not read again. In raw and text the tail is cut, and its lines are read again. A
//! tail that a crash does not explain is copied before it is cut, because its lines may not come
//! again.

use std::collections::HashMap;
use std::io;

use super::again::write_again;
use super::record_parser::{GenerationKey, Progress, parse_json};
use super::state::StoredOffsets;
use super::{EntryFlags, OutputPoint};
use crate::config::Format;
use crate::sys::FileId;

/// Bytes of one read of the tail.
const READ_BYTES: usize = 256 * 1024;

/// An output file, between two runs.
pub trait Tail {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    fn size(&mut self) -> io::Result<u64>;
    /// `pread(2)`.
    ///
    /// # Errors
    /// Those of `pread(2)`.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Copies the bytes from `start` on, which are about to be cut, durably into a file of their
    /// own.
    ///
    /// # Errors
    /// When the copy is not complete and durable; then nothing may be cut.
    fn set_aside(&mut self, start: u64) -> io::Result<()>;
    /// `pwrite(2)`. May write only a part, and returns how many bytes.
    ///
    /// # Errors
    /// Those of `pwrite(2)`.
    fn overwrite(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// `ftruncate(2)`.
    ///
    /// # Errors
    /// Those of `ftruncate(2)`.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// The possible origin of the file's tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Written between the last commit and a crash: its lines come again.
    Crash,
    /// Anything else: the journal was restored from a backup, or another program wrote the tail.
    Unknown,
}

/// What [`reconcile`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Records beyond the last commit that stayed.
    pub kept: u64,
    /// Bytes that were cut off.
    pub cut_bytes: u64,
    /// How much shorter the file is than at the last commit, because another program cut it.
    pub missing_bytes: u64,
    /// Files whose offsets moved. They must be committed together with the file's length.
    pub advanced: Vec<FileId>,
}

/// Makes the file and the offsets match.
///
/// # Errors
/// When the file cannot be read, copied or cut.
pub fn reconcile(
    file: &mut impl Tail,
    point: &OutputPoint,
    origin: Origin,
    state: &mut StoredOffsets,
) -> io::Result<Reconciled> {
    let len = file.size()?;
    let mut done =
        Reconciled { missing_bytes: point.len.saturating_sub(len), ..Reconciled::default() };
    if len <= point.len {
        return Ok(done);
    }
    let mut whole = point.len;
    if point.format == Format::Json {
        let mut generations = HashMap::new();
        (whole, done.kept) = read_tail(file, point.len, &mut generations)?;
        for (generation, progress) in &generations {
            done.advanced.extend(advance(state, *generation, progress));
        }
    }
    write_again(point.len, whole, |buffer, at| {
        let read = file.read_at(buffer, at)?;
        file.overwrite(&buffer[..read], at)
    })?;
    if whole < len {
        if origin == Origin::Unknown {
            file.set_aside(whole)?;
        }
        file.truncate(whole)?;
        done.cut_bytes = len - whole;
    }
    Ok(done)
}

/// Reads the records from `start` on. Returns the end and the number of the whole ones.
fn read_tail(
    file: &mut impl Tail,
    start: u64,
    generations: &mut HashMap<GenerationKey, Progress>,
) -> io::Result<(u64, u64)> {
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let (mut whole, mut records, mut at) = (start, 0, start);
    loop {
        let got = match file.read_at(&mut buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome?,
        };
        if got == 0 {
            return Ok((whole, records));
        }
        at += got as u64;
        let searched = pending.len();
        pending.extend_from_slice(&buffer[..got]);
        let mut line_start = 0;
        let mut search = searched;
        while let Some(newline) = memchr::memchr(b'\n', &pending[search..]) {
            let line = &pending[line_start..search + newline];
            // After a power loss, a page that was not written contains zeros. Nothing behind them
            // is certain.
            if memchr::memchr(0, line).is_some() {
                return Ok((whole, records));
            }
            if take_record(line, generations) {
                records += 1;
            }
            whole += line.len() as u64 + 1;
            line_start += line.len() + 1;
            search = line_start;
        }
        pending.drain(..line_start);
    }
}

/// Notes the line in a record. A line that is not our record comes from another program: it stays,
/// and moves no offset.
fn take_record(record: &[u8], generations: &mut HashMap<GenerationKey, Progress>) -> bool {
    let parsed = parse_json(record);
    if let Some((generation, line)) = &parsed {
        generations.entry(*generation).or_default().add(line);
    }
    parsed.is_some()
}

/// The records of this generation are in the output, so its file continues behind them.
pub(crate) fn advance(
    state: &mut StoredOffsets,
    (device, inode, generation): GenerationKey,
    progress: &Progress,
) -> Option<FileId> {
    let Some(entry) = state.find_generation(device, inode, generation) else {
        // Its content has restarted since, or it was never stored. Either way no other content may
        // get this generation.
        state.use_up(device, inode, generation);
        return None;
    };
    // A file that begins at the start of its last line was not read when that was stored: whatever
    // line is here came later, also a piece of that line.
    let is_sought = entry.flags.contains(EntryFlags::SEEK_LINE) && progress.has_lines();
    if entry.offset >= progress.end && !is_sought {
        let is_news = entry.offset == progress.end
            && progress.is_ended()
            && !entry.flags.contains(EntryFlags::ENDED);
        return is_news.then(|| {
            entry.flags.insert(EntryFlags::ENDED);
            entry.id
        });
    }
    entry.offset = progress.end;
    (entry.mark, entry.mark_len) = progress.mark();
    entry.flags = progress.flags(EntryFlags::empty());
    entry.complete_at = 0;
    Some(entry.id)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::checkpoint::Entry;
    use crate::checkpoint::format::Item;
    use crate::reader::mark_of;

    /// The file, the bytes set aside from it, and the range that was written again.
    struct Output(Vec<u8>, Option<Vec<u8>>, Option<Range<usize>>);

    fn output(bytes: impl Into<Vec<u8>>) -> Output {
        Output(bytes.into(), None, None)
    }

    impl Tail for Output {
        fn size(&mut self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            // In small pieces, so that records extend across them.
            let rest = &self.0[(offset as usize).min(self.0.len())..];
            let got = rest.len().min(buffer.len()).min(7);
            buffer[..got].copy_from_slice(&rest[..got]);
            Ok(got)
        }

        fn set_aside(&mut self, start: u64) -> io::Result<()> {
            self.1 = Some(self.0[start as usize..].to_vec());
            Ok(())
        }

        fn overwrite(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
            let start = offset as usize;
            assert_eq!(&self.0[start..start + bytes.len()], bytes, "nothing changes");
            let again = self.2.get_or_insert(start..start);
            assert_eq!(again.end, start, "one piece follows the other");
            again.end += bytes.len();
            Ok(bytes.len())
        }

        fn truncate(&mut self, len: u64) -> io::Result<()> {
            self.0.truncate(len as usize);
            Ok(())
        }
    }

    fn id(inode: u64) -> FileId {
        FileId { device: 0xfd01, inode, inode_generation: 9 }
    }

    fn state(entries: &[(u64, u32, u64)]) -> StoredOffsets {
        let mut state = StoredOffsets::default();
        for &(inode, generation, offset) in entries {
            let entry = Entry {
                id: id(inode),
                generation,
                offset,
                mark: 0,
                mark_len: 0,
                flags: EntryFlags::SKIP_NULS,
                complete_at: 5,
                absent_since: 0,
            };
            state.apply(&Item::Entry(entry, Some(b"/t/a.log")));
        }
        state
    }

    fn point(len: u64, format: Format) -> OutputPoint {
        OutputPoint { id: id(1), len, format }
    }

    fn record(inode: u64, generation: u32, offset: u64, line: &str) -> String {
        let time = "2026-11-22T10:00:00.123456789Z";
        format!(
            "{{\"time\":\"{time}\",\"path\":\"a\",\"file\":\"fd01-{inode:x}-{generation}\",\"offset\":{offset},\"line\":\"{line}\"}}\n"
        )
    }

    #[test]
    fn in_raw_and_text_the_tail_is_cut() {
        for format in [Format::Raw, Format::Text] {
            let mut output = output(b"one\ntwo\nthr");
            let done = reconcile(
                &mut output,
                &point(4, format),
                Origin::Crash,
                &mut StoredOffsets::default(),
            )
            .unwrap();
            assert_eq!(
                (output.0.as_slice(), output.1, done.kept, done.cut_bytes),
                (b"one\n".as_slice(), None, 0, 7)
            );
        }
    }

    #[test]
    fn what_a_crash_does_not_explain_is_set_aside_before_it_is_cut() {
        let mut text = output(b"one\ntwo\nthr");
        reconcile(
            &mut text,
            &point(4, Format::Text),
            Origin::Unknown,
            &mut StoredOffsets::default(),
        )
        .unwrap();
        assert_eq!(
            (text.0.as_slice(), text.1.as_deref()),
            (b"one\n".as_slice(), Some(b"two\nthr".as_slice()))
        );
        // In json these are the first record that is not whole, and everything behind it.
        let good = record(7, 0, 0, "one");
        let mut json = output(good.clone() + "{\"tim\0\n" + &record(7, 0, 4, "two"));
        reconcile(&mut json, &point(0, Format::Json), Origin::Unknown, &mut state(&[(7, 0, 0)]))
            .unwrap();
        assert_eq!(
            (json.0, json.1),
            (
                good.into_bytes(),
                Some(("{\"tim\0\n".to_owned() + &record(7, 0, 4, "two")).into_bytes())
            )
        );
        for (bytes, len) in [(b"one\n".as_slice(), 4), (b"one\n", 9)] {
            let mut whole = output(bytes);
            reconcile(
                &mut whole,
                &point(len, Format::Text),
                Origin::Unknown,
                &mut StoredOffsets::default(),
            )
            .unwrap();
            assert_eq!((whole.0.as_slice(), whole.1), (bytes, None), "nothing is cut");
        }
    }

    #[test]
    fn whole_json_records_stay_and_their_files_go_on_behind_them() {
        let committed = record(7, 0, 0, "zero");
        let tail = record(7, 0, 5, "one")
            + &record(8, 2, 100, "x")
            + &record(7, 0, 9, "two")
            + "{\"time\":\"20";
        let mut output = output(committed.clone() + &tail);
        let mut state = state(&[(7, 0, 5), (8, 2, 100)]);
        let done = reconcile(
            &mut output,
            &point(committed.len() as u64, Format::Json),
            Origin::Crash,
            &mut state,
        )
        .unwrap();
        assert_eq!((done.kept, done.cut_bytes), (3, 11));
        assert!(
            done.advanced.len() == 2
                && done.advanced.contains(&id(7))
                && done.advanced.contains(&id(8))
        );
        assert!(output.0.ends_with(b"\"two\"}\n"));
        assert_eq!(output.2, Some(committed.len()..output.0.len()), "the next sync writes them");
        let (seven, _) = state.get(id(7)).unwrap();
        assert_eq!((seven.offset, seven.mark, seven.mark_len), (13, mark_of(b"one\ntwo\n"), 8));
        assert_eq!((seven.flags, seven.complete_at), (EntryFlags::empty(), 0));
        assert_eq!(state.get(id(8)).unwrap().0.offset, 102);
    }

    /// A file that is followed from its end begins at the start of its last line, which ends there.
    #[test]
    fn piece_of_the_last_line_of_a_file_that_begins_at_its_end_comes_once() {
        for (flags, stored, is_advanced) in [
            (EntryFlags::SEEK_LINE, 43, true),
            // The line is longer than a piece.
            (EntryFlags::SEEK_LINE, 99, true),
            (EntryFlags::empty(), 43, false),
        ] {
            let mut state = state(&[(7, 0, stored)]);
            state.find_generation(0xfd01, 7, 0).unwrap().flags = flags;
            let mut output = output(record(7, 0, 40, "B10").replace("\"}", "\",\"eol\":false}"));
            let done =
                reconcile(&mut output, &point(0, Format::Json), Origin::Crash, &mut state).unwrap();
            assert_eq!(done.advanced.contains(&id(7)), is_advanced, "{flags:?}");
            let (entry, _) = state.get(id(7)).unwrap();
            assert_eq!((entry.offset, entry.flags), (43, EntryFlags::empty()));
            assert_eq!(entry.mark_len, if is_advanced { 3 } else { 0 });
        }
    }

    fn told(inode: u64, generation: u32, offset: u64, event: &str) -> String {
        record(inode, generation, offset, "")
            .replace("\"line\":\"\"", &format!("\"event\":\"{event}\",\"why\":\"deleted\""))
    }

    #[test]
    fn end_of_a_log_that_the_output_has_is_not_told_again_and_moves_no_offset() {
        let of_line = record(7, 0, 5, "one");
        for (stored, tail, is_advanced, offset, is_ended) in [
            (5, of_line.clone() + &told(7, 0, 9, "end"), true, 9, true),
            (9, told(7, 0, 9, "end"), true, 9, true),
            (9, told(7, 0, 9, "lost"), false, 9, false),
            (9, told(7, 0, 9, "lost") + &told(7, 0, 9, "end"), true, 9, true),
            (5, of_line + &told(7, 0, 9, "end") + &record(7, 0, 9, "two"), true, 13, false),
            // Committed already.
            (13, told(7, 0, 9, "end"), false, 13, false),
        ] {
            let mut state = state(&[(7, 0, stored)]);
            let before = state.get(id(7)).unwrap().0.mark_len;
            let mut output = output(tail.clone());
            let done =
                reconcile(&mut output, &point(0, Format::Json), Origin::Crash, &mut state).unwrap();
            assert_eq!(done.advanced.contains(&id(7)), is_advanced, "{tail}");
            assert_eq!(output.0, tail.as_bytes(), "it stays");
            let (entry, _) = state.get(id(7)).unwrap();
            assert_eq!((entry.offset, entry.flags.contains(EntryFlags::ENDED)), (offset, is_ended));
            assert!(stored != entry.offset || entry.mark_len == before, "the mark is as it was");
        }
    }

    #[test]
    fn mark_is_of_the_last_bytes_of_long_lines_and_of_bytes_that_are_not_utf8() {
        let long = "y".repeat(100);
        let mut text = record(7, 0, 0, &long);
        text += "{\"time\":\"t\",\"path\":\"a\",\"file\":\"fd01-8-0\",\"offset\":3,\"line\":\"\u{fffd}\",\"bytes\":\"/w==\",\"eol\":false}\n";
        let mut state = state(&[(7, 0, 0), (8, 0, 3)]);
        reconcile(&mut output(text), &point(0, Format::Json), Origin::Crash, &mut state).unwrap();
        let (seven, eight) = (state.get(id(7)).unwrap().0, state.get(id(8)).unwrap().0);
        let last = long[37..].to_owned() + "\n";
        assert_eq!((seven.offset, seven.mark, seven.mark_len), (101, mark_of(last.as_bytes()), 64));
        assert_eq!((eight.offset, eight.mark, eight.mark_len), (4, mark_of(b"\xff"), 1));
    }

    #[test]
    fn zeros_of_a_lost_page_end_what_is_certain() {
        let good = record(7, 0, 0, "one");
        let bytes =
            [good.as_bytes(), b"{\"time\0\0\0\0\n", record(7, 0, 4, "two").as_bytes()].concat();
        let mut output = output(bytes);
        let mut state = state(&[(7, 0, 0)]);
        reconcile(&mut output, &point(0, Format::Json), Origin::Crash, &mut state).unwrap();
        assert_eq!((output.0, state.get(id(7)).unwrap().0.offset), (good.into_bytes(), 4));
    }

    #[test]
    fn lines_of_somebody_else_and_of_former_content_stay_and_move_no_offset() {
        let text = "a note\n{\"file\":7}\n".to_owned()
            + &record(7, 0, 0, "former")
            + &record(9, 3, 0, "gone");
        let mut output = output(text.clone());
        let mut state = state(&[(7, 1, 0)]);
        let done =
            reconcile(&mut output, &point(0, Format::Json), Origin::Crash, &mut state).unwrap();
        assert_eq!((output.0, done.cut_bytes), (text.into_bytes(), 0));
        assert_eq!(state.get(id(7)).unwrap().0.offset, 0);
        assert_eq!(
            state.generation_floor(id(9)),
            4,
            "what came out by this name is not named again"
        );
    }

    #[test]
    fn file_that_is_shorter_than_at_the_commit_is_left_alone() {
        let mut output = output(b"one");
        let done = reconcile(
            &mut output,
            &point(10, Format::Raw),
            Origin::Crash,
            &mut StoredOffsets::default(),
        )
        .unwrap();
        assert_eq!(
            (output.0.as_slice(), done.missing_bytes, done.cut_bytes),
            (b"one".as_slice(), 7, 0)
        );
    }
}
