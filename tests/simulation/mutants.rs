//! Planted faults: three ways in which a tailer can be wrong, made by lying to a right one.
//!
//! In: a [`Mutant`]. Out: a [`FileSystem`] (and a loop, for lost wake-ups) under which the engine behaves like the mutant.
//! Always holds: [`Mutant::None`] changes nothing.

use std::io;

use manytail::sys::inotify::{EVENT_BYTES_MAX, Events, encode, mask};
use manytail::sys::{FileKind, FileSystem, Links, Stat, WatchId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    /// The loop forgets an edge now and then: what is queued waits until the next event.
    WakeUpLost,
    /// One buffer of events is taken and the rest left in the kernel's queue, as if it had been emptied.
    QueueHalfRead,
    /// `IN_Q_OVERFLOW` is ignored.
    OverflowIgnored,
    /// The offset moves past an unfinished last line, as if it had ended.
    OffsetPastUnfinished,
    /// The generation of an inode is not looked at: a new file on an old number is taken for the old one.
    GenerationIgnored,
}

pub(crate) struct Mutated<F> {
    inner: F,
    mutant: Mutant,
}

impl<F: FileSystem> Mutated<F> {
    pub(crate) fn new(inner: F, mutant: Mutant) -> Self {
        Mutated { inner, mutant }
    }

    fn seen(&self, mut stat: Stat) -> Stat {
        if self.mutant == Mutant::GenerationIgnored {
            stat.id.generation = 0;
        }
        stat
    }
}

impl<F: FileSystem> FileSystem for Mutated<F> {
    type File = F::File;
    type Listing = F::Listing;

    fn stat(&mut self, path: &[u8], links: Links) -> io::Result<Stat> {
        self.inner.stat(path, links).map(|stat| self.seen(stat))
    }

    fn open(&mut self, path: &[u8], links: Links) -> io::Result<F::File> {
        self.inner.open(path, links)
    }

    fn stat_file(&mut self, file: &F::File) -> io::Result<Stat> {
        self.inner.stat_file(file).map(|stat| self.seen(stat))
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
        self.inner.list(path, links)
    }

    fn next_entry(&mut self, listing: &mut F::Listing, name: &mut Vec<u8>) -> io::Result<Option<FileKind>> {
        self.inner.next_entry(listing, name)
    }

    fn watch(&mut self, path: &[u8], links: Links) -> io::Result<WatchId> {
        self.inner.watch(path, links)
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
                for event in Events::new(&buffer[..given]).filter(|event| event.mask & mask::Q_OVERFLOW == 0) {
                    encode(&event, &mut kept);
                }
                buffer[..kept.len()].copy_from_slice(&kept);
                Ok(kept.len())
            }
            _ => self.inner.read_events(buffer),
        }
    }

    fn canonical(&mut self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.inner.canonical(path)
    }
}
