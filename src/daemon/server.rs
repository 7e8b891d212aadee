//! Clients that ask how it goes, served from the loop: HTTP over TCP and unix sockets.
//!
//! In: what the loop hears of listeners and clients. Out: responses; a deadline while there is a
//! client.
//! Always holds: at most [`CLIENTS_MAX`] clients per listener, each with one buffer of bounded size
//! and a deadline. One more takes the place of the one that has been silent for longest, so that no
//! number of silent clients shuts the others out. No call blocks, and without a client nothing
//! wakes the loop. Between two turns questions are answered for [`ANSWERING_MAX`], then files have
//! their turn.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token, event};
use nix::sys::socket::{getsockopt, sockopt};

use super::Running;
use super::http::{self, HEAD_BYTES_MAX, Head, Response};
use super::listening::{self, SocketFile};
use super::routes::{self, Routes};
use super::textfile::Textfile;
use crate::config::Config;
use crate::config::Metrics;
use crate::status::About;
use crate::sys::clock::{self, Now};

/// Clients of one listener at a time.
const CLIENTS_MAX: usize = 16;
/// When all places are taken, a client may keep its own for this long: enough to send a request
/// behind the connection, and short enough for hundreds of silent ones to pass within a second.
const PLACE_KEPT: Duration = Duration::from_millis(20);
/// A request has to be there within this time ...
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// ... the response has to be taken within this ...
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// ... and the client has to close within this, before that is done for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What a client says behind its request is thrown away up to this: closing with bytes unread could
/// cost it the response.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;
/// When no client can be accepted (out of descriptors), it is tried again after this long.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// When questions took this long, the others wait until files had their turn. One that is being
/// answered is answered to its end.
const ANSWERING_MAX: Duration = Duration::from_millis(1);

/// Least time between two warnings about that.
const QUIET: Duration = Duration::from_secs(60);

/// Tokens from here on are the server's.
pub(super) const FIRST_TOKEN: usize = 1000;
const FIRST_CLIENT: usize = FIRST_TOKEN + 1000;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removed when dropped")] SocketFile),
}

struct Door {
    listener: Listener,
    routes: Routes,
    clients: usize,
    /// The loop hears of those who come.
    is_open: bool,
    /// After a failure: when to open again.
    opens_at: Option<Instant>,
    /// When a failure was said.
    said_at: Option<Instant>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

enum Phase {
    /// The request, as far as it came.
    Asking(Vec<u8>),
    /// The response, and how much of it was taken.
    Answering(Vec<u8>, usize),
    /// All was said; how much of what the client still says was thrown away.
    Closing(usize),
}

struct Client {
    stream: Stream,
    door: usize,
    phase: Phase,
    /// When the phase began.
    since: Instant,
    deadline: Instant,
}

/// All listeners and their clients, and the files that metrics are written to.
pub(super) struct Server {
    registry: Registry,
    pub(super) about: About,
    doors: Vec<Door>,
    clients: Vec<Option<Client>>,
    textfiles: Vec<Textfile>,
    /// How long questions took since the last turn.
    answering: Duration,
    /// Clients whose questions wait until after the next one, oldest first.
    postponed: VecDeque<usize>,
    /// When the last one began.
    turned_at: Instant,
}

impl Server {
    /// Opens what the settings ask for.
    pub(super) fn new(
        config: &Config,
        about: About,
        registry: &Registry,
    ) -> anyhow::Result<Server> {
        let registry = registry.try_clone().context("cannot share the epoll instance")?;
        let mut server = Server {
            registry,
            about,
            doors: Vec::new(),
            clients: Vec::new(),
            textfiles: Vec::new(),
            answering: Duration::ZERO,
            postponed: VecDeque::new(),
            turned_at: clock::now().instant,
        };
        for metrics in &config.metrics {
            let failed = || format!("--metrics {metrics}: cannot listen");
            match metrics {
                Metrics::Tcp(address) => {
                    let listener = listening::tcp(address).with_context(failed)?;
                    let address = listener.local_addr().with_context(failed)?;
                    server
                        .add_door(Listener::Tcp(listener), routes::METRICS)
                        .with_context(failed)?;
                    tracing::info!("metrics are at http://{address}/metrics");
                }
                Metrics::Unix(path) => {
                    let (listener, file) = listening::unix(path).with_context(failed)?;
                    server
                        .add_door(Listener::Unix(listener, file), routes::METRICS)
                        .with_context(failed)?;
                }
                Metrics::Textfile(path) => server.textfiles.push(Textfile::new(path)),
            }
        }
        if let Some(path) = &config.control_socket {
            let failed = || format!("--control-socket {}: cannot listen", path.display());
            let (listener, file) = listening::unix(path).with_context(failed)?;
            server
                .add_door(Listener::Unix(listener, file), routes::CONTROL)
                .with_context(failed)?;
        }
        Ok(server)
    }

