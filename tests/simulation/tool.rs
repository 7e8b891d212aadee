//! Investigates a seed that fails: prints it step by step, or removes everything that its failure
//! does not need.
//!
//! Call: `cargo run --profile simulation --example simulate -- replay SEED`, or `shrink SEED`;
//! `scripts/simulate` does. In: `WITHOUT` and `OPERATIONS` of the environment, as for the tests.
//! Out: the steps, or settings for the next replay; status 1 if the seed fails (`replay`) or does
//! not (`shrink`), 2 if the call is wrong.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests look at the clock, the disk and threads"
)]
#![allow(dead_code, reason = "the tests use the rest")]

// As in main.rs, without the modules that only check.
mod broker;
mod cached_file;
mod committer;
mod covering;
mod disk;
mod durability;
mod farewell;
mod faults;
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
mod writers;

use std::process::ExitCode;

use mutants::Mutant;
use property::Property;
use seeds::outcome;
use simulated::{LEAVE_OUT, Settings};
use turning::{run, settings};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, seed] = arguments.as_slice() else { return usage() };
    match (what.as_str(), seed.parse()) {
        ("replay", Ok(seed)) => replay(seed),
        ("shrink", Ok(seed)) => shrink(seed),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: simulate replay|shrink SEED");
    ExitCode::from(2)
}

/// Prints a seed step by step.
fn replay(seed: u64) -> ExitCode {
    match run(seed, settings(seed), Mutant::None, true) {
        Ok(report) => {
            println!("{report:?}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("seed {seed} fails ({:?}): {why}", Property::of(&why));
            ExitCode::FAILURE
        }
    }
}

/// Removes everything that a failure does not need: it has to stay a failure of the same property.
fn shrink(seed: u64) -> ExitCode {
    let fails = |settings: &Settings| {
        outcome(seed, settings.clone(), Mutant::None).err().map(|why| Property::of(&why))
    };
    let mut smallest = settings(seed);
    let Some(property) = fails(&smallest) else {
        eprintln!("seed {seed} does not fail");
        return ExitCode::FAILURE;
    };
    let mut left_out = vec![std::env::var("WITHOUT").unwrap_or_default()];
    for what in LEAVE_OUT.into_iter().map(str::to_owned).chain(workload::operation_names()) {
        let mut smaller = smallest.clone();
        smaller.leave_out(&what);
        if fails(&smaller) == Some(property) {
            smallest = smaller;
            left_out.push(what);
        }
    }
    let operations = (0..=smallest.habits.operations).find(|&operations| {
        let mut smaller = smallest.clone();
        smaller.habits.operations = operations;
        fails(&smaller) == Some(property)
    });
    let operations = operations.expect("all of them fail");
    println!(
        "OPERATIONS={operations} WITHOUT=\"{}\" scripts/simulate --replay {seed}",
        left_out.join(" ").trim()
    );
    ExitCode::SUCCESS
}
