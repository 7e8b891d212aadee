//! The state directory: it is made, locked, refused if it is not ours, used as far as it is intact,
//! and the run can do without it for a while.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::harness::{Tail, wait_for};
use crate::records::Format;
use crate::state::{ENDS, Memory, OutputFile, by_file, without_repeats};
use crate::world::{World, heavy, is_root, numbered, skip, succeeds, text};

const NOBODY: u32 = 65_534;
/// How long a start waits for its predecessor.
const WAITED_FOR: Duration = Duration::from_secs(5);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("stat").permissions().mode() & 0o7777
}

/// `K-08`
#[test]
fn it_is_made_for_its_owner_only() {
    let world = World::new();
    let memory = Memory::new(&world);
    let script = "umask 022; exec \"$@\"";
    let tail = memory.run().shell(script).start();
    world.append("a.log", "one\n");
    tail.wait_line("one");
    memory.wait_durable(&tail);
    assert_eq!(mode(&memory.directory), 0o700);
    for entry in fs::read_dir(&memory.directory).expect("list") {
        let path = entry.expect("entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert!(memory.directory.join("lock").exists());
}

/// `K-11`
#[test]
fn a_second_process_on_it_is_refused_and_does_no_harm() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "one\n");
    let tail = memory.run().start().armed();
    memory.wait_durable(&tail);
    let journal = fs::read(memory.journal()).expect("read");
    let began = Instant::now();
    let second = memory.run().finish();
    assert!(began.elapsed() < WAITED_FOR, "one that runs is not waited for: {:?}", began.elapsed());
    assert_eq!(second.status.code(), Some(1), "{}", second.stderr);
    assert!(
        second.stderr.contains(memory.directory.to_str().expect("UTF-8")),
        "it is named: {}",
        second.stderr
    );
    assert_eq!(second.records, []);
    assert_eq!(fs::read(memory.journal()).expect("read"), journal);
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
    tail.kill();
    // A lock of a dead process blocks nobody.
    memory.run().start().armed();
}

/// A service is killed and started again at once, while the kernel is still ending its predecessor.
#[test]
fn a_start_waits_some_seconds_for_a_predecessor_that_is_gone_but_whose_lock_is_not() {
    let world = World::new();
    let memory = Memory::new(&world);
    let tail = memory.run().start().armed();
    memory.wait_durable(&tail);
    tail.kill();
    let directory = std::fs::File::open(&memory.directory).expect("open");
    let lock = Flock::lock(directory, FlockArg::LockExclusiveNonblock).expect("nobody has it");
    let began = Instant::now();
    let refused = memory.run().finish();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("is in use by another process"), "{}", refused.stderr);
    assert!(began.elapsed() >= WAITED_FOR, "{:?}", began.elapsed());
    let tail = memory.run().start();
    tail.wait_said("waiting for it");
    world.append("a.log", "one\n");
    drop(lock);
    tail.wait_line("one");
    assert_eq!(tail.said("waiting for it"), 1);
}

/// Whether the reader leaves or the pipe is full: after the end the lock is free.
#[test]
fn it_can_be_used_again_at_once_after_every_end() {
    let world = World::new();
    let memory = Memory::new(&world);
    for end in ENDS {
        let tail = memory.run().start().armed();
        memory.end(&tail, end);
    }
    assert_eq!(memory.run().with(&["--once"]).finish().status.code(), Some(0));
    memory.run().start().armed();
}

#[test]
fn one_that_may_not_be_written_ends_the_run_with_1() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.append("a.log", "one\n");
    let memory = Memory::new(&world);
    fs::create_dir(&memory.directory).expect("mkdir");
    fs::set_permissions(&memory.directory, Permissions::from_mode(0o755)).expect("chmod");
    let name = memory.directory.to_str().expect("UTF-8").to_owned();
    let finished = memory.run().user(NOBODY).finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains(&name), "{}", finished.stderr);
    assert_eq!(finished.records, []);
    // Or not made.
    let finished = Memory::at(&world, world.beside("no/such/state")).run().user(NOBODY).finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("no/such/state"), "{}", finished.stderr);
    if !succeeds("unshare", &["-m", "true"]) {
        return skip("no mount namespaces");
    }
    let script = format!(
        "mount --bind '{name}' '{name}' && mount -o remount,bind,ro '{name}' && exec \"$@\""
    );
    let finished = memory.run().under(&["unshare", "-m", "sh", "-c", &script, "sh"]).finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains(&name), "{}", finished.stderr);
}

