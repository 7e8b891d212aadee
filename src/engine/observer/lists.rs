//! `status --list`: all files and directories of a kind, page by page.
//!
//! In: a kind, and where the page before ended. Out: a page with paths and reasons, and where the
//! next one begins.
//! Always holds: the cost of a page is bounded, whatever the number of files. Excluded names are
//! not stored: they are found by listing the directories once more. A listing stays open from page
//! to page; at most [`WALKS_MAX`] do, for at most [`WALK_KEPT`].

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::coverage::root;
use crate::engine::namespace::registry::{FileSlot, Life, SlotId, State};
use crate::engine::namespace::tree::{DirId, DirKey, Directory, Role};
use crate::engine::observer::paths::path_of;
use crate::engine::observer::reasons::blocked_in_words;
use crate::sink::Sink;
use crate::status::file::{FileState, ListKind, Listed, ListedPage, PathText};
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem};

/// Files or directories looked at for a page, which is also the largest number of its entries.
const ENTRIES_PER_PAGE: usize = 64;

/// Slots or directories looked through for a page: a fraction of a millisecond.
const PLACES_PER_PAGE: u64 = 16 * 1024;

/// Names of a listing looked through for a page; each may take some looks.
const NAMES_PER_PAGE: usize = 256;

/// Walks at a time; one more replaces the one that has waited longest.
const WALKS_MAX: usize = 4;

/// A walk ends when it was not used for this long.
const WALK_KEPT: Duration = Duration::from_secs(10);

/// In a cursor: directories are through, files are next.
const FILES: u64 = 1 << 62;

/// Directories that are being listed once more.
#[derive(Debug)]
struct Walk<L> {
    number: u64,
    /// The directory that comes next.
    place: u32,
    listing: Option<(DirKey, L)>,
    used_at: Instant,
}

/// Where a walk is after a step.
enum Step {
    In(DirId),
    /// There is no directory here, or it cannot be listed.
    Elsewhere,
    AtEnd,
}

/// All of them.
#[derive(Debug)]
pub(in crate::engine) struct Walks<L> {
    walks: Vec<Walk<L>>,
    /// How many there were so far.
    begun: u64,
}

impl<L> Walks<L> {
    pub(in crate::engine) fn new() -> Self {
        Walks { walks: Vec::new(), begun: 0 }
    }

    /// The walk with this number, or a new one (0). `None`: it is over.
    fn take(&mut self, number: u64, now: Instant) -> Option<Walk<L>> {
        if number > 0 {
            let at = self.walks.iter().position(|walk| walk.number == number)?;
            return Some(self.walks.remove(at));
        }
        if self.walks.len() >= WALKS_MAX {
            self.walks.remove(0);
        }
        self.begun += 1;
        Some(Walk { number: self.begun, place: 0, listing: None, used_at: now })
    }

    /// Keeps a walk for the next page.
    fn put_back(&mut self, walk: Walk<L>, now: Instant) {
        self.walks.push(Walk { used_at: now, ..walk });
    }

    /// Ends the walks that were not used for a while.
    pub(in crate::engine) fn expire(&mut self, now: Instant) {
        self.walks.retain(|walk| now < walk.used_at + WALK_KEPT);
    }

