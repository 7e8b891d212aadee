//! The parts of one simulation, shared by the kernel, the receiver and the loop.
//!
//! In: a seed. Out: [`Settings`] drawn from it, and the parts put together.
//! Always holds: other processes run only through [`Simulated::step`], one small step at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use manytail::testing::config::{EndRules, Format, RecordRule, RecordRules};

use crate::broker::Broker;
use crate::covering::Covering;
use crate::disk::Platter;
use crate::durability::{Covered, Durability, DurabilitySettings, Ending};
use crate::faults::{Faults, Rates};
use crate::following::Following;
use crate::model::{Model, StoryKey, Survivors};
use crate::output_file::{Before, OutputFile};
use crate::random::Random;
use crate::receiver::{Output, OutputSettings};
use crate::workload::{Habits, Moment, Workload};
use crate::world::{Key, Kind, World};
use crate::writers::files_below;

/// Far more than the budgets of a turn allow.
const CALLS_PER_TURN_MAX: u64 = 1_000_000;

/// The settings that a seed determines.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) paths: Vec<Vec<u8>>,
    pub(crate) format: Format,
    pub(crate) coalesce: Duration,
    pub(crate) line_bytes_max: usize,
    pub(crate) partial_after: Option<Duration>,
    pub(crate) once: bool,
    pub(crate) rescan: Option<Duration>,
    pub(crate) rescan_remote: Option<Duration>,
    /// Another machine appends: one event in this many is reported; 0: all.
    pub(crate) unheard: u32,
    pub(crate) events_max: usize,
    pub(crate) watches_max: Option<usize>,
    pub(crate) rates: Rates,
    /// One in this many calls of the engine lets other processes run; 0 = none.
    pub(crate) interleave: u32,
    pub(crate) entries_at_once: usize,
    pub(crate) habits: Habits,
    pub(crate) output: OutputSettings,
    /// With a state directory.
    pub(crate) durability: Option<DurabilitySettings>,
    /// How many bytes may wait for the output before reading stops, if fewer than usual.
    pub(crate) room: Option<usize>,
    /// How many files and directories a turn handles after a directory was renamed or dropped, if
    /// fewer than usual.
    pub(crate) steps: Option<usize>,
    /// How many files may be open besides the one being read, if not as usual.
    pub(crate) open_max: Option<usize>,
    /// How many bytes of events a turn takes, if fewer than usual.
    pub(crate) event_bytes: Option<usize>,
    /// The part of the cooling time that is used changes from turn to turn.
    pub(crate) is_pressure_changing: bool,
    /// Not everything below the PATHs is followed, or not from its start, or more than that.
    pub(crate) following: Option<Following>,
    /// Carriage returns end records.
    pub(crate) splits: bool,
    /// Which lines make one record. Every open record rests for that long in the end.
    pub(crate) multiline: Option<RecordRules>,
    /// When records tell that a log is over. Every log rests for that long in the end.
    pub(crate) ends: EndRules,
}

