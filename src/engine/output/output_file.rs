//! The output file and its path: records must not go into a file that has no name any more.
//!
//! In: where the sink finds its file, and how much of it is committed. Out: another file in the
//! place of one that was deleted, with the records that only the deleted one has; a log line about
//! one that was moved; further attempts after a SIGHUP that failed.
//! Always holds: offsets of records that only a deleted file has are not committed, and no further
//! record goes into it.

use std::time::{Duration, Instant};

use crate::checkpoint::OutputPoint;
use crate::diagnostics::notices::{Cause, Notices, notice};
use crate::diagnostics::with_causes;
use crate::engine::coverage::own::OwnFiles;
use crate::engine::output::outbox::Outbox;
use crate::rare::rare;
use crate::sink::{Place, Sink, SinkError};
use crate::status::stats::Stats;

/// While records are written, the file is looked at this often, and before each commit.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that was moved is looked at this often, and is logged after this long, because rotation
/// moves the file first and then sends SIGHUP.
const MOVED_FOR: Duration = Duration::from_secs(5);

/// A file that cannot be opened is tried again after this long ...
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// ... then after twice the time, up to this.
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// How far another file has taken the place of a deleted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// No file was deleted, or it is replaced.
    Done,
    /// Another file is to be opened. Nothing is sent.
    ToOpen,
    /// It is open, and the journal has to know it before anything goes into it.
    ToStore,
    /// It gets what only the deleted one has. Nothing is committed.
    Owing,
}

/// What is known about the output file.
#[derive(Debug)]
pub(in crate::engine) struct OutputFile {
    looked_at: Option<Instant>,
    /// What the output had taken at that look.
    taken: u64,
    /// Since when its path leads elsewhere or nowhere.
    moved_since: Option<Instant>,
    is_move_reported: bool,
    step: Step,
    /// A SIGHUP is still to be obeyed.
    is_reopen_due: bool,
    /// Why the file at the path could not be opened.
    failure: Option<String>,
    retry_at: Option<Instant>,
    retry_after: Duration,
    /// Failed attempts to open a file.
    errors: u64,
}

impl OutputFile {
    pub(in crate::engine) fn new() -> Self {
        OutputFile {
            looked_at: None,
            taken: 0,
            moved_since: None,
            is_move_reported: false,
            step: Step::Done,
            is_reopen_due: false,
            failure: None,
            retry_at: None,
            retry_after: RETRY_FIRST,
            errors: 0,
        }
    }

    /// Failed attempts to open a file.
    pub(in crate::engine) fn errors(&self) -> u64 {
        self.errors
    }

    /// A deleted file has no successor yet that has all its records.
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

    /// What an operator should know although records are taken.
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
    fn opened(&mut self) {
        *self = OutputFile { step: self.step, errors: self.errors, ..OutputFile::new() };
    }

    /// When to look again. `is_wanted`: records were written since the last look, or wait.
    fn look_at(&self, is_wanted: bool) -> Option<Instant> {
        let since = |period| self.looked_at.map(|at| at + period);
        let moved = self.moved_since.and_then(|_| since(MOVED_FOR));
        let written = if is_wanted { since(LOOK_EVERY) } else { None };
        moved.into_iter().chain(written).min()
    }
}

/// The neighbours that the output file works with.
pub(in crate::engine) struct Neighbours<'a, S> {
    pub(in crate::engine) outbox: &'a mut Outbox<S>,
    pub(in crate::engine) own: &'a mut OwnFiles,
    pub(in crate::engine) stats: &'a mut Stats,
    pub(in crate::engine) notices: &'a mut Notices,
}

