//! Everything one simulation consists of, shared by the kernel, the receiver and the loop.
//!
//! In: a seed. Out: [`Settings`] drawn from it, and the parts put together.
//! Always holds: other processes run only through [`Simulated::step`], one small step at a time.

use std::time::Duration;

use manytail::config::Format;

use crate::faults::{Faults, Rates};
use crate::model::Model;
use crate::random::Random;
use crate::receiver::{Output, OutputSettings};
use crate::workload::{Habits, Moment, Workload};
use crate::world::World;

/// Far more than the budgets of a turn allow.
const CALLS_PER_TURN_MAX: u64 = 1_000_000;

/// What a seed decides beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) paths: Vec<Vec<u8>>,
    pub(crate) format: Format,
    pub(crate) coalesce: Duration,
    pub(crate) line_bytes_max: usize,
    pub(crate) partial_after: Option<Duration>,
    pub(crate) once: bool,
    pub(crate) rescan: Option<Duration>,
    pub(crate) events_max: usize,
    pub(crate) watches_max: Option<usize>,
    pub(crate) rates: Rates,
    /// One in so many calls of the engine lets other processes run; 0 = none.
    pub(crate) interleave: u32,
    pub(crate) entries_at_once: usize,
    pub(crate) habits: Habits,
    pub(crate) output: OutputSettings,
}

impl Settings {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let format = *random.pick(&[Format::Json, Format::Json, Format::Json, Format::Text, Format::Raw]);
        let json = format == Format::Json;
        let rescan = *random.pick(&[None, None, Some(Duration::from_secs(300)), Some(Duration::from_secs(20))]);
        let partial_after = *random.pick(&[None, None, Some(Duration::from_secs(30)), Some(Duration::from_millis(200))]);
        let with_faults = random.one_in(2);
        let mut rate = |times: u32| if with_faults && random.one_in(3) { times } else { 0 };
        let rates = Rates {
            interrupted: rate(40),
            descriptors: rate(60),
            input_output: rate(60),
            refused: if rescan.is_some() { rate(60) } else { 0 },
            // On a local disk a short read is the end; where it is not, the sweep finds the rest.
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
            coalesce: *random.pick(&[Duration::ZERO, Duration::from_millis(10), Duration::from_millis(10), Duration::from_secs(1)]),
            line_bytes_max: if json { *random.pick(&[1 << 20, 1 << 20, 64, 300]) } else { 1 << 20 },
            partial_after: partial_after.filter(|_| json),
            once: false,
            rescan,
            events_max: *random.pick(&[8, 20, 60, 200, 16384, 16384]),
            watches_max: random.one_in(10).then(|| random.between(1, 8)),
            rates,
            interleave: *random.pick(&[0, 100, 20, 5, 2]),
            entries_at_once: *random.pick(&[1, 3, 10, 1000]),
            habits: Habits::draw(random, json, rescan.is_some()),
            output: OutputSettings::draw(random),
        }
    }
}

/// What [`Settings::leave_out`] knows besides operations.
pub(crate) const LEAVE_OUT: [&str; 15] = [
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
];

impl Settings {
    /// Leaves one kind of trouble out, to see whether a failure needs it: a name of a field or of an operation.
    pub(crate) fn leave_out(&mut self, what: &str) {
        match what {
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
            operation => assert!(self.habits.leave_out(operation), "there is no {operation} to leave out"),
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
    random: Random,
    /// Turns begun, and whether one is under way.
    pub(crate) turns: u64,
    pub(crate) in_turn: bool,
    /// Calls that the engine made, to the kernel or the output.
    pub(crate) calls: u64,
    calls_in_turn: u64,
    pub(crate) verbose: bool,
    /// The first property that did not hold.
    pub(crate) failure: Option<String>,
    /// A digest of all that happened: equal for equal seeds.
    pub(crate) digest: u64,
}

impl Simulated {
    pub(crate) fn new(seed: u64, settings: Settings, verbose: bool) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x1_0001));
        let mut world = World::new(settings.events_max);
        if let Some(watches_max) = settings.watches_max {
            world.queue.limit_watches(watches_max);
        }
        Simulated {
            workload: Workload::new(random.fork(), settings.habits.clone(), settings.paths.clone()),
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
            digest: 0,
        }
    }

    /// The one clock: since the start.
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

    /// Notes that the engine made a call, and lets other processes run now and then.
    pub(crate) fn interleave(&mut self) {
        self.calls += 1;
        self.calls_in_turn += 1;
        assert!(self.calls_in_turn < CALLS_PER_TURN_MAX, "a turn without end: {CALLS_PER_TURN_MAX} calls");
        while self.workload.is_running() && self.random.one_in(self.settings.interleave) {
            self.step();
        }
    }

    /// One step of some other process.
    pub(crate) fn step(&mut self) {
        let moment = Moment {
            turn: self.turns,
            overflows: self.world.queue.overflows,
            calls: self.calls,
            clear: !self.in_turn && self.settings.watches_max.is_none() && self.settings.rates.no_watch == 0,
        };
        let told = self.workload.step(&mut self.world, &mut self.model, moment);
        self.note(told.as_bytes());
        self.trace(|| told);
    }

    /// The tree as the engine finds it.
    pub(crate) fn prepare(&mut self) {
        self.workload.prepare(&mut self.world, &mut self.model);
    }

    /// No process runs any more, nothing fails any more, nothing is hidden, and nothing is held open.
    pub(crate) fn quieten(&mut self) {
        self.faults.end();
        self.output.behave();
        self.workload.finish(&mut self.world);
        self.trace(|| "quiet".to_owned());
    }

    pub(crate) fn canaries(&mut self) {
        self.workload.canaries(&mut self.world, &mut self.model);
        self.trace(|| "one more line in each file".to_owned());
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
