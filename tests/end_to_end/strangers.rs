//! Untrusted users below a PATH replace their own files with links to others' files: nothing from
//! outside is delivered, listed, watched or opened, and their own lines come.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::harness::{Run, Tail};
use crate::world::{World, is_root, skip, succeeds};

const ATTACK: Duration = Duration::from_secs(5);

/// The least number of the user's own lines that an attack writes, and how long it may take.
const ENOUGH: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "secret";

fn append(path: &Path, line: &str) {
    let file = OpenOptions::new().create(true).append(true).open(path);
    writeln!(file.unwrap_or_else(|error| panic!("{}: {error}", path.display())), "{line}")
        .expect("append");
}

fn exchange(one: &Path, other: &Path) {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).expect("mv --exchange");
}

/// A user's directory in the tree with the same names as the files outside, and a link that leads
/// outside.
struct Attacker {
    world: World,
    outside: PathBuf,
    /// The two names that are exchanged: the user's own directory, and the link.
    own: PathBuf,
    link: PathBuf,
}

impl Attacker {
    /// `own` is a directory below the tree; the link is made beside it.
    fn new(own: &str) -> Self {
        let world = World::new();
        let outside = world.beside("outside");
        let own = world.at(own);
        for directory in [&outside, &own] {
            fs::create_dir_all(directory.join("private/deeper")).expect("mkdir -p");
            for name in ["key", "private/diary", "private/deeper/still"] {
                append(&directory.join(name), if directory == &outside { SECRET } else { "mine" });
            }
        }
        nix::unistd::mkfifo(&outside.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        append(&own.join("pipe"), "mine");
        let link = own.with_file_name("link");
        symlink(&outside, &link).expect("ln -s");
        Attacker { world, outside, own, link }
    }

    /// Inode numbers of the directories outside.
    fn outside_inodes(&self) -> Vec<u64> {
        ["", "private", "private/deeper"]
            .map(|name| fs::metadata(self.outside.join(name)).expect("stat").ino())
            .to_vec()
    }

    /// Repeats the step while lines are written to both sides, until at least `enough` lines went
    /// into the user's own files. Returns how many did.
    fn attack(&self, tail: &Tail, enough: usize, step: impl Fn(&Self) + Sync) -> usize {
        let (is_over, is_opened) = (AtomicBool::new(false), AtomicBool::new(false));
        let outside = self.outside_inodes();
        let (mut lines, mut is_watched) = (0, false);
        thread::scope(|scope| {
            // A panic ends the other threads as well.
            let _over = OnDrop(&is_over);
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    step(self);
                    thread::yield_now();
                }
            });
            scope.spawn(|| {
                // A non-blocking open of a FIFO for writing shows whether a reader has it open.
                let pipe = self.outside.join("pipe");
                while !is_over.load(Ordering::Relaxed) {
                    let opened = OpenOptions::new()
                        .write(true)
                        .custom_flags(nix::libc::O_NONBLOCK)
                        .open(&pipe);
                    is_opened.fetch_or(opened.is_ok(), Ordering::Relaxed);
                    thread::yield_now();
                }
            });
            let began = Instant::now();
            while (began.elapsed() < ATTACK || lines < enough)
                && began.elapsed() < PATIENCE
                && !is_watched
            {
                for name in ["key", "private/diary", "private/deeper/still"] {
                    append(&self.outside.join(name), SECRET);
                    // Through the path that is the user's own at this moment.
                    if let Ok(mut file) = OpenOptions::new().append(true).open(self.link.join(name))
                        && file.metadata().expect("fstat").ino()
                            != fs::metadata(self.outside.join(name)).expect("stat").ino()
                    {
                        writeln!(file, "mine {lines}").expect("append");
                        lines += 1;
                    }
                }
                let watched = tail.process.watched_inodes();
                is_watched = watched.iter().any(|inode| outside.contains(inode));
                // The writer's rate; this does not wait for anything.
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert!(!is_watched, "a directory from outside is watched");
        assert!(!is_opened.load(Ordering::Relaxed), "what is outside was opened");
        lines
    }

    /// Checks that nothing from outside came, and each of the user's own lines came once. The
    /// attack wrote `written` lines.
    fn check(&self, tail: &Tail, written: usize) {
        assert!(written >= ENOUGH, "the attack hardly wrote: {written} lines");
        tail.wait("the user's own lines", || {
            tail.lines().iter().filter(|line| line.starts_with("mine ")).count() >= written
                || tail.lines().iter().any(|line| line == SECRET)
        });
        tail.settled();
        let mut lines = tail.lines();
        assert!(!lines.iter().any(|line| line == SECRET), "a line from outside came");
        lines.retain(|line| line.starts_with("mine "));
        let all = lines.len();
        lines.sort();
        lines.dedup();
        assert_eq!((lines.len(), all), (written, written), "the user's own lines come once");
        self.check_inside(tail);
    }

    /// Checks that nothing from outside came, and that the user's file is still followed.
    fn check_inside(&self, tail: &Tail) {
        append(&self.own.join("key"), "after");
        tail.wait_line("after");
        tail.settled();
        assert!(!tail.lines().iter().any(|line| line == SECRET), "a line from outside came");
    }
}

/// Sets the flag when it is dropped.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn start(run: Run) -> Tail {
    let tail = run.with(&["--rescan", "100ms", "--partial-after", "100ms"]).start();
    tail.wait("the first scan", || tail.count() >= 4);
    tail.settled();
    tail
}

