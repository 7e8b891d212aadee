//! What is followed: inputs, their PATHs, the ways that lead there, names that count in directories
//! that are not listed.
//!
//! In: settings, and what is found where the PATHs are. Out: whether a name is one to follow, and
//! by which rules.
//! Always holds: each PATH has a number that it keeps.

pub(super) mod asking;
mod covering;
pub(super) mod looks;
pub(super) mod own;
pub(super) mod owners;
pub(super) mod reload;
pub(super) mod root;
pub(super) mod roots;
pub(super) mod single_files;
pub(super) mod user_mounts;
pub(super) mod ways;

use hashbrown::HashMap;

use crate::config::Format;
use crate::engine::coverage::root::Root;
use crate::engine::coverage::single_files::SingleFiles;
use crate::engine::coverage::ways::Ways;
use crate::engine::namespace::inputs::Inputs;
use crate::engine::namespace::tree::{DirId, DirKey};

#[derive(Debug)]
pub(super) struct Coverage {
    pub(super) inputs: Inputs,
    /// Each PATH of each input, by [`crate::engine::namespace::inputs::RootId`].
    pub(super) roots: Vec<Root>,
    pub(super) ways: Ways,
    /// Directories that are watched for single files, by path.
    homes: HashMap<Box<[u8]>, DirKey>,
    /// The directory of the event at hand, which stays until all that the event says is done;
    /// whether it was to be let go since.
    pub(super) home_at_hand: Option<(DirId, bool)>,
    /// Names that count in directories that are not listed.
    pub(super) single_files: SingleFiles,
}

impl Coverage {
    pub(super) fn new(format: Format) -> Self {
        Coverage {
            inputs: Inputs::new(format),
            roots: Vec::new(),
            ways: Ways::new(),
            homes: HashMap::new(),
            home_at_hand: None,
            single_files: SingleFiles::default(),
        }
    }
}
