//! The kernel's half of inotify: watches by inode, and one small queue of events.
//!
//! In: changes of a directory. Out: bytes in the kernel's layout, and edges for an edge-triggered
//! poll. Always holds, as in fs/notify: an event that is equal to the queue's last one merges into
//! it (cookies are not compared); at the limit one overflow event is queued and everything else is
//! dropped until something is read; numbers of watches only grow.

use std::collections::{BTreeMap, VecDeque};

use manytail::testing::sys::WatchId;
use manytail::testing::sys::inotify::{RawEvent, encode, mask};
use nix::errno::Errno;

use crate::world::Key;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) watch: i32,
    pub(crate) mask: u32,
    pub(crate) cookie: u32,
    pub(crate) name: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    events: VecDeque<Event>,
    /// How many events fit, besides the overflow event.
    limit: usize,
    overflow_queued: bool,
    /// Something was queued since the loop last polled, as `EPOLLET` reports it.
    edge: bool,
    watches: BTreeMap<i32, Key>,
    watch_last: i32,
    watches_max: usize,
    /// How often the queue overflowed.
    pub(crate) overflows: u64,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Queue {
            events: VecDeque::new(),
            limit,
            overflow_queued: false,
            edge: false,
            watches: BTreeMap::new(),
            watch_last: 0,
            watches_max: usize::MAX,
            overflows: 0,
        }
    }

    /// `fs.inotify.max_user_watches`.
    pub(crate) fn limit_watches(&mut self, watches_max: usize) {
        self.watches_max = watches_max;
    }

    pub(crate) fn push(&mut self, event: Event) {
        if self.events.len() >= self.limit {
            if !self.overflow_queued {
                self.overflow_queued = true;
                self.overflows += 1;
                self.edge = true;
                self.events.push_back(Event {
                    watch: -1,
                    mask: mask::Q_OVERFLOW,
                    cookie: 0,
                    name: Vec::new(),
                });
            }
            return;
        }
        if let Some(last) = self.events.back()
            && last.mask & mask::IGNORED == 0
            && (last.watch, last.mask, &last.name) == (event.watch, event.mask, &event.name)
        {
            return;
        }
        self.edge = true;
        self.events.push_back(event);
    }

    /// `read(2)`: as many whole events as fit; 0 where the kernel would say EAGAIN.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut bytes = Vec::new();
        while let Some(event) = self.events.front() {
            let before = bytes.len();
            let raw = RawEvent {
                watch: WatchId(event.watch),
                mask: event.mask,
                cookie: event.cookie,
                name: &event.name,
            };
            encode(&raw, &mut bytes);
            if bytes.len() > buffer.len() {
                if before == 0 {
                    return Err(Errno::EINVAL);
                }
                bytes.truncate(before);
                break;
            }
            if event.watch == -1 {
                self.overflow_queued = false;
            }
            self.events.pop_front();
        }
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// The result of an edge-triggered poll: true once if something was queued since the last call
    /// and has not been read.
    pub(crate) fn take_edge(&mut self) -> bool {
        std::mem::take(&mut self.edge) && !self.events.is_empty()
    }

    pub(crate) fn has_edge(&self) -> bool {
        self.edge && !self.events.is_empty()
    }

    /// Whether the overflow event waits to be read.
    pub(crate) fn is_overflowed(&self) -> bool {
        self.overflow_queued
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn add_watch(&mut self, key: Key) -> Result<i32, Errno> {
        if self.watches.len() >= self.watches_max {
            return Err(Errno::ENOSPC);
        }
        self.watch_last += 1;
        self.watches.insert(self.watch_last, key);
        Ok(self.watch_last)
    }

    /// Ends a watch, by request or because its directory was deleted; earlier events stay queued.
    pub(crate) fn end_watch(&mut self, watch: i32) -> Option<Key> {
        let key = self.watches.remove(&watch)?;
        self.push(Event { watch, mask: mask::IGNORED, cookie: 0, name: Vec::new() });
        Some(key)
    }

    /// Everything is lost with the instance; a new one numbers its watches from 1 on.
    pub(crate) fn close(&mut self) {
        self.events.clear();
        self.watches.clear();
        self.overflow_queued = false;
        self.edge = false;
        self.watch_last = 0;
    }

    pub(crate) fn watched(&self) -> impl Iterator<Item = Key> {
        self.watches.values().copied()
    }

    /// Takes all events, as a large enough read does.
    #[cfg(test)]
    pub(crate) fn drain(&mut self) -> Vec<Event> {
        self.overflow_queued = false;
        self.events.drain(..).collect()
    }
}
