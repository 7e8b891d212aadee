//! The loop around the engine: edges of an edge-triggered poll, virtual time, and the checks at
//! rest.
//!
//! In: a seed, perhaps a [`Mutant`]. Out: a [`Report`], or the first property that does not hold.
//! Always holds: the engine learns of events only if some were queued since the last poll; time
//! passes only while it waits, and jumps to the next deadline or the next step of another process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use manytail::testing::config::Format;
use manytail::testing::engine::{EngineError, Turn};
use manytail::testing::sys::clock::{self, Now};

use crate::covering::{Counts, Covering, homes};
use crate::durability::{Durability, Ending};
use crate::faults::Rates;
use crate::kernel::wall;
use crate::lives::{SimulatedEngine, unless_crashed, with_causes};
use crate::mutants::{Generations, Mutant};
use crate::output_file::OutputFile;
use crate::random::Random;
use crate::simulated::{Settings, Simulated};
use crate::workload::OUTSIDE;

use crate::world::Key;
use crate::writers::{directories_below, names_below};

/// This many successive turns without any call are a busy loop ...
const IDLE_TURNS_MAX: u32 = 100;
/// ... unless what is below a renamed directory is updated in small steps: this often for each file
/// and directory, because it may be renamed again meanwhile.
const UPDATES_MAX: usize = 4;
/// This many turns of a whole run are a busy loop.
const TURNS_MAX: u64 = 1_000_000;
/// Turns from the last change of the world to rest: far more than any backlog here needs, far fewer
/// than a busy loop makes.
const TURNS_TO_REST_MAX: u64 = 200_000;
/// Virtual time within which everything is read once the world is quiet and there is no sweep: the
/// longest pause after a failure, and the memory of files that left.
const REST_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Sweeps within which everything is read that no event reports.
const SWEEPS_TO_REST: u32 = 4;

/// Counts of what a run did, for tests that check that seeds do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) turns: u64,
    pub(crate) records: u64,
    pub(crate) overflows: u64,
    pub(crate) faults: u64,
    pub(crate) restarts: u64,
    pub(crate) rotations_checked: u64,
    pub(crate) commits: u64,
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    pub(crate) stops: u64,
    pub(crate) repeats: u64,
    pub(crate) disk_faults: u64,
    /// Lives whose output was a broker, and how often such an output had to recover.
    pub(crate) brokers: u64,
    pub(crate) recoveries: u64,
    /// How often a process with a copy of the state directory committed.
    pub(crate) twins: u64,
    /// Excused identities, see [`crate::model::Model`].
    pub(crate) renamed_unknown: u64,
    pub(crate) output_rotations: u64,
    /// Stories whose first record was after their start, because of settings; because of their age.
    pub(crate) begun_at_end: u64,
    pub(crate) begun_old: u64,
    /// Looks that recognized a file by its inode's age.
    pub(crate) known_lives: u64,
    pub(crate) left_out: u64,
    pub(crate) lives: Counts,
    pub(crate) digest: u64,
}

/// One simulation, from the first scan to rest.
pub(crate) struct Run {
    pub(crate) shared: Rc<RefCell<Simulated>>,
    /// `None`: it is down.
    pub(crate) engine: Option<SimulatedEngine>,
    pub(crate) start: Instant,
    pub(crate) mutant: Mutant,
    /// For a mutant.
    pub(crate) generations: Generations,
    random: Random,
    /// A separate stream, for reloads and for the pressure.
    reloads: Random,
    loads: Random,
    idle_turns: u32,
}

/// What ended a wait.
pub(crate) enum Woken {
    Yes,
    /// Nothing will ever happen again.
    Never,
    /// The engine read all there is (`--once`).
    Finished,
}

