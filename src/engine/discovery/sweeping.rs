//! The sweeps look at every file now and then, because events do not report every change; more
//! often where the kernel does not report the writes of others.
//!
//! In: the time. Out: visits of directories, taken in slices between the urgent ones.
//! Always holds: a directory is in one of the two sweeps; they take turns; neither queues more
//! looks than one turn takes, so looks at names from events are hardly delayed.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::config::EngineConfig;
use crate::diagnostics::notices::{Cause, Notices};
use crate::engine::discovery::directories::VISIT_COST;
use crate::engine::discovery::visits::{Sweep, SweepKind};
use crate::engine::namespace::tree::{DirId, Tree, VisitWork};
use crate::engine::{Engine, LOOKS_PER_TURN};
use crate::rare::rare;
use crate::sink::Sink;
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// At most this many file systems are remembered as reported.
const REPORTED_MAX: usize = 64;

/// What is known about the file system of a directory.
struct FoundSight {
    /// Others write to it without an event.
    is_blind: bool,
    /// The kernel reported its type.
    is_known: bool,
}

impl FoundSight {
    /// Stores it in the tree. Returns whether it is blind.
    fn note(self, tree: &mut Tree, dir: DirId) -> bool {
        tree.get_mut(dir).is_type_known = self.is_known;
        tree.set_blind(dir, self.is_blind);
        self.is_blind
    }
}

/// Both sweeps.
#[derive(Debug)]
pub(in crate::engine) struct Sweeps<L> {
    local: Sweep<L>,
    blind: Sweep<L>,
    /// How often blind file systems are swept. `None`: as often as the others.
    remote: Option<Duration>,
    /// Devices of blind file systems that were reported.
    reported: Vec<u64>,
    /// The sweep that looked last: the other one goes first.
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
            reported: Vec::new(),
            last: SweepKind::Blind,
        }
    }

    pub(in crate::engine) fn deadline(&self) -> Option<Instant> {
        self.local.deadline().into_iter().chain(self.blind.deadline()).min()
    }

    /// How many passes have begun.
    pub(in crate::engine) fn passes(&self) -> u64 {
        self.local.passes + self.blind.passes
    }

    /// Whether looks are due.
    pub(in crate::engine) fn has_work(&self) -> bool {
        self.local.has_quota() || self.blind.has_quota()
    }

    /// Whether a pass is under way.
    pub(in crate::engine) fn is_running(&self) -> bool {
        self.local.is_running || self.blind.is_running
    }

    fn of(&mut self, pass: SweepKind) -> &mut Sweep<L> {
        match pass {
            SweepKind::Local => &mut self.local,
            SweepKind::Blind => &mut self.blind,
        }
    }
}

impl<L> Sweeps<L> {
    /// Assigns a directory after its first look to the sweep that its file system needs.
    pub(in crate::engine) fn choose(
        &mut self,
        dir: DirId,
        tree: &mut Tree,
        fs: &mut impl FileSystem,
        notices: &mut Notices,
        now: Now,
    ) {
        let Some(every) = self.remote else { return };
        // The kernel has to be asked only where a file system begins.
        let device = tree.get(dir).inode.0;
        let above = tree
            .parent(dir)
            .map(|parent| tree.get(parent))
            .filter(|parent| parent.inode.0 == device);
        let sight = match above {
            Some(parent) => {
                FoundSight { is_blind: parent.is_blind(), is_known: parent.is_type_known }
            }
            None => self.ask_type(dir, tree, fs, every, notices, now),
        };
        if sight.note(tree, dir) {
            rare!("a directory lay on a file system whose writers are not all reported");
            self.blind.wake(now);
        }
    }

    /// The periods changed: every known directory is assigned to its sweep again.
    pub(in crate::engine) fn begin_anew(
        &mut self,
        config: &EngineConfig,
        tree: &mut Tree,
        fs: &mut impl FileSystem,
        notices: &mut Notices,
        now: Now,
    ) {
        let before = std::mem::replace(self, Sweeps::new(config, now));
        self.reported = before.reported;
        self.local.swept_at = before.local.swept_at;
        let mut asked: HashMap<u64, bool> = HashMap::new();
        for place in 0..tree.places() {
            // The first look at a directory assigns it to a sweep.
            let Some(dir) = tree.at_place(place).filter(|&dir| tree.get(dir).inode != (0, 0))
            else {
                continue;
            };
            let device = tree.get(dir).inode.0;
            let sight = match (self.remote, asked.get(&device)) {
                (None, _) => FoundSight { is_blind: false, is_known: false },
                (Some(_), Some(&is_blind)) => FoundSight { is_blind, is_known: true },
                (Some(every), None) => self.ask_type(dir, tree, fs, every, notices, now),
            };
            if sight.is_known {
                asked.insert(device, sight.is_blind);
            }
            sight.note(tree, dir);
        }
        if tree.blind() > 0 {
            self.blind.wake(now);
            self.blind.swept_at = before.blind.swept_at;
        }
    }

    /// Asks the kernel whether the directory's file system is blind. If it does not answer, the
    /// file system is most likely a remote one.
    fn ask_type(
        &mut self,
        dir: DirId,
        tree: &Tree,
        fs: &mut impl FileSystem,
        every: Duration,
        notices: &mut Notices,
        now: Now,
    ) -> FoundSight {
        let mut path = Vec::new();
        let links = tree.write_bare_path(dir, &mut path);
        match fs.file_system(&path, links) {
            Ok(found) => {
                let is_blind = found.sight().is_blind();
                let device = tree.get(dir).inode.0;
                if is_blind && self.is_report_due(device, notices, now) {
                    let path = String::from_utf8_lossy(&path);
                    tracing::info!(
                        ?path,
                        file_system = %found,
                        ?every,
                        "inotify does not report {}: polling every --rescan-remote",
                        found.sight().untold()
                    );
                }
                FoundSight { is_blind, is_known: true }
            }
            Err(error) => {
                tracing::debug!(path = ?String::from_utf8_lossy(&path), %error, "the type of \
                    the file system cannot be determined");
                FoundSight { is_blind: true, is_known: false }
            }
        }
    }

    /// Whether to report that the file system on this device is blind. Each is reported once.
    fn is_report_due(&mut self, device: u64, notices: &mut Notices, now: Now) -> bool {
        let is_due = !self.reported.contains(&device)
            && self.reported.len() < REPORTED_MAX
            && notices.admit(Cause::BlindFileSystem, now.instant).is_some();
        if is_due {
            self.reported.push(device);
        }
        is_due
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
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
        // This is an upper bound for each sweep: a pass may finish early, never late.
        let total = self.files.len() + self.tree.len() * VISIT_COST;
        let was_running = self.discovery.sweeps.of(pass).is_running;
        let quota = self.discovery.sweeps.of(pass).quota(total, now.instant).min(LOOKS_PER_TURN);
        if !was_running && self.discovery.sweeps.of(pass).is_running {
            let since = std::mem::replace(&mut self.discovery.sweeps.of(pass).swept_at, now.wall);
            self.kernel.suspect(since);
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
}
