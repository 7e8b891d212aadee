//! Records of several lines.

use std::io::Write;

use crate::harness::{Run, Tail};
use crate::insight;
use crate::jobs::Reading;
use crate::records::{Format, Record};
use crate::settings::{from_file, reload, run, write_settings};
use crate::state::{ENDS, Memory, OutputFile, without_repeats};
use crate::world::{Random, World, heavy};

/// The last line of an event in a log of HTCondor.
const EVENTS: &str = r"end=^\.\.\.$";
const DATES: &str = r"start=^\d{4}-";

/// Open records are delivered by nothing but their ends.
fn patient(run: Run, rule: &str) -> Run {
    run.json().with(&["--record", rule, "--record-after", "1h", "--partial-after", "1h"])
}

/// An event of HTCondor with so many lines between its first and its last one.
fn event(number: usize, lines: usize) -> String {
    let body: String =
        (0..lines).map(|line| format!("\tPartitionable {line} :\t{number}\n")).collect();
    format!("{:03} ({number}.000.000) 2026-12-01 12:00:00 Job event\n{body}...\n", number % 40)
}

fn without_last_newline(text: &str) -> String {
    text.strip_suffix('\n').expect("each event ends with a newline").to_owned()
}

#[track_caller]
fn expect(tail: &Tail, wanted: &[&str]) {
    tail.wait(&format!("{wanted:?}, not {:?}", tail.lines()), || tail.count() >= wanted.len());
    assert_eq!(tail.lines(), wanted);
}

/// The bytes of a file, put together from its records.
#[track_caller]
fn content(records: &[Record]) -> String {
    let mut content = Vec::new();
    for record in records {
        assert_eq!(record.origin().offset as usize, content.len(), "{record:?}");
        content.extend_from_slice(&record.line);
        content.extend_from_slice(if record.origin().eol { b"\n" } else { b"" });
    }
    String::from_utf8(content).expect("UTF-8")
}

#[test]
fn an_event_is_one_record_once_its_last_line_is_written() {
    let world = World::new();
    let reading = Reading::start(&world, patient(world.run(), EVENTS));
    let mut writer = world.writer("job.log");
    let events: Vec<String> = (0..4).map(|number| event(number, number)).collect();
    for (number, event) in events.iter().enumerate() {
        // Byte by byte, as nobody writes.
        for byte in event.bytes() {
            writer.write_all(&[byte]).expect("written");
        }
        reading.tail.wait("the event", || reading.records().len() > number);
    }
    let records = reading.records();
    let lines: Vec<&str> = records.iter().filter_map(|record| record["line"].as_str()).collect();
    let wanted: Vec<String> = events.iter().map(|event| without_last_newline(event)).collect();
    assert_eq!(lines, wanted);
    let counts: Vec<u64> = records.iter().filter_map(|record| record["lines"].as_u64()).collect();
    assert_eq!(counts, [2, 3, 4, 5]);
    assert_eq!(records[1]["offset"].as_u64(), Some(events[0].len() as u64));
}

#[test]
fn a_record_that_begins_with_a_line_is_over_when_the_next_one_begins() {
    let world = World::new();
    let tail = patient(world.run(), DATES).start();
    world.append("a.log", "before\n2026-1 a\n  at b\n\n  at c\n2026-2 d\n2026-3");
    expect(&tail, &["before", "2026-1 a\n  at b\n\n  at c"]);
    world.append("a.log", " e\n");
    expect(&tail, &["before", "2026-1 a\n  at b\n\n  at c", "2026-2 d"]);
}

#[test]
fn lines_that_go_on_belong_to_the_record_before() {
    let world = World::new();
    let rule = r"next=^(\s|Caused by: |\.\.\. \d+ more)";
    let tail = patient(world.run(), rule).start();
    let trace = "Exception in thread \"main\" java.lang.RuntimeException: a\n\tat x.Y.z(Y.java:1)\n\
        Caused by: java.io.IOException: b\n\tat x.Y.w(Y.java:2)\n... 12 more";
    world.append("a.log", format!("start\n{trace}\nnext\nlast\n"));
    expect(&tail, &["start", trace, "next"]);
}

#[test]
fn an_open_record_that_rests_is_delivered_and_an_unfinished_line_behind_it_is_not() {
    let world = World::new();
    let run = patient(world.run(), DATES).with(&["--record-after", "100ms"]);
    let tail = run.start();
    world.append("a.log", "2026-1 a\n  b\n2026-2 unfin");
    expect(&tail, &["2026-1 a\n  b"]);
    world.append("b.log", "2026-3 c\n  d\n");
    expect(&tail, &["2026-1 a\n  b", "2026-3 c\n  d"]);
    world.append("a.log", "ished\n  e\n");
    expect(&tail, &["2026-1 a\n  b", "2026-3 c\n  d", "2026-2 unfinished\n  e"]);
    // What comes later begins a record, whatever it is.
    world.append("a.log", "  f\n");
    tail.wait_line("  f");
    assert!(tail.records().iter().all(|record| record.origin().eol));
}