/// The settings of a seed, without what the environment removes: `WITHOUT="short_read Chmod"
/// OPERATIONS=20`.
pub(crate) fn settings(seed: u64) -> Settings {
    let mut settings = Settings::draw(&mut Random::new(seed));
    settings.draw_durability(&mut Random::new(seed ^ 0xD0_0B1E));
    settings.draw_remote(&mut Random::new(seed ^ 0x4E_F5));
    settings.draw_room(&mut Random::new(seed ^ 0x40_07));
    settings.draw_steps(&mut Random::new(seed ^ 0x57_E9));
    settings.draw_promptness(&mut Random::new(seed ^ 0x4E_E9));
    settings.draw_events(&mut Random::new(seed ^ 0xE7_E4));
    settings.habits.draw_lures(&mut Random::new(seed ^ 0x10_4E));
    settings.draw_following(&mut Random::new(seed ^ 0xF0_110));
    settings.draw_splits(&mut Random::new(seed ^ 0xC4_0D));
    settings.draw_multiline(&mut Random::new(seed ^ 0x3_11E5));
    settings.draw_ends(&mut Random::new(seed ^ 0xE4_D5));
    let format = settings.format;
    if let Some(durability) = &mut settings.durability {
        durability.draw_broker(&mut Random::new(seed ^ 0xB40_4E5), format);
    }
    for what in std::env::var("WITHOUT").unwrap_or_default().split_whitespace() {
        settings.leave_out(what);
    }
    if let Some(operations) = std::env::var("OPERATIONS").ok().and_then(|text| text.parse().ok()) {
        settings.habits.operations = operations;
    }
    settings
}

pub(crate) fn run(
    seed: u64,
    settings: Settings,
    mutant: Mutant,
    verbose: bool,
) -> Result<Report, String> {
    Run::new(seed, settings, mutant, verbose)?.finish()
}

/// `--once` over a tree that does not change: all of it is delivered, unfinished lines as well, and
/// the engine finishes.
pub(crate) fn run_once(seed: u64) -> Result<(), String> {
    let mut settings = Settings::draw(&mut Random::new(seed));
    settings.format = Format::Json;
    settings.once = true;
    settings.draw_multiline(&mut Random::new(seed ^ 0x3_11E5));
    // For the model: what is unfinished is due.
    settings.partial_after = Some(Duration::ZERO);
    if let Some(rules) = &mut settings.multiline {
        rules.after = Some(Duration::ZERO);
    }
    settings.habits.operations = 0;
    settings.rates = Rates {
        interrupted: settings.rates.interrupted,
        unknown_kind: settings.rates.unknown_kind,
        ..Rates::default()
    };
    let mut run = Run::new(seed, settings, Mutant::None, false)?;
    for _ in 0..TURNS_TO_REST_MAX {
        match run.turn()? {
            Woken::Yes => {}
            Woken::Never => return Err("the engine waits for ever instead of finishing".to_owned()),
            Woken::Finished => return run.check_contents(&run.shared.borrow(), false),
        }
    }
    Err("no end".to_owned())
}

impl Run {
    pub(crate) fn new(
        seed: u64,
        settings: Settings,
        mutant: Mutant,
        verbose: bool,
    ) -> Result<Self, String> {
        let mut simulated = Simulated::new(seed, settings, verbose);
        simulated.trace(|| format!("seed {seed}"));
        let text = format!("{:#?}", simulated.settings);
        simulated.trace(|| text);
        simulated.prepare();
        let mut run = Run {
            shared: Rc::new(RefCell::new(simulated)),
            engine: None,
            start: clock::now().instant,
            mutant,
            generations: Generations::default(),
            random: Random::new(seed ^ 0xABCD),
            reloads: Random::new(seed ^ 0x5163),
            loads: Random::new(seed ^ 0x10AD),
            idle_turns: 0,
        };
        run.start()?;
        Ok(run)
    }

    /// Lets the world run to its end, then checks that everything readable is delivered and the
    /// engine comes to rest; then once more, with one more line in every file.
    pub(crate) fn finish(mut self) -> Result<Report, String> {
        let outcome = self.finished();
        if let (Err(why), Some(_), true) = (&outcome, &self.engine, self.is_verbose()) {
            self.explain(why);
        }
        outcome
    }

