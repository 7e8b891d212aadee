//! Lines: what ends them, what does not, and lines that come in parts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{World, numbered, text};

/// `A-01`
#[test]
fn lines_from_an_open_descriptor_and_a_new_one_come_in_order() {
    let world = World::new();
    let mut writer = world.writer("a.log");
    let tail = world.run().start().armed();
    writer.write_all(b"one\n").expect("write");
    tail.wait_line("one");
    writer.write_all(b"two\n").expect("write");
    tail.wait_line("two");
    world.append("a.log", "three\n");
    writer.write_all(b"four\n").expect("write");
    tail.expect_in_order(&["one", "two", "three", "four"]);
}

/// `A-02`
#[test]
fn a_thousand_writes_during_a_stop_come_once_and_in_order() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.stop();
    let lines = numbered("line", 0..1_000);
    let mut writer = world.writer("a.log");
    for line in &lines {
        writer.write_all(format!("{line}\n").as_bytes()).expect("write");
    }
    tail.go_on();
    tail.expect_in_order(&lines);
}

/// `A-03`
#[test]
fn two_writers_do_not_mix() {
    let world = World::new();
    let tail = world.run().start().armed();
    let (mut a, mut b) = (world.writer("a.log"), world.writer("b.log"));
    let (lines_a, lines_b) = (numbered("alpha", 0..5_000), numbered("beta", 0..5_000));
    for (line_a, line_b) in lines_a.iter().zip(&lines_b) {
        a.write_all(format!("{line_a}\n").as_bytes()).expect("write");
        // In two writes, so that most reads find an unfinished line.
        b.write_all(&line_b.as_bytes()[..5]).expect("write");
        b.write_all(format!("{}\n", &line_b[5..]).as_bytes()).expect("write");
    }
    tail.expect_files(&BTreeMap::from([
        ("a.log".to_owned(), lines_a),
        ("b.log".to_owned(), lines_b),
    ]));
}

/// `A-04`
#[test]
fn empty_lines_are_records() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    world.append("a.log", "\n\nA\n\n\nB\n");
    tail.expect_in_order(&["", "", "A", "", "", "B"]);
    let offsets: Vec<u64> = tail.records().iter().map(|record| record.origin().offset).collect();
    assert_eq!(offsets, [0, 1, 2, 4, 5, 6]);
}

/// `A-06`
#[test]
fn a_carriage_return_is_data_also_when_its_newline_comes_later() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "one\r\ntwo\r");
    tail.wait_line("one\r");
    tail.settled();
    world.append("a.log", "\nthree\r\n");
    tail.expect_in_order(&["one\r", "two\r", "three\r"]);
}

/// `A-07`
#[test]
fn a_newline_near_any_buffer_boundary_neither_merges_nor_splits() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for kib in [4, 8, 16, 32, 64, 128, 256, 512] {
        for shift in 0..3 {
            let name = format!("{kib}-{shift}");
            // The newline is the last byte before the boundary, the first after it, or the one
            // after that.
            let lines = vec![
                "x".repeat((kib << 10) - 1 + shift),
                "next".to_owned(),
                String::new(),
                "last".to_owned(),
            ];
            world.write(&name, text(&lines));
            expected.insert(name, lines);
        }
    }
    let tail = world.run().start();
    tail.expect_files(&expected);
    for (name, lines) in &mut expected {
        world.append(name, text(&lines[..2]));
        lines.extend_from_within(..2);
    }
    tail.expect_files(&expected);
}

/// `A-07`, with every alignment of many lines to the boundaries.
#[test]
fn lines_of_one_length_fit_any_buffer() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for length in [1, 2, 3, 7, 63, 64, 65, 1_023, 4_095, 4_096, 4_097, 65_535, 65_536] {
        let count = (200_000 / (length + 1)).max(20);
        let number = |number: usize| format!("{}{number}", "0".repeat(length));
        let lines: Vec<String> =
            (0..count).map(number).map(|line| line[line.len() - length..].to_owned()).collect();
        world.write(length.to_string(), text(&lines));
        expected.insert(length.to_string(), lines);
    }
    world.run().start().expect_files(&expected);
}

/// `A-08`
#[test]
fn offsets_form_a_chain_from_0_to_the_length_of_the_file() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    let mut writer = world.writer("a.log");
    let mut count = 0;
    for length in (0..2_000).map(|number| number * 7 % 301).chain([70_000, 1, 0, 0, 131_072]) {
        writeln!(writer, "{}", "y".repeat(length)).expect("write");
        count += 1;
    }
    tail.wait_count(count);
    tail.settled();
    let mut end = 0;
    for record in tail.records() {
        assert_eq!(record.origin().offset, end);
        end = record.end();
    }
    assert_eq!(end, fs::metadata(world.at("a.log")).expect("stat").len());
}

/// `L-01`
#[test]
fn a_line_written_in_two_parts_is_one_record() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "unfin");
    tail.settled();
    world.append("a.log", "ished\n");
    tail.expect(&[("a.log", &["unfinished"])]);
}

