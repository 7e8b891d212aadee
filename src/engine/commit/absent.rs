//! Entries of the journal whose files are not found.
//!
//! In: the end of the first scan, and time. Out: entries that are marked, and dropped in the
//! end.
//! Always holds: an entry is dropped only after two looks, [`GONE_AFTER`] apart, that both could
//! have found the file, or after [`KEPT_FOR`]. Right after a start, no look could have found it
//! while a part of the tree is out of sight: the file may have been moved there while no process
//! ran.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use nix::libc;

use crate::checkpoint::{Entry, EntryFlags};
use crate::engine::commit::commits::Commits;
use crate::engine::coverage::root::{Root, RootState};
use crate::engine::namespace::tree::Trust;
use crate::engine::{Engine, LOOKS_PER_TURN};
use crate::names::prefix_of;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileId, FileSystem, Links};

/// Between the two looks: as long as a file that leaves the tree is remembered.
const GONE_AFTER: Duration = Duration::from_secs(600);

/// How long the entry of a file is kept that exists but is not followed: another PATH, another
/// glob, a file system that is not mounted.
const KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);

/// The pass over entries whose files were not found.
#[derive(Debug, Default)]
pub(in crate::engine) struct Absence {
    /// The place of the next entry; `None`: no pass is running.
    place: Option<usize>,
    /// When the next pass begins.
    next: Option<Instant>,
    is_scanned: bool,
    /// A pass is through.
    has_looked: bool,
}

impl Absence {
    /// What is there at the start is still being found.
    pub(in crate::engine) fn is_first_scan(&self) -> bool {
        !self.is_scanned
    }

    /// A PATH was added: it counts as scanned once all is calm again.
    pub(in crate::engine) fn begin_scan(&mut self) {
        self.is_scanned = false;
    }

    /// The scan is through: a pass begins.
    fn end_scan(&mut self) {
        self.is_scanned = true;
        self.place = Some(0);
    }

    /// When the next pass is due.
    pub(in crate::engine) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a pass is running.
    pub(in crate::engine) fn is_running(&self) -> bool {
        self.place.is_some()
    }

    /// The place at which the pass goes on. One that is due begins.
    fn place(&mut self, now: Instant) -> Option<usize> {
        if self.next.take_if(|at| *at <= now).is_some() {
            self.place = Some(0);
        }
        self.place
    }
}

/// What becomes of an entry whose file was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is dropped.
    Drop,
    /// It is marked as absent.
    Mark,
    /// It stays as it is.
    Keep,
}

/// `is_gone`: see [`Engine::is_gone`]. `today`: the time since 1970.
fn judge(entry: &Entry, is_gone: Option<bool>, today: Duration) -> Verdict {
    let absent_for = today.saturating_sub(Duration::from_secs(entry.absent_since));
    let was_gone = entry.flags.contains(EntryFlags::GONE);
    let is_over = is_gone == Some(true) && was_gone && absent_for >= GONE_AFTER;
    if is_over || (entry.absent_since != 0 && absent_for >= KEPT_FOR) {
        Verdict::Drop
    } else if entry.absent_since == 0 || (is_gone == Some(true) && !was_gone) {
        Verdict::Mark
    } else {
        Verdict::Keep
    }
}

impl Commits {
    /// The scan is through: these PATHs were found.
    fn note_scanned(&mut self, found: Vec<Vec<u8>>) {
        self.scanned = found.into_iter().filter(|path| !self.stored.is_scanned(path)).collect();
        self.stored.shrink();
    }

    fn mark_absent(&mut self, file: FileId, is_gone: bool, today: Duration) {
        if let Some(entry) = self.stored.get_mut(file) {
            entry.absent_since = today.as_secs();
            entry.flags.set(EntryFlags::GONE, is_gone);
        }
        self.stored_changes.push(file);
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Looks at files that have an entry but were not found, in slices: after the first scan, and
    /// every [`GONE_AFTER`] from then on.
    pub(in crate::engine) fn look_for_absent(&mut self, now: Now) {
        if self.offsets.get().is_none() {
            return;
        }
        if self.discovery.absence.is_first_scan()
            && self.is_calm()
            && self.schedule.by_age.is_empty()
        {
            self.discovery.absence.end_scan();
            let found = self.coverage.found_roots();
            if let Some(commits) = self.offsets.get_mut() {
                commits.note_scanned(found);
            }
        }
        let Some(first) = self.discovery.absence.place(now.instant) else { return };
        for place in first..first + LOOKS_PER_TURN {
            let Some(commits) = self.offsets.get() else { return };
            match commits.stored.at(place) {
                Some(Some((entry, path))) => {
                    let path = path.to_vec();
                    self.judge_absent(entry, &path, now);
                }
                Some(None) => {}
                None => {
                    self.discovery.absence.place = None;
                    self.discovery.absence.has_looked = true;
                    // With `--once` there is no second look in this run.
                    self.discovery.absence.next = (!commits.stored.is_empty() && !self.config.once)
                        .then_some(now.instant + GONE_AFTER);
                    return;
                }
            }
        }
        self.discovery.absence.place = Some(first + LOOKS_PER_TURN);
    }

    /// A file has an entry, but was not found.
    fn judge_absent(&mut self, entry: Entry, path: &[u8], now: Now) {
        let today = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_gone = self.is_gone(entry.id, path).filter(|_| !self.may_be_out_of_sight());
        let Some(commits) = self.offsets.get_mut() else { return };
        match judge(&entry, is_gone, today) {
            Verdict::Drop => {
                rare!("the entry of a file that is gone was dropped");
                commits.stored.take(entry.id);
                self.files.forget_generation(entry.id, entry.generation);
                commits.ledger.drop_entry(entry.id, entry.generation);
            }
            Verdict::Mark => {
                rare!("a file that the journal knows was absent");
                commits.mark_absent(entry.id, is_gone == Some(true), today);
            }
            Verdict::Keep => {}
        }
    }

    /// Whether a file that no directory shows may have been moved, before the start, to where
    /// nothing can be seen yet.
    fn may_be_out_of_sight(&self) -> bool {
        !self.discovery.absence.has_looked
            && (self.tree.unreadable() > 0
                || self.files.counts(false, false).unreadable > 0
                || self.coverage.roots.iter().any(|root| root.state == RootState::Missing))
    }

    /// Whether the file is not where it was. `None`: a look cannot tell.
    fn is_gone(&mut self, file: FileId, path: &[u8]) -> Option<bool> {
        if path.is_empty() {
            return Some(true);
        }
        let trusted = trusted_by_a_path(&self.coverage.roots, path);
        let trust = Trust {
            trusted: trusted.unwrap_or_default(),
            followed: trusted.map_or(0, |_| path.len()),
        };
        let links = trust.links(self.tree.link_rule());
        match self.fs.stat(path, links) {
            Ok(found) => Some(found.id != file),
            // What is not below a PATH any more may have been reached through links.
            Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) && trusted.is_none() => None,
            Err(error) if has_no_name(&error) => {
                rare!("a file that the journal knows had no name any more");
                // Where a file system is not mounted, nothing is found, and nothing is gone.
                (device_above(&mut self.fs, path, trusted.unwrap_or_default())? == file.device)
                    .then_some(true)
            }
            Err(_) => None,
        }
    }
}

