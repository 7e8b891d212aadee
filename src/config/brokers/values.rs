//! The values of single settings of brokers: addresses, topics, streams, keys.
//!
//! In: a text. Out: a value, or the reason why it is none.
//! Always holds: no reason repeats the text, which may have a password in it.

use crate::config::output::TOPIC_BYTES_MAX;
use crate::config::template::{Alphabet, Template, TemplateError};
use crate::config::values::is_host_and_port;

/// A text that is no such value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// Not `HOST:PORT`.
    #[error("expected a host name or address and a port, as in kafka1:9092 or [::1]:9092")]
    Broker,
    /// Not `HOST:PORT` behind one of the schemes.
    #[error("expected nats://HOST:PORT, tls://HOST:PORT or HOST:PORT, as in nats://nats1:4222")]
    Server,
    /// In front of the host.
    #[error("a user or a secret is no part of an address: there are settings and files for them")]
    Credentials,
    /// Not what Kafka takes.
    #[error(
        "expected the name of a topic: 1 to {TOPIC_BYTES_MAX} ASCII letters, digits, `.`, `_` and \
        `-`, not `.` or `..`"
    )]
    Topic,
    /// Not what JetStream takes.
    #[error("expected the name of a stream, without blanks, `.`, `*`, `>`, `/` and `\\`")]
    Stream,
    /// All records would have the same key.
    #[error(
        "expected file, path, job, label:NAME or a text with fields, as in {{label:cluster}}/{{path}}"
    )]
    Key,
    /// Not a template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Reads `HOST:PORT`.
///
/// # Errors
/// For everything else.
pub(crate) fn parse_broker(text: &str) -> Result<String, ValueError> {
    match text {
        _ if text.contains('@') => Err(ValueError::Credentials),
        _ if is_one_address(text) => Ok(text.to_owned()),
        _ => Err(ValueError::Broker),
    }
}

/// A host may have a comma in it, but here it is between two of them.
fn is_one_address(text: &str) -> bool {
    !text.contains(',') && is_host_and_port(text)
}

/// The schemes of servers.
const SCHEMES: [&str; 2] = ["nats://", "tls://"];

/// Reads `nats://HOST:PORT` or `tls://HOST:PORT`; `HOST:PORT` alone is the first of them.
///
/// # Errors
/// For everything else.
pub(crate) fn parse_server(text: &str) -> Result<String, ValueError> {
    if text.contains('@') {
        return Err(ValueError::Credentials);
    }
    let known = SCHEMES.iter().find_map(|scheme| Some((*scheme, text.strip_prefix(scheme)?)));
    let (scheme, address) = known.unwrap_or((SCHEMES[0], text));
    if is_one_address(address) { Ok(format!("{scheme}{address}")) } else { Err(ValueError::Server) }
}

/// Reads addresses with commas between them, of brokers or of servers.
///
/// # Errors
/// When one of them is none.
pub(crate) fn parse_addresses(text: &str) -> Result<Vec<String>, ValueError> {
    let checked = |part: &str| match parse_server(part) {
        Err(ValueError::Server) => Err(ValueError::Broker),
        outcome => outcome.map(|_| part.to_owned()),
    };
    text.split(',').map(checked).collect()
}

/// Reads the name of a topic.
///
/// # Errors
/// When Kafka would not take it.
pub(crate) fn parse_topic(text: &str) -> Result<String, ValueError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=TOPIC_BYTES_MAX).contains(&text.len())
        && text.chars().all(is_allowed)
        && !matches!(text, "." | "..")
    {
        Ok(text.to_owned())
    } else {
        Err(ValueError::Topic)
    }
}

/// Reads the name of a stream.
///
/// # Errors
/// When JetStream would not take it.
pub(crate) fn parse_stream(text: &str) -> Result<String, ValueError> {
    let is_forbidden =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\');
    if text.is_empty() || text.contains(is_forbidden) {
        Err(ValueError::Stream)
    } else {
        Ok(text.to_owned())
    }
}

