//! The way to a PATH changes: links, ancestors, mounts. All tests run without the sweep (`--rescan
//! 0`).

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Run, Tail};
use crate::world::{World, is_root, skip, succeeds};

const NOBODY: u32 = 65_534;

/// Turns off every reason to check a PATH again except events and the table of mounts.
fn follow(path: &Path) -> Run {
    Run::new(path).with(&["--rescan", "0", "--rescan-remote", "0"])
}

fn mkdir(path: &Path) {
    fs::create_dir_all(path).expect("mkdir -p");
}

fn append(path: PathBuf, line: &str) {
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    writeln!(file.unwrap_or_else(|error| panic!("{}: {error}", path.display())), "{line}")
        .expect("append");
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to)
        .unwrap_or_else(|error| panic!("mv {} {}: {error}", from.display(), to.display()));
}

/// `ln -sfn`: the name is never missing.
fn point(link: &Path, target: &Path) {
    let fresh = link.with_extension("fresh");
    symlink(target, &fresh).expect("ln -s");
    rename(&fresh, link);
}

/// Waits until the file's line has come once, by either of the two ways.
#[track_caller]
fn expect_all(tail: &Tail, lines: &[&str]) {
    lines.iter().for_each(|line| tail.wait_line(line));
    tail.settled();
    let (mut got, mut expected) =
        (tail.lines(), lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>());
    got.sort();
    expected.sort();
    assert_eq!(got, expected, "{}", tail.stderr());
}

/// Two directories with logs, and `way`, a link to the first.
fn forked() -> (World, PathBuf) {
    let world = World::new();
    for name in ["one/logs", "two/logs"] {
        mkdir(&world.beside(name));
    }
    symlink("one", world.beside("way")).expect("ln -s");
    let path = world.beside("way/logs");
    (world, path)
}

#[test]
fn a_link_on_the_way_to_a_path_that_is_pointed_elsewhere_is_followed_there_and_back() {
    let (world, path) = forked();
    append(world.beside("one/logs/a.log"), "before");
    append(world.beside("two/logs/a.log"), "elsewhere");
    let tail = follow(&path).start();
    tail.wait_line("before");
    tail.settled();
    point(&world.beside("way"), Path::new("two"));
    tail.wait_line("elsewhere");
    append(world.beside("two/logs/a.log"), "there");
    append(world.beside("one/logs/a.log"), "behind its back");
    tail.wait_line("there");
    // By other means: the name is missing for a moment.
    fs::remove_file(world.beside("way")).expect("rm");
    symlink(world.beside("one"), world.beside("way")).expect("ln -s");
    tail.wait_line("behind its back");
    append(world.beside("one/logs/a.log"), "after");
    expect_all(&tail, &["before", "elsewhere", "there", "behind its back", "after"]);
    let name = |line: &str| {
        tail.records()
            .iter()
            .find(|record| record.line == line.as_bytes())
            .map(|record| record.path.clone())
    };
    assert_eq!(name("there"), name("after"), "a PATH keeps its spelling");
}

#[test]
fn each_link_of_a_chain_on_the_way_counts() {
    let (world, _) = forked();
    mkdir(&world.beside("links/deep"));
    symlink("../../second", world.beside("links/deep/first")).expect("ln -s");
    symlink(world.beside("third"), world.beside("second")).expect("ln -s");
    symlink("links/../one", world.beside("third")).expect("ln -s");
    let tail = follow(&world.beside("links/deep/first/logs")).start();
    append(world.beside("one/logs/a.log"), "1");
    tail.wait_line("1");
    tail.settled();
    point(&world.beside("third"), Path::new("two"));
    append(world.beside("two/logs/b.log"), "2");
    tail.wait_line("2");
    point(&world.beside("second"), &world.beside("one"));
    append(world.beside("one/logs/a.log"), "3");
    tail.wait_line("3");
    point(&world.beside("links/deep/first"), Path::new("../../two"));
    append(world.beside("two/logs/b.log"), "4");
    tail.wait_line("4");
    // A link that is no longer on the way does not matter.
    point(&world.beside("second"), Path::new("nowhere"));
    append(world.beside("two/logs/b.log"), "5");
    expect_all(&tail, &["1", "2", "3", "4", "5"]);
}

