//! Who besides us and root can decide what a name leads to, by the owner and mode of its directory.
//!
//! In: paths of files that we create and open. Out: why others could replace them; how to open
//! links there.
//! Always holds: in a directory that others can write to, a stranger's link is not followed, and a
//! stranger's file is not used as ours. A sticky directory (`/tmp`) keeps others from replacing our
//! existing files, but not from taking a free name.

use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::{FileStat, lstat, stat};
use nix::unistd::geteuid;

/// A directory that others can write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shared {
    /// The directory.
    pub directory: PathBuf,
    /// Which users, in words.
    pub who: String,
}

/// Which users besides us and root can write to a directory of this owner and mode, in words.
#[must_use]
pub(crate) fn others(found: &FileStat) -> Option<String> {
    if is_trusted(found.st_uid) {
        others_by_mode(found.st_mode, found.st_gid)
    } else {
        Some(format!("it belongs to user {}", found.st_uid))
    }
}

/// Which users can write to a directory of this mode and group, besides its owner.
#[must_use]
pub(crate) fn others_by_mode(mode: u32, group: u32) -> Option<String> {
    let mode = mode & 0o7777;
    if mode & libc::S_IWOTH != 0 {
        Some(format!("everybody can write to it (mode {mode:04o})"))
    } else if mode & libc::S_IWGRP != 0 {
        Some(format!("group {group} can write to it (mode {mode:04o})"))
    } else {
        None
    }
}

/// The directory in which others could replace `path`, or the target of a link at `path`. `None`:
/// there is no such directory.
#[must_use]
pub(crate) fn shared_above(path: &Path) -> Option<Shared> {
    let places = [place(path), path.canonicalize().ok().and_then(|real| place(&real))];
    places.into_iter().flatten().find_map(|place| {
        let shared = shared(&place.0)?;
        // Other users of a sticky directory can neither rename nor remove our files.
        let is_safe = is_sticky(&place.0)
            && lstat(&place.0.join(&place.1)).is_ok_and(|found| is_trusted(found.st_uid));
        (!is_safe).then_some(shared)
    })
}

/// The flag to add when `path` is opened: `O_NOFOLLOW` where a stranger could create a link of that
/// name.
///
/// # Errors
/// When a stranger's link has that name: the stranger chooses its target.
pub(crate) fn link_flags(path: &Path) -> io::Result<OFlag> {
    let Some((above, name)) = place(path) else { return Ok(OFlag::empty()) };
    let Some(shared) = shared(&above) else { return Ok(OFlag::empty()) };
    match lstat(&above.join(name)) {
        Ok(found) if found.st_mode & libc::S_IFMT != libc::S_IFLNK => Ok(OFlag::O_NOFOLLOW),
        Ok(found) if is_trusted(found.st_uid) => Ok(OFlag::empty()),
        Ok(found) => Err(planted("it is a symbolic link", found.st_uid, &shared)),
        Err(_) => Ok(OFlag::O_NOFOLLOW),
    }
}

/// Checks that the file opened as `path` may be used as ours.
///
/// # Errors
/// When it belongs to a stranger and strangers can create files in its directory.
pub(crate) fn refuse_planted(path: &Path, opened: &FileStat) -> io::Result<()> {
    if is_trusted(opened.st_uid) {
        return Ok(());
    }
    match place(path).and_then(|(above, _)| shared(&above)) {
        Some(shared) => Err(planted("it exists already", opened.st_uid, &shared)),
        None => Ok(()),
    }
}

fn planted(what: &str, user: u32, shared: &Shared) -> io::Error {
    let Shared { directory, who } = shared;
    let what = format!(
        "{what} and belongs to user {user}, who may have put it there (directory {}: {who})",
        directory.display()
    );
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

/// The directory of a path and the name in it; slashes at the end do not count.
fn place(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let name = path.file_name()?;
    let above =
        path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some((above.to_owned(), name.into()))
}

/// `None` also when the look at the directory fails: opening a file in it fails, too.
fn shared(directory: &Path) -> Option<Shared> {
    let who = others(&stat(directory).ok()?)?;
    Some(Shared { directory: directory.to_owned(), who })
}

fn is_sticky(directory: &Path) -> bool {
    stat(directory)
        .is_ok_and(|found| found.st_mode & libc::S_ISVTX != 0 && is_trusted(found.st_uid))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes directories by itself")]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn directory(mode: u32) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        directory
    }

    #[test]
    fn a_directory_is_shared_if_others_can_make_or_replace_names_in_it() {
        for (mode, is_missing_safe, is_own_safe) in [
            (0o700, true, true),
            (0o755, true, true),
            (0o775, false, false),
            (0o757, false, false),
            (0o1777, false, true),
            (0o1770, false, true),
        ] {
            let directory = directory(mode);
            let path = directory.path().join("name");
            assert_eq!(shared_above(&path).is_none(), is_missing_safe, "{mode:o}, missing");
            fs::write(&path, "").unwrap();
            assert_eq!(shared_above(&path).is_none(), is_own_safe, "{mode:o}, there and ours");
        }
    }

    #[test]
    fn the_directory_that_a_link_leads_to_counts_as_well() {
        let (own, open) = (directory(0o755), directory(0o777));
        fs::write(open.path().join("file"), "").unwrap();
        symlink(open.path().join("file"), own.path().join("link")).unwrap();
        let shared = shared_above(&own.path().join("link")).unwrap();
        assert_eq!(shared.directory, open.path().canonicalize().unwrap());
        assert!(shared.who.contains("everybody") && shared.who.contains("0777"), "{}", shared.who);
    }

    #[test]
    fn links_are_followed_where_strangers_cannot_make_them_or_we_made_them() {
        for (mode, missing) in
            [(0o755, OFlag::empty()), (0o1777, OFlag::O_NOFOLLOW), (0o770, OFlag::O_NOFOLLOW)]
        {
            let directory = directory(mode);
            let at = |name: &str| directory.path().join(name);
            assert_eq!(link_flags(&at("none")).unwrap(), missing, "{mode:o}");
            symlink("target", at("link")).unwrap();
            assert_eq!(
                link_flags(&at("link/")).unwrap(),
                OFlag::empty(),
                "{mode:o}: a link of our own"
            );
            fs::write(at("file"), "").unwrap();
            assert_eq!(link_flags(&at("file")).unwrap(), missing, "{mode:o}");
            assert!(refuse_planted(&at("file"), &stat(&at("file")).unwrap()).is_ok());
        }
        assert!(
            link_flags(Path::new("..")).unwrap().is_empty()
                && shared_above(Path::new("/")).is_none()
        );
    }
}
