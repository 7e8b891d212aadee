//! How far each file was acknowledged, and which of that is not stored yet. Exists only with a
//! state directory.
//!
//! In: new generations, acknowledgements, new names, files that are gone. Out: the slots that a
//! commit has to store.
//! Always holds: an offset here is one that the output acknowledged, of the generation that the
//! slot is in now. A slot takes 40 bytes.

use bitflags::bitflags;

use crate::checkpoint::{Entry, EntryFlags};
use crate::engine::namespace::registry::SlotKey;
use crate::engine::output::batch::Reached;
use crate::sys::FileId;

bitflags! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Bits: u8 {
        /// Is in the list of changes.
        const CHANGED = 1 << 0;
        /// Is in the list of changes since its part of the snapshot was written.
        const LATE = 1 << 1;
        /// The journal has its current path.
        const PATH = 1 << 2;
        /// The file was deleted: it has no entry, unless another name of it is found.
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

/// Acknowledgements that are collected at most before they are applied.
const ACKNOWLEDGED_MAX: usize = 4096;

/// A file whose entry goes: its identity and the generation it had.
pub(crate) type Gone = (FileId, u32);

/// What a commit has to store.
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
    /// Acknowledgements that are not applied yet, oldest first. Files come in any order: applying
    /// them one by one, far apart in memory, would be a cache miss per line. All at once, the
    /// misses overlap.
    acknowledged: Vec<Reached>,
    /// What changed in parts of the snapshot that are written already.
    late: Changes,
    /// Slots before this one are in the snapshot; `None`: none is being written.
    snapshot: Option<u32>,
}

impl Ledger {
    /// A generation begins here: of a new file, or of one whose content restarted. The caller has
    /// it stored before its first record leaves.
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
        // A file stays in the lists that it is in.
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

    /// The output acknowledged this part. That of an older generation is ignored.
    #[inline]
    pub(crate) fn acknowledge(&mut self, reached: &Reached) {
        self.acknowledged.push(*reached);
        if self.acknowledged.len() >= ACKNOWLEDGED_MAX {
            self.take_in();
        }
    }

    /// Applies the acknowledgements.
    fn take_in(&mut self) {
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        acknowledged.drain(..).for_each(|reached| self.take_in_one(&reached));
        self.acknowledged = acknowledged;
    }

    #[inline]
    fn take_in_one(&mut self, reached: &Reached) {
        if self.get_mut(reached.file).is_some_and(|known| known.reach(reached)) {
            self.touch(reached.file);
        }
    }

