//! A file system in memory with very low cost: directories of a thousand files, one content for all
//! files, which grow by a call.
//!
//! The numbers of the cases include the cost of its functions; they are never inlined, so a profile
//! shows them separately.

use std::io;
use std::time::SystemTime;

use manytail::testing::file_systems::FileSystemType;
use manytail::testing::sys::inotify::{self, RawEvent, mask};
use manytail::testing::sys::{
    Closes, FileId, FileKind, FileSystem, Guard, KnownLife, Links, OpenInode, RefusedLink, Stat,
    WatchId,
};
use nix::errno::Errno;

/// The followed directory.
pub(crate) const ROOT: &str = "/jobs";
const FILES_PER_DIRECTORY: usize = 1000;
/// Bytes of one event: the fixed part, and a name of 14 bytes with its padding.
const EVENT_BYTES: usize = 32;
/// Every line of every file, 100 bytes with its newline.
pub(crate) const LINE: &[u8] =
    b"2026-11-22T10:00:00 job 4711 RUNNING on node 17, step 3 of 128, loss 0.2718, all is well so \
        far, ok\n";
/// Bytes copied at once: from 2 KiB on the C library copies with one instruction, which valgrind
/// counts once per byte.
const COPY_BYTES: usize = 1024;
/// The most bytes that one read asks for.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;

pub(crate) struct Memory {
    /// Length of each file, in bytes.
    sizes: Vec<u64>,
    /// The content of all files, from the start of any line.
    content: Vec<u8>,
    /// The kernel's queue, in the kernel's layout.
    events: Vec<u8>,
    taken: usize,
}

/// What a path names.
enum Place {
    Root,
    Directory(usize),
    File(usize),
}

/// Entries that are still to be returned.
pub(crate) struct Listing {
    kind: FileKind,
    rest: std::ops::Range<usize>,
}

impl Memory {
    /// Files of one line each.
    pub(crate) fn new(files: usize) -> Self {
        let lines = READ_BYTES_MAX / LINE.len() + 2;
        Memory {
            sizes: vec![LINE.len() as u64; files],
            content: LINE.repeat(lines),
            events: Vec::new(),
            taken: 0,
        }
    }

    /// Appends lines to a file.
    pub(crate) fn append(&mut self, file: usize, lines: usize) {
        self.sizes[file] += (lines * LINE.len()) as u64;
    }

    /// Queues `IN_MODIFY` for a file.
    pub(crate) fn tell(&mut self, file: usize) {
        let watch = WatchId((file / FILES_PER_DIRECTORY + 2) as i32);
        let name = format!("job{file:07}.log");
        let before = self.events.len();
        inotify::encode(
            &RawEvent { watch, mask: mask::MODIFY, cookie: 0, name: name.as_bytes() },
            &mut self.events,
        );
        assert_eq!(self.events.len() - before, EVENT_BYTES, "every event is of one size");
    }

    fn directories(&self) -> usize {
        self.sizes.len().div_ceil(FILES_PER_DIRECTORY)
    }

    fn find(&self, path: &[u8]) -> io::Result<Place> {
        let below = path.strip_prefix(ROOT.as_bytes()).ok_or(Errno::ENOENT)?;
        let below = below.strip_suffix(b"/").unwrap_or(below);
        let number = |digits: &[u8]| {
            digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
        };
        match below {
            [] => Ok(Place::Root),
            [b'/', b'd', digits @ ..] if digits.len() == 3 => Ok(Place::Directory(number(digits))),
            // "/d042/job0042042.log"
            _ if below.len() == 20 => Ok(Place::File(number(&below[9..16]))),
            _ => Err(Errno::ENOENT.into()),
        }
    }

    fn look(&self, place: &Place) -> Stat {
        let (inode, kind, size) = match *place {
            Place::Root => (1, FileKind::Directory, 0),
            Place::Directory(at) => (2 + at as u64, FileKind::Directory, 0),
            Place::File(at) => (1_000_000 + at as u64, FileKind::Regular, self.sizes[at]),
        };
        let id = FileId { device: 0xfd01, inode, inode_generation: 1 };
        Stat { id, kind, size, links: 1, modified: SystemTime::UNIX_EPOCH, owner: 0 }
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    for (from, to) in from.chunks(COPY_BYTES).zip(to.chunks_mut(COPY_BYTES)) {
        to[..from.len()].copy_from_slice(from);
    }
}

impl FileSystem for Memory {
    type File = usize;
    type Listing = Listing;