    pub(in crate::engine) fn deadline(&self) -> Option<Instant> {
        self.walks.iter().map(|walk| walk.used_at + WALK_KEPT).min()
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A page of the list of a kind. `cursor`: [`ListedPage::next`] of the page before, 0 at first.
    /// `None`: the walk is over.
    pub fn list_page(&mut self, kind: ListKind, cursor: u64, now: Now) -> Option<ListedPage> {
        match kind {
            ListKind::Lost => Some(self.observer.lost.page(cursor, now.instant)),
            ListKind::Excluded => self.list_excluded(cursor, now),
            ListKind::Blocked => {
                let waits = |slot: &FileSlot| {
                    slot.life() == Life::Following && slot.state().contains(State::DIRTY)
                };
                Some(self.list_files(cursor, waits, |engine, id| {
                    let is_backlog =
                        engine.files.get(id).state().intersects(State::BACKLOG | State::HAS_MORE);
                    engine
                        .outbox
                        .blocks(is_backlog)
                        .then(|| blocked_in_words(&engine.outbox, &engine.output_file, now.instant))
                }))
            }
            ListKind::Polled => Some(self.list_directories(
                cursor,
                |found| found.is_polled,
                |engine, dir| {
                    let why = if engine.tree.watch(dir).is_none() {
                        "there is no watch for it"
                    } else {
                        "it cannot be listed now"
                    };
                    Some(format!("{why}: tried and listed every second"))
                },
            )),
            ListKind::Unreadable if cursor < FILES => {
                let page =
                    self.list_directories(cursor, Directory::is_unreadable, |engine, dir| {
                        engine.why_directory_is_unreadable(dir)
                    });
                Some(ListedPage { next: page.next.or(Some(FILES)), ..page })
            }
            ListKind::Unreadable => {
                let is_unreadable = |slot: &FileSlot| slot.state().contains(State::UNREADABLE);
                let page = self.list_files(cursor - FILES, is_unreadable, |engine, id| {
                    engine.why_file_is_unreadable(id, now)
                });
                Some(ListedPage { next: page.next.map(|next| FILES + next), ..page })
            }
        }
    }

    /// `is_asked`: whether a slot is to be looked at, by its state alone.
    fn list_files(
        &mut self,
        cursor: u64,
        is_asked: impl Fn(&FileSlot) -> bool,
        why: impl Fn(&mut Self, SlotId) -> Option<String>,
    ) -> ListedPage {
        let end = self.files.places() as u64;
        page_of_places(cursor, end, |place| {
            let id = SlotId(place);
            let slot = self.files.get(id);
            let is_listed = slot.is_bound()
                && !matches!(slot.life(), Life::Free | Life::Parked | Life::Leaving);
            if !is_listed || !is_asked(slot) {
                return None;
            }
            let why = why(self, id);
            let path = path_of(&self.files, &self.tree, id);
            Some(why.zip(path).map(|(why, path)| Listed { path: PathText::new(&path), why }))
        })
    }

    /// As [`Engine::list_files`].
    fn list_directories(
        &mut self,
        cursor: u64,
        is_asked: impl Fn(&Directory) -> bool,
        why: impl Fn(&mut Self, DirId) -> Option<String>,
    ) -> ListedPage {
        let end = u64::from(self.tree.places());
        page_of_places(cursor, end, |place| {
            let dir = self.tree.at_place(place).filter(|&dir| is_asked(self.tree.get(dir)))?;
            Some(why(self, dir).map(|why| {
                self.tree.write_bare_path(dir, &mut self.path);
                Listed { path: PathText::new(&self.path), why }
            }))
        })
    }

    /// Why a directory cannot be read, if it should be read and cannot.
    fn why_directory_is_unreadable(&mut self, dir: DirId) -> Option<String> {
        if !self.tree.get(dir).is_unreadable() {
            return None;
        }
        let links = self.tree.write_bare_path(dir, &mut self.path);
        match self.fs.list(&self.path, links) {
            Err(error) if Failure::of(&error) == Failure::UserMount => None,
            Err(error) => Some(format!("directory: {error}")),
            Ok(_) => Some(
                "directory: it could not be read when it was tried last, but could be now"
                    .to_owned(),
            ),
        }
    }

    /// Why a file cannot be read, if it should be read and cannot.
    fn why_file_is_unreadable(&mut self, id: SlotId, now: Now) -> Option<String> {
        if !self.files.get(id).state().contains(State::UNREADABLE)
            || self.files.get(id).life() == Life::Free
        {
            return None;
        }
        let (dir, name) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        let dir = self.tree.at_place(dir.0)?;
        let found = self.explain_in(dir, &name, now);
        (found.state == FileState::Unreadable).then_some(found.why)
    }

    fn list_excluded(&mut self, cursor: u64, now: Now) -> Option<ListedPage> {
        self.discovery.walks.expire(now.instant);
        let mut walk = self.discovery.walks.take(cursor, now.instant)?;
        let mut page = ListedPage::default();
        let mut name = Vec::new();
        for _ in 0..NAMES_PER_PAGE {
            if page.entries.len() >= ENTRIES_PER_PAGE {
                break;
            }
            let dir = match self.go_on_walking(&mut walk) {
                Step::In(dir) => dir,
                Step::Elsewhere => continue,
                Step::AtEnd => return Some(page),
            };
            let Some((_, listing)) = &mut walk.listing else { continue };
            match self.fs.next_entry(listing, &mut name) {
                Ok(Some(kind)) => {
                    if let Some(why) = self.why_left_out(dir, &name, kind, now) {
                        self.tree.write_name(dir, &name, &mut self.path);
                        page.entries.push(Listed { path: PathText::new(&self.path), why });
                    }
                }
                // Directories that cannot be read are on another list.
                Ok(None) | Err(_) => walk.listing = None,
            }
        }
        page.next = Some(walk.number);
        self.discovery.walks.put_back(walk, now.instant);
        Some(page)
    }

    /// One step: to the directory whose listing is open, or to the next place.
    fn go_on_walking(&mut self, walk: &mut Walk<F::Listing>) -> Step {
        if let Some((key, _)) = &walk.listing {
            if let Some(dir) = self.tree.alive(*key) {
                return Step::In(dir);
            }
            walk.listing = None;
        }
        if walk.place >= self.tree.places() {
            return Step::AtEnd;
        }
        let dir =
            self.tree.at_place(walk.place).filter(|&dir| self.tree.get(dir).role == Role::Listed);
        walk.place += 1;
        if let Some(dir) = dir {
            let links = self.tree.write_bare_path(dir, &mut self.path);
            if let Ok(listing) = self.fs.list(&self.path, links) {
                walk.listing = Some((self.tree.key(dir), listing));
                return Step::In(dir);
            }
        }
        Step::Elsewhere
    }

    /// Why a name in a followed directory is not followed; `None` if it is.
    fn why_left_out(
        &mut self,
        dir: DirId,
        name: &[u8],
        kind: FileKind,
        now: Now,
    ) -> Option<String> {
        use FileState::{
            Binary, Excluded, ExcludedDirectory, LinkNotFollowed, NotIncluded, NotRecursive,
            NotRegular, OtherOwner, OwnOutput, StateDirectory, UserMount,
        };
        let is_followed = match (self.files.find(dir, name), self.tree.find(dir, name)) {
            (Some(id), _) => {
                let slot = self.files.get(id);
                slot.life() != Life::Ignored && !slot.state().contains(State::UNREADABLE)
            }
            (None, Some(child)) => !self.tree.get(child).is_unreadable(),
            (None, None) => false,
        };
        if is_followed {
            return None;
        }
        let (state, why) = if kind == FileKind::Directory {
            self.explain_directory_in(dir, name)
        } else {
            let found = self.explain_in(dir, name, now);
            (found.state, found.why)
        };
        let is_left_out = matches!(
            state,
            Binary
                | Excluded
                | ExcludedDirectory
                | LinkNotFollowed
                | NotIncluded
                | NotRecursive
                | NotRegular
                | OtherOwner
                | OwnOutput
                | StateDirectory
                | UserMount
        );
        is_left_out.then_some(why)
    }

    /// At the end of `--once`: what could not be read.
    pub(in crate::engine) fn not_read(&mut self, now: Now) -> NotRead {
        let mut not_read = NotRead {
            paths: self
                .coverage
                .roots
                .iter()
                .filter(|root| root.state == root::RootState::Missing)
                .count(),
            ..NotRead::default()
        };
        for place in 0..self.tree.places() {
            let dir = self.tree.at_place(place);
            not_read.directories +=
                usize::from(dir.is_some_and(|dir| self.why_directory_is_unreadable(dir).is_some()));
        }
        not_read.directories += self.discovery.directories_failed;
        for place in 0..self.files.places() {
            let id = SlotId(u32::try_from(place).expect("fewer than 2^32 slots"));
            not_read.files += usize::from(self.why_file_is_unreadable(id, now).is_some());
        }
        not_read
    }
}

/// A page of the places `cursor..end` of a table. `look` gives the entry of a place; `Some(None)`:
/// it was looked at, and has none.
fn page_of_places(
    cursor: u64,
    end: u64,
    mut look: impl FnMut(u32) -> Option<Option<Listed>>,
) -> ListedPage {
    let (mut page, mut looks, mut at) = (ListedPage::default(), 0, cursor);
    let last = end.min(cursor.saturating_add(PLACES_PER_PAGE));
    while at < last && looks < ENTRIES_PER_PAGE {
        let place = u32::try_from(at).expect("fewer than 2^32 places");
        at += 1;
        if let Some(entry) = look(place) {
            looks += 1;
            page.entries.extend(entry);
        }
    }
    page.next = (at < end).then_some(at);
    page
}

/// How much could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotRead {
    /// Files.
    pub files: usize,
    /// Directories, with everything in them.
    pub directories: usize,
    /// PATHs at which nothing is found.
    pub paths: usize,
}

impl NotRead {
    /// Whether everything was read.
    pub(in crate::engine) fn is_none(self) -> bool {
        self == NotRead::default()
    }
}

impl std::fmt::Display for NotRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.files, "file", "files"),
            (self.directories, "directory", "directories"),
            (self.paths, "PATH", "PATHs"),
        ];
        let words = counts.iter().filter(|(count, _, _)| *count > 0);
        let words: Vec<String> = words
            .map(|&(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
            .collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_told_in_the_singular_and_the_plural() {
        let told = |files, directories, paths| NotRead { files, directories, paths }.to_string();
        assert_eq!(told(1, 0, 0), "1 file");
        assert_eq!(told(2, 1, 3), "2 files, 1 directory, 3 PATHs");
    }
}
