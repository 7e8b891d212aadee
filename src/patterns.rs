//! Which files and directories are followed: include and exclude globs over names and paths, as
//! bytes.
//!
//! In: the globs as given; then names, and paths below PATH. Out: accepted or not. A glob without
//! `/` matches the name at any depth, one with `/` the path below PATH. `*` and `?` do not match a
//! `/`; `**/`, `/**` and `/**/` do, and so (as in ripgrep) does a class that says so, `[!a]`;
//! `{a,b}` is one of several; `?` and `[...]` stand for one byte; `\` takes the next character as
//! it is. A glob that ends in `/` is about directories.
//! Always holds: exclude wins, and prunes directories; what is not UTF-8 matches by its bytes.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Compressed files have no lines: what rotation leaves behind is not followed unless it is asked
/// for. The same holds for core dumps (core(5)), which are memory. These are files only: a
/// directory of such a name is followed like any other.
pub(crate) const DEFAULT_EXCLUDES: [&str; 10] =
    ["*.gz", "*.bz2", "*.xz", "*.zst", "*.lz4", "*.zip", "*.Z", "core", "core.[0-9]*", "*.core"];

/// A glob that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("glob `{glob}`: {reason}")]
pub struct PatternError {
    /// The setting that holds the glob: `include` or `exclude`.
    pub key: &'static str,
    /// The glob as given.
    pub glob: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Include and exclude globs, compiled.
#[derive(Debug)]
pub struct Patterns {
    /// Includes, excludes, and whether the default excludes come on top: as given.
    source: (Vec<String>, Vec<String>, bool),
    /// `None`: every file.
    include: Option<Globs>,
    exclude_files: Globs,
    exclude_directories: Globs,
}

/// Globs of which one has to match.
#[derive(Debug)]
struct Globs {
    names: GlobSet,
    paths: GlobSet,
    /// What the user wrote, glob by glob: of the names, and of the paths.
    texts: [Box<[Box<str>]>; 2],
}

/// Why a name is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'a> {
    /// This glob excludes it.
    Excluded(&'a str),
    /// There are includes, and none matches.
    NotIncluded,
}

/// Given alike: globs that are written otherwise and mean the same are not equal.
impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Patterns {
    /// Compiles the globs. `default_excludes` adds the names of compressed files and core dumps,
    /// for files only.
    ///
    /// # Errors
    /// When a glob is malformed, is empty, or leads out of PATH.
    pub fn new(
        include: &[String],
        exclude: &[String],
        default_excludes: bool,
    ) -> Result<Patterns, PatternError> {
        let mut included = GlobsBuilder::new("include");
        for text in include {
            let glob = included.parse(text)?;
            // Includes are asked about files alone: a directory that is included means every file
            // below it.
            let glob = if glob.directories_only { glob.everything_below() } else { glob };
            included.add(&glob, text)?;
        }

        let mut excluded_files = GlobsBuilder::new("exclude");
        let mut excluded_directories = GlobsBuilder::new("exclude");
        for text in exclude {
            let glob = excluded_files.parse(text)?;
            excluded_directories.add(&glob, text)?;
            if let Some(directory) = glob.directory_it_empties() {
                excluded_directories.add(&directory, text)?;
            }
            if !glob.directories_only {
                excluded_files.add(&glob, text)?;
            }
        }
        if default_excludes {
            for text in DEFAULT_EXCLUDES {
                let glob = excluded_files.parse(text)?;
                excluded_files.add(&glob, text)?;
            }
        }

        Ok(Patterns {
            source: (include.to_vec(), exclude.to_vec(), default_excludes),
            include: if include.is_empty() { None } else { Some(included.build()?) },
            exclude_files: excluded_files.build()?,
            exclude_directories: excluded_directories.build()?,
        })
    }

    /// Whether a file is followed. `name` is its last component, `below` its path below PATH
    /// (`d1/job7.log`; for a PATH that is a file itself, its name). `below` may be empty unless
    /// [`Patterns::needs_path`].
    #[must_use]
    pub fn accepts_file(&self, name: &[u8], below: &[u8]) -> bool {
        !self.exclude_files.is_match(name, below)
            && self.include.as_ref().is_none_or(|include| include.is_match(name, below))
    }

    /// Whether a directory below PATH is looked into. Includes have no say: a file deeper down may
    /// match.
    #[must_use]
    pub fn accepts_directory(&self, name: &[u8], below: &[u8]) -> bool {
        !self.exclude_directories.is_match(name, below)
    }

    /// Why [`Patterns::accepts_file`] says no. `below` is needed.
    #[must_use]
    pub fn refusal_of_file(&self, name: &[u8], below: &[u8]) -> Option<Refused<'_>> {
        match self.exclude_files.first_match(name, below) {
            Some(glob) => Some(Refused::Excluded(glob)),
            None => (!self.accepts_file(name, below)).then_some(Refused::NotIncluded),
        }
    }

