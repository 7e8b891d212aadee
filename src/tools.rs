//! Commands that look at a tree or ask a running daemon, and what a person at a terminal sees.
//!
//! In: requests as parsed. Out: text or JSON on standard output, and an outcome for the exit code.
//! Always holds: nothing here changes a run or a file; the daemon alone knows, the tools show it.

pub mod doctor; // `manytail doctor`, and `check --connect`
pub mod offsets; // `manytail offsets`
pub mod progress; // the progress line of a run
pub mod status; // `manytail status`
pub mod style; // text or json
pub mod tap; // `manytail tap`
pub mod top; // `manytail top`

mod client; // asks over a control socket
mod health; // is it keeping up?
mod screen; // `status` and `top` as text
mod text; // rates, times and lines for a screen

use std::io;
use std::time::Duration;

pub use client::AskError;

/// A daemon answers within one turn, some milliseconds. One that is busy or swapped out gets this
/// long.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Well,
    /// Not keeping up, something needs somebody, or a file is not read.
    Trouble,
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// No daemon, or no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The daemon is of another version, most likely.
    #[error("the answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
    /// The answer cannot be shown.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}
