//! Files deleted, recreated, and deleted before they were read.

use std::fs;
use std::io::Write;

use crate::harness::wait_for;
use crate::world::{World, heavy, is_root, numbered, text};

/// `X-01`
#[test]
fn a_file_deleted_and_made_again_is_read_from_0() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut expected = Vec::new();
    for round in 0..20 {
        let lines = numbered(&format!("round {round} line"), 0..round + 1);
        world.write("a.log", text(&lines));
        expected.extend(lines);
        tail.wait_count(expected.len());
        world.remove("a.log");
        if round % 2 == 0 {
            tail.settled();
        }
    }
    tail.expect_in_order(&expected);
}

/// `X-02`: without an open descriptor, bytes that were written before the deletion and not read are
/// counted and reported.
#[test]
fn bytes_deleted_before_they_were_read_are_said() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut writer = world.writer("doomed.log");
    writer.write_all(b"read\n").expect("write");
    tail.wait_line("read");
    tail.wait_closed();
    tail.stop();
    writer.write_all(b"never read\n").expect("write");
    world.remove("doomed.log");
    tail.go_on();
    tail.canary("");
    tail.wait_said("doomed.log");
    tail.expect(&[("doomed.log", &["read"])]);
    assert_eq!(tail.said("doomed.log"), 1);
}

/// An unfinished line of a deleted file is lost, and never joined to its successor.
#[test]
fn a_fragment_of_a_deleted_file_is_never_glued_to_its_successor() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "one\nfragment");
    tail.wait_line("one");
    tail.settled();
    world.remove("a.log");
    world.append("a.log", "two\n");
    tail.expect_in_order(&["one", "two"]);
}

/// `X-04`
#[test]
fn a_deleted_file_is_let_go_at_once() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "one\n");
    tail.wait_line("one");
    world.remove("a.log");
    tail.wait_closed();
    tail.settled();
    assert!(tail.process.descriptors() <= 16);
}

/// `X-05`
#[test]
fn a_deletion_leaves_the_others_followed() {
    let world = World::new();
    for name in ["a.log", "b.log", "c.log"] {
        world.write(name, "one\n");
    }
    let tail = world.run().start().armed();
    tail.wait_count(3);
    world.remove("b.log");
    world.append("a.log", "two\n");
    world.write("d.log", "new\n");
    world.append("c.log", "two\n");
    tail.expect(&[
        ("a.log", &["one", "two"]),
        ("b.log", &["one"]),
        ("c.log", &["one", "two"]),
        ("d.log", &["new"]),
    ]);
}

/// `X-06`
#[test]
fn a_longer_successor_made_between_two_looks_is_read_from_0() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("a.log", "short\n");
    tail.wait_line("short");
    tail.stop();
    world.remove("a.log");
    let lines = numbered("a much longer line", 0..100);
    world.write("a.log", text(&lines));
    tail.go_on();
    let expected: Vec<String> = ["short".to_owned()].into_iter().chain(lines).collect();
    tail.expect_in_order(&expected);
}

/// `X-07`
#[test]
fn memory_does_not_grow_with_files_that_are_gone() {
    let _guard = heavy();
    let world = World::in_memory();
    let tail = world.run().start().armed();
    let rounds = |rounds: std::ops::Range<usize>| {
        for round in rounds {
            for number in 0..2_000 {
                world.append(format!("job-{round}-{number}.log"), "x\n");
            }
            tail.wait_count((round + 1) * 2_000);
            for number in 0..2_000 {
                world.remove(format!("job-{round}-{number}.log"));
            }
            tail.settled();
        }
        tail.process.rss_kib()
    };
    let before = rounds(0..3);
    let after = rounds(3..15);
    assert!(after <= before + 2_048, "{before} KiB became {after} KiB after 24,000 more files");
}

/// `X-08`
#[test]
fn a_failure_to_look_is_no_deletion() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.mkdir("s");
    world.write("s/a.log", "one\n");
    let tail = world.run().with(&["--rescan", "1s"]).user(65_534).start();
    tail.wait_line("one");
    tail.canary("");
    for round in 0..2 {
        world.chmod("s", 0o000);
        world.append("s/a.log", format!("hidden {round}\n"));
        tail.canary("");
        tail.settled();
        world.chmod("s", 0o755);
        tail.wait_line(&format!("hidden {round}"));
    }
    world.append("s/a.log", "last\n");
    tail.expect(&[("s/a.log", &["one", "hidden 0", "hidden 1", "last"])]);
}

/// `X-09`
#[test]
fn a_file_deleted_behind_a_blocked_output_leaves_the_queue() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.block();
    // Fills the pipe and every buffer.
    let filler = numbered(&"x".repeat(1_000), 0..8_000);
    world.append("filler.log", text(&filler));
    tail.settled();
    // More files than can be held open.
    for number in 0..3_000 {
        world.append(format!("{number}.log"), "never read\n");
    }
    tail.settled();
    let held = tail.process.descriptors();
    for number in 0..3_000 {
        world.remove(format!("{number}.log"));
    }
    tail.settled();
    tail.unblock();
    tail.wait_count(filler.len());
    tail.canary("");
    tail.settled();
    let lines = tail.lines_by_file();
    assert_eq!(lines["filler.log"], filler);
    assert!(
        lines.iter().all(|(name, lines)| name == "filler.log" || lines.len() == 1),
        "some line came twice"
    );
    wait_for("the descriptors to be released", || tail.process.descriptors() <= 16);
    assert!(held < 2_000, "{held} descriptors were held: more than a bounded number");
}

/// "While the output is blocked, a bounded number of files with unread bytes may be held open, so
/// that deleting them loses nothing."
#[test]
fn a_few_files_deleted_behind_a_blocked_output_lose_nothing() {
    let world = World::new();
    let tail = world.run().start().armed();
    for number in 0..5 {
        world.append(format!("{number}.log"), "one\n");
    }
    tail.wait_count(5);
    tail.block();
    let filler = numbered(&"x".repeat(1_000), 0..8_000);
    world.append("filler.log", text(&filler));
    tail.settled();
    for number in 0..5 {
        world.append(format!("{number}.log"), "two\n");
    }
    tail.settled();
    for number in 0..5 {
        world.remove(format!("{number}.log"));
    }
    tail.settled();
    tail.unblock();
    let mut expected = std::collections::BTreeMap::from([("filler.log".to_owned(), filler)]);
    for number in 0..5 {
        expected.insert(format!("{number}.log"), vec!["one".to_owned(), "two".to_owned()]);
    }
    tail.expect_files(&expected);
    wait_for("the descriptors to be released", || tail.process.descriptors() <= 16);
}

#[test]
fn a_tree_deleted_as_a_whole_is_let_go_and_its_name_can_be_used_again() {
    let world = World::new();
    let tail = world.run().start().armed();
    for round in 0..3 {
        for number in 0..30 {
            world.mkdir(format!("s/{number}/t"));
            world.write(format!("s/{number}/t/a.log"), format!("round {round} {number}\n"));
        }
        tail.wait_count((round + 1) * 30);
        fs::remove_dir_all(world.at("s")).expect("rm -r");
        wait_for("its watches to go", || tail.process.watches() == 1);
    }
    tail.settled();
    assert_eq!(tail.count(), 90);
}
