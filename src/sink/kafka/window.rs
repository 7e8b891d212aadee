//! The records that were accepted and are not acknowledged yet, in the order of the stream.
//!
//! In: records as they are accepted, and reports about them in any order. Out: how many bytes are
//! not acknowledged.
//! Always holds: acknowledged is what lies before the first record that was not delivered. After a
//! restart the same records are accepted again; what is known of each is kept until then.

use std::collections::VecDeque;

/// What is known of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has to be sent.
    Unsent,
    /// It was sent, and there was no report yet.
    Sent,
    /// It was sent, and was not delivered.
    Failed,
    /// It arrived.
    Delivered,
    /// A broker will never take it.
    Refused,
    /// So it was left out.
    LeftOut,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// With its newline.
    bytes: u32,
    fate: Fate,
}

/// The records.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    /// The number of the first entry. Numbers are never used again.
    first: u64,
    /// How many entries were accepted since the last restart.
    accepted: usize,
    /// Their bytes.
    bytes: u64,
    /// How many of them are [`Fate::Sent`], and [`Fate::Failed`].
    sent: usize,
    failed: usize,
    /// The bytes of those that are [`Fate::Sent`].
    sent_bytes: u64,
}

impl Window {
    /// Bytes that were accepted and are not acknowledged.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records that were sent and have no report yet.
    pub(super) fn in_flight(&self) -> usize {
        self.sent
    }

    /// Their bytes.
    pub(super) fn in_flight_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Whether a record that was sent was not delivered.
    pub(super) fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// What is known of the record that is accepted next.
    pub(super) fn next(&mut self, bytes: u32) -> Fate {
        match self.entries.get(self.accepted) {
            Some(entry) if entry.bytes == bytes => entry.fate,
            Some(_) => {
                // Another record than before: what was known is about records that do not come.
                self.entries.truncate(self.accepted);
                Fate::Unsent
            }
            None => Fate::Unsent,
        }
    }

    /// The number under which the next record is sent.
    pub(super) fn number(&self) -> u64 {
        self.first + self.accepted as u64
    }

    /// The next record was accepted.
    pub(super) fn accept(&mut self, bytes: u32, fate: Fate) {
        let entry = Entry { bytes, fate };
        match self.entries.get_mut(self.accepted) {
            Some(known) => *known = entry,
            None => self.entries.push_back(entry),
        }
        self.accepted += 1;
        self.bytes += u64::from(bytes);
        if fate == Fate::Sent {
            self.sent += 1;
            self.sent_bytes += u64::from(bytes);
        }
    }

    /// The next record has this fate, and is not accepted.
    pub(super) fn hold(&mut self, bytes: u32, fate: Fate) {
        let entry = Entry { bytes, fate };
        match self.entries.get_mut(self.accepted) {
            Some(known) => *known = entry,
            None => self.entries.push_back(entry),
        }
    }

    /// Whether a record was refused, and waits. Looks at all of them.
    pub(super) fn has_refused(&self) -> bool {
        self.entries.iter().any(|entry| entry.fate == Fate::Refused)
    }

    /// What was refused is tried again.
    pub(super) fn forgive(&mut self) {
        for entry in &mut self.entries {
            if entry.fate == Fate::Refused {
                entry.fate = Fate::Unsent;
            }
        }
    }

    /// The bytes of the record with this number, if it was sent and has no report yet.
    pub(super) fn bytes_of(&self, number: u64) -> Option<u32> {
        self.at(number).map(|at| self.entries[at].bytes)
    }

    /// A report: what became of the record with this number.
    pub(super) fn report(&mut self, number: u64, fate: Fate) {
        let Some(at) = self.at(number) else {
            return;
        };
        self.entries[at].fate = fate;
        self.sent -= 1;
        self.sent_bytes -= u64::from(self.entries[at].bytes);
        self.failed += usize::from(fate != Fate::Delivered);
    }