#[test]
fn one_that_is_no_directory_ends_the_run_with_1() {
    let world = World::new();
    let memory = Memory::new(&world);
    fs::write(&memory.directory, "not a directory").expect("write");
    let finished = memory.run().finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains(memory.directory.to_str().expect("UTF-8")),
        "{}",
        finished.stderr
    );
    assert_eq!(fs::read(&memory.directory).expect("read"), b"not a directory");
}

/// A state with 300 files in it, of several commits.
fn state_of_an_earlier_life(world: &World, memory: &Memory) {
    for number in 0..300 {
        world.append(format!("{number}.log"), "one\n");
    }
    for _ in 0..2 {
        let tail = memory.run().start().armed();
        memory.end(&tail, crate::state::End::Stopped);
    }
}

/// Where the snapshot that a journal begins with ends: `src/checkpoint/format.rs` has the layout on
/// one page.
fn snapshot_end(journal: &[u8]) -> usize {
    let mut frame = 32;
    loop {
        let kind = journal[frame + 4];
        let len = u32::from_le_bytes(journal[frame + 5..frame + 9].try_into().expect("4 bytes"));
        frame += 21 + usize::try_from(len).expect("a length");
        if kind == 2 {
            return frame;
        }
    }
}

#[track_caller]
fn refuses(memory: &Memory, what: &str) {
    let journal = memory.journal();
    let before = fs::read(&journal).ok();
    let finished = memory.run().finish();
    assert_eq!(finished.status.code(), Some(1), "{what}: {}", finished.stderr);
    for name in [&memory.directory, Path::new(journal.file_name().expect("a name"))]
        .map(|name| name.to_str().expect("UTF-8"))
    {
        assert!(
            finished.stderr.contains(name),
            "{what}: it does not name {name}: {}",
            finished.stderr
        );
    }
    assert!(
        finished.stderr.contains("manytail offsets"),
        "{what}: no way out: {}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("panicked"), "{what}: {}", finished.stderr);
    assert_eq!(finished.records, [], "{what}");
    assert_eq!(fs::read(&journal).ok(), before, "{what}: it was written over");
}

/// `K-07`
#[test]
fn a_journal_that_is_not_ours_is_refused_and_left_as_it_is() {
    let world = World::new();
    world.append("a.log", "one\n");
    let contents: [(&str, Vec<u8>); 6] = [
        ("text", b"the quick brown fox\n".repeat(100)),
        ("a short text", b"x".to_vec()),
        ("empty", Vec::new()),
        ("NULs", vec![0; 8_192]),
        ("ones", vec![0xff; 8_192]),
        ("half JSON", b"{\"version\":1,\"files\":[{".to_vec()),
    ];
    for (what, bytes) in contents {
        let memory = Memory::at(&world, world.beside(format!("state of {what}")));
        fs::create_dir(&memory.directory).expect("mkdir");
        fs::write(memory.directory.join("journal.1"), &bytes).expect("write");
        refuses(&memory, what);
    }
}

/// `K-07`
#[test]
fn a_journal_that_is_no_regular_file_is_refused() {
    let world = World::new();
    world.append("a.log", "one\n");
    let directory = Memory::at(&world, world.beside("directory"));
    fs::create_dir_all(directory.directory.join("journal.1")).expect("mkdir");
    let link = Memory::at(&world, world.beside("link"));
    fs::create_dir(&link.directory).expect("mkdir");
    fs::write(world.beside("target"), "").expect("write");
    symlink(world.beside("target"), link.directory.join("journal.1")).expect("ln -s");
    let fifo = Memory::at(&world, world.beside("fifo"));
    fs::create_dir(&fifo.directory).expect("mkdir");
    crate::world::make_fifo(&fifo.directory.join("journal.1"));
    for memory in [directory, link, fifo] {
        let finished = memory.run().finish();
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains("journal.1"), "{}", finished.stderr);
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    }
    assert_eq!(fs::read(world.beside("target")).expect("read"), b"");
}

