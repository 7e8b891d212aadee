//! Records on their way out: batches that circulate between a pool, the one being filled, and those in flight.
//!
//! In: encoded records and which bytes of which file they came from. Out: bytes to the sink, acknowledgements oldest first.
//! Always holds: a record lies in one batch; what was not acknowledged is still here; at most [`IN_FLIGHT_BYTES_MAX`] bytes
//! plus one record wait. One word of backpressure: [`Outbox::has_room`].

use std::collections::VecDeque;
use std::time::Instant;

use crate::registry::SlotKey;
use crate::sink::{Sent, Sink, SinkError};

/// A batch is sent when it holds this much, or when the turn ends.
const BATCH_BYTES: usize = 128 * 1024;

/// Parts of files that a batch has room for at first: what a turn reads.
const SPANS: usize = 256;

/// No file is read while this many bytes wait for the output or for its acknowledgement.
const IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A batch that grew beyond this for a long record is given back instead of reused.
const KEPT_BYTES_MAX: usize = 4 * BATCH_BYTES;

/// Which part of a file lies in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: SlotKey,
    /// The file's offset once this part is out.
    pub(crate) offset: u64,
    /// Where the part's records end in the batch.
    end: usize,
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// How much of `bytes` the sink took.
    sent: usize,
    /// How many of `spans` were acknowledged.
    acked: usize,
}

impl Batch {
    fn new() -> Self {
        Batch { bytes: Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4), spans: Vec::with_capacity(SPANS), sent: 0, acked: 0 }
    }
}

/// The output side of the engine.
#[derive(Debug)]
pub(crate) struct Outbox<S> {
    sink: S,
    filling: Batch,
    in_flight: VecDeque<Batch>,
    pool: Vec<Batch>,
    /// Bytes in flight, sent or not.
    in_flight_bytes: usize,
    /// Position in the output's stream of the first byte in flight.
    base: u64,
    /// Position up to which the sink took bytes.
    accepted: u64,
    is_blocked: bool,
    is_closed: bool,
    /// The loop said something about the sink's descriptor.
    is_rung: bool,
}

impl<S: Sink> Outbox<S> {
    pub(crate) fn new(sink: S) -> Self {
        Outbox {
            sink,
            filling: Batch::new(),
            in_flight: VecDeque::new(),
            pool: Vec::new(),
            in_flight_bytes: 0,
            base: 0,
            accepted: 0,
            is_blocked: false,
            is_closed: false,
            // A first look, so that a connection is made before there is anything to send.
            is_rung: true,
        }
    }

    pub(crate) fn sink(&self) -> &S {
        &self.sink
    }

