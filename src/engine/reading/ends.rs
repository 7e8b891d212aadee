//! Logs that are over, and bytes that were lost, told in the records of their file.
//!
//! In: closes, writes, reads, time; files that leave or begin anew. Out: records of events.
//! Always holds: the end of a log comes behind all that was delivered of it, and once until more of
//! it is delivered. A log whose end may fall due is in the queue once. Only inputs that ask for
//! ends have logs here.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime};

use hashbrown::HashMap;

use crate::checkpoint::OWN_OUTPUT;
use crate::config::EndRules;
use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::output::batch::Reached;
use crate::engine::reading::source::begin_source;
use crate::engine::schedule::timers;
use crate::planted::is_planted;
use crate::rare::rare;
use crate::record::{EndCause, Event, LossCause};
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Ends that are told in one turn at most: users decide how many fall due at once.
const ENDS_PER_TURN: usize = 256;

/// A log of which the end was not told yet, and may fall due.
#[derive(Debug)]
struct Log {
    /// When it was closed, or when something came of it, whichever was later.
    since: Instant,
    /// A writer closed it, and nothing was written since.
    is_closed: bool,
    /// When it is looked at: its place in the queue.
    at: Instant,
    /// Its length when it was last found to be longer than what was read.
    size: u64,
}

/// All of them.
#[derive(Debug)]
pub(in crate::engine) struct Ends {
    logs: HashMap<SlotId, Log>,
    queue: BTreeSet<(Instant, u32)>,
    /// The time of this turn.
    wall: SystemTime,
}

/// What time says of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// It is over.
    Over(EndCause),
    /// Not before then.
    Until(Instant),
    /// Nothing.
    Open,
}

/// What became of an end that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was told, or there is none.
    Done,
    /// Something comes first, and soon.
    Soon,
    /// Something else has to happen first.
    Waits,
}

impl Ends {
    pub(in crate::engine) fn new(wall: SystemTime) -> Self {
        Ends { logs: HashMap::new(), queue: BTreeSet::new(), wall }
    }

    pub(in crate::engine) fn turn_begins(&mut self, now: Now) {
        self.wall = now.wall;
    }