/// `K-07`
#[test]
fn a_journal_that_may_not_be_read_is_refused() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let memory = Memory::new(&world);
    state_of_an_earlier_life(&world, &memory);
    std::os::unix::fs::chown(&memory.directory, Some(NOBODY), None).expect("chown");
    fs::set_permissions(memory.directory.join("lock"), Permissions::from_mode(0o666))
        .expect("chmod");
    fs::set_permissions(memory.journal(), Permissions::from_mode(0o000)).expect("chmod");
    let finished = memory.run().user(NOBODY).finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("journal.1") && finished.stderr.contains("denied"),
        "{}",
        finished.stderr
    );
}

/// `K-07`: damage that no crash makes, in the middle and at the start.
#[test]
fn a_journal_damaged_in_the_middle_is_refused_and_left_as_it_is() {
    let world = World::new();
    let memory = Memory::new(&world);
    state_of_an_earlier_life(&world, &memory);
    let journal = memory.journal();
    let whole = fs::read(&journal).expect("read");
    assert!(whole.len() > 5_000, "{} bytes were meant to hold 300 files", whole.len());
    for at in [0, 4, whole.len() / 8, whole.len() / 4] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&journal, &bytes).expect("write");
        refuses(&memory, &format!("a bit flipped at {at} of {}", whole.len()));
    }
    let half = [&whole[..whole.len() / 8], &vec![0; 4_096][..], &whole[whole.len() / 8..]].concat();
    fs::write(&journal, half).expect("write");
    refuses(&memory, "a block of NULs in the middle");
    fs::write(&journal, &whole).expect("write");
    memory.run().start().armed().expect(&[]);
}

/// `K-07`: a snapshot becomes current as a whole, so a crash leaves none that is cut.
#[test]
fn a_journal_cut_in_its_snapshot_is_refused_and_left_as_it_is() {
    let world = World::new();
    let memory = Memory::new(&world);
    state_of_an_earlier_life(&world, &memory);
    let journal = memory.journal();
    let whole = fs::read(&journal).expect("read");
    let snapshot = snapshot_end(&whole);
    for len in [1, 16, 31, 32, 40, snapshot - 1] {
        fs::write(&journal, &whole[..len]).expect("write");
        refuses(&memory, &format!("{len} bytes of {}", whole.len()));
    }
}

#[test]
fn files_that_are_not_journals_are_left_alone() {
    let world = World::new();
    let memory = Memory::new(&world);
    fs::create_dir(&memory.directory).expect("mkdir");
    let names = ["notes.txt", "journal", "journal.txt", "journal.1.bak", "offsets.json"];
    names.iter().for_each(|name| fs::write(memory.directory.join(name), "mine").expect("write"));
    world.append("a.log", "one\n");
    let tail = memory.run().start().armed();
    tail.expect(&[("a.log", &["one"])]);
    tail.terminate();
    let tail = memory.run().start().armed();
    tail.expect(&[]);
    tail.terminate();
    names.iter().for_each(|name| {
        assert_eq!(fs::read(memory.directory.join(name)).expect("read"), b"mine", "{name}")
    });
}

/// The most bytes at the end of a journal that are damaged.
const DAMAGED_MAX: u64 = 150;

