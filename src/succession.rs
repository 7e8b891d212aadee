//! Rotation order: which file had a name before, and who waits for whom.
//!
//! In: names given up and names taken. Out: the predecessor of a file, and who may go on once a file was read to its end.
//! Always holds: nobody waits in a circle; memory is in proportion to the files that took another file's name, and to the names given
//! up within [`REMEMBERED_FOR`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::marks::mark;
use crate::registry::{SlotId, SlotKey};
use crate::tree::DirId;

/// How long after a rename a new file under the old name counts as the successor: rotation tools pause in between.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

type Name = (DirId, Box<[u8]>);

/// What is known of successions.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// Who gave this name up last.
    vacated: HashMap<Name, SlotKey>,
    /// A name that was heard of, and the known file that it turned out to stand for.
    became: HashMap<SlotKey, SlotKey>,
    /// When to forget the two above.
    expiries: VecDeque<(Instant, Forget)>,
    /// Whose name each file took.
    predecessors: HashMap<SlotId, SlotKey>,
    /// Who waits right now for a file to be read to its end.
    waiting: HashMap<SlotId, Vec<SlotId>>,
    /// The inverse.
    waits_for: HashMap<SlotId, SlotId>,
}

#[derive(Debug)]
enum Forget {
    Name(Name, SlotKey),
    Became(SlotKey),
}

impl Succession {
    /// `older` gives this name up; the next file under it comes after it.
    pub(crate) fn vacate(&mut self, older: SlotKey, dir: DirId, name: &[u8], now: Instant) {
        let name: Name = (dir, name.into());
        self.vacated.insert(name.clone(), older);
        self.expiries.push_back((now + REMEMBERED_FOR, Forget::Name(name, older)));
    }

    /// Who gave this name up last.
    pub(crate) fn vacated(&self, dir: DirId, name: &[u8]) -> Option<SlotKey> {
        if self.vacated.is_empty() {
            return None;
        }
        self.vacated.get(&(dir, name.into())).copied()
    }

    /// `newer` takes this name. Says whether another file had it before.
    pub(crate) fn claim(&mut self, newer: SlotId, dir: DirId, name: &[u8]) -> bool {
        if self.vacated.is_empty() {
            return false;
        }
        let Some(older) = self.vacated.remove(&(dir, name.into())).filter(|older| older.id != newer) else { return false };
        self.predecessors.insert(newer, older);
        true
    }

    /// `gone`, a name that was heard of, turned out to be the file `known`: it takes its place on both sides. Says whether `known` has a
    /// predecessor now.
    pub(crate) fn pass_on(&mut self, gone: SlotKey, known: SlotKey, now: Instant) -> bool {
        self.became.insert(gone, known);
        self.expiries.push_back((now + REMEMBERED_FOR, Forget::Became(gone)));
        if let Some(older) = self.predecessors.remove(&gone.id)
            && older != known
            && !self.predecessors.contains_key(&known.id)
        {
            mark!("a known file took over whom a name had to wait for");
            self.predecessors.insert(known.id, older);
        }
        self.predecessors.contains_key(&known.id)
    }

    /// `gone`, a further name of the file `known`, has a predecessor: it is that of the file from now on. Says whether there is one.
    pub(crate) fn take_over(&mut self, gone: SlotId, known: SlotId) -> bool {
        match self.predecessors.remove(&gone).filter(|older| older.id != known) {
            Some(older) => {
                self.predecessors.insert(known, older);
                true
            }
            None => false,
        }
    }

    /// `older` was taken for the successor of `newer`, but it is the other way round: it takes its place in the line, in front of it. Says
    /// whether `older` has a predecessor now.
    pub(crate) fn turn_round(&mut self, older: SlotKey, newer: SlotKey) -> bool {
        let before = self.predecessors.insert(newer.id, older);
        match before.filter(|before| *before != older) {
            Some(before) => {
                mark!("a file was put into the line in front of one that had a predecessor");
                self.predecessors.insert(older.id, before);
            }
            None => drop(self.predecessors.remove(&older.id)),
        }
        before.is_some()
    }

    /// Whose name `newer` took.
    pub(crate) fn predecessor(&self, newer: SlotId) -> Option<SlotKey> {
        let older = *self.predecessors.get(&newer)?;
        let older = self.became.get(&older).copied().unwrap_or(older);
        (older.id != newer).then_some(older)
    }

    /// Makes `newer` wait until `older` is released. Refuses, with `false`, what would close a circle.
    pub(crate) fn wait(&mut self, newer: SlotId, older: SlotId) -> bool {
        let mut at = Some(older);
        while let Some(here) = at {
            if here == newer {
                return false;
            }
            at = self.waits_for.get(&here).copied();
        }
        self.waits_for.insert(newer, older);
        self.waiting.entry(older).or_default().push(newer);
        true
    }

    /// For whom a file waits right now.
    pub(crate) fn waited_for(&self, newer: SlotId) -> Option<SlotId> {
        self.waits_for.get(&newer).copied()
    }

    /// All that wait, in the order of their slots.
    pub(crate) fn all_waiting(&self) -> Vec<SlotId> {
        let mut all: Vec<SlotId> = self.waits_for.keys().copied().collect();
        all.sort_unstable_by_key(|id| id.0);
        all
    }

    /// Whether `newer` goes on when `older` is released.
    pub(crate) fn has_waiting(&self, older: SlotId, newer: SlotId) -> bool {
        self.waiting.get(&older).is_some_and(|waiting| waiting.contains(&newer))
    }

    /// `older` has no unread bytes, or cannot be read: returns who may go on.
    pub(crate) fn release(&mut self, older: SlotId) -> Vec<SlotId> {
        let released = self.waiting.remove(&older).unwrap_or_default();
        for newer in &released {
            self.waits_for.remove(newer);
        }
        released
    }

    /// The slot is freed.
    pub(crate) fn forget(&mut self, gone: SlotId) {
        self.predecessors.remove(&gone);
        if let Some(older) = self.waits_for.remove(&gone)
            && let Some(waiting) = self.waiting.get_mut(&older)
        {
            mark!("a file went away while it waited for another one");
            waiting.retain(|&newer| newer != gone);
        }
    }

    /// Forgets what is long ago.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.expiries.front().is_some_and(|(deadline, _)| *deadline <= now) {
            let Some((_, entry)) = self.expiries.pop_front() else { break };
            match entry {
                Forget::Name(name, older) if self.vacated.get(&name) == Some(&older) => drop(self.vacated.remove(&name)),
                Forget::Became(gone) => drop(self.became.remove(&gone)),
                Forget::Name(..) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

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
        order.expire(start + REMEMBERED_FOR);
        assert!(order.vacated.is_empty() && order.became.is_empty() && order.expiries.is_empty());
    }
}
