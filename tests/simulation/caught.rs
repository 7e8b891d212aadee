//! The property that each mutant breaks: only a failure of that property catches it.
//!
//! In: a [`Mutant`]. Out: the first seed that passes without it and fails with it, by a property
//! from its list.
//! Always holds: a panic, or a failure of any other property, does not count.

use std::ops::Range;

use crate::mutants::Mutant;
use crate::property::Property;
use crate::seeds::outcome;
use crate::turning::settings;

/// Most mutants are caught within these seeds ...
const SEEDS_TO_CATCH: Range<u64> = 0..100;
/// ... and those that need two rare events at once, such as a crash at the right moment, within
/// these. A mutant that only one life in thousands shows has a range with such a life.
const SEEDS_TO_CATCH_RARE: Range<u64> = 0..1000;

/// Each mutant, the seeds within which it is caught, and the properties that may catch it.
const MUTANTS: &[(Mutant, Range<u64>, &[Property])] = &[
    (Mutant::WakeUpLost, SEEDS_TO_CATCH, &[Property::Complete]),
    (Mutant::QueueHalfRead, SEEDS_TO_CATCH, &[Property::Complete, Property::Rests]),
    (Mutant::JobForgotten, SEEDS_TO_CATCH_RARE, &[Property::Complete, Property::Committed]),
    (Mutant::OverflowIgnored, SEEDS_TO_CATCH, &[Property::Complete]),
    (Mutant::RemoteTakenForLocal, SEEDS_TO_CATCH, &[Property::Complete]),
    (Mutant::OffsetPastUnfinished, SEEDS_TO_CATCH, &[Property::Truthful]),
    (Mutant::GenerationIgnored, SEEDS_TO_CATCH_RARE, &[Property::Complete, Property::Truthful]),
    (
        Mutant::InodeStateKept,
        SEEDS_TO_CATCH_RARE,
        &[Property::Complete, Property::Truthful, Property::Identified],
    ),
    (Mutant::SavedBeforeAcknowledged, SEEDS_TO_CATCH, &[Property::Complete, Property::SentAgain]),
    (Mutant::DirectoryNotSynced, SEEDS_TO_CATCH, &[Property::Once, Property::Truthful]),
    (Mutant::JournalNotSynced, SEEDS_TO_CATCH, &[Property::Once, Property::Lives]),
    (Mutant::OutputNotSynced, SEEDS_TO_CATCH, &[Property::Committed]),
    (Mutant::MarkForgotten, SEEDS_TO_CATCH_RARE, &[Property::Complete, Property::Truthful]),
    (Mutant::SizeTrusted, SEEDS_TO_CATCH_RARE, &[Property::Complete, Property::Truthful]),
    (Mutant::ResentFromMiddle, SEEDS_TO_CATCH, &[Property::Truthful]),
    (Mutant::OutputPointIgnored, SEEDS_TO_CATCH, &[Property::Once, Property::Truthful]),
    (Mutant::DoubtTrusted, SEEDS_TO_CATCH_RARE, &[Property::Complete, Property::Truthful]),
    (Mutant::DoubtDropped, SEEDS_TO_CATCH_RARE, &[Property::Once, Property::Truthful]),
    (Mutant::CommittedBeforeReport, SEEDS_TO_CATCH, &[Property::Complete, Property::Truthful]),
    (Mutant::ResentFromWrongRecord, SEEDS_TO_CATCH_RARE, &[Property::Complete, Property::Truthful]),
    (Mutant::TwinIgnored, SEEDS_TO_CATCH_RARE, &[Property::Once]),
    (Mutant::TailIgnored, SEEDS_TO_CATCH_RARE, &[Property::Once, Property::Truthful]),
    (Mutant::SequenceAhead, SEEDS_TO_CATCH_RARE, &[Property::Once, Property::Truthful]),
    (Mutant::NeverWaits, SEEDS_TO_CATCH_RARE, &[Property::InOrder]),
    (Mutant::SuccessionNotPassedOn, 8000..9000, &[Property::InOrder]),
    (Mutant::NulsSkipped, SEEDS_TO_CATCH, &[Property::Truthful, Property::Complete]),
    (Mutant::NotHeldOpen, SEEDS_TO_CATCH, &[Property::HeldOpen]),
    (Mutant::FlushedEarly, SEEDS_TO_CATCH, &[Property::PieceDue]),
    (Mutant::LinkFollowed, SEEDS_TO_CATCH, &[Property::Inside]),
    (Mutant::LinkAboveFollowed, SEEDS_TO_CATCH_RARE, &[Property::Inside]),
    (Mutant::MarkUnread, SEEDS_TO_CATCH, &[Property::Truthful, Property::Complete]),
    (Mutant::LossUncounted, SEEDS_TO_CATCH, &[Property::LossCounted]),
    (Mutant::KeptTooLong, SEEDS_TO_CATCH, &[Property::Bounded]),
    (Mutant::EndForgotten, SEEDS_TO_CATCH, &[Property::Ended]),
    (Mutant::EndOmitted, SEEDS_TO_CATCH, &[Property::Ended]),
    (Mutant::ReleaseForgotten, SEEDS_TO_CATCH, &[Property::Remembered]),
    (Mutant::RetryForgotten, SEEDS_TO_CATCH, &[Property::Remembered]),
    (Mutant::DoubtForgotten, SEEDS_TO_CATCH, &[Property::Remembered]),
    (Mutant::OldFindBelieved, SEEDS_TO_CATCH_RARE, &[Property::Complete]),
    (Mutant::CoolingForgotten, SEEDS_TO_CATCH, &[Property::Remembered]),
    (Mutant::DeletionForgotten, SEEDS_TO_CATCH, &[Property::Remembered]),
];

