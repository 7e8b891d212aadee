//! Offsets that survive: what was acknowledged becomes durable, and is found again at the next
//! start.
//!
//! In: what the output acknowledged. Out: a journal in the state directory, and at the start a
//! [`state::StoredOffsets`] of what it says.
//! Always holds: `committed <= acknowledged <= read`; what is stored belongs together (offsets and
//! the output's length at one moment); a store that failed says so and is never written to again.
//!
//! [`mod@format`] is bytes (pure), [`journal`] how a whole file of them is read, [`state`] what
//! they mean, [`store`] the files, over the calls of [`Disk`](crate::sys::Disk). The engine hands
//! [`Job`]s to a [`Committer`], whose blocking calls are made on a thread of their own.

pub mod format;
pub mod journal;
pub mod reconcile;
pub(crate) mod record_parser;
pub mod stamp;
pub mod state;
pub mod store;
pub mod thread;

use std::io;
use std::os::fd::OwnedFd;

use bitflags::bitflags;

use crate::config::Format;
use crate::sys::FileId;

bitflags! {
    /// What else is to be known to go on at an offset.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct EntryFlags: u8 {
        /// NULs at the offset were left by a truncation: they are skipped.
        const SKIP_NULS = 1 << 0;
        /// The offset is where the file ended when it was first seen: the start of its unfinished
        /// last line is before it.
        const SEEK_LINE = 1 << 1;
        /// A look found the file gone, at `absent_since`.
        const GONE = 1 << 2;
    }
}

/// The offset of a file that received our own output: it is never read. An older version of this
/// program takes such a file for one that was truncated, and reads it from its start.
pub const OWN_OUTPUT: u64 = u64::MAX;

/// How far one file was delivered. Its path is stored beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Device, inode, and what tells two lives of an inode apart.
    pub id: FileId,
    /// How often the content of this inode restarted: the third part of `file` in json records.
    pub generation: u32,
    /// Bytes from the start of the file up to the first that was not acknowledged; or
    /// [`OWN_OUTPUT`].
    pub offset: u64,
    /// Digest of the `mark_len` bytes just before `offset`.
    pub mark: u32,
    /// At most 64; 0: the bytes before `offset` are not known.
    pub mark_len: u8,
    /// What else is to be known.
    pub flags: EntryFlags,
    /// Nanoseconds since 1970: every modification up to then was read and acknowledged. 0: not
    /// known.
    pub complete_at: u64,
    /// Seconds since 1970: since when the file is not found under the paths that are followed. 0:
    /// it is found.
    pub absent_since: u64,
}

/// What a regular output file held when offsets were committed: the two belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputPoint {
    /// Which file.
    pub id: FileId,
    /// Its length in bytes, up to the end of the last record whose offset is committed.
    pub len: u64,
    /// How the records after it are written.
    pub format: Format,
}

/// What is not any more where a process that starts now would look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Displaced {
    /// See [`Elsewhere`](crate::sys::Place::Elsewhere).
    #[error("the state directory was removed, renamed, replaced, mounted over or unmounted")]
    Directory,
    /// See [`Unlocked`](crate::sys::Place::Unlocked).
    #[error("the lock in the state directory was removed or replaced")]
    Lock,
    /// The journal has no name any more, or another file has it.
    #[error("the journal in the state directory was removed or replaced")]
    Journal,
}

/// How a store came into its place again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anew {
    /// What had happened.
    pub what: Displaced,
    /// Device and inode of the directory.
    pub directory: (u64, u64),
    /// Journals that were found there and are not this process's, under the names that they have
    /// now.
    pub aside: Vec<String>,
}

/// What a [`Committer`] is to do with a payload of [`mod@format`] items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Look whether the journal is where the next start would look for it. Nothing is stored.
    Check,
    /// Append a commit to the current journal, durably.
    Append,
    /// Start a new journal beside the current one with the first part of a snapshot. A half-made
    /// one of before is dropped.
    Begin,
    /// A further part of the snapshot.
    Extend,
    /// The last part: makes the new journal durable and current.
    Complete,
}

/// One piece of work that may block.
#[derive(Debug)]
pub struct Job {
    /// What to do.
    pub work: Work,
    /// Items of [`mod@format`], without framing.
    pub payload: Vec<u8>,
    /// The output is made durable before anything is stored: the offsets are of bytes in it.
    pub is_output_due: bool,
    /// Its descriptor, if the job tells of the output: for `fdatasync(2)`, and to be stamped. A
    /// simulated output has none.
    pub output: Option<OwnedFd>,
}

/// What failed when a [`Job`] did.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The output could not be made durable: nothing was stored.
    #[error("cannot make the output durable (fdatasync)")]
    Output(#[source] io::Error),
    /// The journal could not be written or made durable. It is not written to again: a new one has
    /// to be begun.
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
    /// The journal is not where the next start would look for it. A new one has to be begun, which
    /// makes anew what is missing.
    #[error(transparent)]
    Displaced(#[from] Displaced),
    /// The state directory cannot be made anew, or not be locked.
    #[error("the state directory cannot be used any more")]
    Anew(#[source] io::Error),
}

/// What became of a [`Job`].
#[derive(Debug)]
pub struct Done {
    /// Which it was.
    pub work: Work,
    /// Its buffer, to be used again.
    pub payload: Vec<u8>,
    /// Durable, or not.
    pub result: Result<(), CommitError>,
    /// Bytes of the current journal.
    pub journal_bytes: u64,
    /// Whether commits can be appended to it.
    pub is_appendable: bool,
    /// The job brought the store into its place again.
    pub anew: Option<Anew>,
}

/// Does [`Job`]s, one after the other, without blocking the caller.
pub trait Committer {
    /// Hands a job over. At most one is under way at a time.
    fn submit(&mut self, job: Job);
    /// The outcome of the job, once it is there. The loop is woken when that is the case.
    fn done(&mut self) -> Option<Done>;
}
