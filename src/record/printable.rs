//! Text for people: it cannot control a terminal, or look like another line of a log.
//!
//! In: paths as bytes, or lines that contain names. Out: text without misleading characters.
//! Always holds: a path can be recovered from its text.

use super::digits::hex_digit;
use super::plain::plain_len;

/// Whether this character in a name could mislead a terminal or a reader: control characters (C0,
/// DEL and C1), separators of lines and paragraphs, and marks that change the direction of writing.
pub(super) fn is_misleading(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A line for people: each misleading character becomes `?`, because names and outputs may contain
/// anything.
#[must_use]
pub(crate) fn printable(line: &str) -> String {
    line.replace(is_misleading, "?")
}

/// A path for people, escaped as in `text` records.
#[must_use]
pub(crate) fn shown(path: &[u8]) -> String {
    let mut text = Vec::new();
    push_text_path(path, &mut text);
    String::from_utf8(text).expect("what is not UTF-8 was escaped")
}

/// Appends a path for people. Each byte of `\`, of misleading characters (see [`is_misleading`])
/// and of invalid UTF-8 becomes `\x` and two lower-case hex digits; all other bytes stay. Undoing
/// every `\xHH` recovers the path.
pub(crate) fn push_text_path(path: &[u8], out: &mut Vec<u8>) {
    // As a signed number, a byte beyond ASCII is also below 0x20.
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
        // Each piece but the last ends with one character to escape.
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
