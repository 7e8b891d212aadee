//! System calls fail one by one: the real binary under `strace -e inject`, a table of faults, and
//! one sequence of changes for all of them.
//!
//! In: [`TABLE`]; a row says which call fails, on what, how, when, and what is correct then. Out:
//! the names of the rows that went otherwise.
//! Always holds: a row whose fault did not happen has failed; every line comes once and in order,
//! in this run or in the next one, in which nothing fails; and retries cost little CPU.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{BINARY, Run, Tail, wait_for};
use crate::records::{Format, Record, decode_all};
use crate::scrape::get;
use crate::world::{World, skip, succeeds, tick};

/// The object of the failing call. strace(1) filters by descriptors and arguments that are this
/// path.
#[derive(Debug, Clone, Copy)]
enum On {
    /// Any object: counted from the first call that `manytail --version` does not make.
    Any,
    /// Below the followed tree; empty: the tree itself.
    Tree(&'static str),
    /// Beside it.
    Beside(&'static str),
    /// A path as it appears in the call's argument or in `/proc/self/fd`.
    Named(&'static str),
    /// The watch of the one directory below the tree, which is added by a descriptor, and all later
    /// watches.
    Below,
}

/// Which of the calls fail.
#[derive(Debug, Clone, Copy)]
enum When {
    /// Only this one, counted from 1.
    At(usize),
    /// This one and all later ones.
    From(usize),
}

/// The correct outcome.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// The run does not start: it ends with 1 and logs these words.
    Refuses(&'static str),
    /// Every line comes in the same run. A fault that passes so soon need not be reported.
    Heals,
    /// The same, and this is reported.
    HealsAndSays(&'static str),
    /// The same, and the fault happens in the next run, too: some systems always behave like this.
    HealsEverywhere,
    /// The run ends with 1 and logs these words.
    Ends(&'static str),
    /// The run continues as far as it can and logs this; missing lines come in the next run.
    GoesOn(&'static str),
    /// Likewise. Offsets cannot be stored, so lines may be repeated in the next run.
    GoesOnUnstored(&'static str),
    /// Likewise, without a log line: the failed call only makes something cheaper or faster.
    GoesOnSilently,
}

struct Row {
    call: &'static str,
    on: On,
    errnos: &'static [&'static str],
    when: &'static [When],
    then: Then,
    /// More options of the run.
    options: &'static [&'static str],
}

/// One fault of the table.
struct Fault {
    row: &'static Row,
    errno: &'static str,
    when: When,
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { call, on, then, options, .. } = self.row;
        write!(
            to,
            "{call} on {on:?} fails with {}, {:?} {options:?}: {then:?}",
            self.errno, self.when
        )
    }
}

const NONE: &[&str] = &[];
use On::{Any, Below, Beside, Named, Tree};
use Then::{
    Ends, GoesOn, GoesOnSilently, GoesOnUnstored, Heals, HealsAndSays, HealsEverywhere, Refuses,
};
use When::{At, From};

const fn row(
    call: &'static str,
    on: On,
    errnos: &'static [&'static str],
    when: &'static [When],
    then: Then,
) -> Row {
    Row { call, on, errnos, when, then, options: NONE }
}

/// A fault of a run that ends when everything is read: nothing is written meanwhile.
const fn once(
    call: &'static str,
    on: On,
    errnos: &'static [&'static str],
    when: When,
    then: Then,
) -> Row {
    let when: &'static [When] = match when {
        At(1) => &[At(1)],
        From(1) => &[From(1)],
        _ => panic!("only the first call, or all of them"),
    };
    Row { call, on, errnos, when, then, options: &["--once"] }
}

/// The faults. `EINTR` always happens once only: signals are blocked, so no call is interrupted
/// twice in a row.
const TABLE: &[Row] = &[
    // Starts that cannot succeed: the failed call is named.
    row(
        "epoll_create1",
        Any,
        &["EMFILE"],
        &[At(1)],
        Refuses("cannot make an epoll instance: Too many open files"),
    ),
    row(
        "signalfd4",
        Any,
        &["ENFILE"],
        &[At(1)],
        Refuses("cannot receive signals: Too many open files in system"),
    ),
    row(
        "epoll_ctl",
        Any,
        &["ENOSPC"],
        &[At(1)],
        Refuses("cannot poll signals: No space left on device"),
    ),
    row(
        "eventfd2",
        Any,
        &["ENOMEM"],
        &[At(1)],
        Refuses("cannot make a waker: Cannot allocate memory"),
    ),
    row(
        "pipe2",
        Any,
        &["EMFILE"],
        &[At(1)],
        Refuses("cannot receive signals: Too many open files"),
    ),
    // The thread that waits for signals, and the one that stores offsets.
    row(
        "clone3",
        Any,
        &["EAGAIN"],
        &[At(1)],
        Refuses("cannot receive signals: Resource temporarily unavailable"),
    ),
    row(
        "clone3",
        Any,
        &["EAGAIN"],
        &[At(2)],
        Refuses("cannot start a thread: Resource temporarily unavailable"),
    ),
    row(
        "mkdir",
        Any,
        &["EACCES", "EDQUOT"],
        &[At(1)],
        Refuses("cannot make the state directory /"),
    ),
    // The first lock is that of the directory, which not every file system supports.
    row("flock", Any, &["ENOLCK"], &[At(2)], Refuses("by its file lock: No locks available")),
    // The start waits for a process that it cannot identify.
    row("flock", Any, &["EAGAIN"], &[At(1)], Heals),
    row("flock", Any, &["EAGAIN"], &[From(1)], Refuses("is in use by another process")),
    row(
        "openat",
        Named("lock"),
        &["EMFILE", "EIO"],
        &[At(1)],
        Refuses("cannot lock the state directory /"),
    ),
    row(
        "getdents64",
        Beside("state"),
        &["EIO"],
        &[At(1)],
        Refuses("cannot list the state directory: Input/output error"),
    ),
    row(
        "openat",
        Beside("out.log"),
        &["EACCES", "EMFILE", "ENOSPC"],
        &[At(2)],
        Refuses("out.log: cannot open: "),
    ),
    row(
        "socket",
        Any,
        &["EMFILE"],
        &[At(1)],
        Refuses("control.sock: cannot listen: Too many open files"),
    ),
    row(
        "bind",
        Any,
        &["EACCES"],
        &[At(1)],
        Refuses("control.sock: cannot listen: Permission denied"),
    ),
    // The listener may be gone by the time of the check.
    row("listen", Any, &["EADDRINUSE"], &[At(1)], Heals),
    row(
        "listen",
        Any,
        &["EADDRINUSE"],
        &[From(1)],
        Refuses("control.sock: cannot listen: Address already in use"),
    ),
    // A single interruption is not reported.
    row("mkdir", Any, &["EINTR"], &[At(1)], Heals),
    row("flock", Any, &["EINTR"], &[At(1)], Heals),
    row("openat", Named("lock"), &["EINTR"], &[At(1)], Heals),
    row("epoll_wait", Any, &["EINTR"], &[At(1), At(7)], Heals),
    row("read", Named("anon_inode:[signalfd]"), &["EINTR"], &[At(1)], Heals),
    Row {
        options: &["--rescan", "0"],
        ..row("read", Named("anon_inode:inotify"), &["EINTR"], &[At(1), At(2), At(3), At(5)], Heals)
    },
    row("statx", Tree("a.log"), &["EINTR"], &[At(1), At(3)], Heals),
    row("openat2", Tree("a.log"), &["EINTR"], &[At(1)], HealsAndSays("a.log")),
    row("pread64", Tree("a.log"), &["EINTR"], &[At(1), At(3)], Heals),
    row("getdents64", Tree("d"), &["EINTR"], &[At(1)], Heals),
    row("write", Beside("out.log"), &["EINTR"], &[At(1), At(3)], Heals),
    row("fdatasync", Any, &["EINTR"], &[At(1), At(3)], Heals),
    row("renameat", Any, &["EINTR"], &[At(1)], Heals),
    // `statx` of a file.
    row("statx", Tree("a.log"), &["ENOMEM", "EIO", "ESTALE"], &[At(1), At(4)], Heals),
    row("statx", Tree("a.log"), &["ENOMEM", "EIO", "ESTALE"], &[From(1)], GoesOn("a.log\"")),
    row("statx", Tree("a.log"), &["EACCES"], &[At(1)], HealsAndSays("cannot be read")),
    row("statx", Tree("a.log"), &["EACCES"], &[From(3)], GoesOn("cannot be read")),
    row("statx", Tree("a.log"), &["ENOENT", "ELOOP"], &[At(1), At(3)], Heals),
    row("name_to_handle_at", Tree("a.log"), &["ENOMEM", "EIO", "ESTALE"], &[At(1), At(3)], Heals),
    row("name_to_handle_at", Tree("a.log"), &["ENOMEM", "EIO"], &[From(1)], GoesOn("a.log\"")),
    row(
        "name_to_handle_at",
        Any,
        &["EOPNOTSUPP", "ENOSYS", "EPERM", "EOVERFLOW"],
        &[From(1)],
        HealsEverywhere,
    ),
    // Opening and reading it.
    row(
        "openat2",
        Tree("a.log"),
        &["EMFILE", "ENFILE", "ENOMEM", "EIO"],
        &[At(1)],
        HealsAndSays("a.log\""),
    ),
    row("openat2", Tree("a.log"), &["EMFILE", "EIO"], &[At(2), At(3), At(5)], Heals),
    row("openat2", Tree("a.log"), &["EMFILE", "EIO"], &[From(2)], GoesOn("a.log\"")),
    row("openat2", Tree("a.log"), &["EACCES"], &[At(1)], HealsAndSays("cannot be read")),
    row("openat2", Tree("a.log"), &["EACCES"], &[From(2)], GoesOn("cannot be read")),
    row("openat2", Tree("a.log"), &["EPERM"], &[At(1)], Heals),
    row("openat2", Tree("a.log"), &["ENOENT", "ELOOP", "ESTALE"], &[At(1), At(3)], Heals),
    // Kernels and sandboxes without it: component by component.
    row("openat2", Any, &["ENOSYS", "EPERM"], &[From(1)], HealsEverywhere),
    // The existence of the call is checked once; a shortage does not answer that.
    row("openat2", Any, &["EMFILE", "ENOMEM"], &[At(1)], Heals),
    row(
        "pread64",
        Tree("a.log"),
        &["EIO", "ENOMEM", "EAGAIN"],
        &[At(1), At(3)],
        HealsAndSays("a.log\""),
    ),
    row("pread64", Tree("a.log"), &["EIO", "ENOMEM"], &[From(2)], GoesOn("a.log\"")),
    row("pread64", Tree("a.log"), &["ESTALE"], &[At(1), At(3)], Heals),
    // Where a file system does not report holes, NULs are data.
    row("lseek", Tree("hole.log"), &["EIO", "EINVAL"], &[At(1)], Heals),
    // Directories.
    row("statx", Tree("d"), &["ENOMEM", "EIO"], &[At(1)], HealsAndSays("/d")),
    row("statx", Tree("d"), &["ENOENT"], &[At(1), At(2)], Heals),
    // In a directory below, a name is resolved relative to the directory's descriptor.
    row(
        "statx",
        Named("b.log"),
        &["EINTR", "ENOMEM", "EIO", "ESTALE", "ENOENT"],
        &[At(1), At(3)],
        Heals,
    ),
    row("statx", Named("b.log"), &["EACCES"], &[At(1)], HealsAndSays("cannot be read")),
    row("name_to_handle_at", Named("b.log"), &["ENOMEM", "EIO", "ESTALE"], &[At(1), At(3)], Heals),
    // The watch, and the listing.
    row("openat2", Tree("d"), &["EMFILE", "EIO", "ESTALE"], &[At(1), At(2)], HealsAndSays("/d")),
    row("openat2", Tree("d"), &["ENOMEM"], &[At(2)], HealsAndSays("/d")),
    row("openat2", Tree("d"), &["ENOMEM"], &[At(1)], Heals),
    row("openat2", Tree("d"), &["ENOENT"], &[At(1), At(2), From(1)], GoesOnSilently),
    // As if PATH led through a link: it is opened first then.
    row("openat2", Tree("d"), &["ELOOP"], &[At(1), From(1)], Heals),
    row("openat2", Tree("d"), &["EIO"], &[From(2)], GoesOn("/d")),
    row("openat2", Tree("d"), &["EACCES"], &[From(1), From(2)], GoesOn("directory cannot be read")),
    row("getdents64", Tree("d"), &["EIO", "ENOMEM"], &[At(1)], HealsAndSays("/d")),
    row("getdents64", Tree("d"), &["EIO"], &[From(1)], GoesOn("/d")),
    row("getdents64", Tree(""), &["EIO"], &[At(1)], HealsAndSays("directory cannot be listed now")),
    // Watches.
    row("inotify_init1", Any, &["EMFILE", "ENOMEM"], &[From(1)], GoesOn("fs.inotify.max_user_")),
    // Kernels and sandboxes without it.
    row("inotify_init1", Any, &["ENOSYS", "EPERM"], &[From(1)], GoesOn("refuses inotify")),
    row("inotify_add_watch", Any, &["ENOSYS", "EPERM"], &[From(1)], GoesOn("refuses inotify")),
    row("inotify_init1", Any, &["ENOSYS", "EPERM"], &[At(1)], Heals),
    row("inotify_add_watch", Below, &["ENOSPC"], &[From(1)], GoesOn("fs.inotify.max_user_watches")),
    row("inotify_add_watch", Below, &["ENOMEM", "EIO", "EACCES"], &[At(1)], Heals),
    row("inotify_add_watch", Below, &["EACCES"], &[From(1)], GoesOn("directory cannot be read")),
    row("inotify_add_watch", Below, &["ENOENT"], &[At(1), From(1)], GoesOnSilently),
    // The output.
    row(
        "write",
        Beside("out.log"),
        &["ENOSPC", "EDQUOT", "EIO"],
        &[At(1), At(3)],
        HealsAndSays("out.log"),
    ),
    row("write", Beside("out.log"), &["ENOSPC", "EIO"], &[From(2)], GoesOn("out.log")),
    row(
        "write",
        Beside("out.log"),
        &["EPERM"],
        &[At(1), At(3)],
        Ends("out.log: cannot write: Operation not permitted"),
    ),
    row("lseek", Beside("out.log"), &["ESPIPE"], &[From(1)], GoesOnSilently),
    row(
        "fdatasync",
        Beside("out.log"),
        &["EIO"],
        &[At(2)],
        GoesOnUnstored("cannot make the output durable"),
    ),
    // The journal.
    row(
        "openat",
        Named("journal.1.new"),
        &["EMFILE", "ENOSPC", "EIO"],
        &[At(1)],
        HealsAndSays("journal.1.new"),
    ),
    row(
        "write",
        Beside("state/journal.1.new"),
        &["ENOSPC", "EDQUOT", "EIO"],
        &[At(1), At(2)],
        HealsAndSays("journal.1.new"),
    ),
    row(
        "write",
        Beside("state/journal.1"),
        &["ENOSPC", "EIO"],
        &[At(1), At(2)],
        HealsAndSays("journal.1"),
    ),
    row("write", Beside("state/journal.1"), &["ENOSPC"], &[From(3)], HealsAndSays("journal.1")),
    row(
        "fdatasync",
        Beside("state/journal.1.new"),
        &["EIO"],
        &[At(1)],
        HealsAndSays("journal.1.new"),
    ),
    row(
        "fdatasync",
        Beside("state/journal.1"),
        &["EIO", "ENOSPC"],
        &[At(1), At(2)],
        HealsAndSays("journal.1"),
    ),
    row("fdatasync", Any, &["EIO"], &[From(1)], GoesOnUnstored("no offset is committed")),
    row("fsync", Beside("state"), &["EIO"], &[At(1)], HealsAndSays("journal.1")),
    row(
        "renameat",
        Any,
        &["EACCES", "ENOSPC"],
        &[At(1)],
        HealsAndSays("cannot rename journal.1.new"),
    ),
    row("renameat", Any, &["EIO"], &[From(1)], GoesOnUnstored("cannot rename journal.")),
    row(
        "pread64",
        Beside("state/journal.1.new"),
        &["EIO"],
        &[At(1)],
        HealsAndSays("journal.1.new"),
    ),
    row("unlinkat", Any, &["EIO", "EROFS"], &[At(1)], HealsAndSays("journal.1.new")),
    // The end of a commit is noticed even if it does not wake the loop.
    row("write", Named("anon_inode:[eventfd]"), &["EIO", "EPERM"], &[At(1), At(3), From(1)], Heals),
    // An output that cannot be stamped: a file system without extended attributes, or no room for
    // one.
    row("fsetxattr", Any, &["EOPNOTSUPP", "ENOSPC", "EPERM"], &[From(1)], HealsEverywhere),
    row("fsetxattr", Any, &["EIO"], &[At(1), At(2)], Heals),
    row("ftruncate", Any, &["EIO"], &[At(1)], GoesOnSilently),
    // Clients.
    row("accept4", Any, &["EMFILE", "ENOBUFS"], &[At(1)], HealsAndSays("cannot accept a client")),
    row("accept4", Any, &["ECONNABORTED", "EINTR"], &[At(1)], Heals),
    row("accept4", Any, &["EMFILE"], &[From(1)], GoesOn("cannot accept a client")),
    row("recvfrom", Any, &["ECONNRESET", "EINTR", "EAGAIN"], &[At(1)], Heals),
    row("sendto", Any, &["EPIPE", "EINTR", "EAGAIN"], &[At(1)], Heals),
    // `--once` waits out a shortage; it skips and reports what may be broken permanently.
    once("openat2", Tree("d"), &["EMFILE", "ENOMEM"], At(1), HealsAndSays("/d")),
    once("getdents64", Tree("d"), &["ENOMEM"], At(1), HealsAndSays("/d")),
    once(
        "getdents64",
        Tree(""),
        &["ENOMEM"],
        At(1),
        HealsAndSays("directory cannot be listed now"),
    ),
    once("statx", Tree("d"), &["ENOMEM"], At(1), HealsAndSays("/d")),
    once("openat2", Tree("d"), &["EIO"], From(1), GoesOn("directory cannot be listed: left out")),
    once(
        "getdents64",
        Tree("d"),
        &["EIO"],
        From(1),
        GoesOn("directory cannot be listed: left out"),
    ),
    once("statx", Tree("a.log"), &["ENOMEM"], At(1), HealsAndSays("a.log\"")),
    once("openat2", Tree("a.log"), &["EMFILE"], At(1), HealsAndSays("a.log\"")),
    once("statx", Tree("a.log"), &["EIO", "ESTALE"], From(1), GoesOn("cannot be read")),
    once("openat2", Tree("a.log"), &["EIO"], From(1), GoesOn("cannot be read")),
];

/// How many faults run at a time: they mostly wait.
const AT_ONCE: usize = 4;
/// The most context switches in a second in which a process only retries; strace adds two for each
/// call. Polling the tree takes some five hundred calls, a busy loop tens of thousands.
const SWITCHES_MAX: u64 = 1_500;

/// How often `manytail --version` makes this call: those are calls of the loader and the runtime,
/// which are not to fail.
fn calls_before(world: &World, call: &str) -> usize {
    let trace = world.beside("trace-before");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-e", &format!("trace={call}"), "-o"])
        .arg(&trace)
        .args([BINARY, "--version"]);
    assert!(command.stdout(Stdio::null()).status().expect("strace").success());
    fs::read_to_string(trace)
        .expect("the trace")
        .lines()
        .filter(|line| line.contains(&format!("{call}(")))
        .count()
}

/// A tree, and the lines that were written to it.
struct Story {
    world: World,
    /// The lines in order; the words before the last are the log's.
    written: Vec<String>,
}

impl Story {
    fn new() -> Story {
        let world = World::new();
        let mut story = Story { world, written: Vec::new() };
        story.world.mkdir("d");
        for (name, log) in [("a.log", "a"), ("d/b.log", "b"), ("restarts.log", "r")] {
            (0..3).for_each(|_| story.write(name, log));
        }
        // NULs, so that the run asks the file system where data is.
        story.write("hole.log", "h");
        story.world.append("hole.log", "\0\0\0\0\0\n");
        story.written.push("\0\0\0\0\0".to_owned());
        story
    }

