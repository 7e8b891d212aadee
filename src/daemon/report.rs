//! Summarizes the run in one log line: at SIGUSR1, and at the end.
//!
//! In: the engine. Out: one event with a field per number.

use crate::engine::Engine;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Logs the state of the run. `what` is the message: `status` or `done`.
pub(super) fn log<F: FileSystem, S: Sink>(what: &'static str, engine: &Engine<F, S>, now: Now) {
    let (stats, sizes) = (engine.stats(), engine.sizes());
    let (logged, suppressed) = engine
        .notices()
        .fold((0, 0), |sum, (_, counts)| (sum.0 + counts.said, sum.1 + counts.suppressed));
    // A person who waits for the end of `--once` asked for records, not for numbers.
    if what == "done" && engine.is_once() {
        let (records, bytes) = (stats.records, stats.bytes);
        tracing::debug!(files = sizes.files, records, bytes, "{what}");
        return;
    }
    tracing::info!(
        files = sizes.files,
        directories = sizes.directories,
        watches = sizes.watches,
        unread_files = engine.unread_files(),
        held_files = sizes.open,
        records = stats.records,
        bytes = stats.bytes,
        acknowledged_bytes = stats.acknowledged_bytes,
        output_blocked = ?engine.output_blocked_for(now.instant).unwrap_or_default(),
        opens = stats.opens,
        events = stats.events,
        overflows = stats.overflows,
        rescans = stats.rescans,
        truncations = stats.truncations,
        deleted_unread = stats.deleted_unread,
        moved_unread = stats.moved_unread,
        vanished = stats.vanished,
        lost_bytes = stats.lost_bytes,
        old_files = stats.old_files,
        commits = stats.commits,
        commit_failures = stats.commit_failures,
        diagnostics = logged,
        suppressed,
        "{what}"
    );
}
