//! A simple engine to stand in until the real one is there: after any event it looks through the whole tree and reads what is new.
//!
//! In: the same as the engine. Out: the same.
//! Always holds: slow, and good enough to prove that the simulated world lets a right engine pass.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use manytail::config::EngineConfig;
use manytail::lines::{Line, split_lines};
use manytail::record::{Encoder, Source};
use manytail::sink::{Sent, Sink, SinkError};
use manytail::sys::clock::Now;
use manytail::sys::{FileId, FileKind, FileSystem, Links, Stat, WatchId};
use nix::errno::Errno;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Again,
    WaitUntil(Instant),
    WaitForEvents,
    Finished,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("cannot read inotify events")]
    Events(#[source] io::Error),
}

#[derive(Default)]
struct Known {
    offset: u64,
    mark: Vec<u8>,
    incarnation: u32,
    tail: Option<(u64, Instant)>,
}

pub(crate) struct Engine<F: FileSystem, S: Sink> {
    config: EngineConfig,
    fs: F,
    sink: S,
    encoder: Encoder,
    files: HashMap<FileId, Known>,
    incarnations: HashMap<u64, u32>,
    watches: HashSet<WatchId>,
    out: Vec<u8>,
    sent: usize,
    events: bool,
    look: bool,
    again_at: Option<Instant>,
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    pub(crate) fn new(config: EngineConfig, fs: F, sink: S, _now: Now) -> Self {
        Engine {
            encoder: Encoder::new(config.format),
            config,
            fs,
            sink,
            files: HashMap::new(),
            incarnations: HashMap::new(),
            watches: HashSet::new(),
            out: Vec::new(),
            sent: 0,
            events: true,
            look: true,
            again_at: None,
        }
    }

    pub(crate) fn events_ready(&mut self) {
        self.events = true;
    }

    pub(crate) fn output_ready(&mut self, now: Now) {
        self.sink.ready(now.instant);
    }

    pub(crate) fn turn(&mut self, now: Now) -> Result<Turn, EngineError> {
        if std::mem::take(&mut self.events) {
            let mut buffer = vec![0; 65536];
            loop {
                match self.fs.read_events(&mut buffer) {
                    Ok(0) => break,
                    Ok(_) => self.look = true,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(EngineError::Events(error)),
                }
            }
        }
        if self.again_at.is_some_and(|at| at <= now.instant) {
            self.look = true;
        }
        if std::mem::take(&mut self.look) {
            self.again_at = None;
            self.look_through(now);
        }
        let blocked = !self.send(now)?;
        let sink = if blocked || self.sink.unacknowledged() > 0 { self.sink.deadline() } else { None };
        Ok([self.again_at, sink].into_iter().flatten().min().map_or(Turn::WaitForEvents, Turn::WaitUntil))
    }

    fn send(&mut self, now: Now) -> Result<bool, EngineError> {
        loop {
            match self.sink.send(&self.out[self.sent..], now.instant)? {
                Sent::Accepted(0) => return Ok(true),
                Sent::Accepted(some) => self.sent += some,
                Sent::Blocked => return Ok(false),
                Sent::Restarted { unacknowledged } => {
                    let certain = self.sent - unacknowledged as usize;
                    self.sent = memchr::memrchr(b'\n', &self.out[..certain]).map_or(0, |newline| newline + 1);
                }
                Sent::Closed => return Ok(true),
            }
        }
    }

    fn again(&mut self, at: Instant) {
        self.again_at = Some(self.again_at.map_or(at, |other| other.min(at)));
    }

