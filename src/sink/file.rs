//! `file:PATH`: created (0640) and appended to. A FIFO or terminal at PATH is used like a pipe
//! whose reader may come and go.
//!
//! In: bytes of whole records. Out: the same bytes at the end of the file. The file is locked
//! (flock(2)), because two processes that recover after a crash would cut each other's records.
//! Always holds: a regular file accepts whole records or nothing. When space runs out within a
//! record, its written part is cut off again, unless another program has appended to the file. Only
//! then does a torn record stay, to be continued when there is space.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Interest;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat, stat};
use nix::unistd::{fdatasync, ftruncate};

use super::backoff::Backoff;
use super::boundary::Boundary;
use super::channel::{Channel, Offer, Way};
use super::outage::Outage;
use super::owed::Owed;
use super::regular::{Regular, cut, position, size};
use super::{
    FilePoint, Place, Poller, Receiver, Records, Sent, Sink, SinkError, SinkState, Wants, may_heal,
    write,
};
use crate::sys::failure::Failure;
use crate::sys::lock::{self, InUse};
use crate::sys::{clock, process, trust};

/// How long a start waits for a process that has locked the file and is ending ...
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(5);
/// ... and how often it tries.
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);

/// `manytail doctor` may hold the lock for a moment.
const GLANCE: Duration = Duration::from_millis(100);

/// Pieces of a deleted file that one call writes: some milliseconds of work.
const PIECES_PER_CALL: usize = 8;

#[derive(Debug)]
enum Target {
    /// A FIFO that nobody reads.
    Absent,
    /// A FIFO or terminal.
    Channel(Channel),
    /// Appended to.
    Regular(Regular),
    /// A device such as `/dev/null`.
    Device(OwnedFd),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Create {
    Yes,
    No,
}

/// The `file:PATH` output.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    target: Target,
    boundary: Boundary,
    outage: Outage,
    /// Times that another program truncated it.
    truncations: u64,
    /// Bytes owed to this file from deleted ones.
    owed: Owed,
    /// When the last call wrote a part of that and left more to be written at once.
    paid_at: Option<Instant>,
    poller: Rc<Poller>,
}

impl FileSink {
    /// Opens or creates the file. Waits for a previous process that seems to be ending.
    pub(super) fn open(name: String, path: PathBuf, poller: Rc<Poller>) -> Result<Self, SinkError> {
        let target = open_target(&path, Create::Yes, &poller)
            .map_err(|error| SinkError::new(&name, "open", error))?;
        lock_patiently(&target, &name).map_err(|error| SinkError::new(&name, "lock", error))?;
        let mut outage = Outage::new(name, Backoff::for_room());
        if !matches!(target, Target::Absent) {
            outage.found();
        }
        Ok(FileSink {
            path,
            target,
            boundary: Boundary::default(),
            outage,
            truncations: 0,
            owed: Owed::default(),
            paid_at: None,
            poller,
        })
    }

    /// Opens and locks the file at the path. `None`: it is the one that is already open.
    fn open_again(&self) -> io::Result<Option<Target>> {
        let target = open_target(&self.path, Create::Yes, &self.poller)?;
        if let (Target::Regular(new), Target::Regular(old)) = (&target, &self.target)
            && new.id == old.id
        {
            return Ok(None);
        }
        lock(&target)?;
        Ok(Some(target))
    }

    /// Writes bytes owed from deleted files, as many as one call may.
    fn pay(&mut self, now: Instant) -> Result<(), SinkError> {
        let mut owed = std::mem::take(&mut self.owed);
        let outcome = self.pay_of(&mut owed, now);
        self.owed = owed;
        outcome
    }

