//! Directories that others can write to: files that strangers put in the place of ours are not
//! used, and a warning names what they could replace later.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::wait_for;
use crate::state::Memory;
use crate::world::{World, is_root, make_fifo, open_fifo};

/// A user id without a user, and not ours.
const STRANGER: u32 = 4_711;

fn directory(path: PathBuf, mode: u32) -> PathBuf {
    fs::create_dir(&path).expect("mkdir");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
    path
}

#[test]
fn a_state_directory_that_others_can_write_to_is_refused_as_bad_settings() {
    let world = World::new();
    world.append("a.log", "one\n");
    for mode in [0o770, 0o702, 0o1777] {
        let memory = Memory::at(&world, directory(world.beside(format!("state-{mode:o}")), mode));
        let finished = memory.run().finish();
        assert_eq!(
            (finished.status.code(), finished.records.len()),
            (Some(2), 0),
            "{mode:o}: {}",
            finished.stderr
        );
        let said = finished.stderr.lines().last().unwrap_or_default();
        for word in
            [memory.directory.to_str().expect("UTF-8"), &format!("mode {mode:04o}"), "chmod go-w"]
        {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(
            fs::read_dir(&memory.directory).expect("list").count(),
            0,
            "nothing was made there"
        );
        fs::set_permissions(&memory.directory, Permissions::from_mode(mode & !0o022 | 0o700))
            .expect("chmod");
        assert_eq!(memory.run().with(&["--once"]).finish().status.code(), Some(0), "{mode:o}");
        // An existing file may be examined, but not changed.
        fs::set_permissions(&memory.directory, Permissions::from_mode(mode | 0o700))
            .expect("chmod");
        assert_eq!(memory.offsets(&["list"]).0, Some(0));
        let (code, _, said) = memory.offsets(&["forget", "--all"]);
        assert!(code == Some(1) && said.contains("not ours alone"), "{said}");
        let doctor = std::process::Command::new(crate::harness::BINARY)
            .args(["doctor", "--state-dir"])
            .arg(&memory.directory)
            .arg(&world.tree)
            .output()
            .expect("doctor");
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(
            doctor.status.code() == Some(1) && said.contains("would refuse to start: "),
            "{said}"
        );
    }
}

#[test]
fn a_state_directory_of_a_stranger_and_a_link_of_theirs_to_one_of_ours_are_refused() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let memory = Memory::at(&world, directory(world.beside("theirs"), 0o700));
    lchown(&memory.directory, Some(STRANGER), Some(STRANGER)).expect("chown");
    let finished = memory.run().finish();
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("it belongs to user 4711"), "{}", finished.stderr);

    let sticky = directory(world.beside("sticky"), 0o1777);
    let ours = directory(world.beside("ours"), 0o700);
    let memory = Memory::at(&world, sticky.join("state"));
    symlink(&ours, &memory.directory).expect("ln -s");
    lchown(&memory.directory, Some(STRANGER), Some(STRANGER)).expect("chown");
    let finished = memory.run().finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("who may have put it there"), "{}", finished.stderr);
    assert_eq!(fs::read_dir(&ours).expect("list").count(), 0);
    // A file that we made ourselves.
    lchown(&memory.directory, Some(0), Some(0)).expect("chown");
    assert_eq!(memory.run().with(&["--once"]).finish().status.code(), Some(0));
}

/// Puts a stranger's file in an output's place; its links lead to `victim`, or to a name beside it.
fn plant(at: &Path, victim: &Path, kind: &str) {
    match kind {
        "link to a file" => symlink(victim, at).expect("ln -s"),
        "link to nothing" => symlink(victim.with_extension("new"), at).expect("ln -s"),
        "file" => fs::write(at, "").expect("write"),
        "FIFO" => make_fifo(at),
        _ => panic!("{kind}"),
    }
    lchown(at, Some(STRANGER), Some(STRANGER)).expect("chown");
}

const KINDS: [&str; 4] = ["link to a file", "link to nothing", "file", "FIFO"];

#[test]
fn an_output_that_a_stranger_planted_is_not_written_to() {
    if !is_root() {
        return;
    }
    for mode in [0o1777, 0o777, 0o1770] {
        for kind in KINDS {
            let world = World::new();
            world.append("a.log", "a secret\n");
            let (shared, victim) =
                (directory(world.beside("shared"), mode), world.beside("victim"));
            fs::write(&victim, "mine").expect("write");
            let output = shared.join("out.log");
            plant(&output, &victim, kind);
            let mut reader = (kind == "FIFO").then(|| open_fifo(&output));
            let finished = world
                .run()
                .with(&["--once"])
                .output(&format!("file:{}", output.display()))
                .finish();
            assert_eq!(finished.status.code(), Some(1), "{mode:o}, {kind}: {}", finished.stderr);
            let said = finished.stderr.lines().last().unwrap_or_default();
            assert!(
                said.contains("out.log: cannot open: ") && said.contains("user 4711"),
                "{mode:o}, {kind}: {said}"
            );
            assert_eq!(fs::read(&victim).expect("read"), b"mine", "{mode:o}, {kind}");
            assert!(!victim.with_extension("new").exists(), "{mode:o}, {kind}");
            match &mut reader {
                Some(reader) => assert_eq!(reader.read(&mut [0]).expect("read"), 0, "nobody wrote"),
                None => {
                    assert!(fs::read(&output).unwrap_or_default().len() <= 4, "{mode:o}, {kind}")
                }
            }
        }
    }
}

