//! SIGHUP: the settings are read again, and what can change while running does.
//!
//! In: the settings in force, and the same command line, variables and files as at the start. Out:
//! the changed settings in force; one line that says what changed, one warning that names what
//! needs a restart.
//! Always holds: settings that cannot be used change nothing; what needs a restart keeps its value
//! and is named on every reading.

use std::ffi::OsString;

use super::{Daemon, open_files_max};
use crate::cli::Settings;
use crate::diagnostics;
use crate::settings::{Change, Key, Live, Setting, Value};
use crate::sys::clock::Now;

/// PATHs named in one line at most.
const PATHS_SHOWN: usize = 8;

impl Daemon {
    /// Reads the settings again and logs the result; the run goes on.
    pub(super) fn reload(&mut self, now: Now) {
        match self.origin.read_again() {
            Err(refusal) => {
                tracing::error!("the settings stay as they are: {refusal}");
                self.server.about.bad_settings = Some(refusal.to_string());
            }
            Ok(new) => {
                self.server.about.bad_settings = None;
                self.adopt(new, now);
            }
        }
    }

    fn adopt(&mut self, mut new: Settings, now: Now) {
        for warning in
            new.origin.warnings.iter().filter(|warning| !self.origin.warnings.contains(warning))
        {
            tracing::warn!("{warning}");
        }
        let differing = self.origin.effective.differences(&new.origin.effective);
        let differing: Vec<(Setting, Setting)> =
            differing.map(|(before, after)| (before.clone(), after.clone())).collect();
        let (mut changed, mut waiting, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (before, after) in differing {
            let difference = format!("{} {} -> {}", before.key, before.value, after.value);
            match before.change_to(&after) {
                Change::Live(live) => {
                    self.take(live, &new, now);
                    changed.push(difference);
                }
                // The inputs differ, too, see below.
                Change::Inputs => changed.push(difference),
                Change::Restart => {
                    waiting.push(difference);
                    kept.push(before);
                }
            }
        }
        if let Some(difference) =
            difference_of_inputs(&self.origin.effective.inputs, &new.origin.effective.inputs)
        {
            changed.push(difference);
            self.engine.reload(std::mem::take(&mut new.config.engine.inputs), now);
        }
        if !waiting.is_empty() {
            tracing::warn!("settings that need a restart keep their value: {}", waiting.join(", "));
        }
        let changed = match (changed.is_empty(), waiting.is_empty()) {
            (true, true) => "no change".to_owned(),
            (true, false) => "no other change".to_owned(),
            (false, _) => changed.join(", "),
        };
        tracing::info!("settings read again: {changed}");
        self.origin = new.origin;
        // What waits for a restart is compared with what is in force the next time, too.
        self.origin.effective.put_back(kept);
    }

    /// Puts a new value in force.
    fn take(&mut self, live: Live, new: &Settings, now: Now) {
        let (config, engine) = (&new.config, &new.config.engine);
        match live {
            Live::Host => self.engine.set_host(engine.host.as_deref()),
            Live::ShutdownTimeout => self.shutdown_timeout = config.shutdown_timeout,
            Live::IgnoreOlder => self.engine.set_ignore_older(engine.ignore_older),
            Live::MaxLineBytes => self.engine.set_line_bytes_max(engine.line_bytes_max),
            Live::PartialAfter => {
                self.engine.set_partial_after(engine.partial_after, now.instant);
            }
            Live::CommitInterval => self.engine.set_commit_interval(config.commit_interval),
            Live::Coalesce => self.engine.set_coalesce(engine.coalesce, now.instant),
            Live::Pace => self.pace = config.pace,
            Live::Adaptive => self.adapt(config.adaptive, now),
            Live::SchedBatch => self.yield_to_writers(config.sched_batch, now),
            Live::KeepOpen => self.engine.limit_open_files(open_files_max(config.keep_open)),
            Live::Rescan => self.engine.set_rescan(engine.rescan, engine.rescan_remote, now),
            Live::LogLevel => diagnostics::set_level(new.diagnostics.level),
        }
    }
}

/// What is followed now and was not, the other way round, and whether rules changed. `None`: all is
/// the same.
fn difference_of_inputs(before: &[Vec<Setting>], after: &[Vec<Setting>]) -> Option<String> {
    let is_same = |(before, after): (&Vec<Setting>, &Vec<Setting>)| {
        before.len() == after.len()
            && before.iter().zip(after).all(|(before, after)| before.is_same(after))
    };
    if before.len() == after.len() && before.iter().zip(after).all(is_same) {
        return None;
    }
    let (old, new) = (paths(before), paths(after));
    let mut parts = Vec::new();
    for (what, some, others) in [("now followed", &new, &old), ("no longer followed", &old, &new)] {
        let only: Vec<String> = some
            .iter()
            .filter(|path| !others.contains(path))
            .map(|path| path.display().to_string())
            .collect();
        if !only.is_empty() {
            let more = only.len().saturating_sub(PATHS_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("{what}: {}{more}", only[..only.len().min(PATHS_SHOWN)].join(" ")));
        }
    }
    Some(if parts.is_empty() { "other rules for inputs".to_owned() } else { parts.join(", ") })
}

/// The PATHs of all inputs.
fn paths(inputs: &[Vec<Setting>]) -> Vec<&OsString> {
    let values = inputs
        .iter()
        .flatten()
        .filter(|setting| setting.key == Key::Paths.name())
        .map(|setting| &setting.value);
    values
        .filter_map(|value| if let Value::List(paths) = value { Some(paths) } else { None })
        .flatten()
        .collect()
}
