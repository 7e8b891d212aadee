//! Runs the binary: a [`Run`] describes how, a [`Tail`] is a running process with its output so
//! far.
//!
//! Always holds: nothing waits without a deadline, and a process ends with its [`Tail`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::capture::{Capture, Consumer, Source};
use crate::process::Process;
use crate::records::{Format, Record, decode, decode_all};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_manytail");
/// Something that does not happen within this time counts as never happening.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(3);
/// Longer than any default delay between an event and its record (`--coalesce`, `--pace`).
const QUIET: Duration = Duration::from_millis(100);
/// For processes that wake up periodically (a sweep, a back-off) and are never fully quiet.
const QUIET_OUTPUT: Duration = Duration::from_millis(700);
const CANARY: &[u8] = b"canary ";

#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::sleep(POLL);
    }
}

/// Variables for the tests themselves, such as `MANYTAIL_SEED`, are not settings of the process
/// under test.
pub(crate) fn remove_settings(command: &mut Command) {
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"MANYTAIL_"))
    {
        command.env_remove(name);
    }
    for name in ["STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(name);
    }
}

/// How to run the binary.
pub(crate) struct Run {
    args: Vec<OsString>,
    paths: Vec<OsString>,
    format: Format,
    wrapper: Vec<OsString>,
    directory: Option<PathBuf>,
    user: Option<u32>,
    tree: PathBuf,
    stdout: Option<Stdio>,
    source: Option<Source>,
    consumer: Option<Consumer>,
    blocked: bool,
}

impl Run {
    /// `manytail run TREE`, text on standard output, defaults everywhere.
    pub(crate) fn new(tree: &Path) -> Run {
        Run {
            args: Vec::new(),
            paths: vec![tree.into()],
            format: Format::Text,
            wrapper: Vec::new(),
            directory: None,
            user: None,
            tree: tree.to_owned(),
            stdout: None,
            source: None,
            consumer: None,
            blocked: false,
        }
    }

    pub(crate) fn with(mut self, args: &[impl AsRef<OsStr>]) -> Run {
        self.args.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn raw(self) -> Run {
        Run { format: Format::Raw, ..self.with(&["--format", "raw"]) }
    }

    pub(crate) fn json(self) -> Run {
        Run { format: Format::Json, ..self.with(&["--format", "json"]) }
    }

    /// Follows these paths instead of the tree.
    pub(crate) fn paths(mut self, paths: &[impl AsRef<OsStr>]) -> Run {
        self.paths = paths.iter().map(|path| path.as_ref().to_owned()).collect();
        self
    }

    /// Started by this command, which must end in `exec "$@"` or the like, so that the process
    /// keeps its id.
    pub(crate) fn under(mut self, command: &[impl AsRef<OsStr>]) -> Run {
        self.wrapper = command.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Started by `sh -c SCRIPT`, in which `"$@"` is the command.
    pub(crate) fn shell(self, script: &str) -> Run {
        self.under(&["sh", "-c", script, "sh"])
    }

    pub(crate) fn in_directory(mut self, directory: &Path) -> Run {
        self.directory = Some(directory.to_owned());
        self
    }

    pub(crate) fn user(mut self, id: u32) -> Run {
        self.user = Some(id);
        self
    }

    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> Run {
        self.stdout = Some(stdout.into());
        self.source = Some(Source::Elsewhere);
        self
    }

    /// Records go to this regular file.
    pub(crate) fn output_file(mut self, path: &Path) -> Run {
        self.source = Some(Source::File(path.to_owned()));
        self.with(&["--output", &format!("file:{}", path.display())])
    }

    /// Records go to a place that the test reads itself.
    pub(crate) fn output(mut self, uri: &str) -> Run {
        self.source = Some(Source::Elsewhere);
        self.with(&["--output", uri])
    }

    /// Standard output goes to `consumer` chunk by chunk and is not stored; an empty chunk is the
    /// end.
    pub(crate) fn consumer(mut self, consumer: impl FnMut(&[u8]) + Send + 'static) -> Run {
        self.consumer = Some(Box::new(consumer));
        self
    }

    /// Nobody reads standard output until [`Tail::unblock`].
    pub(crate) fn blocked(mut self) -> Run {
        self.blocked = true;
        self
    }

    pub(crate) fn start(mut self) -> Tail {
        let mut words = std::mem::take(&mut self.wrapper);
        words.push(self.user.map_or_else(|| BINARY.into(), |user| binary_for(user, &self.tree)));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("run").args(&self.args).args(&self.paths);
        remove_settings(&mut command);
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command.stdout(self.stdout.unwrap_or(Stdio::piped())).stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        // The command has our copy of the child's stdout: without dropping it, a pipe never ends.
        drop(command);
        let stdout =
            child.stdout.take().map(|pipe| Capture::start(pipe, self.blocked, self.consumer));
        let source = match (self.source, stdout) {
            (Some(source), _) => source,
            (None, Some(capture)) => Source::Capture(capture),
            (None, None) => Source::Elsewhere,
        };
        let stderr = Capture::start(child.stderr.take().expect("piped"), false, None);
        Tail {
            process: Process(child.id()),
            child: RefCell::new(child),
            source,
            stderr,
            format: self.format,
            tree: self.tree,
            parsed: RefCell::default(),
            canaries: Cell::new(0),
        }
    }

    /// Runs the process, which must end by itself.
    pub(crate) fn finish(self) -> Finished {
        let tail = self.start();
        let status = tail.wait_exit();
        Finished {
            status,
            lines: tail.lines_by_file(),
            records: tail.records(),
            stderr: tail.stderr(),
        }
    }
}

/// A path of the binary that another user can execute: the binary itself, or a copy beside the
/// tree.
pub(crate) fn binary_for(user: u32, tree: &Path) -> OsString {
    let reachable = Command::new("test")
        .args(["-x", BINARY])
        .uid(user)
        .gid(user)
        .status()
        .is_ok_and(|status| status.success());
    if reachable {
        return BINARY.into();
    }
    let copy = tree.with_file_name("manytail");
    // A copy made by this process could still be open for writing in a child that another test
    // starts: ETXTBSY.
    assert!(
        Command::new("cp").arg(BINARY).arg(&copy).status().expect("cp").success(),
        "cannot copy the binary"
    );
    copy.into()
}

pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) lines: BTreeMap<String, Vec<String>>,
    pub(crate) records: Vec<Record>,
    pub(crate) stderr: String,
}

