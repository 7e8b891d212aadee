//! The state of a file, one bit for each condition.
//!
//! In: what events, looks and reads find out. Out: which queue a file is in, and what keeps it from
//! being read.
//! Always holds: something that is sure to happen clears each bit that holds a file back.

use bitflags::bitflags;

bitflags! {
    /// The state of a file.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct State: u32 {
        /// May have unread bytes.
        const DIRTY = 1 << 0;
        /// Was read within the coalescing time.
        const COOLING = 1 << 1;
        /// A listing found it, and it has not been read to its end since. Such files are read one
        /// after the other.
        const BACKLOG = 1 << 2;
        /// It had more unread bytes than fit into one turn, and has not been read to its end since.
        const HAS_MORE = 1 << 3;
        /// The running listing of its directory has passed it.
        const SEEN = 1 << 4;
        /// It was reported that this file cannot be read.
        const UNREADABLE = 1 << 5;
        /// NULs at the offset belong to a hole or were left by a truncation: they are skipped.
        const SKIP_NULS = 1 << 6;
        /// The start of the unfinished last line before the offset is still searched for.
        const SEEK_LINE = 1 << 7;
        /// The first scan found it: `--from` applies.
        const FIRST_SCAN = 1 << 8;
        /// Started at its end.
        const STARTED_AT_END = 1 << 9;
        /// It is reached through a symbolic link.
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
        /// It took the name of another file. That one is read first whenever both have unread
        /// bytes.
        const HAS_PREDECESSOR = 1 << 16;
        /// A listing of a known directory found it, or it appeared together with its directory, so
        /// no event orders it. Once identified, it is read together with the others of this kind,
        /// in the order of their last modification.
        const BY_AGE = 1 << 18;
        /// It has its name from a replayed rename that no look has confirmed yet.
        const UNCONFIRMED = 1 << 19;
        /// It had several hard links at the last look: it may live on when a name is deleted.
        const LINKED = 1 << 20;
        /// Will be looked at again after a failure.
        const RETRY = 1 << 21;
        /// Is in the queue of dirty files.
        const QUEUED = 1 << 22;
        /// Its predecessor has been drained. It does not wait again before its next read, so a busy
        /// predecessor cannot starve it.
        const RELEASED = 1 << 17;
        /// Its generation is not stored yet, so no record of it may be sent.
        const UNSTORED = 1 << 23;
        /// Its name does not match: followed only if the journal knows the file.
        const ONLY_KNOWN = 1 << 24;
        /// A look is due, because it is in doubt what its name stands for.
        const DOUBT = 1 << 25;
        /// Its identity is known.
        const IDENTIFIED = 1 << 26;
        /// It is found by its name.
        const BOUND = 1 << 27;
        /// A write, a rename or a listing reported the name, so it may hold unread bytes. A name
        /// that was just created holds none, unless it is dirty. With `UNREADABLE`: it has bytes
        /// that could not be read.
        const MAY_HOLD_BYTES = 1 << 28;
        /// Left out, because its first block is binary. Its mark is a digest of the last look.
        const BINARY = 1 << 29;
        /// Its first block decides whether it is left out.
        const UNDECIDED = 1 << 30;
        /// With `STARTED_AT_END`: because it had not been modified for `--ignore-older`.
        const WAS_OLD = 1 << 31;
    }
}

impl State {
    /// Which queue the file is in, and what keeps it from being read. Only the engine's schedule
    /// sets and clears these bits.
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
    pub(crate) const HELD_BACK: State = State::COOLING
        .union(State::AWAITS_PREDECESSOR)
        .union(State::DOUBT)
        .union(State::UNSTORED)
        .union(State::BY_AGE);
}