/// Looks for the seed that catches a mutant by one of its properties.
fn is_caught(mutant: Mutant) {
    let (_, seeds, properties) =
        MUTANTS.iter().find(|(known, ..)| *known == mutant).expect("each mutant is in the table");
    let mut others = Vec::new();
    let mut caught = |seed: u64| {
        let why = outcome(seed, settings(seed), mutant).err()?;
        let property = Property::of(&why);
        if !property.is_some_and(|property| properties.contains(&property)) {
            // A few are enough.
            others.truncate(9);
            others.push((seed, property, why.lines().next().unwrap_or_default().to_owned()));
            return None;
        }
        outcome(seed, settings(seed), Mutant::None).is_ok().then_some((seed, property, why))
    };
    let Some((seed, Some(property), why)) = seeds.clone().find_map(&mut caught) else {
        panic!(
            "{mutant:?} is not caught by {properties:?} within the seeds {seeds:?}, only by \
            {others:#?}"
        );
    };
    println!("{mutant:?} is caught by seed {seed}, {property:?}: {why}");
}

#[test]
fn every_mutant_of_the_table_has_a_property_and_a_test() {
    for (mutant, ..) in MUTANTS {
        assert_eq!(MUTANTS.iter().filter(|(known, ..)| known == mutant).count(), 1, "{mutant:?}");
        let test = format!("    is_caught(Mutant::{mutant:?});");
        assert!(
            include_str!("caught.rs").contains(&test),
            "{mutant:?} is in the table and no test looks for it"
        );
    }
    assert!(MUTANTS.iter().all(
        |(.., properties)| !properties.is_empty() && !properties.contains(&Property::Panicked)
    ));
}

#[test]
fn a_lost_wake_up_is_caught() {
    is_caught(Mutant::WakeUpLost);
    is_caught(Mutant::QueueHalfRead);
    is_caught(Mutant::JobForgotten);
}

#[test]
fn an_ignored_overflow_is_caught() {
    is_caught(Mutant::OverflowIgnored);
}

#[test]
fn a_remote_file_system_that_is_taken_for_a_local_one_is_caught() {
    is_caught(Mutant::RemoteTakenForLocal);
}

