//! The output to Kafka, against a simulated cluster of the client library and against a real one.

mod mock;
mod real;
#[cfg(feature = "kafka-tls")]
mod secure;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver as Outcomes, channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::KafkaSink;
use super::properties::Properties;
use crate::config::{Alphabet, Format, Kafka, Nats, Routes, Template};
use crate::sink::settle::{IsStored, Known, Number, Settle, Unsettled, Verdict};
use crate::sink::{Brokers, Origin, Origins, Poller, Records, Sent, Sink, SinkError};
use crate::sys::clock;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// The driver checks its peer at least this often.
const TICK: Duration = Duration::from_millis(20);
/// Records of one offer.
const BATCH: usize = 500;

/// What a state directory keeps.
#[derive(Debug, Clone, Default)]
struct Journal {
    identity: String,
    /// The last commit that holds, and how many records it reaches.
    number: u64,
    reached: usize,
    /// The same of the one in doubt.
    doubt: Option<(Number, usize)>,
}

/// A loop with the sink, and what the engine does with it.
struct Driver {
    poll: Poll,
    events: Events,
    sink: Box<dyn Sink>,
    journal: Journal,
    /// Topic, key and text of each record.
    records: Vec<(String, String, String)>,
    /// How many were accepted.
    accepted: usize,
    /// The commit that is under way.
    commit: Option<Outcomes<Result<(), Unsettled>>>,
    /// Whether offsets are stored.
    is_stored: IsStored,
    /// Is called before the output commits.
    before_commit: Option<Box<dyn FnOnce() + Send>>,
    is_awaiting: bool,
    restarts: usize,
    commits: usize,
    wake_ups: usize,
    error: Option<SinkError>,
}

/// A topic that does not exist yet, at the test's own place.
fn name_of(test: &str) -> String {
    format!("{test}-{:x}", crate::sys::disk::any_number())
}

fn routes(topic: &str) -> Routes {
    Routes {
        destination: Template::parse(topic, Alphabet::Name).expect("a topic"),
        key: Template::parse("{file}", Alphabet::Any).expect("a key"),
        host: "node1".to_owned(),
    }
}

/// A driver of a sink that is opened with these settings; `journal`: with a state directory.
fn open(kafka: &Kafka, topic: &str, journal: Option<Journal>) -> Result<Driver, SinkError> {
    open_with(kafka, topic, journal, |_| {})
}

/// The same, with other properties than the settings can have.
fn open_with(
    kafka: &Kafka,
    topic: &str,
    journal: Option<Journal>,
    change: impl FnOnce(&mut Properties),
) -> Result<Driver, SinkError> {
    // What the sink and the library say, for who looks into a failure.
    if std::env::var_os("TRACE").is_some() {
        let _ = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(std::io::stderr)
            .try_init();
    }
    let (nats, routes) = (Nats::default(), routes(topic));
    let brokers = Brokers {
        kafka,
        nats: &nats,
        routes: Some(&routes),
        format: Format::Raw,
        is_kept: journal.is_some(),
    };
    let poll = Poll::new().expect("epoll");
    let poller = Poller { registry: poll.registry().try_clone().expect("dup"), token: Token(7) };
    let name = format!("kafka:{topic}");
    let mut properties = Properties::new(kafka)
        .map_err(|why| SinkError::new(&name, "open", std::io::Error::other(why)))?;
    change(&mut properties);
    let mut sink = Box::new(KafkaSink::with(properties, name, &brokers, std::rc::Rc::new(poller))?);
    let is_kept = journal.is_some();
    let journal = journal.unwrap_or_default();
    let mut is_awaiting = false;
    if let Some(receiver) = sink.receiver().filter(|_| is_kept) {
        receiver.begin(&Known {
            identity: journal.identity.clone().into_bytes(),
            number: journal.number,
            number_last: journal.doubt.map_or(journal.number, |(number, _)| number.this),
            doubt: journal.doubt.map(|(number, _)| number),
            ..Known::default()
        });
        is_awaiting = true;
    }
    Ok(Driver {
        sink,
        accepted: journal.reached,
        journal,
        poll,
        events: Events::with_capacity(8),
        records: Vec::new(),
        commit: None,
        is_stored: IsStored::Yes,
        before_commit: None,
        is_awaiting,
        restarts: 0,
        commits: 0,
        wake_ups: 0,
        error: None,
    })
}

