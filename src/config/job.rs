//! Patterns that find the fields of a job in the name of its log, such as its number.
//!
//! In: a regular expression with named groups; the name of a file, or the path below its PATH. Out:
//! the groups that matched, in the order of the pattern.
//! Always holds: a pattern has at least one named group. It takes time in proportion to the length
//! of a name, and little memory, whatever it is.

use std::fmt;

use regex::bytes::{CaptureLocations, Regex};

use super::pattern::{PatternSyntax, compile};

/// The named groups that a pattern may have.
const GROUPS_MAX: usize = 16;

/// The group that names the job, for templates and for those who ask by job.
pub(crate) const ID: &str = "id";

/// The member of a job that `uid = true` adds.
pub(crate) const UID: &str = "uid";

/// What records tell of the job whose log they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobRules {
    /// Finds fields in the name of the file.
    pub pattern: Option<JobPattern>,
    /// Whether the owner of the file is one of them.
    pub uid: bool,
}

impl JobRules {
    /// Whether there is anything to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pattern.is_none() && !self.uid
    }
}

/// A pattern with named groups, compiled.
#[derive(Clone)]
pub struct JobPattern {
    text: String,
    regex: Regex,
    /// The number and name of each named group.
    groups: Vec<(usize, String)>,
}

/// A text that is not such a pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum JobPatternError {
    /// It is no regular expression.
    #[error(transparent)]
    Syntax(#[from] PatternSyntax),
    /// It has no fields.
    #[error("has no named group, as in `(?P<id>\\d+)`: groups with a name become fields of `job`")]
    NoGroup,
    /// More groups than a record has room for.
    #[error("has more than {GROUPS_MAX} named groups")]
    ManyGroups,
    /// A field must have a plain name.
    #[error("the group `{0}`: a name has the letters a to z and `_` only")]
    Name(String),
}

/// Compares the patterns as they were given.
impl PartialEq for JobPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for JobPattern {}

impl fmt::Debug for JobPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobPattern").field(&self.text).finish()
    }
}

impl JobPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is no regular expression, is too large, or has no named group or an odd one.
    pub(crate) fn parse(text: &str) -> Result<JobPattern, JobPatternError> {
        let regex = compile(text)?;
        let names = regex.capture_names().enumerate();
        let groups: Vec<(usize, String)> =
            names.filter_map(|(at, name)| Some((at, name?.to_owned()))).collect();
        let is_odd = |name: &str| !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
        match groups.iter().find(|(_, name)| is_odd(name)) {
            Some((_, name)) => Err(JobPatternError::Name(name.clone())),
            None if groups.is_empty() => Err(JobPatternError::NoGroup),
            None if groups.len() > GROUPS_MAX => Err(JobPatternError::ManyGroups),
            None => Ok(JobPattern { text: text.to_owned(), regex, groups }),
        }
    }

    /// As it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is compared with the path below PATH instead of the name of the file.
    #[must_use]
    pub fn is_of_path(&self) -> bool {
        self.text.contains('/')
    }

    /// What it is compared with: the path below PATH, or the name of the file.
    #[must_use]
    pub fn text_of<'a>(&self, name: &'a [u8], below: &'a [u8]) -> &'a [u8] {
        if self.is_of_path() { below } else { name }
    }

    /// The names of its groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|(_, name)| name.as_str())
    }

    /// Room for the places of the groups, which may be used again and again.
    #[must_use]
    pub fn locations(&self) -> CaptureLocations {
        self.regex.capture_locations()
    }

    /// The fields, each with its value. `None`: the pattern does not match.
    #[must_use]
    pub fn all_fields<C: FromIterator<(String, String)>>(&self, text: &[u8]) -> Option<C> {
        let mut fields = Vec::new();
        let is_match = self.fields(text, &mut self.locations(), |name, value| {
            fields.push((name.to_owned(), value.to_owned()));
        });
        is_match.then(|| fields.into_iter().collect())
    }

    /// Whether it matches. Quicker than to find the fields.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Passes on each field: a group that took part in the match and whose bytes are UTF-8. Returns
    /// whether the pattern matches.
    pub fn fields(
        &self,
        text: &[u8],
        locations: &mut CaptureLocations,
        mut field: impl FnMut(&str, &str),
    ) -> bool {
        self.find(text, locations, |name, bytes| {
            if let Ok(value) = str::from_utf8(bytes) {
                field(name, value);
            }
        })
    }

    /// Passes on each group that took part in the match, and its bytes. Returns whether the pattern
    /// matches.
    fn find<'t>(
        &self,
        text: &'t [u8],
        locations: &mut CaptureLocations,
        mut found: impl FnMut(&str, &'t [u8]),
    ) -> bool {
        if self.regex.captures_read(locations, text).is_none() {
            return false;
        }
        for (at, name) in &self.groups {
            if let Some((start, end)) = locations.get(*at) {
                found(name, &text[start..end]);
            }
        }
        true
    }
}

