//! What a job stores: generations, changed entries, and where the output was at the same moment.
//!
//! In: the ledger, the files as they are now, the output. Out: items of
//! [`mod@format`] in the payload of a job.
//! Always holds: the offsets and the length of the output in one commit are of one moment. An
//! offset is never beyond what was read.

use std::time::{Instant, SystemTime};

use hashbrown::HashSet;

use crate::checkpoint::format::{self, Item};
use crate::checkpoint::{EntryFlags, Work};
use crate::config::Format;
use crate::engine::commit::agreement::{Agreement, Asked};
use crate::engine::commit::commits::{Commits, KnownOutput, UnderWay};
use crate::engine::commit::ledger::{Changes, Known};
use crate::engine::commit::nanos;
use crate::engine::namespace::registry::{Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::Tree;
use crate::engine::output::batch::Reached;
use crate::engine::output::outbox::{Outbox, Point};
use crate::rare::rare;
use crate::sink::{Number, OutputCommit, Settle, Sink};

/// New files that one job makes durable at most.
const BIRTHS_MAX: usize = 8192;

/// Whether the path of a file is stored along with its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StorePath {
    /// If the journal does not have it.
    IfNew,
    /// In a journal that is new itself.
    Always,
}

/// What entries are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'a> {
    pub(super) files: &'a Registry,
    pub(super) tree: &'a Tree,
    /// The time up to which events have reported every modification; `None`: some may be missing.
    pub(super) events_until: Option<SystemTime>,
}

impl Present<'_> {
    /// Up to when every modification of a file was acknowledged: until it was read to its end, or,
    /// if events tell of every modification, until now.
    fn complete_at(&self, id: SlotId, known: &Known) -> u64 {
        let slot = self.files.get(id);
        if known.offset != slot.offset || known.read_at == 0 {
            return 0;
        }
        let in_doubt = State::DIRTY | State::DOUBT | State::RETRY | State::UNREADABLE;
        let is_watched =
            self.tree.at_place(slot.dir().0).is_some_and(|dir| self.tree.watch(dir).is_some());
        // Events do not tell of a file without a name.
        let is_known = slot.is_bound() && !slot.state().intersects(in_doubt);
        match self.events_until {
            Some(until) if is_watched && is_known => known.read_at.max(nanos(until)),
            _ => known.read_at,
        }
    }
}

impl Commits {
    /// Stores new generations and nothing else: first records wait for them.
    pub(super) fn store_births(&mut self, present: Present<'_>) {
        let rest = self.births.split_off(self.births.len().min(BIRTHS_MAX));
        let births = std::mem::replace(&mut self.births, rest);
        self.payload.clear();
        for &key in &births {
            self.put_entry(present, key, StorePath::IfNew);
        }
        self.submit(Work::Append, UnderWay { births, ..UnderWay::default() }, None);
    }

    /// Stores the file that took the place of a deleted one and nothing else, because what is about
    /// to be sent to it is not committed yet. Says whether the output is a file.
    pub(super) fn store_output<S: Sink>(&mut self, outbox: &mut Outbox<S>, format: Format) -> bool {
        self.payload.clear();
        let Some(point) = outbox.point_of_new_file(format) else { return false };
        format::put(&Item::Output(point.stored), &mut self.payload);
        let output = KnownOutput::of(point.stored);
        self.submit(Work::Append, UnderWay { output, ..UnderWay::default() }, Some(point));
        true
    }

    /// Commits everything that was acknowledged.
    pub(super) fn store_changes<S: Sink>(
        &mut self,
        present: Present<'_>,
        outbox: &mut Outbox<S>,
        format: Format,
    ) {
        self.payload.clear();
        self.taken = outbox.taken();
        if let Some(reached) = outbox.acknowledge_part(format) {
            rare!("a commit covered a part of what the output took");
            self.ledger.acknowledge(&reached);
        }
        let changes = self.ledger.take_changes();
        let point = outbox.point(format);
        let under_way = self.put_commit(present, &changes, &[], &point, StorePath::IfNew);
        self.submit(Work::Append, UnderWay { changes, ..under_way }, Some(point));
    }

    /// Commits everything that was acknowledged, or that the output acknowledges by this commit.
    /// Returns `false` if that waits for what the output accepted to arrive.
    pub(super) fn settle<S: Sink>(
        &mut self,
        present: Present<'_>,
        outbox: &mut Outbox<S>,
        format: Format,
        now: Instant,
    ) -> bool {
        if self.agreement.has_transactions {
            self.settling_since.get_or_insert(now);
        }
        match outbox.settle() {
            Settle::Acknowledged if self.is_appendable => {
                self.agreement.is_waiting = false;
                self.store_changes(present, outbox, format);
            }
            Settle::Acknowledged => {
                rare!("an output had nothing to commit while no journal could be written");
                // What it lost is offered again, and counts once it has taken that.
                self.taken = outbox.taken();
                self.changed_since = None;
            }
            Settle::Wait => {
                self.agreement.is_waiting = true;
                outbox.hold(true);
                return false;
            }
            Settle::Lost => {
                self.agreement.ask(Asked::Lost);
                outbox.hold(true);
                outbox.block(now);
            }
            Settle::Transaction { number, commit } => {
                outbox.hold(true);
                self.store_numbered(present, outbox, format, (number, commit));
            }
        }
        true
    }

