//! Which file is behind which name: what looks found, renames under way, names that files lost, who
//! comes after whom.
//!
//! In: events and looks. Out: what the registry is told.
//! Always holds: what a look found is believed only while no event came after it.
//!
//! Several memories of lost names, each for another question:
//!
//! | where | what | for how long |
//! |---|---|---|
//! | `half_renames` | first halves of renames, until the second half comes | 20 ms |
//! | `recent_renames` | renames of the last moment: were two names exchanged? | see `renames.rs` |
//! | `succession` | who had a name before whom, and who waits for whom | until both are read |
//! | `former` | watches and names by which a writer may still write to a renamed or deleted file | while that may be |
//! | `departures` | the last path of each file that lost its name, for `status FILE` and diagnostics | the last ones that fit |
//! | `left_behind` | inodes of which one name got another inode (overlayfs) | the last ones |
//! | `parked` of the schedule | files that left the tree, with their offsets | ten minutes |

pub(super) mod behind;
pub(super) mod copied_up;
pub(super) mod departures;
pub(super) mod former;
pub(super) mod identify;
pub(super) mod leaving;
mod recent;
pub(super) mod renames;
pub(super) mod rotation;
pub(super) mod succession;
pub(super) mod unreadable;

use std::collections::VecDeque;
use std::time::Instant;

use hashbrown::HashMap;

use crate::engine::identities::copied_up::LeftBehind;
use crate::engine::identities::departures::Departures;
use crate::engine::identities::former::FormerNames;
use crate::engine::identities::renames::{PendingRename, Renames};
use crate::engine::identities::succession::Succession;
use crate::engine::namespace::registry::{SlotId, SlotKey};
use crate::engine::schedule::timers::GRACE;
use crate::sys::Stat;

#[derive(Debug)]
pub(super) struct Identities {
    /// What looks found under names of unknown or other files, if anything: believed when no event
    /// about the name came after the look.
    pub(super) found: Vec<(SlotKey, Option<Stat>)>,
    /// Empty between turns: the room for the slots that are looked at in one.
    pub(super) looked_at: Vec<SlotId>,
    /// Renames whose second half is still to come, by cookie.
    pub(super) half_renames: HashMap<u32, PendingRename>,
    /// The renames of the last moment.
    pub(super) recent_renames: Renames,
    /// Names that files lost and may still be written to by.
    pub(super) former: FormerNames,
    /// Inodes of which one name got another inode: where their other names go on.
    pub(super) left_behind: VecDeque<LeftBehind>,
    pub(super) departures: Departures,
    pub(super) succession: Succession,
}

impl Identities {
    pub(super) fn new() -> Self {
        Identities {
            found: Vec::new(),
            looked_at: Vec::new(),
            half_renames: HashMap::new(),
            recent_renames: Renames::default(),
            former: FormerNames::default(),
            left_behind: VecDeque::new(),
            departures: Departures::default(),
            succession: Succession::default(),
        }
    }

    /// Second halves that did not come by now do not come any more.
    pub(super) fn expire_half_renames(&mut self, now: Instant) {
        if !self.half_renames.is_empty() {
            self.half_renames.retain(|_, half| now < half.since() + GRACE);
        }
    }
}