    fn finished(&mut self) -> Result<Report, String> {
        while self.shared.borrow().workload.has_more() {
            self.turn()?;
            if self.shared.borrow().turns > TURNS_MAX {
                return Err(format!("a busy loop: {TURNS_MAX} turns and no end"));
            }
        }
        self.shared.borrow_mut().quieten();
        self.rest("the world went quiet")?;
        self.rested(true);
        self.check("the world went quiet", false)?;
        // Once more from the start: nothing is repeated.
        let ending = *self.random.pick(&[Ending::Kill, Ending::Power, Ending::Stop]);
        let (records, is_doubtful) = {
            let simulated = self.shared.borrow();
            (
                simulated.model.records(),
                simulated.file.as_ref().is_some_and(|file| file.is_doubtful),
            )
        };
        self.check_rest(ending)?;
        self.rest("the engine began again")?;
        self.rested(true);
        self.check("the engine began again", false)?;
        let again = self.shared.borrow().model.records();
        if again != records && !is_doubtful && self.shared.borrow().durability().is_some() {
            return Err(format!(
                "{records} records at rest were {again} after the engine began again"
            ));
        }
        self.shared.borrow_mut().canaries();
        self.rest("each file got one more line")?;
        self.rested(true);
        self.check("each file got one more line", true)?;
        self.check_entries()?;
        self.take_leave()?;
        let mut simulated = self.shared.borrow_mut();
        simulated.model.check_order()?;
        simulated.model.check_identities()?;
        let durability = simulated.durability();
        let covering = simulated.workload.covering.as_ref();
        let count = |of: fn(&Durability) -> u64| durability.map_or(0, of);
        Ok(Report {
            commits: count(|durability| durability.commits),
            kills: count(|durability| durability.kills),
            power_cuts: count(|durability| durability.power_cuts),
            stops: count(|durability| durability.stops),
            repeats: simulated.model.repeats,
            renamed_unknown: simulated.model.renamed_unknown,
            disk_faults: simulated.platter.faults,
            output_rotations: simulated.file.as_ref().map_or(0, |file| file.rotations),
            turns: simulated.turns,
            records: simulated.model.records(),
            overflows: simulated.world.queue.overflows,
            faults: simulated.faults.count,
            restarts: simulated.output.restarts,
            rotations_checked: simulated.model.rotations_checked,
            begun_at_end: simulated.model.begun_at_end,
            begun_old: simulated.model.begun_old,
            known_lives: simulated.known_lives,
            left_out: covering.map_or(0, |covering| covering.left_out(&simulated.world)),
            lives: covering.map_or_else(Counts::default, |covering| covering.counts),
            brokers: u64::from(simulated.broker.is_some()),
            recoveries: simulated.broker().map_or(0, |broker| broker.common.recoveries),
            twins: simulated.broker().map_or(0, |broker| broker.common.twins),
            digest: simulated.digest,
        })
    }

    pub(crate) fn now(&self) -> Now {
        let time = self.shared.borrow().now();
        Now { instant: self.start + time, wall: wall(time) }
    }

    pub(crate) fn engine(&mut self) -> &mut SimulatedEngine {
        self.engine.as_mut().expect("the engine runs")
    }

    /// One turn, and the loop's work after it; after a crash, a new engine instead.
    fn turn(&mut self) -> Result<Woken, String> {
        match self.turn_or_end() {
            Err(why) if self.is_refused(&why) => self.refused().map(|()| Woken::Yes),
            outcome => outcome,
        }
    }

    fn turn_or_end(&mut self) -> Result<Woken, String> {
        if self.shared.borrow().durability().is_some_and(Durability::is_stop_due) {
            return self.stop_and_start().map(|()| Woken::Yes);
        }
        match unless_crashed(|| self.turn_once()) {
            Ok(Ok((Turn::Finished, _))) if !self.shared.borrow().settings.once => {
                Err("the engine finished by itself".to_owned())
            }
            Ok(outcome) => outcome.map(|(_, woken)| woken),
            Err(_) => self.crashed().map(|()| Woken::Yes),
        }
    }

