//! Which lines make one record.
//!
//! In: a text, `end=PATTERN`, `start=PATTERN` or `next=PATTERN`. Out: the rule.
//! Always holds: whether a line belongs to the record before it depends on the two alone.

use std::time::Duration;

use super::pattern::{LinePattern, PatternSyntax};

/// Which lines make one record, and when one that may go on is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRules {
    /// Where one record ends and the next begins.
    pub rule: RecordRule,
    /// After this long without growth it is delivered as it is. `None`: never.
    pub after: Option<Duration>,
}

/// Where one record ends and the next begins. The first line of a record is never asked whether it
/// belongs to the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordRule {
    /// Behind a line that matches.
    End(LinePattern),
    /// Before a line that matches.
    Start(LinePattern),
    /// Before a line that does not match.
    Next(LinePattern),
}

/// A text that is no rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordRuleError {
    /// None of the three.
    #[error("expected end=PATTERN, start=PATTERN or next=PATTERN")]
    Name,
    /// The pattern is none.
    #[error("{name}: {error}")]
    Pattern {
        /// Which one of the three.
        name: &'static str,
        /// Why.
        error: PatternSyntax,
    },
    /// Every line, or none, would do.
    #[error("{0}: is empty, so it matches each line")]
    Empty(&'static str),
}

impl RecordRule {
    /// The names of the three, as in `end=PATTERN`.
    pub(crate) const NAMES: [&'static str; 3] = ["end", "start", "next"];

    /// Reads `end=PATTERN`, `start=PATTERN` or `next=PATTERN`.
    ///
    /// # Errors
    /// When it is none of them, or the pattern is no pattern.
    pub fn parse(text: &str) -> Result<RecordRule, RecordRuleError> {
        let (given, pattern) = text.split_once('=').ok_or(RecordRuleError::Name)?;
        let name = RecordRule::NAMES.into_iter().find(|name| *name == given);
        let name = name.ok_or(RecordRuleError::Name)?;
        if pattern.is_empty() {
            return Err(RecordRuleError::Empty(name));
        }
        let pattern = LinePattern::parse(pattern)
            .map_err(|error| RecordRuleError::Pattern { name, error })?;
        Ok(match name {
            "end" => RecordRule::End(pattern),
            "start" => RecordRule::Start(pattern),
            _ => RecordRule::Next(pattern),
        })
    }

    /// Whether the record is over with this line.
    #[inline]
    #[must_use]
    pub fn ends_with(&self, line: &[u8]) -> bool {
        matches!(self, RecordRule::End(pattern) if pattern.is_match(line))
    }

    /// Whether a record begins with this line, which follows another one.
    #[inline]
    #[must_use]
    pub fn begins_with(&self, line: &[u8]) -> bool {
        match self {
            RecordRule::End(_) => false,
            RecordRule::Start(pattern) => pattern.is_match(line),
            RecordRule::Next(pattern) => !pattern.is_match(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_three_rules_says_where_a_record_ends() {
        let rule = |text: &str| RecordRule::parse(text).expect("a rule");
        let end = rule(r"end=^\.\.\.$");
        assert!(end.ends_with(b"...") && end.ends_with(b"...\r") && !end.ends_with(b"...."));
        assert!(!end.begins_with(b"..."));
        let start = rule(r"start=^\d{4}-");
        assert!(start.begins_with(b"2026-12-01 a") && !start.begins_with(b"  at b"));
        assert!(!start.ends_with(b"2026-12-01 a"));
        let next = rule(r"next=^(\s|Caused by: )");
        assert!(!next.begins_with(b"\tat b") && next.begins_with(b"INFO"));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_would_be_one() {
        let error = |text: &str| RecordRule::parse(text).unwrap_err().to_string();
        let expected = "expected end=PATTERN, start=PATTERN or next=PATTERN";
        assert_eq!([error("x"), error("begin=a"), error("=a")], [expected; 3]);
        assert_eq!(error("start=("), "start: is no regular expression: unclosed group");
        assert_eq!(error("next="), "next: is empty, so it matches each line");
    }
}
