//! Facts to findings: what is well, what is not, why, and what to do.
//!
//! In: a [`Survey`] and a [`System`]. Out: [`Finding`]s, in the order in which a reader wants them.
//! Always holds: pure; whatever is not ok has a remedy.

use std::time::Duration;

use serde::Serialize;

use super::survey::{FileSystemFacts, PathFacts, PathKind, Survey};
use super::system::{Condition, StateFacts, System};
use crate::checkpoint::journal;
use crate::config::KEEP_OPEN;
use crate::file_systems::{FileSystemType, Sight};
use crate::names::is_glob;
use crate::status::file::shown;
use crate::status::numbers::{approximate, bytes_text, count, plural, rounded};
use crate::sys::host::{InotifyUse, Limit};

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could.
    Warning,
    /// Something will be missed, or nothing will start.
    Problem,
}

/// A sysctl and the value it should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    /// As in sysctl.conf(5).
    pub name: &'static str,
    /// At least.
    pub value: u64,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good it is.
    pub verdict: Verdict,
    /// What it is about, in a word.
    pub about: &'static str,
    /// What was found, and why that matters.
    pub finding: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What to set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctl: Option<Sysctl>,
}

impl Finding {
    pub(super) fn ok(about: &'static str, finding: String) -> Self {
        Finding { verdict: Verdict::Ok, about, finding, remedy: None, sysctl: None }
    }

    pub(super) fn bad(
        verdict: Verdict,
        about: &'static str,
        finding: String,
        remedy: impl Into<String>,
    ) -> Self {
        Finding { verdict, about, finding, remedy: Some(remedy.into()), sysctl: None }
    }

    fn set(self, name: &'static str, value: u64) -> Self {
        Finding {
            remedy: Some(format!("set {name} to {value} or more (below)")),
            sysctl: Some(Sysctl { name, value }),
            ..self
        }
    }
}

/// What is recommended where a limit is too low, at least: `dist/` ships the same.
const WATCHES: u64 = 1_048_576;
const QUEUED_EVENTS: u64 = 1_048_576;
const INSTANCES: u64 = 1_024;

/// Descriptors of a run at rest, with a state directory and an output, and some to read with.
const DESCRIPTORS: u64 = 32;
/// A quarter of the limit, and at most [`KEEP_OPEN`], may stay open for a moment.
const DESCRIPTORS_WELL: u64 = 1_024;

/// More looks at files of a server than this, per second, are felt by whoever else uses it.
const LOOKS_PER_SECOND: u64 = 1_000;

/// Bytes per file without its name, per directory, per file with a state directory, and of a run
/// with no file at all.
const FILE_BYTES: u64 = 88;
const DIRECTORY_BYTES: u64 = 400;
const KEPT_BYTES: u64 = 48 + 150;
const RUN_BYTES: u64 = 16 << 20;

/// While a journal is written anew there are two of them.
const JOURNALS: u64 = 2;
const STATE_INODES: u64 = 8;

/// Judges everything.
pub(super) fn judge(
    survey: &Survey,
    system: &System,
    rescan_remote: Option<Duration>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = survey
        .paths
        .iter()
        .flat_map(|facts| [Some(path(facts)), left_out(facts)])
        .flatten()
        .collect();
    if survey.special > 0 {
        let special = survey.special;
        findings.push(Finding::ok(
            "files",
            format!(
                "{} FIFO{s}, socket{s} or device{s}: never opened",
                count(special),
                s = plural(special)
            ),
        ));
    }
    findings.extend(survey.file_systems.iter().map(|facts| file_system(facts, rescan_remote)));
    findings.push(directories_read(survey, system));
    findings.push(files_read(survey, system));
    findings.extend(system.reads_links_of_others.then(hard_links));
    findings.extend((survey.user_mounts.count > 0).then(|| user_mounts(survey)));
    findings.extend([
        watches(survey, system),
        instances(system),
        queue(survey, system),
        descriptors(system),
        memory(survey, system),
    ]);
    findings.extend(state(survey, system));
    findings
}

