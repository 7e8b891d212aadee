//! Directories are made, filled at once, renamed, moved in and out, removed and recreated, PATH
//! itself included.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{Tail, wait_for};
use crate::world::{World, numbered, text};

/// `R-01`
#[test]
fn files_at_every_depth_are_delivered() {
    let world = World::new();
    let names = ["a.log", "1/a.log", "1/2/a.log", "1/2/3/a.log", "1/2/3/4/a.log"];
    world.mkdir("1/2/3/4");
    for name in names {
        world.write(name, "old\n");
    }
    let tail = world.run().start().armed();
    for name in names {
        world.append(name, "new\n");
    }
    let lines = vec!["old".to_owned(), "new".to_owned()];
    tail.expect_files(&names.map(|name| (name.to_owned(), lines.clone())).into());
}

/// `R-02`
#[test]
fn without_recursion_a_sub_directory_contributes_nothing() {
    let world = World::new();
    world.mkdir("sub");
    world.write("sub/a.log", "no\n");
    world.write("b.log", "yes\n");
    let tail = world.run().with(&["--recursive", "false"]).start().armed();
    world.append("sub/a.log", "no\n");
    world.mkdir("sub2");
    world.write("sub2/a.log", "no\n");
    world.append("b.log", "yes too\n");
    tail.expect(&[("b.log", &["yes", "yes too"])]);
    assert_eq!(tail.process.watches(), 1);
}

/// `R-03`
#[test]
fn files_written_at_once_into_new_directories_are_all_delivered() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut expected = BTreeMap::new();
    for number in 0..10 {
        let name = format!("s{number}/a.log");
        world.mkdir(format!("s{number}"));
        world.write(&name, "one\n");
        world.append(&name, "two\n");
        expected.insert(name, vec!["one".to_owned(), "two".to_owned()]);
    }
    tail.expect_files(&expected);
    for name in expected.keys() {
        world.append(name, "three\n");
    }
    expected.values_mut().for_each(|lines| lines.push("three".to_owned()));
    tail.expect_files(&expected);
}

#[test]
fn ten_levels_made_and_filled_at_once_are_all_delivered() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut expected = BTreeMap::new();
    for round in 0..20 {
        let mut directory = format!("r{round}");
        let deepest = format!("{directory}{}", "/x".repeat(9));
        world.mkdir(&deepest);
        for _ in 0..10 {
            let name = format!("{directory}/f");
            world.write(&name, format!("{name}\n"));
            expected.insert(name.clone(), vec![name]);
            directory.push_str("/x");
        }
    }
    tail.expect_files(&expected);
    assert_eq!(tail.process.watches(), 1 + 20 * 10);
    // All of them are watched by now.
    for (name, lines) in &mut expected {
        world.append(name, "more\n");
        lines.push("more".to_owned());
    }
    tail.expect_files(&expected);
}

/// `R-05`
#[test]
fn directories_removed_and_made_again_at_once_lose_and_repeat_nothing() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut expected = Vec::new();
    for round in 0..5 {
        for number in 0..10 {
            world.mkdir(format!("d{number}"));
            let line = format!("round {round} directory {number}");
            world.write(format!("d{number}/a.log"), format!("{line}\n"));
            expected.push(line);
        }
        tail.wait_count(expected.len());
        (0..10).for_each(|number| world.remove_dir(format!("d{number}")));
    }
    tail.settled();
    let mut got = tail.lines();
    got.sort();
    assert_eq!(got, expected);
    wait_for("the watches of removed directories to go", || tail.process.watches() == 1);
}

/// `R-08`
#[test]
fn a_directory_moved_out_is_let_go_with_all_that_was_written_before() {
    let world = World::new();
    world.mkdir("s/deep");
    let tail = world.run().start().armed();
    let mut writer = world.writer("s/deep/a.log");
    std::io::Write::write_all(&mut writer, b"before\n").expect("write");
    tail.wait_line("before");
    assert_eq!(tail.process.watches(), 3);
    fs::rename(world.at("s"), world.beside("s")).expect("rename");
    wait_for("its watches to go", || tail.process.watches() == 1);
    std::io::Write::write_all(&mut writer, b"after\n").expect("write");
    fs::write(world.beside("s/deep/new.log"), "new\n").expect("write");
    world.mkdir("s");
    world.write("s/other.log", "other\n");
    tail.expect(&[("s/deep/a.log", &["before"]), ("s/other.log", &["other"])]);
}

