//! Carriage returns as ends of records: progress bars that draw over their line.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{BINARY, Run, Tail};
use crate::records::{Format, Record};
use crate::settings::{from_file, reload, run, write_settings};
use crate::state::{ENDS, Memory, OutputFile, without_repeats};
use crate::world::{Random, World, heavy};

fn splitting(run: Run) -> Run {
    run.json().with(&["--carriage-return", "split"])
}

/// What a progress bar has written after this many updates; `\r` comes first, as tqdm writes it.
fn bar(updates: std::ops::RangeInclusive<usize>) -> String {
    updates.map(|number| format!("\rtrain {number:>4}/200")).collect()
}

fn update(number: usize) -> String {
    format!("train {number:>4}/200")
}

/// The content of a file, put together from its records: what lies between two records are carriage
/// returns of empty segments.
#[track_caller]
fn content(records: &[Record]) -> Vec<u8> {
    let mut content = Vec::new();
    for record in records {
        let offset = record.origin().offset as usize;
        assert!(offset >= content.len(), "{record:?} overlaps what came before");
        content.resize(offset, b'\r');
        content.extend_from_slice(&record.line);
        if record.origin().eol {
            content.push(if record.origin().is_segment { b'\r' } else { b'\n' });
        }
    }
    content
}

/// Waits until the records are this content.
#[track_caller]
fn expect_content(tail: &Tail, wanted: impl AsRef<[u8]>) {
    let wanted = wanted.as_ref();
    tail.wait("the end of the file", || {
        tail.records().last().is_some_and(|record| record.end() as usize >= wanted.len())
    });
    assert_eq!(String::from_utf8_lossy(&content(&tail.records())), String::from_utf8_lossy(wanted));
}

#[test]
fn each_update_of_a_progress_bar_comes_when_the_next_one_is_written() {
    let world = World::new();
    let tail = splitting(world.run()).with(&["--partial-after", "1s"]).start().armed();
    for number in 1..=50 {
        world.append("a.log", bar(number..=number));
        tail.wait_count(number - 1);
    }
    tail.wait_count(50);
    let records = tail.records();
    let wanted: Vec<String> = (1..=50).map(update).collect();
    assert_eq!(records.iter().map(Record::text).collect::<Vec<_>>(), wanted);
    assert!(records[..49].iter().all(|record| record.origin().is_segment));
    assert!(!records[49].origin().eol, "the last one by partial_after, as a piece");
    // It ends as bars do, which closes the piece.
    world.append("a.log", "\rdone\nnext\n");
    expect_content(&tail, bar(1..=50) + "\rdone\nnext\n");
    let records = tail.records();
    let after: Vec<String> = records[50..].iter().map(Record::text).collect();
    assert_eq!(after, ["", "done", "next"]);
    assert!(records[50].origin().is_segment && !records[51].origin().is_segment);
}

#[test]
fn a_carriage_return_and_a_newline_end_one_line_also_when_they_come_in_two_reads() {
    let world = World::new();
    let tail = splitting(world.run()).start().armed();
    world.append("a.log", "one\r\ntwo\r");
    tail.wait_line("one\r");
    tail.settled();
    assert_eq!(tail.count(), 1, "it is not known yet what follows");
    world.append("a.log", "\n\r\n\nthree\r");
    tail.wait_count(4);
    tail.settled();
    world.append("a.log", "four\n");
    tail.expect_in_order(&["one\r", "two\r", "\r", "", "three", "four"]);
    let records = tail.records();
    let segments: Vec<bool> = records.iter().map(|record| record.origin().is_segment).collect();
    assert_eq!(segments, [false, false, false, false, true, false]);
    expect_content(&tail, "one\r\ntwo\r\n\r\n\nthree\rfour\n");
}

#[test]
fn a_carriage_return_at_the_end_of_the_file_ends_a_record_once_the_file_rests() {
    let world = World::new();
    let tail = splitting(world.run()).with(&["--partial-after", "200ms"]).start().armed();
    world.append("a.log", "10%\r");
    tail.wait_count(1);
    assert!(tail.records()[0].origin().is_segment);
    world.append("a.log", "\r\r");
    tail.settled();
    world.append("a.log", "20%\r");
    tail.wait_count(2);
    tail.expect_in_order(&["10%", "20%"]);
    expect_content(&tail, "10%\r\r\r20%\r");
    // The newline came too late for the record, and is not lost.
    world.append("a.log", "\n");
    tail.expect_in_order(&["10%", "20%", ""]);
    assert_eq!(tail.records()[2].origin().offset, 10);
}

