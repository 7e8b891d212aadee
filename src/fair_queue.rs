//! A queue that is fair to groups: each group has its own lane, and the lanes take turns.
//!
//! In: items, each of a group (for example the files of one directory below a PATH). Out: one item
//! after the other.
//! Always holds: within a group, first in is first out. A group gives at most `row` items, by
//! default one, before every other group with items is served. A closed lane costs four bytes.

use std::collections::VecDeque;

/// No lane.
const NONE: u32 = u32::MAX;

/// An empty lane keeps room for this many items.
const SPARE_ITEMS: usize = 1_024;

/// An empty queue keeps this many lanes.
const SPARE_LANES: usize = 256;

/// The queue. Groups are small numbers.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    lanes: Vec<Lane<T>>,
    /// The lane of each group.
    places: Vec<u32>,
    /// The lane that was served last; open lanes form a ring. [`NONE`]: no lane is open. A lane
    /// that became empty is closed when its turn comes again, because most are used again before.
    served: u32,
    /// How many items a lane gives in a row.
    row: u32,
    /// How many more items the lane served last gives before the next lane's turn.
    left_in_row: u32,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Lane<T> {
    group: u32,
    /// The open lane whose turn is next.
    next: u32,
    items: VecDeque<T>,
}

impl<T> FairQueue<T> {
    pub(crate) fn new() -> Self {
        FairQueue::in_rows_of(1)
    }

    /// For items that are cheaper group by group: a lane gives up to `row` items, at least one,
    /// before the next lane's turn.
    pub(crate) fn in_rows_of(row: u32) -> Self {
        FairQueue {
            lanes: Vec::new(),
            places: Vec::new(),
            served: NONE,
            row,
            left_in_row: 0,
            free: Vec::new(),
            len: 0,
        }
    }

    /// Puts an item behind those of its group.
    #[inline]
    pub(crate) fn push_back(&mut self, group: u32, item: T) {
        self.lane(group).push_back(item);
        self.len += 1;
    }

    /// Puts an item before those of its group.
    pub(crate) fn push_front(&mut self, group: u32, item: T) {
        self.lane(group).push_front(item);
        self.len += 1;
    }

    #[inline]
    fn lane(&mut self, group: u32) -> &mut VecDeque<T> {
        let place = self.places.get(group as usize).copied().unwrap_or(NONE);
        let place = if place == NONE { self.open_lane(group) } else { place };
        &mut self.lanes[place as usize].items
    }

