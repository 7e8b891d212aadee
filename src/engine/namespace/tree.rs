//! The directories with their names, parents, identities and watches. Paths are built on demand.
//!
//! In: what discovery found and what events reported. Out: ids of directories, paths for system
//! calls.
//! Always holds: a live directory is a root or has a live parent; an inode has at most one
//! directory.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::engine::namespace::inputs::ScopeId;
use crate::names::{NameRef, Names};
use crate::sys::{LinkRule, NOBODY, WatchId};

mod paths;
mod trust;
mod visit_work;

use trust::Prefix;
pub(crate) use trust::Trust;
pub(crate) use visit_work::VisitWork;

const NONE: u32 = u32::MAX;

/// A directory's place in the table. It is reused after the directory is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DirId(pub(crate) u32);

/// Identifies a directory in queues: it stays unambiguous when the place is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DirKey {
    pub(crate) id: DirId,
    version: u32,
}

/// Why a directory is in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Part of a followed tree: all its matching files are followed.
    Listed,
    /// The home of single files (a PATH that is a file, the target of a link). Only these files are
    /// followed, and the directory is never listed.
    Home,
}

/// One directory.
#[derive(Debug)]
pub(crate) struct Directory {
    live: bool,
    version: u32,
    /// `NONE` for roots, whose path is `prefix`.
    parent: u32,
    name: NameRef,
    first_child: u32,
    next: u32,
    previous: u32,
    watch: Option<WatchId>,
    /// The path of a root, or the last path of a directory that was renamed away.
    prefix: Option<Box<Prefix>>,
    /// The directory right below a root that contains this one, or is this one; for a root, itself.
    /// Files with the same top share turns.
    top: u32,
    /// Device and inode; (0, 0) until the first look.
    pub(crate) inode: (u64, u64),
    /// The owner; [`NOBODY`] until the first look.
    pub(crate) owner: u32,
    pub(crate) role: Role,
    /// The PATHs whose inputs decide which of its files are followed.
    pub(crate) scope: ScopeId,
    /// It is itself a PATH.
    pub(crate) is_path: bool,
    /// It is reached through a symbolic link.
    pub(crate) via_link: bool,
    /// The running listing of the parent has passed it.
    pub(crate) is_seen: bool,
    /// The work of the visit that is queued; empty if none is queued.
    pub(crate) queued: VisitWork,
    /// The work of the last visit; empty once that has finished.
    pub(crate) unfinished: VisitWork,
    /// It has no watch, because there was no room for one: it is polled.
    pub(crate) is_polled: bool,
    /// It was reported that this directory cannot be read.
    is_unreadable: bool,
    /// It was renamed away, and the event with its new name has not arrived.
    pub(crate) is_moving: bool,
    /// It and everything below it is being dropped in slices; `is_moving` is set as well.
    pub(crate) is_dropping: bool,
    /// It has a new place in the tree, and its contents are not updated yet. The value: whether
    /// another input may cover them now.
    pub(crate) moved: Option<bool>,
    /// A look did not find it. It is checked again once the kernel's queue is empty.
    pub(crate) is_lost: bool,
    /// The kernel ended its watch: the inode was deleted, or its file system was unmounted. The
    /// path may lead to another directory now, even one with the same inode number.
    pub(crate) is_watch_ended: bool,
    /// It is known to be on a file system that others write to without an event.
    is_blind: bool,
    /// The type of its file system is known.
    pub(crate) is_type_known: bool,
}

impl Directory {
    pub(crate) fn is_blind(&self) -> bool {
        self.is_blind
    }

    pub(crate) fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }
}

/// All directories.
#[derive(Debug)]
pub(crate) struct Tree {
    directories: Vec<Directory>,
    free: Vec<u32>,
    names: Names,
    by_name: HashTable<u32>,
    by_inode: HashMap<(u64, u64), DirId>,
    by_watch: HashMap<WatchId, DirId>,
    hasher: DefaultHashBuilder,
    /// Which links in the tree are followed.
    link_rule: Option<LinkRule>,
    /// How many are on file systems that others write to without an event.
    blind: usize,
    /// How many cannot be read.
    unreadable: usize,
}

impl Tree {
    pub(crate) fn new(link_rule: Option<LinkRule>) -> Self {
        Tree {
            directories: Vec::new(),
            free: Vec::new(),
            names: Names::new(),
            by_name: HashTable::new(),
            by_inode: HashMap::new(),
            by_watch: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            link_rule,
            blind: 0,
            unreadable: 0,
        }
    }

