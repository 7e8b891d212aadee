//! Whose links are followed, and whose files are read: root makes files for three users, and none
//! of them can read another's.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::harness::{BINARY, Tail, remove_settings};
use crate::world::{World, is_root, skip, succeeds};

const ALICE: u32 = 2_001;
const MALLORY: u32 = 2_002;
const SECRET: &str = "secret";

fn append(path: &Path, line: &str) {
    let file = OpenOptions::new().create(true).append(true).open(path);
    writeln!(file.unwrap_or_else(|error| panic!("{}: {error}", path.display())), "{line}")
        .expect("append");
}

/// A file of a user.
fn write(owner: u32, path: &Path, line: &str) {
    append(path, line);
    chown(path, Some(owner), Some(owner)).expect("chown");
}

fn make_directory(owner: u32, path: &Path) {
    fs::create_dir_all(path).expect("mkdir -p");
    chown(path, Some(owner), Some(owner)).expect("chown");
}

fn link(owner: u32, target: impl AsRef<Path>, path: &Path) {
    symlink(target, path).expect("ln -s");
    lchown(path, Some(owner), Some(owner)).expect("chown -h");
}

/// `alice/a.log` and `secrets/s.log`, which is root's, beside the tree.
fn world() -> Option<World> {
    if !is_root() {
        skip("files of several users take root");
        return None;
    }
    let world = World::new();
    make_directory(ALICE, &world.beside("alice"));
    write(ALICE, &world.beside("alice/a.log"), "of alice");
    make_directory(0, &world.beside("secrets"));
    write(0, &world.beside("secrets/s.log"), SECRET);
    Some(world)
}

fn follow(world: &World) -> Tail {
    world.run().with(&["--follow-symlinks", "--rescan", "100ms"]).start().armed()
}

#[track_caller]
fn nothing_secret(tail: &Tail) {
    tail.settled();
    assert!(!tail.lines().iter().any(|line| line == SECRET), "{:?}", tail.lines_by_file());
}

#[test]
fn a_link_is_followed_if_root_made_it_or_its_owner_owns_what_it_leads_to() {
    let Some(world) = world() else { return };
    let beside = |name: &str| world.beside(name);
    write(ALICE, &beside("alice/own.log"), "own");
    write(ALICE, &beside("alice/of-root.log"), "of root");
    make_directory(ALICE, &beside("alice/d"));
    write(ALICE, &beside("alice/d/in-d.log"), "in d");
    link(ALICE, beside("alice/own.log"), &beside("hop"));
    link(ALICE, beside("hop"), &world.at("chain.log"));
    link(0, beside("alice/of-root.log"), &world.at("root.log"));
    link(ALICE, beside("alice/d"), &world.at("d"));
    // A link within the target path of a link.
    link(0, "alice", &beside("middle"));
    write(ALICE, &beside("alice/through.log"), "through");
    link(ALICE, beside("middle/through.log"), &world.at("through.log"));
    let tail = follow(&world);
    tail.expect(&[
        ("chain.log", &["own"]),
        ("root.log", &["of root"]),
        ("d/in-d.log", &["in d"]),
        ("through.log", &["through"]),
    ]);
    append(&beside("alice/own.log"), "more");
    append(&beside("alice/d/in-d.log"), "more in d");
    tail.expect(&[
        ("chain.log", &["own", "more"]),
        ("root.log", &["of root"]),
        ("d/in-d.log", &["in d", "more in d"]),
        ("through.log", &["through"]),
    ]);
    assert_eq!(tail.warned("not followed"), 0);
}

