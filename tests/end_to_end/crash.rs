//! SIGKILL: exactly once into a file, at least once into pipes and sockets, and never two records
//! under one `file` and `offset`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Tail, difference, wait_for};
use crate::records::{Format, Record, decode};
use crate::state::{Memory, OutputFile, by_file, whole_records, without_repeats};
use crate::world::{Random, World, heavy, numbered, text};

fn files(expected: &[(&str, Vec<String>)]) -> BTreeMap<String, Vec<String>> {
    expected.iter().map(|(name, lines)| ((*name).to_owned(), lines.clone())).collect()
}

/// The file output of a killed run: the first line is committed, the rest of `lines` is in the
/// output but not committed.
struct Killed<'a> {
    memory: Memory<'a>,
    output: OutputFile,
    lines: Vec<String>,
}

impl<'a> Killed<'a> {
    fn new(world: &'a World, format: Format) -> Killed<'a> {
        let (memory, output) = (Memory::new(world), OutputFile::new(world, format));
        let lines = numbered("line", 0..100);
        world.append("a.log", text(&lines[..1]));
        let tail = output.of(memory.run_without_commits()).start();
        output.wait_count(1);
        tail.terminate();
        world.append("a.log", text(&lines[1..]));
        let tail = output.of(memory.run_without_commits()).start();
        output.wait_count(lines.len());
        tail.settled();
        tail.kill();
        Killed { memory, output, lines }
    }

    fn start_again(&self) -> Tail {
        self.output.of(self.memory.run()).start()
    }

    /// Starts again and expects every line once, in order, and also a line that is appended now.
    #[track_caller]
    fn expect_once(self, world: &World) {
        let tail = self.start_again();
        world.append("a.log", "after\n");
        let mut lines = self.lines;
        lines.push("after".to_owned());
        if self.output.format == Format::Raw {
            self.output.wait_count(lines.len());
            tail.settled();
            assert_eq!(self.output.lines(), lines);
        } else {
            self.output.expect(world, &tail, &files(&[("a.log", lines)]));
        }
        let asides = crate::restored::asides(&self.output);
        assert!(asides.is_empty(), "a kill explains all that is cut: {asides:?}");
    }
}

const FORMATS: [Format; 3] = [Format::Raw, Format::Text, Format::Json];

#[test]
fn after_a_kill_a_file_output_has_every_line_once() {
    for format in FORMATS {
        let world = World::new();
        Killed::new(&world, format).expect_once(&world);
    }
}

#[test]
fn a_record_torn_by_the_crash_is_replaced_by_the_whole_one() {
    for format in FORMATS {
        // In the last record, within an earlier record, and only the newline.
        for cut in [5, 500, 1] {
            let world = World::new();
            let killed = Killed::new(&world, format);
            let output =
                fs::OpenOptions::new().write(true).open(&killed.output.path).expect("open");
            output.set_len(output.metadata().expect("stat").len() - cut).expect("truncate");
            killed.expect_once(&world);
        }
    }
}

/// Blocks of the output that never reached the disk read as NULs after a power cut.
#[test]
fn nuls_at_the_end_of_a_json_output_are_cut() {
    let world = World::new();
    let killed = Killed::new(&world, Format::Json);
    let output = fs::OpenOptions::new().write(true).open(&killed.output.path).expect("open");
    let len = output.metadata().expect("stat").len();
    output.set_len(len - 300).expect("truncate");
    output.set_len(len + 2_000).expect("extend");
    killed.expect_once(&world);
}

#[test]
fn whole_json_records_behind_the_last_commit_are_kept_as_they_are() {
    let world = World::new();
    let killed = Killed::new(&world, Format::Json);
    let before = killed.output.bytes();
    let tail = killed.start_again();
    world.append("a.log", "after\n");
    killed.output.wait_count(101);
    tail.settled();
    assert!(killed.output.bytes().starts_with(&before), "what was there is as it was");
    assert_eq!(killed.output.count(), 101);
}

#[test]
fn json_records_whose_source_is_gone_are_kept() {
    let world = World::new();
    let killed = Killed::new(&world, Format::Json);
    world.remove("a.log");
    world.append("b.log", "b\n");
    let tail = killed.start_again();
    killed.output.expect(
        &world,
        &tail,
        &files(&[("a.log", killed.lines.clone()), ("b.log", vec!["b".to_owned()])]),
    );
}

/// README: in text, a line whose source vanished within the last interval is lost; no other line
/// is.
#[test]
fn text_records_whose_source_is_gone_may_be_lost_and_nothing_else() {
    let world = World::new();
    let killed = Killed::new(&world, Format::Text);
    world.remove("a.log");
    world.append("b.log", "b\n");
    let tail = killed.start_again();
    wait_for("the line of the other file", || killed.output.lines().contains(&"b".to_owned()));
    tail.settled();
    let mut lines = killed.output.lines();
    assert_eq!(lines.pop().as_deref(), Some("b"));
    assert!(
        !lines.is_empty() && killed.lines.starts_with(&lines),
        "what was committed is kept: {lines:?}"
    );
}

/// The source was rotated in between: its lines are found under the new name.
#[test]
fn lines_of_a_source_that_was_renamed_while_down_are_there_once() {
    for format in [Format::Text, Format::Json] {
        let world = World::new();
        let killed = Killed::new(&world, format);
        world.rename("a.log", "a.log.1");
        world.append("a.log", "new\n");
        world.append("a.log.1", "more\n");
        let tail = killed.start_again();
        killed.output.wait_count(102);
        tail.settled();
        let mut lines = killed.output.lines();
        let mut expected = killed.lines.clone();
        expected.extend(["more".to_owned(), "new".to_owned()]);
        lines.sort();
        expected.sort();
        assert_eq!(lines, expected, "{format:?}");
    }
}

/// The source was truncated in between: its new content is not taken for content that the output
/// already has.
#[test]
fn a_source_truncated_while_down_is_read_from_0_into_a_json_output() {
    // Also with the same lines: the records in the output show that the file was longer.
    for content in [["new 0", "new 1"], ["line 0", "line 1"]] {
        let world = World::new();
        let killed = Killed::new(&world, Format::Json);
        world.write("a.log", text(&content));
        let tail = killed.start_again();
        let mut lines = killed.lines.clone();
        lines.extend(content.map(str::to_owned));
        killed.output.expect(&world, &tail, &files(&[("a.log", lines)]));
        assert_eq!(without_repeats(&killed.output.records()).len(), 102);
    }
}

/// The format changes with the restart: the tail of the output is parsed in its old format.
#[test]
fn a_new_format_after_a_kill_repeats_and_loses_nothing() {
    for (before, after) in
        [(Format::Json, Format::Raw), (Format::Raw, Format::Json), (Format::Text, Format::Json)]
    {
        let world = World::new();
        let killed = Killed::new(&world, before);
        let again = OutputFile { path: killed.output.path.clone(), format: after };
        let tail = again.of(killed.memory.run()).start();
        world.append("a.log", "after\n");
        again.wait_count(101);
        tail.settled();
        let bytes = again.bytes();
        let records =
            bytes.strip_suffix(b"\n").expect("whole").split(|&byte| byte == b'\n').map(|bytes| {
                // A record of either format, recognized by its form.
                let format = match bytes {
                    [b'{', ..] => Format::Json,
                    _ if bytes.contains(&b'\t') => Format::Text,
                    _ => Format::Raw,
                };
                decode(format, bytes).text()
            });
        let mut expected = killed.lines.clone();
        expected.push("after".to_owned());
        assert_eq!(records.collect::<Vec<_>>(), expected, "{before:?}, then {after:?}");
    }
}

/// Killed again before anything was committed.
#[test]
fn kill_after_kill_without_a_commit_in_between_repeats_nothing_in_a_file() {
    for format in FORMATS {
        let world = World::new();
        let killed = Killed::new(&world, format);
        let mut count = killed.lines.len();
        for round in 0..4 {
            let tail = killed.output.of(killed.memory.run_without_commits()).start();
            world.append("a.log", format!("line {count}\n"));
            count += 1;
            killed.output.wait_count(count);
            if round % 2 == 0 {
                tail.settled();
            }
            tail.kill();
            assert_eq!(
                killed.output.lines(),
                numbered("line", 0..count),
                "{format:?}, round {round}"
            );
        }
        Killed { lines: numbered("line", 0..count), ..killed }.expect_once(&world);
    }
}

/// The offsets that the first of two restarts found in the output have to be stored with the
/// output's new length, even if nothing else happens.
#[test]
fn a_second_kill_after_nothing_happened_repeats_nothing_in_a_file() {
    for format in FORMATS {
        let world = World::new();
        let killed = Killed::new(&world, format);
        for _ in 0..3 {
            let tail = killed.output.of(killed.memory.run()).start();
            killed.output.wait_count(killed.lines.len());
            killed.memory.wait_durable(&tail);
            tail.kill();
        }
        killed.expect_once(&world);
    }
}

/// The same, but only another file has something new each time.
#[test]
fn kills_while_only_another_file_grows_repeat_nothing_in_a_file() {
    for format in FORMATS {
        let world = World::new();
        let killed = Killed::new(&world, format);
        let mut count = killed.lines.len();
        for round in 0..4 {
            let tail = killed.output.of(killed.memory.run_every("10ms")).start();
            world.append("b.log", format!("b {round}\n"));
            count += 1;
            killed.output.wait_count(count);
            tail.settled();
            tail.kill();
        }
        let tail = killed.start_again();
        killed.output.wait_count(count);
        tail.settled();
        let mut lines = killed.output.lines();
        lines.retain(|line| line.starts_with("line"));
        assert_eq!((lines, killed.output.count()), (killed.lines, count), "{format:?}");
    }
}

#[test]
fn an_output_that_is_another_file_now_is_appended_to_and_never_cut() {
    for format in FORMATS {
        let world = World::new();
        let killed = Killed::new(&world, format);
        // Replaced by a file of the same name, whose last line is not whole.
        fs::rename(&killed.output.path, world.beside("old.log")).expect("mv");
        let old = fs::read(world.beside("old.log")).expect("read");
        let foreign = b"somebody else's\nnot whole".repeat(1_000);
        fs::write(&killed.output.path, &foreign).expect("write");
        let tail = killed.start_again();
        world.append("a.log", "after\n");
        wait_for("the new line", || {
            killed.output.bytes().windows(5).any(|window| window == b"after")
        });
        tail.terminate();
        assert!(
            killed.output.bytes().starts_with(&foreign),
            "{format:?}: it was cut or written over"
        );
        assert_eq!(
            fs::read(world.beside("old.log")).expect("read"),
            old,
            "{format:?}: the former output is left alone"
        );
    }
}

#[test]
fn an_output_of_another_path_is_appended_to_and_the_former_is_left_alone() {
    let world = World::new();
    let killed = Killed::new(&world, Format::Json);
    let former = killed.output.bytes();
    fs::write(world.beside("other.log"), "{}\n").expect("write");
    let other = OutputFile { path: world.beside("other.log"), format: Format::Json };
    let tail = other.of(killed.memory.run()).start();
    world.append("a.log", "after\n");
    wait_for("the new line", || other.bytes().windows(5).any(|window| window == b"after"));
    tail.terminate();
    assert!(other.bytes().starts_with(b"{}\n"));
    assert_eq!(killed.output.bytes(), former);
}

/// `logrotate` with `copytruncate` on the output: shorter than what was committed.
#[test]
fn an_output_that_was_truncated_while_down_is_appended_to() {
    for format in FORMATS {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
        world.append("a.log", "one\ntwo\n");
        let tail = output.of(memory.run()).start();
        output.wait_count(2);
        memory.wait_durable(&tail);
        tail.kill();
        fs::OpenOptions::new().write(true).truncate(true).open(&output.path).expect("truncate");
        world.append("a.log", "three\n");
        let tail = output.of(memory.run()).start();
        output.wait_count(1);
        tail.settled();
        assert_eq!(output.lines(), ["three"], "{format:?}");
    }
}

/// An output that was there before manytail wrote to it for the first time.
#[test]
fn what_an_output_held_before_the_first_run_is_kept_over_a_crash() {
    for format in FORMATS {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
        fs::write(&output.path, "not ours, and not whole").expect("write");
        world.append("a.log", "one\n");
        let tail = output.of(memory.run_without_commits()).start();
        wait_for("the line", || output.bytes().windows(3).any(|window| window == b"one"));
        tail.kill();
        let tail = output.of(memory.run()).start();
        world.append("a.log", "two\n");
        wait_for("the new line", || output.bytes().windows(3).any(|window| window == b"two"));
        tail.terminate();
        let bytes = output.bytes();
        assert!(
            bytes.starts_with(b"not ours, and not whole"),
            "{format:?}: {}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

/// Killed at any moment, again and again, under load.
#[test]
fn kills_at_random_moments_leave_every_line_once_in_a_file() {
    for format in FORMATS {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
        let mut random = Random(11);
        let mut written = 0;
        for _ in 0..15 {
            let tail = output.of(memory.run_every("10ms")).start();
            for _ in 0..random.below(60) {
                let lines = numbered("line", written..written + 1 + random.below(50));
                written += lines.len();
                world.append("a.log", text(&lines));
                thread::sleep(Duration::from_micros(random.next() % 2_000));
            }
            tail.kill();
        }
        let tail = output.of(memory.run()).start();
        output.wait_count(written);
        tail.settled();
        assert!(
            output.lines() == numbered("line", 0..written),
            "{format:?}: {} lines instead of {written}",
            output.count()
        );
    }
}

/// `W-07` with a state: the file that was rotated away and the new one together.
#[test]
fn after_sighup_and_a_kill_the_old_and_the_new_output_have_every_line_once() {
    for format in FORMATS {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
        let mut random = Random(13);
        let (mut written, mut rotated) = (0, Vec::<PathBuf>::new());
        let mut write = |lines: usize| {
            world.append("a.log", text(&numbered("line", written..written + lines)));
            written += lines;
        };
        for round in 0..12 {
            let tail = output.of(memory.run_every("20ms")).start();
            wait_for("its watch", || output.path.exists() && tail.process.watches() == 1);
            write(1 + random.below(300));
            thread::sleep(Duration::from_micros(random.next() % 20_000));
            let old = world.beside(format!("out.{round}"));
            fs::rename(&output.path, &old).expect("mv");
            rotated.push(old);
            write(1 + random.below(100));
            tail.signal(Signal::SIGHUP);
            wait_for("the new output", || output.path.exists());
            write(1 + random.below(100));
            thread::sleep(Duration::from_micros(random.next() % 30_000));
            tail.kill();
        }
        write(1);
        let tail = output.of(memory.run()).start();
        let all = || {
            let files =
                rotated.iter().map(|path| fs::read(path).expect("read")).chain([output.bytes()]);
            files
                .flat_map(|bytes| whole_records(format, &bytes))
                .map(|record| record.text())
                .collect::<Vec<_>>()
        };
        let expected = numbered("line", 0..written);
        wait_for("the last line", || all().contains(&expected[written - 1]));
        tail.settled();
        let got = all();
        let at = (0..got.len().max(written)).find(|&at| got.get(at) != expected.get(at));
        let shown = at.map(|at| (at, got.get(at), got.get(at + 1)));
        assert!(
            at.is_none(),
            "{format:?}: {} lines instead of {written}; the first difference: {shown:?}",
            got.len()
        );
    }
}

/// "At least once into pipes and sockets", and repeated records can be recognized.
#[test]
fn after_a_kill_a_pipe_gets_nothing_less_and_repeats_can_be_told() {
    let world = World::new();
    let memory = Memory::new(&world);
    let mut records: Vec<Record> = Vec::new();
    let mut random = Random(17);
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for round in 0..10 {
        let tail = memory.run().json().start();
        for step in 0..random.below(80) {
            let name = format!("{}.log", random.below(10));
            let lines = numbered(&format!("round {round} step {step}"), 0..1 + random.below(20));
            world.append(&name, text(&lines));
            expected.entry(name).or_default().extend(lines);
            thread::sleep(Duration::from_micros(random.next() % 2_000));
        }
        tail.kill();
        records.extend(tail.records());
    }
    let tail = memory.run().json().start().armed();
    records.extend(tail.records());
    let unique = without_repeats(&records);
    assert!(
        unique.len() < records.len(),
        "nothing came twice, so nothing was seen of repeats that can be told"
    );
    let difference = difference(&by_file(&world, &unique), &expected);
    assert!(difference.is_empty(), "{difference}");
}

#[test]
fn what_a_pipe_took_is_not_repeated_once_the_commit_interval_is_over() {
    let world = World::new();
    let memory = Memory::new(&world);
    for round in 0..3 {
        for number in 0..100 {
            world.append(format!("{number}.log"), format!("round {round}\n"));
        }
        let tail = memory.run_every("100ms").start();
        tail.wait_count(100);
        tail.settled();
        assert_eq!(tail.lines(), vec![format!("round {round}"); 100]);
        memory.wait_durable(&tail);
        tail.kill();
    }
}

/// A file appears, or its content restarts: its counter is durable before its first record is sent.
/// (If a file is overwritten between a crash and the restart, and nothing of it was committed, the
/// new content cannot be distinguished from the old.)
#[test]
fn file_and_offset_never_name_two_records_also_across_kills() {
    let world = World::new();
    let memory = Memory::new(&world);
    let mut seen: HashMap<(String, u64), String> = HashMap::new();
    for round in 0..25 {
        let tail = memory.run_without_commits().json().start().armed();
        // The same length every time, so that only the counter differs.
        let line = format!("round {round:03}");
        match round % 3 {
            0 => {
                let _ = fs::remove_file(world.at("a.log"));
                world.append("a.log", format!("{line}\n"));
            }
            1 => world.write("a.log", format!("{line}\n")),
            _ => {
                tail.stop();
                world.write("a.log", "");
                world.write("a.log", format!("{line}\n"));
                tail.go_on();
            }
        }
        tail.wait_line(&line);
        tail.kill();
        for record in tail.records() {
            let origin = record.origin();
            let first =
                seen.entry((origin.file.clone(), origin.offset)).or_insert_with(|| record.text());
            assert_eq!(*first, record.text(), "{} at {}", origin.file, origin.offset);
        }
    }
}

/// `Z-05`: here only the end of the run commits.
#[test]
fn what_was_acknowledged_is_committed_before_sigterm_and_sigint_end_the_run() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let world = World::new();
        let memory = Memory::new(&world);
        let run = || memory.run_without_commits();
        for number in 0..300 {
            world.append(format!("{number}.log"), "one\n");
        }
        let tail = run().start().armed();
        tail.wait_count(300);
        tail.signal(signal);
        assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
        let tail = run().start().armed();
        tail.expect(&[]);
    }
}

/// `W-06`
#[test]
fn a_reader_that_goes_away_leaves_what_it_took_committed() {
    let world = World::new();
    let memory = Memory::new(&world);
    let lines = numbered("line", 0..200_000);
    world.append("a.log", text(&lines));
    let (ours, theirs) = std::io::pipe().expect("pipe");
    let tail = memory.run_without_commits().raw().stdout(theirs).start();
    let read: Vec<String> =
        BufReader::new(ours).lines().take(1_000).map(|line| line.expect("read")).collect();
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
    assert!(read == lines[..1_000]);
    let tail = memory.run_without_commits().raw().start().armed();
    let rest = tail.lines();
    // A pipe holds 64 KiB, and the reader has a buffer of its own.
    let first = lines.len() - rest.len();
    assert!((1_000..50_000).contains(&first), "the second run begins with line {first}");
    assert!(rest == lines[first..]);
}

/// `W-10` with a state: everything was read, so nothing is repeated.
#[test]
fn a_reader_that_goes_away_while_nothing_is_written_leaves_all_committed() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "one\n");
    let (ours, theirs) = std::io::pipe().expect("pipe");
    let tail = memory.run_without_commits().stdout(theirs).start();
    let mut line = String::new();
    let mut reader = BufReader::new(ours);
    reader.read_line(&mut line).expect("read");
    tail.settled();
    drop(reader);
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
    memory.run().start().armed().expect(&[]);
}

