//! Which directory is listed next: the lane of those that are due now, and the slow sweep over all.
//!
//! In: directories to visit, and why. Out: one at a time, so that a listing can be taken in slices.
//! Always holds: a directory waits in the urgent lane at most once; the sweep passes everything once per period and sleeps in between.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::tree::DirKey;

/// Why a directory is listed. Of several reasons the last one here counts: it does all that the others do.
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
    /// The first scan: `--from` applies to what is found; nothing is known there yet.
    FirstScan,
    /// The settings changed: what is known is asked for anew whether it belongs here, and `--from` applies to what is found.
    Reload,
}

/// A directory being listed.
#[derive(Debug)]
pub(crate) struct Visit<L> {
    pub(crate) directory: DirKey,
    pub(crate) why: Why,
    pub(crate) listing: L,
    /// Whether files were known here before the listing began, so that some may turn out to be gone.
    pub(crate) had_files: bool,
}

/// Directories to be visited as soon as possible.
#[derive(Debug)]
pub(crate) struct Lane<L> {
    queue: VecDeque<DirKey>,
    pub(crate) current: Option<Visit<L>>,
}

impl<L> Lane<L> {
    pub(crate) fn new() -> Self {
        Lane { queue: VecDeque::new(), current: None }
    }

    pub(crate) fn push(&mut self, directory: DirKey) {
        self.queue.push_back(directory);
    }

    pub(crate) fn pop(&mut self) -> Option<DirKey> {
        self.queue.pop_front()
    }

    pub(crate) fn has_work(&self) -> bool {
        self.current.is_some() || !self.queue.is_empty()
    }
}

/// The sweep looks at every file once per period, in the second half of it, so that a node at rest sleeps for minutes.
#[derive(Debug)]
pub(crate) struct Sweep<L> {
    /// `None`: never.
    period: Option<Duration>,
    /// When the running pass, or the next one, began or begins.
    begins: Instant,
    /// When the next slice is due.
    next: Option<Instant>,
    /// The next directory's place in the tree.
    pub(crate) place: u32,
    pub(crate) current: Option<Visit<L>>,
    pub(crate) is_running: bool,
}

/// Longest time between two slices of a pass.
const SLICE_EVERY_MAX: Duration = Duration::from_secs(1);

impl<L> Sweep<L> {
    pub(crate) fn new(period: Option<Duration>, now: Instant) -> Self {
        let begins = now + period.unwrap_or_default() / 2;
        Sweep { period, begins, next: period.map(|_| begins), place: 0, current: None, is_running: false }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// How many looks the slice that is due now may take: enough of them to pass `total` files in half a period.
    pub(crate) fn slice(&mut self, total: usize, now: Instant) -> Option<usize> {
        let period = self.period?;
        if self.next? > now {
            return None;
        }
        if !self.is_running {
            self.is_running = true;
            self.begins = now;
            self.place = 0;
        }
        let every = (period / 16).min(SLICE_EVERY_MAX);
        self.next = Some(now + every);
        let slices = (period / 2).as_nanos() / every.as_nanos().max(1);
        Some(total.div_ceil(usize::try_from(slices).unwrap_or(usize::MAX).max(1)).max(16))
    }

    /// The pass is through.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.is_running = false;
        self.current = None;
        self.next = self.period.map(|period| (self.begins + period).max(now + period / 4));
    }
}
