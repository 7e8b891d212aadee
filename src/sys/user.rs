//! Users by name and number; and going on as another one, for a program that root starts to find
//! out what that user may do.
//!
//! In: a user's name or number. Out: the other of the two; or nothing, and the process is that
//! user's from then on.
//! Always holds: that change cannot be undone, and leaves at most one capability.

use std::io;
use std::process::{Command, Stdio};

use nix::libc;
use nix::unistd::{Uid, User, initgroups, setgid, setuid};

/// `capset(2)`, in the layout of linux/capability.h, version 3.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Becomes the user of this name or number, with that user's groups. Drops all capabilities, except
/// `CAP_DAC_READ_SEARCH` if `reads_all`. Cannot be undone; only for a process with one thread.
///
/// # Errors
/// When there is no such user, or this process may not become that user.
pub(crate) fn become_user(name: &str, reads_all: bool) -> io::Result<()> {
    let user = match (User::from_name(name)?, name.parse()) {
        (Some(user), _) => user,
        (None, Ok(number)) => {
            User::from_uid(Uid::from_raw(number))?.ok_or_else(|| no_user(name))?
        }
        (None, Err(_)) => return Err(no_user(name)),
    };
    let text = std::ffi::CString::new(user.name)?;
    initgroups(&text, user.gid)?;
    setgid(user.gid)?;
    if reads_all {
        keep_capabilities()?;
    }
    setuid(user.uid)?;
    // `setuid` drops all capabilities unless they were kept; of those, one may stay.
    set_capabilities(if reads_all { 1 << super::host::CAP_DAC_READ_SEARCH } else { 0 })
}

/// The name of a user, if this system knows one.
pub(crate) fn name_of_user(number: u32) -> Option<String> {
    let known = User::from_uid(Uid::from_raw(number)).ok().flatten().map(|user| user.name);
    known.or_else(|| entry_of(&number.to_string())?.split(':').next().map(str::to_owned))
}

/// The line of a user, by name or number, as getent(1) prints it: it knows the users of LDAP and
/// such, which a static binary cannot look up.
fn entry_of(user: &str) -> Option<String> {
    let mut command = Command::new("getent");
    command.args(["passwd", "--", user]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// The number of a user. A number need not be that of a user that this system knows: files may have
/// come from elsewhere.
///
/// # Errors
/// When there is no such user.
pub(crate) fn number_of_user(name: &str) -> io::Result<u32> {
    if let Some(user) = User::from_name(name)? {
        return Ok(user.uid.as_raw());
    }
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let number = entry_of(name).and_then(|entry| entry.split(':').nth(2)?.parse().ok());
    number.ok_or_else(|| no_user(name))
}

fn no_user(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no user {name:?} on this system"))
}

/// Keeps permitted capabilities when the user changes, prctl(2).
fn keep_capabilities() -> io::Result<()> {
    #[expect(unsafe_code, reason = "nix has no call for it without a feature of its own")]
    // SAFETY: PR_SET_KEEPCAPS takes an integer and changes nothing but a flag of this thread.
    let outcome = unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_capabilities(wanted: u32) -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    // The second structure is for capabilities from 32 on.
    let data = [Data { effective: wanted, permitted: wanted, inheritable: 0 }, Data::default()];
    #[expect(unsafe_code, reason = "the C library has no function for it")]
    // SAFETY: the kernel reads a header and, for version 3, two structures, which live until the
    // call returns; pid 0 is this thread.
    let outcome = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_by_name_and_number() {
        assert_eq!(name_of_user(0).as_deref(), Some("root"));
        assert_eq!(number_of_user("root").expect("there is one"), 0);
        assert_eq!(number_of_user("4294967294").expect("a number"), 4_294_967_294);
        assert_eq!(name_of_user(4_294_967_294), None);
        assert_eq!(number_of_user("no such user").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(entry_of("root").is_none_or(|entry| entry.starts_with("root:")));
    }

    #[test]
    fn a_user_that_does_not_exist_changes_nothing() {
        for name in ["no such user", "4294967294", ""] {
            assert_eq!(
                become_user(name, false).unwrap_err().kind(),
                io::ErrorKind::NotFound,
                "{name}"
            );
        }
    }
}
