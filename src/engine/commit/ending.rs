//! What the loop asks of commits: whether it has to look for an outcome; at the end of a run,
//! whether all of the output is committed.

use std::os::fd::OwnedFd;

use crate::engine::Engine;
use crate::sink::Sink;
use crate::sys::FileSystem;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Whether a job is under way: the loop is woken at its end.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.commits.as_ref().is_some_and(|commits| commits.is_storing())
    }

    /// After the last turn: the output, if it is a regular file and all that it took from this run
    /// is committed.
    pub fn committed_output(&mut self) -> Option<OwnedFd> {
        let commits = self.commits.as_ref()?;
        let is_all = commits.is_settled()
            && !commits.has_failed()
            && commits.accepted == self.outbox.accepted();
        if is_all { self.outbox.sink_mut().point()?.file } else { None }
    }
}
