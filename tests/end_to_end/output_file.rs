//! The output file is deleted, renamed or used by two processes: records do not go to an unexpected
//! place, and the status reports the problem.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Run, Tail, wait_for};
use crate::insight::{answers, socket, status, stdout, with_socket};
use crate::records::Format;
use crate::scrape::{get, samples};
use crate::state::{Memory, OutputFile, whole_records};
use crate::world::{Random, World, is_root, numbered, skip, text};

const FORMATS: [Format; 3] = [Format::Raw, Format::Text, Format::Json];

pub(crate) fn start(world: &World, run: Run) -> Tail {
    let tail = with_socket(world, run).start();
    answers(world);
    tail
}

/// Waits until `status` exits with this code and prints this.
#[track_caller]
pub(crate) fn expect_status(world: &World, code: i32, word: &str) {
    let mut last = (None, String::new());
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let output = status(world, &[]);
        last = (output.status.code(), stdout(&output));
        if last.0 == Some(code) && last.1.contains(word) {
            return;
        }
    }
    panic!("status does not exit with {code} and say {word:?}: {last:?}");
}

fn metric(world: &World, name: &str) -> f64 {
    samples(&get(&socket(world), "/metrics").body)[name]
}

#[test]
fn lines_that_only_a_deleted_output_has_are_written_again_and_committed_then() {
    for format in FORMATS {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
        let mut lines = numbered("line", 0..200);
        let tail = start(&world, output.of(memory.run_without_commits()));
        world.append("a.log", text(&lines));
        output.wait_count(200);
        fs::remove_file(&output.path).expect("rm");
        expect_status(&world, 0, "keeping up");
        output.wait_count(200);
        world.append("a.log", "after\n");
        lines.push("after".to_owned());
        output.wait_count(201);
        assert_eq!(output.lines(), lines, "{format:?}");
        assert_eq!(tail.warned("the output file was deleted: another one was opened"), 1);
        assert!((metric(&world, "manytail_output_files_replaced_total") - 1.0).abs() < 0.5);
        tail.terminate();
        let tail = output.of(memory.run()).start();
        world.append("a.log", "later\n");
        output.wait_count(202);
        lines.push("later".to_owned());
        assert_eq!(output.lines(), lines, "{format:?}");
        tail.terminate();
    }
}

#[test]
fn without_a_state_directory_what_goes_into_a_deleted_output_is_in_the_next_one() {
    for format in FORMATS {
        let world = World::new();
        let output = OutputFile::new(&world, format);
        let tail = start(&world, output.of(world.run()));
        world.append("a.log", "before\n");
        output.wait_count(1);
        expect_status(&world, 0, "keeping up");
        fs::remove_file(&output.path).expect("rm");
        let lines = numbered("line", 0..500);
        world.append("a.log", text(&lines));
        output.wait_count(500);
        assert_eq!(output.lines()[output.count() - 500..], lines, "{format:?}");
        tail.terminate();
    }
}

#[test]
fn more_than_is_kept_in_memory_is_written_again_and_the_run_comes_to_rest() {
    for has_memory in [false, true] {
        let world = World::in_memory();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Raw));
        let lines = numbered(&"x".repeat(1000), 0..12_000);
        let tail = start(
            &world,
            output.of(if has_memory { memory.run_without_commits() } else { world.run() }),
        );
        tail.settled();
        if !has_memory {
            // It is not checked before everything is written.
            tail.stop();
            fs::remove_file(&output.path).expect("rm");
        }
        world.append("a.log", text(&lines));
        if has_memory {
            output.wait_count(lines.len());
            fs::remove_file(&output.path).expect("rm");
            expect_status(&world, 0, "keeping up");
        } else {
            tail.go_on();
        }
        output.wait_count(lines.len());
        world.append("a.log", "after\n");
        output.wait_count(lines.len() + 1);
        tail.settled();
        assert_eq!(output.lines()[..lines.len()], lines);
        tail.terminate();
    }
}

