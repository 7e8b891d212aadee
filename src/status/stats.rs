//! Plain counters. All of them count from the start of the run.

use serde::{Deserialize, Serialize};

/// What happened so far.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Events decoded, of any kind.
    pub events: u64,
    /// The events that do not report bytes added to a file, by kind.
    pub other_events: OtherEvents,
    /// How often the kernel's event queue overflowed.
    pub overflows: u64,
    /// Complete passes over the tree after an overflow or a doubt about a directory.
    pub rescans: u64,
    /// The complete passes that an overflow caused.
    pub overflow_rescans: u64,
    /// Passes over PATHs whose rules changed with a reload of the settings.
    pub reload_rescans: u64,
    /// Files opened for reading.
    pub opens: u64,
    /// Bytes that became part of records.
    pub bytes: u64,
    /// Records encoded: lines and pieces.
    pub records: u64,
    /// The records that neither a newline nor a carriage return of the file ends.
    pub pieces: u64,
    /// Bytes of records that the output acknowledged.
    pub acknowledged_bytes: u64,
    /// How often a new file replaced an output file that was deleted.
    #[serde(default)]
    pub outputs_replaced: u64,
    /// Commits that the output made.
    #[serde(default)]
    pub output_commits: u64,
    /// How often the output had to be asked whether it made a commit, or lost what it accepted.
    #[serde(default)]
    pub output_recoveries: u64,
    /// Bytes of records that were offered again after that.
    #[serde(default)]
    pub resent_bytes: u64,
    /// How often the content of a file restarted: it was truncated, or overwritten in place.
    pub truncations: u64,
    /// Segments that were left out because a later one of the same read replaces them.
    #[serde(default)]
    pub superseded_segments: u64,
    /// Records that were left out by the filters of their input.
    #[serde(default)]
    pub filtered_records: u64,
    /// Logs whose end was told in their records.
    #[serde(default)]
    pub ends: u64,
    /// Ends and losses that no record told: the output took nothing for long, or too many files
    /// went away at once.
    #[serde(default)]
    pub untold_events: u64,
    /// NUL bytes skipped: holes, and runs left by a truncation.
    pub skipped_nul_bytes: u64,
    /// How often a file was excluded because its first block is binary.
    pub binary_files: u64,
    /// Files that were deleted while they may have had unread bytes.
    pub deleted_unread: u64,
    /// Files that were moved out of the watched trees while they may have had unread bytes.
    pub moved_unread: u64,
    /// Bytes known to be lost: unfinished lines of files that were deleted, moved away or
    /// truncated.
    pub lost_bytes: u64,
    /// The lost bytes of truncated files.
    pub lost_truncated_bytes: u64,
    /// The lost bytes of files that were moved away.
    pub lost_moved_bytes: u64,
    /// Commits that succeeded.
    pub commits: u64,
    /// Commits that failed.
    pub commit_failures: u64,
    /// Files read from their end because they had not been modified for `--ignore-older`.
    #[serde(default)]
    pub old_files: u64,
    /// Files that were gone before they could be examined, with their contents.
    pub vanished: u64,
}

/// Events by kind, except those that report added bytes: these are by far the most frequent, and
/// are computed as the rest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherEvents {
    /// A name was created (`IN_CREATE`).
    pub created: u64,
    /// A name was removed (`IN_DELETE`).
    pub deleted: u64,
    /// A file or directory lost a name in a rename (`IN_MOVED_FROM`).
    pub moved_from: u64,
    /// A file or directory got a name in a rename (`IN_MOVED_TO`).
    pub moved_to: u64,
    /// Permissions, owner or link count changed (`IN_ATTRIB`).
    pub attributes: u64,
    /// Somebody who could write to a file closed it (`IN_CLOSE_WRITE`).
    #[serde(default)]
    pub closed: u64,
    /// A watched directory itself was deleted, moved or unmounted, or lost its watch.
    pub directory: u64,
    /// The queue overflowed (`IN_Q_OVERFLOW`).
    pub overflow: u64,
    /// Any other event.
    pub unknown: u64,
}

impl OtherEvents {
    /// The number of all of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, count)| count).sum()
    }

    /// The kinds and their numbers.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 9] {
        [
            ("created", self.created),
            ("deleted", self.deleted),
            ("moved_from", self.moved_from),
            ("moved_to", self.moved_to),
            ("attributes", self.attributes),
            ("closed", self.closed),
            ("directory", self.directory),
            ("overflow", self.overflow),
            ("unknown", self.unknown),
        ]
    }
}

impl Stats {
    /// Events that report bytes added to a file (`IN_MODIFY`).
    #[must_use]
    pub fn modified_events(&self) -> u64 {
        self.events - self.other_events.total()
    }

    /// Records that are no pieces: whole lines or segments, and last pieces of long ones.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.records - self.pieces
    }
}

/// Current numbers of files, directories and watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Files known, in any state.
    pub files: usize,
    /// Directories known.
    pub directories: usize,
    /// Directories watched.
    pub watches: usize,
    /// Watches of directories that lead to PATHs, or that were deleted while files in them still
    /// exist.
    pub further_watches: usize,
    /// How many of these watches the kernel may have removed while events were lost.
    pub doubtful_watches: usize,
    /// Files held open.
    pub open: usize,
}

/// The progress of reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Files found.
    pub files: u64,
    /// Bytes that the files had when they were found.
    pub found_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// More files may be found.
    pub is_listing: bool,
    /// Everything that was there at the start has been read.
    pub is_done: bool,
}