#[test]
fn an_unfinished_line_is_delivered_by_its_own_time_with_the_rest_of_its_record() {
    let world = World::new();
    let run = world.run().json().with(&["--record", EVENTS, "--record-after", "1h"]);
    let tail = run.with(&["--partial-after", "100ms"]).start();
    world.append("a.log", "half");
    tail.wait_count(1);
    assert!(!tail.records()[0].origin().eol);
    // Within a line nothing ends a record.
    world.append("a.log", "...\nb\n...\n");
    expect(&tail, &["half", "...\nb\n..."]);
    assert_eq!(content(&tail.records()), "half...\nb\n...\n");
}

#[test]
fn nothing_is_left_of_files_that_end_or_go_away() {
    for (rule, text) in [(EVENTS, "a\n...\nb\nc\n"), (DATES, "2026-1 a\n2026-2 b\n c\n")] {
        let world = World::new();
        world.write("a.log", text.to_owned() + "tail");
        let once = world.run().json().with(&["--record", rule, "--once"]).start();
        assert!(once.wait_exit().success());
        let records = once.records();
        assert_eq!((records.len(), content(&records)), (2, text.to_owned() + "tail"), "{rule}");
    }
    let world = World::new();
    let tail = patient(world.run(), DATES).start();
    for name in ["deleted.log", "moved.log"] {
        world.append(name, "2026-1 a\n2026-2 b\n c\n");
    }
    tail.wait("the first records", || {
        tail.lines().iter().filter(|line| *line == "2026-1 a").count() == 2
    });
    world.remove("deleted.log");
    std::fs::rename(world.at("moved.log"), world.beside("moved.log")).expect("renamed");
    let rest = "2026-2 b\n c";
    tail.wait("what was open", || tail.lines().iter().filter(|line| *line == rest).count() == 2);
}

#[test]
fn a_run_that_ends_within_a_record_reads_it_again_from_its_start() {
    for how in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let mut records = Vec::new();
        for round in 0..3 {
            let tail = patient(memory.run(), EVENTS).start();
            world.append("a.log", format!("...\nround {round}\n...\nopen {round}\n"));
            tail.wait_line(&format!("round {round}\n..."));
            memory.end(&tail, how);
            records.extend(tail.records());
        }
        assert_eq!(without_repeats(&records).len(), records.len(), "{how:?}: nothing comes twice");
        let lines: Vec<String> = records.iter().map(Record::text).collect();
        let wanted =
            ["...", "round 0\n...", "open 0\n...", "round 1\n...", "open 1\n...", "round 2\n..."];
        assert_eq!(lines, wanted, "{how:?}");
    }
}

#[test]
fn after_kills_in_the_midst_of_events_a_file_output_has_each_event_once_in_one_record() {
    let _heavy = heavy();
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Json));
    let mut random = Random(17);
    let mut events = Vec::new();
    let start = || patient(output.of(memory.run_every("20ms")), EVENTS).start();
    let mut tail = start();
    for _ in 0..12 {
        let before = output.count();
        let mut text = String::new();
        for _ in 0..20 + random.below(60) {
            let event = event(events.len(), random.below(9));
            text.push_str(&event);
            events.push(without_last_newline(&event));
        }
        // In pieces that know nothing of lines.
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(1 + random.below(200)));
            world.append("a.log", part);
            rest = after;
        }
        tail.wait("some of the round", || output.count() > before);
        tail.kill();
        tail = start();
    }
    tail.wait("the last event", || output.count() >= events.len());
    let lines: Vec<String> = output.records().iter().map(Record::text).collect();
    assert_eq!(lines, events);
    content(&output.records());
}

#[test]
fn a_record_longer_than_the_limit_comes_in_pieces_that_make_it_up() {
    for limit in ["100", "100000"] {
        let world = World::new();
        let tail = patient(world.run(), DATES).with(&["--max-line-bytes", limit]).start();
        let body: String =
            (0..9000).map(|number| format!("  line {number} of one record\n")).collect();
        let text = format!("2026-1 a\n{body}2026-2 {}\n{body}2026-3 c\n", "b".repeat(250));
        // It grows in steps, while it is read.
        let limit: usize = limit.parse().expect("a number");
        for (number, part) in text.as_bytes().chunks(50_000).enumerate() {
            world.append("a.log", part);
            let is_longer = (number + 1) * 50_000 > limit;
            tail.wait("some of it", || tail.count() > 0 || !is_longer);
        }
        world.append("a.log", "2026-4 d\n");
        tail.wait_line("2026-3 c");
        let records = tail.records();
        assert!(records.iter().all(|record| record.line.len() <= limit));
        let upto = records.iter().position(|record| record.text() == "2026-3 c").expect("it came");
        assert_eq!(content(&records[..=upto]), text);
        let (pieces, whole): (Vec<&Record>, Vec<&Record>) =
            records[..=upto].iter().partition(|record| !record.origin().eol);
        assert_eq!(whole.len(), 3, "{limit}: each record ends once");
        assert!(pieces.len() > 3);
    }
}