#[test]
fn while_a_deleted_output_waits_for_a_successor_nothing_is_computed() {
    let world = World::new();
    let memory = Memory::new(&world);
    let directory = world.beside("out");
    fs::create_dir(&directory).expect("mkdir");
    let output = OutputFile { path: directory.join("out.json"), format: Format::Json };
    let tail = start(&world, output.of(memory.run()));
    world.append("a.log", "one\n");
    output.wait_count(1);
    fs::remove_dir_all(&directory).expect("rm -r");
    world.append("a.log", "two\n");
    expect_status(&world, 1, "cannot open anew");
    world.append("a.log", "three\n");
    tail.settled();
    let ticks = tail.process.ticks();
    // Not a wait for something, but a look at how much happens while nothing is to be done.
    thread::sleep(Duration::from_secs(2));
    assert!(
        tail.process.ticks() - ticks < 20,
        "{} ticks in two seconds",
        tail.process.ticks() - ticks
    );
    fs::create_dir(&directory).expect("mkdir");
    tail.signal(Signal::SIGHUP);
    wait_for("the lines", || output.lines().last().is_some_and(|line| line == "three"));
    expect_status(&world, 0, "keeping up");
    tail.terminate();
}

#[test]
fn a_sighup_while_no_file_can_be_opened_is_obeyed_when_one_can() {
    let world = World::new();
    let directory = world.beside("out");
    fs::create_dir(&directory).expect("mkdir");
    let output = OutputFile { path: directory.join("out.txt"), format: Format::Text };
    let tail = start(&world, output.of(world.run()));
    world.append("a.log", "one\n");
    output.wait_count(1);
    fs::remove_dir_all(&directory).expect("rm -r");
    world.append("a.log", "two\n");
    expect_status(&world, 1, "cannot open anew");
    tail.signal(Signal::SIGHUP);
    fs::create_dir(&directory).expect("mkdir");
    tail.signal(Signal::SIGHUP);
    world.append("a.log", "three\n");
    wait_for("the last line", || output.lines().ends_with(&["two".to_owned(), "three".to_owned()]));
    expect_status(&world, 0, "keeping up");
    tail.terminate();
}

#[test]
fn an_output_that_was_truncated_before_it_was_deleted_is_replaced() {
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Text));
    let tail = start(&world, output.of(memory.run()));
    world.append("a.log", text(&numbered("line", 0..100)));
    output.wait_count(100);
    memory.wait_durable(&tail);
    fs::OpenOptions::new()
        .write(true)
        .open(&output.path)
        .and_then(|file| file.set_len(0))
        .expect("truncate");
    fs::remove_file(&output.path).expect("rm");
    world.append("a.log", "after\n");
    output.wait_count(1);
    assert_eq!(output.lines().last().map(String::as_str), Some("after"));
    expect_status(&world, 0, "keeping up");
    tail.terminate();
}

#[test]
fn a_sighup_right_after_the_output_was_deleted_leaves_no_line_behind() {
    for has_memory in [false, true] {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Json));
        let tail = start(
            &world,
            output.of(if has_memory { memory.run_without_commits() } else { world.run() }),
        );
        world.append("a.log", "before\n");
        output.wait_count(1);
        expect_status(&world, 0, "keeping up");
        // It is not checked again while the process is stopped: the process notices the signal or
        // the line next.
        let deleted = File::open(&output.path).expect("open");
        tail.stop();
        fs::remove_file(&output.path).expect("rm");
        world.append("a.log", "between\n");
        tail.go_on();
        wait_for("the line in either file", || {
            let len = deleted.metadata().expect("stat").len();
            len > 120 || output.path.exists()
        });
        tail.signal(Signal::SIGHUP);
        world.append("a.log", "after\n");
        wait_for("both lines", || {
            let lines = output.lines();
            lines.contains(&"between".to_owned())
                && lines.last().is_some_and(|line| line == "after")
        });
        tail.terminate();
    }
}

#[test]
fn a_deleted_output_of_a_quiet_run_is_made_anew_by_the_next_question() {
    let world = World::new();
    let output = OutputFile::new(&world, Format::Text);
    let _tail = start(&world, output.of(world.run()));
    world.append("a.log", "before\n");
    output.wait_count(1);
    fs::remove_file(&output.path).expect("rm");
    wait_for("the file", || {
        status(&world, &[]);
        output.path.exists()
    });
    expect_status(&world, 0, "keeping up");
}

