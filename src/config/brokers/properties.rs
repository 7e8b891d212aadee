//! Properties of Kafka's client library that settings may not pass on.
//!
//! In: the name of a property and its value. Out: why it is refused, if it is.
//! Always holds: nothing that is passed on takes a promise back, holds a secret, or says what
//! another setting says.

const OWN: &str = "what is promised rests on it: manytail sets it";
const SECRET: &str = "a secret is never in the settings: it is in a file of its own, which \
    `password_file` or `key_file` names";
const BEARER: &str = "tokens (OAUTHBEARER) are not supported: `sasl` has what is";
const PROGRAM: &str = "is for programs, not for settings";
const CODE: &str = "would load code into manytail";
const UNUSED: &str = "nothing would read it: manytail has metrics of its own";

/// Names, and why they are refused.
const REFUSED: [(&str, &str); 55] = [
    ("acks", OWN),
    ("request.required.acks", OWN),
    ("enable.idempotence", OWN),
    ("enable.gapless.guarantee", OWN),
    ("transactional.id", OWN),
    ("group.id", OWN),
    ("group.instance.id", OWN),
    ("group.protocol", OWN),
    ("isolation.level", OWN),
    ("enable.auto.commit", OWN),
    ("enable.auto.offset.store", OWN),
    ("message.timeout.ms", OWN),
    ("delivery.timeout.ms", OWN),
    ("retries", OWN),
    ("message.send.max.retries", OWN),
    ("queuing.strategy", OWN),
    ("delivery.report.only.error", OWN),
    ("queue.buffering.max.messages", OWN),
    ("queue.buffering.max.kbytes", OWN),
    ("enabled_events", OWN),
    ("log.queue", OWN),
    ("transaction.timeout.ms", "say `transaction_timeout`"),
    ("bootstrap.servers", "say `brokers`"),
    ("metadata.broker.list", "say `brokers`"),
    ("compression.codec", "say `compression`"),
    ("compression.type", "say `compression`"),
    ("security.protocol", "say `security`"),
    ("sasl.mechanism", "say `sasl`"),
    ("sasl.mechanisms", "say `sasl`"),
    ("sasl.username", "say `user`"),
    ("sasl.kerberos.principal", "say `user`"),
    ("sasl.kerberos.keytab", "say `password_file`"),
    ("sasl.jaas.config", SECRET),
    ("ssl.ca.location", "say `ca_file`"),
    ("ssl.ca.pem", "say `ca_file`"),
    ("ssl_ca", "say `ca_file`"),
    ("ssl.certificate.location", "say `certificate_file`"),
    ("ssl.certificate.pem", "say `certificate_file`"),
    ("ssl_certificate", "say `certificate_file`"),
    ("ssl.key.location", "say `key_file`"),
    ("ssl.key.pem", SECRET),
    ("ssl_key", SECRET),
    ("ssl.keystore.location", "say `certificate_file` and `key_file`: files in PEM"),
    ("enable.sasl.oauthbearer.unsecure.jwt", BEARER),
    ("oauthbearer_token_refresh_cb", BEARER),
    ("plugin.library.paths", CODE),
    ("ssl.engine.location", CODE),
    ("interceptors", PROGRAM),
    ("opaque", PROGRAM),
    ("default_topic_conf", PROGRAM),
    ("msg_order_cmp", PROGRAM),
    ("ssl_engine_callback_data", PROGRAM),
    ("statistics.interval.ms", UNUSED),
    ("log_level", "the log has a level of its own: `log_level` before the first table"),
    ("internal.termination.signal", "signals of manytail have a meaning of their own"),
];

/// Why a property is not passed on to the client library, whatever its value; `None`: it is. The
/// name of a refused property may be shown, its value may not: it may be a secret.
pub(crate) fn refused_property(name: &str) -> Option<&'static str> {
    let name = name.trim().to_ascii_lowercase();
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Some(why);
    }
    if name.starts_with("sasl.oauthbearer.") {
        return Some(BEARER);
    }
    if ["password", "passphrase", "secret", "private.key"].iter().any(|word| name.contains(word)) {
        return Some(SECRET);
    }
    if name.ends_with("_cb") {
        return Some(PROGRAM);
    }
    name.starts_with("test.").then_some("records would go to brokers that there are none of")
}

/// Why a property is not passed on with this value.
pub(crate) fn refused_value(name: &str, value: &str) -> Option<&'static str> {
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    match &*name {
        "max.in.flight" | "max.in.flight.requests.per.connection"
            if !value.parse().is_ok_and(|requests: u32| (1..=5).contains(&requests)) =>
        {
            Some("must be 1 to 5: with more, repeats are not told from new records")
        }
        "partitioner" if value.eq_ignore_ascii_case("random") => {
            Some("`random` tears the records of a file apart: their order would be lost")
        }
        "enable.ssl.certificate.verification" if value != "true" => {
            Some("whoever is in between would get the password and the records: say `ca_file`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_break_promises_or_hold_secrets_are_refused_however_they_are_written() {
        for name in [
            "acks",
            "ACKS",
            " acks ",
            "enable.idempotence",
            "transactional.id",
            "group.id",
            "transaction.timeout.ms",
            "message.timeout.ms",
            "sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "sasl.jaas.config",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "ssl.key.pem",
            "some.new.secret",
            "bootstrap.servers",
            "security.protocol",
            "sasl.mechanisms",
            "dr_msg_cb",
            "test.mock.num.brokers",
        ] {
            assert!(refused_property(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_property_that_tunes_is_passed_on() {
        for (name, value) in [
            ("socket.keepalive.enable", "true"),
            ("linger.ms", "20"),
            ("client.id", "manytail"),
            ("message.max.bytes", "4000000"),
            ("compression.level", "3"),
            ("sasl.kerberos.service.name", "kafka"),
            ("ssl.endpoint.identification.algorithm", "none"),
            ("retry.backoff.ms", "50"),
        ] {
            assert_eq!(
                (refused_property(name), refused_value(name, value)),
                (None, None),
                "{name}"
            );
        }
    }

    #[test]
    fn some_properties_are_refused_for_their_values() {
        for name in ["max.in.flight", "max.in.flight.requests.per.connection"] {
            assert_eq!((refused_property(name), refused_value(name, "5")), (None, None));
            for value in ["6", "1000000", "0", "", "x", "5.5"] {
                assert!(refused_value(name, value).is_some(), "{value}");
            }
        }
        assert_eq!(refused_value("partitioner", "consistent"), None);
        assert!(refused_value("partitioner", "random").is_some());
        assert_eq!(refused_value("enable.ssl.certificate.verification", "true"), None);
        assert!(refused_value("enable.ssl.certificate.verification", "false").is_some());
    }

    #[test]
    fn each_name_is_there_once() {
        let mut names: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REFUSED.len());
    }
}
