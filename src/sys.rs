//! The boundary to the operating system: the [`FileSystem`] seam, its Linux implementation, and the
//! only `unsafe`.
//!
//! In: paths as bytes, positions, buffers. Out: plain values and `io::Error` with the errno of the
//! call that failed.
//! Always holds: nothing here makes decisions; each method makes one system call, or a few that its
//! docs name.

pub(crate) mod again;
pub(crate) mod attribute;
mod beneath;
pub mod clock;
pub(crate) mod descriptor;
pub(crate) mod disk;
pub(crate) mod failure;
pub(crate) mod file;
mod handle;
pub(crate) mod host;
pub(crate) mod inotify;
pub(crate) mod interpret;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod lock;
pub(crate) mod memory;
mod mount_table;
mod name;
pub(crate) mod process;
pub(crate) mod resolver;
pub(crate) mod scheduling;
pub(crate) mod signal;
pub(crate) mod socket;
mod stat;
mod statx;
pub(crate) mod text;
pub(crate) mod trust;
pub(crate) mod user;

pub use file::Linux;

use std::io;
use std::time::SystemTime;

use crate::file_systems::FileSystemType;

/// Which symbolic links on a path are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// All but one at the end of the path (`O_NOFOLLOW`): a call there is about the link itself,
    /// which is never opened. For paths above every PATH.
    Keep,
    /// All.
    Follow,
    /// None behind the first so many bytes of the path, which name a trusted directory and end with
    /// its slash: the owner of what is below may replace any of it with a link at any moment
    /// (`openat2(2)` with `RESOLVE_NO_SYMLINKS`). A link in the middle is `ENOTDIR`, as a file
    /// would be. A call is about a link at the end itself, which is never opened, listed or
    /// watched.
    Beneath(usize),
    /// Some of those behind the trusted part, up to a position behind which none is followed.
    Guarded(Guard),
}

/// Which links are followed on a path that leads through links made by users. The path is walked
/// component by component, and each link is judged by itself. A link that may not be followed is
/// `ELOOP`; [`FileSystem::refused_link`] tells why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// As in [`Links::Beneath`].
    pub trusted: usize,
    /// No link is followed behind this many bytes of the path.
    pub followed: usize,
    /// Which links are followed between the two.
    pub rule: LinkRule,
}

/// Which links made by users are followed. Links in a procfs never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRule {
    /// Links made by root, and links whose owner also owns the target.
    Owner,
    /// All.
    Any,
}

/// The user id that stands for every user unknown in this namespace
/// (`/proc/sys/kernel/overflowuid`, user_namespaces(7)). Two files of this owner may belong to
/// different users.
pub(crate) const NOBODY: u32 = 65_534;

/// Whether two owners are certainly one user.
#[must_use]
pub(crate) fn is_same_user(one: u32, other: u32) -> bool {
    one == other && one != NOBODY
}

impl LinkRule {
    /// Whether a link of `owner` may be followed to a file of `target_owner`.
    #[must_use]
    pub fn allows(self, owner: u32, target_owner: u32) -> bool {
        self == LinkRule::Any || owner == 0 || is_same_user(owner, target_owner)
    }
}

/// A link that may not be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedLink {
    /// The owner of the link.
    pub owner: u32,
    /// The owner of its target; `None`: the link is in a procfs.
    pub target_owner: Option<u32>,
}

/// The kind of a directory entry, as far as following files needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file: the only kind that is ever opened.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link that was not followed.
    Link,
    /// A FIFO, socket or device.
    Special,
    /// The file system does not say (`DT_UNKNOWN`); only from listings.
    Unknown,
}

/// The identity of a file: device, inode, and a number that distinguishes two lives of one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// The inode's generation from `name_to_handle_at(2)`, or a digest of its birth time where the
    /// file system has no handles.
    pub inode_generation: u32,
}

impl FileId {
    /// Whether this is certainly another life of the same inode, also on an overlay. Only handles
    /// prove it: a file that is copied up gets a new birth time.
    #[must_use]
    pub fn is_other_life(self, other: FileId) -> bool {
        let is_told = handle::is_of_overlay(self.inode_generation)
            && handle::is_of_overlay(other.inode_generation);
        is_told && self.inode_generation != other.inode_generation
    }
}

/// What one look at a file returns: everything the engine ever asks of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The identity.
    pub id: FileId,
    /// Regular file, directory, or something else, which is not followed.
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
    /// Number of hard links.
    pub links: u64,
    /// Last modification, as the file system reports it.
    pub modified: SystemTime,
    /// `st_uid`.
    pub owner: u32,
}

/// What `fstat(2)` reports of an open file. It does not distinguish the lives of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenInode {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Whether it is a regular file, so that no read waits for a writer.
    pub is_regular: bool,
    /// Length in bytes.
    pub size: u64,
    /// Last modification, as the file system reports it.
    pub modified: SystemTime,
    /// Last change of the inode, likewise.
    pub changed: SystemTime,
    /// `st_uid`.
    pub owner: u32,
}

/// A life of an inode that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownLife {
    /// As in [`FileId`].
    pub inode_generation: u32,
    /// When it was seen.
    pub seen_at: SystemTime,
}

