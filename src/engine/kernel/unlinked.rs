//! Files that lost the name by which a writer opened them and live on under another one: `ln x y;
//! rm x`, `cp -al a b; rm -r a`, `O_TMPFILE`.
//!
//! In: events that name what is not there any more. Out: the file that is meant is dirty; nothing
//! else happens.
//! Always holds: an event of a name that is gone costs no look, no slot and no diagnostic. The
//! kernel tells of such a write under the name by which the file was opened, in the directory that
//! held it; of an unnamed file under `#` and its inode's number.

use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, SlotId, SlotKey};
use crate::engine::namespace::tree::DirId;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::interpret::NameChange;
use crate::sys::{FileSystem, Stat, WatchId};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The file loses this name for good: somebody may still write to it through the name.
    pub(in crate::engine) fn note_former_name(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        let Some(watch) = self.tree.at_place(dir.0).and_then(|dir| self.tree.watch(dir)) else {
            return;
        };
        // `statx(2)` may have run ahead of this event. Then the event is about the earlier file,
        // which is already noted.
        if self.files.get(id).is_identified() || !self.identities.former.was_deleted(watch, name) {
            self.identities.former.note(watch, name, self.files.key(id));
        }
    }

    /// The file no longer has its name, and the event that explains it is still queued. Unless the
    /// event is a rename, a program may still write to the file through that name.
    pub(in crate::engine) fn lost_name_ahead(&mut self, id: SlotId) {
        let Some(dir) = self.tree.at_place(self.files.get(id).dir().0) else { return };
        if let Some(watch) = self.tree.watch(dir)
            && self.files.get(id).is_identified()
            && !self.tree.get(dir).is_blind()
            && !self.is_catching_up()
        {
            rare!("a file had lost its name before the event came");
            self.identities.former.note_ahead(watch, self.files.name(id), self.files.key(id));
        }
    }

    /// An event removes this name from a file.
    pub(in crate::engine) fn name_was_lost(&mut self, dir: DirId, name: &[u8], what: NameChange) {
        match (what, self.tree.watch(dir)) {
            (NameChange::MovedFrom(_), Some(watch)) => {
                self.identities.former.was_renamed(watch, name)
            }
            (NameChange::Deleted, Some(watch)) => {
                let _ = self.identities.former.was_deleted(watch, name);
            }
            _ => {}
        }
    }

    /// An event about a name that no file has: says whether the name is a former one, so that
    /// nothing new is to be heard of.
    pub(in crate::engine) fn is_former_name(
        &mut self,
        watch: WatchId,
        dir: Option<DirId>,
        name: &[u8],
        what: NameChange,
    ) -> bool {
        if let Some(key) = self.identities.former.find(watch, name) {
            self.former_changed(key, what);
            // Where others create files without an event, the name may be one of theirs by now.
            return !dir.is_some_and(|dir| self.tree.get(dir).is_blind());
        }
        let Some(inode) = unnamed_inode(name) else { return false };
        if let Some(dir) = dir {
            self.unnamed_changed((self.tree.get(dir).inode.0, inode));
        }
        true
    }

    /// A file has the name of the event, but it may be meant for one that had the name before.
    #[inline]
    pub(in crate::engine) fn change_former(&mut self, dir: DirId, name: &[u8]) {
        if !self.identities.former.is_empty()
            && let Some(watch) = self.tree.watch(dir)
            && let Some(key) = self.identities.former.find(watch, name)
        {
            self.former_changed(key, NameChange::Modified);
        }
    }

    fn former_changed(&mut self, key: SlotKey, what: NameChange) {
        let Some(id) = self.files.alive(key) else { return };
        if self.files.get(id).is_bound() {
            match what {
                NameChange::Attributes => self.doubt(id),
                _ => self.mark_dirty(id),
            }
        } else if self.files.get(id).life() == Life::Leaving && self.is_just_found(id) {
            // It is about to get another name.
            self.mark_dirty(id);
        }
    }

    /// Whether a look that is still to be settled found this file.
    fn is_just_found(&self, id: SlotId) -> bool {
        let file = self.files.file_id(id);
        self.identities
            .found
            .iter()
            .any(|(_, found)| found.is_some() && found.map(|found| found.id) == file)
    }

    /// Somebody writes to a file that was opened without a name. If it got one since, it is found
    /// by its number.
    fn unnamed_changed(&mut self, (device, inode): (u64, u64)) {
        if let Some(id) = self.files.find_inode(device, inode) {
            self.mark_dirty(id);
            return;
        }
        // Its first name may have been looked at a moment ago.
        let is_meant = |found: &Option<Stat>| {
            found.is_some_and(|found| (found.id.device, found.id.inode) == (device, inode))
        };
        let heard_of = self
            .identities
            .found
            .iter()
            .find(|(_, found)| is_meant(found))
            .and_then(|(key, _)| self.files.alive(*key));
        if let Some(id) = heard_of.filter(|&id| self.files.get(id).is_bound()) {
            self.mark_dirty(id);
        }
    }

    /// Lets a directory's watch go, unless the directory was deleted: files that were opened in it
    /// may live on under other names, and the kernel tells of writes to them until the last one is
    /// closed.
    pub(in crate::engine) fn end_watch(&mut self, dir: DirId) {
        let was_deleted = self.identities.former.take_deleted(self.tree.key(dir));
        let Some(watch) = self.tree.watch(dir) else { return };
        let surplus =
            if was_deleted { self.identities.former.keep_watch(watch) } else { Some(watch) };
        if let Some(surplus) = surplus {
            self.unwatch(surplus);
        }
        if was_deleted && (self.discovery.is_rescan_due || self.kernel.is_missing_events) {
            // IN_IGNORED of a directory comes before IN_DELETE of its name: it may be among the
            // lost events.
            self.identities.former.doubt_watches();
        }
        self.tree.set_watch(dir, None);
    }

    /// Removes watches of deleted directories whose end may have been missed and that no known file
    /// needs.
    pub(in crate::engine) fn give_useless_watches_back(&mut self) {
        for watch in
            self.identities.former.take_useless_watches(|file| self.files.alive(file).is_some())
        {
            rare!(
                "a watch of a deleted directory was given back because its end may have been missed"
            );
            if self.tree.find_watch(watch).is_none() {
                self.unwatch(watch);
            }
        }
    }

    /// There are no watches to be had: those of deleted directories are given back first.
    pub(in crate::engine) fn give_dead_watches_back(&mut self) {
        while let Some(watch) = self.identities.former.take_watch() {
            self.unwatch(watch);
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