    /// Opens a lane, whose turn comes after those of all others.
    #[cold]
    fn open_lane(&mut self, group: u32) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane { group, next: NONE, items: VecDeque::new() });
            u32::try_from(self.lanes.len() - 1).expect("fewer lanes than groups")
        });
        let next = match self.lanes.get_mut(self.served as usize) {
            Some(last) => std::mem::replace(&mut last.next, place),
            None => place,
        };
        let lane = &mut self.lanes[place as usize];
        (lane.group, lane.next) = (group, next);
        (self.served, self.left_in_row) = (place, 0);
        if self.places.len() <= group as usize {
            self.places.resize(group as usize + 1, NONE);
        }
        self.places[group as usize] = place;
        place
    }

    /// Takes the item whose turn it is.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        loop {
            let place = if self.left_in_row > 0 {
                self.served
            } else {
                self.lanes[self.served as usize].next
            };
            let items = &mut self.lanes[place as usize].items;
            if let Some(item) = items.pop_front() {
                if items.capacity() > SPARE_ITEMS && items.is_empty() {
                    items.shrink_to(SPARE_ITEMS);
                }
                self.left_in_row =
                    if self.left_in_row > 0 { self.left_in_row } else { self.row } - 1;
                self.served = place;
                self.len -= 1;
                return Some(item);
            }
            if std::mem::take(&mut self.left_in_row) == 0 {
                self.close_next_lane();
            }
        }
    }

    /// Closes the lane whose turn it is.
    #[cold]
    fn close_next_lane(&mut self) {
        let place = self.lanes[self.served as usize].next;
        let Lane { group, next, .. } = self.lanes[place as usize];
        if next == place {
            self.served = NONE;
        } else {
            self.lanes[self.served as usize].next = next;
        }
        self.places[group as usize] = NONE;
        self.free.push(place);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether items of the group are queued.
    pub(crate) fn holds(&self, group: u32) -> bool {
        let place = self.places.get(group as usize).copied().unwrap_or(NONE);
        self.lanes.get(place as usize).is_some_and(|lane| !lane.items.is_empty())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The items of each group, those of the group whose turn is next first.
    fn groups(&self) -> impl Iterator<Item = &VecDeque<T>> + '_ {
        let lane = |place: u32| self.lanes.get(place as usize);
        let first = lane(self.served).map(|last| last.next);
        let ring = std::iter::successors(first, move |&place| {
            lane(place).filter(|_| place != self.served).map(|found| found.next)
        });
        ring.map(|place| &self.lanes[place as usize].items)
    }

    /// The first item of each group, that of the group whose turn is next first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &T> + '_ {
        self.groups().filter_map(VecDeque::front)
    }

    /// All items, group after group.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.groups().flatten()
    }

    /// The item at a place in the order of [`FairQueue::iter`].
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        let mut left = at;
        for items in self.groups() {
            if left < items.len() {
                return items.get(left);
            }
            left -= items.len();
        }
        None
    }

    /// Frees the memory of an empty queue that had very many groups.
    pub(crate) fn give_back(&mut self) {
        if self.is_empty() && self.lanes.len() > SPARE_LANES {
            *self = FairQueue::in_rows_of(self.row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_single_item_of_a_group_waits_for_one_of_each_other_group_however_many_these_have() {
        let mut queue = FairQueue::new();
        (0..100_000).for_each(|number| queue.push_back(7, number));
        (0..10).for_each(|number| queue.push_back(9, 200_000 + number));
        queue.push_back(0, 300_000);
        assert_eq!(
            (queue.len(), queue.get(100_000), queue.get(100_011)),
            (100_011, Some(&200_000), None)
        );
        let first: Vec<i32> = (0..5).filter_map(|_| queue.pop()).collect();
        assert_eq!(first, [0, 200_000, 300_000, 1, 200_001]);
        queue.push_front(9, -1);
        assert_eq!([queue.pop(), queue.pop()], [Some(2), Some(-1)]);
        assert_eq!(queue.heads().copied().collect::<Vec<_>>(), [3, 200_002]);
        let rest: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((rest.len(), queue.len(), queue.is_empty()), (100_005, 0, true));
        let of_one: Vec<i32> = rest.into_iter().filter(|&number| number < 200_000).collect();
        assert!(of_one.is_sorted(), "first in is first out within a group");
    }

    #[test]
    fn a_group_gives_a_row_of_items_before_the_next_and_what_it_has_if_that_is_less() {
        let mut queue = FairQueue::in_rows_of(3);
        (0..8).for_each(|number| queue.push_back(7, number));
        (10..12).for_each(|number| queue.push_back(9, number));
        let first: Vec<i32> = (0..6).filter_map(|_| queue.pop()).collect();
        assert_eq!(first, [0, 1, 2, 10, 11, 3]);
        // A new group waits for its turn and has a row of its own; a group without items ends its
        // row.
        (20..24).for_each(|number| queue.push_back(5, number));
        let rest: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((rest.len(), queue.len()), (8, 0));
        let of_new: Vec<usize> = (20..24)
            .map(|number| rest.iter().position(|&at| at == number).expect("it was put in"))
            .collect();
        assert!(of_new[2] - of_new[0] == 2 && of_new[3] - of_new[2] > 1, "{rest:?}");
        queue.push_back(7, 30);
        assert_eq!((queue.pop(), queue.pop()), (Some(30), None));
    }

    #[test]
    fn lanes_are_used_again_and_their_room_is_given_back() {
        let mut queue = FairQueue::new();
        for round in 0..1_000 {
            (0..10_000).for_each(|number| queue.push_back(round, number));
            while queue.pop().is_some() {}
        }
        assert!(queue.lanes.len() <= 2);
        assert!(queue.lanes[0].items.capacity() <= 2 * SPARE_ITEMS);
        (0..1_000).for_each(|group| queue.push_back(group, 0));
        queue.give_back();
        assert_eq!(
            (queue.len(), queue.iter().count(), queue.holds(7), queue.holds(1_000)),
            (1_000, 1_000, true, false)
        );
        while queue.pop().is_some() {}
        queue.give_back();
        assert_eq!((queue.lanes.capacity(), queue.holds(7)), (0, false));
    }

    #[test]
    fn turns_go_round_whichever_groups_come_and_go() {
        let mut queue = FairQueue::new();
        let (mut lanes, mut turns) =
            (std::collections::BTreeMap::<u32, VecDeque<u32>>::new(), VecDeque::new());
        let mut random = 1_u32;
        let mut draw = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        let mut popped = 0;
        for item in 0..100_000 {
            // First more and more groups have items, then fewer again.
            if draw(100) < (item / 1_000) % 100 {
                let mut expected = None;
                while expected.is_none()
                    && !queue.is_empty()
                    && let Some(group) = turns.pop_front()
                {
                    expected = lanes.get_mut(&group).and_then(VecDeque::pop_front);
                    if expected.is_some() {
                        turns.push_back(group)
                    } else {
                        drop(lanes.remove(&group))
                    }
                }
                assert_eq!(queue.pop(), expected, "item {item}");
                popped += usize::from(expected.is_some());
            } else {
                let group = draw(20);
                let lane = lanes.entry(group).or_insert_with(|| {
                    turns.push_back(group);
                    VecDeque::new()
                });
                lane.push_back(item);
                queue.push_back(group, item);
            }
            assert_eq!(queue.len(), lanes.values().map(VecDeque::len).sum::<usize>());
        }
        assert!(popped > 10_000 && queue.heads().count() <= 20, "{popped}");
    }
}
