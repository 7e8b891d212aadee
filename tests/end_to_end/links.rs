//! Symbolic and hard links: each file is delivered once, whatever names lead to it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::{Tail, wait_for};
use crate::world::{World, numbered};

fn write_beside(world: &World, name: &str, bytes: &str) {
    fs::write(world.beside(name), bytes).expect("write");
}

fn append_beside(world: &World, name: &str, bytes: &str) {
    let mut file =
        fs::OpenOptions::new().create(true).append(true).open(world.beside(name)).expect("open");
    file.write_all(bytes.as_bytes()).expect("append");
}

/// As `ln -sfn` does: the name is never missing.
fn point(world: &World, target: &Path, name: &str) {
    symlink(target, world.beside("link")).expect("ln -s");
    fs::rename(world.beside("link"), world.at(name)).expect("mv");
}

fn following(world: &World) -> Tail {
    world.run().with(&["--follow-symlinks"]).start().armed()
}

/// `S-01`: symbolic links are not followed by default.
#[test]
fn a_symlink_is_followed_only_when_asked() {
    let world = World::new();
    write_beside(&world, "target.log", "one\n");
    world.symlink(world.beside("target.log"), "a.log");
    let default = world.run().start().armed();
    let following = following(&world);
    following.wait_line("one");
    append_beside(&world, "target.log", "two\n");
    following.expect(&[("a.log", &["one", "two"])]);
    default.settled();
    assert_eq!(default.count(), 0);
}