#[test]
fn an_ancestor_that_is_renamed_away_and_replaced_is_followed_at_its_place() {
    let world = World::new();
    mkdir(&world.beside("a/b/logs"));
    mkdir(&world.beside("new/b/logs"));
    append(world.beside("a/b/logs/x.log"), "old");
    append(world.beside("new/b/logs/x.log"), "new");
    let tail = follow(&world.beside("a/b/logs")).start();
    tail.wait_line("old");
    tail.settled();
    rename(&world.beside("a"), &world.beside("a.old"));
    rename(&world.beside("new"), &world.beside("a"));
    tail.wait_line("new");
    append(world.beside("a/b/logs/x.log"), "newer");
    tail.wait_line("newer");
    append(world.beside("a.old/b/logs/x.log"), "not followed");
    // The middle one this time, over an empty directory.
    mkdir(&world.beside("c/logs"));
    append(world.beside("c/logs/x.log"), "third");
    rename(&world.beside("a/b"), &world.beside("b.old"));
    mkdir(&world.beside("a/b"));
    rename(&world.beside("c"), &world.beside("a/b"));
    expect_all(&tail, &["old", "new", "newer", "third"]);
}

#[test]
fn an_ancestor_that_is_renamed_away_and_back_loses_and_repeats_nothing() {
    let world = World::new();
    mkdir(&world.beside("a/b/logs/sub"));
    let path = world.beside("a/b/logs");
    let mut writer = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path.join("sub/x.log"))
        .expect("open");
    let tail = follow(&path).start();
    let mut expected = Vec::new();
    let mut write = |line: String| {
        writeln!(writer, "{line}").expect("write");
        expected.push(line);
    };
    for round in 0..4 {
        write(format!("there {round}"));
        tail.wait_line(&format!("there {round}"));
        rename(&world.beside("a"), &world.beside("z"));
        write(format!("away {round}"));
        if round % 2 == 1 {
            tail.wait("the loss of the PATH", || tail.said("PATH is gone") > 0);
            tail.settled();
        }
        rename(&world.beside("z"), &world.beside("a"));
        tail.wait_line(&format!("away {round}"));
    }
    tail.expect_in_order(&expected);
}

/// Started in a directory of the test's own: nothing else makes names on the way.
fn follow_quietly(world: &World, path: &str) -> Run {
    follow(Path::new(path)).in_directory(&world.beside("."))
}

/// Recent changes are checked once more within a moment; then the process sleeps for longer than
/// any polling would allow.
#[track_caller]
fn expect_sleep(tail: &Tail) {
    let (mut switches, mut since) = (tail.process.switches(), Instant::now());
    tail.wait("the process to sleep for 2.5 s", || {
        if tail.process.switches() != switches {
            (switches, since) = (tail.process.switches(), Instant::now());
        }
        since.elapsed() > Duration::from_millis(2500)
    });
}

/// There is no polling either: a process with nothing to do sleeps.
#[test]
fn a_path_below_a_missing_ancestor_is_waited_for_asleep() {
    let world = World::new();
    mkdir(&world.beside("a/b/logs"));
    let path = world.beside("a/b/logs");
    append(path.join("x.log"), "1");
    let tail = follow_quietly(&world, "a/b/logs").start();
    tail.wait_line("1");
    tail.settled();
    fs::remove_dir_all(world.beside("a")).expect("rm -r");
    tail.wait_said("PATH is gone: waiting for it");
    expect_sleep(&tail);
    // Component by component.
    for name in ["a", "a/b", "a/b/logs"] {
        fs::create_dir(world.beside(name)).expect("mkdir");
        tail.settled();
    }
    append(path.join("x.log"), "2");
    expect_all(&tail, &["1", "2"]);
}

#[test]
fn a_path_that_never_was_there_appears_with_its_ancestors() {
    let world = World::new();
    let tail = follow_quietly(&world, "to/come/logs").start();
    tail.wait_said("waiting for it");
    expect_sleep(&tail);
    mkdir(&world.beside("elsewhere/come/logs"));
    append(world.beside("elsewhere/come/logs/x.log"), "1");
    symlink("elsewhere", world.beside("to")).expect("ln -s");
    expect_all(&tail, &["1"]);
}

