//! A copy of records that pass, for somebody who wants to see that they do: `manytail tap`.
//!
//! In: batches of records as they are handed to the output. Out: whole records, as far as there is room between two questions.
//! Always holds: nothing is copied unless somebody asked a moment ago; at most [`BYTES_MAX`] bytes are kept, and what did not fit is counted.

use std::time::{Duration, Instant};

/// Bytes kept between two questions.
const BYTES_MAX: usize = 256 * 1024;

/// Nobody asked for this long: nobody is interested any more.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// What was copied.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    bytes: Vec<u8>,
    /// Records that did not fit.
    missed: u64,
    /// When somebody asked last.
    asked_at: Option<Instant>,
}

impl Tap {
    /// Records pass.
    #[inline]
    pub(crate) fn passed(&mut self, records: &[u8]) {
        if self.asked_at.is_some() {
            self.copy(records);
        }
    }

    #[cold]
    fn copy(&mut self, records: &[u8]) {
        let room = BYTES_MAX.saturating_sub(self.bytes.len()).min(records.len());
        let whole = memchr::memrchr(b'\n', &records[..room]).map_or(0, |at| at + 1);
        self.bytes.extend_from_slice(&records[..whole]);
        self.missed += memchr::memchr_iter(b'\n', &records[whole..]).count() as u64;
    }

    /// What passed since the last question, and how many records did not fit. From now on records are copied, for a moment.
    pub(crate) fn take(&mut self, now: Instant) -> (Vec<u8>, u64) {
        self.asked_at = Some(now);
        (std::mem::take(&mut self.bytes), std::mem::take(&mut self.missed))
    }

    /// Ends when nobody has asked for a while.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            *self = Tap::default();
        }
    }

    /// When that is.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.asked_at.map(|at| at + KEPT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_copied_whole_while_somebody_asks_and_as_far_as_there_is_room() {
        let now = crate::sys::clock::now().instant;
        let mut tap = Tap::default();
        tap.passed(b"before\n");
        assert_eq!(tap.take(now), (Vec::new(), 0));
        tap.passed(b"one\ntwo\n");
        assert_eq!(tap.take(now), (b"one\ntwo\n".to_vec(), 0));
        let records = b"0123456789\n".repeat(BYTES_MAX / 11);
        tap.passed(&records);
        tap.passed(b"does not fit\nnor does this\n");
        let (bytes, missed) = tap.take(now);
        assert!(bytes == records && missed == 2, "{missed}");
        tap.expire(now + KEPT_FOR / 2);
        tap.passed(b"three\n");
        tap.expire(now + KEPT_FOR);
        assert_eq!((tap.deadline(), tap.take(now)), (None, (Vec::new(), 0)));
    }
}
