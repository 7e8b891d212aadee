//! Planted faults: mistakes that a tailer can make, simulated by false answers to a correct one.
//!
//! In: a [`Mutant`]. Out: a [`FileSystem`], a [`Sink`], a [`Disk`] and a loaded [`StoredOffsets`]
//! (also a committer and a loop, for losses there) with which the engine behaves like the mutant.
//! Always holds: [`Mutant::None`] changes nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use manytail::testing::checkpoint::state::StoredOffsets;
use manytail::testing::file_systems::FileSystemType;
use manytail::testing::planted::Fault;
use manytail::testing::sink::{
    FilePoint, Receiver, Records, Sent, Sink, SinkError, SinkState, Wants,
};
use manytail::testing::sys::inotify::{EVENT_BYTES_MAX, Events, encode, mask};
use manytail::testing::sys::{
    Closes, FileKind, FileSystem, Guard, KnownLife, Links, OpenInode, RefusedLink, Stat, WatchId,
};
use manytail::testing::sys::{Disk, Place};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mutant {
    #[default]
    None,
    /// The loop sometimes forgets an edge: queued events wait until the next one.
    WakeUpLost,
    /// One buffer of events is read and the rest is left in the kernel's queue, as if it were
    /// empty.
    QueueHalfRead,
    /// `IN_Q_OVERFLOW` is ignored.
    OverflowIgnored,
    /// The offset moves past an unfinished last line, as if it had ended.
    OffsetPastUnfinished,
    /// The generation of an inode is ignored: a new file on an old number is taken for the old one.
    GenerationIgnored,
    /// Offsets are stored as soon as the output took their records, even if it has not acknowledged
    /// them.
    SavedBeforeAcknowledged,
    /// Names in the state directory are not made durable.
    DirectoryNotSynced,
    /// Contents in the state directory are not made durable.
    JournalNotSynced,
    /// Offsets are stored before the output file is durable.
    OutputNotSynced,
    /// The bytes just before a stored offset are forgotten.
    MarkForgotten,
    /// A file that is at least as large as its stored offset is taken for the former file without a
    /// check.
    SizeTrusted,
    /// The end of a job is sometimes not noticed.
    JobForgotten,
    /// The entry of a deleted file is used for the next file on its inode.
    InodeStateKept,
    /// After a restart a file continues in the middle of its last record.
    ResentFromMiddle,
    /// The stored length of the output is ignored: records are appended at its end.
    OutputPointIgnored,
    /// A file system that other machines write to is treated as a local one.
    RemoteTakenForLocal,
    /// A link in the tree is followed, although links must not be.
    LinkFollowed,
    /// A directory in the tree that was replaced by a link is entered: only the last part of a path
    /// is checked.
    LinkAboveFollowed,
    /// See [`Fault`].
    NeverWaits,
    SuccessionNotPassedOn,
    NulsSkipped,
    NotHeldOpen,
    FlushedEarly,
    MarkUnread,
    ReleaseForgotten,
    RetryForgotten,
    DoubtForgotten,
    OldFindBelieved,
    CoolingForgotten,
    DeletionForgotten,
    LossUncounted,
    KeptTooLong,
    EndForgotten,
    EndOmitted,
    ResentFromWrongRecord,
    /// A commit in doubt counts as made, without the broker's word.
    DoubtTrusted,
    /// A commit in doubt counts as not made.
    DoubtDropped,
    /// A commit does not wait for the reports of what it commits.
    CommittedBeforeReport,
    /// Another process's commit under the same name is taken for an own one.
    TwinIgnored,
    /// What a stream has beyond the last commit is not asked for.
    TailIgnored,
    /// The stream's end is stored along with offsets that are behind it.
    SequenceAhead,
}

/// Which generation each inode had in earlier lives of the engine.
pub(crate) type Generations = Rc<RefCell<HashMap<u64, u32>>>;

pub(crate) struct Mutated<F> {
    inner: F,
    mutant: Mutant,
    /// For [`Mutant::InodeStateKept`]: the true generation of each inode, and the one that is
    /// reported.
    said: HashMap<u64, (u32, u32)>,
    earlier: Generations,
}

impl<F: FileSystem> Mutated<F> {
    pub(crate) fn new(inner: F, mutant: Mutant, earlier: Generations) -> Self {
        Mutated { inner, mutant, said: HashMap::new(), earlier }
    }

    fn links(&self, links: Links) -> Links {
        match (self.mutant, links) {
            (Mutant::LinkFollowed, _) => Links::Follow,
            (Mutant::LinkAboveFollowed, Links::Beneath(_)) => Links::Keep,
            _ => links,
        }
    }

    fn seen(&mut self, mut stat: Stat) -> Stat {
        match self.mutant {
            Mutant::GenerationIgnored => stat.id.inode_generation = 0,
            Mutant::InodeStateKept => {
                let (inode, inode_generation) = (stat.id.inode, stat.id.inode_generation);
                let mut earlier = self.earlier.borrow_mut();
                let first =
                    (inode_generation, earlier.get(&inode).copied().unwrap_or(inode_generation));
                let &mut (real, said) = self.said.entry(inode).or_insert(first);
                if real == inode_generation {
                    stat.id.inode_generation = said;
                }
                earlier.insert(inode, stat.id.inode_generation);
            }
            _ => {}
        }
        stat
    }
}

