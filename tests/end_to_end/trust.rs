//! The status reports everything that is not read: missing PATHs, globs that match nothing, inputs
//! that shadow each other, files that cannot be read.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{BINARY, Run, Tail, remove_settings, wait_for};
use crate::insight::{answers, socket, status, stdout, with_socket};
use crate::records::Format;
use crate::scrape::{get, samples};
use crate::state::{Memory, OutputFile};
use crate::world::{World, flood, is_root, numbered, skip, text};

/// A user who cannot read files with mode 0, also when the tests run as root.
const USER: u32 = 65_534;

fn start(world: &World, run: Run) -> Tail {
    let tail = with_socket(world, run).start();
    answers(world);
    tail
}

/// Waits until `status` exits with this code and prints this.
#[track_caller]
fn expect_status(world: &World, code: i32, word: &str) {
    let mut last = (None, String::new());
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let output = status(world, &[]);
        last = (output.status.code(), stdout(&output));
        if last.0 == Some(code) && last.1.contains(word) {
            return;
        }
    }
    panic!("status does not exit with {code} and say {word:?}: {last:?}");
}

fn metric(world: &World, name: &str) -> f64 {
    samples(&get(&socket(world), "/metrics").body)[name]
}

/// `status --list KIND`: path below the tree and reason.
fn list(world: &World, kind: &str) -> Vec<(String, String)> {
    let output = status(world, &["--list", kind]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<(String, String)> = stdout(&output)
        .lines()
        .map(|line| line.split_once('\t').unwrap_or_else(|| panic!("no TAB: {line}")))
        .map(|(path, why)| {
            (
                path.trim_start_matches(world.tree.to_str().expect("UTF-8"))
                    .trim_start_matches('/')
                    .to_owned(),
                why.to_owned(),
            )
        })
        .collect();
    lines
}

fn names(list: &[(String, String)]) -> BTreeSet<&str> {
    list.iter().map(|(path, _)| path.as_str()).collect()
}

fn settings(world: &World, text: &str) -> String {
    let path = world.beside("manytail.toml");
    fs::write(&path, text).expect("write");
    path.to_str().expect("UTF-8").to_owned()
}

/// A run with a settings file and nothing else.
fn configured(world: &World, text: &str) -> Run {
    let path = settings(world, text);
    world.run().json().paths(&[] as &[&str]).with(&["--config", &path])
}

fn check(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    remove_settings(&mut command);
    let output = command.arg("check").args(arguments).output().expect("check");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_path_that_is_missing_is_no_green_light() {
    let world = World::new();
    world.append("a.log", "one\n");
    let missing = world.beside("gird");
    let tail = start(&world, world.run().paths(&[&world.tree, &missing]));
    expect_status(&world, 1, "nothing is found at PATH");
    assert!((metric(&world, "manytail_missing_paths") - 1.0).abs() < 0.5);
    fs::create_dir(&missing).expect("mkdir");
    fs::write(missing.join("b.log"), "two\n").expect("write");
    tail.wait_line("two");
    expect_status(&world, 0, "keeping up");
    assert!(metric(&world, "manytail_missing_paths") < 0.5);
}

#[test]
fn a_glob_given_as_a_path_is_told_to_be_none() {
    let world = World::new();
    let glob = world.at("*/logs");
    let glob = glob.to_str().expect("UTF-8");
    let tail = start(&world, world.run().paths(&[glob]));
    expect_status(&world, 1, "a PATH is not a glob");
    assert_eq!(tail.warned("if a glob is meant, it is no glob"), 1, "{}", tail.stderr());
    let (code, stderr) = check(&[glob]);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("it is no glob"), "{stderr}");
}

#[test]
fn globs_that_match_nothing_are_no_green_light_until_a_file_comes() {
    let world = World::new();
    world.append("a.log", "one\n");
    let tail = start(&world, world.run().with(&["--include", "*.lgo"]));
    expect_status(&world, 1, "no file was found below");
    assert!((metric(&world, "manytail_inputs_without_files") - 1.0).abs() < 0.5);
    world.append("b.lgo", "two\n");
    tail.wait_line("two");
    expect_status(&world, 0, "keeping up");
    // Jobs come and go: an empty tree is not an alarm.
    world.remove("b.lgo");
    wait_for("the file to be gone", || metric(&world, "manytail_files{state=\"idle\"}") < 0.5);
    expect_status(&world, 0, "keeping up");
}

#[test]
fn the_input_that_never_gets_a_file_is_named_beside_one_that_does() {
    let world = World::new();
    world.append("a.log", "one\n");
    let other = world.beside("other");
    fs::create_dir(&other).expect("mkdir");
    let text = format!("[[input]]\npaths = [{:?}]\n[[input]]\npaths = [{other:?}]\n", world.tree);
    let _tail = start(&world, configured(&world, &text));
    expect_status(&world, 1, &format!("no file was found below {}", other.display()));
    fs::write(other.join("b.log"), "two\n").expect("write");
    expect_status(&world, 0, "keeping up");
}

#[test]
fn a_glob_that_begins_with_its_path_is_refused_with_the_one_that_works() {
    let world = World::new();
    let tree = world.tree.to_str().expect("UTF-8");
    for option in ["--include", "--exclude"] {
        let glob = format!("{tree}/d1/*.log");
        let (code, stderr) = check(&[option, &glob, tree]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("write `d1/*.log`"), "{stderr}");
    }
    let (code, stderr) = check(&["--include", "/d1/*.log", tree]);
    assert_eq!(code, Some(0), "a slash at the front is PATH itself: {stderr}");
}

/// A run with labels, which the records of other tests do not have.
fn labelled(world: &World, text: &str) -> Tail {
    start(
        world,
        configured(world, text).output(&format!("file:{}", world.beside("out.json").display())),
    )
}

/// The label `of` that each line got.
fn labels(world: &World) -> BTreeSet<(String, String)> {
    let of = |line: &str| {
        let json: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        (
            text("line").unwrap_or_default(),
            json["labels"]["of"].as_str().unwrap_or_default().to_owned(),
        )
    };
    fs::read_to_string(world.beside("out.json"))
        .unwrap_or_default()
        .lines()
        .filter(|line| line.ends_with('}'))
        .map(of)
        .collect()
}

#[test]
fn of_inputs_that_lie_within_each_other_the_innermost_has_the_file_in_whatever_order_and_spelling()
{
    for is_inner_first in [false, true] {
        let world = World::new();
        world.mkdir("d/inner");
        std::os::unix::fs::symlink(world.at("d"), world.beside("d-link")).expect("ln -s");
        world.append("d/a.log", "outer\n");
        world.append("d/inner/b.log", "inner\n");
        world.append("d/inner/c.txt", "left to the outer\n");
        let outer =
            format!("[[input]]\npaths = [{:?}]\nlabels = {{ of = \"outer\" }}\n", world.tree);
        // By another, shorter way.
        let inner = format!(
            "[[input]]\npaths = [{:?}]\ninclude = [\"*.log\"]\nlabels = {{ of = \"inner\" }}\n",
            world.beside("d-link/inner")
        );
        let text = if is_inner_first { [inner, outer].concat() } else { [outer, inner].concat() };
        let tail = labelled(&world, &text);
        wait_for("the lines", || labels(&world).len() >= 3);
        let wanted = [("outer", "outer"), ("inner", "inner"), ("left to the outer", "outer")];
        let wanted: BTreeSet<(String, String)> =
            wanted.iter().map(|(line, of)| ((*line).to_owned(), (*of).to_owned())).collect();
        assert_eq!(labels(&world), wanted, "{is_inner_first}");
        expect_status(&world, 0, "keeping up");
        tail.terminate();
    }
}

#[test]
fn a_path_that_is_a_file_within_another_one_is_the_innermost() {
    for is_inner_first in [false, true] {
        let world = World::new();
        world.append("a.log", "outer\n");
        world.append("x.log", "inner\n");
        let outer =
            format!("[[input]]\npaths = [{:?}]\nlabels = {{ of = \"outer\" }}\n", world.tree);
        let inner = format!(
            "[[input]]\npaths = [{:?}]\nlabels = {{ of = \"inner\" }}\n",
            world.at("x.log")
        );
        let text = if is_inner_first { [inner, outer].concat() } else { [outer, inner].concat() };
        let tail = labelled(&world, &text);
        expect_status(&world, 0, "keeping up");
        world.append("x.log", "more\n");
        wait_for("the lines", || labels(&world).len() >= 3);
        assert!(
            labels(&world).contains(&("more".to_owned(), "inner".to_owned())),
            "{is_inner_first}: {:?}",
            labels(&world)
        );
        tail.terminate();
    }
}

#[test]
fn an_inner_path_that_appears_later_has_its_files() {
    let world = World::new();
    world.append("a.log", "outer\n");
    let text = format!(
        "[[input]]\npaths = [{:?}]\nlabels = {{ of = \"outer\" }}\n[[input]]\npaths = \
        [{:?}]\nlabels = {{ of = \"inner\" }}\n",
        world.tree,
        world.at("inner")
    );
    let tail = labelled(&world, &text);
    wait_for("the first line", || !labels(&world).is_empty());
    world.mkdir("inner");
    world.append("inner/b.log", "one\n");
    expect_status(&world, 0, "keeping up");
    world.append("inner/b.log", "two\n");
    wait_for("the last line", || labels(&world).iter().any(|(line, _)| line == "two"));
    assert!(
        labels(&world).contains(&("two".to_owned(), "inner".to_owned())),
        "{:?}",
        labels(&world)
    );
    tail.terminate();
}

#[test]
fn a_path_that_is_given_twice_is_told_with_both_places() {
    let world = World::new();
    let tree = world.tree.to_str().expect("UTF-8");
    let path = settings(
        &world,
        &format!(
            "[[input]]\npaths = [\"{tree}\"]\n\n[[input]]\npaths = [\"{tree}/\"]\ninclude = \
            [\"*.log\"]\n"
        ),
    );
    let (code, stderr) = check(&["--config", &path]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(&format!("at {path}:2 and {path}:5")), "{stderr}");
    // Inputs that divide the files of one directory by name are not a mistake.
    let both = format!(
        "[[input]]\npaths = [\"{tree}\"]\ninclude = [\"*.out\"]\n[[input]]\npaths = \
        [\"{tree}\"]\ninclude = [\"*.err\"]\n"
    );
    let (code, stderr) = check(&["--config", &settings(&world, &both)]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[test]
fn once_exits_with_1_and_the_count_if_something_could_not_be_read() {
    if !is_root() {
        return skip("running as another user needs root");
    }
    let world = World::new();
    world.append("good.log", "one\n");
    world.append("bad.log", "hidden\n");
    world.append("bad2.log", "hidden\n");
    world.chmod("bad.log", 0);
    world.chmod("bad2.log", 0);
    world.mkdir("closed");
    world.append("closed/in.log", "hidden\n");
    world.chmod("closed", 0);
    let missing = world.beside("missing");
    let memory = Memory::at(&world, world.beside("none"));
    let run = || world.run().user(USER).with(&["--once"]).paths(&[&world.tree, &missing]);
    let finished = run().finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("could not be read: 2 files, 1 directory, 1 PATH"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("waiting for it"), "{}", finished.stderr);
    assert_eq!(finished.lines["good.log"], ["one"]);
    drop(memory);
    // A file that a setting excludes is not missing.
    let finished = world
        .run()
        .user(USER)
        .with(&["--once", "--exclude", "bad*", "--exclude", "closed"])
        .finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
}

#[test]
fn once_that_could_not_read_all_commits_what_it_delivered() {
    let world = World::new();
    let (memory, output) = (Memory::new(&world), OutputFile::new(&world, Format::Json));
    world.append("a.log", "one\n");
    let paths = [world.tree.clone(), world.beside("missing")];
    let finished = output.of(memory.run().with(&["--once"]).paths(&paths)).finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    world.append("a.log", "two\n");
    let finished = output.of(memory.run().with(&["--once"])).finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert_eq!(output.lines(), ["one", "two"]);
}

#[test]
fn status_names_what_cannot_be_read_with_its_errors_and_lists_all_of_it() {
    if !is_root() {
        return skip("running as another user needs root");
    }
    let world = World::new();
    for number in 0..150 {
        let name = format!("bad{number}.log");
        world.append(&name, "hidden\n");
        world.chmod(&name, 0);
    }
    for number in 0..100 {
        let name = format!("closed{number}");
        world.mkdir(&name);
        world.chmod(&name, 0);
    }
    world.append("good.log", "one\n");
    let directory = world.beside("run");
    fs::create_dir(&directory).expect("mkdir");
    std::os::unix::fs::chown(&directory, Some(USER), Some(USER)).expect("chown");
    let control = directory.join("control.sock");
    let tail = world
        .run()
        .user(USER)
        .with(&["--control-socket", control.to_str().expect("UTF-8")])
        .start();
    std::os::unix::fs::symlink(&control, socket(&world)).expect("ln -s");
    tail.wait_line("one");
    expect_status(&world, 1, "100 directories and 150 files cannot be read");
    let shown = stdout(&status(&world, &[]));
    assert!(shown.contains("Permission denied"), "{shown}");
    let listed = list(&world, "unreadable");
    assert_eq!(names(&listed).len(), 250, "{listed:?}");
    assert!(listed.iter().all(|(_, why)| why.contains("Permission denied")), "{listed:?}");
    let json = stdout(&status(&world, &["--list", "unreadable", "--format", "json"]));
    let paths = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["path"].to_string());
    assert_eq!(paths.collect::<BTreeSet<_>>().len(), 250, "{json}");
    for number in 0..150 {
        world.chmod(format!("bad{number}.log"), 0o644);
    }
    wait_for("the files to be read", || list(&world, "unreadable").len() == 100);
}

#[test]
fn a_file_that_could_never_be_read_is_counted_as_lost_when_it_goes() {
    if !is_root() {
        return skip("running as another user needs root");
    }
    let world = World::new();
    let directory = world.beside("run");
    fs::create_dir(&directory).expect("mkdir");
    std::os::unix::fs::chown(&directory, Some(USER), Some(USER)).expect("chown");
    let control = directory.join("control.sock");
    let tail = world
        .run()
        .user(USER)
        .with(&["--control-socket", control.to_str().expect("UTF-8")])
        .start();
    std::os::unix::fs::symlink(&control, socket(&world)).expect("ln -s");
    answers(&world);
    world.append("partly.log", "one\n");
    tail.wait_line("one");
    tail.at_rest();
    for name in ["never.log", "moved.log"] {
        world.append(name, "hidden\n");
        world.chmod(name, 0);
    }
    world.chmod("partly.log", 0);
    world.append("partly.log", "hidden\n");
    wait_for("all to be unreadable", || list(&world, "unreadable").len() == 3);
    world.remove("never.log");
    world.remove("partly.log");
    fs::rename(world.at("moved.log"), world.beside("moved.log")).expect("mv");
    wait_for("the losses", || names(&list(&world, "lost")).len() == 3);
    assert_eq!(tail.warned("perhaps before it was read to its end"), 3, "{}", tail.stderr());
    let found = stdout(&status(&world, &[world.at("never.log").to_str().expect("UTF-8")]));
    assert!(found.contains("what followed is lost"), "{found}");
}

#[test]
fn settings_that_a_restart_would_refuse_are_no_green_light() {
    let world = World::new();
    world.append("a.log", "one\n");
    let text = format!("paths = [{:?}]\n", world.tree);
    let tail = start(&world, configured(&world, &format!("format = 'json'\n{text}")));
    expect_status(&world, 0, "keeping up");
    settings(&world, &format!("bogus = 1\n{text}"));
    tail.signal(nix::sys::signal::Signal::SIGHUP);
    expect_status(&world, 1, "a restart would refuse them");
    assert!(metric(&world, "manytail_settings_bad") > 0.5);
    settings(&world, &format!("format = 'json'\n{text}"));
    tail.signal(nix::sys::signal::Signal::SIGHUP);
    expect_status(&world, 0, "keeping up");
}

#[test]
fn status_lists_what_is_left_out_and_why() {
    let world = World::new();
    world.append("a.log", "one\n");
    world.append("a.log.gz", "packed");
    world.append("notes.txt", "a note\n");
    world.mkdir("tmp/deep");
    world.append("tmp/deep/x.log", "hidden\n");
    world.fifo("pipe.log");
    world.symlink("a.log", "link.log");
    for number in 0..700 {
        world.append(format!("many{number}.txt"), "a note\n");
    }
    let tail = start(&world, world.run().with(&["--include", "*.log", "--exclude", "tmp/"]));
    tail.wait_line("one");
    let listed = list(&world, "excluded");
    let why = |name: &str| {
        listed
            .iter()
            .find(|(path, _)| path == name)
            .map(|(_, why)| why.as_str())
            .unwrap_or_default()
    };
    assert!(why("a.log.gz").contains("excluded by *.gz"), "{listed:?}");
    assert!(why("notes.txt").contains("matches no --include"), "{listed:?}");
    assert!(why("tmp").contains("excluded by tmp/"), "{listed:?}");
    assert!(why("pipe.log").contains("no regular file"), "{listed:?}");
    assert!(why("link.log").contains("symbolic link"), "{listed:?}");
    assert_eq!(names(&listed).len(), 705, "each once, and nothing else");
    // A list that is not read to its end keeps nothing open.
    let page = get(&socket(&world), "/list?kind=excluded&cursor=0").body;
    let next = serde_json::from_str::<Value>(&page).expect("JSON")["next"]
        .as_u64()
        .expect("more is to come");
    wait_for("the directory to be closed", || {
        !tail.process.open_files().iter().any(|path| path.ends_with("/tree"))
    });
    assert_eq!(get(&socket(&world), &format!("/list?kind=excluded&cursor={next}")).code(), 410);
    for bad in ["/list", "/list?kind=none&cursor=0", "/list?kind=lost&cursor=x"] {
        assert_eq!(get(&socket(&world), bad).code(), 400, "{bad}");
    }
}

#[test]
fn status_lists_the_files_that_wait_for_the_output() {
    let world = World::in_memory();
    world.append("flood.log", text(&flood()));
    let tail = with_socket(&world, world.run()).blocked().start();
    answers(&world);
    wait_for("the file to be listed", || names(&list(&world, "blocked")).contains("flood.log"));
    assert!(list(&world, "blocked")[0].1.contains("takes nothing"));
    tail.unblock();
    wait_for("the list to be empty", || list(&world, "blocked").is_empty());
}

#[test]
fn status_lists_the_files_of_which_something_was_lost() {
    let world = World::new();
    let tail = start(&world, world.run().with(&["--partial-after", "0"])).armed();
    for name in numbered("torn", 0..30) {
        world.append(format!("{name}.log"), "whole\nunfinished");
    }
    tail.wait_count(30);
    tail.at_rest();
    for name in numbered("torn", 0..30) {
        world.truncate(format!("{name}.log"), 0);
    }
    wait_for("the losses", || names(&list(&world, "lost")).len() == 30);
    let (_, why) = &list(&world, "lost")[0];
    assert!(why.contains("in the middle of a line (10 bytes of an unfinished line)"), "{why}");
}

#[test]
fn offsets_that_cannot_be_stored_are_told_with_the_error() {
    if !is_root() {
        return skip("mounts need root");
    }
    let world = World::new();
    let disk = world.beside("disk");
    fs::create_dir(&disk).expect("mkdir");
    let mount = |arguments: &[&str]| {
        Command::new("mount")
            .args(arguments)
            .arg(&disk)
            .status()
            .is_ok_and(|status| status.success())
    };
    assert!(mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"]));
    let memory = Memory::at(&world, disk.join("state"));
    let tail = start(&world, memory.run());
    world.append("a.log", "one\n");
    tail.wait_line("one");
    fs::write(disk.join("fill"), vec![0; 1 << 20]).expect_err("it is full");
    let mut number = 0;
    wait_for("status to say so", || {
        number += 1;
        world.append(format!("{number}.log"), "more\n");
        let output = status(&world, &[]);
        output.status.code() == Some(1) && stdout(&output).contains("No space left on device")
    });
    fs::remove_file(disk.join("fill")).expect("rm");
    expect_status(&world, 0, "keeping up");
    tail.terminate();
    assert!(
        Command::new("umount").arg("-l").arg(&disk).status().is_ok_and(|status| status.success())
    );
}

#[test]
fn tap_shows_records_as_they_pass_and_nothing_when_none_do() {
    let world = World::new();
    world.append("a.log", "before\n");
    let tail = start(&world, world.run());
    tail.wait_line("before");
    let tap = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .arg("tap")
            .arg("--control-socket")
            .arg(socket(&world))
            .args(arguments)
            .stdout(std::process::Stdio::piped());
        command.spawn().expect("tap")
    };
    let quiet = tap(&["--for", "300ms"]).wait_with_output().expect("tap");
    assert_eq!((quiet.status.code(), quiet.stdout.len()), (Some(1), 0));
    let running = tap(&["-n", "3", "--for", "20s"]);
    let mut number = 0;
    let mut running = Some(running);
    wait_for("three records", || {
        world.append("a.log", format!("line {number}\n"));
        number += 1;
        running.as_mut().is_some_and(|child| child.try_wait().expect("wait").is_some())
    });
    let done = running.take().expect("it ran").wait_with_output().expect("tap");
    let lines: Vec<String> =
        String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect();
    assert!(done.status.code() == Some(0) && lines.len() == 3, "{lines:?}");
    let path = world.at("a.log");
    assert!(
        lines.iter().all(|line| line.starts_with(&format!("{}\tline ", path.display()))),
        "{lines:?}"
    );
    // A copy: all of them are in the output, too.
    tail.wait_count(1 + number);
}

#[test]
fn tap_shows_no_line_to_whoever_is_neither_root_nor_the_user_of_the_run() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    use std::os::unix::process::CommandExt;
    for format in ["text", "json"] {
        let world = World::new();
        let tail =
            with_socket(&world, world.run().output("file:/dev/null").with(&["--format", format]))
                .start();
        answers(&world);
        fs::set_permissions(socket(&world), std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .expect("chmod");
        let binary = crate::harness::binary_for(USER, &world.tree);
        let tap = |user: u32| {
            let mut command = Command::new(&binary);
            command
                .arg("tap")
                .arg("--control-socket")
                .arg(socket(&world))
                .args(["-n", "1", "--for", "20s"])
                .uid(user)
                .gid(user);
            let mut running =
                Some(command.stdout(std::process::Stdio::piped()).spawn().expect("tap"));
            wait_for("a record", || {
                world.append("a.log", "secret\n");
                running.as_mut().is_some_and(|child| child.try_wait().expect("wait").is_some())
            });
            stdout(&running.take().expect("it ran").wait_with_output().expect("tap"))
        };
        let (own, others) = (tap(0), tap(USER));
        assert!(own.contains("secret") && own.contains("a.log"), "{own}");
        assert!(
            !others.contains("secret") && others.contains("a.log") && others.contains('6'),
            "{others}"
        );
        tail.terminate();
    }
}

#[test]
fn a_run_says_what_it_does_and_when_it_is_ready_and_once_says_nothing() {
    let world = World::new();
    world.append("a.log", "one\n");
    let memory = Memory::new(&world);
    let tail = memory.run().start();
    tail.wait_said("ready: nothing that is written from now on is missed");
    let started = tail.stderr();
    let started = started.lines().find(|line| line.contains("started")).expect("a line");
    assert!(
        started.contains(world.tree.to_str().expect("UTF-8")) && started.contains("offsets=0"),
        "{started}"
    );
    tail.wait_line("one");
    tail.terminate();
    let tail = memory.run().start();
    tail.wait_said("offsets=1");
    tail.terminate();
    let once = world.run().with(&["--once"]).finish();
    assert_eq!(once.stderr, "");
}

#[test]
fn a_service_without_a_state_directory_is_warned_that_a_restart_repeats_all() {
    let world = World::new();
    let words = "a restart delivers all logs again";
    let tail = world.run().under(&["env", "INVOCATION_ID=1"]).start();
    tail.wait_said("ready");
    assert_eq!(tail.warned(words), 1);
    for run in [
        world.run(),
        world.run().under(&["env", "INVOCATION_ID=1"]).with(&["--from", "end"]),
        Memory::new(&world).run(),
    ] {
        let tail = run.start();
        tail.wait_said("ready");
        assert_eq!(tail.warned(words), 0, "{}", tail.stderr());
    }
}

#[test]
fn what_is_meant_is_told_to_whoever_forgets_run_or_file() {
    let said = |arguments: &[&str]| {
        let output = Command::new(BINARY).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(said(&["/srv/jobs"]).contains("manytail run /srv/jobs"));
    assert!(said(&["logs"]).contains("manytail run logs"));
    assert!(said(&["run", "-o", "out.json", "jobs"]).contains("did you mean file:out.json?"));
}
