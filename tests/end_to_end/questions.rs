//! Polite, slow and hostile clients of the metrics listener and the control socket: each polite one
//! gets its answer, and none does harm.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Run, Tail, wait_for};
use crate::scrape::{Answer, Metered, ask, connect, get, read_all, samples};
use crate::world::{Random, World, flood, text};

/// The most clients that one listener has at a time.
const CLIENTS: usize = 16;
/// Much less than a client's time limit for its request, and much more than a machine under load
/// needs.
const AT_ONCE: Duration = Duration::from_millis(2_500);

fn with_tcp(world: &World) -> (Tail, String) {
    let tail = world.run().with(&["--metrics", "tcp:127.0.0.1:0"]).start();
    tail.wait_said("metrics are at http://");
    let said = tail.stderr();
    let address = said
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .expect("an address")
        .to_owned();
    (tail, address)
}

#[test]
fn metrics_are_served_over_tcp() {
    let world = World::new();
    let (_tail, address) = with_tcp(&world);
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n").expect("ask");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("answer");
    let answer = Answer::of(&bytes);
    assert_eq!(answer.code(), 200);
    assert!(
        answer.head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        answer.head
    );
    assert!(
        answer.head.contains(&format!("Content-Length: {}", answer.body.len())),
        "{}",
        answer.head
    );
    assert!(samples(&answer.body).len() > 100);
}

#[test]
fn whatever_is_asked_gets_the_answer_that_http_has_for_it() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    assert_eq!(get(&run.socket, "/").body, "manytail: metrics are at /metrics\n");
    assert_eq!(get(&run.socket, "/metrics?format=prometheus").code(), 200);
    assert_eq!(get(&run.socket, "/etc/passwd").code(), 404);
    assert_eq!(get(&run.socket, "/status").code(), 404, "only the control socket tells that");
    for (request, code) in [
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("GET /metrics HTTP/3.0\r\n\r\n", 505),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{7f}\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\nbad header\r\n\r\n", 400),
        ("GET /metrics HTTP/1.0\r\n\r\n", 200),
    ] {
        assert_eq!(ask(&run.socket, request.as_bytes()).code(), code, "{request:?}");
    }
    let head = ask(&run.socket, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert_eq!((head.code(), head.body.as_str()), (200, ""));
}

#[test]
fn a_request_that_comes_byte_by_byte_from_a_client_that_says_no_more_is_answered() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    let mut stream = connect(&run.socket);
    for byte in b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" {
        stream.write_all(&[*byte]).expect("ask");
        std::thread::yield_now();
    }
    stream.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(Answer::of(&read_all(&mut stream)).code(), 200);
}

#[test]
fn of_pipelined_requests_the_first_is_answered_and_the_connection_closed() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    let answer = ask(&run.socket, &b"GET / HTTP/1.1\r\n\r\n".repeat(200));
    assert_eq!(answer.body, "manytail: metrics are at /metrics\n");
    assert!(answer.head.contains("Connection: close"));
}

#[test]
fn a_head_without_end_is_refused() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(7_900));
    assert_eq!(ask(&run.socket, long.as_bytes()).code(), 404, "up to 8 KiB are taken");
    assert_eq!(ask(&run.socket, &b"x".repeat(8_192)).code(), 431);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
    assert_eq!(ask(&run.socket, many.as_bytes()).code(), 431);
}

/// The last client takes the place of the first; the others keep theirs until their time is over.
/// Records do not wait at all.
#[test]
fn clients_that_say_nothing_are_let_go_and_hold_up_nobody() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    let mut silent: Vec<UnixStream> = (0..CLIENTS).map(|_| connect(&run.socket)).collect();
    wait_for("all to be accepted", || run.tail.process.descriptors() > CLIENTS);
    let start = Instant::now();
    world.append("a.log", "while they are there\n");
    run.tail.wait_line("while they are there");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "records do not wait for clients: {:?}",
        start.elapsed()
    );
    let before = run.tail.process.ticks();
    let start = Instant::now();
    assert_eq!(get(&run.socket, "/metrics").code(), 200, "a later client gets a place");
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(Answer::of(&read_all(&mut silent[0])).code(), 408);
    let gone = silent[1..].iter_mut().map(|stream| {
        stream.set_nonblocking(true).expect("non-blocking");
        let is_gone =
            !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        stream.set_nonblocking(false).expect("blocking");
        u32::from(is_gone)
    });
    assert_eq!(gone.sum::<u32>(), 0, "one place was enough");
    for stream in &mut silent[1..] {
        assert_eq!(Answer::of(&read_all(stream)).code(), 408);
    }
    assert!(run.tail.process.ticks() - before < 100, "without spinning");
}

