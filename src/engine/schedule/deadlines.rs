//! Tasks and the times when they are due.
//!
//! In: tasks, each with its time. Out: tasks whose time has come, earliest first; tasks of one time
//! in the order in which they came.
//! Always holds: a task is never cancelled. Whoever takes it checks whether it still counts: its
//! file may be gone, or be due at another time by now.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::engine::namespace::registry::SlotKey;
use crate::engine::namespace::tree::DirKey;

/// If an empty heap has room for more entries, the memory is given back.
const KEPT_MAX: usize = 4_096;

/// A task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Task {
    /// A file that has lost its name gets a second look: is it really gone?
    Judge(SlotKey),
    /// The same of a directory.
    JudgeDirectory(DirKey),
    /// A file that left the tree with unread bytes while events were missed, and has not come back,
    /// is lost.
    CountLoss(SlotKey),
    /// A look or a read failed: the file is looked at again.
    LookAgain(SlotKey),
    /// An unfinished last line is delivered as a piece, unless it grew.
    DeliverPiece(SlotKey),
    /// The finding of a read counts only if the next read has the same one.
    ReadAgain(SlotKey),
}

/// The kinds of [`Task`]s that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum TaskKind {
    Judge,
    JudgeDirectory,
    CountLoss,
    LookAgain,
    DeliverPiece,
    ReadAgain,
}

impl Task {
    fn kind(self) -> TaskKind {
        match self {
            Task::Judge(_) => TaskKind::Judge,
            Task::JudgeDirectory(_) => TaskKind::JudgeDirectory,
            Task::CountLoss(_) => TaskKind::CountLoss,
            Task::LookAgain(_) => TaskKind::LookAgain,
            Task::DeliverPiece(_) => TaskKind::DeliverPiece,
            Task::ReadAgain(_) => TaskKind::ReadAgain,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Instant,
    number: u64,
    task: Task,
}

impl Entry {
    fn place(&self) -> (Instant, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.place().cmp(&other.place())
    }
}

/// All tasks.
#[derive(Debug, Default)]
pub(in crate::engine) struct Deadlines {
    heap: BinaryHeap<Reverse<Entry>>,
    next: u64,
    counts: [usize; 6],
}

impl Deadlines {
    pub(in crate::engine) fn add(&mut self, at: Instant, task: Task) {
        self.heap.push(Reverse(Entry { at, number: self.next, task }));
        self.next += 1;
        self.counts[task.kind() as usize] += 1;
    }

    /// Takes the next task if its time has come, and returns it with that time.
    pub(in crate::engine) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Task)> {
        if self.next()? > now {
            return None;
        }
        let Reverse(Entry { at, task, .. }) = self.heap.pop()?;
        self.counts[task.kind() as usize] -= 1;
        if self.heap.is_empty() {
            self.heap.shrink_to(KEPT_MAX);
        }
        Some((at, task))
    }

    /// When the next task is due.
    pub(in crate::engine) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Whether there are tasks of this kind.
    pub(in crate::engine) fn has(&self, kind: TaskKind) -> bool {
        self.counts[kind as usize] > 0
    }

    /// Whether there are tasks of other kinds.
    pub(in crate::engine) fn has_other_than(&self, kind: TaskKind) -> bool {
        self.heap.len() > self.counts[kind as usize]
    }

    /// Drops all tasks of this kind.
    pub(in crate::engine) fn drop_all(&mut self, kind: TaskKind) {
        self.heap.retain(|Reverse(entry)| entry.task.kind() != kind);
        self.counts[kind as usize] = 0;
    }

    /// All tasks, in no order, with their times.
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (Instant, Task)> + '_ {
        self.heap.iter().map(|Reverse(entry)| (entry.at, entry.task))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::namespace::registry::Registry;
    use crate::engine::namespace::tree::DirId;

    #[test]
    fn tasks_come_by_their_times_and_those_of_one_time_in_the_order_in_which_they_were_added() {
        let mut files = Registry::new();
        let mut keys = Vec::new();
        for name in 0..100_u8 {
            let id = files.insert(DirId(0), &[name]);
            keys.push(files.key(id));
        }
        let start = crate::sys::clock::now().instant;
        let at = |millis| start + Duration::from_millis(millis);
        let mut deadlines = Deadlines::default();
        for (number, &key) in (0_u64..).zip(&keys) {
            deadlines.add(
                at(number * 37 % 10),
                if number % 2 == 0 { Task::LookAgain(key) } else { Task::Judge(key) },
            );
        }
        assert_eq!(deadlines.next(), Some(at(0)));
        let due: Vec<(Instant, Task)> = std::iter::from_fn(|| deadlines.pop_due(at(4))).collect();
        assert_eq!(due.len(), 50);
        assert!(due.is_sorted_by_key(|&(time, _)| time) && deadlines.next() == Some(at(5)));
        let of_first: Vec<Task> =
            due.iter().filter(|&&(time, _)| time == at(0)).map(|&(_, task)| task).collect();
        let expected = keys.iter().step_by(10).map(|&key| Task::LookAgain(key));
        assert_eq!(of_first, expected.collect::<Vec<Task>>());
        assert!(
            deadlines.has(TaskKind::Judge)
                && deadlines.has(TaskKind::LookAgain)
                && !deadlines.has(TaskKind::CountLoss)
        );
        deadlines.drop_all(TaskKind::Judge);
        assert!(
            !deadlines.has(TaskKind::Judge)
                && deadlines.iter().all(|(_, task)| matches!(task, Task::LookAgain(_)))
        );
        while deadlines.pop_due(at(9)).is_some() {}
        assert!(deadlines.next().is_none() && !deadlines.has(TaskKind::LookAgain));
    }
}
