//! An output that has more than a crash explains: its state directory was restored from a backup,
//! or another program wrote to it. The end that is cut off is first copied to a file.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::harness::{Tail, wait_for};
use crate::records::Format;
use crate::state::{Memory, OutputFile};
use crate::world::{World, numbered, skip, succeeds, text};

/// The files beside the output with the ends that were cut off.
pub(crate) fn asides(output: &OutputFile) -> Vec<PathBuf> {
    let above = output.path.parent().expect("a directory");
    let entries = fs::read_dir(above).expect("list").map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().contains(".saved-"))
        })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    assert!(succeeds("cp", &["-a", from, to]), "cp -a {from} {to}");
}

/// How a state directory comes back.
#[derive(Debug, Clone, Copy)]
enum Restored {
    /// Removed and copied again.
    Copied,
    /// Replaced by a rename, so that its times do not change.
    Renamed,
    /// Its files are overwritten: the directory is the same.
    WrittenOver,
}

fn restore(memory: &Memory<'_>, backup: &Path, how: Restored) {
    match how {
        Restored::Copied => {
            fs::remove_dir_all(&memory.directory).expect("rm -r");
            copy(backup, &memory.directory);
        }
        Restored::Renamed => {
            fs::remove_dir_all(&memory.directory).expect("rm -r");
            fs::rename(backup, &memory.directory).expect("mv");
        }
        Restored::WrittenOver => {
            let newer: Vec<PathBuf> = memory.journals().into_values().collect();
            for entry in fs::read_dir(backup).expect("list") {
                let path = entry.expect("an entry").path();
                fs::copy(&path, memory.directory.join(path.file_name().expect("a name")))
                    .expect("cp");
            }
            newer
                .into_iter()
                .filter(|path| !backup.join(path.file_name().expect("a name")).exists())
                .for_each(|path| {
                    fs::remove_file(path).expect("rm");
                });
        }
    }
}

/// When a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backup {
    Stopped,
    Running,
}

/// Writes three lines, makes a backup, and writes a hundred more lines; then deletes the logs and
/// restores the state directory.
fn go_back<'a>(
    world: &'a World,
    format: Format,
    when: Backup,
    how: Restored,
) -> (Memory<'a>, OutputFile) {
    let (memory, output) = (Memory::new(world), OutputFile::new(world, format));
    let backup = world.beside("backup");
    world.append("a.log", text(&numbered("early", 0..3)));
    let mut tail = output.of(memory.run()).start();
    output.wait_count(3);
    memory.wait_durable(&tail);
    if when == Backup::Stopped {
        tail.terminate();
    }
    copy(&memory.directory, &backup);
    if when == Backup::Stopped {
        tail = output.of(memory.run()).start();
    }
    world.append("a.log", text(&numbered("late", 0..100)));
    output.wait_count(103);
    memory.wait_durable(&tail);
    tail.kill();
    world.remove("a.log");
    restore(&memory, &backup, how);
    (memory, output)
}

#[track_caller]
fn start(output: &OutputFile, memory: &Memory<'_>) -> Tail {
    // Made after the output was reconciled; a kill leaves one behind.
    let socket = memory.directory.with_file_name("control.sock");
    let _ = fs::remove_file(&socket);
    let tail = output
        .of(memory.run().with(&["--control-socket", socket.to_str().expect("UTF-8")]))
        .start();
    wait_for("the start", || socket.exists());
    tail.settled();
    tail
}

#[test]
fn what_a_restored_state_directory_does_not_know_is_copied_before_it_is_cut() {
    for (format, when, how) in [
        (Format::Text, Backup::Stopped, Restored::Copied),
        (Format::Text, Backup::Running, Restored::Renamed),
        (Format::Raw, Backup::Stopped, Restored::WrittenOver),
        (Format::Text, Backup::Running, Restored::WrittenOver),
    ] {
        let world = World::new();
        let (memory, output) = go_back(&world, format, when, how);
        let before = output.bytes();
        let tail = start(&output, &memory);
        let case = format!("{format:?}, backup while {when:?}, {how:?}");
        let [aside] = &asides(&output)[..] else {
            panic!("{case}: {:?}\n{}", asides(&output), tail.stderr())
        };
        let copied = fs::read(aside).expect("read");
        assert_eq!([output.bytes(), copied.clone()].concat(), before, "{case}");
        assert_eq!(copied.iter().filter(|&&byte| byte == b'\n').count(), 100, "{case}");
        assert_eq!(
            fs::metadata(aside).expect("stat").permissions().mode() & 0o7777,
            0o600,
            "{case}"
        );
        for word in [
            output.path.to_str().expect("UTF-8"),
            aside.to_str().expect("UTF-8"),
            &format!("bytes={}", copied.len()),
        ] {
            tail.wait_said(word);
            assert_eq!(tail.warned(word), 1, "{case}: {word}: {}", tail.stderr());
        }
        // A later crash is like any other crash.
        world.append("b.log", "after\n");
        output.wait_count(4);
        tail.kill();
        start(&output, &memory);
        assert_eq!((asides(&output).len(), output.count()), (1, 4), "{case}");
    }
}

