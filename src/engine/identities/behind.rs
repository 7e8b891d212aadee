//! Behind followed links: the target of a link is rotated, deleted or comes back while the link
//! stays as it is.
//!
//! In: events about names to which a link leads. Out: the file goes on under the name it has now,
//! and the link is looked at again.
//! Always holds: a file that was rotated behind a link is followed for as long as the link exists,
//! and no longer.

use std::time::Instant;

use crate::engine::Engine;
use crate::engine::coverage::single_files::{SingleFile, SingleFiles};
use crate::engine::identities::Identities;
use crate::engine::namespace::registry::{Registry, SlotId, State};
use crate::engine::namespace::tree::{DirId, Role, Tree};
use crate::engine::schedule::Schedule;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::interpret::NameChange;

impl Identities {
    /// A followed link leads to this name: events about the name report changes of the file that
    /// is reached through the link.
    pub(in crate::engine) fn lead_to(
        &mut self,
        files: &mut Registry,
        tree: &Tree,
        schedule: &mut Schedule,
        id: SlotId,
        dir: DirId,
        name: &[u8],
    ) {
        match files.find(dir, name) {
            None => {
                files.add_alias(id, dir, name);
                // No event reported what was written since the look: nobody knew the name.
                schedule.mark_dirty(files, tree, id);
            }
            Some(other) if other == id => {}
            Some(other) => {
                // The other file had the name before, and no event said that it lost it.
                if files.is_alias(dir, name) {
                    files.remove_alias(dir, name);
                    files.add_alias(id, dir, name);
                    schedule.mark_dirty(files, tree, id);
                } else if !files.get(other).is_identified() && self.succession.take_over(other, id)
                {
                    // The rotated files that the link did not lead to long enough to be looked at
                    // come before it.
                    files.get_mut(id).set(State::HAS_PREDECESSOR);
                }
                schedule.doubt(files, tree, other);
            }
        }
    }
}

/// The slot of the followed link that leads to this name.
fn link_to(
    files: &Registry,
    single_files: &SingleFiles,
    dir: DirId,
    name: &[u8],
) -> Option<SlotId> {
    match single_files.get(dir, name)? {
        SingleFile::Link(at, link) => files.find(*at, link),
        SingleFile::Path(_) => None,
    }
}

/// Whether the followed link `link` leads to the name of `target`.
pub(super) fn is_led_to(
    files: &Registry,
    single_files: &SingleFiles,
    target: SlotId,
    link: SlotId,
) -> bool {
    link_to(files, single_files, files.get(target).dir(), files.name(target)) == Some(link)
}

