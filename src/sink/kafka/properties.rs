//! What a client is made from: the settings, as properties of the client library.
//!
//! In: the table `[kafka]`, the identity. Out: the configuration of a producer or of the group that
//! has its number.
//! Always holds: what the guarantees depend on is set last. The secret is read from its file for
//! each client, and is in none of our errors.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::producer::{BaseProducer, DefaultProducerContext};

use super::failure::{Failure, Kind, Names};
use crate::config::{
    Compression, Kafka, Routes, Sasl, Security, name_of, refused_property, refused_value,
};
use crate::sys;

/// The library's queue takes this much: as much as the engine has on its way at once.
const QUEUE_KIB: &str = "65536";
/// And this many records, so that very short ones do not take a multiple of their size.
const QUEUE_RECORDS: u32 = 500_000;
/// What the library puts into one batch, unless the settings say otherwise.
const BATCH_BYTES: u32 = 1_000_000;
/// The library collects records of a partition for this long, unless the settings say otherwise, or
/// it is told to send them: longer than an answer takes, for it looks without a pause at records
/// that it has for longer while their partition waits for one.
const LINGER: Duration = Duration::from_millis(50);
/// Records are added to those that are on their way for this long.
const ROUND: Duration = Duration::from_millis(4);
/// Both names of that property.
const LINGER_NAMES: [&str; 2] = ["linger.ms", "queue.buffering.max.ms"];
/// A broker that is back is found within this time, and a request is tried again: well within the
/// shortest transaction.
const BACKOFF_MILLISECONDS: &str = "500";
/// A producer tells this often how long brokers hold its requests back: nothing else does.
const STATISTICS_MILLISECONDS: &str = "10000";

/// Longer than any broker lets a transaction take (`transaction.max.timeout.ms`), in the library's
/// range.
const TRIAL_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// What a client is made from.
#[derive(Debug, Clone)]
pub(super) struct Properties {
    kafka: Kafka,
    pub(super) names: Names,
    /// With transactions.
    pub(super) identity: Option<String>,
    /// Most bytes of a batch, if a topic takes smaller ones than the library makes.
    batch_bytes: Option<u32>,
    /// Most records in the library's queue.
    pub(super) queue_records: u32,
    /// For how long the library collects records, unless the settings say that.
    pub(super) collects_for: Duration,
}

impl Properties {
    /// Checks what can be checked without a broker.
    ///
    /// # Errors
    /// With the reason why no client can be made.
    pub(super) fn new(kafka: &Kafka) -> Result<Self, String> {
        for (name, value) in &kafka.properties {
            let refused = refused_property(name).or_else(|| refused_value(name, value));
            if let Some(reason) = refused {
                return Err(format!("{name} in [kafka.properties]: {reason}"));
            }
        }
        if LINGER_NAMES.iter().all(|&name| kafka.properties.contains_key(name)) {
            let names = LINGER_NAMES.join(" and ");
            return Err(format!("{names} in [kafka.properties] are the same: set one of them"));
        }
        check_build(kafka)?;
        if kafka.brokers.is_empty() {
            return Err("`brokers` in [kafka] names none".to_owned());
        }
        let is_sasl = matches!(kafka.security, Security::Sasl | Security::SaslTls);
        if is_sasl && (kafka.sasl.is_none() || kafka.user.is_none()) {
            return Err("security with sasl needs `sasl` and `user` in [kafka]".to_owned());
        }
        if is_sasl && kafka.password_file.is_none() {
            return Err("security with sasl needs password_file in [kafka]".to_owned());
        }
        let names = Names {
            brokers: kafka.brokers.join(","),
            user: kafka.user.clone().unwrap_or_default(),
            ..Names::default()
        };
        let properties = Properties {
            kafka: kafka.clone(),
            names,
            identity: None,
            batch_bytes: None,
            queue_records: QUEUE_RECORDS,
            collects_for: LINGER,
        };
        properties.check()?;
        Ok(properties)
    }

    /// Says which topics records and offsets go to.
    ///
    /// # Errors
    /// When commits have none.
    pub(super) fn aim(&mut self, routes: &Routes, is_transactional: bool) -> Result<(), String> {
        self.names.topic = routes.destination.is_fixed().then(|| {
            let prefix = routes.destination.prefix(routes.host.as_bytes());
            String::from_utf8_lossy(&prefix).into_owned()
        });
        if is_transactional {
            let offsets_topic = self.kafka.offsets_topic.as_ref().or(self.names.topic.as_ref());
            self.names.offsets_topic = offsets_topic.cloned().ok_or_else(|| {
                "the topic differs between files: [kafka] needs offsets_topic".to_owned()
            })?;
        }
        Ok(())
    }

