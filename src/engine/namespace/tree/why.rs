//! Why a directory is to be listed: what the tree remembers of a visit that is still to come.

/// Why a directory is listed. Of several reasons the last one here counts: it does all that the
/// others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It appeared, or may have been replaced: new files are read from their start.
    Appeared,
    /// It has no watch, or its turn in the sweep came: its own files are looked at.
    Poll,
    /// Events were missed: every known file below is looked at, too.
    Rescan,
    /// Its permissions changed: every known file below is looked at, too.
    Recheck,
    /// One more PATH that appeared covers it: what is known is asked for anew which input it
    /// belongs to, new files are read from their start.
    Widened,
    /// The first scan: `--from` applies to what is found; nothing is known there yet.
    FirstScan,
    /// The settings changed: what is known is asked for anew whether it belongs here, and `--from`
    /// applies to what is found.
    Reload,
}

impl Why {
    /// `--from` applies to what is found.
    pub(crate) fn is_first(self) -> bool {
        matches!(self, Why::FirstScan | Why::Reload)
    }

    /// Other rules hold for what is known.
    pub(crate) fn asks_anew(self) -> bool {
        matches!(self, Why::Widened | Why::Reload)
    }

    /// Files may come up of which nothing is known, so that they are read in the order of their
    /// last modification.
    pub(crate) fn finds_new(self) -> bool {
        matches!(self, Why::Appeared | Why::Widened | Why::FirstScan | Why::Reload)
    }
}
