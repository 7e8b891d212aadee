//! Opens paths below a trusted directory without following any link on the way, or only those that
//! a rule allows.
//!
//! In: a path whose first bytes name a trusted directory. Out: a descriptor of what the rest names
//! below it.
//! Always holds: whatever is exchanged, renamed or linked during the walk, the descriptor is of
//! something that is, or was a moment ago, below the trusted directory. `O_NOFOLLOW` alone protects
//! only the last component.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use hashbrown::HashSet;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::mount_table::Makers;
use super::statx::mount_at;
use super::{Guard, LINKS_MAX, LinkRule, RefusedLink};

/// How many trusted directories are remembered as ones to open first. There are as many as PATHs,
/// which are few.
const INDIRECT_MAX: usize = 1024;

/// Components of one walk through links. Each costs two system calls, and the author of a link
/// chooses how many there are.
const STEPS_MAX: usize = 256;

/// Trusted directories that stay open for the calls of one turn.
const BASES_MAX: usize = 8;

/// How paths are resolved here.
#[derive(Debug, Default)]
pub(super) struct Beneath {
    /// Whether the kernel has `openat2(2)` and lets this process call it; the first call finds out.
    has_openat2: Option<bool>,
    /// Trusted directories whose own paths lead through links or into other mounts, which is
    /// allowed. These are opened before what is below them.
    indirect: HashSet<Box<[u8]>>,
    /// Trusted directories that are open now.
    bases: VecDeque<(Box<[u8]>, Rc<OwnedFd>)>,
    makers: Makers,
}

