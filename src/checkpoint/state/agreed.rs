//! What a state directory and its output agreed on: under which name and number they commit, and
//! which commit may have been made or not.
//!
//! In: the frames of a journal, in order; later the output's answer. Out: items that count; what
//! the output has to know at a start.
//! Always holds: a commit in doubt, and what was stored after it, counts for nothing before it is
//! decided.

use super::StoredOffsets;
use crate::checkpoint::format::{Item, Malformed, items};
use crate::checkpoint::numbers::{Known, Number};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    /// The last commit that the output certainly made; 0: none.
    number: u64,
    /// The greatest number of a commit.
    number_last: u64,
    /// The last commit with a number, if it is not known whether the output made it.
    doubt: Option<Doubt>,
    /// Where the output's stream ended.
    pub(super) sequence: Option<u64>,
    /// The name under which we commit; empty: none yet.
    pub(super) identity: Vec<u8>,
}

/// A commit in doubt.
#[derive(Debug)]
struct Doubt {
    number: Number,
    /// Its payload, then those of the frames after it, which count in either case.
    frames: Vec<Vec<u8>>,
}

impl Agreed {
    /// The output made this commit.
    pub(super) fn made(&mut self, number: u64) {
        self.number = number;
        self.number_last = self.number_last.max(number);
    }

    /// The items that say the same, without a commit in doubt.
    pub(super) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let number = (self.number != 0).then_some(Item::Settled(self.number));
        let identity = (!self.identity.is_empty()).then_some(Item::Identity(&self.identity));
        number.into_iter().chain(identity).chain(self.sequence.map(Item::Sequence))
    }
}

impl StoredOffsets {
    /// Takes the payload of a frame in. While a commit is in doubt, it and what follows wait for
    /// [`StoredOffsets::resolve`].
    ///
    /// # Errors
    /// When it has something other than items; then nothing of this is valid any more.
    pub fn take_frame(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        match items(payload).next().transpose()? {
            Some(Item::Number(number)) => {
                self.resolve(|doubt| doubt.this == number.previous);
                self.agreed.number_last = self.agreed.number_last.max(number.this);
                self.agreed.doubt = Some(Doubt { number, frames: Vec::new() });
            }
            Some(Item::Settled(made)) => self.resolve(|doubt| doubt.this == made),
            _ => {}
        }
        if let Some(doubt) = &mut self.agreed.doubt {
            for item in items(payload) {
                item?;
            }
            doubt.frames.push(payload.to_vec());
            return Ok(());
        }
        for item in items(payload) {
            self.apply(&item?);
        }
        Ok(())
    }

    /// The commit that may have been made or not.
    #[must_use]
    pub fn doubt(&self) -> Option<Number> {
        self.agreed.doubt.as_ref().map(|doubt| doubt.number)
    }

    /// Decides the commit in doubt, if there is one.
    pub fn resolve(&mut self, is_made: impl FnOnce(Number) -> bool) {
        let Some(Doubt { number, frames }) = self.agreed.doubt.take() else { return };
        let is_made = is_made(number);
        if !is_made {
            self.agreed.number = number.previous;
        }
        for item in frames.iter().skip(usize::from(!is_made)).flat_map(|frame| items(frame)) {
            self.apply(&item.expect("checked when it was read"));
        }
    }

    /// What the receiver has to know at a start.
    #[must_use]
    pub fn known(&self) -> Known {
        Known {
            identity: self.agreed.identity.clone(),
            number: self.doubt().map_or(self.agreed.number, |number| number.previous),
            number_last: self.agreed.number_last,
            doubt: self.doubt(),
            sequence: self.agreed.sequence,
        }
    }

