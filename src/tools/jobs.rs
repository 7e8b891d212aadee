//! `manytail jobs`: what the logs of jobs say last.
//!
//! In: a [`Request`]. Out: a row for each job, as text or JSON: its owner, age, size and last line.
//! Always holds: no daemon is asked, and nothing is remembered: the trees are walked through with
//! the rights of the caller. Of each job, the end of one log is read.

mod last_line;
mod report;

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, SystemTime};

use hashbrown::{HashMap, HashSet};
use regex::bytes::CaptureLocations;

use crate::config::{ID, JobPattern, RecordRule};
use crate::record::SECOND_MAX;
use crate::status::file::shown;
use crate::status::numbers::{counted, words};
use crate::sys::{FileKind, FileSystem, KnownLife, Links, Linux, Stat, is_same_user};
use crate::tools::style::Style;
use crate::tools::walk::{Found, PathKind, Trees, Visitor, Walk};
use last_line::{LastLine, TAIL_BYTES};

/// Jobs whose logs are read before their rows are written.
const JOBS_AT_ONCE: usize = 8192;

/// Threads that read logs, at most.
const THREADS_MAX: usize = 4;

/// The fields that tell the parts of a job from each other: tasks of an array, processes.
const PARTS: [&str; 2] = ["task", "proc"];

/// The fields that tell the logs of one job from each other.
const OF_LOGS: [&str; 2] = ["stream", "spool"];

/// The arguments of `jobs`.
#[derive(Debug)]
pub struct Request {
    /// Where the logs are.
    pub trees: Trees,
    /// Only these jobs, or parts of jobs; empty: all.
    pub jobs: Vec<JobName>,
    /// Only jobs of this user.
    pub owner: Option<u32>,
    /// Only jobs of which nothing came for this long.
    pub quiet_for: Option<Duration>,
    /// Only jobs of which something came within this time.
    pub active_within: Option<Duration>,
    /// How the answer is written.
    pub style: Style,
    /// The columns of the terminal; `None`: lines are not cut.
    pub columns: Option<usize>,
}

/// What somebody calls a job: its number, or with that of a part behind it, as schedulers write it:
/// `4711_17`, `4711.17`, `4711[17]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    whole: String,
    parts: Option<(String, String)>,
}

impl JobName {
    /// Any text is a name.
    #[must_use]
    pub fn new(text: &str) -> JobName {
        let parts = text
            .split_once(['_', '.', '['])
            .map(|(id, part)| (id.to_owned(), part.strip_suffix(']').unwrap_or(part).to_owned()));
        JobName { whole: text.to_owned(), parts }
    }

    fn is_of(&self, id: &str, part: &str) -> bool {
        let is_part = |(of, other): &(String, String)| of == id && other == part;
        self.whole == id || self.parts.as_ref().is_some_and(is_part)
    }
}

/// A field of a job: its name and its value.
type Field = (String, String);

/// One job, or one task of it.
#[derive(Debug)]
struct Job {
    fields: Vec<Field>,
    owner: u32,
    files: u64,
    bytes: u64,
    /// The log that was modified last.
    newest: Log,
}

/// A log of a job.
#[derive(Debug, Clone)]
struct Log {
    modified: SystemTime,
    size: u64,
    /// Device and inode.
    id: (u64, u64),
    path: Vec<u8>,
    links: Links,
    /// The input that follows it.
    input: usize,
}

impl Job {
    /// Its number.
    fn id(&self) -> &str {
        value(&self.fields, &[ID])
    }

    /// Which part of the job it is; empty: it has none.
    fn part(&self) -> &str {
        value(&self.fields, &PARTS)
    }
}

/// The value of the first of these fields that there is; empty if there is none.
fn value<'f>(fields: &'f [Field], names: &[&str]) -> &'f str {
    let field = names.iter().find_map(|name| fields.iter().find(|(known, _)| known == name));
    field.map_or("", |(_, value)| value)
}

/// What was found beside jobs.
#[derive(Debug, Default)]
struct Notes {
    /// Files whose names tell no job, though their input has a pattern, and the first of these.
    without_job: (u64, String),
    /// What could not be examined, and the first of these.
    failed: (u64, String),
}

impl Notes {
    fn without_job(&mut self, path: &[u8]) {
        self.without_job.0 += 1;
        if self.without_job.0 == 1 {
            self.without_job.1 = shown(path);
        }
    }

    fn failed(&mut self, path: &[u8], why: &str) {
        self.failed.0 += 1;
        if self.failed.0 == 1 {
            self.failed.1 = format!("{} ({why})", shown(path));
        }
    }
}

