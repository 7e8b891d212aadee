//! Between the output and a server: loses answers, holds questions back, cuts connections.
//!
//! In: the port of a server. Out: a port that leads there.
//! Always holds: bytes are lost only together with the rest of their connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often a thread looks whether it may go on.
const LOOK: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct Valves {
    /// What the server says gets lost; its connection ends with the next cut.
    loses_answers: AtomicBool,
    /// What is said to the server waits here, over connections that were made before.
    holds: AtomicBool,
    /// Bytes that wait so.
    held: AtomicUsize,
    is_closed: AtomicBool,
}

/// A proxy.
pub(super) struct Proxy {
    port: u16,
    valves: Arc<Valves>,
    pairs: Arc<Mutex<Vec<(TcpStream, TcpStream)>>>,
}

impl Proxy {
    pub(super) fn start(listener: TcpListener, server: u16) -> Proxy {
        let port = listener.local_addr().expect("bound").port();
        let valves = Arc::new(Valves::default());
        let pairs = Arc::new(Mutex::new(Vec::new()));
        let proxy = Proxy { port, valves: Arc::clone(&valves), pairs: Arc::clone(&pairs) };
        start_thread(move || {
            for client in listener.incoming() {
                if valves.is_closed.load(Ordering::Relaxed) {
                    break;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server)))
                else {
                    continue;
                };
                let twin = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                pairs.lock().expect("no panic").push((twin(&client), twin(&server)));
                let (from, to, known) = (twin(&client), twin(&server), Arc::clone(&valves));
                start_thread(move || ask(from, to, &known));
                let known = Arc::clone(&valves);
                start_thread(move || answer(server, client, &known));
            }
        });
        proxy
    }

    pub(super) fn server(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(super) fn lose_answers(&self, does: bool) {
        self.valves.loses_answers.store(does, Ordering::SeqCst);
    }

    /// Holds back what is said over connections that exist.
    pub(super) fn hold(&self) {
        self.valves.held.store(0, Ordering::SeqCst);
        self.valves.holds.store(true, Ordering::SeqCst);
    }

    pub(super) fn held(&self) -> usize {
        self.valves.held.load(Ordering::SeqCst)
    }

    pub(super) fn release(&self) {
        self.valves.holds.store(false, Ordering::SeqCst);
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        for (client, server) in self.pairs.lock().expect("no panic").drain(..) {
            // It may have ended.
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.valves.is_closed.store(true, Ordering::SeqCst);
        self.release();
        self.cut();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn start_thread(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().spawn(work).expect("a thread");
}

/// Passes on what the client says. What it said before it ended arrives, however late.
fn ask(mut client: TcpStream, mut server: TcpStream, valves: &Valves) {
    let mut buffer = vec![0; 64 * 1024];
    let is_old = !valves.holds.load(Ordering::SeqCst);
    let mut held: Vec<u8> = Vec::new();
    client.set_read_timeout(Some(LOOK)).expect("a time limit");
    let mut has_ended = false;
    loop {
        if !has_ended {
            match client.read(&mut buffer) {
                Ok(0) => has_ended = true,
                Ok(len) => held.extend_from_slice(&buffer[..len]),
                Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => has_ended = true,
            }
        }
        if is_old && valves.holds.load(Ordering::SeqCst) {
            valves.held.store(held.len(), Ordering::SeqCst);
            if has_ended {
                crate::sys::clock::pause(LOOK);
            }
            continue;
        }
        if server.write_all(&held).is_err() {
            return;
        }
        held.clear();
        if has_ended {
            // The server may still work on it.
            let _ = server.shutdown(Shutdown::Write);
            return;
        }
    }
}

/// Passes on what the server says, or loses it.
fn answer(mut server: TcpStream, mut client: TcpStream, valves: &Valves) {
    let mut buffer = vec![0; 64 * 1024];
    let mut has_lost = false;
    while let Ok(len) = server.read(&mut buffer) {
        has_lost |= valves.loses_answers.load(Ordering::SeqCst);
        if len == 0 {
            break;
        }
        if !has_lost && client.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
