//! Files that leave with unread bytes: moved out of the watched trees, deleted, or gone before they
//! were first examined. A file that was read a moment ago is read to its end; unread bytes are
//! counted and reported at once, with the file's name.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::harness::wait_for;
use crate::scrape::Metered;
use crate::world::World;

/// Long enough for a test to act while a file that was just read cools down.
const COOLS: [&str; 4] = ["--coalesce", "3s", "--adaptive", "false"];

/// A log that was read a moment ago gets its last line and then loses its place through `how`. The
/// line comes nevertheless.
fn last_line_comes_though(how: impl Fn(&World, &Path), options: &[&str]) {
    let world = World::new();
    for directory in ["jobs", "jobs/sub", "left-out"] {
        world.mkdir(directory);
    }
    fs::create_dir(world.beside("outside")).expect("mkdir");
    let tail = world.run().with(&COOLS).with(options).start().armed();
    for round in 0..3 {
        let name = format!("jobs/{round}.log");
        if !world.at("jobs").is_dir() {
            world.mkdir("jobs");
            tail.canary("jobs");
        }
        let mut writer = world.writer(&name);
        writer.write_all(format!("first {round}\n").as_bytes()).expect("append");
        tail.wait_line(&format!("first {round}"));
        writer.write_all(format!("last {round}\n").as_bytes()).expect("append");
        how(&world, Path::new(&name));
        tail.wait_line(&format!("last {round}"));
    }
    tail.settled();
    assert_eq!(
        tail.warned("perhaps before it was read"),
        0,
        "nothing was lost:\n{}",
        tail.stderr()
    );
    tail.wait_closed();
}

#[test]
fn the_last_line_of_a_log_that_is_moved_out_of_the_tree_comes() {
    last_line_comes_though(
        |world, name| fs::rename(world.at(name), world.beside("outside/a.log")).expect("mv"),
        &[],
    );
}

#[test]
fn the_last_line_of_a_log_that_is_moved_into_an_excluded_directory_comes() {
    last_line_comes_though(
        |world, name| world.rename(name, "left-out/a.log"),
        &["--exclude", "left-out"],
    );
}

#[test]
fn the_last_line_of_a_log_that_is_moved_below_what_is_followed_comes() {
    let world = World::new();
    world.mkdir("sub");
    let tail = world.run().with(&COOLS).with(&["--recursive", "false"]).start().armed();
    let mut writer = world.writer("a.log");
    writer.write_all(b"first\n").expect("append");
    tail.wait_line("first");
    writer.write_all(b"last\n").expect("append");
    world.rename("a.log", "sub/a.log");
    tail.expect_in_order(&["first", "last"]);
}

#[test]
fn the_last_line_of_a_log_whose_directory_is_moved_out_of_the_tree_comes() {
    let out = |world: &World, name: &Path| {
        let to = world.beside("outside").join(name.file_name().expect("a name"));
        fs::rename(world.at("jobs"), to).expect("mv");
    };
    last_line_comes_though(out, &[]);
}

#[test]
fn the_last_line_of_a_log_whose_directory_is_moved_into_an_excluded_place_comes() {
    let out = |world: &World, name: &Path| {
        world.rename("jobs", Path::new("left-out").join(name.file_name().expect("a name")))
    };
    last_line_comes_though(out, &["--exclude", "left-out"]);
}

#[test]
fn the_last_line_of_a_log_that_is_deleted_comes() {
    last_line_comes_though(|world, name| world.remove(name), &[]);
}

#[test]
fn the_last_line_of_a_log_that_is_deleted_with_its_directory_comes() {
    last_line_comes_though(|world, _| world.remove_dir("jobs"), &[]);
}

#[test]
fn the_last_line_of_a_log_that_is_renamed_over_comes_before_its_successor() {
    let world = World::new();
    let tail = world.run().with(&COOLS).start().armed();
    let mut writer = world.writer("a.log");
    writer.write_all(b"first\n").expect("append");
    tail.wait_line("first");
    fs::write(world.beside("new"), "successor\n").expect("write");
    writer.write_all(b"last\n").expect("append");
    fs::rename(world.beside("new"), world.at("a.log")).expect("mv");
    tail.expect_in_order(&["first", "last", "successor"]);
    assert_eq!(tail.warned("perhaps before it was read"), 0, "{}", tail.stderr());
}

