//! The pipeline on one screen: one turn takes what the kernel said and brings it to the output.
//!
//! In: `now`, and the loop's word that a descriptor is ready. Out: [`Turn`], what the loop has to wait for.
//! Always holds: a file with unread bytes is in the queue of dirty files, or something with a deadline or an event to come keeps it:
//! it cools down, waits for its predecessor, is in doubt, or the output has no room. Nothing here blocks or reads a clock.

mod changes;
mod directories;
mod leaving;
mod looks;
mod order;
mod reading;
mod roots;
mod timers;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use hashbrown::HashMap;

use crate::batch::Outbox;
use crate::config::EngineConfig;
use crate::discovery::{Lane, Sweep};
use crate::notices::Notices;
use crate::reader::Reader;
use crate::record::Encoder;
use crate::registry::{Registry, SlotId, SlotKey};
use crate::sink::{Sink, SinkError};
use crate::stats::{Sizes, Stats};
use crate::succession::Succession;
use crate::sys::clock::Now;
use crate::sys::{FileSystem, Stat};
use crate::tree::{DirId, DirKey, Tree};

use roots::{Root, Wanted};
use timers::Moved;

/// Room for about two thousand events with short names: an eighth of the kernel's default queue in one call.
const EVENT_BUFFER_BYTES: usize = 64 * 1024;

/// Buffers of events taken per turn at most: more than the kernel's default queue of 16,384 events holds, so that the queue is empty
/// afterwards unless events come in faster than they are taken.
const EVENT_BUFFERS_PER_TURN: usize = 32;

/// Files read per turn at most, before the kernel's queue is drained again.
const FILES_PER_TURN: usize = 256;

/// Bytes read per turn at most: about a millisecond of work.
const BYTES_PER_TURN: usize = 4 * 1024 * 1024;

/// Looks (`statx`) per turn at most.
const LOOKS_PER_TURN: usize = 256;

/// Directory entries taken per turn at most.
const ENTRIES_PER_TURN: usize = 1024;

/// No further directory entry is taken while this many names wait to be looked at.
const DOUBTS_MAX: usize = 4096;

/// Files held open at most while the output is blocked, or while a large file is read in turns.
const HELD_MAX: usize = 256;

/// How often acknowledgements are asked for that arrive without an event.
const ACK_POLL: Duration = Duration::from_millis(5);

/// What the loop does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do right now: poll without waiting, then turn again.
    Again,
    /// Nothing to do before this instant, unless a descriptor becomes ready.
    WaitUntil(Instant),
    /// Nothing to do until a descriptor becomes ready.
    WaitForEvents,
    /// All is done (`--once`, or after [`Engine::stop`]), or nobody reads the output any more.
    Finished,
}

/// What ends a run with a failure. Whatever concerns one file is absorbed, counted and said instead.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The output cannot go on.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Events cannot be read from the kernel.
    #[error("cannot read inotify events")]
    Events(#[source] std::io::Error),
    /// `--once`, and there is nothing to read.
    #[error("none of the given paths exists")]
    NoPath,
}

/// Which limit of inotify(7) was hit first.
#[derive(Debug)]
struct WatchLimit {
    /// `fs.inotify.max_user_instances`, else `max_user_watches`.
    is_instances: bool,
    is_said: bool,
}

/// A file that is kept open though it is not being read.
#[derive(Debug)]
struct Held<T> {
    file: T,
    /// The path at the time its name went away; empty while it has one.
    path: Vec<u8>,
}

