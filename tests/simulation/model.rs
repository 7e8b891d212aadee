//! The oracle: what was written, what came out, and what has to hold between the two.
//!
//! In: every byte that writers append, every record that leaves. Out: the first property that does not hold, as a sentence.
//! Always holds: a *story* is one generation of one file's content, from byte 0; an *identity* is what records call a story.
//! Records of an identity form one chain of offsets without gap or overlap, each equal to the story's bytes at that place: so no
//! line is lost before a later one, repeated, torn, invented or out of order. Each story has at most one identity.

use std::collections::HashMap;
use std::time::Duration;

use manytail::config::Format;

use crate::record::{Record, parse};
use crate::simulated::Settings;
use crate::world::{Key, World};
use crate::writers::is_below;

pub(crate) type StoryKey = usize;

/// The rotation that made room for a story: lines of `older` up to `older_len` come first, if it was clear to see.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    older: StoryKey,
    older_len: u64,
    turn: u64,
    overflows: u64,
    /// What happened so far that excuses the order, as [`Model::disturb`] counts it.
    disturbances: u64,
    clear: bool,
    /// All of `older_len` came out.
    closed: bool,
}

impl Rotation {
    pub(crate) fn new(older: StoryKey, turn: u64, overflows: u64, clear: bool) -> Self {
        Rotation { older, older_len: 0, turn, overflows, disturbances: 0, clear, closed: false }
    }
}

#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) inode: Key,
    pub(crate) writer: usize,
    pub(crate) generation: usize,
    pub(crate) bytes: Vec<u8>,
    /// NULs at the front that begin in a hole and are never delivered.
    pub(crate) hole: u64,
    pub(crate) lines: usize,
    /// The rest of the line that is being written.
    pub(crate) unfinished: Vec<u8>,
    /// Truncated away: what was not read is lost.
    pub(crate) ended: bool,
    follows: Option<Rotation>,
    identity: Option<usize>,
}

impl Story {
    /// Just past the last newline.
    fn complete_len(&self) -> u64 {
        memchr::memrchr(b'\n', &self.bytes).map_or(self.hole, |newline| newline as u64 + 1)
    }
}

#[derive(Debug)]
struct Identity {
    told: Vec<u8>,
    /// Stories that it may still be; short pieces can be of several.
    candidates: Vec<StoryKey>,
    /// Where its next record starts.
    end: u64,
    /// Where each record started, and its place in the output.
    records: Vec<(u64, u64)>,
    path_last: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) stories: Vec<Story>,
    identities: Vec<Identity>,
    by_told: HashMap<Vec<u8>, usize>,
    writers: HashMap<Vec<u8>, StoryKey>,
    roots: Vec<Vec<u8>>,
    format: Format,
    line_bytes_max: usize,
    partial_after: Option<Duration>,
    records: u64,
    pub(crate) rotations_checked: u64,
    /// Stories whose rotation is neither unclear nor closed.
    rotations_open: Vec<StoryKey>,
    disturbances: u64,
    /// An identity that began again at 0.
    named_twice: Option<Vec<u8>>,
}

impl Model {
    pub(crate) fn new(settings: &Settings) -> Self {
        Model {
            stories: Vec::new(),
            identities: Vec::new(),
            by_told: HashMap::new(),
            writers: HashMap::new(),
            roots: settings.paths.clone(),
            format: settings.format,
            line_bytes_max: settings.line_bytes_max,
            partial_after: settings.partial_after,
            records: 0,
            rotations_checked: 0,
            rotations_open: Vec::new(),
            disturbances: 0,
            named_twice: None,
        }
    }

    pub(crate) fn begin_story(&mut self, inode: Key, writer: usize, generation: usize) -> StoryKey {
        let story = self.stories.len();
        self.stories.push(Story {
            inode,
            writer,
            generation,
            bytes: Vec::new(),
            hole: 0,
            lines: 0,
            unfinished: Vec::new(),
            ended: false,
            follows: None,
            identity: None,
        });
        self.writers.insert(opening(writer, generation).into_bytes(), story);
        story
    }

    // ---- records ----

    /// Checks one record against everything that was written.
    pub(crate) fn take(&mut self, world: &World, record: &[u8]) -> Result<(), String> {
        self.records += 1;
        let mut record = parse(self.format, record)?;
        let told = record.file.clone().map_or_else(|| writer_of(&record), Ok)?;
        let mut index = self.identity_of(world, &told, &record)?;
        let identity = &self.identities[index];
        if self.format != Format::Json {
            let hole = identity.candidates.first().map_or(0, |&story| self.stories[story].hole);
            record.offset = identity.end.max(hole);
        }
        let mut candidates = self.candidates(identity, &record);
        if candidates.is_empty() {
            let why = self.why_not(identity, &record);
            if record.file.is_none() {
                return Err(why);
            }
            // Perhaps a story from its start, under a name that was used up: said at the end, the rest can still be checked.
            self.by_told.remove(&told);
            index = self.identity_of(world, &told, &record)?;
            candidates = self.candidates(&self.identities[index], &record);
            if candidates.is_empty() {
                return Err(why);
            }
            self.named_twice.get_or_insert_with(|| told.clone());
        }
        self.check_shape(world, &candidates, &record)?;
        if let Some(path) = &record.path
            && !candidates.iter().any(|&story| world.inodes[self.stories[story].inode].paths.contains(path))
        {
            return Err(format!("{} was never called {}", told.escape_ascii(), path.escape_ascii()));
        }
        let identity = &mut self.identities[index];
        identity.candidates = candidates;
        identity.end = record.end();
        identity.records.push((record.offset, self.records));
        identity.path_last = record.path.unwrap_or_default();
        self.settle(index)
    }

