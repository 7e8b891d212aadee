//! What would fail, found out before a run.
//!
//! In: settings. Out: sentences, those that a run would say.
//! Always holds: topics are looked for by a consumer, for which brokers make none. The
//! transactional id is not the one of a state directory, and brokers refuse to begin anything under
//! it. What only a write would show is not tried.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use nix::sys::eventfd::EventFd;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::MetadataTopic;

use super::client::Client;
use super::failure::{Failure, Kind};
use super::helper::{ASK, Asking, ask_number, asking, lack, reach, topic_metadata, topics};
use super::properties::Properties;
use crate::sink::{Brokers, Found};

/// Fewer copies of a record than this are lost with one broker.
const COPIES: usize = 2;

/// Tries what a run needs of the brokers. `record_bytes_max`: of the longest record.
pub(in crate::sink) fn try_out(brokers: &Brokers<'_>, record_bytes_max: usize) -> Vec<Found> {
    let prepared = || {
        let routes = brokers.routes.ok_or("it has no topic")?;
        let mut properties = Properties::new(brokers.kafka)?;
        let is_transactional = brokers.is_kept && brokers.kafka.transactions;
        properties.aim(routes, is_transactional)?;
        // As a state directory would call itself.
        let identity = format!("manytail-{}-00000000", routes.host);
        if is_transactional {
            properties.identify(identity.clone());
        }
        Ok((properties, identity))
    };
    let (properties, identity) = match prepared() {
        Ok(prepared) => prepared,
        Err(why) => return vec![Found::Wrong(why)],
    };
    let mut trial = Trial { properties, record_bytes_max, found: Vec::new() };
    if let Err(failure) = trial.run(&identity) {
        trial.fail(&failure);
    }
    trial.found
}

struct Trial {
    properties: Properties,
    record_bytes_max: usize,
    found: Vec<Found>,
}

impl Trial {
    fn fail(&mut self, failure: &Failure) {
        self.found.push(Found::Wrong(format!("{}: {}", failure.what(), failure.why)));
    }

    /// An error: nothing more can be found out.
    fn run(&mut self, identity: &str) -> Result<(), Failure> {
        self.reach()?;
        let names = self.properties.names.clone();
        let consumer: BaseConsumer<Asking> = self
            .properties
            .group(identity)?
            .create_with_context(Asking)
            .map_err(|error| Failure::of(&error, None, &names))?;
        let properties = self.properties.clone();
        let mut are_there = true;
        for topic in topics(&properties) {
            match topic_metadata(consumer.client(), topic, &names) {
                Ok(metadata) => {
                    let about = metadata.topics().first();
                    about.into_iter().for_each(|topic| self.look_at(topic));
                }
                Err(failure) => {
                    are_there = false;
                    self.fail(&failure);
                }
            }
        }
        if names.topic.is_none() {
            self.found.push(Found::Well(
                "its topic differs between files: whether each one exists is seen when its first \
                record is sent"
                    .to_owned(),
            ));
        }
        drop(consumer);
        if are_there && properties.identity.is_some() {
            let answer = asking(identity, &properties).and_then(|consumer| {
                ask_number(&consumer, identity, &properties, &AtomicBool::new(false))
            });
            if let Err(failure) = answer {
                self.fail(&failure);
            }
        }
        Ok(())
    }

