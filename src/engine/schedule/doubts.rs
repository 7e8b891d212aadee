//! The queue of names in doubt: slots that need a `statx(2)` of their names.
//!
//! In: slots, each with the group of its name. Out: one slot after the other, fair to groups.
//! Always holds: a slot is queued at most once in each group, even if its doubt ends early or the
//! slot is freed and used again. A program that renames files in a loop cannot make the queue grow.

use hashbrown::HashSet;

use crate::engine::namespace::registry::SlotId;
use crate::fair_queue::FairQueue;

/// Slots of one group in a row. Their names are mostly in one directory, which is then opened once
/// and not for each.
const LOOKS_IN_A_ROW: u32 = 8;

#[derive(Debug)]
pub(in crate::engine) struct Doubts {
    queue: FairQueue<(u32, SlotId)>,
    waiting: HashSet<(u32, SlotId)>,
}

impl Doubts {
    pub(in crate::engine) fn new() -> Self {
        Doubts { queue: FairQueue::in_rows_of(LOOKS_IN_A_ROW), waiting: HashSet::new() }
    }

    pub(in crate::engine) fn push(&mut self, group: u32, id: SlotId) {
        if self.waiting.insert((group, id)) {
            self.queue.push_back(group, (group, id));
        }
    }

    /// Takes the next slot. It may be free, or no longer in doubt.
    pub(in crate::engine) fn pop(&mut self) -> Option<SlotId> {
        let next = self.queue.pop()?;
        self.waiting.remove(&next);
        Some(next.1)
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a slot of the group is queued.
    pub(in crate::engine) fn holds(&self, group: u32) -> bool {
        self.queue.holds(group)
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.queue.iter().map(|&(_, id)| id)
    }

    /// Frees the memory of an empty queue that was very long.
    pub(in crate::engine) fn give_back(&mut self) {
        self.queue.give_back();
        if self.is_empty() && self.waiting.capacity() > crate::engine::DOUBTS_MAX {
            self.waiting = HashSet::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_queued_once_in_each_group() {
        let mut doubts = Doubts::new();
        for _ in 0..100_000 {
            doubts.push(7, SlotId(1));
            doubts.push(8, SlotId(1));
            doubts.push(7, SlotId(2));
        }
        assert_eq!((doubts.len(), doubts.waiting.len()), (3, 3));
        let all: Vec<SlotId> = std::iter::from_fn(|| doubts.pop()).collect();
        assert_eq!(all, [SlotId(1), SlotId(2), SlotId(1)]);
        doubts.push(7, SlotId(1));
        assert_eq!((doubts.pop(), doubts.pop(), doubts.is_empty()), (Some(SlotId(1)), None, true));
        (0..100_000).for_each(|id| doubts.push(id % 1_000, SlotId(id)));
        while doubts.pop().is_some() {}
        doubts.give_back();
        assert!(doubts.waiting.capacity() <= crate::engine::DOUBTS_MAX && !doubts.holds(7));
    }
}