#[test]
fn a_second_signal_does_no_harm_to_the_state() {
    let world = World::new();
    let memory = Memory::new(&world);
    let lines = numbered(&"x".repeat(1_000), 0..4_000);
    let tail = memory.run().json().with(&["--shutdown-timeout", "1min"]).start().armed();
    tail.block();
    world.append("a.log", text(&lines));
    tail.settled();
    tail.signal(Signal::SIGTERM);
    thread::sleep(Duration::from_millis(100));
    tail.signal(Signal::SIGTERM);
    wait_for("the exit", || tail.has_exited());
    tail.unblock();
    tail.wait_exit();
    let mut records = tail.records();
    let tail = memory.run().json().start().armed();
    tail.wait_line(&lines[3_999]);
    records.extend(tail.records());
    let got: Vec<String> = without_repeats(&records).iter().map(Record::text).collect();
    assert!(got == lines, "{} lines instead of {}", got.len(), lines.len());
}

/// Killed after reading much that the output did not take.
#[test]
fn a_kill_behind_a_blocked_reader_loses_nothing() {
    let world = World::new();
    let memory = Memory::new(&world);
    let lines = numbered(&"x".repeat(1_000), 0..4_000);
    let tail = memory.run().json().start().armed();
    tail.block();
    world.append("a.log", text(&lines));
    memory.wait_durable(&tail);
    tail.signal(Signal::SIGKILL);
    wait_for("the exit", || tail.has_exited());
    tail.unblock();
    tail.wait_exit();
    let mut records = tail.records();
    assert!(records.len() < lines.len(), "the reader was meant to be blocked");
    let tail = memory.run().json().start().armed();
    tail.wait_line(&lines[3_999]);
    records.extend(tail.records());
    let got: Vec<String> = without_repeats(&records).iter().map(Record::text).collect();
    assert!(got == lines, "{} lines instead of {}", got.len(), lines.len());
    // The offsets of what the pipe had taken were durable.
    assert!(records.len() <= lines.len() + 1, "{} repeats", records.len() - lines.len());
}

