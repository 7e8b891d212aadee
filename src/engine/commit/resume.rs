//! What the journal says -> where files go on; and what becomes of entries whose files are not
//! found.
//!
//! In: a look at a file never seen in this run, or the end of the first scan. Out: a slot that goes
//! on where it was; entries dropped.
//! Always holds: an entry is dropped only after two looks, [`GONE_AFTER`] apart, that both could
//! have found the file.

use std::time::{Duration, Instant, SystemTime};

use nix::libc;

use crate::checkpoint::state::StoredOffsets;
use crate::checkpoint::{Entry, EntryFlags};
use crate::engine::commit::nanos;
use crate::engine::coverage::root::RootState;
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::registry::{SlotId, State};
use crate::engine::namespace::tree::{DirId, Trust};
use crate::engine::schedule::{KeptBack, Schedule};
use crate::engine::{Engine, LOOKS_PER_TURN};
use crate::file_systems::FileSystemType;
use crate::names::prefix_of;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::file::CLOCK_TICK;
use crate::sys::{FileId, FileSystem, Links, Stat};

/// Between the two looks: as long as a file that leaves the tree is remembered.
const GONE_AFTER: Duration = Duration::from_secs(600);

/// How long the entry of a file is kept that exists but is not followed: another PATH, another
/// glob, a file system not mounted.
const KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);

/// The pass over entries whose files were not found.
#[derive(Debug, Default)]
pub(in crate::engine) struct Absence {
    /// The next entry's place; `None`: no pass is running.
    place: Option<usize>,
    /// When the next pass begins.
    next: Option<Instant>,
    is_scanned: bool,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A file that this run sees for the first time: identifies it, and lets it go on where the
    /// journal says. Says whether it did.
    pub(in crate::engine) fn resume(&mut self, id: SlotId, found: &Stat) -> bool {
        let links = self.write_path(id);
        let Some(commits) = &mut self.commits else {
            self.files.identify(id, found.id, 0);
            return false;
        };
        let known_as = match commits.stored.get(found.id) {
            Some(_) => Some(found.id),
            None => commits.stored.find_renumbered(found.id, &self.path).or_else(|| {
                let copied = commits.stored.find_copied_up(found.id, &self.path)?;
                self.fs
                    .file_system(&self.path, links)
                    .is_ok_and(FileSystemType::is_overlay)
                    .then_some(copied)
            }),
        };
        let stored = known_as.and_then(|known| commits.stored.get(known));
        let floor = stored.map_or_else(
            || commits.stored.generation_floor(found.id),
            |(entry, _)| entry.generation,
        );
        self.files.identify(id, found.id, floor);
        let Some((entry, path)) = stored else { return false };
        // 0: the output had records of it beyond the last commit.
        let is_as_stored = entry.id == found.id
            && entry.absent_since == 0
            && path == self.path
            && entry.complete_at != 0;
        let key = self.files.key(id);
        let is_path_stored = path == self.path && entry.id == found.id;
        let entry = Entry { flags: entry.flags - EntryFlags::GONE, ..entry };
        commits.ledger.resume(key, &entry, is_path_stored);
        rare!("a file went on where the journal says");
        if !is_as_stored {
            commits.ledger.touch(key);
        }
        commits.stored.take(entry.id);
        if entry.id != found.id {
            rare!("a file was recognised by its path though its inode number had changed");
            commits.ledger.drop_entry(entry.id, entry.generation);
        }
        let slot = self.files.get_mut(id);
        slot.generation = entry.generation;
        slot.offset = entry.offset;
        slot.mark = entry.mark;
        slot.mark_len = entry.mark_len;
        slot.put(State::SKIP_NULS, entry.flags.contains(EntryFlags::SKIP_NULS));
        slot.put(State::SEEK_LINE, entry.flags.contains(EntryFlags::SEEK_LINE));
        self.decide_by_first_block(id);
        true
    }