/// Reads the key of records: `file`, `path`, `job`, `label:NAME`, or a template with at least one
/// field.
///
/// # Errors
/// For everything else.
pub(crate) fn parse_key(text: &str) -> Result<Template, ValueError> {
    let is_short = matches!(text, "file" | "path" | "job") || text.starts_with("label:");
    if is_short {
        return Ok(Template::parse(&format!("{{{text}}}"), Alphabet::Any)?);
    }
    if text.contains(['{', '}']) {
        Ok(Template::parse(text, Alphabet::Any)?)
    } else {
        Err(ValueError::Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_without_anything_secret() {
        for text in ["k1:9092", "10.0.0.1:1", "[::1]:9092"] {
            assert_eq!(parse_broker(text).as_deref(), Ok(text));
            assert_eq!(parse_server(text), Ok(format!("nats://{text}")));
            assert_eq!(parse_server(&format!("tls://{text}")), Ok(format!("tls://{text}")));
        }
        for text in ["", "k1", "k1:", "k1:0", "PLAINTEXT://k1:9092", "nats://k1:4222", "a,b:1"] {
            assert_eq!(parse_broker(text), Err(ValueError::Broker), "{text}");
        }
        for text in ["", "n1", "ws://n1:80", "nats://n1", "nats://n1:4222/"] {
            assert_eq!(parse_server(text), Err(ValueError::Server), "{text}");
        }
        for text in ["u:hunter2@k1:9092", "token@k1:9092"] {
            assert_eq!(parse_broker(text), Err(ValueError::Credentials));
            assert_eq!(parse_server(&format!("nats://{text}")), Err(ValueError::Credentials));
            assert_eq!(parse_addresses(&format!("k:1,{text}")), Err(ValueError::Credentials));
        }
        assert_eq!(
            parse_addresses("k1:9092,tls://k2:9092"),
            Ok(vec!["k1:9092".to_owned(), "tls://k2:9092".to_owned()])
        );
        for text in ["", "k1:1,", ",k1:1", "k1:1, k2:1"] {
            assert_eq!(parse_addresses(text), Err(ValueError::Broker), "{text:?}");
        }
    }

    #[test]
    fn names_are_those_that_brokers_take() {
        let longest = "x".repeat(TOPIC_BYTES_MAX);
        for text in ["a", "a.b_c-D9", "...", &longest] {
            assert_eq!(parse_topic(text).as_deref(), Ok(text));
        }
        for text in ["", ".", "..", "a b", "a/b", "ä", "{host}", &format!("{longest}x")] {
            assert_eq!(parse_topic(text), Err(ValueError::Topic), "{text}");
        }
        assert_eq!(parse_stream("JOBS-1").as_deref(), Ok("JOBS-1"));
        for text in ["", "a b", "a.b", "*", "a>", "a/b", "a\\b"] {
            assert_eq!(parse_stream(text), Err(ValueError::Stream), "{text}");
        }
    }

    #[test]
    fn keys_have_a_field_and_short_names() {
        let key = |text| parse_key(text).map(|key| key.text().to_owned());
        for (text, template) in [
            ("file", "{file}"),
            ("path", "{path}"),
            ("label:cluster", "{label:cluster}"),
            ("{label:cluster}/{path}", "{label:cluster}/{path}"),
        ] {
            assert_eq!(key(text).as_deref(), Ok(template));
        }
        assert_eq!(key("host"), Err(ValueError::Key));
        assert_eq!(key(""), Err(ValueError::Key));
        assert_eq!(key("job").as_deref(), Ok("{job}"));
        assert!(matches!(key("{task}"), Err(ValueError::Template(TemplateError::Field { .. }))));
        assert!(matches!(key("label:"), Err(ValueError::Template(TemplateError::Field { .. }))));
        assert!(matches!(key("label:a}"), Err(ValueError::Template(TemplateError::Unbalanced))));
    }
}
