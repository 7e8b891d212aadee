//! Searches for files that were renamed unseen in directories that are not listed: the homes of
//! single files and of links' targets.
//!
//! In: a file that is not where it was, without an event: events were lost, the directory has no
//! watch, or manytail was not running. Out: the name with its inode in a listing of the directory.
//! Always holds: such a directory is listed only for a search, and in slices; at most
//! [`SOUGHT_MAX`] files are searched for.

use std::collections::VecDeque;
use std::time::Instant;

use hashbrown::HashMap;
use nix::libc;

use crate::engine::coverage::looks::known_directory;
use crate::engine::coverage::single_files::{SingleFile, SingleFiles};
use crate::engine::discovery::directories::VISIT_COST;
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::registry::{Life, Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirId, DirKey, Role, Tree};
use crate::engine::schedule::timers;
use crate::engine::schedule::{HeldBack, Schedule};
use crate::engine::{DOUBTS_MAX, Engine};
use crate::names::split_path;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, Stat};

/// Files searched for at once. Any further one is treated as if it had left the tree.
const SOUGHT_MAX: usize = 4_096;

/// Where a link is, and its name.
type Link = (DirId, Box<[u8]>);

/// A file that is searched for.
#[derive(Debug, Clone)]
struct Sought {
    input: InputId,
    /// The link behind which it was rotated.
    link: Option<Link>,
}

/// All searches.
#[derive(Debug)]
pub(in crate::engine) struct Searches<L> {
    /// By directory and inode.
    sought: HashMap<(DirKey, u64), Sought>,
    /// Files of this run that are searched for. The value: whether the search is over.
    files: HashMap<SlotKey, bool>,
    directories: VecDeque<DirKey>,
    current: Option<(DirKey, L)>,
    /// When to continue after a listing failed for lack of descriptors or memory.
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

    /// The search can continue at once.
    pub(in crate::engine) fn has_work(&self) -> bool {
        self.retry_at.is_none() && self.is_under_way()
    }

    /// Returns whether there was room.
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

    /// A look did not find a file where it was. If its directory is not listed, its new name is
    /// searched for.
    fn search_behind(
        &mut self,
        id: SlotId,
        files: &Registry,
        tree: &Tree,
        single_files: &SingleFiles,
        rotated: &mut HashMap<SlotKey, Link>,
    ) {
        let (slot, key) = (files.get(id), files.key(id));
        let is_followed = slot.is_bound() && slot.life() == Life::Following;
        let Some(file) = files.file_id(id).filter(|_| is_followed) else { return };
        let (home, link) = if slot.state().contains(State::VIA_LINK) {
            let mut names = files.further_names(id);
            let target = names.find(|(dir, name)| single_files.is_target(*dir, name));
            (target.map(|(dir, _)| dir), Some((slot.dir(), files.name(id).into())))
        } else {
            (Some(slot.dir()), rotated.get(&key).cloned())
        };
        let Some(home) = home.filter(|&home| tree.has_role(home, Role::Home)) else { return };
        if let Some(link) = link.clone() {
            rotated.insert(key, link);
        }
        if self.begin(tree.key(home), file.inode, Sought { input: slot.input, link }) {
            self.files.insert(key, false);
        }
    }

    /// Continues the current directory or begins the next one, within the budget. `name` becomes
    /// the name of the last entry.
    fn advance<F: FileSystem<Listing = L>>(
        &mut self,
        files: &Registry,
        tree: &Tree,
        fs: &mut F,
        name: &mut Vec<u8>,
        budget: &mut usize,
    ) -> Progress {
        let (key, mut listing) = match self.current.take() {
            Some(current) => current,
            None => {
                *budget = budget.saturating_sub(VISIT_COST);
                let Some(key) = self.directories.pop_front() else { return Progress::GoesOn };
                match self.list(key, tree, fs) {
                    Ok(listing) => (key, listing),
                    Err(Failed::ForNow) => {
                        self.directories.push_back(key);
                        return Progress::Short;
                    }
                    Err(Failed::ForGood) => {
                        self.finish(key, files);
                        return Progress::GoesOn;
                    }
                }
            }
        };
        let Some(dir) = tree.alive(key) else {
            self.finish(key, files);
            return Progress::GoesOn;
        };
        while *budget > 0 {
            *budget -= 1;
            match fs.next_entry(&mut listing, name) {
                Ok(Some(FileKind::Regular | FileKind::Unknown)) => {
                    let inode = fs.entry_inode(&listing);
                    if let Some(sought) = self.sought.get(&(key, inode)).cloned() {
                        self.current = Some((key, listing));
                        return Progress::Found(dir, sought);
                    }
                }
                Ok(Some(_)) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // After an error, files that were not found are given up.
                Ok(None) | Err(_) => {
                    self.finish(key, files);
                    return Progress::GoesOn;
                }
            }
        }
        self.current = Some((key, listing));
        Progress::GoesOn
    }

