//! A map that remembers the latest entries, in two halves, the older of which is dropped as a
//! whole.
//!
//! In: keys and files. Out: the file last stored under a key.
//! Always holds: at most twice `entries_max` entries; no entry needs a timer or a queue of its own.

use std::hash::Hash;
use std::time::{Duration, Instant};

use hashbrown::{Equivalent, HashMap};

use crate::engine::namespace::registry::SlotKey;

/// The map. An entry stays until `entries_max` newer ones are stored, or until [`Recent::expire`]
/// drops it.
#[derive(Debug)]
pub(crate) struct Recent<K> {
    young: HashMap<K, SlotKey>,
    old: HashMap<K, SlotKey>,
    entries_max: usize,
    /// When [`Recent::insert_at`] stored the first of the young entries.
    since: Option<Instant>,
}

impl<K: Hash + Eq> Recent<K> {
    /// An empty map that begins a new half after this many entries.
    pub(crate) fn new(entries_max: usize) -> Self {
        Recent { young: HashMap::new(), old: HashMap::new(), entries_max, since: None }
    }

    /// Stores the file under this key, in place of the one before.
    pub(crate) fn insert(&mut self, key: K, file: SlotKey) {
        if self.young.len() >= self.entries_max && !self.young.contains_key(&key) {
            self.begin_half();
        }
        self.young.insert(key, file);
    }

    /// The file stored last under this key. It may not be known any more.
    pub(crate) fn get(&self, key: &(impl Hash + Equivalent<K>)) -> Option<SlotKey> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// Removes the key.
    pub(crate) fn remove(&mut self, key: &(impl Hash + Equivalent<K>)) -> Option<SlotKey> {
        let before = self.old.remove(key);
        self.young.remove(key).or(before)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// How many entries there are; a key that is in both halves counts twice.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// All entries, the younger half first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &SlotKey)> {
        self.young.iter().chain(&self.old)
    }

    /// The same, for a map whose entries [`Recent::expire`] drops.
    pub(crate) fn insert_at(&mut self, key: K, file: SlotKey, now: Instant) {
        self.insert(key, file);
        self.since.get_or_insert(now);
    }

    /// Drops what is older than `age`. Called often, it keeps each entry for `age` at least and for
    /// twice as long at most.
    pub(crate) fn expire(&mut self, age: Duration, now: Instant) {
        if self.since.is_some_and(|since| since + age <= now) {
            self.begin_half();
            self.since = (!self.old.is_empty()).then_some(now);
        }
    }

    fn begin_half(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.since = None;
    }
}
