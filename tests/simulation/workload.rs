//! Writers and rotators: changes of the tree by other processes, one small step at a time.
//!
//! In: a seed and [`Habits`]. Out: changes to the [`World`], which are passed on to the [`Model`].
//! Always holds: operations of several steps are interleaved; a step whose file is gone does
//! nothing, as in a shell script. Lines name their writer, generation and number, so no two lines
//! are equal.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::covering::Covering;
use crate::model::{Model, StoryKey};
use crate::random::Random;
use crate::world::{Handle, Key, World};
use crate::writers::{directories_below, files_below};

/// How active the other processes are, and what they do.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    /// Operations until the world goes quiet.
    pub(crate) operations: usize,
    /// The weight of each operation, in the order of [`Operation`]'s values.
    weights: Vec<usize>,
    /// Lines may be empty and contain any byte except the newline; names, too.
    pub(crate) any_bytes: bool,
    /// Lines have carriage returns, as those of progress bars.
    pub(crate) returns: bool,
    /// Hard links are made: a write is reported only under the name through which it was made, and
    /// not at all if that name is outside.
    links: bool,
    /// Writers keep files open between writes.
    pub(crate) holds: bool,
    files_max: usize,
    /// The longest line that is sometimes written.
    pub(crate) line_bytes_max: usize,
    /// The number of concurrent operations.
    processes_max: usize,
    /// One in this many pauses is long.
    long_pauses: u32,
    /// One in this many operations puts a link out of the tree in a name's place: see `lures.rs`.
    pub(crate) lures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Append,
    Create,
    Publish,
    Grow,
    Burst,
    Rotate,
    Replace,
    CopyTruncate,
    Rewrite,
    Delete,
    Recreate,
    HardLink,
    Move,
    MoveDirectory,
    Excursion,
    Chmod,
    RemoveTree,
    Hold,
    Oddity,
    Swap,
    Root,
    Settle,
}

const OPERATIONS: [(Operation, usize); 22] = [
    (Operation::Append, 60),
    (Operation::Create, 12),
    (Operation::Publish, 4),
    (Operation::Grow, 5),
    (Operation::Burst, 6),
    (Operation::Rotate, 10),
    (Operation::Replace, 4),
    (Operation::CopyTruncate, 5),
    (Operation::Rewrite, 4),
    (Operation::Delete, 5),
    (Operation::Recreate, 5),
    (Operation::HardLink, 3),
    (Operation::Move, 5),
    (Operation::MoveDirectory, 3),
    (Operation::Excursion, 4),
    (Operation::Chmod, 3),
    (Operation::RemoveTree, 2),
    (Operation::Hold, 5),
    (Operation::Oddity, 3),
    (Operation::Swap, 2),
    (Operation::Root, 1),
    (Operation::Settle, 3),
];

impl Habits {
    pub(crate) fn draw(random: &mut Random, any_bytes: bool, unseen: bool) -> Self {
        // Each seed does a few kinds of things often: this gives rare combinations that an even mix
        // would hide.
        let weights =
            OPERATIONS.iter().map(|&(_, weight)| weight * random.pick(&[0, 1, 1, 4])).collect();
        let mut habits = Habits {
            operations: *random.pick(&[5, 30, 100, 100, 300]),
            weights,
            any_bytes: any_bytes && random.one_in(3),
            returns: false,
            links: unseen,
            holds: random.one_in(2),
            files_max: *random.pick(&[3, 10, 40]),
            line_bytes_max: *random.pick(&[100, 100, 5_000, 200_000]),
            processes_max: *random.pick(&[1, 1, 2, 5]),
            long_pauses: *random.pick(&[0, 0, 10, 100]),
            lures: 0,
        };
        if !unseen && habits.holds {
            // Without a sweep, events have to suffice: they do as long as no name of a file leaves
            // the tree.
            habits.links = true;
            for outward in ["Excursion", "Root"] {
                habits.leave_out(outward);
            }
        }
        habits
    }

    /// Drawn separately, so that the other runs stay the same.
    pub(crate) fn draw_lures(&mut self, random: &mut Random) {
        self.lures = *random.pick(&[0, 0, 0, 10]);
    }
}

