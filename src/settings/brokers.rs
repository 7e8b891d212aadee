//! The tables `[kafka]` and `[nats]`: all there is to say of each of their keys, once.
//!
//! In: nothing. Out: [`BROKERS`], rows like those of [`super::TABLE`]; of them are made the keys of
//! settings files, what `check` prints and the hints at what was meant; dist/doc/settings.md is
//! compared with it.
//! Always holds: a row is in the place of its [`Key`]; a secret has no row, only the name of a
//! file.

use super::kind::Kind;
use super::row::{Change, Key, Row, Scope};
use crate::config::{Compression, Header, OnRefused, Sasl, Security};

/// The table for the output `kafka:`.
pub(crate) const KAFKA: &str = "kafka";

/// The table for the output `nats:`.
pub(crate) const NATS: &str = "nats";

/// A setting that only a settings file can say, and that takes effect at a start. `default`: the
/// value; `in_words`: what applies without one.
const fn row(
    key: Key,
    (table, name): (&'static str, &'static str),
    kind: Kind,
    default: Result<&'static str, &'static str>,
    help: &'static str,
) -> Row {
    let (default, in_words) = match default {
        Ok(value) => (Some(value), None),
        Err(words) => (None, Some(words)),
    };
    Row {
        key,
        name,
        short: None,
        kind,
        default,
        in_words,
        scope: Scope::Table(table),
        change: Change::Restart,
        heading: table,
        help,
    }
}

/// All keys of both tables. A default that is no value is an `Err` with what applies then.
#[rustfmt::skip] // A table is read line by line.
pub static BROKERS: [Row; 29] = [
    row(Key::KafkaBrokers, (KAFKA, "kafka.brokers"), Kind::Brokers, Err("none"),
        "Some of the brokers; they tell of the others"),
    row(Key::KafkaTransactions, (KAFKA, "kafka.transactions"), Kind::Boolean, Ok("true"),
        "With a state directory, each commit is a transaction: every line once"),
    row(Key::KafkaTransactionTimeout, (KAFKA, "kafka.transaction_timeout"), Kind::Duration, Ok("10s"),
        "After this long without its end the brokers abort a transaction; `1s` to `15min`"),
    row(Key::KafkaOffsetsTopic, (KAFKA, "kafka.offsets_topic"), Kind::Topic, Err("the topic of the output"),
        "The topic to which the number of the last commit belongs, as a consumer's offset"),
    row(Key::KafkaKey, (KAFKA, "kafka.key"), Kind::RecordKey, Ok("file"),
        "The key of each record; those with the same one stay in order"),
    row(Key::KafkaHeaders, (KAFKA, "kafka.headers"), Kind::Several(&Header::NAMES), Err("none"),
        "What each record carries beside its value"),
    row(Key::KafkaCompression, (KAFKA, "kafka.compression"), Kind::Choice(&Compression::NAMES), Ok("none"),
        "How batches are compressed"),
    row(Key::KafkaSecurity, (KAFKA, "kafka.security"), Kind::Choice(&Security::NAMES), Ok("plain"),
        "How connections are protected, and whether with a user and a password"),
    row(Key::KafkaCaFile, (KAFKA, "kafka.ca_file"), Kind::File, Err("those of the system"),
        "Certificates in PEM of those who may vouch for the brokers"),
    row(Key::KafkaCertificateFile, (KAFKA, "kafka.certificate_file"), Kind::File, Err("none"),
        "Our own certificate in PEM"),
    row(Key::KafkaKeyFile, (KAFKA, "kafka.key_file"), Kind::File, Err("none"),
        "Its key in PEM, without a passphrase"),
    row(Key::KafkaSasl, (KAFKA, "kafka.sasl"), Kind::Choice(&Sasl::NAMES), Err("none"),
        "How user and password are proved"),
    row(Key::KafkaUser, (KAFKA, "kafka.user"), Kind::Name("NAME"), Err("none"),
        "Our name there; with `GSSAPI`, the principal"),
    row(Key::KafkaPasswordFile, (KAFKA, "kafka.password_file"), Kind::File, Err("none"),
        "The file with the password; with `GSSAPI`, the keytab"),
    row(Key::KafkaOnRefused, (KAFKA, "kafka.on_refused"), Kind::Choice(&OnRefused::NAMES), Ok("block"),
        "What happens to a record that the brokers refuse for good"),
    row(Key::KafkaProperties, (KAFKA, "kafka.properties"), Kind::Properties, Err("none"),
        "Properties for the client library (librdkafka), passed on as they are"),
    row(Key::NatsServers, (NATS, "nats.servers"), Kind::Servers, Err("none"),
        "Some of the servers; they tell of the others"),
    row(Key::NatsStream, (NATS, "nats.stream"), Kind::Stream, Err("the one with the subject"),
        "The stream that stores the subject"),
    row(Key::NatsCreate, (NATS, "nats.create"), Kind::Boolean, Ok("false"),
        "Make the stream if there is none"),
    row(Key::NatsReplicas, (NATS, "nats.replicas"), Kind::Count, Ok("3"),
        "How many servers store each record of a stream that is made; 1 to 5"),
    row(Key::NatsCredentialsFile, (NATS, "nats.credentials_file"), Kind::File, Err("none"),
        "The file of a user with a JWT and a seed (`.creds`)"),
    row(Key::NatsNkeyFile, (NATS, "nats.nkey_file"), Kind::File, Err("none"),
        "The file with the seed of an nkey"),
    row(Key::NatsUser, (NATS, "nats.user"), Kind::Name("NAME"), Err("none"),
        "Our name there"),
    row(Key::NatsPasswordFile, (NATS, "nats.password_file"), Kind::File, Err("none"),
        "The file with the password"),
    row(Key::NatsTls, (NATS, "nats.tls"), Kind::Boolean, Ok("false"),
        "Require TLS, also where servers are given as `nats://`"),
    row(Key::NatsCaFile, (NATS, "nats.ca_file"), Kind::File, Err("those of the system"),
        "Certificates in PEM of those who may vouch for the servers"),
    row(Key::NatsCertificateFile, (NATS, "nats.certificate_file"), Kind::File, Err("none"),
        "Our own certificate in PEM"),
    row(Key::NatsKeyFile, (NATS, "nats.key_file"), Kind::File, Err("none"),
        "Its key in PEM, without a passphrase"),
    row(Key::NatsOnRefused, (NATS, "nats.on_refused"), Kind::Choice(&OnRefused::NAMES), Ok("block"),
        "What happens to a record that the servers refuse for good"),
];