#[test]
fn a_link_that_leads_nowhere_is_waited_for_where_it_points_to() {
    let world = World::new();
    mkdir(&world.beside("far"));
    symlink("far/away", world.beside("way")).expect("ln -s");
    let path = world.beside("way");
    let tail = follow(&path).start();
    tail.wait_said("waiting for it");
    tail.settled();
    mkdir(&world.beside("near"));
    append(world.beside("near/x.log"), "1");
    rename(&world.beside("near"), &world.beside("far/away"));
    expect_all(&tail, &["1"]);
}

#[test]
fn an_ancestor_that_may_not_be_searched_for_a_while_is_no_loss() {
    if !is_root() {
        return;
    }
    let world = World::new();
    mkdir(&world.beside("a/b/logs"));
    let path = world.beside("a/b/logs");
    append(path.join("x.log"), "1");
    let tail = follow(&path).user(NOBODY).start();
    tail.wait_line("1");
    tail.settled();
    for (round, above) in ["a", "a/b"].into_iter().enumerate() {
        let mode = |mode| {
            fs::set_permissions(world.beside(above), fs::Permissions::from_mode(mode))
                .expect("chmod")
        };
        tail.wait_closed();
        mode(0o700);
        append(path.join("x.log"), &format!("denied {round}"));
        append(path.join(format!("new{round}.log")), &format!("new {round}"));
        tail.settled();
        assert!(!tail.lines().contains(&format!("denied {round}")), "it was denied");
        mode(0o755);
        tail.wait_line(&format!("denied {round}"));
        tail.wait_line(&format!("new {round}"));
        append(path.join("x.log"), &format!("again {round}"));
        tail.wait_line(&format!("again {round}"));
    }
    expect_all(&tail, &["1", "denied 0", "new 0", "again 0", "denied 1", "new 1", "again 1"]);
}

#[test]
fn a_path_below_an_ancestor_that_may_not_be_searched_at_the_start_comes_when_it_may() {
    if !is_root() {
        return;
    }
    let world = World::new();
    mkdir(&world.beside("a/b/logs"));
    let path = world.beside("a/b/logs");
    append(path.join("x.log"), "1");
    fs::set_permissions(world.beside("a"), fs::Permissions::from_mode(0o700)).expect("chmod");
    let tail = follow(&path).user(NOBODY).start();
    tail.wait_said("waiting for it");
    tail.settled();
    fs::set_permissions(world.beside("a"), fs::Permissions::from_mode(0o755)).expect("chmod");
    expect_all(&tail, &["1"]);
}

/// An ancestor that may be searched but not read cannot be watched.
#[test]
fn a_missing_path_is_polled_where_no_watch_is_to_be_had() {
    if !is_root() {
        return;
    }
    let world = World::new();
    mkdir(&world.beside("a"));
    fs::set_permissions(world.beside("a"), fs::Permissions::from_mode(0o711)).expect("chmod");
    let tail = follow(&world.beside("a/logs")).user(NOBODY).start();
    tail.wait_said("waiting for it");
    mkdir(&world.beside("a/logs"));
    append(world.beside("a/logs/x.log"), "1");
    expect_all(&tail, &["1"]);
}

#[test]
fn a_relative_path_is_followed_from_the_current_directory() {
    let world = World::new();
    mkdir(&world.beside("cwd/a/logs"));
    mkdir(&world.beside("b/logs"));
    let run =
        Run::new(Path::new("a/logs")).with(&["--rescan", "0"]).in_directory(&world.beside("cwd"));
    let up = Run::new(Path::new("../b/logs"))
        .with(&["--rescan", "0"])
        .in_directory(&world.beside("cwd"));
    let (tail, up) = (run.start(), up.start());
    append(world.beside("cwd/a/logs/x.log"), "1");
    append(world.beside("b/logs/x.log"), "one");
    tail.wait_line("1");
    up.wait_line("one");
    // The current directory has another parent now.
    mkdir(&world.beside("new/b/logs"));
    rename(&world.beside("cwd"), &world.beside("new/cwd"));
    append(world.beside("new/cwd/a/logs/x.log"), "2");
    append(world.beside("new/b/logs/x.log"), "two");
    tail.wait_line("2");
    up.wait_line("two");
    mkdir(&world.beside("c/logs"));
    append(world.beside("c/logs/x.log"), "3");
    rename(&world.beside("new/cwd/a"), &world.beside("a.old"));
    rename(&world.beside("c"), &world.beside("new/cwd/a"));
    expect_all(&tail, &["1", "2", "3"]);
    expect_all(&up, &["one", "two"]);
}

