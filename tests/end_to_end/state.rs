//! Runs with a state directory beside the tree, the ends of a run (stopped or killed), and an
//! output file that runs share.
//!
//! In: a [`World`]. Out: [`Memory`], whose runs resume where the previous one ended.
//! Always holds: everything that [`Memory::wait_durable`] has seen in the journal is there after
//! SIGKILL.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use manytail::testing::checkpoint::EntryFlags;
use manytail::testing::checkpoint::format::{Item, put};
use manytail::testing::checkpoint::store::Store;
use manytail::testing::sys::disk::{Access, LinuxDisk};

use crate::harness::{BINARY, Run, Tail, difference, name_below, wait_for};
use crate::records::{Format, Record, decode_all};
use crate::world::World;

/// Much longer than the commit interval of [`Memory::run`]: if the journal does not change for this
/// long, it has everything that was acknowledged.
const JOURNAL_QUIET: Duration = Duration::from_millis(500);
/// A file that was read less than this after its last modification may be opened once more.
const SURE_OF_TIME: Duration = Duration::from_millis(60);

/// How a run ends, for tests that must pass after both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGTERM.
    Stopped,
    /// SIGKILL, after everything that was delivered is durable.
    Killed,
}

pub(crate) const ENDS: [End; 2] = [End::Stopped, End::Killed];

/// A state directory and the runs that use it.
pub(crate) struct Memory<'a> {
    world: &'a World,
    pub(crate) directory: PathBuf,
}

