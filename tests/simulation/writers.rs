//! The steps of the workload: each is made in the world and passed on to the model; and ways to
//! search the tree.
//!
//! In: a [`Step`]. Out: the change, if it is possible.
//! Always holds: a story's bytes in the model are the file's bytes in the world.

use std::collections::HashSet;
use std::time::Duration;

use manytail::testing::sys::Links;

use crate::model::{Model, Rotation, StoryKey, opening};
use crate::workload::{Moment, OUTSIDE, Process, Step, Workload, join};
use crate::world::{BLOCK_BYTES, Handle, Key, Kind, World};

/// A file that left the tree comes back within this time (manytail remembers it for 10 minutes).
const MEMORY: Duration = Duration::from_secs(9 * 60);

impl Workload {
    #[expect(clippy::too_many_lines, reason = "an arm for each step")]
    pub(crate) fn take(
        &mut self,
        world: &mut World,
        model: &mut Model,
        moment: Moment,
        process: &mut Process,
        step: Step,
    ) -> String {
        let told = format!("{:?} {}", world.time, readable(&format!("{step:?}")));
        let done = match step {
            Step::Create(path) => self.create(world, model, &path).is_some(),
            Step::Append { path, lines, and_part } => {
                self.append_at(world, model, &path, lines, and_part)
            }
            Step::AppendHeld { lines, and_part } => {
                let handle = self.held.pop();
                handle.is_some_and(|handle| {
                    self.write(world, model, &handle, lines, and_part);
                    self.held.push(handle);
                    true
                })
            }
            Step::Rename(from, to) => self.rename(world, model, &from, &to),
            Step::Exchange(one, other) => world.exchange(&one, &other).is_ok(),
            Step::CopyLinks(from, to) => self.copy_links(world, model, &from, &to),
            Step::Unnamed(directory, path) => self.create_unnamed(world, model, &directory, &path),
            Step::RotateAside(from, to) => {
                // Nothing is reported for a directory without a watch, a hard link has other names
                // that stay, and it is unknown when an unreadable file becomes readable: the next
                // generation does not wait for that.
                let is_plain =
                    |key: Key| world.inodes[key].links == 1 && world.inodes[key].readable;
                let is_clear = world.is_told_of(&from)
                    && world.resolve(&from, Links::Keep).is_ok_and(is_plain);
                process.rotating =
                    file_story(world, &from).filter(|_| is_clear).map(|story| (story, moment));
                self.rename(world, model, &from, &to)
            }
            Step::RotateCreate(path) => self.rotate_create(world, model, moment, process, &path),
            Step::Unlink(path) => self.unlink(world, &path),
            Step::UnlinkDrained(path, attempts) => match drained(world, model, &path) {
                Some(false) if attempts > 0 => {
                    process.at_once = false;
                    process.steps.push_front(Step::UnlinkDrained(path, attempts - 1));
                    return String::new();
                }
                Some(true) => self.unlink(world, &path),
                _ => false,
            },
            Step::TruncateDrained(path, attempts) => match drained(world, model, &path) {
                Some(false) if attempts > 0 => {
                    process.at_once = false;
                    process.steps.push_front(Step::TruncateDrained(path, attempts - 1));
                    return String::new();
                }
                Some(true) => self.truncate(world, model, &path),
                _ => false,
            },
            Step::Truncate(path) => self.truncate(world, model, &path),
            Step::WriteBeyond(path) => self.write_beyond(world, model, &path),
            Step::Link(old, new) => self.link(world, model, &old, &new),
            Step::MakeDirectory(path) => world.make_directory(&path).is_ok(),
            Step::RemoveAll(path) => self.remove_all(world, &path),
            Step::Chmod(path, readable) => {
                model.disturb();
                for story in 0..model.stories.len() {
                    model.loosen_start(story);
                }
                world.change_mode(&path, readable).is_ok()
            }
            Step::SoftLink(target, path) => world.make_link(&target, &path).is_ok(),
            Step::Lure(target, path) => self.lure(world, &target, &path),
            Step::Fifo(path) => world.make_fifo(&path).is_ok(),
            Step::Hold(path) => world.open(&path).map(|handle| self.held.push(handle)).is_ok(),
            Step::Release => self.held.pop().map(|handle| world.close_written(handle)).is_some(),
            Step::Pause(duration) => {
                self.pause_for(duration);
                true
            }
        };
        if let Some(covering) = &mut self.covering {
            covering.update(world, model);
        }
        told + if done { "\n" } else { " (not possible)\n" }
    }

    // ---- names ----

    fn is_inside(&self, path: &[u8]) -> bool {
        is_below(path, &self.roots)
    }

