//! Former names: names by which a file was opened, and by which it may still be written to.
//!
//! In: names that are deleted, directories that are deleted, and watches. Out: the file that had a
//! name; watches to give back.
//! Always holds: the memory is bounded by [`NAMES_MAX`], [`AHEAD_MAX`] and [`DEAD_MAX`]; the oldest
//! entries go first. If the file of an entry is not known any more, the entry only says that the
//! name is a former one.

use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use hashbrown::Equivalent;

use crate::engine::identities::recent::Recent;
use crate::engine::namespace::registry::{Registry, SlotId, SlotKey};
use crate::engine::namespace::tree::{DirId, DirKey, Tree};
use crate::rare::rare;
use crate::sys::WatchId;
use crate::sys::interpret::NameChange;

/// Names in one of the two halves: two full ones take about a megabyte. Fewer programs go on
/// writing to deleted logs.
const NAMES_MAX: usize = 4_096;

/// Deleted directories whose watches stay because a file that was opened in them may live on: each
/// counts against `fs.inotify.max_user_watches`.
const DEAD_MAX: usize = 1_024;

/// How many lost names are remembered whose event is still queued. The event comes within the same
/// turn or the next, so few are enough.
const AHEAD_MAX: usize = 256;

/// A name in a watched directory. The kernel never uses the number of a watch again, so the
/// directory is unambiguous.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    watch: WatchId,
    name: Box<[u8]>,
}

/// The same, to look it up without a copy.
struct At<'a>(WatchId, &'a [u8]);

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.watch, &*self.name).hash(state);
    }
}

impl Hash for At<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1).hash(state);
    }
}

impl Equivalent<Name> for At<'_> {
    fn equivalent(&self, key: &Name) -> bool {
        self.0 == key.watch && *self.1 == *key.name
    }
}

/// All former names.
#[derive(Debug)]
pub(crate) struct FormerNames {
    names: Recent<Name>,
    /// Files that lost a name and whose event is still queued, oldest first.
    ahead: VecDeque<SlotKey>,
    /// Watches of deleted directories, oldest first.
    dead: VecDeque<WatchId>,
    /// How many of them, from the oldest on, may have ended: events were lost since.
    doubtful: usize,
    /// Directories that were deleted according to an event, until a look confirms that.
    deleted: HashSet<DirKey>,
}

impl Default for FormerNames {
    fn default() -> Self {
        FormerNames {
            names: Recent::new(NAMES_MAX),
            ahead: VecDeque::new(),
            dead: VecDeque::new(),
            doubtful: 0,
            deleted: HashSet::new(),
        }
    }
}

impl FormerNames {
    /// The file loses this name for good: a program may still write to it through the name.
    pub(in crate::engine) fn lose(
        &mut self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
        dir: DirId,
        name: &[u8],
    ) {
        let Some(watch) = tree.at_place(dir.0).and_then(|dir| tree.watch(dir)) else { return };
        // `statx(2)` may have run ahead of this event. Then the event is about the earlier file,
        // which is already noted.
        if files.get(id).is_identified() || !self.was_deleted(watch, name) {
            self.note(watch, name, files.key(id));
        }
    }

    /// The file no longer has its name, and the event that explains it is still queued. Unless the
    /// event is a rename, a program may still write to the file through that name.
    pub(in crate::engine) fn lose_ahead(&mut self, files: &Registry, tree: &Tree, id: SlotId) {
        let Some(dir) = tree.at_place(files.get(id).dir().0) else { return };
        if let Some(watch) = tree.watch(dir)
            && files.get(id).is_identified()
            && !tree.get(dir).is_blind()
        {
            rare!("a file had lost its name before the event came");
            self.note_ahead(watch, files.name(id), files.key(id));
        }
    }

    /// An event removes this name from a file.
    pub(in crate::engine) fn name_removed(
        &mut self,
        tree: &Tree,
        dir: DirId,
        name: &[u8],
        what: NameChange,
    ) {
        match (what, tree.watch(dir)) {
            (NameChange::MovedFrom(_), Some(watch)) => self.was_renamed(watch, name),
            (NameChange::Deleted, Some(watch)) => {
                let _ = self.was_deleted(watch, name);
            }
            _ => {}
        }
    }