impl Driver {
    /// Adds records, numbered on, of some files.
    fn add(&mut self, topic: &str, count: usize) {
        for _ in 0..count {
            let number = self.records.len();
            self.records.push((topic.to_owned(), format!("f{}", number % 7), number.to_string()));
        }
    }

    /// Waits for the loop at most `longest`, then does what is due.
    fn turn(&mut self, longest: Duration) {
        let now = clock::now().instant;
        let wait = self
            .sink
            .deadline()
            .map_or(longest, |deadline| deadline.saturating_duration_since(now).min(longest));
        self.poll.poll(&mut self.events, Some(wait)).expect("epoll_wait");
        let now = clock::now().instant;
        if self.events.iter().any(|event| event.token() == Token(7)) {
            self.wake_ups += 1;
            self.sink.ready(now);
        }
        let result = self.hear_commit().and_then(|()| match self.is_awaiting {
            true => self.hear_verdict(),
            false if self.commit.is_some() => Ok(()),
            false => self.offer(now),
        });
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }

    fn hear_commit(&mut self) -> Result<(), SinkError> {
        let Some(result) = self.commit.as_ref().and_then(|commit| commit.try_recv().ok()) else {
            return Ok(());
        };
        self.commit = None;
        match result {
            Ok(()) => self.settled(self.is_stored),
            Err(_) => self.is_awaiting = true,
        }
        Ok(())
    }

    fn settled(&mut self, is_stored: IsStored) {
        let (number, reached) = self.journal.doubt.take().expect("a commit");
        if is_stored == IsStored::Yes {
            self.journal.number = number.this;
        }
        self.journal.reached = reached;
        self.commits += 1;
        self.sink.receiver().expect("transactions").settled(is_stored);
        assert_eq!(self.sink.unacknowledged(), 0);
    }

    fn hear_verdict(&mut self) -> Result<(), SinkError> {
        match self.sink.receiver().expect("transactions").verdict()? {
            None => return Ok(()),
            Some(Verdict::Made) => {
                self.settled(self.is_stored);
                self.accepted = self.accepted.max(self.journal.reached);
            }
            Some(Verdict::NotMade) => {
                self.journal.doubt = None;
                self.accepted = self.journal.reached;
                self.restarts += 1;
            }
            Some(Verdict::Beyond(_)) => panic!("it is no stream"),
        }
        self.is_awaiting = false;
        Ok(())
    }

    fn offer(&mut self, now: Instant) -> Result<(), SinkError> {
        loop {
            let next = &self.records[self.accepted..];
            let next = &next[..next.len().min(BATCH)];
            let (mut bytes, mut of, mut origins) = (Vec::new(), Vec::new(), Origins::default());
            for (at, (topic, key, text)) in next.iter().enumerate() {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(b'\n');
                origins.begin(&Origin {
                    file: b"1-2-0",
                    path: b"/jobs/a.log",
                    destination: topic.as_bytes(),
                    key: key.as_bytes(),
                });
                of.push(origins.of(text.len() + 1, (self.accepted + at) as u64, false));
            }
            match self.sink.send(Records::with_origins(&bytes, &of, &origins), now)? {
                Sent::Accepted(0) | Sent::Blocked => break,
                Sent::Accepted(mut taken) => {
                    while taken > 0 {
                        taken -= self.records[self.accepted].2.len() + 1;
                        self.accepted += 1;
                    }
                }
                Sent::Restarted { mut unacknowledged } => {
                    self.restarts += 1;
                    while unacknowledged > 0 {
                        self.accepted -= 1;
                        unacknowledged -= self.records[self.accepted].2.len() as u64 + 1;
                    }
                }
                Sent::Closed => panic!("nobody closes it"),
            }
        }
        Ok(())
    }

