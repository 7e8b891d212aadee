//! The state directory -> offsets to resume from: lock, load, reconcile the output, start the
//! commit thread.
//!
//! In: the directory, the output. Out: a [`ResumeFrom`] for the engine.
//! Always holds: nothing is changed before this process has the lock and the journal is known to be
//! valid.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use mio::Waker;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};

use super::aside;
use crate::checkpoint::OutputPoint;
use crate::checkpoint::reconcile::{Origin, Tail, reconcile};
use crate::checkpoint::stamp::{Stamp, Unexplained};
use crate::checkpoint::state::StoredOffsets;
use crate::checkpoint::store::Store;
use crate::checkpoint::thread::CommitThread;
use crate::config::Output;
use crate::engine::ResumeFrom;
use crate::sys::disk::{self, Access, DiskError, LinuxDisk};
use crate::sys::file::identity;
use crate::sys::{FileId, clock, process, trust};

/// How long a start waits for a process that is ending and still has the state directory ...
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(5);
/// ... and how often it tries the lock.
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);

/// Characters of the host's name in the name of a state directory.
const HOST_CHARS: usize = 64;

/// The contents of the state directory.
pub(super) struct StateDir {
    /// Device and inode of the state directory.
    pub(super) directory: (u64, u64),
    store: Store<LinuxDisk>,
    state: StoredOffsets,
    /// Files whose offsets were advanced because the output was ahead of them.
    reconciled: Vec<FileId>,
}

/// Locks and loads a state directory.
pub(super) fn open(directory: &Path) -> anyhow::Result<StateDir> {
    let began = clock::now().instant;
    let disk = open_patiently(directory)?;
    let identity = disk.identity();
    let (store, state) = Store::open(disk)
        .with_context(|| format!("cannot use the state directory {}", directory.display()))?;
    let took = clock::now().instant.duration_since(began);
    tracing::debug!(entries = state.len(), bytes = store.bytes(), ?took, "offsets loaded");
    Ok(StateDir { directory: identity, store, state, reconciled: Vec::new() })
}

/// Locks the directory. When a service is killed and started again at once, its predecessor may
/// still be in its last system call. This waits for a process that is ending or that cannot be
/// identified, and not for one that runs.
fn open_patiently(directory: &Path) -> Result<LinuxDisk, DiskError> {
    let until = clock::now().instant + PREDECESSOR_TIMEOUT;
    let mut is_logged = false;
    loop {
        let in_use = match LinuxDisk::open(directory, Access::Create) {
            Err(error @ DiskError::InUse { .. }) => error,
            outcome => return outcome,
        };
        let is_awaited =
            matches!(&in_use, DiskError::InUse { pid, .. } if pid.is_none_or(process::is_ending));
        if !is_awaited || clock::now().instant >= until {
            return Err(in_use);
        }
        if !std::mem::replace(&mut is_logged, true) {
            tracing::info!(
                "{in_use}, which seems to be ending: waiting for it, up to {} seconds",
                PREDECESSOR_TIMEOUT.as_secs()
            );
        }
        clock::pause(PREDECESSOR_POLL);
    }
}

impl StateDir {
    /// The number of stored offsets.
    pub(super) fn entries(&self) -> usize {
        self.state.len()
    }

    /// Makes a `file:` output match the offsets. The output is open and locked at this point.
    pub(super) fn reconcile(&mut self, output: &Output) -> anyhow::Result<()> {
        if let (Output::File(path), Some(point)) = (output, self.state.output()) {
            self.reconciled = reconcile_output(path, &point, self.store.stamp(), &mut self.state)
                .with_context(|| {
                format!("cannot make the output file:{} match the offsets", path.display())
            })?;
        }
        Ok(())
    }

    /// Gives the directory the name under which it commits at a broker, once and for all: it is
    /// stored, and never made of the host's name again.
    pub(super) fn name_for_output(&mut self, host: &str) {
        if self.state.identity().is_empty() {
            let random = disk::any_number() & 0xffff_ffff;
            let host: String = host
                .chars()
                .map(|char| if char.is_ascii_alphanumeric() || char == '-' { char } else { '_' })
                .take(HOST_CHARS)
                .collect();
            self.state.set_identity(format!("manytail-{host}-{random:08x}").as_bytes());
        }
    }

    /// Starts the commit thread.
    pub(super) fn start(self, waker: Waker, interval: Duration) -> anyhow::Result<ResumeFrom> {
        let journal = self.store.is_appendable().then(|| self.store.bytes());
        let thread = CommitThread::start(self.store, waker).context("cannot start a thread")?;
        Ok(ResumeFrom {
            state: self.state,
            committer: Box::new(thread),
            journal,
            interval,
            reconciled: self.reconciled,
        })
    }
}

/// An output file that may have to be cut off.
struct OutputFile<'a> {
    file: OwnedFd,
    path: &'a Path,
    /// Whether a crash explains its end.
    explained: Result<(), Unexplained>,
}

impl Tail for OutputFile<'_> {
    fn size(&mut self) -> io::Result<u64> {
        Ok(fstat(&self.file)?.st_size.cast_unsigned())
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(nix::sys::uio::pread(&self.file, buffer, offset.cast_signed())?)
    }

    fn set_aside(&mut self, start: u64) -> io::Result<()> {
        let (aside, bytes) = aside::copy(&self.file, self.path, start)?;
        let why = self.explained.err().map(|why| why.to_string());
        tracing::warn!(
            path = %self.path.display(),
            aside = %aside.display(),
            bytes,
            why,
            "the output's end was not committed, and no crash explains it: it was copied to a file \
            of its own and is cut off"
        );
        Ok(())
    }

    fn overwrite(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        Ok(nix::sys::uio::pwrite(&self.file, bytes, offset.cast_signed())?)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        Ok(nix::unistd::ftruncate(&self.file, len.cast_signed())?)
    }
}

fn reconcile_output(
    path: &Path,
    point: &OutputPoint,
    last: Option<Stamp>,
    state: &mut StoredOffsets,
) -> anyhow::Result<Vec<FileId>> {
    // O_NONBLOCK: a FIFO in the file's place answers at once.
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let flags = flags | trust::link_flags(path)?;
    let file = match nix::fcntl::open(path, flags, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR | Errno::ENXIO) => return Ok(Vec::new()),
        opened => opened.context("cannot open it for reading and writing")?,
    };
    if identity(&file).context("cannot look at it")? != point.id {
        tracing::info!(
            path = %path.display(),
            "the output is not the file of the last commit: appending to it"
        );
        return Ok(Vec::new());
    }
    let found = Stamp::read(&file).unwrap_or_else(|error| {
        tracing::debug!(%error, "the output's stamp cannot be read");
        None
    });
    let explained = Stamp::explain(found, last);
    let origin = if explained.is_ok() { Origin::Crash } else { Origin::Unknown };
    let done = reconcile(&mut OutputFile { file, path, explained }, point, origin, state)?;
    if done.missing_bytes > 0 {
        let missing_bytes = done.missing_bytes;
        tracing::warn!(
            path = %path.display(),
            missing_bytes,
            "the output is shorter than at the last commit: appending"
        );
    } else if done.cut_bytes > 0 && origin == Origin::Crash {
        let (kept, cut_bytes) = (done.kept, done.cut_bytes);
        tracing::warn!(path = %path.display(), kept, cut_bytes, "the output's end was not \
            committed and was cut off: its lines come again");
    } else if done.kept > 0 {
        tracing::info!(path = %path.display(), kept = done.kept, "the output's end was not \
            committed: it matches the offsets now");
    }
    Ok(done.advanced)
}
