//! Every option of `run` has the effect that its help promises. Options that other chapters test
//! are not repeated here: `--from`, `--once`, `--ignore-older` (start_position), `--include`,
//! `--exclude` (discovery), `--recursive` (directories), `--follow-symlinks` (links),
//! `--max-line-bytes` (long_lines), `--partial-after` (lines), `--output` (outputs, reconnect).

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::Tail;
use crate::records::{Format, Record};
use crate::world::{World, numbered, text};

fn of_line(tail: &Tail, line: &str) -> Record {
    tail.records()
        .into_iter()
        .find(|record| record.text() == line)
        .unwrap_or_else(|| panic!("no record {line:?}"))
}

/// The time between the reads of two lines, in milliseconds.
fn milliseconds_between(tail: &Tail, first: &str, second: &str) -> i64 {
    (of_line(tail, second).nanoseconds() - of_line(tail, first).nanoseconds()) / 1_000_000
}

#[test]
fn coalesce_is_the_least_time_between_two_reads_of_a_file() {
    let world = World::new();
    let tail =
        world.run().json().with(&["--coalesce", "1500ms", "--adaptive", "false"]).start().armed();
    let start = Instant::now();
    world.append("a.log", "first\n");
    tail.wait_line("first");
    assert!(
        start.elapsed() < Duration::from_millis(1_200),
        "the first read of a quiet file is immediate: {:?}",
        start.elapsed()
    );
    world.append("a.log", "second\n");
    world.append("b.log", "another file\n");
    tail.wait_line("another file");
    tail.wait_line("second");
    assert!(milliseconds_between(&tail, "first", "second") >= 1_400);
    assert!(
        milliseconds_between(&tail, "first", "another file") < 1_300,
        "other files do not wait"
    );
    // After a longer pause the next line is immediate again.
    thread::sleep(Duration::from_millis(1_700));
    let start = Instant::now();
    world.append("a.log", "third\n");
    tail.wait_line("third");
    assert!(start.elapsed() < Duration::from_millis(1_200), "{:?}", start.elapsed());
}

#[test]
fn without_coalescing_a_second_line_is_read_at_once() {
    let world = World::new();
    let tail = world.run().json().with(&["--coalesce", "0"]).start().armed();
    for number in 0..20 {
        world.append("a.log", format!("line {number}\n"));
        tail.wait_count(number + 1);
    }
    tail.expect_in_order(&numbered("line", 0..20));
}

/// The default is at most 10 ms, so that users see every line within milliseconds.
#[test]
fn by_default_a_line_comes_within_milliseconds_though_its_file_was_just_read() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut latencies = Vec::new();
    for number in 0..50 {
        let start = Instant::now();
        world.append("a.log", format!("line {number}\n"));
        tail.wait_count(number + 1);
        latencies.push(start.elapsed());
    }
    latencies.sort();
    // The harness checks every 3 ms, and other tests run at the same time.
    assert!(latencies[25] < Duration::from_millis(60), "the median is {:?}", latencies[25]);
}

#[test]
fn pace_is_the_least_time_between_two_turns() {
    let world = World::new();
    let tail = world
        .run()
        .json()
        .with(&["--pace", "1s", "--coalesce", "0", "--adaptive", "false"])
        .start()
        .armed();
    // On a quiet system lines are delivered at once.
    thread::sleep(Duration::from_millis(1_500));
    let start = Instant::now();
    world.append("a.log", "first\n");
    tail.wait_line("first");
    assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());
    world.append("b.log", "second\n");
    tail.wait_line("second");
    world.append("c.log", "third\n");
    tail.wait_line("third");
    assert!(milliseconds_between(&tail, "first", "second") >= 900);
    assert!(milliseconds_between(&tail, "second", "third") >= 900);
}

