//! The floor: a program with the least possible cost of following a tree, as a reference for
//! `manytail`.
//!
//! In: `floor DIR [--from beginning]`, a tree of existing files. Out: text records (path, TAB,
//! line) on standard output, `READY` on standard error once all directories are watched. It only
//! reads inotify, opens, preads, closes, splits, and makes one write(2) for each round. It starts
//! at the current end of the files, ignores new files, renames and truncations, stores nothing, and
//! is correct only where none of these happen. One thing beyond the least keeps it alive when the
//! writer is faster: it reads the kernel's queue, which is small, again after every
//! `FILES_PER_ROUND` files. It never pauses, does not check whether an open file is the right one,
//! and leaves none open. Call: `cargo run --release --example floor -- DIR | joblogs receive ...`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a yardstick reaches the world without the seams"
)]

use anyhow::{Context, Result, bail};
use hashbrown::{DefaultHashBuilder, HashTable};
use inotify::{Inotify, WatchMask};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::stat::Mode;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of one read of inotify: 2048 events with names of 14 bytes.
const EVENTS_BYTES: usize = 64 * 1024;
/// Bytes of one pread.
const READ_BYTES: usize = 64 * 1024;
/// The most files of one round: the kernel queues 16,384 events, and a round takes some 10 ms.
const FILES_PER_ROUND: usize = 1024;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let call = "call: floor DIR [--from beginning]";
    let root = args.next().context(call)?;
    let mut from_beginning = false;
    while let Some(option) = args.next() {
        match option.to_str() {
            Some("--from") if args.next().is_some_and(|from| from == "beginning") => {
                from_beginning = true
            }
            _ => bail!(call),
        }
    }
    let inotify = Inotify::init()?;
    let mut floor = Floor {
        files: Vec::new(),
        paths: Vec::new(),
        by_name: HashTable::new(),
        hasher: DefaultHashBuilder::default(),
        dirty: VecDeque::new(),
        read_buffer: vec![0; READ_BYTES],
        records: Vec::new(),
    };
    floor.watch(&inotify, Path::new(&root), from_beginning)?;
    let events = inotify.as_fd().try_clone_to_owned()?;
    fcntl(&events, FcntlArg::F_SETFL(OFlag::empty()))?; // read(2) waits
    eprintln!("READY");
    floor.run(&events)
}

struct FileSlot {
    watch: i32,
    /// Where its path starts in `Floor::paths`; the path ends with a NUL, and the name is the last
    /// `name_len` bytes before it.
    path: usize,
    path_len: u16,
    name_len: u8,
    is_dirty: bool,
    offset: u64,
}

struct Floor {
    files: Vec<FileSlot>,
    paths: Vec<u8>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
    dirty: VecDeque<u32>,
    read_buffer: Vec<u8>,
    records: Vec<u8>,
}

impl Floor {
    fn watch(&mut self, inotify: &Inotify, directory: &Path, from_beginning: bool) -> Result<()> {
        let watch = inotify.watches().add(directory, WatchMask::MODIFY)?.get_watch_descriptor_id();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let (path, name, kind) = (entry.path(), entry.file_name(), entry.file_type()?);
            if kind.is_dir() {
                self.watch(inotify, &path, from_beginning)?;
            } else if kind.is_file() {
                let index = u32::try_from(self.files.len())?;
                let offset = if from_beginning { 0 } else { entry.metadata()?.len() };
                let (path_len, name_len) = (path.as_os_str().len(), name.len());
                self.files.push(FileSlot {
                    watch,
                    path: self.paths.len(),
                    path_len: u16::try_from(path_len)?,
                    name_len: u8::try_from(name_len)?,
                    is_dirty: from_beginning,
                    offset,
                });
                self.paths.extend_from_slice(path.as_os_str().as_bytes());
                self.paths.push(0);
                let Floor { files, paths, by_name, hasher, .. } = self;
                let rehash = |index: &u32| hasher.hash_one(key(files, paths, *index));
                by_name.insert_unique(hasher.hash_one((watch, name.as_bytes())), index, rehash);
                self.dirty.extend(from_beginning.then_some(index));
            }
        }
        Ok(())
    }

    fn run(&mut self, events: &OwnedFd) -> Result<()> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(events, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let mut buffer = vec![0; EVENTS_BYTES];
        let mut output = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        let mut events = File::from(events.try_clone()?);
        loop {
            // If there is nothing to do, one read(2) waits; otherwise it must not wait, and takes
            // everything.
            let waits = self.dirty.is_empty();
            while waits && self.dirty.is_empty()
                || !waits && epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO)? > 0
            {
                let count = events.read(&mut buffer)?;
                self.take_events(&buffer[..count])?;
            }
            for _ in 0..FILES_PER_ROUND.min(self.dirty.len()) {
                let Some(index) = self.dirty.pop_front() else { break };
                self.read(index)?;
            }
            output.write_all(&self.records)?;
            self.records.clear();
        }
    }

    fn take_events(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some((head, rest)) = bytes.split_first_chunk::<16>() {
            let word = |at: usize| {
                u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
            };
            let (padded, rest) = rest.split_at(word(12) as usize);
            bytes = rest;
            let watch = word(0) as i32;
            if watch < 0 {
                bail!("the kernel's queue overflowed");
            }
            let name = &padded[..memchr::memchr(0, padded).unwrap_or(padded.len())];
            let hash = self.hasher.hash_one((watch, name));
            let Some(index) = self
                .by_name
                .find(hash, |index| key(&self.files, &self.paths, *index) == (watch, name))
            else {
                continue;
            };
            let file = &mut self.files[*index as usize];
            if !file.is_dirty {
                file.is_dirty = true;
                self.dirty.push_back(*index);
            }
        }
        Ok(())
    }

    /// Reads the new bytes up to the last newline.
    fn read(&mut self, index: u32) -> Result<()> {
        let slot = &mut self.files[index as usize];
        slot.is_dirty = false;
        let path = &self.paths[slot.path..=slot.path + slot.path_len as usize];
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC
            | OFlag::O_NOATIME;
        let file = match open(CStr::from_bytes_with_nul(path)?, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(()),
            file => file?,
        };
        loop {
            let count = nix::sys::uio::pread(&file, &mut self.read_buffer, slot.offset as i64)?;
            let mut from = 0;
            for newline in memchr::memchr_iter(b'\n', &self.read_buffer[..count]) {
                self.records.extend_from_slice(&path[..path.len() - 1]);
                self.records.push(b'\t');
                self.records.extend_from_slice(&self.read_buffer[from..=newline]);
                from = newline + 1;
            }
            slot.offset += from as u64;
            if count < READ_BYTES || from == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// The file in an event: the watch of its directory, and its name.
fn key<'a>(files: &[FileSlot], paths: &'a [u8], index: u32) -> (i32, &'a [u8]) {
    let file = &files[index as usize];
    let end = file.path + file.path_len as usize;
    (file.watch, &paths[end - file.name_len as usize..end])
}
