//! Makes random changes of every kind to a tree, and compares the output with a small model.

use std::fs;
use std::thread;

use crate::harness::Tail;
use crate::world::{Random, World, numbered};

/// One log from its writer's view: a name that may be rotated, deleted and made again. All lines of
/// one chain of generations are one numbered sequence.
struct Log {
    directory: usize,
    /// Grows when the writer starts again in another directory: files of two directories have no
    /// order.
    chain: usize,
    name: String,
    exists: bool,
    lines: usize,
    /// The written part of the unfinished line.
    fragment: String,
}

impl Log {
    fn tag(&self, log: usize) -> String {
        format!("log {log}.{} line", self.chain)
    }

    /// The next line, with its end.
    fn line(&self, log: usize, end: &str) -> String {
        format!("{} {}{end}", self.tag(log), self.lines)
    }
}

/// `Y-07`: random changes of a tree, and the expected output. Nothing is deleted or overwritten
/// before it was read.
struct Model<'a> {
    world: &'a World,
    tail: &'a Tail,
    seed: u64,
    random: Random,
    directories: Vec<String>,
    logs: Vec<Log>,
    stopped: bool,
    names: usize,
    /// The beginning of each finished chain's lines, and how many lines it has.
    chains: Vec<(String, usize)>,
    /// All changes, written as shell commands.
    journal: Vec<String>,
}

impl<'a> Model<'a> {
    fn new(world: &'a World, tail: &'a Tail, seed: u64) -> Model<'a> {
        let directories: Vec<String> = ["a", "a/b", "c"].map(str::to_owned).to_vec();
        directories.iter().for_each(|directory| world.mkdir(directory));
        let log = |number: usize| Log {
            directory: number % 3,
            chain: 0,
            name: format!("{number}.log"),
            exists: false,
            lines: 0,
            fragment: String::new(),
        };
        Model {
            world,
            tail,
            seed,
            random: Random(seed),
            directories,
            logs: (0..6).map(log).collect(),
            stopped: false,
            names: 0,
            chains: Vec::new(),
            journal: Vec::new(),
        }
    }

    fn path(&self, log: usize) -> String {
        format!("{}/{}", self.directories[self.logs[log].directory], self.logs[log].name)
    }

    fn write(&mut self, log: usize, bytes: &str) {
        let path = self.path(log);
        self.journal.push(format!("printf {bytes:?} >> {path}"));
        self.world.append(path, bytes);
    }

    fn append(&mut self, log: usize, count: usize) {
        let mut bytes = self.finish(log);
        for _ in 0..count {
            bytes.push_str(&self.logs[log].line(log, "\n"));
            self.logs[log].lines += 1;
        }
        self.write(log, &bytes);
        self.logs[log].exists = true;
    }

    /// The rest of the unfinished line.
    fn finish(&mut self, log: usize) -> String {
        let written = std::mem::take(&mut self.logs[log].fragment);
        if written.is_empty() {
            return String::new();
        }
        let line = self.logs[log].line(log, "\n");
        self.logs[log].lines += 1;
        line[written.len()..].to_owned()
    }

    fn partial(&mut self, log: usize) {
        let line = self.logs[log].line(log, "");
        let written = self.logs[log].fragment.len();
        let until = (written + 1 + self.random.below(6)).min(line.len());
        self.write(log, &line[written..until]);
        self.logs[log].fragment = line[..until].to_owned();
        self.logs[log].exists = true;
    }

    fn complete(&mut self, log: usize) {
        let rest = self.finish(log);
        self.write(log, &rest);
        self.logs[log].exists = true;
    }

    fn written(&self) -> usize {
        self.chains.iter().map(|chain| chain.1).chain(self.logs.iter().map(|log| log.lines)).sum()
    }

    fn drain(&mut self) {
        self.journal.push("wait".to_owned());
        self.tail.wait_count(self.written());
    }

    fn rotate(&mut self, log: usize) {
        self.complete(log);
        let path = self.path(log);
        self.names += 1;
        let directory = &self.directories[self.random.below(self.directories.len())];
        // Most often beside itself, sometimes into another directory of the tree.
        let rotated = if self.names.is_multiple_of(4) {
            format!("{directory}/old.{}", self.names)
        } else {
            format!("{path}.{}", self.names)
        };
        self.journal.push(format!("mv {path} {rotated}"));
        self.world.rename(path, rotated);
        self.logs[log].exists = false;
    }

    fn replace(&mut self, log: usize) {
        self.complete(log);
        self.drain();
        fs::write(self.world.beside("new"), self.logs[log].line(log, "\n")).expect("write");
        self.logs[log].lines += 1;
        self.journal.push(format!("mv new {}", self.path(log)));
        fs::rename(self.world.beside("new"), self.world.at(self.path(log))).expect("rename");
    }

    fn delete(&mut self, log: usize) {
        if !self.logs[log].exists {
            return;
        }
        self.complete(log);
        self.drain();
        self.journal.push(format!("rm {}", self.path(log)));
        self.world.remove(self.path(log));
        self.logs[log].exists = false;
    }

    fn truncate(&mut self, log: usize) {
        self.complete(log);
        self.drain();
        // The truncated content has been read, so nothing is lost.
        self.journal.push(format!(": > {}", self.path(log)));
        self.world.truncate(self.path(log), 0);
    }

    fn make_directory(&mut self) {
        self.names += 1;
        let parent = self.directories[self.random.below(self.directories.len())].clone();
        let directory = format!("{parent}/d{}", self.names);
        self.journal.push(format!("mkdir {directory}"));
        self.world.mkdir(&directory);
        // The order of files that are found in a directory before it is watched follows only from
        // the time of their last write, to a clock tick.
        self.tail.canary(&directory);
        self.directories.push(directory);
        self.move_log();
    }

    /// A writer continues in another directory: its file stays where it is.
    fn move_log(&mut self) {
        let log = self.random.below(self.logs.len());
        self.rotate(log);
        self.chains.push((self.logs[log].tag(log), self.logs[log].lines));
        self.logs[log].chain += 1;
        self.logs[log].lines = 0;
        self.logs[log].directory = self.random.below(self.directories.len());
        let path = self.path(log);
        self.logs[log].exists = self.world.at(path).exists();
    }

    fn move_directory(&mut self) {
        let from = self.directories[self.random.below(self.directories.len())].clone();
        self.names += 1;
        // To a name beside it, or at the top.
        let parent = from.rsplit_once('/').map(|(parent, _)| format!("{parent}/"));
        let parent = parent.filter(|_| self.names.is_multiple_of(2)).unwrap_or_default();
        let to = format!("{parent}m{}", self.names);
        // The README's limit: the order of generations is not guaranteed while a directory above
        // them is renamed, but their lines are.
        self.drain();
        self.journal.push(format!("mv {from} {to}"));
        self.world.rename(&from, &to);
        self.tail.canary(&to);
        for directory in &mut self.directories {
            if *directory == from || directory.starts_with(&format!("{from}/")) {
                *directory = format!("{to}{}", &directory[from.len()..]);
            }
        }
    }

    fn step(&mut self) {
        let log = self.random.below(self.logs.len());
        // Changes that need everything to be read first cannot be made while the process is
        // stopped.
        let operation = self.random.below(if self.stopped { 54 } else { 74 });
        match operation {
            0..25 => {
                let count = 1 + self.random.below(30);
                self.append(log, count);
            }
            25..33 => self.partial(log),
            33..38 => self.complete(log),
            38..48 => self.rotate(log),
            48..54 => {
                self.journal
                    .push(if self.stopped { "kill -CONT" } else { "kill -STOP" }.to_owned());
                if self.stopped {
                    self.tail.go_on();
                } else {
                    self.tail.stop();
                }
                self.stopped = !self.stopped;
            }
            54..58 => self.move_directory(),
            58..62 => self.make_directory(),
            62..66 => self.delete(log),
            66..70 => self.replace(log),
            _ => self.truncate(log),
        }
    }

    fn finish_all(&mut self) {
        if self.stopped {
            self.tail.go_on();
        }
        (0..self.logs.len()).for_each(|log| self.complete(log));
        self.drain();
        self.tail.settled();
    }

    /// Every log's lines, over all files, in the order in which they were written, each once.
    fn check(&self) -> Result<(), String> {
        let lines = self.tail.lines();
        let open = self.logs.iter().enumerate().map(|(number, log)| (log.tag(number), log.lines));
        for (tag, count) in self.chains.iter().cloned().chain(open) {
            let got: Vec<&String> =
                lines.iter().filter(|line| line.starts_with(&format!("{tag} "))).collect();
            let expected = numbered(&tag, 0..count);
            let difference = (0..got.len().max(expected.len()))
                .find(|&at| got.get(at).copied() != expected.get(at));
            if let Some(at) = difference {
                let shown = &got[at.min(got.len())..(at + 3).min(got.len())];
                return Err(format!(
                    "{} lines instead of {count}; from {tag} {at} on: {shown:?}",
                    got.len()
                ));
            }
        }
        let written = self.written();
        if lines.len() == written {
            Ok(())
        } else {
            Err(format!("{} lines instead of {written}", lines.len()))
        }
    }
}

