//! How much pausing the load asks for: a loop that is rarely busy serves each line at once; one
//! that barely keeps up batches its wake-ups and opens.
//!
//! In: when each turn began and ended. Out: the pressure, 0 to 1, by which `--pace` and
//! `--coalesce` are multiplied.
//! Always holds: a turn changes the busy share by no more than its part of [`WINDOW`]; pauses count
//! as idle time, so that they do not cause further pauses.

use std::time::{Duration, Instant};

/// The busy share is averaged over about this time.
const WINDOW: Duration = Duration::from_millis(50);

/// Up to this busy share lines are served at once.
const FREE_SHARE: f32 = 0.5;

/// From this busy share on the loop pauses as long as it may. A loop that always has work and
/// pauses that long does not exceed it: its turns then last about one to two milliseconds.
const FULL_SHARE: f32 = 0.65;

/// A shorter pause costs more than it saves: a timer takes 13 to 20 us.
const REST_MIN: Duration = Duration::from_micros(50);

/// See the module.
#[derive(Debug)]
pub(super) struct Pressure {
    /// The busy share of recent time.
    share: f32,
    /// The end of the previous turn.
    ended: Instant,
}

impl Pressure {
    pub(super) fn new(now: Instant) -> Self {
        Pressure { share: 0.0, ended: now }
    }

    /// Notes the end of a turn. Returns the pressure.
    pub(super) fn turned(&mut self, began: Instant, ended: Instant) -> f32 {
        let wall = ended.saturating_duration_since(self.ended).as_secs_f32();
        let busy = ended.saturating_duration_since(began.max(self.ended)).as_secs_f32();
        if wall > 0.0 {
            self.share += (busy / wall - self.share) * (wall / WINDOW.as_secs_f32()).min(1.0);
        }
        self.ended = ended;
        ((self.share - FREE_SHARE) / (FULL_SHARE - FREE_SHARE)).clamp(0.0, 1.0)
    }

    /// How long to pause, at most `pace`.
    pub(super) fn rest(pace: Duration, pressure: f32) -> Duration {
        let rest = if pressure < 1.0 { pace.mul_f32(pressure) } else { pace };
        if rest < REST_MIN.min(pace) { Duration::ZERO } else { rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    /// The pressure after turns of this length, each `idle` after the one before, for this long.
    fn after(pressure: &mut Pressure, busy: Duration, idle: Duration, how_long: Duration) -> f32 {
        let (begun, mut last) = (pressure.ended, 0.0);
        while pressure.ended - begun < how_long {
            let began = pressure.ended + idle;
            last = pressure.turned(began, began + busy);
        }
        last
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the ends of the range are exact")]
    fn a_loop_that_is_busy_half_of_the_time_has_none_and_one_that_never_sleeps_has_all() {
        let mut pressure = Pressure::new(clock::now().instant);
        assert_eq!(after(&mut pressure, micros(40), micros(60), SECOND), 0.0);
        assert_eq!(after(&mut pressure, micros(5_000), micros(0), SECOND), 1.0);
        let some = after(&mut pressure, micros(575), micros(425), SECOND);
        assert!((0.3..0.7).contains(&some), "{some}");
        assert_eq!(after(&mut pressure, micros(40), micros(60), SECOND), 0.0);
    }

    #[test]
    fn it_follows_a_change_of_the_load_within_two_tenths_of_a_second() {
        let mut pressure = Pressure::new(clock::now().instant);
        after(&mut pressure, micros(10), micros(990), SECOND);
        assert!(after(&mut pressure, micros(1_000), micros(0), micros(100_000)) > 0.9);
        assert!(after(&mut pressure, micros(10), micros(990), micros(100_000)) < 0.1);
        // One long turn after a long sleep is the start of a burst, not yet a load.
        after(&mut pressure, micros(10), SECOND, SECOND);
        assert!(after(&mut pressure, micros(10_000), SECOND, micros(10)) < 0.1);
    }

    #[test]
    fn a_rest_is_at_most_the_pace_and_none_that_costs_more_than_it_saves() {
        let pace = micros(500);
        assert_eq!(
            [0.0, 0.05, 0.5, 1.0].map(|pressure| Pressure::rest(pace, pressure)),
            [micros(0), micros(0), micros(250), pace]
        );
        assert_eq!(
            [0.5, 1.0].map(|pressure| Pressure::rest(micros(20), pressure)),
            [micros(0), micros(20)]
        );
        assert_eq!(Pressure::rest(Duration::ZERO, 1.0), Duration::ZERO);
    }
}
