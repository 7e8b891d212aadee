//! The outputs on the real kernel: pipes, FIFOs, terminals, sockets, and a full disk.

mod descriptor;
mod file;
#[path = "../../../tests/skipping/mod.rs"]
pub(super) mod skipping;
mod socket;

use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use self::skipping::skip;
use super::{Brokers, Poller, Records, Sent, Sink, SinkError};
use crate::config::{Format, Kafka, Nats, Output};
use crate::sys::clock;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// The driver checks its peer at least this often.
const TICK: Duration = Duration::from_millis(2);
/// A batch, as the engine would offer it.
const BATCH_BYTES: usize = 64 * 1024;

/// A loop with one sink that follows the contract of [`Sink`]: it offers whole records, and goes
/// back when told to.
struct Driver {
    poll: Poll,
    events: Events,
    sink: Box<dyn Sink>,
    stream: Vec<u8>,
    /// Position in `stream` of the next byte to offer.
    taken: usize,
    /// For each restart: the unacknowledged bytes, and where the stream continued.
    restarts: Vec<(u64, usize)>,
    is_started: bool,
    is_blocked: bool,
    is_closed: bool,
    wake_ups: usize,
}

impl Driver {
    fn new(output: &Output) -> Driver {
        Driver::try_new(output).expect("the output opens")
    }

    fn try_new(output: &Output) -> Result<Driver, SinkError> {
        let (kafka, nats) = (Kafka::default(), Nats::default());
        let brokers = Brokers {
            kafka: &kafka,
            nats: &nats,
            routes: None,
            format: Format::Raw,
            is_kept: false,
        };
        let poll = Poll::new().expect("epoll");
        let poller =
            Poller { registry: poll.registry().try_clone().expect("dup"), token: Token(7) };
        Ok(Driver {
            sink: super::open(output, &brokers, poller)?,
            poll,
            events: Events::with_capacity(8),
            stream: Vec::new(),
            taken: 0,
            restarts: Vec::new(),
            is_started: false,
            is_blocked: false,
            is_closed: false,
            wake_ups: 0,
        })
    }

    /// The error of an output that must not open.
    fn refusal(output: &Output) -> String {
        let error = Driver::try_new(output).err().expect("the output is refused");
        format!("{error}: {}", error.source)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
    }

    /// Waits for the loop at most `longest`, then offers all there is, if there is a reason to: a
    /// blocked output is left alone until it calls, so that a wake-up that it loses is lost.
    fn turn(&mut self, longest: Duration) {
        let now = clock::now().instant;
        let wait = self
            .sink
            .deadline()
            .map_or(longest, |deadline| deadline.saturating_duration_since(now).min(longest));
        self.poll.poll(&mut self.events, Some(wait)).expect("epoll_wait");
        let now = clock::now().instant;
        let is_ready = self.events.iter().any(|event| event.token() == Token(7));
        if is_ready {
            self.wake_ups += 1;
            self.sink.ready(now);
        }
        let is_due = self.sink.deadline().is_some_and(|deadline| deadline <= now);
        let has_more = !self.is_blocked && self.taken < self.stream.len();
        if is_ready || is_due || has_more || !std::mem::replace(&mut self.is_started, true) {
            self.offer(now);
        }
    }

    fn offer(&mut self, now: Instant) {
        while !self.is_closed {
            let batch = batch(&self.stream[self.taken..]);
            let offered = batch.len();
            let sent = self.sink.send(Records::plain(batch), now).expect("the output goes on");
            self.is_blocked = sent == Sent::Blocked;
            match sent {
                Sent::Accepted(taken) => {
                    assert!(
                        taken <= offered && (taken > 0 || offered == 0),
                        "took {taken} of {offered}"
                    );
                    self.taken += taken;
                    if offered == 0 {
                        break;
                    }
                }
                Sent::Blocked => break,
                Sent::Restarted { unacknowledged } => {
                    let unacknowledged_bytes =
                        usize::try_from(unacknowledged).expect("a small number");
                    let first = self
                        .taken
                        .checked_sub(unacknowledged_bytes)
                        .expect("no more than was taken");
                    self.taken = record_start(&self.stream, first);
                    self.restarts.push((unacknowledged, self.taken));
                }
                Sent::Closed => self.is_closed = true,
            }
        }
    }

