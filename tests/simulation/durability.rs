//! A run with a state directory: when and how it ends, how long jobs take, and what is certainly
//! committed.
//!
//! In: a seed. Out: [`DurabilitySettings`] and the crashes that follow from them.
//! Always holds: a crash comes at a call of the engine or its committer, or between two turns; once
//! the world is quiet, only crashes that the loop asks for happen.

use std::time::Duration;

use manytail::testing::config::Format;

use crate::broker::BrokerRates;
use crate::disk::DiskRates;
use crate::output_file::{FileRates, Place};
use crate::random::Random;

/// How a life of the engine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `kill -9`: written data stays in the page cache.
    Kill,
    /// The machine goes down. Of our own files, only durable data is certain. The followed tree
    /// survives completely: it belongs to other processes, and a file that loses its end in a crash
    /// is a truncation, which the workload has anyway.
    Power,
    /// SIGTERM.
    Stop,
}

#[derive(Debug, Clone)]
pub(crate) struct DurabilitySettings {
    /// The output is a regular file, with these faults.
    pub(crate) file: Option<FileRates>,
    /// The output is a broker.
    pub(crate) broker: Option<BrokerRates>,
    pub(crate) interval: Duration,
    /// The number of lives until the world goes quiet: one more than endings.
    pub(crate) endings: usize,
    pub(crate) kinds: Vec<Ending>,
    /// A life makes up to this many calls.
    pub(crate) calls_max: usize,
    pub(crate) disk: DiskRates,
    pub(crate) job_delays: Vec<Duration>,
    /// The most steps of other processes while the engine is down.
    pub(crate) steps_while_down: usize,
    /// How long it is down.
    pub(crate) down_for: Vec<Duration>,
    /// The output file is renamed while the engine is down, once in this many times.
    pub(crate) renamed_while_down: u32,
}

impl DurabilitySettings {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let with_faults = random.one_in(3);
        let rate = |random: &mut Random, times: u32| {
            if with_faults && random.one_in(2) { times } else { 0 }
        };
        let disk = DiskRates {
            input_output: rate(random, 30),
            no_space: rate(random, 20),
            short_append: rate(random, 4),
            failed_sync: rate(random, 15),
        };
        let file = random.one_in(2).then(|| FileRates {
            no_space: *random.pick(&[0, 0, 5, 30]),
            no_space_for: *random.pick(&[
                Duration::from_millis(1),
                Duration::from_millis(500),
                Duration::from_secs(20),
            ]),
            failed_sync: rate(random, 20),
            rotated: *random.pick(&[0, 0, 30, 300]),
            is_old: random.one_in(4),
        });
        let millis = Duration::from_millis;
        DurabilitySettings {
            file,
            broker: None,
            interval: *random.pick(&[millis(10), millis(1000), millis(1000), millis(10_000)]),
            endings: *random.pick(&[0, 1, 2, 2, 5]),
            kinds: random
                .pick(&[
                    vec![Ending::Kill],
                    vec![Ending::Power],
                    vec![Ending::Stop, Ending::Kill],
                    vec![Ending::Kill, Ending::Power, Ending::Stop],
                ])
                .clone(),
            calls_max: *random.pick(&[30, 300, 1000, 3000]),
            disk,
            job_delays: random
                .pick(&[
                    vec![Duration::ZERO],
                    vec![Duration::ZERO, millis(1), millis(4)],
                    vec![millis(1), millis(4), millis(30), millis(3000)],
                ])
                .clone(),
            steps_while_down: *random.pick(&[0, 3, 10, 40]),
            down_for: random
                .pick(&[
                    vec![Duration::ZERO, millis(300)],
                    vec![millis(1), millis(20_000), millis(700_000)],
                ])
                .clone(),
            renamed_while_down: *random.pick(&[0, 0, 4]),
        }
    }
}

impl DurabilitySettings {
    /// Half of the runs have a broker instead of their output, and end more often.
    pub(crate) fn draw_broker(&mut self, random: &mut Random, format: Format) {
        if random.one_in(2) {
            // Only json says which line a record is.
            let is_stream = format == Format::Json && random.one_in(2);
            let mut rates = BrokerRates::draw(random, is_stream);
            self.file = None;
            self.endings = *random.pick(&[2, 5, 8]);
            self.kinds =
                vec![Ending::Kill, Ending::Power, Ending::Kill, Ending::Power, Ending::Stop];
            if !is_stream {
                rates.twin = *random.pick(&[0, 0, 3, 10]);
            }
            self.broker = Some(rates);
        }
    }

    /// For [`crate::simulated::Settings::leave_out`].
    pub(crate) fn leave_out(&mut self, what: &str) {
        match what {
            "disk_faults" => self.disk = DiskRates::default(),
            "file_output" => self.file = None,
            "broker" => self.broker = None,
            "broker_faults" => {
                if let Some(broker) = &mut self.broker {
                    (broker.partial, broker.lost, broker.unsettled, broker.twin) = (0, 0, 0, 0);
                }
            }
            "endings" => self.endings = 0,
            "job_delays" => self.job_delays = vec![Duration::ZERO],
            "down" => {
                (self.steps_while_down, self.down_for, self.renamed_while_down) =
                    (0, vec![Duration::ZERO], 0)
            }
            _ => {
                let Some(file) = &mut self.file else { return };
                if what == "output_rotation" {
                    (file.rotated, self.renamed_while_down) = (0, 0);
                } else {
                    (file.no_space, file.failed_sync) = (0, 0);
                }
            }
        }
    }
}

