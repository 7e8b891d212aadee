//! Every mark in the product's sources is reached by the first seeds, or is in the one list of
//! those that cannot be.
//!
//! In: the sources, and what the seeds passed. Out: marks that no seed passes, and marks of the
//! list that one does.
//! Always holds: the sources are the list of marks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::seeds::{Marks, Outcome, outcomes};
use crate::turning::run_once;

/// So many seeds, from 0 on, reach every mark.
pub(crate) const SEEDS: u64 = 300;
/// Single passes beside them.
const PASSES: u64 = 100;

/// What they come to: computed once for all tests of this process.
pub(crate) static FIRST_SEEDS: LazyLock<Vec<Outcome>> = LazyLock::new(|| outcomes(0, SEEDS));

/// Marks that no simulated life can reach today, and why. One that is reached has to leave this
/// list.
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
    (
        "a batch was given back that had grown for a long record",
        "no simulated record takes a megabyte",
    ),
    ("our own output lay in the tree", "the simulated output is not in the simulated tree"),
    ("the state directory lay in the tree", "nor is the state directory"),
    (
        "the output was to be reopened in the middle of a record",
        "only a file is reopened, and it takes whole records",
    ),
];

/// Marks that need more seeds than a test may take: they are asked for from so many on, which
/// `scripts/simulate` runs.
const RARE: &[&str] = &[
    "a PATH lay in a directory that was let go",
    "a file that the journal knows was listed under a name that does not match",
    "a file under a name that does not match had an inode from the journal, and was another one",
    "the target of a link was known before the link",
    "the target of a link could be read before a look at the link succeeded",
    "the time for unfinished lines was changed",
    "NULs up to the end of a file were left until something follows",
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
/// So many seeds reach those as well.
pub(crate) const SEEDS_FOR_RARE: u64 = 10_000;

/// Each mark in the sources, with the file that it is in.
fn marks_in_the_sources() -> BTreeMap<String, PathBuf> {
    let mut marks = BTreeMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("src/marks.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for mark in text
                    .split("mark!(\"")
                    .skip(1)
                    .map(|rest| rest.split_once('"').expect("a mark is a literal").0)
                {
                    let before = marks.insert(mark.to_owned(), path.clone());
                    assert!(
                        before.is_none(),
                        "two branches have the mark {mark:?}: {} and {before:?}",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(marks.len() > 30, "the marks were found");
    marks
}

/// What is wrong with the lists, if those are the seeds.
pub(crate) fn check_marks(outcomes: &[Outcome], with_rare: bool) -> Result<(), String> {
    let marks = marks_in_the_sources();
    let passes: Vec<Marks> =
        (0..PASSES).map(|seed| manytail::marks::record(|| run_once(seed)).1).collect();
    let mut lives: BTreeMap<&str, u64> = BTreeMap::new();
    for mark in outcomes.iter().map(|(.., marks)| marks).chain(&passes).flatten() {
        *lives.entry(mark).or_default() += 1;
    }
    let seldom: Vec<_> =
        lives.iter().filter(|(mark, times)| **times < 4 && !RARE.contains(mark)).collect();
    println!(
        "{} of {} marks are reached; by three lives or fewer: {seldom:?}",
        lives.len(),
        marks.len()
    );
    let listed: Vec<&str> = UNREACHED.iter().map(|(mark, _)| *mark).collect();
    let is_excused = |mark: &str| listed.contains(&mark) || (!with_rare && RARE.contains(&mark));
    let gone: Vec<_> =
        listed.iter().chain(RARE).filter(|mark| !marks.contains_key(**mark)).collect();
    let came: Vec<_> = listed.iter().filter(|mark| lives.contains_key(**mark)).collect();
    let never: Vec<_> = marks
        .iter()
        .filter(|(mark, _)| !lives.contains_key(mark.as_str()) && !is_excused(mark))
        .collect();
    match () {
        () if !gone.is_empty() => {
            Err(format!("in the list of marks, and not in the sources any more: {gone:#?}"))
        }
        () if !came.is_empty() => Err(format!("listed as never reached, and reached: {came:#?}")),
        () if !never.is_empty() => Err(format!("marks that no life reaches: {never:#?}")),
        () => Ok(()),
    }
}

#[cfg(debug_assertions)]
#[test]
fn three_hundred_seeds_reach_every_mark() {
    if let Err(why) = check_marks(&FIRST_SEEDS, false) {
        panic!("{why}");
    }
}