/// For [`Habits::leave_out`].
#[allow(dead_code, reason = "the tool that shrinks seeds uses it")]
pub(crate) fn operation_names() -> impl Iterator<Item = String> {
    OPERATIONS.iter().map(|(operation, _)| format!("{operation:?}"))
}

impl Habits {
    /// Removes one operation. Returns whether there is one of that name.
    pub(crate) fn leave_out(&mut self, name: &str) -> bool {
        let at = OPERATIONS.iter().position(|(operation, _)| format!("{operation:?}") == name);
        at.map(|at| self.weights[at] = 0).is_some()
    }
}

/// The state of the loop at a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) turn: u64,
    pub(crate) overflows: u64,
    /// Calls made by the engine.
    pub(crate) calls: u64,
    /// Whether the engine can see rotations in order: not during a turn, and only if each directory
    /// has a watch.
    pub(crate) clear: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A new empty file; an existing one stays.
    Create(Vec<u8>),
    /// Whole lines, and perhaps a part of one more, in one write.
    Append {
        path: Vec<u8>,
        lines: usize,
        and_part: bool,
    },
    AppendHeld {
        lines: usize,
        and_part: bool,
    },
    Rename(Vec<u8>, Vec<u8>),
    Exchange(Vec<u8>, Vec<u8>),
    /// `cp -al`: the same tree once more, of hard links.
    CopyLinks(Vec<u8>, Vec<u8>),
    /// A file made without a name in this directory gets one, and its writer keeps it open.
    Unnamed(Vec<u8>, Vec<u8>),
    /// The step of a rotation that moves the live file away.
    RotateAside(Vec<u8>, Vec<u8>),
    RotateCreate(Vec<u8>),
    Unlink(Vec<u8>),
    /// Only once everything in it was delivered; a few attempts.
    UnlinkDrained(Vec<u8>, usize),
    TruncateDrained(Vec<u8>, usize),
    Truncate(Vec<u8>),
    /// A writer that kept its position writes again after a truncation.
    WriteBeyond(Vec<u8>),
    Link(Vec<u8>, Vec<u8>),
    MakeDirectory(Vec<u8>),
    RemoveAll(Vec<u8>),
    Chmod(Vec<u8>, bool),
    SoftLink(Vec<u8>, Vec<u8>),
    Lure(Vec<u8>, Vec<u8>),
    Fifo(Vec<u8>),
    Hold(Vec<u8>),
    Release,
    Pause(Duration),
}

#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) steps: VecDeque<Step>,
    pub(crate) rotating: Option<(StoryKey, Moment)>,
    /// All steps at once, between two turns of the engine or two of its calls.
    pub(crate) at_once: bool,
}

#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) random: Random,
    pub(crate) habits: Habits,
    pub(crate) roots: Vec<Vec<u8>>,
    pub(crate) operations_left: usize,
    pub(crate) processes: Vec<Process>,
    pub(crate) held: Vec<Handle>,
    /// The writer of each path.
    pub(crate) writers: HashMap<Vec<u8>, usize>,
    /// How many generations each writer has begun.
    pub(crate) generations: Vec<usize>,
    /// When a file left the tree: it is not moved back once the engine may have forgotten it.
    pub(crate) left: HashMap<Key, Duration>,
    /// What is followed, if that is not everything below `roots`.
    pub(crate) covering: Option<Covering>,
    /// A sweep checks every file periodically.
    pub(crate) is_swept: bool,
    /// A separate stream, for links.
    pub(crate) links: Random,
    names_made: usize,
    /// When the next step is due.
    due: Duration,
    /// Until when all processes wait for the engine to come to rest.
    settling: Option<Duration>,
}

/// Files and directories outside, on the same device.
pub(crate) const OUTSIDE: &[u8] = b"/out";
const ATTEMPTS: usize = 30;
/// Within this time the engine is at rest, if nothing fails and the output takes everything.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

impl Workload {
    pub(crate) fn new(random: Random, habits: Habits, roots: Vec<Vec<u8>>) -> Self {
        Workload {
            random,
            operations_left: habits.operations,
            habits,
            roots,
            processes: Vec::new(),
            held: Vec::new(),
            writers: HashMap::new(),
            generations: Vec::new(),
            left: HashMap::new(),
            covering: None,
            is_swept: false,
            links: Random::new(0),
            names_made: 0,
            due: Duration::ZERO,
            settling: None,
        }
    }

