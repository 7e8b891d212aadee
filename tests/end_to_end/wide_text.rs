//! Text in UTF-16 and UTF-32, which is full of NULs: none of them counts as part of a hole,
//! wherever a log restarts.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::Command;

use crate::harness::Tail;
use crate::scrape::Metered;
use crate::world::{World, numbered, skip, succeeds, text};

/// Width of a character, byte order, and the byte order mark or nothing.
const ENCODINGS: [(usize, bool, &str); 8] = [
    (2, false, ""),
    (2, true, ""),
    (4, false, ""),
    (4, true, ""),
    (2, false, "\u{feff}"),
    (2, true, "\u{feff}"),
    (4, false, "\u{feff}"),
    (4, true, "\u{feff}"),
];

fn wide(text: &str, width: usize, is_big: bool) -> Vec<u8> {
    let units: Vec<u32> = if width == 2 {
        text.encode_utf16().map(u32::from).collect()
    } else {
        text.chars().map(u32::from).collect()
    };
    units
        .iter()
        .flat_map(|unit| {
            if is_big {
                unit.to_be_bytes()[4 - width..].to_vec()
            } else {
                unit.to_le_bytes()[..width].to_vec()
            }
        })
        .collect()
}

/// Lines as the raw bytes between newlines, as in records.
fn lines_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at);
    bytes[..end].split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[track_caller]
fn expect(tail: &Tail, expected: &[Vec<u8>], about: &str) {
    tail.wait_count(expected.len());
    tail.settled();
    let got: Vec<Vec<u8>> = tail.records().into_iter().map(|record| record.line).collect();
    let shown = |lines: &[Vec<u8>]| {
        lines.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&got), shown(expected), "{about}");
}

#[test]
fn wide_text_after_a_truncation_keeps_all_of_its_bytes() {
    for (width, is_big, mark) in ENCODINGS {
        for first in ["A line", "\u{416}\u{443}\u{43a}", "\u{1f600}"] {
            let world = World::new();
            let tail = world.run().json().start().armed();
            let old = wide("old line\nanother\n", width, is_big);
            world.append("a.log", &old);
            let mut expected = lines_of(&old);
            tail.wait_count(expected.len());
            world.truncate("a.log", 0);
            tail.settled();
            let new = wide(&format!("{mark}{first}\nnext\n"), width, is_big);
            // The first byte alone may be a NUL: it waits for the next bytes.
            world.append("a.log", &new[..1]);
            tail.settled();
            world.append("a.log", &new[1..]);
            expected.extend(lines_of(&new));
            expect(&tail, &expected, &format!("{width} {is_big} {mark:?} {first}"));
        }
    }
}

#[test]
fn wide_text_that_a_truncation_restarted_while_down_keeps_all_of_its_bytes() {
    for (width, is_big, mark) in ENCODINGS {
        let world = World::new();
        let state = world.beside("state");
        let run = || world.run().json().with(&["--state-dir"]).with(&[&state]);
        world.append("a.log", wide("old line\nanother\n", width, is_big));
        let tail = run().start();
        tail.wait_count(2);
        world.truncate("a.log", 0);
        tail.settled();
        let new = wide(&format!("{mark}new\nnext\n"), width, is_big);
        world.append("a.log", &new[..1]);
        tail.settled();
        tail.terminate();
        world.append("a.log", &new[1..]);
        let tail = run().start();
        expect(&tail, &lines_of(&new), &format!("{width} {is_big} {mark:?}"));
    }
}

/// The NULs of a hole are skipped; those of the text after it are not.
#[test]
fn wide_text_behind_a_hole_keeps_the_upper_byte_of_its_first_character() {
    for (width, is_big, _) in &ENCODINGS[..4] {
        for lines in [1, 40, 2_000] {
            let world = World::new();
            let tail = world.run().json().start().armed();
            let writer = File::create(world.at("a.log")).expect("open");
            let old = wide(&text(&numbered("old line", 0..lines)), *width, *is_big);
            writer.write_all_at(&old, 0).expect("write");
            let mut expected = lines_of(&old);
            tail.wait_count(expected.len());
            world.truncate("a.log", 0);
            tail.settled();
            let new = wide("new 0\nnew 1\n", *width, *is_big);
            writer.write_all_at(&new, old.len() as u64).expect("write");
            expected.extend(lines_of(&new));
            expect(&tail, &expected, &format!("{width} {is_big} {lines}"));
        }
    }
}

