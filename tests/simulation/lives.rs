//! Successive engines over the same world, state directory and output.
//!
//! In: a crash, or the time to stop. Out: a new engine made from the surviving state:
//! [`Store::open`], then the output is reconciled and offsets are loaded.
//! Always holds: a former engine has closed everything; a start fails only if a fault was planted
//! in it, and is tried again.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use manytail::testing::checkpoint::CommitError;
use manytail::testing::checkpoint::format::put;
use manytail::testing::checkpoint::reconcile::{Origin, Tail, reconcile};
use manytail::testing::checkpoint::stamp::{Stamp, Unexplained};
use manytail::testing::checkpoint::state::StoredOffsets;
use manytail::testing::checkpoint::store::{Store, look};
use manytail::testing::config::{
    Alphabet, CarriageReturn, EngineConfig, InputConfig, Routes, Template,
};
use manytail::testing::engine::{Engine, ResumeFrom, Turn};
use manytail::testing::sys::LinkRule;
use nix::errno::Errno;

use crate::committer::SimulatedCommitter;
use crate::covering::Covering;
use crate::disk::FakeDisk;
use crate::durability::Ending;
use crate::following::Input;
use crate::kernel::Kernel;
use crate::mutants::{LyingDisk, LyingSink, Mutant, Mutated};
use crate::receiver::SimulatedSink;
use crate::simulated::{Crashed, Settings, Simulated};
use crate::turning::Run;
use crate::world::Kind;

pub(crate) type SimulatedEngine = Engine<Mutated<Kernel>, LyingSink<SimulatedSink>>;

/// The most successive starts that may fail.
const STARTS_MAX: usize = 200;
/// The time between a failed start and the next one.
const START_PAUSE: Duration = Duration::from_millis(100);
/// The turns within which a stopped engine finishes; otherwise it is killed.
const TURNS_TO_STOP: usize = 20_000;
const TIME_TO_STOP: Duration = Duration::from_secs(5);
/// Entries of files that are gone are dropped after two looks, ten minutes apart.
const ENTRIES_DROPPED_WITHIN: Duration = Duration::from_secs(30 * 60);

/// Inputs as the engine gets them.
fn inputs_of(settings: &Settings, inputs: &[Input]) -> Vec<InputConfig> {
    let rule = if settings.splits { CarriageReturn::Split } else { CarriageReturn::Data };
    let multiline = || settings.multiline.clone();
    inputs.iter().map(|input| input.config(rule, multiline(), settings.ends)).collect()
}

pub(crate) fn config_of(settings: &Settings, inputs: &[Input]) -> EngineConfig {
    let following = settings.following.as_ref();
    EngineConfig {
        inputs: inputs_of(settings, inputs),
        recursive: following.is_none_or(|following| following.recursive),
        follow_links: following
            .is_some_and(|following| following.follow_links)
            .then_some(LinkRule::Owner),
        same_owner: false,
        format: settings.format,
        host: None,
        routes: settings
            .durability
            .as_ref()
            .is_some_and(|durability| durability.broker.is_some())
            .then(routes),
        once: settings.once,
        coalesce: settings.coalesce,
        line_bytes_max: settings.line_bytes_max,
        partial_after: settings.partial_after,
        rescan: settings.rescan,
        rescan_remote: settings.rescan_remote,
        ignore_older: following.and_then(|following| following.ignore_older),
    }
}

/// Where records go in a broker: everything to one topic.
fn routes() -> Routes {
    let template = |text, alphabet| Template::parse(text, alphabet).expect("it is one");
    Routes {
        destination: template("jobs", Alphabet::Name),
        key: template("{file}", Alphabet::Any),
        host: "node7".to_owned(),
    }
}