#[test]
fn a_link_of_one_user_to_what_is_of_another_is_left_out_with_one_warning() {
    let Some(world) = world() else { return };
    let beside = |name: &str| world.beside(name);
    make_directory(MALLORY, &beside("mallory"));
    write(MALLORY, &beside("mallory/m.log"), "of mallory");
    // To a file, to a directory, through another user's link at the end and in the middle, and
    // through their own link.
    link(MALLORY, beside("secrets/s.log"), &world.at("file.log"));
    link(MALLORY, beside("alice/a.log"), &world.at("alice.log"));
    link(MALLORY, beside("secrets"), &world.at("directory"));
    link(ALICE, beside("alice/a.log"), &beside("hop"));
    link(MALLORY, beside("hop"), &world.at("chain.log"));
    link(MALLORY, "../secrets", &beside("mallory/way"));
    link(MALLORY, beside("mallory/way/s.log"), &world.at("middle.log"));
    link(0, "../secrets", &beside("mallory/root-way"));
    link(MALLORY, beside("mallory/root-way/s.log"), &world.at("root-middle.log"));
    link(ALICE, beside("mallory/m.log"), &world.at("foreign.log"));
    let tail = follow(&world);
    world.append("plain.log", "plain\n");
    tail.wait_line("plain");
    for _ in 0..3 {
        append(&beside("secrets/s.log"), SECRET);
        append(&beside("alice/a.log"), "of alice");
        append(&beside("mallory/m.log"), "of mallory");
        tail.settled();
    }
    tail.expect(&[("plain.log", &["plain"])]);
    for name in [
        "file.log",
        "alice.log",
        "directory",
        "chain.log",
        "middle.log",
        "root-middle.log",
        "foreign.log",
    ] {
        let warnings = tail.warned(&format!("/tree/{name}\""));
        assert_eq!(warnings, 1, "{name}: {}", tail.stderr());
    }
    assert!(tail.stderr().contains("owner=2002 target_owner=0"), "{}", tail.stderr());
    let watched = tail.process.watched_inodes();
    let secrets = fs::metadata(beside("secrets")).expect("stat").ino();
    assert!(
        !watched.contains(&secrets),
        "a directory behind a link that may not be followed is watched"
    );
}

#[test]
fn a_link_that_may_be_followed_by_now_is() {
    let Some(world) = world() else { return };
    link(MALLORY, world.beside("alice/a.log"), &world.at("a.log"));
    link(MALLORY, world.beside("alice"), &world.at("d"));
    let tail = follow(&world);
    tail.wait("both warnings", || tail.warned("not followed") == 2);
    chown(world.beside("alice/a.log"), Some(MALLORY), None).expect("chown");
    tail.wait_line("of alice");
    lchown(world.at("d"), Some(ALICE), None).expect("chown -h");
    write(ALICE, &world.beside("alice/b.log"), "b");
    tail.wait_line("b");
    assert_eq!(tail.warned("not followed"), 2);
}

#[test]
fn a_target_whose_owner_changes_is_let_go() {
    let Some(world) = world() else { return };
    link(ALICE, world.beside("alice/a.log"), &world.at("a.log"));
    let tail = follow(&world);
    tail.wait_line("of alice");
    chown(world.beside("alice/a.log"), Some(0), None).expect("chown");
    for _ in 0..3 {
        append(&world.beside("alice/a.log"), SECRET);
        nothing_secret(&tail);
    }
    tail.wait("the warning", || tail.warned("not followed") == 1);
}

#[test]
fn a_rotated_target_whose_owner_changes_is_let_go() {
    let Some(world) = world() else { return };
    link(ALICE, world.beside("alice/a.log"), &world.at("a.log"));
    let tail = follow(&world);
    tail.wait_line("of alice");
    let rotated = world.beside("alice/a.log.1");
    fs::rename(world.beside("alice/a.log"), &rotated).expect("mv");
    append(&rotated, "the rest");
    tail.wait_line("the rest");
    chown(&rotated, Some(0), None).expect("chown");
    for _ in 0..3 {
        append(&rotated, SECRET);
        nothing_secret(&tail);
    }
}

#[test]
fn with_same_owner_a_file_whose_owner_changes_is_let_go() {
    let Some(world) = world() else { return };
    make_directory(ALICE, &world.at("alice"));
    write(ALICE, &world.at("alice/a.log"), "of alice");
    let tail = world.run().with(&["--same-owner", "--rescan", "100ms"]).start().armed();
    tail.wait_line("of alice");
    chown(world.at("alice/a.log"), Some(0), None).expect("chown");
    for _ in 0..3 {
        append(&world.at("alice/a.log"), SECRET);
        nothing_secret(&tail);
    }
    tail.wait("a warning", || tail.warned("(--same-owner)") == 1);
}

#[test]
fn what_takes_the_place_of_a_links_target_is_followed_only_if_it_is_its_owners() {
    let Some(world) = world() else { return };
    let target = world.beside("spool/m.log");
    fs::create_dir(world.beside("spool")).expect("mkdir");
    write(MALLORY, &target, "of mallory");
    link(MALLORY, &target, &world.at("m.log"));
    let tail = follow(&world);
    tail.wait_line("of mallory");
    let next = |owner: u32, line: &str| {
        write(owner, &world.beside("new"), line);
        fs::rename(world.beside("new"), &target).expect("mv");
    };
    for _ in 0..10 {
        next(0, SECRET);
        append(&target, SECRET);
        nothing_secret(&tail);
        fs::remove_file(&target).expect("rm");
        next(0, SECRET);
        nothing_secret(&tail);
    }
    next(MALLORY, "again");
    tail.wait_line("again");
    nothing_secret(&tail);
}