#[test]
fn a_symlink_made_while_running_is_followed_from_the_first_byte() {
    let world = World::new();
    let tail = following(&world);
    write_beside(&world, "target.log", "one\n");
    world.symlink(world.beside("target.log"), "a.log");
    tail.wait_line("one");
    append_beside(&world, "target.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// A relative link starts at its own directory.
#[test]
fn a_relative_symlink_leads_to_its_target() {
    let world = World::new();
    world.mkdir("s");
    write_beside(&world, "target.log", "one\n");
    world.symlink("../../target.log", "s/a.log");
    let tail = following(&world);
    tail.expect(&[("s/a.log", &["one"])]);
    append_beside(&world, "target.log", "two\n");
    tail.expect(&[("s/a.log", &["one", "two"])]);
}

/// `S-03`
#[test]
fn a_chain_of_links_whose_target_comes_later_is_read_when_it_appears() {
    let world = World::new();
    fs::create_dir(world.beside("targets")).expect("mkdir");
    symlink(world.beside("targets/t.log"), world.beside("middle")).expect("ln -s");
    world.symlink(world.beside("middle"), "a.log");
    // A dangling link gives no event when its target comes; the sweep finds it.
    let tail = world.run().with(&["--follow-symlinks", "--rescan", "1s"]).start().armed();
    write_beside(&world, "targets/t.log", "one\n");
    tail.expect(&[("a.log", &["one"])]);
    append_beside(&world, "targets/t.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// `S-04`
#[test]
fn a_link_pointed_to_another_file_delivers_the_new_one_too() {
    let world = World::new();
    write_beside(&world, "first.log", "first 0\n");
    write_beside(&world, "second.log", "second 0\n");
    world.symlink(world.beside("first.log"), "a.log");
    let tail = following(&world);
    tail.wait_line("first 0");
    append_beside(&world, "first.log", "first 1\n");
    tail.wait_line("first 1");
    point(&world, &world.beside("second.log"), "a.log");
    tail.wait_line("second 0");
    append_beside(&world, "second.log", "second 1\n");
    tail.expect(&[("a.log", &["first 0", "first 1", "second 0", "second 1"])]);
    // The former target continues under its own path, and under the link's once the link leads to
    // it again.
    append_beside(&world, "first.log", "first 2\n");
    tail.wait_line("first 2");
    point(&world, &world.beside("first.log"), "a.log");
    append_beside(&world, "first.log", "first 3\n");
    tail.wait_line("first 3");
    tail.settled();
    assert_eq!(tail.lines(), ["first 0", "first 1", "second 0", "second 1", "first 2", "first 3"]);
}

/// `S-05`: a removed link leaves the tree, and its target with it.
#[test]
fn a_removed_link_ends_the_following_of_its_target() {
    let world = World::new();
    write_beside(&world, "target.log", "one\n");
    world.symlink(world.beside("target.log"), "a.log");
    let tail = following(&world);
    tail.wait_line("one");
    world.remove("a.log");
    tail.settled();
    append_beside(&world, "target.log", "two\n");
    tail.expect(&[("a.log", &["one"])]);
    wait_for("the target's watch to go", || tail.process.watches() == 1);
}

/// `S-06`
#[test]
fn several_links_to_one_target_deliver_it_once() {
    let world = World::new();
    world.write("real.log", "one\n");
    write_beside(&world, "outside.log", "outside one\n");
    for name in ["a.log", "b.log", "c.log"] {
        world.symlink("real.log", name);
        world.symlink(world.beside("outside.log"), format!("outside-{name}"));
    }
    let tail = following(&world);
    world.append("real.log", "two\n");
    append_beside(&world, "outside.log", "outside two\n");
    tail.wait_count(4);
    tail.settled();
    let mut lines = tail.lines();
    lines.sort();
    assert_eq!(lines, ["one", "outside one", "outside two", "two"]);
    // Stable: it continues when one of the names is removed.
    let used =
        tail.lines_by_file().into_keys().find(|name| name.starts_with("outside")).expect("a name");
    world.remove(used);
    tail.settled();
    append_beside(&world, "outside.log", "outside three\n");
    tail.wait_line("outside three");
    tail.settled();
    assert_eq!(tail.count(), 5, "{:?}", tail.lines());
}

/// `S-07`
#[test]
fn loops_of_links_end_and_each_file_comes_once() {
    let world = World::new();
    world.mkdir("s/t");
    world.symlink("..", "s/up");
    world.symlink(".", "self");
    world.symlink("../..", "s/t/top");
    world.symlink("loop-b", "loop-a");
    world.symlink("loop-a", "loop-b");
    world.write("s/t/a.log", "a\n");
    world.write("b.log", "b\n");
    let tail = following(&world);
    tail.wait_count(2);
    world.append("s/t/a.log", "aa\n");
    world.append("b.log", "bb\n");
    world.symlink("../../..", "s/t/later");
    tail.canary("");
    tail.wait_count(4);
    tail.settled();
    let mut lines = tail.lines();
    lines.sort();
    assert_eq!(lines, ["a", "aa", "b", "bb"]);
    assert!(tail.process.watches() <= 4, "{} watches", tail.process.watches());
}

/// `S-07`
#[test]
fn a_symlinked_directory_is_followed_with_what_comes_later() {
    let world = World::new();
    fs::create_dir_all(world.beside("elsewhere/sub")).expect("mkdir");
    write_beside(&world, "elsewhere/sub/a.log", "one\n");
    world.symlink(world.beside("elsewhere"), "link");
    let default = world.run().start().armed();
    let tail = following(&world);
    tail.wait_line("one");
    append_beside(&world, "elsewhere/sub/a.log", "two\n");
    write_beside(&world, "elsewhere/b.log", "b\n");
    fs::create_dir(world.beside("elsewhere/new")).expect("mkdir");
    write_beside(&world, "elsewhere/new/c.log", "c\n");
    tail.expect(&[
        ("link/sub/a.log", &["one", "two"]),
        ("link/b.log", &["b"]),
        ("link/new/c.log", &["c"]),
    ]);
    default.settled();
    assert_eq!(default.count(), 0, "links are not followed by default");
}

/// `S-08`
#[test]
fn a_pod_directory_that_goes_with_its_link_leaves_no_watch() {
    let world = World::new();
    let tail = following(&world);
    let before = (tail.process.watches(), tail.process.descriptors());
    let mut expected = BTreeMap::new();
    for pod in 0..5 {
        fs::create_dir_all(world.beside(format!("pods/{pod}"))).expect("mkdir");
        write_beside(&world, &format!("pods/{pod}/0.log"), "one\n");
        world.symlink(world.beside(format!("pods/{pod}/0.log")), format!("{pod}.log"));
        tail.wait_count(2 * pod + 1);
        append_beside(&world, &format!("pods/{pod}/0.log"), "two\n");
        tail.wait_count(2 * pod + 2);
        expected.insert(format!("{pod}.log"), vec!["one".to_owned(), "two".to_owned()]);
    }
    for pod in 0..5 {
        fs::remove_dir_all(world.beside(format!("pods/{pod}"))).expect("rm -r");
        world.remove(format!("{pod}.log"));
    }
    wait_for("the watches to go", || tail.process.watches() == before.0);
    tail.expect_files(&expected);
    wait_for("no more descriptors than before", || tail.process.descriptors() <= before.1);
}

/// `S-08`, one step further: the container's log is rotated behind the link.
#[test]
fn a_target_rotated_behind_its_link_is_followed_to_the_new_file() {
    let world = World::new();
    fs::create_dir(world.beside("pod")).expect("mkdir");
    write_beside(&world, "pod/0.log", "line 0\n");
    world.symlink(world.beside("pod/0.log"), "x.log");
    let tail = world.run().with(&["--follow-symlinks", "--rescan", "1s"]).start().armed();
    for number in 1..5 {
        tail.wait_count(number);
        fs::rename(world.beside("pod/0.log"), world.beside(format!("pod/0.log.{number}")))
            .expect("mv");
        write_beside(&world, "pod/0.log", &format!("line {number}\n"));
    }
    tail.expect_in_order(&numbered("line", 0..5));
}

/// `S-11`
#[test]
fn a_write_through_a_hard_link_outside_the_tree_is_found_by_the_sweep() {
    let world = World::new();
    world.write("a.log", "one\n");
    fs::hard_link(world.at("a.log"), world.beside("a.log")).expect("ln");
    let tail = world.run().with(&["--rescan", "1s"]).start().armed();
    tail.wait_line("one");
    append_beside(&world, "a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

#[test]
fn a_file_with_several_hard_links_comes_once() {
    let world = World::new();
    world.mkdir("s");
    world.write("a.log", "one\n");
    world.hard_link("a.log", "b.log");
    world.hard_link("a.log", "s/c.log");
    let tail = world.run().start().armed();
    tail.wait_count(1);
    for name in ["b.log", "a.log", "s/c.log"] {
        world.append(name, format!("through {name}\n"));
        tail.wait_line(&format!("through {name}"));
    }
    world.hard_link("b.log", "d.log");
    world.append("d.log", "through d.log\n");
    tail.expect_in_order(&[
        "one",
        "through b.log",
        "through a.log",
        "through s/c.log",
        "through d.log",
    ]);
    // It is followed as long as it has a name.
    for name in ["a.log", "b.log", "d.log"] {
        world.remove(name);
        tail.settled();
        world.append("s/c.log", format!("without {name}\n"));
        tail.wait_line(&format!("without {name}"));
    }
    tail.settled();
    assert_eq!(tail.count(), 8, "{:?}", tail.lines());
}

/// `S-12` without stored state: link and target need not share a name.
#[test]
fn a_link_with_another_name_than_its_target_is_followed_by_its_own_name() {
    let world = World::new();
    write_beside(&world, "target.txt", "one\n");
    world.symlink(world.beside("target.txt"), "a.log");
    world.symlink(world.beside("target.txt"), "b.no");
    let tail = world.run().with(&["--follow-symlinks", "--include", "*.log"]).start();
    tail.wait_line("one");
    append_beside(&world, "target.txt", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// PATH itself may be a link: it was named, so it is followed.
#[test]
fn a_path_that_is_a_symlink_is_followed() {
    let world = World::new();
    fs::create_dir(world.beside("elsewhere")).expect("mkdir");
    write_beside(&world, "elsewhere/a.log", "one\n");
    symlink(world.beside("elsewhere"), world.beside("path")).expect("ln -s");
    let tail = world.run().paths(&[world.beside("path")]).start();
    tail.wait_line("one");
    append_beside(&world, "elsewhere/a.log", "two\n");
    tail.wait_line("two");
    assert!(tail.records().iter().all(|record| record.path.ends_with(b"/path/a.log")));
}
