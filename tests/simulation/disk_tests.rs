//! Tests that the simulated disk fails like a real one, and not worse.

use crate::cached_file::CachedFile;
use crate::disk::{DiskRates, Platter};
use crate::random::Random;

fn after_power_crash(seed: u64, make: impl Fn(&mut CachedFile, &mut Random)) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut file = CachedFile::default();
    make(&mut file, &mut random);
    file.power_crash(&mut random);
    file.bytes().to_vec()
}

#[test]
fn what_a_sync_covered_survives_and_the_rest_is_torn_in_every_way() {
    let outcomes: Vec<Vec<u8>> = (0..300)
        .map(|seed| {
            after_power_crash(seed, |file, _| {
                file.append(b"safe");
                file.sync();
                file.append(&[b'x'; 2000]);
                file.append(b"end");
            })
        })
        .collect();
    assert!(outcomes.iter().all(|bytes| bytes.starts_with(b"safe")));
    assert!(outcomes.iter().any(|bytes| bytes == b"safe"), "all may be lost");
    assert!(
        outcomes.iter().any(|bytes| bytes.len() == 2007 && !bytes.contains(&0)),
        "all may be kept"
    );
    assert!(outcomes.iter().any(|bytes| (5..2004).contains(&bytes.len())), "it may be torn");
    assert!(
        outcomes.iter().any(|bytes| bytes.len() > 1000 && bytes.contains(&0)),
        "a sector may be missing in the middle"
    );
}

#[test]
fn a_failed_sync_loses_bytes_that_no_later_sync_brings_back() {
    let outcomes: Vec<Vec<u8>> = (0..100)
        .map(|seed| {
            after_power_crash(seed, |file, random| {
                file.append(b"doubtful");
                file.sync_failed(random);
                assert_eq!(file.bytes(), b"doubtful", "the page cache shows nothing of it");
                file.sync();
            })
        })
        .collect();
    assert!(outcomes.iter().any(|bytes| bytes == b"doubtful"));
    assert!(outcomes.iter().any(|bytes| bytes.contains(&0)));
}

#[test]
fn a_cut_that_is_not_synced_may_come_undone() {
    let make = |file: &mut CachedFile, _: &mut Random| {
        file.append(b"one two");
        file.sync();
        file.cut(3);
        assert!(file.is_durable(), "what is left of it is");
    };
    let outcomes: Vec<Vec<u8>> = (0..100).map(|seed| after_power_crash(seed, make)).collect();
    assert!(outcomes.iter().all(|bytes| bytes == b"one" || bytes == b"one two"));
    assert!(
        outcomes.iter().any(|bytes| bytes == b"one two")
            && outcomes.iter().any(|bytes| bytes == b"one")
    );
}

#[test]
fn names_are_durable_once_the_directory_is() {
    let mut without = 0;
    for seed in 0..100 {
        let mut platter = Platter::new(Random::new(seed), DiskRates::default());
        platter.enter("kept");
        platter.sync_names();
        platter.enter("new");
        platter.power_crash();
        let names = platter.names();
        assert!(names.contains(&"kept".to_owned()));
        without += usize::from(names.len() == 1);
    }
    assert!((1..100).contains(&without), "a name that is not synced may be lost, or not");
}
