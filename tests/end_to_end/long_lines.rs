//! Lines longer than `--max-line-bytes`: delivered in pieces whose concatenation is the line, in
//! bounded memory.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::world::{World, heavy, text};

/// `G-01`
#[test]
fn a_longer_line_comes_in_pieces_and_everything_around_it_is_intact() {
    let world = World::new();
    let tail = world.run().json().with(&["--max-line-bytes", "10"]).start().armed();
    world.append("a.log", "short\nthis is over-long\nexactly 10\nover-long at ");
    tail.settled();
    world.append("a.log", "the end\nlast short\n");
    tail.wait_line("last short");
    tail.settled();
    let records = tail.records();
    let mut lines = vec![Vec::new()];
    let mut end = 0;
    for record in &records {
        assert!(record.line.len() <= 10, "{record:?}");
        assert_eq!(record.origin().offset, end, "{record:?}");
        end = record.end();
        lines.last_mut().expect("a line").extend_from_slice(&record.line);
        if record.origin().eol {
            lines.push(Vec::new());
        }
    }
    let lines: Vec<String> =
        lines.into_iter().map(|line| String::from_utf8(line).expect("text")).collect();
    assert_eq!(
        lines,
        ["short", "this is over-long", "exactly 10", "over-long at the end", "last short", ""]
    );
    let whole =
        |line: &str| records.iter().any(|record| record.text() == line && record.origin().eol);
    assert!(whole("exactly 10") && whole("short") && whole("last short"), "{records:?}");
}

/// `G-01`
#[test]
fn a_line_of_exactly_the_limit_is_one_record_also_when_its_newline_comes_later() {
    let world = World::new();
    let tail = world.run().json().with(&["--max-line-bytes", "1KiB"]).start().armed();
    let line = "x".repeat(1_024);
    world.append("a.log", &line);
    tail.settled();
    assert_eq!(tail.count(), 0, "nothing is over-long yet");
    world.append("a.log", "\nnext\n");
    tail.expect_in_order(&[&line, "next"]);
    assert!(tail.records().iter().all(|record| record.origin().eol));
}

#[test]
fn a_line_of_twice_the_limit_needs_no_empty_record() {
    let world = World::new();
    let (piece, next) = ("x".repeat(1_024), "next".to_owned());
    world.write("a.log", text(&[piece.repeat(2), next.clone()]));
    let tail = world.run().json().with(&["--max-line-bytes", "1KiB"]).start();
    tail.wait_line("next");
    tail.settled();
    // "When a newline is all that follows a delivered piece, an empty record closes the line": so
    // either the last piece is ended by the newline, or an empty record is.
    let records = tail.records();
    let joined: Vec<u8> =
        records[..records.len() - 1].iter().flat_map(|record| record.line.clone()).collect();
    assert_eq!(joined, piece.repeat(2).as_bytes());
    assert_eq!(records.iter().filter(|record| record.origin().eol).count(), 2);
    assert!(records.iter().all(|record| record.line.len() <= 1_024));
}

#[test]
fn the_default_limit_is_one_mebibyte() {
    let world = World::new();
    let lines = ["x".repeat(1 << 20), "y".repeat((1 << 20) + 1), "z".to_owned()];
    world.write("a.log", text(&lines));
    let tail = world.run().json().start();
    tail.wait_line("z");
    tail.settled();
    let records = tail.records();
    assert_eq!(records[0].line.len(), 1 << 20);
    assert!(records[0].origin().eol);
    assert!(records.len() >= 4 && !records[1].origin().eol, "the second line comes in pieces");
    let second: usize = records[1..records.len() - 1].iter().map(|record| record.line.len()).sum();
    assert_eq!(second, (1 << 20) + 1);
}

/// Checks a stream of pieces of one repeated letter as it passes.
#[derive(Default)]
struct Pieces {
    letters: u64,
    longest: usize,
    line: Vec<u8>,
    others: Vec<String>,
}

impl Pieces {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.last() != Some(&b'\n') {
                continue;
            }
            self.line.pop();
            self.longest = self.longest.max(self.line.len());
            if self.line.starts_with(b"xx") {
                assert!(self.line.iter().all(|&byte| byte == b'x'), "a torn piece");
                self.letters += self.line.len() as u64;
            } else {
                self.others.push(String::from_utf8_lossy(&self.line).into_owned());
            }
            self.line.clear();
        }
    }
}

/// `G-02`
#[test]
fn a_line_of_one_gibibyte_passes_in_bounded_memory() {
    let _guard = heavy();
    let world = World::in_memory();
    world.write("a.log", "first\n");
    let pieces = Arc::new(Mutex::new(Pieces::default()));
    let (consumer, seen) = (Arc::clone(&pieces), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&seen);
    let tail = world
        .run()
        .raw()
        .consumer(move |bytes| {
            count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            consumer.lock().expect("pieces").take(bytes);
        })
        .start();
    tail.wait("the first line", || seen.load(Ordering::Relaxed) >= 6);
    let mut writer = world.writer("a.log");
    let part = vec![b'x'; 1 << 20];
    for _ in 0..1_024 {
        writer.write_all(&part).expect("write");
    }
    writer.write_all(b"\nlast\n").expect("write");
    tail.wait("the line after it", || {
        pieces.lock().expect("pieces").others.last().is_some_and(|line| line == "last")
    });
    tail.settled();
    let pieces = pieces.lock().expect("pieces");
    assert_eq!(pieces.letters, 1 << 30);
    assert!(pieces.longest <= 1 << 20, "a piece of {} bytes", pieces.longest);
    // The newline after the last full piece may be a record of its own.
    assert!(
        pieces.others == ["first", "last"] || pieces.others == ["first", "", "last"],
        "{:?}",
        pieces.others
    );
    assert!(tail.process.rss_max_kib() < 64 << 10, "it took {} KiB", tail.process.rss_max_kib());
}

/// `G-02`, where one limit holds several pieces of the reader.
#[test]
fn a_limit_larger_than_the_buffers_is_kept() {
    let world = World::new();
    let lines = ["x".repeat(5 << 20), "y".repeat(3 << 20), "z".to_owned()];
    let tail = world.run().with(&["--max-line-bytes", "8MiB"]).start().armed();
    world.write("a.log", text(&lines));
    tail.expect_in_order(&lines);
}

#[test]
fn a_long_line_that_grows_slowly_comes_in_the_same_pieces() {
    let world = World::new();
    let tail = world.run().json().with(&["--max-line-bytes", "1000"]).start().armed();
    let mut writer = world.writer("a.log");
    for number in 0..50 {
        writer.write_all("x".repeat(95).as_bytes()).expect("write");
        if number % 10 == 0 {
            tail.settled();
        }
    }
    writer.write_all(b"\nnext\n").expect("write");
    tail.wait_line("next");
    tail.settled();
    let lengths: Vec<usize> = tail.records().iter().map(|record| record.line.len()).collect();
    assert_eq!(lengths, [1_000, 1_000, 1_000, 1_000, 750, 4]);
    assert_eq!(
        fs::metadata(world.at("a.log")).expect("stat").len(),
        tail.records().last().expect("records").end()
    );
}
