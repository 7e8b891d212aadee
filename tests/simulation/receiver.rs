//! The other end of the output: it takes a few bytes, or none for a while, disconnects and comes
//! back, acknowledges late.
//!
//! In: the bytes that the engine sends. Out: one logical stream of records, passed to the model as
//! soon as they are whole.
//! Always holds: received bytes are never given back; after a loss of the connection the engine has
//! to offer the same bytes again, from the start of the record with the first unacknowledged byte.
//! Only when the sender crashes, bytes whose acknowledgement it has not received may be lost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use manytail::testing::sink::{
    FilePoint, IsStored, Known, OutputCommit, Receiver, Records, Sent, Settle, Sink, SinkError,
    SinkState, Verdict, Wants,
};

use crate::durability::Covered;
use crate::output_file::OutputFile;
use crate::random::Random;
use crate::simulated::Simulated;
use crate::transactions::Settling;

#[derive(Debug, Clone)]
pub(crate) struct OutputSettings {
    /// One in this many offers is taken only in part; 0 = never.
    partial: u32,
    /// One in this many offers starts a period in which nothing fits.
    blocked: u32,
    blocked_for: Duration,
    /// The end of such a period is an edge, otherwise a deadline.
    edges: bool,
    /// One in this many offers finds the receiver gone.
    restarted: u32,
    /// How long after their arrival bytes are acknowledged; zero = at once.
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

    /// How many bytes may wait for it, but not so few that each record waits for seconds until the
    /// previous one is acknowledged.
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

/// How often a receiver disconnects before it has acknowledged anything; then it stays until it
/// has. A receiver that never acknowledges cannot be served, and an acknowledgement that takes
/// seconds never comes if it disconnects every few microseconds.
const RESTARTS_IN_VAIN_MAX: u32 = 10;

#[derive(Debug)]
pub(crate) struct Output {
    random: Random,
    settings: OutputSettings,
    misbehaves: bool,
    /// Every byte in stream order, each once.
    stream: Vec<u8>,
    /// The position of the next offered byte: before the stream's end while repeats are due.
    position: usize,
    acknowledged: usize,
    /// The times at which positions will be acknowledged.
    acks: VecDeque<(Duration, usize)>,
    blocked_until: Option<Duration>,
    /// The engine got `Blocked` and waits for an edge.
    edge_due: bool,
    /// A receiver that comes back stays for a moment.
    restarted_at: Option<Duration>,
    /// How often it has disconnected since it acknowledged something.
    restarts_in_vain: u32,
    /// Up to here the model has received the records.
    parsed: usize,
    /// Ends of offers that were taken completely and are not reported as acknowledged yet. The
    /// engine accounts for parts of files: it may not know a position within an offer.
    wholes: VecDeque<usize>,
    /// The last end up to which the engine knows everything to be acknowledged, and the number of
    /// records.
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

    /// From now on everything is taken; current blocks and acknowledgements end in their time.
    pub(crate) fn behave(&mut self) {
        self.misbehaves = false;
    }

    /// Takes nothing until this time.
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

    /// The start of the record with the byte at `position`.
    fn record_start(&self, position: usize) -> usize {
        memchr::memrchr(b'\n', &self.stream[..position]).map_or(0, |newline| newline + 1)
    }

