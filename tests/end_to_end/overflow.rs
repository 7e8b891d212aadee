//! More events than the kernel queues: manytail reconciles by itself and goes on serving.

use std::collections::BTreeMap;
use std::fs;

use crate::harness::Tail;
use crate::world::{World, heavy, numbered, text};

/// More distinct names than the kernel queues events.
fn flood() -> usize {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").ok().and_then(|text| text.trim().parse().ok());
    // A machine with a raised limit would need more files than a test should make.
    limit.map_or(40_000, |limit: usize| (limit * 5 / 2).clamp(40_000, 200_000))
}

/// `O-03`
#[test]
fn every_line_comes_once_after_the_event_queue_overflowed_and_again() {
    let _guard = heavy();
    let world = World::in_memory();
    let mut expected = BTreeMap::new();
    for number in 0..100 {
        world.mkdir(format!("known{number}"));
        world.write(format!("known{number}/a.log"), "known\n");
        expected.insert(format!("known{number}/a.log"), vec!["known".to_owned()]);
    }
    let tail = world.run().start().armed();
    tail.wait_count(100);
    for round in 0..2 {
        tail.stop();
        for number in 0..flood() / (round + 1) {
            let name = format!("round{round}-{number}.log");
            world.write(&name, "line\n");
            expected.insert(name, vec!["line".to_owned()]);
        }
        for number in 0..100 {
            let name = format!("known{number}/a.log");
            world.append(&name, format!("round {round}\n"));
            expected.get_mut(&name).expect("known").push(format!("round {round}"));
        }
        tail.go_on();
        tail.wait_count(expected.values().map(Vec::len).sum());
    }
    tail.expect_files(&expected);
    let ticks = tail.process.ticks();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(tail.process.ticks() <= ticks + 1, "it reconciles once, not for ever");
}

/// Renames, deletions and new directories whose events were dropped.
#[test]
fn whatever_happened_to_names_during_an_overflow_is_found() {
    let _guard = heavy();
    let world = World::in_memory();
    for directory in ["stays", "moves", "goes", "swaps-a", "swaps-b"] {
        world.mkdir(format!("{directory}/sub"));
        world.write(format!("{directory}/sub/a.log"), format!("{directory} old\n"));
    }
    for name in ["renamed.log", "truncated.log", "deleted.log", "replaced.log", "rotated.log"] {
        world.write(name, format!("{name} old\n"));
    }
    let tail = world.run().start().armed();
    tail.wait_count(10);
    tail.stop();
    // Fills the queue, so that everything after it goes unheard.
    for number in 0..flood() {
        fs::write(world.at(format!("flood{number}.log")), "").expect("write");
    }
    world.rename("moves", "moved");
    world.append("moved/sub/a.log", "moved new\n");
    world.remove_dir("goes");
    world.rename("swaps-a", "swap");
    world.rename("swaps-b", "swaps-a");
    world.rename("swap", "swaps-b");
    world.append("swaps-a/sub/a.log", "b new\n");
    world.append("swaps-b/sub/a.log", "a new\n");
    world.mkdir("made/deep/er");
    world.write("made/deep/er/a.log", "made new\n");
    world.append("stays/sub/a.log", "stays new\n");
    world.append("renamed.log", "renamed new\n");
    world.rename("renamed.log", "named.log");
    world.write("truncated.log", "t\n");
    world.remove("deleted.log");
    world.write("../new", "replaced new\n");
    world.rename("../new", "replaced.log");
    world.append("rotated.log", "rotated 1\n");
    world.rename("rotated.log", "rotated.log.1");
    world.write("rotated.log", "rotated 2\n");
    tail.go_on();
    tail.wait_count(20);
    tail.settled();
    assert_new_lines(&tail);
    // Everything is watched again where it is now.
    for (name, line) in
        [("moved/sub/a.log", "live 1"), ("made/deep/er/a.log", "live 2"), ("swaps-a/sub/a.log", "live 3"), ("named.log", "live 4")]
    {
        world.append(name, format!("{line}\n"));
        tail.wait_line(line);
    }
    tail.settled();
    assert_eq!(tail.count(), 24);
    // tree, stays, moved, swaps-a, swaps-b with one below each, and made/deep/er.
    assert_eq!(tail.process.watches(), 12);
}