    /// How many directories there are.
    pub(crate) fn len(&self) -> usize {
        self.directories.len() - self.free.len()
    }

    /// One more than the largest place ever used: a sweep's range.
    pub(crate) fn places(&self) -> u32 {
        u32::try_from(self.directories.len()).expect("checked when a place is taken")
    }

    /// How many are watched.
    pub(crate) fn watched(&self) -> usize {
        self.by_watch.len()
    }

    /// How many cannot be read.
    pub(crate) fn unreadable(&self) -> usize {
        self.unreadable
    }

    pub(crate) fn get(&self, id: DirId) -> &Directory {
        let found = &self.directories[id.0 as usize];
        debug_assert!(found.live, "a directory that went away is not asked for");
        found
    }

    pub(crate) fn get_mut(&mut self, id: DirId) -> &mut Directory {
        &mut self.directories[id.0 as usize]
    }

    pub(crate) fn key(&self, id: DirId) -> DirKey {
        DirKey { id, version: self.directories[id.0 as usize].version }
    }

    /// The directory, if it is still the same one.
    pub(crate) fn alive(&self, key: DirKey) -> Option<DirId> {
        let found = &self.directories[key.id.0 as usize];
        (found.live && found.version == key.version).then_some(key.id)
    }

    /// The directory at a place, if one is there.
    pub(crate) fn at_place(&self, place: u32) -> Option<DirId> {
        self.directories.get(place as usize).filter(|found| found.live).map(|_| DirId(place))
    }

    /// Adds a directory that the settings name. It has no parent in the tree.
    pub(crate) fn add_root(&mut self, prefix: &[u8], role: Role) -> DirId {
        self.take(
            NONE,
            NameRef::NONE,
            Some(Prefix { path: prefix.into(), trust: Trust::whole(prefix) }),
            role,
        )
    }

    /// Adds the directory that a link leads into. Its path contains no link, and only its start is
    /// trusted.
    pub(crate) fn add_target(&mut self, prefix: &[u8]) -> DirId {
        self.take(
            NONE,
            NameRef::NONE,
            Some(Prefix { path: prefix.into(), trust: Trust::root() }),
            Role::Home,
        )
    }

    /// The settings turned out to name this directory as well.
    pub(crate) fn trust(&mut self, id: DirId) {
        if let Some(prefix) = &mut self.get_mut(id).prefix {
            prefix.trust = Trust::whole(&prefix.path);
        }
    }

    /// Adds a directory below another.
    pub(crate) fn add(&mut self, parent: DirId, name: &[u8]) -> DirId {
        debug_assert!(self.find(parent, name).is_none(), "a name stands for one directory");
        let name_ref = self.names.insert(name);
        let id = self.take(parent.0, name_ref, None, Role::Listed);
        self.link(id);
        self.set_top(id);
        id
    }

    pub(crate) fn find(&self, parent: DirId, name: &[u8]) -> Option<DirId> {
        let hash = self.hasher.hash_one((parent.0, name));
        self.by_name
            .find(hash, |&at| {
                let found = &self.directories[at as usize];
                found.parent == parent.0 && self.names.get(found.name) == name
            })
            .map(|&at| DirId(at))
    }

    pub(crate) fn find_inode(&self, inode: (u64, u64)) -> Option<DirId> {
        self.by_inode.get(&inode).copied()
    }

    pub(crate) fn find_watch(&self, watch: WatchId) -> Option<DirId> {
        self.by_watch.get(&watch).copied()
    }

    pub(crate) fn set_inode(&mut self, id: DirId, inode: (u64, u64)) {
        let before = std::mem::replace(&mut self.get_mut(id).inode, inode);
        if before != inode && self.by_inode.get(&before) == Some(&id) {
            self.by_inode.remove(&before);
        }
        self.by_inode.insert(inode, id);
    }

    pub(crate) fn set_watch(&mut self, id: DirId, watch: Option<WatchId>) {
        let before = std::mem::replace(&mut self.get_mut(id).watch, watch);
        if let Some(before) = before.filter(|&before| Some(before) != watch)
            && self.by_watch.get(&before) == Some(&id)
        {
            self.by_watch.remove(&before);
        }
        if let Some(watch) = watch {
            self.by_watch.insert(watch, id);
        }
    }

    /// How many directories are on file systems that others write to without an event.
    pub(crate) fn blind(&self) -> usize {
        self.blind
    }

