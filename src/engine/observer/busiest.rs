//! Which files are busiest right now: a sketch of bounded size, only while somebody watches.
//!
//! In: how much was read of which file. Out: the files with the most bytes, with counts that are
//! never too high.
//! Always holds: there are [`COUNTERS`] counters, whatever the number of files. A file with more
//! than a 256th of all bytes has one (Space-Saving: Metwally, Agrawal, El Abbadi, "Efficient
//! computation of frequent and top-k elements in data streams", 2005).

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::engine::namespace::registry::SlotKey;

/// Files counted at the same time.
const COUNTERS: usize = 256;

/// An interval is at least this long, so that several watchers see the same one.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

/// Counting ends this long after the last question.
const WATCHED_FOR: Duration = Duration::from_secs(10);

/// What was read of one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter {
    pub(crate) file: SlotKey,
    /// At most this many bytes.
    bytes: u64,
    /// How many of them may be another file's: the one whose counter it took.
    error: u64,
    /// Records since it took the counter.
    pub(crate) records: u64,
}

impl Counter {
    /// At least this many bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes - self.error
    }
}

/// The counters of the running interval, and of the one before.
#[derive(Debug)]
pub(crate) struct Busiest {
    counters: Vec<Counter>,
    places: HashMap<SlotKey, usize>,
    since: Instant,
    before: Vec<Counter>,
    before_took: Duration,
    asked_at: Instant,
}

impl Busiest {
    /// Counts from now on.
    pub(crate) fn new(now: Instant) -> Self {
        Busiest {
            counters: Vec::with_capacity(COUNTERS),
            places: HashMap::with_capacity(COUNTERS),
            since: now,
            before: Vec::with_capacity(COUNTERS),
            before_took: Duration::ZERO,
            asked_at: now,
        }
    }

    /// Whether nobody has asked for a while.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked_at) >= WATCHED_FOR
    }

    /// Counts what was read of a file.
    pub(crate) fn count(&mut self, file: SlotKey, bytes: u64, records: u64) {
        if let Some(&at) = self.places.get(&file) {
            self.counters[at].bytes += bytes;
            self.counters[at].records += records;
        } else if self.counters.len() < COUNTERS {
            self.places.insert(file, self.counters.len());
            self.counters.push(Counter { file, bytes, error: 0, records });
        } else {
            let least = (0..COUNTERS)
                .min_by_key(|&at| self.counters[at].bytes)
                .expect("there are counters");
            let counter = &mut self.counters[least];
            self.places.remove(&counter.file);
            self.places.insert(file, least);
            *counter =
                Counter { file, bytes: counter.bytes + bytes, error: counter.bytes, records };
        }
    }

    /// The files of the last whole interval, busiest first, and how long that was. Begins a new
    /// one.
    pub(crate) fn ask(&mut self, now: Instant) -> (&[Counter], Duration) {
        self.asked_at = now;
        let took = now.saturating_duration_since(self.since);
        if took >= INTERVAL_MIN {
            std::mem::swap(&mut self.before, &mut self.counters);
            self.counters.clear();
            self.places.clear();
            self.before.sort_unstable_by_key(|counter| std::cmp::Reverse(counter.bytes()));
            self.before_took = took;
            self.since = now;
        }
        (&self.before, self.before_took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::registry::Registry;
    use crate::engine::namespace::tree::DirId;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn now() -> Instant {
        Instant::now()
    }

    fn keys(count: usize) -> Vec<SlotKey> {
        let mut files = Registry::new();
        let ids: Vec<_> = (0..count).map(|n| files.insert(DirId(1), &n.to_le_bytes())).collect();
        ids.into_iter().map(|id| files.key(id)).collect()
    }

    #[test]
    fn busy_files_are_found_among_many_quiet_ones_and_never_counted_too_high() {
        let (start, keys) = (now(), keys(10_000));
        let mut busiest = Busiest::new(start);
        for (n, &key) in keys.iter().enumerate() {
            busiest.count(key, 10, 1);
            busiest.count(keys[n % 3], 1_000, 5);
        }
        let (found, took) = busiest.ask(start + Duration::from_secs(1));
        assert_eq!((found.len(), took), (COUNTERS, Duration::from_secs(1)));
        for counter in &found[..3] {
            let at = keys.iter().position(|&key| key == counter.file).unwrap();
            assert!(at < 3, "a busy one");
            assert!((3_300_000..=3_334_020).contains(&counter.bytes()), "{counter:?}");
        }
        for counter in &found[3..] {
            assert!(counter.bytes() <= 10, "{counter:?}");
        }
    }

    #[test]
    fn an_interval_that_has_just_begun_is_not_ended_by_a_second_watcher() {
        let (start, keys) = (now(), keys(2));
        let mut busiest = Busiest::new(start);
        busiest.count(keys[0], 7, 1);
        let first = start + Duration::from_secs(1);
        assert_eq!(busiest.ask(first).0[0].bytes(), 7);
        busiest.count(keys[1], 9, 1);
        assert_eq!(
            busiest.ask(first + Duration::from_millis(10)).0[0].bytes(),
            7,
            "the same as a moment ago"
        );
        assert_eq!(busiest.ask(first + Duration::from_secs(1)).0[0].bytes(), 9);
        assert!(
            !busiest.is_over(first + Duration::from_secs(10))
                && busiest.is_over(first + Duration::from_secs(11))
        );
    }
}
