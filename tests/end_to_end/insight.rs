//! The state of a running daemon: `status`, `status FILE`, `top` and the progress line, the last
//! two on a pseudo-terminal.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{BINARY, Run, Tail, wait_for};
use crate::scrape::{Answer, connect, get, read_all};
use crate::terminal::Terminal;
use crate::world::{World, flood, is_root, make_fifo, skip, text};

const USER: u32 = 65_534;
const STRANGER: u32 = 2_003;

pub(crate) fn socket(world: &World) -> PathBuf {
    world.beside("control.sock")
}

/// A run with a control socket.
pub(crate) fn with_socket(world: &World, run: Run) -> Run {
    run.with(&["--control-socket", socket(world).to_str().expect("a plain path")])
}

/// `manytail status ...`.
pub(crate) fn status(world: &World, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .arg("status")
        .arg("--control-socket")
        .arg(socket(world))
        .args(args)
        .current_dir(world.beside("."));
    command.env_remove("RUNTIME_DIRECTORY").output().expect("status")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The answer of `status FILE`, in json.
fn file(world: &World, path: impl AsRef<Path>) -> Value {
    let output =
        status(world, &["--format", "json", path.as_ref().to_str().expect("a plain path")]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
}

/// Waits until a file has this state; the reason must contain `word`, and the exit code must say
/// whether everything is well.
#[track_caller]
fn expect_state(world: &World, path: impl AsRef<Path>, state: &str, word: &str, is_well: bool) {
    assert!(!word.is_empty(), "every reason is in every reason: name some of it");
    let path = path.as_ref().to_owned();
    let mut last = Value::Null;
    let deadline = Instant::now() + Duration::from_secs(20);
    while last["state"] != state && Instant::now() < deadline {
        last = file(world, &path);
    }
    assert_eq!(last["state"], state, "{}: {last}", path.display());
    assert!(last["why"].as_str().is_some_and(|why| why.contains(word)), "{word:?}: {last}");
    let code = status(world, &[path.to_str().expect("a plain path")]).status.code();
    assert_eq!(code, Some(i32::from(!is_well)), "{last}");
}

/// Waits until the daemon answers.
#[track_caller]
pub(crate) fn answers(world: &World) {
    wait_for("an answer", || status(world, &["/"]).status.code() != Some(3));
}

fn start(world: &World, args: &[&str]) -> Tail {
    with_socket(world, world.run().with(args)).start().armed()
}

#[test]
fn status_of_a_daemon_that_keeps_up_exits_with_0_and_fits_a_screen() {
    let world = World::new();
    world.append("a.log", "one\ntwo\n");
    let tail = start(&world, &[]);
    let output = status(&world, &[]);
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.lines().next().is_some_and(
        |line| line.contains("keeping up") && line.contains(&tail.process.0.to_string())
    ));
    assert!(shown.lines().count() <= 24, "{shown}");
    for subject in [
        "inputs",
        "rates",
        "backlog",
        "files",
        "directories",
        "output",
        "delivery",
        "offsets",
        "lost",
        "so far",
        "process",
    ] {
        assert!(shown.lines().any(|line| line.starts_with(subject)), "{subject}: {shown}");
    }
    assert!(
        shown.contains(world.tree.to_str().unwrap()) && shown.contains("stdout: takes records"),
        "{shown}"
    );
    let output = status(&world, &["--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&json["keeps_up"], &json["status"]["about"]["pid"]),
        (&true.into(), &tail.process.0.into())
    );
    assert_eq!(
        output.stdout.iter().filter(|&&byte| byte == b'\n').count(),
        1,
        "one object on one line"
    );
}

#[test]
fn status_names_the_output_that_takes_nothing_and_the_files_that_wait_for_it() {
    let world = World::in_memory();
    world.append("flood.log", text(&flood()));
    world.append("z.log", "waits\n");
    let tail = with_socket(&world, world.run()).blocked().start();
    wait_for("status to say so", || stdout(&status(&world, &[])).contains("has taken nothing for"));
    let output = status(&world, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("NOT keeping up"), "{}", stdout(&output));
    expect_state(
        &world,
        world.at("flood.log"),
        "output_blocked",
        "the output takes nothing, for",
        false,
    );
    let flooded = file(&world, world.at("flood.log"));
    let number = |key: &str| flooded[key].as_u64().unwrap_or_else(|| panic!("{key}: {flooded}"));
    assert_eq!(number("unread_bytes"), number("size") - number("offset"));
    assert!(number("unread_bytes") > 0);
    tail.unblock();
    expect_state(&world, world.at("flood.log"), "read_to_end", "read to its end", true);
    wait_for("all to be well", || status(&world, &[]).status.code() == Some(0));
}

#[test]
fn a_file_that_new_settings_leave_out_is_told_as_left_out_and_listed() {
    let world = World::in_memory();
    let settings = |exclude: &str| {
        format!("[[input]]\npaths = ['{}']\nexclude = [{exclude}]\n", world.tree.display())
    };
    let run = crate::settings::from_file(&world, &settings(""));
    world.write("a.log", "one\n");
    world.write("b.log", "two\n");
    let tail = with_socket(&world, run).start();
    answers(&world);
    expect_state(&world, world.at("b.log"), "read_to_end", "read to its end", true);
    crate::settings::write_settings(&world, "manytail.toml", &settings("'b.log'"));
    crate::settings::reload(&tail, "settings read again");
    expect_state(&world, world.at("b.log"), "excluded", "is excluded by b.log", false);
    let listed = || stdout(&status(&world, &["--list", "excluded"]));
    wait_for("it to be listed", || listed().contains("b.log") && !listed().contains("a.log"));
    crate::settings::write_settings(&world, "manytail.toml", &settings(""));
    crate::settings::reload(&tail, "settings read again");
    expect_state(&world, world.at("b.log"), "read_to_end", "read to its end", true);
}

#[test]
fn status_says_why_an_output_fails() {
    let world = World::in_memory();
    world.append("a.log", "one\n");
    let _tail = with_socket(&world, world.run()).output("file:/dev/full").start();
    wait_for("status to say so", || {
        stdout(&status(&world, &[]))
            .contains("the output file:/dev/full fails: cannot write: No space left")
    });
    let why = "read to its end; but the output fails (cannot write: No space left on device (os \
        error 28)";
    expect_state(&world, world.at("a.log"), "output_blocked", why, false);
    world.append("flood.log", text(&flood()));
    expect_state(
        &world,
        world.at("flood.log"),
        "output_blocked",
        "the output fails (cannot write: No space left on device (os error 28)",
        false,
    );
}

#[test]
fn status_of_a_file_tells_that_a_stop_was_asked_for() {
    let world = World::in_memory();
    world.append("flood.log", text(&flood()));
    let tail =
        with_socket(&world, world.run().with(&["--shutdown-timeout", "1min"])).blocked().start();
    answers(&world);
    expect_state(
        &world,
        world.at("flood.log"),
        "output_blocked",
        "the output takes nothing, for",
        false,
    );
    tail.signal(Signal::SIGTERM);
    expect_state(&world, world.at("flood.log"), "stopping", "nothing more is read", false);
}

#[test]
fn status_of_a_file_that_was_read_a_moment_ago_tells_that_it_cools_down() {
    let world = World::new();
    let tail = start(&world, &["--coalesce", "1h", "--adaptive", "false"]);
    world.append("a.log", "one\n");
    tail.wait_line("one");
    world.append("a.log", "two\n");
    expect_state(&world, world.at("a.log"), "cooling_down", "--coalesce", true);
    assert_eq!(file(&world, world.at("a.log"))["unread_bytes"], 4);
}

#[test]
fn status_of_a_file_that_is_read_tells_offset_size_and_identity_as_records_do() {
    let world = World::new();
    world.append("a.log", "one\nunfini");
    let tail = with_socket(&world, world.run().json()).start();
    tail.wait_count(1);
    answers(&world);
    expect_state(&world, world.at("a.log"), "unfinished", "a last line of 6 bytes", true);
    let known = file(&world, world.at("a.log"));
    assert_eq!(
        (&known["offset"], &known["size"], &known["unread_bytes"]),
        (&4.into(), &10.into(), &6.into())
    );
    let record: Value = serde_json::from_slice(&tail.capture().bytes()).expect("one record");
    assert_eq!((&known["file"], &known["path"]), (&record["file"], &record["path"]));
    // From another directory, and by another name.
    let relative = file(&world, "tree/a.log");
    assert_eq!((&relative["state"], &relative["path"]), (&known["state"], &known["path"]));
    world.append("a.log", "shed\n");
    expect_state(&world, world.at("a.log"), "read_to_end", "read to its end", true);
    world.hard_link("a.log", "b.log");
    expect_state(&world, world.at("b.log"), "read_to_end", "read to its end", true);
    let linked = file(&world, world.at("b.log"));
    assert_eq!(linked["path"], known["path"], "a hard link is the same file");
    assert!(linked["asked"]["path"].as_str().unwrap().ends_with("b.log"), "{linked}");
    let words = stdout(&status(&world, &[world.at("a.log").to_str().unwrap()]));
    assert!(words.contains("15 of 15 bytes") && words.contains("read to its end"), "{words}");
}

#[test]
fn each_file_that_is_not_read_has_a_reason_that_can_be_asked_for() {
    let world = World::new();
    world.mkdir("tmp/deep");
    world.mkdir("d");
    for name in ["a.log.gz", "a.out", "d/debug.log", "tmp/deep/a.log"] {
        world.append(name, "not read\n");
    }
    world.fifo("pipe.log");
    std::fs::write(world.beside("outside.log"), "not read\n").unwrap();
    world.symlink(world.beside("outside.log"), "link.log");
    std::fs::create_dir(world.beside("elsewhere")).unwrap();
    std::fs::write(world.beside("elsewhere/a.log"), "not read\n").unwrap();
    world.symlink(world.beside("elsewhere"), "way");
    let state = world.at("state");
    let out = world.at("out.log");
    let options = [
        "--include",
        "*.log",
        "--exclude",
        "debug*",
        "--exclude",
        "tmp/",
        "--state-dir",
        state.to_str().unwrap(),
    ];
    let tail = with_socket(&world, world.run().with(&options).output_file(&out)).start();
    tail.canary_file("canary.log");
    expect_state(&world, world.at("a.log.gz"), "excluded", "is excluded by *.gz", false);
    expect_state(&world, world.at("a.out"), "not_included", "matches no --include", false);
    expect_state(&world, world.at("d/debug.log"), "excluded", "is excluded by debug*", false);
    expect_state(
        &world,
        world.at("tmp/deep/a.log"),
        "excluded_directory",
        "/tree/tmp is excluded by tmp/",
        false,
    );
    expect_state(&world, world.at("pipe.log"), "not_regular", "no regular file", false);
    expect_state(&world, world.at("link.log"), "link_not_followed", "--follow-symlinks", false);
    expect_state(
        &world,
        world.at("way/a.log"),
        "link_not_followed",
        "/tree/way is a symbolic link",
        false,
    );
    expect_state(&world, world.at("out.log"), "own_output", "our own output", false);
    let journal = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .next()
        .expect("a file");
    expect_state(&world, journal, "state_directory", "our own state directory", false);
    expect_state(&world, world.at("d"), "directory", "it is a directory", false);
    expect_state(&world, world.at("no.log"), "missing", "there is no such file", false);
    expect_state(&world, world.at("no/such.log"), "missing", "there is no", false);
    expect_state(&world, world.beside("outside.log"), "not_covered", "no PATH covers it", false);
    expect_state(&world, "/proc/version", "not_covered", "no PATH covers it", false);
    drop(tail);
}

/// An answer without its path.
fn without_path(answer: &Value) -> Value {
    let mut answer = answer.clone();
    answer.as_object_mut().expect("an object").remove("path");
    answer
}

#[test]
fn status_tells_nothing_of_what_no_path_covers_by_whatever_way_it_is_asked_for() {
    let world = World::new();
    world.mkdir("d");
    world.append("a.log", "one\n");
    world.append("d/b.log", "one\n");
    let outside = world.beside("outside");
    std::fs::create_dir_all(outside.join("directory")).unwrap();
    std::fs::write(outside.join("file"), "secret\n").unwrap();
    make_fifo(&outside.join("pipe"));
    std::os::unix::fs::symlink("file", outside.join("link")).unwrap();
    std::fs::hard_link(world.at("a.log"), outside.join("a.log")).unwrap();
    world.symlink(&outside, "d/way");
    world.symlink(outside.join("file"), "d/to-file");
    world.symlink(outside.join("none"), "d/to-none");
    let _tail = with_socket(&world, world.run()).start().armed();
    let (tree, path) =
        (world.at(""), |from: &Path, below: &str| format!("{}/{below}", from.display()));
    let answer = |path: &str| get(&socket(&world), &format!("/file?path={path}")).body;
    let known = |path: &str| -> Value { serde_json::from_str(&answer(path)).expect("JSON") };
    let ways = [
        path(&outside, ""),
        path(&tree, "../outside/"),
        path(&tree, "d/../../outside/"),
        path(&tree, "./d/way/../../../outside/"),
        path(&outside, "directory/../"),
        path(Path::new("/proc/self/root"), &path(&outside, "")),
    ];
    for way in ways {
        let none = without_path(&known(&format!("{way}none")));
        assert_eq!(none["state"], "not_covered", "{way}");
        for name in [
            "file",
            "pipe",
            "link",
            "directory",
            "a.log",
            "none/deeper",
            "file/deeper",
            "directory/deeper",
        ] {
            assert_eq!(without_path(&known(&format!("{way}{name}"))), none, "{way}{name}");
        }
    }
    // Below a link in the tree, and the link itself, whatever its target.
    for (one, other) in [
        ("d/way/file", "d/way/none"),
        ("d/way/directory/x", "d/way/none/x"),
        ("d/to-file", "d/to-none"),
    ] {
        let (one, other) = (known(&path(&tree, one)), known(&path(&tree, other)));
        assert_eq!((&one["state"], &one["why"]), (&"link_not_followed".into(), &other["why"]));
        let sizes =
            [&one, &other].map(|answer| (answer["size"].clone(), answer["modified"].clone()));
        assert_eq!(sizes, [(Value::Null, Value::Null), (Value::Null, Value::Null)]);
    }
    // A file below a PATH can be asked for by any spelling of its path.
    for spelling in ["d/../a.log", "./a.log", "d//b.log", "d/way/../b.log", "../tree/a.log"] {
        assert_eq!(known(&path(&tree, spelling))["state"], "read_to_end", "{spelling}");
    }
}

#[test]
fn status_follows_links_that_lead_to_a_path_on_behalf_of_who_asks() {
    let world = World::new();
    world.mkdir("d");
    world.append("d/a.log", "one\n");
    std::os::unix::fs::symlink(world.at(""), world.beside("way")).unwrap();
    std::os::unix::fs::symlink(world.at("d"), world.beside("deep")).unwrap();
    // A PATH that is a link itself.
    let run = Run::new(&world.beside("way"));
    let _tail = with_socket(&world, run).start().armed();
    for path in [world.beside("way/d/a.log"), world.at("d/a.log"), world.beside("deep/a.log")] {
        expect_state(&world, path, "read_to_end", "read to its end", true);
    }
    expect_state(&world, "way/d/a.log", "read_to_end", "read to its end", true);
}

#[test]
fn status_does_not_tell_a_link_to_what_is_of_others_from_one_to_nothing() {
    if !is_root() {
        return skip("files of several users take root");
    }
    let world = World::new();
    world.mkdir("user");
    std::fs::write(world.beside("file"), "secret\n").unwrap();
    std::fs::create_dir(world.beside("directory")).unwrap();
    for (target, name) in
        [("file", "file.log"), ("directory", "directory.log"), ("none", "none.log")]
    {
        world.symlink(world.beside(target), format!("user/{name}"));
        std::os::unix::fs::lchown(world.at(format!("user/{name}")), Some(STRANGER), None).unwrap();
    }
    let tail = with_socket(&world, world.run().with(&["--follow-symlinks"])).start().armed();
    tail.wait("the warnings", || tail.warned("not followed") == 2);
    let words = format!(
        "it is a symbolic link of user {STRANGER}, and does not lead to anything that this user \
        owns: not followed"
    );
    let none = without_path(&file(&world, world.at("user/none.log")));
    assert_eq!(
        (&none["state"], &none["why"]),
        (&"link_not_followed".into(), &words.as_str().into())
    );
    for name in ["file.log", "directory.log"] {
        assert_eq!(without_path(&file(&world, world.at(format!("user/{name}")))), none, "{name}");
    }
    let deeper = ["none.log/x", "file.log/x", "directory.log/x"]
        .map(|name| file(&world, world.at(format!("user/{name}"))));
    for answer in &deeper {
        assert_eq!(
            (&answer["state"], &answer["size"]),
            (&"link_not_followed".into(), &Value::Null),
            "{answer}"
        );
    }
}

#[test]
fn status_of_a_file_in_a_subdirectory_says_that_those_are_not_followed() {
    let world = World::new();
    world.mkdir("d");
    world.append("d/a.log", "not read\n");
    let _tail = start(&world, &["--recursive", "false"]);
    expect_state(&world, world.at("d/a.log"), "not_recursive", "--recursive false", false);
}

#[test]
fn status_of_what_cannot_be_read_names_the_error() {
    if !is_root() {
        return;
    }
    let world = World::new();
    std::fs::set_permissions(world.beside("."), PermissionsExt::from_mode(0o777)).unwrap();
    world.mkdir("shut");
    world.append("shut/a.log", "not read\n");
    world.append("secret.log", "not read\n");
    world.chmod("secret.log", 0o000);
    world.chmod("shut", 0o000);
    let tail = with_socket(&world, world.run().user(USER)).start();
    tail.wait_said("cannot be read");
    expect_state(&world, world.at("secret.log"), "unreadable", "Permission denied", false);
    expect_state(
        &world,
        world.at("shut/a.log"),
        "unreadable_directory",
        "/tree/shut cannot be read: Permission denied",
        false,
    );
    wait_for("status to say so", || {
        let shown = stdout(&status(&world, &[]));
        shown.contains("1 directory and 1 file cannot be read")
            && shown.contains("Permission denied")
    });
    assert_eq!(status(&world, &[]).status.code(), Some(1), "somebody has to look");
    world.chmod("secret.log", 0o644);
    expect_state(&world, world.at("secret.log"), "read_to_end", "read to its end", true);
}

#[test]
fn status_of_a_file_that_left_the_tree_says_since_when_and_for_how_long_it_is_remembered() {
    let world = World::new();
    world.append("a.log", "one\n");
    let _tail = start(&world, &[]);
    std::fs::rename(world.at("a.log"), world.beside("a.log")).unwrap();
    expect_state(&world, world.at("a.log"), "left_tree", "it left the tree", false);
    expect_state(&world, world.beside("a.log"), "not_covered", "no PATH covers it", false);
    std::fs::rename(world.beside("a.log"), world.at("b.log")).unwrap();
    expect_state(&world, world.at("b.log"), "read_to_end", "read to its end", true);
}

#[test]
fn status_of_a_file_that_started_at_its_end_says_so() {
    let world = World::new();
    world.append("a.log", "skipped\n");
    let _tail = start(&world, &["--from", "end"]);
    expect_state(&world, world.at("a.log"), "read_to_end", "read to its end", true);
    assert_eq!(file(&world, world.at("a.log"))["started_at_end"], true);
    assert!(stdout(&status(&world, &[world.at("a.log").to_str().unwrap()])).contains("--from end"));
}

#[test]
fn bytes_that_no_event_tells_of_are_found_by_asking() {
    let world = World::new();
    world.append("a.log", "one\n");
    std::fs::hard_link(world.at("a.log"), world.beside("other-name")).unwrap();
    let tail = start(&world, &["--rescan", "1h"]);
    tail.wait_count(1);
    // A write through a name outside the tree causes no event in it.
    let mut writer =
        std::fs::OpenOptions::new().append(true).open(world.beside("other-name")).unwrap();
    std::io::Write::write_all(&mut writer, b"two\n").unwrap();
    expect_state(
        &world,
        world.at("a.log"),
        "not_noticed",
        "4 bytes came without an event so far: the sweep finds it within 1h",
        false,
    );
}

/// The question and the events are waiting when the process wakes up.
#[test]
fn what_the_kernel_told_of_since_the_last_turn_is_not_called_unnoticed() {
    let world = World::new();
    world.append("a.log", "one\n");
    let tail = start(&world, &["--rescan", "1h"]);
    tail.wait_count(1);
    tail.settled();
    tail.stop();
    world.append("a.log", "two\n");
    world.append("new.log", "one\n");
    let questions = ["a.log", "new.log"].map(|name| {
        let mut stream = connect(&socket(&world));
        let path = world.at(name);
        std::io::Write::write_all(
            &mut stream,
            format!("GET /file?path={} HTTP/1.1\r\n\r\n", path.display()).as_bytes(),
        )
        .unwrap();
        stream
    });
    tail.go_on();
    for mut question in questions {
        let known: Value =
            serde_json::from_str(&Answer::of(&read_all(&mut question)).body).expect("JSON");
        let state = known["state"].as_str().expect("a state");
        assert!(
            ["queued", "being_looked_at", "cooling_down", "read_to_end"].contains(&state),
            "{known}"
        );
    }
}

/// Where file systems store such times.
#[test]
fn a_file_with_a_time_that_cannot_be_written_is_told_of() {
    let world = World::in_memory();
    world.append("a.log", "one\n");
    let tail = start(&world, &[]);
    tail.wait_count(1);
    let path = world.at("a.log");
    let touched = Command::new("touch")
        .args(["-m", "-d", "@999999999999"])
        .arg(&path)
        .status()
        .expect("touch");
    assert!(touched.success());
    expect_state(&world, &path, "read_to_end", "read to its end", true);
    world.append("a.log", "two\n");
    tail.wait_count(2);
}

#[test]
fn paths_that_are_no_text_are_asked_for_and_shown_without_harm() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    let name = std::ffi::OsStr::from_bytes(b"a\x1b[31m\xff &%.log");
    world.append(name, "one\n");
    let tail = start(&world, &[]);
    tail.wait_count(1);
    let path = world.at(name);
    let ask = |format: &str| {
        let mut command = Command::new(BINARY);
        command
            .arg("status")
            .arg("--control-socket")
            .arg(socket(&world))
            .args(["--format", format])
            .arg(&path);
        command.output().expect("status")
    };
    let words = stdout(&ask("text"));
    assert!(
        words.contains(r"a\x1b[31m\xff &%.log") && words.contains("read to its end"),
        "{words}"
    );
    let json: Value = serde_json::from_slice(&ask("json").stdout).expect("JSON");
    assert!(json["path_bytes"].is_string(), "{json}");
}

#[test]
fn status_without_a_daemon_or_with_one_that_is_stopped_exits_with_3_in_time() {
    let world = World::new();
    let output = status(&world, &[]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("control.sock") && said.lines().count() == 1, "{said}");
    let tail = start(&world, &[]);
    tail.stop();
    let begun = Instant::now();
    let output = status(&world, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no answer from"), "{output:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "it waits five seconds");
    tail.go_on();
}

#[test]
fn status_by_somebody_who_may_not_ask_says_who_may() {
    if !is_root() {
        return;
    }
    let world = World::new();
    std::fs::set_permissions(world.beside("."), PermissionsExt::from_mode(0o755)).unwrap();
    let _tail = start(&world, &[]);
    let mut command = Command::new(BINARY);
    command
        .arg("status")
        .arg("--control-socket")
        .arg(socket(&world))
        .uid(USER)
        .gid(USER)
        .current_dir("/");
    let output = command.output().expect("status");
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("cannot be asked: Permission denied") && said.contains("group"),
        "{said}"
    );
}

#[test]
fn bad_usage_of_status_and_top_exits_with_2() {
    let world = World::new();
    assert_eq!(status(&world, &[""]).status.code(), Some(2));
    assert_eq!(status(&world, &["--format", "xml"]).status.code(), Some(2));
    let top = |args: &[&str]| {
        Command::new(BINARY).arg("top").args(args).stdin(Stdio::null()).output().expect("top")
    };
    let refused = top(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("manytail status"), "{refused:?}");
    for interval in ["1ms", "1h", "soon"] {
        assert_eq!(top(&["--interval", interval]).status.code(), Some(2), "{interval}");
    }
}

/// `manytail top` on a terminal of this size.
fn top(world: &World, rows: u16, columns: u16) -> Terminal {
    let socket = socket(world);
    Terminal::start(
        &[BINARY, "top", "--interval", "200ms", "--control-socket", socket.to_str().unwrap()],
        rows,
        columns,
    )
}

#[test]
fn top_shows_the_busiest_file_and_q_gives_the_terminal_back() {
    let world = World::new();
    let _tail = start(&world, &[]);
    let terminal = top(&world, 24, 80);
    let appended = || {
        world.append("busy.log", "x".repeat(99) + "\n");
        terminal.contents()
    };
    wait_for("the busiest file", || appended().contains("/busy.log"));
    let screen = terminal.contents();
    assert!(screen.starts_with("manytail 0.1.0, process "), "{screen}");
    for word in
        ["keeping up", "lines/s", "FURTHEST BEHIND", "BUSIEST", "stdout: takes records", "q quits"]
    {
        assert!(screen.contains(word), "{word}: {screen}");
    }
    assert!(
        screen.lines().count() <= 24 && screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );
    assert!(terminal.is_alternate() && terminal.is_raw());
    terminal.press(b"\x1b[A");
    terminal.press(b"q");
    assert_eq!(terminal.wait_exit(), Some(0));
    assert!(terminal.is_given_back(), "{}", terminal.contents());
}

#[test]
fn top_shows_which_files_are_furthest_behind_while_the_output_is_blocked() {
    let world = World::in_memory();
    world.append("flood.log", text(&flood()));
    for number in 0..30 {
        world.append(format!("late-{number}.log"), "waits\n");
    }
    let tail = with_socket(&world, world.run()).blocked().start();
    let terminal = top(&world, 24, 80);
    terminal.wait_for("NOT keeping up");
    wait_for("the largest first", || {
        let screen = terminal.contents();
        let first = screen.lines().skip_while(|line| !line.contains("FURTHEST BEHIND")).nth(1);
        first.is_some_and(|line| line.contains("flood.log") && line.contains("MiB"))
    });
    tail.unblock();
    terminal.wait_for("no file waits");
    terminal.press(b"\x1b");
    assert_eq!(terminal.wait_exit(), Some(0));
}

#[test]
fn top_lives_on_terminals_of_any_size() {
    let world = World::new();
    world.append("a.log", "one\n");
    let _tail = start(&world, &[]);
    let terminal = top(&world, 24, 80);
    terminal.wait_for("q quits");
    for (rows, columns) in [(5, 20), (2, 1), (2, 300), (60, 10), (24, 80)] {
        terminal.resize(rows, columns);
        let last = "q quits".chars().take(usize::from(columns)).collect::<String>();
        terminal.wait_for_last_line(&last);
    }
    terminal.press(b"\x03");
    assert_eq!(terminal.wait_exit(), Some(0));
    assert!(terminal.is_given_back());
}

#[test]
fn top_gives_the_terminal_back_when_a_signal_ends_it() {
    let world = World::new();
    let _tail = start(&world, &[]);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let terminal = top(&world, 24, 80);
        terminal.wait_for("q quits");
        terminal.signal(signal);
        assert_eq!(terminal.wait_exit(), Some(0), "{signal}");
        assert!(terminal.is_given_back(), "{signal}");
    }
}

