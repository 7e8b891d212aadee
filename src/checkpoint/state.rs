//! The content of a journal: entries by identity, and a few other facts.
//!
//! In: the items of a journal, in order. Out: the entry of a file at the start of a run; or all
//! items again, for a new journal.
//! Always holds: one entry per identity. All paths are in one block of memory, which a run frees
//! once it has found its files. Replaced paths stay in that block, so it is never larger than the
//! journal.

mod agreed;

use std::hash::BuildHasher;
use std::time::{Duration, SystemTime};

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use self::agreed::Agreed;
use super::format::{GENERATION_BUCKETS, Item, PATH_BYTES_MAX, generation_bucket};
use super::{Entry, OutputPoint};
use crate::checkpoint::numbers::Number;
use crate::sys::{FileId, KnownLife};

/// The whole content of a journal.
#[derive(Debug, Default)]
pub struct StoredOffsets {
    places: Vec<Place>,
    /// The paths of all entries.
    paths: Vec<u8>,
    /// Places by device and inode alone, so that the lives of an inode are found together.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Floors by bucket; empty until there is one.
    floors: Vec<u32>,
    output: Option<OutputPoint>,
    scanned: HashSet<Box<[u8]>>,
    /// The devices of all entries that ever existed.
    devices: Vec<u64>,
    /// What was agreed with the output.
    agreed: Agreed,
}

#[derive(Debug)]
struct Place {
    entry: Entry,
    /// Where the path begins in `paths`.
    path_at: usize,
    path_len: u16,
    is_taken: bool,
}

impl StoredOffsets {
    /// Takes one item in.
    pub fn apply(&mut self, item: &Item<'_>) {
        match *item {
            Item::Entry(entry, path) => self.set(entry, path),
            Item::Forget(id, generation) => {
                self.take(id);
                self.raise_floor(generation_bucket(id), generation.saturating_add(1));
            }
            Item::Floor(bucket, generation) => self.raise_floor(bucket, generation),
            Item::Output(output) => self.output = output,
            Item::Scanned(path) => {
                self.scanned.get_or_insert_with(path, |path| path.into());
            }
            Item::Number(Number { this: number, .. }) | Item::Settled(number) => {
                self.agreed.made(number);
            }
            Item::Sequence(sequence) => self.agreed.sequence = Some(sequence),
            Item::Identity(name) => self.agreed.identity = name.to_vec(),
        }
    }