/// Deleting a file that was read is not a loss, however often events reported bytes that were
/// already read: only files that lost something are reported.
#[test]
fn losses_are_reported_as_often_as_they_happen() {
    let world = World::new();
    let run = Metered::start(&world, world.run()).armed();
    let (files, lines) = (150, 20);
    for number in 0..files {
        let name = format!("{number}.log");
        let mut writer = world.writer(&name);
        for _ in 0..lines {
            writer.write_all(b"line\n").expect("append");
        }
        // Some files are read before they go, some while they are written, some not at all.
        if number % 3 == 0 {
            run.tail.wait("the file to be read", || {
                run.tail.lines_by_file().get(&name).is_some_and(|read| read.len() == lines)
            });
        }
        world.remove(&name);
    }
    run.tail.settled();
    let read = run.tail.lines_by_file();
    let whole = (0..files)
        .filter(|number| read.get(&format!("{number}.log")).is_some_and(|read| read.len() == lines))
        .count();
    assert!(whole >= files / 3, "at least those were read: {whole}");
    let lost = (files - whole) as f64;
    let reported = || {
        run.value("manytail_files_deleted_unread_total")
            + run.value("manytail_files_vanished_total")
    };
    // While names are being checked again, a loss is reported a moment later: the file might appear
    // elsewhere.
    wait_for(&format!("{lost} reports, as {whole} of {files} came whole"), || reported() >= lost);
    run.tail.settled();
    assert_eq!(reported(), lost, "{whole} of {files} came whole");
}

/// At rest no file is open, even if nothing happens after the last read.
#[test]
fn a_file_that_was_read_is_closed_a_moment_later_though_nothing_happens() {
    let world = World::new();
    let tail = world.run().start().armed();
    for number in 0..50 {
        world.append(format!("{number}.log"), "line\n");
    }
    tail.wait_count(50);
    tail.wait_closed();
}

/// More files than may be open are read within their cooling time: the bound holds.
#[test]
fn no_more_than_256_files_stay_open_while_they_cool_down() {
    let world = World::new();
    let tail = world.run().with(&COOLS).start().armed();
    let at_rest = tail.process.descriptors();
    for number in 0..1_000 {
        world.append(format!("{number}.log"), "line\n");
    }
    tail.wait_count(1_000);
    let open = tail.process.open_files().iter().filter(|path| path.contains(".log")).count();
    assert!((1..=257).contains(&open), "{open} logs are open");
    wait_for("no log to be open", || tail.process.descriptors() <= at_rest);
}

/// A log that was not read recently loses its place together with its last bytes through `how`.
fn loss_is_counted_and_reported(how: impl Fn(&World), metric: &str, words: &str) {
    let world = World::new();
    for directory in ["jobs", "left-out"] {
        world.mkdir(directory);
    }
    let run = Metered::start(&world, world.run().with(&["--exclude", "left-out"])).armed();
    world.append("jobs/doomed.log", "first\n");
    run.tail.wait_line("first");
    run.tail.wait_closed();
    run.tail.settled();
    let before = run.scrape();
    run.tail.stop();
    world.append("jobs/doomed.log", "last\n");
    how(&world);
    run.tail.go_on();
    run.wait_grown(&before, &[metric]);
    wait_for("the report", || {
        run.tail.stderr().lines().any(|line| line.contains(words) && line.contains("doomed.log"))
    });
    assert_eq!(run.value(metric), before[metric] + 1.0, "counted once");
    run.tail.settled();
    assert_eq!(
        run.tail.lines().iter().filter(|line| *line == "last").count(),
        0,
        "the loss was real"
    );
}

#[test]
fn what_is_lost_with_a_log_that_moved_away_is_counted_and_reported_with_its_name() {
    let away = |world: &World| {
        fs::rename(world.at("jobs/doomed.log"), world.beside("doomed.log")).expect("mv")
    };
    loss_is_counted_and_reported(
        away,
        "manytail_files_moved_unread_total",
        "moved to where nothing is watched",
    );
}

#[test]
fn what_is_lost_with_a_log_in_an_excluded_directory_is_counted_and_reported_with_its_name() {
    let away = |world: &World| world.rename("jobs/doomed.log", "left-out/other");
    loss_is_counted_and_reported(
        away,
        "manytail_files_moved_unread_total",
        "moved to where nothing is watched",
    );
}

