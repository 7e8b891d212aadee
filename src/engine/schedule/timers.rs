//! Work triggered by deadlines: cool-downs end, unpaired renames expire, parked files are dropped,
//! unfinished lines are delivered.
//!
//! In: the current time. Out: files to read, names in doubt, files that are judged.
//! Always holds: one turn does at most [`DUE_PER_TURN`] of each kind of work.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, SlotId, SlotKey};
use crate::engine::namespace::tree::VisitWork;
use crate::engine::schedule::deadlines::Task;
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// How long a name that went away may take to appear elsewhere. The kernel queues both halves of a
/// rename back to back.
pub(in crate::engine) const GRACE: Duration = Duration::from_millis(20);

/// How long a file that left the tree is remembered.
pub(in crate::engine) const PARKED_FOR: Duration = Duration::from_secs(600);

/// How long a file that left the tree with unread bytes while events were missed may take to appear
/// elsewhere.
pub(in crate::engine) const LOSS_AFTER: Duration = Duration::from_secs(2);

/// How much work of each kind is done per turn: users decide how much falls due at once.
const DUE_PER_TURN: usize = 2_048;

/// When a failed look or open is tried again.
pub(in crate::engine) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How often missing PATHs and unwatched directories are looked at.
pub(in crate::engine) const POLL_EVERY: Duration = Duration::from_secs(1);

impl<F: FileSystem, S: Sink> Engine<F, S> {
    pub(in crate::engine) fn expire(&mut self, now: Now) {
        let instant = now.instant;
        for _ in 0..DUE_PER_TURN {
            let Some(key) = self.schedule.take_cooled(instant) else { break };
            if let Some(id) = self.files.alive(key).filter(|_| !is_planted!(CoolingForgotten)) {
                self.schedule.end_cooling(&mut self.files, &self.tree, id);
            }
        }
        self.reading.kept.expire(instant);
        self.discovery.walks.expire(instant);
        self.outbox.tap.expire(instant);
        self.identities.half_renames.expire(instant);
        for _ in 0..DUE_PER_TURN {
            let Some((at, task)) = self.schedule.deadlines.pop_due(instant) else { break };
            self.carry_out(task, at, now);
        }
        let mut is_one_forgotten = false;
        for _ in 0..DUE_PER_TURN {
            let Some(key) = self.schedule.take_parked(instant) else { break };
            self.drop_parked(key, instant);
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
            Task::Judge(key) => {
                if self.schedule.begin_judging(&self.files, key, at, now.instant) {
                    self.judge(key, now);
                }
            }
            Task::JudgeDirectory(key) => self.judge_directory(key, now.instant),
            Task::CountLoss(key) => self.judge_loss(key, now.instant),
            Task::LookAgain(key) => {
                if let Some(id) = self.files.alive(key) {
                    self.schedule.begin_retry(&mut self.files, &self.tree, id);
                }
            }
            Task::ReadAgain(key) => {
                let is_followed = |id: &SlotId| self.files.get(*id).life() == Life::Following;
                if let Some(id) = self.files.alive(key).filter(is_followed) {
                    self.mark_dirty(id);
                }
            }
            Task::DeliverPiece(key) => {
                let id = self.files.alive(key);
                let after = id.and_then(|id| {
                    let (what, _) = self.schedule.unfinished(id)?;
                    self.delivered_after(id, what)
                });
                self.schedule.deliver_piece(&mut self.files, &self.tree, key, after, now.instant);
            }
        }
    }

    /// A file left the tree with unread bytes and did not come back: they are lost once everything
    /// that was missed was looked at.
    fn judge_loss(&mut self, key: SlotKey, now: Instant) {
        // A file that came back has a name again; a file whose loss was reported has none.
        let is_lost = |id: &SlotId| {
            self.files.get(*id).life() == Life::Parked && !self.files.name(*id).is_empty()
        };
        let Some(id) = self.files.alive(key).filter(is_lost) else { return };
        if self.kernel.is_catching_up(&self.discovery) {
            self.schedule.deadlines.add(now + LOSS_AFTER, Task::CountLoss(key));
            return;
        }
        self.count_loss(id, now);
        self.tell_departure(id);
        self.files.drop_name(id);
    }

    /// Looks for PATHs that are missing, and lists directories that have no watch.
    fn poll(&mut self, now: Now) {
        self.kernel.poll_at = None;
        for at in 0..self.coverage.roots.len() {
            self.start_root(at, VisitWork::APPEARED, now);
        }
        if self.kernel.polled > 0 {
            rare!("directories without a watch were listed");
            for place in 0..self.tree.places() {
                if let Some(dir) =
                    self.tree.at_place(place).filter(|&dir| self.tree.get(dir).is_polled)
                {
                    self.push_visit(dir, VisitWork::LOOK_AT_KNOWN);
                }
            }
            self.kernel.poll_by(now.instant + POLL_EVERY);
        }
    }
}
