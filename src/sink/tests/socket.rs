//! `unix:PATH` and `tcp:HOST:PORT`, against peers that are late, slow, rude or gone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};

use super::*;

/// A listener on a port of its own, whose connections are full after few bytes.
fn tcp_listener() -> (TcpListener, Output) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    setsockopt(&listener, sockopt::RcvBuf, &65536).expect("SO_RCVBUF");
    listener.set_nonblocking(true).expect("non-blocking");
    let output = Output::Tcp(listener.local_addr().expect("bound").to_string());
    (listener, output)
}

fn unix_listener(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).expect("a socket");
    listener.set_nonblocking(true).expect("non-blocking");
    listener
}

fn accept_tcp(driver: &mut Driver, listener: &TcpListener) -> TcpStream {
    let mut peer = None;
    driver.until("it connects", |_| {
        peer = peer.take().or_else(|| listener.accept().ok());
        peer.is_some()
    });
    let (stream, _) = peer.expect("accepted");
    stream.set_nonblocking(true).expect("non-blocking");
    stream
}

fn accept_unix(driver: &mut Driver, listener: &UnixListener) -> UnixStream {
    let mut peer = None;
    driver.until("it connects", |_| {
        peer = peer.take().or_else(|| listener.accept().ok());
        peer.is_some()
    });
    let (stream, _) = peer.expect("accepted");
    stream.set_nonblocking(true).expect("non-blocking");
    stream
}

/// Turns, and reads as the peer, until the peer has `bytes` bytes.
fn receive(driver: &mut Driver, peer: impl AsFd, bytes: usize) -> Vec<u8> {
    let mut received = Vec::new();
    driver.until("all is received", |_| {
        assert!(
            read_some(&peer, &mut received, 20_000),
            "the connection ended after {} of {bytes} bytes",
            received.len()
        );
        received.len() >= bytes
    });
    received
}

/// Closes with a reset.
fn reset(peer: TcpStream) {
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&peer, sockopt::Linger, &at_once).expect("SO_LINGER");
}

#[test]
fn malformed_addresses_are_refused() {
    for address in ["", "host", "host:", ":1", "host:0", "host:http", "host:65536"] {
        assert!(
            Driver::refusal(&Output::Tcp(address.to_owned())).contains("HOST:PORT"),
            "{address:?}"
        );
    }
    let refusal = Driver::refusal(&Output::Unix(PathBuf::from("x".repeat(200))));
    assert!(refusal.starts_with("output unix:xxx"), "{refusal}");
}

#[test]
fn tcp_peer_may_come_late() {
    // An address that no other test uses: the port stays free.
    let address =
        TcpListener::bind("127.0.0.77:0").and_then(|listener| listener.local_addr()).unwrap();
    let mut driver = Driver::new(&Output::Tcp(address.to_string()));
    driver.add(&records(100_000));
    driver.until_blocked();
    assert!(driver.sink.deadline().is_some(), "it is tried again");
    driver.until("two attempts failed", |driver| {
        driver
            .sink
            .deadline()
            .is_some_and(|deadline| deadline > clock::now().instant + Duration::from_millis(120))
    });
    assert_eq!((driver.taken, driver.sink.unacknowledged()), (0, 0));
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let peer = accept_tcp(&mut driver, &listener);
    let all = driver.stream.len();
    assert!(receive(&mut driver, &peer, all) == driver.stream);
    driver.until("all is acknowledged", |driver| driver.sink.unacknowledged() == 0);
    assert!(driver.restarts.is_empty());
    assert_eq!(driver.sink.deadline(), None);
}

#[test]
fn host_that_does_not_answer_is_given_up_and_tried_again() {
    // A listener with a full queue drops connection attempts, as a dead host does.
    let (listener, output) = tcp_listener();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let _queue: Vec<_> = (0..3).map(|_| mio::net::TcpStream::connect(address).unwrap()).collect();
    let mut driver = Driver::new(&output);
    let start = clock::now().instant;
    assert_eq!(driver.sink.send(Records::plain(b"one\n"), start).unwrap(), Sent::Blocked);
    let give_up = driver.sink.deadline().unwrap();
    assert!(give_up >= start + Duration::from_secs(10), "it waits for an answer");
    assert_eq!(driver.sink.send(Records::plain(b"one\n"), give_up - TICK).unwrap(), Sent::Blocked);
    assert_eq!(driver.sink.deadline(), Some(give_up));
    assert_eq!(driver.sink.send(Records::plain(b"one\n"), give_up).unwrap(), Sent::Blocked);
    assert_eq!(
        driver.sink.deadline(),
        Some(give_up + Duration::from_millis(50)),
        "and then backs off"
    );
}

#[test]
fn name_that_does_not_resolve_is_tried_again() {
    let mut driver = Driver::new(&Output::Tcp("no such host:1".to_owned()));
    driver.add(b"one\n");
    driver.until_blocked();
    assert!(driver.sink.deadline().is_some());
}

