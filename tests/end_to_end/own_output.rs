//! Files that manytail writes itself below a PATH are never read: neither now nor after a rotation,
//! neither in this run nor in a later one.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Run, Tail, wait_for};
use crate::records::{Format, decode_all};
use crate::scrape::get;
use crate::world::{World, numbered};

/// With a state directory, or without.
fn with_state(world: &World, run: Run, is_kept: bool) -> Run {
    if is_kept {
        run.with(&["--state-dir", world.beside("state").to_str().expect("UTF-8")])
    } else {
        run
    }
}

fn to_file(world: &World, name: &str, is_kept: bool) -> Tail {
    with_state(world, world.run().output_file(&world.at(name)), is_kept).start()
}

/// Appends a line to a separate log, and waits until it is in the output: all existing files have
/// been examined by then.
#[track_caller]
fn deliver(world: &World, tail: &Tail, line: &str) {
    deliver_to(world, tail, &world.at("out.log"), line);
}

#[track_caller]
fn deliver_to(world: &World, tail: &Tail, output: &Path, line: &str) {
    world.append(format!("{}.job", line.replace(' ', "-")), format!("{line}\n"));
    let record = format!("\t{line}\n");
    wait_for(&format!("{line:?} in the output"), || {
        fs::read_to_string(output).is_ok_and(|text| text.contains(&record))
    });
    tail.settled();
}

/// Renames the output and has it reopened.
#[track_caller]
fn rotate(world: &World, tail: &Tail, output: &str, to: &str) {
    world.rename(output, to);
    tail.signal(Signal::SIGHUP);
    wait_for("the new output", || world.at(output).exists());
}

/// How many records there are of each file, in all outputs in a directory whose names begin with
/// `begins`. `Err`: a record is of an output.
fn records_of_outputs(world: &World, directory: &Path, begins: &str) -> BTreeMap<String, usize> {
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("list") {
        let entry = entry.expect("an entry");
        if !entry.file_name().to_string_lossy().starts_with(begins) {
            continue;
        }
        for record in decode_all(Format::Text, &fs::read(entry.path()).expect("read")) {
            *records.entry(crate::harness::name_below(&world.tree, &record)).or_default() += 1;
        }
    }
    records
}

#[track_caller]
fn no_output_was_read(world: &World, directory: &Path, begins: &str) {
    let records = records_of_outputs(world, directory, begins);
    assert!(!records.is_empty(), "there are records");
    let own: Vec<_> = records.iter().filter(|(name, _)| !name.ends_with(".job")).collect();
    assert!(own.is_empty(), "outputs were read as logs: {own:?}");
}

/// By logrotate with numbers, with `dateext`, with `extension`, and by hand.
const ROTATED: [&str; 6] = [
    "out.log.1",
    "out.log-20261128",
    "out-20261128.log",
    "out.1.log",
    "out.log.old",
    "out.log-20261128-1795860000",
];

#[test]
fn a_renamed_output_is_not_read_as_a_log_in_the_same_run() {
    for name in ROTATED.into_iter().chain(["elsewhere.txt"]) {
        let world = World::new();
        let tail = to_file(&world, "out.log", false);
        deliver(&world, &tail, "one");
        rotate(&world, &tail, "out.log", name);
        deliver(&world, &tail, "two");
        tail.terminate();
        no_output_was_read(&world, &world.tree, "out");
        if name == "elsewhere.txt" {
            no_output_was_read(&world, &world.tree, "elsewhere");
        }
    }
}

#[test]
fn outputs_that_were_rotated_before_a_restart_are_left_out_for_good() {
    for is_kept in [false, true] {
        let world = World::new();
        for (round, name) in ROTATED.into_iter().enumerate() {
            let tail = to_file(&world, "out.log", is_kept);
            deliver(&world, &tail, &format!("first {round}"));
            rotate(&world, &tail, "out.log", name);
            deliver(&world, &tail, &format!("second {round}"));
            tail.terminate();
            for rotated in &ROTATED[..round] {
                assert!(tail.said(rotated) <= 1, "said more than once: {}", tail.stderr());
            }
        }
        for round in 0..2 {
            let tail = to_file(&world, "out.log", is_kept);
            deliver(&world, &tail, &format!("third {round}"));
            tail.terminate();
        }
        no_output_was_read(&world, &world.tree, "out");
    }
}

