//! The simulated kernel as the engine sees it: [`FileSystem`] over the shared [`Simulated`] world.
//!
//! In: the engine's calls. Out: the answers of a Linux kernel at that moment, faults included.
//! Always holds: other processes run between any two calls, so that names and contents change
//! between an event and an open, or between a listing and a look; a listing returns entries in hash
//! order, and reads some blocks ahead, so that they may be outdated.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use manytail::testing::file_systems::FileSystemType;
use manytail::testing::sys::file::CLOCK_TICK;
use manytail::testing::sys::{
    Closes, FileId, FileKind, FileSystem, Guard, KnownLife, Links, OpenInode, RefusedLink, Stat,
    WatchId,
};
use nix::errno::Errno;

use crate::faults::Call;
use crate::simulated::Simulated;
use crate::world::{Handle, Key, Kind, World};

pub(crate) const DEVICE: u64 = 0xfd01;
const NFS: FileSystemType = FileSystemType(0x6969);
const TMPFS: FileSystemType = FileSystemType(0x0102_1994);
/// The wall clock at the start of every simulation.
pub(crate) const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;
const WALL_START: Duration = Duration::from_secs(1_700_000_000);

pub(crate) fn wall(time: Duration) -> SystemTime {
    EPOCH + WALL_START + time
}

#[derive(Clone)]
pub(crate) struct Kernel {
    shared: Rc<RefCell<Simulated>>,
}

pub(crate) struct OpenFile {
    shared: Rc<RefCell<Simulated>>,
    handle: Option<Handle>,
}

pub(crate) struct Listing {
    file: OpenFile,
    /// The hash of the last entry that was returned or read ahead.
    cursor: u64,
    ahead: VecDeque<(Vec<u8>, Key)>,
    /// The hash of the last entry that was returned.
    inode: u64,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let (Some(handle), Ok(mut simulated)) =
            (self.handle.take(), self.shared.try_borrow_mut())
        {
            let number = simulated.world.inodes[handle.inode].number;
            simulated.trace(|| format!("        close #{number}"));
            simulated.world.close(handle);
        }
    }
}

impl OpenFile {
    fn key(&self) -> Key {
        self.handle.as_ref().expect("an open file has its handle").inode
    }
}

impl Kernel {
    pub(crate) fn new(shared: Rc<RefCell<Simulated>>) -> Self {
        Kernel { shared }
    }

    /// Lets other processes run, then makes the call.
    fn call<T>(
        &self,
        call: Call,
        about: &[u8],
        make: impl FnOnce(&mut Simulated) -> Result<T, Errno>,
    ) -> io::Result<T> {
        let mut simulated = self.shared.borrow_mut();
        simulated.interleave();
        let fault = simulated.faults.check(call);
        if fault.is_err() {
            simulated.model.disturb();
        }
        let result = fault.and_then(|()| make(&mut simulated));
        simulated.trace(|| {
            let outcome =
                result.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string);
            format!("        {call:?} {} {outcome}", about.escape_ascii())
        });
        Ok(result?)
    }

    fn file_call<T>(
        &self,
        call: Call,
        file: &OpenFile,
        make: impl FnOnce(&mut Simulated, Key) -> Result<T, Errno>,
    ) -> io::Result<T> {
        let key = file.key();
        let about = self
            .shared
            .borrow()
            .verbose
            .then(|| format!("#{}", self.shared.borrow().world.inodes[key].number));
        self.call(call, about.unwrap_or_default().as_bytes(), |simulated| make(simulated, key))
    }

    fn open_file(&self, handle: Handle) -> OpenFile {
        OpenFile { shared: Rc::clone(&self.shared), handle: Some(handle) }
    }
}

fn kind_of(world: &World, key: Key) -> FileKind {
    match world.inodes[key].kind {
        Kind::File { .. } => FileKind::Regular,
        Kind::Directory(_) => FileKind::Directory,
        Kind::Link(_) => FileKind::Link,
        Kind::Fifo => FileKind::Special,
    }
}

fn stat_of(world: &World, key: Key) -> Stat {
    let inode = &world.inodes[key];
    Stat {
        id: FileId {
            device: DEVICE,
            inode: inode.number,
            inode_generation: inode.inode_generation,
        },
        kind: kind_of(world, key),
        size: match &inode.kind {
            Kind::File { content, .. } => content.len() as u64,
            _ => BLOCK,
        },
        links: inode.links,
        modified: wall(inode.modified),
        owner: inode.owner,
    }
}

/// The apparent length of a directory.
const BLOCK: u64 = crate::world::BLOCK_BYTES;

