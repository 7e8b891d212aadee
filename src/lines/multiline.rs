//! Puts several lines together to one record, as a rule says.
//!
//! In: [`Lines`] that were not taken from yet. Out: records of one or more lines, with the newlines
//! between them.
//! Always holds: what is yielded depends on the bytes from its first one on, and on whether that
//! begins a line: a file that is read again from the start of a record gives the same one. A record
//! that may go on is not consumed. One that is longer than the limit comes in pieces of whole
//! lines, and a line that is longer in pieces of exactly the limit.

use memchr::{memchr, memrchr};

use super::{End, Line, Lines};
use crate::config::RecordRule;

/// How the bytes of one read are put together.
#[derive(Debug)]
pub(crate) struct Multiline {
    /// The bytes that are left begin within a line.
    is_within_line: bool,
    /// Nothing follows the bytes: no record goes on.
    is_all: bool,
}

impl Multiline {
    /// `before`: the byte in front of the lines, if it is known. `is_all`: nothing follows them.
    #[must_use]
    pub(crate) fn new(before: Option<u8>, is_all: bool) -> Multiline {
        // A NUL is the end of a hole.
        let is_within_line = before.is_some_and(|byte| !matches!(byte, b'\n' | 0));
        Multiline { is_within_line, is_all }
    }

    /// How many bytes from the start of a record on show where it ends or is cut: up to the limit
    /// of lines that belong to it, and one more line, which may be as long.
    pub(crate) fn longest(line_bytes_max: usize) -> usize {
        2 * line_bytes_max + 3
    }

    /// The next record, or piece of one.
    #[inline(never)]
    pub(crate) fn next<'a>(
        &mut self,
        rule: &RecordRule,
        lines: &mut Lines<'a>,
    ) -> Option<Line<'a>> {
        let (bytes, at, limit) = (lines.bytes, lines.at, lines.line_bytes_max);
        let mut start = at;
        while start < bytes.len() {
            let window = &bytes[start..bytes.len().min(start.saturating_add(limit + 1))];
            let newline = memchr(b'\n', window).map(|distance| start + distance);
            // Of a line that is too long, its first piece decides.
            let line = newline.map_or(&window[..window.len().min(limit)], |end| &bytes[start..end]);
            let is_whole = newline.is_some() || window.len() > limit || self.is_all;
            if is_whole && start > at && rule.begins_with(line) {
                return Some(self.take(lines, start - 1, End::Newline));
            }
            let end = start + line.len();
            let is_longer = end - at > limit || (newline.is_none() && window.len() > limit);
            // Whether an unfinished line belongs to the record is known of some rules only.
            if is_longer && (is_whole || matches!(rule, RecordRule::End(_))) {
                let cut = if start > at { start.min(at + limit) } else { at + limit };
                return Some(self.take(lines, cut, End::Open));
            }
            let newline = newline?;
            let is_fragment = start == at && self.is_within_line;
            if !is_fragment && rule.ends_with(line) {
                return Some(self.take(lines, newline, End::Newline));
            }
            start = newline + 1;
        }
        (self.is_all && start > at).then(|| self.take(lines, start - 1, End::Newline))
    }

    /// The whole lines of a record that may go on, if there are any.
    pub(crate) fn take_open<'a>(&mut self, lines: &mut Lines<'a>) -> Option<Line<'a>> {
        let newline = memrchr(b'\n', &lines.bytes[lines.at..])? + lines.at;
        Some(self.take(lines, newline, End::Newline))
    }

    fn take<'a>(&mut self, lines: &mut Lines<'a>, end: usize, how: End) -> Line<'a> {
        self.is_within_line = how == End::Open && lines.bytes[end - 1] != b'\n';
        lines.take(end, how)
    }
}

