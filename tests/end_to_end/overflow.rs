//! More events than the kernel queues: manytail reconciles by itself and continues to deliver.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::harness::Tail;
use crate::world::{World, heavy, numbered, skip, text};

/// A queue longer than this takes a test too long to fill: about a second per million events.
const LIMIT_MAX: usize = 4 << 20;
/// New files whose events are lost: some of the directory's events still fit into the queue.
const NEW_FILES: usize = 20_000;

/// How many events the kernel queues. `None`, and the test counts as skipped: too many to fill the
/// queue.
pub(crate) fn queue_limit() -> Option<usize> {
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("inotify");
    let limit = text.trim().parse().expect("a number");
    if limit > LIMIT_MAX {
        skip(&format!("fs.inotify.max_queued_events is {limit}"));
        return None;
    }
    Some(limit)
}

/// Two files whose attributes change alternately: neighbouring events differ, so the kernel merges
/// none, and no byte is written.
struct Filler([fs::File; 2]);

impl Filler {
    fn new(world: &World) -> Filler {
        Filler(["fill-a", "fill-b"].map(|name| world.writer(name)))
    }

    /// Puts this many events into the queue of a stopped process that has read all earlier ones.
    fn put(&self, events: usize) {
        for number in 0..events {
            self.0[number % 2].set_permissions(Permissions::from_mode(0o644)).expect("chmod");
        }
    }
}

/// Expects the report of an overflow. Only for a process that reports one overflow per test: a
/// second report is suppressed.
#[track_caller]
fn expect_overflows(tail: &Tail, count: usize) {
    tail.wait("the overflow to be reported", || tail.said("overflowed") >= count);
}

/// Waits for this many records as long as more come: a long queue takes time.
#[track_caller]
fn wait_all(tail: &Tail, count: usize) {
    let mut came = tail.count();
    while came < count {
        tail.wait(&format!("more than {came} of {count} records"), || tail.count() > came);
        came = tail.count();
    }
}

/// `O-03`
#[test]
fn every_line_comes_once_after_the_event_queue_overflowed_and_again() {
    let Some(limit) = queue_limit() else { return };
    let _guard = heavy();
    let world = World::in_memory();
    let filler = Filler::new(&world);
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
        // The queue ends somewhere among the new files.
        filler.put(limit.saturating_sub(NEW_FILES / 4));
        for number in 0..NEW_FILES / (round + 1) {
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
        expect_overflows(&tail, round + 1);
        wait_all(&tail, expected.values().map(Vec::len).sum());
    }
    tail.expect_files(&expected);
    let ticks = tail.process.ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(tail.process.ticks() <= ticks + 1, "it reconciles once, not for ever");
}

/// Renames, deletions and new directories whose events were dropped.
#[test]
fn whatever_happened_to_names_during_an_overflow_is_found() {
    let Some(limit) = queue_limit() else { return };
    let _guard = heavy();
    let world = World::in_memory();
    let filler = Filler::new(&world);
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
    // Fills the queue, so that all later events are lost.
    filler.put(limit + 2);
    for number in 0..1_000 {
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
    expect_overflows(&tail, 1);
    tail.wait_count(20);
    tail.settled();
    assert_new_lines(&tail);
    // Everything is watched again where it is now.
    for (name, line) in [
        ("moved/sub/a.log", "live 1"),
        ("made/deep/er/a.log", "live 2"),
        ("swaps-a/sub/a.log", "live 3"),
        ("named.log", "live 4"),
    ] {
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
    let expected = [
        "a new",
        "b new",
        "made new",
        "moved new",
        "renamed new",
        "replaced new",
        "rotated 1",
        "rotated 2",
        "stays new",
        "t",
    ];
    assert_eq!(new, expected);
    let order: Vec<String> =
        tail.lines().into_iter().filter(|line| line.starts_with("rotated ")).collect();
    assert_eq!(order, ["rotated 1", "rotated 2"]);
}

/// "manytail reconciles by itself, in slices, while it goes on serving": lines that are written
/// meanwhile come before it has finished.
#[test]
fn known_files_are_served_while_an_overflow_is_reconciled() {
    let Some(limit) = queue_limit() else { return };
    let _guard = heavy();
    let world = World::in_memory();
    let filler = Filler::new(&world);
    world.write("live.log", "");
    let tail = world.run().start().armed();
    tail.stop();
    filler.put(limit + 2);
    let new_files = 2 * NEW_FILES;
    (0..64).for_each(|number| world.mkdir(format!("d{number}")));
    let mut expected = BTreeMap::new();
    for number in 0..new_files {
        let name = format!("d{}/{number}.log", number % 64);
        world.write(&name, "line\n");
        expected.insert(name, vec!["line".to_owned()]);
    }
    tail.go_on();
    expect_overflows(&tail, 1);
    let (mut live, mut served_while) = (Vec::new(), 0);
    while tail.count() < new_files + live.len() {
        let line = format!("live {}", live.len());
        let written = Instant::now();
        world.append("live.log", format!("{line}\n"));
        live.push(line.clone());
        tail.wait_line(&line);
        let took = written.elapsed();
        if tail.count() < new_files + live.len() {
            assert!(took < Duration::from_secs(2), "{line} came after {took:?}");
            served_while += 1;
        }
    }
    assert!(
        served_while >= 3,
        "of {} lines {served_while} came while the new files were still being read",
        live.len()
    );
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
    let Some(limit) = queue_limit() else { return };
    let _guard = heavy();
    let world = World::in_memory();
    let tail = world.run().start().armed();
    world.append("a.log", "a 0\n");
    world.append("b.log", "b 0\n");
    tail.wait_count(2);
    tail.stop();
    let count = limit / 2 + 1_000;
    let (mut a, mut b) = (world.writer("a.log"), world.writer("b.log"));
    for number in 1..count {
        std::io::Write::write_all(&mut a, format!("a {number}\n").as_bytes()).expect("write");
        std::io::Write::write_all(&mut b, format!("b {number}\n").as_bytes()).expect("write");
    }
    tail.go_on();
    expect_overflows(&tail, 1);
    wait_all(&tail, 2 * count);
    tail.expect_files(&BTreeMap::from([
        ("a.log".to_owned(), numbered("a", 0..count)),
        ("b.log".to_owned(), numbered("b", 0..count)),
    ]));
    world.append("a.log", text(&["last"]));
    tail.wait_line("last");
}