/// Starts with a journal that a crash left in this state; everything before the last commit is
/// remembered, without a warning.
#[track_caller]
fn goes_on_after(what: &str, damage: impl Fn(&Path)) {
    let world = World::new();
    let memory = Memory::new(&world);
    for number in 0..100 {
        world.append(format!("{number}.log"), "early\n");
    }
    let tail = memory.run().json().start().armed();
    tail.wait_count(100);
    memory.wait_durable(&tail);
    let journal_len = || fs::metadata(memory.journal()).expect("stat").len();
    let len_of_early = journal_len();
    let mut records = tail.records();
    for number in 0..20 {
        world.append(format!("{number}.log"), "late\n");
        tail.wait_count(101 + number);
        // Some commits instead of one.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // The damaged part is after the early commit, however slow the disk is.
    wait_for("late commits", || journal_len() > len_of_early + DAMAGED_MAX);
    records.extend(tail.records().split_off(100));
    tail.kill();
    damage(&memory.journal());
    world.append("0.log", "last\n");
    let tail = memory.run().json().start().armed();
    tail.wait_line("last");
    tail.settled();
    assert_eq!(tail.warned(""), 0, "{what}: {}", tail.stderr());
    records.extend(tail.records());
    let again = records.len().saturating_sub(121);
    assert!(again <= 20, "{what}: {again} lines came again, also some of the early ones");
    let files = by_file(&world, &without_repeats(&records));
    for number in 0..100 {
        let expected: &[&str] = match number {
            0 => &["early", "late", "last"],
            1..20 => &["early", "late"],
            _ => &["early"],
        };
        assert_eq!(files[&format!("{number}.log")], expected, "{what}: {number}.log");
    }
    // And everything it stores from now on is found.
    memory.wait_durable(&tail);
    tail.kill();
    memory.run().start().armed().expect(&[]);
}

/// `H-01`: an incomplete last batch.
#[test]
fn a_journal_torn_at_its_end_is_used_up_to_its_last_whole_commit() {
    for cut in [1, 2, 7, 30, DAMAGED_MAX] {
        goes_on_after(&format!("{cut} bytes cut off"), |journal| {
            let file = OpenOptions::new().write(true).open(journal).expect("open");
            file.set_len(file.metadata().expect("stat").len() - cut).expect("truncate");
        });
    }
}

#[test]
fn garbage_at_the_end_of_a_journal_is_a_torn_commit() {
    let garbage: [(&str, Vec<u8>); 3] = [
        ("NULs", vec![0; 5_000]),
        ("ones", vec![0xff; 100]),
        (
            "noise",
            (0..3_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        ),
    ];
    for (what, bytes) in garbage {
        goes_on_after(what, |journal| {
            OpenOptions::new()
                .append(true)
                .open(journal)
                .and_then(|mut file| file.write_all(&bytes))
                .expect("append");
        });
    }
}

/// Blocks of the last commit that never reached the disk.
#[test]
fn nuls_in_place_of_the_last_bytes_of_a_journal_are_a_torn_commit() {
    goes_on_after("the last 40 bytes are NULs", |journal| {
        let mut bytes = fs::read(journal).expect("read");
        let len = bytes.len();
        bytes[len - 40..].fill(0);
        fs::write(journal, bytes).expect("write");
    });
}

/// A new journal that was incomplete at the crash is ignored.
#[test]
fn what_is_left_of_a_new_journal_that_was_not_complete_does_no_harm() {
    let world = World::new();
    let memory = Memory::new(&world);
    state_of_an_earlier_life(&world, &memory);
    let whole = fs::read(memory.journal()).expect("read");
    for (number, leftover) in
        [&b""[..], b"half", &whole[..whole.len() / 2], &whole].into_iter().enumerate()
    {
        fs::write(memory.directory.join(format!("journal.{}.new", 100 + number)), leftover)
            .expect("write");
        let tail = memory.run().start().armed();
        tail.expect(&[]);
        assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
        memory.wait_durable(&tail);
        let mut names: Vec<_> = fs::read_dir(&memory.directory)
            .expect("list")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        assert_eq!(names.len(), 2, "a journal and the lock: {names:?}");
        tail.kill();
    }
}

/// `F-09`
#[test]
fn inside_the_tree_it_is_not_followed_and_said_once() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::at(&world, world.at("state"));
        world.append("a.log", "one\n");
        let tail = memory.run().start().armed();
        for round in 0..5 {
            world.append("a.log", format!("round {round}\n"));
            tail.wait_line(&format!("round {round}"));
            memory.wait_durable(&tail);
        }
        tail.expect(&[("a.log", &["one", "round 0", "round 1", "round 2", "round 3", "round 4"])]);
        assert_eq!(
            tail.warned(memory.directory.to_str().expect("UTF-8")),
            1,
            "one message: {}",
            tail.stderr()
        );
        memory.end(&tail, end);
        let tail = memory.run().start().armed();
        tail.expect(&[]);
    }
}

