//! Files that were renamed unseen in directories that are not listed: those of single files and of
//! links' targets.
//!
//! In: a file that is not where it was, though no event told of that: events were lost, the
//! directory has no watch, or nobody looked because manytail was down. Out: the name under which a
//! listing of its directory finds its inode.
//! Always holds: a directory is listed in slices, and only on such an occasion; at most
//! [`SOUGHT_MAX`] files are searched for.

use std::collections::VecDeque;
use std::time::Instant;

use hashbrown::HashMap;
use nix::libc;

use crate::engine::coverage::single_files::SingleFile;
use crate::engine::discovery::directories::VISIT_COST;
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::registry::{Life, SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirId, DirKey, Role};
use crate::engine::schedule::timers;
use crate::engine::schedule::{KeptBack, Schedule};
use crate::engine::{DOUBTS_MAX, Engine};
use crate::names::split_path;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Stat};

/// Files searched for at once. Any further one is let go as if it had left the tree.
const SOUGHT_MAX: usize = 4_096;

/// A file that is searched for.
#[derive(Debug)]
struct Sought {
    input: InputId,
    /// The link behind which it was rotated.
    link: Option<(DirId, Box<[u8]>)>,
}

/// All searches.
#[derive(Debug)]
pub(in crate::engine) struct Searches<L> {
    /// By directory and inode.
    sought: HashMap<(DirKey, u64), Sought>,
    /// Files of this run that are searched for; whether that is over.
    files: HashMap<SlotKey, bool>,
    directories: VecDeque<DirKey>,
    current: Option<(DirKey, L)>,
    /// A listing failed for want of descriptors or memory.
    retry_at: Option<Instant>,
}

impl<L> Searches<L> {
    pub(in crate::engine) fn new() -> Self {
        let (sought, files) = (HashMap::new(), HashMap::new());
        Searches { sought, files, directories: VecDeque::new(), current: None, retry_at: None }
    }

    /// Something is searched for.
    pub(in crate::engine) fn is_under_way(&self) -> bool {
        self.current.is_some() || !self.directories.is_empty()
    }

    /// The search goes on at once.
    pub(in crate::engine) fn has_work(&self) -> bool {
        self.retry_at.is_none() && self.is_under_way()
    }