    #[inline(never)]
    fn stat(&mut self, path: &[u8], _links: Links) -> io::Result<Stat> {
        Ok(self.look(&self.find(path)?))
    }

    fn stat_known(
        &mut self,
        path: &[u8],
        links: Links,
        _life: &mut dyn FnMut(u64, u64) -> Option<KnownLife>,
    ) -> io::Result<Stat> {
        self.stat(path, links)
    }

    fn file_system(&mut self, _path: &[u8], _links: Links) -> io::Result<FileSystemType> {
        // tmpfs: local.
        Ok(FileSystemType(0x0102_1994))
    }

    #[inline(never)]
    fn open(&mut self, path: &[u8], _links: Links) -> io::Result<usize> {
        match self.find(path)? {
            Place::File(at) => Ok(at),
            Place::Root | Place::Directory(_) => Err(Errno::EISDIR.into()),
        }
    }

    #[inline(never)]
    fn stat_file(&mut self, file: &usize) -> io::Result<Stat> {
        Ok(self.look(&Place::File(*file)))
    }

    #[inline(never)]
    fn inode_of(&mut self, file: &usize) -> io::Result<OpenInode> {
        let Stat { id, kind, size, modified, .. } = self.look(&Place::File(*file));
        Ok(OpenInode {
            device: id.device,
            inode: id.inode,
            is_regular: kind == FileKind::Regular,
            size,
            modified,
            changed: modified,
            owner: 0,
        })
    }

    #[inline(never)]
    fn read_at(&mut self, file: &usize, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.sizes[*file].saturating_sub(offset) as usize;
        let from = (offset % LINE.len() as u64) as usize;
        let len = buffer.len().min(left);
        copy(&self.content[from..from + len], buffer);
        Ok(len)
    }

    fn data_from(&mut self, _file: &usize, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }

    fn hole_from(&mut self, file: &usize, _offset: u64) -> io::Result<u64> {
        Ok(self.sizes[*file])
    }

    fn list(&mut self, path: &[u8], _links: Links) -> io::Result<Listing> {
        match self.find(path)? {
            Place::Root => Ok(Listing { kind: FileKind::Directory, rest: 0..self.directories() }),
            Place::Directory(at) => {
                let first = at * FILES_PER_DIRECTORY;
                Ok(Listing {
                    kind: FileKind::Regular,
                    rest: first..self.sizes.len().min(first + FILES_PER_DIRECTORY),
                })
            }
            Place::File(_) => Err(Errno::ENOTDIR.into()),
        }
    }

    fn next_entry(
        &mut self,
        listing: &mut Listing,
        name: &mut Vec<u8>,
    ) -> io::Result<Option<FileKind>> {
        let Some(at) = listing.rest.next() else { return Ok(None) };
        *name = if listing.kind == FileKind::Directory {
            format!("d{at:03}")
        } else {
            format!("job{at:07}.log")
        }
        .into_bytes();
        Ok(Some(listing.kind))
    }

    fn entry_inode(&self, _listing: &Listing) -> u64 {
        // Not known.
        0
    }

    fn watch(&mut self, path: &[u8], _links: Links, _closes: Closes) -> io::Result<WatchId> {
        match self.find(path)? {
            Place::Root => Ok(WatchId(1)),
            Place::Directory(at) => Ok(WatchId(at as i32 + 2)),
            Place::File(_) => Err(Errno::ENOTDIR.into()),
        }
    }

    fn watch_names(&mut self, path: &[u8]) -> io::Result<WatchId> {
        match path {
            b"/" => Ok(WatchId(0)),
            _ => self.watch(path, Links::Keep, Closes::Unreported),
        }
    }

    fn watch_self(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.watch_names(path)
    }

    fn unwatch(&mut self, _watch: WatchId) {}

    #[inline(never)]
    fn read_events(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.events[self.taken..];
        let len = rest.len().min(buffer.len() / EVENT_BYTES * EVENT_BYTES);
        copy(&rest[..len], buffer);
        self.taken += len;
        if self.taken == self.events.len() {
            self.events.clear();
            self.taken = 0;
        }
        Ok(len)
    }

    fn read_link(&mut self, _path: &[u8]) -> io::Result<Vec<u8>> {
        // There are none.
        Err(Errno::EINVAL.into())
    }

    fn mounts(&mut self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn canonical(&mut self, path: &[u8], _links: Links) -> io::Result<Vec<u8>> {
        Ok(path.to_vec())
    }

    fn refused_link(&mut self, _path: &[u8], _guard: Guard) -> Option<RefusedLink> {
        None
    }
}
