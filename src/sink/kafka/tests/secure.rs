//! Against three nodes of Apache Kafka with TLS, SCRAM and access control:
//! `KAFKA_SECURE_CLUSTER=DIR` names one that `KAFKA_SECURITY=sasl_ssl scripts/brokers` has started.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::config::{Certificates, Sasl, Security};
use crate::sink::tests::skipping::skip;

struct Cluster {
    directory: PathBuf,
    brokers: Vec<String>,
    files: tempfile::TempDir,
}

/// What an administrator does, by Python: `ADMIN` is a client, `USER` the name that is given
/// rights.
const PRELUDE: &str = "
import sys
from confluent_kafka.admin import *
BROKERS, CA, TOPIC, ID = sys.argv[1:5]
ADMIN = AdminClient({'bootstrap.servers': BROKERS, 'security.protocol': 'SASL_SSL',
    'ssl.ca.location': CA,
    'sasl.mechanism': 'SCRAM-SHA-512', 'sasl.username': 'admin', 'sasl.password': 'admin-secret'})
def wait(futures):
    for future in futures.values(): future.result()
def allow(kind, name, *operations):
    wait(ADMIN.create_acls([AclBinding(kind, name, ResourcePatternType.LITERAL,
        'User:manytail', '*',
        operation, AclPermissionType.ALLOW) for operation in operations]))
";

impl Cluster {
    fn find() -> Option<Cluster> {
        let Some(directory) = std::env::var_os("KAFKA_SECURE_CLUSTER").map(PathBuf::from) else {
            skip("KAFKA_SECURE_CLUSTER names no cluster of Kafka");
            return None;
        };
        let ports = std::fs::read_to_string(directory.join("ports")).expect("a cluster");
        let first: u16 = ports.trim().parse().expect("a port");
        let brokers = (1..=3).map(|node| format!("127.0.0.1:{}", first + node)).collect();
        Some(Cluster { directory, brokers, files: tempfile::tempdir().expect("a directory") })
    }

    fn settings(&self, password: &str) -> Kafka {
        self.set_password(password);
        Kafka {
            brokers: self.brokers.clone(),
            security: Security::SaslTls,
            certificates: Certificates {
                ca_file: Some(self.directory.join("ca.pem")),
                ..Certificates::default()
            },
            sasl: Some(Sasl::ScramSha512),
            user: Some("manytail".to_owned()),
            password_file: Some(self.password_file()),
            ..Kafka::default()
        }
    }

    fn password_file(&self) -> PathBuf {
        self.files.path().join("password")
    }

    fn set_password(&self, password: &str) {
        std::fs::write(self.password_file(), format!("{password}\n")).expect("a file");
    }

    fn administer(&self, topic: &str, identity: &str, program: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/brokers");
        let python = Command::new(script).arg("python").output().expect("scripts/brokers");
        let python = String::from_utf8(python.stdout).expect("a path");
        let output = Command::new(python.trim())
            .args(["-c", &format!("{PRELUDE}{program}"), &self.brokers.join(",")])
            .arg(self.directory.join("ca.pem"))
            .args([topic, identity])
            .output()
            .expect("python");
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn each_right_that_is_missing_is_named_until_it_is_given() {
    let Some(cluster) = Cluster::find() else { return };
    let (topic, identity) = (name_of("rights"), name_of("manytail-rights"));
    let journal = Journal { identity: identity.clone(), ..Journal::default() };
    let mut driver = open(&cluster.settings("wrong-secret"), &topic, Some(journal)).unwrap();
    driver.add(&topic, 100);
    let mut until = |sentence: &str| {
        let began = clock::now().instant;
        driver.until(sentence, |driver| {
            driver.try_commit();
            driver.failure().contains(sentence)
        });
        eprintln!("{:?}: {}", clock::now().instant - began, driver.failure());
        assert!(!driver.failure().contains("secret"), "{}", driver.failure());
    };
    until("user manytail is not accepted");
    std::fs::remove_file(cluster.password_file()).unwrap();
    until("password: No such file");
    cluster.set_password("manytail-secret");
    until(&format!("may not use the transactional id {identity}"));
    let administer = |program: &str| cluster.administer(&topic, &identity, program);
    administer(
        "allow(ResourceType.TRANSACTIONAL_ID, ID, AclOperation.WRITE, AclOperation.DESCRIBE)",
    );
    until(&format!("may not write to topic {topic}"));
    administer("wait(ADMIN.create_topics([NewTopic(TOPIC, 4, 3)]))");
    administer("allow(ResourceType.TOPIC, TOPIC, AclOperation.DESCRIBE)");
    until(&format!("may not commit as group {identity}"));
    administer("allow(ResourceType.GROUP, ID, AclOperation.READ)");
    until("may not write to");
    administer("allow(ResourceType.TOPIC, TOPIC, AclOperation.WRITE)");
    until("Read on");
    administer("allow(ResourceType.TOPIC, TOPIC, AclOperation.READ)");
    driver.until_all_is_committed();
    assert_eq!(driver.failure(), "");
}

#[test]
fn a_password_that_is_sent_as_it_is_and_without_a_newline_is_accepted() {
    let Some(cluster) = Cluster::find() else { return };
    let (topic, identity) = (name_of("plain"), name_of("manytail-plain"));
    let program = "
wait(ADMIN.create_topics([NewTopic(TOPIC, 4, 3)]))
wait(ADMIN.create_acls([AclBinding(ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL,
    'User:plain', '*',
    AclOperation.ALL, AclPermissionType.ALLOW)]))";
    cluster.administer(&topic, &identity, program);
    let settings = Kafka {
        sasl: Some(Sasl::Plain),
        user: Some("plain".to_owned()),
        ..cluster.settings("plain-secret")
    };
    std::fs::write(cluster.password_file(), "plain-secret").unwrap();
    let mut driver = open(&settings, &topic, None).unwrap();
    driver.add(&topic, 100);
    driver.until_all_is_acknowledged();
}

#[test]
fn a_broker_that_nobody_vouches_for_and_one_without_an_address_are_said() {
    let Some(cluster) = Cluster::find() else { return };
    let said = |kafka: &Kafka, sentence: &str| {
        let mut driver = open(kafka, "jobs", None).unwrap();
        driver.until(sentence, |driver| driver.failure().contains(sentence));
        eprintln!("{}", driver.failure());
    };
    let mut settings = cluster.settings("manytail-secret");
    settings.certificates.ca_file = None;
    said(&settings, "TLS fails");
    settings.certificates.ca_file = Some(cluster.files.path().join("missing.pem"));
    said(&settings, "missing.pem: No such file");
    let mut settings = cluster.settings("manytail-secret");
    settings.security = Security::Plain;
    said(&settings, "do they expect TLS");
    settings.brokers = vec!["no-such-host.invalid:9092".to_owned()];
    said(&settings, "no-such-host.invalid");
    settings.brokers = vec!["127.0.0.1:9".to_owned()];
    said(&settings, "Connection refused");
}
