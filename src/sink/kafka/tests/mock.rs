//! Against the client library's simulated cluster, which can fail in chosen ways.

use super::super::sending::STREAM_RECORDS;
use super::*;

use rdkafka::message::Headers;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::config::{Header, OnRefused};
use crate::sink::Found;
use crate::sink::kafka::try_out;

/// A cluster of three brokers with the topic `jobs`.
fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(3).expect("a simulated cluster");
    cluster.create_topic("jobs", 4, 3).expect("a topic");
    cluster
}

fn settings(cluster: &MockCluster<'_, DefaultProducerContext>) -> Kafka {
    let brokers = cluster.bootstrap_servers();
    Kafka { brokers: brokers.split(',').map(str::to_owned).collect(), ..Kafka::default() }
}

#[test]
fn reports_out_of_order_acknowledge_a_prefix() {
    let cluster = cluster();
    let mut driver = open(&settings(&cluster), "jobs", None).unwrap();
    // The reports of one partition come last.
    cluster.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    driver.add("jobs", 3000);
    let mut seen = Vec::new();
    driver.until("all is acknowledged", |driver| {
        seen.push(driver.acknowledged());
        driver.acknowledged() == 3000
    });
    assert!(seen.is_sorted(), "what is acknowledged stays so: {seen:?}");
    assert_eq!(driver.restarts, 0);
    assert_exactly_once(&consume(&cluster.bootstrap_servers(), "jobs", "read_committed"), 3000);
}

#[test]
fn a_queue_that_is_full_takes_more_when_brokers_have_confirmed_some() {
    let cluster = cluster();
    let change = |properties: &mut Properties| properties.queue_records = 100;
    let mut driver = open_with(&settings(&cluster), "jobs", None, change).unwrap();
    driver.add("jobs", 2000);
    let mut most = 0;
    driver.until("all is acknowledged", |driver| {
        most = most.max(driver.accepted - driver.acknowledged());
        driver.acknowledged() == 2000
    });
    assert!((1..=400).contains(&most), "{most} were on their way at once");
    assert_exactly_once(&consume(&cluster.bootstrap_servers(), "jobs", "read_committed"), 2000);
}

#[test]
fn a_few_records_wait_until_those_before_them_have_arrived() {
    let cluster = cluster();
    let settings = settings(&cluster);
    let round = Properties::new(&settings).unwrap().round();
    let mut driver = open(&settings, "jobs", None).unwrap();
    driver.add("jobs", 10);
    driver.until_all_is_acknowledged();
    let slow = Duration::from_secs(1);
    (1..=3).for_each(|broker| cluster.broker_round_trip_time(broker, slow).unwrap());
    driver.add("jobs", 10);
    driver.until("they are on their way", |driver| driver.accepted == 20);
    let sent = Instant::now();
    driver.until("no more are added to them", |_| sent.elapsed() > 2 * round);
    driver.add("jobs", 10);
    driver.until("they have arrived", |driver| {
        let has_arrived = driver.acknowledged() == 20;
        assert!(has_arrived || driver.accepted == 20, "{} were taken", driver.accepted);
        has_arrived
    });
    driver.until_all_is_acknowledged();
    driver.add("jobs", STREAM_RECORDS);
    driver.until("many are on their way", |driver| driver.accepted == driver.records.len());
    let sent = Instant::now();
    driver.until("time passes", |_| sent.elapsed() > 2 * round);
    driver.add("jobs", 10);
    driver.until("others follow", |driver| driver.accepted == driver.records.len());
    assert!(driver.acknowledged() < driver.accepted, "they did not wait for those before");
    driver.until_all_is_acknowledged();
}

#[test]
fn a_few_records_are_sent_at_once_however_long_the_library_collects_them() {
    let cluster = cluster();
    let change = |properties: &mut Properties| {
        properties.collects_for = Duration::from_secs(600);
    };
    let mut driver = open_with(&settings(&cluster), "jobs", None, change).unwrap();
    for _ in 0..5 {
        driver.add("jobs", 3);
        driver.until_all_is_acknowledged();
    }
}

