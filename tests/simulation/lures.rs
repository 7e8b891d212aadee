//! Users who replace a name in the tree with a link to a place outside it, so that anyone who
//! follows it reads files of others.
//!
//! In: a file, or a directory of its own. Out: steps that put a link in its place for a while.
//! Always holds: other processes do not write through such a link.

use std::time::Duration;

use crate::workload::{Process, Step, Workload, join};
use crate::world::World;
use crate::writers::{is_below, readable};

/// How often the owner of a known directory exchanges it: a look rarely happens at that moment.
const LURES_IN_A_ROW: usize = 8;

impl Workload {
    /// Steps that put a link out of the tree in the place of a file, or of a new directory.
    pub(crate) fn lure_steps(&mut self, world: &World, files: &[Vec<u8>]) -> Vec<Step> {
        let outside = self.outside();
        let secret = join(&outside, b"secret.log");
        let mut steps = vec![
            Step::MakeDirectory(outside.clone()),
            Step::Create(secret.clone()),
            self.append(&secret),
        ];
        let pause = Step::Pause(Duration::from_millis(self.random.below(100) as u64));
        let files: Vec<&Vec<u8>> =
            files.iter().filter(|&file| !self.roots.contains(file)).collect();
        if let Some((directory, name)) = self.known_directory(&files) {
            // A file that the engine knows, and is about to examine, has a namesake there.
            let (own, namesake) = (join(&directory, &name), join(&outside, &name));
            steps.extend([Step::Create(namesake.clone()), self.append(&namesake)]);
            for _ in 0..LURES_IN_A_ROW {
                let more = self.append(&namesake);
                steps.push(self.append(&own));
                steps = self.lured(steps, directory.clone(), outside.clone(), [more]);
                steps.push(Step::Pause(Duration::from_millis(self.links.below(20) as u64)));
            }
            return steps;
        }
        let (victim, target) = if self.random.one_in(2) && !files.is_empty() {
            ((*self.random.pick(&files)).clone(), secret.clone())
        } else {
            let name = format!("lure{}", self.random.below(1 << 20));
            let victim = join(&self.directory(world), name.as_bytes());
            let inside = join(&victim, b"mine.log");
            steps.extend([
                Step::MakeDirectory(victim.clone()),
                Step::Create(inside.clone()),
                self.append(&inside),
                pause.clone(),
            ]);
            (victim, outside)
        };
        let meanwhile = [self.append(&secret), pause.clone(), self.append(&secret), pause];
        self.lured(steps, victim, target, meanwhile)
    }

    /// The victim is renamed for the link, and renamed back.
    fn lured(
        &mut self,
        before: Vec<Step>,
        victim: Vec<u8>,
        target: Vec<u8>,
        meanwhile: impl IntoIterator<Item = Step>,
    ) -> Vec<Step> {
        let aside = self.beside(&victim);
        let mut steps = before;
        steps.extend([
            Step::Rename(victim.clone(), aside.clone()),
            Step::Lure(target, victim.clone()),
        ]);
        steps.extend(meanwhile);
        steps.extend([Step::Unlink(victim.clone()), Step::Rename(aside, victim)]);
        steps
    }

    /// A directory below a PATH that has files, and the name of one. Where links are followed, such
    /// a link is not a lure.
    fn known_directory(&mut self, files: &[&Vec<u8>]) -> Option<(Vec<u8>, Vec<u8>)> {
        if self.covering.as_ref().is_some_and(|covering| covering.settings().follow_links)
            || self.links.one_in(2)
        {
            return None;
        }
        let parts = |file: &&Vec<u8>| {
            let slash = file.iter().rposition(|&byte| byte == b'/')?;
            let directory = file[..slash].to_vec();
            let is_above_root =
                self.roots.iter().any(|root| is_below(root, std::slice::from_ref(&directory)));
            (!is_above_root).then(|| (directory, file[slash + 1..].to_vec()))
        };
        let known: Vec<_> = files.iter().filter_map(parts).collect();
        if known.is_empty() { None } else { Some(self.links.pick(&known).clone()) }
    }

    /// Puts the link in place. Processes that were about to do something there give up.
    pub(crate) fn lure(&mut self, world: &mut World, target: &[u8], victim: &[u8]) -> bool {
        if self.roots.iter().any(|root| is_below(root, &[victim.to_vec()]))
            || world.make_link(target, victim).is_err()
        {
            return false;
        }
        let name = victim.escape_ascii().to_string();
        let is_about = |step: &Step| readable(&format!("{step:?}")).contains(&name);
        self.processes.retain(|process: &Process| !process.steps.iter().any(is_about));
        true
    }
}
