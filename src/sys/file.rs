//! Linux: the production side of the [`FileSystem`] seam.
//!
//! In: paths and buffers. Out: the kernel's answers, with one or two system calls per method.
//! Always holds: no call here waits for the writer of a FIFO.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use hashbrown::{HashMap, HashSet};
use inotify::{Inotify, WatchDescriptor, WatchMask};
use nix::dir::{Dir, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::Whence;

use super::beneath::{Beneath, or_dot};
use super::descriptor::proc_path;
use super::inotify::{NAMES_MASK, SELF_MASK, mask};
use crate::file_systems::{FileSystemType, Sight};

use super::beneath::Stopped;
use super::host::Wanted;
use super::mount_table::MountTable;
use super::name::Name;
pub use super::stat::OpenFile;
use super::stat::{Found, stat_of, stat_open};
use super::{
    Closes, FileId, FileKind, FileSystem, Guard, KnownLife, Links, OpenInode, RefusedLink, Stat,
    WatchId,
};

/// The real kernel: one inotify instance, created for the first watch, and the file system calls.
#[derive(Debug)]
pub struct Linux {
    inotify: Option<Inotify>,
    /// The inotify crate removes watches only by its own descriptor type.
    watches: HashMap<i32, WatchDescriptor>,
    /// Cleared when the kernel refuses `O_NOATIME` (not the owner and no `CAP_FOWNER`, open(2)).
    keep_access_time: bool,
    beneath: Beneath,
    /// The directory of the last look, because looks come directory by directory. Closed together
    /// with those of `beneath`.
    looked_in: Option<LookedIn>,
    mounts: Option<MountTable>,
    /// Devices without a driver's number whose file systems ask no server: tmpfs, Btrfs, ZFS.
    /// Forgotten when the table of mounts is read again.
    local: HashSet<u64>,
}

/// A directory below a trusted one, and the path by which it was opened, with a slash at its end.
#[derive(Debug)]
struct LookedIn {
    path: Vec<u8>,
    links: Links,
    directory: Rc<OwnedFd>,
}

/// How many such devices are remembered.
const LOCAL_MAX: usize = 1024;

impl Linux {
    /// Makes no system call yet.
    #[must_use]
    pub fn new() -> Self {
        Linux {
            inotify: None,
            watches: HashMap::new(),
            keep_access_time: true,
            beneath: Beneath::default(),
            looked_in: None,
            mounts: None,
            local: HashSet::new(),
        }
    }

    /// The descriptor to poll for events, once there is a watch.
    #[must_use]
    pub fn events_descriptor(&self) -> Option<RawFd> {
        self.inotify.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The descriptor that has `EPOLLPRI` when a file system was mounted or unmounted. `None` until
    /// the table of mounts is read for the first time.
    #[must_use]
    pub fn mounts_descriptor(&self) -> Option<RawFd> {
        self.mounts.as_ref().map(MountTable::descriptor)
    }

    /// Checks whether the effective user may read or list the file at this path, access(2). The
    /// answer is about the file that is there at this moment.
    ///
    /// # Errors
    /// `EACCES` if not, and those of opening the path.
    pub fn may(&mut self, path: &[u8], links: Links, wanted: Wanted) -> io::Result<()> {
        let found = self.open_with(path, links, OFlag::O_PATH | OFlag::O_CLOEXEC)?;
        super::host::may(Path::new(&proc_path(&found)), wanted)
    }

    fn watch_for(&mut self, path: &[u8], wanted: u32) -> io::Result<WatchId> {
        let wanted = WatchMask::from_bits_retain(wanted);
        let watch = self
            .inotify()?
            .watches()
            .add(OsStr::from_bytes(or_dot(path)), wanted)
            .map_err(without_inotify)?;
        let id = watch.get_watch_descriptor_id();
        self.watches.insert(id, watch);
        Ok(WatchId(id))
    }

    fn open_with(&mut self, path: &[u8], links: Links, flags: OFlag) -> io::Result<OwnedFd> {
        match links {
            Links::Beneath(trusted) => self.beneath.open(path, trusted, flags),
            Links::Guarded(guard) => self.beneath.open_guarded(path, guard, flags),
            Links::Keep => {
                Ok(nix::fcntl::open(or_dot(path), flags | OFlag::O_NOFOLLOW, Mode::empty())?)
            }
            Links::Follow => Ok(nix::fcntl::open(or_dot(path), flags, Mode::empty())?),
        }
    }

    /// Closes the directories that are open for the calls of this turn, so that a sleeping process
    /// keeps no file system from being unmounted.
    pub fn release(&mut self) {
        self.beneath.release();
        self.looked_in = None;
    }

    /// A path in the form that `statx(2)` and `name_to_handle_at(2)` take.
    fn name<'a>(&mut self, path: &'a [u8], links: Links) -> io::Result<Name<'a>> {
        let end = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
        match links {
            Links::Keep | Links::Follow => return Ok(Name::Path(path, links)),
            // Only the name itself is not trusted.
            Links::Beneath(trusted) if end <= trusted => {
                return Ok(Name::Entry(None, CString::new(path)?));
            }
            Links::Guarded(guard) if guard.followed >= path.len() => {
                return Ok(Name::Open(OpenFile(
                    self.open_with(path, links, OFlag::O_PATH)?.into(),
                )));
            }
            Links::Beneath(_) | Links::Guarded(_) => {}
        }
        Ok(Name::Entry(Some(self.directory(&path[..end], links)?), CString::new(&path[end..])?))
    }

    /// Opens a directory for looks at its entries. If it is renamed meanwhile, it is still used, as
    /// if the look had come earlier.
    fn directory(&mut self, path: &[u8], links: Links) -> io::Result<Rc<OwnedFd>> {
        if let Some(last) = &self.looked_in
            && last.path == path
            && last.links == links
        {
            return Ok(Rc::clone(&last.directory));
        }
        let directory = Rc::new(self.open_with(path, links, OFlag::O_PATH | OFlag::O_DIRECTORY)?);
        self.looked_in =
            Some(LookedIn { path: path.to_vec(), links, directory: Rc::clone(&directory) });
        Ok(directory)
    }

    /// Looks at what a path names.
    fn look<'a>(&mut self, path: &'a [u8], links: Links) -> io::Result<(Name<'a>, Found)> {
        let name = self.name(path, links)?;
        let found = name.look()?;
        if !matches!(name, Name::Entry(..)) || (!found.is_mount_root && self.is_local(found.device))
        {
            return Ok((name, found));
        }
        // A look by a descriptor enters no mount made by a user, and gets fresh values from a
        // server.
        let file = self.open_with(path, links, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        let kind = nix::sys::statfs::fstatfs(&file).map(type_of);
        let name = Name::Open(OpenFile(file.into()));
        let found = name.look()?;
        if kind.is_ok_and(|kind| kind.name().is_some() && kind.sight() == Sight::Full)
            && self.local.len() < LOCAL_MAX
        {
            self.local.insert(found.device);
        }
        Ok((name, found))
    }

    /// Whether a look at a file on this device asks no server and no process: it is a block device,
    /// or its file system was found to be local.
    fn is_local(&self, device: u64) -> bool {
        nix::libc::major(device) != 0 || self.local.contains(&device)
    }

    /// The inotify instance. `EMFILE`: `fs.inotify.max_user_instances` or the descriptor limit is
    /// reached (`inotify_init(2)`). `ENOSYS`: there is no inotify.
    fn inotify(&mut self) -> io::Result<&mut Inotify> {
        if self.inotify.is_none() {
            self.inotify = Some(Inotify::init().map_err(without_inotify)?);
        }
        Ok(self.inotify.as_mut().expect("just made"))
    }
}

