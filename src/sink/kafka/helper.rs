//! The thread that makes clients and ends them: what blocks, beside a commit.
//!
//! In: orders. Out: connected clients, and why there is none yet; each wakes the loop.
//! Always holds: an order is carried out until it succeeds or the sink is gone. Secrets and
//! certificates are read again for each attempt. Without an order the thread sleeps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::client::{Client, Group, SLICE, Step, wake};
use super::failure::{Failure, Kind, Names};
use super::properties::Properties;
use super::transactions::Has;
use crate::sys::clock;

/// An attempt without an answer ends after this long; the next one reads the files again.
const ATTEMPT: Duration = Duration::from_secs(15);
/// A question about a topic or a group ends after this long.
pub(super) const ASK: Duration = Duration::from_secs(10);
/// The one about a group is asked again so often: what is in its way comes in between.
const ASK_SLICE: Duration = Duration::from_secs(2);
/// A broker that was restarted is back within seconds ...
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// ... and one that was away for long is not asked more often than this.
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// How long the end of the sink waits for the last client: a broker that is silent costs nothing.
const END: Duration = Duration::from_secs(2);

/// What the thread is told to do.
enum Job {
    /// Make a client.
    Connect(Box<Order>),
    /// End a client.
    Retire(Arc<Client>),
    /// Have a client send what it collects.
    Push(Arc<Client>),
    /// Say why records wait.
    Diagnose(Arc<Client>, Option<String>),
}

/// A client that is wanted.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) properties: Properties,
    /// Not earlier than this.
    pub(super) not_before: Option<Instant>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An attempt failed; another one follows.
    Failed(Failure),
    /// A client that makes batches of so many bytes. With transactions: what commits need, and what
    /// the brokers have.
    Connected { client: Arc<Client>, batch_bytes: u32, commits: Option<(Arc<Group>, Has)> },
    /// Why records wait, as far as the brokers say.
    Diagnosis(String),
}

/// The handle of the thread.
#[derive(Debug)]
pub(super) struct Helper {
    jobs: Option<Sender<Job>>,
    pub(super) outcomes: Receiver<Outcome>,
    /// Is true when the sink is gone.
    pub(super) is_gone: Arc<AtomicBool>,
    /// A push waits for the thread.
    is_push_queued: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Helper {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of `pthread_create(3)`.
    pub(super) fn start(wake: Arc<EventFd>) -> io::Result<Self> {
        let (jobs, work) = channel();
        let (tell, outcomes) = channel();
        let (end, ended) = channel();
        let is_gone = Arc::new(AtomicBool::new(false));
        let is_push_queued = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            jobs: work,
            outcomes: tell,
            is_gone: Arc::clone(&is_gone),
            is_push_queued: Arc::clone(&is_push_queued),
            wake,
        };
        thread::Builder::new().name("kafka".to_owned()).spawn(move || {
            thread.serve();
            // Nobody listens if it took too long.
            let _ = end.send(());
        })?;
        Ok(Helper { jobs: Some(jobs), outcomes, is_gone, is_push_queued, ended })
    }

    pub(super) fn connect(&self, order: Order) {
        self.tell(Job::Connect(Box::new(order)));
    }

    pub(super) fn push(&self, client: Arc<Client>) {
        if !self.is_push_queued.swap(true, Ordering::Relaxed) {
            self.tell(Job::Push(client));
        }
    }

    pub(super) fn retire(&self, client: Arc<Client>) {
        self.tell(Job::Retire(client));
    }

    pub(super) fn diagnose(&self, client: Arc<Client>, topic: Option<String>) {
        self.tell(Job::Diagnose(client, topic));
    }

    fn tell(&self, job: Job) {
        // The thread ends only after the sink.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Relaxed);
        self.jobs = None;
        // The library's threads should not run while the process takes itself apart.
        let _ = self.ended.recv_timeout(END);
    }
}

struct Thread {
    jobs: Receiver<Job>,
    outcomes: Sender<Outcome>,
    is_gone: Arc<AtomicBool>,
    is_push_queued: Arc<AtomicBool>,
    wake: Arc<EventFd>,
}

impl Thread {
    fn serve(self) {
        while let Ok(job) = self.jobs.recv() {
            match job {
                Job::Connect(order) => self.carry_out(&order),
                // Its drop gives up what is on its way, and ends its threads.
                Job::Retire(client) => drop(client),
                Job::Push(client) => {
                    self.is_push_queued.store(false, Ordering::Relaxed);
                    client.push();
                }
                Job::Diagnose(client, topic) => {
                    self.tell(Outcome::Diagnosis(diagnosis(&client, topic.as_deref())));
                }
            }
        }
    }