    /// One turn, and the loop's work after it.
    pub(crate) fn turn_once(&mut self) -> Result<(Turn, Woken), String> {
        self.poll();
        let calls = {
            let mut simulated = self.shared.borrow_mut();
            simulated.turn_begins();
            let (turn, time) = (simulated.turns, simulated.now());
            simulated.trace(|| format!("turn {turn} at {time:?}"));
            simulated.calls
        };
        self.rotate_output()?;
        self.reload_settings();
        let now = self.now();
        if self.shared.borrow().settings.is_pressure_changing {
            let pressure = *self.loads.pick(&[0.0, 0.0, 0.3, 1.0]);
            self.engine().set_pressure(pressure);
        }
        let turn = match self.engine().turn(now) {
            // A single pass over a tree without some of the PATHs.
            Err(EngineError::NotRead(_)) => Turn::Finished,
            turn => turn.map_err(|error| format!("the engine gave up: {}", with_causes(&error)))?,
        };
        self.engine().check()?;
        let ended = self.now().instant;
        self.engine().turn_ended(now.instant, ended);
        let mut simulated = self.shared.borrow_mut();
        simulated.turn_ended();
        simulated.trace(|| format!("    {turn:?}"));
        if let Some(why) = simulated.failure.take() {
            return Err(why);
        }
        simulated.check_commits()?;
        self.idle_turns =
            if simulated.calls == calls && turn == Turn::Again { self.idle_turns + 1 } else { 0 };
        let updates = UPDATES_MAX * simulated.world.inodes.len();
        let updating = simulated.settings.steps.map_or(0, |steps| updates / steps) as u32;
        drop(simulated);
        let woken = match turn {
            Turn::Again if self.idle_turns > IDLE_TURNS_MAX + updating => {
                return Err("a busy loop: turn after turn without a single call".to_owned());
            }
            Turn::Again => {
                self.others();
                Woken::Yes
            }
            Turn::WaitUntil(deadline) => {
                self.rested(false);
                self.wait(Some(deadline.saturating_duration_since(self.start)))?
            }
            Turn::WaitForEvents => {
                self.rested(false);
                self.wait(None)?
            }
            Turn::Finished => Woken::Finished,
        };
        Ok((turn, woken))
    }

    /// logrotate: renames the output, then SIGHUP.
    fn rotate_output(&mut self) -> Result<(), String> {
        let mut simulated = self.shared.borrow_mut();
        let rotates = simulated.file_mut().is_some_and(OutputFile::rotates);
        if !rotates {
            return Ok(());
        }
        simulated.file_mut().expect("just seen").rename_aside();
        simulated.trace(|| "    the output is renamed; SIGHUP".to_owned());
        drop(simulated);
        let now = self.now();
        self.engine().reopen_output(now).map_err(|error| format!("the engine gave up: {error}"))
    }

    /// Sometimes a SIGHUP with other settings.
    fn reload_settings(&mut self) {
        let rate = self.shared.borrow().workload.covering.as_ref().map_or(0, Covering::reload_rate);
        let is_due =
            rate > 0 && self.shared.borrow().workload.has_more() && self.reloads.one_in(rate);
        if is_due {
            self.reload();
        }
    }

    /// The engine waits: it has examined everything that it could see, unless it looks at nothing
    /// before the receiver has answered.
    fn rested(&self, is_sure: bool) {
        if self.engine.as_ref().is_some_and(|engine| engine.awaits_receiver()) {
            return;
        }
        let mut simulated = self.shared.borrow_mut();
        let is_sure =
            is_sure || (!simulated.settings.is_lenient() && simulated.world.queue.len() == 0);
        let Simulated { workload, world, model, .. } = &mut *simulated;
        if let Some(covering) = &mut workload.covering {
            let is_readable = world.inodes.iter().all(|inode| inode.readable || inode.links == 0);
            covering.rested(world, model, is_sure && is_readable);
        }
    }

    /// Turns for this long.
    pub(crate) fn wait_for(&mut self, time: Duration) -> Result<(), String> {
        let until = self.shared.borrow().now() + time;
        while self.shared.borrow().now() < until {
            if matches!(self.turn()?, Woken::Never) {
                break;
            }
        }
        Ok(())
    }

    /// Other processes also run between two turns.
    fn others(&mut self) {
        let mut simulated = self.shared.borrow_mut();
        while simulated.workload.is_running() && self.random.one_in(3) {
            simulated.step();
        }
    }

    /// `epoll_wait(2)` without waiting: reports events to the engine if there is an edge.
    pub(crate) fn poll(&mut self) -> bool {
        let edge = self.shared.borrow_mut().world.queue.take_edge();
        let told = edge && !(self.mutant == Mutant::WakeUpLost && self.random.one_in(4));
        if told {
            self.engine().events_ready();
        }
        told
    }

