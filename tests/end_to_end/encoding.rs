//! Bytes that are not text: only a newline ends a line, nothing is changed, and json stays valid.

use std::collections::BTreeMap;

use crate::harness::{Tail, wait_for};
use crate::world::{Random, World};

/// Waits for exactly these lines, as bytes.
fn expect_bytes(tail: &Tail, expected: &[Vec<u8>]) {
    tail.wait_count(expected.len());
    tail.settled();
    let got: Vec<Vec<u8>> = tail.records().into_iter().map(|record| record.line).collect();
    assert_eq!(got.len(), expected.len());
    for (number, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            got == expected,
            "line {number}: {:?} instead of {:?}",
            got.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
}

fn join(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
}

/// `E-01`
#[test]
fn nul_bytes_are_data_in_every_format() {
    let lines: Vec<Vec<u8>> =
        [&b"a\0b"[..], b"\0\0\0\0", b"", b"\0", b"end\0"].map(<[u8]>::to_vec).to_vec();
    let world = World::new();
    world.write("a.log", join(&lines));
    expect_bytes(&world.run().raw().start(), &lines);
    expect_bytes(&world.run().start(), &lines);
    expect_bytes(&world.run().json().start(), &lines);
}

/// `E-03`
#[test]
fn invalid_utf8_is_identical_in_raw_and_text_and_has_bytes_in_json() {
    let lines: Vec<Vec<u8>> = [
        &b"good"[..],
        b"bad \xff\xfe",
        b"\xc3",
        b"cut \xe2\x82",
        b"\xed\xa0\x80 surrogate",
        b"good again \xc3\xa4",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let world = World::new();
    world.write("a.log", join(&lines));
    let raw = world.run().raw().start();
    expect_bytes(&raw, &lines);
    assert_eq!(raw.capture().bytes(), join(&lines));
    expect_bytes(&world.run().start(), &lines);
    let json = world.run().json().start();
    expect_bytes(&json, &lines);
    for record in json.records() {
        assert_eq!(
            record.origin().has_bytes,
            std::str::from_utf8(&record.line).is_err(),
            "{record:?}"
        );
    }
}

/// `E-04`
#[test]
fn a_character_split_over_two_writes_is_intact() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    let line = "gr\u{fc}n \u{20ac} \u{1f600}";
    for byte in line.as_bytes() {
        world.append("a.log", [*byte]);
        if !byte.is_ascii() {
            tail.settled();
        }
    }
    world.append("a.log", "\n");
    tail.expect_in_order(&[line]);
    assert!(!tail.records()[0].origin().has_bytes);
}

/// `E-04`
#[test]
fn a_character_on_any_buffer_boundary_is_intact() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for before in
        [4_093_usize, 4_094, 4_095, 16_383, 65_533, 65_534, 65_535, 131_071, 262_143, 524_287]
    {
        let line = format!("{}\u{1f600}\u{20ac}", "x".repeat(before));
        world.write(before.to_string(), format!("{line}\n"));
        expected.insert(before.to_string(), vec![line]);
    }
    let tail = world.run().json().start();
    tail.expect_files(&expected);
    assert!(tail.records().iter().all(|record| !record.origin().has_bytes));
}

/// `E-05`: nothing is trimmed, so the byte order mark is kept.
#[test]
fn a_byte_order_mark_is_kept() {
    let world = World::new();
    world.write("a.log", "\u{feff}one\n\u{feff}two\n");
    world.run().start().expect_in_order(&["\u{feff}one", "\u{feff}two"]);
}

/// `E-07`
#[test]
fn nothing_but_a_newline_ends_a_line() {
    let lines: Vec<Vec<u8>> = [
        &b"next line \x85 in latin 1"[..],
        "separators \u{85} \u{2028} \u{2029}".as_bytes(),
        b"form feed \x0c and vertical tab \x0b",
        b"\x1b[31mred\x1b[0m",
        b"back\x08\x08space",
        b"10%\r20%\r30%\r100%\r",
        b"\ttabs\tand  blanks  ",
        b"quotes \" and \\ and / and </script>",
        b"\x1e record \x1f unit \x7f delete",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let world = World::new();
    world.write("a.log", join(&lines));
    expect_bytes(&world.run().raw().start(), &lines);
    expect_bytes(&world.run().start(), &lines);
    expect_bytes(&world.run().json().start(), &lines);
}

#[test]
fn json_is_valid_for_random_bytes_and_gives_them_back() {
    let world = World::new();
    let mut random = Random(7);
    let mut bytes = Vec::new();
    for _ in 0..60_000 {
        let word = random.next();
        // Runs of plain text, of control bytes, of anything, and pieces of multi-byte characters.
        match word % 5 {
            0 => bytes.extend_from_slice(b"plain text "),
            1 => bytes.extend_from_slice("\u{e4}\u{20ac}\u{1f600}".as_bytes()),
            2 => bytes.push(u8::try_from(word >> 8 & 31).expect("5 bits")),
            3 => bytes.extend_from_slice(&word.to_le_bytes()),
            _ => bytes.extend_from_slice(
                &"\u{1f600}".as_bytes()[..1 + usize::try_from(word >> 8 & 1).expect("a bit")],
            ),
        }
    }
    bytes.push(b'\n');
    let lines: Vec<Vec<u8>> =
        bytes[..bytes.len() - 1].split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    world.write("a.log", &bytes);
    expect_bytes(&world.run().json().start(), &lines);
    let raw = world.run().raw().start();
    wait_for("all bytes", || raw.capture().total() >= bytes.len() as u64);
    raw.settled();
    assert!(raw.capture().bytes() == bytes, "raw is byte for byte what was written");
}

/// A piece of a long line may end within a character: each piece is still valid json, and the bytes
/// are those of the line.
#[test]
fn pieces_that_cut_a_character_are_valid_json() {
    let world = World::new();
    let line = "\u{1f600}\u{20ac}\u{e4}x".repeat(100);
    world.write("a.log", format!("{line}\nnext\n"));
    let tail = world.run().json().with(&["--max-line-bytes", "7"]).start();
    tail.wait_line("next");
    tail.settled();
    let mut records = tail.records();
    records.pop();
    let joined: Vec<u8> = records.into_iter().flat_map(|record| record.line).collect();
    assert_eq!(String::from_utf8(joined).expect("the line"), line);
}
