//! Text whose characters take two or four bytes (UTF-16, UTF-32): it is full of NULs that do not
//! belong to a hole.
//!
//! In: bytes and their offset in the file. Out: whether they are such text; how many NULs before a
//! byte belong to it.
//! Always holds: nothing here changes a byte; uncertain bytes do not count as such text.

/// Most bytes that are examined to decide whether a run of NULs ends in big-endian text.
const LOOK_BYTES: usize = 256;

/// How many NULs of a run that ends at `at`, the offset of `data[0]`, are upper bytes of the first
/// character of a text: big-endian UTF-16 and UTF-32 begin with such bytes. Assumes that characters
/// are aligned to their size, as in a log of one encoding. `None`: there are not enough bytes yet.
pub(crate) fn nuls_of_text(at: u64, data: &[u8]) -> Option<usize> {
    let in_word = (at % 4) as usize;
    if in_word > 0 {
        match is_utf32_from(in_word, data) {
            Some(true) => return Some(in_word),
            Some(false) => {}
            None => return None,
        }
    }
    if at.is_multiple_of(2) {
        return Some(0);
    }
    if data.len() < 2 {
        return None;
    }
    // Behind the lower byte of the first character, upper and lower bytes alternate.
    let line = memchr::memchr(b'\n', data).unwrap_or(data.len()).min(LOOK_BYTES);
    let rest = &data[1..line.max(1)];
    let (upper, lower) = count_nuls(rest);
    // Other data contains a NUL now and then; most characters of a log have a NUL as their upper
    // byte.
    Some(usize::from(lower == 0 && upper > rest.len() / 4))
}

/// Whether `data` begins at this byte of a character in big-endian UTF-32, if the bytes before it
/// are NULs.
fn is_utf32_from(in_word: usize, data: &[u8]) -> Option<bool> {
    /// The Unicode planes that have characters. A UTF-16 line end or TAB at this position is not
    /// one of them.
    const PLANES: [u8; 5] = [0, 1, 2, 3, 0x0e];
    let next = 4 - in_word;
    // A line end in the middle of a character belongs to narrower text.
    if in_word < 3 && data[..next.min(data.len())].contains(&b'\n') {
        return Some(false);
    }
    if in_word == 1 && !data.first().is_some_and(|plane| PLANES.contains(plane)) {
        return Some(false);
    }
    match (data.get(next), data.get(next + 1)) {
        (Some(0), Some(plane)) => Some(PLANES.contains(plane)),
        (None | Some(0), None) => None,
        _ => Some(false),
    }
}

/// The number of NULs at even and at odd positions.
fn count_nuls(bytes: &[u8]) -> (usize, usize) {
    let nuls =
        |first: usize| bytes.iter().skip(first).step_by(2).filter(|&&byte| byte == 0).count();
    (nuls(0), nuls(1))
}

/// Whether bytes from the start of a file, or of its first data, are text in UTF-16 or UTF-32, in
/// either byte order, with or without a byte order mark.
pub(crate) fn is_wide_text(bytes: &[u8]) -> bool {
    let wide = |is_big: bool| is_utf16(bytes, is_big) || is_utf32(bytes, is_big);
    wide(false) || wide(true)
}

/// Whether a character may occur in text. Excludes control characters that do not move the cursor,
/// and noncharacters.
fn is_text(letter: char) -> bool {
    match letter {
        '\u{7}'..='\u{d}' | '\u{1b}' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => !letter.is_control() || letter == '\u{85}',
    }
}

