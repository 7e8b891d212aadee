//! The oracle: what was written, what was delivered, and the properties that relate them.
//!
//! In: every byte that writers append, every record that is delivered. Out: the first property that
//! does not hold, as a sentence.
//! Always holds: a *story* is one generation of one file's content, from byte 0; an *identity* is
//! the name of a story in records. Records of an identity form one chain of offsets without gap or
//! overlap, each equal to the story's bytes at that place: so no line is lost before a later one,
//! repeated, torn, invented or out of order. Each story has at most one identity. After a crash
//! ([`Model::restarted`]) a chain may go back, once, to the start of a record that was delivered
//! after the last commit.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use manytail::testing::config::{Format, RecordRules};

use crate::record::{Event, Record, parse};
use crate::simulated::Settings;
use crate::start::Start;
use crate::world::{Key, World};
use crate::writers::is_below;

pub(crate) type StoryKey = usize;

/// More than the clock advances within a turn.
const TURN: Duration = Duration::from_millis(1);

/// The rotation before a story: lines of `older` up to `older_len` come first, if the engine could
/// see it clearly.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    older: StoryKey,
    older_len: u64,
    turn: u64,
    overflows: u64,
    /// The count of disturbances that excuse the order; see [`Model::disturb`].
    disturbances: u64,
    clear: bool,
    /// All bytes up to `older_len` were delivered.
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
    pub(crate) inode_generation: usize,
    pub(crate) bytes: Vec<u8>,
    /// The number of NULs at the front that begin in a hole and are never delivered.
    pub(crate) hole: u64,
    pub(crate) lines: usize,
    /// Carriage returns end records.
    pub(crate) splits: bool,
    /// The rest of the line that is being written.
    pub(crate) unfinished: Vec<u8>,
    /// It was truncated: bytes that were not read are lost.
    pub(crate) ended: bool,
    follows: Option<Rotation>,
    identity: Option<usize>,
    pub(crate) start: Start,
}

impl Story {
    /// The position after the last newline, or carriage return that ends something.
    pub(crate) fn complete_len(&self) -> u64 {
        let mut ends = memchr::memrchr2_iter(b'\n', b'\r', &self.bytes);
        let end = ends.find(|&at| self.bytes[at] == b'\n' || (self.splits && self.is_return(at)));
        end.map_or(self.hole, |end| end as u64 + 1)
    }

    /// Whether a carriage return is here, and something else than a newline behind it.
    fn is_return(&self, at: usize) -> bool {
        self.bytes[at] == b'\r' && self.bytes.get(at + 1).is_some_and(|&next| next != b'\n')
    }

    /// The position behind empty segments, which give no record. `may_rest`: a carriage return at
    /// the end may count, too.
    pub(crate) fn behind_empty(&self, end: u64, may_rest: bool) -> u64 {
        let is_empty = |&at: &usize| {
            let is_last = may_rest && at + 1 == self.bytes.len() && self.bytes[at] == b'\r';
            self.splits && at < self.bytes.len() && (is_last || self.is_return(at))
        };
        (end as usize..).take_while(is_empty).last().map_or(end, |last| last as u64 + 1)
    }
}

#[derive(Debug)]
struct Identity {
    told: Vec<u8>,
    /// Stories to which it may belong; short pieces can be of several.
    candidates: Vec<StoryKey>,
    /// Where its next record starts; before `end` while it repeats records from before a crash.
    next: Next,
    /// Up to where it was delivered.
    end: u64,
    records: Vec<Delivered>,
    /// Ends that were told, in the order of the output.
    ends: Vec<ToldEnd>,
    path_last: Vec<u8>,
    /// Up to where it was certainly committed at the last crash.
    committed: u64,
    /// How many of `records` come before that.
    before_crash: usize,
    /// A life that delivered it certainly stored it in the journal.
    is_stored: bool,
    /// The store had failed, so it may have been stored or not: its story may be repeated under
    /// another identity, and it may be used for another story.
    is_loose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    At(u64),
    /// After a crash: the start of a record from here on, or the end of the records.
    From(u64),
}

/// A record that was delivered.
#[derive(Debug, Clone, Copy)]
struct Delivered {
    offset: u64,
    end: u64,
    eol: bool,
    /// A carriage return ends it.
    is_segment: bool,
    /// Its place in the output.
    place: u64,
    /// It was already delivered before a crash.
    repeated: bool,
}

