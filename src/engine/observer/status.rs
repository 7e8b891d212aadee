//! Engine -> [`Status`]: its state at one moment, for metrics and for people.
//!
//! In: the time of the question. Out: numbers.
//! Always holds: the cost of a question is bounded, whatever the number of files and directories:
//! states are counted as they change, unread bytes are sampled, at most once per [`FRESH`]. Nothing
//! is stored per file, and nothing is done when nobody asks.

use std::time::{Duration, Instant, SystemTime};

use crate::diagnostics::notices::NoticeCounts;
use crate::engine::Engine;
use crate::engine::coverage::root::{Root, RootState};
use crate::engine::namespace::registry::{SlotId, State};
use crate::engine::output::outbox::Outbox;
use crate::engine::output::output_file::OutputFile;
use crate::engine::schedule::Schedule;
use crate::engine::schedule::lag::Lag;
use crate::sink::Sink;
use crate::status::file::shown;
use crate::status::stats::Sizes;
use crate::status::{
    About, Backlog, Diagnostic, Directories, Files, JobStatus, OutputStatus, Status,
};
use crate::sys::clock::Now;
use crate::sys::{FileSystem, KnownLife};

/// A measurement is reused for this long, so that many questions cost no more than one.
const FRESH: Duration = Duration::from_millis(200);

/// Files looked at (`statx(2)`) per question for their unread bytes: at first, at least and at
/// most.
const LOOKS_FIRST: usize = 64;
const LOOKS_MIN: usize = 8;
const LOOKS_MAX: usize = 1024;

/// A question should not take longer than this ...
const QUESTION_LONGEST: Duration = Duration::from_millis(3);
/// ... and may look at more files if it took less than this.
const QUESTION_SHORT: Duration = Duration::from_millis(1);

/// What is remembered between two questions.
#[derive(Debug)]
pub(in crate::engine) struct Insight {
    backlog: Backlog,
    measured_at: Option<Instant>,
    /// Files looked at for a question at most.
    looks_max: usize,
    /// How many files the current question would look at without that limit.
    looks_wanted: usize,
}

impl Default for Insight {
    fn default() -> Self {
        Insight {
            backlog: Backlog::default(),
            measured_at: None,
            looks_max: LOOKS_FIRST,
            looks_wanted: 0,
        }
    }
}

impl Insight {
    /// Of `wanted` files, how many may be looked at for a question. The loop measures how long that
    /// takes.
    pub(in crate::engine) fn looks(&mut self, wanted: usize) -> usize {
        self.looks_wanted = wanted;
        wanted.min(self.looks_max)
    }

    fn question_took(&mut self, took: Duration) {
        let wanted = std::mem::take(&mut self.looks_wanted);
        if wanted > 0 && took > QUESTION_LONGEST {
            self.looks_max = (wanted.min(self.looks_max) / 2).max(LOOKS_MIN);
        } else if wanted > self.looks_max && took < QUESTION_SHORT {
            self.looks_max = (self.looks_max * 2).min(LOOKS_MAX);
        }
    }

    /// Whether the last measurement is too old to be reused. A new one begins then.
    fn begin_measuring(&mut self, now: Instant) -> bool {
        let is_fresh = self.measured_at.is_some_and(|at| now.saturating_duration_since(at) < FRESH);
        if !is_fresh {
            self.measured_at = Some(now);
        }
        !is_fresh
    }
}

/// The state of the output.
fn output_status<S: Sink>(
    outbox: &Outbox<S>,
    output_file: &OutputFile,
    lag: &Lag,
    now: Instant,
) -> OutputStatus {
    let state = outbox.sink().state();
    let failure = output_file.failure().map(str::to_owned);
    let oldest = outbox.oldest().map_or(Duration::ZERO, |since| lag.age(since, now));
    OutputStatus {
        kind: String::new(),
        is_connected: state.is_connected && !outbox.is_closed() && failure.is_none(),
        failure: failure.or(state.failure),
        misplaced: output_file.misplaced(),
        errors: state.errors + output_file.errors(),
        reconnects: state.reconnects,
        truncations: state.truncations,
        refused: state.refused,
        in_flight: state.in_flight,
        batches: state.batches,
        remark: state.remark,
        blocked_seconds: outbox.blocked(now).unwrap_or_default().as_secs_f64(),
        blocked_seconds_total: outbox.blocked_in_all(now).as_secs_f64(),
        unacknowledged_bytes: outbox.unacknowledged_bytes() as u64,
        oldest_unacknowledged_seconds: oldest.as_secs_f64(),
    }
}

/// How long the file at the head of a queue has been waiting. Those that cool down wait for
/// `--coalesce` at most.
fn oldest_unread(schedule: &Schedule, now: Instant) -> Duration {
    let heads = schedule.unread.heads();
    heads.map(|waiting| schedule.lag.age(waiting.since, now)).max().unwrap_or_default()
}

