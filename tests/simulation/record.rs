//! Records as a consumer reads them: raw, text and json, parsed without the product's help.
//!
//! In: one record without its newline. Out: a [`Record`], or the reason why it is not one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manytail::testing::config::Format;
use serde_json::{Map, Value};

use crate::kernel::DEVICE;

#[derive(Debug)]
pub(crate) struct Record {
    /// The identity, json only.
    pub(crate) file: Option<Vec<u8>>,
    /// The number of the inode that the identity names.
    pub(crate) inode: Option<u64>,
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) offset: u64,
    pub(crate) line: Vec<u8>,
    pub(crate) eol: bool,
    /// A carriage return ends it.
    pub(crate) is_segment: bool,
    /// What it tells instead of a line.
    pub(crate) event: Option<Event>,
}

/// What a record tells of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    End,
    /// So many bytes were lost.
    Lost(u64),
}

impl Record {
    /// The position after the record and its newline.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.line.len() as u64 + u64::from(self.eol)
    }
}

pub(crate) fn parse(format: Format, record: &[u8]) -> Result<Record, String> {
    let plain = |path, line: &[u8]| Record {
        file: None,
        inode: None,
        path,
        offset: 0,
        line: line.to_vec(),
        eol: true,
        is_segment: false,
        event: None,
    };
    match format {
        Format::Raw => Ok(plain(None, record)),
        Format::Text => {
            let tab = memchr::memchr(b'\t', record)
                .ok_or_else(|| format!("no TAB in {}", record.escape_ascii()))?;
            Ok(plain(Some(unescape(&record[..tab])?), &record[tab + 1..]))
        }
        Format::Json => {
            parse_json(record).map_err(|why| format!("{why} in {}", record.escape_ascii()))
        }
        Format::Syslog => unreachable!("simulated runs do not write it"),
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let digits = after
            .strip_prefix(b"x")
            .and_then(|digits| digits.get(..2))
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(|| format!("no escape: {}", text.escape_ascii()))?);
        rest = &after[3..];
    }
    Ok(bytes)
}

fn parse_json(record: &[u8]) -> Result<Record, String> {
    let value: Value = serde_json::from_slice(record).map_err(|error| error.to_string())?;
    let Value::Object(object) = value else { return Err("no object".to_owned()) };
    let event = object.get("event").map(|_| event(&object)).transpose()?;
    let known: &[&str] = match event {
        None => &["time", "path", "path_bytes", "file", "offset", "line", "bytes", "eol", "lines"],
        Some(_) => &["time", "path", "path_bytes", "file", "offset", "event", "bytes", "why"],
    };
    if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("an unknown key {key}"));
    }
    text(&object, "time")?;
    let file = text(&object, "file")?;
    let mut parts = file.split('-');
    let mut hex =
        || parts.next().and_then(|part| u64::from_str_radix(part, 16).ok()).ok_or("no identity");
    let (device, inode) = (hex()?, hex()?);
    if device != DEVICE {
        return Err("another device".to_owned());
    }
    let record = Record {
        inode: Some(inode),
        path: Some(bytes(&object, "path", "path_bytes")?),
        offset: object.get("offset").and_then(Value::as_u64).ok_or("no offset")?,
        line: if event.is_none() { bytes(&object, "line", "bytes")? } else { Vec::new() },
        event,
        eol: match object.get("eol") {
            None => true,
            Some(Value::Bool(false)) => false,
            Some(text) if text == "\r" => true,
            Some(_) => return Err("an eol that is neither false nor a carriage return".to_owned()),
        },
        is_segment: object.get("eol").is_some_and(|eol| eol == "\r"),
        file: Some(file.into_bytes()),
    };
    let newlines = record.line.iter().filter(|&&byte| byte == b'\n').count() as u64;
    let has_last = record.eol || !record.line.ends_with(b"\n");
    let count = newlines + u64::from(has_last);
    let wanted = (count > 1).then_some(count);
    if object.get("lines").and_then(Value::as_u64) != wanted {
        return Err("a wrong number of lines".to_owned());
    }
    Ok(record)
}

fn event(object: &Map<String, Value>) -> Result<Event, String> {
    let why = text(object, "why")?;
    match (text(object, "event")?.as_str(), why.as_str()) {
        ("end", "closed" | "idle" | "deleted" | "left" | "replaced") => Ok(Event::End),
        ("lost", "deleted" | "moved" | "truncated") => {
            let bytes = object.get("bytes").map(|bytes| bytes.as_u64().ok_or("no number"));
            Ok(Event::Lost(bytes.transpose()?.unwrap_or(0)))
        }
        (event, _) => Err(format!("an unknown event {event}, {why}")),
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Result<String, String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("no {key}"))
}

/// The value of `exact` in base64, or else `readable` as UTF-8; `exact` must be there only if it is
/// needed.
fn bytes(object: &Map<String, Value>, readable: &str, exact: &str) -> Result<Vec<u8>, String> {
    let told = text(object, readable)?;
    if !object.contains_key(exact) {
        return Ok(told.into_bytes());
    }
    let bytes = STANDARD.decode(text(object, exact)?).map_err(|error| error.to_string())?;
    if std::str::from_utf8(&bytes).is_ok() {
        return Err(format!("{exact} though it is UTF-8"));
    }
    Ok(bytes)
}
