//! The output file and its path: records must not go where nobody looks for them.
//!
//! In: where the sink sees its file, and what of it is committed. Out: another file in the place of
//! one that was deleted, with the records that only the deleted one has; a word about one that was
//! moved; a SIGHUP that failed is tried again.
//! Always holds: offsets of records that only a deleted file has are not committed, and no further
//! record goes into it.

use std::time::{Duration, Instant};

use crate::checkpoint::OutputPoint;
use crate::diagnostics::notices::{Cause, notice};
use crate::diagnostics::with_causes;
use crate::engine::{Engine, EngineError};
use crate::sink::{Place, Sink, SinkError};
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// While records are written, the file is looked at this often, and before each commit.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that was moved is looked at this often, and is told of in the log after this long:
/// rotation moves it first and sends SIGHUP then.
const MOVED_FOR: Duration = Duration::from_secs(5);

/// A file that cannot be opened is tried again after this long ...
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// ... then after twice the time, up to this.
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// How far another file has taken the place of a deleted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// No file was deleted, or all is done.
    Done,
    /// Another file is to be opened. Nothing is sent.
    ToOpen,
    /// It is open, and the journal has to know it before anything goes into it.
    ToStore,
    /// It gets what only the deleted one has. Nothing is committed.
    Owing,
}

/// What is known of the output file.
#[derive(Debug)]
pub(in crate::engine) struct OutputFile {
    looked_at: Option<Instant>,
    /// What the output had taken at that look.
    accepted: u64,
    /// Since when its path has led elsewhere, or nowhere.
    moved_since: Option<Instant>,
    is_moved_said: bool,
    step: Step,
    /// A SIGHUP could not be obeyed yet.
    is_reopen_due: bool,
    /// Why the file at the path could not be opened.
    failure: Option<String>,
    retry_at: Option<Instant>,
    retry_after: Duration,
    /// Attempts to open one that failed.
    pub(in crate::engine) errors: u64,
}

impl OutputFile {
    pub(in crate::engine) fn new() -> Self {
        OutputFile {
            looked_at: None,
            accepted: 0,
            moved_since: None,
            is_moved_said: false,
            step: Step::Done,
            is_reopen_due: false,
            failure: None,
            retry_at: None,
            retry_after: RETRY_FIRST,
            errors: 0,
        }
    }

    /// A deleted file has no successor yet that has all.
    pub(in crate::engine) fn is_replaced(&self) -> bool {
        self.step != Step::Done
    }

    /// Nothing may be sent.
    fn is_held(&self) -> bool {
        matches!(self.step, Step::ToOpen | Step::ToStore)
    }

    /// Why nothing is sent, if that is so.
    pub(in crate::engine) fn failure(&self) -> Option<&str> {
        self.failure.as_deref().filter(|_| self.step == Step::ToOpen)
    }

    /// What an operator has to know though records are taken.
    pub(in crate::engine) fn misplaced(&self) -> Option<String> {
        if self.is_replaced() {
            return None;
        }
        if self.is_reopen_due {
            let why = self.failure.as_deref().unwrap_or("it is in the middle of a record");
            return Some(format!(
                "SIGHUP asked for it to be opened anew, which fails: {why}; records go on into the \
                old file; tried again"
            ));
        }
        self.moved_since.map(|_| {
            "its path leads elsewhere or nowhere: it was renamed, or mounted over; records go on \
            into the old file until SIGHUP"
                .to_owned()
        })
    }

    fn open_failed(&mut self, failure: String, now: Instant) {
        self.failure = Some(failure);
        self.errors += 1;
        self.retry_at = Some(now + self.retry_after);
        self.retry_after = (self.retry_after * 2).min(RETRY_LONGEST);
    }

    /// Another file is open. The next look is the first.
    pub(in crate::engine) fn opened(&mut self) {
        *self = OutputFile { step: self.step, errors: self.errors, ..OutputFile::new() };
    }

