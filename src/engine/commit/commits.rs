//! The state of commits: what is not stored yet, which job is under way, when the next one is due.
//!
//! In: generations whose number is to be stored, outcomes of jobs. Out: jobs to the
//! [`Committer`], deadlines, a status.
//! Always holds: at most one job is under way. A file waits for the store only while the store does
//! not fail.

use std::time::{Duration, Instant};

use crate::checkpoint::state::StoredOffsets;
use crate::checkpoint::{
    Anew, Committer, Displaced, Done, EntryFlags, Job, OutputPoint, Work, journal,
};
use crate::engine::commit::ResumeFrom;
use crate::engine::commit::agreement::Agreement;
use crate::engine::commit::ledger::{Changes, Ledger};
use crate::engine::namespace::registry::SlotKey;
use crate::engine::output::outbox::{Outbox, Point};
use crate::engine::output::output_file::OutputFile;
use crate::rare::rare;
use crate::sink::{Number, OutputCommit, Sink};
use crate::status::CommitStatus;
use crate::sys::FileId;

/// After a failure a new journal is begun after this long ...
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(1);
/// ... then after twice the time, up to this.
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// A program that removes a state directory removes the files in it first. This much time passes
/// between the first sign of that and the check, and between the check and a new journal.
pub(super) const DISPLACED_SETTLE: Duration = Duration::from_millis(100);

/// When the state directory is displaced again within this time, a new journal waits as long as it
/// does after a failure.
pub(super) const DISPLACED_CALM: Duration = Duration::from_secs(60);

/// What the journal says about the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum KnownOutput {
    /// Nothing, or something about another output: a commit is due.
    #[default]
    Unknown,
    /// The output is not a regular file.
    NoFile,
    /// The output is a regular file and held this much.
    File(OutputPoint),
}

impl KnownOutput {
    pub(super) fn of(stored: Option<OutputPoint>) -> Self {
        stored.map_or(KnownOutput::NoFile, KnownOutput::File)
    }

    pub(super) fn point(self) -> Option<OutputPoint> {
        match self {
            KnownOutput::File(point) => Some(point),
            KnownOutput::Unknown | KnownOutput::NoFile => None,
        }
    }
}

/// What the job under way stores.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    pub(super) changes: Changes,
    pub(super) stored: Vec<FileId>,
    pub(super) scanned: Vec<Vec<u8>>,
    pub(super) births: Vec<SlotKey>,
    /// `Unknown`: the job does not mention the output.
    pub(super) output: KnownOutput,
    /// The number of a commit that the output makes, too.
    pub(super) number: Option<Number>,
}

/// See the module.
pub(in crate::engine) struct Commits {
    committer: Box<dyn Committer>,
    interval: Duration,
    pub(in crate::engine) ledger: Ledger,
    /// Entries of files that were not found (yet).
    pub(in crate::engine) stored: StoredOffsets,
    /// Entries of `stored` that changed.
    pub(super) stored_changes: Vec<FileId>,
    /// PATHs whose first scan is complete and not stored yet.
    pub(super) scanned: Vec<Vec<u8>>,
    /// Files whose generation has to be stored before their first record leaves.
    pub(super) births: Vec<SlotKey>,
    under_way: Option<UnderWay>,
    /// A buffer for the next payload.
    pub(super) payload: Vec<u8>,
    journal_bytes: u64,
    /// Commits can be appended.
    pub(super) is_appendable: bool,
    /// A new journal is being written; entries of `stored` before this place are in it.
    pub(super) snapshot: Option<usize>,
    /// The store failed and did not recover yet.
    pub(super) is_failing: bool,
    /// Why the last job that failed did so.
    pub(super) failure: Option<String>,
    /// A file or directory of the store was removed or replaced, and there is no new journal yet.
    pub(super) displaced: Option<Displaced>,
    pub(super) displaced_at: Option<Instant>,
    /// How the store came into its place again for the journal that is being written.
    pub(super) anew: Option<Anew>,
    /// Something happened to the state directory: when the store checks whether it is in place.
    pub(super) check_at: Option<Instant>,
    /// The output could not be made durable: its content is not known, so offsets are no longer
    /// committed.
    pub(super) is_output_doubtful: bool,
    pub(super) retry_at: Option<Instant>,
    pub(super) retry_after: Duration,
    /// Since when there has been something to commit.
    pub(super) changed_since: Option<Instant>,
    /// The same, but only a commit that stores everything ends it.
    pub(super) uncommitted_since: Option<Instant>,
    /// Since when the output settles the commit under way, and when it made the last one.
    pub(super) settling_since: Option<Instant>,
    pub(super) made_at: Option<Instant>,
    /// How many bytes the output had taken at the last commit.
    pub(super) taken: u64,
    /// It has taken more since.
    pub(super) has_more: bool,
    /// What the journal says about the output.
    pub(super) output: KnownOutput,
    /// What was agreed with a receiver that remembers commits.
    pub(super) agreement: Agreement,
    /// SIGHUP came: what the old file got is committed first, and nothing is sent until the
    /// identity of the new file is stored.
    pub(in crate::engine) is_reopening: bool,
    /// The run ends, and a failing store was tried once more.
    pub(super) is_last_try: bool,
    /// The path at hand, reused.
    pub(super) path: Vec<u8>,
}

