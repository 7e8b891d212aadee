//! Records on their way out: batches that circulate between a pool, the one being filled, and those
//! in flight.
//!
//! In: encoded records, with the file and the bytes that they came from. Out: bytes to the sink;
//! acknowledgements, oldest first.
//! Always holds: a record is in one batch. What was not acknowledged is still here.
//! [`Outbox::has_room`] is the backpressure.
//!
//! Positions in the stream of all bytes that went to the output, each at most as far as the next:
//!
//! ```text
//!   base          acked           accepted                      base + in_flight_bytes
//!    |              |                |                                    |
//!    v   whole      v    the sink    v    batches that wait               v    being filled
//!  --+--------------+----------------+------------------------------------+-----------------
//!    spans that     took this, and   the sink did not take yet            not offered yet
//!    were           has not
//!    acknowledged   acknowledged it
//! ```
//!
//! `rewind` moves `accepted` back when a sink lost its receiver: what was not acknowledged is sent
//! again from the start of a record. `withdraw` does the same when a file gives back what it took
//! beyond the last whole span. Nothing moves `acked` back.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::checkpoint::{OutputPoint, record_parser};
use crate::config::Format;
use crate::engine::namespace::registry::SlotKey;
use crate::engine::output::batch::{BATCH_BYTES, Batch, KEPT_BYTES_MAX, KEPT_SPANS_MAX, Reached};
use crate::engine::output::limits::{
    BACKLOG_PART, EVENT_BYTES_MAX, IN_FLIGHT_BYTES_MAX, MOVED_MAX, in_flight_max,
};
use crate::engine::schedule::lag::Stamp;
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::{
    FilePoint, IsStored, Origin, Receiver, Records, Sent, Settle, Sink, SinkError, Wants,
};
use crate::tap::Tap;

/// Where the output is at one moment, for a commit.
#[derive(Debug)]
pub(crate) struct Point {
    /// `None`: it is not a regular file.
    pub(crate) stored: Option<OutputPoint>,
    /// A descriptor of the file, to make it durable.
    pub(crate) file: Option<OwnedFd>,
    /// Where the stream is, if the output is one.
    pub(crate) sequence: Option<u64>,
}

/// The output side of the engine.
#[derive(Debug)]
pub(crate) struct Outbox<S> {
    sink: S,
    /// The sink is ready whenever something was acknowledged.
    is_signalled: bool,
    filling: Batch,
    in_flight: VecDeque<Batch>,
    pool: Vec<Batch>,
    /// Bytes in flight, sent or not.
    in_flight_bytes: usize,
    /// How many files moved on without a record since something was last acknowledged.
    moved: usize,
    /// No file is read while this many bytes wait.
    in_flight_max: usize,
    /// Position in the output's stream of the first byte in flight.
    base: u64,
    /// Position up to which the sink took bytes.
    accepted: u64,
    /// All bytes that the sink ever took. Never goes back.
    taken: u64,
    /// Position up to which whole spans were acknowledged.
    acked: u64,
    is_blocked: bool,
    /// Since when records have been waiting and none was taken.
    blocked_since: Option<Instant>,
    /// The sum of all such times that are over.
    blocked_for: Duration,
    /// Nothing is offered until certain offsets are stored.
    is_held: bool,
    is_closed: bool,
    /// The sink's descriptor became ready since the last send.
    is_ready: bool,
    /// Copies records for `tap`, while somebody watches.
    pub(crate) tap: Tap,
}

impl<S: Sink> Outbox<S> {
    pub(crate) fn new(mut sink: S) -> Self {
        let in_flight_max = in_flight_max(&mut sink);
        Outbox {
            is_signalled: sink.wants() == Wants::Origins,
            sink,
            filling: Batch::new(),
            in_flight: VecDeque::new(),
            pool: Vec::new(),
            in_flight_bytes: 0,
            moved: 0,
            in_flight_max,
            base: 0,
            accepted: 0,
            taken: 0,
            acked: 0,
            is_blocked: false,
            blocked_since: None,
            blocked_for: Duration::ZERO,
            is_held: false,
            is_closed: false,
            // A first look, so that a connection is made before there is anything to send.
            is_ready: true,
            tap: Tap::default(),
        }
    }