#[test]
fn a_reload_changes_what_a_record_is() {
    let world = World::new();
    let settings =
        |rule: &str| format!("format = 'json'\n[[input]]\npaths = [{:?}]\n{rule}", world.tree);
    let rule = "record = { end = '^;$' }\nrecord_after = '1h'\n";
    let tail = from_file(&world, &settings(rule)).json().start();
    world.append("a.log", "a\n;\nb\n");
    expect(&tail, &["a\n;"]);
    write_settings(&world, "manytail.toml", &settings("record.start = '^b$'\nrecord_after = 0\n"));
    reload(&tail, "settings read again");
    world.append("a.log", "c\nb\n");
    expect(&tail, &["a\n;", "b\nc"]);
    write_settings(&world, "manytail.toml", &settings(""));
    reload(&tail, "settings read again");
    // Nothing is written: what was open is whole now.
    expect(&tail, &["a\n;", "b\nc", "b"]);
}

#[test]
fn a_record_for_which_nothing_is_too_long_comes_before_the_file_that_took_its_name() {
    let world = World::new();
    let run = world.run().json().with(&["--record", DATES, "--record-after", "0"]);
    let tail = run.start();
    world.append("app.log", "2026-1 a\n2026-2 b\n  c\n");
    expect(&tail, &["2026-1 a"]);
    world.rename("app.log", "app.log.1");
    world.append("app.log", "2026-3 d\n2026-4 e\n");
    expect(&tail, &["2026-1 a", "2026-2 b\n  c", "2026-3 d"]);
}

#[test]
fn status_says_that_a_record_may_go_on_and_its_end_is_told_behind_it() {
    let world = World::new();
    let run = insight::with_socket(&world, patient(world.run(), DATES));
    let reading = Reading::start(&world, run.with(&["--end", "300ms"]));
    reading.tail.wait_said("ready: nothing that is written from now on is missed");
    let mut writer = world.writer("a.log");
    writer.write_all(b"2026-1 a\n2026-2 b\n").expect("written");
    reading.tail.wait("the first record", || reading.records().len() == 1);
    let path = world.at("a.log");
    let said = || insight::stdout(&insight::status(&world, &[path.to_str().expect("UTF-8")]));
    reading.tail.wait("its state", || said().contains("a record of 9 bytes that may go on"));
    drop(writer);
    reading.tail.wait("the end", || reading.records().len() == 3);
    let records = reading.records();
    assert_eq!(
        (records[1]["line"].as_str(), records[2]["event"].as_str()),
        (Some("2026-2 b"), Some("end"))
    );
    assert_eq!(records[2]["offset"], 18);
}

#[test]
fn rules_that_are_none_and_formats_that_cannot_tell_are_refused_with_what_to_do() {
    let world = World::new();
    let tree = world.tree.to_str().expect("UTF-8");
    let json = ["--format", "json", tree];
    let refused = |arguments: &[&str], words: &[&str]| {
        for command in ["run", "check"] {
            let (code, _, said) = run(&world, &[&[command], arguments].concat(), &[]);
            assert_eq!(code, Some(2), "{said}");
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    };
    for format in ["raw", "text", "syslog"] {
        refused(&["--record", DATES, "--format", format, tree], &["--record", "json", format]);
    }
    refused(&[&["--record", "end=("][..], &json].concat(), &["end: is no regular expression"]);
    refused(&[&["--record", "^a"][..], &json].concat(), &["expected end=PATTERN"]);
    let both = ["--record", DATES, "--carriage-return", "split"];
    refused(&[&both[..], &json].concat(), &["--record", "contradicts `carriage_return` = `split`"]);
    let in_file = |lines: &str| {
        let text = format!("format = 'json'\npaths = ['{tree}']\n{lines}\n");
        write_settings(&world, "manytail.toml", &text).to_str().expect("UTF-8").to_owned()
    };
    for (lines, words) in [
        ("record = { end = 'a', start = 'b' }", "manytail.toml:3: record: expected one of `end`"),
        ("record = {}", "manytail.toml:3: record: expected one of `end`, `start`, `next`"),
        ("record = { begin = 'a' }", "record: `begin=a`: expected end=PATTERN"),
        ("record = 7", "record: expected a table of one string"),
    ] {
        refused(&["--config", &in_file(lines)], &[words]);
    }
    // A preset's rule for carriage returns gives way.
    let path = in_file("preset = 'slurm'\nrecord = { next = '^ ' }");
    let (code, settings, said) = run(&world, &["check", "--config", &path], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(settings.contains("record                 = \"next=^ \""), "{settings}");
}