    /// The next line of a log, into the file that has its name now.
    fn write(&mut self, name: &str, log: &str) {
        let number = self
            .written
            .iter()
            .filter(|line| line.rsplit_once(' ').is_some_and(|(of, _)| of == log))
            .count();
        let line = format!("{log} {number}");
        self.world.append(name, format!("{line}\n"));
        self.written.push(line);
    }

    fn out(&self) -> PathBuf {
        self.world.beside("out.log")
    }

    fn run(&self) -> Run {
        let state = self.world.beside("state");
        let options = [
            "--state-dir",
            state.to_str().expect("UTF-8"),
            "--commit-interval",
            "50ms",
            "--shutdown-timeout",
            "200ms",
        ];
        // Each read opens its file, so that opens can fail. `promptness` tests a shortage while
        // files are open.
        self.world.run().json().with(&options).with(&["--keep-open", "0"]).output_file(&self.out())
    }

    /// How many watches are added before that of the directory below the tree.
    fn watches_before(&self) -> usize {
        let trace = self.world.beside("trace-before");
        let strace = [
            "strace",
            "-D",
            "-f",
            "-qq",
            "-e",
            "trace=inotify_add_watch",
            "-o",
            trace.to_str().expect("UTF-8"),
        ];
        let tail = self.world.run().under(&strace).start();
        let before = || {
            let text = fs::read_to_string(&trace).unwrap_or_default();
            text.lines().position(|line| line.contains("/proc/self/fd/"))
        };
        wait_for("the watch of a directory", || before().is_some());
        drop(tail);
        before().expect("just seen")
    }

