//! Bytes of a deleted output file whose offsets were not committed: read back from it, and owed to
//! the file that replaces it.
//!
//! In: the open file, a start and an end. Out: its bytes, piece by piece.
//! Always holds: owed bytes are kept until they are accepted. A deleted file is closed at once if
//! few bytes of it are owed: it may have been deleted because the disk is full, and only closing it
//! frees the space.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::uio::pread;

use crate::sys::descriptor::proc_path;

/// Bytes read back at a time from a file that stays open.
const PIECE_BYTES: u64 = 128 * 1024;

/// Most bytes of one file that are copied to memory; more than that stay in the open file.
const KEPT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Owed bytes of one file.
#[derive(Debug)]
pub(super) enum Part {
    Kept { bytes: Vec<u8>, taken: usize },
    Open { file: OwnedFd, at: u64, end: u64 },
}

impl Part {
    fn left(&self) -> u64 {
        match self {
            Part::Kept { bytes, taken } => (bytes.len() - taken) as u64,
            Part::Open { at, end, .. } => end - at,
        }
    }
}

/// Opens for reading a file that is open for writing.
fn open_to_read(file: impl AsFd) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(
        proc_path(file).as_str(),
        OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// Reads from a file that is open for writing.
///
/// # Errors
/// When this process may not read the file, or /proc is not mounted.
pub(super) fn read_at(file: impl AsFd, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    Ok(pread(open_to_read(file)?, buffer, at.cast_signed())?)
}

/// Parts of deleted files, in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Owed(VecDeque<Part>);

impl Owed {
    /// The bytes of `file` from `at` to `end`; `None` if there are none.
    ///
    /// # Errors
    /// When this process may not read the file, or /proc is not mounted.
    pub(super) fn part(file: impl AsFd, at: u64, end: u64) -> io::Result<Option<Part>> {
        if at >= end {
            return Ok(None);
        }
        let file = open_to_read(&file)?;
        Ok(Some(if end - at <= KEPT_BYTES_MAX {
            let mut bytes = vec![0; usize::try_from(end - at).expect("a few megabytes")];
            let mut got = 0;
            while got < bytes.len() {
                got += read(&file, &mut bytes[got..], at + got as u64)?;
            }
            Part::Kept { bytes, taken: 0 }
        } else {
            Part::Open { file, at, end }
        }))
    }

    /// Puts a part before all others, because everything that is still owed would have come behind
    /// it in its file.
    pub(super) fn add(&mut self, part: Option<Part>) {
        part.into_iter().for_each(|part| self.0.push_front(part));
    }

    /// All owed bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(Part::left).sum()
    }

    /// The next piece, perhaps in `buffer`. `None`: nothing is owed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn piece<'a>(&'a self, buffer: &'a mut Vec<u8>) -> io::Result<Option<&'a [u8]>> {
        Ok(match self.0.front() {
            None => None,
            Some(Part::Kept { bytes, taken }) => Some(&bytes[*taken..]),
            Some(Part::Open { file, at, end }) => {
                buffer
                    .resize(usize::try_from((end - at).min(PIECE_BYTES)).expect("a piece fits"), 0);
                let got = read(file, buffer, *at)?;
                Some(&buffer[..got])
            }
        })
    }

    /// This many bytes of the piece were accepted.
    pub(super) fn took(&mut self, bytes: usize) {
        match self.0.front_mut() {
            None => {}
            Some(Part::Kept { taken, .. }) => *taken += bytes,
            Some(Part::Open { at, .. }) => *at += bytes as u64,
        }
        if self.0.front().is_some_and(|part| part.left() == 0) {
            self.0.pop_front();
        }
    }
}

/// Reads at least a byte.
fn read(file: &OwnedFd, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    match pread(file, buffer, at.cast_signed())? {
        0 => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "somebody truncated the deleted file"))
        }
        got => Ok(got),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn taken(owed: &mut Owed, most: usize) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), Vec::new());
        while let Some(piece) = owed.piece(&mut buffer).expect("it can be read") {
            let piece = piece[..piece.len().min(most)].to_vec();
            owed.took(piece.len());
            all.extend(piece);
        }
        all
    }

    #[test]
    fn what_is_owed_comes_in_order_from_little_and_from_large_files_that_have_no_name() {
        let large: Vec<u8> = (0..KEPT_BYTES_MAX + 1000).map(|at| at.to_le_bytes()[0]).collect();
        let mut owed = Owed::default();
        let mut second = tempfile::tempfile().expect("a file");
        second.write_all(&large).expect("room");
        let end = large.len() as u64;
        owed.add(Owed::part(&second, 10, end).expect("it opens"));
        assert!(matches!(owed.0.front(), Some(Part::Open { .. })));
        let mut first = tempfile::tempfile().expect("a file");
        first.write_all(b"0123456789").expect("room");
        owed.add(Owed::part(&first, 3, 7).expect("it opens"));
        owed.add(Owed::part(&first, 7, 7).expect("nothing is opened"));
        drop((first, second));
        assert_eq!(owed.bytes(), 4 + end - 10);
        assert_eq!(taken(&mut owed, 1 << 16), [b"3456", &large[10..]].concat());
        assert_eq!(
            (owed.bytes(), owed.piece(&mut Vec::new()).expect("nothing is read")),
            (0, None)
        );
    }

    #[test]
    fn a_deleted_file_that_somebody_truncated_is_an_error_and_no_endless_loop() {
        let mut owed = Owed::default();
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(Owed::part(&file, 0, 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        owed.add(Owed::part(&file, 0, KEPT_BYTES_MAX + 1).expect("it is not read yet"));
        assert_eq!(owed.piece(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
