//! Serves the clients that ask for status and metrics, from the loop: HTTP over TCP and unix
//! sockets.
//!
//! In: which listeners and clients became ready. Out: responses; a deadline while there is a
//! client.
//! Always holds: at most [`CLIENTS_MAX`] clients per listener, each with one buffer of bounded size
//! and a deadline. A further client takes the place of the one that has been silent for longest, so
//! that silent clients cannot shut the others out. No call blocks, and without a client nothing
//! wakes the loop. Between two turns questions are answered for [`ANSWERING_MAX`], then files are
//! read.

/// Registers both kinds of a descriptor in the same way.
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

mod client;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token, event};

use super::Running;
use super::http::Response;
use super::listening::{self, SocketFile};
use super::routes::{self, Routes};
use super::textfile::Textfile;
use crate::config::Config;
use crate::config::Metrics;
use crate::status::About;
use crate::sys::clock::{self, Now};
use client::{Client, Phase, REQUEST_TIMEOUT, Step, Stream};

/// The most clients that one listener has at a time.
const CLIENTS_MAX: usize = 16;
/// When all places are taken, a client may keep its place for this long: enough to send a request
/// after connecting, and short enough for hundreds of silent clients to pass within a second.
const PLACE_KEPT: Duration = Duration::from_millis(20);
/// If a client cannot be accepted (no descriptors are left), it is tried again after this long.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// When questions have taken this long, the remaining ones wait until after the next turn. A
/// question that is being answered is finished first.
const ANSWERING_MAX: Duration = Duration::from_millis(1);

/// The least time between two warnings that a client cannot be accepted.
const QUIET: Duration = Duration::from_secs(60);

/// Tokens from here on are the server's.
pub(super) const FIRST_TOKEN: usize = 1000;
const FIRST_CLIENT: usize = FIRST_TOKEN + 1000;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removed when dropped")] SocketFile),
}

struct Endpoint {
    listener: Listener,
    routes: Routes,
    clients: usize,
    /// The listener is registered: the loop learns of new clients.
    is_open: bool,
    /// When to register it again, after a failure.
    opens_at: Option<Instant>,
    /// When a failure was last logged.
    failed_at: Option<Instant>,
}

/// All listeners and their clients, and the files to which metrics are written.
pub(super) struct Server {
    registry: Registry,
    pub(super) about: About,
    endpoints: Vec<Endpoint>,
    clients: Vec<Option<Client>>,
    textfiles: Vec<Textfile>,
    /// How long questions have taken since the last turn.
    answering: Duration,
    /// Clients whose questions wait until after the next turn, oldest first.
    postponed: VecDeque<usize>,
    /// When the last turn began.
    turned_at: Instant,
}

