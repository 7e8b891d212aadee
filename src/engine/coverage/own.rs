//! Files that we write or wrote ourselves: they are never followed.
//!
//! In: the current files of the output, diagnostics and metrics; those of earlier runs in the
//! journal; names that a rotation gives. Out: whether a file is one of ours.
//! Always holds: a file is ours by its identity, under any name: a slot whose offset is
//! [`OWN_OUTPUT`] is never read, and the journal keeps that offset. Where the identity is not known
//! (copies, runs without a state directory), the name decides, in the output's directory only.

use std::collections::VecDeque;

use crate::checkpoint::OWN_OUTPUT;
use crate::diagnostics::notices::Cause;
use crate::engine::Engine;
use crate::engine::namespace::registry::{Life, Registry, SlotId, State};
use crate::engine::namespace::tree::Tree;
use crate::engine::schedule::{HeldBack, Schedule};
use crate::sink::Sink;
use crate::status::file::{FileState, shown};
use crate::sys::clock::Now;
use crate::sys::{FileId, FileSystem, Stat};

/// At most this many former outputs outside of the tree are remembered.
const FORMER_MAX: usize = 64;

/// Device and inode of a directory, and a name in it.
type Place = ((u64, u64), Box<[u8]>);

/// Our own files.
#[derive(Debug, Default)]
pub(in crate::engine) struct OwnFiles {
    /// Device and inode of files that we write now.
    live: Vec<(u64, u64)>,
    /// Files that we wrote before, oldest first.
    former: VecDeque<FileId>,
    /// Device and inode of the state directory, and of the last ones that were moved away.
    pub(in crate::engine) directories: VecDeque<(u64, u64)>,
    /// The places of our files.
    places: Vec<Place>,
}

/// Why a file is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Own {
    /// We write it.
    Live,
    /// We wrote it.
    Former,
    /// Its name is one that a rotation gives to our files.
    Rotated,
}

impl OwnFiles {
    pub(in crate::engine) fn new(output: Option<(u64, u64)>) -> Self {
        OwnFiles { live: output.into_iter().collect(), ..OwnFiles::default() }
    }

    pub(in crate::engine) fn add(&mut self, file: (u64, u64)) {
        if !self.live.contains(&file) {
            self.live.push(file);
        }
    }

    pub(in crate::engine) fn remove(&mut self, file: (u64, u64)) {
        self.live.retain(|&own| own != file);
    }

    /// It is not written any more.
    pub(in crate::engine) fn remember(&mut self, file: FileId) {
        if !self.former.contains(&file) {
            if self.former.len() == FORMER_MAX {
                self.former.pop_front();
            }
            self.former.push_back(file);
        }
    }

    fn add_place(&mut self, directory: (u64, u64), name: &[u8]) {
        if !name.is_empty()
            && !self.places.iter().any(|(at, known)| *at == directory && **known == *name)
        {
            self.places.push((directory, name.into()));
        }
    }

    pub(in crate::engine) fn is_live(&self, device: u64, inode: u64) -> bool {
        self.live.contains(&(device, inode))
    }

    /// The name of our file that a rotation would turn into this name.
    fn rotated_from(&self, directory: (u64, u64), name: &[u8]) -> Option<&[u8]> {
        let mut here = self.places.iter().filter(|(at, _)| *at == directory).map(|(_, own)| &**own);
        here.find(|own| is_rotation(own, name))
    }

    /// The name of our file that a rotation would turn into the file's name.
    fn rotation(&self, files: &Registry, tree: &Tree, id: SlotId) -> Option<&[u8]> {
        let dir = tree.at_place(files.get(id).dir().0)?;
        self.rotated_from(tree.get(dir).inode, files.name(id))
    }

    /// What `status FILE` reports for a file that is left out because it is ours.
    pub(in crate::engine) fn explain(
        &self,
        files: &Registry,
        tree: &Tree,
        id: SlotId,
    ) -> (FileState, String) {
        let file = files.file_id(id);
        let why = match self.rotation(files, tree, id) {
            _ if file.is_some_and(|file| self.is_live(file.device, file.inode)) => {
                "it receives our own output or diagnostics".to_owned()
            }
            Some(own) => format!(
                "by its name it is what a rotation made of our own {}: never read",
                shown(own)
            ),
            None => "it received our own output before: never read".to_owned(),
        };
        (FileState::OwnOutput, why)
    }
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// Notes a file that we write, so that it is never followed.
    pub fn add_own_file(&mut self, file: (u64, u64)) {
        self.own.add(file);
    }