    /// Why [`Patterns::accepts_directory`] says no. `below` is needed.
    #[must_use]
    pub fn refusal_of_directory(&self, name: &[u8], below: &[u8]) -> Option<Refused<'_>> {
        self.exclude_directories.first_match(name, below).map(Refused::Excluded)
    }

    /// Whether these globs take every file that others would, as far as that is seen at once.
    #[must_use]
    pub(crate) fn leaves_nothing_to(&self, others: &Patterns) -> bool {
        let (include, exclude, default_excludes) = &self.source;
        self == others
            || (include.is_empty() && exclude.is_empty() && (!default_excludes || others.source.2))
    }

    /// Whether a path below PATH matters: some glob contains a `/`.
    #[must_use]
    pub fn needs_path(&self) -> bool {
        let has_paths = |globs: &Globs| !globs.paths.is_empty();
        has_paths(&self.exclude_files)
            || has_paths(&self.exclude_directories)
            || self.include.as_ref().is_some_and(has_paths)
    }
}

impl Globs {
    fn is_match(&self, name: &[u8], below: &[u8]) -> bool {
        let is_match = |globs: &GlobSet, bytes: &[u8]| {
            !globs.is_empty() && globs.is_match_candidate(&Candidate::from_bytes(bytes))
        };
        is_match(&self.names, name) || is_match(&self.paths, below)
    }

    /// What the user wrote of a glob that matches.
    fn first_match(&self, name: &[u8], below: &[u8]) -> Option<&str> {
        let sets = [(&self.names, name), (&self.paths, below)];
        sets.iter().zip(&self.texts).find_map(|((globs, bytes), texts)| {
            let at = globs.matches_candidate(&Candidate::from_bytes(bytes)).into_iter().next()?;
            Some(&*texts[at])
        })
    }
}

/// A glob taken apart at its slashes, lexically normal: no empty, `.` or `..` components.
#[derive(Debug, Clone)]
struct Glob<'a> {
    /// At least one.
    components: Vec<&'a str>,
    /// Matched against the path below PATH; else against the name, and there is one component.
    by_path: bool,
    directories_only: bool,
}

impl<'a> Glob<'a> {
    fn parse(text: &'a str) -> Result<Glob<'a>, &'static str> {
        if has_class_beyond_ascii(text) {
            return Err(
                "`[...]` stands for one byte and takes ASCII characters only; write {a,b} instead",
            );
        }
        let body = text.trim_end_matches('/');
        let mut components: Vec<&str> = Vec::new();
        for component in body.split('/') {
            match component {
                "" | "." => {}
                ".." => match components.pop() {
                    None => return Err("leads out of PATH"),
                    Some(up) if up == "**" || is_half_of_a_group(up) => {
                        return Err("has a `..` whose directory is not certain");
                    }
                    Some(_) => {}
                },
                _ => components.push(component),
            }
        }
        if components.is_empty() {
            return Err("names nothing below PATH");
        }
        // As in .gitignore a slash at the end says "directory", and only one before it says "path".
        Ok(Glob {
            components,
            by_path: body.contains('/'),
            directories_only: body.len() < text.len(),
        })
    }

    /// The glob of all that lies below the directories that this glob matches.
    fn everything_below(&self) -> Glob<'a> {
        let any_depth = if self.by_path { None } else { Some("**") };
        let components =
            any_depth.into_iter().chain(self.components.iter().copied()).chain(["**"]).collect();
        Glob { components, by_path: true, directories_only: false }
    }

    /// `d1/**` leaves nothing to be found in `d1`, so that `d1` need not be looked into.
    fn directory_it_empties(&self) -> Option<Glob<'a>> {
        match self.components.split_last() {
            Some((&"**", directory)) if !directory.is_empty() && !self.directories_only => {
                Some(Glob { components: directory.to_vec(), by_path: true, directories_only: true })
            }
            _ => None,
        }
    }
}

