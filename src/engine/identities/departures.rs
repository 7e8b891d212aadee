//! Files that lost their name a moment ago: the last path of each, for diagnostics and for `status
//! FILE`.
//!
//! In: a path when a name goes away, while the directory above it is still known. Out: the path by
//! slot, the slot by path.
//! Always holds: the number of paths and of their bytes is bounded; the oldest make room. If a slot
//! is in use again, `status FILE` shows what was known when the file lost its name.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::time::Instant;

use hashbrown::HashMap;

use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, Registry, SlotId, SlotKey, State};
use crate::engine::namespace::tree::Tree;
use crate::engine::observer::reasons::nothing_known;
use crate::engine::schedule::timers;
use crate::record::push_file;
use crate::sink::Sink;
use crate::status::file::{FileState, FileStatus};
use crate::sys::clock::Now;
use crate::sys::{FileId, FileSystem};

/// How many paths are stored at most: as many as deleted files are remembered.
const DEPARTURES_MAX: usize = 8_192;

/// Bytes of all paths at most.
const PATH_BYTES_MAX: usize = 1024 * 1024;

/// So many times more if records tell that files went away: of most of them the name is gone before
/// they are judged.
const FOR_RECORDS: usize = 8;

/// A file that lost its name.
#[derive(Debug, Clone, Copy)]
struct Departure {
    key: SlotKey,
    path_hash: u32,
    path_len: u16,
    /// Where its path begins, counted from the first byte that was ever stored.
    path_at: u64,
    /// What was known of the file when it was parked; `None`: it was not parked, or it is back.
    last: Option<Last>,
}

/// What was known of a file when nothing more could be read of it.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Instant,
    file: FileId,
    generation: u32,
    offset: u64,
    /// Bytes of an unfinished line.
    unfinished: u32,
    /// There may have been more bytes behind it.
    was_dirty: bool,
}

/// The last departures, oldest first.
#[derive(Debug, Default)]
pub(in crate::engine) struct Departures {
    all: VecDeque<Departure>,
    /// Their paths, one behind the other.
    paths: VecDeque<u8>,
    /// How many departures were dropped from the front of `all`, and how many bytes from the front
    /// of `paths`. `latest` counts from the first departure that there ever was.
    dropped: u64,
    dropped_bytes: u64,
    /// The latest departure of each slot.
    latest: HashMap<SlotId, u64>,
    /// Records tell that files went away.
    are_for_records: bool,
}

impl Departures {
    pub(in crate::engine) fn set_for_records(&mut self, are_for_records: bool) {
        self.are_for_records = are_for_records;
    }

    /// A file is about to lose its name. `path` is the buffer for its path.
    pub(in crate::engine) fn note_name(
        &mut self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
        path: &mut Vec<u8>,
    ) {
        let slot = files.get(id);
        if !slot.is_identified() || tree.at_place(slot.dir().0).is_none() {
            return;
        }
        write_path_in_tree(files, tree, id, path);
        self.note(files.key(id), path);
    }

    /// Nothing more is read of a file without a name: stores what is known of it now.
    pub(in crate::engine) fn conclude(&mut self, files: &Registry, id: SlotId, now: Instant) {
        let (Some(file), Some(place)) = (files.file_id(id), self.place(files.key(id))) else {
            return;
        };
        let slot = files.get(id);
        self.all[place].last = Some(Last {
            at: now,
            file,
            generation: slot.generation,
            offset: slot.offset,
            unfinished: slot.scanned,
            was_dirty: slot.may_have_unread(),
        });
    }

    /// Writes the path that a file without a name had last.
    pub(in crate::engine) fn write_last_path(
        &self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
        path: &mut Vec<u8>,
    ) {
        path.clear();
        if self.write_path(files.key(id), path) {
            return;
        }
        if tree.at_place(files.get(id).dir().0).is_some() {
            write_path_in_tree(files, tree, id, path);
        } else {
            path.extend_from_slice(files.name(id));
        }
    }