#[test]
fn the_directory_of_a_single_file_may_be_replaced() {
    let world = World::new();
    mkdir(&world.beside("a/b"));
    mkdir(&world.beside("new/b"));
    let path = world.beside("a/b/job.log");
    append(path.clone(), "1");
    append(world.beside("new/b/job.log"), "2");
    append(world.beside("new/b/other.log"), "of another log");
    let tail = follow(&path).start();
    tail.wait_line("1");
    tail.settled();
    rename(&world.beside("a"), &world.beside("a.old"));
    rename(&world.beside("new"), &world.beside("a"));
    tail.wait_line("2");
    append(path.clone(), "3");
    tail.wait_line("3");
    // And back: reading resumes where it was.
    rename(&world.beside("a"), &world.beside("new"));
    tail.wait_said("gone");
    rename(&world.beside("a.old"), &world.beside("a"));
    append(path, "4");
    expect_all(&tail, &["1", "2", "3", "4"]);
}

#[test]
fn a_path_that_is_a_link_itself_may_be_pointed_elsewhere() {
    let world = World::new();
    mkdir(&world.beside("one"));
    mkdir(&world.beside("two"));
    append(world.beside("one/x.log"), "1");
    append(world.beside("two/x.log"), "2");
    append(world.beside("first.log"), "first");
    append(world.beside("second.log"), "second");
    symlink("one", world.beside("tree-link")).expect("ln -s");
    symlink("first.log", world.beside("file-link")).expect("ln -s");
    let tree = follow(&world.beside("tree-link")).start();
    let file = follow(&world.beside("file-link")).start();
    tree.wait_line("1");
    file.wait_line("first");
    point(&world.beside("tree-link"), Path::new("two"));
    point(&world.beside("file-link"), Path::new("second.log"));
    tree.wait_line("2");
    file.wait_line("second");
    append(world.beside("two/x.log"), "3");
    append(world.beside("second.log"), "third");
    expect_all(&tree, &["1", "2", "3"]);
    expect_all(&file, &["first", "second", "third"]);
}

#[test]
fn paths_that_share_an_ancestor_each_follow_it() {
    let world = World::new();
    for name in ["a/one", "a/two/deep", "new/one", "new/two/deep"] {
        mkdir(&world.beside(name));
    }
    let paths = [world.beside("a/one"), world.beside("a/two"), world.beside("a/two/deep")];
    let tail = follow(&paths[0]).paths(&paths).start();
    for (number, path) in paths.iter().enumerate() {
        append(path.join("x.log"), &format!("old {number}"));
        tail.wait_line(&format!("old {number}"));
        append(
            world
                .beside("new")
                .join(path.strip_prefix(world.beside("a")).expect("below a"))
                .join("x.log"),
            &format!("new {number}"),
        );
    }
    tail.settled();
    rename(&world.beside("a"), &world.beside("a.old"));
    rename(&world.beside("new"), &world.beside("a"));
    (0..3).for_each(|number| tail.wait_line(&format!("new {number}")));
    // Only one of them.
    rename(&world.beside("a/two"), &world.beside("two.old"));
    mkdir(&world.beside("a/two/deep"));
    append(world.beside("a/two/deep/x.log"), "deep");
    append(world.beside("a/one/x.log"), "one");
    expect_all(&tail, &["old 0", "old 1", "old 2", "new 0", "new 1", "new 2", "deep", "one"]);
}