impl Settings {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let format =
            *random.pick(&[Format::Json, Format::Json, Format::Json, Format::Text, Format::Raw]);
        let json = format == Format::Json;
        let seconds = |count| Some(Duration::from_secs(count));
        let rescan = *random.pick(&[None, None, seconds(300), seconds(20)]);
        let partial_after = *random.pick(&[
            None,
            None,
            Some(Duration::from_secs(30)),
            Some(Duration::from_millis(200)),
        ]);
        let with_faults = random.one_in(2);
        let mut rate = |times: u32| if with_faults && random.one_in(3) { times } else { 0 };
        let rates = Rates {
            interrupted: rate(40),
            descriptors: rate(60),
            input_output: rate(60),
            refused: if rescan.is_some() { rate(60) } else { 0 },
            // On a local disk a short read means the end; elsewhere the sweep finds the rest.
            short_read: if rescan.is_some() { rate(4) } else { 0 },
            no_watch: rate(3),
            unknown_kind: *random.pick(&[0, 0, 1, 3]),
        };
        Settings {
            paths: random
                .pick(&[
                    vec!["/t"],
                    vec!["/t"],
                    vec!["/t"],
                    vec!["/t", "/t/d0"],
                    vec!["/t", "/u"],
                    vec!["/t/d0", "/t"],
                    vec!["/t/a.log", "/t"],
                    vec!["/t/a.log", "/u"],
                ])
                .iter()
                .map(|path| path.as_bytes().to_vec())
                .collect(),
            format,
            coalesce: *random.pick(&[
                Duration::ZERO,
                Duration::from_millis(10),
                Duration::from_millis(10),
                Duration::from_secs(1),
            ]),
            line_bytes_max: if json { *random.pick(&[1 << 20, 1 << 20, 64, 300]) } else { 1 << 20 },
            partial_after: partial_after.filter(|_| json),
            once: false,
            rescan,
            rescan_remote: None,
            unheard: 0,
            events_max: *random.pick(&[8, 20, 60, 200, 16384, 16384]),
            watches_max: random.one_in(10).then(|| random.between(1, 8)),
            rates,
            interleave: *random.pick(&[0, 100, 20, 5, 2]),
            entries_at_once: *random.pick(&[1, 3, 10, 1000]),
            habits: Habits::draw(random, json, rescan.is_some()),
            output: OutputSettings::draw(random),
            durability: None,
            room: None,
            steps: None,
            open_max: None,
            event_bytes: None,
            is_pressure_changing: false,
            following: None,
            splits: false,
            multiline: None,
            ends: EndRules::default(),
        }
    }

    /// Half of all runs have a state directory. It is drawn separately, so that the rest of a run
    /// is the same with and without it.
    pub(crate) fn draw_durability(&mut self, random: &mut Random) {
        self.durability = random.one_in(2).then(|| DurabilitySettings::draw(random));
    }

    /// A quarter of all runs follow a network file system that other machines append to. Also drawn
    /// separately.
    pub(crate) fn draw_remote(&mut self, random: &mut Random) {
        if random.one_in(4) {
            self.rescan_remote =
                Some(*random.pick(&[Duration::from_secs(5), Duration::from_secs(40)]));
            self.unheard = *random.pick(&[2, 10, u32::MAX]);
        }
    }

    /// In a quarter of all runs little fits between the files and the output. Also drawn
    /// separately.
    pub(crate) fn draw_room(&mut self, random: &mut Random) {
        self.room =
            random.one_in(4).then(|| self.output.room(*random.pick(&[1, 300, 5_000, 100_000])));
    }

    /// In half of all runs a few files below a directory count as many. Also drawn separately.
    pub(crate) fn draw_steps(&mut self, random: &mut Random) {
        self.steps = random.one_in(2).then(|| *random.pick(&[1, 2, 5]));
    }

    /// In half of all runs fewer files stay open than usual, or none; in half the load changes.
    /// Also drawn separately.
    pub(crate) fn draw_promptness(&mut self, random: &mut Random) {
        self.open_max = random.one_in(2).then(|| *random.pick(&[0, 1, 3]));
        self.is_pressure_changing = random.one_in(2);
    }

    /// In half of all runs the kernel's queue is longer than a turn takes, at times for many turns.
    /// Also drawn separately.
    pub(crate) fn draw_events(&mut self, random: &mut Random) {
        self.event_bytes = random.one_in(2).then(|| *random.pick(&[1, 300, 400]));
    }

    /// Half of all runs exclude something, follow several inputs, get other inputs while they run,
    /// or start elsewhere. Also drawn separately.
    pub(crate) fn draw_following(&mut self, random: &mut Random) {
        if random.one_in(2) {
            let following = Following::draw(random, &self.paths, self.format == Format::Json);
            for path in following.all_paths() {
                if !self.paths.contains(path) {
                    self.paths.push(path.clone());
                }
            }
            self.following = Some(following);
        }
    }

    /// In a third of the runs with json, carriage returns end records. Also drawn separately.
    pub(crate) fn draw_splits(&mut self, random: &mut Random) {
        self.splits = self.format == Format::Json && random.one_in(3);
        self.habits.returns = self.splits;
    }

    /// In a third of the other runs with json, several lines make one record. Also drawn
    /// separately.
    pub(crate) fn draw_multiline(&mut self, random: &mut Random) {
        if self.format == Format::Json && !self.splits && random.one_in(3) {
            // Lines are numbered, and most have some letters at their end.
            let rules = [r"start=l\d*[02468]", r"next=l\d*[13579]", "end=[a-g]$"];
            let rule = RecordRule::parse(random.pick::<&str>(&rules)).expect("it is a rule");
            let after = *random.pick(&[Duration::from_millis(10), Duration::from_secs(1)]);
            self.multiline = Some(RecordRules { rule, after: Some(after) });
        }
    }

    /// In a third of the runs with json, the ends of logs are told. Also drawn separately.
    pub(crate) fn draw_ends(&mut self, random: &mut Random) {
        if self.format == Format::Json && random.one_in(3) {
            let closed = [None, Some(Duration::from_millis(10)), Some(Duration::from_secs(1))];
            let idle = [Duration::from_millis(100), Duration::from_secs(60)];
            self.ends = EndRules { closed: *random.pick(&closed), idle: Some(*random.pick(&idle)) };
        }
    }

    /// Whether faults or limits may delay a first look.
    pub(crate) fn is_lenient(&self) -> bool {
        let Rates { interrupted, descriptors, input_output, refused, no_watch, .. } = self.rates;
        [interrupted, descriptors, input_output, refused, no_watch, self.unheard]
            .iter()
            .any(|&rate| rate > 0)
            || self.watches_max.is_some()
    }

    /// How often the sweep checks every file; `None`: never.
    pub(crate) fn sweep(&self) -> Option<Duration> {
        self.rescan_remote.into_iter().chain(self.rescan).min()
    }
}