/// As logrotate does it every day: `.1` becomes `.2`, and so on, several times within a run and
/// between runs.
#[test]
fn outputs_that_are_numbered_on_and_on_are_left_out() {
    for is_kept in [false, true] {
        let world = World::new();
        for round in 0..3 {
            let tail = to_file(&world, "out.log", is_kept);
            for turn in 0..3 {
                deliver(&world, &tail, &format!("line {round} {turn}"));
                for number in
                    (1..12).rev().filter(|number| world.at(format!("out.log.{number}")).exists())
                {
                    world.rename(format!("out.log.{number}"), format!("out.log.{}", number + 1));
                }
                rotate(&world, &tail, "out.log", "out.log.1");
            }
            deliver(&world, &tail, &format!("line {round} 3"));
            tail.terminate();
        }
        no_output_was_read(&world, &world.tree, "out");
    }
}

/// With a state directory, identity helps where names do not.
#[test]
fn an_output_that_was_moved_to_another_directory_of_the_tree_is_left_out_with_a_state_directory() {
    let world = World::new();
    world.mkdir("archive/2026");
    for round in 0..3 {
        let tail = to_file(&world, "out.log", true);
        deliver(&world, &tail, &format!("first {round}"));
        rotate(&world, &tail, "out.log", &format!("archive/2026/day-{round}"));
        deliver(&world, &tail, &format!("second {round}"));
        tail.terminate();
    }
    let tail = to_file(&world, "out.log", true);
    deliver(&world, &tail, "last");
    tail.terminate();
    no_output_was_read(&world, &world.at("archive/2026"), "day");
    no_output_was_read(&world, &world.tree, "out");
    // A new output does not make logs of the old ones.
    let tail = with_state(&world, world.run().output_file(&world.beside("new.log")), true).start();
    deliver_to(&world, &tail, &world.beside("new.log"), "very last");
    tail.terminate();
    no_output_was_read(&world, &world.beside(""), "new");
}

/// The new file exists, the old one is not committed to its end, and there was no SIGHUP.
#[test]
fn an_output_that_was_renamed_before_a_kill_is_left_out() {
    for (is_kept, name) in [(false, "out.log.1"), (true, "out.log.1"), (true, "archive/any-name")] {
        let world = World::new();
        world.mkdir("archive");
        let tail = to_file(&world, "out.log", is_kept);
        deliver(&world, &tail, "one");
        world.rename("out.log", name);
        tail.kill();
        for round in 0..2 {
            let tail = to_file(&world, "out.log", is_kept);
            deliver(&world, &tail, &format!("after {round}"));
            tail.kill();
        }
        no_output_was_read(&world, &world.tree, "out");
    }
}

/// An output is also rotated while no run is active.
#[test]
fn an_output_that_was_renamed_between_two_runs_is_left_out() {
    for (is_kept, name) in [(false, "out.log.1"), (true, "archive/any-name")] {
        let world = World::new();
        world.mkdir("archive");
        for round in 0..2 {
            let tail = to_file(&world, "out.log", is_kept);
            deliver(&world, &tail, &format!("one {round}"));
            tail.terminate();
            world.rename("out.log", name);
        }
        let tail = to_file(&world, "out.log", is_kept);
        deliver(&world, &tail, "last");
        tail.terminate();
        no_output_was_read(&world, &world.tree, "out");
    }
}

/// A copy is another file, and only its name shows what it is.
#[test]
fn copies_of_an_output_that_is_truncated_are_left_out() {
    for is_kept in [false, true] {
        let world = World::new();
        for round in 1..4 {
            let tail = to_file(&world, "out.log", is_kept);
            deliver(&world, &tail, &format!("one {round}"));
            fs::copy(world.at("out.log"), world.at(format!("out.log.{round}"))).expect("cp");
            world.truncate("out.log", 0);
            deliver(&world, &tail, &format!("two {round}"));
            tail.terminate();
        }
        no_output_was_read(&world, &world.tree, "out");
    }
}

