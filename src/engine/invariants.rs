//! What holds between two turns: no file is forgotten. A check over all files and directories.
//!
//! In: the engine. Out: nothing, or a sentence that names a file and what is wrong with it.
//! Always holds: a file with unread bytes is either queued or held back by something that is sure
//! to end. Each bit of a [`State`] that promises an end has its entry in the queue that brings it.
//! A build with debug assertions checks itself: small trees after every turn, large ones so seldom
//! that the checks look at [`SLOTS_PER_TURN`] files per turn on average. Other builds never do.

use std::cell::{Cell, RefCell};

use crate::engine::coverage::root::RootState;
use crate::engine::discovery::Discovery;
use crate::engine::identities::succession::Succession;
use crate::engine::namespace::inputs::RootId;
use crate::engine::namespace::registry::{FileSlot, Life, Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirKey, Tree};
use crate::engine::schedule::Schedule;
use crate::engine::schedule::deadlines::Task;
use crate::engine::{DOUBTS_MAX, Engine};
use crate::sink::Sink;
use crate::sys::FileSystem;

/// Files that the engine's own check looks at per turn, on average.
const SLOTS_PER_TURN: usize = 256;

bitflags::bitflags! {
    /// The queues that a file is in, for the check.
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    struct In: u16 {
        const READ = 1 << 0;
        const COOLING = 1 << 1;
        const DOUBTS = 1 << 2;
        const FOUND = 1 << 3;
        const BY_AGE = 1 << 4;
        const RETRIES = 1 << 5;
        const LEAVING = 1 << 6;
        const PARKED = 1 << 7;
        const TIMED = 1 << 8;
        const BIRTHS = 1 << 9;
    }
}

