//! Settings that change while the engine runs.
//!
//! In: the new value. Out: deadlines that follow it.
//! Always holds: the queues that are in the order of their deadlines stay so.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, SlotId};
use crate::engine::reading::kept_files::KEPT_FOR;
use crate::engine::schedule::Unfinished;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// At most this many files are open besides the one being read. With 0, a file that is deleted
    /// before it was read to its end loses the rest.
    pub fn limit_open_files(&mut self, max: usize) {
        self.reading.limit_open_files(&self.files, max);
    }

    /// The host's name in records from now on, if any.
    pub fn set_host(&mut self, host: Option<&str>) {
        self.reading.encoder.set_host(host);
    }

    /// For how much of [`crate::config::EngineConfig::coalesce`] a file cools down after it is
    /// read: 0 to 1.
    pub fn set_pressure(&mut self, pressure: f32) {
        self.schedule.pressure = pressure;
    }

    /// The longest pause between two reads of one busy file.
    pub fn set_coalesce(&mut self, coalesce: Duration, now: Instant) {
        self.config.coalesce = coalesce;
        self.reading.kept.keep_for(KEPT_FOR.max(coalesce), now);
        // Files that are read from now on queue up behind those that cool down now, so none of
        // these may wait for longer than the new time.
        self.schedule.cool_for_at_most(coalesce, now);
    }

    /// After how long without growth an unfinished last line is delivered.
    pub fn set_partial_after(&mut self, after: Option<Duration>, now: Instant) {
        rare!("the time for unfinished lines was changed");
        self.config.partial_after = after;
        self.time_unfinished_again(now);
    }

    /// The unfinished ends of files are waited for by other rules. Those that were not timed so far
    /// begin now, because it is not known when they grew.
    pub(super) fn time_unfinished_again(&mut self, now: Instant) {
        let known = self.schedule.end_timing(&mut self.files);
        if self.config.once {
            return;
        }
        for id in self.files.all() {
            let slot = self.files.get(id);
            if slot.scanned > 0 && slot.life() != Life::Free {
                let (what, at) = known.get(&id).copied().unwrap_or((Unfinished::Line, now));
                let after = self.delivered_after(id, what);
                self.schedule.time_piece(&mut self.files, id, (what, after), at);
            }
        }
    }

    /// Other rules say what a record is: the unfinished ends of files may have whole ones.
    pub(super) fn split_unfinished_again(&mut self, now: Instant) {
        self.time_unfinished_again(now);
        for id in self.files.all() {
            self.read_unfinished_again(id);
        }
    }

    /// The same of one file.
    pub(super) fn read_unfinished_again(&mut self, id: SlotId) {
        let slot = self.files.get(id);
        if slot.scanned > 0 && slot.life() == Life::Following {
            self.mark_dirty(id);
        }
    }

    /// After how long without growth the unfinished end of a file is delivered, if at all.
    pub(super) fn delivered_after(&self, id: SlotId, what: Unfinished) -> Option<Duration> {
        let input = self.coverage.inputs.get(self.files.get(id).input);
        match (what, &input.multiline) {
            (Unfinished::Record, Some(records)) => records.after,
            _ => self.config.partial_after,
        }
    }

    /// How often the sweeps look at every file: in general, and where other machines write unseen.
    /// Passes begin anew.
    pub fn set_rescan(&mut self, rescan: Option<Duration>, remote: Option<Duration>, now: Now) {
        (self.config.rescan, self.config.rescan_remote) = (rescan, remote);
        let (tree, fs, notices) = (&mut self.tree, &mut self.fs, &mut self.observer.notices);
        self.discovery.sweeps.begin_anew(&self.config, tree, fs, notices, now);
    }

    /// Files that were not modified for this long when they are first seen start at their end.
    /// Files that were seen before stay where they are.
    pub fn set_ignore_older(&mut self, age: Option<Duration>) {
        self.config.ignore_older = age;
    }

    /// The longest line, in bytes without its newline, that is one record.
    pub fn set_line_bytes_max(&mut self, bytes: usize) {
        self.config.line_bytes_max = bytes;
    }

    /// How often acknowledged offsets become durable, if they do.
    pub fn set_commit_interval(&mut self, interval: Duration) {
        if let Some(commits) = self.offsets.get_mut() {
            commits.set_interval(interval);
        }
    }
}