/// Only data that the peer's kernel acknowledged is committed.
#[test]
fn after_kills_a_tcp_peer_got_every_line() {
    let world = World::new();
    let memory = Memory::new(&world);
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("address");
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        'streams: for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            // A record cut off by the kill has no newline; a reset ends the connection like its end
            // does.
            while reader.read_until(b'\n', &mut line).unwrap_or(0) > 0 && line.pop() == Some(b'\n')
            {
                if sender.send(decode(Format::Json, &line)).is_err() {
                    break 'streams;
                }
                line.clear();
            }
        }
    });
    let mut random = Random(19);
    let mut written = 0;
    for _ in 0..10 {
        let tail = memory.run().json().output(&format!("tcp:{address}")).start();
        for _ in 0..random.below(50) {
            let lines = numbered("line", written..written + 1 + random.below(50));
            written += lines.len();
            world.append("a.log", text(&lines));
            thread::sleep(Duration::from_micros(random.next() % 2_000));
        }
        tail.kill();
    }
    world.append("a.log", "end\n");
    let _tail = memory.run().json().output(&format!("tcp:{address}")).start();
    let mut records: Vec<Record> = Vec::new();
    while records.last().is_none_or(|record| record.line != b"end") {
        records.push(
            received.recv_timeout(Duration::from_secs(20)).expect("the last line within 20 s"),
        );
    }
    let mut got: Vec<String> = without_repeats(&records).iter().map(Record::text).collect();
    assert_eq!(got.pop().as_deref(), Some("end"));
    assert!(got == numbered("line", 0..written), "{} lines instead of {written}", got.len());
}

