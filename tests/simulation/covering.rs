//! Which files have to be followed at each moment, and what the engine may know about them, updated
//! as the world and the settings change.
//!
//! In: every change of names, reloads, starts, and the moments when the engine is at rest. Out:
//! what the [`Model`] has to accept and to demand.
//! Always holds: a file that no input ever accepted under any of its names is never delivered; a
//! file that an input accepts at rest is delivered whole, from byte 0 or from where `from` and
//! `ignore_older` say.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use manytail::testing::checkpoint::state::StoredOffsets;

use crate::following::{Following, Input, Reach, Rules};
use crate::model::Model;
use crate::start::Reason;
use crate::world::{Key, Kind, World};

/// The engine remembers a file that is no longer followed for at least this long: see `writers`.
const MEMORY: Duration = Duration::from_secs(9 * 60);

/// Counts of what happened in these lives, for tests that check that seeds do something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Reloads with other settings.
    pub(crate) reloads: u64,
    /// Files that were accepted only through a link.
    pub(crate) linked: u64,
    /// Files that were followed on under a name that no input accepts.
    pub(crate) carried: u64,
    /// Files that got such a name while the engine was down, and were followed on.
    pub(crate) renamed_down: u64,
}

/// What is known about one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cover {
    /// The PATHs lead to its directory.
    pub(crate) is_reached: bool,
    /// An input accepts it.
    pub(crate) is_accepted: bool,
    /// An input accepted it at some time.
    pub(crate) ever: bool,
    /// It is accepted only through links.
    pub(crate) only_by_link: bool,
    /// It has to be followed on although its name is not accepted.
    pub(crate) is_carried: bool,
    /// Since when it is not accepted.
    left: Option<Duration>,
    /// The paths that it has had.
    paths: usize,
    /// How often it got another one since the engine was last at rest.
    moves: u32,
    /// The number of its names: losing one of several is not a rename.
    links: u64,
    /// The engine has seen it in this life, under an accepted name.
    is_seen: bool,
}

#[derive(Debug)]
pub(crate) struct Covering {
    following: Following,
    rules: Rules,
    pub(crate) reach: Reach,
    /// The number of changes that `reach` includes.
    seen: u64,
    /// A first scan is in progress: new files may be taken for files that were there before.
    is_scanning: bool,
    /// Failures may delay a first look beyond the scan.
    is_lenient: bool,
    /// The engine runs.
    is_up: bool,
    /// The number of overflows: after one, renames are unknown.
    overflows: u64,
    /// Own paths of files that links led to. When a link is removed or points elsewhere, its former
    /// target is followed on, and a file that replaces the target may be, too: how far is not
    /// checked.
    former: HashSet<Vec<u8>>,
    /// Directories that links led into: the PATHs of these links may cover them longer than the
    /// links are there.
    linked: BTreeSet<Key>,
    /// Paths of followed files at the moment when events were lost, or in directories that are not
    /// watched. The engine knows a file that it has not checked yet only by its path. A file that
    /// replaces it unseen may be followed in its place: otherwise the file could be lost.
    heard_of: HashSet<Vec<u8>>,
    pub(crate) counts: Counts,
}

