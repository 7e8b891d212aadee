//! The pipeline on one screen: one turn takes the kernel's events and brings new lines to the
//! output.
//!
//! In: the current time, and which descriptors became ready. Out: [`Turn`], what the loop has to
//! wait for.
//! Always holds: a file with unread bytes is either queued or held back by something that is sure
//! to end (the crate's page has the list). Nothing here blocks or reads a clock.

// The rooms. A room's folder has the files that work on its state. The state is in the file of the
// room's name; that of `commit`, `reading` and `output` is in `kept_offsets.rs` and `commits.rs`,
// `open_files.rs`, `outbox.rs` and `output_file.rs`; that of `namespace` in `registry.rs`,
// `tree.rs` and `inputs.rs`.
mod commit; // acknowledged offsets become durable; what the journal knew at the start
mod coverage; // what is followed: inputs, PATHs, the ways to them
mod discovery; // what is found without events: listings, sweeps, searches
mod identities; // which file has which name: renames, looks, rotation
mod kernel; // events in: which names changed, whether events were lost
mod namespace; // the tables: files, directories, rules, found by name or identity
mod observer; // counts, `status`, `top`, why a file is not read
mod output; // batches on their way out, the output file
mod reading; // open files, bytes to records
mod schedule; // what keeps each file from being read, whose turn it is, what is due when

mod invariants; // what holds between two turns
mod retune; // settings that change while it runs
mod waiting; // what the loop does after a turn

use std::time::{Duration, Instant};

use crate::config::EngineConfig;
use crate::engine::namespace::registry::Registry;
use crate::engine::namespace::tree::Tree;
use crate::engine::output::outbox::Outbox;
use crate::engine::reading::kept_files::KEPT_FOR;
use crate::record::Encoder;
use crate::sink::{Sink, SinkError, Wants};
use crate::status::stats::Stats;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

pub use commit::ResumeFrom;
use commit::kept_offsets::KeptOffsets;
use coverage::Coverage;
use coverage::own::OwnFiles;
use discovery::Discovery;
use discovery::sweeping::Sweeps;
use identities::Identities;
use kernel::Kernel;
use observer::Observer;
pub(crate) use observer::lists::NotRead;
use output::output_file::OutputFile;
use reading::open_files::Reading;
use schedule::Schedule;

/// Room for about two thousand events with short names: an eighth of the kernel's default queue in
/// one call.
const EVENT_BUFFER_BYTES: usize = 64 * 1024;

/// Buffers of events taken per turn at most: eight thousand events with short names, some ten
/// milliseconds of work if each is a rename.
const EVENT_BUFFERS_PER_TURN: usize = 4;

/// Files read per turn at most, before the kernel's queue is drained again.
const FILES_PER_TURN: usize = 256;

/// Bytes read per turn at most: about a millisecond of work.
const BYTES_PER_TURN: usize = 4 * 1024 * 1024;

/// Looks (`statx`) per turn at most.
const LOOKS_PER_TURN: usize = 256;

/// No further look is taken while the results of this many wait for the kernel's queue to be empty,
/// because all of them are applied in one turn.
const FOUND_MAX: usize = 4096;

/// Directory entries taken per turn at most.
const ENTRIES_PER_TURN: usize = 1024;

/// No further directory entry is taken while this many names wait to be looked at.
const DOUBTS_MAX: usize = 4096;

/// Files opened at most, to be held, while the output is blocked or a listing is read; by default
/// also the limit of files that are open besides the one being read.
const HELD_MAX: usize = 256;

/// State directories that are remembered after they were moved away and a new one was made.
const OWN_DIRECTORIES_MAX: usize = 16;

/// How often to check for acknowledgements that arrive without an event.
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
    /// Everything is done (`--once`, or after [`Engine::stop`]), or the output has lost its reader
    /// for good.
    Finished,
}

