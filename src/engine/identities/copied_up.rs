//! Files on an overlay that are copied up: the first change of a file of a lower layer gives it
//! another birth, perhaps another inode.
//!
//! In: a look that found another identity under the name of a file that is followed. Out: the file
//! goes on at its offset, under the new identity.
//! Always holds: events decide, never content. The directory is watched, and no event said that
//! another file took the name; at the next read, the mark proves that the content is the same.

use std::collections::VecDeque;

use crate::engine::Engine;
use crate::engine::namespace::registry::{FileSlot, Life, Registry, SlotId, SlotKey, State};
use crate::engine::schedule::{HeldBack, Schedule};
use crate::file_systems::FileSystemType;
use crate::sink::Sink;
use crate::sys::{FileId, FileSystem, Stat};

/// How many inodes are remembered whose other names are still to be found.
const LEFT_BEHIND_MAX: usize = 64;

/// What goes on from there: an inode or a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The inode that a name left.
    File(FileId),
    /// A name, if it stands for another inode now.
    Name(SlotKey),
}

/// How far the content of an inode was read when one of its names got another inode.
#[derive(Debug, Clone, Copy)]
struct ReadUpTo {
    who: Who,
    offset: u64,
    mark: u32,
    mark_len: u8,
}

/// Inodes of which one name got another inode: where their other names go on. The last ones.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    all: VecDeque<ReadUpTo>,
}

impl LeftBehind {
    fn note(&mut self, slot: &FileSlot, who: Who) {
        if self.all.len() >= LEFT_BEHIND_MAX {
            self.all.pop_front();
        }
        let FileSlot { offset, mark, mark_len, .. } = *slot;
        self.all.push_back(ReadUpTo { who, offset, mark, mark_len });
    }

    /// Starts a new file where its content was read up to under another name. Returns whether it
    /// was.
    pub(super) fn start_there(&mut self, files: &mut Registry, id: SlotId, file: FileId) -> bool {
        let name = files.key(id);
        let is_it = |left: &ReadUpTo| left.who == Who::File(file) || left.who == Who::Name(name);
        let Some(at) = self.all.iter().position(is_it) else { return false };
        let left = self.all.remove(at).expect("just found");
        let slot = files.get_mut(id);
        slot.offset = left.offset;
        slot.mark = left.mark;
        slot.mark_len = left.mark_len;
        true
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Whether a look found the same file under its name, copied up.
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
        // A copy gets another inode if the file had further names. Events report those, unless
        // events are missed.
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

    /// The file was copied up: it goes on under its new identity.
    pub(in crate::engine) fn go_on_copied_up(&mut self, id: SlotId, known: FileId, found: &Stat) {
        let is_same_inode = (known.device, known.inode) == (found.id.device, found.id.inode);
        tracing::debug!(path = %self.path.escape_ascii(), ?known, found = ?found.id, "copied up");
        self.reading.close(id);
        let (key, before) = (self.files.key(id), self.files.get(id).generation);
        if !is_same_inode {
            // The other names of the inode stay with it: they go on from here as a separate file.
            self.files.forget_generation(known, before);
            self.identities.left_behind.note(self.files.get(id), Who::File(known));
            while let Some((dir, name)) = self.files.take_alias(id) {
                self.track_if_accepted(dir, &name);
            }
        }
        self.files.identify_anew(id, found.id);
        let after = self.files.get(id).generation;
        if let Some(commits) = self.offsets.get_mut() {
            commits.renumbered(key, (known, before), after);
            if !is_same_inode && commits.await_generation(key) {
                Schedule::hold_back(&mut self.files, id, HeldBack::Store);
            }
        }
    }

    /// An event reported a write, but the file under this name was not written to: on an overlay, a
    /// further name may have got an inode of its own.
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
                self.identities.left_behind.note(self.files.get(id), Who::Name(key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::tree::DirId;

    #[test]
    fn a_file_starts_where_its_inode_or_its_name_was_left_behind_once_and_the_oldest_go() {
        let (mut files, mut left) = (Registry::new(), LeftBehind::default());
        let inode = |inode| FileId { device: 1, inode, inode_generation: 0 };
        let [read, by_name, by_inode, other] =
            [b"r", b"n", b"i", b"o"].map(|name| files.insert(DirId(0), name));
        files.get_mut(read).offset = 100;
        files.get_mut(read).mark_len = 8;
        left.note(files.get(read), Who::Name(files.key(by_name)));
        files.get_mut(read).offset = 200;
        left.note(files.get(read), Who::File(inode(2)));
        // Which file, with which inode, and from where it goes on.
        for (id, inode_number, offset) in [
            (other, 9, None),
            (by_name, 7, Some(100)),
            (by_inode, 2, Some(200)),
            (by_name, 7, None),
            (other, 2, None),
        ] {
            files.get_mut(id).offset = 0;
            let starts_there = left.start_there(&mut files, id, inode(inode_number));
            assert_eq!(starts_there, offset.is_some(), "{id:?} {inode_number}");
            assert_eq!(files.get(id).offset, offset.unwrap_or(0));
        }
        assert_eq!(files.get(by_name).mark_len, 8);
        for number in 0..=LEFT_BEHIND_MAX as u64 {
            left.note(files.get(read), Who::File(inode(number)));
        }
        assert!(!left.start_there(&mut files, other, inode(0)));
        assert!(left.start_there(&mut files, other, inode(1)));
    }
}