    /// With transactions: who we are.
    pub(super) fn identify(&mut self, identity: String) {
        self.names.identity.clone_from(&identity);
        self.identity = Some(identity);
    }

    /// The same for a client that only finds out whether it could: brokers look whether the
    /// identity may be used, and then refuse a transaction that lasts so long. Nothing is made.
    pub(super) fn for_a_trial(&self) -> Self {
        let mut properties = self.clone();
        properties.kafka.transaction_timeout = TRIAL_TIMEOUT;
        properties
    }

    /// Lets the library look at the properties: a client without brokers connects to nobody.
    fn check(&self) -> Result<(), String> {
        let mut config = self.base();
        if self.kafka.transactions {
            self.transactional(&mut config, "check");
        } else {
            idempotent(&mut config);
        }
        config
            .create_with_context::<_, BaseProducer>(DefaultProducerContext)
            .map(drop)
            .map_err(|error| Failure::of(&error, None, &self.names).why)
    }

    /// The configuration of a producer.
    pub(super) fn producer(&self) -> Result<ClientConfig, Failure> {
        let mut config = self.base();
        self.connect(&mut config)?;
        match &self.identity {
            Some(identity) => self.transactional(&mut config, identity),
            None => idempotent(&mut config),
        }
        Ok(config)
    }

    /// The configuration of a client that only asks.
    pub(super) fn asking(&self) -> Result<ClientConfig, Failure> {
        let mut config = ClientConfig::new();
        self.share(&mut config);
        self.connect(&mut config)?;
        Ok(config)
    }

    /// The configuration of a consumer that asks for the number of the group, and consumes nothing.
    pub(super) fn group(&self, identity: &str) -> Result<ClientConfig, Failure> {
        let mut config = self.asking()?;
        config.set("group.id", identity);
        config.set("enable.auto.commit", "false");
        // The question for the number waits for transactions that are about to end.
        config.set("isolation.level", "read_committed");
        Ok(config)
    }

    /// Most bytes of a batch. A larger record is in one of its own.
    pub(super) fn batch_bytes(&self) -> u32 {
        let set = || self.kafka.properties.get("batch.size").and_then(|text| text.parse().ok());
        self.batch_bytes.or_else(set).unwrap_or(BATCH_BYTES)
    }

    /// For the next client.
    pub(super) fn set_batch_bytes(&mut self, bytes: u32) {
        self.batch_bytes = Some(bytes);
    }