#[test]
fn once_delivers_the_segments_and_what_is_left_at_the_end() {
    for (rest, wanted) in [
        ("30%", &["10%", "20%", "30%"][..]),
        ("30%\r", &["10%", "20%", "30%"]),
        ("", &["10%", "20%"]),
        ("\r", &["10%", "20%"]),
    ] {
        let world = World::new();
        world.write("a.log", format!("\r10%\r20%\r{rest}"));
        let split = splitting(world.run()).with(&["--once"]).finish();
        assert_eq!(split.lines["a.log"], wanted, "{rest:?}");
        let latest = world.run().json().with(&["--carriage-return", "latest", "--once"]).finish();
        let segments = if rest == "30%\r" { &["30%"][..] } else { &["20%", "30%"][..] };
        let segments = &segments[..segments.len() - usize::from(rest.len() < 3)];
        assert_eq!(latest.lines["a.log"], segments, "{rest:?}");
    }
}

#[test]
fn of_the_updates_that_one_read_brings_latest_delivers_the_last_and_counts_the_others() {
    let world = World::new();
    let tail = world
        .run()
        .json()
        .with(&["--carriage-return", "latest", "--control-socket"])
        .with(&[world.beside("control")])
        .start()
        .armed();
    tail.stop();
    world.append("a.log", format!("begin\n{}\nbetween\n", bar(1..=100)));
    world.append("a.log", bar(101..=120));
    tail.go_on();
    let (bars, last) = (update(100), update(119));
    tail.expect_in_order(&["begin", &bars, "between", &last]);
    let at = format!("begin\n{}\nbetween\n{}\r", bar(1..=100), bar(101..=118)).len() as u64;
    assert_eq!(tail.records()[3].origin().offset, at, "the offset is the true one");
    let status = Command::new(BINARY)
        .args(["status", "--format", "json", "--control-socket"])
        .arg(world.beside("control"))
        .output()
        .expect("status");
    let answer: serde_json::Value = serde_json::from_slice(&status.stdout).expect("json");
    assert_eq!(answer["status"]["counters"]["superseded_segments"], 99 + 18);
    // The next read has the next one.
    world.append("a.log", bar(121..=121));
    tail.wait_line(&update(120));
}

#[test]
fn long_segments_come_in_pieces_of_which_the_last_says_that_a_carriage_return_follows() {
    let world = World::new();
    let tail = splitting(world.run()).with(&["--max-line-bytes", "8"]).start();
    world.append("a.log", "\r01234567\r0123456789abcdefXY\r01234567\r\n\rlast\r.");
    tail.wait_line("last");
    let records = tail.records();
    let shapes: Vec<(String, bool, bool)> = records
        .iter()
        .map(|record| (record.text(), record.origin().eol, record.origin().is_segment))
        .collect();
    let shape = |text: &str, eol, is_segment| (text.to_owned(), eol, is_segment);
    assert_eq!(
        shapes,
        [
            shape("01234567", true, true),
            shape("01234567", false, false),
            shape("89abcdef", false, false),
            shape("XY", true, true),
            shape("01234567", false, false),
            shape("\r", true, false),
            shape("last", true, true),
        ]
    );
    assert_eq!(records[4].end(), records[5].origin().offset);
}

#[test]
fn a_segment_longer_than_any_buffer_is_whole_when_a_carriage_return_ends_it() {
    for (end, is_segment) in [("\r.", true), ("\r\n", false)] {
        let world = World::new();
        let tail = splitting(world.run()).start().armed();
        let mut whole = String::new();
        for number in 0..40 {
            let part = format!("{number:0>8000}");
            world.append("a.log", &part);
            whole.push_str(&part);
            if number % 10 == 0 {
                tail.settled();
            }
        }
        // Its end comes in two reads: the second byte shows what the first one is.
        for byte in end.chars() {
            tail.settled();
            assert_eq!(tail.count(), 0);
            world.append("a.log", byte.to_string());
        }
        tail.wait_count(1);
        let record = &tail.records()[0];
        assert_eq!(record.text(), whole + if is_segment { "" } else { "\r" });
        assert_eq!(record.origin().is_segment, is_segment);
    }
}

