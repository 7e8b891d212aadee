//! Which directory is listed next: the queue of those that are due now, and the sweeps over all.
//!
//! In: directories to visit. Out: one at a time, so that a listing can be taken in slices.
//! Always holds: a directory waits in the urgent queue at most once; a sweep visits everything once
//! per period and sleeps in between.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::namespace::tree::{DirKey, VisitWork};
use crate::fair_queue::FairQueue;
use crate::sys::clock::Now;

/// A directory being listed.
#[derive(Debug)]
pub(crate) struct Visit<L> {
    pub(crate) directory: DirKey,
    pub(crate) work: VisitWork,
    pub(crate) listing: L,
    /// Whether names were known here before the listing began, so that some may be gone.
    pub(crate) had_files: bool,
}

/// An entry of the urgent queue.
#[derive(Debug)]
pub(crate) enum Queued<L> {
    /// A directory to visit.
    New(DirKey),
    /// A directory that is being listed.
    Begun(Visit<L>),
}

/// Listings under way at most: each holds a descriptor.
const LISTINGS_MAX: usize = 32;

/// Directories to visit as soon as possible. Their groups take turns, with a slice of a listing
/// each.
#[derive(Debug)]
pub(crate) struct Urgent<L> {
    queue: FairQueue<Queued<L>>,
    listings: usize,
    /// Directories whose paths led nowhere. They are checked again once the kernel's queue is
    /// empty.
    pub(crate) lost: VecDeque<DirKey>,
}

impl<L> Urgent<L> {
    pub(crate) fn new() -> Self {
        Urgent { queue: FairQueue::new(), listings: 0, lost: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, group: u32, directory: DirKey) {
        self.queue.push_back(group, Queued::New(directory));
    }

    /// The listing goes on when the turn of its group comes again.
    pub(crate) fn go_on(&mut self, group: u32, visit: Visit<L>) {
        self.listings += 1;
        self.queue.push_front(group, Queued::Begun(visit));
    }

    pub(crate) fn pop(&mut self) -> Option<Queued<L>> {
        let next = self.queue.pop();
        self.listings -= usize::from(matches!(next, Some(Queued::Begun(_))));
        next
    }

    /// Whether as many listings are under way as allowed: a new one has to wait.
    pub(crate) fn wait_if_needed(&self) -> bool {
        self.listings >= LISTINGS_MAX
    }

    pub(crate) fn wait(&mut self, group: u32, directory: DirKey) {
        self.queue.push_front(group, Queued::New(directory));
    }

    /// The directories that are still to be visited.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = DirKey> + '_ {
        self.queue.iter().filter_map(|queued| {
            if let Queued::New(directory) = queued { Some(*directory) } else { None }
        })
    }

    /// Whether directories of the group are visited, or wait for it.
    pub(crate) fn holds(&self, group: u32) -> bool {
        self.queue.holds(group)
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }
}

/// Which directories a sweep passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SweepKind {
    /// Those on file systems that report changes, as a rule.
    Local,
    /// Those on file systems that others write to unseen
    /// ([`crate::file_systems::Sight::is_blind`]).
    Blind,
}

/// A sweep looks at every file once per period, and rests for part of it.
#[derive(Debug)]
pub(crate) struct Sweep<L> {
    /// `None`: never.
    period: Option<Duration>,
    /// A pass is spread over this much of the period.
    spread: Duration,
    /// When the running pass, or the next one, began or begins.
    begins: Instant,
    /// When the next slice is due.
    next: Option<Instant>,
    /// How many looks are due.
    quota: usize,
    /// The next directory's place in the tree.
    pub(crate) place: u32,
    pub(crate) current: Option<Visit<L>>,
    pub(crate) is_running: bool,
    /// When the last pass began.
    pub(crate) swept_at: SystemTime,
    /// How many passes have begun.
    pub(crate) passes: u64,
}

/// Longest time between two slices of a pass.
const SLICE_EVERY_MAX: Duration = Duration::from_secs(1);

impl<L> Sweep<L> {
    /// A sweep in the second half of each period, so that an idle node sleeps for minutes.
    pub(crate) fn slow(period: Option<Duration>, now: Now) -> Self {
        let mut sweep = Sweep::asleep(period, period.unwrap_or_default() / 2, now);
        let begins = now.instant + period.unwrap_or_default() / 2;
        (sweep.begins, sweep.next) = (begins, period.map(|_| begins));
        sweep
    }

    /// A sweep that sleeps until [`Sweep::wake`], and then runs most of the time: its looks replace
    /// events, so they are spread evenly.
    pub(crate) fn steady(period: Option<Duration>, now: Now) -> Self {
        Sweep::asleep(period, period.unwrap_or_default() * 3 / 4, now)
    }