/// Writes a row for each job that is asked for. Returns whether there is one. A reader that stops
/// early (`| head`) is not an error. Notes go to `notes`.
///
/// # Errors
/// When the answer cannot be written.
pub(crate) fn run(
    request: &Request,
    now: SystemTime,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> io::Result<bool> {
    let collector = Collector {
        request,
        jobs: HashMap::new(),
        locations: None,
        fields: Vec::new(),
        notes: Notes::default(),
        owners: HashMap::new(),
        seen: HashSet::new(),
    };
    let mut walk = Walk::new(&request.trees, None, collector);
    for root in 0..walk.roots.len() {
        let kind = walk.path(root);
        let path = walk.roots[root].path;
        match kind {
            PathKind::Missing => walk.visitor.notes.failed(path, "it does not exist"),
            PathKind::Failed(why) => walk.visitor.notes.failed(path, &why),
            PathKind::Directory | PathKind::File | PathKind::LeftOut | PathKind::Special => {}
        }
    }
    let Collector { jobs, notes: found, .. } = walk.visitor;
    let before = |time: Option<Duration>| time.and_then(|time| now.checked_sub(time));
    let (quiet_since, active_since) = (before(request.quiet_for), before(request.active_within));
    let is_wanted = |job: &Job| {
        quiet_since.is_none_or(|since| job.newest.modified <= since)
            && active_since.is_none_or(|since| job.newest.modified >= since)
    };
    let mut jobs: Vec<Job> = jobs.into_values().filter(is_wanted).collect();
    jobs.sort_by_cached_key(place);
    let mut report = report::Report::new(request.style, request.columns, now, &jobs);
    let written = jobs
        .chunks(JOBS_AT_ONCE)
        .try_for_each(|jobs| {
            let last_lines = last_lines(jobs, &request.trees);
            jobs.iter().zip(&last_lines).try_for_each(|(job, last)| report.row(job, last, out))
        })
        .and_then(|()| out.flush());
    tell(&found, jobs.is_empty(), notes);
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(!jobs.is_empty()),
    }
}

/// Says what the rows do not. If nobody can be told, that is no reason to fail.
fn tell(found: &Notes, is_empty: bool, notes: &mut impl Write) {
    let Notes { without_job: (without_job, unnamed), failed: (failed, first) } = found;
    if is_empty {
        writeln!(notes, "manytail: no log of such a job was found").ok();
    }
    if *failed > 0 {
        writeln!(notes, "manytail: {failed} could not be looked at, the first is {first}").ok();
    }
    if *without_job > 0 {
        let files = counted(*without_job, "file has", "files have");
        writeln!(notes, "manytail: {files} a name that tells no job, the first is {unnamed}").ok();
    }
}

/// A number by its value, before all names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Number(u64),
    Name(String),
}

impl Place {
    fn of(text: &str) -> Place {
        text.parse().map_or_else(|_| Place::Name(text.to_owned()), Place::Number)
    }
}

/// The place of a job among others: by its number, then by the task and the owner.
fn place(job: &Job) -> (Place, Place, u32) {
    (Place::of(job.id()), Place::of(job.part()), job.owner)
}

/// The columns of the terminal that standard output is, if it is one.
pub(crate) fn columns() -> Option<usize> {
    let size = io::stdout().is_terminal().then(crossterm::terminal::size)?;
    size.ok().map(|(columns, _)| usize::from(columns)).filter(|&columns| columns > 0)
}

/// The last lines of the logs of jobs, in their order. Several threads read: a call takes longer
/// than what is done with its result.
fn last_lines(jobs: &[Job], trees: &Trees) -> Vec<Result<LastLine, String>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let read = |jobs: &[Job]| -> Vec<Result<LastLine, String>> {
        let (mut fs, mut buffer) = (Linux::new(), vec![0; TAIL_BYTES]);
        let last = |job: &Job| {
            let rule = trees.inputs[job.newest.input].record.as_ref();
            last_line(&mut fs, job, rule, &mut buffer)
        };
        jobs.iter().map(last).collect()
    };
    thread::scope(|scope| {
        let parts = jobs.chunks(jobs.len().div_ceil(threads).max(1));
        let readers: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader ends")).collect()
    })
}

/// The last line of the newest log of a job, or why there is none.
fn last_line(
    fs: &mut Linux,
    job: &Job,
    rule: Option<&RecordRule>,
    buffer: &mut [u8],
) -> Result<LastLine, String> {
    let Log { path, links, id, .. } = &job.newest;
    let mut read = || {
        let file = fs.open(path, *links)?;
        // Somebody may have put another file there since.
        let found = fs.inode_of(&file)?;
        if !found.is_regular || (found.device, found.inode) != *id || found.owner != job.owner {
            return Ok(None);
        }
        let from = found.size.saturating_sub(buffer.len() as u64);
        Ok(Some((fs.read_at(&file, buffer, from)?, from > 0)))
    };
    match read().map_err(|error: io::Error| words(&error))? {
        Some((len, is_part)) => Ok(LastLine::of(&buffer[..len], is_part, |line| {
            rule.is_some_and(|rule| rule.ends_with(line))
        })),
        None => Err("it was replaced just now".to_owned()),
    }
}

/// Looks at a file. Which life of its inode it is in does not matter, so nothing is asked for that.
fn attributes(fs: &mut Linux, path: &[u8], links: Links) -> io::Result<Stat> {
    let seen_at = SystemTime::UNIX_EPOCH + Duration::from_secs(SECOND_MAX);
    let any = KnownLife { inode_generation: 0, seen_at };
    fs.stat_known(path, links, &mut |_, _| Some(any))
}