    fn add_door(&mut self, listener: Listener, routes: Routes) -> io::Result<()> {
        let door = self.doors.len();
        self.doors.push(Door {
            listener,
            routes,
            clients: 0,
            is_open: false,
            opens_at: None,
            said_at: None,
        });
        self.clients.resize_with(self.doors.len() * CLIENTS_MAX, || None);
        self.open(door)
    }

    /// When to be called though no descriptor becomes ready.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let clients = self
            .doors
            .iter()
            .any(|door| door.clients > 0)
            .then(|| self.clients.iter().flatten().map(|client| client.deadline).min());
        let doors = self.doors.iter().filter_map(|door| door.opens_at);
        let textfiles = self.textfiles.iter().map(Textfile::deadline);
        let postponed = (!self.postponed.is_empty()).then_some(self.turned_at);
        clients.flatten().into_iter().chain(doors).chain(textfiles).chain(postponed).min()
    }

    /// A turn begins: those who wait since the last one go before those who come.
    pub(super) fn begin_turn(&mut self, engine: &mut Running, now: Now) {
        self.turned_at = now.instant;
        self.answering = Duration::ZERO;
        for _ in 0..self.postponed.len() {
            if let Some(slot) = self.postponed.pop_front() {
                self.go_on(slot, engine, now);
            }
        }
    }

    /// Does what is due: clients that took too long are let go, files are written.
    ///
    /// # Errors
    /// When a file of metrics cannot be written the first time: the path is wrong.
    pub(super) fn expire(&mut self, engine: &mut Running, now: Now) -> anyhow::Result<()> {
        if self.deadline().is_none_or(|at| at > now.instant) {
            return Ok(());
        }
        for slot in 0..self.clients.len() {
            // One whose question waits for a turn does not answer for the delay.
            let is_late = |client: &&mut Client| {
                client.deadline <= now.instant && !self.postponed.contains(&slot)
            };
            let Some(client) = self.clients[slot].as_mut().filter(is_late) else { continue };
            if matches!(client.phase, Phase::Asking(_)) {
                client.say(&Response::refusal(408), false, now.instant);
                self.go_on(slot, engine, now);
            } else {
                self.let_go(slot, now.instant);
            }
        }
        for door in 0..self.doors.len() {
            if self.doors[door].opens_at.is_some_and(|at| at <= now.instant) {
                self.doors[door].opens_at = None;
                self.open_or_wait(door, now.instant);
            }
        }
        for textfile in &mut self.textfiles {
            textfile.write_if_due(engine, &self.about, now)?;
        }
        Ok(())
    }

    /// The loop's word about one of the server's descriptors.
    pub(super) fn ready(&mut self, token: Token, engine: &mut Running, now: Now) {
        match token.0.checked_sub(FIRST_CLIENT) {
            Some(slot) => self.go_on(slot, engine, now),
            None => self.accept(token.0 - FIRST_TOKEN, engine, now),
        }
    }

    /// The run ends: files are written once more.
    pub(super) fn finish(&mut self, engine: &mut Running, now: Now) {
        for textfile in &mut self.textfiles {
            textfile.write_last(engine, &self.about, now);
        }
    }

