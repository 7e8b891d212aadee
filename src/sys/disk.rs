//! The state directory on Linux: the production side of [`Disk`], and the lock that reserves it for
//! one process.
//!
//! In: names without a slash. Out: the kernel's answers, with one system call per method or a
//! documented few.
//! Always holds: while a [`LinuxDisk`] exists, no other process has one of the same directory with
//! the right to change it. Only regular files are read or written, and no link is followed below
//! the directory.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, Flock, FlockArg, OFlag, fcntl, openat, renameat};
use nix::libc;
use nix::sys::signal::kill;
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, stat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Pid, UnlinkatFlags, fdatasync, fsync, ftruncate, mkdir, unlinkat, write};

use super::again::again as again_errno;
use super::failure::Failure;
use super::trust;
use super::{Disk, Place, process};

/// The lock file (flock(2)). It contains the process id of the last process that locked it.
const LOCK: &str = "lock";

/// The purpose for which a state directory is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To store offsets: a missing directory is created.
    Create,
    /// To change an existing directory.
    Change,
    /// To read without changing anything. Several processes may do so at a time.
    Look,
}

/// Why a state directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process has locked it.
    #[error("the state directory {path} is in use by {}", process::in_words(*.pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// That process, if it is known.
        pid: Option<i32>,
    },
    /// Other users can write to it, or own it.
    #[error(
        "the state directory {path} is not ours alone: {who}, so others could replace the offsets \
        in it (chown it to the user of the run \
         and chmod go-w, or give another --state-dir)"
    )]
    Shared {
        /// The directory.
        path: PathBuf,
        /// Which users, in words.
        who: String,
    },
    /// The directory cannot be made.
    #[error("cannot make the state directory {path}")]
    Make {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The directory cannot be opened.
    #[error("cannot open the state directory {path}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Its lock cannot be taken.
    #[error("cannot lock the state directory {path} by its file {LOCK}")]
    Lock {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl DiskError {
    /// Whether the setting is wrong, so that trying again cannot help.
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        matches!(self, DiskError::Shared { .. })
    }
}

/// An open state directory.
#[derive(Debug)]
pub struct LinuxDisk {
    path: PathBuf,
    access: Access,
    open: Open,
}

/// The open descriptors of a state directory.
#[derive(Debug)]
struct Open {
    /// Also locked where the file system allows it, because a lock file whose name was removed
    /// keeps nobody out.
    directory: OwnedFd,
    identity: (u64, u64),
    /// `None`: opened only for reading, and no process ever locked it.
    lock: Option<Flock<OwnedFd>>,
}

impl LinuxDisk {
    /// Opens a state directory and locks it. The lock ends with the value, or with the process.
    ///
    /// # Errors
    /// When it is missing and may not be created, when it is in use, or when a system call fails.
    pub fn open(path: &Path, access: Access) -> Result<Self, DiskError> {
        if access == Access::Create {
            make(path).map_err(|source| DiskError::Make { path: path.to_owned(), source })?;
        }
        Ok(LinuxDisk { path: path.to_owned(), access, open: Open::new(path, access)? })
    }

    /// Device and inode of the directory.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.open.identity
    }
}

impl Drop for LinuxDisk {
    fn drop(&mut self) {
        if let Some(lock) = self.open.lock.as_ref().filter(|_| self.access != Access::Look) {
            let _ = ftruncate(&**lock, 0);
        }
    }
}

impl Open {
    fn new(path: &Path, access: Access) -> Result<Self, DiskError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open_failed = |source| DiskError::Open { path: path.to_owned(), source };
        let flags = flags | trust::link_flags(path).map_err(open_failed)?;
        let directory =
            again(|| nix::fcntl::open(path, flags, Mode::empty())).map_err(open_failed)?;
        let found = fstat(&directory).map_err(|errno| open_failed(errno.into()))?;
        // A reader trusts nothing in it.
        if let Some(who) = trust::others(&found).filter(|_| access != Access::Look) {
            return Err(DiskError::Shared { path: path.to_owned(), who });
        }
        let identity = identity_of(&found);
        let directory =
            lock_directory(directory, access).map_err(|directory| in_use(path, &directory))?;
        let lock = take_lock(path, &directory, access)?;
        Ok(Open { directory, identity, lock })
    }
}