/// What the pattern of an input does not match.
fn job_status((paths, mismatches, example): (&[Vec<u8>], u64, &[u8])) -> JobStatus {
    let paths: Vec<String> = paths.iter().map(|path| shown(path)).collect();
    JobStatus {
        input: paths.join(" "),
        mismatches,
        example: (mismatches > 0).then(|| shown(example)),
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Each cause of diagnostics by its name: how many were logged, and how many were suppressed.
    pub fn notices(&self) -> impl Iterator<Item = (&'static str, NoticeCounts)> + '_ {
        self.observer
            .notices
            .counts()
            .chain(std::iter::once(("output", self.outbox.sink().state().notices)))
    }

    /// The turn that began at `began` is over now.
    pub fn turn_ended(&mut self, began: Instant, now: Instant) {
        self.schedule.lag.end_turn(began, now);
        self.reading.rewrites.turn_ended(now);
    }

    /// The current number of files, directories, watches and descriptors.
    pub fn sizes(&self) -> Sizes {
        let beside = self
            .coverage
            .ways
            .watches()
            .filter(|&watch| self.tree.find_watch(watch).is_none())
            .count();
        Sizes {
            files: self.files.len(),
            directories: self.tree.len(),
            watches: self.tree.watched(),
            further_watches: self.identities.former.watches() + beside,
            doubtful_watches: self.identities.former.doubtful_watches(),
            open: self.reading.open_files(),
        }
    }

    /// The state of the engine. What only the loop knows (the process, the settings) is left empty.
    pub fn status(&mut self, now: Now) -> Status {
        let now = now.instant;
        self.output_file.look(&mut self.outbox, &mut self.observer.notices, now);
        if self.observer.insight.begin_measuring(now) {
            self.sample_backlog();
        }
        let counts = self.files.counts(self.outbox.blocks(false), self.outbox.blocks(true));
        let (known, held) = (self.files.len() as u64, self.reading.open_files() as u64);
        let text = |root: &Root| String::from_utf8_lossy(&root.path).into_owned();
        let inputs =
            self.coverage.all_roots().map(|root| text(&self.coverage.roots[root.0 as usize]));
        let missing = self
            .coverage
            .roots
            .iter()
            .filter(|root| root.state == RootState::Missing)
            .map(text)
            .collect();
        Status {
            about: About { inputs: inputs.collect(), ..About::default() },
            missing,
            without_files: self.inputs_without_files(),
            inputs: self.input_statuses(),
            jobs: self.coverage.inputs.job_mismatches().map(job_status).collect(),
            counters: self.observer.stats.clone(),
            files: Files { known, held, ..counts },
            backlog: Backlog {
                oldest_unread_seconds: oldest_unread(&self.schedule, now).as_secs_f64(),
                ..self.observer.insight.backlog
            },
            directories: Directories {
                known: self.tree.len() as u64,
                polled: self.kernel.polled as u64,
                unreadable: self.tree.unreadable() as u64,
                watches: (self.sizes().watches + self.sizes().further_watches) as u64,
                watches_max: 0,
                sweeps: self.discovery.sweeps.passes(),
                is_listing: self.discovery.urgent.has_work(),
            },
            output: output_status(&self.outbox, &self.output_file, &self.schedule.lag, now),
            commits: self.offsets.status(now),
            turns: self.schedule.lag.turns.clone(),
            deliveries: self.schedule.lag.deliveries.clone(),
            settlements: self.observer.settlements.clone(),
            diagnostics: self
                .notices()
                .map(|(cause, told)| Diagnostic {
                    cause: cause.to_owned(),
                    said: told.said,
                    suppressed: told.suppressed,
                })
                .collect(),
            ..Status::default()
        }
    }

    /// The loop measured how long a question took: the next one looks at more files, or at fewer.
    pub fn question_took(&mut self, took: Duration) {
        self.observer.insight.question_took(took);
    }

    /// Looks at some of the files that wait, spread evenly over the queues, and extrapolates.
    fn sample_backlog(&mut self) {
        let unread = self.schedule.unread.len();
        let queued = unread + self.schedule.by_age.len();
        let all = queued + self.schedule.cooling().len();
        let every = all.div_ceil(self.observer.insight.looks(all).max(1)).max(1);
        let (mut looked_at, mut waiting, mut bytes) = (0_u64, 0_u64, 0_u64);
        for at in (0..all).step_by(every) {
            looked_at += 1;
            let id = if at < unread {
                self.schedule.unread.get(at).map(|waiting| waiting.id)
            } else if at < queued {
                self.files.alive(self.schedule.by_age.get(at - unread))
            } else {
                self.files.alive(self.schedule.cooling()[at - queued].1)
            };
            let Some(id) = id.filter(|&id| self.files.get(id).state().contains(State::DIRTY))
            else {
                continue;
            };
            waiting += 1;
            bytes += self.unread_bytes(id).unwrap_or(0);
        }
        // In proportion: of `all` places, every `every`th was looked at.
        let scale = |part: u64| {
            let whole = u128::from(part) * all as u128 / u128::from(looked_at.max(1));
            u64::try_from(whole).unwrap_or(u64::MAX)
        };
        self.observer.insight.backlog = Backlog {
            files: scale(waiting),
            unread_bytes: scale(bytes),
            sampled: waiting,
            oldest_unread_seconds: 0.0,
        };
    }

    /// The number of bytes after the offset, as far as a look can tell.
    pub(in crate::engine) fn unread_bytes(&mut self, id: SlotId) -> Option<u64> {
        let found = match self.reading.held.get(&id) {
            Some(held) => self.fs.stat_file(&held.file),
            None if !self.files.get(id).is_bound() => return None,
            None => {
                let links = self.write_path(id);
                // The generation of the inode does not matter here, which saves a call.
                let mut life = |_, _| {
                    Some(KnownLife {
                        inode_generation: 0,
                        seen_at: SystemTime::UNIX_EPOCH + FAR_FUTURE,
                    })
                };
                self.fs.stat_known(&self.path, links, &mut life)
            }
        };
        Some(found.ok()?.size.saturating_sub(self.files.get(id).offset))
    }
}

/// No file is created so late.
const FAR_FUTURE: Duration = Duration::from_secs(1 << 40);
