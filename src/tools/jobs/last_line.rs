//! The last line of a log, from the bytes at its end.
//!
//! In: the last bytes of a file. Out: the last line or, of a progress bar, its last update.
//! Always holds: what is told is the last text of the file, save a line that only ends a record of
//! several lines.

/// The bytes at the end of a file that are looked at.
pub(super) const TAIL_BYTES: usize = 4096;

/// The last line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastLine {
    /// Without the newline or the carriage return that ends it, if one does.
    pub(super) bytes: Vec<u8>,
    /// It begins before these bytes.
    pub(super) is_cut: bool,
}

impl LastLine {
    /// Of the last bytes of a file. `is_part`: there are others before them. `is_mark`: whether a
    /// line only ends a record.
    pub(super) fn of(tail: &[u8], is_part: bool, is_mark: impl Fn(&[u8]) -> bool) -> LastLine {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
        let last = |tail: &[u8]| {
            let len = tail.iter().rposition(|byte| !is_end(byte)).map_or(0, |last| last + 1);
            tail[..len].iter().rposition(is_end).map_or(0, |end| end + 1)..len
        };
        let mut range = last(tail);
        if is_mark(&tail[range.clone()]) {
            let before = last(&tail[..range.start]);
            range = if before.is_empty() { range } else { before };
        }
        let is_cut = is_part && range.start == 0 && !range.is_empty();
        LastLine { bytes: tail[range].to_vec(), is_cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_or_the_last_update_is_told_also_if_nothing_ends_it() {
        let of = |tail: &[u8]| LastLine::of(tail, false, |line| line == b"...").bytes;
        let last = |tail: &[u8]| String::from_utf8(of(tail)).unwrap();
        for (tail, wanted) in [
            (&b"one\ntwo\n"[..], "two"),
            (b"one\ntwo", "two"),
            (b"one\r\ntwo\r\n", "two"),
            (b"epoch\n\r 1%\r 2%\r", " 2%"),
            (b"\r 1%\r 2%\n\n", " 2%"),
            (b"one\n\0\0\0", "one"),
            (b"005 end\n\t(1) Normal\n...\n", "\t(1) Normal"),
            (b"...\n", "..."),
            (b"\n\n", ""),
            (b"", ""),
        ] {
            assert_eq!(last(tail), wanted, "{tail:?}");
        }
    }

    #[test]
    fn a_line_that_begins_before_what_was_read_is_told_as_cut() {
        let is_cut = |tail: &[u8], is_part| LastLine::of(tail, is_part, |_| false).is_cut;
        assert!(is_cut(b"middle of a line\n", true) && !is_cut(b"middle of a line\n", false));
        assert!(!is_cut(b"end\nline\n", true) && !is_cut(b"\n", true));
    }
}
