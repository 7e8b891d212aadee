//! Limits of the system: descriptors, watches, instances, names; and the costs of a hundred
//! thousand files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{BINARY, Run, Tail, wait_for};
use crate::scrape::Metered;
use crate::world::{World, flood, heavy, numbered, skip, succeeds, text};

/// `Q-01`
#[test]
fn more_files_than_descriptors_come_exactly_once() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for number in 0..200 {
        let name = format!("{number}.log");
        world.write(&name, "one\n");
        expected.insert(name, vec!["one".to_owned()]);
    }
    let tail = world.run().with(&["--rescan", "1s"]).shell("ulimit -n 100; exec \"$@\"").start();
    for round in 0..10 {
        for (name, lines) in &mut expected {
            world.append(name, format!("round {round}\n"));
            lines.push(format!("round {round}"));
        }
    }
    tail.expect_files(&expected);
    // Some sweeps later, nothing has come again.
    thread::sleep(Duration::from_secs(3));
    tail.expect_files(&expected);
}

/// `Q-01`, while the output is blocked and files with unread bytes are held.
#[test]
fn few_descriptors_and_a_blocked_output_lose_nothing() {
    let world = World::new();
    let tail = world.run().shell("ulimit -n 64; exec \"$@\"").start().armed();
    tail.block();
    let filler = flood();
    world.append("filler.log", text(&filler));
    tail.settled();
    assert!(tail.count() < filler.len(), "the output was meant to be blocked");
    let mut expected = BTreeMap::from([("filler.log".to_owned(), filler)]);
    for number in 0..500 {
        let name = format!("d{}/{number}.log", number % 10);
        world.mkdir(format!("d{}", number % 10));
        world.append(&name, "one\n");
        expected.insert(name, vec!["one".to_owned()]);
    }
    tail.settled();
    tail.unblock();
    tail.expect_files(&expected);
}

/// `Q-02`
#[test]
fn descriptors_do_not_grow_with_files_or_directories() {
    let _guard = heavy();
    let world = World::in_memory();
    for directory in 0..100 {
        world.mkdir(format!("d{directory}"));
        for file in 0..100 {
            world.write(format!("d{directory}/{file}.log"), "x\n");
        }
    }
    let tail = world.run().start();
    tail.wait_count(10_000);
    tail.wait_closed();
    assert!(tail.process.descriptors() <= 16, "{:?}", tail.process.open_files());
    assert_eq!(tail.process.threads(), 2);
    assert_eq!(tail.process.inotify_instances(), 1);
    assert_eq!(tail.process.watches(), 101, "watches on directories only");
}

/// Runs in a user namespace with a lower limit of inotify watches or instances.
fn with_limit(world: &World, limit: &str, value: u32) -> Option<Tail> {
    run_with_limit(world.run(), limit, value)
}

/// The same for this run.
pub(crate) fn run_with_limit(run: Run, limit: &str, value: u32) -> Option<Tail> {
    let file = format!("/proc/sys/user/max_inotify_{limit}");
    if !succeeds("unshare", &["-Ur", "sh", "-c", &format!("echo {value} > {file}")]) {
        skip("no user namespaces");
        return None;
    }
    let script = format!("echo {value} > {file} && exec \"$@\"");
    Some(run.under(&["unshare", "-Ur", "sh", "-c", &script, "sh"]).start())
}

/// `Q-03`
#[test]
fn directories_beyond_the_watch_limit_are_polled_and_the_sysctl_is_named_once() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for number in 0..100 {
        let name = format!("d{number}/a.log");
        world.mkdir(format!("d{number}"));
        world.write(&name, "one\n");
        expected.insert(name, vec!["one".to_owned()]);
    }
    let Some(tail) = with_limit(&world, "watches", 20) else { return };
    tail.expect_files(&expected);
    tail.wait_said("user.max_inotify_watches");
    for (name, lines) in &mut expected {
        world.append(name, "two\n");
        lines.push("two".to_owned());
    }
    tail.expect_files(&expected);
    // New files and directories below those that are polled, and below new ones.
    for number in (0..100).step_by(7) {
        world.write(format!("d{number}/b.log"), "new\n");
        world.mkdir(format!("d{number}/s/t"));
        world.write(format!("d{number}/s/t/c.log"), "deep\n");
        expected.insert(format!("d{number}/b.log"), vec!["new".to_owned()]);
        expected.insert(format!("d{number}/s/t/c.log"), vec!["deep".to_owned()]);
    }
    tail.expect_files(&expected);
    assert_eq!(tail.said("user.max_inotify_watches"), 1, "{}", tail.stderr());
    assert!(tail.process.watches() <= 20);
}

