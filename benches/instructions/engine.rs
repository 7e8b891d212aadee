//! Whole turns on 100,000 files in memory: only events, one line of each file, and large files in
//! one read.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use manytail::testing::cli::{self, Command};
use manytail::testing::engine::{Engine, Turn};
use manytail::testing::sys::clock::{self, Now};

use crate::Case;
use crate::callgrind::{Units, only_this_is_counted};
use crate::memory::{LINE, Memory, ROOT};
use crate::taking::Taking;

const FILES: usize = 100_000;
/// Equal events in a row: from a writer that is faster than the engine.
const BURST: usize = 10;
const LARGE_FILES: usize = 4;
/// Lines of a large file: 1 MiB.
const LARGE_LINES: usize = 1024 * 1024 / LINE.len();

pub(crate) const CASES: [Case; 8] = [
    Case { name: "events-single", run: || events(1) },
    Case { name: "events-burst", run: || events(BURST) },
    Case { name: "turn-raw", run: || lines("raw", FILES, 1) },
    Case { name: "turn-text", run: || lines("text", FILES, 1) },
    Case { name: "turn-json", run: || lines("json", FILES, 1) },
    Case { name: "bulk-raw", run: || lines("raw", LARGE_FILES, LARGE_LINES) },
    Case { name: "bulk-text", run: || lines("text", LARGE_FILES, LARGE_LINES) },
    Case { name: "bulk-json", run: || lines("json", LARGE_FILES, LARGE_LINES) },
];

/// An engine and its time, which passes only between rounds.
struct Bench {
    engine: Engine<Memory, Taking>,
    now: Now,
}

impl Bench {
    /// An engine that has read the first line of each file.
    fn new(files: usize, options: &[&str]) -> Self {
        let arguments = ["manytail", "run", "--rescan", "0"]
            .iter()
            .chain(options)
            .chain(&[ROOT])
            .map(OsString::from);
        let Ok(Command::Run(settings)) = cli::parse(arguments, []) else {
            panic!("the arguments are right")
        };
        let config = settings.config;
        let now = Now {
            instant: clock::now().instant,
            wall: SystemTime::UNIX_EPOCH + Duration::new(1_795_341_600, 123_456_789),
        };
        let mut bench = Bench {
            engine: Engine::new(config.engine, Memory::new(files), Taking::new(|_| {}), now),
            now,
        };
        bench.turn();
        assert_eq!(
            (bench.engine.sizes().files, bench.records()),
            (files, files),
            "every file was found and read"
        );
        bench
    }

    fn records(&self) -> usize {
        self.engine.stats().records as usize
    }

    /// Turns until there is nothing to do.
    fn turn(&mut self) {
        self.engine.events_ready();
        while self.engine.turn(self.now).expect("nothing fails here") == Turn::Again {}
    }

    /// Every file gets lines, and one event reports them.
    fn append_everywhere(&mut self, files: usize, lines: usize) {
        self.now = Now {
            instant: self.now.instant + Duration::from_secs(1),
            wall: self.now.wall + Duration::from_secs(1),
        };
        let memory = self.engine.file_system_mut();
        for at in 0..files {
            let file = shuffled(at, files);
            memory.append(file, lines);
            memory.tell(file);
        }
    }
}

/// A permutation of `0..count` without a relevant pattern: steps by a prime that divides none of
/// the counts used here.
fn shuffled(at: usize, count: usize) -> usize {
    at * 7_919 % count
}

/// Events about files that cool down: the files are marked dirty, and not read.
fn events(burst: usize) -> Units {
    let mut bench = Bench::new(FILES, &["--coalesce", "1h"]);
    let memory = bench.engine.file_system_mut();
    for at in 0..FILES / burst {
        for _ in 0..burst {
            memory.tell(shuffled(at, FILES));
        }
    }
    only_this_is_counted(&mut || bench.turn());
    assert_eq!(
        (bench.engine.stats().events as usize, bench.records()),
        (FILES, FILES),
        "every event was taken, nothing was read"
    );
    Units::new("event", FILES)
}

/// Reads new lines of each file.
fn lines(format: &str, files: usize, lines: usize) -> Units {
    let mut bench = Bench::new(files, &["--format", format]);
    // Warmed up: every buffer has its final size.
    bench.append_everywhere(files, lines);
    bench.turn();
    bench.append_everywhere(files, lines);
    let before = bench.records();
    only_this_is_counted(&mut || bench.turn());
    assert_eq!(bench.records() - before, files * lines, "every line came");
    Units::new("line", files * lines)
}
