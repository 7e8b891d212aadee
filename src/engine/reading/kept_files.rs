//! Files that were read a moment ago and are still open: the next line costs no open, and moving or
//! deleting one loses nothing.
//!
//! In: the file of a slot, once it was read to its end. Out: that file, at most once.
//! Always holds: there are no more files than places, and none is open for longer than
//! [`KEPT_FOR`], provided that [`KeptFiles::expire`] is called when it is due. Each slot has one
//! place, which it shares with others; the file that was read last has it. Finding a file costs one
//! comparison. Slots with consecutive numbers rarely share a place as long as there is one for
//! each.

use std::time::{Duration, Instant};

use crate::engine::namespace::registry::SlotId;
use crate::planted::is_planted;

/// How long a file stays open after it was read, at most, unless it cools down for longer.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(2);

/// Ages are counted in this many steps. All files of one age are closed together, so that a file
/// needs no timer.
const STEPS: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct KeptFiles<T> {
    places: Box<[Option<Kept<T>>]>,
    len: usize,
    /// The current step, the length of a step, and when the next one begins.
    step: u32,
    step_length: Duration,
    next_step: Instant,
    /// The place that was emptied last to make room.
    hand: usize,
}

#[derive(Debug)]
struct Kept<T> {
    id: SlotId,
    /// The step in which it was read.
    read_in: u32,
    file: T,
}

impl<T> KeptFiles<T> {
    /// This many places, for this long. Without places, no file is kept.
    pub(crate) fn new(places: usize, time: Duration, now: Instant) -> Self {
        KeptFiles {
            places: Self::empty(places),
            len: 0,
            step: 0,
            step_length: time / STEPS,
            next_step: now,
            hand: 0,
        }
    }

    fn empty(places: usize) -> Box<[Option<Kept<T>>]> {
        std::iter::repeat_with(|| None).take(places).collect()
    }

    /// Changes how many places there are. All files are closed.
    pub(crate) fn resize(&mut self, places: usize) {
        self.places = Self::empty(places);
        self.len = 0;
    }

    /// Changes for how long a file stays open.
    pub(crate) fn keep_for(&mut self, time: Duration, now: Instant) {
        self.step_length = time / STEPS;
        self.next_step = self.next_step.min(now + self.step_length);
    }

    /// Files that are open.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The place of a slot: multiples of the golden ratio are far apart (Knuth, The Art of Computer
    /// Programming, volume 3, 6.4).
    #[inline]
    fn place_of(&self, id: SlotId) -> usize {
        const GOLDEN: u32 = 0x9E37_79B9;
        ((u64::from(id.0.wrapping_mul(GOLDEN)) * self.places.len() as u64) >> 32) as usize
    }

    /// Keeps a file that was just read. The file that had its place is closed.
    #[inline]
    pub(crate) fn keep(&mut self, id: SlotId, file: T, now: Instant) {
        let at = self.place_of(id);
        let read_in = self.step;
        let Some(place) = self.places.get_mut(at) else { return };
        if place.replace(Kept { id, read_in, file }).is_none() {
            if self.len == 0 {
                self.next_step = now + self.step_length;
            }
            self.len += 1;
        }
    }

    /// Takes the file of a slot, if it is open.
    #[inline]
    pub(crate) fn take(&mut self, id: SlotId) -> Option<T> {
        let at = self.place_of(id);
        let place = self.places.get_mut(at)?;
        if place.as_ref().is_none_or(|kept| kept.id != id) {
            return None;
        }
        self.len -= 1;
        place.take().map(|kept| kept.file)
    }

