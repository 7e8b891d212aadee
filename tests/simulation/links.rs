//! Symbolic links that other processes make, change and remove.
//!
//! In: a run that follows links. Out: steps of the workload.
//! Always holds: a target that is followed through links alone is not renamed, replaced or removed,
//! see [`crate::following::Following::moves_targets`].

use std::time::Duration;

use crate::model::Model;
use crate::workload::{Moment, Process, Step, Workload, join};
use crate::world::{Key, Kind, World};
use crate::writers::{directories_below, files_below, names_below};

impl Workload {
    #[expect(clippy::too_many_lines, reason = "a list of steps")]
    pub(crate) fn links_steps(&mut self, world: &World) -> Vec<Step> {
        let (outside, path) = (self.outside(), self.new_name(world));
        // A PATH that is a link would be followed regardless of the settings.
        if self.roots.contains(&path) {
            return Vec::new();
        }
        let links: Vec<Vec<u8>> = names_below(world, &self.roots)
            .into_iter()
            .filter(|path| is_link(world, path))
            .collect();
        let make = [Step::Create(outside.clone()), self.append(&outside)];
        let choice = self.links.below(if links.is_empty() { 7 } else { 11 });
        match choice {
            0 => {
                let files = files_below(world, &self.roots);
                files
                    .get(self.links.below(files.len().max(1)))
                    .map(|file| Step::SoftLink(file.clone(), path))
                    .into_iter()
                    .collect()
            }
            1 | 2 => {
                let more = self.append(&outside);
                make.into_iter().chain([Step::SoftLink(outside, path), more]).collect()
            }
            3 => {
                let (one, other) = (join(&outside, b"a.log"), join(&outside, b"b.log"));
                vec![
                    Step::MakeDirectory(outside.clone()),
                    Step::Create(one.clone()),
                    self.append(&one),
                    Step::SoftLink(outside, path),
                    self.append(&one),
                    Step::Create(other.clone()),
                    self.append(&other),
                ]
            }
            4 => {
                let directories = directories_below(world, &self.roots);
                let at = self.links.below(directories.len().max(1));
                directories
                    .get(at)
                    .map(|directory| Step::SoftLink(directory.clone(), path))
                    .into_iter()
                    .collect()
            }
            5 => {
                let between = self.outside();
                let more = self.append(&outside);
                let chain =
                    [Step::SoftLink(outside, between.clone()), Step::SoftLink(between, path), more];
                make.into_iter().chain(chain).collect()
            }
            6 => {
                let more = self.append(&outside);
                let pause = Step::Pause(Duration::from_millis(self.links.below(3000) as u64));
                [Step::SoftLink(outside, path), pause]
                    .into_iter()
                    .chain(make)
                    .chain([more])
                    .collect()
            }
            7 => {
                let link = self.links.pick(&links).clone();
                make.into_iter()
                    .chain([Step::Unlink(link.clone()), Step::SoftLink(outside, link)])
                    .collect()
            }
            8 => {
                let link = self.links.pick(&links).clone();
                let new = self.beside(&link);
                make.into_iter()
                    .chain([Step::SoftLink(outside, new.clone()), Step::Rename(new, link)])
                    .collect()
            }
            9 => vec![Step::Unlink(self.links.pick(&links).clone())],
            _ => {
                let target = world.target_path(self.links.pick::<Vec<u8>>(&links));
                target.map(|target| self.append(&target)).into_iter().collect()
            }
        }
    }

    /// While the engine is down, and not everything is followed: a followed file gets a name that
    /// globs exclude, and continues to grow there.
    pub(crate) fn rename_while_down(&mut self, world: &mut World, model: &mut Model) -> String {
        let Some(covering) = &self.covering else { return String::new() };
        let followed = covering.reach.files.values().filter(|file| file.by_name);
        let paths: Vec<Vec<u8>> =
            followed.filter_map(|file| file.accepted.first().cloned()).collect();
        if paths.is_empty() || !self.links.one_in(2) {
            return String::new();
        }
        let path = self.links.pick(&paths).clone();
        let new = self.beside(&path);
        let steps = [Step::Rename(path, new.clone()), self.append(&new)];
        let mut process = Process::default();
        steps
            .into_iter()
            .map(|step| self.take(world, model, Moment::default(), &mut process, step))
            .collect()
    }

    /// Whether the names of a file must not change: only links lead to it, or it is in such a
    /// place.
    pub(crate) fn is_kept_target(&self, world: &World, key: Key) -> bool {
        let moves_targets =
            self.covering.as_ref().is_none_or(|covering| covering.settings().moves_targets);
        !moves_targets
            && crate::writers::subtree(world, key)
                .iter()
                .any(|&key| world.inodes[key].cover.only_by_link)
    }
}

fn is_link(world: &World, path: &[u8]) -> bool {
    world.find(path).is_ok_and(|key| matches!(world.inodes[key].kind, Kind::Link(_)))
}