/// The end of a log that was told.
#[derive(Debug, Clone, Copy)]
struct ToldEnd {
    offset: u64,
    /// Its place in the output.
    place: u64,
    /// It is not told again: no crash came before it was committed.
    is_certain: bool,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) stories: Vec<Story>,
    identities: Vec<Identity>,
    by_told: HashMap<Vec<u8>, usize>,
    writers: HashMap<Vec<u8>, StoryKey>,
    /// Not everything below the PATHs is followed, see [`crate::covering`].
    pub(crate) is_selective: bool,
    roots: Vec<Vec<u8>>,
    format: Format,
    splits: bool,
    multiline: Option<RecordRules>,
    line_bytes_max: usize,
    partial_after: Option<Duration>,
    /// The ends of logs are told.
    tells_ends: bool,
    records: u64,
    pub(crate) repeats: u64,
    pub(crate) rotations_checked: u64,
    /// Stories whose rotation is neither unclear nor closed.
    rotations_open: Vec<StoryKey>,
    disturbances: u64,
    /// Identities that began again at 0, excused: see [`Model::is_unknown_again`].
    pub(crate) renamed_unknown: u64,
    /// Stories whose first record was after their start: because of `from`, and because of their
    /// age.
    pub(crate) begun_at_end: u64,
    pub(crate) begun_old: u64,
    /// An identity that began again at 0.
    named_twice: Option<Vec<u8>>,
}

impl Model {
    pub(crate) fn new(settings: &Settings) -> Self {
        let rests = settings.ends.closed.into_iter().chain(settings.ends.idle);
        Model {
            stories: Vec::new(),
            identities: Vec::new(),
            by_told: HashMap::new(),
            writers: HashMap::new(),
            is_selective: settings.following.is_some(),
            roots: settings.paths.clone(),
            format: settings.format,
            splits: settings.splits,
            // What is unfinished comes before the end of a log.
            multiline: settings.multiline.clone().map(|rules| RecordRules {
                after: rules.after.into_iter().chain(rests.clone()).min(),
                ..rules
            }),
            line_bytes_max: settings.line_bytes_max,
            partial_after: settings.partial_after.into_iter().chain(rests).min(),
            tells_ends: settings.ends.are_any(),
            records: 0,
            repeats: 0,
            rotations_checked: 0,
            rotations_open: Vec::new(),
            disturbances: 0,
            renamed_unknown: 0,
            begun_at_end: 0,
            begun_old: 0,
            named_twice: None,
        }
    }

    pub(crate) fn begin_generation(
        &mut self,
        inode: Key,
        writer: usize,
        inode_generation: usize,
    ) -> StoryKey {
        let story = self.stories.len();
        self.stories.push(Story {
            inode,
            writer,
            inode_generation,
            bytes: Vec::new(),
            hole: 0,
            lines: 0,
            splits: self.splits,
            unfinished: Vec::new(),
            ended: false,
            follows: None,
            identity: None,
            start: Start::default(),
        });
        self.writers.insert(opening(writer, inode_generation).into_bytes(), story);
        story
    }

    // ---- records ----

    /// Checks one record against everything that was written.
    #[expect(clippy::too_many_lines, reason = "what is asked of a record, one after the other")]
    pub(crate) fn take(&mut self, world: &World, record: &[u8]) -> Result<(), String> {
        self.records += 1;
        let mut record = parse(self.format, record)?;
        if let Some(event) = record.event {
            return self.take_event(&record, event);
        }
        let told = record.file.clone().map_or_else(|| self.writer_of(world, &record), Ok)?;
        let mut index = self.identity_of(world, &told, &record)?;
        let identity = &self.identities[index];
        if self.format != Format::Json {
            record.offset = self.offset_of(identity, &record);
            // Raw and text do not mark the last line of a story if it has no newline.
            let goes_on = |&story: &StoryKey| {
                self.stories[story].bytes.get(record.end() as usize - 1) != Some(&b'\n')
            };
            record.eol = !identity.candidates.first().is_some_and(goes_on);
        }
        let mut candidates = self.candidates(identity, &record);
        if candidates.is_empty() {
            let why = self.why_not(identity, &record);
            if record.file.is_none() {
                return Err(why);
            }
            // Perhaps a story from its start, under a used identity: reported at the end, so that
            // the rest can still be checked.
            self.by_told.remove(&told);
            let is_excused = self.is_unknown_again(index);
            if self.identities[index].is_loose {
                self.forget(index);
            }
            index = self.identity_of(world, &told, &record)?;
            candidates = self.candidates(&self.identities[index], &record);
            if candidates.is_empty() {
                return Err(why);
            }
            if is_excused {
                self.renamed_unknown += 1;
            } else {
                self.named_twice.get_or_insert_with(|| told.clone());
            }
        }
        self.check_place(world, &candidates, &record)?;
        self.check_shape(world, &candidates, &record)?;
        self.check_cover(world, &told, &candidates)?;
        if let Some(path) = &record.path
            && !candidates.iter().map(|&story| self.stories[story].inode).any(|inode| {
                world.may_be_called(inode, path) || world.may_be_taken_for(inode, path)
            })
        {
            let names = candidates.iter().flat_map(|&story| {
                let inode = &world.inodes[self.stories[story].inode];
                inode.paths.iter().map(|path| path.escape_ascii().to_string())
            });
            return Err(format!(
                "{} was never called {}, only {:?}",
                told.escape_ascii(),
                path.escape_ascii(),
                names.collect::<Vec<_>>()
            ));
        }
        let (place, line_bytes_max) = (self.records, self.line_bytes_max as u64);
        let identity = &mut self.identities[index];
        let (offset, end, eol) = (record.offset, record.end(), record.eol);
        let repeated = offset < identity.end;
        if repeated
            && let Some(before) = identity.records.iter().find(|before| before.offset == offset)
            && (before.end, before.eol) != (end, eol)
            // It ended at the end of the file, and a newline came later.
            && !(before.is_segment && end == before.end + 1)
            // It might go on, and did.
            && !(self.multiline.is_some() && before.end <= end)
            && (before.eol || before.end > end || before.end - offset == line_bytes_max)
        {
            return Err(format!("{} at {offset} names two different records", told.escape_ascii()));
        }
        self.repeats += u64::from(repeated);
        if identity.records.is_empty()
            && candidates.iter().all(|&story| offset > self.stories[story].hole)
        {
            let is_first = candidates.iter().any(|&story| self.stories[story].start.is_first());
            *(if is_first { &mut self.begun_at_end } else { &mut self.begun_old }) += 1;
        }
        identity.candidates = candidates;
        let is_segment = record.is_segment;
        identity.records.push(Delivered { offset, end, eol, is_segment, place, repeated });
        identity.end = identity.end.max(end);
        identity.next = Next::At(end);
        identity.is_loose = false;
        identity.path_last = record.path.unwrap_or_default();
        self.settle(index)
    }

