//! Listening sockets: TCP, and unix sockets whose files come and go with the process.
//!
//! In: an address or a path. Out: a listener; for a path also its [`SocketFile`].
//! Always holds: a socket file without a listener is replaced, one with a listener is not, and a
//! file that is not a socket is never touched. A socket file is accessible to its owner and group
//! (0660), and is removed when the process ends, unless it is another process's by then.

use std::io;
use std::net::ToSocketAddrs as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener, UnixStream};
use nix::sys::stat::{Mode, umask};

/// Listens at the first address of `HOST:PORT` that is available.
pub(super) fn tcp(address: &str) -> io::Result<TcpListener> {
    let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// Listens at a path.
pub(super) fn unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = match bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            bind(path)?
        }
        bound => bound?,
    };
    let found = path.symlink_metadata()?;
    Ok((listener, SocketFile { path: path.to_owned(), identity: (found.dev(), found.ino()) }))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // No system call binds with a mode. Meanwhile only the journal's thread makes files, and those
    // are 0600.
    let before = umask(Mode::from_bits_truncate(0o117));
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

fn remove_stale(path: &Path) -> io::Result<()> {
    if !path.symlink_metadata()?.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        // A listener whose queue is full is one, too.
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
        Err(error) => Err(error),
    }
}

/// The file of a unix socket that this process made.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = self.path.symlink_metadata().map(|found| (found.dev(), found.ino()));
        if found.is_ok_and(|found| found == self.identity) {
            // A failure does no harm: the next start replaces a stale file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
