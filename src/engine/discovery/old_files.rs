//! `--ignore-older`: reports how many files were started at their end, in one line per period.
//!
//! In: each such file, when it is first seen. Out: a diagnostic with their number, once no listing
//! is under way; a deadline for files of the period after it.
//! Always holds: every such file is counted in one line, and two lines are at least a period apart.

use std::time::Instant;

use crate::diagnostics::notices::{Cause, Notices, PERIOD};

/// Files that were not reported yet.
#[derive(Debug, Default)]
pub(in crate::engine) struct OldFiles {
    unreported: u64,
    reported_at: Option<Instant>,
}

impl OldFiles {
    pub(in crate::engine) fn add(&mut self) {
        self.unreported += 1;
    }

    /// When the next line is due. None if no file waits, or if the line is due as soon as the
    /// listing has finished.
    pub(in crate::engine) fn deadline(&self) -> Option<Instant> {
        self.reported_at.filter(|_| self.unreported > 0).map(|at| at + PERIOD)
    }

    fn take_due(&mut self, now: Instant) -> Option<u64> {
        if self.unreported == 0 || self.deadline().is_some_and(|at| at > now) {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }

    /// Reports how many there are, if it is time. `total`: all of this run.
    pub(in crate::engine) fn report(&mut self, total: u64, notices: &mut Notices, now: Instant) {
        let Some(files) = self.take_due(now) else { return };
        if notices.admit(Cause::IgnoredOlder, now).is_some() {
            tracing::info!(
                files,
                total,
                "not modified within --ignore-older: reading starts at their end"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_one_line_and_lines_are_a_period_apart() {
        let start = crate::sys::clock::now().instant;
        let mut old = OldFiles::default();
        assert_eq!((old.take_due(start), old.deadline()), (None, None));
        (0..3).for_each(|_| old.add());
        assert_eq!((old.deadline(), old.take_due(start)), (None, Some(3)));
        assert_eq!(old.deadline(), None, "nothing waits");
        old.add();
        assert_eq!(
            (old.take_due(start + PERIOD / 2), old.deadline()),
            (None, Some(start + PERIOD))
        );
        old.add();
        assert_eq!(old.take_due(start + PERIOD), Some(2));
    }
}