    fn at(&self, number: u64) -> Option<usize> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let is_sent = at < self.accepted && self.entries[at].fate == Fate::Sent;
        is_sent.then_some(at)
    }

    /// Takes what is delivered from the front.
    pub(super) fn acknowledge(&mut self) {
        let is_done = |entry: &Entry| matches!(entry.fate, Fate::Delivered | Fate::LeftOut);
        while self.accepted > 0 && self.entries.front().is_some_and(is_done) {
            let entry = self.entries.pop_front().expect("there is one");
            self.first += 1;
            self.accepted -= 1;
            self.bytes -= u64::from(entry.bytes);
        }
    }

    /// All that was accepted is acknowledged.
    pub(super) fn clear(&mut self) {
        self.first += self.accepted as u64;
        self.entries.drain(..self.accepted);
        (self.accepted, self.bytes) = (0, 0);
        self.give_up();
    }

    /// The client is given up: no report comes any more.
    pub(super) fn give_up(&mut self) {
        (self.sent, self.failed, self.sent_bytes) = (0, 0, 0);
    }

    /// All of it is offered again; `is_lost`: also what was delivered has to be sent again. Returns
    /// how many bytes.
    pub(super) fn restart(&mut self, is_lost: bool) -> u64 {
        for entry in &mut self.entries {
            let is_known = match entry.fate {
                Fate::Refused | Fate::LeftOut => true,
                Fate::Delivered => !is_lost,
                Fate::Unsent | Fate::Sent | Fate::Failed => false,
            };
            if !is_known {
                entry.fate = Fate::Unsent;
            }
        }
        self.give_up();
        self.accepted = 0;
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window_of(fates: &[Fate]) -> Window {
        let mut window = Window::default();
        fates.iter().for_each(|&fate| window.accept(10, fate));
        window
    }

    #[test]
    fn reports_out_of_order_acknowledge_only_what_has_none_missing_before_it() {
        let mut window = window_of(&[Fate::Sent; 3]);
        assert_eq!((window.bytes(), window.in_flight()), (30, 3));
        assert_eq!(window.bytes_of(2), Some(10));
        window.report(2, Fate::Delivered);
        window.acknowledge();
        assert_eq!((window.bytes(), window.in_flight()), (30, 2));
        window.report(0, Fate::Delivered);
        window.acknowledge();
        assert_eq!(window.bytes(), 20);
        window.report(1, Fate::Delivered);
        window.acknowledge();
        assert_eq!((window.bytes(), window.in_flight(), window.number()), (0, 0, 3));
        assert_eq!(window.bytes_of(1), None, "a report that comes twice");
        assert_eq!(window.bytes_of(9), None, "a report about nothing");
    }

    #[test]
    fn what_was_delivered_is_not_sent_again_unless_it_is_lost() {
        let mut window = window_of(&[Fate::Sent; 3]);
        window.report(1, Fate::Delivered);
        window.report(2, Fate::Failed);
        window.acknowledge();
        assert!(window.has_failed());
        window.give_up();
        assert_eq!((window.bytes(), window.in_flight(), window.has_failed()), (30, 0, false));
        assert_eq!(window.restart(false), 30);
        assert_eq!((window.bytes(), window.in_flight(), window.has_failed()), (0, 0, false));
        assert_eq!(window.next(10), Fate::Unsent);
        window.accept(10, Fate::Sent);
        assert_eq!(window.next(10), Fate::Delivered);
        window.accept(10, Fate::Delivered);
        assert_eq!(window.next(10), Fate::Unsent);
        window.report(0, Fate::Delivered);
        window.acknowledge();
        assert_eq!((window.bytes(), window.number()), (0, 2));
        let mut window = window_of(&[Fate::Delivered, Fate::Sent]);
        window.report(1, Fate::Refused);
        window.restart(true);
        assert_eq!(window.next(10), Fate::Unsent);
        window.accept(10, Fate::Sent);
        assert_eq!(window.next(10), Fate::Refused);
    }

    #[test]
    fn what_is_known_of_records_that_do_not_come_again_is_forgotten() {
        let mut window = window_of(&[Fate::Delivered, Fate::Delivered]);
        window.restart(false);
        assert_eq!(window.next(11), Fate::Unsent);
        window.accept(11, Fate::Sent);
        assert_eq!(window.next(10), Fate::Unsent);
        assert_eq!(window.bytes(), 11);
    }

    #[test]
    fn a_record_that_is_held_is_not_accepted_and_its_fate_is_known_later() {
        let mut window = window_of(&[Fate::Sent]);
        assert!(!window.has_refused());
        window.hold(10, Fate::Refused);
        assert_eq!((window.bytes(), window.next(10)), (10, Fate::Refused));
        window.clear();
        assert_eq!((window.bytes(), window.next(10), window.number()), (0, Fate::Refused, 1));
        window.restart(true);
        assert!(window.has_refused());
        window.forgive();
        assert_eq!((window.has_refused(), window.next(10)), (false, Fate::Unsent));
        window.accept(10, Fate::Sent);
        window.accept(10, Fate::LeftOut);
        window.restart(true);
        window.accept(10, Fate::Sent);
        assert_eq!(window.next(10), Fate::LeftOut, "whatever is lost");
        window.accept(10, Fate::LeftOut);
        window.clear();
        assert_eq!((window.bytes(), window.number()), (0, 3));
    }
}
