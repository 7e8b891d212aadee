//! One walk along a way, as the kernel does it: component by component, through every link.
//!
//! In: a path. Out: the names that it leads through, each with a watch if possible, and what is at
//! its end.
//! Always holds: a directory is watched before the look at the name in it, so later changes are
//! reported.

use std::io;

use nix::libc;

use crate::engine::coverage::ways::spelling::{components, join, or_dot, up};
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem, LINKS_MAX, Links, WatchId};

/// One component of a way: a name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) directory: Box<[u8]>,
    pub(super) name: Box<[u8]>,
    pub(super) watch: Option<WatchId>,
}

/// A way at the time of the last walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) steps: Vec<Step>,
    /// The current directory, for relative paths. Empty: not known.
    pub(super) base: Vec<u8>,
    /// Where it ends, with links resolved; what does not exist is spelled as in the PATH.
    pub(super) real: Vec<u8>,
    /// Device and inode of the directory that it leads to, if it leads to one.
    pub(super) inode: Option<(u64, u64)>,
    /// Events report every change that could make it lead to something else.
    pub(super) is_reported: bool,
}

impl Way {
    /// `..` on a way: goes up from `at`. A move of the directory changes where this leads to, so
    /// the name is watched unless the directory is known.
    fn step_up(&mut self, at: &mut Vec<u8>, component: Box<[u8]>, fs: &mut impl FileSystem) {
        if at.is_empty() || at.ends_with(b"..") {
            let watch = fs.watch_names(at);
            self.is_reported &= watch.is_ok();
            let directory = at.as_slice().into();
            self.steps.push(Step { directory, name: component, watch: watch.ok() });
        }
        up(at);
    }

    /// Walks a path as the kernel does, component by component. Each directory is watched before
    /// the look at the name in it.
    pub(super) fn walk(path: &[u8], fs: &mut impl FileSystem) -> Way {
        let mut at: Vec<u8> = if path.starts_with(b"/") { b"/".to_vec() } else { Vec::new() };
        let mut todo: Vec<Box<[u8]>> = components(path).rev().map(Box::from).collect();
        let mut way = Way {
            steps: Vec::new(),
            base: Vec::new(),
            real: Vec::new(),
            inode: None,
            is_reported: true,
        };
        if at.is_empty() {
            way.base = fs.canonical(b"", Links::Follow).unwrap_or_default();
        }
        let mut links = 0;
        let mut failure = None;
        while let Some(component) = todo.pop() {
            if *component == *b".." {
                way.step_up(&mut at, component, fs);
                continue;
            }
            let named = join(&at, &component);
            let watch = fs.watch_names(&at);
            let found = fs.stat(&named, Links::Keep);
            let errno = |error: &io::Error| error.raw_os_error();
            if let Err(error) = &watch {
                tracing::debug!(path = %at.escape_ascii(), %error, "names on the way to a PATH \
                    cannot be watched here");
                // If the look fails in the same way, something above has to change first, and that
                // is reported.
                way.is_reported &= found.as_ref().is_err_and(|found| errno(found) == errno(error));
            }
            way.steps.push(Step {
                directory: at.as_slice().into(),
                name: component,
                watch: watch.ok(),
            });
            let outcome = found.and_then(|found| {
                if found.kind == FileKind::Link { fs.read_link(&named).map(Some) } else { Ok(None) }
            });
            links += usize::from(matches!(outcome, Ok(Some(_))));
            match outcome {
                Ok(Some(target)) if links <= LINKS_MAX => {
                    if target.starts_with(b"/") {
                        at = b"/".to_vec();
                    }
                    todo.extend(components(&target).rev().map(Box::from));
                }
                Ok(None) => at = named,
                outcome => {
                    let too_many_links = || io::Error::from_raw_os_error(libc::ELOOP);
                    failure = Some(outcome.err().unwrap_or_else(too_many_links));
                    at = named;
                    break;
                }
            }
        }
        match failure {
            None => way.inode = directory_at(or_dot(&at), fs),
            Some(error) => {
                let is_reported = matches!(Failure::of(&error), Failure::Gone | Failure::Refused);
                way.is_reported &= is_reported && !is_any_blind(&way.steps, fs);
            }
        }
        // The missing part is spelled as in the path.
        todo.iter().rev().for_each(|component| at = join(&at, component));
        way.real = at;
        way
    }
}

/// Device and inode of the directory at a path, if one is there.
fn directory_at(path: &[u8], fs: &mut impl FileSystem) -> Option<(u64, u64)> {
    let found =
        fs.stat(path, Links::Keep).ok().filter(|found| found.kind == FileKind::Directory)?;
    Some((found.id.device, found.id.inode))
}

/// Whether one of the directories is on a file system that others write to without an event.
fn is_any_blind(steps: &[Step], fs: &mut impl FileSystem) -> bool {
    steps.iter().any(|step| match fs.file_system(or_dot(&step.directory), Links::Follow) {
        Ok(found) => found.sight().is_blind(),
        Err(error) => !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::Linux;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_walk_notes_every_name_that_the_kernel_passes() {
        let world = tempfile::tempdir().expect("a directory");
        let top = std::fs::canonicalize(world.path()).expect("it exists");
        std::fs::create_dir_all(top.join("data/logs")).expect("mkdir");
        std::fs::write(top.join("data/file"), "").expect("a file");
        symlink("data", top.join("link")).expect("ln");
        symlink(top.join("link/logs"), top.join("far")).expect("ln");
        symlink("loop", top.join("loop")).expect("ln");
        // The path, the names below the top that the walk passes, its end, and whether a directory
        // is there.
        let cases: [(&str, &[&str], &str, bool); 8] = [
            ("data/logs", &["data", "logs"], "data/logs", true),
            ("data/./file", &["data", "file"], "data/file", false),
            ("link/logs", &["link", "data", "logs"], "data/logs", true),
            ("far", &["far", "link", "data", "logs"], "data/logs", true),
            ("data/logs/../file", &["data", "logs", "file"], "data/file", false),
            ("link/../link/file", &["link", "data", "link", "data", "file"], "data/file", false),
            ("data/none/below", &["data", "none"], "data/none/below", false),
            ("loop", &["loop"], "loop", false),
        ];
        for (path, names, real, is_directory) in cases {
            let way = Way::walk(top.join(path).as_os_str().as_bytes(), &mut Linux::new());
            let below = |step: &&Step| step.directory.starts_with(top.as_os_str().as_bytes());
            let mut passed: Vec<&str> = way
                .steps
                .iter()
                .filter(below)
                .map(|step| str::from_utf8(&step.name).unwrap())
                .collect();
            passed.dedup();
            assert_eq!(passed, names, "{path}");
            assert_eq!(way.real, top.join(real).as_os_str().as_bytes(), "{path}");
            assert_eq!(way.inode.is_some(), is_directory, "{path}");
            assert!(way.steps.iter().all(|step| step.watch.is_some()), "{path}");
            assert!(way.is_reported, "{path}");
        }
    }
}
