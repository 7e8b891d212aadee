//! One life of a process with the output: a small engine with a journal.
//!
//! In: a plan: files with numbered lines, and where the journal is. Out: its lines offered in
//! order, offsets committed together with the sequence of the stream.
//! Always holds: nothing is offered before the first commit has a sequence; each start resumes
//! where the journal and the verdict say.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::raw::Stored;
use super::{PATIENCE, step};
use crate::config::{Alphabet, Format, Kafka, Nats, Routes, Template};
use crate::lines::{End, Line};
use crate::record::{Encoder, Source};
use crate::sink::nats::NatsSink;
use crate::sink::nats::protocol::{FILE_HEADER, OFFSET_HEADER};
use crate::sink::{
    Brokers, Known, Of, Origin, Origins, Poller, Receiver, Records, Sent, Sink, SinkState, Verdict,
};
use crate::sys::clock;

/// The step at which a process dies.
pub(super) const DIES_AT: &str = "NATS_TEST_DIES_AT";
/// The plan of a process that a test started.
const PLAN: &str = "NATS_TEST_PLAN";

const DEVICE: u64 = 0xfd01;

/// What is to be delivered.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) servers: Vec<String>,
    pub(super) directory: PathBuf,
    pub(super) host: String,
    pub(super) files: usize,
    /// Of each file.
    pub(super) lines: u64,
    pub(super) format: Format,
    pub(super) commit_interval: Duration,
    /// Lines come in turns of at most this many, a turn a millisecond; 0: as fast as possible.
    pub(super) lines_a_turn: u64,
}

impl Plan {
    pub(super) fn new(servers: Vec<String>, directory: &Path) -> Self {
        Plan {
            servers,
            directory: directory.to_owned(),
            host: "n7".to_owned(),
            files: 10,
            lines: 1000,
            format: Format::Json,
            commit_interval: Duration::from_millis(100),
            lines_a_turn: 0,
        }
    }

    /// The text of a line: its number, and bytes that depend on it.
    fn line(file: usize, number: u64) -> String {
        format!("{number} of {file} {}", "x".repeat((number * 37 % 211) as usize))
    }

    /// File and number of the line in a message; it is the right line for its offset.
    pub(super) fn read(&self, message: &Stored) -> (usize, u64) {
        let (file, offset, line) = match self.format {
            Format::Json => {
                let value: serde_json::Value =
                    serde_json::from_slice(&message.payload).expect("a record");
                let text = |key: &str| value[key].as_str().expect("a text").to_owned();
                (text("file"), value["offset"].as_u64().expect("an offset"), text("line"))
            }
            _ => {
                let text = String::from_utf8(message.payload.clone()).expect("text");
                let line = text.split_once('\t').map_or(text.as_str(), |(_, line)| line).to_owned();
                let header = |name| message.header(name).expect("a header").to_owned();
                (header(FILE_HEADER), header(OFFSET_HEADER).parse().expect("digits"), line)
            }
        };
        let inode = file.split('-').nth(1).expect("an inode");
        let file = usize::from_str_radix(inode, 16).expect("a number") - 1;
        let number: u64 = line.split(' ').next().expect("a number").parse().expect("digits");
        assert_eq!(line, Plan::line(file, number));
        assert_eq!(offset, offset_of(file, number), "file {file} line {number}");
        (file, number)
    }

    /// A process of its own that runs the plan. It dies at a step, or by a signal, or ends well.
    pub(super) fn spawn(&self, dies_at: Option<u64>) -> Child {
        let format = if self.format == Format::Json { "json" } else { "text" };
        let plan = format!(
            "{} {} {} {} {} {format} {} {}",
            self.servers.join(","),
            self.directory.display(),
            self.host,
            self.files,
            self.lines,
            self.commit_interval.as_millis(),
            self.lines_a_turn
        );
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["sink::nats::tests::life::a_process_runs_the_plan_that_it_was_given"]);
        command.args(["--exact", "--nocapture"]).env(PLAN, plan);
        if let Some(step) = dies_at {
            command.env(DIES_AT, step.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a process")
    }

    fn from_environment() -> Option<Plan> {
        let text = std::env::var(PLAN).ok()?;
        let parts: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| parts[at].parse::<u64>().expect("a number");
        Some(Plan {
            servers: parts[0].split(',').map(str::to_owned).collect(),
            directory: PathBuf::from(parts[1]),
            host: parts[2].to_owned(),
            files: number(3) as usize,
            lines: number(4),
            format: if parts[5] == "json" { Format::Json } else { Format::Text },
            commit_interval: Duration::from_millis(number(6)),
            lines_a_turn: number(7),
        })
    }
}

/// Runs in a process that a test started, and only there.
#[test]
fn a_process_runs_the_plan_that_it_was_given() {
    if let Some(plan) = Plan::from_environment() {
        Life::begin(&plan).run_to_end();
    }
}

/// Where a line begins in its file.
fn offset_of(file: usize, number: u64) -> u64 {
    thread_local! {
        static KNOWN: RefCell<HashMap<usize, Vec<u64>>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let offsets = known.entry(file).or_insert_with(|| vec![0]);
        while offsets.len() as u64 <= number {
            let last = offsets.len() - 1;
            offsets.push(offsets[last] + Plan::line(file, last as u64).len() as u64 + 1);
        }
        offsets[number as usize]
    })
}