    /// Checks an event of a file against what was delivered of it, if anything was.
    fn take_event(&mut self, record: &Record, event: Event) -> Result<(), String> {
        let (told, offset, place) =
            (record.file.as_deref().unwrap_or_default(), record.offset, self.records);
        let Some(&index) = self.by_told.get(told) else { return Ok(()) };
        let identity = &self.identities[index];
        if identity.records.is_empty() {
            return Ok(());
        }
        let what = format!("{event:?} of {} at {offset}", told.escape_ascii());
        let is_behind = |story: &StoryKey, from: u64| {
            let bytes = &self.stories[*story].bytes;
            let between = (from <= offset).then(|| bytes.get(from as usize..offset as usize));
            between
                .flatten()
                .is_some_and(|bytes| bytes.iter().all(|byte| matches!(byte, 0 | b'\r')))
        };
        let is_at_end = match identity.next {
            Next::At(next) => identity.candidates.iter().any(|story| is_behind(story, next)),
            Next::From(_) => true,
        };
        if !is_at_end {
            return Err(format!(
                "{what} is not at the end of what was delivered, {:?}",
                identity.next
            ));
        }
        if let Event::Lost(bytes) = event {
            let was_there =
                |&story: &StoryKey| offset + bytes <= self.stories[story].bytes.len() as u64;
            let is_true = identity.candidates.iter().any(was_there);
            return if is_true { Ok(()) } else { Err(format!("{what}: they were never there")) };
        }
        let last = identity.records.last().map_or(0, |record| record.place);
        let before = identity.ends.last();
        if before.is_some_and(|end| end.is_certain && end.offset == offset && end.place > last) {
            return Err(format!("{what} was told twice"));
        }
        self.identities[index].ends.push(ToldEnd { offset, place, is_certain: true });
        Ok(())
    }

    /// Describes a story of which something was delivered, and no end behind it.
    pub(crate) fn without_end(&self, story: StoryKey) -> Option<String> {
        let identity = &self.identities[self.stories[story].identity?];
        let last = identity.records.last()?.place;
        let has_end = identity.ends.last().is_some_and(|end| end.place > last);
        let Story { writer, inode_generation, .. } = &self.stories[story];
        (self.tells_ends && !has_end).then(|| {
            format!("w{writer} g{inode_generation}: its end was not told behind its last line")
        })
    }

    /// If nothing of a delivered story was committed before a crash, the journal has only its
    /// identity. If its content restarts before the next life examines it, that cannot be detected.
    fn is_unknown_again(&self, index: usize) -> bool {
        let identity = &self.identities[index];
        let is_over = identity.candidates.iter().all(|&story| self.stories[story].ended);
        identity.is_loose || (identity.next == Next::From(0) && is_over)
    }