    fn note(&mut self, key: SlotKey, path: &[u8]) {
        let Ok(path_len) = u16::try_from(path.len()) else { return };
        let times = if self.are_for_records { FOR_RECORDS } else { 1 };
        let (max, bytes_max) = (times * DEPARTURES_MAX, times * PATH_BYTES_MAX);
        while self.all.len() >= max || self.paths.len() + path.len() > bytes_max {
            if !self.drop_oldest() {
                return;
            }
        }
        self.latest.insert(key.id, self.dropped + self.all.len() as u64);
        let path_at = self.dropped_bytes + self.paths.len() as u64;
        self.all.push_back(Departure { key, path_hash: hash(path), path_len, path_at, last: None });
        self.paths.extend(path);
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.all.pop_front() else { return false };
        self.paths.drain(..usize::from(oldest.path_len));
        if self.latest.get(&oldest.key.id) == Some(&self.dropped) {
            self.latest.remove(&oldest.key.id);
        }
        self.dropped += 1;
        self.dropped_bytes += u64::from(oldest.path_len);
        true
    }

    fn place(&self, key: SlotKey) -> Option<usize> {
        let place = usize::try_from(self.latest.get(&key.id)?.checked_sub(self.dropped)?).ok()?;
        (self.all.get(place)?.key == key).then_some(place)
    }

    /// Appends the last path of a file. Returns whether it is known.
    pub(in crate::engine) fn write_path(&self, key: SlotKey, out: &mut Vec<u8>) -> bool {
        let Some(place) = self.place(key) else { return false };
        out.extend(self.path(&self.all[place]));
        true
    }

    fn path(&self, departure: &Departure) -> impl Iterator<Item = u8> + '_ {
        let begin =
            usize::try_from(departure.path_at - self.dropped_bytes).expect("its path is here");
        self.paths.range(begin..begin + usize::from(departure.path_len)).copied()
    }

    /// The file that had this path last, the latest one first.
    fn find(&self, path: &[u8]) -> Option<Departure> {
        let wanted = hash(path);
        let is_it = |departure: &&Departure| {
            departure.path_hash == wanted && self.path(departure).eq(path.iter().copied())
        };
        self.all.iter().rev().find(is_it).copied()
    }
}

fn write_path_in_tree(files: &Registry, tree: &Tree, id: SlotId, path: &mut Vec<u8>) {
    path.clear();
    tree.write_path(files.get(id).dir(), path);
    path.extend_from_slice(files.name(id));
}

#[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
fn hash(path: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path);
    hasher.finish() as u32
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Explains the file that recently lost this path, as records show it, if the file is in no
    /// other place of the tree.
    pub(in crate::engine) fn explain_departed(
        &mut self,
        asked: &[u8],
        shown: &[u8],
        now: Now,
    ) -> Option<FileStatus> {
        let departure = self.identities.departures.find(shown)?;
        let slot = self.files.alive(departure.key).filter(|&id| !self.files.get(id).is_bound());
        match (slot, departure.last) {
            // It is judged in a moment, or held open until it is read to its end.
            (Some(id), None) => {
                let missing = Err(std::io::Error::from_raw_os_error(nix::libc::ENOENT));
                Some(self.explain_known(id, asked, missing, now))
            }
            (Some(id), Some(last)) if self.files.get(id).life() == Life::Parked => {
                let is_deleted = self.files.get(id).state().contains(State::DELETED)
                    || self.schedule.is_parked_deleted(id);
                Some(departed(asked, &last, is_deleted, self.reading.encoder.run(), now.instant))
            }
            // Its slot was freed.
            (None, Some(last)) if self.files.alive(departure.key).is_none() => {
                Some(departed(asked, &last, true, self.reading.encoder.run(), now.instant))
            }
            _ => None,
        }
    }
}

