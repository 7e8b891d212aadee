//! Copies of passing records, for `manytail tap`.
//!
//! In: batches of records that go to the output. Out: whole records, as many as fit between two
//! requests.
//! Always holds: nothing is copied unless there was a request a moment ago; at most [`BYTES_MAX`]
//! bytes are stored, and records that do not fit are counted.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::Format;
use crate::record::syslog;

/// Most bytes stored between two requests.
const BYTES_MAX: usize = 256 * 1024;

/// Copying stops this long after the last request.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// The copied records.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    bytes: Vec<u8>,
    /// Records that did not fit.
    missed: u64,
    /// The time of the last request.
    asked_at: Option<Instant>,
}

impl Tap {
    /// Copies passing records, if there was a request a moment ago.
    #[inline]
    pub(crate) fn passed(&mut self, records: &[u8]) {
        if self.asked_at.is_some() {
            self.copy(records);
        }
    }

    #[cold]
    fn copy(&mut self, records: &[u8]) {
        let room = BYTES_MAX.saturating_sub(self.bytes.len()).min(records.len());
        let whole = memchr::memrchr(b'\n', &records[..room]).map_or(0, |at| at + 1);
        self.bytes.extend_from_slice(&records[..whole]);
        self.missed += memchr::memchr_iter(b'\n', &records[whole..]).count() as u64;
    }

    /// The records since the last request, and how many did not fit. Records are copied for a
    /// moment from now on.
    pub(crate) fn take(&mut self, now: Instant) -> (Vec<u8>, u64) {
        self.asked_at = Some(now);
        (std::mem::take(&mut self.bytes), std::mem::take(&mut self.missed))
    }

    /// Stops copying when the last request is too long ago.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            *self = Tap::default();
        }
    }

    /// When copying stops without a further request.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.asked_at.map(|at| at + KEPT_FOR)
    }
}

/// Appends everything in a record except its line, and the line's length in bytes.
pub(crate) fn without_line(format: Format, record: &[u8], out: &mut Vec<u8>) {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let (head, line_bytes): (&[u8], usize) = match format {
        Format::Raw => (b"", record.len()),
        Format::Text => record
            .split_at_checked(memchr::memchr(b'\t', record).map_or(0, |tab| tab + 1))
            .map_or((b"", 0), |(head, line)| (head, line.len())),
        Format::Syslog => {
            let line_bytes = syslog::line_of(record).map_or(record.len(), <[u8]>::len);
            (&record[..record.len() - line_bytes], line_bytes)
        }
        Format::Json => return json_without_line(record, out),
    };
    out.extend_from_slice(head);
    out.extend_from_slice(format!("({line_bytes} bytes)\n").as_bytes());
}

fn json_without_line(record: &[u8], out: &mut Vec<u8>) {
    let Ok(mut members) =
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(record)
    else {
        return;
    };
    if members.contains_key("event") {
        // It tells nothing of what is in the file.
        out.extend_from_slice(record);
        out.push(b'\n');
        return;
    }
    let line_bytes = match (members.remove("bytes"), members.remove("line")) {
        (Some(serde_json::Value::String(encoded)), _) => {
            STANDARD.decode(encoded).map_or(0, |bytes| bytes.len())
        }
        (_, Some(serde_json::Value::String(line))) => line.len(),
        _ => 0,
    };
    members.insert("line_bytes".to_owned(), line_bytes.into());
    out.extend_from_slice(serde_json::Value::Object(members).to_string().as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_see_lines_is_told_how_long_they_are() {
        let told = |format, record: &str| {
            let mut out = Vec::new();
            without_line(format, record.as_bytes(), &mut out);
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(told(Format::Raw, "secret\n"), "(6 bytes)\n");
        assert_eq!(told(Format::Text, "d/a.log\tsecret\tone\n"), "d/a.log\t(10 bytes)\n");
        let syslog = "90 <13>1 t h manytail - - [manytail@32473 path=\"a\" file=\"1-2-0\" \
            offset=\"0\"] secret\n";
        assert_eq!(told(Format::Syslog, syslog), syslog.replace("secret", "(6 bytes)"));
        let json = told(
            Format::Json,
            "{\"path\":\"a\",\"offset\":7,\"line\":\"s\\u00e4cret\",\"eol\":false}\n",
        );
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({"path": "a", "offset": 7, "eol": false, "line_bytes": 7})
        );
        assert!(
            !told(Format::Json, "{\"path\":\"a\",\"line\":\"\u{fffd}\",\"bytes\":\"/w==\"}\n")
                .contains("/w")
        );
    }

    #[test]
    fn records_are_copied_whole_while_somebody_asks_and_as_far_as_there_is_room() {
        let now = crate::sys::clock::now().instant;
        let mut tap = Tap::default();
        tap.passed(b"before\n");
        assert_eq!(tap.take(now), (Vec::new(), 0));
        tap.passed(b"one\ntwo\n");
        assert_eq!(tap.take(now), (b"one\ntwo\n".to_vec(), 0));
        let records = b"0123456789\n".repeat(BYTES_MAX / 11);
        tap.passed(&records);
        tap.passed(b"does not fit\nnor does this\n");
        let (bytes, missed) = tap.take(now);
        assert!(bytes == records && missed == 2, "{missed}");
        tap.expire(now + KEPT_FOR / 2);
        tap.passed(b"three\n");
        tap.expire(now + KEPT_FOR);
        assert_eq!((tap.deadline(), tap.take(now)), (None, (Vec::new(), 0)));
    }
}
