//! What the records of one read are made of, as the rules of an input say.
//!
//! In: the bytes of one read, and what is known of what follows them. Out: lines, segments of
//! lines, or several lines in one.
//! Always holds: what may go on is not taken, unless it has rested for as long as the rules say, or
//! cannot go on.

use crate::engine::namespace::inputs::Input;
use crate::lines::{Line, Lines, Multiline, Segments};

/// What becomes of bytes behind the last record that is known to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// They stay in the file.
    Stays,
    /// They stay, if they are no whole line: their file may not be found again, or another one
    /// waits for it.
    Leaves,
    /// They did not grow for as long as such bytes are waited for.
    IsDue,
    /// They are a record: nothing follows them.
    IsAll,
}

/// What records are made of.
#[derive(Debug)]
enum Unit {
    Lines,
    Segments(Segments),
    Multiline(Multiline),
}

/// Takes records from the bytes of one read.
#[derive(Debug)]
pub(super) struct Splitter {
    unit: Unit,
    rest: Rest,
}

impl Splitter {
    /// `before`: the byte in front of the lines, if it is known.
    #[inline]
    pub(super) fn new(
        input: &Input,
        lines: &Lines<'_>,
        before: Option<u8>,
        rest: Rest,
    ) -> Splitter {
        let unit = if input.multiline.is_some() {
            Unit::Multiline(Multiline::new(before, rest == Rest::IsAll))
        } else {
            let is_all = matches!(rest, Rest::IsDue | Rest::IsAll);
            Segments::new(input.carriage_return, lines, before, is_all)
                .map_or(Unit::Lines, Unit::Segments)
        };
        Splitter { unit, rest }
    }

    /// Whether records are lines.
    #[inline]
    pub(super) fn is_of_lines(&self) -> bool {
        matches!(self.unit, Unit::Lines)
    }

    /// Whether a record may have several lines.
    #[inline]
    pub(super) fn is_multiline(&self) -> bool {
        matches!(self.unit, Unit::Multiline(_))
    }

    /// How many segments were left out, because a later one replaces them.
    pub(super) fn superseded(&self) -> u64 {
        match &self.unit {
            Unit::Segments(segments) => segments.superseded(),
            Unit::Lines | Unit::Multiline(_) => 0,
        }
    }

    /// The next record.
    #[inline]
    pub(super) fn next<'a>(&mut self, input: &Input, lines: &mut Lines<'a>) -> Option<Line<'a>> {
        let line = match (&mut self.unit, &input.multiline) {
            (Unit::Segments(segments), _) => segments.next(lines),
            (Unit::Multiline(multiline), Some(rules)) => multiline.next(&rules.rule, lines),
            _ => lines.next(),
        };
        match line {
            None if self.rest != Rest::Stays => self.take_rest(lines),
            line => line,
        }
    }

    /// What is behind the last record that is over.
    #[cold]
    fn take_rest<'a>(&mut self, lines: &mut Lines<'a>) -> Option<Line<'a>> {
        if let (Unit::Multiline(multiline), Rest::IsDue | Rest::Leaves) =
            (&mut self.unit, self.rest)
            && let Some(open) = multiline.take_open(lines)
        {
            // An unfinished line behind it has not rested for long enough.
            self.rest = Rest::Stays;
            return Some(open);
        }
        if self.rest == Rest::Leaves { None } else { lines.take_all() }
    }
}
