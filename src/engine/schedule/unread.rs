//! Files to read: whose turn is next.
//!
//! In: files with unread bytes, each with its group: the directory right below a PATH that it is
//! in. Out: one file at a time.
//! Always holds: files that changed and files that take longer (read in part before, or found by a
//! listing) get equal shares of the bytes that are read. Groups take turns in each of the three
//! queues. Within a group, files are read in the order in which they were queued.

use crate::engine::schedule::lag::Queued;
use crate::fair_queue::FairQueue;

/// Opening and closing a file costs as much as reading so many bytes.
const TURN_COST: i64 = 4 * 1024;

/// How many bytes one side may be ahead of the other: a side that has nothing to read saves nothing
/// up.
const AHEAD_MAX: i64 = 256 * 1024;

/// Why a file waits to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// It changed: as far as is known, few bytes are unread.
    Changed,
    /// A listing found it, and it was not read to its end since.
    Backlog,
    /// It had more bytes than fit into one turn.
    HasMore,
}

/// All files to read.
#[derive(Debug)]
pub(crate) struct Unread {
    changed: FairQueue<Queued>,
    backlog: FairQueue<Queued>,
    with_more: FairQueue<Queued>,
    /// How many bytes more were read of changed files than of the others.
    ahead: i64,
    turns: u32,
}

impl Unread {
    pub(crate) fn new() -> Self {
        Unread {
            changed: FairQueue::new(),
            backlog: FairQueue::new(),
            with_more: FairQueue::new(),
            ahead: 0,
            turns: 0,
        }
    }

    #[inline]
    fn queue(&mut self, because: Because) -> &mut FairQueue<Queued> {
        match because {
            Because::Changed => &mut self.changed,
            Because::Backlog => &mut self.backlog,
            Because::HasMore => &mut self.with_more,
        }
    }

    #[inline]
    pub(crate) fn push_back(&mut self, because: Because, group: u32, file: Queued) {
        self.queue(because).push_back(group, file);
    }

    /// No file of its group that waits for the same reason overtakes it.
    pub(crate) fn push_front(&mut self, because: Because, group: u32, file: Queued) {
        self.queue(because).push_front(group, file);
    }

    /// Takes the file whose turn it is, and why it waited. Without `with_others`, only a changed
    /// file.
    #[inline]
    pub(crate) fn pop(&mut self, with_others: bool) -> Option<(Queued, Because)> {
        let others = if with_others { self.backlog.len() + self.with_more.len() } else { 0 };
        if (self.ahead <= 0 || others == 0)
            && let Some(changed) = self.changed.pop()
        {
            return Some((changed, Because::Changed));
        }
        if others > 0 { self.pop_other() } else { None }
    }

    fn pop_other(&mut self) -> Option<(Queued, Because)> {
        self.turns = self.turns.wrapping_add(1);
        let order = if self.turns.is_multiple_of(2) {
            [Because::Backlog, Because::HasMore]
        } else {
            [Because::HasMore, Because::Backlog]
        };
        order.into_iter().find_map(|because| Some((self.queue(because).pop()?, because)))
    }

    /// So many bytes were read of a file that waited for this reason.
    #[inline]
    pub(crate) fn took(&mut self, because: Because, bytes: usize) {
        // At most the bytes that one file may read per turn.
        let cost = bytes.cast_signed() as i64 + TURN_COST;
        let ahead = if because == Because::Changed { self.ahead + cost } else { self.ahead - cost };
        self.ahead = ahead.clamp(-AHEAD_MAX, AHEAD_MAX);
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.changed.len() + self.backlog.len() + self.with_more.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a file to take. Without `with_others`, only a changed file.
    pub(crate) fn has_any(&self, with_others: bool) -> bool {
        !self.changed.is_empty() || (with_others && !self.is_empty())
    }

    /// Whether all files that a listing found were read.
    pub(crate) fn has_no_listed(&self) -> bool {
        self.backlog.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &FairQueue<Queued>> {
        [&self.changed, &self.backlog, &self.with_more].into_iter()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Queued> + '_ {
        self.all().flat_map(FairQueue::iter)
    }

    /// The file at a place of [`Unread::iter`].
    pub(crate) fn get(&self, at: usize) -> Option<Queued> {
        let mut left = at;
        for queue in self.all() {
            if left < queue.len() {
                return queue.get(left).copied();
            }
            left -= queue.len();
        }
        None
    }

    /// The files that have waited longest in their groups.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Queued> + '_ {
        self.all().flat_map(FairQueue::heads)
    }

    pub(crate) fn give_back(&mut self) {
        [&mut self.changed, &mut self.backlog, &mut self.with_more]
            .into_iter()
            .for_each(FairQueue::give_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::registry::SlotId;
    use crate::engine::schedule::lag::Stamp;

    #[test]
    fn a_changed_file_waits_for_one_that_has_more_and_one_of_each_other_group() {
        let mut unread = Unread::new();
        let file = |number| Queued { id: SlotId(number), since: Stamp::default() };
        (0..1_000).for_each(|number| unread.push_back(Because::HasMore, number % 3, file(number)));
        (1_000..2_000).for_each(|number| unread.push_back(Because::Backlog, 1, file(number)));
        (2_000..3_000).for_each(|number| unread.push_back(Because::Changed, 1, file(number)));
        unread.push_back(Because::Changed, 2, file(9_999));
        let mut read = [0, 0];
        let mut take = |unread: &mut Unread| {
            let (waiting, because) = unread.pop(true)?;
            let bytes = if because == Because::Changed { 100 } else { 128 * 1024 };
            unread.took(because, bytes);
            read[usize::from(because != Because::Changed)] += bytes as i64 + TURN_COST;
            Some(waiting.id.0)
        };
        let place = std::iter::from_fn(|| take(&mut unread)).position(|number| number == 9_999);
        assert!(place.is_some_and(|place| place < 4), "{place:?}");
        let mut left: Vec<u32> = unread.iter().map(|waiting| waiting.id.0).collect();
        assert_eq!(
            (left.len(), unread.len()),
            (unread.len(), (0..unread.len()).filter(|&at| unread.get(at).is_some()).count())
        );
        let mut taken: Vec<u32> = (0..900).filter_map(|_| take(&mut unread)).collect();
        assert!((read[0] - read[1]).abs() <= AHEAD_MAX, "{read:?}");
        taken.extend(std::iter::from_fn(|| unread.pop(true)).map(|(waiting, _)| waiting.id.0));
        left.sort_unstable();
        taken.sort_unstable();
        assert_eq!(taken, left, "nothing is lost");
    }
}
