//! The end of a log, and bytes that were lost, told in records.

use std::fs;
use std::io::Write;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::Run;
use crate::insight;
use crate::jobs::Reading;
use crate::scrape::Metered;
use crate::settings::{from_file, reload, write_settings};
use crate::state::Memory;
use crate::world::{World, heavy, numbered, text};

fn soon(run: Run) -> Run {
    run.with(&["--end", "200ms"])
}

/// A run that misses no close from now on.
fn ready(world: &World, run: Run) -> Reading {
    let reading = Reading::start(world, run);
    reading.tail.wait_said("ready: nothing that is written from now on is missed");
    reading
}

/// What was told of a file: lines as they are, events as they are named.
fn told(reading: &Reading, name: &str) -> Vec<String> {
    let is_of = |record: &&Value| {
        record["path"].as_str().is_some_and(|path| path.ends_with(&format!("/{name}")))
    };
    let records = reading.records();
    records.iter().filter(is_of).map(in_words).collect()
}

fn in_words(record: &Value) -> String {
    if let Some(line) = record["line"].as_str() {
        return line.to_owned();
    }
    let (event, why) = (record["event"].as_str(), record["why"].as_str());
    let (event, why) = (event.expect("a line or an event"), why.expect("each event has one"));
    let bytes = record.get("bytes").map(|bytes| format!(" {bytes} bytes")).unwrap_or_default();
    format!("{event} {why}{bytes} at {}", record["offset"])
}

/// Waits until this was told of a file, and nothing else.
#[track_caller]
fn expect(reading: &Reading, name: &str, wanted: &[&str]) {
    reading.tail.wait(&format!("{wanted:?} of {name}, not {:?}", told(reading, name)), || {
        told(reading, name).len() >= wanted.len()
    });
    assert_eq!(told(reading, name), wanted);
}

/// Waits until the end of a log is told that was closed just now: that of each log that was closed
/// before has been told by then.
#[track_caller]
fn wait_for_another_end(reading: &Reading, world: &World, name: &str) {
    world.append(name, "another\n");
    expect(reading, name, &["another", "end closed at 8"]);
}

#[test]
fn a_log_is_over_once_its_writer_closed_it_and_nothing_came_and_goes_on_if_more_comes() {
    let world = World::new();
    let run = soon(world.run()).with(&["--job", r"(?P<id>\d+)", "--host=n", "--label", "a=b"]);
    let reading = ready(&world, run);
    world.append("4711.out", "one\ntwo\n");
    expect(&reading, "4711.out", &["one", "two", "end closed at 8"]);
    world.append("4711.out", "three\n");
    let all = ["one", "two", "end closed at 8", "three", "end closed at 14"];
    expect(&reading, "4711.out", &all);
    let records = reading.records();
    assert_eq!(records[2]["job"], json!({"id": "4711"}));
    assert_eq!(records[2]["file"], records[1]["file"]);
    let text = fs::read_to_string(&reading.out).expect("the output");
    let end = text.lines().find(|line| line.contains("\"event\"")).expect("it came");
    let keys = [
        "{\"time\":",
        "\"host\":",
        "\"path\":",
        "\"file\":",
        "\"labels\":",
        "\"job\":",
        "\"offset\":8",
        "\"event\":\"end\"",
        "\"why\":\"closed\"}",
    ];
    let places: Vec<usize> = keys.iter().map(|key| end.find(key).expect(key)).collect();
    assert!(places.is_sorted(), "{end}");
    // It is opened to be written to, and closed, and nothing is written.
    drop(world.writer("4711.out"));
    wait_for_another_end(&reading, &world, "other.out");
    assert_eq!(told(&reading, "4711.out"), all, "the same end is not told again");
}

#[test]
fn a_log_that_a_writer_holds_open_is_not_over_and_one_of_several_writers_that_closes_ends_nothing()
{
    let world = World::new();
    let reading = ready(&world, soon(world.run()));
    let mut holder = world.writer("held.log");
    holder.write_all(b"one\n").expect("written");
    world.append("shared.log", "one\n");
    let mut other = world.writer("shared.log");
    other.write_all(b"two\n").expect("written");
    wait_for_another_end(&reading, &world, "a.log");
    expect(&reading, "held.log", &["one"]);
    expect(&reading, "shared.log", &["one", "two"]);
    drop((holder, other));
    expect(&reading, "held.log", &["one", "end closed at 4"]);
    expect(&reading, "shared.log", &["one", "two", "end closed at 8"]);
}

#[test]
fn a_log_without_a_line_and_an_unfinished_last_line_end_at_the_size_of_their_file() {
    let world = World::new();
    let run = soon(world.run()).with(&["--partial-after", "1h"]);
    let reading = ready(&world, run);
    drop(world.writer("empty.log"));
    expect(&reading, "empty.log", &["end closed at 0"]);
    world.append("a.log", "one\ntw");
    expect(&reading, "a.log", &["one", "tw", "end closed at 6"]);
    assert_eq!(reading.records().iter().find(|it| it["line"] == "tw").expect("it")["eol"], false);
    world.append("a.log", "o\n");
    expect(&reading, "a.log", &["one", "tw", "end closed at 6", "o", "end closed at 8"]);
}