    fn accept(&mut self, at: usize, engine: &mut Running, now: Now) {
        for _ in 0..CLIENTS_MAX {
            let slot = match self.place(at, now.instant) {
                Ok(slot) => slot,
                Err(free_at) => {
                    self.close(at);
                    self.doors[at].opens_at = Some(free_at);
                    return;
                }
            };
            let door = &self.doors[at];
            let accepted = match &door.listener {
                Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
                Listener::Unix(listener, _) => {
                    listener.accept().map(|(stream, _)| Stream::Unix(stream))
                }
            };
            let accepted = accepted.and_then(|mut stream| {
                self.dismiss(slot, now.instant);
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.registry
                    .register(&mut stream, Token(FIRST_CLIENT + slot), interest)
                    .map(|()| stream)
            });
            match accepted {
                Ok(stream) => {
                    self.doors[at].clients += 1;
                    let phase = Phase::Asking(Vec::new());
                    let (since, deadline) = (now.instant, now.instant + REQUEST_TIMEOUT);
                    self.clients[slot] = Some(Client { stream, door: at, phase, since, deadline });
                    self.go_on(slot, engine, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    // Out of descriptors, most likely: who waits goes on waiting, and the loop does
                    // not hear of it.
                    let said_at = &mut self.doors[at].said_at;
                    if said_at.is_none_or(|said_at| {
                        now.instant.saturating_duration_since(said_at) >= QUIET
                    }) {
                        *said_at = Some(now.instant);
                        tracing::warn!(%error, "cannot accept a client: tried again every second");
                    }
                    self.close(at);
                    self.doors[at].opens_at = Some(now.instant + ACCEPT_AGAIN);
                    return;
                }
            }
        }
        // There may be more, but files have their turn first: opened anew, the listener tells the
        // loop again.
        self.close(at);
        self.open_or_wait(at, now.instant);
    }

    /// A place for one more client: a free one, or that of the client that keeps it for longest
    /// without need. One that does not read its answer comes after all that have not asked or have
    /// their answer. `Err`: all came a moment ago, and this is when the first may go.
    fn place(&self, door: usize, now: Instant) -> Result<usize, Instant> {
        let mut oldest = None;
        for slot in door * CLIENTS_MAX..(door + 1) * CLIENTS_MAX {
            let Some(client) = &self.clients[slot] else { return Ok(slot) };
            let rank = (
                self.postponed.contains(&slot),
                matches!(client.phase, Phase::Answering(..)),
                client.since,
            );
            oldest = oldest.into_iter().chain([(rank, slot)]).min();
        }
        let ((.., since), slot) = oldest.expect("a listener has places");
        if since + PLACE_KEPT <= now { Ok(slot) } else { Err(since + PLACE_KEPT) }
    }

    /// Lets the client go that has this place, if one has: another one gets it.
    fn dismiss(&mut self, slot: usize, now: Instant) {
        let Some(client) = &mut self.clients[slot] else { return };
        if matches!(client.phase, Phase::Asking(_)) {
            client.say(&Response::refusal(408), false, now);
            // A client that does not read it misses it.
            let _ = client.answer(now);
        }
        self.postponed.retain(|&waiting| waiting != slot);
        self.let_go(slot, now);
    }

    /// Registering reports those who wait already.
    fn open(&mut self, at: usize) -> io::Result<()> {
        let door = &mut self.doors[at];
        if !door.is_open {
            self.registry.register(
                &mut door.listener,
                Token(FIRST_TOKEN + at),
                Interest::READABLE,
            )?;
            door.is_open = true;
        }
        Ok(())
    }

    fn open_or_wait(&mut self, at: usize, now: Instant) {
        if self.open(at).is_err() {
            self.doors[at].opens_at = Some(now + ACCEPT_AGAIN);
        }
    }

    fn close(&mut self, at: usize) {
        let door = &mut self.doors[at];
        if std::mem::take(&mut door.is_open) {
            // That it was not registered is no news.
            let _ = self.registry.deregister(&mut door.listener);
        }
    }

    /// Goes on with a client as far as possible.
    fn go_on(&mut self, slot: usize, engine: &mut Running, now: Now) {
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { return };
        if matches!(client.phase, Phase::Asking(_)) && self.answering >= ANSWERING_MAX {
            if !self.postponed.contains(&slot) {
                self.postponed.push_back(slot);
            }
            return;
        }
        let routes = self.doors[client.door].routes;
        let may_see_lines = client.stream.may_see_lines();
        loop {
            let step = match &mut client.phase {
                Phase::Asking(_) => client.ask(
                    |request| {
                        let asked = clock::now().instant;
                        let response = routes::answer(
                            routes,
                            request,
                            engine,
                            &self.about,
                            (now, may_see_lines),
                        );
                        let took = clock::now().instant.saturating_duration_since(asked);
                        self.answering += took;
                        engine.question_took(took);
                        response
                    },
                    now.instant,
                ),
                Phase::Answering(..) => client.answer(now.instant),
                Phase::Closing(_) => client.discard(),
            };
            match step {
                Ok(Step::Next) => {}
                Ok(Step::Wait) => return,
                Ok(Step::Done) | Err(_) => break,
            }
        }
        self.let_go(slot, now.instant);
    }

    /// There is room for another client then.
    fn let_go(&mut self, slot: usize, now: Instant) {
        let Some(mut client) = self.clients[slot].take() else { return };
        // Dropping it closes it, and that alone would do.
        let _ = self.registry.deregister(&mut client.stream);
        let door = &mut self.doors[client.door];
        door.clients -= 1;
        if door.opens_at.is_none() {
            self.open_or_wait(client.door, now);
        }
    }
}

/// How a client goes on.
enum Step {
    /// At once.
    Next,
    /// When the loop hears of it.
    Wait,
    /// Not at all.
    Done,
}

impl Client {
    /// Reads the request, as far as it is there, and has it answered.
    fn ask(
        &mut self,
        answer: impl FnOnce(&http::Request<'_>) -> Response,
        now: Instant,
    ) -> io::Result<Step> {
        let Phase::Asking(asked) = &mut self.phase else { return Ok(Step::Next) };
        let mut chunk = [0; 1024];
        let room = (HEAD_BYTES_MAX - asked.len()).min(chunk.len());
        match self.stream.read(&mut chunk[..room]) {
            Ok(0) => return Ok(Step::Done),
            Ok(len) => asked.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Step::Next),
            Err(error) => return Err(error),
        }
        let asked = std::mem::take(asked);
        match http::parse(&asked) {
            Head::Partial => self.phase = Phase::Asking(asked),
            Head::Refused(code) => self.say(&Response::refusal(code), false, now),
            Head::Request(request) => {
                let response = answer(&request);
                self.say(&response, request.is_head, now);
            }
        }
        Ok(Step::Next)
    }

