//! Renames in the order of their events: which two names were exchanged, as far as events tell, and
//! where else a file may be.
//!
//! In: the halves of renames, in order. Out: the file or directory that a half is about; names to
//! be put in doubt.
//! Always holds: a file that a rename replaces stays known for a moment, because with
//! `RENAME_EXCHANGE` of renameat2(2) the next two events give it the old name of the other file;
//! the looks decide. At most [`RENAMES_MAX`] renames are remembered, each for [`REMEMBERED_FOR`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::identities::Identities;
use crate::engine::identities::behind::link_replaced;
use crate::engine::namespace::registry::{Life, Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirId, DirKey, Tree, VisitWork};
use crate::engine::schedule::Schedule;
use crate::engine::schedule::deadlines::Task;
use crate::engine::schedule::timers::GRACE;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;

/// How many renames are remembered. The two halves of an exchange are queued back to back, but
/// others may rename as well at that moment.
const RENAMES_MAX: usize = 64;

/// How long a rename is remembered. The looks that follow are made within the same turn, unless
/// many names are in doubt.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);

/// A file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    File(SlotKey),
    Directory(DirKey),
}

/// Names under which a file may be, at most. Any further one that is not found counts as vanished.
const GUESSES_MAX: usize = 1_024;

type Place = (DirId, Box<[u8]>);

/// A rename that an event reported.
#[derive(Debug)]
struct Rename {
    at: Instant,
    /// `None`: it came from where nothing is followed.
    item: Option<Item>,
    from: Option<Place>,
    to: Place,
    /// The item that had the name before.
    over: Option<Item>,
}

/// The renames of the last moment.
#[derive(Debug, Default)]
pub(in crate::engine) struct Renames {
    latest: VecDeque<Rename>,
    /// Files that were covered, and that are assumed to be exchanged with the file that covered
    /// them.
    exchanged: Vec<SlotKey>,
    /// Slots of names under which a file may be: if there is none, nothing vanished.
    guesses: Vec<SlotKey>,
}

impl Renames {
    /// Drops renames that are too old to be the other half of an exchange.
    fn expire(&mut self, now: Instant) {
        while self.latest.front().is_some_and(|oldest| now >= oldest.at + REMEMBERED_FOR) {
            self.latest.pop_front();
        }
    }

    fn push(&mut self, rename: Rename) {
        self.expire(rename.at);
        if self.latest.len() >= RENAMES_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(rename);
    }

    /// It is known which of two names the file has.
    pub(in crate::engine) fn end_exchange(&mut self, file: SlotKey) {
        self.exchanged.retain(|&exchanged| exchanged != file);
    }

    /// The file that has this name loses it by a rename. If it covered another file a moment ago,
    /// the two are exchanged: returns the covered file, which goes to where the other one came
    /// from.
    fn begin_exchange(
        &mut self,
        files: &Registry,
        holder: SlotId,
        dir: DirId,
        name: &[u8],
        now: Instant,
    ) -> Option<SlotId> {
        let item = files.get(holder).is_identified().then(|| Item::File(files.key(holder)));
        let (by, Item::File(key)) = self.over(dir, name, now)? else { return None };
        let covered = files
            .alive(key)
            .filter(|&covered| by == item && files.get(covered).life() == Life::Leaving)?;
        if self.exchanged.len() < RENAMES_MAX {
            self.exchanged.push(key);
        }
        Some(covered)
    }

    /// A covered file takes this name. If the other file came from another name, the two were not
    /// exchanged: returns the other file, and, if its origin is not known, the name that it
    /// covered.
    fn refute_exchange(
        &mut self,
        files: &Registry,
        covered: SlotId,
        dir: DirId,
        name: &[u8],
        now: Instant,
    ) -> Option<(SlotId, Option<Place>)> {
        let key = files.key(covered);
        if !self.exchanged.contains(&key) {
            return None;
        }
        // If it moved since it was covered, that exchange is over, and this is another rename.
        let (from, to) = self.covered_by(Item::File(key), now)?;
        if from.is_some_and(|from| from.0 == dir && *from.1 == *name) {
            return None;
        }
        let holder = files
            .find(to.0, &to.1)
            .filter(|&holder| !files.is_alias(to.0, &to.1) && holder != covered)?;
        let from_unknown = from.is_none().then(|| to.clone());
        self.end_exchange(key);
        Some((holder, from_unknown))
    }