#[test]
fn a_log_of_which_nothing_comes_for_long_is_over_though_nobody_closed_it() {
    let world = World::new();
    world.write("before.log", "one\n");
    let reading = Reading::start(&world, world.run().with(&["--end-idle", "300ms"]));
    let mut writer = world.writer("held.log");
    writer.write_all(b"one\n").expect("written");
    expect(&reading, "held.log", &["one", "end idle at 4"]);
    expect(&reading, "before.log", &["one", "end idle at 4"]);
    writer.write_all(b"two\n").expect("written");
    expect(&reading, "held.log", &["one", "end idle at 4", "two", "end idle at 8"]);
}

#[test]
fn a_log_that_is_deleted_or_leaves_or_begins_anew_is_over_at_once() {
    let world = World::new();
    // Far longer than the test.
    let reading = Reading::start(&world, world.run().with(&["--end", "1h"]));
    world.mkdir("d");
    for name in ["deleted.log", "left.log", "replaced.log", "renamed.log", "d/gone.log"] {
        world.append(name, "one\n");
        expect(&reading, name.trim_start_matches("d/"), &["one"]);
    }
    world.rename("renamed.log", "renamed.log.1");
    world.append("renamed.log.1", "two\n");
    expect(&reading, "renamed.log.1", &["two"]);
    world.remove("deleted.log");
    expect(&reading, "deleted.log", &["one", "end deleted at 4"]);
    fs::rename(world.at("left.log"), world.beside("left.log")).expect("moved");
    expect(&reading, "left.log", &["one", "end left at 4"]);
    world.overwrite("replaced.log", "t\n");
    expect(&reading, "replaced.log", &["one", "end replaced at 4", "t", "e"]);
    let records = reading.records();
    let files: Vec<&Value> = records
        .iter()
        .filter(|it| it["path"].as_str().is_some_and(|path| path.ends_with("/replaced.log")))
        .map(|record| &record["file"])
        .collect();
    assert!(files[0] == files[1] && files[1] != files[2], "the end is that of the former content");
    fs::remove_dir_all(world.at("d")).expect("removed");
    expect(&reading, "gone.log", &["one", "end deleted at 4"]);
    // It goes on where it was, and leaves once more.
    fs::rename(world.beside("left.log"), world.at("left.log")).expect("moved");
    world.append("left.log", "two\n");
    expect(&reading, "left.log", &["one", "end left at 4", "two"]);
    world.remove("left.log");
    expect(&reading, "left.log", &["one", "end left at 4", "two", "end deleted at 8"]);
    expect(&reading, "renamed.log.1", &["two"]);
}

#[test]
fn bytes_that_are_lost_are_told_before_the_end_and_make_up_the_file_with_those_delivered() {
    let world = World::new();
    let run = insight::with_socket(&world, world.run().with(&["--end", "1h"]));
    let reading = Reading::start(&world, run);
    for name in ["truncated.log", "deleted.log", "moved.log", "shortened.log"] {
        world.append(name, "one\nunfinished");
        expect(&reading, name, &["one"]);
        let path = world.at(name);
        reading.tail.wait("the unfinished line to be seen", || {
            let path = path.to_str().expect("UTF-8");
            let answer = insight::status(&world, &["--format", "json", path]);
            insight::stdout(&answer).contains("\"unfinished_bytes\":10")
        });
    }
    reading.tail.wait_closed();
    world.truncate("truncated.log", 0);
    expect(
        &reading,
        "truncated.log",
        &["one", "lost truncated 10 bytes at 4", "end replaced at 4"],
    );
    world.remove("deleted.log");
    expect(&reading, "deleted.log", &["one", "lost deleted 10 bytes at 4", "end deleted at 4"]);
    fs::rename(world.at("moved.log"), world.beside("moved.log")).expect("moved");
    expect(&reading, "moved.log", &["one", "lost moved 10 bytes at 4", "end left at 4"]);
    world.truncate("shortened.log", 6);
    expect(&reading, "shortened.log", &["one", "lost truncated 8 bytes at 4"]);
    world.append("shortened.log", "it\n");
    expect(&reading, "shortened.log", &["one", "lost truncated 8 bytes at 4", "unit"]);
}

