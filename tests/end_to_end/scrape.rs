//! Asks a process about itself over a socket, and reads the answers.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Run, Tail, wait_for};
use crate::world::World;

/// An answer: the head, and the body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn of(bytes: &[u8]) -> Answer {
        let text = String::from_utf8(bytes.to_vec()).expect("answers are UTF-8");
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        Answer { head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn code(&self) -> u16 {
        self.head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no code: {:?}", self.head))
    }
}

/// Reads until the peer closes the connection.
pub(crate) fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
    let (deadline, mut all, mut buffer) = (Instant::now() + DEADLINE, Vec::new(), [0; 4096]);
    loop {
        assert!(
            Instant::now() < deadline,
            "no end of {:?} within {DEADLINE:?}",
            String::from_utf8_lossy(&all)
        );
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(got) => all.extend_from_slice(&buffer[..got]),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("read: {error}"),
        }
    }
}

/// Connects as soon as there is a listener.
#[track_caller]
pub(crate) fn connect(socket: &Path) -> UnixStream {
    let mut stream = None;
    wait_for(&format!("a listener at {}", socket.display()), || {
        stream = UnixStream::connect(socket).ok();
        stream.is_some()
    });
    stream.expect("connected")
}

/// Sends these bytes, and reads the answer.
#[track_caller]
pub(crate) fn ask(socket: &Path, request: &[u8]) -> Answer {
    let mut stream = connect(socket);
    stream.write_all(request).expect("ask");
    Answer::of(&read_all(&mut stream))
}

#[track_caller]
pub(crate) fn get(socket: &Path, target: &str) -> Answer {
    ask(socket, format!("GET {target} HTTP/1.1\r\nHost: manytail\r\n\r\n").as_bytes())
}

/// Each sample of a text in the format of Prometheus, by its name with its labels.
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line:?}"));
        (name.to_owned(), value.parse().unwrap_or_else(|error| panic!("{line:?}: {error}")))
    };
    lines.map(sample).collect()
}

/// A run that serves metrics, and its socket.
pub(crate) struct Metered {
    pub(crate) tail: Tail,
    pub(crate) socket: PathBuf,
}

impl Metered {
    /// Starts the run, and waits until metrics are served.
    #[track_caller]
    pub(crate) fn start(world: &World, run: Run) -> Metered {
        let metered = Metered::start_in(&world.beside(""), run);
        metered.scrape();
        metered
    }

    /// Starts the run; the socket is made in this directory.
    pub(crate) fn start_in(directory: &Path, run: Run) -> Metered {
        let socket = directory.join("metrics.sock");
        let tail = run.with(&["--metrics", &format!("unix:{}", socket.display())]).start();
        Metered { tail, socket }
    }

    /// Proves that the tree is watched, and waits until everything is quiet.
    #[track_caller]
    pub(crate) fn armed(self) -> Metered {
        Metered { tail: self.tail.armed(), socket: self.socket }
    }

    #[track_caller]
    pub(crate) fn scrape(&self) -> BTreeMap<String, f64> {
        let answer = get(&self.socket, "/metrics");
        assert_eq!(answer.code(), 200, "{}", answer.head);
        samples(&answer.body)
    }

    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> f64 {
        *self.scrape().get(name).unwrap_or_else(|| panic!("{name} is not told"))
    }

    /// Waits until the sample has the expected value.
    #[track_caller]
    pub(crate) fn wait_value(&self, name: &str, is_right: impl Fn(f64) -> bool) {
        let mut last = f64::NAN;
        let deadline = Instant::now() + DEADLINE;
        while !is_right(last) {
            assert!(Instant::now() < deadline, "{name} stays {last}");
            last = self.value(name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until each of these samples has grown.
    #[track_caller]
    pub(crate) fn wait_grown(&self, before: &BTreeMap<String, f64>, names: &[&str]) {
        for &name in names {
            let was = *before.get(name).unwrap_or_else(|| panic!("{name} was not told"));
            self.wait_value(name, |now| now > was);
        }
    }
}
