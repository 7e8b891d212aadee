//! SIGHUP: a `file:` output goes on in a new file, between two records, and when what the old one
//! got is committed.

use std::time::Instant;

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::{Engine, EngineError};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// SIGHUP: the output goes on in a new file as soon as what the old one got is committed.
    ///
    /// # Errors
    /// When the output fails for good. That the file cannot be opened anew is said; the old one
    /// stays in use.
    pub fn reopen_output(&mut self, now: Now) -> Result<(), EngineError> {
        if self.is_reopened_by_replacement(now.instant) {
            return Ok(());
        }
        self.outbox.send(now.instant)?;
        if !self.outbox.is_at_boundary() {
            rare!("the output was to be reopened in the middle of a record");
            self.reopen_later(now.instant);
            let Some(suppressed) = self.observer.notices.admit(Cause::Reopen, now.instant) else {
                return Ok(());
            };
            tracing::warn!(
                suppressed,
                "the output is in the middle of a record and takes nothing now: reopened later"
            );
            return Ok(());
        }
        self.collect_acks();
        match &mut self.commits {
            Some(commits) => {
                commits.is_reopening = true;
                self.hold_output(true);
            }
            None => {
                self.reopen_sink(now.instant);
            }
        }
        Ok(())
    }

    /// A SIGHUP came, and the output does not go on in a new file yet.
    pub fn is_reopening(&self) -> bool {
        self.commits.as_ref().is_some_and(|commits| commits.is_reopening)
    }

    /// The next record goes into a freshly opened file, if that can be had. Says whether it could.
    pub(in crate::engine) fn reopen_sink(&mut self, now: Instant) -> bool {
        rare!("the output was reopened");
        if let Err(error) = self.change_file(Sink::reopen) {
            self.reopen_failed(&error, now);
            return false;
        }
        self.output_file.opened();
        self.outbox.reopened();
        notice!(info: self.observer.notices, Cause::Reopen, now, "SIGHUP: output reopened");
        true
    }
}
