//! A hundred kills at random moments while hundreds of logs are written and rotated: nothing is
//! missing, and repeats stay within the guarantees.
//!
//! `MANYTAIL_SEED` repeats the moments of a run (each run prints its seed; a failed test shows it),
//! `MANYTAIL_ROUNDS` sets the number of kills.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::harness::{Tail, wait_for};
use crate::records::{Format, Record, decode};
use crate::state::{Memory, OutputFile};
use crate::world::{Random, World, heavy};

const LOGS: usize = 300;
const WRITERS: usize = 2;
const DIRECTORIES: usize = 10;
/// A rotated log gets no line for this long, so that the modification times of two generations
/// differ by more than a tick of the file system's clock: if a listing finds both, only these times
/// give their order.
const AFTER_ROTATION: Duration = Duration::from_millis(20);
/// A repeat may be as old as the commit interval of 50 ms, the commit itself, and delays of two
/// busy cores.
const REPEATED_MAX: Duration = Duration::from_millis(1_500);

/// The server may receive data of a killed run this much later.
const SERVER_LATE_MAX: Duration = Duration::from_millis(300);

/// A number from the environment. A value that is not a number is an error: a misread seed would be
/// another seed.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is a number, not {text:?}")))
}

/// The seed of this run.
fn seed() -> u64 {
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
    let seed = setting("MANYTAIL_SEED").unwrap_or(now as u64);
    println!("MANYTAIL_SEED={seed}");
    seed
}

/// How many kills.
fn rounds() -> usize {
    setting("MANYTAIL_ROUNDS")
        .map_or(100, |rounds| usize::try_from(rounds).expect("a number of rounds"))
}

/// A log: its lines are one numbered sequence over all its generations.
struct Log {
    number: usize,
    path: PathBuf,
    lines: usize,
    inode_generation: usize,
    rotated: Instant,
}

impl Log {
    fn append(&mut self, count: usize) {
        let mut bytes = String::new();
        for _ in 0..count {
            bytes += &format!("log {} line {}\n", self.number, self.lines);
            self.lines += 1;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).expect("open");
        file.write_all(bytes.as_bytes()).expect("append");
    }

    /// Renames the log and creates a new one. Nothing is ever deleted or overwritten.
    fn rotate(&mut self) {
        self.inode_generation += 1;
        let rotated = self.path.with_extension(format!("log.{}", self.inode_generation));
        match fs::rename(&self.path, rotated) {
            Ok(()) => self.rotated = Instant::now(),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", self.path.display())
            }
        }
    }
}

/// Writes to its logs until `done`. Returns how many lines each has.
fn write_logs(tree: &Path, writer: usize, seed: u64, done: &AtomicBool) -> BTreeMap<usize, usize> {
    let mut random = Random(seed ^ (writer as u64 + 1) << 32);
    let log = |number: usize| Log {
        number,
        path: tree.join(format!("d{}/{number}.log", number % DIRECTORIES)),
        lines: 0,
        inode_generation: 0,
        rotated: Instant::now(),
    };
    let mut logs: Vec<Log> = (writer..LOGS).step_by(WRITERS).map(log).collect();
    while !done.load(Ordering::Relaxed) {
        let at = random.below(logs.len());
        if logs[at].rotated.elapsed() >= AFTER_ROTATION {
            logs[at].append(1 + random.below(8));
            if random.below(40) == 0 {
                logs[at].rotate();
            }
        }
        thread::sleep(Duration::from_micros(500 + random.next() % 1_500));
    }
    logs.iter().map(|log| (log.number, log.lines)).collect()
}

