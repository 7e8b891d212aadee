//! Records on their way into the client library.
//!
//! In: records as the engine offers them. Out: how many bytes were accepted.
//! Always holds: records are accepted whole and in order. One that no broker will ever take stops
//! the output or is left out, as the settings say; either is said, with file and offset.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header as RecordHeader, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use super::failure::{Failure, is_refusal};
use super::window::Fate;
use super::{Form, KafkaSink, Link, Mode, REFUSED};
use crate::config::{Header, OnRefused, name_of};
use crate::sink::{Record, Records, Sent};

/// Least time between two log lines about records that were left out.
const QUIET: Duration = Duration::from_secs(10);

/// With more records on their way, others follow before these have arrived ...
pub(super) const STREAM_RECORDS: usize = 4096;
/// ... and so do as many bytes of them: nothing is gained by more.
const STREAM_BYTES: usize = 64 * 1024;

/// No more bytes are on their way at once: a commit waits for all of them, and slow brokers have to
/// take them within the time of a transaction.
const IN_FLIGHT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Fewer bytes are all that there is: nothing is added to what is offered with them.
const FEW_BYTES: usize = 16 * 1024;

/// What became of one record.
enum Taken {
    Yes,
    /// Not now.
    No,
    /// The client cannot go on.
    Failed(Failure),
}

impl KafkaSink {
    /// Whether records wait until those that are on their way have arrived. A partition answers one
    /// request after the other, and so does a broker: more requests for a few records each would
    /// only stand in a queue. So few records go in rounds.
    pub(super) fn holds_back(&self, offered: usize, now: Instant) -> bool {
        offered < STREAM_BYTES && self.are_few_on_their_way() && !self.is_in_round(now)
    }

    fn are_few_on_their_way(&self) -> bool {
        (1..STREAM_RECORDS).contains(&self.window.in_flight())
    }

    /// All that is offered in a turn, at the same time, is in the same round.
    fn is_in_round(&self, now: Instant) -> bool {
        self.round_ends.is_some_and(|end| now <= end)
    }

    /// When the records of this round are sent, if that is still to be done.
    pub(super) fn push_at(&self) -> Option<Instant> {
        self.round_ends.filter(|_| self.is_push_due && self.are_few_on_their_way())
    }

    /// Has the library send the records of this round, if it is over.
    pub(super) fn push(&mut self, now: Instant) {
        if self.push_at().is_some_and(|_| !self.is_in_round(now)) {
            self.push_all();
        }
    }

    /// Has the library send all that it collects: nothing follows before that has arrived. A linger
    /// in the settings is kept.
    pub(super) fn push_all(&mut self) {
        if let Link::Up(up) = &self.link
            && self.is_collecting
            && self.properties.linger().is_none()
        {
            (self.is_push_due, self.is_collecting) = (false, false);
            self.helper.push(Arc::clone(&up.client));
        }
    }

    /// Takes as many as fit.
    pub(super) fn offer(&mut self, records: Records<'_>, now: Instant) -> Sent {
        let mut accepted = 0;
        if self.window.in_flight() == 0 {
            let is_pushed = self.properties.linger().is_none();
            let are_few = is_pushed && records.bytes.len() < FEW_BYTES;
            self.round_ends = Some(now + if are_few { Duration::ZERO } else { self.round });
            self.is_push_due = is_pushed;
        }
        for record in records.iter() {
            if self.window.in_flight_bytes() >= IN_FLIGHT_BYTES_MAX {
                break;
            }
            match self.take(&record, now) {
                Taken::Yes => accepted += record.bytes.len() + 1,
                Taken::No => break,
                Taken::Failed(failure) => {
                    self.broken = Some(failure);
                    self.give_up_broken(now);
                    break;
                }
            }
        }
        if let Mode::AtLeastOnce = self.mode {
            // Some may have arrived before a restart.
            self.window.acknowledge();
        }
        self.push(now);
        if accepted > 0 { Sent::Accepted(accepted) } else { Sent::Blocked }
    }

