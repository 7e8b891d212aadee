//! A PATH as the settings name it, and what it leads to.
//!
//! In: the settings, and looks. Out: the state of each PATH.
//! Always holds: a removed PATH keeps its number until another PATH takes it.

use crate::engine::namespace::tree::DirKey;

/// One PATH as the settings spell it.
#[derive(Debug)]
pub(in crate::engine) struct Root {
    pub(in crate::engine) path: Vec<u8>,
    pub(in crate::engine) state: RootState,
    /// It led to a directory when it was found, not to a file.
    pub(in crate::engine) is_tree: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum RootState {
    /// Nothing to follow is there, so far.
    Missing,
    /// A directory, or the home of a file.
    Found(DirKey),
    /// The settings do not name it any more.
    Removed,
}
