//! Why a name that has no slot is not followed.
//!
//! In: a name in a directory of the tree, or below one. Out: the reason. A few looks at the file
//! system; nothing changes.

use std::io;

use crate::engine::Engine;
use crate::engine::coverage::single_files::SingleFile;
use crate::engine::namespace::tree::{DirId, Role, VisitWork};
use crate::engine::observer::paths::path_in;
use crate::engine::observer::reasons::{
    Reason, because, in_state_directory, in_user_mount, is_user_mount,
};
use crate::patterns::{Patterns, Refused};
use crate::sink::Sink;
use crate::status::file::{FileState, shown};
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Stat};

/// A question to the globs of one input.
type Ask = for<'a> fn(&'a Patterns, &[u8], &[u8]) -> Option<Refused<'a>>;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Why the directory of this name in another one is not followed.
    pub(super) fn explain_directory_in(&mut self, dir: DirId, name: &[u8]) -> Reason {
        let links = self.tree.write_name(dir, name, &mut self.path);
        let found = self.fs.stat(&self.path, links);
        if is_user_mount(&found) {
            return in_user_mount();
        }
        if found
            .as_ref()
            .is_ok_and(|found| self.own.directories.contains(&(found.id.device, found.id.inode)))
        {
            return in_state_directory(&path_in(&self.tree, dir, name));
        }
        self.explain_directory(dir, name, &found)
    }

    pub(super) fn explain_unknown(
        &mut self,
        dir: DirId,
        rest: &[Vec<u8>],
        found: &io::Result<Stat>,
        target: &io::Result<Stat>,
    ) -> Reason {
        if is_user_mount(found) || is_user_mount(target) {
            return in_user_mount();
        }
        if let Ok(target) = target
            && target.kind == FileKind::Regular
            && self.own.is_live(target.id.device, target.id.inode)
        {
            return because(FileState::OwnOutput, "it receives our own output or diagnostics");
        }
        // The state directory is known by its place or, if it was replaced, by its inode. It is the
        // first directory that is not listed.
        if let [first, _, ..] = rest
            && self.coverage.look_in(&self.tree, &mut self.fs, dir, first).0.is_ok_and(|found| {
                self.own.directories.contains(&(found.id.device, found.id.inode))
            })
        {
            return in_state_directory(&path_in(&self.tree, dir, first));
        }
        match rest {
            [name] => self.explain_name(dir, name, found, target),
            _ => self.explain_directory(dir, &rest[0], found),
        }
    }

    /// Explains a directory above the file that is not followed.
    fn explain_directory(&mut self, dir: DirId, name: &[u8], found: &io::Result<Stat>) -> Reason {
        let path = path_in(&self.tree, dir, name);
        let text = shown(&path);
        let links = self.tree.write_name(dir, name, &mut self.path);
        let look = self.fs.stat(&self.path, links);
        if !self.config.recursive {
            return because(
                FileState::NotRecursive,
                format!("{text} is a sub-directory, and those are not followed: --recursive false"),
            );
        }
        if let Some((_, words)) = self.refusal(dir, name, Patterns::refusal_of_directory) {
            return because(FileState::ExcludedDirectory, format!("the directory {text} {words}"));
        }
        match &look {
            Ok(look) if look.kind == FileKind::Link && self.config.follow_links.is_none() => {
                return because(
                    FileState::LinkNotFollowed,
                    format!("{text} is a symbolic link, and those are not followed"),
                );
            }
            Ok(look) if look.kind == FileKind::Link => {
                if let Some((state, words)) = self.refusal(dir, name, Patterns::refusal_of_file) {
                    return because(state, format!("{text} {words}"));
                }
                let (_, target) = self.coverage.look_in(&self.tree, &mut self.fs, dir, name);
                if is_user_mount(&target) {
                    return in_user_mount();
                }
                let (tree, fs) = (&self.tree, &mut self.fs);
                if target.is_err()
                    && let Some(why) = self.coverage.why_not_through(tree, fs, dir, name, look)
                {
                    return because(FileState::LinkNotFollowed, format!("{text} {why}"));
                }
            }
            Err(error) if Failure::of(error) == Failure::Gone => {
                return because(FileState::Missing, format!("there is no directory {text}"));
            }
            _ => {}
        }
        if let Some(child) = self.tree.find(dir, name) {
            return self.explain_unlisted(child, &path, found);
        }
        self.explain_unlisted(dir, &path_in(&self.tree, dir, b""), found)
    }

    /// Explains a name in a directory that is known.
    fn explain_unlisted(&mut self, dir: DirId, path: &[u8], found: &io::Result<Stat>) -> Reason {
        let found_here = self.tree.get(dir);
        let is_unreadable = found_here.is_unreadable();
        let visits = found_here.queued | found_here.unfinished;
        let is_waiting =
            !visits.is_empty() || self.schedule.by_age.is_group_open(self.tree.group(dir));
        let text =
            shown(if path.len() > 1 { path.strip_suffix(b"/").unwrap_or(path) } else { path });
        if is_unreadable {
            let links = self.tree.write_bare_path(dir, &mut self.path);
            return because(
                FileState::UnreadableDirectory,
                match self.fs.list(&self.path, links) {
                    Err(error) if Failure::of(&error) == Failure::UserMount => {
                        return in_user_mount();
                    }
                    Err(error) => format!(
                        "the directory {text} cannot be read: {error}; picked up when that changes"
                    ),
                    Ok(_) => {
                        format!(
                            "the directory {text} could not be read when it was tried last; the \
                            next event or sweep finds it"
                        )
                    }
                },
            );
        }
        match found {
            Err(error) if Failure::of(error) == Failure::Gone => {
                because(FileState::Missing, "there is no such file")
            }
            _ if visits.contains(VisitWork::FROM_APPLIES_FIRST) => because(
                FileState::WaitsForListing,
                format!("the first scan is still to come by: {text}"),
            ),
            _ if is_waiting => because(
                FileState::WaitsForListing,
                format!("the directory is still to be listed: {text}"),
            ),
            Err(error) => {
                because(FileState::Unreadable, format!("it cannot be looked at: {error}"))
            }
            Ok(_) => because(
                FileState::NotSeen,
                "it is in the tree, but no event reported it yet: the sweep finds it (--rescan)",
            ),
        }
    }

    /// Explains a name in a directory that is followed.
    fn explain_name(
        &mut self,
        dir: DirId,
        name: &[u8],
        found: &io::Result<Stat>,
        target: &io::Result<Stat>,
    ) -> Reason {
        let path = path_in(&self.tree, dir, name);
        let is_home = self.tree.get(dir).role == Role::Home;
        match (found, target) {
            (Err(error), _) if Failure::of(error) == Failure::Gone => {
                return because(FileState::Missing, "there is no such file");
            }
            (Ok(found), _)
                if found.kind == FileKind::Link
                    && self.config.follow_links.is_none()
                    && !is_home =>
            {
                return because(
                    FileState::LinkNotFollowed,
                    "it is a symbolic link, and those are not followed (--follow-symlinks)",
                );
            }
            (Ok(found), Err(error)) if found.kind == FileKind::Link => {
                let (tree, fs) = (&self.tree, &mut self.fs);
                return match self.coverage.why_not_through(tree, fs, dir, name, found) {
                    Some(why) => because(FileState::LinkNotFollowed, format!("it {why}")),
                    None if Failure::of(error) == Failure::Gone => because(
                        FileState::Missing,
                        "it is a symbolic link that leads nowhere: looked at again every second",
                    ),
                    None => because(
                        FileState::Unreadable,
                        format!(
                            "it is a symbolic link, and what it leads to cannot be looked at: \
                            {error}"
                        ),
                    ),
                };
            }
            (Ok(_), Ok(target)) if target.kind == FileKind::Directory => {
                return because(FileState::Directory, "it is a directory: ask for the files in it");
            }
            (Ok(_), Ok(target)) if target.kind != FileKind::Regular => {
                return because(FileState::NotRegular, "it is no regular file: never opened");
            }
            _ => {}
        }
        if let Some((state, words)) = self.refusal(dir, name, Patterns::refusal_of_file) {
            return because(state, format!("{} {words}", shown(&path)));
        }
        let directory = path_in(&self.tree, dir, b"");
        self.explain_unlisted(dir, &directory, found)
    }

    /// Which globs of the inputs that cover a directory refuse a name in it, if no input accepts
    /// it.
    pub(super) fn refusal(&self, dir: DirId, name: &[u8], ask: Ask) -> Option<(FileState, String)> {
        let path = path_in(&self.tree, dir, name);
        let roots = self.coverage.inputs.roots(self.tree.get(dir).scope).iter();
        let mut all: Vec<Option<Refused<'_>>> = roots
            .map(|&root| {
                let below = self.coverage.below(&self.tree, root, dir, &path);
                ask(&self.coverage.inputs.rules(root).patterns, name, below)
            })
            .collect();
        if let Some(&SingleFile::Path(input)) = self.coverage.single_files.get(dir, name) {
            all.push(ask(&self.coverage.inputs.get(input).patterns, name, name));
        }
        let mut words: Vec<String> = Vec::new();
        let mut state = None;
        for refused in all {
            let (this, text) = match refused? {
                Refused::Excluded(glob) => (FileState::Excluded, format!("is excluded by {glob}")),
                Refused::NotIncluded => (FileState::NotIncluded, "matches no --include".to_owned()),
            };
            state.get_or_insert(this);
            if !words.contains(&text) {
                words.push(text);
            }
        }
        Some((state?, words.join(", ")))
    }
}
