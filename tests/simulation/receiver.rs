//! The other end of the output: takes a few bytes, or none for a while, goes away and comes back,
//! acknowledges late.
//!
//! In: what the engine sends. Out: one logical stream of records, handed to the model as soon as
//! they are whole.
//! Always holds: what was taken is never taken back; after a loss the engine has to offer, byte for
//! byte, what it offered before, from the start of the record that holds the first unacknowledged
//! byte. Only when the sender crashes, what it was not told to be acknowledged may be lost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use manytail::sink::{FilePoint, Sent, Sink, SinkError, SinkState};

use crate::output_file::OutputFile;
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
            blocked_for: *random.pick(&[
                Duration::from_micros(10),
                Duration::from_millis(50),
                Duration::from_secs(20),
            ]),
            edges: random.one_in(2),
            restarted: *random.pick(&[0, 0, 0, 30, 6]),
            acknowledged_after: *random.pick(&[
                Duration::ZERO,
                Duration::ZERO,
                Duration::from_millis(3),
                Duration::from_secs(5),
            ]),
        }
    }

    /// So much may wait for it, but not so little that each record waits for seconds until the one
    /// before is acknowledged.
    pub(crate) fn room(&self, bytes: usize) -> usize {
        if self.acknowledged_after < Duration::from_millis(100) {
            bytes
        } else {
            bytes.max(100_000)
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

/// Times that a receiver goes away before it acknowledged anything; then it stays until it did. One
/// that never does can be served by nobody, and an acknowledgement that takes seconds never comes
/// if it goes away every few microseconds.
const RESTARTS_IN_VAIN_MAX: u32 = 10;

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
    /// How often it went away since it acknowledged something.
    restarts_in_vain: u32,
    /// Up to here the model has the records.
    parsed: usize,
    /// Ends of offers that were taken whole and not told to be acknowledged yet. The engine
    /// accounts for parts of files: how far it is inside an offer it may not know.
    wholes: VecDeque<usize>,
    /// Up to which of them the engine was told that all is acknowledged, and how many records that
    /// are.
    told: usize,
    told_records: u64,
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
            restarts_in_vain: 0,
            parsed: 0,
            wholes: VecDeque::new(),
            told: 0,
            told_records: 0,
            restarts: 0,
            accepted: 0,
        }
    }

    /// From now on everything is taken; what is still blocked or unacknowledged ends in its time.
    pub(crate) fn behave(&mut self) {
        self.misbehaves = false;
    }

    /// Nothing fits until then.
    pub(crate) fn block_until(&mut self, until: Duration) {
        self.blocked_until = Some(until);
    }

    fn acknowledge(&mut self, time: Duration) {
        while let Some(&(due, position)) = self.acks.front()
            && due <= time
        {
            self.acknowledged = self.acknowledged.max(position);
            self.acks.pop_front();
            self.restarts_in_vain = 0;
        }
    }

    /// The start of the record that holds the byte at `position`.
    fn record_start(&self, position: usize) -> usize {
        memchr::memrchr(b'\n', &self.stream[..position]).map_or(0, |newline| newline + 1)
    }

    fn restart(&mut self) -> Sent {
        self.restarts += 1;
        self.restarts_in_vain += 1;
        // What a receiver got of a torn record is worth nothing to it, even if that was
        // acknowledged.
        let certain = self.acknowledged.min(self.record_start(self.position));
        let unacknowledged = (self.position - certain) as u64;
        self.position = self.record_start(certain);
        self.acknowledged = self.position;
        self.acks.clear();
        self.wholes.retain(|&whole| whole <= self.position);
        Sent::Restarted { unacknowledged }
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> Result<Sent, String> {
        self.acknowledge(time);
        if self.blocked_until.is_some_and(|until| time < until) {
            self.edge_due = self.settings.edges;
            return Ok(Sent::Blocked);
        }
        self.blocked_until = None;
        let may_restart =
            self.restarted_at != Some(time) && self.restarts_in_vain < RESTARTS_IN_VAIN_MAX;
        if self.misbehaves && may_restart && self.random.one_in(self.settings.restarted) {
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
        if taken == bytes.len() {
            self.wholes.push_back(self.position);
        }
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

    fn unacknowledged(&mut self, time: Duration) -> u64 {
        self.acknowledge(time);
        while let Some(&whole) = self.wholes.front()
            && whole <= self.acknowledged
        {
            self.wholes.pop_front();
            if whole > self.told {
                self.told_records +=
                    memchr::memchr_iter(b'\n', &self.stream[self.told..whole]).count() as u64;
                self.told = whole;
            }
        }
        (self.position - self.acknowledged) as u64
    }

    /// How many records the engine knows to be acknowledged.
    pub(crate) fn records_acknowledged(&self) -> u64 {
        self.told_records
    }

    /// The sender is gone. What was not acknowledged may be gone as well; a torn record is worth
    /// nothing. How many records are left.
    pub(crate) fn crashed(&mut self) -> u64 {
        let certain = self.record_start(self.acknowledged);
        let kept = match self.random.below(3) {
            0 => certain,
            1 => self.stream.len(),
            _ => self.random.between(certain, self.stream.len()),
        };
        self.stream.truncate(self.record_start(kept));
        self.parsed = self.stream.len();
        self.position = self.stream.len();
        self.acknowledged = self.stream.len();
        self.told = self.stream.len();
        self.told_records = memchr::memchr_iter(b'\n', &self.stream).count() as u64;
        self.acks.clear();
        self.wholes.clear();
        self.blocked_until = None;
        self.edge_due = false;
        self.told_records
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
        let (time, is_last) = (now - self.start, simulated.is_last_call());
        let simulated = &mut *simulated;
        let sent = match &mut simulated.file {
            Some(file) => file.send(bytes, time, is_last),
            None => simulated.output.send(bytes, time),
        };
        let sent = sent.unwrap_or_else(|why| {
            simulated.fail(|| why);
            Sent::Closed
        });
        simulated.trace(|| format!("        send {} bytes: {sent:?}", bytes.len()));
        let next = |simulated: &mut Simulated| match &mut simulated.file {
            Some(file) => file.next_record(),
            None => simulated.output.next_record(),
        };
        while let Some(record) = next(simulated) {
            simulated.trace(|| format!("          > {}", record.escape_ascii()));
            if let Err(why) = simulated.model.take(&simulated.world, &record) {
                simulated.fail(|| why);
            }
        }
        if !bytes.is_empty() && sent == Sent::Accepted(bytes.len()) && simulated.file.is_some() {
            simulated.acknowledged();
        }
        if is_last {
            simulated.crash_now();
        }
        Ok(sent)
    }

    fn unacknowledged(&mut self) -> u64 {
        let mut simulated = self.shared.borrow_mut();
        if simulated.file.is_some() {
            return 0;
        }
        let time = simulated.now();
        let before = simulated.output.told;
        let unacknowledged = simulated.output.unacknowledged(time);
        if simulated.output.told > before {
            simulated.acknowledged();
        }
        unacknowledged
    }

    fn ready(&mut self, _now: Instant) {}

    fn deadline(&self) -> Option<Instant> {
        let simulated = self.shared.borrow();
        let deadline = simulated
            .file
            .as_ref()
            .map_or_else(|| simulated.output.deadline(), OutputFile::deadline);
        Some(self.start + deadline?)
    }

    fn point(&mut self) -> Option<FilePoint> {
        let simulated = self.shared.borrow();
        let file = simulated.file.as_ref()?;
        Some(FilePoint { id: file.id(), len: file.bytes().len() as u64, file: None })
    }

    fn withdraw(&mut self, bytes: u64) -> bool {
        let mut simulated = self.shared.borrow_mut();
        simulated.may_crash();
        let simulated = &mut *simulated;
        let Some(file) = &mut simulated.file else { return false };
        let kept = file.withdraw(bytes);
        simulated.model.withdrawn(kept);
        simulated.trace(|| format!("        output: {bytes} bytes withdrawn"));
        true
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        let mut simulated = self.shared.borrow_mut();
        simulated.may_crash();
        let records = simulated.model.records();
        let (has_failed, covered) =
            (simulated.durability_mut().has_failed, simulated.durability_mut().covered);
        let Some(file) = simulated.file_mut() else { return Ok(()) };
        // Of what the journal never got to know, nothing is committed either: it comes again.
        let is_known = covered.place.is_some_and(|place| file.is_open(place.segment));
        let may_be_lost = file.is_doubtful || has_failed || !is_known;
        if !file.reopen(records) && !may_be_lost {
            simulated.fail(|| {
                "the output was reopened before what the old one got was durable".to_owned()
            });
        }
        simulated.trace(|| "        output: reopened".to_owned());
        Ok(())
    }

    fn place(&mut self) -> manytail::sink::Place {
        manytail::sink::Place::Here
    }

    fn replace(&mut self, _from: Option<u64>) -> Result<(), SinkError> {
        Ok(())
    }

    fn owed(&self) -> u64 {
        0
    }

    fn own_file(&self) -> Option<(u64, u64)> {
        let simulated = self.shared.borrow();
        simulated.file.as_ref().map(|file| (file.id().device, file.id().inode))
    }

    fn state(&self) -> SinkState {
        SinkState::sound()
    }
}
