//! The state directory, the journal or the lock is removed or replaced during a run: that is
//! reported once, it is made again, and nothing is lost or repeated.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Run, Tail, wait_for};
use crate::state::{Memory, without_repeats};
use crate::world::{World, is_root, skip, succeeds};

const ANEW: &str = "while we run: a new journal there holds all offsets";

fn run(world: &World, memory: &Memory<'_>) -> Run {
    memory.run().json().output_file(&world.beside("out.ndjson")).with(&["--rescan", "0"])
}

/// Writes a line into each of three logs, and waits until all lines have come.
#[track_caller]
fn write_lines(world: &World, tail: &Tail, tag: &str, expected: &mut Vec<String>) {
    for number in 0..3 {
        let line = format!("{tag} {number}");
        world.append(format!("{number}.log"), format!("{line}\n"));
        expected.push(line);
    }
    expected.iter().for_each(|line| tail.wait_line(line));
}

#[track_caller]
fn expect_once(tail: &Tail, expected: &[String]) {
    expected.iter().for_each(|line| tail.wait_line(line));
    tail.settled();
    let records = tail.records();
    let (mut lines, mut wanted) =
        (records.iter().map(|record| record.text()).collect::<Vec<_>>(), expected.to_vec());
    lines.sort();
    wanted.sort();
    assert_eq!(lines, wanted, "{}", tail.stderr());
    assert_eq!(without_repeats(&records).len(), records.len(), "an identity was used twice");
}

#[track_caller]
fn expect_refusal(world: &World, memory: &Memory<'_>) {
    let second =
        memory.run().output(&format!("file:{}", world.beside("second.out").display())).finish();
    assert_eq!(second.status.code(), Some(1), "a second process: {}", second.stderr);
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
}

/// An idle run whose state is displaced reports it, stores everything again, keeps others out, and
/// resumes correctly after a crash.
#[track_caller]
fn survives(displace: impl Fn(&Memory<'_>)) {
    let world = World::new();
    let memory = Memory::new(&world);
    let mut expected = Vec::new();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "before", &mut expected);
    // A second generation on an inode: its counter must not start again.
    world.truncate("2.log", 0);
    tail.settled();
    write_lines(&world, &tail, "second story", &mut expected);
    memory.wait_durable(&tail);
    displace(&memory);
    tail.wait_said(ANEW);
    expect_refusal(&world, &memory);
    write_lines(&world, &tail, "after", &mut expected);
    memory.wait_durable(&tail);
    expect_refusal(&world, &memory);
    assert_eq!((tail.said(ANEW), tail.warned("")), (1, 1), "{}", tail.stderr());
    assert!(tail.stderr().contains(memory.directory.to_str().expect("UTF-8")), "{}", tail.stderr());
    tail.kill();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "later", &mut expected);
    expect_once(&tail, &expected);
    tail.terminate();
}

fn moved(memory: &Memory<'_>) -> PathBuf {
    let aside = memory.directory.with_extension("moved");
    fs::rename(&memory.directory, &aside).expect("mv");
    aside
}

