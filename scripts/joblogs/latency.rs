//! The latency of lines: a histogram of fixed size; the width of a bucket is 1/64 of its values.

/// Buckets per doubling.
const PARTS: u64 = 64;

/// Counts of durations in microseconds.
pub(crate) struct Latency {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Latency {
    pub(crate) fn new() -> Self {
        Latency { buckets: vec![0; 64 * PARTS as usize], count: 0, max_us: 0 }
    }

    pub(crate) fn add(&mut self, us: u64) {
        self.buckets[bucket(us)] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// The least duration, to 1/64, that this share of all durations does not exceed.
    fn quantile_us(&self, share: f64) -> u64 {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank && below > 0 {
                return least_us(bucket as u64);
            }
        }
        0
    }

    pub(crate) fn report(&self) -> String {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.quantile_us(share));
        format!(
            "timed={} p50_us={p50} p99_us={p99} p999_us={p999} max_us={}",
            self.count, self.max_us
        )
    }
}

fn bucket(us: u64) -> usize {
    if us < PARTS {
        return us as usize;
    }
    let doublings = u64::from(us.ilog2() - PARTS.ilog2());
    ((doublings + 1) * PARTS + (us >> doublings) - PARTS) as usize
}

fn least_us(bucket: u64) -> u64 {
    if bucket < PARTS {
        return bucket;
    }
    (bucket % PARTS + PARTS) << (bucket / PARTS - 1)
}