    /// The story that a line of raw or text names with its first two words. A piece at the end of a
    /// story may be too short: then it is of a story that may end with it, if there is one.
    fn writer_of(&self, world: &World, record: &Record) -> Result<Vec<u8>, String> {
        let mut words = record.line.split(|&byte| byte == b' ');
        if let (Some(writer), Some(inode_generation)) = (words.next(), words.next()) {
            let told = [writer, b" ", inode_generation].concat();
            if self.writers.contains_key(&told) {
                return Ok(told);
            }
        }
        let came =
            |story: &Story| story.identity.map_or(story.hole, |index| self.identities[index].end);
        let is_its_end = |story: &&Story| {
            let complete = story.complete_len() as usize;
            complete < story.bytes.len() && story.bytes[complete..] == record.line
        };
        let ends: Vec<&Story> = self.stories.iter().filter(is_its_end).collect();
        let is_due = |story: &Story| came(story) == story.complete_len();
        let is_called = |story: &Story| {
            record.path.as_ref().is_none_or(|path| world.may_be_called(story.inode, path))
        };
        let may_end = |story: &Story| self.partial_after.is_some() || self.is_over(world, story);
        let is_right = |story: &&&Story| is_due(story) && is_called(story) && may_end(story);
        let story = ends
            .iter()
            .find(is_right)
            .or_else(|| ends.iter().find(|story| is_due(story)))
            .or(ends.first())
            .copied();
        // The writer of a deleted file may have continued after its last read.
        let is_cut_off = |story: &&Story| {
            let rest = &story.bytes[(came(story) as usize).min(story.bytes.len())..];
            self.is_over(world, story) && is_called(story) && rest.starts_with(&record.line)
        };
        let story = story.or_else(|| self.stories.iter().find(is_cut_off));
        let told = story.map(|story| opening(story.writer, story.inode_generation).into_bytes());
        told.ok_or_else(|| {
            format!("a torn or invented line: {:?}", record.line.escape_ascii().to_string())
        })
    }

    /// The offset of a record of raw or text, which do not have it: where the chain continues, or
    /// where it was before a crash.
    fn offset_of(&self, identity: &Identity, record: &Record) -> u64 {
        let Some(story) = identity.candidates.first().map(|&story| &self.stories[story]) else {
            return identity.end;
        };
        let is_there = |&offset: &u64| {
            let start = usize::try_from(offset).expect("files here are small");
            story.bytes.get(start..start + record.line.len()) == Some(record.line.as_slice())
        };
        match identity.next {
            Next::At(offset) => offset.max(story.hole),
            Next::From(first) => {
                let before = identity
                    .records
                    .iter()
                    .map(|record| record.offset)
                    .filter(|&offset| offset >= first);
                before.filter(is_there).min().unwrap_or(identity.end.max(story.hole))
            }
        }
    }

    fn identity_of(
        &mut self,
        world: &World,
        told: &[u8],
        record: &Record,
    ) -> Result<usize, String> {
        if let Some(&index) = self.by_told.get(told) {
            return Ok(index);
        }
        let candidates = match record.inode {
            Some(number) => {
                let is_on =
                    |story: &StoryKey| world.inodes[self.stories[*story].inode].number == number;
                (0..self.stories.len()).filter(is_on).collect()
            }
            None => self.writers.get(told).copied().into_iter().collect(),
        };
        self.identities.push(Identity {
            told: told.to_vec(),
            candidates,
            next: Next::At(0),
            end: 0,
            records: Vec::new(),
            ends: Vec::new(),
            path_last: Vec::new(),
            committed: 0,
            before_crash: 0,
            is_stored: false,
            is_loose: false,
        });
        self.by_told.insert(told.to_vec(), self.identities.len() - 1);
        Ok(self.identities.len() - 1)
    }

    /// Whether `record` continues `identity` if that is `story`.
    fn fits(&self, identity: &Identity, story: StoryKey, record: &Record) -> bool {
        let bytes = &self.stories[story].bytes;
        let hole = self.stories[story].hole;
        let is_at = |next: u64| {
            let is_behind_empty =
                (next..=self.stories[story].behind_empty(next, true)).contains(&record.offset);
            is_behind_empty || (next < hole && record.offset == hole)
        };
        let follows = match identity.next {
            Next::At(_) | Next::From(0) if identity.records.is_empty() => {
                self.stories[story].may_begin_at(record.offset)
            }
            Next::At(next) => is_at(next),
            Next::From(first) => {
                let is_start =
                    |before: &Delivered| before.offset >= first && before.offset == record.offset;
                is_at(identity.end) || identity.records.iter().any(is_start)
            }
        };
        let is_free = |index: usize| {
            self.identities[index].is_loose || std::ptr::eq(&self.identities[index], identity)
        };
        let free = self.stories[story].identity.is_none_or(is_free);
        let (start, end) = (record.offset as usize, record.end() as usize);
        let text_end = start + record.line.len();
        follows
            && free
            && end <= bytes.len()
            && start >= hole as usize
            && bytes[start..text_end] == record.line
            && (!record.eol || bytes[text_end] == if record.is_segment { b'\r' } else { b'\n' })
    }