fn copy(from: &Path, to: &Path) {
    assert!(
        succeeds("cp", &["-a", from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8")]),
        "cp -a"
    );
}

/// `rm -rf`, again if a file was made in the directory meanwhile.
fn remove(directory: &Path) {
    wait_for("the directory to go", || fs::remove_dir_all(directory).is_ok());
}

#[test]
fn the_state_directory_is_removed() {
    survives(|memory| remove(&memory.directory));
    // Accessible only to its owner, as at the start.
    let world = World::new();
    let memory = Memory::new(&world);
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "before", &mut Vec::new());
    memory.wait_durable(&tail);
    remove(&memory.directory);
    tail.wait_said(ANEW);
    let mode = fs::metadata(&memory.directory).expect("stat").permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn the_state_directory_is_renamed_away() {
    survives(|memory| drop(moved(memory)));
}

#[test]
fn the_state_directory_is_replaced_by_an_empty_one() {
    survives(|memory| {
        let fresh = memory.directory.with_extension("fresh");
        fs::create_dir(&fresh).expect("mkdir");
        moved(memory);
        fs::rename(&fresh, &memory.directory).expect("mv");
    });
}

/// A backup is restored during a run: its state is older than ours.
#[test]
fn the_state_directory_is_replaced_by_a_copy_of_itself() {
    survives(|memory| {
        let copied = memory.directory.with_extension("copied");
        copy(&memory.directory, &copied);
        moved(memory);
        fs::rename(&copied, &memory.directory).expect("mv");
    });
}

#[test]
fn the_state_directory_is_replaced_by_a_link_to_another() {
    survives(|memory| {
        let other = memory.directory.with_extension("other");
        fs::create_dir(&other).expect("mkdir");
        moved(memory);
        symlink(&other, &memory.directory).expect("ln -s");
    });
}

#[test]
fn the_journal_is_removed() {
    survives(|memory| fs::remove_file(memory.journal()).expect("rm"));
}

#[test]
fn the_journal_is_replaced_by_a_copy() {
    survives(|memory| {
        let fresh = memory.directory.join("fresh");
        fs::copy(memory.journal(), &fresh).expect("cp");
        fs::rename(&fresh, memory.journal()).expect("mv");
    });
}

#[test]
fn the_journal_is_replaced_by_something_else() {
    survives(|memory| {
        let journal = memory.journal();
        let fresh = memory.directory.join("fresh");
        fs::write(&fresh, "not a journal").expect("write");
        fs::rename(&fresh, &journal).expect("mv");
    });
}

#[test]
fn the_lock_is_removed() {
    survives(|memory| fs::remove_file(memory.directory.join("lock")).expect("rm"));
}

#[test]
fn the_lock_is_replaced() {
    survives(|memory| {
        let fresh = memory.directory.join("fresh");
        fs::write(&fresh, "").expect("write");
        fs::rename(&fresh, memory.directory.join("lock")).expect("mv");
    });
}

#[test]
fn all_in_the_state_directory_is_removed() {
    survives(|memory| {
        for entry in fs::read_dir(&memory.directory).expect("list").flatten() {
            // Ours may have been removed and made again by then.
            drop(fs::remove_file(entry.path()));
        }
    });
}

#[test]
fn an_ancestor_of_the_state_directory_is_removed() {
    let world = World::new();
    let memory = Memory::at(&world, world.beside("var/lib/state"));
    let mut expected = Vec::new();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "before", &mut expected);
    memory.wait_durable(&tail);
    fs::rename(world.beside("var"), world.beside("var.old")).expect("mv");
    tail.wait_said(ANEW);
    write_lines(&world, &tail, "after", &mut expected);
    memory.wait_durable(&tail);
    tail.kill();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "later", &mut expected);
    expect_once(&tail, &expected);
}

/// A file that another process left there stays, under another name.
#[test]
fn a_journal_that_is_not_ours_is_moved_aside() {
    let world = World::new();
    let (ours, theirs) = (Memory::new(&world), Memory::at(&world, world.beside("theirs")));
    let mut expected = Vec::new();
    let tail = run(&world, &ours).start();
    write_lines(&world, &tail, "before", &mut expected);
    ours.wait_durable(&tail);
    let other = theirs.run().start();
    other.wait_count(3);
    theirs.wait_durable(&other);
    other.terminate();
    let journal = theirs.journal();
    let (name, bytes) =
        (journal.file_name().expect("a name").to_owned(), fs::read(&journal).expect("read"));
    tail.stop();
    moved(&ours);
    fs::rename(&theirs.directory, &ours.directory).expect("mv");
    tail.go_on();
    tail.wait_said("was moved aside");
    let aside = ours.directory.join(format!("{}.aside", name.to_str().expect("UTF-8")));
    assert_eq!(fs::read(&aside).expect("the other journal"), bytes);
    write_lines(&world, &tail, "after", &mut expected);
    ours.wait_durable(&tail);
    tail.kill();
    let tail = run(&world, &ours).start();
    write_lines(&world, &tail, "later", &mut expected);
    expect_once(&tail, &expected);
}

#[test]
fn another_process_that_took_the_place_is_left_alone_until_it_ends() {
    let world = World::new();
    let memory = Memory::new(&world);
    let mut expected = Vec::new();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "before", &mut expected);
    memory.wait_durable(&tail);
    tail.stop();
    moved(&memory);
    let other = memory.run().start();
    other.wait_count(3);
    memory.wait_durable(&other);
    tail.go_on();
    tail.wait_said("offsets are not stored; delivery goes on; tried again");
    assert!(tail.stderr().contains(&format!("process {}", other.process.0)), "{}", tail.stderr());
    write_lines(&world, &tail, "meanwhile", &mut expected);
    other.terminate();
    tail.wait_said(ANEW);
    write_lines(&world, &tail, "after", &mut expected);
    memory.wait_durable(&tail);
    expect_refusal(&world, &memory);
    assert_eq!(tail.said("offsets are not stored"), 1, "{}", tail.stderr());
    tail.kill();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "later", &mut expected);
    expect_once(&tail, &expected);
}