    fn say(&mut self, response: &Response, is_head: bool, now: Instant) {
        self.phase = Phase::Answering(response.encode(is_head), 0);
        (self.since, self.deadline) = (now, now + RESPONSE_TIMEOUT);
    }

    fn answer(&mut self, now: Instant) -> io::Result<Step> {
        let Phase::Answering(bytes, at) = &mut self.phase else { return Ok(Step::Next) };
        match self.stream.write(&bytes[*at..]) {
            Ok(0) => return Ok(Step::Done),
            Ok(len) => *at += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if *at == bytes.len() {
            self.stream.shutdown_writing()?;
            self.phase = Phase::Closing(0);
            (self.since, self.deadline) = (now, now + CLOSE_TIMEOUT);
        }
        Ok(Step::Next)
    }

    fn discard(&mut self) -> io::Result<Step> {
        let Phase::Closing(discarded) = &mut self.phase else { return Ok(Step::Next) };
        match self.stream.read(&mut [0; 4096]) {
            Ok(0) => return Ok(Step::Done),
            Ok(len) => *discarded += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(if *discarded > DISCARDED_BYTES_MAX { Step::Done } else { Step::Next })
    }
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    /// Whether the client is root or the user of this process, who may read the output as well.
    fn may_see_lines(&self) -> bool {
        match self {
            Stream::Tcp(_) => false,
            Stream::Unix(stream) => getsockopt(stream, sockopt::PeerCredentials)
                .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == crate::sys::host::user()),
        }
    }

    fn shutdown_writing(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

/// Both kinds of a descriptor that the loop polls, as one.
macro_rules! source {
    ($kind:ident, $($pattern:pat => $inner:ident),+) => {
        impl event::Source for $kind {
            fn register(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                match self { $($pattern => $inner.register(registry, token, interests)),+ }
            }

            fn reregister(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                match self { $($pattern => $inner.reregister(registry, token, interests)),+ }
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                match self { $($pattern => $inner.deregister(registry)),+ }
            }
        }
    };
}

source!(Listener, Listener::Tcp(listener) => listener, Listener::Unix(listener, _) => listener);
source!(Stream, Stream::Tcp(stream) => stream, Stream::Unix(stream) => stream);