/// All of manytail but the loop: files in, records out.
#[derive(Debug)]
pub struct Engine<F: FileSystem, S: Sink> {
    config: EngineConfig,
    fs: F,
    outbox: Outbox<S>,
    tree: Tree,
    files: Registry,
    roots: Vec<Root>,
    /// Directories that are watched for single files, by path.
    homes: HashMap<Box<[u8]>, DirKey>,
    /// Names that count in directories that are not listed.
    wanted: HashMap<(DirId, Box<[u8]>), Wanted>,
    events: Box<[u8]>,
    are_events_pending: bool,
    urgent: Lane<F::Listing>,
    sweep: Sweep<F::Listing>,
    is_rescan_due: bool,
    /// Names to look at, oldest first; the bit in the slot is the truth.
    doubts: VecDeque<SlotId>,
    /// What looks found under names of unknown or other files, if anything: believed when no event about the name came after the look.
    found: Vec<(SlotKey, Option<Stat>)>,
    /// Files that a listing brought up, to be read in the order of their last modification.
    listed: Vec<(SystemTime, SlotKey)>,
    /// Files to read, oldest first; the bit in the slot is the truth.
    dirty: VecDeque<SlotId>,
    /// Files read lately, in the order in which they may be opened again.
    cooling: VecDeque<(Instant, SlotKey)>,
    /// How many of them are dirty.
    cooling_dirty: usize,
    /// Renames whose second half is still to come, by cookie.
    moves: HashMap<u32, Moved>,
    /// Files whose name was deleted: judged as soon as all events and doubts are worked off.
    deleted: VecDeque<SlotKey>,
    /// Files without a name, in the order in which they are judged.
    leaving: VecDeque<(Instant, SlotKey)>,
    /// Directories renamed away, likewise.
    leaving_directories: VecDeque<(Instant, DirKey)>,
    /// Files that left the tree, in the order in which they are forgotten.
    parked: VecDeque<(Instant, SlotKey)>,
    /// Files to try again.
    retries: VecDeque<(Instant, SlotKey)>,
    /// Unterminated last lines, by the time at which they are due, and when they last grew.
    partials: BTreeMap<(Instant, u32), SlotKey>,
    grown: HashMap<SlotId, Instant>,
    /// When missing paths and unwatched directories are looked at next.
    poll_at: Option<Instant>,
    polled: usize,
    held: HashMap<SlotId, Held<F::File>>,
    succession: Succession,
    reader: Reader,
    encoder: Encoder,
    /// The path at hand, reused.
    path: Vec<u8>,
    /// The directory entry at hand, reused.
    entry: Vec<u8>,
    /// While events may have been missed: since when. See `directories::suspect`.
    suspect_since: Option<SystemTime>,
    /// When the kernel's queue was last known to be complete and empty.
    drained_at: SystemTime,
    /// When the last sweep began.
    swept_at: SystemTime,
    watch_limit: Option<WatchLimit>,
    files_held_max: usize,
    /// Device and inode of files that we write ourselves.
    own_files: Vec<(u64, u64)>,
    stats: Stats,
    notices: Notices,
    is_stopping: bool,
    is_started: bool,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Makes an engine at rest: the first turn starts the scan.
    pub fn new(config: EngineConfig, fs: F, sink: S, now: Now) -> Self {
        let encoder = Encoder::new(config.format);
        let sweep = Sweep::new(config.rescan.filter(|_| !config.once), now.instant);
        let own_files = sink.own_file().into_iter().collect();
        Engine {
            config,
            fs,
            outbox: Outbox::new(sink),
            tree: Tree::new(),
            files: Registry::new(),
            roots: Vec::new(),
            homes: HashMap::new(),
            wanted: HashMap::new(),
            events: vec![0; EVENT_BUFFER_BYTES].into_boxed_slice(),
            are_events_pending: true,
            urgent: Lane::new(),
            sweep,
            is_rescan_due: false,
            doubts: VecDeque::new(),
            found: Vec::new(),
            listed: Vec::new(),
            dirty: VecDeque::new(),
            cooling: VecDeque::new(),
            cooling_dirty: 0,
            moves: HashMap::new(),
            deleted: VecDeque::new(),
            leaving: VecDeque::new(),
            leaving_directories: VecDeque::new(),
            parked: VecDeque::new(),
            retries: VecDeque::new(),
            partials: BTreeMap::new(),
            grown: HashMap::new(),
            poll_at: None,
            polled: 0,
            held: HashMap::new(),
            succession: Succession::default(),
            reader: Reader::new(),
            encoder,
            path: Vec::new(),
            entry: Vec::new(),
            suspect_since: None,
            drained_at: now.wall,
            swept_at: now.wall,
            watch_limit: None,
            files_held_max: HELD_MAX,
            own_files,
            stats: Stats::default(),
            notices: Notices::default(),
            is_stopping: false,
            is_started: false,
        }
    }

    /// One turn: what the kernel said becomes records, records leave, acknowledgements come back.
    ///
    /// # Errors
    /// When the output or the event queue fails for good.
    pub fn turn(&mut self, now: Now) -> Result<Turn, EngineError> {
        if !self.is_stopping {
            self.start_roots(now)?;
            self.take_changes(now)?;
            self.expire(now);
            self.settle_found(now);
            self.look(now);
            self.judge_deleted(now);
            self.discover(now);
            self.read_dirty(now)?;
            self.hold_unread();
        }
        self.outbox.send(now.instant)?;
        self.collect_acks();
        Ok(self.next_turn(now.instant))
    }