    /// Sets the entry of a file. `None`: the path does not change; a new entry then has none.
    pub fn set(&mut self, entry: Entry, path: Option<&[u8]>) {
        let place = self.find(entry.id).unwrap_or_else(|| self.add(entry));
        self.places[place].entry = entry;
        if let Some(path) = path {
            self.set_path(place, path);
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The entry of a file, and its path (empty: not known).
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<(Entry, &[u8])> {
        self.find(id).map(|place| self.entry_at(place))
    }

    /// The known identity of a file whose file system had another device number then: the same
    /// inode, generation and path. Each boot assigns new device numbers.
    #[must_use]
    pub fn find_renumbered(&self, id: FileId, path: &[u8]) -> Option<FileId> {
        let others = self
            .devices
            .iter()
            .filter(|&&device| device != id.device)
            .map(|&device| FileId { device, ..id });
        others.into_iter().find(|&other| {
            self.get(other).is_some_and(|(_, known)| known == path && !path.is_empty())
        })
    }

    /// The possible known identity of an overlay's file that was copied up since: the same inode
    /// and path, another birth time. The device may have another number here as well.
    #[must_use]
    pub fn find_copied_up(&self, id: FileId, path: &[u8]) -> Option<FileId> {
        let lives = self
            .devices
            .iter()
            .filter_map(|&device| self.life(device, id.inode).map(|life| (device, life)));
        let mut known = lives.map(|(device, life)| FileId {
            device,
            inode: id.inode,
            inode_generation: life.inode_generation,
        });
        known.find(|&known| {
            !known.is_other_life(id)
                && self.get(known).is_some_and(|(_, at)| at == path && !path.is_empty())
        })
    }

    /// The entry, mutable. Its identity must not change.
    pub fn get_mut(&mut self, id: FileId) -> Option<&mut Entry> {
        self.find(id).map(|place| &mut self.places[place].entry)
    }

    /// Takes an entry out. From then on, the caller is responsible for its generation.
    pub fn take(&mut self, id: FileId) -> Option<Entry> {
        let hash = self.hash(id);
        let places = &mut self.places;
        let found =
            self.index.find_entry(hash, |&place| places[place as usize].entry.id == id).ok()?;
        let (place, _) = found.remove();
        let place = &mut places[place as usize];
        place.is_taken = true;
        Some(place.entry)
    }

    /// Forgets a file: drops its entry, and its inode never gets a generation up to that entry's
    /// again.
    pub fn forget(&mut self, id: FileId) -> Option<Entry> {
        let (entry, _) = self.get(id)?;
        self.apply(&Item::Forget(id, entry.generation));
        Some(entry)
    }

    /// The entry at a place, with its path. Places count from 0 and keep their order. `None`: past
    /// the last place; `Some(None)`: the entry was taken out.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<Option<(Entry, &[u8])>> {
        self.places.get(place).map(|found| (!found.is_taken).then(|| self.entry_at(place)))
    }

    /// All entries with their paths.
    pub fn entries(&self) -> impl Iterator<Item = (Entry, &[u8])> + '_ {
        (0..self.places.len()).filter_map(|place| self.at(place).flatten())
    }

    /// The least generation that a further life of this inode may get, by all entries (including
    /// those of its other lives) and floors.
    #[must_use]
    pub fn generation_floor(&self, id: FileId) -> u32 {
        let lives =
            self.index.iter_hash(self.hash(id)).map(|&place| &self.places[place as usize].entry);
        let same = lives.filter(|entry| (entry.id.device, entry.id.inode) == (id.device, id.inode));
        let floor = self.floors.get(usize::from(generation_bucket(id))).copied().unwrap_or(0);
        same.map(|entry| entry.generation.saturating_add(1)).fold(floor, u32::max)
    }

    /// Floors that are not 0, by bucket.
    pub fn floors(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        (0..)
            .zip(&self.floors)
            .filter(|(_, floor)| **floor != 0)
            .map(|(bucket, floor)| (bucket, *floor))
    }

    /// The entry of the file whose content has this generation, mutable.
    pub fn find_generation(
        &mut self,
        device: u64,
        inode: u64,
        generation: u32,
    ) -> Option<&mut Entry> {
        let id = FileId { device, inode, inode_generation: 0 };
        let is_generation = |entry: &Entry| {
            (entry.id.device, entry.id.inode, entry.generation) == (device, inode, generation)
        };
        let hash = self.hash(id);
        let place =
            *self.index.find(hash, |&place| is_generation(&self.places[place as usize].entry))?;
        Some(&mut self.places[place as usize].entry)
    }

    /// The known life of an inode, if there is exactly one, and a time at which it certainly
    /// existed.
    #[must_use]
    pub fn life(&self, device: u64, inode: u64) -> Option<KnownLife> {
        let hash = self.hash(FileId { device, inode, inode_generation: 0 });
        let mut lives = self
            .index
            .iter_hash(hash)
            .map(|&place| &self.places[place as usize].entry)
            .filter(|entry| (entry.id.device, entry.id.inode) == (device, inode));
        let entry = lives.next().filter(|_| lives.next().is_none())?;
        let seen_at = SystemTime::UNIX_EPOCH + Duration::from_nanos(entry.complete_at);
        Some(KnownLife { inode_generation: entry.id.inode_generation, seen_at })
    }