/// `L-02`
#[test]
fn fragments_of_two_files_never_combine() {
    let world = World::new();
    let tail = world.run().start().armed();
    for part in ["one ", "two ", "three"] {
        world.append("a.log", part);
        world.append("b.log", part.to_uppercase());
        world.append("busy.log", "busy\n");
        tail.settled();
    }
    world.append("b.log", "\n");
    world.append("a.log", "\n");
    tail.expect(&[
        ("a.log", &["one two three"]),
        ("b.log", &["ONE TWO THREE"]),
        ("busy.log", &["busy", "busy", "busy"]),
    ]);
}

/// `L-03`
#[test]
fn an_unfinished_line_is_delivered_after_partial_after_and_not_before() {
    let world = World::new();
    let tail = world.run().json().with(&["--partial-after", "2s"]).start().armed();
    let start = Instant::now();
    world.append("a.log", "whole\nunfin");
    tail.wait_count(2);
    assert!(start.elapsed() >= Duration::from_secs(2), "after {:?}", start.elapsed());
    tail.expect_in_order(&["whole", "unfin"]);
    let records = tail.records();
    assert_eq!((records[1].origin().offset, records[1].origin().eol), (6, false));
    // The concatenation of the pieces is the line.
    world.append("a.log", "ished\nnext\n");
    tail.expect_in_order(&["whole", "unfin", "ished", "next"]);
    let records = tail.records();
    assert_eq!((records[2].origin().offset, records[2].origin().eol), (11, true));
    assert_eq!(records[3].origin().offset, 17);
}

/// `L-03`
#[test]
fn a_newline_alone_after_a_delivered_piece_closes_it_with_an_empty_record() {
    let world = World::new();
    let tail = world.run().json().with(&["--partial-after", "200ms"]).start().armed();
    world.append("a.log", "piece");
    tail.wait_count(1);
    world.append("a.log", "\nnext\n");
    tail.expect_in_order(&["piece", "", "next"]);
    let got: Vec<_> =
        tail.records().iter().map(|record| (record.origin().offset, record.origin().eol)).collect();
    assert_eq!(got, [(0, false), (5, true), (6, true)]);
}

/// `L-03`
#[test]
fn an_unfinished_line_that_grows_is_not_delivered_until_it_rests() {
    let world = World::new();
    let tail = world.run().json().with(&["--partial-after", "1500ms"]).start().armed();
    let mut whole = String::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        world.append("a.log", "part ");
        whole.push_str("part ");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(tail.count(), 0, "{:?}", tail.lines());
    tail.expect_in_order(&[&whole]);
}

/// `L-03`
#[test]
fn partial_after_0_holds_an_unfinished_line_for_ever_and_so_does_the_default_for_a_while() {
    let world = World::new();
    let never = world.run().with(&["--partial-after", "0"]).start().armed();
    let default = world.run().start().armed();
    world.append("a.log", "unfin");
    for tail in [&never, &default] {
        tail.settled();
        assert_eq!(tail.count(), 0);
    }
    thread::sleep(Duration::from_secs(2));
    world.append("a.log", "ished\n");
    never.expect_in_order(&["unfinished"]);
    default.expect_in_order(&["unfinished"]);
}

/// `L-05`
#[test]
fn a_fragment_longer_than_any_buffer_is_whole_when_it_is_finished() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut whole = String::new();
    for number in 0..100 {
        let part = format!("{number:0>8000}");
        world.append("a.log", &part);
        whole.push_str(&part);
        if number % 25 == 0 {
            tail.settled();
        }
    }
    assert_eq!(tail.count(), 0);
    world.append("a.log", "\nnext\n");
    tail.expect_in_order(&[&whole, "next"]);
}

/// `L-05`
#[test]
fn a_long_fragment_is_whole_when_partial_after_delivers_it() {
    let world = World::new();
    let tail = world.run().json().with(&["--partial-after", "500ms"]).start().armed();
    let part = "z".repeat(700_000);
    world.append("a.log", &part);
    tail.wait_count(1);
    tail.expect_in_order(&[&part]);
    assert!(!tail.records()[0].origin().eol);
}

#[test]
fn many_unfinished_lines_come_and_go_each_for_itself() {
    let world = World::new();
    let tail = world.run().with(&["--partial-after", "1s"]).start().armed();
    let mut expected = BTreeMap::new();
    for number in 0..200 {
        world.append(format!("{number}.log"), "un");
        // Every other file gets its newline in time.
        let lines: &[&str] = if number % 2 == 0 { &["un", "finished"] } else { &["unfinished"] };
        expected.insert(
            format!("{number}.log"),
            lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>(),
        );
    }
    for number in (1..200).step_by(2) {
        world.append(format!("{number}.log"), "finished\n");
    }
    tail.wait_count(200);
    for number in (0..200).step_by(2) {
        world.append(format!("{number}.log"), "finished\n");
    }
    tail.expect_files(&expected);
}
