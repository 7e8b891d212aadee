//! The exact bytes of records, and a second opinion on json by `serde_json`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json::{first_to_escape, json_plain_len, needs_escape};
use super::printable::is_misleading;
use super::*;
use crate::lines::random::Random;

/// 2026-11-22T10:00:00.123456789Z.
fn example_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_795_341_600, 123_456_789)
}

fn source(path: &[u8]) -> Source<'_> {
    Source {
        path,
        device: 0xfd01,
        inode: 0x1a_2b3c,
        generation: 0,
        labels: b"",
        job: b"",
        read_at: example_time(),
    }
}

fn line(bytes: &[u8]) -> Line<'_> {
    Line { bytes, offset: 1234, end: End::Newline }
}

/// The record of one line of one path.
fn record(format: Format, path: &[u8], line: &Line<'_>) -> Vec<u8> {
    let mut encoder = Encoder::new(format);
    let mut out = Vec::new();
    encoder.begin(&source(path));
    encoder.encode(line, &mut out);
    out
}

fn json(path: &[u8], line: &Line<'_>) -> String {
    String::from_utf8(record(Format::Json, path, line)).expect("json is UTF-8")
}

impl Random {
    /// Up to `len_max` bytes: mostly plain text, mixed with bytes that need escapes or are not
    /// UTF-8.
    fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let len = self.below(len_max + 1);
        let mut bytes = Vec::with_capacity(len + 4);
        let wild = self.below(4);
        while bytes.len() < len {
            match self.below(8) {
                kind if kind > wild => bytes.push(b' ' + self.below(95) as u8),
                0 => bytes.push(self.below(0x20) as u8),
                1 => bytes.push(b"\"\\\x7f/\0\xff\xc3\xe2\x80\xa8\xed\xf0"[self.below(12)]),
                2 => bytes.extend_from_slice(
                    ["é", "\u{2028}", "🚀", "\u{85}", "\u{fffd}"][self.below(5)].as_bytes(),
                ),
                _ => bytes.push(self.next() as u8),
            }
        }
        bytes
    }
}

/// The record that the contract describes, built with `serde_json` and base64's own allocation.
fn expected_json(path: &[u8], line: &Line<'_>) -> String {
    let text = |bytes: &[u8]| serde_json::to_string(&String::from_utf8_lossy(bytes)).unwrap();
    let bytes_key = |key: &str, bytes: &[u8]| match str::from_utf8(bytes) {
        Ok(_) => String::new(),
        Err(_) => format!(",\"{key}\":\"{}\"", STANDARD.encode(bytes)),
    };
    format!(
        "{{\"time\":\"2026-11-22T10:00:00.123456789Z\",\"path\":{}{},\"file\":\"fd01-1a2b3c-0\",\"offset\":{},\"line\":{}{}{}}}\n",
        text(path),
        bytes_key("path_bytes", path),
        line.offset,
        text(line.bytes),
        bytes_key("bytes", line.bytes),
        match line.end {
            End::Newline => "",
            End::Return => ",\"eol\":\"\\r\"",
            End::Open => ",\"eol\":false",
        },
    )
}

#[test]
fn the_fields_of_a_job_come_behind_the_labels() {
    let mut job = Vec::new();
    push_job_field("id", "47\"1", &mut job);
    push_job_owner(61_011, &mut job);
    job.push(b'}');
    let labels = encode_labels(Format::Json, &[("a".to_owned(), "b".to_owned())]);
    let mut encoder = Encoder::new(Format::Json);
    encoder.begin(&Source { labels: &labels, job: &job, ..source(b"p") });
    let mut out = Vec::new();
    encoder.encode(&line(b"x"), &mut out);
    let wanted = "\"file\":\"fd01-1a2b3c-0\",\"labels\":{\"a\":\"b\"},\
        \"job\":{\"id\":\"47\\\"1\",\"uid\":61011},\"offset\":1234,\"line\":\"x\"}\n";
    assert!(String::from_utf8_lossy(&out).ends_with(wanted), "{}", out.escape_ascii());
}