/// What a commit covers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Covered {
    /// The number of records in the output whose offsets it has.
    pub(crate) records: u64,
    /// Where the output file was.
    pub(crate) place: Option<Place>,
    /// When the job was started.
    pub(crate) at: Duration,
}

#[derive(Debug)]
pub(crate) struct Durability {
    random: Random,
    pub(crate) settings: DurabilitySettings,
    endings_left: usize,
    /// Calls until the next crash, and its kind.
    fuse: Option<usize>,
    pub(crate) ending: Ending,
    /// The current call is the last one.
    is_last_call: bool,
    is_quiet: bool,
    /// The last commit that is certainly done.
    pub(crate) covered: Covered,
    /// A job failed in this life.
    pub(crate) has_failed: bool,
    /// A job failed since the last commit, in this life or before.
    pub(crate) is_behind: bool,
    /// When the current job will be done.
    pub(crate) job_due: Option<Duration>,
    /// Since when something is acknowledged and not committed, and up to how many records of the
    /// output.
    pub(crate) uncovered: Option<(Duration, u64)>,
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    pub(crate) stops: u64,
    pub(crate) commits: u64,
}

impl Durability {
    pub(crate) fn new(random: Random, settings: DurabilitySettings) -> Self {
        Durability {
            random,
            endings_left: settings.endings,
            settings,
            fuse: None,
            ending: Ending::Kill,
            is_last_call: false,
            is_quiet: false,
            covered: Covered::default(),
            has_failed: false,
            is_behind: false,
            job_due: None,
            uncovered: None,
            kills: 0,
            power_cuts: 0,
            stops: 0,
            commits: 0,
        }
    }

    /// Begins a life: draws its end.
    pub(crate) fn starts(&mut self) {
        self.job_due = None;
        self.is_last_call = false;
        self.fuse = None;
        if self.endings_left > 0 && !self.is_quiet {
            self.ending = *self.random.pick(&self.settings.kinds);
            // Short lives are as likely as long ones.
            let most = self.random.between(1, self.settings.calls_max);
            self.fuse = Some(self.random.between(1, most));
        }
    }

    /// Its engine was made: earlier failures are over.
    pub(crate) fn born(&mut self) {
        self.has_failed = false;
        self.uncovered = None;
    }

    /// How long acknowledged offsets may stay uncommitted: twice the interval, and the time of some
    /// jobs.
    pub(crate) fn commits_within(&self) -> Duration {
        let longest = self.settings.job_delays.iter().copied().max().unwrap_or_default();
        2 * self.settings.interval + 10 * longest + Duration::from_secs(1)
    }

    pub(crate) fn quiet(&mut self) {
        self.is_quiet = true;
        self.fuse = None;
        self.is_last_call = false;
    }

    /// Counts one call; returns whether the end is now. Half of the crashes come within the call
    /// instead: see [`Durability::is_last`].
    pub(crate) fn burn(&mut self) -> bool {
        if self.is_last_call {
            return true;
        }
        let Some(fuse) = &mut self.fuse else { return false };
        *fuse = fuse.saturating_sub(1);
        if *fuse > 0 || self.ending == Ending::Stop {
            return false;
        }
        self.is_last_call = self.random.one_in(2);
        !self.is_last_call
    }

    /// Whether the end is at this step of a commit, which is more likely than at other calls: a
    /// life has few of them.
    pub(crate) fn ends_in_commit(&mut self) -> bool {
        self.fuse.is_some() && self.ending != Ending::Stop && self.random.one_in(5)
    }

    /// Whether the crash cuts the current call short.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last_call
    }

    /// Whether it is time for SIGTERM.
    pub(crate) fn is_stop_due(&self) -> bool {
        self.ending == Ending::Stop && self.fuse == Some(0)
    }

    /// The life is over.
    pub(crate) fn died(&mut self, ending: Ending) {
        self.endings_left = self.endings_left.saturating_sub(1);
        self.job_due = None;
        self.fuse = None;
        self.is_last_call = false;
        match ending {
            Ending::Kill => self.kills += 1,
            Ending::Power => self.power_cuts += 1,
            Ending::Stop => self.stops += 1,
        }
    }

    /// How long the next job takes, and whether its calls are made at its beginning. An output that
    /// takes one record for each commit would not come to rest in time otherwise.
    pub(crate) fn draw_job(&mut self) -> (Duration, bool) {
        let delay = *self.random.pick(&self.settings.job_delays);
        let longest = if self.is_quiet { Duration::from_millis(4) } else { Duration::MAX };
        (delay.min(longest), self.random.one_in(2))
    }

    pub(crate) fn draw_steps_while_down(&mut self) -> (usize, Duration) {
        (
            self.random.between(0, self.settings.steps_while_down),
            *self.random.pick(&self.settings.down_for),
        )
    }

    pub(crate) fn renames_while_down(&mut self) -> bool {
        self.random.one_in(self.settings.renamed_while_down)
    }

    pub(crate) fn committed(&mut self, covered: Covered) {
        self.commits += 1;
        self.covered = covered;
        self.has_failed = false;
        self.is_behind = false;
        self.uncovered = self.uncovered.filter(|&(since, _)| since > covered.at);
    }

    pub(crate) fn commit_failed(&mut self) {
        self.has_failed = true;
        self.is_behind = true;
    }
}
