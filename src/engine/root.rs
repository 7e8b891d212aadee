//! A PATH as the settings name it, and what it leads to.

use crate::tree::DirKey;

/// One PATH as given.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: Vec<u8>,
    pub(super) state: RootState,
    /// It led to a directory when it was found, not to a file.
    pub(super) is_tree: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RootState {
    /// Nothing (to follow) is there; looked for now and then.
    Missing,
    /// A directory, or the home of a file.
    Found(DirKey),
    /// The settings do not name it any more.
    Removed,
}
