//! The wall to the operating system: the [`FileSystem`] seam, its Linux implementation, and the
//! only `unsafe`.
//!
//! In: paths as bytes, positions, buffers. Out: plain values and `io::Error` with the errno of the
//! call that failed.
//! Always holds: nothing here decides anything; every call is one system call or a documented few.

pub mod attribute;
mod beneath;
pub mod clock;
pub mod descriptor;
pub mod disk;
pub mod failure;
pub mod file;
mod handle;
pub mod host;
pub mod inotify;
pub(crate) mod interpret;
pub mod lock;
pub mod memory;
mod mount_table;
mod name;
pub mod process;
pub mod resolver;
pub mod scheduling;
pub mod signal;
pub mod socket;
mod stat;
mod statx;
pub(crate) mod text;
pub mod trust;
pub mod user;

pub use file::Linux;

use std::io;
use std::time::SystemTime;

use crate::file_systems::FileSystemType;

/// Which symbolic links on a path are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// All but one at the end of the path (`O_NOFOLLOW`): that is looked at itself, and never
    /// opened. For paths that lie above every PATH.
    Keep,
    /// All.
    Follow,
    /// None behind the first so many bytes of the path, which name a trusted directory and end with
    /// its slash: whoever owns what is below may exchange any of it for a link at any moment
    /// (`openat2(2)` with `RESOLVE_NO_SYMLINKS`). A link in the middle is `ENOTDIR`, as a file
    /// would be; one at the end is looked at itself, and never opened, listed or watched.
    Beneath(usize),
    /// Some of those behind the trusted part, up to a part behind which none is.
    Guarded(Guard),
}

/// Which links are followed on a path that leads through links that users made: component by
/// component, and each on its own. One that may not be followed is `ELOOP`, and
/// [`FileSystem::refused_link`] tells why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// As of [`Links::Beneath`].
    pub trusted: usize,
    /// Behind so many bytes of the path no link is followed.
    pub followed: usize,
    /// Which ones are, between the two.
    pub rule: LinkRule,
}

/// Which links that users made are followed. One of a procfs never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRule {
    /// Those that root made, and those whose owner owns what they lead to.
    Owner,
    /// All.
    Any,
}

/// The user that stands for those that are not known here (`/proc/sys/kernel/overflowuid`,
/// user_namespaces(7)): two of them need not be the same.
pub const NOBODY: u32 = 65_534;

/// Whether two owners are certainly one user.
#[must_use]
pub fn is_same_user(one: u32, other: u32) -> bool {
    one == other && one != NOBODY
}

impl LinkRule {
    /// Whether a link of this owner may be followed to what that other one owns.
    #[must_use]
    pub fn allows(self, owner: u32, target_owner: u32) -> bool {
        self == LinkRule::Any || owner == 0 || is_same_user(owner, target_owner)
    }
}

/// A link that may not be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedLink {
    /// Who owns it.
    pub owner: u32,
    /// Who owns what it leads to; `None`: it is one of a procfs.
    pub target_owner: Option<u32>,
}

/// What a directory entry is, as far as following files needs to know.
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

/// Which file a name stands for: device, inode, and what tells two lives of one inode apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// The inode's generation from `name_to_handle_at(2)`, or a digest of its birth time where
    /// handles are not to be had.
    pub inode_generation: u32,
}

impl FileId {
    /// Whether this is for certain another life of the same inode, on an overlay too: handles tell,
    /// birth times do not, since a file that is copied up is born again.
    #[must_use]
    pub fn is_other_life(self, other: FileId) -> bool {
        let is_told = handle::is_of_overlay(self.inode_generation)
            && handle::is_of_overlay(other.inode_generation);
        is_told && self.inode_generation != other.inode_generation
    }
}