    /// The name under which this state directory commits at its output; empty: it has none yet.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.agreed.identity
    }

    /// Gives it a name.
    pub fn set_identity(&mut self, name: &[u8]) {
        self.agreed.identity = name.to_vec();
    }

    /// Forgets all that was agreed with the output: what the last commits brought there may come
    /// again.
    pub fn part_with_output(&mut self) {
        self.resolve(|_| false);
        self.agreed = Agreed::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::format::put;
    use crate::checkpoint::{Entry, EntryFlags};
    use crate::sys::FileId;

    const FILE: FileId = FileId { device: 1, inode: 2, inode_generation: 3 };

    fn entry(offset: u64) -> Item<'static> {
        Item::Entry(
            Entry {
                id: FILE,
                generation: 0,
                offset,
                mark: 0,
                mark_len: 0,
                flags: EntryFlags::empty(),
                complete_at: 0,
                absent_since: 0,
            },
            None,
        )
    }

    fn take(state: &mut StoredOffsets, items: &[Item<'_>]) {
        let mut payload = Vec::new();
        items.iter().for_each(|item| put(item, &mut payload));
        state.take_frame(&payload).unwrap();
    }

    fn numbered(this: u64, previous: u64, offset: u64) -> [Item<'static>; 2] {
        [Item::Number(Number { this, previous }), entry(offset)]
    }

    fn offset(state: &StoredOffsets) -> Option<u64> {
        state.get(FILE).map(|(entry, _)| entry.offset)
    }

    #[test]
    fn a_commit_counts_once_a_later_frame_says_that_it_was_made() {
        for later in [&numbered(7, 5, 30)[..], &[Item::Settled(5)], &[Item::Settled(5), entry(20)]]
        {
            let mut state = StoredOffsets::default();
            take(&mut state, &numbered(5, 0, 20));
            assert_eq!((offset(&state), state.doubt().map(|number| number.this)), (None, Some(5)));
            take(&mut state, later);
            assert_eq!(offset(&state), Some(20));
            assert_eq!(state.known().number, 5);
        }
    }

    #[test]
    fn a_commit_counts_for_nothing_if_a_later_frame_says_that_another_was_made() {
        for later in [&numbered(7, 4, 30)[..], &[Item::Settled(4)]] {
            let mut state = StoredOffsets::default();
            take(&mut state, &[Item::Settled(4), entry(10)]);
            take(&mut state, &numbered(5, 4, 20));
            take(&mut state, later);
            assert_eq!(offset(&state), Some(10));
            assert_eq!(state.known().number, 4);
            assert!(state.known().number_last >= 5, "a number is not used again");
        }
    }

    #[test]
    fn the_output_decides_the_last_commit_and_what_was_stored_after_it_counts_in_either_case() {
        let other = FileId { inode: 9, ..FILE };
        for (is_made, expected) in [(true, Some(20)), (false, Some(10))] {
            let mut state = StoredOffsets::default();
            take(&mut state, &[Item::Settled(4), entry(10)]);
            take(&mut state, &numbered(5, 4, 20));
            take(&mut state, &[Item::Forget(other, 3)]);
            assert_eq!(state.generation_floor(other), 0, "nothing counts before the decision");
            let known = state.known();
            assert_eq!((known.number, known.doubt), (4, Some(Number { this: 5, previous: 4 })));
            state.resolve(|_| is_made);
            assert_eq!((offset(&state), state.generation_floor(other)), (expected, 4));
            let known = state.known();
            assert_eq!(
                (known.number, known.number_last, known.doubt),
                (if is_made { 5 } else { 4 }, 5, None)
            );
        }
    }

    #[test]
    fn a_new_journal_says_the_same_of_the_output() {
        let mut state = StoredOffsets::default();
        state.set_identity(b"manytail-node7-00000001");
        take(&mut state, &numbered(5, 0, 20));
        take(&mut state, &[Item::Settled(5), Item::Sequence(77)]);
        let mut copy = StoredOffsets::default();
        take(&mut copy, &state.items().collect::<Vec<_>>());
        assert_eq!(copy.known(), state.known());
        assert_eq!(
            (copy.identity(), copy.known().sequence),
            (&b"manytail-node7-00000001"[..], Some(77))
        );
        copy.part_with_output();
        assert_eq!((copy.known(), offset(&copy)), (Known::default(), Some(20)));
    }

    #[test]
    fn what_is_no_item_is_an_error_also_while_a_commit_is_in_doubt() {
        let mut state = StoredOffsets::default();
        take(&mut state, &numbered(5, 0, 20));
        assert!(state.take_frame(&[99]).is_err() && state.take_frame(&[5, 99]).is_err());
    }
}
