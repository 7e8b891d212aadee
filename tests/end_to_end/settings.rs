//! Settings from files, variables and the command line; `check`; and changes by SIGHUP while
//! writers write.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{BINARY, Run, Tail, remove_settings, wait_for};
use crate::state::Memory;
use crate::world::{World, flood, numbered, skip, succeeds, text};

/// Runs to the end with these arguments and variables. Returns exit code, stdout and stderr.
pub(crate) fn run(
    world: &World,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let mut command = Command::new(BINARY);
    remove_settings(&mut command);
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(world.beside(""))
        .stdin(Stdio::null());
    let output = command.output().expect("start");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Writes settings beside the tree atomically, as an administrator's tools do.
pub(crate) fn write_settings(world: &World, name: &str, settings: &str) -> PathBuf {
    let path = world.beside(name);
    fs::create_dir_all(path.parent().expect("it has one")).expect("mkdir");
    fs::write(world.beside("new"), settings).expect("write");
    fs::rename(world.beside("new"), &path).expect("mv");
    path
}

/// A run with all settings in `manytail.toml` beside the tree.
pub(crate) fn from_file(world: &World, settings: &str) -> Run {
    let path = write_settings(world, "manytail.toml", settings);
    world.run().paths(&[] as &[&str]).with(&["--config".as_ref(), path.as_os_str()])
}

/// An input with these directories of the tree.
fn input(world: &World, directories: &[&str]) -> String {
    let paths: Vec<String> =
        directories.iter().map(|name| format!("'{}'", world.at(name).display())).collect();
    format!("[[input]]\npaths = [{}]\n", paths.join(", "))
}

/// Sends SIGHUP, and returns what is logged about it.
#[track_caller]
pub(crate) fn reload(tail: &Tail, said: &str) {
    let before = tail.said(said);
    tail.signal(Signal::SIGHUP);
    tail.wait(&format!("{said:?} to be said again"), || tail.said(said) > before);
}

#[test]
fn the_command_line_goes_before_the_environment_before_the_file_before_the_default() {
    let world = World::new();
    world.write("a.log", "one\n");
    write_settings(&world, "m.toml", "format = \"json\"\n");
    let all = ["run", "--once", "tree", "--config", "m.toml", "--format=text"];
    let raw = [("MANYTAIL_FORMAT", "raw")];
    let out = |arguments, variables| {
        let (code, stdout, stderr) = run(&world, arguments, variables);
        assert_eq!((code, stderr.contains("ERROR")), (Some(0), false), "{stderr}");
        stdout
    };
    assert_eq!(out(&all[..3], &[]), "tree/a.log\tone\n");
    assert!(out(&all[..5], &[]).starts_with("{\"time\":"));
    assert_eq!(out(&all[..5], &raw), "one\n");
    assert_eq!(out(&all, &raw), "tree/a.log\tone\n");
    assert_eq!(
        out(
            &["run"],
            &[
                ("MANYTAIL_CONFIG", "m.toml"),
                ("MANYTAIL_PATHS", "tree"),
                ("MANYTAIL_ONCE", "true"),
                raw[0]
            ]
        ),
        "one\n"
    );
}

#[test]
fn files_of_conf_d_are_read_in_the_order_of_their_names() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.mkdir(name);
        world.write(format!("{name}/x.log"), format!("{name}\n"));
    }
    write_settings(
        &world,
        "m.toml",
        &(String::from("once = true\nformat = 'json'\n") + &input(&world, &["a"])),
    );
    write_settings(
        &world,
        "conf.d/20.toml",
        &(String::from("format = 'raw'\n") + &input(&world, &["c"])),
    );
    write_settings(
        &world,
        "conf.d/10.toml",
        &(String::from("format = 'text'\n") + &input(&world, &["b"])),
    );
    let (code, stdout, stderr) = run(&world, &["run", "--config", "m.toml"], &[]);
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!((code, lines), (Some(0), vec!["a", "b", "c"]), "{stderr}");
}

