//! Many writers at once, and a random interpreter of everything a tree can do against a small
//! model.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::world::{Random, World, heavy, numbered};

/// `Y-02` on a small scale: many files, several writers, random rotation, and a sequence check per
/// log.
#[test]
fn many_writers_with_random_rotation_give_the_exact_sequence_of_every_log() {
    let _guard = heavy();
    let world = World::new();
    let (logs, rounds, writers) = (400, 60, 4);
    for directory in 0..20 {
        world.mkdir(format!("d{directory}"));
    }
    let tail = world.run().start().armed();
    thread::scope(|scope| {
        for writer in 0..writers {
            let world = &world;
            scope.spawn(move || {
                let mut random = Random(writer as u64);
                for round in 0..rounds {
                    for log in (writer..logs).step_by(writers) {
                        let name = format!("d{}/{log}.log", log % 20);
                        world.append(&name, format!("log {log} line {round}\n"));
                        if random.below(40) == 0 {
                            world.rename(&name, format!("{name}.{round}"));
                        }
                    }
                }
            });
        }
    });
    tail.wait_count(logs * rounds);
    tail.settled();
    assert_eq!(tail.count(), logs * rounds);
    let mut sequences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in tail.lines() {
        let log = line.split(" line ").next().expect("a log").to_owned();
        sequences.entry(log).or_default().push(line);
    }
    for (log, lines) in sequences {
        assert_eq!(lines, numbered(&format!("{log} line"), 0..rounds));
    }
}

/// `Y-03`
#[test]
fn order_within_a_file_is_strict_while_it_is_written_in_chunks_of_any_size() {
    let world = World::new();
    let tail = world.run().start().armed();
    let lines = numbered("a line in chunks", 0..30_000);
    let bytes = crate::world::text(&lines).into_bytes();
    let mut writer = world.writer("a.log");
    let mut random = Random(11);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let len = (1 + random.below(9_000)).min(rest.len());
        writer.write_all(&rest[..len]).expect("write");
        rest = &rest[len..];
    }
    tail.expect_in_order(&lines);
}

/// Two processes follow one tree independently.
#[test]
fn two_processes_on_one_tree_each_deliver_everything() {
    let world = World::new();
    let (first, second) = (world.run().start().armed(), world.run().start().armed());
    let lines = numbered("line", 0..5_000);
    for chunk in lines.chunks(100) {
        world.append("a.log", crate::world::text(chunk));
    }
    first.expect_in_order(&lines);
    second.expect_in_order(&lines);
}

/// `R-05` and `R-03` at full speed: short-lived directories made by several threads.
#[test]
fn directories_made_by_several_threads_at_once_are_all_found() {
    let world = World::new();
    let tail = world.run().start().armed();
    thread::scope(|scope| {
        for thread in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for number in 0..100 {
                    let directory = format!("t{thread}/{}/{number}", number % 7);
                    world.mkdir(&directory);
                    world.append(format!("{directory}/a.log"), format!("{thread} {number}\n"));
                }
            });
        }
    });
    tail.wait_count(400);
    tail.settled();
    let mut got = tail.lines();
    got.sort();
    let mut expected: Vec<String> = (0..4)
        .flat_map(|thread| (0..100).map(move |number| format!("{thread} {number}")))
        .collect();
    expected.sort();
    assert_eq!(got, expected);
}

/// `Y-08`, as far as it can be seen from outside: every byte of every file is in exactly one
/// record.
#[test]
fn the_bytes_of_all_records_are_the_bytes_of_all_files() {
    let world = World::new();
    let tail = world.run().json().start().armed();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..3 {
            let (world, done) = (&world, &done);
            scope.spawn(move || {
                let mut random = Random(thread);
                for number in 0..400 {
                    let length = random.below(3_000);
                    world.append(
                        format!("{thread}.log"),
                        format!("{number} {}\n", "b".repeat(length)),
                    );
                }
                done.store(true, Ordering::Relaxed);
            });
        }
    });
    assert!(done.load(Ordering::Relaxed));
    tail.wait_count(1_200);
    tail.settled();
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for record in tail.records() {
        let end = ends.entry(tail.name(&record)).or_default();
        assert_eq!(record.origin().offset, *end);
        *end = record.end();
    }
    for (name, end) in ends {
        assert_eq!(end, fs::metadata(world.at(name)).expect("stat").len());
    }
}