#[test]
fn an_offset_past_an_unfinished_line_is_caught() {
    is_caught(Mutant::OffsetPastUnfinished);
}

#[test]
fn an_ignored_inode_generation_is_caught() {
    is_caught(Mutant::GenerationIgnored);
    is_caught(Mutant::InodeStateKept);
}

#[test]
fn an_offset_stored_before_its_acknowledgement_is_caught() {
    is_caught(Mutant::SavedBeforeAcknowledged);
}

#[test]
fn a_missing_sync_is_caught() {
    is_caught(Mutant::DirectoryNotSynced);
    is_caught(Mutant::JournalNotSynced);
    is_caught(Mutant::OutputNotSynced);
}

#[test]
fn a_resumed_file_that_is_not_verified_is_caught() {
    is_caught(Mutant::MarkForgotten);
    is_caught(Mutant::SizeTrusted);
}

#[test]
fn a_record_sent_again_from_its_middle_is_caught() {
    is_caught(Mutant::ResentFromMiddle);
}

#[test]
fn an_output_that_is_not_reconciled_is_caught() {
    is_caught(Mutant::OutputPointIgnored);
}

#[test]
fn a_commit_in_doubt_that_is_decided_without_the_broker_is_caught() {
    is_caught(Mutant::DoubtTrusted);
    is_caught(Mutant::DoubtDropped);
}

#[test]
fn a_commit_beside_that_of_a_twin_is_caught() {
    is_caught(Mutant::TwinIgnored);
}

#[test]
fn a_commit_of_what_did_not_arrive_is_caught() {
    is_caught(Mutant::CommittedBeforeReport);
}

#[test]
fn a_stream_that_is_not_asked_or_stored_too_far_is_caught() {
    is_caught(Mutant::TailIgnored);
    is_caught(Mutant::SequenceAhead);
}

#[test]
fn a_link_that_is_followed_out_of_the_tree_is_caught() {
    is_caught(Mutant::LinkFollowed);
    is_caught(Mutant::LinkAboveFollowed);
}

/// Faults inside of the engine need its debug assertions.
#[cfg(debug_assertions)]
mod inside {
    use super::*;

    #[test]
    fn a_successor_that_does_not_wait_is_caught() {
        is_caught(Mutant::NeverWaits);
    }

    #[test]
    fn a_succession_that_is_not_passed_on_is_caught() {
        is_caught(Mutant::SuccessionNotPassedOn);
    }

    #[test]
    fn content_that_is_taken_for_other_content_is_caught() {
        is_caught(Mutant::NulsSkipped);
        is_caught(Mutant::MarkUnread);
    }

    #[test]
    fn an_unread_file_that_is_not_held_open_is_caught() {
        is_caught(Mutant::NotHeldOpen);
    }

    #[test]
    fn an_unfinished_line_before_its_time_is_caught() {
        is_caught(Mutant::FlushedEarly);
    }

    #[test]
    fn a_loss_that_is_not_counted_is_caught() {
        is_caught(Mutant::LossUncounted);
    }

    #[test]
    fn an_earlier_find_that_is_believed_is_caught() {
        is_caught(Mutant::OldFindBelieved);
    }

    #[test]
    fn a_record_sent_again_from_a_later_one_is_caught() {
        is_caught(Mutant::ResentFromWrongRecord);
    }

    #[test]
    fn a_file_that_stays_open_for_too_long_is_caught() {
        is_caught(Mutant::KeptTooLong);
    }

    #[test]
    fn an_end_that_is_told_twice_or_not_at_all_is_caught() {
        is_caught(Mutant::EndForgotten);
        is_caught(Mutant::EndOmitted);
    }

    #[test]
    fn a_file_that_is_forgotten_is_caught() {
        is_caught(Mutant::ReleaseForgotten);
        is_caught(Mutant::RetryForgotten);
        is_caught(Mutant::DoubtForgotten);
        is_caught(Mutant::CoolingForgotten);
        is_caught(Mutant::DeletionForgotten);
    }
}
