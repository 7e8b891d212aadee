//! Records as syslog messages: RFC 5424, each preceded by its length in bytes (RFC 6587, octet
//! counting).
//!
//! In: a source and its lines. Out: `LEN <13>1 TIME HOST manytail - - [manytail@32473 path="..."
//! file="..." offset="N"] LINE` and a newline, which counts as a byte of the message.
//! Always holds: as in all formats, a record ends with a newline and contains no other; values
//! contain nothing that controls a terminal.

use super::digits::push_decimal;
use super::printable::push_text_path;
use super::time::FormattedTime;
use super::{Source, push_file};
use crate::lines::{End, Line};

/// Facility user, severity notice: the default of logger(1).
const HEADER: &[u8] = b"<13>1 ";

/// The part behind the host: APP-NAME, no PROCID, no MSGID. 32473 is the enterprise number for
/// examples (RFC 5612); manytail has none of its own.
const ELEMENT: &[u8] = b" manytail - - [manytail@32473 path=\"";

/// TIME-SECFRAC has at most six digits: `2026-11-22T10:00:00.123456`.
const TIME_BYTES: usize = 26;

/// Encodes the lines of one source.
#[derive(Debug, Default)]
pub(super) struct Syslog {
    host: Vec<u8>,
    /// The message up to the offset.
    head: Vec<u8>,
    /// The labels, which follow the first element.
    labels: Vec<u8>,
    /// The digits of the offset; the buffer is reused.
    offset: Vec<u8>,
}

impl Syslog {
    /// Sets HOSTNAME, which is printable ASCII, or `-`.
    pub(super) fn set_host(&mut self, host: Option<&str>) {
        self.host.clear();
        self.host.extend(
            host.unwrap_or("-")
                .bytes()
                .map(|byte| if byte.is_ascii_graphic() { byte } else { b'_' }),
        );
    }

    pub(super) fn begin(&mut self, source: &Source<'_>, run: &[u8], time: &mut FormattedTime) {
        let head = &mut self.head;
        head.clear();
        head.extend_from_slice(HEADER);
        head.extend_from_slice(&time.text_of(source.read_at)[..TIME_BYTES]);
        head.extend_from_slice(b"Z ");
        head.extend_from_slice(if self.host.is_empty() { b"-" } else { &self.host });
        head.extend_from_slice(ELEMENT);
        push_value(source.path, head);
        head.extend_from_slice(b"\" file=\"");
        push_file(source.device, source.inode, source.generation, head);
        head.extend_from_slice(run);
        head.extend_from_slice(b"\" offset=\"");
        self.labels.clear();
        self.labels.extend_from_slice(source.labels);
    }

    pub(super) fn encode(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        self.offset.clear();
        push_decimal(line.offset, &mut self.offset);
        let end: &[u8] = match line.end {
            End::Newline => b"\"]",
            End::Return => b"\" eol=\"cr\"]",
            End::Open => b"\" eol=\"false\"]",
        };
        // Plus a blank before the line and the newline behind it.
        let len = self.head.len()
            + self.offset.len()
            + end.len()
            + self.labels.len()
            + 1
            + line.bytes.len()
            + 1;
        out.reserve(len + 21);
        push_decimal(len as u64, out);
        out.push(b' ');
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&self.offset);
        out.extend_from_slice(end);
        out.extend_from_slice(&self.labels);
        out.push(b' ');
        out.extend_from_slice(line.bytes);
        out.push(b'\n');
    }
}