fn many_files(world: &World) -> usize {
    for directory in 0..40 {
        world.mkdir(format!("d{directory}"));
        for file in 0..100 {
            world.append(format!("d{directory}/{file}.log"), "old\n");
        }
    }
    40 * 100
}

#[test]
fn kills_during_the_first_scan_lose_nothing() {
    let world = World::new();
    let memory = Memory::new(&world);
    let count = many_files(&world);
    let mut random = Random(23);
    let mut records = Vec::new();
    for round in 0..12 {
        let tail = memory.run_every("10ms").json().start();
        if round == 0 {
            // At least once while it is in progress.
            tail.wait_count(1);
            tail.kill();
            assert!(tail.count() < count, "the first scan was through before the kill");
        } else {
            thread::sleep(Duration::from_micros(random.next() % 60_000));
            tail.kill();
        }
        records.extend(tail.records());
    }
    let tail = memory.run().json().start().armed();
    tail.settled();
    records.extend(tail.records());
    let unique = without_repeats(&records);
    assert_eq!(unique.len(), count);
    assert_eq!(by_file(&world, &unique).len(), count);
}

#[test]
fn kills_during_the_first_scan_from_end_leak_nothing_old() {
    let world = World::new();
    let memory = Memory::new(&world);
    many_files(&world);
    let mut random = Random(29);
    let run = || memory.run_every("10ms").with(&["--from", "end"]);
    for _ in 0..12 {
        let tail = run().start();
        thread::sleep(Duration::from_micros(random.next() % 60_000));
        tail.kill();
        assert_eq!(tail.lines(), Vec::<String>::new());
    }
    let tail = run().start().armed();
    tail.expect(&[]);
    memory.wait_durable(&tail);
    tail.kill();
    world.append("d7/7.log", "new\n");
    world.append("d7/new.log", "new\n");
    run().start().armed().expect(&[("d7/7.log", &["new"]), ("d7/new.log", &["new"])]);
}

