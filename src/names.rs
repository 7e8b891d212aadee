//! Packed file names: one allocation of 8-byte blocks for all, reused by size.
//!
//! In: a name of at most 255 bytes. Out: a 4-byte reference to it.
//! Always holds: the blocks of a removed name are used for the next name of the same number of
//! blocks; no name is ever moved.

use crate::sys::NAME_BYTES_MAX;

/// Bytes of one block: a 14-byte name and its length take two blocks.
const BLOCK_BYTES: usize = 8;
/// Blocks of the longest name and its length byte.
const BLOCKS_MAX: usize = (NAME_BYTES_MAX + 1) / BLOCK_BYTES;
/// The end of a free list.
const NONE: u32 = u32::MAX;

/// The position of a name. Valid until the name is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameRef(u32);

impl NameRef {
    /// Refers to no name; never given to [`Names::get`].
    pub(crate) const NONE: NameRef = NameRef(NONE);
}

/// A path up to its last slash, which may be empty, and the name behind it.
pub(crate) fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(memchr::memrchr(b'/', path).map_or(0, |at| at + 1))
}

/// A directory's path, with a slash at its end.
pub(crate) fn prefix_of(path: &[u8]) -> Vec<u8> {
    let mut prefix = path.to_vec();
    if !prefix.ends_with(b"/") {
        prefix.push(b'/');
    }
    prefix
}

/// All names.
#[derive(Debug)]
pub(crate) struct Names {
    /// Each name is its length in one byte, its bytes, and padding to the end of the last block.
    blocks: Vec<[u8; BLOCK_BYTES]>,
    /// For each number of blocks, the first free run; its first four bytes point to the next one.
    free: [u32; BLOCKS_MAX + 1],
}

impl Names {
    pub(crate) fn new() -> Self {
        Names { blocks: Vec::new(), free: [NONE; BLOCKS_MAX + 1] }
    }

    /// Stores a name.
    pub(crate) fn insert(&mut self, name: &[u8]) -> NameRef {
        let len =
            u8::try_from(name.len()).expect("the kernel's names are at most NAME_MAX = 255 bytes");
        let class = blocks_of(name.len());
        let at = self.take(class);
        let bytes = self.blocks[at as usize..at as usize + class].as_flattened_mut();
        bytes[0] = len;
        bytes[1..=name.len()].copy_from_slice(name);
        NameRef(at)
    }

    /// The name.
    pub(crate) fn get(&self, name: NameRef) -> &[u8] {
        let bytes = self.blocks[name.0 as usize..].as_flattened();
        &bytes[1..=usize::from(bytes[0])]
    }

    /// The first stored byte of the name; 0 for [`NameRef::NONE`].
    pub(crate) fn first_byte(&self, name: NameRef) -> u8 {
        self.blocks.get(name.0 as usize).map_or(0, |block| block[0])
    }

    /// Frees the name's blocks.
    pub(crate) fn remove(&mut self, name: NameRef) {
        let class = blocks_of(self.get(name).len());
        self.blocks[name.0 as usize][..4].copy_from_slice(&self.free[class].to_ne_bytes());
        self.free[class] = name.0;
    }

    fn take(&mut self, class: usize) -> u32 {
        let at = self.free[class];
        if at != NONE {
            let [a, b, c, d, ..] = self.blocks[at as usize];
            self.free[class] = u32::from_ne_bytes([a, b, c, d]);
            return at;
        }
        let at = u32::try_from(self.blocks.len())
            .ok()
            .filter(|&at| at < NONE - 256)
            .expect("32 GiB of file names");
        self.blocks.resize(self.blocks.len() + class, [0; BLOCK_BYTES]);
        at
    }
}

fn blocks_of(name_len: usize) -> usize {
    (name_len + 1).div_ceil(BLOCK_BYTES)
}

/// Whether a path looks like a glob.
pub(crate) fn is_glob(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[{".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_come_back_as_they_were() {
        let mut names = Names::new();
        let all: Vec<Vec<u8>> = (0..=255_u8).map(|len| vec![len; usize::from(len)]).collect();
        let refs: Vec<NameRef> = all.iter().map(|name| names.insert(name)).collect();
        for (name, at) in all.iter().zip(refs) {
            assert_eq!(names.get(at), name);
        }
    }

    #[test]
    fn removed_names_make_room_for_the_next_ones() {
        let mut names = Names::new();
        let refs: Vec<NameRef> =
            (0..100).map(|n| names.insert(format!("job{n:07}.log").as_bytes())).collect();
        let blocks = names.blocks.len();
        assert_eq!(blocks, 200, "14 bytes and the length take two blocks");
        for at in refs {
            names.remove(at);
        }
        for n in 0..100 {
            names.insert(format!("run{n:07}.log").as_bytes());
        }
        assert_eq!(names.blocks.len(), blocks);
    }
}
