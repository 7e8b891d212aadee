//! Which sequence of the stream belongs to which position in the stream of accepted bytes.
//!
//! In: each batch that was stored. Out: the sequence of the last batch that ends at a position, or
//! before it.
//! Always holds: an answer is never greater than the truth. Positions and sequences only grow; the
//! memory is bounded, and what is left out makes answers smaller.

use std::collections::VecDeque;

/// Batches remembered at most: some seconds of one line a batch.
const REMEMBERED_MAX: usize = 4096;

/// The batches that were stored since the last question.
#[derive(Debug, Default)]
pub struct Positions {
    /// Where a batch ends, and the sequence of its last message.
    ends: VecDeque<(u64, u64)>,
}

impl Positions {
    /// Bytes up to `position` are in the stream, and its last message below our subjects has this
    /// sequence.
    pub fn stored(&mut self, position: u64, sequence: u64) {
        if self.ends.len() >= REMEMBERED_MAX {
            let mut at = 0;
            self.ends.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self.ends.push_back((position, sequence));
    }

    /// The sequence at the greatest known position up to this one. Later questions are about the
    /// same position or a later one.
    pub fn sequence(&mut self, position: u64) -> Option<u64> {
        while self.ends.get(1).is_some_and(|&(end, _)| end <= position) {
            self.ends.pop_front();
        }
        self.ends.front().filter(|&&(end, _)| end <= position).map(|&(_, sequence)| sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_that_of_the_last_batch_that_ends_by_then() {
        let mut positions = Positions::default();
        assert_eq!(positions.sequence(10), None);
        positions.stored(0, 100);
        positions.stored(50, 107);
        positions.stored(90, 112);
        for (position, sequence) in [(0, 100), (49, 100), (50, 107), (89, 107), (90, 112)] {
            assert_eq!(positions.sequence(position), Some(sequence), "{position}");
        }
        assert_eq!(positions.sequence(u64::MAX), Some(112), "the last one is never forgotten");
    }

    #[test]
    fn with_many_batches_an_answer_is_smaller_and_never_greater() {
        let mut positions = Positions::default();
        for at in 0..20_000 {
            positions.stored(at * 10, at + 1);
        }
        assert!(positions.ends.len() <= REMEMBERED_MAX);
        for position in (0..200_000).step_by(7) {
            let sequence = positions.sequence(position).unwrap();
            assert!(sequence <= position / 10 + 1, "{position}: {sequence}");
        }
        assert_eq!(positions.sequence(199_990), Some(20_000));
    }
}
