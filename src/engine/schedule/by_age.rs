//! Files that a listing found and no event orders: the file that was written to last is read last.
//!
//! In: such files, each with the time of its last modification, and the groups in which more of
//! them may appear. Out: the files whose turn has come, the oldest first.
//! Always holds: a file that is here has [`State::BY_AGE`] until its turn comes. While everything
//! is being listed, or events were missed, all files here wait for one another; otherwise a file
//! waits only for its own group.

use std::time::{Instant, SystemTime};

use hashbrown::HashSet;

use crate::engine::namespace::registry::{Life, Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::Tree;
use crate::engine::schedule::{HeldBack, Schedule, group_of};
use crate::engine::{DOUBTS_MAX, Engine};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;

/// A time at which a file was written to: between its first write and its last one. Generations of
/// a name have no such time in common, so any will do. And the file.
type Aged = (SystemTime, SlotKey);

/// All files that wait for their turn by age.
#[derive(Debug, Default)]
pub(in crate::engine) struct ByAge {
    files: Vec<Aged>,
    /// Groups in which more such files may appear: new directories are being listed, or the files
    /// behind some names are not known yet.
    open_groups: HashSet<u32>,
}

impl ByAge {
    pub(in crate::engine) fn len(&self) -> usize {
        self.files.len()
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The file at a place, in no order.
    pub(in crate::engine) fn get(&self, at: usize) -> SlotKey {
        self.files[at].1
    }

    /// All files, in no order.
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.files.iter().map(|&(_, key)| key)
    }

    /// More files may appear in this group.
    pub(in crate::engine) fn open_group(&mut self, group: u32) {
        self.open_groups.insert(group);
    }

    /// Whether more files may appear in this group.
    #[inline]
    pub(in crate::engine) fn is_group_open(&self, group: u32) -> bool {
        !self.open_groups.is_empty() && self.open_groups.contains(&group)
    }

    /// Whether more files may appear in any group.
    pub(in crate::engine) fn has_open_groups(&self) -> bool {
        !self.open_groups.is_empty()
    }

    /// No more files appear.
    pub(in crate::engine) fn close_groups(&mut self) {
        self.open_groups.clear();
    }

    fn push(&mut self, file: SlotKey, time: SystemTime) {
        self.files.push((time, file));
    }

    /// Takes all files, the oldest first.
    fn take_all(&mut self, files: &Registry) -> Vec<Aged> {
        in_order(std::mem::take(&mut self.files), files)
    }

    /// Takes the files whose group is not busy, the oldest first. Only busy groups stay open.
    fn take_of_calm_groups(
        &mut self,
        files: &Registry,
        tree: &Tree,
        is_busy: impl Fn(u32) -> bool,
    ) -> Vec<Aged> {
        let is_calm =
            |key: SlotKey| files.alive(key).is_none_or(|id| !is_busy(group_of(files, tree, id)));
        let (calm, others) =
            std::mem::take(&mut self.files).into_iter().partition(|&(_, key)| is_calm(key));
        self.files = others;
        self.open_groups =
            self.open_groups.iter().copied().filter(|&group| is_busy(group)).collect();
        in_order(calm, files)
    }

    /// Takes the memory of a list back that was worked off.
    fn reuse(&mut self, mut list: Vec<Aged>) {
        if self.files.is_empty() {
            list.clear();
            list.shrink_to(DOUBTS_MAX);
            self.files = list;
        }
    }
}

/// Sorts files by age. Within a clock tick, the name that a rotation made is the longer one:
/// app.log.1 is older than app.log.
fn in_order(mut list: Vec<Aged>, files: &Registry) -> Vec<Aged> {
    let len = |key: &SlotKey| files.alive(*key).map_or(0, |id| files.name(id).len());
    list.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| len(b).cmp(&len(a))));
    list
}

impl Schedule {
    /// A file is read in its turn among those that a listing found: `time` is between its first
    /// write and its last one.
    pub(in crate::engine) fn hold_by_age(
        &mut self,
        files: &mut Registry,
        id: SlotId,
        time: SystemTime,
    ) {
        Self::hold_back(files, id, HeldBack::ByAge);
        self.by_age.push(files.key(id), time);
    }