#[test]
fn raw_is_the_bytes_and_a_newline() {
    assert_eq!(record(Format::Raw, b"ignored", &line(b"a\0\xff\r")), b"a\0\xff\r\n");
    assert_eq!(record(Format::Raw, b"ignored", &line(b"")), b"\n");
}

#[test]
fn raw_and_text_do_not_mark_pieces() {
    let piece = Line { end: End::Open, ..line(b"piece") };
    assert_eq!(record(Format::Raw, b"p", &piece), b"piece\n");
    assert_eq!(record(Format::Text, b"p", &piece), b"p\tpiece\n");
}

#[test]
fn text_is_path_tab_bytes_newline() {
    assert_eq!(
        record(Format::Text, b"d1/job 7.log", &line(b"x\ty\xff")),
        b"d1/job 7.log\tx\ty\xff\n"
    );
}

#[test]
fn text_escapes_backslash_control_and_stray_bytes_of_the_path_in_lower_case_hex() {
    let path = b"a\\b\tc\nd\0e\x1bf\x7fg\xffh\xc3\xe2\x82i";
    assert_eq!(
        record(Format::Text, path, &line(b"")),
        br"a\x5cb\x09c\x0ad\x00e\x1bf\x7fg\xffh\xc3\xe2\x82i"
            .iter()
            .chain(b"\t\n")
            .copied()
            .collect::<Vec<_>>()
    );
}

#[test]
fn text_keeps_characters_beyond_ascii_in_the_path() {
    let path = "é/日本/🚀/שלום\u{a0}";
    assert_eq!(
        record(Format::Text, path.as_bytes(), &line(b"x")),
        format!("{path}\tx\n").as_bytes()
    );
}

#[test]
fn text_escapes_what_a_terminal_obeys_or_shows_in_another_place() {
    for misleading in "\u{80}\u{85}\u{9b}\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
        let path = format!("é{misleading}é");
        let bytes: String = misleading.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        assert_eq!(record(Format::Text, path.as_bytes(), &line(b"x")), format!("é{bytes}é\tx\n").as_bytes());
    }
}

#[test]
fn every_text_path_can_be_had_back_from_its_escapes() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let path = random.bytes(24);
        let mut text = Vec::new();
        push_text_path(&path, &mut text);
        let text = String::from_utf8(text).expect("an escaped path is UTF-8");
        assert!(!text.contains(is_misleading), "{text:?}");
        let mut parts = text.split("\\x");
        let mut back = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            back.push(u8::from_str_radix(&part[..2], 16).unwrap());
            back.extend_from_slice(&part.as_bytes()[2..]);
        }
        assert_eq!(back, path);
    }
}

#[test]
fn json_of_a_plain_line_is_exactly_the_contracts_example() {
    assert_eq!(
        json(b"d1/job7.log", &line(b"...")),
        "{\"time\":\"2026-11-22T10:00:00.123456789Z\",\"path\":\"d1/job7.log\",\"file\":\"fd01-1a2b3c-0\",\"offset\":1234,\
         \"line\":\"...\"}\n"
    );
}

#[test]
fn json_has_every_key_in_order_when_all_apply() {
    let piece = Line { bytes: b"\xff", offset: u64::MAX, end: End::Open };
    assert_eq!(
        json(b"\xfe", &piece),
        "{\"time\":\"2026-11-22T10:00:00.123456789Z\",\"path\":\"\u{fffd}\",\"path_bytes\":\"/g==\",\"file\":\"fd01-1a2b3c-0\",\
         \"offset\":18446744073709551615,\"line\":\"\u{fffd}\",\"bytes\":\"/w==\",\"eol\":false}\n"
    );
}

#[test]
fn json_marks_only_pieces_that_no_newline_ends() {
    assert!(!json(b"p", &line(b"x")).contains("eol"));
    assert!(
        json(b"p", &Line { end: End::Open, ..line(b"x") })
            .ends_with(",\"line\":\"x\",\"eol\":false}\n")
    );
}