#[test]
fn each_input_has_its_own_globs_and_labels() {
    let world = World::new();
    for name in ["a", "b"] {
        world.mkdir(name);
        world.write(format!("{name}/x.log"), format!("{name}\n"));
        world.write(format!("{name}/x.out"), format!("{name}\n"));
    }
    let settings = "once = true\nformat = 'json'\nlabels = { cluster = 'c1', kind = 'job' }\n"
        .to_owned()
        + &input(&world, &["a"])
        + "include = ['*.log']\nlabels = { cluster = 'c2' }\n"
        + &input(&world, &["b"])
        + "exclude = ['*.log']\n";
    write_settings(&world, "m.toml", &settings);
    let (code, stdout, stderr) = run(&world, &["run", "--config", "m.toml"], &[]);
    assert_eq!(code, Some(0), "{stderr}");
    let mut got: Vec<String> = Vec::new();
    for line in stdout.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("json");
        let name = Path::new(record["path"].as_str().expect("a path"))
            .strip_prefix(&world.tree)
            .expect("below the tree");
        got.push(format!("{} {}", name.display(), record["labels"]));
    }
    got.sort();
    assert_eq!(
        got,
        [r#"a/x.log {"cluster":"c2","kind":"job"}"#, r#"b/x.out {"cluster":"c1","kind":"job"}"#]
    );
}

#[test]
fn a_variable_that_is_no_setting_and_labels_without_json_are_warned_of() {
    let world = World::new();
    world.write("a.log", "one\n");
    write_settings(&world, "m.toml", "labels = { a = 'b' }\n");
    let (code, _, stderr) = run(
        &world,
        &["run", "--once", "--config", "m.toml", "tree"],
        &[("MANYTAIL_COALSECE", "1ms"), ("MANYTAIL_PACE", "1ms")],
    );
    assert_eq!(code, Some(0), "{stderr}");
    let warnings: Vec<&str> = stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{stderr}");
    assert!(
        warnings[0].contains("MANYTAIL_COALSECE")
            && warnings[0].contains("did you mean MANYTAIL_COALESCE?"),
        "{stderr}"
    );
    assert!(warnings[1].contains("labels"), "{stderr}");
}

#[test]
fn bad_settings_are_refused_with_file_line_and_key_before_anything_is_made() {
    let world = World::new();
    write_settings(&world, "m.toml", "state_dir = 'state'\noutput = 'file:out'\n\ncoalesce = 5\n");
    for command in ["run", "check"] {
        let (code, stdout, stderr) = run(&world, &[command, "--config", "m.toml", "tree"], &[]);
        assert_eq!((code, &*stdout), (Some(2), ""), "{stderr}");
        assert!(
            stderr.starts_with("error: m.toml:4: coalesce: `5`: expected numbers with the units"),
            "{stderr}"
        );
        let (code, _, stderr) = run(&world, &[command, "tree"], &[("MANYTAIL_FORMAT", "xml")]);
        assert_eq!(
            (code, &*stderr),
            (Some(2), "error: MANYTAIL_FORMAT: `xml`: expected raw, text, json, syslog\n")
        );
    }
    assert!(!world.beside("state").exists() && !world.beside("out").exists());
}

/// Names and times of modification of everything beside the tree and in it.
fn listing(directory: &Path, found: &mut BTreeMap<PathBuf, std::time::SystemTime>) {
    for entry in fs::read_dir(directory).expect("list") {
        let path = entry.expect("an entry").path();
        let metadata = fs::symlink_metadata(&path).expect("stat");
        found.insert(path.clone(), metadata.modified().expect("a time"));
        if metadata.is_dir() {
            listing(&path, found);
        }
    }
}

const CHECKED: &str = "format = 'json'\nstate_dir = 'state'\noutput = 'file:out'\nlabels.cluster = \
    'a'\n[[input]]\npaths = ['tree']\n";