impl<S: Sink> Neighbours<'_, S> {
    /// The sink goes on in another file. Neither file is ever followed.
    fn change_file(
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

impl OutputFile {
    /// When the file needs something though nothing happens. `is_storing`: a job is under way.
    pub(in crate::engine) fn deadline<S: Sink>(
        &self,
        outbox: &Outbox<S>,
        is_storing: bool,
    ) -> Option<Instant> {
        let is_retried = match self.step {
            // The outcome of the job comes first, and wakes the loop.
            Step::ToOpen => !is_storing,
            Step::Done => self.is_reopen_due,
            Step::ToStore | Step::Owing => false,
        };
        self.look_at(self.is_look_wanted(outbox))
            .into_iter()
            .chain(self.retry_at.filter(|_| is_retried))
            .min()
    }

    /// Something was written since the file was looked at, or records wait: a file may have been
    /// deleted because it fills the disk.
    fn is_look_wanted<S: Sink>(&self, outbox: &Outbox<S>) -> bool {
        let is_written = outbox.taken() != self.taken;
        is_written || (outbox.unsent() > 0 && outbox.sink().own_file().is_some())
    }

    /// At the end of a turn, before anything is committed.
    pub(in crate::engine) fn watch<S: Sink>(
        &mut self,
        outbox: &mut Outbox<S>,
        notices: &mut Notices,
        now: Instant,
    ) {
        let is_wanted = self.is_look_wanted(outbox);
        let is_first = self.looked_at.is_none() && is_wanted;
        if is_first || self.look_at(is_wanted).is_some_and(|at| at <= now) {
            self.look(outbox, notices, now);
        }
    }

    /// Finds out where the file is now.
    pub(in crate::engine) fn look<S: Sink>(
        &mut self,
        outbox: &mut Outbox<S>,
        notices: &mut Notices,
        now: Instant,
    ) {
        let place = outbox.sink_mut().place();
        self.looked_at = Some(now);
        self.taken = outbox.taken();
        match place {
            Place::Here => {
                self.moved_since = None;
                if std::mem::take(&mut self.is_move_reported) {
                    tracing::info!("the output file is at its path again");
                }
            }
            Place::Moved => self.note_moved(notices, now),
            Place::Deleted if self.step == Step::ToOpen => {}
            Place::Deleted => {
                self.opened();
                self.step = Step::ToOpen;
                self.looked_at = Some(now);
                self.taken = outbox.taken();
                outbox.hold(true);
            }
        }
    }

    fn note_moved(&mut self, notices: &mut Notices, now: Instant) {
        let since = *self.moved_since.get_or_insert(now);
        if !self.is_move_reported
            && !self.is_reopen_due
            && now.saturating_duration_since(since) >= MOVED_FOR
        {
            self.is_move_reported = true;
            notice!(warn: notices, Cause::OutputMoved, now,
                "the output file is not at its path any more: it was renamed, or mounted over; \
                records go on into it until SIGHUP");
        }
    }

    /// Whether it is time to try a SIGHUP again that could not be obeyed.
    pub(in crate::engine) fn is_reopened_now(&mut self, now: Instant) -> bool {
        self.is_reopen_due
            && self.step == Step::Done
            && self.retry_at.take_if(|at| *at <= now).is_some()
    }

    /// SIGHUP came in the middle of a record.
    pub(in crate::engine) fn reopen_later(&mut self, now: Instant) {
        self.is_reopen_due = true;
        self.retry_at = Some(now + RETRY_FIRST);
    }

    /// SIGHUP came. Returns whether a deleted file is being replaced, which has the same effect.
    pub(in crate::engine) fn is_reopened_by_replacement<S: Sink>(
        &mut self,
        outbox: &mut Outbox<S>,
        notices: &mut Notices,
        now: Instant,
    ) -> bool {
        // What only a deleted file has must not be left behind with it.
        self.look(outbox, notices, now);
        match self.step {
            Step::Done => return false,
            Step::ToOpen => self.retry_at = None,
            Step::ToStore => {}
            // The new one may have been renamed meanwhile.
            Step::Owing => self.reopen_later(now),
        }
        true
    }

    /// The next record goes into a freshly opened file, if that can be had. Says whether it could.
    pub(in crate::engine) fn reopen<S: Sink>(
        &mut self,
        around: &mut Neighbours<'_, S>,
        now: Instant,
    ) -> bool {
        rare!("the output was reopened");
        if let Err(error) = around.change_file(Sink::reopen) {
            let is_first = !std::mem::replace(&mut self.is_reopen_due, true);
            self.open_failed(with_causes(&error), now);
            if is_first {
                notice!(error: around.notices, Cause::Reopen, now, error = with_causes(&error),
                    "SIGHUP: the old output stays in use; tried again");
            }
            return false;
        }
        self.opened();
        around.outbox.reopened();
        notice!(info: around.notices, Cause::Reopen, now, "SIGHUP: output reopened");
        true
    }

    /// Nothing is sent while offsets have to be stored first (`is_awaited`), nor while a deleted
    /// file has no successor. What is owed to the successor is sent before offsets are stored.
    pub(in crate::engine) fn hold<S: Sink>(&self, outbox: &mut Outbox<S>, is_awaited: bool) {
        let is_owing = self.step == Step::Owing;
        outbox.hold(self.is_held() || (is_awaited && !is_owing));
    }

    /// Takes the next step to replace a deleted file. `committed`: what the journal says about the
    /// output. `is_storable`: there is a journal that can be appended to.
    pub(in crate::engine) fn replace<S: Sink>(
        &mut self,
        around: &mut Neighbours<'_, S>,
        committed: Option<OutputPoint>,
        is_storable: bool,
        now: Instant,
    ) -> Replaced {
        if self.step == Step::ToOpen && self.retry_at.is_none_or(|at| at <= now) {
            self.open_successor(around, committed, now);
            if self.step == Step::ToStore && !is_storable {
                self.step = Step::Owing;
            }
            self.hold(around.outbox, false);
        }
        match self.step {
            Step::Done => Replaced::Done,
            Step::ToStore => Replaced::Store,
            Step::Owing if around.outbox.sink().owed() == 0 => {
                self.step = Step::Done;
                Replaced::Done
            }
            Step::ToOpen | Step::Owing => Replaced::Wait,
        }
    }

    /// The journal knows the new file, or cannot be written: what is owed to it, and then further
    /// records, may be sent.
    pub(in crate::engine) fn successor_stored(&mut self) {
        if self.step == Step::ToStore {
            self.step = Step::Owing;
        }
    }

    fn open_successor<S: Sink>(
        &mut self,
        around: &mut Neighbours<'_, S>,
        committed: Option<OutputPoint>,
        now: Instant,
    ) {
        let deleted = around.outbox.sink_mut().point();
        let from = committed
            .filter(|point| deleted.as_ref().is_some_and(|deleted| deleted.id == point.id))
            .map(|point| point.len);
        if let Err(error) = around.change_file(|sink| sink.replace(from)) {
            let is_first = self.failure.is_none();
            around.outbox.block(now);
            self.open_failed(with_causes(&error), now);
            if is_first {
                notice!(error: around.notices, Cause::OutputDeleted, now,
                    error = with_causes(&error),
                    "the output file was deleted: records wait for another one; tried again");
            }
            return;
        }
        around.stats.outputs_replaced += 1;
        self.opened();
        self.step = Step::ToStore;
        around.outbox.reopened();
        notice!(warn: around.notices, Cause::OutputDeleted, now,
            again_bytes = around.outbox.sink().owed(),
            "the output file was deleted: another one was opened at its path, and gets what was \
            not committed");
    }
}

/// What commits may do while another file takes the place of a deleted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Replaced {
    /// Commits may go on.
    Done,
    /// The output is to be committed, and nothing else.
    Store,
    /// Nothing may be committed.
    Wait,
}