#[test]
fn json_escapes_quotes_backslashes_and_controls_and_nothing_else() {
    let record = json(
        b"p",
        &line("\"\\/\0\x07\x08\t\n\x0b\x0c\r\x1f\x7f\u{85}\u{2028}\u{2029}é".as_bytes()),
    );
    let expected = "\"line\":\"\\\"\\\\/\\u0000\\u0007\\b\\t\\n\\u000b\\f\\r\\u001f\x7f\u{85}\u{2028}\u{2029}é\"}\n";
    assert!(record.ends_with(expected), "{record:?}");
}

#[test]
fn json_replaces_maximal_subparts_by_one_replacement_character_each() {
    // A cut-off four-byte character, a lone continuation, a surrogate (three bad bytes), an
    // overlong form (two).
    let bytes = b"a\xf0\x9f\x9ab\x80c\xed\xa0\x80d\xc0\xafe";
    let record = json(b"p", &line(bytes));
    assert!(
        record.contains(&format!("\"line\":\"{}\"", String::from_utf8_lossy(bytes))),
        "{record:?}"
    );
    assert!(
        record
            .contains("\"line\":\"a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}\u{fffd}d\u{fffd}\u{fffd}e\""),
        "{record:?}"
    );
}

#[test]
fn a_byte_that_needs_an_escape_is_found_at_every_position() {
    for len in 0..=100 {
        for at in 0..len {
            for byte in 0..=u8::MAX {
                // Bytes behind the hit must not hide it, whatever a borrow does there.
                let mut bytes = vec![0x20; len];
                bytes[at] = byte;
                let plain = json_plain_len(&bytes);
                let is_plain = !needs_escape(byte) && byte.is_ascii();
                assert!(
                    if is_plain { plain == len } else { plain <= at },
                    "{byte:#x} at {at} of {len}: {plain}"
                );
                assert_eq!(
                    json_plain_len_exact(&bytes),
                    if is_plain { len } else { at },
                    "{byte:#x} at {at} of {len}"
                );
                if let Some(word) = bytes.first_chunk() {
                    let expected = (at < 8 && needs_escape(byte)).then_some(at);
                    assert_eq!(first_to_escape(*word), expected, "{byte:#x} at {at}");
                }
            }
        }
    }
}

#[test]
fn json_of_any_bytes_is_what_serde_json_would_write() {
    let mut random = Random(1);
    for _ in 0..300_000 {
        let (path, bytes) = (random.bytes(12), random.bytes(48));
        let line = Line {
            bytes: &bytes,
            offset: random.next() >> random.below(64),
            end: [End::Newline, End::Return, End::Open][random.below(3)],
        };
        assert_eq!(json(&path, &line), expected_json(&path, &line), "path {path:?} line {bytes:?}");
    }
}

#[test]
fn plain_lines_taken_together_give_the_records_that_each_gives_alone() {
    let mut random = Random(5);
    let (mut taken_together, mut encoder) = (0, Encoder::new(Format::Json));
    for _ in 0..30_000 {
        let any_or_plain = |random: &mut Random| {
            if random.below(2) == 0 { random.bytes(48) } else { vec![b'x'; random.below(48)] }
        };
        let bytes: Vec<u8> = (0..random.below(8))
            .flat_map(|_| [any_or_plain(&mut random), b"\n".to_vec()].concat())
            .collect();
        // Offsets where the number of digits changes, where all but the last four change, and any
        // others.
        let first = [0, 9_990, 99_990, 19_999_990, random.next() >> random.below(64).max(1)]
            [random.below(5)];
        let (limit, len_max) = (1 + random.below(100), random.below(1_500));
        let (mut lines, mut out) = (crate::lines::split_lines(&bytes, first, limit), Vec::new());
        encoder.begin(&source(b"p"));
        let mut expected = String::new();
        loop {
            let (before, mut one_by_one) = (out.len(), lines.clone());
            let (count, _) = encoder.encode_plain_lines(&mut lines, len_max, &mut out, |_| false);
            (0..count).for_each(|_| {
                expected += &expected_json(b"p", &one_by_one.next().expect("it was taken"))
            });
            assert_eq!((lines.consumed(), count > 0), (one_by_one.consumed(), out.len() > before));
            taken_together += usize::from(count > 1);
            let next = one_by_one.next();
            let is_plain = next.is_some_and(|next| {
                next.is_ended()
                    && next.bytes.iter().all(|&byte| !needs_escape(byte) && byte.is_ascii())
            });
            assert!(!is_plain || out.len() >= len_max, "it ends where it must");
            let Some(line) = lines.next() else { break };
            encoder.encode(&line, &mut out);
            expected += &expected_json(b"p", &line);
        }
        assert_eq!(
            String::from_utf8_lossy(&out),
            expected,
            "{bytes:?} at {first}, at most {limit}"
        );
    }
    assert!(taken_together > 3_000, "{taken_together}");
}