/// The offsets of the files, and where the stream ended.
#[derive(Debug, Clone, Default)]
struct Journal {
    sequence: Option<u64>,
    /// Lines of each file.
    lines: Vec<u64>,
}

impl Journal {
    fn load(plan: &Plan) -> Journal {
        let text = std::fs::read_to_string(plan.directory.join("journal")).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|text| text.parse().expect("a number"));
        let sequence = numbers.next();
        let mut lines: Vec<u64> = numbers.collect();
        lines.resize(plan.files, 0);
        Journal { sequence, lines }
    }

    fn store(&self, plan: &Plan) {
        let Some(sequence) = self.sequence else { return };
        let lines: Vec<String> = self.lines.iter().map(u64::to_string).collect();
        let path = plan.directory.join("journal");
        let new = path.with_extension("new");
        step();
        std::fs::write(&new, format!("{sequence} {}", lines.join(" "))).expect("written");
        std::fs::rename(&new, &path).expect("renamed");
        step();
    }
}

/// The engine.
pub(super) struct Life {
    plan: Plan,
    poll: Poll,
    events: Events,
    pub(super) sink: NatsSink,
    encoder: Encoder,
    /// Accepted and not acknowledged, and what is acknowledged.
    in_flight: VecDeque<(u64, usize)>,
    accepted: u64,
    acknowledged: u64,
    journal: Journal,
    /// Lines that were accepted of each file, and the offset behind them.
    next: Vec<(u64, u64)>,
    turn: usize,
    committed_at: Instant,
    last_commit: (u64, u64),
    /// Records of verdicts.
    pub(super) recovered: usize,
}

pub(super) fn sink_of(plan: &Plan, nats: &Nats, poll: &Poll, is_kept: bool) -> NatsSink {
    let template = |text| Template::parse(text, Alphabet::Name).expect("a template");
    let routes = Routes {
        destination: template("jobs.{host}.{file}"),
        key: template("{file}"),
        host: plan.host.clone(),
    };
    let kafka = Kafka::default();
    let brokers =
        Brokers { kafka: &kafka, nats, routes: Some(&routes), format: plan.format, is_kept };
    let registry = poll.registry().try_clone().expect("dup");
    let poller = Rc::new(Poller { registry, token: Token(7) });
    let name = "nats:jobs.{host}.{file}".to_owned();
    NatsSink::open(name, &brokers, poller).expect("it opens")
}

impl Life {
    pub(super) fn begin(plan: &Plan) -> Life {
        let nats = Nats { servers: plan.servers.clone(), ..Nats::default() };
        Life::begin_with(plan, &nats)
    }

    /// Through other addresses.
    pub(super) fn begin_at(plan: &Plan, servers: &[String]) -> Life {
        Life::begin(&Plan { servers: servers.to_vec(), ..plan.clone() })
    }

    pub(super) fn begin_with(plan: &Plan, nats: &Nats) -> Life {
        let poll = Poll::new().expect("epoll");
        let mut sink = sink_of(plan, nats, &poll, true);
        let journal = Journal::load(plan);
        let identity = format!("manytail-{}-1a2b3c4d", plan.host).into_bytes();
        let sequence = journal.sequence;
        sink.begin(&Known { identity, sequence, ..Known::default() });
        let now = clock::now().instant;
        Life {
            encoder: Encoder::new(plan.format),
            plan: plan.clone(),
            poll,
            events: Events::with_capacity(8),
            sink,
            in_flight: VecDeque::new(),
            accepted: 0,
            acknowledged: 0,
            next: Vec::new(),
            journal,
            turn: 0,
            committed_at: now,
            last_commit: (0, 0),
            recovered: 0,
        }
    }

    pub(super) fn state(&self) -> SinkState {
        self.sink.state()
    }

    /// Waits for the loop, and does what is due.
    pub(super) fn turn(&mut self) {
        self.poll.poll(&mut self.events, Some(Duration::from_millis(1))).expect("epoll_wait");
        let now = clock::now().instant;
        if !self.events.is_empty() {
            self.sink.ready(now);
        }
        if self.next.is_empty() {
            self.ask();
            return;
        }
        self.collect();
        self.offer(now);
        if now.saturating_duration_since(self.committed_at) >= self.plan.commit_interval {
            self.commit();
        }
    }