impl<F: FileSystem> FileSystem for Mutated<F> {
    type File = F::File;
    type Listing = F::Listing;

    fn stat(&mut self, path: &[u8], links: Links) -> io::Result<Stat> {
        let found = self.inner.stat(path, self.links(links))?;
        Ok(self.seen(found))
    }

    fn stat_known(
        &mut self,
        path: &[u8],
        links: Links,
        life: &mut dyn FnMut(u64, u64) -> Option<KnownLife>,
    ) -> io::Result<Stat> {
        let found = self.inner.stat_known(path, self.links(links), life)?;
        Ok(self.seen(found))
    }

    fn file_system(&mut self, path: &[u8], links: Links) -> io::Result<FileSystemType> {
        // ext4
        if self.mutant == Mutant::RemoteTakenForLocal {
            Ok(FileSystemType(0xef53))
        } else {
            self.inner.file_system(path, self.links(links))
        }
    }

    fn open(&mut self, path: &[u8], links: Links) -> io::Result<F::File> {
        self.inner.open(path, self.links(links))
    }

    fn stat_file(&mut self, file: &F::File) -> io::Result<Stat> {
        let found = self.inner.stat_file(file)?;
        Ok(self.seen(found))
    }

    fn inode_of(&mut self, file: &F::File) -> io::Result<OpenInode> {
        self.inner.inode_of(file)
    }

    fn read_at(&mut self, file: &F::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let given = self.inner.read_at(file, buffer, offset)?;
        let unfinished = given > 0 && given < buffer.len() && buffer[given - 1] != b'\n';
        if self.mutant == Mutant::OffsetPastUnfinished && unfinished {
            buffer[given] = b'\n';
            return Ok(given + 1);
        }
        Ok(given)
    }

    fn data_from(&mut self, file: &F::File, offset: u64) -> io::Result<Option<u64>> {
        self.inner.data_from(file, offset)
    }

    fn hole_from(&mut self, file: &F::File, offset: u64) -> io::Result<u64> {
        self.inner.hole_from(file, offset)
    }

    fn list(&mut self, path: &[u8], links: Links) -> io::Result<F::Listing> {
        self.inner.list(path, self.links(links))
    }

    fn next_entry(
        &mut self,
        listing: &mut F::Listing,
        name: &mut Vec<u8>,
    ) -> io::Result<Option<FileKind>> {
        self.inner.next_entry(listing, name)
    }

    fn entry_inode(&self, listing: &F::Listing) -> u64 {
        self.inner.entry_inode(listing)
    }

    fn watch(&mut self, path: &[u8], links: Links, closes: Closes) -> io::Result<WatchId> {
        self.inner.watch(path, self.links(links), closes)
    }

    fn watch_names(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.inner.watch_names(path)
    }

    fn watch_self(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.inner.watch_self(path)
    }

    fn unwatch(&mut self, watch: WatchId) {
        self.inner.unwatch(watch);
    }

    fn read_events(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.mutant {
            Mutant::QueueHalfRead => {
                let some = buffer.len().min(EVENT_BYTES_MAX);
                self.inner.read_events(&mut buffer[..some])
            }
            Mutant::OverflowIgnored => {
                let given = self.inner.read_events(buffer)?;
                let mut kept = Vec::new();
                for event in
                    Events::new(&buffer[..given]).filter(|event| event.mask & mask::Q_OVERFLOW == 0)
                {
                    encode(&event, &mut kept);
                }
                buffer[..kept.len()].copy_from_slice(&kept);
                Ok(kept.len())
            }
            _ => self.inner.read_events(buffer),
        }
    }

    fn read_link(&mut self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.inner.read_link(path)
    }

    fn mounts(&mut self) -> io::Result<Vec<u8>> {
        self.inner.mounts()
    }

    fn canonical(&mut self, path: &[u8], links: Links) -> io::Result<Vec<u8>> {
        self.inner.canonical(path, self.links(links))
    }

    fn refused_link(&mut self, path: &[u8], guard: Guard) -> Option<RefusedLink> {
        self.inner.refused_link(path, guard)
    }
}

/// The output as the mutant shows it to the engine.
pub(crate) struct LyingSink<S> {
    inner: S,
    mutant: Mutant,
}

impl<S> LyingSink<S> {
    pub(crate) fn new(inner: S, mutant: Mutant) -> Self {
        LyingSink { inner, mutant }
    }
}

impl<S: Sink> Sink for LyingSink<S> {
    fn send(&mut self, records: Records<'_>, now: Instant) -> Result<Sent, SinkError> {
        self.inner.send(records, now)
    }

    fn wants(&self) -> Wants {
        self.inner.wants()
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        self.inner.receiver()
    }

    fn unacknowledged(&mut self) -> u64 {
        let unacknowledged = self.inner.unacknowledged();
        if self.mutant == Mutant::SavedBeforeAcknowledged { 0 } else { unacknowledged }
    }

