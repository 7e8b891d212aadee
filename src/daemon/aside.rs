//! Copies the end of an output file, before it is cut off, to a file beside it.
//!
//! In: the open output, its path, and the offset from which to copy. Out: the name of a new file
//! with a durable copy.
//! Always holds: the copy is a new file with mode 0600, made through no link; if it is not complete
//! and durable, it is removed and the caller gets the error. Its name looks like that of a rotated
//! output (`PATH.saved-SECONDS-NUMBER`): it is not read as a log if the output is in a followed
//! tree.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::sys::{clock, disk};

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 * 1024;

/// Copies the output at `path` from byte `start` to its end. Returns the copy's path and its
/// length.
///
/// # Errors
/// When the disk is full, or no file can be made beside the output.
pub(super) fn copy(output: &OwnedFd, path: &Path, start: u64) -> io::Result<(PathBuf, u64)> {
    // If a link leads to the output, the copy goes beside its target: that is on the same disk.
    let path = path.canonicalize()?;
    let seconds =
        clock::now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut name = path.clone().into_os_string();
    // A random number: nobody can take the name in advance.
    name.push(format!(".saved-{seconds}-{}", disk::any_number()));
    let aside = PathBuf::from(name);
    let failed = |error: io::Error| {
        let what = format!(
            "its end cannot be copied to {} before it is cut off: {error}",
            aside.display()
        );
        io::Error::new(error.kind(), what)
    };
    // O_CREAT | O_EXCL: a file that was not there before, through no link.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)
        .map_err(failed)?;
    let copied = copy_to(&mut file, output, start).and_then(|bytes| {
        file.sync_all()?;
        let above = aside.parent().unwrap_or(Path::new("/"));
        fs::OpenOptions::new().read(true).open(above)?.sync_all()?;
        Ok(bytes)
    });
    match copied {
        Ok(bytes) => Ok((aside, bytes)),
        Err(error) => {
            // The output was not changed.
            let _ = fs::remove_file(&aside);
            Err(failed(error))
        }
    }
}

fn copy_to(file: &mut impl io::Write, output: &OwnedFd, start: u64) -> io::Result<u64> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = start;
    loop {
        match nix::sys::uio::pread(output, &mut buffer, at.cast_signed()) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Ok(at - start),
            Ok(got) => {
                file.write_all(&buffer[..got])?;
                at += got as u64;
            }
        }
    }
}