/// `Q-03`: renames, deletions and rotations where there are no watches.
#[test]
fn rotation_in_directories_that_are_polled_gives_the_exact_sequence() {
    let world = World::new();
    let Some(tail) = with_limit(&world, "watches", 0) else { return };
    let lines = numbered("line", 0..40);
    for (round, chunk) in lines.chunks(10).enumerate() {
        world.append("a.log", text(&chunk[..5]));
        tail.wait_count(round * 10 + 5);
        world.append("a.log", text(&chunk[5..]));
        if round % 2 == 0 {
            world.rename("a.log", format!("a.log.{round}"));
        } else {
            tail.wait_count(round * 10 + 10);
            world.remove("a.log");
        }
    }
    tail.expect_in_order(&lines);
}

/// `Q-03`: "watches are retried".
#[test]
fn a_directory_gets_its_watch_when_others_are_given_back() {
    let world = World::new();
    for number in 0..30 {
        world.mkdir(format!("d{number}"));
        world.write(format!("d{number}/a.log"), "one\n");
    }
    let Some(tail) = with_limit(&world, "watches", 20) else { return };
    tail.wait_count(30);
    for number in 0..15 {
        world.remove_dir(format!("d{number}"));
    }
    wait_for("every directory to be watched", || tail.process.watches() == 16);
    for number in 15..30 {
        world.append(format!("d{number}/a.log"), "two\n");
    }
    tail.wait_count(45);
    tail.settled();
    assert_eq!(tail.count(), 45);
}

/// `Q-04`
#[test]
fn without_an_inotify_instance_everything_is_polled_and_the_sysctl_is_named_once() {
    let world = World::new();
    world.mkdir("s");
    world.write("s/a.log", "one\n");
    let Some(tail) = with_limit(&world, "instances", 0) else { return };
    tail.wait_said("user.max_inotify_instances");
    tail.expect(&[("s/a.log", &["one"])]);
    world.append("s/a.log", "two\n");
    world.mkdir("t");
    world.write("t/b.log", "b\n");
    tail.expect(&[("s/a.log", &["one", "two"]), ("t/b.log", &["b"])]);
    assert_eq!(tail.said("user.max_inotify_instances"), 1, "{}", tail.stderr());
}

/// A kernel without inotify, or a sandbox that refuses it: seccomp(2) fails calls like this.
#[test]
fn where_inotify_is_refused_everything_is_polled_and_that_is_reported_once() {
    if !succeeds("strace", &["-o", "/dev/null", "true"]) {
        return skip("strace does not work here");
    }
    for (call, errno) in [
        ("inotify_init1", "ENOSYS"),
        ("inotify_init1", "EPERM"),
        ("inotify_add_watch", "ENOSYS"),
        ("inotify_add_watch", "EPERM"),
    ] {
        let world = World::new();
        world.mkdir("s");
        world.write("s/a.log", "one\n");
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:error={errno}");
        let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let run = Metered::start(&world, world.run().with(&["--rescan", "0"]).under(&strace));
        let tail = &run.tail;
        tail.wait_said("refuses inotify");
        tail.wait_line("one");
        world.append("s/a.log", "two\n");
        world.mkdir("t");
        world.write("t/b.log", "b\n");
        tail.wait_count(3);
        run.wait_value("manytail_polled_directories", |polled| polled == 3.0);
        let expected: [(&str, &[&str]); 2] = [("s/a.log", &["one", "two"]), ("t/b.log", &["b"])];
        tail.expect(&expected);
        assert_eq!(tail.said("inotify"), 1, "{call}, {errno}: {}", tail.stderr());
    }
    let doctor = [
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=inotify_init1:error=ENOSYS",
        BINARY,
        "doctor",
    ];
    let world = World::new();
    let output = std::process::Command::new("strace")
        .args(doctor)
        .arg(&world.tree)
        .output()
        .expect("strace");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.code() == Some(1)
            && said.contains("refuses inotify (Function not implemented)"),
        "{said}"
    );
}

/// `Q-05`
#[test]
fn descriptors_above_1023_work() {
    if !succeeds("bash", &["-c", "ulimit -n 4096"]) {
        return skip("bash cannot raise the limit of descriptors");
    }
    let world = World::new();
    world.write("a.log", "one\n");
    let script =
        "ulimit -n 4096; for ((n = 0; n < 2048; n++)); do exec {fd}</dev/null; done; exec \"$@\"";
    let tail = world.run().under(&["bash", "-c", script, "bash"]).start();
    tail.wait_line("one");
    assert!(tail.process.descriptors() > 2_048);
    world.append("a.log", "two\n");
    world.mkdir("s");
    world.write("s/b.log", "b\n");
    tail.expect(&[("a.log", &["one", "two"]), ("s/b.log", &["b"])]);
    tail.terminate();
}

