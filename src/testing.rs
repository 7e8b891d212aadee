//! What tests, benches and fuzz targets outside of `src` use. Nothing else of the library is
//! public, and nothing here is promised to anybody else.
//!
//! In: -. Out: names of other modules, under the same paths.
//! Always holds: a name is here because something outside of `src` uses it.

/// Offsets on disk.
pub mod checkpoint {
    pub use crate::checkpoint::{
        CommitError, Committer, Done, Entry, EntryFlags, Job, OutputPoint, Work,
    };

    /// Bytes of the journal.
    pub mod format {
        pub use crate::checkpoint::format::{
            FRAME_MAGIC, HEAD_BYTES, HEADER_BYTES, Head, HeaderError, Item, Kind,
            generation_bucket, header, items, put,
        };
    }
    /// A whole journal.
    pub mod journal {
        pub use crate::checkpoint::journal::{Defect, decode};
    }
    /// Records that are read again.
    pub mod record_parser {
        pub use crate::checkpoint::record_parser::{GenerationKey, Line, Progress, parse_json};
    }
    /// An output after a crash.
    pub mod reconcile {
        pub use crate::checkpoint::reconcile::{Origin, Tail, reconcile};
    }
    /// The stamp of an output file.
    pub mod stamp {
        pub use crate::checkpoint::stamp::{Stamp, Unexplained};
    }
    /// What a journal says.
    pub mod state {
        pub use crate::checkpoint::state::StoredOffsets;
    }
    /// The files of the journal.
    pub mod store {
        pub use crate::checkpoint::store::{Store, StoreError, look};
    }
}

/// The command line.
pub mod cli {
    pub use crate::cli::{Command, parse};
}

/// Values of settings.
pub mod config {
    pub use crate::config::{
        Alphabet, Binary, CarriageReturn, EndRules, EngineConfig, Filters, Format, InputConfig,
        JobRules, Metrics, Output, RecordRule, RecordRules, Routes, StartAt, Symlinks, Template,
        TemplateError,
    };
}

/// The loop's parts that take bytes from strangers.
pub mod daemon {
    /// Requests of HTTP clients.
    pub mod http {
        pub use crate::daemon::http::{HEAD_BYTES_MAX, Head, Response, parse};
    }
}

/// The log.
pub mod diagnostics {
    pub use crate::diagnostics::Level;
}

/// The pipeline.
pub mod engine {
    pub use crate::engine::{Engine, EngineError, ResumeFrom, Turn};
}

/// Kinds of file systems.
pub mod file_systems {
    pub use crate::file_systems::FileSystemType;
}

/// Bytes to lines.
pub mod lines {
    pub use crate::lines::{End, Line, split_lines};
}

/// Globs.
pub mod patterns {
    pub use crate::patterns::Patterns;
}

/// Faults to be found.
pub mod planted {
    pub use crate::planted::{Fault, plant};
}

/// Rare branches.
pub mod rare {
    pub use crate::rare::record;
}

/// Lines to records.
pub mod record {
    pub use crate::record::{Encoder, Source};
}

/// The table of settings.
pub mod settings {
    pub use crate::settings::{BROKERS, Row, Scope, TABLE};
}

/// Outputs.
pub mod sink {
    pub use crate::sink::{
        Decided, FilePoint, IsStored, Known, Mismatch, Number, Origin, OutputCommit, Place,
        Receiver, Record, Records, Sent, Settle, Sink, SinkError, SinkState, Unsettled, Verdict,
        Wants, decide,
    };

    /// The decisions of the output `nats:`, without a server.
    pub mod nats {
        pub use crate::sink::nats::positions::Positions;
        pub use crate::sink::nats::protocol::{
            BATCH_BYTES, BATCH_HEADER, BatchName, Expectation, FILE_HEADER, Headers, Last,
            MESSAGES_MAX, Next, OFFSET_HEADER, PIECE_HEADER, next, printable_identity,
        };
    }
}

/// States of files.
pub mod status {
    /// One file.
    pub mod file {
        pub use crate::status::file::{FileState, FileStatus};
    }
}

/// The operating system.
pub mod sys {
    pub use crate::sys::{
        Closes, Disk, FileId, FileKind, FileSystem, Guard, KnownLife, LinkRule, Links, Linux,
        OpenInode, Place, RefusedLink, Stat, WatchId, clock,
    };

    /// The state directory.
    pub mod disk {
        pub use crate::sys::disk::{Access, LinuxDisk};
    }
    /// Files.
    pub mod file {
        pub use crate::sys::file::{CLOCK_TICK, Listing, OpenFile};
    }
    /// Events.
    pub mod inotify {
        pub use crate::sys::inotify::{
            EVENT_BYTES_MAX, Events, NAMES_MASK, RawEvent, SELF_MASK, WATCH_MASK, encode, mask,
        };
    }
}