    /// Whether brokers answer, and we may use a transactional id.
    fn reach(&mut self) -> Result<(), Failure> {
        let local = |error: std::io::Error| Failure::local(Kind::Unreachable, error.to_string());
        let wake = Arc::new(EventFd::new().map_err(|errno| local(errno.into()))?);
        let properties = self.properties.for_a_trial();
        let client = Client::new(&properties, &wake)?;
        match reach(&client, &properties, &AtomicBool::new(false)) {
            Ok(()) => {}
            // The rights were checked first, and nothing was begun.
            Err(failure) if failure.code == Code::InvalidTransactionTimeout => {}
            // Other rights can be looked for.
            Err(failure) if failure.code == Code::TransactionalIdAuthorizationFailed => {
                self.fail(&failure);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        }
        self.found.push(Found::Well(format!("{} answer", properties.names.brokers)));
        Ok(())
    }

    fn look_at(&mut self, topic: &MetadataTopic) {
        let name = topic.name();
        let partitions = topic.partitions();
        let copies = partitions.iter().map(|partition| partition.replicas().len()).min();
        let in_sync = partitions.iter().map(|partition| partition.isr().len()).min();
        let (copies, in_sync) = (copies.unwrap_or(0), in_sync.unwrap_or(0));
        let mut said = format!("topic {name}: {} partitions, {copies} copies", partitions.len());
        let mut doubts: Vec<Found> = Vec::new();
        if let Some(what) = lack(topic) {
            let remedy = "look for brokers that are down; records may wait for them";
            doubts.push(Found::Doubtful(what, remedy.to_owned()));
        }
        match self.configuration(name) {
            Ok(configuration) => {
                let number = |key: &str| configuration.get(key)?.parse::<usize>().ok();
                let needed = number("min.insync.replicas").unwrap_or(1);
                if needed > in_sync {
                    doubts.push(Found::Wrong(format!(
                        "cannot deliver: too few replicas of topic {name} are in sync \
                        ({in_sync}; min.insync.replicas is {needed})"
                    )));
                } else if needed < COPIES {
                    doubts.push(Found::Doubtful(
                        format!(
                            "topic {name}: a record counts as stored when one broker has it, and \
                            is lost with that broker"
                        ),
                        format!("set its min.insync.replicas to {COPIES}, with one copy more"),
                    ));
                }
                said += &format!(", {needed} of them needed");
                if let Some(limit) = number("max.message.bytes") {
                    said += &format!(", records of up to {limit} bytes");
                    doubts.extend(self.size(name, limit));
                }
            }
            Err(failure) => said += &format!("; its limits are not known: {}", failure.why),
        }
        self.found.push(Found::Well(said));
        self.found.extend(doubts);
    }

    /// Whether a topic takes the longest record.
    fn size(&self, topic: &str, limit: usize) -> Option<Found> {
        let longest = self.record_bytes_max;
        (longest > limit).then(|| {
            Found::Doubtful(
                format!(
                    "a record can have {longest} bytes (a line of max_line_bytes in which each \
                    byte needs an escape), and topic {topic} takes {limit}"
                ),
                "lower max_line_bytes, or raise max.message.bytes of the topic (and \
                message.max.bytes in [kafka.properties])"
                    .to_owned(),
            )
        })
    }

    /// What is set for a topic, as far as we may know.
    fn configuration(&self, topic: &str) -> Result<HashMap<String, String>, Failure> {
        let names = &self.properties.names;
        let denied = |code| match code {
            Code::TopicAuthorizationFailed => {
                Failure::local(Kind::Access, "DescribeConfigs on it would be needed".to_owned())
            }
            code => Failure::new(code, Some(topic), "", names),
        };
        let failed = |error| denied(Failure::of(&error, Some(topic), names).code);
        let admin: AdminClient<Asking> =
            AdminClient::from_config_and_context(&self.properties.asking()?, Asking)
                .map_err(failed)?;
        let options = AdminOptions::new().request_timeout(Some(ASK));
        let answers =
            wait_for(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options));
        let answer = answers.map_err(failed)?.pop();
        let resource = answer.unwrap_or(Err(Code::Unknown)).map_err(denied)?;
        // To those who may not know it says so by saying nothing.
        if resource.entries.is_empty() {
            return Err(denied(Code::TopicAuthorizationFailed));
        }
        let entries = resource.entries.into_iter();
        Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }
}

/// What comes of a question that another thread completes.
fn wait_for<T>(answer: impl Future<Output = T>) -> T {
    struct Awake(Thread);
    impl Wake for Awake {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Awake(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            return answer;
        }
        thread::park();
    }
}
