//! A kernel in memory: inodes, names, contents, permissions, and the events that changes to them
//! queue.
//!
//! In: operations of writers and rotators (absolute paths as bytes). Out: errno or the effect, and
//! events in [`Queue`]. Always holds, as on ext4 under Linux 6.18: the number of a freed inode is
//! the next one allocated, with another generation; an open file stays readable after its last name
//! was removed; an open file pins its directory, so that the end of a deleted directory
//! (`IN_DELETE_SELF`, `IN_IGNORED`) is reported only when the last file that was opened in it is
//! closed.

use std::collections::BTreeMap;
use std::time::Duration;

use manytail::testing::sys::inotify::{NAMES_MASK, SELF_MASK, mask};
use manytail::testing::sys::{Closes, Guard, LinkRule, Links, RefusedLink};
use nix::errno::Errno;

use crate::covering::Cover;
use crate::queue::{Event, Queue};

/// An inode's key in [`World`]; unlike its number it is never reused.
pub(crate) type Key = usize;
/// A name's key in [`World`]: it stays the same when the name changes.
pub(crate) type NameKey = usize;

pub(crate) const BLOCK_BYTES: u64 = 4096;
/// As `MAXSYMLINKS`.
const LINKS_FOLLOWED_MAX: usize = 40;

#[derive(Debug)]
pub(crate) enum Kind {
    File {
        content: Vec<u8>,
        /// The length of a hole at the front: a multiple of [`BLOCK_BYTES`].
        hole: u64,
    },
    Directory(BTreeMap<Vec<u8>, NameKey>),
    Link(Vec<u8>),
    Fifo,
}

#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) number: u64,
    pub(crate) inode_generation: u32,
    pub(crate) kind: Kind,
    pub(crate) links: u64,
    pub(crate) open: u32,
    /// The user who made it.
    pub(crate) owner: u32,
    /// Permission to read a file; to read and to search a directory.
    pub(crate) readable: bool,
    pub(crate) modified: Duration,
    pub(crate) born: Duration,
    /// Its watch, and the watch's mask.
    watch: Option<(i32, u32)>,
    /// The name of a directory, which has only one.
    name: Option<NameKey>,
    /// Every path that it has had below the root.
    pub(crate) paths: Vec<Vec<u8>>,
    /// Every name that it has had, and the directory of the name.
    places: Vec<(Key, Vec<u8>)>,
    /// The story of its content in the model.
    pub(crate) story: usize,
    /// When it grew, and its length then.
    pub(crate) growth: Vec<(Duration, u64)>,
    /// Whether it has to be followed.
    pub(crate) cover: Cover,
}

impl Inode {
    /// Its unique identity, forever.
    pub(crate) fn identity(&self) -> (u64, u32) {
        (self.number, self.inode_generation)
    }
}

#[derive(Debug)]
struct Name {
    parent: Key,
    name: Vec<u8>,
    inode: Key,
    alive: bool,
    /// How many times files are open through this name.
    open: u32,
}

/// An open file or directory. It has to be passed to [`World::close`].
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) inode: Key,
    name: NameKey,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) inodes: Vec<Inode>,
    names: Vec<Name>,
    free_numbers: Vec<u64>,
    number_last: u64,
    generation_last: u32,
    cookie_last: u32,
    /// Deleted directories that are still pinned.
    dying: Vec<Key>,
    pub(crate) queue: Queue,
    /// The time since the start; it grows a little with every change, so that no two changes have
    /// the same time.
    pub(crate) time: Duration,
    pub(crate) open_files: usize,
    /// Another machine writes: one append in this many is reported; 0: all.
    pub(crate) unheard: u32,
    /// How often a name was made, removed or renamed.
    pub(crate) name_changes: u64,
}

pub(crate) const ROOT: Key = 0;

impl World {
    pub(crate) fn new(events_max: usize) -> Self {
        let mut world = World {
            inodes: Vec::new(),
            names: Vec::new(),
            free_numbers: Vec::new(),
            number_last: 10,
            generation_last: 0,
            cookie_last: 0,
            dying: Vec::new(),
            queue: Queue::new(events_max),
            time: Duration::ZERO,
            open_files: 0,
            unheard: 0,
            name_changes: 0,
        };
        let root = world.new_inode(Kind::Directory(BTreeMap::new()));
        assert_eq!(root, ROOT, "the root is the first inode");
        world.names.push(Name {
            parent: ROOT,
            name: Vec::new(),
            inode: ROOT,
            alive: true,
            open: 0,
        });
        world.inodes[ROOT].name = Some(0);
        world.inodes[ROOT].links = 1;
        world
    }