/// A user's directory outside the tree, to which their link leads, and its replacement: their link
/// to root's directory.
#[test]
fn a_link_whose_target_is_exchanged_in_a_loop_leads_nobody_to_what_is_of_another() {
    let Some(world) = world() else { return };
    let mallory = world.beside("mallory");
    make_directory(MALLORY, &mallory);
    make_directory(MALLORY, &mallory.join("d"));
    write(MALLORY, &mallory.join("d/s.log"), "mine");
    write(MALLORY, &mallory.join("d/pipe.log"), "mine");
    link(MALLORY, world.beside("secrets"), &mallory.join("trap"));
    nix::unistd::mkfifo(&world.beside("secrets/pipe.log"), nix::sys::stat::Mode::S_IRWXU)
        .expect("mkfifo");
    // One link to the directory, one to a file in it, and one that is itself exchanged for a link
    // to root's.
    link(MALLORY, mallory.join("d"), &world.at("directory"));
    link(MALLORY, mallory.join("d/s.log"), &world.at("file.log"));
    link(MALLORY, mallory.join("d"), &world.at("one"));
    link(MALLORY, world.beside("secrets"), &world.beside("other"));
    let tail = world.run().with(&["--follow-symlinks", "--rescan", "50ms"]).start();
    tail.wait_line("mine");
    let exchange = |one: PathBuf, other: PathBuf| {
        renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE)
            .expect("mv --exchange");
    };
    let secrets = fs::metadata(world.beside("secrets")).expect("stat").ino();
    let (is_over, is_opened) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut is_watched = false;
    thread::scope(|scope| {
        let _over = OnDrop(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                exchange(mallory.join("d"), mallory.join("trap"));
                exchange(world.at("one"), world.beside("other"));
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            // A non-blocking open of a FIFO for writing shows whether a reader has it open.
            let pipe = world.beside("secrets/pipe.log");
            while !is_over.load(Ordering::Relaxed) {
                let opened =
                    OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&pipe);
                is_opened.fetch_or(opened.is_ok(), Ordering::Relaxed);
                thread::yield_now();
            }
        });
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) && !is_watched {
            append(&world.beside("secrets/s.log"), SECRET);
            is_watched = tail.process.watched_inodes().contains(&secrets);
            // The writer's rate; this does not wait for anything.
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert!(!is_watched, "a directory behind a link that may not be followed is watched");
    assert!(!is_opened.load(Ordering::Relaxed), "what is behind such a link was opened");
    nothing_secret(&tail);
    world.append("plain.log", "plain\n");
    tail.wait_line("plain");
}

/// Sets the flag when it is dropped.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_link_into_proc_is_never_followed() {
    let Some(world) = world() else { return };
    let world_file = world.beside("secrets/s.log");
    let held = fs::File::open(&world_file).expect("open");
    // A file that a program of root's has open, and the process itself.
    let of_this =
        format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&held));
    symlink(of_this, world.at("fd.log")).expect("ln -s");
    symlink("/proc/self/environ", world.at("environ.log")).expect("ln -s");
    symlink("/proc/self/cwd", world.at("cwd")).expect("ln -s");
    for rule in ["owner", "any-privileged"] {
        let tail = world.run().with(&[format!("--follow-symlinks={rule}")]).start().armed();
        for name in ["fd.log", "environ.log", "cwd"] {
            tail.wait(name, || tail.warned(&format!("/tree/{name}\"")) == 1);
        }
        assert_eq!(tail.warned("leads into /proc: never followed"), 3);
        tail.expect(&[]);
    }
}

