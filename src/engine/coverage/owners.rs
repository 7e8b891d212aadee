//! Whose links are followed, and whose files are read.
//!
//! In: a slot, and the owner of what was found there. Out: whether it is followed or read, and if
//! not, why.
//! Always holds: the owner is that of the file that is open, or was looked at; a file that is left
//! out is reported once.

use std::{fmt, io};

use hashbrown::HashMap;

use crate::diagnostics::notices::Cause;
use crate::engine::Engine;
use crate::engine::coverage::Coverage;
use crate::engine::coverage::single_files::SingleFile;
use crate::engine::namespace::registry::{Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::{DirId, Role, Tree};
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

/// For files that were rotated behind a link: the directory and the name of that link.
type RotatedBehind = HashMap<SlotKey, (DirId, Box<[u8]>)>;

impl Coverage {
    /// Writes the path of a file that has a name, or its last one, into `path`. Returns which links
    /// on it are followed.
    pub(in crate::engine) fn write_path(
        &self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
        path: &mut Vec<u8>,
    ) -> Links {
        let slot = files.get(id);
        let links = tree.write_name(slot.dir(), files.name(id), path);
        let is_link = slot.state().contains(State::VIA_LINK);
        is_link.then(|| self.links_to(files, tree, id, path)).flatten().unwrap_or(links)
    }

    /// How the link that has this name is followed, if it is.
    pub(in crate::engine) fn links_to(
        &self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
        path: &[u8],
    ) -> Option<Links> {
        self.links_through(tree, files.get(id).dir(), files.name(id), path)
    }

    /// How a link with this name and this path is followed, if it is. A link that is a PATH is
    /// trusted.
    pub(in crate::engine) fn links_through(
        &self,
        tree: &Tree,
        dir: DirId,
        name: &[u8],
        path: &[u8],
    ) -> Option<Links> {
        if self.is_path_of_file(tree, dir, name) {
            return Some(Links::Follow);
        }
        let trusted = tree.trusted_len(dir);
        Some(Links::Guarded(Guard { trusted, followed: path.len(), rule: tree.link_rule()? }))
    }

    /// Whether a name in a home is that of a PATH.
    fn is_path_of_file(&self, tree: &Tree, dir: DirId, name: &[u8]) -> bool {
        tree.get(dir).role == Role::Home
            && matches!(self.single_files.get(dir, name), Some(SingleFile::Path(_)))
    }

    /// The link that keeps the slot's name from leading to a file, if one does. Writes the slot's
    /// path to `path`.
    pub(in crate::engine) fn refused_link(
        &self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
        path: &mut Vec<u8>,
        fs: &mut impl FileSystem,
    ) -> Option<RefusedLink> {
        self.write_path(files, tree, id, path);
        match self.links_to(files, tree, id, path)? {
            Links::Guarded(guard) => fs.refused_link(path, guard),
            _ => None,
        }
    }

    /// For a file that was rotated behind a link, in a directory that is not listed: whether the
    /// link may not lead to a file of this owner. `rotated`: the links behind which files were
    /// rotated.
    pub(in crate::engine) fn is_foreign_target(
        &self,
        files: &Registry,
        tree: &Tree,
        rotated: &RotatedBehind,
        id: SlotId,
        owner: u32,
        fs: &mut impl FileSystem,
    ) -> bool {
        if rotated.is_empty() || tree.link_rule() != Some(LinkRule::Owner) {
            return false;
        }
        let Some((dir, link)) = rotated.get(&files.key(id)) else { return false };
        let (place, is_known) = (files.get(id).dir(), files.get(id).is_identified());
        let is_listed = tree.has_role(place, Role::Listed);
        let Some(dir) = tree.at_place(dir.0).filter(|_| !is_listed) else {
            return !is_known && !is_listed;
        };
        if self.is_path_of_file(tree, dir, link) {
            return false;
        }
        let mut path = Vec::new();
        let links = tree.write_name(dir, link, &mut path);
        let found = fs.stat(&path, links).ok().filter(|found| found.kind == FileKind::Link);
        // While the link is being replaced, a file that was allowed before stays allowed.
        found.map_or(!is_known, |found| !LinkRule::Owner.allows(found.owner, owner))
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// See [`Coverage::write_path`].
    pub(in crate::engine) fn write_path(&mut self, id: SlotId) -> Links {
        self.coverage.write_path(&self.files, &self.tree, id, &mut self.path)
    }

    /// Whether the file is not found because a link may not be followed. Reports it once.
    pub(in crate::engine) fn is_link_refused(&mut self, id: SlotId, now: Now) -> bool {
        let Some(RefusedLink { owner, target_owner }) =
            self.coverage.refused_link(&self.files, &self.tree, id, &mut self.path, &mut self.fs)
        else {
            return false;
        };
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

    /// With `--same-owner`: whether a file of this owner may be read where it is.
    ///
    /// # Errors
    /// If not: why.
    pub(in crate::engine) fn check_owner(&self, id: SlotId, owner: u32) -> io::Result<()> {
        if !self.config.same_owner {
            return Ok(());
        }
        let rotated = self.identities.behind_links.get(&self.files.key(id));
        let dir = rotated.map_or(self.files.get(id).dir(), |(dir, _)| *dir);
        match self.tree.owner_below_path(dir) {
            Some(above) if !is_same_user(owner, above) => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, OtherOwner { owner, above }))
            }
            _ => Ok(()),
        }
    }

    /// A file may not be read under its name. If another name of it may be read, the file continues
    /// under that one, because anybody may have made the first link. Returns whether it does.
    pub(in crate::engine) fn goes_by_own_name(&mut self, id: SlotId, owner: u32) -> bool {
        let is_own = |(dir, _): &(DirId, &[u8])| {
            self.tree.has_role(*dir, Role::Listed)
                && self.tree.owner_below_path(*dir).is_none_or(|above| is_same_user(owner, above))
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
