//! The clocks, and the only pause of the loop.
//!
//! In: nothing, or a duration. Out: the time.
//! Always holds: no other module reads a clock or sleeps; they take `now` as an argument.

use std::time::{Duration, Instant, SystemTime};

/// One reading of both clocks: deadlines count in `instant`, records are stamped with `wall`.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic: never steps.
    pub instant: Instant,
    /// UTC: may step. Only printed, or compared with modification times as a hint.
    pub wall: SystemTime,
}

/// Reads the clocks.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
#[must_use]
pub fn now() -> Now {
    Now { instant: Instant::now(), wall: SystemTime::now() }
}

/// `CLOCK_MONOTONIC` in microseconds, the form that service managers compare.
///
/// # Panics
/// Never on Linux, which always has this clock.
#[must_use]
pub fn monotonic_usec() -> u64 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    let now = nix::time::clock_gettime(clock).expect("every Linux has this clock");
    u64::try_from(Duration::from(now).as_micros()).unwrap_or(u64::MAX)
}

/// Sleeps, to keep the least time between two turns (`--pace`): the milliseconds of `epoll_wait(2)`
/// are too coarse for it.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