    fn new_inode(&mut self, kind: Kind) -> Key {
        let number = self.free_numbers.pop().unwrap_or_else(|| {
            self.number_last += 1;
            self.number_last
        });
        self.generation_last += 1;
        let modified = self.tick();
        self.inodes.push(Inode {
            number,
            inode_generation: self.generation_last,
            kind,
            links: 0,
            open: 0,
            owner: 0,
            readable: true,
            modified,
            born: modified,
            watch: None,
            name: None,
            paths: Vec::new(),
            places: Vec::new(),
            story: usize::MAX,
            growth: Vec::new(),
            cover: Cover::default(),
        });
        self.inodes.len() - 1
    }

    fn tick(&mut self) -> Duration {
        self.time += Duration::from_nanos(100);
        self.time
    }

    // ---- looking ----

    pub(crate) fn entries(&self, directory: Key) -> Option<&BTreeMap<Vec<u8>, NameKey>> {
        match &self.inodes[directory].kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn named(&self, name: NameKey) -> Key {
        self.names[name].inode
    }

    pub(crate) fn is_directory(&self, key: Key) -> bool {
        matches!(self.inodes[key].kind, Kind::Directory(_))
    }

    fn child(&self, directory: Key, name: &[u8]) -> Result<NameKey, Errno> {
        let entries = self.entries(directory).ok_or(Errno::ENOTDIR)?;
        entries.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Resolves a path, and checks search permission if `checked`.
    fn walk(&self, path: &[u8], links: Links, checked: bool) -> Result<NameKey, Errno> {
        self.walk_or_refuse(path, links, checked)
            .map_err(|stopped| stopped.err().unwrap_or(Errno::ELOOP))
    }

    /// The link that may not be followed.
    pub(crate) fn refused_link(&self, path: &[u8], guard: Guard) -> Option<RefusedLink> {
        self.walk_or_refuse(path, Links::Guarded(guard), true).err()?.ok()
    }

    fn walk_or_refuse(
        &self,
        path: &[u8],
        links: Links,
        checked: bool,
    ) -> Result<NameKey, Result<RefusedLink, Errno>> {
        let mut followed = 0;
        let mut todo: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let behind = |len: usize| components(&path[len.min(path.len())..]).count();
        // After the second of these no link is followed; after the first the rule decides.
        let (guarded, untrusted) = match links {
            Links::Beneath(trusted) => (0, behind(trusted)),
            Links::Guarded(guard) => (behind(guard.trusted), behind(guard.followed)),
            Links::Keep | Links::Follow => (0, 0),
        };
        let is_last_followed = match links {
            Links::Guarded(_) => untrusted == 0,
            _ => links == Links::Follow,
        };
        let mut owners: Vec<(u32, usize)> = Vec::new();
        let mut at = 0;
        while let Some(component) = todo.pop() {
            let directory = self.names[at].inode;
            if checked && self.is_directory(directory) && !self.inodes[directory].readable {
                return Err(Err(Errno::EACCES));
            }
            if component == b".." {
                at = self.inodes[self.names[at].parent].name.unwrap_or(0);
                continue;
            }
            let next = self.child(directory, &component).map_err(Err)?;
            let inode = &self.inodes[self.names[next].inode];
            if let Kind::Link(target) = &inode.kind
                && (is_last_followed || !todo.is_empty())
            {
                if todo.len() < untrusted {
                    return Err(Err(Errno::ENOTDIR));
                }
                followed += 1;
                if followed > LINKS_FOLLOWED_MAX {
                    return Err(Err(Errno::ELOOP));
                }
                if todo.len() < guarded {
                    owners.push((inode.owner, todo.len()));
                }
                if target.first() == Some(&b'/') {
                    at = 0;
                }
                todo.extend(components(target).rev().map(<[u8]>::to_vec));
                continue;
            }
            at = next;
            while let Some((owner, _)) = owners.pop_if(|(_, rest)| *rest == todo.len()) {
                let target_owner = self.inodes[self.names[at].inode].owner;
                if !LinkRule::Owner.allows(owner, target_owner) {
                    return Err(Ok(RefusedLink { owner, target_owner: Some(target_owner) }));
                }
            }
        }
        Ok(at)
    }

    /// Resolves a path with the permissions of an ordinary user.
    pub(crate) fn resolve(&self, path: &[u8], links: Links) -> Result<Key, Errno> {
        Ok(self.names[self.walk(path, links, true)?].inode)
    }

    /// Resolves a path as root: permissions do not stop writers.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Key, Errno> {
        Ok(self.names[self.walk(path, Links::Keep, false)?].inode)
    }

    /// The final target of a path, as root.
    pub(crate) fn target(&self, path: &[u8]) -> Result<Key, Errno> {
        Ok(self.names[self.walk(path, Links::Follow, false)?].inode)
    }

    /// The path of the final target of a path, as root.
    pub(crate) fn target_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        Some(self.path_of(self.walk(path, Links::Follow, false).ok()?))
    }

