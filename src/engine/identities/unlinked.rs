//! Writes to files that lost the name by which a writer opened them and live on under another one:
//! `ln x y; rm x`, `cp -al a b; rm -r a`, `O_TMPFILE`.
//!
//! In: events about names that are not there any more. Out: the file that is meant is dirty;
//! nothing else happens.
//! Always holds: an event about a name that is gone costs no look, no slot and no diagnostic. The
//! kernel reports such a write under the name by which the file was opened, in the directory that
//! held it; for an unnamed file, under `#` and the number of its inode.

use crate::engine::identities::Identities;
use crate::engine::namespace::registry::{Life, Registry, SlotId, SlotKey};
use crate::engine::namespace::tree::{DirId, Tree};
use crate::engine::schedule::Schedule;
use crate::sys::interpret::NameChange;
use crate::sys::{Stat, WatchId};

impl Identities {
    /// An event about a name that no file has. Returns whether it is a former name, so that nothing
    /// new is behind it.
    pub(in crate::engine) fn take_as_former(
        &self,
        files: &mut Registry,
        tree: &Tree,
        schedule: &mut Schedule,
        watch: WatchId,
        name: &[u8],
        what: NameChange,
    ) -> bool {
        let dir = tree.find_watch(watch);
        if let Some(key) = self.former.find(watch, name) {
            self.former_changed(files, tree, schedule, key, what);
            // Where others create files without an event, the name may be one of theirs by now.
            return !dir.is_some_and(|dir| tree.get(dir).is_blind());
        }
        let Some(inode) = unnamed_inode(name) else { return false };
        if let Some(dir) = dir {
            self.unnamed_changed(files, tree, schedule, (tree.get(dir).inode.0, inode));
        }
        true
    }

    /// A file has the name of the event, but a file that had the name before may be meant.
    #[inline]
    pub(in crate::engine) fn change_former(
        &self,
        files: &mut Registry,
        tree: &Tree,
        schedule: &mut Schedule,
        dir: DirId,
        name: &[u8],
    ) {
        if !self.former.is_empty()
            && let Some(watch) = tree.watch(dir)
            && let Some(key) = self.former.find(watch, name)
        {
            self.former_changed(files, tree, schedule, key, NameChange::Modified);
        }
    }

    fn former_changed(
        &self,
        files: &mut Registry,
        tree: &Tree,
        schedule: &mut Schedule,
        key: SlotKey,
        what: NameChange,
    ) {
        let Some(id) = files.alive(key) else { return };
        if files.get(id).is_bound() {
            match what {
                NameChange::Attributes => schedule.doubt(files, tree, id),
                _ => schedule.mark_dirty(files, tree, id),
            }
        } else if files.get(id).life() == Life::Leaving && self.is_just_found(files, id) {
            // It is about to get another name.
            schedule.mark_dirty(files, tree, id);
        }
    }

    /// Whether a look found this file, and that is not applied yet.
    fn is_just_found(&self, files: &Registry, id: SlotId) -> bool {
        let file = files.file_id(id);
        self.found.iter().any(|(_, found)| found.is_some() && found.map(|found| found.id) == file)
    }

    /// A program writes to a file that was opened without a name. If the file got a name since, it
    /// is found by its number.
    fn unnamed_changed(
        &self,
        files: &mut Registry,
        tree: &Tree,
        schedule: &mut Schedule,
        (device, inode): (u64, u64),
    ) {
        if let Some(id) = files.find_inode(device, inode) {
            schedule.mark_dirty(files, tree, id);
            return;
        }
        // Its first name may have been looked at a moment ago.
        let is_meant = |found: &Option<Stat>| {
            found.is_some_and(|found| (found.id.device, found.id.inode) == (device, inode))
        };
        let named = self
            .found
            .iter()
            .find(|(_, found)| is_meant(found))
            .and_then(|(key, _)| files.alive(*key));
        if let Some(id) = named.filter(|&id| files.get(id).is_bound()) {
            schedule.mark_dirty(files, tree, id);
        }
    }
}

/// The inode of a file that was made with `O_TMPFILE`, by the name that events give it.
fn unnamed_inode(name: &[u8]) -> Option<u64> {
    let digits = name.strip_prefix(b"#")?;
    let is_number = digits.first().is_some_and(|&digit| digit != b'0') && digits.len() <= 20;
    if !is_number {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::unnamed_inode;

    #[test]
    fn only_a_number_behind_a_hash_names_an_inode() {
        assert_eq!(unnamed_inode(b"#9986674"), Some(9_986_674));
        assert_eq!(unnamed_inode(b"#18446744073709551615"), Some(u64::MAX));
        for name in [
            b"#".as_slice(),
            b"#x",
            b"#1x",
            b"9",
            b"#01",
            b"#18446744073709551616",
            b"#99999999999999999999999",
        ] {
            assert_eq!(unnamed_inode(name), None, "{}", name.escape_ascii());
        }
    }
}