fn path(facts: &PathFacts) -> Finding {
    let name = shown(&facts.path);
    let problem = |what: &str, remedy: &str| {
        Finding::bad(Verdict::Problem, "path", format!("{name}: {what}"), remedy)
    };
    match &facts.kind {
        PathKind::Directory => {
            let (directories, files) = (facts.directories, facts.files);
            let what = format!(
                "{name}: {} director{} and {} file{} would be followed",
                count(directories),
                if directories == 1 { "y" } else { "ies" },
                count(files),
                plural(files)
            );
            // None: all of it lies below another PATH.
            if files == 0 && directories > 0 {
                let remedy = "if files are to be there by now: correct the PATH, or the globs \
                    (`manytail status --list excluded` names what a run leaves out)";
                return Finding::bad(Verdict::Warning, "path", what, remedy);
            }
            Finding::ok("path", what)
        }
        PathKind::File => Finding::ok("path", format!("{name}: a file, would be followed")),
        PathKind::Missing if is_glob(&facts.path) => problem(
            "does not exist, and a PATH is no glob",
            "name the directory above it, and give the rest to --include, as in `--include \
            '*/logs/**' /home`",
        ),
        PathKind::Missing => problem(
            "does not exist",
            "make it, or correct the PATH; a run waits for it, --once does not",
        ),
        PathKind::LeftOut => problem(
            "a file that --include or --exclude leaves out",
            "change the globs, or leave the PATH out",
        ),
        PathKind::Special => problem(
            "neither a directory nor a regular file: never opened",
            "give the PATH of a directory or a file",
        ),
        PathKind::Failed(why) => problem(
            &format!("cannot be looked at: {why}"),
            "let the user of the run search the directories above it",
        ),
    }
}

/// What the globs and other settings leave out below a PATH.
fn left_out(facts: &PathFacts) -> Option<Finding> {
    let mut all: Vec<_> = facts.left_out.iter().collect();
    all.sort_by_key(|left_out| std::cmp::Reverse(left_out.count));
    let words: Vec<String> = all
        .iter()
        .map(|left_out| {
            format!("{} {} (as {})", count(left_out.count), left_out.why, left_out.first)
        })
        .collect();
    (!words.is_empty())
        .then(|| Finding::ok("left out", format!("{}: {}", shown(&facts.path), words.join("; "))))
}

fn file_system(facts: &FileSystemFacts, rescan_remote: Option<Duration>) -> Finding {
    let (name, files) = (shown(&facts.path), count(facts.files));
    let s = plural(facts.files);
    let Some(kind) = facts.kind else {
        let what = format!(
            "{name}: the type of its file system cannot be had; taken for a remote one, {files} \
            file{s}"
        );
        return Finding::bad(
            Verdict::Warning,
            "file system",
            what,
            "look at the mount: statfs(2) fails there",
        );
    };
    let warning =
        |what: String, remedy: &str| Finding::bad(Verdict::Warning, "file system", what, remedy);
    match kind.sight() {
        Sight::Full if kind.name().is_none() => warning(
            format!(
                "{name}: file system of {kind}, which is not known here, with {files} file{s}: \
                taken for a local one"
            ),
            "if other machines write to it, lower --rescan: inotify does not tell of their writes",
        ),
        Sight::Full => Finding::ok(
            "file system",
            format!("{name}: {kind}, {files} file{s}; events tell of all writes but those by mmap"),
        ),
        Sight::Pseudo => Finding::bad(
            Verdict::Problem,
            "file system",
            format!(
                "{name}: {kind}, {files} file{s}: inotify does not tell of {}",
                kind.sight().untold()
            ),
            "leave it out: there are no logs there",
        ),
        sight => {
            let untold = format!(
                "{name}: {kind}, {files} file{s}: inotify does not tell of {}",
                sight.untold()
            );
            let Some(period) = rescan_remote else {
                return warning(
                    format!("{untold}; `run` finds it with the sweep (--rescan)"),
                    blind_remedy(sight),
                );
            };
            let looks =
                rounded((approximate(facts.files) / period.as_secs_f64().max(0.001)).ceil());
            let every = humantime::format_duration(period);
            let what = format!(
                "{untold}; `run` looks at these files every {every} instead: {} looks/s",
                count(looks)
            );
            if looks > LOOKS_PER_SECOND && sight != Sight::Layers {
                let enough = facts.files.div_ceil(LOOKS_PER_SECOND);
                let remedy = format!(
                    "a file server suffers from that: set rescan_remote to {enough}s or more, or \
                    run manytail where the files are written"
                );
                return Finding::bad(Verdict::Problem, "file system", what, remedy);
            }
            warning(what, blind_remedy(sight))
        }
    }
}

fn blind_remedy(sight: Sight) -> &'static str {
    match sight {
        Sight::Layers => {
            "follow the overlay where its writers see it, as you do, and nothing is missed; else \
            set --rescan-remote"
        }
        _ => {
            "set --rescan-remote to the delay you can bear (each look at a file is a statx(2), \
            perhaps over the network; the client's \
             attribute cache adds to the delay), or run manytail where the files are written"
        }
    }
}

