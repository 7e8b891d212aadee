//! `status FILE` for a log that is gone, for one that was read from its end, and diagnostics that
//! name their file.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{Run, Tail, wait_for};
use crate::scrape::get;
use crate::world::{World, flood, text};

fn asked(run: Run, world: &World) -> (Tail, PathBuf) {
    let socket = world.beside("control.sock");
    (run.with(&["--control-socket", socket.to_str().expect("UTF-8")]).start(), socket)
}

fn answer(socket: &Path, path: &Path) -> Value {
    serde_json::from_str(&get(socket, &format!("/file?path={}", path.display())).body)
        .expect("JSON")
}

#[track_caller]
fn wait_state(socket: &Path, path: &Path, state: &str) -> Value {
    wait_for(&format!("{} to be {state}", path.display()), || {
        answer(socket, path)["state"] == state
    });
    answer(socket, path)
}

fn why(answer: &Value) -> &str {
    answer["why"].as_str().expect("a reason")
}

#[test]
fn a_deleted_log_is_told_by_its_last_path_with_what_was_read() {
    for is_kept in [false, true] {
        let world = World::new();
        world.mkdir("d/e");
        let run = if is_kept {
            world.run().with(&["--state-dir", world.beside("state").to_str().expect("UTF-8")])
        } else {
            world.run()
        };
        let (tail, socket) = asked(run.json(), &world);
        world.write("a.log", "one\n");
        world.write("d/e/b.log", "two\n");
        world.write("c.log", "three\nunfinished");
        tail.wait_count(3);
        tail.settled();
        let files: Vec<Value> = ["a.log", "d/e/b.log", "c.log"]
            .iter()
            .map(|name| answer(&socket, &world.at(name))["file"].clone())
            .collect();
        world.remove("a.log");
        world.remove_dir("d");
        world.remove("c.log");
        let read = wait_state(&socket, &world.at("a.log"), "deleted");
        assert!(
            read["offset"] == 4
                && why(&read).contains("deleted")
                && why(&read).contains("read to its end"),
            "{read}"
        );
        let below = wait_state(&socket, &world.at("d/e/b.log"), "deleted");
        assert_eq!((&read["file"], &below["file"]), (&files[0], &files[1]));
        wait_for("a verdict", || {
            answer(&socket, &world.at("c.log"))["state"]
                .as_str()
                .is_some_and(|state| state.starts_with("deleted"))
        });
        let lost = answer(&socket, &world.at("c.log"));
        assert_eq!(lost["file"], files[2]);
        // Another file has the name: the answer is about that one.
        world.write("a.log", "another\n");
        tail.wait_line("another");
        let state = answer(&socket, &world.at("a.log"))["state"].clone();
        assert!(
            ["read_to_end", "cooling_down", "queued"].contains(&state.as_str().expect("a state")),
            "{state}"
        );
        assert_eq!(answer(&socket, &world.at("never.log"))["state"], "missing");
    }
}

#[test]
fn a_log_that_left_the_tree_is_told_by_its_last_path() {
    let world = World::new();
    let (tail, socket) = asked(world.run(), &world);
    world.write("a.log", "one\n");
    tail.wait_line("one");
    tail.settled();
    std::fs::rename(world.at("a.log"), world.beside("a.log")).expect("mv");
    let left = wait_state(&socket, &world.at("a.log"), "left_tree");
    assert!(left["offset"] == 4 && why(&left).contains("comes back"), "{left}");
    // By another spelling of the path.
    let spelled = world.tree.join("..").join("tree").join("a.log");
    assert_eq!(answer(&socket, &spelled)["state"], "left_tree");
    std::fs::rename(world.beside("a.log"), world.at("a.log")).expect("mv");
    wait_state(&socket, &world.at("a.log"), "read_to_end");
}