#[test]
fn a_directory_that_leaves_and_comes_back_goes_on_at_its_offsets() {
    let world = World::new();
    world.mkdir("s/deep");
    let tail = world.run().start().armed();
    world.append("s/deep/a.log", "one\n");
    world.append("s/b.log", "b one\n");
    tail.wait_count(2);
    fs::rename(world.at("s"), world.beside("s")).expect("rename");
    wait_for("its watches to go", || tail.process.watches() == 1);
    fs::OpenOptions::new()
        .append(true)
        .open(world.beside("s/deep/a.log"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"two\n"))
        .expect("append outside");
    fs::rename(world.beside("s"), world.at("t")).expect("rename");
    tail.wait_line("two");
    world.append("t/b.log", "b two\n");
    tail.expect(&[
        ("s/deep/a.log", &["one"]),
        ("t/deep/a.log", &["two"]),
        ("s/b.log", &["b one"]),
        ("t/b.log", &["b two"]),
    ]);
}

#[test]
fn a_directory_moved_in_is_read_with_all_below_it() {
    let world = World::new();
    let tail = world.run().start().armed();
    fs::create_dir_all(world.beside("in/a/b")).expect("mkdir");
    fs::write(world.beside("in/a/b/c.log"), "deep\n").expect("write");
    fs::write(world.beside("in/d.log"), "flat\n").expect("write");
    fs::rename(world.beside("in"), world.at("in")).expect("rename");
    tail.expect(&[("in/a/b/c.log", &["deep"]), ("in/d.log", &["flat"])]);
    world.append("in/a/b/c.log", "more\n");
    tail.expect(&[("in/a/b/c.log", &["deep", "more"]), ("in/d.log", &["flat"])]);
    fs::remove_dir_all(world.at("in")).expect("rm -r");
}

#[test]
fn files_below_a_renamed_directory_go_on_under_the_new_path() {
    let world = World::new();
    world.mkdir("old/deep/er");
    let tail = world.run().start().armed();
    world.append("old/deep/er/a.log", "one\n");
    world.append("old/b.log", "b one\n");
    tail.wait_count(2);
    world.rename("old", "new");
    world.append("new/deep/er/a.log", "two\n");
    world.rename("new/deep", "new/deeper");
    world.append("new/deeper/er/a.log", "three\n");
    tail.wait_line("three");
    world.append("new/b.log", "b two\n");
    tail.wait_count(5);
    tail.settled();
    let got = tail.lines_by_file();
    assert_eq!(got["old/deep/er/a.log"], ["one"]);
    assert_eq!(got["new/b.log"], ["b two"]);
    let all: Vec<String> = tail.lines().into_iter().filter(|line| !line.starts_with('b')).collect();
    assert_eq!(all, ["one", "two", "three"]);
    assert!(got["new/deeper/er/a.log"].ends_with(&["three".to_owned()]), "{got:?}");
    assert_eq!(tail.process.watches(), 4);
}

#[test]
fn directories_that_swap_their_names_keep_their_files_apart() {
    let world = World::new();
    world.mkdir("one");
    world.mkdir("two");
    let tail = world.run().start().armed();
    world.append("one/a.log", "first 0\n");
    world.append("two/a.log", "second 0\n");
    tail.wait_count(2);
    for round in 1..10 {
        tail.stop();
        world.rename("one", "three");
        world.rename("two", "one");
        world.rename("three", "two");
        let (first, second) = if round % 2 == 1 { ("two", "one") } else { ("one", "two") };
        world.append(format!("{first}/a.log"), format!("first {round}\n"));
        world.append(format!("{second}/a.log"), format!("second {round}\n"));
        tail.go_on();
        tail.wait_count(2 + 2 * round);
    }
    tail.settled();
    let of = |tag: &str| {
        tail.lines().into_iter().filter(|line| line.starts_with(tag)).collect::<Vec<_>>()
    };
    assert_eq!(of("first"), numbered("first", 0..10));
    assert_eq!(of("second"), numbered("second", 0..10));
}

/// `R-10`
#[test]
fn path_itself_removed_and_made_again_is_picked_up() {
    let world = World::new();
    world.mkdir("top/sub");
    world.write("top/a.log", "one\n");
    let tail = world.run().paths(&[world.at("top")]).start();
    tail.wait_line("one");
    world.remove_dir("top");
    tail.settled();
    world.mkdir("top/sub");
    world.write("top/a.log", "two\n");
    world.write("top/sub/b.log", "three\n");
    tail.expect(&[("top/a.log", &["one", "two"]), ("top/sub/b.log", &["three"])]);
    world.append("top/sub/b.log", "four\n");
    tail.expect(&[("top/a.log", &["one", "two"]), ("top/sub/b.log", &["three", "four"])]);
}

#[test]
fn path_itself_renamed_away_and_back_is_not_read_again() {
    let world = World::new();
    world.mkdir("top");
    world.write("top/a.log", "one\n");
    let tail = world.run().paths(&[world.at("top")]).start();
    tail.wait_line("one");
    world.rename("top", "away");
    tail.settled();
    world.append("away/a.log", "two\n");
    world.rename("away", "top");
    tail.wait_line("two");
    world.append("top/a.log", "three\n");
    tail.expect(&[("top/a.log", &["one", "two", "three"])]);
}

