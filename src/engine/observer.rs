//! What a run reports about itself: counts, what was logged, answers to questions.
//!
//! In: what happens. Out: counts, diagnostics, answers to `status`.
//! Always holds: the engine never reads them to decide.

mod busiest;
pub(super) mod explain;
pub(super) mod lists;
mod losses;
pub(super) mod paths;
mod per_input;
pub(super) mod reasons;
pub(super) mod status;
pub(super) mod top;
mod unknown;

use std::time::Instant;

use crate::diagnostics::notices::Notices;
use crate::engine::namespace::registry::SlotKey;
use crate::engine::observer::busiest::Busiest;
use crate::engine::observer::losses::Losses;
use crate::engine::observer::status::Insight;
use crate::engine::output::hung::Hung;
use crate::engine::output::outbox::Outbox;
use crate::engine::output::output_file::OutputFile;
use crate::sink::Sink;
use crate::status::histogram::Histogram;
use crate::status::stats::Stats;

/// The reason of a loss: the last line was read, and truncated before its newline came.
const UNFINISHED_TRUNCATED: &str = "truncated or overwritten in the middle of a line";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Observer {
    pub(super) stats: Stats,
    insight: Insight,
    pub(super) notices: Notices,
    /// How long the output took for its commits.
    pub(super) settlements: Histogram,
    /// Which files are read most, while somebody watches.
    pub(super) busiest: Option<Box<Busiest>>,
    pub(super) lost: Losses,
    pub(super) hung: Hung,
}

impl Observer {
    /// So many bytes of an unfinished line were truncated. `path`: the file's.
    #[inline]
    pub(super) fn count_truncated(&mut self, path: &[u8], lost: u64, now: Instant) {
        if lost > 0 {
            self.stats.lost_bytes += lost;
            self.stats.lost_truncated_bytes += lost;
            self.lost.note(path, UNFINISHED_TRUNCATED, lost, now);
        }
    }

    /// A file was read while somebody watches. `before`: bytes and records when its turn began.
    pub(super) fn count_busy(&mut self, file: SlotKey, before: (u64, u64), now: Instant) {
        let (bytes, records) = (self.stats.bytes - before.0, self.stats.records - before.1);
        match &mut self.busiest {
            Some(busiest) if !busiest.is_over(now) => busiest.count(file, bytes, records),
            _ => self.busiest = None,
        }
    }

    /// Logs what there is to log about an output that takes nothing.
    pub(super) fn watch_output<S: Sink>(
        &mut self,
        outbox: &Outbox<S>,
        output_file: &OutputFile,
        now: Instant,
    ) {
        self.hung.watch(outbox, output_file, &mut self.notices, now);
    }
}