    /// How many records are acknowledged, without transactions.
    fn acknowledged(&mut self) -> usize {
        let mut bytes = self.sink.unacknowledged();
        let mut count = self.accepted;
        while bytes > 0 {
            count -= 1;
            bytes -= self.records[count].2.len() as u64 + 1;
        }
        count
    }

    /// A commit is due: `false` if the output has to settle first.
    fn try_commit(&mut self) -> bool {
        if self.commit.is_some() || self.is_awaiting {
            return false;
        }
        match self.sink.receiver().expect("transactions").settle() {
            Settle::Acknowledged | Settle::Wait => false,
            Settle::Lost => {
                self.is_awaiting = true;
                false
            }
            Settle::Transaction { number, commit } => {
                assert_eq!(number.previous, self.journal.number);
                self.journal.doubt = Some((number, self.accepted));
                let (tell, outcomes) = channel();
                let (is_stored, before) = (self.is_stored, self.before_commit.take());
                let work = move || {
                    before.into_iter().for_each(|before| before());
                    tell.send(commit.call(is_stored))
                };
                thread::Builder::new().spawn(work).expect("a thread");
                self.commit = Some(outcomes);
                true
            }
        }
    }

    /// Turns until it is so.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Driver) -> bool) {
        let deadline = clock::now().instant + PATIENCE;
        while !is_so(self) {
            assert!(
                clock::now().instant < deadline,
                "waited too long until {what}: {:?}, accepted {} of {}, {:?}",
                self.sink.state(),
                self.accepted,
                self.records.len(),
                self.error
            );
            self.turn(TICK);
        }
    }

    /// Turns, commits, until all records are part of a commit.
    fn until_all_is_committed(&mut self) {
        self.until("all is committed", |driver| {
            driver.try_commit();
            driver.journal.reached == driver.records.len() && driver.commit.is_none()
        });
    }

    fn until_all_is_acknowledged(&mut self) {
        self.until("all is acknowledged", |driver| driver.acknowledged() == driver.records.len());
    }

    fn failure(&self) -> String {
        self.sink.state().failure.unwrap_or_default()
    }
}

/// All that a consumer sees of a topic up to its present end: keys with their texts, in order.
fn consume(bootstrap: &str, topic: &str, isolation: &str) -> BTreeMap<String, Vec<usize>> {
    let mut found = BTreeMap::<String, Vec<usize>>::new();
    read(bootstrap, topic, isolation, |message| {
        let key = String::from_utf8(message.key().expect("a key").to_vec()).expect("text");
        let text = std::str::from_utf8(message.payload().expect("a value")).expect("text");
        let number = text.trim_start_matches('x').parse().expect("a number");
        found.entry(key).or_default().push(number);
    });
    found
}

/// Calls for each message of a topic up to its present end.
fn read(bootstrap: &str, topic: &str, isolation: &str, mut take: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "test-reader")
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let partition = i32::try_from(partition).expect("small");
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    let mut ended = BTreeSet::new();
    while ended.len() < partitions {
        match consumer.poll(PATIENCE).expect("an end of each partition") {
            Ok(message) => take(&message),
            Err(KafkaError::PartitionEOF(partition)) => _ = ended.insert(partition),
            // Other tests kill nodes.
            Err(KafkaError::MessageConsumption(
                Code::BrokerTransportFailure | Code::AllBrokersDown,
            )) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Each of the first `count` records is there exactly once, and each key's in order.
fn assert_exactly_once(found: &BTreeMap<String, Vec<usize>>, count: usize) {
    let mut all: Vec<usize> = found.values().flatten().copied().collect();
    for (key, numbers) in found {
        assert!(numbers.is_sorted(), "{key} is out of order");
    }
    all.sort_unstable();
    assert_eq!(all.len(), count, "records");
    assert!(all.into_iter().eq(0..count), "each one once");
}
