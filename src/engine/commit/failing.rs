//! The outcome of jobs. What a failed job was to store goes back to the ledger, the failure is
//! logged once, and a new journal is tried later.
//!
//! In: the outcome of a job. Out: files whose records may leave, and when a new journal is
//! begun.
//! Always holds: no file waits for a failing store. A store that lost its place makes a new journal
//! before first records leave.

use std::time::Instant;

use crate::checkpoint::{CommitError, Work};
use crate::diagnostics::notices::{Cause, Notices, notice};
use crate::diagnostics::with_causes;
use crate::engine::commit::commits::{
    Commits, DISPLACED_CALM, DISPLACED_SETTLE, KnownOutput, RETRY_FIRST, RETRY_LONGEST, UnderWay,
};
use crate::engine::namespace::registry::SlotKey;
use crate::rare::rare;

impl Commits {
    /// A job succeeded. `directory`: the state directory, for people.
    pub(super) fn succeeded(
        &mut self,
        work: Work,
        output: KnownOutput,
        directory: &str,
        notices: &mut Notices,
        now: Instant,
    ) {
        if work == Work::Complete {
            self.snapshot = None;
            self.retry_at = None;
            if self.displaced_at.is_none_or(|at| now >= at + DISPLACED_CALM) {
                self.retry_after = RETRY_FIRST;
            }
            self.report_in_place_again(directory, notices, now);
            rare!("a new journal was complete");
            if std::mem::take(&mut self.is_failing) {
                notice!(info: notices, Cause::OffsetsAgain, now, "offsets are stored again");
            }
        }
        if output != KnownOutput::Unknown {
            if !self.agreement.is_asked() {
                self.uncommitted_since = None;
                self.settling_since = None;
            }
            self.output = output;
        }
    }

    /// After the store lost its place: there is a journal again that a start now would find.
    fn report_in_place_again(&mut self, path: &str, notices: &mut Notices, now: Instant) {
        let anew = self.anew.take();
        let Some(what) = self.displaced.take() else { return };
        let Some(suppressed) = notices.admit(Cause::StateDirectory, now) else { return };
        let aside = anew.map(|anew| anew.aside.join(", ")).filter(|names| !names.is_empty());
        match aside {
            None => tracing::error!(
                path,
                suppressed,
                "{what} while we run: a new journal there holds all offsets"
            ),
            Some(aside) => {
                tracing::error!(
                    path,
                    aside,
                    suppressed,
                    "{what} while we run: a new journal there holds all offsets; a journal that is \
                    not ours was moved aside"
                );
            }
        }
    }

    /// A job failed. Returns the files whose records need not wait for the store any longer;
    /// `None`: they wait for a new journal, which is about to be begun, or until that fails.
    pub(super) fn failed(
        &mut self,
        mut under_way: UnderWay,
        work: Work,
        error: &CommitError,
        directory: &str,
        notices: &mut Notices,
        now: Instant,
    ) -> Option<Vec<SlotKey>> {
        self.failure = Some(with_causes(error));
        self.give_back(&mut under_way);
        if !matches!(work, Work::Append | Work::Check) || matches!(error, CommitError::Displaced(_))
        {
            self.snapshot = None;
            self.ledger.end_snapshot();
            rare!("a new journal failed before it was complete");
            // The parts of the snapshot had paths that the old journal may not have.
            self.ledger.doubt_paths();
        }
        match error {
            CommitError::Output(_) => {
                rare!("the output could not be made durable");
                self.is_output_doubtful = true;
                notice!(error: notices, Cause::Offsets, now, error = with_causes(error),
                    "no offset is committed until the output is reopened (SIGHUP) or manytail \
                    starts again");
            }
            CommitError::Displaced(what) => {
                let is_repeated = self.displaced_at.is_some_and(|at| now < at + DISPLACED_CALM);
                self.retry_at =
                    Some(now + if is_repeated { self.retry_after } else { DISPLACED_SETTLE });
                if is_repeated {
                    self.retry_after = (self.retry_after * 2).min(RETRY_LONGEST);
                }
                self.displaced_at = Some(now);
                self.displaced.get_or_insert(*what);
                self.births.append(&mut under_way.births);
                return None;
            }
            CommitError::Store { .. } | CommitError::Anew(_) => {
                rare!("offsets could not be stored");
                self.retry_at = Some(now + self.retry_after);
                self.retry_after = (self.retry_after * 2).min(RETRY_LONGEST);
                if !std::mem::replace(&mut self.is_failing, true) {
                    self.report_failure(error, directory, notices, now);
                }
            }
        }
        under_way.births.append(&mut self.births);
        Some(under_way.births)
    }

    fn report_failure(&self, error: &CommitError, path: &str, notices: &mut Notices, now: Instant) {
        let Some(suppressed) = notices.admit(Cause::Offsets, now) else { return };
        let error = with_causes(error);
        match self.displaced {
            None => tracing::error!(
                error,
                suppressed,
                "offsets cannot be stored: delivery goes on; tried again"
            ),
            Some(what) => tracing::error!(
                path,
                error,
                suppressed,
                "{what} while we run: offsets are not stored; delivery goes on; tried again"
            ),
        }
    }
}
