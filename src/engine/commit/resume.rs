//! What the journal says -> where files go on.
//!
//! In: a look at a file that is new to this run. Out: a slot that goes on where it was.
//! Always holds: a file goes on at the offset that was acknowledged last, in the same generation.

use crate::checkpoint::{Entry, EntryFlags};
use crate::engine::Engine;
use crate::engine::commit::kept_offsets::decide_by_first_block;
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::registry::{SlotId, State};
use crate::engine::namespace::tree::DirId;
use crate::file_systems::FileSystemType;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::{FileSystem, Stat};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A file that this run sees for the first time: identifies it, and lets it go on where the
    /// journal says. Says whether it did.
    pub(in crate::engine) fn resume(&mut self, id: SlotId, found: &Stat) -> bool {
        let links = self.write_path(id);
        let Some(commits) = self.offsets.get_mut() else {
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
        // `complete_at` is 0 if `reconcile` moved the offset on, or if not all was read and
        // acknowledged at the commit.
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
        slot.is_end_told = entry.flags.contains(EntryFlags::ENDED);
        decide_by_first_block(&mut self.files, &self.coverage.inputs, id);
        true
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
        let commits = self.offsets.get().filter(|commits| !commits.stored.is_empty())?;
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
}
