//! Users who exchange a name in the tree for a link to a place outside of it, so that whoever follows it reads what is not theirs.
//!
//! In: a file, or a directory of its own. Out: steps that put a link in its place for a while.
//! Always holds: only the last part of a path is exchanged while names below it are known to nobody else: through a link *above* a
//! known name the engine is still led out of the tree, and other processes must not write through it either.

use std::time::Duration;

use crate::workload::{Process, Step, Workload, join};
use crate::world::World;
use crate::writers::{is_below, readable};

impl Workload {
    /// Steps that put a link out of the tree in the place of a file, or of a directory that is made for it.
    pub(crate) fn lure_steps(&mut self, world: &World, files: &[Vec<u8>]) -> Vec<Step> {
        let outside = self.outside();
        let secret = join(&outside, b"secret.log");
        let mut steps = vec![Step::MakeDirectory(outside.clone()), Step::Create(secret.clone()), self.append(&secret)];
        let pause = Step::Pause(Duration::from_millis(self.random.below(100) as u64));
        let files: Vec<&Vec<u8>> = files.iter().filter(|&file| !self.roots.contains(file)).collect();
        let (victim, target) = if self.random.one_in(2) && !files.is_empty() {
            ((*self.random.pick(&files)).clone(), secret.clone())
        } else {
            let name = format!("lure{}", self.random.below(1 << 20));
            let victim = join(&self.directory(world), name.as_bytes());
            let inside = join(&victim, b"mine.log");
            steps.extend([Step::MakeDirectory(victim.clone()), Step::Create(inside.clone()), self.append(&inside), pause.clone()]);
            (victim, outside)
        };
        let aside = self.beside(&victim);
        steps.extend([Step::Rename(victim.clone(), aside.clone()), Step::Lure(target, victim.clone())]);
        steps.extend([self.append(&secret), pause.clone(), self.append(&secret), pause]);
        steps.extend([Step::Unlink(victim.clone()), Step::Rename(aside, victim)]);
        steps
    }

    /// Puts the link in place. Whoever was about to do something there gives it up.
    pub(crate) fn lure(&mut self, world: &mut World, target: &[u8], victim: &[u8]) -> bool {
        if self.roots.iter().any(|root| is_below(root, &[victim.to_vec()])) || world.make_link(target, victim).is_err() {
            return false;
        }
        let name = victim.escape_ascii().to_string();
        let is_about = |step: &Step| readable(&format!("{step:?}")).contains(&name);
        self.processes.retain(|process: &Process| !process.steps.iter().any(is_about));
        true
    }
}