    fn restart(&mut self) -> Sent {
        self.restarts += 1;
        self.restarts_in_vain += 1;
        // A receiver cannot use a part of a torn record, even if it was acknowledged.
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

    /// When the output becomes ready again, if an edge reports it.
    pub(crate) fn edge_at(&self) -> Option<Duration> {
        self.blocked_until.filter(|_| self.edge_due)
    }

    /// Notes that the edge was reported.
    pub(crate) fn edge_told(&mut self) {
        self.edge_due = false;
        self.blocked_until = None;
    }

    /// When the sink has to be called again.
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

    /// The sender is gone. Unacknowledged bytes may be gone, too; a torn record is useless. Returns
    /// how many records are left.
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

    /// Whether the stream ends with a whole record and no repeat is due.
    pub(crate) fn is_settled(&self) -> bool {
        self.position == self.stream.len() && self.parsed == self.stream.len()
    }
}

/// The engine's sink.
pub(crate) struct SimulatedSink {
    shared: Rc<RefCell<Simulated>>,
    start: Instant,
    /// If the output is a broker.
    broker: Option<BrokerSide>,
}

/// The receiver of a sink that is a broker.
struct BrokerSide(Rc<RefCell<Simulated>>);

impl SimulatedSink {
    pub(crate) fn new(shared: Rc<RefCell<Simulated>>, start: Instant) -> Self {
        let broker = shared.borrow().broker.is_some().then(|| BrokerSide(Rc::clone(&shared)));
        SimulatedSink { shared, start, broker }
    }
}

impl Sink for SimulatedSink {
    fn send(&mut self, records: Records<'_>, now: Instant) -> Result<Sent, SinkError> {
        let bytes = records.bytes;
        let mut simulated = self.shared.borrow_mut();
        simulated.interleave();
        let (time, is_last) = (now - self.start, simulated.is_last_call());
        let simulated = &mut *simulated;
        let sent = if let Some(mut broker) = simulated.broker() {
            broker.send(records)
        } else if let Some(file) = &mut simulated.file {
            file.send(bytes, time, is_last)
        } else {
            simulated.output.send(bytes, time)
        };
        if let (Err(why), true) = (&sent, simulated.broker.is_some()) {
            return Err(gone(why));
        }
        let sent = sent.unwrap_or_else(|why| {
            simulated.fail(|| why);
            Sent::Closed
        });
        simulated.trace(|| format!("        send {} bytes: {sent:?}", bytes.len()));
        let next = |simulated: &mut Simulated| match &mut simulated.file {
            Some(file) => file.next_record(),
            None => simulated.output.next_record(),
        };
        simulated.take_news();
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

    fn wants(&self) -> Wants {
        if self.broker.is_some() { Wants::Origins } else { Wants::Bytes }
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        self.broker.as_mut().map(|broker| broker as &mut dyn Receiver)
    }

    fn unacknowledged(&mut self) -> u64 {
        let mut simulated = self.shared.borrow_mut();
        if simulated.file.is_some() {
            return 0;
        }
        let unacknowledged = simulated.broker().map(|mut broker| broker.unacknowledged());
        if let Some(unacknowledged) = unacknowledged {
            simulated.take_news();
            return unacknowledged;
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
        if simulated.broker.is_some() {
            // It makes itself ready.
            return None;
        }
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
        // Records that the journal never learned of are not committed either: they are repeated.
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

    fn place(&mut self) -> manytail::testing::sink::Place {
        manytail::testing::sink::Place::Here
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

/// The client cannot go on.
fn gone(why: &str) -> SinkError {
    SinkError {
        output: "broker".to_owned(),
        action: "go on",
        source: std::io::Error::other(why.to_owned()),
    }
}

impl Receiver for BrokerSide {
    fn begin(&mut self, known: &Known) {
        let mut simulated = self.0.borrow_mut();
        simulated.trace(|| format!("        begin: {known:?}"));
        if let Some(mut broker) = simulated.broker() {
            broker.begin(known);
        }
    }

    fn verdict(&mut self) -> Result<Option<Verdict>, SinkError> {
        let mut simulated = self.0.borrow_mut();
        simulated.may_crash();
        let verdict = simulated.broker().expect("it is a broker").verdict();
        simulated.take_news();
        simulated.trace(|| format!("        verdict: {verdict:?}"));
        verdict.map_err(|why| gone(&why))
    }

    fn has_transactions(&self) -> bool {
        self.0.borrow().broker().is_some_and(|broker| broker.has_transactions())
    }

    fn settle(&mut self) -> Settle {
        let mut simulated = self.0.borrow_mut();
        simulated.may_crash();
        let settling = simulated.broker().and_then(|mut broker| {
            broker.transactions().map(|(client, common)| client.settle(common))
        });
        match settling {
            None | Some(Settling::Acknowledged) => Settle::Acknowledged,
            Some(Settling::Wait) => Settle::Wait,
            Some(Settling::Lost) => Settle::Lost,
            Some(Settling::Commit(number)) => {
                let broker = Arc::clone(simulated.broker.as_ref().expect("it is a broker"));
                let commit = OutputCommit::new(move |is_stored| {
                    let mut broker = broker.lock().expect("nobody panics with it");
                    let (client, common) = broker.transactions().expect("as before");
                    client.commit(common, number, is_stored)
                });
                Settle::Transaction { number, commit }
            }
        }
    }

    fn settled(&mut self, is_stored: IsStored) {
        let mut simulated = self.0.borrow_mut();
        let records = simulated.broker().map_or(0, |mut broker| {
            if let Some((client, common)) = broker.transactions() {
                client.settled(is_stored);
                if is_stored == IsStored::Yes {
                    common.stored();
                }
            }
            broker.records(false, None)
        });
        if is_stored == IsStored::Yes {
            let at = simulated.now();
            simulated.durability_mut().committed(Covered { records, place: None, at });
        }
    }

    fn sequence(&mut self, beyond: u64) -> Option<u64> {
        let mut simulated = self.0.borrow_mut();
        let sequence = simulated.broker().and_then(|mut broker| broker.sequence(beyond));
        simulated.take_news();
        sequence
    }
}
