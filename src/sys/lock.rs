//! A lock on an open file.
//!
//! In: a descriptor. Out: whether this process has the lock now, or which one has it.
//! Always holds: no call waits; the system releases the lock when the last copy of the descriptor
//! is closed.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::fcntl::FlockArg;
use nix::sys::stat::{fstat, major, minor};

use super::process;

/// Another process has the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} has it locked: each manytail needs an output file of its own", process::in_words(*.pid))]
pub(crate) struct InUse {
    /// The process, where /proc is mounted and shows it.
    pub pid: Option<i32>,
}

/// Takes the exclusive lock of flock(2) without waiting. It lasts as long as this descriptor or a
/// duplicate of it is open. On a file system without locks nothing is locked, which is not an
/// error.
///
/// # Errors
/// The inner one when another process has the lock, the outer one when the call fails.
pub(crate) fn try_lock(file: impl AsFd) -> io::Result<Result<(), InUse>> {
    loop {
        #[expect(
            deprecated,
            reason = "`Flock` would keep the descriptor apart from what it is used for"
        )]
        let outcome = nix::fcntl::flock(file.as_fd().as_raw_fd(), FlockArg::LockExclusiveNonblock);
        match outcome {
            Ok(()) => return Ok(Ok(())),
            Err(Errno::EINTR) => {}
            Err(Errno::EWOULDBLOCK) => return Ok(Err(InUse { pid: holder(&file) })),
            Err(errno @ (Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS)) => {
                let error = io::Error::from(errno);
                tracing::debug!(%error, "this file system does not support locks: nothing keeps \
                    another process from using the same output");
                return Ok(Ok(()));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The process that has the lock, from proc_locks(5).
fn holder(file: impl AsFd) -> Option<i32> {
    let found = fstat(file).ok()?;
    let device = format!("{:02x}:{:02x}", major(found.st_dev), minor(found.st_dev));
    holder_in(&fs::read_to_string("/proc/locks").ok()?, &device, found.st_ino)
}

/// The process of the first flock(2) lock on this inode. Some file systems show another device here
/// than in stat(2); then only the inode is compared.
fn holder_in(locks: &str, device: &str, inode: u64) -> Option<i32> {
    let mut on_inode = locks.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let kind = fields.next().filter(|kind| *kind == "FLOCK")?;
        let mut fields =
            fields.skip_while(|field| !field.bytes().all(|byte| byte.is_ascii_digit()));
        let pid: i32 = fields.next()?.parse().ok()?;
        let (on, number) = fields.next()?.rsplit_once(':')?;
        (!kind.is_empty() && number.parse() == Ok(inode)).then_some((on.to_owned(), pid))
    });
    let first = on_inode.next()?;
    let exact = std::iter::once(first.clone()).chain(on_inode).find(|(on, _)| on == device);
    Some(exact.unwrap_or(first).1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;

    use super::*;
    use crate::sys::clock;

    const LOCKS: &str = "\
1: POSIX  ADVISORY  WRITE 11 fd:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 12 fd:02:77 0 EOF
3: FLOCK  ADVISORY  WRITE 13 fd:01:77 0 EOF
3: -> FLOCK  ADVISORY  WRITE 14 fd:01:77 0 EOF
4: FLOCK  MSNFS     READ  15 00:2a:78 0 EOF
";

    #[test]
    fn the_holder_is_found_by_device_and_inode_else_by_the_inode() {
        assert_eq!(holder_in(LOCKS, "fd:01", 77), Some(13));
        assert_eq!(holder_in(LOCKS, "fd:02", 77), Some(12));
        assert_eq!(holder_in(LOCKS, "00:31", 77), Some(12));
        assert_eq!(holder_in(LOCKS, "00:2a", 78), Some(15));
        assert_eq!(holder_in(LOCKS, "fd:01", 79), None);
    }

    #[test]
    fn a_second_description_of_the_file_finds_the_lock_taken_until_the_first_is_closed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out");
        fs::write(&path, "").expect("the file is made");
        let open =
            || nix::fcntl::open(&path, OFlag::O_RDONLY, Mode::empty()).expect("the file opens");
        let (first, second) = (open(), open());
        assert_eq!(try_lock(&first).expect("flock"), Ok(()));
        assert_eq!(try_lock(&first).expect("flock"), Ok(()), "it is ours");
        let in_use = try_lock(&second).expect("flock").expect_err("it is taken");
        assert_eq!(in_use.pid, Some(std::process::id().cast_signed()));
        drop(first);
        // A child of another test has a copy of all descriptors until it executes a program.
        let deadline = clock::now().instant + Duration::from_secs(20);
        while try_lock(&second).expect("flock").is_err() {
            assert!(clock::now().instant < deadline, "it stays taken");
            std::thread::yield_now();
        }
    }
}