    /// The file loses this name; a writer may go on writing through it.
    fn note(&mut self, watch: WatchId, name: &[u8], file: SlotKey) {
        self.names.insert(Name { watch, name: name.into() }, file);
    }

    /// The file lost this name, and the event that explains it is still queued.
    fn note_ahead(&mut self, watch: WatchId, name: &[u8], file: SlotKey) {
        self.note(watch, name, file);
        if self.ahead.len() >= AHEAD_MAX {
            self.ahead.pop_front();
        }
        self.ahead.push_back(file);
    }

    /// The queued event was a rename: later events about the file have its new name.
    fn was_renamed(&mut self, watch: WatchId, name: &[u8]) {
        if self.was_deleted(watch, name) {
            self.names.remove(&At(watch, name));
        }
    }

    /// The queued event was a deletion. Returns whether [`FormerNames::note_ahead`] had noted this
    /// name.
    fn was_deleted(&mut self, watch: WatchId, name: &[u8]) -> bool {
        if self.ahead.is_empty() {
            return false;
        }
        let file = self.find(watch, name);
        let at = self.ahead.iter().position(|&ahead| Some(ahead) == file);
        at.is_some_and(|at| self.ahead.remove(at).is_some())
    }

    /// The file that had this name last. It may not be known any more.
    pub(crate) fn find(&self, watch: WatchId, name: &[u8]) -> Option<SlotKey> {
        self.names.get(&At(watch, name))
    }

    /// No name is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// An event says that the directory was deleted.
    pub(crate) fn directory_deleted(&mut self, directory: DirKey) {
        self.deleted.insert(directory);
    }

    /// The directory exists after all, or it was moved. Returns whether an event had reported that
    /// it was deleted.
    pub(crate) fn take_deleted(&mut self, directory: DirKey) -> bool {
        !self.deleted.is_empty() && self.deleted.remove(&directory)
    }

    /// Events were lost: deleted directories may have been moved instead, and the kernel may have
    /// ended any watch.
    pub(crate) fn events_lost(&mut self) {
        self.deleted.clear();
        self.doubt_watches();
    }

    /// The kernel may have ended any watch of a deleted directory, and the event was lost.
    pub(crate) fn doubt_watches(&mut self) {
        self.doubtful = self.dead.len();
    }

    /// Keeps the watch of a deleted directory. Returns one to give back if there are too many.
    pub(crate) fn keep_watch(&mut self, watch: WatchId) -> Option<WatchId> {
        self.dead.push_back(watch);
        if self.dead.len() > DEAD_MAX { self.take_watch() } else { None }
    }

    /// The kernel ended a watch. Returns whether it was one of a deleted directory.
    pub(crate) fn end_watch(&mut self, watch: WatchId) -> bool {
        let Some(at) = self.dead.iter().position(|&dead| dead == watch) else { return false };
        self.dead.remove(at);
        self.doubtful -= usize::from(at < self.doubtful);
        true
    }

    /// Gives one watch of a deleted directory back.
    pub(crate) fn take_watch(&mut self) -> Option<WatchId> {
        self.doubtful = self.doubtful.saturating_sub(1);
        self.dead.pop_front()
    }

    /// Removes the doubtful watches that no known file was named under, and returns them.
    pub(crate) fn take_useless_watches(
        &mut self,
        is_known: impl Fn(SlotKey) -> bool,
    ) -> Vec<WatchId> {
        if self.doubtful == 0 {
            return Vec::new();
        }
        let useful: HashSet<WatchId> = self
            .names
            .iter()
            .filter(|&(_, &file)| is_known(file))
            .map(|(name, _)| name.watch)
            .collect();
        let (kept, useless): (Vec<_>, Vec<_>) =
            self.dead.drain(..self.doubtful).partition(|watch| useful.contains(watch));
        self.doubtful = kept.len();
        kept.into_iter().rev().for_each(|watch| self.dead.push_front(watch));
        useless
    }