    /// Waits as the loop does; other processes run meanwhile.
    fn wait(&mut self, deadline: Option<Duration>) -> Result<Woken, String> {
        self.others();
        loop {
            if self.shared.borrow().world.queue.has_edge() {
                return Ok(Woken::Yes);
            }
            let mut simulated = self.shared.borrow_mut();
            let now = simulated.now();
            let step = simulated.workload.due();
            let edge = match simulated.broker() {
                Some(broker) => broker.edge_at(),
                None => simulated.output.edge_at(),
            };
            let job = simulated.durability().and_then(|durability| durability.job_due);
            let job =
                job.filter(|_| !(self.mutant == Mutant::JobForgotten && self.random.one_in(4)));
            let Some(next) = [step, edge, job, deadline].into_iter().flatten().min() else {
                return Ok(Woken::Never);
            };
            simulated.world.time = now.max(next);
            if edge == Some(next) {
                simulated.output.edge_told();
                if let Some(mut broker) = simulated.broker() {
                    broker.edge_told();
                }
                drop(simulated);
                let now = self.now();
                self.engine().output_ready(now);
                return Ok(Woken::Yes);
            }
            if step == Some(next) {
                simulated.workload.settled();
                simulated.step();
                continue;
            }
            return Ok(Woken::Yes);
        }
    }

    /// Turns until nothing is missing and only sweeps remain. No other process runs any more.
    pub(crate) fn rest(&mut self, since: &str) -> Result<(), String> {
        let (begun, turns, rescan) = {
            let simulated = self.shared.borrow();
            (simulated.now(), simulated.turns, simulated.settings.sweep())
        };
        let within = rescan.map_or(REST_WITHIN, |rescan| rescan * SWEEPS_TO_REST + REST_WITHIN);
        loop {
            if matches!(self.turn()?, Woken::Never) {
                return Ok(());
            }
            let simulated = self.shared.borrow();
            if simulated.now() > begun + within {
                return Ok(());
            }
            if simulated.turns - turns > TURNS_TO_REST_MAX {
                let time = simulated.now() - begun;
                return Err(format!(
                    "a busy loop: after {since}, {TURNS_TO_REST_MAX} turns within {time:?} and no \
                    rest"
                ));
            }
        }
    }

    fn is_verbose(&self) -> bool {
        self.shared.borrow().verbose
    }

    /// What the engine says of the files that a failure names, for a replay.
    fn explain(&mut self, why: &str) {
        let paths: Vec<Vec<u8>> =
            self.shared.borrow().due().into_iter().map(|(path, ..)| path).collect();
        let now = self.now();
        for path in paths.iter().filter(|path| why.contains(&path.escape_ascii().to_string())) {
            let status = self.engine().explain(path, now);
            self.shared.borrow_mut().trace(|| format!("{}: {status:?}", path.escape_ascii()));
        }
    }

    /// Checks that everything readable was delivered, under a name that its file has.
    fn check_contents(&self, simulated: &Simulated, with_paths: bool) -> Result<(), String> {
        let files = simulated.due();
        for (path, key, story) in &files {
            let no_end = || simulated.model.without_end(*story);
            if let Some(why) = simulated.model.missing(*story).or_else(no_end) {
                return Err(format!("{}: {why}", path.escape_ascii()));
            }
            let is_name =
                |told: &[u8]| files.iter().any(|(path, other, _)| other == key && path == told);
            if let Some(told) = simulated.model.path_last(*story)
                && with_paths
                && !is_name(told)
            {
                return Err(format!(
                    "the last line of {} was said to be of {}",
                    path.escape_ascii(),
                    told.escape_ascii()
                ));
            }
        }
        Ok(())
    }

    /// Checks the properties at rest.
    fn check(&self, since: &str, with_paths: bool) -> Result<(), String> {
        let simulated = self.shared.borrow();
        let world = &simulated.world;
        let fail = |why: String| Err(format!("after {since}: {why}"));
        self.check_contents(&simulated, with_paths).or_else(fail)?;
        let is_settled = if let Some(broker) = simulated.broker() {
            broker.is_settled()
        } else if let Some(file) = &simulated.file {
            file.is_settled()
        } else {
            simulated.output.is_settled()
        };
        if !is_settled {
            return fail(
                "the output ends in the middle of a record, or repeats are due".to_owned(),
            );
        }
        if world.queue.len() > 0 {
            return fail(format!("{} events wait in the kernel's queue", world.queue.len()));
        }
        // A sweep in progress opens one directory at a time.
        let listings_max = usize::from(simulated.settings.rescan.is_some())
            + usize::from(simulated.settings.rescan_remote.is_some());
        if world.open_files > listings_max {
            let open: Vec<u64> = world
                .inodes
                .iter()
                .filter(|inode| inode.open > 0)
                .map(|inode| inode.number)
                .collect();
            return fail(format!(
                "{} files or listings are open at rest: {open:?}",
                world.open_files
            ));
        }
        check_watches(&simulated).and_then(|()| self.check_sizes(&simulated)).or_else(fail)
    }
}