    /// A run with the fault.
    fn with(&self, fault: &Fault) -> Run {
        let at = |path: &Path| path.to_str().expect("UTF-8").trim_end_matches('/').to_owned();
        let (path, before) = match fault.row.on {
            Any => (None, calls_before(&self.world, fault.row.call)),
            Tree(name) => (Some(at(&self.world.at(name))), 0),
            Beside(name) => (Some(at(&self.world.beside(name))), 0),
            Named(name) => (Some(name.to_owned()), 0),
            Below => (None, self.watches_before()),
        };
        let when = match fault.when {
            At(number) => format!("{}", before + number),
            From(number) => format!("{}+", before + number),
        };
        let call = fault.row.call;
        let mut strace = ["strace", "-D", "-f", "-q", "-e"].map(str::to_owned).to_vec();
        strace.extend([
            format!("trace={call}"),
            "-e".to_owned(),
            format!("inject={call}:error={}:when={when}", fault.errno),
        ]);
        strace.extend(path.into_iter().flat_map(|path| ["-P".to_owned(), path]));
        strace.extend(["-o".to_owned(), at(&self.trace())]);
        let socket = self.socket();
        let rescan =
            if fault.row.options.contains(&"--rescan") { NONE } else { &["--rescan", "1s"] };
        self.run()
            .with(rescan)
            .with(fault.row.options)
            .with(&["--control-socket", &at(&socket)])
            .under(&strace)
    }

