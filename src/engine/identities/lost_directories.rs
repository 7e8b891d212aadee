//! Directories that lost their paths: renamed away, deleted, or gone with a directory above them.
//!
//! In: directories that a look did not find, or whose renames got no second half. Out: they are
//! dropped with everything below them, go on at another place, or are listed again.
//! Always holds: a directory is dropped only after a second look; with `--once`, at the first one.

use std::time::Instant;

use crate::engine::coverage::looks::leads_to;
use crate::engine::namespace::tree::{DirId, DirKey, VisitWork};
use crate::engine::schedule::deadlines::Task;
use crate::engine::schedule::timers;
use crate::engine::{Engine, LOOKS_PER_TURN};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{FileKind, FileSystem};

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The directory's path leads nowhere. It is dropped only once the kernel's queue is empty:
    /// events of a rename may still be queued, and the files below continue at their new place,
    /// even where no glob matches them.
    pub(in crate::engine) fn lost_directory(&mut self, dir: DirId, now: Now) {
        if self.config.once {
            self.drop_lost(dir, now);
        } else if !std::mem::replace(&mut self.tree.get_mut(dir).is_lost, true) {
            let key = self.tree.key(dir);
            self.discovery.urgent.lost.push_back(key);
        }
    }

    /// Looks once more for directories that were not found in the last turn.
    pub(in crate::engine) fn recheck_lost(&mut self, now: Now) {
        // Those that are found to be lost meanwhile wait for the next turn and its events.
        for _ in 0..self.discovery.urgent.lost.len().min(LOOKS_PER_TURN) {
            let Some(key) = self.discovery.urgent.lost.pop_front() else { break };
            let Some(dir) = self.tree.alive(key) else { continue };
            self.tree.get_mut(dir).is_lost = false;
            match leads_to(&self.tree, dir, &mut self.path, &mut self.fs) {
                Ok(false) => self.drop_lost(dir, now),
                Ok(true) => {
                    rare!(
                        "a directory that a look had missed was there after the events that explain it"
                    );
                    self.push_visit(dir, VisitWork::APPEARED);
                }
                Err(_) => self.visit_later(dir, now),
            }
        }
    }

    /// Drops a directory whose path led nowhere at two looks. If the path of one above it leads
    /// nowhere, too, that one is looked at once more first, the topmost before the others: it may
    /// have been renamed since the events were read.
    fn drop_lost(&mut self, dir: DirId, now: Now) {
        if self.tree.is_any_moving(dir) {
            return self.visit_later(dir, now);
        }
        let mut lost = dir;
        while let Some(parent) = self.tree.parent(lost) {
            match leads_to(&self.tree, parent, &mut self.path, &mut self.fs) {
                Ok(true) => break,
                Ok(false) => {
                    rare!("the parent of a lost directory was lost as well");
                    lost = parent;
                }
                Err(_) => return self.visit_later(dir, now),
            }
        }
        if lost != dir && !self.config.once {
            rare!("a directory above a lost one got its own second look");
            self.lost_directory(lost, now);
            return self.lost_directory(dir, now);
        }
        let was_link = self.tree.get(lost).via_link;
        let parent = self.tree.parent(lost).map(|parent| (parent, self.tree.name(lost).to_vec()));
        self.discovery.visit_roots_within(&self.coverage, &mut self.tree, lost, &mut self.path);
        self.drop_directory(lost, now.instant);
        match parent {
            None => self.root_lost(now),
            Some((parent, name)) => {
                // Another directory, or a file, may have its name now.
                let links = self.tree.write_name(parent, &name, &mut self.path);
                if self
                    .fs
                    .stat(&self.path, links)
                    .is_ok_and(|found| found.kind == FileKind::Directory)
                {
                    self.add_directory(parent, &name, VisitWork::APPEARED);
                } else if self.files.find(parent, &name).is_none() {
                    self.track_if_accepted(parent, &name);
                }
                // The directory that was reached through the link may be in the tree under its own
                // name as well.
                self.discovery.is_rescan_due |= was_link;
            }
        }
    }

    /// A directory was renamed away, and no new name appeared in time.
    pub(in crate::engine) fn judge_directory(&mut self, key: DirKey, now: Instant) {
        let Some(dir) = self
            .tree
            .alive(key)
            .filter(|&dir| self.tree.get(dir).is_moving && !self.tree.get(dir).is_dropping)
        else {
            return;
        };
        let parent =
            self.tree.parent(dir).expect("only directories below a root are moved by name");
        let name = self.tree.name(dir).to_vec();
        match leads_to(&self.tree, dir, &mut self.path, &mut self.fs) {
            Ok(true) if self.tree.find(parent, &name).is_none() => {
                rare!("a directory that was renamed away had its old name again");
                self.rename_directory(dir, parent, &name, now);
            }
            Ok(_) => {
                self.discovery.visit_roots_within(
                    &self.coverage,
                    &mut self.tree,
                    dir,
                    &mut self.path,
                );
                self.drop_directory(dir, now);
            }
            Err(_) => {
                self.schedule.deadlines.add(now + timers::RETRY_AFTER, Task::JudgeDirectory(key))
            }
        }
    }
}