    fn rename(&mut self, world: &mut World, model: &mut Model, from: &[u8], to: &[u8]) -> bool {
        let Ok(key) = world.find(from) else { return false };
        if self.is_kept_target(world, key)
            || world.find(to).is_ok_and(|over| self.is_kept_target(world, over))
        {
            return false;
        }
        let (was_inside, is_inside) = (self.is_inside(from), self.is_inside(to));
        if !was_inside && is_inside && !self.may_return(world, key) {
            return false;
        }
        if let Ok(replaced) = world.find(to) {
            self.left.insert(replaced, world.time);
        }
        let (story, is_told) = (file_story(world, from), world.is_told_of(to));
        if world.rename(from, to).is_err() {
            return false;
        }
        if let Some(story) = story.filter(|_| !is_told) {
            model.has_other_name(story);
        }
        if was_inside && !is_inside {
            model.disturb();
            for key in subtree(world, key) {
                self.left.insert(key, world.time);
            }
        }
        true
    }

    /// Whether nothing in `key` has been away for too long.
    fn may_return(&self, world: &World, key: Key) -> bool {
        subtree(world, key)
            .iter()
            .all(|key| self.left.get(key).is_none_or(|&left| world.time - left < MEMORY))
    }

    fn link(&mut self, world: &mut World, model: &mut Model, old: &[u8], new: &[u8]) -> bool {
        if let Some(story) = file_story(world, old) {
            model.has_other_name(story);
        }
        world.find(old).is_ok_and(|key| self.may_return(world, key)) && world.link(old, new).is_ok()
    }

    fn unlink(&mut self, world: &mut World, path: &[u8]) -> bool {
        if let Ok(key) = world.find(path) {
            if self.is_kept_target(world, key) {
                return false;
            }
            self.left.insert(key, world.time);
        }
        world.unlink(path).is_ok()
    }

    fn remove_all(&mut self, world: &mut World, path: &[u8]) -> bool {
        let Ok(key) = world.find(path) else { return false };
        let names: Vec<Vec<u8>> =
            world.entries(key).map(|entries| entries.keys().cloned().collect()).unwrap_or_default();
        if !world.is_directory(key) {
            return self.unlink(world, path);
        }
        for name in names {
            self.remove_all(world, &join(path, &name));
        }
        world.remove_directory(path).is_ok()
    }

    // ---- contents ----

    fn begin_generation(&mut self, model: &mut Model, inode: Key, writer: usize) -> StoryKey {
        self.generations[writer] += 1;
        model.begin_generation(inode, writer, self.generations[writer])
    }

    fn create(&mut self, world: &mut World, model: &mut Model, path: &[u8]) -> Option<StoryKey> {
        let handle = world.create(path).ok()?;
        let writer = *self.writers.entry(path.to_vec()).or_insert_with(|| {
            self.generations.push(0);
            self.generations.len() - 1
        });
        let story = self.begin_generation(model, handle.inode, writer);
        world.inodes[handle.inode].story = story;
        world.close_written(handle);
        Some(story)
    }

    fn create_unnamed(
        &mut self,
        world: &mut World,
        model: &mut Model,
        directory: &[u8],
        path: &[u8],
    ) -> bool {
        let Ok(handle) = world.create_unnamed(directory) else { return false };
        let writer = *self.writers.entry(path.to_vec()).or_insert_with(|| {
            self.generations.push(0);
            self.generations.len() - 1
        });
        world.inodes[handle.inode].story = self.begin_generation(model, handle.inode, writer);
        if self.random.one_in(2) {
            self.write(world, model, &handle, 1, false);
        }
        let is_named = world.name_it(&handle, path).is_ok();
        self.held.push(handle);
        is_named
    }

    fn copy_links(&mut self, world: &mut World, model: &mut Model, from: &[u8], to: &[u8]) -> bool {
        let Ok(key) = world.find(from) else { return false };
        let Some(entries) = world.entries(key) else { return self.link(world, model, from, to) };
        let names: Vec<Vec<u8>> = entries.keys().cloned().collect();
        if world.make_directory(to).is_err() {
            return false;
        }
        for name in names {
            self.copy_links(world, model, &join(from, &name), &join(to, &name));
        }
        true
    }

    fn rotate_create(
        &mut self,
        world: &mut World,
        model: &mut Model,
        moment: Moment,
        process: &mut Process,
        path: &[u8],
    ) -> bool {
        let Some(story) = self.create(world, model, path) else { return false };
        if let Some((older, begun)) = process.rotating.take() {
            let clear = moment.clear && begun == moment && !world.queue.is_overflowed();
            model.rotated(story, Rotation::new(older, moment.turn, moment.overflows, clear));
        }
        true
    }