/// How many lines a record has, or a piece of one has parts of.
pub(crate) fn lines_of(line: &Line<'_>) -> usize {
    let newlines = memchr::memchr_iter(b'\n', line.bytes).count();
    let has_last = line.is_ended() || line.bytes.last() != Some(&b'\n');
    newlines + usize::from(has_last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::random::Random;
    use crate::lines::split_lines;

    /// A record as bytes, offset, end.
    type Plain<'a> = (&'a [u8], u64, End);

    /// The records, and how many bytes were consumed.
    fn split<'a>(
        bytes: &'a [u8],
        rule: &str,
        before: Option<u8>,
        is_all: bool,
        limit: usize,
    ) -> (Vec<Plain<'a>>, usize) {
        let rule = RecordRule::parse(rule).expect("a rule");
        let mut lines = split_lines(bytes, 0, limit);
        let mut records = Multiline::new(before, is_all);
        let mut all = Vec::new();
        while let Some(record) = records.next(&rule, &mut lines) {
            all.push((record.bytes, record.offset, record.end));
        }
        (all, lines.consumed())
    }

    fn whole<'a>(bytes: &'a [u8], rule: &str) -> (Vec<&'a [u8]>, usize) {
        let (all, consumed) = split(bytes, rule, None, false, 1024);
        assert!(all.iter().all(|record| record.2 == End::Newline));
        (all.into_iter().map(|record| record.0).collect(), consumed)
    }

    #[test]
    fn a_record_ends_where_its_rule_says_and_stays_in_the_file_until_then() {
        let events = b"000 a\n\tb\n...\n001 c\n...\n002 d\n";
        let wanted = vec![&b"000 a\n\tb\n..."[..], &b"001 c\n..."[..]];
        assert_eq!(whole(events, r"end=^\.\.\.$"), (wanted, 23));
        let log = b"  x\n1 a\n b\n2 c\n3";
        assert_eq!(whole(log, r"start=^\d"), (vec![&b"  x"[..], &b"1 a\n b"[..]], 11));
        let trace = b"E\n at 1\n at 2\nF\n at 3\n";
        assert_eq!(whole(trace, r"next=^\s"), (vec![&b"E\n at 1\n at 2"[..]], 14));
    }

    #[test]
    fn a_record_longer_than_the_limit_comes_in_pieces_that_say_so() {
        let pieces = |bytes: &'static [u8], rule: &str| split(bytes, rule, None, false, 6).0;
        assert_eq!(
            pieces(b"ab\ncd\nef\n..\ngh\n..\n", r"end=^\.\.$"),
            [
                (&b"ab\ncd\n"[..], 0, End::Open),
                (b"ef\n..", 6, End::Newline),
                (b"gh\n..", 12, End::Newline)
            ]
        );
        assert_eq!(
            pieces(b"1abcdefgh\n i\n2\n", r"start=^\d"),
            [(&b"1abcde"[..], 0, End::Open), (b"fgh\n i", 6, End::Newline)]
        );
        // What is left of a line that was cut is no line.
        assert_eq!(
            split(b"..\na\n..\n", r"end=^\.\.$", Some(b'x'), false, 9).0,
            [(&b"..\na\n.."[..], 0, End::Newline)]
        );
    }

    #[test]
    fn what_rests_gives_its_whole_lines_and_keeps_an_unfinished_one() {
        let rule = RecordRule::parse("start=^x").expect("a rule");
        let mut lines = split_lines(b"xa\n b\n c", 0, 99);
        let mut records = Multiline::new(None, false);
        assert_eq!(records.next(&rule, &mut lines), None);
        let open = records.take_open(&mut lines).expect("two lines");
        assert_eq!((open.bytes, open.end, lines_of(&open)), (&b"xa\n b"[..], End::Newline, 2));
        assert_eq!((records.take_open(&mut lines), lines.consumed()), (None, 6));
    }

    #[test]
    fn lines_are_counted_in_whole_records_and_in_pieces() {
        let count = |bytes, end| lines_of(&Line { bytes, offset: 0, end });
        assert_eq!([count(b"a\nb", End::Newline), count(b"a\n", End::Newline)], [2, 2]);
        assert_eq!([count(b"a\nb\n", End::Open), count(b"a\nb", End::Open)], [2, 2]);
        assert_eq!([count(b"", End::Newline), count(b"a", End::Open)], [1, 1]);
    }

    /// The rule in its simplest form, without a limit.
    fn model(bytes: &[u8], rule: &RecordRule, is_all: bool) -> (Vec<Vec<u8>>, usize) {
        let (mut records, mut open, mut consumed) = (Vec::new(), Vec::new(), 0);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let is_ended = line.ends_with(b"\n");
            if !is_ended && !is_all {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if !open.is_empty() && rule.begins_with(text) {
                consumed += open.len();
                records.push(std::mem::take(&mut open));
            }
            open.extend_from_slice(line);
            if is_ended && rule.ends_with(text) {
                consumed += open.len();
                records.push(std::mem::take(&mut open));
            }
        }
        if is_all && open.ends_with(b"\n") {
            consumed += open.len();
            records.push(open);
        }
        (records, consumed)
    }

    #[test]
    fn any_bytes_are_put_together_as_the_model_does_and_in_any_parts() {
        let mut random = Random(13);
        for _ in 0..100_000 {
            let bytes: Vec<u8> =
                (0..random.below(24)).map(|_| b"\n\nabx"[random.below(5)]).collect();
            let text =
                ["end=^x", "end=^xa$", "start=^x", "start=b$", "next=^[ab]"][random.below(5)];
            let rule = RecordRule::parse(text).expect("a rule");
            let is_all = random.below(2) == 0;
            let joined = |records: &[Plain<'_>]| -> Vec<Vec<u8>> {
                let mut joined: Vec<Vec<u8>> = Vec::new();
                let mut is_open = false;
                for (bytes, _, end) in records {
                    if !is_open {
                        joined.push(Vec::new());
                    }
                    let last = joined.last_mut().expect("just pushed, or open");
                    last.extend_from_slice(bytes);
                    is_open = *end == End::Open;
                    last.extend_from_slice(if is_open { b"" } else { b"\n" });
                }
                joined
            };
            let (all, consumed) = split(&bytes, text, None, is_all, 99);
            let wanted = model(&bytes, &rule, is_all);
            assert_eq!((joined(&all), consumed), wanted, "{bytes:?} {text} {is_all}");
            // No line is longer than that; then pieces put together are the records.
            let limit = 1 + bytes.split(|&byte| byte == b'\n').map(<[u8]>::len).max().unwrap_or(0);
            let (pieces, consumed) = split(&bytes, text, None, is_all, limit);
            assert!(pieces.iter().all(|piece| piece.0.len() <= limit), "{bytes:?} {text}");
            let together = joined(&pieces);
            let whole = wanted.0.len().min(together.len());
            assert_eq!(together[..whole], wanted.0[..whole], "{bytes:?} {text} {limit}");
            assert!(consumed >= wanted.1, "{bytes:?} {text} {limit}");
            if is_all {
                continue;
            }
            // In two reads, of which the second begins behind what the first one consumed.
            let limit = 1 + random.below(6);
            let (all, consumed) = split(&bytes, text, None, false, limit);
            let cut = random.below(bytes.len() + 1);
            let (mut parts, resume) = split(&bytes[..cut], text, None, false, limit);
            let before = resume.checked_sub(1).map(|last| bytes[last]);
            let rest = split(&bytes[resume..], text, before, false, limit);
            parts.extend(rest.0.iter().map(|&(text, at, end)| (text, at + resume as u64, end)));
            assert_eq!(
                (parts, resume + rest.1),
                (all, consumed),
                "{bytes:?} {text} parts of {cut}"
            );
        }
    }

    #[test]
    fn the_longest_read_decides_what_becomes_of_any_record() {
        let mut random = Random(14);
        for _ in 0..50_000 {
            let limit = 1 + random.below(5);
            let bytes: Vec<u8> =
                (0..Multiline::longest(limit)).map(|_| b"\nabx"[random.below(4)]).collect();
            for text in ["end=^x", "start=^x", "next=^[ab]"] {
                assert!(split(&bytes, text, None, false, limit).1 > 0, "{bytes:?} {text} {limit}");
            }
        }
    }
}