    fn socket(&self) -> PathBuf {
        self.world.beside("control.sock")
    }

    fn trace(&self) -> PathBuf {
        self.world.beside("trace")
    }

    /// Changes the tree. With `is_patient` each step waits until all earlier lines have come.
    fn unfold(&mut self, tail: &Tail, is_patient: bool) {
        let wait =
            |story: &Story| if is_patient { tail.wait_count(story.written.len()) } else { tick() };
        if is_patient {
            wait(self);
        } else {
            // The first scan is complete, or as far as it gets.
            tail.settled();
        }
        for round in 0..3 {
            self.write("a.log", "a");
            self.write("d/b.log", "b");
            if round != 1 {
                wait(self);
            }
            // If a listing finds two generations, only their times give the order.
            tick();
            self.world.rename("a.log", format!("a.log.{round}"));
            tick();
            self.write("a.log", "a");
            self.world.mkdir(format!("e{round}"));
            self.write(&format!("e{round}/c.log"), &format!("c {round}"));
            wait(self);
        }
        self.write("d/b.log", "b");
        self.write("hole.log", "h");
        if is_patient {
            wait(self);
            self.world.truncate("restarts.log", 0);
            self.write("restarts.log", "r");
            wait(self);
        }
        tick();
        self.write("a.log", "a");
    }

