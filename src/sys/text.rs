//! Settings files, which are small and read whole.
//!
//! In: a path. Out: its bytes; the names in a directory.
//! Always holds: only the disk can make a call wait; only regular files are read.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// The longest settings file, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a regular file of at most 1 MiB.
///
/// # Errors
/// Those of `open(2)` and `read(2)`; also when it is not a regular file, or too long.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other("it is longer than 1MiB"));
    }
    Ok(bytes)
}

/// The names in a directory, sorted by their bytes; none if the directory does not exist.
///
/// # Errors
/// Those of `opendir(3)` and `readdir(3)`.
pub(crate) fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names: Vec<OsString> =
        entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}