    fn take(&mut self, record: &Record<'_>, now: Instant) -> Taken {
        let bytes = u32::try_from(record.bytes.len() + 1).expect("a batch is smaller than 4 GiB");
        match self.window.next(bytes) {
            fate @ (Fate::Delivered | Fate::LeftOut) => {
                self.window.accept(bytes, fate);
                return Taken::Yes;
            }
            Fate::Refused => return self.refuse(record, bytes, now),
            Fate::Unsent | Fate::Sent | Fate::Failed => {}
        }
        match self.produce(record) {
            Ok(()) => {
                self.window.accept(bytes, Fate::Sent);
                self.is_collecting = true;
                self.waiting_since.get_or_insert(now);
                Taken::Yes
            }
            Err(KafkaError::MessageProduction(Code::QueueFull)) => Taken::No,
            Err(error) if error.rdkafka_error_code().is_some_and(is_refusal) => {
                self.refuse(record, bytes, now)
            }
            Err(error) => {
                let topic = std::str::from_utf8(record.origin.destination).ok();
                let failure = Failure::of(&error, topic, &self.properties.names);
                Taken::Failed(failure.of_records())
            }
        }
    }

    fn produce(&mut self, record: &Record<'_>) -> Result<(), KafkaError> {
        let Link::Up(up) = &mut self.link else {
            return Err(KafkaError::Canceled);
        };
        let producer = up.client.producer();
        if !up.is_begun && matches!(self.mode, Mode::Transactions(_)) {
            producer.begin_transaction()?;
            up.is_begun = true;
        }
        let topic = std::str::from_utf8(record.origin.destination)
            .map_err(|_| KafkaError::MessageProduction(Code::InvalidTopic))?;
        let number = usize::try_from(self.window.number()).expect("64 bits");
        let produced =
            BaseRecord::with_opaque_to(topic, number).key(record.origin.key).payload(record.bytes);
        let produced = match self.form.headers_of(record) {
            Some(headers) => produced.headers(headers),
            None => produced,
        };
        producer.send(produced).map_err(|(error, _)| error)
    }

    /// No broker will ever take this record.
    fn refuse(&mut self, record: &Record<'_>, bytes: u32, now: Instant) -> Taken {
        let path = String::from_utf8_lossy(record.origin.path);
        let topic = String::from_utf8_lossy(record.origin.destination);
        let offset = record.offset;
        match self.form.on_refused {
            OnRefused::Skip => {
                self.window.accept(bytes, Fate::LeftOut);
                self.left_out.count += 1;
                let is_quiet =
                    self.left_out.logged_at.is_some_and(|at| now.duration_since(at) < QUIET);
                if is_quiet {
                    self.left_out.suppressed += 1;
                } else {
                    let suppressed = std::mem::take(&mut self.left_out.suppressed);
                    let suppressed = Some(suppressed).filter(|&count| count > 0);
                    self.left_out.logged_at = Some(now);
                    tracing::warn!(
                        ?path,
                        offset,
                        bytes,
                        ?topic,
                        suppressed,
                        "the brokers take no \
                        such record (see max.message.bytes of the topic): it is left out"
                    );
                }
                Taken::Yes
            }
            OnRefused::Block => {
                self.window.hold(bytes, Fate::Refused);
                if self.refused_until.is_none() {
                    let why = format!(
                        "topic {topic} refuses the record of {bytes} bytes at offset {offset} of \
                        {path}: raise its max.message.bytes (and message.max.bytes in \
                        [kafka.properties]), or set on_refused = \"skip\""
                    );
                    self.outage.failed(now, "a record is refused", io::Error::other(why));
                    self.refused_until = Some(now + REFUSED);
                }
                Taken::No
            }
        }
    }
}

impl Form {
    fn headers_of(&self, record: &Record<'_>) -> Option<OwnedHeaders> {
        if self.headers.is_empty() {
            return None;
        }
        let mut digits = [0; 20];
        let mut rest = &mut digits[..];
        write!(rest, "{}", record.offset).expect("64 bits have at most 20 digits");
        let unused = rest.len();
        let offset = &digits[..20 - unused];
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len());
        for header in &self.headers {
            let value = match header {
                Header::Host => self.host.as_bytes(),
                Header::Path => record.origin.path,
                Header::File => record.origin.file,
                Header::Offset => offset,
            };
            let key = name_of(&Header::NAMES, header);
            headers = headers.insert(RecordHeader { key, value: Some(value) });
        }
        Some(headers)
    }
}
