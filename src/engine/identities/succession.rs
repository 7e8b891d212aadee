//! Rotation order: which file had a name before, and which file waits for which.
//!
//! In: names given up and names taken. Out: the predecessor of a file, and the files that go on
//! once a file was read to its end.
//! Always holds: no files wait in a circle. Names given up are bounded by [`RECENT_MAX`], the
//! oldest go first; the other tables grow with the number of files that took another file's name.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::engine::identities::recent::Recent;
use crate::engine::namespace::registry::{SlotId, SlotKey};
use crate::engine::namespace::tree::DirId;
use crate::rare::rare;

/// For how long, at least, a new file under an old name counts as the successor: rotation tools
/// pause between the rename and the new file.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// Entries in one of the two halves of a memory: half a megabyte. A program that renames in a loop
/// pushes the oldest out.
const RECENT_MAX: usize = 28_672;

/// How many files that wait in a row are searched for a circle.
const CHAIN_MAX: usize = 1_024;

/// Predecessors, and files that wait for them.
#[derive(Debug)]
pub(crate) struct Succession {
    /// The file that gave a name up last, by a digest of the name and its directory that no
    /// outsider can compute.
    vacated: Recent<u64>,
    /// A slot that stood for a name only, and the known file that the name turned out to be.
    became: Recent<SlotKey>,
    /// The file whose name each file took.
    predecessors: HashMap<SlotId, SlotKey>,
    /// The files that wait for a file to be read to its end, in the order in which they came.
    waiting: HashMap<SlotId, BTreeMap<u64, SlotId>>,
    /// The inverse: the file that each file waits for, and its place among those that wait.
    waits_for: HashMap<SlotId, (SlotId, u64)>,
    waits: u64,
    hasher: DefaultHashBuilder,
}

