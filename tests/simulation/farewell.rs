//! The end of every life: the output takes nothing, all files grow, and then they are deleted or
//! moved out of the tree.
//!
//! In: a run at rest. Out: the first line that is lost although its file had to be read, or that is
//! lost and not counted.
//! Always holds: files that the engine knows to be unread while the output is blocked are held
//! open, as many as possible; all other missing bytes of deleted files are counted as lost.

use std::time::Duration;

use manytail::testing::engine::Turn;

use crate::model::StoryKey;
use crate::random::Random;
use crate::turning::Run;
use crate::workload::{OUTSIDE, join};
use crate::writers::files_below;

/// How long the output takes nothing.
const BLOCKED_FOR: Duration = Duration::from_secs(60);
/// Far longer than any file cools down.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// Far more turns than it takes.
const TURNS_MAX: usize = 100_000;
/// How many files are held open where no limit is reached.
const MANY: usize = 256;

impl Run {
    /// Removes every file and checks the losses.
    pub(crate) fn take_leave(&mut self) -> Result<(), String> {
        let (is_told, seed) = {
            let simulated = self.shared.borrow();
            let settings = &simulated.settings;
            // The engine does not know about unread bytes that no event reports, or in excluded
            // files.
            (
                settings.following.is_none()
                    && settings.unheard == 0
                    && settings.watches_max.is_none()
                    && settings.rates.no_watch == 0,
                simulated.digest,
            )
        };
        if !is_told {
            return Ok(());
        }
        let mut random = Random::new(seed);
        let held_max = *random.pick(&[MANY, MANY, 1, 0]);
        let room = self.shared.borrow().settings.output.room(*random.pick(&[1, 500, 20_000]));
        self.engine().limit_open_files(held_max);
        self.engine().limit_in_flight(room);
        self.shared.borrow_mut().block_output(BLOCKED_FOR);
        for _ in 0..random.between(1, 3) {
            self.shared.borrow_mut().canaries();
            self.turn_for(NOTICED_WITHIN)?;
        }
        let lost_before = self.losses();
        // A file that is moved out without being held is not checked: it is unknown whether its
        // bytes were lost.
        let moves_out = held_max == MANY && random.one_in(2);
        let stories = self.remove_all(moves_out);
        self.turn_for(NOTICED_WITHIN)?;
        self.rest("all files were taken away")?;
        let counted = self.losses() - lost_before;
        let simulated = self.shared.borrow();
        let missing: Vec<String> =
            stories.iter().filter_map(|&story| simulated.model.undelivered(story)).collect();
        let no_end = stories
            .iter()
            .filter(|&&story| simulated.model.is_drained(story))
            .find_map(|&story| simulated.model.without_end(story));
        if let Some(why) = no_end {
            return Err(format!("a file that was taken away: {why}"));
        }
        match missing.first() {
            Some(why) if held_max == MANY => {
                Err(format!("a file that was deleted while the output was blocked: {why}"))
            }
            Some(why) if (missing.len() as u64) > counted => Err(format!(
                "{} files were lost with unread lines, but {counted} were counted as lost; {why}",
                missing.len()
            )),
            _ => Ok(()),
        }
    }

    /// Files that the engine counted as gone with unread bytes.
    fn losses(&mut self) -> u64 {
        let stats = self.engine().stats();
        stats.deleted_unread + stats.moved_unread + stats.vanished
    }

    /// Turns for exactly this long: unlike [`Run::wait_for`], never until a later deadline.
    fn turn_for(&mut self, time: Duration) -> Result<(), String> {
        let until = self.shared.borrow().now() + time;
        for _ in 0..TURNS_MAX {
            self.poll();
            self.shared.borrow_mut().turn_begins();
            let now = self.now();
            let turn =
                self.engine().turn(now).map_err(|error| format!("the engine gave up: {error}"))?;
            self.engine().check()?;
            let start = self.start;
            let mut simulated = self.shared.borrow_mut();
            simulated.turn_ended();
            if let Some(why) = simulated.failure.take() {
                return Err(why);
            }
            let deadline = match turn {
                Turn::Again => continue,
                Turn::WaitUntil(deadline) => Some(deadline.saturating_duration_since(start)),
                Turn::WaitForEvents => None,
                Turn::Finished => return Err("the engine finished by itself".to_owned()),
            };
            let job = simulated.durability().and_then(|durability| durability.job_due);
            let next = [deadline, job].into_iter().flatten().min().filter(|&next| next < until);
            let now = simulated.now();
            simulated.world.time = now.max(next.unwrap_or(until));
            if next.is_none() {
                return Ok(());
            }
        }
        Err(format!("a busy loop: {TURNS_MAX} turns within {time:?}"))
    }

    /// Takes all files out of the tree.
    fn remove_all(&self, moves_out: bool) -> Vec<StoryKey> {
        let mut simulated = self.shared.borrow_mut();
        let paths = files_below(&simulated.world, &simulated.settings.paths);
        simulated.trace(|| {
            format!("{} files are {}", paths.len(), if moves_out { "moved out" } else { "deleted" })
        });
        let mut stories = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            let key = simulated.world.find(path).expect("it was just found");
            stories.push(simulated.world.inodes[key].story);
            let done = if moves_out {
                let outside = join(OUTSIDE, format!("gone{number}").as_bytes());
                simulated.world.rename(path, &outside)
            } else {
                simulated.world.unlink(path)
            };
            assert!(
                done.is_ok(),
                "nothing keeps {} from going away: {done:?}",
                path.escape_ascii()
            );
        }
        stories.sort_unstable();
        stories.dedup();
        stories
    }
}
