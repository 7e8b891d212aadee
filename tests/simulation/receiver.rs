//! The other end of the output: takes a few bytes, or none for a while, goes away and comes back, acknowledges late.
//!
//! In: what the engine sends. Out: one logical stream of records, handed to the model as soon as they are whole.
//! Always holds: what was taken is never taken back; after a loss the engine has to offer, byte for byte, what it offered before,
//! from the start of the record that holds the first unacknowledged byte.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use manytail::sink::{Sent, Sink, SinkError};

use crate::random::Random;
use crate::simulated::Simulated;

#[derive(Debug, Clone)]
pub(crate) struct OutputSettings {
    /// One in so many offers is taken only in part; 0 = never.
    partial: u32,
    /// One in so many offers starts a time in which nothing fits.
    blocked: u32,
    blocked_for: Duration,
    /// The end of such a time is told as an edge, else it is a deadline.
    edges: bool,
    /// One in so many offers finds the receiver gone.
    restarted: u32,
    /// How long after taking bytes are acknowledged; zero = at once.
    acknowledged_after: Duration,
}

impl OutputSettings {
    pub(crate) fn draw(random: &mut Random) -> Self {
        OutputSettings {
            partial: *random.pick(&[0, 0, 2, 10]),
            blocked: *random.pick(&[0, 0, 0, 20, 4]),
            blocked_for: *random.pick(&[Duration::from_micros(10), Duration::from_millis(50), Duration::from_secs(20)]),
            edges: random.one_in(2),
            restarted: *random.pick(&[0, 0, 0, 30, 6]),
            acknowledged_after: *random.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_millis(3), Duration::from_secs(5)]),
        }
    }

    /// An output that takes everything at once.
    pub(crate) fn plain() -> Self {
        OutputSettings {
            partial: 0,
            blocked: 0,
            blocked_for: Duration::ZERO,
            edges: false,
            restarted: 0,
            acknowledged_after: Duration::ZERO,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Output {
    random: Random,
    settings: OutputSettings,
    misbehaves: bool,
    /// Every byte in stream order, each once.
    stream: Vec<u8>,
    /// Where the next byte offered belongs: before the stream's end while repeats are due.
    position: usize,
    acknowledged: usize,
    /// When which position will be acknowledged.
    acks: VecDeque<(Duration, usize)>,
    blocked_until: Option<Duration>,
    /// The engine was told `Blocked` and waits for an edge.
    edge_due: bool,
    /// A receiver that comes back stays for a moment.
    restarted_at: Option<Duration>,
    /// Up to here the model has the records.
    parsed: usize,
    pub(crate) restarts: u64,
    pub(crate) accepted: u64,
}

impl Output {
    pub(crate) fn new(random: Random, settings: OutputSettings) -> Self {
        Output {
            random,
            settings,
            misbehaves: true,
            stream: Vec::new(),
            position: 0,
            acknowledged: 0,
            acks: VecDeque::new(),
            blocked_until: None,
            edge_due: false,
            restarted_at: None,
            parsed: 0,
            restarts: 0,
            accepted: 0,
        }
    }

    /// From now on everything is taken; what is still blocked or unacknowledged ends in its time.
    pub(crate) fn behave(&mut self) {
        self.misbehaves = false;
    }

    fn acknowledge(&mut self, time: Duration) {
        while let Some(&(due, position)) = self.acks.front()
            && due <= time
        {
            self.acknowledged = self.acknowledged.max(position);
            self.acks.pop_front();
        }
    }

    /// The start of the record that holds the byte at `position`.
    fn record_start(&self, position: usize) -> usize {
        memchr::memrchr(b'\n', &self.stream[..position]).map_or(0, |newline| newline + 1)
    }

    fn restart(&mut self) -> Sent {
        self.restarts += 1;
        // What a receiver got of a torn record is worth nothing to it, even if that was acknowledged.
        let certain = self.acknowledged.min(self.record_start(self.position));
        let unacknowledged = (self.position - certain) as u64;
        self.position = self.record_start(certain);
        self.acknowledged = self.position;
        self.acks.clear();
        Sent::Restarted { unacknowledged }
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> Result<Sent, String> {
        self.acknowledge(time);
        if self.blocked_until.is_some_and(|until| time < until) {
            self.edge_due = self.settings.edges;
            return Ok(Sent::Blocked);
        }
        self.blocked_until = None;
        if self.misbehaves && self.restarted_at != Some(time) && self.random.one_in(self.settings.restarted) {
            self.restarted_at = Some(time);
            return Ok(self.restart());
        }
        if bytes.is_empty() {
            return Ok(Sent::Accepted(0));
        }
        if self.misbehaves && self.random.one_in(self.settings.blocked) {
            self.blocked_until = Some(time + self.settings.blocked_for);
            self.edge_due = self.settings.edges;
            return Ok(Sent::Blocked);
        }
        if bytes.last() != Some(&b'\n') {
            return Err("an offer that does not end with a whole record".to_owned());
        }
        let partial = self.misbehaves && self.random.one_in(self.settings.partial);
        let taken = if partial { self.random.between(1, bytes.len()) } else { bytes.len() };
        self.take(&bytes[..taken])?;
        self.acks.push_back((time + self.settings.acknowledged_after, self.position));
        self.acknowledge(time);
        Ok(Sent::Accepted(taken))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let repeated = bytes.len().min(self.stream.len() - self.position);
        let expected = &self.stream[self.position..self.position + repeated];
        if expected != &bytes[..repeated] {
            return Err(format!(
                "after a restart other bytes came than before, at {}: {:?} instead of {:?}",
                self.position,
                bytes[..repeated].escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            ));
        }
        self.stream.extend_from_slice(&bytes[repeated..]);
        self.position += bytes.len();
        self.accepted += bytes.len() as u64;
        Ok(())
    }

    /// When the engine has to be told that the output is ready again, if that is told by an edge.
    pub(crate) fn edge_at(&self) -> Option<Duration> {
        self.blocked_until.filter(|_| self.edge_due)
    }

    /// Called when that time has come.
    pub(crate) fn edge_told(&mut self) {
        self.edge_due = false;
        self.blocked_until = None;
    }

    /// When a sink has to be called again by itself.
    fn deadline(&self) -> Option<Duration> {
        let blocked = self.blocked_until.filter(|_| !self.settings.edges);
        let acks = self.acks.front().map(|&(due, _)| due);
        [blocked, acks].into_iter().flatten().min()
    }

    /// The next whole record that the model has not seen, without its newline.
    pub(crate) fn next_record(&mut self) -> Option<Vec<u8>> {
        let rest = &self.stream[self.parsed..];
        let newline = memchr::memchr(b'\n', rest)?;
        let record = rest[..newline].to_vec();
        self.parsed += newline + 1;
        Some(record)
    }

    /// Whether the stream ends with a whole record and nothing is due again.
    pub(crate) fn is_settled(&self) -> bool {
        self.position == self.stream.len() && self.parsed == self.stream.len()
    }
}

/// The engine's sink.
pub(crate) struct Receiver {
    shared: Rc<RefCell<Simulated>>,
    start: Instant,
}

impl Receiver {
    pub(crate) fn new(shared: Rc<RefCell<Simulated>>, start: Instant) -> Self {
        Receiver { shared, start }
    }
}

impl Sink for Receiver {
    fn send(&mut self, bytes: &[u8], now: Instant) -> Result<Sent, SinkError> {
        let mut simulated = self.shared.borrow_mut();
        simulated.interleave();
        let sent = simulated.output.send(bytes, now - self.start).unwrap_or_else(|why| {
            simulated.fail(|| why);
            Sent::Closed
        });
        simulated.trace(|| format!("        send {} bytes: {sent:?}", bytes.len()));
        while let Some(record) = simulated.output.next_record() {
            simulated.trace(|| format!("          > {}", record.escape_ascii()));
            let simulated = &mut *simulated;
            if let Err(why) = simulated.model.take(&simulated.world, &record) {
                simulated.fail(|| why);
            }
        }
        Ok(sent)
    }

    fn unacknowledged(&mut self) -> u64 {
        let mut simulated = self.shared.borrow_mut();
        let time = simulated.now();
        let output = &mut simulated.output;
        output.acknowledge(time);
        (output.position - output.acknowledged) as u64
    }

    fn ready(&mut self, _now: Instant) {}

    fn deadline(&self) -> Option<Instant> {
        Some(self.start + self.shared.borrow().output.deadline()?)
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn own_file(&self) -> Option<(u64, u64)> {
        None
    }
}
