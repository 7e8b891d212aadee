//! The output's reader stops: reading stops, everything else continues, memory does not grow, and
//! nothing is lost.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::wait_for;
use crate::records::{Format, Record, decode_all};
use crate::world::{Random, World, flood, heavy, numbered, text};

/// `B-01`
#[test]
fn three_hundred_mebibytes_behind_a_blocked_reader_take_no_memory_and_come_in_order() {
    let _guard = heavy();
    let world = World::in_memory();
    let seen = Arc::new(Mutex::new((Vec::new(), 0_u64)));
    let consumer = Arc::clone(&seen);
    let tail = world
        .run()
        .raw()
        .blocked()
        .consumer(move |bytes| {
            let mut seen = consumer.lock().expect("seen");
            let (carry, next) = &mut *seen;
            for part in bytes.split_inclusive(|&byte| byte == b'\n') {
                carry.extend_from_slice(part);
                if carry.last() == Some(&b'\n') {
                    let number = std::str::from_utf8(&carry[..12])
                        .ok()
                        .and_then(|digits| digits.parse().ok());
                    assert_eq!(number, Some(*next), "a gap, a repeat or a torn line");
                    assert_eq!(carry.len(), 1_024);
                    *next += 1;
                    carry.clear();
                }
            }
        })
        .start();
    wait_for("its watch", || tail.process.watches() == 1);
    tail.settled();
    let before = tail.process.rss_kib();
    let mut writer = world.writer("a.log");
    let count = 300 * 1_024_u64;
    let padding = "x".repeat(1_011);
    for chunk in 0..count / 1_024 {
        let lines: Vec<String> =
            (0..1_024).map(|line| format!("{:012}{padding}", chunk * 1_024 + line)).collect();
        writer.write_all(text(&lines).as_bytes()).expect("write");
    }
    tail.settled();
    let grown = tail.process.rss_max_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "it grew by {grown} KiB while the reader was blocked");
    tail.unblock();
    wait_for("all lines", || seen.lock().expect("seen").1 == count || tail.has_exited());
    assert_eq!(seen.lock().expect("seen").1, count);
    let grown = tail.process.rss_max_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "it grew by {grown} KiB while the reader caught up");
}

/// While the output takes nothing, `flood` makes six megabytes of unread lines below `flood`, and
/// then another user writes one line. It does not come after the part of the flood that fits into
/// the batches.
#[track_caller]
fn comes_before_most_of(flood: impl Fn(&World)) {
    let world = World::in_memory();
    world.mkdir("other");
    world.append("other/a.log", "first\n");
    let tail = world.run().start().armed();
    tail.wait_line("first");
    tail.block();
    flood(&world);
    tail.settled();
    world.append("other/a.log", "second\n");
    tail.settled();
    tail.unblock();
    tail.wait_count(2 + 6_000);
    let lines = tail.lines();
    let before = lines.iter().position(|line| line == "second").expect("it came");
    // Four megabytes may wait: two thirds of the flood.
    assert!(before < 3_000, "{before} of {} lines came before it", lines.len());
}

#[test]
fn a_line_does_not_wait_behind_a_large_file_while_the_output_is_blocked() {
    comes_before_most_of(|world| world.append("flood.log", text(&flood())));
}

#[test]
fn a_line_does_not_wait_behind_files_that_were_moved_in_while_the_output_is_blocked() {
    comes_before_most_of(|world| {
        let outside = world.beside("flood");
        std::fs::create_dir(&outside).expect("mkdir");
        for (number, lines) in flood().chunks(20).enumerate() {
            std::fs::write(outside.join(format!("{number}.log")), text(lines)).expect("write");
        }
        std::fs::rename(&outside, world.at("flood")).expect("mv");
    });
}

/// `B-01`: "other inputs' bookkeeping alive".
#[test]
fn names_come_and_go_while_the_output_is_blocked() {
    let world = World::new();
    world.mkdir("d");
    let tail = world.run().start().armed();
    world.append("d/a.log", "a 0\n");
    world.append("b.log", "b 0\n");
    world.append("gone.log", "gone\n");
    tail.wait_count(3);
    tail.block();
    let filler = flood();
    world.append("filler.log", text(&filler));
    tail.settled();
    assert!(tail.count() < 3 + filler.len(), "the output was meant to be blocked");
    // All changes happen between two turns, or the line might be read under the former name.
    tail.stop();
    world.append("d/a.log", "a 1\n");
    world.rename("d", "e");
    world.append("b.log", "b 1\n");
    world.rename("b.log", "c.log");
    world.append("b.log", "b 2\n");
    world.remove("gone.log");
    world.mkdir("new/deep");
    world.write("new/deep/n.log", "n\n");
    tail.go_on();
    wait_for("the new directories to be watched", || tail.process.watches() == 4);
    tail.settled();
    tail.unblock();
    let line = |line: &str| vec![line.to_owned()];
    tail.expect_files(&BTreeMap::from([
        ("filler.log".to_owned(), filler),
        ("d/a.log".to_owned(), line("a 0")),
        ("e/a.log".to_owned(), line("a 1")),
        ("c.log".to_owned(), line("b 1")),
        ("b.log".to_owned(), vec!["b 0".to_owned(), "b 2".to_owned()]),
        ("gone.log".to_owned(), line("gone")),
        ("new/deep/n.log".to_owned(), line("n")),
    ]));
}

