//! The parsers of single values. Whole command lines are tested in `cli`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::metrics::MetricsError;
use super::output::OutputError;
use super::template::{Alphabet, TemplateError};
use super::values::{DurationError, SizeError};
use super::*;

fn output(uri: &str) -> Result<Output, OutputError> {
    Output::parse(OsStr::new(uri))
}

fn name(text: &str) -> Template {
    Template::parse(text, Alphabet::Name).unwrap()
}

#[test]
fn sizes_are_bytes_or_powers_of_two() {
    for (text, bytes) in [
        ("0", 0),
        ("1", 1),
        ("007", 7),
        ("3k", 3 << 10),
        ("3KiB", 3 << 10),
        ("5M", 5 << 20),
        ("5MiB", 5 << 20),
        ("1G", 1 << 30),
        ("1GiB", 1 << 30),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn other_spellings_of_sizes_are_refused() {
    for text in [
        "", "k", "KiB", "-1", "+1", "1.5M", "1 M", "1K", "1KB", "1kb", "1m", "1kiB", "1T", "1MiBs",
        "0x10", "1e3", "١",
    ] {
        assert_eq!(parse_size(text), Err(SizeError::Malformed), "{text}");
    }
}

#[test]
fn sizes_beyond_64_bits_are_refused_not_wrapped() {
    for text in ["18446744073709551616", "17179869184GiB", "99999999999999999999999k"] {
        assert_eq!(parse_size(text), Err(SizeError::TooLarge), "{text}");
    }
    assert_eq!(parse_size("17179869183G"), Ok(17_179_869_183 << 30));
}

#[test]
fn durations_take_every_unit_of_the_contract_and_microseconds() {
    for (text, duration) in [
        ("0", Duration::ZERO),
        ("0s", Duration::ZERO),
        ("500us", Duration::from_micros(500)),
        ("5ms", Duration::from_millis(5)),
        ("30s", Duration::from_secs(30)),
        ("5min", Duration::from_secs(300)),
        ("2h", Duration::from_secs(7200)),
        ("7d", Duration::from_secs(7 * 86_400)),
        ("1h 30min", Duration::from_secs(5400)),
        ("36525d", DURATION_LIMIT),
    ] {
        assert_eq!(parse_duration(text), Ok(duration), "{text}");
    }
}

#[test]
fn texts_that_are_no_duration_are_refused() {
    for text in ["", "5", "s", "-1s", "1..5s", "5 apples", "1e3s"] {
        assert_eq!(parse_duration(text), Err(DurationError::Malformed), "{text}");
    }
    for text in ["36526d", "99999999999999999999s", "18446744073709551615d"] {
        assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
    }
}

#[test]
fn every_kind_of_output_is_read_and_shown_as_it_was_written() {
    for (uri, expected) in [
        ("stdout", Output::Descriptor(1)),
        ("fd:0", Output::Descriptor(0)),
        ("fd:27", Output::Descriptor(27)),
        ("file:/var/log/all.log", Output::File("/var/log/all.log".into())),
        ("file:a:b", Output::File("a:b".into())),
        ("unix:/run/x.sock", Output::Unix("/run/x.sock".into())),
        ("tcp:localhost:5140", Output::Tcp("localhost:5140".into())),
        ("tcp:10.0.0.1:1", Output::Tcp("10.0.0.1:1".into())),
        ("tcp:[::1]:65535", Output::Tcp("[::1]:65535".into())),
        ("kafka:jobs", Output::Kafka(name("jobs"))),
        ("kafka:jobs-{label:cluster}", Output::Kafka(name("jobs-{label:cluster}"))),
        ("kafka:...", Output::Kafka(name("..."))),
        (
            "nats:jobs.{host}.{label:a:b}.{file}",
            Output::Nats(name("jobs.{host}.{label:a:b}.{file}")),
        ),
    ] {
        assert_eq!(output(uri), Ok(expected.clone()), "{uri}");
        assert_eq!(expected.to_string(), uri);
    }
}

#[test]
fn an_output_path_may_hold_any_bytes() {
    let uri = OsStr::from_bytes(b"file:/tmp/\xff");
    assert_eq!(
        Output::parse(uri),
        Ok(Output::File(PathBuf::from(OsStr::from_bytes(b"/tmp/\xff"))))
    );
    assert_eq!(Output::parse(OsStr::from_bytes(b"tcp:\xff:1")), Err(OutputError::Address));
    assert_eq!(Output::parse(OsStr::from_bytes(b"fd:\xff")), Err(OutputError::Descriptor));
}

#[test]
fn outputs_that_cannot_be_are_refused_with_their_reason() {
    for uri in ["", "stdin", "stdout:", "udp:h:1", "http://x", "File:x", ":", "STDOUT"] {
        assert_eq!(output(uri), Err(OutputError::UnknownKind), "{uri}");
    }
    for path in ["/var/log/x", "out.json", "./a:b"] {
        assert_eq!(output(path), Err(OutputError::PlainPath { path: path.to_owned() }));
    }
    for uri in ["fd:", "fd:-1", "fd:+1", "fd:x", "fd:1 ", "fd:99999999999"] {
        assert_eq!(output(uri), Err(OutputError::Descriptor), "{uri}");
    }
    for uri in ["fd:2", "fd:02"] {
        assert_eq!(output(uri), Err(OutputError::Diagnostics), "{uri}");
    }
    for uri in ["file:", "unix:"] {
        assert_eq!(output(uri), Err(OutputError::NoPath), "{uri}");
    }
    for uri in [
        "tcp:",
        "tcp:h",
        "tcp:h:",
        "tcp::1",
        "tcp:h:0",
        "tcp:h:65536",
        "tcp:h:+1",
        "tcp:::1:80",
        "tcp:[::1]",
        "tcp:[x]:80",
        "tcp://h:80",
        "tcp:h h:80",
        "tcp:u@h:80",
    ] {
        assert_eq!(output(uri), Err(OutputError::Address), "{uri}");
    }
    assert!(output(&format!("unix:{}", "x".repeat(107))).is_ok());
    assert_eq!(output(&format!("unix:{}", "x".repeat(108))), Err(OutputError::SocketPathTooLong));
}

#[test]
fn topics_and_subjects_that_cannot_be_are_refused_with_their_reason() {
    assert_eq!(output("kafka:"), Err(OutputError::NoTopic));
    assert_eq!(output("nats:"), Err(OutputError::NoSubject));
    for address in ["localhost:9092", "//u:hunter2@k1:9092/jobs", "{host}:1", "jobs:1"] {
        for kind in ["kafka", "nats"] {
            let error = output(&format!("{kind}:{address}")).unwrap_err();
            assert_eq!(error, OutputError::BrokerAddress, "{kind}:{address}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
    let character = |character| OutputError::Template(TemplateError::Character { character });
    assert_eq!(output("kafka:jobs "), Err(character(' ')));
    assert_eq!(output("kafka:a/b"), Err(character('/')));
    assert_eq!(output("nats:jobs.>"), Err(character('>')));
    assert_eq!(
        Output::parse(OsStr::from_bytes(b"kafka:\xff")),
        Err(character(char::REPLACEMENT_CHARACTER))
    );
    let field = OutputError::Template(TemplateError::Field { field: "task".to_owned() });
    assert_eq!(output("kafka:{task}"), Err(field));
    assert_eq!(output("kafka:{job}"), Err(OutputError::TopicPerFile));
    assert!(output("nats:jobs.{host}.{job}").is_ok());
    assert_eq!(output("nats:jobs.{job}"), Err(OutputError::SubjectPrefix));
    assert_eq!(output("nats:{host"), Err(OutputError::Template(TemplateError::Unbalanced)));

    assert!(output(&format!("kafka:{}", "x".repeat(249))).is_ok());
    assert_eq!(output(&format!("kafka:{}", "x".repeat(250))), Err(OutputError::TopicTooLong));
    let with_field = format!("kafka:{}{{host}}", "x".repeat(249));
    assert_eq!(output(&with_field), Err(OutputError::TopicTooLong), "a field is never empty");
    for uri in ["kafka:.", "kafka:.."] {
        assert_eq!(output(uri), Err(OutputError::TopicDots), "{uri}");
    }
    for uri in ["kafka:{path}", "kafka:jobs-{file}"] {
        assert_eq!(output(uri), Err(OutputError::TopicPerFile), "{uri}");
    }
    for uri in ["nats:.", "nats:.a", "nats:a.", "nats:a..b", "nats:{host}."] {
        assert_eq!(output(uri), Err(OutputError::SubjectDots), "{uri}");
    }
    for uri in
        ["nats:{path}", "nats:{label:a}.jobs", "nats:jobs-{file}.a", "nats:jobs.{host}-{file}"]
    {
        assert_eq!(output(uri), Err(OutputError::SubjectPrefix), "{uri}");
    }
    let long = format!("nats:{}", "x".repeat(2049));
    assert_eq!(output(&long), Err(OutputError::SubjectTooLong));
    assert!(output("nats:{host}.{path}").is_ok() && output("nats:{host}").is_ok());
}

#[test]
fn every_kind_that_an_error_names_is_taken() {
    let filled = |kind: &str| -> String {
        let kind = kind.replace("HOST:PORT", "h:1").replace("PATH", "/p").replace(":N", ":3");
        kind.replace("TOPIC", "t").replace("SUBJECT", "s")
    };
    let is_output =
        |kind: &&str| output(&filled(kind)).is_ok_and(|it| it.to_string() == filled(kind));
    assert!(Output::KINDS.iter().all(is_output));
    let expected = "expected stdout, fd:N, file:PATH, unix:PATH, tcp:HOST:PORT, kafka:TOPIC or \
        nats:SUBJECT";
    assert_eq!(OutputError::UnknownKind.to_string(), expected);
    assert!(Metrics::KINDS.iter().all(|kind| Metrics::parse(filled(kind).as_ref()).is_ok()));
    let expected = "expected tcp:HOST:PORT, unix:PATH or textfile:PATH";
    assert_eq!(MetricsError::UnknownKind.to_string(), expected);
}
