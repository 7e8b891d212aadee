//! Rotation behind links and of single files: where manytail follows a file but not the directory
//! that it is in.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::harness::{Run, wait_for};
use crate::limits::run_with_limit;
use crate::state::{ENDS, Memory};
use crate::world::{World, heavy, numbered, text};

fn writer(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("open")
}

fn put(file: &mut File, line: &str) {
    file.write_all(format!("{line}\n").as_bytes()).expect("write");
}

/// Makes `pods/0.log` beside the tree, and a link to it in the tree.
fn pod(world: &World) -> PathBuf {
    fs::create_dir(world.beside("pods")).expect("mkdir");
    let target = world.beside("pods/0.log");
    world.symlink(&target, "x.log");
    target
}

/// A run without a sweep: events have to suffice.
fn following(world: &World) -> Run {
    world.run().json().with(&["--follow-symlinks", "--rescan", "0"])
}

fn rotated(target: &Path, number: usize) -> PathBuf {
    target.with_file_name(format!("0.log.{number}"))
}

/// Five rotations: each generation gets lines before it is renamed, after that, and after its
/// successor is there; `done` is called with the number of lines so far.
fn rotate(target: &Path, mut done: impl FnMut(usize)) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |file: &mut File| {
        let text = format!("line {}", lines.len());
        put(file, &text);
        lines.push(text);
    };
    let mut file = writer(target);
    line(&mut file);
    done(1);
    for round in 0..5 {
        line(&mut file);
        fs::rename(target, rotated(target, round)).expect("mv");
        line(&mut file);
        let mut next = writer(target);
        line(&mut file);
        line(&mut next);
        done(5 + 4 * round);
        file = next;
    }
    lines
}

/// Kubernetes: `/var/log/containers/x.log` leads to `/var/log/pods/.../0.log`, which is rotated
/// while the container goes on writing.
#[test]
fn a_target_rotated_behind_its_link_is_read_to_its_end_before_its_successor() {
    for is_stopped in [false, true] {
        let world = World::new();
        let target = pod(&world);
        fs::write(&target, "").expect("write");
        let tail = following(&world).start().armed();
        if is_stopped {
            tail.stop();
        }
        let lines = rotate(&target, |count| {
            if !is_stopped {
                tail.wait_count(count);
            }
        });
        tail.go_on();
        tail.expect_in_order(&lines);
        assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
        assert_eq!(tail.process.watches(), 2);
        // A late line comes under the name that the file has now.
        put(&mut writer(&rotated(&target, 4)), "late");
        tail.wait_line("late");
        let last = tail.records().pop().expect("just waited for");
        assert_eq!(last.path, rotated(&target, 4).into_os_string().into_encoded_bytes());
        let first = &tail.records()[0];
        assert_eq!(
            tail.name(first),
            if is_stopped { tail.name(first) } else { "x.log".to_owned() }
        );
    }
}

/// PATH itself is a link: it is followed without an option.
#[test]
fn the_target_of_a_path_that_is_a_link_is_read_to_its_end_before_its_successor() {
    for is_stopped in [false, true] {
        let world = World::new();
        let target = pod(&world);
        fs::write(&target, "").expect("write");
        let tail = world.run().json().with(&["--rescan", "0"]).paths(&[world.at("x.log")]).start();
        put(&mut writer(&target), "begin");
        tail.wait_line("begin");
        tail.settled();
        if is_stopped {
            tail.stop();
        }
        let mut lines = vec!["begin".to_owned()];
        lines.extend(rotate(&target, |count| {
            if !is_stopped {
                tail.wait_count(1 + count);
            }
        }));
        tail.go_on();
        tail.expect_in_order(&lines);
        assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
    }
}