/// `F-09`: PATH leads to it in another way, and it exists before the run.
#[test]
fn inside_the_tree_by_another_path_it_is_not_followed() {
    let world = World::new();
    world.mkdir("d/state");
    symlink(&world.tree, world.beside("link")).expect("ln -s");
    let memory = Memory::at(&world, world.beside("link/d/../d/state"));
    world.append("d/a.log", "one\n");
    let tail = memory.run().with(&["--follow-symlinks"]).start().armed();
    world.append("d/a.log", "two\n");
    tail.wait_line("two");
    memory.wait_durable(&tail);
    tail.expect(&[("d/a.log", &["one", "two"])]);
}

#[test]
fn the_first_part_of_the_environment_variable_is_it_when_the_option_is_not_given() {
    let world = World::new();
    world.append("a.log", "one\n");
    let (first, second) = (world.beside("first"), world.beside("second"));
    fs::create_dir(&first).expect("mkdir");
    let variable = format!("STATE_DIRECTORY={}:{}", first.display(), second.display());
    let environment = ["env", &variable];
    let tail = world.run().under(&environment).start().armed();
    tail.expect(&[("a.log", &["one"])]);
    tail.terminate();
    assert!(first.join("lock").exists() && !second.exists());
    let tail = world.run().under(&environment).start().armed();
    tail.expect(&[]);
    tail.terminate();
    // The option wins.
    let memory = Memory::new(&world);
    let tail = memory.run().under(&environment).start().armed();
    tail.expect(&[("a.log", &["one"])]);
    assert!(memory.directory.join("lock").exists());
}

#[test]
fn without_one_nothing_is_stored() {
    let world = World::new();
    world.append("a.log", "one\n");
    for variable in ["STATE_DIRECTORY", "STATE_DIRECTORY="] {
        let environment = if variable.ends_with('=') {
            vec!["env", variable]
        } else {
            vec!["env", "-u", variable]
        };
        let tail = world.run().in_directory(&world.beside("")).under(&environment).start().armed();
        tail.expect(&[("a.log", &["one"])]);
        tail.terminate();
        let _ = fs::remove_file(world.at("canary-0"));
    }
    let names: Vec<_> = fs::read_dir(world.beside(""))
        .expect("list")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["tree"]);
}

/// A relative directory is relative to the working directory of the run.
#[test]
fn a_relative_one_works() {
    let world = World::new();
    world.append("a.log", "one\n");
    let run = || world.run().with(&["--state-dir", "relative"]).in_directory(&world.beside(""));
    let tail = run().start().armed();
    tail.expect(&[("a.log", &["one"])]);
    tail.terminate();
    assert!(world.beside("relative/lock").exists());
    run().start().armed().expect(&[]);
}

