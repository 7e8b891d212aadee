//! How message brokers are reached: the tables `[kafka]` and `[nats]` of a settings file.
//!
//! In: validated values. Out: what a sink needs to connect.
//! Always holds: a secret is in a file, never here; the file is read at each connection.

mod build;
mod properties;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use build::Build;
pub(crate) use properties::{refused_property, refused_value};
pub(crate) use values::{
    parse_addresses, parse_broker, parse_key, parse_server, parse_stream, parse_topic,
};

/// A setting of a broker that does not fit to others, or to this build.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{reason}")]
pub(crate) struct BrokerError {
    /// As it is called in a file.
    pub(crate) key: &'static str,
    /// What is wrong, and what to say instead.
    pub(crate) reason: String,
}

/// What happens to a record that the broker will never take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRefused {
    /// The output waits, and says so.
    Block,
    /// The record is left out, counted and logged.
    Skip,
}

impl OnRefused {
    /// Every value with its name.
    pub const NAMES: [(&'static str, OnRefused); 2] =
        [("block", OnRefused::Block), ("skip", OnRefused::Skip)];
}

/// A header of each Kafka record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The host's name.
    Host,
    /// The path of the file.
    Path,
    /// Device, inode and generation, as in the `file` of json records.
    File,
    /// The offset of the line, in decimal digits.
    Offset,
}

impl Header {
    /// Every value with its name.
    pub const NAMES: [(&'static str, Header); 4] = [
        ("host", Header::Host),
        ("path", Header::Path),
        ("file", Header::File),
        ("offset", Header::Offset),
    ];
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard; needs the build feature `kafka-tls`.
    Zstd,
    /// Snappy.
    Snappy,
    /// DEFLATE; needs the build feature `kafka-tls`.
    Gzip,
}

impl Compression {
    /// Every value with its name, as the client library spells it.
    pub const NAMES: [(&'static str, Compression); 5] = [
        ("none", Compression::None),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
        ("snappy", Compression::Snappy),
        ("gzip", Compression::Gzip),
    ];
}

/// How a connection is protected, and how the broker knows us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// TLS; with a certificate of our own, that is who we are.
    Tls,
    /// A name and a secret over a connection that others can read.
    Sasl,
    /// A name and a secret over TLS.
    SaslTls,
}

impl Security {
    /// Every value with its name.
    pub const NAMES: [(&'static str, Security); 4] = [
        ("plain", Security::Plain),
        ("tls", Security::Tls),
        ("sasl", Security::Sasl),
        ("sasl_tls", Security::SaslTls),
    ];
}

/// How a name and a secret are proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sasl {
    /// The password itself is sent.
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
    /// Kerberos; needs the build feature `kafka-gssapi`.
    Gssapi,
}

impl Sasl {
    /// Every value with its name, as the client library spells it.
    pub const NAMES: [(&'static str, Sasl); 4] = [
        ("PLAIN", Sasl::Plain),
        ("SCRAM-SHA-256", Sasl::ScramSha256),
        ("SCRAM-SHA-512", Sasl::ScramSha512),
        ("GSSAPI", Sasl::Gssapi),
    ];
}

/// Certificates, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificates {
    /// Who may vouch for the broker; `None`: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// The table `[kafka]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `HOST:PORT` of some brokers; they tell of the others.
    pub brokers: Vec<String>,
    /// Each commit is a transaction: exactly once. Otherwise at least once.
    pub transactions: bool,
    /// After this long without its end the broker aborts a transaction. 1 s to 15 min.
    pub transaction_timeout: Duration,
    /// The topic whose partition 0 has the number of the commit as group offset. `None`: the topic
    /// of the output, if it is the same for all files.
    pub offsets_topic: Option<String>,
    /// What each record carries beside its value.
    pub headers: Vec<Header>,
    /// How batches are compressed.
    pub compression: Compression,
    /// How the connection is protected.
    pub security: Security,
    /// For [`Security::Tls`] and [`Security::SaslTls`].
    pub certificates: Certificates,
    /// For [`Security::Sasl`] and [`Security::SaslTls`].
    pub sasl: Option<Sasl>,
    /// Our name there; Kerberos: the principal.
    pub user: Option<String>,
    /// The secret, in a file; Kerberos: the keytab.
    pub password_file: Option<PathBuf>,
    /// What happens to a record that the broker will never take.
    pub on_refused: OnRefused,
    /// Passed on to the client library as they are.
    pub properties: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: Vec::new(),
            transactions: true,
            transaction_timeout: Duration::from_secs(10),
            offsets_topic: None,
            headers: Vec::new(),
            compression: Compression::None,
            security: Security::Plain,
            certificates: Certificates::default(),
            sasl: None,
            user: None,
            password_file: None,
            on_refused: OnRefused::Block,
            properties: BTreeMap::new(),
        }
    }
}

/// Most bytes of a record that Kafka's client library takes: what `message.max.bytes` says, or its
/// default.
pub(crate) fn record_bytes_max(kafka: &Kafka) -> usize {
    const DEFAULT: usize = 1_000_000;
    let set = kafka.properties.get("message.max.bytes");
    set.and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT)
}

/// The table `[nats]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nats {
    /// `nats://HOST:PORT`, or `tls://HOST:PORT`, of some servers; they tell of the others.
    pub servers: Vec<String>,
    /// The stream that stores our subjects. `None`: the one that says so.
    pub stream: Option<String>,
    /// Make the stream if there is none.
    pub create: bool,
    /// How many servers store each record of a stream that is made. 1 to 5.
    pub replicas: u32,
    /// A file of user credentials (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey_file: Option<PathBuf>,
    /// Our name there.
    pub user: Option<String>,
    /// Its password, in a file.
    pub password_file: Option<PathBuf>,
    /// Require TLS.
    pub tls: bool,
    /// For TLS.
    pub certificates: Certificates,
    /// What happens to a record that the server will never take.
    pub on_refused: OnRefused,
}

impl Default for Nats {
    fn default() -> Self {
        Nats {
            servers: Vec::new(),
            stream: None,
            create: false,
            replicas: 3,
            credentials_file: None,
            nkey_file: None,
            user: None,
            password_file: None,
            tls: false,
            certificates: Certificates::default(),
            on_refused: OnRefused::Block,
        }
    }
}
