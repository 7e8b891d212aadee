//! The files: one 64-byte slot each, found by name, by identity and by directory.
//!
//! In: names and identities. Out: slots. A file's life, offset and marks are fields here; other
//! rooms decide what follows from them.
//! Always holds: a name stands for at most one slot, an identity for at most one; a slot costs the
//! same whatever its file does.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::checkpoint::format::{GENERATION_BUCKETS, generation_bucket};
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::tree::DirId;
use crate::names::{NameRef, Names};
use crate::rare::rare;
use crate::sys::FileId;

mod aliases;
mod counts;
mod slot;
mod state;

use aliases::Aliases;
use counts::Counts;
pub(crate) use slot::{FileSlot, Life};
pub(crate) use state::State;

const NONE: u32 = u32::MAX;

/// At most this many look-ups of names wait for memory together.
pub(crate) const NEAR_MAX: usize = 16;

/// A file's place in the registry. It is reused after the file is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SlotId(pub(crate) u32);

/// Identifies a file in queues: it stays unambiguous when the slot is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SlotKey {
    pub(crate) id: SlotId,
    version: u32,
}

/// All files.
#[derive(Debug)]
pub(crate) struct Registry {
    slots: Vec<FileSlot>,
    names: Names,
    by_name: HashTable<u32>,
    by_id: HashTable<u32>,
    /// First slot of each directory, by [`DirId`].
    first_in: Vec<u32>,
    aliases: Aliases,
    devices: Vec<u64>,
    /// Free slots, oldest first, so that a slot is reused as late as possible.
    free_first: u32,
    free_last: u32,
    len: usize,
    counts: Counts,
    /// The least generation that inodes of a bucket may get next, by [`generation_bucket`].
    reached: Box<[u32]>,
    hasher: DefaultHashBuilder,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Registry {
            slots: Vec::new(),
            names: Names::new(),
            by_name: HashTable::new(),
            by_id: HashTable::new(),
            first_in: Vec::new(),
            aliases: Aliases::new(),
            devices: Vec::new(),
            free_first: NONE,
            free_last: NONE,
            len: 0,
            counts: Counts::NONE,
            reached: vec![0; GENERATION_BUCKETS].into_boxed_slice(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Makes room for this many files, so that no table grows while they are added.
    pub(crate) fn reserve(&mut self, files: usize) {
        self.slots.reserve_exact(files);
        let (slots, names, devices, hasher) =
            (&self.slots, &self.names, &self.devices, &self.hasher);
        self.by_name.reserve(files, |&at| {
            hasher.hash_one((slots[at as usize].dir, names.get(slots[at as usize].name)))
        });
        self.by_id.reserve(files, |&at| {
            let file = identity(&slots[at as usize], devices);
            hasher.hash_one((file.device, file.inode))
        });
    }

    /// How many slots are in use.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All slots, including free ones.
    pub(crate) fn all(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..u32::try_from(self.slots.len()).expect("slots are numbered with 32 bits")).map(SlotId)
    }

    pub(crate) fn get(&self, id: SlotId) -> &FileSlot {
        &self.slots[id.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, id: SlotId) -> &mut FileSlot {
        &mut self.slots[id.0 as usize]
    }

    /// How many slots there are, including free ones.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn key(&self, id: SlotId) -> SlotKey {
        SlotKey { id, version: self.get(id).version }
    }

    /// The file, if the slot still holds the same one.
    pub(crate) fn alive(&self, key: SlotKey) -> Option<SlotId> {
        let slot = self.get(key.id);
        (slot.life != Life::Free && slot.version == key.version).then_some(key.id)
    }

    /// Adds a name that is not known yet.
    pub(crate) fn insert(&mut self, dir: DirId, name: &[u8]) -> SlotId {
        let id = self.take();
        self.len += 1;
        self.counts.add(&self.slots[id.0 as usize]);
        self.bind(id, dir, name);
        id
    }

    pub(crate) fn find(&self, dir: DirId, name: &[u8]) -> Option<SlotId> {
        self.find_by(self.hash_name(dir, name), dir, name)
    }

    /// The hash by which a name is found.
    #[inline]
    pub(crate) fn hash_name(&self, dir: DirId, name: &[u8]) -> u64 {
        self.hasher.hash_one((dir.0, name))
    }

    /// Loads the data for several look-ups into the processor's cache. A single look-up waits for
    /// memory four times in a row; here the waits of all look-ups overlap. Takes at most
    /// [`NEAR_MAX`] hashes.
    pub(crate) fn bring_near(&self, hashes: &[u64]) {
        let mut near = [NameRef::NONE; NEAR_MAX];
        for (&hash, name) in hashes.iter().zip(&mut near) {
            // The first slot whose hash may match is nearly always the right one.
            let slot =
                self.by_name.find(hash, |_| true).and_then(|&at| self.slots.get(at as usize));
            *name = slot.map_or(NameRef::NONE, |slot| slot.name);
        }
        let first_bytes = near.map(|name| self.names.first_byte(name));
        std::hint::black_box(first_bytes);
    }

    /// Like [`Registry::find`], with a hash that is already computed.
    #[inline]
    pub(crate) fn find_by(&self, hash: u64, dir: DirId, name: &[u8]) -> Option<SlotId> {
        let found = self.by_name.find(hash, |&at| {
            let slot = &self.slots[at as usize];
            slot.dir == dir.0 && self.names.get(slot.name) == name
        });
        match found {
            Some(&at) => Some(SlotId(at)),
            None => self.aliases.find(dir, name),
        }
    }

    pub(crate) fn find_id(&self, id: FileId) -> Option<SlotId> {
        self.by_id.find(self.hash_id(id), |&at| self.id_at(at) == Some(id)).map(|&at| SlotId(at))
    }

    /// The bound file with this inode, in any life of the inode.
    pub(crate) fn find_inode(&self, device: u64, inode: u64) -> Option<SlotId> {
        let is_it = |&at: &u32| {
            let is_same =
                self.id_at(at).is_some_and(|other| (other.device, other.inode) == (device, inode));
            is_same && self.slots[at as usize].is_bound()
        };
        self.by_id
            .iter_hash(self.hash_id(FileId { device, inode, inode_generation: 0 }))
            .copied()
            .find(is_it)
            .map(SlotId)
    }

    /// A parked file that had this file's inode before, and so cannot come back.
    pub(crate) fn find_former(&self, file: FileId) -> Option<SlotId> {
        let is_former = |&at: &u32| {
            let is_same = |other: FileId| {
                (other.device, other.inode) == (file.device, file.inode) && other != file
            };
            self.slots[at as usize].life == Life::Parked && self.id_at(at).is_some_and(is_same)
        };
        self.by_id.iter_hash(self.hash_id(file)).copied().find(is_former).map(SlotId)
    }

    /// The identity, once it is known.
    pub(crate) fn file_id(&self, id: SlotId) -> Option<FileId> {
        self.id_at(id.0)
    }

    /// Whether the slot is identified as a life of this inode.
    #[inline]
    pub(crate) fn is_inode(&self, id: SlotId, device: u64, inode: u64) -> bool {
        let slot = self.get(id);
        slot.inode == inode
            && slot.is_identified()
            && self.devices[usize::from(slot.device)] == device
    }

    /// The file's name, or its last one.
    #[inline]
    pub(crate) fn name(&self, id: SlotId) -> &[u8] {
        let name = self.get(id).name;
        if name == NameRef::NONE { b"" } else { self.names.get(name) }
    }

    /// The slots of a directory.
    pub(crate) fn in_dir(&self, dir: DirId) -> impl Iterator<Item = SlotId> + '_ {
        let mut at = self.first_in.get(dir.0 as usize).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let id = (at != NONE).then_some(SlotId(at))?;
            at = self.get(id).next;
            Some(id)
        })
    }

    /// Sets which file the slot stands for. Its generation is at least `floor`, and is new for this
    /// inode in this run.
    pub(crate) fn identify(&mut self, id: SlotId, file: FileId, floor: u32) {
        assert!(!self.get(id).is_identified(), "a slot is identified once");
        debug_assert!(self.find_id(file).is_none(), "one slot per identity");
        let device =
            self.devices.iter().position(|&known| known == file.device).unwrap_or_else(|| {
                self.devices.push(file.device);
                self.devices.len() - 1
            });
        // The file that had the inode before may not be forgotten yet.
        let others = self.by_id.iter_hash(self.hash_id(file)).filter_map(|&at| {
            let same = self
                .id_at(at)
                .is_some_and(|other| (other.device, other.inode) == (file.device, file.inode));
            same.then(|| self.slots[at as usize].generation + 1)
        });
        let others = others.max();
        if others.is_some() {
            rare!("a file was identified while the one that had its inode before was still known");
        }
        let generation =
            others.unwrap_or(0).max(self.reached[usize::from(generation_bucket(file))]).max(floor);
        let slot = self.get_mut(id);
        slot.device = u16::try_from(device).expect("fewer than 65,536 devices");
        slot.inode = file.inode;
        slot.inode_generation = file.inode_generation;
        slot.generation = generation;
        slot.state.insert(State::IDENTIFIED);
        let hash = self.hash_id(file);
        let (slots, devices, hasher) = (&self.slots, &self.devices, &self.hasher);
        self.by_id.insert_unique(hash, id.0, |&at| {
            let file = identity(&slots[at as usize], devices);
            hasher.hash_one((file.device, file.inode))
        });
    }

    /// Gives the file another identity. On the same inode it keeps its generation.
    pub(crate) fn identify_anew(&mut self, id: SlotId, file: FileId) {
        let before = self.file_id(id).expect("only an identified file gets another identity");
        match self.by_id.find_entry(self.hash_id(before), |&at| at == id.0) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("an identified slot is in the index of identities"),
        }
        let slot = self.get_mut(id);
        slot.state.remove(State::IDENTIFIED);
        let generation = slot.generation;
        self.identify(id, file, generation);
        if (before.device, before.inode) == (file.device, file.inode) {
            self.get_mut(id).generation = generation;
        }
    }

    /// Unbinds the slot from its name. The slot keeps it as its last name.
    pub(crate) fn unbind(&mut self, id: SlotId) {
        let slot = self.get(id);
        assert!(slot.is_bound(), "only a bound slot is unbound");
        let (dir, next, previous) = (slot.dir, slot.next, slot.previous);
        let hash = self.hash_name(DirId(dir), self.names.get(slot.name));
        match self.by_name.find_entry(hash, |&at| at == id.0) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("a bound slot is in the index of names"),
        }
        if previous == NONE {
            self.first_in[dir as usize] = next;
        } else {
            self.slots[previous as usize].next = next;
        }
        if next != NONE {
            self.slots[next as usize].previous = previous;
        }
        self.get_mut(id).state.remove(State::BOUND);
    }

    /// Gives the slot a name that no other slot has.
    pub(crate) fn bind(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        assert!(!self.get(id).is_bound(), "a slot has one name");
        debug_assert!(!self.by_name_holds(dir, name), "a name stands for one slot");
        self.drop_name(id);
        let name_ref = self.names.insert(name);
        if self.first_in.len() <= dir.0 as usize {
            self.first_in.resize(dir.0 as usize + 1, NONE);
        }
        let first = std::mem::replace(&mut self.first_in[dir.0 as usize], id.0);
        if first != NONE {
            self.slots[first as usize].previous = id.0;
        }
        let slot = self.get_mut(id);
        slot.dir = dir.0;
        slot.name = name_ref;
        slot.next = first;
        slot.previous = NONE;
        slot.state.insert(State::BOUND);
        let (slots, names, hasher) = (&self.slots, &self.names, &self.hasher);
        let hash = |at: u32| {
            let slot = &slots[at as usize];
            hasher.hash_one((slot.dir, names.get(slot.name)))
        };
        self.by_name.insert_unique(hash(id.0), id.0, |&at| hash(at));
    }

    /// Forgets the last name of an unbound slot, to free its memory.
    pub(crate) fn drop_name(&mut self, id: SlotId) {
        assert!(!self.get(id).is_bound(), "a bound slot needs its name");
        let name = std::mem::replace(&mut self.get_mut(id).name, NameRef::NONE);
        if name != NameRef::NONE {
            self.names.remove(name);
        }
    }

    /// Frees the slot of an unbound file.
    pub(crate) fn free(&mut self, id: SlotId) {
        self.drop_name(id);
        debug_assert!(!self.aliases.has_any(id), "further names go first");
        if let Some(file) = self.file_id(id) {
            let hash = self.hash_id(file);
            if let Ok(entry) = self.by_id.find_entry(hash, |&at| at == id.0) {
                entry.remove();
            }
            let generation = self.get(id).generation;
            self.forget_generation(file, generation);
        }
        let slot = &mut self.slots[id.0 as usize];
        self.counts.remove(slot);
        slot.life = Life::Free;
        slot.state = State::empty();
        slot.version = slot.version.wrapping_add(1);
        slot.next = NONE;
        if self.free_last == NONE {
            self.free_first = id.0;
        } else {
            self.slots[self.free_last as usize].next = id.0;
        }
        self.free_last = id.0;
        self.len -= 1;
    }

    /// From now on, inodes of this bucket get at least this generation.
    pub(crate) fn raise_floor(&mut self, bucket: u16, generation: u32) {
        let reached = &mut self.reached[usize::from(bucket)];
        *reached = (*reached).max(generation);
    }

    /// The file with this generation is forgotten: no other file on its inode gets this generation.
    pub(crate) fn forget_generation(&mut self, file: FileId, generation: u32) {
        self.raise_floor(generation_bucket(file), generation.saturating_add(1));
    }

    /// The least generations by bucket, where they are not 0.
    pub(crate) fn floors(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        let floors = (0_u16..).zip(self.reached.iter().copied());
        floors.filter(|&(_, generation)| generation > 0)
    }

    /// Notes a further name of a file.
    pub(crate) fn add_alias(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        self.aliases.add(id, dir, name);
    }

    /// Whether this name is a further name of a file.
    pub(crate) fn is_alias(&self, dir: DirId, name: &[u8]) -> bool {
        self.aliases.find(dir, name).is_some()
    }

    /// Forgets a further name.
    pub(crate) fn remove_alias(&mut self, dir: DirId, name: &[u8]) {
        self.aliases.remove(dir, name);
    }

    /// Whether the file has further names.
    pub(crate) fn has_aliases(&self, id: SlotId) -> bool {
        self.aliases.has_any(id)
    }

    /// Removes and returns one further name of a file.
    pub(crate) fn take_alias(&mut self, id: SlotId) -> Option<(DirId, Box<[u8]>)> {
        let (dir, name): (DirId, Box<[u8]>) =
            self.aliases.last_of(id).map(|(dir, name)| (dir, name.into()))?;
        self.remove_alias(dir, &name);
        Some((dir, name))
    }

    /// The further names of a file.
    pub(crate) fn further_names(&self, id: SlotId) -> impl Iterator<Item = (DirId, &[u8])> + '_ {
        self.aliases.of_file(id)
    }

    /// Removes one further name in a directory. Returns the file that had it.
    pub(crate) fn take_alias_in(&mut self, dir: DirId) -> Option<SlotId> {
        let name: Box<[u8]> = self.aliases.one_in(dir)?.0.into();
        self.aliases.remove(dir, &name)
    }

    /// Whether there are further names in a directory.
    pub(crate) fn has_alias_in(&self, dir: DirId) -> bool {
        self.aliases.one_in(dir).is_some()
    }

    fn by_name_holds(&self, dir: DirId, name: &[u8]) -> bool {
        self.find(dir, name).is_some_and(|id| {
            self.get(id).is_bound() && self.get(id).dir == dir.0 && self.name(id) == name
        })
    }

    fn id_at(&self, at: u32) -> Option<FileId> {
        let slot = &self.slots[at as usize];
        slot.is_identified().then(|| identity(slot, &self.devices))
    }

    /// Hashes device and inode alone, so that all lives of an inode are found together.
    fn hash_id(&self, file: FileId) -> u64 {
        self.hasher.hash_one((file.device, file.inode))
    }

    fn take(&mut self) -> SlotId {
        let at = self.free_first;
        let (at, version) = if at == NONE {
            (
                u32::try_from(self.slots.len())
                    .ok()
                    .filter(|&at| at < NONE)
                    .expect("fewer than 2^32 files"),
                0,
            )
        } else {
            self.free_first = self.slots[at as usize].next;
            if self.free_first == NONE {
                self.free_last = NONE;
            }
            (at, self.slots[at as usize].version)
        };
        let fresh = FileSlot {
            inode: 0,
            offset: 0,
            inode_generation: 0,
            generation: 0,
            scanned: 0,
            mark: 0,
            dir: NONE,
            name: NameRef::NONE,
            next: NONE,
            previous: NONE,
            version,
            device: 0,
            state: State::empty(),
            life: Life::Named,
            mark_len: 0,
            input: InputId::default(),
            is_end_told: false,
        };
        if at as usize == self.slots.len() {
            self.slots.push(fresh);
        } else {
            self.slots[at as usize] = fresh;
        }
        SlotId(at)
    }
}

fn identity(slot: &FileSlot, devices: &[u64]) -> FileId {
    FileId {
        device: devices[usize::from(slot.device)],
        inode: slot.inode,
        inode_generation: slot.inode_generation,
    }
}

#[cfg(test)]
mod tests;