/// Every way to take a place and keep it, with many more clients than places, on every kind of
/// listener.
#[test]
#[expect(clippy::too_many_lines, reason = "kinds of bad clients, one after the other")]
fn hundreds_of_clients_that_never_end_shut_out_nobody() {
    let world = World::new();
    let socket = world.beside("control.sock");
    let (control, tcp) = (socket.to_str().expect("UTF-8"), "tcp:127.0.0.1:0");
    let tail = world.run().with(&["--control-socket", control, "--metrics", tcp]).start();
    tail.wait_said("metrics are at http://");
    let said = tail.stderr();
    let address = said
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .expect("an address")
        .to_owned();
    let ask_tcp = || {
        let mut stream = TcpStream::connect(&address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("ask");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the answer");
        Answer::of(&answer)
    };
    assert_eq!((ask_tcp().code(), get(&socket, "/status").code()), (200, 200));
    let large = [&b"GET /metrics HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"[..], &[b'x'; 50_000]]
        .concat();
    let openings: [(&str, &[u8]); 4] = [
        ("idle", b""),
        ("slow to ask", b"GET /met"),
        ("endless head", b"GET /metrics HTTP/1.1\r\nA: b\r\nA: "),
        ("large, and reads nothing", &large),
    ];
    for (what, opening) in openings {
        let mut tcp: Vec<TcpStream> =
            (0..300).map(|_| TcpStream::connect(&address).expect("connect")).collect();
        let mut unix: Vec<UnixStream> =
            (0..300).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
        assert!(unix.len() > CLIENTS * 4, "the listener's queue takes {} clients only", unix.len());
        // Some have been refused or closed by now.
        tcp.iter_mut().for_each(|stream| {
            drop(stream.set_nonblocking(true).and_then(|()| stream.write(opening)))
        });
        unix.iter_mut().for_each(|stream| {
            drop(stream.set_nonblocking(true).and_then(|()| stream.write(opening)))
        });
        for _ in 0..2 {
            let start = Instant::now();
            assert_eq!(ask_tcp().code(), 200, "{what}");
            assert_eq!(get(&socket, "/status").code(), 200, "{what}");
            assert!(start.elapsed() < AT_ONCE * 2, "{what}: {:?}", start.elapsed());
        }
        world.append("a.log", format!("{what}\n"));
        tail.wait_line(what);
    }
    assert!(
        tail.process.descriptors() < 2 * CLIENTS + 30,
        "{} descriptors",
        tail.process.descriptors()
    );
    // Clients that keep asking for places.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = OnDrop(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut open = std::collections::VecDeque::new();
                while !is_over.load(Ordering::Relaxed) {
                    open.extend(TcpStream::connect(&address));
                    if open.len() > 200 {
                        open.pop_front();
                    }
                }
            });
        }
        for _ in 0..5 {
            let start = Instant::now();
            assert_eq!(ask_tcp().code(), 200);
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        }
    });
}

/// Ends threads of a test that panics.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// No response exceeds a socket's buffer; a client that reads nothing and keeps asking comes close.
#[test]
fn clients_that_ask_without_reading_hold_up_neither_records_nor_others() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    let mut deaf = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = connect(&run.socket);
        stream.write_all(&b"GET /metrics HTTP/1.1\r\n\r\n".repeat(20)).expect("ask");
        deaf.push(stream);
    }
    world.append("a.log", text(&flood()));
    run.tail.wait_count(6_000);
    assert_eq!(get(&run.socket, "/metrics").code(), 200);
}

#[test]
fn clients_that_come_on_and_on_do_not_hold_up_records() {
    let world = World::new();
    let run = Metered::start(&world, world.run()).armed();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = || {
            let mut answered = 0;
            while !is_over.load(Ordering::Relaxed) {
                answered += u32::from(get(&run.socket, "/metrics").code() == 200);
            }
            answered
        };
        let floods: Vec<_> = (0..4).map(|_| scope.spawn(flood)).collect();
        let come = (0..20).all(|number| {
            world.append("a.log", format!("line {number}\n"));
            (0..2_000).any(|_| {
                std::thread::sleep(Duration::from_millis(5));
                run.tail.count() > number
            })
        });
        is_over.store(true, Ordering::Relaxed);
        let answered: u32 = floods.into_iter().map(|flood| flood.join().expect("a client")).sum();
        assert!(come, "records come all the same");
        assert!(answered > 50, "and clients are served: {answered}");
    });
}

