//! manytail as a service: messages to its manager, signals, the journal, rate-limited diagnostics,
//! and no privilege except to read.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::{Run, Tail, wait_for};
use crate::world::{World, flood, heavy, is_root, make_fifo, skip, succeeds, text};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;
/// How many lines one cause may log in a minute.
const LINES_PER_MINUTE: u64 = 10;

/// A service manager that receives messages.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    lines: RefCell<Vec<String>>,
    _directory: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        Manager { socket, path, lines: RefCell::default(), _directory: directory }
    }

    /// Starts the run as a manager does, with further variables.
    fn start(&self, run: Run, variables: &[&str]) -> Tail {
        let mut command: Vec<OsString> =
            vec!["env".into(), format!("NOTIFY_SOCKET={}", self.path.display()).into()];
        command.extend(variables.iter().map(OsString::from));
        run.under(&command).start()
    }

    /// All messages so far, line by line; waits at most this long for more.
    fn hear(&self, patience: Duration) -> Vec<String> {
        let mut buffer = [0; 8192];
        self.socket.set_read_timeout(Some(patience)).expect("SO_RCVTIMEO");
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let message = String::from_utf8(buffer[..len].to_vec()).expect("UTF-8");
            self.lines.borrow_mut().extend(message.lines().map(str::to_owned));
            self.socket.set_read_timeout(Some(Duration::from_millis(1))).expect("SO_RCVTIMEO");
        }
        self.lines.borrow().clone()
    }

    #[track_caller]
    fn wait(&self, what: &str, condition: impl Fn(&[String]) -> bool) {
        wait_for(&format!("the word {what}"), || condition(&self.hear(Duration::from_millis(1))));
    }

    #[track_caller]
    fn wait_line(&self, line: &str) {
        self.wait(line, |lines| lines.iter().any(|said| said == line));
    }

    fn count(&self, line: &str) -> usize {
        self.lines.borrow().iter().filter(|said| *said == line).count()
    }

    fn forget(&self) {
        self.lines.borrow_mut().clear();
    }
}

/// The next status line that SIGUSR1 writes to a log in json.
#[track_caller]
fn snapshot(tail: &Tail) -> serde_json::Value {
    let snapshots = || {
        let events = tail.stderr();
        let events =
            events.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.filter(|event| event["message"] == "status").collect::<Vec<_>>()
    };
    let before = snapshots().len();
    tail.signal(Signal::SIGUSR1);
    wait_for("a snapshot", || snapshots().len() > before);
    snapshots().pop().expect("just seen")
}

#[track_caller]
fn number(event: &serde_json::Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("{field} is no number in {event}"))
}

#[test]
fn ready_is_said_once_when_all_directories_are_watched_though_a_path_is_missing() {
    let world = World::in_memory();
    for directory in 0..600 {
        world.mkdir(format!("d{directory}/e"));
        world.write(format!("d{directory}/e/a.log"), "");
    }
    let manager = Manager::new();
    let run = world.run().paths(&[&world.tree, &world.beside("missing")]);
    let tail = manager.start(run, &[]);
    manager.wait_line("READY=1");
    let heard = manager.hear(Duration::from_millis(1));
    assert_eq!(tail.process.watches(), 1 + 2 * 600, "{heard:?}");
    for directory in 0..600 {
        world.append(format!("d{directory}/e/a.log"), "new\n");
    }
    tail.wait_count(600);
    tail.settled();
    manager.hear(Duration::from_millis(1));
    assert_eq!((manager.count("READY=1"), tail.count()), (1, 600));
    manager.wait_line("STATUS=following 600 files in 1,201 directories");
    let at_ready = heard.iter().position(|line| line == "READY=1").expect("just heard");
    assert!(
        heard[..at_ready].iter().all(|line| line.starts_with("STATUS=first scan: ")),
        "{heard:?}"
    );
}

