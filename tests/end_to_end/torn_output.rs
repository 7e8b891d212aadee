//! An output file that another process truncates, or that ends within a line: no record is joined
//! to the old bytes, and that is reported.

use std::fs::{self, File, OpenOptions};

use nix::sys::signal::Signal;

use crate::harness::wait_for;
use crate::output_file::{expect_status, start};
use crate::records::Format;
use crate::state::{Memory, OutputFile};
use crate::world::{World, numbered, text};

const TRUNCATED: &str = "the output file was truncated by somebody else";
const ENDED: &str = "the output file ended within a line";

fn cut(output: &OutputFile, len: u64) {
    OpenOptions::new()
        .write(true)
        .open(&output.path)
        .and_then(|file| file.set_len(len))
        .expect("truncate");
}

/// The lines of the file, whether they are records or not.
fn lines(output: &OutputFile) -> Vec<String> {
    String::from_utf8(output.bytes()).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn an_output_that_ends_within_a_line_gets_a_newline_before_the_first_record() {
    for format in [Format::Raw, Format::Text, Format::Json] {
        for with_memory in [false, true] {
            let world = World::new();
            let output = OutputFile::new(&world, format);
            fs::write(&output.path, "of somebody else").expect("write");
            let run = if with_memory { Memory::new(&world).run() } else { world.run() };
            let tail = output.of(run).start();
            world.append("a.log", "one\ntwo\n");
            wait_for("the records", || {
                output.bytes().iter().filter(|&&byte| byte == b'\n').count() == 3
            });
            let lines = lines(&output);
            assert!(
                lines[0] == "of somebody else"
                    && lines[1].contains("one")
                    && lines[2].contains("two"),
                "{lines:?}"
            );
            tail.wait_said(ENDED);
            tail.terminate();
            assert_eq!(tail.warned(ENDED), 1, "{}", tail.stderr());
        }
    }
}

#[test]
fn a_record_after_a_truncation_within_a_line_stands_alone() {
    let world = World::new();
    let output = OutputFile::new(&world, Format::Json);
    let tail = start(&world, output.of(world.run()));
    world.append("a.log", "one\n");
    output.wait_count(1);
    cut(&output, 20);
    expect_status(&world, 0, "truncated 1 time");
    world.append("a.log", "two\n");
    wait_for("the record", || output.bytes().ends_with(b"\"line\":\"two\"}\n"));
    let lines = lines(&output);
    assert!(lines.len() == 2 && lines[0].len() == 20 && lines[1].starts_with('{'), "{lines:?}");
    assert_eq!((tail.warned(TRUNCATED), tail.warned(ENDED)), (1, 1), "{}", tail.stderr());
}

#[test]
fn an_output_that_was_truncated_while_down_within_a_line_is_appended_to_on_a_line_of_its_own() {
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Json));
    let tail = output.of(memory.run()).start();
    world.append("a.log", "one\n");
    output.wait_count(1);
    tail.terminate();
    cut(&output, 20);
    let tail = output.of(memory.run()).start();
    world.append("a.log", "two\n");
    wait_for("the record", || output.bytes().ends_with(b"\"line\":\"two\"}\n"));
    let lines = lines(&output);
    assert!(lines.len() == 2 && lines[1].starts_with('{'), "{lines:?}");
    tail.terminate();
    // Once it ends with a newline, nothing is added.
    let before = output.bytes();
    let tail = output.of(memory.run()).start();
    world.append("a.log", "three\n");
    wait_for("the record", || output.bytes().ends_with(b"\"line\":\"three\"}\n"));
    assert!(output.bytes().starts_with(&before) && output.bytes()[before.len()] == b'{');
    assert_eq!(tail.warned(ENDED), 0, "{}", tail.stderr());
}

#[test]
fn an_output_that_is_longer_again_soon_after_a_truncation_was_truncated_all_the_same() {
    let world = World::new();
    let output = OutputFile::new(&world, Format::Text);
    let tail = start(&world, output.of(world.run()));
    world.append("a.log", "one\n");
    output.wait_count(1);
    expect_status(&world, 0, "keeping up");
    tail.signal(Signal::SIGSTOP);
    cut(&output, 0);
    world.append("a.log", text(&numbered("line", 0..1_000)));
    tail.signal(Signal::SIGCONT);
    wait_for("the lines", || output.count() >= 1_000);
    expect_status(&world, 0, "truncated 1 time");
    assert_eq!(tail.warned(TRUNCATED), 1, "{}", tail.stderr());
    // Growth by others is no truncation.
    OpenOptions::new()
        .append(true)
        .open(&output.path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"a note\n"))
        .expect("write");
    world.append("a.log", "two\n");
    wait_for("the line", || output.bytes().ends_with(b"two\n"));
    expect_status(&world, 0, "truncated 1 time");
    tail.terminate();
    assert_eq!(tail.warned("truncated"), 1, "{}", tail.stderr());
}

#[test]
fn a_standard_output_that_is_truncated_is_told_and_goes_on_without_nuls() {
    let world = World::new();
    let path = world.beside("stdout.txt");
    // Opened without appending, as by a shell's `>`.
    let tail = start(&world, world.run().stdout(File::create(&path).expect("a file")));
    world.append("a.log", "one\n");
    wait_for("the first line", || fs::read_to_string(&path).is_ok_and(|text| text.contains("one")));
    expect_status(&world, 0, "keeping up");
    OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(0)).expect("truncate");
    expect_status(&world, 0, "truncated 1 time");
    world.append("a.log", "two\n");
    wait_for("the second line", || {
        fs::read_to_string(&path).is_ok_and(|text| text.contains("two"))
    });
    assert!(!fs::read(&path).expect("read").contains(&0), "NULs");
    assert_eq!(tail.warned(TRUNCATED), 1, "{}", tail.stderr());
}
