//! The kernel's queue of events, and the watches that fill it.
//!
//! In: events, and watches that cannot be set. Out: changed names, and whether events were lost.
//! Always holds: a directory without a watch is polled, unless it cannot be read.

pub(super) mod changes;
pub(super) mod watching;

use std::time::{Duration, Instant, SystemTime};

use crate::engine::discovery::Discovery;
use crate::engine::kernel::watching::WatchLimit;
use crate::engine::namespace::tree::{DirId, Tree};
use crate::engine::schedule::Schedule;
use crate::engine::schedule::deadlines::TaskKind;
use crate::engine::{EVENT_BUFFER_BYTES, EVENT_BUFFERS_PER_TURN};
use crate::sys::Stat;
use crate::sys::clock::Now;

#[derive(Debug)]
pub(super) struct Kernel {
    events: Box<[u8]>,
    event_buffers_per_turn: usize,
    pub(super) are_events_pending: bool,
    /// Events were lost, and the looks that make up for them are under way.
    pub(super) is_missing_events: bool,
    /// Since when events may have been missed, if they may. See [`Kernel::suspect`].
    pub(super) suspect_since: Option<SystemTime>,
    /// When the kernel's queue was last known to be complete and empty.
    pub(super) drained_at: SystemTime,
    watch_limit: Option<WatchLimit>,
    pub(super) polled: usize,
    /// When missing PATHs and unwatched directories are looked at next.
    pub(super) poll_at: Option<Instant>,
}

impl Kernel {
    pub(super) fn new(now: Now) -> Self {
        Kernel {
            events: vec![0; EVENT_BUFFER_BYTES].into_boxed_slice(),
            event_buffers_per_turn: EVENT_BUFFERS_PER_TURN,
            are_events_pending: true,
            is_missing_events: false,
            suspect_since: None,
            drained_at: now.wall,
            watch_limit: None,
            polled: 0,
            poll_at: None,
        }
    }

    /// Makes sure that the next poll is not later than `at`.
    pub(super) fn poll_by(&mut self, at: Instant) {
        self.poll_at = Some(self.poll_at.map_or(at, |known| known.min(at)));
    }

    /// From now on until all is calm: files modified since then are read once even if their size is
    /// as it was.
    pub(super) fn suspect(&mut self, since: SystemTime) {
        // File systems stamp with a clock that lags by a tick or, on network file systems, more.
        let since = since.checked_sub(Duration::from_secs(1)).unwrap_or(since);
        self.suspect_since = Some(self.suspect_since.map_or(since, |known| known.min(since)));
    }

    /// The directory is polled from now on, or not any more.
    pub(super) fn set_polled(&mut self, tree: &mut Tree, dir: DirId, is_polled: bool) {
        let was = std::mem::replace(&mut tree.get_mut(dir).is_polled, is_polled);
        self.polled = self.polled + usize::from(is_polled) - usize::from(was);
    }

    /// Whether events were missed, and not everything that they may have been about was looked at
    /// since: a deleted file may have another name that is not known yet.
    pub(super) fn is_rescanning<L>(&self, discovery: &Discovery<L>, schedule: &Schedule) -> bool {
        self.polled > 0
            || schedule.deadlines.has(TaskKind::LookAgain)
            || self.is_catching_up(discovery)
    }

    /// The same, without directories and names that are looked at again and again.
    pub(super) fn is_catching_up<L>(&self, discovery: &Discovery<L>) -> bool {
        discovery.is_rescan_due || discovery.urgent.has_work() || self.suspect_since.is_some()
    }

    /// Whether the file was modified so recently that a missed event may hide a change of the same
    /// size.
    pub(super) fn is_suspect(&self, found: &Stat) -> bool {
        self.suspect_since.is_some_and(|since| found.modified >= since)
    }
}