#[test]
fn path_replaced_by_another_directory_is_followed() {
    let world = World::new();
    world.mkdir("top");
    world.write("top/a.log", "old\n");
    let tail = world.run().paths(&[world.at("top")]).start();
    tail.wait_line("old");
    world.mkdir("other");
    world.write("other/a.log", "new\n");
    world.rename("top", "away");
    world.rename("other", "top");
    tail.wait_line("new");
    world.append("top/a.log", "newer\n");
    tail.expect(&[("top/a.log", &["old", "new", "newer"])]);
}

#[test]
fn a_path_whose_parents_are_missing_is_picked_up_when_they_appear() {
    let world = World::new();
    let tail = world.run().paths(&[world.at("a/b/c")]).start();
    tail.wait_said("a/b/c");
    world.mkdir("a");
    tail.settled();
    world.mkdir("a/b/c/d");
    world.write("a/b/c/d/x.log", "one\n");
    tail.expect(&[("a/b/c/d/x.log", &["one"])]);
    world.append("a/b/c/d/x.log", "two\n");
    tail.expect(&[("a/b/c/d/x.log", &["one", "two"])]);
    assert_eq!(tail.warned("a/b/c"), 1, "one warning");
}

/// `R-12`
#[test]
fn directories_that_vanish_during_the_first_scan_do_not_stop_it() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for number in 0..300 {
        let name = format!("keep{number}/a.log");
        world.mkdir(format!("keep{number}"));
        world.write(&name, "x\n");
        expected.insert(name, vec!["x".to_owned()]);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for number in 0..100 {
                    world.mkdir(format!("gone{number}/deep"));
                }
                for number in 0..100 {
                    world.remove_dir(format!("gone{number}"));
                }
            }
        });
        for _ in 0..5 {
            let tail = world.run().start();
            let all = expect_at_least(&tail, expected.len());
            if !all {
                done.store(true, Ordering::Relaxed);
            }
            assert!(all, "{} of {} files were read", tail.count(), expected.len());
            assert_eq!(tail.count(), expected.len());
        }
        done.store(true, Ordering::Relaxed);
    });
    world.run().start().expect_files(&expected);
}

/// Like `wait_count`, but without a panic, which would leave the scope's writer running.
fn expect_at_least(tail: &Tail, count: usize) -> bool {
    (0..4_000).any(|_| {
        thread::sleep(std::time::Duration::from_millis(5));
        tail.count() >= count
    })
}

/// `R-14`
#[test]
fn an_excluded_directory_and_its_swap_for_a_file_give_nothing() {
    let world = World::new();
    world.mkdir("cache");
    world.write("cache/a.log", "no\n");
    let tail = world.run().with(&["--exclude", "cache"]).start().armed();
    world.append("cache/b.log", "no\n");
    world.remove_dir("cache");
    world.write("cache", "no\n");
    world.remove("cache");
    world.mkdir("cache");
    world.append("cache/c.log", "no\n");
    world.write("yes.log", "yes\n");
    tail.expect(&[("yes.log", &["yes"])]);
}

/// `R-14`, with a directory that is not excluded.
#[test]
fn a_directory_swapped_for_a_file_and_back_is_followed_in_both_shapes() {
    let world = World::new();
    world.mkdir("s");
    world.write("s/a.log", "1\n");
    let tail = world.run().start().armed();
    tail.wait_line("1");
    world.remove_dir("s");
    world.write("s", "2\n");
    tail.wait_line("2");
    world.remove("s");
    world.mkdir("s");
    world.write("s/a.log", "3\n");
    tail.expect(&[("s/a.log", &["1", "3"]), ("s", &["2"])]);
}

#[test]
fn a_directory_renamed_while_its_files_are_unread_loses_nothing() {
    let world = World::new();
    world.mkdir("s");
    let tail = world.run().start().armed();
    tail.canary("s");
    tail.stop();
    let lines = numbered("line", 0..1_000);
    world.append("s/a.log", text(&lines[..500]));
    world.rename("s", "t");
    world.append("t/a.log", text(&lines[500..]));
    world.rename("t", "u");
    tail.go_on();
    tail.expect_in_order(&lines);
    let names: Vec<String> = tail.lines_by_file().into_keys().collect();
    assert_eq!(names, ["u/a.log"]);
}

#[test]
fn a_directory_made_and_renamed_before_it_is_looked_at_is_followed_once() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.stop();
    for number in 0..50 {
        world.mkdir(format!("new{number}/sub"));
        world.write(format!("new{number}/sub/a.log"), format!("line {number}\n"));
        world.rename(format!("new{number}"), format!("named{number}"));
    }
    tail.go_on();
    tail.wait_count(50);
    tail.settled();
    let mut got = tail.lines_by_file();
    for number in 0..50 {
        assert_eq!(
            got.remove(&format!("named{number}/sub/a.log")),
            Some(vec![format!("line {number}")])
        );
    }
    assert!(got.is_empty(), "{got:?}");
    assert_eq!(tail.process.watches(), 101);
}