    fn candidates(&self, identity: &Identity, record: &Record) -> Vec<StoryKey> {
        identity
            .candidates
            .iter()
            .copied()
            .filter(|&story| self.fits(identity, story, record))
            .collect()
    }

    fn why_not(&self, identity: &Identity, record: &Record) -> String {
        let mut why = format!(
            "a record that nobody wrote there: {} at {} (the chain ends at {}, next is {:?}), \
            {:?}{}",
            identity.told.escape_ascii(),
            record.offset,
            identity.end,
            identity.next,
            record.line.escape_ascii().to_string(),
            if record.eol { "" } else { " without end" },
        );
        for &story in &identity.candidates {
            let story = &self.stories[story];
            let at = (record.offset as usize).min(story.bytes.len());
            let there = &story.bytes[at..(at + 60).min(story.bytes.len())];
            let taken = story.identity.map_or("", |_| ", which has another identity");
            why += &format!(
                "\n    w{} g{} has {:?} there{taken}; it may begin at: {:?}",
                story.writer,
                story.inode_generation,
                there.escape_ascii().to_string(),
                story.start
            );
        }
        why
    }

    fn check_shape(
        &self,
        world: &World,
        candidates: &[StoryKey],
        record: &Record,
    ) -> Result<(), String> {
        let len = record.line.len();
        let has_newline = self.multiline.is_none() && record.line.contains(&b'\n');
        if has_newline || len > self.line_bytes_max {
            return Err(format!(
                "a record of {len} bytes that is more than one line, or longer than the limit"
            ));
        }
        if let Some(rules) = &self.multiline {
            self.check_lines(world, candidates, record, rules)?;
        }
        let inner = record.line.len() - usize::from(record.eol && !record.is_segment).min(len);
        if self.splits && record.line[..inner].contains(&b'\r') {
            return Err(format!(
                "a record with a carriage return in it at {}: {:?}",
                record.offset,
                record.line.escape_ascii().to_string()
            ));
        }
        let is_torn = |&story: &StoryKey| {
            let Story { bytes, .. } = &self.stories[story];
            bytes.get(record.end() as usize) == Some(&b'\n')
                && !self.is_over(world, &self.stories[story])
        };
        if record.is_segment && self.partial_after.is_none() && candidates.iter().all(is_torn) {
            return Err(format!("a carriage return without its newline at {}", record.offset));
        }
        let may_be_piece = self.partial_after.is_some()
            || len == self.line_bytes_max
            || self.is_whole_lines(record);
        let is_over = |&story: &StoryKey| self.is_over(world, &self.stories[story]);
        if !record.eol && (len == 0 || !(may_be_piece || candidates.iter().any(is_over))) {
            return Err(format!(
                "a piece without reason at {}: {:?}",
                record.offset,
                record.line.escape_ascii().to_string()
            ));
        }
        if !record.eol && candidates.iter().all(|&story| self.is_early(world, story, record)) {
            return Err(format!(
                "a piece before its time at {}: {:?}",
                record.offset,
                record.line.escape_ascii().to_string()
            ));
        }
        Ok(())
    }

    /// Whether a record is a piece of whole lines of a longer one.
    fn is_whole_lines(&self, record: &Record) -> bool {
        self.multiline.is_some() && !record.eol && record.line.ends_with(b"\n")
    }

    /// Checks that the lines of a record belong together, and that no line is missing.
    fn check_lines(
        &self,
        world: &World,
        candidates: &[StoryKey],
        record: &Record,
        RecordRules { rule, after }: &RecordRules,
    ) -> Result<(), String> {
        let [story] = candidates else { return Ok(()) };
        let bytes = &self.stories[*story].bytes;
        let (offset, limit) = (record.offset as usize, self.line_bytes_max);
        let is_within = offset > 0 && !matches!(bytes[offset - 1], b'\n' | 0);
        let lines: Vec<&[u8]> = record.line.split(|&byte| byte == b'\n').collect();
        let last = lines.len() - 1;
        for (at, line) in lines.iter().enumerate() {
            // What is not ended there may be a part of a line.
            let is_line = at < last || record.eol;
            if is_line && at > 0 && rule.begins_with(line) {
                return Err(format!("a record with the start of another in it: {record:?}"));
            }
            if at < last && (at > 0 || !is_within) && rule.ends_with(line) {
                return Err(format!("a record goes on behind its end: {record:?}"));
            }
        }
        let rest = &bytes[record.end() as usize..];
        if self.is_whole_lines(record) {
            let is_longer = bytes.len() > offset + limit;
            let is_right = is_longer || self.is_over(world, &self.stories[*story]);
            return if is_right { Ok(()) } else { Err(format!("a piece too short: {record:?}")) };
        }
        let is_at_end = !record.eol || ((last > 0 || !is_within) && rule.ends_with(lines[last]));
        let end = memchr::memchr(b'\n', rest).or((rest.len() > limit).then_some(limit));
        let next = end.map(|end| &rest[..end.min(limit)]);
        let is_cut = rest.first() == Some(&0) || self.is_over(world, &self.stories[*story]);
        if is_at_end || is_cut || next.is_some_and(|next| rule.begins_with(next)) {
            return Ok(());
        }
        // A file that had a name of it before or after it, or its inode, is read behind its lines;
        // also a name in a directory that was renamed.
        let inode = self.stories[*story].inode;
        let names = &world.inodes[inode].paths;
        let has_shared = |path| names.contains(path);
        let mut others = world.inodes.iter().enumerate().filter(|&(other, _)| other != inode);
        let is_first = record.file.as_ref().is_some_and(|file| file.ends_with(b"-0"));
        let is_in_line = names.len() > 1
            || !is_first
            || others.any(|(_, other)| other.paths.iter().any(has_shared));
        match after {
            _ if is_in_line => Ok(()),
            Some(after) if !self.has_not_rested(world, *story, record, *after) => Ok(()),
            _ => Err(format!("a record before its end: {record:?}")),
        }
    }