#[test]
fn a_bad_commit_interval_is_refused_with_its_name() {
    let world = World::new();
    let memory = Memory::new(&world);
    for interval in ["", "x", "-1s", "1", "1 parsec"] {
        let option = format!("--commit-interval={interval}");
        let finished = memory.run().with(&[&option]).finish();
        assert_eq!(finished.status.code(), Some(2), "{interval:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("--commit-interval"), "{interval:?}: {}", finished.stderr);
    }
    assert!(!memory.directory.exists(), "nothing was touched");
}

/// `K-09`, and bounded: the size does not depend on the number of commits.
#[test]
fn many_commits_do_not_make_it_grow() {
    let _guard = heavy();
    let world = World::new();
    let memory = Memory::new(&world);
    let tail = memory.run_every("1ms").start().armed();
    let first = memory.journal();
    let size = || {
        fs::read_dir(&memory.directory)
            .expect("list")
            .flatten()
            .map(|entry| entry.metadata().map_or(0, |stat| stat.len()))
    };
    let mut largest = 0;
    // 500 entries; a busy machine puts several of their changes into one commit.
    for round in 0..1_000 {
        for number in 0..500 {
            world.append(format!("{number}.log"), "x\n");
        }
        tail.wait_count((round + 1) * 500);
        largest = largest.max(size().sum::<u64>());
        if memory.journal() != first {
            break;
        }
    }
    memory.wait_durable(&tail);
    assert_ne!(memory.journal(), first, "it was meant to be written anew; {largest} bytes at most");
    assert!(largest <= 6 << 20, "{largest} bytes at most");
    tail.kill();
    memory.run().start().armed().expect(&[]);
}

/// `K-09`: removed entries make it smaller, and the others stay intact.
#[test]
fn after_files_were_deleted_it_is_whole_and_remembers_the_others() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        for number in 0..2_000 {
            world.append(format!("{number}.log"), "one\n");
        }
        let tail = memory.run().start().armed();
        tail.wait_count(2_000);
        memory.wait_durable(&tail);
        for number in 10..2_000 {
            world.remove(format!("{number}.log"));
        }
        memory.end(&tail, end);
        (0..20).for_each(|number| world.append(format!("{number}.log"), "two\n"));
        let tail = memory.run().json().start().armed();
        tail.wait_count(20);
        tail.settled();
        assert_eq!(tail.lines(), vec!["two"; 20]);
        assert!(tail.records().iter().all(|record| {
            let number: usize =
                tail.name(record).trim_end_matches(".log").parse().expect("a number");
            record.origin().offset == if number < 10 { 4 } else { 0 }
        }));
    }
}

/// A small file system, gone with the test.
struct Disk(PathBuf);

impl Disk {
    fn mount(world: &World, size: &str) -> Option<Disk> {
        if !is_root() {
            return None;
        }
        let at = world.beside("disk");
        fs::create_dir(&at).expect("mkdir");
        if !succeeds(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", at.to_str().expect("UTF-8")],
        ) {
            skip("tmpfs cannot be mounted");
            return None;
        }
        Some(Disk(at))
    }

