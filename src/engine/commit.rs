//! Acknowledged offsets -> the journal: what is due, one piece of blocking work at a time, and what
//! waits for it.
//!
//! In: the ledger, and where the output is. Out: jobs to the [`Committer`]; files and outputs
//! that may go on once their job is done.
//! Always holds: `committed <= acknowledged <= read`. A commit stores offsets and the output's
//! length of one moment. The first record of a generation leaves after its generation is stored,
//! and the first one into an output file after the file's identity is stored. If the store fails,
//! that is logged, and delivery goes on.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use crate::checkpoint::state::StoredOffsets;
use crate::checkpoint::{Committer, Done, Work};
use crate::engine::commit::agreement::{Agreement, Asked};
use crate::engine::commit::commits::{Commits, DISPLACED_SETTLE, KnownOutput, UnderWay};
use crate::engine::commit::payload::Present;
use crate::engine::output::output_file::{Neighbours, Replaced};
use crate::engine::schedule::HeldBack;
use crate::engine::{Engine, EngineError};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{FileId, FileSystem};

pub(super) mod absent;
mod agreement;
mod asking;
mod commits;
mod failing;
pub(super) mod kept_offsets;
mod ledger;
mod payload;
pub(super) mod resume;
mod snapshot;

/// What [`Engine::keep_offsets`] needs.
pub struct ResumeFrom {
    /// What the journal says.
    pub state: StoredOffsets,
    /// Does the blocking work.
    pub committer: Box<dyn Committer>,
    /// The length of the journal, if there is one that commits can be appended to.
    pub journal: Option<u64>,
    /// How often acknowledged offsets become durable.
    pub interval: Duration,
    /// Entries that the output was found to be ahead of. The first commit stores them together with
    /// the output's length.
    pub reconciled: Vec<FileId>,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Before the first turn: offsets are kept from now on, and files that the journal knows go on
    /// where they were.
    pub fn keep_offsets(&mut self, checkpoint: ResumeFrom) {
        assert!(!self.discovery.is_started, "offsets are kept from the start");
        // Nothing goes into a file, or to a receiver that remembers commits, before the journal
        // knows it.
        let is_file = self.outbox.sink_mut().point().is_some();
        let known = checkpoint.state.known();
        let is_new = checkpoint.state.is_empty() && checkpoint.state.scanned().next().is_none();
        let asked = if is_new && known.number_last == 0 { Asked::First } else { Asked::Start };
        let agreement = self.outbox.receiver().map(|receiver| {
            receiver.begin(&known);
            Agreement::with_receiver(receiver.has_transactions(), known.number, asked)
        });
        self.outbox.hold(is_file || agreement.is_some());
        self.offsets.keep(Commits::new(checkpoint, agreement.unwrap_or_default()));
        if !self.awaits_receiver() {
            self.take_up_offsets();
        }
    }

    /// From now on the offsets that the journal knows count.
    fn take_up_offsets(&mut self) {
        let Engine { files, own, offsets, .. } = self;
        let Some(commits) = offsets.get_mut() else { return };
        if let Some(doubt) = commits.stored.doubt() {
            tracing::warn!(
                commit = doubt.this,
                "the last commit was made with another output, which cannot be asked whether it \
                has it: its lines come again"
            );
            commits.stored.resolve(|_| false);
        }
        files.reserve(commits.stored.len());
        for (bucket, generation) in commits.stored.floors() {
            files.raise_floor(bucket, generation);
        }
        commits.stored.output().into_iter().for_each(|point| own.remember(point.id));
    }

