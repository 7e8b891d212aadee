//! The questions that a running process answers: paths, and their handlers.
//!
//! In: a request and the engine. Out: a response.
//! Always holds: an answer is made at once; its cost does not grow with the number of files.

use serde::Serialize;

use super::Running;
use super::http::{self, Request, Response};
use crate::engine::EngineError;
use crate::status::file::{FileState, FileStatus, ListKind};
use crate::status::prometheus;
use crate::status::{About, Status};
use crate::sys::clock::Now;
use crate::sys::{host, process};
use crate::tap;

/// The media type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A question, and everything that is needed to answer it.
pub(super) struct Question<'a> {
    pub(super) engine: &'a mut Running,
    pub(super) about: &'a About,
    pub(super) now: Now,
    /// The client may see the lines of logs.
    pub(super) may_see_lines: bool,
}

impl Question<'_> {
    /// The status of the run now.
    pub(super) fn status(&mut self) -> Status {
        let mut status = self.engine.status(self.now);
        let inputs = std::mem::take(&mut status.about.inputs);
        status.about = About { inputs, ..self.about.clone() };
        let since =
            self.now.wall.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        status.about.uptime = (since.as_secs_f64() - status.about.start_time).max(0.0);
        status.output.kind = self.about.output.split(':').next().unwrap_or_default().to_owned();
        status.directories.watches_max = host::watches_max().map_or(0, |limit| limit.value);
        status.process = process::look();
        status
    }
}

/// Answers a question; the text is the query after the `?`.
type Answer = fn(&mut Question<'_>, &str) -> Response;

/// The paths of one listener.
pub(super) type Routes = &'static [(&'static str, Answer)];

/// The paths of `--metrics`.
pub(super) const METRICS: Routes = &[("/metrics", prometheus), ("/", index)];

/// The paths of the control socket.
pub(super) const CONTROL: Routes = &[
    ("/status", status),
    ("/file", file),
    ("/list", list),
    ("/inputs", inputs),
    ("/job", job),
    ("/tap", tap),
    ("/top", top),
    ("/metrics", prometheus),
];

/// Answers a request.
pub(super) fn answer(
    routes: Routes,
    request: &Request<'_>,
    engine: &mut Running,
    about: &About,
    (now, may_see_lines): (Now, bool),
) -> Response {
    match routes.iter().find(|(path, _)| *path == request.path) {
        Some((_, answer)) => {
            answer(&mut Question { engine, about, now, may_see_lines }, request.query)
        }
        None => Response::refusal(404),
    }
}

fn index(_: &mut Question<'_>, _: &str) -> Response {
    Response::text("manytail: metrics are at /metrics\n")
}

fn prometheus(question: &mut Question<'_>, _: &str) -> Response {
    let body = prometheus::text(&question.status()).into_bytes();
    Response { code: 200, media_type: PROMETHEUS_TEXT, body }
}

fn status(question: &mut Question<'_>, _: &str) -> Response {
    json(&question.status())
}

/// `path=`: the status of this file.
fn file(question: &mut Question<'_>, query: &str) -> Response {
    match http::value(query, "path") {
        Some(path) if !path.is_empty() && !path.contains(&0) => match explain(question, &path) {
            Ok(found) => json(&found),
            Err(error) => failed(&error),
        },
        _ => Response::refusal(400),
    }
}

/// `kind=` and `cursor=`: a page of a list.
fn list(question: &mut Question<'_>, query: &str) -> Response {
    let name = http::value(query, "kind").and_then(|value| String::from_utf8(value).ok());
    let kind = name.and_then(|kind| {
        ListKind::NAMES.iter().find(|(name, _)| *name == kind).map(|(_, kind)| *kind)
    });
    match (kind, cursor(query)) {
        (Some(kind), Some(cursor)) => match question.engine.list_page(kind, cursor, question.now) {
            Some(page) => json(&page),
            None => Response::refusal(410),
        },
        _ => Response::refusal(400),
    }
}

/// `cursor=`: how many files of a part belong to which input.
fn inputs(question: &mut Question<'_>, query: &str) -> Response {
    match cursor(query) {
        Some(cursor) => json(&question.engine.count_files(cursor)),
        None => Response::refusal(400),
    }
}

/// `id=` and `cursor=`: some files of a job.
fn job(question: &mut Question<'_>, query: &str) -> Response {
    match (http::value(query, "id"), cursor(query)) {
        (Some(id), Some(cursor)) if !id.is_empty() => {
            json(&question.engine.files_of_job(&id, cursor, question.now))
        }
        _ => Response::refusal(400),
    }
}

fn cursor(query: &str) -> Option<u64> {
    String::from_utf8(http::value(query, "cursor")?).ok()?.parse().ok()
}

fn explain(question: &mut Question<'_>, path: &[u8]) -> Result<FileStatus, EngineError> {
    let Question { engine, now, .. } = question;
    let found = engine.explain(path, *now);
    if !matches!(found.state, FileState::NotNoticed | FileState::NotSeen) {
        return Ok(found);
    }
    // An event about the file may have arrived since the last turn: then the file is not unnoticed,
    // but about to be read.
    engine.take_events(*now)?;
    Ok(engine.explain(path, *now))
}

/// A first line with the number of records that did not fit, then records. A client that may not
/// see the lines of logs gets their lengths instead.
fn tap(question: &mut Question<'_>, _: &str) -> Response {
    let (records, missed) = question.engine.tap(question.now);
    let mut body = format!("{missed}\n").into_bytes();
    if question.may_see_lines {
        body.extend_from_slice(&records);
    } else {
        let format = question.engine.format();
        records
            .split_inclusive(|&byte| byte == b'\n')
            .for_each(|record| tap::without_line(format, record, &mut body));
    }
    Response { code: 200, media_type: "application/octet-stream", body }
}

fn top(question: &mut Question<'_>, _: &str) -> Response {
    json(&question.engine.top(question.now))
}

fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => Response { code: 200, media_type: "application/json", body },
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "a question cannot be answered");
    Response::refusal(500)
}
