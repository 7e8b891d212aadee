//! Which files are read most, which are furthest behind, and how far reading has come: for people
//! who watch.
//!
//! Always holds: an answer costs as many looks as one about the status, whatever the number of
//! files. Nothing is counted when nobody watches.

use crate::engine::Engine;
use crate::engine::namespace::registry::{Registry, SlotId, State};
use crate::engine::observer::busiest::Busiest;
use crate::engine::observer::paths::path_of;
use crate::engine::observer::status::Insight;
use crate::engine::schedule::Schedule;
use crate::sink::Sink;
use crate::status::file::PathText;
use crate::status::stats::Reading;
use crate::status::top::{BehindFile, BusyFile, Top};
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Files in each list of an answer at most.
const SHOWN_MAX: usize = 64;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Records that were handed to the output since the last question, as far as there was room,
    /// and how many did not fit.
    pub fn tap(&mut self, now: Now) -> (Vec<u8>, u64) {
        self.outbox.tap.take(now.instant)
    }

    /// How far reading has come.
    pub fn reading(&self) -> Reading {
        let is_calm =
            self.discovery.is_started && self.is_calm() && self.schedule.by_age.is_empty();
        Reading {
            files: self.files.len() as u64,
            found_bytes: self.discovery.found_bytes,
            read_bytes: self.observer.stats.bytes + self.observer.stats.skipped_nul_bytes,
            is_listing: !is_calm,
            is_done: is_calm && !self.config.once && self.schedule.unread.has_no_listed(),
        }
    }

    /// The files furthest behind, and the busiest ones since the last question. Reads are counted
    /// from the first question until nobody has asked for ten seconds.
    pub fn top(&mut self, now: Now) -> Top {
        let mut busiest =
            self.observer.busiest.take().unwrap_or_else(|| Box::new(Busiest::new(now.instant)));
        let (counters, took) = busiest.ask(now.instant);
        let busy = counters.iter().filter_map(|counter| {
            let path = path_of(&self.files, &self.tree, self.files.alive(counter.file)?)?;
            Some(BusyFile {
                path: PathText::new(&path),
                bytes: counter.bytes(),
                records: counter.records,
            })
        });
        let mut top = Top {
            busiest: busy.take(SHOWN_MAX).collect(),
            interval_seconds: took.as_secs_f64(),
            ..Top::default()
        };
        self.observer.busiest = Some(busiest);
        self.rank_behind(&mut top);
        top
    }

    fn rank_behind(&mut self, top: &mut Top) {
        let waiting = some_waiting(&self.schedule, &self.files, &mut self.observer.insight);
        top.waiting_files = self.unread_files() as u64;
        let mut behind: Vec<(u64, SlotId)> = Vec::with_capacity(waiting.len());
        for id in waiting {
            if self.files.get(id).state().contains(State::DIRTY) {
                top.looked_at += 1;
                behind.extend(
                    self.unread_bytes(id).filter(|&unread| unread > 0).map(|unread| (unread, id)),
                );
            }
        }
        behind.sort_unstable_by_key(|&(unread, _)| std::cmp::Reverse(unread));
        top.behind = behind
            .into_iter()
            .filter_map(|(unread_bytes, id)| {
                let path = path_of(&self.files, &self.tree, id)
                    .or_else(|| self.reading.held.get(&id).map(|held| held.path.clone()))?;
                Some(BehindFile {
                    path: PathText::new(&path),
                    unread_bytes,
                    offset: self.files.get(id).offset,
                })
            })
            .take(SHOWN_MAX)
            .collect();
    }
}

/// Files that wait: the oldest of each queue, and some of the others, spread evenly.
fn some_waiting(schedule: &Schedule, files: &Registry, insight: &mut Insight) -> Vec<SlotId> {
    let (unread, by_age, cooling) = (&schedule.unread, &schedule.by_age, schedule.cooling());
    let looks = insight.looks(unread.len() + by_age.len() + cooling.len());
    let mut some = Vec::with_capacity(looks);
    let each = looks.div_ceil(4).max(2);
    let queued = oldest_and_spread(unread.len(), 2 * each).filter_map(|at| unread.get(at));
    some.extend(queued.map(|waiting| waiting.id));
    let listed = oldest_and_spread(by_age.len(), each).map(|at| by_age.get(at));
    let cooling = oldest_and_spread(cooling.len(), each).map(|at| cooling[at].1);
    some.extend(listed.chain(cooling).filter_map(|key| files.alive(key)));
    some
}

/// At most `most` places of a queue: half of them at its head, the others spread over the rest.
fn oldest_and_spread(len: usize, most: usize) -> impl Iterator<Item = usize> {
    let oldest = if len <= most { len } else { most / 2 };
    let every = (len - oldest).div_ceil(most / 2).max(1);
    (0..oldest).chain((oldest..len).step_by(every))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_queue_the_head_and_some_of_the_rest_are_looked_at() {
        assert_eq!(oldest_and_spread(0, 4).count(), 0);
        assert_eq!(oldest_and_spread(4, 4).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(oldest_and_spread(10, 4).collect::<Vec<_>>(), [0, 1, 2, 6]);
        assert!((0..3_000).all(|len| oldest_and_spread(len, 250).count() <= 250));
    }
}