    fn append_at(
        &mut self,
        world: &mut World,
        model: &mut Model,
        path: &[u8],
        lines: usize,
        and_part: bool,
    ) -> bool {
        let followed = match &self.covering {
            _ if self.is_swept => None,
            Some(covering) => covering.name_to_write_by(world, path),
            None => self.watched_name(world, path),
        };
        let Ok(handle) = world.open(followed.as_deref().unwrap_or(path)) else { return false };
        self.write(world, model, &handle, lines, and_part);
        world.close_written(handle);
        true
    }

    /// Another name of the file, whose directory is watched, if that of `path` is not. Without a
    /// sweep a write by `path` would stay unknown if that name goes before its directory is listed.
    fn watched_name(&self, world: &World, path: &[u8]) -> Option<Vec<u8>> {
        let key = world.find(path).ok().filter(|&key| world.inodes[key].links > 1)?;
        let is_other = |other: &&Vec<u8>| world.is_told_of(other) && world.find(other) == Ok(key);
        let is_hidden = !path.starts_with(OUTSIDE) && !world.is_told_of(path);
        world.inodes[key].paths.iter().find(is_other).filter(|_| is_hidden).cloned()
    }

    /// Whole lines, the first of which may be the rest of an unfinished one, and perhaps the
    /// beginning of another.
    pub(crate) fn write(
        &mut self,
        world: &mut World,
        model: &mut Model,
        handle: &Handle,
        lines: usize,
        and_part: bool,
    ) {
        let story = world.inodes[handle.inode].story;
        let mut bytes = Vec::new();
        for _ in 0..lines {
            bytes.extend(self.next_line(model, story));
        }
        if and_part {
            let line = self.next_line(model, story);
            let part = if line.len() > 1 { self.random.between(1, line.len() - 1) } else { 1 };
            bytes.extend_from_slice(&line[..part]);
            model.stories[story].unfinished = line[part..].to_vec();
        }
        if !bytes.is_empty() {
            world.append(handle, &bytes);
            model.stories[story].bytes.extend_from_slice(&bytes);
        }
    }

    fn next_line(&mut self, model: &mut Model, story: StoryKey) -> Vec<u8> {
        let story = &mut model.stories[story];
        let unfinished = std::mem::take(&mut story.unfinished);
        if !unfinished.is_empty() {
            return unfinished;
        }
        story.lines += 1;
        if self.habits.any_bytes && story.lines > 1 && self.random.one_in(10) {
            return b"\n".to_vec();
        }
        let mut line =
            format!("{} l{} ", opening(story.writer, story.inode_generation), story.lines)
                .into_bytes();
        let pad = match self.random.below(200) {
            0 => self.random.below(self.habits.line_bytes_max),
            1..=9 => self.random.below(400),
            _ => self.random.below(30),
        };
        for _ in 0..pad {
            let byte = if self.habits.any_bytes {
                self.random.below(256) as u8
            } else {
                b'a' + self.random.below(26) as u8
            };
            line.push(if byte == b'\n' { b'\r' } else { byte });
        }
        if self.habits.returns && self.random.one_in(2) {
            line = self.as_bar(&line);
        }
        line.push(b'\n');
        line
    }

    /// What a progress bar leaves that ends as this line.
    fn as_bar(&mut self, last: &[u8]) -> Vec<u8> {
        let opening = last.split(|&byte| byte == b'l').next().unwrap_or_default();
        let mut bar = Vec::new();
        for percent in 0..self.random.below(12) {
            bar.extend_from_slice(opening);
            bar.extend_from_slice(format!("{percent}%\r").as_bytes());
            bar.resize(bar.len() + self.random.below(4).saturating_sub(2), b'\r');
        }
        bar.extend_from_slice(last);
        bar.resize(bar.len() + self.random.below(3).saturating_sub(1), b'\r');
        bar
    }

    fn truncate(&mut self, world: &mut World, model: &mut Model, path: &[u8]) -> bool {
        let Ok(handle) = world.open(path) else { return false };
        world.truncate(&handle);
        let old = world.inodes[handle.inode].story;
        model.stories[old].ended = true;
        let writer = model.stories[old].writer;
        let new = self.begin_generation(model, handle.inode, writer);
        model.inherit_start(old, new);
        world.inodes[handle.inode].story = new;
        world.close_written(handle);
        true
    }

    /// A write without `O_APPEND` after a truncation: the space before the writer's position
    /// becomes a hole.
    fn write_beyond(&mut self, world: &mut World, model: &mut Model, path: &[u8]) -> bool {
        let Ok(handle) = world.open(path) else { return false };
        let story = world.inodes[handle.inode].story;
        if model.stories[story].bytes.is_empty() {
            let position = BLOCK_BYTES + self.random.below(10_000) as u64;
            let line = self.next_line(model, story);
            world.write_beyond(&handle, position, &line);
            let story = &mut model.stories[story];
            story.hole = position;
            story.bytes = vec![0; position as usize];
            story.bytes.extend_from_slice(&line);
        }
        world.close_written(handle);
        true
    }

