//! The sweeps: a look at every file now and then, because events do not tell all; often where they
//! tell nothing of others' writes.
//!
//! In: the time. Out: visits of directories, taken in slices beside what is urgent.
//! Always holds: a directory is in one of the two sweeps; they take turns; neither brings up more
//! looks than a turn takes, so that a name that an event tells of waits for hardly more than that.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::config::EngineConfig;
use crate::diagnostics::notices::Cause;
use crate::engine::discovery::directories::VISIT_COST;
use crate::engine::discovery::visits::{Sweep, SweepKind};
use crate::engine::namespace::tree::{DirId, VisitWork};
use crate::engine::{Engine, LOOKS_PER_TURN};
use crate::file_systems::FileSystemType;
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Mounted file systems that are remembered as said, at most.
const SAID_MAX: usize = 64;

/// Both sweeps.
#[derive(Debug)]
pub(in crate::engine) struct Sweeps<L> {
    local: Sweep<L>,
    blind: Sweep<L>,
    /// How often blind file systems are swept; `None`: as the others are.
    remote: Option<Duration>,
    /// Devices of blind file systems of which that was said.
    said: Vec<u64>,
    /// The one that looked last: the other one goes first.
    last: SweepKind,
}

impl<L> Sweeps<L> {
    pub(in crate::engine) fn new(config: &EngineConfig, now: Now) -> Self {
        let rescan = config.rescan.filter(|_| !config.once);
        let is_shorter = |remote: &Duration| rescan.is_none_or(|rescan| *remote < rescan);
        let remote = config.rescan_remote.filter(|_| !config.once).filter(is_shorter);
        Sweeps {
            local: Sweep::slow(rescan, now),
            blind: Sweep::steady(remote, now),
            remote,
            said: Vec::new(),
            last: SweepKind::Blind,
        }
    }

    pub(in crate::engine) fn deadline(&self) -> Option<Instant> {
        self.local.deadline().into_iter().chain(self.blind.deadline()).min()
    }

    /// Passes begun so far.
    pub(in crate::engine) fn passes(&self) -> u64 {
        self.local.passes + self.blind.passes
    }

    /// Looks are due now.
    pub(in crate::engine) fn has_work(&self) -> bool {
        self.local.has_quota() || self.blind.has_quota()
    }