    /// Writes until there is no room for another byte.
    fn fill(&self) {
        let mut filler =
            OpenOptions::new().create(true).append(true).open(self.0.join("filler")).expect("open");
        for block in [1 << 16, 1 << 12, 1] {
            while filler.write(&vec![b'x'; block]).is_ok_and(|written| written > 0) {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("rm");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        succeeds("umount", &["-l", self.0.to_str().expect("UTF-8")]);
    }
}

/// Many new files: more than fit into an existing block.
fn append_to_many(world: &World, line: &str) {
    for number in 0..400 {
        world.append(
            format!("a file with a rather long name, so that its entry is long, too: {number}.log"),
            format!("{line}\n"),
        );
    }
}

/// Waits until everything that could not be stored for a while is stored: 400 entries need this
/// much.
fn wait_caught_up(memory: &Memory, tail: &Tail) {
    wait_for("the state to catch up", || {
        fs::metadata(memory.journal()).is_ok_and(|stat| stat.len() > 400 * 40)
    });
    memory.wait_durable(tail);
}

/// `H-03`
#[test]
fn on_a_full_file_system_delivery_goes_on_and_the_state_catches_up_when_there_is_room() {
    let world = World::new();
    let Some(disk) = Disk::mount(&world, "1m") else { return };
    let memory = Memory::at(&world, disk.0.join("state"));
    world.append("a.log", "one\n");
    let tail = memory.run().start().armed();
    memory.wait_durable(&tail);
    disk.fill();
    append_to_many(&world, "one");
    tail.wait_count(401);
    append_to_many(&world, "two");
    tail.wait_count(801);
    tail.settled();
    wait_for("a diagnostic", || tail.warned("offsets") > 0);
    disk.make_room();
    wait_caught_up(&memory, &tail);
    assert_eq!(tail.warned(""), 1, "one diagnostic: {}", tail.stderr());
    assert_eq!(tail.count(), 801);
    tail.kill();
    let tail = memory.run().start().armed();
    tail.expect(&[]);
}

/// `H-03`: nothing that is already stored is damaged.
#[test]
fn a_kill_while_the_file_system_is_full_leaves_what_was_stored_before() {
    let world = World::new();
    let Some(disk) = Disk::mount(&world, "1m") else { return };
    let memory = Memory::at(&world, disk.0.join("state"));
    world.append("a.log", "one\n");
    let tail = memory.run().json().start().armed();
    memory.wait_durable(&tail);
    disk.fill();
    append_to_many(&world, "one");
    tail.wait_count(401);
    tail.settled();
    tail.kill();
    disk.make_room();
    let mut records = tail.records();
    let tail = memory.run().json().start().armed();
    tail.settled();
    let again = tail.records();
    assert!(
        again.iter().all(|record| tail.name(record) != "a.log"),
        "what was stored is not repeated"
    );
    records.extend(again);
    assert_eq!(without_repeats(&records).len(), 401);
}

/// `H-03`, with the output on the same disk.
#[test]
fn a_disk_that_is_full_for_state_and_output_leaves_every_line_once() {
    for format in [Format::Text, Format::Json] {
        let world = World::new();
        let Some(disk) = Disk::mount(&world, "1m") else { return };
        let memory = Memory::at(&world, disk.0.join("state"));
        let output = OutputFile { path: disk.0.join("out.log"), format };
        let mut lines = numbered(&"x".repeat(100), 0..100);
        world.append("a.log", text(&lines));
        let tail = output.of(memory.run()).start();
        output.wait_count(100);
        memory.wait_durable(&tail);
        disk.fill();
        lines = numbered(&"x".repeat(100), 0..2_000);
        world.append("a.log", text(&lines[100..]));
        tail.wait_said("out.log");
        tail.settled();
        if format == Format::Json {
            tail.kill();
            disk.make_room();
            let tail = output.of(memory.run()).start();
            output.wait_count(2_000);
            tail.settled();
        } else {
            disk.make_room();
            output.wait_count(2_000);
            memory.wait_durable(&tail);
            tail.kill();
            let tail = output.of(memory.run()).start();
            tail.settled();
        }
        assert!(output.lines() == lines, "{format:?}: {} lines", output.count());
    }
}

/// `H-03`: no byte of it can be written for a while. (A file system with an open journal cannot be
/// remounted read-only: EBUSY.)
#[test]
fn while_it_may_not_be_written_delivery_goes_on_and_it_catches_up() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "one\n");
    let tail = memory.run().start().armed();
    memory.wait_durable(&tail);
    let immutable = |flag: &str| {
        let files = memory.journals().into_values().chain([memory.directory.clone()]);
        let failed = files
            .filter(|path| !succeeds("chattr", &[flag, path.to_str().expect("UTF-8")]))
            .count();
        failed == 0
    };
    if !immutable("+i") {
        immutable("-i");
        return skip("chattr +i does not work here");
    }
    append_to_many(&world, "one");
    // Nothing here may panic before the flags are cleared, or the directory cannot be removed.
    let came = (0..2_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        tail.count() >= 401 && tail.warned("offsets") > 0
    });
    assert!(immutable("-i"));
    assert!(came, "{} of 401 lines while it could not be written: {}", tail.count(), tail.stderr());
    wait_caught_up(&memory, &tail);
    assert_eq!(tail.warned(""), 1, "one diagnostic: {}", tail.stderr());
    tail.kill();
    memory.run().start().armed().expect(&[]);
}