#[test]
fn without_pace_turns_follow_at_once() {
    let world = World::new();
    let tail = world.run().json().with(&["--pace", "0", "--coalesce", "0"]).start().armed();
    let start = Instant::now();
    for number in 0..100 {
        world.append(format!("{number}.log"), format!("line {number}\n"));
        tail.wait_count(number + 1);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Dense events share wake-ups.
#[test]
fn pace_saves_wake_ups() {
    let world = World::new();
    let tail = world
        .run()
        .with(&["--pace", "100ms", "--coalesce", "0", "--adaptive", "false"])
        .start()
        .armed();
    tail.settled();
    let before = tail.process.switches();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        world.append(format!("{}.log", count % 50), "x\n");
        count += 1;
        thread::sleep(Duration::from_millis(1));
    }
    tail.wait_count(count);
    let wakeups = tail.process.switches() - before;
    // A turn may sleep twice: for its pace and for its events.
    assert!(wakeups <= 60, "{wakeups} wake-ups for {count} events in a second");
}

/// Only the sweep finds changes that no event reports.
#[test]
fn rescan_finds_what_no_event_tells_and_0_means_never() {
    let world = World::new();
    world.write("a.log", "one\n");
    std::fs::hard_link(world.at("a.log"), world.beside("a.log")).expect("ln");
    let sweeping = world.run().with(&["--rescan", "500ms"]).start().armed();
    let blind = world.run().with(&["--rescan", "0"]).start().armed();
    let append = |line: &str| {
        let mut file = OpenOptions::new().append(true).open(world.beside("a.log")).expect("open");
        file.write_all(line.as_bytes()).expect("append");
    };
    append("two\n");
    sweeping.expect(&[("a.log", &["one", "two"])]);
    // Long after the other run found it.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(blind.lines(), ["one"]);
    // An event about the file makes all of its bytes come.
    world.append("a.log", "three\n");
    blind.expect(&[("a.log", &["one", "two", "three"])]);
}

/// The sweep also finds a truncation that no event reported.
#[test]
fn rescan_finds_a_truncation_through_another_name() {
    let world = World::new();
    world.write("a.log", "one\ntwo\n");
    std::fs::hard_link(world.at("a.log"), world.beside("a.log")).expect("ln");
    let tail = world.run().with(&["--rescan", "500ms"]).start().armed();
    tail.wait_count(2);
    std::fs::write(world.beside("a.log"), "new\n").expect("write");
    tail.expect_in_order(&["one", "two", "new"]);
}

#[test]
fn rescan_reads_nothing_twice() {
    let world = World::new();
    for number in 0..500 {
        world.write(format!("{number}.log"), "x\n");
    }
    let tail = world.run().with(&["--rescan", "200ms"]).start();
    tail.wait_count(500);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(tail.count(), 500);
    assert!(tail.stderr().lines().count() < 10, "{}", tail.stderr());
}

#[test]
fn format_text_is_the_default_and_raw_and_json_are_what_they_say() {
    let world = World::new();
    world.write("a.log", "one\n\ntwo \"quoted\"\t\n");
    let path = world.at("a.log");
    let path = path.display();
    let text = world.run().start();
    let raw = world.run().raw().start();
    let json = world.run().json().start();
    for tail in [&text, &raw, &json] {
        tail.wait_count(3);
    }
    let output = |tail: &Tail| String::from_utf8(tail.capture().bytes()).expect("UTF-8");
    assert_eq!(output(&text), format!("{path}\tone\n{path}\t\n{path}\ttwo \"quoted\"\t\n"));
    assert_eq!(output(&raw), "one\n\ntwo \"quoted\"\t\n");
    assert_eq!(json.lines(), ["one", "", "two \"quoted\"\t"]);
    let record = &json.records()[0];
    assert_eq!(String::from_utf8_lossy(&record.path), path.to_string());
    assert!(!record.origin().has_bytes && !record.origin().has_path_bytes && record.origin().eol);
}

/// `H-07`, as far as it is visible: the time of a record is that of its reading, in UTC.
#[test]
fn the_time_of_a_record_is_when_it_was_read_in_utc() {
    let world = World::new();
    let tail = world.run().json().shell("TZ=Asia/Tokyo exec \"$@\"").start().armed();
    let now = || {
        let output = std::process::Command::new("date")
            .args(["-u", "+%Y-%m-%dT%H:%M:%S"])
            .output()
            .expect("date");
        String::from_utf8(output.stdout).expect("ASCII").trim().to_owned()
    };
    let before = now();
    world.append("a.log", "one\n");
    tail.wait_count(1);
    let after = now();
    let time = tail.records()[0].origin().time.clone();
    assert!(time.len() == 30 && time.ends_with('Z') && &time[19..20] == ".", "{time}");
    assert!(
        before.as_str() <= &time[..19] && &time[..19] <= after.as_str(),
        "{before} {time} {after}"
    );
}

#[test]
fn log_format_json_writes_one_object_per_diagnostic_on_stderr_only() {
    let world = World::new();
    world.write("a.log", "one\n");
    let paths = [world.tree.clone(), world.at("nowhere")];
    let tail = world.run().with(&["--log-format", "json"]).paths(&paths).start();
    tail.wait_line("one");
    tail.wait_said("nowhere");
    tail.terminate();
    assert_eq!(tail.lines(), ["one"]);
    for line in tail.stderr().lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object(), "{line}");
    }
}

