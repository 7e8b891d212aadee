//! The offsets that are kept, if there is a state directory: what the other rooms report about a
//! file is noted here.
//!
//! In: generations that begin, names that change, files that are gone. Out: changes in the
//! ledger; files that wait for the store.
//! Always holds: without a state directory nothing is kept, and no file waits.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use crate::config::Binary;
use crate::engine::commit::commits::Commits;
use crate::engine::namespace::inputs::Inputs;
use crate::engine::namespace::registry::{Registry, SlotId, State};
use crate::engine::output::batch::{Reached, entry_flags};
use crate::engine::schedule::{HeldBack, Schedule};
use crate::rare::rare;
use crate::status::CommitStatus;
use crate::sys::file::CLOCK_TICK;
use crate::sys::{FileId, FileSystem, Links, Stat};

/// See the module.
#[derive(Debug, Default)]
pub(in crate::engine) struct KeptOffsets(Option<Box<Commits>>);

impl KeptOffsets {
    /// Offsets are kept from now on.
    pub(super) fn keep(&mut self, commits: Commits) {
        self.0 = Some(Box::new(commits));
    }

    #[inline]
    pub(in crate::engine) fn get(&self) -> Option<&Commits> {
        self.0.as_deref()
    }

    #[inline]
    pub(in crate::engine) fn get_mut(&mut self) -> Option<&mut Commits> {
        self.0.as_deref_mut()
    }

    /// Whether a job is under way.
    pub(in crate::engine) fn is_storing(&self) -> bool {
        self.get().is_some_and(Commits::is_storing)
    }

    /// Whether records of any file wait until a generation is stored.
    pub(in crate::engine) fn has_births(&self) -> bool {
        self.get().is_some_and(Commits::has_births)
    }

    /// Whether the output is to be reopened as soon as what it got is committed.
    pub(in crate::engine) fn is_reopening(&self) -> bool {
        self.get().is_some_and(|commits| commits.is_reopening)
    }

    /// Whether a new journal is being written.
    pub(super) fn is_snapshot_under_way(&self) -> bool {
        self.get().is_some_and(|commits| commits.snapshot.is_some())
    }

    /// Whether the store lost its place and has no new journal yet.
    pub(super) fn is_displaced(&self) -> bool {
        self.get().is_some_and(|commits| commits.displaced.is_some())
    }

    /// The state of commits, for people.
    pub(in crate::engine) fn status(&self, now: Instant) -> CommitStatus {
        self.get().map(|commits| commits.status(now)).unwrap_or_default()
    }

    /// The content of a file begins here, in a generation that was never used for its inode. Its
    /// records wait until that is stored. `read_at`: in nanoseconds since 1970, when the file was
    /// seen to be empty, or 0.
    pub(in crate::engine) fn begin_generation(
        &mut self,
        files: &mut Registry,
        inputs: &Inputs,
        id: SlotId,
        read_at: u64,
    ) {
        decide_by_first_block(files, inputs, id);
        let Some(commits) = self.get_mut() else { return };
        let slot = files.get(id);
        let flags = entry_flags(slot);
        let (key, generation, offset) = (files.key(id), slot.generation, slot.offset);
        if commits.begin_generation(key, generation, offset, flags, read_at) {
            Schedule::hold_back(files, id, HeldBack::Store);
        }
    }

    /// The generation of a file that a listing found begins when its turn comes.
    pub(in crate::engine) fn put_generation_off(
        &self,
        files: &mut Registry,
        inputs: &Inputs,
        id: SlotId,
    ) {
        decide_by_first_block(files, inputs, id);
        if self.get().is_some() {
            Schedule::hold_back(files, id, HeldBack::Store);
        }
    }

    /// Its turn has come.
    pub(in crate::engine) fn begin_by_age_generation(
        &mut self,
        files: &mut Registry,
        inputs: &Inputs,
        id: SlotId,
    ) {
        let key = files.key(id);
        if self.get().is_some_and(|commits| commits.ledger.get(key).is_none()) {
            Schedule::stop_holding_back(files, id, HeldBack::Store);
            rare!("the generation of a listed file began when its turn came");
            self.begin_generation(files, inputs, id, 0);
        }
    }