thread_local! {
    /// By slot and by directory, reused so that a check of a steady engine allocates nothing.
    static PLACES: RefCell<(Vec<In>, Vec<In>)> = const { RefCell::new((Vec::new(), Vec::new())) };
    /// Turns since the last check.
    static TURNS: Cell<usize> = const { Cell::new(0) };
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// After a turn of a build with debug assertions.
    ///
    /// # Panics
    /// When an invariant is broken.
    pub(super) fn check_now_and_then(&self) {
        let files = self.files.places();
        let turns = TURNS.get() + 1;
        let is_due = turns.saturating_mul(SLOTS_PER_TURN) >= files;
        TURNS.set(if is_due { 0 } else { turns });
        if is_due && let Err(why) = self.check() {
            panic!("{why}");
        }
    }

    /// Checks every file and directory, for tests.
    ///
    /// # Errors
    /// A sentence that says which invariant is broken.
    pub fn check(&self) -> Result<(), String> {
        PLACES.with_borrow_mut(|(places, directories)| {
            self.note_places(places);
            let mut cooling_dirty = 0;
            for id in self.files.all() {
                let slot = self.files.get(id);
                if slot.life() != Life::Free {
                    self.check_file(slot, id, places[id.0 as usize])
                        .map_err(|why| about(&self.files, &self.tree, id, &why))?;
                    cooling_dirty +=
                        usize::from(slot.state().contains(State::COOLING | State::DIRTY));
                }
            }
            for id in self
                .files
                .all()
                .filter(|&id| self.files.get(id).state().contains(State::AWAITS_PREDECESSOR))
            {
                check_wait(&self.files, &self.identities.succession, id, places)
                    .map_err(|why| about(&self.files, &self.tree, id, &why))?;
            }
            expect(cooling_dirty == self.schedule.cooling_dirty(), || {
                format!(
                    "invariant: {cooling_dirty} files that cool down are dirty, counted are {}",
                    self.schedule.cooling_dirty()
                )
            })?;
            expect(self.files.are_counts_right(), || {
                "invariant: the counts of files by state are wrong".to_owned()
            })?;
            self.check_bounds()?;
            note_directories(&self.tree, &self.discovery, &self.schedule, directories);
            self.check_directories(directories)
        })
    }

    /// Which queues each slot is in. Entries of files that are gone, or were let out of turn, may
    /// still be there.
    fn note_places(&self, places: &mut Vec<In>) {
        places.clear();
        places.resize(self.files.places(), In::empty());
        let mut put = |id: SlotId, queue: In| places[id.0 as usize].insert(queue);
        self.schedule.unread.iter().for_each(|waiting| put(waiting.id, In::READ));
        self.schedule.doubts.iter().for_each(|id| put(id, In::DOUBTS));
        let mut put = |key: SlotKey, queue: In| {
            if self.files.alive(key).is_some() {
                places[key.id.0 as usize].insert(queue);
            }
        };
        self.schedule.cooling().iter().for_each(|&(_, key)| put(key, In::COOLING));
        for id in self.reading.ends.files() {
            assert!(
                self.files.get(id).life() != Life::Free,
                "invariant: the end of a log is awaited that nobody knows, slot {}",
                id.0
            );
        }
        self.identities.finds().for_each(|key| put(key, In::FOUND));
        self.schedule.by_age.iter().for_each(|key| put(key, In::BY_AGE));
        for (at, task) in self.schedule.deadlines.iter() {
            match task {
                Task::LookAgain(key) => put(key, In::RETRIES),
                Task::DeliverPiece(key) => put(key, In::TIMED),
                Task::Judge(key) if self.schedule.is_judged_at(key.id, at) => put(key, In::LEAVING),
                Task::Judge(_)
                | Task::JudgeDirectory(_)
                | Task::CountLoss(_)
                | Task::ReadAgain(_) => {}
            }
        }
        self.schedule.deleted().for_each(|key| put(key, In::LEAVING));
        self.schedule.parked_files().for_each(|key| put(key, In::PARKED));
        if let Some(commits) = self.offsets.get() {
            commits.awaited_births().for_each(|key| put(key, In::BIRTHS));
        }
    }

    /// Checks one file: each bit has its entry, and unread bytes are not forgotten.
    fn check_file(&self, slot: &FileSlot, id: SlotId, queues: In) -> Result<(), String> {
        let has = |bit: State, queue: In| !slot.state().contains(bit) || queues.contains(queue);
        expect(has(State::QUEUED, In::READ), || "counts as queued and is in no queue".to_owned())?;
        expect(has(State::COOLING, In::COOLING), || "cools down for ever".to_owned())?;
        expect(has(State::DOUBT, In::DOUBTS), || {
            "is in doubt and nobody will look at it".to_owned()
        })?;
        expect(has(State::RETRY, In::RETRIES), || {
            "is to be tried again and never will be".to_owned()
        })?;
        expect(has(State::TIMED, In::TIMED), || {
            "has an unfinished line that is never due".to_owned()
        })?;
        expect(slot.state().contains(State::TIMED) == self.schedule.is_timed(id), || {
            "has an unfinished line that is not timed".to_owned()
        })?;
        let is_listed = slot.state().contains(State::BY_AGE | State::IDENTIFIED)
            && slot.life() != Life::Ignored;
        let is_put_in_order = queues.contains(In::BY_AGE);
        expect(!is_listed || is_put_in_order, || {
            "waits for its turn among those that were listed and is not".to_owned()
        })?;
        // Until its turn among the listed files comes, its generation is put off.
        let is_generation_due = queues.contains(In::BIRTHS) || (is_listed && is_put_in_order);
        expect(!slot.state().contains(State::UNSTORED) || is_generation_due, || {
            "waits until its generation is stored for ever".to_owned()
        })?;
        expect(
            !slot.state().contains(State::AWAITS_PREDECESSOR)
                || self.identities.succession.waited_for(id).is_some(),
            || "waits for nobody".to_owned(),
        )?;
        expect(
            slot.is_bound()
                || !matches!(slot.life(), Life::Following | Life::Named | Life::Ignored),
            || "is in the tree without a name".to_owned(),
        )?;
        let may_be_held = slot.state().intersects(State::DIRTY | State::DOUBT | State::RETRY)
            || queues.intersects(In::FOUND | In::LEAVING);
        expect(may_be_held || !self.reading.held.contains_key(&id), || {
            "is held open and will not be read".to_owned()
        })?;
        match slot.life() {
            Life::Following | Life::Finishing => {
                let is_kept_back = slot.state().intersects(
                    State::QUEUED | State::HELD_BACK | State::RETRY | State::UNREADABLE,
                );
                let is_due = is_kept_back || queues.intersects(In::FOUND | In::RETRIES);
                expect(!slot.state().contains(State::DIRTY) || is_due, || {
                    "has unread bytes and is forgotten".to_owned()
                })?;
                expect(
                    slot.life() == Life::Following || self.reading.held.contains_key(&id),
                    || "has no name and is not open".to_owned(),
                )
            }
            Life::Named => {
                let is_due = slot.state().intersects(State::DOUBT | State::UNREADABLE);
                let is_due = is_due || queues.intersects(In::FOUND | In::RETRIES);
                expect(is_due, || "was heard of and is forgotten".to_owned())
            }
            Life::Leaving => expect(queues.contains(In::LEAVING), || {
                "lost its name and is never judged".to_owned()
            }),
            Life::Parked => {
                expect(queues.contains(In::PARKED), || "left and is never forgotten".to_owned())
            }
            Life::Ignored | Life::Free => Ok(()),
        }
    }

    /// Nothing grows without bound.
    fn check_bounds(&self) -> Result<(), String> {
        // A file without a name is held whatever the limit is, because it cannot be opened again.
        let open = self.reading.kept.len()
            + self.reading.held.keys().filter(|&&id| self.files.get(id).is_bound()).count();
        expect(open <= self.reading.files_open_max, || {
            format!("invariant: {open} files are open")
        })?;
        let stray = self.reading.kept.ids().find(|&id| {
            self.files.get(id).life() != Life::Following || !self.files.get(id).is_bound()
        });
        expect(stray.is_none(), || {
            format!("invariant: slot {stray:?} is kept open and not followed")
        })?;
        let forgotten = self.reading.held.keys().find(|&&id| {
            matches!(self.files.get(id).life(), Life::Free | Life::Parked | Life::Ignored)
        });
        expect(forgotten.is_none(), || {
            format!("invariant: slot {forgotten:?} is held open and will not be read")
        })?;
        let (parked, parked_max) = self.schedule.parked_and_max();
        expect(parked <= parked_max, || {
            format!("invariant: {parked} files that left are remembered")
        })?;
        expect(self.schedule.doubts.len() <= self.files.places() + DOUBTS_MAX, || {
            format!("invariant: {} names are in doubt", self.schedule.doubts.len())
        })
    }

    /// Checks directories: one that waits for a visit gets it, one without a watch is polled, and
    /// the tree agrees with its indexes.
    fn check_directories(&self, places: &[In]) -> Result<(), String> {
        let mut polled = 0;
        for dir in (0..self.tree.places()).filter_map(|place| self.tree.at_place(place)) {
            let (found, queues) = (self.tree.get(dir), places[dir.0 as usize]);
            let name = || {
                let mut path = Vec::new();
                self.tree.write_path(dir, &mut path);
                path.escape_ascii().to_string()
            };
            expect(found.queued.is_empty() || queues.contains(In::READ), || {
                format!("invariant: {} waits for a visit for ever", name())
            })?;
            expect(!found.is_lost || queues.contains(In::FOUND), || {
                format!("invariant: {} was not found and is never looked for again", name())
            })?;
            expect(!found.is_moving || queues.contains(In::LEAVING), || {
                format!("invariant: {} was renamed away and is never judged", name())
            })?;
            if let Some(watch) = self.tree.watch(dir) {
                expect(self.tree.find_watch(watch) == Some(dir), || {
                    format!("invariant: {} has another one's watch", name())
                })?;
            }
            polled += usize::from(found.is_polled);
        }
        expect(polled == self.kernel.polled, || {
            format!(
                "invariant: {polled} directories are polled, counted are {}",
                self.kernel.polled
            )
        })?;
        // As a rule, the way to a PATH is watched, and events tell when the PATH appears.
        let is_missing = |root: RootId| {
            self.coverage.roots[root.0 as usize].state == RootState::Missing
                && !self.coverage.ways.is_reported(root.0 as usize)
                && self.coverage.ways.deadline().is_none()
        };
        let is_poll_due = self.kernel.poll_at.is_some()
            || !self.discovery.is_started
            || self.config.once
            || self.is_stopping;
        expect(is_poll_due || polled == 0, || {
            "invariant: directories without a watch are never listed".to_owned()
        })?;
        expect(is_poll_due || !self.coverage.all_roots().any(is_missing), || {
            "invariant: a missing PATH is never looked for".to_owned()
        })
    }
}