impl std::fmt::Debug for Commits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commits")
            .field("under_way", &self.under_way)
            .field("is_failing", &self.is_failing)
            .finish_non_exhaustive()
    }
}

impl Commits {
    pub(super) fn new(checkpoint: ResumeFrom, agreement: Agreement) -> Self {
        let ResumeFrom { state, committer, journal, interval, reconciled } = checkpoint;
        Commits {
            committer,
            interval,
            ledger: Ledger::default(),
            stored: state,
            stored_changes: reconciled,
            scanned: Vec::new(),
            births: Vec::new(),
            under_way: None,
            payload: Vec::new(),
            journal_bytes: journal.unwrap_or(0),
            is_appendable: journal.is_some(),
            snapshot: None,
            is_failing: false,
            failure: None,
            displaced: None,
            displaced_at: None,
            anew: None,
            check_at: None,
            is_output_doubtful: false,
            retry_at: None,
            retry_after: RETRY_FIRST,
            changed_since: None,
            uncommitted_since: None,
            settling_since: None,
            made_at: None,
            taken: 0,
            has_more: false,
            output: KnownOutput::Unknown,
            agreement,
            is_reopening: false,
            is_last_try: false,
            path: Vec::new(),
        }
    }

    /// Hands a job to the committer. `point`: the output, if the job mentions it.
    pub(super) fn submit(&mut self, work: Work, under_way: UnderWay, point: Option<Point>) {
        self.submit_with(work, under_way, point, None);
    }

    /// Hands a job to the committer. `commit`: the output's part of it.
    pub(super) fn submit_with(
        &mut self,
        work: Work,
        under_way: UnderWay,
        point: Option<Point>,
        commit: Option<OutputCommit>,
    ) {
        assert!(self.under_way.is_none(), "one job at a time");
        // What the output holds already is durable since the commit that stored its length.
        let is_output_due = point
            .as_ref()
            .and_then(|point| point.stored)
            .is_some_and(|stored| self.output != KnownOutput::File(stored));
        let output = point.and_then(|point| point.file);
        self.under_way = Some(under_way);
        self.committer.submit(Job {
            work,
            payload: std::mem::take(&mut self.payload),
            is_output_due,
            output,
            commit,
        });
    }

    /// The outcome of the job under way, if there is one.
    pub(super) fn outcome(&mut self) -> Option<Done> {
        self.under_way.as_ref()?;
        self.committer.done()
    }

    /// The job under way has ended: what it was to store.
    pub(super) fn end_job(&mut self, done: &mut Done) -> UnderWay {
        self.payload = std::mem::take(&mut done.payload);
        self.journal_bytes = done.journal_bytes;
        self.is_appendable = done.is_appendable;
        if let Some(anew) = done.anew.take() {
            self.displaced.get_or_insert(anew.what);
            self.anew = Some(anew);
        }
        self.under_way.take().expect("a job was under way")
    }

    /// What a job was to store is still to be stored.
    pub(super) fn give_back(&mut self, under_way: &mut UnderWay) {
        self.ledger.give_back(std::mem::take(&mut under_way.changes));
        self.stored_changes.append(&mut under_way.stored);
        self.scanned.append(&mut under_way.scanned);
    }

    /// What the receiver is asked, for people.
    pub(super) fn question(&self) -> Option<String> {
        self.agreement.question(self.stored.doubt())
    }

    /// Whether nothing is read before the receiver has answered.
    pub(in crate::engine) fn is_asked_at_start(&self) -> bool {
        self.agreement.is_asked_at_start()
    }

    /// Nothing stands between the output and further records any more, unless it is reopened.
    pub(super) fn output_resumes<S: Sink>(
        &mut self,
        output_file: &OutputFile,
        outbox: &mut Outbox<S>,
    ) {
        self.agreement.is_waiting = false;
        output_file.hold(outbox, self.is_reopening);
    }

    /// How often acknowledged offsets become durable from now on.
    pub(in crate::engine) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// A generation begins: `true` if its records have to wait until its number is stored.
    pub(super) fn begin_generation(
        &mut self,
        key: SlotKey,
        generation: u32,
        offset: u64,
        flags: EntryFlags,
        read_at: u64,
    ) -> bool {
        self.ledger.begin(key, generation, offset, flags, read_at);
        self.await_generation(key)
    }

    /// The file has another identity and perhaps another generation now, and goes on where it is.
    pub(in crate::engine) fn renumbered(
        &mut self,
        key: SlotKey,
        (before, generation): (FileId, u32),
        after: u32,
    ) {
        self.ledger.drop_entry(before, generation);
        self.ledger.renumbered(key, after);
    }