    pub(crate) fn is_inside(&self, path: &[u8]) -> bool {
        is_below(path, &self.roots)
    }

    /// Checks that the file was below a PATH at some time.
    fn check_place(
        &self,
        world: &World,
        candidates: &[StoryKey],
        record: &Record,
    ) -> Result<(), String> {
        let was_inside = |&story: &StoryKey| {
            let paths = &world.inodes[self.stories[story].inode].paths;
            paths.iter().any(|path| self.is_inside(path))
        };
        if !candidates.iter().any(was_inside) {
            return Err(format!(
                "a line from outside of the PATHs: {:?}",
                record.line.escape_ascii().to_string()
            ));
        }
        Ok(())
    }

    /// Whether a piece came too early: it may come once the line has not grown for the time set,
    /// unless its story is over or it has the maximal length of a line.
    fn is_early(&self, world: &World, story: StoryKey, record: &Record) -> bool {
        let Some(after) = self.partial_after else { return false };
        let is_cut = record.line.len() == self.line_bytes_max || self.is_whole_lines(record);
        if is_cut || self.is_over(world, &self.stories[story]) {
            return false;
        }
        self.has_not_rested(world, story, record, after)
    }

    /// Whether a record came before its bytes were in the file for so long.
    fn has_not_rested(
        &self,
        world: &World,
        story: StoryKey,
        record: &Record,
        after: Duration,
    ) -> bool {
        let grown = world.inodes[self.stories[story].inode]
            .growth
            .iter()
            .find(|&&(_, len)| len >= record.end());
        // The time of a turn is that of its beginning.
        grown.is_some_and(|&(at, _)| world.time + TURN < at + after)
    }

    /// Whether the story is over: it was truncated, or the file is not in the tree any more.
    fn is_over(&self, world: &World, story: &Story) -> bool {
        let paths = &world.inodes[story.inode].paths;
        if self.is_selective {
            // A file that was dropped or that moved to a place that is not followed is over, too.
            return story.ended || !world.inodes[story.inode].cover.is_accepted;
        }
        story.ended
            || !paths
                .iter()
                .any(|path| is_below(path, &self.roots) && world.find(path) == Ok(story.inode))
    }

