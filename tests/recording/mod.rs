//! The real file system, with a record of the paths in its calls.

use std::io;

use manytail::testing::file_systems::FileSystemType;
use manytail::testing::sys::file::{Listing, OpenFile};
use manytail::testing::sys::{
    Closes, FileKind, FileSystem, Guard, KnownLife, Links, Linux, OpenInode, RefusedLink, Stat,
    WatchId,
};

/// Records the path of each call since it was last cleared.
pub(crate) struct Recording {
    inner: Linux,
    pub(crate) paths: Vec<Vec<u8>>,
}

impl Recording {
    pub(crate) fn new() -> Recording {
        Recording { inner: Linux::new(), paths: Vec::new() }
    }

    fn about(&mut self, path: &[u8]) -> &mut Linux {
        self.paths.push(path.to_vec());
        &mut self.inner
    }
}

impl FileSystem for Recording {
    type File = OpenFile;
    type Listing = Listing;

    fn stat(&mut self, path: &[u8], links: Links) -> io::Result<Stat> {
        self.about(path).stat(path, links)
    }

    fn stat_known(
        &mut self,
        path: &[u8],
        links: Links,
        life: &mut dyn FnMut(u64, u64) -> Option<KnownLife>,
    ) -> io::Result<Stat> {
        self.about(path).stat_known(path, links, life)
    }

    fn file_system(&mut self, path: &[u8], links: Links) -> io::Result<FileSystemType> {
        self.about(path).file_system(path, links)
    }

    fn open(&mut self, path: &[u8], links: Links) -> io::Result<OpenFile> {
        self.about(path).open(path, links)
    }

    fn stat_file(&mut self, file: &OpenFile) -> io::Result<Stat> {
        self.inner.stat_file(file)
    }

    fn inode_of(&mut self, file: &OpenFile) -> io::Result<OpenInode> {
        self.inner.inode_of(file)
    }

    fn read_at(&mut self, file: &OpenFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(file, buffer, offset)
    }

    fn data_from(&mut self, file: &OpenFile, offset: u64) -> io::Result<Option<u64>> {
        self.inner.data_from(file, offset)
    }

    fn hole_from(&mut self, file: &OpenFile, offset: u64) -> io::Result<u64> {
        self.inner.hole_from(file, offset)
    }

    fn list(&mut self, path: &[u8], links: Links) -> io::Result<Listing> {
        self.about(path).list(path, links)
    }

    fn next_entry(
        &mut self,
        listing: &mut Listing,
        name: &mut Vec<u8>,
    ) -> io::Result<Option<FileKind>> {
        self.inner.next_entry(listing, name)
    }

    fn entry_inode(&self, listing: &Listing) -> u64 {
        self.inner.entry_inode(listing)
    }

    fn watch(&mut self, path: &[u8], links: Links, closes: Closes) -> io::Result<WatchId> {
        self.about(path).watch(path, links, closes)
    }

    fn watch_names(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.about(path).watch_names(path)
    }

    fn watch_self(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.about(path).watch_self(path)
    }

    fn unwatch(&mut self, watch: WatchId) {
        self.inner.unwatch(watch);
    }

    fn read_events(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_events(buffer)
    }

    fn read_link(&mut self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.about(path).read_link(path)
    }

    fn mounts(&mut self) -> io::Result<Vec<u8>> {
        self.inner.mounts()
    }

    fn canonical(&mut self, path: &[u8], links: Links) -> io::Result<Vec<u8>> {
        self.about(path).canonical(path, links)
    }

    fn refused_link(&mut self, path: &[u8], guard: Guard) -> Option<RefusedLink> {
        self.about(path).refused_link(path, guard)
    }
}