/// The shell, not manytail, opened diagnostics and a redirected standard output.
#[test]
fn files_that_the_shell_opened_for_us_are_left_out_with_their_rotations() {
    for is_kept in [false, true] {
        let world = World::new();
        let tree = world.tree.display().to_string();
        let script = format!("exec \"$@\" >>'{tree}/out.log' 2>>'{tree}/manytail.log'");
        for round in 1..4 {
            let tail = with_state(&world, world.run().with(&["--log-level", "debug"]), is_kept)
                .shell(&script)
                .start();
            let line = format!("line {round}");
            world.append(format!("{round}.job"), format!("{line}\n"));
            wait_for("the line", || {
                fs::read_to_string(world.at("out.log")).is_ok_and(|text| text.contains(&line))
            });
            tail.settled();
            for name in ["out.log", "manytail.log"] {
                fs::copy(world.at(name), world.at(format!("{name}.{round}"))).expect("cp");
                world.truncate(name, 0);
            }
            world.append(format!("{round}.job"), format!("more {round}\n"));
            wait_for("the line", || {
                fs::read_to_string(world.at("out.log"))
                    .is_ok_and(|text| text.contains(&format!("more {round}")))
            });
            tail.settled();
            tail.terminate();
        }
        no_output_was_read(&world, &world.tree, "out");
    }
}

/// However PATH and the output are written.
#[test]
fn an_output_below_a_path_that_is_a_link_is_left_out_with_its_rotations() {
    for is_kept in [false, true] {
        let world = World::new();
        let link = world.beside("link");
        std::os::unix::fs::symlink(&world.tree, &link).expect("ln -s");
        for round in 0..2 {
            let run = world
                .run()
                .paths(&[link.join("."), world.tree.clone()])
                .output_file(&link.join("out.log"));
            let tail = with_state(&world, run, is_kept).start();
            let line = format!("line {round}");
            world.append(format!("{round}.job"), format!("{line}\n"));
            let is_there = |line: &str| {
                fs::read_to_string(world.at("out.log"))
                    .is_ok_and(|text| text.contains(&format!("\t{line}\n")))
            };
            wait_for("the line", || is_there(&line));
            rotate(&world, &tail, "out.log", &format!("out.log.{}", round + 1));
            world.append(format!("{round}.job"), format!("more {round}\n"));
            wait_for("the line", || is_there(&format!("more {round}")));
            tail.settled();
            tail.terminate();
        }
        let all: String = ["out.log", "out.log.1", "out.log.2"]
            .map(|name| fs::read_to_string(world.at(name)).expect("read"))
            .concat();
        assert!(
            all.contains("0.job\tline 0")
                && !all.contains("out.log\t")
                && !all.contains("out.log.1\t"),
            "{all}"
        );
    }
}

#[test]
fn what_a_metrics_file_leaves_behind_is_not_read() {
    let world = World::new();
    world.write("manytail.prom", "manytail_up 1\n");
    world.write("manytail.prom.424242.tmp", "manytail_up 1\n");
    let metrics = format!("textfile:{}", world.at("manytail.prom").display());
    let tail = world.run().with(&["--metrics", &metrics]).start();
    world.append("a.job", "one\n");
    tail.wait_line("one");
    tail.settled();
    assert_eq!(tail.lines(), ["one"]);
}

/// The output of another manytail is a log like any other, and so are its rotations.
#[test]
fn the_output_of_another_manytail_is_followed() {
    let world = World::new();
    fs::create_dir(world.beside("jobs")).expect("mkdir");
    let other = world
        .run()
        .raw()
        .paths(&[world.beside("jobs")])
        .output_file(&world.at("other.log"))
        .start();
    let tail = with_state(&world, world.run().output_file(&world.at("out.log")), true).start();
    fs::write(world.beside("jobs/a"), "one\n").expect("write");
    tail.wait_line("one");
    rotate(&world, &other, "other.log", "other.log.1");
    OpenOptions::new()
        .append(true)
        .open(world.beside("jobs/a"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"two\n"))
        .expect("append");
    tail.wait_line("two");
    tail.settled();
    assert_eq!(tail.lines(), ["one", "two"]);
}