#[test]
fn a_run_that_ends_by_itself_says_ready_and_then_stopping() {
    let world = World::new();
    world.write("a.log", "one\n");
    let manager = Manager::new();
    let tail = manager.start(world.run().with(&["--once"]), &[]);
    assert_eq!(tail.wait_exit().code(), Some(0));
    let heard = manager.hear(Duration::from_millis(1));
    let words: Vec<&String> = heard
        .iter()
        .filter(|line| !line.starts_with("STATUS=") && !line.starts_with("EXTEND"))
        .collect();
    assert_eq!(words, ["READY=1", "STOPPING=1"]);
    assert_eq!(tail.lines(), ["one"]);
}

#[test]
fn a_failure_is_told_with_its_reason() {
    let world = World::new();
    let manager = Manager::new();
    let tail = manager.start(world.run().paths(&[world.beside("missing")]).with(&["--once"]), &[]);
    assert_eq!(tail.wait_exit().code(), Some(1));
    manager.wait_line("STATUS=failed: none of the given paths exists");
}

#[test]
fn the_watchdog_is_pinged_while_the_process_runs_idle_or_not_and_not_while_it_hangs() {
    let world = World::new();
    world.write("a.log", "one\n");
    let manager = Manager::new();
    let tail = manager.start(world.run(), &["WATCHDOG_USEC=150000"]);
    tail.wait_line("one");
    let pings = |at_least: usize| {
        manager.wait("WATCHDOG=1", |lines| {
            lines.iter().filter(|line| *line == "WATCHDOG=1").count() >= at_least
        })
    };
    pings(10);
    tail.stop();
    manager.hear(Duration::from_millis(1));
    manager.forget();
    assert_eq!(
        manager.hear(Duration::from_secs(1)),
        [""; 0],
        "a process that is stopped makes no turns"
    );
    tail.go_on();
    pings(10);
    tail.block();
    world.append("a.log", text(&flood()));
    manager.forget();
    pings(10);
    manager.wait("STATUS of a blocked output", |lines| {
        lines.iter().any(|line| {
            line.starts_with("STATUS=") && line.contains("; output stdout blocked since 2")
        })
    });
    manager.forget();
    tail.unblock();
    tail.wait_count(6_001);
    manager.wait_line("STATUS=following 1 file in 1 directory");
}

#[test]
fn without_a_watchdog_of_its_own_an_idle_process_sleeps() {
    let world = World::new();
    world.write("a.log", "one\n");
    let manager = Manager::new();
    for variables in [&[][..], &["WATCHDOG_USEC=100000", "WATCHDOG_PID=1"]] {
        // A relative PATH: what other tests do beside this one's directory is not on its way.
        let tail =
            manager.start(world.run().in_directory(&world.beside("")).paths(&["tree"]), variables);
        tail.wait_line("one");
        manager.wait_line("READY=1");
        tail.at_rest();
        manager.hear(Duration::from_millis(1));
        manager.forget();
        let before = (tail.process.switches(), tail.process.ticks());
        assert_eq!(manager.hear(Duration::from_secs(2)), [""; 0], "{variables:?}");
        assert_eq!((tail.process.switches(), tail.process.ticks()), before, "{variables:?}");
    }
}

/// Even if nothing else happens, and there is no watchdog.
#[test]
fn a_blocked_output_is_told() {
    let world = World::new();
    let manager = Manager::new();
    let tail = manager.start(world.run(), &[]).armed();
    tail.block();
    world.append("a.log", text(&flood()));
    manager.wait("STATUS of a blocked output", |lines| {
        lines
            .iter()
            .any(|line| line.contains("; 1 with unread bytes; output stdout blocked since 2"))
    });
    tail.unblock();
    tail.wait_count(6_000);
}

#[test]
fn sighup_is_a_reload_that_ends_when_the_output_was_reopened() {
    let world = World::new();
    let (output, state) = (world.beside("out"), world.beside("state"));
    let manager = Manager::new();
    let run = world.run().output_file(&output).with(&["--state-dir".as_ref(), state.as_os_str()]);
    let tail = manager.start(run, &[]).armed();
    manager.wait_line("READY=1");
    manager.forget();
    std::fs::rename(&output, world.beside("out.1")).expect("rename");
    tail.signal(Signal::SIGHUP);
    manager.wait_line("READY=1");
    assert!(output.exists(), "the new file is there");
    let heard = manager.hear(Duration::from_millis(1));
    let words: Vec<&String> = heard.iter().filter(|line| !line.starts_with("STATUS=")).collect();
    assert_eq!(
        (words.len(), words[0].as_str(), words[2].as_str()),
        (3, "RELOADING=1", "READY=1"),
        "{heard:?}"
    );
    let at = words[1].strip_prefix("MONOTONIC_USEC=").and_then(|usec| usec.parse::<u64>().ok());
    assert!(at.is_some_and(|usec| usec > 0), "{heard:?}");
}

