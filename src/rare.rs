//! Rare branches: each has a short sentence, so that a test can prove that its simulated lives pass
//! through it.
//!
//! In: `rare!("a file waited for its predecessor")` at the branch. Out: [`record`] gives the
//! sentences of the branches that a piece of work passed.
//! Always holds: the sources are the only list of them; `rare!` is one branch on a constant, which
//! a build without debug assertions (every product build) drops together with its text. The tests
//! of the simulation read the list out of the sources.

use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    /// `None`: nobody records.
    static REACHED: RefCell<Option<BTreeSet<&'static str>>> = const { RefCell::new(None) };
}

/// Notes that the engine came by.
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

/// Does some work on this thread, and returns the rare branches that it passed as well.
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