/// Docker: the link leads to a link, which leads to the file; and a numbered cascade moves every
/// generation.
#[test]
fn a_cascade_at_the_end_of_a_chain_of_links_gives_the_exact_sequence() {
    let world = World::new();
    fs::create_dir_all(world.beside("docker/1")).expect("mkdir");
    let target = world.beside("docker/1/0.log");
    fs::write(&target, "").expect("write");
    std::os::unix::fs::symlink(&target, world.beside("middle.log")).expect("ln -s");
    world.symlink(world.beside("middle.log"), "x.log");
    let tail = following(&world).start().armed();
    // A rotation overtakes a `statx` about once in ten rounds.
    let lines = numbered("line", 0..400);
    for (round, chunk) in lines.chunks(10).enumerate() {
        let mut file = writer(&target);
        file.write_all(text(&chunk[..5]).as_bytes()).expect("write");
        for number in (1..6).rev() {
            if rotated(&target, number).exists() {
                fs::rename(rotated(&target, number), rotated(&target, number + 1)).expect("mv");
            }
        }
        fs::rename(&target, rotated(&target, 1)).expect("mv");
        file.write_all(text(&chunk[5..]).as_bytes()).expect("write");
        if round % 2 == 0 {
            tail.wait_count(10 * round + 10);
        }
    }
    tail.expect_in_order(&lines);
    assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
}

#[test]
fn a_target_that_is_copied_and_truncated_or_compressed_behind_its_link_is_followed() {
    let world = World::new();
    let target = pod(&world);
    let mut file = writer(&target);
    put(&mut file, "line 0");
    let tail = following(&world).start().armed();
    tail.wait_count(1);
    fs::copy(&target, rotated(&target, 1)).expect("cp");
    file.set_len(0).expect("truncate");
    put(&mut file, "1");
    tail.wait_count(2);
    fs::rename(&target, rotated(&target, 2)).expect("mv");
    put(&mut file, "2");
    tail.wait_count(3);
    fs::write(target.with_file_name("0.log.2.gz"), "compressed\n").expect("write");
    fs::remove_file(rotated(&target, 2)).expect("rm");
    fs::write(&target, "3\n").expect("write");
    tail.expect_in_order(&["line 0", "1", "2", "3"]);
    assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
}

#[test]
fn several_links_to_a_rotated_target_deliver_each_generation_once() {
    let world = World::new();
    let target = pod(&world);
    fs::write(&target, "").expect("write");
    world.symlink(&target, "y.log");
    world.mkdir("s");
    world.symlink(&target, "s/z.log");
    let tail = following(&world).start().armed();
    let lines = rotate(&target, |count| tail.wait_count(count));
    tail.expect_in_order(&lines);
    // It is followed as long as one of the links exists.
    for name in ["x.log", "s/z.log"] {
        world.remove(name);
        tail.settled();
        put(&mut writer(&target), &format!("without {name}"));
        tail.wait_line(&format!("without {name}"));
    }
    world.remove("y.log");
    wait_for("the watch of the target to go", || tail.process.watches() == 2);
    assert_eq!(tail.count(), lines.len() + 2);
}

#[test]
fn a_rotated_target_that_is_in_the_tree_itself_comes_once_and_in_order() {
    for include in ["*", "*x.log"] {
        let world = World::new();
        world.mkdir("pods");
        let target = world.at("pods/0.log");
        fs::write(&target, "").expect("write");
        world.symlink(&target, "x.log");
        let tail = following(&world).with(&["--include", include]).start();
        tail.canary_file("canary-x.log");
        tail.settled();
        let lines = rotate(&target, |count| tail.wait_count(count));
        tail.expect_in_order(&lines);
        assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
    }
}

#[test]
fn a_target_deleted_or_replaced_behind_its_link_is_followed_by_its_successor() {
    let world = World::new();
    let target = pod(&world);
    fs::write(&target, "line 0\n").expect("write");
    let tail = following(&world).start().armed();
    tail.wait_count(1);
    for number in 1..6 {
        if number % 2 == 0 {
            fs::remove_file(&target).expect("rm");
            fs::write(&target, format!("line {number}\n")).expect("write");
        } else {
            fs::write(target.with_file_name("new"), format!("line {number}\n")).expect("write");
            fs::rename(target.with_file_name("new"), &target).expect("mv");
        }
        tail.wait_count(number + 1);
    }
    tail.expect_in_order(&numbered("line", 0..6));
    assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
}