    /// When the next log is looked at.
    fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|&(at, _)| at)
    }

    /// A writer closed the file.
    fn closed(&mut self, id: SlotId, rules: EndRules, now: Instant) {
        let Some(after) = rules.closed else { return };
        let at = now + rules.idle.map_or(after, |idle| idle.min(after));
        self.put(id, Log { since: now, is_closed: true, at, size: 0 });
    }

    /// Something was written to the file. It may be read later.
    #[inline]
    pub(in crate::engine) fn written(&mut self, id: SlotId) {
        if !self.logs.is_empty()
            && let Some(log) = self.logs.get_mut(&id)
        {
            log.is_closed = false;
        }
    }

    /// The file was looked at, or read, and perhaps something came of it.
    fn goes_on(&mut self, id: SlotId, has_come: bool, rules: EndRules, now: Instant) {
        if let Some(log) = self.logs.get_mut(&id) {
            if has_come {
                log.since = now;
            }
        } else if let Some(idle) = rules.idle {
            self.put(id, Log { since: now, is_closed: false, at: now + idle, size: 0 });
        }
    }

    /// Whether a writer closed the file, and nothing was written since.
    pub(in crate::engine) fn is_closed(&self, id: SlotId) -> bool {
        self.logs.get(&id).is_some_and(|log| log.is_closed)
    }

    /// The rules changed: all logs are looked at again.
    pub(in crate::engine) fn rules_changed(&mut self, now: Instant) {
        self.queue.clear();
        for (id, log) in &mut self.logs {
            log.at = now;
            self.queue.insert((now, id.0));
        }
    }

    /// The files of all logs.
    pub(in crate::engine) fn files(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.logs.keys().copied()
    }

    /// The file is not followed any more, or its end was told.
    pub(in crate::engine) fn remove(&mut self, id: SlotId) {
        if !self.logs.is_empty()
            && let Some(log) = self.logs.remove(&id)
        {
            self.queue.remove(&(log.at, id.0));
        }
    }

    fn put(&mut self, id: SlotId, log: Log) {
        self.remove(id);
        self.queue.insert((log.at, id.0));
        self.logs.insert(id, log);
    }

    /// Looks at the file again then.
    fn look_again(&mut self, id: SlotId, at: Instant) {
        if let Some(log) = self.logs.get_mut(&id) {
            self.queue.remove(&(log.at, id.0));
            log.at = at;
            self.queue.insert((at, id.0));
        }
    }

    fn due(&self, now: Instant) -> Option<SlotId> {
        self.queue.first().filter(|&&(at, _)| at <= now).map(|&(_, id)| SlotId(id))
    }

    fn rest(&self, id: SlotId, rules: EndRules, now: Instant) -> Rest {
        let Some(log) = self.logs.get(&id) else { return Rest::Open };
        let closed = rules.closed.filter(|_| log.is_closed).map(|after| (after, EndCause::Closed));
        let idle = rules.idle.map(|after| (after, EndCause::Idle));
        match closed.into_iter().chain(idle).min_by_key(|(after, _)| *after) {
            None => Rest::Open,
            Some((after, cause)) if log.since + after <= now => Rest::Over(cause),
            Some((after, _)) => Rest::Until(log.since + after),
        }
    }

    /// Whether the file is found to have this length for the first time.
    fn is_new_size(&mut self, id: SlotId, size: u64) -> bool {
        self.logs.get_mut(&id).is_some_and(|log| std::mem::replace(&mut log.size, size) != size)
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    fn end_rules(&self, id: SlotId) -> EndRules {
        self.coverage.inputs.get(self.files.get(id).input).ends
    }

    /// Whether there is more of the file than what an end was told behind.
    fn has_end_to_come(&self, id: SlotId) -> bool {
        let slot = self.files.get(id);
        !slot.is_end_told || slot.scanned > 0
    }

    /// A writer closed the file that has this name.
    pub(in crate::engine) fn file_closed(&mut self, id: SlotId, now: Instant) {
        let is_unread = self.files.get(id).state().contains(State::DIRTY);
        if (is_unread || self.has_end_to_come(id)) && !self.config.once {
            self.reading.ends.closed(id, self.end_rules(id), now);
        }
    }

    /// The file was looked at, or read, and perhaps something came of it.
    #[inline]
    pub(in crate::engine) fn log_goes_on(&mut self, id: SlotId, has_come: bool, now: Instant) {
        if self.coverage.inputs.wants_ends() && !self.config.once {
            let rules = self.end_rules(id);
            if self.has_end_to_come(id) {
                self.reading.ends.goes_on(id, has_come, rules, now);
            }
        }
    }

    /// When the next end may be told.
    pub(in crate::engine) fn end_deadline(&self) -> Option<Instant> {
        self.reading.ends.deadline().filter(|_| self.outbox.has_room())
    }

    /// Tells the ends that are due.
    pub(in crate::engine) fn tell_ends(&mut self, now: Now) {
        for _ in 0..ENDS_PER_TURN {
            if !self.outbox.has_room() {
                break;
            }
            let Some(id) = self.reading.ends.due(now.instant) else { break };
            let rules = self.end_rules(id);
            match self.reading.ends.rest(id, rules, now.instant) {
                Rest::Open => self.reading.ends.remove(id),
                Rest::Until(at) => self.reading.ends.look_again(id, at),
                Rest::Over(cause) => {
                    let after = match self.end_log(id, cause) {
                        Outcome::Done => {
                            self.reading.ends.remove(id);
                            continue;
                        }
                        Outcome::Soon => timers::RETRY_AFTER,
                        Outcome::Waits => timers::POLL_EVERY,
                    };
                    self.reading.ends.look_again(id, now.instant + after);
                }
            }
        }
    }

    /// A log rests for so long that it is over. What can be read of it comes first.
    fn end_log(&mut self, id: SlotId, cause: EndCause) -> Outcome {
        let slot = self.files.get(id);
        let state = slot.state();
        match slot.life() {
            Life::Named | Life::Leaving => return Outcome::Waits,
            Life::Following => {}
            Life::Free | Life::Parked | Life::Finishing | Life::Ignored => return Outcome::Done,
        }
        // Over within a moment, and perhaps so again at the same time a second later.
        let passing = State::COOLING | State::DOUBT | State::RETRY;
        if slot.may_have_unread() || state.intersects(State::HELD_BACK.difference(passing)) {
            return Outcome::Waits;
        }
        if state.intersects(passing) {
            return Outcome::Soon;
        }
        if !self.has_end_to_come(id) || is_planted!(EndOmitted) {
            return Outcome::Done;
        }
        if slot.scanned > 0 {
            rare!("an unfinished last line came before the end of its log");
            self.files.get_mut(id).set(State::FLUSH);
            self.mark_dirty(id);
            return Outcome::Soon;
        }
        let links = self.write_path(id);
        match self.fs.stat(&self.path, links) {
            Ok(found) if Some(found.id) == self.files.file_id(id) => {
                let is_all = found.size == self.files.get(id).offset;
                // NULs that may still become a hole are not read.
                if !is_all && self.reading.ends.is_new_size(id, found.size) {
                    rare!("the end of a log was due, and there was more to read");
                    self.mark_dirty(id);
                    return Outcome::Soon;
                }
                self.tell(id, &Event::End(cause), Some(found.owner));
                Outcome::Done
            }
            _ => {
                rare!("the end of a log was due, and its name led elsewhere");
                self.doubt(id);
                Outcome::Soon
            }
        }
    }

    /// Whether the end of a file that leaves is still to be told.
    fn owes_end(&self, id: SlotId) -> bool {
        let slot = self.files.get(id);
        self.end_rules(id).are_any()
            && slot.is_identified()
            && !slot.is_end_told
            && slot.offset != OWN_OUTPUT
            // Nothing of this generation was told.
            && !slot.state().intersects(State::UNSTORED | State::BINARY | State::UNDECIDED)
    }

    /// The file is not in the tree any more, and nothing more can be read of it.
    pub(in crate::engine) fn tell_departure(&mut self, id: SlotId) {
        self.reading.ends.remove(id);
        if !self.owes_end(id) {
            return;
        }
        let is_deleted = self.files.get(id).is_deleted();
        let cause = if is_deleted { EndCause::Deleted } else { EndCause::Left };
        self.tell_of_departed(id, &Event::End(cause));
    }

    /// Makes a record of an event of a file that has no name any more, if its last path is known.
    fn tell_of_departed(&mut self, id: SlotId, event: &Event) {
        self.path.clear();
        if self.identities.departures.write_path(self.files.key(id), &mut self.path) {
            self.tell(id, event, None);
        } else {
            self.observer.stats.untold_events += 1;
        }
    }

    /// The content of a file is about to begin anew. `self.path` is its path.
    pub(super) fn tell_replacement(&mut self, id: SlotId, owner: Option<u32>) {
        let unfinished = u64::from(self.files.get(id).scanned);
        self.tell_loss(id, unfinished, LossCause::Truncated, owner);
        if self.owes_end(id) {
            self.tell(id, &Event::End(EndCause::Replaced), owner);
        }
    }

    /// The unread bytes of a file that left the tree are lost.
    pub(in crate::engine) fn tell_lost_rest(&mut self, id: SlotId) {
        let slot = self.files.get(id);
        let is_deleted = slot.state().contains(State::DELETED);
        let cause = if is_deleted { LossCause::Deleted } else { LossCause::Moved };
        let bytes = u64::from(slot.scanned);
        let is_stored = slot.is_identified() && !slot.state().contains(State::UNSTORED);
        if is_stored && self.end_rules(id).are_any() {
            self.tell_of_departed(id, &Event::Lost { bytes, cause });
        }
    }

    /// So many bytes behind the offset were lost, if any. `self.path` is the file's path.
    pub(super) fn tell_loss(
        &mut self,
        id: SlotId,
        bytes: u64,
        cause: LossCause,
        owner: Option<u32>,
    ) {
        if bytes > 0 && self.end_rules(id).are_any() {
            self.tell(id, &Event::Lost { bytes, cause }, owner);
        }
    }

    /// Makes a record of an event of the file whose path is in `self.path`.
    fn tell(&mut self, id: SlotId, event: &Event, owner: Option<u32>) {
        if !self.outbox.has_room_for_event() {
            self.observer.stats.untold_events += 1;
            return;
        }
        if let Event::End(_) = event {
            self.files.get_mut(id).is_end_told = !is_planted!(EndForgotten);
            self.observer.stats.ends += 1;
        }
        let read_at = self.offsets.read_at(&self.files, id);
        let reached = Reached { read_at, ..Reached::of(&self.files, id) };
        let offset = reached.offset;
        if let Some(routing) = &mut self.reading.routing {
            let (inputs, jobs) = (&self.coverage.inputs, &mut self.reading.jobs);
            routing.begin(&self.files, inputs, jobs, (id, &self.path), &mut self.outbox);
        }
        let encoder = (&mut self.reading.encoder, &mut self.reading.jobs);
        let (inputs, wall) = (&mut self.coverage.inputs, self.reading.ends.wall);
        begin_source(encoder, &self.files, inputs, (id, &self.path, owner), wall);
        let begin = self.outbox.bytes().len();
        self.reading.encoder.encode_event(offset, event, self.outbox.bytes());
        if self.reading.routing.is_some() {
            self.outbox.note_record(begin, offset, false);
        }
        self.outbox.note(reached, offset, false, self.schedule.lag.now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::clock;

    const RULES: EndRules =
        EndRules { closed: Some(Duration::from_secs(5)), idle: Some(Duration::from_secs(60)) };

    fn ends() -> (Ends, impl Fn(u64) -> Instant) {
        let start = clock::now();
        (Ends::new(start.wall), move |second| start.instant + Duration::from_secs(second))
    }

    #[test]
    fn a_log_is_over_once_it_is_closed_and_rests_and_a_write_opens_it_again() {
        let (mut ends, at) = ends();
        let id = SlotId(7);
        ends.goes_on(id, true, RULES, at(0));
        assert_eq!(
            (ends.deadline(), ends.rest(id, RULES, at(0))),
            (Some(at(60)), Rest::Until(at(60)))
        );
        ends.closed(id, RULES, at(1));
        assert_eq!(ends.deadline(), Some(at(6)));
        // The read of what was written before the close.
        ends.goes_on(id, true, RULES, at(2));
        assert_eq!(ends.rest(id, RULES, at(6)), Rest::Until(at(7)));
        assert_eq!(ends.rest(id, RULES, at(7)), Rest::Over(EndCause::Closed));
        ends.written(id);
        assert_eq!(ends.rest(id, RULES, at(7)), Rest::Until(at(62)));
        assert_eq!(ends.rest(id, RULES, at(62)), Rest::Over(EndCause::Idle));
        let closed = EndRules { idle: None, ..RULES };
        assert_eq!(ends.rest(id, closed, at(62)), Rest::Open, "nobody closed it");
        ends.remove(id);
        assert_eq!((ends.deadline(), ends.rest(id, RULES, at(99))), (None, Rest::Open));
    }

    #[test]
    fn a_log_is_in_the_queue_once_and_only_if_its_end_may_fall_due() {
        let (mut ends, at) = ends();
        let idle_off = EndRules { idle: None, ..RULES };
        ends.goes_on(SlotId(1), true, idle_off, at(0));
        assert_eq!(ends.deadline(), None);
        for second in 0..100 {
            ends.closed(SlotId(1), idle_off, at(second));
            ends.goes_on(SlotId(2), true, RULES, at(second));
        }
        assert_eq!((ends.queue.len(), ends.logs.len()), (2, 2));
        assert_eq!(ends.due(at(60)), Some(SlotId(2)), "looked at by its first time");
        ends.look_again(SlotId(2), at(159));
        assert_eq!((ends.due(at(104)), ends.due(at(103))), (Some(SlotId(1)), None));
        assert!(ends.is_new_size(SlotId(1), 5) && !ends.is_new_size(SlotId(1), 5));
    }
}
