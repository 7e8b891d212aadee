//! Verdicts on the limits of this machine: inotify, descriptors, memory.
//!
//! In: a [`Survey`] and a [`System`]. Out: findings, with the sysctl to set where one is too low.
//! Always holds: pure; inotify of the run that is asked about does not count as used.

use super::{Finding, Verdict};
use crate::config::{KEEP_OPEN, open_files_allowed};
use crate::status::numbers::{bytes_text, count};
use crate::sys::host::{InotifyUse, Limit};
use crate::tools::doctor::survey::Survey;
use crate::tools::doctor::system::{Condition, System};

/// The lowest recommended values where a limit is too low: `dist/sysctl.d` has the same.
const WATCHES: u64 = 1_048_576;
pub(super) const QUEUED_EVENTS: u64 = 1_048_576;
pub(super) const INSTANCES: u64 = 1_024;

/// Enough descriptors for a run at rest with a state directory and an output, and for reading.
const DESCRIPTORS: u64 = 32;
/// Enough that [`KEEP_OPEN`] files may stay open for a moment: they may use a quarter of the limit.
const DESCRIPTORS_WELL: u64 = 4 * KEEP_OPEN as u64;

/// Bytes of memory per file without its name, per directory, per file in addition with a state
/// directory, and of a run without files, as measured (`dist/doc/operating.md`).
const FILE_BYTES: u64 = 88;
const DIRECTORY_BYTES: u64 = 400;
const KEPT_BYTES: u64 = 48 + 150;
const RUN_BYTES: u64 = 16 << 20;

/// Twice the need, so that there is room to grow, and at least the recommended value.
fn roomy(needed: u64, recommended: u64) -> u64 {
    needed.saturating_mul(2).checked_next_power_of_two().unwrap_or(u64::MAX).max(recommended)
}

fn unknown(about: &'static str, what: &str) -> Finding {
    Finding::bad(
        Verdict::Warning,
        about,
        format!("{what} cannot be read from procfs"),
        "mount procfs, or check the limits yourself",
    )
}

/// The processes that use inotify, except the run that the question is about: the one that has the
/// state directory, if there is one.
fn other_processes(system: &System) -> impl Iterator<Item = &InotifyUse> + Clone {
    let own = match system.state.as_ref().map(|state| &state.condition) {
        Some(Condition::InUse(pid)) => *pid,
        _ => None,
    };
    system.inotify.iter().filter(move |found| Some(found.pid) != own)
}

pub(super) fn watches(survey: &Survey, system: &System) -> Finding {
    let Some(Limit { sysctl, value: limit }) = system.watches_max else {
        return unknown("watches", "fs.inotify.max_user_watches");
    };
    let others = other_processes(system);
    let used: u64 = others.clone().map(|found| found.watches).sum();
    let largest = others.max_by_key(|found| found.watches).filter(|found| found.watches > 0);
    let whose = largest.map_or(String::new(), |found| {
        format!(", {} of them by {} ({})", count(found.watches), found.name, found.pid)
    });
    let needed = survey.directories + used;
    let what = format!(
        "{} watches needed of {}: one per directory; other processes of this user have {}{whose}",
        count(survey.directories),
        count(limit),
        count(used)
    );
    let bad = |verdict, what| {
        Finding::bad(verdict, "watches", what, "").set(sysctl, roomy(needed, WATCHES))
    };
    if needed > limit {
        bad(Verdict::Problem, format!("{what}: the rest would be polled every second"))
    } else if needed.saturating_mul(2) > limit {
        bad(Verdict::Warning, format!("{what}: little room for more directories"))
    } else {
        Finding::ok("watches", what)
    }
}

pub(super) fn instances(system: &System) -> Finding {
    if let Some(why) = &system.inotify_refused {
        let what = format!(
            "this system or its sandbox refuses inotify ({why}): everything is polled every second"
        );
        return Finding::bad(
            Verdict::Problem,
            "instances",
            what,
            "allow inotify_init1(2) and inotify_add_watch(2) (seccomp)",
        );
    }
    let Some(Limit { sysctl, value: limit }) = system.instances_max else {
        return unknown("instances", "fs.inotify.max_user_instances");
    };
    let used: u64 = other_processes(system).map(|found| found.instances).sum();
    let what = format!(
        "1 inotify instance needed of {}; other processes of this user have {}",
        count(limit),
        count(used)
    );
    if used + 1 > limit {
        let what = format!("{what}: without one, everything is polled every second");
        Finding::bad(Verdict::Problem, "instances", what, "")
            .set(sysctl, roomy(used + 1, INSTANCES))
    } else {
        Finding::ok("instances", what)
    }
}

pub(super) fn queue(survey: &Survey, system: &System) -> Finding {
    let Some(Limit { sysctl, value: limit }) = system.queued_events_max else {
        return unknown("queue", "fs.inotify.max_queued_events");
    };
    let what = format!("{} events fit into the kernel's queue", count(limit));
    if limit < survey.files.min(QUEUED_EVENTS) {
        let what = format!(
            "{what}, fewer than there are files: a larger burst overflows it, and then all files \
            are examined"
        );
        Finding::bad(Verdict::Warning, "queue", what, "").set(sysctl, QUEUED_EVENTS)
    } else {
        Finding::ok("queue", what)
    }
}

pub(super) fn descriptors(system: &System) -> Finding {
    let Some(limit) = system.descriptors_max else {
        return unknown("descriptors", "the limit of open files");
    };
    let held = open_files_allowed(KEEP_OPEN, limit);
    let what = format!(
        "{} open files allowed here (a service has its own limit): about 14 needed, and up to \
        {held} stay open for a moment (--keep-open)",
        count(limit)
    );
    let remedy = format!(
        "LimitNOFILE={DESCRIPTORS_WELL} for a service, `ulimit -n {DESCRIPTORS_WELL}` in a shell"
    );
    if limit < DESCRIPTORS {
        Finding::bad(Verdict::Problem, "descriptors", what, remedy)
    } else if limit < DESCRIPTORS_WELL {
        let what = format!(
            "{what}; with more descriptors, fewer files would lose data when they are deleted"
        );
        Finding::bad(Verdict::Warning, "descriptors", what, remedy)
    } else {
        Finding::ok("descriptors", what)
    }
}

pub(super) fn memory(survey: &Survey, system: &System) -> Finding {
    let kept = if system.state.is_some() { KEPT_BYTES } else { 0 };
    let needed = RUN_BYTES
        + survey.files * (FILE_BYTES + kept)
        + survey.name_bytes
        + survey.directories * DIRECTORY_BYTES;
    let Some(available) = system.memory_available else {
        return unknown("memory", "the available memory");
    };
    let what = format!("about {} needed, {} available", bytes_text(needed), bytes_text(available));
    let remedy = "follow fewer files (--include, --exclude), or add memory";
    if needed > available {
        Finding::bad(Verdict::Problem, "memory", what, remedy)
    } else if needed > available / 2 {
        Finding::bad(Verdict::Warning, "memory", what, remedy)
    } else {
        Finding::ok("memory", what)
    }
}
