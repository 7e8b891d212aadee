//! Durations, counted in fixed buckets. They are a plain array, so that an observation costs one
//! search in a small table and one addition.
//!
//! In: durations. Out: how many did not exceed each bound, their sum and number, and estimates of
//! quantiles.
//! Always holds: memory is constant, nothing is allocated, and a duration beyond the last bound is
//! counted, too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::status::numbers::approximate;

/// Upper bounds of the buckets in nanoseconds: 1-2-5 from ten microseconds (a turn that does next
/// to nothing) to a hundred seconds (an output that is down).
pub(crate) const BOUNDS: [u64; 22] = {
    let mut bounds = [0; 22];
    let (mut at, mut decade) = (0, 10_000);
    while at < 22 {
        bounds[at] = decade * [1, 2, 5][at % 3];
        if at % 3 == 2 {
            decade *= 10;
        }
        at += 1;
    }
    bounds
};

/// The durations of something that happens repeatedly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// How many durations are in each bucket and in none before it; the last bucket: longer than
    /// all [`BOUNDS`].
    counts: [u64; 23],
    /// The sum of all, in nanoseconds.
    sum: u64,
}

impl Histogram {
    /// Counts a duration, `times` times.
    pub fn observe(&mut self, took: Duration, times: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[BOUNDS.partition_point(|&bound| bound < nanos)] += times;
        self.sum = self.sum.saturating_add(nanos.saturating_mul(times));
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        approximate(self.sum) / 1e9
    }

    /// Each bound in seconds, and how many durations did not exceed it.
    pub fn cumulated(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut count = 0;
        BOUNDS.iter().zip(&self.counts).map(move |(&bound, &here)| {
            count += here;
            (approximate(bound) / 1e9, count)
        })
    }

    /// The quantile `q` (0.5: the median) in seconds. It is the bound of the bucket, so it may be
    /// up to two and a half times too long. `None`: nothing was counted. Infinite: longer than all
    /// bounds.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let wanted = (q * approximate(count)).ceil().max(1.0);
        let found = self
            .cumulated()
            .find(|&(_, upto)| approximate(upto) >= wanted)
            .map_or(f64::INFINITY, |(bound, _)| bound);
        (count > 0).then_some(found)
    }

    /// What was counted since an earlier copy of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let mut counts = self.counts;
        counts
            .iter_mut()
            .zip(earlier.counts)
            .for_each(|(now, then)| *now = now.saturating_sub(then));
        Histogram { counts, sum: self.sum.saturating_sub(earlier.sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_round_and_grow_from_ten_microseconds_to_a_hundred_seconds() {
        assert_eq!(BOUNDS[..4], [10_000, 20_000, 50_000, 100_000]);
        assert_eq!(BOUNDS[21], 100_000_000_000);
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn a_duration_lies_in_the_first_bucket_that_is_not_shorter() {
        let mut histogram = Histogram::default();
        for (nanos, times) in [(0, 1), (10_000, 1), (10_001, 2), (u64::MAX, 1)] {
            histogram.observe(Duration::from_nanos(nanos), times);
        }
        assert_eq!(
            (histogram.counts[0], histogram.counts[1], histogram.counts[22], histogram.count()),
            (2, 2, 1, 5)
        );
        assert_eq!(histogram.cumulated().last(), Some((100.0, 4)));
    }

    #[test]
    fn quantiles_are_the_bounds_of_the_buckets_that_hold_them() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.observe(Duration::from_millis(1), 99);
        histogram.observe(Duration::from_secs(1_000), 1);
        assert_eq!(histogram.quantile(0.5), Some(0.001));
        assert_eq!(histogram.quantile(0.99), Some(0.001));
        assert_eq!(histogram.quantile(1.0), Some(f64::INFINITY));
        let mut later = histogram.clone();
        later.observe(Duration::from_millis(20), 3);
        assert_eq!(
            (later.since(&histogram).count(), later.since(&histogram).quantile(0.5)),
            (3, Some(0.02))
        );
    }
}