#[test]
fn a_run_that_ends_in_the_midst_of_a_bar_goes_on_where_it_was() {
    for how in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let mut records = Vec::new();
        for round in 0..4 {
            let tail = splitting(memory.run()).start().armed();
            world.append("a.log", bar(round * 20 + 1..=round * 20 + 20));
            // All but the last one, which waits for what follows.
            tail.wait_line(&update(round * 20 + 19));
            memory.end(&tail, how);
            records.extend(tail.records());
        }
        let unique = without_repeats(&records);
        assert_eq!(unique.len(), records.len(), "{how:?}: nothing comes twice");
        let wanted = bar(1..=79) + "\r";
        assert_eq!(String::from_utf8_lossy(&content(&records)), wanted, "{how:?}");
    }
}

/// Kills a run in the midst of bars many times; in the end the output has all of them.
fn kill_in_the_midst(rule: &str, check: impl Fn(&[Record], &[u8])) {
    let _heavy = heavy();
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Json));
    let mut random = Random(7);
    let mut written = Vec::new();
    let start = || {
        let run = output.of(memory.run_every("20ms")).with(&["--carriage-return", rule]);
        run.with(&["--partial-after", "300ms"]).start()
    };
    let mut tail = start();
    for round in 0..12 {
        let before = output.count();
        for number in 0..40 + random.below(200) {
            let part = match random.below(12) {
                0 => format!("\r{round} {number} done\n"),
                1 => format!("{round} {number}\r\n"),
                2 => "\r\r".to_owned(),
                _ => format!("\r{round}: {number}%"),
            };
            world.append("a.log", &part);
            written.extend_from_slice(part.as_bytes());
        }
        tail.wait("some of the round", || output.count() > before);
        tail.kill();
        tail = start();
    }
    world.append("a.log", "\nend\n");
    written.extend_from_slice(b"\nend\n");
    tail.wait("the last line", || output.lines().last().is_some_and(|line| line == "end"));
    tail.settled();
    let records = output.records();
    assert_eq!(without_repeats(&records).len(), records.len(), "nothing comes twice");
    check(&records, &written);
}

#[test]
fn after_kills_in_the_midst_of_bars_a_file_output_has_every_byte_once() {
    kill_in_the_midst("split", |records, written| {
        let content = content(records);
        assert_eq!(String::from_utf8_lossy(&content), String::from_utf8_lossy(written));
    });
}

#[test]
fn after_kills_in_the_midst_of_bars_latest_has_every_line_once_and_no_segment_twice() {
    kill_in_the_midst("latest", |records, written| {
        let mut end = 0;
        for record in records {
            let (start, line) = (record.origin().offset as usize, &record.line);
            assert!(start >= end, "{record:?} overlaps what came before");
            assert!(!written[end..start].contains(&b'\n'), "a line is missing before {record:?}");
            assert_eq!(&written[start..start + line.len()], line, "{record:?}");
            end = record.end() as usize;
            if record.origin().eol {
                let wanted = if record.origin().is_segment { b'\r' } else { b'\n' };
                assert_eq!(written[end - 1], wanted, "{record:?}");
            }
        }
        assert_eq!(end, written.len());
    });
}

#[test]
fn a_bar_that_is_followed_from_its_end_begins_with_the_update_that_is_being_written() {
    let world = World::new();
    world.write("a.log", "old line\n".to_owned() + &bar(1..=30));
    world.write("b.log", "old line\r\nunfinished");
    world.write("c.log", "x".repeat(300_000) + "\r10%\r");
    let run = splitting(world.run()).with(&["--from", "end", "--partial-after", "0"]);
    let tail = run.start().armed();
    world.append("a.log", bar(31..=32));
    world.append("b.log", " line\n");
    world.append("c.log", "20%\r30%");
    tail.wait_count(5);
    tail.settled();
    let lines = tail.lines_by_file();
    assert_eq!(lines["a.log"], [update(30), update(31)]);
    assert_eq!(lines["b.log"], ["unfinished line"]);
    assert_eq!(lines["c.log"], ["10%", "20%"]);
}

#[test]
fn a_hole_in_the_midst_of_a_bar_is_skipped() {
    let world = World::new();
    let tail = splitting(world.run()).with(&["--partial-after", "300ms"]).start().armed();
    world.append("a.log", "10%\r");
    tail.wait_count(1);
    // A writer that keeps its position behind a truncation leaves a hole.
    world.truncate("a.log", 0);
    world.truncate("a.log", 1 << 20);
    world.append("a.log", "\r20%\r30%\r\r\n");
    tail.wait_line("30%");
    tail.expect_in_order(&["10%", "20%", "30%", "\r"]);
}