    fn identity_of(&mut self, world: &World, told: &[u8], record: &Record) -> Result<usize, String> {
        if let Some(&index) = self.by_told.get(told) {
            return Ok(index);
        }
        let candidates = match record.inode {
            Some(number) => {
                let is_on = |story: &StoryKey| world.inodes[self.stories[*story].inode].number == number;
                (0..self.stories.len()).filter(is_on).collect()
            }
            None => self.writers.get(told).copied().into_iter().collect(),
        };
        self.identities.push(Identity { told: told.to_vec(), candidates, end: 0, records: Vec::new(), path_last: Vec::new() });
        self.by_told.insert(told.to_vec(), self.identities.len() - 1);
        Ok(self.identities.len() - 1)
    }

    /// Whether `record` continues `identity` if that is `story`.
    fn fits(&self, identity: &Identity, story: StoryKey, record: &Record) -> bool {
        let bytes = &self.stories[story].bytes;
        let hole = self.stories[story].hole;
        let follows = record.offset == identity.end || (identity.end < hole && record.offset == hole);
        let free = self.stories[story].identity.is_none_or(|index| std::ptr::eq(&self.identities[index], identity));
        let (start, end) = (record.offset as usize, record.end() as usize);
        let text_end = start + record.line.len();
        follows
            && free
            && end <= bytes.len()
            && start >= hole as usize
            && bytes[start..text_end] == record.line
            && (!record.eol || bytes[text_end] == b'\n')
    }

    fn candidates(&self, identity: &Identity, record: &Record) -> Vec<StoryKey> {
        identity.candidates.iter().copied().filter(|&story| self.fits(identity, story, record)).collect()
    }

    fn why_not(&self, identity: &Identity, record: &Record) -> String {
        let mut why = format!(
            "a record that nobody wrote there: {} at {} (the chain ends at {}), {:?}{}",
            identity.told.escape_ascii(),
            record.offset,
            identity.end,
            record.line.escape_ascii().to_string(),
            if record.eol { "" } else { " without end" },
        );
        for &story in &identity.candidates {
            let story = &self.stories[story];
            let at = (record.offset as usize).min(story.bytes.len());
            let there = &story.bytes[at..(at + 60).min(story.bytes.len())];
            let taken = story.identity.map_or("", |_| ", which has another identity");
            why +=
                &format!("\n    w{} g{} has {:?} there{taken}", story.writer, story.generation, there.escape_ascii().to_string());
        }
        why
    }

    fn check_shape(&self, world: &World, candidates: &[StoryKey], record: &Record) -> Result<(), String> {
        let len = record.line.len();
        if record.line.contains(&b'\n') || len > self.line_bytes_max {
            return Err(format!("a record of {len} bytes that is more than one line, or longer than the limit"));
        }
        let may_be_piece = self.partial_after.is_some() || len == self.line_bytes_max;
        // The story is over: truncated, or the file is not in the tree any more.
        let is_over = |&story: &StoryKey| {
            let Story { inode, ended, .. } = self.stories[story];
            ended || !world.inodes[inode].paths.iter().any(|path| is_below(path, &self.roots) && world.find(path) == Ok(inode))
        };
        if !record.eol && (len == 0 || !(may_be_piece || candidates.iter().any(is_over))) {
            return Err(format!("a piece without reason at {}: {:?}", record.offset, record.line.escape_ascii().to_string()));
        }
        Ok(())
    }

    /// Once only one story is left, it belongs to this identity alone.
    fn settle(&mut self, index: usize) -> Result<(), String> {
        let mut todo = vec![index];
        while let Some(index) = todo.pop() {
            let &[story] = self.identities[index].candidates.as_slice() else { continue };
            if self.stories[story].identity == Some(index) {
                continue;
            }
            self.stories[story].identity = Some(index);
            let told = self.identities[index].told.escape_ascii().to_string();
            for other in (0..self.identities.len()).filter(|&other| other != index) {
                let identity = &mut self.identities[other];
                let before = identity.candidates.len();
                identity.candidates.retain(|&candidate| candidate != story);
                if identity.candidates.is_empty() && before > 0 {
                    return Err(format!("delivered twice: as {} and as {told}", identity.told.escape_ascii()));
                }
                if identity.candidates.len() == 1 && before > 1 {
                    todo.push(other);
                }
            }
        }
        Ok(())
    }

