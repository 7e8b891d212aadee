//! Against three nodes of Apache Kafka: `KAFKA_CLUSTER=DIR` names one that `scripts/brokers` has
//! started.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;

use super::*;
use crate::sink::tests::skipping::skip;

/// Tests take turns: each may kill nodes, and expects the others to be there.
static TURN: Mutex<()> = Mutex::new(());

/// A cluster that runs.
struct Cluster {
    directory: String,
    bootstrap: String,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    fn find() -> Option<Cluster> {
        let Ok(directory) = std::env::var("KAFKA_CLUSTER") else {
            skip("KAFKA_CLUSTER names no cluster of Kafka");
            return None;
        };
        let ports =
            std::fs::read_to_string(Path::new(&directory).join("ports")).expect("a cluster");
        let first: u16 = ports.trim().parse().expect("a port");
        let addresses: Vec<_> = (1..=3).map(|node| format!("127.0.0.1:{}", first + node)).collect();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Cluster { directory, bootstrap: addresses.join(","), _turn: turn })
    }

    fn settings(&self) -> Kafka {
        let brokers = self.bootstrap.split(',').map(str::to_owned).collect();
        Kafka { brokers, ..Kafka::default() }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).create().expect("an admin client")
    }

    fn create(&self, topic: &str, settings: &[(&str, &str)]) {
        let admin = self.admin();
        let topic = NewTopic::new(topic, 4, TopicReplication::Fixed(3));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let created = admin.create_topics([&topic], &AdminOptions::new());
        let results = futures_lite(created).expect("an answer");
        results.into_iter().for_each(|result| _ = result.expect("a topic"));
    }

    /// From now on the topic has these settings, and no others.
    fn alter(&self, topic: &str, settings: &[(&str, &str)]) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let change = settings.iter().fold(change, |change, (name, value)| change.set(name, value));
        let admin = self.admin();
        let altered = admin.alter_configs([&change], &AdminOptions::new());
        let results = futures_lite(altered).expect("an answer");
        results.into_iter().for_each(|result| _ = result.expect("a topic"));
    }

    fn script(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/brokers");
        let output = Command::new(script).args(arguments).output().expect("scripts/brokers");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn leader(&self, what: &str) -> String {
        self.script(&["leader", &self.directory, what])
    }

    /// Starts a node again, and waits until it serves.
    fn up(&self, node: &str, driver: &mut Driver) {
        self.script(&["up", &self.directory, node]);
        let number: usize = node.parse().expect("a node");
        let address = self.bootstrap.split(',').nth(number - 1).expect("its address");
        driver.until("it serves", |_| std::net::TcpStream::connect(address).is_ok());
    }

    /// The offset of the group, as any client sees it.
    fn number(&self, identity: &str, topic: &str) -> Option<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", identity)
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let list = consumer.committed_offsets(list, PATIENCE).expect("an answer");
        list.find_partition(topic, 0)
            .and_then(|element| element.offset().to_raw())
            .filter(|n| *n >= 0)
    }
}

/// All nodes stop to answer.
fn freeze(directory: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/brokers");
    for node in ["1", "2", "3"] {
        let frozen = Command::new(&script).args(["freeze", directory, node]).status();
        assert!(frozen.expect("scripts/brokers").success());
    }
}

/// Waits for a future of the library, which its own thread completes.
fn futures_lite<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => thread::park(),
        }
    }
}

fn journal(test: &str) -> Journal {
    Journal { identity: name_of(&format!("manytail-{test}")), ..Journal::default() }
}

#[test]
fn a_commit_is_seen_as_a_whole_and_its_number_is_the_offset_of_the_group() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("commit");
    cluster.create(&topic, &[]);
    let mut driver = open(&cluster.settings(), &topic, Some(journal("commit"))).unwrap();
    driver.add(&topic, 1000);
    driver.until("all is accepted", |driver| driver.accepted == 1000);
    driver.until("all arrived", |driver| driver.try_commit());
    driver.until("it is committed", |driver| driver.commit.is_none());
    assert_eq!((driver.commits, driver.journal.reached), (1, 1000));
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 1000);
    let number = cluster.number(&driver.journal.identity, &topic);
    assert_eq!(number, Some(i64::try_from(driver.journal.number).unwrap()));
    driver.add(&topic, 500);
    driver.until("more is accepted", |driver| driver.accepted == 1500);
    drop(driver.sink);
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 1000);
}