    /// Whether the journal has an entry of this file.
    pub(in crate::engine) fn is_stored(&mut self, id: SlotId, file: FileId) -> bool {
        self.write_path(id);
        let Some(commits) = &self.commits else { return false };
        commits.stored.get(file).is_some()
            || commits.stored.find_renumbered(file, &self.path).is_some()
    }

    /// Looks at a path; cheaper if the journal knows the file.
    pub(in crate::engine) fn stat_stored(&mut self, links: Links) -> std::io::Result<Stat> {
        match &self.commits {
            Some(commits) if !commits.stored.is_empty() => {
                self.fs.stat_known(&self.path, links, &mut |device, inode| {
                    commits.stored.life(device, inode)
                })
            }
            _ => self.fs.stat(&self.path, links),
        }
    }

    /// Whether this may be a file that has an entry under another name, one that would be followed
    /// today.
    pub(in crate::engine) fn was_renamed(
        &mut self,
        dir: DirId,
        name: &[u8],
        inode: u64,
    ) -> Option<InputId> {
        let device = self.tree.get(dir).inode.0;
        let commits = self.commits.as_ref().filter(|commits| !commits.stored.is_empty())?;
        let before = commits.stored.path_of(device, inode)?;
        self.path.clear();
        self.tree.write_path(dir, &mut self.path);
        self.path.extend_from_slice(name);
        let (above, _) = self.path.split_at(self.tree.prefix_len(dir));
        let below = before.strip_prefix(above).filter(|_| before != self.path)?;
        let name_before = below.rsplit(|&byte| byte == b'/').next().unwrap_or(below);
        let mut roots =
            self.coverage.inputs.roots(self.tree.get(self.tree.root_of(dir)).scope).iter();
        let root = roots.find(|&&root| {
            self.coverage.inputs.rules(root).patterns.accepts_file(name_before, below)
        })?;
        Some(self.coverage.inputs.of_root(*root))
    }

