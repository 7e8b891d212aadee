//! Records as they come out: decoders for `raw`, `text` and `json`, strict enough to fail on
//! anything torn.
//!
//! In: bytes of an output. Out: [`Record`]s.
//! Always holds: a record that is not well-formed fails the test.

use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Raw,
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Empty in `raw`.
    pub(crate) path: Vec<u8>,
    pub(crate) line: Vec<u8>,
    /// Only in `json`.
    pub(crate) origin: Option<Origin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) time: String,
    pub(crate) file: String,
    pub(crate) offset: u64,
    /// Whether a newline or a carriage return ends the record.
    pub(crate) eol: bool,
    /// Whether it is a carriage return.
    pub(crate) is_segment: bool,
    pub(crate) has_bytes: bool,
    pub(crate) has_path_bytes: bool,
}

impl Record {
    pub(crate) fn origin(&self) -> &Origin {
        self.origin.as_ref().expect("only json records tell where they come from")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
    }

    /// The offset of the byte that follows this record in its file.
    pub(crate) fn end(&self) -> u64 {
        self.origin().offset + self.line.len() as u64 + u64::from(self.origin().eol)
    }

    /// When the record was read, in nanoseconds since midnight: enough to compare records of one
    /// test.
    pub(crate) fn nanoseconds(&self) -> i64 {
        let time = &self.origin().time;
        let number = |at: std::ops::Range<usize>| time[at].parse::<i64>().expect("digits");
        ((number(11..13) * 60 + number(14..16)) * 60 + number(17..19)) * 1_000_000_000
            + number(20..29)
    }
}

/// Decodes one record, without its newline.
pub(crate) fn decode(format: Format, bytes: &[u8]) -> Record {
    match format {
        Format::Raw => Record { path: Vec::new(), line: bytes.to_vec(), origin: None },
        Format::Text => {
            let tab = bytes.iter().position(|&byte| byte == b'\t');
            let tab = tab.unwrap_or_else(|| {
                panic!("a text record without a TAB: {:?}", String::from_utf8_lossy(head(bytes)))
            });
            Record { path: unescape(&bytes[..tab]), line: bytes[tab + 1..].to_vec(), origin: None }
        }
        Format::Json => decode_json(bytes),
    }
}

pub(crate) fn decode_all(format: Format, bytes: &[u8]) -> Vec<Record> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let body = bytes
        .strip_suffix(b"\n")
        .unwrap_or_else(|| panic!("the output ends in a torn record: {:?}", last(bytes)));
    body.split(|&byte| byte == b'\n').map(|record| decode(format, record)).collect()
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(200)]
}

fn last(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(200)..]).into_owned()
}

/// `\xHH` back to bytes; every other byte must be printable UTF-8.
fn unescape(path: &[u8]) -> Vec<u8> {
    let shown = std::str::from_utf8(path).expect("a text path is UTF-8");
    assert!(!shown.chars().any(|c| c.is_ascii_control()), "a control byte in the path {shown:?}");
    let mut bytes = Vec::new();
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = after;
            continue;
        }
        assert!(after.len() >= 3 && after[0] == b'x', "a lone backslash in the path {shown:?}");
        let digits = std::str::from_utf8(&after[1..3]).expect("hex digits");
        bytes.push(u8::from_str_radix(digits, 16).expect("hex digits"));
        rest = &after[3..];
    }
    bytes
}

fn decode_json(bytes: &[u8]) -> Record {
    let shown = || String::from_utf8_lossy(head(bytes)).into_owned();
    let text = std::str::from_utf8(bytes)
        .unwrap_or_else(|error| panic!("json is not UTF-8 ({error}): {}", shown()));
    let value: Value = serde_json::from_str(text)
        .unwrap_or_else(|error| panic!("not json ({error}): {}", shown()));
    let order = ["time", "path", "path_bytes", "file", "offset", "line", "bytes", "eol", "lines"];
    let present: Vec<&str> = order.into_iter().filter(|key| value.get(key).is_some()).collect();
    assert_eq!(keys(text), present, "the keys and their order: {}", shown());
    let string = |key: &str| {
        value[key].as_str().unwrap_or_else(|| panic!("no string {key}: {}", shown())).to_owned()
    };
    let (path, line) = (string("path"), string("line"));
    let path_bytes = value.get("path_bytes").map(|_| base64(&string("path_bytes")));
    let line_bytes = value.get("bytes").map(|_| base64(&string("bytes")));
    for (shown, bytes) in [(&path, &path_bytes), (&line, &line_bytes)] {
        if let Some(bytes) = bytes {
            assert!(
                std::str::from_utf8(bytes).is_err(),
                "bytes are given though they are valid UTF-8"
            );
            assert_eq!(*shown, String::from_utf8_lossy(bytes), "U+FFFD stands for the bad bytes");
        }
    }
    let eol = value.get("eol");
    assert!(
        eol.is_none_or(|eol| *eol == Value::Bool(false) || eol == "\r"),
        "eol is false or a carriage return: {}",
        shown()
    );
    let origin = Origin {
        time: string("time"),
        file: string("file"),
        offset: value["offset"].as_u64().unwrap_or_else(|| panic!("no offset: {}", shown())),
        eol: eol != Some(&Value::Bool(false)),
        is_segment: eol.is_some_and(|eol| eol == "\r"),
        has_bytes: line_bytes.is_some(),
        has_path_bytes: path_bytes.is_some(),
    };
    let (path, line) =
        (path_bytes.unwrap_or(path.into_bytes()), line_bytes.unwrap_or(line.into_bytes()));
    if let Some(lines) = value.get("lines") {
        let newlines = line.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let has_last = origin.eol || !line.ends_with(b"\n");
        assert_eq!(lines.as_u64(), Some(newlines + u64::from(has_last)), "{}", shown());
        assert!(newlines > 0, "one line is not counted: {}", shown());
    }
    Record { path, line, origin: Some(origin) }
}

/// The keys of a flat object, in the order in which they are written.
fn keys(object: &str) -> Vec<&str> {
    let mut strings = Vec::new();
    let bytes = object.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'"' {
            at += 1;
            continue;
        }
        let start = at + 1;
        at = start;
        while bytes[at] != b'"' {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        if bytes.get(at + 1) == Some(&b':') {
            strings.push(&object[start..at]);
        }
        at += 1;
    }
    strings
}

/// RFC 4648, with padding.
fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("not base64: {text}"),
    };
    assert_eq!(text.len() % 4, 0, "base64 comes in fours");
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let padding = four.iter().filter(|&&c| c == b'=').count();
        let word = four
            .iter()
            .fold(0_u32, |word, &c| word << 6 | u32::from(if c == b'=' { 0 } else { digit(c) }));
        bytes.extend_from_slice(&word.to_be_bytes()[1..4 - padding]);
    }
    bytes
}