fn directories_read(survey: &Survey, system: &System) -> Finding {
    let trouble = &survey.unreadable_directories;
    if trouble.count == 0 {
        return Finding::ok(
            "permissions",
            format!("uid {}{} can list all directories", system.user, capability(system)),
        );
    }
    let (n, names) = (trouble.count, trouble.names.join(", "));
    let are = if n == 1 { "directory is" } else { "directories are" };
    let what = format!(
        "{} {are} not readable for uid {}{}, and nothing below is counted: {names}",
        count(n),
        system.user,
        capability(system)
    );
    Finding::bad(Verdict::Problem, "permissions", what, READ_REMEDY)
}

fn files_read(survey: &Survey, system: &System) -> Finding {
    let trouble = &survey.unreadable_files;
    let asked = format!(
        "{} of {} files asked (one per directory, and every 64th)",
        count(survey.sampled),
        count(survey.files)
    );
    if trouble.count == 0 {
        return Finding::ok("permissions", format!("{asked}: uid {} can read them", system.user));
    }
    let what = format!(
        "{asked}: {} cannot be read by uid {}: {}",
        count(trouble.count),
        system.user,
        trouble.names.join(", ")
    );
    Finding::bad(Verdict::Problem, "permissions", what, READ_REMEDY)
}

fn user_mounts(survey: &Survey) -> Finding {
    let (n, names) = (survey.user_mounts.count, survey.user_mounts.names.join(", "));
    let what = format!(
        "{} mount{} of users other than root: left out, since they answer when they please: \
        {names}",
        count(n),
        plural(n)
    );
    Finding::bad(
        Verdict::Warning,
        "mounts",
        what,
        "give the mount point as a PATH of its own if it is to be followed, and is trusted",
    )
}

fn hard_links() -> Finding {
    let what = "fs.protected_hardlinks is 0: whoever may write to a directory below a PATH can \
        link a file of another user into it, and have \
                it read (or say --same-owner)";
    Finding::bad(Verdict::Warning, "hard links", what.to_owned(), "")
        .set("fs.protected_hardlinks", 1)
}

const READ_REMEDY: &str = "run as a user who may read them, or give the service \
    CAP_DAC_READ_SEARCH (AmbientCapabilities= of systemd)";

fn capability(system: &System) -> &'static str {
    if system.reads_all { " with CAP_DAC_READ_SEARCH" } else { "" }
}

/// Twice what is needed, so that there is room to grow; at least what is recommended for all.
fn roomy(needed: u64, recommended: u64) -> u64 {
    needed.saturating_mul(2).checked_next_power_of_two().unwrap_or(u64::MAX).max(recommended)
}

fn not_told(about: &'static str, what: &str) -> Finding {
    Finding::bad(
        Verdict::Warning,
        about,
        format!("{what} cannot be read from procfs"),
        "mount procfs, or look at the limits yourself",
    )
}

/// Those that have inotify besides the run that is asked about: the one that has the state
/// directory, if one has.
fn other_processes(system: &System) -> impl Iterator<Item = &InotifyUse> + Clone {
    let own = match system.state.as_ref().map(|state| &state.condition) {
        Some(Condition::InUse(pid)) => *pid,
        _ => None,
    };
    system.inotify.iter().filter(move |found| Some(found.pid) != own)
}

