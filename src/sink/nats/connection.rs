//! How a connection is made: which server, who we are, and what went wrong.
//!
//! In: the table `[nats]`, and the files that it names. Out: a connected client and its signals.
//! Always holds: files with secrets are read for each connection, so that new ones are used without
//! a restart. An error names the file and never what is in it. The client library does not
//! reconnect by itself: a lost connection ends, and another one is made here.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::rustls;
use async_nats::rustls::pki_types::pem::{self, PemObject};
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::link::Failure;
use crate::config::Nats;

/// How long one server has to answer, with the resolver and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pings find a connection that is dead at the other end, after the third one.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The client library reconnects after this, which never comes: we do that.
const NEVER: Duration = Duration::from_secs(3600);

/// Messages on their way to the library: a batch, and some requests.
const CAPACITY: usize = 2048;

/// The servers, and which one is tried next.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    configured: Vec<ServerAddr>,
    /// The others of the cluster, as the last server told.
    discovered: Vec<ServerAddr>,
    next: usize,
}

/// A connection.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) signals: UnboundedReceiver<async_nats::Event>,
    /// For people.
    pub(super) server: String,
}

impl Servers {
    /// Reads the addresses.
    pub(super) fn new(nats: &Nats) -> Result<Self, String> {
        let configured = nats.servers.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
        let servers = Servers { configured, discovered: Vec::new(), next: 0 };
        if servers.configured.is_empty() {
            return Err("no server is set: servers = [\"nats://HOST:4222\"] in [nats]".to_owned());
        }
        Ok(servers)
    }

    /// Begins with another one than its neighbours do.
    pub(super) fn spread(&mut self, random: u64) {
        self.next = usize::try_from(random % self.configured.len() as u64).unwrap_or(0);
    }

    /// All of them, those after the last one first.
    fn round(&self) -> Vec<(usize, ServerAddr)> {
        let all = self.configured.iter().chain(&self.discovered);
        let mut round: Vec<_> = all.cloned().enumerate().collect();
        let len = round.len();
        round.rotate_left(self.next % len);
        round
    }

    /// A server told who else is in its cluster. With TLS an address in digits is left out: its
    /// certificate is for a name.
    fn learn(&mut self, urls: &[String], is_tls: bool) {
        self.discovered = urls
            .iter()
            .filter_map(|url| address(url).ok())
            .filter(|server| !(is_tls && server.host().parse::<IpAddr>().is_ok()))
            .filter(|server| !self.configured.iter().any(|known| is_same(known, server)))
            .collect();
    }
}

fn is_same(one: &ServerAddr, other: &ServerAddr) -> bool {
    (one.host(), one.port()) == (other.host(), other.port())
}

/// The text is not repeated: it may have what it should not have.
fn address(text: &str) -> Result<ServerAddr, String> {
    text.parse().map_err(|_| "a server is not nats://HOST:PORT or tls://HOST:PORT".to_owned())
}

/// Connects to the first server that lets us.
pub(super) async fn connect(
    nats: &Nats,
    servers: &mut Servers,
    identity: &str,
) -> Result<Connection, Failure> {
    let options = options(nats, identity)?;
    let mut failure: Option<Failure> = None;
    for (at, server) in servers.round() {
        let (tell, signals) = unbounded_channel();
        let is_connected = Arc::new(AtomicBool::new(false));
        let is_up = Arc::clone(&is_connected);
        let delay = move |_| if is_up.load(Ordering::Relaxed) { NEVER } else { Duration::ZERO };
        let options =
            options.clone().reconnect_delay_callback(delay).event_callback(move |event| {
                // Nobody listens when the connection is given up.
                let _ = tell.send(event);
                async {}
            });
        let name = format!("{}:{}", server.host(), server.port());
        let is_tls = nats.tls || server.tls_required();
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, options.connect(server));
        let why = match attempt.await {
            Ok(Ok(client)) => {
                is_connected.store(true, Ordering::Relaxed);
                servers.next = at + 1;
                let info = client.server_info();
                servers.learn(&info.connect_urls, is_tls || info.tls_required);
                return Ok(Connection { client, signals, server: name });
            }
            Ok(Err(error)) => explain(&error, &name, nats),
            Err(_) => silent(&name),
        };
        // That one of them refuses us says more than that another one is down.
        if failure.as_ref().is_none_or(|failure| failure.what != NOT_AUTHORISED) {
            failure = Some(why);
        }
    }
    Err(failure.expect("there is a server"))
}

