//! How far the path of a directory is trusted.
//!
//! In: the paths that the settings name. Out: how much of a path that begins with one was chosen by
//! nobody else.
//! Always holds: a path is trusted no further than its PATH; links are followed behind it only
//! where the rule for links says so.

use crate::sys::{Guard, LinkRule, Links};

/// How far a path leads through what nobody but the settings chose, and how far links are followed
/// behind that: lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    /// To the end of the PATH.
    pub(crate) trusted: usize,
    /// To the end of the link nearest to the end of the path that is followed; no further than
    /// `trusted` without one.
    pub(crate) followed: usize,
}

impl Trust {
    /// Of a path that the settings name.
    pub(super) fn whole(path: &[u8]) -> Trust {
        Trust { trusted: path.len(), followed: path.len() }
    }

    /// Of the path, without links, of what a link leads to.
    pub(super) fn root() -> Trust {
        Trust { trusted: 1, followed: 1 }
    }

    /// Which links are followed on such a path, under the rule for links.
    pub(crate) fn links(self, rule: Option<LinkRule>) -> Links {
        let Trust { trusted, followed } = self;
        match rule.filter(|_| followed > trusted) {
            Some(rule) => Links::Guarded(Guard { trusted, followed, rule }),
            None => Links::Beneath(trusted),
        }
    }
}

/// A path that is not put together from names.
#[derive(Debug)]
pub(super) struct Prefix {
    /// With a slash at its end where one is needed.
    pub(super) path: Box<[u8]>,
    pub(super) trust: Trust,
}