/// Adds the name and the state of the file to a sentence.
fn about(files: &Registry, tree: &Tree, id: SlotId, why: &str) -> String {
    let slot = files.get(id);
    let mut path = Vec::new();
    if tree.at_place(slot.dir().0).is_some() {
        tree.write_path(slot.dir(), &mut path);
    }
    path.extend_from_slice(files.name(id));
    format!(
        "invariant: {} (slot {}) {why}: {:?}, {:?}",
        path.escape_ascii(),
        id.0,
        slot.life(),
        slot.state()
    )
}

/// Which queues each directory is in.
fn note_directories<L>(
    tree: &Tree,
    discovery: &Discovery<L>,
    schedule: &Schedule,
    places: &mut Vec<In>,
) {
    places.clear();
    places.resize(tree.places() as usize, In::empty());
    let mut put = |key: DirKey, queue: In| {
        if tree.alive(key).is_some() {
            places[key.id.0 as usize].insert(queue);
        }
    };
    discovery.urgent.waiting().for_each(|key| put(key, In::READ));
    discovery.urgent.lost.iter().for_each(|&key| put(key, In::FOUND));
    let judged = schedule.deadlines.iter().filter_map(|(_, task)| match task {
        Task::JudgeDirectory(key) => Some(key),
        _ => None,
    });
    judged.chain(discovery.below.dropping()).for_each(|key| put(key, In::LEAVING));
}