    /// The output acknowledged these parts by a commit that stored them.
    pub(crate) fn settle(&mut self, reached: &[Reached]) {
        self.take_in();
        for reached in reached {
            if self.get_mut(reached.file).is_some_and(|known| known.reach(reached)) {
                self.touch_snapshot(reached.file);
            }
        }
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

    /// A snapshot under way may have an outdated entry of this file.
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

    /// The file was deleted, and its entry is dropped. Records of it may still be in flight, and
    /// another name of it may be found.
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

    /// The changes since the last commit, for the next one.
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

    /// The commit failed: these changes are still to be stored.
    pub(crate) fn give_back(&mut self, changes: Changes) {
        for key in changes.slots {
            self.touch(key);
        }
        let since = std::mem::replace(&mut self.changes.gone, changes.gone);
        self.changes.gone.extend(since);
    }

    /// Whether the path has to be stored along. From now on the journal is assumed to have it.
    pub(crate) fn needs_path(&mut self, key: SlotKey) -> bool {
        self.get_mut(key).is_some_and(|known| {
            let needs = !known.bits.contains(Bits::PATH);
            known.bits.insert(Bits::PATH);
            needs
        })
    }

    /// The file was read to its end at this time; 0: this is not certain any more.
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

    /// The next slots of the snapshot, at most `count`; `None` after the last ones.
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

    /// What changed in parts that were written already, for the last part.
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

    /// The snapshot ends.
    pub(crate) fn end_snapshot(&mut self) {
        drop(self.take_late());
    }

    /// It is not known which paths the journal has: each path is stored again with the next change
    /// of its file.
    pub(crate) fn doubt_paths(&mut self) {
        for known in self.known.iter_mut().flatten() {
            known.bits.remove(Bits::PATH);
        }
    }

    /// About how many files there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

impl Known {
    /// Goes on to where a part brings the file. Returns whether it did: a part of an older
    /// generation counts for nothing.
    #[inline]
    pub(crate) fn reach(&mut self, reached: &Reached) -> bool {
        let is_same = self.generation == reached.generation;
        if is_same {
            self.offset = reached.offset;
            self.mark = reached.mark;
            self.mark_len = reached.mark_len;
            self.flags = reached.flags;
            self.read_at = reached.read_at;
        }
        is_same
    }

    /// Whether the file has an entry.
    pub(crate) fn is_kept(&self) -> bool {
        !self.bits.contains(Bits::GONE)
    }

    /// The entry for the journal. `complete_at`: up to when every modification was acknowledged; 0:
    /// not known.
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

    #[test]
    fn an_entry_that_was_let_go_comes_back_with_another_name() {
        for (comes_back, gone_again) in [(true, 2), (false, 1)] {
            let (mut ledger, keys) = (Ledger::default(), keys(1));
            ledger.begin(keys[0], 4, 0, EntryFlags::empty(), 0);
            ledger.let_go(keys[0], FILE);
            ledger.let_go(keys[0], FILE);
            assert!(!ledger.get(keys[0]).unwrap().is_kept());
            if comes_back {
                ledger.renamed(keys[0]);
                assert!(ledger.get(keys[0]).unwrap().is_kept());
            }
            ledger.forget(keys[0], FILE);
            assert!(ledger.get(keys[0]).is_none());
            assert_eq!(ledger.take_changes().gone, vec![(FILE, 4); gone_again]);
        }
    }

    #[test]
    fn the_time_of_the_last_read_is_news_only_if_there_was_none() {
        for (before, at, is_news) in [(0, 5, true), (0, 0, false), (5, 6, false), (5, 0, false)] {
            let (mut ledger, keys) = (Ledger::default(), keys(1));
            ledger.begin(keys[0], 0, 0, EntryFlags::empty(), before);
            ledger.read_to_end(keys[0], at);
            assert_eq!(ledger.get(keys[0]).unwrap().read_at, at);
            assert_eq!(ledger.has_changes(), is_news, "{before} -> {at}");
        }
    }

    #[test]
    fn a_file_with_another_identity_keeps_what_was_acknowledged_before() {
        let (mut ledger, keys) = (Ledger::default(), keys(1));
        ledger.begin(keys[0], 2, 0, EntryFlags::empty(), 0);
        assert!(ledger.needs_path(keys[0]));
        ledger.acknowledge(&reached(keys[0], 2, 70));
        ledger.renumbered(keys[0], 9);
        ledger.acknowledge(&reached(keys[0], 2, 80));
        assert_eq!(ledger.take_changes().slots, [keys[0]]);
        let known = ledger.get(keys[0]).unwrap();
        assert_eq!((known.generation, known.offset), (9, 70), "the other number is of before");
        assert!(ledger.needs_path(keys[0]));
    }

    #[test]
    fn changes_that_go_back_come_before_later_ones() {
        let (mut ledger, keys) = (Ledger::default(), keys(2));
        keys.iter().for_each(|&key| ledger.begin(key, 1, 0, EntryFlags::empty(), 0));
        ledger.drop_entry(FILE, 1);
        let changes = ledger.take_changes();
        ledger.drop_entry(FILE, 2);
        ledger.give_back(changes);
        assert_eq!(ledger.take_changes().gone, [(FILE, 1), (FILE, 2)]);
        assert!(ledger.take_changes().is_empty());
    }
}
