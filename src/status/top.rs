//! The files furthest behind and the busiest files, as `manytail top` shows them.
//!
//! In: nothing; [`crate::engine::Engine::top`] fills it in. Out: [`Top`], sent as JSON from the
//! daemon to its clients.

use serde::{Deserialize, Serialize};

use crate::status::file::PathText;

/// The files furthest behind and the busiest files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// The files with the most unread bytes in the sample, most first.
    pub behind: Vec<BehindFile>,
    /// Files that wait to be read.
    pub waiting_files: u64,
    /// The size of the sample: all of them, or the oldest and some of the others.
    pub looked_at: u64,
    /// The files of which the most bytes were read within the interval, most first.
    pub busiest: Vec<BusyFile>,
    /// The length of the interval; 0: counting has just begun.
    pub interval_seconds: f64,
}

/// A file with unread bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BehindFile {
    /// The path, as in records.
    #[serde(flatten)]
    pub path: PathText,
    /// Bytes after the offset.
    pub unread_bytes: u64,
    /// The offset of the first byte that is not encoded yet.
    pub offset: u64,
}

/// A file that is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BusyFile {
    /// The path, as in records.
    #[serde(flatten)]
    pub path: PathText,
    /// At least this many bytes became records within the interval.
    pub bytes: u64,
    /// At least this many records were made of them.
    pub records: u64,
}
