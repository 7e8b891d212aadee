//! Records on their way into the client library.
//!
//! In: records as the engine offers them. Out: how many bytes were accepted.
//! Always holds: records are accepted whole and in order. One that no broker will ever take stops
//! the output or is left out, as the settings say; either is said, with file and offset.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header as RecordHeader, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use super::failure::{Failure, is_refusal};
use super::window::Fate;
use super::{Form, KafkaSink, Link, Mode, REFUSED};
use crate::config::{Header, OnRefused};
use crate::sink::{Record, Records, Sent};

/// Least time between two log lines about records that were left out.
const QUIET: Duration = Duration::from_secs(10);

/// What became of one record.
enum Taken {
    Yes,
    /// Not now.
    No,
    /// The client cannot go on.
    Failed(Failure),
}

impl KafkaSink {
    /// Takes as many as fit.
    pub(super) fn offer(&mut self, records: Records<'_>, now: Instant) -> Sent {
        let mut accepted = 0;
        for record in records.iter() {
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
                if self.refused_until.is_none() {
                    let why = format!(
                        "topic {topic} refuses the record of {bytes} bytes at offset {offset} of \
                        {path}: raise its max.message.bytes (and message.max.bytes in \
                        [kafka.properties]), or set on_refused = \"skip\""
                    );
                    self.outage.failed(now, "a record is refused", io::Error::other(why));
                    self.window.hold(bytes, Fate::Refused);
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
            let (name, _) = Header::NAMES
                .into_iter()
                .find(|(_, known)| known == header)
                .expect("every header has a name");
            headers = headers.insert(RecordHeader { key: name, value: Some(value) });
        }
        Some(headers)
    }
}
