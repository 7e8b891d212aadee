//! A new journal: all that there is, in parts, so that no turn tells of more than
//! [`SNAPSHOT_SLOTS`] files.
//!
//! In: the ledger, and entries of files that were not found. Out: jobs for the parts.
//! Always holds: the new journal becomes current with its last part, which tells the output as it
//! is then.

use crate::checkpoint::format::Item;
use crate::checkpoint::{Work, format};
use crate::engine::Engine;
use crate::engine::commit::{Commits, PathTold, RETRY_LONGEST, SNAPSHOT_SLOTS, UnderWay};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A new journal: all that there is, in parts, and what changed meanwhile last.
    pub(super) fn begin_snapshot(&mut self, commits: &mut Commits) {
        commits.snapshot = Some(0);
        commits.ledger.begin_snapshot();
        commits.payload.clear();
        for (bucket, generation) in self.files.floors() {
            format::put(&Item::Floor(bucket, generation), &mut commits.payload);
        }
        commits.submit(Work::Begin, UnderWay::default(), None);
    }

    pub(super) fn store_snapshot_part(&mut self, commits: &mut Commits, now: Now) {
        commits.payload.clear();
        let mut place = commits.snapshot.expect("a snapshot is being written");
        let mut told = 0;
        while told < SNAPSHOT_SLOTS
            && let Some(entry) = commits.stored.at(place)
        {
            place += 1;
            told += 1;
            if let Some((entry, path)) = entry {
                format::put(&Item::Entry(entry, Some(path)), &mut commits.payload);
            }
        }
        commits.snapshot = Some(place);
        if told == 0 {
            let Some(slots) = commits.ledger.snapshot_part(SNAPSHOT_SLOTS) else {
                self.complete_snapshot(commits, now);
                return;
            };
            for key in slots {
                self.put_entry(commits, key, PathTold::Always);
            }
        }
        commits.submit(Work::Extend, UnderWay::default(), None);
    }

    fn complete_snapshot(&mut self, commits: &mut Commits, now: Now) {
        if commits.is_output_doubtful {
            rare!("a new journal was given up because the output is in doubt");
            // What was acknowledged since must not be stored.
            commits.snapshot = None;
            commits.ledger.end_snapshot();
            commits.retry_at = Some(now.instant + RETRY_LONGEST);
            return;
        }
        commits.scanned = self.scanned_paths(&commits.stored);
        let late = commits.ledger.take_late();
        let (under_way, point) = self.put_commit(commits, &late, PathTold::Always);
        // Changes not told here were told in their part; so were files born meanwhile.
        let changes = commits.ledger.take_changes();
        let births = std::mem::take(&mut commits.births);
        commits.submit(Work::Complete, UnderWay { changes, births, ..under_way }, Some(point));
    }
}
