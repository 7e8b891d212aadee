//! Logs that are overwritten from the front without a truncation, as by `StandardOutput=file:` of
//! systemd.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

use crate::harness::{BINARY, Tail, wait_for};
use crate::world::{World, heavy, numbered, text};

const SAID: &str = "written before the offset";

fn start(world: &World) -> Tail {
    world.run().json().with(&["--control-socket"]).with(&[world.beside("control")]).start().armed()
}

fn state(world: &World, name: &str) -> String {
    let mut command = Command::new(BINARY);
    command
        .args(["status", "--format", "json", "--control-socket"])
        .arg(world.beside("control"))
        .arg(world.at(name));
    String::from_utf8_lossy(&command.output().expect("status").stdout).into_owned()
}

fn generations(tail: &Tail) -> usize {
    let mut files: Vec<String> =
        tail.records().iter().map(|record| record.origin().file.clone()).collect();
    files.dedup();
    files.len()
}

#[test]
fn a_log_written_over_line_by_line_is_said_once_and_each_new_line_comes_once() {
    for old_line in ["old line", "an old line that is longer than the new ones"] {
        let world = World::new();
        let tail = start(&world);
        let old = numbered(old_line, 100..200);
        world.write("a.log", text(&old));
        tail.wait_count(old.len());
        tail.settled();
        let mut writer = OpenOptions::new().write(true).open(world.at("a.log")).expect("open");
        let len = text(&old).len();
        let mut new = Vec::new();
        let mut at = 0;
        while at < len + 200 {
            let line = format!("new line {}", new.len());
            writer.write_all(format!("{line}\n").as_bytes()).expect("write");
            at += line.len() + 1;
            new.push(line);
            if new.len() == 1 {
                tail.wait_said(SAID);
                assert!(
                    state(&world, "a.log").contains("\"written_before\""),
                    "{}",
                    state(&world, "a.log")
                );
            }
            if at + 100 > len {
                tail.settled();
            }
        }
        tail.wait_line(new.last().expect("a line"));
        tail.settled();
        let got = tail.lines().split_off(old.len());
        assert_eq!(got, new, "after {old_line}");
        assert_eq!(tail.said(SAID), 1, "{}", tail.stderr());
        assert_eq!(generations(&tail), 2);
        writer.write_all(b"behind the old end\n").expect("write");
        tail.wait_line("behind the old end");
        assert!(state(&world, "a.log").contains("\"read_to_end\""));
    }
}

#[test]
fn a_log_written_over_in_one_go_up_to_the_mark_restarts_once_and_then_goes_on() {
    let world = World::new();
    let tail = start(&world);
    let old = numbered("old line", 1_000..1_100);
    world.write("a.log", text(&old));
    tail.wait_count(old.len());
    tail.settled();
    let mut writer = OpenOptions::new().write(true).open(world.at("a.log")).expect("open");
    // As long as the old lines: the last three are still to come.
    let new = numbered("new line", 1_000..1_110);
    writer.write_all(text(&new[..97]).as_bytes()).expect("write");
    tail.wait_line(&new[96]);
    tail.settled();
    for line in &new[97..] {
        writer.write_all(format!("{line}\n").as_bytes()).expect("write");
        tail.wait_line(line);
        tail.settled();
    }
    let mut expected = old.clone();
    expected.extend_from_slice(&new[..97]);
    // Once, because they cannot be recognized as old.
    expected.extend_from_slice(&old[97..]);
    expected.extend_from_slice(&new[97..]);
    tail.expect_in_order(&expected);
}

#[test]
fn a_file_overwritten_as_a_whole_again_and_again_is_read_each_time() {
    for lines in [2, 30, 1_000] {
        let world = World::new();
        let tail = start(&world);
        let mut expected = Vec::new();
        for round in 100..115 {
            let content = numbered(&format!("round {round} line"), 10_000..10_000 + lines);
            if round == 100 {
                world.write("a.log", text(&content));
            } else {
                world.overwrite("a.log", text(&content));
            }
            expected.extend(content);
            tail.wait_count(expected.len());
            tail.settled();
        }
        tail.expect_in_order(&expected);
        assert_eq!(tail.said(SAID), 0, "{}", tail.stderr());
    }
}

#[test]
fn ordinary_writers_are_never_said_to_write_before_the_offset() {
    let _guard = heavy();
    let world = World::new();
    let tail = start(&world);
    let mut writers: Vec<_> =
        (0..8).map(|number| world.writer(format!("{}.log", number / 2))).collect();
    let mut count = 0;
    for round in 0..5_000 {
        for (number, writer) in writers.iter_mut().enumerate() {
            writer.write_all(format!("writer {number} line {round}\n").as_bytes()).expect("write");
            count += 1;
        }
        if round % 500 == 0 {
            let file = OpenOptions::new().write(true).open(world.at("0.log")).expect("open");
            file.set_modified(std::time::SystemTime::now()).expect("touch");
            world.chmod("1.log", 0o600 + round as u32 / 500 % 2 * 0o40);
            let future = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
            world.set_modified("2.log", future);
            tail.settled();
        }
    }
    wait_for("all lines", || tail.count() >= count);
    tail.settled();
    // The kernel reports a change of the modification time like a write (inotify(7): IN_MODIFY),
    // here of files at rest.
    for number in 0..4 {
        world.set_modified(format!("{number}.log"), std::time::SystemTime::now());
        tail.settled();
    }
    assert_eq!(tail.count(), count);
    assert_eq!(tail.said(SAID), 0, "{}", tail.stderr());
}

#[test]
fn a_file_written_over_while_down_restarts_and_then_goes_on() {
    let world = World::new();
    let state = world.beside("state");
    let output = world.beside("out.json");
    let run = || world.run().json().with(&["--state-dir"]).with(&[&state]).output_file(&output);
    let old = numbered("old line", 1_000..1_100);
    world.write("a.log", text(&old));
    let tail = run().start();
    tail.wait_count(100);
    tail.settled();
    tail.terminate();
    let mut writer = OpenOptions::new().write(true).open(world.at("a.log")).expect("open");
    let new = numbered("new line", 1_000..1_110);
    writer.write_all(text(&new[..98]).as_bytes()).expect("write");
    let tail = run().start();
    tail.wait_line(&new[97]);
    tail.settled();
    for line in &new[98..] {
        writer.write_all(format!("{line}\n").as_bytes()).expect("write");
        tail.wait_line(line);
        tail.settled();
    }
    let mut expected = old.clone();
    expected.extend_from_slice(&new[..98]);
    expected.extend_from_slice(&old[98..]);
    expected.extend_from_slice(&new[98..]);
    tail.expect_in_order(&expected);
}