    fn tell(&self, outcome: Outcome) {
        // Nobody listens when the sink is gone.
        let _ = self.outcomes.send(outcome);
        wake(&self.wake);
    }

    /// Tries until it succeeds.
    fn carry_out(&self, order: &Order) {
        let now = clock::now().instant;
        let mut pause = order.not_before.map(|time| time.saturating_duration_since(now));
        let (mut next, mut is_first) = (RETRY_FIRST, true);
        loop {
            if let Some(pause) = pause.filter(|pause| !pause.is_zero())
                && !self.pause(pause)
            {
                return;
            }
            match self.attempt(order, std::mem::take(&mut is_first)) {
                Ok(outcome) => return self.tell(outcome),
                Err(_) if self.is_gone() => return,
                Err(failure) => self.tell(Outcome::Failed(failure)),
            }
            pause = Some(next);
            next = (next * 2).min(RETRY_LONGEST);
        }
    }

    /// Waits. `false`: the sink is gone.
    fn pause(&self, pause: Duration) -> bool {
        let until = clock::now().instant + pause;
        loop {
            let rest = until.saturating_duration_since(clock::now().instant);
            match self.jobs.recv_timeout(rest) {
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
                // Nothing else comes while a client is wanted, but perhaps a push of the last one.
                Ok(job) => {
                    self.is_push_queued.store(false, Ordering::Relaxed);
                    drop(job);
                }
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// `is_first`: no attempt of this order failed.
    fn attempt(&self, order: &Order, is_first: bool) -> Result<Outcome, Failure> {
        let properties = &order.properties;
        let batch_bytes = properties.batch_bytes();
        let client = Arc::new(Client::new(properties, &self.wake)?);
        // The library needs half a second to find the group's coordinator, and as long for the
        // identity of a producer. After a failure there is one connection at a time.
        let identity = properties.identity.as_deref();
        let early = identity.filter(|_| is_first).map(|identity| asking(identity, properties));
        let early = early.transpose()?;
        reach(&client, properties, &self.is_gone)?;
        for topic in topics(properties) {
            topic_metadata(client.producer().client(), topic, &properties.names)?;
        }
        let Some(identity) = identity else {
            return Ok(Outcome::Connected { client, batch_bytes, commits: None });
        };
        let consumer = early.map_or_else(|| asking(identity, properties), Ok)?;
        let (group, has) = ask_number(&consumer, identity, properties, &self.is_gone)?;
        Ok(Outcome::Connected { client, batch_bytes, commits: Some((Arc::new(group), has)) })
    }
}

/// Waits until brokers answer; with an identity, until they fenced its former client. Ends when
/// something is heard that does not pass by itself.
pub(super) fn reach(
    client: &Client,
    properties: &Properties,
    is_gone: &AtomicBool,
) -> Result<(), Failure> {
    let call = || {
        if properties.identity.is_some() {
            return client.init_transactions();
        }
        let id = client.producer().client().fetch_cluster_id(SLICE);
        Ok(if id.is_some() { Step::Done } else { Step::Again(None) })
    };
    let names = &properties.names;
    let deadline = clock::now().instant + ATTEMPT;
    while let Step::Again(reason) = call()? {
        if let Some(failure) = client.hear(Vec::new()).failure {
            return Err(failure);
        }
        if is_gone.load(Ordering::Relaxed) {
            return Err(Failure::local(Kind::Unreachable, String::new()));
        }
        if clock::now().instant >= deadline {
            return Err(match reason {
                Some(failure) if failure.code == Code::ConcurrentTransactions => {
                    let why = diagnosis(client, names.topic.as_deref());
                    Failure { why: format!("{}: {why}", failure.why), ..failure }
                }
                Some(failure) => failure,
                None => Failure::new(Code::OperationTimedOut, None, &client.reason(), names),
            });
        }
    }
    Ok(())
}

/// The topics that have to be there before anything is sent.
pub(super) fn topics(properties: &Properties) -> Vec<&str> {
    let Names { offsets_topic, topic, .. } = &properties.names;
    let of_offsets = Some(offsets_topic.as_str()).filter(|_| properties.identity.is_some());
    let mut topics: Vec<&str> = of_offsets.into_iter().chain(topic.as_deref()).collect();
    topics.dedup();
    topics
}

/// What the brokers tell of a topic, if it is there and may be known to us.
pub(super) fn topic_metadata<C: ClientContext>(
    client: &rdkafka::client::Client<C>,
    topic: &str,
    names: &Names,
) -> Result<Metadata, Failure> {
    let metadata = client
        .fetch_metadata(Some(topic), ASK)
        .map_err(|error| Failure::of(&error, Some(topic), names))?;
    match metadata.topics().first().and_then(|topic| topic.error()) {
        Some(error) if error.is_error() => {
            Err(Failure::new(error.into(), Some(topic), "", names).of_records())
        }
        _ => Ok(metadata),
    }
}

/// A consumer that can be asked what the group has. It looks for the group's coordinator by itself.
pub(super) fn asking(
    identity: &str,
    properties: &Properties,
) -> Result<BaseConsumer<Asking>, Failure> {
    let topic = Some(properties.names.offsets_topic.as_str());
    let failed = |error| Failure::of(&error, topic, &properties.names);
    properties.group(identity)?.create_with_context(Asking).map_err(failed)
}

/// What the group has. Waits for transactions that are about to end.
pub(super) fn ask_number(
    consumer: &BaseConsumer<Asking>,
    identity: &str,
    properties: &Properties,
    is_gone: &AtomicBool,
) -> Result<(Group, Has), Failure> {
    let topic = properties.names.offsets_topic.clone();
    let failed = |error| Failure::of(&error, Some(&topic), &properties.names);
    let mut list = TopicPartitionList::new();
    list.add_partition(&topic, 0);
    // Drops errors from before the question.
    while consumer.poll(Duration::ZERO).is_some() {}
    let deadline = clock::now().instant + ASK;
    let list = loop {
        match consumer.committed_offsets(list.clone(), ASK_SLICE) {
            Ok(list) => break list,
            Err(error) => {
                // It looks for the coordinator for ever, and says here why there is none.
                if let Some(Err(reason)) = consumer.poll(Duration::ZERO) {
                    return Err(failed(reason));
                }
                let is_late = error.rdkafka_error_code() == Some(Code::OperationTimedOut);
                if !is_late || is_gone.load(Ordering::Relaxed) || clock::now().instant >= deadline {
                    return Err(failed(error));
                }
            }
        }
    };
    let element = list.find_partition(&topic, 0).ok_or_else(|| failed(KafkaError::Canceled))?;
    element.error().map_err(failed)?;
    let has = match element.offset() {
        Offset::Offset(number) => Has {
            number: u64::try_from(number).unwrap_or(0),
            attempt: element.metadata().parse().unwrap_or(0),
        },
        _ => Has::default(),
    };
    let metadata = consumer.group_metadata().ok_or_else(|| {
        Failure::local(Kind::Delivery, "the client library has no group".to_owned())
    })?;
    Ok((Group { name: identity.to_owned(), metadata, topic }, has))
}

/// What a partition lacks, in words.
fn diagnosis(client: &Client, topic: Option<&str>) -> String {
    let nothing = "none says why".to_owned();
    let Some(name) = topic else {
        return nothing;
    };
    // The first broker that is asked may be the one that is gone.
    let ask = || client.producer().client().fetch_metadata(topic, ASK / 5).ok();
    let Some(metadata) = ask().or_else(ask).or_else(ask) else {
        let reason = client.reason();
        let reason = if reason.is_empty() { "no answer".to_owned() } else { reason };
        return format!("no broker says who leads topic {name}: {reason}");
    };
    metadata.topics().first().and_then(lack).unwrap_or(nothing)
}

/// What a topic lacks at the moment, in words.
pub(super) fn lack(topic: &MetadataTopic) -> Option<String> {
    let (name, partitions) = (topic.name(), topic.partitions());
    let leaderless = partitions.iter().filter(|partition| {
        partition.leader() < 0
            || partition.error() == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
    });
    let behind =
        partitions.iter().filter(|partition| partition.isr().len() < partition.replicas().len());
    let (all, leaderless, behind) = (partitions.len(), leaderless.count(), behind.count());
    if leaderless > 0 {
        return Some(format!("{leaderless} of {all} partitions of topic {name} have no leader"));
    }
    (behind > 0).then(|| {
        format!(
            "replicas of {behind} of {all} partitions of topic {name} are not in sync: too few may \
            be left (min.insync.replicas)"
        )
    })
}

/// The context of a consumer that only asks.
pub(super) struct Asking;

impl ClientContext for Asking {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(?level, facility, "kafka: {line}");
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "kafka: {reason}");
    }
}

impl ConsumerContext for Asking {}
