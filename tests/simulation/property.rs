//! The properties by name, and the property that a failure breaks.
//!
//! In: the sentence of a failure. Out: the broken [`Property`].
//! Always holds: a sentence belongs to the first property with a phrase in it; a sentence without
//! such a phrase belongs to none, and does not count as catching a mutant.

/// A property that has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property {
    /// Every readable line is delivered.
    Complete,
    /// Only lines that were written are delivered: no torn, joined or invented record.
    Truthful,
    /// Nothing from outside the PATHs is delivered.
    Inside,
    /// Nothing is delivered twice, unless a crash excuses it.
    Once,
    /// Older generations come before younger ones.
    InOrder,
    /// A file and an offset name one record, forever.
    Identified,
    /// A record has a path that its file has.
    Named,
    /// An unfinished line is delivered only where that is allowed.
    PieceDue,
    /// A file that was waiting when the output was blocked is read although it is deleted.
    HeldOpen,
    /// Losses are counted.
    LossCounted,
    /// The end of a log is told once, and behind its last line; what is told as lost was there.
    Ended,
    /// With nothing to do the engine waits.
    Rests,
    /// At rest nothing is open, and memory is in proportion to the files.
    Bounded,
    /// The directories of the tree have watches, and no others.
    Watched,
    /// Committed records are in the output, whole.
    Committed,
    /// Acknowledged records are committed in time.
    CommittedSoon,
    /// A reconnected output is offered the same bytes again, from the start of a record.
    SentAgain,
    /// The engine starts again and continues, unless a fault is planted.
    Lives,
    /// All pending work is in its queue: `Engine::check`.
    Remembered,
    /// The engine's own assertions.
    Panicked,
}

/// Phrases of failures. The engine's own texts come first: they may contain any of the others. A
/// broken invariant is one, whether the loop or the engine checked it.
const PHRASES: &[(&str, Property)] = &[
    ("invariant:", Property::Remembered),
    ("panic:", Property::Panicked),
    ("the engine does not start again", Property::Lives),
    ("no start succeeds", Property::Lives),
    ("the engine gave up", Property::Lives),
    ("the engine finished by itself", Property::Lives),
    ("waits for ever instead of finishing", Property::Lives),
    ("no end", Property::Lives),
    ("a busy loop", Property::Rests),
    ("the output ends in the middle of a record, or repeats are due", Property::Rests),
    ("events wait in the kernel's queue", Property::Rests),
    ("its end was not told behind its last line", Property::Ended),
    ("is not at the end of what was delivered", Property::Ended),
    ("was told twice", Property::Ended),
    ("they were never there", Property::Ended),
    ("from outside", Property::Inside),
    ("that was deleted while the output was blocked", Property::HeldOpen),
    ("counted as lost", Property::LossCounted),
    ("lines that can be read are missing", Property::Complete),
    ("an unfinished line came out", Property::PieceDue),
    ("a piece without reason", Property::PieceDue),
    ("a piece before its time", Property::PieceDue),
    ("a record that nobody wrote there", Property::Truthful),
    ("a torn or invented line", Property::Truthful),
    ("more than one line", Property::Truthful),
    ("no TAB in", Property::Truthful),
    ("no escape", Property::Truthful),
    ("delivered twice", Property::Once),
    ("records at rest were", Property::Once),
    ("a commit was made beside a twin's", Property::Once),
    ("came after the first line", Property::InOrder),
    ("two stories have the same identity", Property::Identified),
    ("names two different records", Property::Identified),
    ("was never called", Property::Named),
    ("was said to be of", Property::Named),
    ("are open at rest", Property::Bounded),
    ("but there are only", Property::Bounded),
    ("has no watch", Property::Watched),
    ("a watch stays", Property::Watched),
    ("but there are", Property::Watched),
    ("after a restart other bytes came", Property::SentAgain),
    ("an offer that does not end", Property::SentAgain),
    ("acknowledged records", Property::CommittedSoon),
    ("committed records only", Property::Committed),
    ("torn or changed record after a restart", Property::Committed),
    ("whole records were cut", Property::Committed),
    ("the output was reopened before", Property::Committed),
];

impl Property {
    /// The property that a failure breaks.
    pub(crate) fn of(why: &str) -> Option<Property> {
        PHRASES.iter().find(|(phrase, _)| why.contains(phrase)).map(|&(_, property)| property)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A phrase that no failure has any more would disable a property.
    #[test]
    fn every_phrase_is_in_the_sources() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder.join("tests/simulation"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files =
            files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        let files = files.filter(|path| path.file_name().is_some_and(|name| name != "property.rs"));
        let text: String = files
            .chain([folder.join("src/engine/invariants.rs")])
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        // A text that is split over two lines is one text.
        let text: String = text.split("\\\n").map(str::trim_start).collect();
        for (phrase, property) in PHRASES {
            assert!(text.contains(phrase), "no failure says {phrase:?} any more ({property:?})");
        }
    }
}