    fn pay_of(&mut self, owed: &mut Owed, now: Instant) -> Result<(), SinkError> {
        let mut buffer = Vec::new();
        for _ in 0..PIECES_PER_CALL {
            let piece = owed
                .piece(&mut buffer)
                .map_err(|error| SinkError::new(self.outage.output(), "read back", error))?;
            let Some(piece) = piece else { break };
            match self.append(piece, now)? {
                Sent::Accepted(taken) => owed.took(taken),
                _ => break,
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8], now: Instant) -> Result<Sent, SinkError> {
        let descriptor = match &mut self.target {
            Target::Regular(file) => {
                match file.begin_writing() {
                    Ok(false) => {}
                    Ok(true) => {
                        let output = self.outage.output();
                        tracing::warn!(%output, "the output file ended within a line: a newline \
                            was added, so that the next record stands alone");
                    }
                    Err(errno) if may_heal(errno) => {
                        self.outage.failed(now, "cannot write", errno);
                        return Ok(Sent::Blocked);
                    }
                    Err(errno) => return Err(SinkError::new(self.outage.output(), "write", errno)),
                }
                &file.descriptor
            }
            Target::Device(descriptor) => &*descriptor,
            Target::Absent | Target::Channel(_) => panic!("only files and devices are appended to"),
        };
        let mut taken = 0;
        let mut begin = None;
        let failure = loop {
            match write(descriptor, &bytes[taken..]) {
                Ok(written) => {
                    self.boundary.took(&bytes[taken..taken + written]);
                    taken += written;
                    if taken == bytes.len() {
                        break None;
                    }
                    // A short write: there may be no space for the rest, and then the start
                    // position matters.
                    begin = begin.or_else(|| position(descriptor)?.checked_sub(taken as u64));
                }
                Err(errno) => break Some(errno),
            }
        };
        if let Target::Regular(file) = &mut self.target {
            file.written += taken as u64;
        }
        let Some(errno) = failure else {
            self.outage.ended();
            self.outage.backoff.reset();
            return Ok(Sent::Accepted(taken));
        };
        if !may_heal(errno) && taken == 0 {
            return Err(SinkError::new(self.outage.output(), "write", errno));
        }
        self.outage.failed(now, "cannot write", errno);
        let torn = self.boundary.torn();
        if let Target::Regular(file) = &mut self.target
            && (1..=taken as u64).contains(&torn)
            && cut(&file.descriptor, begin, taken as u64, torn)
        {
            self.boundary.restart();
            taken -= usize::try_from(torn).expect("torn is a part of what was taken");
            file.end = begin.map(|begin| begin + taken as u64);
            file.written -= torn;
        }
        Ok(if taken == 0 { Sent::Blocked } else { Sent::Accepted(taken) })
    }

    fn feed(&mut self, bytes: &[u8], now: Instant) -> Sent {
        let Target::Channel(channel) = &mut self.target else {
            panic!("only FIFOs and terminals are fed");
        };
        if bytes.is_empty() {
            return match channel.is_broken() {
                Ok(false) => Sent::Accepted(0),
                Ok(true) => self.lost(Errno::EPIPE, now),
                Err(errno) => self.lost(errno, now),
            };
        }
        match channel.offer(bytes) {
            Ok(Offer::Took(taken)) => {
                self.boundary.took(&bytes[..taken]);
                self.outage.backoff.reset();
                Sent::Accepted(taken)
            }
            Ok(Offer::Full) => Sent::Blocked,
            Err(errno) => self.lost(errno, now),
        }
    }

    /// The FIFO's last reader went away.
    fn lost(&mut self, errno: Errno, now: Instant) -> Sent {
        self.target = Target::Absent;
        self.outage.failed(now, "lost the reader", errno);
        let boundary = std::mem::take(&mut self.boundary);
        if boundary.has_taken() {
            Sent::Restarted { unacknowledged: boundary.torn() }
        } else {
            Sent::Blocked
        }
    }

    /// Checks whether the FIFO has a reader now. Creates nothing: a FIFO that is being replaced
    /// must not become a regular file.
    fn look_for_reader(&mut self, now: Instant) {
        match open_target(&self.path, Create::No, &self.poller) {
            Ok(Target::Absent) => self.outage.failed(now, "nobody reads the FIFO", Errno::ENXIO),
            Ok(target) => {
                self.target = target;
                self.outage.found();
            }
            Err(error) => self.outage.failed(now, "cannot open", error),
        }
    }
}

impl Sink for FileSink {
    fn send(&mut self, records: Records<'_>, now: Instant) -> Result<Sent, SinkError> {
        let bytes = records.bytes;
        let is_waiting = self.outage.backoff.is_waiting(now);
        if matches!(self.target, Target::Absent) && !is_waiting {
            self.look_for_reader(now);
        }
        if self.owed.bytes() > 0 && !is_waiting {
            self.pay(now)?;
            self.paid_at = (self.owed.bytes() > 0).then_some(now);
        }
        match &self.target {
            _ if self.owed.bytes() > 0 => Ok(Sent::Blocked),
            Target::Absent => Ok(Sent::Blocked),
            Target::Channel(_) => Ok(self.feed(bytes, now)),
            Target::Regular(_) | Target::Device(_) if bytes.is_empty() => Ok(Sent::Accepted(0)),
            Target::Regular(_) | Target::Device(_) if is_waiting => Ok(Sent::Blocked),
            Target::Regular(_) | Target::Device(_) => self.append(bytes, now),
        }
    }

    fn wants(&self) -> Wants {
        Wants::Bytes
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        None
    }

    fn unacknowledged(&mut self) -> u64 {
        0
    }

    fn ready(&mut self, _now: Instant) {}

