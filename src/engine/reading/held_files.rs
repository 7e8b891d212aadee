//! Files that stay open though they are not being read, so that moving or deleting them loses
//! nothing: a bounded number, none at rest.
//!
//! A file is held between two of its turns, while it has unread bytes and the output is blocked,
//! and while its generation is not stored yet. It is kept for up to
//! [`crate::engine::reading::kept_files::KEPT_FOR`] after a read, under the name by which it was
//! read: one that loses its name meanwhile is held from then on, until what is known to be unread
//! was read.

use std::time::Instant;

use nix::libc;

use crate::engine::namespace::registry::{Life, SlotId, State};
use crate::engine::reading::open_files::HeldFile;
use crate::engine::reading::opening::Opened;
use crate::engine::{Engine, HELD_MAX};
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::failure::Failure;
use crate::sys::{FileSystem, Stat};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Keeps a file open between two of its turns, or for as long as the output is blocked.
    pub(in crate::engine) fn hold(&mut self, id: SlotId, file: F::File) {
        if is_planted!(NotHeldOpen) {
            return;
        }
        // One without a name cannot be opened again.
        if self.may_hold() || !self.files.get(id).is_bound() {
            rare!("a file was held open");
            self.reading.held.insert(id, HeldFile { file, path: self.path.clone() });
        }
    }

    /// While the output is blocked: holds files with unread bytes open, so that deleting them loses
    /// nothing.
    pub(in crate::engine) fn hold_unread(&mut self) {
        if self.outbox.has_room_for_backlog() {
            return;
        }
        let first: Vec<SlotId> =
            self.schedule.unread.iter().map(|waiting| waiting.id).take(HELD_MAX).collect();
        for id in first {
            let slot = self.files.get(id);
            // A file may be read out of turn and stay in the queue.
            if self.reading.held.contains_key(&id)
                || slot.life() != Life::Following
                || !slot.state().contains(State::DIRTY)
            {
                continue;
            }
            rare!("an unread file was opened because the output was blocked");
            if !self.hold_open(id) {
                return;
            }
        }
        if !self.may_hold() {
            return;
        }
        // Those that wait for a predecessor are in no queue, and wait for the output with it.
        for id in self.identities.succession.all_waiting().into_iter().take(HELD_MAX) {
            let slot = self.files.get(id);
            // A file may be read out of turn and stay in the queue.
            if self.reading.held.contains_key(&id)
                || slot.life() != Life::Following
                || !slot.state().contains(State::DIRTY)
            {
                continue;
            }
            rare!(
                "a file that waits for its predecessor was opened because the output was blocked"
            );
            if !self.hold_open(id) {
                return;
            }
        }
    }

    /// Holds a file open by its name, if that still leads to it. Says whether there was a
    /// descriptor to be had.
    pub(in crate::engine) fn hold_open(&mut self, id: SlotId) -> bool {
        if !self.may_hold() {
            return false;
        }
        match self.open(id) {
            Ok(Some(Opened { file, proven_size })) => {
                let is_it = |found: Stat| Some(found.id) == self.files.file_id(id);
                if proven_size.is_some() || self.fs.stat_file(&file).is_ok_and(is_it) {
                    self.hold(id, file);
                }
            }
            Err(error) if Failure::of(&error) == Failure::Shortage => return false,
            _ => {}
        }
        true
    }

    /// A look just found the file under its name.
    pub(in crate::engine) fn prove_path(&mut self, id: SlotId) {
        if self.reading.held.get(&id).is_some_and(|held| !held.path.is_empty()) {
            rare!("a look found a held file under its name");
            self.write_path(id);
            self.reading.held.get_mut(&id).expect("just seen").path.clone_from(&self.path);
        }
    }

    /// Files that are open now, besides the one being read.
    pub(in crate::engine) fn open_files(&self) -> usize {
        self.reading.held.len() + self.reading.kept.len()
    }

    /// Whether one more file may be held: those that are only kept give way.
    fn may_hold(&mut self) -> bool {
        if self.open_files() >= self.reading.files_open_max {
            self.reading.kept.give_way();
        }
        self.open_files() < self.reading.files_open_max
    }

    /// A file was read to its end: it stays open for a while, if it may. Not where others write
    /// unseen: there, an open file that is deleted comes up under another name (`.nfs...`), keeps a
    /// server busy, or is not the one that is written to (overlay).
    #[inline]
    pub(in crate::engine) fn keep_for_now(&mut self, id: SlotId, file: F::File, now: Instant) {
        let slot = self.files.get(id);
        let is_seen =
            self.tree.at_place(slot.dir().0).is_some_and(|dir| !self.tree.get(dir).is_blind());
        // There are as many places as files may be open.
        let has_room =
            self.reading.held.is_empty() || self.open_files() < self.reading.files_open_max;
        if is_seen && has_room && slot.life() == Life::Following {
            self.reading.kept.keep(id, file, now);
        }
    }

    /// Descriptors are short: what is only kept gives way. Says whether anything did.
    pub(in crate::engine) fn give_way(&mut self, error: &std::io::Error) -> bool {
        let gives_way = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
            && self.reading.kept.len() > 0;
        if gives_way {
            rare!("files that were kept open gave way to a want of descriptors");
            self.reading.kept.clear();
        }
        gives_way
    }

    /// The descriptor that a file is held open or kept by, which is given up.
    #[inline]
    pub(in crate::engine) fn take_held(&mut self, id: SlotId) -> Option<HeldFile<F::File>> {
        if let Some(file) = self.reading.kept.take(id) {
            return Some(HeldFile { file, path: Vec::new() });
        }
        // Nearly always none is held: that costs no search.
        if self.reading.held.is_empty() { None } else { self.reading.held.remove(&id) }
    }

    /// The file is not open any longer.
    pub(in crate::engine) fn close(&mut self, id: SlotId) {
        drop(self.take_held(id));
    }

    /// Takes the name of a file away.
    pub(in crate::engine) fn unbind(&mut self, id: SlotId) {
        self.keep_open(id);
        self.files.unbind(id);
    }

    /// A file is about to lose its name: if it is open, it stays so, and the path that it had stays
    /// with it.
    pub(in crate::engine) fn keep_open(&mut self, id: SlotId) {
        self.schedule.end_cooling(&mut self.files, &self.tree, id);
        if let Some(file) = self.reading.kept.take(id) {
            self.reading.held.insert(id, HeldFile { file, path: Vec::new() });
        }
        if self.reading.held.get(&id).is_some_and(|held| held.path.is_empty()) {
            self.write_path(id);
            self.reading.held.get_mut(&id).expect("just seen").path.clone_from(&self.path);
        }
    }

    /// A file that appeared has bytes but may not be read before its generation is stored: held
    /// open, so that deleting it loses nothing.
    pub(in crate::engine) fn hold_unstored(&mut self, id: SlotId) {
        if self.files.get(id).state().contains(State::UNSTORED) {
            rare!("a new file was held open until its generation is stored");
            self.hold_open(id);
        }
    }
}
