//! Rotation by rename: older generations come before newer ones, nothing that is still in the tree
//! is lost, nothing comes twice.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use crate::harness::wait_for;
use crate::scrape::Metered;
use crate::world::{World, numbered, text, tick};

/// `N-01`
#[test]
fn after_a_rotation_only_the_new_lines_follow() {
    let world = World::new();
    let tail = world.run().with(&["--include", "*.log"]).start();
    tail.canary_file("canary.log");
    world.append("a.log", "old\n");
    tail.wait_line("old");
    world.rename("a.log", "a.log.1");
    world.write("a.log", "new\n");
    tail.expect(&[("a.log", &["old", "new"])]);
}

/// `N-02`
#[test]
fn unread_lines_of_a_rotated_file_come_before_those_of_its_successor() {
    let world = World::new();
    let tail = world.run().start().armed();
    let lines = numbered("line", 0..2_000);
    tail.stop();
    world.append("a.log", text(&lines[..1_000]));
    world.rename("a.log", "a.log.1");
    world.append("a.log", text(&lines[1_000..]));
    tail.go_on();
    tail.expect_in_order(&lines);
}

/// `N-02`: a file that was followed stays followed under a name that does not match.
#[test]
fn a_followed_file_is_drained_under_a_rotated_name_outside_the_pattern() {
    let world = World::new();
    let tail = world.run().with(&["--include", "*.log"]).start();
    tail.canary_file("canary.log");
    let lines = numbered("line", 0..3_000);
    world.append("a.log", text(&lines[..1_000]));
    tail.wait_count(1_000);
    tail.stop();
    world.append("a.log", text(&lines[1_000..2_000]));
    world.rename("a.log", "a.log.1");
    world.append("a.log", text(&lines[2_000..]));
    tail.go_on();
    tail.expect_in_order(&lines);
}

/// `N-03` and `N-04`: a rotated file is never dropped after some time.
#[test]
fn late_lines_from_a_writer_that_keeps_its_descriptor_are_delivered() {
    let world = World::new();
    let tail = world.run().with(&["--include", "*.log"]).start();
    tail.canary_file("canary.log");
    let mut old = world.writer("a.log");
    old.write_all(b"old 1\n").expect("write");
    tail.wait_line("old 1");
    world.rename("a.log", "a.log.1");
    old.write_all(b"old 2\n").expect("write");
    tail.wait_line("old 2");
    world.write("a.log", "new 1\n");
    tail.wait_line("new 1");
    old.write_all(b"old 3\n").expect("write");
    tail.wait_line("old 3");
    thread::sleep(Duration::from_millis(1_500));
    old.write_all(b"old 4\n").expect("write");
    world.append("a.log", "new 2\n");
    tail.wait_count(6);
    tail.settled();
    let of = |tag: &str| {
        tail.lines().into_iter().filter(|line| line.starts_with(tag)).collect::<Vec<_>>()
    };
    assert_eq!((of("old"), of("new")), (numbered("old", 1..5), numbered("new", 1..3)));
}

/// `N-13` on a small scale: the writer has not been notified yet, and its last lines go into the
/// renamed file while its successor already exists.
#[test]
fn late_lines_of_a_rotated_file_come_before_those_that_its_successor_gets_after_them() {
    let world = World::new();
    // A rotated file that was read a moment ago waits longer for its next read than its successor.
    let tail = world.run().with(&["--coalesce", "1s", "--adaptive", "false"]).start().armed();
    let mut old = world.writer("a.log");
    old.write_all(b"line 0\n").expect("write");
    tail.wait_count(1);
    world.rename("a.log", "a.log.1");
    world.write("a.log", "");
    thread::sleep(Duration::from_millis(1_200));
    old.write_all(b"line 1\n").expect("write");
    tail.wait_count(2);
    old.write_all(b"line 2\n").expect("write");
    world.append("a.log", "line 3\n");
    tail.expect_in_order(&numbered("line", 0..4));
}

/// `N-05`
#[test]
fn a_renamed_file_without_successor_is_still_followed() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut old = world.writer("a.log");
    old.write_all(b"one\n").expect("write");
    tail.wait_line("one");
    world.rename("a.log", "a.log.1");
    old.write_all(b"two\n").expect("write");
    tail.expect(&[("a.log", &["one"]), ("a.log.1", &["two"])]);
}