    /// How many watches of deleted directories may have ended without an event. Only
    /// `inotify_rm_watch(2)` could tell.
    pub(crate) fn doubtful_watches(&self) -> usize {
        self.doubtful
    }

    /// How many watches of deleted directories there are.
    pub(crate) fn watches(&self) -> usize {
        self.dead.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_found_lost_is_a_former_one_unless_the_event_that_tells_how_is_a_rename() {
        let (mut former, mut known) = (FormerNames::default(), Registry::new());
        let files = [b"a", b"b", b"c"].map(|name| {
            let id = known.insert(DirId(0), name);
            known.key(id)
        });
        former.note_ahead(WatchId(1), b"deleted", files[0]);
        former.note_ahead(WatchId(1), b"renamed", files[1]);
        former.note(WatchId(1), b"other", files[2]);
        assert!(
            former.was_deleted(WatchId(1), b"deleted")
                && !former.was_deleted(WatchId(1), b"deleted")
        );
        // Another file may have the name by now, and be renamed.
        for name in [b"deleted".as_slice(), b"renamed", b"other"] {
            former.was_renamed(WatchId(1), name);
        }
        let found =
            [b"deleted".as_slice(), b"renamed", b"other"].map(|name| former.find(WatchId(1), name));
        assert_eq!(found, [Some(files[0]), None, Some(files[2])]);
        (0..2 * AHEAD_MAX).for_each(|_| former.note_ahead(WatchId(1), b"x", files[0]));
        assert_eq!(former.ahead.len(), AHEAD_MAX);
    }

    #[test]
    fn the_oldest_names_go_and_the_memory_is_bounded() {
        let mut files = Registry::new();
        let id = files.insert(DirId(1), b"x");
        let (key, mut names) = (files.key(id), FormerNames::default());
        for number in 0..10 * NAMES_MAX {
            names.note(WatchId(7), format!("{number}").as_bytes(), key);
            assert_eq!(names.find(WatchId(7), format!("{number}").as_bytes()), Some(key));
        }
        assert_eq!(names.find(WatchId(7), b"0"), None);
        assert_eq!(
            names.find(WatchId(8), format!("{}", 10 * NAMES_MAX - 1).as_bytes()),
            None,
            "another directory"
        );
        assert!(names.names.len() <= 2 * NAMES_MAX);
    }

    #[test]
    fn watches_of_deleted_directories_are_given_back_when_there_are_too_many() {
        let mut names = FormerNames::default();
        let given_back: Vec<_> =
            (0..1_100).filter_map(|number| names.keep_watch(WatchId(number))).collect();
        assert_eq!((given_back.len(), given_back[0]), (1_100 - DEAD_MAX, WatchId(0)));
        assert!(names.end_watch(WatchId(1_099)) && !names.end_watch(WatchId(1_099)));
        assert_eq!(names.watches(), DEAD_MAX - 1);
    }

    #[test]
    fn watches_whose_end_may_have_been_missed_are_given_back_once_no_known_file_was_named_there() {
        let mut files = Registry::new();
        let id = files.insert(DirId(1), b"x");
        let (key, mut names) = (files.key(id), FormerNames::default());
        names.note(WatchId(1), b"x", key);
        (0..3).for_each(|number| assert!(names.keep_watch(WatchId(number)).is_none()));
        assert!(names.take_useless_watches(|_| false).is_empty(), "nothing was missed");
        names.events_lost();
        assert!(names.keep_watch(WatchId(3)).is_none());
        assert_eq!(names.take_useless_watches(|file| file == key), [WatchId(0), WatchId(2)]);
        assert_eq!((names.watches(), names.doubtful_watches()), (2, 1));
        assert!(names.end_watch(WatchId(3)));
        assert_eq!(names.take_useless_watches(|_| false), [WatchId(1)]);
        assert_eq!((names.watches(), names.doubtful_watches()), (0, 0));
    }
}
