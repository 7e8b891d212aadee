//! What happens because time passed: files cool down, moves stay without a second half, parked
//! files are forgotten, pieces fall due.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, SlotId, SlotKey, State};
use crate::engine::namespace::tree::Why;
use crate::engine::schedule::deadlines::Task;
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// How long a name that went away may take to come up elsewhere. The kernel queues both halves of a
/// rename back to back.
pub(in crate::engine) const GRACE: Duration = Duration::from_millis(20);

/// How long a deletion waits at most until no name is in doubt any more under which the file may be
/// found.
pub(in crate::engine) const DELETION_SETTLES: Duration = Duration::from_secs(1);

/// How long a file that left the tree is remembered.
pub(in crate::engine) const PARKED_FOR: Duration = Duration::from_secs(600);

/// Files remembered at most after they were deleted: every log ends so, and hardly any has a name
/// that nobody knows of. Under a megabyte.
const PARKED_DELETED_MAX: usize = 8_192;

/// How long a file that left the tree with unread bytes while events were missed may take to come
/// up elsewhere.
pub(in crate::engine) const LOSS_AFTER: Duration = Duration::from_secs(2);

/// Of each of the things below that fall due, so many are done per turn: users choose how many do
/// at once.
const DUE_PER_TURN: usize = 2_048;

/// When a failed look or open is tried again.
pub(in crate::engine) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How often missing paths and unwatched directories are looked at.
pub(in crate::engine) const POLL_EVERY: Duration = Duration::from_secs(1);

impl<F: FileSystem, S: Sink> Engine<F, S> {
    pub(in crate::engine) fn expire(&mut self, now: Now) {
        let instant = now.instant;
        for _ in 0..DUE_PER_TURN {
            let Some(key) = self.schedule.take_cooled(instant) else { break };
            if let Some(id) = self.files.alive(key).filter(|_| !is_planted!(CoolingForgotten)) {
                self.end_cooling(id);
            }
        }
        self.reading.kept.expire(instant);
        self.discovery.walks.expire(instant);
        self.outbox.tap.expire(instant);
        self.identities.expire_half_renames(instant);
        for _ in 0..DUE_PER_TURN {
            let Some((at, task)) = self.schedule.deadlines.pop_due(instant) else { break };
            self.carry_out(task, at, now);
        }
        let mut is_one_forgotten = false;
        for _ in 0..DUE_PER_TURN {
            let Some(key) = self
                .schedule
                .parked
                .pop_due(instant)
                .or_else(|| self.schedule.parked_deleted.pop_due(instant))
            else {
                break;
            };
            self.forget_parked(key, instant);
            is_one_forgotten = true;
        }
        if is_one_forgotten {
            self.give_useless_watches_back();
        }
        self.schedule.end_room_for_parked();
        self.identities.succession.expire(instant);
        if self.kernel.poll_at.is_some_and(|at| at <= instant) {
            self.poll(now);
        }
    }

    /// A task is due, since `at`.
    fn carry_out(&mut self, task: Task, at: Instant, now: Now) {
        match task {
            Task::Judge(key) => self.judge_departure(key, at, now),
            Task::JudgeDirectory(key) => self.judge_directory(key, now.instant),
            Task::CountLoss(key) => self.judge_loss(key, now.instant),
            Task::LookAgain(key) => {
                if let Some(id) = self.files.alive(key) {
                    self.schedule.begin_retry(&mut self.files, &self.tree, id);
                }
            }
            Task::DeliverPiece(key) => self.deliver_piece(key, now.instant),
        }
    }

    /// A file lost its name a moment ago, unless it is to be judged at another time than `at` by
    /// now.
    fn judge_departure(&mut self, key: SlotKey, at: Instant, now: Now) {
        if self.schedule.judged_at.get(&key.id) != Some(&at) {
            return;
        }
        let is_deleted = self
            .files
            .alive(key)
            .is_some_and(|id| self.files.get(id).state().contains(State::DELETED));
        if is_deleted {
            rare!("a file that lost its name was deleted meanwhile");
            // It moved, came back and was deleted, or a look failed. What was just found may be
            // this file under another name.
            self.schedule.deleted.push_back((now.instant, key));
        } else {
            self.judge(key, now);
        }
    }

    /// A file left the tree with unread bytes and did not come back: they are lost once what was
    /// missed was looked at.
    fn judge_loss(&mut self, key: SlotKey, now: Instant) {
        // One that came back has a name again; one that was reported has none.
        let is_lost = |id: &SlotId| {
            self.files.get(*id).life() == Life::Parked && !self.files.name(*id).is_empty()
        };
        let Some(id) = self.files.alive(key).filter(is_lost) else { return };
        if self.is_catching_up() {
            self.schedule.deadlines.add(now + LOSS_AFTER, Task::CountLoss(key));
            return;
        }
        self.count_loss(id, now);
        self.files.drop_name(id);
    }