    /// Turns until `is_so` is true; that function may also act as the peer.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Driver) -> bool) {
        let deadline = clock::now().instant + PATIENCE;
        while !is_so(self) {
            assert!(clock::now().instant < deadline, "waited too long until {what}");
            self.turn(TICK);
        }
    }

    fn until_all_is_taken(&mut self) {
        self.until("all is taken", |driver| driver.taken == driver.stream.len());
    }

    fn until_blocked(&mut self) {
        self.until("the output is full", |driver| {
            driver.is_blocked && driver.taken < driver.stream.len()
        });
    }
}

/// The next whole records, of which the first may lack its beginning: about [`BATCH_BYTES`], at
/// least one record.
fn batch(rest: &[u8]) -> &[u8] {
    if rest.len() <= BATCH_BYTES {
        return rest;
    }
    let end = memchr::memrchr(b'\n', &rest[..BATCH_BYTES]).or_else(|| memchr::memchr(b'\n', rest));
    &rest[..end.map_or(rest.len(), |at| at + 1)]
}

/// The start of the record that contains the byte at `position`.
fn record_start(stream: &[u8], position: usize) -> usize {
    memchr::memrchr(b'\n', &stream[..position]).map_or(0, |at| at + 1)
}

/// At least `bytes` bytes of numbered records of many lengths.
fn records(bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 1024);
    let mut number = 0_usize;
    while text.len() < bytes {
        writeln!(text, "{number} {}", "x".repeat(number * 37 % 501)).expect("a string");
        number += 1;
    }
    text.into_bytes()
}

/// One record of `bytes` bytes, its newline included.
fn long_record(bytes: usize) -> Vec<u8> {
    let mut record: Vec<u8> = (0..bytes).map(|at| b'a' + (at % 23) as u8).collect();
    record[bytes - 1] = b'\n';
    record
}

/// A pipe: the end that we read, and a descriptor that is passed on as a shell would do it.
fn inherited_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    hand_down(&writer);
    set_nonblocking(&reader);
    (reader, writer)
}

/// Makes `descriptor` an inherited one, and returns it as an output.
fn hand_down(descriptor: &OwnedFd) -> Output {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).expect("F_SETFD");
    Output::Descriptor(descriptor.as_raw_fd())
}

fn set_nonblocking(descriptor: impl AsFd) {
    let flags = status_flags(&descriptor);
    fcntl(&descriptor, FcntlArg::F_SETFL(OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK))
        .expect("F_SETFL");
}

fn status_flags(descriptor: impl AsFd) -> i32 {
    fcntl(descriptor, FcntlArg::F_GETFL).expect("F_GETFL")
}

/// Reads available bytes, at most `bytes_max`, without waiting. `false` at the end of the stream.
fn read_some(reader: impl AsFd, into: &mut Vec<u8>, bytes_max: usize) -> bool {
    let mut buffer = vec![0; bytes_max];
    match nix::unistd::read(reader, &mut buffer) {
        Ok(0) => false,
        Ok(taken) => {
            into.extend_from_slice(&buffer[..taken]);
            true
        }
        Err(Errno::EAGAIN) => true,
        Err(errno) => panic!("read: {errno}"),
    }
}

/// A directory on a disk of its own that is very small, and unmounted after the test.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, with a message, if this process may not mount.
    fn new(bytes: usize) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().expect("a directory");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(directory.path());
        let is_mounted = nix::unistd::geteuid().is_root()
            && mount.output().is_ok_and(|output| output.status.success());
        if !is_mounted {
            skip("a full disk takes the right to mount a tmpfs");
        }
        is_mounted.then_some(SmallDisk { directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Fills the disk up to `room` bytes with a file.
    fn fill(&self, room: usize) -> PathBuf {
        let path = self.path("filler");
        let stat = nix::sys::statvfs::statvfs(self.directory.path()).expect("statvfs");
        let bytes = usize::try_from(stat.blocks_available() * stat.fragment_size()).expect("small");
        std::fs::write(&path, vec![0; bytes - room]).expect("room for the filler");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.directory.path()).output();
    }
}

fn read_file(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("the file is there")
}
