//! `manytail status`: the state of a running daemon, asked over its control socket.
//!
//! In: a parsed request. Out: text or JSON, and an [`Outcome`] for the exit code.
//! Always holds: no question waits longer than `ANSWER_WITHIN` for its answer.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::printable;
use crate::status::file::{FileState, FileStatus, JobPage, ListKind, Listed, ListedPage};
use crate::status::{FilesOfInputs, Status};
use crate::sys::clock;
use crate::tools::client::{ask, percent_encoded};
use crate::tools::health::{Health, Rates};
use crate::tools::style::Style;
use crate::tools::{ANSWER_WITHIN, Outcome, ToolError, screen};

/// How many unreadable files and directories the status names.
const NAMED_MAX: usize = 3;

/// How many pages of the list are asked for to find them: the pages also have excluded files, which
/// may be many.
const PAGES_FOR_NAMES: usize = 64;

/// The time between the two states from which rates are computed.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// The arguments of `status`.
#[derive(Debug)]
pub struct StatusRequest {
    /// The daemon's control socket.
    pub socket: PathBuf,
    /// How the answer is written.
    pub style: Style,
    /// The files to explain; none: the daemon itself.
    pub files: Vec<Vec<u8>>,
    /// The number of the job whose files are explained instead.
    pub job: Option<String>,
    /// The list to print instead.
    pub list: Option<ListKind>,
}

/// The complete answer, as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    health: &'a Health,
    rates: Rates,
    status: &'a Status,
}