/// One look at a file: everything the engine ever asks of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The identity.
    pub id: FileId,
    /// Regular file, directory, or something that is not followed.
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
    /// Number of hard links.
    pub links: u64,
    /// Last modification, as the file system tells it.
    pub modified: SystemTime,
    /// `st_uid`.
    pub owner: u32,
}

/// What `fstat(2)` tells of an open file: an inode's lives are not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenInode {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// A regular file, and nothing that waits for a writer.
    pub is_regular: bool,
    /// Length in bytes.
    pub size: u64,
    /// Last modification, as the file system tells it.
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

/// The kernel's number for a watched directory: the `wd` of `inotify_add_watch(2)`, equal for equal
/// inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub i32);

/// The errno of what lies in a mount that a user other than root made, below a PATH: nothing there
/// is looked at, since who made it decides when an answer comes.
pub const USER_MOUNT: i32 = nix::libc::EXDEV;

/// Everything the engine asks of the operating system. No method has a default: a simulated kernel
/// that leaves one out would leave what rests on it untested. Paths are bytes without NUL; errors
/// keep their errno (`io::Error::raw_os_error`), because the engine tells ENOENT from EACCES from
/// EMFILE.
pub trait FileSystem {
    /// An open regular file. Dropping it closes it.
    type File;
    /// A directory listing in progress. Dropping it closes it.
    type Listing;

