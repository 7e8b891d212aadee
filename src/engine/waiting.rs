//! What the loop does after a turn: turn again at once, wait for an instant or an event, or end.
//!
//! In: all queues and deadlines. Out: a [`Turn`].
//! Always holds: all deadlines of the engine are collected here.

use std::time::Instant;

use crate::engine::schedule::deadlines::TaskKind;
use crate::engine::{ACK_POLL, Engine, EngineError, Turn};
use crate::sink::Sink;
use crate::sys::FileSystem;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    pub(super) fn next_turn(&self, now: Instant) -> Result<Turn, EngineError> {
        if self.awaits_receiver() {
            // It makes the output ready when it has answered.
            return Ok(match self.outbox.deadline() {
                _ if self.is_stopping => Turn::Finished,
                Some(deadline) => Turn::WaitUntil(deadline),
                None => Turn::WaitForEvents,
            });
        }
        let is_read = self.has_read_all();
        if self.outbox.is_closed()
            || ((self.is_stopping || is_read)
                && self.outbox.is_empty()
                && !self.output_file.is_replaced())
        {
            match self.offsets.get() {
                Some(commits) if !commits.is_settled() => {}
                Some(commits) if is_read && commits.has_failed() => {
                    return Err(EngineError::Offsets);
                }
                _ => return Ok(Turn::Finished),
            }
        } else if !self.is_stopping && self.has_work() {
            return Ok(Turn::Again);
        }
        Ok(match self.next_deadline(now) {
            Some(deadline) if deadline <= now => Turn::Again,
            Some(deadline) => Turn::WaitUntil(deadline),
            None => Turn::WaitForEvents,
        })
    }

    /// The first instant at which something falls due.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let commits = self.offsets.get();
        let of_output = [
            self.outbox.awaits_acks().then(|| now + ACK_POLL),
            self.outbox.deadline(),
            commits.and_then(|commits| commits.deadline(self.output_file.is_replaced())),
            self.output_file.deadline(&self.outbox, self.offsets.is_storing()),
            self.observer.hung.deadline(&self.outbox, now),
        ];
        let of_files = || {
            [
                self.schedule.deadline(),
                self.reading.kept.deadline(),
                self.end_deadline(),
                self.discovery.walks.deadline(),
                self.outbox.tap.deadline(),
                self.kernel.poll_at,
                self.discovery.sweeps.deadline(),
                self.discovery.absence.deadline(),
                self.coverage.ways.deadline(),
                self.discovery.old_files.deadline(),
            ]
        };
        // After a stop, only the output goes on.
        let of_files = (!self.is_stopping).then(of_files).into_iter().flatten();
        of_output.into_iter().chain(of_files).flatten().min()
    }

    /// Whether something can be done at once.
    pub(super) fn has_work(&self) -> bool {
        self.kernel.are_events_pending
            || !self.schedule.doubts.is_empty()
            || self.schedule.has_deleted()
            || self.discovery.urgent.has_work()
            || self.discovery.searches.has_work()
            || self.discovery.sweeps.has_work()
            || self.discovery.is_rescan_due
            || self.discovery.below.has_work()
            || self.discovery.is_path_lost
            || self.has_unapplied_finds()
            // Listed files wait for a search that is under way: the file that it finds may come
            // before them.
            || !(self.schedule.by_age.is_empty() || self.discovery.searches.is_under_way())
            || self.discovery.absence.is_running()
            || (self.outbox.has_room()
                && self.schedule.unread.has_any(self.outbox.has_room_for_backlog()))
    }

    /// With `--once`: a stop came before everything was read and delivered.
    pub fn is_cut_short(&self) -> bool {
        let has_rest = || self.has_work() || !self.is_read() || !self.outbox.is_empty();
        self.config.once && self.is_stopping && !self.outbox.is_closed() && has_rest()
    }

    /// With `--once`: nothing is to be done, and nothing waits.
    pub(super) fn has_read_all(&self) -> bool {
        self.config.once && !self.has_work() && self.is_read()
    }

    /// With `--once`: nothing waits for a deadline or for the journal either, so everything was
    /// read.
    fn is_read(&self) -> bool {
        // A directory that could not be listed for lack of descriptors or memory is tried again.
        self.kernel.polled == 0
            && self.schedule.unread.is_empty()
            && !self.schedule.deadlines.has_other_than(TaskKind::DeliverPiece)
            && self.schedule.by_age.is_empty()
            && !self.discovery.searches.is_under_way()
            && !self.discovery.below.has_work()
            && !self.offsets.has_births()
    }
}