fn assert_new_lines(tail: &Tail) {
    let mut new: Vec<String> = tail.lines().into_iter().skip(10).collect();
    new.sort();
    let mut expected =
        vec!["a new", "b new", "made new", "moved new", "renamed new", "replaced new", "rotated 1", "rotated 2", "stays new", "t"];
    expected.retain(|line| !line.is_empty());
    assert_eq!(new, expected);
    let order: Vec<String> = tail.lines().into_iter().filter(|line| line.starts_with("rotated ")).collect();
    assert_eq!(order, ["rotated 1", "rotated 2"]);
}

/// "manytail reconciles by itself, in slices, while it goes on serving".
#[test]
fn known_files_are_served_while_an_overflow_is_reconciled() {
    let _guard = heavy();
    let world = World::in_memory();
    let mut expected = BTreeMap::new();
    let tail = world.run().start().armed();
    tail.stop();
    for number in 0..flood() {
        let name = format!("d{}/{number}.log", number % 64);
        if number < 64 {
            world.mkdir(format!("d{number}"));
        }
        world.write(&name, "line\n");
        expected.insert(name, vec!["line".to_owned()]);
    }
    tail.go_on();
    let live = numbered("live", 0..500);
    for line in &live {
        world.append("live.log", format!("{line}\n"));
        std::thread::sleep(std::time::Duration::from_micros(500));
    }
    expected.insert("live.log".to_owned(), live);
    tail.expect_files(&expected);
}

/// `O-02`: the window between the listing of a directory and its watch.
#[test]
fn a_file_replaced_while_the_process_starts_is_followed() {
    let world = World::new();
    for number in 0..200 {
        world.write(format!("{number}.log"), "old\n");
    }
    for round in 0..10 {
        world.write("a.log", format!("round {round} old\n"));
        let tail = world.run().with(&["--include", "a.log", "--include", "canary*"]).start();
        for replacement in 0..20 {
            world.write("../new", format!("round {round} new {replacement}\n"));
            world.rename("../new", "a.log");
        }
        let last = format!("round {round} new 19");
        tail.wait_line(&last);
        world.append("a.log", "appended\n");
        tail.wait_line("appended");
        tail.settled();
        let lines = tail.lines();
        let distinct: std::collections::BTreeSet<&String> = lines.iter().collect();
        assert_eq!(distinct.len(), lines.len(), "a line came twice: {lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("appended"), "{lines:?}");
    }
}

/// The same file with more modifications than the queue holds: the kernel merges neighbours only.
#[test]
fn alternating_appends_to_two_files_beyond_the_queue_come_in_order() {
    let _guard = heavy();
    let world = World::in_memory();
    let tail = world.run().start().armed();
    world.append("a.log", "a 0\n");
    world.append("b.log", "b 0\n");
    tail.wait_count(2);
    tail.stop();
    let count = flood() / 2 + 1;
    let (mut a, mut b) = (world.writer("a.log"), world.writer("b.log"));
    for number in 1..count {
        std::io::Write::write_all(&mut a, format!("a {number}\n").as_bytes()).expect("write");
        std::io::Write::write_all(&mut b, format!("b {number}\n").as_bytes()).expect("write");
    }
    tail.go_on();
    tail.expect_files(&BTreeMap::from([
        ("a.log".to_owned(), numbered("a", 0..count)),
        ("b.log".to_owned(), numbered("b", 0..count)),
    ]));
    world.append("a.log", text(&["last"]));
    tail.wait_line("last");
}
