//! The engine in a simulated world: every event, fault and pause follows from a seed, and so does
//! every failure.
//!
//! `scripts/simulate 10000` runs many seeds, `scripts/simulate --replay 7` prints one step by step,
//! `scripts/simulate --shrink 7` removes what its failure does not need (tool.rs). In: the
//! environment variables `SEEDS`, `FIRST`, `JOBS`, `WITHOUT`, `OPERATIONS`.
//!
//! [`world`] and [`queue`] are the kernel, [`kernel`] is the engine's view of it, [`workload`] and
//! [`writers`] are the other processes, [`faults`] are errors, [`receiver`] is the output (or
//! [`broker`], with [`transactions`] or a [`stream`]), [`turning`] the loop, [`model`] the oracle,
//! [`property`] its verdicts, [`mutants`] and [`caught`] prove that it detects faults,
//! [`rare_branches`] proves that the lives reach every rare branch of the engine.
//!
//! Half of the seeds have a state directory, and crash: [`durability`] says when, [`disk`] and
//! [`output_file`] survive (as [`cached_file`]s), [`committer`] stands for the commit thread,
//! [`lives`] makes the successive engines.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests look at the clock, the disk and threads"
)]

mod broker;
mod cached_file;
mod caught;
mod committer;
mod covering;
mod disk;
mod disk_tests;
mod durability;
mod farewell;
mod faults;
mod floors;
mod following;
mod kernel;
mod links;
mod lives;
mod lures;
mod model;
mod mutants;
mod output_file;
mod property;
mod queue;
mod random;
mod rare_branches;
mod receiver;
mod record;
mod seeds;
mod simulated;
mod start;
mod stream;
mod transactions;
mod turning;
mod workload;
mod world;
mod world_tests;
mod writers;

use mutants::Mutant;
use property::Property;
use rare_branches::{FIRST_SEEDS, SEEDS, SEEDS_FOR_RARE, check_rare_branches};
use seeds::{Outcome, number, outcome, outcomes};
use turning::{Report, run_once, settings};

#[test]
fn every_readable_line_comes_once_and_then_the_engine_rests() {
    let (first, count) = (number("FIRST", 0), number("SEEDS", SEEDS));
    let others: Vec<Outcome>;
    let outcomes = if (first, count) == (0, SEEDS) {
        &*FIRST_SEEDS
    } else {
        others = outcomes(first, count);
        &others
    };
    let failures: Vec<_> = outcomes
        .iter()
        .filter_map(|(seed, outcome, _)| Some((seed, outcome.as_ref().err()?)))
        .collect();
    let reports: Vec<&Report> =
        outcomes.iter().filter_map(|(_, outcome, _)| outcome.as_ref().ok()).collect();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(|report| of(report)).sum::<u64>();
    println!(
        "{} seeds pass: {} turns, {} records, {} overflows, {} faults, {} restarts, {} rotations \
        in order; \
         {} commits, {} kills, {} power cuts, {} stops, {} repeats, {} disk faults, {} output \
         rotations, {} unknown again; \
         {}",
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
        floors::told(&reports),
    );
    if let Some((seed, why)) = failures.first() {
        panic!(
            "{} of {} seeds fail, the first is {seed} ({:?}): {why}\nreplay: scripts/simulate \
            --replay {seed}",
            failures.len(),
            outcomes.len(),
            Property::of(why),
        );
    }
    if cfg!(debug_assertions)
        && first == 0
        && count >= SEEDS_FOR_RARE
        && let Err(why) = check_rare_branches(outcomes, true)
    {
        panic!("{why}");
    }
    if std::env::var("WITHOUT").is_err() && std::env::var("OPERATIONS").is_err() {
        floors::check(&reports);
    }
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
