//! Settings that change while the engine runs.
//!
//! In: the new value. Out: deadlines that follow it.
//! Always holds: the queues that are in the order of their deadlines stay so.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::namespace::registry::Life;
use crate::engine::reading::kept_files::KEPT_FOR;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// At most this many files are open besides the one being read. None: what is deleted before it
    /// was read to its end is lost.
    pub fn limit_open_files(&mut self, max: usize) {
        self.reading.files_open_max = max;
        self.reading.kept.resize(max);
        // Those without a name cannot be opened again.
        let files = &self.files;
        let mut surplus = self.reading.held.len().saturating_sub(max);
        self.reading.held.retain(|&id, _| {
            let goes = surplus > 0 && files.get(id).is_bound();
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// The host's name, or none, in records from now on.
    pub fn set_host(&mut self, host: Option<&str>) {
        self.reading.encoder.set_host(host);
    }

    /// How much of [`crate::config::EngineConfig::coalesce`] a file cools down that is read from
    /// now on: 0 to 1.
    pub fn set_pressure(&mut self, pressure: f32) {
        self.schedule.pressure = pressure;
    }

    /// How long a file that is read now is not opened again.
    pub(super) fn cools_for(&self) -> Duration {
        // Nearly always it is one of these two.
        match self.schedule.pressure {
            0.0 => Duration::ZERO,
            1.0 => self.config.coalesce,
            pressure => self.config.coalesce.mul_f32(pressure),
        }
    }

    /// The most time between two reads of one file that follow each other.
    pub fn set_coalesce(&mut self, coalesce: Duration, now: Instant) {
        self.config.coalesce = coalesce;
        self.reading.kept.keep_for(KEPT_FOR.max(coalesce), now);
        // Files read from now on queue up behind these: none may wait for longer than they will.
        self.schedule.cool_for_at_most(coalesce, now);
    }

    /// After how long without growth an unterminated last line is delivered.
    pub fn set_partial_after(&mut self, after: Option<Duration>, now: Instant) {
        rare!("the time for unfinished lines was changed");
        self.config.partial_after = after;
        // Those that nobody timed so far begin now: when they grew is not known.
        let since = self.schedule.end_timing(&mut self.files);
        if after.is_some() && !self.config.once {
            for id in self.files.all() {
                let slot = self.files.get(id);
                if slot.scanned > 0 && slot.life() != Life::Free {
                    self.schedule.time_piece(
                        &mut self.files,
                        id,
                        self.config.partial_after,
                        since.get(&id).copied().unwrap_or(now),
                    );
                }
            }
        }
    }

    /// How often the sweeps look at every file: in general, and where others write unseen. Passes
    /// begin anew.
    pub fn set_rescan(&mut self, rescan: Option<Duration>, remote: Option<Duration>, now: Now) {
        (self.config.rescan, self.config.rescan_remote) = (rescan, remote);
        let (tree, fs, notices) = (&mut self.tree, &mut self.fs, &mut self.observer.notices);
        self.discovery.sweeps.begin_anew(&self.config, tree, fs, notices, now);
    }

    /// Files not modified for this long when first seen start at their end. What was seen stays
    /// where it is.
    pub fn set_ignore_older(&mut self, age: Option<Duration>) {
        self.config.ignore_older = age;
    }

    /// The longest line, in bytes without its newline, that is one record.
    pub fn set_line_bytes_max(&mut self, bytes: usize) {
        self.config.line_bytes_max = bytes;
    }

    /// How often acknowledged offsets become durable, if they do.
    pub fn set_commit_interval(&mut self, interval: Duration) {
        if let Some(commits) = &mut self.commits {
            commits.set_interval(interval);
        }
    }
}
