//! Why is this file (not) read? A path -> where the file stands, and the reason in words.
//!
//! In: a path as records show it, or in any other spelling. Out: [`FileStatus`]. Looks at the file
//! and at the directories above it, changes nothing.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::Engine;
use crate::engine::coverage::asking::{Covered, copy_of, look_below};
use crate::engine::coverage::single_files::SingleFile;
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::namespace::tree::{DirId, Role, VisitWork};
use crate::engine::reading::rewriting::Rewriting;
use crate::engine::schedule::timers;
use crate::patterns::{Patterns, Refused};
use crate::record::SECOND_MAX;
use crate::record::push_file;
use crate::sink::Sink;
use crate::status::file::{FileState, FileStatus, PathText, shown};
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Stat};

/// A question to the globs of one input.
type Ask = for<'a> fn(&'a Patterns, &[u8], &[u8]) -> Option<Refused<'a>>;

/// A state, and the sentence that goes with it.
pub(in crate::engine) type Reason = (FileState, String);

fn because(state: FileState, why: impl Into<String>) -> Reason {
    (state, why.into())
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Where the file at this path stands, and why. A few looks at the file system, none of them at
    /// more than the path's components, and none at what no PATH covers.
    pub fn explain(&mut self, asked: &[u8], now: Now) -> FileStatus {
        let outside = match self.coverage.covered(&self.files, &self.tree, &mut self.fs, asked) {
            Covered::By(dir, rest) => return self.explain_covered(asked, dir, &rest, now),
            Covered::Known(id) => {
                let target = self.stat_name(id).map(|(found, _)| found);
                return self.explain_known(id, asked, target, now);
            }
            Covered::Missing => {
                because(FileState::Missing, "the PATH that covers it does not exist")
            }
            Covered::No => match self.coverage.state_directory_above(asked) {
                Some(above) => in_state_directory(&above),
                None => because(FileState::NotCovered, "no PATH covers it"),
            },
        };
        self.explain_departed(asked, asked, now).unwrap_or_else(|| nothing_known(asked, outside))
    }

    /// Where the file of this name in a directory stands.
    pub(in crate::engine) fn explain_in(
        &mut self,
        dir: DirId,
        name: &[u8],
        now: Now,
    ) -> FileStatus {
        let path = self.path_in(dir, name);
        self.explain_covered(&path, dir, &[name.to_vec()], now)
    }

    /// Why the directory of this name in another one is not followed.
    pub(in crate::engine) fn explain_directory_in(&mut self, dir: DirId, name: &[u8]) -> Reason {
        let links = self.tree.write_name(dir, name, &mut self.path);
        let found = self.fs.stat(&self.path, links);
        if is_user_mount(&found) {
            return in_user_mount();
        }
        if found
            .as_ref()
            .is_ok_and(|found| self.own.directories.contains(&(found.id.device, found.id.inode)))
        {
            return in_state_directory(&self.path_in(dir, name));
        }
        self.explain_directory(dir, name, &found)
    }

    fn explain_covered(
        &mut self,
        asked: &[u8],
        dir: DirId,
        rest: &[Vec<u8>],
        now: Now,
    ) -> FileStatus {
        let (found, target) = match rest {
            [] => {
                return nothing_known(
                    asked,
                    because(FileState::Directory, "it is a directory: ask for the files in it"),
                );
            }
            [name] => self.coverage.look_in(&self.tree, &mut self.fs, dir, name),
            names => look_below(&self.tree, &mut self.fs, dir, names),
        };
        if let [name] = rest {
            let is_link = found.as_ref().is_ok_and(|found| found.kind == FileKind::Link);
            let slot = target
                .as_ref()
                .ok()
                .and_then(|target| self.files.find_id(target.id))
                .or_else(|| self.files.find(dir, name));
            // What keeps a link from leading anywhere is told the same way whatever is behind it.
            let is_told_by_link = is_link
                && target.is_err()
                && slot.is_none_or(|id| !self.files.get(id).is_identified());
            if let Some(id) = slot.filter(|_| !is_told_by_link) {
                // One that new settings leave out is remembered as if it had left, though it is
                // where it was.
                let is_let_go = self.files.get(id).life() == Life::Parked && target.is_ok();
                let refusal = if is_let_go {
                    self.refusal(dir, name, Patterns::refusal_of_file)
                } else {
                    None
                };
                let known = self.explain_known(id, asked, target, now);
                let Some((state, words)) = refusal else { return known };
                let asked = shown(asked);
                let why = format!(
                    "{asked} {words}; if the settings take it again within ten minutes, it goes on \
                    at its offset"
                );
                return FileStatus { state, why, ..known };
            }
        }
        if target.as_ref().is_err_and(|error| Failure::of(error) == Failure::Gone)
            && let Some(departed) =
                self.explain_departed(asked, &self.path_in(dir, &rest.join(&b'/')), now)
        {
            return departed;
        }
        let reason = self.explain_unknown(dir, rest, &found, &target);
        let regular = target.ok().filter(|target| target.kind == FileKind::Regular);
        FileStatus {
            size: regular.map(|found| found.size),
            modified: regular.map(|found| rfc3339(found.modified)),
            ..nothing_known(asked, reason)
        }
    }

    pub(in crate::engine) fn explain_known(
        &mut self,
        id: SlotId,
        asked: &[u8],
        target: io::Result<Stat>,
        now: Now,
    ) -> FileStatus {
        let path = self.path_of(id).unwrap_or_else(|| asked.to_vec());
        let held = self.reading.held.get(&id).and_then(|held| self.fs.stat_file(&held.file).ok());
        let file = self.files.file_id(id);
        // By name it may be another file by now.
        let own = held
            .or_else(|| target.as_ref().ok().copied())
            .filter(|found| file.is_none_or(|file| file == found.id));
        let (state, mut why) = self.state_of(id, own.as_ref(), &target, now);
        if self.files.get(id).state().contains(State::STARTED_AT_END | State::WAS_OLD) {
            why.push_str(
                "; it was started at its end, because it had not been modified for --ignore-older",
            );
        }
        let key = self.files.key(id);
        let slot = self.files.get(id);
        let read_at = self
            .commits
            .as_ref()
            .and_then(|commits| commits.ledger.get(key))
            .map_or(0, |known| known.read_at);
        let is_followed = file.is_some() && slot.life() != Life::Ignored;
        FileStatus {
            asked: (path != asked).then(|| PathText::new(asked)),
            path: PathText::new(&path),
            state,
            why,
            file: file.filter(|_| is_followed).map(|file| {
                let mut text = Vec::new();
                push_file(file.device, file.inode, slot.generation, &mut text);
                text.extend_from_slice(self.reading.encoder.run());
                String::from_utf8(text).expect("hexadecimal")
            }),
            offset: is_followed.then_some(slot.offset),
            size: own.map(|found| found.size),
            unread_bytes: own
                .filter(|_| is_followed)
                .map(|found| found.size.saturating_sub(slot.offset)),
            unfinished_bytes: (is_followed && slot.scanned > 0).then_some(u64::from(slot.scanned)),
            modified: own.map(|found| rfc3339(found.modified)),
            read_to_end: (read_at > 0)
                .then(|| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_nanos(read_at))),
            started_at_end: slot.state().contains(State::STARTED_AT_END),
        }
    }

    /// The path of a file that has one.
    pub(in crate::engine) fn path_of(&self, id: SlotId) -> Option<Vec<u8>> {
        let dir = self.files.get(id).dir();
        self.files.get(id).is_bound().then(|| {
            let mut path = Vec::new();
            self.tree.write_path(dir, &mut path);
            path.extend_from_slice(self.files.name(id));
            path
        })
    }

    fn state_of(
        &mut self,
        id: SlotId,
        own: Option<&Stat>,
        target: &io::Result<Stat>,
        now: Now,
    ) -> Reason {
        let slot = self.files.get(id);
        let state = slot.state();
        match slot.life() {
            Life::Ignored if state.contains(State::BINARY) => because(
                FileState::Binary,
                "its first block is binary, and such files are left out (binary = \"skip\"); \
                decided anew when its content restarts",
            ),
            Life::Ignored if slot.is_identified() => self.own.explain(&self.files, &self.tree, id),
            Life::Ignored => because(FileState::NotRegular, "it is no regular file: never opened"),
            Life::Parked => self.explain_parked(id, now.instant),
            Life::Finishing => because(
                FileState::Finishing,
                "it is not in the tree any more, but held open until it is read to its end",
            ),
            Life::Leaving => because(FileState::BeingLookedAt, "it lost its name a moment ago"),
            Life::Free => because(FileState::Missing, "it is gone"),
            _ if state.contains(State::UNREADABLE) => self.explain_unreadable(id, target),
            Life::Named | Life::Following if state.contains(State::RETRY) => because(
                FileState::Retried,
                "it could not be looked at or read a moment ago, or a directory above it is being \
                renamed: tried again",
            ),
            Life::Named if state.contains(State::DOUBT) => {
                because(FileState::BeingLookedAt, "its name came up: it is looked at next")
            }
            Life::Named => because(
                FileState::BeingLookedAt,
                "its name came up and was looked at: what was found counts once no event is left \
                in the kernel's queue",
            ),
            Life::Following if state.contains(State::DIRTY) => self.explain_unread(id, now),
            Life::Following => {
                let (offset, scanned) = (slot.offset, slot.scanned);
                if let Some(reason) = self.explain_rewriting(id) {
                    return reason;
                }
                let dir = self.tree.at_place(slot.dir().0);
                let found_again = self.found_again(dir);
                let (state, why) = Self::explain_read(offset, scanned, own, &found_again);
                let is_held_up = self.outbox.blocked(now.instant).is_some()
                    && self.outbox.holds(self.files.key(id));
                if state.is_well() && is_held_up {
                    let blocked = self.blocked_in_words(now.instant);
                    return because(
                        FileState::OutputBlocked,
                        format!("{why}; but {blocked}, its last lines among them"),
                    );
                }
                because(state, why)
            }
        }
    }

    fn explain_parked(&self, id: SlotId, now: Instant) -> Reason {
        let deadline = self.schedule.parked_until(id);
        let left =
            deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(now));
        let since = timers::PARKED_FOR.saturating_sub(left).as_secs();
        let kept = left.as_secs();
        because(
            FileState::LeftTree,
            format!(
                "it left the tree {since} s ago: if it comes back within {kept} s, it goes on at \
                its offset"
            ),
        )
    }

    fn explain_unreadable(&mut self, id: SlotId, target: &io::Result<Stat>) -> Reason {
        let links = self.write_path(id);
        let outcome = match target {
            Err(error) => Err(copy_of(error)),
            Ok(found) => match self.check_owner(id, found.owner) {
                Err(why) => {
                    return because(FileState::OtherOwner, format!("it is left out: {why}"));
                }
                Ok(()) => self.fs.open(&self.path, links).map(drop),
            },
        };
        because(
            FileState::Unreadable,
            match outcome {
                Err(error) if Failure::of(&error) == Failure::UserMount => return in_user_mount(),
                Err(error) => format!("it cannot be read: {error}; picked up when that changes"),
                Ok(()) => {
                    "it could not be read when it was tried last, but could be now: the next event \
                    or sweep finds it"
                        .to_owned()
                }
            },
        )
    }

    /// It has, or may have, unread bytes: what keeps it?
    fn explain_unread(&mut self, id: SlotId, now: Now) -> Reason {
        let state = self.files.get(id).state();
        if self.is_stopping {
            because(FileState::Stopping, "a stop was asked for: nothing more is read")
        } else if self.outbox.blocks(state.intersects(State::BACKLOG | State::HAS_MORE)) {
            because(
                FileState::OutputBlocked,
                format!("{}, so nothing more is read", self.blocked_in_words(now.instant)),
            )
        } else if state.contains(State::DOUBT) {
            because(FileState::BeingLookedAt, "what its name stands for is looked at first")
        } else if state.contains(State::BY_AGE) {
            because(
                FileState::WaitsForListing,
                "a listing brought it up: it is read in its turn once the listing is through",
            )
        } else if state.contains(State::UNSTORED) {
            because(
                FileState::WaitsForStore,
                "its first record waits until its number is stored in the state directory",
            )
        } else if state.contains(State::AWAITS_PREDECESSOR) {
            let older =
                self.identities.succession.predecessor(id).and_then(|key| self.files.alive(key));
            let older = older
                .and_then(|older| self.path_of(older))
                .map_or("without a name now".to_owned(), |path| shown(&path));
            because(
                FileState::WaitsForPredecessor,
                format!("the file that had its name before is read first: {older}"),
            )
        } else if state.contains(State::COOLING) {
            because(FileState::CoolingDown, "it was read a moment ago: again within --coalesce")
        } else {
            let waiting = self.schedule.unread.len();
            because(FileState::Queued, format!("it is one of {waiting} files whose turn comes"))
        }
    }

    /// It is written over from the front.
    fn explain_rewriting(&self, id: SlotId) -> Option<Reason> {
        let offset = self.files.get(id).offset;
        Some(match self.rewriting(id)? {
            Rewriting::BeforeOffset => because(
                FileState::WrittenBefore,
                format!(
                    "written before the offset {offset}, without truncation: read again from its \
                    start when the writer comes there"
                ),
            ),
            Rewriting::FollowedUpTo(end) => because(
                FileState::ReadToEnd,
                format!(
                    "read to the position of its writer, who writes over it from the front; the \
                    former content ends at byte {end}"
                ),
            ),
        })
    }

    /// What finds a change in a directory that no event told of, and when.
    fn found_again(&self, dir: Option<DirId>) -> String {
        if dir.is_some_and(|dir| self.tree.get(dir).is_polled) {
            return "its directory is listed every second, which finds it".to_owned();
        }
        let remote = self
            .config
            .rescan_remote
            .filter(|_| dir.is_some_and(|dir| self.tree.get(dir).is_blind()));
        match remote.into_iter().chain(self.config.rescan).min() {
            Some(period) => {
                format!("the sweep finds it within {}", humantime::format_duration(period))
            }
            None => "and there is no sweep that would (--rescan 0)".to_owned(),
        }
    }

    /// Nothing more was to be read when it was looked at last. Is that still so?
    fn explain_read(offset: u64, scanned: u32, own: Option<&Stat>, found_again: &str) -> Reason {
        let end = offset + u64::from(scanned);
        match own {
            None => because(
                FileState::BeingLookedAt,
                "its name leads elsewhere or nowhere now: it is looked at when the event comes",
            ),
            Some(found) if found.size > end => {
                let more = found.size - end;
                because(
                    FileState::NotNoticed,
                    format!("{more} bytes came that no event told of yet: {found_again}"),
                )
            }
            Some(found) if found.size < end => because(
                FileState::NotNoticed,
                format!("it became shorter, and no event told of it yet: {found_again}"),
            ),
            Some(_) if scanned > 0 => because(
                FileState::Unfinished,
                format!(
                    "read to its end, save a last line of {scanned} bytes that no newline ends yet"
                ),
            ),
            Some(_) => because(FileState::ReadToEnd, "read to its end"),
        }
    }

    fn explain_unknown(
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
        // It is known by its place, or, if it is another one by now, by its inode: it is the first
        // directory that is not listed.
        if let [first, _, ..] = rest
            && self.coverage.look_in(&self.tree, &mut self.fs, dir, first).0.is_ok_and(|found| {
                self.own.directories.contains(&(found.id.device, found.id.inode))
            })
        {
            return in_state_directory(&self.path_in(dir, first));
        }
        match rest {
            [name] => self.explain_name(dir, name, found, target),
            _ => self.explain_directory(dir, &rest[0], found),
        }
    }

    /// A directory above the file is not followed.
    fn explain_directory(&mut self, dir: DirId, name: &[u8], found: &io::Result<Stat>) -> Reason {
        let path = self.path_in(dir, name);
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
        self.explain_unlisted(dir, &self.path_in(dir, b""), found)
    }

    /// A directory is known, but not what is in it.
    fn explain_unlisted(&mut self, dir: DirId, path: &[u8], found: &io::Result<Stat>) -> Reason {
        let found_here = self.tree.get(dir);
        let (is_unreadable, visits) =
            (found_here.is_unreadable(), found_here.queued | found_here.unfinished);
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
                "it is in the tree, but no event told of it yet: the sweep finds it (--rescan)",
            ),
        }
    }

    /// The file is in a directory that is followed.
    fn explain_name(
        &mut self,
        dir: DirId,
        name: &[u8],
        found: &io::Result<Stat>,
        target: &io::Result<Stat>,
    ) -> Reason {
        let path = self.path_in(dir, name);
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
        let directory = self.path_in(dir, b"");
        self.explain_unlisted(dir, &directory, found)
    }

    /// What the globs of all inputs that cover a directory say against a name in it, if none
    /// accepts it.
    fn refusal(&self, dir: DirId, name: &[u8], ask: Ask) -> Option<(FileState, String)> {
        let path = self.path_in(dir, name);
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

    fn path_in(&self, dir: DirId, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::new();
        self.tree.write_path(dir, &mut path);
        path.extend_from_slice(name);
        if path.is_empty() { b".".to_vec() } else { path }
    }

    /// Why nothing is read while records wait for the output.
    pub(in crate::engine) fn blocked_in_words(&self, now: Instant) -> String {
        let for_now = self.outbox.blocked(now).unwrap_or_default();
        let state = self.outbox.sink().state();
        let trouble = match self.output_file.failure().map(str::to_owned).or(state.failure) {
            Some(failure) => format!("fails ({failure})"),
            None if !state.is_connected => "is not there".to_owned(),
            None => "takes nothing".to_owned(),
        };
        format!(
            "the output {trouble}, for {:.1} s by now: records wait for it",
            for_now.as_secs_f64()
        )
    }
}