impl Covering {
    pub(crate) fn new(following: Following, is_lenient: bool) -> Self {
        let rules = Rules::new(&following.inputs, following.recursive, following.follow_links);
        Covering {
            following,
            rules,
            reach: Reach::default(),
            seen: 0,
            is_scanning: false,
            is_lenient,
            is_up: false,
            overflows: 0,
            former: HashSet::new(),
            linked: BTreeSet::new(),
            heard_of: HashSet::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn next_reload(&mut self) -> Option<Vec<Input>> {
        (!self.following.reloads.is_empty()).then(|| self.following.reloads.remove(0))
    }

    pub(crate) fn reload_rate(&self) -> u32 {
        if self.following.reloads.is_empty() { 0 } else { self.following.reload }
    }

    /// The name by which a writer opens a file. If it has several names, the kernel reports a write
    /// only under that one: without a sweep, a name that is not followed is useless if another name
    /// is followed.
    pub(crate) fn name_to_write_by(&self, world: &World, path: &[u8]) -> Option<Vec<u8>> {
        let key = world.find(path).ok().filter(|&key| world.inodes[key].links > 1)?;
        let accepted = &self.reach.files.get(&key)?.accepted;
        let is_followed = accepted.iter().any(|accepted| accepted == path);
        accepted.iter().find(|accepted| !is_followed && world.find(accepted) == Ok(key)).cloned()
    }

    /// The settings at a start.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        self.rules.inputs.iter().map(|(input, _)| input.clone()).collect()
    }

    pub(crate) fn settings(&self) -> &Following {
        &self.following
    }

    /// Updates this after names changed, or may have changed.
    pub(crate) fn update(&mut self, world: &mut World, model: &mut Model) {
        if self.overflows != world.queue.overflows {
            self.overflows = world.queue.overflows;
            world.inodes.iter_mut().for_each(|inode| inode.cover.is_carried = false);
            let followed = world.inodes.iter().filter(|inode| inode.cover.ever);
            self.heard_of.extend(followed.flat_map(|inode| inode.paths.iter().cloned()));
        }
        if self.seen == world.name_changes {
            return;
        }
        self.look(world, model, false);
    }

    fn look(&mut self, world: &mut World, model: &mut Model, is_reload: bool) {
        loop {
            self.reach = self.rules.reach(world);
            self.seen = world.name_changes;
            // The engine may have forgotten it by now, and would read it again.
            let is_forgotten = |key: &Key| {
                let reached = &self.reach.files[key];
                let left = world.inodes[*key].cover.left;
                !reached.accepted.is_empty() && left.is_some_and(|left| world.time - left >= MEMORY)
            };
            let Some(key) = self.reach.files.keys().copied().find(is_forgotten) else { break };
            for path in world.inodes[key].paths.clone() {
                if world.find(&path) == Ok(key) {
                    let _ = world.unlink(&path);
                }
            }
        }
        for &key in &self.reach.directories {
            world.inodes[key].cover.ever = true;
        }
        self.linked.extend(&self.reach.linked);
        for key in 0..world.inodes.len() {
            if matches!(world.inodes[key].kind, Kind::File { .. }) {
                self.look_at(world, model, key, is_reload);
                self.hear_of(world, key);
            }
        }
    }

    /// What replaces a followed file in a directory that is not watched does so unseen.
    fn hear_of(&mut self, world: &World, key: Key) {
        if let Some(reached) = self.reach.files.get(&key).filter(|_| world.inodes[key].cover.ever) {
            let unseen = reached.paths.iter().filter(|path| !world.is_told_of(path));
            self.heard_of.extend(unseen.cloned());
        }
    }

    #[expect(clippy::too_many_lines, reason = "the rules of what is followed, one after the other")]
    fn look_at(&mut self, world: &mut World, model: &mut Model, key: Key, is_reload: bool) {
        let before = world.inodes[key].cover;
        let mut cover = before;
        let now = world.time;
        match self.reach.files.get(&key) {
            Some(reached) => {
                cover.is_reached = true;
                cover.is_accepted = !reached.accepted.is_empty();
                cover.only_by_link = cover.is_accepted && !reached.by_name;
                for path in &reached.paths {
                    if !world.inodes[key].paths.contains(path) {
                        world.inodes[key].paths.push(path.clone());
                    }
                }
                // If other settings come before its first look, they determine where it starts: it
                // is unknown which look was the first.
                let is_unseen =
                    is_reload && !before.is_seen && !model.came_out(world.inodes[key].story);
                if cover.is_accepted && (!before.is_accepted || is_unseen) {
                    // A file that was followed before may not have been examined then. A pending
                    // event may report its creation: then it is new, as far as the engine can know.
                    let is_told_all = is_reload && !self.is_lenient && world.queue.len() == 0;
                    let was_there =
                        is_told_all && !before.ever && self.is_from_end_alone(&reached.accepted);
                    let reason = self.reason(
                        reached.from_end && self.is_scanning,
                        was_there,
                        now,
                        world.inodes[key].modified,
                    );
                    model.may_start_at_end(world.inodes[key].story, reason);
                }
            }
            None => {
                cover.is_reached = false;
                cover.is_accepted = false;
                cover.only_by_link = false;
            }
        }
        if let Some(reached) = self.reach.files.get(&key).filter(|reached| reached.perhaps) {
            let reason = self.reason(
                reached.from_end || self.is_scanning,
                false,
                now,
                world.inodes[key].modified,
            );
            model.may_start_at_end(world.inodes[key].story, reason);
            cover.ever = true;
        }
        self.counts.linked += u64::from(cover.only_by_link && !before.only_by_link);
        if self.following.follow_links {
            let paths = &world.inodes[key].paths;
            if cover.is_accepted && self.reach.files[&key].via_link {
                self.former.extend(paths.iter().cloned());
            }
            cover.ever |= paths.iter().any(|path| self.former.contains(path));
            let is_linked = |path: &Vec<u8>| {
                world.parent_of(path).is_ok_and(|(directory, _)| self.linked.contains(&directory))
            };
            cover.ever |= cover.is_reached && paths.iter().any(is_linked);
        }
        cover.ever |=
            self.reach.files.get(&key).is_some_and(|reached| {
                reached.paths.iter().any(|path| self.heard_of.contains(path))
            });
        cover.ever |= cover.is_accepted;
        cover.left = match (cover.is_accepted, before.is_accepted) {
            (true, _) => None,
            (false, true) => Some(now),
            (false, false) => before.left,
        };
        if cover.is_accepted || !cover.is_reached || is_reload {
            cover.is_carried = false;
        }
        let is_told = || self.reach.files[&key].paths.iter().all(|path| world.is_told_of(path));
        let is_sure = self.is_up
            && !self.is_lenient
            && !is_reload
            && before.is_seen
            && !world.queue.is_overflowed();
        if cover.paths != world.inodes[key].paths.len() && before.is_accepted {
            model.loosen_start(world.inodes[key].story);
        }
        cover.moves += u32::from(cover.paths != world.inodes[key].paths.len());
        cover.paths = world.inodes[key].paths.len();
        cover.links = world.inodes[key].links;
        let is_renamed = before.links == 1 && cover.links == 1;
        // A directory that is moved again while it is looked at may be lost, and found anew.
        cover.is_carried &= is_renamed && cover.moves <= 1;
        let is_left_out = before.is_accepted && !cover.is_accepted && cover.is_reached;
        if is_left_out && is_renamed && !before.only_by_link && is_sure && is_told() {
            cover.is_carried = true;
            self.counts.carried += 1;
        }
        world.inodes[key].cover = cover;
    }

    /// The engine is gone.
    pub(crate) fn ended(&mut self, world: &mut World) {
        self.is_up = false;
        for inode in &mut world.inodes {
            inode.cover.is_carried = false;
            inode.cover.is_seen = false;
        }
    }

    /// An engine starts. `state`: the content of the journal.
    pub(crate) fn started(
        &mut self,
        world: &mut World,
        model: &mut Model,
        state: Option<&StoredOffsets>,
    ) {
        let is_first_life =
            state.is_none_or(|state| state.is_empty() && state.scanned().next().is_none());
        let from_end = |(input, _): &(Input, _)| input.from_end;
        let is_scanned = |path: &Vec<u8>| state.is_some_and(|state| state.is_scanned(path));
        let may_be_first = self
            .rules
            .inputs
            .iter()
            .filter(|input| from_end(input))
            .any(|(input, _)| !input.paths.iter().all(is_scanned));
        self.is_scanning = may_be_first;
        self.look(world, model, false);
        if let Some(state) = state.filter(|_| !self.is_lenient) {
            self.find_renamed(state, world);
        }
        self.is_up = true;
        for (&key, reached) in &self.reach.files {
            if reached.accepted.is_empty() {
                continue;
            }
            let inode = &world.inodes[key];
            let is_stored = state.is_some_and(|state| {
                state.entries().any(|(entry, _)| {
                    (entry.id.inode, entry.id.inode_generation) == inode.identity()
                })
            });
            if is_stored {
                continue;
            }
            // A PATH that was scanned in an earlier life has only new files. Which PATH finds a
            // file first is random.
            let was_there =
                is_first_life && !self.is_lenient && self.is_from_end_alone(&reached.accepted);
            let reason = self.reason(
                reached.from_end && may_be_first,
                was_there,
                world.time,
                inode.modified,
            );
            model.may_start_at_end(inode.story, reason);
        }
    }

    /// Files that the journal has under an accepted name are followed on, whatever their names
    /// became between two lives.
    fn find_renamed(&mut self, state: &StoredOffsets, world: &mut World) {
        for (entry, path) in state.entries() {
            let is_it = |key: &Key| {
                world.inodes[*key].identity() == (entry.id.inode, entry.id.inode_generation)
            };
            let Some((&key, reached)) = self.reach.files.iter().find(|(key, _)| is_it(key)) else {
                continue;
            };
            let is_elsewhere =
                reached.accepted.is_empty() && reached.paths.iter().all(|now| now != path);
            if is_elsewhere
                && world.inodes[key].cover.ever
                && self.rules.accepts_alone(path, &reached.paths)
            {
                world.inodes[key].cover.is_carried = true;
                self.counts.renamed_down += 1;
            }
        }
    }

    fn reason(&self, is_first: bool, was_there: bool, now: Duration, modified: Duration) -> Reason {
        Reason {
            is_first,
            was_there,
            ignore_older: self.following.ignore_older,
            now,
            age: now.saturating_sub(modified),
        }
    }

    /// Whether no input that starts at the beginning accepts a file with these paths.
    fn is_from_end_alone(&self, accepted: &[Vec<u8>]) -> bool {
        let is_other = |(input, _): &(Input, _)| {
            !input.from_end
                && input
                    .paths
                    .iter()
                    .any(|path| accepted.iter().any(|accepted| accepted.starts_with(path)))
        };
        !self.rules.inputs.iter().any(is_other)
    }

    /// The settings changed.
    pub(crate) fn reloaded(&mut self, inputs: &[Input], world: &mut World, model: &mut Model) {
        self.counts.reloads += 1;
        self.rules = Rules::new(inputs, self.following.recursive, self.following.follow_links);
        self.is_scanning = true;
        self.look(world, model, true);
    }

    /// The engine waits and has nothing to do. `is_sure`: nothing is hidden from it.
    pub(crate) fn rested(&mut self, world: &mut World, model: &mut Model, is_sure: bool) {
        if !is_sure {
            return;
        }
        self.is_scanning = false;
        self.heard_of.clear();
        for &key in self.reach.files.keys() {
            let time = world.time;
            let inode = &mut world.inodes[key];
            inode.cover.is_seen |= inode.cover.is_accepted;
            inode.cover.moves = 0;
            if inode.cover.is_accepted {
                let age = time.saturating_sub(inode.modified);
                model.was_looked_at(inode.story, time, age);
            }
        }
    }

    /// Files below the PATHs that no input ever accepted.
    pub(crate) fn left_out(&self, world: &World) -> u64 {
        self.reach.files.keys().filter(|&&key| !world.inodes[key].cover.ever).count() as u64
    }

    pub(crate) fn is_quiet(&mut self) {
        self.is_lenient = false;
    }

    /// The files that have to be read to their ends at rest.
    pub(crate) fn due<'a>(
        &'a self,
        world: &'a World,
    ) -> impl Iterator<Item = (Key, &'a [Vec<u8>])> {
        let is_due = |(key, _): &(&Key, _)| {
            world.inodes[**key].cover.is_accepted || world.inodes[**key].cover.is_carried
        };
        self.reach.files.iter().filter(is_due).map(|(&key, reached)| (key, &*reached.paths))
    }
}

/// Directories that are reached only because a followed link leads into them.
pub(crate) fn homes(world: &World) -> HashMap<Key, ()> {
    let mut homes = HashMap::new();
    for inode in world.inodes.iter().filter(|inode| inode.cover.ever) {
        for path in &inode.paths {
            let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            if let Ok(directory) = world.target(&path[..end]) {
                homes.insert(directory, ());
            }
        }
    }
    homes
}
