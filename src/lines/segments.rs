//! Splits bytes at `\r`, too: progress bars draw over one line, and each `\r` begins it again.
//!
//! In: [`Lines`] that were not taken from yet. Out: lines, and the segments between carriage
//! returns.
//! Always holds: `\r\n` ends a line, as without this, and its `\r` is a byte of the line. A `\r`
//! with nothing behind it yet is not consumed, because `\n` may follow. What is not yielded is an
//! empty segment, or one that a later segment of the same bytes replaces; and never the end of a
//! segment of which a piece was delivered.

use memchr::{memchr2, memrchr};

use super::{End, Line, Lines};
use crate::config::CarriageReturn;

/// How the bytes of one read are split at `\r`.
#[derive(Debug)]
pub(crate) struct Segments {
    /// The bytes before those that are left are a piece of a line or segment that has not ended.
    is_after_piece: bool,
    /// Nothing follows the bytes: a `\r` at their end ends a segment.
    is_all: bool,
    /// Segments that end before this position are left out.
    latest: usize,
    /// How many segments were left out so far, because a later one replaces them.
    superseded: u64,
}

impl Segments {
    /// The rule for the bytes of `lines`; none if `\r` is data.
    ///
    /// `before`: the byte in front of them, if it is known. `is_all`: a `\r` at their end is
    /// followed by no `\n`.
    #[inline]
    #[must_use]
    pub(crate) fn new(
        rule: CarriageReturn,
        lines: &Lines<'_>,
        before: Option<u8>,
        is_all: bool,
    ) -> Option<Segments> {
        match rule {
            CarriageReturn::Data => None,
            CarriageReturn::Split => Some(Segments::begin(0, before, is_all)),
            CarriageReturn::Latest => {
                let latest = last_segment_end(&lines.bytes[lines.at..], is_all) + lines.at;
                Some(Segments::begin(latest, before, is_all))
            }
        }
    }

    // Out of line, as `next`: most inputs have no segments.
    #[inline(never)]
    fn begin(latest: usize, before: Option<u8>, is_all: bool) -> Segments {
        // A NUL is the end of a hole.
        let is_after_piece = before.is_some_and(|byte| !matches!(byte, b'\n' | b'\r' | 0));
        Segments { is_after_piece, is_all, latest, superseded: 0 }
    }

    /// How many segments were left out so far, because a later one replaces them.
    #[must_use]
    pub(crate) fn superseded(&self) -> u64 {
        self.superseded
    }

    /// The next line, segment, or piece of one. An unterminated end of up to the limit is not
    /// yielded.
    #[inline(never)]
    pub(crate) fn next<'a>(&mut self, lines: &mut Lines<'a>) -> Option<Line<'a>> {
        loop {
            let (bytes, at) = (lines.bytes, lines.at);
            let piece_end = at.saturating_add(lines.line_bytes_max);
            let window_end = bytes.len().min(piece_end.saturating_add(1));
            let from = lines.searched.max(at).min(window_end);
            let found = memchr2(b'\n', b'\r', &bytes[from..window_end]);
            let Some(end) = found.map(|distance| from + distance) else {
                lines.searched = window_end;
                if bytes.len() <= piece_end {
                    return None;
                }
                self.is_after_piece = true;
                return Some(lines.take(piece_end, End::Open));
            };
            if bytes[end] == b'\n' {
                self.is_after_piece = false;
                return Some(lines.take(end, End::Newline));
            }
            match bytes.get(end + 1) {
                None if !self.is_all => {
                    lines.searched = end;
                    return None;
                }
                // With its `\r` the line is longer than the limit.
                Some(b'\n') if end == piece_end => {
                    self.is_after_piece = true;
                    return Some(lines.take(end, End::Open));
                }
                Some(b'\n') => {
                    self.is_after_piece = false;
                    return Some(lines.take(end + 1, End::Newline));
                }
                _ => {}
            }
            if self.is_after_piece || (end > at && end >= self.latest) {
                self.is_after_piece = false;
                return Some(lines.take(end, End::Return));
            }
            self.superseded += u64::from(end > at);
            lines.at = end + 1;
        }
    }
}

