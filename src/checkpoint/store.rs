//! The journal's files: finds them at the start, appends to them and replaces them, through
//! [`Disk`].
//!
//! In: payloads of items. Out: whether they are durable; at the start, the [`StoredOffsets`] that
//! they add up to.
//! Always holds: a commit that was reported durable is found after a crash between any two calls. A
//! file that could not be written or synced is not appended to again, and no bytes after the
//! failure count. Files of others are never changed.
//!
//! # Names
//!
//! `journal.N` with the highest N is the journal. `journal.N.new` is an unfinished one. At a start,
//! lower numbers and unfinished journals are leftovers. N grows and is never used twice. All other
//! names (`lock`, `journal.N.damaged`, `journal.N.aside`) are left alone.
//!
//! # When open files are removed
//!
//! A write to a file without a name succeeds, but the next start does not find it. So after each
//! commit the names (the directory's path, the lock, the journal) are compared with the open files.
//! If one of them leads elsewhere, the commit failed. The next journal is started where the path
//! leads then, in a directory that is locked, and created if necessary. A journal there that is not
//! ours is renamed to `journal.N.aside` before ours takes its place.
//!
//! # Why a failure is final
//!
//! After a failed `fsync(2)` Linux forgets that the pages were dirty: a second call succeeds
//! although nothing was written (PostgreSQL's "fsyncgate"; Rebello et al., "Can Applications
//! Recover from fsync Failures?", USENIX ATC 2020). So we cut off the failed frame if we can, so
//! that no later process reads it from the page cache and takes it for durable, and write only to a
//! new file. If it cannot be cut off either, it is the last frame, and the next start writes the
//! last frame once more before it appends anything.

mod names;
mod opened;

use std::io;

use self::names::{IN_THE_MAKING, free_name, journals, making_name_of, name_of, split_name};
use self::opened::{Journal, prove, settle, write_all};
use super::format::{self, HEADER_BYTES, HeaderError, Kind, VERSION};
use super::journal::{self, Defect, Extent};
use super::stamp::Stamp;
use super::state::StoredOffsets;
use super::{Anew, CommitError, Displaced};
use crate::sys::{Disk, Place};

