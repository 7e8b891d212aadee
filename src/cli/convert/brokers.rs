//! The tables `[kafka]` and `[nats]` -> how brokers are reached, and where the records of each file
//! go.
//!
//! In: values, each well-formed by itself. Out: [`Kafka`], [`Nats`], and the [`Routes`] of an
//! output that is a broker; or everything that does not fit.
//! Always holds: of a table that the output does not use, nothing is refused but what is malformed.

use std::time::Duration;

use crate::config::{
    BrokerError, Build, Certificates, Compression, ConfigError, Kafka, Nats, Output, Routes, Sasl,
    Security, TOPIC_BYTES_MAX, Template, parse_key,
};
use crate::settings::{Key, View};
use crate::sys::host;

/// How long the brokers may be told to wait for the end of a transaction.
const TRANSACTION_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(15 * 60);

/// How many servers may store each record of a stream.
const REPLICAS: std::ops::RangeInclusive<u32> = 1..=5;

/// The files of one table, in the order of [`Certificates`].
type Files = [Key; 3];

const KAFKA_FILES: Files = [Key::KafkaCaFile, Key::KafkaCertificateFile, Key::KafkaKeyFile];
const NATS_FILES: Files = [Key::NatsCaFile, Key::NatsCertificateFile, Key::NatsKeyFile];

/// The table `[kafka]`.
pub(super) fn kafka(run: View<'_>) -> Kafka {
    Kafka {
        brokers: run.list(Key::KafkaBrokers),
        transactions: run.value(Key::KafkaTransactions),
        transaction_timeout: run.value(Key::KafkaTransactionTimeout),
        offsets_topic: run.optional(Key::KafkaOffsetsTopic),
        headers: run.list(Key::KafkaHeaders),
        compression: run.value(Key::KafkaCompression),
        security: run.value(Key::KafkaSecurity),
        certificates: certificates(run, KAFKA_FILES),
        sasl: run.optional(Key::KafkaSasl),
        user: run.optional(Key::KafkaUser),
        password_file: run.optional(Key::KafkaPasswordFile),
        on_refused: run.value(Key::KafkaOnRefused),
        properties: run.list::<(String, String)>(Key::KafkaProperties).into_iter().collect(),
    }
}

/// The table `[nats]`.
pub(super) fn nats(run: View<'_>) -> Nats {
    Nats {
        servers: run.list(Key::NatsServers),
        stream: run.optional(Key::NatsStream),
        create: run.value(Key::NatsCreate),
        replicas: run.value(Key::NatsReplicas),
        credentials_file: run.optional(Key::NatsCredentialsFile),
        nkey_file: run.optional(Key::NatsNkeyFile),
        user: run.optional(Key::NatsUser),
        password_file: run.optional(Key::NatsPasswordFile),
        tls: run.value(Key::NatsTls),
        certificates: certificates(run, NATS_FILES),
        on_refused: run.value(Key::NatsOnRefused),
    }
}

fn certificates(run: View<'_>, [ca_file, certificate_file, key_file]: Files) -> Certificates {
    Certificates {
        ca_file: run.optional(ca_file),
        certificate_file: run.optional(certificate_file),
        key_file: run.optional(key_file),
    }
}

/// Where records go, if the output is a broker. `host`: the name in records, if they have one.
pub(super) fn routes(
    run: View<'_>,
    output: &Output,
    host: Option<&str>,
) -> Result<Option<Routes>, ConfigError> {
    let (destination, key) = match output {
        Output::Kafka(topic) => (topic, run.value(Key::KafkaKey)),
        Output::Nats(subject) => (subject, parse_key("file").expect("it is a key")),
        _ => return Ok(None),
    };
    let host = match host {
        Some(name) => name.to_owned(),
        None => {
            host::name().map_err(|error| ConfigError::NoHostName { reason: error.to_string() })?
        }
    };
    Ok(Some(Routes { destination: destination.clone(), key, host }))
}

/// What the rules for one table have found.
struct Rules(Vec<BrokerError>);

impl Rules {
    fn refuse_if(&mut self, is_wrong: bool, key: Key, reason: impl Into<String>) {
        if is_wrong {
            self.0.push(BrokerError { key: key.name(), reason: reason.into() });
        }
    }

