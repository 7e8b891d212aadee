//! Commands that examine a tree or ask a running daemon, and their output on a terminal.
//!
//! In: parsed requests. Out: text or JSON on standard output, and an outcome for the exit code.
//! Always holds: nothing here changes a run or a followed file; `offsets forget` alone changes a
//! state directory. What a tool shows of a run comes from the daemon.

pub(crate) mod doctor; // `manytail doctor`, and `check --connect`
pub(crate) mod jobs; // `manytail jobs`
pub(crate) mod offsets; // `manytail offsets`
pub(crate) mod placement; // `manytail check --path`
pub(crate) mod progress; // the progress line of a run
pub(crate) mod status; // `manytail status`
pub(crate) mod style; // text or json
pub(crate) mod tap; // `manytail tap`
pub(crate) mod top; // `manytail top`
pub(crate) mod walk; // through trees, as a run would follow them

mod client; // asks over a control socket
mod health; // is it keeping up?
mod screen; // `status` and `top` as text
mod text; // rates, times and lines for a screen

use std::io;
use std::time::Duration;

pub(crate) use client::AskError;

/// How long a command waits for an answer. A daemon answers within one turn, some milliseconds,
/// unless it is busy or swapped out.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Everything is well.
    Well,
    /// The run does not keep up, something needs attention, or a file is not read.
    Trouble,
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// There is no daemon, or no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Most likely the daemon has another version.
    #[error("cannot parse the answer: {0}")]
    Answer(#[from] serde_json::Error),
    /// The answer cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}
