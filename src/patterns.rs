//! Decides which files and directories are followed, by include and exclude globs over the bytes of
//! names and paths.
//!
//! In: the globs as given; then names, and paths below PATH. Out: accepted or not. A glob without
//! `/` matches the name at any depth, a glob with `/` matches the path below PATH. `*` and `?` do
//! not match a `/`; `**/`, `/**` and `/**/` do, and so (as in ripgrep) does a negated class,
//! `[!a]`. `{a,b}` matches one of several; `?` and `[...]` match one byte; `\` makes the next
//! character literal. A glob that ends with `/` matches directories only.
//! Always holds: exclude wins, and prunes directories; names that are not UTF-8 match by their
//! bytes.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Compressed files, which rotation leaves behind, have no lines, and core dumps (core(5)) are
/// memory. They are not followed unless asked for. The globs are for files only: a directory with
/// such a name is followed like any other.
pub(crate) const DEFAULT_EXCLUDES: [&str; 10] =
    ["*.gz", "*.bz2", "*.xz", "*.zst", "*.lz4", "*.zip", "*.Z", "core", "core.[0-9]*", "*.core"];

/// A glob that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("glob `{glob}`: {reason}")]
pub struct PatternError {
    /// The setting that contains the glob: `include` or `exclude`.
    pub key: &'static str,
    /// The glob as given.
    pub glob: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Include and exclude globs, compiled.
#[derive(Debug)]
pub struct Patterns {
    /// Includes, excludes, and whether the default excludes are added, as given.
    source: (Vec<String>, Vec<String>, bool),
    /// `None`: every file is included.
    include: Option<Globs>,
    exclude_files: Globs,
    exclude_directories: Globs,
}

/// A set of globs, of which one must match.
#[derive(Debug)]
struct Globs {
    names: GlobSet,
    paths: GlobSet,
    /// The globs as the user wrote them: those for names, and those for paths.
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

/// Compares the globs as written: equivalent globs that are written differently are not equal.
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
    /// When a glob is malformed or empty, or leads out of PATH.
    pub fn new(
        include: &[String],
        exclude: &[String],
        default_excludes: bool,
    ) -> Result<Patterns, PatternError> {
        let mut included = GlobsBuilder::new("include");
        for text in include {
            let glob = included.parse(text)?;
            // Includes are matched against files only, so an included directory means every file
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
    /// (`d1/job7.log`; for a PATH that is a file itself, its name). `below` may be empty if
    /// [`Patterns::needs_path`] is false.
    #[must_use]
    pub fn accepts_file(&self, name: &[u8], below: &[u8]) -> bool {
        !self.exclude_files.is_match(name, below)
            && self.include.as_ref().is_none_or(|include| include.is_match(name, below))
    }

    /// Whether a directory below PATH is listed. Includes do not matter, because a file deeper down
    /// may match.
    #[must_use]
    pub fn accepts_directory(&self, name: &[u8], below: &[u8]) -> bool {
        !self.exclude_directories.is_match(name, below)
    }

    /// Why [`Patterns::accepts_file`] is false, if it is. Needs `below`.
    #[must_use]
    pub fn refusal_of_file(&self, name: &[u8], below: &[u8]) -> Option<Refused<'_>> {
        match self.exclude_files.first_match(name, below) {
            Some(glob) => Some(Refused::Excluded(glob)),
            None => (!self.accepts_file(name, below)).then_some(Refused::NotIncluded),
        }
    }

    /// Why [`Patterns::accepts_directory`] is false, if it is. Needs `below`.
    #[must_use]
    pub fn refusal_of_directory(&self, name: &[u8], below: &[u8]) -> Option<Refused<'_>> {
        self.exclude_directories.first_match(name, below).map(Refused::Excluded)
    }

    /// Whether these globs accept every file that `others` accept, as far as that is obvious.
    #[must_use]
    pub(crate) fn leaves_nothing_to(&self, others: &Patterns) -> bool {
        let (include, exclude, default_excludes) = &self.source;
        self == others
            || (include.is_empty() && exclude.is_empty() && (!default_excludes || others.source.2))
    }

    /// Whether matches depend on the path below PATH, because some glob contains a `/`.
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

    /// A glob that matches, as the user wrote it.
    fn first_match(&self, name: &[u8], below: &[u8]) -> Option<&str> {
        let sets = [(&self.names, name), (&self.paths, below)];
        sets.iter().zip(&self.texts).find_map(|((globs, bytes), texts)| {
            let at = globs.matches_candidate(&Candidate::from_bytes(bytes)).into_iter().next()?;
            Some(&*texts[at])
        })
    }
}

/// A glob, split at its slashes and normalized: no empty, `.` or `..` components.
#[derive(Debug, Clone)]
struct Glob<'a> {
    /// At least one.
    components: Vec<&'a str>,
    /// Matched against the path below PATH. Otherwise against the name, and there is only one
    /// component.
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
        // As in .gitignore, a slash at the end means "directory", and any other slash means "path".
        Ok(Glob {
            components,
            by_path: body.contains('/'),
            directories_only: body.len() < text.len(),
        })
    }

    /// The glob of everything below the directories that this glob matches.
    fn everything_below(&self) -> Glob<'a> {
        let any_depth = if self.by_path { None } else { Some("**") };
        let components =
            any_depth.into_iter().chain(self.components.iter().copied()).chain(["**"]).collect();
        Glob { components, by_path: true, directories_only: false }
    }

    /// `d1/**` excludes everything in `d1`, so `d1` need not be listed: the glob of `d1`.
    fn directory_it_empties(&self) -> Option<Glob<'a>> {
        match self.components.split_last() {
            Some((&"**", directory)) if !directory.is_empty() && !self.directories_only => {
                Some(Glob { components: directory.to_vec(), by_path: true, directories_only: true })
            }
            _ => None,
        }
    }
}

/// Whether a component has unbalanced braces. `{a/b,c}/..` is split at the slash in its braces, and
/// `..` would remove half of a group.
fn is_half_of_a_group(component: &str) -> bool {
    component.matches('{').count() != component.matches('}').count()
}

/// Whether a class has a character beyond ASCII: globset matches bytes, and `[é]` would match
/// either of two bytes.
fn has_class_beyond_ascii(glob: &str) -> bool {
    let mut letters = glob.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => _ = letters.next(),
            '[' => {
                // A `]` at the first position is a member, not the end.
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
            // Names have no separator, and without this rule globset matches `*.gz` by the suffix
            // alone.
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
mod tests;
