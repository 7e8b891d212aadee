//! Which files are to be followed at each moment, and what may be known of them: kept up as the
//! world and the settings change.
//!
//! In: every change of names, reloads, starts, and when the engine rests. Out: what the [`Model`]
//! has to accept and to demand.
//! Always holds: a file that no input ever accepted under any of its names never comes out; one
//! that an input accepts at rest comes out whole, from byte 0, or from where `from` and
//! `ignore_older` say.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use manytail::checkpoint::state::StoredOffsets;

use crate::following::{Following, Input, Reach, Rules};
use crate::model::Model;
use crate::start::Reason;
use crate::world::{Key, Kind, World};

/// What is remembered of a file that is not followed any more is remembered for so long at least:
/// see `writers`.
const MEMORY: Duration = Duration::from_secs(9 * 60);

/// What was seen of these lives, for tests that ask whether seeds do anything at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Times that other settings came.
    pub(crate) reloads: u64,
    /// Files that were accepted through a link and nothing else.
    pub(crate) linked: u64,
    /// Files that went on under a name that no input accepts.
    pub(crate) carried: u64,
    /// Files that were renamed so while the engine was down, and went on.
    pub(crate) renamed_down: u64,
}

/// What may be said of one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cover {
    /// The PATHs lead to its directory.
    pub(crate) is_reached: bool,
    /// An input accepts it.
    pub(crate) is_accepted: bool,
    /// One did at some time.
    pub(crate) ever: bool,
    /// It is accepted only through links.
    pub(crate) only_by_link: bool,
    /// It has to go on though its name is not accepted.
    pub(crate) is_carried: bool,
    /// Since when it is not accepted.
    left: Option<Duration>,
    /// Paths that it had so far.
    paths: usize,
    /// Names that it has: losing one of several is no rename.
    links: u64,
    /// The engine saw it in this life, under a name that is accepted.
    is_seen: bool,
}

#[derive(Debug)]
pub(crate) struct Covering {
    following: Following,
    rules: Rules,
    pub(crate) reach: Reach,
    /// The number of changes that `reach` knows of.
    seen: u64,
    /// A first scan is under way: files that come up may be taken for some that were there before.
    is_scanning: bool,
    /// Failures may put a first look off beyond the scan.
    is_lenient: bool,
    /// A sweep checks every file now and then.
    is_swept: bool,
    /// The engine runs.
    is_up: bool,
    /// Overflows so far: after one, nobody can say what became of names.
    overflows: u64,
    /// Own paths of files that links led to. When a link goes or points elsewhere, what is there is
    /// followed on, and what comes in its place may be: how far is left unchecked.
    former: HashSet<Vec<u8>>,
    /// Paths of followed files at the moment when events were lost. The engine knows a file that it
    /// has not checked yet by its path alone. Whatever replaces it unseen may be followed in its
    /// stead: the alternative is to lose the file.
    heard_of: HashSet<Vec<u8>>,
    pub(crate) counts: Counts,
}

impl Covering {
    pub(crate) fn new(following: Following, is_lenient: bool, is_swept: bool) -> Self {
        let rules = Rules::new(&following.inputs, following.recursive, following.follow_links);
        Covering {
            following,
            rules,
            reach: Reach::default(),
            seen: 0,
            is_scanning: false,
            is_lenient,
            is_swept,
            is_up: false,
            overflows: 0,
            former: HashSet::new(),
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

    /// The name by which a writer opens a file. Of one with several names, the kernel tells of a
    /// write by that name alone: one that is not followed is of no use where nobody sweeps, if
    /// another one is.
    pub(crate) fn name_to_write_by(&self, world: &World, path: &[u8]) -> Option<Vec<u8>> {
        let key =
            world.find(path).ok().filter(|&key| !self.is_swept && world.inodes[key].links > 1)?;
        let accepted = &self.reach.files.get(&key)?.accepted;
        let is_followed = accepted.iter().any(|accepted| accepted == path);
        accepted.iter().find(|accepted| !is_followed && world.find(accepted) == Ok(key)).cloned()
    }

    /// The settings that a start finds.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        self.rules.inputs.iter().map(|(input, _)| input.clone()).collect()
    }

    pub(crate) fn settings(&self) -> &Following {
        &self.following
    }

    /// Names changed, or may have.
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
        for key in 0..world.inodes.len() {
            if matches!(world.inodes[key].kind, Kind::File { .. }) {
                self.look_at(world, model, key, is_reload);
            }
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
                // If other settings come before its first look, those say where it starts: nobody
                // knows which look was the first.
                let is_unseen =
                    is_reload && !before.is_seen && !model.came_out(world.inodes[key].story);
                if cover.is_accepted && (!before.is_accepted || is_unseen) {
                    // One that was followed before may not have been looked at then. An event that
                    // waits to be read may tell of its creation: then it appeared, as far as the
                    // engine can know.
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
        cover.paths = world.inodes[key].paths.len();
        cover.links = world.inodes[key].links;
        let is_renamed = before.links == 1 && cover.links == 1;
        cover.is_carried &= is_renamed;
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

    /// An engine starts. `state`: what the journal says.
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
            // file first is a matter of luck.
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

    /// Files that the journal knows by a name that is accepted go on, whatever they were renamed to
    /// while nobody looked.
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

    /// Other settings.
    pub(crate) fn reloaded(&mut self, inputs: &[Input], world: &mut World, model: &mut Model) {
        self.counts.reloads += 1;
        self.rules = Rules::new(inputs, self.following.recursive, self.following.follow_links);
        self.is_scanning = true;
        self.look(world, model, true);
    }

    /// The engine waits and knows of nothing to do. `is_sure`: nothing keeps anything from it.
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

/// Where a directory is only because a followed link leads into it.
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
