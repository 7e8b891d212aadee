//! Lines to records: raw, text, json and syslog, as bytes at the end of a buffer.
//!
//! In: a [`Source`] once per read, then its [`Line`]s. Out: one record per line, which ends in `\n`
//! and holds no other newline than that one.
//! Always holds: json is one valid UTF-8 object per record whatever the bytes of line and path, and
//! the bytes themselves can be had back from it; steady work allocates nothing but growth of the
//! caller's buffer.

pub(crate) mod syslog;

use std::io::Write;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::Format;
use crate::lines::{Line, Lines};
use syslog::Syslog;

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
    pub generation: u32,
    /// What [`encode_labels`] made of the input's labels, for this format.
    pub labels: &'a [u8],
    /// When the bytes were read. Years 1970 to 9999; a clock outside of them is shown as the
    /// nearest second within.
    pub read_at: SystemTime,
}

/// Encodes lines as records of one format.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    /// json: the host with its key and a comma behind it; may be nothing.
    host: Vec<u8>,
    /// The fourth part of `file`, with the dash before it; may be nothing.
    run: Vec<u8>,
    /// What comes before the bytes of each line of the current source. In json [`RECORD_END`],
    /// which ends the record before, and a whole record up to the bytes of the line.
    head: Vec<u8>,
    /// json: where in `head` the offset begins.
    offset_at: usize,
    /// json: the offset in `head`, less its last four digits, which are set in each copy. 0: `head`
    /// is used as it is, for one offset only.
    myriad: u64,
    syslog: Syslog,
    time: FormattedTime,
}

/// The end of a json record that is a whole line.
const RECORD_END: &[u8] = b"\"}\n";

/// What stands between the offset and the bytes of a line.
const LINE_KEY: &[u8] = b",\"line\":\"";

impl Encoder {
    /// An encoder without a source: [`Encoder::begin`] comes first.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Encoder {
            format,
            host: Vec::new(),
            run: Vec::new(),
            head: Vec::new(),
            offset_at: 0,
            myriad: 0,
            syslog: Syslog::default(),
            time: FormattedTime::new(),
        }
    }

    /// The host's name, or none, in the records of sources that begin from now on.
    pub fn set_host(&mut self, host: Option<&str>) {
        self.syslog.set_host(host);
        self.host.clear();
        if let Some(host) = host {
            self.host.extend_from_slice(b"\"host\":\"");
            push_json_text(host.as_bytes(), &mut self.host);
            self.host.extend_from_slice(b"\",");
        }
    }

    /// From now on `file` has a fourth part, the number of this run. For a run that does not know
    /// which generations were used before.
    pub fn mark_run(&mut self, run: u64) {
        self.run.clear();
        self.run.push(b'-');
        push_hex(run, &mut self.run);
    }

    /// What [`Encoder::mark_run`] puts behind the other parts of `file`.
    pub(crate) fn run(&self) -> &[u8] {
        &self.run
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
            Format::Syslog => self.syslog.begin(source, &self.run, &mut self.time),
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
            Format::Syslog => self.syslog.encode(line, out),
        }
    }

    /// Appends the json records of the next lines, up to the first line that is unfinished or needs
    /// an escape, or until `out` holds `len_max` bytes. Returns the number of records.
    ///
    /// The end of a record and the start of the next one are one copy, and each line is searched
    /// once.
    // Out of line: most reads hold one line and never come here.
    #[inline(never)]
    pub(crate) fn encode_plain_lines(
        &mut self,
        lines: &mut Lines<'_>,
        len_max: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut count = 0;
        while out.len() < len_max
            && let Some(line) = lines.next_plain(json_plain_len_exact)
        {
            out.reserve(self.head.len() + line.bytes.len() + RECORD_END.len());
            self.push_head(line.offset, if count == 0 { RECORD_END.len() } else { 0 }, out);
            out.extend_from_slice(line.bytes);
            count += 1;
        }
        if count > 0 {
            out.extend_from_slice(RECORD_END);
        }
        count
    }

    fn begin_json(&mut self, source: &Source<'_>) {
        let head = &mut self.head;
        head.extend_from_slice(RECORD_END);
        head.extend_from_slice(b"{\"time\":\"");
        head.extend_from_slice(self.time.text_of(source.read_at));
        head.extend_from_slice(b"\",");
        head.extend_from_slice(&self.host);
        push_json_path(source.path, head);
        head.extend_from_slice(b",\"file\":\"");
        push_file(source.device, source.inode, source.generation, head);
        head.extend_from_slice(&self.run);
        head.push(b'"');
        head.extend_from_slice(source.labels);
        head.extend_from_slice(b",\"offset\":");
        self.offset_at = head.len();
        self.myriad = 0;
    }

    /// Appends `head`, from this byte on, with the offset of the next line.
    #[inline]
    fn push_head(&mut self, offset: u64, from: usize, out: &mut Vec<u8>) {
        let mut low = offset.wrapping_sub(self.myriad);
        if self.myriad == 0 || low >= 10_000 {
            self.set_offset(offset);
            low = offset % 10_000;
        }
        out.extend_from_slice(&self.head[from..]);
        if self.myriad > 0 {
            // Most lines are near the one before. Not in `head`: the copy would wait for what was
            // just written there.
            let ([thousands, hundreds], [tens, ones]) =
                (digit_pair(low / 100), digit_pair(low % 100));
            let end = out.len() - LINE_KEY.len();
            out[end - 4..end].copy_from_slice(&[thousands, hundreds, tens, ones]);
        }
    }

    #[cold]
    fn set_offset(&mut self, offset: u64) {
        self.head.truncate(self.offset_at);
        push_offset_and_key(offset, &mut self.head);
        self.myriad = offset - offset % 10_000;
    }

    fn encode_json(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        debug_assert!(self.offset_at > 0, "a record needs a source: begin comes before encode");
        // Room for a line that needs no escape: offset, keys and braces take less than 64 bytes.
        out.reserve(self.offset_at + line.bytes.len() + 64);
        out.extend_from_slice(&self.head[RECORD_END.len()..self.offset_at]);
        push_offset_and_key(line.offset, out);
        if !push_json_text(line.bytes, out) {
            out.extend_from_slice(b"\",\"bytes\":\"");
            push_base64(line.bytes, out);
        }
        if line.ended {
            out.extend_from_slice(RECORD_END);
        } else {
            out.extend_from_slice(b"\",\"eol\":false}\n");
        }
    }
}

