//! The engine in a simulated world, from a seed: every event, fault and pause follows from it, and so does every failure.
//!
//! `scripts/simulate 10000` runs many seeds, `scripts/simulate --replay 7` tells one step by step, `scripts/simulate --shrink 7`
//! leaves out what its failure does not need. In: `SEEDS`, `FIRST`, `JOBS`, `SEED`, `SHRINK`, `WITHOUT`, `OPERATIONS` of the environment.
//!
//! [`world`] and [`queue`] are the kernel, [`kernel`] is how the engine sees it, [`workload`] and [`writers`] are the other processes,
//! [`faults`] is what goes wrong, [`receiver`] the output, [`turning`] the loop, [`model`] the oracle, [`mutants`] the proof that the
//! oracle sees.
//!
//! Half of the seeds have a state directory, and crash: [`durability`] says when, [`disk`] and [`output_file`] are what survives (as
//! [`cached_file`]s), [`committer`] stands for the thread that stores offsets, [`lives`] makes one engine after the other.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests look at the clock, the disk and threads")]

mod cached_file;
mod committer;
mod disk;
mod disk_tests;
mod durability;
mod faults;
mod kernel;
mod lives;
mod model;
mod mutants;
mod output_file;
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

/// Runs seeds on `JOBS` processors, all by default; gives what each came to, in order, and tells of failures at once.
fn outcomes(first: u64, count: u64) -> Vec<(u64, Result<Report, String>)> {
    let next = AtomicU64::new(first);
    let threads = number("JOBS", std::thread::available_parallelism().map_or(1, |all| all.get() as u64));
    assert!(threads > 0, "JOBS=0: somebody has to run the seeds");
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
    let reports: Vec<&Report> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).collect();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(|report| of(report)).sum::<u64>();
    println!(
        "{} seeds pass: {} turns, {} records, {} overflows, {} faults, {} restarts, {} rotations in order; \
         {} commits, {} kills, {} power cuts, {} stops, {} repeats, {} disk faults, {} output rotations, {} unknown again",
        reports.len(),
        sum(|report| report.turns),
        sum(|report| report.records),
        sum(|report| report.overflows),
        sum(|report| report.faults),
        sum(|report| report.restarts),
        sum(|report| report.rotations_checked),
        sum(|report| report.commits),
        sum(|report| report.kills),
        sum(|report| report.power_cuts),
        sum(|report| report.stops),
        sum(|report| report.repeats),
        sum(|report| report.disk_faults),
        sum(|report| report.output_rotations),
        sum(|report| report.renamed_unknown),
    );
    if let Some((seed, why)) = failures.first() {
        panic!(
            "{} of {} seeds fail, the first is {seed}: {why}\nreplay: scripts/simulate --replay {seed}",
            failures.len(),
            outcomes.len()
        );
    }
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
    let kinds = [
        "missing",
        "nobody wrote",
        "identity",
        "twice",
        "came after",
        "no watch",
        "watch stays",
        "piece",
        "busy",
        "open",
        "panic",
        "not committed",
        "are committed",
        "torn",
        "were cut",
        "entries",
        "reopened",
        "left behind",
        "start again",
        "began again",
        "never called",
        "two different",
        "names and",
    ];
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

/// Most mutants are caught within so many seeds ...
const SEEDS_TO_CATCH: u64 = 100;
/// ... those that need two rare things to meet, a crash and what it hits, within so many.
const SEEDS_TO_CATCH_RARE: u64 = 1000;

/// Looks for the first seed that passes without the mutant and fails with it.
fn is_caught(mutant: Mutant, seeds: u64) {
    let caught = |seed: u64| {
        let why = outcome(seed, settings(seed), mutant).err()?;
        outcome(seed, settings(seed), Mutant::None).is_ok().then_some((seed, why))
    };
    let Some((seed, why)) = (0..seeds).find_map(caught) else { panic!("{mutant:?} is not caught by any of {seeds} seeds") };
    println!("{mutant:?}: caught by seed {seed}: {why}");
}

#[test]
fn a_lost_wake_up_is_caught() {
    is_caught(Mutant::WakeUpLost, SEEDS_TO_CATCH);
    is_caught(Mutant::QueueHalfRead, SEEDS_TO_CATCH);
    is_caught(Mutant::JobForgotten, SEEDS_TO_CATCH);
}

#[test]
fn an_ignored_overflow_is_caught() {
    is_caught(Mutant::OverflowIgnored, SEEDS_TO_CATCH);
}

#[test]
fn a_remote_file_system_that_is_taken_for_a_local_one_is_caught() {
    is_caught(Mutant::RemoteTakenForLocal, SEEDS_TO_CATCH);
}

#[test]
fn an_offset_past_an_unfinished_line_is_caught() {
    is_caught(Mutant::OffsetPastUnfinished, SEEDS_TO_CATCH);
}

#[test]
fn an_ignored_inode_generation_is_caught() {
    is_caught(Mutant::GenerationIgnored, SEEDS_TO_CATCH);
    is_caught(Mutant::InodeStateKept, SEEDS_TO_CATCH_RARE);
}

#[test]
fn an_offset_stored_before_its_acknowledgement_is_caught() {
    is_caught(Mutant::SavedBeforeAcknowledged, SEEDS_TO_CATCH);
}

#[test]
fn a_missing_sync_is_caught() {
    is_caught(Mutant::DirectoryNotSynced, SEEDS_TO_CATCH);
    is_caught(Mutant::JournalNotSynced, SEEDS_TO_CATCH);
    is_caught(Mutant::OutputNotSynced, SEEDS_TO_CATCH);
}

#[test]
fn a_resumed_file_that_is_not_verified_is_caught() {
    is_caught(Mutant::MarkForgotten, SEEDS_TO_CATCH_RARE);
    is_caught(Mutant::SizeTrusted, SEEDS_TO_CATCH_RARE);
}

#[test]
fn a_record_sent_again_from_its_middle_is_caught() {
    is_caught(Mutant::ResentFromMiddle, SEEDS_TO_CATCH);
}

#[test]
fn an_output_that_is_not_reconciled_is_caught() {
    is_caught(Mutant::OutputPointIgnored, SEEDS_TO_CATCH);
}