    /// For how long the library collects records of a partition, if the settings say that.
    pub(super) fn linger(&self) -> Option<Duration> {
        let set = LINGER_NAMES.iter().find_map(|&name| self.kafka.properties.get(name));
        set.and_then(|text| text.parse::<f64>().ok())
            .and_then(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1000.0).ok())
    }

    /// For how long records are added to those that are on their way: less than the library
    /// collects them for.
    pub(super) fn round(&self) -> Duration {
        self.linger().map_or(ROUND, |linger| linger * 4 / 5)
    }

    /// How long a transaction may take.
    pub(super) fn transaction_timeout(&self) -> Duration {
        self.kafka.transaction_timeout
    }

    /// What every producer has.
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("partitioner", "murmur2_random");
        if !self.kafka.properties.contains_key(LINGER_NAMES[1]) {
            config.set(LINGER_NAMES[0], self.collects_for.as_millis().to_string());
        }
        config.set("queue.buffering.max.kbytes", QUEUE_KIB);
        config.set("queue.buffering.max.messages", self.queue_records.to_string());
        config.set("topic.metadata.propagation.max.ms", "10000");
        self.share(&mut config);
        config.set("statistics.interval.ms", STATISTICS_MILLISECONDS);
        if let Some(bytes) = self.batch_bytes {
            config.set("batch.size", bytes.to_string());
        }
        config.set("compression.type", name_of(&Compression::NAMES, &self.kafka.compression));
        config
    }

    /// What every client has.
    fn share(&self, config: &mut ClientConfig) {
        config.set("client.id", "manytail");
        config.set("reconnect.backoff.ms", "50");
        config.set("reconnect.backoff.max.ms", BACKOFF_MILLISECONDS);
        config.set("retry.backoff.ms", "50");
        config.set("retry.backoff.max.ms", BACKOFF_MILLISECONDS);
        for (name, value) in &self.kafka.properties {
            config.set(name, value);
        }
        config.set("statistics.interval.ms", "0");
        // Its own lines are for those who look for an error in it.
        config.set_log_level(RDKafkaLogLevel::Info);
    }

    /// Where the brokers are, and how they know us.
    fn connect(&self, config: &mut ClientConfig) -> Result<(), Failure> {
        let Kafka { security, certificates, sasl, user, password_file, .. } = &self.kafka;
        config.set("bootstrap.servers", self.kafka.brokers.join(","));
        let protocol = match security {
            Security::Plain => "plaintext",
            Security::Tls => "ssl",
            Security::Sasl => "sasl_plaintext",
            Security::SaslTls => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if matches!(security, Security::Tls | Security::SaslTls) {
            // Without one: where the distributions have it.
            config.set("ssl.ca.location", "probe");
            let files = [
                ("ca_file", "ssl.ca.location", &certificates.ca_file),
                ("certificate_file", "ssl.certificate.location", &certificates.certificate_file),
                ("key_file", "ssl.key.location", &certificates.key_file),
            ];
            for (setting, property, file) in files {
                if let Some(path) = file {
                    // The library's error would not name it.
                    read(setting, path)?;
                    config.set(property, path_text(path)?);
                }
            }
        }
        let (Security::Sasl | Security::SaslTls, Some(sasl)) = (security, sasl) else {
            return Ok(());
        };
        config.set("sasl.mechanism", name_of(&Sasl::NAMES, sasl));
        let user = user.clone().unwrap_or_default();
        let Some(path) = password_file else {
            return Ok(());
        };
        if *sasl == Sasl::Gssapi {
            config.set("sasl.kerberos.principal", user);
            config.set("sasl.kerberos.keytab", path_text(path)?);
        } else {
            config.set("sasl.username", user);
            config.set("sasl.password", read_secret(path)?);
        }
        Ok(())
    }

    fn transactional(&self, config: &mut ClientConfig, identity: &str) {
        let timeout = self.kafka.transaction_timeout.as_millis().to_string();
        config.set("transactional.id", identity);
        // A record that does not arrive within a transaction is of no use.
        config.set("message.timeout.ms", &timeout);
        config.set("transaction.timeout.ms", timeout);
        guarantee(config);
    }
}

/// Without transactions a record is tried until it arrives.
fn idempotent(config: &mut ClientConfig) {
    config.set("message.timeout.ms", "0");
    guarantee(config);
}

fn guarantee(config: &mut ClientConfig) {
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
}

/// What this build cannot do.
fn check_build(kafka: &Kafka) -> Result<(), String> {
    let needs = |what: &str, feature: &str| {
        Err(format!("{what} needs a build with `cargo build --features {feature}`"))
    };
    let is_tls = matches!(kafka.security, Security::Tls | Security::SaslTls);
    let is_scram = matches!(kafka.sasl, Some(Sasl::ScramSha256 | Sasl::ScramSha512));
    if (is_tls || is_scram) && !sys::kafka::tls_serves_threads() {
        return Err("TLS and SCRAM are not safe in this static build, whose OpenSSL is one for \
                    programs without threads: build it with CFLAGS=-DOPENSSL_THREADS, as \
                    scripts/package does"
            .to_owned());
    }
    if cfg!(not(feature = "kafka-tls")) {
        if is_tls {
            return needs("TLS", "kafka-tls");
        }
        if is_scram {
            return needs("SCRAM", "kafka-tls");
        }
        if matches!(kafka.compression, Compression::Zstd | Compression::Gzip) {
            return needs("this compression", "kafka-tls");
        }
    }
    if cfg!(not(feature = "kafka-gssapi")) && kafka.sasl == Some(Sasl::Gssapi) {
        return needs("Kerberos", "kafka-gssapi");
    }
    Ok(())
}

/// A password, without the newline that editors put behind it.
fn read_secret(path: &Path) -> Result<String, Failure> {
    const SETTING: &str = "password_file";
    let text = String::from_utf8(read(SETTING, path)?)
        .map_err(|_| of_file(SETTING, path, "it is not UTF-8"))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() || secret.contains('\0') {
        return Err(of_file(SETTING, path, "it has no password"));
    }
    Ok(secret.to_owned())
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| of_file(setting, path, &error.to_string()))
}

