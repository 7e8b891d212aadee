//! The engine in a simulated world, from a seed: every event, fault and pause follows from it, and so does every failure.
//!
//! `scripts/simulate 10000` runs many seeds, `scripts/simulate --replay 7` tells one step by step, `scripts/simulate --shrink 7`
//! leaves out what its failure does not need. In: `SEEDS`, `FIRST`, `SEED`, `SHRINK`, `WITHOUT`, `OPERATIONS` of the environment.
//!
//! [`world`] and [`queue`] are the kernel, [`kernel`] is how the engine sees it, [`workload`] and [`writers`] are the other processes,
//! [`faults`] is what goes wrong, [`receiver`] the output, [`turning`] the loop, [`model`] the oracle, [`mutants`] the proof that the
//! oracle sees.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests look at the clock, the disk and threads")]

mod faults;
mod kernel;
mod model;
mod mutants;
mod queue;
mod random;
mod receiver;
mod record;
mod simulated;
mod turning;
mod workload;
mod world;
mod world_tests;
mod writers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use mutants::Mutant;
use simulated::{LEAVE_OUT, Settings};
use turning::{Report, run, run_once, settings};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A run whose panics are failures, too: the engine's own assertions.
fn outcome(seed: u64, settings: Settings, mutant: Mutant) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, settings, mutant, false))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Runs seeds on all processors; gives what each came to, in order, and tells of failures at once.
fn outcomes(first: u64, count: u64) -> Vec<(u64, Result<Report, String>)> {
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return done;
                }
                let outcome = outcome(seed, settings(seed), Mutant::None);
                if let Err(why) = &outcome {
                    println!("seed {seed}: {why}");
                }
                done.push((seed, outcome));
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a run catches its panics")).collect()
    });
    all.sort_unstable_by_key(|&(seed, _)| seed);
    all
}

#[test]
fn every_readable_line_comes_once_and_then_the_engine_rests() {
    if std::env::var("SEED").is_ok() {
        return;
    }
    let outcomes = outcomes(number("FIRST", 0), number("SEEDS", 300));
    let failures: Vec<_> = outcomes.iter().filter_map(|(seed, outcome)| Some((seed, outcome.as_ref().err()?))).collect();
    if let Some((seed, why)) = failures.first() {
        panic!(
            "{} of {} seeds fail, the first is {seed}: {why}\nreplay: scripts/simulate --replay {seed}",
            failures.len(),
            outcomes.len()
        );
    }
    let reports: Vec<&Report> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).collect();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(|report| of(report)).sum::<u64>();
    println!(
        "{} seeds: {} turns, {} records, {} overflows, {} faults, {} restarts, {} rotations in order",
        reports.len(),
        sum(|report| report.turns),
        sum(|report| report.records),
        sum(|report| report.overflows),
        sum(|report| report.faults),
        sum(|report| report.restarts),
        sum(|report| report.rotations_checked),
    );
}

#[test]
fn one_seed_is_told_step_by_step() {
    if std::env::var("SEED").is_ok() {
        let seed = number("SEED", 0);
        match run(seed, settings(seed), Mutant::None, true) {
            Ok(report) => println!("{report:?}"),
            Err(why) => panic!("seed {seed}: {why}"),
        }
    }
}

/// Leaves out whatever a failure does not need.
#[test]
fn a_failing_seed_shrinks() {
    let Some(seed) = std::env::var("SHRINK").ok().and_then(|text| text.parse().ok()) else { return };
    let fails = |settings: &Settings| outcome(seed, settings.clone(), Mutant::None).err();
    let kinds =
        ["missing", "nobody wrote", "identity", "twice", "came after", "no watch", "watch stays", "piece", "busy", "open", "panic"];
    let kind = |why: &str| kinds.iter().position(|kind| why.contains(kind));
    let mut smallest = settings(seed);
    let Some(why) = fails(&smallest) else { panic!("seed {seed} does not fail") };
    let mut left_out = vec![std::env::var("WITHOUT").unwrap_or_default()];
    for what in LEAVE_OUT.into_iter().map(str::to_owned).chain(workload::operation_names()) {
        let mut smaller = smallest.clone();
        smaller.leave_out(&what);
        if fails(&smaller).is_some_and(|other| kind(&other) == kind(&why)) {
            smallest = smaller;
            left_out.push(what);
        }
    }
    let operations = (0..=smallest.habits.operations).find(|&operations| {
        let mut smaller = smallest.clone();
        smaller.habits.operations = operations;
        fails(&smaller).is_some_and(|other| kind(&other) == kind(&why))
    });
    let operations = operations.expect("all of them fail");
    println!("OPERATIONS={operations} WITHOUT=\"{}\" SEED={seed}", left_out.join(" ").trim());
}

#[test]
fn a_single_pass_reads_all_there_is_and_finishes() {
    for seed in 0..100 {
        if let Err(why) = run_once(seed) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..10 {
        let run = || outcome(seed, settings(seed), Mutant::None);
        assert_eq!(run(), run(), "seed {seed}");
    }
}

/// Seeds within which each mutant has to be caught.
const SEEDS_TO_CATCH: u64 = 100;

fn is_caught(mutant: Mutant) {
    // Only seeds that pass without the mutant say something about it.
    let passes = |seed: &u64| outcome(*seed, settings(*seed), Mutant::None).is_ok();
    let pass: Vec<u64> = (0..SEEDS_TO_CATCH).filter(passes).collect();
    let caught = |&seed: &u64| outcome(seed, settings(seed), mutant).err().map(|why| (seed, why));
    let caught: Vec<(u64, String)> = pass.iter().filter_map(caught).collect();
    println!("{mutant:?}: caught by {} of {} seeds, first: {:?}", caught.len(), pass.len(), caught.first());
    assert!(!caught.is_empty(), "{mutant:?} is not caught by any of {} seeds", pass.len());
}

#[test]
fn a_lost_wake_up_is_caught() {
    is_caught(Mutant::WakeUpLost);
    is_caught(Mutant::QueueHalfRead);
}

#[test]
fn an_ignored_overflow_is_caught() {
    is_caught(Mutant::OverflowIgnored);
}

#[test]
fn an_offset_past_an_unfinished_line_is_caught() {
    is_caught(Mutant::OffsetPastUnfinished);
}

#[test]
fn an_ignored_inode_generation_is_caught() {
    is_caught(Mutant::GenerationIgnored);
}
