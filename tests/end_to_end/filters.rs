//! Records that are left out because of what is in them.

use std::fs;

use crate::harness::Run;
use crate::records::{Format, Record};
use crate::scrape::Metered;
use crate::settings::{from_file, reload, run, write_settings};
use crate::state::{Memory, OutputFile, without_repeats};
use crate::world::{Random, World, heavy, numbered, text};

fn without_debug(run: Run) -> Run {
    run.json().with(&["--drop", r"^\S+ DEBUG "])
}

/// Lines of which two in three are left out.
fn lines(count: usize) -> String {
    let level = |number: usize| if number.is_multiple_of(3) { "INFO" } else { "DEBUG" };
    (0..count).map(|number| format!("12:00:00 {} line {number}\n", level(number))).collect()
}

fn kept(count: usize) -> Vec<String> {
    lines(count).lines().filter(|line| !line.contains(" DEBUG ")).map(str::to_owned).collect()
}

#[test]
fn records_are_left_out_that_a_pattern_drops_or_none_keeps_and_they_are_counted() {
    let world = World::new();
    let run = world.run().json().with(&["--keep", "error", "--keep", r"\bwarn", "--drop", "^#"]);
    let run = Metered::start(&world, run.with(&["--keep", r"^\xff"]));
    world.append("a.log", "an error\nnothing\na warning\nunwarned\n# error\n");
    world.append("a.log", b"\xff bytes\nlast error\n");
    run.tail.wait_line("last error");
    let records: Vec<Record> =
        run.tail.records().into_iter().filter(|record| record.path.ends_with(b"a.log")).collect();
    let texts: Vec<String> = records.iter().map(Record::text).collect();
    assert_eq!(texts, ["an error", "a warning", "\u{fffd} bytes", "last error"]);
    let offsets: Vec<u64> = records.iter().map(|record| record.origin().offset).collect();
    assert_eq!(offsets, [0, 17, 44, 52], "the offsets are those of the file");
    run.wait_value("manytail_filtered_records_total", |count| count == 3.0);
}

#[test]
fn what_was_left_out_is_not_read_again_after_a_restart() {
    let world = World::new();
    let memory = Memory::new(&world);
    // A file of nothing else, and one with records before and behind.
    world.write("debug.log", "12:00:00 DEBUG a\n".repeat(5000));
    world.write("mixed.log", lines(3000));
    let tail = without_debug(memory.run_every("20ms")).start();
    tail.wait_count(1000);
    memory.wait_durable(&tail);
    tail.terminate();
    let (code, listed, said) = memory.offsets(&["list"]);
    assert_eq!(code, Some(0), "{said}");
    for (name, size) in [("debug.log", 17 * 5000), ("mixed.log", lines(3000).len())] {
        let line = listed.lines().find(|line| line.contains(name)).expect("it is listed");
        assert!(line.split_whitespace().any(|word| word == size.to_string()), "{line} {size}");
    }
    let again = Metered::start(&world, without_debug(memory.run()));
    again.tail.canary("");
    assert_eq!(again.value("manytail_filtered_records_total"), 0.0);
}

#[test]
fn what_is_left_out_behind_records_that_wait_counts_when_they_are_taken() {
    let world = World::new();
    let memory = Memory::new(&world);
    let tail = without_debug(memory.run_every("20ms")).blocked().start();
    let waiting = numbered(&"x".repeat(1000), 0..2000);
    world.write("a.log", text(&waiting));
    world.append("b.log", "12:00:00 DEBUG b\n");
    world.append("a.log", "12:00:00 DEBUG a\n");
    tail.unblock();
    tail.wait_count(waiting.len());
    memory.wait_durable(&tail);
    tail.terminate();
    let (_, listed, _) = memory.offsets(&["list"]);
    let size = |name: &str| fs::metadata(world.at(name)).expect("it is there").len().to_string();
    for name in ["a.log", "b.log"] {
        let line = listed.lines().find(|line| line.contains(name)).expect("it is listed");
        assert!(line.split_whitespace().any(|word| word == size(name)), "{line} {}", size(name));
    }
}

