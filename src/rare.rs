//! Rare branches: each is marked with a short sentence, so that a test can prove that the
//! simulation reaches it.
//!
//! In: `rare!("a file waited for its predecessor")` at the branch. Out: [`record`] returns the
//! sentences of the branches that some work reached.
//! Always holds: the sources are the only list of marks, and the simulation's tests read it from
//! there. `rare!` is one branch on a constant, which a build without debug assertions (every
//! product build) removes together with its text.

use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    /// `None`: this thread does not record.
    static REACHED: RefCell<Option<BTreeSet<&'static str>>> = const { RefCell::new(None) };
}

/// Notes that the engine reached this branch.
macro_rules! rare {
    ($what:literal) => {
        if cfg!(debug_assertions) {
            $crate::rare::reach($what);
        }
    };
}
pub(crate) use rare;

/// Called by `rare!`. Allocates only while this thread records.
pub(crate) fn reach(what: &'static str) {
    REACHED.with_borrow_mut(|reached| {
        if let Some(reached) = reached {
            reached.insert(what);
        }
    });
}

/// Runs `work` on this thread, and also returns the rare branches that it reached.
pub fn record<T>(work: impl FnOnce() -> T) -> (T, BTreeSet<&'static str>) {
    REACHED.set(Some(BTreeSet::new()));
    let outcome = work();
    (outcome, REACHED.take().unwrap_or_default())
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn only_branches_that_are_passed_while_recording_are_reported() {
        rare!("before");
        let ((), reached) = record(|| {
            rare!("between");
            rare!("between");
        });
        rare!("after");
        assert_eq!(reached, BTreeSet::from(["between"]));
        assert!(record(|| ()).1.is_empty(), "each recording begins with nothing");
    }
}
