//! Servers on loopback, with their data in a temporary directory.
//!
//! In: how many. Out: their addresses; they can be killed and started again.
//! Always holds: they end with the test.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::PATIENCE;
use super::life::Plan;
use super::raw::Raw;
use crate::sink::tests::skipping::skip;
use crate::sys::clock;

/// Names the program.
const PROGRAM: &str = "NATS_SERVER";

pub(super) struct Cluster {
    program: PathBuf,
    directory: tempfile::TempDir,
    ports: Vec<u16>,
    nodes: Vec<Option<Child>>,
}

/// Ports that nobody listens on.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("bound").port()).collect()
}

/// Waits until `is_so` gives something.
pub(super) fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now().instant + PATIENCE;
    loop {
        if let Some(found) = is_so() {
            return found;
        }
        assert!(clock::now().instant < deadline, "waited too long until {what}");
        clock::pause(std::time::Duration::from_millis(20));
    }
}

impl Cluster {
    /// Servers without further settings; `None` if there is no program.
    pub(super) fn start(nodes: usize) -> Option<Cluster> {
        Cluster::start_with(nodes, "", &[])
    }

    /// Servers with these settings; each says that it is reached at one of these ports.
    pub(super) fn start_with(nodes: usize, settings: &str, advertised: &[u16]) -> Option<Cluster> {
        let Some(program) = std::env::var_os(PROGRAM).map(PathBuf::from) else {
            skip("it needs nats-server: NATS_SERVER names the program");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let ports = free_ports(2 * nodes);
        let (clients, routes) = ports.split_at(nodes);
        for node in 0..nodes {
            let name = format!("n{node}");
            let store = directory.path().join(&name);
            let mut text = format!(
                "server_name: {name}\nlisten: 127.0.0.1:{}\n{settings}\n\
                jetstream {{ store_dir: \"{}\", max_mem: 64MB, max_file: 2GB }}\n",
                clients[node],
                store.display()
            );
            if let Some(port) = advertised.get(node) {
                text += &format!("client_advertise: \"127.0.0.1:{port}\"\n");
            }
            if nodes > 1 {
                let routes: Vec<String> =
                    routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
                text += &format!(
                    "cluster {{ name: test, listen: 127.0.0.1:{}, routes: [{}] }}\n",
                    ports[nodes + node],
                    routes.join(", ")
                );
            }
            std::fs::write(directory.path().join(format!("{name}.conf")), text).expect("written");
        }
        let clients = clients.to_vec();
        let mut cluster = Cluster {
            program,
            directory,
            ports: clients,
            nodes: (0..nodes).map(|_| None).collect(),
        };
        for node in 0..nodes {
            cluster.up(node);
        }
        Some(cluster)
    }

    pub(super) fn port(&self, node: usize) -> u16 {
        self.ports[node]
    }

    /// For the settings of an output.
    pub(super) fn servers(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect()
    }

    pub(super) fn up(&mut self, node: usize) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("n{node}.log")))
            .expect("a log");
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.directory.path().join(format!("n{node}.conf")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts");
        self.nodes[node] = Some(child);
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }

    pub(super) fn signal(&self, node: usize, signal: Signal) {
        let child = self.nodes[node].as_ref().expect("it runs");
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("signalled");
    }

    /// Asks any server that answers.
    pub(super) fn ask(&self, subject: &str, question: &Value) -> Option<Value> {
        self.ports.iter().find_map(|port| {
            let answer = Raw::connect(*port).ok()?.ask(subject, question).ok()?;
            answer.is_object().then_some(answer)
        })
    }

    pub(super) fn make(&self, config: &Value) {
        let name = config["name"].as_str().expect("a name");
        until("the stream is made", || {
            let answer = self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), config)?;
            answer.get("config").map(drop)
        });
    }

    pub(super) fn add_stream(&self, name: &str, subjects: &str, replicas: usize) {
        self.make(&json!({
            "name": name, "subjects": [subjects], "storage": "file", "num_replicas": replicas,
            "retention": "limits", "allow_atomic": true,
        }));
    }

    /// Messages of a stream.
    pub(super) fn stored(&self, stream: &str) -> Option<u64> {
        let info = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({}))?;
        info["state"]["messages"].as_u64()
    }

    pub(super) fn purge(&self, stream: &str) {
        self.ask(&format!("$JS.API.STREAM.PURGE.{stream}"), &json!({})).expect("purged");
    }

    /// The node that leads a stream.
    pub(super) fn leader(&self, stream: &str) -> usize {
        until("the stream has a leader", || {
            let info = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({}))?;
            info["cluster"]["leader"].as_str()?.strip_prefix('n')?.parse().ok()
        })
    }

    /// The stream has each line of the plan once, those of a file in order, each below its subject.
    pub(super) fn check(&self, plan: &Plan) {
        let deadline = clock::now().instant + PATIENCE;
        let messages = loop {
            let found = self.ports.iter().find_map(|port| {
                let mut raw = Raw::connect(*port).ok()?;
                raw.ask("$JS.API.STREAM.INFO.JOBS", &json!({})).ok()?.get("state")?;
                Some(raw.messages("JOBS"))
            });
            match found {
                Some(messages) => break messages,
                None => assert!(clock::now().instant < deadline, "nobody has the stream"),
            }
        };
        let mut next: HashMap<(String, usize), u64> = HashMap::new();
        for message in &messages {
            let (file, line) = plan.read(message);
            assert!(message.subject.ends_with(&format!(".f{file}")), "{}", message.subject);
            let next = next.entry((plan.host.clone(), file)).or_default();
            assert_eq!(line, *next, "file {file}: repeated, missing or out of order");
            *next += 1;
        }
        assert_eq!(messages.len() as u64, plan.files as u64 * plan.lines, "nothing is missing");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
    }
}