/// A path that takes long to resolve: each name on it is a link to its own directory.
#[test]
fn questions_that_take_long_come_one_per_turn() {
    let world = World::new();
    world.symlink(".", "w");
    let run = Metered::start(&world, control(&world).0.with(&["--follow-symlinks"]));
    let slow = "le=\"0.005\"";
    let slow_turns = || {
        let scrape = run.scrape();
        scrape["manytail_turn_seconds_count"]
            - scrape[&format!("manytail_turn_seconds_bucket{{{slow}}}")]
    };
    let before = slow_turns();
    run.tail.stop();
    let socket = control(&world).1;
    let mut clients: Vec<UnixStream> = (0..CLIENTS).map(|_| connect(&socket)).collect();
    let path = format!("{}{}/a.log", world.tree.display(), "/w".repeat(1_900));
    for client in &mut clients {
        client
            .write_all(format!("GET /file?path={path} HTTP/1.1\r\n\r\n").as_bytes())
            .expect("ask");
    }
    run.tail.go_on();
    for client in &mut clients {
        assert_eq!(Answer::of(&read_all(client)).code(), 200);
    }
    let slow = slow_turns() - before;
    assert!(
        slow >= CLIENTS as f64 / 2.0,
        "{slow} turns of more than five milliseconds for {CLIENTS} questions"
    );
}

#[test]
fn garbage_and_floods_of_connections_leave_it_unharmed() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    let mut random = Random(7);
    // Everything that stays open is open by then.
    run.tail.at_rest();
    let descriptors = run.tail.process.descriptors();
    for round in 0..400 {
        let mut stream = connect(&run.socket);
        stream.set_nonblocking(true).expect("non-blocking");
        let len = random.below(3_000);
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        // The server may have closed it already.
        match stream.write(&bytes) {
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::WouldBlock
                ) => {}
            Err(error) => panic!("{error}"),
        }
        if round % 3 == 0 {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    world.append("a.log", "alive\n");
    run.tail.wait_line("alive");
    assert_eq!(get(&run.socket, "/metrics").code(), 200);
    run.tail.wait("the clients to be closed", || run.tail.process.descriptors() <= descriptors);
}

#[test]
fn without_a_descriptor_for_a_client_the_loop_does_not_spin_and_serves_again_later() {
    let world = World::new();
    let run = Metered::start(&world, world.run().with(&["--rescan", "0"]));
    // As many as it has open, and three more.
    let limit = run.tail.process.descriptors() + 3;
    drop(run);
    let run = Metered::start(
        &world,
        world.run().with(&["--rescan", "0"]).shell(&format!("ulimit -n {limit}; exec \"$@\"")),
    );
    let clients: Vec<UnixStream> = (0..CLIENTS).map(|_| connect(&run.socket)).collect();
    run.tail.wait_said("cannot accept a client");
    let (ticks, switches) = (run.tail.process.ticks(), run.tail.process.switches());
    std::thread::sleep(Duration::from_secs(2));
    assert!(run.tail.process.ticks() - ticks <= 20, "it spins");
    assert!(run.tail.process.switches() - switches < 50, "it wakes up again and again");
    drop(clients);
    assert_eq!(get(&run.socket, "/metrics").code(), 200);
    assert_eq!(run.tail.said("cannot accept a client"), 1);
}

#[test]
fn without_a_client_nothing_wakes_the_loop() {
    let world = World::new();
    let run = Metered::start(
        &world,
        world.run().with(&["--rescan", "0", "--metrics", "tcp:127.0.0.1:0"]),
    );
    run.tail.at_rest();
    let switches = run.tail.process.switches();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(run.tail.process.switches(), switches);
}

#[test]
fn while_it_stops_it_still_answers() {
    let world = World::new();
    let run = Metered::start(&world, world.run().with(&["--shutdown-timeout", "20s"]));
    run.tail.block();
    world.append("a.log", text(&flood()));
    run.wait_value("manytail_output_blocked_seconds", |seconds| seconds > 0.0);
    run.tail.signal(Signal::SIGTERM);
    run.tail.wait_said("stopping");
    assert!(run.value("manytail_output_pending_bytes") > 0.0);
    run.tail.unblock();
    assert_eq!(run.tail.wait_exit().code(), Some(0));
}