    fn ask(&mut self) {
        let Some(verdict) = self.sink.verdict().expect("they belong together") else { return };
        if let Verdict::Beyond(files) = verdict {
            for ((device, inode, generation), progress) in files {
                assert_eq!((device, generation), (DEVICE, 0));
                let file = inode as usize - 1;
                let lines = &mut self.journal.lines[file];
                let before = *lines;
                while offset_of(file, *lines) < progress.end {
                    *lines += 1;
                }
                assert_eq!(offset_of(file, *lines), progress.end, "a whole line");
                self.recovered += usize::try_from(*lines - before).expect("few");
            }
        }
        let lines = self.journal.lines.iter().enumerate();
        self.next = lines.map(|(file, &lines)| (lines, offset_of(file, lines))).collect();
        // Before anything is offered the journal knows where the stream ends.
        self.commit();
    }

    fn collect(&mut self) {
        self.acknowledged = self.accepted - self.sink.unacknowledged();
        while let Some(&(end, file)) = self.in_flight.front()
            && end <= self.acknowledged
        {
            self.in_flight.pop_front();
            self.journal.lines[file] += 1;
        }
    }

    fn commit(&mut self) {
        self.journal.sequence = self.sink.sequence(self.accepted - self.acknowledged);
        let state = (self.acknowledged, self.journal.sequence.unwrap_or_default());
        if self.last_commit != state || self.accepted == 0 {
            self.journal.store(&self.plan);
            self.last_commit = state;
        }
        self.committed_at = clock::now().instant;
    }

    /// Encodes lines of the files in turn, and offers them.
    fn offer(&mut self, now: Instant) {
        let most = if self.plan.lines_a_turn == 0 { 2000 } else { self.plan.lines_a_turn };
        let (mut bytes, mut of, mut origins) = (Vec::new(), Vec::<Of>::new(), Origins::default());
        let mut lines = Vec::new();
        let mut next = self.next.clone();
        while (lines.len() as u64) < most {
            let open = (0..self.plan.files)
                .map(|at| (self.turn + at) % self.plan.files)
                .find(|&file| next[file].0 < self.plan.lines);
            let Some(file) = open else { break };
            let (number, offset) = next[file];
            let text = Plan::line(file, number);
            let begin = bytes.len();
            self.encode(file, offset, &text, &mut bytes);
            let (id, subject) =
                (format!("fd01-{:x}-0", file + 1), format!("jobs.{}.f{file}", self.plan.host));
            origins.begin(&Origin {
                file: id.as_bytes(),
                path: id.as_bytes(),
                destination: subject.as_bytes(),
                key: id.as_bytes(),
            });
            of.push(origins.of(bytes.len() - begin, offset, false));
            next[file] = (number + 1, offset + text.len() as u64 + 1);
            lines.push((bytes.len(), file, next[file]));
            // Some lines of a file follow each other.
            self.turn += usize::from(number % 3 == 0);
        }
        let mut taken = 0;
        while taken < bytes.len() {
            let first = of.iter().scan(0, |end, of| {
                *end += of.len as usize;
                Some(*end)
            });
            let skipped = first.take_while(|&end| end <= taken).count();
            let records = Records::with_origins(&bytes[taken..], &of[skipped..], &origins);
            match self.sink.send(records, now).expect("the output goes on") {
                Sent::Accepted(bytes) => taken += bytes,
                _ => break,
            }
        }
        for &(end, file, after) in lines.iter().take_while(|(end, ..)| *end <= taken) {
            self.in_flight.push_back((self.accepted + end as u64, file));
            self.next[file] = after;
        }
        self.accepted += taken as u64;
    }

    fn encode(&mut self, file: usize, offset: u64, text: &str, out: &mut Vec<u8>) {
        let path = format!("d/f{file}.log");
        self.encoder.begin(&Source {
            path: path.as_bytes(),
            device: DEVICE,
            inode: file as u64 + 1,
            generation: 0,
            labels: &[],
            job: &[],
            read_at: clock::now().wall,
        });
        self.encoder.encode(&Line { bytes: text.as_bytes(), offset, end: End::Newline }, out);
    }

    pub(super) fn is_done(&self) -> bool {
        !self.next.is_empty()
            && self.next.iter().all(|&(lines, _)| lines == self.plan.lines)
            && self.in_flight.is_empty()
    }

    /// Turns until the stream said what it has, and offers nothing yet.
    pub(super) fn until_asked(&mut self) {
        self.until("the stream said what it has", |life| !life.next.is_empty());
    }

    /// Turns until `is_so`.
    pub(super) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Life) -> bool) {
        let deadline = clock::now().instant + PATIENCE;
        while !is_so(self) {
            assert!(clock::now().instant < deadline, "waited until {what}: {:?}", self.state());
            self.turn();
        }
    }

    pub(super) fn run_to_end(mut self) {
        self.until("all is delivered", |life| life.is_done());
        self.commit();
    }
}