/// `B-03` and `B-05`
#[test]
fn many_pauses_of_the_reader_lose_and_repeat_nothing() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for round in 0..5 {
        tail.block();
        for number in 0..20 {
            let lines = numbered(&format!("round {round} {}", "y".repeat(200)), 0..50);
            let name = format!("{number}.log");
            world.append(&name, text(&lines));
            expected.entry(name).or_default().extend(lines);
        }
        tail.settled();
        assert!(
            tail.count() < expected.values().map(Vec::len).sum(),
            "the reader was meant to pause"
        );
        tail.unblock();
        if round % 2 == 0 {
            tail.settled();
        }
    }
    tail.expect_files(&expected);
}

/// Records take more room than their lines: the room runs out in the middle of a read.
#[test]
fn lines_that_were_read_and_found_no_room_come_later() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for number in 0..3 {
        let lines = vec!["1".to_owned(); 60_000];
        world.write(format!("{number}.log"), text(&lines));
        expected.insert(format!("{number}.log"), lines);
    }
    let tail = world.run().blocked().start();
    tail.settled();
    tail.unblock();
    tail.expect_files(&expected);
}

#[test]
fn a_blocked_output_costs_no_cpu() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.block();
    let lines = flood();
    world.append("a.log", text(&lines));
    tail.settled();
    let ticks = tail.process.ticks();
    let mut writer = world.writer("b.log");
    for _ in 0..100 {
        writer.write_all(b"more\n").expect("write");
        thread::sleep(Duration::from_millis(10));
    }
    let spent = tail.process.ticks() - ticks;
    assert!(spent <= 10, "{spent} ticks in a second in which nothing could be done");
    tail.unblock();
    tail.wait_count(lines.len() + 100);
    tail.settled();
    assert_eq!(tail.count(), lines.len() + 100);
}

/// A stream that is read in the most awkward sizes.
fn read_in_pieces(
    mut stream: impl Read,
    enough: usize,
    mut size: impl FnMut() -> usize,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while bytes.len() < enough {
        let wanted = size();
        let got = stream.read(&mut buffer[..wanted]).expect("read");
        assert!(got > 0, "the output ended after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..got]);
    }
    bytes
}

/// `B-07`
#[test]
fn records_are_intact_through_a_tiny_socket_buffer_read_byte_by_byte() {
    let world = World::new();
    let (ours, theirs) = UnixStream::pair().expect("socketpair");
    setsockopt(&theirs, sockopt::SndBuf, &1).expect("SO_SNDBUF");
    let lines: Vec<String> =
        (0..300).map(|number| format!("{number} {}", "x".repeat(number % 97))).collect();
    world.write("a.log", text(&lines));
    world.write("b.log", format!("{}\n", "y".repeat(20_000)));
    let tail = world.run().json().stdout(std::os::fd::OwnedFd::from(theirs)).start();
    ours.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    let mut records = 0;
    while records < 301 {
        let got = (&ours).read(&mut byte).expect("read");
        assert_eq!(got, 1, "the output ended after {records} records");
        bytes.push(byte[0]);
        records += usize::from(byte[0] == b'\n');
    }
    let records = decode_all(Format::Json, &bytes);
    let got: Vec<String> =
        records.iter().map(Record::text).filter(|line| !line.starts_with('y')).collect();
    assert_eq!(got, lines);
    drop(tail);
}

/// `B-07`, through a pipe of one page, read in random sizes.
#[test]
fn records_are_intact_through_a_pipe_of_one_page() {
    let world = World::new();
    let (ours, theirs) = std::io::pipe().expect("pipe");
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4_096)).expect("F_SETPIPE_SZ");
    let lines: Vec<String> =
        (0..3_000).map(|number| format!("{number} {}", "x".repeat(number * 31 % 700))).collect();
    world.write("a.log", text(&lines));
    let tail = world.run().raw().stdout(theirs).start();
    let mut random = Random(3);
    let expected = text(&lines);
    let got = read_in_pieces(ours, expected.len(), || 1 + random.below(5_000));
    assert!(String::from_utf8(got).expect("text") == expected, "the bytes differ");
    drop(tail);
}

/// `Y-03`: order within a file is strict though it is read in many chunks while others take turns.
#[test]
fn a_large_file_does_not_starve_small_ones() {
    let _guard = heavy();
    let world = World::in_memory();
    let lines = numbered(&"z".repeat(120), 0..400_000);
    world.write("large.log", text(&lines));
    world.write("small.log", "");
    let tail = world.run().start();
    wait_for("the large file to be on its way", || tail.capture().total() > 0);
    world.append("small.log", "small\n");
    tail.wait_count(lines.len() + 1);
    tail.settled();
    let got = tail.records();
    let at = got.iter().position(|record| record.line == b"small").expect("the small file's line");
    assert!(at < lines.len() * 3 / 4, "it came only after {at} lines of the large file");
    let large: Vec<String> = tail.lines_by_file().remove("large.log").expect("the large file");
    assert!(large == lines, "the large file's lines are out of order");
}