/// Failures that end a run. A failure that concerns one file is counted and logged instead.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The output cannot go on.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Events cannot be read from the kernel.
    #[error("cannot read inotify events")]
    Events(#[source] std::io::Error),
    /// `--once`, and the offsets of what was delivered could not be stored: the next run would
    /// repeat it.
    #[error("the offsets of what was delivered could not be stored")]
    Offsets,
    /// `--once`, and there is nothing to read.
    #[error("none of the given paths exists")]
    NoPath,
    /// `--once`, and a signal came first.
    #[error("stopped before everything was read and delivered")]
    CutShort,
    /// `--once`: everything that could be read was delivered, and this could not be read.
    #[error("could not be read: {0}")]
    NotRead(NotRead),
}

/// All of manytail but the loop: files in, records out.
#[derive(Debug)]
pub struct Engine<F: FileSystem, S: Sink> {
    config: EngineConfig,
    fs: F,
    outbox: Outbox<S>,
    output_file: OutputFile,
    /// The kernel's events, and how complete they are.
    kernel: Kernel,
    tree: Tree,
    files: Registry,
    /// Which files and directories are followed.
    coverage: Coverage,
    /// How files are found without events.
    discovery: Discovery<F::Listing>,
    /// Which file has which name.
    identities: Identities,
    /// What keeps each file from being read, and whose turn it is.
    schedule: Schedule,
    /// The buffer, the encoder and the open files.
    reading: Reading<F::File>,
    /// How acknowledged offsets become durable, if there is a state directory.
    offsets: KeptOffsets,
    /// The path at hand, reused.
    path: Vec<u8>,
    own: OwnFiles,
    observer: Observer,
    is_stopping: bool,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Makes an engine at rest: the first turn starts the scan.
    pub fn new(mut config: EngineConfig, fs: F, sink: S, now: Now) -> Self {
        let inputs = std::mem::take(&mut config.inputs);
        let format = config.format;
        let mut encoder = Encoder::new(format);
        encoder.set_host(config.host.as_deref());
        let sweeps = Sweeps::new(&config, now);
        let tree = Tree::new(config.follow_links);
        let own = OwnFiles::new(sink.own_file());
        let kept_for = KEPT_FOR.max(config.coalesce);
        let routes = config.routes.take();
        assert_eq!(
            routes.is_some(),
            sink.wants() == Wants::Origins,
            "an output that wants origins has routes"
        );
        let mut engine = Engine {
            config,
            fs,
            outbox: Outbox::new(sink),
            output_file: OutputFile::new(),
            kernel: Kernel::new(now),
            tree,
            files: Registry::new(),
            coverage: Coverage::new(format),
            discovery: Discovery::new(sweeps),
            identities: Identities::new(),
            schedule: Schedule::new(now.instant),
            reading: Reading::new(encoder, routes, kept_for, now),
            offsets: KeptOffsets::default(),
            path: Vec::new(),
            own,
            observer: Observer::default(),
            is_stopping: false,
        };
        engine.reload(inputs, now);
        engine
    }

    /// One turn: the kernel's events become records, records leave, acknowledgements come back,
    /// offsets become durable.
    ///
    /// # Errors
    /// When the output or the event queue fails for good.
    pub fn turn(&mut self, now: Now) -> Result<Turn, EngineError> {
        self.schedule.lag.begin_turn(now.instant);
        self.reading.rewrites.turn_begins(now);
        self.reading.ends.turn_begins(now);
        let may_read = !self.awaits_receiver() || self.begin_with_receiver(now)?;
        if !self.is_stopping && may_read {
            self.start_roots(now)?; // coverage/roots.rs
            self.update_below(now.instant); // discovery/below.rs
            self.take_changes(now)?; // kernel/changes.rs
            self.follow_ways(now); // coverage/ways.rs
            self.expire(now); // schedule/timers.rs
            // The results of the last turn's looks are applied now, unless an event for the name
            // arrived.
            self.apply_finds(now); // identities/finds.rs
            self.look(now); // identities/identify.rs
            self.judge_deleted(now); // identities/leaving.rs
            // Also releases listed files: schedule/by_age.rs.
            self.discover(now); // discovery/directories.rs
            self.look_for_absent(now); // commit/absent.rs
            self.read_dirty(now)?; // reading.rs
            self.tell_ends(now); // reading/ends.rs
            self.hold_unread(); // reading/held_files.rs
        }
        if self.output_file.is_reopened_now(now.instant) {
            self.reopen_output(now)?; // output/reopening.rs
        }
        self.send(now)?;
        self.observer.watch_output(&self.outbox, &self.output_file, now.instant);
        self.commit(now)?; // commit.rs
        if cfg!(debug_assertions) {
            self.check_now_and_then();
        }
        let next = self.next_turn(now.instant)?;
        if next == Turn::Finished
            && self.config.once
            && !self.is_stopping
            && !self.outbox.is_closed()
        {
            let not_read = self.not_read(now);
            if !not_read.is_none() {
                return Err(EngineError::NotRead(not_read));
            }
        }
        Ok(next)
    }

