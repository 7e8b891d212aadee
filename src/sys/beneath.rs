//! Opens what lies below a trusted directory without following a single link on the way there.
//!
//! In: a path, of which the first so many bytes are trusted. Out: a descriptor of what the rest names below them.
//! Always holds: whatever is exchanged, renamed or linked while the path is walked, the descriptor is of something that is, or was a moment
//! ago, below the trusted directory. `O_NOFOLLOW` alone guards the last component only.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use hashbrown::HashSet;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// Trusted directories with a link on their way that are remembered: as many as there are PATHs, which are few.
const LINKED_MAX: usize = 1024;

/// How paths are resolved here.
#[derive(Debug, Default)]
pub(super) struct Beneath {
    /// Whether the kernel has `openat2(2)`, and lets this process call it; asked by the first call.
    has_openat2: Option<bool>,
    /// Trusted directories whose own paths lead through links, which is allowed: these are opened first.
    linked: HashSet<Box<[u8]>>,
}

impl Beneath {
    /// Opens `path`. Its first `trusted` bytes may lead through links; a link behind them is `ENOTDIR`, but with `O_PATH` and not
    /// `O_DIRECTORY` one at the end is opened itself.
    ///
    /// # Errors
    /// Those of `openat2(2)`.
    pub(super) fn open(&mut self, path: &[u8], trusted: usize, flags: OFlag) -> io::Result<OwnedFd> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let (above, below) = path.split_at(trusted.min(path.len()));
        if below.is_empty() {
            return Ok(nix::fcntl::open(or_dot(above), flags - OFlag::O_NOFOLLOW, Mode::empty())?);
        }
        if self.has_openat2() {
            self.resolve(path, above, below, flags)
        } else {
            Ok(walk(&trusted_directory(above)?, below, flags)?)
        }
    }

    fn has_openat2(&mut self) -> bool {
        if self.has_openat2.is_none() {
            self.has_openat2 = match look(b"/") {
                Ok(_) => Some(true),
                // Before Linux 5.6; in sandboxes that do not know the call.
                Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => Some(false),
                // Descriptors or memory are short: that is no answer.
                Err(_) => None,
            };
        }
        self.has_openat2 != Some(false)
    }

    fn resolve(&mut self, path: &[u8], above: &[u8], below: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        let is_linked = !self.linked.is_empty() && self.linked.contains(above);
        if !is_linked {
            // The trusted directory's own path hardly ever leads through a link: then one call does.
            match openat2(AT_FDCWD, path, without_links(flags)) {
                Err(Errno::ELOOP) => {}
                outcome => return Ok(outcome?),
            }
        }
        match openat2(trusted_directory(above)?, below, without_links(flags)) {
            Err(Errno::ELOOP) => Err(Errno::ENOTDIR.into()),
            Ok(file) => {
                // Or else somebody took a link away in between.
                let is_new = !is_linked && self.linked.len() < LINKED_MAX;
                if is_new && matches!(look(or_dot(above)), Err(Errno::ELOOP)) {
                    self.linked.insert(above.into());
                }
                Ok(file)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn without_links(flags: OFlag) -> OpenHow {
    OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// Whether a path leads through no link.
fn look(path: &[u8]) -> nix::Result<OwnedFd> {
    openat2(AT_FDCWD, path, without_links(OFlag::O_PATH | OFlag::O_CLOEXEC))
}

fn trusted_directory(path: &[u8]) -> nix::Result<OwnedFd> {
    nix::fcntl::open(or_dot(path), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// The same without `openat2(2)`: component by component.
fn walk(trusted: &OwnedFd, below: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut components = below.split(|&byte| byte == b'/').filter(|component| !component.is_empty()).peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        let directory = at.as_ref().unwrap_or(trusted);
        let opened = openat(directory.as_fd(), component, if is_last { flags } else { step }, Mode::empty());
        at = Some(opened.map_err(|error| if error == Errno::ELOOP { Errno::ENOTDIR } else { error })?);
    }
    at.ok_or(Errno::ENOENT)
}

/// The empty path means the current directory here, as the directory part of a bare file name.
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

    fn open(beneath: &mut Beneath, trusted: &Path, below: &str, flags: OFlag) -> Result<u64, Option<i32>> {
        let mut path = trusted.as_os_str().as_bytes().to_vec();
        path.push(b'/');
        let trusted = path.len();
        path.extend_from_slice(below.as_bytes());
        let opened = beneath.open(&path, trusted, flags).map_err(|error| error.raw_os_error())?;
        #[expect(clippy::disallowed_types, reason = "fstat in a test")]
        Ok(std::fs::File::from(opened).metadata().expect("fstat").ino())
    }

    #[test]
    fn nothing_behind_the_trusted_part_of_a_path_is_followed_with_openat2_and_without() {
        let world = world();
        let inode = |path: &str| Ok(std::fs::symlink_metadata(world.path().join(path)).expect("lstat").ino());
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
                    assert_eq!(open(below, flags), Err(Some(nix::libc::ENOTDIR)), "{below} {flags:?} {has_openat2:?}");
                }
                assert_eq!(open("d/none", OFlag::O_PATH), Err(Some(nix::libc::ENOENT)));
                assert_eq!(open("", OFlag::O_PATH | OFlag::O_DIRECTORY), inode("tree"));
            }
            if has_openat2.is_none() && beneath.has_openat2() {
                assert_eq!(beneath.linked.len(), 1, "a linked way to the trusted directory is remembered");
            }
        }
    }
}
