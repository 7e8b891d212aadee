//! The commit thread without a thread: [`Committer`] over the real [`Store`] on a fake disk.
//!
//! In: jobs. Out: their outcomes, some at once, some seconds later; [`Durability`] learns what is
//! certainly committed.
//! Always holds: a job's blocking calls are made together, at its start or just before its outcome,
//! so that a crash can find the engine anywhere in between; offsets count as committed once all
//! calls of their job succeeded.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use manytail::testing::checkpoint::format::{Item, items};
use manytail::testing::checkpoint::store::Store;
use manytail::testing::checkpoint::{CommitError, Committer, Done, Job, Work};
use manytail::testing::sink::Unsettled;
use nix::errno::Errno;

use crate::disk::FakeDisk;
use crate::durability::Covered;
use crate::mutants::{LyingDisk, Mutant};
use crate::simulated::Simulated;

struct UnderWay {
    job: Option<Job>,
    done: Option<Done>,
    due: Duration,
    /// What is committed once the job is done.
    covers: Option<Covered>,
}

pub(crate) struct SimulatedCommitter {
    shared: Rc<RefCell<Simulated>>,
    store: Store<LyingDisk<FakeDisk>>,
    under_way: Option<UnderWay>,
    mutant: Mutant,
}

impl SimulatedCommitter {
    pub(crate) fn new(
        shared: Rc<RefCell<Simulated>>,
        store: Store<LyingDisk<FakeDisk>>,
        mutant: Mutant,
    ) -> Self {
        SimulatedCommitter { shared, store, under_way: None, mutant }
    }

    /// Makes the blocking calls, any of which may be the last.
    fn perform(&mut self) {
        let under_way = self.under_way.as_mut().expect("a job is under way");
        let Some(job) = under_way.job.take() else { return };
        let result = self.perform_calls(&job);
        let (settled, job) = self.deliver(job, result.is_ok());
        let under_way = self.under_way.as_mut().expect("a job is under way");
        let mut simulated = self.shared.borrow_mut();
        // As in the thread: only a kill can come between a commit and its stamp.
        if let (Ok(()), Some(_), Some(file)) = (&result, &under_way.covers, simulated.file_mut()) {
            file.set_stamp(self.store.stamp());
        }
        simulated.trace(|| {
            format!("        committer: {:?} of {} bytes: {result:?}", job.work, job.payload.len())
        });
        match (&result, under_way.covers.take()) {
            // In doubt: the verdict tells.
            (Ok(()), Some(_)) if matches!(settled, Some(Err(_))) => {}
            (Ok(()), Some(covered)) => simulated.durability_mut().committed(covered),
            (Ok(()), None) => {}
            (Err(_), _) => simulated.durability_mut().commit_failed(),
        }
        under_way.done = Some(Done {
            work: job.work,
            payload: job.payload,
            result,
            settled,
            journal_bytes: self.store.bytes(),
            is_appendable: self.store.is_appendable(),
            anew: self.store.take_anew(),
        });
    }

    /// The output's part of a job. A kill may come before it and after it.
    fn deliver(&mut self, mut job: Job, is_ok: bool) -> (Option<Result<(), Unsettled>>, Job) {
        let Some(commit) = job.commit.take() else { return (None, job) };
        self.shared.borrow_mut().may_crash_in_commit();
        // The broker learns the time.
        drop(self.shared.borrow().broker());
        let settled = commit.call(job.work.stored(is_ok));
        let mut simulated = self.shared.borrow_mut();
        simulated.trace(|| format!("        the output commits: {settled:?}"));
        simulated.take_news();
        simulated.may_crash_in_commit();
        (Some(settled), job)
    }

    fn perform_calls(&mut self, job: &Job) -> Result<(), CommitError> {
        if job.is_output_due && self.mutant != Mutant::OutputNotSynced {
            let mut simulated = self.shared.borrow_mut();
            simulated.may_crash();
            let is_synced = simulated.file_mut().is_none_or(crate::output_file::OutputFile::sync);
            simulated
                .trace(|| format!("        output: sync {}", if is_synced { "ok" } else { "EIO" }));
            if !is_synced {
                return Err(CommitError::Output(io::Error::from(Errno::EIO)));
            }
        }
        match job.work {
            Work::Check => self.store.check(),
            Work::Append => self.store.append(&job.payload),
            Work::Begin => self.store.begin(&job.payload),
            Work::Extend => self.store.extend(&job.payload),
            Work::Complete => self.store.complete(&job.payload),
            Work::Deliver => Ok(()),
        }
    }
}

impl Committer for SimulatedCommitter {
    fn submit(&mut self, job: Job) {
        assert!(self.under_way.is_none(), "one job at a time");
        // New generations say nothing about the output: acknowledged offsets are committed only
        // with the output's point.
        let tells_output = items(&job.payload).any(|item| matches!(item, Ok(Item::Output(_))));
        let told_len = items(&job.payload).find_map(|item| match item {
            Ok(Item::Output(Some(point))) => {
                Some(usize::try_from(point.len).expect("files here are small"))
            }
            _ => None,
        });
        let at_once = {
            let mut simulated = self.shared.borrow_mut();
            simulated.trace(|| {
                let told: String =
                    items(&job.payload).map(|item| format!("\n            {item:?}")).collect();
                format!("        job: {:?}{told}", job.work)
            });
            let sequence = items(&job.payload).find_map(|item| match item {
                Ok(Item::Sequence(sequence)) => Some(sequence),
                _ => None,
            });
            let mut covers = tells_output.then(|| simulated.covered(told_len));
            if let (Some(covers), Some(broker)) = (&mut covers, simulated.broker()) {
                covers.records = broker.records(job.commit.is_some(), sequence);
            }
            let now = simulated.now();
            let durability = simulated.durability_mut();
            let (delay, at_once) = durability.draw_job();
            durability.job_due = Some(now + delay);
            self.under_way =
                Some(UnderWay { job: Some(job), done: None, due: now + delay, covers });
            at_once
        };
        if at_once {
            self.perform();
        }
    }

    fn done(&mut self) -> Option<Done> {
        let due = self.under_way.as_ref()?.due;
        if self.shared.borrow().now() < due {
            return None;
        }
        self.perform();
        self.shared.borrow_mut().durability_mut().job_due = None;
        self.under_way.take()?.done
    }
}