/// The name of a link goes to another file: the names that the link led to do not count any more.
pub(super) fn link_replaced(files: &Registry, single_files: &mut SingleFiles, id: SlotId) {
    if files.get(id).state().contains(State::VIA_LINK) {
        single_files.forget_targets(files.get(id).dir(), files.name(id));
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The target of a followed link loses its name: an earlier result of `stat(2)` through the
    /// link is no longer valid.
    pub(in crate::engine) fn doubt_link_to(&mut self, dir: DirId, name: &[u8]) {
        if let Some(id) = link_to(&self.files, &self.coverage.single_files, dir, name) {
            self.doubt(id);
        }
    }

    /// A file loses a further name: that of a hard link, or of a link to it; or, if it is reached
    /// through a link, its own name.
    pub(in crate::engine) fn further_name_left(
        &mut self,
        id: SlotId,
        dir: DirId,
        name: &[u8],
        what: NameChange,
        now: Instant,
    ) {
        let is_moved = matches!(what, NameChange::MovedFrom(_));
        if !is_moved {
            self.identities.former.lose(&self.files, &self.tree, id, dir, name);
        }
        let slot = self.files.get(id);
        let is_target = (slot.state().contains(State::VIA_LINK) || !slot.is_bound())
            && self.coverage.single_files.is_target(dir, name);
        if !is_target {
            self.further_link_left(id, dir, name, now);
            self.doubt(id);
            return;
        }
        self.leave_link(id, if is_moved { State::empty() } else { State::DELETED }, now);
        if let NameChange::MovedFrom(cookie) = what {
            self.identities.half_renames.begin_file(cookie, self.files.key(id), now);
        }
    }

    /// A further name of a file goes away. If it was a link, its target and the files that were
    /// rotated behind it now belong to the link by which the file is known.
    fn further_link_left(&mut self, id: SlotId, dir: DirId, name: &[u8], now: Instant) {
        let slot = self.files.get(id);
        if !slot.is_bound() || !slot.state().contains(State::VIA_LINK) {
            self.link_removed(dir, name, now);
            return;
        }
        let own: (DirId, Box<[u8]>) = (slot.dir(), self.files.name(id).into());
        // The look at the link itself finds again where it leads to.
        self.coverage.single_files.forget_targets(dir, name);
        let behind = self
            .identities
            .behind_links
            .values_mut()
            .filter(|(at, link)| *at == dir && **link == *name);
        behind.for_each(|link| link.clone_from(&own));
    }

    /// The link does not lead to the file any more. The file goes on under another name, if it has
    /// one, and comes before the new target of the link.
    pub(in crate::engine) fn leave_link(&mut self, id: SlotId, how: State, now: Instant) {
        if !self.files.get(id).is_bound() {
            return;
        }
        let (key, input) = (self.files.key(id), self.files.get(id).input);
        let link = (self.files.get(id).dir(), self.files.name(id).into());
        // Names of other links to the same name, and hard links: a look tells them apart.
        let others = self
            .files
            .further_names(id)
            .filter(|(dir, name)| !self.coverage.single_files.is_target(*dir, name));
        let others: Vec<(DirId, Box<[u8]>)> =
            others.map(|(dir, name)| (dir, name.into())).collect();
        for (dir, name) in &others {
            self.files.remove_alias(*dir, name);
        }
        self.leave(id, how, now);
        self.files.get_mut(id).clear(State::VIA_LINK);
        if how.is_empty() {
            self.identities.behind_links.insert(key, link.clone());
            for (dir, name) in &others {
                self.identities.succession.vacate(key, *dir, name, now);
            }
        }
        for (at, (dir, name)) in std::iter::once(link).chain(others).enumerate() {
            if self.tree.at_place(dir.0).is_some() && self.files.find(dir, &name).is_none() {
                let heard_of = self.track_name(dir, &name, input);
                self.files.get_mut(heard_of).put(State::VIA_LINK, at == 0);
            }
        }
    }

    /// A name appeared to which a followed link leads. Its file may be renamed before the link is
    /// looked at, so the name gets a slot of its own.
    pub(in crate::engine) fn track_target(
        &mut self,
        linked: SlotId,
        dir: DirId,
        name: &[u8],
        link: (DirId, Box<[u8]>),
    ) {
        if self.files.find(dir, name).is_none() {
            let id = self.track_name(dir, name, self.files.get(linked).input);
            self.identities.behind_links.insert(self.files.key(id), link);
        }
    }

    /// A followed link is gone: its target outside of the tree is not followed any more, and
    /// neither are the files that were rotated there.
    pub(in crate::engine) fn link_removed(&mut self, dir: DirId, link: &[u8], now: Instant) {
        let is_it = |at: &DirId, name: &[u8]| *at == dir && *name == *link;
        let mut homes = self.coverage.single_files.forget_targets(dir, link);
        let rotated = self
            .identities
            .behind_links
            .iter()
            .filter(|(_, (at, name))| is_it(at, name))
            .map(|(key, _)| *key);
        for key in rotated.collect::<Vec<_>>() {
            self.identities.behind_links.remove(&key);
            let Some(id) = self.files.alive(key).filter(|&id| self.files.get(id).is_bound()) else {
                continue;
            };
            let home = self.files.get(id).dir();
            if self.tree.get(home).role == Role::Home {
                self.leave_at_once(id, now);
                homes.push(home);
            }
        }
        homes.into_iter().for_each(|home| self.release_home(home));
    }
}
