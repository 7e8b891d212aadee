//! Files that stay open though they are not being read, so that moving or deleting them loses nothing: a bounded number, none at rest.
//!
//! A file stays open between two of its turns, while it has unread bytes and the output is blocked, while its story is not stored yet, and
//! for as long as it cools down after a read.

use super::*;
use crate::registry::{Life, State};

use nix::libc;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Keeps a file open between two of its turns, or for as long as the output is blocked.
    pub(super) fn hold(&mut self, id: SlotId, file: F::File) {
        if is_planted!(NotHeldOpen) {
            return;
        }
        // One without a name cannot be opened again.
        if self.may_hold() || !self.files.get(id).is_bound() {
            mark!("a file was held open");
            self.held.insert(id, Held { file, path: self.path.clone() });
        }
    }

    /// While the output is blocked: holds files with unread bytes open, so that deleting them loses nothing.
    pub(super) fn hold_unread(&mut self) {
        if self.outbox.has_room() {
            return;
        }
        let first: Vec<SlotId> = self.unread.iter().map(|waiting| waiting.id).take(self.files_held_max).collect();
        for id in first {
            let slot = self.files.get(id);
            // A file may be read out of turn and stay in the queue.
            if self.held.contains_key(&id) || slot.life != Life::Following || !slot.state.contains(State::DIRTY) {
                continue;
            }
            mark!("an unread file was opened because the output was blocked");
            if !self.hold_open(id) {
                return;
            }
        }
        if !self.may_hold() {
            return;
        }
        // Those that wait for a predecessor are in no queue, and wait for the output with it.
        for id in self.succession.all_waiting().into_iter().take(self.files_held_max) {
            let slot = self.files.get(id);
            // A file may be read out of turn and stay in the queue.
            if self.held.contains_key(&id) || slot.life != Life::Following || !slot.state.contains(State::DIRTY) {
                continue;
            }
            mark!("a file that waits for its predecessor was opened because the output was blocked");
            if !self.hold_open(id) {
                return;
            }
        }
    }

    /// Holds a file open by its name, if that still leads to it. Says whether there was a descriptor to be had.
    pub(super) fn hold_open(&mut self, id: SlotId) -> bool {
        if !self.may_hold() {
            return false;
        }
        match self.open(id) {
            Ok(Some(file)) if self.fs.stat_file(&file).is_ok_and(|found| Some(found.id) == self.files.file_id(id)) => {
                self.hold(id, file);
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => return false,
            _ => {}
        }
        true
    }

    /// A look just found the file under its name.
    pub(super) fn prove_path(&mut self, id: SlotId) {
        if self.held.get(&id).is_some_and(|held| !held.path.is_empty()) {
            mark!("a look found a held file under its name");
            self.write_path(id);
            self.held.get_mut(&id).expect("just seen").path.clone_from(&self.path);
        }
    }

    /// Files that are open now, besides the one being read.
    pub(super) fn open_files(&self) -> usize {
        self.held.len() + self.cooling_files.len()
    }

    fn may_hold(&self) -> bool {
        self.open_files() < self.files_held_max
    }

    /// A file was read to its end: it stays open until it has cooled down, if it may. Not where others write unseen: there, an open file
    /// that is deleted comes up under another name (`.nfs...`), or keeps a server busy.
    pub(super) fn hold_while_cooling(&mut self, id: SlotId, file: F::File) -> bool {
        let is_blind = self.tree.at_place(self.files.get(id).dir().0).is_none_or(|dir| self.tree.get(dir).is_blind());
        let stays_open = self.may_hold() && !is_blind;
        if stays_open {
            self.cooling_files.push_back((self.files.key(id), file));
        }
        stays_open
    }

    /// The descriptor of the file whose cooling time ends first, which is this one. `None`: it was taken before, which ended that time.
    pub(super) fn cooled_file(&mut self, key: SlotKey) -> Option<F::File> {
        let is_first = self.cooling_files.front().is_some_and(|(first, _)| *first == key);
        is_first.then(|| self.cooling_files.pop_front()).flatten().map(|(_, file)| file)
    }

    /// A file that cools down is to be read now, or is about to lose its name: its descriptor stays, if there is one.
    pub(super) fn hold_cooling(&mut self, id: SlotId) {
        if let Some(at) = self.cooling_files.iter().rposition(|(key, _)| key.id == id)
            && let Some((key, file)) = self.cooling_files.remove(at)
            && self.files.alive(key).is_some()
        {
            self.held.insert(id, Held { file, path: Vec::new() });
        }
    }

    /// The descriptor that a file is held open by, which is given up. Nearly always none is: that costs no search.
    #[inline]
    pub(super) fn take_held(&mut self, id: SlotId) -> Option<Held<F::File>> {
        if self.held.is_empty() { None } else { self.held.remove(&id) }
    }

    /// Takes the name of a file away.
    pub(super) fn unbind(&mut self, id: SlotId) {
        self.keep_open(id);
        self.files.unbind(id);
    }

    /// A file is about to lose its name: if it is open, it stays so, and the path that it had stays with it.
    pub(super) fn keep_open(&mut self, id: SlotId) {
        if self.files.get(id).state.contains(State::COOLING) {
            self.hold_cooling(id);
            self.end_cooling(id);
        }
        if self.held.get(&id).is_some_and(|held| held.path.is_empty()) {
            self.write_path(id);
            self.held.get_mut(&id).expect("just seen").path.clone_from(&self.path);
        }
    }

    /// A file that appeared has bytes but may not be read before its story is stored: held open, so that deleting it loses nothing.
    pub(super) fn hold_unstored(&mut self, id: SlotId) {
        if self.files.get(id).state.contains(State::UNSTORED) {
            mark!("a new file was held open until its story is stored");
            self.hold_open(id);
        }
    }
}