    /// The loop saw the event descriptor become readable.
    pub fn events_ready(&mut self) {
        self.are_events_pending = true;
    }

    /// The loop saw the output's descriptor become ready, or fail.
    pub fn output_ready(&mut self, now: Now) {
        self.outbox.ring(now.instant);
    }

    /// SIGTERM: nothing more is read; turns go on until the output took what was read.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// SIGHUP: reopens a file output, between two records.
    ///
    /// # Errors
    /// When the file cannot be opened anew; the old one stays in use.
    pub fn reopen_output(&mut self, now: Now) -> Result<(), EngineError> {
        self.outbox.send(now.instant)?;
        if !self.outbox.is_at_boundary() {
            tracing::warn!("the output is in the middle of a record and takes nothing now: not reopened");
            return Ok(());
        }
        let before = self.outbox.sink().own_file();
        self.outbox.sink_mut().reopen()?;
        // The old file, if it is in the tree, has a slot that stays ignored. Its inode, once free, may become any log's.
        self.own_files.retain(|&own| Some(own) != before);
        if let Some(own) = self.outbox.sink().own_file() {
            self.add_own_file(own);
        }
        Ok(())
    }

    /// A file that receives what we write, so that it is never followed.
    pub fn add_own_file(&mut self, file: (u64, u64)) {
        if !self.own_files.contains(&file) {
            self.own_files.push(file);
        }
    }

    /// At most this many files are held open besides the one being read.
    pub fn limit_held_files(&mut self, max: usize) {
        self.files_held_max = max.min(HELD_MAX);
    }

    /// The file system, for the loop and for tests.
    pub fn file_system_mut(&mut self) -> &mut F {
        &mut self.fs
    }

    /// The output, for tests.
    pub fn sink_mut(&mut self) -> &mut S {
        self.outbox.sink_mut()
    }

    /// What happened so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How much there is at the moment.
    pub fn sizes(&self) -> Sizes {
        Sizes { files: self.files.len(), directories: self.tree.len(), watches: self.tree.watched(), open: self.held.len() }
    }

    /// Bytes read but not yet acknowledged, at a stop.
    pub fn is_output_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    fn collect_acks(&mut self) {
        let files = &self.files;
        self.stats.acknowledged_bytes += self.outbox.collect_acks(|span| {
            // committed <= acked <= read: an acknowledged part was read before.
            debug_assert!(
                files.alive(span.file).is_none_or(|id| files.get(id).incarnation > 0 || files.get(id).offset >= span.offset),
                "what was acknowledged was read"
            );
        });
    }

    fn next_turn(&self, now: Instant) -> Turn {
        if self.outbox.is_closed() {
            return Turn::Finished;
        }
        if self.is_stopping {
            if self.outbox.is_empty() {
                return Turn::Finished;
            }
        } else if self.has_work() {
            return Turn::Again;
        } else if self.config.once && self.is_idle() && self.outbox.is_empty() {
            return Turn::Finished;
        }
        let deadlines = if self.is_stopping { None } else { self.next_deadline() };
        let acks = (!self.outbox.is_empty() && !self.outbox.is_blocked()).then(|| now + ACK_POLL);
        match [deadlines, acks, self.outbox.deadline()].into_iter().flatten().min() {
            Some(deadline) if deadline <= now => Turn::Again,
            Some(deadline) => Turn::WaitUntil(deadline),
            None => Turn::WaitForEvents,
        }
    }

    /// Something can be done at once.
    fn has_work(&self) -> bool {
        self.are_events_pending
            || !self.doubts.is_empty()
            || !self.deleted.is_empty()
            || self.urgent.has_work()
            || self.is_rescan_due
            || !self.found.is_empty()
            || !self.listed.is_empty()
            || (!self.dirty.is_empty() && self.outbox.has_room())
    }

    /// Nothing waits for a deadline either: with `--once`, everything was read.
    fn is_idle(&self) -> bool {
        self.dirty.is_empty() && self.retries.is_empty() && self.leaving.is_empty() && self.leaving_directories.is_empty()
    }
}
