//! manytail is `tail -F` for hundreds of thousands of job logs: one thread, one inotify instance,
//! no file open at rest.
//!
//! # The one idea
//!
//! **The file is the buffer.** `pread` at an offset can be repeated, so an unfinished line stays in
//! the file and an offset moves only past what was encoded. There is no carry buffer per file and
//! no state of a partial line. Data flows one way:
//!
//! ```text
//! kernel events -> interpret -> registry (identity, offset, dirty bit) -> read (open, pread, close) -> lines -> record
//!               -> batch -> sink -> acknowledgement -> checkpoint
//! ```
//!
//! # What happens in one turn
//!
//! [`engine`] is the pipeline: it drains the kernel's queue, looks at names in doubt, takes a slice
//! of the listings that are due, reads dirty files within a budget, and offers what came of it to
//! the output. [`daemon`] is the loop around it: epoll, signals, the pace, the service manager, and
//! clients that ask how it goes ([`status`]). [`checkpoint`] keeps acknowledged
//! offsets in a journal, on a thread of its own. The engine reads no clock and touches no kernel:
//! time is an argument, the kernel is [`sys::FileSystem`], the output is [`sink::Sink`]. So a
//! simulated kernel can drive the same code through any order of events. [`tools`] is the other
//! side: `status` and `top` ask a running daemon.
//!
//! # What always holds
//!
//! * Events are hints. They are replayed in order to follow names through renames; whatever they
//!   touch is looked at afterwards, and what the look says wins.
//! * A file with unread bytes is in a queue of files to read, or something keeps it that ends: it
//!   cools down, waits for the file that had its name before or for the end of a listing, is in
//!   doubt, is to be tried again, or the output has no room.
//! * `committed <= acknowledged <= read`: what the output did not acknowledge is still in a batch,
//!   and no offset is stored for it. What is stored belongs together: the offsets and the length of
//!   the output at one moment.
//! * The first record of a story leaves after its incarnation is stored; nobody waits for a store
//!   that fails.
//! * No room in the batches, no read: the files are the queue.
//! * A failure to look is not a deletion; a deletion is judged by a second look.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | input | PATHs that are followed under the same rules: globs, where to start, labels |
//! | way | the directories and links that the kernel walks to get to a PATH; their names are watched |
//! | root, scope | a PATH; those that cover a directory, so that an input of theirs may accept what is in it |
//! | slot | the 64 bytes kept per file |
//! | offset | bytes from the start of a file up to the first that was not yet encoded |
//! | mark | a digest of the bytes just before the offset; read along with the new ones, it proves that they are still there |
//! | story | the content of a file from byte 0, until it restarts or ends |
//! | commit | acknowledged offsets, and the output's length, made durable together; see [`checkpoint`] |
//! | incarnation | how often the content of an inode restarted; the third part of `file` in json records |
//! | dirty | may have unread bytes |
//! | doubt | what the name stands for is to be looked at |
//! | backlog | files that a listing brought up: read one after the other, in the order in which they were modified |
//! | leaving, parked | lost its name a moment ago; left the tree or was deleted, and is remembered for ten minutes |
//! | record | a line, or a piece of one, encoded |
//! | batch, in flight | records on their way; offered to the output but not acknowledged |
//! | lag | how long a change has been waiting, from the turn in which the kernel told of it |
//! | turn, pace | one pass through the engine; the time between two of them that follow each other, at most |
//! | pressure | how much of that time, and of the time a file cools down, the load asks for: 0 to 1 |
//! | held, kept | open though it is not being read: because it has unread bytes; because it was read a moment ago |
//! | rescan, sweep | a look at everything because events were lost; the same, slowly, because events cannot tell all |
//! | blind | of a file system: others write to it and no event tells, so that it has a sweep of its own, more often |

// A cast that loses something is written where it is meant. Not in Cargo.toml: tests and benches
// are not asked.
#![warn(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_lossless,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )
)]

// The layers, from the top: a module imports from its own group and from those below it, and no
// circle leads back to it (`tests/tidy.rs`).

// The process: the loop, signals, the state directory, clients.
pub mod daemon;

// Arguments, environment and files become settings.
pub mod cli;
pub mod settings;

// Commands that look at a tree or ask a running daemon, and what a person at a terminal sees.
pub mod tools;

// One turn.
pub mod engine;

// Where records and offsets go.
pub mod checkpoint;
pub mod sink;
mod tap;

// What a run tells of itself.
pub mod diagnostics;
pub mod status;

// Bytes become lines, and lines records.
pub mod lines;
mod reader;
pub mod record;
mod wide_text;

// Values of settings.
pub mod config;
mod names;
pub mod patterns;

// The system, and what is known about it.
pub mod file_systems;
mod mounts;
pub mod sys;

// Structures and test aids that know nothing of the rest.
mod fair_queue;
pub mod marks;
pub mod planted;