    /// The event descriptor became readable.
    pub fn events_ready(&mut self) {
        self.kernel.are_events_pending = true;
    }

    /// The output's descriptor became ready, or failed.
    pub fn output_ready(&mut self, now: Now) {
        self.outbox.set_ready(now.instant);
    }

    /// SIGTERM: nothing more is read; turns go on until the output took what was read.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// The state directory, by device and inode: nothing in it is ever followed.
    pub fn leave_out_directory(&mut self, directory: (u64, u64)) {
        if !self.own.directories.contains(&directory) {
            self.own.directories.truncate(OWN_DIRECTORIES_MAX - 1);
            self.own.directories.push_front(directory);
        }
    }

    /// No file is read while this many bytes wait for the output: fewer than usual, for tests.
    pub fn limit_in_flight(&mut self, bytes: usize) {
        self.outbox.limit(bytes);
    }

    /// Nothing is known about earlier runs, and this one may read what they read. `file` in json
    /// records gets the number of this run as a fourth part, so that it differs from that of any
    /// earlier run.
    pub fn mark_records(&mut self, run: u64) {
        self.reading.encoder.mark_run(run);
        if let Some(routing) = &mut self.reading.routing {
            routing.run = self.reading.encoder.run().to_vec();
        }
    }

    /// The file system, for the loop and for tests.
    pub fn file_system_mut(&mut self) -> &mut F {
        &mut self.fs
    }

    /// How records are written.
    pub fn format(&self) -> crate::config::Format {
        self.config.format
    }

    /// Whether the run ends when everything is read.
    pub fn is_once(&self) -> bool {
        self.config.once
    }

    /// The output, for tests.
    pub fn sink_mut(&mut self) -> &mut S {
        self.outbox.sink_mut()
    }

    /// The counts so far.
    pub fn stats(&self) -> &Stats {
        &self.observer.stats
    }

    /// Whether every directory of every existing PATH was listed once and is watched, as far as
    /// there are watches, and what was found was looked at. From then on nothing that is written is
    /// missed. After [`Engine::reload`] this has to come true again.
    pub fn has_scanned(&self) -> bool {
        self.discovery.has_scanned
    }

    /// Files that may have unread bytes and are to be read.
    pub fn unread_files(&self) -> usize {
        self.schedule.len()
    }

    /// How long records have been waiting for an output that takes none, if they are.
    pub fn output_blocked_for(&self, now: Instant) -> Option<Duration> {
        self.outbox.blocked(now)
    }

    /// Whether the output has acknowledged every record.
    pub fn is_output_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Bytes of records that the output has not acknowledged; 0 if it is closed.
    pub fn undelivered_bytes(&self) -> usize {
        if self.outbox.is_closed() { 0 } else { self.outbox.unacknowledged_bytes() }
    }

    /// Offers records to the output, and takes what it acknowledged.
    fn send(&mut self, now: Now) -> Result<(), EngineError> {
        self.outbox.send(now.instant)?;
        self.collect_acks();
        Ok(())
    }

    fn collect_acks(&mut self) {
        let (files, mut commits, lag) =
            (&self.files, self.offsets.get_mut(), &mut self.schedule.lag);
        self.observer.stats.acknowledged_bytes += self.outbox.collect_acks(|reached, since| {
            lag.acknowledged(since);
            debug_assert!(
                files.alive(reached.file).is_none_or(|id| {
                    files.get(id).generation > reached.generation
                        || files.get(id).offset >= reached.offset
                }),
                "what was acknowledged was read"
            );
            if let Some(commits) = &mut commits {
                commits.ledger.acknowledge(reached);
            }
        });
    }
}
