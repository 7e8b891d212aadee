//! Plain counters; one line each says what it counts. All count from the start of the run.

/// What happened so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Events decoded, of any kind.
    pub events: u64,
    /// Times the kernel's event queue overflowed.
    pub overflows: u64,
    /// Whole passes over the tree after an overflow or a doubt about a directory.
    pub rescans: u64,
    /// Files opened for reading.
    pub opens: u64,
    /// Bytes that became part of records.
    pub bytes: u64,
    /// Records encoded: lines and pieces.
    pub records: u64,
    /// Bytes of records that the output acknowledged.
    pub acknowledged_bytes: u64,
    /// Times a file's content restarted: truncated, or overwritten in place.
    pub truncations: u64,
    /// NUL bytes skipped: holes, and runs left by a truncation.
    pub skipped_nul_bytes: u64,
    /// Files that were deleted while they may have had unread bytes.
    pub deleted_unread: u64,
    /// Bytes known to be lost: of unfinished lines of files that were deleted or truncated.
    pub lost_bytes: u64,
    /// Times that acknowledged offsets became durable.
    pub commits: u64,
    /// Times that they could not.
    pub commit_failures: u64,
    /// Files that were seen by name but gone before they could be looked at.
    pub vanished: u64,
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
    /// Files held open.
    pub open: usize,
}
