//! Rotation order: a file whose name another file had before is read after that one, whenever both
//! have something to read.
//!
//! In: files that take names, files that are about to be read, files that were read to their
//! ends. Out: whether a file waits; the files that go on.
//! Always holds: a file waits only for one that is still to be read, and whoever reads that one, or
//! learns that it cannot be read, releases its successors.

use crate::engine::Engine;
use crate::engine::identities::succession::Succession;
use crate::engine::namespace::registry::{Life, Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirId, Tree};
use crate::engine::schedule::{HeldBack, Schedule};
use crate::planted::is_planted;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;

/// Empty predecessors passed over at most in the search for one with unread bytes.
const PREDECESSORS_MAX: usize = 16;

impl Succession {
    /// The file takes a name that another one may have had before it. `is_held`: whether a file is
    /// held open.
    pub(in crate::engine) fn take_name(
        &mut self,
        files: &mut Registry,
        is_held: impl Fn(SlotId) -> bool,
        id: SlotId,
        dir: DirId,
        name: &[u8],
    ) {
        let before = self.predecessor_in(files, id);
        if before.is_some_and(|older| is_still_to_be_read(files, &is_held, older)) {
            rare!("a file took a second name while it waited for the one that had its first");
            // It still waits for the one whose name it took before.
            return;
        }
        let vacated = self.vacated(dir, name).and_then(|key| files.alive(key));
        if vacated.is_some_and(|older| self.comes_after(files, older, id))
            && is_still_to_be_read(files, &is_held, id)
        {
            rare!("a file took its own name back from one that waits for it");
            // It had this name before: the one that had it in between still waits for it.
            return;
        }
        if self.claim(id, dir, name) {
            files.get_mut(id).set(State::HAS_PREDECESSOR);
        }
    }

    /// The file whose name this one took, if it is still known.
    fn predecessor_in(&self, files: &Registry, id: SlotId) -> Option<SlotId> {
        self.predecessor(id).and_then(|key| files.alive(key))
    }

    /// Whether `newer` took its name from `older`, or from one that did.
    fn comes_after(&self, files: &Registry, newer: SlotId, older: SlotId) -> bool {
        let before = |&id: &SlotId| self.predecessor_in(files, id);
        std::iter::successors(before(&newer), before).take(PREDECESSORS_MAX).any(|id| id == older)
    }

    /// Lets files go on that wait for this one.
    #[cold]
    fn release_successors(
        &mut self,
        files: &mut Registry,
        tree: &Tree,
        schedule: &mut Schedule,
        id: SlotId,
    ) {
        if is_planted!(ReleaseForgotten) {
            return;
        }
        files.get_mut(id).clear(State::IS_AWAITED);
        for next in self.release(id) {
            schedule.release_successor(files, tree, next);
        }
    }

    /// Files that wait for a name of which no more than an event is known ask again: the file
    /// behind it may have another predecessor to wait for.
    pub(in crate::engine) fn ask_again(
        &mut self,
        files: &mut Registry,
        tree: &Tree,
        schedule: &mut Schedule,
        id: SlotId,
    ) {
        files.get_mut(id).clear(State::IS_AWAITED);
        for next in self.release(id) {
            rare!("a file that waited for a name asked again whom to wait for");
            schedule.release(files, tree, next, HeldBack::Predecessor);
        }
    }

    /// Before a file is read: makes it wait if the file that had its name before is still to be
    /// read.
    pub(in crate::engine) fn wait_if_needed(
        &mut self,
        files: &mut Registry,
        tree: &Tree,
        schedule: &mut Schedule,
        is_held: impl Fn(SlotId) -> bool,
        id: SlotId,
    ) -> bool {
        if is_planted!(NeverWaits) {
            return false;
        }
        let mut newer = id;
        for _ in 0..PREDECESSORS_MAX {
            let Some(older) = self.predecessor_in(files, newer) else {
                if newer == id {
                    files.get_mut(id).clear(State::HAS_PREDECESSOR);
                    self.remove(id);
                }
                return false;
            };
            schedule.end_open_record(files, tree, older);
            if is_still_to_be_read(files, &is_held, older) {
                if !self.wait(id, older) {
                    rare!("a file did not wait because that would close a circle");
                    return false;
                }
                rare!("a file waited for the one that had its name before");
                Schedule::hold_back(files, id, HeldBack::Predecessor);
                files.get_mut(older).set(State::IS_AWAITED);
                schedule.end_cooling(files, tree, older);
                return true;
            }
            // One that was read waited for its own predecessor; an empty one did not.
            if files.get(older).offset > 0 {
                return false;
            }
            rare!("a predecessor without a line was passed over");
            newer = older;
        }
        false
    }