/// Whether an error says that nothing has this name. `ELOOP` does not: a link that is not followed
/// now is in the way, and the file may well be behind it, under settings that follow it.
fn has_no_name(error: &io::Error) -> bool {
    Failure::of(error) == Failure::Gone && error.raw_os_error() != Some(libc::ELOOP)
}

/// How much of a path, as records show it, is the PATH that it is below.
fn trusted_by_a_path(roots: &[Root], path: &[u8]) -> Option<usize> {
    let roots = roots.iter().filter(|root| root.state != RootState::Removed);
    roots
        .filter_map(|root| {
            let prefix = prefix_of(&root.path);
            if path.starts_with(&prefix) {
                Some(prefix.len())
            } else {
                (path == root.path).then_some(path.len())
            }
        })
        .max()
}

/// The device of the directory nearest above the path that exists.
fn device_above<F: FileSystem>(fs: &mut F, path: &[u8], trusted: usize) -> Option<u64> {
    let mut above = path;
    while let Some(slash) = memchr::memrchr(b'/', above) {
        above = &above[..slash];
        let directory = if above.is_empty() { b"/" } else { above };
        let links = if directory.len() < trusted { Links::Follow } else { Links::Beneath(trusted) };
        match fs.stat(directory, links) {
            Ok(found) => return Some(found.id.device),
            Err(error) if has_no_name(&error) => {}
            Err(_) => return None,
        }
    }
    fs.stat(b".", Links::Follow).ok().map(|found| found.id.device)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn entry(absent_since: u64, is_gone: bool) -> Entry {
        Entry {
            id: FileId { device: 1, inode: 2, inode_generation: 3 },
            generation: 0,
            offset: 0,
            mark: 0,
            mark_len: 0,
            flags: if is_gone { EntryFlags::GONE } else { EntryFlags::empty() },
            complete_at: 0,
            absent_since,
        }
    }

    #[test]
    fn an_entry_is_dropped_after_two_looks_ten_minutes_apart_or_a_week() {
        let now = 100 * DAY;
        for (absent_since, was_gone, is_gone, expected) in [
            (0, false, Some(true), Verdict::Mark),
            (0, false, Some(false), Verdict::Mark),
            (0, false, None, Verdict::Mark),
            (now - 599, true, Some(true), Verdict::Keep),
            (now - 600, true, Some(true), Verdict::Drop),
            // The look before could not have found it: this one is the first.
            (now - 600, false, Some(true), Verdict::Mark),
            (now - 600, true, None, Verdict::Keep),
            (now - 600, true, Some(false), Verdict::Keep),
            (now - 600, false, Some(false), Verdict::Keep),
            (now - 7 * DAY + 1, false, None, Verdict::Keep),
            (now - 7 * DAY, false, None, Verdict::Drop),
            (now - 7 * DAY, true, Some(false), Verdict::Drop),
        ] {
            let verdict = judge(&entry(absent_since, was_gone), is_gone, Duration::from_secs(now));
            assert_eq!(verdict, expected, "{absent_since} {was_gone} {is_gone:?}");
        }
    }

    #[test]
    fn a_link_in_the_way_does_not_say_that_a_name_is_gone() {
        for (errno, expected) in [
            (libc::ENOENT, true),
            (libc::ENOTDIR, true),
            (libc::ELOOP, false),
            (libc::EACCES, false),
            (libc::EMFILE, false),
        ] {
            assert_eq!(has_no_name(&io::Error::from_raw_os_error(errno)), expected, "{errno}");
        }
    }
}