/// `N-06`
#[test]
fn a_rotated_name_that_matches_too_is_not_read_again() {
    let world = World::new();
    let tail = world.run().json().with(&["--include", "app.log*"]).start();
    tail.canary_file("app.log-canary");
    world.append("app.log", "one\n");
    tail.wait_line("one");
    world.rename("app.log", "app.log.1");
    world.append("app.log", "new\n");
    world.append("app.log.1", "two\n");
    tail.expect(&[("app.log", &["one", "new"]), ("app.log.1", &["two"])]);
    let records = tail.records();
    let file = |line: &str| {
        records
            .iter()
            .find(|record| record.text() == line)
            .map(|record| record.origin().file.clone())
    };
    assert_eq!(file("one"), file("two"), "the same generation under another name");
    assert_ne!(file("one"), file("new"));
}

/// `N-07`
#[test]
fn a_cascade_of_ten_rotations_gives_the_exact_sequence() {
    let world = World::new();
    let tail = world.run().start().armed();
    let lines = numbered("line", 0..100_000);
    for (round, chunk) in lines.chunks(10_000).enumerate() {
        let mut writer = world.writer("a.log");
        for part in chunk.chunks(100) {
            writer.write_all(text(part).as_bytes()).expect("write");
        }
        // The generation that is removed must have been read.
        if round >= 3 {
            tail.wait_count((round - 2) * 10_000);
        }
        for (from, to) in [
            ("a.log.3", "a.log.4"),
            ("a.log.2", "a.log.3"),
            ("a.log.1", "a.log.2"),
            ("a.log", "a.log.1"),
        ] {
            if world.at(from).exists() {
                world.rename(from, to);
            }
        }
    }
    tail.expect_in_order(&lines);
}

/// `N-10` at full speed: a file is renamed about when it is examined for the first time.
#[test]
fn rotations_as_fast_as_they_can_be_made_give_the_exact_sequence() {
    let world = World::new();
    let tail = world.run().start().armed();
    let lines = numbered("line", 0..3_000);
    let mut rotated = 0;
    for (round, line) in lines.iter().enumerate() {
        world.append("a.log", format!("{line}\n"));
        // Bursts with pauses between them, so that the process falls asleep and wakes up again.
        if round % 3 != 2 {
            world.rename("a.log", format!("a.log.{rotated}"));
            rotated += 1;
        }
        if round % 50 == 0 {
            tail.wait_count(round + 1);
        }
    }
    tail.expect_in_order(&lines);
}

/// `N-07`, with the whole cascade between two turns, again and again.
#[test]
fn a_cascade_during_a_stop_gives_the_exact_sequence() {
    let world = World::new();
    let tail = world.run().start().armed();
    let lines = numbered("line", 0..2_000);
    for chunk in lines.chunks(400) {
        tail.stop();
        for part in chunk.chunks(100) {
            world.append("a.log", text(part));
            // The oldest is never overwritten here.
            for number in (0..20).rev() {
                let name = |number| {
                    if number == 0 { "a.log".to_owned() } else { format!("a.log.{number}") }
                };
                if world.at(name(number)).exists() {
                    world.rename(name(number), name(number + 1));
                }
            }
        }
        tail.go_on();
        tail.settled();
    }
    tail.expect_in_order(&lines);
}

/// `N-08`
#[test]
fn a_file_replaced_by_rename_over_is_read_from_0() {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut expected = Vec::new();
    for round in 0..20 {
        let line = format!("content {round}");
        world.write("../new", format!("{line}\n"));
        world.rename("../new", "a.log");
        expected.push(line);
        tail.wait_count(expected.len());
    }
    tail.expect_in_order(&expected);
}

/// `N-08`, where the replacement is already followed under its first name.
#[test]
fn a_followed_file_renamed_over_another_goes_on_at_its_offset() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "old\n");
    world.append("b.log", "one\n");
    tail.wait_count(2);
    world.rename("b.log", "a.log");
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["old", "two"]), ("b.log", &["one"])]);
}

/// `N-10`
#[test]
fn all_generations_of_two_rotations_between_two_looks_come_in_order() {
    let world = World::new();
    let tail = world.run().start().armed();
    let lines = numbered("line", 0..4_000);
    world.append("a.log", text(&lines[..1_000]));
    tail.wait_count(1_000);
    tail.stop();
    world.append("a.log", text(&lines[1_000..2_000]));
    world.rename("a.log", "a.log.1");
    world.append("a.log", text(&lines[2_000..3_000]));
    world.rename("a.log.1", "a.log.2");
    world.rename("a.log", "a.log.1");
    world.append("a.log", text(&lines[3_000..]));
    tail.go_on();
    tail.expect_in_order(&lines);
}

/// `N-10`, where the process does not know the generations and their names give the order.
#[test]
fn dated_generations_of_rotations_between_two_looks_come_in_order() {
    let world = World::new();
    let tail = world.run().start().armed();
    let lines = numbered("line", 0..50);
    tail.stop();
    for (round, chunk) in lines.chunks(10).enumerate() {
        world.append("a.log", text(chunk));
        if round < 4 {
            world.rename("a.log", format!("a.log-2026010{round}"));
        }
    }
    tail.go_on();
    tail.expect_in_order(&lines);
}

