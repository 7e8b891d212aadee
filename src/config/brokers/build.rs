//! Which brokers this build of manytail can talk to.
//!
//! In: the features that it was built with. Out: what is missing for some settings, in words.
//! Always holds: an output that no code is there for is refused before the run begins.

/// What a build can talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Build {
    /// Kafka without TLS.
    pub(crate) kafka: bool,
    /// With TLS, SCRAM, zstd and gzip.
    pub(crate) kafka_tls: bool,
    /// With Kerberos.
    pub(crate) kafka_gssapi: bool,
    /// NATS, always with TLS.
    pub(crate) nats: bool,
}

impl Build {
    /// This one.
    pub(crate) const THIS: Build = Build {
        kafka: cfg!(feature = "kafka"),
        kafka_tls: cfg!(feature = "kafka-tls"),
        kafka_gssapi: cfg!(feature = "kafka-gssapi"),
        nats: cfg!(feature = "nats"),
    };

    /// How to get a build that can talk to these brokers.
    pub(crate) fn missing(brokers: &str, feature: &str) -> String {
        format!(
            "this build of manytail has no client for {brokers}: the packages have one, and so has \
            `cargo build --release --features {feature}`"
        )
    }
}