    /// Looks at the file that `path` names: `statx(2)` and `name_to_handle_at(2)`.
    fn stat(&mut self, path: &[u8], links: Links) -> io::Result<Stat>;
    /// The same, at the cost of `statx(2)` alone if `life` knows a life of this device and inode,
    /// and the inode was born before the time at which that was last seen: then it is still that
    /// life.
    fn stat_known(
        &mut self,
        path: &[u8],
        links: Links,
        life: &mut dyn FnMut(u64, u64) -> Option<KnownLife>,
    ) -> io::Result<Stat>;
    /// `statfs(2)`: on what type of file system the file is that `path` leads to.
    fn file_system(&mut self, path: &[u8], links: Links) -> io::Result<FileSystemType>;
    /// Opens for reading without blocking, without changing the access time where that is allowed.
    fn open(&mut self, path: &[u8], links: Links) -> io::Result<Self::File>;
    /// Looks at an open file: the answer is about the inode that is open, whatever its name is now.
    fn stat_file(&mut self, file: &Self::File) -> io::Result<Stat>;
    /// `fstat(2)`: which inode is open, as far as one call tells.
    fn inode_of(&mut self, file: &Self::File) -> io::Result<OpenInode>;
    /// `pread(2)`: up to `buffer.len()` bytes from `offset`; fewer only at the end of the file (or
    /// from a fault); 0 at or past it.
    fn read_at(&mut self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// `lseek(2)` with `SEEK_DATA`: the first byte at or after `offset` that is data; `None` when
    /// only a hole follows, or the end.
    fn data_from(&mut self, file: &Self::File, offset: u64) -> io::Result<Option<u64>>;
    /// `lseek(2)` with `SEEK_HOLE`: the first byte at or after `offset` that is in a hole; the end
    /// of the file counts as one.
    fn hole_from(&mut self, file: &Self::File, offset: u64) -> io::Result<u64>;
    /// Starts to list a directory.
    fn list(&mut self, path: &[u8], links: Links) -> io::Result<Self::Listing>;
    /// The next entry, without `.` and `..`: writes its name into `name` (replacing what is there)
    /// and tells its kind; `None` at the end.
    fn next_entry(
        &mut self,
        listing: &mut Self::Listing,
        name: &mut Vec<u8>,
    ) -> io::Result<Option<FileKind>>;
    /// The inode of the entry that [`FileSystem::next_entry`] gave last, as the directory tells it;
    /// 0: not known.
    fn entry_inode(&self, listing: &Self::Listing) -> u64;
    /// `inotify_add_watch(2)` on a directory with the mask [`inotify::WATCH_MASK`]. Watching the
    /// same inode again gives the same number. `EMFILE`: `fs.inotify.max_user_instances`; `ENFILE`:
    /// descriptors are short; `EOPNOTSUPP`: `/proc` is not mounted, by which a directory beneath a
    /// trusted one is watched; `ENOSYS`: this system has no inotify, or refuses it.
    fn watch(&mut self, path: &[u8], links: Links) -> io::Result<WatchId>;
    /// The same with the mask [`inotify::NAMES_MASK`], added to what the watch of this inode asks
    /// for already: tells of names that come, go and change in the directory, and of its own end. A
    /// link at the end of the path is not followed.
    fn watch_names(&mut self, path: &[u8]) -> io::Result<WatchId>;
    /// The same with the mask [`inotify::SELF_MASK`] alone: it tells what becomes of the directory
    /// itself, not what happens in it.
    fn watch_self(&mut self, path: &[u8]) -> io::Result<WatchId>;
    /// Lets a watch go. A watch that the kernel dropped already is no error.
    fn unwatch(&mut self, watch: WatchId);
    /// Takes queued events, in the layout of `struct inotify_event` (see [`inotify::Events`]).
    /// Never blocks: 0 means none now. Fewer bytes than `buffer.len() - inotify::EVENT_BYTES_MAX`
    /// means that the queue was emptied.
    fn read_events(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// What a symbolic link says: `readlink(2)`.
    fn read_link(&mut self, path: &[u8]) -> io::Result<Vec<u8>>;
    /// The table of mounts as this process sees it: the text of `/proc/self/mountinfo`, see
    /// proc_pid_mountinfo(5).
    fn mounts(&mut self) -> io::Result<Vec<u8>>;
    /// The path with every link resolved (`realpath(3)`), where these links are followed.
    fn canonical(&mut self, path: &[u8], links: Links) -> io::Result<Vec<u8>>;
    /// The first link on the path that may not be followed, if there is one at this moment: why a
    /// call with [`Links::Guarded`] failed.
    fn refused_link(&mut self, path: &[u8], guard: Guard) -> Option<RefusedLink>;
}

/// The directory of the journal: everything that can fail when offsets are stored, so that a
/// simulation can make it fail. Names are plain file names. Calls may block, and may be interrupted
/// by nothing: `EINTR` is retried below.
pub trait Disk {
    /// An open file.
    type File;

    /// All names.
    fn list(&mut self) -> io::Result<Vec<Vec<u8>>>;
    /// Opens an existing regular file for reading and appending. Never follows a link.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;
    /// Makes a new file (mode 0600) for reading and appending; one of that name, a leftover, is
    /// replaced.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end only.
    fn read_at(&mut self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Appends; may write less than all.
    fn append(&mut self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, file: &Self::File, len: u64) -> io::Result<()>;
    /// `fdatasync(2)`.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    /// Renames within the directory, atomically; an existing `to` is replaced.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// `fsync(2)` of the directory: names are durable.
    fn sync_directory(&mut self) -> io::Result<()>;
    /// Whether the directory's path still leads to this directory, and the lock in it is still the
    /// one that is held.
    fn place(&mut self) -> io::Result<Place>;
    /// Whether the name in the directory stands for this open file.
    fn is_named(&mut self, name: &str, file: &Self::File) -> io::Result<bool>;
    /// Goes to where the directory's path leads now; makes the directory if there is none, and
    /// takes the lock in it, unless both are in place. When it fails, what was open stays open.
    fn reopen(&mut self) -> io::Result<()>;
    /// Device and inode of the directory.
    fn identity(&self) -> (u64, u64);
    /// Any number: so that no one can guess what a valid frame looks like.
    fn salt(&mut self) -> u64;
}

/// Where an open state directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its path leads to it, and its lock is the one that is held.
    Here,
    /// Its path leads nowhere, or to another directory.
    Elsewhere,
    /// The lock was removed, or another file has its name.
    Unlocked,
}
