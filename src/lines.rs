//! Splits bytes into lines at `\n`, and lines that are too long into pieces. [`Segments`] also
//! splits at `\r`; [`Multiline`] puts several lines together.
//!
//! In: bytes of one file and the offset of the first. Out: [`Line`]s that borrow those bytes, and
//! how many bytes were consumed.
//! Always holds: the yielded bytes and their newlines are a prefix of the input, in order and
//! without a gap. No line is longer than the limit. An unterminated rest that may still become one
//! record is not consumed, and stays in the file. Lines that are taken one by one are searched
//! once.

mod multiline;
#[cfg(test)]
pub(crate) mod random;
mod segments;

use std::iter::FusedIterator;

use memchr::{memchr, memchr_iter, memrchr};

pub(crate) use multiline::{Multiline, lines_of};
pub(crate) use segments::Segments;

/// What follows the bytes of a [`Line`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A newline.
    Newline,
    /// A carriage return without a newline behind it.
    Return,
    /// More of the line may follow: this is a piece.
    Open,
}

/// One line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The bytes, without the newline or carriage return that ends them.
    pub bytes: &'a [u8],
    /// Position of the first byte in its file.
    pub offset: u64,
    /// What follows these bytes.
    pub end: End,
}

impl Line<'_> {
    /// Whether the line ends here; otherwise this is a piece.
    #[inline]
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.end != End::Open
    }
}

/// The lines in some bytes, in order. Made by [`split_lines`].
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    bytes: &'a [u8],
    /// Offset of `bytes[0]` in the file.
    first_offset: u64,
    line_bytes_max: usize,
    /// Start of the next line: everything before it was yielded.
    at: usize,
    /// There is no newline in `bytes[at..searched]`. May be before `at`, never beyond the end.
    searched: usize,
}

/// Splits `bytes`, which are at `first_offset` in their file, into lines of at most
/// `line_bytes_max` bytes (newline not counted).
///
/// A longer line yields pieces of exactly the limit, without a newline, and then its rest. If only
/// its newline is left, the rest is an empty line. An unterminated end of up to the limit is not
/// yielded, see [`Lines::consumed`].
///
/// # Panics
/// When the limit is 0: no byte would ever be yielded.
#[must_use]
pub fn split_lines(bytes: &[u8], first_offset: u64, line_bytes_max: usize) -> Lines<'_> {
    assert!(line_bytes_max > 0, "a line limit of 0 lets no byte through");
    Lines { bytes, first_offset, line_bytes_max, at: 0, searched: 0 }
}

impl<'a> Lines<'a> {
    /// How many bytes from the first on were yielded so far, including newlines. The next read
    /// starts behind them.
    #[inline]
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// The same lines, for a caller that knows that the first `bytes` contain no newline.
    #[must_use]
    pub fn searched(mut self, bytes: usize) -> Self {
        self.searched = bytes.min(self.bytes.len());
        self
    }

    /// Takes all remaining bytes as a piece, if there are any.
    #[cold]
    pub(crate) fn take_all(&mut self) -> Option<Line<'a>> {
        let end = self.bytes.len();
        (self.at < end).then(|| self.take(end, End::Open))
    }

    /// Takes all remaining whole lines in one piece, with their newlines, and returns their number
    /// as well. For formats whose records are the lines themselves. Takes none if one of them might
    /// be longer than the limit.
    pub fn take_whole_lines(&mut self) -> (&'a [u8], usize) {
        let left = &self.bytes[self.at..];
        if left.len() > self.line_bytes_max {
            return (&[], 0);
        }
        let searched = self.searched.saturating_sub(self.at);
        let Some(first) = memchr(b'\n', &left[searched..]).map(|distance| searched + distance)
        else {
            return (&[], 0);
        };
        let (end, count) = if first + 1 == left.len() {
            (left.len(), 1)
        } else {
            let end = memrchr(b'\n', left).map_or(0, |last| last + 1);
            (end, memchr_iter(b'\n', &left[..end]).count())
        };
        self.at += end;
        (&left[..end], count)
    }

    /// The next line, if `plain_len` of the remaining bytes is the position of its newline. So one
    /// search finds the end of a line and whether the line is plain.
    #[inline]
    pub(crate) fn next_plain(&mut self, plain_len: impl Fn(&[u8]) -> usize) -> Option<Line<'a>> {
        let left = &self.bytes[self.at..];
        let len = plain_len(left);
        (left.get(len) == Some(&b'\n') && len <= self.line_bytes_max)
            .then(|| self.take(self.at + len, End::Newline))
    }

    #[inline]
    fn take(&mut self, end_at: usize, end: End) -> Line<'a> {
        let line = Line {
            bytes: &self.bytes[self.at..end_at],
            offset: self.first_offset + self.at as u64,
            end,
        };
        // What ends the line is consumed too, so the remaining bytes begin with a line.
        self.at = end_at + usize::from(line.is_ended());
        line
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        if self.at == self.bytes.len() {
            return None;
        }
        let piece_end = self.at.saturating_add(self.line_bytes_max);
        // One byte more than the limit, because a newline right behind `limit` bytes makes them one
        // whole record.
        let window_end = self.bytes.len().min(piece_end.saturating_add(1));
        let from = self.searched.max(self.at).min(window_end);
        // Behind the bytes that the caller searched, the newline is often the very next byte.
        if self.searched > self.at && from < window_end && self.bytes[from] == b'\n' {
            return Some(self.take(from, End::Newline));
        }
        if let Some(distance) = memchr(b'\n', &self.bytes[from..window_end]) {
            return Some(self.take(from + distance, End::Newline));
        }
        self.searched = window_end;
        if self.bytes.len() > piece_end { Some(self.take(piece_end, End::Open)) } else { None }
    }
}

