//! How far each file was acknowledged, and what of that is not stored yet. Exists only with a state
//! directory.
//!
//! In: new generations, acknowledgements, new names, files that are gone. Out: which slots a commit
//! has to tell about. Always holds: an offset here is one that the output acknowledged, of the
//! generation that the slot is in now; 40 bytes per slot.

use bitflags::bitflags;

use crate::checkpoint::{Entry, EntryFlags};
use crate::engine::namespace::registry::SlotKey;
use crate::engine::output::outbox::Reached;
use crate::sys::FileId;

bitflags! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Bits: u8 {
        /// Is in the list of changes.
        const CHANGED = 1 << 0;
        /// Is in the list of changes since its part of the snapshot was written.
        const LATE = 1 << 1;
        /// The journal has its path as it is now.
        const PATH = 1 << 2;
        /// The file was deleted: it has no entry, unless another name of it comes up.
        const GONE = 1 << 3;
    }
}

/// How far one file was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    key: SlotKey,
    pub(crate) offset: u64,
    /// When the file was read to its end last, in nanoseconds since 1970; 0: not yet. If all of
    /// that was acknowledged, this is [`Entry::complete_at`].
    pub(crate) read_at: u64,
    pub(crate) mark: u32,
    pub(crate) generation: u32,
    pub(crate) mark_len: u8,
    pub(crate) flags: EntryFlags,
    bits: Bits,
}

/// Acknowledgements kept at most before they are taken in.
const ACKNOWLEDGED_MAX: usize = 4096;

/// A file whose entry goes: its identity and the generation it had.
pub(crate) type Gone = (FileId, u32);

/// What a commit has to tell.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) slots: Vec<SlotKey>,
    pub(crate) gone: Vec<Gone>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.gone.is_empty()
    }
}

/// All files, by slot.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    known: Vec<Option<Known>>,
    changes: Changes,
    /// Acknowledgements not yet taken in, oldest first. Files come in any order: taking them in one
    /// after the other, far apart in memory, would be a cache miss per line; all at once the misses
    /// overlap.
    acknowledged: Vec<Reached>,
    /// What changed behind the snapshot that is being written.
    late: Changes,
    /// Slots before this one are in the snapshot; `None`: none is being written.
    snapshot: Option<u32>,
}

impl Ledger {
    /// A file from here on: a new one, or one whose content restarted. The caller has it stored
    /// before its first record.
    pub(crate) fn begin(
        &mut self,
        key: SlotKey,
        generation: u32,
        offset: u64,
        flags: EntryFlags,
        read_at: u64,
    ) {
        let bits = self.get(key).map_or(Bits::empty(), |known| known.bits & Bits::PATH);
        self.put(Known { key, offset, read_at, mark: 0, generation, mark_len: 0, flags, bits });
        self.touch_snapshot(key);
    }

    /// A file that the journal knows.
    pub(crate) fn resume(&mut self, key: SlotKey, entry: &Entry, is_path_stored: bool) {
        let bits = if is_path_stored { Bits::PATH } else { Bits::empty() };
        let Entry { generation, offset, flags, complete_at, mark, mark_len, .. } = *entry;
        self.put(Known {
            key,
            offset,
            read_at: complete_at,
            mark,
            generation,
            mark_len,
            flags,
            bits,
        });
    }

    fn put(&mut self, mut known: Known) {
        let at = known.key.id.0 as usize;
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        // What is in a list stays in it.
        let listed = self
            .get(known.key)
            .map_or(Bits::empty(), |before| before.bits & (Bits::CHANGED | Bits::LATE));
        known.bits |= listed;
        self.known[at] = Some(known);
    }

    /// The file, if the ledger has it.
    pub(crate) fn get(&self, key: SlotKey) -> Option<&Known> {
        self.known.get(key.id.0 as usize)?.as_ref().filter(|known| known.key == key)
    }

    fn get_mut(&mut self, key: SlotKey) -> Option<&mut Known> {
        self.known.get_mut(key.id.0 as usize)?.as_mut().filter(|known| known.key == key)
    }

    /// The output took this part for good. An older generation's is of no use any more.
    #[inline]
    pub(crate) fn acknowledge(&mut self, reached: &Reached) {
        self.acknowledged.push(*reached);
        if self.acknowledged.len() >= ACKNOWLEDGED_MAX {
            self.take_in();
        }
    }

    /// Takes the acknowledgements in.
    fn take_in(&mut self) {
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        acknowledged.drain(..).for_each(|reached| self.take_in_one(&reached));
        self.acknowledged = acknowledged;
    }

    #[inline]
    fn take_in_one(&mut self, reached: &Reached) {
        let Some(known) = self.get_mut(reached.file) else { return };
        if known.generation != reached.generation {
            return;
        }
        known.offset = reached.offset;
        known.mark = reached.mark;
        known.mark_len = reached.mark_len;
        known.flags = reached.flags;
        known.read_at = reached.read_at;
        self.touch(reached.file);
    }

