//! Lines to records: raw, text and json, as bytes at the end of a buffer.
//!
//! In: a [`Source`] once per read, then its [`Line`]s. Out: one record per line, which ends in `\n` and holds no other newline than
//! that one. Always holds: json is one valid UTF-8 object per record whatever the bytes of line and path, and the bytes themselves
//! can be had back from it; steady work allocates nothing but growth of the caller's buffer.

use std::io::Write;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::Format;
use crate::lines::Line;

/// What the records of one read have in common.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// PATH as given joined with the path below it, as bytes.
    pub path: &'a [u8],
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// How many times the content of this inode started anew.
    pub incarnation: u32,
    /// When the bytes were read. Years 1970 to 9999; a clock outside of them is shown as the nearest second within.
    pub read_at: SystemTime,
}

/// Encodes lines as records of one format.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    /// Every record of the current source begins with these bytes.
    head: Vec<u8>,
    second: FormattedSecond,
}

impl Encoder {
    /// An encoder without a source: [`Encoder::begin`] comes first.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Encoder { format, head: Vec::new(), second: FormattedSecond::new() }
    }

    /// Sets the source of the lines that follow, and encodes what their records share.
    pub fn begin(&mut self, source: &Source<'_>) {
        self.head.clear();
        match self.format {
            Format::Raw => {}
            Format::Text => {
                push_text_path(source.path, &mut self.head);
                self.head.push(b'\t');
            }
            Format::Json => self.begin_json(source),
        }
    }

    /// Appends the record of `line` to `out`.
    #[inline]
    pub fn encode(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Raw | Format::Text => {
                out.reserve(self.head.len() + line.bytes.len() + 1);
                out.extend_from_slice(&self.head);
                out.extend_from_slice(line.bytes);
                out.push(b'\n');
            }
            Format::Json => self.encode_json(line, out),
        }
    }

    fn begin_json(&mut self, source: &Source<'_>) {
        let head = &mut self.head;
        head.extend_from_slice(b"{\"time\":\"");
        self.second.push_time(source.read_at, head);
        head.extend_from_slice(b"\",");
        push_json_path(source.path, head);
        head.extend_from_slice(b",\"file\":\"");
        push_file(source.device, source.inode, source.incarnation, head);
        head.extend_from_slice(b"\",\"offset\":");
    }

    fn encode_json(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        debug_assert!(!self.head.is_empty(), "a record needs a source: begin comes before encode");
        // Room for a line that needs no escape: offset, keys and braces take less than 64 bytes.
        out.reserve(self.head.len() + line.bytes.len() + 64);
        out.extend_from_slice(&self.head);
        push_decimal(line.offset, out);
        out.extend_from_slice(b",\"line\":\"");
        if !push_json_text(line.bytes, out) {
            out.extend_from_slice(b"\",\"bytes\":\"");
            push_base64(line.bytes, out);
        }
        out.extend_from_slice(if line.ended { b"\"}\n" } else { b"\",\"eol\":false}\n" });
    }
}

/// The text of a second, kept: most reads fall into the second of the read before.
#[derive(Debug)]
struct FormattedSecond {
    /// Seconds since 1970; `u64::MAX` before the first use.
    second: u64,
    /// `2026-11-22T10:00:00Z`.
    text: [u8; 20],
}

/// 9999-12-31T23:59:59Z: RFC 3339 has no fifth digit for the year.
const SECOND_MAX: u64 = 253_402_300_799;

impl FormattedSecond {
    fn new() -> Self {
        FormattedSecond { second: u64::MAX, text: [b'0'; 20] }
    }

    /// Appends `2026-11-22T10:00:00.123456789Z`.
    fn push_time(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        // A clock that is off must not stop the delivery.
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let second = since_epoch.as_secs().min(SECOND_MAX);
        if second != self.second {
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            write!(&mut self.text[..], "{}", humantime::format_rfc3339_seconds(whole)).expect("years up to 9999 take 20 bytes");
            self.second = second;
        }
        let (date_and_time, _zone) = self.text.split_at(19);
        out.extend_from_slice(date_and_time);
        write!(out, ".{:09}Z", since_epoch.subsec_nanos()).expect("a vector takes every write");
    }
}

/// Appends `file` of a record, which names one generation of a file: `fd01-1a2b3c-0`.
pub(crate) fn push_file(device: u64, inode: u64, incarnation: u32, out: &mut Vec<u8>) {
    write!(out, "{device:x}-{inode:x}-{incarnation}").expect("a vector takes every write");
}

/// Appends the members `path`, and `path_bytes` where the path is not UTF-8.
pub(crate) fn push_json_path(path: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"path\":\"");
    if !push_json_text(path, out) {
        out.extend_from_slice(b"\",\"path_bytes\":\"");
        push_base64(path, out);
    }
    out.push(b'"');
}

/// Appends a second as RFC 3339 has it: `2026-11-22T10:00:00Z`.
pub(crate) fn push_second(seconds_since_1970: u64, out: &mut Vec<u8>) {
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds_since_1970.min(SECOND_MAX));
    write!(out, "{}", humantime::format_rfc3339_seconds(second)).expect("a vector takes every write");
}

/// Appends a path for people: `\`, control bytes (below 0x20, and 0x7f) and bytes that are not UTF-8 as `\x` and two lower-case hex
/// digits; all else as it is. The path can be had back by undoing every `\xHH`.
pub(crate) fn push_text_path(path: &[u8], out: &mut Vec<u8>) {
    for chunk in path.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            if byte.is_ascii_control() || byte == b'\\' { push_hex_escape(byte, out) } else { out.push(byte) }
        }
        for &byte in chunk.invalid() {
            push_hex_escape(byte, out);
        }
    }
}

fn push_hex_escape(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'x', hex_digit(byte >> 4), hex_digit(byte & 15)]);
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

/// Appends the inside of a JSON string. Returns whether `bytes` were valid UTF-8; where they were not, U+FFFD stands for each
/// maximal run that could have begun a character (as [`String::from_utf8_lossy`] does it).
#[inline]
pub(crate) fn push_json_text(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    if str::from_utf8(bytes).is_ok() {
        push_json_escaped(bytes, out);
        return true;
    }
    for chunk in bytes.utf8_chunks() {
        push_json_escaped(chunk.valid().as_bytes(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    false
}

/// Copies runs that need no escape, and escapes what lies between them.
#[inline]
fn push_json_escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    loop {
        let (plain, rest) = bytes.split_at(json_plain_len(bytes));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = rest.split_first() else { return };
        push_json_escape(byte, out);
        bytes = after;
    }
}

fn push_json_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex_digit(byte >> 4), hex_digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// How many bytes at the front may stand in a JSON string as they are: all but those below 0x20, `"` and `\`.
///
/// Looks at eight bytes at once ("Bit Twiddling Hacks", determine if a word has a byte less than n). A borrow can make a byte look
/// like a hit only behind a true one, and only the first hit is used.
#[inline]
fn json_plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);

    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = (below(word, 0x20) | equal(word, b'"') | equal(word, b'\\')) & HIGH_BITS;
        if hits != 0 {
            return index * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    let in_tail = tail.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    words.len() * 8 + in_tail.unwrap_or(tail.len())
}

/// Appends the base64 of `bytes` (RFC 4648 section 4, padded), written in place.
fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("base64 takes four bytes for each three begun");
    debug_assert_eq!(written, out.len() - start, "base64 is padded");
}

/// Appends a number, without the formatting machinery of `write!`: this is once per record.
#[inline]
fn push_decimal(mut number: u64, out: &mut Vec<u8>) {
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests;
