//! Sockets to listen at: TCP, and unix sockets whose files come and go with the process.
//!
//! Always holds: a socket file that nobody listens at is replaced, one that somebody listens at is
//! not, and a file that is no socket is never touched. A socket file is open to its owner and group
//! (0660), and goes when the process goes, unless it is another's by then.

use std::io;
use std::net::ToSocketAddrs as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener, UnixStream};
use nix::sys::stat::{Mode, umask};

/// Listens at the first address of `HOST:PORT` that can be had.
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
    // There is no call that binds with a mode. Nobody else makes a file meanwhile but the journal's
    // thread, whose files are 0600.
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
        // Also when its queue is full.
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
        Err(error) => Err(error),
    }
}

/// The file of a unix socket that we made.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = self.path.symlink_metadata().map(|found| (found.dev(), found.ino()));
        if found.is_ok_and(|found| found == self.identity) {
            // Nobody is left to tell; a stale one is replaced.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