    /// Delivers an unterminated last line, unless it grew within the time set.
    fn deliver_piece(&mut self, key: SlotKey, now: Instant) {
        let Some(after) = self.config.partial_after else { return };
        let Some(id) = self.files.alive(key) else { return };
        self.files.get_mut(id).clear(State::TIMED);
        let Some(grown) = self.schedule.grown.remove(&id) else { return };
        if grown + after > now && !is_planted!(FlushedEarly) {
            rare!("an unfinished line grew while it was timed");
            self.time_partial(id, grown);
        } else if self.files.get(id).scanned > 0 {
            rare!("an unfinished line was due as a piece");
            self.files.get_mut(id).set(State::FLUSH);
            self.mark_dirty(id);
        }
    }

    /// Notes that an unterminated last line grew.
    pub(in crate::engine) fn time_partial(&mut self, id: SlotId, grown: Instant) {
        if let Some(after) = self.config.partial_after {
            self.schedule.time_piece(&mut self.files, id, grown, after);
        }
    }

    /// Looks for paths that are missing, and lists directories that have no watch.
    fn poll(&mut self, now: Now) {
        self.kernel.poll_at = None;
        for at in 0..self.coverage.roots.len() {
            self.start_root(at, Why::Appeared, now);
        }
        if self.kernel.polled > 0 {
            rare!("directories without a watch were listed");
            for place in 0..self.tree.places() {
                if let Some(dir) =
                    self.tree.at_place(place).filter(|&dir| self.tree.get(dir).is_polled)
                {
                    self.push_visit(dir, Why::Poll);
                }
            }
            self.poll_by(now.instant + POLL_EVERY);
        }
    }

    /// Makes sure that the next poll is not later than `at`.
    pub(in crate::engine) fn poll_by(&mut self, at: Instant) {
        self.kernel.poll_at = Some(self.kernel.poll_at.map_or(at, |known| known.min(at)));
    }

    /// Tries a file again later.
    pub(in crate::engine) fn retry(&mut self, id: SlotId, now: Instant) {
        self.retry_at(id, now + RETRY_AFTER);
    }

    /// See [`retry_at`](crate::engine::schedule::Schedule::retry_at).
    pub(in crate::engine) fn retry_at(&mut self, id: SlotId, at: Instant) {
        self.schedule.retry_at(&mut self.files, id, at);
    }

    /// Remembers a file that left the tree, for a while.
    pub(in crate::engine) fn park(&mut self, id: SlotId, now: Instant) {
        let key = self.begin_parking(id, now);
        self.schedule.parked.add(key, now + PARKED_FOR);
        if self.schedule.parked.len() > self.schedule.parked_max
            && let Some(oldest) = self.schedule.parked.pop_oldest()
        {
            self.forget_parked(oldest, now);
        }
    }

    /// The settings changed: whatever is let go may be found again below another PATH, however much
    /// it is.
    pub(in crate::engine) fn make_room_for_parked(&mut self) {
        self.schedule.make_room_for_parked(self.files.len());
    }

    /// Remembers a file that was deleted, likewise.
    pub(in crate::engine) fn park_deleted(&mut self, id: SlotId, now: Instant) {
        let key = self.begin_parking(id, now);
        self.schedule.parked_deleted.add(key, now + PARKED_FOR);
        if self.schedule.parked_deleted.len() > PARKED_DELETED_MAX
            && let Some(oldest) = self.schedule.parked_deleted.pop_oldest()
        {
            self.forget_parked(oldest, now);
        }
    }

    fn begin_parking(&mut self, id: SlotId, now: Instant) -> SlotKey {
        self.release_successor(id);
        self.close(id);
        self.schedule.judged_at.remove(&id);
        self.settle_departure(id, now);
        self.files.set_life(id, Life::Parked);
        self.files.key(id)
    }

    /// A file that left the tree, if it did not come back, is not waited for any more.
    pub(in crate::engine) fn forget_parked(&mut self, key: SlotKey, now: Instant) {
        let Some(id) =
            self.files.alive(key).filter(|&id| self.files.get(id).life() == Life::Parked)
        else {
            return;
        };
        rare!("a file that had left was forgotten");
        if !self.files.name(id).is_empty() {
            self.count_loss(id, now);
        }
        self.forget(id);
    }

    /// The first instant at which something above falls due.
    pub(in crate::engine) fn next_deadline(&self) -> Option<Instant> {
        [
            self.schedule.deadline(),
            self.reading.kept.deadline(),
            self.discovery.walks.deadline(),
            self.outbox.tap.deadline(),
            self.kernel.poll_at,
            self.discovery.sweeps.deadline(),
            self.absence_deadline(),
            self.coverage.ways.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