impl Server {
    /// Opens the listeners that the settings ask for.
    pub(super) fn new(
        config: &Config,
        about: About,
        registry: &Registry,
    ) -> anyhow::Result<Server> {
        let registry = registry.try_clone().context("cannot share the epoll instance")?;
        let mut server = Server {
            registry,
            about,
            endpoints: Vec::new(),
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
                        .add_endpoint(Listener::Tcp(listener), routes::METRICS)
                        .with_context(failed)?;
                    tracing::info!("metrics are at http://{address}/metrics");
                }
                Metrics::Unix(path) => {
                    let (listener, file) = listening::unix(path).with_context(failed)?;
                    server
                        .add_endpoint(Listener::Unix(listener, file), routes::METRICS)
                        .with_context(failed)?;
                }
                Metrics::Textfile(path) => server.textfiles.push(Textfile::new(path)),
            }
        }
        if let Some(path) = &config.control_socket {
            let failed = || format!("--control-socket {}: cannot listen", path.display());
            let (listener, file) = listening::unix(path).with_context(failed)?;
            server
                .add_endpoint(Listener::Unix(listener, file), routes::CONTROL)
                .with_context(failed)?;
        }
        Ok(server)
    }

    fn add_endpoint(&mut self, listener: Listener, routes: Routes) -> io::Result<()> {
        let endpoint = self.endpoints.len();
        self.endpoints.push(Endpoint {
            listener,
            routes,
            clients: 0,
            is_open: false,
            opens_at: None,
            failed_at: None,
        });
        self.clients.resize_with(self.endpoints.len() * CLIENTS_MAX, || None);
        self.open(endpoint)
    }

    /// When [`Server::expire`] is due even if no descriptor becomes ready.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let clients = self
            .endpoints
            .iter()
            .any(|endpoint| endpoint.clients > 0)
            .then(|| self.clients.iter().flatten().map(|client| client.deadline).min());
        let endpoints = self.endpoints.iter().filter_map(|endpoint| endpoint.opens_at);
        let textfiles = self.textfiles.iter().map(Textfile::deadline);
        let postponed = (!self.postponed.is_empty()).then_some(self.turned_at);
        clients.flatten().into_iter().chain(endpoints).chain(textfiles).chain(postponed).min()
    }

    /// Begins a turn: clients that wait since the last turn are served before new ones.
    pub(super) fn begin_turn(&mut self, engine: &mut Running, now: Now) {
        self.turned_at = now.instant;
        self.answering = Duration::ZERO;
        for _ in 0..self.postponed.len() {
            if let Some(slot) = self.postponed.pop_front() {
                self.go_on(slot, engine, now);
            }
        }
    }

    /// Does the work that is due: late clients are dropped, listeners open again, files are
    /// written.
    ///
    /// # Errors
    /// When a file of metrics cannot be written the first time: its path is wrong.
    pub(super) fn expire(&mut self, engine: &mut Running, now: Now) -> anyhow::Result<()> {
        if self.deadline().is_none_or(|at| at > now.instant) {
            return Ok(());
        }
        for slot in 0..self.clients.len() {
            // A client whose question waits for a turn is not responsible for the delay.
            let is_late = |client: &&mut Client| {
                client.deadline <= now.instant && !self.postponed.contains(&slot)
            };
            let Some(client) = self.clients[slot].as_mut().filter(is_late) else { continue };
            if matches!(client.phase, Phase::Asking(_)) {
                client.respond(&Response::refusal(408), false, now.instant);
                self.go_on(slot, engine, now);
            } else {
                self.let_go(slot, now.instant);
            }
        }
        for endpoint in 0..self.endpoints.len() {
            if self.endpoints[endpoint].opens_at.is_some_and(|at| at <= now.instant) {
                self.endpoints[endpoint].opens_at = None;
                self.open_or_wait(endpoint, now.instant);
            }
        }
        for textfile in &mut self.textfiles {
            textfile.write_if_due(engine, &self.about, now)?;
        }
        Ok(())
    }

    /// One of the server's descriptors became ready.
    pub(super) fn ready(&mut self, token: Token, engine: &mut Running, now: Now) {
        match token.0.checked_sub(FIRST_CLIENT) {
            Some(slot) => self.go_on(slot, engine, now),
            None => self.accept(token.0 - FIRST_TOKEN, engine, now),
        }
    }

    /// The run ends: writes the files once more.
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
                    self.endpoints[at].opens_at = Some(free_at);
                    return;
                }
            };
            let endpoint = &self.endpoints[at];
            let accepted = match &endpoint.listener {
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
                    self.endpoints[at].clients += 1;
                    let phase = Phase::Asking(Vec::new());
                    let (since, deadline) = (now.instant, now.instant + REQUEST_TIMEOUT);
                    self.clients[slot] =
                        Some(Client { stream, endpoint: at, phase, since, deadline });
                    self.go_on(slot, engine, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    // Most likely no descriptors are left: the client keeps waiting, and the loop
                    // is not woken by it.
                    let failed_at = &mut self.endpoints[at].failed_at;
                    if failed_at.is_none_or(|failed_at| {
                        now.instant.saturating_duration_since(failed_at) >= QUIET
                    }) {
                        *failed_at = Some(now.instant);
                        tracing::warn!(%error, "cannot accept a client: trying again every second");
                    }
                    self.close(at);
                    self.endpoints[at].opens_at = Some(now.instant + ACCEPT_AGAIN);
                    return;
                }
            }
        }
        // There may be more clients, but files are read first: once registered again, the listener
        // wakes the loop.
        self.close(at);
        self.open_or_wait(at, now.instant);
    }

    /// A place for one more client: a free one, or that of the client that has kept its place for
    /// longest without need. A client that does not read its answer is replaced only after those
    /// that have not asked or that have their answer. `Err`: all clients are new; the first may be
    /// replaced at this time.
    fn place(&self, endpoint: usize, now: Instant) -> Result<usize, Instant> {
        let mut oldest = None;
        for slot in endpoint * CLIENTS_MAX..(endpoint + 1) * CLIENTS_MAX {
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

    /// Drops the client in this place, if there is one, to make room for another.
    fn dismiss(&mut self, slot: usize, now: Instant) {
        let Some(client) = &mut self.clients[slot] else { return };
        if matches!(client.phase, Phase::Asking(_)) {
            client.respond(&Response::refusal(408), false, now);
            // A client that does not read the answer misses it.
            let _ = client.answer(now);
        }
        self.postponed.retain(|&waiting| waiting != slot);
        self.let_go(slot, now);
    }

    /// Registers the listener. The loop then also learns of clients that wait already.
    fn open(&mut self, at: usize) -> io::Result<()> {
        let endpoint = &mut self.endpoints[at];
        if !endpoint.is_open {
            self.registry.register(
                &mut endpoint.listener,
                Token(FIRST_TOKEN + at),
                Interest::READABLE,
            )?;
            endpoint.is_open = true;
        }
        Ok(())
    }

    fn open_or_wait(&mut self, at: usize, now: Instant) {
        if self.open(at).is_err() {
            self.endpoints[at].opens_at = Some(now + ACCEPT_AGAIN);
        }
    }

    fn close(&mut self, at: usize) {
        let endpoint = &mut self.endpoints[at];
        if std::mem::take(&mut endpoint.is_open) {
            // It does not matter if it was not registered.
            let _ = self.registry.deregister(&mut endpoint.listener);
        }
    }

    /// Serves a client as far as possible without waiting.
    fn go_on(&mut self, slot: usize, engine: &mut Running, now: Now) {
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { return };
        if matches!(client.phase, Phase::Asking(_)) && self.answering >= ANSWERING_MAX {
            if !self.postponed.contains(&slot) {
                self.postponed.push_back(slot);
            }
            return;
        }
        let routes = self.endpoints[client.endpoint].routes;
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

    /// Drops a client. There is room for another one then.
    fn let_go(&mut self, slot: usize, now: Instant) {
        let Some(mut client) = self.clients[slot].take() else { return };
        // Dropping it closes it, which would suffice by itself.
        let _ = self.registry.deregister(&mut client.stream);
        let endpoint = &mut self.endpoints[client.endpoint];
        endpoint.clients -= 1;
        if endpoint.opens_at.is_none() {
            self.open_or_wait(client.endpoint, now);
        }
    }
}

source!(Listener, Listener::Tcp(listener) => listener, Listener::Unix(listener, _) => listener);