    fn injected(&self) -> usize {
        fs::read_to_string(self.trace()).unwrap_or_default().matches("(INJECTED)").count()
    }

    /// The records in the output; the last one may be torn while it is written.
    fn records(&self) -> Vec<Record> {
        let bytes = fs::read(self.out()).unwrap_or_default();
        decode_all(Format::Json, &bytes)
    }

    /// Checks that each line came once, and those of a log in order; either all lines or those that
    /// came so far, with or without repeats.
    #[track_caller]
    fn check(&self, when: &str, is_all: bool, may_repeat: bool) {
        let mut lines: Vec<String> = self.records().iter().map(Record::text).collect();
        if may_repeat {
            let mut seen = std::collections::BTreeSet::new();
            lines.retain(|line| seen.insert(line.clone()));
        }
        let mut logs: BTreeMap<&str, (Vec<&String>, Vec<&String>)> = BTreeMap::new();
        fn log(line: &str) -> &str {
            line.rsplit_once(' ').map_or("NULs", |(log, _)| log)
        }
        lines.iter().for_each(|line| logs.entry(log(line)).or_default().0.push(line));
        self.written.iter().for_each(|line| logs.entry(log(line)).or_default().1.push(line));
        for (log, (got, expected)) in logs {
            let mut next = expected.iter();
            // Without the lines that are still to come: in the same order, each once.
            let is_right = if is_all {
                got == expected
            } else {
                got.iter().all(|line| next.any(|other| other == line))
            };
            assert!(is_right, "{when}: of log {log} came {got:?}, not {expected:?}");
        }
    }
}

impl Fault {
    /// The text that has to be reported.
    fn word(&self) -> Option<&'static str> {
        match self.row.then {
            Refuses(word) | Ends(word) | HealsAndSays(word) | GoesOn(word)
            | GoesOnUnstored(word) => Some(word),
            Heals | HealsEverywhere | GoesOnSilently => None,
        }
    }