/// Locks the directory itself as well. On file systems that cannot do that, the lock file alone has
/// to do. Fails only if another process has locked it.
fn lock_directory(directory: OwnedFd, access: Access) -> Result<OwnedFd, OwnedFd> {
    #[expect(
        deprecated,
        reason = "`Flock` would keep a descriptor that is used for other things apart from them"
    )]
    let outcome = again_errno(|| nix::fcntl::flock(directory.as_raw_fd(), wanted_lock(access)));
    if outcome == Err(Errno::EWOULDBLOCK) { Err(directory) } else { Ok(directory) }
}

fn wanted_lock(access: Access) -> FlockArg {
    if access == Access::Look {
        FlockArg::LockSharedNonblock
    } else {
        FlockArg::LockExclusiveNonblock
    }
}

fn in_use(path: &Path, directory: &OwnedFd) -> DiskError {
    let pid =
        open_lock(directory, Access::Look).ok().flatten().and_then(|lock| living_process(&lock));
    DiskError::InUse { path: path.to_owned(), pid }
}

/// Takes the lock in a directory. `None`: it is opened only for reading, and no process ever locked
/// it.
fn take_lock(
    path: &Path,
    directory: &OwnedFd,
    access: Access,
) -> Result<Option<Flock<OwnedFd>>, DiskError> {
    let lock_failed = |source| DiskError::Lock { path: path.to_owned(), source };
    let Some(file) = open_lock(directory, access).map_err(lock_failed)? else { return Ok(None) };
    let lock = match lock_file(file, wanted_lock(access)) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Err(in_use(path, directory)),
        Err((_, errno)) => return Err(lock_failed(errno.into())),
    };
    if access != Access::Look {
        // For the error message of a second process; the lock works without it.
        let _ = ftruncate(&*lock, 0)
            .and_then(|()| pwrite(&*lock, format!("{}\n", std::process::id()).as_bytes(), 0));
    }
    Ok(Some(lock))
}