#[test]
fn sigterm_is_told_while_the_output_still_takes_what_was_read() {
    let world = World::new();
    let manager = Manager::new();
    let tail = manager.start(world.run().with(&["--shutdown-timeout", "1min"]), &[]).armed();
    tail.block();
    world.append("a.log", text(&flood()));
    tail.settled();
    tail.signal(Signal::SIGTERM);
    manager.wait_line("STOPPING=1");
    manager.wait_line("EXTEND_TIMEOUT_USEC=70000000");
    manager.wait_line("STATUS=stopping");
    assert!(!tail.has_exited());
    tail.unblock();
    assert_eq!(tail.wait_exit().code(), Some(0));
    manager.hear(Duration::from_millis(1));
    assert_eq!((manager.count("STOPPING=1"), manager.count("READY=1")), (1, 1));
}

#[test]
fn a_manager_that_does_not_listen_costs_one_debug_line() {
    let world = World::new();
    world.write("a.log", "one\n");
    for (address, line) in [
        ("/nowhere/notify", "message to the service manager failed"),
        ("vsock:2:1234", "cannot be notified"),
    ] {
        let variable = format!("NOTIFY_SOCKET={address}");
        let tail = world
            .run()
            .with(&["--log-level", "debug"])
            .under(&["env", variable.as_str(), "WATCHDOG_USEC=30000"])
            .start();
        tail.wait_line("one");
        tail.wait_said(line);
        world.append("a.log", "two\n");
        tail.wait_line("two");
        tail.terminate();
        assert_eq!(tail.said(line), 1, "{}", tail.stderr());
        world.write("a.log", "one\n");
    }
}

#[test]
fn sigusr1_says_how_the_run_is_and_the_run_goes_on() {
    let world = World::new();
    world.mkdir("d");
    world.write("d/a.log", "one\ntwo\n");
    let tail = world.run().with(&["--log-format", "json"]).start();
    tail.wait_count(2);
    tail.settled();
    let first = snapshot(&tail);
    let named = [
        "files",
        "directories",
        "watches",
        "records",
        "bytes",
        "unread_files",
        "overflows",
        "lost_bytes",
        "suppressed",
    ];
    assert_eq!(named.map(|field| number(&first, field)), [1, 2, 2, 2, 8, 0, 0, 0, 0], "{first}");
    assert_eq!(
        (&first["level"], &first["output_blocked"]),
        (&"INFO".into(), &"0ns".into()),
        "{first}"
    );
    tail.block();
    let lines = flood();
    world.append("d/b.log", text(&lines));
    tail.settled();
    let blocked = snapshot(&tail);
    assert_eq!((number(&blocked, "files"), number(&blocked, "unread_files")), (2, 1), "{blocked}");
    assert_ne!(blocked["output_blocked"], "0ns", "{blocked}");
    tail.unblock();
    tail.wait_count(2 + lines.len());
    tail.terminate();
}