/// `N-10`, in a directory that is found with all generations: no event gives their order, but the
/// times of the files do.
#[test]
fn generations_found_in_a_new_directory_come_in_order() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.stop();
    world.mkdir("new");
    for generation in 0..3 {
        for log in 0..8 {
            if generation > 0 {
                world.rename(
                    format!("new/{log}.log"),
                    format!("new/{}.{log}", ["old", "z"][generation - 1]),
                );
            }
            world.append(format!("new/{log}.log"), format!("log {log} {generation}\n"));
        }
        // Longer than a tick of the file system's clock.
        thread::sleep(Duration::from_millis(20));
    }
    tail.go_on();
    tail.wait_count(24);
    tail.settled();
    for log in 0..8 {
        let tag = format!("log {log}");
        let lines: Vec<String> =
            tail.lines().into_iter().filter(|line| line.starts_with(&tag)).collect();
        assert_eq!(lines, numbered(&tag, 0..3));
    }
}

/// `N-10`, where a generation and then its new directory are moved.
#[test]
fn a_generation_moved_into_a_directory_that_is_renamed_comes_before_its_successors() {
    let world = World::new();
    world.mkdir("logs");
    world.mkdir("archive/deep");
    let tail = world.run().start().armed();
    world.append("logs/a.log", "line 0\n");
    tail.wait_count(1);
    tail.stop();
    world.append("logs/a.log", "line 1\n");
    world.rename("logs/a.log", "logs/a.log.1");
    world.append("logs/a.log", "line 2\n");
    world.rename("logs/a.log", "archive/deep/old");
    world.rename("archive", "renamed");
    world.rename("renamed", "again");
    world.append("logs/a.log", "");
    world.rename("logs/a.log", "logs/a.log.2");
    world.append("logs/a.log", "line 3\n");
    tail.go_on();
    tail.expect_in_order(&numbered("line", 0..4));
}

/// `N-12`
#[test]
fn generations_overwritten_before_they_were_read_are_lost_without_repeats() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "line 0\n");
    tail.wait_count(1);
    tail.stop();
    for number in 1..100 {
        world.append("a.log", format!("line {number}\n"));
        world.rename("a.log", "a.log.1");
    }
    world.append("a.log", "last\n");
    tail.go_on();
    tail.wait_line("last");
    tail.settled();
    let got = tail.lines();
    let numbers: Vec<usize> =
        got.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{got:?}");
    assert!(numbers.contains(&99), "the last generation is still in the tree: {got:?}");
    assert!(numbers.contains(&1), "the first one was open: {got:?}");
}

/// `N-14`
#[test]
fn a_successor_that_comes_late_is_read_from_0() {
    let world = World::new();
    let tail = world.run().start().armed();
    for round in 0..3 {
        world.append("a.log", format!("line {round}\n"));
        tail.wait_count(round + 1);
        world.rename("a.log", format!("a.log.{round}"));
        thread::sleep(Duration::from_millis(700));
        tail.settled();
    }
    world.append("a.log", "line 3\n");
    tail.expect_in_order(&numbered("line", 0..4));
}

/// `N-16`: slots, watches, directories and descriptors; a file that was rotated out of the tree is
/// remembered for ten minutes.
#[test]
fn two_hundred_rotations_leave_nothing_behind() {
    let world = World::new();
    let run = Metered::start(&world, world.run()).armed();
    let rotate = |rounds: Range<usize>| {
        for round in rounds {
            world.append("a.log", format!("line {round}\n"));
            run.tail.wait_count(round + 1);
            world.rename("a.log", "a.log.1");
        }
        run.tail.settled();
        // Cooling ends, and a deletion is confirmed, a moment later.
        run.wait_value("manytail_files{state=\"cooling\"}", |files| files == 0.0);
        run.wait_value("manytail_files{state=\"leaving\"}", |files| files == 0.0);
        run.wait_value("manytail_held_files", |files| files == 0.0);
        let scrape = run.scrape();
        let (parked, others): (Vec<_>, Vec<_>) = scrape
            .iter()
            .filter(|(name, _)| name.starts_with("manytail_files{"))
            .partition(|(name, _)| name.contains("parked"));
        let sum =
            |files: Vec<(&String, &f64)>| files.into_iter().map(|(_, count)| *count).sum::<f64>();
        let sizes =
            ["manytail_directories", "manytail_watches", "manytail_held_files", "process_open_fds"];
        (sum(parked), sum(others), sizes.map(|name| (name, scrape[name])))
    };
    let before = rotate(0..50);
    let after = rotate(50..250);
    assert_eq!(
        (before.1, before.2),
        (after.1, after.2),
        "files beside those remembered, and the rest"
    );
    // Fewer if the inode of a deleted file is reused at once: then that file is forgotten.
    let remembered = after.0 - before.0;
    assert!(
        (0.0..=200.0).contains(&remembered),
        "{remembered} more are remembered after 200 were renamed over"
    );
    run.tail.expect_in_order(&numbered("line", 0..250));
}