impl Default for Succession {
    fn default() -> Self {
        Succession {
            vacated: Recent::new(RECENT_MAX),
            became: Recent::new(RECENT_MAX),
            predecessors: HashMap::new(),
            waiting: HashMap::new(),
            waits_for: HashMap::new(),
            waits: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Succession {
    /// `older` gives this name up; the next file under it comes after it.
    pub(crate) fn vacate(&mut self, older: SlotKey, dir: DirId, name: &[u8], now: Instant) {
        self.vacated.insert_at(self.digest(dir, name), older, now);
    }

    fn digest(&self, dir: DirId, name: &[u8]) -> u64 {
        self.hasher.hash_one((dir.0, name))
    }

    /// The file that gave this name up last.
    pub(super) fn vacated(&self, dir: DirId, name: &[u8]) -> Option<SlotKey> {
        if self.vacated.is_empty() {
            return None;
        }
        self.vacated.get(&self.digest(dir, name))
    }

    /// `newer` takes this name. Returns whether another file had it before.
    pub(super) fn claim(&mut self, newer: SlotId, dir: DirId, name: &[u8]) -> bool {
        if self.vacated.is_empty() {
            return false;
        }
        let Some(older) =
            self.vacated.remove(&self.digest(dir, name)).filter(|older| older.id != newer)
        else {
            return false;
        };
        self.predecessors.insert(newer, older);
        true
    }

    /// The placeholder `gone` turned out to be the existing file `known`; `known` inherits its
    /// predecessor and its successors. Returns whether `known` has a predecessor now.
    pub(crate) fn pass_on(&mut self, gone: SlotKey, known: SlotKey, now: Instant) -> bool {
        self.became.insert_at(gone, known, now);
        if let Some(older) = self.predecessors.remove(&gone.id)
            && older != known
            && !self.predecessors.contains_key(&known.id)
        {
            rare!("a known file took over whom a name had to wait for");
            self.predecessors.insert(known.id, older);
        }
        self.predecessors.contains_key(&known.id)
    }

    /// `gone` is a further name of the file `known`, which inherits its predecessor. Returns
    /// whether there is one.
    pub(crate) fn take_over(&mut self, gone: SlotId, known: SlotId) -> bool {
        match self.predecessors.remove(&gone).filter(|older| older.id != known) {
            Some(older) => {
                self.predecessors.insert(known, older);
                true
            }
            None => false,
        }
    }

    /// `older` was taken for the successor of `newer`, but it is the other way round: puts it in
    /// front of `newer`. Returns whether `older` has a predecessor now.
    pub(crate) fn turn_round(&mut self, older: SlotKey, newer: SlotKey) -> bool {
        let before = self.predecessors.insert(newer.id, older);
        match before.filter(|before| *before != older) {
            Some(before) => {
                rare!("a file was put into the line in front of one that had a predecessor");
                self.predecessors.insert(older.id, before);
            }
            None => drop(self.predecessors.remove(&older.id)),
        }
        before.is_some()
    }

    /// The file whose name `newer` took.
    pub(crate) fn predecessor(&self, newer: SlotId) -> Option<SlotKey> {
        let older = *self.predecessors.get(&newer)?;
        let older = self.became.get(&older).unwrap_or(older);
        (older.id != newer).then_some(older)
    }

    /// Makes `newer` wait until `older` is read, or cannot be. Returns `false` if that would close
    /// a circle, or a row of [`CHAIN_MAX`].
    pub(super) fn wait(&mut self, newer: SlotId, older: SlotId) -> bool {
        // Most files that begin to wait have no successors themselves.
        if newer == older || self.waiting.contains_key(&newer) && !self.ends_elsewhere(older, newer)
        {
            return false;
        }
        self.stop_waiting(newer);
        self.waits += 1;
        self.waits_for.insert(newer, (older, self.waits));
        self.waiting.entry(older).or_default().insert(self.waits, newer);
        true
    }

    /// Whether the row of files that `first` waits for ends without `other`.
    fn ends_elsewhere(&self, first: SlotId, other: SlotId) -> bool {
        let mut at = first;
        for _ in 0..CHAIN_MAX {
            match self.waited_for(at) {
                Some(next) if next != other => at = next,
                Some(_) => return false,
                None => return true,
            }
        }
        rare!("very many files waited for one another in a row");
        false
    }

    fn stop_waiting(&mut self, newer: SlotId) -> bool {
        let Some((older, place)) = self.waits_for.remove(&newer) else { return false };
        if let Some(waiting) = self.waiting.get_mut(&older) {
            waiting.remove(&place);
            if waiting.is_empty() {
                self.waiting.remove(&older);
            }
        }
        true
    }

    /// The file that `newer` waits for right now.
    pub(crate) fn waited_for(&self, newer: SlotId) -> Option<SlotId> {
        self.waits_for.get(&newer).map(|&(older, _)| older)
    }

    /// All files that wait, in the order of their slots.
    pub(crate) fn all_waiting(&self) -> Vec<SlotId> {
        let mut all: Vec<SlotId> = self.waits_for.keys().copied().collect();
        all.sort_unstable_by_key(|id| id.0);
        all
    }

    /// Whether `newer` goes on when `older` is released.
    pub(crate) fn has_waiting(&self, older: SlotId, newer: SlotId) -> bool {
        self.waits_for
            .get(&newer)
            .is_some_and(|(at, place)| *at == older && self.waiting[at].contains_key(place))
    }

    /// `older` has no unread bytes, or cannot be read: returns the files that go on.
    pub(super) fn release(&mut self, older: SlotId) -> Vec<SlotId> {
        let released: Vec<SlotId> =
            self.waiting.remove(&older).unwrap_or_default().into_values().collect();
        for newer in &released {
            self.waits_for.remove(newer);
        }
        released
    }

    /// The file is not known any more, or waits for nobody.
    pub(crate) fn remove(&mut self, gone: SlotId) {
        self.predecessors.remove(&gone);
        if self.stop_waiting(gone) {
            rare!("a file went away while it waited for another one");
        }
    }

    /// Drops entries that are too old.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.vacated.expire(REMEMBERED_FOR, now);
        self.became.expire(REMEMBERED_FOR, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::registry::Registry;

    const DIR: DirId = DirId(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn now() -> Instant {
        Instant::now()
    }

    fn keys(count: usize) -> Vec<SlotKey> {
        let mut files = Registry::new();
        let ids: Vec<SlotId> = (0..count).map(|n| files.insert(DIR, &[n as u8])).collect();
        ids.into_iter().map(|id| files.key(id)).collect()
    }

    #[test]
    fn the_next_file_under_a_name_comes_after_the_one_that_gave_it_up() {
        let (mut order, keys) = (Succession::default(), keys(3));
        order.vacate(keys[0], DIR, b"x", now());
        assert!(order.claim(keys[1].id, DIR, b"x"));
        assert_eq!(order.predecessor(keys[1].id), Some(keys[0]));
        assert!(!order.claim(keys[2].id, DIR, b"x"), "a name is inherited once");
        assert!(order.wait(keys[1].id, keys[0].id));
        assert_eq!(order.release(keys[0].id), [keys[1].id]);
        assert_eq!(order.release(keys[0].id), []);
    }

    #[test]
    fn a_name_that_turns_out_to_be_a_known_file_passes_its_place_on() {
        let (mut order, keys) = (Succession::default(), keys(4));
        let (oldest, heard_of, newest, known) = (keys[0], keys[1], keys[2], keys[3]);
        order.vacate(oldest, DIR, b"x", now());
        assert!(order.claim(heard_of.id, DIR, b"x"));
        order.vacate(heard_of, DIR, b"x", now());
        assert!(order.claim(newest.id, DIR, b"x"));
        assert!(order.pass_on(heard_of, known, now()));
        assert_eq!(order.predecessor(known.id), Some(oldest));
        assert_eq!(order.predecessor(newest.id), Some(known));
    }

    #[test]
    fn files_that_swap_names_do_not_wait_for_each_other() {
        let (mut order, keys) = (Succession::default(), keys(3));
        assert!(order.wait(keys[0].id, keys[1].id));
        assert!(order.wait(keys[1].id, keys[2].id));
        assert!(!order.wait(keys[2].id, keys[0].id));
    }

    #[test]
    fn names_given_up_long_ago_are_forgotten() {
        let (mut order, keys) = (Succession::default(), keys(2));
        let start = now();
        order.vacate(keys[0], DIR, b"x", start);
        order.pass_on(keys[1], keys[0], start);
        order.expire(start + REMEMBERED_FOR - Duration::from_secs(1));
        assert_eq!(order.vacated(DIR, b"x"), Some(keys[0]));
        order.expire(start + REMEMBERED_FOR);
        order.expire(start + 2 * REMEMBERED_FOR);
        assert!(order.vacated.is_empty() && order.became.is_empty());
    }

    #[test]
    fn a_name_given_up_over_and_over_is_remembered_once_and_ever_new_names_push_out_the_oldest() {
        let (mut order, keys) = (Succession::default(), keys(2));
        for _ in 0..1_000_000 {
            order.vacate(keys[0], DIR, b"x", now());
        }
        assert_eq!(order.vacated.len(), 1);
        for number in 0..3 * RECENT_MAX {
            order.vacate(keys[1], DIR, number.to_string().as_bytes(), now());
        }
        assert!(order.vacated.len() <= 2 * RECENT_MAX);
        assert_eq!((order.vacated(DIR, b"x"), order.vacated(DIR, b"0")), (None, None));
        let last = (3 * RECENT_MAX - 1).to_string();
        assert_eq!(order.vacated(DIR, last.as_bytes()), Some(keys[1]));
    }

    #[test]
    fn very_many_files_that_wait_for_one_or_in_a_row_and_go_away_leave_nothing() {
        let (mut order, mut files) = (Succession::default(), Registry::new());
        let ids: Vec<SlotId> =
            (0..100_000_u32).map(|number| files.insert(DIR, &number.to_le_bytes())).collect();
        for row in [false, true] {
            for (at, &newer) in ids.iter().enumerate().skip(1) {
                assert!(order.wait(newer, if row { ids[at - 1] } else { ids[0] }));
            }
            assert!(!order.wait(ids[0], ids[1]), "that would be a circle");
            assert!(!order.wait(ids[0], ids[99_999]), "that, too");
            ids[1..].iter().for_each(|&gone| order.remove(gone));
            assert!(order.waiting.is_empty() && order.waits_for.is_empty());
        }
    }
}
