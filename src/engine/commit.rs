//! Acknowledged offsets -> the journal: what is due, one piece of blocking work at a time, and what
//! waits for it.
//!
//! In: the ledger, and where the output is. Out: jobs to the [`Committer`]; files and outputs that
//! may go on once theirs is done. Always holds: `committed <= acknowledged <= read`; a commit tells
//! offsets and the output's length of one moment; the first record of a generation leaves after its
//! generation is stored, the first one into an output file after the file's identity is - unless
//! the store fails: then it is said, and delivery goes on.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use ledger::{Changes, Known, Ledger};

use crate::checkpoint::format::{self, Item};
use crate::checkpoint::state::StoredOffsets;
use crate::checkpoint::{
    Anew, Committer, Displaced, Done, EntryFlags, Job, OutputPoint, Work, journal,
};
use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::namespace::registry::{SlotId, SlotKey, State};
use crate::engine::output::output_file::Replaced;
use crate::engine::schedule::KeptBack;
use crate::rare::rare;
use crate::sink::{FilePoint, Sink};
use crate::status::CommitStatus;
use crate::sys::clock::Now;
use crate::sys::{FileId, FileSystem};

mod ending;
mod failing;
mod ledger;
pub(super) mod resume;
mod snapshot;

/// Slots that one part of a snapshot tells about: some hundred microseconds of work.
const SNAPSHOT_SLOTS: usize = 2048;

/// New files that one job makes durable at most.
const BIRTHS_MAX: usize = 8192;

/// After a failure a new journal is begun after this long ...
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// ... then after twice the time, up to this.
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Whoever removes a state directory removes the files in it first: from the first sign of that to
/// the look, and from the look to a new journal, this much time passes.
const DISPLACED_SETTLE: Duration = Duration::from_millis(100);

/// When the state directory is displaced again within this time, a new journal waits as after a
/// failure.
const DISPLACED_CALM: Duration = Duration::from_secs(60);

/// What [`Engine::keep_offsets`] needs.
pub struct ResumeFrom {
    /// What the journal says.
    pub state: StoredOffsets,
    /// Who does the blocking work.
    pub committer: Box<dyn Committer>,
    /// Whether there is a journal that commits can be appended to, and its length.
    pub journal: Option<u64>,
    /// How often acknowledged offsets become durable.
    pub interval: Duration,
    /// Entries that the output was found to be ahead of: told with the first commit, which tells
    /// the output's length.
    pub reconciled: Vec<FileId>,
}

/// What a job under way tells.
#[derive(Debug, Default)]
struct UnderWay {
    changes: Changes,
    stored: Vec<FileId>,
    scanned: Vec<Vec<u8>>,
    births: Vec<SlotKey>,
    /// The output's point, if it is told; `Some(None)`: it is no regular file.
    output: Option<Option<OutputPoint>>,
}

/// Whether a path is told along with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathTold {
    /// If the journal does not have it.
    IfNew,
    /// In a journal that is new itself.
    Always,
}

/// Where the output is.
#[derive(Debug)]
struct Point {
    stored: Option<OutputPoint>,
    file: Option<OwnedFd>,
}