/// Where the last segment ends that is not empty.
#[inline(never)]
fn last_segment_end(bytes: &[u8], is_all: bool) -> usize {
    let mut end = bytes.len();
    while let Some(at) = memrchr(b'\r', &bytes[..end]) {
        let is_ended = bytes.get(at + 1).map_or(is_all, |&next| next != b'\n');
        let is_empty = at == 0 || matches!(bytes[at - 1], b'\n' | b'\r');
        if is_ended && !is_empty {
            return at;
        }
        end = at;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::random::Random;
    use crate::lines::split_lines;

    /// Up to 23 bytes.
    fn bytes(random: &mut Random) -> Vec<u8> {
        (0..random.below(24)).map(|_| b"\r\r\nab"[random.below(5)]).collect()
    }

    /// A line as bytes, offset, end.
    type Plain<'a> = (&'a [u8], u64, End);

    /// The records, how many bytes were consumed, and how many segments were left out.
    fn split(
        bytes: &[u8],
        rule: CarriageReturn,
        before: Option<u8>,
        is_all: bool,
        limit: usize,
    ) -> (Vec<Plain<'_>>, usize, u64) {
        let mut lines = split_lines(bytes, 0, limit);
        let mut segments = Segments::new(rule, &lines, before, is_all).expect("a rule");
        let mut all = Vec::new();
        while let Some(line) = segments.next(&mut lines) {
            all.push((line.bytes, line.offset, line.end));
        }
        (all, lines.consumed(), segments.superseded())
    }

    fn segments(bytes: &[u8]) -> (Vec<Plain<'_>>, usize) {
        let (all, consumed, _) = split(bytes, CarriageReturn::Split, None, false, 1024);
        (all, consumed)
    }

    #[test]
    fn a_carriage_return_ends_a_record_once_something_else_than_a_newline_follows() {
        assert_eq!(segments(b"1%\r"), (vec![], 0));
        assert_eq!(segments(b"1%\r2"), (vec![(&b"1%"[..], 0, End::Return)], 3));
        assert_eq!(segments(b"1%\r\n"), (vec![(&b"1%\r"[..], 0, End::Newline)], 4));
        let double = segments(b"1%\r\r\nx");
        let wanted: [Plain<'_>; 2] = [(b"1%", 0, End::Return), (b"\r", 3, End::Newline)];
        assert_eq!((&double.0[..], double.1), (&wanted[..], 5));
    }

    #[test]
    fn empty_segments_give_no_record_and_empty_lines_do() {
        let (all, consumed) = segments(b"\rtrain 1\r\r\r\n\ntrain 2\rtrain 3");
        let wanted: [Plain<'_>; 4] = [
            (b"train 1", 1, End::Return),
            (b"\r", 10, End::Newline),
            (b"", 12, End::Newline),
            (b"train 2", 13, End::Return),
        ];
        assert_eq!((&all[..], consumed), (&wanted[..], 21));
    }

    #[test]
    fn a_carriage_return_that_follows_a_delivered_piece_closes_it_with_an_empty_record() {
        let after = |before| split(b"\rx", CarriageReturn::Split, before, false, 9).0;
        assert_eq!(after(Some(b'%')), [(&b""[..], 0, End::Return)]);
        for before in [Some(b'\r'), Some(b'\n'), Some(0), None] {
            assert_eq!(after(before), [], "{before:?}");
        }
        let (all, consumed, _) = split(b"abcd\ref", CarriageReturn::Split, None, false, 2);
        let wanted: [Plain<'_>; 2] = [(b"ab", 0, End::Open), (b"cd", 2, End::Return)];
        assert_eq!((&all[..], consumed), (&wanted[..], 5));
    }

    #[test]
    fn at_the_end_of_everything_a_carriage_return_ends_a_segment() {
        for rule in [CarriageReturn::Split, CarriageReturn::Latest] {
            assert_eq!(split(b"9%\r", rule, None, true, 9).0, [(&b"9%"[..], 0, End::Return)]);
            assert_eq!(split(b"\r\r", rule, None, true, 9), (vec![], 2, 0));
        }
        assert_eq!(
            split(b"8%\r9%\r", CarriageReturn::Latest, None, true, 9),
            (vec![(&b"9%"[..], 3, End::Return)], 6, 1)
        );
    }

    #[test]
    fn of_the_segments_of_one_read_only_the_latest_is_a_record_and_no_line_is_left_out() {
        let latest = |bytes, before| split(bytes, CarriageReturn::Latest, before, false, 9);
        let (all, consumed, superseded) = latest(b"\r1%\r2%\r3%\r\n\rone\n4%\r5%\r\r6%", None);
        let wanted: [Plain<'_>; 3] =
            [(b"3%\r", 7, End::Newline), (b"one", 12, End::Newline), (b"5%", 19, End::Return)];
        assert_eq!((&all[..], consumed, superseded), (&wanted[..], 23, 3));
        assert_eq!(
            latest(b"2%\r3%\r4%", Some(b'x')).0,
            [(&b"2%"[..], 0, End::Return), (&b"3%"[..], 3, End::Return)],
            "the rest of a segment of which a piece was delivered is delivered, too"
        );
    }

    #[test]
    fn the_carriage_return_before_a_newline_counts_for_the_limit() {
        let lines = |bytes| split(bytes, CarriageReturn::Split, None, false, 4).0;
        assert_eq!(lines(b"abc\r\n"), [(&b"abc\r"[..], 0, End::Newline)]);
        let wanted: [Plain<'_>; 2] = [(b"abcd", 0, End::Open), (b"\r", 4, End::Newline)];
        assert_eq!(lines(b"abcd\r\n"), wanted);
        assert_eq!(lines(b"abcd\r"), []);
        assert_eq!(lines(b"abcd\rx"), [(&b"abcd"[..], 0, End::Return)]);
    }

    /// The rule in its simplest form, byte by byte. `split` only.
    fn model(
        bytes: &[u8],
        before: Option<u8>,
        is_all: bool,
        limit: usize,
    ) -> (Vec<Plain<'_>>, usize) {
        let (mut all, mut start) = (Vec::new(), 0);
        let mut is_after_piece = before.is_some_and(|byte| byte != b'\n' && byte != b'\r');
        for (at, &byte) in bytes.iter().enumerate() {
            let text = &bytes[start..at];
            match (byte, bytes.get(at + 1)) {
                (b'\n', _) => {
                    all.push((text, start as u64, End::Newline));
                    (start, is_after_piece) = (at + 1, false);
                }
                (b'\r', None) if !is_all => break,
                (b'\r', next) if next != Some(&b'\n') => {
                    if !text.is_empty() || is_after_piece {
                        all.push((text, start as u64, End::Return));
                    }
                    (start, is_after_piece) = (at + 1, false);
                }
                _ if text.len() == limit => {
                    all.push((text, start as u64, End::Open));
                    (start, is_after_piece) = (at, true);
                }
                _ => {}
            }
        }
        (all, start)
    }

    #[test]
    fn any_bytes_are_split_as_a_byte_by_byte_walk_splits_them_and_in_any_parts() {
        let mut random = Random(11);
        for _ in 0..200_000 {
            let bytes = bytes(&mut random);
            let limit = 1 + random.below(6);
            let before = [None, Some(b'\n'), Some(b'\r'), Some(b'x')][random.below(4)];
            let is_all = random.below(2) == 0;
            let (all, consumed, _) = split(&bytes, CarriageReturn::Split, before, is_all, limit);
            let wanted = model(&bytes, before, is_all, limit);
            assert_eq!((&all, consumed), (&wanted.0, wanted.1), "{bytes:?} with limit {limit}");
            if is_all {
                continue;
            }
            // In two reads, of which the second begins behind what the first one consumed.
            let cut = random.below(bytes.len() + 1);
            let (mut parts, resume, _) =
                split(&bytes[..cut], CarriageReturn::Split, before, false, limit);
            let before = resume.checked_sub(1).map(|last| bytes[last]).or(before);
            let rest = split(&bytes[resume..], CarriageReturn::Split, before, false, limit);
            parts.extend(rest.0.iter().map(|&(text, at, end)| (text, at + resume as u64, end)));
            assert_eq!((parts, resume + rest.1), (all, consumed), "{bytes:?} in parts of {cut}");
        }
    }

    #[test]
    fn what_latest_leaves_out_are_whole_segments_that_a_later_one_replaces() {
        let mut random = Random(12);
        for _ in 0..100_000 {
            let bytes = bytes(&mut random);
            let limit = 1 + random.below(9);
            let every = split(&bytes, CarriageReturn::Split, None, false, limit);
            let latest = split(&bytes, CarriageReturn::Latest, None, false, limit);
            assert_eq!(latest.1, every.1, "{bytes:?}");
            let is_whole = |at: usize| at == 0 || every.0[at - 1].2 != End::Open;
            let last = (0..every.0.len())
                .rfind(|&at| every.0[at].2 == End::Return && !every.0[at].0.is_empty());
            let kept: Vec<Plain<'_>> = (0..every.0.len())
                .filter(|&at| every.0[at].2 != End::Return || !is_whole(at) || Some(at) == last)
                .map(|at| every.0[at])
                .collect();
            assert_eq!(latest.0, kept, "{bytes:?} with limit {limit}");
            assert_eq!(latest.2 as usize, every.0.len() - kept.len());
        }
    }
}