#[test]
fn all_links_are_followed_by_whoever_says_so_twice() {
    let Some(world) = world() else { return };
    link(MALLORY, world.beside("secrets/s.log"), &world.at("s.log"));
    for command in ["run", "check", "doctor"] {
        let mut refused = Command::new(BINARY);
        remove_settings(&mut refused);
        let output = refused
            .args([command, "--follow-symlinks=any"])
            .arg(&world.tree)
            .output()
            .expect("start");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert!(
            said.contains("CAP_DAC_READ_SEARCH") && said.contains("any-privileged"),
            "{command}: {said}"
        );
    }
    let settings = world.beside("manytail.toml");
    let check = |text: &str| {
        fs::write(&settings, text).expect("write");
        let mut command = Command::new(BINARY);
        remove_settings(&mut command);
        command.args(["check", "--config"]).arg(&settings).arg(&world.tree).output().expect("start")
    };
    let output = check("follow_symlinks = 'any'\n");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("manytail.toml:1: follow_symlinks"), "{said}");
    let output = check("follow_symlinks = 'any-privileged'\nsame_owner = true\n");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("any-privileged"), "{shown}");
    let tail = world.run().with(&["--follow-symlinks=any-privileged"]).start();
    tail.wait_line(SECRET);
    tail.wait_said("chooses what is read");
    // Without the capability one option is enough.
    let tail = world.run().with(&["--follow-symlinks=any"]).user(ALICE).start();
    tail.wait_said("chooses what is read");
}

#[test]
fn with_same_owner_a_hard_link_to_a_file_of_another_user_is_left_out() {
    let Some(world) = world() else { return };
    make_directory(MALLORY, &world.at("mallory"));
    make_directory(MALLORY, &world.at("mallory/deep"));
    make_directory(ALICE, &world.at("alice"));
    write(MALLORY, &world.at("mallory/deep/own.log"), "of mallory");
    write(ALICE, &world.at("alice/a.log"), "of alice");
    write(0, &world.at("top.log"), "top");
    world.hard_link("alice/a.log", "mallory/a.log");
    fs::hard_link(world.beside("secrets/s.log"), world.at("mallory/deep/s.log")).expect("ln");
    // Written by others, in a directory of somebody's.
    write(0, &world.at("alice/of-root.log"), SECRET);
    let tail = world
        .run()
        .with(&["--same-owner", "--follow-symlinks", "--rescan", "100ms"])
        .start()
        .armed();
    tail.wait_line("of mallory");
    tail.wait_line("top");
    // A link that another user made to it does not prevent reading it.
    tail.wait_line("of alice");
    for name in ["mallory/deep/s.log", "alice/of-root.log"] {
        tail.wait("a warning", || tail.warned(&format!("/tree/{name}\"")) == 1);
    }
    append(&world.beside("secrets/s.log"), SECRET);
    append(&world.at("mallory/deep/own.log"), "more of mallory");
    tail.wait_line("more of mallory");
    nothing_secret(&tail);
    assert!(tail.stderr().contains("(--same-owner)"), "{}", tail.stderr());
    // A file is read once it belongs to the right user.
    chown(world.at("alice/of-root.log"), Some(ALICE), None).expect("chown");
    tail.wait_line(SECRET);
    assert_eq!(
        tail.lines_by_file().get("alice/of-root.log").map(Vec::len),
        Some(1),
        "{:?}",
        tail.lines_by_file()
    );
}

#[test]
fn hard_links_to_files_of_others_are_warned_of_where_anybody_can_make_them() {
    let Some(world) = world() else { return };
    let value = world.beside("value");
    fs::write(&value, "0\n").expect("write");
    let mount = format!("mount --bind {} /proc/sys/fs/protected_hardlinks", value.display());
    if !succeeds("unshare", &["-m", "sh", "-c", &mount]) {
        return skip("no mount namespaces");
    }
    let under = ["unshare", "-m", "sh", "-c", &format!("{mount} && exec \"$@\""), "sh"];
    let tail = world.run().under(&under).start().armed();
    tail.wait_said("fs.protected_hardlinks is 0");
    let tail = world.run().with(&["--same-owner"]).under(&under).start().armed();
    assert_eq!(tail.said("fs.protected_hardlinks"), 0);
    let doctor = |options: &[&str]| {
        let mut command = Command::new(under[0]);
        command
            .args(&under[1..])
            .arg(BINARY)
            .arg("doctor")
            .args(options)
            .arg(&world.tree)
            .env_remove("STATE_DIRECTORY");
        String::from_utf8(command.output().expect("it runs").stdout).expect("UTF-8")
    };
    let shown = doctor(&[]);
    assert!(
        shown.contains("hard links: ") && shown.contains("fs.protected_hardlinks = 1"),
        "{shown}"
    );
    assert!(!doctor(&["--same-owner"]).contains("hard links"));
}