fn watches(survey: &Survey, system: &System) -> Finding {
    let Some(Limit { sysctl, value: limit }) = system.watches_max else {
        return not_told("watches", "fs.inotify.max_user_watches");
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

fn instances(system: &System) -> Finding {
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
        return not_told("instances", "fs.inotify.max_user_instances");
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

fn queue(survey: &Survey, system: &System) -> Finding {
    let Some(Limit { sysctl, value: limit }) = system.queued_events_max else {
        return not_told("queue", "fs.inotify.max_queued_events");
    };
    let what = format!("{} events fit into the kernel's queue", count(limit));
    if limit < survey.files.min(QUEUED_EVENTS) {
        let what = format!(
            "{what}, fewer than there are files: a burst that touches more overflows it, and all \
            files are looked at then"
        );
        Finding::bad(Verdict::Warning, "queue", what, "").set(sysctl, QUEUED_EVENTS)
    } else {
        Finding::ok("queue", what)
    }
}

fn descriptors(system: &System) -> Finding {
    let Some(limit) = system.descriptors_max else {
        return not_told("descriptors", "the limit of open files");
    };
    let held = (limit / 4).min(u64::from(KEEP_OPEN));
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
        let what =
            format!("{what}; with more, fewer files would be lost if they are deleted meanwhile");
        Finding::bad(Verdict::Warning, "descriptors", what, remedy)
    } else {
        Finding::ok("descriptors", what)
    }
}

fn memory(survey: &Survey, system: &System) -> Finding {
    let kept = if system.state.is_some() { KEPT_BYTES } else { 0 };
    let needed = RUN_BYTES
        + survey.files * (FILE_BYTES + kept)
        + survey.name_bytes
        + survey.directories * DIRECTORY_BYTES;
    let Some(available) = system.memory_available else {
        return not_told("memory", "the available memory");
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

fn state(survey: &Survey, system: &System) -> Vec<Finding> {
    let Some(facts) = &system.state else {
        let what = "no state directory is given: offsets are in memory only, and a restart begins \
            at --from"
            .to_owned();
        return vec![Finding::bad(
            Verdict::Warning,
            "state directory",
            what,
            "--state-dir DIR, or StateDirectory= of systemd",
        )];
    };
    let mut findings = vec![condition(facts, system)];
    findings.extend(facts.file_system.and_then(|kind| state_file_system(facts, kind)));
    findings.extend(space(facts, survey));
    findings.extend(facts.shared.as_ref().map(|shared| {
        let (name, directory) = (facts.path.display(), shared.directory.display());
        let what = format!(
            "{name}: others can put something else in its place, because of the directory \
                {directory}, {}",
            shared.who
        );
        Finding::bad(
            Verdict::Warning,
            "state directory",
            what,
            "use a directory below one that only root or this user can write to",
        )
    }));
    findings
}

fn condition(facts: &StateFacts, system: &System) -> Finding {
    let name = facts.path.display();
    let bad = |verdict, what: String, remedy: &str| {
        Finding::bad(verdict, "state directory", format!("{name}: {what}"), remedy)
    };
    match &facts.condition {
        Condition::Usable { entries: 0 } => Finding::ok(
            "state directory",
            format!("{name}: can be written to, and holds no offsets yet"),
        ),
        Condition::Usable { entries } => Finding::ok(
            "state directory",
            format!(
                "{name}: can be written to, and holds the offsets of {} files",
                count(*entries as u64)
            ),
        ),
        Condition::ToBeMade(above) => Finding::ok(
            "state directory",
            format!("{name}: does not exist yet, and can be made in {}", above.display()),
        ),
        Condition::InUse(pid) => {
            let who = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
            bad(
                Verdict::Warning,
                format!("in use by {who}: a second run would refuse to start"),
                "stop that process first, or use another directory",
            )
        }
        Condition::Refused(why) => {
            let remedy = format!("give a directory that uid {} may write to", system.user);
            bad(Verdict::Problem, why.clone(), &remedy)
        }
        Condition::Damaged(why) => bad(
            Verdict::Problem,
            format!("a run would refuse to start: {why}"),
            "see `manytail offsets verify`",
        ),
    }
}

/// What holds offsets should survive, and belong to this machine.
fn state_file_system(facts: &StateFacts, kind: FileSystemType) -> Option<Finding> {
    let what = match kind.sight() {
        Sight::Full if matches!(kind.name(), Some("tmpfs" | "ramfs")) => {
            "what is on it is lost with the next boot"
        }
        Sight::Remote | Sight::Fuse => {
            "the lock may not keep out other machines, and each commit waits for the network"
        }
        _ => return None,
    };
    let what = format!("{}: on {kind}: {what}", facts.path.display());
    Some(Finding::bad(Verdict::Warning, "state directory", what, "use a directory on a local disk"))
}

fn space(facts: &StateFacts, survey: &Survey) -> Option<Finding> {
    let space = facts.space?;
    let needed = JOURNALS * journal::bytes_max(survey.files);
    let inodes = space.inodes.map_or(String::new(), |free| format!(" and {} inodes", count(free)));
    let name = facts.path.display();
    let what = format!(
        "{name}: {}{inodes} free, at most {} needed",
        bytes_text(space.bytes),
        bytes_text(needed)
    );
    let remedy = "make room there, or use another directory: without room, offsets are kept in \
        memory until there is some";
    let verdict = if space.bytes < needed || space.inodes.is_some_and(|free| free < STATE_INODES) {
        Verdict::Problem
    } else if space.bytes < needed * 2 {
        Verdict::Warning
    } else {
        return Some(Finding::ok("state directory", what));
    };
    Some(Finding::bad(verdict, "state directory", what, remedy))
}

#[cfg(test)]
mod tests;
