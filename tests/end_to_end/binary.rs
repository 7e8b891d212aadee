//! Core dumps and other binary files among the logs.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use crate::harness::{BINARY, Tail, wait_for};
use crate::world::{World, numbered, text};

/// The beginning of a core dump, and some memory.
fn core_dump() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    bytes.resize(300_000, 0);
    bytes.extend_from_slice(b"a string in memory\n\0\0more\n");
    bytes
}

fn wide(text: &str, width: usize, is_big: bool) -> Vec<u8> {
    let units: Vec<u32> = if width == 2 {
        text.encode_utf16().map(u32::from).collect()
    } else {
        text.chars().map(u32::from).collect()
    };
    units
        .iter()
        .flat_map(|unit| {
            if is_big {
                unit.to_be_bytes()[4 - width..].to_vec()
            } else {
                unit.to_le_bytes()[..width].to_vec()
            }
        })
        .collect()
}

/// The answer of `status FILE`, in json, and whether the file counts as read.
fn status(world: &World, name: &str) -> (String, bool) {
    let mut command = Command::new(BINARY);
    command
        .args(["status", "--format", "json", "--control-socket"])
        .arg(world.beside("control"))
        .arg(world.at(name));
    let output = command.output().expect("status");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

fn skipping(world: &World) -> Tail {
    world
        .run()
        .with(&["--binary", "skip", "--control-socket"])
        .with(&[world.beside("control")])
        .start()
        .armed()
}

#[test]
fn core_dumps_are_left_out_and_directories_of_their_names_are_followed() {
    let world = World::new();
    let tail =
        world.run().with(&["--control-socket"]).with(&[world.beside("control")]).start().armed();
    for name in ["core", "core.4711", "app.core"] {
        world.write(name, core_dump());
    }
    for directory in ["d/core", "core.1", "x.core"] {
        world.mkdir(directory);
        world.append(format!("{directory}/a.log"), "a line\n");
    }
    world.append("core.log", "a log\n");
    tail.expect(&[
        ("d/core/a.log", &["a line"]),
        ("core.1/a.log", &["a line"]),
        ("x.core/a.log", &["a line"]),
        ("core.log", &["a log"]),
    ]);
    let (answer, is_read) = status(&world, "core.4711");
    assert!(
        answer.contains("\"excluded\"") && answer.contains("core.[0-9]*") && !is_read,
        "{answer}"
    );
    drop(tail);
    let all = world.run().with(&["--no-default-excludes", "--include", "core"]).start();
    all.wait_line("\0\0more");
}

#[test]
fn a_new_binary_file_is_left_out_said_once_and_told_by_status() {
    let world = World::new();
    world.write("there.bin", core_dump());
    let tail = skipping(&world);
    world.write("new.bin", core_dump());
    world.append("a.log", "a line\n");
    tail.expect(&[("a.log", &["a line"])]);
    tail.wait_said("new.bin");
    assert_eq!((tail.said("there.bin"), tail.said("new.bin")), (1, 1), "{}", tail.stderr());
    let (answer, is_read) = status(&world, "new.bin");
    assert!(answer.contains("\"binary\"") && !is_read, "{answer}");
    // Bytes that are appended are not read either, whatever they are.
    for _ in 0..20 {
        world.append("new.bin", "a line of text\n");
        world.append("a.log", "a line\n");
        tail.settled();
    }
    assert_eq!(tail.lines_by_file().keys().collect::<Vec<_>>(), ["a.log"]);
    assert_eq!(tail.said("new.bin"), 1, "{}", tail.stderr());
}

#[test]
fn by_default_binary_files_are_delivered() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("a.bin", core_dump());
    tail.wait_line("\0\0more");
}

#[test]
fn text_in_utf16_and_utf32_is_no_binary_file() {
    let world = World::new();
    let tail = skipping(&world);
    let mut count = 0;
    for (width, is_big) in [(2, false), (2, true), (4, false), (4, true)] {
        for (mark, lines) in
            [("", "one line\n"), ("\u{feff}", "one line\n"), ("", "\u{416}\u{443}\u{43a} 1\n")]
        {
            count += 1;
            world.write(format!("{count}.log"), wide(&format!("{mark}{lines}"), width, is_big));
            tail.wait_count(count);
        }
    }
    assert_eq!(tail.said("left out"), 0, "{}", tail.stderr());
}

