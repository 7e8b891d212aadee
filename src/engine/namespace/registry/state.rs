//! What is going on with a file: a bit for each thing that may be.
//!
//! In: what events, looks and reads tell. Out: which queue a file is in, and what keeps it from
//! being read.
//! Always holds: a bit that keeps a file back is taken away by something that is sure to come.

use bitflags::bitflags;

bitflags! {
    /// What is going on with a file.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct State: u32 {
        /// May have unread bytes.
        const DIRTY = 1 << 0;
        /// Was read within the coalescing time.
        const COOLING = 1 << 1;
        /// Came up in a listing, and was not read to its end since: these are read one after the
        /// other.
        const BACKLOG = 1 << 2;
        /// Had more unread bytes than fit into one turn, and was not read to its end since.
        const HAS_MORE = 1 << 3;
        /// The running listing of its directory came by.
        const SEEN = 1 << 4;
        /// It was said that this file cannot be read.
        const UNREADABLE = 1 << 5;
        /// NULs at the offset are a hole's, or left by a truncation: skipped.
        const SKIP_NULS = 1 << 6;
        /// The start of the unfinished last line before the offset is still searched for.
        const SEEK_LINE = 1 << 7;
        /// Found by the first scan: `--from` applies.
        const FIRST_SCAN = 1 << 8;
        /// Started at its end.
        const STARTED_AT_END = 1 << 9;
        /// Reached through a symbolic link.
        const VIA_LINK = 1 << 10;
        /// An unterminated last line is being timed.
        const TIMED = 1 << 11;
        /// The unterminated last line is due as a piece.
        const FLUSH = 1 << 12;
        /// Another file waits until this one is read.
        const IS_AWAITED = 1 << 13;
        /// Waits for the file that had its name before.
        const AWAITS_PREDECESSOR = 1 << 14;
        /// Its name was deleted, not moved.
        const DELETED = 1 << 15;
        /// Took the name of another file, which is read first whenever both have something to read.
        const HAS_PREDECESSOR = 1 << 16;
        /// Came up in a listing of a directory that is not new to us, or appeared whole: no event
        /// tells its age. Once identified, it is read together with the others that came up, in the
        /// order of their last modification.
        const BY_AGE = 1 << 18;
        /// Has its name from a replayed rename that no look confirmed yet.
        const UNCONFIRMED = 1 << 19;
        /// Had further hard links when it was looked at last: deleting a name may not be its end.
        const LINKED = 1 << 20;
        /// Will be looked at again after a failure.
        const RETRY = 1 << 21;
        /// Is in the queue of dirty files.
        const QUEUED = 1 << 22;
        /// Waited for its predecessor, which was read to its end: not again before the next read,
        /// or a busy one would starve it.
        const RELEASED = 1 << 17;
        /// Its generation is not stored yet: no record of it may leave.
        const UNSTORED = 1 << 23;
        /// Its name does not match: followed only if the journal knows the file.
        const ONLY_KNOWN = 1 << 24;
        /// Waits to be looked at: what its name stands for is in doubt.
        const DOUBT = 1 << 25;
        /// Its identity is known.
        const IDENTIFIED = 1 << 26;
        /// It is found by its name.
        const BOUND = 1 << 27;
        /// A write, a rename or a listing brought the name up: it may hold bytes that nobody has
        /// read. A name that was just created holds none, unless it is dirty. With `UNREADABLE`: it
        /// has bytes that could not be read.
        const MAY_HOLD_BYTES = 1 << 28;
        /// Left out, because its first block is binary. Its mark is a digest of what the last look
        /// told.
        const BINARY = 1 << 29;
        /// Its first block decides whether it is left out.
        const UNDECIDED = 1 << 30;
        /// With `STARTED_AT_END`: because it had not been modified for `--ignore-older`.
        const WAS_OLD = 1 << 31;
    }
}

impl State {
    /// Which queue the file is in, and what keeps it from being read: the engine's schedule sets
    /// and clears these.
    pub(crate) const SCHEDULED: State = State::DIRTY
        .union(State::QUEUED)
        .union(State::COOLING)
        .union(State::AWAITS_PREDECESSOR)
        .union(State::DOUBT)
        .union(State::BY_AGE)
        .union(State::BACKLOG)
        .union(State::HAS_MORE)
        .union(State::UNSTORED)
        .union(State::RETRY)
        .union(State::RELEASED);

    /// Something else has to happen before the file is read.
    pub(crate) const KEPT_BACK: State = State::COOLING
        .union(State::AWAITS_PREDECESSOR)
        .union(State::DOUBT)
        .union(State::UNSTORED)
        .union(State::BY_AGE);
}