    /// The path of the known life of an inode, if there is exactly one.
    #[must_use]
    pub fn path_of(&self, device: u64, inode: u64) -> Option<&[u8]> {
        let KnownLife { inode_generation, .. } = self.life(device, inode)?;
        self.get(FileId { device, inode, inode_generation }).map(|(_, path)| path)
    }

    /// Makes sure that no further content of this inode gets this generation or one below it.
    pub fn use_up(&mut self, device: u64, inode: u64, generation: u32) {
        let id = FileId { device, inode, inode_generation: 0 };
        if self.generation_floor(id) <= generation {
            self.raise_floor(generation_bucket(id), generation.saturating_add(1));
        }
    }

    /// PATHs whose first scan is complete.
    pub fn scanned(&self) -> impl Iterator<Item = &[u8]> {
        self.scanned.iter().map(|path| &**path)
    }

    /// The output at the last commit.
    #[must_use]
    pub fn output(&self) -> Option<OutputPoint> {
        self.output
    }

    /// Whether the first scan of this PATH is complete.
    #[must_use]
    pub fn is_scanned(&self, path: &[u8]) -> bool {
        self.scanned.contains(path)
    }

    /// The items of a journal with the same content.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> + '_ {
        self.agreed
            .items()
            .chain([Item::Output(self.output)])
            .chain(self.scanned.iter().map(|path| Item::Scanned(path)))
            .chain(self.floors().map(|(bucket, floor)| Item::Floor(bucket, floor)))
            .chain(self.entries().map(|(entry, path)| Item::Entry(entry, Some(path))))
    }

    /// Frees the memory of entries that were taken out. All places change.
    pub fn shrink(&mut self) {
        let mut paths = Vec::with_capacity(self.entries().map(|(_, path)| path.len()).sum());
        let mut places = Vec::with_capacity(self.len());
        self.index = HashTable::with_capacity(self.len());
        for mut place in std::mem::take(&mut self.places) {
            if place.is_taken {
                continue;
            }
            let path = &self.paths[place.path_at..][..usize::from(place.path_len)];
            place.path_at = paths.len();
            paths.extend_from_slice(path);
            let number = u32::try_from(places.len()).expect("no more places than before");
            places.push(place);
            insert(&mut self.index, &self.hasher, &places, number);
        }
        (self.places, self.paths) = (places, paths);
    }

    fn hash(&self, id: FileId) -> u64 {
        hash(&self.hasher, id)
    }

    fn find(&self, id: FileId) -> Option<usize> {
        let place =
            self.index.find(self.hash(id), |&place| self.places[place as usize].entry.id == id)?;
        Some(*place as usize)
    }

    fn entry_at(&self, place: usize) -> (Entry, &[u8]) {
        let place = &self.places[place];
        (place.entry, &self.paths[place.path_at..][..usize::from(place.path_len)])
    }

    fn add(&mut self, entry: Entry) -> usize {
        let number = u32::try_from(self.places.len()).expect("fewer than 2^32 files");
        if !self.devices.contains(&entry.id.device) {
            self.devices.push(entry.id.device);
        }
        self.places.push(Place { entry, path_at: 0, path_len: 0, is_taken: false });
        if self.index.len() == self.index.capacity() {
            // Growing hashes all entries again, so it should be rare.
            self.index.reserve(3 * self.index.len(), |&place| {
                hash(&self.hasher, self.places[place as usize].entry.id)
            });
        }
        insert(&mut self.index, &self.hasher, &self.places, number);
        number as usize
    }

    fn set_path(&mut self, place: usize, path: &[u8]) {
        let path = if path.len() > PATH_BYTES_MAX { &[] } else { path };
        if self.entry_at(place).1 == path {
            return;
        }
        let place = &mut self.places[place];
        place.path_at = self.paths.len();
        place.path_len = u16::try_from(path.len()).expect("longer paths are not known");
        self.paths.extend_from_slice(path);
    }

    fn raise_floor(&mut self, bucket: u16, generation: u32) {
        if self.floors.is_empty() {
            self.floors.resize(GENERATION_BUCKETS, 0);
        }
        let floor = &mut self.floors[usize::from(bucket)];
        *floor = (*floor).max(generation);
    }
}