    /// Once only one story is possible, it belongs to this identity alone.
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
                if identity.candidates.is_empty() && identity.is_loose {
                    if self.by_told.get(&identity.told) == Some(&other) {
                        self.by_told.remove(&identity.told);
                    }
                    continue;
                }
                if identity.candidates.is_empty() && before > 0 {
                    return Err(format!(
                        "delivered twice: as {} and as {told}",
                        identity.told.escape_ascii()
                    ));
                }
                if identity.candidates.len() == 1 && before > 1 {
                    todo.push(other);
                }
            }
        }
        Ok(())
    }

    // ---- what has to hold ----

    /// Up to where a story was certainly delivered.
    fn delivered(&self, story: StoryKey) -> u64 {
        let identity = self.stories[story].identity;
        identity.map_or(0, |index| self.end_of(&self.identities[index], story))
    }

    /// Up to where an identity was delivered, and behind what gives no record.
    fn end_of(&self, identity: &Identity, story: StoryKey) -> u64 {
        let is_after_piece =
            identity.records.iter().rev().any(|record| record.end == identity.end && !record.eol);
        if is_after_piece {
            return identity.end;
        }
        self.stories[story].behind_empty(identity.end, self.partial_after.is_some())
    }

    /// Whether something of a story was delivered, perhaps.
    pub(crate) fn came_out(&self, story: StoryKey) -> bool {
        self.delivered_perhaps(story) > 0
    }

    /// The same, with pieces that are too short and may be of this story or another.
    fn delivered_perhaps(&self, story: StoryKey) -> u64 {
        let unclear =
            self.identities.iter().filter(|identity| identity.candidates.contains(&story));
        unclear.map(|identity| self.end_of(identity, story)).max().unwrap_or(0)
    }

    /// Whether everything in a story was delivered: then its file can be deleted without loss.
    pub(crate) fn is_drained(&self, story: StoryKey) -> bool {
        self.delivered(story) >= self.stories[story].bytes.len() as u64
    }

    /// Describes the readable part of a story that was not delivered.
    pub(crate) fn missing(&self, story: StoryKey) -> Option<String> {
        let Story { writer, inode_generation, bytes, hole, .. } = &self.stories[story];
        let perhaps = self.delivered_perhaps(story);
        let is_new = perhaps == 0 || self.is_unknown(story);
        let delivered =
            if is_new { perhaps.max(self.owed_from(story)) } else { perhaps }.max(*hole);
        let complete = self.stories[story].complete_len();
        let pieces = self.partial_after.is_some();
        let wanted = if pieces { bytes.len() as u64 } else { complete };
        let told = |what: &str| {
            Some(format!(
                "w{writer} g{inode_generation}: {what}: {delivered} of {wanted} bytes came out"
            ))
        };
        if delivered < wanted {
            return told("lines that can be read are missing");
        }
        let unfinished_is_long = bytes.len() as u64 - complete >= self.line_bytes_max as u64;
        if delivered > wanted && !unfinished_is_long {
            return told("an unfinished line came out");
        }
        None
    }

    /// Nothing was delivered since a crash before which nothing of the story could be stored. The
    /// engine considers it new: it begins where the settings say.
    fn is_unknown(&self, story: StoryKey) -> bool {
        let mut identities =
            self.identities.iter().filter(|identity| identity.candidates.contains(&story));
        identities.all(|identity| identity.is_loose)
    }

    /// Whole lines of a story that were not delivered, whether they can be read or not.
    pub(crate) fn undelivered(&self, story: StoryKey) -> Option<String> {
        let Story { writer, inode_generation, hole, .. } = &self.stories[story];
        let (delivered, complete) =
            (self.delivered_perhaps(story).max(*hole), self.stories[story].complete_len());
        (delivered < complete).then(|| {
            format!("w{writer} g{inode_generation}: {delivered} of {complete} bytes came out")
        })
    }

    /// The path in the last record of a story.
    pub(crate) fn path_last(&self, story: StoryKey) -> Option<&[u8]> {
        if self.format == Format::Raw {
            return None;
        }
        Some(&self.identities[self.stories[story].identity?].path_last)
    }

    /// Notes that something prevents the engine from reading older generations first: a fault, a
    /// mode, a file that left the tree.
    pub(crate) fn disturb(&mut self) {
        self.disturbances += 1;
    }

    pub(crate) fn rotated(&mut self, younger: StoryKey, mut rotation: Rotation) {
        rotation.older_len = self.stories[rotation.older].complete_len();
        rotation.disturbances = self.disturbances;
        self.stories[younger].follows = Some(rotation);
        self.rotations_open.push(younger);
    }

    /// The younger file of a rotation gets a further name, or a new one where no watch reports it.
    /// If it has not been examined yet, it may be known only by that name, which does not show its
    /// predecessor: only the events of renames do.
    pub(crate) fn has_other_name(&mut self, younger: StoryKey) {
        let came_out = self.came_out(younger);
        if let Some(rotation) = self.stories[younger].follows.as_mut().filter(|_| !came_out) {
            rotation.clear = false;
        }
    }

    /// A rotation stays clear if its events were not lost, and nothing disturbs it until the older
    /// file is read.
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

    /// Checks that a file and an offset name one record.
    pub(crate) fn check_identities(&self) -> Result<(), String> {
        match &self.named_twice {
            Some(told) => {
                Err(format!("two stories have the same identity, {}", told.escape_ascii()))
            }
            None => Ok(()),
        }
    }

    /// Checks that older generations come before younger ones.
    pub(crate) fn check_order(&mut self) -> Result<(), String> {
        for (younger, rotation) in
            self.stories.iter().filter_map(|story| Some((story, story.follows.as_ref()?)))
        {
            let (Some(young), Some(old)) =
                (younger.identity, self.stories[rotation.older].identity)
            else {
                continue;
            };
            if !rotation.clear {
                continue;
            }
            self.rotations_checked += 1;
            let first =
                self.identities[young].records.first().map_or(u64::MAX, |record| record.place);
            let is_late = |record: &&Delivered| {
                !record.repeated && record.offset < rotation.older_len && record.place > first
            };
            if let Some(Delivered { offset, .. }) =
                self.identities[old].records.iter().find(is_late)
            {
                return Err(format!(
                    "w{} g{}: the line at {offset}, there before the rotation, came after the \
                    first line of g{}",
                    younger.writer,
                    self.stories[rotation.older].inode_generation,
                    younger.inode_generation
                ));
            }
        }
        Ok(())
    }

    /// How many records there are in the output.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }
}

