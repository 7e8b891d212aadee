//! Why a file is not read at this moment: states that last a few turns, on the real kernel, without
//! a process around the engine.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests drive the world: clocks, files"
)]

mod recording;
mod taking;

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use manytail::testing::config::{
    Binary, CarriageReturn, EndRules, EngineConfig, Filters, Format, InputConfig, JobRules, StartAt,
};
use manytail::testing::engine::{Engine, Turn};
use manytail::testing::patterns::Patterns;
use manytail::testing::status::file::{FileState, FileStatus};
use manytail::testing::sys::{LinkRule, Linux, clock};
use recording::Recording;
use taking::Taking;

struct Tail {
    directory: tempfile::TempDir,
    engine: Engine<Linux, Taking>,
}

fn input(path: &Path, include: &str, exclude: &str) -> InputConfig {
    let patterns = Patterns::new(&[include.to_owned()], &[exclude.to_owned()], true).unwrap();
    InputConfig {
        paths: vec![path.as_os_str().as_bytes().to_vec()],
        patterns,
        from: StartAt::Beginning,
        binary: Binary::Deliver,
        carriage_return: CarriageReturn::Data,
        multiline: None,
        filters: Filters::default(),
        ends: EndRules::default(),
        job: JobRules::default(),
        labels: Vec::new(),
    }
}

fn config(inputs: Vec<InputConfig>) -> EngineConfig {
    EngineConfig {
        inputs,
        recursive: true,
        follow_links: None,
        same_owner: false,
        format: Format::Raw,
        host: None,
        routes: None,
        once: false,
        coalesce: Duration::ZERO,
        line_bytes_max: 1 << 20,
        partial_after: None,
        rescan: Some(Duration::from_secs(3600)),
        rescan_remote: None,
        ignore_older: None,
    }
}

impl Tail {
    fn new(directory: tempfile::TempDir, inputs: Vec<InputConfig>) -> Tail {
        Tail {
            directory,
            engine: Engine::new(config(inputs), Linux::new(), Taking::new(|_| {}), clock::now()),
        }
    }

    fn of_all_files() -> Tail {
        let directory = tempfile::tempdir().unwrap();
        let inputs = vec![input(directory.path(), "*", "*.never")];
        Tail::new(directory, inputs)
    }

    fn turn(&mut self) -> Turn {
        self.engine.events_ready();
        self.engine.turn(clock::now()).unwrap()
    }

    fn settle(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.turn() == Turn::Again {
            assert!(Instant::now() < deadline, "the engine does not come to rest");
        }
    }

    fn explain(&mut self, name: &str) -> FileStatus {
        let path = self.directory.path().join(name);
        self.engine.explain(path.as_os_str().as_bytes(), clock::now())
    }

    /// Turns until the file is in this state.
    #[track_caller]
    fn until(&mut self, name: &str, state: FileState) -> FileStatus {
        for _ in 0..1_000 {
            let status = self.explain(name);
            if status.state == state {
                return status;
            }
            self.turn();
        }
        panic!("{name} was never {state:?}, at last {:?}", self.explain(name));
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let file =
            fs::OpenOptions::new().create(true).append(true).open(self.directory.path().join(name));
        file.unwrap().write_all(bytes).unwrap();
    }
}

#[test]
fn a_file_in_a_directory_that_is_still_to_be_listed_waits_for_that() {
    let mut tail = Tail::of_all_files();
    for name in ["a", "b", "c"] {
        fs::create_dir(tail.directory.path().join(name)).unwrap();
        for number in 0..2_000 {
            tail.append(&format!("{name}/{number}"), b"");
        }
    }
    for name in ["a", "b", "c"] {
        tail.append(&format!("{name}/last"), b"line\n");
    }
    tail.turn();
    let states = ["a/last", "b/last", "c/last"].map(|name| tail.explain(name));
    let is_waiting = |status: &FileStatus| {
        status.state == FileState::WaitsForListing && status.why.contains("first scan")
    };
    assert!(states.iter().any(is_waiting), "{states:?}");
    tail.settle();
    assert_eq!(tail.explain("c/last").state, FileState::ReadToEnd);
}