/// Checks a file that waits: the file that it waits for, and those that that one waits for, release
/// it in the end.
fn check_wait(
    files: &Registry,
    succession: &Succession,
    id: SlotId,
    places: &[In],
) -> Result<(), String> {
    let mut at = id;
    // Each file waits for one other, so more steps than files are a circle.
    for _ in 0..=files.len() {
        let Some(older) = succession.waited_for(at) else {
            return check_awaited(files, at, places[at.0 as usize]);
        };
        expect(succession.has_waiting(older, at), || {
            format!("waits for slot {}, which will not let it go", older.0)
        })?;
        expect(files.get(older).state().contains(State::IS_AWAITED), || {
            format!("waits for slot {}, which does not know it", older.0)
        })?;
        at = older;
    }
    Err("waits in a circle".to_owned())
}

/// Checks a file that waits for no other and is waited for: something has to come that ends the
/// wait.
fn check_awaited(files: &Registry, id: SlotId, queues: In) -> Result<(), String> {
    let slot = files.get(id);
    let is_due = match slot.life() {
        // Unread bytes that are due are checked with the file itself.
        Life::Following | Life::Finishing => {
            slot.state().intersects(State::DIRTY | State::DOUBT | State::RETRY)
                || queues.intersects(In::FOUND | In::RETRIES)
        }
        Life::Named | Life::Leaving => true,
        Life::Free | Life::Parked | Life::Ignored => false,
    };
    expect(is_due, || {
        format!("waits for slot {} ({:?}, {:?}), which is done", id.0, slot.life(), slot.state())
    })
}

fn expect(is_so: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(why()) }
}