/// Many lines, an output that is deleted again and again, and a process that is killed again and
/// again.
#[test]
fn no_line_is_missing_however_often_the_output_is_deleted_and_the_process_killed() {
    for format in [Format::Json, Format::Text] {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
        let mut random = Random(0x5eed);
        let (mut written, mut deleted) = (0, Vec::new());
        let mut tail = output.of(memory.run_every("20ms")).start();
        for _ in 0..60 {
            let lines = 1 + random.below(200);
            let names = numbered("line", written..written + lines);
            world.append(format!("{}.log", random.below(3)), text(&names));
            written += lines;
            thread::sleep(Duration::from_millis(random.below(40) as u64));
            match random.below(4) {
                0 | 1 => {
                    if let Ok(file) = File::open(&output.path) {
                        deleted.push(file);
                        fs::remove_file(&output.path).expect("rm");
                    }
                }
                2 => {
                    tail.kill();
                    tail = output.of(memory.run_every("20ms")).start();
                }
                _ => {}
            }
        }
        let mut deleted: Vec<Vec<u8>> = deleted
            .iter_mut()
            .map(|file| {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).expect("a deleted file that is open can be read");
                bytes
            })
            .collect();
        assert!(deleted.len() > 10, "{}", deleted.len());
        wait_for("all lines", || {
            let all = deleted
                .iter()
                .chain([&output.bytes()])
                .flat_map(|bytes| whole_records(format, bytes))
                .map(|record| record.text())
                .collect::<BTreeSet<_>>();
            all.len() == written
        });
        tail.terminate();
        deleted.push(output.bytes());
        for bytes in &deleted {
            let lines: Vec<(Vec<u8>, String)> = whole_records(format, bytes)
                .iter()
                .map(|record| (record.path.clone(), record.text()))
                .collect();
            let unique: BTreeSet<&(Vec<u8>, String)> = lines.iter().collect();
            assert_eq!(unique.len(), lines.len(), "{format:?}: one file has no line twice");
        }
    }
}

#[test]
fn while_no_file_can_take_the_place_of_a_deleted_one_nothing_is_committed_and_status_says_so() {
    let world = World::new();
    let memory = Memory::new(&world);
    let directory = world.beside("out");
    fs::create_dir(&directory).expect("mkdir");
    let output = OutputFile { path: directory.join("out.json"), format: Format::Json };
    let tail = start(&world, output.of(memory.run_without_commits()));
    world.append("a.log", "one\n");
    output.wait_count(1);
    fs::remove_dir_all(&directory).expect("rm -r");
    world.append("a.log", "two\n");
    expect_status(&world, 1, "cannot open anew");
    assert!(metric(&world, "manytail_output_connected") < 0.5);
    assert_eq!(tail.warned("the output file was deleted: records wait for another one"), 1);
    world.append("a.log", "three\n");
    let path = world.at("a.log");
    wait_for("status of the file to say so", || {
        stdout(&status(&world, &[path.to_str().expect("UTF-8")])).contains("does not exist")
    });
    tail.kill();
    fs::create_dir(&directory).expect("mkdir");
    let tail = start(&world, output.of(memory.run()));
    output.wait_count(3);
    assert_eq!(output.lines(), ["one", "two", "three"]);
    // And while it runs.
    fs::remove_dir_all(&directory).expect("rm -r");
    world.append("a.log", "four\n");
    expect_status(&world, 1, "cannot open anew");
    fs::create_dir(&directory).expect("mkdir");
    wait_for("the last line", || output.lines().last().is_some_and(|line| line == "four"));
    expect_status(&world, 0, "keeping up");
    tail.terminate();
}

