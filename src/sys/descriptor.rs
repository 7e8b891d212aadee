//! Inherited descriptors: a number on the command line becomes an owned descriptor, or an error.
//!
//! In: a number, or a path that leads to one. Out: the descriptor, if the program that started us
//! left it open.
//! Always holds: a standard descriptor that was closed at the start counts as closed. We check
//! before the Rust runtime opens `/dev/null` in its place. All our own descriptors are
//! close-on-exec, so none of them passes for an inherited one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::LINKS_MAX;

/// Standard descriptors: 0, 1 and 2.
const STANDARD: std::ops::Range<RawFd> = 0..3;

/// One bit for each standard descriptor that was closed when the process started.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// The loader runs the functions that this section points to before the runtime opens `/dev/null`
/// in place of closed standard descriptors (elf(5); the C libraries do so in static binaries, too).
#[used]
#[expect(unsafe_code, reason = "a place in the binary is chosen by the name of its section")]
// SAFETY: the section holds pointers to functions of this type, which the C library calls once
// each, before `main` and in one thread.
#[unsafe(link_section = ".init_array")]
static LOOK_AT_STANDARD_DESCRIPTORS: extern "C" fn() = look_at_standard_descriptors;

/// Rust's runtime does not exist yet: this only asks the kernel and stores an integer.
extern "C" fn look_at_standard_descriptors() {
    let mut closed = 0;
    for number in STANDARD {
        #[expect(unsafe_code, reason = "a libc call on a number that may be no descriptor")]
        // SAFETY: F_GETFD takes no argument and changes nothing; a number that is not open is
        // answered with an error.
        let flags = unsafe { nix::libc::fcntl(number, nix::libc::F_GETFD) };
        closed |= u8::from(flags == -1) << number;
    }
    CLOSED.store(closed, Ordering::Relaxed);
}

/// Whether a standard descriptor (0, 1 or 2) was closed when the process started.
#[must_use]
pub(crate) fn was_closed(number: RawFd) -> bool {
    STANDARD.contains(&number) && CLOSED.load(Ordering::Relaxed) & (1 << number) != 0
}

/// The descriptor of this process that a path leads to: `/dev/stdout`, `/dev/fd/N`,
/// `/proc/self/fd/N`, or a link to one of these.
#[must_use]
pub(crate) fn named_by(path: &Path) -> Option<RawFd> {
    let own: Vec<PathBuf> = ["/proc/self/fd", "/proc/thread-self/fd"]
        .iter()
        .filter_map(|own| Path::new(own).canonicalize().ok())
        .collect();
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let above =
            path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let above = above.canonicalize().ok()?;
        let name = path.file_name()?;
        if own.contains(&above) {
            return name.to_str()?.parse().ok();
        }
        let link = above.join(name);
        path = above.join(link.read_link().ok()?);
    }
    None
}

/// The path in `/proc` by which an open file can be opened, watched or asked for once more.
#[must_use]
pub(crate) fn proc_path(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

/// A duplicate (`F_DUPFD_CLOEXEC`, fcntl(2)) of the inherited descriptor `number`. It is the same
/// open file description, so its position and status flags are shared with every other holder.
///
/// # Errors
/// `EBADF` when the number was not open at the start. For a standard descriptor, the check before
/// the runtime's start decides. Any other number must be open and not close-on-exec, or it is one
/// of our own.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 || was_closed(number) {
        return Err(Errno::EBADF.into());
    }
    #[expect(unsafe_code, reason = "a number has no owner to borrow from")]
    // SAFETY: not -1, and used for two fcntl calls only, which answer EBADF when the number is not
    // open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if FdFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFD)?).contains(FdFlag::FD_CLOEXEC) {
        return Err(Errno::EBADF.into());
    }
    // 3: never in place of a closed standard descriptor.
    let duplicate = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    #[expect(unsafe_code, reason = "fcntl returns a number")]
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_that_lead_to_a_descriptor_are_told_from_others() {
        let directory = tempfile::tempdir().unwrap();
        for (link, target) in [
            ("out", "/dev/stdout"),
            ("again", "out"),
            ("fd", "/dev/fd"),
            ("round", "round"),
            ("plain", "/dev/null"),
        ] {
            symlink(target, directory.path().join(link)).unwrap();
        }
        let pid = std::process::id();
        let named = |path: &str| named_by(Path::new(path));
        assert_eq!(
            (named("/dev/stdout"), named("/dev/stderr"), named("/dev/fd/7")),
            (Some(1), Some(2), Some(7))
        );
        assert_eq!(
            (named("/proc/self/fd/3"), named(&format!("/proc/{pid}/fd/0"))),
            (Some(3), Some(0))
        );
        assert_eq!(named("/proc/thread-self/fd/9"), Some(9));
        for (link, number) in [
            ("out", Some(1)),
            ("again", Some(1)),
            ("fd/5", Some(5)),
            ("round", None),
            ("plain", None),
            ("none", None),
        ] {
            assert_eq!(named_by(&directory.path().join(link)), number, "{link}");
        }
        for other in [
            "/dev/null",
            "/proc/1/fd/1",
            "/proc/self/fd",
            "/",
            "..",
            "no/such/directory/x",
            "Cargo.toml",
        ] {
            assert_eq!(named(other), None, "{other}");
        }
    }

    #[test]
    fn a_descriptor_of_our_own_was_not_inherited() {
        let own = tempfile::tempfile().unwrap();
        assert_eq!(
            inherited(own.as_raw_fd()).unwrap_err().raw_os_error(),
            Some(Errno::EBADF as i32)
        );
        assert!(!was_closed(own.as_raw_fd()) && !was_closed(-1));
        assert!(inherited(2).is_ok() || was_closed(2));
    }
}