/// The names for [`Settings::leave_out`] besides operations.
#[allow(dead_code, reason = "the tool that shrinks seeds uses it")]
pub(crate) const LEAVE_OUT: [&str; 43] = [
    "following",
    "links",
    "reloads",
    "from_end",
    "ignore_older",
    "inputs",
    "globs",
    "includes",
    "excludes",
    "recursive",
    "room",
    "steps",
    "open_max",
    "event_bytes",
    "pressure",
    "lures",
    "remote",
    "durability",
    "disk_faults",
    "file_output",
    "file_faults",
    "output_rotation",
    "endings",
    "job_delays",
    "down",
    "interrupted",
    "descriptors",
    "input_output",
    "refused",
    "short_read",
    "no_watch",
    "unknown_kind",
    "interleave",
    "watches_max",
    "events_max",
    "partial_after",
    "coalesce",
    "output",
    "holds",
    "any_bytes",
    "returns",
    "multiline",
    "ends",
];

impl Settings {
    /// Removes one kind of trouble, to see whether a failure needs it: the name of a field or of an
    /// operation.
    pub(crate) fn leave_out(&mut self, what: &str) {
        match what {
            "room" => self.room = None,
            "steps" => self.steps = None,
            "open_max" => self.open_max = None,
            "event_bytes" => self.event_bytes = None,
            "pressure" => self.is_pressure_changing = false,
            "lures" => self.habits.lures = 0,
            "remote" => (self.rescan_remote, self.unheard) = (None, 0),
            "interrupted" => self.rates.interrupted = 0,
            "descriptors" => self.rates.descriptors = 0,
            "input_output" => self.rates.input_output = 0,
            "refused" => self.rates.refused = 0,
            "short_read" => self.rates.short_read = 0,
            "no_watch" => self.rates.no_watch = 0,
            "unknown_kind" => self.rates.unknown_kind = 0,
            "interleave" => self.interleave = 0,
            "watches_max" => self.watches_max = None,
            "events_max" => self.events_max = 16384,
            "partial_after" => self.partial_after = None,
            "coalesce" => self.coalesce = Duration::ZERO,
            "output" => self.output = OutputSettings::plain(),
            "holds" => self.habits.holds = false,
            "any_bytes" => self.habits.any_bytes = false,
            "returns" => (self.splits, self.habits.returns) = (false, false),
            "multiline" => self.multiline = None,
            "ends" => self.ends = EndRules::default(),
            "durability" => self.durability = None,
            "following" => self.following = None,
            "links" | "reloads" | "from_end" | "ignore_older" | "inputs" | "globs" | "includes"
            | "excludes" | "recursive" => {
                if let Some(following) = &mut self.following {
                    following.leave_out(what);
                }
            }
            "disk_faults" | "file_output" | "file_faults" | "output_rotation" | "endings"
            | "job_delays" | "down" => {
                if let Some(durability) = &mut self.durability {
                    durability.leave_out(what);
                }
            }
            operation => {
                assert!(self.habits.leave_out(operation), "there is no {operation} to leave out")
            }
        }
    }
}

