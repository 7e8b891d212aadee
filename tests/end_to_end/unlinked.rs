//! Files whose writer's own name is gone and that have another name in the tree: their lines come
//! as fast as others.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, AtFlags};

use crate::harness::{Tail, wait_for};
use crate::world::{World, numbered};

/// Starts a run without a sweep: events have to suffice.
fn start(world: &World) -> Tail {
    world.run().with(&["--rescan", "0"]).start().armed()
}

fn put(writer: &mut File, line: &str) {
    writer.write_all(format!("{line}\n").as_bytes()).expect("write");
}

/// Writes five lines one by one; each has to come before the next is written.
fn assert_told(tail: &Tail, writer: &mut File, name: &str) {
    let before = tail.count();
    for (number, line) in numbered("told", 0..5).iter().enumerate() {
        put(writer, line);
        tail.wait_count(before + number + 1);
        let last = tail.records().pop().expect("just waited for");
        assert_eq!((last.text(), tail.name(&last)), (line.clone(), name.to_owned()));
    }
}

#[test]
fn a_file_that_lost_the_name_it_was_opened_by_is_followed_by_the_one_it_has() {
    for is_stopped in [false, true] {
        let world = World::new();
        let tail = start(&world);
        let mut writer = world.writer("x.log");
        put(&mut writer, "one");
        tail.wait_count(1);
        if is_stopped {
            tail.stop();
        }
        world.hard_link("x.log", "y.log");
        world.remove("x.log");
        put(&mut writer, "two");
        if is_stopped {
            tail.go_on();
        }
        tail.wait_count(2);
        assert_told(&tail, &mut writer, "y.log");
        tail.settled();
        assert_eq!(tail.count(), 7, "{:?}", tail.lines());
        assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
    }
}

/// `cp -al a b; rm -r a`: the directory through which the file was opened is gone, too.
#[test]
fn a_file_whose_whole_directory_was_replaced_by_a_copy_of_links_is_followed_there() {
    for is_stopped in [false, true] {
        let world = World::new();
        world.mkdir("a/s");
        let tail = start(&world);
        let mut writers = [world.writer("a/x.log"), world.writer("a/s/y.log")];
        for writer in &mut writers {
            put(writer, "one");
        }
        tail.wait_count(2);
        let watches = tail.process.watches();
        if is_stopped {
            tail.stop();
        }
        world.mkdir("b/s");
        world.hard_link("a/x.log", "b/x.log");
        world.hard_link("a/s/y.log", "b/s/y.log");
        world.remove_dir("a");
        if is_stopped {
            tail.go_on();
        }
        tail.canary("b/s");
        for (writer, name) in writers.iter_mut().zip(["b/x.log", "b/s/y.log"]) {
            assert_told(&tail, writer, name);
        }
        tail.settled();
        assert_eq!(tail.count(), 12, "{:?}", tail.lines());
        assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
        drop(writers);
        wait_for("the watches of the deleted directories to go", || {
            tail.process.watches() == watches
        });
    }
}

/// A directory that is moved out of the tree is no longer watched, whatever was deleted in it
/// before.
#[test]
fn a_directory_moved_out_of_the_tree_keeps_no_watch() {
    let world = World::new();
    world.mkdir("a");
    let tail = start(&world);
    let mut writer = world.writer("a/x.log");
    put(&mut writer, "one");
    tail.wait_count(1);
    world.hard_link("a/x.log", "y.log");
    world.remove("a/x.log");
    tail.settled();
    fs::rename(world.at("a"), world.beside("a")).expect("mv");
    wait_for("the watch to go", || tail.process.watches() == 1);
}

fn unnamed(directory: impl AsRef<std::path::Path>) -> File {
    OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_TMPFILE)
        .mode(0o644)
        .open(directory)
        .expect("O_TMPFILE")
}

fn name_it(file: &File, path: impl AsRef<std::path::Path>) {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::unistd::linkat(
        AT_FDCWD,
        own.as_str(),
        AT_FDCWD,
        path.as_ref(),
        AtFlags::AT_SYMLINK_FOLLOW,
    )
    .expect("linkat");
}

#[test]
fn a_file_made_without_a_name_is_followed_once_it_has_one() {
    for is_stopped in [false, true] {
        let world = World::in_memory();
        world.mkdir("d");
        let tail = start(&world);
        for (directory, name) in [("d", "d/x.log"), ("", "d/y.log"), ("d", "z.log")] {
            let mut file = unnamed(world.at(directory));
            let before = tail.count();
            if is_stopped {
                tail.stop();
            }
            put(&mut file, &format!("first {name}"));
            name_it(&file, world.at(name));
            put(&mut file, &format!("second {name}"));
            if is_stopped {
                tail.go_on();
            }
            tail.wait_count(before + 2);
            assert_told(&tail, &mut file, name);
        }
        // Empty when it gets its name.
        let mut file = unnamed(world.at("d"));
        name_it(&file, world.at("d/empty.log"));
        assert_told(&tail, &mut file, "d/empty.log");
        tail.settled();
        assert_eq!(tail.count(), 3 * 7 + 5, "{:?}", tail.lines());
    }
}

/// A backup by a hard link: the old generation continues under its new name, although another file
/// has its former name by now.
#[test]
fn a_file_whose_former_name_was_taken_by_another_is_followed() {
    let world = World::new();
    let tail = start(&world);
    let mut writer = world.writer("x.log");
    put(&mut writer, "one");
    tail.wait_count(1);
    world.hard_link("x.log", "x.log.1");
    world.write("new", "new\n");
    world.rename("new", "x.log");
    tail.wait_count(2);
    assert_told(&tail, &mut writer, "x.log.1");
    world.hard_link("x.log.1", "x.log.2");
    world.remove("x.log.1");
    assert_told(&tail, &mut writer, "x.log.2");
    let mut next = world.writer("x.log");
    assert_told(&tail, &mut next, "x.log");
    tail.settled();
    assert_eq!(tail.count(), 17, "{:?}", tail.lines());
    assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
}

/// A common case: a writer continues in a deleted log. Each write costs one event, and nothing
/// else.
#[test]
fn a_writer_that_goes_on_in_a_deleted_file_costs_next_to_nothing() {
    let world = World::in_memory();
    let tail = world
        .run()
        .with(&["--rescan", "0", "--coalesce", "0", "--log-level", "trace"])
        .start()
        .armed();
    let mut writers: Vec<(String, File)> = (0..20)
        .map(|number| (format!("gone{number}.log"), world.writer(format!("gone{number}.log"))))
        .collect();
    for (name, writer) in &mut writers {
        put(writer, name);
    }
    tail.wait_count(20);
    for (name, _) in &writers {
        world.remove(name);
    }
    tail.settled();
    let looks = |what: &str| {
        tail.stderr().lines().filter(|line| line.contains("gone") && line.contains(what)).count()
    };
    let (before, events) = (looks(" look "), looks(" event "));
    for round in 0..50 {
        for (_, writer) in &mut writers {
            put(writer, &format!("lost {round}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    tail.canary("");
    tail.settled();
    assert!(looks(" event ") > events, "the kernel tells of writes to deleted files");
    assert_eq!(looks(" look "), before, "nothing is looked at");
    assert_eq!(tail.count(), 20);
    assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
}
