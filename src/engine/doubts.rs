//! Names in doubt: which slots are to be looked at, and which is the next.
//!
//! In: slots, each with the group that its name is in. Out: one slot after the other, fair to groups.
//! Always holds: a slot waits once in each group, however often its doubt is settled otherwise, or it is freed and used again, before its
//! turn comes. So whoever renames in a loop makes nothing grow.

use hashbrown::HashSet;

use crate::fair_queue::FairQueue;
use crate::registry::SlotId;

/// Names of one group that are looked at in a row: the directory that they are in need not be opened for each.
const LOOKS_IN_A_ROW: u32 = 8;

#[derive(Debug)]
pub(super) struct Doubts {
    queue: FairQueue<(u32, SlotId)>,
    waiting: HashSet<(u32, SlotId)>,
}

impl Doubts {
    pub(super) fn new() -> Self {
        Doubts { queue: FairQueue::in_rows_of(LOOKS_IN_A_ROW), waiting: HashSet::new() }
    }

    pub(super) fn push(&mut self, group: u32, id: SlotId) {
        if self.waiting.insert((group, id)) {
            self.queue.push_back(group, (group, id));
        }
    }

    /// The slot whose turn it is. Its doubt may be settled by now, and it may even be free.
    pub(super) fn pop(&mut self) -> Option<SlotId> {
        let next = self.queue.pop()?;
        self.waiting.remove(&next);
        Some(next.1)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether slots of the group wait.
    pub(super) fn holds(&self, group: u32) -> bool {
        self.queue.holds(group)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.queue.iter().map(|&(_, id)| id)
    }

    /// Gives the room back that very many took.
    pub(super) fn give_back(&mut self) {
        self.queue.give_back();
        if self.is_empty() && self.waiting.capacity() > super::DOUBTS_MAX {
            self.waiting = HashSet::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_waits_once_in_each_group_until_its_turn() {
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
        assert!(doubts.waiting.capacity() <= super::super::DOUBTS_MAX && !doubts.holds(7));
    }
}
