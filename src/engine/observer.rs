//! What a run tells of itself: counts, what was said, what somebody asked for.
//!
//! In: what happens. Out: counts, diagnostics, answers to `status`.
//! Always holds: the engine never reads them to decide.

mod busiest;
pub(super) mod explain;
pub(super) mod lists;
pub(super) mod status;
pub(super) mod top;

use crate::diagnostics::notices::Notices;
use crate::engine::observer::busiest::Busiest;
use crate::engine::observer::lists::Losses;
use crate::engine::observer::status::Insight;
use crate::engine::output::hung::Hung;
use crate::status::stats::Stats;

#[derive(Debug, Default)]
pub(super) struct Observer {
    pub(super) stats: Stats,
    pub(super) insight: Insight,
    pub(super) notices: Notices,
    /// While somebody watches: which files are read most.
    pub(super) busiest: Option<Box<Busiest>>,
    pub(super) lost: Losses,
    pub(super) hung: Hung,
}