#[derive(Default)]
struct Parsed {
    consumed: usize,
    records: Vec<Record>,
}

/// A process that runs.
pub(crate) struct Tail {
    pub(crate) process: Process,
    child: RefCell<Child>,
    source: Source,
    stderr: Arc<Capture>,
    format: Format,
    tree: PathBuf,
    parsed: RefCell<Parsed>,
    canaries: Cell<u32>,
}

impl Tail {
    // The output.

    pub(crate) fn capture(&self) -> &Capture {
        match &self.source {
            Source::Capture(capture) => capture,
            _ => panic!("standard output is not captured in this test"),
        }
    }

    /// Decodes the records that were completed since the last call.
    fn parse(&self) {
        let mut parsed = self.parsed.borrow_mut();
        let mut fresh = self.source.bytes_from(parsed.consumed);
        fresh.truncate(fresh.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1));
        let mut records = decode_all(self.format, &fresh);
        records.retain(|record| !record.line.starts_with(CANARY));
        parsed.consumed += fresh.len();
        parsed.records.append(&mut records);
    }

    /// Every record so far, canaries left out.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.parse();
        self.parsed.borrow().records.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.parse();
        self.parsed.borrow().records.len()
    }

    /// The record's path below the tree.
    pub(crate) fn name(&self, record: &Record) -> String {
        name_below(&self.tree, record)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.parse();
        self.parsed.borrow().records.iter().map(Record::text).collect()
    }

    pub(crate) fn lines_by_file(&self) -> BTreeMap<String, Vec<String>> {
        let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in &self.records() {
            files.entry(self.name(record)).or_default().push(record.text());
        }
        files
    }

    // Waiting.

    #[track_caller]
    pub(crate) fn wait(&self, what: &str, condition: impl FnMut() -> bool) {
        wait_for(what, condition);
    }

    #[track_caller]
    pub(crate) fn wait_count(&self, count: usize) {
        self.wait(&format!("{count} records"), || self.count() >= count);
    }

    #[track_caller]
    pub(crate) fn wait_line(&self, line: &str) {
        self.wait(&format!("the line {line:?}"), || {
            self.parse();
            self.parsed.borrow().records.iter().any(|record| record.line == line.as_bytes())
        });
    }

    /// Waits until no log is open: a log stays open for a moment after a read, and is then read by
    /// that descriptor.
    #[track_caller]
    pub(crate) fn wait_closed(&self) {
        self.wait("the logs to be closed", || !self.has_open_logs());
    }

    fn has_open_logs(&self) -> bool {
        self.process
            .open_files()
            .iter()
            .any(|path| path.contains(".log") || Path::new(path).starts_with(&self.tree))
    }

    /// Waits until the process sleeps and nothing more comes out.
    #[track_caller]
    pub(crate) fn settled(&self) {
        let look = || (self.source.total(), self.process.switches(), self.process.ticks());
        let (mut last, mut since, mut output_since) = (look(), Instant::now(), Instant::now());
        let mut ticks = last.2;
        self.wait("to settle", || {
            let now = look();
            let state = self.process.state();
            // A process that computes has not settled, even if nothing comes out for a while: it
            // may be in the first scan of a large tree.
            if now.0 != last.0 || now.2 > ticks + 10 {
                (output_since, ticks) = (Instant::now(), now.2);
            }
            if now != last || state == 'R' {
                since = Instant::now();
            }
            last = now;
            since.elapsed() >= QUIET
                || output_since.elapsed() >= QUIET_OUTPUT
                || matches!(state, 'Z' | '-')
        });
    }

    /// The same, and waits until the files read last are closed: from then on only new events wake
    /// the process.
    #[track_caller]
    pub(crate) fn at_rest(&self) {
        self.settled();
        self.wait_closed();
        self.settled();
    }

    /// Proves that the tree is watched: a file that is made now is read.
    #[track_caller]
    pub(crate) fn armed(self) -> Tail {
        self.canary("");
        self.settled();
        self
    }

    /// Waits until a line that is written now into a file of this directory has come out.
    #[track_caller]
    pub(crate) fn canary(&self, directory: &str) {
        self.canary_file(&format!("{directory}/canary-{}", self.canaries.get()));
    }

    /// Proves that a file that is made now under this name is read. Only for tests that capture
    /// standard output or a file.
    #[track_caller]
    pub(crate) fn canary_file(&self, name: &str) {
        let number = self.canaries.replace(self.canaries.get() + 1);
        let path = self.tree.join(name.trim_start_matches('/'));
        let needle = format!("canary {number} ");
        // A file that the first scan finds may be skipped (`--from end`), so lines are written
        // until one comes.
        let mut sung = Instant::now() - DEADLINE;
        let from = self.source.total();
        self.wait(&format!("the canary in {}", path.display()), || {
            if sung.elapsed() > Duration::from_millis(100) {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
                std::io::Write::write_all(
                    &mut file.expect("canary"),
                    format!("{needle}\n").as_bytes(),
                )
                .expect("canary");
                sung = Instant::now();
            }
            self.heard(&needle, from)
        });
    }

    fn heard(&self, needle: &str, from: u64) -> bool {
        let from = usize::try_from(from).expect("captured output fits in memory");
        assert!(
            !matches!(self.source, Source::Elsewhere),
            "a canary needs an output that is captured"
        );
        self.source.bytes_from(from).windows(needle.len()).any(|window| window == needle.as_bytes())
    }

    // Expecting.

    /// Waits for exactly these lines, per file and in order, and that no others follow.
    #[track_caller]
    pub(crate) fn expect(&self, files: &[(&str, &[&str])]) {
        let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        self.expect_files(
            &files.iter().map(|(name, expected)| ((*name).to_owned(), lines(expected))).collect(),
        );
    }

    #[track_caller]
    pub(crate) fn expect_files(&self, expected: &BTreeMap<String, Vec<String>>) {
        let count: usize = expected.values().map(Vec::len).sum();
        self.wait_count_or_settled(count);
        self.settled();
        let difference = difference(&self.lines_by_file(), expected);
        assert!(difference.is_empty(), "{difference}");
    }

    /// Waits for exactly these lines in this order over all files, and that no others follow.
    #[track_caller]
    pub(crate) fn expect_in_order(&self, expected: &[impl AsRef<str>]) {
        self.wait_count_or_settled(expected.len());
        self.settled();
        let expected: Vec<String> = expected.iter().map(|line| line.as_ref().to_owned()).collect();
        let mut difference = String::new();
        describe_difference("the output", &self.lines(), &expected, &mut difference);
        assert!(difference.is_empty(), "{difference}");
    }

    /// If the count is not reached, the difference says more than a timeout.
    fn wait_count_or_settled(&self, count: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.count() < count
            && Instant::now() < deadline
            && !matches!(self.process.state(), 'Z' | '-')
        {
            thread::sleep(POLL);
        }
    }

    // Diagnostics.

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes()).into_owned()
    }

    /// How many diagnostics contain the word.
    pub(crate) fn said(&self, word: &str) -> usize {
        self.stderr().lines().filter(|line| line.contains(word)).count()
    }

    /// Warnings and errors. A tree without files at the start is none: whether the process looks
    /// before the test puts the first file there is up to the scheduler.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.stderr()
            .lines()
            .filter(|line| line.contains("WARN") || line.contains("ERROR"))
            .filter(|line| !line.contains("no file was found below"))
            .map(str::to_owned)
            .collect()
    }

    /// How many warnings and errors contain the word.
    pub(crate) fn warned(&self, word: &str) -> usize {
        self.warnings().iter().filter(|line| line.contains(word)).count()
    }

    #[track_caller]
    pub(crate) fn wait_said(&self, word: &str) {
        self.wait(&format!("a diagnostic with {word:?}"), || self.said(word) > 0);
    }

    // The process.

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.0.cast_signed()), signal).expect("kill");
    }

    /// SIGSTOP, and waits until the process has stopped.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        self.wait("SIGSTOP to hold", || self.process.state() == 'T');
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn block(&self) {
        self.capture().block();
    }

    pub(crate) fn unblock(&self) {
        self.capture().unblock();
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.child.borrow_mut().try_wait().expect("wait").is_some()
    }

    #[track_caller]
    pub(crate) fn wait_exit(&self) -> ExitStatus {
        self.wait("the process to exit", || self.has_exited());
        let ended = |capture: &Capture| self.wait("the end of its output", || capture.ended());
        ended(&self.stderr);
        if let Source::Capture(capture) = &self.source {
            ended(capture);
        }
        self.child.borrow_mut().wait().expect("wait")
    }

    /// SIGKILL: the page cache stays, the memory of the process is gone.
    #[track_caller]
    pub(crate) fn kill(&self) {
        assert!(!self.has_exited(), "it ended by itself before it was killed: {}", self.stderr());
        self.signal(Signal::SIGKILL);
        self.wait_exit();
    }

    /// SIGTERM; it must exit with 0.
    #[track_caller]
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_exit();
        assert_eq!(status.code(), Some(0), "the exit status after SIGTERM: {status}");
    }
}