#[test]
fn a_successor_waits_for_the_file_that_had_its_name_before() {
    let mut tail = Tail::of_all_files();
    tail.append("a.log", b"first\n");
    tail.settle();
    let mut lines = "x".repeat(999) + "\n";
    lines = lines.repeat(40_000);
    tail.append("a.log", lines.as_bytes());
    fs::rename(tail.directory.path().join("a.log"), tail.directory.path().join("a.log.1")).unwrap();
    tail.append("a.log", b"second\n");
    let status = tail.until("a.log", FileState::WaitsForPredecessor);
    assert!(status.why.ends_with("/a.log.1"), "{status:?}");
    assert_eq!(status.unread_bytes, Some(7));
    tail.until("a.log", FileState::ReadToEnd);
}

#[test]
fn what_no_event_told_of_yet_is_told_apart_from_what_is_left_out() {
    let mut tail = Tail::of_all_files();
    tail.append("old.log", b"one\n");
    tail.settle();
    tail.append("new.log", b"one\n");
    tail.append("old.log", b"two\n");
    tail.append("x.never", b"one\n");
    assert_eq!(tail.explain("new.log").state, FileState::NotSeen);
    let grown = tail.explain("old.log");
    assert_eq!((grown.state, grown.unread_bytes), (FileState::NotNoticed, Some(4)));
    assert_eq!(tail.explain("x.never").state, FileState::Excluded);
    tail.settle();
    for name in ["new.log", "old.log"] {
        assert_eq!(tail.explain(name).state, FileState::ReadToEnd);
    }
}

#[test]
fn a_file_that_several_inputs_refuse_is_told_the_reason_of_each() {
    let directory = tempfile::tempdir().unwrap();
    let inputs =
        vec![input(directory.path(), "*.log", "tmp"), input(directory.path(), "*", "*.out")];
    let mut tail = Tail::new(directory, inputs);
    tail.append("a.out", b"one\n");
    tail.append("a.txt", b"one\n");
    tail.settle();
    let status = tail.explain("a.out");
    assert_eq!(status.state, FileState::NotIncluded);
    assert!(status.why.ends_with("matches no --include, is excluded by *.out"), "{status:?}");
    assert_eq!(tail.explain("a.txt").state, FileState::ReadToEnd, "the second input takes it");
}

#[test]
fn where_looks_take_long_fewer_of_the_waiting_files_are_looked_at() {
    let mut tail = Tail::of_all_files();
    for number in 0..3_000 {
        tail.append(&format!("{number}.log"), b"line\n");
    }
    let waiting = |tail: &mut Tail| tail.engine.top(clock::now());
    while waiting(&mut tail).waiting_files < 1_000 {
        tail.turn();
    }
    let first = waiting(&mut tail).looked_at;
    assert!(
        (8..=64).contains(&first),
        "it begins with 64 looks, a quarter of them for each queue: {first}"
    );
    tail.engine.question_took(Duration::from_secs(1));
    let fewer = waiting(&mut tail).looked_at;
    assert!(fewer < first, "{fewer} after {first}");
    for _ in 0..10 {
        tail.engine.question_took(Duration::ZERO);
        waiting(&mut tail);
    }
    let most = waiting(&mut tail).looked_at;
    assert!((first + 1..=1_024).contains(&most), "{most}");
}

