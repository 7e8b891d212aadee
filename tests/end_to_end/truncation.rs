//! Files that are truncated or overwritten in place, and the holes that writers leave.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::harness::{DEADLINE, Tail};
use crate::world::{World, heavy, numbered, text};

/// The `file` keys of all records, each once, in order of appearance.
fn generations(tail: &Tail) -> Vec<String> {
    let mut files: Vec<String> =
        tail.records().iter().map(|record| record.origin().file.clone()).collect();
    files.dedup();
    files
}

/// `T-01`
#[test]
fn a_truncated_file_is_read_from_its_first_byte_again() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    world.write("a.log", "one\ntwo\nthree\n");
    tail.wait_count(3);
    world.truncate("a.log", 0);
    tail.settled();
    world.append("a.log", "new\n");
    tail.expect(&[("a.log", &["one", "two", "three", "new"])]);
    let last = tail.records().pop().expect("a record");
    assert_eq!(last.origin().offset, 0);
    assert_eq!(
        generations(&tail).len(),
        2,
        "the content restarted, so it is a new inode_generation"
    );
}

/// `T-04`: read again from 0, under the next generation.
#[test]
fn a_file_truncated_to_a_length_below_the_offset_is_read_again_from_0() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    world.write("a.log", "line1\nline2\nline3\n");
    tail.wait_count(3);
    world.truncate("a.log", 6);
    world.append("a.log", "line4\n");
    tail.expect_in_order(&["line1", "line2", "line3", "line1", "line4"]);
    assert_eq!(generations(&tail).len(), 2);
}

/// `T-04`, in the middle of a line.
#[test]
fn a_file_truncated_into_a_line_is_not_read_from_a_stale_offset() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("a.log", "line1\nline2\nline3\n");
    tail.wait_count(3);
    world.truncate("a.log", 8);
    world.append("a.log", "-new\n");
    tail.expect_in_order(&["line1", "line2", "line3", "line1", "li-new"]);
}

/// `T-05`
#[test]
fn a_file_rewritten_to_the_same_size_is_read_from_0() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    world.write("a.log", "one\ntwo\nthree\n");
    tail.wait_count(3);
    tail.stop();
    world.write("a.log", "ONE\nTWO\nTHREE\n");
    tail.go_on();
    tail.expect_in_order(&["one", "two", "three", "ONE", "TWO", "THREE"]);
    assert_eq!(generations(&tail).len(), 2);
}

/// `T-05`
#[test]
fn a_file_rewritten_to_a_larger_size_is_read_from_0() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("a.log", "one\ntwo\nthree\n");
    tail.wait_count(3);
    tail.stop();
    let lines = numbered("a new line of its own", 0..1_000);
    world.write("a.log", text(&lines));
    tail.go_on();
    let mut expected = vec!["one".to_owned(), "two".to_owned(), "three".to_owned()];
    expected.extend(lines);
    tail.expect_in_order(&expected);
}

/// `T-05`, without any change of size.
#[test]
fn a_file_overwritten_in_place_is_read_from_0() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("a.log", "one\ntwo\nthree\n");
    tail.wait_count(3);
    world.overwrite("a.log", "ONE\nTWO\nTHREE\n");
    tail.expect_in_order(&["one", "two", "three", "ONE", "TWO", "THREE"]);
}

/// `T-05`, again and again while running.
#[test]
fn every_rewrite_of_a_status_file_is_delivered() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut expected = Vec::new();
    for round in 0..50 {
        // The bytes just before the offset differ each time.
        let lines = [format!("state {round:03}"), format!("progress {round:03}")];
        world.write("status", text(&lines));
        expected.extend(lines);
        tail.wait_count(expected.len());
    }
    tail.expect_in_order(&expected);
}

/// `T-06`
#[test]
fn a_file_truncated_and_left_empty_emits_nothing_until_it_has_content() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    world.write("a.log", "one\n");
    tail.wait_count(1);
    world.truncate("a.log", 0);
    tail.settled();
    assert_eq!(tail.count(), 1);
    world.append("a.log", "longer than the first\n");
    tail.expect_in_order(&["one", "longer than the first"]);
    assert_eq!(tail.records()[1].origin().offset, 0);
}

/// `T-09`
#[test]
fn queued_lines_of_a_file_truncated_behind_a_blocked_output_come_once() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.block();
    let old = numbered("an old line, long enough to fill the pipe soon", 0..400);
    world.append("a.log", text(&old));
    // 20 KiB fit into the pipe and the batch, so they were read before the truncation.
    tail.settled();
    world.truncate("a.log", 0);
    tail.settled();
    world.append("a.log", "new 1\nnew 2\n");
    tail.settled();
    tail.unblock();
    let mut expected = old;
    expected.extend(numbered("new", 1..3));
    tail.expect_in_order(&expected);
}