    fn asleep(period: Option<Duration>, spread: Duration, now: Now) -> Self {
        Sweep {
            period,
            spread,
            begins: now.instant,
            next: None,
            quota: 0,
            place: 0,
            current: None,
            is_running: false,
            swept_at: now.wall,
            passes: 0,
        }
    }

    /// There is something to sweep now. The known files were just found, so the first pass waits
    /// for part of a period.
    pub(crate) fn wake(&mut self, now: Now) {
        if let Some(period) = self.period.filter(|_| self.next.is_none()) {
            self.begins = now.instant + (period - self.spread);
            self.next = Some(self.begins);
            self.swept_at = now.wall;
        }
    }

    /// There is nothing to sweep any more.
    pub(crate) fn sleep(&mut self) {
        self.next = None;
        self.quota = 0;
        self.current = None;
        self.is_running = false;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Whether looks are due.
    pub(crate) fn has_quota(&self) -> bool {
        self.quota > 0
    }

    /// How many looks may be taken now: over time, enough for `total` files within the time that a
    /// pass is spread over.
    pub(crate) fn quota(&mut self, total: usize, now: Instant) -> usize {
        if let Some(period) = self.period.filter(|_| self.next.is_some_and(|next| next <= now)) {
            if !self.is_running {
                self.is_running = true;
                self.passes += 1;
                self.begins = now;
                self.place = 0;
            }
            let every = (period / 16).min(SLICE_EVERY_MAX);
            self.next = Some(now + every);
            let slices = self.spread.as_nanos() / every.as_nanos().max(1);
            let slice =
                total.div_ceil(usize::try_from(slices).unwrap_or(usize::MAX).max(1)).max(16);
            // If we fall behind by more than one pass, the excess is dropped.
            self.quota = (self.quota + slice).min(total.max(16));
        }
        self.quota
    }

    /// Notes that looks were taken.
    pub(crate) fn take(&mut self, looks: usize) {
        self.quota = self.quota.saturating_sub(looks);
    }

    /// The pass has finished.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.is_running = false;
        self.current = None;
        self.quota = 0;
        self.next = self.period.map(|period| (self.begins + period).max(now + period / 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes all due looks until the pass has finished. Returns how long that took.
    fn pass(sweep: &mut Sweep<()>, mut left: usize, now: &mut Instant) -> Duration {
        let total = left;
        *now = sweep.deadline().expect("it is awake");
        let begun = *now;
        loop {
            let quota = sweep.quota(total, *now);
            sweep.take(quota);
            left = left.saturating_sub(quota);
            if left == 0 {
                sweep.finish(*now);
                return *now - begun;
            }
            *now = sweep.deadline().expect("it goes on");
        }
    }

    #[test]
    fn a_steady_sweep_passes_everything_once_per_period() {
        let start = crate::sys::clock::now();
        let mut sweep = Sweep::steady(Some(5 * SECOND), start);
        assert_eq!(sweep.deadline(), None, "nothing to pass: it sleeps");
        sweep.wake(start);
        let mut now = start.instant;
        let mut begun = Vec::new();
        for _ in 0..3 {
            begun.push(sweep.deadline().unwrap());
            assert!(pass(&mut sweep, 100_000, &mut now) <= 4 * SECOND);
        }
        assert!(begun[0] <= start.instant + 5 * SECOND);
        assert!(begun.windows(2).all(|two| two[1] - two[0] == 5 * SECOND), "{begun:?}");
        sweep.sleep();
        assert_eq!(sweep.deadline(), None);
    }

    #[test]
    fn a_slow_sweep_rests_in_the_first_half_of_its_period() {
        let start = crate::sys::clock::now();
        let mut sweep = Sweep::slow(Some(300 * SECOND), start);
        let mut now = start.instant;
        assert_eq!(sweep.deadline(), Some(now + 150 * SECOND));
        let took = pass(&mut sweep, 100_000, &mut now);
        assert!((140 * SECOND..=150 * SECOND).contains(&took), "{took:?}");
        assert_eq!(sweep.deadline(), Some(start.instant + 450 * SECOND));
    }

    #[test]
    fn a_sweep_that_is_late_owes_one_pass_at_most() {
        let start = crate::sys::clock::now();
        let mut sweep: Sweep<()> = Sweep::slow(Some(SECOND), start);
        for second in 1..100 {
            sweep.quota(1000, start.instant + second * SECOND);
        }
        assert_eq!(sweep.quota(1000, start.instant + 99 * SECOND), 1000);
        assert!(sweep.has_quota());
    }

    #[test]
    fn without_a_period_a_sweep_never_wakes() {
        let start = crate::sys::clock::now();
        let mut sweep: Sweep<()> = Sweep::steady(None, start);
        sweep.wake(start);
        assert_eq!((sweep.deadline(), sweep.quota(10, start.instant)), (None, 0));
        assert_eq!(Sweep::<()>::slow(None, start).deadline(), None);
    }
}
