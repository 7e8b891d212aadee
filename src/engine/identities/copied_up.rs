//! Files on an overlay that are copied up: the first change of a file of a lower layer gives it
//! another birth, perhaps another inode.
//!
//! In: a look that found another identity under the name of a file that is followed. Out: the file
//! goes on at its offset, under the new identity.
//! Always holds: events decide, never content. The directory is watched, and none of them told that
//! another file took the name; the mark proves with the next read that the content is the same.

use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, SlotId, SlotKey, State};
use crate::engine::schedule::{KeptBack, Schedule};
use crate::file_systems::FileSystemType;
use crate::sink::Sink;
use crate::sys::{FileId, FileSystem, Stat};

/// Files that kept the former inode when one of their hard links was copied up: at most so many
/// wait to be found.
const LEFT_BEHIND_MAX: usize = 64;

/// What goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The inode that a name left.
    File(FileId),
    /// A name, if it stands for another inode now.
    Name(SlotKey),
}

/// How far the content of an inode was read when one of its names got another inode.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct LeftBehind {
    who: Who,
    offset: u64,
    mark: u32,
    mark_len: u8,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Whether what a look found under the file's name is the same file, copied up.
    pub(in crate::engine) fn is_copied_up(
        &mut self,
        id: SlotId,
        known: FileId,
        found: &Stat,
    ) -> bool {
        let slot = self.files.get(id);
        let is_same_inode = (known.device, known.inode) == (found.id.device, found.id.inode);
        if slot.life() != Life::Following
            || slot.state().contains(State::UNCONFIRMED)
            || self.files.find_id(found.id).is_some()
        {
            return false;
        }
        if is_same_inode && known.is_other_life(found.id) {
            return false;
        }
        // A copy gets another inode if the file had further names, and those are told of: but not
        // while events are missed.
        if !is_same_inode
            && (slot.state().contains(State::VIA_LINK)
                || self.kernel.is_missing_events
                || self.discovery.is_rescan_due)
        {
            return false;
        }
        let is_watched =
            self.tree.at_place(slot.dir().0).is_some_and(|dir| self.tree.watch(dir).is_some());
        if !is_watched {
            return false;
        }
        let links = self.write_path(id);
        self.fs.file_system(&self.path, links).is_ok_and(FileSystemType::is_overlay)
    }

    /// It is: it goes on.
    pub(in crate::engine) fn go_on_copied_up(&mut self, id: SlotId, known: FileId, found: &Stat) {
        let is_same_inode = (known.device, known.inode) == (found.id.device, found.id.inode);
        tracing::debug!(path = %self.path.escape_ascii(), ?known, found = ?found.id, "copied up");
        self.close(id);
        let (key, before) = (self.files.key(id), self.files.get(id).generation);
        if !is_same_inode {
            self.leave_behind(id, known);
        }
        self.files.identify_anew(id, found.id);
        let after = self.files.get(id).generation;
        if let Some(commits) = &mut self.commits {
            commits.renumbered(key, (known, before), after);
            if !is_same_inode && commits.is_generation_awaited(key) {
                Schedule::hold_back(&mut self.files, id, KeptBack::Store);
            }
        }
    }

    /// The other names of the inode stay with it: they go on from here as a file of their own.
    fn leave_behind(&mut self, id: SlotId, file: FileId) {
        let generation = self.files.get(id).generation;
        self.files.forget_generation(file, generation);
        self.note_left_behind(id, Who::File(file));
        while let Some((dir, name)) = self.files.take_alias(id) {
            self.track_if_accepted(dir, &name);
        }
    }

    fn note_left_behind(&mut self, id: SlotId, who: Who) {
        let slot = self.files.get(id);
        let left =
            LeftBehind { who, offset: slot.offset, mark: slot.mark, mark_len: slot.mark_len };
        if self.identities.left_behind.len() >= LEFT_BEHIND_MAX {
            self.identities.left_behind.pop_front();
        }
        self.identities.left_behind.push_back(left);
    }

    /// An event told of a modification, and under its own name the file was not modified: on an
    /// overlay a further name may have got an inode of its own.
    pub(in crate::engine) fn ask_about_further_names(&mut self, id: SlotId) {
        if !self.files.has_aliases(id) {
            return;
        }
        let links = self.write_path(id);
        if !self.fs.file_system(&self.path, links).is_ok_and(FileSystemType::is_overlay) {
            return;
        }
        while let Some((dir, name)) = self.files.take_alias(id) {
            if let Some(other) = self.track_if_accepted(dir, &name) {
                let key = self.files.key(other);
                self.note_left_behind(id, Who::Name(key));
            }
        }
    }

    /// A file is new to us, but its content was read under another name up to here: says whether
    /// that is so.
    pub(in crate::engine) fn start_where_left_behind(&mut self, id: SlotId, file: FileId) -> bool {
        let name = self.files.key(id);
        let is_it = |left: &LeftBehind| left.who == Who::File(file) || left.who == Who::Name(name);
        let Some(at) = self.identities.left_behind.iter().position(is_it) else { return false };
        let left = self.identities.left_behind.remove(at).expect("just found");
        let slot = self.files.get_mut(id);
        slot.offset = left.offset;
        slot.mark = left.mark;
        slot.mark_len = left.mark_len;
        true
    }
}