/// Whether a watch reports that a file that was open for writing is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closes {
    /// It does: one event more for each writer.
    Reported,
    /// It does not.
    Unreported,
}

/// The kernel's number for a watched directory: the `wd` of `inotify_add_watch(2)`. Equal inodes
/// have equal numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub i32);

/// Most bytes of a file name: `NAME_MAX` of limits.h.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Most links that the kernel follows on one path (`MAXSYMLINKS`, path_resolution(7)).
pub(crate) const LINKS_MAX: usize = 40;

/// The errno of a path below a PATH that is in a mount made by a user other than root. Nothing
/// there is looked at, because that user's program decides when a call returns.
pub(crate) const USER_MOUNT: i32 = nix::libc::EXDEV;

/// Everything the engine asks of the operating system.
///
/// # What a call must do
/// * Answer about one file, though names are given to other files at any moment: all of a [`Stat`]
///   is of the same inode.
/// * Follow only the links that its [`Links`] allow.
/// * Never wait for the writer of a FIFO.
///
/// # What a call may do
/// * Take as long as a disk or a file server takes.
/// * Keep directories open until the next [`FileSystem::read_events`].
///
/// # Limits
/// Paths are bytes without NUL, absolute or relative to the current directory, of at most
/// `PATH_MAX` bytes. Names are at most [`NAME_BYTES_MAX`] bytes long.
///
/// # Errors
/// Errors keep their errno (`io::Error::raw_os_error`), because the engine distinguishes ENOENT,
/// EACCES and EMFILE. Each method returns those of the calls that its docs name. Beyond them, a
/// path in a user's mount is [`USER_MOUNT`], and a link that may not be followed is as [`Links`]
/// describes. `EINTR` may be returned, except by [`FileSystem::read_events`].
///
/// No method has a default: a simulated kernel without one would leave the code that depends on it
/// untested.
pub trait FileSystem {
    /// An open regular file. Dropping it closes it.
    type File;
    /// A directory listing in progress. Dropping it closes it.
    type Listing;

