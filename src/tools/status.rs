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
use crate::status::Status;
use crate::status::file::{FileState, FileStatus, ListKind, Listed, ListedPage};
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
    if !request.files.is_empty() {
        return files(request, out);
    }
    let before: Status = question(&request.socket, "/status")?;
    clock::pause(BETWEEN_LOOKS);
    let after: Status = question(&request.socket, "/status")?;
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

fn files(request: &StatusRequest, out: &mut impl Write) -> Result<Outcome, ToolError> {
    let mut outcome = Outcome::Well;
    for path in &request.files {
        let found = file(request, path)?;
        if !found.state.is_well() {
            outcome = Outcome::Trouble;
        }
        match request.style {
            Style::Text => out.write_all(screen::file(&found).as_bytes())?,
            Style::Json => {
                serde_json::to_writer(&mut *out, &found)?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()?;
    Ok(outcome)
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
