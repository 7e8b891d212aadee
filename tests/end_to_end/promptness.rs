//! Prompt and cheap: files stay open for a moment, the loop pauses as the load asks for it, and it
//! yields while that costs nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Tail, wait_for};
use crate::settings::{from_file, reload, write_settings};
use crate::world::World;

/// The number of the policy, see sched(7).
const SCHED_OTHER: u64 = 0;
const SCHED_BATCH: u64 = 3;

/// For tests whose duration must not matter: files stay open for two seconds, or for `--coalesce`
/// if that is longer.
const STAY_OPEN: [&str; 2] = ["--coalesce", "1min"];

/// The logs that the process has open.
fn open_logs(tail: &Tail) -> usize {
    tail.process.open_files().iter().filter(|path| path.contains(".log")).count()
}

#[test]
fn files_that_were_read_stay_open_and_none_does_two_seconds_later_though_nothing_happens() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.at_rest();
    let at_rest = tail.process.descriptors();
    let mut written_at = Instant::now();
    wait_for("40 of 50 logs to be open", || {
        written_at = Instant::now();
        (0..50).for_each(|number| world.append(format!("{number}.log"), "line\n"));
        tail.settled();
        open_logs(&tail) >= 40
    });
    wait_for("no log to be open", || open_logs(&tail) == 0);
    assert!(
        written_at.elapsed() >= Duration::from_millis(1_400),
        "they were closed after {:?}",
        written_at.elapsed()
    );
    assert_eq!(tail.process.descriptors(), at_rest);
}

#[test]
fn no_more_files_stay_open_than_were_asked_for_and_0_means_none() {
    for (asked_for, at_least, at_most) in
        [(0, 0, 0), (1, 1, 1), (10, 8, 10), (256, 200, 256), (1_000, 600, 1_000)]
    {
        let world = World::new();
        let tail = world
            .run()
            .with(&STAY_OPEN)
            .with(&["--keep-open", &asked_for.to_string()])
            .start()
            .armed();
        for number in 0..1_500 {
            world.append(format!("{number}.log"), "line\n");
        }
        tail.wait_count(1_500);
        tail.settled();
        world.append("0.log", "last\n");
        tail.wait_count(1_501);
        let open = open_logs(&tail);
        assert!((at_least..=at_most).contains(&open), "--keep-open {asked_for}: {open} are open");
    }
}

#[test]
fn a_line_of_a_file_that_is_open_comes_though_the_file_is_deleted_before_it_is_read() {
    let world = World::new();
    let tail = world.run().with(&STAY_OPEN).start().armed();
    for number in 0..20 {
        world.append(format!("{number}.log"), "first\n");
    }
    tail.wait_count(20);
    tail.stop();
    for number in 0..20 {
        world.append(format!("{number}.log"), "last\n");
        world.remove(format!("{number}.log"));
    }
    tail.go_on();
    tail.wait_count(40);
    tail.settled();
    assert!(!tail.stderr().contains("lost"), "{}", tail.stderr());
    let is_any_open = || {
        (0..20).any(|number| {
            tail.process.open_files().iter().any(|path| path.contains(&format!("/{number}.log")))
        })
    };
    wait_for("what was deleted to be closed", || !is_any_open());
}

#[test]
fn a_line_of_a_file_that_is_open_has_the_name_that_the_file_got_meanwhile() {
    let world = World::new();
    world.mkdir("a");
    world.mkdir("b");
    let tail = world.run().with(&STAY_OPEN).start().armed();
    world.append("a/one.log", "first\n");
    tail.wait_count(1);
    tail.stop();
    world.rename("a/one.log", "b/two.log");
    world.append("b/two.log", "second\n");
    world.append("a/one.log", "another file\n");
    tail.go_on();
    tail.wait_count(3);
    tail.expect(&[("a/one.log", &["first", "another file"]), ("b/two.log", &["second"])]);
}

#[test]
fn a_file_whose_directory_was_renamed_is_read_under_its_new_path() {
    let world = World::new();
    world.mkdir("a");
    let tail = world.run().with(&STAY_OPEN).start().armed();
    world.append("a/one.log", "first\n");
    tail.wait_count(1);
    tail.stop();
    world.rename("a", "b");
    world.append("b/one.log", "second\n");
    tail.go_on();
    tail.wait_count(2);
    tail.expect(&[("a/one.log", &["first"]), ("b/one.log", &["second"])]);
}

