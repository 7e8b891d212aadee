//! Watches of directories: set, found to be set already, or not available; then the directory is
//! polled.
//!
//! In: a directory that was just looked at. Out: its watch, or a warning that names the limit.
//! Always holds: a directory that is not watched is polled, unless it cannot be read.

use std::time::Instant;

use nix::libc;

use crate::diagnostics::notices::{Cause, Notices};
use crate::engine::Engine;
use crate::engine::kernel::Kernel;
use crate::engine::namespace::inputs::RootId;
use crate::engine::namespace::tree::DirId;
use crate::engine::schedule::timers;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::clock::Now;
use crate::sys::{Closes, FileSystem, Links, host};

/// The first reason why a directory could not be watched.
#[derive(Debug)]
pub(in crate::engine) struct WatchLimit {
    lacking: Lacking,
    is_said: bool,
}

/// A resource that inotify(7) needs and that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacking {
    /// Room in `fs.inotify.max_user_watches`, or memory.
    Watch,
    /// Room in `fs.inotify.max_user_instances`.
    Instance,
    /// `/proc`, by which directories below a PATH are watched.
    Proc,
    /// inotify itself.
    Inotify,
}

impl Kernel {
    /// Warns once, when the scan is complete and the number of directories, `needed`, is known.
    pub(in crate::engine) fn report_watch_limit(
        &mut self,
        needed: usize,
        notices: &mut Notices,
        now: Instant,
    ) {
        let Some(limit) = self.watch_limit.as_mut().filter(|limit| !limit.is_said) else {
            return;
        };
        limit.is_said = true;
        let Some(suppressed) = notices.admit(Cause::WatchLimit, now) else {
            return;
        };
        let polled = self.polled;
        let (needed, what) = match limit.lacking {
            Lacking::Instance => {
                let sysctl = host::instances_max()
                    .map_or("fs.inotify.max_user_instances", |limit| limit.sysctl);
                (
                    None,
                    format!(
                        "no inotify instance is available: raise sysctl {sysctl} by at least \
                    1; polling until then"
                    ),
                )
            }
            Lacking::Watch => {
                let sysctl =
                    host::watches_max().map_or("fs.inotify.max_user_watches", |limit| limit.sysctl);
                let what = format!(
                    "no more inotify watches: raise sysctl {sysctl} to at least {needed} (and what \
                    others need); \
                     polling the rest until then"
                );
                (Some(needed), what)
            }
            Lacking::Proc => (
                None,
                "/proc is not mounted, so directories below a PATH cannot be watched: \
                    polling them every second"
                    .to_owned(),
            ),
            Lacking::Inotify => {
                let what = "this system or its sandbox refuses inotify, so no directory can be \
                    watched: polling them every second";
                (None, what.to_owned())
            }
        };
        tracing::warn!(polled, needed, suppressed, "{what}");
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Watches the directory at hand. The same inode gives the same watch, so a second call proves
    /// that the path still leads to it.
    pub(in crate::engine) fn arm(&mut self, dir: DirId, links: Links) -> std::io::Result<()> {
        let watch = match self.fs.watch(&self.path, links, self.closes_in(dir)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                // A watch that exists already takes no room (inotify_add_watch(2)): the known one
                // is of another inode, or has ended.
                if let Some(known) = self.tree.watch(dir) {
                    self.coverage.ways.unwatch(known, &mut self.fs);
                    self.tree.set_watch(dir, None);
                }
                return Err(error);
            }
            watch => watch?,
        };
        // It may have been taken for deleted when it was exchanged for a directory that was.
        self.identities.former.end_watch(watch);
        let before = self.tree.watch(dir);
        if let Some(before) = before.filter(|&before| before != watch) {
            self.coverage.ways.unwatch(before, &mut self.fs);
        }
        if let Some(other) = self.tree.find_watch(watch).filter(|&other| other != dir) {
            rare!("a watch turned out to be of a directory that was known by another path");
            self.tree.set_watch(other, None);
        }
        self.tree.set_watch(dir, Some(watch));
        self.kernel.set_polled(&mut self.tree, dir, false);
        Ok(())
    }

    /// Whether closes of files in the directory are reported: some input that takes files there
    /// asks for the ends of logs.
    fn closes_in(&self, dir: DirId) -> Closes {
        let inputs = &self.coverage.inputs;
        let asks = |&root: &RootId| inputs.rules(root).ends.closed.is_some();
        // The PATHs of single files are in no scope.
        let has_single = || self.coverage.single_files.of_home(dir).next().is_some();
        let is_asked = inputs.roots(self.tree.get(dir).scope).iter().any(asks);
        if is_asked || (inputs.wants_ends() && has_single()) {
            Closes::Reported
        } else {
            Closes::Unreported
        }
    }

    /// Polls a directory for which there is no watch. Returns whether that was the reason for the
    /// error.
    pub(in crate::engine) fn limit_reached(
        &mut self,
        dir: DirId,
        error: &std::io::Error,
        now: Now,
    ) -> bool {
        let lacking = match error.raw_os_error() {
            Some(libc::ENOSPC | libc::ENOMEM) => Lacking::Watch,
            Some(libc::EMFILE) => Lacking::Instance,
            Some(libc::EOPNOTSUPP) => Lacking::Proc,
            Some(libc::ENOSYS) => Lacking::Inotify,
            _ => return false,
        };
        // Watches of deleted directories are given back first.
        while let Some(watch) = self.identities.former.take_watch() {
            self.coverage.ways.unwatch(watch, &mut self.fs);
        }
        rare!("there was no watch for a directory");
        self.kernel.watch_limit.get_or_insert(WatchLimit { lacking, is_said: false });
        self.kernel.set_polled(&mut self.tree, dir, true);
        self.kernel.poll_by(now.instant + timers::POLL_EVERY);
        true
    }

    /// Removes a directory's watch, unless the directory was deleted: files that were opened in it
    /// may live on under other names, and the kernel reports writes to them until the last one is
    /// closed.
    pub(in crate::engine) fn end_watch(&mut self, dir: DirId) {
        let was_deleted = self.identities.former.take_deleted(self.tree.key(dir));
        let Some(watch) = self.tree.watch(dir) else { return };
        let surplus =
            if was_deleted { self.identities.former.keep_watch(watch) } else { Some(watch) };
        if let Some(surplus) = surplus {
            self.coverage.ways.unwatch(surplus, &mut self.fs);
        }
        if was_deleted && (self.discovery.is_rescan_due || self.kernel.is_missing_events) {
            // IN_IGNORED of a directory comes before IN_DELETE of its name: it may be among the
            // lost events.
            self.identities.former.doubt_watches();
        }
        self.tree.set_watch(dir, None);
    }

    /// Removes watches of deleted directories that may have ended without an event and that no
    /// known file needs.
    pub(in crate::engine) fn give_useless_watches_back(&mut self) {
        for watch in
            self.identities.former.take_useless_watches(|file| self.files.alive(file).is_some())
        {
            rare!(
                "a watch of a deleted directory was given back because its end may have been missed"
            );
            if self.tree.find_watch(watch).is_none() {
                self.coverage.ways.unwatch(watch, &mut self.fs);
            }
        }
    }
}
