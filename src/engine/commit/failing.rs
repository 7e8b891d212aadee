//! Commits that fail: said once, given back to the ledger, and tried again with a new journal.
//!
//! In: what became of a job. Out: when a new journal is begun.
//! Always holds: nobody waits for a store that fails; one that lost its place makes a new journal
//! before first records leave.

use std::time::Instant;

use crate::checkpoint::{CommitError, Work};
use crate::diagnostics::notices::{Cause, notice};
use crate::diagnostics::with_causes;
use crate::engine::Engine;
use crate::engine::commit::{Commits, DISPLACED_CALM, DISPLACED_SETTLE, RETRY_LONGEST, UnderWay};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// After the store lost its place: there is a journal again that a start now would find.
    pub(super) fn say_in_place_again(&mut self, commits: &mut Commits, now: Instant) {
        let anew = commits.anew.take();
        let Some(what) = commits.displaced.take() else { return };
        let Some(suppressed) = self.observer.notices.admit(Cause::StateDirectory, now) else {
            return;
        };
        let path = self.coverage.ways.state_directory_text();
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

    pub(super) fn commit_failed(
        &mut self,
        commits: &mut Commits,
        under_way: UnderWay,
        work: Work,
        error: &CommitError,
        now: Instant,
    ) {
        self.observer.stats.commit_failures += 1;
        commits.failure = Some(with_causes(error));
        commits.ledger.give_back(under_way.changes);
        commits.stored_changes.extend(under_way.stored);
        commits.scanned.extend(under_way.scanned);
        if !matches!(work, Work::Append | Work::Check) || matches!(error, CommitError::Displaced(_))
        {
            commits.snapshot = None;
            commits.ledger.end_snapshot();
            rare!("a new journal failed before it was complete");
            // The parts of the snapshot told paths that the old journal may not have.
            commits.ledger.doubt_paths();
        }
        match error {
            CommitError::Output(_) => {
                rare!("the output could not be made durable");
                commits.is_output_doubtful = true;
                notice!(error: self.observer.notices, Cause::Offsets, now,
                    error = with_causes(error),
                    "no offset is committed until the output is reopened (SIGHUP) or manytail \
                    starts again");
            }
            CommitError::Displaced(what) => {
                let is_repeated = commits.displaced_at.is_some_and(|at| now < at + DISPLACED_CALM);
                commits.retry_at =
                    Some(now + if is_repeated { commits.retry_after } else { DISPLACED_SETTLE });
                if is_repeated {
                    commits.retry_after = (commits.retry_after * 2).min(RETRY_LONGEST);
                }
                commits.displaced_at = Some(now);
                commits.displaced.get_or_insert(*what);
                // A new journal is about to be begun; first records of generations wait for it, or
                // until that fails.
                commits.births.extend(under_way.births);
                return;
            }
            CommitError::Store { .. } | CommitError::Anew(_) => {
                rare!("offsets could not be stored");
                commits.retry_at = Some(now + commits.retry_after);
                commits.retry_after = (commits.retry_after * 2).min(RETRY_LONGEST);
                if !std::mem::replace(&mut commits.is_failing, true)
                    && let Some(suppressed) = self.observer.notices.admit(Cause::Offsets, now)
                {
                    let error = with_causes(error);
                    match commits.displaced {
                        None => tracing::error!(
                            error,
                            suppressed,
                            "offsets cannot be stored: delivery goes on; tried again"
                        ),
                        Some(what) => {
                            let path = self.coverage.ways.state_directory_text();
                            tracing::error!(
                                path,
                                error,
                                suppressed,
                                "{what} while we run: offsets are not stored; delivery goes on; \
                                tried again"
                            );
                        }
                    }
                }
            }
        }
        // Nobody waits for a store that fails.
        self.hold_output(commits.is_reopening && commits.is_appendable);
        self.generations_are_stored(under_way.births);
        self.generations_are_stored(std::mem::take(&mut commits.births));
    }
}