impl Default for Linux {
    fn default() -> Self {
        Linux::new()
    }
}

/// The clock of file time stamps may lag this much behind the one that programs read: two ticks at
/// 100 Hz.
pub const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Device and inode of the file behind a descriptor, if it is a regular file.
#[must_use]
pub(crate) fn regular_file(descriptor: impl AsFd) -> Option<(u64, u64)> {
    let found = nix::sys::stat::fstat(descriptor).ok()?;
    (found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG)
        .then_some((found.st_dev, found.st_ino))
}

/// The identity of the file behind a descriptor, as [`FileSystem::stat`] gives it for a name.
///
/// # Errors
/// Those of `fstat(2)`, `statx(2)` and `name_to_handle_at(2)`.
pub(crate) fn identity(descriptor: impl AsFd) -> io::Result<FileId> {
    Ok(stat_open(&OpenFile(descriptor.as_fd().try_clone_to_owned()?.into()))?.id)
}

/// A directory listing in progress.
pub struct Listing {
    entries: OwningIter,
    /// Of the last entry.
    inode: u64,
}

impl FileSystem for Linux {
    type File = OpenFile;
    type Listing = Listing;

    fn stat(&mut self, path: &[u8], links: Links) -> io::Result<Stat> {
        let (name, found) = self.look(path, links)?;
        name.identify(&found)
    }