/// Logs of users with similar names.
#[test]
fn logs_beside_the_output_whose_names_begin_like_its_name_are_followed() {
    let world = World::new();
    let names = [
        "jobs.out.alice",
        "jobs.out.1234567",
        "jobs-7.out",
        "jobs.out-summary",
        "jobs.out2",
        "jobs.7654321.out",
        "jobs.err",
    ];
    for name in names {
        world.write(name, format!("of {name}\n"));
    }
    world.write("jobs.out.7", "by its name a rotation\n");
    let tail = to_file(&world, "jobs.out", false);
    tail.wait_count(names.len());
    tail.settled();
    let lines = tail.lines_by_file();
    assert_eq!(
        lines.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        names.into_iter().collect()
    );
    assert_eq!(tail.warned("jobs.out.7"), 1, "{}", tail.stderr());
    tail.terminate();
    // A log that an earlier run followed stays one, whatever the output is called today.
    let state = ["--state-dir", world.beside("state").to_str().expect("UTF-8")].map(str::to_owned);
    let tail = world.run().raw().with(&state).output_file(&world.beside("elsewhere")).start();
    tail.wait_line("by its name a rotation");
    tail.settled();
    tail.terminate();
    world.append("jobs.out.7", "and a log\n");
    let tail = world.run().raw().with(&state).output_file(&world.at("jobs.out")).start();
    tail.wait_line("and a log");
}

#[test]
fn status_tells_that_a_file_is_a_rotated_output_and_its_end_is_no_loss() {
    for is_kept in [false, true] {
        let world = World::new();
        let socket = world.beside("control.sock");
        let run = || {
            let run = world
                .run()
                .output_file(&world.at("out.log"))
                .with(&["--control-socket", socket.to_str().expect("UTF-8")]);
            with_state(&world, run, is_kept).start()
        };
        let state = |name: &str| -> (Value, Value) {
            let answer = get(&socket, &format!("/file?path={}", world.at(name).display()));
            let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
            (answer["state"].clone(), answer["why"].clone())
        };
        let tail = run();
        deliver(&world, &tail, "one");
        rotate(&world, &tail, "out.log", "out.log.1");
        deliver(&world, &tail, "two");
        for name in ["out.log", "out.log.1"] {
            assert_eq!(state(name).0, "own_output", "{name}: {}", state(name).1);
        }
        tail.terminate();
        let tail = run();
        deliver(&world, &tail, "three");
        assert_eq!(state("out.log.1").0, "own_output", "{}", state("out.log.1").1);
        world.remove("out.log.1");
        deliver(&world, &tail, "four");
        assert_eq!(tail.said("deleted"), 0, "nothing of it was to be read: {}", tail.stderr());
        tail.terminate();
    }
}

/// `offsets` shows that the journal marks the file as an output, and can remove that mark.
#[test]
fn offsets_lists_an_output_without_an_offset_and_forgets_it() {
    let world = World::new();
    world.mkdir("archive");
    let tail = to_file(&world, "out.log", true);
    for line in numbered("line", 0..3) {
        deliver(&world, &tail, &line);
    }
    rotate(&world, &tail, "out.log", "archive/old");
    deliver(&world, &tail, "last");
    tail.terminate();
    let old = world.at("archive/old").display().to_string();
    let offsets = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::harness::BINARY);
        crate::harness::remove_settings(&mut command);
        let output = command
            .arg("offsets")
            .args(arguments)
            .arg("--state-dir")
            .arg(world.beside("state"))
            .output()
            .expect("start");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (code, list) = offsets(&["list"]);
    assert!(
        code == Some(0) && list.lines().any(|line| line.starts_with("-\t") && line.ends_with(&old)),
        "{list}"
    );
    let (code, verified) = offsets(&["verify"]);
    assert!(code == Some(0) && verified.contains("truncated 0"), "{verified}");
    assert_eq!(offsets(&["forget", &old]).0, Some(0));
    let tail =
        with_state(&world, world.run().output_file(&world.beside("elsewhere")), true).start();
    tail.wait("the former output to be read", || {
        tail.lines_by_file().get("archive/old").is_some_and(|lines| lines.len() >= 3)
    });
}