    /// The slots whose files are open.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.places.iter().flatten().map(|kept| kept.id)
    }

    /// Closes one file, if any is open. Places take turns, so that no place is searched twice.
    pub(crate) fn give_way(&mut self) {
        while self.len > 0 {
            self.hand = if self.hand + 1 < self.places.len() { self.hand + 1 } else { 0 };
            if self.places[self.hand].take().is_some() {
                self.len -= 1;
                return;
            }
        }
    }

    /// Closes all files.
    pub(crate) fn clear(&mut self) {
        if self.len > 0 {
            self.places.fill_with(|| None);
            self.len = 0;
        }
    }

    /// Closes the files that have been open for long enough.
    #[inline]
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.len > 0 && self.next_step <= now {
            self.end_step(now);
        }
    }

    #[cold]
    fn end_step(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.next_step).as_nanos()
            / self.step_length.as_nanos()
            + 1;
        // More steps make no difference.
        let steps = u32::try_from(steps).unwrap_or(STEPS).min(STEPS);
        self.step = self.step.wrapping_add(steps);
        self.next_step = now + self.step_length;
        if is_planted!(KeptTooLong) {
            return;
        }
        for place in &mut self.places {
            if place.as_ref().is_some_and(|kept| self.step.wrapping_sub(kept.read_in) >= STEPS) {
                *place = None;
                self.len -= 1;
            }
        }
    }

    /// When [`KeptFiles::expire`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.len > 0).then_some(self.next_step)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::sys::clock;

    fn id(number: u32) -> SlotId {
        SlotId(number)
    }

    #[test]
    fn files_that_follow_each_other_find_a_place_each_and_are_taken_once() {
        let now = clock::now().instant;
        let mut kept = KeptFiles::new(16_384, KEPT_FOR, now);
        (0..5_000).for_each(|number| kept.keep(id(number), number, now));
        assert!(kept.len() > 4_900, "{}", kept.len());
        let taken: Vec<u32> = (0..5_000)
            .filter_map(|number| kept.take(id(number)).inspect(|&file| assert_eq!(file, number)))
            .collect();
        assert!(taken.len() > 4_900 && kept.len() == 0 && kept.deadline().is_none());
        assert!((0..5_000).all(|number| kept.take(id(number)).is_none()));
    }

    #[test]
    fn there_are_never_more_files_than_places_and_what_has_none_is_closed() {
        let now = clock::now().instant;
        for places in [0, 1, 2, 3, 100, 256] {
            let mut kept = KeptFiles::new(places, KEPT_FOR, now);
            let file = Rc::new(());
            for number in 0..10_000 {
                kept.keep(id(number * 7_919), Rc::clone(&file), now);
                assert_eq!(Rc::strong_count(&file) - 1, kept.len());
            }
            assert_eq!(kept.len(), places, "each place is taken");
            (0..places / 2).for_each(|_| kept.give_way());
            assert_eq!(
                (kept.len(), Rc::strong_count(&file) - 1),
                (places - places / 2, places - places / 2)
            );
            kept.clear();
            kept.give_way();
            assert_eq!((kept.len(), Rc::strong_count(&file), kept.deadline()), (0, 1, None));
        }
    }

    #[test]
    fn a_file_is_closed_within_two_seconds_and_not_before_one_and_a_half() {
        let start = clock::now().instant;
        let at = |millis| start + Duration::from_millis(millis);
        for begun in (0..3_000).step_by(170) {
            let mut kept = KeptFiles::new(64, KEPT_FOR, start);
            // Others are read all the time: the steps are not counted from this one.
            let mut closed = None;
            for millis in (0..6_000).step_by(10) {
                kept.expire(at(millis));
                if millis == begun {
                    kept.keep(id(7), (), at(millis));
                } else if millis % 50 == 0 && kept.place_of(id(8)) != kept.place_of(id(7)) {
                    kept.keep(id(8), (), at(millis));
                }
                if closed.is_none() && millis > begun && kept.ids().all(|other| other != id(7)) {
                    closed = Some(millis - begun);
                }
            }
            assert!(
                closed.is_some_and(|age| (1_500..=2_010).contains(&age)),
                "kept at {begun}, closed after {closed:?} ms"
            );
        }
    }

    #[test]
    fn one_that_is_read_again_stays_and_after_a_long_sleep_all_are_closed_at_once() {
        let start = clock::now().instant;
        let mut kept = KeptFiles::new(64, KEPT_FOR, start);
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            kept.expire(now);
            assert!(second == 0 || kept.take(id(3)).is_some(), "it was read {second} s ago");
            kept.keep(id(3), (), now);
        }
        kept.keep(id(4), (), start + Duration::from_secs(9));
        kept.expire(start + Duration::from_secs(3_600));
        assert_eq!((kept.len(), kept.deadline()), (0, None));
        kept.keep_for(Duration::from_secs(40), start + Duration::from_secs(3_600));
        kept.keep(id(4), (), start + Duration::from_secs(3_600));
        kept.expire(start + Duration::from_secs(3_629));
        assert_eq!(kept.len(), 1, "it may be kept for longer");
        kept.keep_for(KEPT_FOR, start + Duration::from_secs(3_629));
        let closed = (0..9).find(|halves| {
            kept.expire(start + Duration::from_secs(3_629) + *halves * Duration::from_millis(500));
            kept.len() == 0
        });
        assert!(closed.is_some_and(|halves| halves <= 4), "{closed:?}");
    }
}