#[test]
fn the_journal_gets_a_priority_and_no_time_and_other_readers_do_not() {
    let world = World::new();
    world.write("a.log", "one\n");
    world.fifo("pipe\nline");
    let named = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec \"$@\"";
    let tail = world.run().shell(named).start();
    tail.wait_line("one");
    tail.wait_said("not a regular file");
    tail.signal(Signal::SIGUSR1);
    tail.wait_said("<6>status files=1 directories=1 ");
    tail.terminate();
    let said = tail.stderr();
    assert!(said.lines().all(|line| line.starts_with("<4>") || line.starts_with("<6>")), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("<4>not a regular file: never opened path=")),
        "{said}"
    );
    assert!(!said.contains("WARN") && !said.contains("INFO") && !said.contains('\x1b'), "{said}");

    let tail = world.run().with(&["--log-format", "json"]).shell(named).start();
    tail.wait_said("never opened");
    tail.terminate();
    for line in tail.stderr().lines() {
        let event: serde_json::Value =
            serde_json::from_str(&line[3..]).expect("an object after the priority");
        let priority = if event["level"] == "WARN" { "<4>" } else { "<6>" };
        assert!(line.starts_with(priority), "{line}");
    }

    let tail = world.run().under(&["env", "JOURNAL_STREAM=1:1"]).start();
    tail.wait_said("never opened");
    tail.terminate();
    assert!(
        tail.stderr().lines().all(|line| !line.starts_with('<') && line.contains("Z ")),
        "{}",
        tail.stderr()
    );
}

/// At most as many as the minutes of the test allow, and all suppressed ones are counted.
#[track_caller]
fn expect_cut(tail: &Tail, word: &str, total: u64, started: Instant) {
    let event = snapshot(tail);
    let said = tail.said(word) as u64;
    let minutes = 1 + started.elapsed().as_secs() / 60;
    assert!((1..=minutes * LINES_PER_MINUTE).contains(&said), "{said} lines in {minutes} minutes");
    assert_eq!(number(&event, "diagnostics"), said, "{event}");
    assert_eq!(said + number(&event, "suppressed"), total, "{event}");
}

#[test]
fn ten_thousand_unreadable_files_are_ten_lines_and_all_are_counted() {
    if !is_root() {
        return;
    }
    let _alone = heavy();
    let world = World::in_memory();
    for number in 0..10_000 {
        let mut options = std::fs::OpenOptions::new();
        options
            .create(true)
            .append(true)
            .mode(0o000)
            .open(world.at(format!("secret-{number}")))
            .expect("create");
    }
    let started = Instant::now();
    let tail = world.run().user(NOBODY).with(&["--log-format", "json"]).start().armed();
    for number in 0..10_000 {
        world.append(format!("secret-{number}"), "x\n");
    }
    tail.canary("");
    tail.settled();
    expect_cut(&tail, "secret-", 10_000, started);
    assert_eq!(tail.count(), 0);
}

#[test]
fn ten_thousand_fifos_are_ten_lines_and_all_are_counted() {
    let _alone = heavy();
    let world = World::in_memory();
    for number in 0..5_000 {
        world.fifo(format!("fifo-{number}"));
    }
    let started = Instant::now();
    let tail = world.run().with(&["--log-format", "json"]).start().armed();
    world.mkdir("later");
    // A file that is made while its directory is being listed may be reported twice, as an entry
    // and as an event.
    tail.canary("later");
    for number in 0..5_000 {
        make_fifo(&world.at(format!("later/fifo-{number}")));
    }
    tail.canary("later");
    tail.settled();
    expect_cut(&tail, "fifo-", 10_000, started);
}

#[test]
fn one_file_that_flaps_is_said_once() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let tail = world.run().user(NOBODY).start().armed();
    let mut expected = Vec::new();
    for round in 0..5 {
        world.append("a.log", format!("{round}\n"));
        expected.push(round.to_string());
        tail.wait_line(&round.to_string());
        tail.wait_closed();
        world.chmod("a.log", 0o200);
        world.append("a.log", format!("secret {round}\n"));
        tail.canary("");
        tail.settled();
        world.chmod("a.log", 0o644);
        expected.push(format!("secret {round}"));
        tail.wait_line(&format!("secret {round}"));
    }
    assert_eq!(tail.lines(), expected);
    assert_eq!(
        (tail.said("cannot be read:"), tail.said("can be read again")),
        (1, 1),
        "{}",
        tail.stderr()
    );
}