fn of_file(setting: &str, path: &Path, why: &str) -> Failure {
    Failure::local(Kind::Access, format!("{setting} {}: {why}", path.display()))
}

fn path_text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        let why = format!("{}: the client library takes only paths in UTF-8", path.display());
        Failure::local(Kind::Access, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka() -> Kafka {
        Kafka { brokers: vec!["k1:9092".to_owned(), "k2:9092".to_owned()], ..Kafka::default() }
    }

    fn texts<'a>(config: &'a ClientConfig, names: &[&str]) -> Vec<&'a str> {
        names.iter().map(|name| config.get(name).unwrap_or("nothing")).collect()
    }

    #[test]
    fn what_the_guarantees_depend_on_is_set() {
        let mut kafka = kafka();
        kafka.properties.insert("queue.buffering.max.ms".to_owned(), "7".to_owned());
        kafka.properties.insert("client.id".to_owned(), "mine".to_owned());
        kafka.transaction_timeout = Duration::from_secs(20);
        let mut properties = Properties::new(&kafka).unwrap();
        let guarantees =
            ["acks", "enable.idempotence", "message.timeout.ms", "transactional.id", "linger.ms"];
        let config = properties.producer().unwrap();
        assert_eq!(texts(&config, &guarantees), ["all", "true", "0", "nothing", "nothing"]);
        assert_eq!(properties.linger(), Some(Duration::from_millis(7)));
        kafka.properties.insert("linger.ms".to_owned(), "1.5".to_owned());
        assert!(Properties::new(&kafka).unwrap_err().contains("set one of them"));
        kafka.properties.remove("queue.buffering.max.ms");
        let properties_of = |kafka: &Kafka| Properties::new(kafka).unwrap();
        assert_eq!(properties_of(&kafka).linger(), Some(Duration::from_micros(1500)));
        assert_eq!(properties_of(&kafka).round(), Duration::from_micros(1200));
        kafka.properties.clear();
        assert_eq!((properties_of(&kafka).linger(), properties_of(&kafka).round()), (None, ROUND));
        assert_eq!(
            texts(&config, &["bootstrap.servers", "client.id", "batch.size"]),
            ["k1:9092,k2:9092", "mine", "nothing"]
        );
        properties.identity = Some("manytail-n1".to_owned());
        properties.set_batch_bytes(5000);
        let config = properties.producer().unwrap();
        assert_eq!(texts(&config, &guarantees)[..4], ["all", "true", "20000", "manytail-n1"]);
        assert_eq!(texts(&config, &["transaction.timeout.ms", "batch.size"]), ["20000", "5000"]);
        let config = properties.group("manytail-n1").unwrap();
        assert_eq!(
            texts(&config, &["group.id", "isolation.level", "acks"]),
            ["manytail-n1", "read_committed", "nothing"]
        );
    }

    #[test]
    fn a_password_is_read_for_each_client_and_is_in_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let kafka = Kafka {
            security: Security::Sasl,
            sasl: Some(Sasl::Plain),
            user: Some("mt".to_owned()),
            password_file: Some(path.clone()),
            ..kafka()
        };
        let properties = Properties::new(&kafka).unwrap();
        let why = properties.producer().unwrap_err().why;
        assert!(why.contains("password_file") && why.contains("No such file"), "{why}");
        for (content, secret) in
            [("a b\n", "a b"), ("a b", "a b"), ("x\r\n", "x"), ("y\n\n", "y\n")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(properties.producer().unwrap().get("sasl.password"), Some(secret));
        }
        for content in [&b""[..], b"\n", b"secret\xff", b"secret\0"] {
            std::fs::write(&path, content).unwrap();
            let why = properties.producer().unwrap_err().why;
            assert!(why.contains("password_file") && !why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn what_this_build_cannot_do_is_said_with_the_build_that_can() {
        let mut kafka = Kafka { sasl: Some(Sasl::Gssapi), ..kafka() };
        if cfg!(not(feature = "kafka-gssapi")) {
            assert!(Properties::new(&kafka).unwrap_err().contains("--features kafka-gssapi"));
        }
        kafka.sasl = None;
        kafka.security = Security::Tls;
        let result = Properties::new(&kafka);
        assert_eq!(result.is_ok(), cfg!(feature = "kafka-tls"));
        assert!(result.err().is_none_or(|why| why.contains("--features kafka-tls")));
        let kafka = Kafka { security: Security::Sasl, ..Kafka::default() };
        assert!(Properties::new(&kafka).unwrap_err().contains("brokers"));
    }
}
