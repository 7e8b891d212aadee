//! How files are found without events: listings, sweeps, searches, and updates of whole trees.
//!
//! In: directories that are new, or whose events were lost. Out: names to look at, a slice per
//! turn.
//! Always holds: a listing, sweep or search continues in the next turns until it ends; it needs no
//! event.

pub(super) mod below;
pub(super) mod directories;
pub(super) mod listing;
pub(super) mod old_files;
pub(super) mod searching;
pub(super) mod sweeping;
mod visiting;
pub(super) mod visits;

use crate::engine::commit::absent::Absence;
use crate::engine::discovery::below::Below;
use crate::engine::discovery::old_files::OldFiles;
use crate::engine::discovery::searching::Searches;
use crate::engine::discovery::sweeping::Sweeps;
use crate::engine::discovery::visits::Urgent;
use crate::engine::observer::lists::Walks;

#[derive(Debug)]
pub(super) struct Discovery<L> {
    pub(super) urgent: Urgent<L>,
    pub(super) sweeps: Sweeps<L>,
    /// Files that were renamed unseen in directories that are not listed.
    pub(super) searches: Searches<L>,
    /// Updates of everything below a directory.
    pub(super) below: Below,
    /// Listings for a client's question.
    pub(super) walks: Walks<L>,
    pub(super) is_rescan_due: bool,
    /// The directory of a PATH was deleted or moved: PATHs have to be looked at again.
    pub(super) is_path_lost: bool,
    /// With `--once`: directories that could not be listed, and are not tried again.
    pub(super) directories_failed: usize,
    /// Unread bytes that files had when they were found.
    pub(super) found_bytes: u64,
    pub(super) is_started: bool,
    /// The first scan has finished, and that of the PATHs of the last reload.
    pub(super) has_scanned: bool,
    pub(super) old_files: OldFiles,
    pub(super) absence: Absence,
    /// The current directory entry, reused.
    entry: Vec<u8>,
}

impl<L> Discovery<L> {
    pub(super) fn new(sweeps: Sweeps<L>) -> Self {
        Discovery {
            urgent: Urgent::new(),
            sweeps,
            searches: Searches::new(),
            below: Below::new(),
            walks: Walks::new(),
            is_rescan_due: false,
            is_path_lost: false,
            directories_failed: 0,
            found_bytes: 0,
            is_started: false,
            has_scanned: false,
            old_files: OldFiles::default(),
            absence: Absence::default(),
            entry: Vec::new(),
        }
    }
}
