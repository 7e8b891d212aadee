//! The messages of a run whose turns and clock the test controls, at a real socket.

use std::time::SystemTime;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

struct Manager {
    socket: UnixDatagram,
    service: Service,
    seen: Seen,
    _directory: tempfile::TempDir,
}

impl Manager {
    fn new(watchdog: Option<Duration>) -> Manager {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        socket.set_nonblocking(true).expect("O_NONBLOCK");
        let now = Now {
            instant: clock::now().instant,
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
        };
        let service = Service::new(path.as_os_str(), watchdog, "tcp:db:1".to_owned(), now)
            .expect("a service");
        let seen = Seen {
            now,
            has_scanned: true,
            is_reopening: false,
            progress: 0,
            files: 120_334,
            directories: 1,
            unread: 0,
            blocked: None,
            question: None,
        };
        Manager { socket, service, seen, _directory: directory }
    }

    fn pass(&mut self, time: Duration) {
        self.seen.now.instant += time;
        self.seen.now.wall += time;
    }

    /// Ends one turn. Returns the messages that the manager got.
    fn turn(&mut self) -> Vec<String> {
        self.service.turned(&self.seen);
        self.got()
    }

    fn got(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            lines.extend(String::from_utf8_lossy(&buffer[..len]).lines().map(str::to_owned));
        }
        lines
    }

    fn deadline(&mut self) -> Option<Duration> {
        let at = self.service.turned(&self.seen);
        at.map(|at| at - self.seen.now.instant)
    }
}

#[test]
fn ready_comes_once_and_only_after_the_scan() {
    let mut manager = Manager::new(None);
    manager.seen.has_scanned = false;
    assert_eq!(manager.turn(), ["STATUS=first scan: 120,334 files in 1 directory so far"]);
    manager.seen.has_scanned = true;
    assert_eq!(manager.turn(), ["READY=1", "STATUS=following 120,334 files in 1 directory"]);
    assert_eq!(manager.turn(), [""; 0]);
}

#[test]
fn the_start_timeout_is_extended_while_the_scan_makes_progress_and_not_otherwise() {
    let mut manager = Manager::new(None);
    manager.seen.has_scanned = false;
    let mut extended = 0;
    for second in 0..60 {
        manager.seen.progress = second.min(30);
        extended +=
            manager.turn().iter().filter(|line| **line == "EXTEND_TIMEOUT_USEC=60000000").count();
        manager.pass(Duration::from_secs(1));
    }
    // After 5, 10 ... 30 seconds.
    assert_eq!(extended, 6);
}

/// A loop that hangs does not end its turn.
#[test]
fn the_watchdog_is_pinged_by_turns_and_by_nothing_else() {
    let mut manager = Manager::new(Some(TIMEOUT / PINGS_PER_TIMEOUT));
    let is_pinged = |lines: &[String]| lines.iter().any(|line| line == "WATCHDOG=1");
    assert!(is_pinged(&manager.turn()));
    assert!(!is_pinged(&manager.turn()), "not in every turn");
    manager.pass(TIMEOUT);
    assert!(manager.got().is_empty(), "time alone does not ping");
    manager.service.reloading(manager.seen.now.instant);
    assert!(!is_pinged(&manager.got()), "a signal is no progress");
    assert!(is_pinged(&manager.turn()));
    manager.pass(TIMEOUT / 3);
    assert!(is_pinged(&manager.turn()));
}

#[test]
fn an_idle_process_wakes_for_a_watchdog_within_half_of_its_time_and_otherwise_never() {
    let mut manager = Manager::new(Some(TIMEOUT / PINGS_PER_TIMEOUT));
    let deadline = manager.deadline().expect("it wakes for the watchdog");
    assert!(deadline <= TIMEOUT / 2, "{deadline:?}");
    assert_eq!(Manager::new(None).deadline(), None);
}

#[test]
fn a_watchdog_of_another_process_or_of_no_time_is_none() {
    assert_eq!(watchdog_interval("30000000", None, 7), Some(Duration::from_secs(10)));
    assert_eq!(watchdog_interval("30000000", Some("7"), 7), Some(Duration::from_secs(10)));
    assert_eq!(watchdog_interval("30000000", Some("8"), 7), None);
    assert_eq!(watchdog_interval("30000000", Some("x"), 7), None);
    for no_time in ["", "0", "-1", "1.5", "soon"] {
        assert_eq!(watchdog_interval(no_time, None, 7), None, "{no_time}");
    }
}

#[test]
fn status_changes_are_told_every_few_seconds_and_unread_bytes_are_taken_back_at_once() {
    let mut manager = Manager::new(None);
    manager.turn();
    manager.seen.files = 7;
    assert_eq!(manager.turn(), [""; 0], "too soon");
    manager.pass(STATUS_EVERY);
    manager.seen.unread = 1234;
    assert_eq!(
        manager.turn(),
        ["STATUS=following 7 files in 1 directory; 1,234 with unread bytes"]
    );
    manager.seen.unread = 1;
    assert_eq!(manager.turn(), [""; 0], "too soon");
    manager.seen.unread = 0;
    assert_eq!(
        manager.turn(),
        ["STATUS=following 7 files in 1 directory"],
        "it may sleep from now on"
    );
    manager.pass(STATUS_EVERY * 10);
    assert_eq!(manager.turn(), [""; 0], "nothing changed");
}