    fn list<F: FileSystem<Listing = L>>(
        &self,
        key: DirKey,
        tree: &Tree,
        fs: &mut F,
    ) -> Result<L, Failed> {
        let dir = tree.alive(key).ok_or(Failed::ForGood)?;
        let mut path = Vec::new();
        let links = tree.write_bare_path(dir, &mut path);
        fs.list(&path, links)
            .map_err(|error| if is_passing(&error) { Failed::ForNow } else { Failed::ForGood })
    }

    /// The listing of a directory has finished: files that it did not find are not there.
    fn finish(&mut self, key: DirKey, files: &Registry) {
        if self.directories.contains(&key) {
            // One more file is searched for since the listing began: it is listed once more.
            return;
        }
        self.sought.retain(|(directory, _), _| *directory != key);
        if self.sought.is_empty() {
            self.files.retain(|&file, is_over| {
                *is_over = true;
                files.alive(file).is_some_and(|id| files.get(id).life() == Life::Leaving)
            });
        }
    }
}

/// The result of a step of a search.
enum Progress {
    /// The last entry is a file that is searched for, in this directory.
    Found(DirId, Sought),
    /// Descriptors or memory are short.
    Short,
    GoesOn,
}

/// Why a directory is not listed.
enum Failed {
    ForNow,
    ForGood,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// See [`Searches::search_behind`].
    pub(in crate::engine) fn search_behind(&mut self, id: SlotId) {
        self.discovery.searches.search_behind(
            id,
            &self.files,
            &self.tree,
            &self.coverage.single_files,
            &mut self.identities.behind_links,
        );
    }

    /// Whether a file that lost its name is still searched for, or about to be found.
    ///
    /// Work bounds this, not time. The searches take entries in every turn until each of their
    /// directories was listed to its end. After that it ends at the first call at which every name
    /// has been looked at and no event is queued. All searches end together, so further files, at
    /// most [`SOUGHT_MAX`] at once, prolong it. So does a shortage of descriptors or a disk error,
    /// for as long as it lasts.
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