/// What a crash leaves of the records and offsets.
#[derive(Debug)]
pub(crate) struct Survivors {
    /// Records that the output still has.
    pub(crate) kept: u64,
    /// Records whose offsets are committed: they do not come again.
    pub(crate) covered: u64,
    /// The journal knows the output: records after this number are in it, and are not repeated
    /// either.
    pub(crate) known_from: Option<u64>,
    /// But these records, whose offsets could not be stored, may be repeated.
    pub(crate) unstored: Vec<RangeInclusive<u64>>,
    /// The store failed in the last life: stories that have not been committed since may be
    /// repeated under another identity.
    pub(crate) unnamed: bool,
}

// ---- crashes ----

impl Model {
    /// The engine is gone, and another one takes over.
    pub(crate) fn restarted(&mut self, survivors: Survivors) {
        self.disturb();
        let Survivors { kept, covered, known_from, unstored, unnamed } = survivors;
        for rotation in self.stories.iter_mut().filter_map(|story| story.follows.as_mut()) {
            // Records that are lost from the output are repeated later.
            rotation.clear &= kept == self.records && !unnamed;
        }
        self.records = kept;
        for index in 0..self.identities.len() {
            let identity = &mut self.identities[index];
            let since_crash = &identity.records[identity.before_crash..];
            if let Some(last) = since_crash.iter().rev().find(|record| record.place <= covered) {
                identity.committed = last.end;
            }
            // Commits count all delivered records, also those of lives that could store nothing:
            // only records of this life matter.
            identity.is_stored |=
                since_crash.first().is_some_and(|first| !unnamed || first.place <= covered);
            let is_known = |place: u64| {
                known_from.is_some_and(|from| place > from)
                    && !unstored.iter().any(|places| places.contains(&place))
            };
            identity.ends.retain(|end| end.place <= kept);
            for end in &mut identity.ends {
                end.is_certain &= !unnamed && (end.place <= covered || is_known(end.place));
            }
            identity.records.retain(|record| record.place <= kept);
            identity.before_crash = identity.records.len();
            identity.end = identity.records.iter().map(|record| record.end).max().unwrap_or(0);
            let mut since = identity.records.iter().rev();
            let last_known = since.find(|record| is_known(record.place)).map(|record| record.end);
            identity.next = Next::From(last_known.unwrap_or(identity.committed));
            identity.is_loose |= unnamed && !identity.is_stored;
            if identity.records.is_empty() {
                self.forget(index);
            }
        }
    }

    /// Whether one of these records is of a story that is not over: its offset should be committed.
    pub(crate) fn has_uncovered(&self, world: &World, records: RangeInclusive<u64>) -> bool {
        let goes_on = |&story: &StoryKey| {
            let Story { inode, ended, .. } = self.stories[story];
            !ended && world.inodes[inode].links > 0
        };
        let since = |identity: &&Identity| {
            let after = identity.records.partition_point(|record| record.place < *records.start());
            identity.records.get(after).is_some_and(|record| records.contains(&record.place))
        };
        self.identities.iter().filter(since).any(|identity| identity.candidates.iter().any(goes_on))
    }

    /// The engine removed the last records from the output.
    pub(crate) fn withdrawn(&mut self, kept: u64) {
        self.disturb();
        self.records = kept;
        for index in 0..self.identities.len() {
            let identity = &mut self.identities[index];
            if identity.records.last().is_none_or(|record| record.place <= kept) {
                continue;
            }
            identity.ends.retain(|end| end.place <= kept);
            identity.records.retain(|record| record.place <= kept);
            identity.end = identity.records.iter().map(|record| record.end).max().unwrap_or(0);
            let since_crash =
                identity.records.get(identity.before_crash..).and_then(<[Delivered]>::last);
            identity.next =
                since_crash.map_or(Next::From(identity.committed), |last| Next::At(last.end));
        }
    }

    /// This identity was not seen, or could not be stored: it may be used for any story.
    fn forget(&mut self, index: usize) {
        let identity = &mut self.identities[index];
        identity.candidates.clear();
        if self.by_told.get(&identity.told) == Some(&index) {
            self.by_told.remove(&identity.told);
        }
        for story in self.stories.iter_mut().filter(|story| story.identity == Some(index)) {
            story.identity = None;
        }
    }
}

/// The beginning of each line of a story. Neighbouring generations differ in the first byte, so
/// that a piece of one cannot be taken for a piece of the other.
pub(crate) fn opening(writer: usize, inode_generation: usize) -> String {
    let letter = char::from(b'A' + (inode_generation % 26) as u8);
    format!("{letter}{writer} g{inode_generation}")
}