#[test]
fn each_address_of_a_name_is_tried() {
    // ::1 and 127.0.0.1, in whatever order; only one of them listens.
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            skip(&format!("no {address} here"));
            continue;
        };
        listener.set_nonblocking(true).unwrap();
        let Ok(mut named) = std::net::ToSocketAddrs::to_socket_addrs("localhost:1") else {
            skip("localhost is not known");
            continue;
        };
        if !named.any(|named| named.ip() == listener.local_addr().unwrap().ip()) {
            skip(&format!("localhost is not {address} here"));
            continue;
        }
        let mut driver = Driver::new(&Output::Tcp(format!(
            "localhost:{}",
            listener.local_addr().unwrap().port()
        )));
        driver.add(b"one\n");
        let peer = accept_tcp(&mut driver, &listener);
        assert_eq!(receive(&mut driver, &peer, 4), b"one\n");
    }
}

#[test]
fn tcp_bytes_count_as_acknowledged_when_the_peers_kernel_has_them() {
    let (listener, output) = tcp_listener();
    let mut driver = Driver::new(&output);
    driver.add(&records(8 << 20));
    let peer = accept_tcp(&mut driver, &listener);
    driver.until_blocked();
    let unacknowledged = usize::try_from(driver.sink.unacknowledged()).unwrap();
    assert!(
        unacknowledged > 0 && unacknowledged < driver.taken,
        "{unacknowledged} of {}",
        driver.taken
    );
    let all = driver.stream.len();
    assert!(receive(&mut driver, &peer, all) == driver.stream);
    driver.until("all is acknowledged", |driver| driver.sink.unacknowledged() == 0);
}

#[test]
fn tcp_reset_sends_again_from_the_record_that_was_not_acknowledged() {
    let (listener, output) = tcp_listener();
    let mut driver = Driver::new(&output);
    driver.add(&records(8 << 20));
    let peer = accept_tcp(&mut driver, &listener);
    driver.until_blocked();
    // The peer reads nothing, so its window is closed and its kernel's buffer does not change.
    let mut buffer = vec![0; 8 << 20];
    let has = recv(peer.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK).unwrap();
    let taken = driver.taken;
    reset(peer);
    let peer = accept_tcp(&mut driver, &listener);
    let [(unacknowledged, resumed)] = driver.restarts[..] else {
        panic!("one loss, {:?}", driver.restarts)
    };
    assert!(taken - usize::try_from(unacknowledged).unwrap() <= has, "nothing is skipped");
    assert!(resumed > 0 && resumed <= has);
    assert_eq!(driver.stream[resumed - 1], b'\n');
    let rest = driver.stream.len() - resumed;
    assert!(receive(&mut driver, &peer, rest) == driver.stream[resumed..]);
    assert_eq!(driver.restarts.len(), 1);
}

#[test]
fn record_that_a_reset_tore_counts_as_unacknowledged_and_is_sent_again_whole() {
    let (listener, output) = tcp_listener();
    let mut driver = Driver::new(&output);
    driver.add(b"small\n");
    driver.add(&long_record(8 << 20));
    let peer = accept_tcp(&mut driver, &listener);
    driver.until_blocked();
    let mut received = Vec::new();
    read_some(&peer, &mut received, 2000);
    assert!(received.len() > 6);
    let torn = driver.taken - 6;
    assert!(driver.sink.unacknowledged() >= torn as u64, "a part of a record is not acknowledged");
    reset(peer);
    let peer = accept_tcp(&mut driver, &listener);
    assert!(driver.restarts.len() == 1 && driver.restarts[0].1 == 6, "{:?}", driver.restarts);
    let rest = driver.stream.len() - 6;
    assert!(receive(&mut driver, &peer, rest) == driver.stream[6..]);
}

#[test]
fn record_sent_after_a_tcp_peer_closed_is_sent_again() {
    let (listener, output) = tcp_listener();
    let mut driver = Driver::new(&output);
    driver.add(b"one\n");
    let peer = accept_tcp(&mut driver, &listener);
    assert_eq!(receive(&mut driver, &peer, 4), b"one\n");
    driver.until("acknowledged", |driver| driver.sink.unacknowledged() == 0);
    drop(peer);
    driver.turn(TICK);
    driver.turn(TICK);
    driver.add(b"two\n");
    let peer = accept_tcp(&mut driver, &listener);
    assert_eq!(driver.restarts, [(4, 4)]);
    assert_eq!(receive(&mut driver, &peer, 4), b"two\n");
}

#[test]
fn idle_tcp_connection_that_is_reset_is_made_anew() {
    let (listener, output) = tcp_listener();
    let mut driver = Driver::new(&output);
    driver.add(b"one\n");
    let peer = accept_tcp(&mut driver, &listener);
    assert_eq!(receive(&mut driver, &peer, 4), b"one\n");
    driver.until("acknowledged", |driver| driver.sink.unacknowledged() == 0);
    reset(peer);
    let peer = accept_tcp(&mut driver, &listener);
    assert_eq!(driver.restarts, [(0, 4)]);
    driver.add(b"two\n");
    assert_eq!(receive(&mut driver, &peer, 4), b"two\n");
}