#[test]
fn each_input_says_by_itself_what_a_carriage_return_is_and_a_reload_changes_it() {
    let world = World::new();
    for name in ["one", "two"] {
        world.mkdir(name);
    }
    let settings = |rule: &str| {
        let input = |name: &str, rule: &str| {
            format!("[[input]]\npaths = [{:?}]\ncarriage_return = {rule:?}\n", world.at(name))
        };
        "format = 'json'\npartial_after = '0'\n".to_owned()
            + &input("one", rule)
            + &input("two", "data")
    };
    let tail = from_file(&world, &settings("split")).json().start();
    let text = |name: &str| {
        let lines = tail.lines_by_file();
        lines.get(name).cloned().unwrap_or_default()
    };
    world.append("one/a.log", "1\r2\r3");
    world.append("two/b.log", "1\r2\r3\n");
    tail.wait("the first records", || text("one/a.log").len() == 2 && text("two/b.log").len() == 1);
    assert_eq!(
        (text("one/a.log"), text("two/b.log")[0].as_str()),
        (vec!["1".into(), "2".into()], "1\r2\r3")
    );
    write_settings(&world, "manytail.toml", &settings("data"));
    reload(&tail, "settings read again");
    world.append("one/a.log", "\r4\n");
    tail.wait_line("3\r4");
    world.append("one/a.log", "5\r6\r7");
    tail.settled();
    write_settings(&world, "manytail.toml", &settings("latest"));
    reload(&tail, "settings read again");
    world.append("one/a.log", "\r8\n");
    tail.wait_line("8");
    tail.settled();
    assert_eq!(
        text("one/a.log"),
        ["1", "2", "3\r4", "7", "8"],
        "what was read before is split, too"
    );
}

#[test]
fn formats_that_cannot_say_what_ends_a_record_are_refused_with_what_to_do() {
    let world = World::new();
    let tree = world.tree.to_str().expect("UTF-8");
    for command in ["run", "check"] {
        for arguments in [
            &[command, "--carriage-return", "split", tree][..],
            &[command, "--carriage-return", "latest", "--format", "raw", tree],
        ] {
            let (code, _, said) = run(&world, arguments, &[]);
            assert_eq!(code, Some(2), "{said}");
            assert!(
                said.contains("--carriage-return") && said.contains("format = \"json\""),
                "{said}"
            );
        }
        let path = write_settings(
            &world,
            "manytail.toml",
            &format!(
                "[[input]]\npaths = ['{tree}']\n\n[[input]]\npaths = ['/b']\n\
                carriage_return = 'split'\n"
            ),
        );
        let (code, _, said) =
            run(&world, &[command, "--config", path.to_str().expect("UTF-8")], &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("manytail.toml:6: carriage_return: `split` needs"), "{said}");
    }
    let json = ["check", "--carriage-return", "latest", "--format", "json", tree];
    let (code, settings, said) = run(&world, &json, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(settings.contains("carriage_return") && settings.contains("\"latest\""), "{settings}");
}

#[test]
fn status_says_what_the_end_of_a_bar_waits_for() {
    let world = World::new();
    let tail = splitting(world.run()).with(&["--control-socket"]);
    let tail = tail.with(&[world.beside("control")]).start().armed();
    world.append("a.log", "10%\r20%\r");
    tail.wait_line("10%");
    tail.settled();
    let said = status(&world.beside("control"), &world.at("a.log"));
    assert!(said.contains("a last line of 4 bytes") && said.contains("carriage return"), "{said}");
}

fn status(socket: &Path, path: &Path) -> String {
    let mut command = Command::new(BINARY);
    command.args(["status", "--control-socket"]).arg(socket).arg(path);
    String::from_utf8_lossy(&command.output().expect("status").stdout).into_owned()
}

/// Syslog has a parameter for it.
#[test]
fn syslog_marks_what_a_carriage_return_ends() {
    let world = World::new();
    world.write("a.log", "10%\r20%\n");
    let out = world.beside("out");
    let file = fs::File::create(&out).expect("create");
    let run = world.run().with(&["--format", "syslog", "--carriage-return", "split", "--once"]);
    let tail = run.stdout(file).start();
    assert!(tail.wait_exit().success());
    let text = fs::read_to_string(&out).expect("the output");
    let ends: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(" offset=")).map(|(_, end)| end).collect();
    assert_eq!(ends, ["\"0\" eol=\"cr\"] 10%", "\"4\"] 20%"]);
}