/// `Q-06`, and "Idle means asleep".
#[test]
fn a_hundred_thousand_files_at_rest_cost_nothing() {
    let _guard = heavy();
    let world = World::in_memory();
    for directory in 0..256 {
        world.mkdir(format!("d{directory}"));
        for file in 0..391 {
            world.write(format!("d{directory}/{file:06}.joblog"), "old\n");
        }
    }
    let files = 256 * 391;
    let start = Instant::now();
    // A relative PATH: changes by other tests beside this test's directory are not on its way.
    let run =
        || world.run().in_directory(&world.beside("")).paths(&["tree"]).with(&["--from", "end"]);
    let quiet = run().with(&["--rescan", "0"]).start().armed();
    let swept = run().start().armed();
    let started = start.elapsed();
    [&quiet, &swept].into_iter().for_each(Tail::at_rest);
    let look = |tail: &Tail| (tail.process.ticks(), tail.process.switches());
    let (quiet_before, swept_before) = (look(&quiet), look(&swept));
    thread::sleep(Duration::from_secs(10));
    let (quiet_after, swept_after) = (look(&quiet), look(&swept));
    assert_eq!(quiet_after, quiet_before, "no CPU tick and no wake-up in 10 s");
    // The sweep looks at 3,300 of the files in this time.
    assert!(swept_after.0 - swept_before.0 <= 2, "{swept_before:?} became {swept_after:?}");
    for tail in [&quiet, &swept] {
        assert!(tail.process.descriptors() <= 16, "{:?}", tail.process.open_files());
        assert_eq!(tail.process.threads(), 2);
        let rss = tail.process.rss_kib();
        assert!(rss * 1_024 <= (16 << 20) + files * 160, "{rss} KiB for {files} files");
        assert_eq!(tail.count(), 0);
    }
    world.append("d7/000007.joblog", "new\n");
    world.append("d255/000390.joblog", "new\n");
    for tail in [&quiet, &swept] {
        tail.expect(&[("tree/d7/000007.joblog", &["new"]), ("tree/d255/000390.joblog", &["new"])]);
    }
    assert!(started < Duration::from_secs(15), "two starts took {started:?}");
}

/// `Q-06`
#[test]
fn fifty_thousand_files_in_one_directory_are_followed() {
    let _guard = heavy();
    let world = World::in_memory();
    for number in 0..50_000 {
        world.write(format!("{number}"), "");
    }
    let tail = world.run().start().armed();
    let mut expected = BTreeMap::new();
    for number in (0..50_000).step_by(10) {
        world.append(format!("{number}"), "one\n");
        expected.insert(format!("{number}"), vec!["one".to_owned()]);
    }
    tail.expect_files(&expected);
}

/// `Q-10`
#[test]
fn the_longest_names_and_deep_trees_are_followed() {
    let world = World::new();
    let name = "n".repeat(255);
    let wide = OsStr::from_bytes(&[0xff; 255]).to_owned();
    let deep = vec!["d"; 100].join("/");
    world.mkdir(&deep);
    world.write(&name, "name\n");
    world.write(&wide, "bytes\n");
    world.write(format!("{deep}/a.log"), "deep\n");
    let tail = world.run().start();
    tail.wait_count(3);
    world.append(&name, "name 2\n");
    world.append(&wide, "bytes 2\n");
    world.append(format!("{deep}/a.log"), "deep 2\n");
    tail.wait_count(6);
    tail.settled();
    let mut lines = tail.lines();
    lines.sort();
    assert_eq!(lines, ["bytes", "bytes 2", "deep", "deep 2", "name", "name 2"]);
    assert_eq!(tail.process.watches(), 101);
}

/// `Q-10`: paths longer than `PATH_MAX` are followed or cause one diagnostic, without harm to other
/// files.
#[test]
fn a_path_longer_than_the_system_allows_does_no_harm() {
    let world = World::new();
    world.write("a.log", "one\n");
    // Two trees of 2,500 bytes each, one moved below the other.
    let half = vec!["p".repeat(250); 10].join("/");
    world.mkdir(&half);
    world.mkdir(format!("../{half}"));
    world.write(format!("../{half}/deep.log"), "out of reach\n");
    world.rename(format!("../{}", "p".repeat(250)), format!("{half}/{}", "p".repeat(250)));
    let tail = world.run().start();
    tail.wait_line("one");
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
    assert!(tail.stderr().lines().count() <= 5, "{}", tail.stderr().lines().count());
}