#[test]
fn brokers_that_go_and_come_back_are_said_and_nothing_is_lost() {
    let cluster = cluster();
    let mut driver = open(&settings(&cluster), "jobs", None).unwrap();
    driver.add("jobs", 100);
    driver.until_all_is_acknowledged();
    assert!(driver.sink.state().is_connected);
    (1..=3).for_each(|broker| cluster.broker_down(broker).unwrap());
    driver.add("jobs", 100);
    driver.until("it is said", |driver| driver.failure().contains("no broker can be reached"));
    assert!(!driver.sink.state().is_connected);
    (1..=3).for_each(|broker| cluster.broker_up(broker).unwrap());
    driver.until_all_is_acknowledged();
    assert!(driver.sink.state().is_connected, "{:?}", driver.sink.state());
    assert_exactly_once(&consume(&cluster.bootstrap_servers(), "jobs", "read_committed"), 200);
}

#[test]
fn brokers_that_are_away_at_the_start_are_waited_for() {
    let cluster = cluster();
    (1..=3).for_each(|broker| cluster.broker_down(broker).unwrap());
    let mut driver = open(&settings(&cluster), "jobs", None).unwrap();
    driver.add("jobs", 10);
    driver.until("it is said", |driver| driver.failure().contains("no broker can be reached"));
    assert_eq!(driver.accepted, 0);
    (1..=3).for_each(|broker| cluster.broker_up(broker).unwrap());
    driver.until_all_is_acknowledged();
}

#[test]
fn a_record_that_the_client_refuses_stops_the_output_or_is_left_out() {
    let cluster = cluster();
    for on_refused in [OnRefused::Block, OnRefused::Skip] {
        let mut kafka = Kafka { on_refused, ..settings(&cluster) };
        kafka.properties.insert("message.max.bytes".to_owned(), "2000".to_owned());
        let mut driver = open(&kafka, "jobs", None).unwrap();
        driver.add("jobs", 10);
        driver.records[5].2 = format!("{}5", "x".repeat(3000));
        if on_refused == OnRefused::Block {
            driver.until("it is said", |driver| driver.failure().contains("a record is refused"));
            let failure = driver.failure();
            assert!(failure.contains("offset 5 of /jobs/a.log"), "{failure}");
            driver.until("the others arrive", |driver| driver.acknowledged() == 5);
            assert_eq!((driver.accepted, driver.failure()), (5, failure));
        } else {
            driver.until_all_is_acknowledged();
            assert_eq!((driver.sink.state().refused, driver.failure()), (1, String::new()));
        }
    }
    let found = consume(&cluster.bootstrap_servers(), "jobs", "read_committed");
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 5 + 9);
}

#[test]
fn records_that_fail_for_a_while_are_sent_again_and_those_that_arrived_are_not() {
    let cluster = cluster();
    let mut driver = open(&settings(&cluster), "jobs", None).unwrap();
    driver.add("jobs", 100);
    driver.until_all_is_acknowledged();
    // For good, as far as the library knows.
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    driver.add("jobs", 100);
    driver.until("it is said", |driver| driver.failure().contains("may not write to topic jobs"));
    driver.until_all_is_acknowledged();
    assert_eq!(driver.failure(), "");
    assert_eq!(driver.restarts, 1);
    let found = consume(&cluster.bootstrap_servers(), "jobs", "read_committed");
    let mut all: Vec<usize> = found.into_values().flatten().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..200), "each one once");
}

#[test]
fn each_record_carries_the_headers_that_are_asked_for() {
    let cluster = cluster();
    let headers = vec![Header::Offset, Header::Path, Header::Host, Header::File];
    let kafka = Kafka { headers, ..settings(&cluster) };
    let mut driver = open(&kafka, "jobs", None).unwrap();
    driver.add("jobs", 12);
    driver.until_all_is_acknowledged();
    let mut count = 0;
    read(&cluster.bootstrap_servers(), "jobs", "read_committed", |message| {
        let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
        let headers = message.headers().unwrap();
        let told: Vec<_> = headers
            .iter()
            .map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap()))
            .collect();
        let expected =
            [("offset", value), ("path", "/jobs/a.log"), ("host", "node1"), ("file", "1-2-0")];
        assert_eq!(told, expected);
        count += 1;
    });
    assert_eq!(count, 12);
}