#[test]
fn what_is_lost_with_a_directory_that_moved_away_is_counted_and_reported_with_its_name() {
    let away = |world: &World| fs::rename(world.at("jobs"), world.beside("jobs")).expect("mv");
    loss_is_counted_and_reported(
        away,
        "manytail_files_moved_unread_total",
        "moved to where nothing is watched",
    );
}

#[test]
fn what_is_lost_with_a_deleted_log_is_counted_and_reported_with_its_name() {
    loss_is_counted_and_reported(
        |world| world.remove("jobs/doomed.log"),
        "manytail_files_deleted_unread_total",
        "deleted, perhaps",
    );
}

#[test]
fn what_is_lost_with_a_deleted_directory_is_counted_and_reported_with_its_name() {
    loss_is_counted_and_reported(
        |world| world.remove_dir("jobs"),
        "manytail_files_deleted_unread_total",
        "deleted, perhaps",
    );
}

#[test]
fn a_log_with_a_further_link_outside_is_reported_at_once_when_its_name_goes() {
    let away = |world: &World| {
        fs::hard_link(world.at("jobs/doomed.log"), world.beside("kept")).expect("ln");
        world.remove("jobs/doomed.log");
    };
    loss_is_counted_and_reported(away, "manytail_files_deleted_unread_total", "deleted, perhaps");
}

/// Reading resumes in a log that comes back within ten minutes, so nothing of it is lost in the
/// end.
#[test]
fn a_log_that_left_with_unread_bytes_and_comes_back_goes_on() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "first\n");
    tail.wait_line("first");
    tail.wait_closed();
    tail.stop();
    world.append("a.log", "second\n");
    fs::rename(world.at("a.log"), world.beside("a.log")).expect("mv");
    tail.go_on();
    tail.wait_said("moved to where nothing is watched");
    fs::rename(world.beside("a.log"), world.at("b.log")).expect("mv");
    tail.expect_in_order(&["first", "second"]);
}

/// `create, write, remove` between two turns.
#[test]
fn a_log_that_vanished_before_it_was_read_is_counted_and_reported_with_its_name() {
    let world = World::new();
    world.mkdir("jobs");
    let run = Metered::start(&world, world.run()).armed();
    let name = "manytail_files_vanished_total";
    let mut expected = run.value(name);
    type Vanish = fn(&World, &str);
    let ways: [(&str, Vanish); 3] = [
        ("written.log", |world, name| {
            world.write(name, "never seen\n");
            world.remove(name);
        }),
        ("moved-in.log", |world, name| {
            fs::write(world.beside("new"), "never seen\n").expect("write");
            fs::rename(world.beside("new"), world.at(name)).expect("mv");
            world.remove(name);
        }),
        ("jobs/with-its-directory.log", |world, name| {
            world.write(name, "never seen\n");
            world.remove_dir("jobs");
        }),
    ];
    for (log, vanish) in ways {
        run.tail.stop();
        vanish(&world, log);
        run.tail.go_on();
        expected += 1.0;
        run.wait_value(name, |vanished| vanished >= expected);
        let file = log.rsplit('/').next().expect("a name");
        wait_for("the report", || {
            run.tail
                .stderr()
                .lines()
                .any(|line| line.contains("gone before") && line.contains(file))
        });
    }
    run.tail.settled();
    assert_eq!(run.value(name), expected);
}

/// Lock files and the like: nothing was written to them.
#[test]
fn an_empty_file_that_comes_and_goes_is_no_loss() {
    let world = World::new();
    let run = Metered::start(&world, world.run()).armed();
    run.tail.stop();
    for number in 0..20 {
        world.write(format!("lock-{number}"), "");
        world.remove(format!("lock-{number}"));
    }
    world.fifo("pipe");
    world.remove("pipe");
    world.symlink("nowhere", "link");
    world.remove("link");
    run.tail.go_on();
    run.tail.canary("");
    run.tail.settled();
    assert_eq!(run.value("manytail_files_vanished_total"), 0.0, "{}", run.tail.stderr());
    assert_eq!(run.tail.warned("lost"), 0, "{}", run.tail.stderr());
}