fn random_run(seed: u64) {
    let world = World::new();
    let tail = world.run().start().armed();
    let mut model = Model::new(&world, &tail, seed);
    // The first scan may not have reached it yet.
    model.directories.iter().for_each(|directory| tail.canary(directory));
    for _ in 0..200 {
        model.step();
    }
    model.finish_all();
    if let Err(difference) = model.check() {
        panic!("{difference}");
    }
}

impl Drop for Model<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "the failing seed is {}; what was done:\n  {}",
                self.seed,
                self.journal.join("\n  ")
            );
        }
    }
}

/// `100..200`.
fn seeds(text: &str) -> Option<std::ops::Range<u64>> {
    let (from, to) = text.split_once("..")?;
    let seeds = from.parse().ok()?..to.parse().ok()?;
    (!seeds.is_empty()).then_some(seeds)
}

#[test]
fn seeds_that_are_malformed_are_refused() {
    assert_eq!(seeds("100..200"), Some(100..200));
    for text in
        ["", "7", "..", "5..", "..5", "5..=9", "9..5", "5..5", "a..b", "1..2..3", " 1..2", "-1..2"]
    {
        assert_eq!(seeds(text), None, "{text:?}");
    }
}

/// `Y-07`. `MANYTAIL_SEEDS=100..200` tries others.
#[test]
fn a_random_life_of_a_tree_gives_every_log_in_exact_sequence() {
    let wanted = match std::env::var("MANYTAIL_SEEDS") {
        Ok(text) => seeds(&text)
            .unwrap_or_else(|| panic!("MANYTAIL_SEEDS is FROM..TO with FROM < TO, not {text:?}")),
        Err(std::env::VarError::NotPresent) => 0..16,
        Err(error) => panic!("MANYTAIL_SEEDS: {error}"),
    };
    for seed in wanted {
        random_run(seed);
    }
}