    fn deadline(&self) -> Option<Instant> {
        self.outage.backoff.deadline().or(self.paid_at)
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        let failed = |error: io::Error| SinkError::new(self.outage.output(), "reopen", error);
        if let Some(target) = self.open_again().map_err(failed)? {
            if self.owed.bytes() > 0 && !matches!(target, Target::Regular(_)) {
                return Err(failed(io::Error::other(
                    "it is not a regular file, and records of a deleted file must be written first",
                )));
            }
            self.target = target;
        }
        self.boundary.restart();
        // The new file may be on a disk with space. The outage of the old one ends when a write
        // succeeds.
        self.outage.backoff.reset();
        Ok(())
    }

    fn own_file(&self) -> Option<(u64, u64)> {
        match self.target {
            Target::Regular(Regular { id, .. }) => Some((id.device, id.inode)),
            _ => None,
        }
    }

    fn state(&self) -> SinkState {
        let state = self.outage.state();
        let is_connected = state.is_connected && !matches!(self.target, Target::Absent);
        SinkState { is_connected, truncations: self.truncations, ..state }
    }

    fn withdraw(&mut self, bytes: u64) -> bool {
        let Target::Regular(file) = &mut self.target else { return false };
        let Some(end) = file.end() else { return false };
        let is_last = size(&file.descriptor) == Some(end);
        let Some(begin) = end.checked_sub(bytes).filter(|_| is_last) else { return false };
        // Durable at once, or a power loss would bring back records that go into another file. This
        // is rare enough to wait for the disk.
        let is_cut = ftruncate(&file.descriptor, begin.cast_signed()).is_ok()
            && fdatasync(&file.descriptor).is_ok();
        if is_cut {
            file.was_cut(begin);
            self.boundary.restart();
        }
        is_cut
    }

    fn point(&mut self) -> Option<FilePoint> {
        let Target::Regular(file) = &mut self.target else { return None };
        let len = file.end().unwrap_or(0);
        Some(FilePoint { id: file.id, len, file: file.descriptor.try_clone().ok() })
    }

    fn place(&mut self) -> Place {
        let Target::Regular(file) = &mut self.target else { return Place::Here };
        let Ok(own) = fstat(&file.descriptor) else { return Place::Here };
        if own.st_nlink == 0 && file.had_name {
            return Place::Deleted;
        }
        match stat(&self.path) {
            Ok(found) if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) => Place::Moved,
            Err(errno) if file.had_name && Failure::of(&errno.into()) == Failure::Gone => {
                Place::Moved
            }
            // The file is in its place, or this cannot be determined.
            _ => {
                let size = u64::try_from(own.st_size).unwrap_or(0);
                if file.look(size, self.boundary.torn() == 0) {
                    self.truncations += 1;
                    let output = self.outage.output();
                    tracing::warn!(%output, size, "the output file was truncated by somebody else: \
                        records that were in it are gone; rotate it by rename and SIGHUP");
                }
                Place::Here
            }
        }
    }

    fn replace(&mut self, from: Option<u64>) -> Result<(), SinkError> {
        let failed = |error: io::Error| SinkError::new(self.outage.output(), "open anew", error);
        // First of all: if the old file cannot be read, nothing is created.
        let part = match &mut self.target {
            Target::Regular(old) => {
                let end = size(&old.descriptor).unwrap_or(0);
                // It was not looked at yet, so nothing was written either.
                let from = from.or(old.seen).unwrap_or(end);
                // It was truncated since, so everything in it is newer.
                let from = if from > end { 0 } else { from };
                Owed::part(&old.descriptor, from, end)
                    .map_err(|error| SinkError::new(self.outage.output(), "read back", error))?
            }
            _ => None,
        };
        let Some(target) = self.open_again().map_err(failed)? else {
            return Err(failed(io::Error::other(
                "it was deleted, and its path still leads to it: start manytail again",
            )));
        };
        if !matches!(target, Target::Regular(_)) {
            return Err(failed(io::Error::other(
                "it was deleted, and its path does not lead to a regular file",
            )));
        }
        self.owed.add(part);
        self.target = target;
        self.paid_at = None;
        // The owed bytes begin with a record.
        self.boundary.restart();
        self.outage.backoff.reset();
        Ok(())
    }

    fn owed(&self) -> u64 {
        self.owed.bytes()
    }
}

/// Locks a regular file. Waits for a process that has the lock and is ending.
fn lock_patiently(target: &Target, name: &str) -> io::Result<()> {
    let began = clock::now().instant;
    let mut is_said = false;
    loop {
        let Err(in_use) = try_lock(target)? else { return Ok(()) };
        let waited = clock::now().instant.saturating_duration_since(began);
        let is_awaited = waited < GLANCE
            || (in_use.pid.is_none_or(process::is_ending) && waited < PREDECESSOR_TIMEOUT);
        if !is_awaited {
            return Err(io::Error::other(in_use));
        }
        if waited >= GLANCE && !std::mem::replace(&mut is_said, true) {
            tracing::info!(output = %name, "{in_use}; it seems to be ending: waiting up to {} \
                seconds", PREDECESSOR_TIMEOUT.as_secs());
        }
        clock::pause(PREDECESSOR_POLL);
    }
}