/// Appends an offset and [`LINE_KEY`].
#[inline]
fn push_offset_and_key(offset: u64, out: &mut Vec<u8>) {
    let mut offset_and_key = *b"00000000000000000000,\"line\":\"";
    let digits = offset_and_key.first_chunk_mut().expect("20 digits come first");
    let at = write_decimal(offset, digits);
    out.extend_from_slice(&offset_and_key[at..]);
}

/// The text of a time, kept: all reads of a turn have one time, and most turns fall into the second
/// of the turn before.
#[derive(Debug)]
struct FormattedTime {
    time: SystemTime,
    /// Whole seconds of `time` since 1970.
    second: u64,
    /// `2026-11-22T10:00:00.123456789Z`.
    text: [u8; 30],
}

/// 9999-12-31T23:59:59Z: RFC 3339 has no fifth digit for the year.
pub(crate) const SECOND_MAX: u64 = 253_402_300_799;

impl FormattedTime {
    fn new() -> Self {
        FormattedTime {
            time: SystemTime::UNIX_EPOCH,
            second: 0,
            text: *b"1970-01-01T00:00:00.000000000Z",
        }
    }

    fn text_of(&mut self, time: SystemTime) -> &[u8] {
        if time != self.time {
            self.format(time);
        }
        &self.text
    }

    fn format(&mut self, time: SystemTime) {
        // A clock that is off must not stop the delivery.
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let second = since_epoch.as_secs().min(SECOND_MAX);
        if second != self.second {
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            write!(&mut self.text[..20], "{}", humantime::format_rfc3339_seconds(whole))
                .expect("years up to 9999 take 20 bytes");
            self.second = second;
        }
        write!(&mut self.text[19..], ".{:09}Z", since_epoch.subsec_nanos())
            .expect("nine digits fit");
        self.time = time;
    }
}

/// Labels as they stand in records of a format; nothing if there are none, or the format has no
/// place for them.
#[must_use]
pub fn encode_labels(format: Format, labels: &[(String, String)]) -> Vec<u8> {
    match format {
        Format::Raw | Format::Text => Vec::new(),
        Format::Json => encode_json_labels(labels),
        Format::Syslog => syslog::encode_labels(labels),
    }
}