    /// A known file changed while its group is being listed. It may be the successor of a file that
    /// is still to be found, so it is read in its turn among the listed files. `drained_at`: when
    /// the kernel's queue was last empty. The change came later, and the file had begun before.
    /// (When the event is read says nothing: by then, the next file of the name may have ended. Its
    /// write before that says nothing either: the file before it may still have been written to.)
    /// Only of a file that was empty nothing else is known than `now`: it may be made long before
    /// its first write.
    pub(in crate::engine) fn hold_changed_by_age(
        &mut self,
        files: &mut Registry,
        id: SlotId,
        drained_at: SystemTime,
        now: SystemTime,
    ) {
        let slot = files.get(id);
        if slot.life() == Life::Following && !slot.state().intersects(State::BY_AGE | State::DIRTY)
        {
            rare!("a known file that changed was read in its turn among those of a listing");
            let was_empty = slot.offset == 0 && slot.scanned == 0;
            let time = if was_empty { now } else { drained_at };
            self.hold_by_age(files, id, time);
        }
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Releases the files whose turn by age has come: all of them once everything is listed, those
    /// of calm groups before that.
    pub(in crate::engine) fn release_by_age(&mut self, now: Instant) {
        let is_calm = self.is_calm();
        let is_full = self.schedule.by_age.len() > DOUBTS_MAX;
        let all_wait = !self.discovery.has_scanned
            || self.discovery.is_rescan_due
            || self.kernel.is_missing_events
            || self.discovery.searches.is_under_way();
        let (files, tree) = (&self.files, &self.tree);
        let mut due = if is_calm || is_full {
            self.schedule.by_age.take_all(files)
        } else if all_wait {
            return;
        } else {
            // A group is busy while one of its directories is being listed, or one of its names or
            // directories is not resolved yet.
            let lost = self.discovery.urgent.lost.iter();
            let lost = lost.filter_map(|&key| tree.alive(key)).map(|dir| tree.group(dir));
            let found = self.identities.finds().filter_map(|key| files.alive(key));
            let found = found.map(|id| group_of(files, tree, id));
            let unresolved: HashSet<u32> = lost.chain(found).collect();
            let (urgent, doubts) = (&self.discovery.urgent, &self.schedule.doubts);
            self.schedule.by_age.take_of_calm_groups(files, tree, |group| {
                urgent.holds(group) || doubts.holds(group) || unresolved.contains(&group)
            })
        };
        for (_, key) in due.drain(..) {
            if let Some(id) = self.files.alive(key) {
                Schedule::end_by_age(&mut self.files, id);
                let inputs = &self.coverage.inputs;
                self.offsets.begin_by_age_generation(&mut self.files, inputs, id);
                self.after_look(id, now);
            }
        }
        self.schedule.by_age.reuse(due);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::namespace::tree::{DirId, Role};

    #[test]
    fn files_come_by_age_the_longer_name_first_and_those_of_busy_groups_stay() {
        let (mut files, mut tree, mut by_age) =
            (Registry::new(), Tree::new(None), ByAge::default());
        let root = tree.add_root(b"/t/", Role::Listed);
        let dirs = [tree.add(root, b"a"), tree.add(root, b"b")];
        let groups = dirs.map(|dir| tree.group(dir));
        assert_ne!(groups[0], groups[1]);
        let start = SystemTime::UNIX_EPOCH;
        let mut add = |dir: DirId, name: &[u8], second| {
            let id = files.insert(dir, name);
            by_age.push(files.key(id), start + Duration::from_secs(second));
            id
        };
        // Directory, name, time of the last modification.
        let [new, old, one, two, busy] = [
            (dirs[0], &b"new.log"[..], 9),
            (dirs[0], b"old.log", 1),
            (dirs[0], b"app.log", 5),
            (dirs[0], b"app.log.1", 5),
            (dirs[1], b"busy.log", 0),
        ]
        .map(|(dir, name, second)| add(dir, name, second));
        groups.iter().for_each(|&group| by_age.open_group(group));
        let ids = |list: &[Aged]| list.iter().map(|(_, key)| key.id).collect::<Vec<_>>();
        let is_busy = |group| group == groups[1];
        let calm = by_age.take_of_calm_groups(&files, &tree, is_busy);
        assert_eq!(ids(&calm), [old, two, one, new]);
        assert_eq!(groups.map(|group| by_age.is_group_open(group)), [false, true]);
        assert_eq!(by_age.iter().collect::<Vec<_>>(), [files.key(busy)]);
        by_age.reuse(calm);
        assert_eq!(by_age.len(), 1, "a file that waits is not dropped");
        let all = by_age.take_all(&files);
        assert_eq!(ids(&all), [busy]);
        by_age.reuse(all);
        assert!(by_age.is_empty() && by_age.files.capacity() > 0);
        by_age.close_groups();
        assert!(!by_age.has_open_groups());
    }

    #[test]
    fn a_changed_file_had_begun_when_the_queue_was_drained_unless_it_was_empty() {
        let (mut files, start) = (Registry::new(), crate::sys::clock::now());
        let mut schedule = Schedule::new(start.instant);
        let second = |number| SystemTime::UNIX_EPOCH + Duration::from_secs(number);
        for (name, offset) in [(&b"known"[..], 1), (b"empty", 0)] {
            let id = files.insert(DirId(0), name);
            files.set_life(id, Life::Following);
            files.get_mut(id).offset = offset;
            schedule.hold_changed_by_age(&mut files, id, second(5), second(9));
        }
        let times: Vec<SystemTime> = schedule.by_age.files.iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [second(5), second(9)]);
    }

    #[test]
    fn a_changed_file_is_held_by_age_only_if_it_is_followed_and_neither_dirty_nor_held() {
        for (life, is_dirty, is_held_back, is_held) in [
            (Life::Following, false, false, true),
            (Life::Following, true, false, false),
            (Life::Following, false, true, false),
            (Life::Named, false, false, false),
            (Life::Leaving, false, false, false),
        ] {
            let (mut files, start) = (Registry::new(), crate::sys::clock::now());
            let mut schedule = Schedule::new(start.instant);
            let id = files.insert(DirId(0), b"x");
            files.set_life(id, life);
            if is_dirty {
                schedule.mark_unread(&mut files, id);
            }
            if is_held_back {
                Schedule::hold_back(&mut files, id, HeldBack::ByAge);
            }
            schedule.hold_changed_by_age(&mut files, id, start.wall, start.wall);
            assert_eq!(schedule.by_age.len(), usize::from(is_held), "{life:?}, dirty: {is_dirty}");
            let state = files.get(id).state();
            assert_eq!(state.contains(State::BY_AGE), is_held || is_held_back);
        }
    }
}
