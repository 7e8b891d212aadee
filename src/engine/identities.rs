//! Which file is behind which name: results of looks, renames under way, names that files lost, the
//! order in which files had a name.
//!
//! In: events and results of looks. Out: changes of the registry.
//! Always holds: the result of a look is applied only if no event about the name came after the
//! look.
//!
//! Several memories of lost names, each for another question:
//!
//! | where | what | for how long |
//! |---|---|---|
//! | `half_renames` | first halves of renames, until the second half comes | 20 ms |
//! | `recent_renames` | renames of the last moment: were two names exchanged? | see `renames.rs` |
//! | `succession` | which file had a name before which, and which waits for which | names given up: one to two minutes; predecessors: while the older file is known |
//! | `former` | watches and names by which a writer may still write to a renamed or deleted file | while that may be |
//! | `departures` | the last path of each file that lost its name, for `status FILE` and diagnostics | the last ones that fit |
//! | `behind_links` | the link behind which a target was rotated | while the file is known |
//! | `left_behind` | inodes of which one name got another inode (overlayfs) | the last ones |
//! | `parked` of the schedule | files that left the tree, with their offsets | ten minutes |

mod adopting;
pub(super) mod behind;
mod copied_up;
mod departures;
mod finds;
mod former;
mod half_renames;
mod identify;
mod leaving;
mod losses;
mod lost_directories;
mod recent;
mod renames;
mod rotation;
pub(super) mod succession;
mod unlinked;
mod unreadable;

use hashbrown::HashMap;

use crate::engine::identities::copied_up::LeftBehind;
use crate::engine::identities::departures::Departures;
use crate::engine::identities::former::FormerNames;
use crate::engine::identities::half_renames::HalfRenames;
use crate::engine::identities::renames::Renames;
use crate::engine::identities::succession::Succession;
use crate::engine::namespace::registry::{Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::DirId;
use crate::planted::is_planted;
use crate::sys::Stat;

#[derive(Debug)]
pub(super) struct Identities {
    /// Results of looks that contradict what is known: the file that was found, if any. Applied
    /// next turn, unless an event about the name arrives first.
    found: Vec<(SlotKey, Option<Stat>)>,
    /// Empty between turns: the buffer for the slots that are looked at in one turn.
    looked_at: Vec<SlotId>,
    /// Renames whose second half is still to come.
    pub(super) half_renames: HalfRenames,
    /// The renames of the last moment.
    pub(super) recent_renames: Renames,
    /// Where the link is, for the targets of followed links that were rotated. Kept for as long as
    /// the file is known.
    pub(super) behind_links: HashMap<SlotKey, (DirId, Box<[u8]>)>,
    /// Names that files lost and by which they may still be written to.
    pub(super) former: FormerNames,
    /// Inodes of which one name got another inode: how far they were read.
    left_behind: LeftBehind,
    pub(super) departures: Departures,
    pub(super) succession: Succession,
}

impl Identities {
    pub(super) fn new() -> Self {
        Identities {
            found: Vec::new(),
            looked_at: Vec::new(),
            half_renames: HalfRenames::default(),
            recent_renames: Renames::default(),
            behind_links: HashMap::new(),
            former: FormerNames::default(),
            left_behind: LeftBehind::default(),
            departures: Departures::default(),
            succession: Succession::default(),
        }
    }

    /// Whether results of looks are still to be applied.
    pub(super) fn has_finds(&self) -> bool {
        !self.found.is_empty()
    }

    /// The files whose names these results are about.
    pub(super) fn finds(&self) -> impl Iterator<Item = SlotKey> + '_ {
        self.found.iter().map(|&(key, _)| key)
    }

    /// Drops results about names that are in doubt again: the look to come may find something else,
    /// or resolve the name by itself, and no trace of the doubt is left then.
    fn drop_outdated_finds(&mut self, files: &Registry) {
        if !is_planted!(OldFindBelieved) {
            self.found.retain(|&(key, _)| {
                files.alive(key).is_some_and(|id| !files.get(id).state().contains(State::DOUBT))
            });
        }
    }
}
