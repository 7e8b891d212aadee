//! Facts -> findings: what is well, what is not, why, and what to do.
//!
//! In: a [`Survey`] and a [`System`]. Out: [`Finding`]s, in the order in which a reader wants them:
//! the trees, the limits of this machine, the state directory.
//! Always holds: pure; a finding that is not ok has a remedy.

mod limits;
mod state;
mod trees;

use std::time::Duration;

use serde::Serialize;

use super::survey::Survey;
use super::system::System;

/// How severe a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could.
    Warning,
    /// Something will be missed, or nothing will start.
    Problem,
}

/// A sysctl and the value that it should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Sysctl {
    /// As in sysctl.conf(5).
    pub name: &'static str,
    /// The lowest sufficient value.
    pub value: u64,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How severe it is.
    pub verdict: Verdict,
    /// The subject, in a word.
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

/// Judges everything.
pub(super) fn judge(
    survey: &Survey,
    system: &System,
    rescan_remote: Option<Duration>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = survey
        .paths
        .iter()
        .flat_map(|facts| [Some(trees::path(facts)), trees::left_out(facts), trees::jobs(facts)])
        .flatten()
        .collect();
    findings.extend((survey.special > 0).then(|| trees::special(survey.special)));
    findings
        .extend(survey.file_systems.iter().map(|facts| trees::file_system(facts, rescan_remote)));
    findings.push(trees::directories_read(survey, system));
    findings.push(trees::files_read(survey, system));
    findings.extend(system.reads_links_of_others.then(trees::hard_links));
    findings.extend((survey.user_mounts.count > 0).then(|| trees::user_mounts(survey)));
    findings.extend([
        limits::watches(survey, system),
        limits::instances(system),
        limits::queue(survey, system),
        limits::descriptors(system),
        limits::memory(survey, system),
    ]);
    findings.extend(state::state(survey, system));
    findings
}

#[cfg(test)]
mod tests;