#[test]
fn writes_beside_the_way_to_a_path_wake_nobody() {
    let world = World::new();
    mkdir(&world.beside("a/logs"));
    let tail = follow_quietly(&world, "a/logs").start();
    append(world.beside("a/logs/x.log"), "1");
    tail.wait_line("1");
    append(world.beside("a/busy"), "");
    tail.at_rest();
    let before = (tail.process.switches(), tail.process.ticks());
    for _ in 0..1000 {
        append(world.beside("a/busy"), "a line that is nobody's business");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((tail.process.switches(), tail.process.ticks()), before);
    append(world.beside("a/logs/x.log"), "2");
    expect_all(&tail, &["1", "2"]);
}

#[test]
fn renames_without_end_above_a_path_cost_little_and_lose_nothing() {
    let (world, path) = forked();
    for number in 0..200 {
        append(world.beside(format!("one/logs/{number}.log")), &format!("one {number}"));
        append(world.beside(format!("two/logs/{number}.log")), &format!("two {number}"));
    }
    let tail = follow(&path).start();
    tail.wait("the first scan", || tail.count() >= 200);
    tail.at_rest();
    let (descriptors, watches) = (tail.process.descriptors(), tail.process.all_watches());
    let (ticks, began) = (tail.process.ticks(), Instant::now());
    let mut flips = 0;
    while began.elapsed() < Duration::from_secs(4) {
        for target in ["two", "one"] {
            point(&world.beside("way"), Path::new(target));
            rename(&world.beside("one"), &world.beside("x"));
            rename(&world.beside("x"), &world.beside("one"));
            flips += 1;
            // Many, but not as many as the machine can: reading their events takes time, too.
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let spent = tail.process.ticks() - ticks;
    assert!(flips > 1000, "there were few renames: {flips}");
    // Nearly all of the work is reading the events; walks and scans are rare.
    assert!(spent < 300, "{spent} ticks of 10 ms in 4 s, {flips} flips");
    append(world.beside("one/logs/0.log"), "after");
    tail.wait_line("after");
    tail.settled();
    let mut lines = tail.lines();
    lines.sort();
    let distinct = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), distinct, "a line came twice");
    assert!((0..200).all(|number| lines.contains(&format!("one {number}"))), "lines are missing");
    tail.wait_closed();
    assert_eq!((tail.process.descriptors(), tail.process.all_watches()), (descriptors, watches));
}

// ---- mounts ----

/// Mounts things in the process's own mount namespace.
struct Mounter(u32);

/// Starts the run in its own mount namespace, if the machine allows one.
fn mounted(run: Run) -> Option<(Tail, Mounter)> {
    if !is_root() {
        return None;
    }
    if !succeeds("unshare", &["-m", "true"]) {
        skip("no mount namespaces");
        return None;
    }
    let tail = run.under(&["unshare", "-m", "sh", "-c", "exec \"$@\"", "sh"]).start();
    let mounter = Mounter(tail.process.0);
    Some((tail, mounter))
}

impl Mounter {
    #[track_caller]
    fn run(&self, words: &[&str]) {
        let done = Command::new("nsenter")
            .args(["-t", &self.0.to_string(), "-m"])
            .args(words)
            .output()
            .expect("nsenter");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    #[track_caller]
    fn shell(&self, script: &str, paths: &[&Path]) {
        let paths: Vec<&str> =
            paths.iter().map(|path| path.to_str().expect("a plain path")).collect();
        self.run(&[&["sh", "-ec", script, "sh"], &paths[..]].concat());
    }
}

/// Waits until the process is in its namespace and reads.
fn wait_ready(tail: &Tail, log: PathBuf) {
    append(log, "ready");
    tail.wait_line("ready");
    tail.settled();
}

#[test]
fn what_is_mounted_over_a_path_or_an_ancestor_is_followed_and_what_was_below_after_that() {
    for over in ["a/b c/logs", "a/b c", "a"] {
        let world = World::new();
        let path = world.beside("a/b c/logs");
        mkdir(&path);
        let Some((tail, mounter)) = mounted(follow(&path)) else { return };
        wait_ready(&tail, path.join("x.log"));
        let point = world.beside(over);
        mounter.shell(
            "mount -t tmpfs tmpfs \"$1\" && mkdir -p \"$2\" && echo mounted >> \"$2/x.log\"",
            &[&point, &path],
        );
        tail.wait_line("mounted");
        mounter.shell("echo more >> \"$1/x.log\"", &[&path]);
        tail.wait_line("more");
        // Below the mount.
        append(path.join("x.log"), "covered");
        mounter.shell("umount -l \"$1\"", &[&point]);
        tail.wait_line("covered");
        append(path.join("x.log"), "after");
        // A directory of the same file system: no inode dies with it.
        mkdir(&world.beside("other/b c/logs"));
        mkdir(&world.beside("other/logs"));
        for below in ["other/b c/logs/y.log", "other/logs/y.log", "other/y.log"] {
            append(world.beside(below), &format!("bound at {below}"));
        }
        mounter.shell("mount --bind \"$1\" \"$2\"", &[&world.beside("other"), &point]);
        let bound = match over {
            "a" => "other/b c/logs/y.log",
            "a/b c" => "other/logs/y.log",
            _ => "other/y.log",
        };
        tail.wait_line(&format!("bound at {bound}"));
        tail.wait_closed();
        mounter.shell("umount \"$1\"", &[&point]);
        append(path.join("x.log"), "last");
        tail.wait_line("last");
        let seen: Vec<String> =
            tail.lines().into_iter().filter(|line| !line.starts_with("bound")).collect();
        assert_eq!(
            seen,
            ["ready", "mounted", "more", "covered", "after", "last"],
            "{over}: {}",
            tail.stderr()
        );
    }
}

#[test]
fn what_is_mounted_inside_a_tree_is_followed_and_what_was_below_after_that() {
    let world = World::new();
    world.mkdir("sub/deep");
    world.mkdir("empty");
    world.append("sub/deep/x.log", "deep 1\n");
    world.append("file.log", "file 1\n");
    let Some((tail, mounter)) = mounted(follow(&world.tree)) else { return };
    wait_ready(&tail, world.at("ready.log"));
    mounter.shell(
        "mount -t tmpfs tmpfs \"$1/sub\" && mkdir \"$1/sub/deep\" && echo mounted >> \
            \"$1/sub/deep/x.log\"",
        &[&world.tree],
    );
    tail.wait_line("mounted");
    mounter.shell(
        "mount -t tmpfs tmpfs \"$1/empty\" && echo filled >> \"$1/empty/x.log\"",
        &[&world.tree],
    );
    tail.wait_line("filled");
    world.append("sub/deep/x.log", "deep 2\n");
    mounter.shell("umount -l \"$1/sub\"", &[&world.tree]);
    tail.wait_line("deep 2");
    // A single file.
    append(world.beside("over.log"), "bound");
    mounter
        .shell("mount --bind \"$1\" \"$2\"", &[&world.beside("over.log"), &world.at("file.log")]);
    tail.wait_line("bound");
    tail.wait_closed();
    mounter.shell("umount \"$1\"", &[&world.at("file.log")]);
    world.append("file.log", "file 2\n");
    expect_all(
        &tail,
        &["deep 1", "file 1", "ready", "mounted", "filled", "deep 2", "bound", "file 2"],
    );
}

#[test]
fn a_path_that_a_mount_brings_is_waited_for() {
    let world = World::new();
    let point = world.beside("disk");
    mkdir(&point);
    let path = point.join("logs");
    let Some((tail, mounter)) = mounted(follow(&path).with(&["--log-level", "debug"])) else {
        return;
    };
    tail.wait_said("waiting for it");
    tail.settled();
    mounter.shell(
        "mount -t tmpfs tmpfs \"$1\" && mkdir \"$2\" && echo 1 >> \"$2/x.log\"",
        &[&point, &path],
    );
    tail.wait_line("1");
    mounter.shell("umount -l \"$1\"", &[&point]);
    tail.wait("the end of the mount to be noticed", || tail.said("a mount changed") == 2);
    tail.settled();
    mounter.shell(
        "mount -t tmpfs tmpfs \"$1\" && mkdir \"$2\" && echo 2 >> \"$2/x.log\"",
        &[&point, &path],
    );
    expect_all(&tail, &["1", "2"]);
}

#[test]
fn mounts_that_have_nothing_to_do_with_a_path_cost_little() {
    let world = World::new();
    let Some((tail, mounter)) = mounted(follow(&world.tree)) else { return };
    wait_ready(&tail, world.at("x.log"));
    mkdir(&world.beside("elsewhere"));
    let ticks = tail.process.ticks();
    mounter.shell(
        "i=0; while [ $i -lt 300 ]; do mount -t tmpfs tmpfs \"$1\"; i=$((i + 1)); done; while \
        umount \"$1\" 2>/dev/null; do :; done",
        &[&world.beside("elsewhere")],
    );
    tail.settled();
    let spent = tail.process.ticks() - ticks;
    assert!(spent < 30, "{spent} ticks of 10 ms");
    world.append("x.log", "after\n");
    expect_all(&tail, &["ready", "after"]);
}