/// Held open while the output is blocked: it can still be read, although it has no name.
#[test]
fn a_deleted_log_that_is_still_being_read_says_so() {
    let world = World::new();
    let (tail, socket) = asked(world.run(), &world);
    world.write("first.log", "one\n");
    tail.wait_line("one");
    tail.block();
    world.append("a.log", text(&flood()));
    wait_state(&socket, &world.at("a.log"), "output_blocked");
    world.remove("a.log");
    let held = wait_state(&socket, &world.at("a.log"), "finishing");
    assert!(held["unread_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{held}");
    tail.unblock();
    tail.wait_count(6_001);
    wait_state(&socket, &world.at("a.log"), "deleted");
}

/// Ten thousand logs come and go: the list has the last ones, and memory is bounded.
#[test]
fn of_very_many_deleted_logs_the_last_are_told() {
    let world = World::in_memory();
    let (tail, socket) = asked(world.run(), &world);
    for round in 0..10 {
        for number in 0..1_000 {
            world.write(format!("{round}-{number}.log"), "one\n");
        }
        tail.wait_count((round + 1) * 1_000);
        for number in 0..1_000 {
            world.remove(format!("{round}-{number}.log"));
        }
    }
    for name in ["9-999.log", "9-0.log", "5-0.log"] {
        wait_state(&socket, &world.at(name), "deleted");
    }
    assert_eq!(answer(&socket, &world.at("0-0.log"))["state"], "missing");
}

#[test]
fn files_started_at_their_end_because_they_are_old_are_logged_in_one_line_and_listed_one_by_one() {
    let world = World::new();
    let long_ago = SystemTime::now() - Duration::from_secs(10 * 86_400);
    for number in 0..300 {
        world.write(format!("old-{number}.log"), "old\n");
        world.set_modified(format!("old-{number}.log"), long_ago);
    }
    world.write("young.log", "young\n");
    world.write("empty.log", "");
    world.set_modified("empty.log", long_ago);
    let (tail, socket) = asked(world.run().with(&["--ignore-older", "1d"]), &world);
    tail.wait_said("--ignore-older");
    tail.wait_line("young");
    tail.settled();
    assert_eq!(tail.said("ignore-older"), 1, "{}", tail.stderr());
    assert!(tail.stderr().contains("files=300 "), "{}", tail.stderr());
    let old = answer(&socket, &world.at("old-7.log"));
    assert!(why(&old).contains("--ignore-older") && old["started_at_end"] == true, "{old}");
    assert!(!why(&answer(&socket, &world.at("young.log"))).contains("ignore-older"));
    let count = |name: &str| {
        get(&socket, "/metrics")
            .body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    assert_eq!(count("manytail_files_ignored_older_total "), Some(300));
    // Moved in later: no second line within the period.
    for number in 0..5 {
        std::fs::rename(world.at(format!("old-{number}.log")), world.beside("aside")).expect("mv");
        std::fs::write(world.beside("moved"), "old\n").expect("write");
        let moved =
            std::fs::OpenOptions::new().write(true).open(world.beside("moved")).expect("open");
        moved.set_modified(long_ago).expect("utime");
        std::fs::rename(world.beside("moved"), world.at(format!("moved-{number}.log")))
            .expect("mv");
    }
    wait_for("them to be counted", || count("manytail_files_ignored_older_total ") == Some(305));
    tail.settled();
    assert_eq!(tail.said("ignore-older"), 1, "{}", tail.stderr());
    world.append("moved-0.log", "new\n");
    tail.wait_line("new");
    assert_eq!(tail.lines(), ["young", "new"]);
}

/// `--from end` skips for another reason.
#[test]
fn files_that_are_skipped_by_from_end_are_not_called_old() {
    let world = World::new();
    world.write("a.log", "old\n");
    let (tail, socket) =
        asked(world.run().with(&["--from", "end", "--ignore-older", "1d"]), &world);
    tail.canary("");
    tail.settled();
    let told = answer(&socket, &world.at("a.log"));
    assert!(told["started_at_end"] == true && !why(&told).contains("ignore-older"), "{told}");
    assert_eq!(tail.said("ignore-older"), 0, "{}", tail.stderr());
}

/// The directory of a relative file PATH is the working directory, which also has a name.
#[test]
fn a_directory_that_is_told_of_in_a_diagnostic_has_a_name() {
    let world = World::new();
    world.write("a.log", "one\n");
    let tail = world.run().in_directory(&world.tree).paths(&["a.log", "."]).start();
    tail.wait_line("one");
    world.mkdir("gone");
    world.append("gone/b.log", "two\n");
    tail.wait_line("two");
    tail.settled();
    assert!(!tail.stderr().contains("path=\"\""), "{}", tail.stderr());
}

/// The loss is reported with the complete path, although the directory went with the file.
#[test]
fn a_loss_is_told_with_its_path_though_the_directory_is_gone_too() {
    let world = World::new();
    world.mkdir("d/e");
    let tail = world.run().start();
    world.write("d/e/a.log", "one\nunfinished");
    tail.wait_line("one");
    tail.settled();
    tail.stop();
    world.remove_dir("d");
    // New files may get the slots of the ones that are gone.
    for number in 0..5 {
        world.mkdir(format!("other-{number}"));
    }
    tail.go_on();
    tail.canary("");
    let warnings = tail.warnings();
    assert!(warnings.iter().all(|line| line.contains("/d/e/a.log")), "{warnings:?}");
}