#[test]
fn top_goes_on_trying_when_the_daemon_is_gone_and_finds_the_next_one() {
    let world = World::new();
    let terminal = top(&world, 24, 80);
    terminal.wait_for("control.sock: No such file");
    let first = start(&world, &[]);
    terminal.wait_for("keeping up");
    first.stop();
    terminal.wait_for("NO ANSWER");
    first.go_on();
    wait_for("an answer", || !terminal.contents().contains("NO ANSWER"));
    first.terminate();
    terminal.wait_for("NO ANSWER");
    let second = start(&world, &[]);
    terminal.wait_for(&format!("process {},", second.process.0));
    terminal.press(b"q");
    assert_eq!(terminal.wait_exit(), Some(0));
}

/// `manytail run --once --format raw TREE` in a shell, with its stderr on a terminal.
fn on_terminal(world: &World, script: &str) -> Terminal {
    Terminal::start(&["sh", "-c", script, "sh", BINARY, world.tree.to_str().unwrap()], 24, 80)
}

#[test]
fn a_long_once_shows_how_far_it_is_and_clears_the_line_at_the_end() {
    let world = World::in_memory();
    world.append("flood.log", text(&flood()));
    world.append("z.log", "last\n");
    crate::world::make_fifo(&world.beside("output"));
    let output = world.beside("output");
    let script = format!("\"$1\" run --once --format raw \"$2\" > {}", output.display());
    let terminal = on_terminal(&world, &script);
    // The reader has taken only a little of it so far.
    let mut reader = std::fs::File::open(&output).unwrap();
    terminal.wait_for("MiB, 2 files");
    let line = terminal.contents();
    assert!(
        line.contains('%')
            && line.contains("/s, ")
            && (line.contains("left") || line.contains("stalled")),
        "{line}"
    );
    assert_eq!(
        line.lines().filter(|line| !line.is_empty()).count(),
        1,
        "rewritten in place: {line}"
    );
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert_eq!(terminal.wait_exit(), Some(0));
    wait_for("the line to be cleared", || !terminal.contents().contains('%'));
}