#[test]
fn of_many_files_that_wait_the_largest_comes_first_and_what_is_not_watched_costs_nothing() {
    let mut tail = Tail::of_all_files();
    tail.append("busy.log", b"one\n");
    tail.settle();
    let begun = clock::now();
    assert!(tail.engine.top(begun).busiest.is_empty(), "counting begins with the first question");
    tail.append("busy.log", b"two\nthree\n");
    tail.settle();
    let later = clock::Now { instant: begun.instant + Duration::from_secs(1), ..begun };
    let top = tail.engine.top(later);
    assert_eq!((top.busiest.len(), top.busiest[0].bytes, top.busiest[0].records), (1, 10, 2));
    assert!(
        top.busiest[0].path.path.ends_with("/busy.log") && top.interval_seconds >= 0.9,
        "{top:?}"
    );
    // More than one turn reads: some of it waits.
    for (name, lines) in [("large.log", 9_000), ("larger.log", 12_000)] {
        tail.append(name, ("x".repeat(999) + "\n").repeat(lines).as_bytes());
    }
    tail.until("larger.log", FileState::Queued);
    let behind = tail.engine.top(later).behind;
    assert!(
        behind[0].path.path.ends_with("/larger.log") && behind[0].unread_bytes > 1 << 20,
        "{behind:?}"
    );
    assert!(behind.is_sorted_by(|one, other| one.unread_bytes >= other.unread_bytes), "{behind:?}");
    tail.settle();
    assert!(tail.engine.top(later).behind.is_empty());
}

#[test]
fn nothing_is_looked_at_that_no_path_covers() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let write = |name: &str| fs::write(at(name), "line\n").unwrap();
    ["tree/d", "single", "outside", "state"]
        .iter()
        .for_each(|name| fs::create_dir_all(at(name)).unwrap());
    ["tree/d/a.log", "single/one.log", "single/other.log", "outside/file", "state/lock"]
        .iter()
        .for_each(|name| write(name));
    std::os::unix::fs::symlink(at("outside"), at("tree/way.never")).unwrap();
    std::os::unix::fs::symlink(at("outside/target.log"), at("tree/link.log")).unwrap();
    write("outside/target.log");
    for follow_links in [None, Some(LinkRule::Owner)] {
        let inputs =
            vec![input(&at("tree"), "*", "*.never"), input(&at("single/one.log"), "*", "*.never")];
        let config = EngineConfig { follow_links, ..config(inputs) };
        let mut engine = Engine::new(config, Recording::new(), Taking::new(|_| {}), clock::now());
        engine.watch_state_directory(at("state").as_os_str().as_bytes().to_vec());
        let deadline = Instant::now() + Duration::from_secs(20);
        while engine.turn(clock::now()).unwrap() == Turn::Again {
            engine.events_ready();
            assert!(Instant::now() < deadline, "the engine does not come to rest");
        }
        let mut ask = |name: &str| {
            engine.file_system_mut().paths.clear();
            let status = engine.explain(at(name).as_os_str().as_bytes(), clock::now());
            (status.state, std::mem::take(&mut engine.file_system_mut().paths))
        };
        for name in [
            "outside/file",
            "outside",
            "outside/none",
            "tree/../outside/file",
            "tree/d/../../outside/file",
            "single/other.log",
            "single",
            "tree2/a.log",
            "../../etc/shadow",
        ] {
            assert_eq!(ask(name), (FileState::NotCovered, Vec::new()), "{name}");
        }
        assert_eq!(ask("state/lock"), (FileState::StateDirectory, Vec::new()));
        for name in ["tree/d/a.log", "tree/d/../d/a.log", "single/one.log"] {
            let (state, paths) = ask(name);
            assert_eq!(state, FileState::ReadToEnd, "{name}");
            let is_below = |path: &Vec<u8>| {
                path.starts_with(at("tree").as_os_str().as_bytes()) || path.ends_with(b"one.log")
            };
            assert!(!paths.is_empty() && paths.iter().all(is_below), "{name}: {paths:?}");
        }
        // The target of a link that is followed is known by its own path.
        let followed =
            if follow_links.is_some() { FileState::ReadToEnd } else { FileState::NotCovered };
        assert_eq!(ask("outside/target.log").0, followed);
    }
}
