//! Verdicts on the trees: PATHs, file systems, permissions, mounts.
//!
//! In: a [`Survey`]. Out: findings.
//! Always holds: pure.

use std::time::Duration;

use super::{Finding, Verdict};
use crate::file_systems::Sight;
use crate::names::is_glob;
use crate::status::file::shown;
use crate::status::numbers::{approximate, count, counted, plural, rounded};
use crate::tools::doctor::survey::{FileSystemFacts, PathFacts, SAMPLE_EVERY, Survey};
use crate::tools::doctor::system::System;
use crate::tools::walk::PathKind;

/// More checks per second than this of files on a server slow down its other users.
const LOOKS_PER_SECOND: u64 = 1_000;

const READ_REMEDY: &str = "run as a user who can read them, or give the service \
    CAP_DAC_READ_SEARCH (AmbientCapabilities= of systemd)";

/// The PATH, with the number of its input if there are several.
fn name_of(facts: &PathFacts) -> String {
    let path = shown(&facts.path);
    facts.input.map_or(path.clone(), |number| format!("{path} (input {number})"))
}

pub(super) fn path(facts: &PathFacts) -> Finding {
    let name = name_of(facts);
    let problem = |what: &str, remedy: &str| {
        Finding::bad(Verdict::Problem, "path", format!("{name}: {what}"), remedy)
    };
    match &facts.kind {
        PathKind::Directory => {
            let (directories, files) = (facts.directories, facts.files);
            let what = format!(
                "{name}: {} and {} would be followed",
                counted(directories, "directory", "directories"),
                counted(files, "file", "files"),
            );
            // No directories: everything is below another PATH.
            if files == 0 && directories > 0 {
                let remedy = "if there should be files by now: correct the PATH, or the globs \
                    (`manytail status --list excluded` lists what a run excludes)";
                return Finding::bad(Verdict::Warning, "path", what, remedy);
            }
            Finding::ok("path", what)
        }
        PathKind::File => Finding::ok("path", format!("{name}: a file, would be followed")),
        PathKind::Missing if is_glob(&facts.path) => problem(
            "does not exist, and a PATH is not a glob",
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
            &format!("cannot be examined: {why}"),
            "let the user of the run search the directories above it",
        ),
    }
}

/// Files and directories that the globs and other settings exclude below a PATH.
pub(super) fn left_out(facts: &PathFacts) -> Option<Finding> {
    let mut all: Vec<_> = facts.left_out.iter().collect();
    all.sort_by_key(|left_out| std::cmp::Reverse(left_out.count));
    let words: Vec<String> = all
        .iter()
        .map(|left_out| {
            format!("{} {} (as {})", count(left_out.count), left_out.why, left_out.first)
        })
        .collect();
    (!words.is_empty())
        .then(|| Finding::ok("left out", format!("{}: {}", name_of(facts), words.join("; "))))
}

/// What the pattern for jobs makes of the files.
pub(super) fn jobs(facts: &PathFacts) -> Option<Finding> {
    let jobs = facts.jobs.as_ref()?;
    let all = jobs.matched + jobs.others;
    let mut what = format!(
        "{}: the pattern for jobs matches {} of {}",
        name_of(facts),
        count(jobs.matched),
        counted(all, "file", "files")
    );
    if jobs.others > 0 {
        what = format!("{what}, but not {}", jobs.names.join(", "));
        let unnamed = jobs.others - jobs.names.len() as u64;
        if unnamed > 0 {
            what = format!("{what} and {} more", count(unnamed));
        }
    }
    Some(if jobs.matched > 0 {
        Finding::ok("jobs", what)
    } else {
        Finding::bad(
            Verdict::Warning,
            "jobs",
            what,
            "correct `job`: `manytail check --path FILE` shows what it makes of a name",
        )
    })
}

pub(super) fn file_system(facts: &FileSystemFacts, rescan_remote: Option<Duration>) -> Finding {
    let (name, files) = (shown(&facts.path), count(facts.files));
    let s = plural(facts.files);
    let Some(kind) = facts.kind else {
        let what = format!(
            "{name}: the type of its file system is unknown; treated as a remote one, {files} \
            file{s}"
        );
        return Finding::bad(
            Verdict::Warning,
            "file system",
            what,
            "check the mount: statfs(2) fails there",
        );
    };
    let warning =
        |what: String, remedy: &str| Finding::bad(Verdict::Warning, "file system", what, remedy);
    match kind.sight() {
        Sight::Full if kind.name().is_none() => warning(
            format!(
                "{name}: file system of {kind}, which manytail does not know, with {files} \
                file{s}: treated as a local one"
            ),
            "if other machines write to it, lower --rescan: inotify does not report their writes",
        ),
        Sight::Full => Finding::ok(
            "file system",
            format!(
                "{name}: {kind}, {files} file{s}; events report all writes except those by mmap"
            ),
        ),
        Sight::Pseudo => Finding::bad(
            Verdict::Problem,
            "file system",
            format!(
                "{name}: {kind}, {files} file{s}: inotify does not report {}",
                kind.sight().untold()
            ),
            "leave it out: there are no logs there",
        ),
        sight => {
            let untold = format!(
                "{name}: {kind}, {files} file{s}: inotify does not report {}",
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
                    "this is too much for a file server: set rescan_remote to {enough}s or more, \
                    or run manytail where the files are written"
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
            "if the writers use this overlay, too, nothing is missed; else set --rescan-remote"
        }
        _ => {
            "set --rescan-remote to the delay you can bear (each look at a file is a statx(2), \
            perhaps over the network; the client's attribute cache adds to the delay), or run \
            manytail where the files are written"
        }
    }
}

pub(super) fn directories_read(survey: &Survey, system: &System) -> Finding {
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

pub(super) fn files_read(survey: &Survey, system: &System) -> Finding {
    let trouble = &survey.unreadable_files;
    let asked = format!(
        "{} of {} files checked (one per directory, and every {SAMPLE_EVERY}th)",
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

pub(super) fn user_mounts(survey: &Survey) -> Finding {
    let (n, names) = (survey.user_mounts.count, survey.user_mounts.names.join(", "));
    let what = format!(
        "{} mount{} of users other than root: not followed, since they can delay every call: \
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

pub(super) fn hard_links() -> Finding {
    let what = "fs.protected_hardlinks is 0: anyone who can write to a directory below a PATH can \
        link a file of another user into it, and have it read (or use --same-owner)";
    Finding::bad(Verdict::Warning, "hard links", what.to_owned(), "")
        .set("fs.protected_hardlinks", 1)
}

fn capability(system: &System) -> &'static str {
    if system.reads_all { " with CAP_DAC_READ_SEARCH" } else { "" }
}

/// Files that are neither regular nor directories.
pub(super) fn special(number: u64) -> Finding {
    let s = plural(number);
    let what = format!("{} FIFO{s}, socket{s} or device{s}: never opened", count(number));
    Finding::ok("files", what)
}