const WAY_OUT: &str =
    "`manytail offsets forget --all` moves it aside; the offsets in it are then lost";

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be listed.
    #[error("cannot list the state directory")]
    List(#[source] io::Error),
    /// The journal is not a regular file, or may not be opened.
    #[error(
        "cannot open {name} in the state directory, which should be a regular file ({WAY_OUT})"
    )]
    Open {
        /// The file.
        name: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The disk failed to read it.
    #[error("cannot read {name} in the state directory")]
    Read {
        /// The file.
        name: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is not a journal.
    #[error("{name} in the state directory is not a journal of manytail ({WAY_OUT})")]
    Foreign {
        /// The file.
        name: String,
    },
    /// It was written by a later version.
    #[error(
        "{name} in the state directory has version {version}, but this manytail reads only \
        versions up to {VERSION} ({WAY_OUT})"
    )]
    Version {
        /// The file.
        name: String,
        /// Its version.
        version: u32,
    },
    /// Its bytes are not those that were written.
    #[error("{name} in the state directory is damaged: {what} at byte {position} ({WAY_OUT})")]
    Damaged {
        /// The file.
        name: String,
        /// Where the first bad frame begins.
        position: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It could not be renamed.
    #[error("cannot rename {name} in the state directory")]
    SetAside {
        /// The file.
        name: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// A journal as [`look`] found it.
#[derive(Debug)]
pub struct Found {
    /// `journal.N`.
    pub name: String,
    /// Its content.
    pub state: StoredOffsets,
    /// Its good part.
    pub extent: Extent,
}

/// Reads the journal of a directory without changing anything. `None`: there is no journal.
///
/// # Errors
/// When what is there is not ours, damaged, of a newer version, or cannot be read.
pub fn look<D: Disk>(disk: &mut D) -> Result<Option<Found>, StoreError> {
    let names = disk.list().map_err(StoreError::List)?;
    let Some(number) = journals(&names).max() else { return Ok(None) };
    let name = name_of(number);
    let file =
        disk.open(&name).map_err(|source| StoreError::Open { name: name.clone(), source })?;
    let (state, extent) = load(disk, &file, &name)?;
    Ok(Some(Found { name, state, extent }))
}

/// Renames every journal of a directory, good or bad, to `journal.N.damaged`, or to
/// `journal.N.damaged.2` and so on where that name is taken. Returns the new names.
///
/// # Errors
/// When the directory cannot be listed or a journal cannot be renamed.
pub(crate) fn set_aside<D: Disk>(disk: &mut D) -> Result<Vec<String>, StoreError> {
    let mut names = disk.list().map_err(StoreError::List)?;
    let mut numbers: Vec<u64> = journals(&names).collect();
    // The highest last, so that a lower one never becomes the highest.
    numbers.sort_unstable();
    let mut aside = Vec::new();
    for number in numbers {
        let from = name_of(number);
        let to = free_name(&format!("{from}.damaged"), &names);
        disk.rename(&from, &to).map_err(|source| StoreError::SetAside { name: from, source })?;
        names.push(to.clone().into_bytes());
        aside.push(to);
    }
    disk.sync_directory()
        .map_err(|source| StoreError::SetAside { name: aside.join(", "), source })?;
    Ok(aside)
}

/// The journal.
#[derive(Debug)]
pub struct Store<D: Disk> {
    disk: D,
    current: Option<Journal<D::File>>,
    /// The current journal failed, and nothing more is appended to it.
    has_failed: bool,
    /// The current journal has an older version: it is good, and nothing is appended to it.
    is_old: bool,
    making: Option<Journal<D::File>>,
    /// Set when the store was restored to its place, until it is taken.
    anew: Option<Anew>,
    /// The highest number that any name in the directory ever had.
    last_number: u64,
}

impl<D: Disk> Store<D> {
    /// Opens the journal of a directory, if there is one, and cuts off a torn tail. If the journal
    /// cannot be made durable as it was found, it is not appendable, and a crash may still lose its
    /// content.
    ///
    /// # Errors
    /// When what is there is not ours, damaged, of a newer version, or cannot be read.
    pub fn open(mut disk: D) -> Result<(Self, StoredOffsets), StoreError> {
        let names = disk.list().map_err(StoreError::List)?;
        let last_number = names::last_number(&names);
        let Some(number) = journals(&names).max() else {
            let mut store = Store {
                disk,
                current: None,
                has_failed: false,
                is_old: false,
                making: None,
                anew: None,
                last_number,
            };
            store.remove_leftovers(0);
            return Ok((store, StoredOffsets::default()));
        };
        let name = name_of(number);
        let file =
            disk.open(&name).map_err(|source| StoreError::Open { name: name.clone(), source })?;
        let (state, extent) = load(&mut disk, &file, &name)?;
        let journal =
            Journal { number, file, salt: extent.salt, frames: extent.frames, bytes: extent.bytes };
        let has_failed = settle(&mut disk, &journal, &extent).is_err();
        let mut store = Store {
            disk,
            current: Some(journal),
            has_failed,
            is_old: extent.version != VERSION,
            making: None,
            anew: None,
            last_number,
        };
        if !has_failed {
            store.remove_leftovers(number);
        }
        Ok((store, state))
    }

    /// Appends a commit, durably.
    ///
    /// # Errors
    /// When the commit is not durable. From then on every append fails until a new journal is
    /// complete.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        let failed = |name: &str, why| Err(error("append to", name, io::Error::other(why)));
        let Some(journal) = self.current.as_mut() else {
            return failed("the journal", "there is none yet; a new one must be started");
        };
        let name = name_of(journal.number);
        if self.has_failed {
            return failed(&name, "it failed before; a new one must be started");
        }
        if self.is_old {
            return failed(&name, "it has an older version; a new one must be started");
        }
        let outcome = journal
            .write(&mut self.disk, Kind::Commit, payload)
            .map_err(|source| error("write", &name, source));
        let outcome = outcome.and_then(|written| {
            self.disk.sync(&journal.file).map_err(|source| error("sync", &name, source))?;
            (journal.frames, journal.bytes) = written;
            Ok(())
        });
        if outcome.is_err() {
            self.has_failed = true;
            // See "Why a failure is final". If this fails too, the next start mends it.
            let _ = self.disk.truncate(&journal.file, journal.bytes);
        }
        outcome.and_then(|()| self.check())
    }

    /// Checks that a process that starts now would find the current journal, and find it locked.
    ///
    /// # Errors
    /// When it would not. From then on every append fails until a new journal is complete. If the
    /// check itself fails, the journal counts as in place.
    pub fn check(&mut self) -> Result<(), CommitError> {
        let is_named = match &self.current {
            Some(journal) => {
                self.disk.is_named(&name_of(journal.number), &journal.file).unwrap_or(true)
            }
            None => true,
        };
        let displaced = match self.disk.place().unwrap_or(Place::Here) {
            Place::Elsewhere => Displaced::Directory,
            Place::Unlocked => Displaced::Lock,
            Place::Here if !is_named => Displaced::Journal,
            Place::Here => return Ok(()),
        };
        self.has_failed = true;
        Err(displaced.into())
    }

    /// How the store was restored to its place, if it was since the last call.
    pub fn take_anew(&mut self) -> Option<Anew> {
        self.anew.take()
    }

    /// Opens the directory to which the path leads now, and renames journals in it that are not
    /// ours.
    fn come_into_place(&mut self, what: Displaced) -> Result<(), CommitError> {
        self.disk.reopen().map_err(CommitError::Anew)?;
        let mut names = self.disk.list().map_err(CommitError::Anew)?;
        self.last_number = self.last_number.max(names::last_number(&names));
        let mut numbers: Vec<u64> = journals(&names).collect();
        // The highest last, as in `set_aside`.
        numbers.sort_unstable();
        let mut aside = Vec::new();
        let mut is_current_here = false;
        for number in numbers {
            let name = name_of(number);
            let is_ours = match self.current.as_ref().filter(|journal| journal.number == number) {
                Some(journal) => {
                    self.disk.is_named(&name, &journal.file).map_err(CommitError::Anew)?
                }
                None => false,
            };
            is_current_here |= is_ours;
            if !is_ours {
                let to = free_name(&format!("{name}.aside"), &names);
                self.disk.rename(&name, &to).map_err(|source| error("rename", &name, source))?;
                names.push(to.clone().into_bytes());
                aside.push(to);
            }
        }
        if !is_current_here {
            self.current = None;
        }
        self.anew = Some(Anew { what, directory: self.disk.identity(), aside });
        Ok(())
    }

    /// Starts a new journal beside the current one. See [`super::Work::Begin`].
    ///
    /// # Errors
    /// When it cannot be written; the current journal does not change.
    pub fn begin(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.drop_the_making();
        if let Err(CommitError::Displaced(what)) = self.check() {
            self.come_into_place(what)?;
        }
        self.begin_here(payload).or_else(|error| self.explain(error))
    }

    fn begin_here(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        let Some(number) = self.last_number.checked_add(1) else {
            return Err(error(
                "number",
                "a new journal",
                io::Error::other("the numbers are used up"),
            ));
        };
        self.last_number = number;
        let name = making_name_of(number);
        let file = self.disk.create(&name).map_err(|source| error("create", &name, source))?;
        let salt = self.disk.salt();
        let outcome = write_all(&mut self.disk, &file, &format::header(salt));
        self.making = Some(Journal { number, file, salt, frames: 0, bytes: HEADER_BYTES as u64 });
        if let Err(source) = outcome {
            self.drop_the_making();
            return Err(error("write", &name, source));
        }
        self.add_part(Kind::Part, payload)
    }

    /// Adds a further part to the new journal.
    ///
    /// # Errors
    /// As for `begin`; the unfinished journal is dropped.
    pub fn extend(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.add_part(Kind::Part, payload).or_else(|error| self.explain(error))
    }

    /// Makes the new journal durable, verifies it by reading it back, makes it current and removes
    /// the older ones.
    ///
    /// # Errors
    /// As for `extend`. If it is not certain which journal a crash would leave, the current one is
    /// no longer appendable, because later commits to it could be lost.
    pub fn complete(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.complete_here(payload).or_else(|error| self.explain(error))
    }

    /// Something failed, perhaps because the directory is gone: returns that as the reason.
    fn explain(&mut self, error: CommitError) -> Result<(), CommitError> {
        self.check().and(Err(error))
    }

    fn complete_here(&mut self, payload: &[u8]) -> Result<(), CommitError> {
        self.add_part(Kind::LastPart, payload)?;
        let making = self.making.as_ref().expect("a part was added to it");
        let (number, name, final_name) =
            (making.number, making_name_of(making.number), name_of(making.number));
        let proved = self.disk.sync(&making.file).map_err(|source| error("sync", &name, source));
        let proved = proved.and_then(|()| {
            prove(&mut self.disk, making).map_err(|source| error("read back", &name, source))
        });
        if let Err(error) = proved {
            self.drop_the_making();
            return Err(error);
        }
        if let Err(source) = self.disk.rename(&name, &final_name) {
            self.making = None;
            // If the old name can still be removed, the journal certainly does not have the new
            // one.
            self.has_failed |= self.disk.remove(&name).is_err();
            return Err(error("rename", &name, source));
        }
        let making = self.making.take();
        if let Err(source) = self.disk.sync_directory() {
            self.has_failed = true;
            return Err(error("sync the directory for", &final_name, source));
        }
        self.current = making;
        self.has_failed = false;
        self.is_old = false;
        self.check()?;
        self.remove_leftovers(number);
        Ok(())
    }

    /// Whether commits can be appended: there is a journal of this version, and it has not failed.
    #[must_use]
    pub fn is_appendable(&self) -> bool {
        self.current.is_some() && !self.has_failed && !self.is_old
    }

    /// Size of the current journal in bytes; 0: there is none.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |journal| journal.bytes)
    }

    /// The stamp of the last durable commit, for its output. `None`: there is no commit that a
    /// process that starts now would find.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        let journal = self.current.as_ref().filter(|_| !self.has_failed)?;
        let &Journal { number, salt, frames, .. } = journal;
        Some(Stamp {
            directory: self.disk.identity().1,
            journal: number,
            salt,
            frames,
            has_ended: false,
        })
    }

    fn add_part(&mut self, kind: Kind, payload: &[u8]) -> Result<(), CommitError> {
        let Some(making) = self.making.as_mut() else {
            return Err(error(
                "extend",
                "the new journal",
                io::Error::other("none was started, or it failed"),
            ));
        };
        match making.write(&mut self.disk, kind, payload) {
            Ok(written) => {
                (making.frames, making.bytes) = written;
                Ok(())
            }
            Err(source) => {
                let name = making_name_of(making.number);
                self.drop_the_making();
                Err(error("write", &name, source))
            }
        }
    }

    fn drop_the_making(&mut self) {
        if let Some(making) = self.making.take() {
            // A leftover is harmless, and is removed later.
            let _ = self.disk.remove(&making_name_of(making.number));
        }
    }

    /// Removes journals before `current`, which is durable, and all unfinished ones. A file that
    /// cannot be removed stays; it is harmless.
    fn remove_leftovers(&mut self, current: u64) {
        let Ok(names) = self.disk.list() else { return };
        for name in names.iter().filter_map(|name| std::str::from_utf8(name).ok()) {
            if let Some((number, suffix)) = split_name(name.as_bytes())
                && (suffix == IN_THE_MAKING || (suffix.is_empty() && number < current))
            {
                let _ = self.disk.remove(name);
            }
        }
    }
}

fn load<D: Disk>(
    disk: &mut D,
    file: &D::File,
    name: &str,
) -> Result<(StoredOffsets, Extent), StoreError> {
    let mut state = StoredOffsets::default();
    let read_at = |buffer: &mut [u8], offset| disk.read_at(file, buffer, offset);
    match journal::read(read_at, |payload| state.take_frame(payload)) {
        Ok(extent) => Ok((state, extent)),
        Err(defect) => {
            let name = name.to_owned();
            Err(match defect {
                Defect::Header(HeaderError::Foreign) => StoreError::Foreign { name },
                Defect::Header(HeaderError::Version(version)) => {
                    StoreError::Version { name, version }
                }
                Defect::Header(HeaderError::Damaged) => StoreError::Damaged {
                    name,
                    position: 0,
                    what: "a header that is not as it was written",
                },
                Defect::Damaged { position, what } => StoreError::Damaged { name, position, what },
                Defect::Read(source) => StoreError::Read { name, source },
            })
        }
    }
}

fn error(action: &'static str, name: &str, source: io::Error) -> CommitError {
    CommitError::Store { action, name: name.to_owned(), source }
}

#[cfg(test)]
mod tests;
