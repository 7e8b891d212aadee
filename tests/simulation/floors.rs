//! Checks that seeds do something: events are counted over many seeds, and each count reaches a
//! floor.
//!
//! In: the reports of many seeds. Out: a line for people; a failure if a kind of trouble hardly
//! occurs.

use crate::turning::Report;

type Count = (&'static str, fn(&Report) -> u64, u64);

/// A name, how to count it, and the least number in 300 seeds: about a third of the real number.
const FLOORS: [Count; 20] = [
    ("records", |report| report.records, 100_000),
    ("overflows", |report| report.overflows, 60),
    ("faults", |report| report.faults, 1_000),
    ("rotations in order", |report| report.rotations_checked, 75),
    ("commits", |report| report.commits, 600),
    ("kills", |report| report.kills, 40),
    ("power cuts", |report| report.power_cuts, 40),
    ("stops", |report| report.stops, 30),
    ("repeats", |report| report.repeats, 500),
    ("disk faults", |report| report.disk_faults, 60),
    ("brokers", |report| report.brokers, 20),
    ("recoveries of brokers", |report| report.recoveries, 40),
    ("commits of twins", |report| report.twins, 5),
    ("output rotations", |report| report.output_rotations, 40),
    ("reloads", |report| report.lives.reloads, 20),
    ("files through links alone", |report| report.lives.linked, 100),
    ("begun at their end", |report| report.begun_at_end, 8),
    ("begun at their end as old", |report| report.begun_old, 1),
    ("left out", |report| report.left_out, 60),
    ("known by their age", |report| report.known_lives, 200),
];
/// The same for the rarest ones.
const FLOORS_RARE: [Count; 2] = [
    ("renamed to a name that is left out", |report| report.lives.carried, 6),
    ("so while the engine was down", |report| report.lives.renamed_down, 0),
];
/// The number of seeds to which the floors apply.
const SEEDS: u64 = 300;

fn sum(reports: &[&Report], of: fn(&Report) -> u64) -> u64 {
    reports.iter().map(|report| of(report)).sum()
}

/// Describes the lives that differ in what they follow.
pub(crate) fn told(reports: &[&Report]) -> String {
    let all = FLOORS[10..].iter().chain(&FLOORS_RARE);
    let told: Vec<String> =
        all.map(|(what, of, _)| format!("{} {what}", sum(reports, *of))).collect();
    told.join(", ")
}

/// # Panics
/// When something hardly occurs in at least 300 seeds.
pub(crate) fn check(reports: &[&Report]) {
    let hundreds = reports.len() as u64 / SEEDS;
    for (what, of, floor) in FLOORS.iter().chain(&FLOORS_RARE) {
        let found = sum(reports, *of);
        assert!(
            found >= floor * hundreds,
            "{what}: only {found} in {} seeds, of {}",
            reports.len(),
            floor * hundreds
        );
    }
}
