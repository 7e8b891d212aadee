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
use crate::settings::{Setting, Value};
use crate::sys::clock::Now;

/// How a setting takes its new value.
type Apply = fn(&mut Daemon, &Settings, Now);

/// The settings that change while running. What is not here (and is none of an input) needs a
/// restart.
const LIVE: [(&str, Apply); 15] = [
    ("coalesce", |daemon, new, now| {
        daemon.engine.set_coalesce(new.config.engine.coalesce, now.instant)
    }),
    ("pace", |daemon, new, _| daemon.pace = new.config.pace),
    ("adaptive", |daemon, new, now| daemon.adapt(new.config.adaptive, now)),
    ("sched_batch", |daemon, new, now| daemon.yield_to_writers(new.config.sched_batch, now)),
    ("keep_open", |daemon, new, _| {
        daemon.engine.limit_open_files(open_files_max(new.config.keep_open))
    }),
    ("partial_after", |daemon, new, now| {
        daemon.engine.set_partial_after(new.config.engine.partial_after, now.instant)
    }),
    ("rescan", set_rescan),
    ("rescan_remote", set_rescan),
    ("ignore_older", |daemon, new, _| {
        daemon.engine.set_ignore_older(new.config.engine.ignore_older)
    }),
    ("max_line_bytes", |daemon, new, _| {
        daemon.engine.set_line_bytes_max(new.config.engine.line_bytes_max)
    }),
    ("commit_interval", |daemon, new, _| {
        daemon.engine.set_commit_interval(new.config.commit_interval)
    }),
    ("shutdown_timeout", |daemon, new, _| daemon.shutdown_timeout = new.config.shutdown_timeout),
    ("host", |daemon, new, _| daemon.engine.set_host(new.config.engine.host.as_deref())),
    // They are part of each input, see below.
    ("label", |_, _, _| {}),
    ("log_level", |_, new, _| diagnostics::set_level(new.diagnostics.level)),
];

fn set_rescan(daemon: &mut Daemon, new: &Settings, now: Now) {
    daemon.engine.set_rescan(new.config.engine.rescan, new.config.engine.rescan_remote, now);
}

/// PATHs named in one line at most.
const PATHS_SHOWN: usize = 8;

impl Daemon {
    /// Reads the settings again. Whatever comes of it is said; the run goes on.
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
            match LIVE.iter().find(|(key, _)| *key == after.key) {
                Some((_, apply)) => {
                    apply(self, &new, now);
                    changed.push(difference);
                }
                None => {
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
        .filter(|setting| setting.key == "paths")
        .map(|setting| &setting.value);
    values
        .filter_map(|value| if let Value::List(paths) = value { Some(paths) } else { None })
        .flatten()
        .collect()
}