#[test]
fn an_output_that_is_renamed_is_no_green_light_until_sighup_or_until_it_is_back() {
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Text));
    let tail = start(&world, output.of(memory.run()));
    world.append("a.log", "one\n");
    output.wait_count(1);
    let aside = world.beside("out.log.1");
    fs::rename(&output.path, &aside).expect("mv");
    expect_status(&world, 1, "renamed, or mounted over");
    assert!(metric(&world, "manytail_output_misplaced") > 0.5);
    world.append("a.log", "two\n");
    wait_for("the second line in the old file", || {
        fs::read_to_string(&aside).is_ok_and(|text| text.contains("two"))
    });
    tail.wait_said("the output file is not at its path any more");
    fs::rename(&aside, &output.path).expect("mv");
    expect_status(&world, 0, "keeping up");
    tail.wait_said("the output file is at its path again");
    fs::rename(&output.path, &aside).expect("mv");
    expect_status(&world, 1, "renamed, or mounted over");
    tail.signal(Signal::SIGHUP);
    expect_status(&world, 0, "keeping up");
    world.append("a.log", "three\n");
    output.wait_count(1);
    assert_eq!(output.lines(), ["three"]);
    // Another file in its place, as `create` of logrotate makes one.
    fs::rename(&output.path, &aside).expect("mv");
    File::create(&output.path).expect("touch");
    expect_status(&world, 1, "renamed, or mounted over");
    // The renamed file is deleted: the records go into the new one.
    fs::remove_file(&aside).expect("rm");
    world.append("a.log", "four\n");
    wait_for("the fourth line", || output.lines().last().is_some_and(|line| line == "four"));
    expect_status(&world, 0, "keeping up");
}

#[test]
fn a_sighup_that_cannot_be_obeyed_is_tried_again_and_said_until_it_is() {
    for has_memory in [false, true] {
        let world = World::new();
        let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Text));
        let tail = start(&world, output.of(if has_memory { memory.run() } else { world.run() }));
        world.append("a.log", "one\n");
        output.wait_count(1);
        let aside = world.beside("out.log.1");
        fs::rename(&output.path, &aside).expect("mv");
        fs::create_dir(&output.path).expect("mkdir");
        tail.signal(Signal::SIGHUP);
        expect_status(&world, 1, "SIGHUP asked for it to be opened anew, which fails");
        assert_eq!(tail.warned("SIGHUP: the old output stays in use"), 1, "{}", tail.stderr());
        world.append("a.log", "two\n");
        wait_for("the second line in the old file", || {
            fs::read_to_string(&aside).is_ok_and(|text| text.contains("two"))
        });
        fs::remove_dir(&output.path).expect("rmdir");
        wait_for("the new file", || output.path.is_file());
        world.append("a.log", "three\n");
        output.wait_count(1);
        assert_eq!(output.lines(), ["three"], "{has_memory}");
        expect_status(&world, 0, "keeping up");
        tail.terminate();
    }
}

#[test]
fn a_file_that_stdout_was_redirected_to_and_that_is_deleted_stops_delivery_and_commits() {
    let world = World::new();
    let memory = Memory::new(&world);
    let path = world.beside("stdout.txt");
    let tail =
        start(&world, memory.run_without_commits().stdout(File::create(&path).expect("a file")));
    world.append("a.log", "one\n");
    wait_for("the first line", || fs::read_to_string(&path).is_ok_and(|text| text.contains("one")));
    fs::remove_file(&path).expect("rm");
    world.append("a.log", "two\n");
    expect_status(&world, 1, "the file was deleted");
    tail.kill();
    let tail = memory.run().stdout(File::create(&path).expect("a file")).start();
    wait_for("both lines", || {
        fs::read_to_string(&path).is_ok_and(|text| text.contains("one") && text.contains("two"))
    });
    tail.terminate();
}

#[test]
fn a_file_without_a_name_is_a_good_standard_output() {
    let world = World::new();
    world.append("a.log", "one\n");
    let file = tempfile::tempfile().expect("a file");
    let tail = world.run().stdout(file.try_clone().expect("dup")).start();
    wait_for("the line", || file.metadata().is_ok_and(|found| found.len() > 0));
    tail.terminate();
}

#[test]
fn a_second_process_on_one_output_file_is_refused_with_the_process_that_has_it() {
    let world = World::new();
    let output = OutputFile::new(&world, Format::Text);
    let (first, second) = (Memory::new(&world), Memory::at(&world, world.beside("other")));
    let lines = numbered("line", 0..50);
    world.append("a.log", text(&lines));
    // The second one's journal knows the file, too, and less of it.
    let tail = output.of(second.run()).start();
    output.wait_count(50);
    tail.terminate();
    let tail = output.of(first.run()).start();
    output.wait_count(100);
    first.wait_durable(&tail);
    let before = output.bytes();
    let refused = output.of(second.run()).finish();
    assert_eq!(refused.status.code(), Some(1));
    let word = format!("process {} has it locked", tail.process.0);
    assert!(refused.stderr.contains(&word), "{}", refused.stderr);
    assert_eq!(output.bytes(), before, "nothing was cut");
    // The process is killed: a new one may start at once.
    tail.kill();
    world.append("a.log", "after\n");
    let tail = output.of(first.run()).start();
    output.wait_count(101);
    tail.terminate();
}

