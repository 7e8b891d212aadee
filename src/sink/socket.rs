//! `unix:PATH` and `tcp:HOST:PORT`: a stream to a peer that may come late, go, and come back.
//!
//! In: bytes. Out: bytes to the peer that listens at the address now; after a loss the caller goes
//! back to a record boundary.
//! Always holds: a new connection starts with a whole record. Input from the peer is read and
//! discarded. A host name is resolved at each attempt with getaddrinfo(3), which blocks: a slow
//! resolver stalls the loop for as long as it takes. Numeric addresses are not resolved, and never
//! stall.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::net::{TcpStream, UnixStream};
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use super::backoff::Backoff;
use super::boundary::Boundary;
use super::channel::{Channel, Input, Offer, Way};
use super::outage::Outage;
use super::{Poller, Receiver, Records, Sent, Sink, SinkError, SinkState, Wants};
use crate::sys;

/// A restarted peer is back within milliseconds ...
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// ... and a peer that was away for long waits at most this long when it returns.
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// How long to wait for a host that does not answer. The kernel would wait two minutes, while the
/// next address may work.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many addresses of a name are tried before the next back-off.
const ADDRESSES_MAX: usize = 16;

/// Where the peer listens.
#[derive(Debug)]
pub(super) enum Address {
    /// The path of a stream socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

#[derive(Debug)]
enum Link {
    /// No connection; the back-off decides when the next attempt comes.
    Down,
    /// A connection attempt is under way; if it fails, the other addresses are tried.
    Connecting { stream: TcpStream, others: VecDeque<SocketAddr>, give_up: Instant },
    /// Connected.
    Up(Channel),
}

/// The `unix:PATH` and `tcp:HOST:PORT` outputs.
#[derive(Debug)]
pub(super) struct SocketSink {
    address: Address,
    link: Link,
    boundary: Boundary,
    /// TCP: bytes that the peer had not acknowledged at the last query, plus those accepted since.
    in_flight: u64,
    /// The connection became ready since its input was last read.
    is_to_be_looked_at: bool,
    /// When input was last read, if there was more than one call discards.
    undrained: Option<Instant>,
    outage: Outage,
    poller: Rc<Poller>,
}

impl SocketSink {
    /// Checks the address. The first [`Sink::send`] connects.
    pub(super) fn open(
        name: String,
        address: Address,
        poller: Rc<Poller>,
    ) -> Result<Self, SinkError> {
        let is_sound = match &address {
            Address::Unix(path) => std::os::unix::net::SocketAddr::from_pathname(path).map(drop),
            Address::Tcp(address) => match address.rsplit_once(':') {
                Some((host, port))
                    if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) =>
                {
                    Ok(())
                }
                _ => {
                    Err(io::Error::new(io::ErrorKind::InvalidInput, "the address is not HOST:PORT"))
                }
            },
        };
        is_sound.map_err(|error| SinkError::new(&name, "open", error))?;
        let outage = Outage::new(name, Backoff::new(RETRY_FIRST, RETRY_LONGEST));
        let boundary = Boundary::default();
        Ok(SocketSink {
            address,
            link: Link::Down,
            boundary,
            in_flight: 0,
            is_to_be_looked_at: false,
            undrained: None,
            outage,
            poller,
        })
    }