/// Kills and starts again while `LOGS` logs are written. Returns how many lines each has, and the
/// process that runs at the end.
fn kill_and_restart(
    world: &World,
    seed: u64,
    mut start: impl FnMut() -> Tail,
    mut before_kill: impl FnMut(&Tail, Instant),
    pause: impl Fn(usize, &mut Random) -> Duration,
) -> (BTreeMap<usize, usize>, Tail) {
    (0..DIRECTORIES).for_each(|directory| world.mkdir(format!("d{directory}")));
    let done = AtomicBool::new(false);
    let mut random = Random(seed);
    thread::scope(|scope| {
        // If a round fails, the writers must end, or the test would run forever.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = Done(&done);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let (tree, done) = (&world.tree, &done);
                    move || write_logs(tree, writer, seed, done)
                })
            })
            .collect();
        wait_for("the first log", || {
            let directories = fs::read_dir(&world.tree).expect("ls").flatten();
            directories.flat_map(|directory| fs::read_dir(directory.path()).expect("ls")).count()
                > 0
        });
        for round in 0..rounds() {
            let tail = start();
            thread::sleep(pause(round, &mut random));
            before_kill(&tail, Instant::now());
            tail.kill();
            // A cut after a kill is an expected warning.
            assert_eq!(
                tail.warned(""),
                tail.warned("was cut off"),
                "round {round}: {}",
                tail.stderr()
            );
        }
        drop(stop);
        let lines: BTreeMap<usize, usize> =
            writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
        assert_eq!(lines.len(), LOGS, "every log has a writer");
        let rotated = fs::read_dir(&world.tree)
            .expect("ls")
            .flatten()
            .flat_map(|directory| fs::read_dir(directory.path()).expect("ls"));
        let rotated = rotated
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|last| last != "log"))
            .count();
        assert!(rotated > rounds() / 2, "{rotated} rotations in {} rounds", rounds());
        (lines, start())
    })
}

/// 50 to 300 ms.
fn short(_round: usize, random: &mut Random) -> Duration {
    Duration::from_millis(50 + random.next() % 250)
}

/// `log 7 line 12`
fn parse(line: &str) -> (usize, usize) {
    let mut words = line.split(' ');
    let mut number = || {
        words
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("a torn line: {line:?}"))
    };
    (number(), number())
}

/// Every log's lines, once, in order, over all its generations.
fn check<'a>(records: impl Iterator<Item = &'a Record>, written: &BTreeMap<usize, usize>) {
    let mut next: HashMap<usize, usize> = HashMap::new();
    let mut problems = Vec::new();
    for record in records {
        let (log, number) = parse(&record.text());
        let expected = next.entry(log).or_default();
        let told = || format!("{}, {:?}", String::from_utf8_lossy(&record.path), record.origin);
        match number.cmp(expected) {
            std::cmp::Ordering::Less => problems.push(format!(
                "log {log}: line {number} again, or late: {expected} was next: {}",
                told()
            )),
            std::cmp::Ordering::Greater => {
                problems.push(format!("log {log}: line {number} instead of {expected}: {}", told()))
            }
            std::cmp::Ordering::Equal => {}
        }
        *expected = (*expected).max(number + 1);
    }
    for (log, count) in written {
        let got = next.get(log).copied().unwrap_or(0);
        if got != *count {
            problems.push(format!("log {log}: {got} lines instead of {count}"));
        }
    }
    let count = problems.len();
    problems.truncate(20);
    assert!(problems.is_empty(), "{count} differences:\n  {}", problems.join("\n  "));
}

fn exactly_once_into_a_file(format: Format) {
    let _guard = heavy();
    let seed = seed();
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, format));
    // The case under test: a kill that found records in the output whose offsets were not committed
    // yet.
    let healed = Cell::new(0);
    let note =
        |tail: &Tail, _| healed.set(healed.get() + tail.said("the output's end was not committed"));
    let (written, tail) =
        kill_and_restart(&world, seed, || output.of(memory.run()).start(), note, short);
    let total: usize = written.values().sum();
    println!(
        "{} kills, {total} lines, {} times the output was ahead of the offsets",
        rounds(),
        healed.get()
    );
    assert!(
        rounds() < 20 || healed.get() > 0,
        "no kill left an output that was ahead of the offsets"
    );
    let mut last = 0;
    let mut since = Instant::now();
    // Until everything has come, or nothing more comes: then the check names what is missing.
    wait_for("all lines", || {
        let count = output.count();
        if count != last {
            (last, since) = (count, Instant::now());
        }
        count >= total && since.elapsed() > Duration::from_millis(300)
            || since.elapsed() > Duration::from_secs(5)
    });
    tail.settled();
    check(output.records().iter(), &written);
    // The remains of a kill are cut off, not copied.
    assert!(crate::restored::asides(&output).is_empty(), "{:?}", crate::restored::asides(&output));
}

