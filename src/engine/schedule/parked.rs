//! Files that left the tree, or were deleted: remembered for a while, in case they come back.
//!
//! In: files that leave or come back. Out: files whose time is over, and the oldest file when there
//! is no room.
//! Always holds: a file is here at most once, so that leaving and coming back in a loop costs
//! neither memory nor a search.

use std::collections::BTreeMap;
use std::time::Instant;

use hashbrown::HashMap;

use crate::engine::namespace::registry::{SlotId, SlotKey};
use crate::engine::schedule::Schedule;
use crate::engine::schedule::timers::PARKED_FOR;

/// How many files are remembered after they left the tree. After new settings, as many as there
/// were.
pub(super) const PARKED_MAX: usize = 65_536;

/// How many files are remembered after they were deleted: nearly every log ends that way, and
/// hardly any has a name that is not known. Under a megabyte.
const PARKED_DELETED_MAX: usize = 8_192;

/// Parked files, in the order in which they left.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    queue: BTreeMap<u64, (Instant, SlotKey)>,
    places: HashMap<SlotId, u64>,
    next: u64,
}

impl Parked {
    /// The file left: it is remembered until then.
    pub(crate) fn add(&mut self, file: SlotKey, until: Instant) {
        self.remove(file.id);
        self.queue.insert(self.next, (until, file));
        self.places.insert(file.id, self.next);
        self.next += 1;
    }

    /// The file came back, or is not remembered any more.
    pub(crate) fn remove(&mut self, id: SlotId) {
        if let Some(place) = self.places.remove(&id) {
            self.queue.remove(&place);
        }
        if self.places.is_empty() {
            self.places.shrink_to(0);
        }
    }

    /// Takes the file that has been here longest.
    pub(crate) fn pop_oldest(&mut self) -> Option<SlotKey> {
        let (_, (_, file)) = self.queue.first_key_value()?;
        let file = *file;
        self.remove(file.id);
        Some(file)
    }

    /// Takes a file whose time is over.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<SlotKey> {
        self.deadline().is_some_and(|until| until <= now).then(|| self.pop_oldest()).flatten()
    }

    /// When the time of the next file is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(_, (until, _))| *until)
    }

    /// Until when the file is remembered, if it is here.
    pub(crate) fn until(&self, id: SlotId) -> Option<Instant> {
        self.places.get(&id).and_then(|place| self.queue.get(place)).map(|(until, _)| *until)
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.queue.values().map(|(_, file)| *file)
    }
}

impl Schedule {
    /// Remembers a file that left the tree, or was deleted. Returns the oldest file if there is no
    /// room for all of them.
    pub(in crate::engine) fn park(
        &mut self,
        key: SlotKey,
        is_deleted: bool,
        now: Instant,
    ) -> Option<SlotKey> {
        self.judged_at.remove(&key.id);
        let (parked, max) = if is_deleted {
            (&mut self.parked_deleted, PARKED_DELETED_MAX)
        } else {
            (&mut self.parked, self.parked_max)
        };
        parked.add(key, now + PARKED_FOR);
        if parked.len() > max { parked.pop_oldest() } else { None }
    }

    /// The file came back, or is not remembered any more.
    pub(super) fn unpark(&mut self, id: SlotId) {
        self.parked.remove(id);
        self.parked_deleted.remove(id);
    }

    /// Takes a file that has been remembered for long enough.
    pub(in crate::engine) fn take_parked(&mut self, now: Instant) -> Option<SlotKey> {
        self.parked.pop_due(now).or_else(|| self.parked_deleted.pop_due(now))
    }

    /// Until when the file is remembered, if it is.
    pub(in crate::engine) fn parked_until(&self, id: SlotId) -> Option<Instant> {
        self.parked.until(id).or_else(|| self.parked_deleted.until(id))
    }

    /// Whether the file is remembered as a deleted one.
    pub(in crate::engine) fn is_parked_deleted(&self, id: SlotId) -> bool {
        self.parked_deleted.until(id).is_some()
    }

    /// All files that are remembered.
    pub(in crate::engine) fn parked_files(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.parked.files().chain(self.parked_deleted.files())
    }

    /// How many files that left the tree are remembered, and how many may be.
    pub(in crate::engine) fn parked_and_max(&self) -> (usize, usize) {
        (self.parked.len(), self.parked_max)
    }

    /// So many more files may leave the tree and be remembered.
    pub(in crate::engine) fn make_room_for_parked(&mut self, files: usize) {
        self.parked_max = PARKED_MAX.max(self.parked.len() + files);
    }

    /// The usual limit applies again, once the files fit.
    pub(super) fn end_room_for_parked(&mut self) {
        if self.parked.len() <= PARKED_MAX {
            self.parked_max = PARKED_MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::registry::Registry;
    use crate::engine::namespace::tree::DirId;
    use std::time::Duration;

    #[test]
    fn a_file_that_comes_back_and_leaves_again_is_the_youngest_and_there_once() {
        let (mut files, mut parked) = (Registry::new(), Parked::default());
        let keys = [b"a", b"b"].map(|name| {
            let id = files.insert(DirId(0), name);
            files.key(id)
        });
        let start = crate::sys::clock::now().instant;
        let at = |second| start + Duration::from_secs(second);
        keys.iter().for_each(|&key| parked.add(key, at(1)));
        for round in 2..1_000 {
            parked.remove(keys[0].id);
            parked.add(keys[0], at(round));
        }
        assert_eq!((parked.len(), parked.places.len(), parked.deadline()), (2, 2, Some(at(1))));
        assert_eq!(parked.until(keys[0].id), Some(at(999)));
        assert_eq!(parked.pop_due(at(998)), Some(keys[1]));
        assert_eq!(parked.pop_due(at(998)), None);
        assert_eq!(
            (parked.pop_oldest(), parked.until(keys[0].id), parked.len()),
            (Some(keys[0]), None, 0)
        );
    }
}
