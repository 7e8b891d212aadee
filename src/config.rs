//! The settings of a run: validated, typed, every limit with its unit.
//!
//! In: what [`crate::cli`] parsed. Out: [`Config`], which nothing has to check again.

use std::path::PathBuf;
use std::time::Duration;

use crate::patterns::Patterns;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The line's bytes and a newline.
    Raw,
    /// Path, TAB, the line's bytes, newline.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where to start in files that exist at the first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Byte 0.
    Beginning,
    /// The start of the last, unfinished line, or the end.
    End,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An inherited descriptor; 1 is stdout.
    Descriptor(i32),
    /// Created (0640) and appended to; a FIFO is served as a pipe.
    File(PathBuf),
    /// A unix stream socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

/// What the engine needs to know. See [`Config`] for the rest.
#[derive(Debug)]
pub struct EngineConfig {
    /// Each PATH as given, as bytes: a directory or a file.
    pub paths: Vec<Vec<u8>>,
    /// Include and exclude globs.
    pub patterns: Patterns,
    /// Whether sub-directories are followed.
    pub recursive: bool,
    /// Whether symbolic links below PATH are followed.
    pub follow_links: bool,
    /// How records are written.
    pub format: Format,
    /// Where to start in files found by the first scan.
    pub from: From,
    /// Read all there is, then finish.
    pub once: bool,
    /// Least time between two opens of one file.
    pub coalesce: Duration,
    /// Longest line, in bytes without its newline, that is one record.
    pub line_bytes_max: usize,
    /// After how long without growth an unterminated last line is delivered; `None` = never.
    pub partial_after: Option<Duration>,
    /// How often the sweep looks at every file; `None` = never.
    pub rescan: Option<Duration>,
    /// Files not modified for this long when first seen start at their end.
    pub ignore_older: Option<Duration>,
}

/// A whole run.
#[derive(Debug)]
pub struct Config {
    /// The engine's part.
    pub engine: EngineConfig,
    /// Where records go.
    pub output: Output,
    /// Least time between two turns that follow each other; zero = none.
    pub pace: Duration,
    /// How long to wait, after SIGTERM, for the output to take what was already read.
    pub shutdown_timeout: Duration,
}
