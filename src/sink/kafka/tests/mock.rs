//! Against the client library's simulated cluster, which can fail in chosen ways.

use super::*;

use rdkafka::message::Headers;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::config::{Header, OnRefused};

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
