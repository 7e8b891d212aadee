//! Where the first record of a story may be: at byte 0, or after the content that was there when
//! the file was first seen.
//!
//! In: when a file became followed, by which rules, and when it was certainly examined. Out:
//! offsets at which a story may begin, and up to where nothing has to be delivered.
//! Always holds: a story that may begin at its end begins at the start of a line; the unfinished
//! last line has to be delivered.

use std::time::Duration;

use crate::model::{Model, Story, StoryKey};
use crate::world::World;

/// Polls and retries come within this time, so a file that existed for longer has been examined
/// when the engine is at rest.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// It may begin at byte 0.
    zero: bool,
    /// It may begin at an end that it had between becoming followed and being examined.
    end: bool,
    /// The last complete line of the first and the last of these times ends here.
    first: u64,
    last: u64,
    /// It was certainly examined, though perhaps not since it last became followed: its age when it
    /// came back does not matter.
    is_known: bool,
    /// It has not certainly been examined yet.
    is_open: bool,
    /// `from` says so, whatever its age.
    is_first: bool,
    since: Duration,
    len: usize,
    age: Duration,
    ignore_older: Option<Duration>,
}

impl Start {
    pub(crate) fn is_first(&self) -> bool {
        self.is_first
    }
}

impl Default for Start {
    fn default() -> Self {
        Start {
            zero: true,
            end: false,
            first: 0,
            last: 0,
            is_known: false,
            is_open: false,
            is_first: false,
            since: Duration::ZERO,
            len: 0,
            age: Duration::ZERO,
            ignore_older: None,
        }
    }
}

/// Why a file may begin at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reason {
    /// The first scan is in progress, and `from` says so.
    pub(crate) is_first: bool,
    /// It certainly existed before.
    pub(crate) was_there: bool,
    pub(crate) ignore_older: Option<Duration>,
    pub(crate) now: Duration,
    pub(crate) age: Duration,
}

impl Story {
    /// Whether the first record may be here.
    pub(crate) fn may_begin_at(&self, offset: u64) -> bool {
        let start = &self.start;
        let is_line = offset == 0
            || self.bytes.get(offset as usize - 1) == Some(&b'\n')
            || (self.splits && self.bytes.get(offset as usize - 1) == Some(&b'\r'))
            || offset == self.hole;
        let last = self.behind_empty(self.end_last(), true);
        let is_in = start.end && (start.first..=last).contains(&offset) && is_line;
        (start.zero && (offset == 0 || offset == self.hole)) || is_in
    }

    fn end_last(&self) -> u64 {
        if self.start.is_open { self.complete_len() } else { self.start.last }
    }
}

impl Model {
    /// A file became followed, as far as is known for the first time.
    pub(crate) fn may_start_at_end(&mut self, story: StoryKey, reason: Reason) {
        let Reason { is_first, was_there, ignore_older, now, age } = reason;
        // A file that began at its end, left and comes back resumes there if the engine knows it,
        // otherwise it is new. Which of the two is not checked: that would need the content of the
        // journal.
        self.stories[story].start.zero |= self.stories[story].start.end;
        if !is_first && ignore_older.is_none() {
            return;
        }
        let story = &mut self.stories[story];
        let complete = story.complete_len();
        let before = story.start.clone();
        let had_end = before.end;
        story.start = Start {
            zero: before.zero && !(is_first && was_there),
            end: true,
            first: if had_end {
                before.first
            } else if was_there || !is_first {
                complete
            } else {
                0
            },
            last: complete,
            is_known: before.is_known,
            is_open: true,
            is_first: is_first || (had_end && before.is_first),
            since: now,
            len: story.bytes.len(),
            // It may have been examined while it was followed before.
            age: if had_end { before.age.min(age) } else { age },
            ignore_older,
        };
    }

    /// It moved before it was first examined, or could not be examined: it may be taken for a new
    /// file.
    pub(crate) fn loosen_start(&mut self, story: StoryKey) {
        let start = &mut self.stories[story].start;
        start.zero |= start.is_open;
    }

    /// The content restarted, perhaps before it was first examined. If the file was examined, the
    /// engine knows it: when it leaves the tree and comes back, it goes on, whatever its age. It is
    /// the file that is known, not its content, so that no engine could start at its end then: that
    /// would lose what was written while it was followed.
    pub(crate) fn inherit_start(&mut self, old: StoryKey, new: StoryKey) {
        let start = &self.stories[old].start;
        let is_known = start.is_known;
        let inherited = if start.is_open { start.clone() } else { Start::default() };
        self.stories[new].start = Start {
            zero: true,
            first: 0,
            last: 0,
            len: 0,
            age: Duration::ZERO,
            is_known,
            ..inherited
        };
    }

    /// Nothing prevented the engine from examining it.
    pub(crate) fn was_looked_at(&mut self, story: StoryKey, now: Duration, age: Duration) {
        let story = &mut self.stories[story];
        let complete = story.complete_len();
        let start = &mut story.start;
        if !start.is_open || now < start.since + LOOKED_AT_WITHIN {
            return;
        }
        start.is_open = false;
        start.last = complete;
        let was_known = std::mem::replace(&mut start.is_known, true);
        if let Some(limit) = start
            .ignore_older
            .filter(|_| !was_known && !start.is_first && start.len == story.bytes.len())
        {
            start.end = age >= limit;
            start.zero &= start.age < limit;
        }
    }

    /// Up to here nothing of a story has to be delivered, because it may have begun later.
    pub(crate) fn owed_from(&self, story: StoryKey) -> u64 {
        let story = &self.stories[story];
        if story.start.end { story.end_last() } else { 0 }
    }

    /// Checks that a file that no input ever accepted is not delivered.
    pub(crate) fn check_cover(
        &self,
        world: &World,
        told: &[u8],
        candidates: &[StoryKey],
    ) -> Result<(), String> {
        let is_followed = |&story: &StoryKey| world.inodes[self.stories[story].inode].cover.ever;
        if self.is_selective && !candidates.iter().any(is_followed) {
            return Err(format!(
                "{} is left out by the settings, and came out",
                told.escape_ascii()
            ));
        }
        Ok(())
    }
}
