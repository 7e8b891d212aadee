//! The properties by name, and which one a failure is about.
//!
//! In: the sentence of a failure. Out: the [`Property`] that it says is broken.
//! Always holds: a sentence is of the first property one of whose phrases it has; one that has none
//! is of no property, so that no mutant counts as caught by it.

/// What has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property {
    /// Every line that can be read comes.
    Complete,
    /// Nothing comes that was not written there: no torn, joined or invented record.
    Truthful,
    /// Nothing from outside of the PATHs comes.
    Inside,
    /// Nothing comes twice but what a crash excuses.
    Once,
    /// Older generations come before younger ones.
    InOrder,
    /// A file and an offset name one record, for ever.
    Identified,
    /// A record has a path that its file has.
    Named,
    /// An unfinished line comes only where it may.
    PieceDue,
    /// What was to be read when the output took nothing is read though it is deleted.
    HeldOpen,
    /// What is lost is counted.
    LossCounted,
    /// With nothing to do the engine waits.
    Rests,
    /// At rest nothing is open, and what is remembered is in proportion to what there is.
    Bounded,
    /// The directories of the tree have watches, and no others.
    Watched,
    /// What is committed is in the output, whole.
    Committed,
    /// What was acknowledged is committed in time.
    CommittedSoon,
    /// An output that comes back is offered what it was offered before, from the start of a record.
    SentAgain,
    /// The engine begins again, and goes on, unless a fault is planted.
    Lives,
    /// Each thing that is to be done is in the queue of those who do it: `Engine::check`.
    Remembered,
    /// The engine's own assertions.
    Panicked,
}

/// Phrases of failures. The engine's own words come first: they may have any of the others in them.
/// A broken invariant is one, whether the loop asked for it or the engine.
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
    /// The property that a failure is about.
    pub(crate) fn of(why: &str) -> Option<Property> {
        PHRASES.iter().find(|(phrase, _)| why.contains(phrase)).map(|&(_, property)| property)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A phrase that no failure has any more would let a property rot.
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
        // A text that is broken over two lines is one text.
        let text: String = text.split("\\\n").map(str::trim_start).collect();
        for (phrase, property) in PHRASES {
            assert!(text.contains(phrase), "no failure says {phrase:?} any more ({property:?})");
        }
    }
}