    /// A look does not find a file under its name: returns how it left. A file that was covered and
    /// is not exchanged is deleted.
    pub(in crate::engine) fn how_it_left(&mut self, files: &Registry, id: SlotId) -> State {
        let was_covered = take_key(&mut self.exchanged, files, id)
            && files.get(id).state().contains(State::UNCONFIRMED);
        if was_covered { State::DELETED } else { State::empty() }
    }

    /// There may be no file under the name of this slot: then nothing vanished.
    pub(in crate::engine) fn guess(&mut self, key: SlotKey) {
        if self.guesses.len() < GUESSES_MAX {
            self.guesses.push(key);
        }
    }

    /// There is no file under a name: returns whether the name was a guess.
    pub(in crate::engine) fn take_guess(&mut self, files: &Registry, id: SlotId) -> bool {
        take_key(&mut self.guesses, files, id)
    }

    /// The last rename to this name, if it covered an item that no later rename moved or covered.
    fn over(&mut self, dir: DirId, name: &[u8], now: Instant) -> Option<(Option<Item>, Item)> {
        self.expire(now);
        let last =
            self.latest.iter().rposition(|rename| rename.to.0 == dir && *rename.to.1 == *name)?;
        let (by, over) = (self.latest[last].item, self.latest[last].over?);
        let is_about_it = |later: &Rename| later.item == Some(over) || later.over == Some(over);
        (!self.latest.range(last + 1..).any(is_about_it)).then_some((by, over))
    }

    /// Where the rename that covered this item came from, and the name that it took, if the item
    /// did not move since.
    fn covered_by(&mut self, item: Item, now: Instant) -> Option<(Option<&Place>, &Place)> {
        self.expire(now);
        let is_about_it = |rename: &&Rename| rename.over == Some(item) || rename.item == Some(item);
        let last = self
            .latest
            .iter()
            .rev()
            .find(is_about_it)
            .filter(|rename| rename.over == Some(item))?;
        Some((last.from.as_ref(), &last.to))
    }

    /// The place where this item was between two renames, the second of which brought it back to
    /// where it came from.
    fn between(&self, item: Item, back_to: (DirId, &[u8])) -> Option<&Place> {
        let before = self.latest.iter().rev().find(|rename| rename.item == Some(item))?;
        let from = before.from.as_ref()?;
        (from.0 == back_to.0 && *from.1 == *back_to.1).then_some(&before.to)
    }
}

/// Takes a file off a list, and drops those that are not known any more. Returns whether it was on
/// the list.
fn take_key(list: &mut Vec<SlotKey>, files: &Registry, id: SlotId) -> bool {
    let key = files.key(id);
    let was_there = list.contains(&key);
    list.retain(|&other| other != key && files.alive(other).is_some());
    was_there
}

