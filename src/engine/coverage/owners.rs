//! Whose links are followed, and whose files are read.
//!
//! In: a slot, and who owns what was found there. Out: whether it counts; the words for what does
//! not.
//! Always holds: the owner is that of the very file that is open, or was looked at; what is left
//! out is reported once.

use std::{fmt, io};

use crate::diagnostics::notices::Cause;
use crate::engine::Engine;
use crate::engine::coverage::single_files::SingleFile;
use crate::engine::namespace::registry::{SlotId, State};
use crate::engine::namespace::tree::{DirId, Role};
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{FileKind, FileSystem, Guard, LinkRule, Links, RefusedLink, is_same_user};

/// Why a file is left out with `--same-owner`.
#[derive(Debug)]
struct OtherOwner {
    owner: u32,
    above: u32,
}

impl fmt::Display for OtherOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherOwner { owner, above } = self;
        write!(
            f,
            "user {owner} owns it, but user {above} the directory below PATH through which it is \
            reached (--same-owner)"
        )
    }
}

impl std::error::Error for OtherOwner {}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Writes the path of a file that has a name, or its last one. Returns which links on it are
    /// followed.
    pub(in crate::engine) fn write_path(&mut self, id: SlotId) -> Links {
        self.path.clear();
        let slot = self.files.get(id);
        let trust = self.tree.write_path(slot.dir(), &mut self.path);
        self.path.extend_from_slice(self.files.name(id));
        if slot.state().contains(State::VIA_LINK)
            && let Some(links) = self.links_through(self.files.get(id).dir(), self.files.name(id))
        {
            return links;
        }
        self.links_on(trust)
    }

    /// How a link with this name, whose path is at hand, is followed, if it is. That of a PATH is
    /// trusted as it is.
    pub(in crate::engine) fn links_through(&self, dir: DirId, name: &[u8]) -> Option<Links> {
        if self.is_path_of_file(dir, name) {
            return Some(Links::Follow);
        }
        let trusted = self.tree.trusted_len(dir);
        Some(Links::Guarded(Guard {
            trusted,
            followed: self.path.len(),
            rule: self.config.follow_links?,
        }))
    }

    /// Whether a name is that of a PATH, in a directory that is watched for it alone.
    pub(in crate::engine) fn is_path_of_file(&self, dir: DirId, name: &[u8]) -> bool {
        self.tree.get(dir).role == Role::Home
            && matches!(self.coverage.single_files.get(dir, name), Some(SingleFile::Path(_)))
    }

    /// Whether a link that leads to nothing to follow may not be followed. Reports it once.
    pub(in crate::engine) fn is_link_refused(&mut self, id: SlotId, now: Now) -> bool {
        let Some(RefusedLink { owner, target_owner }) = self.refused_link(id) else { return false };
        if self.became_unreadable(id)
            && let Some(suppressed) =
                self.observer.notices.admit_about(Cause::LinkRefused, &self.path, now.instant)
        {
            let path = String::from_utf8_lossy(&self.path);
            match target_owner {
                Some(target_owner) => tracing::warn!(
                    ?path,
                    owner,
                    target_owner,
                    suppressed,
                    "the owner of this link neither is root nor owns what it leads to: not followed"
                ),
                None => tracing::warn!(
                    ?path,
                    owner,
                    suppressed,
                    "this link leads into /proc: never followed"
                ),
            }
        }
        true
    }

    /// The link that keeps the slot's name from leading to a file, if one does.
    pub(in crate::engine) fn refused_link(&mut self, id: SlotId) -> Option<RefusedLink> {
        self.write_path(id);
        match self.links_through(self.files.get(id).dir(), self.files.name(id))? {
            Links::Guarded(guard) => self.fs.refused_link(&self.path, guard),
            _ => None,
        }
    }

    /// A file that a link led to, or one that took its place, has a name of its own in a directory
    /// that is not listed. Whether the link may not lead to what was found there.
    pub(in crate::engine) fn is_foreign_target(&mut self, id: SlotId, owner: u32) -> bool {
        if self.identities.behind_links.is_empty()
            || self.config.follow_links != Some(LinkRule::Owner)
        {
            return false;
        }
        let Some((dir, link)) = self.identities.behind_links.get(&self.files.key(id)).cloned()
        else {
            return false;
        };
        let (place, is_known) = (self.files.get(id).dir(), self.files.get(id).is_identified());
        let is_listed = self
            .tree
            .at_place(place.0)
            .is_some_and(|place| self.tree.get(place).role == Role::Listed);
        let Some(dir) = self.tree.at_place(dir.0).filter(|_| !is_listed) else {
            return !is_known && !is_listed;
        };
        if self.is_path_of_file(dir, &link) {
            return false;
        }
        let here = std::mem::take(&mut self.path);
        let links = self.write_name(dir, &link);
        let found =
            self.fs.stat(&self.path, links).ok().filter(|found| found.kind == FileKind::Link);
        self.path = here;
        // While the link is being replaced, what was allowed before goes on.
        found.map_or(!is_known, |found| !LinkRule::Owner.allows(found.owner, owner))
    }

    /// With `--same-owner`: whether a file of this owner may be read where it is.
    ///
    /// # Errors
    /// If not: why.
    pub(in crate::engine) fn check_owner(&self, id: SlotId, owner: u32) -> io::Result<()> {
        if !self.config.same_owner {
            return Ok(());
        }
        let slot = self.files.get(id);
        let dir = self
            .identities
            .behind_links
            .get(&self.files.key(id))
            .map_or(slot.dir(), |(dir, _)| *dir);
        match self.owner_below_path(dir) {
            Some(above) if !is_same_user(owner, above) => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, OtherOwner { owner, above }))
            }
            _ => Ok(()),
        }
    }

    /// Who owns the directory right below PATH through which a directory is reached. `None`: it is
    /// a PATH, or in none.
    fn owner_below_path(&self, dir: DirId) -> Option<u32> {
        let first = self.tree.first_below_path(self.tree.at_place(dir.0)?)?;
        Some(self.tree.get(first).owner)
    }

    /// A file may not be read where it is. If it has another name, where it may, it goes on by that
    /// one: somebody else may have linked it to where they please. Says whether it does.
    pub(in crate::engine) fn goes_by_own_name(&mut self, id: SlotId, owner: u32) -> bool {
        let is_own = |(dir, _): &(DirId, &[u8])| {
            self.tree.at_place(dir.0).is_some_and(|dir| self.tree.get(dir).role == Role::Listed)
                && self.owner_below_path(*dir).is_none_or(|above| is_same_user(owner, above))
        };
        let own = self.files.further_names(id).find(is_own);
        let Some((dir, name)) = own.map(|(dir, name)| (dir, Box::<[u8]>::from(name))) else {
            return false;
        };
        if !self.files.get(id).is_bound() {
            return false;
        }
        let (before, link) = (self.files.get(id).dir(), self.files.name(id).to_vec());
        self.files.remove_alias(dir, &name);
        self.unbind(id);
        self.files.add_alias(id, before, &link);
        self.bind(id, dir, &name);
        true
    }
}