/// The differences between the lines of files; empty: none.
pub(crate) fn difference(
    got: &BTreeMap<String, Vec<String>>,
    expected: &BTreeMap<String, Vec<String>>,
) -> String {
    let mut difference = String::new();
    for name in got.keys().chain(expected.keys()).collect::<BTreeSet<_>>() {
        let empty = Vec::new();
        let (got, expected) =
            (got.get(name).unwrap_or(&empty), expected.get(name).unwrap_or(&empty));
        describe_difference(name, got, expected, &mut difference);
    }
    difference
}

fn describe_difference(name: &str, got: &[String], expected: &[String], to: &mut String) {
    let Some(at) = (0..got.len().max(expected.len())).find(|&at| got.get(at) != expected.get(at))
    else {
        return;
    };
    let shown = |lines: &[String]| {
        let some =
            lines.iter().skip(at).take(3).map(|line| line.chars().take(100).collect::<String>());
        format!("{:?}", some.collect::<Vec<_>>())
    };
    let _ = writeln!(
        to,
        "{name}: {} lines instead of {}; from line {at} on:",
        got.len(),
        expected.len()
    );
    let _ = writeln!(to, "   got      {}\n   expected {}", shown(got), shown(expected));
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.borrow_mut().kill();
        let _ = self.child.borrow_mut().wait();
        if thread::panicking() {
            eprintln!("--- diagnostics of manytail:\n{}---", self.stderr());
        }
        // A stopped reader would never see the end.
        if let Source::Capture(capture) = &self.source {
            capture.unblock();
        }
    }
}

/// The path of the record's file below the tree.
pub(crate) fn name_below(tree: &Path, record: &Record) -> String {
    let below = record
        .path
        .strip_prefix(tree.as_os_str().as_bytes())
        .and_then(|path| path.strip_prefix(b"/"));
    String::from_utf8_lossy(below.unwrap_or(&record.path)).into_owned()
}

/// Decodes bytes that a test read itself, canaries included.
pub(crate) fn record(format: Format, bytes: &[u8]) -> Record {
    decode(format, bytes)
}