/// `H-01`
#[test]
fn a_hundred_kills_under_load_leave_every_line_once_in_a_json_file() {
    exactly_once_into_a_file(Format::Json);
}

/// `H-01`
#[test]
fn a_hundred_kills_under_load_leave_every_line_once_in_a_text_file() {
    exactly_once_into_a_file(Format::Text);
}

/// What a server received: each record and its time of arrival.
#[derive(Default)]
struct Received {
    records: Vec<(Instant, Vec<u8>)>,
    is_connected: bool,
}

/// Reads one connection after the other to its end.
fn serve(listener: UnixListener) -> Arc<Mutex<Received>> {
    let received = Arc::new(Mutex::new(Received::default()));
    let ours = Arc::clone(&received);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            ours.lock().expect("received").is_connected = true;
            let mut reader = BufReader::with_capacity(1 << 16, stream);
            let mut line = Vec::new();
            // A record without its newline was cut off by the kill.
            while reader.read_until(b'\n', &mut line).unwrap_or(0) > 0 && line.pop() == Some(b'\n')
            {
                ours.lock()
                    .expect("received")
                    .records
                    .push((Instant::now(), std::mem::take(&mut line)));
            }
            ours.lock().expect("received").is_connected = false;
        }
    });
    received
}

/// `H-01`
#[test]
fn a_hundred_kills_under_load_lose_nothing_on_a_socket_and_repeat_only_what_is_recent() {
    let _guard = heavy();
    let seed = seed();
    let world = World::new();
    let memory = Memory::new(&world);
    let socket = world.beside("socket");
    let received = serve(UnixListener::bind(&socket).expect("listen"));
    let kills = Mutex::new(Vec::new());
    let start = || {
        // The data of the killed run has been received, so the times of arrival and kill can be
        // compared.
        wait_for("the end of the connection", || !received.lock().expect("received").is_connected);
        memory.run().json().output(&format!("unix:{}", socket.display())).start()
    };
    let note = |_: &Tail, now: Instant| kills.lock().expect("kills").push(now);
    // Most are short; some are long enough for repeats that are too old.
    let pause = |round: usize, random: &mut Random| match round % 15 {
        14 => Duration::from_millis(2_500),
        _ => Duration::from_millis(50 + random.next() % 250),
    };
    let (written, tail) = kill_and_restart(&world, seed, start, note, pause);
    let total: usize = written.values().sum();
    tail.settled();
    wait_for("the last records", || {
        let before = received.lock().expect("received").records.len();
        thread::sleep(Duration::from_millis(500));
        received.lock().expect("received").records.len() == before
    });
    let kills = kills.into_inner().expect("kills");
    let mut first: HashMap<(String, u64), (Instant, Vec<u8>)> = HashMap::new();
    let mut unique = Vec::new();
    let mut repeats = 0;
    let mut too_old = Vec::new();
    for (at, bytes) in &received.lock().expect("received").records {
        let (at, record) = (*at, decode(Format::Json, bytes));
        let key = (record.origin().file.clone(), record.origin().offset);
        let Some((first_at, line)) = first.get(&key) else {
            first.insert(key, (at, record.line.clone()));
            unique.push(record);
            continue;
        };
        assert_eq!(*line, record.line, "two records are {key:?}");
        repeats += 1;
        // The kill that ended the run which sent it first; that run had to commit while it lived.
        let kill = kills.iter().find(|kill| **kill + SERVER_LATE_MAX >= *first_at).copied();
        let age = kill.map_or(at - *first_at, |kill| kill.saturating_duration_since(*first_at));
        if age > REPEATED_MAX {
            too_old.push(format!(
                "{key:?} came again though it had been taken {age:?} before the kill"
            ));
        }
    }
    println!("{} kills, {total} lines, {repeats} repeats", kills.len());
    assert_eq!(kills.len(), rounds());
    assert!(rounds() < 20 || repeats > 0, "nothing came twice, so nothing was seen of what may");
    let count = too_old.len();
    too_old.truncate(10);
    assert!(too_old.is_empty(), "{count} repeats are too old:\n  {}", too_old.join("\n  "));
    check(unique.iter(), &written);
}
