//! Plain counters; one line each says what it counts. All count from the start of the run.

use serde::{Deserialize, Serialize};

/// What happened so far.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Events decoded, of any kind.
    pub events: u64,
    /// Those of them that are not about bytes added to a file, by kind.
    pub other_events: OtherEvents,
    /// Times the kernel's event queue overflowed.
    pub overflows: u64,
    /// Whole passes over the tree after an overflow or a doubt about a directory.
    pub rescans: u64,
    /// Those of them that an overflow caused.
    pub overflow_rescans: u64,
    /// Passes over PATHs for which other rules hold since the settings were read again.
    pub reload_rescans: u64,
    /// Files opened for reading.
    pub opens: u64,
    /// Bytes that became part of records.
    pub bytes: u64,
    /// Records encoded: lines and pieces.
    pub records: u64,
    /// Those of them that no newline ended.
    pub pieces: u64,
    /// Bytes of records that the output acknowledged.
    pub acknowledged_bytes: u64,
    /// Times that another file took the place of an output file that was deleted.
    #[serde(default)]
    pub outputs_replaced: u64,
    /// Times a file's content restarted: truncated, or overwritten in place.
    pub truncations: u64,
    /// NUL bytes skipped: holes, and runs left by a truncation.
    pub skipped_nul_bytes: u64,
    /// Times a file was left out because its first block is binary.
    pub binary_files: u64,
    /// Files that were deleted while they may have had unread bytes.
    pub deleted_unread: u64,
    /// Files that were moved to where nothing is watched while they may have had unread bytes.
    pub moved_unread: u64,
    /// Bytes known to be lost: of unfinished lines of files that were deleted, moved away or
    /// truncated.
    pub lost_bytes: u64,
    /// Those of them that a truncation took.
    pub lost_truncated_bytes: u64,
    /// Those of them that went away with a file that was moved.
    pub lost_moved_bytes: u64,
    /// Times that acknowledged offsets became durable.
    pub commits: u64,
    /// Times that they could not.
    pub commit_failures: u64,
    /// Files that were started at their end because they had not been modified for
    /// `--ignore-older`.
    #[serde(default)]
    pub old_files: u64,
    /// Names of files that were gone before they could be looked at, with whatever was in these
    /// files.
    pub vanished: u64,
}

/// Events by kind, but for those that say that bytes were added: these are by far the most, and are
/// what is left.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherEvents {
    /// A name is new (`IN_CREATE`).
    pub created: u64,
    /// A name was removed (`IN_DELETE`).
    pub deleted: u64,
    /// A file or directory left a name (`IN_MOVED_FROM`).
    pub moved_from: u64,
    /// One took a name (`IN_MOVED_TO`).
    pub moved_to: u64,
    /// Permissions, owner or link count changed (`IN_ATTRIB`).
    pub attributes: u64,
    /// A watched directory itself was deleted, moved or unmounted, or lost its watch.
    pub directory: u64,
    /// The queue overflowed (`IN_Q_OVERFLOW`).
    pub overflow: u64,
    /// None of these.
    pub unknown: u64,
}

impl OtherEvents {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, count)| count).sum()
    }

    /// The kinds and their numbers.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 8] {
        [
            ("created", self.created),
            ("deleted", self.deleted),
            ("moved_from", self.moved_from),
            ("moved_to", self.moved_to),
            ("attributes", self.attributes),
            ("directory", self.directory),
            ("overflow", self.overflow),
            ("unknown", self.unknown),
        ]
    }
}

impl Stats {
    /// Events that say that bytes were added to a file (`IN_MODIFY`).
    #[must_use]
    pub fn modified_events(&self) -> u64 {
        self.events - self.other_events.total()
    }

    /// Records that a newline ended: whole lines, and last pieces of long ones.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.records - self.pieces
    }
}

/// How much there is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Files known, in any state.
    pub files: usize,
    /// Directories known.
    pub directories: usize,
    /// Directories watched.
    pub watches: usize,
    /// Watches of directories that lead to PATHs, or were deleted while files in them live on.
    pub further_watches: usize,
    /// How many of these the kernel may have ended while events were lost.
    pub doubtful_watches: usize,
    /// Files held open.
    pub open: usize,
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Files found.
    pub files: u64,
    /// Bytes that were there to be read when the files were found.
    pub found_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// More files may be found.
    pub is_listing: bool,
    /// Whatever was there at the start has been read.
    pub is_done: bool,
}
