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
//! [`engine`] is the pipeline. A turn drains the kernel's event queue, looks at names in doubt,
//! takes a slice of the listings that are due, reads dirty files within a budget, and offers the
//! records to the output. [`daemon`] is the loop around it: epoll, signals, the pace, the service
//! manager, and the clients that ask for the [`status`]. [`checkpoint`] keeps acknowledged offsets
//! in a journal, on a thread of its own. [`tools`] is the other side: `status` and `top` ask a
//! running daemon.
//!
//! The engine reads no clock and calls no kernel: the time is an argument, the kernel is
//! [`sys::FileSystem`], the output is [`sink::Sink`]. So a simulated kernel can drive the same code
//! through any order of events.
//!
//! # What always holds
//!
//! * Events are hints. The engine replays them in order to follow names through renames, and looks
//!   afterwards at everything they touch. If the look says something else, the look wins.
//! * A file with unread bytes is either queued or held back by something that is sure to end: it
//!   cools down, waits for the file that had its name before or for the end of a listing, is in
//!   doubt, will be tried again, waits until its generation is stored, or the output has no room.
//! * `committed <= acknowledged <= read`. Records that the output did not acknowledge stay in a
//!   batch, and their offsets are not stored. Offsets and the length of the output are stored
//!   together, as they were at one moment.
//! * The first record of a generation is sent only after the generation's number is durable, unless
//!   the store is failing: then it is sent anyway.
//! * The engine reads nothing while the batches are full: the files are the queue.
//! * A failed look is not a deletion. A second look judges a deletion.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | input | PATHs that are followed under the same rules: globs, where to start, labels |
//! | root | one PATH; a scope is the set of roots that cover a directory |
//! | way | the directories and links that the kernel walks to reach a PATH; manytail watches their names |
//! | single file | a PATH that is a file, or the target of a link; its directory, the home, is watched but not listed |
//! | group | the directory right below a PATH that a file is in; groups take turns |
//! | slot | the 64 bytes that each file costs; a bound slot is found by its name |
//! | offset | bytes from the start of a file to the first byte that is not encoded yet |
//! | mark | a digest of the bytes just before the offset; it proves that they are still there |
//! | generation | the content of a file until it restarts, and its number: the third part of `file` in json records |
//! | dirty | the file may have unread bytes |
//! | doubt | the name has to be looked at, to learn what it stands for |
//! | find | a look's answer that the slot does not stand for yet: a first file, another one, or none; believed unless an event about the name follows |
//! | visit | the listing of one directory, in slices |
//! | by age | files that a listing found and no event orders: the one that was written to last is read last |
//! | backlog | unread bytes of files that a listing found; other files are read between them |
//! | leaving, parked | the file lost its name a moment ago; it left the tree, and is remembered for ten minutes |
//! | segment | the bytes between two carriage returns of a progress bar, with `carriage_return` |
//! | record | an encoded line or segment, or a piece of one |
//! | batch, in flight | records that are collected; sealed batches, offered or waiting for the output, not acknowledged in full |
//! | commit | acknowledged offsets and the output's length, made durable together; see [`checkpoint`] |
//! | lag | how long a change waits, from the turn in which its event was read |
//! | turn, pace | one pass through the engine (a file's turn: its share of one, until it goes to the back of the queue); the longest time between two turns in a row |
//! | pressure | how much of the pace and of the cooling time the load asks for: 0 to 1 |
//! | held, kept | open between two reads because it has unread bytes; because it was read a moment ago |
//! | rescan, sweep | a look at everything after events were lost; the same look, spread over minutes, for what events cannot tell |
//! | blind | a file system on which other machines write without an event; it has a sweep of its own, more often |

// The documentation is for those who work on this: `--document-private-items`.
#![allow(rustdoc::private_intra_doc_links)]
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

// argv -> exit code; and the doors for tests.
pub mod entry;
pub mod testing;

// The process: the loop, signals, the state directory, clients.
mod daemon;

// Arguments, environment and files become settings.
mod cli;
mod settings;

// Commands that look at a tree or ask a running daemon, and what a person at a terminal sees.
mod tools;

// One turn.
mod engine;

// Where records and offsets go.
mod checkpoint;
mod sink;
mod tap;

// What a run tells of itself.
mod diagnostics;
mod status;

// Bytes become lines, and lines records.
mod lines;
mod reader;
mod record;
mod wide_text;

// Values of settings.
mod config;
mod names;
mod patterns;

// The system, and what is known about it.
mod file_systems;
mod mounts;
mod sys;

// Structures and test aids that know nothing of the rest.
mod fair_queue;
mod planted;
mod rare;
