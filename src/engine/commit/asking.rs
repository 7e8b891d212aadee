//! A receiver that remembers commits: what is asked of it, and what its answers mean.
//!
//! In: the verdicts of the sink, the outcomes of jobs. Out: which commit was made; records that are
//! offered again.
//! Always holds: nothing is read before the receiver answered what it has beyond the journal. A
//! first start, whose journal says nothing, looks at once: files that come later are new. Nothing
//! is offered while a commit is in doubt, and no new journal is begun: the old one has both sides.

use std::time::Instant;

use crate::checkpoint::Done;
use crate::checkpoint::reconcile::advance;
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::commit::agreement::Asked;
use crate::engine::commit::commits::{Commits, UnderWay};
use crate::engine::{Engine, EngineError};
use crate::rare::rare;
use crate::sink::{IsStored, Number, Sink, Unsettled, Verdict};
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// What the output is asked before anything goes on, if it is.
    pub fn question_to_output(&self) -> Option<String> {
        self.offsets.get()?.question()
    }

    /// Whether nothing is read because the receiver has not answered yet what it has.
    pub fn awaits_receiver(&self) -> bool {
        self.offsets.get().is_some_and(Commits::is_asked_at_start)
    }

    /// Takes the receiver's first answer, if it has come. Returns whether reading may begin.
    ///
    /// # Errors
    /// See [`Engine::ask_receiver`].
    #[cold]
    pub(in crate::engine) fn begin_with_receiver(&mut self, now: Now) -> Result<bool, EngineError> {
        self.ask_receiver(now)?;
        Ok(!self.awaits_receiver())
    }

    /// Takes the receiver's answer, if one is awaited and has come.
    ///
    /// # Errors
    /// When the receiver has what this state directory did not bring there.
    #[cold]
    pub(in crate::engine) fn ask_receiver(&mut self, now: Now) -> Result<(), EngineError> {
        let Some(commits) = self.offsets.get_mut() else { return Ok(()) };
        let Some(asked) = commits.agreement.asked.filter(|_| !commits.is_storing()) else {
            return Ok(());
        };
        let receiver = self.outbox.receiver().expect("only a receiver is asked");
        let Some(verdict) = receiver.verdict()? else {
            self.outbox.block(now.instant);
            return Ok(());
        };
        commits.agreement.asked = None;
        match asked {
            Asked::Start => self.begin_after(verdict),
            Asked::First => {}
            _ => self.go_on_after(asked, &verdict, now.instant),
        }
        self.outbox.reopened();
        Ok(())
    }

    /// At the start: what the receiver has beyond the journal is not read again.
    fn begin_after(&mut self, verdict: Verdict) {
        let Some(commits) = self.offsets.get_mut() else { return };
        if let Some(doubt) = commits.stored.doubt() {
            let is_made = matches!(verdict, Verdict::Made);
            rare!("a commit in doubt was decided at a start");
            tracing::info!(
                commit = doubt.this,
                is_made,
                "the last commit was in doubt: the output has decided"
            );
            commits.stored.resolve(|_| is_made);
            commits.agreement.made(if is_made { doubt.this } else { doubt.previous });
            if is_made {
                self.outbox.settled(IsStored::Yes, |_| {});
            }
        }
        if let Verdict::Beyond(generations) = verdict {
            let before = commits.stored_changes.len();
            for (generation, progress) in &generations {
                let advanced = advance(&mut commits.stored, *generation, progress);
                commits.stored_changes.extend(advanced);
            }
            let files = commits.stored_changes.len() - before;
            rare!("a stream had records beyond the last commit");
            tracing::info!(files, "the output had records beyond the last commit: not read again");
        }
        self.take_up_offsets();
    }

    /// In a run, after the receiver was lost.
    fn go_on_after(&mut self, asked: Asked, verdict: &Verdict, now: Instant) {
        match (verdict, asked) {
            (Verdict::Made, Asked::Commit(number, is_stored)) => {
                match is_stored {
                    IsStored::Yes => rare!("a commit in doubt was found to be made within a run"),
                    IsStored::No => {
                        rare!("a commit that could not be stored was found to be made");
                    }
                }
                self.commit_made(number, is_stored, now);
                if let (IsStored::Yes, Some(commits)) = (is_stored, self.offsets.get_mut()) {
                    self.observer.stats.commits += 1;
                    commits.uncommitted_since = None;
                }
            }
            _ => {
                rare!("what a receiver accepted was offered again within a run");
                self.observer.stats.resent_bytes += self.outbox.offer_again();
                let Some(commits) = self.offsets.get_mut() else { return };
                commits.settling_since = None;
                if let Asked::Commit(number, IsStored::Yes) = asked {
                    // Paths in the frame that was dropped are not stored.
                    commits.ledger.doubt_paths();
                    commits.agreement.made(number.previous);
                }
            }
        }
        let Engine { outbox, output_file, offsets, .. } = self;
        let Some(commits) = offsets.get_mut() else { return };
        commits.changed_since.get_or_insert(now);
        commits.output_resumes(output_file, outbox);
    }

    /// The output made a commit: all that it accepted is acknowledged.
    fn commit_made(&mut self, number: Number, is_stored: IsStored, now: Instant) {
        let Some(commits) = self.offsets.get_mut() else { return };
        commits.changed_since.get_or_insert(now);
        commits.made_at = Some(now);
        if let Some(since) = commits.settling_since.take() {
            self.observer.settlements.observe(now.saturating_duration_since(since), 1);
        }
        let reached = self.outbox.reached(self.config.format);
        match is_stored {
            IsStored::Yes => {
                commits.agreement.made(number.this);
                commits.ledger.settle(&reached);
            }
            IsStored::No => reached.iter().for_each(|reached| commits.ledger.acknowledge(reached)),
        }
        let lag = &mut self.schedule.lag;
        self.observer.stats.acknowledged_bytes +=
            self.outbox.settled(is_stored, |since| lag.acknowledged(since));
    }

    /// The output had a part in a job, which has ended: what follows from it.
    pub(super) fn output_committed(
        &mut self,
        done: &Done,
        under_way: &mut UnderWay,
        outcome: &Result<(), Unsettled>,
        now: Instant,
    ) {
        let is_stored = done.work.stored(done.result.is_ok());
        let number = under_way.number.expect("its commit has a number");
        let Some(commits) = self.offsets.get_mut() else { return };
        match outcome {
            Ok(()) => {
                self.observer.stats.output_commits += 1;
                if is_stored == IsStored::No {
                    rare!("an output committed what the journal could not store");
                }
                self.commit_made(number, is_stored, now);
            }
            Err(why) => {
                self.observer.stats.output_recoveries += 1;
                commits.agreement.ask(Asked::Commit(number, is_stored));
                self.outbox.hold(true);
                self.outbox.block(now);
                if is_stored == IsStored::Yes {
                    commits.give_back(under_way);
                }
                notice!(warn: self.observer.notices, Cause::OutputCommit, now,
                    error = why.to_string(),
                    "the output may have committed or not: it is asked");
            }
        }
    }
}
