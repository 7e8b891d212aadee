//! Durable offsets: acknowledged offsets are stored, and the next start continues from them.
//!
//! In: acknowledged offsets. Out: a journal in the state directory, and at the start its content as
//! [`state::StoredOffsets`].
//! Always holds: `committed <= acknowledged <= read`. A commit is consistent: its offsets and the
//! output's length are of one moment. A journal that failed is never written to again.
//!
//! [`mod@format`] encodes and decodes bytes (pure), [`journal`] reads a whole file, [`state`] is
//! its meaning, and [`store`] manages the files through [`Disk`](crate::sys::Disk). The engine
//! submits [`Job`]s to a [`Committer`], which makes blocking calls on a thread of its own.

mod again;
pub(crate) mod format;
pub(crate) mod journal;
pub(crate) mod numbers;
pub(crate) mod reconcile;
pub(crate) mod record_parser;
pub(crate) mod stamp;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod thread;

use std::io;
use std::os::fd::OwnedFd;

use bitflags::bitflags;

use crate::checkpoint::numbers::{IsStored, OutputCommit, Unsettled};
use crate::config::Format;
use crate::sys::FileId;

bitflags! {
    /// What a reader has to know, beside the offset, to continue there.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct EntryFlags: u8 {
        /// NULs at the offset were left by a truncation and are skipped.
        const SKIP_NULS = 1 << 0;
        /// The offset is the end of the file when it was first seen, so its unfinished last line
        /// starts before it.
        const SEEK_LINE = 1 << 1;
        /// A look found that the file was gone, at `absent_since`.
        const GONE = 1 << 2;
        /// The output has the record that says that this log is over.
        const ENDED = 1 << 3;
    }
}

/// The offset of a file that received our own output, which is never read. An older version of this
/// program takes the file for a truncated one, and reads it from its start.
pub(crate) const OWN_OUTPUT: u64 = u64::MAX;

/// How far one file was delivered. Its path is stored separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Device, inode, and the number that distinguishes two lives of an inode.
    pub id: FileId,
    /// How many times the content of this inode restarted: the third part of `file` in json
    /// records.
    pub generation: u32,
    /// Bytes from the start of the file to the first byte that was not acknowledged; or
    /// [`OWN_OUTPUT`].
    pub offset: u64,
    /// Digest of the `mark_len` bytes just before `offset`.
    pub mark: u32,
    /// At most 64. 0: the bytes before `offset` are not known.
    pub mark_len: u8,
    /// What else a reader has to know.
    pub flags: EntryFlags,
    /// Nanoseconds since 1970. Every modification up to then was read and acknowledged. 0: not
    /// known.
    pub complete_at: u64,
    /// Seconds since 1970. Since then the file has not been found under the followed paths. 0: it
    /// is found.
    pub absent_since: u64,
}

/// The length of a regular output file at a commit, which belongs to the offsets of that commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputPoint {
    /// Which file.
    pub id: FileId,
    /// Its length in bytes, up to the end of the last record whose offset is committed.
    pub len: u64,
    /// The format of the records after it.
    pub format: Format,
}

/// What is no longer where a process that starts now would look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Displaced {
    /// See [`Elsewhere`](crate::sys::Place::Elsewhere).
    #[error("the state directory was removed, renamed, replaced, mounted over or unmounted")]
    Directory,
    /// See [`Unlocked`](crate::sys::Place::Unlocked).
    #[error("the lock in the state directory was removed or replaced")]
    Lock,
    /// The journal has no name any more, or another file has its name.
    #[error("the journal in the state directory was removed or replaced")]
    Journal,
}

/// How a displaced store was restored to its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anew {
    /// What had been displaced.
    pub what: Displaced,
    /// Device and inode of the directory.
    pub directory: (u64, u64),
    /// The new names of journals that were found there and are not this process's.
    pub aside: Vec<String>,
}

/// What a [`Committer`] does with a payload of [`mod@format`] items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Check whether the journal is where the next start would look for it. Stores nothing.
    Check,
    /// Append a commit to the current journal, durably.
    Append,
    /// Start a new journal beside the current one, with the first part of a snapshot. An unfinished
    /// new journal is dropped.
    Begin,
    /// Write a further part of the snapshot.
    Extend,
    /// Write the last part, and make the new journal durable and current.
    Complete,
    /// Store nothing: only the output commits.
    Deliver,
}

impl Work {
    /// Whether this work stored the offsets of a commit. `is_ok`: it succeeded.
    #[must_use]
    pub fn stored(self, is_ok: bool) -> IsStored {
        if is_ok && self != Work::Deliver { IsStored::Yes } else { IsStored::No }
    }
}

/// One task that may block.
#[derive(Debug)]
pub struct Job {
    /// What to do.
    pub work: Work,
    /// Items of [`mod@format`], without frame heads.
    pub payload: Vec<u8>,
    /// Whether the output must be made durable first, because the offsets belong to bytes in it.
    pub is_output_due: bool,
    /// The output's descriptor, if the job concerns the output: for `fdatasync(2)` and for the
    /// stamp. A simulated output has none.
    pub output: Option<OwnedFd>,
    /// The output's part of the commit: called once the payload is stored, or could not be.
    pub commit: Option<OutputCommit>,
}

/// Why a [`Job`] failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The output could not be made durable, and nothing was stored.
    #[error("cannot make the output durable (fdatasync)")]
    Output(#[source] io::Error),
    /// The journal could not be written or made durable. It is not written to again; a new one must
    /// be started.
    #[error("cannot {action} {name} in the state directory")]
    Store {
        /// `write`, `sync`, `rename` ...
        action: &'static str,
        /// The file.
        name: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The journal is not where the next start would look for it. A new one must be started, which
    /// also restores what is missing.
    #[error(transparent)]
    Displaced(#[from] Displaced),
    /// The state directory cannot be created again, or cannot be locked.
    #[error("the state directory can no longer be used")]
    Anew(#[source] io::Error),
}

/// The outcome of a [`Job`].
#[derive(Debug)]
pub struct Done {
    /// The work of the job.
    pub work: Work,
    /// The job's buffer, for reuse.
    pub payload: Vec<u8>,
    /// Whether it succeeded, durably.
    pub result: Result<(), CommitError>,
    /// The outcome of the output's part; `None`: it had none.
    pub settled: Option<Result<(), Unsettled>>,
    /// Size of the current journal, in bytes.
    pub journal_bytes: u64,
    /// Whether commits can be appended to the current journal.
    pub is_appendable: bool,
    /// Set if the job restored a displaced store to its place.
    pub anew: Option<Anew>,
}

/// Performs [`Job`]s one after the other, without blocking the caller.
pub trait Committer {
    /// Submits a job. At most one is under way at a time.
    fn submit(&mut self, job: Job);
    /// The outcome of the job, once there is one. The loop is woken then.
    fn done(&mut self) -> Option<Done>;
}
