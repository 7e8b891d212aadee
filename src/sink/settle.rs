//! What a commit has to do with an output that remembers commits, and what its receiver answers.
//!
//! In: -. Out: the questions and answers of [`Receiver`](super::Receiver).
//! Always holds: what a commit was is told by its number ([`crate::checkpoint::numbers`]).

use crate::checkpoint::record_parser::{GenerationKey, Progress};

pub use crate::checkpoint::numbers::{
    Decided, IsStored, Known, Mismatch, Number, OutputCommit, Unsettled, decide,
};

/// What the receiver has beyond what the journal says.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing: a commit in doubt was not made, and everything accepted since the last one that
    /// holds is offered again.
    NotMade,
    /// The commit in doubt.
    Made,
    /// Records that were stored after the last commit: how far they bring each file.
    Beyond(Vec<(GenerationKey, Progress)>),
}

/// What a commit has to do with the output now.
#[derive(Debug)]
pub enum Settle {
    /// Nothing more than to store what was acknowledged.
    Acknowledged,
    /// Not all that was accepted arrived yet: nothing more is offered, and the question is asked
    /// again when the sink is ready.
    Wait,
    /// The receiver was lost, and with it what was accepted since the last commit, or not:
    /// [`Receiver::verdict`](super::Receiver::verdict) tells. Nothing more is offered until then.
    Lost,
    /// The offsets that everything accepted reaches are stored under this number, then the output
    /// commits. Nothing more is offered until both are done.
    Transaction {
        /// The number of the commit.
        number: Number,
        /// Called on the thread that stores offsets, after that.
        commit: OutputCommit,
    },
}