pub(super) struct Commits {
    committer: Box<dyn Committer>,
    interval: Duration,
    pub(super) ledger: Ledger,
    /// Entries of files that were not found (yet).
    pub(super) stored: StoredOffsets,
    /// Entries of `stored` that changed.
    pub(super) stored_changes: Vec<FileId>,
    /// PATHs whose first scan is complete, to be told.
    pub(super) scanned: Vec<Vec<u8>>,
    births: Vec<SlotKey>,
    under_way: Option<UnderWay>,
    /// A buffer for the next payload.
    payload: Vec<u8>,
    journal_bytes: u64,
    /// Commits can be appended.
    is_appendable: bool,
    /// The journal is being written anew; entries of `stored` before this place are told.
    snapshot: Option<usize>,
    /// The store failed and did not recover yet.
    is_failing: bool,
    /// Why something could not be stored last.
    failure: Option<String>,
    /// Somebody removed or replaced what the store had open, and there is no new journal yet.
    displaced: Option<Displaced>,
    displaced_at: Option<Instant>,
    /// How the store came into its place again for the journal that is being written.
    anew: Option<Anew>,
    /// Something happened to the state directory: when the store looks whether it is in place.
    check_at: Option<Instant>,
    /// The output could not be made durable: what it holds is not known, so no offset is committed
    /// any more.
    is_output_doubtful: bool,
    retry_at: Option<Instant>,
    retry_after: Duration,
    /// Since when there is something to commit.
    changed_since: Option<Instant>,
    /// The same, but only a commit that told all ends it.
    uncommitted_since: Option<Instant>,
    /// What the output had taken at the last commit.
    accepted: u64,
    /// What the journal says of the output. `None`: nothing, or of another one.
    output: Option<Option<OutputPoint>>,
    /// SIGHUP came: what the old file got is committed first, and nothing is sent until the new
    /// one's identity is.
    pub(super) is_reopening: bool,
    /// The run ends: a failing store was tried once more.
    is_last_try: bool,
    /// The path at hand, reused.
    path: Vec<u8>,
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
    fn new(checkpoint: ResumeFrom) -> Self {
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
            accepted: 0,
            output: None,
            is_reopening: false,
            is_last_try: false,
            path: Vec::new(),
        }
    }

    fn submit(&mut self, work: Work, under_way: UnderWay, point: Option<Point>) {
        assert!(self.under_way.is_none(), "one job at a time");
        // What the output holds already is durable since the commit that told it.
        let is_output_due = point
            .as_ref()
            .is_some_and(|point| point.stored.is_some() && self.output != Some(point.stored));
        let output = point.and_then(|point| point.file);
        self.under_way = Some(under_way);
        self.committer.submit(Job {
            work,
            payload: std::mem::take(&mut self.payload),
            is_output_due,
            output,
        });
    }

    /// How often acknowledged offsets become durable from now on.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// A generation begins: `true` if its records have to wait until that is stored.
    pub(super) fn begin_generation(
        &mut self,
        key: SlotKey,
        generation: u32,
        offset: u64,
        flags: EntryFlags,
        read_at: u64,
    ) -> bool {
        self.ledger.begin(key, generation, offset, flags, read_at);
        self.is_generation_awaited(key)
    }

    /// The file has another identity and perhaps another generation now, and goes on where it is.
    pub(super) fn renumbered(
        &mut self,
        key: SlotKey,
        (before, generation): (FileId, u32),
        after: u32,
    ) {
        self.ledger.drop_entry(before, generation);
        self.ledger.renumbered(key, after);
    }

    /// The file's number is new: `true` if its records have to wait until that is stored.
    pub(super) fn is_generation_awaited(&mut self, key: SlotKey) -> bool {
        if !self.is_appendable {
            rare!("a generation began while no journal could be appended to");
        }
        // A store that fails is not waited for. The next journal tells all.
        let is_awaited = self.is_appendable || !(self.is_failing || self.is_output_doubtful);
        if is_awaited {
            self.births.push(key);
        }
        is_awaited
    }

    /// Files whose records wait.
    pub(super) fn has_births(&self) -> bool {
        !self.births.is_empty() || self.under_way.as_ref().is_some_and(|job| !job.births.is_empty())
    }

    /// The same, one by one.
    pub(super) fn awaited_births(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.births.iter().chain(self.under_way.iter().flat_map(|job| &job.births)).copied()
    }

    /// The outcome of a job is awaited.
    pub(super) fn is_storing(&self) -> bool {
        self.under_way.is_some()
    }

    /// When something is due though nothing happens. `is_held_up`: nothing is committed now.
    pub(super) fn deadline(&self, is_held_up: bool) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        if is_held_up {
            return self.check_at;
        }
        let next = if self.is_appendable {
            self.changed_since
                .filter(|_| !self.is_output_doubtful)
                .map(|since| since + self.interval)
        } else {
            self.retry_at
        };
        next.into_iter().chain(self.check_at).min()
    }

    /// At the end of a run: all that was acknowledged is stored, or cannot be.
    pub(super) fn is_settled(&self) -> bool {
        let is_stored = self.is_appendable
            && !self.has_changes()
            && self.changed_since.is_none()
            && self.births.is_empty()
            && self.output.is_some();
        self.under_way.is_none()
            && (is_stored || self.is_output_doubtful || (self.is_failing && self.is_last_try))
    }

    /// Whether what was acknowledged could not be stored.
    pub(super) fn has_failed(&self) -> bool {
        self.is_output_doubtful || (self.is_failing && !self.is_appendable)
    }

    /// How it is, for people.
    pub(super) fn status(&self, now: Instant) -> CommitStatus {
        let age = self
            .uncommitted_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let is_failing = self.is_failing || self.displaced.is_some() || self.is_output_doubtful;
        CommitStatus {
            is_kept: true,
            age_seconds: age.as_secs_f64(),
            is_failing,
            failure: self.failure.clone().filter(|_| is_failing),
            journal_bytes: self.journal_bytes,
        }
    }

    fn has_changes(&self) -> bool {
        self.ledger.has_changes() || !self.stored_changes.is_empty() || !self.scanned.is_empty()
    }

    /// Whether to commit now. `is_urgent`: do not wait for the interval.
    fn is_due(&self, is_urgent: bool, now: Instant) -> bool {
        let is_time =
            self.changed_since.is_some_and(|since| is_urgent || since + self.interval <= now);
        (self.output.is_none() || is_time) && !self.is_output_doubtful
    }

    /// The journal has to be written anew, and the time for it has come.
    fn needs_journal(&self, now: Instant) -> bool {
        let files = self.ledger.len() as u64;
        let is_large = self.journal_bytes > journal::bytes_max(files);
        (!self.is_appendable || is_large) && self.retry_at.is_none_or(|at| at <= now)
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Before the first turn: offsets are kept from now on, and files that the journal knows go on
    /// where they were.
    pub fn keep_offsets(&mut self, checkpoint: ResumeFrom) {
        assert!(!self.discovery.is_started, "offsets are kept from the start");
        // Nothing goes into a file before the journal knows that it is ours.
        let is_file = self.outbox.sink_mut().point().is_some();
        self.outbox.hold(is_file);
        self.files.reserve(checkpoint.state.len());
        for (bucket, generation) in checkpoint.state.floors() {
            self.files.raise_floor(bucket, generation);
        }
        checkpoint.state.output().into_iter().for_each(|point| self.own.remember(point.id));
        self.commits = Some(Box::new(Commits::new(checkpoint)));
    }

    /// At the end of a turn: takes the outcome of the last job, and hands the next one over if
    /// something is due.
    pub(super) fn commit(&mut self, now: Now) {
        self.watch_output_file(now.instant);
        let Some(mut commits) = self.commits.take() else {
            self.replace_output_file(None, now.instant);
            return;
        };
        if let Some(done) = commits.under_way.is_some().then(|| commits.committer.done()).flatten()
        {
            self.committed(&mut commits, done, now.instant);
        }
        if self.coverage.ways.take_state_doubt() {
            commits.check_at.get_or_insert(now.instant + DISPLACED_SETTLE);
        }
        if commits.under_way.is_none() {
            let is_ending = self.is_ending() && !commits.has_births();
            self.next_job(&mut commits, is_ending, now);
        }
        self.commits = Some(commits);
    }

    fn next_job(&mut self, commits: &mut Commits, is_ending: bool, now: Now) {
        // Also of a file that is gone, or whose content restarted, the output may have got more:
        // then it is longer than committed.
        let has_more = self.outbox.accepted() != commits.accepted;
        if (commits.has_changes() || has_more) && commits.changed_since.is_none() {
            commits.changed_since = Some(now.instant);
            commits.uncommitted_since.get_or_insert(now.instant);
        }
        if is_ending && !std::mem::replace(&mut commits.is_last_try, is_ending) {
            commits.retry_at = None;
        }
        let is_urgent = is_ending || commits.is_reopening;
        let is_commit_due = commits.is_appendable && commits.is_due(is_urgent, now.instant);
        // A store that failed is looked at when a new journal is begun.
        let is_check_due = commits.check_at.take_if(|at| *at <= now.instant).is_some();
        if is_check_due && commits.is_appendable && commits.snapshot.is_none() {
            commits.submit(Work::Check, UnderWay::default(), None);
            return;
        }
        if is_commit_due || commits.snapshot.is_some() {
            self.look_at_output_file(now.instant);
        }
        let is_storable = commits.is_appendable && !commits.is_output_doubtful;
        match self.replace_output_file(is_storable.then(|| commits.output.flatten()), now.instant) {
            Replaced::Done => {}
            Replaced::Wait => return,
            Replaced::Store if is_storable => return self.store_output(commits),
            Replaced::Store => {
                self.successor_stored();
                return self.hold_output(false);
            }
        }
        if commits.is_appendable && !commits.births.is_empty() {
            self.store_births(commits);
        } else if is_commit_due {
            self.store_changes(commits);
        } else if commits.is_reopening {
            rare!("what an output got was committed before it was reopened");
            // All that the old file got is committed, or cannot be.
            commits.is_reopening = false;
            self.outbox.withdraw();
            let is_reopened = self.reopen_sink(now.instant);
            if is_reopened {
                commits.is_output_doubtful = false;
                commits.retry_at = None;
                commits.output = None;
            }
            self.hold_output(is_reopened && commits.is_appendable);
            self.next_job(commits, is_ending, now);
        } else if commits.snapshot.is_some() {
            self.store_snapshot_part(commits, now);
        } else if commits.needs_journal(now.instant) && !(is_ending && commits.is_appendable) {
            self.begin_snapshot(commits);
        }
    }

    /// Nothing more will be read: what there is to commit is committed at once.
    fn is_ending(&self) -> bool {
        self.is_stopping
            || self.outbox.is_closed()
            || (self.config.once && self.is_read() && self.outbox.is_empty())
    }

    /// First records of new generations wait for this, so it waits for nothing else.
    fn store_births(&mut self, commits: &mut Commits) {
        let rest = commits.births.split_off(commits.births.len().min(BIRTHS_MAX));
        let births = std::mem::replace(&mut commits.births, rest);
        commits.payload.clear();
        for &key in &births {
            self.put_entry(commits, key, PathTold::IfNew);
        }
        commits.submit(Work::Append, UnderWay { births, ..UnderWay::default() }, None);
    }

    /// The file that took the place of a deleted one, and nothing else: what it is about to get is
    /// not committed yet.
    fn store_output(&mut self, commits: &mut Commits) {
        commits.payload.clear();
        // Nothing was written to it yet.
        let Some(FilePoint { id, len, file }) = self.outbox.sink_mut().point() else {
            return self.successor_stored();
        };
        let stored = Some(OutputPoint { id, len, format: self.config.format });
        format::put(&Item::Output(stored), &mut commits.payload);
        let under_way = UnderWay { output: Some(stored), ..UnderWay::default() };
        commits.submit(Work::Append, under_way, Some(Point { stored, file }));
    }

    fn store_changes(&mut self, commits: &mut Commits) {
        commits.payload.clear();
        commits.accepted = self.outbox.accepted();
        if let Some(reached) = self.outbox.acknowledge_part(self.config.format) {
            rare!("a commit covered a part of what the output took");
            commits.ledger.acknowledge(&reached);
        }
        let changes = commits.ledger.take_changes();
        let (under_way, point) = self.put_commit(commits, &changes, PathTold::IfNew);
        commits.submit(Work::Append, UnderWay { changes, ..under_way }, Some(point));
    }

    /// Tells changes and the output as they are at this moment.
    fn put_commit(
        &mut self,
        commits: &mut Commits,
        changes: &Changes,
        path: PathTold,
    ) -> (UnderWay, Point) {
        commits.changed_since = None;
        let point = self.output_point();
        format::put(&Item::Output(point.stored), &mut commits.payload);
        for &(file, generation) in &changes.gone {
            format::put(&Item::Forget(file, generation), &mut commits.payload);
        }
        for &key in &changes.slots {
            self.put_entry(commits, key, path);
        }
        let (stored, scanned) =
            (std::mem::take(&mut commits.stored_changes), std::mem::take(&mut commits.scanned));
        for &file in &stored {
            if let Some((entry, path)) = commits.stored.get(file) {
                format::put(&Item::Entry(entry, Some(path)), &mut commits.payload);
            }
        }
        for path in &scanned {
            format::put(&Item::Scanned(path), &mut commits.payload);
        }
        (UnderWay { stored, scanned, output: Some(point.stored), ..UnderWay::default() }, point)
    }

    /// Up to when every modification of a file was acknowledged: until it was read to its end, and
    /// if events tell all, until now.
    fn complete_at(&self, id: SlotId, known: &Known) -> u64 {
        let slot = self.files.get(id);
        if known.offset != slot.offset || known.read_at == 0 {
            return 0;
        }
        let in_doubt = State::DIRTY | State::DOUBT | State::RETRY | State::UNREADABLE;
        let is_watched =
            self.tree.at_place(slot.dir().0).is_some_and(|dir| self.tree.watch(dir).is_some());
        // Of a file without a name nothing is told; of one that a look is about to settle, not all
        // is known.
        let is_known =
            slot.is_bound() && !self.identities.has_finds() && !slot.state().intersects(in_doubt);
        let is_told_all = is_watched
            && is_known
            && !self.kernel.is_missing_events
            && !self.discovery.is_rescan_due;
        if is_told_all { known.read_at.max(nanos(self.kernel.drained_at)) } else { known.read_at }
    }

    /// Tells one file's entry, if it is still there.
    fn put_entry(&self, commits: &mut Commits, key: SlotKey, path: PathTold) {
        let Some(id) = self.files.alive(key) else { return };
        let Some(file) = self.files.file_id(id) else { return };
        let Some(known) = commits.ledger.get(key).filter(|known| known.is_kept()) else { return };
        let slot = self.files.get(id);
        // While the start of a last line is searched for, the offset goes back.
        let is_comparable =
            known.generation == slot.generation && !known.flags.contains(EntryFlags::SEEK_LINE);
        assert!(
            !is_comparable || known.offset <= slot.offset,
            "acknowledged <= read: {} and {}",
            known.offset,
            slot.offset
        );
        let entry = known.entry(file, self.complete_at(id, known));
        let is_told = commits.ledger.needs_path(key) || path == PathTold::Always;
        commits.path.clear();
        if is_told && self.tree.at_place(slot.dir().0).is_some() && !self.files.name(id).is_empty()
        {
            self.tree.write_path(slot.dir(), &mut commits.path);
            commits.path.extend_from_slice(self.files.name(id));
        }
        format::put(&Item::Entry(entry, is_told.then_some(&commits.path)), &mut commits.payload);
    }

    /// Where the output is, less what it holds of spans that are not acknowledged whole.
    fn output_point(&mut self) -> Point {
        let beyond = self.outbox.accepted_beyond_acked();
        let format = self.config.format;
        let Some(point) = self.outbox.sink_mut().point() else {
            return Point { stored: None, file: None };
        };
        Point {
            stored: Some(OutputPoint {
                id: point.id,
                len: point.len.saturating_sub(beyond),
                format,
            }),
            file: point.file,
        }
    }

    /// A job came to its end.
    fn committed(&mut self, commits: &mut Commits, done: Done, now: Instant) {
        let under_way = commits.under_way.take().expect("a job was under way");
        commits.payload = done.payload;
        commits.journal_bytes = done.journal_bytes;
        commits.is_appendable = done.is_appendable;
        if let Some(anew) = done.anew {
            self.leave_out_directory(anew.directory);
            commits.displaced.get_or_insert(anew.what);
            commits.anew = Some(anew);
        }
        if let Err(error) = done.result {
            self.commit_failed(commits, under_way, done.work, &error, now);
            return;
        }
        if done.work == Work::Complete {
            commits.snapshot = None;
            commits.retry_at = None;
            let is_calm = commits.displaced_at.is_none_or(|at| now >= at + DISPLACED_CALM);
            commits.retry_after = if is_calm { RETRY_FIRST } else { commits.retry_after };
            self.say_in_place_again(commits, now);
            rare!("a new journal was complete");
            if std::mem::take(&mut commits.is_failing) {
                notice!(info: self.observer.notices, Cause::OffsetsAgain, now,
                    "offsets are stored again");
            }
        }
        if let Some(output) = under_way.output {
            self.observer.stats.commits += 1;
            commits.uncommitted_since = None;
            commits.output = Some(output);
            self.successor_stored();
            self.hold_output(commits.is_reopening);
        }
        self.generations_are_stored(under_way.births);
    }

    /// The generations of these files are stored, or cannot be: their records may leave.
    fn generations_are_stored(&mut self, births: Vec<SlotKey>) {
        for key in births {
            if let Some(id) = self.files.alive(key) {
                self.schedule.release(&mut self.files, &self.tree, id, KeptBack::Store);
            }
        }
    }
}

/// Nanoseconds since 1970; 0 for times before.
pub(super) fn nanos(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