    /// Stores everything that the output accepted under a number, and has the output commit it,
    /// too.
    pub(super) fn store_numbered<S: Sink>(
        &mut self,
        present: Present<'_>,
        outbox: &mut Outbox<S>,
        format: Format,
        (number, commit): (Number, OutputCommit),
    ) {
        self.payload.clear();
        self.taken = outbox.taken();
        assert_eq!(number.previous, self.agreement.number, "both count the same commits");
        if !self.is_appendable {
            self.changed_since = None;
            let under_way = UnderWay { number: Some(number), ..UnderWay::default() };
            self.submit_with(Work::Deliver, under_way, None, Some(commit));
            return;
        }
        let reached = outbox.reached(format);
        let changes = self.ledger.take_changes();
        let point = outbox.point(format);
        format::put(&Item::Number(number), &mut self.payload);
        self.agreement.is_number_stored = true;
        let under_way = self.put_commit(present, &changes, &reached, &point, StorePath::IfNew);
        let under_way = UnderWay { changes, number: Some(number), ..under_way };
        self.submit_with(Work::Append, under_way, Some(point), Some(commit));
    }

    /// Writes changes, and the output as it is at this moment. `reached`: where what the output
    /// commits along with this brings files.
    pub(super) fn put_commit(
        &mut self,
        present: Present<'_>,
        changes: &Changes,
        reached: &[Reached],
        point: &Point,
        path: StorePath,
    ) -> UnderWay {
        self.changed_since = None;
        self.put_agreement(point, path);
        format::put(&Item::Output(point.stored), &mut self.payload);
        for &(file, generation) in &changes.gone {
            format::put(&Item::Forget(file, generation), &mut self.payload);
        }
        for reached in reached {
            self.put_entry_at(present, reached.file, Some(reached), path);
        }
        let reached: HashSet<SlotKey> = reached.iter().map(|reached| reached.file).collect();
        for &key in changes.slots.iter().filter(|key| !reached.contains(*key)) {
            self.put_entry(present, key, path);
        }
        let stored = std::mem::take(&mut self.stored_changes);
        let scanned = std::mem::take(&mut self.scanned);
        for &file in &stored {
            if let Some((entry, path)) = self.stored.get(file) {
                format::put(&Item::Entry(entry, Some(path)), &mut self.payload);
            }
        }
        for path in &scanned {
            format::put(&Item::Scanned(path), &mut self.payload);
        }
        let output = KnownOutput::of(point.stored);
        UnderWay { stored, scanned, output, ..UnderWay::default() }
    }

    /// Writes what was agreed with the receiver: its last commit, if the journal does not say so
    /// yet, our name at it, and where its stream is.
    fn put_agreement(&mut self, point: &Point, path: StorePath) {
        let Agreement { number, is_number_stored, .. } = self.agreement;
        let is_new = path == StorePath::Always;
        if !is_number_stored || (is_new && number != 0) {
            format::put(&Item::Settled(number), &mut self.payload);
        }
        self.agreement.is_number_stored = true;
        if !self.stored.identity().is_empty() && (is_new || self.output == KnownOutput::Unknown) {
            format::put(&Item::Identity(self.stored.identity()), &mut self.payload);
        }
        if let Some(sequence) = point.sequence {
            format::put(&Item::Sequence(sequence), &mut self.payload);
        }
    }

    /// Writes the entry of one file, if the file is still there.
    pub(super) fn put_entry(&mut self, present: Present<'_>, key: SlotKey, path: StorePath) {
        self.put_entry_at(present, key, None, path);
    }

    /// The same, at the place to which a part brings it.
    fn put_entry_at(
        &mut self,
        present: Present<'_>,
        key: SlotKey,
        reached: Option<&Reached>,
        path: StorePath,
    ) {
        let Present { files, tree, .. } = present;
        let Some(id) = files.alive(key) else { return };
        let Some(file) = files.file_id(id) else { return };
        let Some(known) = self.ledger.get(key).filter(|known| known.is_kept()) else { return };
        let mut known = *known;
        reached.into_iter().for_each(|reached| {
            known.reach(reached);
        });
        let slot = files.get(id);
        // While the start of a last line is searched for, the offset goes back.
        let is_comparable =
            known.generation == slot.generation && !known.flags.contains(EntryFlags::SEEK_LINE);
        assert!(
            !is_comparable || known.offset <= slot.offset,
            "acknowledged <= read: {} and {}",
            known.offset,
            slot.offset
        );
        let entry = known.entry(file, present.complete_at(id, &known));
        let is_path_stored = self.ledger.needs_path(key) || path == StorePath::Always;
        self.path.clear();
        if is_path_stored && tree.at_place(slot.dir().0).is_some() && !files.name(id).is_empty() {
            tree.write_path(slot.dir(), &mut self.path);
            self.path.extend_from_slice(files.name(id));
        }
        format::put(&Item::Entry(entry, is_path_stored.then_some(&self.path)), &mut self.payload);
    }
}