#[test]
fn a_hole_is_not_binary() {
    let world = World::new();
    let tail = skipping(&world);
    let file = File::create(world.at("a.log")).expect("open");
    file.write_all_at(b"behind a hole\n", 1 << 20).expect("write");
    tail.expect(&[("a.log", &["behind a hole"])]);
}

#[test]
fn an_empty_file_is_decided_when_something_is_in_it_and_a_followed_one_is_never_cut_off() {
    let world = World::new();
    let tail = skipping(&world);
    world.write("a.bin", "");
    world.write("a.log", "text\n");
    tail.wait_line("text");
    world.append("a.bin", core_dump());
    tail.wait_said("a.bin");
    world.append("a.log", "more\0text\n");
    tail.expect_in_order(&["text", "more\0text"]);
}

#[test]
fn a_file_that_is_truncated_or_replaced_is_decided_anew() {
    let world = World::new();
    let tail = skipping(&world);
    world.write("a", core_dump());
    tail.wait_said("left out");
    world.write("a", "now text\n");
    tail.wait_line("now text");
    // A larger text, in one go, over a small binary file.
    world.write("b", "\0\0\0\0binary\0");
    wait_for("b to be left out", || status(&world, "b").0.contains("\"binary\""));
    let lines = numbered("a line", 0..2_000);
    world.write("b", text(&lines));
    tail.wait_line("a line 1999");
    // Replaced.
    world.write("c", core_dump());
    wait_for("c to be left out", || status(&world, "c").0.contains("\"binary\""));
    world.write("c.new", "another file\n");
    world.rename("c.new", "c");
    tail.wait_line("another file");
    // And the other way round.
    world.write("a", core_dump());
    wait_for("a to be left out", || status(&world, "a").0.contains("\"binary\""));
    assert_eq!(tail.count(), 2 + lines.len());
}

#[test]
fn a_file_that_is_left_out_stays_so_across_renames_and_restarts() {
    let world = World::new();
    let state = world.beside("state");
    let run = || {
        world
            .run()
            .with(&["--binary", "skip", "--state-dir"])
            .with(&[&state])
            .with(&["--control-socket"])
            .with(&[world.beside("control")])
    };
    world.write("a.bin", core_dump());
    world.write("a.log", "a line\n");
    let tail = run().start().armed();
    tail.wait_said("a.bin");
    world.rename("a.bin", "b.bin");
    world.append("b.bin", "text\n");
    tail.settled();
    wait_for("it is still left out", || status(&world, "b.bin").0.contains("\"binary\""));
    assert_eq!(tail.count(), 1);
    tail.terminate();
    let tail = run().start().armed();
    world.append("b.bin", "more text\n");
    wait_for("it is left out again", || status(&world, "b.bin").0.contains("\"binary\""));
    tail.settled();
    assert_eq!(tail.count(), 0, "{:?}", tail.lines());
}

#[test]
fn each_input_says_by_itself_what_becomes_of_binary_files_and_a_reload_takes_them_in() {
    let world = World::new();
    let settings = world.beside("manytail.toml");
    world.mkdir("one");
    world.mkdir("two");
    let write = |binary: &str| {
        let input = |name: &str, binary: &str| {
            format!("[[input]]\npaths = [{:?}]\nbinary = {binary:?}\n", world.at(name))
        };
        fs::write(&settings, input("one", binary) + &input("two", "deliver")).expect("write");
    };
    write("skip");
    let tail = world.run().paths(&[] as &[&str]).with(&["--config"]).with(&[&settings]).start();
    tail.canary("one");
    tail.settled();
    world.write("one/a.bin", "first\0\nsecond\n");
    world.write("two/b.bin", "third\0\nfourth\n");
    tail.wait_said("left out");
    tail.expect_in_order(&["third\0", "fourth"]);
    write("deliver");
    tail.signal(nix::sys::signal::Signal::SIGHUP);
    tail.expect_in_order(&["third\0", "fourth", "first\0", "second"]);
}

#[test]
fn a_bad_value_is_refused_with_the_name_of_the_option() {
    let output =
        Command::new(BINARY).args(["check", "--binary", "maybe", "."]).output().expect("start");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("--binary"), "{said}");
    let output = Command::new(BINARY)
        .args(["check", "."])
        .env("MANYTAIL_BINARY", "skip")
        .output()
        .expect("start");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("binary                 = \"skip\""),
        "{output:?}"
    );
}