#[test]
fn diagnostics_in_a_pipe_have_no_colours() {
    let world = World::new();
    let tail = world.run().paths(&[world.at("nowhere")]).start();
    tail.wait_said("nowhere");
    assert!(!tail.stderr().contains('\x1b'), "{:?}", tail.stderr());
}

#[test]
fn log_level_decides_what_is_said() {
    let world = World::new();
    world.append("a.log", text(&numbered("line", 0..10)));
    let said = |level: &str| {
        let tail = world
            .run()
            .with(&["--log-level", level])
            .paths(&[world.tree.clone(), world.at("nowhere")])
            .start();
        tail.wait_line("line 9");
        tail.settled();
        tail.terminate();
        tail.stderr()
    };
    let (error, warn, trace) = (said("error"), said("warn"), said("trace"));
    assert_eq!(error, "", "nothing failed");
    assert!(warn.contains("nowhere") && warn.lines().count() == 1, "{warn}");
    assert!(trace.lines().count() > 1, "{trace}");
    for level in ["info", "debug"] {
        assert!(said(level).contains("nowhere"), "{level}");
    }
}

/// Diagnostics are not mixed into the records, whatever their level.
#[test]
fn standard_output_carries_records_only() {
    let world = World::new();
    world.append("a.log", "one\n");
    let tail = world.run().raw().with(&["--log-level", "trace"]).start();
    tail.wait_line("one");
    world.append("a.log", "two\n");
    tail.expect_in_order(&["one", "two"]);
    assert_eq!(tail.capture().bytes(), b"one\ntwo\n");
}

/// A diagnostic that cannot be written does not stop the run.
#[test]
fn a_closed_stderr_does_no_harm() {
    let world = World::new();
    world.append("a.log", "one\n");
    let tail = world.run().with(&["--log-level", "trace"]).shell("exec \"$@\" 2>&-").start();
    tail.wait_line("one");
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// A modification time in the future, or before 1970, is only a hint.
#[test]
fn odd_modification_times_change_nothing() {
    let world = World::new();
    let century = Duration::from_secs(86_400 * 36_525);
    for (name, time) in [
        ("future.log", std::time::SystemTime::now() + century),
        ("past.log", std::time::UNIX_EPOCH - century / 10),
    ] {
        world.write(name, "one\n");
        world.set_modified(name, time);
    }
    let tail = world.run().start().armed();
    for name in ["future.log", "past.log"] {
        world.append(name, "two\n");
    }
    tail.expect(&[("future.log", &["one", "two"]), ("past.log", &["one", "two"])]);
}

/// A standard stream is closed: `manytail run ... <&- >file`.
#[test]
fn a_closed_standard_input_does_no_harm() {
    let world = World::new();
    world.append("a.log", "one\n");
    let tail = world.run().shell("exec \"$@\" <&-").start();
    tail.wait_line("one");
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// Bytes written by position, as by `mmap` or `dd conv=notrunc`, beyond the end.
#[test]
fn bytes_written_by_position_at_the_end_are_delivered() {
    let world = World::new();
    world.write("a.log", "one\n");
    let tail = world.run().json().start();
    tail.wait_count(1);
    let file = OpenOptions::new().write(true).open(world.at("a.log")).expect("open");
    file.write_all_at(b"two\n", 4).expect("pwrite");
    file.write_all_at(b"three\n", 8).expect("pwrite");
    tail.expect_in_order(&["one", "two", "three"]);
    assert_eq!(
        crate::harness::record(
            Format::Json,
            tail.capture().bytes().split(|&byte| byte == b'\n').next().expect("a record")
        )
        .line,
        b"one"
    );
}