#[test]
fn an_end_is_told_once_though_the_process_is_killed_or_stopped_and_started_again() {
    for (interval, signal) in [
        ("50ms", Signal::SIGKILL),
        // Only the output knows of it.
        ("1h", Signal::SIGKILL),
        ("1h", Signal::SIGTERM),
    ] {
        let world = World::new();
        let memory = Memory::new(&world);
        let start = || ready(&world, soon(memory.run_every(interval)));
        let reading = start();
        world.append("a.log", "one\ntwo\n");
        expect(&reading, "a.log", &["one", "two", "end closed at 8"]);
        if interval == "50ms" {
            memory.wait_durable(&reading.tail);
        }
        reading.tail.signal(signal);
        reading.tail.wait_exit();
        let reading = start();
        drop(world.writer("a.log"));
        wait_for_another_end(&reading, &world, "b.log");
        expect(&reading, "a.log", &["one", "two", "end closed at 8"]);
        world.remove("a.log");
        wait_for_another_end(&reading, &world, "c.log");
        expect(&reading, "a.log", &["one", "two", "end closed at 8"]);
    }
}

#[test]
fn a_log_that_was_closed_while_nothing_ran_is_over_once_it_is_idle() {
    let world = World::new();
    let memory = Memory::new(&world);
    let start = || Reading::start(&world, soon(memory.run()).with(&["--end-idle", "1s"]));
    let reading = start();
    let mut writer = world.writer("a.log");
    writer.write_all(b"one\n").expect("written");
    expect(&reading, "a.log", &["one"]);
    memory.wait_durable(&reading.tail);
    reading.tail.signal(Signal::SIGKILL);
    reading.tail.wait_exit();
    writer.write_all(b"two\n").expect("written");
    drop(writer);
    let reading = start();
    expect(&reading, "a.log", &["one", "two", "end idle at 8"]);
}

/// Deletes so many logs while nobody reads the output. Returns how many ends came when somebody
/// did, and how many the counter says did not.
fn delete_while_blocked(count: usize) -> (usize, usize) {
    let world = World::new();
    let run = Metered::start(&world, world.run().json().with(&["--end", "1h"]));
    let tail = &run.tail;
    let came = |what: &str| String::from_utf8_lossy(&tail.capture().bytes()).matches(what).count();
    let names: Vec<String> = numbered("log", 0..count);
    names.iter().for_each(|name| world.append(format!("{name}.log"), "one\n"));
    tail.wait("all lines", || came("\"line\":\"one\"") == count);
    tail.block();
    // More than the output and the process take while nobody reads.
    world.append("large.log", format!("{}\n", "x".repeat(1023)).repeat(8 * 1024));
    tail.settled();
    names.iter().for_each(|name| world.remove(format!("{name}.log")));
    let told = || run.value("manytail_log_ends_total") as usize;
    let untold = || run.value("manytail_untold_events_total") as usize;
    tail.wait("all deletions to be judged", || told() + untold() == count);
    tail.unblock();
    tail.wait("all ends", || came("\"event\":\"end\"") == told());
    tail.settled();
    (came("\"event\":\"end\""), untold())
}

#[test]
fn ends_of_logs_that_are_deleted_while_the_output_takes_nothing_come_when_it_does() {
    assert_eq!(delete_while_blocked(300), (300, 0));
}

#[test]
fn ends_beyond_what_may_wait_for_an_output_are_counted_and_those_before_come() {
    let _guard = heavy();
    let (came, untold) = delete_while_blocked(36_000);
    assert!(came > 3_000 && untold > 0, "{came} came, {untold} did not");
    assert_eq!(came + untold, 36_000);
}

#[test]
fn ends_are_told_of_the_inputs_that_ask_for_them_and_from_a_reload_on() {
    let world = World::new();
    world.mkdir("with");
    world.mkdir("without");
    let settings = |end: &str| {
        format!(
            "format = 'json'\noutput = 'file:{}'\n[[input]]\npaths = [{:?}]\n{end}\n[[input]]\n\
            paths = [{:?}]\n",
            world.beside("out.json").display(),
            world.at("with"),
            world.at("without"),
        )
    };
    let run = from_file(&world, &settings(""));
    let reading = Reading { tail: run.start(), out: world.beside("out.json") };
    world.append("with/a.log", "one\n");
    world.append("without/b.log", "one\n");
    expect(&reading, "a.log", &["one"]);
    expect(&reading, "b.log", &["one"]);
    write_settings(&world, "manytail.toml", &settings("end = '200ms'"));
    reload(&reading.tail, "settings read again");
    reading.tail.settled();
    world.append("without/b.log", "two\n");
    world.append("with/a.log", "two\n");
    expect(&reading, "a.log", &["one", "two", "end closed at 8"]);
    wait_for_another_end(&reading, &world, "with/c.log");
    expect(&reading, "b.log", &["one", "two"]);
}

#[test]
fn a_run_that_ends_with_its_files_tells_no_end() {
    let world = World::new();
    world.write("a.log", text(&numbered("line", 0..3)));
    let run = soon(world.run()).with(&["--end-idle", "1ms"]);
    let reading = Reading::start(&world, run.with(&["--once"]));
    assert!(reading.tail.wait_exit().success());
    assert_eq!(told(&reading, "a.log"), numbered("line", 0..3));
}