pub(crate) struct Simulated {
    pub(crate) settings: Settings,
    pub(crate) world: World,
    pub(crate) workload: Workload,
    pub(crate) model: Model,
    pub(crate) faults: Faults,
    pub(crate) output: Output,
    /// The output, if it is a regular file.
    /// The output, if it is a broker.
    pub(crate) broker: Option<Arc<Mutex<Broker>>>,
    pub(crate) file: Option<OutputFile>,
    pub(crate) platter: Platter,
    durability: Option<Durability>,
    /// The engine is down.
    is_down: bool,
    /// The output file that was open when it ended.
    before: Option<Before>,
    random: Random,
    /// The number of turns begun, and whether one is in progress.
    pub(crate) turns: u64,
    pub(crate) in_turn: bool,
    /// Calls that the engine made, to the kernel or the output.
    pub(crate) calls: u64,
    calls_in_turn: u64,
    pub(crate) verbose: bool,
    /// The first property that did not hold.
    pub(crate) failure: Option<String>,
    /// Looks that recognized a file of the journal only by the age of its inode.
    pub(crate) known_lives: u64,
    /// A digest of everything that happened: equal for equal seeds.
    pub(crate) digest: u64,
}

impl Simulated {
    pub(crate) fn new(seed: u64, settings: Settings, verbose: bool) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x1_0001));
        let mut world = World::new(settings.events_max);
        if let Some(watches_max) = settings.watches_max {
            world.queue.limit_watches(watches_max);
        }
        world.unheard = settings.unheard;
        // Separate from the rest, which is the same without it.
        let mut apart = Random::new(seed ^ 0xD15C);
        let durable = settings.durability.as_ref();
        let mut workload =
            Workload::new(random.fork(), settings.habits.clone(), settings.paths.clone());
        workload.links = Random::new(seed ^ 0x11_4C);
        workload.is_swept = settings.sweep().is_some();
        workload.covering = settings
            .following
            .clone()
            .map(|following| Covering::new(following, settings.is_lenient()));
        let file = durable
            .and_then(|durable| durable.file.clone())
            .map(|rates| OutputFile::new(apart.fork(), rates));
        let broker = durable
            .and_then(|durable| durable.broker.clone())
            .map(|rates| Arc::new(Mutex::new(Broker::new(Random::new(seed ^ 0xB40_4E4), rates))));
        Simulated {
            file,
            broker,
            platter: Platter::new(
                apart.fork(),
                durable.map(|durable| durable.disk.clone()).unwrap_or_default(),
            ),
            durability: durable.map(|durable| Durability::new(apart.fork(), durable.clone())),
            is_down: false,
            before: None,
            workload,
            model: Model::new(&settings),
            faults: Faults::new(random.fork(), settings.rates.clone()),
            output: Output::new(random.fork(), settings.output.clone()),
            settings,
            world,
            random,
            turns: 0,
            in_turn: false,
            calls: 0,
            calls_in_turn: 0,
            verbose,
            failure: None,
            known_lives: 0,
            digest: 0,
        }
    }

    /// The only clock: the time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.world.time
    }

    pub(crate) fn trace(&mut self, text: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{}", text());
        }
    }

    pub(crate) fn fail(&mut self, why: impl FnOnce() -> String) {
        if self.failure.is_none() {
            let why = why();
            self.trace(|| format!("!!! {why}"));
            self.failure = Some(why);
        }
    }

    /// Counts a call of the engine, and sometimes lets other processes run.
    pub(crate) fn interleave(&mut self) {
        self.calls += 1;
        self.calls_in_turn += 1;
        assert!(
            self.calls_in_turn < CALLS_PER_TURN_MAX,
            "a turn without end: {CALLS_PER_TURN_MAX} calls"
        );
        self.may_crash();
        while self.workload.is_running() && self.random.one_in(self.settings.interleave) {
            self.step();
        }
    }

    /// One step of another process.
    pub(crate) fn step(&mut self) {
        let moment = Moment {
            turn: self.turns,
            overflows: self.world.queue.overflows,
            calls: self.calls,
            clear: !self.is_down
                && (!self.in_turn || !self.settings.is_lenient())
                && self.settings.watches_max.is_none()
                && self.settings.rates.no_watch == 0,
        };
        let told = self.workload.step(&mut self.world, &mut self.model, moment);
        self.note(told.as_bytes());
        self.trace(|| told);
    }

    /// Makes the tree that the engine finds.
    pub(crate) fn prepare(&mut self) {
        self.workload.prepare(&mut self.world, &mut self.model);
    }

    /// From now on no process runs, nothing fails, nothing is hidden, and nothing is held open.
    pub(crate) fn quieten(&mut self) {
        self.faults.end();
        self.output.behave();
        if let Some(mut broker) = self.broker() {
            broker.behave();
        }
        self.platter.end_faults();
        if let Some(file) = &mut self.file {
            file.behave();
        }
        if let Some(durability) = &mut self.durability {
            durability.quiet();
        }
        self.workload.finish(&mut self.world, &mut self.model);
        self.trace(|| "quiet".to_owned());
    }

    pub(crate) fn canaries(&mut self) {
        self.workload.canaries(&mut self.world, &mut self.model);
        self.trace(|| "one more line in each file".to_owned());
    }

    /// The output takes nothing for this long.
    pub(crate) fn block_output(&mut self, time: Duration) {
        let until = self.now() + time;
        if let Some(mut broker) = self.broker() {
            broker.block_until(until);
        }
        match &mut self.file {
            Some(file) => file.block_until(until),
            None => self.output.block_until(until),
        }
        self.trace(|| format!("the output takes nothing until {until:?}"));
    }

    pub(crate) fn note(&mut self, what: &[u8]) {
        for &byte in what {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(crate) fn entries_at_once(&mut self) -> usize {
        self.random.between(1, self.settings.entries_at_once)
    }

    pub(crate) fn turn_begins(&mut self) {
        self.turns += 1;
        self.in_turn = true;
        self.calls_in_turn = 0;
    }

    pub(crate) fn turn_ended(&mut self) {
        self.in_turn = false;
        self.model.turn_ended(self.turns, self.world.queue.overflows);
    }
}

/// The panic payload that unwinds through the engine in a crash.
pub(crate) struct Crashed;

// ---- crashes ----

impl Simulated {
    pub(crate) fn durability(&self) -> Option<&Durability> {
        self.durability.as_ref()
    }

    pub(crate) fn durability_mut(&mut self) -> &mut Durability {
        self.durability.as_mut().expect("only a run with a state directory asks")
    }

    /// Called before each call takes effect. Does not return if this is the end.
    pub(crate) fn may_crash(&mut self) {
        if self.durability.as_mut().is_some_and(Durability::burn) {
            self.crash_now();
        }
    }

    /// The same between two steps of a commit that the output makes, too.
    pub(crate) fn may_crash_in_commit(&mut self) {
        self.may_crash();
        if self.durability.as_mut().is_some_and(Durability::ends_in_commit) {
            self.crash_now();
        }
    }

    /// Whether the current call is cut short: it takes effect in part, then
    /// [`Simulated::crash_now`] is called.
    pub(crate) fn is_last_call(&self) -> bool {
        self.durability.as_ref().is_some_and(Durability::is_last)
    }

    pub(crate) fn crash_now(&mut self) -> ! {
        self.trace(|| "        CRASH".to_owned());
        // This panic prints nothing.
        std::panic::resume_unwind(Box::new(Crashed));
    }

    /// Notes that the engine has acknowledged offsets that are not committed.
    pub(crate) fn acknowledged(&mut self) {
        let now = self.now();
        let records = if self.file.is_some() {
            self.model.records()
        } else {
            self.output.records_acknowledged()
        };
        if let Some(durability) = &mut self.durability {
            durability.uncovered.get_or_insert((now, records));
        }
    }

    /// What is committed once a job that starts now is done. `len`: the length of the output file
    /// in it.
    pub(crate) fn covered(&mut self, len: Option<usize>) -> Covered {
        if let Some(broker) = self.broker() {
            let records = broker.records(false, None);
            drop(broker);
            return Covered { records, place: None, at: self.now() };
        }
        let (at, place) = (self.now(), self.file.as_ref().map(|file| file.place(len)));
        let records = match &self.file {
            Some(file) => file.records_upto(len),
            None => self.output.records_acknowledged(),
        };
        Covered { records, place, at }
    }

    /// The engine is gone, its descriptors with it.
    pub(crate) fn died(&mut self, ending: Ending) -> Result<(), String> {
        if !self.is_down {
            self.check_commits()?;
        }
        self.in_turn = false;
        self.is_down = true;
        self.world.drop_watches();
        if let Some(covering) = &mut self.workload.covering {
            covering.ended(&mut self.world);
        }
        self.trace(|| format!("the end: {ending:?}"));
        self.note(format!("{ending:?}").as_bytes());
        if let Some(file) = &self.file
            && self.before.is_none()
        {
            self.before = file.before();
        }
        self.durability_mut().died(ending);
        if ending == Ending::Power {
            self.platter.power_crash();
            if let Some(before) = &mut self.before {
                before.is_whole = false;
            }
            if let Some(file) = &mut self.file {
                file.power_crash()?;
            }
        }
        if self.broker.is_some() {
            // Of what arrives later, the journal has to know the generations.
            let may_be_late = !self.durability_mut().is_behind;
            self.broker().expect("just seen").crashed(may_be_late);
            self.take_news();
            let kept = self.broker().expect("just seen").records(false, None);
            // What the broker has is not repeated, unless the store failed.
            let has_transactions = self.broker().expect("just seen").has_transactions();
            let is_known = has_transactions || !self.durability_mut().is_behind;
            self.restarted(kept, is_known.then_some(0))?;
        } else if self.file.is_none() {
            let kept = self.output.crashed();
            self.restarted(kept, None)?;
        }
        self.while_down();
        Ok(())
    }

    /// Removes lost records from the model.
    fn restarted(&mut self, kept: u64, known_from: Option<u64>) -> Result<(), String> {
        let covered = self.durability_mut().covered.records;
        let unnamed = self.durability_mut().has_failed;
        self.trace(|| format!("{kept} records are left in the output, {covered} are committed"));
        if kept < covered {
            return Err(format!(
                "of {covered} committed records only {kept} are left in the output"
            ));
        }
        let unstored = self.broker().map_or_else(Vec::new, |broker| broker.common.unstored.clone());
        self.model.restarted(Survivors { kept, covered, known_from, unstored, unnamed });
        Ok(())
    }

    /// Other processes continue.
    fn while_down(&mut self) {
        let (steps, down_for) = self.durability_mut().draw_steps_while_down();
        for _ in 0..steps {
            self.workload.settled();
            if self.workload.has_more() {
                self.step();
            }
        }
        if self.workload.has_more() {
            let told = self.workload.rename_while_down(&mut self.world, &mut self.model);
            self.note(told.as_bytes());
            self.trace(|| told);
        }
        self.world.time += down_for;
        if self.durability_mut().renames_while_down()
            && let Some(file) = &mut self.file
        {
            file.rename_aside();
            self.trace(|| "the output was renamed".to_owned());
        }
    }

    /// Opens the output file by its name. A file that lost its name stays as it is.
    pub(crate) fn open_file(&mut self) -> Result<(), String> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let left_behind = self.before.take_if(|before| !file.is_named(before.segment));
        if let Some(before) = left_behind {
            let kept = file.leave_behind(before.segment, &before.bytes);
            self.restarted(kept, None)?;
        }
        let records = self.model.records();
        self.file.as_mut().expect("just seen").open(records);
        Ok(())
    }

    /// The output file was reconciled after a crash: compares it with its former content.
    pub(crate) fn file_reconciled(&mut self) -> Result<(), String> {
        let Some(before) = self.before.take() else { return Ok(()) };
        let covered = self.durability_mut().covered;
        let has_failed = self.durability_mut().has_failed;
        let Some(file) = &mut self.file else { return Ok(()) };
        // The journal knows the file: nothing in it is repeated. Another file is not checked.
        let is_known = covered.place.is_some_and(|place| place.segment == before.segment);
        let Some(kept) = file.compare(before.segment, &before.bytes) else {
            if is_known || !has_failed {
                return Err("the output has a torn or changed record after a restart".to_owned());
            }
            // The store never learned of it, so it is not cut. Its owner repairs it.
            let kept = file.mend(before.segment, &before.bytes);
            file.is_unknown(kept);
            return self.restarted(kept, None);
        };
        if self.settings.format == Format::Json && before.is_whole && file.bytes() != before.bytes {
            return Err("whole records were cut from the output though nothing was lost".to_owned());
        }
        let known_from = is_known.then(|| file.records_unknown());
        if !is_known {
            file.is_unknown(kept);
        }
        self.restarted(kept, known_from)
    }

    /// Begins a life, which opens the state directory.
    pub(crate) fn starts(&mut self) {
        self.calls_in_turn = 0;
        self.durability_mut().starts();
    }

    /// A new engine was made.
    pub(crate) fn born(&mut self) {
        self.is_down = false;
        self.durability_mut().born();
    }

    /// Checks that offsets do not stay uncommitted for longer than the interval and the time of a
    /// few jobs.
    pub(crate) fn check_commits(&mut self) -> Result<(), String> {
        let now = self.now();
        let Some(durability) = &mut self.durability else { return Ok(()) };
        let Some((since, upto)) = durability.uncovered else { return Ok(()) };
        let waited = now - since;
        if waited <= durability.commits_within() {
            return Ok(());
        }
        // For stories that are over nothing has to be committed; but a file is cut back to the
        // length of the last commit.
        durability.uncovered = None;
        let with_faults =
            self.platter.faults > 0 || self.file.as_ref().is_some_and(|file| file.syncs_failed > 0);
        let covered = durability.covered.records;
        let is_uncovered = if self.file.is_some() {
            covered < upto
        } else {
            self.model.has_uncovered(&self.world, covered + 1..=upto)
        };
        if !with_faults && is_uncovered {
            return Err(format!("acknowledged records were not committed within {waited:?}"));
        }
        Ok(())
    }

    /// Whether something acknowledged should be committed and is not.
    pub(crate) fn is_uncovered(&mut self) -> bool {
        let (covered, records) =
            (self.durability_mut().covered.records, self.covered(None).records);
        if self.file.is_some() {
            covered < records
        } else {
            self.model.has_uncovered(&self.world, covered + 1..=records)
        }
    }

    /// All files that may have an entry, each once: a file that is no longer followed keeps its
    /// entry for some days.
    pub(crate) fn files(&self) -> Vec<Key> {
        if self.workload.covering.is_some() {
            let is_file = |&key: &Key| {
                self.world.inodes[key].links > 0
                    && matches!(self.world.inodes[key].kind, Kind::File { .. })
            };
            return (0..self.world.inodes.len()).filter(is_file).collect();
        }
        let paths = files_below(&self.world, &self.settings.paths);
        let mut files: Vec<Key> =
            paths.iter().filter_map(|path| self.world.find(path).ok()).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Files that have to be read to their ends at rest, once for each path by which they can be
    /// found.
    pub(crate) fn due(&self) -> Vec<(Vec<u8>, Key, StoryKey)> {
        let world = &self.world;
        if let Some(covering) = &self.workload.covering {
            let all = covering.due(world).flat_map(|(key, paths)| {
                let own =
                    world.inodes[key].paths.iter().filter(move |path| world.find(path) == Ok(key));
                paths
                    .iter()
                    .chain(own)
                    .map(move |path| (path.clone(), key, world.inodes[key].story))
            });
            return all.collect();
        }
        let found = files_below(world, &self.settings.paths).into_iter().map(|path| {
            let key = world.find(&path).expect("it is there");
            (path, key, world.inodes[key].story)
        });
        found.collect()
    }

    /// The broker, at the present time.
    pub(crate) fn broker(&self) -> Option<MutexGuard<'_, Broker>> {
        let mut broker = self.broker.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        broker.common.now = self.now();
        Some(broker)
    }

    /// Passes on to the model what readers of the broker see.
    pub(crate) fn take_news(&mut self) {
        if let Some(why) = self.broker().and_then(|broker| broker.common.wrong) {
            self.fail(|| why.to_owned());
        }
        while let Some(record) = self.broker().and_then(|mut broker| broker.next_record()) {
            self.trace(|| format!("          > {}", record.escape_ascii()));
            if let Err(why) = self.model.take(&self.world, &record) {
                self.fail(|| why);
            }
        }
    }

    pub(crate) fn file_mut(&mut self) -> Option<&mut OutputFile> {
        self.file.as_mut()
    }
}