#[test]
fn after_kills_a_file_output_has_each_record_that_is_kept_once() {
    let _heavy = heavy();
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Json));
    let mut random = Random(23);
    let start = || without_debug(output.of(memory.run_every("20ms"))).start();
    let (mut tail, mut written) = (start(), 0);
    for _ in 0..10 {
        let (before, more) = (output.count(), 40 + random.below(400));
        let all = lines(written + more);
        let new = all.len() - lines(written).len();
        world.append("a.log", &all.as_bytes()[all.len() - new..]);
        written += more;
        tail.wait("some of the round", || output.count() > before);
        tail.kill();
        tail = start();
    }
    let wanted = kept(written);
    tail.wait("the last record", || output.count() >= wanted.len());
    tail.settled();
    let records = output.records();
    assert_eq!(without_repeats(&records).len(), records.len(), "nothing comes twice");
    let texts: Vec<String> =
        records.iter().filter(|record| record.path.ends_with(b"a.log")).map(Record::text).collect();
    assert_eq!(texts, wanted);
}

#[test]
fn a_record_is_judged_as_a_whole_and_a_piece_by_itself() {
    let world = World::new();
    let run = world.run().json().with(&["--record", "end=^;$", "--drop", "(?m)^secret$"]);
    let tail = run.with(&["--max-line-bytes", "20"]).start();
    world.append("a.log", "a\nsecret\n;\nb\n;\n");
    world.append("a.log", "0123456789\n0123456\nsecret\n;\nlast\n;\n");
    tail.wait_line("last\n;");
    let texts: Vec<String> = tail.lines();
    assert_eq!(texts, ["b\n;", "0123456789\n0123456\n", "last\n;"]);
    assert!(!tail.records()[1].origin().eol, "more of it followed, and was left out");
}

#[test]
fn a_segment_is_judged_like_a_line() {
    let world = World::new();
    let run = world.run().json().with(&["--carriage-return", "split", "--keep", "0%"]);
    let tail = run.start();
    world.append("a.log", "5%\r10%\r15%\r20%\ndone\n30%\n");
    tail.wait_line("30%");
    assert_eq!(tail.lines(), ["10%", "20%", "30%"]);
}

#[test]
fn each_input_has_its_own_filters_and_a_reload_changes_them() {
    let world = World::new();
    for name in ["one", "two"] {
        world.mkdir(name);
    }
    let settings = |one: &str| {
        let input = |name: &str| format!("[[input]]\npaths = [{:?}]\n", world.at(name));
        format!("format = 'json'\n{}{one}\n{}", input("one"), input("two"))
    };
    let tail = from_file(&world, &settings("drop = ['^a', '^b']")).json().start();
    let write = |round: usize| {
        for name in ["one", "two"] {
            world.append(format!("{name}/x.log"), format!("a{round}\nb{round}\nc{round}\n"));
            tail.wait("both", || {
                tail.lines_by_file()
                    .get(&format!("{name}/x.log"))
                    .is_some_and(|lines| lines.contains(&format!("c{round}")))
            });
        }
    };
    write(1);
    write_settings(&world, "manytail.toml", &settings("keep = ['^[bc]']"));
    reload(&tail, "settings read again");
    write(2);
    let lines = tail.lines_by_file();
    assert_eq!(lines["one/x.log"], ["c1", "b2", "c2"]);
    assert_eq!(lines["two/x.log"], ["a1", "b1", "c1", "a2", "b2", "c2"]);
}

#[test]
fn patterns_that_are_none_and_formats_without_offsets_are_refused() {
    let world = World::new();
    let tree = world.tree.to_str().expect("UTF-8");
    for option in ["--keep", "--drop"] {
        for format in ["raw", "text", "syslog"] {
            let (code, _, said) =
                run(&world, &["check", option, "a", "--format", format, tree], &[]);
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains(option) && said.contains("format = \"json\""), "{said}");
        }
        let (code, _, said) = run(&world, &["check", option, "[", "--format", "json", tree], &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(option) && said.contains("is no regular expression"), "{said}");
        let large = format!("{option}={}", r"(?:\w{50}){50}a");
        let many = vec![large.as_str(); 200];
        let all = [&["check", "--format", "json", tree][..], &many].concat();
        let (code, _, said) = run(&world, &all, &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("the patterns are too large together"), "{said}");
    }
}
