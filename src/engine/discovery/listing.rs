//! Entries of a directory that is being listed.
//!
//! In: the entries, and the work of the visit. Out: names that are new, looks at known names,
//! visits of directories below.
//! Always holds: a known name that the listing does not contain is looked at, not dropped.

use crate::engine::Engine;
use crate::engine::discovery::visits::Visit;
use crate::engine::namespace::registry::{SlotId, State};
use crate::engine::namespace::tree::{DirId, VisitWork};
use crate::engine::schedule::{HeldBack, Schedule};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::failure::Failure;
use crate::sys::{FileKind, FileSystem};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Takes entries, within the budget. Returns the visit if the listing is not finished.
    pub(in crate::engine) fn list(
        &mut self,
        mut visit: Visit<F::Listing>,
        budget: &mut usize,
        now: Now,
    ) -> Option<Visit<F::Listing>> {
        let dir = self.tree.alive(visit.directory)?;
        let mut name = std::mem::take(&mut self.discovery.entry);
        let mut is_done = false;
        while *budget > 0 && !is_done {
            *budget -= 1;
            match self.fs.next_entry(&mut visit.listing, &mut name) {
                Ok(Some(kind)) => {
                    let inode = self.fs.entry_inode(&visit.listing);
                    self.take_entry(dir, &name, kind, inode, visit.work, now);
                }
                Ok(None) => {
                    self.finish_visit(dir, &visit);
                    is_done = true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    rare!("a listing broke off");
                    self.visit_failed(dir, &error, now);
                    is_done = true;
                }
            }
        }
        self.discovery.entry = name;
        (!is_done).then_some(visit)
    }

    fn take_entry(
        &mut self,
        dir: DirId,
        name: &[u8],
        kind: FileKind,
        inode: u64,
        work: VisitWork,
        now: Now,
    ) {
        let kind = if kind == FileKind::Unknown { self.entry_kind(dir, name, now) } else { kind };
        match kind {
            FileKind::Directory => self.take_directory_entry(dir, name, work, now),
            FileKind::Regular => self.take_file_entry(dir, name, inode, work, now),
            FileKind::Link if self.config.follow_links.is_some() => {
                self.take_file_entry(dir, name, inode, work, now)
            }
            FileKind::Special if work.contains(VisitWork::FINDS_NEW) => {
                if self.coverage.input_of(&self.tree, dir, name, &mut self.path).is_some()
                    && self.files.find(dir, name).is_none()
                {
                    self.path.clear();
                    self.tree.write_path(dir, &mut self.path);
                    self.path.extend_from_slice(name);
                    self.observer.report_not_regular(&self.path, now.instant);
                }
            }
            FileKind::Link | FileKind::Special | FileKind::Unknown => {}
        }
    }

    /// Looks at an entry whose kind the listing does not report.
    fn entry_kind(&mut self, dir: DirId, name: &[u8], now: Now) -> FileKind {
        rare!("a listing did not tell what kind an entry is");
        let links = self.tree.write_name(dir, name, &mut self.path);
        let error = match self.fs.stat(&self.path, links) {
            Ok(found) => return found.kind,
            Err(error) => error,
        };
        let says_nothing = matches!(Failure::of(&error), Failure::Shortage | Failure::Other);
        if says_nothing
            && self.config.recursive
            && self.coverage.input_of(&self.tree, dir, name, &mut self.path).is_none()
        {
            rare!("what kind an entry is could not be told for now");
            // No look follows, since no file of this name is to be followed; but it may be a
            // directory: the directory is listed once more.
            self.visit_failed(dir, &error, now);
        }
        // A name that cannot be looked at is treated as a file. The look that follows reports why.
        FileKind::Regular
    }

    fn take_file_entry(&mut self, dir: DirId, name: &[u8], inode: u64, work: VisitWork, now: Now) {
        let is_looked_at = work.contains(VisitWork::LOOK_AT_KNOWN);
        if is_looked_at && self.files.is_alias(dir, name) {
            if self.coverage.single_files.is_target(dir, name)
                && self.coverage.input_of(&self.tree, dir, name, &mut self.path).is_none()
            {
                // The look at the link itself checks where it leads.
                return;
            }
            rare!("a listing came by a further name of a file");
            // It may stand for another file now. If not, the look adds it again.
            self.files.remove_alias(dir, name);
        }
        if let Some(id) = self.files.find(dir, name) {
            let is_its_name = self.files.get(id).is_bound() && self.files.get(id).dir() == dir;
            if work.contains(VisitWork::REAPPLY_RULES)
                && is_its_name
                && !self.still_belongs(id, dir, name, now)
            {
                return;
            }
            let slot = self.files.get_mut(id);
            if slot.is_bound() && slot.dir() == dir {
                slot.set(State::SEEN);
            }
            if is_looked_at {
                self.doubt(id);
            }
        } else if let Some(id) = self.track_if_accepted(dir, name) {
            Schedule::hold_back(&mut self.files, id, HeldBack::ByAge);
            let slot = self.files.get_mut(id);
            slot.set(State::SEEN | State::MAY_HOLD_BYTES);
            slot.put(State::FIRST_SCAN, work.applies_from());
        } else if let Some(input) = self.was_renamed(dir, name, inode) {
            rare!("a file that the journal knows was listed under a name that does not match");
            // An earlier run followed it: it continues under any name, as after a rename that we
            // see.
            let id = self.track_name(dir, name, input);
            Schedule::hold_back(&mut self.files, id, HeldBack::ByAge);
            self.files.get_mut(id).set(State::SEEN | State::ONLY_KNOWN);
        }
    }

    fn take_directory_entry(&mut self, dir: DirId, name: &[u8], work: VisitWork, now: Now) {
        if self.tree.find(dir, name).is_none() {
            self.path_became_directory(dir, name, now.instant);
        }
        if !self.config.recursive {
            return;
        }
        match self.tree.find(dir, name) {
            Some(child) => {
                if work.contains(VisitWork::REAPPLY_RULES)
                    && self.drop_if_uncovered(child, now.instant)
                {
                    return;
                }
                let is_unwatched = !self.config.once && self.tree.watch(child).is_none();
                let found = self.tree.get_mut(child);
                found.is_seen = true;
                let is_settled = !found.is_unreadable() && found.inode != (0, 0) && !is_unwatched;
                let below = work.below(is_settled);
                if !below.is_empty() {
                    self.push_visit(child, below);
                }
            }
            None => {
                let work =
                    if work.applies_from() { VisitWork::FIRST_SCAN } else { VisitWork::APPEARED };
                if let Some(child) = self.add_directory(dir, name, work) {
                    self.tree.get_mut(child).is_seen = true;
                }
            }
        }
    }

    /// The listing has finished: known names that it did not contain are looked at.
    fn finish_visit(&mut self, dir: DirId, visit: &Visit<F::Listing>) {
        self.tree.get_mut(dir).unfinished = VisitWork::empty();
        let files: Vec<SlotId> = self.files.in_dir(dir).collect();
        for id in files {
            let slot = self.files.get_mut(id);
            let was_seen = slot.state().contains(State::SEEN);
            slot.clear(State::SEEN);
            if !was_seen && visit.had_files {
                rare!("a known file did not come up in a listing");
                self.doubt(id);
            }
        }
        let children: Vec<DirId> = self.tree.children(dir).collect();
        for child in children {
            if !std::mem::take(&mut self.tree.get_mut(child).is_seen) && visit.had_files {
                rare!("a known directory did not come up in a listing");
                self.push_visit(child, VisitWork::APPEARED);
            }
        }
    }
}