/// Without a limit of our own the library waits for it as long as it is away.
#[test]
fn a_commit_ends_although_the_coordinator_of_the_group_stays_away() {
    let cluster = cluster();
    let identity = name_of("manytail-away");
    cluster.coordinator(MockCoordinator::Group(identity.clone()), 1).unwrap();
    cluster.coordinator(MockCoordinator::Transaction(identity.clone()), 2).unwrap();
    (0..4).for_each(|partition| cluster.partition_leader("jobs", partition, Some(2)).unwrap());
    let kafka = Kafka { transaction_timeout: Duration::from_secs(2), ..settings(&cluster) };
    let journal = Journal { identity, ..Journal::default() };
    let mut driver = open(&kafka, "jobs", Some(journal)).unwrap();
    driver.add("jobs", 100);
    driver.until("all is accepted", |driver| driver.accepted == 100);
    cluster.broker_down(1).unwrap();
    driver.until("all arrived", |driver| driver.try_commit());
    driver.until("the commit has failed", |driver| driver.is_awaiting);
    cluster.broker_up(1).unwrap();
    driver.until_all_is_committed();
    assert!(driver.restarts > 0 && driver.commits == 1);
}

#[test]
fn an_end_while_brokers_are_silent_takes_no_time() {
    let cluster = cluster();
    let mut driver = open(&settings(&cluster), "jobs", None).unwrap();
    driver.add("jobs", 10);
    driver.until_all_is_acknowledged();
    (1..=3).for_each(|broker| {
        cluster.broker_round_trip_time(broker, Duration::from_secs(30)).unwrap();
    });
    driver.add("jobs", 1000);
    driver.until("all is accepted", |driver| driver.accepted == 1010);
    let began = clock::now().instant;
    drop(driver);
    assert!(clock::now().instant - began < Duration::from_secs(2));
}

#[test]
fn settings_that_break_a_promise_or_that_the_library_does_not_know_open_nothing() {
    let refused = |name: &str, value: &str| {
        let mut kafka = Kafka { brokers: vec!["127.0.0.1:1".to_owned()], ..Kafka::default() };
        kafka.properties.insert(name.to_owned(), value.to_owned());
        let error = open(&kafka, "jobs", None).err().expect("it is refused");
        format!("{error}: {}", error.source)
    };
    assert!(refused("acks", "1").contains("acks in [kafka.properties]"));
    assert!(refused("linger.mist", "5").contains("linger.mist"));
    assert!(refused("linger.ms", "soon").contains("linger.ms"));
    assert!(refused("partitioner", "random").contains("order"));
    let kafka = Kafka { brokers: vec!["127.0.0.1:1".to_owned()], ..Kafka::default() };
    let error = open(&kafka, "jobs-{label:a}", Some(Journal::default())).err().unwrap();
    assert!(error.source.to_string().contains("offsets_topic"), "{error:?}");
}

/// What a trial finds, with a state directory.
fn tried(kafka: &Kafka, topic: &str) -> Vec<Found> {
    let (nats, routes) = (Nats::default(), routes(topic));
    let format = Format::Raw;
    let brokers = Brokers { kafka, nats: &nats, routes: Some(&routes), format, is_kept: true };
    try_out(&brokers, 1000)
}

#[test]
fn a_trial_says_what_a_run_would_and_makes_nothing() {
    let cluster = cluster();
    let kafka = settings(&cluster);
    let is_wrong =
        |found: &Found, why: &str| matches!(found, Found::Wrong(said) if said.contains(why));
    let found = tried(&kafka, "jobs");
    assert!(!found.iter().any(|found| is_wrong(found, "")), "{found:?}");
    let told = "topic jobs: 4 partitions, 3 copies";
    let is_told = |found: &Found| matches!(found, Found::Well(said) if said.contains(told));
    assert!(found.iter().any(is_told), "{found:?}");
    for _ in 0..2 {
        let found = tried(&kafka, "absent");
        let missing = "topic absent does not exist at the brokers: create it";
        assert!(found.iter().any(|found| is_wrong(found, missing)), "the trial made it: {found:?}");
    }
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[error]);
    let found = tried(&kafka, "jobs");
    assert!(is_wrong(&found[0], "may not use the transactional id manytail-node1-"), "{found:?}");
    assert!(found.iter().any(is_told), "the rest is looked at, too: {found:?}");
    let kafka = Kafka { offsets_topic: None, ..kafka };
    assert!(is_wrong(&tried(&kafka, "jobs-{label:a}")[0], "needs offsets_topic"));
    (1..=3).for_each(|broker| cluster.broker_down(broker).unwrap());
    let found = tried(&kafka, "jobs");
    assert!(is_wrong(&found[0], "no broker can be reached"), "{found:?}");
    assert_eq!(found.len(), 1);
}