    /// Notes that we no longer write a file: a log may get its inode.
    pub fn remove_own_file(&mut self, file: (u64, u64)) {
        self.own.remove(file);
    }

    /// Notes the directory (by device and inode) and the name of a file that we write: what a
    /// rotation makes of it is left out.
    pub fn leave_out_rotations(&mut self, directory: (u64, u64), name: &[u8]) {
        self.own.add_place(directory, name);
    }

    /// Whether a file that is seen for the first time is ours. [`Engine::resume`] finds those that
    /// the journal knows by identity.
    pub(in crate::engine) fn own_of(&mut self, id: SlotId, found: &Stat) -> Option<Own> {
        if self.own.is_live(found.id.device, found.id.inode) {
            return Some(Own::Live);
        }
        if self.own.former.contains(&found.id) {
            return Some(Own::Former);
        }
        // A log of an earlier run stays a log.
        self.own.rotation(&self.files, &self.tree, id)?;
        self.write_path(id);
        (!self.offsets.is_stored(found.id, &self.path)).then_some(Own::Rotated)
    }

    /// The file is ours: it is not read, under this or any other name.
    pub(in crate::engine) fn leave_out_file(
        &mut self,
        id: SlotId,
        found: &Stat,
        own: Own,
        now: Now,
    ) {
        if !self.files.get(id).is_identified() {
            self.resume(id, found);
        }
        let slot = self.files.get_mut(id);
        let was_known = slot.offset == OWN_OUTPUT;
        slot.offset = OWN_OUTPUT;
        slot.mark_len = 0;
        slot.scanned = 0;
        slot.clear(State::FIRST_SCAN | State::SEEK_LINE | State::SKIP_NULS);
        self.files.set_life(id, Life::Ignored);
        self.schedule.drop_unread(&mut self.files, id);
        Schedule::stop_holding_back(&mut self.files, id, HeldBack::ByAge);
        if own != Own::Rotated && !was_known {
            let inputs = &self.coverage.inputs;
            self.offsets.begin_generation(&mut self.files, inputs, id, 0);
        }
        self.release_successor(id);
        self.write_path(id);
        let Some(suppressed) =
            self.observer.notices.admit_about(Cause::OwnOutput, &self.path, now.instant)
        else {
            return;
        };
        let path = String::from_utf8_lossy(&self.path);
        match own {
            Own::Live => tracing::warn!(
                ?path,
                suppressed,
                "this file receives our own output or diagnostics: left out"
            ),
            Own::Former => {
                tracing::info!(?path, suppressed, "this file received our own output: left out")
            }
            Own::Rotated => tracing::warn!(
                ?path,
                suppressed,
                "this name looks like a rotated copy of our own output: left out; if it is a \
                log, give the output another name or place"
            ),
        }
    }
}

/// Words with which people and programs name files that they put aside.
const ASIDE: [&[u8]; 12] = [
    b"old",
    b"bak",
    b"back",
    b"backup",
    b"orig",
    b"prev",
    b"previous",
    b"save",
    b"saved",
    b"rotated",
    b"archive",
    b"tmp",
];

/// Suffixes of compressed files.
const COMPRESSED: [&[u8]; 7] = [b".gz", b".bz2", b".xz", b".zst", b".lz4", b".zip", b".Z"];

/// Whether `name` is what a rotation makes of `own`: `own.1`, `own-20261128`, `own.old`, each
/// perhaps compressed; or, as logrotate's `extension` does it, `stem.1.ext` and
/// `stem-20261128.ext`. Job numbers of five to seven digits and other words do not count.
fn is_rotation(own: &[u8], name: &[u8]) -> bool {
    let plain = COMPRESSED.iter().find_map(|suffix| name.strip_suffix(*suffix));
    let (name, is_compressed) = (plain.unwrap_or(name), plain.is_some());
    if let Some(rest) = name.strip_prefix(own) {
        return match rest {
            b"~" => true,
            b"" => is_compressed,
            [b'.' | b'-', suffix @ ..] => {
                is_aside(suffix) || is_number(suffix, 4) || is_date(suffix)
            }
            _ => false,
        };
    }
    let Some(dot) = memchr::memrchr(b'.', own).filter(|&dot| dot > 0) else { return false };
    let (stem, extension) = own.split_at(dot);
    let middle = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    match middle {
        Some([b'.', number @ ..]) if is_number(number, 3) => true,
        Some([b'.' | b'-', date @ ..]) => is_date(date),
        _ => false,
    }
}