/// Collects the logs of jobs.
struct Collector<'a> {
    request: &'a Request,
    /// By owner and fields, without those that tell the logs of one job from each other.
    jobs: HashMap<(u32, Vec<Field>), Job>,
    /// Room for the groups of the pattern that was used last.
    locations: Option<(*const JobPattern, CaptureLocations)>,
    /// Of the file at hand.
    fields: Vec<Field>,
    notes: Notes,
    /// Of first components below PATHs.
    owners: HashMap<Vec<u8>, Option<u32>>,
    /// Files, by device and inode: one with several names counts once.
    seen: HashSet<(u64, u64)>,
}

impl Collector<'_> {
    /// Finds the fields of a file. Returns whether its name tells a job.
    fn find_fields(&mut self, found: &Found<'_>) -> bool {
        let Some(pattern) = &found.input.job else { return false };
        let locations = match &mut self.locations {
            Some((of, locations)) if std::ptr::eq(*of, pattern) => locations,
            other => &mut other.insert((pattern, pattern.locations())).1,
        };
        self.fields.clear();
        let fields = &mut self.fields;
        let text = pattern.text_of(found.name(), found.below());
        pattern.fields(text, locations, |name, value| fields.push((name.into(), value.into())));
        fields.iter().any(|(name, _)| name == ID)
    }

    /// Whether a run would read a file of this owner there.
    fn is_for_owner(&mut self, fs: &mut Linux, found: &Found<'_>, owner: u32) -> bool {
        if !self.request.trees.same_owner || found.is_path() {
            return true;
        }
        let below = found.below();
        let len = memchr::memchr(b'/', below).unwrap_or(below.len());
        let first = &found.path[..found.prefix_len + len];
        let known = self.owners.get(first).copied().unwrap_or_else(|| {
            let of = fs.stat(first, Links::Follow).ok().map(|found| found.owner);
            self.owners.insert(first.to_vec(), of);
            of
        });
        known.is_some_and(|known| is_same_user(known, owner))
    }
}

impl Visitor for Collector<'_> {
    fn directory(&mut self, _: &mut Linux, _: &Found<'_>) -> io::Result<()> {
        Ok(())
    }

    fn file(&mut self, fs: &mut Linux, found: &Found<'_>) {
        if found.input.job.is_none() {
            return;
        }
        if !self.find_fields(found) {
            return self.notes.without_job(found.path);
        }
        let wanted = &self.request.jobs;
        let (id, part) = (value(&self.fields, &[ID]), value(&self.fields, &PARTS));
        if !wanted.is_empty() && !wanted.iter().any(|job| job.is_of(id, part)) {
            return;
        }
        let file = match attributes(fs, found.path, found.links) {
            Ok(file) => file,
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.notes.failed(found.path, &words(&error)),
        };
        let is_wanted = self.request.owner.is_none_or(|owner| owner == file.owner);
        let id = (file.id.device, file.id.inode);
        if file.kind != FileKind::Regular
            || !is_wanted
            || !self.is_for_owner(fs, found, file.owner)
            || !self.seen.insert(id)
        {
            return;
        }
        let log = Log {
            modified: file.modified,
            size: file.size,
            id,
            path: found.path.to_vec(),
            links: found.links,
            input: found.input_number,
        };
        let is_of_job = |(name, _): &&Field| !OF_LOGS.contains(&name.as_str());
        let key = (file.owner, self.fields.iter().filter(is_of_job).cloned().collect());
        let fields = &self.fields;
        let job = self.jobs.entry(key).or_insert_with(|| Job {
            fields: fields.clone(),
            owner: file.owner,
            files: 0,
            bytes: 0,
            newest: log.clone(),
        });
        job.files += 1;
        job.bytes += file.size;
        // One without a line says nothing.
        let rank = |log: &Log| (log.size > 0, log.modified, log.size);
        if rank(&log) > rank(&job.newest) {
            (job.newest, job.fields) = (log, fields.clone());
        }
    }

    fn failed(&mut self, path: &[u8], error: &io::Error) {
        self.notes.failed(path, &words(error));
    }

    fn left_out(&mut self, _: usize, _: impl Fn() -> String, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_in_the_order_of_their_numbers_and_names_come_behind() {
        let mut ids = ["10", "9", "a", "", "007", "4711", "b"];
        ids.sort_by_cached_key(|id| Place::of(id));
        assert_eq!(ids, ["007", "9", "10", "4711", "", "a", "b"]);
    }

    #[test]
    fn a_job_is_called_by_its_number_or_with_that_of_a_part() {
        let is_of = |text: &str, id: &str, part: &str| JobName::new(text).is_of(id, part);
        assert!(is_of("4711", "4711", "") && is_of("4711", "4711", "17"));
        for text in ["4711_17", "4711.17", "4711[17]"] {
            assert!(is_of(text, "4711", "17") && !is_of(text, "4711", "1"), "{text}");
        }
        assert!(is_of("a7Bc_9", "a7Bc_9", ""), "an underline in a number");
        assert!(!is_of("471", "4711", ""));
    }
}