#[test]
fn a_second_one_with_the_same_identity_ends_the_first() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("twins");
    cluster.create(&topic, &[]);
    let mut first = open(&cluster.settings(), &topic, Some(journal("twins"))).unwrap();
    first.add(&topic, 100);
    first.until_all_is_committed();
    // A copy of its state directory.
    let mut second = open(&cluster.settings(), &topic, Some(first.journal.clone())).unwrap();
    second.records = first.records.clone();
    second.add(&topic, 100);
    second.until_all_is_committed();
    first.add(&topic, 100);
    first.until("the first sees it", |first| {
        first.try_commit();
        first.error.is_some()
    });
    let error = first.error.take().map(|error| format!("{error}: {}", error.source)).unwrap();
    assert!(error.contains("ahead of this state directory by 1 commits"), "{error}");
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 200);
}

#[test]
fn a_state_directory_that_was_restored_is_found_out_although_nobody_else_runs() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("restored");
    cluster.create(&topic, &[]);
    let mut driver = open(&cluster.settings(), &topic, Some(journal("restored"))).unwrap();
    driver.add(&topic, 10);
    driver.until_all_is_committed();
    let old = driver.journal.clone();
    driver.add(&topic, 10);
    driver.until_all_is_committed();
    drop(driver);
    let mut restored = open(&cluster.settings(), &topic, Some(old)).unwrap();
    restored.add(&topic, 20);
    restored.until("it is found out", |restored| restored.error.is_some());
    assert!(restored.error.take().unwrap().source.to_string().contains("by 1 commits"));
}

#[test]
fn a_crash_between_the_journal_and_the_brokers_is_decided_by_the_brokers() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("doubt");
    cluster.create(&topic, &[]);
    let mut driver = open(&cluster.settings(), &topic, Some(journal("doubt"))).unwrap();
    driver.add(&topic, 50);
    driver.until_all_is_committed();
    driver.add(&topic, 50);
    driver.until("all arrived", |driver| driver.accepted == 100 && driver.try_commit());
    // The brokers make it, and the answer is lost.
    driver.commit.take().unwrap().recv().unwrap().unwrap();
    let (records, journal) = (driver.records.clone(), driver.journal.clone());
    drop(driver);
    let mut made = open(&cluster.settings(), &topic, Some(journal)).unwrap();
    made.records = records.clone();
    made.until("it is decided", |made| !made.is_awaiting);
    assert_eq!((made.journal.reached, made.accepted), (100, 100));
    // The same, but it never got there.
    made.add(&topic, 50);
    made.until("all is accepted", |made| made.accepted == 150);
    let number = Number::next(made.journal.number, made.journal.number, 5);
    let journal = Journal { doubt: Some((number, 150)), ..made.journal.clone() };
    drop(made);
    let mut not_made = open(&cluster.settings(), &topic, Some(journal)).unwrap();
    not_made.records = records;
    not_made.add(&topic, 50);
    not_made.until("it is decided", |not_made| !not_made.is_awaiting);
    assert_eq!(not_made.journal.reached, 100);
    not_made.until_all_is_committed();
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 150);
}

#[test]
fn leaders_and_coordinators_that_are_killed_cost_and_repeat_nothing() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("killed");
    cluster.create(&topic, &[]);
    let mut driver = open(&cluster.settings(), &topic, Some(journal("killed"))).unwrap();
    for round in 0..4 {
        driver.add(&topic, 5_000);
        driver.until_all_is_committed();
        driver.add(&topic, 5_000);
        driver.until("some are accepted", |driver| driver.accepted > round * 10_000 + 5_100);
        let identity = format!("transactions:{}", driver.journal.identity);
        let node = cluster.leader(if round % 2 == 0 { &topic } else { &identity });
        cluster.script(&["kill", &cluster.directory, &node]);
        let began = clock::now().instant;
        driver.until_all_is_committed();
        let took = clock::now().instant - began;
        eprintln!("node {node} killed: committed after {took:?}, restarts {}", driver.restarts);
        cluster.up(&node, &mut driver);
    }
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 40_000);
}