    /// The tree as it is before the engine starts.
    pub(crate) fn prepare(&mut self, world: &mut World, model: &mut Model) {
        for path in [OUTSIDE, b"/t", b"/u"] {
            world.make_directory(path).expect("the world is empty");
        }
        for _ in 0..self.random.below(12) {
            let mut process = self.begin(world);
            while let Some(step) = process.steps.pop_front() {
                self.take(world, model, Moment::default(), &mut process, step);
            }
        }
        self.operations_left = self.habits.operations;
    }

    /// Whether some process has something to do now.
    pub(crate) fn is_running(&self) -> bool {
        self.settling.is_none() && self.has_more()
    }

    pub(crate) fn has_more(&self) -> bool {
        self.operations_left > 0 || !self.processes.is_empty()
    }

    /// When the next step is due, if there is one.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.has_more().then(|| self.settling.unwrap_or(self.due))
    }

    /// The time has come: processes that waited for the engine continue.
    pub(crate) fn settled(&mut self) {
        self.settling = None;
    }

    /// One step of one process. Returns what was done.
    pub(crate) fn step(&mut self, world: &mut World, model: &mut Model, moment: Moment) -> String {
        self.due = world.time + self.pause();
        let may_begin =
            self.operations_left > 0 && self.processes.len() < self.habits.processes_max;
        if may_begin && (self.processes.is_empty() || self.random.one_in(3)) {
            self.operations_left -= 1;
            let process = self.begin(world);
            self.processes.push(process);
        }
        if self.processes.is_empty() {
            return String::new();
        }
        let index = self.random.below(self.processes.len());
        let mut process = self.processes.swap_remove(index);
        let mut told = String::new();
        while let Some(step) = process.steps.pop_front() {
            told += &self.take(world, model, moment, &mut process, step);
            if !process.at_once {
                break;
            }
        }
        if !process.steps.is_empty() {
            self.processes.push(process);
        }
        told
    }

    pub(crate) fn pause_for(&mut self, duration: Duration) {
        self.due += duration;
    }

    fn pause(&mut self) -> Duration {
        if self.random.one_in(self.habits.long_pauses) {
            return Duration::from_secs(self.random.below(100) as u64);
        }
        match self.random.below(10) {
            0..=6 => Duration::ZERO,
            7 => Duration::from_micros(self.random.below(5_000) as u64),
            8 => Duration::from_millis(self.random.below(30) as u64),
            _ => Duration::from_millis(self.random.below(1500) as u64),
        }
    }

    // ---- choosing ----

    fn begin(&mut self, world: &World) -> Process {
        let mut process = Process { at_once: self.random.one_in(3), ..Process::default() };
        let links = self.covering.as_ref().map_or(0, |covering| covering.settings().links);
        if self.links.one_in(links) {
            process.steps = self.links_steps(world).into();
            return process;
        }
        let files = files_below(world, &self.roots);
        let mut choice = self.random.below(self.habits.weights.iter().sum::<usize>().max(1));
        let mut operation = Operation::Append;
        for (&(candidate, _), &weight) in OPERATIONS.iter().zip(&self.habits.weights) {
            if choice < weight {
                operation = candidate;
                break;
            }
            choice -= weight;
        }
        if files.is_empty() && self.random.below(4) > 0 {
            operation = Operation::Create;
        }
        if files.len() > self.habits.files_max
            && !matches!(operation, Operation::Append | Operation::Rotate)
        {
            operation = Operation::Delete;
        }
        process.steps = self.steps_of(world, operation, &files).into();
        if self.random.one_in(self.habits.lures) {
            process.steps = self.lure_steps(world, &files).into();
        }
        process
    }

    fn steps_of(&mut self, world: &World, operation: Operation, files: &[Vec<u8>]) -> Vec<Step> {
        let file =
            if files.is_empty() { self.new_name(world) } else { self.random.pick(files).clone() };
        match operation {
            Operation::Append => vec![self.append(&file), self.append(&file)],
            Operation::Create => self.create_steps(world),
            Operation::Publish => self.publish_steps(world),
            Operation::Grow => self.grow_steps(world),
            Operation::Burst => {
                (0..self.random.between(3, 40)).map(|_| self.append_to_any(files, &file)).collect()
            }
            Operation::Rotate => self.rotate_steps(&file),
            Operation::Replace => {
                let new = self.beside(&file);
                vec![
                    Step::Create(new.clone()),
                    self.append(&new),
                    Step::Rename(new, file.clone()),
                    self.append(&file),
                ]
            }
            Operation::CopyTruncate => {
                vec![Step::TruncateDrained(file.clone(), ATTEMPTS), self.append(&file)]
            }
            Operation::Rewrite if self.random.one_in(4) => {
                vec![Step::Truncate(file.clone()), Step::WriteBeyond(file.clone())]
            }
            Operation::Rewrite => vec![Step::Truncate(file.clone()), self.append(&file)],
            Operation::Delete if self.random.one_in(2) => vec![Step::UnlinkDrained(file, ATTEMPTS)],
            Operation::Delete => vec![Step::Unlink(file)],
            Operation::Recreate => {
                vec![Step::Unlink(file.clone()), Step::Create(file.clone()), self.append(&file)]
            }
            Operation::HardLink => self.link_steps(world, &file),
            Operation::Move => vec![Step::Rename(file, self.new_name(world))],
            Operation::MoveDirectory | Operation::Excursion | Operation::RemoveTree => {
                self.directory_steps(world, operation, &file)
            }
            Operation::Chmod => self.chmod_steps(world, &file),
            Operation::Hold => self.hold_steps(&file),
            Operation::Oddity => self.odd_steps(world, &file),
            Operation::Swap if self.random.one_in(2) => self.exchange_steps(world, files, &file),
            Operation::Swap => {
                let (other, between) = (
                    (if files.is_empty() { file.clone() } else { self.random.pick(files).clone() }),
                    self.beside(&file),
                );
                vec![
                    Step::Rename(file.clone(), between.clone()),
                    Step::Rename(other.clone(), file),
                    Step::Rename(between, other),
                ]
            }
            Operation::Root => self.root_steps(),
            Operation::Settle => {
                self.settling = Some(world.time + SETTLED_AFTER);
                vec![]
            }
        }
    }

    pub(crate) fn append(&mut self, path: &[u8]) -> Step {
        let lines = *self.random.pick(&[0, 1, 1, 1, 2, 5, 30]);
        Step::Append { path: path.to_vec(), lines, and_part: self.random.one_in(5) }
    }

    fn append_to_any(&mut self, files: &[Vec<u8>], otherwise: &[u8]) -> Step {
        let path =
            if files.is_empty() { otherwise.to_vec() } else { self.random.pick(files).clone() };
        self.append(&path)
    }

    fn create_steps(&mut self, world: &World) -> Vec<Step> {
        let path = self.new_name(world);
        vec![Step::Create(path.clone()), self.append(&path), self.append(&path)]
    }

    fn publish_steps(&mut self, world: &World) -> Vec<Step> {
        let (outside, path) = (self.outside(), self.new_name(world));
        let mut steps = vec![Step::Create(outside.clone()), self.append(&outside)];
        if self.random.one_in(2) {
            steps.push(Step::Rename(outside, path.clone()));
        } else {
            steps.extend([Step::Link(outside.clone(), path.clone()), Step::Unlink(outside)]);
        }
        steps.push(self.append(&path));
        steps
    }

    /// `mkdir -p a/b/c && echo x > a/b/c/f`.
    fn grow_steps(&mut self, world: &World) -> Vec<Step> {
        let mut path = self.directory(world);
        let mut steps = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            path = join(&path, format!("d{}", self.random.below(3)).as_bytes());
            steps.push(Step::MakeDirectory(path.clone()));
        }
        for _ in 0..self.random.between(0, 2) {
            let file = join(&path, &self.file_name());
            steps.extend([Step::Create(file.clone()), self.append(&file)]);
        }
        steps
    }

    fn rotate_steps(&mut self, path: &[u8]) -> Vec<Step> {
        let numbered = |number: usize| [path, format!(".{number}").as_bytes()].concat();
        let mut steps: Vec<Step> = (1..self.random.between(1, 4))
            .rev()
            .map(|number| Step::Rename(numbered(number), numbered(number + 1)))
            .collect();
        steps.push(Step::RotateAside(path.to_vec(), numbered(1)));
        if self.random.one_in(4) {
            steps.push(self.append(&numbered(1)));
        }
        steps.extend([Step::RotateCreate(path.to_vec()), self.append(path)]);
        steps
    }

    fn link_steps(&mut self, world: &World, file: &[u8]) -> Vec<Step> {
        if !self.habits.links {
            return vec![self.append(file)];
        }
        let new = self.new_name(world);
        if self.habits.holds && self.random.one_in(3) {
            return self.replace_by_links_steps(world, file, new);
        }
        let mut steps =
            vec![Step::Link(file.to_vec(), new.clone()), self.append(file), self.append(&new)];
        if self.random.one_in(2) {
            steps.push(Step::Unlink(if self.random.one_in(2) { new } else { file.to_vec() }));
        }
        steps
    }

    /// The writer's own name is removed, and the file has another one.
    fn replace_by_links_steps(&mut self, world: &World, file: &[u8], new: Vec<u8>) -> Vec<Step> {
        let mut held = || Step::AppendHeld { lines: self.random.between(1, 3), and_part: false };
        let (first, second, third) = (held(), held(), held());
        let written = [first, second, third, Step::Release];
        let mut steps = match self.random.below(3) {
            0 => vec![
                Step::Hold(file.to_vec()),
                Step::Link(file.to_vec(), new),
                Step::Unlink(file.to_vec()),
            ],
            1 => vec![Step::Unnamed(self.directory(world), new)],
            _ => {
                let directory =
                    file[..file.iter().rposition(|&byte| byte == b'/').unwrap_or(0)].to_vec();
                if self.roots.contains(&directory) {
                    return vec![];
                }
                let copy = self.beside(&directory);
                vec![
                    Step::Hold(file.to_vec()),
                    Step::CopyLinks(directory.clone(), copy),
                    Step::RemoveAll(directory),
                ]
            }
        };
        steps.extend(written);
        steps
    }

    fn exchange_steps(&mut self, world: &World, files: &[Vec<u8>], file: &[u8]) -> Vec<Step> {
        let mut names = directories_below(world, &self.roots);
        if names.len() < 2 || self.random.one_in(2) {
            names.extend(files.iter().cloned());
        }
        if names.is_empty() {
            return vec![self.append(file)];
        }
        let (one, other) = (self.random.pick(&names).clone(), self.random.pick(&names).clone());
        let more = Step::Exchange(one.clone(), other.clone());
        let mut steps = vec![self.append(file), more.clone()];
        if self.random.one_in(3) {
            steps.push(more);
        }
        steps.push(self.append(file));
        steps
    }

    fn directory_steps(&mut self, world: &World, operation: Operation, file: &[u8]) -> Vec<Step> {
        let directories = directories_below(world, &self.roots);
        let mut moved = if directories.is_empty() {
            file.to_vec()
        } else {
            self.random.pick(&directories).clone()
        };
        if operation == Operation::RemoveTree {
            return vec![
                Step::RemoveAll(moved.clone()),
                Step::MakeDirectory(moved.clone()),
                Step::Create(join(&moved, b"a.log")),
            ];
        }
        if operation == Operation::MoveDirectory {
            let to = join(&self.directory(world), format!("d{}", self.random.below(4)).as_bytes());
            return vec![Step::Rename(moved, to)];
        }
        if self.random.one_in(3) {
            moved = file.to_vec();
        }
        let (outside, back) = (
            self.outside(),
            if self.random.one_in(2) { moved.clone() } else { self.new_name(world) },
        );
        let mut steps = vec![Step::Rename(moved, outside.clone())];
        if self.random.one_in(3) {
            steps.push(self.append(&outside));
        }
        if self.random.below(4) > 0 {
            steps.extend([
                Step::Pause(Duration::from_millis(self.random.below(3000) as u64)),
                Step::Rename(outside, back),
            ]);
        }
        steps
    }

    fn chmod_steps(&mut self, world: &World, file: &[u8]) -> Vec<Step> {
        let directories = directories_below(world, &self.roots);
        let path = if directories.is_empty() || self.random.one_in(2) {
            file.to_vec()
        } else {
            self.random.pick(&directories).clone()
        };
        vec![Step::Chmod(path.clone(), false), self.append(file), Step::Chmod(path, true)]
    }

    fn hold_steps(&mut self, file: &[u8]) -> Vec<Step> {
        if !self.habits.holds {
            return vec![self.append(file)];
        }
        let mut held =
            || Step::AppendHeld { lines: self.random.below(3), and_part: self.random.one_in(4) };
        vec![Step::Hold(file.to_vec()), held(), held(), held(), Step::Release]
    }

    /// Files that are not followed, or that are not regular files.
    fn odd_steps(&mut self, world: &World, file: &[u8]) -> Vec<Step> {
        let path = self.new_name(world);
        match self.random.below(4) {
            // A PATH that is a link would be followed.
            _ if self.roots.contains(&path) => vec![],
            0 => vec![Step::SoftLink(file.to_vec(), path.clone()), Step::Unlink(path)],
            1 => vec![
                Step::Fifo(path.clone()),
                Step::Unlink(path.clone()),
                Step::Create(path.clone()),
                self.append(&path),
            ],
            2 => vec![
                Step::Unlink(file.to_vec()),
                Step::MakeDirectory(file.to_vec()),
                Step::Create(join(file, b"a.log")),
            ],
            // A loop. One level higher a followed link would lead to everything.
            _ if self
                .covering
                .as_ref()
                .is_some_and(|covering| covering.settings().follow_links) =>
            {
                vec![Step::SoftLink(b".".to_vec(), path)]
            }
            _ => vec![Step::SoftLink(b"..".to_vec(), path)],
        }
    }

    /// A PATH itself is removed, and something takes its place.
    fn root_steps(&mut self) -> Vec<Step> {
        let root = self.random.pick(&self.roots).clone();
        let fresh = [
            Step::MakeDirectory(root.clone()),
            Step::Create(join(&root, b"a.log")),
            self.append(&join(&root, b"a.log")),
        ];
        let outside = self.outside();
        let mut steps = match self.random.below(3) {
            0 => vec![Step::RemoveAll(root.clone())],
            1 => vec![Step::Rename(root.clone(), outside.clone())],
            _ => {
                return vec![
                    Step::Rename(root.clone(), outside.clone()),
                    Step::Pause(Duration::from_millis(300)),
                    Step::Rename(outside, root),
                ];
            }
        };
        if self.random.one_in(3) {
            steps.push(Step::Pause(Duration::from_secs(3)));
        }
        steps.extend(fresh);
        steps
    }

    pub(crate) fn directory(&mut self, world: &World) -> Vec<u8> {
        let mut directories = directories_below(world, &self.roots);
        directories.retain(|path| path.iter().filter(|&&byte| byte == b'/').count() < 5);
        directories.extend(self.roots.iter().cloned());
        self.random.pick(&directories).clone()
    }

    fn file_name(&mut self) -> Vec<u8> {
        if self.habits.any_bytes && self.random.one_in(4) {
            return self
                .random
                .pick(&[
                    b"a\xffb.log".as_slice(),
                    b"tab\tnew\nline",
                    "ü\u{1F600}.log".as_bytes(),
                    b"-\\x41\"'",
                    b" ",
                ])
                .to_vec();
        }
        let names = [b"a.log".as_slice(), b"b.log", b"c.log", b"a.log.1", b"job"];
        if self.random.one_in(3) {
            self.names_made += 1;
            return format!("n{}.log", self.names_made).into_bytes();
        }
        self.random.pick(&names).to_vec()
    }

    pub(crate) fn new_name(&mut self, world: &World) -> Vec<u8> {
        let directory = self.directory(world);
        join(&directory, &self.file_name())
    }

    pub(crate) fn beside(&mut self, path: &[u8]) -> Vec<u8> {
        self.names_made += 1;
        [path, format!(".tmp{}", self.names_made).as_bytes()].concat()
    }

    pub(crate) fn outside(&mut self) -> Vec<u8> {
        self.names_made += 1;
        join(OUTSIDE, format!("o{}", self.names_made).as_bytes())
    }
}

pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}