const NOT_AUTHORISED: &str = "the server does not let us in";
const CANNOT_CONNECT: &str = "cannot connect";

fn silent(server: &str) -> Failure {
    let seconds = CONNECT_TIMEOUT.as_secs();
    Failure::new(CANNOT_CONNECT, format!("{server}: no answer within {seconds} s"))
}

/// What is the same for all servers.
fn options(nats: &Nats, identity: &str) -> Result<ConnectOptions, Failure> {
    let unusable = |why: String| Failure::new("cannot use the credentials", why);
    let mut options = ConnectOptions::new()
        .name(identity)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .client_capacity(CAPACITY)
        .ignore_discovered_servers()
        .skip_subject_validation(true)
        .require_tls(nats.tls);
    if let Some(path) = &nats.credentials_file {
        let what = "has no user credentials (a JWT and a seed)";
        options = options
            .credentials(&read(path).map_err(unusable)?)
            .map_err(|_| unusable(format!("{} {what}", path.display())))?;
    } else if let Some(path) = &nats.nkey_file {
        options = options.nkey(first_line(&read(path).map_err(unusable)?).to_owned());
    } else if let (Some(user), Some(path)) = (&nats.user, &nats.password_file) {
        let password = read(path).map_err(unusable)?;
        options = options.user_and_password(user.clone(), first_line(&password).to_owned());
    }
    let certificates = &nats.certificates;
    let unusable = |why: String| Failure::new("cannot use the certificates", why);
    if let Some(path) = &certificates.ca_file {
        check_certificates(path).map_err(unusable)?;
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(path), Some(key)) = (&certificates.certificate_file, &certificates.key_file) {
        check_certificates(path).map_err(unusable)?;
        check_key(key).map_err(unusable)?;
        options = options.add_client_certificate(path.clone(), key.clone());
    }
    Ok(options)
}

/// The file's text. It blocks no longer than the file system does, and on this thread alone.
fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|why| match why.kind() {
        io::ErrorKind::InvalidData => format!("{} is not a text", path.display()),
        _ => format!("cannot read {}: {why}", path.display()),
    })
}

/// The first line with something else than a comment.
fn first_line(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim_end);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default()
}

fn check_certificates(path: &Path) -> Result<(), String> {
    let nothing = || format!("{} has no certificate in PEM form", path.display());
    let mut found = CertificateDer::pem_file_iter(path).map_err(|why| pem_error(path, &why))?;
    match found.next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(why @ pem::Error::Io(_))) => Err(pem_error(path, &why)),
        _ => Err(nothing()),
    }
}

fn check_key(path: &Path) -> Result<(), String> {
    PrivateKeyDer::from_pem_file(path).map(drop).map_err(|why| match why {
        pem::Error::Io(_) => pem_error(path, &why),
        _ => format!("{} has no private key in PEM form", path.display()),
    })
}

fn pem_error(path: &Path, why: &pem::Error) -> String {
    match why {
        pem::Error::Io(why) => format!("cannot read {}: {why}", path.display()),
        _ => format!("{} is not in PEM form", path.display()),
    }
}