/// `{a/b,c}/..` was cut at the slash in its braces: taking a component away would take the half of
/// a group.
fn is_half_of_a_group(component: &str) -> bool {
    component.matches('{').count() != component.matches('}').count()
}

/// globset matches bytes, and would take `[é]` for either of two.
fn has_class_beyond_ascii(glob: &str) -> bool {
    let mut letters = glob.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => _ = letters.next(),
            '[' => {
                // A `]` that comes first is a member, not the end.
                let members = letters.as_str().trim_start_matches(['!', '^']);
                let end = members
                    .char_indices()
                    .skip(1)
                    .find(|(_, member)| *member == ']')
                    .map_or(members.len(), |(at, _)| at);
                if !members[..end].is_ascii() {
                    return true;
                }
                letters = members[end..].chars();
            }
            _ => {}
        }
    }
    false
}

/// Collects the globs of one setting.
struct GlobsBuilder {
    key: &'static str,
    names: GlobSetBuilder,
    paths: GlobSetBuilder,
    texts: [Vec<Box<str>>; 2],
}

impl GlobsBuilder {
    fn new(key: &'static str) -> Self {
        GlobsBuilder {
            key,
            names: GlobSetBuilder::new(),
            paths: GlobSetBuilder::new(),
            texts: Default::default(),
        }
    }

    fn error(&self, glob: &str, reason: impl ToString) -> PatternError {
        PatternError { key: self.key, glob: glob.to_owned(), reason: reason.to_string() }
    }

