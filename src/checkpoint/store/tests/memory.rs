//! A disk in memory that knows what a crash leaves: page cache and durable bytes, names and durable
//! names; every call can fail.
//!
//! Always holds: a sync that failed forgets which bytes were dirty, as Linux does: a later one does
//! not write them.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use crate::sys::{Disk, Place};

/// What a crash makes of unsynced bytes in the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsynced {
    Lost,
    Kept,
    /// The first half of them.
    Half,
    /// The file has its new length, with NULs in their place.
    Nul,
    /// All but their first half is written: blocks reach the disk in any order.
    Hole,
}

pub(super) const UNSYNCED: [Unsynced; 5] =
    [Unsynced::Lost, Unsynced::Kept, Unsynced::Half, Unsynced::Nul, Unsynced::Hole];

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails, and nothing is done.
    Fails,
    /// A write does half of its work first; a rename or a sync of the directory is done, but
    /// reports failure.
    FailsHalfDone,
    /// The call and all later ones do nothing: the power is off.
    PowerOff,
    /// A write reports success, but changes a bit.
    Lies,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    cache: Vec<u8>,
    is_dirty: Vec<bool>,
    durable: Vec<u8>,
    is_regular: bool,
}

/// Names that were given to inodes, or removed.
type NameChange = Vec<(String, Option<usize>)>;

#[derive(Debug, Clone, Default)]
pub(super) struct Inner {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Since the last sync of the directory.
    name_changes: Vec<NameChange>,
    /// All names that journals ever had, to find one that is used twice.
    used: BTreeSet<String>,
    pub(super) calls: usize,
    /// Which calls go wrong, counted from 1, and how.
    pub(super) faults: Vec<(usize, Fault)>,
    /// Calls that may change what a crash leaves.
    pub(super) changing_calls: Vec<usize>,
    salt: u64,
    /// The directory was moved away: what its path leads to now, if anything.
    other: Option<Box<Inner>>,
    is_away: bool,
    is_unlocked: bool,
    /// Another process has locked what the path leads to now.
    pub(super) is_other_locked: bool,
    directory: u64,
    /// At most this many bytes per write.
    pub(super) write_max: usize,
}

/// Shared, so that a test can inspect it while the store uses it.
#[derive(Debug, Clone)]
pub(super) struct Memory(Rc<RefCell<Inner>>);

impl Memory {
    pub(super) fn new() -> Memory {
        Memory::of(Inner { write_max: usize::MAX, ..Inner::default() })
    }

    fn of(inner: Inner) -> Memory {
        Memory(Rc::new(RefCell::new(inner)))
    }

    pub(super) fn get(&self) -> Ref<'_, Inner> {
        self.0.borrow()
    }

    pub(super) fn get_mut(&self) -> RefMut<'_, Inner> {
        self.0.borrow_mut()
    }

    /// The directory as another process would find it, without a crash.
    pub(super) fn copied(&self) -> Memory {
        Memory::of(Inner { faults: Vec::new(), ..self.get().clone() })
    }

    /// Somebody removes the directory, or puts another one into its place.
    pub(super) fn displace(&self, other: Option<&Memory>) {
        let mut inner = self.get_mut();
        inner.is_away = true;
        inner.other = other.map(|other| Box::new(other.get().clone()));
    }

    /// Somebody removes the lock.
    pub(super) fn unlock(&self) {
        self.get_mut().is_unlocked = true;
    }

    /// Somebody removes a file.
    pub(super) fn lose(&self, name: &str) {
        let mut inner = self.get_mut();
        inner.names.remove(name);
        inner.durable_names.remove(name);
    }

    /// Adds a file, durably. `None`: something that is not a regular file.
    pub(super) fn put(&self, name: &str, bytes: Option<&[u8]>) {
        let mut inner = self.get_mut();
        let durable = bytes.unwrap_or_default().to_vec();
        let is_dirty = vec![false; durable.len()];
        inner.inodes.push(Inode {
            cache: durable.clone(),
            is_dirty,
            durable,
            is_regular: bytes.is_some(),
        });
        let inode = inner.inodes.len() - 1;
        inner.names.insert(name.to_owned(), inode);
        inner.durable_names.insert(name.to_owned(), inode);
    }

    pub(super) fn bytes_of(&self, name: &str) -> Vec<u8> {
        let inner = self.get();
        inner.inodes[inner.names[name]].cache.clone()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.get().names.keys().cloned().collect()
    }

    /// Every directory that a crash now may leave: any subset of the name changes since the last
    /// sync, with each fate of the bytes.
    pub(super) fn crashes(&self, fates: &[Unsynced]) -> Vec<Memory> {
        let inner = self.get();
        let changes = &inner.name_changes;
        assert!(changes.len() < 12, "the directory is synced now and then");
        let mut left = Vec::new();
        for subset in 0..1_usize << changes.len() {
            let mut names = inner.durable_names.clone();
            for (name, inode) in changes
                .iter()
                .enumerate()
                .filter(|(at, _)| subset >> at & 1 == 1)
                .flat_map(|(_, change)| change)
            {
                match inode {
                    Some(inode) => names.insert(name.clone(), *inode),
                    None => names.remove(name),
                };
            }
            left.extend(fates.iter().map(|fate| inner.after_crash(names.clone(), *fate)));
        }
        left
    }
}

