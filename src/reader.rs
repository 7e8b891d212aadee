//! Reads files into the one read buffer, and computes the mark, which proves without an extra call
//! that the bytes read before are still there.
//!
//! In: an open file and a position. Out: bytes in the reused buffer, those of the mark first.
//! Always holds: the buffer grows only for a line that is longer, up to the line limit, and shrinks
//! again after an unusually long one.

use std::io;

use crate::sys::FileSystem;

/// How many bytes before the offset the mark covers: about a status line with its time stamp and
/// job.
pub(crate) const MARK_BYTES: usize = 64;

/// Bytes of one `pread(2)`: more than a pipe accepts, fewer than fit into the second-level cache.
pub(crate) const READ_BYTES: usize = 128 * 1024;

/// A buffer that grew beyond this for a long line is freed afterwards.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The read buffer.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Reader { buffer: vec![0; MARK_BYTES + READ_BYTES] }
    }

    /// Reads up to `len` bytes from `offset` into the buffer; returns fewer only at the end of the
    /// file.
    ///
    /// A short read of at least `least` bytes that ends with a line is taken for the end: local
    /// file systems return short reads nowhere else, and a call saved here is a call saved per
    /// line. A short read that ends within a line is repeated until it returns the same length
    /// twice, from the same offset, so that all returned bytes were read in one piece.
    ///
    /// # Errors
    /// Those of `pread(2)`, except for `EINTR`.
    pub(crate) fn fill<F: FileSystem>(
        &mut self,
        fs: &mut F,
        file: &F::File,
        offset: u64,
        least: usize,
        len: usize,
    ) -> io::Result<usize> {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        let mut before = None;
        loop {
            match fs.read_at(file, &mut self.buffer[..len], offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(got) => {
                    let is_line = got > 0 && got >= least && self.buffer[got - 1] == b'\n';
                    if got == len || got == 0 || is_line || before == Some(got) {
                        return Ok(got);
                    }
                    before = Some(got);
                }
            }
        }
    }

    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        &self.buffer[..len]
    }

    /// Called after a file: frees an unusually large buffer.
    pub(crate) fn relax(&mut self) {
        if self.buffer.len() > KEPT_BYTES_MAX {
            self.buffer.truncate(MARK_BYTES + READ_BYTES);
            self.buffer.shrink_to_fit();
        }
    }
}

/// The digest of the bytes just before an offset. Equal in every run, because it is stored.
pub(crate) fn mark_of(bytes: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    let mix_words = |words: &[[u8; 8]]| {
        words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)))
    };
    let hash = if let Ok(whole) = <&[u8; MARK_BYTES]>::try_from(bytes) {
        // Most marks have the full length, for which the compiler knows the number of words.
        mix_words(whole.as_chunks().0)
    } else {
        let (words, rest) = bytes.as_chunks();
        rest.iter().fold(mix_words(words), |hash, &byte| mix(hash, u64::from(byte)))
    };
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_byte_changes_the_mark() {
        let bytes: Vec<u8> = (0..64).collect();
        for at in 0..64 {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(mark_of(&bytes), mark_of(&other), "byte {at}");
        }
        assert_ne!(mark_of(&[0; 63]), mark_of(&[0; 64]));
    }
}