#[test]
fn an_offset_is_written_whatever_the_one_before_was() {
    let mut encoder = Encoder::new(Format::Json);
    encoder.begin(&source(b"p"));
    for offset in [
        0,
        9_999,
        10_000,
        10_001,
        19_999,
        20_000,
        10_000,
        9_999,
        100_000,
        99_999,
        u64::MAX,
        u64::MAX - 9_999,
        5,
        u64::MAX,
    ] {
        let (line, mut alone, mut together) =
            (Line { offset, ..line(b"x") }, Vec::new(), Vec::new());
        encoder.encode(&line, &mut alone);
        let mut lines = crate::lines::split_lines(b"x\n", offset, 10);
        let counts = encoder.encode_plain_lines(&mut lines, usize::MAX, &mut together, |_| false);
        assert_eq!(counts, (1, 0));
        assert_eq!(String::from_utf8(alone).unwrap(), expected_json(b"p", &line));
        assert_eq!(String::from_utf8(together).unwrap(), expected_json(b"p", &line));
    }
}

#[test]
fn lines_that_are_left_out_leave_the_others_as_they_are() {
    for (left_out, wanted) in [("", [0, 2, 4, 6].as_slice()), ("a", &[2, 6]), ("abcd", &[])] {
        let mut encoder = Encoder::new(Format::Json);
        encoder.begin(&source(b"p"));
        let mut lines = crate::lines::split_lines(b"a\nb\na\nc\nd", 0, 10);
        let mut out = Vec::new();
        let leaves_out = |line: &[u8]| left_out.as_bytes().contains(&line[0]);
        let counts = encoder.encode_plain_lines(&mut lines, usize::MAX, &mut out, leaves_out);
        assert_eq!(counts, (wanted.len(), 4 - wanted.len()), "{left_out}");
        assert_eq!(lines.consumed(), 8);
        let records = str::from_utf8(&out).expect("UTF-8").lines();
        let offset = |record: &str| {
            serde_json::from_str::<serde_json::Value>(record).expect("json")["offset"].as_u64()
        };
        assert_eq!(records.filter_map(offset).collect::<Vec<u64>>(), wanted, "{left_out}");
    }
}

#[test]
fn json_of_long_lines_parses_and_gives_the_bytes_back() {
    let mut random = Random(2);
    for _ in 0..200 {
        let bytes = random.bytes(20_000);
        let record = json(b"p", &line(&bytes));
        assert_eq!(record.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&record).expect("valid JSON");
        let back = match value.get("bytes") {
            Some(encoded) => STANDARD.decode(encoded.as_str().unwrap()).unwrap(),
            None => value["line"].as_str().unwrap().as_bytes().to_vec(),
        };
        assert_eq!(back, bytes);
    }
}

#[test]
fn records_are_appended_and_share_the_source_until_the_next_begin() {
    let mut encoder = Encoder::new(Format::Text);
    let mut out = b"before\n".to_vec();
    encoder.begin(&source(b"a"));
    encoder.encode(&line(b"1"), &mut out);
    encoder.encode(&line(b"2"), &mut out);
    encoder.begin(&source(b"bb"));
    encoder.encode(&line(b"3"), &mut out);
    assert_eq!(out, b"before\na\t1\na\t2\nbb\t3\n");
}