#[test]
fn a_link_of_our_own_and_whatever_is_where_strangers_cannot_make_it_are_written_to() {
    if !is_root() {
        return;
    }
    for (mode, owner) in [(0o1777, 0), (0o755, STRANGER)] {
        for kind in KINDS {
            let world = World::new();
            world.append("a.log", "line\n");
            let (parent, victim) =
                (directory(world.beside("parent"), mode), world.beside("victim"));
            fs::write(&victim, "").expect("write");
            let output = parent.join("out.log");
            plant(&output, &victim, kind);
            lchown(&output, Some(owner), Some(owner)).expect("chown");
            let mut reader = (kind == "FIFO").then(|| open_fifo(&output));
            let run = world.run().raw().output(&format!("file:{}", output.display()));
            let tail = run.start();
            match &mut reader {
                Some(reader) => {
                    // Until there is a writer, each read is at the end.
                    let mut line = [0; 5];
                    wait_for(kind, || reader.read(&mut line).expect("read") > 0);
                    assert_eq!(&line, b"line\n", "{mode:o}, {kind}");
                }
                None => {
                    wait_for("the line", || fs::read(&output).is_ok_and(|bytes| bytes == b"line\n"))
                }
            }
            tail.terminate();
        }
    }
}

#[test]
fn what_a_stranger_plants_for_the_next_output_is_refused_when_it_is_reopened() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let (sticky, victim) = (directory(world.beside("sticky"), 0o1777), world.beside("victim"));
    fs::write(&victim, "mine").expect("write");
    let output = sticky.join("out.log");
    let tail = world.run().raw().output(&format!("file:{}", output.display())).start();
    world.append("a.log", "one\n");
    wait_for("a line", || fs::read(&output).is_ok_and(|bytes| bytes == b"one\n"));
    for kind in KINDS {
        let rotated = sticky.join(format!("out.log.{kind}"));
        fs::rename(&output, &rotated).expect("mv");
        plant(&output, &victim, kind);
        let before = tail.said("user 4711");
        tail.signal(Signal::SIGHUP);
        wait_for(kind, || tail.said("user 4711") > before);
        world.append("a.log", "two\n");
        wait_for("a line in the former output", || {
            fs::read(&rotated).is_ok_and(|bytes| bytes.ends_with(b"two\n"))
        });
        assert_eq!(fs::read(&victim).expect("read"), b"mine");
        // It is tried again.
        fs::remove_file(&output).expect("rm");
        wait_for("the new output", || {
            fs::symlink_metadata(&output).is_ok_and(|found| found.is_file())
        });
        world.append("a.log", "three\n");
        wait_for("a line in the new output", || {
            fs::read(&output).is_ok_and(|bytes| bytes == b"three\n")
        });
    }
    tail.terminate();
}

#[test]
fn whatever_others_could_exchange_is_warned_of_at_the_start() {
    let options = |parent: &Path| {
        let at = |name: &str| parent.join(name).display().to_string();
        let (metrics, textfile) =
            (format!("unix:{}", at("metrics.sock")), format!("textfile:{}", at("metrics.prom")));
        let words = [
            "--state-dir",
            &at("state"),
            "--control-socket",
            &at("control.sock"),
            "--metrics",
            &metrics,
            "--metrics",
            &textfile,
        ];
        words.map(str::to_owned)
    };
    // In a sticky directory: the existing file is ours, and others may make the missing one.
    for (mode, warned) in [
        (0o755, &[][..]),
        (0o777, &["out.log", "state", "control.sock", "metrics.sock", "metrics.prom"]),
        (0o1777, &["metrics.prom"]),
    ] {
        let world = World::new();
        let parent = directory(world.beside("parent"), mode);
        let output = format!("file:{}", parent.join("out.log").display());
        let tail = world.run().with(&options(&parent)).output(&output).start();
        wait_for("metrics", || parent.join("metrics.prom").exists());
        // All diagnostics are there then.
        tail.terminate();
        let all = tail.warned("others can replace it");
        assert_eq!(all, warned.len(), "{mode:o}: {}", tail.stderr());
        for name in warned {
            let path = parent.join(name).display().to_string();
            assert!(tail.warned(&path) > 0, "{mode:o}: {path}: {}", tail.stderr());
        }
    }
}

/// A run continues without a state directory rather than with one that a stranger put in its place.
#[test]
fn a_state_directory_of_others_that_takes_the_place_of_ours_is_not_used() {
    let world = World::new();
    let memory = Memory::new(&world);
    let tail = memory.run().start().armed();
    memory.wait_durable(&tail);
    let theirs = directory(world.beside("theirs"), 0o777);
    fs::rename(&memory.directory, world.beside("ours")).expect("mv");
    fs::rename(&theirs, &memory.directory).expect("mv");
    world.append("a.log", "one\n");
    tail.wait_line("one");
    tail.wait_said("not ours alone");
    assert_eq!(fs::read_dir(&memory.directory).expect("list").count(), 0);
    fs::set_permissions(&memory.directory, Permissions::from_mode(0o700)).expect("chmod");
    wait_for("a journal", || !memory.journals().is_empty());
    tail.terminate();
}