    /// Continues to connect, as far as possible now.
    fn advance(&mut self, now: Instant) {
        if matches!(self.link, Link::Down) && !self.outage.backoff.is_waiting(now) {
            self.connect(now);
        }
        // Each round uses up an address.
        while let Link::Connecting { stream, give_up, .. } = &self.link {
            match outcome(stream) {
                Ok(Outcome::Pending) if now < *give_up => return,
                Ok(Outcome::Pending) => self.try_others(now, Errno::ETIMEDOUT.into()),
                Ok(Outcome::Connected) => self.connected(now),
                Err(error) => self.try_others(now, error),
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        match &self.address {
            Address::Unix(path) => {
                match UnixStream::connect(path).and_then(|stream| self.channel(stream.into())) {
                    Ok(channel) => self.up(channel),
                    Err(error) => self.outage.failed(now, "cannot connect", error),
                }
            }
            Address::Tcp(address) => {
                let resolved = address.to_socket_addrs();
                // The resolver may have been slow. The back-off starts now, or one stall would
                // follow another.
                let now = now.max(sys::clock::now().instant);
                match resolved {
                    Ok(addresses) => {
                        let why = io::Error::other("the name has no address");
                        self.try_addresses(addresses.take(ADDRESSES_MAX).collect(), now, why);
                    }
                    Err(error) => self.outage.failed(now, "cannot resolve the name", error),
                }
            }
        }
    }

    fn try_others(&mut self, now: Instant, why: io::Error) {
        let Link::Connecting { others, .. } = std::mem::replace(&mut self.link, Link::Down) else {
            panic!("only a connection that is being made has other addresses");
        };
        self.try_addresses(others, now, why);
    }

    /// Starts a connection to the first address for which that succeeds.
    fn try_addresses(&mut self, mut addresses: VecDeque<SocketAddr>, now: Instant, why: io::Error) {
        let mut refusal = None;
        while let Some(address) = addresses.pop_front() {
            match start(address, &self.poller) {
                Ok(stream) => {
                    self.link = Link::Connecting {
                        stream,
                        others: addresses,
                        give_up: now + CONNECT_TIMEOUT,
                    };
                    return;
                }
                Err(error) => refusal = Some(error),
            }
        }
        self.outage.failed(now, "cannot connect", refusal.unwrap_or(why));
    }

    fn connected(&mut self, now: Instant) {
        let Link::Connecting { mut stream, .. } = std::mem::replace(&mut self.link, Link::Down)
        else {
            panic!("only a connection that is being made gets made");
        };
        let channel = setsockopt(&stream, sockopt::KeepAlive, &true)
            .map_err(io::Error::from)
            .and_then(|()| self.poller.registry.deregister(&mut stream))
            .and_then(|()| self.channel(stream.into()));
        match channel {
            Ok(channel) => self.up(channel),
            Err(error) => self.outage.failed(now, "cannot connect", error),
        }
    }

    fn channel(&self, socket: OwnedFd) -> io::Result<Channel> {
        Channel::new(socket, Way::Send, Interest::READABLE, &self.poller)
    }

    fn up(&mut self, channel: Channel) {
        self.link = Link::Up(channel);
        self.is_to_be_looked_at = true;
        self.outage.found();
    }

    /// Checks a connection that became ready, or to which nothing is offered.
    fn look(&mut self, is_idle: bool, now: Instant) -> Result<(), Errno> {
        let Link::Up(channel) = &mut self.link else {
            return Ok(());
        };
        if std::mem::take(&mut self.is_to_be_looked_at) || self.undrained.take().is_some() {
            self.undrained = (channel.discard_input()? == Input::Undrained).then_some(now);
        }
        // A peer that shut down only its sending side polls readable, not broken: it may still
        // read.
        if is_idle && channel.is_broken()? {
            return Err(pending_error(channel));
        }
        Ok(())
    }

    fn lost(&mut self, errno: Errno, now: Instant) -> Sent {
        let unacknowledged = self.unacknowledged().max(self.boundary.torn());
        let has_taken = self.boundary.has_taken();
        self.link = Link::Down;
        self.boundary.restart();
        self.in_flight = 0;
        self.undrained = None;
        self.outage.failed(now, "lost the connection", errno);
        if has_taken { Sent::Restarted { unacknowledged } } else { Sent::Blocked }
    }
}

impl Sink for SocketSink {
    fn send(&mut self, records: Records<'_>, now: Instant) -> Result<Sent, SinkError> {
        let bytes = records.bytes;
        self.advance(now);
        if let Err(errno) = self.look(bytes.is_empty(), now) {
            return Ok(self.lost(errno, now));
        }
        let Link::Up(channel) = &mut self.link else {
            return Ok(Sent::Blocked);
        };
        if bytes.is_empty() {
            return Ok(Sent::Accepted(0));
        }
        Ok(match channel.offer(bytes) {
            Ok(Offer::Took(taken)) => {
                self.boundary.took(&bytes[..taken]);
                self.in_flight += taken as u64;
                self.outage.backoff.reset();
                Sent::Accepted(taken)
            }
            Ok(Offer::Full) => Sent::Blocked,
            Err(errno) => self.lost(errno, now),
        })
    }

    /// A record that is partly acknowledged counts as a whole: after a loss all of it is offered
    /// again.
    fn wants(&self) -> Wants {
        Wants::Bytes
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        None
    }

    fn unacknowledged(&mut self) -> u64 {
        let (Link::Up(channel), Address::Tcp(_)) = (&self.link, &self.address) else {
            return 0;
        };
        if let Ok(bytes) = sys::socket::unacknowledged(channel) {
            self.in_flight = bytes.min(self.in_flight);
        }
        self.in_flight.max(self.boundary.torn())
    }

    fn ready(&mut self, _now: Instant) {
        self.is_to_be_looked_at = true;
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.link {
            Link::Down => self.outage.backoff.deadline(),
            Link::Connecting { give_up, .. } => Some(*give_up),
            Link::Up(_) => self.undrained,
        }
    }

    no_regular_file!();

    fn state(&self) -> SinkState {
        SinkState { is_connected: matches!(self.link, Link::Up(_)), ..self.outage.state() }
    }
}

impl Drop for SocketSink {
    fn drop(&mut self) {
        // Closing a connection with unread input resets it, and the peer would lose what it has not
        // read yet.
        if let Link::Up(channel) = &mut self.link {
            let _ = channel.discard_input();
        }
    }
}

enum Outcome {
    Pending,
    Connected,
}

/// Starts a connection and registers it; it becomes WRITABLE when the attempt ends.
fn start(address: SocketAddr, poller: &Poller) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    // Records leave as they come; a batch is one write anyway.
    stream.set_nodelay(true)?;
    poller.registry.register(&mut stream, poller.token, Interest::WRITABLE)?;
    Ok(stream)
}

/// The state of a connection attempt.
fn outcome(stream: &TcpStream) -> io::Result<Outcome> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        // Nobody listens, and the kernel chose the port that we connect to as our own (a
        // simultaneous open with ourselves, tcp(7)).
        Ok(peer) if stream.local_addr()? == peer => Err(Errno::ECONNREFUSED.into()),
        Ok(_) => Ok(Outcome::Connected),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(Outcome::Pending),
        Err(error) => Err(error),
    }
}

/// The error of a connection that polls as broken.
fn pending_error(channel: &Channel) -> Errno {
    match getsockopt(channel, sockopt::SocketError) {
        Ok(0) | Err(_) => Errno::ECONNRESET,
        Ok(number) => Errno::from_raw(number),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{Shutdown, SockaddrStorage, connect, getsockname, shutdown};

    use super::*;

    #[test]
    fn connection_to_ourselves_is_no_connection() {
        // A socket that is bound and does not listen, as connect(2) creates it when it chooses the
        // wrong port.
        let free = TcpListener::bind("127.0.0.78:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let own = OwnedFd::from(TcpListener::bind(free).expect("still free"));
        let address: SockaddrStorage = getsockname(own.as_raw_fd()).expect("bound");
        shutdown(own.as_raw_fd(), Shutdown::Both).expect("listens no more");
        connect(own.as_raw_fd(), &address).expect("the kernel lets us");
        let stream = TcpStream::from_std(std::net::TcpStream::from(own));
        assert_eq!(
            outcome(&stream).err().map(|error| error.kind()),
            Some(io::ErrorKind::ConnectionRefused)
        );
    }
}