    /// When to look again. `is_wanted`: something was written since the last look, or waits to be
    /// written.
    fn look_at(&self, is_wanted: bool) -> Option<Instant> {
        let since = |period| self.looked_at.map(|at| at + period);
        let moved = self.moved_since.and_then(|_| since(MOVED_FOR));
        let written = if is_wanted { since(LOOK_EVERY) } else { None };
        moved.into_iter().chain(written).min()
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// When the output file needs something though nothing happens.
    pub(in crate::engine) fn output_file_deadline(&self) -> Option<Instant> {
        let known = &self.output_file;
        let is_retried = match known.step {
            // The outcome of a job comes first, and wakes the loop.
            Step::ToOpen => !self.is_storing(),
            Step::Done => known.is_reopen_due,
            Step::ToStore | Step::Owing => false,
        };
        known
            .look_at(self.is_look_wanted())
            .into_iter()
            .chain(known.retry_at.filter(|_| is_retried))
            .min()
    }

    /// Something was written since the file was looked at, or waits: whoever deletes a file may do
    /// so because it fills the disk.
    fn is_look_wanted(&self) -> bool {
        let is_written = self.outbox.accepted() != self.output_file.accepted;
        is_written || (self.outbox.unsent() > 0 && self.outbox.sink().own_file().is_some())
    }

    /// At the end of a turn, before anything is committed.
    pub(in crate::engine) fn watch_output_file(&mut self, now: Instant) {
        let is_wanted = self.is_look_wanted();
        let is_first = self.output_file.looked_at.is_none() && is_wanted;
        if is_first || self.output_file.look_at(is_wanted).is_some_and(|at| at <= now) {
            self.look_at_output_file(now);
        }
    }

    /// A SIGHUP that could not be obeyed is tried again.
    pub(in crate::engine) fn reopen_again(&mut self, now: Now) -> Result<(), EngineError> {
        let known = &mut self.output_file;
        if known.is_reopen_due
            && known.step == Step::Done
            && known.retry_at.take_if(|at| *at <= now.instant).is_some()
        {
            self.reopen_output(now)?;
        }
        Ok(())
    }

    /// SIGHUP: the file at the path cannot be opened now.
    pub(in crate::engine) fn reopen_failed(&mut self, error: &SinkError, now: Instant) {
        let is_first = !std::mem::replace(&mut self.output_file.is_reopen_due, true);
        self.output_file.open_failed(with_causes(error), now);
        if is_first {
            notice!(error: self.observer.notices, Cause::Reopen, now, error = with_causes(error),
                "SIGHUP: the old output stays in use; tried again");
        }
    }

    /// SIGHUP came in the middle of a record.
    pub(in crate::engine) fn reopen_later(&mut self, now: Instant) {
        self.output_file.is_reopen_due = true;
        self.output_file.retry_at = Some(now + RETRY_FIRST);
    }

    /// SIGHUP came, and a deleted file is being replaced, which is what was asked for. Says whether
    /// that is so.
    pub(in crate::engine) fn is_reopened_by_replacement(&mut self, now: Instant) -> bool {
        // What only a deleted file has must not be left behind with it.
        self.look_at_output_file(now);
        match self.output_file.step {
            Step::Done => return false,
            Step::ToOpen => self.output_file.retry_at = None,
            Step::ToStore => {}
            // The new one may have been renamed meanwhile.
            Step::Owing => self.reopen_later(now),
        }
        true
    }

    /// Where the file is now.
    pub(in crate::engine) fn look_at_output_file(&mut self, now: Instant) {
        let place = self.outbox.sink_mut().place();
        let known = &mut self.output_file;
        known.looked_at = Some(now);
        known.accepted = self.outbox.accepted();
        match place {
            Place::Here => {
                known.moved_since = None;
                if std::mem::take(&mut known.is_moved_said) {
                    tracing::info!("the output file is at its path again");
                }
            }
            Place::Moved => {
                let since = *known.moved_since.get_or_insert(now);
                if !known.is_moved_said
                    && !known.is_reopen_due
                    && now.saturating_duration_since(since) >= MOVED_FOR
                {
                    known.is_moved_said = true;
                    notice!(warn: self.observer.notices, Cause::OutputMoved, now,
                        "the output file is not at its path any more: it was renamed, or mounted \
                        over; records go on into it until SIGHUP");
                }
            }
            Place::Deleted if known.step == Step::ToOpen => {}
            Place::Deleted => {
                known.opened();
                known.step = Step::ToOpen;
                known.looked_at = Some(now);
                known.accepted = self.outbox.accepted();
                self.outbox.hold(true);
            }
        }
    }

    /// Nothing is sent while offsets have to be stored first (`is_awaited`), nor while a deleted
    /// file has no successor. What is owed to that is sent before offsets are stored.
    pub(in crate::engine) fn hold_output(&mut self, is_awaited: bool) {
        let is_owing = self.output_file.step == Step::Owing;
        self.outbox.hold(self.output_file.is_held() || (is_awaited && !is_owing));
    }

    /// Goes on with what is to be done about a deleted file. `committed`: what the journal says of
    /// the output, if there is one that can be appended to. Returns what is to be stored first.
    pub(in crate::engine) fn replace_output_file(
        &mut self,
        committed: Option<Option<OutputPoint>>,
        now: Instant,
    ) -> Replaced {
        if self.output_file.step == Step::ToOpen
            && self.output_file.retry_at.is_none_or(|at| at <= now)
        {
            self.open_successor(committed.flatten(), now);
            if self.output_file.step == Step::ToStore && committed.is_none() {
                self.output_file.step = Step::Owing;
            }
            self.hold_output(false);
        }
        match self.output_file.step {
            Step::Done => Replaced::Done,
            Step::ToStore => Replaced::Store,
            Step::Owing if self.outbox.sink().owed() == 0 => {
                self.output_file.step = Step::Done;
                Replaced::Done
            }
            Step::ToOpen | Step::Owing => Replaced::Wait,
        }
    }

    /// The journal knows the new file, or cannot be written: what is owed to it, and then further
    /// records, may be sent.
    pub(in crate::engine) fn successor_stored(&mut self) {
        if self.output_file.step == Step::ToStore {
            self.output_file.step = Step::Owing;
        }
    }

    fn open_successor(&mut self, committed: Option<OutputPoint>, now: Instant) {
        let deleted = self.outbox.sink_mut().point();
        let from = committed
            .filter(|point| deleted.as_ref().is_some_and(|deleted| deleted.id == point.id))
            .map(|point| point.len);
        if let Err(error) = self.change_file(|sink| sink.replace(from)) {
            let is_first = self.output_file.failure.is_none();
            self.outbox.block(now);
            self.output_file.open_failed(with_causes(&error), now);
            if is_first {
                notice!(error: self.observer.notices, Cause::OutputDeleted, now,
                    error = with_causes(&error),
                    "the output file was deleted: records wait for another one; tried again");
            }
            return;
        }
        self.observer.stats.outputs_replaced += 1;
        self.output_file.opened();
        self.output_file.step = Step::ToStore;
        self.outbox.reopened();
        notice!(warn: self.observer.notices, Cause::OutputDeleted, now,
            again_bytes = self.outbox.sink().owed(),
            "the output file was deleted: another one was opened at its path, and gets what was \
            not committed");
    }

    /// The sink goes on in another file: neither is ever followed.
    pub(in crate::engine) fn change_file(
        &mut self,
        change: impl FnOnce(&mut S) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let before = self.outbox.sink().own_file();
        let before_id = self.outbox.sink_mut().point().map(|point| point.id);
        change(self.outbox.sink_mut())?;
        // The old file, if it is in the tree, has a slot that stays ignored; it may also come into
        // the tree later. Its inode, once free, may become any log's.
        before.into_iter().for_each(|before| self.own.remove(before));
        before_id.into_iter().for_each(|before| self.own.remember(before));
        if let Some(own) = self.outbox.sink().own_file() {
            self.own.add(own);
        }
        Ok(())
    }
}

/// How far another file has taken the place of a deleted one, as commits are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Replaced {
    /// Commits may go on.
    Done,
    /// The output, and nothing else, is to be committed.
    Store,
    /// Nothing may be committed.
    Wait,
}