#[test]
fn whole_json_records_stay_whatever_the_state_directory_knows() {
    let world = World::new();
    let (memory, output) = go_back(&world, Format::Json, Backup::Stopped, Restored::Copied);
    let mut file = fs::OpenOptions::new().append(true).open(&output.path).expect("open");
    file.write_all(b"half a lin").expect("write");
    let tail = start(&output, &memory);
    let [aside] = &asides(&output)[..] else { panic!("{:?}\n{}", asides(&output), tail.stderr()) };
    assert_eq!((output.count(), fs::read(aside).expect("read")), (103, b"half a lin".to_vec()));
}

/// The run had committed all that it wrote.
#[test]
fn what_another_program_wrote_after_an_orderly_end_is_copied_before_it_is_cut() {
    for format in [Format::Raw, Format::Text, Format::Json] {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
        world.append("a.log", "one\n");
        let tail = output.of(memory.run_without_commits()).start();
        output.wait_count(1);
        tail.terminate();
        let before = output.bytes();
        let mut file = fs::OpenOptions::new().append(true).open(&output.path).expect("open");
        file.write_all(b"half a note of somebody else").expect("write");
        let tail = start(&output, &memory);
        let [aside] = &asides(&output)[..] else {
            panic!("{format:?}: {:?}\n{}", asides(&output), tail.stderr())
        };
        assert_eq!(
            (output.bytes(), fs::read(aside).expect("read")),
            (before, b"half a note of somebody else".to_vec())
        );
    }
}

/// A file system without extended attributes: the remains of a crash cannot be distinguished from
/// anything else.
#[test]
fn what_an_output_without_a_stamp_holds_is_copied_before_it_is_cut() {
    if !succeeds("strace", &["-o", "/dev/null", "true"]) {
        return skip("strace does not work here");
    }
    for errno in ["EOPNOTSUPP", "ENODATA", "EIO"] {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Text));
        world.append("a.log", text(&numbered("line", 0..10)));
        let tail = output.of(memory.run_without_commits()).start();
        output.wait_count(10);
        tail.kill();
        let before = output.bytes();
        let inject = format!("inject=fgetxattr:error={errno}");
        let strace = [
            "strace",
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fgetxattr",
            "-e",
            &inject,
        ];
        let tail = output.of(memory.run()).under(&strace).start();
        wait_for("the copy", || tail.warned("user.manytail.commit is missing") == 1);
        // No log is gone, so all lines come again.
        wait_for("all lines", || output.bytes() == before);
        let [aside] = &asides(&output)[..] else { panic!("{errno}: {:?}", asides(&output)) };
        assert_eq!(fs::read(aside).expect("read"), before, "{errno}");
        tail.terminate();
    }
}

#[test]
fn an_output_whose_end_cannot_be_copied_is_not_cut_and_the_run_does_not_start() {
    let world = World::new();
    let (memory, output) = go_back(&world, Format::Text, Backup::Stopped, Restored::Copied);
    let before = output.bytes();
    // As on a full disk: a file may have 512 bytes at most.
    let finished = output.of(memory.run()).shell("trap '' XFSZ; ulimit -f 1; exec \"$@\"").finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    let name = output.path.to_str().expect("UTF-8");
    let said = finished.stderr.lines().last().unwrap_or_default();
    assert!(
        said.contains(name) && said.contains("cannot be copied") && said.contains("File too large"),
        "{said}"
    );
    assert_eq!((output.bytes(), asides(&output)), (before, vec![]));
}

/// The copy is in the tree like the output, and is not a log, not even for a run that did not make
/// it.
#[test]
fn a_copy_in_the_tree_is_not_read_and_is_beside_the_file_that_a_link_leads_to() {
    let world = World::new();
    let real = world.at("real");
    fs::create_dir(&real).expect("mkdir");
    let (memory, mut output) = (Memory::new(&world), OutputFile::new(&world, Format::Text));
    output.path = real.join("out.log");
    let link = world.beside("link.log");
    std::os::unix::fs::symlink(&output.path, &link).expect("ln -s");
    let run = || memory.run().output(&format!("file:{}", link.display()));
    fs::write(&output.path, "").expect("touch");
    world.append("a.log", "one\n");
    let tail = run().start();
    output.wait_count(1);
    tail.terminate();
    let mut file = fs::OpenOptions::new().append(true).open(&output.path).expect("open");
    file.write_all(b"a note\n").expect("write");
    for _ in 0..2 {
        let tail = run().start();
        world.append("a.log", "more\n");
        let lines = output.count();
        wait_for("the line", || output.count() > lines || output.bytes().ends_with(b"more\n"));
        tail.settled();
        tail.terminate();
    }
    let asides = asides(&output);
    assert_eq!(asides.len(), 1, "{asides:?}");
    assert_eq!(fs::read(&asides[0]).expect("read"), b"a note\n");
    let names: Vec<bool> = output.lines().iter().map(|line| line.contains("note")).collect();
    assert_eq!(names, [false; 3], "{:?}", output.lines());
}