    fn ready(&mut self, now: Instant) {
        self.inner.ready(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }

    fn point(&mut self) -> Option<FilePoint> {
        self.inner.point()
    }

    fn withdraw(&mut self, bytes: u64) -> bool {
        self.inner.withdraw(bytes)
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        self.inner.reopen()
    }

    fn place(&mut self) -> manytail::testing::sink::Place {
        self.inner.place()
    }

    fn replace(&mut self, from: Option<u64>) -> Result<(), SinkError> {
        self.inner.replace(from)
    }

    fn owed(&self) -> u64 {
        self.inner.owed()
    }

    fn own_file(&self) -> Option<(u64, u64)> {
        self.inner.own_file()
    }

    fn state(&self) -> SinkState {
        self.inner.state()
    }
}

/// The state directory as the mutant shows it to the store.
#[derive(Debug)]
pub(crate) struct LyingDisk<D> {
    inner: D,
    mutant: Mutant,
}

impl<D> LyingDisk<D> {
    pub(crate) fn new(inner: D, mutant: Mutant) -> Self {
        LyingDisk { inner, mutant }
    }
}

impl<D: Disk> Disk for LyingDisk<D> {
    type File = D::File;

    fn list(&mut self) -> io::Result<Vec<Vec<u8>>> {
        self.inner.list()
    }

    fn open(&mut self, name: &str) -> io::Result<D::File> {
        self.inner.open(name)
    }

    fn create(&mut self, name: &str) -> io::Result<D::File> {
        self.inner.create(name)
    }

    fn read_at(&mut self, file: &D::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(file, buffer, offset)
    }

    fn append(&mut self, file: &D::File, bytes: &[u8]) -> io::Result<usize> {
        self.inner.append(file, bytes)
    }

    fn overwrite(&mut self, file: &D::File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.inner.overwrite(file, bytes, offset)
    }

    fn truncate(&mut self, file: &D::File, len: u64) -> io::Result<()> {
        self.inner.truncate(file, len)
    }

    fn sync(&mut self, file: &D::File) -> io::Result<()> {
        if self.mutant == Mutant::JournalNotSynced { Ok(()) } else { self.inner.sync(file) }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        if self.mutant == Mutant::DirectoryNotSynced { Ok(()) } else { self.inner.sync_directory() }
    }

    fn place(&mut self) -> io::Result<Place> {
        self.inner.place()
    }

    fn is_named(&mut self, name: &str, file: &D::File) -> io::Result<bool> {
        self.inner.is_named(name, file)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.inner.reopen()
    }

    fn identity(&self) -> (u64, u64) {
        self.inner.identity()
    }

    fn salt(&mut self) -> u64 {
        self.inner.salt()
    }
}

impl Mutant {
    /// The fault that it plants inside the engine.
    pub(crate) fn planted(self) -> Option<Fault> {
        Some(match self {
            Mutant::NeverWaits => Fault::NeverWaits,
            Mutant::SuccessionNotPassedOn => Fault::SuccessionNotPassedOn,
            Mutant::NulsSkipped => Fault::NulsSkipped,
            Mutant::NotHeldOpen => Fault::NotHeldOpen,
            Mutant::FlushedEarly => Fault::FlushedEarly,
            Mutant::MarkUnread => Fault::MarkUnread,
            Mutant::ReleaseForgotten => Fault::ReleaseForgotten,
            Mutant::RetryForgotten => Fault::RetryForgotten,
            Mutant::DoubtForgotten => Fault::DoubtForgotten,
            Mutant::OldFindBelieved => Fault::OldFindBelieved,
            Mutant::CoolingForgotten => Fault::CoolingForgotten,
            Mutant::DeletionForgotten => Fault::DeletionForgotten,
            Mutant::LossUncounted => Fault::LossUncounted,
            Mutant::KeptTooLong => Fault::KeptTooLong,
            Mutant::EndForgotten => Fault::EndForgotten,
            Mutant::EndOmitted => Fault::EndOmitted,
            Mutant::ResentFromWrongRecord => Fault::ResentFromWrongRecord,
            _ => return None,
        })
    }

    /// Changes the state that was read from the journal. `sizes`: the sizes of the files of the
    /// tree, by inode and generation.
    pub(crate) fn edit(self, state: &mut StoredOffsets, sizes: &HashMap<(u64, u32), u64>) {
        if self == Mutant::DoubtTrusted {
            state.resolve(|_| true);
        }
        if !matches!(self, Mutant::MarkForgotten | Mutant::SizeTrusted | Mutant::ResentFromMiddle) {
            return;
        }
        let ids: Vec<_> = state.entries().map(|(entry, _)| entry.id).collect();
        for id in ids {
            let Some(entry) = state.get_mut(id) else { continue };
            let size = sizes.get(&(id.inode, id.inode_generation)).copied().unwrap_or(0);
            match self {
                Mutant::MarkForgotten => entry.mark_len = 0,
                Mutant::SizeTrusted if size >= entry.offset => entry.mark_len = 0,
                Mutant::ResentFromMiddle if entry.offset > 3 => {
                    entry.offset -= 3;
                    entry.mark_len = 0;
                }
                _ => {}
            }
        }
    }
}