    /// `statx(2)` and `name_to_handle_at(2)`: looks at the file that `path` names.
    fn stat(&mut self, path: &[u8], links: Links) -> io::Result<Stat>;
    /// Like [`FileSystem::stat`], but makes only the `statx(2)` if `life` knows a life of this
    /// device and inode that was seen after the inode's birth: then it is still that life.
    fn stat_known(
        &mut self,
        path: &[u8],
        links: Links,
        life: &mut dyn FnMut(u64, u64) -> Option<KnownLife>,
    ) -> io::Result<Stat>;
    /// `statfs(2)`: the type of the file system that contains the file at `path`.
    fn file_system(&mut self, path: &[u8], links: Links) -> io::Result<FileSystemType>;
    /// `open(2)` for reading, without blocking, and without changing the access time where that is
    /// allowed.
    fn open(&mut self, path: &[u8], links: Links) -> io::Result<Self::File>;
    /// `fstat(2)` and `name_to_handle_at(2)`: looks at an open file. The answer is about the open
    /// inode, whatever its name is now.
    fn stat_file(&mut self, file: &Self::File) -> io::Result<Stat>;
    /// `fstat(2)` alone: the inode that is open, as far as one call reports it.
    fn inode_of(&mut self, file: &Self::File) -> io::Result<OpenInode>;
    /// `pread(2)`: up to `buffer.len()` bytes from `offset`. Returns fewer only at the end of the
    /// file (or after a fault), and 0 at or past the end.
    fn read_at(&mut self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// `lseek(2)` with `SEEK_DATA`: the first byte at or after `offset` that is data. `None`: only
    /// a hole follows, or the end.
    fn data_from(&mut self, file: &Self::File, offset: u64) -> io::Result<Option<u64>>;
    /// `lseek(2)` with `SEEK_HOLE`: the first byte at or after `offset` that is in a hole. The end
    /// of the file counts as a hole.
    fn hole_from(&mut self, file: &Self::File, offset: u64) -> io::Result<u64>;
    /// `opendir(3)`: starts to list a directory.
    fn list(&mut self, path: &[u8], links: Links) -> io::Result<Self::Listing>;
    /// `readdir(3)`: writes the name of the next entry into `name` (replacing its content) and
    /// returns its kind. Skips `.` and `..`. `None` at the end.
    fn next_entry(
        &mut self,
        listing: &mut Self::Listing,
        name: &mut Vec<u8>,
    ) -> io::Result<Option<FileKind>>;
    /// The inode of the last entry from [`FileSystem::next_entry`], as the directory reports it;
    /// 0: not known.
    fn entry_inode(&self, listing: &Self::Listing) -> u64;
    /// `inotify_add_watch(2)` on a directory with the mask [`inotify::WATCH_MASK`], and
    /// `IN_CLOSE_WRITE` if closes are reported. The same inode always gets the same number.
    ///
    /// `EMFILE` means `fs.inotify.max_user_instances`, and `ENFILE` a shortage of descriptors.
    /// `EOPNOTSUPP`: `/proc` is not mounted, through which a directory below a trusted one is
    /// watched. `ENOSYS`: the system has no inotify, or refuses it.
    fn watch(&mut self, path: &[u8], links: Links, closes: Closes) -> io::Result<WatchId>;
    /// Like [`FileSystem::watch`] with the mask [`inotify::NAMES_MASK`], which is added to an
    /// existing watch of this inode: reports names that come, go and change in the directory, and
    /// the directory's own end. A link at the end of the path is not followed.
    fn watch_names(&mut self, path: &[u8]) -> io::Result<WatchId>;
    /// Like [`FileSystem::watch`] with the mask [`inotify::SELF_MASK`] alone: reports what happens
    /// to the directory itself, not what happens in it.
    fn watch_self(&mut self, path: &[u8]) -> io::Result<WatchId>;
    /// `inotify_rm_watch(2)`. A watch that the kernel has already dropped is not an error.
    fn unwatch(&mut self, watch: WatchId);
    /// `read(2)` of queued events, in the layout of `struct inotify_event` (see
    /// [`inotify::Events`]). Never blocks: 0 means that the queue is empty. Fewer bytes than
    /// `buffer.len() - inotify::EVENT_BYTES_MAX` mean that the call emptied the queue.
    fn read_events(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// `readlink(2)`: the target of a symbolic link.
    fn read_link(&mut self, path: &[u8]) -> io::Result<Vec<u8>>;
    /// The mounts that this process sees: the text of `/proc/self/mountinfo`,
    /// proc_pid_mountinfo(5).
    fn mounts(&mut self) -> io::Result<Vec<u8>>;
    /// `realpath(3)`: the path with all links resolved that may be followed.
    fn canonical(&mut self, path: &[u8], links: Links) -> io::Result<Vec<u8>>;
    /// Why a call with [`Links::Guarded`] failed: the first link on the path that may not be
    /// followed, if there is one now.
    fn refused_link(&mut self, path: &[u8], guard: Guard) -> Option<RefusedLink>;
}

/// The directory of the journal: every call that can fail when offsets are stored, so that a
/// simulation can make it fail.
///
/// # What a call must do
/// * Do one thing, or nothing: only [`Disk::append`] may do a part of its work.
/// * Retry after `EINTR`.
/// * Keep open files usable, whatever happens to their names.
///
/// # What a call may do
/// * Take as long as the disk takes.
/// * Leave everything in the page cache, except [`Disk::sync`] for bytes and
///   [`Disk::sync_directory`] for names.
///
/// # Limits
/// Names are plain file names: no slash, not `.` or `..`. Only regular files are opened, and no
/// link is followed.
///
/// # Errors
/// Those of the calls that each method's docs name. After an error of [`Disk::sync`] or
/// [`Disk::append`] it is not known which bytes reached the disk.
pub trait Disk {
    /// An open file.
    type File;

    /// `readdir(3)`: all names, without `.` and `..`.
    fn list(&mut self) -> io::Result<Vec<Vec<u8>>>;
    /// `open(2)`: opens an existing regular file for reading and appending.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;
    /// `unlink(2)`, then `open(2)` with `O_CREAT` and `O_EXCL`: creates a file (mode 0600) for
    /// reading and appending. A leftover of that name is replaced.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;
    /// `pread(2)`: reads up to `buffer.len()` bytes at `offset`. Returns 0 only at the end.
    fn read_at(&mut self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// `write(2)` with `O_APPEND`: may write only a part, and returns how many bytes.
    fn append(&mut self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;
    /// `pwrite(2)`: writes over bytes of the file from `offset` on. May write only a part, and
    /// returns how many bytes.
    fn overwrite(&mut self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// `ftruncate(2)`: cuts the file to `len` bytes.
    fn truncate(&mut self, file: &Self::File, len: u64) -> io::Result<()>;
    /// `fdatasync(2)`: makes the file's bytes durable.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    /// `rename(2)` within the directory, atomically. An existing `to` is replaced.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// `unlink(2)`: removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// `fsync(2)` of the directory: makes its names durable.
    fn sync_directory(&mut self) -> io::Result<()>;
    /// `stat(2)` and `fstatat(2)`: whether the directory's path still leads to this directory, and
    /// whether the lock in it is still the one that is held.
    fn place(&mut self) -> io::Result<Place>;
    /// `fstatat(2)`: whether the name in the directory stands for this open file.
    fn is_named(&mut self, name: &str, file: &Self::File) -> io::Result<bool>;
    /// Opens the directory to which the path leads now, creating it if there is none, and takes the
    /// lock in it (flock(2)). Does nothing if both are in place. After an error, what was open
    /// stays open.
    fn reopen(&mut self) -> io::Result<()>;
    /// Device and inode of the directory.
    fn identity(&self) -> (u64, u64);
    /// A random number, so that nobody can guess a valid frame.
    fn salt(&mut self) -> u64;
}

/// Where an open state directory is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its path leads to it, and the lock in it is the one that this process holds.
    Here,
    /// Its path leads nowhere, or to another directory.
    Elsewhere,
    /// The lock was removed, or another file has its name.
    Unlocked,
}
