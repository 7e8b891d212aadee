//! How far the path of a directory is trusted.
//!
//! In: the paths that the settings name. Out: how much of a path only the settings have chosen.
//! Always holds: a path is trusted no further than its PATH; behind that, links are followed only
//! as the rule for links allows.

use crate::sys::{Guard, LinkRule, Links};

/// How much of a path the settings alone have chosen, and up to where links are followed behind
/// that. Lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    /// To the end of the PATH.
    pub(crate) trusted: usize,
    /// To the end of the last followed link on the path. Without one, not beyond `trusted`.
    pub(crate) followed: usize,
}

impl Trust {
    /// The trust in a path that the settings name.
    pub(super) fn whole(path: &[u8]) -> Trust {
        Trust { trusted: path.len(), followed: path.len() }
    }

    /// The trust in the resolved path of a link's target.
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

/// A path that is stored as a whole, not built from names.
#[derive(Debug)]
pub(super) struct Prefix {
    /// With a slash at its end where one is needed.
    pub(super) path: Box<[u8]>,
    pub(super) trust: Trust,
}