#[test]
fn a_directory_that_its_owner_exchanges_for_a_link_leads_nobody_out_of_the_tree() {
    let attacker = Attacker::new("user/own");
    let tail = start(attacker.world.run());
    let written = attacker.attack(&tail, ENOUGH, |attacker| {
        exchange(&attacker.own, &attacker.link);
        exchange(&attacker.own, &attacker.link);
    });
    attacker.check(&tail, written);
}

#[test]
fn a_directory_further_above_that_is_exchanged_leads_nobody_out_of_the_tree() {
    let attacker = Attacker::new("user/a/b/own");
    let (above, link) = (attacker.world.at("user/a"), attacker.world.at("user/link"));
    // The same names exist below the link's target.
    fs::create_dir_all(attacker.world.beside("above/b")).expect("mkdir -p");
    fs::rename(&attacker.outside, attacker.world.beside("above/b/own")).expect("mv");
    symlink("above/b/own", &attacker.outside).expect("ln -s");
    symlink(attacker.world.beside("above"), &link).expect("ln -s");
    let tail = start(attacker.world.run());
    let written = attacker.attack(&tail, 0, |_| {
        exchange(&above, &link);
        exchange(&above, &link);
    });
    // The user's own link could be followed all the time.
    assert_eq!(written, 0, "the attack's own lines go through another link");
    attacker.check_inside(&tail);
}

#[test]
fn a_directory_that_steps_aside_for_a_link_by_plain_renames_leads_nobody_out_of_the_tree() {
    let attacker = Attacker::new("user/own");
    let tail = start(attacker.world.run());
    let aside = attacker.own.with_file_name("aside");
    let written = attacker.attack(&tail, 0, |attacker| {
        let rename = |from: &Path, to: &Path| fs::rename(from, to).expect("mv");
        rename(&attacker.own, &aside);
        rename(&attacker.link, &attacker.own);
        rename(&attacker.own, &attacker.link);
        rename(&aside, &attacker.own);
    });
    assert_eq!(written, 0, "the link never leads to what is the user's");
    attacker.check_inside(&tail);
}

#[test]
fn a_path_that_leads_through_a_link_itself_is_as_safe() {
    let attacker = Attacker::new("user/own");
    let way = attacker.world.beside("way");
    symlink(attacker.world.at(""), &way).expect("ln -s");
    let tail = start(Run::new(&way));
    let written = attacker.attack(&tail, ENOUGH, |attacker| {
        exchange(&attacker.own, &attacker.link);
        exchange(&attacker.own, &attacker.link);
    });
    attacker.check(&tail, written);
}

#[test]
fn without_proc_directories_are_polled_and_that_is_reported() {
    if !is_root() || !succeeds("unshare", &["-m", "umount", "-l", "/proc"]) {
        return skip("no mount namespaces");
    }
    let world = World::new();
    world.mkdir("d");
    world.append("d/a.log", "first\n");
    let without = ["unshare", "-m", "sh", "-c", "umount -l /proc; exec \"$@\"", "sh"];
    let tail = world.run().with(&["--rescan", "0"]).under(&without).start();
    tail.wait_line("first");
    tail.wait_said("/proc is not mounted");
    world.append("d/a.log", "second\n");
    tail.wait_line("second");
    assert_eq!(tail.said("/proc is not mounted"), 1);
}