    fn parse<'a>(&self, text: &'a str) -> Result<Glob<'a>, PatternError> {
        Glob::parse(text).map_err(|reason| self.error(text, reason))
    }

    /// Adds `glob`; `text` is what the user wrote.
    fn add(&mut self, glob: &Glob<'_>, text: &str) -> Result<(), PatternError> {
        let compiled = GlobBuilder::new(&glob.components.join("/"))
            // In names there is no separator, and without this rule globset finds `*.gz` by one
            // look at the suffix.
            .literal_separator(glob.by_path)
            .empty_alternates(true)
            .build()
            .map_err(|error| self.error(text, error.kind()))?;
        let set = if glob.by_path { &mut self.paths } else { &mut self.names };
        set.add(compiled);
        self.texts[usize::from(glob.by_path)].push(text.into());
        Ok(())
    }

    fn build(&self) -> Result<Globs, PatternError> {
        let build = |set: &GlobSetBuilder| {
            set.build()
                .map_err(|error| self.error(error.glob().unwrap_or("(all together)"), error.kind()))
        };
        let texts = self.texts.clone().map(Vec::into_boxed_slice);
        Ok(Globs { names: build(&self.names)?, paths: build(&self.paths)?, texts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let owned =
            |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
        Patterns::new(&owned(include), &owned(exclude), false).expect("good globs")
    }

    fn defaults() -> Patterns {
        Patterns::new(&[], &[], true).expect("good globs")
    }

    fn name_of(below: &[u8]) -> &[u8] {
        below.rsplit(|byte| *byte == b'/').next().unwrap_or(below)
    }

    fn file(patterns: &Patterns, below: impl AsRef<[u8]>) -> bool {
        patterns.accepts_file(name_of(below.as_ref()), below.as_ref())
    }

    fn directory(patterns: &Patterns, below: impl AsRef<[u8]>) -> bool {
        patterns.accepts_directory(name_of(below.as_ref()), below.as_ref())
    }

    fn error(include: &[&str], exclude: &[&str]) -> PatternError {
        let owned =
            |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
        Patterns::new(&owned(include), &owned(exclude), false).expect_err("a bad glob")
    }

    #[test]
    fn without_globs_everything_is_accepted() {
        let all = patterns(&[], &[]);
        assert!(
            file(&all, "a")
                && file(&all, "d/.hidden")
                && file(&all, "x.gz")
                && directory(&all, "d/e")
        );
        assert!(!all.needs_path());
    }

    #[test]
    fn compressed_suffixes_are_excluded_by_default_for_files_only() {
        let all = defaults();
        for name in ["a.gz", "d/a.log.bz2", "a.xz", "a.zst", "a.lz4", "a.zip", "a.Z", ".gz"] {
            assert!(!file(&all, name), "{name}");
            assert!(directory(&all, name), "{name}");
        }
        for name in ["a.log", "gz", "a.gzip", "a.z", "a.gz.1", "a.gz/x"] {
            assert!(file(&all, name), "{name}");
        }
        assert!(!all.needs_path());
    }

    #[test]
    fn core_dumps_are_excluded_by_default_and_directories_of_their_names_are_not() {
        let all = defaults();
        for name in ["core", "d/core", "core.1", "core.4711", "core.0.host", "vmcore.core", ".core"]
        {
            assert!(!file(&all, name), "{name}");
            assert!(directory(&all, name), "{name}");
        }
        for name in [
            "core.log",
            "core.",
            "core-1",
            "score",
            "cores",
            "core.a1",
            "core/a.log",
            "core.1/a.log",
            "hardcore.log",
        ] {
            assert!(file(&all, name), "{name}");
        }
        assert_eq!(
            all.refusal_of_file(b"core.12", b"d/core.12"),
            Some(Refused::Excluded("core.[0-9]*"))
        );
        assert_eq!(all.refusal_of_directory(b"core", b"src/core"), None);
        assert!(!all.needs_path());
    }

    #[test]
    fn user_excludes_add_to_the_default_ones() {
        let both = Patterns::new(&[], &["*.tmp".to_owned()], true).unwrap();
        assert!(!file(&both, "a.tmp") && !file(&both, "a.gz") && file(&both, "a.log"));
    }

    #[test]
    fn a_glob_without_slash_matches_the_name_at_any_depth() {
        let logs = patterns(&["*.log"], &[]);
        assert!(
            file(&logs, "a.log")
                && file(&logs, "d/e/a.log")
                && !file(&logs, "a.log.1")
                && !file(&logs, "a.log/b")
        );
        assert!(!logs.needs_path());
        assert!(logs.accepts_file(b"a.log", b""), "the path is not needed");
    }

    #[test]
    fn a_file_is_included_when_any_include_matches() {
        let two = patterns(&["*.log", "d/*.out"], &[]);
        assert!(file(&two, "x/a.log") && file(&two, "d/a.out") && !file(&two, "a.out"));
    }

    #[test]
    fn includes_have_no_say_about_directories() {
        let logs = patterns(&["*.log", "d1/*.out"], &[]);
        assert!(directory(&logs, "d2") && directory(&logs, "d1/deep"));
    }

    #[test]
    fn exclude_wins_over_include() {
        let both = patterns(&["*.log"], &["debug*"]);
        assert!(file(&both, "a.log") && !file(&both, "debug.log"));
    }

    #[test]
    fn a_glob_with_slash_matches_the_path_below_path_with_and_without_a_leading_slash() {
        for glob in ["d1/*.log", "/d1/*.log"] {
            let logs = patterns(&[glob], &[]);
            assert!(logs.needs_path());
            assert!(
                file(&logs, "d1/a.log") && !file(&logs, "a.log") && !file(&logs, "x/d1/a.log"),
                "{glob}"
            );
        }
        let top = patterns(&["/*.log"], &[]);
        assert!(file(&top, "a.log") && !file(&top, "d/a.log"));
    }

    #[test]
    fn one_star_and_question_mark_do_not_cross_a_slash_and_two_stars_do() {
        assert!(!file(&patterns(&["d/*.log"], &[]), "d/e/a.log"));
        assert!(!file(&patterns(&["d?a.log/*"], &[]), "d/a.log/x"));
        assert!(!file(&patterns(&["/d?a.log"], &[]), "d/a.log"));
        let deep = patterns(&["d/**/a.log"], &[]);
        assert!(file(&deep, "d/a.log") && file(&deep, "d/e/f/a.log") && !file(&deep, "e/a.log"));
        let any = patterns(&["**/a.log"], &[]);
        assert!(file(&any, "a.log") && file(&any, "x/y/a.log"));
    }

    #[test]
    fn a_user_exclude_prunes_directories_by_name_at_any_depth() {
        let pruned = patterns(&[], &["d1", "*.bak"]);
        assert!(
            !directory(&pruned, "d1")
                && !directory(&pruned, "x/d1")
                && !directory(&pruned, "old.bak")
        );
        assert!(
            directory(&pruned, "d10") && !file(&pruned, "x/d1"),
            "a file of that name is excluded too"
        );
    }

    #[test]
    fn two_stars_at_the_end_of_an_exclude_prune_the_directory_and_everything_below_it() {
        let pruned = patterns(&[], &["d1/**"]);
        assert!(
            !directory(&pruned, "d1")
                && !directory(&pruned, "d1/x")
                && !directory(&pruned, "d1/x/y")
        );
        assert!(!file(&pruned, "d1/a.log") && !file(&pruned, "d1/x/a.log"));
        assert!(file(&pruned, "d1"), "a file called d1 has nothing below it");
        assert!(
            directory(&pruned, "x/d1") && directory(&pruned, "d10") && file(&pruned, "x/d1/a.log")
        );
        let anywhere = patterns(&[], &["**/tmp/**"]);
        assert!(
            !directory(&anywhere, "tmp")
                && !directory(&anywhere, "a/b/tmp")
                && !file(&anywhere, "a/tmp/x")
        );
    }

    #[test]
    fn a_slash_at_the_end_of_an_exclude_means_directories_only() {
        let anywhere = patterns(&[], &["**/tmp/"]);
        assert!(
            !directory(&anywhere, "tmp")
                && !directory(&anywhere, "a/tmp")
                && file(&anywhere, "tmp")
                && file(&anywhere, "a/tmp")
        );
        let by_name = patterns(&[], &["tmp/"]);
        assert!(
            !directory(&by_name, "tmp") && !directory(&by_name, "a/tmp") && file(&by_name, "a/tmp")
        );
        assert!(!by_name.needs_path());
        let at_the_top = patterns(&[], &["/tmp/"]);
        assert!(!directory(&at_the_top, "tmp") && directory(&at_the_top, "a/tmp"));
        let below_only = patterns(&[], &["d1/**/"]);
        assert!(
            directory(&below_only, "d1")
                && !directory(&below_only, "d1/x")
                && file(&below_only, "d1/a.log")
        );
    }

    #[test]
    fn a_slash_at_the_end_of_an_include_means_every_file_below_such_a_directory() {
        let by_name = patterns(&["jobs/"], &[]);
        assert!(
            file(&by_name, "jobs/a")
                && file(&by_name, "x/jobs/y/a")
                && !file(&by_name, "jobs")
                && !file(&by_name, "x/a")
        );
        let by_path = patterns(&["x/jobs/"], &[]);
        assert!(file(&by_path, "x/jobs/a") && !file(&by_path, "jobs/a"));
        assert!(by_name.needs_path() && by_path.needs_path());
    }

    #[test]
    fn an_exclude_of_everything_accepts_nothing() {
        for glob in ["*", "**", "/**"] {
            let nothing = patterns(&[], &[glob]);
            assert!(
                !file(&nothing, "a")
                    && !file(&nothing, "d/a")
                    && !directory(&nothing, "d")
                    && !directory(&nothing, "d/e")
            );
        }
    }

    #[test]
    fn globs_are_made_lexically_normal_before_they_are_compiled() {
        for glob in [
            "d1//*.log",
            "./d1/*.log",
            "d1/./*.log",
            "x/../d1/*.log",
            "//d1/x/y/../../*.log",
            "{a,b}/../d1/*.log",
        ] {
            let logs = patterns(&[glob], &[]);
            assert!(file(&logs, "d1/a.log") && !file(&logs, "a.log"), "{glob}");
            let pruned = patterns(&[], &[glob]);
            assert!(!file(&pruned, "d1/a.log") && file(&pruned, "a.log"), "{glob}");
        }
        for glob in ["d1//", "d1/./", "./d1/", "a/../d1//"] {
            let pruned = patterns(&[], &[glob]);
            assert!(!directory(&pruned, "d1") && file(&pruned, "d1"), "{glob}");
        }
        assert!(
            !file(&patterns(&["./*.log"], &[]), "d/a.log"),
            "a dot and a slash still mean the path"
        );
    }

    #[test]
    fn braces_may_hold_slashes_and_nothing() {
        let logs = patterns(&["{d1/x,d2}/*.log{,.1}"], &[]);
        assert!(file(&logs, "d1/x/a.log") && file(&logs, "d2/a.log.1") && !file(&logs, "d1/a.log"));
    }

    #[test]
    fn names_match_by_bytes_whatever_the_bytes() {
        let logs = patterns(&["*.log", "?x", "sub/**"], &["*é*"]);
        assert!(
            file(&logs, b"\xff\xfe.log")
                && file(&logs, b"a\nb.log")
                && file(&logs, b"d/\xffx")
                && file(&logs, b"sub/\xff/\n")
        );
        assert!(
            !file(&logs, "caf\u{e9}.log")
                && !file(&logs, b"\xff")
                && file(&logs, "-.log")
                && file(&logs, " .log")
        );
        let deep = patterns(&["*/\u{65e5}*.log"], &[]);
        assert!(file(&deep, "d/\u{65e5}\u{672c}.log"));
    }

    #[test]
    fn names_that_end_in_dots_match_like_all_others() {
        let dots = patterns(&["job.", "**/end..", "x...", "d/*."], &[]);
        assert!(
            file(&dots, "job.")
                && file(&dots, "a/end..")
                && file(&dots, "d/x...")
                && file(&dots, "d/...")
        );
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        let stars = patterns(&[r"\*.log", r"d/\[a\]"], &[]);
        assert!(
            file(&stars, "*.log")
                && file(&stars, "d/[a]")
                && !file(&stars, "a.log")
                && !file(&stars, "d/a")
        );
    }

    #[test]
    fn a_refusal_names_the_glob_as_it_was_written() {
        let both =
            Patterns::new(&["*.log".to_owned()], &["/d1/./x*".to_owned(), "tmp/".to_owned()], true)
                .unwrap();
        assert_eq!(
            both.refusal_of_file(b"xa.log", b"d1/xa.log"),
            Some(Refused::Excluded("/d1/./x*"))
        );
        assert_eq!(both.refusal_of_file(b"a.log.gz", b"a.log.gz"), Some(Refused::Excluded("*.gz")));
        assert_eq!(both.refusal_of_file(b"a.out", b"d1/a.out"), Some(Refused::NotIncluded));
        assert_eq!(both.refusal_of_file(b"a.log", b"d1/a.log"), None);
        assert_eq!(both.refusal_of_directory(b"tmp", b"d1/tmp"), Some(Refused::Excluded("tmp/")));
        assert_eq!(both.refusal_of_directory(b"d1", b"d1"), None);
    }

    #[test]
    fn a_bad_glob_is_named_with_its_setting_and_the_reason() {
        let bad = error(&["*.log", "a[b"], &[]);
        assert_eq!((bad.key, bad.glob.as_str()), ("include", "a[b"));
        assert_eq!(bad.to_string(), "glob `a[b`: unclosed character class; missing ']'");
        let bad = error(&[], &["d//{a,b"]);
        assert_eq!((bad.key, bad.glob.as_str()), ("exclude", "d//{a,b"));
        assert!(bad.reason.contains("missing '}'"), "{bad}");
        assert!(error(&[r"a\"], &[]).reason.contains("dangling"));
        assert!(error(&["[z-a]"], &[]).reason.contains("range"));
    }

    #[test]
    fn a_glob_that_cannot_match_anything_below_path_is_refused() {
        for glob in ["", "/", ".", "./", "a/.."] {
            assert_eq!(error(&[glob], &[]).reason, "names nothing below PATH", "{glob:?}");
        }
        for glob in ["..", "../a", "a/../../b", "/../a"] {
            assert_eq!(error(&[], &[glob]).reason, "leads out of PATH", "{glob:?}");
        }
        for glob in ["**/../a", "{a/b,c}/../d"] {
            assert!(error(&[], &[glob]).reason.contains("not certain"), "{glob:?}");
        }
    }

    #[test]
    fn a_class_beyond_ascii_is_refused_because_it_would_match_half_a_character() {
        for glob in ["[é].log", "[a-ü]", "[!é]", "[]é]", "x[a]y[é]"] {
            assert!(error(&[glob], &[]).reason.contains("ASCII"), "{glob}");
        }
        for glob in ["é[a]é", r"\[é]", "[a]é[b]", "[]]é"] {
            patterns(&[glob], &[]);
        }
    }

    #[test]
    fn any_text_gives_globs_or_an_error() {
        let letters = ['a', '*', '?', '[', ']', '{', '}', ',', '/', '.', '\\', '!', 'é'];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut glob = String::new();
            for _ in 0..8 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                glob.push(letters[(state >> 33) as usize % letters.len()]);
            }
            if let Ok(patterns) =
                Patterns::new(std::slice::from_ref(&glob), std::slice::from_ref(&glob), false)
            {
                let is_found = directory(&patterns, "a") && file(&patterns, "a/b.log");
                assert!(!is_found, "what is excluded by {glob} is not included by it");
            }
        }
    }
}