fn is_number(text: &[u8], digits_max: usize) -> bool {
    (1..=digits_max).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

/// Whether a text consists of numbers and such words, with at least one word.
fn is_aside(text: &[u8]) -> bool {
    let mut has_word = false;
    for part in text.split(|byte| b".-_".contains(byte)) {
        let letters =
            part.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |last| last + 1);
        let is_word = ASIDE.contains(&&part[..letters]);
        if part.is_empty() || !(is_word || letters == 0) {
            return false;
        }
        has_word |= is_word;
    }
    has_word
}

/// Whether a text is a day, with or without separators and perhaps followed by a time or a number;
/// or seconds since 1970.
fn is_date(text: &[u8]) -> bool {
    if text.len() == 10 && text.iter().all(u8::is_ascii_digit) && text[0] == b'1' {
        return true;
    }
    if !text.iter().all(|byte| byte.is_ascii_digit() || b".-_:TZ".contains(byte)) {
        return false;
    }
    let digits: Vec<u8> = text.iter().copied().filter(u8::is_ascii_digit).collect();
    let number = |range: std::ops::Range<usize>| {
        digits.get(range).map_or(0, |digits| {
            digits.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'))
        })
    };
    let is_long_enough = (8..=24).contains(&digits.len());
    is_long_enough
        && (1990..2100).contains(&number(0..4))
        && (1..=12).contains(&number(4..6))
        && (1..=31).contains(&number(6..8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotation_gives_are_told_from_those_of_logs() {
        for (own, rotated) in [
            (
                "out.log",
                "out.log.1 out.log.10 out.log.1.gz out.log-20261128 out.log-20261128.gz \
                out.log-2026112810 out.log.gz",
            ),
            (
                "out.log",
                "out.log-20261128-1795860000 out.log.2026-11-28 out.log.2026-11-28T10:00:00Z \
                out.log-1795860000 out.log~",
            ),
            (
                "out.log",
                "out.log.old out.log.old2 out.log.bak.1 out.log-backup out.log.12345.tmp out.log.0",
            ),
            ("out.log", "out.log.saved-1795860000-18446744073709551615"),
            (
                "out.log",
                "out.1.log out.1.log.gz out-20261128.log out-20261128.log.xz out.20261128.log \
                out-20261128-1795860000.log",
            ),
            ("jobs", "jobs.7 jobs-7 jobs.old"),
            (".out", ".out.1"),
        ] {
            for name in rotated.split(' ') {
                assert!(
                    is_rotation(own.as_bytes(), name.as_bytes()),
                    "{name} is a rotation of {own}"
                );
            }
        }
        for (own, others) in [
            (
                "out.log",
                "out.log out.logs out.log2 out.log.alice out.log-summary out.log. out.log- \
                out.log.1.alice out2.log out.txt",
            ),
            (
                "slurm.out",
                "slurm-1234567.out slurm-12.out slurm-12345678.out slurm.1234567.out slurm_7.out \
                slurm.out.1234567",
            ),
            ("jobs", "jobs.log jobs-7.out jobs.o7 jobs.e1234 jobs.1234567 jobs7 job.1"),
            (".out", ".1.out -20261128.out"),
        ] {
            for name in others.split(' ') {
                assert!(
                    !is_rotation(own.as_bytes(), name.as_bytes()),
                    "{name} is a log beside {own}"
                );
            }
        }
    }

    #[test]
    fn former_outputs_are_remembered_up_to_a_number() {
        let file = |inode| FileId { device: 1, inode, inode_generation: 7 };
        let mut own = OwnFiles::new(Some((1, 1)));
        (0..200).for_each(|inode| own.remember(file(inode)));
        (190..200).for_each(|inode| own.remember(file(inode)));
        assert_eq!(
            (own.former.len(), own.former.contains(&file(199)), own.former.contains(&file(0))),
            (FORMER_MAX, true, false)
        );
        own.add((1, 1));
        own.remove((1, 1));
        assert!(!own.is_live(1, 1));
    }
}
