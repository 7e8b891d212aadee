//! Takes the kernel's events and applies them to names, slots and directories.
//!
//! In: buffers of raw events. Out: dirty files, names in doubt, directories to list.
//! Always holds: events are replayed in their order, so that a chain of renames ends as it did in
//! the kernel. A write makes the file dirty. Other events put the name in doubt, or judge the file
//! that lost it.

use std::time::Instant;

use crate::diagnostics::notices::{Cause, notice};
use crate::engine::coverage::ways::Due;
use crate::engine::namespace::inputs::InputId;
use crate::engine::namespace::registry::{Life, NEAR_MAX, Registry, SlotId, State};
use crate::engine::namespace::tree::{DirId, Role, Tree, VisitWork};
use crate::engine::reading::binary::written_to_binary;
use crate::engine::schedule::{HeldBack, Schedule};
use crate::engine::{Engine, EngineError};
use crate::rare::rare;
use crate::sink::Sink;
use crate::status::stats::OtherEvents;
use crate::sys::clock::Now;
use crate::sys::inotify::{EVENT_BYTES_MAX, Events, RawEvent, mask};
use crate::sys::interpret::{Change, NameChange, interpret};
use crate::sys::{FileSystem, WatchId};

/// Look-ups are loaded ahead only if a buffer has at least `AHEAD_MIN` of them, and the index is
/// larger than the processor's second-level cache.
const AHEAD_MIN: usize = 4;
const FILES_BEYOND_CACHE: usize = 4_096;

/// An event that is about to be taken.
#[derive(Debug, Clone, Copy, Default)]
struct Ahead<'a> {
    event: RawEvent<'a>,
    /// Hash of directory and name, if the directory is known.
    hash: u64,
    /// Equal to the event before it.
    is_repeated: bool,
}

/// Decodes the next events into `ahead`, and loads what finding their files needs into the
/// processor's cache. Returns the number of events, which is below [`NEAR_MAX`] only at the end
/// of the buffer.
#[inline]
fn look_ahead<'a>(
    files: &Registry,
    tree: &Tree,
    events: &mut Events<'a>,
    ahead: &mut [Ahead<'a>; NEAR_MAX],
) -> usize {
    let mut last = ahead[NEAR_MAX - 1];
    let (mut count, mut hashes, mut hashed) = (0, [0; NEAR_MAX], 0);
    for (next, event) in ahead.iter_mut().zip(events) {
        let is_repeated = event.mask == last.event.mask
            && event.watch == last.event.watch
            && event.name == last.event.name;
        let mut hash = last.hash;
        if !is_repeated
            && event.mask == mask::MODIFY
            && let Some(dir) = tree.find_watch(event.watch)
        {
            hash = files.hash_name(dir, event.name);
            hashes[hashed] = hash;
            hashed += 1;
        }
        last = Ahead { event, hash, is_repeated };
        *next = last;
        count += 1;
    }
    if hashed >= AHEAD_MIN && files.len() >= FILES_BEYOND_CACHE {
        files.bring_near(&hashes[..hashed]);
    }
    count
}

