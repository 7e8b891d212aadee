//! How long changes wait: since when a file has unread bytes, and how long it takes until the
//! output acknowledges them.
//!
//! In: the time of each turn, files that are to be read, parts of files that were acknowledged.
//! Out: two histograms.
//! Always holds: this module reads no clock and allocates nothing per file or record. A stamp takes
//! four bytes.

use std::time::{Duration, Instant};

use crate::engine::namespace::registry::SlotId;
use crate::status::histogram::Histogram;

/// A stamp counts units of 2^17 nanoseconds, 131 microseconds: it wraps around after six and a half
/// days.
const UNIT_BITS: u32 = 17;

/// How many stamps are stored, by slot number, for files that have unread bytes but are in no queue
/// (they cool down, or wait for something else). If two files have the same place, the later one
/// keeps it, and the other one counts from when it is queued.
const KEPT: usize = 4096;

/// A moment of this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

/// A file in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) id: SlotId,
    /// The turn in which its unread bytes were found.
    pub(crate) since: Stamp,
}

/// Stamps, and the histograms that they end in.
#[derive(Debug)]
pub(crate) struct Lag {
    started: Instant,
    now: Stamp,
    kept: Box<[Queued; KEPT]>,
    /// Parts acknowledged in this turn, by the turn in which their bytes were reported. Measured
    /// when the turn is over.
    acknowledged: Vec<(Stamp, u64)>,
    pub(crate) deliveries: Histogram,
    pub(crate) turns: Histogram,
}

const NOBODY: SlotId = SlotId(u32::MAX);

impl Lag {
    pub(crate) fn new(started: Instant) -> Self {
        let nobody = Queued { id: NOBODY, since: Stamp(0) };
        Lag {
            started,
            now: Stamp(0),
            kept: Box::new([nobody; KEPT]),
            acknowledged: Vec::with_capacity(64),
            deliveries: Histogram::default(),
            turns: Histogram::default(),
        }
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = self.stamp(now);
        self.measure();
    }

    /// A turn is over: by now the output has everything that it acknowledged.
    pub(crate) fn end_turn(&mut self, began: Instant, now: Instant) {
        self.now = self.stamp(now);
        self.measure();
        self.turns.observe(now.saturating_duration_since(began), 1);
    }

    #[expect(clippy::cast_possible_truncation, reason = "stamps begin again, see UNIT_BITS")]
    fn stamp(&self, at: Instant) -> Stamp {
        let since = at.saturating_duration_since(self.started);
        Stamp(
            ((since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())) >> UNIT_BITS)
                as u32,
        )
    }

    /// The stamp of this turn.
    #[inline]
    pub(crate) fn now(&self) -> Stamp {
        self.now
    }

    /// The age of a stamp at this time.
    pub(crate) fn age(&self, since: Stamp, now: Instant) -> Duration {
        Duration::from_nanos(u64::from(self.stamp(now).0.wrapping_sub(since.0)) << UNIT_BITS)
    }

    /// The file has had unread bytes since then, but is not queued yet.
    #[inline]
    pub(crate) fn keep(&mut self, id: SlotId, since: Stamp) {
        self.kept[id.0 as usize % KEPT] = Queued { id, since };
    }

    /// Since when the file has had unread bytes, now that it is queued.
    #[inline]
    pub(crate) fn take(&mut self, id: SlotId) -> Stamp {
        let kept = &mut self.kept[id.0 as usize % KEPT];
        if kept.id == id {
            kept.id = NOBODY;
            kept.since
        } else {
            self.now
        }
    }

    /// A part of a file was acknowledged whose bytes were reported then.
    #[inline]
    pub(crate) fn acknowledged(&mut self, since: Stamp) {
        match self.acknowledged.last_mut() {
            Some((last, times)) if *last == since => *times += 1,
            _ => self.acknowledged.push((since, 1)),
        }
    }

    fn measure(&mut self) {
        for (since, times) in self.acknowledged.drain(..) {
            let units = self.now.0.wrapping_sub(since.0);
            self.deliveries.observe(Duration::from_nanos(u64::from(units) << UNIT_BITS), times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_delivery_takes_from_the_turn_that_was_told_to_the_end_of_the_turn_that_was_acknowledged() {
        let start = crate::sys::clock::now().instant;
        let mut lag = Lag::new(start);
        lag.begin_turn(start + 10 * MS);
        lag.keep(SlotId(7), lag.now());
        lag.end_turn(start + 10 * MS, start + 11 * MS);
        lag.begin_turn(start + 30 * MS);
        let (kept, fresh) = (lag.take(SlotId(7)), lag.take(SlotId(7)));
        assert_eq!(fresh, lag.now(), "a stamp is taken once");
        [kept, fresh, fresh].into_iter().for_each(|since| lag.acknowledged(since));
        lag.end_turn(start + 30 * MS, start + 32 * MS);
        assert_eq!(
            (lag.deliveries.count(), lag.deliveries.quantile(0.5), lag.deliveries.quantile(1.0)),
            (3, Some(0.005), Some(0.05))
        );
        assert_eq!((lag.turns.count(), lag.turns.quantile(1.0)), (2, Some(0.002)));
    }

    #[test]
    fn where_two_files_meet_in_the_table_the_later_one_keeps_its_stamp() {
        let start = crate::sys::clock::now().instant;
        let mut lag = Lag::new(start);
        let (one, other) = (SlotId(3), SlotId(3 + KEPT as u32));
        lag.keep(one, Stamp(1));
        lag.keep(other, Stamp(2));
        lag.begin_turn(start + 5 * MS);
        assert_eq!((lag.take(one), lag.take(other)), (lag.now(), Stamp(2)));
        assert_eq!(
            lag.age(Stamp(0), start + 5 * MS).as_millis(),
            4,
            "in units of 131 microseconds"
        );
    }
}