    /// The file that has to be read before this one, if it is still to be read.
    pub(in crate::engine) fn unread_predecessor(
        &self,
        files: &Registry,
        is_held: impl Fn(SlotId) -> bool,
        id: SlotId,
    ) -> Option<SlotKey> {
        let older = self.predecessor_in(files, id)?;
        is_still_to_be_read(files, &is_held, older).then(|| files.key(older))
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// See [`Succession::take_name`]. A held file can be read to its end though it was deleted.
    pub(in crate::engine) fn take_name(&mut self, id: SlotId, dir: DirId, name: &[u8]) {
        let is_held = |id| self.reading.held.contains_key(&id);
        self.identities.succession.take_name(&mut self.files, is_held, id, dir, name);
    }

    /// Lets files go on that wait for this one.
    #[inline]
    pub(in crate::engine) fn release_successor(&mut self, id: SlotId) {
        if self.files.get(id).state().contains(State::IS_AWAITED) {
            let (files, tree, schedule) = (&mut self.files, &self.tree, &mut self.schedule);
            self.identities.succession.release_successors(files, tree, schedule, id);
        }
    }
}

/// Whether the file has something to read, or may have.
fn is_still_to_be_read(files: &Registry, is_held: &impl Fn(SlotId) -> bool, id: SlotId) -> bool {
    let slot = files.get(id);
    match slot.life() {
        // When a name that cannot be looked at becomes readable, an event or a look reports it.
        Life::Named => slot.state() & (State::UNREADABLE | State::DOUBT) != State::UNREADABLE,
        // What is held open is read to its end though it was deleted.
        Life::Leaving => {
            !slot.state().contains(State::DELETED)
                || slot.state().contains(State::LINKED)
                || (slot.state().contains(State::DIRTY) && is_held(id))
        }
        // A file that could not be read is dirty only if it is to be tried again.
        Life::Following | Life::Finishing => {
            slot.state().intersects(State::DIRTY | State::DOUBT | State::RETRY)
        }
        Life::Free | Life::Parked | Life::Ignored => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::tree::Role;

    const DIR: DirId = DirId(0);

    struct World {
        files: Registry,
        tree: Tree,
        schedule: Schedule,
        order: Succession,
    }

    impl World {
        fn new() -> Self {
            let mut tree = Tree::new(None);
            assert_eq!(tree.add_root(b"/t/", Role::Listed), DIR);
            World {
                files: Registry::new(),
                tree,
                schedule: Schedule::new(crate::sys::clock::now().instant),
                order: Succession::default(),
            }
        }

        fn add(&mut self, name: &[u8]) -> SlotId {
            let id = self.files.insert(DIR, name);
            self.files.set_life(id, Life::Following);
            id
        }

        /// `older` gives its name up, and `newer` takes it.
        fn inherit(&mut self, older: SlotId, newer: SlotId, name: &[u8]) {
            let key = self.files.key(older);
            self.order.vacate(key, DIR, name, crate::sys::clock::now().instant);
            self.order.take_name(&mut self.files, |_| false, newer, DIR, name);
        }

        fn dirty(&mut self, id: SlotId) {
            self.schedule.mark_dirty(&mut self.files, &self.tree, id);
        }

        fn wait_if_needed(&mut self, id: SlotId) -> bool {
            let World { files, tree, schedule, order } = self;
            order.wait_if_needed(files, tree, schedule, |_| false, id)
        }

        fn release_successors(&mut self, id: SlotId) {
            let World { files, tree, schedule, order } = self;
            order.release_successors(files, tree, schedule, id);
        }
    }

    #[test]
    fn a_file_counts_as_still_to_be_read_as_its_life_and_state_say() {
        let deleted = State::DELETED;
        for (life, state, is_dirty, is_held, expected) in [
            (Life::Named, State::empty(), false, false, true),
            (Life::Named, State::UNREADABLE, false, false, false),
            (Life::Leaving, State::empty(), false, false, true),
            (Life::Leaving, deleted, false, false, false),
            (Life::Leaving, deleted, true, false, false),
            (Life::Leaving, deleted, false, true, false),
            (Life::Leaving, deleted, true, true, true),
            (Life::Leaving, deleted | State::LINKED, false, false, true),
            (Life::Following, State::empty(), false, false, false),
            (Life::Following, State::empty(), true, false, true),
            (Life::Finishing, State::empty(), true, true, true),
            (Life::Parked, State::empty(), true, false, false),
            (Life::Ignored, State::empty(), true, false, false),
        ] {
            let mut world = World::new();
            let id = world.add(b"x");
            world.files.set_life(id, life);
            world.files.set_unreadable(id, state.contains(State::UNREADABLE));
            world.files.get_mut(id).set(state - State::UNREADABLE);
            if is_dirty {
                world.schedule.mark_unread(&mut world.files, id);
            }
            let found = is_still_to_be_read(&world.files, &|_| is_held, id);
            assert_eq!(found, expected, "{life:?} {state:?} dirty {is_dirty} held {is_held}");
        }
    }

    #[test]
    fn a_successor_waits_while_its_predecessor_has_unread_bytes_and_goes_on_when_it_is_released() {
        let mut world = World::new();
        let [older, newer] = [&b"app.log.1"[..], b"app.log"].map(|name| world.add(name));
        world.inherit(older, newer, b"app.log");
        assert!(world.files.get(newer).state().contains(State::HAS_PREDECESSOR));
        world.dirty(newer);
        assert!(!world.wait_if_needed(newer), "nothing is unread before it");
        world.dirty(older);
        assert!(world.wait_if_needed(newer));
        assert!(world.files.get(newer).state().contains(State::AWAITS_PREDECESSOR));
        assert!(world.files.get(older).state().contains(State::IS_AWAITED));
        world.release_successors(older);
        let state = world.files.get(newer).state();
        assert!(state.contains(State::RELEASED) && !state.contains(State::AWAITS_PREDECESSOR));
        assert!(!world.files.get(older).state().contains(State::IS_AWAITED));
    }

    #[test]
    fn empty_predecessors_are_passed_over_but_not_one_that_was_read() {
        // The offset of the file in the middle, and whether the newest one waits for the oldest.
        for (offset, waits) in [(0, true), (7, false)] {
            let mut world = World::new();
            let ids = [b"x.2", b"x.1", b"x.0"].map(|name| world.add(name));
            world.inherit(ids[0], ids[1], b"x.0");
            world.inherit(ids[1], ids[2], b"x.0");
            world.files.get_mut(ids[1]).offset = offset;
            world.dirty(ids[0]);
            assert_eq!(world.wait_if_needed(ids[2]), waits, "{offset}");
            assert_eq!(world.order.waited_for(ids[2]), waits.then_some(ids[0]));
        }
    }

    #[test]
    fn a_file_that_takes_its_own_name_back_does_not_wait_for_the_one_that_waits_for_it() {
        let mut world = World::new();
        let [first, second] = [b"a", b"b"].map(|name| world.add(name));
        world.inherit(first, second, b"x");
        world.dirty(first);
        world.inherit(second, first, b"x");
        assert_eq!(world.order.predecessor(first), None);
        assert_eq!(world.order.predecessor(second), Some(world.files.key(first)));
    }

    #[test]
    fn a_file_whose_predecessor_is_gone_has_none_any_more() {
        let mut world = World::new();
        let [older, newer] = [b"a", b"b"].map(|name| world.add(name));
        world.inherit(older, newer, b"x");
        world.files.unbind(older);
        world.files.free(older);
        assert!(!world.wait_if_needed(newer));
        assert!(!world.files.get(newer).state().contains(State::HAS_PREDECESSOR));
        assert_eq!(world.order.predecessor(newer), None);
    }
}
