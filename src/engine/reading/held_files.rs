//! Files that stay open although they are not being read, so that moving or deleting them loses
//! nothing. Their number is bounded, and 0 at rest.
//!
//! A file is held between two of its turns, while it has unread bytes and the output is blocked,
//! and while its generation is not stored yet. It is kept for up to
//! [`crate::engine::reading::kept_files::KEPT_FOR`] after a read, under the name by which it was
//! read. If it loses its name meanwhile, it is held until its unread bytes were read.

use std::io;
use std::time::Instant;

use nix::libc;

use crate::engine::namespace::registry::{Life, Registry, SlotId, State};
use crate::engine::namespace::tree::Tree;
use crate::engine::reading::open_files::{HeldFile, Reading};
use crate::engine::reading::opening::Opened;
use crate::engine::{Engine, HELD_MAX};
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::failure::Failure;
use crate::sys::{FileSystem, Stat};

impl<T> Reading<T> {
    /// Keeps a file open between two of its turns, or for as long as the output is blocked. `path`:
    /// the one by which it was opened or read.
    pub(super) fn hold(&mut self, files: &Registry, path: &[u8], id: SlotId, file: T) {
        if is_planted!(NotHeldOpen) {
            return;
        }
        // A file without a name cannot be opened again.
        if self.may_hold() || !files.get(id).is_bound() {
            rare!("a file was held open");
            self.held.insert(id, HeldFile { file, path: path.to_vec() });
        }
    }

    /// The number of files that are open now, besides the one being read.
    pub(in crate::engine) fn open_files(&self) -> usize {
        self.held.len() + self.kept.len()
    }

    /// Whether one more file may be held. Files that are only kept are closed for it.
    fn may_hold(&mut self) -> bool {
        if self.open_files() >= self.files_open_max {
            self.kept.give_way();
        }
        self.open_files() < self.files_open_max
    }

    /// Whether holding the file open would save bytes. A file may be read out of turn and stay in
    /// the queue.
    fn would_save(&self, files: &Registry, id: SlotId) -> bool {
        let slot = files.get(id);
        !self.held.contains_key(&id)
            && slot.life() == Life::Following
            && slot.state().contains(State::DIRTY)
    }

    /// At most this many files are open besides the one being read.
    pub(in crate::engine) fn limit_open_files(&mut self, files: &Registry, max: usize) {
        self.files_open_max = max;
        self.kept.resize(max);
        // Files without a name cannot be opened again.
        let mut surplus = self.held.len().saturating_sub(max);
        self.held.retain(|&id, _| {
            let goes = surplus > 0 && files.get(id).is_bound();
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// A file was read to its end: it stays open for a while, if it may. Not where other machines
    /// write unseen: there, an open file that is deleted appears under another name (`.nfs...`),
    /// keeps a server busy, or is not the one that is written to (overlay).
    #[inline]
    pub(super) fn keep(
        &mut self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
        file: T,
        now: Instant,
    ) {
        let slot = files.get(id);
        let is_seen = tree.at_place(slot.dir().0).is_some_and(|dir| !tree.get(dir).is_blind());
        // There are as many places as files may be open.
        let has_room = self.held.is_empty() || self.open_files() < self.files_open_max;
        if is_seen && has_room && slot.life() == Life::Following {
            self.kept.keep(id, file, now);
        }
    }

    /// Descriptors are short: closes files that are only kept. Returns whether there were any.
    pub(in crate::engine) fn give_way(&mut self, error: &io::Error) -> bool {
        let gives_way = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
            && self.kept.len() > 0;
        if gives_way {
            rare!("files that were kept open gave way to a want of descriptors");
            self.kept.clear();
        }
        gives_way
    }

    /// Takes the descriptor by which a file is held or kept.
    #[inline]
    pub(super) fn take_held(&mut self, id: SlotId) -> Option<HeldFile<T>> {
        if let Some(file) = self.kept.take(id) {
            return Some(HeldFile { file, path: Vec::new() });
        }
        // There is nearly always none, which costs no search.
        if self.held.is_empty() { None } else { self.held.remove(&id) }
    }

    /// The file is not open any longer.
    pub(in crate::engine) fn close(&mut self, id: SlotId) {
        drop(self.take_held(id));
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// While the output is blocked: holds files with unread bytes open, so that deleting them loses
    /// nothing.
    pub(in crate::engine) fn hold_unread(&mut self) {
        if self.outbox.has_room_for_backlog() {
            return;
        }
        let queued: Vec<SlotId> =
            self.schedule.unread.iter().map(|waiting| waiting.id).take(HELD_MAX).collect();
        for id in queued {
            if !self.reading.would_save(&self.files, id) {
                continue;
            }
            rare!("an unread file was opened because the output was blocked");
            if !self.hold_open(id) {
                return;
            }
        }
        if !self.reading.may_hold() {
            return;
        }
        // Files that wait for a predecessor are in no queue, and wait for the output together with
        // it.
        for id in self.identities.succession.all_waiting().into_iter().take(HELD_MAX) {
            if !self.reading.would_save(&self.files, id) {
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

    /// Holds a file open by its name, if that still leads to it. Returns whether a descriptor was
    /// available.
    pub(in crate::engine) fn hold_open(&mut self, id: SlotId) -> bool {
        if !self.reading.may_hold() {
            return false;
        }
        match self.open(id) {
            Ok(Some(Opened { file, proven_size, .. })) => {
                let is_it = |found: Stat| Some(found.id) == self.files.file_id(id);
                if proven_size.is_some() || self.fs.stat_file(&file).is_ok_and(is_it) {
                    self.reading.hold(&self.files, &self.path, id, file);
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

    /// A file that appeared has bytes but may not be read before its generation is stored: it is
    /// held open, so that deleting it loses nothing.
    pub(in crate::engine) fn hold_unstored(&mut self, id: SlotId) {
        if self.files.get(id).state().contains(State::UNSTORED) {
            rare!("a new file was held open until its generation is stored");
            self.hold_open(id);
        }
    }
}