fn lock(target: &Target) -> io::Result<()> {
    try_lock(target)?.map_err(io::Error::other)
}

/// The inner error: another process has the lock.
fn try_lock(target: &Target) -> io::Result<Result<(), InUse>> {
    match target {
        Target::Regular(file) => lock::try_lock(&file.descriptor),
        Target::Absent | Target::Channel(_) | Target::Device(_) => Ok(Ok(())),
    }
}

/// Opens `path` for appending. Symbolic links are followed, because people link their logs. In a
/// directory that others can write to, neither a link nor a file of theirs is used as the output:
/// they would get all records, or choose which of our files gets them.
fn open_target(path: &Path, create: Create, poller: &Rc<Poller>) -> io::Result<Target> {
    // O_NONBLOCK: a FIFO without a reader fails at once. It has no effect on a regular file.
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let flags = flags | trust::link_flags(path)?;
    // First without O_CREAT, which the kernel refuses for other people's FIFOs in sticky
    // directories (fs.protected_fifos).
    let opened = match nix::fcntl::open(path, flags, Mode::empty()) {
        Err(Errno::ENOENT) if create == Create::Yes => nix::fcntl::open(
            path,
            flags | OFlag::O_CREAT,
            Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP,
        ),
        opened => opened,
    };
    match opened {
        Ok(descriptor) => {
            trust::refuse_planted(path, &fstat(&descriptor)?)?;
            classify(descriptor, poller)
        }
        Err(errno) => why_not(path, errno),
    }
}

fn classify(descriptor: OwnedFd, poller: &Rc<Poller>) -> io::Result<Target> {
    let stat = fstat(&descriptor)?;
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => {
            let id = crate::sys::file::identity(&descriptor)?;
            let had_name = stat.st_nlink > 0;
            Ok(Target::Regular(Regular {
                descriptor,
                id,
                end: None,
                is_written: false,
                had_name,
                seen: None,
                written: 0,
                is_end_unknown: true,
            }))
        }
        SFlag::S_IFIFO => {
            Ok(Target::Channel(Channel::new(descriptor, Way::Write, Interest::PRIORITY, poller)?))
        }
        SFlag::S_IFCHR if nix::unistd::isatty(&descriptor).unwrap_or(false) => {
            Ok(Target::Channel(Channel::new(descriptor, Way::Write, Interest::PRIORITY, poller)?))
        }
        SFlag::S_IFCHR => Ok(Target::Device(descriptor)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a file, FIFO or character device",
        )),
    }
}

/// Decides what a failed open means. A FIFO that nobody reads is not an error; the other messages
/// say more than errno does.
fn why_not(path: &Path, errno: Errno) -> io::Result<Target> {
    let found = stat(path);
    let kind = found.map(|stat| SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()));
    match (errno, kind) {
        (Errno::ENXIO, Ok(SFlag::S_IFIFO)) => {
            trust::refuse_planted(path, &found?).map(|()| Target::Absent)
        }
        (Errno::ENXIO, Ok(SFlag::S_IFSOCK)) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a socket: use unix:PATH to connect to it",
        )),
        (Errno::ENOENT, _) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            match parent {
                Some(parent) if stat(parent) == Err(Errno::ENOENT) => {
                    let what = format!("the directory {} does not exist", parent.display());
                    Err(io::Error::new(io::ErrorKind::NotFound, what))
                }
                _ => Err(errno.into()),
            }
        }
        _ => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_end_is_cut_only_when_it_is_ours_and_the_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out");
        let open = || {
            let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC;
            nix::fcntl::open(&path, flags, Mode::S_IRWXU).expect("the file opens")
        };
        let (ours, theirs) = (open(), open());
        write(&ours, b"one\ntw").expect("room");
        let begin = position(&ours).map(|end| end - 6);
        assert!(cut(&ours, begin, 6, 2));
        assert_eq!(std::fs::read(&path).expect("the file"), b"one\n");

        write(&ours, b"two\nthr").expect("room");
        let begin = position(&ours).map(|end| end - 7);
        write(&theirs, b"theirs\n").expect("room");
        assert!(!cut(&ours, begin, 7, 3), "somebody wrote behind us");
        write(&ours, b"ee\nfo").expect("room");
        assert!(!cut(&ours, begin, 12, 2), "somebody wrote between us");
        assert!(!cut(&ours, None, 12, 2));
        assert_eq!(std::fs::read(&path).expect("the file"), b"one\ntwo\nthrtheirs\nee\nfo");
    }
}
