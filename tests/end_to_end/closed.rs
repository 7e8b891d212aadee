//! Standard descriptors that the parent process closed, or opened for something else: no record is
//! lost silently, and no diagnostic goes into a file or socket that happens to get the number of a
//! closed descriptor.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{BINARY, Finished, Run, remove_settings, wait_for};
use crate::records::{Format, Record, decode_all};
use crate::world::{World, numbered, text};

fn with_state(world: &World, run: Run) -> Run {
    run.with(&["--state-dir", world.beside("state").to_str().expect("UTF-8")])
}

/// Exit code 1, a line that names the output and the remedy, and no stored offset.
#[track_caller]
fn refused(world: &World, finished: &Finished, named: &[&str]) {
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    for name in named {
        assert!(finished.stderr.contains(name), "{name} is not named: {}", finished.stderr);
    }
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    assert!(!world.beside("state").exists(), "nothing was begun");
}

/// After a run that could not deliver, one that can delivers everything.
#[track_caller]
fn delivers_all(world: &World, lines: &[String]) {
    let finished = with_state(world, world.run().raw().with(&["--once"])).finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let got: Vec<String> = finished.records.iter().map(Record::text).collect();
    assert_eq!(got, lines);
}

#[test]
fn a_standard_output_that_was_closed_ends_the_run_with_1_before_anything_is_read() {
    for once in [&["--once"][..], &[]] {
        let world = World::new();
        let lines = numbered("line", 0..100);
        world.write("a.log", text(&lines));
        for output in
            ["stdout", "fd:1", "file:/dev/stdout", "file:/dev/fd/1", "file:/proc/self/fd/1"]
        {
            let run = with_state(&world, world.run().with(once).output(output));
            let finished = run.shell("exec \"$@\" >&-").finish();
            let name = if output == "fd:1" { "stdout" } else { output };
            refused(&world, &finished, &[name, "closed", "--output"]);
        }
        delivers_all(&world, &lines);
    }
}

/// A link that leads to the standard output is the standard output.
#[test]
fn a_link_to_a_standard_output_that_was_closed_is_refused() {
    let world = World::new();
    world.write("a.log", "one\n");
    std::os::unix::fs::symlink("/dev/stdout", world.beside("out")).expect("ln -s");
    let output = format!("file:{}", world.beside("out").display());
    let finished =
        with_state(&world, world.run().output(&output)).shell("exec \"$@\" >&-").finish();
    refused(&world, &finished, &[&output, "closed"]);
}

#[test]
fn an_inherited_descriptor_that_cannot_be_written_to_is_refused_with_its_name() {
    let world = World::new();
    world.write("a.log", "one\n");
    let tree = world.tree.display().to_string();
    let directory = format!("3<'{tree}'");
    let kinds: &[(&str, &str, &str)] = &[
        ("fd:3", "3>&-", "closed"),
        ("fd:0", "<&-", "closed"),
        ("fd:0", "</dev/null", "not open for writing"),
        ("fd:3", "3</dev/null", "not open for writing"),
        ("fd:3", &directory, "not open for writing"),
        ("file:/dev/fd/3", "3>&-", "closed"),
        ("file:/dev/stdin", "<&-", "closed"),
        ("file:/dev/stderr", "2>&-", ""),
        ("fd:1000000", "", "closed"),
    ];
    for (output, redirection, why) in kinds {
        let run = with_state(&world, world.run().output(output));
        let finished = run.shell(&format!("exec \"$@\" {redirection}")).finish();
        let named = if why.is_empty() { Vec::new() } else { vec![*output, *why, "--output"] };
        refused(&world, &finished, &named);
    }
    let finished = world.run().output("fd:2").finish();
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("--output") && finished.stderr.contains("diagnostics"),
        "{}",
        finished.stderr
    );
}

/// `O_PATH` allows neither reading nor writing; a listening socket is not a connection.
#[test]
fn a_path_descriptor_and_a_listening_socket_are_refused() {
    let world = World::new();
    world.write("a.log", "one\n");
    let path = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH)
        .open(world.beside(""))
        .expect("open");
    let finished = with_state(&world, world.run().stdout(path)).finish();
    refused(&world, &finished, &["stdout", "not open for writing"]);
    let socket = std::os::unix::net::UnixListener::bind(world.beside("socket")).expect("bind");
    let finished = world.run().stdout(std::os::fd::OwnedFd::from(socket)).finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("listening socket"), "{}", finished.stderr);
}

