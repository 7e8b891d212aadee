//! Sockets whose peer is late, leaves or comes back: every line arrives, and each connection begins
//! with a whole record.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::{DEADLINE, Tail, record, wait_for};
use crate::records::{Format, Record, decode_all};
use crate::world::{World, numbered, text};

/// The consumer's side: accepts, and reads records with a deadline.
struct Peer<S> {
    stream: S,
    /// An incomplete record.
    torn: Vec<u8>,
    /// Every whole record since the connection began.
    lines: Vec<String>,
}

impl<S: Read> Peer<S> {
    /// Reads until the lines are enough. Returns all lines of this connection.
    fn read_until(&mut self, what: &str, mut enough: impl FnMut(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut buffer = vec![0; 64 << 10];
        while !enough(&self.lines) {
            let so_far = self.lines.len();
            assert!(
                Instant::now() < deadline,
                "not within {DEADLINE:?}: {what}; so far {so_far} records"
            );
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the connection ended before {what}; so far {so_far} records"),
                Ok(got) => self.torn.extend_from_slice(&buffer[..got]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("read: {error}"),
            }
            let whole = self.torn.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let records = decode_all(Format::Text, &self.torn[..whole]);
            self.lines.extend(records.iter().map(Record::text));
            self.torn.drain(..whole);
        }
        self.lines.clone()
    }

    fn read_line(&mut self, line: &str) -> Vec<String> {
        self.read_until(&format!("the line {line:.60?}"), |lines| {
            lines.iter().any(|got| got == line)
        })
    }
}

fn accept_tcp(listener: &TcpListener) -> Peer<TcpStream> {
    listener.set_nonblocking(true).expect("non-blocking");
    let mut accepted = None;
    wait_for("a connection", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let stream = accepted.expect("accepted").0;
    stream.set_nonblocking(false).expect("blocking");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
    Peer { stream, torn: Vec::new(), lines: Vec::new() }
}

fn accept_unix(listener: &UnixListener) -> Peer<UnixStream> {
    listener.set_nonblocking(true).expect("non-blocking");
    let mut accepted = None;
    wait_for("a connection", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let stream = accepted.expect("accepted").0;
    stream.set_nonblocking(false).expect("blocking");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
    Peer { stream, torn: Vec::new(), lines: Vec::new() }
}

fn to_tcp(world: &World, listener: &TcpListener) -> Tail {
    world.run().output(&format!("tcp:{}", listener.local_addr().expect("address"))).start()
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("listen")
}

#[test]
fn a_tcp_peer_gets_every_line_in_order() {
    let world = World::new();
    let listener = listen();
    let tail = to_tcp(&world, &listener);
    let lines = numbered("line", 0..20_000);
    for chunk in lines.chunks(500) {
        world.append("a.log", text(chunk));
    }
    let mut peer = accept_tcp(&listener);
    assert!(peer.read_line("line 19999") == lines);
    drop(tail);
}

#[test]
fn a_host_name_is_resolved() {
    let world = World::new();
    let listener = listen();
    let port = listener.local_addr().expect("address").port();
    world.append("a.log", "one\n");
    let _tail = world.run().output(&format!("tcp:localhost:{port}")).start();
    assert_eq!(accept_tcp(&listener).read_line("one"), ["one"]);
}

/// `W-01`
#[test]
fn a_tcp_peer_that_comes_late_gets_everything() {
    let world = World::new();
    let address = listen().local_addr().expect("address");
    let lines = numbered(&"x".repeat(500), 0..4_000);
    world.append("a.log", text(&lines));
    let tail = world.run().output(&format!("tcp:{address}")).start();
    wait_for("a diagnostic", || tail.said(&address.to_string()) > 0);
    std::thread::sleep(Duration::from_millis(700));
    let rss = tail.process.rss_kib();
    assert!(!tail.has_exited());
    assert!(tail.said(&address.to_string()) <= 2, "no flood: {}", tail.stderr());
    let listener = TcpListener::bind(address).expect("listen");
    let mut peer = accept_tcp(&listener);
    assert!(peer.read_line(&lines[3_999]) == lines);
    assert!(rss < 32 << 10, "{rss} KiB while it waited");
}

/// `W-02`: the peer had read everything before it left, so nothing is lost; repeated records are
/// whole.
#[test]
fn a_tcp_peer_that_leaves_and_comes_back_misses_nothing() {
    let world = World::new();
    let listener = listen();
    let tail = to_tcp(&world, &listener);
    let lines = numbered("line", 0..100);
    let mut got = BTreeSet::new();
    let mut repeats = 0;
    for (round, chunk) in lines.chunks(20).enumerate() {
        world.append("a.log", text(chunk));
        let mut peer = accept_tcp(&listener);
        let last = chunk.last().expect("a line");
        for line in peer.read_line(last) {
            repeats += usize::from(!got.insert(line));
        }
        assert_eq!(got.len(), (round + 1) * 20, "a gap in round {round}");
        // The peer's kernel has everything; it is read to the end, so closing sends a FIN.
        drop(peer);
    }
    assert_eq!(got, lines.iter().cloned().collect());
    assert!(repeats <= 20, "{repeats} repeats though everything had been acknowledged");
    drop(tail);
}

/// `W-02`, with lines that are written during the outage.
#[test]
fn lines_written_while_the_peer_is_away_come_when_it_is_back() {
    let world = World::new();
    let listener = listen();
    let address = listener.local_addr().expect("address");
    let tail = to_tcp(&world, &listener);
    world.append("a.log", "before\n");
    let mut peer = accept_tcp(&listener);
    peer.read_line("before");
    drop(listener);
    drop(peer);
    let lines = numbered("away", 0..5_000);
    for chunk in lines.chunks(50) {
        world.append("a.log", text(chunk));
    }
    tail.settled();
    let listener = TcpListener::bind(address).expect("listen again");
    let mut peer = accept_tcp(&listener);
    let got = peer.read_line("away 4999");
    let got: Vec<String> = got.into_iter().filter(|line| line != "before").collect();
    assert!(got == lines, "{} lines instead of {}", got.len(), lines.len());
}

/// `W-03`
#[test]
fn a_reset_in_the_middle_of_a_record_sends_it_again_whole() {
    let world = World::new();
    let listener = listen();
    let tail = world
        .run()
        .with(&["--max-line-bytes", "16MiB"])
        .output(&format!("tcp:{}", listener.local_addr().expect("address")))
        .start();
    let long = "x".repeat(12 << 20);
    world.append("a.log", format!("first\n{long}\nlast\n"));
    let mut peer = accept_tcp(&listener);
    peer.read_line("first");
    // Some of the long record, then a reset.
    let mut some = vec![0; 100_000];
    wait_for("a part of the record", || peer.stream.read_exact(&mut some).is_ok());
    setsockopt(&peer.stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })
        .expect("SO_LINGER");
    drop(peer);
    let mut peer = accept_tcp(&listener);
    let got = peer.read_line("last");
    assert!(
        got.contains(&long),
        "the long record came whole: {:?}",
        got.iter().map(String::len).collect::<Vec<_>>()
    );
    assert!(
        got.iter().all(|line| *line == long || line == "first" || line == "last"),
        "a torn record"
    );
    drop(tail);
}

/// Both again, at random positions, under load: every connection begins with a whole record, and no
/// line is missing except those in the kernel of a peer that died.
#[test]
fn every_connection_begins_with_a_whole_record() {
    let world = World::new();
    let listener = listen();
    let lines = numbered(&"y".repeat(3_000), 0..3_000);
    world.append("a.log", text(&lines));
    let tail = to_tcp(&world, &listener);
    let mut last_seen = 0;
    for _ in 0..5 {
        let mut peer = accept_tcp(&listener);
        let got = peer.read_until("some records", |got| got.len() >= 100);
        let numbers: Vec<usize> = got
            .iter()
            .map(|line| line.rsplit(' ').next().expect("a number").parse().expect("whole"))
            .collect();
        assert!(
            numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "a gap or a torn record within a connection"
        );
        // Data that the dead peer's kernel had received and the peer had not read is lost; a repeat
        // is allowed.
        last_seen = last_seen.max(*numbers.last().expect("records"));
        setsockopt(&peer.stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })
            .expect("SO_LINGER");
    }
    let mut peer = accept_tcp(&listener);
    world.append("a.log", "end\n");
    let got = peer.read_line("end");
    assert_eq!(got[got.len() - 2], lines[2_999]);
    drop(tail);
}

/// `W-04`
#[test]
fn a_unix_socket_removed_and_made_again_is_connected_to() {
    let world = World::new();
    let path = world.beside("socket");
    let mut listener = UnixListener::bind(&path).expect("listen");
    let tail = world.run().output(&format!("unix:{}", path.display())).start();
    for round in 0..3 {
        let lines = numbered(&format!("round {round}"), 0..50);
        world.append("a.log", text(&lines));
        let mut peer = accept_unix(&listener);
        let got = peer.read_line(&lines[49]);
        assert!(got.ends_with(&lines), "{got:?}");
        fs::remove_file(&path).expect("rm");
        drop(peer);
        drop(listener);
        tail.settled();
        listener = UnixListener::bind(&path).expect("listen again");
    }
    drop(tail);
}

/// `W-01` for unix sockets.
#[test]
fn a_unix_peer_that_comes_late_gets_everything() {
    let world = World::new();
    let path = world.beside("socket");
    let lines = numbered("line", 0..1_000);
    world.append("a.log", text(&lines));
    let tail = world.run().output(&format!("unix:{}", path.display())).start();
    tail.wait_said("socket");
    let listener = UnixListener::bind(&path).expect("listen");
    assert!(accept_unix(&listener).read_line("line 999") == lines);
}

/// A connected peer that does not read: back-pressure as with a pipe.
#[test]
fn a_tcp_peer_that_does_not_read_blocks_reading_and_nothing_else() {
    let world = World::new();
    let listener = listen();
    let tail = to_tcp(&world, &listener);
    let lines = numbered(&"z".repeat(1_000), 0..20_000);
    world.append("a.log", text(&lines));
    let mut peer = accept_tcp(&listener);
    tail.settled();
    assert!(tail.process.rss_kib() < 40 << 10, "{} KiB", tail.process.rss_kib());
    world.mkdir("new");
    world.write("new/b.log", "b\n");
    wait_for("the new directory to be watched", || tail.process.watches() == 2);
    let got = peer.read_until("all lines", |got| got.len() > 20_000);
    let (b, a): (Vec<String>, Vec<String>) = got.into_iter().partition(|line| line == "b");
    assert_eq!(b.len(), 1);
    assert!(a == lines, "out of order");
}

/// SIGTERM while there is no listener: there is nothing to wait for, and no error.
#[test]
fn sigterm_without_a_peer_ends_the_run_with_0() {
    let world = World::new();
    world.append("a.log", "one\n");
    let address = listen().local_addr().expect("address");
    let tail = world
        .run()
        .with(&["--shutdown-timeout", "500ms"])
        .output(&format!("tcp:{address}"))
        .start();
    tail.wait_said(&address.to_string());
    let start = Instant::now();
    tail.terminate();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// `--once` waits for the peer to take everything.
#[test]
fn once_into_a_socket_delivers_all_before_it_exits() {
    let world = World::new();
    let listener = listen();
    let lines = numbered(&"w".repeat(400), 0..10_000);
    world.append("a.log", format!("{}last", text(&lines)));
    let tail = world
        .run()
        .with(&["--once"])
        .output(&format!("tcp:{}", listener.local_addr().expect("address")))
        .start();
    let mut peer = accept_tcp(&listener);
    let mut bytes = Vec::new();
    wait_for("the end of the connection", || peer.stream.read_to_end(&mut bytes).is_ok());
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
    let records: Vec<&[u8]> =
        bytes.strip_suffix(b"\n").expect("whole").split(|&byte| byte == b'\n').collect();
    assert_eq!(records.len(), 10_001);
    assert_eq!(record(Format::Text, records[10_000]).line, b"last");
}
