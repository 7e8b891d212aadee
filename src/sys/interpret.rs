//! The meaning of a raw inotify event (pure).
//!
//! In: one [`RawEvent`]. Out: one [`Change`], or `None` for events that say nothing about the tree.
//! Always holds: a change is a hint about a name; only a look at the file decides.

use crate::sys::WatchId;
use crate::sys::inotify::{RawEvent, mask};

/// A change in the tree, as far as one event reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// The kernel's queue was full: events are missing.
    Overflow,
    /// The kernel dropped the watch: the directory is gone, or the watch was removed.
    WatchGone(WatchId),
    /// The watched directory itself was deleted, moved or unmounted.
    DirectoryMoved(WatchId),
    /// The watched directory's own permissions changed.
    DirectoryAttributes(WatchId),
    /// Somebody who could write to a file closed it.
    Closed {
        /// The directory.
        watch: WatchId,
        /// The name by which the file was opened.
        name: &'a [u8],
    },
    /// A change of a name in a watched directory.
    Name {
        /// The directory.
        watch: WatchId,
        /// The name in it.
        name: &'a [u8],
        /// Whether the name stands, or stood, for a directory.
        is_directory: bool,
        /// What happened.
        what: NameChange,
    },
}

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameChange {
    /// The file grew, shrank or was written over.
    Modified,
    /// The name is new (create, mkdir, link, symlink).
    Created,
    /// The name was removed.
    Deleted,
    /// The file left this name; the cookie pairs with `MovedTo`.
    MovedFrom(u32),
    /// The file took this name.
    MovedTo(u32),
    /// Permissions, owner or link count changed.
    Attributes,
}

/// Interprets one event.
pub(crate) fn interpret<'a>(event: &RawEvent<'a>) -> Option<Change<'a>> {
    let has = |bits: u32| event.mask & bits != 0;
    if has(mask::Q_OVERFLOW) {
        return Some(Change::Overflow);
    }
    if has(mask::IGNORED) {
        return Some(Change::WatchGone(event.watch));
    }
    if has(mask::DELETE_SELF | mask::MOVE_SELF | mask::UNMOUNT) {
        return Some(Change::DirectoryMoved(event.watch));
    }
    if event.name.is_empty() {
        return has(mask::ATTRIB).then_some(Change::DirectoryAttributes(event.watch));
    }
    let what = if has(mask::MODIFY) {
        NameChange::Modified
    } else if has(mask::CREATE) {
        NameChange::Created
    } else if has(mask::DELETE) {
        NameChange::Deleted
    } else if has(mask::MOVED_FROM) {
        NameChange::MovedFrom(event.cookie)
    } else if has(mask::MOVED_TO) {
        NameChange::MovedTo(event.cookie)
    } else if has(mask::ATTRIB) {
        NameChange::Attributes
    } else if has(mask::CLOSE_WRITE) {
        return Some(Change::Closed { watch: event.watch, name: event.name });
    } else {
        return None;
    };
    Some(Change::Name {
        watch: event.watch,
        name: event.name,
        is_directory: has(mask::ISDIR),
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::inotify::{Events, encode};

    #[test]
    fn any_bytes_are_decoded_and_interpreted_without_panic() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = [0_u8; 64];
        for _ in 0..200_000 {
            for chunk in bytes.chunks_exact_mut(8) {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                chunk.copy_from_slice(&seed.to_ne_bytes());
            }
            // Small name lengths, so that more than the first event is reached.
            bytes[12..16].copy_from_slice(&((seed as u32) % 40).to_ne_bytes());
            for event in Events::new(&bytes) {
                let _ = interpret(&event);
            }
        }
    }

    #[test]
    fn encoded_events_come_back_whole_and_in_order() {
        let events = [
            RawEvent { watch: WatchId(1), mask: mask::MODIFY, cookie: 0, name: b"job7.log" },
            RawEvent {
                watch: WatchId(2),
                mask: mask::MOVED_FROM | mask::ISDIR,
                cookie: 9,
                name: b"a",
            },
            RawEvent { watch: WatchId(-1), mask: mask::Q_OVERFLOW, cookie: 0, name: b"" },
        ];
        let mut bytes = Vec::new();
        events.iter().for_each(|event| encode(event, &mut bytes));
        assert!(Events::new(&bytes).eq(events));
        assert!(
            Events::new(&bytes[..bytes.len() - 1]).eq(events[..2].iter().copied()),
            "a torn event is left out"
        );
    }

    #[test]
    fn a_renamed_directory_keeps_its_cookie() {
        let event = RawEvent {
            watch: WatchId(2),
            mask: mask::MOVED_TO | mask::ISDIR,
            cookie: 9,
            name: b"a",
        };
        let change = Change::Name {
            watch: WatchId(2),
            name: b"a",
            is_directory: true,
            what: NameChange::MovedTo(9),
        };
        assert_eq!(interpret(&event), Some(change));
    }
}
