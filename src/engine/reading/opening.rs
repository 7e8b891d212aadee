//! Opening a file by its name, and what a failure to open or read it means.
//!
//! In: a slot. Out: an open file that is the slot's, by device and inode; or what becomes of the
//! file.
//! Always holds: device and inode are compared after each open. After a failed open the file is
//! tried again, unless the error says that it is gone or that it must not be read.

use std::io;

use nix::libc;

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::Engine;
use crate::engine::namespace::registry::{FileSlot, SlotId, State};
use crate::rare::rare;
use crate::reader::MARK_BYTES;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;

/// An open file that has the slot's device and inode.
pub(super) struct Opened<File> {
    pub(super) file: File,
    /// Its length, if the generation of the inode was compared as well.
    pub(super) proven_size: Option<u64>,
    /// Its owner, if that was asked.
    pub(super) owner: Option<u32>,
}

/// Whether the mark alone does not prove that an open file is the slot's. On an overlay, one of
/// several names may stand for another file after a change.
#[inline]
pub(super) fn is_mark_weak(slot: &FileSlot) -> bool {
    usize::from(slot.mark_len) < MARK_BYTES || slot.state().contains(State::LINKED)
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Opens the file by its path, which is left in `self.path`, or takes a descriptor that is
    /// held. `None`: another file has the name.
    pub(super) fn open(&mut self, id: SlotId) -> io::Result<Option<Opened<F::File>>> {
        let held = self
            .reading
            .take_held(id)
            .filter(|_| !self.files.get(id).is_bound() || !self.depends_on_owner(id));
        if let Some(held) = held {
            // While directories move, events about the names above a file may still be queued. If
            // events were missed, so may those about its own name.
            let is_certain = held.path.is_empty()
                && !self.kernel.is_catching_up(&self.discovery)
                && !self.are_directories_moving();
            if is_certain {
                self.write_path(id);
            } else if !self.is_found_by_name(id) {
                if self.files.get(id).is_bound() {
                    // Events about its name are still queued. The file stays open until a look
                    // finds the name.
                    self.reading.held.insert(id, held);
                    return Ok(None);
                }
                self.path = held.path;
            }
            return Ok(Some(Opened { file: held.file, proven_size: None, owner: None }));
        }
        let links = self.write_path(id);
        self.observer.stats.opens += 1;
        let file = match self.fs.open(&self.path, links) {
            Err(error) if self.reading.give_way(&error) => self.fs.open(&self.path, links)?,
            outcome => outcome?,
        };
        // Names change between an event and an open, and equal content does not prove identity.
        let (owner, proven_size) = if is_mark_weak(self.files.get(id)) {
            let found = self.fs.stat_file(&file)?;
            if Some(found.id) != self.files.file_id(id) {
                return Ok(None);
            }
            (found.owner, Some(found.size))
        } else {
            let found = self.fs.inode_of(&file)?;
            if !found.is_regular || !self.files.is_inode(id, found.device, found.inode) {
                return Ok(None);
            }
            (found.owner, None)
        };
        let is_for_anybody = !self.config.same_owner && self.identities.behind_links.is_empty();
        Ok(if is_for_anybody || self.is_for_owner(id, owner)? {
            Some(Opened { file, proven_size, owner: Some(owner) })
        } else {
            None
        })
    }

    /// Whether the file may be read only because of its owner, who may change while it is open.
    fn depends_on_owner(&self, id: SlotId) -> bool {
        let is_through_link = || self.files.get(id).state().contains(State::VIA_LINK);
        let was_through_link = || {
            !self.identities.behind_links.is_empty()
                && self.identities.behind_links.contains_key(&self.files.key(id))
        };
        self.config.same_owner || is_through_link() || was_through_link()
    }

    /// Whether a file of this owner may be read where it is.
    fn is_for_owner(&mut self, id: SlotId, owner: u32) -> io::Result<bool> {
        let rotated = &self.identities.behind_links;
        if self.coverage.is_foreign_target(
            &self.files,
            &self.tree,
            rotated,
            id,
            owner,
            &mut self.fs,
        ) {
            return Ok(false);
        }
        match self.check_owner(id, owner) {
            Err(_) if self.goes_by_own_name(id, owner) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        }
    }

    /// Whether the file's name leads to it. The path is left in `self.path`. Without a name, the
    /// last events may be about another file, which had the name before or has it now. With a name,
    /// events may be missing or not yet processed.
    fn is_found_by_name(&mut self, id: SlotId) -> bool {
        if !self.files.get(id).is_bound() {
            return false;
        }
        let links = self.write_path(id);
        self.fs.stat(&self.path, links).is_ok_and(|found| Some(found.id) == self.files.file_id(id))
    }

    pub(super) fn open_failed(&mut self, id: SlotId, error: &io::Error, now: Now) {
        match Failure::of(error) {
            Failure::Refused | Failure::TooLong => {
                self.unreadable(id, error, now);
                // Changes of the file itself are reported where it is.
                let is_link = self.files.get(id).state().contains(State::VIA_LINK);
                if is_link && !self.is_found_by_name(id) {
                    self.poll_behind_link(id, now.instant);
                }
            }
            Failure::UserMount => self.hidden_by_user_mount(id, now),
            Failure::Gone => self.look_before_reading(id, Some(error), now),
            Failure::Shortage | Failure::Other => self.read_failed(id, error, now),
        }
    }

    /// The name did not lead to the file: a look finds out what has the name. If the name leads to
    /// the file and opening it by that name fails again, the next attempt comes later, and the
    /// failure is reported.
    pub(super) fn look_before_reading(&mut self, id: SlotId, error: Option<&io::Error>, now: Now) {
        // Not into a queue: it would be opened again before anything has changed.
        self.schedule.mark_unread(&mut self.files, id);
        if !self.files.get(id).state().contains(State::RETRY) {
            self.doubt(id);
            self.schedule.retry(&mut self.files, id, now.instant);
        } else if self.files.get(id).is_bound() && !self.is_found_by_name(id) {
            rare!("a file was renamed twice while it was to be read");
            self.doubt(id);
        } else if let Some(error) = error {
            notice!(warn: self.observer.notices, Cause::Failed, about &self.path, now.instant,
                %error, "cannot be read now: tried again");
        }
    }

    /// The last of a file that is gone cannot be read: there is no name by which it could be opened
    /// again.
    pub(super) fn finishing_failed(
        &mut self,
        id: SlotId,
        file: F::File,
        error: &io::Error,
        now: Now,
    ) {
        self.schedule.mark_unread(&mut self.files, id);
        if error.kind() == io::ErrorKind::Interrupted {
            rare!("the last of a file without a name could not be read for now");
            self.reading.hold(&self.files, &self.path, id, file);
            self.schedule.enqueue(&mut self.files, &self.tree, id);
        } else {
            self.part_with(id, now.instant);
        }
    }

    /// Descriptors are short, or the disk fails: this says nothing about the file, which is tried
    /// again.
    pub(super) fn read_failed(&mut self, id: SlotId, error: &io::Error, now: Now) {
        if matches!(
            error.raw_os_error(),
            Some(libc::EISDIR | libc::ESPIPE | libc::ENXIO | libc::ESTALE)
        ) {
            self.look_before_reading(id, Some(error), now);
            return;
        }
        if Failure::of(error) == Failure::Shortage {
            notice!(warn: self.observer.notices, Cause::Failed, about &self.path, now.instant,
                %error, "cannot be read now: tried again");
        } else {
            self.unreadable(id, error, now);
            if self.config.once {
                return;
            }
        }
        self.schedule.mark_unread(&mut self.files, id);
        rare!("a file was to be tried again");
        self.schedule.retry(&mut self.files, id, now.instant);
    }
}
