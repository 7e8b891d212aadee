//! The content of JSON strings.
//!
//! In: any bytes. Out: escaped text at the end of a buffer, and whether the bytes were valid UTF-8.
//! Always holds: the text is valid UTF-8 and may stand between two quotes; bytes that need no
//! escape are searched once and copied.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::digits::hex_digit;
use super::plain::plain_len;

/// Appends the members `path`, and `path_bytes` where the path is not UTF-8.
pub(crate) fn push_json_path(path: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"path\":\"");
    if !push_json_text(path, out) {
        out.extend_from_slice(b"\",\"path_bytes\":\"");
        push_base64(path, out);
    }
    out.push(b'"');
}

/// Appends the content of a JSON string. Returns whether `bytes` were valid UTF-8. Like
/// [`String::from_utf8_lossy`], it writes U+FFFD for each maximal run of invalid bytes that could
/// have begun a character.
#[inline]
pub(crate) fn push_json_text(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    // Most lines end here: searched once and copied.
    let (plain, rest) = bytes.split_at(json_plain_len(bytes));
    out.extend_from_slice(plain);
    rest.is_empty() || push_json_rest(rest, out)
}

/// The same for a part that needs escapes or is not ASCII.
fn push_json_rest(mut bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut is_valid = true;
    while let Err(error) = str::from_utf8(bytes) {
        is_valid = false;
        push_json_escaped(&bytes[..error.valid_up_to()], out);
        out.extend_from_slice("\u{fffd}".as_bytes());
        // Without a length, the end of the bytes cuts a character off.
        bytes = error.error_len().map_or(&[], |len| &bytes[error.valid_up_to() + len..]);
    }
    push_json_escaped(bytes, out);
    is_valid
}

/// Appends valid UTF-8, escaped.
fn push_json_escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some((word, after)) = bytes.split_first_chunk::<8>() {
        // Copy first, then remove what follows the first byte to escape: most words have none.
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

pub(super) fn needs_escape(byte: u8) -> bool {
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

/// How many bytes at the front are ASCII and need no escape in a JSON string: all of them, or a
/// part that was quick to find.
#[inline]
pub(super) fn json_plain_len(bytes: &[u8]) -> usize {
    // As a signed number, a byte beyond ASCII is also below 0x20.
    plain_len(bytes, |byte| (byte.cast_signed() < 0x20) | (byte == b'"') | (byte == b'\\'))
}

/// The same, but the exact number.
#[inline]
pub(super) fn json_plain_len_exact(bytes: &[u8]) -> usize {
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

/// The first of eight bytes that needs an escape in a JSON string.
#[inline]
pub(super) fn first_to_escape(word: [u8; 8]) -> Option<usize> {
    first_hit(bytes_to_escape(u64::from_le_bytes(word)))
}

/// The first of eight bytes that is not ASCII or needs an escape in a JSON string.
#[inline]
fn first_not_plain(word: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    first_hit(bytes_to_escape(word) | word)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);

const HIGH_BITS: u64 = ONES << 7;

/// The high bits of those of eight bytes that need an escape.
///
/// Checks all eight at once ("Bit Twiddling Hacks", determine if a word has a byte less than n). A
/// borrow can make a byte look like a hit only behind a true hit, so only the first hit may be
/// used.
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

/// Appends the base64 of `bytes` (RFC 4648 section 4, padded).
pub(super) fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("base64 takes four bytes for each three begun");
    debug_assert_eq!(written, out.len() - start, "base64 is padded");
}