    pub(crate) fn sink(&self) -> &S {
        &self.sink
    }

    pub(crate) fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// The receiver, if it remembers commits.
    pub(crate) fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        self.sink.receiver()
    }

    /// The records that follow are of this file.
    pub(crate) fn begin_origin(&mut self, origin: &Origin<'_>) {
        let Batch { of, origins, .. } = &mut self.filling;
        origins.drop_unused(of.last());
        origins.begin(origin);
    }

    /// The records from this byte of [`Outbox::bytes`] on are whole lines as they are in the file.
    /// The first is at this offset.
    pub(crate) fn note_lines(&mut self, begin: usize, offset: u64) {
        let Batch { bytes, of, origins, .. } = &mut self.filling;
        let (mut start, mut offset) = (begin, offset);
        for newline in memchr::memchr_iter(b'\n', &bytes[begin..]) {
            let len = begin + newline + 1 - start;
            of.push(origins.of(len, offset, false));
            (start, offset) = (start + len, offset + len as u64);
        }
    }

    /// The record that begins at this byte of [`Outbox::bytes`] was encoded. Its line is at this
    /// offset, and may be only a piece of one.
    pub(crate) fn note_record(&mut self, begin: usize, offset: u64, is_piece: bool) {
        let len = self.filling.bytes.len() - begin;
        let of = self.filling.origins.of(len, offset, is_piece);
        self.filling.of.push(of);
    }

    /// Whether one more record may be encoded.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.filling.bytes.len() + self.in_flight_bytes < self.in_flight_max
            && self.moved < MOVED_MAX
    }

    /// Whether the record of an event may be encoded: files go away also while the output is
    /// blocked.
    pub(crate) fn has_room_for_event(&self) -> bool {
        self.filling.bytes.len() + self.in_flight_bytes < self.in_flight_max + EVENT_BYTES_MAX
    }

    /// No further record is encoded once those being filled hold this many bytes.
    pub(crate) fn len_max(&self) -> usize {
        self.in_flight_max.saturating_sub(self.in_flight_bytes)
    }

    /// Whether backlog may be read. While the output is blocked, each record of backlog delays the
    /// lines that are written after it.
    pub(crate) fn has_room_for_backlog(&self) -> bool {
        self.has_room()
            && !(self.is_blocked && self.unsent() >= (self.in_flight_max / BACKLOG_PART) as u64)
    }

    /// Whether the output is the reason that a file is not read.
    pub(crate) fn blocks(&self, is_backlog: bool) -> bool {
        if is_backlog { !self.has_room_for_backlog() } else { !self.has_room() }
    }

    /// Bytes that the output did not take yet.
    pub(crate) fn unsent(&self) -> u64 {
        self.base + self.in_flight_bytes as u64 - self.accepted + self.filling.bytes.len() as u64
    }

    /// No file is read while this many bytes wait.
    pub(crate) fn limit(&mut self, bytes: usize) {
        self.in_flight_max = bytes.clamp(1, IN_FLIGHT_BYTES_MAX);
    }

    /// The buffer for the next record.
    #[inline]
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.filling.bytes
    }

    /// Whether the batch being filled should be sent without waiting for the end of the turn.
    pub(crate) fn is_full(&self) -> bool {
        self.filling.bytes.len() >= BATCH_BYTES
    }

    /// Notes where the records up to here bring a file that was at `first_offset` before.
    pub(crate) fn note(
        &mut self,
        reached: Reached,
        first_offset: u64,
        is_plain: bool,
        since: Stamp,
    ) {
        self.filling.note(reached, first_offset, is_plain, since);
    }

    /// A file that was at `first_offset` came here without a record: that counts once all that is
    /// on its way is acknowledged.
    pub(crate) fn note_moved(&mut self, reached: Reached, first_offset: u64, since: Stamp) {
        let batch = match self.in_flight.back_mut() {
            Some(last) if self.filling.bytes.is_empty() => last,
            _ => &mut self.filling,
        };
        batch.note(reached, first_offset, false, since);
        self.moved += 1;
    }

    /// The output took a part of a span: where the whole records in that part bring the file, if
    /// that can be read from them.
    pub(crate) fn acknowledge_part(&mut self, format: Format) -> Option<Reached> {
        let batch = self.in_flight.front()?;
        let span =
            batch.spans.get(batch.acked).filter(|span| span.is_plain || format == Format::Json)?;
        let begin = batch.acked.checked_sub(1).map_or(0, |before| batch.spans[before].end);
        let upto = self.accepted.saturating_sub(self.sink.unacknowledged());
        let upto =
            usize::try_from(upto.checked_sub(self.base)?).unwrap_or(usize::MAX).min(span.end);
        let part = batch.bytes.get(begin..upto)?;
        let whole = memchr::memrchr(b'\n', part)? + 1;
        let progress = record_parser::progress(format, &part[..whole], span.first_offset)?;
        self.acked = self.base + (begin + whole) as u64;
        Some(span.reached.after(&progress))
    }

    /// Where all that the sink took brings its files, at most one of each, beyond what was
    /// acknowledged.
    pub(crate) fn reached(&self, format: Format) -> Vec<Reached> {
        let mut reached: Vec<Reached> = Vec::new();
        let mut places: HashMap<SlotKey, usize> = HashMap::new();
        let mut add = |part: Reached| match places.entry(part.file) {
            Entry::Occupied(place) => reached[*place.get()] = part,
            Entry::Vacant(place) => {
                place.insert(reached.len());
                reached.push(part);
            }
        };
        for batch in &self.in_flight {
            for (at, span) in batch.spans.iter().enumerate().skip(batch.acked) {
                if span.end > batch.sent {
                    batch.part_of(at, format).into_iter().for_each(&mut add);
                    break;
                }
                add(span.reached);
            }
            if batch.sent < batch.bytes.len() {
                break;
            }
        }
        reached
    }

    /// All that the sink took is acknowledged by a commit. Returns how many bytes that are.
    pub(crate) fn settled(&mut self, is_stored: IsStored, mut acked: impl FnMut(Stamp)) -> u64 {
        if let Some(receiver) = self.sink.receiver() {
            receiver.settled(is_stored);
        }
        let bytes = self.collect_acks(|_, since| acked(since));
        self.acked = self.accepted;
        bytes
    }

    /// All that the sink took and did not acknowledge is offered again. Returns how many bytes that
    /// are.
    pub(crate) fn offer_again(&mut self) -> u64 {
        let bytes = self.accepted - self.acked;
        if bytes > 0 {
            let is_short = is_planted!(ResentFromWrongRecord);
            self.rewind(if is_short { bytes / 2 } else { bytes });
        }
        bytes
    }

    /// What a commit has to do with the sink.
    pub(crate) fn settle(&mut self) -> Settle {
        self.sink.receiver().map_or(Settle::Acknowledged, Receiver::settle)
    }

    /// How many bytes the sink took so far. What it lost and took again counts twice.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// While held, nothing is offered to the sink.
    pub(crate) fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Where the output is, less what it holds of spans that are not acknowledged whole.
    pub(crate) fn point(&mut self, format: Format) -> Point {
        let beyond = self.accepted - self.acked;
        let sequence = self.sink.receiver().and_then(|receiver| receiver.sequence(beyond));
        let nowhere = Point { stored: None, file: None, sequence };
        self.point_without(beyond, format).unwrap_or(nowhere)
    }

    /// Where the output is after another file took the place of a deleted one, if it is a file.
    /// Nothing was written to it yet.
    pub(crate) fn point_of_new_file(&mut self, format: Format) -> Option<Point> {
        self.point_without(0, format)
    }

    fn point_without(&mut self, beyond: u64, format: Format) -> Option<Point> {
        let FilePoint { id, len, file } = self.sink.point()?;
        let len = len.saturating_sub(beyond);
        Some(Point { stored: Some(OutputPoint { id, len, format }), file, sequence: None })
    }

    /// Nothing waits, not even for an acknowledgement.
    pub(crate) fn is_empty(&self) -> bool {
        self.filling.bytes.is_empty() && self.in_flight.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Between two records, as far as the sink is concerned.
    pub(crate) fn is_at_boundary(&self) -> bool {
        let unsent = self.in_flight.iter().find(|batch| batch.sent < batch.bytes.len());
        unsent.is_none_or(|batch| batch.sent == 0 || batch.bytes[batch.sent - 1] == b'\n')
    }

    /// The sink's descriptor became ready, or failed.
    pub(crate) fn set_ready(&mut self, now: Instant) {
        self.sink.ready(now);
        self.is_blocked = false;
        self.is_ready = true;
    }

    /// When to try again though no descriptor becomes ready.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sink.deadline().filter(|_| !self.is_held)
    }

    /// The sink has nowhere to write to.
    pub(crate) fn block(&mut self, now: Instant) {
        self.is_blocked = true;
        self.note_blocked(now);
    }

    /// The sink writes elsewhere now, so it is not blocked any more.
    pub(crate) fn reopened(&mut self) {
        self.is_blocked = false;
        self.is_ready = true;
    }

    /// Whether an acknowledgement may come without an event.
    pub(crate) fn awaits_acks(&self) -> bool {
        !self.is_signalled && !self.is_empty() && !self.is_blocked && !self.is_held
    }

    /// Offers records until the sink takes no more.
    pub(crate) fn send(&mut self, now: Instant) -> Result<(), SinkError> {
        if self.sink.deadline().is_some_and(|deadline| deadline <= now) {
            self.is_blocked = false;
            self.is_ready = true;
        }
        if self.is_full() || !self.is_blocked {
            self.seal();
        }
        if self.is_blocked || self.is_closed || self.is_held {
            self.note_blocked(now);
            return Ok(());
        }
        if self.accepted == self.base + self.in_flight_bytes as u64 {
            // There is nothing to offer, but the reader may be gone.
            if std::mem::take(&mut self.is_ready) {
                let sent = self.sink.send(Records::plain(&[]), now)?;
                self.account(sent, now);
            }
        }
        while !self.is_blocked && !self.is_closed {
            let Some(at) = self.in_flight.iter().position(|batch| batch.sent < batch.bytes.len())
            else {
                break;
            };
            let batch = &mut self.in_flight[at];
            let sent = self.sink.send(batch.rest(), now)?;
            if let Sent::Accepted(bytes) = sent {
                batch.set_sent(batch.sent + bytes);
            }
            self.account(sent, now);
        }
        Ok(())
    }

    fn account(&mut self, sent: Sent, now: Instant) {
        match sent {
            Sent::Accepted(bytes) => {
                self.accepted += bytes as u64;
                self.taken += bytes as u64;
                if bytes > 0
                    && let Some(since) = self.blocked_since.take()
                {
                    self.blocked_for += now.saturating_duration_since(since);
                }
                assert!(
                    self.accepted <= self.base + self.in_flight_bytes as u64,
                    "a sink takes at most what it was offered"
                );
            }
            Sent::Blocked => {
                self.is_blocked = true;
                self.note_blocked(now);
            }
            Sent::Restarted { unacknowledged } => self.rewind(unacknowledged),
            Sent::Closed => self.is_closed = true,
        }
    }

    /// Records wait, and the output takes none of them.
    fn note_blocked(&mut self, now: Instant) {
        if self.is_blocked && self.unsent() > 0 && self.blocked_since.is_none() {
            self.blocked_since = Some(now);
        }
    }

    /// How long records have been waiting without any being taken, if they are.
    pub(crate) fn blocked(&self, now: Instant) -> Option<Duration> {
        self.blocked_since.map(|since| now.saturating_duration_since(since))
    }

    /// The sum of all such times so far.
    pub(crate) fn blocked_in_all(&self, now: Instant) -> Duration {
        self.blocked_for + self.blocked(now).unwrap_or_default()
    }

    /// Bytes of records that are not acknowledged.
    pub(crate) fn unacknowledged_bytes(&self) -> usize {
        self.filling.bytes.len() + self.in_flight_bytes
    }

    /// Whether records of this file are among them.
    pub(crate) fn holds(&self, file: SlotKey) -> bool {
        let of_batch =
            |batch: &Batch| batch.spans[batch.acked..].iter().any(|span| span.reached.file == file);
        of_batch(&self.filling) || self.in_flight.iter().any(of_batch)
    }

    /// When the event about the oldest bytes that were read and are not acknowledged was read.
    pub(crate) fn oldest(&self) -> Option<Stamp> {
        let batch = self
            .in_flight
            .iter()
            .find(|batch| batch.acked < batch.spans.len())
            .unwrap_or(&self.filling);
        batch.spans.get(batch.acked).map(|span| span.since)
    }

    /// Goes back to the start of the record with the first byte that the lost receiver may not have
    /// got.
    fn rewind(&mut self, unacknowledged: u64) {
        rare!("records were offered again from the start of one");
        let safe = self.accepted.saturating_sub(unacknowledged).max(self.base);
        let mut start = self.base;
        for batch in &mut self.in_flight {
            let len = batch.bytes.len();
            // The part of this batch that is safe, cut back to the end of a record.
            let safe_here =
                usize::try_from(safe.saturating_sub(start)).unwrap_or(usize::MAX).min(len);
            batch
                .set_sent(memchr::memrchr(b'\n', &batch.bytes[..safe_here]).map_or(0, |at| at + 1));
            if safe_here < len || batch.sent < len {
                self.accepted = self.accepted.min(start + batch.sent as u64);
            }
            start += len as u64;
        }
    }

    /// Takes back what the sink took beyond the last span that was acknowledged whole, if the sink
    /// can give it back.
    pub(crate) fn withdraw(&mut self) {
        let beyond = self.accepted - self.acked;
        if beyond > 0 && self.sink.withdraw(beyond) {
            rare!("the output gave back what was not acknowledged");
            self.rewind(beyond);
        }
    }

    /// Moves the batch being filled to those in flight.
    fn seal(&mut self) {
        if self.filling.bytes.is_empty() {
            return;
        }
        let next = self.pool.pop().unwrap_or_else(Batch::new);
        let full = std::mem::replace(&mut self.filling, next);
        self.in_flight_bytes += full.bytes.len();
        self.tap.passed(&full.bytes);
        self.in_flight.push_back(full);
    }

    /// Collects what the sink acknowledged, oldest first, and takes the batches back.
    pub(crate) fn collect_acks(&mut self, mut acked: impl FnMut(&Reached, Stamp)) -> u64 {
        if self.in_flight.is_empty() {
            return 0;
        }
        let upto = self.accepted.saturating_sub(self.sink.unacknowledged());
        let before = self.base;
        while let Some(batch) = self.in_flight.front_mut() {
            let upto_here = usize::try_from(upto.saturating_sub(self.base)).unwrap_or(usize::MAX);
            while let Some(span) = batch.spans.get(batch.acked).filter(|span| span.end <= upto_here)
            {
                acked(&span.reached, span.since);
                self.acked = self.base + span.end as u64;
                batch.acked += 1;
            }
            let len = batch.bytes.len();
            if upto_here < len || batch.sent < len {
                break;
            }
            let done = self.in_flight.pop_front().expect("it is the front");
            self.moved = 0;
            self.base += len as u64;
            self.in_flight_bytes -= len;
            self.recycle(done);
        }
        self.base - before
    }

    fn recycle(&mut self, mut batch: Batch) {
        if batch.bytes.capacity() > KEPT_BYTES_MAX || batch.spans.capacity() > KEPT_SPANS_MAX {
            rare!("a batch was given back that had grown for a long record");
            return;
        }
        batch.clear();
        self.pool.push(batch);
    }
}
