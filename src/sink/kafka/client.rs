//! A producer of the client library, and what it reports.
//!
//! In: records; the library's events, which any thread may take. Out: reports about records, and
//! failures.
//! Always holds: the loop is woken when events wait. The calls of a commit block, and are made on
//! other threads than the loop.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::failure::{self, Failure, Kind, Names};
use super::properties::Properties;
use super::transactions::Has;
use crate::sys;

/// A call that can be continued is interrupted this often, to see whether the sink is gone.
pub(super) const SLICE: Duration = Duration::from_millis(500);

/// Long enough for the library's threads to wake up, and so short that they do not look without a
/// pause for long if more records come.
const PUSH_MILLISECONDS: u8 = 10;

/// What became of a record: its number, and why it did not arrive.
pub(super) type Report = (u64, Option<Code>);

/// What the library said since it was asked last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) reports: Vec<Report>,
    /// The first failure.
    pub(super) failure: Option<Failure>,
    /// The client can do nothing any more.
    pub(super) is_fatal: bool,
    /// How long brokers held back an answer at most, because of a quota, if statistics came.
    pub(super) held_back: Option<Duration>,
}

/// What the library calls.
#[derive(Debug)]
pub(super) struct Context {
    heard: Mutex<Heard>,
    /// Why the last connection failed: the reason, when none is left.
    reason: Mutex<String>,
    names: Names,
    wake: Arc<EventFd>,
}

/// A producer.
pub(super) struct Client {
    producer: BaseProducer<Context>,
}

/// What came of a call that waits only for a while.
#[derive(Debug)]
pub(super) enum Step {
    Done,
    /// It has to be called again; why it takes so long, if that is known.
    Again(Option<Failure>),
}

/// What a commit needs beside a producer.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) metadata: ConsumerGroupMetadata,
    /// Partition 0 of it has the number.
    pub(super) topic: String,
}

impl Context {
    pub(super) fn new(names: Names, wake: Arc<EventFd>) -> Self {
        Context { heard: Mutex::default(), reason: Mutex::default(), names, wake }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reason(&self) -> MutexGuard<'_, String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the first one counts, and what loses records more than what may pass.
    fn fail(&self, failure: impl FnOnce() -> Failure) {
        let mut heard = self.heard();
        match &heard.failure {
            Some(known) if known.kind == Kind::Delivery => {}
            Some(_) => {
                let failure = failure();
                if failure.kind == Kind::Delivery {
                    heard.failure = Some(failure);
                }
            }
            None => heard.failure = Some(failure()),
        }
    }
}

impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(?level, facility, "kafka: {line}");
        // Not every failed connection is an error, too. The second is the only way in which the
        // library says at once that a transaction failed. Of a record that was refused there is a
        // report, too, which says which one it was.
        if facility == "FAIL" {
            failure::without_thread(line).clone_into(&mut self.reason());
        } else if facility == "TXNERR" {
            let code = failure::code_in(line);
            if !failure::is_refusal(code) {
                let said = failure::essence(line);
                self.fail(|| Failure::new(code, None, said, &self.names).of_records());
            }
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.heard().held_back = Some(held_back(statistics));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        tracing::debug!(%code, "kafka: {reason}");
        match code {
            Code::Fatal => self.heard().is_fatal = true,
            Code::AllBrokersDown => {
                let said = self.reason().clone();
                let said = if said.is_empty() { reason } else { &said };
                self.fail(|| Failure::new(code, None, said, &self.names));
            }
            _ => {
                let failure = Failure::new(code, None, reason, &self.names);
                if failure.kind == Kind::Access {
                    self.fail(|| failure);
                }
            }
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let code = match result {
            Ok(_) => None,
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                if !failure::is_consequence(code) {
                    let topic = Some(message.topic());
                    self.fail(|| Failure::new(code, topic, "", &self.names).of_records());
                }
                Some(code)
            }
        };
        self.heard().reports.push((number as u64, code));
    }
}

impl Client {
    /// A new client. It connects in the background.
    pub(super) fn new(properties: &Properties, wake: &Arc<EventFd>) -> Result<Self, Failure> {
        let context = Context::new(properties.names.clone(), Arc::clone(wake));
        let producer: BaseProducer<Context> =
            properties.producer()?.create_with_context(context).map_err(|error| Failure {
                // A certificate that cannot be read, say.
                kind: Kind::Access,
                ..Failure::of(&error, None, &properties.names)
            })?;
        sys::kafka::signal_events(producer.client());
        Ok(Client { producer })
    }

    pub(super) fn producer(&self) -> &BaseProducer<Context> {
        &self.producer
    }

    /// Has the library send what it collects. Blocks, for [`PUSH_MILLISECONDS`] at most.
    pub(super) fn push(&self) {
        sys::kafka::push(self.producer.client(), PUSH_MILLISECONDS);
    }

