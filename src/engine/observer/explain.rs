//! Why is this file (not) read? A path -> how far the file was read, and the reason in words.
//!
//! In: a path as records show it, or in any other spelling. Out: [`FileStatus`]. Looks at the file
//! and at the directories above it, changes nothing.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{CarriageReturn, EngineConfig};
use crate::engine::Engine;
use crate::engine::coverage::asking::{Covered, copy_of, look_below};
use crate::engine::namespace::registry::{Life, Registry, SlotId, State};
use crate::engine::namespace::tree::{DirId, Tree};
use crate::engine::observer::paths::{path_in, path_of};
use crate::engine::observer::reasons::{
    Reason, because, blocked_in_words, in_state_directory, in_user_mount, nothing_known, rfc3339,
};
use crate::engine::reading::rewriting::{Rewrites, Rewriting};
use crate::engine::schedule::{Schedule, timers};
use crate::patterns::Patterns;
use crate::record::push_file;
use crate::sink::Sink;
use crate::status::file::{FileState, FileStatus, PathText, shown};
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Stat};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Explains the state of the file at this path. Takes a few looks, at most at the components of
    /// the path, and none at what no PATH covers.
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

    /// Explains the state of the file of this name in a directory.
    pub(in crate::engine) fn explain_in(
        &mut self,
        dir: DirId,
        name: &[u8],
        now: Now,
    ) -> FileStatus {
        let path = path_in(&self.tree, dir, name);
        self.explain_covered(&path, dir, &[name.to_vec()], now)
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
            // Why a link leads nowhere is explained in the same words whatever is behind it.
            let is_told_by_link = is_link
                && target.is_err()
                && slot.is_none_or(|id| !self.files.get(id).is_identified());
            if let Some(id) = slot.filter(|_| !is_told_by_link) {
                // A file that new settings leave out is remembered as if it had left, although it
                // is where it was.
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
                self.explain_departed(asked, &path_in(&self.tree, dir, &rest.join(&b'/')), now)
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
        let path = path_of(&self.files, &self.tree, id).unwrap_or_else(|| asked.to_vec());
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
            .offsets
            .get()
            .and_then(|commits| commits.ledger.get(key))
            .map_or(0, |known| known.read_at);
        let is_followed = file.is_some() && slot.life() != Life::Ignored;
        let status = FileStatus {
            asked: (path != asked).then(|| PathText::new(asked)),
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
            uid: own.map(|found| found.owner),
            ..nothing_known(&path, because(state, why))
        };
        if is_followed { self.add_input(id, &path, status) } else { status }
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
            Life::Parked => explain_parked(&self.schedule, id, now.instant),
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
                because(FileState::BeingLookedAt, "an event named it: it is examined next")
            }
            Life::Named => because(
                FileState::BeingLookedAt,
                "an event named it and it was examined: the result counts once no event is left \
                in the kernel's queue",
            ),
            Life::Following if state.contains(State::DIRTY) => self.explain_unread(id, now),
            Life::Following => {
                let (offset, scanned) = (slot.offset, slot.scanned);
                if let Some(reason) = explain_rewriting(&self.reading.rewrites, &self.files, id) {
                    return reason;
                }
                let dir = self.tree.at_place(slot.dir().0);
                let found_again = found_again(&self.config, &self.tree, dir);
                let input = self.coverage.inputs.get(slot.input);
                let rest = match (&input.multiline, input.carriage_return) {
                    (Some(_), _) => ("a record", "may go on"),
                    (None, CarriageReturn::Data) => ("a last line", "no newline ends yet"),
                    (None, CarriageReturn::Split | CarriageReturn::Latest) => (
                        "a last line",
                        "nothing ends yet: a newline, or a carriage return and the byte behind it",
                    ),
                };
                let is_end_told = slot.is_end_told;
                let (state, mut why) = explain_read(offset, scanned, own, &found_again, rest);
                if is_end_told {
                    why.push_str("; its end was told");
                }
                let is_held_up = self.outbox.blocked(now.instant).is_some()
                    && self.outbox.holds(self.files.key(id));
                if state.is_well() && is_held_up {
                    let blocked = blocked_in_words(&self.outbox, &self.output_file, now.instant);
                    return because(
                        FileState::OutputBlocked,
                        format!("{why}; but {blocked}, its last lines among them"),
                    );
                }
                because(state, why)
            }
        }
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

    /// Explains what keeps a file with unread bytes from being read.
    fn explain_unread(&mut self, id: SlotId, now: Now) -> Reason {
        let state = self.files.get(id).state();
        if self.is_stopping {
            because(FileState::Stopping, "a stop was asked for: nothing more is read")
        } else if self.outbox.blocks(state.intersects(State::BACKLOG | State::HAS_MORE)) {
            because(
                FileState::OutputBlocked,
                format!(
                    "{}, so nothing more is read",
                    blocked_in_words(&self.outbox, &self.output_file, now.instant)
                ),
            )
        } else if state.contains(State::DOUBT) {
            because(FileState::BeingLookedAt, "its name must be resolved first")
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
                .and_then(|older| path_of(&self.files, &self.tree, older))
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
}

fn explain_parked(schedule: &Schedule, id: SlotId, now: Instant) -> Reason {
    let deadline = schedule.parked_until(id);
    let left = deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(now));
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

/// Explains a file that is written over from the front.
fn explain_rewriting(rewrites: &Rewrites, files: &Registry, id: SlotId) -> Option<Reason> {
    let offset = files.get(id).offset;
    Some(match rewrites.status(files, id)? {
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

/// What finds a change in a directory that caused no event, and when.
fn found_again(config: &EngineConfig, tree: &Tree, dir: Option<DirId>) -> String {
    if dir.is_some_and(|dir| tree.get(dir).is_polled) {
        return "its directory is listed every second, which finds it".to_owned();
    }
    let remote = config.rescan_remote.filter(|_| dir.is_some_and(|dir| tree.get(dir).is_blind()));
    match remote.into_iter().chain(config.rescan).min() {
        Some(period) => {
            format!("the sweep finds it within {}", humantime::format_duration(period))
        }
        None => "and there is no sweep that would (--rescan 0)".to_owned(),
    }
}

/// Explains a file that was read to its end, as of its last read.
fn explain_read(
    offset: u64,
    scanned: u32,
    own: Option<&Stat>,
    found_again: &str,
    (what, lacks): (&str, &str),
) -> Reason {
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
                format!("{more} bytes came without an event so far: {found_again}"),
            )
        }
        Some(found) if found.size < end => because(
            FileState::NotNoticed,
            format!("it became shorter, and no event reported it yet: {found_again}"),
        ),
        Some(_) if scanned > 0 => because(
            FileState::Unfinished,
            format!("read to its end, save {what} of {scanned} bytes that {lacks}"),
        ),
        Some(_) => because(FileState::ReadToEnd, "read to its end"),
    }
}