/// Killed while it loads the state of an earlier run.
#[test]
fn kills_during_a_resume_lose_and_repeat_nothing_in_a_file() {
    for format in FORMATS {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
        let count = many_files(&world);
        let tail = output.of(memory.run_every("10ms")).start();
        output.wait_count(count / 2);
        tail.kill();
        let mut random = Random(31);
        for _ in 0..15 {
            let tail = output.of(memory.run_every("10ms")).start();
            thread::sleep(Duration::from_micros(random.next() % 50_000));
            tail.kill();
        }
        let tail = output.of(memory.run()).start();
        output.wait_count(count);
        tail.settled();
        let records = output.records();
        assert_eq!(records.len(), count, "{format:?}");
        assert!(records.iter().all(|record| record.line == b"old"), "{format:?}");
        if format != Format::Raw {
            assert_eq!(
                by_file(&world, &records).len(),
                count,
                "{format:?}: a file twice, another never"
            );
        }
    }
}

/// Paths of 2,000 bytes are stored again whenever a directory above them is renamed, so the journal
/// soon becomes so large that it is rewritten.
#[test]
fn kills_while_the_journal_is_written_anew_lose_and_repeat_nothing_in_a_file() {
    let _guard = heavy();
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Json));
    let below = vec!["n".repeat(250); 8].join("/");
    world.mkdir(format!("d0/{below}"));
    let mut random = Random(37);
    let (mut directory, mut written) = (0, vec![0; 400]);
    let mut journals = BTreeSet::new();
    for round in 0..16 {
        let tail = output.of(memory.run_every("5ms")).start();
        wait_for("a journal", || !memory.journals().is_empty());
        for _ in 0..random.below(8) {
            for (number, lines) in written.iter_mut().enumerate() {
                world.append(
                    format!("d{directory}/{below}/{number}.log"),
                    format!("log {number} line {lines}\n"),
                );
                *lines += 1;
            }
            // Half of the time only once it is settled, so that the names are stored; otherwise at
            // any moment.
            if round % 2 == 0 {
                tail.settled();
            }
            world.rename(format!("d{directory}"), format!("d{}", directory + 1));
            directory += 1;
            thread::sleep(Duration::from_micros(random.next() % 30_000));
        }
        tail.kill();
        journals.extend(memory.journals().into_keys());
    }
    let tail = output.of(memory.run()).start();
    output.wait_count(written.iter().sum());
    memory.wait_durable(&tail);
    assert!(journals.len() > 2, "the journal was meant to be written anew: {journals:?}");
    assert_eq!(memory.journals().len(), 1, "what is older is gone");
    let mut expected: Vec<String> = Vec::new();
    for (number, lines) in written.iter().enumerate() {
        expected.extend((0..*lines).map(|line| format!("log {number} line {line}")));
    }
    let mut lines = output.lines();
    // The sort is stable: the lines of each log keep their order.
    lines
        .sort_by_key(|line| line.split(' ').nth(1).and_then(|number| number.parse::<usize>().ok()));
    assert!(lines == expected, "{} lines instead of {}", lines.len(), expected.len());
}

/// The output is made durable, too: it keeps its inode and only grows.
#[test]
fn a_json_output_is_never_made_anew() {
    let world = World::new();
    let killed = Killed::new(&world, Format::Json);
    let inode = fs::metadata(&killed.output.path).expect("stat").ino();
    let path = killed.output.path.clone();
    killed.expect_once(&world);
    assert_eq!(fs::metadata(path).expect("stat").ino(), inode);
}