    /// Whether a job is under way: the loop is woken at its end.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.offsets.is_storing()
    }

    /// After the last turn: the output, if it is a regular file and everything that it took from
    /// this run is committed.
    pub fn committed_output(&mut self) -> Option<OwnedFd> {
        let commits = self.offsets.get()?;
        let is_all =
            commits.is_settled() && !commits.has_failed() && commits.taken == self.outbox.taken();
        if is_all { self.outbox.sink_mut().point()?.file } else { None }
    }

    /// At the end of a turn: takes the outcome of the last job, and hands the next one over if
    /// something is due.
    ///
    /// # Errors
    /// See [`Engine::ask_receiver`].
    pub(super) fn commit(&mut self, now: Now) -> Result<(), EngineError> {
        self.output_file.watch(&mut self.outbox, &mut self.observer.notices, now.instant);
        let Some(commits) = self.offsets.get_mut() else {
            let (output_file, mut around) = self.output_file_parts();
            output_file.replace(&mut around, None, false, now.instant);
            return Ok(());
        };
        if let Some(done) = commits.outcome() {
            self.committed(done, now.instant);
        }
        if self.offsets.get().is_some_and(|commits| commits.agreement.is_asked()) {
            self.ask_receiver(now)?;
        }
        if self.awaits_receiver() {
            return Ok(());
        }
        let is_state_in_doubt = self.coverage.ways.take_state_doubt();
        let Some(commits) = self.offsets.get_mut() else { return Ok(()) };
        if is_state_in_doubt {
            commits.check_at.get_or_insert(now.instant + DISPLACED_SETTLE);
        }
        if !commits.is_storing() {
            let has_births = commits.has_births();
            let is_ending = !has_births && self.is_ending();
            self.next_job(is_ending, now);
        }
        Ok(())
    }

    /// Nothing more will be read: what there is to commit is committed at once.
    fn is_ending(&self) -> bool {
        // Without a commit, an output with transactions acknowledges nothing.
        let has_transactions =
            self.offsets.get().is_some_and(|commits| commits.agreement.has_transactions);
        let is_taken = self.outbox.is_empty() || (has_transactions && self.outbox.unsent() == 0);
        self.is_stopping || self.outbox.is_closed() || (self.has_read_all() && is_taken)
    }

    /// Hands over the job that comes first of those that are due.
    fn next_job(&mut self, is_ending: bool, now: Now) {
        let is_told =
            self.offsets.is_snapshot_under_way() && !self.discovery.absence.is_first_scan();
        let found = if is_told { self.coverage.found_roots() } else { Vec::new() };
        let events_until = self.events_until();
        let Engine { config, outbox, output_file, files, tree, own, observer, offsets, .. } = self;
        let Some(commits) = offsets.get_mut() else { return };
        commits.note_changes(outbox.taken(), now.instant);
        if is_ending && !std::mem::replace(&mut commits.is_last_try, is_ending) {
            commits.retry_at = None;
        }
        // Without a commit, an output with transactions acknowledges nothing.
        let is_full = commits.agreement.has_transactions && !outbox.has_room();
        let is_urgent = is_ending || commits.is_reopening || is_full;
        let is_commit_due = commits.is_due(is_urgent, now.instant);
        // A store that failed is checked when a new journal is begun.
        let is_check_due = commits.check_at.take_if(|at| *at <= now.instant).is_some();
        if is_check_due && commits.is_appendable && commits.snapshot.is_none() {
            commits.submit(Work::Check, UnderWay::default(), None);
            return;
        }
        if is_commit_due || commits.snapshot.is_some() {
            output_file.look(outbox, &mut observer.notices, now.instant);
        }
        let is_storable = commits.is_appendable && !commits.is_output_doubtful;
        let mut around =
            Neighbours { outbox, own, stats: &mut observer.stats, notices: &mut observer.notices };
        let stored = commits.output.point().filter(|_| is_storable);
        match output_file.replace(&mut around, stored, is_storable, now.instant) {
            Replaced::Done => {}
            Replaced::Wait => return,
            Replaced::Store => {
                if !is_storable {
                    output_file.successor_stored();
                    output_file.hold(around.outbox, false);
                } else if !commits.store_output(around.outbox, config.format) {
                    output_file.successor_stored();
                }
                return;
            }
        }
        let present = Present { files, tree, events_until };
        if commits.is_appendable && !commits.births.is_empty() {
            commits.store_births(present);
        } else if commits.agreement.is_asked() {
            // What is in doubt is decided first.
        } else if is_commit_due
            && commits.settle(present, around.outbox, config.format, now.instant)
        {
            // It was handed over, or cannot be now.
        } else if commits.is_reopening && !commits.agreement.is_waiting {
            rare!("what an output got was committed before it was reopened");
            // Everything that the old file got is committed, or cannot be.
            commits.is_reopening = false;
            around.outbox.withdraw();
            let is_reopened = output_file.reopen(&mut around, now.instant);
            if is_reopened {
                commits.is_output_doubtful = false;
                commits.retry_at = None;
                commits.output = KnownOutput::Unknown;
            }
            output_file.hold(around.outbox, is_reopened && commits.is_appendable);
            self.next_job(is_ending, now);
        } else if commits.snapshot.is_some() {
            if !commits.store_snapshot_part(present) {
                let (outbox, format) = (around.outbox, config.format);
                commits.complete_snapshot(present, outbox, format, found, now.instant);
            }
        } else if commits.needs_journal(now.instant) && !(is_ending && commits.is_appendable) {
            commits.begin_snapshot(files);
        }
    }

    /// The time up to which events have reported every modification; `None`: some may be missing,
    /// or looks found something that is not settled yet.
    fn events_until(&self) -> Option<SystemTime> {
        let is_complete = !self.identities.has_finds()
            && !self.kernel.is_missing_events
            && !self.discovery.is_rescan_due;
        is_complete.then_some(self.kernel.drained_at)
    }

    /// A job came to its end.
    fn committed(&mut self, mut done: Done, now: Instant) {
        let settled = done.settled.take();
        if let Some(anew) = &done.anew {
            self.leave_out_directory(anew.directory);
        }
        // The path is for log lines alone.
        let is_calm = done.result.is_ok() && done.anew.is_none() && !self.offsets.is_displaced();
        let directory =
            if is_calm { String::new() } else { self.coverage.ways.state_directory_text() };
        let Some(commits) = self.offsets.get_mut() else { return };
        let mut under_way = commits.end_job(&mut done);
        if let Some(outcome) = &settled {
            self.output_committed(&done, &mut under_way, outcome, now);
        }
        let Engine { outbox, output_file, files, tree, schedule, observer, offsets, .. } = self;
        let Some(commits) = offsets.get_mut() else { return };
        let births = match done.result {
            Ok(()) => {
                let output = under_way.output;
                commits.succeeded(done.work, output, &directory, &mut observer.notices, now);
                if output != KnownOutput::Unknown {
                    // One in doubt counts when the output has decided.
                    observer.stats.commits += u64::from(!commits.agreement.is_asked());
                    output_file.successor_stored();
                }
                if (output != KnownOutput::Unknown || settled.is_some())
                    && !commits.agreement.is_asked()
                {
                    commits.output_resumes(output_file, outbox);
                }
                under_way.births
            }
            Err(error) => {
                observer.stats.commit_failures += 1;
                let notices = &mut observer.notices;
                let freed = commits.failed(under_way, done.work, &error, &directory, notices, now);
                let Some(births) = freed else { return };
                if !commits.agreement.is_asked() {
                    commits.agreement.is_waiting = false;
                    output_file.hold(outbox, commits.is_reopening && commits.is_appendable);
                }
                births
            }
        };
        // The generations of these files are stored, or cannot be: their records may leave.
        for key in births {
            if let Some(id) = files.alive(key) {
                schedule.release(files, tree, id, HeldBack::Store);
            }
        }
    }
}

/// Nanoseconds since 1970; 0 for times before.
pub(super) fn nanos(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