#[test]
fn a_blocked_output_is_told_once_with_the_time_at_which_it_began() {
    let mut manager = Manager::new(None);
    manager.turn();
    manager.seen.blocked = Some(Duration::ZERO);
    manager.seen.unread = 3;
    assert_eq!(manager.deadline(), Some(BLOCKED_LONG), "though nothing happens");
    manager.pass(BLOCKED_LONG);
    manager.seen.blocked = Some(BLOCKED_LONG);
    let told = "STATUS=following 120,334 files in 1 directory; 3 with unread bytes; \
                output tcp:db:1 blocked since 2001-09-09T01:46:40Z";
    assert_eq!(manager.turn(), [told]);
    manager.pass(STATUS_EVERY * 3);
    manager.seen.blocked = Some(BLOCKED_LONG + STATUS_EVERY * 3);
    assert_eq!((manager.turn(), manager.deadline()), (Vec::new(), None));
    manager.seen.blocked = None;
    manager.seen.unread = 0;
    assert_eq!(manager.turn(), ["STATUS=following 120,334 files in 1 directory"]);
}

#[test]
fn a_reload_lasts_until_its_work_is_done() {
    let mut manager = Manager::new(None);
    manager.turn();
    let before = clock::monotonic_usec();
    manager.service.reloading(manager.seen.now.instant);
    let got = manager.got();
    assert_eq!((got.len(), &*got[0]), (2, "RELOADING=1"));
    let at: u64 =
        got[1].strip_prefix("MONOTONIC_USEC=").expect("the time").parse().expect("a number");
    assert!((before..=clock::monotonic_usec()).contains(&at));
    manager.seen.is_reopening = true;
    assert_eq!(manager.turn(), [""; 0]);
    manager.seen.is_reopening = false;
    manager.seen.has_scanned = false;
    assert_eq!(manager.turn(), [""; 0], "new PATHs are being listed");
    manager.seen.has_scanned = true;
    assert_eq!(manager.turn(), ["READY=1"]);
}

#[test]
fn a_reload_before_the_first_scan_is_through_does_not_make_it_ready() {
    let mut manager = Manager::new(None);
    manager.seen.has_scanned = false;
    manager.turn();
    manager.service.reloading(manager.seen.now.instant);
    assert_eq!((manager.got(), manager.turn()), (Vec::new(), Vec::new()));
}

#[test]
fn stopping_is_told_once_asks_for_the_time_it_takes_and_is_the_last_word() {
    let mut manager = Manager::new(None);
    manager.turn();
    manager.service.stopping(Duration::from_secs(5), manager.seen.now.instant);
    assert_eq!(manager.got(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000", "STATUS=stopping"]);
    manager.service.stopping(Duration::ZERO, manager.seen.now.instant);
    manager.service.reloading(manager.seen.now.instant);
    manager.pass(STATUS_EVERY * 2);
    assert_eq!(manager.turn(), [""; 0]);
    manager.service.failed("no\nway", manager.seen.now.instant);
    assert_eq!(manager.got(), ["STATUS=failed: no?way"]);
}

/// The queue of a unix socket takes a few datagrams (`net.unix.max_dgram_qlen`).
#[test]
fn a_manager_that_takes_nothing_now_gets_ready_later() {
    let mut manager = Manager::new(Some(TIMEOUT / PINGS_PER_TIMEOUT));
    let full = std::iter::repeat_with(|| {
        manager.service.socket.send_to_addr(b"X=1", &manager.service.manager)
    });
    let sent = full.take(100_000).take_while(Result::is_ok).count();
    assert!(sent < 100_000, "the queue has an end");
    assert_eq!(manager.deadline(), Some(RETRY_AFTER));
    assert!(manager.got().iter().all(|line| line == "X=1"));
    assert_eq!(manager.turn(), [""; 0], "not before its time");
    manager.pass(RETRY_AFTER);
    assert_eq!(
        manager.turn(),
        ["READY=1", "WATCHDOG=1", "STATUS=following 120,334 files in 1 directory"]
    );
}

#[test]
fn a_manager_that_is_gone_costs_nothing_but_the_message() {
    let mut manager = Manager::new(None);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gone");
    drop(UnixDatagram::bind(&path).expect("bind"));
    manager.service.manager = SocketAddr::from_pathname(&path).expect("an address");
    assert_eq!(manager.deadline(), None);
    assert!(manager.service.has_failed);
}

#[test]
fn a_name_in_the_abstract_namespace_is_an_address_and_other_kinds_are_refused() {
    let now = clock::now();
    let name = format!("manytail-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("an address");
    let socket = UnixDatagram::bind_addr(&address).expect("bind");
    let mut service = Service::new(format!("@{name}").as_ref(), None, "stdout".to_owned(), now)
        .expect("a service");
    service.stopping(Duration::ZERO, now.instant);
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).expect("a message");
    assert!(buffer[..len].starts_with(b"STOPPING=1\n"));
    for other in ["vsock:2:1", "notify", ""] {
        Service::new(other.as_ref(), None, String::new(), now).expect_err(other);
    }
}
