//! Processes and servers that die, and answers that get lost: each line is stored once, in order.

use std::net::TcpListener;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::cluster::{Cluster, until};
use super::life::{Life, Plan};
use super::proxy::Proxy;
use crate::config::Format;
use crate::sys::{clock, disk};

/// Numbers that differ in each run, and are told when a test fails.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(disk::any_number) | 1;
        eprintln!("SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A process that runs a plan; dropping it kills it.
struct Process(Child);

impl Process {
    /// Whether it delivered everything within this time.
    fn ends_within(&mut self, time: Duration) -> bool {
        let until = clock::now().instant + time;
        while clock::now().instant < until {
            if let Some(status) = self.0.try_wait().expect("a child") {
                assert!(status.success(), "it ends well");
                return true;
            }
            clock::pause(Duration::from_millis(10));
        }
        false
    }

    /// SIGKILL.
    fn kill(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lives that end at a step, one after the other, until one delivers all. Returns how many died.
fn dying_lives(plan: &Plan, steps_max: u64, random: &mut Random) -> u32 {
    let mut died = 0;
    while died < 400 {
        let steps = 1 + random.below(steps_max);
        let status = plan.spawn(Some(steps)).wait().expect("it ends");
        if status.success() {
            return died;
        }
        assert_eq!(status.code(), None, "it dies by a signal, and by nothing else");
        died += 1;
    }
    panic!("it never gets to the end");
}

#[test]
fn a_process_that_dies_between_any_two_steps_loses_and_repeats_nothing() {
    let Some(cluster) = Cluster::start(1) else { return };
    cluster.add_stream("JOBS", "jobs.>", 1);
    let mut random = Random::new();
    for format in [Format::Json, Format::Text] {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = Plan {
            host: if format == Format::Json { "n7" } else { "n8" }.to_owned(),
            format,
            lines: 300,
            lines_a_turn: 15,
            commit_interval: Duration::from_millis(20),
            ..Plan::new(cluster.servers(), directory.path())
        };
        let died = dying_lives(&plan, 25, &mut random);
        eprintln!("{format:?}: {died} died");
        cluster.check(&plan);
        cluster.purge("JOBS");
    }
}

#[test]
fn answers_that_get_lost_and_connections_that_break_lose_and_repeat_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let advertised = listener.local_addr().expect("bound").port();
    let Some(cluster) = Cluster::start_with(1, "", &[advertised]) else { return };
    cluster.add_stream("JOBS", "jobs.>", 1);
    let proxy = Proxy::start(listener, cluster.port(0));
    let mut random = Random::new();
    let directory = tempfile::tempdir().expect("a directory");
    let plan =
        Plan { lines: 4000, lines_a_turn: 10, ..Plan::new(vec![proxy.server()], directory.path()) };
    let mut life = Life::begin(&plan);
    let mut next = clock::now().instant;
    let (mut is_faulty, mut cuts) = (false, 0);
    life.until("all is delivered", |life| {
        let now = clock::now().instant;
        if now >= next && cuts < 60 {
            if is_faulty {
                proxy.cut();
                cuts += 1;
            }
            is_faulty = !is_faulty;
            // Answers get lost, or questions, or both from one moment on.
            let which = random.below(3);
            proxy.lose_answers(is_faulty && which == 0);
            if is_faulty && which == 1 {
                proxy.hold()
            } else {
                proxy.release()
            }
            next = now + Duration::from_millis(if is_faulty { 10 } else { 60 } + random.below(60));
        }
        life.is_done()
    });
    eprintln!("{cuts} cuts");
    assert!(cuts > 10 && life.state().reconnects > 5, "{cuts} cuts: {:?}", life.state());
    cluster.check(&plan);
}

#[test]
fn what_a_dead_process_sent_and_what_arrives_after_its_successor_asked_is_not_repeated() {
    for format in [Format::Json, Format::Text] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let advertised = listener.local_addr().expect("bound").port();
        let Some(cluster) = Cluster::start_with(1, "", &[advertised]) else { return };
        cluster.add_stream("JOBS", "jobs.>", 1);
        let proxy = Proxy::start(listener, cluster.port(0));
        let directory = tempfile::tempdir().expect("a directory");
        let short = Plan { lines: 50, format, ..Plan::new(vec![proxy.server()], directory.path()) };
        Life::begin(&short).run_to_end();
        let plan = Plan { lines: 90, ..short };
        let mut former = Life::begin(&plan);
        // Connected is not enough: it has questions then, and sends nothing before their answers.
        former.until_asked();
        // Nothing of this arrives while it lives: it is as if the network was slow.
        proxy.hold();
        former.until("it has sent", |_| proxy.held() > 100_000);
        drop(former);
        let mut successor = Life::begin_at(&plan, &cluster.servers());
        successor.until_asked();
        proxy.release();
        until("the former batch is stored", || (cluster.stored("JOBS")? > 500).then_some(()));
        successor.until("all is delivered", |life| life.is_done());
        cluster.check(&plan);
    }
}

#[test]
fn leaders_and_processes_that_are_killed_with_batches_under_way_lose_and_repeat_nothing() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    cluster.add_stream("JOBS", "jobs.>", 3);
    let mut random = Random::new();
    let directory = tempfile::tempdir().expect("a directory");
    let plan = Plan {
        lines: 15_000,
        lines_a_turn: 8,
        commit_interval: Duration::from_millis(200),
        ..Plan::new(cluster.servers(), directory.path())
    };
    let (mut leaders, mut frozen, mut processes) = (0, 0, 0);
    let mut process = Process(plan.spawn(None));
    while !process.ends_within(Duration::from_millis(500 + random.below(2500))) {
        if random.below(2) == 0 {
            processes += 1;
            process.kill();
            process = Process(plan.spawn(None));
        }
        if leaders + frozen >= 8 {
            continue;
        }
        let leader = cluster.leader("JOBS");
        if random.below(3) == 0 {
            cluster.signal(leader, Signal::SIGSTOP);
            clock::pause(Duration::from_millis(500 + random.below(6000)));
            cluster.signal(leader, Signal::SIGCONT);
            frozen += 1;
        } else {
            cluster.kill(leader);
            clock::pause(Duration::from_millis(200 + random.below(3000)));
            cluster.up(leader);
            leaders += 1;
        }
    }
    eprintln!("killed: {leaders} leaders, {processes} processes; {frozen} leaders were frozen");
    cluster.check(&plan);
}
