//! Settings that are refused: exit 2, and a message that names the key.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{BINARY, remove_settings};
use crate::world::World;

/// Runs with these arguments and no others. Returns the exit code (none: it had to be killed),
/// stdout and stderr.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(BINARY);
    remove_settings(&mut command);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start");
    let deadline = Instant::now() + Duration::from_secs(5);
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("kill");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().expect("wait");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn refuses(args: &[&str], named: &[&str]) {
    let (code, stdout, stderr) = run(args);
    assert_eq!(code, Some(2), "{args:?}: {stderr}");
    assert!(stdout.is_empty(), "{args:?}: stdout carries records only: {stdout}");
    for name in named {
        assert!(stderr.contains(name), "{args:?} does not name {name}: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

/// `F-01`
#[test]
fn no_path_is_refused() {
    refuses(&["run"], &["PATH"]);
    refuses(&["run", "--once"], &["PATH"]);
    refuses(&["run", ""], &["PATH"]);
    refuses(&[], &["run"]);
}

/// `F-02`
#[test]
fn an_unknown_key_is_refused() {
    refuses(&["run", "--colour", "red", "/nowhere"], &["--colour"]);
    refuses(&["walk", "/nowhere"], &["walk"]);
}

/// `F-02`
#[test]
fn a_bad_number_or_unit_is_refused_with_the_name_of_its_key() {
    for value in ["", "x", "-1", "1.5.5", "1 parsec", "1", "10y", "99999999999999999999s"] {
        for key in [
            "--coalesce",
            "--pace",
            "--partial-after",
            "--rescan",
            "--ignore-older",
            "--shutdown-timeout",
        ] {
            refuses(&["run", &format!("{key}={value}"), "/nowhere"], &[key]);
        }
    }
    for value in ["", "x", "-1", "0", "1.5.5", "1TiBB", "1 parsec", "99999999999999999999"] {
        refuses(&["run", &format!("--max-line-bytes={value}"), "/nowhere"], &["--max-line-bytes"]);
    }
}

/// `F-02`
#[test]
fn a_value_that_is_none_of_the_known_is_refused() {
    refuses(&["run", "--format", "xml", "/nowhere"], &["--format", "xml"]);
    refuses(&["run", "--from", "middle", "/nowhere"], &["--from", "middle"]);
    refuses(&["run", "--recursive=maybe", "/nowhere"], &["--recursive", "maybe"]);
    refuses(&["run", "--log-level", "loud", "/nowhere"], &["--log-level", "loud"]);
    refuses(&["run", "--log-format", "xml", "/nowhere"], &["--log-format", "xml"]);
}

/// The word after `--recursive` is its value, never a PATH.
#[test]
fn recursive_without_a_value_of_its_own_is_refused_everywhere() {
    let world = World::new();
    world.write("a.log", "a\n");
    let tree = world.tree.to_str().expect("UTF-8");
    for command in ["run", "check", "doctor"] {
        refuses(&[command, "--recursive", "maybe", tree], &["--recursive", "maybe"]);
        refuses(&[command, "--recursive", tree], &["--recursive"]);
        refuses(&[command, tree, "--recursive"], &["--recursive"]);
        refuses(&[command, "--recursive=", tree], &["--recursive"]);
        refuses(&[command, "--follow-symlinks", "false", tree], &["--follow-symlinks", "./false"]);
    }
    refuses(&["run", "--once", "true", tree], &["--once", "./true"]);
    let settings = world.beside("manytail.toml");
    for value in ["\"maybe\"", "\"\"", "\"true\"", "1"] {
        std::fs::write(&settings, format!("recursive = {value}\n")).expect("write");
        refuses(
            &["run", "--config", settings.to_str().expect("UTF-8"), tree],
            &["recursive", "manytail.toml:1"],
        );
    }
    for value in ["maybe", "", "TRUE"] {
        let mut command = Command::new(BINARY);
        remove_settings(&mut command);
        let output = command
            .args(["run", "--once", tree])
            .env("MANYTAIL_RECURSIVE", value)
            .output()
            .expect("start");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{value:?}: {said}");
        assert!(
            said.contains("MANYTAIL_RECURSIVE") && output.stdout.is_empty(),
            "{value:?}: {said}"
        );
    }
}

/// `F-02`
#[test]
fn a_bad_glob_is_refused() {
    refuses(&["run", "--include", "a[", "/nowhere"], &["--include", "a["]);
    refuses(&["run", "--exclude", "b{c", "/nowhere"], &["--exclude", "b{c"]);
}

#[test]
fn a_bad_output_is_refused() {
    for output in [
        "",
        "nonsense",
        "ftp:host:1",
        "tcp:",
        "tcp:host",
        "tcp:host:",
        "tcp:host:99999",
        "tcp::80",
        "unix:",
        "file:",
        "fd:",
        "fd:x",
        "fd:-1",
    ] {
        refuses(&["run", &format!("--output={output}"), "/nowhere"], &["--output"]);
    }
}

/// `F-03`
#[test]
fn contradictions_are_refused() {
    refuses(&["run", "--once", "--from", "end", "/nowhere"], &["once", "from"]);
}

#[test]
fn an_option_without_its_value_is_refused() {
    refuses(&["run", "--coalesce"], &["--coalesce"]);
}

/// Sizes and durations in the documented notation.
#[test]
fn every_unit_of_the_contract_is_taken() {
    let world = World::new();
    world.write("a.log", "a\n");
    let tree = world.tree.to_str().expect("UTF-8");
    for value in ["100ms", "2s", "1min", "3h", "1d"] {
        let keys = ["coalesce", "partial-after", "rescan", "ignore-older", "shutdown-timeout"];
        let args: Vec<String> = keys.iter().map(|key| format!("--{key}={value}")).collect();
        let args: Vec<&str> = ["run", "--once"]
            .into_iter()
            .chain(args.iter().map(String::as_str))
            .chain([tree])
            .collect();
        let (code, stdout, stderr) = run(&args);
        assert_eq!((code, stdout.lines().count()), (Some(0), 1), "{value}: {stderr}");
    }
    for value in ["100", "64KiB", "1MiB", "1GiB", "64k", "1M", "1G"] {
        let (code, stdout, stderr) = run(&["run", "--once", "--max-line-bytes", value, tree]);
        assert_eq!((code, stdout.lines().count()), (Some(0), 1), "{value}: {stderr}");
    }
}

/// `k`, `M`, `G` are the same powers of two.
#[test]
fn k_is_1024() {
    let world = World::new();
    for (unit, limit) in [("1k", 1_024), ("1KiB", 1_024), ("2k", 2_048)] {
        world.write("a.log", format!("{}\n{}\n", "x".repeat(limit), "y".repeat(limit + 1)));
        let finished = world.run().json().with(&["--once", "--max-line-bytes", unit]).finish();
        let lengths: Vec<usize> = finished.records.iter().map(|record| record.line.len()).collect();
        assert_eq!(lengths, [limit, limit, 1], "{unit}");
    }
}

#[test]
fn help_and_version_are_on_standard_output_and_exit_with_0() {
    for args in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let (code, stdout, stderr) = run(args);
        assert_eq!(code, Some(0), "{args:?}: {stderr}");
        assert!(!stdout.is_empty() && stderr.is_empty(), "{args:?}: {stderr}");
    }
    let (_, help, _) = run(&["run", "--help"]);
    let options = [
        "--output",
        "--format",
        "--include",
        "--exclude",
        "--no-default-excludes",
        "--from",
        "--binary",
        "--once",
        "--recursive",
        "--follow-symlinks",
        "--coalesce",
        "--pace",
        "--max-line-bytes",
        "--partial-after",
        "--rescan",
        "--ignore-older",
        "--shutdown-timeout",
        "--log-level",
        "--log-format",
    ];
    for option in options {
        assert!(help.contains(option), "the help tells nothing of {option}");
    }
}

#[test]
fn a_path_that_begins_with_a_dash_can_follow_two_dashes() {
    let world = World::new();
    world.write("-a.log", "a\n");
    let output = Command::new(BINARY)
        .args(["run", "--once", "--", "-a.log"])
        .current_dir(&world.tree)
        .output()
        .expect("start");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "-a.log\ta\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `D-12`, and "PATH does not exist at start: one warning".
#[test]
fn a_missing_path_is_no_usage_error() {
    let world = World::new();
    let tail = world.run().paths(&[world.at("nowhere")]).start();
    tail.wait_said("waiting for it");
    tail.settled();
    assert!(!tail.has_exited());
    assert_eq!(tail.warned("nowhere"), 1, "{}", tail.stderr());
    tail.terminate();
}