/// Appends a PARAM-VALUE: escaped like paths for people, with a backslash before `"`, `\` and `]`.
fn push_value(value: &[u8], out: &mut Vec<u8>) {
    let mut text = Vec::new();
    push_text_path(value, &mut text);
    for byte in text {
        if matches!(byte, b'"' | b'\\' | b']') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// The labels as an element of their own; empty if there are none. SD-NAME is up to 32 printable
/// ASCII characters without `="]`; other characters become `_`.
pub(crate) fn encode_labels(labels: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        out.extend_from_slice(if out.is_empty() { b"[labels@32473 ".as_slice() } else { b" " });
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"=\"]".contains(&byte);
        out.extend(name.bytes().take(32).map(|byte| if is_plain(byte) { byte } else { b'_' }));
        out.extend_from_slice(b"=\"");
        push_value(value.as_bytes(), &mut out);
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b']');
    }
    out
}

/// The line in a record that has no newline at its end.
pub(crate) fn line_of(record: &[u8]) -> Option<&[u8]> {
    let mut rest = &record[memchr::memmem::find(record, b" [manytail@32473 ")? + 1..];
    while rest.first() == Some(&b'[') {
        let mut is_escaped = false;
        let end = rest.iter().position(|&byte| {
            let is_end = byte == b']' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        })?;
        rest = &rest[end + 1..];
    }
    rest.strip_prefix(b" ")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::Encoder;
    use super::*;
    use crate::config::Format;

    fn record(
        path: &[u8],
        labels: &[(&str, &str)],
        host: Option<&str>,
        line: &Line<'_>,
    ) -> Vec<u8> {
        let labels: Vec<(String, String)> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let labels = encode_labels(&labels);
        let read_at = SystemTime::UNIX_EPOCH + Duration::new(1_795_341_600, 123_456_789);
        let mut encoder = Encoder::new(Format::Syslog);
        encoder.set_host(host);
        encoder.begin(&Source {
            path,
            device: 0xfd01,
            inode: 0x1a_2b3c,
            generation: 2,
            labels: &labels,
            job: b"",
            read_at,
        });
        let mut out = Vec::new();
        encoder.encode(line, &mut out);
        out
    }

    /// The message, by the length before it.
    fn message(record: &[u8]) -> &[u8] {
        let blank = record.iter().position(|&byte| byte == b' ').expect("a blank");
        let len: usize =
            str::from_utf8(&record[..blank]).expect("digits").parse().expect("a number");
        assert_eq!(record.len(), blank + 1 + len, "the number is that of all bytes behind it");
        &record[blank + 1..]
    }

    #[test]
    fn a_line_is_a_message_with_its_length_its_origin_and_its_labels() {
        let line = Line { bytes: b"one] \"two\"", offset: 1234, end: End::Newline };
        let out = record(
            b"d1/job7.log",
            &[("cluster", "north"), ("a b", "x\"]\\\n")],
            Some("node 7"),
            &line,
        );
        let wanted = "<13>1 2026-11-22T10:00:00.123456Z node_7 manytail - - \
                      [manytail@32473 path=\"d1/job7.log\" file=\"fd01-1a2b3c-2\" offset=\"1234\"]\
                      [labels@32473 cluster=\"north\" a_b=\"x\\\"\\]\\\\x5c\\\\x0a\"] one] \
                      \"two\"\n";
        assert_eq!(String::from_utf8_lossy(message(&out)), wanted);
        assert_eq!(line_of(&out[..out.len() - 1]), Some(line.bytes));
    }

    #[test]
    fn a_piece_says_so_and_an_empty_line_is_a_message() {
        let out = record(b"a]\n\xff", &[], None, &Line { bytes: b"", offset: 0, end: End::Open });
        let text = String::from_utf8(message(&out).to_vec()).expect("UTF-8");
        assert!(
            text.contains(" - manytail - - [manytail@32473 path=\"a\\]\\\\x0a\\\\xff\" "),
            "{text}"
        );
        assert!(text.ends_with("offset=\"0\" eol=\"false\"] \n"), "{text}");
        assert_eq!(memchr::memchr_iter(b'\n', &out).count(), 1);
        assert_eq!(line_of(&out[..out.len() - 1]), Some(&b""[..]));
        assert_eq!(line_of(b"no message"), None);
    }
}