    /// Whether every line comes in the run with the fault.
    fn heals(&self) -> bool {
        matches!(self.row.then, Heals | HealsAndSays(_) | HealsEverywhere)
    }
}

/// Runs the sequence with the fault. Panics if the outcome is not that of the table.
fn meet(fault: &Fault) {
    let mut story = Story::new();
    let tail = story.with(fault).start();
    let is_once = fault.row.options.contains(&"--once");
    match fault.row.then {
        Refuses(_) => expect_end(&tail, 1),
        Ends(_) => {
            story.unfold(&tail, false);
            expect_end(&tail, 1);
        }
        // The exit code reports that something could not be read.
        GoesOn(_) if is_once => expect_end(&tail, 1),
        _ if is_once => expect_end(&tail, 0),
        _ => go_through(&mut story, &tail, fault),
    }
    wait_for("the fault", || story.injected() > 0);
    if let Some(word) = fault.word() {
        tail.wait(&format!("a warning with {word:?}"), || tail.warned(word) > 0);
    }
    assert!(!tail.stderr().contains("panicked"), "{}", tail.stderr());
    if let (From(_), false) = (fault.when, tail.has_exited()) {
        let before = tail.process.switches_of_all_threads();
        // Not a wait for a condition: it measures the activity while there is nothing to do.
        thread::sleep(Duration::from_secs(1));
        let switches = tail.process.switches_of_all_threads() - before;
        assert!(
            switches <= SWITCHES_MAX,
            "it does not rest: {switches} switches in a second, {} faults",
            story.injected()
        );
    }
    if !matches!(fault.row.then, Refuses(_) | Ends(_)) && !is_once {
        assert!(!tail.has_exited(), "it ended by itself: {}", tail.stderr());
        tail.terminate();
    }
    story.check("in this run", fault.heals(), false);
    // Nothing fails in this run, unless the fault is permanent.
    let next =
        if matches!(fault.row.then, HealsEverywhere) { story.with(fault) } else { story.run() };
    let finished = next.with(&["--once"]).finish();
    assert!(finished.status.success(), "the next run: {}", finished.stderr);
    story.check("after the next run", true, matches!(fault.row.then, GoesOnUnstored(_)));
}