    /// A new file has the name of one in the journal. The other may have been rotated while
    /// manytail was not running; if so, it is read first.
    ///
    /// # Errors
    /// If a link cannot be resolved for lack of descriptors or memory: the file must not be started
    /// then.
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
        // The file itself continues, or is freed again: neither needs the other one.
        if self.files.get(id).state().contains(State::ONLY_KNOWN)
            || self.offsets.is_stored(found.id, &self.path)
        {
            return Ok(());
        }
        let (path, link) = (self.path.clone(), (dir, self.files.name(id).into()));
        let Some(stored) =
            self.offsets.get().map(|commits| &commits.stored).filter(|stored| !stored.is_empty())
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
                // The link leads elsewhere by now. A later look handles that.
                Err(_) => return Ok(()),
            };
            let prefix = split_path(&target).0;
            let known = known_directory(&self.tree, prefix, &mut self.fs);
            if known.is_some_and(|known| self.tree.has_role(known, Role::Listed)) {
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
                Schedule::hold_back(&mut self.files, id, HeldBack::ByAge);
            }
        }
        Ok(())
    }

    /// At a start: continues files that an earlier run followed after they were rotated in a
    /// directory that is not listed.
    pub(in crate::engine) fn track_stored(&mut self, home: DirId) {
        let Some(stored) = self.offsets.get().map(|commits| &commits.stored) else { return };
        if stored.is_empty() || !self.discovery.absence.is_first_scan() {
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
        // A file that was a PATH itself and is none any more is not followed.
        let below = below.filter(|(path, name)| !name.contains(&b'/') && !stored.is_scanned(path));
        let rotated = below.filter_map(|(_, name)| {
            let (_, input, link) = wanted.iter().find(|(of, _, _)| is_rotated_name_of(name, of))?;
            Some((name.to_vec(), *input, link.clone()))
        });
        for (name, input, link) in rotated.collect::<Vec<_>>() {
            if self.files.find(home, &name).is_none() {
                let id = self.track_name(home, &name, input);
                self.files.get_mut(id).set(State::ONLY_KNOWN);
                Schedule::hold_back(&mut self.files, id, HeldBack::ByAge);
                self.schedule.by_age.open_group(self.tree.group(home));
                if let Some(link) = link {
                    self.identities.behind_links.insert(self.files.key(id), link);
                }
            }
        }
    }

    /// Takes a slice of the searches, within the budget.
    pub(in crate::engine) fn search(&mut self, budget: &mut usize, now: Now) {
        self.discovery.searches.retry_at.take_if(|at| *at <= now.instant);
        let mut name = std::mem::take(&mut self.discovery.entry);
        while *budget > 0
            && self.discovery.searches.has_work()
            && self.schedule.doubts.len() < DOUBTS_MAX
        {
            let (searches, files, tree) = (&mut self.discovery.searches, &self.files, &self.tree);
            match searches.advance(files, tree, &mut self.fs, &mut name, budget) {
                Progress::Found(dir, sought) => self.found_by_search(dir, &name, sought),
                Progress::Short => {
                    let at = now.instant + timers::RETRY_AFTER;
                    self.discovery.searches.retry_at = Some(at);
                    self.kernel.poll_by(at);
                }
                Progress::GoesOn => {}
            }
        }
        self.discovery.entry = name;
    }

    fn found_by_search(&mut self, dir: DirId, name: &[u8], Sought { input, link }: Sought) {
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
}

/// The error may pass, and does not concern the directory.
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
    use super::*;
    use crate::sys::file::Linux;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;

    /// Runs the searches to their end. Returns the names that they found, and their cost.
    fn search(
        searches: &mut Searches<<Linux as FileSystem>::Listing>,
        files: &Registry,
        tree: &Tree,
        at_once: usize,
    ) -> (Vec<String>, usize) {
        let (mut found, mut name, mut taken) = (Vec::new(), Vec::new(), 0);
        let mut linux = Linux::new();
        while searches.has_work() {
            let mut budget = at_once;
            let progress = searches.advance(files, tree, &mut linux, &mut name, &mut budget);
            taken += at_once - budget;
            match progress {
                Progress::Found(_, _) => found.push(String::from_utf8(name.clone()).unwrap()),
                Progress::Short => panic!("nothing is short"),
                Progress::GoesOn => {}
            }
        }
        (found, taken)
    }

    #[test]
    fn a_file_is_found_under_its_new_name_and_one_that_is_not_there_ends_the_search() {
        let world = tempfile::tempdir().expect("a directory");
        for number in 0..20 {
            std::fs::write(world.path().join(format!("log.{number}")), "").expect("a file");
        }
        let inode = std::fs::metadata(world.path().join("log.7")).expect("it is there").ino();
        let mut tree = Tree::new(None);
        let mut prefix = world.path().as_os_str().as_bytes().to_vec();
        prefix.push(b'/');
        let home = tree.add_root(&prefix, Role::Home);
        let gone = tree.add_root(b"/nonexistent/directory/", Role::Home);
        let mut files = Registry::new();
        let id = files.insert(home, b"log");
        files.set_life(id, Life::Leaving);
        let key = files.key(id);
        let sought = || Sought { input: InputId::default(), link: None };
        // The whole directory at once, and entry by entry.
        for at_once in [1_000, VISIT_COST + 1] {
            for (inode, wanted) in [(inode, vec!["log.7"]), (0, vec![])] {
                let mut searches = Searches::new();
                searches.files.insert(key, false);
                assert!(searches.begin(tree.key(home), inode, sought()));
                assert!(searches.begin(tree.key(gone), inode, sought()));
                let (found, taken) = search(&mut searches, &files, &tree, at_once);
                assert_eq!(found, wanted, "{at_once} at once");
                assert!((20..=20 + 2 + 2 * VISIT_COST).contains(&taken), "{taken} taken");
                assert!(searches.sought.is_empty() && !searches.is_under_way());
                assert_eq!(searches.files.get(&key), Some(&true), "its search is over");
            }
        }
    }

    #[test]
    fn a_directory_is_listed_once_more_for_a_file_that_was_lost_meanwhile() {
        let world = tempfile::tempdir().expect("a directory");
        std::fs::write(world.path().join("log.1"), "").expect("a file");
        let inode = std::fs::metadata(world.path().join("log.1")).expect("it is there").ino();
        let mut tree = Tree::new(None);
        let mut prefix = world.path().as_os_str().as_bytes().to_vec();
        prefix.push(b'/');
        let home = tree.add_root(&prefix, Role::Home);
        let (files, mut searches) = (Registry::new(), Searches::new());
        let sought = || Sought { input: InputId::default(), link: None };
        searches.begin(tree.key(home), 0, sought());
        let mut budget = VISIT_COST + 1;
        let (mut linux, mut name) = (Linux::new(), Vec::new());
        let first = searches.advance(&files, &tree, &mut linux, &mut name, &mut budget);
        assert!(matches!(first, Progress::GoesOn) && searches.current.is_some());
        searches.begin(tree.key(home), inode, sought());
        assert_eq!(search(&mut searches, &files, &tree, 1_000).0, ["log.1"]);
        let full = (1..=SOUGHT_MAX as u64 + 1)
            .filter(|&inode| searches.begin(tree.key(home), inode, sought()))
            .count();
        assert_eq!(full, SOUGHT_MAX, "no more are searched for at once");
    }

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
