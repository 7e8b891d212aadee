//! What keeps records from a stream: each condition is said in a sentence, loses nothing, and ends
//! by itself once it is cured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mio::{Events, Poll};
use serde_json::json;

use super::PATIENCE;
use super::cluster::{Cluster, until};
use super::life::{Plan, sink_of};
use super::raw::Raw;
use crate::config::{Format, Nats, OnRefused};
use crate::sink::nats::NatsSink;
use crate::sink::tests::skipping::skip;
use crate::sink::{Origin, Origins, Records, Sent, Sink};
use crate::sys::clock;

/// An output that is given single records.
struct Output {
    poll: Poll,
    events: Events,
    sink: NatsSink,
    offset: u64,
}

impl Output {
    fn new(nats: &Nats) -> Output {
        let plan = Plan { format: Format::Raw, ..Plan::new(Vec::new(), Path::new("")) };
        let poll = Poll::new().expect("epoll");
        let sink = sink_of(&plan, nats, &poll, false);
        Output { poll, events: Events::with_capacity(8), sink, offset: 0 }
    }

    fn of(cluster: &Cluster) -> Output {
        Output::new(&Nats { servers: cluster.servers(), ..Nats::default() })
    }

    fn offer(&mut self, line: &str) {
        let mut origins = Origins::default();
        origins.begin(&Origin {
            file: b"fd01-1-0",
            path: b"/jobs/a.log",
            destination: b"jobs.n7.a",
            key: b"",
        });
        let bytes = format!("{line}\n").into_bytes();
        let of = [origins.of(bytes.len(), self.offset, false)];
        let records = Records::with_origins(&bytes, &of, &origins);
        let sent = self.sink.send(records, clock::now().instant).expect("it goes on");
        assert_eq!(sent, Sent::Accepted(bytes.len()));
        self.offset += bytes.len() as u64;
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut NatsSink) -> bool) {
        let deadline = clock::now().instant + PATIENCE;
        while !is_so(&mut self.sink) {
            let state = self.sink.state();
            assert!(clock::now().instant < deadline, "waited until {what}: {state:?}");
            self.poll.poll(&mut self.events, Some(Duration::from_millis(5))).expect("epoll_wait");
            self.sink.ready(clock::now().instant);
        }
    }

    /// Waits for a failure with all these words.
    fn until_it_says(&mut self, words: &[&str]) -> String {
        let mut said = String::new();
        self.until(&format!("it says {words:?}"), |sink| {
            said = sink.state().failure.unwrap_or_default();
            words.iter().all(|word| said.contains(word))
        });
        assert!(!self.sink.state().is_connected);
        eprintln!("{said}");
        said
    }

    fn until_stored(&mut self) {
        self.until("all is stored", |sink| sink.unacknowledged() == 0);
        self.until("it is well", |sink| sink.state().is_connected);
        assert_eq!(self.sink.state().failure, None);
    }

    /// It ends at once, whatever it waits for.
    fn end(self) {
        let began = clock::now().instant;
        drop(self.sink);
        let took = clock::now().instant.saturating_duration_since(began);
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}

fn lines(cluster: &Cluster) -> Vec<String> {
    let messages = Raw::connect(cluster.port(0)).expect("connected").messages("JOBS");
    messages.into_iter().map(|message| String::from_utf8(message.payload).expect("text")).collect()
}

#[test]
fn a_stream_that_is_missing_is_said_with_a_command_that_makes_it_or_made() {
    let Some(cluster) = Cluster::start(1) else { return };
    let mut output = Output::of(&cluster);
    output.offer("one");
    output
        .until_it_says(&["no stream stores jobs.n7.>", "nats stream add JOBS --subjects 'jobs.>'"]);
    cluster.add_stream("JOBS", "jobs.>", 1);
    output.until_stored();
    output.end();
    let nats = Nats { servers: cluster.servers(), stream: Some("X".to_owned()), ..Nats::default() };
    let mut output = Output::new(&nats);
    output.offer("two");
    output.until_it_says(&["there is no stream X"]);
    output.end();
    cluster.ask("$JS.API.STREAM.DELETE.JOBS", &json!({})).expect("deleted");
    let mut output = Output::new(&Nats { stream: None, create: true, replicas: 1, ..nats });
    output.offer("two");
    output.until_stored();
    assert_eq!(lines(&cluster), ["two"]);
}

#[test]
fn a_stream_without_atomic_batches_is_said_and_used_once_it_has_them() {
    let Some(cluster) = Cluster::start(1) else { return };
    let mut config = json!({"name": "JOBS", "subjects": ["jobs.>"], "num_replicas": 1});
    cluster.make(&config);
    let mut output = Output::of(&cluster);
    output.offer("one");
    output.until_it_says(&["nats stream edit JOBS --allow-batch"]);
    config["allow_atomic"] = json!(true);
    cluster.ask("$JS.API.STREAM.UPDATE.JOBS", &config).expect("changed");
    output.until_stored();
    assert_eq!(lines(&cluster), ["one"]);
}