fn control(world: &World) -> (Run, std::path::PathBuf) {
    let path = world.beside("control.sock");
    (world.run().with(&["--control-socket", path.to_str().expect("UTF-8")]), path)
}

#[test]
fn the_control_socket_tells_the_status_as_json() {
    let world = World::new();
    world.write("a.log", "one\ntwo\n");
    let (run, path) = control(&world);
    let tail = run.start();
    tail.wait_count(2);
    let status =
        || serde_json::from_str::<serde_json::Value>(&get(&path, "/status").body).expect("JSON");
    wait_for("the file to be at rest", || status()["files"]["idle"] == 1);
    let status = status();
    assert_eq!(status["about"]["pid"], tail.process.0);
    assert_eq!(status["about"]["output"], "stdout");
    assert_eq!(status["about"]["inputs"], serde_json::json!([world.tree.to_str().expect("UTF-8")]));
    assert_eq!((&status["counters"]["records"], &status["files"]["known"]), (&2.into(), &1.into()));
    assert!(
        status["about"]["uptime"].as_f64().is_some_and(|uptime| (0.0..120.0).contains(&uptime))
    );
    assert_eq!(get(&path, "/metrics").code(), 200, "metrics are here as well");
}

#[test]
fn by_default_the_control_socket_is_in_the_runtime_directory() {
    let world = World::new();
    let script =
        format!("RUNTIME_DIRECTORY='{0}:/nowhere' exec \"$@\"", world.beside("").display());
    let tail = world.run().shell(&script).start();
    let socket = world.beside("control.sock");
    assert_eq!(get(&socket, "/status").code(), 200);
    tail.terminate();
    assert!(!socket.exists(), "it goes with the process");
}

#[test]
fn a_socket_file_is_for_owner_and_group_and_goes_at_the_end() {
    let world = World::new();
    let (run, path) = control(&world);
    let run = Metered::start(&world, run);
    for socket in [&path, &run.socket] {
        let found = fs::metadata(socket).expect("the socket");
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o660);
    }
    run.tail.terminate();
    assert!(!path.exists() && !run.socket.exists());
}

#[test]
fn a_socket_file_that_a_kill_left_is_replaced() {
    let world = World::new();
    let (run, path) = control(&world);
    let tail = run.start();
    assert_eq!(get(&path, "/status").code(), 200);
    tail.kill();
    assert!(path.exists());
    let tail = control(&world).0.start();
    wait_for("an answer", || UnixStream::connect(&path).is_ok());
    assert_eq!(get(&path, "/status").code(), 200);
    drop(tail);
}

fn refused(world: &World, reason: &str, path: &Path) {
    let finished = control(world).0.finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains(reason) && finished.stderr.contains(path.to_str().expect("UTF-8")),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_socket_that_somebody_listens_at_is_left_alone_and_ends_the_run_with_1() {
    let world = World::new();
    let (run, path) = control(&world);
    let first = run.start();
    assert_eq!(get(&path, "/status").code(), 200);
    refused(&world, "another process listens there", &path);
    assert_eq!(get(&path, "/status").code(), 200, "the first one has it still");
    first.terminate();
    // Also a socket whose owner does not accept.
    let listener = UnixListener::bind(&path).expect("bind");
    refused(&world, "another process listens there", &path);
    drop(listener);
}

#[test]
fn a_file_in_the_place_of_a_socket_is_never_touched() {
    let world = World::new();
    let path = world.beside("control.sock");
    fs::write(&path, "precious").expect("write");
    refused(&world, "no socket", &path);
    assert_eq!(fs::read(&path).expect("read"), b"precious");
}

#[test]
fn an_address_that_cannot_be_had_ends_the_run_with_1_and_its_name() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let uri = format!("tcp:{}", listener.local_addr().expect("address"));
    let finished = world.run().with(&["--metrics", &uri]).finish();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains(&uri), "{}", finished.stderr);
    let finished = world.run().with(&["--metrics", "udp:x"]).finish();
    assert_eq!(finished.status.code(), Some(2));
    assert!(
        finished.stderr.contains("--metrics") && finished.stderr.contains("textfile:PATH"),
        "{}",
        finished.stderr
    );
}
