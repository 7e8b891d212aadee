//! A file of our own on a disk: the page cache, which reads see, and the content that a power crash
//! leaves are separate.
//!
//! In: appends, cuts, syncs, crashes. Out: bytes.
//! Always holds: everything that a successful sync covered survives, except what an earlier failed
//! sync dropped; of the later changes a crash keeps the first few, perhaps one more in part,
//! perhaps with sectors of zeros where bytes had not arrived yet.

use crate::random::Random;

/// The unit that reaches the disk in one piece.
const SECTOR_BYTES: usize = 512;

#[derive(Debug)]
enum Change {
    /// The content that becomes durable: an earlier failed sync may have dropped some of it.
    Append(Vec<u8>),
    Cut(usize),
    /// Bytes are written once more, where they are already.
    Again(usize, Vec<u8>),
}

#[derive(Debug, Default)]
pub(crate) struct CachedFile {
    cache: Vec<u8>,
    durable: Vec<u8>,
    /// The changes since the last sync, in order.
    changes: Vec<Change>,
}

impl CachedFile {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.cache
    }

    pub(crate) fn durable_len(&self) -> usize {
        self.durable.len()
    }

    /// Whether a power crash would leave all of it. It may leave more: bytes that were cut off.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable.starts_with(&self.cache)
    }

    /// `pread(2)`.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.cache.len());
        let given = buffer.len().min(self.cache.len() - start);
        buffer[..given].copy_from_slice(&self.cache[start..start + given]);
        given
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.cache.extend_from_slice(bytes);
        self.changes.push(Change::Append(bytes.to_vec()));
    }

    /// `pwrite(2)` of what is there already.
    pub(crate) fn overwrite(&mut self, bytes: &[u8], offset: u64) {
        let start = usize::try_from(offset).expect("files are small");
        assert_eq!(self.cache.get(start..start + bytes.len()), Some(bytes), "nothing changes");
        self.changes.push(Change::Again(start, bytes.to_vec()));
    }

    pub(crate) fn cut(&mut self, len: usize) {
        if len != self.cache.len() {
            self.cache.resize(len, 0);
            self.changes.push(Change::Cut(len));
        }
    }

    /// `fdatasync(2)`.
    pub(crate) fn sync(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            self.apply(change);
        }
    }

    /// A failed sync: data that was not written by then is not written later either, and no further
    /// sync reports it.
    pub(crate) fn sync_failed(&mut self, random: &mut Random) {
        let mut at = self.durable.len();
        for change in &mut self.changes {
            match change {
                Change::Append(bytes) => {
                    let start = at;
                    at += bytes.len();
                    if random.one_in(2) {
                        drop_sectors(bytes, start, random);
                    }
                }
                Change::Cut(len) => at = *len,
                Change::Again(_, bytes) => bytes.truncate(random.between(0, bytes.len())),
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Append(bytes) => self.durable.extend_from_slice(&bytes),
            Change::Cut(len) => self.durable.resize(len, 0),
            Change::Again(start, bytes) => {
                self.durable[start..start + bytes.len()].copy_from_slice(&bytes);
            }
        }
    }

    /// Reduces the content to what is left after a power crash.
    pub(crate) fn power_crash(&mut self, random: &mut Random) {
        let changes = std::mem::take(&mut self.changes);
        let kept = match random.below(3) {
            0 => 0,
            1 => changes.len(),
            _ => random.between(0, changes.len()),
        };
        let with_holes = random.one_in(3);
        let torn = usize::from(random.one_in(2));
        for (index, mut change) in changes.into_iter().enumerate().take(kept + torn) {
            match &mut change {
                Change::Append(bytes) => {
                    if index == kept {
                        bytes.truncate(random.between(0, bytes.len()));
                    }
                    if with_holes && random.one_in(3) {
                        drop_sectors(bytes, self.durable.len(), random);
                    }
                }
                Change::Again(_, bytes) if index == kept => {
                    bytes.truncate(random.between(0, bytes.len()));
                }
                Change::Cut(_) if index == kept => break,
                Change::Again(..) | Change::Cut(_) => {}
            }
            self.apply(change);
        }
        self.cache.clone_from(&self.durable);
    }
}

/// Puts zeros in place of some sectors of bytes that start at `start` of the file.
fn drop_sectors(bytes: &mut [u8], start: usize, random: &mut Random) {
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + SECTOR_BYTES - (start + at) % SECTOR_BYTES);
        if random.one_in(2) {
            bytes[at..end].fill(0);
        }
        at = end;
    }
}