fn content(simulated: &Simulated, key: Key) -> Result<(&[u8], u64), Errno> {
    match &simulated.world.inodes[key].kind {
        Kind::File { content, hole } => Ok((content, *hole)),
        _ => Err(Errno::EISDIR),
    }
}

impl FileSystem for Kernel {
    type File = OpenFile;
    type Listing = Listing;

    fn stat(&mut self, path: &[u8], links: Links) -> io::Result<Stat> {
        self.call(Call::Stat, path, |simulated| {
            let world = &simulated.world;
            Ok(stat_of(world, world.resolve(path, links)?))
        })
    }

    fn stat_known(
        &mut self,
        path: &[u8],
        links: Links,
        life: &mut dyn FnMut(u64, u64) -> Option<KnownLife>,
    ) -> io::Result<Stat> {
        let (mut found, born) = self.call(Call::Stat, path, |simulated| {
            let world = &simulated.world;
            let key = world.resolve(path, links)?;
            Ok((stat_of(world, key), wall(world.inodes[key].born)))
        })?;
        match life(found.id.device, found.id.inode) {
            Some(known) if born + CLOCK_TICK < known.seen_at => {
                found.id.inode_generation = known.inode_generation;
                self.shared.borrow_mut().known_lives += 1;
                Ok(found)
            }
            _ => self.stat(path, links),
        }
    }

    fn file_system(&mut self, path: &[u8], links: Links) -> io::Result<FileSystemType> {
        self.call(Call::FileSystem, path, |simulated| {
            simulated.world.resolve(path, links)?;
            Ok(if simulated.world.unheard > 0 { NFS } else { TMPFS })
        })
    }

    fn open(&mut self, path: &[u8], links: Links) -> io::Result<OpenFile> {
        let handle =
            self.call(Call::Open, path, |simulated| simulated.world.open_to_read(path, links))?;
        Ok(self.open_file(handle))
    }

    fn stat_file(&mut self, file: &OpenFile) -> io::Result<Stat> {
        self.file_call(Call::StatFile, file, |simulated, key| Ok(stat_of(&simulated.world, key)))
    }

    fn inode_of(&mut self, file: &OpenFile) -> io::Result<OpenInode> {
        self.file_call(Call::StatFile, file, |simulated, key| {
            let Stat { id, kind, size, modified, owner, .. } = stat_of(&simulated.world, key);
            Ok(OpenInode {
                device: id.device,
                inode: id.inode,
                is_regular: kind == FileKind::Regular,
                size,
                modified,
                changed: modified,
                owner,
            })
        })
    }

    fn read_at(&mut self, file: &OpenFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file_call(Call::ReadAt, file, |simulated, key| {
            let (bytes, _) = content(simulated, key)?;
            let available =
                (bytes.len() as u64).saturating_sub(offset).min(buffer.len() as u64) as usize;
            if available > 0 {
                let start = offset as usize;
                buffer[..available].copy_from_slice(&bytes[start..start + available]);
            }
            let given = simulated.faults.shorten(available);
            if given < available {
                simulated.model.disturb();
            }
            // The rest of the buffer is undefined, as after a real read.
            buffer[given..].fill(b'?');
            simulated.trace(|| format!("          {given} of {} bytes at {offset}", buffer.len()));
            Ok(given)
        })
    }

    fn data_from(&mut self, file: &OpenFile, offset: u64) -> io::Result<Option<u64>> {
        self.file_call(Call::Seek, file, |simulated, key| {
            let (bytes, hole) = content(simulated, key)?;
            Ok(Some(offset.max(hole)).filter(|&data| data < bytes.len() as u64))
        })
    }

    fn hole_from(&mut self, file: &OpenFile, offset: u64) -> io::Result<u64> {
        self.file_call(Call::Seek, file, |simulated, key| {
            let (bytes, hole) = content(simulated, key)?;
            Ok(if offset < hole { offset } else { offset.max(bytes.len() as u64) })
        })
    }

    fn list(&mut self, path: &[u8], links: Links) -> io::Result<Listing> {
        let handle = self.call(Call::List, path, |simulated| {
            let world = &mut simulated.world;
            if !world.is_directory(world.resolve(path, links)?) {
                return Err(Errno::ENOTDIR);
            }
            let listing = world.open_to_read(path, links)?;
            check_place(simulated, path, links, "listed");
            Ok(listing)
        })?;
        Ok(Listing { file: self.open_file(handle), cursor: 0, ahead: VecDeque::new(), inode: 0 })
    }

