//! Planted faults: mistakes in the engine that a test switches on, to prove that the simulation
//! detects them.
//!
//! In: [`plant`], on the thread that runs the engine. Out: `is_planted!(Fault)` at the one line
//! that the fault changes.
//! Always holds: nothing is planted unless a test asked for it on this thread. In a build without
//! debug assertions (every product build), `is_planted!` is `false`, and the line does not change.

use std::cell::Cell;

/// A planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A file is read although its predecessor has unread bytes.
    NeverWaits,
    /// A known file under a new name does not inherit that name's predecessor.
    SuccessionNotPassedOn,
    /// A run of NULs that is not a hole is skipped.
    NulsSkipped,
    /// No file is held open, so a file that is deleted while the output is blocked is lost.
    NotHeldOpen,
    /// An unfinished line is delivered at its first deadline although it has grown since.
    FlushedEarly,
    /// The bytes before the offset are not compared with the mark.
    MarkUnread,
    /// Files are not told that their predecessor was read.
    ReleaseForgotten,
    /// A failed read is not tried again.
    RetryForgotten,
    /// A name in doubt is not looked at.
    DoubtForgotten,
    /// The result of an earlier look at a name is used although a later look found something else.
    OldFindBelieved,
    /// A file is not queued when its cooling time ends.
    CoolingForgotten,
    /// A deletion is not judged.
    DeletionForgotten,
    /// A loss is not counted.
    LossUncounted,
    /// A file that was kept open after a read is never closed.
    KeptTooLong,
    /// The end of a log does not count as told.
    EndForgotten,
    /// The end of a log that rests is not told.
    EndOmitted,
    /// What a receiver lost is offered again from a later record on.
    ResentFromWrongRecord,
}

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Whether the fault is planted, for use in the condition that it changes.
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

/// Plants this fault in all engines on this thread; `None` removes it. Has no effect without debug
/// assertions.
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}