    fn stat_known(
        &mut self,
        path: &[u8],
        links: Links,
        life: &mut dyn FnMut(u64, u64) -> Option<KnownLife>,
    ) -> io::Result<Stat> {
        let (name, found) = self.look(path, links)?;
        let born = found.born.and_then(|born| born.checked_add(CLOCK_TICK));
        match life(found.device, found.inode) {
            Some(known) if born.is_some_and(|born| born < known.seen_at) => {
                let mut stat = stat_of(&found, None);
                stat.id.inode_generation = known.inode_generation;
                Ok(stat)
            }
            _ => name.identify(&found),
        }
    }

    fn file_system(&mut self, path: &[u8], links: Links) -> io::Result<FileSystemType> {
        let found = match links {
            Links::Beneath(_) | Links::Guarded(_) => {
                nix::sys::statfs::fstatfs(self.open_with(path, links, OFlag::O_PATH)?)?
            }
            Links::Keep | Links::Follow => nix::sys::statfs::statfs(or_dot(path))?,
        };
        Ok(type_of(found))
    }

    fn open(&mut self, path: &[u8], links: Links) -> io::Result<OpenFile> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        if self.keep_access_time {
            match self.open_with(path, links, flags | OFlag::O_NOATIME) {
                Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => {
                    self.keep_access_time = false
                }
                outcome => return Ok(OpenFile(outcome?.into())),
            }
        }
        Ok(OpenFile(self.open_with(path, links, flags)?.into()))
    }

    fn stat_file(&mut self, file: &OpenFile) -> io::Result<Stat> {
        stat_open(file)
    }

    fn inode_of(&mut self, file: &OpenFile) -> io::Result<OpenInode> {
        let found = nix::sys::stat::fstat(file)?;
        let time = |seconds: i64, nanos: i64| {
            SystemTime::UNIX_EPOCH
                + Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0))
        };
        Ok(OpenInode {
            device: found.st_dev,
            inode: found.st_ino,
            is_regular: found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG,
            size: found.st_size.cast_unsigned(),
            modified: time(found.st_mtime, found.st_mtime_nsec),
            changed: time(found.st_ctime, found.st_ctime_nsec),
            owner: found.st_uid,
        })
    }

    fn read_at(&mut self, file: &OpenFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(nix::sys::uio::pread(file, buffer, offset.cast_signed())?)
    }

    fn data_from(&mut self, file: &OpenFile, offset: u64) -> io::Result<Option<u64>> {
        match nix::unistd::lseek(file, offset.cast_signed(), Whence::SeekData) {
            Ok(at) => Ok(Some(at.cast_unsigned())),
            Err(Errno::ENXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn hole_from(&mut self, file: &OpenFile, offset: u64) -> io::Result<u64> {
        match nix::unistd::lseek(file, offset.cast_signed(), Whence::SeekHole) {
            Ok(at) => Ok(at.cast_unsigned()),
            Err(Errno::ENXIO) => Ok(offset),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&mut self, path: &[u8], links: Links) -> io::Result<Listing> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        Ok(Listing {
            entries: Dir::from_fd(self.open_with(path, links, flags)?)?.into_iter(),
            inode: 0,
        })
    }

    fn next_entry(
        &mut self,
        listing: &mut Listing,
        name: &mut Vec<u8>,
    ) -> io::Result<Option<FileKind>> {
        loop {
            let Some(entry) = listing.entries.next() else { return Ok(None) };
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            name.clear();
            name.extend_from_slice(bytes);
            listing.inode = entry.ino();
            return Ok(Some(match entry.file_type() {
                Some(Type::File) => FileKind::Regular,
                Some(Type::Directory) => FileKind::Directory,
                Some(Type::Symlink) => FileKind::Link,
                Some(_) => FileKind::Special,
                None => FileKind::Unknown,
            }));
        }
    }

    fn entry_inode(&self, listing: &Listing) -> u64 {
        listing.inode
    }

    fn watch(&mut self, path: &[u8], links: Links, closes: Closes) -> io::Result<WatchId> {
        let wanted = closes.watch_mask();
        match links {
            Links::Beneath(_) | Links::Guarded(_) => {
                let directory = self
                    .open_with(path, links, OFlag::O_PATH | OFlag::O_DIRECTORY)
                    .map_err(not_an_instance)?;
                self.watch_for(proc_path(&directory).as_bytes(), wanted).map_err(without_proc)
            }
            Links::Keep => self.watch_for(path, wanted | mask::DONT_FOLLOW),
            Links::Follow => self.watch_for(path, wanted),
        }
    }

    fn watch_names(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.watch_for(path, NAMES_MASK)
    }

    fn watch_self(&mut self, path: &[u8]) -> io::Result<WatchId> {
        self.watch_for(path, SELF_MASK)
    }

    fn unwatch(&mut self, watch: WatchId) {
        if let Some(known) = self.watches.remove(&watch.0) {
            // EINVAL: the directory was removed first, and its watch with it.
            let _ = self.inotify.as_mut().map(|inotify| inotify.watches().remove(known));
        }
    }

    fn read_events(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.release();
        let Some(inotify) = &self.inotify else { return Ok(0) };
        loop {
            match nix::unistd::read(inotify, buffer) {
                Ok(bytes) => return Ok(bytes),
                Err(Errno::EAGAIN) => return Ok(0),
                // epoll reported the queued events already and will not report them again.
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read_link(&mut self, path: &[u8]) -> io::Result<Vec<u8>> {
        Ok(nix::fcntl::readlink(path)?.into_vec())
    }

    fn mounts(&mut self) -> io::Result<Vec<u8>> {
        self.local.clear();
        match &self.mounts {
            Some(table) => table.read(),
            None => self.mounts.insert(MountTable::open()?).read(),
        }
    }

    fn canonical(&mut self, path: &[u8], links: Links) -> io::Result<Vec<u8>> {
        match links {
            Links::Follow => Ok(Path::new(OsStr::from_bytes(or_dot(path)))
                .canonicalize()?
                .into_os_string()
                .into_vec()),
            _ => path_of(&self.open_with(path, links, OFlag::O_PATH | OFlag::O_CLOEXEC)?),
        }
    }

    fn refused_link(&mut self, path: &[u8], guard: Guard) -> Option<RefusedLink> {
        match self.beneath.reach(path, guard) {
            Err(Stopped::Refused(refused)) => Some(refused),
            Err(Stopped::Failed(_)) | Ok(_) => None,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "32 bits in a wider field, statfs(2)"
)]
fn type_of(found: nix::sys::statfs::Statfs) -> FileSystemType {
    FileSystemType(found.filesystem_type().0 as u32)
}

/// The present path of an open file.
fn path_of(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let path = nix::fcntl::readlink(proc_path(file).as_str())?.into_vec();
    // The kernel appends a word to the path of a deleted file, and puts one before a path that this
    // process cannot reach.
    if path.starts_with(b"/") && nix::sys::stat::fstat(file)?.st_nlink > 0 {
        Ok(path)
    } else {
        Err(Errno::ENOENT.into())
    }
}

/// For a watch, `EMFILE` means the limit of inotify instances. A shortage of descriptors becomes
/// `ENFILE`.
fn not_an_instance(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(nix::libc::EMFILE) { Errno::ENFILE.into() } else { error }
}

/// Without `/proc` no directory can be watched by its descriptor. The error must not look as if the
/// directory were missing.
fn without_proc(error: io::Error) -> io::Error {
    let is_missing =
        error.raw_os_error() == Some(nix::libc::ENOENT) && !Path::new("/proc/self/fd").exists();
    if is_missing { Errno::EOPNOTSUPP.into() } else { error }
}

/// For kernels without inotify and sandboxes that refuse it (seccomp(2)). The inotify calls return
/// `ENOSYS` and `EPERM` for no other reason.
fn without_inotify(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(nix::libc::EPERM) { Errno::ENOSYS.into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A look is one call for the inode and one for its handle; between the two, a name may be
    /// given to another file.
    #[test]
    fn a_look_at_a_name_that_changes_hands_tells_of_one_file() {
        let world = tempfile::tempdir().expect("a directory");
        let directory = world.path().join("d");
        std::fs::create_dir(&directory).expect("mkdir");
        let [one, other] = ["one", "other"].map(|name| directory.join(name));
        let mut linux = Linux::new();
        let trusted = world.path().as_os_str().len() + 1;
        let ways =
            [Links::Keep, Links::Follow, Links::Beneath(trusted), Links::Beneath(trusted + 2)];
        let files = [&one, &other].map(|path| {
            std::fs::write(path, "").expect("a file");
            linux.stat(path.as_os_str().as_bytes(), Links::Keep).expect("a look").id
        });
        let is_over = AtomicBool::new(false);
        let seen: Vec<FileId> = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE)
                        .expect("mv --exchange");
                }
            });
            let looks = (0..40_000)
                .map(|round| linux.stat(one.as_os_str().as_bytes(), ways[round % ways.len()]));
            let seen = looks.map(|look| look.map(|stat| stat.id)).collect::<io::Result<Vec<_>>>();
            is_over.store(true, Ordering::Relaxed);
            seen.expect("there is always a file")
        });
        assert!(files.iter().all(|file| seen.contains(file)), "the name changed hands");
        let wrong = seen.iter().filter(|file| !files.contains(file)).count();
        assert_eq!(wrong, 0, "of {} looks", seen.len());
    }
}