impl Beneath {
    /// Opens `path`. Its first `trusted` bytes may lead through links and mounts. A link behind
    /// them is `ENOTDIR`, except that `O_PATH` without `O_DIRECTORY` opens a link at the end
    /// itself. A mount made by a user other than root is [`super::USER_MOUNT`].
    ///
    /// # Errors
    /// Those of `openat2(2)`.
    pub(super) fn open(
        &mut self,
        path: &[u8],
        trusted: usize,
        flags: OFlag,
    ) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let (above, below) = path.split_at(trusted.min(path.len()));
        if below.is_empty() {
            return Ok(nix::fcntl::open(or_dot(above), flags - OFlag::O_NOFOLLOW, Mode::empty())?);
        }
        let is_direct = self.has_openat2() && !self.indirect.contains(above);
        if is_direct {
            // The trusted directory's own path rarely leads through a link or off the root file
            // system, so one call is usually enough.
            match openat2(AT_FDCWD, path, confined(flags)) {
                Err(Errno::ELOOP | Errno::EXDEV) => {}
                outcome => return Ok(outcome?),
            }
        }
        let base = self.base(above)?;
        let opened = self.open_below(&base, below, flags);
        // Otherwise the cause was below it, or a link was removed in between.
        let is_new = is_direct && opened.is_ok() && self.indirect.len() < INDIRECT_MAX;
        if is_new && matches!(look(or_dot(above)), Err(Errno::ELOOP | Errno::EXDEV)) {
            self.indirect.insert(above.into());
        }
        opened
    }

    /// Opens `path`. Links on it are followed as the guard says; all other links are treated as in
    /// [`Beneath::open`].
    ///
    /// # Errors
    /// Those of `openat(2)`; `ELOOP` for a link that may not be followed; `ENXIO` for anything but
    /// a regular file or a directory, which is not opened.
    pub(super) fn open_guarded(
        &mut self,
        path: &[u8],
        guard: Guard,
        flags: OFlag,
    ) -> io::Result<OwnedFd> {
        if guard.trusted >= path.len() {
            return self.open(path, guard.trusted, flags);
        }
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let reached = self.reach(path, guard)?;
        let mut below = &path[guard.followed.min(path.len())..];
        while let Some(rest) = below.strip_prefix(b"/") {
            below = rest;
        }
        if below.is_empty() {
            Ok(reached.open(flags)?)
        } else {
            self.open_below(&reached.file, below, flags)
        }
    }

    /// Walks to the end of the part in which links are followed.
    pub(super) fn reach(&mut self, path: &[u8], guard: Guard) -> Result<Reached, Stopped> {
        let (above, below) = path.split_at(guard.trusted);
        let below = &below[..guard.followed.min(path.len()) - guard.trusted];
        self.follow(trusted_directory(above)?, below, guard.rule)
    }

    /// Closes what was opened for this turn.
    pub(super) fn release(&mut self) {
        self.bases.clear();
    }

    fn base(&mut self, above: &[u8]) -> nix::Result<Rc<OwnedFd>> {
        if let Some((_, base)) = self.bases.iter().find(|(path, _)| **path == *above) {
            return Ok(Rc::clone(base));
        }
        let base = Rc::new(trusted_directory(above)?);
        self.bases.truncate(BASES_MAX - 1);
        self.bases.push_front((above.into(), Rc::clone(&base)));
        Ok(base)
    }

    fn has_openat2(&mut self) -> bool {
        if self.has_openat2.is_none() {
            self.has_openat2 = match look(b"/") {
                Ok(_) => Some(true),
                // Before Linux 5.6, and in sandboxes that do not know the call.
                Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => Some(false),
                // Descriptors or memory are short: ask again later.
                Err(_) => None,
            };
        }
        self.has_openat2 != Some(false)
    }

    fn open_below(&mut self, base: &OwnedFd, below: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        if self.has_openat2() {
            match openat2(base, below, confined(flags)) {
                Err(Errno::ELOOP) => return Err(Errno::ENOTDIR.into()),
                // A mount below a PATH: the walk finds out who made it.
                Err(Errno::EXDEV) => {}
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.walk(base, below, flags)?)
    }

    /// Opens component by component, without `openat2(2)` or through mounts.
    fn walk(&mut self, base: &OwnedFd, below: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        let mut at = Reached::directory(base.try_clone().map_err(|_| Errno::EMFILE)?)?;
        for name in components(below) {
            let next = self.step(&at.file, name)?;
            let found = fstat(&next)?;
            let above = std::mem::replace(&mut at.file, next);
            at = Reached { file: at.file, entry: Some((above, name.to_vec())), found };
        }
        at.open(flags)
    }

    /// Walks from a directory, component by component. Each step starts at the open descriptor of
    /// what was checked and allowed before.
    fn follow(&mut self, from: OwnedFd, way: &[u8], rule: LinkRule) -> Result<Reached, Stopped> {
        let mut todo: Vec<Vec<u8>> = components(way).rev().map(<[u8]>::to_vec).collect();
        // The owners of links, and how many components are left when the target of each is reached.
        let mut followed: Vec<(u32, usize)> = Vec::new();
        let mut at = Reached::directory(from)?;
        let (mut steps, mut links) = (0, 0);
        while let Some(name) = todo.pop() {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(Errno::ELOOP.into());
            }
            let next = self.step(&at.file, &name)?;
            let found = fstat(&next)?;
            if is_kind(&found, libc::S_IFLNK) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::ELOOP.into());
                }
                if fstatfs(&next)?.filesystem_type() == PROC_SUPER_MAGIC {
                    return Err(Stopped::Refused(RefusedLink {
                        owner: found.st_uid,
                        target_owner: None,
                    }));
                }
                let target = readlinkat(&next, "")?.into_vec();
                if target.starts_with(b"/") {
                    at = Reached::directory(trusted_directory(b"/")?)?;
                }
                followed.push((found.st_uid, todo.len()));
                // A name before a slash must be a directory.
                todo.extend(target.ends_with(b"/").then(|| b".".to_vec()));
                todo.extend(components(&target).rev().map(<[u8]>::to_vec));
            } else {
                let above = std::mem::replace(&mut at.file, next);
                at.entry = Some((above, name));
                at.found = found;
            }
            while let Some((owner, _)) = followed.pop_if(|(_, rest)| *rest == todo.len()) {
                if !rule.allows(owner, at.found.st_uid) {
                    return Err(Stopped::Refused(RefusedLink {
                        owner,
                        target_owner: Some(at.found.st_uid),
                    }));
                }
            }
        }
        Ok(at)
    }

    /// Opens an entry of a directory with `O_PATH`; a link is opened itself. A mount is entered
    /// only if root made it, and receives no request before that is known.
    fn step(&mut self, directory: &OwnedFd, name: &[u8]) -> nix::Result<OwnedFd> {
        let next = openat(
            directory,
            name,
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let mount = mount_at(next.as_fd()).unwrap_or(None);
        if mount.is_some_and(|number| self.makers.is_made_by_user(number)) {
            Err(Errno::EXDEV)
        } else {
            Ok(next)
        }
    }
}

