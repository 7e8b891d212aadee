//! The output as the engine sees it: its file, a SIGHUP that reopens it, and that it takes nothing.
//!
//! In: the sink. Out: whether records may leave and be committed.
//! Always holds: what only a deleted file holds is not committed.

pub(super) mod hung;
pub(super) mod outbox;
pub(super) mod output_file;
pub(super) mod reopening;
