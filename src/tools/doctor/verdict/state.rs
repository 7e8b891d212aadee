//! Verdicts on the state directory: whether a run can use it, where it is, and its room.
//!
//! In: a [`Survey`] and a [`System`]. Out: findings.
//! Always holds: pure.

use super::{Finding, Verdict};
use crate::checkpoint::journal;
use crate::file_systems::{FileSystemType, Sight};
use crate::status::numbers::{bytes_text, count};
use crate::tools::doctor::survey::Survey;
use crate::tools::doctor::system::{Condition, StateFacts, System};

/// While a journal is rewritten there are two of them.
const JOURNALS: u64 = 2;
const STATE_INODES: u64 = 8;

pub(super) fn state(survey: &Survey, system: &System) -> Vec<Finding> {
    let Some(facts) = &system.state else {
        let what =
            "no state directory is set: offsets are in memory only, and a restart begins at --from"
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
            "{name}: others can replace it, because of the directory \
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
            format!("{name}: can be written to, and has no offsets yet"),
        ),
        Condition::Usable { entries } => Finding::ok(
            "state directory",
            format!(
                "{name}: can be written to, and has the offsets of {} files",
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
            let remedy = format!("set a directory that uid {} can write to", system.user);
            bad(Verdict::Problem, why.clone(), &remedy)
        }
        Condition::Damaged(why) => bad(
            Verdict::Problem,
            format!("a run would refuse to start: {why}"),
            "see `manytail offsets verify`",
        ),
    }
}

/// Offsets should survive a boot, and belong to this machine.
fn state_file_system(facts: &StateFacts, kind: FileSystemType) -> Option<Finding> {
    let what = match kind.sight() {
        Sight::Full if matches!(kind.name(), Some("tmpfs" | "ramfs")) => {
            "its content is lost at the next boot"
        }
        Sight::Remote | Sight::Fuse => {
            "the lock may not exclude other machines, and each commit waits for the network"
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
    let remedy = "make room there, or use another directory: without room, offsets stay in memory \
        until there is some";
    let verdict = if space.bytes < needed || space.inodes.is_some_and(|free| free < STATE_INODES) {
        Verdict::Problem
    } else if space.bytes < needed * 2 {
        Verdict::Warning
    } else {
        return Some(Finding::ok("state directory", what));
    };
    Some(Finding::bad(verdict, "state directory", what, remedy))
}
