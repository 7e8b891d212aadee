//! SIGHUP: a `file:` output goes on in a new file, between two records, and after what the old one
//! got is committed.
//!
//! In: the signal. Out: a new file in the sink, or a later attempt.
//! Always holds: a record is in one file as a whole.

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::output::output_file::{Neighbours, OutputFile};
use crate::engine::{Engine, EngineError};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// SIGHUP: the output goes on in a new file as soon as what the old one got is committed.
    ///
    /// # Errors
    /// When the output fails for good. If the file cannot be opened anew, that is logged, and the
    /// old one stays in use.
    pub fn reopen_output(&mut self, now: Now) -> Result<(), EngineError> {
        let (output_file, around) = self.output_file_parts();
        if output_file.is_reopened_by_replacement(around.outbox, around.notices, now.instant) {
            return Ok(());
        }
        around.outbox.send(now.instant)?;
        if !around.outbox.is_at_boundary() {
            rare!("the output was to be reopened in the middle of a record");
            output_file.reopen_later(now.instant);
            notice!(warn: around.notices, Cause::Reopen, now.instant,
                "the output is in the middle of a record and takes nothing now: reopened later");
            return Ok(());
        }
        self.collect_acks();
        match self.offsets.get_mut() {
            Some(commits) => {
                commits.is_reopening = true;
                self.output_file.hold(&mut self.outbox, true);
            }
            None => {
                let (output_file, mut around) = self.output_file_parts();
                output_file.reopen(&mut around, now.instant);
            }
        }
        Ok(())
    }

    /// A SIGHUP came, and the output does not go on in a new file yet.
    pub fn is_reopening(&self) -> bool {
        self.offsets.is_reopening()
    }

    /// The output file, and the neighbours that it works with.
    pub(in crate::engine) fn output_file_parts(&mut self) -> (&mut OutputFile, Neighbours<'_, S>) {
        let Engine { output_file, outbox, own, observer, .. } = self;
        let (stats, notices) = (&mut observer.stats, &mut observer.notices);
        (output_file, Neighbours { outbox, own, stats, notices })
    }
}
