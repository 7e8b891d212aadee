//! The output as the engine sees it: batches on their way out, the output file, a SIGHUP that
//! reopens it, and an output that takes nothing.
//!
//! In: records, and the sink. Out: whether records may leave and be committed.
//! Always holds: what only a deleted file holds is not committed.

pub(super) mod batch;
pub(super) mod hung;
mod limits;
pub(super) mod outbox;
pub(super) mod output_file;
mod reopening;

#[cfg(test)]
mod tests;
