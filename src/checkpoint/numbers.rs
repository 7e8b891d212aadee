//! Commits that the output makes, too: their numbers, and which one holds.
//!
//! In: what the journal says, what the receiver has. Out: the number of the next attempt; which
//! commit holds.
//! Always holds: each attempt has a number of its own. A commit in doubt is decided by the
//! receiver alone: it was made if the receiver has its number, and was not if the receiver has the
//! number before it.

use std::fmt;

/// The number of a commit, and that of the commit before it.
///
/// A number counts attempts in its upper bits, so that a later one is greater, and is random in its
/// lower bits, so that two processes with copies of one state directory do not use the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// Of this attempt, at least 1.
    pub this: u64,
    /// Of the last commit that is known to hold; 0: none.
    pub previous: u64,
}

/// Bits of a number that are random.
const RANDOM_BITS: u32 = 23;

/// The greatest number: it fits into a signed integer of 64 bits, as the offsets of Kafka are.
const NUMBER_MAX: u64 = i64::MAX as u64;

impl Number {
    /// The number of the next attempt. `last`: the greatest one that was ever used here.
    #[must_use]
    pub fn next(previous: u64, last: u64, random: u64) -> Self {
        let count = (last >> RANDOM_BITS) + 1;
        let this = (count << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1));
        assert!(this <= NUMBER_MAX, "a billion commits a second last for 17 minutes");
        Number { this, previous }
    }

    /// How many attempts lie between two numbers.
    #[must_use]
    pub fn distance(from: u64, to: u64) -> u64 {
        (to >> RANDOM_BITS).abs_diff(from >> RANDOM_BITS)
    }
}

/// What the journal says about the receiver, at a start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The name under which this state directory commits.
    pub identity: Vec<u8>,
    /// The last commit that is known to hold; 0: none.
    pub number: u64,
    /// The greatest number of a commit, whether it holds or not.
    pub number_last: u64,
    /// A commit that may hold or not.
    pub doubt: Option<Number>,
    /// Where the receiver's stream ended at the last commit.
    pub sequence: Option<u64>,
}

/// The output's part of a commit. May block.
pub struct OutputCommit(Box<dyn FnOnce(IsStored) -> Result<(), Unsettled> + Send>);

/// Whether the offsets of the commit are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsStored {
    /// Durably, under the commit's number.
    Yes,
    /// Not: the output commits, so that delivery goes on, and keeps the number before. It tells
    /// within the run, but not at a start, whether it made this commit.
    No,
}

impl OutputCommit {
    /// A commit that makes this call.
    pub fn new(call: impl FnOnce(IsStored) -> Result<(), Unsettled> + Send + 'static) -> Self {
        OutputCommit(Box::new(call))
    }

    /// Commits.
    ///
    /// # Errors
    /// When it is not known whether the receiver committed.
    pub fn call(self, is_stored: IsStored) -> Result<(), Unsettled> {
        (self.0)(is_stored)
    }
}

impl fmt::Debug for OutputCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutputCommit")
    }
}

/// It is not known whether the receiver committed: it is asked when it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsettled(pub String);

/// Why a state directory and a receiver do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another process committed with a copy of this state directory, or it was restored.
    #[error(
        "the receiver is ahead of this state directory by {commits} commits: it was restored from \
        a backup or copied, or another manytail uses a copy of it; `manytail offsets settle` \
        accepts that lines are repeated"
    )]
    Ahead {
        /// How many.
        commits: u64,
    },
}

/// How a commit in doubt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It was made.
    Made,
    /// It was not made, and the receiver has the commit before it.
    NotMade,
    /// The receiver has an earlier commit, or none: it lost some. Whether the one in doubt was
    /// made cannot be known; it counts as not made, because a repeated line is better than a lost
    /// one.
    Lost,
}

/// Compares what the receiver has with what this state directory knows.
///
/// # Errors
/// When the receiver has a commit that this state directory did not make.
pub fn decide(has: u64, number: u64, doubt: Option<Number>) -> Result<Decided, Mismatch> {
    match doubt {
        Some(doubt) if has == doubt.this => return Ok(Decided::Made),
        _ if has == number => return Ok(Decided::NotMade),
        _ => {}
    }
    let greatest = doubt.map_or(number, |doubt| doubt.this);
    if has > greatest || (doubt.is_some() && has > number) {
        return Err(Mismatch::Ahead { commits: Number::distance(number, has).max(1) });
    }
    Ok(Decided::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_has_a_greater_number_whatever_is_random() {
        let first = Number::next(0, 0, u64::MAX);
        let second = Number::next(first.this, first.this, 0);
        assert!(first.this > 0 && second.this > first.this);
        assert_eq!((second.previous, Number::distance(first.this, second.this)), (first.this, 1));
        assert_ne!(Number::next(0, 0, 1), Number::next(0, 0, 2));
    }

    #[test]
    fn the_receiver_decides_a_commit_in_doubt() {
        let number = Number::next(0, 0, 7);
        let (this, before) = (Number::next(number.this, number.this, 9), number.this);
        let cases = [
            // What the receiver has, whether there is a doubt, what follows.
            (this.this, true, Ok(Decided::Made)),
            (before, true, Ok(Decided::NotMade)),
            (before, false, Ok(Decided::NotMade)),
            (0, true, Ok(Decided::Lost)),
            (0, false, Ok(Decided::Lost)),
            (before - 1, false, Ok(Decided::Lost)),
            // A twin made another attempt with the same count.
            (this.this + 1, true, Err(Mismatch::Ahead { commits: 1 })),
            (this.this - 1, true, Err(Mismatch::Ahead { commits: 1 })),
            (this.this, false, Err(Mismatch::Ahead { commits: 1 })),
            (Number::next(0, this.this, 0).this, true, Err(Mismatch::Ahead { commits: 2 })),
        ];
        for (has, is_in_doubt, expected) in cases {
            assert_eq!(decide(has, before, is_in_doubt.then_some(this)), expected, "{has}");
        }
        assert_eq!(decide(0, 0, None), Ok(Decided::NotMade), "a first start");
    }
}