/// The member `labels` with the comma before it.
fn encode_json_labels(labels: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        out.extend_from_slice(if out.is_empty() { b",\"labels\":{\"".as_slice() } else { b",\"" });
        push_json_text(name.as_bytes(), &mut out);
        out.extend_from_slice(b"\":\"");
        push_json_text(value.as_bytes(), &mut out);
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// Appends `file` of a record, which names one generation of a file: `fd01-1a2b3c-0`.
pub(crate) fn push_file(device: u64, inode: u64, generation: u32, out: &mut Vec<u8>) {
    push_hex(device, out);
    out.push(b'-');
    push_hex(inode, out);
    out.push(b'-');
    push_decimal(u64::from(generation), out);
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
    write!(out, "{}", humantime::format_rfc3339_seconds(second))
        .expect("a vector takes every write");
}

/// Whether a terminal, or whoever reads a line, could be misled by this character in a name:
/// control characters (C0, DEL and C1), separators of lines and paragraphs, and the marks that
/// change the direction of writing.
pub(crate) fn is_misleading(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends a path for people: each byte of `\`, of misleading characters (see [`is_misleading`])
/// and of what is not UTF-8 as `\x` and two lower-case hex digits; all else as it is. The path can
/// be had back by undoing every `\xHH`.
pub(crate) fn push_text_path(path: &[u8], out: &mut Vec<u8>) {
    // As a signed number, a byte beyond ASCII is below 0x20 too.
    let (plain, path) = path.split_at(plain_len(path, |byte| {
        (byte.cast_signed() < 0x20) | (byte == 0x7f) | (byte == b'\\')
    }));
    out.extend_from_slice(plain);
    if !path.is_empty() {
        push_escaped_path(path, out);
    }
}

#[cold]
fn push_escaped_path(path: &[u8], out: &mut Vec<u8>) {
    let is_escaped = |letter| letter == '\\' || is_misleading(letter);
    for chunk in path.utf8_chunks() {
        // Each piece but the last ends with one letter to escape.
        for piece in chunk.valid().split_inclusive(is_escaped) {
            let plain = piece.trim_end_matches(is_escaped);
            out.extend_from_slice(plain.as_bytes());
            piece[plain.len()..].bytes().for_each(|byte| push_hex_escape(byte, out));
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

/// Appends the inside of a JSON string. Returns whether `bytes` were valid UTF-8; where they were
/// not, U+FFFD stands for each maximal run that could have begun a character (as
/// [`String::from_utf8_lossy`] does it).
#[inline]
pub(crate) fn push_json_text(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    // Most lines end here: looked at once, and copied.
    let (plain, rest) = bytes.split_at(json_plain_len(bytes));
    out.extend_from_slice(plain);
    rest.is_empty() || push_json_rest(rest, out)
}

/// The same for a part that has something to escape or is not ASCII.
fn push_json_rest(mut bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut is_valid = true;
    while let Err(error) = str::from_utf8(bytes) {
        is_valid = false;
        push_json_escaped(&bytes[..error.valid_up_to()], out);
        out.extend_from_slice("\u{fffd}".as_bytes());
        // Without a length the end cut a character off.
        bytes = error.error_len().map_or(&[], |len| &bytes[error.valid_up_to() + len..]);
    }
    push_json_escaped(bytes, out);
    is_valid
}

/// Appends valid UTF-8, escaped.
fn push_json_escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some((word, after)) = bytes.split_first_chunk::<8>() {
        // Copied first, taken back from the first byte to escape on: most words have none.
        out.extend_from_slice(word);
        let Some(at) = first_to_escape(*word) else {
            bytes = after;
            continue;
        };
        out.truncate(out.len() - word.len() + at);
        push_json_escape(bytes[at], out);
        bytes = &bytes[at + 1..];
    }
    for &byte in bytes {
        if needs_escape(byte) { push_json_escape(byte, out) } else { out.push(byte) }
    }
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
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
            out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                hex_digit(byte >> 4),
                hex_digit(byte & 15),
            ]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The first of eight bytes that may not stand in a JSON string as it is.
#[inline]
fn first_to_escape(word: [u8; 8]) -> Option<usize> {
    first_hit(bytes_to_escape(u64::from_le_bytes(word)))
}

/// The first of eight bytes that is not ASCII, or may not stand in a JSON string as it is.
#[inline]
fn first_not_plain(word: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    first_hit(bytes_to_escape(word) | word)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;

/// The high bits of those of eight bytes that are to be escaped.
///
/// Looks at all at once ("Bit Twiddling Hacks", determine if a word has a byte less than n). A
/// borrow can make a byte look like a hit only behind a true one: only the first hit may be used.
#[inline]
fn bytes_to_escape(word: u64) -> u64 {
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | equal(word, b'"') | equal(word, b'\\')
}

#[inline]
fn first_hit(high_bits: u64) -> Option<usize> {
    let hits = high_bits & HIGH_BITS;
    (hits != 0).then(|| hits.trailing_zeros() as usize / 8)
}

/// How many bytes at the front are ASCII and may stand in a JSON string as they are: all of them,
/// or a part that was quick to find.
#[inline]
fn json_plain_len(bytes: &[u8]) -> usize {
    // As a signed number, a byte beyond ASCII is below 0x20 too.
    plain_len(bytes, |byte| (byte.cast_signed() < 0x20) | (byte == b'"') | (byte == b'\\'))
}

/// The same, exactly.
#[inline]
fn json_plain_len_exact(bytes: &[u8]) -> usize {
    let mut at = json_plain_len(bytes);
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        match first_not_plain(*word) {
            Some(distance) => return at + distance,
            None => at += word.len(),
        }
    }
    at + bytes[at..]
        .iter()
        .position(|&byte| needs_escape(byte) || !byte.is_ascii())
        .unwrap_or(bytes.len() - at)
}

/// How many bytes at the front are not special: all of them, or a part that was quick to find.
#[inline]
fn plain_len(bytes: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    match bytes.len() {
        0..8 => bytes.iter().position(|&byte| is_special(byte)).unwrap_or(bytes.len()),
        8..32 => plain_chunks_len::<8>(bytes, is_special),
        _ => plain_chunks_len::<32>(bytes, is_special),
    }
}

/// The same by chunks, of which the last overlaps the one before.
#[inline]
fn plain_chunks_len<const N: usize>(bytes: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let from = at.min(bytes.len() - N);
        let Some(chunk) = bytes[from..].first_chunk::<N>() else { return at };
        // In two steps without a branch: the compiler makes vector instructions of it.
        let special: [u8; N] = std::array::from_fn(|at| u8::from(is_special(chunk[at])));
        if special.iter().fold(0, |any, one| any | one) != 0 {
            return at;
        }
        at = from + N;
    }
    bytes.len()
}

/// Appends the base64 of `bytes` (RFC 4648 section 4, padded), written in place.
fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("base64 takes four bytes for each three begun");
    debug_assert_eq!(written, out.len() - start, "base64 is padded");
}

/// The two digits of each number below 100.
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number: u8 = 0;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

/// The two digits of a number below 100.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "it is below 100")]
fn digit_pair(number: u64) -> [u8; 2] {
    DIGIT_PAIRS[number as usize]
}

/// Writes a number to the end of `digits`, without the formatting machinery of `write!`: this is
/// once per record. Returns where it begins. u64::MAX has 20 digits.
#[inline]
fn write_decimal(mut number: u64, digits: &mut [u8; 20]) -> usize {
    let mut at = digits.len();
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&digit_pair(number % 100));
        number /= 100;
    }
    let [tens, ones] = digit_pair(number);
    digits[at - 1] = ones;
    if number < 10 {
        return at - 1;
    }
    digits[at - 2] = tens;
    at - 2
}

fn push_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let at = write_decimal(number, &mut digits);
    out.extend_from_slice(&digits[at..]);
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest four bits are meant")]
fn lowest_hex_digit(number: u64) -> u8 {
    hex_digit(number as u8 & 15)
}

/// Appends a number in hex, lower case, without leading zeros.
fn push_hex(number: u64, out: &mut Vec<u8>) {
    // 0 has one digit too.
    let digits = (u64::BITS - (number | 1).leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|at| lowest_hex_digit(number >> (at * 4))));
}

#[cfg(test)]
mod tests;