/// The answer about a file of which nothing is known.
fn nothing_known(asked: &[u8], (state, why): Reason) -> FileStatus {
    FileStatus {
        path: PathText::new(asked),
        asked: None,
        state,
        why,
        file: None,
        offset: None,
        size: None,
        unread_bytes: None,
        unfinished_bytes: None,
        modified: None,
        read_to_end: None,
        started_at_end: false,
    }
}

fn in_state_directory(directory: &[u8]) -> Reason {
    because(
        FileState::StateDirectory,
        format!("it is in our own state directory, {}", shown(directory)),
    )
}

fn is_user_mount(look: &io::Result<Stat>) -> bool {
    matches!(look, Err(error) if Failure::of(error) == Failure::UserMount)
}

fn in_user_mount() -> Reason {
    because(
        FileState::UserMount,
        "a user other than root mounted something on it, or on a directory above it: left out \
        until it is unmounted",
    )
}

/// A file may have a time that there is no way to write.
fn rfc3339(time: SystemTime) -> String {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(SECOND_MAX);
    humantime::format_rfc3339_millis(time.clamp(SystemTime::UNIX_EPOCH, last)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_written_is_told_as_the_nearest_one() {
        let far = Duration::from_secs(1 << 50);
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - far), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + far), "9999-12-31T23:59:59.000Z");
    }
}