#[test]
fn a_cluster_that_is_away_for_longer_than_a_transaction_lasts_repeats_nothing() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("away");
    cluster.create(&topic, &[]);
    let settings = Kafka { transaction_timeout: Duration::from_secs(3), ..cluster.settings() };
    let mut driver = open(&settings, &topic, Some(journal("away"))).unwrap();
    driver.add(&topic, 1000);
    driver.until_all_is_committed();
    driver.add(&topic, 1000);
    driver.until("all is accepted", |driver| driver.accepted == 2000);
    let restarts = driver.restarts;
    let directory = cluster.directory.clone();
    driver.before_commit = Some(Box::new(move || freeze(&directory)));
    driver.until("the commit is under way", Driver::try_commit);
    driver.until("the commit is in doubt", |driver| driver.is_awaiting);
    driver.until("it is said", |driver| driver.failure().contains("no answer in time"));
    eprintln!("{}", driver.failure());
    for node in ["1", "2", "3"] {
        cluster.script(&["thaw", &cluster.directory, node]);
    }
    driver.until_all_is_committed();
    assert_eq!(driver.restarts - restarts, 1, "the brokers did not make it");
    driver.add(&topic, 1000);
    driver.until_all_is_committed();
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 3000);
    assert_eq!(driver.failure(), "");
}

#[test]
fn records_without_a_state_directory_arrive_and_are_acknowledged_one_by_one() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("once");
    cluster.create(&topic, &[]);
    let mut driver = open(&cluster.settings(), &topic, None).unwrap();
    assert!(driver.sink.receiver().is_none());
    driver.add(&topic, 20_000);
    driver.until_all_is_acknowledged();
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_uncommitted"), 20_000);
}

#[test]
fn a_topic_that_is_missing_is_said_and_found_when_it_is_there() {
    let Some(cluster) = Cluster::find() else { return };
    for journal in [Some(journal("missing")), None] {
        let is_kept = journal.is_some();
        let topic = name_of("missing");
        let mut driver = open(&cluster.settings(), &topic, journal).unwrap();
        driver.add(&topic, 10);
        driver.until("it is said", |driver| driver.failure().contains("does not exist"));
        assert!(driver.failure().contains(&topic), "{}", driver.failure());
        cluster.create(&topic, &[]);
        match is_kept {
            true => driver.until_all_is_committed(),
            false => driver.until_all_is_acknowledged(),
        }
        assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 10);
    }
}

#[test]
fn a_record_that_the_brokers_refuse_is_left_out_alone_and_batches_get_smaller() {
    let Some(cluster) = Cluster::find() else { return };
    for journal in [Some(journal("refused")), None] {
        let is_kept = journal.is_some();
        let topic = name_of("refused");
        cluster.create(&topic, &[("max.message.bytes", "20000")]);
        let settings = Kafka { on_refused: crate::config::OnRefused::Skip, ..cluster.settings() };
        let mut driver = open(&settings, &topic, journal).unwrap();
        for number in 0..2000 {
            let bytes = if number == 1234 { 30_000 } else { 300 };
            let text = format!("{}{number}", "x".repeat(bytes));
            driver.records.push((topic.clone(), "f".to_owned(), text));
        }
        match is_kept {
            true => driver.until_all_is_committed(),
            false => driver.until_all_is_acknowledged(),
        }
        let found = consume(&cluster.bootstrap, &topic, "read_committed");
        let mut numbers = found["f"].clone();
        eprintln!("kept {is_kept}: {} records, restarts {}", numbers.len(), driver.restarts);
        assert_eq!(driver.sink.state().refused, 1);
        if !is_kept {
            numbers.sort_unstable();
        }
        assert!(numbers.into_iter().eq((0..2000).filter(|&number| number != 1234)));
    }
}

