//! First halves of renames, until their second halves come.
//!
//! In: the events of renames, whose halves have the same cookie. Out: the file or directory
//! that a second half is about.
//! Always holds: a second half finds its first half once, and only within [`GRACE`]: the kernel
//! queues both halves back to back.

use std::time::Instant;

use hashbrown::HashMap;

use crate::engine::namespace::registry::SlotKey;
use crate::engine::namespace::tree::DirKey;
use crate::engine::schedule::timers::GRACE;

/// The first half of a rename: what it is about, and when it came.
#[derive(Debug, Clone, Copy)]
enum HalfRename {
    File(SlotKey, Instant),
    Directory(DirKey, Instant),
}

/// All first halves, by cookie.
#[derive(Debug, Default)]
pub(in crate::engine) struct HalfRenames {
    by_cookie: HashMap<u32, HalfRename>,
}

impl HalfRenames {
    /// A file loses its name by a rename.
    pub(in crate::engine) fn begin_file(&mut self, cookie: u32, file: SlotKey, now: Instant) {
        self.by_cookie.insert(cookie, HalfRename::File(file, now));
    }

    /// A directory loses its name by a rename.
    pub(in crate::engine) fn begin_directory(&mut self, cookie: u32, dir: DirKey, now: Instant) {
        self.by_cookie.insert(cookie, HalfRename::Directory(dir, now));
    }

    /// The second half of the rename of a file. Returns the file, if it is known.
    pub(in crate::engine) fn end_file(&mut self, cookie: u32) -> Option<SlotKey> {
        match self.by_cookie.remove(&cookie)? {
            HalfRename::File(file, _) => Some(file),
            HalfRename::Directory(..) => None,
        }
    }

    /// The second half of the rename of a directory. Returns the directory, if it is known.
    pub(in crate::engine) fn end_directory(&mut self, cookie: u32) -> Option<DirKey> {
        match self.by_cookie.remove(&cookie)? {
            HalfRename::Directory(dir, _) => Some(dir),
            HalfRename::File(..) => None,
        }
    }

    /// Drops first halves whose second halves did not come in time.
    pub(in crate::engine) fn expire(&mut self, now: Instant) {
        if !self.by_cookie.is_empty() {
            self.by_cookie.retain(|_, half| {
                let (HalfRename::File(_, since) | HalfRename::Directory(_, since)) = half;
                now < *since + GRACE
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::namespace::registry::Registry;
    use crate::engine::namespace::tree::{DirId, Role, Tree};

    #[test]
    fn a_second_half_finds_a_first_half_of_its_kind_once_and_in_time() {
        #[derive(Debug, PartialEq)]
        enum Found {
            Nothing,
            File,
            Directory,
        }
        use Found::*;
        let (mut files, mut tree) = (Registry::new(), Tree::new(None));
        let dir = tree.add_root(b"/t/", Role::Listed);
        let id = files.insert(DirId(0), b"x");
        let (file, dir, start) = (files.key(id), tree.key(dir), crate::sys::clock::now().instant);
        let ms = Duration::from_millis;
        // Cookies of first halves of files and of directories; milliseconds until the second half;
        // its cookie; what it finds if it is about a file, and if it is about a directory.
        for (of_files, of_dirs, millis, cookie, as_file, as_directory) in [
            (&[][..], &[][..], 0, 1, Nothing, Nothing),
            (&[1], &[], 0, 1, File, Nothing),
            (&[1], &[], 0, 2, Nothing, Nothing),
            (&[], &[1], 0, 1, Nothing, Directory),
            (&[1], &[2], 0, 1, File, Nothing),
            (&[1], &[2], 0, 2, Nothing, Directory),
            // A cookie that is used again stands for the rename that came last.
            (&[1], &[1], 0, 1, Nothing, Directory),
            (&[1], &[2], 19, 1, File, Nothing),
            (&[1], &[2], 20, 1, Nothing, Nothing),
            (&[1], &[2], 20, 2, Nothing, Nothing),
        ] {
            for is_file in [true, false] {
                let mut halves = HalfRenames::default();
                of_files.iter().for_each(|&cookie| halves.begin_file(cookie, file, start));
                of_dirs.iter().for_each(|&cookie| halves.begin_directory(cookie, dir, start));
                halves.expire(start + ms(millis));
                let found = |halves: &mut HalfRenames| {
                    if is_file && halves.end_file(cookie) == Some(file) {
                        File
                    } else if !is_file && halves.end_directory(cookie) == Some(dir) {
                        Directory
                    } else {
                        Nothing
                    }
                };
                let expected = if is_file { &as_file } else { &as_directory };
                let case = format!("{of_files:?} {of_dirs:?} {millis} ms {cookie} {is_file}");
                assert_eq!(found(&mut halves), *expected, "{case}");
                assert_eq!(found(&mut halves), Nothing, "{case}: a half is found once");
            }
        }
    }
}
