//! Between the loop and the thread: records one way, what happened to them the other way.
//!
//! In: accepted records, and what the journal knows. Out: batches for the thread; events for the
//! loop, and a wake-up for them.
//! Always holds: the lock is held for copies of memory alone, so neither side waits for the other.
//! The loop is woken for each event, and when it was refused room that is there now. If the thread
//! ends, the loop is told.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::Notify;

use super::batch::{Batch, Collected};
use crate::sink::{Records, Verdict};

/// What the thread starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// Of the state directory, or of the process.
    pub(super) identity: String,
    /// There is a state directory.
    pub(super) is_kept: bool,
    /// Where the stream ended at the last commit.
    pub(super) sequence: Option<u64>,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A connection was made, and the stream can be used.
    Up,
    /// Nothing stands in the way of records any more.
    Well,
    /// An attempt failed; it is repeated, over a new connection if this one is lost.
    Failed { is_lost: bool, failure: Failure },
    /// What the stream has beyond the last commit, and where it ends below our subjects.
    Found { verdict: Verdict, end: u64 },
    /// So many bytes more are in the stream, which ends with this sequence below our subjects.
    Stored { bytes: u64, end: u64 },
    /// A record was left out that the server does not take.
    Refused { path: Vec<u8>, offset: u64, why: String },
    /// Something to know that delays nothing.
    Remark(String),
}

/// What failed, and why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) what: &'static str,
    pub(super) why: String,
}

impl Failure {
    pub(super) fn new(what: &'static str, why: impl Into<String>) -> Self {
        Failure { what, why: why.into() }
    }
}

#[derive(Debug, Default)]
struct Shared {
    start: Option<Start>,
    waiting: Collected,
    /// Messages that the thread took and the stream has not stored.
    in_flight: u64,
    events: Vec<Event>,
    /// The loop was refused room.
    is_loop_waiting: bool,
    is_closed: bool,
    has_thread_ended: bool,
}

/// The link. Both sides share it.
#[derive(Debug)]
pub(super) struct Link {
    shared: Mutex<Shared>,
    /// There is a start, or records wait.
    work: Notify,
    closed: Notify,
    /// The loop polls it.
    wake: EventFd,
}

impl Link {
    /// A link without records.
    ///
    /// # Errors
    /// Those of `eventfd(2)`.
    pub(super) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Link {
            shared: Mutex::default(),
            work: Notify::new(),
            closed: Notify::new(),
            wake: EventFd::from_flags(flags)?,
        })
    }

    /// A thread that panicked while it had the lock leaves nothing half done.
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop: becomes readable when something happened.
    pub(super) fn descriptor(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// The loop: lets the thread begin.
    pub(super) fn start(&self, start: Start) {
        self.shared().start = Some(start);
        self.work.notify_one();
    }

    /// The loop: takes records from the front, as far as there is room. Returns their bytes.
    pub(super) fn accept(&self, records: &Records<'_>) -> usize {
        let mut shared = self.shared();
        let taken = shared.waiting.accept(records);
        shared.is_loop_waiting = taken < records.bytes.len();
        drop(shared);
        if taken > 0 {
            self.work.notify_one();
        }
        taken
    }

    /// The loop: what happened since it asked last.
    pub(super) fn events(&self) -> Vec<Event> {
        // It is empty if nothing happened, and may count several events.
        let _ = self.wake.read();
        std::mem::take(&mut self.shared().events)
    }

    /// The loop: how many messages the thread took and the stream has not stored.
    pub(super) fn in_flight(&self) -> u64 {
        self.shared().in_flight
    }

    /// The thread: so many of them are left.
    pub(super) fn set_in_flight(&self, messages: usize) {
        self.shared().in_flight = messages as u64;
    }

    /// The loop: whether the thread has ended, so that nothing happens any more.
    pub(super) fn has_thread_ended(&self) -> bool {
        self.shared().has_thread_ended
    }

    /// The loop: the thread ends as soon as it notices.
    pub(super) fn close(&self) {
        self.shared().is_closed = true;
        self.closed.notify_one();
    }

    fn wake(&self) {
        // It fails only when the counter is full, and then the loop has not read it yet.
        let _ = self.wake.write(1);
    }

    /// The thread: tells the loop what happened.
    pub(super) fn report(&self, event: Event) {
        self.shared().events.push(event);
        self.wake();
    }

    /// The thread: waits for the start.
    pub(super) async fn begun(&self) -> Start {
        loop {
            if let Some(start) = self.shared().start.clone() {
                return start;
            }
            self.work.notified().await;
        }
    }

    /// The thread: waits for records.
    pub(super) async fn batch(&self) -> Batch {
        loop {
            if let Some(batch) = self.taken() {
                return batch;
            }
            self.work.notified().await;
        }
    }

    fn taken(&self) -> Option<Batch> {
        let mut shared = self.shared();
        let batch = shared.waiting.take()?;
        shared.in_flight = batch.messages.len() as u64;
        let is_loop_waiting = std::mem::take(&mut shared.is_loop_waiting);
        drop(shared);
        if is_loop_waiting {
            self.wake();
        }
        Some(batch)
    }

    /// The thread: waits for the end.
    pub(super) async fn closed(&self) {
        loop {
            if self.is_closed() {
                return;
            }
            self.closed.notified().await;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared().is_closed
    }

    /// The thread: it ends.
    pub(super) fn thread_ended(&self) {
        self.shared().has_thread_ended = true;
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::nats::protocol::MESSAGES_MAX;
    use crate::sink::{Of, Origin, Origins};

    fn offer(link: &Link, count: usize) -> usize {
        let mut origins = Origins::default();
        origins.begin(&Origin { file: b"1-2-0", path: b"a", destination: b"jobs", key: b"" });
        let of: Vec<Of> = (0..count).map(|at| origins.of(2, at as u64, false)).collect();
        link.accept(&Records::with_origins(&b"x\n".repeat(count), &of, &origins))
    }

    fn is_awake(link: &Link) -> bool {
        link.wake.read().is_ok()
    }

    #[test]
    fn a_loop_that_was_refused_room_is_woken_when_there_is_some() {
        let link = Link::new().expect("an eventfd");
        assert_eq!(offer(&link, 3), 6);
        assert!(link.taken().is_some() && !is_awake(&link), "it had room");
        assert_eq!(offer(&link, MESSAGES_MAX + 1), 2 * MESSAGES_MAX);
        assert!(!is_awake(&link));
        assert_eq!(link.taken().expect("a batch").messages.len(), MESSAGES_MAX);
        assert!(is_awake(&link) && link.taken().is_none());
    }

    #[test]
    fn the_loop_is_woken_for_events_and_told_when_the_thread_ends() {
        let link = Link::new().expect("an eventfd");
        assert!(link.events().is_empty());
        link.report(Event::Up);
        link.report(Event::Well);
        assert!(is_awake(&link));
        assert!(matches!(link.events()[..], [Event::Up, Event::Well]));
        assert!(!link.has_thread_ended());
        link.thread_ended();
        assert!(is_awake(&link) && link.has_thread_ended());
    }
}
