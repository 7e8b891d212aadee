//! A file that is moved, deleted and replaced, and a SIGHUP that cannot be obeyed.

use std::time::{Duration, Instant};

use super::{FIRST_FILE, FakeSink};
use crate::checkpoint::OutputPoint;
use crate::config::Format;
use crate::diagnostics::notices::Notices;
use crate::engine::coverage::own::OwnFiles;
use crate::engine::output::outbox::Outbox;
use crate::engine::output::output_file::{Neighbours, OutputFile, Replaced};
use crate::sink::Place;
use crate::status::stats::Stats;
use crate::sys::clock;

/// An output file and what is around it.
struct World {
    file: OutputFile,
    outbox: Outbox<FakeSink>,
    own: OwnFiles,
    stats: Stats,
    notices: Notices,
    start: Instant,
}

impl World {
    fn new() -> World {
        World {
            file: OutputFile::new(),
            outbox: Outbox::new(FakeSink::new()),
            own: OwnFiles::new(Some((FIRST_FILE.device, FIRST_FILE.inode))),
            stats: Stats::default(),
            notices: Notices::default(),
            start: clock::now().instant,
        }
    }

    /// One whose file was deleted.
    fn with_deleted_file() -> World {
        let mut world = World::new();
        world.outbox.sink_mut().place = Place::Deleted;
        world.look(0);
        world
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn look(&mut self, millis: u64) {
        let now = self.at(millis);
        self.file.look(&mut self.outbox, &mut self.notices, now);
    }

    fn parts(&mut self) -> (&mut OutputFile, Neighbours<'_, FakeSink>) {
        let World { file, outbox, own, stats, notices, .. } = self;
        (file, Neighbours { outbox, own, stats, notices })
    }

    fn replace(
        &mut self,
        committed: Option<OutputPoint>,
        is_storable: bool,
        millis: u64,
    ) -> Replaced {
        let now = self.at(millis);
        let (file, mut around) = self.parts();
        file.replace(&mut around, committed, is_storable, now)
    }

    fn reopen(&mut self, millis: u64) -> bool {
        let now = self.at(millis);
        let (file, mut around) = self.parts();
        file.reopen(&mut around, now)
    }

    /// Whether the outbox offers records.
    fn sends(&mut self) -> bool {
        let before = self.outbox.sink().taken.len();
        self.outbox.bytes().extend_from_slice(b"x\n");
        self.outbox.send(self.start).unwrap();
        self.outbox.sink().taken.len() > before
    }

    fn said(&self, cause: &str) -> u64 {
        let (_, counts) = self.notices.counts().find(|(name, _)| *name == cause).unwrap();
        counts.said
    }
}

#[test]
fn a_deleted_file_is_replaced_in_steps() {
    for (is_storable, steps) in [
        (true, &[Replaced::Store, Replaced::Wait, Replaced::Done][..]),
        // There is no journal: what is owed goes out at once.
        (false, &[Replaced::Wait, Replaced::Wait, Replaced::Done]),
    ] {
        let mut world = World::with_deleted_file();
        assert!(world.file.is_replaced() && !world.sends(), "nothing goes into a deleted file");
        let stored = OutputPoint { id: FIRST_FILE, len: 40, format: Format::Raw };
        assert_eq!(world.replace(Some(stored), is_storable, 0), steps[0]);
        assert_eq!(world.outbox.sink().replaced_from, Some(Some(40)));
        assert_eq!(world.stats.outputs_replaced, 1);
        assert!(world.own.is_live(1, 11) && !world.own.is_live(1, 10), "the new file is ours");
        assert_eq!(world.sends(), !is_storable, "the journal has to know the new file first");
        world.file.successor_stored();
        world.file.hold(&mut world.outbox, true);
        assert!(world.sends(), "what is owed goes before offsets are stored");
        assert_eq!(world.replace(Some(stored), is_storable, 1), steps[1]);
        world.outbox.sink_mut().owed = 0;
        assert_eq!(world.replace(Some(stored), is_storable, 2), steps[2]);
        assert!(!world.file.is_replaced());
    }
}

#[test]
fn what_the_journal_says_counts_for_the_file_that_it_means_alone() {
    let other = crate::sys::FileId { inode: 99, ..FIRST_FILE };
    for (committed, from) in
        [(None, None), (Some((other, 40)), None), (Some((FIRST_FILE, 8)), Some(8))]
    {
        let mut world = World::with_deleted_file();
        let stored = committed.map(|(id, len)| OutputPoint { id, len, format: Format::Raw });
        world.replace(stored, true, 0);
        assert_eq!(world.outbox.sink().replaced_from, Some(from));
    }
}

#[test]
fn a_successor_that_cannot_be_opened_is_tried_again_with_growing_pauses() {
    let mut world = World::with_deleted_file();
    world.outbox.sink_mut().can_open = false;
    let mut tried = Vec::new();
    for millis in (0..40_000).step_by(100) {
        let errors = world.file.errors();
        assert_eq!(world.replace(None, true, millis), Replaced::Wait);
        if world.file.errors() > errors {
            tried.push(millis);
        }
    }
    assert_eq!(tried, [0, 500, 1_500, 3_500, 7_500, 15_500, 25_500, 35_500]);
    assert_eq!(world.said("output_deleted"), 1, "it is logged once");
    assert!(world.file.failure().is_some() && world.file.misplaced().is_none());
    assert_eq!(world.file.deadline(&world.outbox, false), Some(world.at(45_500)));
    assert_eq!(world.file.deadline(&world.outbox, true), None, "the job's outcome comes first");
    world.outbox.sink_mut().can_open = true;
    assert_eq!(world.replace(None, true, 45_500), Replaced::Store);
    assert_eq!((world.file.failure(), world.file.errors()), (None, 8));
}

#[test]
fn a_moved_file_is_reported_after_five_seconds_unless_a_signal_comes() {
    for (back_at, reports) in [(4_900, 0), (5_000, 1), (20_000, 1)] {
        let mut world = World::new();
        world.outbox.sink_mut().place = Place::Moved;
        for millis in (0..=back_at).step_by(100) {
            world.look(millis);
        }
        assert_eq!(world.said("output_moved"), reports, "{back_at}");
        assert!(world.file.misplaced().is_some_and(|text| text.contains("until SIGHUP")));
        assert_eq!(world.file.deadline(&world.outbox, false), Some(world.at(back_at + 5_000)));
        world.outbox.sink_mut().place = Place::Here;
        world.look(back_at + 100);
        assert_eq!(world.file.misplaced(), None);
        assert_eq!(world.file.deadline(&world.outbox, false), None);
        assert!(world.sends(), "records go on into the file");
    }
}

#[test]
fn a_signal_that_cannot_be_obeyed_is_tried_again_and_the_old_file_stays_in_use() {
    let mut world = World::new();
    world.outbox.sink_mut().can_open = false;
    assert!(!world.reopen(0));
    assert!(world.own.is_live(1, 10) && world.sends());
    assert!(world.file.misplaced().is_some_and(|text| text.starts_with("SIGHUP asked")));
    assert!(!world.file.is_reopened_now(world.at(499)));
    assert!(world.file.is_reopened_now(world.at(500)));
    assert!(!world.file.is_reopened_now(world.at(501)), "each attempt is made once");
    assert!(!world.reopen(500));
    assert_eq!((world.said("reopen"), world.file.errors()), (1, 2));
    assert!(!world.file.is_reopened_now(world.at(1_499)));
    assert!(world.file.is_reopened_now(world.at(1_500)));
    world.outbox.sink_mut().can_open = true;
    assert!(world.reopen(1_500));
    assert!(world.own.is_live(1, 11) && world.file.misplaced().is_none());
    assert!(!world.file.is_reopened_now(world.at(99_000)));
}

#[test]
fn a_signal_while_a_deleted_file_is_replaced_asks_for_what_is_done_anyway() {
    let asks = |world: &mut World| {
        let now = world.at(10);
        let (file, around) = world.parts();
        file.is_reopened_by_replacement(around.outbox, around.notices, now)
    };
    let mut world = World::new();
    assert!(!asks(&mut world), "no file was deleted");
    world.outbox.sink_mut().place = Place::Deleted;
    assert!(asks(&mut world), "that it was deleted comes to light now");
    world.outbox.sink_mut().can_open = false;
    world.replace(None, true, 10);
    assert!(asks(&mut world));
    world.outbox.sink_mut().can_open = true;
    assert_eq!(world.replace(None, true, 11), Replaced::Store, "the signal ends the pause");
    assert!(asks(&mut world));
    assert!(!world.file.is_reopened_now(world.at(99_000)));
    world.file.successor_stored();
    assert!(asks(&mut world), "the new file may have been renamed meanwhile");
    world.outbox.sink_mut().owed = 0;
    assert_eq!(world.replace(None, true, 12), Replaced::Done);
    assert!(world.file.is_reopened_now(world.at(99_000)), "so it is opened anew later");
}