fn is_utf16(bytes: &[u8], is_big: bool) -> bool {
    let (pairs, _) = bytes.as_chunks::<2>();
    // Plain text read two bytes at a time also gives characters, mostly Chinese ones, but both
    // bytes of each are printable.
    let is_printable = |byte: &u8| (0x20..0x7f).contains(byte);
    let both = pairs.iter().filter(|pair| !pair.contains(&0)).count();
    let plain = pairs.iter().filter(|pair| pair.iter().all(is_printable)).count();
    if plain * 2 > both {
        return false;
    }
    // Small numbers could pass for text, but hardly any character of a text has 0 as its lower
    // byte.
    let bare = pairs.iter().filter(|pair| pair[usize::from(is_big)] == 0).count();
    if bare * 2 > pairs.len() {
        return false;
    }
    let mut units = pairs
        .iter()
        .map(|&pair| if is_big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
        .peekable();
    if units.peek() == Some(&0xfeff) {
        units.next();
    }
    let mut letters = char::decode_utf16(units).peekable();
    let mut has_letters = false;
    while let Some(letter) = letters.next() {
        match letter {
            Ok(letter) if is_text(letter) => has_letters = true,
            // The block may end within a surrogate pair.
            Err(_) if letters.peek().is_none() => {}
            _ => return false,
        }
    }
    has_letters || pairs.len() == 1
}

fn is_utf32(bytes: &[u8], is_big: bool) -> bool {
    let (words, _) = bytes.as_chunks::<4>();
    let value =
        |word: &[u8; 4]| if is_big { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
    !words.is_empty() && words.iter().all(|word| char::from_u32(value(word)).is_some_and(is_text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str, width: usize, is_big: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        match width {
            2 => text.encode_utf16().for_each(|unit| {
                bytes.extend(if is_big { unit.to_be_bytes() } else { unit.to_le_bytes() })
            }),
            _ => text.chars().map(u32::from).for_each(|unit| {
                bytes.extend(if is_big { unit.to_be_bytes() } else { unit.to_le_bytes() })
            }),
        }
        bytes
    }

    #[test]
    fn the_first_bytes_of_big_endian_text_behind_a_run_of_nuls_belong_to_the_text() {
        for text in [
            "A\n",
            "line one\nline two\n",
            "\u{e9}t\u{e9}\n",
            "\u{1f600} ok\n",
            "A\u{416}\u{417} x\n",
            "\u{416}A\n",
            "\tA\n",
        ] {
            for width in [2, 4] {
                let bytes = encoded(text, width, true);
                let own = bytes.iter().position(|&byte| byte != 0).unwrap();
                for start in [0, 4, 4096, 5000] {
                    let found = nuls_of_text(start + own as u64, &bytes[own..]);
                    assert_eq!(found, Some(own), "{text:?} {width} at {start}");
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_such_text_own_no_nul_wherever_they_begin() {
        for text in ["A\n", "a line\n", "\u{416}\u{417}\n", "\n\n"] {
            for at in 4096..4104 {
                assert_eq!(nuls_of_text(at, text.as_bytes()), Some(0), "{text:?} at {at}");
            }
        }
    }

    #[test]
    fn one_byte_alone_tells_nothing_where_it_may_be_the_lower_one_of_a_character() {
        assert_eq!(nuls_of_text(4097, b"A"), None);
        assert_eq!(nuls_of_text(4099, b"A"), None);
        assert_eq!(nuls_of_text(4099, b"A\0"), None);
        assert_eq!(nuls_of_text(4096, b"A"), Some(0));
        assert_eq!(nuls_of_text(4097, b"A\n"), Some(0));
    }

    #[test]
    fn wide_text_is_told_from_other_bytes_that_hold_nuls() {
        for text in [
            "A",
            "a line\nanother\r\n",
            "\u{feff}with a mark\n",
            "\u{416}\u{443}\u{43a} 1\n",
            "\u{1f600}\t\u{1b}[31m\n",
            "\u{4e2d}\u{6587}\u{65e5}\u{5fd7} 1\n",
        ] {
            for (width, is_big) in [(2, true), (2, false), (4, true), (4, false)] {
                let bytes = encoded(text, width, is_big);
                assert!(is_wide_text(&bytes), "{text:?} {width} {is_big}");
                // The block may end within a character.
                assert!(
                    bytes.len() < 8 || is_wide_text(&bytes[..bytes.len() - 1]),
                    "{text:?} {width} {is_big}, cut"
                );
            }
        }
        let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0";
        let counters: Vec<u8> = (1..200_u16).flat_map(u16::to_le_bytes).collect();
        for bytes in [
            &elf[..],
            b"text \0 text\n",
            b"first\0\nsecond\n",
            b"a long plain line with one \0 in it\nand another\n",
            b"\0\0\0\0\0\0",
            b"SQLite format 3\0\x10\0\x01\x01\0",
            &counters,
        ] {
            assert!(!is_wide_text(bytes), "{:?}", bytes.escape_ascii().to_string());
        }
    }
}