    /// Something about the file is to be stored.
    pub(crate) fn touch(&mut self, key: SlotKey) {
        self.touch_snapshot(key);
        let Some(known) = self.get_mut(key) else { return };
        if !known.bits.contains(Bits::CHANGED) {
            known.bits.insert(Bits::CHANGED);
            self.changes.slots.push(key);
        }
    }

    /// What a snapshot under way may have of this file is out of date.
    fn touch_snapshot(&mut self, key: SlotKey) {
        if self.snapshot.is_none_or(|next| key.id.0 >= next) {
            return;
        }
        let Some(known) = self.get_mut(key) else { return };
        if !known.bits.contains(Bits::LATE) {
            known.bits.insert(Bits::LATE);
            self.late.slots.push(key);
        }
    }

    /// The file has another path, or one again.
    pub(crate) fn renamed(&mut self, key: SlotKey) {
        if let Some(known) = self.get_mut(key) {
            known.bits.remove(Bits::PATH | Bits::GONE);
            self.touch(key);
        }
    }

    /// The file is stored under another identity from now on, in this generation.
    pub(crate) fn renumbered(&mut self, key: SlotKey, generation: u32) {
        self.take_in();
        if let Some(known) = self.get_mut(key) {
            known.generation = generation;
        }
        self.renamed(key);
    }

    /// The file was deleted: its entry goes. Records of it may still be in flight, and another name
    /// of it may come up.
    pub(crate) fn let_go(&mut self, key: SlotKey, file: FileId) {
        let Some(known) = self.get_mut(key).filter(|known| !known.bits.contains(Bits::GONE)) else {
            return;
        };
        known.bits.insert(Bits::GONE);
        let generation = known.generation;
        self.drop_entry(file, generation);
    }

    /// The file is forgotten.
    pub(crate) fn forget(&mut self, key: SlotKey, file: FileId) {
        self.let_go(key, file);
        if self.get(key).is_some() {
            self.known[key.id.0 as usize] = None;
        }
    }

    /// The entry of a file without a slot goes.
    pub(crate) fn drop_entry(&mut self, file: FileId, generation: u32) {
        self.changes.gone.push((file, generation));
        if self.snapshot.is_some() {
            self.late.gone.push((file, generation));
        }
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty() || !self.acknowledged.is_empty()
    }

    /// The changes since the last commit, which is to tell them.
    pub(crate) fn take_changes(&mut self) -> Changes {
        self.take_in();
        let changes = std::mem::take(&mut self.changes);
        for &key in &changes.slots {
            if let Some(known) = self.get_mut(key) {
                known.bits.remove(Bits::CHANGED);
            }
        }
        changes
    }

    /// The commit failed: they are still to be told.
    pub(crate) fn give_back(&mut self, changes: Changes) {
        for key in changes.slots {
            self.touch(key);
        }
        let since = std::mem::replace(&mut self.changes.gone, changes.gone);
        self.changes.gone.extend(since);
    }

    /// Whether the path has to be told along; from now on the journal is taken to have it.
    pub(crate) fn needs_path(&mut self, key: SlotKey) -> bool {
        self.get_mut(key).is_some_and(|known| {
            let needs = !known.bits.contains(Bits::PATH);
            known.bits.insert(Bits::PATH);
            needs
        })
    }

    /// The file was read to its end at this time; 0: that is not certain any more.
    pub(crate) fn read_to_end(&mut self, key: SlotKey, at: u64) {
        self.take_in();
        let Some(known) = self.get_mut(key) else { return };
        let is_news = known.read_at == 0 && at != 0;
        known.read_at = at;
        if is_news {
            self.touch(key);
        }
    }

    /// A snapshot begins.
    pub(crate) fn begin_snapshot(&mut self) {
        self.end_snapshot();
        self.snapshot = Some(0);
    }

    /// The next slots of the snapshot, at most `count`; `None` when all were given.
    pub(crate) fn snapshot_part(&mut self, count: usize) -> Option<Vec<SlotKey>> {
        self.take_in();
        let first = self.snapshot? as usize;
        if first >= self.known.len() {
            return None;
        }
        let end = (first + count).min(self.known.len());
        self.snapshot = Some(u32::try_from(end).expect("slots count in 32 bits"));
        Some(self.known[first..end].iter().flatten().map(|known| known.key).collect())
    }

    /// What changed behind the snapshot: told last.
    pub(crate) fn take_late(&mut self) -> Changes {
        self.take_in();
        self.snapshot = None;
        let late = std::mem::take(&mut self.late);
        for &key in &late.slots {
            if let Some(known) = self.get_mut(key) {
                known.bits.remove(Bits::LATE);
            }
        }
        late
    }

    /// No snapshot is written any more.
    pub(crate) fn end_snapshot(&mut self) {
        drop(self.take_late());
    }

    /// What the journal has of paths is not known: each is told again with the next change.
    pub(crate) fn doubt_paths(&mut self) {
        for known in self.known.iter_mut().flatten() {
            known.bits.remove(Bits::PATH);
        }
    }

