//! Times in RFC 3339, to the second or the nanosecond.
//!
//! In: a time. Out: its text.
//! Always holds: a time outside the years 1970 to 9999 is written as the nearest second within
//! them.

use std::io::Write;
use std::time::{Duration, SystemTime};

/// The text of the last time. All reads of a turn have the same time, and most turns are in the
/// same second as the turn before.
#[derive(Debug)]
pub(super) struct FormattedTime {
    time: SystemTime,
    /// Whole seconds of `time` since 1970.
    second: u64,
    /// `2026-11-22T10:00:00.123456789Z`.
    text: [u8; 30],
}

/// 9999-12-31T23:59:59Z: RFC 3339 has no fifth digit for the year.
pub(crate) const SECOND_MAX: u64 = 253_402_300_799;

impl FormattedTime {
    pub(super) fn new() -> Self {
        FormattedTime {
            time: SystemTime::UNIX_EPOCH,
            second: 0,
            text: *b"1970-01-01T00:00:00.000000000Z",
        }
    }

    pub(super) fn text_of(&mut self, time: SystemTime) -> &[u8] {
        if time != self.time {
            self.format(time);
        }
        &self.text
    }

    fn format(&mut self, time: SystemTime) {
        // A wrong clock must not stop delivery.
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let second = since_epoch.as_secs().min(SECOND_MAX);
        if second != self.second {
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            write!(&mut self.text[..20], "{}", humantime::format_rfc3339_seconds(whole))
                .expect("years up to 9999 take 20 bytes");
            self.second = second;
        }
        write!(&mut self.text[19..], ".{:09}Z", since_epoch.subsec_nanos())
            .expect("nine digits fit");
        self.time = time;
    }
}

/// Appends a second in RFC 3339: `2026-11-22T10:00:00Z`.
pub(crate) fn push_second(seconds_since_1970: u64, out: &mut Vec<u8>) {
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds_since_1970.min(SECOND_MAX));
    write!(out, "{}", humantime::format_rfc3339_seconds(second))
        .expect("a vector takes every write");
}