impl Run {
    /// Checks that the engine's memory is in proportion to the files.
    fn check_sizes(&self, simulated: &Simulated) -> Result<(), String> {
        let (world, roots) = (&simulated.world, &simulated.settings.paths);
        let sizes = self.engine.as_ref().expect("it runs").sizes();
        let names = names_below(world, roots).len();
        // Targets of links outside the tree have their own directory, and a name until it is known
        // to be gone.
        let outside = names_below(world, &[OUTSIDE.to_vec()]).len();
        let links = simulated
            .settings
            .following
            .as_ref()
            .map_or(0, |following| if following.follow_links { names + outside } else { 0 });
        let names = names + links;
        let directories = directories_below(world, roots).len() + links;
        // Each PATH may be a directory or a name of its own, in a directory of its own.
        if sizes.files > names + roots.len() || sizes.directories > directories + 2 * roots.len() {
            return Err(format!(
                "{sizes:?}, but there are only {names} names and {directories} directories"
            ));
        }
        let mut notices = self.engine.as_ref().expect("it runs").notices();
        if notices.any(|(cause, told)| {
            cause == "written_before_offset" && told.said + told.suppressed > 0
        }) {
            return Err("a file was said to be written before its offset".to_owned());
        }
        let (watches, counted) =
            (world.queue.watched().count(), sizes.watches + sizes.further_watches);
        // An overflow may have hidden the end of a deleted directory's watch, and the kernel cannot
        // be asked without ending the watch.
        if watches > counted || watches + sizes.doubtful_watches < counted {
            return Err(format!("{sizes:?}, but there are {watches} watches"));
        }
        Ok(())
    }
}

/// The same where not everything is followed. Directories above the PATHs and those of links'
/// targets may have a watch.
fn check_selected_watches(simulated: &Simulated, covering: &Covering) -> Result<(), String> {
    let world = &simulated.world;
    let followed = if covering.settings().follow_links { homes(world) } else { HashMap::new() };
    let roots = covering.inputs().into_iter().flat_map(|input| input.paths).collect::<Vec<_>>();
    let watched: Vec<Key> = world.queue.watched().collect();
    for &key in &watched {
        let path = world.path_of_directory(key);
        let is_above = roots.iter().any(|root| root.starts_with(&path));
        if !is_above
            && !covering.reach.directories.contains(&key)
            && !covering.reach.directories_perhaps.contains(&key)
            && !followed.contains_key(&key)
        {
            return Err(format!(
                "a watch stays on {}, which is not in the tree",
                path.escape_ascii()
            ));
        }
    }
    let unlimited = simulated.settings.watches_max.is_none();
    match covering.reach.directories.iter().find(|key| unlimited && !watched.contains(key)) {
        Some(&key) => Err(format!("{} has no watch", world.path_of_directory(key).escape_ascii())),
        None => Ok(()),
    }
}

/// Checks that no watch outlives its place in the tree, and that every directory has one if watches
/// were available.
fn check_watches(simulated: &Simulated) -> Result<(), String> {
    let (world, roots) = (&simulated.world, &simulated.settings.paths);
    if let Some(covering) = &simulated.workload.covering {
        return check_selected_watches(simulated, covering);
    }
    let inside: Vec<Vec<u8>> =
        directories_below(world, roots).into_iter().chain(roots.clone()).collect();
    for key in world.queue.watched() {
        let path = world.path_of_directory(key);
        let is_above = roots.iter().any(|root| root.starts_with(&path));
        if !is_above && !inside.contains(&path) {
            return Err(format!(
                "a watch stays on {}, which is not in the tree",
                path.escape_ascii()
            ));
        }
    }
    let unlimited = simulated.settings.watches_max.is_none();
    let watched: Vec<Key> = world.queue.watched().collect();
    match inside.iter().find(|path| {
        unlimited
            && world.find(path).is_ok_and(|key| world.is_directory(key) && !watched.contains(&key))
    }) {
        Some(path) => Err(format!("{} has no watch", path.escape_ascii())),
        None => Ok(()),
    }
}