#[test]
fn tcp_peer_that_reads_one_byte_at_a_time_gets_every_record_intact() {
    let (listener, output) = tcp_listener();
    let mut driver = Driver::new(&output);
    driver.add(&records(4 << 20));
    let mut peer = accept_tcp(&mut driver, &listener);
    driver.until_blocked();
    let mut received = Vec::new();
    driver.until("a part is received", |_| {
        for _ in 0..256 {
            let mut byte = [0];
            if peer.read(&mut byte).is_ok_and(|read| read == 1) {
                received.push(byte[0]);
            }
        }
        received.len() > 20_000
    });
    let rest = driver.stream.len() - received.len();
    received.extend(receive(&mut driver, &peer, rest));
    assert!(received == driver.stream);
}

#[test]
fn peer_that_speaks_is_heard_out_and_one_that_ends_its_side_still_reads() {
    let (listener, output) = tcp_listener();
    let mut driver = Driver::new(&output);
    driver.turn(TICK);
    let mut peer = accept_tcp(&mut driver, &listener);
    let mut said = 0;
    driver.until("more was said than buffers hold", |_| {
        said += peer.write(&[b'?'; 50_000]).unwrap_or(0);
        said > 16 << 20
    });
    driver.until("all of it was heard", |driver| driver.sink.deadline().is_none());
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    driver.turn(TICK);
    driver.turn(TICK);
    driver.add(&records(100_000));
    let all = driver.stream.len();
    assert!(receive(&mut driver, &peer, all) == driver.stream);
    assert!(driver.restarts.is_empty());
    let wake_ups = driver.wake_ups;
    driver.turn(TICK);
    driver.turn(TICK);
    assert!(driver.wake_ups <= wake_ups + 1, "at rest nothing spins");
}

#[test]
fn records_reach_a_tcp_peer_that_said_something_when_the_sink_goes_away() {
    let (listener, output) = tcp_listener();
    let mut driver = Driver::new(&output);
    driver.add(&records(30_000));
    let mut peer = accept_tcp(&mut driver, &listener);
    driver.until_all_is_taken();
    peer.write_all(b"unasked").unwrap();
    let Driver { sink, stream, .. } = driver;
    drop(sink);
    peer.set_nonblocking(false).unwrap();
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("no reset");
    assert!(received == stream);
}

#[test]
fn unix_peer_may_come_late_and_come_back_under_a_new_socket_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut driver = Driver::new(&Output::Unix(path.clone()));
    driver.add(b"one\n");
    driver.until_blocked();
    let listener = unix_listener(&path);
    let peer = accept_unix(&mut driver, &listener);
    assert_eq!(receive(&mut driver, &peer, 4), b"one\n");
    drop((peer, listener));
    driver.until("the loss is noticed while nothing is written", |driver| {
        driver.wake_ups > 0 && !driver.restarts.is_empty()
    });
    assert_eq!(driver.restarts, [(0, 4)]);
    std::fs::remove_file(&path).unwrap();
    let listener = unix_listener(&path);
    driver.add(b"two\n");
    let peer = accept_unix(&mut driver, &listener);
    assert_eq!(receive(&mut driver, &peer, 4), b"two\n");
}

#[test]
fn unix_peer_that_vanished_in_the_middle_of_a_record_gets_it_whole_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = unix_listener(&path);
    let mut driver = Driver::new(&Output::Unix(path));
    driver.add(b"small\n");
    driver.add(&long_record(2 << 20));
    let peer = accept_unix(&mut driver, &listener);
    driver.until_blocked();
    let taken = driver.taken;
    assert!(receive(&mut driver, &peer, 5000)[..6] == *b"small\n");
    let taken = taken.max(driver.taken);
    drop(peer);
    let peer = accept_unix(&mut driver, &listener);
    assert_eq!(driver.restarts, [(taken as u64 - 6, 6)]);
    let rest = driver.stream.len() - 6;
    assert!(receive(&mut driver, &peer, rest) == driver.stream[6..]);
    assert_eq!(driver.restarts.len(), 1);
}

#[test]
fn unix_peer_that_ends_its_side_still_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = unix_listener(&path);
    let mut driver = Driver::new(&Output::Unix(path));
    driver.turn(TICK);
    let mut peer = accept_unix(&mut driver, &listener);
    peer.write_all(b"hello").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    driver.turn(TICK);
    driver.turn(TICK);
    driver.add(&records(500_000));
    let all = driver.stream.len();
    assert!(receive(&mut driver, &peer, all) == driver.stream);
    assert!(driver.restarts.is_empty());
}

#[test]
fn peer_that_accepts_and_leaves_at_once_is_tried_ever_more_rarely() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = unix_listener(&path);
    let mut driver = Driver::new(&Output::Unix(path));
    let (start, mut visits) = (clock::now().instant, 0);
    driver.until("four visits", |_| {
        visits += usize::from(listener.accept().is_ok());
        visits == 4
    });
    assert!(clock::now().instant.duration_since(start) >= Duration::from_millis(50 + 100 + 200));
    assert!(driver.restarts.is_empty(), "nothing was taken, so nothing was lost");
}