/// Counts an event by its kind. Writes are the rest of the total.
fn count_other(others: &mut OtherEvents, what: NameChange) {
    *match what {
        NameChange::Modified => return,
        NameChange::Created => &mut others.created,
        NameChange::Deleted => &mut others.deleted,
        NameChange::MovedFrom(_) => &mut others.moved_from,
        NameChange::MovedTo(_) => &mut others.moved_to,
        NameChange::Attributes => &mut others.attributes,
    } += 1;
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Takes one buffer of so many bytes of events per turn: less than usual, for tests, but never
    /// less than one event needs.
    pub fn limit_events(&mut self, bytes: usize) {
        self.kernel.events = vec![0; bytes.max(EVENT_BYTES_MAX)].into_boxed_slice();
        self.kernel.event_buffers_per_turn = 1;
    }

    /// Takes the events that the kernel queued since the last turn, as the next turn would.
    ///
    /// # Errors
    /// When the event queue fails for good.
    pub fn take_events(&mut self, now: Now) -> Result<(), EngineError> {
        if self.is_stopping {
            return Ok(());
        }
        self.schedule.lag.begin_turn(now.instant);
        self.kernel.are_events_pending = true;
        self.take_changes(now)
    }

    /// Drains the kernel's queue: it is small, while our own memory of a change is one bit per
    /// file.
    // Out of line, as `apply` is: the loop needs the registers for itself.
    #[inline(never)]
    pub(in crate::engine) fn take_changes(&mut self, now: Now) -> Result<(), EngineError> {
        for _ in 0..self.kernel.event_buffers_per_turn {
            if !self.kernel.are_events_pending {
                break;
            }
            let mut events = std::mem::take(&mut self.kernel.events);
            let outcome = self.fs.read_events(&mut events);
            let len = *outcome.as_ref().unwrap_or(&0);
            let (mut rest, mut ahead) = (Events::new(&events[..len]), [Ahead::default(); NEAR_MAX]);
            // Nearly all events report one write: they take the shortest path. Equal events in a
            // row count as one.
            let mut is_last_taken = false;
            loop {
                let count = look_ahead(&self.files, &self.tree, &mut rest, &mut ahead);
                for Ahead { event, hash, is_repeated } in &ahead[..count] {
                    self.observer.stats.events += 1;
                    tracing::trace!(
                        watch = event.watch.0,
                        mask = event.mask,
                        cookie = event.cookie,
                        name = %event.name.escape_ascii(),
                        "event"
                    );
                    is_last_taken = event.mask == mask::MODIFY
                        && (is_last_taken && *is_repeated
                            || self.known_file_modified(event, *hash, now));
                    if !is_last_taken {
                        match interpret(event) {
                            Some(change) => self.apply(&change, now),
                            None => self.observer.stats.other_events.unknown += 1,
                        }
                    }
                }
                if count < ahead.len() {
                    break;
                }
            }
            // Room for one more event was left, so the queue was empty; the next event is a new
            // edge.
            self.kernel.are_events_pending = len + EVENT_BYTES_MAX > events.len();
            self.kernel.events = events;
            outcome.map_err(EngineError::Events)?;
        }
        if !self.kernel.are_events_pending && !self.discovery.is_rescan_due {
            self.kernel.drained_at = now.wall;
        }
        Ok(())
    }

    /// Returns whether the event is about a file that is known by this name; if not, the event is
    /// still to be interpreted. `hash` belongs to the directory that had the event's watch when the
    /// event was decoded. If the watch belongs to another directory by now, no file matches.
    #[inline]
    fn known_file_modified(&mut self, event: &RawEvent<'_>, hash: u64, now: Now) -> bool {
        let Some(dir) = self.tree.find_watch(event.watch) else { return false };
        let Some(id) = self.files.find_by(hash, dir, event.name) else { return false };
        self.file_modified(id, dir, event.name, now);
        true
    }

    #[inline]
    fn file_modified(&mut self, id: SlotId, dir: DirId, name: &[u8], now: Now) {
        if self.files.get(id).state().contains(State::BINARY) {
            written_to_binary(&mut self.schedule, &mut self.files, id, now.instant);
            return;
        }
        if self.schedule.by_age.is_group_open(self.tree.group(dir)) {
            let drained_at = self.kernel.drained_at;
            self.schedule.hold_changed_by_age(&mut self.files, id, drained_at, now.wall);
        }
        self.reading.ends.written(id);
        self.mark_dirty(id);
        self.identities.change_former(&mut self.files, &self.tree, &mut self.schedule, dir, name);
    }

    /// Applies one event. Out of line: nearly all events report a write and do not come here.
    #[inline(never)]
    fn apply(&mut self, change: &Change<'_>, now: Now) {
        match *change {
            Change::Overflow => {
                self.coverage.ways.events_lost();
                self.observer.stats.overflows += 1;
                self.observer.stats.other_events.overflow += 1;
                self.identities.former.events_lost();
                rare!("the kernel's queue overflowed");
                self.observer.stats.overflow_rescans +=
                    u64::from(!std::mem::replace(&mut self.discovery.is_rescan_due, true));
                notice!(info: self.observer.notices, Cause::Overflow, now.instant,
                    "the kernel's event queue overflowed (fs.inotify.max_queued_events): looking \
                    at every file once");
            }
            Change::WatchGone(watch) => {
                self.observer.stats.other_events.directory += 1;
                self.coverage.ways.watch_ended(watch, &self.tree, &mut self.fs);
                self.watch_gone(watch);
            }
            Change::DirectoryMoved(watch) => {
                self.observer.stats.other_events.directory += 1;
                self.coverage.ways.directory_changed(watch, Due::Names);
                // Below a root, the parent's events report the same, in order with the others.
                if let Some(dir) =
                    self.tree.find_watch(watch).filter(|&dir| self.tree.parent(dir).is_none())
                {
                    rare!("a directory that nothing above tells of was moved or deleted");
                    self.push_visit(dir, VisitWork::APPEARED);
                }
            }
            Change::DirectoryAttributes(watch) => {
                self.observer.stats.other_events.attributes += 1;
                self.coverage.ways.directory_changed(watch, Due::Attributes);
                // Elsewhere the parent's events report the same.
                let is_told = |dir| {
                    self.tree.parent(dir).is_some_and(|parent| self.tree.watch(parent).is_some())
                };
                if let Some(dir) = self.tree.find_watch(watch).filter(|&dir| !is_told(dir)) {
                    rare!("only a directory itself told that its permissions changed");
                    self.push_visit(dir, VisitWork::RECHECK);
                }
            }
            Change::Closed { watch, name } => {
                self.observer.stats.other_events.closed += 1;
                self.name_closed(watch, name, now.instant);
            }
            Change::Name { watch, name, is_directory, what } => {
                if what != NameChange::Modified {
                    count_other(&mut self.observer.stats.other_events, what);
                    let is_attribute = what == NameChange::Attributes;
                    let due = if is_attribute { Due::Attributes } else { Due::Names };
                    self.coverage.ways.name_changed(watch, name, due);
                }
                match self.tree.find_watch(watch) {
                    Some(dir) if is_directory => {
                        self.directory_changed(dir, name, what, now.instant)
                    }
                    Some(dir) => {
                        self.coverage.home_at_hand = Some((dir, false));
                        self.file_changed(dir, name, what, now);
                        self.put_home_down();
                    }
                    // The directory was deleted: a file that was opened in it may live on
                    // elsewhere.
                    None => drop(self.identities.take_as_former(
                        &mut self.files,
                        &self.tree,
                        &mut self.schedule,
                        watch,
                        name,
                        what,
                    )),
                }
            }
        }
    }

    fn name_closed(&mut self, watch: WatchId, name: &[u8], now: Instant) {
        let dir = self.tree.find_watch(watch);
        if let Some(id) = dir.and_then(|dir| self.files.find(dir, name)) {
            self.file_closed(id, now);
        }
    }

    fn watch_gone(&mut self, watch: WatchId) {
        let Some(dir) = self.tree.find_watch(watch) else {
            if self.identities.former.end_watch(watch) {
                self.fs.unwatch(watch);
            }
            return;
        };
        self.fs.unwatch(watch);
        self.tree.set_watch(dir, None);
        self.tree.get_mut(dir).is_watch_ended = true;
        rare!("the kernel dropped a watch that was still known");
        self.push_visit(dir, VisitWork::APPEARED);
    }

    fn file_changed(&mut self, dir: DirId, name: &[u8], what: NameChange, now: Now) {
        let known = self.files.find(dir, name);
        match (what, known) {
            (NameChange::Modified, Some(id)) => self.file_modified(id, dir, name, now),
            (NameChange::MovedTo(cookie), _) => self.file_moved_to(dir, name, cookie, now.instant),
            (NameChange::Created, Some(id)) => {
                // It appeared after its directory was watched, though a listing found it before
                // this event.
                self.files.get_mut(id).clear(State::FIRST_SCAN);
                self.doubt(id);
            }
            (NameChange::Attributes, Some(id)) => {
                self.reading.rewrites.note_attributes(self.files.key(id));
                self.doubt(id);
            }
            (NameChange::Modified | NameChange::Created | NameChange::Attributes, None) => {
                if what != NameChange::Created
                    && let Some(watch) = self.tree.watch(dir)
                    && self.identities.take_as_former(
                        &mut self.files,
                        &self.tree,
                        &mut self.schedule,
                        watch,
                        name,
                        what,
                    )
                {
                    return;
                }
                if let Some(id) = self.track_if_accepted(dir, name) {
                    if what != NameChange::Created {
                        // It was there before: the listing of its directory is still to come.
                        let found = self.tree.get(dir);
                        let is_first_scan = (found.unfinished | found.queued).applies_from();
                        Schedule::hold_back(&mut self.files, id, HeldBack::ByAge);
                        let slot = self.files.get_mut(id);
                        slot.set(State::MAY_HOLD_BYTES);
                        slot.put(State::FIRST_SCAN, is_first_scan);
                    }
                } else {
                    self.look_through_links_to(dir, name);
                }
            }
            (NameChange::Deleted | NameChange::MovedFrom(_), _) => {
                self.name_went_away(known, dir, name, what, now.instant);
            }
        }
    }

    /// The name was deleted or renamed.
    fn name_went_away(
        &mut self,
        known: Option<SlotId>,
        dir: DirId,
        name: &[u8],
        what: NameChange,
        now: Instant,
    ) {
        let is_further_name = self.files.is_alias(dir, name);
        if what == NameChange::Deleted
            && let Some(id) = known.filter(|_| !is_further_name)
        {
            self.leave(id, State::DELETED, now);
            self.doubt_link_to(dir, name);
            return;
        }
        self.identities.former.name_removed(&self.tree, dir, name, what);
        let Some(id) = known else {
            // A link to a directory is no directory for the kernel.
            if let Some(linked) =
                self.tree.find(dir, name).filter(|&linked| self.tree.get(linked).via_link)
            {
                rare!("a link to a directory went away");
                self.push_visit(linked, VisitWork::APPEARED);
            }
            return;
        };
        if is_further_name {
            self.files.remove_alias(dir, name);
            rare!("a further name of a file went away");
            // It goes on under another name. The next file under this one comes after it all the
            // same.
            self.identities.succession.vacate(self.files.key(id), dir, name, now);
            self.further_name_left(id, dir, name, what, now);
        } else if let NameChange::MovedFrom(cookie) = what {
            self.doubt_link_to(dir, name);
            let moved = self.file_moved_from(id, dir, name, now);
            self.identities.half_renames.begin_file(cookie, self.files.key(moved), now);
        }
    }

    fn file_moved_to(&mut self, dir: DirId, name: &[u8], cookie: u32, now: Instant) {
        let moved = self.identities.half_renames.end_file(cookie);
        let moved = moved
            .and_then(|key| self.files.alive(key))
            .filter(|&id| self.files.get(id).life() == Life::Leaving)
            .map(|id| self.which_file_moved(id, dir, name, now))
            .filter(|&id| !self.left_tree(id, dir, name));
        let from = moved.map(|id| (self.files.get(id).dir(), self.files.name(id).into()));
        let mut covered = None;
        if let Some(over) = self.files.find(dir, name) {
            if self.files.is_alias(dir, name) {
                self.files.remove_alias(dir, name);
                rare!("a rename replaced a further name of a file");
                self.further_name_left(over, dir, name, NameChange::Deleted, now);
            } else if !self.files.get(over).is_identified()
                && self.identities.recent_renames.take_guess(&self.files, over)
            {
                self.unbind(over);
                self.free_slot(over);
            } else {
                rare!("a rename replaced a known file");
                // The file that had this name is gone, or was exchanged.
                covered = Some(self.files.key(over));
                self.cover_file(over, now);
            }
        }
        match moved {
            Some(id) => {
                self.return_to(id, dir, name);
                self.look_through_links_to(dir, name);
            }
            None => match self.track_if_accepted(dir, name) {
                Some(id) => self.files.get_mut(id).set(State::MAY_HOLD_BYTES),
                None => self.look_through_links_to(dir, name),
            },
        }
        let moved = moved.map(|id| self.files.key(id));
        self.note_file_rename(moved, from, (dir, name), covered, now);
    }

    /// Whether a rename takes a file or link out of the tree, to a directory that is watched for
    /// other files only. A target that was rotated behind its link was there before.
    fn left_tree(&mut self, id: SlotId, to: DirId, name: &[u8]) -> bool {
        let from = self.files.get(id).dir();
        let is_out = self.tree.get(to).role == Role::Home
            && !self.identities.behind_links.contains_key(&self.files.key(id))
            && self
                .tree
                .at_place(from.0)
                .is_some_and(|from| self.tree.get(from).role == Role::Listed)
            && self.coverage.input_of(&self.tree, to, name, &mut self.path).is_none()
            && !self.coverage.single_files.is_target(to, name);
        if is_out {
            rare!("a file left the tree for a directory that is watched for others");
        }
        is_out
    }

    fn directory_changed(&mut self, dir: DirId, name: &[u8], what: NameChange, now: Instant) {
        if self.tree.get(dir).role == Role::Home {
            self.path_became_directory(dir, name, now);
            return;
        }
        if matches!(what, NameChange::Created | NameChange::MovedTo(_)) {
            // In a listed directory, too, a PATH may have been a file: below it its own rules
            // apply.
            self.path_became_directory(dir, name, now);
        }
        if !self.config.recursive {
            return;
        }
        let known = self.tree.find(dir, name);
        match (what, known) {
            (NameChange::Modified, _) | (NameChange::Deleted | NameChange::MovedFrom(_), None) => {}
            (NameChange::MovedFrom(cookie), Some(moved)) => {
                let key = self.directory_moved_from(moved, dir, name, now);
                self.identities.half_renames.begin_directory(cookie, key, now);
            }
            (NameChange::MovedTo(cookie), _) => self.directory_moved_to(dir, name, cookie, now),
            // The files in it may have become readable, or unreadable.
            (NameChange::Attributes, Some(known)) => self.push_visit(known, VisitWork::RECHECK),
            (NameChange::Created, Some(known)) => {
                // The directory that was deleted before may be another one than the known one,
                // which was looked at ahead of both events.
                self.identities.former.take_deleted(self.tree.key(known));
                // A directory that was renamed to a name that no PATH covers goes on under it. One
                // that was made there does not.
                if self.tree.get(known).is_path || !self.drop_if_uncovered(known, now) {
                    self.push_visit(known, VisitWork::APPEARED);
                } else {
                    rare!(
                        "a directory was made under a name that only the one before was followed by"
                    );
                }
            }
            (NameChange::Deleted, Some(known)) => {
                self.identities.former.directory_deleted(self.tree.key(known));
                self.push_visit(known, VisitWork::APPEARED);
            }
            (NameChange::Created | NameChange::Attributes, None) => {
                self.add_directory(dir, name, VisitWork::APPEARED);
            }
        }
    }

    /// Tracks a name that is not known yet, if it is that of a file to follow: it is looked at
    /// soon.
    pub(in crate::engine) fn track_if_accepted(
        &mut self,
        dir: DirId,
        name: &[u8],
    ) -> Option<SlotId> {
        let input = self.coverage.input_of(&self.tree, dir, name, &mut self.path)?;
        Some(self.track_name(dir, name, input))
    }

    /// Tracks a name that may be that of a file to follow: it is looked at soon.
    pub(in crate::engine) fn track_name(
        &mut self,
        dir: DirId,
        name: &[u8],
        input: InputId,
    ) -> SlotId {
        let id = self.files.insert(dir, name);
        self.files.get_mut(id).input = input;
        self.coverage.inputs.note_accepted(input);
        if self.schedule.by_age.is_group_open(self.tree.group(dir)) {
            Schedule::hold_back(&mut self.files, id, HeldBack::ByAge);
        }
        self.take_name(id, dir, name);
        self.doubt(id);
        id
    }

    /// See [`Schedule::doubt`].
    pub(in crate::engine) fn doubt(&mut self, id: SlotId) {
        self.schedule.doubt(&mut self.files, &self.tree, id);
    }

    /// See [`Schedule::mark_dirty`].
    #[inline]
    pub(in crate::engine) fn mark_dirty(&mut self, id: SlotId) {
        self.schedule.mark_dirty(&mut self.files, &self.tree, id);
    }
}