    /// Whether a file that goes on may have changed while nobody looked. If not, it is not opened.
    pub(in crate::engine) fn may_have_changed(&mut self, id: SlotId, found: &Stat) -> bool {
        let Some(commits) = &mut self.commits else { return true };
        let key = self.files.key(id);
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

    /// The content of a file begins here, in an generation that was never used for its inode. Its
    /// records wait until that is stored.
    pub(in crate::engine) fn begin_generation(&mut self, id: SlotId) {
        self.begin_generation_read_at(id, 0);
    }

    /// The same of a file that was empty at this time.
    pub(in crate::engine) fn begin_empty_generation(&mut self, id: SlotId, now: Now) {
        self.begin_generation_read_at(id, nanos(now.wall));
    }

    fn begin_generation_read_at(&mut self, id: SlotId, read_at: u64) {
        self.decide_by_first_block(id);
        let Some(commits) = &mut self.commits else { return };
        let slot = self.files.get(id);
        let flags = entry_flags(slot.state());
        if commits.begin_generation(
            self.files.key(id),
            slot.generation,
            slot.offset,
            flags,
            read_at,
        ) {
            Schedule::hold_back(&mut self.files, id, KeptBack::Store);
        }
    }

    /// The generation of a file that a listing brought up begins when its turn comes.
    pub(in crate::engine) fn put_generation_off(&mut self, id: SlotId) {
        self.decide_by_first_block(id);
        if self.commits.is_some() {
            Schedule::hold_back(&mut self.files, id, KeptBack::Store);
        }
    }

    /// Its turn has come.
    pub(in crate::engine) fn begin_by_age_generation(&mut self, id: SlotId) {
        let key = self.files.key(id);
        if self.commits.as_ref().is_some_and(|commits| commits.ledger.get(key).is_none()) {
            Schedule::stop_holding_back(&mut self.files, id, KeptBack::Store);
            rare!("the generation of a listed file began when its turn came");
            self.begin_generation(id);
        }
    }

    /// The offset moved without a record.
    pub(in crate::engine) fn moved_on(&mut self, id: SlotId) {
        if self.commits.is_none() || !self.outbox.is_empty() {
            // With records before it in flight, the next record brings it along.
            return;
        }
        let reached = self.reached(id);
        if let Some(commits) = &mut self.commits {
            commits.ledger.acknowledge(&reached);
        }
    }

    /// The path of a file changed, or it has one again.
    pub(in crate::engine) fn path_changed(&mut self, id: SlotId) {
        if let Some(commits) = &mut self.commits {
            commits.ledger.renamed(self.files.key(id));
        }
    }

    /// The file is gone: so is its entry. It is remembered for a while in case it has another name.
    pub(in crate::engine) fn drop_entry(&mut self, id: SlotId) {
        if let (Some(commits), Some(file)) = (&mut self.commits, self.files.file_id(id)) {
            commits.ledger.let_go(self.files.key(id), file);
        }
        if let Some(file) = self.files.file_id(id) {
            let generation = self.files.get(id).generation;
            self.files.forget_generation(file, generation);
        }
    }

    /// The file is forgotten for good.
    pub(in crate::engine) fn forget_entry(&mut self, id: SlotId) {
        if let (Some(commits), Some(file)) = (&mut self.commits, self.files.file_id(id)) {
            commits.ledger.forget(self.files.key(id), file);
        }
    }

    /// PATHs that were scanned once: `--from` does not apply to what is found there any more.
    pub(in crate::engine) fn is_scanned(&self, path: &[u8]) -> bool {
        self.commits.as_ref().is_some_and(|commits| commits.stored.is_scanned(path))
    }

    /// The same, of all that are known, for a new journal.
    pub(in crate::engine) fn scanned_paths(&self, stored: &StoredOffsets) -> Vec<Vec<u8>> {
        let now = if self.discovery.absence.is_scanned {
            self.coverage.found_roots()
        } else {
            Vec::new()
        };
        let before = stored
            .scanned()
            .filter(|path| !now.iter().any(|known| known == path))
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        now.into_iter().chain(before).collect()
    }

    /// What is there at the start is still being found.
    pub(in crate::engine) fn is_first_scan(&self) -> bool {
        !self.discovery.absence.is_scanned
    }

    /// A PATH was added: once all is calm again, it was scanned.
    pub(in crate::engine) fn scan_is_under_way(&mut self) {
        self.discovery.absence.is_scanned = false;
    }

    /// Looks at files that have an entry but were not found, in slices: after the first scan, and
    /// every [`GONE_AFTER`] from then on.
    pub(in crate::engine) fn look_for_absent(&mut self, now: Now) {
        if self.commits.is_none() {
            return;
        }
        if !self.discovery.absence.is_scanned && self.is_calm() && self.schedule.by_age.is_empty() {
            self.discovery.absence.is_scanned = true;
            let scanned = self.coverage.found_roots();
            let commits = self.commits.as_mut().expect("just seen");
            commits.scanned =
                scanned.into_iter().filter(|path| !commits.stored.is_scanned(path)).collect();
            commits.stored.shrink();
            self.discovery.absence.place = Some(0);
        }
        if self.discovery.absence.next.is_some_and(|at| at <= now.instant) {
            self.discovery.absence.next = None;
            self.discovery.absence.place = Some(0);
        }
        let Some(first) = self.discovery.absence.place else { return };
        for place in first..first + LOOKS_PER_TURN {
            let commits = self.commits.as_ref().expect("just seen");
            match commits.stored.at(place) {
                Some(Some((entry, path))) => {
                    let path = path.to_vec();
                    self.judge_absent(entry, &path, now);
                }
                Some(None) => {}
                None => {
                    self.discovery.absence.place = None;
                    // With `--once` there is no second look in this run.
                    self.discovery.absence.next = (!commits.stored.is_empty() && !self.config.once)
                        .then_some(now.instant + GONE_AFTER);
                    return;
                }
            }
        }
        self.discovery.absence.place = Some(first + LOOKS_PER_TURN);
    }

    /// A file has an entry, but was not found.
    fn judge_absent(&mut self, entry: Entry, path: &[u8], now: Now) {
        let today = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let absent_for = today.saturating_sub(Duration::from_secs(entry.absent_since));
        let was_gone = entry.flags.contains(EntryFlags::GONE);
        let is_gone = self.is_gone(entry.id, path);
        let commits = self.commits.as_mut().expect("there are entries");
        let is_over = is_gone == Some(true) && was_gone && absent_for >= GONE_AFTER;
        if is_over || (entry.absent_since != 0 && absent_for >= KEPT_FOR) {
            rare!("the entry of a file that is gone was dropped");
            commits.stored.take(entry.id);
            self.files.forget_generation(entry.id, entry.generation);
            commits.ledger.drop_entry(entry.id, entry.generation);
        } else if entry.absent_since == 0 || (is_gone == Some(true) && !was_gone) {
            if let Some(entry) = commits.stored.get_mut(entry.id) {
                entry.absent_since = today.as_secs();
                entry.flags.set(EntryFlags::GONE, is_gone == Some(true));
            }
            rare!("a file that the journal knows was absent");
            commits.stored_changes.push(entry.id);
        }
    }

    /// Whether the file is not where it was. `None`: a look cannot tell.
    fn is_gone(&mut self, file: FileId, path: &[u8]) -> Option<bool> {
        if path.is_empty() {
            return Some(true);
        }
        let trusted = self.trusted_by_a_path(path);
        let trust = Trust {
            trusted: trusted.unwrap_or_default(),
            followed: trusted.map_or(0, |_| path.len()),
        };
        let links = trust.links(self.tree.link_rule());
        match self.fs.stat(path, links) {
            Ok(found) => Some(found.id != file),
            // What is not below a PATH any more may have been reached through links.
            Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) && trusted.is_none() => None,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                rare!("a file that the journal knows had no name any more");
                // Where a file system is not mounted, nothing is found, and nothing is gone.
                (self.device_above(path, trusted.unwrap_or_default())? == file.device)
                    .then_some(true)
            }
            Err(_) => None,
        }
    }

    /// How much of a path, as records show it, is the PATH that it is below.
    fn trusted_by_a_path(&self, path: &[u8]) -> Option<usize> {
        let roots = self.coverage.roots.iter().filter(|root| root.state != RootState::Removed);
        roots
            .filter_map(|root| {
                let prefix = prefix_of(&root.path);
                if path.starts_with(&prefix) {
                    Some(prefix.len())
                } else {
                    (path == root.path).then_some(path.len())
                }
            })
            .max()
    }

    /// The device of the directory nearest above the path that exists.
    fn device_above(&mut self, path: &[u8], trusted: usize) -> Option<u64> {
        let mut above = path;
        while let Some(slash) = memchr::memrchr(b'/', above) {
            above = &above[..slash];
            let directory = if above.is_empty() { b"/" } else { above };
            let links =
                if directory.len() < trusted { Links::Follow } else { Links::Beneath(trusted) };
            match self.fs.stat(directory, links) {
                Ok(found) => return Some(found.id.device),
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {}
                Err(_) => return None,
            }
        }
        self.fs.stat(b".", Links::Follow).ok().map(|found| found.id.device)
    }

    /// When the next pass over absent files is due; at once while one is running.
    pub(in crate::engine) fn absence_deadline(&self) -> Option<Instant> {
        self.discovery.absence.next
    }

    /// A pass over absent files is running.
    pub(in crate::engine) fn is_looking_for_absent(&self) -> bool {
        self.discovery.absence.place.is_some()
    }
}

/// What a journal has to know of a slot's state.
pub(in crate::engine) fn entry_flags(state: State) -> EntryFlags {
    let mut flags = EntryFlags::empty();
    flags.set(EntryFlags::SKIP_NULS, state.contains(State::SKIP_NULS));
    flags.set(EntryFlags::SEEK_LINE, state.contains(State::SEEK_LINE));
    flags
}