#[test]
fn a_place_that_cannot_be_used_is_tried_again() {
    let world = World::new();
    let memory = Memory::new(&world);
    let mut expected = Vec::new();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "before", &mut expected);
    memory.wait_durable(&tail);
    tail.stop();
    moved(&memory);
    fs::write(&memory.directory, "no directory").expect("write");
    tail.go_on();
    tail.wait_said("offsets are not stored; delivery goes on; tried again");
    write_lines(&world, &tail, "meanwhile", &mut expected);
    assert_eq!(
        fs::read(&memory.directory).expect("read"),
        b"no directory",
        "what is there is left alone"
    );
    fs::remove_file(&memory.directory).expect("rm");
    tail.wait_said(ANEW);
    write_lines(&world, &tail, "after", &mut expected);
    memory.wait_durable(&tail);
    tail.kill();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "later", &mut expected);
    expect_once(&tail, &expected);
}

/// Logs grow all the time.
#[test]
fn a_busy_run_loses_and_repeats_nothing_when_its_state_goes_again_and_again() {
    let world = World::new();
    let memory = Memory::new(&world);
    let tail = run(&world, &memory).start();
    let mut expected = Vec::new();
    let mut writer = world.writer("busy.log");
    for round in 0..3 {
        for number in 0..300 {
            let line = format!("{round} {number}");
            std::io::Write::write_all(&mut writer, format!("{line}\n").as_bytes()).expect("write");
            if number == 150 {
                tail.wait("a state", || memory.directory.join("lock").exists());
                remove(&memory.directory);
            }
            expected.push(line);
        }
        tail.wait("the journal", || tail.said(ANEW) > round && !memory.journals().is_empty());
    }
    expected.iter().for_each(|line| tail.wait_line(line));
    memory.wait_durable(&tail);
    tail.kill();
    let tail = run(&world, &memory).start();
    world.append("busy.log", "last\n");
    expected.push("last".to_owned());
    expect_once(&tail, &expected);
}

/// The new state directory is not followed either.
#[test]
fn a_state_directory_inside_the_tree_stays_left_out() {
    let world = World::new();
    let memory = Memory::at(&world, world.at("logs/state"));
    world.mkdir("logs");
    let mut expected = Vec::new();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "before", &mut expected);
    memory.wait_durable(&tail);
    for round in 0..3 {
        if round == 2 {
            // The old one is in the tree as well, under another name.
            moved(&memory);
        } else {
            remove(&memory.directory);
        }
        tail.wait("a new one", || tail.said(ANEW) == round + 1);
        write_lines(&world, &tail, &format!("after {round}"), &mut expected);
        memory.wait_durable(&tail);
    }
    expect_once(&tail, &expected);
}

#[test]
fn what_is_mounted_over_the_state_directory_or_unmounted_is_noticed() {
    if !is_root() {
        return;
    }
    if !succeeds("unshare", &["-m", "true"]) {
        return skip("no mount namespaces");
    }
    let world = World::new();
    let memory = Memory::at(&world, world.beside("disk/state"));
    let mut expected = Vec::new();
    let tail =
        run(&world, &memory).under(&["unshare", "-m", "sh", "-c", "exec \"$@\"", "sh"]).start();
    write_lines(&world, &tail, "before", &mut expected);
    memory.wait_durable(&tail);
    let shell = |script: &str| {
        let disk = world.beside("disk");
        let words = ["-m", "sh", "-ec", script, "sh", disk.to_str().expect("UTF-8")];
        let done = Command::new("nsenter")
            .args(["-t", &tail.process.0.to_string()])
            .args(words)
            .status()
            .expect("nsenter");
        assert!(done.success(), "{script}");
    };
    shell("mount -t tmpfs tmpfs \"$1\"");
    tail.wait("a new state", || tail.said(ANEW) == 1);
    shell("test -d \"$1/state\"");
    write_lines(&world, &tail, "mounted", &mut expected);
    tail.settled();
    // The one on the disk below is older, and no longer ours.
    shell("umount -l \"$1\"");
    tail.wait("a new state", || tail.said(ANEW) == 2);
    write_lines(&world, &tail, "after", &mut expected);
    memory.wait_durable(&tail);
    tail.kill();
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "later", &mut expected);
    expect_once(&tail, &expected);
}

/// A run that has nothing left to commit notices it at its end.
#[test]
fn a_state_that_went_a_moment_before_the_end_is_stored_all_the_same() {
    let world = World::new();
    let memory = Memory::new(&world);
    let mut expected = Vec::new();
    let tail = memory.run_without_commits().json().output_file(&world.beside("out.ndjson")).start();
    write_lines(&world, &tail, "before", &mut expected);
    tail.settled();
    tail.stop();
    remove(&memory.directory);
    tail.signal(nix::sys::signal::Signal::SIGTERM);
    tail.go_on();
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
    let tail = run(&world, &memory).start();
    write_lines(&world, &tail, "later", &mut expected);
    expect_once(&tail, &expected);
}