/// Sixteen consecutive inodes are neighbours in the table, as they are in the journal and in
/// directories, because cache misses dominate loading. The upper bits, by which hashbrown
/// distinguishes neighbours, depend on the inode itself.
fn hash(hasher: &DefaultHashBuilder, id: FileId) -> u64 {
    let row = hasher.hash_one((id.device, id.inode >> 4));
    let upper = id.inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57 << 57;
    ((row & !15) | (id.inode & 15)) ^ upper
}

fn insert(index: &mut HashTable<u32>, hasher: &DefaultHashBuilder, places: &[Place], number: u32) {
    let hash_of = |&place: &u32| hash(hasher, places[place as usize].entry.id);
    index.insert_unique(hash_of(&number), number, hash_of);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::EntryFlags;

    fn id(inode: u64, inode_generation: u32) -> FileId {
        FileId { device: 0xfd01, inode, inode_generation }
    }

    fn entry(id: FileId, generation: u32, offset: u64) -> Entry {
        let flags = EntryFlags::empty();
        Entry {
            id,
            generation,
            offset,
            mark: 1,
            mark_len: 2,
            flags,
            complete_at: 3,
            absent_since: 0,
        }
    }

    #[test]
    fn a_later_entry_replaces_the_earlier_and_keeps_its_path_unless_it_brings_one() {
        let mut state = StoredOffsets::default();
        state.apply(&Item::Entry(entry(id(1, 1), 0, 5), Some(b"a.log")));
        state.apply(&Item::Entry(entry(id(1, 1), 0, 9), None));
        assert_eq!(state.get(id(1, 1)), Some((entry(id(1, 1), 0, 9), &b"a.log"[..])));
        state.apply(&Item::Entry(entry(id(1, 1), 1, 2), Some(b"b")));
        assert_eq!(state.get(id(1, 1)), Some((entry(id(1, 1), 1, 2), &b"b"[..])));
        state.apply(&Item::Entry(entry(id(1, 1), 1, 3), Some(b"")));
        assert_eq!(state.get(id(1, 1)), Some((entry(id(1, 1), 1, 3), &b""[..])));
        state.apply(&Item::Entry(entry(id(2, 1), 0, 1), None));
        assert_eq!((state.get(id(2, 1)).unwrap().1, state.len()), (&b""[..], 2));
    }

    #[test]
    fn a_forgotten_file_is_gone_and_its_inode_goes_on_above_its_generation() {
        let mut state = StoredOffsets::default();
        state.set(entry(id(1, 1), 4, 5), Some(b"a.log"));
        state.apply(&Item::Forget(id(1, 1), 4));
        assert_eq!((state.get(id(1, 1)), state.len()), (None, 0));
        assert_eq!(state.generation_floor(id(1, 2)), 5);
        state.apply(&Item::Forget(id(1, 7), 1));
        assert_eq!(state.generation_floor(id(1, 2)), 5);
        state.apply(&Item::Forget(id(1, 7), u32::MAX));
        assert_eq!(state.floors().collect::<Vec<_>>(), [(generation_bucket(id(1, 1)), u32::MAX)]);
    }

    #[test]
    fn every_life_of_an_inode_counts_for_its_next_generation() {
        let mut state = StoredOffsets::default();
        state.set(entry(id(1, 1), 4, 0), None);
        state.set(entry(id(1, 2), 6, 0), None);
        state.set(entry(id(9, 2), 60, 0), None);
        assert_eq!((state.generation_floor(id(1, 3)), state.generation_floor(id(1, 1))), (7, 7));
        state.apply(&Item::Floor(generation_bucket(id(1, 0)), 100));
        assert_eq!(state.generation_floor(id(1, 3)), 100);
        assert_eq!(state.generation_floor(id(2, 3)), 0);
    }

    #[test]
    fn a_file_is_known_by_inode_generation_and_path_when_its_device_has_another_number() {
        let mut state = StoredOffsets::default();
        state.set(entry(id(7, 1), 4, 5), Some(b"/t/a.log"));
        let now = |inode, inode_generation| FileId { device: 0xfd02, inode, inode_generation };
        assert_eq!(state.find_renumbered(now(7, 1), b"/t/a.log"), Some(id(7, 1)));
        assert_eq!(state.find_renumbered(now(7, 1), b"/t/b.log"), None);
        assert_eq!(state.find_renumbered(now(7, 2), b"/t/a.log"), None);
        assert_eq!(state.find_renumbered(id(7, 1), b"/t/a.log"), None);
    }

    #[test]
    fn a_file_that_was_copied_up_is_known_by_inode_and_path_unless_handles_tell_that_it_is_another()
    {
        let mut state = StoredOffsets::default();
        let by_handle = |inode_generation| 0xf800_0000_u32 | inode_generation;
        state.set(entry(id(7, 1), 4, 5), Some(b"/t/a.log"));
        state.set(entry(id(8, by_handle(1)), 4, 5), Some(b"/t/b.log"));
        assert_eq!(state.find_copied_up(id(7, 2), b"/t/a.log"), Some(id(7, 1)));
        assert_eq!(
            state.find_copied_up(FileId { device: 9, ..id(7, by_handle(2)) }, b"/t/a.log"),
            Some(id(7, 1))
        );
        assert_eq!(state.find_copied_up(id(7, 2), b"/t/c.log"), None);
        assert_eq!(state.find_copied_up(id(8, by_handle(2)), b"/t/b.log"), None);
        assert_eq!(state.find_copied_up(id(9, 1), b"/t/a.log"), None);
    }

    #[test]
    fn entries_taken_out_leave_their_places_until_the_state_shrinks() {
        let mut state = StoredOffsets::default();
        (0..100)
            .for_each(|n| state.set(entry(id(n, 1), 0, n), Some(format!("job{n}.log").as_bytes())));
        (0..100).filter(|n| n % 3 != 0).for_each(|n| assert!(state.take(id(n, 1)).is_some()));
        assert_eq!((state.at(1), state.at(100)), (Some(None), None));
        let before: Vec<_> = state.entries().map(|(entry, path)| (entry, path.to_vec())).collect();
        state.shrink();
        let after: Vec<_> = state.entries().map(|(entry, path)| (entry, path.to_vec())).collect();
        assert_eq!((before.len(), before), (34, after));
        assert_eq!(state.get(id(99, 1)).unwrap().1, b"job99.log");
        (0..100).filter(|n| n % 3 == 0).for_each(|n| assert!(state.take(id(n, 1)).is_some()));
        state.shrink();
        assert_eq!(
            (state.len(), state.at(0), state.places.capacity(), state.paths.capacity()),
            (0, None, 0, 0)
        );
    }

    #[test]
    fn the_items_of_a_state_make_an_equal_state() {
        let mut state = StoredOffsets::default();
        let output = OutputPoint { id: id(5, 5), len: 77, format: crate::config::Format::Json };
        for item in [
            Item::Output(Some(output)),
            Item::Scanned(b"/a"),
            Item::Scanned(b"b"),
            Item::Floor(3, 9),
            Item::Forget(id(4, 1), 2),
        ] {
            state.apply(&item);
        }
        state.set(entry(id(1, 1), 4, 5), Some(b"a.log"));
        state.set(entry(id(2, 1), 4, 5), None);
        let mut again = StoredOffsets::default();
        state.items().for_each(|item| again.apply(&item));
        assert_eq!(
            again
                .items()
                .map(|item| format!("{item:?}"))
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            7
        );
        assert_eq!(again.output(), Some(output));
        assert!(again.is_scanned(b"/a") && again.is_scanned(b"b") && !again.is_scanned(b"c"));
        assert!(again.entries().eq(state.entries()) && again.floors().eq(state.floors()));
    }
}