    /// Says whether there was room.
    fn begin(&mut self, directory: DirKey, inode: u64, sought: Sought) -> bool {
        if self.sought.len() >= SOUGHT_MAX {
            return false;
        }
        self.sought.insert((directory, inode), sought);
        if !self.directories.contains(&directory) {
            self.directories.push_back(directory);
        }
        true
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A look finds a file not where it was. In a directory that is not listed its new name is
    /// searched for, if there is one.
    pub(in crate::engine) fn search_behind(&mut self, id: SlotId) {
        let slot = self.files.get(id);
        let Some(file) =
            self.files.file_id(id).filter(|_| slot.is_bound() && slot.life() == Life::Following)
        else {
            return;
        };
        let (dir, input) = (slot.dir(), slot.input);
        let (home, link) = if slot.state().contains(State::VIA_LINK) {
            let mut targets = self
                .files
                .further_names(id)
                .filter(|(dir, name)| self.coverage.single_files.is_target(*dir, name));
            (targets.next().map(|(dir, _)| dir), Some((dir, self.files.name(id).into())))
        } else {
            (Some(dir), self.identities.behind_links.get(&self.files.key(id)).cloned())
        };
        let Some(home) = home.filter(|home| {
            self.tree.at_place(home.0).is_some_and(|home| self.tree.get(home).role == Role::Home)
        }) else {
            return;
        };
        let (directory, key) = (self.tree.key(home), self.files.key(id));
        if let Some(link) = link.clone() {
            self.identities.behind_links.insert(key, link);
        }
        if self.discovery.searches.begin(directory, file.inode, Sought { input, link }) {
            self.discovery.searches.files.insert(key, false);
        }
    }

    /// A file lost its name: whether it is still searched for, or about to be found.
    pub(in crate::engine) fn is_searched_for(&mut self, id: SlotId) -> bool {
        let key = self.files.key(id);
        let Some(&is_over) = self.discovery.searches.files.get(&key) else { return false };
        let waits = !is_over
            || !self.schedule.doubts.is_empty()
            || self.identities.has_finds()
            || self.kernel.are_events_pending;
        if !waits {
            self.discovery.searches.files.remove(&key);
        }
        waits
    }

    /// A file is new where, by the journal, another one was followed before: that one may have been
    /// rotated while nobody looked. If so it comes first.
    ///
    /// # Errors
    /// When where a link leads cannot be told for want of descriptors or memory: the file is not to
    /// be begun then.
    pub(in crate::engine) fn search_stored(
        &mut self,
        id: SlotId,
        found: &Stat,
    ) -> std::io::Result<()> {
        let slot = self.files.get(id);
        let (dir, input, via_link) =
            (slot.dir(), slot.input, slot.state().contains(State::VIA_LINK));
        if !via_link && self.tree.get(dir).role != Role::Home {
            return Ok(());
        }
        let links = self.write_path(id);
        let (path, link) = (self.path.clone(), (dir, self.files.name(id).into()));
        let Some(stored) = self
            .commits
            .as_ref()
            .map(|commits| &commits.stored)
            .filter(|stored| !stored.is_empty())
        else {
            return Ok(());
        };
        let others =
            stored.entries().filter(|(entry, known)| *known == path && entry.id != found.id);
        let inodes: Vec<u64> = others.map(|(entry, _)| entry.id.inode).collect();
        if inodes.is_empty() {
            return Ok(());
        }
        let home = if via_link {
            let target = match self.fs.canonical(&path, links) {
                Ok(target) => target,
                Err(error) if Failure::of(&error) == Failure::Shortage => return Err(error),
                // The link leads elsewhere by now, which is looked at in its turn.
                Err(_) => return Ok(()),
            };
            let prefix = split_path(&target).0;
            if self.known_target(prefix).is_some_and(|known| self.is_listed(known)) {
                // Where the directory is listed, the listing finds it.
                return Ok(());
            }
            self.home(prefix, false)
        } else {
            dir
        };
        let directory = self.tree.key(home);
        for inode in inodes {
            let link = via_link.then(|| link.clone());
            if self.discovery.searches.begin(directory, inode, Sought { input, link }) {
                self.schedule.by_age.open_group(self.tree.group(home));
                Schedule::hold_back(&mut self.files, id, KeptBack::ByAge);
            }
        }
        Ok(())
    }

    fn is_listed(&self, dir: DirId) -> bool {
        self.tree.get(dir).role == Role::Listed
    }

    /// At a start: files that were rotated in a directory that is not listed, and followed on under
    /// their new names, go on.
    pub(in crate::engine) fn track_stored(&mut self, home: DirId) {
        let Some(stored) = self.commits.as_ref().map(|commits| &commits.stored) else { return };
        if stored.is_empty() || !self.is_first_scan() {
            return;
        }
        let mut prefix = Vec::new();
        self.tree.write_path(home, &mut prefix);
        let wanted =
            self.coverage.single_files.of_home(home).filter_map(|(name, wanted)| match wanted {
                SingleFile::Path(input) => Some((name, *input, None)),
                SingleFile::Link(dir, link) => {
                    let id =
                        self.tree.at_place(dir.0).and_then(|dir| self.files.find(dir, link))?;
                    Some((name, self.files.get(id).input, Some((*dir, link.clone()))))
                }
            });
        let wanted: Vec<_> = wanted.collect();
        let below =
            stored.entries().filter_map(|(_, path)| Some((path, path.strip_prefix(&*prefix)?)));
        // What was a PATH of its own and is none any more stays out.
        let below = below.filter(|(path, name)| !name.contains(&b'/') && !stored.is_scanned(path));
        let rotated = below.filter_map(|(_, name)| {
            let (_, input, link) = wanted.iter().find(|(of, _, _)| is_rotated_name_of(name, of))?;
            Some((name.to_vec(), *input, link.clone()))
        });
        for (name, input, link) in rotated.collect::<Vec<_>>() {
            if self.files.find(home, &name).is_none() {
                let id = self.track_name(home, &name, input);
                self.files.get_mut(id).set(State::ONLY_KNOWN);
                Schedule::hold_back(&mut self.files, id, KeptBack::ByAge);
                self.schedule.by_age.open_group(self.tree.group(home));
                if let Some(link) = link {
                    self.identities.behind_links.insert(self.files.key(id), link);
                }
            }
        }
    }

    /// Takes a slice of the searches, within the budget.
    pub(in crate::engine) fn search(&mut self, budget: &mut usize, now: Now) {
        if self.discovery.searches.retry_at.is_some_and(|at| at <= now.instant) {
            self.discovery.searches.retry_at = None;
        }
        while *budget > 0
            && self.discovery.searches.has_work()
            && self.schedule.doubts.len() < DOUBTS_MAX
        {
            let Some((key, listing)) =
                self.discovery.searches.current.take().or_else(|| self.next_search(budget, now))
            else {
                continue;
            };
            let Some(dir) = self.tree.alive(key) else {
                self.search_is_over(key);
                continue;
            };
            if let Some(listing) = self.search_in(dir, listing, budget) {
                self.discovery.searches.current = Some((key, listing));
            } else {
                self.search_is_over(key);
            }
        }
    }

    fn next_search(&mut self, budget: &mut usize, now: Now) -> Option<(DirKey, F::Listing)> {
        *budget = budget.saturating_sub(VISIT_COST);
        let key = self.discovery.searches.directories.pop_front()?;
        let Some(dir) = self.tree.alive(key) else {
            self.search_is_over(key);
            return None;
        };
        let links = self.write_directory_bare(dir);
        match self.fs.list(&self.path, links) {
            Ok(listing) => Some((key, listing)),
            Err(error) if is_passing(&error) => {
                self.discovery.searches.directories.push_back(key);
                self.search_again(now);
                None
            }
            Err(_) => {
                self.search_is_over(key);
                None
            }
        }
    }

    fn search_again(&mut self, now: Now) {
        let at = now.instant + timers::RETRY_AFTER;
        self.discovery.searches.retry_at = Some(at);
        self.kernel.poll_by(at);
    }

    /// Takes entries. Returns the listing if it goes on.
    fn search_in(
        &mut self,
        dir: DirId,
        mut listing: F::Listing,
        budget: &mut usize,
    ) -> Option<F::Listing> {
        let key = self.tree.key(dir);
        let mut name = std::mem::take(&mut self.discovery.entry);
        let mut is_done = false;
        while *budget > 0 && !is_done {
            *budget -= 1;
            match self.fs.next_entry(&mut listing, &mut name) {
                Ok(Some(FileKind::Regular | FileKind::Unknown)) => {
                    let inode = self.fs.entry_inode(&listing);
                    if self.discovery.searches.sought.contains_key(&(key, inode)) {
                        self.found_by_search(dir, &name, inode);
                    }
                }
                Ok(Some(_)) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(None) => is_done = true,
                Err(_) => {
                    // A look at all of it again: what is not found is let go.
                    is_done = true;
                }
            }
        }
        self.discovery.entry = name;
        (!is_done).then_some(listing)
    }

    fn found_by_search(&mut self, dir: DirId, name: &[u8], inode: u64) {
        let Some(Sought { input, link }) =
            self.discovery.searches.sought.get(&(self.tree.key(dir), inode))
        else {
            return;
        };
        let (input, link) = (*input, link.clone());
        if let Some(known) = self.files.find(dir, name) {
            self.doubt(known);
            return;
        }
        let id = self.track_name(dir, name, input);
        self.files.get_mut(id).set(State::ONLY_KNOWN);
        if let Some(link) = link {
            self.identities.behind_links.insert(self.files.key(id), link);
        }
    }

    /// All of a directory was listed: what was not found there is not there.
    fn search_is_over(&mut self, key: DirKey) {
        if self.discovery.searches.directories.contains(&key) {
            // One more file is searched for since the listing began: it is listed once more.
            return;
        }
        self.discovery.searches.sought.retain(|(directory, _), _| *directory != key);
        if self.discovery.searches.sought.is_empty() {
            let files = &self.files;
            self.discovery.searches.files.retain(|&file, is_over| {
                *is_over = true;
                files.alive(file).is_some_and(|id| files.get(id).life() == Life::Leaving)
            });
        }
    }
}

/// Out of descriptors or memory: says nothing about the directory.
fn is_passing(error: &std::io::Error) -> bool {
    Failure::of(error) == Failure::Shortage || error.raw_os_error() == Some(libc::EIO)
}

/// Whether a rotation may have made `name` of `of`: `app.log.1`, `app.log-20260101`,
/// `app-20260101.log` of `app.log`.
fn is_rotated_name_of(name: &[u8], of: &[u8]) -> bool {
    let stem = &of[..memchr::memrchr(b'.', of).filter(|&at| at > 0).unwrap_or(of.len())];
    name != of
        && name
            .strip_prefix(stem)
            .and_then(|rest| rest.first())
            .is_some_and(|next| b".-_~".contains(next))
}

#[cfg(test)]
mod tests {
    use super::is_rotated_name_of;

    #[test]
    fn a_rotated_file_has_the_name_that_a_rotation_gives() {
        for name in
            ["app.log.1", "app.log-20260101", "app-20260101.log", "app.log.2.old", "app.1.log"]
        {
            assert!(is_rotated_name_of(name.as_bytes(), b"app.log"), "{name}");
        }
        for name in ["app.log", "app2.log", "other.log", "app", "ap.log"] {
            assert!(!is_rotated_name_of(name.as_bytes(), b"app.log"), "{name}");
        }
    }
}
