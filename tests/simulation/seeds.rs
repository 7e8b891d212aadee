//! Runs many seeds at a time.
//!
//! In: seeds, and `JOBS` of the environment. Out: the outcome of each, in order, and the rare
//! branches that it reached.
//! Always holds: a panic is an outcome; nothing that a run plants or records stays on its thread.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use manytail::testing::planted::plant;
use manytail::testing::rare;

use crate::mutants::Mutant;
use crate::simulated::Settings;
use crate::turning::{Report, run, settings};

/// RareBranches of the engine's sources.
pub(crate) type RareBranches = BTreeSet<&'static str>;

/// The outcome of one seed: its number, its result, the rare branches that it reached.
pub(crate) type Outcome = (u64, Result<Report, String>, RareBranches);

pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// Runs a seed. Panics, which are the engine's own assertions, are failures, too.
pub(crate) fn outcome(seed: u64, settings: Settings, mutant: Mutant) -> Result<Report, String> {
    plant(mutant.planted());
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, settings, mutant, false)));
    plant(None);
    outcome.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Runs seeds on `JOBS` processors, all by default. Returns their outcomes, in order, and prints
/// failures at once.
pub(crate) fn outcomes(first: u64, count: u64) -> Vec<Outcome> {
    let next = AtomicU64::new(first);
    let threads =
        number("JOBS", std::thread::available_parallelism().map_or(1, |all| all.get() as u64));
    assert!(threads > 0, "JOBS=0: somebody has to run the seeds");
    let mut all: Vec<Outcome> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return done;
                }
                let (outcome, marks) = rare::record(|| outcome(seed, settings(seed), Mutant::None));
                if let Err(why) = &outcome {
                    println!("seed {seed}: {why}");
                }
                done.push((seed, outcome, marks));
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("a run catches its panics"))
            .collect()
    });
    all.sort_unstable_by_key(|&(seed, ..)| seed);
    all
}
