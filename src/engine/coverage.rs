//! What is followed: inputs, their PATHs, the ways to them, and single files in directories that
//! are not listed.
//!
//! In: settings, and what the PATHs lead to. Out: whether to follow a name, and under which
//! rules.
//! Always holds: a PATH keeps its number while it is followed.

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
    /// The home of the current event, which stays until the event is processed. The value: whether
    /// it should have been removed since.
    pub(super) home_at_hand: Option<(DirId, bool)>,
    /// Names that are followed in directories that are not listed.
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
