//! Makes the blocking calls of commits on a thread of their own, so that a slow disk delays no
//! record.
//!
//! In: a [`Store`] and jobs. Out: their outcomes, and a wake-up of the loop for each.
//! Always holds: jobs run one after the other; without a job the thread sleeps. It ends with the
//! process, and an unfinished job is the torn tail that the next start cuts off. If it ends
//! earlier, each job fails, and the loop continues without a store.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use mio::Waker;

use super::store::Store;
use super::{CommitError, Committer, Done, Job, Work};
use crate::checkpoint::numbers::Unsettled;
use crate::sys::Disk;
use crate::sys::again::again;

/// The thread's stack: more than the calls below need.
const STACK_BYTES: usize = 256 * 1024;

/// The handle of the thread.
#[derive(Debug)]
pub(crate) struct CommitThread {
    jobs: Sender<Job>,
    outcomes: Receiver<Done>,
    /// The work of the job that is under way, and whether the output has a part in it.
    under_way: Option<(Work, bool)>,
}

impl CommitThread {
    /// Starts the thread. It wakes the loop after each job.
    ///
    /// # Errors
    /// Those of `pthread_create(3)`.
    pub(crate) fn start<D: Disk + Send + 'static>(store: Store<D>, waker: Waker) -> io::Result<Self>
    where
        D::File: Send,
    {
        let (jobs, work) = channel();
        let (tell, outcomes) = channel();
        let name = "offsets".to_owned();
        thread::Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || serve(store, &work, &tell, &waker))?;
        Ok(CommitThread { jobs, outcomes, under_way: None })
    }
}

impl Committer for CommitThread {
    fn submit(&mut self, job: Job) {
        self.under_way = Some((job.work, job.commit.is_some()));
        // If the thread has ended, `done` returns an error.
        let _ = self.jobs.send(job);
    }

    fn done(&mut self) -> Option<Done> {
        let done = match self.outcomes.try_recv() {
            Ok(done) => done,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => without_thread(self.under_way?),
        };
        self.under_way = None;
        Some(done)
    }
}

fn serve<D: Disk>(
    mut store: Store<D>,
    jobs: &Receiver<Job>,
    outcomes: &Sender<Done>,
    waker: &Waker,
) {
    while let Ok(job) = jobs.recv() {
        let done = perform(&mut store, job);
        if outcomes.send(done).is_err() {
            return;
        }
        // If this fails, the loop still finds the outcome, because it polls while a job is under
        // way.
        let _ = waker.wake();
    }
}

/// The outcome of a job when the thread has panicked.
fn without_thread((work, is_commit): (Work, bool)) -> Done {
    const WHY: &str = "the thread that stores offsets has ended";
    let source = io::Error::other(WHY);
    let settled = is_commit.then(|| Err(Unsettled(WHY.to_owned())));
    let result = Err(CommitError::Store { action: "write", name: "offsets".to_owned(), source });
    Done {
        work,
        payload: Vec::new(),
        result,
        settled,
        journal_bytes: 0,
        is_appendable: false,
        anew: None,
    }
}

/// `fdatasync(2)`, repeated after `EINTR`. Any other failure is final, because it is not known what
/// was lost.
fn sync(output: &OwnedFd) -> io::Result<()> {
    Ok(again(|| nix::unistd::fdatasync(output))?)
}

/// Stamps the output after the commit; before it, the output could get ahead of the journal. A
/// failure does not fail the commit: after a crash the output's end is then copied aside before it
/// is cut, or an older stamp applies.
fn stamp<D: Disk>(store: &Store<D>, output: &OwnedFd) {
    if let Some(Err(error)) = store.stamp().map(|stamp| stamp.write(output)) {
        tracing::debug!(%error, "the output cannot be stamped with the commit");
    }
}

fn perform<D: Disk>(store: &mut Store<D>, job: Job) -> Done {
    let result = match &job.output {
        Some(output) if job.is_output_due => sync(output).map_err(CommitError::Output),
        _ => Ok(()),
    };
    let result = result.and_then(|()| match job.work {
        Work::Check => store.check(),
        Work::Append => store.append(&job.payload),
        Work::Begin => store.begin(&job.payload),
        Work::Extend => store.extend(&job.payload),
        Work::Complete => store.complete(&job.payload),
        Work::Deliver => Ok(()),
    });
    if let (Ok(()), Work::Append | Work::Complete, Some(output)) = (&result, job.work, &job.output)
    {
        stamp(store, output);
    }
    let Job { work, mut payload, commit, .. } = job;
    let settled = commit.map(|commit| commit.call(work.stored(result.is_ok())));
    payload.clear();
    Done {
        work,
        payload,
        result,
        settled,
        journal_bytes: store.bytes(),
        is_appendable: store.is_appendable(),
        anew: store.take_anew(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_thread_each_job_fails_and_nothing_panics() {
        let (jobs, work) = channel();
        let (tell, outcomes) = channel();
        let mut thread = CommitThread { jobs, outcomes, under_way: None };
        let job = || Job {
            work: Work::Begin,
            payload: vec![1],
            is_output_due: false,
            output: None,
            commit: None,
        };
        thread.submit(job());
        assert!(thread.done().is_none(), "it is under way");
        // The thread ends during the job, and is missing for the next one.
        drop((work, tell));
        for _ in 0..2 {
            let done = thread.done().expect("an outcome");
            assert!(done.work == Work::Begin && !done.is_appendable);
            assert!(done.result.unwrap_err().to_string().contains("offsets"));
            assert!(thread.done().is_none(), "one outcome for a job");
            thread.submit(job());
        }
    }
}