/// As documented: when a link is removed, its target is no longer followed, nor are the generations
/// that were rotated behind it.
#[test]
fn a_removed_link_ends_the_following_of_all_generations_behind_it() {
    let world = World::new();
    let target = pod(&world);
    fs::write(&target, "one\n").expect("write");
    let tail = following(&world).start().armed();
    tail.wait_line("one");
    fs::rename(&target, rotated(&target, 1)).expect("mv");
    fs::write(&target, "two\n").expect("write");
    tail.wait_line("two");
    tail.settled();
    world.remove("x.log");
    wait_for("the watch of the target to go", || tail.process.watches() == 1);
    put(&mut writer(&rotated(&target, 1)), "not to be read");
    put(&mut writer(&target), "not to be read");
    tail.canary("");
    tail.settled();
    assert_eq!(tail.lines(), ["one", "two"]);
}

#[test]
fn the_link_of_a_rotated_target_without_successor_leaves_no_watch_when_it_is_removed() {
    let world = World::new();
    let target = pod(&world);
    fs::write(&target, "one\n").expect("write");
    let tail = following(&world).start().armed();
    tail.wait_line("one");
    fs::rename(&target, rotated(&target, 1)).expect("mv");
    put(&mut writer(&rotated(&target, 1)), "two");
    tail.wait_line("two");
    tail.settled();
    world.remove("x.log");
    wait_for("the watch of the target to go", || tail.process.watches() == 1);
    assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
}

#[test]
fn a_link_pointed_elsewhere_after_a_rotation_leaves_the_former_target_followed() {
    let world = World::new();
    let target = pod(&world);
    fs::write(&target, "one\n").expect("write");
    let tail = following(&world).start().armed();
    tail.wait_line("one");
    fs::rename(&target, rotated(&target, 1)).expect("mv");
    fs::write(&target, "two\n").expect("write");
    tail.wait_line("two");
    fs::write(world.beside("other.log"), "three\n").expect("write");
    std::os::unix::fs::symlink(world.beside("other.log"), world.beside("link")).expect("ln -s");
    fs::rename(world.beside("link"), world.at("x.log")).expect("mv");
    tail.wait_line("three");
    for (path, line) in [
        (target.clone(), "four"),
        (rotated(&target, 1), "five"),
        (world.beside("other.log"), "six"),
    ] {
        put(&mut writer(&path), line);
        tail.wait_line(line);
    }
    tail.settled();
    assert_eq!(tail.lines(), ["one", "two", "three", "four", "five", "six"]);
}

#[test]
fn a_target_directory_renamed_and_made_again_is_followed_again() {
    let world = World::new();
    let target = pod(&world);
    fs::write(&target, "one\n").expect("write");
    let tail = following(&world).start().armed();
    tail.wait_line("one");
    fs::rename(world.beside("pods"), world.beside("old")).expect("mv");
    fs::create_dir(world.beside("pods")).expect("mkdir");
    fs::write(&target, "two\n").expect("write");
    tail.wait_line("two");
    put(&mut writer(&target), "three");
    tail.expect_in_order(&["one", "two", "three"]);
}

/// Causes more events than the kernel queues, all for excluded names.
fn overflow(world: &World) {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("procfs");
    let limit: usize = limit.trim().parse().expect("a number");
    let mut files = [world.writer("flood-a.gz"), world.writer("flood-b.gz")];
    for number in 0..limit + 1_000 {
        files[number % 2].write_all(b".").expect("write");
    }
}

#[test]
fn a_rotation_that_no_event_told_of_is_found_by_a_search() {
    let _guard = heavy();
    for is_link in [true, false] {
        let world = World::in_memory();
        let target = pod(&world);
        fs::write(&target, "line 0\n").expect("write");
        let run = if is_link {
            following(&world)
        } else {
            following(&world).paths(&[world.at("."), target.clone()])
        };
        if !is_link {
            world.remove("x.log");
        }
        let tail = run.start().armed();
        tail.wait_count(1);
        tail.stop();
        overflow(&world);
        let mut file = writer(&target);
        put(&mut file, "line 1");
        fs::rename(&target, rotated(&target, 1)).expect("mv");
        put(&mut file, "line 2");
        fs::write(&target, "line 3\n").expect("write");
        tail.go_on();
        tail.wait_count(4);
        put(&mut file, "line 4");
        tail.wait_count(5);
        put(&mut writer(&target), "line 5");
        tail.expect_in_order(&numbered("line", 0..6));
        assert!(tail.said("overflowed") > 0, "the queue overflowed: {}", tail.stderr());
        assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
    }
}