    /// Certificates, where there is TLS or none; `how`: how to have it.
    fn certificates(&mut self, these: &Certificates, keys: Files, is_tls: bool, how: &str) {
        let [ca_file, certificate_file, key_file] = keys;
        let (certificate, key) = (these.certificate_file.is_some(), these.key_file.is_some());
        for (is_said, name) in
            [(these.ca_file.is_some(), ca_file), (certificate, certificate_file), (key, key_file)]
        {
            let why = format!("is for TLS, which is not asked for: say {how}");
            self.refuse_if(is_said && !is_tls, name, why);
        }
        self.refuse_if(certificate && !key, certificate_file, "needs `key_file`");
        self.refuse_if(key && !certificate, key_file, "needs `certificate_file`");
    }
}

/// What the rest of a run has to do with how a broker is reached.
pub(super) struct Surrounding<'a> {
    pub(super) run: View<'a>,
    pub(super) build: Build,
    pub(super) commit_interval: Duration,
    pub(super) is_kept: bool,
}

/// What does not fit, of the output.
pub(super) fn misfits(
    output: &Output,
    kafka: &Kafka,
    nats: &Nats,
    routes: Option<&Routes>,
    around: &Surrounding<'_>,
) -> Vec<ConfigError> {
    let errors = match output {
        Output::Kafka(topic) => {
            kafka_misfits(kafka, topic, routes.map(|routes| &*routes.host), around)
        }
        Output::Nats(_) => nats_misfits(nats, around),
        _ if around.run.is_said(Key::Brokers) => {
            return vec![ConfigError::NoBroker { output: output.to_string() }];
        }
        _ => Vec::new(),
    };
    errors.into_iter().map(ConfigError::from).collect()
}

/// What does not fit, of an output that is Kafka.
fn kafka_misfits(
    kafka: &Kafka,
    topic: &Template,
    host: Option<&str>,
    around: &Surrounding<'_>,
) -> Vec<BrokerError> {
    let mut rules = Rules(Vec::new());
    // Of a command line, the first one is told.
    kafka_build(kafka, around.build, &mut rules);
    rules.refuse_if(
        kafka.brokers.is_empty(),
        Key::Output,
        "no broker is named: say --brokers HOST:PORT, or `brokers = [\"HOST:PORT\"]` below [kafka] \
        in the settings file",
    );
    let name = host.filter(|_| topic.is_fixed()).map(|host| topic.prefix(host.as_bytes()));
    rules.refuse_if(
        name.is_some_and(|name| name.len() > TOPIC_BYTES_MAX),
        Key::Output,
        format!("with the name of this host, the topic has more than {TOPIC_BYTES_MAX} bytes"),
    );
    transactions(kafka, topic, around, &mut rules);
    authentication(kafka, &mut rules);
    let is_tls = matches!(kafka.security, Security::Tls | Security::SaslTls);
    let how = "`security` = `tls` or `sasl_tls`";
    rules.certificates(&kafka.certificates, KAFKA_FILES, is_tls, how);
    let mut headers = kafka.headers.iter().enumerate();
    let is_twice = headers.any(|(at, header)| kafka.headers[..at].contains(header));
    rules.refuse_if(is_twice, Key::KafkaHeaders, "one of them is there twice");
    rules.0
}

fn transactions(kafka: &Kafka, topic: &Template, around: &Surrounding<'_>, rules: &mut Rules) {
    let timeout = kafka.transaction_timeout;
    rules.refuse_if(
        !TRANSACTION_TIMEOUTS.contains(&timeout),
        Key::KafkaTransactionTimeout,
        "must be between 1s and 15min",
    );
    if !kafka.transactions || !around.is_kept {
        return;
    }
    rules.refuse_if(
        kafka.offsets_topic.is_none() && !topic.is_fixed(),
        Key::Output,
        "files have topics of their own, and the number of a commit belongs to one: say which, as \
        in `offsets_topic = \"jobs\"` below [kafka] in the settings file",
    );
    let interval = around.commit_interval;
    // At the one that somebody chose.
    let is_interval_said = around.run.is_said(Key::CommitInterval);
    let key = if is_interval_said { Key::CommitInterval } else { Key::KafkaTransactionTimeout };
    let [interval_text, timeout_text] =
        [interval, timeout].map(|time| humantime::format_duration(time).to_string());
    rules.refuse_if(
        interval > timeout / 2,
        key,
        format!(
            "`commit_interval` ({interval_text}) must be at most half of `transaction_timeout` of \
            [kafka] ({timeout_text}): a commit ends a transaction, and a late one is aborted"
        ),
    );
}

