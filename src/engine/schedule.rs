//! What keeps each file from being read, and whose turn it is.
//!
//! In: files that may have unread bytes; reasons to hold them back, and their ends. Out: the next
//! file to read, the next name to look at, the next deadline.
//! Always holds: only the schedule writes the bits of [`State::SCHEDULED`]. Each of them has its
//! entry here, or in the one place that is sure to clear it (the succession, the listing, the
//! journal). Files cool down in one row instead of having a deadline each: that is the path of
//! every line, and all of them cool down for the same time.

pub(super) mod by_age;
pub(super) mod deadlines;
pub(super) mod doubts;
mod judging;
pub(super) mod lag;
mod parked;
pub(super) mod timers;
pub(super) mod unread;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::engine::namespace::registry::{Life, Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::Tree;
use crate::engine::schedule::by_age::ByAge;
use crate::engine::schedule::lag::{Lag, Queued};
use crate::engine::schedule::parked::{PARKED_MAX, Parked};
use crate::engine::schedule::unread::{Because, Unread};
use crate::planted::is_planted;
use crate::rare::rare;
use deadlines::{Deadlines, Task, TaskKind};
use doubts::Doubts;

/// Reasons to hold a file back that other parts set and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// The file that had its name before is read first.
    Predecessor,
    /// A listing found it, and it is read by age among the other listed files.
    ByAge,
    /// Its first record waits until its generation is stored.
    Store,
}

impl HeldBack {
    fn bit(self) -> State {
        match self {
            HeldBack::Predecessor => State::AWAITS_PREDECESSOR,
            HeldBack::ByAge => State::BY_AGE,
            HeldBack::Store => State::UNSTORED,
        }
    }
}

/// All queues of files.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Files to read; the bit in the slot is the truth.
    pub(super) unread: Unread,
    /// Names to look at; the bit in the slot is the truth.
    pub(super) doubts: Doubts,
    /// Files that a listing found, to be read in the order of their last modification.
    pub(super) by_age: ByAge,
    /// Files read lately, in the order in which they may be opened again.
    cooling: VecDeque<(Instant, SlotKey)>,
    /// How many of the cooling files are dirty.
    cooling_dirty: usize,
    /// Files whose name was deleted: judged as soon as all events and doubts are worked off.
    deleted: VecDeque<(Instant, SlotKey)>,
    pub(super) deadlines: Deadlines,
    /// When each file without a name is judged: a file that came back and left again is not judged
    /// when it would have been the first time.
    judged_at: HashMap<SlotId, Instant>,
    /// When the unfinished end of each file grew.
    grown: HashMap<SlotId, Grown>,
    /// Files that left the tree, the oldest first.
    parked: Parked,
    /// How many of them are remembered at most.
    parked_max: usize,
    /// Files that were deleted and had no other name as far as is known, the oldest first.
    parked_deleted: Parked,
    /// Which part of the cooling time applies: 0 to 1.
    pub(super) pressure: f32,
    /// Since when each file has been waiting.
    pub(super) lag: Lag,
}

/// What the end of a file may become more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Unfinished {
    /// A line without a newline.
    Line,
    /// Whole lines of a record that may go on.
    Record,
}

/// The unfinished end of a file.
#[derive(Debug, Clone, Copy)]
struct Grown {
    at: Instant,
    what: Unfinished,
    /// When it is due: the earliest of its entries among the deadlines. `None`: never.
    due: Option<Instant>,
}