    fn of(&mut self, pass: SweepKind) -> &mut Sweep<L> {
        match pass {
            SweepKind::Local => &mut self.local,
            SweepKind::Blind => &mut self.blind,
        }
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    pub(in crate::engine) fn is_sweeping(&self) -> bool {
        self.discovery.sweeps.local.is_running || self.discovery.sweeps.blind.is_running
    }

    /// Takes a slice of each sweep that is due.
    pub(in crate::engine) fn sweep_slices(&mut self, now: Now) {
        if self.discovery.sweeps.blind.deadline().is_some() && self.tree.blind() == 0 {
            rare!("the last directory on a blind file system went away");
            self.discovery.sweeps.blind.sleep();
        }
        let order = if self.discovery.sweeps.last == SweepKind::Local {
            [SweepKind::Blind, SweepKind::Local]
        } else {
            [SweepKind::Local, SweepKind::Blind]
        };
        for pass in order {
            self.sweep_slice(pass, now);
        }
    }

    fn sweep_slice(&mut self, pass: SweepKind, now: Now) {
        // For each of the sweeps this is an upper bound: a pass may be through sooner, never later.
        let total = self.files.len() + self.tree.len() * VISIT_COST;
        let was_running = self.discovery.sweeps.of(pass).is_running;
        let quota = self.discovery.sweeps.of(pass).quota(total, now.instant).min(LOOKS_PER_TURN);
        if !was_running && self.discovery.sweeps.of(pass).is_running {
            let since = std::mem::replace(&mut self.discovery.sweeps.of(pass).swept_at, now.wall);
            self.suspect(since);
        }
        let mut budget = quota;
        while budget > 0 && self.schedule.doubts.len() < LOOKS_PER_TURN {
            let visit = match self.discovery.sweeps.of(pass).current.take() {
                Some(visit) => Some(visit),
                None => {
                    let place = self.discovery.sweeps.of(pass).place;
                    if place >= self.tree.places() {
                        self.discovery.sweeps.of(pass).finish(now.instant);
                        return;
                    }
                    self.discovery.sweeps.of(pass).place += 1;
                    budget -= 1;
                    let Some(dir) = self.tree.at_place(place) else { continue };
                    if self.tree.get(dir).is_blind() != (pass == SweepKind::Blind) {
                        continue;
                    }
                    budget = budget.saturating_sub(VISIT_COST);
                    let key = self.tree.key(dir);
                    self.begin_visit(key, VisitWork::LOOK_AT_KNOWN, now)
                }
            };
            self.discovery.sweeps.of(pass).current =
                visit.and_then(|visit| self.list(visit, &mut budget, now));
        }
        self.discovery.sweeps.of(pass).take(quota - budget);
        if budget < quota {
            self.discovery.sweeps.last = pass;
        }
    }

    /// A directory was looked at that was not known before: puts it into the sweep that its file
    /// system needs.
    pub(in crate::engine) fn choose_sweep(&mut self, dir: DirId, device: u64, now: Now) {
        let Some(every) = self.discovery.sweeps.remote else { return };
        // Only where a file system begins the kernel has to be asked.
        let above = self
            .tree
            .parent(dir)
            .map(|parent| self.tree.get(parent))
            .filter(|parent| parent.inode.0 == device);
        let (is_blind, is_known) = match above {
            Some(parent) => (parent.is_blind(), parent.is_type_known),
            None => self.ask_type(dir, device, every, now),
        };
        self.tree.get_mut(dir).is_type_known = is_known;
        self.tree.set_blind(dir, is_blind);
        if is_blind {
            rare!("a directory lay on a file system whose writers are not all reported");
            self.discovery.sweeps.blind.wake(now);
        }
    }

    /// The periods changed: each directory that is known is put into its sweep again.
    pub(in crate::engine) fn begin_sweeps_anew(&mut self, now: Now) {
        let before = std::mem::replace(&mut self.discovery.sweeps, Sweeps::new(&self.config, now));
        self.discovery.sweeps.said = before.said;
        self.discovery.sweeps.local.swept_at = before.local.swept_at;
        let mut asked: HashMap<u64, bool> = HashMap::new();
        for place in 0..self.tree.places() {
            // Those that were not looked at so far are put into a sweep when they are.
            let Some(dir) =
                self.tree.at_place(place).filter(|&dir| self.tree.get(dir).inode != (0, 0))
            else {
                continue;
            };
            let device = self.tree.get(dir).inode.0;
            let (is_blind, is_known) = match (self.discovery.sweeps.remote, asked.get(&device)) {
                (None, _) => (false, false),
                (Some(_), Some(&is_blind)) => (is_blind, true),
                (Some(every), None) => self.ask_type(dir, device, every, now),
            };
            if is_known {
                asked.insert(device, is_blind);
            }
            self.tree.get_mut(dir).is_type_known = is_known;
            self.tree.set_blind(dir, is_blind);
        }
        if self.tree.blind() > 0 {
            self.discovery.sweeps.blind.wake(now);
            self.discovery.sweeps.blind.swept_at = before.blind.swept_at;
        }
    }

    /// Whether the directory's file system is blind, and whether that is known. What cannot be
    /// asked is remote, most likely.
    fn ask_type(&mut self, dir: DirId, device: u64, every: Duration, now: Now) -> (bool, bool) {
        let links = self.write_directory_bare(dir);
        match self.fs.file_system(&self.path, links) {
            Ok(found) => {
                if found.sight().is_blind() && !self.discovery.sweeps.said.contains(&device) {
                    self.say_blind(found, device, every, now);
                }
                (found.sight().is_blind(), true)
            }
            Err(error) => {
                tracing::debug!(path = ?String::from_utf8_lossy(&self.path), %error, "the type of \
                    the file system cannot be had");
                (true, false)
            }
        }
    }

    /// Says it of the path at hand.
    fn say_blind(&mut self, file_system: FileSystemType, device: u64, every: Duration, now: Now) {
        if self.discovery.sweeps.said.len() >= SAID_MAX
            || self.observer.notices.admit(Cause::BlindFileSystem, now.instant).is_none()
        {
            return;
        }
        self.discovery.sweeps.said.push(device);
        let path = String::from_utf8_lossy(&self.path);
        tracing::info!(?path, %file_system, ?every, "events do not tell of {}: looked at every \
            --rescan-remote", file_system.sight().untold());
    }
}