    fn next_entry(
        &mut self,
        listing: &mut Listing,
        name: &mut Vec<u8>,
    ) -> io::Result<Option<FileKind>> {
        let Listing { file, cursor, ahead, inode } = listing;
        self.file_call(Call::NextEntry, file, |simulated, key| {
            if ahead.is_empty() {
                read_ahead(simulated, key, cursor, ahead);
            }
            let Some((entry, key)) = ahead.pop_front() else { return Ok(None) };
            name.clear();
            name.extend_from_slice(&entry);
            simulated.trace(|| format!("          {}", entry.escape_ascii()));
            *inode = simulated.world.inodes[key].number;
            let hidden = simulated.faults.hides_kind();
            Ok(Some(if hidden { FileKind::Unknown } else { kind_of(&simulated.world, key) }))
        })
    }

    fn entry_inode(&self, listing: &Listing) -> u64 {
        listing.inode
    }

    fn watch(&mut self, path: &[u8], links: Links, closes: Closes) -> io::Result<WatchId> {
        self.call(Call::Watch, path, |simulated| {
            let watch = simulated.world.watch(path, links, closes)?;
            check_place(simulated, path, links, "watched");
            simulated.trace(|| format!("          wd {watch}"));
            Ok(WatchId(watch))
        })
    }

    fn watch_names(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.call(Call::Watch, path, |simulated| {
            let watch = simulated.world.watch_names(path)?;
            simulated.trace(|| format!("          names: wd {watch}"));
            Ok(WatchId(watch))
        })
    }

    fn watch_self(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.call(Call::Watch, path, |simulated| {
            let watch = simulated.world.watch_self(path)?;
            simulated.trace(|| format!("          self: wd {watch}"));
            Ok(WatchId(watch))
        })
    }

    fn unwatch(&mut self, watch: WatchId) {
        let made = self.call(Call::Unwatch, watch.0.to_string().as_bytes(), |simulated| {
            simulated.world.unwatch(watch.0);
            Ok(())
        });
        assert!(made.is_ok(), "letting go never fails");
    }

    fn read_events(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(Call::ReadEvents, b"", |simulated| {
            let given = simulated.world.queue.read(buffer)?;
            simulated.trace(|| {
                let events = manytail::testing::sys::inotify::Events::new(&buffer[..given]);
                let told = events.map(|event| {
                    format!("[{} {:x} {}]", event.watch.0, event.mask, event.name.escape_ascii())
                });
                format!("          {}", told.collect::<Vec<_>>().join(" "))
            });
            Ok(given)
        })
    }

    fn read_link(&mut self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.call(Call::Canonical, path, |simulated| {
            let world = &simulated.world;
            match &world.inodes[world.resolve(path, Links::Keep)?].kind {
                Kind::Link(target) => Ok(target.clone()),
                _ => Err(Errno::EINVAL),
            }
        })
    }

    fn mounts(&mut self) -> io::Result<Vec<u8>> {
        // There is one file system, and no other is mounted.
        Ok(Vec::new())
    }

    fn canonical(&mut self, path: &[u8], links: Links) -> io::Result<Vec<u8>> {
        self.call(Call::Canonical, path, |simulated| simulated.world.place(path, links))
    }

    fn refused_link(&mut self, path: &[u8], guard: Guard) -> Option<RefusedLink> {
        let refused = self
            .call(Call::Canonical, path, |simulated| Ok(simulated.world.refused_link(path, guard)));
        refused.ok().flatten()
    }
}

/// A path that is neither a PATH nor reached through a followed link has to be below a PATH,
/// wherever it leads at this moment. The directory of a link's target is trusted only from the root
/// on.
fn check_place(simulated: &mut Simulated, path: &[u8], links: Links, how: &str) {
    let is_of_target = matches!(links, Links::Guarded(_) | Links::Beneath(1));
    if links != Links::Follow
        && !is_of_target
        && let Ok(place) = simulated.world.place(path, links)
        && !simulated.model.is_inside(&place)
    {
        simulated.fail(|| {
            format!("a directory from outside of the PATHs was {how}: {}", place.escape_ascii())
        });
    }
}

/// Takes the next few entries in hash order, as one `getdents64(2)` does.
fn read_ahead(
    simulated: &mut Simulated,
    directory: Key,
    cursor: &mut u64,
    ahead: &mut VecDeque<(Vec<u8>, Key)>,
) {
    let at_once = simulated.entries_at_once();
    let world = &simulated.world;
    let Some(entries) = world.entries(directory) else { return };
    let mut hashed: Vec<(u64, &Vec<u8>, Key)> = entries
        .iter()
        .map(|(name, &key)| (hash_of(name), name, world.named(key)))
        .filter(|(hash, ..)| hash > cursor)
        .collect();
    hashed.sort_unstable();
    for (hash, name, key) in hashed.into_iter().take(at_once) {
        *cursor = hash;
        ahead.push_back((name.clone(), key));
    }
}

fn hash_of(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish().max(1)
}