    pub(crate) fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Whether one more record may be encoded.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.filling.bytes.len() + self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
    }

    /// Where the next record goes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.filling.bytes
    }

    /// Whether the batch being filled should be sent without waiting for the end of the turn.
    pub(crate) fn is_full(&self) -> bool {
        self.filling.bytes.len() >= BATCH_BYTES
    }

    /// Notes that the records up to here bring a file to `offset`.
    pub(crate) fn note(&mut self, file: SlotKey, offset: u64) {
        let end = self.filling.bytes.len();
        match self.filling.spans.last_mut() {
            Some(last) if last.file == file => (last.offset, last.end) = (offset, end),
            _ => self.filling.spans.push(Span { file, offset, end }),
        }
    }

    /// Nothing waits, not even for an acknowledgement.
    pub(crate) fn is_empty(&self) -> bool {
        self.filling.bytes.is_empty() && self.in_flight.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Between two records, as far as the sink is concerned.
    pub(crate) fn is_at_boundary(&self) -> bool {
        let unsent = self.in_flight.iter().find(|batch| batch.sent < batch.bytes.len());
        unsent.is_none_or(|batch| batch.sent == 0 || batch.bytes[batch.sent - 1] == b'\n')
    }

    /// The loop's word about the sink's descriptor.
    pub(crate) fn ring(&mut self, now: Instant) {
        self.sink.ready(now);
        self.is_blocked = false;
        self.is_rung = true;
    }

    /// When to try again though nothing rings.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sink.deadline()
    }

    /// Offers what there is, as far as the sink takes it.
    pub(crate) fn send(&mut self, now: Instant) -> Result<(), SinkError> {
        if self.sink.deadline().is_some_and(|deadline| deadline <= now) {
            self.is_blocked = false;
            self.is_rung = true;
        }
        if self.is_full() || !self.is_blocked {
            self.seal();
        }
        if self.is_blocked || self.is_closed {
            return Ok(());
        }
        if self.accepted == self.base + self.in_flight_bytes as u64 {
            // Nothing to offer; but the reader may have gone.
            if std::mem::take(&mut self.is_rung) {
                let sent = self.sink.send(&[], now)?;
                self.account(sent);
            }
        }
        while !self.is_blocked && !self.is_closed {
            let Some(at) = self.in_flight.iter().position(|batch| batch.sent < batch.bytes.len()) else { break };
            let batch = &self.in_flight[at];
            let sent = self.sink.send(&batch.bytes[batch.sent..], now)?;
            if let Sent::Accepted(bytes) = sent {
                self.in_flight[at].sent += bytes;
            }
            self.account(sent);
        }
        Ok(())
    }

    fn account(&mut self, sent: Sent) {
        match sent {
            Sent::Accepted(bytes) => {
                self.accepted += bytes as u64;
                assert!(self.accepted <= self.base + self.in_flight_bytes as u64, "a sink takes at most what it was offered");
            }
            Sent::Blocked => self.is_blocked = true,
            Sent::Restarted { unacknowledged } => self.rewind(unacknowledged),
            Sent::Closed => self.is_closed = true,
        }
    }

    /// Goes back to the start of the record in which the first byte lies that the lost receiver did not get for certain.
    fn rewind(&mut self, unacknowledged: u64) {
        let safe = self.accepted.saturating_sub(unacknowledged).max(self.base);
        let mut start = self.base;
        for batch in &mut self.in_flight {
            let len = batch.bytes.len();
            // What of this batch is safe, cut back to a record's end.
            let safe_here = usize::try_from(safe.saturating_sub(start)).unwrap_or(usize::MAX).min(len);
            batch.sent = memchr::memrchr(b'\n', &batch.bytes[..safe_here]).map_or(0, |at| at + 1);
            if safe_here < len || batch.sent < len {
                self.accepted = self.accepted.min(start + batch.sent as u64);
            }
            start += len as u64;
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
        self.in_flight.push_back(full);
    }

    /// Collects what the sink acknowledged, oldest first, and takes the batches back.
    pub(crate) fn collect_acks(&mut self, mut acked: impl FnMut(Span)) -> u64 {
        if self.in_flight.is_empty() {
            return 0;
        }
        let upto = self.accepted.saturating_sub(self.sink.unacknowledged());
        let before = self.base;
        while let Some(batch) = self.in_flight.front_mut() {
            let upto_here = usize::try_from(upto.saturating_sub(self.base)).unwrap_or(usize::MAX);
            while let Some(span) = batch.spans.get(batch.acked).filter(|span| span.end <= upto_here) {
                acked(*span);
                batch.acked += 1;
            }
            let len = batch.bytes.len();
            if upto_here < len || batch.sent < len {
                break;
            }
            let done = self.in_flight.pop_front().expect("it is the front");
            self.base += len as u64;
            self.in_flight_bytes -= len;
            self.recycle(done);
        }
        self.base - before
    }

    fn recycle(&mut self, mut batch: Batch) {
        if batch.bytes.capacity() > KEPT_BYTES_MAX {
            return;
        }
        batch.bytes.clear();
        batch.spans.clear();
        batch.sent = 0;
        batch.acked = 0;
        self.pool.push(batch);
    }
}