#[test]
fn an_output_that_comes_and_goes_is_said_once_and_each_loss_is_counted() {
    let world = World::new();
    let path = world.beside("socket");
    let listener = UnixListener::bind(&path).expect("bind");
    world.write("a.log", "one\n");
    let started = Instant::now();
    let tail = world
        .run()
        .output(&format!("unix:{}", path.display()))
        .with(&["--log-format", "json"])
        .start();
    let mut buffer = [0; 1 << 10];
    for round in 0..20 {
        let (mut peer, _) = listener.accept().expect("accept");
        assert!(peer.read(&mut buffer).expect("read") > 0, "records came");
        drop(peer);
        world.append("a.log", format!("{round}\n"));
    }
    // Once it is connected again it has noticed every loss.
    let (mut peer, _) = listener.accept().expect("accept");
    assert!(peer.read(&mut buffer).expect("read") > 0, "records came");
    let event = snapshot(&tail);
    let said = tail.said("tried again") as u64;
    assert!((1..=1 + started.elapsed().as_secs() / 30).contains(&said), "{}", tail.stderr());
    assert_eq!(number(&event, "diagnostics"), said);
    assert_eq!(said + number(&event, "suppressed"), 20, "{}", tail.stderr());
}

/// Directories (0700) and files (0600) of other users: five of them, each with one line.
fn private_world() -> World {
    let world = World::new();
    for user in 0..5 {
        let (home, log) = (format!("u{user}"), format!("u{user}/job.log"));
        world.mkdir(&home);
        world.write(&log, format!("line of {user}\n"));
        world.chmod(&log, 0o600);
        world.chmod(&home, 0o700);
        for name in [&log, &home] {
            chown(world.at(name), Some(2_000 + user), Some(2_000 + user)).expect("chown");
        }
    }
    world
}

#[test]
fn with_no_privilege_but_the_capability_to_read_all_lines_of_other_users_arrive() {
    if !is_root() {
        return;
    }
    let only = "-all,+dac_read_search";
    let drop_rest = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
        &format!("--inh-caps={only}"),
        &format!("--ambient-caps={only}"),
        &format!("--bounding-set={only}"),
    ];
    if !succeeds(drop_rest[0], &[&drop_rest[1..], &["true"]].concat()) {
        return skip("setpriv cannot give capabilities");
    }
    let world = private_world();
    let state = world.beside("state");
    std::fs::create_dir(&state).expect("mkdir");
    chown(&state, Some(NOBODY), Some(NOBODY)).expect("chown");
    let tail =
        world.run().with(&["--state-dir".as_ref(), state.as_os_str()]).under(&drop_rest).start();
    tail.wait_count(5);
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", tail.process.0)).expect("status");
    for (name, value) in [
        ("Uid", "65534"),
        ("CapEff", "0000000000000004"),
        ("CapBnd", "0000000000000004"),
        ("NoNewPrivs", "1"),
    ] {
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).expect(name);
        assert_eq!(line.split_whitespace().nth(1), Some(value), "{line}");
    }
    world.append("u3/job.log", "more\n");
    world.mkdir("u3/run");
    world.write("u3/run/new.log", "new\n");
    world.chmod("u3/run/new.log", 0o600);
    world.chmod("u3/run", 0o700);
    tail.wait_count(7);
    tail.settled();
    let mut lines = tail.lines();
    lines.sort();
    assert_eq!(
        lines,
        ["line of 0", "line of 1", "line of 2", "line of 3", "line of 4", "more", "new"]
    );
    let said = tail.stderr();
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    tail.terminate();
}

#[test]
fn without_the_capability_each_directory_is_said_once_and_picked_up_when_it_may_be_read() {
    if !is_root() {
        return;
    }
    let world = private_world();
    let tail = world.run().user(NOBODY).start().armed();
    for user in 0..5 {
        tail.wait_said(&format!("/u{user}"));
        world.append(format!("u{user}/job.log"), "more\n");
    }
    tail.canary("");
    tail.settled();
    for user in 0..5 {
        assert_eq!(tail.said(&format!("/u{user}")), 1, "{}", tail.stderr());
        world.chmod(format!("u{user}/job.log"), 0o644);
        world.chmod(format!("u{user}"), 0o755);
    }
    let lines: Vec<[String; 2]> =
        (0..5).map(|user| [format!("line of {user}"), "more".to_owned()]).collect();
    let expected =
        lines.iter().enumerate().map(|(user, lines)| (format!("u{user}/job.log"), lines.to_vec()));
    tail.expect_files(&expected.collect());
}
