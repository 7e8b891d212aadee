//! `manytail doctor`: whether this machine, this user and these trees meet the needs of a run, and
//! what to do where they do not.
//!
//! In: a [`Request`]. Out: findings as text or JSON, and whether one of them is a problem. There
//! are three steps: `survey`, `system` and `tries` examine the system, `verdict` judges the facts,
//! `report` prints the findings.
//! Always holds: nothing is changed, and no followed file is opened.

mod report;
mod survey;
mod system;
mod tries;
mod verdict;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;
use crate::tools::style::Style;
use crate::tools::walk::Trees;
pub(crate) use verdict::Verdict;

/// What else a run uses: `doctor` tries each of them.
#[derive(Debug)]
pub struct Tried {
    /// The settings of the run, without its inputs.
    pub config: Config,
}

/// The arguments of `doctor`.
#[derive(Debug)]
pub struct Request {
    /// What a run would follow.
    pub trees: Trees,
    /// Where offsets are stored across restarts.
    pub state_dir: Option<PathBuf>,
    /// How often files are checked where other machines write unseen; `None`: no more often than
    /// elsewhere.
    pub rescan_remote: Option<Duration>,
    /// The outputs and sockets to try, if the settings are known.
    pub tried: Option<Tried>,
    /// How the answer is written.
    pub style: Style,
}

/// Examines, judges and writes the answer. Returns whether there is no problem. A reader that stops
/// early (`| head`) is not an error.
///
/// # Errors
/// When the answer cannot be written.
pub(crate) fn run(request: &Request, out: &mut impl Write) -> io::Result<bool> {
    let survey = survey::survey(request);
    let system = system::look(request);
    let mut findings = verdict::judge(&survey, &system, request.rescan_remote);
    if let Some(tried) = &request.tried {
        let config = &tried.config;
        findings.extend(tries::output(config));
        findings.extend(config.metrics.iter().map(tries::metrics));
        findings.extend(config.control_socket.as_deref().map(tries::control_socket));
    }
    let is_well = findings.iter().all(|finding| finding.verdict != Verdict::Problem);
    match report::write(&findings, &survey, request.style, out) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(is_well),
    }
}

/// Tries the output alone, and writes the findings to `out`. Returns whether there is no problem.
///
/// # Errors
/// When the answer cannot be written.
pub(crate) fn try_output(config: &Config, out: &mut impl Write) -> io::Result<bool> {
    let findings = tries::output(config);
    for finding in &findings {
        writeln!(out, "{}", finding.finding)?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "   -> {remedy}")?;
        }
    }
    Ok(findings.iter().all(|finding| finding.verdict != Verdict::Problem))
}