#[test]
fn the_file_names_device_and_inode_in_hex_and_the_generation_in_decimal() {
    let mut encoder = Encoder::new(Format::Json);
    let mut out = Vec::new();
    encoder.begin(&Source {
        device: u64::MAX,
        inode: 0,
        generation: 4_294_967_295,
        ..source(b"p")
    });
    encoder.encode(&line(b""), &mut out);
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["file"], "ffffffffffffffff-0-4294967295");
}

#[test]
fn time_is_right_when_seconds_repeat_step_forward_and_step_back() {
    let mut formatted = FormattedTime::new();
    let mut text = |seconds: u64, nanos: u32| {
        String::from_utf8(
            formatted.text_of(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)).to_vec(),
        )
        .unwrap()
    };
    assert_eq!(text(1_795_341_600, 1), "2026-11-22T10:00:00.000000001Z");
    assert_eq!(text(1_795_341_600, 999_999_999), "2026-11-22T10:00:00.999999999Z");
    assert_eq!(text(1_795_341_601, 0), "2026-11-22T10:00:01.000000000Z");
    assert_eq!(text(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
    assert_eq!(text(0, 0), "1970-01-01T00:00:00.000000000Z");
}

#[test]
fn a_clock_far_off_gives_the_nearest_time_that_can_be_written() {
    let mut formatted = FormattedTime::new();
    let mut text = |time: SystemTime| String::from_utf8(formatted.text_of(time).to_vec()).unwrap();
    assert_eq!(
        text(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
        "1970-01-01T00:00:00.000000000Z"
    );
    assert_eq!(
        text(SystemTime::UNIX_EPOCH + Duration::from_secs(SECOND_MAX + 1)),
        "9999-12-31T23:59:59.000000000Z"
    );
}

#[test]
fn numbers_are_written_as_the_standard_library_writes_them() {
    let mut random = Random(4);
    let mut numbers = vec![0, 9, 10, 15, 16, 99, 100, 101, 999, 1000, u64::MAX];
    numbers.extend((0..10_000).map(|_| random.next() >> random.below(64)));
    for number in numbers {
        let mut out = Vec::new();
        push_decimal(number, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        let mut out = Vec::new();
        push_hex(number, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{number:x}"));
    }
}

#[test]
fn the_host_stands_behind_the_time_and_is_escaped() {
    let mut encoder = Encoder::new(Format::Json);
    let mut out = Vec::new();
    encoder.set_host(Some("node\"7"));
    encoder.begin(&source(b"d/a"));
    encoder.encode(&line(b"one"), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.starts_with("{\"time\":\"2026-11-22T10:00:00.123456789Z\",\"host\":\"node\\\"7\",\"path\":\"d/a\",\"file\""),
        "{text}"
    );
    encoder.set_host(None);
    let mut out = Vec::new();
    encoder.begin(&source(b"d/a"));
    encoder.encode(&line(b"one"), &mut out);
    assert_eq!(out, record(Format::Json, b"d/a", &line(b"one")));
}

#[test]
fn an_event_has_all_that_the_records_of_lines_have_before_the_offset_and_why() {
    let mut encoder = Encoder::new(Format::Json);
    encoder.set_host(Some("n"));
    encoder.begin(&Source { job: b",\"job\":{\"id\":\"7\"}", ..source(b"a.log") });
    let event = |event| {
        let mut out = Vec::new();
        encoder.encode_event(184, &event, &mut out);
        String::from_utf8(out).unwrap()
    };
    let head = "{\"time\":\"2026-11-22T10:00:00.123456789Z\",\"host\":\"n\",\"path\":\"a.log\",\
        \"file\":\"fd01-1a2b3c-0\",\"job\":{\"id\":\"7\"},\"offset\":184,\"event\":";
    assert_eq!(
        event(Event::End(EndCause::Closed)),
        format!("{head}\"end\",\"why\":\"closed\"}}\n")
    );
    let lost = |bytes| event(Event::Lost { bytes, cause: LossCause::Truncated });
    assert_eq!(lost(84), format!("{head}\"lost\",\"bytes\":84,\"why\":\"truncated\"}}\n"));
    assert_eq!(lost(0), format!("{head}\"lost\",\"why\":\"truncated\"}}\n"), "not known");
}
