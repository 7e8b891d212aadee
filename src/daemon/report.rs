//! The run in one line of the log: at SIGUSR1, and at the end.
//!
//! In: the engine. Out: one event with a field per number.

use crate::engine::Engine;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Says how the run is. `what`: why it is said.
pub(super) fn say<F: FileSystem, S: Sink>(what: &'static str, engine: &Engine<F, S>, now: Now) {
    let (stats, sizes) = (engine.stats(), engine.sizes());
    let (said, suppressed) = engine
        .notices()
        .fold((0, 0), |sum, (_, told)| (sum.0 + told.said, sum.1 + told.suppressed));
    // Who waits for the end of `--once` asked for records, not for this.
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
        diagnostics = said,
        suppressed,
        "{what}"
    );
}