fn confined(flags: OFlag) -> OpenHow {
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    OpenHow::new().flags(flags).resolve(resolve)
}

/// Opens a path that leads through no link and to no other mount.
fn look(path: &[u8]) -> nix::Result<OwnedFd> {
    openat2(AT_FDCWD, path, confined(OFlag::O_PATH | OFlag::O_CLOEXEC))
}

fn trusted_directory(path: &[u8]) -> nix::Result<OwnedFd> {
    nix::fcntl::open(
        or_dot(path),
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// The end of a walk through links.
pub(super) struct Reached {
    /// Opened with `O_PATH`.
    file: OwnedFd,
    /// The directory and the name where it was found. `None`: it is a directory.
    entry: Option<(OwnedFd, Vec<u8>)>,
    found: FileStat,
}

/// Why a walk through links stopped before its end.
pub(super) enum Stopped {
    /// A call failed.
    Failed(Errno),
    /// A link may not be followed.
    Refused(RefusedLink),
}

impl From<Errno> for Stopped {
    fn from(error: Errno) -> Stopped {
        Stopped::Failed(error)
    }
}

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> io::Error {
        match stopped {
            Stopped::Failed(error) => error.into(),
            Stopped::Refused(_) => Errno::ELOOP.into(),
        }
    }
}

impl Reached {
    fn directory(file: OwnedFd) -> nix::Result<Reached> {
        let found = fstat(&file)?;
        Ok(Reached { file, entry: None, found })
    }

    /// Opens the same file with other flags.
    fn open(self, flags: OFlag) -> nix::Result<OwnedFd> {
        let is_directory = is_kind(&self.found, libc::S_IFDIR);
        if flags.contains(OFlag::O_DIRECTORY) && !is_directory {
            return Err(Errno::ENOTDIR);
        }
        if flags.contains(OFlag::O_PATH) {
            return Ok(self.file);
        }
        match self.entry {
            _ if is_directory => openat(&self.file, ".", flags, Mode::empty()),
            // Opening a device can have effects, and the owner of a name chooses where it leads.
            _ if is_kind(&self.found, libc::S_IFLNK) => Err(Errno::ENOTDIR),
            Some((directory, name)) if is_kind(&self.found, libc::S_IFREG) => {
                let opened = openat(&directory, name.as_slice(), flags, Mode::empty())?;
                let now = fstat(&opened)?;
                if (now.st_dev, now.st_ino) == (self.found.st_dev, self.found.st_ino) {
                    Ok(opened)
                } else {
                    Err(Errno::ENOENT)
                }
            }
            _ => Err(Errno::ENXIO),
        }
    }
}

fn is_kind(found: &FileStat, kind: libc::mode_t) -> bool {
    found.st_mode & libc::S_IFMT == kind
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
}

/// The empty path stands for the current directory: it is the directory part of a bare file name.
pub(super) fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    /// `tree/d/f`, `tree/link` -> `../outside`, `tree/d/g` -> `f`, `outside/f`, `way` -> `tree`.
    fn world() -> tempfile::TempDir {
        let world = tempfile::tempdir().expect("a directory");
        for directory in ["tree/d", "outside"] {
            std::fs::create_dir_all(world.path().join(directory)).expect("mkdir");
        }
        for file in ["tree/d/f", "outside/f"] {
            std::fs::write(world.path().join(file), file).expect("a file");
        }
        for (target, link) in [("../outside", "tree/link"), ("f", "tree/d/g"), ("tree", "way")] {
            symlink(target, world.path().join(link)).expect("ln -s");
        }
        world
    }

    fn open(
        beneath: &mut Beneath,
        trusted: &Path,
        below: &str,
        flags: OFlag,
    ) -> Result<u64, Option<i32>> {
        let mut path = trusted.as_os_str().as_bytes().to_vec();
        path.push(b'/');
        let trusted = path.len();
        path.extend_from_slice(below.as_bytes());
        let opened = beneath.open(&path, trusted, flags).map_err(|error| error.raw_os_error())?;
        #[expect(clippy::disallowed_types, reason = "fstat in a test")]
        Ok(std::fs::File::from(opened).metadata().expect("fstat").ino())
    }

    /// `tree/user/to-d` -> `/.../tree/d/`, `to-f` -> `../d/../../tree/to-d/f`, `loop` -> `loop`,
    /// `proc` -> `/proc/self/exe`, `far`: many steps.
    fn world_of_links() -> tempfile::TempDir {
        let world = world();
        let user = world.path().join("tree/user");
        std::fs::create_dir(&user).expect("mkdir");
        let absolute = format!("{}/", world.path().join("tree/d").display());
        let far = "./".repeat(STEPS_MAX) + "../d/f";
        for (target, link) in [
            (absolute.as_str(), "to-d"),
            ("../d/../../tree/user/to-d/f", "to-f"),
            ("loop", "loop"),
            ("/proc/self/exe", "proc"),
            ("../d/f/", "slash"),
            (&far, "far"),
            ("/", "top"),
        ] {
            symlink(target, user.join(link)).expect("ln -s");
        }
        nix::unistd::mkfifo(&user.join("fifo"), Mode::S_IRWXU).expect("mkfifo");
        symlink("fifo", user.join("to-fifo")).expect("ln -s");
        world
    }

    #[test]
    fn links_are_followed_as_far_as_the_guard_says_and_no_further() {
        let world = world_of_links();
        let inode = |path: &str| {
            Ok(std::fs::symlink_metadata(world.path().join(path)).expect("lstat").ino())
        };
        let trusted = world.path().as_os_str().len() + "/tree/".len();
        for (has_openat2, rule) in [None, Some(false)]
            .into_iter()
            .flat_map(|has| [(has, LinkRule::Owner), (has, LinkRule::Any)])
        {
            let mut beneath = Beneath { has_openat2, ..Beneath::default() };
            let mut open = |followed: &str, below: &str, flags| {
                let path = format!("{}/tree/{followed}{below}", world.path().display());
                let guard = Guard { trusted, followed: trusted + followed.len(), rule };
                let opened = beneath
                    .open_guarded(path.as_bytes(), guard, flags)
                    .map_err(|error| error.raw_os_error())?;
                #[expect(clippy::disallowed_types, reason = "fstat in a test")]
                Ok(std::fs::File::from(opened).metadata().expect("fstat").ino())
            };
            let (read, look, list) =
                (OFlag::O_RDONLY, OFlag::O_PATH, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
            assert_eq!(open("user/to-f", "", read), inode("tree/d/f"));
            assert_eq!(open("user/to-f", "", look), inode("tree/d/f"));
            assert_eq!(open("user/to-d", "", list), inode("tree/d"));
            assert_eq!(open("user/to-d", "/f", read), inode("tree/d/f"));
            assert_eq!(open("user/to-d/", "f", look), inode("tree/d/f"));
            assert_eq!(open("user/top", "", list), Ok(std::fs::metadata("/").expect("stat").ino()));
            assert_eq!(
                open("user/to-d", "/g", look),
                inode("tree/d/g"),
                "behind the followed part a link is looked at itself"
            );
            for (followed, below, flags, errno) in [
                ("user/to-d", "/g", read, nix::libc::ENOTDIR),
                ("user", "/to-d/f", read, nix::libc::ENOTDIR),
                ("user/to-f", "", list, nix::libc::ENOTDIR),
                ("user/slash", "", look, nix::libc::ENOTDIR),
                ("user/loop", "", look, nix::libc::ELOOP),
                ("user/far", "", look, nix::libc::ELOOP),
                ("user/proc", "", look, nix::libc::ELOOP),
                ("user/to-fifo", "", read, nix::libc::ENXIO),
                ("user/none", "", look, nix::libc::ENOENT),
            ] {
                assert_eq!(
                    open(followed, below, flags),
                    Err(Some(errno)),
                    "{followed} {below} {flags:?} {has_openat2:?}"
                );
            }
            let path = format!("{}/tree/user/proc", world.path().display());
            let refused =
                beneath.reach(path.as_bytes(), Guard { trusted, followed: path.len(), rule });
            assert!(
                matches!(refused, Err(Stopped::Refused(RefusedLink { target_owner: None, .. }))),
                "{rule:?}"
            );
        }
    }

    #[test]
    fn a_link_is_allowed_by_who_made_it() {
        let allows = LinkRule::Owner;
        assert!(allows.allows(0, 1) && allows.allows(1, 1) && allows.allows(0, 0));
        assert!(!allows.allows(1, 0) && !allows.allows(1, 2));
        assert!(!allows.allows(crate::sys::NOBODY, crate::sys::NOBODY), "these may be two users");
        assert!(LinkRule::Any.allows(1, 0));
    }

    #[test]
    fn nothing_behind_the_trusted_part_of_a_path_is_followed_with_openat2_and_without() {
        let world = world();
        let inode = |path: &str| {
            Ok(std::fs::symlink_metadata(world.path().join(path)).expect("lstat").ino())
        };
        for has_openat2 in [None, Some(false)] {
            let mut beneath = Beneath { has_openat2, ..Beneath::default() };
            for trusted in ["tree", "way", "way"].map(|trusted| world.path().join(trusted)) {
                let mut open = |below: &str, flags| open(&mut beneath, &trusted, below, flags);
                assert_eq!(open("d/f", OFlag::O_RDONLY), inode("tree/d/f"), "{trusted:?}");
                assert_eq!(open("d", OFlag::O_PATH | OFlag::O_DIRECTORY), inode("tree/d"));
                assert_eq!(open("link", OFlag::O_PATH), inode("tree/link"), "the link itself");
                assert_eq!(open("d/g", OFlag::O_PATH), inode("tree/d/g"), "the link itself");
                for (below, flags) in [
                    ("d/g", OFlag::O_RDONLY),
                    ("link", OFlag::O_RDONLY),
                    ("link/f", OFlag::O_RDONLY),
                    ("link/f", OFlag::O_PATH),
                    ("link", OFlag::O_PATH | OFlag::O_DIRECTORY),
                    ("link", OFlag::O_RDONLY | OFlag::O_DIRECTORY),
                ] {
                    assert_eq!(
                        open(below, flags),
                        Err(Some(nix::libc::ENOTDIR)),
                        "{below} {flags:?} {has_openat2:?}"
                    );
                }
                assert_eq!(open("d/none", OFlag::O_PATH), Err(Some(nix::libc::ENOENT)));
                assert_eq!(open("", OFlag::O_PATH | OFlag::O_DIRECTORY), inode("tree"));
            }
            if has_openat2.is_none() && beneath.has_openat2() {
                assert_eq!(
                    beneath.indirect.len(),
                    1,
                    "a linked way to the trusted directory is remembered"
                );
            }
        }
    }
}