#[test]
fn a_full_stream_holds_records_back_until_there_is_room() {
    let Some(cluster) = Cluster::start(1) else { return };
    cluster.make(&json!({
        "name": "JOBS", "subjects": ["jobs.>"], "num_replicas": 1, "allow_atomic": true,
        "max_msgs": 2, "discard": "new",
    }));
    let mut output = Output::of(&cluster);
    for line in ["one", "two", "three"] {
        output.offer(line);
    }
    output.until_it_says(&["the stream refuses records", "maximum messages exceeded"]);
    output.end();
    let mut output = Output::of(&cluster);
    output.offer("one");
    output.until_stored();
    output.offer("two");
    output.until_stored();
    output.offer("three");
    output.until_it_says(&["maximum messages exceeded"]);
    cluster.purge("JOBS");
    output.until_stored();
    assert_eq!(lines(&cluster), ["three"]);
}

#[test]
fn somebody_else_who_writes_to_our_subjects_blocks_and_is_named() {
    let Some(cluster) = Cluster::start(1) else { return };
    cluster.add_stream("JOBS", "jobs.>", 1);
    let mut output = Output::of(&cluster);
    output.offer("one");
    output.until_stored();
    let mut raw = Raw::connect(cluster.port(0)).expect("connected");
    raw.publish("jobs.n7.x", "foreign");
    until("it is stored", || (cluster.stored("JOBS") == Some(2)).then_some(()));
    // Below another prefix it does not matter.
    raw.publish("jobs.n8.x", "another host");
    output.offer("two");
    let said = output.until_it_says(&["somebody else writes to our subjects", "another program"]);
    assert!(said.contains("message 2 to jobs.n7.x") && said.contains("nats stream rmm JOBS 2"));
    cluster.ask("$JS.API.STREAM.MSG.DELETE.JOBS", &json!({"seq": 2})).expect("deleted");
    output.until_stored();
    assert_eq!(lines(&cluster), ["one", "another host", "two"]);
    // One that starts goes on behind what is there; the one before it is blocked, and says why.
    let mut second = Output::of(&cluster);
    second.offer("three");
    second.until_stored();
    output.offer("four");
    output.until_it_says(&["another manytail of this host"]);
    second.offer("five");
    second.until_stored();
    output.end();
}

#[test]
fn a_record_that_the_server_never_takes_blocks_or_is_left_out_and_counted() {
    let Some(cluster) = Cluster::start_with(1, "max_payload: 4096", &[]) else { return };
    cluster.add_stream("JOBS", "jobs.>", 1);
    let large = "x".repeat(5000);
    let mut output = Output::of(&cluster);
    for line in ["one", &large, "two"] {
        output.offer(line);
    }
    let said = output.until_it_says(&["the server does not take a record"]);
    assert!(said.contains("/jobs/a.log at offset 4: it has 5000 bytes"), "{said}");
    assert!(said.contains("4096") && said.contains("on_refused"), "{said}");
    output.end();
    assert_eq!(lines(&cluster), ["one"], "what came before it is stored");
    let mut nats = Nats { servers: cluster.servers(), ..Nats::default() };
    nats.on_refused = OnRefused::Skip;
    let mut output = Output::new(&nats);
    for line in ["two", &large, "three", &large] {
        output.offer(line);
    }
    output.until_stored();
    assert_eq!(output.sink.state().refused, 2);
    assert_eq!(lines(&cluster), ["one", "two", "three"]);
}

#[test]
fn without_a_quorum_records_wait() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    cluster.add_stream("JOBS", "jobs.>", 3);
    let mut output = Output::of(&cluster);
    output.offer("one");
    output.until_stored();
    let leader = cluster.leader("JOBS");
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    others.iter().for_each(|&node| cluster.kill(node));
    output.offer("two");
    output.until("it says something", |sink| sink.state().failure.is_some());
    output.until_it_says(&["quorum"]);
    others.iter().for_each(|&node| cluster.up(node));
    output.until_stored();
    output.end();
}

#[test]
fn a_server_that_is_not_there_or_has_no_address_is_said() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    cluster.add_stream("JOBS", "jobs.>", 1);
    let mut output = Output::of(&cluster);
    output.offer("one");
    output.until_stored();
    cluster.kill(0);
    output.offer("two");
    output.until_it_says(&["cannot connect", "127.0.0.1", "refused"]);
    cluster.up(0);
    output.until_stored();
    assert_eq!(output.sink.state().reconnects, 1);
    assert_eq!(lines(&cluster), ["one", "two"]);
    output.end();
    let servers = vec!["nats://no-such-host.invalid:4222".to_owned()];
    let mut output = Output::new(&Nats { servers, ..Nats::default() });
    output.offer("three");
    output.until("it says something", |sink| sink.state().failure.is_some());
    let said = output.sink.state().failure.unwrap_or_default();
    let is_unresolved = said.contains("cannot resolve the name of a server");
    assert!(said.contains("no-such-host.invalid"), "{said}");
    assert!(is_unresolved || said.contains("no answer within"), "{said}");
    output.end();
}