fn authentication(kafka: &Kafka, rules: &mut Rules) {
    let is_sasl = matches!(kafka.security, Security::Sasl | Security::SaslTls);
    let with_sasl = "needs `security` = `sasl_tls` (or `sasl`, without TLS)";
    rules.refuse_if(kafka.sasl.is_some() && !is_sasl, Key::KafkaSasl, with_sasl);
    rules.refuse_if(
        is_sasl && kafka.sasl.is_none(),
        Key::KafkaSecurity,
        "needs `sasl`: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or GSSAPI",
    );
    let (user, password) = (kafka.user.is_some(), kafka.password_file.is_some());
    rules.refuse_if(user && !is_sasl, Key::KafkaUser, with_sasl);
    rules.refuse_if(password && !is_sasl, Key::KafkaPasswordFile, with_sasl);
    rules.refuse_if(user && !password, Key::KafkaUser, "needs `password_file`");
    rules.refuse_if(password && !user, Key::KafkaPasswordFile, "needs `user`");
    rules.refuse_if(
        kafka.sasl.is_some() && !user && !password,
        Key::KafkaSasl,
        "needs `user` and `password_file`",
    );
}

fn kafka_build(kafka: &Kafka, build: Build, rules: &mut Rules) {
    if !build.kafka {
        let why = Build::missing("Kafka", "kafka-tls");
        return rules.refuse_if(true, Key::Output, why);
    }
    let lacks = |what: &str, feature: &str| {
        format!("{what}: {}", Build::missing(&format!("Kafka with {what}"), feature))
    };
    let tls = "kafka-tls";
    rules.refuse_if(
        matches!(kafka.security, Security::Tls | Security::SaslTls) && !build.kafka_tls,
        Key::KafkaSecurity,
        lacks("TLS", tls),
    );
    rules.refuse_if(
        matches!(kafka.compression, Compression::Zstd | Compression::Gzip) && !build.kafka_tls,
        Key::KafkaCompression,
        lacks("zstd and gzip", tls),
    );
    rules.refuse_if(
        matches!(kafka.sasl, Some(Sasl::ScramSha256 | Sasl::ScramSha512)) && !build.kafka_tls,
        Key::KafkaSasl,
        lacks("SCRAM", tls),
    );
    rules.refuse_if(
        kafka.sasl == Some(Sasl::Gssapi) && !build.kafka_gssapi,
        Key::KafkaSasl,
        lacks("Kerberos", "kafka-gssapi"),
    );
}

/// What does not fit, of an output that is NATS.
fn nats_misfits(nats: &Nats, around: &Surrounding<'_>) -> Vec<BrokerError> {
    let mut rules = Rules(Vec::new());
    rules.refuse_if(!around.build.nats, Key::Output, Build::missing("NATS", "nats"));
    rules.refuse_if(
        nats.servers.is_empty(),
        Key::Output,
        "no server is named: say --brokers HOST:PORT, or `servers = [\"nats://HOST:PORT\"]` below \
        [nats] in the settings file",
    );
    rules.refuse_if(
        around.run.is_said(Key::NatsReplicas) && !nats.create,
        Key::NatsReplicas,
        "is for a stream that is made: say `create = true`",
    );
    rules.refuse_if(!REPLICAS.contains(&nats.replicas), Key::NatsReplicas, "must be 1 to 5");
    let (user, password) = (nats.user.is_some(), nats.password_file.is_some());
    rules.refuse_if(user && !password, Key::NatsUser, "needs `password_file`");
    rules.refuse_if(password && !user, Key::NatsPasswordFile, "needs `user`");
    let ways = [
        (nats.credentials_file.is_some(), Key::NatsCredentialsFile),
        (nats.nkey_file.is_some(), Key::NatsNkeyFile),
        (user, Key::NatsUser),
    ];
    let mut ways = ways.into_iter().filter(|(is_said, _)| *is_said).map(|(_, key)| key);
    if let (Some(first), Some(second)) = (ways.next(), ways.next()) {
        let why = format!("contradicts `{}`: say one of them", first.row().bare_name());
        rules.refuse_if(true, second, why);
    }
    let is_tls = nats.tls || nats.servers.iter().any(|server| server.starts_with("tls://"));
    rules.certificates(&nats.certificates, NATS_FILES, is_tls, "`tls = true`");
    rules.0
}