/// The group that the file shares turns with: the files of one directory right below a PATH. A file
/// without a name may be in none: group 0.
#[inline]
pub(super) fn group_of(files: &Registry, tree: &Tree, id: SlotId) -> u32 {
    let slot = files.get(id);
    if slot.is_bound() { tree.group(slot.dir()) } else { 0 }
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Schedule {
            unread: Unread::new(),
            doubts: Doubts::new(),
            by_age: ByAge::default(),
            cooling: VecDeque::new(),
            cooling_dirty: 0,
            deleted: VecDeque::new(),
            deadlines: Deadlines::default(),
            judged_at: HashMap::new(),
            grown: HashMap::new(),
            parked: Parked::default(),
            parked_max: PARKED_MAX,
            parked_deleted: Parked::default(),
            pressure: 1.0,
            lag: Lag::new(now),
        }
    }

    /// The file may have unread bytes.
    #[inline]
    pub(super) fn mark_dirty(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        if files.get(id).state().contains(State::DIRTY) {
            return;
        }
        let before = files.reschedule(id, State::DIRTY, State::empty());
        if before.contains(State::COOLING) {
            self.cooling_dirty += 1;
            self.lag.keep(id, self.lag.now());
        } else {
            self.enqueue_new(files, tree, id);
        }
    }

    /// Out of line, as most events of a burst are about files that cool down.
    #[inline(never)]
    fn enqueue_new(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        let since = self.lag.now();
        match Self::queue_for(files, tree, id) {
            Some((because, group)) => self.unread.push_back(because, group, Queued { id, since }),
            None => self.lag.keep(id, since),
        }
    }

    /// The file has unread bytes, but the look or the attempt that allows a read is still to come.
    pub(super) fn mark_unread(&mut self, files: &mut Registry, id: SlotId) {
        let before = files.reschedule(id, State::DIRTY, State::empty());
        self.cooling_dirty +=
            usize::from(before & (State::COOLING | State::DIRTY) == State::COOLING);
    }

    /// The unread bytes of the file do not count any more.
    pub(super) fn drop_unread(&mut self, files: &mut Registry, id: SlotId) {
        let before = files.reschedule(id, State::empty(), State::DIRTY);
        self.cooling_dirty -= usize::from(before.contains(State::COOLING | State::DIRTY));
    }

    /// Puts a dirty file into the queue, unless something else has to happen first.
    #[inline(never)]
    pub(super) fn enqueue(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        if let Some((because, group)) = Self::queue_for(files, tree, id) {
            self.unread.push_back(because, group, Queued { id, since: self.lag.take(id) });
        }
    }

    /// Returns the queue that a dirty file goes into now, and its group, and marks the file as
    /// queued. `None`: something else has to happen first.
    #[inline]
    fn queue_for(files: &mut Registry, tree: &Tree, id: SlotId) -> Option<(Because, u32)> {
        let slot = files.get(id);
        let state = slot.state();
        let is_due = slot.is_read()
            && state.contains(State::DIRTY)
            && !state.intersects(State::HELD_BACK | State::QUEUED);
        if !is_due {
            return None;
        }
        files.reschedule(id, State::QUEUED, State::empty());
        let because = if state.contains(State::BACKLOG) {
            Because::Backlog
        } else if state.contains(State::HAS_MORE) {
            Because::HasMore
        } else {
            Because::Changed
        };
        Some((because, group_of(files, tree, id)))
    }

    /// A file was taken from its queue, and is not read now.
    pub(super) fn unqueue(files: &mut Registry, id: SlotId) {
        files.reschedule(id, State::empty(), State::QUEUED);
    }

    /// A file was taken from its queue and is read now: bytes that are written from now on make it
    /// dirty again.
    #[inline]
    pub(super) fn begin_read(files: &mut Registry, id: SlotId) {
        files.reschedule(id, State::empty(), State::QUEUED | State::DIRTY | State::RELEASED);
    }

    /// The file's turn is over, and it has more bytes: it is queued again.
    pub(super) fn go_on(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        files.reschedule(id, State::DIRTY | State::HAS_MORE, State::empty());
        self.enqueue(files, tree, id);
    }

    /// Puts a file whose turn ended back at the head of its queue: no file behind it may overtake
    /// it.
    pub(super) fn go_on_first(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        files.reschedule(id, State::DIRTY, State::empty());
        if let Some((because, group)) = Self::queue_for(files, tree, id) {
            self.unread.push_front(because, group, Queued { id, since: self.lag.take(id) });
        }
    }

    /// The file was read to its end.
    #[inline]
    pub(super) fn reached_end(files: &mut Registry, id: SlotId) {
        if files.get(id).state().intersects(State::BACKLOG | State::HAS_MORE) {
            files.reschedule(id, State::empty(), State::BACKLOG | State::HAS_MORE);
        }
    }

    /// The file is not read again for this long.
    #[inline]
    pub(super) fn cool(&mut self, files: &mut Registry, id: SlotId, time: Duration, now: Instant) {
        let before = files.reschedule(id, State::COOLING, State::empty());
        self.cooling_dirty += usize::from(before.contains(State::DIRTY));
        // In the order of their ends: a file that cools down for less time than the one before it
        // waits for that one.
        let last = self.cooling.back().map_or(now, |(end, _)| *end);
        self.cooling.push_back((last.max(now + time), files.key(id)));
    }

    /// No file cools down beyond `now + time` any more.
    pub(super) fn cool_for_at_most(&mut self, time: Duration, now: Instant) {
        for (deadline, _) in &mut self.cooling {
            *deadline = (*deadline).min(now + time);
        }
    }

    /// Files read lately, each with the time when it may be opened again.
    pub(super) fn cooling(&self) -> &VecDeque<(Instant, SlotKey)> {
        &self.cooling
    }

    /// How many cooling files are dirty.
    pub(super) fn cooling_dirty(&self) -> usize {
        self.cooling_dirty
    }

    /// Takes a file that has cooled down.
    #[inline]
    pub(super) fn take_cooled(&mut self, now: Instant) -> Option<SlotKey> {
        let is_due = self.cooling.front().is_some_and(|(deadline, _)| *deadline <= now);
        is_due.then(|| self.cooling.pop_front()).flatten().map(|(_, key)| key)
    }

    /// The file may be read again: its time is over, or it was renamed or ended.
    #[inline]
    pub(super) fn end_cooling(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        let before = files.reschedule(id, State::empty(), State::COOLING);
        if before.contains(State::DIRTY) {
            self.cooling_dirty -= usize::from(before.contains(State::COOLING));
            self.enqueue(files, tree, id);
        }
    }

    /// Its predecessor has been drained. The file does not wait again before its next read, so a
    /// busy predecessor cannot starve it.
    pub(super) fn release_successor(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        files.reschedule(id, State::RELEASED, State::AWAITS_PREDECESSOR);
        self.enqueue(files, tree, id);
    }

    /// The file lost its name: it waits for its predecessor again.
    pub(super) fn lose_turn(files: &mut Registry, id: SlotId) {
        files.reschedule(id, State::empty(), State::RELEASED);
    }

    /// Something has to happen before the file is read.
    pub(super) fn hold_back(files: &mut Registry, id: SlotId, why: HeldBack) {
        files.reschedule(id, why.bit(), State::empty());
    }

    /// It happened: the file is read, if nothing else holds it back.
    pub(super) fn release(&mut self, files: &mut Registry, tree: &Tree, id: SlotId, why: HeldBack) {
        Self::stop_holding_back(files, id, why);
        self.enqueue(files, tree, id);
    }

    /// The same, without queueing the file: it is not decided yet what happens to it next.
    pub(super) fn stop_holding_back(files: &mut Registry, id: SlotId, why: HeldBack) {
        files.reschedule(id, State::empty(), why.bit());
    }

    /// The file's turn by age has come.
    pub(super) fn end_by_age(files: &mut Registry, id: SlotId) {
        files.reschedule(id, State::BACKLOG, State::BY_AGE);
    }

    /// Puts the slot's name in doubt: it is looked at soon.
    pub(super) fn doubt(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        let before = files.reschedule(id, State::DOUBT, State::empty());
        if !before.contains(State::DOUBT) && !is_planted!(DoubtForgotten) {
            self.doubts.push(group_of(files, tree, id), id);
        }
    }

    /// The file behind the name is known.
    pub(super) fn end_doubt(files: &mut Registry, id: SlotId) {
        files.reschedule(id, State::empty(), State::DOUBT);
    }

    /// A look or a read failed: the file is looked at again at this time.
    pub(super) fn retry_at(&mut self, files: &mut Registry, id: SlotId, at: Instant) {
        files.reschedule(id, State::RETRY, State::empty());
        if !is_planted!(RetryForgotten) {
            self.look_again_at(files.key(id), at);
        }
    }

    /// The same, after a short while.
    pub(super) fn retry(&mut self, files: &mut Registry, id: SlotId, now: Instant) {
        self.retry_at(files, id, now + timers::RETRY_AFTER);
    }

    /// Looks at the name again at this time, for changes that no event reports.
    pub(super) fn look_again_at(&mut self, key: SlotKey, at: Instant) {
        self.deadlines.add(at, Task::LookAgain(key));
    }

    /// The time to try again has come.
    pub(super) fn begin_retry(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        files.reschedule(id, State::empty(), State::RETRY);
        self.doubt(files, tree, id);
    }

    /// The unfinished end of a file grew, and is due `after` that, if at all.
    pub(super) fn time_piece(
        &mut self,
        files: &mut Registry,
        id: SlotId,
        (what, after): (Unfinished, Option<Duration>),
        at: Instant,
    ) {
        let before = self.grown.remove(&id).and_then(|grown| grown.due);
        files.get_mut(id).put(State::TIMED, after.is_some());
        let Some(after) = after else {
            // A successor may ask for the lines of an open record.
            if what == Unfinished::Record {
                self.grown.insert(id, Grown { at, what, due: None });
            }
            return;
        };
        // It may have an entry that falls due earlier: then it is timed again.
        let due = before.map_or(at + after, |before| before.min(at + after));
        self.grown.insert(id, Grown { at, what, due: Some(due) });
        if before != Some(due) {
            self.deadlines.add(due, Task::DeliverPiece(files.key(id)));
        }
    }

    /// The time of an unfinished end is over: it is delivered, unless it grew. `after`: how long it
    /// is waited for, if at all.
    pub(super) fn deliver_piece(
        &mut self,
        files: &mut Registry,
        tree: &Tree,
        key: SlotKey,
        after: Option<Duration>,
        now: Instant,
    ) {
        let Some(id) = files.alive(key) else { return };
        // Another entry of it falls due later, or none.
        let is_due = |grown: &&Grown| grown.due.is_some_and(|due| due <= now);
        let Some(&Grown { at, what, .. }) = self.grown.get(&id).filter(is_due) else { return };
        self.grown.remove(&id);
        files.get_mut(id).clear(State::TIMED);
        let Some(time) = after else { return };
        if at + time > now && !is_planted!(FlushedEarly) {
            rare!("an unfinished line grew while it was timed");
            self.time_piece(files, id, (what, after), at);
        } else if files.get(id).scanned > 0 {
            rare!("an unfinished line was due as a piece");
            files.get_mut(id).set(State::FLUSH);
            self.mark_dirty(files, tree, id);
        }
    }

    /// What is unfinished at the end of a file, and when it grew, as far as that is known.
    pub(super) fn unfinished(&self, id: SlotId) -> Option<(Unfinished, Instant)> {
        self.grown.get(&id).map(|grown| (grown.what, grown.at))
    }

    /// Whether the unfinished end of the file is timed.
    pub(super) fn is_timed(&self, id: SlotId) -> bool {
        self.grown.get(&id).is_some_and(|grown| grown.due.is_some())
    }

    /// The file ends with lines of a record that may go on, and another one comes after it: they
    /// are read.
    pub(super) fn end_open_record(&mut self, files: &mut Registry, tree: &Tree, id: SlotId) {
        let is_open = self.unfinished(id).is_some_and(|(what, _)| what == Unfinished::Record);
        if is_open && files.get(id).life() == Life::Following {
            rare!("an open record was not waited for any longer because of a successor");
            self.mark_dirty(files, tree, id);
        }
    }

    /// Stops timing unfinished ends. Returns which there were, and when each of them grew.
    pub(super) fn end_timing(
        &mut self,
        files: &mut Registry,
    ) -> HashMap<SlotId, (Unfinished, Instant)> {
        for &id in self.grown.keys() {
            files.get_mut(id).clear(State::TIMED);
        }
        self.deadlines.drop_all(TaskKind::DeliverPiece);
        self.grown.drain().map(|(id, grown)| (id, (grown.what, grown.at))).collect()
    }

    /// Removes all entries of a file whose slot is freed.
    pub(super) fn remove(&mut self, files: &Registry, id: SlotId) {
        self.cooling_dirty -=
            usize::from(files.get(id).state().contains(State::COOLING | State::DIRTY));
        self.judged_at.remove(&id);
        self.grown.remove(&id);
        self.unpark(id);
    }

    /// Gives the memory of queues back that were long.
    pub(super) fn give_back(&mut self) {
        self.by_age.close_groups();
        self.unread.give_back();
        self.doubts.give_back();
    }

    /// Files that wait to be read, or to be read again.
    pub(super) fn len(&self) -> usize {
        self.unread.len() + self.by_age.len() + self.cooling_dirty
    }

    /// The first instant at which something here falls due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let cooled = self.cooling.front().map(|(at, _)| *at).filter(|_| self.cooling_dirty > 0);
        [cooled, self.deadlines.next(), self.parked.deadline(), self.parked_deleted.deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests;
