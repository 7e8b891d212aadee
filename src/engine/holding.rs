//! Files kept open though they are not being read, so that deleting them loses nothing: a bounded number, never at rest.

use super::*;
use crate::registry::{Life, State};

use nix::libc;

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Keeps a file open between two of its turns, or for as long as the output is blocked.
    pub(super) fn hold(&mut self, id: SlotId, file: F::File) {
        // One without a name cannot be opened again.
        if self.held.len() < self.files_held_max || !self.files.get(id).is_bound() {
            self.held.insert(id, Held { file, path: self.path.clone() });
        }
    }

    /// While the output is blocked: holds files with unread bytes open, so that deleting them loses nothing.
    pub(super) fn hold_unread(&mut self, now: Instant) {
        if self.outbox.has_room() {
            return;
        }
        for at in 0..(self.dirty.len() + self.backlog.len()).min(self.files_held_max) {
            let Waiting { id, .. } = self.dirty.get(at).copied().unwrap_or_else(|| self.backlog[at - self.dirty.len()]);
            if self.held.contains_key(&id) || self.files.get(id).life != Life::Following {
                continue;
            }
            if !self.hold_open(id, now) {
                break;
            }
        }
    }

    /// Holds a file open by its name, if that still leads to it. Says whether there was a descriptor to be had.
    pub(super) fn hold_open(&mut self, id: SlotId, now: Instant) -> bool {
        if self.held.len() >= self.files_held_max {
            return false;
        }
        match self.open(id, now) {
            Ok(file) if self.fs.stat_file(&file).is_ok_and(|found| Some(found.id) == self.files.file_id(id)) => {
                self.hold(id, file);
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => return false,
            _ => {}
        }
        true
    }

    /// A look just found the file under its name.
    pub(super) fn prove_path(&mut self, id: SlotId) {
        if self.held.contains_key(&id) {
            self.write_path(id);
            self.held.get_mut(&id).expect("just seen").path.clone_from(&self.path);
        }
    }

    /// A file that appeared has bytes but may not be read before its story is stored: held open, so that deleting it loses nothing.
    pub(super) fn hold_unstored(&mut self, id: SlotId, now: Instant) {
        if self.files.get(id).state.contains(State::UNSTORED) {
            self.hold_open(id, now);
        }
    }
}