/// The part of a path that a pattern with a slash is compared with: below the longest of these
/// PATHs that leads to it, else the name of the file.
#[must_use]
pub(crate) fn below_path(path: &[u8], paths: impl IntoIterator<Item = impl AsRef<[u8]>>) -> &[u8] {
    let below = paths.into_iter().filter_map(|prefix| {
        let prefix = prefix.as_ref();
        let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
        path.strip_prefix(prefix)?.strip_prefix(b"/")
    });
    below.min_by_key(|below| below.len()).unwrap_or_else(|| file_name(path))
}

/// The name of the file.
#[must_use]
pub(crate) fn file_name(path: &[u8]) -> &[u8] {
    &path[memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
        let pattern = JobPattern::parse(pattern).expect("a pattern");
        let mut fields = Vec::new();
        let is_match = pattern.find(text, &mut pattern.locations(), |name, value| {
            fields.push((name.to_owned(), value.to_vec()));
        });
        is_match.then_some(fields)
    }

    fn fields(pairs: &[(&str, &str)]) -> Option<Vec<(String, Vec<u8>)>> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        Some(pairs.iter().map(pair).collect())
    }

    #[test]
    fn named_groups_are_fields_and_those_that_take_no_part_are_left_out() {
        let slurm = r"(?:^|[._-]|\.[oe])(?P<id>\d{4,})(?:_(?P<task>\d{1,5}))?(?:[._-]|$)";
        assert_eq!(
            found(slurm, b"train-v2_4711023_17.out"),
            fields(&[("id", "4711023"), ("task", "17")])
        );
        assert_eq!(found(slurm, b"slurm-4711.out"), fields(&[("id", "4711")]));
        assert_eq!(found(slurm, b"notes.txt"), None);
        assert_eq!(found("(a)(?<b>b)", b"ab"), fields(&[("b", "b")]));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_matched_byte_by_byte() {
        let odd = found(r"^(?P<name>.+)-(?P<id>\d+)$", b"\xff\xe4-7").expect("it matches");
        assert_eq!(odd[0], ("name".to_owned(), b"\xff\xe4".to_vec()));
        assert_eq!(found("ä(?P<id>.)", "ä7".as_bytes()), fields(&[("id", "7")]));
    }

    #[test]
    fn what_is_no_pattern_with_plain_names_is_refused() {
        let error = |text: &str| JobPattern::parse(text).unwrap_err().to_string();
        assert_eq!(error("(?P<id>"), "is no regular expression: unclosed group");
        assert!(error("(?=a)(?P<id>b)").contains("look-around"), "{}", error("(?=a)(?P<id>b)"));
        assert!(error("(?P<a>a)(?P<a>b)").contains("duplicate"), "{}", error("(?P<a>a)(?P<a>b)"));
        for none in ["", r"(\d+)", r"\d+"] {
            assert_eq!(JobPattern::parse(none).unwrap_err(), JobPatternError::NoGroup, "{none}");
        }
        assert_eq!(
            error("(?P<Id>a)"),
            "the group `Id`: a name has the letters a to z and `_` only"
        );
        assert_eq!(error("(?P<id2>a)"), error("(?P<id2>b)"));
        let large = JobPattern::parse(r"(?P<id>(?:\w{1000}){1000})").unwrap_err();
        assert_eq!(large, JobPatternError::Syntax(PatternSyntax::TooLarge));
        let many: String = (b'a'..=b'z').map(|c| format!("(?P<{}>x)", char::from(c))).collect();
        assert_eq!(JobPattern::parse(&many).unwrap_err(), JobPatternError::ManyGroups);
    }

    #[test]
    fn the_path_below_is_that_of_the_innermost_path() {
        let below = |paths: &[&str], path: &'static str| {
            String::from_utf8(below_path(path.as_bytes(), paths).to_vec()).unwrap()
        };
        assert_eq!(below(&["/home", "/home/a/"], "/home/a/b/c.log"), "b/c.log");
        assert_eq!(below(&["/"], "/a/b"), "a/b");
        assert_eq!(below(&["."], "./a/b"), "a/b");
        assert_eq!(below(&["/hom", "/home/a/b"], "/home/a/b"), "b", "a PATH that is the file");
    }
}