/// `T-10`
#[test]
fn a_truncation_of_a_long_quiet_file_is_seen_at_its_next_event() {
    let world = World::new();
    world.write("a.log", "old\nolder\n");
    let tail = world.run().with(&["--from", "end"]).start().armed();
    tail.settled();
    world.truncate("a.log", 0);
    world.append("a.log", "new\n");
    tail.expect(&[("a.log", &["new"])]);
}

/// `T-11`
#[test]
fn a_file_moved_away_truncated_and_moved_back_is_read_from_0_once() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("a.log", "one\ntwo\n");
    tail.wait_count(2);
    world.rename("a.log", "../away");
    tail.settled();
    world.truncate("../away", 0);
    world.append("../away", "new\n");
    world.rename("../away", "a.log");
    tail.wait_line("new");
    world.append("a.log", "newer\n");
    tail.expect_in_order(&["one", "two", "new", "newer"]);
}

/// `L-07`: the bytes of an unfinished line that a truncation removed are lost and never joined to
/// anything.
#[test]
fn a_fragment_is_never_glued_to_the_content_after_a_truncation() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "one\nfragment");
    tail.wait_count(1);
    tail.settled();
    world.truncate("a.log", 0);
    tail.settled();
    world.append("a.log", "new\n");
    tail.expect_in_order(&["one", "new"]);
}

/// `L-07`, where both happen between two turns.
#[test]
fn a_fragment_is_never_glued_to_longer_new_content() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "one\nfragment");
    tail.wait_count(1);
    tail.settled();
    tail.stop();
    world.write("a.log", "completely new and longer content\nsecond\n");
    tail.go_on();
    tail.expect_in_order(&["one", "completely new and longer content", "second"]);
}

/// A writer without `O_APPEND` that keeps its position: NULs fill the file up to it.
#[test]
fn the_nuls_a_writer_leaves_after_a_truncation_are_not_delivered() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    let mut writer = File::create(world.at("a.log")).expect("open");
    writer.write_all(text(&numbered("old", 0..100)).as_bytes()).expect("write");
    tail.wait_count(100);
    let position = writer.stream_position().expect("tell");
    world.truncate("a.log", 0);
    tail.settled();
    writer.write_all(b"new 0\nnew 1\n").expect("write");
    let expected: Vec<String> =
        numbered("old", 0..100).into_iter().chain(numbered("new", 0..2)).collect();
    tail.expect_in_order(&expected);
    assert_eq!(tail.records()[100].origin().offset, position);
}

#[test]
fn the_nuls_of_a_hole_are_not_delivered_when_truncation_and_write_fall_between_two_looks() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut writer = File::create(world.at("a.log")).expect("open");
    writer.write_all(text(&numbered("old", 0..3_000)).as_bytes()).expect("write");
    tail.wait_count(3_000);
    tail.stop();
    world.truncate("a.log", 0);
    writer.write_all(b"new 0\nnew 1\n").expect("write");
    tail.go_on();
    let expected: Vec<String> =
        numbered("old", 0..3_000).into_iter().chain(numbered("new", 0..2)).collect();
    tail.expect_in_order(&expected);
}

#[test]
fn nuls_that_were_written_are_data_also_in_a_file_with_a_hole() {
    let world = World::new();
    world.write("a.log", "data \0\0\0\0\n\0\0\n");
    let tail = world.run().start();
    tail.expect_in_order(&["data \0\0\0\0", "\0\0"]);
    // Not at its start, and not in a hole.
    world.append("a.log", "\0more\0\n");
    tail.expect_in_order(&["data \0\0\0\0", "\0\0", "\0more\0"]);
}

#[test]
fn one_gibibyte_of_hole_is_skipped_at_once() {
    let _guard = heavy();
    let world = World::new();
    let tail = world.run().json().start().armed();
    let writer = File::create(world.at("a.log")).expect("open");
    writer.write_all_at(b"before\n", 0).expect("write");
    tail.wait_line("before");
    world.truncate("a.log", 0);
    tail.settled();
    let ticks = tail.process.ticks();
    let start = Instant::now();
    writer.write_all_at(b"after\n", 1 << 30).expect("write");
    tail.expect_in_order(&["before", "after"]);
    assert_eq!(tail.records()[1].origin().offset, 1 << 30);
    let spent = tail.process.ticks() - ticks;
    assert!(spent <= 20 && start.elapsed() < DEADLINE, "it took {spent} ticks");
}

#[test]
fn a_hole_in_the_middle_of_a_file_is_skipped() {
    let world = World::new();
    let mut file = File::create(world.at("a.log")).expect("open");
    // On block boundaries, so that the file system stores it as a hole.
    let line = format!("{}\n", "x".repeat((64 << 10) - 1));
    file.write_all(line.as_bytes()).expect("write");
    file.seek(SeekFrom::Start(100 << 20)).expect("seek");
    file.write_all(b"after\n").expect("write");
    let tail = world.run().start();
    tail.expect_in_order(&[line.trim_end(), "after"]);
    world.append("a.log", "more\n");
    tail.expect_in_order(&[line.trim_end(), "after", "more"]);
}