#[test]
fn a_diagnostic_clears_the_progress_line_first() {
    let world = World::in_memory();
    world.append("flood.log", text(&flood()));
    crate::world::make_fifo(&world.beside("output"));
    let script = format!("\"$1\" run --format raw \"$2\" > {}", world.beside("output").display());
    let terminal = on_terminal(&world, &script);
    let reader = std::fs::File::open(world.beside("output")).unwrap();
    terminal.wait_for("%");
    world.fifo("pipe");
    terminal.wait_for("not a regular file");
    terminal.wait_for("%");
    let screen = terminal.contents();
    for line in screen.lines().filter(|line| line.contains("not a regular file")) {
        assert!(line.starts_with("20") && !line.contains('%'), "{screen}");
    }
    drop(reader);
    assert_eq!(terminal.wait_exit(), Some(0), "its reader went away");
}

#[test]
fn there_is_no_progress_line_where_nobody_would_see_it_or_it_would_spoil_something() {
    let world = World::in_memory();
    world.append("flood.log", text(&flood()));
    // stderr is no terminal.
    let tail = with_socket(&world, world.run().with(&["--once"])).blocked().start();
    // JSON is for a program.
    crate::world::make_fifo(&world.beside("output"));
    let script =
        format!("\"$1\" run --log-format json \"$2\" > {}", world.beside("output").display());
    let json = on_terminal(&world, &script);
    let reader = std::fs::File::open(world.beside("output")).unwrap();
    wait_for("more than a second", || {
        stdout(&status(&world, &[])).contains("has taken nothing for 2.")
    });
    assert!(!tail.stderr().contains('%') && !tail.stderr().contains('\x1b'), "{}", tail.stderr());
    assert!(!json.contents().contains('%'), "{}", json.contents());
    drop(reader);
    // Records on the same terminal: a sleeping shell keeps manytail's own lines apart.
    let records = Terminal::start(
        &[
            "sh",
            "-c",
            "exec \"$1\" run --once --format raw \"$2\"",
            "sh",
            BINARY,
            world.tree.to_str().unwrap(),
        ],
        24,
        80,
    );
    assert_eq!(records.wait_exit(), Some(0));
    assert!(!records.everything().contains("% "), "records alone");
}