/// None of our own descriptors (epoll, signals, the journal and its lock, the inotify instance)
/// gets an inherited number.
#[test]
fn a_number_that_becomes_one_of_our_own_descriptors_is_refused() {
    let world = World::new();
    world.write("a.log", "one\n");
    let closed = "3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
    let socket = world.beside("control.sock");
    let run = with_state(
        &world,
        world.run().with(&["--control-socket", socket.to_str().expect("UTF-8")]),
    );
    let tail = run.shell(&format!("exec \"$@\" {closed}")).start();
    tail.wait_line("one");
    assert!(
        tail.process.descriptors() > 10,
        "these numbers are in use: {}",
        tail.process.descriptors()
    );
    tail.terminate();
    fs::remove_dir_all(world.beside("state")).expect("rm -r");
    for number in 3..10 {
        for output in [format!("fd:{number}"), format!("file:/dev/fd/{number}")] {
            let run = with_state(&world, world.run().output(&output));
            let finished = run.shell(&format!("exec \"$@\" {closed}")).finish();
            refused(&world, &finished, &[&output, "closed"]);
        }
    }
}

/// Number 2 is free: diagnostics must not go into the next file that is opened.
#[test]
fn with_a_closed_standard_error_no_diagnostic_goes_into_a_file_or_socket_of_ours() {
    for closed in ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"] {
        let world = World::new();
        world.write("a.log", "one\n");
        let output = world.beside("out.log");
        let socket = world.beside("control.sock");
        let run = world.run().raw().with(&[
            "--log-level",
            "trace",
            "--control-socket",
            socket.to_str().expect("UTF-8"),
        ]);
        let tail = with_state(&world, run.output_file(&output))
            .shell(&format!("exec \"$@\" {closed}"))
            .start();
        tail.wait_line("one");
        let second = fs::read_link(format!("/proc/{}/fd/2", tail.process.0)).expect("readlink");
        assert_eq!(second, PathBuf::from("/dev/null"), "with {closed}");
        world.append("a.log", "two\n");
        tail.expect_in_order(&["one", "two"]);
        tail.terminate();
        assert_eq!(fs::read_to_string(&output).expect("read"), "one\ntwo\n");
        let mut verify = Command::new(BINARY);
        let verify = verify
            .args(["offsets", "verify", "--state-dir"])
            .arg(world.beside("state"))
            .output()
            .expect("start");
        assert_eq!(verify.status.code(), Some(0), "{}", String::from_utf8_lossy(&verify.stdout));
    }
}

/// The reader went away before the start: the run ends quietly, as for `| head`, and nothing counts
/// as delivered.
#[test]
fn a_reader_that_was_gone_before_the_start_commits_nothing() {
    for once in [&["--once"][..], &[]] {
        let world = World::new();
        let lines = numbered("line", 0..100);
        world.write("a.log", text(&lines));
        let (ours, theirs) = std::io::pipe().expect("pipe");
        drop(ours);
        let finished = with_state(&world, world.run().raw().with(once).stdout(theirs)).finish();
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        delivers_all(&world, &lines);
    }
}

/// The run waits for a device that has no room, and nothing counts as delivered.
#[test]
fn a_standard_output_that_takes_nothing_commits_nothing() {
    let world = World::new();
    world.write("a.log", "one\n");
    let full = OpenOptions::new().write(true).open("/dev/full").expect("open");
    let tail =
        with_state(&world, world.run().raw().with(&["--shutdown-timeout", "100ms"]).stdout(full))
            .start();
    tail.wait_said("No space left");
    tail.terminate();
    delivers_all(&world, &["one".to_owned()]);
}

/// A command that prints an answer has no output.
#[test]
fn commands_that_print_fail_without_a_standard_output() {
    let world = World::new();
    world.write("a.log", "one\n");
    let finished = with_state(&world, world.run().raw().with(&["--once"])).finish();
    assert_eq!(finished.status.code(), Some(0));
    let state = world.beside("state").display().to_string();
    let tree = world.tree.display().to_string();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["man"],
        &["completions", "bash"],
        &["check", &tree],
        &["doctor", &tree],
        &["offsets", "list", "--state-dir", &state],
        &["status", "--control-socket", "/nowhere"],
    ] {
        let mut command = Command::new("sh");
        remove_settings(&mut command);
        let output = command
            .args(["-c", "exec \"$@\" >&-", "sh", BINARY])
            .args(arguments)
            .output()
            .expect("start");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("standard output"), "{arguments:?}: {said}");
    }
}

/// An output that is not a standard descriptor does not need one.
#[test]
fn with_all_standard_descriptors_closed_a_file_output_gets_every_record() {
    let world = World::new();
    world.write("a.log", "one\n");
    let output = world.beside("out.log");
    let tail = world.run().output_file(&output).shell("exec \"$@\" <&- >&- 2>&-").start();
    wait_for("the record", || {
        fs::read(&output).is_ok_and(|bytes| decode_all(Format::Text, &bytes).len() == 1)
    });
    tail.terminate();
}
