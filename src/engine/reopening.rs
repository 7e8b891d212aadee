//! SIGHUP: a `file:` output goes on in a new file, between two records, and when what the old one got is committed.

use super::*;
use crate::diagnostics::with_causes;
use crate::notices::Cause;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// SIGHUP: the output goes on in a new file as soon as what the old one got is committed.
    ///
    /// # Errors
    /// When the output fails for good. That the file cannot be opened anew is said; the old one stays in use.
    pub fn reopen_output(&mut self, now: Now) -> Result<(), EngineError> {
        self.outbox.send(now.instant)?;
        if !self.outbox.is_at_boundary() {
            mark!("the output was to be reopened in the middle of a record");
            let Some(kept_back) = self.notices.admit(Cause::Reopen, now.instant) else { return Ok(()) };
            tracing::warn!(kept_back, "the output is in the middle of a record and takes nothing now: not reopened");
            return Ok(());
        }
        self.collect_acks();
        match &mut self.commits {
            Some(commits) => {
                commits.is_reopening = true;
                self.outbox.hold(true);
            }
            None => self.reopen_sink(now.instant),
        }
        Ok(())
    }

    /// A SIGHUP came, and the output does not go on in a new file yet.
    pub fn is_reopening(&self) -> bool {
        self.commits.as_ref().is_some_and(|commits| commits.is_reopening)
    }

    /// The next record goes into a freshly opened file, if that can be had.
    pub(super) fn reopen_sink(&mut self, now: Instant) {
        mark!("the output was reopened");
        let before = self.outbox.sink().own_file();
        let before_id = self.outbox.sink_mut().point().map(|point| point.id);
        if let Err(error) = self.outbox.sink_mut().reopen() {
            if let Some(kept_back) = self.notices.admit(Cause::Reopen, now) {
                tracing::error!(error = with_causes(&error), kept_back, "SIGHUP: the old output stays in use");
            }
            return;
        }
        self.outbox.reopened();
        // The old file, if it is in the tree, has a slot that stays ignored; it may also come into the tree later. Its inode, once free,
        // may become any log's.
        before.into_iter().for_each(|before| self.own.remove(before));
        before_id.into_iter().for_each(|before| self.own.remember(before));
        if let Some(own) = self.outbox.sink().own_file() {
            self.own.add(own);
        }
        if let Some(kept_back) = self.notices.admit(Cause::Reopen, now) {
            tracing::info!(kept_back, "SIGHUP: output reopened");
        }
    }
}
