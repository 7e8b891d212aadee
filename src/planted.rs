//! Planted faults: ways in which the engine can be wrong, switched on by a test to prove that the
//! simulation sees them.
//!
//! In: [`plant`], on the thread that turns the engine. Out: `is_planted!(Fault)` at the one line
//! that the fault changes.
//! Always holds: nothing is planted unless a test asked for it on this thread; a build without
//! debug assertions (every product build) takes `is_planted!` for `false`, and the line for what it
//! was.

use std::cell::Cell;

/// A planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A file is read though the one that had its name before has unread bytes.
    NeverWaits,
    /// A name that turns out to belong to a known file loses its predecessor.
    SuccessionNotPassedOn,
    /// A run of NULs that is no hole is skipped.
    NulsSkipped,
    /// No file is held open, so that what is deleted while the output is blocked is lost.
    NotHeldOpen,
    /// An unfinished line is delivered at its first deadline though it grew since.
    FlushedEarly,
    /// The bytes before the offset are not compared with the mark.
    MarkUnread,
    /// Nobody is told that the file it waits for was read.
    ReleaseForgotten,
    /// A file that could not be read is not tried again.
    RetryForgotten,
    /// A name in doubt is not looked at.
    DoubtForgotten,
    /// What an earlier look found of a name is believed though a later one found something else.
    OldFindBelieved,
    /// A file that cooled down is not queued.
    CoolingForgotten,
    /// A deletion is not judged.
    DeletionForgotten,
    /// A loss is not counted.
    LossUncounted,
    /// A file that was read a moment ago stays open for ever.
    KeptTooLong,
}

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Whether the fault is planted: for the condition that it changes.
macro_rules! is_planted {
    ($fault:ident) => {
        cfg!(debug_assertions) && $crate::planted::has($crate::planted::Fault::$fault)
    };
}
pub(crate) use is_planted;

/// Called by `is_planted!`.
pub(crate) fn has(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// From now on engines on this thread have this fault; with `None`, none. Without debug assertions
/// nothing changes.
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}