/// A sentence for an attempt that failed.
fn explain(error: &ConnectError, server: &str, nats: &Nats) -> Failure {
    if let Some(why) = tls_error(error) {
        return Failure::new("cannot trust the server", explain_tls(why, server, nats));
    }
    let source = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let credentials = match (&nats.credentials_file, &nats.nkey_file, &nats.user) {
        (Some(path), _, _) => format!("credentials_file {}", path.display()),
        (_, Some(path), _) => format!("nkey_file {}", path.display()),
        (_, _, Some(user)) => format!("user {user} and password_file"),
        _ => "no credentials are set".to_owned(),
    };
    let refusal = source.to_ascii_lowercase();
    let is_refusal = ["authorization", "authentication", "account"]
        .into_iter()
        .any(|word| refusal.contains(word));
    match error.kind() {
        ConnectErrorKind::Authentication => {
            Failure::new("cannot use the credentials", format!("{credentials} has no valid seed"))
        }
        ConnectErrorKind::AuthorizationViolation => Failure::new(
            NOT_AUTHORISED,
            format!("{server}: authorization violation; {credentials}"),
        ),
        _ if is_refusal => {
            Failure::new(NOT_AUTHORISED, format!("{server}: {source}; {credentials}"))
        }
        ConnectErrorKind::Dns => {
            Failure::new("cannot resolve the name of a server", format!("{server}: {source}"))
        }
        ConnectErrorKind::TimedOut => silent(server),
        ConnectErrorKind::Tls => Failure::new(
            "cannot use TLS",
            format!("{server}: {source}; ca_file tells whom to trust"),
        ),
        _ => Failure::new(CANNOT_CONNECT, format!("{server}: {source}")),
    }
}

/// The error of TLS within an error of the connection, if that is what failed.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn explain_tls(error: &rustls::Error, server: &str, nats: &Nats) -> String {
    use async_nats::rustls::CertificateError as Certificate;
    let certificates = &nats.certificates;
    let what_to_do = match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            match &certificates.ca_file {
                Some(path) => format!("; ca_file {} does not vouch for it", path.display()),
                None => "; ca_file tells whom to trust".to_owned(),
            }
        }
        rustls::Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => "; renew the certificate of the server, or set the clocks".to_owned(),
        rustls::Error::AlertReceived(_) => match &certificates.certificate_file {
            Some(path) => format!("; it does not accept certificate_file {}", path.display()),
            None => "; it may want a certificate of ours: certificate_file and key_file".to_owned(),
        },
        _ => String::new(),
    };
    format!("{server}: {error}{what_to_do}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_servers(servers: &[&str]) -> Nats {
        let servers = servers.iter().map(|server| (*server).to_owned()).collect();
        Nats { servers, ..Nats::default() }
    }

    #[test]
    fn each_round_begins_behind_the_last_server_and_learns_the_others() {
        let nats = with_servers(&["nats://a:4222", "b", "tls://c:5222"]);
        let mut servers = Servers::new(&nats).unwrap();
        let hosts = |servers: &Servers| {
            let round = servers.round();
            round.iter().map(|(_, server)| server.host().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(hosts(&servers), ["a", "b", "c"]);
        servers.next = 2;
        let urls: Vec<String> = ["b:4222", "d:4222", "10.1.2.3:4222"].map(str::to_owned).into();
        servers.learn(&urls, false);
        assert_eq!(hosts(&servers), ["c", "d", "10.1.2.3", "a", "b"]);
        servers.learn(&urls, true);
        assert_eq!(hosts(&servers), ["c", "d", "a", "b"]);
        servers.learn(&[], true);
        servers.next = 4;
        assert_eq!(hosts(&servers), ["b", "c", "a"]);
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_saying_it() {
        let why = Servers::new(&with_servers(&["nats://a b:pass-word"])).unwrap_err();
        assert!(!why.contains("pass-word"), "{why}");
        assert!(Servers::new(&with_servers(&[])).unwrap_err().contains("servers ="));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_its_content_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "not-for-the-log").unwrap();
        let missing = directory.path().join("missing");
        for (nats, named) in [
            (Nats { credentials_file: Some(path.clone()), ..Nats::default() }, &path),
            (Nats { credentials_file: Some(missing.clone()), ..Nats::default() }, &missing),
            (Nats { nkey_file: Some(missing.clone()), ..Nats::default() }, &missing),
        ] {
            let why = options(&nats, "i").err().unwrap().why;
            assert!(why.contains(named.to_str().unwrap()) && !why.contains("not-for"), "{why}");
        }
        let mut nats = Nats::default();
        nats.certificates.ca_file = Some(path.clone());
        let why = options(&nats, "i").err().unwrap().why;
        assert!(why.contains("secret has no certificate") && !why.contains("not-for"), "{why}");
        assert!(check_key(&path).unwrap_err().contains("no private key"));
        assert_eq!(first_line("# a comment\n\nSUABC \nother\n"), "SUABC");
        assert_eq!(first_line(""), "");
    }
}
