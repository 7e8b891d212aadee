//! Rotation order: who had a name before, and who has to wait for whom.
//!
//! In: names given up and names taken. Out: which file waits for which.
//! Always holds: every wait ends (nobody waits in a circle), and memory is in proportion to files that were renamed while unread.

use hashbrown::HashMap;

use crate::registry::SlotId;
use crate::tree::DirId;

type Name = (DirId, Box<[u8]>);

/// Files that gave up a name while they may have had unread bytes, and those that took these names.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// Who gave this name up last.
    vacated: HashMap<Name, SlotId>,
    /// What each file that gave up a name left behind.
    left: HashMap<SlotId, Left>,
    /// Whom each waiting file waits for.
    waits_for: HashMap<SlotId, SlotId>,
}

#[derive(Debug)]
struct Left {
    name: Name,
    waiting: Option<SlotId>,
}

impl Succession {
    /// `older` gives this name up; the next file under it comes after it.
    pub(crate) fn vacate(&mut self, older: SlotId, dir: DirId, name: &[u8]) {
        let name: Name = (dir, name.into());
        let waiting = match self.left.remove(&older) {
            Some(before) => {
                self.forget_name(&before.name, older);
                before.waiting
            }
            None => None,
        };
        self.vacated.insert(name.clone(), older);
        self.left.insert(older, Left { name, waiting });
    }

    /// `newer` takes this name: says whether it has to wait.
    pub(crate) fn claim(&mut self, newer: SlotId, dir: DirId, name: &[u8]) -> bool {
        if self.vacated.is_empty() {
            return false;
        }
        self.vacated.get(&(dir, name.into())).copied().is_some_and(|older| self.wait(newer, older))
    }

    /// Makes `newer` wait for `older`, unless that would close a circle or one of them is in a pair already.
    pub(crate) fn wait(&mut self, newer: SlotId, older: SlotId) -> bool {
        let mut at = Some(older);
        while let Some(here) = at {
            if here == newer {
                return false;
            }
            at = self.waits_for.get(&here).copied();
        }
        let Some(left) = self.left.get_mut(&older) else { return false };
        if left.waiting.is_some() || self.waits_for.contains_key(&newer) {
            return false;
        }
        left.waiting = Some(newer);
        self.waits_for.insert(newer, older);
        true
    }

    /// `older` has no unread bytes any more, or can never be read: returns who may go on.
    pub(crate) fn release(&mut self, older: SlotId) -> Option<SlotId> {
        let left = self.left.remove(&older)?;
        self.forget_name(&left.name, older);
        let waiting = left.waiting?;
        self.waits_for.remove(&waiting);
        Some(waiting)
    }

    /// `gone` turned out to be the file `known` under a new name: `known` takes its place on both sides. Says whether `known` has to
    /// wait, and whether somebody waits for it or its name.
    pub(crate) fn pass_on(&mut self, gone: SlotId, known: SlotId) -> (bool, bool) {
        let older = self.abandon(gone);
        if let Some(left) = self.left.remove(&gone) {
            if let Some(waiting) = left.waiting {
                self.waits_for.remove(&waiting);
            }
            self.forget_name(&left.name, gone);
            self.vacate(known, left.name.0, &left.name.1);
            if let Some(waiting) = left.waiting {
                self.wait(waiting, known);
            }
        }
        let must_wait = older.is_some_and(|older| self.wait(known, older)) || self.waits_for.contains_key(&known);
        (must_wait, self.left.contains_key(&known))
    }

    /// `newer` goes away, or need not wait any more. Returns whom it waited for.
    pub(crate) fn abandon(&mut self, newer: SlotId) -> Option<SlotId> {
        let older = self.waits_for.remove(&newer)?;
        if let Some(left) = self.left.get_mut(&older) {
            left.waiting = None;
        }
        Some(older)
    }

    fn forget_name(&mut self, name: &Name, older: SlotId) {
        if self.vacated.get(name) == Some(&older) {
            self.vacated.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: DirId = DirId(1);

    #[test]
    fn three_generations_are_released_oldest_first() {
        let mut order = Succession::default();
        let (a, b, c) = (SlotId(1), SlotId(2), SlotId(3));
        order.vacate(a, DIR, b"x");
        assert!(order.claim(b, DIR, b"x"));
        order.vacate(b, DIR, b"x");
        assert!(order.claim(c, DIR, b"x"));
        assert_eq!(order.release(a), Some(b));
        assert_eq!(order.release(b), Some(c));
        assert_eq!(order.release(c), None);
        assert!(order.vacated.is_empty() && order.left.is_empty() && order.waits_for.is_empty());
    }

    #[test]
    fn a_name_that_turns_out_to_be_a_known_file_passes_its_place_on() {
        let mut order = Succession::default();
        let (oldest, heard_of, newest, known) = (SlotId(1), SlotId(2), SlotId(3), SlotId(4));
        order.vacate(oldest, DIR, b"x");
        assert!(order.claim(heard_of, DIR, b"x"));
        order.vacate(heard_of, DIR, b"x");
        assert!(order.claim(newest, DIR, b"x"));
        assert_eq!(order.pass_on(heard_of, known), (true, true));
        assert_eq!(order.release(oldest), Some(known));
        assert_eq!(order.release(known), Some(newest));
        assert!(order.vacated.is_empty() && order.left.is_empty() && order.waits_for.is_empty());
    }

    #[test]
    fn two_files_that_swap_names_do_not_wait_for_each_other() {
        let mut order = Succession::default();
        let (a, b) = (SlotId(1), SlotId(2));
        order.vacate(a, DIR, b"x");
        order.vacate(b, DIR, b"y");
        assert!(order.claim(b, DIR, b"x"));
        assert!(!order.claim(a, DIR, b"y"));
        assert_eq!(order.release(a), Some(b));
    }
}