/// Asks, and writes the answer to `out`.
///
/// # Errors
/// When no daemon answers, or `out` takes nothing.
pub(crate) fn status(request: &StatusRequest, out: &mut impl Write) -> Result<Outcome, ToolError> {
    if let Some(kind) = request.list {
        return list(request, kind, out);
    }
    if let Some(number) = &request.job {
        return job(request, number, out);
    }
    if !request.files.is_empty() {
        return files(request, out);
    }
    let before: Status = question(&request.socket, "/status")?;
    clock::pause(BETWEEN_LOOKS);
    let mut after: Status = question(&request.socket, "/status")?;
    // A daemon of another version may not count.
    if after.inputs.len() > 1 || request.style == Style::Json {
        let _ = count_files(&request.socket, &mut after);
    }
    let rates = Rates::between(&before, &after);
    let mut unreadable = Vec::new();
    if after.files.unreadable + after.directories.unreadable > 0 {
        each_listed(&request.socket, ListKind::Unreadable, PAGES_FOR_NAMES, |entry| {
            unreadable.push(entry);
            Ok(unreadable.len() < NAMED_MAX)
        })?;
    }
    let health = Health::new(&after, &rates, &unreadable);
    match request.style {
        Style::Text => out.write_all(screen::status(&after, &rates, &health).as_bytes())?,
        Style::Json => {
            serde_json::to_writer(&mut *out, &Report { health: &health, rates, status: &after })?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(if health.is_well() { Outcome::Well } else { Outcome::Trouble })
}

/// Prints a list, one entry per line.
fn list(
    request: &StatusRequest,
    kind: ListKind,
    out: &mut impl Write,
) -> Result<Outcome, ToolError> {
    let forgotten = each_listed(&request.socket, kind, usize::MAX, |entry| {
        match request.style {
            Style::Text => {
                // A reason that begins with this path need not repeat it.
                let (path, why) = (entry.path.shown(), printable(&entry.why));
                writeln!(out, "{path}\t{}", why.strip_prefix(&format!("{path} ")).unwrap_or(&why))?;
            }
            Style::Json => {
                serde_json::to_writer(&mut *out, &entry)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(true)
    })?;
    if forgotten > 0 && request.style == Style::Text {
        writeln!(
            out,
            "(and {} before these, which are not remembered)",
            crate::status::numbers::count(forgotten)
        )?;
    }
    out.flush()?;
    Ok(Outcome::Well)
}

/// Asks for a list page by page, until its end or until `take` returns false. Returns how many
/// entries are no longer remembered.
fn each_listed(
    socket: &std::path::Path,
    kind: ListKind,
    pages_max: usize,
    mut take: impl FnMut(Listed) -> Result<bool, ToolError>,
) -> Result<u64, ToolError> {
    let (mut cursor, mut forgotten) = (0, 0);
    for _ in 0..pages_max {
        let page: ListedPage =
            question(socket, &format!("/list?kind={}&cursor={cursor}", kind.name()))?;
        for entry in page.entries {
            if !take(entry)? {
                return Ok(page.forgotten);
            }
        }
        forgotten = page.forgotten;
        match page.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    Ok(forgotten)
}

/// Asks how many files each input has, part by part.
fn count_files(socket: &std::path::Path, status: &mut Status) -> Result<(), ToolError> {
    let mut all = vec![0; status.inputs.len()];
    let mut next = Some(0);
    while let Some(cursor) = next {
        let part: FilesOfInputs = question(socket, &format!("/inputs?cursor={cursor}"))?;
        all.iter_mut().zip(part.files).for_each(|(all, files)| *all += files);
        next = part.next;
    }
    status.inputs.iter_mut().zip(all).for_each(|(input, files)| input.files = Some(files));
    Ok(())
}

/// Explains the files of a job.
fn job(request: &StatusRequest, number: &str, out: &mut impl Write) -> Result<Outcome, ToolError> {
    let (mut outcome, mut next, mut is_told) = (None, Some(0), false);
    while let Some(cursor) = next {
        let id = percent_encoded(number.as_bytes());
        let page: JobPage = question(&request.socket, &format!("/job?id={id}&cursor={cursor}"))?;
        for file in page.files {
            outcome = outcome.max(Some(write_file(&file, request.style, out)?));
        }
        (next, is_told) = (page.next, page.is_told);
    }
    if outcome.is_none() && request.style == Style::Text {
        let number = printable(number);
        if is_told {
            writeln!(out, "no file that is followed has a name of job {number}")?;
        } else {
            writeln!(
                out,
                "no input has a pattern with a group `id` (job = PATTERN, or a preset): the names \
                of files tell no job"
            )?;
        }
    }
    out.flush()?;
    Ok(outcome.unwrap_or(Outcome::Trouble))
}

fn files(request: &StatusRequest, out: &mut impl Write) -> Result<Outcome, ToolError> {
    let mut outcome = Outcome::Well;
    for path in &request.files {
        let found = file(request, path)?;
        outcome = write_file(&found, request.style, out)?.max(outcome);
    }
    out.flush()?;
    Ok(outcome)
}

fn write_file(file: &FileStatus, style: Style, out: &mut impl Write) -> Result<Outcome, ToolError> {
    match style {
        Style::Text => out.write_all(screen::file(file).as_bytes())?,
        Style::Json => {
            serde_json::to_writer(&mut *out, file)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(if file.state.is_well() { Outcome::Well } else { Outcome::Trouble })
}

/// Asks about one file. A relative path is tried relative to the daemon's working directory first,
/// as in records, then relative to this command's. The daemon examines only what is below its
/// PATHs, so links that lead there are resolved here, with the permissions of this user.
fn file(request: &StatusRequest, path: &[u8]) -> Result<FileStatus, ToolError> {
    let target = |path: &[u8]| format!("/file?path={}", percent_encoded(path));
    let found: FileStatus = question(&request.socket, &target(path))?;
    let is_unknown =
        |found: &FileStatus| matches!(found.state, FileState::NotCovered | FileState::Missing);
    if !is_unknown(&found) {
        return Ok(found);
    }
    let mut found = found;
    let Ok(here) = std::env::current_dir() else { return Ok(found) };
    let absolute = here.join(OsStr::from_bytes(path));
    if !path.starts_with(b"/") {
        found = question(&request.socket, &target(absolute.as_os_str().as_bytes()))?;
    }
    if found.state == FileState::NotCovered
        && let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name())
        && let Ok(above) = above.canonicalize()
    {
        let real: FileStatus =
            question(&request.socket, &target(above.join(name).as_os_str().as_bytes()))?;
        if real.state != FileState::NotCovered {
            return Ok(real);
        }
    }
    Ok(found)
}

fn question<T: DeserializeOwned>(socket: &std::path::Path, target: &str) -> Result<T, ToolError> {
    Ok(serde_json::from_slice(&ask(socket, target, ANSWER_WITHIN)?)?)
}