#[test]
fn a_record_that_the_brokers_refuse_is_a_failure_until_they_take_it_and_not_longer() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("held");
    cluster.create(&topic, &[("max.message.bytes", "20000")]);
    let mut settings = cluster.settings();
    // A record that is larger than a batch is known to be too large by itself.
    settings.properties.insert("batch.size".to_owned(), "10000".to_owned());
    let mut driver = open(&settings, &topic, Some(journal("held"))).unwrap();
    driver.add(&topic, 100);
    driver.records[50].2 = format!("{}50", "x".repeat(30_000));
    driver.until("those before it are committed", |driver| {
        driver.try_commit();
        driver.journal.reached == 50 && driver.commit.is_none()
    });
    let is_refused = |driver: &Driver| driver.failure().contains("a record is refused");
    let errors = driver.sink.state().errors;
    driver.until("it was tried again in vain", |driver| {
        driver.try_commit();
        assert!(is_refused(driver), "{:?}", driver.sink.state());
        driver.sink.state().errors > errors
    });
    cluster.alter(&topic, &[("max.message.bytes", "100000")]);
    driver.until_all_is_committed();
    assert_eq!(driver.failure(), "");
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 100);
}

#[test]
fn a_commit_that_the_journal_could_not_store_is_known_to_be_made() {
    let Some(cluster) = Cluster::find() else { return };
    let topic = name_of("unstored");
    cluster.create(&topic, &[]);
    let settings = Kafka { transaction_timeout: Duration::from_secs(3), ..cluster.settings() };
    let mut driver = open(&settings, &topic, Some(journal("unstored"))).unwrap();
    driver.add(&topic, 100);
    driver.until_all_is_committed();
    let number = driver.journal.number;
    driver.is_stored = IsStored::No;
    driver.add(&topic, 100);
    driver.until_all_is_committed();
    assert_eq!(driver.journal.number, number);
    // The answer is lost.
    driver.add(&topic, 100);
    driver.until("all arrived", |driver| driver.accepted == 300 && driver.try_commit());
    let commit = driver.commit.take().unwrap();
    commit.recv().unwrap().unwrap();
    driver.is_awaiting = true;
    let restarts = driver.restarts;
    driver.until("it is decided", |driver| !driver.is_awaiting);
    assert_eq!((driver.restarts, driver.journal.reached), (restarts, 300));
    driver.is_stored = IsStored::Yes;
    driver.add(&topic, 100);
    driver.until_all_is_committed();
    assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 400);
    assert_eq!(
        cluster.number(&driver.journal.identity, &topic),
        Some(i64::try_from(driver.journal.number).unwrap())
    );
}

#[test]
fn too_few_replicas_are_said_and_records_wait() {
    let Some(cluster) = Cluster::find() else { return };
    for journal in [None, Some(journal("replicas"))] {
        let is_kept = journal.is_some();
        let topic = name_of("replicas");
        cluster.create(&topic, &[("min.insync.replicas", "3")]);
        let mut driver = open(&cluster.settings(), &topic, journal).unwrap();
        driver.add(&topic, 10);
        driver.until("all is accepted", |driver| driver.accepted == 10);
        cluster.script(&["kill", &cluster.directory, "2"]);
        driver.add(&topic, 100);
        driver.until("it is said", |driver| {
            if is_kept {
                driver.try_commit();
            }
            driver.failure().contains("in sync")
        });
        eprintln!("{}", driver.failure());
        cluster.up("2", &mut driver);
        match is_kept {
            true => driver.until_all_is_committed(),
            false => driver.until_all_is_acknowledged(),
        }
        assert_eq!(driver.failure(), "");
        assert_exactly_once(&consume(&cluster.bootstrap, &topic, "read_committed"), 110);
    }
}
