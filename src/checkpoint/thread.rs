//! The blocking calls of a commit on a thread of their own, so that a slow disk delays no record.
//!
//! In: a [`Store`], jobs. Out: their outcomes, and a wake-up of the loop for each.
//! Always holds: one job after the other; without a job the thread sleeps. It ends with the process: what it was at then is the
//! torn end that the next start cuts off.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::Waker;
use nix::errno::Errno;

use super::store::Store;
use super::{CommitError, Committer, Disk, Done, Job, Work};

/// More than the calls below need.
const STACK_BYTES: usize = 256 * 1024;

/// Hands jobs to the thread.
#[derive(Debug)]
pub struct CommitThread {
    jobs: Sender<Job>,
    outcomes: Receiver<Done>,
}

impl CommitThread {
    /// Starts the thread. It wakes the loop after each job.
    ///
    /// # Errors
    /// Those of `pthread_create(3)`.
    pub fn start<D: Disk + Send + 'static>(store: Store<D>, waker: Waker) -> io::Result<Self>
    where
        D::File: Send,
    {
        let (jobs, work) = channel();
        let (tell, outcomes) = channel();
        let name = "offsets".to_owned();
        thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || serve(store, &work, &tell, &waker))?;
        Ok(CommitThread { jobs, outcomes })
    }
}

impl Committer for CommitThread {
    fn submit(&mut self, job: Job) {
        // It ends with the process only, or by a panic, which has been said.
        self.jobs.send(job).expect("the thread that stores offsets is there");
    }

    fn done(&mut self) -> Option<Done> {
        self.outcomes.try_recv().ok()
    }
}

fn serve<D: Disk>(mut store: Store<D>, jobs: &Receiver<Job>, outcomes: &Sender<Done>, waker: &Waker) {
    while let Ok(job) = jobs.recv() {
        let done = perform(&mut store, job);
        if outcomes.send(done).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

/// `fdatasync(2)`, again when a signal interrupted it: a failure of any other kind is final, since what was lost is not known.
fn sync(output: &OwnedFd) -> io::Result<()> {
    loop {
        match nix::unistd::fdatasync(output) {
            Err(Errno::EINTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

fn perform<D: Disk>(store: &mut Store<D>, job: Job) -> Done {
    let result = match &job.output {
        Some(output) => sync(output).map_err(CommitError::Output),
        None => Ok(()),
    };
    let result = result.and_then(|()| match job.work {
        Work::Check => store.check(),
        Work::Append => store.append(&job.payload),
        Work::Begin => store.begin(&job.payload),
        Work::Extend => store.extend(&job.payload),
        Work::Complete => store.complete(&job.payload),
    });
    let Job { work, mut payload, .. } = job;
    payload.clear();
    Done { work, payload, result, journal_bytes: store.bytes(), is_appendable: store.is_appendable(), anew: store.take_anew() }
}