    // ---- the end ----

    /// Ends everything that would prevent the engine from reading; removed files stay removed.
    pub(crate) fn finish(&mut self, world: &mut World, model: &mut Model) {
        while let Some(handle) = self.held.pop() {
            world.close_written(handle);
        }
        for root in self.roots.clone() {
            if world.make_directory(&root).is_err() {
                let roots = std::slice::from_ref(&root);
                let below = [
                    files_below(world, roots),
                    directories_below(world, roots),
                    vec![root.clone()],
                ]
                .concat();
                for path in below {
                    if world.find(&path).is_ok_and(|key| !world.inodes[key].readable) {
                        world.change_mode(&path, true).expect("it is there");
                    }
                }
            }
        }
        if let Some(covering) = &mut self.covering {
            covering.is_quiet();
            covering.update(world, model);
        }
    }

    /// One more line into every file, and a new file in every directory: they show that each is
    /// still followed.
    pub(crate) fn canaries(&mut self, world: &mut World, model: &mut Model) {
        let mut written = HashSet::new();
        for path in files_below(world, &self.roots) {
            if written.insert(world.find(&path).ok()) {
                self.append_at(world, model, &path, 1, false);
            }
        }
        for path in files_below(world, &[OUTSIDE.to_vec()]) {
            if self.covering.is_some() && written.insert(world.find(&path).ok()) {
                self.append_at(world, model, &path, 1, false);
            }
        }
        for directory in directories_below(world, &self.roots).into_iter().chain(self.roots.clone())
        {
            let path = join(&directory, b"canary.log");
            self.create(world, model, &path);
            self.append_at(world, model, &path, 2, false);
        }
        if let Some(covering) = &mut self.covering {
            covering.update(world, model);
        }
    }
}

/// Shows paths as text; [`std::fmt::Debug`] prints lists of numbers.
pub(crate) fn readable(debug: &str) -> String {
    let mut parts = debug.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (numbers, rest) = part.split_once(']').unwrap_or((part, ""));
        let bytes: Vec<u8> = numbers.split(", ").filter_map(|number| number.parse().ok()).collect();
        text += &format!("{}{rest}", bytes.escape_ascii());
    }
    text
}

/// Whether everything in the file was delivered; `None` if there is no file.
fn drained(world: &World, model: &Model, path: &[u8]) -> Option<bool> {
    file_story(world, path).map(|story| model.is_drained(story))
}

fn file_story(world: &World, path: &[u8]) -> Option<StoryKey> {
    let key = world.find(path).ok()?;
    matches!(world.inodes[key].kind, Kind::File { .. }).then(|| world.inodes[key].story)
}

pub(crate) fn subtree(world: &World, key: Key) -> Vec<Key> {
    let mut found = vec![key];
    let mut at = 0;
    while at < found.len() {
        if let Some(entries) = world.entries(found[at]) {
            found.extend(entries.values().map(|&name| world.named(name)));
        }
        at += 1;
    }
    found
}

pub(crate) fn is_below(path: &[u8], roots: &[Vec<u8>]) -> bool {
    roots.iter().any(|root| {
        path.strip_prefix(root.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    })
}

/// Paths of all regular files below `roots`, each path once.
pub(crate) fn files_below(world: &World, roots: &[Vec<u8>]) -> Vec<Vec<u8>> {
    below(world, roots, |world, key| matches!(world.inodes[key].kind, Kind::File { .. }))
}

/// Paths of everything below `roots` except directories.
pub(crate) fn names_below(world: &World, roots: &[Vec<u8>]) -> Vec<Vec<u8>> {
    below(world, roots, |world, key| !world.is_directory(key))
}

/// Paths of all directories below `roots`, without the roots.
pub(crate) fn directories_below(world: &World, roots: &[Vec<u8>]) -> Vec<Vec<u8>> {
    below(world, roots, World::is_directory)
}

fn below(world: &World, roots: &[Vec<u8>], wanted: impl Fn(&World, Key) -> bool) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    let mut todo: Vec<Vec<u8>> = roots.to_vec();
    while let Some(directory) = todo.pop() {
        let Ok(key) = world.find(&directory) else { continue };
        for (name, &entry) in world.entries(key).into_iter().flatten() {
            let (path, key) = (join(&directory, name), world.named(entry));
            if world.is_directory(key) {
                todo.push(path.clone());
            }
            if wanted(world, key) {
                paths.push(path);
            }
        }
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}
