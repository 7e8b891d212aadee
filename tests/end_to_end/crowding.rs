//! One user does the most expensive things below a PATH: the lines of others come in between, turns
//! stay short, and memory is bounded.
//!
//! Times depend on the machine, so most tests here check the order of lines and the number of
//! turns; where there is a bound in seconds, the faults that it has to catch take more than ten
//! times as long.

use std::fs;
use std::path::Path;

use crate::harness::{Run, Tail};
use crate::scrape::Metered;
use crate::world::{World, heavy, numbered, text};

/// A user's tree of empty logs: directories with a thousand files each.
fn many_logs(top: &Path, directories: usize) {
    for directory in 0..directories {
        let directory = top.join(format!("d{directory}"));
        fs::create_dir_all(&directory).expect("mkdir -p");
        (0..1_000).for_each(|number| {
            drop(fs::File::create(directory.join(format!("j{number}.log"))).expect("touch"))
        });
    }
}

/// How many turns took longer than this bound of a bucket, in seconds.
fn turns_over(metered: &Metered, bound: &str) -> f64 {
    let scrape = metered.scrape();
    scrape["manytail_turn_seconds_count"]
        - scrape[&format!("manytail_turn_seconds_bucket{{le=\"{bound}\"}}")]
}

fn files_known(metered: &Metered) -> f64 {
    metered
        .scrape()
        .iter()
        .filter(|(name, _)| name.starts_with("manytail_files{"))
        .map(|(_, count)| count)
        .sum()
}

/// Waits for a line of another user that is written now. No turn so far may have taken a second.
#[track_caller]
fn nobody_waits(world: &World, metered: &Metered, line: &str) {
    world.append("good/job.log", format!("{line}\n"));
    metered.tail.wait_line(line);
    metered.tail.settled();
    assert_eq!(turns_over(metered, "1"), 0.0, "{line}");
}

/// How many lines came before this one.
fn lines_before(tail: &Tail, line: &str) -> usize {
    tail.wait_line(line);
    tail.lines().iter().position(|text| text == line).expect("just waited for")
}

fn started(world: &World, run: Run) -> Metered {
    ["good", "evil"].iter().for_each(|user| fs::create_dir_all(world.at(user)).expect("mkdir -p"));
    world.append("good/job.log", "first\n");
    let metered = Metered::start(world, run).armed();
    metered.tail.wait_line("first");
    metered
}

#[test]
fn a_file_renamed_to_ever_new_names_and_given_ever_more_links_costs_little_memory() {
    let _heavy = heavy();
    let world = World::in_memory();
    let metered = started(&world, world.run());
    world.append("evil/log", "x\n");
    metered.tail.wait_line("x");
    let before = metered.tail.process.rss_kib();
    let name = |number: usize| world.at(format!("evil/a-log-with-a-longer-name-{number:07}"));
    fs::rename(world.at("evil/log"), name(0)).expect("mv");
    (0..500_000).for_each(|number| fs::rename(name(number), name(number + 1)).expect("mv"));
    let link = |number: usize| world.at(format!("evil/link{number:06}"));
    (0..60_000).for_each(|number| fs::hard_link(name(500_000), link(number)).expect("ln"));
    nobody_waits(&world, &metered, "after the renames and links");
    let grown = metered.tail.process.rss_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    // Every one of the names counts.
    world.append("evil/link012345", "through a link\n");
    metered.tail.wait_line("through a link");
    (0..60_000).for_each(|number| fs::remove_file(link(number)).expect("rm"));
    nobody_waits(&world, &metered, "after the links");
}

#[test]
fn files_that_leave_the_tree_and_come_back_over_and_over_delay_nobody() {
    let _heavy = heavy();
    let world = World::in_memory();
    many_logs(&world.at("evil/logs"), 60);
    let metered = started(&world, world.run());
    let outside = world.beside("outside");
    let known = files_known(&metered);
    assert!(known > 60_000.0, "{known}");
    for round in 0..3 {
        fs::rename(world.at("evil/logs"), &outside).expect("mv");
        metered.wait_value("manytail_directories", |directories| directories < 60.0);
        nobody_waits(&world, &metered, &format!("{round}: they left"));
        fs::rename(&outside, world.at("evil/logs")).expect("mv");
        metered.wait_value("manytail_directories", |directories| directories > 60.0);
        nobody_waits(&world, &metered, &format!("{round}: they are back"));
    }
}