/// The status of a file that is not there any more.
fn departed(path: &[u8], last: &Last, is_deleted: bool, run: &[u8], now: Instant) -> FileStatus {
    let ago = now.saturating_duration_since(last.at);
    let left = timers::PARKED_FOR.saturating_sub(ago).as_secs();
    let is_lost = last.was_dirty || last.unfinished > 0;
    let read = match (last.was_dirty, last.unfinished) {
        (true, _) => format!(
            "{} bytes of it were read, and there may have been more: what followed is lost",
            last.offset
        ),
        (false, 0) => format!("it was read to its end, {} bytes", last.offset),
        (false, unfinished) => {
            format!(
                "{} bytes of it were read, and the {unfinished} bytes of a last line without a \
                newline are lost",
                last.offset
            )
        }
    };
    let what = if is_deleted { "it was deleted" } else { "it left the tree" };
    let mut why = format!("{what} {} s ago: {read}", ago.as_secs());
    if !is_deleted {
        why = why
            .replace(" are lost", " are not")
            .replace(": what followed is lost", ": what followed is not");
        why.push_str(&format!("; if it comes back within {left} s, it goes on at its offset"));
    }
    let mut file = Vec::new();
    push_file(last.file.device, last.file.inode, last.generation, &mut file);
    file.extend_from_slice(run);
    let state = match (is_deleted, is_lost) {
        (true, false) => FileState::Deleted,
        (true, true) => FileState::DeletedUnread,
        (false, _) => FileState::LeftTree,
    };
    FileStatus {
        file: Some(String::from_utf8(file).expect("hexadecimal")),
        offset: Some(last.offset),
        unfinished_bytes: (last.unfinished > 0).then_some(u64::from(last.unfinished)),
        ..nothing_known(path, (state, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::namespace::tree::DirId;

    fn keys(count: usize) -> Vec<SlotKey> {
        let mut files = Registry::new();
        let ids: Vec<SlotId> =
            (0..count).map(|n| files.insert(DirId(0), n.to_string().as_bytes())).collect();
        ids.into_iter().map(|id| files.key(id)).collect()
    }

    #[test]
    fn the_latest_paths_are_found_by_slot_and_by_path_in_a_bounded_number_of_bytes() {
        let mut departures = Departures::default();
        let keys = keys(20_000);
        for (number, &key) in keys.iter().enumerate() {
            departures.note(key, format!("/t/{number}.log").as_bytes());
        }
        assert_eq!(departures.all.len(), DEPARTURES_MAX);
        assert_eq!(departures.latest.len(), DEPARTURES_MAX);
        let mut path = Vec::new();
        assert!(departures.write_path(keys[19_998], &mut path) && path == b"/t/19998.log");
        assert!(!departures.write_path(keys[0], &mut path));
        assert_eq!(departures.find(b"/t/19999.log").map(|found| found.key), Some(keys[19_999]));
        assert!(departures.find(b"/t/0.log").is_none() && departures.find(b"").is_none());
        let long = vec![b'x'; 4_000];
        keys[..1_000].iter().for_each(|&key| departures.note(key, &long));
        assert!(departures.paths.len() <= PATH_BYTES_MAX && departures.all.len() < 1_000);
        assert_eq!(
            departures.paths.len(),
            departures.all.iter().map(|departure| usize::from(departure.path_len)).sum::<usize>()
        );
    }

    #[test]
    fn of_several_names_of_a_file_the_last_is_told() {
        let mut departures = Departures::default();
        let keys = keys(2);
        for path in [&b"/t/a"[..], b"/t/a.1", b"/t/a.2"] {
            departures.note(keys[0], path);
            departures.note(keys[1], b"/t/b");
        }
        let mut path = Vec::new();
        assert!(departures.write_path(keys[0], &mut path));
        assert_eq!(path, b"/t/a.2");
        assert_eq!(departures.find(b"/t/a").map(|found| found.key), Some(keys[0]));
    }
}