    /// The offset moved without a record, and no record is on its way to the output. Otherwise the
    /// next record brings the offset along.
    pub(in crate::engine) fn moved_on(&mut self, reached: &Reached) {
        if let Some(commits) = self.get_mut() {
            commits.ledger.acknowledge(reached);
        }
    }

    /// The file was read to its end at this time, in nanoseconds since 1970, and there was nothing
    /// new.
    pub(in crate::engine) fn read_to_end(&mut self, files: &Registry, id: SlotId, at: u64) {
        if let Some(commits) = self.get_mut() {
            commits.ledger.read_to_end(files.key(id), at);
        }
    }

    /// When the file was read to its end, if all of it up to there was acknowledged; or 0.
    pub(in crate::engine) fn read_at(&self, files: &Registry, id: SlotId) -> u64 {
        let slot = files.get(id);
        let known = self.get().and_then(|commits| commits.ledger.get(files.key(id)));
        known
            .filter(|known| (known.generation, known.offset) == (slot.generation, slot.offset))
            .map_or(0, |known| known.read_at)
    }

    /// The path of a file changed, or it has one again.
    pub(in crate::engine) fn path_changed(&mut self, files: &Registry, id: SlotId) {
        if let Some(commits) = self.get_mut() {
            commits.ledger.renamed(files.key(id));
        }
    }

    /// The file is gone, and so is its entry. It is remembered for a while in case it has another
    /// name.
    pub(in crate::engine) fn drop_entry(&mut self, files: &mut Registry, id: SlotId) {
        let Some(file) = files.file_id(id) else { return };
        if let Some(commits) = self.get_mut() {
            commits.ledger.let_go(files.key(id), file);
        }
        let generation = files.get(id).generation;
        files.forget_generation(file, generation);
    }

    /// The file is forgotten for good.
    pub(in crate::engine) fn forget_entry(&mut self, files: &Registry, id: SlotId) {
        if let (Some(commits), Some(file)) = (self.get_mut(), files.file_id(id)) {
            commits.ledger.forget(files.key(id), file);
        }
    }

    /// Whether the PATH was scanned once: `--from` no longer applies to what is found there.
    pub(in crate::engine) fn is_scanned(&self, path: &[u8]) -> bool {
        self.get().is_some_and(|commits| commits.stored.is_scanned(path))
    }

    /// Whether the journal has an entry of this file.
    pub(in crate::engine) fn is_stored(&self, file: FileId, path: &[u8]) -> bool {
        self.get().is_some_and(|commits| {
            commits.stored.get(file).is_some()
                || commits.stored.find_renumbered(file, path).is_some()
        })
    }

    /// Looks at a path. This is cheaper if the journal knows the file.
    pub(in crate::engine) fn stat<F: FileSystem>(
        &self,
        fs: &mut F,
        path: &[u8],
        links: Links,
    ) -> io::Result<Stat> {
        match self.get().filter(|commits| !commits.stored.is_empty()) {
            Some(commits) => {
                fs.stat_known(path, links, &mut |device, inode| commits.stored.life(device, inode))
            }
            None => fs.stat(path, links),
        }
    }

    /// Whether a file that goes on may have changed while nobody looked. If not, it is not opened.
    pub(in crate::engine) fn may_have_changed(
        &mut self,
        files: &Registry,
        id: SlotId,
        found: &Stat,
    ) -> bool {
        let Some(commits) = self.get_mut() else { return true };
        let key = files.key(id);
        let Some(known) = commits.ledger.get(key) else { return true };
        let complete_at = SystemTime::UNIX_EPOCH + Duration::from_nanos(known.read_at);
        let has_grown = found.size != known.offset;
        let is_suspect =
            found.modified.checked_add(CLOCK_TICK).is_none_or(|modified| modified >= complete_at);
        if is_suspect {
            commits.ledger.read_to_end(key, 0);
        }
        if !has_grown && !is_suspect {
            rare!("a file that had not changed was not opened");
        }
        has_grown || is_suspect
    }
}

/// A generation begins: if it does so at byte 0 and the input wants that, its first block decides
/// whether it is read.
pub(super) fn decide_by_first_block(files: &mut Registry, inputs: &Inputs, id: SlotId) {
    let is_asked = inputs.get(files.get(id).input).binary == Binary::Skip;
    let slot = files.get_mut(id);
    // Of a file that goes on, nothing was delivered so far if it is at its start.
    slot.put(State::UNDECIDED, is_asked && slot.offset == 0);
}