#[test]
fn a_large_directory_that_leaves_the_tree_is_let_go_in_slices() {
    let _heavy = heavy();
    let world = World::in_memory();
    many_logs(&world.at("evil/logs"), 60);
    let metered = started(&world, world.run());
    let before = metered.value("manytail_turn_seconds_count");
    fs::rename(world.at("evil/logs"), world.beside("outside")).expect("mv");
    metered.wait_value("manytail_directories", |directories| directories < 10.0);
    // 60,000 files, 4,096 of them per turn.
    let turns = metered.value("manytail_turn_seconds_count") - before;
    assert!(turns >= 14.0, "{turns} turns");
    nobody_waits(&world, &metered, "they left");
    // It comes back while its files are being dropped: nothing of it is forgotten.
    fs::rename(world.beside("outside"), world.at("evil/logs")).expect("mv");
    metered.wait_value("manytail_directories", |directories| directories > 60.0);
    metered.tail.settled();
    let all = metered.value("manytail_directories");
    fs::rename(world.at("evil/logs"), world.beside("outside")).expect("mv");
    metered.wait_value("manytail_directories", |directories| directories < all);
    fs::rename(world.beside("outside"), world.at("evil/again")).expect("mv");
    metered.tail.settled();
    for directory in 0..60 {
        let name = format!("evil/again/d{directory}/j{}.log", directory * 16);
        world.append(&name, format!("line of {directory}\n"));
        metered.tail.wait_line(&format!("line of {directory}"));
    }
}

#[test]
fn the_line_of_a_quiet_file_comes_before_what_busy_ones_have_unread() {
    let _heavy = heavy();
    let world = World::in_memory();
    let metered = started(&world, world.run());
    let tail = &metered.tail;
    (0..100).for_each(|number| world.append(format!("evil/busy{number}.log"), "begins\n"));
    tail.wait_count(101);
    tail.settled();
    tail.stop();
    let much = text(&numbered("busy", 0..50_000));
    (0..100).for_each(|number| world.append(format!("evil/busy{number}.log"), &much));
    world.append("good/job.log", "quiet\n");
    world.append("evil/quiet.log", "quiet beside them\n");
    tail.go_on();
    // Before the quiet file beside them, each of the hundred may deliver 16 KiB, some 1,600 lines,
    // and those with more as much again. A file of another directory waits only for the one whose
    // turn it is.
    let before = lines_before(tail, "quiet") - 101;
    assert!(before < 40_000, "{before} lines came before");
    let before = lines_before(tail, "quiet beside them");
    assert!(before < 500_000, "{before} lines came before");
    tail.wait_count(5_000_103);
}

#[test]
fn the_line_of_one_user_does_not_wait_for_very_many_files_of_another() {
    let _heavy = heavy();
    let world = World::in_memory();
    world.mkdir("evil");
    (0..20_000).for_each(|number| world.write(format!("evil/{number}.log"), ""));
    let metered = started(&world, world.run());
    let tail = &metered.tail;
    tail.settled();
    tail.stop();
    // Each file is known and has one line: the last of them is the other user's.
    (0..10_000).for_each(|number| world.append(format!("evil/{number}.log"), "one of many\n"));
    world.append("good/job.log", "the other one\n");
    tail.go_on();
    let before = lines_before(tail, "the other one");
    assert!(before < 2_000, "{before} lines came before");
    tail.wait_count(10_002);
}

#[test]
fn lines_do_not_wait_until_another_users_directories_are_listed() {
    let _heavy = heavy();
    let world = World::in_memory();
    let outside = world.beside("outside");
    many_logs(&outside, 200);
    let metered = started(&world, world.run());
    let (tail, before) = (&metered.tail, files_known(&metered));
    let found = || files_known(&metered) - before;
    fs::rename(&outside, world.at("evil/logs")).expect("mv");
    tail.wait("files to be found", || found() > 1_000.0);
    world.append("good/job.log", "meanwhile\n");
    assert!(found() < 100_000.0, "they are still being listed");
    tail.wait_line("meanwhile");
    let found_then = found();
    assert!(found_then < 150_000.0, "{found_then} files were found before");
    tail.wait("all files to be found", || found() >= 200_000.0);
}

#[test]
fn directories_renamed_into_one_another_deeper_than_any_path_are_let_go() {
    let _heavy = heavy();
    let world = World::in_memory();
    let metered = started(&world, world.run());
    let deep = |top: &str| format!("evil/{top}{}", "/a".repeat(1_000));
    let mut top = "t0".to_owned();
    for round in 1..=4 {
        fs::create_dir_all(world.at(deep(&format!("t{round}")))).expect("mkdir -p");
        fs::create_dir_all(world.at(format!("evil/{top}"))).expect("mkdir -p");
        world
            .append(format!("{}/log", deep(&format!("t{round}"))), format!("{round} is watched\n"));
        metered.tail.wait_line(&format!("{round} is watched"));
        // The existing tree is moved to the bottom of the new directories.
        fs::rename(world.at(format!("evil/{top}")), world.at(deep(&format!("t{round}"))).join("b"))
            .expect("mv");
        top = format!("t{round}");
    }
    metered.wait_value("manytail_directories", |directories| directories < 2_100.0);
    nobody_waits(&world, &metered, "deep");
}