/// Runs a part of the engine's life. Returns its result, unless a crash came first.
pub(crate) fn unless_crashed<T>(part: impl FnOnce() -> T) -> Result<T, Crashed> {
    catch_unwind(AssertUnwindSafe(part)).map_err(|panic: Box<dyn Any + Send>| {
        match panic.downcast::<Crashed>() {
            Ok(_) => Crashed,
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// The output file, for [`reconcile`].
struct FileTail {
    shared: Rc<RefCell<Simulated>>,
    explained: Result<(), Unexplained>,
}

impl FileTail {
    fn call<T>(
        &self,
        make: impl FnOnce(&mut crate::output_file::OutputFile) -> T,
    ) -> io::Result<T> {
        let mut simulated = self.shared.borrow_mut();
        simulated.may_crash();
        let fault = simulated.faults.check(crate::faults::Call::ReadAt);
        if fault == Err(Errno::EIO) {
            return Err(Errno::EIO.into());
        }
        Ok(make(simulated.file_mut().expect("there is an output file")))
    }
}

impl Tail for FileTail {
    fn size(&mut self) -> io::Result<u64> {
        self.call(|file| file.bytes().len() as u64)
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(|file| file.read_at(buffer, offset))
    }

    fn set_aside(&mut self, _start: u64) -> io::Result<()> {
        assert_eq!(self.explained, Ok(()), "whatever is cut here was left by a crash");
        Ok(())
    }

    fn overwrite(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.call(|file| file.overwrite(bytes, offset))?;
        Ok(bytes.len())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.call(|file| file.cut(len))
    }
}

impl Run {
    /// Makes an engine; with a state directory, from its content.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        if self.shared.borrow().durability().is_none() {
            self.cover(None);
            self.engine = Some(self.new_engine());
            return Ok(());
        }
        for _ in 0..STARTS_MAX {
            self.shared.borrow_mut().starts();
            let faults = self.faults();
            match unless_crashed(|| self.try_to_start()) {
                Ok(Ok(engine)) => {
                    self.engine = Some(engine);
                    self.shared.borrow_mut().born();
                    return Ok(());
                }
                Ok(Err(why)) if self.faults() == faults => {
                    return Err(format!("the engine does not start again: {why}"));
                }
                Ok(Err(why)) => {
                    let mut simulated = self.shared.borrow_mut();
                    simulated.trace(|| format!("no start: {why}"));
                    simulated.world.time += START_PAUSE;
                }
                Err(Crashed) => self.died()?,
            }
        }
        Err("no start succeeds".to_owned())
    }

    fn faults(&self) -> u64 {
        let simulated = self.shared.borrow();
        simulated.platter.faults + simulated.faults.count
    }

    fn new_engine(&self) -> SimulatedEngine {
        let kernel = Mutated::new(
            Kernel::new(Rc::clone(&self.shared)),
            self.mutant,
            Rc::clone(&self.generations),
        );
        let sink =
            LyingSink::new(SimulatedSink::new(Rc::clone(&self.shared), self.start), self.mutant);
        let config = {
            let simulated = self.shared.borrow();
            let covering = simulated.workload.covering.as_ref();
            let inputs = covering.map_or_else(
                || vec![Input::plain(simulated.settings.paths.clone())],
                Covering::inputs,
            );
            config_of(&simulated.settings, &inputs)
        };
        let mut engine = Engine::new(config, kernel, sink, self.now());
        if let Some(bytes) = self.shared.borrow().settings.room {
            engine.limit_in_flight(bytes);
        }
        if let Some(steps) = self.shared.borrow().settings.steps {
            engine.limit_steps(steps);
        }
        if let Some(max) = self.shared.borrow().settings.open_max {
            engine.limit_open_files(max);
        }
        if let Some(bytes) = self.shared.borrow().settings.event_bytes {
            engine.limit_events(bytes);
        }
        engine
    }

    /// Sets what is followed from now on, at a start of the engine.
    fn cover(&self, state: Option<&StoredOffsets>) {
        let mut simulated = self.shared.borrow_mut();
        let Simulated { workload, world, model, .. } = &mut *simulated;
        if let Some(covering) = &mut workload.covering {
            covering.started(world, model, state);
        }
    }

    /// SIGHUP, with other settings.
    pub(crate) fn reload(&mut self) {
        let inputs = {
            let mut simulated = self.shared.borrow_mut();
            let Simulated { workload, world, model, .. } = &mut *simulated;
            let Some((covering, inputs)) = workload.covering.as_mut().and_then(|covering| {
                let inputs = covering.next_reload()?;
                Some((covering, inputs))
            }) else {
                return;
            };
            covering.reloaded(&inputs, world, model);
            model.disturb();
            simulated.trace(|| format!("    SIGHUP: {inputs:?}"));
            inputs_of(&simulated.settings, &inputs)
        };
        let now = self.now();
        self.engine().reload(inputs, now);
    }

    fn try_to_start(&self) -> Result<SimulatedEngine, String> {
        let disk = LyingDisk::new(FakeDisk::new(Rc::clone(&self.shared)), self.mutant);
        let (mut store, mut state) = Store::open(disk).map_err(|error| with_causes(&error))?;
        if self.shared.borrow().broker().is_some_and(|broker| broker.is_refusing()) {
            settle(&mut store, &mut state).map_err(|error| with_causes(&error))?;
            self.shared.borrow().broker().expect("just seen").renamed();
        }
        let told = state
            .entries()
            .map(|(entry, path)| format!("\n    {} {entry:?}", path.escape_ascii()))
            .collect::<String>();
        self.shared.borrow_mut().trace(|| format!("state: {:?}{told}", state.output()));
        self.shared.borrow_mut().open_file()?;
        let id = self.shared.borrow_mut().file_mut().map(|file| file.id());
        let mut reconciled = Vec::new();
        if let Some(point) = state.output().filter(|point| Some(point.id) == id)
            && self.mutant != Mutant::OutputPointIgnored
        {
            let stamp = self.shared.borrow_mut().file_mut().and_then(|file| file.stamp());
            // A journal that failed while it was opened has no last commit: everything that is cut
            // off then is set aside.
            let explained = store.stamp().map_or(Ok(()), |last| Stamp::explain(stamp, Some(last)));
            let tail = FileTail { shared: Rc::clone(&self.shared), explained };
            let done = reconcile(&mut { tail }, &point, Origin::Unknown, &mut state);
            let done = done.map_err(|error| format!("the output cannot be reconciled: {error}"))?;
            self.shared.borrow_mut().trace(|| format!("output: {done:?}"));
            reconciled = done.advanced;
        }
        self.shared.borrow_mut().file_reconciled()?;
        self.mutant.edit(&mut state, &self.sizes());
        if let Some(mut broker) = self.shared.borrow().broker() {
            broker.mutate(self.mutant);
        }
        self.cover(Some(&state));
        let journal = store.is_appendable().then(|| store.bytes());
        let interval = self.shared.borrow_mut().durability_mut().settings.interval;
        let committer = SimulatedCommitter::new(Rc::clone(&self.shared), store, self.mutant);
        let mut engine = self.new_engine();
        engine.keep_offsets(ResumeFrom {
            state,
            committer: Box::new(committer),
            journal,
            interval,
            reconciled,
        });
        Ok(engine)
    }

    /// For mutants: how large each file is.
    fn sizes(&self) -> HashMap<(u64, u32), u64> {
        let simulated = self.shared.borrow();
        let sizes = simulated.world.inodes.iter().map(|inode| {
            let size =
                if let Kind::File { content, .. } = &inode.kind { content.len() as u64 } else { 0 };
            ((inode.number, inode.inode_generation), size)
        });
        sizes.collect()
    }

    /// A crash ended the engine.
    fn died(&mut self) -> Result<(), String> {
        let ending = self.shared.borrow_mut().durability_mut().ending;
        self.ended(ending)
    }

    fn ended(&mut self, ending: Ending) -> Result<(), String> {
        drop(self.engine.take());
        let mut simulated = self.shared.borrow_mut();
        if let Some(why) = simulated.failure.take() {
            return Err(why);
        }
        simulated.died(ending)
    }

    /// A crash: the next life begins.
    pub(crate) fn crashed(&mut self) -> Result<(), String> {
        self.died()?;
        self.start()
    }

    /// Whether the engine gave up because the broker's client had to.
    pub(crate) fn is_refused(&self, why: &str) -> bool {
        why.starts_with("the engine gave up")
            && self.shared.borrow().broker().is_some_and(|broker| broker.has_given_up())
    }

    /// It did: the next life begins.
    pub(crate) fn refused(&mut self) -> Result<(), String> {
        if let Some(mut broker) = self.shared.borrow().broker() {
            broker.refused();
        }
        self.ended(Ending::Kill)?;
        self.start()
    }

    /// SIGTERM: turns until the engine finishes, or takes too long.
    pub(crate) fn stop_and_start(&mut self) -> Result<(), String> {
        self.shared.borrow_mut().trace(|| "SIGTERM".to_owned());
        let begun = self.shared.borrow().now();
        let disturbed = self.faults();
        self.engine().stop();
        for _ in 0..TURNS_TO_STOP {
            match self.turn_once()? {
                (Turn::Finished, _) => {
                    // What a former life left at the receiver was not asked for yet.
                    if !self.engine().awaits_receiver() {
                        self.check_stopped(disturbed)?;
                    }
                    break;
                }
                _ if self.shared.borrow().now() > begun + TIME_TO_STOP => break,
                _ => {}
            }
        }
        self.ended(Ending::Stop)?;
        self.start()
    }

    /// Checks that an engine that finished after a stop left nothing to be repeated.
    fn check_stopped(&self, faults: u64) -> Result<(), String> {
        let mut simulated = self.shared.borrow_mut();
        let covered = simulated.durability_mut().covered.records;
        let records = simulated.covered(None).records;
        let has_failed = simulated.durability_mut().has_failed;
        let is_doubtful = simulated.file_mut().is_some_and(|file| file.is_doubtful);
        let with_faults = has_failed || is_doubtful || simulated.platter.faults != faults;
        let is_uncovered = simulated.is_uncovered();
        if is_uncovered && !with_faults {
            return Err(format!(
                "the engine finished, but of {records} acknowledged records only {covered} are \
                committed"
            ));
        }
        Ok(())
    }

    /// Checks the end, when nothing fails any more: everything is committed, the journal's size is
    /// in proportion to its content, and another life begins with nothing to do.
    pub(crate) fn check_rest(&mut self, ending: Ending) -> Result<(), String> {
        if self.shared.borrow().durability().is_none() {
            return Ok(());
        }
        let (committed, records, is_uncovered) = {
            let mut simulated = self.shared.borrow_mut();
            let is_doubtful = simulated.file_mut().is_some_and(|file| file.is_doubtful);
            let (covered, is_uncovered) =
                (simulated.durability_mut().covered.records, simulated.is_uncovered());
            (covered, simulated.covered(None).records, is_uncovered && !is_doubtful)
        };
        if is_uncovered {
            return Err(format!(
                "at rest only {committed} of {records} acknowledged records are committed"
            ));
        }
        if ending == Ending::Stop {
            self.stop_and_start()
        } else {
            self.ended(ending).and_then(|()| self.start())
        }
    }

    /// Checks that entries of deleted files are dropped in the end.
    pub(crate) fn check_entries(&mut self) -> Result<(), String> {
        if self.shared.borrow().durability().is_none() {
            return Ok(());
        }
        self.wait_for(ENTRIES_DROPPED_WITHIN)?;
        let mut disk = FakeDisk::new(Rc::clone(&self.shared));
        let found = look(&mut disk).map_err(|error| with_causes(&error))?;
        let entries = found.as_ref().map_or(0, |found| found.state.len());
        let simulated = self.shared.borrow();
        let files = simulated.files().len();
        if entries > files {
            let state = found.map(|found| found.state).unwrap_or_default();
            return Err(format!(
                "{entries} entries in the journal, but there are only {files} files:{}",
                self.strangers(&state)
            ));
        }
        Ok(())
    }

    /// Entries of files that are not there.
    fn strangers(&self, state: &StoredOffsets) -> String {
        let simulated = self.shared.borrow();
        let live: Vec<(u64, u32)> =
            simulated.files().iter().map(|&key| simulated.world.inodes[key].identity()).collect();
        let strangers = state
            .entries()
            .filter(|(entry, _)| !live.contains(&(entry.id.inode, entry.id.inode_generation)));
        strangers.map(|(entry, path)| format!("\n    {} {entry:?}", path.escape_ascii())).collect()
    }
}

/// `manytail offsets settle`.
fn settle(
    store: &mut Store<LyingDisk<FakeDisk>>,
    state: &mut StoredOffsets,
) -> Result<(), CommitError> {
    let mut payload = Vec::new();
    state.part_with_output();
    state.items().for_each(|item| put(&item, &mut payload));
    store.begin(&[])?;
    store.complete(&payload)
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text += &format!(": {deeper}");
        cause = deeper.source();
    }
    text
}