impl Identities {
    /// The directory was renamed: the next event reports its new name, or a look finds it.
    fn detach_directory(
        &mut self,
        tree: &mut Tree,
        schedule: &mut Schedule,
        dir: DirId,
        now: Instant,
    ) {
        let key = tree.key(dir);
        self.former.take_deleted(key);
        tree.detach(dir);
        schedule.deadlines.add(now + GRACE, Task::JudgeDirectory(key));
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// A file loses its name by a rename. Returns the file that the second half is about.
    pub(in crate::engine) fn file_moved_from(
        &mut self,
        id: SlotId,
        dir: DirId,
        name: &[u8],
        now: Instant,
    ) -> SlotId {
        let exchanged =
            self.identities.recent_renames.begin_exchange(&self.files, id, dir, name, now);
        if let Some(covered) = exchanged {
            // The file that has the name keeps it, and the file that it covered goes to where the
            // other one came from.
            self.files.get_mut(covered).clear(State::DELETED);
            // If a look finds a third file under the name, that one came later.
            self.files.get_mut(id).clear(State::UNCONFIRMED);
            self.doubt(id);
            return covered;
        }
        link_replaced(&self.files, &mut self.coverage.single_files, id);
        self.leave(id, State::empty(), now);
        id
    }

    /// Returns the file that the second half of a rename moves: the file that was covered a moment
    /// ago, if it goes to where the other one came from, otherwise the file that covered it.
    pub(in crate::engine) fn which_file_moved(
        &mut self,
        id: SlotId,
        dir: DirId,
        name: &[u8],
        now: Instant,
    ) -> SlotId {
        let renames = &mut self.identities.recent_renames;
        let Some((holder, guess)) = renames.refute_exchange(&self.files, id, dir, name, now) else {
            return id;
        };
        self.files.get_mut(id).set(State::DELETED);
        link_replaced(&self.files, &mut self.coverage.single_files, holder);
        self.leave(holder, State::empty(), now);
        if let Some((dir, name)) = guess
            && let Some(guess) = self.track_if_accepted(dir, &name)
        {
            rare!("a file was covered, and perhaps exchanged, by one that came from nowhere");
            // It may have come from the very name that this file takes: then it is where it was.
            self.identities.recent_renames.guess(self.files.key(guess));
        }
        holder
    }

    /// A rename gives this name to another file, or to something unknown, and covers the file that
    /// had it. The covered file is judged a moment later.
    pub(in crate::engine) fn cover_file(&mut self, id: SlotId, now: Instant) {
        link_replaced(&self.files, &mut self.coverage.single_files, id);
        let slot = self.files.get_mut(id);
        if slot.state().contains(State::BY_AGE) {
            // The listing may be behind the renames: its file may have another name by now.
            slot.clear(State::MAY_HOLD_BYTES);
        }
        self.leave(id, State::DELETED, now);
        self.schedule.judge_covered_at(self.files.key(id), now + GRACE);
    }

    /// Remembers the rename of a file. A file that came back to its former name may have been
    /// exchanged with something unknown, which is then at the place in between.
    pub(in crate::engine) fn note_file_rename(
        &mut self,
        moved: Option<SlotKey>,
        from: Option<Place>,
        to: (DirId, &[u8]),
        over: Option<SlotKey>,
        now: Instant,
    ) {
        let is_link = moved.and_then(|moved| self.files.alive(moved));
        let is_link =
            is_link.is_some_and(|id| self.files.get(id).state().contains(State::VIA_LINK));
        if let Some(from) =
            from.as_ref().filter(|_| is_link && !self.identities.behind_links.is_empty())
        {
            // The files that were rotated behind a link belong to its new name.
            let behind = self.identities.behind_links.values_mut().filter(|link| *link == from);
            behind.for_each(|link| *link = (to.0, to.1.into()));
        }
        let item = moved.map(Item::File);
        let between =
            item.and_then(|item| self.identities.recent_renames.between(item, to)).cloned();
        let rename =
            Rename { at: now, item, from, to: (to.0, to.1.into()), over: over.map(Item::File) };
        self.identities.recent_renames.push(rename);
        let Some((moved, (dir, name))) = moved.zip(between) else { return };
        if self.tree.at_place(dir.0).is_none()
            || self.files.find(dir, &name).is_some()
            || self.tree.find(dir, &name).is_some()
        {
            return;
        }
        let Some(id) = self.files.alive(moved) else { return };
        let (input, is_accepted) = (
            self.files.get(id).input,
            self.coverage.input_of(&self.tree, dir, &name, &mut self.path).is_some(),
        );
        let guess = self.track_name(dir, &name, input);
        self.files.get_mut(guess).put(State::ONLY_KNOWN, !is_accepted);
        self.identities.recent_renames.guess(self.files.key(guess));
    }

    /// A directory loses its name by a rename. Returns the directory that the second half is about.
    pub(in crate::engine) fn directory_moved_from(
        &mut self,
        moved: DirId,
        dir: DirId,
        name: &[u8],
        now: Instant,
    ) -> DirKey {
        let key = self.tree.key(moved);
        match self.identities.recent_renames.over(dir, name, now) {
            Some((Some(Item::Directory(by)), Item::Directory(covered)))
                if by == key
                    && self
                        .tree
                        .alive(covered)
                        .is_some_and(|covered| self.tree.get(covered).is_moving) =>
            {
                self.push_visit(moved, VisitWork::APPEARED);
                return covered;
            }
            Some((None, Item::Directory(before))) if before == key => {
                // Something unknown took the name before this one left it.
                self.identities.detach_directory(&mut self.tree, &mut self.schedule, moved, now);
                self.add_directory(dir, name, VisitWork::APPEARED);
            }
            _ => self.identities.detach_directory(&mut self.tree, &mut self.schedule, moved, now),
        }
        key
    }

    /// A directory takes a name, and perhaps covers another one, which is dropped a moment later
    /// unless it appears elsewhere.
    pub(in crate::engine) fn directory_moved_to(
        &mut self,
        dir: DirId,
        name: &[u8],
        cookie: u32,
        now: Instant,
    ) {
        let moved = self.identities.half_renames.end_directory(cookie);
        let moved = moved
            .and_then(|key| self.tree.alive(key))
            .filter(|&moved| self.tree.get(moved).is_moving);
        let from =
            moved.and_then(|moved| Some((self.tree.parent(moved)?, self.tree.name(moved).into())));
        let known = self.tree.find(dir, name);
        let item = moved.map(|moved| Item::Directory(self.tree.key(moved)));
        let over = known.map(|known| Item::Directory(self.tree.key(known)));
        self.identities.recent_renames.push(Rename {
            at: now,
            item,
            from,
            to: (dir, name.into()),
            over,
        });
        if let Some(over) = known {
            self.push_visit(over, VisitWork::APPEARED);
            if moved.is_none() || self.tree.is_within(dir, over) {
                return;
            }
            self.identities.detach_directory(&mut self.tree, &mut self.schedule, over, now);
        }
        match moved {
            Some(moved) if !self.tree.is_within(dir, moved) => {
                self.rename_directory(moved, dir, name, now)
            }
            _ => {
                self.add_directory(dir, name, VisitWork::APPEARED);
            }
        }
    }

    /// Another directory has this one's name. If a recent rename moved this one elsewhere, it goes
    /// on there. Returns whether it does.
    pub(in crate::engine) fn follow_on_its_way(
        &mut self,
        dir: DirId,
        inode: (u64, u64),
        now: Instant,
    ) -> bool {
        let (Some(parent), item) = (self.tree.parent(dir), Item::Directory(self.tree.key(dir)))
        else {
            return false;
        };
        let name = self.tree.name(dir).to_vec();
        let ways = self
            .identities
            .recent_renames
            .latest
            .iter()
            .rev()
            .filter(|rename| rename.item == Some(item))
            .map(|rename| rename.to.clone());
        for (other, new_name) in ways.collect::<Vec<_>>() {
            if (other == parent && *new_name == *name)
                || self.tree.at_place(other.0).is_none()
                || self.tree.is_within(other, dir)
            {
                continue;
            }
            let links = self.tree.write_name(other, &new_name, &mut self.path);
            let is_there = self
                .fs
                .stat(&self.path, links)
                .is_ok_and(|found| (found.id.device, found.id.inode) == inode);
            if is_there && self.tree.find(other, &new_name).is_none() {
                self.rename_directory(dir, other, &new_name, now);
                self.add_directory(parent, &name, VisitWork::APPEARED);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_whose_second_half_never_came_does_not_explain_a_rename_of_later_on() {
        let mut files = Registry::new();
        let keys = [&b"a"[..], b"b"].map(|name| {
            let id = files.insert(DirId(0), name);
            files.key(id)
        });
        let [by, covered] = keys.map(Item::File);
        let place = |name: &[u8]| -> Place { (DirId(0), name.into()) };
        let at = crate::sys::clock::now().instant;
        let mut renames = Renames::default();
        renames.push(Rename {
            at,
            item: Some(by),
            from: Some(place(b"a")),
            to: place(b"b"),
            over: Some(covered),
        });
        let soon = at + REMEMBERED_FOR / 2;
        assert_eq!(renames.over(DirId(0), b"b", soon), Some((Some(by), covered)));
        assert_eq!(renames.covered_by(covered, soon), Some((Some(&place(b"a")), &place(b"b"))));
        assert_eq!(renames.covered_by(covered, at + REMEMBERED_FOR), None);
        assert_eq!(renames.over(DirId(0), b"b", at + REMEMBERED_FOR), None);
    }

    /// A file `a` takes the name of a file `b`, which is covered and loses its name.
    fn covered(from: Option<&[u8]>, now: Instant) -> (Registry, Renames, SlotId, SlotId) {
        let (mut files, mut renames) = (Registry::new(), Renames::default());
        let [by, covered] = [b"a", b"b"].map(|name| files.insert(DirId(0), name));
        for (id, inode) in [(by, 1), (covered, 2)] {
            let file = crate::sys::FileId { device: 1, inode, inode_generation: 0 };
            files.identify(id, file, 0);
        }
        files.unbind(covered);
        files.set_life(covered, Life::Leaving);
        files.unbind(by);
        files.bind(by, DirId(0), b"b");
        renames.push(Rename {
            at: now,
            item: Some(Item::File(files.key(by))),
            from: from.map(|name| (DirId(0), name.into())),
            to: (DirId(0), b"b".as_slice().into()),
            over: Some(Item::File(files.key(covered))),
        });
        (files, renames, by, covered)
    }

    #[test]
    fn a_covered_file_is_exchanged_if_the_other_one_leaves_at_once_and_it_goes_to_where_that_was() {
        let start = crate::sys::clock::now().instant;
        let soon = start + Duration::from_millis(1);
        // Where the file that covers comes from; when and from which name it is said to leave; the
        // name that the covered file then takes; whether an exchange began; whether it was none.
        for (from, left_at, left, taken, begins, is_refuted) in [
            (Some(&b"a"[..]), soon, &b"b"[..], &b"a"[..], true, false),
            (Some(b"a"), soon, b"b", b"c", true, true),
            (None, soon, b"b", b"a", true, true),
            (Some(b"a"), soon, b"x", b"a", false, false),
            (Some(b"a"), start + REMEMBERED_FOR, b"b", b"a", false, false),
        ] {
            let (files, mut renames, by, covered) = covered(from, start);
            let begun = renames.begin_exchange(&files, by, DirId(0), left, left_at);
            assert_eq!(begun, begins.then_some(covered), "{from:?} {left:?}");
            let refuted = renames.refute_exchange(&files, covered, DirId(0), taken, left_at);
            assert_eq!(refuted.as_ref().map(|(holder, _)| *holder), is_refuted.then_some(by));
            let guess = refuted.and_then(|(_, guess)| guess);
            assert_eq!(guess.is_some(), is_refuted && from.is_none(), "its origin is not known");
        }
    }

    #[test]
    fn a_covered_file_that_a_look_does_not_find_is_deleted_unless_it_is_known_where_it_is() {
        let start = crate::sys::clock::now().instant;
        for (is_unconfirmed, is_settled, how) in [
            (true, false, State::DELETED),
            (false, false, State::empty()),
            (true, true, State::empty()),
        ] {
            let (mut files, mut renames, by, covered) = covered(Some(b"a"), start);
            files.get_mut(covered).put(State::UNCONFIRMED, is_unconfirmed);
            assert!(renames.begin_exchange(&files, by, DirId(0), b"b", start).is_some());
            if is_settled {
                renames.end_exchange(files.key(covered));
            }
            assert_eq!(renames.how_it_left(&files, covered), how);
            assert_eq!(renames.how_it_left(&files, covered), State::empty(), "once");
        }
    }

    #[test]
    fn a_guess_is_taken_once_and_their_number_is_bounded() {
        let (mut files, mut renames) = (Registry::new(), Renames::default());
        let [guess, other] = [b"a", b"b"].map(|name| files.insert(DirId(0), name));
        renames.guess(files.key(guess));
        assert!(!renames.take_guess(&files, other) && renames.take_guess(&files, guess));
        assert!(!renames.take_guess(&files, guess));
        (0..2 * GUESSES_MAX).for_each(|_| renames.guess(files.key(guess)));
        assert_eq!(renames.guesses.len(), GUESSES_MAX);
    }

    #[test]
    fn a_name_is_no_guess_because_another_guess_is_not_known_any_more() {
        let (mut files, mut renames) = (Registry::new(), Renames::default());
        let [guessed, gone, other] =
            [&b"a"[..], b"b", b"c"].map(|name| files.insert(DirId(0), name));
        for id in [guessed, gone] {
            renames.guess(files.key(id));
        }
        files.unbind(gone);
        files.free(gone);
        assert!(!renames.take_guess(&files, other), "nobody guessed this one");
        assert!(renames.take_guess(&files, guessed));
        assert!(!renames.take_guess(&files, guessed), "it is taken once");
    }
}