#[test]
fn a_file_rotated_into_an_archive_directory_is_not_read_again() {
    let world = World::new();
    world.mkdir("archive");
    let tail = world.run().start().armed();
    let lines = numbered("line", 0..10);
    for (round, line) in lines.iter().enumerate() {
        let mut old = world.writer("a.log");
        writeln!(old, "{line}").expect("write");
        if round % 2 == 0 {
            tail.wait_count(round + 1);
        }
        world.rename("a.log", format!("archive/a.{round}"));
        writeln!(old, "late").expect("write");
    }
    tail.wait_count(20);
    tail.settled();
    let got: Vec<String> = tail.lines().into_iter().filter(|line| line != "late").collect();
    assert_eq!((got, tail.count()), (lines, 20));
}

#[test]
fn a_file_rotated_out_of_the_tree_and_back_within_minutes_goes_on_at_its_offset() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "one\n");
    tail.wait_line("one");
    world.rename("a.log", "../a.log");
    tail.settled();
    world.append("../a.log", "two\n");
    world.write("a.log", "successor\n");
    tail.wait_line("successor");
    world.rename("../a.log", "b.log");
    tail.expect(&[("a.log", &["one", "successor"]), ("b.log", &["two"])]);
}

#[test]
fn a_path_that_is_a_file_is_followed_over_rotations() {
    let world = World::new();
    let tail = world.run().paths(&[world.at("a.log")]).start();
    tail.wait_said("a.log");
    let lines = numbered("line", 0..20);
    for (round, line) in lines.iter().enumerate() {
        world.append("a.log", format!("{line}\n"));
        tail.wait_count(round + 1);
        if round % 2 == 0 {
            world.rename("a.log", "a.log.1");
        } else {
            world.remove("a.log");
        }
    }
    tail.expect_in_order(&lines);
    tail.wait_closed();
    assert!(fs::exists(world.at("a.log.1")).expect("stat"));
}

/// Writes 9,000 lines in generations, the older ones first, a tick apart.
fn write_generations(world: &World, generations: &[(&str, Range<usize>)]) -> Vec<String> {
    let lines = numbered(&"x".repeat(1_000), 0..9_000);
    for (name, range) in generations {
        world.append(name, text(&lines[range.clone()]));
        tick();
    }
    lines
}

/// The oldest generation takes several turns, the newer ones one each.
#[test]
fn generations_found_by_listing_come_one_after_the_other_whatever_their_size() {
    let world = World::in_memory();
    let generations = [("a.log.2", 0..4_000), ("a.log.1", 4_000..8_999), ("a.log", 8_999..9_000)];
    let lines = write_generations(&world, &generations);
    world.run().start().expect_in_order(&lines);
    let once = world.run().raw().with(&["--once"]).start();
    once.expect_in_order(&lines);
}

/// The same when the output takes it in small parts.
#[test]
fn generations_found_by_listing_come_one_after_the_other_through_a_blocked_output() {
    let world = World::in_memory();
    let lines = write_generations(&world, &[("a.log.1", 0..8_900), ("a.log", 8_900..9_000)]);
    let tail = world.run().blocked().start();
    tail.settled();
    tail.unblock();
    tail.expect_in_order(&lines);
}

#[test]
fn a_log_that_grows_does_not_wait_for_the_whole_backlog_of_another() {
    let world = World::in_memory();
    let tail = world.run().blocked().start();
    wait_for("its watch", || tail.process.watches() == 1);
    world.append("live.log", "one\n");
    tail.settled();
    // Found by listing: the directory comes whole.
    let large = numbered(&"x".repeat(1_000), 0..50_000);
    fs::create_dir(world.beside("d")).expect("mkdir");
    fs::write(world.beside("d/large.log"), text(&large)).expect("write");
    fs::rename(world.beside("d"), world.at("d")).expect("rename");
    tail.settled();
    world.append("live.log", "two\n");
    tail.settled();
    tail.unblock();
    tail.wait_count(50_002);
    let place = tail.lines().iter().position(|line| line == "two");
    assert!(place.is_some_and(|place| place < 25_000), "it came as number {place:?} of 50,002");
}