fn identity_of(found: &FileStat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

/// Whether a look found exactly this file; `false` if it found nothing.
fn is_it(found: nix::Result<FileStat>, identity: (u64, u64)) -> io::Result<bool> {
    match found {
        Ok(found) => Ok(identity_of(&found) == identity),
        Err(errno) => match io::Error::from(errno) {
            error if Failure::of(&error) == Failure::Gone => Ok(false),
            error => Err(error),
        },
    }
}

impl Disk for LinuxDisk {
    type File = OwnedFd;

    fn list(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let listing = Dir::openat(&self.open.directory, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    fn open(&mut self, name: &str) -> io::Result<OwnedFd> {
        let access = if self.access == Access::Look {
            OFlag::O_RDONLY
        } else {
            OFlag::O_RDWR | OFlag::O_APPEND
        };
        open_regular(&self.open.directory, name, access)
    }

    fn create(&mut self, name: &str) -> io::Result<OwnedFd> {
        match unlinkat(&self.open.directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        open_regular(
            &self.open.directory,
            name,
            OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL,
        )
    }

    fn read_at(&mut self, file: &OwnedFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        again(|| pread(file, buffer, offset.cast_signed()))
    }

    fn append(&mut self, file: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        again(|| write(file, bytes))
    }

    fn overwrite(&mut self, file: &OwnedFd, bytes: &[u8], offset: u64) -> io::Result<usize> {
        // With O_APPEND, pwrite(2) of Linux appends, whatever the offset.
        let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
        fcntl(file, FcntlArg::F_SETFL(flags - OFlag::O_APPEND))?;
        let written = again(|| pwrite(file, bytes, offset.cast_signed()));
        fcntl(file, FcntlArg::F_SETFL(flags))?;
        written
    }

    fn truncate(&mut self, file: &OwnedFd, len: u64) -> io::Result<()> {
        again(|| ftruncate(file, len.cast_signed()))
    }

    fn sync(&mut self, file: &OwnedFd) -> io::Result<()> {
        again(|| fdatasync(file))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        again(|| renameat(&self.open.directory, from, &self.open.directory, to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        again(|| unlinkat(&self.open.directory, name, UnlinkatFlags::NoRemoveDir))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        again(|| fsync(&self.open.directory))
    }

    fn place(&mut self) -> io::Result<Place> {
        if !is_it(stat(&self.path), self.open.identity)? {
            return Ok(Place::Elsewhere);
        }
        let Some(lock) = &self.open.lock else { return Ok(Place::Here) };
        let held = identity_of(&fstat(&**lock)?);
        let is_held =
            is_it(fstatat(&self.open.directory, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW), held)?;
        Ok(if is_held { Place::Here } else { Place::Unlocked })
    }

    fn is_named(&mut self, name: &str, file: &OwnedFd) -> io::Result<bool> {
        let open = identity_of(&fstat(file)?);
        is_it(fstatat(&self.open.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW), open)
    }

    fn reopen(&mut self) -> io::Result<()> {
        match self.place()? {
            Place::Here => {}
            // The directory itself is still locked by us, so no other process could take the lock
            // in it.
            Place::Unlocked => {
                self.open.lock = take_lock(&self.path, &self.open.directory, self.access)
                    .map_err(io::Error::other)?
            }
            Place::Elsewhere => {
                make(&self.path)?;
                self.open = Open::new(&self.path, self.access).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    fn identity(&self) -> (u64, u64) {
        self.open.identity
    }

    fn salt(&mut self) -> u64 {
        any_number()
    }
}

/// Takes a lock, and retries when a signal interrupts: the call may wait for a server (NFS).
fn lock_file(mut file: OwnedFd, wanted: FlockArg) -> Result<Flock<OwnedFd>, (OwnedFd, Errno)> {
    loop {
        match Flock::lock(file, wanted) {
            Err((same, Errno::EINTR)) => file = same,
            outcome => return outcome,
        }
    }
}

/// A random number, different in each process.
#[must_use]
pub(crate) fn any_number() -> u64 {
    // std seeds it from getrandom(2), and has a fallback where that is missing.
    RandomState::new().build_hasher().finish()
}

/// Retries a call that a signal interrupted, for callers that need only an `io::Error`.
fn again<T>(call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    again_errno(call).map_err(io::Error::from)
}

/// Creates a directory (0700) and its missing parents (0755), durably.
fn make(path: &Path) -> io::Result<()> {
    make_with(path, Mode::S_IRWXU)
}

fn make_with(path: &Path, mode: Mode) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    let mut made = again(|| mkdir(path, mode));
    if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        make_with(parent, Mode::from_bits_truncate(0o755))?;
        made = again(|| mkdir(path, mode));
    }
    match made {
        Ok(()) => {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            // A user who may not read the parent may still be allowed to create a directory in it.
            if let Ok(parent) = again(|| nix::fcntl::open(parent, flags, Mode::empty())) {
                again(|| fsync(&parent))?;
            }
            Ok(())
        }
        // Also when it is not a directory: opening it reports that.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a name that must be a regular file, without waiting for whatever else is there, and never
/// through a link.
fn open_regular(directory: &OwnedFd, name: &str, access: OFlag) -> io::Result<OwnedFd> {
    let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let refused = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    let opened = again_errno(|| openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR));
    let file = match opened {
        Err(Errno::ELOOP) => return refused("it is a symbolic link"),
        Err(Errno::EISDIR) => return refused("it is a directory"),
        opened => opened?,
    };
    match fstat(&file)?.st_mode & libc::S_IFMT {
        libc::S_IFREG => Ok(file),
        libc::S_IFDIR => refused("it is a directory"),
        _ => refused("it is no regular file"),
    }
}

fn open_lock(directory: &OwnedFd, access: Access) -> io::Result<Option<OwnedFd>> {
    if access != Access::Look {
        return open_regular(directory, LOCK, OFlag::O_RDWR | OFlag::O_CREAT).map(Some);
    }
    match open_regular(directory, LOCK, OFlag::O_RDONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// The process whose id the lock file contains, unless that process is gone. Then the id is a
/// leftover, and the holder is not known.
fn living_process(lock: &OwnedFd) -> Option<i32> {
    let mut text = [0; 16];
    let len = pread(lock, &mut text, 0).ok()?;
    let pid: i32 =
        std::str::from_utf8(&text[..len]).ok()?.trim_end().parse().ok().filter(|&pid| pid > 0)?;
    (kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)).then_some(pid)
}

#[cfg(test)]
mod tests;