impl Inner {
    fn after_crash(&self, names: BTreeMap<String, usize>, fate: Unsynced) -> Memory {
        let inodes = self.inodes.iter().map(|inode| {
            let bytes = inode.after_crash(fate);
            Inode {
                is_dirty: vec![false; bytes.len()],
                durable: bytes.clone(),
                cache: bytes,
                is_regular: inode.is_regular,
            }
        });
        let used = names.keys().filter(|name| !name.ends_with(".new")).cloned().collect();
        Memory::of(Inner {
            inodes: inodes.collect(),
            durable_names: names.clone(),
            names,
            name_changes: Vec::new(),
            used,
            calls: 0,
            faults: Vec::new(),
            changing_calls: Vec::new(),
            salt: self.salt,
            write_max: self.write_max,
            ..Inner::default()
        })
    }

    fn change_names(&mut self, change: NameChange) {
        for (name, inode) in &change {
            match inode {
                Some(inode) => self.names.insert(name.clone(), *inode),
                None => self.names.remove(name),
            };
        }
        self.name_changes.push(change);
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inode {
    fn after_crash(&self, fate: Unsynced) -> Vec<u8> {
        let dirty: Vec<usize> = (0..self.cache.len()).filter(|&at| self.is_dirty[at]).collect();
        let half = dirty.len() / 2;
        let written = match fate {
            Unsynced::Lost => return self.durable.clone(),
            Unsynced::Kept => &dirty[..],
            Unsynced::Half => &dirty[..half],
            Unsynced::Nul => &[],
            Unsynced::Hole => &dirty[half..],
        };
        let mut bytes = self.durable.clone();
        let len = if fate == Unsynced::Half {
            written.last().map_or(bytes.len(), |last| last + 1)
        } else {
            self.cache.len()
        };
        bytes.resize(len, 0);
        written.iter().for_each(|&at| bytes[at] = self.cache[at]);
        bytes
    }
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Memory {
    /// Counts the call. `Some`: it goes wrong in this way.
    fn call(&self) -> Option<Fault> {
        let mut inner = self.get_mut();
        inner.calls += 1;
        let now = inner.calls;
        let hits =
            |(at, fault): &&(usize, Fault)| now == *at || (*fault == Fault::PowerOff && now > *at);
        inner.faults.iter().find(hits).map(|(_, fault)| *fault)
    }

    /// For calls that may change what a crash leaves. Only a write can lie.
    fn changing_call(&self) -> Option<Fault> {
        self.write_call().filter(|fault| *fault != Fault::Lies)
    }

    fn write_call(&self) -> Option<Fault> {
        let fault = self.call();
        let mut inner = self.get_mut();
        let now = inner.calls;
        inner.changing_calls.push(now);
        fault
    }

    /// For calls that only look.
    fn simple_call(&self) -> io::Result<Ref<'_, Inner>> {
        match self.call() {
            None | Some(Fault::Lies) => Ok(self.get()),
            Some(_) => Err(broken()),
        }
    }

    /// For changes of names, which may be done and still reported as failed.
    fn change_names(
        &self,
        change: impl FnOnce(&Inner) -> io::Result<NameChange>,
    ) -> io::Result<()> {
        let fault = self.changing_call();
        if matches!(fault, Some(Fault::Fails | Fault::PowerOff)) {
            return Err(broken());
        }
        let mut inner = self.get_mut();
        let change = change(&inner)?;
        inner.change_names(change);
        if fault == Some(Fault::FailsHalfDone) { Err(broken()) } else { Ok(()) }
    }
}

impl Disk for Memory {
    type File = usize;

    fn list(&mut self) -> io::Result<Vec<Vec<u8>>> {
        Ok(self.simple_call()?.names.keys().map(|name| name.clone().into_bytes()).collect())
    }

    fn open(&mut self, name: &str) -> io::Result<usize> {
        let inner = self.simple_call()?;
        let inode = inner.inode(name)?;
        if inner.inodes[inode].is_regular {
            Ok(inode)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    fn create(&mut self, name: &str) -> io::Result<usize> {
        if self.changing_call().is_some() {
            return Err(broken());
        }
        let mut inner = self.get_mut();
        inner.inodes.push(Inode { is_regular: true, ..Inode::default() });
        let inode = inner.inodes.len() - 1;
        inner.change_names(vec![(name.to_owned(), Some(inode))]);
        Ok(inode)
    }

    fn read_at(&mut self, file: &usize, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.simple_call()?;
        let rest = inner.inodes[*file].cache.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn append(&mut self, file: &usize, bytes: &[u8]) -> io::Result<usize> {
        let fault = self.write_call();
        let mut inner = self.get_mut();
        let written = match fault {
            None | Some(Fault::Lies) => bytes.len().min(inner.write_max),
            Some(Fault::FailsHalfDone) => bytes.len() / 2,
            Some(Fault::Fails | Fault::PowerOff) => return Err(broken()),
        };
        let inode = &mut inner.inodes[*file];
        inode.cache.extend_from_slice(&bytes[..written]);
        inode.is_dirty.resize(inode.cache.len(), true);
        match fault {
            Some(Fault::FailsHalfDone) => Err(broken()),
            Some(Fault::Lies) => {
                *inode.cache.last_mut().expect("something was written") ^= 1;
                Ok(written)
            }
            _ => Ok(written),
        }
    }

    fn overwrite(&mut self, file: &usize, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.changing_call().is_some() {
            return Err(broken());
        }
        let mut inner = self.get_mut();
        let written = bytes.len().min(inner.write_max);
        let inode = &mut inner.inodes[*file];
        let range = offset as usize..offset as usize + written;
        inode.cache[range.clone()].copy_from_slice(&bytes[..written]);
        inode.is_dirty[range].fill(true);
        Ok(written)
    }

    fn truncate(&mut self, file: &usize, len: u64) -> io::Result<()> {
        if self.changing_call().is_some() {
            return Err(broken());
        }
        let mut inner = self.get_mut();
        let inode = &mut inner.inodes[*file];
        inode.cache.truncate(len as usize);
        inode.is_dirty.truncate(len as usize);
        Ok(())
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        let fault = self.changing_call();
        if fault == Some(Fault::PowerOff) {
            return Err(broken());
        }
        let mut inner = self.get_mut();
        let Inode { cache, is_dirty, durable, .. } = &mut inner.inodes[*file];
        if fault.is_some() {
            is_dirty.fill(false);
            return Err(broken());
        }
        durable.resize(cache.len(), 0);
        for at in (0..cache.len()).filter(|&at| is_dirty[at]) {
            durable[at] = cache[at];
        }
        is_dirty.fill(false);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if !to.contains("damaged") && !to.contains("aside") {
            assert!(self.get_mut().used.insert(to.to_owned()), "{to} comes twice");
        }
        let outcome = self.change_names(|inner| {
            Ok(vec![(from.to_owned(), None), (to.to_owned(), Some(inner.inode(from)?))])
        });
        if outcome.is_err() && !self.get().names.contains_key(to) {
            self.get_mut().used.remove(to);
        }
        outcome
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change_names(|inner| inner.inode(name).map(|_| vec![(name.to_owned(), None)]))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let fault = self.changing_call();
        if matches!(fault, Some(Fault::Fails | Fault::PowerOff)) {
            return Err(broken());
        }
        let mut inner = self.get_mut();
        inner.durable_names = inner.names.clone();
        inner.name_changes.clear();
        if fault.is_some() { Err(broken()) } else { Ok(()) }
    }

    fn place(&mut self) -> io::Result<Place> {
        let inner = self.get();
        Ok(if inner.is_away {
            Place::Elsewhere
        } else if inner.is_unlocked {
            Place::Unlocked
        } else {
            Place::Here
        })
    }

    fn is_named(&mut self, name: &str, file: &usize) -> io::Result<bool> {
        Ok(self.get().names.get(name) == Some(file))
    }

    fn reopen(&mut self) -> io::Result<()> {
        let mut inner = self.get_mut();
        if inner.is_away {
            if inner.is_other_locked {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let other = inner.other.take().unwrap_or_default();
            // Open files stay open, so the inodes of the other directory are appended.
            let first = inner.inodes.len();
            inner.inodes.extend(other.inodes);
            inner.names =
                other.names.into_iter().map(|(name, inode)| (name, first + inode)).collect();
            inner.durable_names = inner.names.clone();
            inner.name_changes.clear();
            inner.is_away = false;
            inner.directory += 1;
        }
        inner.is_unlocked = false;
        Ok(())
    }

    fn identity(&self) -> (u64, u64) {
        (1, self.get().directory)
    }

    fn salt(&mut self) -> u64 {
        let mut inner = self.get_mut();
        inner.salt += 1;
        inner.salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