const USERS: &str = r#"accounts {
  A: { jetstream: enabled, users: [
    { user: "t", password: "t" }
    { user: "writer", password: "right-secret" }
    { user: "reader", password: "right-secret", permissions: { publish: { deny: "jobs.>" } } }
  ] }
  B: { users: [ { user: "none", password: "right-secret" } ] }
}
no_auth_user: "t"
"#;

#[test]
fn who_may_not_write_is_told_so_and_a_new_password_is_used_without_a_restart() {
    let Some(cluster) = Cluster::start_with(1, USERS, &[]) else { return };
    cluster.add_stream("JOBS", "jobs.>", 1);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "wrong-secret\n").expect("written");
    let with_user = |user: &str| Nats {
        servers: cluster.servers(),
        user: Some(user.to_owned()),
        password_file: Some(file.clone()),
        ..Nats::default()
    };
    let mut output = Output::new(&with_user("writer"));
    output.offer("one");
    let said = output.until_it_says(&["the server does not let us in", "user writer"]);
    assert!(!said.contains("secret"), "{said}");
    std::fs::remove_file(&file).expect("removed");
    output.until_it_says(&["cannot use the credentials", "password: No such file"]);
    std::fs::write(&file, "right-secret\n").expect("written");
    output.until_stored();
    output.end();
    let mut output = Output::new(&with_user("reader"));
    output.offer("two");
    output.until_it_says(&["permission to publish", "Permissions Violation for Publish"]);
    output.end();
    let mut output = Output::new(&with_user("none"));
    output.offer("three");
    output.until_it_says(&["JetStream", "for our account"]);
    output.end();
    assert_eq!(lines(&cluster), ["one"]);
}

/// Certificates of an authority: for the server, and for us.
struct Authority(PathBuf);

impl Authority {
    fn new(directory: &Path, name: &str) -> Authority {
        let authority = Authority(directory.join(name));
        std::fs::create_dir(&authority.0).expect("a directory");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        authority.openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN={name} -days 30"
        ));
        std::fs::write(authority.0.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            .expect("written");
        for (name, days) in [("server", 30), ("expired", 0), ("client", 30)] {
            authority
                .openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
            authority.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} \
                -extfile names -out {name}.pem"
            ));
        }
        authority
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.split(' ').filter(|argument| !argument.is_empty());
        let done = Command::new("openssl").args(arguments).current_dir(&self.0).output();
        let done = done.expect("openssl");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn server(&self, name: &str, is_client_known: bool) -> String {
        let (certificate, key) =
            (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let ca = self.path("ca.pem");
        format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: {is_client_known} }}\n\
            allow_non_tls: {}\n",
            certificate.display(),
            key.display(),
            ca.display(),
            !is_client_known
        )
    }
}

#[test]
fn certificates_that_are_not_trusted_or_too_old_are_said() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skip("it makes certificates with openssl");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let ours = Authority::new(directory.path(), "ours");
    let other = Authority::new(directory.path(), "other");
    let with_ca = |cluster: &Cluster, ca: &Authority| {
        let mut nats = Nats { servers: cluster.servers(), tls: true, ..Nats::default() };
        nats.certificates.ca_file = Some(ca.path("ca.pem"));
        nats
    };
    let Some(cluster) = Cluster::start_with(1, &ours.server("server", false), &[]) else { return };
    cluster.add_stream("JOBS", "jobs.>", 1);
    let mut output = Output::new(&with_ca(&cluster, &ours));
    output.offer("one");
    output.until_stored();
    output.end();
    let mut output = Output::new(&with_ca(&cluster, &other));
    output.offer("two");
    output.until_it_says(&["cannot trust the server", "UnknownIssuer", "does not vouch for it"]);
    output.end();
    let made = clock::now().instant;
    until("its last second is over", || {
        (clock::now().instant > made + Duration::from_millis(1100)).then_some(())
    });
    let Some(old) = Cluster::start_with(1, &ours.server("expired", false), &[]) else { return };
    let mut output = Output::new(&with_ca(&old, &ours));
    output.offer("two");
    output.until_it_says(&["cannot trust the server", "expired"]);
    output.end();
    let Some(strict) = Cluster::start_with(1, &ours.server("server", true), &[]) else { return };
    let mut nats = with_ca(&strict, &ours);
    let mut output = Output::new(&nats);
    output.offer("two");
    output.until_it_says(&["certificate_file and key_file"]);
    output.end();
    nats.certificates.certificate_file = Some(ours.path("client.pem"));
    nats.certificates.key_file = Some(ours.path("client.key"));
    let mut output = Output::new(&Nats { create: true, replicas: 1, ..nats });
    output.offer("two");
    output.until_stored();
    output.end();
}