    /// The path of the target of a path.
    pub(crate) fn place(&self, path: &[u8], links: Links) -> Result<Vec<u8>, Errno> {
        Ok(self.path_of(self.walk(path, links, true)?))
    }

    fn path_of(&self, name: NameKey) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = name;
        while at != 0 {
            parts.push(&self.names[at].name);
            at = self.inodes[self.names[at].parent].name.expect("a directory has a name");
        }
        if parts.is_empty() {
            return b"/".to_vec();
        }
        parts.iter().rev().flat_map(|part| [b"/".as_slice(), part]).flatten().copied().collect()
    }

    pub(crate) fn parent_of(&self, path: &[u8]) -> Result<(Key, Vec<u8>), Errno> {
        let end = path.iter().rposition(|&byte| byte == b'/').ok_or(Errno::EINVAL)?;
        let parent = self.find(&path[..end])?;
        if !self.is_directory(parent) {
            return Err(Errno::ENOTDIR);
        }
        Ok((parent, path[end + 1..].to_vec()))
    }

    // ---- changing names ----

    fn notify(&mut self, directory: Key, mask: u32, cookie: u32, name: &[u8]) {
        if let Some((watch, wanted)) = self.inodes[directory].watch
            && wanted & mask & !mask::ISDIR != 0
        {
            self.queue.push(Event { watch, mask, cookie, name: name.to_vec() });
        }
    }

    fn is_dir_bit(&self, key: Key) -> u32 {
        if self.is_directory(key) { mask::ISDIR } else { 0 }
    }

    fn enter(&mut self, parent: Key, name: &[u8], inode: Key) -> NameKey {
        self.names.push(Name { parent, name: name.to_vec(), inode, alive: true, open: 0 });
        let key = self.names.len() - 1;
        self.insert_entry(parent, name, key);
        self.inodes[inode].links += 1;
        if self.is_directory(inode) {
            self.inodes[inode].name = Some(key);
        }
        self.note_paths(key);
        key
    }

    fn insert_entry(&mut self, parent: Key, name: &[u8], key: NameKey) {
        self.name_changes += 1;
        let Kind::Directory(entries) = &mut self.inodes[parent].kind else {
            unreachable!("the parent is a directory")
        };
        entries.insert(name.to_vec(), key);
    }

    fn remove_entry(&mut self, parent: Key, name: &[u8]) {
        self.name_changes += 1;
        let Kind::Directory(entries) = &mut self.inodes[parent].kind else {
            unreachable!("the parent is a directory")
        };
        entries.remove(name);
    }

    /// Whether a file had this path, or would have it if a name on the way had not been removed
    /// before one above it was renamed: where events were lost, or a directory could not be
    /// watched, a reader may learn of one change and not of the other. Each name was one of the
    /// file's, or of a directory that it was in.
    pub(crate) fn may_be_called(&self, inode: Key, path: &[u8]) -> bool {
        let Some(slash) = path.iter().rposition(|&byte| byte == b'/') else { return false };
        let (above, last) = (&path[..slash], &path[slash + 1..]);
        self.inodes[inode].paths.iter().any(|known| known == path)
            || self.inodes[inode]
                .places
                .iter()
                .any(|(parent, name)| name == last && self.may_be_called(*parent, above))
    }

    /// Whether a file that left would have this path if another directory had come to the place of
    /// one above it: where events were lost, a reader takes the one for the other.
    pub(crate) fn may_be_taken_for(&self, inode: Key, path: &[u8]) -> bool {
        let is_named = |directory: &Inode, former: &[u8], now: &[u8]| {
            let has = |wanted: &[u8]| directory.paths.iter().any(|known| known == wanted);
            has(former) && has(now)
        };
        let slashes = (1..path.len()).filter(|&at| path[at] == b'/');
        slashes.map(|at| path.split_at(at)).any(|(above, rest)| {
            let known = self.inodes[inode].paths.iter();
            let mut formers = known.filter_map(|known| known.strip_suffix(rest));
            formers.any(|former| self.inodes.iter().any(|other| is_named(other, former, above)))
        })
    }

    /// Records the path of `name`, and of everything below it.
    fn note_paths(&mut self, name: NameKey) {
        let path = self.path_of(name);
        let inode = self.names[name].inode;
        if !self.inodes[inode].paths.contains(&path) {
            self.inodes[inode].paths.push(path);
        }
        let place = (self.names[name].parent, self.names[name].name.clone());
        if !self.inodes[inode].places.contains(&place) {
            self.inodes[inode].places.push(place);
        }
        let below: Vec<NameKey> = self
            .entries(inode)
            .map(|entries| entries.values().copied().collect())
            .unwrap_or_default();
        for name in below {
            self.note_paths(name);
        }
    }

    fn make(&mut self, path: &[u8], kind: Kind) -> Result<NameKey, Errno> {
        let (parent, name) = self.parent_of(path)?;
        if self.child(parent, &name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let inode = self.new_inode(kind);
        let key = self.enter(parent, &name, inode);
        self.notify(parent, mask::CREATE | self.is_dir_bit(inode), 0, &name);
        Ok(key)
    }

    /// `open(2)` with `O_CREAT | O_EXCL | O_APPEND`.
    pub(crate) fn create(&mut self, path: &[u8]) -> Result<Handle, Errno> {
        let name = self.make(path, Kind::File { content: Vec::new(), hole: 0 })?;
        Ok(self.open_name(name))
    }

    pub(crate) fn make_directory(&mut self, path: &[u8]) -> Result<(), Errno> {
        self.make(path, Kind::Directory(BTreeMap::new())).map(drop)
    }

    pub(crate) fn make_link(&mut self, target: &[u8], path: &[u8]) -> Result<(), Errno> {
        self.make(path, Kind::Link(target.to_vec())).map(drop)
    }

    pub(crate) fn make_fifo(&mut self, path: &[u8]) -> Result<(), Errno> {
        self.make(path, Kind::Fifo).map(drop)
    }

    /// `link(2)`: one more name for a file.
    pub(crate) fn link(&mut self, old: &[u8], new: &[u8]) -> Result<(), Errno> {
        let inode = self.find(old)?;
        if self.is_directory(inode) {
            return Err(Errno::EPERM);
        }
        let (parent, name) = self.parent_of(new)?;
        if self.child(parent, &name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.enter(parent, &name, inode);
        self.notify(parent, mask::CREATE, 0, &name);
        Ok(())
    }

    /// Removes a name; the inode is freed once nothing uses it.
    fn drop_name(&mut self, key: NameKey) {
        let (parent, name, inode) =
            (self.names[key].parent, self.names[key].name.clone(), self.names[key].inode);
        self.remove_entry(parent, &name);
        self.names[key].alive = false;
        self.inodes[inode].links -= 1;
        if self.is_directory(inode) {
            self.dying.push(inode);
        }
        self.free_if_unused(inode);
    }

    pub(crate) fn unlink(&mut self, path: &[u8]) -> Result<(), Errno> {
        let (parent, name) = self.parent_of(path)?;
        let key = self.child(parent, &name)?;
        if self.is_directory(self.names[key].inode) {
            return Err(Errno::EISDIR);
        }
        self.drop_name(key);
        self.notify(parent, mask::DELETE, 0, &name);
        Ok(())
    }

    pub(crate) fn remove_directory(&mut self, path: &[u8]) -> Result<(), Errno> {
        let (parent, name) = self.parent_of(path)?;
        let key = self.child(parent, &name)?;
        if !self.entries(self.names[key].inode).ok_or(Errno::ENOTDIR)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.drop_name(key);
        self.bury();
        self.notify(parent, mask::DELETE | mask::ISDIR, 0, &name);
        Ok(())
    }

    /// `rename(2)`.
    pub(crate) fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), Errno> {
        let (old_parent, old_name) = self.parent_of(old)?;
        let (new_parent, new_name) = self.parent_of(new)?;
        let key = self.child(old_parent, &old_name)?;
        let inode = self.names[key].inode;
        let target = self.child(new_parent, &new_name).ok();
        if target.is_some_and(|target| self.names[target].inode == inode) {
            return Ok(());
        }
        self.may_replace(inode, target, new_parent)?;
        if let Some(target) = target {
            self.drop_name(target);
        }
        self.remove_entry(old_parent, &old_name);
        self.names[key].parent = new_parent;
        self.names[key].name.clone_from(&new_name);
        self.insert_entry(new_parent, &new_name, key);
        self.note_paths(key);
        self.cookie_last += 1;
        let (cookie, is_dir) = (self.cookie_last, self.is_dir_bit(inode));
        self.notify(old_parent, mask::MOVED_FROM | is_dir, cookie, &old_name);
        self.notify(new_parent, mask::MOVED_TO | is_dir, cookie, &new_name);
        if let Some(target) = target
            && is_dir != 0
        {
            self.notify(self.names[target].inode, mask::ATTRIB | mask::ISDIR, 0, b"");
        }
        if is_dir != 0 {
            self.notify(inode, mask::MOVE_SELF, 0, b"");
        }
        self.bury();
        Ok(())
    }

    /// `renameat2(2)` with `RENAME_EXCHANGE`.
    pub(crate) fn exchange(&mut self, one: &[u8], other: &[u8]) -> Result<(), Errno> {
        let places = [self.parent_of(one)?, self.parent_of(other)?];
        let keys = [self.child(places[0].0, &places[0].1)?, self.child(places[1].0, &places[1].1)?];
        let inodes = keys.map(|key| self.names[key].inode);
        if inodes[0] == inodes[1] {
            return Ok(());
        }
        self.may_replace(inodes[0], None, places[1].0)?;
        self.may_replace(inodes[1], None, places[0].0)?;
        for (key, (parent, name)) in keys.iter().zip(places.iter().rev()) {
            self.names[*key].parent = *parent;
            self.names[*key].name.clone_from(name);
            self.insert_entry(*parent, name, *key);
        }
        keys.into_iter().for_each(|key| self.note_paths(key));
        for (from, to, inode) in [(0, 1, inodes[0]), (1, 0, inodes[1])] {
            self.cookie_last += 1;
            let (cookie, is_dir) = (self.cookie_last, self.is_dir_bit(inode));
            self.notify(places[from].0, mask::MOVED_FROM | is_dir, cookie, &places[from].1);
            self.notify(places[to].0, mask::MOVED_TO | is_dir, cookie, &places[to].1);
            if is_dir != 0 {
                self.notify(inode, mask::MOVE_SELF, 0, b"");
            }
        }
        Ok(())
    }

    fn may_replace(
        &self,
        inode: Key,
        target: Option<NameKey>,
        new_parent: Key,
    ) -> Result<(), Errno> {
        let mut above = new_parent;
        while above != ROOT {
            if above == inode {
                return Err(Errno::EINVAL);
            }
            above = self.names[self.inodes[above].name.expect("a directory has a name")].parent;
        }
        let Some(target) = target else { return Ok(()) };
        match (self.is_directory(inode), self.entries(self.names[target].inode)) {
            (false, Some(_)) => Err(Errno::EISDIR),
            (true, None) => Err(Errno::ENOTDIR),
            (true, Some(entries)) if !entries.is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    pub(crate) fn change_mode(&mut self, path: &[u8], readable: bool) -> Result<(), Errno> {
        let name = self.walk(path, Links::Keep, false)?;
        let inode = self.names[name].inode;
        self.inodes[inode].readable = readable;
        let (parent, text) = (self.names[name].parent, self.names[name].name.clone());
        let is_dir = self.is_dir_bit(inode);
        self.notify(parent, mask::ATTRIB | is_dir, 0, &text);
        if is_dir != 0 {
            self.notify(inode, mask::ATTRIB | is_dir, 0, b"");
        }
        Ok(())
    }

    // ---- open files ----

    pub(crate) fn open_name(&mut self, name: NameKey) -> Handle {
        let inode = self.names[name].inode;
        self.names[name].open += 1;
        self.inodes[inode].open += 1;
        self.open_files += 1;
        Handle { inode, name }
    }

    /// `open(2)` with `O_TMPFILE`: a file without a name; in events its name is made from its
    /// number.
    pub(crate) fn create_unnamed(&mut self, directory: &[u8]) -> Result<Handle, Errno> {
        let parent = self.find(directory)?;
        if !self.is_directory(parent) {
            return Err(Errno::ENOTDIR);
        }
        let inode = self.new_inode(Kind::File { content: Vec::new(), hole: 0 });
        let name = format!("#{}", self.inodes[inode].number).into_bytes();
        self.names.push(Name { parent, name, inode, alive: false, open: 0 });
        Ok(self.open_name(self.names.len() - 1))
    }

    /// `linkat(2)` of an open file.
    pub(crate) fn name_it(&mut self, handle: &Handle, path: &[u8]) -> Result<(), Errno> {
        let (parent, name) = self.parent_of(path)?;
        if self.child(parent, &name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.enter(parent, &name, handle.inode);
        self.notify(parent, mask::CREATE, 0, &name);
        Ok(())
    }

    /// Opens an existing file as root, as writers do.
    pub(crate) fn open(&mut self, path: &[u8]) -> Result<Handle, Errno> {
        let name = self.walk(path, Links::Keep, false)?;
        if !matches!(self.inodes[self.names[name].inode].kind, Kind::File { .. }) {
            return Err(Errno::EISDIR);
        }
        Ok(self.open_name(name))
    }

    /// Opens for reading as a user, as the engine does.
    pub(crate) fn open_to_read(&mut self, path: &[u8], links: Links) -> Result<Handle, Errno> {
        let name = self.walk(path, links, true)?;
        let inode = &self.inodes[self.names[name].inode];
        if matches!(inode.kind, Kind::Link(_)) {
            return Err(Errno::ELOOP);
        }
        if !inode.readable {
            return Err(Errno::EACCES);
        }
        Ok(self.open_name(name))
    }

    /// Closes a file that was opened to be written to.
    pub(crate) fn close_written(&mut self, handle: Handle) {
        if self.is_heard() {
            self.notify_change(&handle, mask::CLOSE_WRITE);
        }
        self.close(handle);
    }

    #[expect(clippy::needless_pass_by_value, reason = "a closed handle is gone")]
    pub(crate) fn close(&mut self, handle: Handle) {
        self.names[handle.name].open -= 1;
        self.inodes[handle.inode].open -= 1;
        self.open_files -= 1;
        self.free_if_unused(handle.inode);
        self.bury();
    }

    fn free_if_unused(&mut self, key: Key) {
        let inode = &mut self.inodes[key];
        if inode.links == 0 && inode.open == 0 && !matches!(inode.kind, Kind::Directory(_)) {
            self.free_numbers.push(inode.number);
        }
    }

    /// Frees deleted directories that are no longer pinned; each may have pinned the one above.
    fn bury(&mut self) {
        while let Some(at) = self.dying.iter().position(|&key| !self.is_pinned(key)) {
            let key = self.dying.remove(at);
            if let Some((watch, _)) = self.inodes[key].watch.take() {
                self.queue.push(Event {
                    watch,
                    mask: mask::DELETE_SELF,
                    cookie: 0,
                    name: Vec::new(),
                });
                self.queue.end_watch(watch);
            }
            self.free_numbers.push(self.inodes[key].number);
        }
    }

    fn is_pinned(&self, directory: Key) -> bool {
        let holds =
            |name: &Name| name.open > 0 || (!name.alive && self.dying.contains(&name.inode));
        self.inodes[directory].open > 0
            || self.names.iter().any(|name| name.parent == directory && holds(name))
    }

    // ---- contents ----

    /// Reports a write through an open file: under the name by which it was opened, even if that is
    /// gone.
    fn notify_write(&mut self, handle: &Handle) {
        if self.is_heard() {
            self.notify_change(handle, mask::MODIFY);
        }
    }

    fn is_heard(&self) -> bool {
        let mixed = (self.time.as_nanos() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        self.unheard == 0 || mixed.is_multiple_of(u64::from(self.unheard))
    }

    /// Reports a change of an open file, in the directory of the name by which it was opened.
    fn notify_change(&mut self, handle: &Handle, what: u32) {
        let (parent, text) = (self.names[handle.name].parent, self.names[handle.name].name.clone());
        self.notify(parent, what, 0, &text);
    }

    /// Appends, as `O_APPEND` does.
    pub(crate) fn append(&mut self, handle: &Handle, bytes: &[u8]) {
        let modified = self.tick();
        let inode = &mut self.inodes[handle.inode];
        let Kind::File { content, .. } = &mut inode.kind else {
            unreachable!("only files are written")
        };
        content.extend_from_slice(bytes);
        inode.growth.push((modified, content.len() as u64));
        inode.modified = modified;
        self.notify_write(handle);
    }

    /// Writes at `position` beyond the end of an empty file: whole blocks before it become a hole.
    pub(crate) fn write_beyond(&mut self, handle: &Handle, position: u64, bytes: &[u8]) {
        let modified = self.tick();
        let inode = &mut self.inodes[handle.inode];
        let Kind::File { content, hole } = &mut inode.kind else {
            unreachable!("only files are written")
        };
        assert!(content.is_empty(), "holes are made at the front");
        *hole = position / BLOCK_BYTES * BLOCK_BYTES;
        content.resize(position as usize, 0);
        content.extend_from_slice(bytes);
        inode.growth.push((modified, content.len() as u64));
        inode.modified = modified;
        self.notify_write(handle);
    }

    /// `ftruncate(2)` to nothing.
    pub(crate) fn truncate(&mut self, handle: &Handle) {
        let modified = self.tick();
        let inode = &mut self.inodes[handle.inode];
        inode.kind = Kind::File { content: Vec::new(), hole: 0 };
        inode.growth.clear();
        inode.modified = modified;
        self.notify_change(handle, mask::MODIFY);
    }

    // ---- watches ----

    pub(crate) fn watch(
        &mut self,
        path: &[u8],
        links: Links,
        closes: Closes,
    ) -> Result<i32, Errno> {
        self.watch_with(path, links, closes.watch_mask())
    }

    pub(crate) fn watch_names(&mut self, path: &[u8]) -> Result<i32, Errno> {
        self.watch_with(path, Links::Keep, NAMES_MASK)
    }

    pub(crate) fn watch_self(&mut self, path: &[u8]) -> Result<i32, Errno> {
        self.watch_with(path, Links::Keep, SELF_MASK)
    }

    /// `inotify_add_watch(2)`: one watch per inode, whose mask is replaced, or added to.
    fn watch_with(&mut self, path: &[u8], links: Links, wanted: u32) -> Result<i32, Errno> {
        let key = self.resolve(path, links)?;
        if !self.is_directory(key) {
            return Err(Errno::ENOTDIR);
        }
        if !self.inodes[key].readable {
            return Err(Errno::EACCES);
        }
        if let Some((watch, before)) = self.inodes[key].watch {
            let wanted = if wanted & mask::MASK_ADD == 0 { wanted } else { before | wanted };
            self.inodes[key].watch = Some((watch, wanted));
            return Ok(watch);
        }
        let watch = self.queue.add_watch(key)?;
        self.inodes[key].watch = Some((watch, wanted));
        Ok(watch)
    }

    pub(crate) fn unwatch(&mut self, watch: i32) {
        if let Some(key) = self.queue.end_watch(watch) {
            self.inodes[key].watch = None;
        }
    }

    /// The inotify instance is closed: its process is gone.
    pub(crate) fn drop_watches(&mut self) {
        for inode in &mut self.inodes {
            inode.watch = None;
        }
        self.queue.close();
    }

    /// Whether the directory of `path` has a watch that reports writes.
    pub(crate) fn is_told_of(&self, path: &[u8]) -> bool {
        self.parent_of(path).is_ok_and(|(parent, _)| {
            self.inodes[parent].watch.is_some_and(|(_, wanted)| wanted & mask::MODIFY != 0)
        })
    }

    pub(crate) fn path_of_directory(&self, key: Key) -> Vec<u8> {
        self.path_of(self.inodes[key].name.expect("a directory has a name"))
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}