#[test]
fn a_few_nuls_at_the_start_of_a_log_are_data_and_many_are_a_hole() {
    for nuls in [1, 2, 3] {
        let world = World::new();
        let tail = world.run().json().start().armed();
        world.append("a.log", "old\n");
        tail.wait_count(1);
        world.truncate("a.log", 0);
        tail.settled();
        let line = [&vec![0; nuls][..], b"text"].concat();
        world.append("a.log", [&line[..], b"\n"].concat());
        expect(&tail, &[b"old".to_vec(), line], &format!("{nuls} NULs"));
    }
    let world = World::new();
    let tail = world.run().json().start().armed();
    world.append("a.log", "old\n");
    tail.wait_count(1);
    world.truncate("a.log", 0);
    tail.settled();
    // The run is still growing when it is looked at.
    for _ in 0..4 {
        world.append("a.log", "\0");
        tail.settled();
    }
    world.append("a.log", "text\n");
    expect(&tail, &[b"old".to_vec(), b"text".to_vec()], "four NULs");
    // A new file was not truncated.
    world.write("new.log", "\0\0\0\0\0text\n");
    expect(&tail, &[b"old".to_vec(), b"text".to_vec(), b"\0\0\0\0\0text".to_vec()], "a new file");
}

/// Preallocated room: its unwritten part is not data, whatever the file system reports.
#[test]
fn a_preallocated_log_is_delivered_as_it_is_written() {
    for world in [World::new(), World::in_memory()] {
        // Not with a preallocated length, too: once such a file was read, ext4 reports its
        // unwritten part as data.
        for options in [["-n", "-l", "1M"], ["-n", "-l", "64K"]] {
            let name = format!("{}.log", options[2]);
            File::create(world.at(&name)).expect("create");
            let path = world.at(&name);
            if !succeeds("fallocate", &[&options[..], &[path.to_str().expect("UTF-8")]].concat()) {
                skip("fallocate does not work here");
                continue;
            }
            let _ = Command::new("sync").arg(&path).status();
            let tail = world.run().with(&["--partial-after", "200ms"]).start().armed();
            let writer = OpenOptions::new().write(true).open(&path).expect("open");
            let mut expected = Vec::new();
            let mut at = 0;
            for number in 0..50 {
                let line = format!("line {number}\n");
                (&writer).write_all(line.as_bytes()).expect("write");
                at += line.len();
                expected.push(line.trim_end().to_owned());
                tail.wait_count(expected.len());
            }
            assert!(at < 1 << 16);
            tail.expect(&[(&name, &expected.iter().map(String::as_str).collect::<Vec<_>>())]);
            drop(tail);
            world.remove(&name);
        }
    }
}

#[test]
fn a_first_line_that_begins_with_a_nul_and_comes_in_parts_after_a_truncation_is_no_loss() {
    let world = World::new();
    let run = world.run().json().with(&["--partial-after", "300ms"]);
    let run = Metered::start(&world, run).armed();
    world.append("a.log", "before\n");
    run.tail.wait_line("before");
    world.truncate("a.log", 0);
    run.wait_value("manytail_truncations_total", |count| count == 1.0);
    for part in ["one", "two", "three"] {
        world.append("a.log", wide(part, 2, true));
        run.tail.settled();
    }
    let text: String = "onetwothree".chars().flat_map(|c| ['\0', c]).collect();
    run.tail.wait("the piece", || run.tail.lines().concat().ends_with(&text));
    assert_eq!(run.value("manytail_lost_bytes_total{cause=\"truncated\"}"), 0.0);
    world.append("a.log", wide("\n", 2, true));
    run.tail.wait_line("\0");
}