impl FusedIterator for Lines<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as bytes, offset, ended.
    type Plain<'a> = (&'a [u8], u64, bool);

    /// The lines, and how many bytes were consumed.
    fn split(bytes: &[u8], first_offset: u64, line_bytes_max: usize) -> (Vec<Plain<'_>>, usize) {
        let mut lines = split_lines(bytes, first_offset, line_bytes_max);
        let mut all = Vec::new();
        for line in lines.by_ref() {
            all.push((line.bytes, line.offset, line.is_ended()));
        }
        (all, lines.consumed())
    }

    #[test]
    fn every_terminated_line_is_yielded_with_its_offset() {
        let (lines, consumed) = split(b"one\ntwo\r\n three \n", 100, 1024);
        assert_eq!(
            lines,
            [(&b"one"[..], 100, true), (&b"two\r"[..], 104, true), (&b" three "[..], 109, true)]
        );
        assert_eq!(consumed, 17);
    }

    #[test]
    fn empty_lines_and_nul_bytes_are_data() {
        let (lines, consumed) = split(b"\n\n\0\n", 0, 1024);
        assert_eq!(lines, [(&b""[..], 0, true), (&b""[..], 1, true), (&b"\0"[..], 2, true)]);
        assert_eq!(consumed, 4);
    }

    #[test]
    fn no_bytes_give_no_lines() {
        assert_eq!(split(b"", 7, 1), (vec![], 0));
    }

    #[test]
    fn an_unterminated_rest_stays_unconsumed() {
        let (lines, consumed) = split(b"done\nhalf", 0, 1024);
        assert_eq!(lines, [(&b"done"[..], 0, true)]);
        assert_eq!(consumed, 5);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_one_record() {
        let (lines, consumed) = split(b"abcd\nef\n", 0, 4);
        assert_eq!(lines, [(&b"abcd"[..], 0, true), (&b"ef"[..], 5, true)]);
        assert_eq!(consumed, 8);
    }

    #[test]
    fn an_unterminated_rest_of_exactly_the_limit_waits_for_its_newline() {
        assert_eq!(split(b"abcd", 0, 4), (vec![], 0));
    }

    #[test]
    fn a_line_one_byte_over_the_limit_is_a_piece_and_its_rest() {
        let (lines, consumed) = split(b"abcde\n", 10, 4);
        assert_eq!(lines, [(&b"abcd"[..], 10, false), (&b"e"[..], 14, true)]);
        assert_eq!(consumed, 6);
    }

    #[test]
    fn a_line_of_twice_the_limit_ends_in_a_whole_rest_not_in_an_empty_line() {
        let (lines, _) = split(b"abcdefgh\n", 0, 4);
        assert_eq!(lines, [(&b"abcd"[..], 0, false), (&b"efgh"[..], 4, true)]);
    }

    #[test]
    fn an_unterminated_line_over_the_limit_yields_pieces_and_keeps_the_rest() {
        let (lines, consumed) = split(b"abcdefghi", 0, 4);
        assert_eq!(lines, [(&b"abcd"[..], 0, false), (&b"efgh"[..], 4, false)]);
        assert_eq!(consumed, 8);
        let (lines, consumed) = split(b"abcdefgh", 0, 4);
        assert_eq!(lines, [(&b"abcd"[..], 0, false)]);
        assert_eq!(consumed, 4);
    }

    #[test]
    fn a_newline_that_follows_a_delivered_piece_closes_it_with_an_empty_line() {
        // An earlier call delivered the piece: on resume, the file's next byte is the newline.
        let (lines, consumed) = split(b"\nnext\n", 4, 4);
        assert_eq!(lines, [(&b""[..], 4, true), (&b"next"[..], 5, true)]);
        assert_eq!(consumed, 6);
    }

    #[test]
    fn consumed_counts_only_what_was_yielded() {
        let mut lines = split_lines(b"a\nbc\nd\n", 0, 10);
        assert_eq!(lines.consumed(), 0);
        lines.next();
        assert_eq!(lines.consumed(), 2);
        lines.next();
        assert_eq!(lines.consumed(), 5);
    }

    #[test]
    fn the_end_stays_the_end() {
        let mut lines = split_lines(b"a\nrest", 0, 10);
        assert!(lines.next().is_some());
        assert_eq!((lines.next(), lines.next(), lines.consumed()), (None, None, 2));
    }

    #[test]
    fn a_limit_of_the_whole_address_space_does_not_overflow() {
        assert_eq!(split(b"a\nb", 0, usize::MAX).0, [(&b"a"[..], 0, true)]);
    }

    #[test]
    fn a_limit_of_one_yields_single_bytes() {
        let (lines, consumed) = split(b"abc\n\nd", 0, 1);
        let expected: [Plain<'_>; 4] =
            [(b"a", 0, false), (b"b", 1, false), (b"c", 2, true), (b"", 4, true)];
        assert_eq!((&lines[..], consumed), (&expected[..], 5));
    }

    #[test]
    #[should_panic(expected = "a line limit of 0")]
    fn a_limit_of_zero_is_a_bug() {
        let _ = split_lines(b"a", 0, 0);
    }

    #[test]
    fn whole_lines_are_taken_at_once_and_the_rest_line_by_line() {
        let mut lines = split_lines(b"a\nbc\n\nrest", 0, 11);
        assert_eq!(
            (lines.next().map(|line| line.bytes), lines.take_whole_lines()),
            (Some(&b"a"[..]), (&b"bc\n\n"[..], 2))
        );
        assert_eq!(
            (lines.take_whole_lines(), lines.next(), lines.consumed()),
            ((&b""[..], 0), None, 6)
        );
    }

    #[test]
    fn no_lines_are_taken_at_once_where_one_may_be_too_long() {
        let mut lines = split_lines(b"abcdef\ng\n", 0, 8);
        assert_eq!((lines.take_whole_lines(), lines.consumed()), ((&b""[..], 0), 0));
        assert_eq!(lines.next().map(|line| line.bytes), Some(&b"abcdef"[..]));
        assert_eq!(lines.take_whole_lines(), (&b"g\n"[..], 1));
    }

    #[test]
    fn bytes_already_searched_are_not_searched_again() {
        // With a limit of 3, the fourth byte of each window was searched when the piece was cut, so
        // the next search starts behind it.
        let mut lines = split_lines(b"abcdefghij", 0, 3);
        let mut seen = Vec::new();
        while lines.next().is_some() {
            seen.push((lines.at, lines.searched));
        }
        assert_eq!(seen, [(3, 4), (6, 7), (9, 10)]);
        assert_eq!(lines.searched, 10);
    }

    /// The rule in its simplest form, byte by byte.
    fn model(bytes: &[u8], limit: usize) -> (Vec<Plain<'_>>, usize) {
        let (mut all, mut start) = (Vec::new(), 0);
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' {
                all.push((&bytes[start..at], start as u64, true));
                start = at + 1;
            } else if at - start == limit {
                all.push((&bytes[start..at], start as u64, false));
                start = at;
            }
        }
        (all, start)
    }

    #[test]
    fn every_short_input_is_split_as_a_byte_by_byte_walk_splits_it() {
        for len in 0..=12_u32 {
            for bits in 0..1_u32 << len {
                let bytes: Vec<u8> = (0..len)
                    .map(|at| if bits >> at & 1 == 1 { b'\n' } else { b'a' + at as u8 })
                    .collect();
                for limit in 1..=5 {
                    assert_eq!(
                        split(&bytes, 0, limit),
                        model(&bytes, limit),
                        "{bytes:?} with limit {limit}"
                    );
                }
                let before_newline = memchr(b'\n', &bytes).unwrap_or(bytes.len());
                for (limit, known) in
                    (1..=13).flat_map(|limit| (0..=before_newline).map(move |known| (limit, known)))
                {
                    let known_lines = split_lines(&bytes, 0, limit).searched(known);
                    let same = known_lines.clone().eq(split_lines(&bytes, 0, limit));
                    assert!(same, "{bytes:?} with limit {limit} and {known} bytes known");
                    let (mut whole, mut one_by_one) = (known_lines, split_lines(&bytes, 0, limit));
                    let (taken, count) = whole.take_whole_lines();
                    assert!(
                        (0..count).all(|_| one_by_one.next().is_some_and(|line| line.is_ended())),
                        "{bytes:?} with limit {limit}"
                    );
                    let upto = one_by_one.consumed();
                    assert_eq!(
                        (taken, whole.consumed()),
                        (&bytes[..upto], upto),
                        "{bytes:?} with limit {limit}"
                    );
                    assert!(
                        bytes.len() > limit || whole.next().is_none(),
                        "{bytes:?} with limit {limit}"
                    );
                }
            }
        }
    }

    #[test]
    fn resuming_behind_what_was_consumed_gives_the_same_lines_as_one_call() {
        let bytes = b"ab\nabcdefghijk\n\nxyz\nabcdefgh\nq";
        for cut in 0..bytes.len() {
            let mut lines = split_lines(&bytes[..cut], 0, 4);
            let mut all: Vec<_> = lines.by_ref().collect();
            let resume = lines.consumed();
            all.extend(split_lines(&bytes[resume..], resume as u64, 4));
            assert_eq!(all, split_lines(bytes, 0, 4).collect::<Vec<_>>(), "cut at {cut}");
        }
    }
}