#[track_caller]
fn expect_end(tail: &Tail, code: i32) {
    let status = tail.wait_exit();
    assert_eq!(status.code(), Some(code), "{}", tail.stderr());
}

fn go_through(story: &mut Story, tail: &Tail, fault: &Fault) {
    story.unfold(tail, fault.heals());
    if ["accept4", "recvfrom", "sendto"].contains(&fault.row.call) {
        ask(story, fault);
    }
    if fault.heals() {
        tail.wait_count(story.written.len());
    }
    if fault.row.on_signals() {
        tail.signal(nix::sys::signal::Signal::SIGUSR1);
    }
}

impl Row {
    fn on_signals(&self) -> bool {
        matches!(self.on, Named(name) if name.contains("signalfd"))
    }
}

/// Asks the control socket until it answers, or once if it never will.
fn ask(story: &Story, fault: &Fault) {
    use std::io::{Read, Write};
    let question = || -> std::io::Result<bool> {
        let mut stream = std::os::unix::net::UnixStream::connect(story.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /status HTTP/1.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    match fault.when {
        At(_) => wait_for("an answer", || question().unwrap_or(false)),
        From(_) => drop(std::os::unix::net::UnixStream::connect(story.socket())),
    }
    if let At(_) = fault.when {
        assert_eq!(get(&story.socket(), "/status").code(), 200);
    }
}

fn is_on_root_file_system(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).expect("stat").dev();
    device(path) == device(Path::new("/"))
}

#[test]
fn every_fault_of_the_table_is_survived_reported_and_costs_no_line_and_no_cpu() {
    if !succeeds(
        "strace",
        &[
            "-D",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "trace=read",
            "-e",
            "inject=read:error=EIO:when=999",
            "true",
        ],
    ) {
        return skip("strace cannot inject faults here");
    }
    if !is_on_root_file_system(&std::env::temp_dir()) {
        // Other calls pass names relative to a descriptor of PATH, which strace's filter does not
        // match.
        return skip("the directory for temporary files is not on the root file system");
    }
    let faults: Vec<Fault> = TABLE
        .iter()
        .flat_map(|row| {
            row.errnos.iter().flat_map(move |&errno| {
                row.when.iter().map(move |&when| Fault { row, errno, when })
            })
        })
        .collect();
    // Selects rows by a part of their names, to investigate a failure.
    let wanted = std::env::var("MANYTAIL_FAULT").unwrap_or_default();
    let faults: Vec<&Fault> =
        faults.iter().filter(|fault| fault.to_string().contains(&wanted)).collect();
    assert!(!faults.is_empty(), "no row of the table is named like {wanted:?}");
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| meet(fault))) {
                        let said = panic.downcast_ref::<String>().cloned();
                        let said = said.or_else(|| {
                            panic.downcast_ref::<&str>().map(|said| (*said).to_owned())
                        });
                        failures
                            .lock()
                            .expect("failures")
                            .push(format!("{fault}\n    {}", said.unwrap_or_default()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("failures");
    assert!(
        failures.is_empty(),
        "{} of {} faults:\n{}",
        failures.len(),
        faults.len(),
        failures.join("\n")
    );
}