    fn missed<T>(&mut self, now: Now, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let gone = [Errno::ENOENT, Errno::ENOTDIR, Errno::ELOOP].map(|errno| Some(errno as i32));
                if !gone.contains(&error.raw_os_error()) {
                    self.again(now.instant + Duration::from_secs(1));
                }
                None
            }
        }
    }

    fn look_through(&mut self, now: Now) {
        let mut watches = HashSet::new();
        let mut found: Vec<(Stat, Vec<u8>)> = Vec::new();
        let above = self.fs.watch(b"/", Links::Keep);
        watches.extend(self.missed(now, above));
        let mut todo = self.config.paths.clone();
        while let Some(directory) = todo.pop() {
            let watch = self.fs.watch(&directory, Links::Keep);
            watches.extend(self.missed(now, watch));
            let listing = self.fs.list(&directory, Links::Keep);
            let Some(mut listing) = self.missed(now, listing) else { continue };
            let mut name = Vec::new();
            loop {
                let entry = self.fs.next_entry(&mut listing, &mut name);
                let Some(Some(_)) = self.missed(now, entry) else { break };
                let path = [&directory, b"/".as_slice(), &name].concat();
                let stat = self.fs.stat(&path, Links::Keep);
                match self.missed(now, stat) {
                    Some(stat) if stat.kind == FileKind::Directory => todo.push(path),
                    Some(stat) if stat.kind == FileKind::Regular => found.push((stat, path)),
                    _ => {}
                }
            }
        }
        if self.again_at.is_none() {
            for &watch in self.watches.difference(&watches) {
                self.fs.unwatch(watch);
            }
            self.watches = watches;
        } else {
            self.watches.extend(watches);
        }
        found.sort_by_key(|(stat, _)| stat.modified);
        for (_, path) in found {
            if let Err(error) = self.read(&path, now) {
                self.missed::<()>(now, Err(error));
            }
        }
    }

    fn read(&mut self, path: &[u8], now: Now) -> io::Result<()> {
        let file = self.fs.open(path, Links::Keep)?;
        let stat = self.fs.stat_file(&file)?;
        if stat.kind != FileKind::Regular {
            return Ok(());
        }
        let incarnations = self.incarnations.entry(stat.id.inode).or_default();
        let known = self.files.entry(stat.id).or_insert_with(|| {
            *incarnations += 1;
            Known { incarnation: *incarnations, ..Known::default() }
        });
        let mut bytes = Vec::new();
        loop {
            let start = known.offset - known.mark.len() as u64;
            let mut buffer = vec![0; 300_000];
            let given = self.fs.read_at(&file, &mut buffer, start)?;
            if !buffer[..given].starts_with(&known.mark) {
                if given > 0 && given < known.mark.len() && known.mark.starts_with(&buffer[..given]) && given != 0 {
                    let size = self.fs.stat_file(&file)?.size;
                    if size >= known.offset {
                        continue;
                    }
                }
                *incarnations += 1;
                *known = Known { incarnation: *incarnations, ..Known::default() };
                continue;
            }
            let new = &buffer[known.mark.len()..given];
            if known.offset == 0 && self.fs.data_from(&file, 0)?.is_some_and(|data| data > 0) {
                let skip = new.iter().take_while(|&&byte| byte == 0).count();
                known.offset = skip as u64;
                continue;
            }
            self.encoder.begin(&Source {
                path,
                device: stat.id.device,
                inode: stat.id.inode,
                incarnation: known.incarnation,
                read_at: now.wall,
            });
            let mut lines = split_lines(new, known.offset, self.config.line_bytes_max);
            for line in lines.by_ref() {
                self.encoder.encode(&line, &mut self.out);
            }
            let used = lines.consumed();
            let rest = &new[used..];
            let mut known_end = used;
            if used == 0 {
                let Some(after) = self.config.partial_after.filter(|_| !rest.is_empty()) else {
                    known.tail = None;
                    return Ok(());
                };
                let (len, since) = known.tail.unwrap_or((0, now.instant));
                let since = if len == rest.len() as u64 { since } else { now.instant };
                known.tail = Some((rest.len() as u64, since));
                if now.instant < since + after {
                    self.again(since + after);
                    return Ok(());
                }
                self.encoder.encode(&Line { bytes: rest, offset: known.offset, ended: false }, &mut self.out);
                known_end = rest.len();
            }
            bytes.clear();
            bytes.extend_from_slice(&new[..known_end]);
            known.offset += known_end as u64;
            let seen = [known.mark.as_slice(), &bytes].concat();
            known.mark = seen[seen.len().saturating_sub(16)..].to_vec();
            known.tail = None;
        }
    }
}