#[test]
fn an_output_file_that_another_process_has_is_not_reopened() {
    let world = World::new();
    let (output, other) = (OutputFile::new(&world, Format::Text), world.beside("other.log"));
    let tail = start(&world, output.of(world.run()));
    world.append("a.log", "one\n");
    output.wait_count(1);
    let taken = world.run().output(&format!("file:{}", other.display())).start();
    wait_for("the other run", || fs::read_to_string(&other).is_ok_and(|text| text.contains("one")));
    fs::rename(&output.path, world.beside("aside")).expect("mv");
    std::os::unix::fs::symlink(&other, &output.path).expect("ln -s");
    tail.signal(Signal::SIGHUP);
    let word = format!("process {} has it locked", taken.process.0);
    expect_status(&world, 1, &word);
    taken.terminate();
    expect_status(&world, 0, "keeping up");
    tail.terminate();
}

#[test]
fn an_output_that_somebody_truncates_is_told() {
    let world = World::new();
    let output = OutputFile::new(&world, Format::Text);
    let tail = start(&world, output.of(world.run()));
    world.append("a.log", text(&numbered("line", 0..100)));
    output.wait_count(100);
    expect_status(&world, 0, "keeping up");
    fs::OpenOptions::new()
        .write(true)
        .open(&output.path)
        .and_then(|file| file.set_len(0))
        .expect("truncate");
    expect_status(&world, 0, "truncated 1 time");
    assert!((metric(&world, "manytail_output_truncations_total") - 1.0).abs() < 0.5);
    assert_eq!(
        tail.warned("the output file was truncated by somebody else"),
        1,
        "{}",
        tail.stderr()
    );
    world.append("a.log", "after\n");
    output.wait_count(1);
    assert_eq!(output.lines(), ["after"]);
    tail.terminate();
    assert_eq!(tail.warned("truncated"), 1, "{}", tail.stderr());
}

#[test]
fn every_cut_of_an_output_is_a_warning() {
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Text));
    let tail = output.of(memory.run_without_commits()).start();
    world.append("a.log", "one\n");
    output.wait_count(1);
    tail.settled();
    tail.kill();
    let tail = output.of(memory.run()).start();
    tail.wait_said("the output's end was not committed");
    assert_eq!(tail.warned("cut off"), 1, "{}", tail.stderr());
    output.wait_count(1);
    assert_eq!(output.lines(), ["one"]);
}

/// An output may be deleted because it fills the disk.
#[test]
fn deleting_the_output_that_fills_the_disk_makes_room() {
    if !is_root() {
        return skip("mounts need root");
    }
    let world = World::new();
    let disk = Disk::mount(&world, "4m");
    let output = OutputFile { path: disk.0.join("out.log"), format: Format::Text };
    let tail = start(&world, output.of(Memory::new(&world).run()));
    let lines = numbered(&"x".repeat(1000), 0..14_000);
    world.append("a.log", text(&lines));
    expect_status(&world, 1, "cannot write: No space left on device (os error 28)");
    let mut got = BTreeSet::from_iter(output.lines());
    while got.len() < lines.len() {
        let before = got.len();
        fs::remove_file(&output.path).expect("rm");
        wait_for("more lines", || {
            got.extend(output.lines());
            got.len() > before
        });
        tail.settled();
        got.extend(output.lines());
    }
    assert_eq!(got, BTreeSet::from_iter(lines));
    tail.terminate();
}

/// A small file system.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(world: &World, size: &str) -> Disk {
        let path = world.beside("disk");
        fs::create_dir(&path).expect("mkdir");
        let options = format!("size={size}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path)
            .status();
        assert!(mounted.is_ok_and(|status| status.success()), "mount");
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmount =
            |path: &Path| std::process::Command::new("umount").arg("-l").arg(path).status();
        assert!(unmount(&self.0).is_ok_and(|status| status.success()), "umount");
    }
}