    /// How many files there are, about.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

impl Known {
    /// Whether the file has an entry.
    pub(crate) fn is_kept(&self) -> bool {
        !self.bits.contains(Bits::GONE)
    }

    /// What the journal is told, given when everything in the file was acknowledged; 0: not known.
    pub(crate) fn entry(&self, id: FileId, complete_at: u64) -> Entry {
        Entry {
            id,
            generation: self.generation,
            offset: self.offset,
            mark: self.mark,
            mark_len: self.mark_len,
            flags: self.flags,
            complete_at,
            absent_since: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::registry::Registry;
    use crate::engine::namespace::tree::DirId;

    const FILE: FileId = FileId { device: 1, inode: 2, inode_generation: 3 };

    fn keys(count: u8) -> Vec<SlotKey> {
        let mut files = Registry::new();
        let ids: Vec<_> = (0..count).map(|n| files.insert(DirId(0), &[n])).collect();
        ids.into_iter().map(|id| files.key(id)).collect()
    }

    fn reached(file: SlotKey, generation: u32, offset: u64) -> Reached {
        Reached {
            file,
            generation,
            offset,
            mark: 5,
            mark_len: 6,
            flags: EntryFlags::empty(),
            read_at: 0,
        }
    }

    fn offset(ledger: &Ledger, key: SlotKey) -> u64 {
        ledger.get(key).expect("known").offset
    }

    #[test]
    fn acknowledgements_of_former_content_and_of_files_that_are_gone_count_for_nothing() {
        let (mut ledger, keys) = (Ledger::default(), keys(2));
        ledger.begin(keys[0], 3, 0, EntryFlags::empty(), 0);
        ledger.acknowledge(&reached(keys[0], 2, 500));
        ledger.acknowledge(&reached(keys[1], 0, 500));
        assert_eq!((ledger.take_changes().is_empty(), offset(&ledger, keys[0])), (true, 0));
        ledger.acknowledge(&reached(keys[0], 3, 7));
        assert_eq!((ledger.take_changes().slots, offset(&ledger, keys[0])), (vec![keys[0]], 7));
        ledger.forget(keys[0], FILE);
        ledger.acknowledge(&reached(keys[0], 3, 9));
        assert_eq!(ledger.take_changes().gone, [(FILE, 3)]);
        assert!(!ledger.has_changes());
    }

    #[test]
    fn a_file_is_told_once_per_commit_and_again_if_the_commit_failed() {
        let (mut ledger, keys) = (Ledger::default(), keys(1));
        ledger.begin(keys[0], 0, 0, EntryFlags::empty(), 0);
        (1..4).for_each(|offset| ledger.acknowledge(&reached(keys[0], 0, offset)));
        let changes = ledger.take_changes();
        assert_eq!((changes.slots.as_slice(), ledger.has_changes()), ([keys[0]].as_slice(), false));
        ledger.acknowledge(&reached(keys[0], 0, 4));
        ledger.give_back(changes);
        assert_eq!(ledger.take_changes().slots, [keys[0]]);
    }

    #[test]
    fn a_path_is_told_once_and_after_each_rename() {
        let (mut ledger, keys) = (Ledger::default(), keys(1));
        ledger.begin(keys[0], 0, 0, EntryFlags::empty(), 0);
        assert!(ledger.needs_path(keys[0]) && !ledger.needs_path(keys[0]));
        ledger.begin(keys[0], 1, 0, EntryFlags::empty(), 0);
        assert!(!ledger.needs_path(keys[0]), "the file is called as before");
        ledger.renamed(keys[0]);
        assert!(ledger.has_changes() && ledger.needs_path(keys[0]));
        ledger.doubt_paths();
        assert!(ledger.needs_path(keys[0]));
    }

    #[test]
    fn what_changes_behind_a_snapshot_is_told_at_its_end() {
        let (mut ledger, keys) = (Ledger::default(), keys(4));
        keys[..3].iter().for_each(|&key| ledger.begin(key, 0, 0, EntryFlags::empty(), 0));
        ledger.begin_snapshot();
        assert_eq!(ledger.snapshot_part(2), Some(keys[..2].to_vec()));
        ledger.acknowledge(&reached(keys[0], 0, 9));
        ledger.acknowledge(&reached(keys[2], 0, 9));
        ledger.take_changes();
        ledger.acknowledge(&reached(keys[0], 0, 10));
        ledger.forget(keys[1], FILE);
        ledger.begin(keys[3], 0, 0, EntryFlags::empty(), 0);
        assert_eq!(ledger.snapshot_part(2), Some(keys[2..].to_vec()));
        assert_eq!(ledger.snapshot_part(2), None);
        ledger.begin(keys[3], 1, 0, EntryFlags::empty(), 0);
        let late = ledger.take_late();
        assert_eq!((late.slots, late.gone), (vec![keys[0], keys[3]], vec![(FILE, 0)]));
        ledger.acknowledge(&reached(keys[0], 0, 11));
        assert!(ledger.take_late().is_empty(), "no snapshot, nothing late");
    }
}
