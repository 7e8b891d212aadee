//! The state of reading: the buffer, the encoder, and the files that are open.
//!
//! In: files whose turn it is. Out: records.
//! Always holds: a file that is open and not being read is held, because it has unread bytes, or
//! kept, because it was read a moment ago.

use std::time::Duration;

use hashbrown::HashMap;

use crate::config::Routes;
use crate::engine::HELD_MAX;
use crate::engine::namespace::registry::SlotId;
use crate::engine::reading::ends::Ends;
use crate::engine::reading::jobs::Jobs;
use crate::engine::reading::kept_files::KeptFiles;
use crate::engine::reading::rewriting::Rewrites;
use crate::engine::reading::routing::Routing;
use crate::reader::Reader;
use crate::record::Encoder;
use crate::sys::clock::Now;

/// A file that is held open though it is not being read.
#[derive(Debug)]
pub(in crate::engine) struct HeldFile<T> {
    pub(in crate::engine) file: T,
    /// The path by which it was last opened, read or found, which is certain. Empty: it still has
    /// the name by which it was opened, as far as events tell.
    pub(in crate::engine) path: Vec<u8>,
}

#[derive(Debug)]
pub(in crate::engine) struct Reading<T> {
    pub(super) reader: Reader,
    pub(in crate::engine) encoder: Encoder,
    /// What the names of files tell about jobs.
    pub(in crate::engine) jobs: Jobs,
    /// Only for outputs that want to know what each record is of.
    pub(in crate::engine) routing: Option<Routing>,
    pub(in crate::engine) held: HashMap<SlotId, HeldFile<T>>,
    /// Files that were read a moment ago and are still open, under the names by which they were
    /// read.
    pub(in crate::engine) kept: KeptFiles<T>,
    /// Files that are open besides the one being read, at most: held or kept.
    pub(in crate::engine) files_open_max: usize,
    /// Files that are, or may be, written over from the front.
    pub(in crate::engine) rewrites: Rewrites,
    /// Logs whose end may fall due.
    pub(in crate::engine) ends: Ends,
}

impl<T> Reading<T> {
    pub(in crate::engine) fn new(
        encoder: Encoder,
        routes: Option<Routes>,
        kept_for: Duration,
        now: Now,
    ) -> Self {
        Reading {
            reader: Reader::new(),
            encoder,
            jobs: Jobs::default(),
            routing: routes.map(Routing::new),
            held: HashMap::new(),
            kept: KeptFiles::new(HELD_MAX, kept_for, now.instant),
            files_open_max: HELD_MAX,
            rewrites: Rewrites::new(now),
            ends: Ends::new(now.wall),
        }
    }
}
