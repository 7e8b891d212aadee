//! The files that are furthest behind and the busiest ones, as `manytail top` shows them.
//!
//! In: nothing; [`crate::engine::Engine::top`] fills it in. Out: [`Top`], as JSON between the
//! daemon and whoever asks.

use serde::{Deserialize, Serialize};

use crate::status::file::PathText;

/// Files that somebody should know of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// The files with the most unread bytes among those that were looked at, most first.
    pub behind: Vec<BehindFile>,
    /// Files that wait to be read.
    pub waiting_files: u64,
    /// How many of them were looked at: all, or the oldest and some of the others.
    pub looked_at: u64,
    /// The files of which most was read within the interval, most first.
    pub busiest: Vec<BusyFile>,
    /// How long the interval was; 0: counting has just begun.
    pub interval_seconds: f64,
}

/// A file with unread bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BehindFile {
    /// As records show it.
    #[serde(flatten)]
    pub path: PathText,
    /// Bytes behind the offset.
    pub unread_bytes: u64,
    /// Bytes from the start of the file up to the first that was not yet encoded.
    pub offset: u64,
}

/// A file that is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BusyFile {
    /// As records show it.
    #[serde(flatten)]
    pub path: PathText,
    /// At least so many bytes became records within the interval.
    pub bytes: u64,
    /// At least so many records.
    pub records: u64,
}
