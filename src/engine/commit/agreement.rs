//! What was agreed with a receiver that remembers commits.
//!
//! In: questions, and commits that were made. Out: what is asked, for people, too.
//! Always holds: one question at a time.

use crate::sink::{IsStored, Number};

/// What the receiver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// What it has beyond what the journal says.
    Start,
    /// Whether it answers: the journal says nothing, so that it has nothing of ours.
    First,
    /// Whether it made the commit with this number, which is stored or could not be.
    Commit(Number, IsStored),
    /// Whether it can go on: what it accepted since the last commit is lost.
    Lost,
}

/// How commits concern the receiver.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// What it acknowledges are its commits.
    pub(super) has_transactions: bool,
    /// What it is asked.
    pub(super) asked: Option<Asked>,
    /// A commit waits until all that was accepted arrived.
    pub(super) is_waiting: bool,
    /// The last commit that it made.
    pub(super) number: u64,
    /// The journal says so: no commit in it is in doubt.
    pub(super) is_number_stored: bool,
}

impl Agreement {
    /// With a receiver that remembers commits.
    pub(super) fn with_receiver(has_transactions: bool, number: u64, asked: Asked) -> Self {
        Agreement {
            has_transactions,
            asked: Some(asked),
            is_waiting: false,
            number,
            is_number_stored: true,
        }
    }

    /// Whether an answer is awaited.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether the answer is awaited without which nothing is read.
    pub(super) fn is_asked_at_start(&self) -> bool {
        self.asked == Some(Asked::Start)
    }

    /// Whether it has answered nothing in this run.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.asked, Some(Asked::Start | Asked::First))
    }

    /// What the receiver is asked, for people. `doubt`: the commit that is in doubt at a start.
    pub(super) fn question(&self, doubt: Option<Number>) -> Option<String> {
        Some(match (self.asked?, doubt) {
            (Asked::Commit(number, _), _) | (Asked::Start, Some(number)) => {
                format!("was commit {} made?", number.this)
            }
            (Asked::Start, None) => "what does it have beyond the last commit?".to_owned(),
            (Asked::First, _) => "does it answer?".to_owned(),
            (Asked::Lost, _) => "can it go on?".to_owned(),
        })
    }

    /// The receiver is asked, and nothing is offered until it has answered.
    pub(super) fn ask(&mut self, asked: Asked) {
        self.is_waiting = false;
        self.asked = Some(asked);
    }

    /// It made a commit, and the journal has to say so.
    pub(super) fn made(&mut self, number: u64) {
        self.number = number;
        self.is_number_stored = false;
    }
}
