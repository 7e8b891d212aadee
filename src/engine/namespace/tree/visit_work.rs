//! What a visit of a directory does, besides finding new names.
//!
//! In: each reason for a visit, as a set. Out: the union of all reasons since the last visit.
//! Always holds: a union does all that each of its parts asks for; it is never empty.

use bitflags::bitflags;

bitflags! {
    /// What a visit does. Empty: no visit is due.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(crate) struct VisitWork: u8 {
        /// It may find files that are not known: they are read in the order of their last
        /// modification.
        const FINDS_NEW = 1 << 0;
        /// Events may have been missed: every known file in the directory is looked at.
        const LOOK_AT_KNOWN = 1 << 1;
        /// Every known directory below is visited for the same work.
        const VISIT_BELOW = 1 << 2;
        /// The rules changed: each known name is assigned to an input again.
        const REAPPLY_RULES = 1 << 3;
        /// `--from` applies to what is found, even if it takes several attempts.
        const FROM_APPLIES = 1 << 4;
        /// `--from` applies to what the first attempt finds. What a later one finds may have been
        /// written since the start, so it is read from its beginning.
        const FROM_APPLIES_FIRST = 1 << 5;
    }
}

impl VisitWork {
    /// The directory appeared, or may have been replaced: new files are read from their start.
    pub(crate) const APPEARED: VisitWork = VisitWork::FINDS_NEW;

    /// Permissions changed: what is below may have become readable.
    pub(crate) const RECHECK: VisitWork = VisitWork::LOOK_AT_KNOWN.union(VisitWork::VISIT_BELOW);

    /// One more PATH that appeared covers it.
    pub(crate) const WIDENED: VisitWork =
        VisitWork::FINDS_NEW.union(VisitWork::RECHECK).union(VisitWork::REAPPLY_RULES);

    /// The first scan reaches it.
    pub(crate) const FIRST_SCAN: VisitWork =
        VisitWork::FINDS_NEW.union(VisitWork::FROM_APPLIES_FIRST);

    /// The settings changed.
    pub(crate) const RELOAD: VisitWork = VisitWork::WIDENED.union(VisitWork::FROM_APPLIES);

    /// `--from` applies to what is found.
    pub(crate) fn applies_from(self) -> bool {
        self.intersects(VisitWork::FROM_APPLIES | VisitWork::FROM_APPLIES_FIRST)
    }

    /// What remains to be done after a failed attempt.
    pub(crate) fn after_failure(self) -> VisitWork {
        self - VisitWork::FROM_APPLIES_FIRST
    }

    /// The work on a known directory that this visit of its parent finds; empty if it needs no
    /// visit. `is_settled`: it was listed before, and is watched since.
    pub(crate) fn below(self, is_settled: bool) -> VisitWork {
        if !is_settled {
            return self;
        }
        // The first scan of that directory is over, so its new files were written since.
        let work = self - VisitWork::FROM_APPLIES_FIRST;
        if self.contains(VisitWork::VISIT_BELOW) { work } else { VisitWork::empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_does_all_that_each_reason_asks_for() {
        let is_unready = VisitWork::FIRST_SCAN | VisitWork::RECHECK;
        let cases = [
            // A directory that was polled is replaced before its visit.
            (VisitWork::APPEARED | VisitWork::LOOK_AT_KNOWN, [true, true, false, false, false]),
            // Permissions change before the first scan reaches the directory.
            (is_unready, [true, true, true, false, true]),
            (is_unready.after_failure(), [true, true, true, false, false]),
            // Another PATH covers a directory before the first scan reaches it.
            (VisitWork::FIRST_SCAN | VisitWork::WIDENED, [true, true, true, true, true]),
            (
                (VisitWork::FIRST_SCAN | VisitWork::WIDENED).after_failure(),
                [true, true, true, true, false],
            ),
            // The settings change: a failure does not end that.
            (VisitWork::RELOAD.after_failure(), [true, true, true, true, true]),
            ((VisitWork::RELOAD | VisitWork::FIRST_SCAN).after_failure(), [true; 5]),
            // Events were lost before the visit of a directory that appeared.
            (VisitWork::LOOK_AT_KNOWN | VisitWork::RECHECK, [false, true, true, false, false]),
        ];
        for (work, wanted) in cases {
            let does = [
                work.contains(VisitWork::FINDS_NEW),
                work.contains(VisitWork::LOOK_AT_KNOWN),
                work.contains(VisitWork::VISIT_BELOW),
                work.contains(VisitWork::REAPPLY_RULES),
                work.applies_from(),
            ];
            assert_eq!(does, wanted, "{work:?}");
        }
    }

    #[test]
    fn a_known_directory_is_visited_for_what_concerns_it() {
        let first = VisitWork::FIRST_SCAN;
        let cases = [
            // It was not listed so far, so it takes part.
            (first, false, first),
            (VisitWork::APPEARED, false, VisitWork::APPEARED),
            // It was listed: it is visited only for work that goes further down.
            (first, true, VisitWork::empty()),
            (VisitWork::APPEARED, true, VisitWork::empty()),
            (VisitWork::LOOK_AT_KNOWN, true, VisitWork::empty()),
            (VisitWork::RECHECK, true, VisitWork::RECHECK),
            (VisitWork::RELOAD, true, VisitWork::RELOAD),
            // Its files must not start at their end just because the parent is scanned only now.
            (first | VisitWork::RECHECK, true, VisitWork::APPEARED | VisitWork::RECHECK),
            (first | VisitWork::WIDENED, true, VisitWork::WIDENED),
        ];
        for (above, is_settled, wanted) in cases {
            assert_eq!(above.below(is_settled), wanted, "{above:?} {is_settled}");
        }
    }
}
