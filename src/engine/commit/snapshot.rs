//! A new journal with everything in it, written in parts so that no turn writes more than
//! [`SNAPSHOT_SLOTS`] entries.
//!
//! In: the ledger, and entries of files that were not found. Out: one job for each part.
//! Always holds: the new journal becomes current with its last part, which describes the output as
//! it is then.

use std::time::Instant;

use crate::checkpoint::Work;
use crate::checkpoint::format::{self, Item};
use crate::config::Format;
use crate::engine::commit::commits::{Commits, RETRY_LONGEST, UnderWay};
use crate::engine::commit::payload::{Present, StorePath};
use crate::engine::namespace::registry::Registry;
use crate::engine::output::outbox::Outbox;
use crate::rare::rare;
use crate::sink::Sink;

/// Slots in one part of a snapshot: some hundred microseconds of work.
const SNAPSHOT_SLOTS: usize = 2048;

impl Commits {
    /// Begins a new journal.
    pub(super) fn begin_snapshot(&mut self, files: &Registry) {
        self.snapshot = Some(0);
        self.ledger.begin_snapshot();
        self.payload.clear();
        for (bucket, generation) in files.floors() {
            format::put(&Item::Floor(bucket, generation), &mut self.payload);
        }
        self.submit(Work::Begin, UnderWay::default(), None);
    }

    /// Stores the next part. Returns `false` if all parts but the last one are stored:
    /// [`Commits::complete_snapshot`] comes next.
    pub(super) fn store_snapshot_part(&mut self, present: Present<'_>) -> bool {
        self.payload.clear();
        let mut place = self.snapshot.expect("a snapshot is being written");
        let mut count = 0;
        while count < SNAPSHOT_SLOTS
            && let Some(entry) = self.stored.at(place)
        {
            place += 1;
            count += 1;
            if let Some((entry, path)) = entry {
                format::put(&Item::Entry(entry, Some(path)), &mut self.payload);
            }
        }
        self.snapshot = Some(place);
        if count == 0 {
            let Some(slots) = self.ledger.snapshot_part(SNAPSHOT_SLOTS) else { return false };
            for key in slots {
                self.put_entry(present, key, StorePath::Always);
            }
        }
        self.submit(Work::Extend, UnderWay::default(), None);
        true
    }

    /// Stores the last part: what changed since the part it belongs to was written, and the output.
    /// `found`: PATHs that were scanned in this run.
    pub(super) fn complete_snapshot<S: Sink>(
        &mut self,
        present: Present<'_>,
        outbox: &mut Outbox<S>,
        format: Format,
        found: Vec<Vec<u8>>,
        now: Instant,
    ) {
        if self.is_output_doubtful {
            rare!("a new journal was given up because the output is in doubt");
            // What was acknowledged since must not be stored.
            self.snapshot = None;
            self.ledger.end_snapshot();
            self.retry_at = Some(now + RETRY_LONGEST);
            return;
        }
        self.scanned = self.all_scanned(found);
        let late = self.ledger.take_late();
        let point = outbox.point(format);
        let under_way = self.put_commit(present, &late, &[], &point, StorePath::Always);
        // The other changes, and generations that began meanwhile, are in their parts.
        let changes = self.ledger.take_changes();
        let births = std::mem::take(&mut self.births);
        self.submit(Work::Complete, UnderWay { changes, births, ..under_way }, Some(point));
    }

    /// PATHs that were scanned in this run or before.
    fn all_scanned(&self, found: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let is_new = |path: &&[u8]| !found.iter().any(|known| known == path);
        let before: Vec<Vec<u8>> =
            self.stored.scanned().filter(is_new).map(<[u8]>::to_vec).collect();
        found.into_iter().chain(before).collect()
    }
}