    /// Has the file's new number stored, unless the store fails. Returns whether its records wait
    /// for that.
    pub(in crate::engine) fn await_generation(&mut self, key: SlotKey) -> bool {
        if !self.is_appendable {
            rare!("a generation began while no journal could be appended to");
        }
        // Files do not wait for a failing store. The next journal has all generations.
        let is_awaited = self.is_appendable || !(self.is_failing || self.is_output_doubtful);
        if is_awaited {
            self.births.push(key);
        }
        is_awaited
    }

    /// Whether records of any file wait until a generation is stored.
    pub(in crate::engine) fn has_births(&self) -> bool {
        !self.births.is_empty() || self.under_way.as_ref().is_some_and(|job| !job.births.is_empty())
    }

    /// The files whose records wait.
    pub(in crate::engine) fn awaited_births(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.births.iter().chain(self.under_way.iter().flat_map(|job| &job.births)).copied()
    }

    /// Whether a job is under way.
    pub(in crate::engine) fn is_storing(&self) -> bool {
        self.under_way.is_some()
    }

    /// When something is due though nothing happens. `is_held_up`: nothing is committed now.
    pub(in crate::engine) fn deadline(&self, is_held_up: bool) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        if is_held_up || self.agreement.is_unanswered() {
            return self.check_at;
        }
        let is_pending =
            self.is_output_doubtful || self.agreement.is_asked() || self.agreement.is_waiting;
        let next = if self.is_appendable || (self.is_delivering_alone() && self.has_more) {
            self.changed_since.filter(|_| !is_pending).map(|since| since + self.interval)
        } else {
            None
        };
        let retry = self.retry_at.filter(|_| !self.is_appendable && !self.agreement.is_asked());
        next.into_iter().chain(retry).chain(self.check_at).min()
    }

    /// At the end of a run: everything that was acknowledged is stored, or cannot be.
    pub(in crate::engine) fn is_settled(&self) -> bool {
        if self.agreement.is_unanswered() {
            return true;
        }
        let is_stored = self.is_appendable
            && !self.has_changes()
            && (self.agreement.is_number_stored || !self.agreement.has_transactions)
            && self.changed_since.is_none()
            && self.births.is_empty()
            && self.output != KnownOutput::Unknown;
        self.under_way.is_none()
            && (is_stored || self.is_output_doubtful || (self.is_failing && self.is_last_try))
    }

    /// Whether what was acknowledged could not be stored.
    pub(in crate::engine) fn has_failed(&self) -> bool {
        self.is_output_doubtful || (self.is_failing && !self.is_appendable)
    }

    /// The state of commits, for people.
    pub(in crate::engine) fn status(&self, now: Instant) -> CommitStatus {
        let age = self
            .uncommitted_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let is_failing = self.is_failing || self.displaced.is_some() || self.is_output_doubtful;
        CommitStatus {
            is_kept: true,
            age_seconds: age.as_secs_f64(),
            is_failing,
            failure: self.failure.clone().filter(|_| is_failing),
            question: self.question(),
            number: self.agreement.number,
            made_seconds: self.made_at.map(|at| now.saturating_duration_since(at).as_secs_f64()),
            journal_bytes: self.journal_bytes,
        }
    }

    /// Whether the output commits although the journal cannot be written.
    pub(super) fn is_delivering_alone(&self) -> bool {
        self.agreement.has_transactions && self.is_failing && !self.is_appendable
    }

    pub(super) fn has_changes(&self) -> bool {
        self.ledger.has_changes() || !self.stored_changes.is_empty() || !self.scanned.is_empty()
    }

    /// Notes since when there is something to commit. The output may have got more from a file that
    /// is gone, or whose content restarted: then it is longer than committed. What it lost and got
    /// again is more, too: the commit before the loss does not cover it.
    pub(super) fn note_changes(&mut self, taken: u64, now: Instant) {
        self.has_more = taken != self.taken;
        if (self.has_changes() || self.has_more) && self.changed_since.is_none() {
            self.changed_since = Some(now);
            self.uncommitted_since.get_or_insert(now);
        }
    }

    /// Whether to commit now. `is_urgent`: do not wait for the interval.
    pub(super) fn is_due(&self, is_urgent: bool, now: Instant) -> bool {
        if !self.is_appendable {
            return self.has_more && self.is_delivering_alone() && self.is_time(is_urgent, now);
        }
        let is_unknown = self.output == KnownOutput::Unknown;
        (is_unknown || self.is_time(is_urgent, now)) && !self.is_output_doubtful
    }

    /// Whether the interval is over, if there is something to commit.
    pub(super) fn is_time(&self, is_urgent: bool, now: Instant) -> bool {
        self.changed_since.is_some_and(|since| is_urgent || since + self.interval <= now)
    }

    /// Whether a new journal has to be written, and the time for it has come.
    pub(super) fn needs_journal(&self, now: Instant) -> bool {
        let files = self.ledger.len() as u64;
        let is_large = self.journal_bytes > journal::bytes_max(files);
        (!self.is_appendable || is_large)
            && !self.agreement.is_asked()
            && self.retry_at.is_none_or(|at| at <= now)
    }
}