    /// Takes the events that wait. `spare`: an empty vector, for the next reports.
    pub(super) fn hear(&self, spare: Vec<Report>) -> Heard {
        loop {
            self.producer.poll(Duration::ZERO);
            if !sys::kafka::has_events(self.producer.client()) {
                break;
            }
        }
        let next = Heard { reports: spare, ..Heard::default() };
        let mut taken = std::mem::replace(&mut *self.producer.context().heard(), next);
        if taken.is_fatal
            && let Some((code, said)) = self.producer.client().fatal_error()
        {
            let names = &self.producer.context().names;
            taken.failure = Some(Failure::new(code, None, &said, names).of_records());
        }
        taken
    }

    /// Fences a former client of this name, and ends what it left. Waits at most a [`SLICE`].
    pub(super) fn init_transactions(&self) -> Result<Step, Failure> {
        let names = &self.producer.context().names;
        let Err(error) = self.producer.init_transactions(SLICE) else {
            return Ok(Step::Done);
        };
        let failure = Failure::of(&error, None, names).of_records();
        match error {
            KafkaError::Transaction(error) if error.is_retriable() => {
                let is_told = failure.code != Code::OperationTimedOut;
                Ok(Step::Again(Some(failure).filter(|_| is_told)))
            }
            _ => Err(failure),
        }
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        let names = &self.producer.context().names;
        self.producer
            .begin_transaction()
            .map_err(|error| Failure::of(&error, None, names).of_records())
    }

    /// Adds the number to the transaction, and the attempt's. Blocks.
    pub(super) fn send_number(
        &self,
        group: &Group,
        has: Has,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let names = &self.producer.context().names;
        let failed = |error| Failure::of(&error, Some(&group.topic), names).of_records();
        let number = i64::try_from(has.number).expect("numbers fit");
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&group.topic, 0);
        element.set_metadata(has.attempt.to_string());
        element.set_offset(Offset::Offset(number)).map_err(failed)?;
        self.producer.send_offsets_to_transaction(&list, &group.metadata, timeout).map_err(failed)
    }

    /// Commits the transaction. Blocks, at most until then.
    pub(super) fn commit(&self, deadline: Instant, is_gone: &AtomicBool) -> Result<(), Failure> {
        let names = &self.producer.context().names;
        let remaining = || deadline.saturating_duration_since(sys::clock::now().instant);
        loop {
            match self.producer.commit_transaction(SLICE.min(remaining())) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let is_retriable = match &error {
                        KafkaError::Transaction(error) => error.is_retriable(),
                        KafkaError::Flush(_) => true,
                        _ => false,
                    };
                    let may_go_on = !remaining().is_zero() && !is_gone.load(Ordering::Relaxed);
                    if !is_retriable || !may_go_on {
                        return Err(Failure::of(&error, None, names).of_records());
                    }
                }
            }
        }
    }

    /// Why the library cannot reach a broker, as far as it said so.
    pub(super) fn reason(&self) -> String {
        self.producer.context().reason().clone()
    }

    /// What a commit came to, for the loop, which is woken.
    pub(super) fn wake_with(&self, failure: Option<Failure>) {
        if let Some(failure) = failure {
            self.producer.context().heard().failure = Some(failure);
        }
        wake(&self.producer.context().wake);
    }
}

/// The longest time that a broker held an answer back, by the library's statistics.
fn held_back(statistics: &[u8]) -> Duration {
    const THROTTLE: &str = "\"throttle\":";
    const LONGEST: &str = "\"max\":";
    let text = String::from_utf8_lossy(statistics);
    let longest = text.split(THROTTLE).skip(1).filter_map(|rest| {
        let window = rest.split_once('}').map_or(rest, |(window, _)| window);
        let (_, number) = window.split_once(LONGEST)?;
        number
            .split(|char: char| !char.is_ascii_digit())
            .find(|digits| !digits.is_empty())?
            .parse()
            .ok()
    });
    Duration::from_millis(longest.max().unwrap_or(0))
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Group")
    }
}

/// Wakes the loop.
pub(super) fn wake(event: &EventFd) {
    // It fails only when the loop is woken already.
    let _ = event.write(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_that_a_broker_holds_an_answer_back_is_in_the_statistics() {
        let statistics = br#"{"name":"m","brokers":{"k1/1":{"rtt":{"min":1,"max":9000},
            "throttle":{"min":0,"max":12,"avg":1},"req":{"Produce":3}},
            "k2/2":{"throttle":{"min":0,"max":870,"avg":401}}},"max":5}"#;
        assert_eq!(held_back(statistics), Duration::from_millis(870));
        assert_eq!(held_back(b"{}"), Duration::ZERO);
    }
}