    // ---- what has to hold ----

    /// Up to where a story came out for certain.
    fn delivered(&self, story: StoryKey) -> u64 {
        self.stories[story].identity.map_or(0, |index| self.identities[index].end)
    }

    /// The same, with what may be of this story or another: pieces too short to tell.
    fn delivered_perhaps(&self, story: StoryKey) -> u64 {
        let unclear = self.identities.iter().filter(|identity| identity.candidates.contains(&story));
        unclear.map(|identity| identity.end).max().unwrap_or(0)
    }

    /// Whether everything in a story came out: then its file can go without loss.
    pub(crate) fn is_drained(&self, story: StoryKey) -> bool {
        self.delivered(story) >= self.stories[story].bytes.len() as u64
    }

    /// What of a story that can still be read did not come out.
    pub(crate) fn missing(&self, story: StoryKey) -> Option<String> {
        let Story { writer, generation, bytes, hole, .. } = &self.stories[story];
        let delivered = self.delivered_perhaps(story).max(*hole);
        let complete = self.stories[story].complete_len();
        let pieces = self.partial_after.is_some();
        let wanted = if pieces { bytes.len() as u64 } else { complete };
        let told = |what: &str| Some(format!("w{writer} g{generation}: {what}: {delivered} of {wanted} bytes came out"));
        if delivered < wanted {
            return told("lines that can be read are missing");
        }
        let unfinished_is_long = bytes.len() as u64 - complete >= self.line_bytes_max as u64;
        if delivered > wanted && !unfinished_is_long {
            return told("an unfinished line came out");
        }
        None
    }

    /// The path that the last record of a story told.
    pub(crate) fn path_last(&self, story: StoryKey) -> Option<&[u8]> {
        if self.format == Format::Raw {
            return None;
        }
        Some(&self.identities[self.stories[story].identity?].path_last)
    }

    /// Something keeps the engine from reading older generations first: a fault, a mode, a file that left the tree.
    pub(crate) fn disturb(&mut self) {
        self.disturbances += 1;
    }

    pub(crate) fn rotated(&mut self, younger: StoryKey, mut rotation: Rotation) {
        rotation.older_len = self.stories[rotation.older].complete_len();
        rotation.disturbances = self.disturbances;
        self.stories[younger].follows = Some(rotation);
        self.rotations_open.push(younger);
    }

    /// A rotation stays clear if its events were not lost, and nothing disturbs until the older file is read.
    pub(crate) fn turn_ended(&mut self, turn: u64, overflows: u64) {
        let mut open = std::mem::take(&mut self.rotations_open);
        open.retain(|&story| {
            let Some(mut rotation) = self.stories[story].follows.clone() else { return false };
            rotation.clear &= rotation.disturbances == self.disturbances;
            rotation.clear &= turn > rotation.turn + 2 || rotation.overflows == overflows;
            rotation.closed = self.delivered(rotation.older) >= rotation.older_len;
            let stays = rotation.clear && !rotation.closed;
            self.stories[story].follows = Some(rotation);
            stays
        });
        self.rotations_open = open;
    }

    /// A file and an offset name one record.
    pub(crate) fn check_identities(&self) -> Result<(), String> {
        match &self.named_twice {
            Some(told) => Err(format!("two stories have the same identity, {}", told.escape_ascii())),
            None => Ok(()),
        }
    }

    /// Older generations come before younger ones.
    pub(crate) fn check_order(&mut self) -> Result<(), String> {
        for (younger, rotation) in self.stories.iter().filter_map(|story| Some((story, story.follows.as_ref()?))) {
            let (Some(young), Some(old)) = (younger.identity, self.stories[rotation.older].identity) else { continue };
            if !rotation.clear {
                continue;
            }
            self.rotations_checked += 1;
            let first = self.identities[young].records.first().map_or(u64::MAX, |&(_, place)| place);
            let of_older = &self.identities[old].records;
            if let Some((offset, _)) = of_older.iter().find(|&&(offset, place)| offset < rotation.older_len && place > first) {
                return Err(format!(
                    "w{} g{}: the line at {offset}, there before the rotation, came after the first line of g{}",
                    younger.writer, self.stories[rotation.older].generation, younger.generation
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }
}

/// How the lines of a story begin. Neighbouring generations differ in the first byte, so that a tailer can tell a piece of one from
/// the other.
pub(crate) fn opening(writer: usize, generation: usize) -> String {
    let letter = char::from(b'A' + (generation % 26) as u8);
    format!("{letter}{writer} g{generation}")
}

/// The story that a line of raw or text names itself: its first two words.
fn writer_of(record: &Record) -> Result<Vec<u8>, String> {
    let mut words = record.line.split(|&byte| byte == b' ');
    match (words.next(), words.next()) {
        (Some(writer), Some(generation)) => Ok([writer, b" ", generation].concat()),
        _ => Err(format!("a torn or invented line: {:?}", record.line.escape_ascii().to_string())),
    }
}