#[test]
fn a_file_whose_permissions_change_is_closed() {
    let world = World::new();
    let tail = world.run().with(&STAY_OPEN).start().armed();
    world.append("a.log", "first\n");
    tail.wait_count(1);
    let is_open = || tail.process.open_files().iter().any(|path| path.ends_with("/a.log"));
    assert!(is_open());
    world.chmod("a.log", 0o600);
    wait_for("the log to be closed", || !is_open());
    world.append("a.log", "second\n");
    tail.expect(&[("a.log", &["first", "second"])]);
}

#[test]
fn the_number_of_open_files_follows_the_settings_and_the_descriptor_limit() {
    let world = World::new();
    let settings = |keep: u32| {
        format!("paths = ['{}']\ncoalesce = '1min'\nkeep_open = {keep}\n", world.tree.display())
    };
    let tail = from_file(&world, &settings(10)).under(&["prlimit", "--nofile=200"]).start().armed();
    let write_all = |count: usize| {
        (0..200).for_each(|number| world.append(format!("{number}.log"), "line\n"));
        tail.wait_count(count);
    };
    write_all(200);
    assert!((1..=10).contains(&open_logs(&tail)), "{}", open_logs(&tail));
    write_settings(&world, "manytail.toml", &settings(5_000));
    reload(&tail, "keep_open 10 -> 5000");
    assert_eq!(tail.warned("no more than 100 files can stay open"), 1, "{}", tail.stderr());
    write_all(400);
    assert!((50..=100).contains(&open_logs(&tail)), "{}", open_logs(&tail));
    write_settings(&world, "manytail.toml", &settings(0));
    reload(&tail, "keep_open 5000 -> 0");
    assert_eq!(open_logs(&tail), 0, "they are closed at once");
    write_all(600);
    assert_eq!(open_logs(&tail), 0);
}

#[test]
fn files_that_are_only_kept_open_give_way_when_descriptors_are_short() {
    let world = World::new();
    let tail = world.run().with(&STAY_OPEN).start().armed();
    for number in 0..20 {
        world.append(format!("{number}.log"), "first\n");
    }
    tail.wait_count(20);
    assert!(open_logs(&tail) >= 15, "{}", open_logs(&tail));
    // No descriptor number above the highest one in use is available.
    let pid = tail.process.0.to_string();
    let limit = format!("--nofile={}", tail.process.descriptors());
    assert!(
        Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit").success()
    );
    for number in 20..25 {
        world.append(format!("{number}.log"), "first\n");
    }
    tail.wait_count(25);
    assert_eq!(tail.warned("tried again"), 0, "{}", tail.stderr());
    tail.expect_files(
        &(0..25).map(|number| (format!("{number}.log"), vec!["first".to_owned()])).collect(),
    );
}

#[test]
fn the_loop_yields_by_default_and_not_when_told_so() {
    let world = World::new();
    let paths = format!("paths = ['{}']\n", world.tree.display());
    let tail = from_file(&world, &paths).start().armed();
    let is_policy = |expected: u64| wait_for("the policy", || tail.process.policy() == expected);
    // While other tests run a trial may fail: the next one comes within sixteen seconds.
    is_policy(SCHED_BATCH);
    write_settings(&world, "manytail.toml", &(paths.clone() + "sched_batch = false\n"));
    reload(&tail, "sched_batch true -> false");
    is_policy(SCHED_OTHER);
    write_settings(&world, "manytail.toml", &paths);
    reload(&tail, "sched_batch false -> true");
    is_policy(SCHED_BATCH);
}

#[test]
fn a_quiet_system_is_served_at_once_whatever_pace_and_coalesce_are() {
    let world = World::new();
    let tail = world.run().json().with(&["--pace", "2s", "--coalesce", "2s"]).start().armed();
    let start = Instant::now();
    for number in 0..20 {
        world.append("a.log", format!("line {number}\n"));
        tail.wait_count(number + 1);
        // Most of the time there is nothing to do.
        tail.settled();
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
