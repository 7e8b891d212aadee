//! The state directory: [`Disk`] in memory, with everything that can go wrong on the way to a
//! physical disk.
//!
//! In: the store's calls. Out: errno or the effect; after a crash, the remaining content.
//! Always holds: names and contents become durable separately: a file by its own sync, names by the
//! directory's. Of later changes of names a crash keeps the first few, or any.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use manytail::testing::sys::{Disk, Place};
use nix::errno::Errno;

use crate::cached_file::CachedFile;
use crate::random::Random;
use crate::simulated::Simulated;

/// How often each fault comes: once in this many calls, 0 = never.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiskRates {
    /// EIO on any call except a sync.
    pub(crate) input_output: u32,
    /// Calls that need room fail for a while.
    pub(crate) no_space: u32,
    pub(crate) short_append: u32,
    pub(crate) failed_sync: u32,
}

#[derive(Debug, Clone)]
enum NameChange {
    Enter(Vec<u8>, usize),
    Rename(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
}

type NameTable = BTreeMap<Vec<u8>, usize>;

fn apply(names: &mut NameTable, change: &NameChange) {
    match change {
        NameChange::Enter(name, file) => {
            names.insert(name.clone(), *file);
        }
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

/// The content of the directory.
#[derive(Debug)]
pub(crate) struct Platter {
    random: Random,
    rates: DiskRates,
    active: bool,
    files: Vec<CachedFile>,
    names: NameTable,
    durable_names: NameTable,
    /// Changes since the directory's last sync, in order.
    name_changes: Vec<NameChange>,
    /// How many further calls fail in this period without room.
    no_space_spell: usize,
    pub(crate) faults: u64,
    /// Failed syncs: after one, a power crash may leave less than a later sync promised.
    pub(crate) syncs_failed: u64,
}

impl Platter {
    pub(crate) fn new(random: Random, rates: DiskRates) -> Self {
        Platter {
            random,
            rates,
            active: true,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            no_space_spell: 0,
            faults: 0,
            syncs_failed: 0,
        }
    }

    pub(crate) fn end_faults(&mut self) {
        self.active = false;
    }

    /// Reduces the content to what is left after a power crash.
    pub(crate) fn power_crash(&mut self) {
        let changes = std::mem::take(&mut self.name_changes);
        let kept = self.random.between(0, changes.len());
        // A journaling file system keeps the order; without one, any change may be missing.
        let in_order = self.random.below(3) > 0;
        for (index, change) in changes.iter().enumerate() {
            if if in_order { index < kept } else { self.random.one_in(2) } {
                apply(&mut self.durable_names, change);
            }
        }
        self.names.clone_from(&self.durable_names);
        for file in &mut self.files {
            file.power_crash(&mut self.random);
        }
    }

    fn sync_all_names(&mut self) {
        for change in std::mem::take(&mut self.name_changes) {
            apply(&mut self.durable_names, &change);
        }
    }

    fn change_name(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.name_changes.push(change);
    }

    fn fault(&mut self, needs_room: bool) -> Result<(), Errno> {
        if !self.active {
            return Ok(());
        }
        if needs_room && self.no_space_spell == 0 && self.random.one_in(self.rates.no_space) {
            self.no_space_spell = self.random.between(1, 30);
        }
        if needs_room && self.no_space_spell > 0 {
            self.no_space_spell -= 1;
            self.faults += 1;
            return Err(Errno::ENOSPC);
        }
        if self.random.one_in(self.rates.input_output) {
            self.faults += 1;
            return Err(Errno::EIO);
        }
        Ok(())
    }

    fn fails_to_sync(&mut self) -> bool {
        let fails = self.active && self.random.one_in(self.rates.failed_sync);
        self.faults += u64::from(fails);
        self.syncs_failed += u64::from(fails);
        fails
    }

    fn make_file(&mut self, name: &[u8]) -> usize {
        self.files.push(CachedFile::default());
        let file = self.files.len() - 1;
        self.change_name(NameChange::Enter(name.to_vec(), file));
        file
    }

    /// Names and lengths, for the trace.
    fn told(&self) -> String {
        let told = |(name, &file): (&Vec<u8>, &usize)| {
            format!(
                "{} {}/{}",
                name.escape_ascii(),
                self.files[file].durable_len(),
                self.files[file].bytes().len()
            )
        };
        self.names.iter().map(told).collect::<Vec<_>>().join(", ")
    }
}

/// Access for tests of the disk itself.
impl Platter {
    pub(crate) fn enter(&mut self, name: &str) {
        self.make_file(name.as_bytes());
    }

    pub(crate) fn sync_names(&mut self) {
        self.sync_all_names();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.names.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }
}

/// The disk as the store uses it.
#[derive(Clone)]
pub(crate) struct FakeDisk {
    shared: Rc<RefCell<Simulated>>,
}

impl std::fmt::Debug for FakeDisk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FakeDisk")
    }
}

impl FakeDisk {
    pub(crate) fn new(shared: Rc<RefCell<Simulated>>) -> Self {
        FakeDisk { shared }
    }