impl<'a> Memory<'a> {
    /// Beside the tree; the first run makes it.
    pub(crate) fn new(world: &'a World) -> Memory<'a> {
        Memory::at(world, world.beside("state"))
    }

    pub(crate) fn at(world: &'a World, directory: PathBuf) -> Memory<'a> {
        Memory { world, directory }
    }

    /// A run that commits acknowledged offsets within 50 ms.
    pub(crate) fn run(&self) -> Run {
        self.run_every("50ms")
    }

    /// A run that commits only at an orderly end.
    pub(crate) fn run_without_commits(&self) -> Run {
        self.run_every("1h")
    }

    pub(crate) fn run_every(&self, interval: &str) -> Run {
        let directory = self.directory.to_str().expect("UTF-8");
        self.world.run().with(&["--state-dir", directory, "--commit-interval", interval])
    }

    /// The current journal.
    pub(crate) fn journal(&self) -> PathBuf {
        let newest = self.journals().into_iter().next_back();
        newest.unwrap_or_else(|| panic!("no journal in {}", self.directory.display())).1
    }

    /// All journals, by number.
    pub(crate) fn journals(&self) -> BTreeMap<u64, PathBuf> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return BTreeMap::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        paths
            .filter_map(|path| {
                Some((path.to_str()?.rsplit_once("/journal.")?.1.parse().ok()?, path))
            })
            .collect()
    }

    /// Names, sizes and times of the journals.
    fn look(&self) -> Vec<(u64, u64, i64, i64)> {
        let stat = |(number, path): (u64, PathBuf)| {
            fs::metadata(path).map_or((number, 0, 0, 0), |stat| {
                (number, stat.len(), stat.mtime(), stat.mtime_nsec())
            })
        };
        self.journals().into_iter().map(stat).collect()
    }

    /// Waits until everything that was delivered is stored. Not for
    /// [`Memory::run_without_commits`].
    #[track_caller]
    pub(crate) fn wait_durable(&self, tail: &Tail) {
        tail.settled();
        let (mut last, mut since) = (self.look(), Instant::now());
        wait_for("the journal to come to rest", || {
            let now = self.look();
            if now != last || now.is_empty() {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() >= JOURNAL_QUIET
        });
    }

    /// Starts a run, waits for this many lines, and ends it.
    #[track_caller]
    pub(crate) fn run_until(&self, lines: usize, how: End) {
        let tail = self.run().start().armed();
        tail.wait_count(lines);
        self.end(&tail, how);
    }

    #[track_caller]
    pub(crate) fn end(&self, tail: &Tail, how: End) {
        match how {
            End::Stopped => tail.terminate(),
            End::Killed => {
                self.wait_durable(tail);
                tail.kill();
            }
        }
    }

    /// Makes it an hour since a look found all files gone. No process may hold the directory.
    pub(crate) fn count_as_gone_for_an_hour(&self) {
        let mut disk = LinuxDisk::open(&self.directory, Access::Change);
        // A child that another test starts holds the descriptors of this process, with the locks on
        // them, until its exec.
        wait_for("the lock of the state directory", || {
            if disk.is_err() {
                disk = LinuxDisk::open(&self.directory, Access::Change);
            }
            disk.is_ok()
        });
        let (mut store, state) = Store::open(disk.expect("it was there")).expect("the journal");
        let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let mut payload = Vec::new();
        for (mut entry, path) in state.entries() {
            entry.absent_since = today.as_secs() - 3_600;
            entry.flags |= EntryFlags::GONE;
            put(&Item::Entry(entry, Some(path)), &mut payload);
        }
        assert!(!payload.is_empty(), "no file is known");
        store.append(&payload).expect("write");
    }

    /// Runs `manytail offsets COMMAND` on the directory. Returns its exit code, stdout and stderr.
    pub(crate) fn offsets(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(BINARY);
        command.arg("offsets").args(arguments).arg("--state-dir").arg(&self.directory);
        let output = command.output().expect("manytail offsets");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

/// Waits until the modification times of all files so far are old enough to be meaningful.
pub(crate) fn age() {
    std::thread::sleep(SURE_OF_TIME);
}

/// The third part of `file`: grows when the content restarts.
pub(crate) fn counter(record: &Record) -> u64 {
    let file = &record.origin().file;
    file.rsplit('-')
        .next()
        .and_then(|counter| counter.parse().ok())
        .unwrap_or_else(|| panic!("no counter in {file}"))
}

/// Removes repeated records. Records with the same `file` and `offset` must be equal.
#[track_caller]
pub(crate) fn without_repeats(records: &[Record]) -> Vec<Record> {
    let mut seen: HashMap<(String, u64), &Record> = HashMap::new();
    let mut unique = Vec::new();
    for record in records {
        let origin = record.origin();
        let first = *seen.entry((origin.file.clone(), origin.offset)).or_insert(record);
        let is_same = (&first.line, first.origin().eol) == (&record.line, origin.eol);
        assert!(
            is_same,
            "two records are {} at {}: {first:?} and {record:?}",
            origin.file, origin.offset
        );
        if std::ptr::eq(first, record) {
            unique.push(record.clone());
        }
    }
    unique
}

/// The lines of each file, by its path below the tree.
pub(crate) fn by_file(world: &World, records: &[Record]) -> BTreeMap<String, Vec<String>> {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records {
        files.entry(name_below(&world.tree, record)).or_default().push(record.text());
    }
    files
}

/// A regular file that several runs write to.
pub(crate) struct OutputFile {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
}

impl OutputFile {
    pub(crate) fn new(world: &World, format: Format) -> OutputFile {
        OutputFile { path: world.beside("out.log"), format }
    }

    /// Makes the run write to it. The test reads the file, not [`Tail::records`].
    pub(crate) fn of(&self, run: Run) -> Run {
        let run = match self.format {
            Format::Raw => run.raw(),
            Format::Text => run,
            Format::Json => run.json(),
        };
        run.output(&format!("file:{}", self.path.display()))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap_or_default()
    }

    /// The whole records.
    pub(crate) fn records(&self) -> Vec<Record> {
        whole_records(self.format, &self.bytes())
    }

    pub(crate) fn count(&self) -> usize {
        self.bytes().iter().filter(|&&byte| byte == b'\n').count()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.records().iter().map(Record::text).collect()
    }

    #[track_caller]
    pub(crate) fn wait_count(&self, count: usize) {
        wait_for(&format!("{count} records in {}", self.path.display()), || self.count() >= count);
    }

    /// Waits for exactly these lines of each file, in order, and that nothing follows. Not for raw.
    #[track_caller]
    pub(crate) fn expect(
        &self,
        world: &World,
        tail: &Tail,
        expected: &BTreeMap<String, Vec<String>>,
    ) {
        let count: usize = expected.values().map(Vec::len).sum();
        let deadline = Instant::now() + crate::harness::DEADLINE;
        // A count that is not reached is described better by the difference than by a timeout.
        while self.count() < count && Instant::now() < deadline && !tail.has_exited() {
            std::thread::sleep(Duration::from_millis(3));
        }
        tail.settled();
        let difference = difference(&by_file(world, &self.records()), expected);
        assert!(difference.is_empty(), "{difference}");
    }
}

/// Removes an incomplete record at the end.
pub(crate) fn whole_records(format: Format, bytes: &[u8]) -> Vec<Record> {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    decode_all(format, &bytes[..end])
}

/// Makes a file on the inode of a deleted file, if the file system reuses it. Not while a process
/// follows the directory.
pub(crate) fn create_on_inode(inode: u64, path: &Path, bytes: &[u8]) -> bool {
    let others: Vec<PathBuf> =
        (0..500).map(|number| path.with_extension(format!("candidate-{number}"))).collect();
    let mut made = others.iter().inspect(|other| fs::write(other, "").expect("write"));
    let found = made.find(|other| fs::metadata(other).expect("stat").ino() == inode);
    if let Some(found) = found {
        fs::rename(found, path).expect("rename");
        fs::write(path, bytes).expect("write");
    }
    others.iter().for_each(|other| drop(fs::remove_file(other)));
    found.is_some()
}