    pub(crate) fn set_blind(&mut self, id: DirId, is_blind: bool) {
        let was = std::mem::replace(&mut self.get_mut(id).is_blind, is_blind);
        self.blind = self.blind + usize::from(is_blind) - usize::from(was);
    }

    /// Returns whether it was unreadable before.
    pub(crate) fn set_unreadable(&mut self, id: DirId, is_unreadable: bool) -> bool {
        let was = std::mem::replace(&mut self.get_mut(id).is_unreadable, is_unreadable);
        self.unreadable = self.unreadable + usize::from(is_unreadable) - usize::from(was);
        was
    }

    pub(crate) fn watch(&self, id: DirId) -> Option<WatchId> {
        self.get(id).watch
    }

    pub(crate) fn parent(&self, id: DirId) -> Option<DirId> {
        let parent = self.get(id).parent;
        (parent != NONE).then_some(DirId(parent))
    }

    /// The name below the parent; empty for roots.
    pub(crate) fn name(&self, id: DirId) -> &[u8] {
        let found = self.get(id);
        if found.parent == NONE { b"" } else { self.names.get(found.name) }
    }

    /// The directories right below this one.
    pub(crate) fn children(&self, id: DirId) -> impl Iterator<Item = DirId> + '_ {
        let mut at = self.get(id).first_child;
        std::iter::from_fn(move || {
            let child = (at != NONE).then_some(DirId(at))?;
            at = self.get(child).next;
            Some(child)
        })
    }

    /// Gives the directory a new parent and name.
    pub(crate) fn rename(&mut self, id: DirId, parent: DirId, name: &[u8]) {
        debug_assert!(!self.is_within(parent, id), "a directory is not moved into itself");
        if self.get(id).parent != NONE {
            self.unlink(id);
            let old = self.get(id).name;
            self.names.remove(old);
        }
        let name_ref = self.names.insert(name);
        let found = self.get_mut(id);
        found.prefix = None;
        found.parent = parent.0;
        found.name = name_ref;
        found.is_moving = false;
        found.is_dropping = false;
        self.link(id);
        self.set_top(id);
    }

    /// The directory was renamed away. Its name becomes free; it keeps its place in the tree and
    /// its old path until it is settled.
    pub(crate) fn detach(&mut self, id: DirId) {
        let mut path = Vec::new();
        let trust = self.write_path(id, &mut path);
        // Later changes of its parent do not affect it.
        self.get_mut(id).prefix = Some(Box::new(Prefix { path: path.into(), trust }));
        self.get_mut(id).is_moving = true;
        let found = self.get(id);
        let hash = self.hasher.hash_one((found.parent, self.names.get(found.name)));
        if let Ok(entry) = self.by_name.find_entry(hash, |&at| at == id.0) {
            entry.remove();
        }
    }

    /// The directory stays although its parent is dropped: it becomes a root with this path, which
    /// ends in a slash.
    pub(crate) fn promote(&mut self, id: DirId, prefix: &[u8]) {
        self.unlink(id);
        let name = self.get(id).name;
        self.names.remove(name);
        let found = self.get_mut(id);
        found.name = NameRef::NONE;
        found.parent = NONE;
        found.next = NONE;
        found.previous = NONE;
        found.top = id.0;
        found.prefix = Some(Box::new(Prefix { path: prefix.into(), trust: Trust::whole(prefix) }));
        found.is_moving = false;
        found.is_dropping = false;
    }

    /// Updates which directory right below a root contains this one.
    pub(crate) fn set_top(&mut self, id: DirId) {
        let above =
            self.parent(id).map(|parent| self.get(parent)).filter(|above| above.parent != NONE);
        self.get_mut(id).top = above.map_or(id.0, |above| above.top);
    }

    /// The group of the directory's files. Never 0.
    #[inline]
    pub(crate) fn group(&self, id: DirId) -> u32 {
        self.directories[id.0 as usize].top + 1
    }

    /// The directory and those above it, up to its root.
    fn and_above(&self, id: DirId) -> impl Iterator<Item = DirId> + '_ {
        std::iter::successors(Some(id), |&at| self.parent(at))
    }

    /// Whether `id` is `top` or below it.
    pub(crate) fn is_within(&self, id: DirId, top: DirId) -> bool {
        self.and_above(id).any(|at| at == top)
    }

    /// How many directories are above this one.
    pub(crate) fn depth(&self, id: DirId) -> usize {
        self.and_above(id).count() - 1
    }

    /// The root that this directory hangs from.
    pub(crate) fn root_of(&self, id: DirId) -> DirId {
        self.and_above(id).last().unwrap_or(id)
    }

    /// Whether this directory or one above it was renamed away and is not settled yet.
    pub(crate) fn is_any_moving(&self, id: DirId) -> bool {
        self.and_above(id).any(|at| self.get(at).is_moving)
    }

    /// Whether this directory or one above it is being dropped.
    pub(crate) fn is_any_dropping(&self, id: DirId) -> bool {
        self.and_above(id).any(|at| self.get(at).is_dropping)
    }

    /// Whether there is a directory at this place with this role.
    pub(crate) fn has_role(&self, id: DirId, role: Role) -> bool {
        self.at_place(id.0).is_some_and(|id| self.get(id).role == role)
    }

    /// The owner of the directory right below PATH through which this one is reached. `None`: it is
    /// a PATH, or is below none.
    pub(crate) fn owner_below_path(&self, id: DirId) -> Option<u32> {
        let first = self.first_below_path(self.at_place(id.0)?)?;
        Some(self.get(first).owner)
    }

    /// Removes a directory without children. The caller removes its watch from the kernel.
    pub(crate) fn remove(&mut self, id: DirId) {
        assert!(self.get(id).first_child == NONE, "children go first");
        self.set_watch(id, None);
        self.set_blind(id, false);
        self.set_unreadable(id, false);
        let found = self.get(id);
        let (inode, parent, name) = (found.inode, found.parent, found.name);
        if self.by_inode.get(&inode) == Some(&id) {
            self.by_inode.remove(&inode);
        }
        if parent != NONE {
            self.unlink(id);
            self.names.remove(name);
        }
        let found = self.get_mut(id);
        found.live = false;
        found.version = found.version.wrapping_add(1);
        self.free.push(id.0);
    }

    fn take(&mut self, parent: u32, name: NameRef, prefix: Option<Prefix>, role: Role) -> DirId {
        let at = self.free.pop().unwrap_or_else(|| {
            u32::try_from(self.directories.len()).expect("fewer than 2^32 directories")
        });
        let version = self.directories.get(at as usize).map_or(0, |found| found.version);
        let fresh = Directory {
            live: true,
            version,
            parent,
            name,
            first_child: NONE,
            next: NONE,
            previous: NONE,
            watch: None,
            prefix: prefix.map(Box::new),
            top: at,
            inode: (0, 0),
            owner: NOBODY,
            role,
            scope: ScopeId::default(),
            is_path: false,
            via_link: false,
            is_seen: false,
            queued: VisitWork::empty(),
            unfinished: VisitWork::empty(),
            is_polled: false,
            is_unreadable: false,
            is_moving: false,
            is_dropping: false,
            moved: None,
            is_lost: false,
            is_watch_ended: false,
            is_blind: false,
            is_type_known: false,
        };
        if at as usize == self.directories.len() {
            self.directories.push(fresh);
        } else {
            self.directories[at as usize] = fresh;
        }
        DirId(at)
    }

    /// Puts the directory into its parent's list and the index of names.
    fn link(&mut self, id: DirId) {
        let parent = self.get(id).parent as usize;
        let first = self.directories[parent].first_child;
        if first != NONE {
            self.directories[first as usize].previous = id.0;
        }
        self.directories[parent].first_child = id.0;
        let found = self.get_mut(id);
        found.next = first;
        found.previous = NONE;
        let (directories, names, hasher) = (&self.directories, &self.names, &self.hasher);
        let hash = |at: u32| {
            let found = &directories[at as usize];
            hasher.hash_one((found.parent, names.get(found.name)))
        };
        self.by_name.insert_unique(hash(id.0), id.0, |&at| hash(at));
    }

    /// The inverse of `link`.
    fn unlink(&mut self, id: DirId) {
        let found = self.get(id);
        let (parent, next, previous) = (found.parent, found.next, found.previous);
        let hash = self.hasher.hash_one((parent, self.names.get(found.name)));
        if let Ok(entry) = self.by_name.find_entry(hash, |&at| at == id.0) {
            entry.remove();
        }
        if previous == NONE {
            self.directories[parent as usize].first_child = next;
        } else {
            self.directories[previous as usize].next = next;
        }
        if next != NONE {
            self.directories[next as usize].previous = previous;
        }
    }
}

#[cfg(test)]
mod tests;