    /// One call, perhaps the last before a crash.
    fn call<T>(
        &self,
        what: &str,
        make: impl FnOnce(&mut Simulated) -> Result<T, Errno>,
    ) -> io::Result<T> {
        let mut simulated = self.shared.borrow_mut();
        simulated.may_crash();
        let result = make(&mut simulated);
        let told = if simulated.verbose { simulated.platter.told() } else { String::new() };
        simulated.trace(|| {
            let outcome =
                result.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string);
            format!("        disk: {what} {outcome} [{told}]")
        });
        Ok(result?)
    }
}

impl Disk for FakeDisk {
    type File = usize;

    fn list(&mut self) -> io::Result<Vec<Vec<u8>>> {
        self.call("list", |simulated| {
            let platter = &mut simulated.platter;
            platter.fault(false)?;
            let mut names: Vec<Vec<u8>> = platter.names.keys().cloned().collect();
            // In any order, as from a directory.
            for last in (1..names.len()).rev() {
                names.swap(last, platter.random.between(0, last));
            }
            Ok(names)
        })
    }

    fn open(&mut self, name: &str) -> io::Result<usize> {
        self.call(&format!("open {name}"), |simulated| {
            simulated.platter.fault(false)?;
            simulated.platter.names.get(name.as_bytes()).copied().ok_or(Errno::ENOENT)
        })
    }

    fn create(&mut self, name: &str) -> io::Result<usize> {
        self.call(&format!("create {name}"), |simulated| {
            let platter = &mut simulated.platter;
            let name = name.as_bytes().to_vec();
            if platter.names.contains_key(&name) {
                platter.change_name(NameChange::Remove(name.clone()));
            }
            platter.fault(true)?;
            Ok(platter.make_file(&name))
        })
    }

    fn read_at(&mut self, file: &usize, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(&format!("read at {offset}"), |simulated| {
            simulated.platter.fault(false)?;
            Ok(simulated.platter.files[*file].read_at(buffer, offset))
        })
    }

    fn append(&mut self, file: &usize, bytes: &[u8]) -> io::Result<usize> {
        self.call(&format!("append {}", bytes.len()), |simulated| {
            let crashes = simulated.is_last_call();
            let platter = &mut simulated.platter;
            platter.fault(true)?;
            let shortened = platter.active
                && bytes.len() > 1
                && platter.random.one_in(platter.rates.short_append);
            // A kill may cut a write short, too.
            let some = if shortened || crashes {
                platter.random.between(1, bytes.len().max(1)).min(bytes.len())
            } else {
                bytes.len()
            };
            platter.files[*file].append(&bytes[..some]);
            if crashes {
                simulated.crash_now();
            }
            Ok(some)
        })
    }

    fn overwrite(&mut self, file: &usize, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.call(&format!("overwrite {} at {offset}", bytes.len()), |simulated| {
            let crashes = simulated.is_last_call();
            let platter = &mut simulated.platter;
            platter.fault(true)?;
            let some = if crashes { platter.random.between(0, bytes.len()) } else { bytes.len() };
            platter.files[*file].overwrite(&bytes[..some], offset);
            if crashes {
                simulated.crash_now();
            }
            Ok(some)
        })
    }

    fn truncate(&mut self, file: &usize, len: u64) -> io::Result<()> {
        self.call(&format!("truncate to {len}"), |simulated| {
            simulated.platter.fault(false)?;
            simulated.platter.files[*file].cut(usize::try_from(len).map_err(|_| Errno::EFBIG)?);
            Ok(())
        })
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        self.call("sync", |simulated| {
            let platter = &mut simulated.platter;
            if platter.fails_to_sync() {
                platter.files[*file].sync_failed(&mut platter.random);
                return Err(Errno::EIO);
            }
            platter.files[*file].sync();
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.call(&format!("rename {from} {to}"), |simulated| {
            simulated.platter.fault(false)?;
            if !simulated.platter.names.contains_key(from.as_bytes()) {
                return Err(Errno::ENOENT);
            }
            simulated.platter.change_name(NameChange::Rename(from.into(), to.into()));
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.call(&format!("remove {name}"), |simulated| {
            simulated.platter.fault(false)?;
            if !simulated.platter.names.contains_key(name.as_bytes()) {
                return Err(Errno::ENOENT);
            }
            simulated.platter.change_name(NameChange::Remove(name.into()));
            Ok(())
        })
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.call("sync directory", |simulated| {
            let platter = &mut simulated.platter;
            if platter.fails_to_sync() {
                return Err(Errno::EIO);
            }
            platter.sync_all_names();
            Ok(())
        })
    }

    fn place(&mut self) -> io::Result<Place> {
        // No other process uses it.
        self.call("place", |_| Ok(Place::Here))
    }

    fn is_named(&mut self, name: &str, file: &usize) -> io::Result<bool> {
        self.call(&format!("look at {name}"), |simulated| {
            simulated.platter.fault(false)?;
            Ok(simulated.platter.names.get(name.as_bytes()) == Some(file))
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.call("reopen", |_| Ok(()))
    }

    fn identity(&self) -> (u64, u64) {
        (crate::kernel::DEVICE, 1)
    }

    fn salt(&mut self) -> u64 {
        self.shared.borrow_mut().platter.random.next()
    }
}