#[test]
fn a_rotation_in_a_target_directory_without_a_watch_is_found_by_a_search() {
    for is_link in [true, false] {
        let world = World::new();
        let target = pod(&world);
        fs::write(&target, "line 0\n").expect("write");
        let run = if is_link { following(&world) } else { following(&world).paths(&[&target]) };
        let Some(tail) = run_with_limit(run, "watches", 0) else { return };
        tail.wait_count(1);
        tail.wait_said("user.max_inotify_watches");
        for round in 0..3 {
            let mut file = writer(&target);
            put(&mut file, &format!("line {}", 3 * round + 1));
            fs::rename(&target, rotated(&target, round)).expect("mv");
            put(&mut file, &format!("line {}", 3 * round + 2));
            fs::write(&target, format!("line {}\n", 3 * round + 3)).expect("write");
            tail.wait_count(3 * round + 4);
        }
        tail.expect_in_order(&numbered("line", 0..10));
        assert_eq!(tail.warned("deleted"), 0, "{}", tail.stderr());
    }
}

#[test]
fn a_rotation_while_down_is_read_to_its_end_before_its_successor() {
    for end in ENDS {
        for is_link in [true, false] {
            let world = World::new();
            let target = pod(&world);
            fs::write(&target, "line 0\n").expect("write");
            let memory = Memory::new(&world);
            let run = || {
                let run = memory.run().json().with(&["--follow-symlinks", "--rescan", "0"]);
                if is_link { run } else { run.paths(&[&target]) }
            };
            let tail = run().start();
            tail.wait_count(1);
            tail.settled();
            memory.end(&tail, end);
            let mut file = writer(&target);
            put(&mut file, "line 1");
            fs::rename(&target, rotated(&target, 1)).expect("mv");
            put(&mut file, "line 2");
            fs::write(&target, "line 3\n").expect("write");
            let tail = run().start();
            tail.wait_count(3);
            put(&mut file, "line 4");
            tail.wait_count(4);
            put(&mut writer(&target), "line 5");
            tail.expect_in_order(&numbered("line", 1..6));
            // A rotated generation that still grows is followed after one more restart.
            memory.end(&tail, end);
            put(&mut file, "line 6");
            let tail = run().start();
            tail.wait_line("line 6");
            tail.settled();
            assert_eq!(tail.lines(), ["line 6"]);
            memory.end(&tail, end);
        }
    }
}

/// A file that used to be a PATH is not taken for a generation of another PATH.
#[test]
fn a_file_that_the_settings_name_no_more_does_not_go_on_as_a_generation() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.write("app.log", "one\n");
    world.write("app-debug.log", "debug\n");
    let tail = memory.run().paths(&[world.at("app.log"), world.at("app-debug.log")]).start();
    tail.wait_count(2);
    tail.settled();
    memory.end(&tail, ENDS[0]);
    world.append("app.log", "two\n");
    world.append("app-debug.log", "not to be read\n");
    let tail = memory.run().paths(&[world.at("app.log")]).start();
    tail.wait_line("two");
    tail.settled();
    assert_eq!(tail.lines(), ["two"]);
}

/// The directory of a target is watched only for the target.
#[test]
fn a_log_or_link_that_is_moved_out_to_where_a_target_lies_is_followed_no_more() {
    let world = World::new();
    let target = pod(&world);
    let other = world.beside("other");
    put(&mut writer(&target), "target");
    put(&mut writer(&other), "other");
    world.symlink(&other, "other.log");
    world.append("a.log", "inside\n");
    let tail = following(&world).start().armed();
    tail.wait_count(3);
    tail.wait_closed();
    fs::rename(world.at("a.log"), target.with_file_name("a.log")).expect("mv");
    fs::rename(world.at("other.log"), target.with_file_name("other.log")).expect("mv");
    tail.canary("");
    put(&mut writer(&target.with_file_name("a.log")), "outside");
    put(&mut writer(&other), "no link");
    put(&mut writer(&target), "target again");
    tail.wait_line("target again");
    tail.canary("");
    tail.settled();
    let mut lines = tail.lines();
    lines.sort();
    assert_eq!(lines, ["inside", "other", "target", "target again"]);
}
