//! `manytail doctor`: whether this machine, this user and these trees are what a run needs, and what to do where they are not.
//!
//! In: a [`Request`]. Out: findings as text or json, and whether one of them is a problem.
//! Three steps, of which only the first looks at the world: `survey` and `system` gather facts, `verdict` judges them, `report` says
//! it. Always holds: nothing is changed, no followed file is opened.

mod report;
mod survey;
mod system;
mod verdict;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::offsets::Style;
use crate::patterns::Patterns;
use crate::sys::LinkRule;
pub use verdict::{Finding, Verdict};

/// What is to be looked at.
#[derive(Debug)]
pub struct Request {
    /// Each PATH as given, as bytes: a directory or a file.
    pub paths: Vec<Vec<u8>>,
    /// Include and exclude globs.
    pub patterns: Patterns,
    /// Whether sub-directories are followed.
    pub recursive: bool,
    /// Which symbolic links below PATH are followed.
    pub follow_links: Option<LinkRule>,
    /// Whether only files are to be read that belong to the owner of the first component below PATH.
    pub same_owner: bool,
    /// Where offsets are to be kept across restarts.
    pub state_dir: Option<PathBuf>,
    /// How the answer is written.
    pub style: Style,
}

/// Looks, judges and writes the answer. Gives whether there is no problem. A reader who has enough of it (`| head`) is no error.
///
/// # Errors
/// When the answer cannot be written.
pub fn run(request: &Request, out: &mut impl Write) -> io::Result<bool> {
    let survey = survey::survey(request);
    let system = system::look(request);
    let findings = verdict::judge(&survey, &system);
    let is_well = findings.iter().all(|finding| finding.verdict != Verdict::Problem);
    match report::write(&findings, &survey, request.style, out) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(is_well),
    }
}
