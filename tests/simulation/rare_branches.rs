//! Every rare branch in the product's sources is reached by the first seeds, or is in the list of
//! those that cannot be reached.
//!
//! In: the sources, and the branches that the seeds reached. Out: branches that no seed reaches,
//! and reached branches of the list.
//! Always holds: the sources are the list of branches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::seeds::{Outcome, RareBranches, outcomes};
use crate::turning::run_once;

/// This many seeds, from 0 on, reach every branch.
pub(crate) const SEEDS: u64 = 300;
/// Single passes beside them.
const PASSES: u64 = 100;

/// The outcomes of these seeds, computed once for all tests of this process.
pub(crate) static FIRST_SEEDS: LazyLock<Vec<Outcome>> = LazyLock::new(|| outcomes(0, SEEDS));

/// Rare branches that no simulated life can reach today, with the reason. A branch that is reached
/// has to be removed from this list.
const UNREACHED: &[(&str, &str)] = &[
    (
        "a file was recognised by its path though its inode number had changed",
        "no inode number changes while nobody runs",
    ),
    (
        "directories were renamed into one another until no path was long enough",
        "no simulated tree is 2,048 levels deep",
    ),
    (
        "very many files waited for one another in a row",
        "no simulated life has a thousand generations",
    ),
    ("our own output lay in the tree", "the simulated output is not in the simulated tree"),
    ("the state directory lay in the tree", "nor is the state directory"),
    (
        "the output was to be reopened in the middle of a record",
        "only a file is reopened, and it takes whole records",
    ),
];

/// Rare branches that need more seeds than a test can run: they are required from
/// [`SEEDS_FOR_RARE`] on, which `scripts/simulate` runs.
const RARE: &[&str] = &[
    "a batch was given back that had grown for a long record",
    "a commit in doubt was found to be made within a run",
    "a commit that could not be stored was found to be made",
    "a PATH lay in a directory that was let go",
    "a file that the journal knows was listed under a name that does not match",
    "a file under a name that does not match had the inode of another one in the journal",
    "the target of a link was known before the link",
    "the target of a link could be read before a look at the link succeeded",
    "the time for unfinished lines was changed",
    "NULs up to the end of a file were left until something follows",
    "no look got through a link to its target",
    "a PATH in another one's tree led elsewhere",
    "a directory that could not be read came to another place",
    "a directory that could not be read was reached by a second path",
    "a directory that was renamed away had its old name again",
    "a directory was renamed or lost with a PATH in it",
    "a file of a directory that was let go went on under another name",
    "a directory watched for single files lost its last one to another one",
    "a file that lost its name still had it",
    "a file that waited for a name asked again whom to wait for",
    "a directory was made under a name that only the one before was followed by",
    "a file whose predecessor could not be looked for waited",
    "a file was covered, and perhaps exchanged, by one that came from nowhere",
    "a file went away while it waited for another one",
    "a new journal was given up because the output is in doubt",
    "another directory had a name that only the one before was followed by",
    "a watch of a deleted directory was given back because its end may have been missed",
    "a watch turned out to be of a directory that was known by another path",
    "nothing but a hole was left up to the end of a file",
    "one more PATH covered a directory",
    "only a directory itself told that its permissions changed",
    "the PATH of a file stood for a directory",
    "the file of a lost PATH was followed below another one",
    "the last of a file without a name could not be read for now",
    "the name of a known file stood for something that is never opened",
    "the output could not be made durable",
    "the output gave back what was not acknowledged",
    "what kind an entry is could not be told for now",
    "two files had a name, one by the events and one by a look",
];
/// This many seeds should reach those, too: 10,000 miss five of them.
pub(crate) const SEEDS_FOR_RARE: u64 = 30_000;

/// Each branch in the sources, with the file that it is in.
fn branches_in_the_sources() -> BTreeMap<String, PathBuf> {
    let mut branches = BTreeMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("src/rare.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for rest in text.split("rare!(").skip(1) {
                    let Some(rest) = rest.trim_start().strip_prefix('"') else { continue };
                    let branch = rest.split_once('"').expect("a branch has a literal").0;
                    assert!(!branch.contains('\\'), "{branch:?} is on one line");
                    let before = branches.insert(branch.to_owned(), path.clone());
                    assert!(
                        before.is_none(),
                        "two branches have the sentence {branch:?}: {} and {before:?}",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(branches.len() > 30, "the branches were found");
    branches
}

/// Checks the lists against these outcomes.
pub(crate) fn check_rare_branches(outcomes: &[Outcome], with_rare: bool) -> Result<(), String> {
    let branches = branches_in_the_sources();
    let passes: Vec<RareBranches> =
        (0..PASSES).map(|seed| manytail::testing::rare::record(|| run_once(seed)).1).collect();
    let mut lives: BTreeMap<&str, u64> = BTreeMap::new();
    for branch in outcomes.iter().map(|(.., branches)| branches).chain(&passes).flatten() {
        *lives.entry(branch).or_default() += 1;
    }
    let seldom: Vec<_> =
        lives.iter().filter(|(branch, times)| **times < 4 && !RARE.contains(branch)).collect();
    println!(
        "{} of {} branches are reached; by three lives or fewer: {seldom:?}",
        lives.len(),
        branches.len()
    );
    let listed: Vec<&str> = UNREACHED.iter().map(|(branch, _)| *branch).collect();
    let is_excused =
        |branch: &str| listed.contains(&branch) || (!with_rare && RARE.contains(&branch));
    let gone: Vec<_> =
        listed.iter().chain(RARE).filter(|branch| !branches.contains_key(**branch)).collect();
    let came: Vec<_> = listed.iter().filter(|branch| lives.contains_key(**branch)).collect();
    let never: Vec<_> = branches
        .iter()
        .filter(|(branch, _)| !lives.contains_key(branch.as_str()) && !is_excused(branch))
        .collect();
    match () {
        () if !gone.is_empty() => {
            Err(format!("in the list of branches, and not in the sources any more: {gone:#?}"))
        }
        () if !came.is_empty() => Err(format!("listed as never reached, and reached: {came:#?}")),
        () if !never.is_empty() => Err(format!("branches that no life reaches: {never:#?}")),
        () => Ok(()),
    }
}

#[cfg(debug_assertions)]
#[test]
fn three_hundred_seeds_reach_every_mark() {
    if let Err(why) = check_rare_branches(&FIRST_SEEDS, false) {
        panic!("{why}");
    }
}
