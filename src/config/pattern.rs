//! Regular expressions for bytes: the patterns of jobs, of records and of filters.
//!
//! In: texts. Out: compiled patterns.
//! Always holds: a pattern takes time in proportion to the length of what it is compared with, and
//! little memory, whatever it is.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// The memory that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A text that is no pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternSyntax {
    /// It is no regular expression.
    #[error("is no regular expression: {0}")]
    Syntax(String),
    /// It needs too much memory.
    #[error("is too large: compiled it takes more than {PATTERN_BYTES_MAX} bytes")]
    TooLarge,
}

impl From<regex::Error> for PatternSyntax {
    fn from(error: regex::Error) -> PatternSyntax {
        match error {
            regex::Error::CompiledTooBig(_) => PatternSyntax::TooLarge,
            // The first lines show the place in the pattern, with a mark below it.
            error => PatternSyntax::Syntax(
                error.to_string().lines().next_back().map_or_else(String::new, |line| {
                    line.strip_prefix("error: ").unwrap_or(line).to_owned()
                }),
            ),
        }
    }
}

/// Compiles a pattern. Classes such as `\d` are of ASCII, and `.` is any byte but a newline: logs
/// and their names need not be UTF-8.
pub(super) fn compile(text: &str) -> Result<Regex, PatternSyntax> {
    let mut builder = RegexBuilder::new(text);
    builder.unicode(false).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    Ok(builder.build()?)
}

/// A pattern that lines are compared with.
#[derive(Clone)]
pub struct LinePattern {
    text: String,
    regex: Regex,
}

impl LinePattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is no regular expression, or is too large.
    pub(crate) fn parse(text: &str) -> Result<LinePattern, PatternSyntax> {
        Ok(LinePattern { text: text.to_owned(), regex: compile(text)? })
    }

    /// Whether it matches somewhere in the line. `$` is before a `\r` at its end, too.
    #[inline]
    #[must_use]
    pub fn is_match(&self, line: &[u8]) -> bool {
        self.regex.is_match(without_return(line))
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Compares the patterns as they were given.
impl PartialEq for LinePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LinePattern {}

impl fmt::Debug for LinePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LinePattern").field(&self.text).finish()
    }
}

/// Which records are delivered.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// A record that none of these matches is left out; `None`: that is no reason.
    keep: Option<RegexSet>,
    /// A record that one of these matches is left out.
    drop: Option<RegexSet>,
}

impl Filters {
    /// All records that one of `keep` matches, if there are any, and none of `drop`.
    ///
    /// # Errors
    /// The name of the setting whose patterns take too much memory together.
    pub(crate) fn new(keep: &[LinePattern], drop: &[LinePattern]) -> Result<Filters, &'static str> {
        let set = |patterns: &[LinePattern]| {
            let texts = patterns.iter().map(|pattern| &pattern.text);
            let mut builder = RegexSetBuilder::new(texts);
            builder.unicode(false).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
            (!patterns.is_empty()).then(|| builder.build()).transpose()
        };
        Ok(Filters { keep: set(keep).map_err(|_| "keep")?, drop: set(drop).map_err(|_| "drop")? })
    }

    /// Whether any record may be left out.
    #[inline]
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.keep.is_some() || self.drop.is_some()
    }

    /// Whether a record of these bytes is left out. `$` is before a `\r` at its end, too.
    #[inline]
    #[must_use]
    pub fn leave_out(&self, record: &[u8]) -> bool {
        let record = without_return(record);
        self.keep.as_ref().is_some_and(|keep| !keep.is_match(record))
            || self.drop.as_ref().is_some_and(|drop| drop.is_match(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(keep: &[&str], drop: &[&str]) -> Filters {
        let patterns = |texts: &[&str]| -> Vec<LinePattern> {
            texts.iter().map(|text| LinePattern::parse(text).expect("a pattern")).collect()
        };
        Filters::new(&patterns(keep), &patterns(drop)).expect("they are small")
    }

    #[test]
    fn a_record_is_delivered_if_something_keeps_it_and_nothing_drops_it() {
        let left_out = |filters: &Filters| {
            let records = ["DEBUG a", "INFO b", "ERROR c"];
            records.iter().filter(|record| filters.leave_out(record.as_bytes())).count()
        };
        assert_eq!(left_out(&filters(&[], &[])), 0);
        assert_eq!(left_out(&filters(&[], &["^DEBUG ", "c$"])), 2);
        assert_eq!(left_out(&filters(&["ERROR", "INFO"], &[])), 1);
        assert_eq!(left_out(&filters(&["ERROR", "INFO"], &["b$"])), 2);
        assert!(!filters(&[], &[]).are_any() && filters(&["a"], &[]).are_any());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_matched_byte_by_byte() {
        assert!(filters(&[], &["^.x$"]).leave_out(b"\xffx"));
        assert!(filters(&[], &["x$"]).leave_out(b"x\r"));
        assert!(filters(&[], &[r"^\w+$"]).leave_out(b"ascii"));
        assert!(!filters(&[], &[r"^\w+$"]).leave_out("groß".as_bytes()));
    }

    #[test]
    fn patterns_that_are_too_large_are_refused_alone_and_together() {
        let large = LinePattern::parse(r"(?:\w{1000}){1000}").unwrap_err();
        assert_eq!(large, PatternSyntax::TooLarge);
        let some = LinePattern::parse(r"(?:\w{50}){50}a").expect("small enough alone");
        let many: Vec<LinePattern> = vec![some; 200];
        assert_eq!(Filters::new(&[], &many).unwrap_err(), "drop");
        assert_eq!(Filters::new(&many, &[]).unwrap_err(), "keep");
    }
}