#[test]
fn check_says_each_setting_with_its_source() {
    let world = World::new();
    write_settings(&world, "m.toml", CHECKED);
    let arguments = ["check", "--config", "m.toml", "--pace", "1ms"];
    let (code, stdout, stderr) = run(&world, &arguments, &[("MANYTAIL_RESCAN", "1min")]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    for line in [
        "format                 = \"json\"                       # m.toml:1",
        "pace                   = \"1ms\"                        # command line",
        "rescan                 = \"1min\"                       # environment variable \
        MANYTAIL_RESCAN",
        "coalesce               = \"5ms\"                        # default",
        "paths                  = [\"tree\"]                     # m.toml:6",
        "labels.cluster         = \"a\"                          # m.toml:4",
    ] {
        assert!(stdout.lines().any(|printed| printed == line), "{line:?} is not in\n{stdout}");
    }
    let (code, stdout, stderr) =
        run(&world, &[&arguments[..], &["--report", "json"]].concat(), &[]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    for line in [
        serde_json::json!({"key": "pace", "value": "1ms", "source": "command line"}),
        serde_json::json!({"key": "ignore_older", "value": null, "source": "default"}),
        serde_json::json!({"key": "once", "value": false, "source": "default"}),
        serde_json::json!({"input": 1, "key": "paths", "value": ["tree"], "source": "m.toml:6"}),
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{stdout}");
    }
}

#[test]
fn check_touches_nothing() {
    let world = World::new();
    world.write("a.log", "one\n");
    write_settings(&world, "m.toml", CHECKED);
    let state = |world: &World| {
        let mut found = BTreeMap::new();
        listing(&world.beside(""), &mut found);
        found
    };
    let before = state(&world);
    for more in [&[][..], &["--output=unix:socket"], &["--state-dir=other", "tree"]] {
        let (code, _, stderr) =
            run(&world, &[&["check", "--config", "m.toml"], more].concat(), &[]);
        assert_eq!((code, &*stderr), (Some(0), ""));
        assert_eq!(state(&world), before);
    }
    if !succeeds("strace", &["-f", "true"]) {
        return skip("strace does not work here");
    }
    let trace = world.beside("trace");
    let calls = "trace=open,openat,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,socket,connect,bind,inotify_init1,statx";
    let mut command = Command::new("strace");
    remove_settings(&mut command);
    command
        .args(["-f", "-e", calls, "-o"])
        .arg(&trace)
        .arg(BINARY)
        .args(["check", "--config", "m.toml"]);
    let output =
        command.current_dir(world.beside("")).stdin(Stdio::null()).output().expect("strace");
    assert!(output.status.success());
    let trace = fs::read_to_string(trace).expect("the trace");
    assert!(trace.contains("m.toml"), "{trace}");
    for word in [
        "O_WRONLY", "O_RDWR", "O_CREAT", "mkdir", "unlink", "rename", "socket(", "bind(",
        "connect(", "inotify", "tree", "state", "out\"",
    ] {
        assert!(!trace.contains(word), "{word}: {trace}");
    }
}

#[test]
fn inputs_come_and_go_with_sighup_while_the_others_lose_and_repeat_nothing() {
    let world = World::new();
    for name in ["kept", "removed", "added"] {
        world.mkdir(name);
        world.append(format!("{name}/x.log"), "first\n");
    }
    let tail = from_file(&world, &input(&world, &["kept", "removed"])).start();
    tail.wait_count(2);
    let lines = numbered("line", 0..4_000);
    let mut writer = world.writer("kept/y.log");
    for (round, chunk) in lines.chunks(1_000).enumerate() {
        for part in chunk.chunks(10) {
            std::io::Write::write_all(&mut writer, text(part).as_bytes()).expect("write");
        }
        match round {
            0 => {
                write_settings(
                    &world,
                    "manytail.toml",
                    &(input(&world, &["kept"]) + &input(&world, &["added"])),
                );
                reload(&tail, "settings read again");
                assert_eq!(tail.said("now followed: "), 1, "{}", tail.stderr());
                assert_eq!(tail.said("no longer followed: "), 1, "{}", tail.stderr());
            }
            1 => reload(&tail, "settings read again: no change"),
            _ => {}
        }
    }
    tail.wait("the first line of what was added", || {
        tail.lines_by_file().contains_key("added/x.log")
    });
    world.append("removed/x.log", "unseen\n");
    world.append("added/x.log", "second\n");
    let line = |line: &str| line.to_owned();
    tail.expect_files(&BTreeMap::from([
        (line("kept/x.log"), vec![line("first")]),
        (line("kept/y.log"), lines),
        (line("removed/x.log"), vec![line("first")]),
        (line("added/x.log"), vec![line("first"), line("second")]),
    ]));
    tail.terminate();
}

#[test]
fn a_bad_file_at_sighup_changes_nothing_and_the_output_is_opened_again() {
    let world = World::new();
    let output = world.beside("out");
    let tail = from_file(&world, &format!("paths = ['{}']\n", world.tree.display()))
        .output_file(&output)
        .start()
        .armed();
    write_settings(&world, "manytail.toml", "paths = ['/nowhere']\n\ncoalesce = 5\n");
    fs::rename(&output, world.beside("old")).expect("mv");
    reload(&tail, "the settings stay as they are");
    assert_eq!(tail.warned("manytail.toml:3: coalesce: `5`"), 1, "{}", tail.stderr());
    wait_for("the new file", || output.exists());
    world.append("a.log", "one\n");
    wait_for("the line in it", || {
        fs::read_to_string(&output).expect("read").ends_with("/a.log\tone\n")
    });
    tail.terminate();
}

#[test]
fn settings_that_can_change_while_running_do_so_at_sighup() {
    let world = World::new();
    let paths = format!("paths = ['{}']\nformat = 'raw'\n", world.tree.display());
    let tail = from_file(
        &world,
        &(paths.clone() + "partial_after = 0\nmax_line_bytes = '1MiB'\nlog_level = 'warn'\n"),
    )
    .raw()
    .start()
    .armed();
    world.append("a.log", "unfinished");
    tail.settled();
    let before = tail.count();
    assert_eq!(tail.said("INFO"), 0, "{}", tail.stderr());
    write_settings(
        &world,
        "manytail.toml",
        &(paths + "partial_after = '100ms'\nmax_line_bytes = 4\n"),
    );
    reload(
        &tail,
        "settings read again: max_line_bytes 1MiB -> 4, partial_after 0 -> 100ms, log_level warn \
        -> info",
    );
    tail.wait_count(before + 3);
    let lines = tail.lines();
    assert_eq!(lines[before..], ["unfi", "nish", "ed"]);
    tail.terminate();
}

#[test]
fn a_file_that_rests_after_a_read_rests_no_longer_than_the_new_coalesce() {
    let world = World::new();
    let paths = format!("paths = ['{}']\nadaptive = false\n", world.tree.display());
    let tail = from_file(&world, &(paths.clone() + "coalesce = '1h'\n")).start().armed();
    world.append("a.log", "one\n");
    tail.wait_line("one");
    world.append("a.log", "two\n");
    tail.settled();
    assert!(!tail.lines().contains(&"two".to_owned()));
    write_settings(&world, "manytail.toml", &paths);
    reload(&tail, "coalesce 1h -> 5ms");
    tail.expect(&[("a.log", &["one", "two"])]);
    tail.terminate();
}

#[test]
fn a_new_ignore_older_is_asked_of_files_seen_later() {
    let world = World::new();
    let paths = format!("paths = ['{}']\n", world.tree.display());
    let tail = from_file(&world, &paths).start().armed();
    let bring = |name: &str| {
        fs::write(world.beside("moving"), "one\n").expect("write");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
        world.set_modified("../moving", old);
        world.rename("../moving", name);
    };
    bring("a.log");
    tail.wait_line("one");
    write_settings(&world, "manytail.toml", &(paths + "ignore_older = '1h'\n"));
    reload(&tail, "ignore_older off -> 1h");
    bring("b.log");
    tail.settled();
    world.append("b.log", "two\n");
    tail.expect(&[("a.log", &["one"]), ("b.log", &["two"])]);
    tail.terminate();
}

#[test]
fn a_new_shutdown_timeout_counts_for_the_next_sigterm() {
    let world = World::new();
    let paths = format!("paths = ['{}']\n", world.tree.display());
    let tail = from_file(&world, &(paths.clone() + "shutdown_timeout = '1h'\n")).start().armed();
    write_settings(&world, "manytail.toml", &(paths + "shutdown_timeout = '10ms'\n"));
    reload(&tail, "shutdown_timeout 1h -> 10ms");
    tail.block();
    world.append("a.log", text(&flood()));
    tail.settled();
    tail.signal(Signal::SIGTERM);
    tail.wait("the exit", || tail.has_exited());
    tail.unblock();
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
}

#[test]
fn a_new_commit_interval_makes_durable_what_the_old_one_would_have_kept_waiting() {
    let world = World::new();
    let memory = Memory::new(&world);
    let common = format!(
        "paths = ['{}']\nstate_dir = '{}'\n",
        world.tree.display(),
        memory.directory.display()
    );
    let tail = from_file(&world, &(common.clone() + "commit_interval = '1h'\n")).start();
    world.append("a.log", "one\n");
    tail.wait_line("one");
    write_settings(&world, "manytail.toml", &(common + "commit_interval = '50ms'\n"));
    reload(&tail, "commit_interval 1h -> 50ms");
    memory.wait_durable(&tail);
    tail.kill();
    world.append("a.log", "two\n");
    let tail = world
        .run()
        .paths(&[] as &[&str])
        .with(&["--config".as_ref(), world.beside("manytail.toml").as_os_str()])
        .start();
    tail.expect(&[("a.log", &["two"])]);
    tail.terminate();
}

#[test]
fn a_sweep_that_was_off_begins_at_sighup() {
    let world = World::new();
    world.mkdir("d");
    let paths = format!("paths = ['{}']\n", world.at("d").display());
    let tail = from_file(&world, &(paths.clone() + "rescan = 0\n")).start();
    world.append("d/a.log", "one\n");
    tail.wait_count(1);
    // Written through a name outside the followed trees: no event comes.
    world.hard_link("d/a.log", "b.log");
    world.append("b.log", "two\n");
    tail.settled();
    assert_eq!(tail.count(), 1);
    write_settings(&world, "manytail.toml", &(paths + "rescan = '200ms'\n"));
    reload(&tail, "rescan 0 -> 200ms");
    tail.expect(&[("d/a.log", &["one", "two"])]);
    tail.terminate();
}

#[test]
fn settings_that_need_a_restart_are_named_with_both_values_and_stay() {
    let world = World::new();
    let paths = format!("paths = ['{}']\n", world.tree.display());
    let tail = from_file(&world, &paths).start().armed();
    write_settings(
        &world,
        "manytail.toml",
        &(paths + "format = 'json'\nfollow_symlinks = true\npace = '1ms'\n"),
    );
    for _ in 0..2 {
        let warning = "settings that need a restart keep their value: format text -> json, \
            follow_symlinks false -> true";
        reload(&tail, warning);
    }
    tail.wait("both readings to be told", || tail.said("settings read again: ") == 2);
    assert_eq!(tail.said("settings read again: pace 500us -> 1ms"), 1, "{}", tail.stderr());
    world.append("a.log", "one\n");
    tail.expect(&[("a.log", &["one"])]);
    tail.terminate();
}

#[test]
fn what_came_while_nothing_ran_is_new_also_where_inputs_overlap() {
    let world = World::new();
    world.mkdir("jobs");
    world.append("jobs/1.out", "before the first start\n");
    let memory = Memory::new(&world);
    let at_end = |directory: &str, glob: &str| {
        input(&world, &[directory]) + &format!("include = ['{glob}']\nfrom = 'end'\n")
    };
    let settings = format!("state_dir = '{}'\n", memory.directory.display())
        + &at_end("", "*.log")
        + &at_end("jobs", "*.out");
    let tail = from_file(&world, &settings).start();
    tail.wait("a line after the first scan", || {
        world.append("jobs/1.out", "more\n");
        tail.count() > 0
    });
    tail.terminate();
    for name in ["jobs/2.out", "jobs/2.log", "3.log"] {
        world.append(name, format!("new in {name}\n"));
    }
    let tail = from_file(&world, &settings).start();
    let is_there = |name: &&str| tail.lines().contains(&format!("new in {name}"));
    tail.wait("the new files", || ["jobs/2.out", "jobs/2.log", "3.log"].iter().all(is_there));
    tail.terminate();
}

#[test]
fn records_name_the_host_and_the_labels_of_the_command_line_also_after_sighup() {
    let world = World::new();
    world.append("a.log", "one\n");
    let out = world.beside("out.json");
    let text = |host: &str| {
        let (tree, out) = (world.tree.display(), out.display());
        format!(
            "format = 'json'\nhost = {host}\noutput = 'file:{out}'\npaths = \
            ['{tree}']\n[labels]\nin = '${{CLUSTER:-east}}'\n"
        )
    };
    let tail = from_file(&world, &text("'node7'")).with(&["--label", "of=me"]).start();
    let records = || -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&out).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    wait_for("the first record", || records().len() == 1);
    write_settings(&world, "manytail.toml", &text("true"));
    reload(&tail, "settings read again: host node7 -> true");
    world.append("a.log", "two\n");
    wait_for("the second record", || records().len() == 2);
    let own = nix::unistd::gethostname().expect("it has a name").to_string_lossy().into_owned();
    let told: Vec<(String, String, String)> = records()
        .iter()
        .map(|record| {
            [&record["host"], &record["labels"]["in"], &record["labels"]["of"]]
                .map(|value| value.as_str().unwrap_or_default().to_owned())
                .into()
        })
        .collect();
    let wanted = |host: &str| (host.to_owned(), "east".to_owned(), "me".to_owned());
    assert_eq!(told, [wanted("node7"), wanted(&own)]);
    let first = fs::read_to_string(&out).expect("the output");
    assert!(
        first.starts_with("{\"time\":\"") && first.contains("Z\",\"host\":\"node7\",\"path\":"),
        "{first}"
    );
}

#[test]
fn records_with_a_host_are_known_again_after_a_kill() {
    let world = World::new();
    let memory = Memory::new(&world);
    let out = world.beside("out.json");
    let uri = format!("file:{}", out.display());
    let lines = numbered("line", 0..100);
    let run =
        |memory: Run| memory.with(&["--format", "json", "--host=n", "--label", "a=b"]).output(&uri);
    let count = || fs::read_to_string(&out).unwrap_or_default().lines().count();
    let tail = run(memory.run_without_commits()).start();
    world.append("a.log", text(&lines));
    wait_for("the lines", || count() == 100);
    tail.settled();
    tail.kill();
    let tail = run(memory.run()).start();
    world.append("a.log", "after\n");
    wait_for("the last line", || count() > 100);
    tail.settled();
    assert_eq!(count(), 101, "none comes again");
    tail.terminate();
}
