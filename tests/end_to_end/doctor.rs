//! `manytail doctor`, and what it announces: file systems that do not report all writes are swept.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{BINARY, Run, binary_for};
use crate::world::{World, is_root, skip, succeeds};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

fn doctor(wrapper: &[&str]) -> Command {
    let words = [wrapper, &[BINARY]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("doctor").env_remove("STATE_DIRECTORY");
    command
}

fn text(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The findings, and the summary.
fn examine(command: &mut Command) -> (i32, Vec<Value>, Value) {
    let output = command.args(["--format", "json"]).output().expect("it runs");
    let lines = text(&output);
    let mut lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let summary = lines.pop().expect("a summary");
    (output.status.code().expect("an exit code"), lines, summary)
}

/// The verdicts and texts of the findings about a subject.
fn about(findings: &[Value], subject: &str) -> Vec<(String, String)> {
    let of = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .filter(|finding| finding["about"] == subject)
        .map(|finding| (of(finding, "verdict"), of(finding, "finding")))
        .collect()
}

fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).and_then(|found| found.modified()).expect("stat")
}

#[test]
fn doctor_counts_what_would_be_followed_and_changes_nothing() {
    let world = World::new();
    world.mkdir("a/b");
    world.mkdir("tmp/c");
    for name in
        ["one.log", "a/two.log", "a/b/three.log", "a/old.gz", "a/other.txt", "tmp/c/four.log"]
    {
        world.write(name, "x\n");
    }
    world.fifo("a/pipe.log");
    world.symlink("one.log", "link.log");
    let state = world.beside("made/by/nobody");
    let before = modified(&world.tree);
    let run = |options: &[&str]| {
        let mut command = doctor(&[]);
        command.arg(&world.tree).arg("--state-dir").arg(&state).args(options);
        let (code, findings, summary) = examine(&mut command);
        assert_eq!(code, 0, "{findings:#?}");
        (summary["directories"].as_u64().unwrap(), summary["files"].as_u64().unwrap())
    };
    assert_eq!(run(&[]), (5, 5));
    assert_eq!(run(&["--include", "*.log"]), (5, 4));
    assert_eq!(run(&["--include", "*.log", "--exclude", "tmp/"]), (3, 3));
    assert_eq!(run(&["--no-default-excludes"]), (5, 6));
    assert_eq!(run(&["--recursive", "false"]), (1, 1));
    assert_eq!(run(&["--recursive=false", "--follow-symlinks"]), (1, 2));
    assert!(!world.beside("made").exists());
    assert_eq!(modified(&world.tree), before);
    let tail = world.run().with(&["--include", "*.log", "--exclude", "tmp/"]).start();
    tail.wait_count(3);
    tail.settled();
    assert_eq!((tail.process.watches(), tail.count()), (3, 3), "run follows what doctor counted");
}

#[test]
fn doctor_says_what_is_missing_and_exits_1() {
    let world = World::new();
    world.write("a.log", "x\n");
    let output = doctor(&[]).args([world.at("a.log"), world.at("none")]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    assert!(text.contains("a.log: a file, would be followed"), "{text}");
    assert!(
        text.lines().any(
            |line| line.starts_with("problem  path: ") && line.contains("none: does not exist")
        ),
        "{text}"
    );
    assert!(text.contains("\n1 problem, "), "{text}");
}

#[test]
fn bad_usage_of_doctor_exits_2_and_names_the_option() {
    for (arguments, named) in [
        (&[][..], "PATH"),
        (&[""], "PATH"),
        (&["--include", "[", "d"], "--include"),
        (&["-f", "xml", "d"], "--format"),
    ] {
        let output = doctor(&[]).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(named) && output.stdout.is_empty(), "{said}");
    }
}

#[test]
fn too_few_watches_are_a_problem_and_the_sysctl_is_ready_to_paste() {
    let limit = "echo 3 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let wrapper = ["unshare", "-Ur", "sh", "-c", limit, "sh"];
    if !succeeds(wrapper[0], &[&wrapper[1..], &["true"]].concat()) {
        return skip("no user namespaces");
    }
    let world = World::new();
    world.mkdir("a/b/c");
    let output = doctor(&wrapper).arg(&world.tree).output().expect("it runs");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("problem  watches: 4 watches needed of 3"), "{text}");
    assert!(text.lines().any(|line| line == "user.max_inotify_watches = 1048576"), "{text}");
}

#[test]
fn watches_that_others_of_the_user_have_are_counted() {
    let world = World::new();
    world.mkdir("a/b/c/d/e/f");
    let tail = world.run().start().armed();
    let (_, findings, _) = examine(doctor(&[]).arg(&world.tree));
    let (_, finding) = about(&findings, "watches").remove(0);
    let used = finding
        .rsplit_once("have ")
        .expect("a count")
        .1
        .split(", 1 of")
        .next()
        .expect("it")
        .to_owned();
    let used: u64 =
        used.split(", ").next().expect("a number").replace(',', "").parse().expect("a number");
    assert!(used >= tail.process.watches() as u64, "{finding}");
}

#[test]
fn what_the_user_may_not_read_is_named() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.mkdir("open");
    world.mkdir("closed/deep");
    world.write("open/secret.log", "x\n");
    world.chmod("open/secret.log", 0o600);
    world.chmod("closed", 0o700);
    let mut command = Command::new(binary_for(NOBODY, &world.tree));
    command.arg("doctor").arg(&world.tree).uid(NOBODY).gid(NOBODY);
    let (code, findings, _) = examine(&mut command);
    assert_eq!(code, 1);
    let said = about(&findings, "permissions");
    assert!(said.iter().all(|(verdict, _)| verdict == "problem"), "{said:?}");
    assert!(
        said[0].1.contains("1 directory is not readable")
            && said[0].1.contains("closed (Permission denied)"),
        "{said:?}"
    );
    assert!(
        said[1].1.contains("1 cannot be read")
            && said[1].1.contains("open/secret.log (Permission denied)"),
        "{said:?}"
    );
    assert_eq!(examine(doctor(&[]).arg(&world.tree)).0, 0, "root reads all");
}

#[test]
fn a_state_directory_is_looked_at_without_disturbing_the_run_that_has_it() {
    let world = World::new();
    world.write("a.log", "one\n");
    let state = world.beside("state");
    let look = || {
        let mut command = doctor(&[]);
        command.arg(&world.tree).arg("--state-dir").arg(&state);
        let (code, findings, _) = examine(&mut command);
        (code, about(&findings, "state directory").remove(0))
    };
    assert!(look().1.1.contains("does not exist yet, and can be made"));
    let tail = world.run().with(&["--state-dir".as_ref(), state.as_os_str()]).start();
    tail.wait_line("one");
    let (code, (verdict, finding)) = look();
    assert_eq!((code, verdict.as_str()), (0, "warning"));
    assert!(finding.contains(&format!("in use by process {}", tail.process.0)), "{finding}");
    world.append("a.log", "two\n");
    tail.wait_line("two");
    tail.terminate();
    let (code, (_, finding)) = look();
    assert_eq!(code, 0);
    assert!(finding.contains("has the offsets of 1 file"), "{finding}");
    let journal = fs::read_dir(&state)
        .expect("ls")
        .flatten()
        .find(|entry| entry.file_name() != "lock")
        .expect("a journal")
        .path();
    fs::write(journal, "something else").expect("write");
    let (code, (verdict, finding)) = look();
    assert_eq!((code, verdict.as_str()), (1, "problem"));
    assert!(finding.contains("is not a journal of manytail"), "{finding}");
}

/// An overlay over the tree, in its own mount namespace: its path, and how to start a process that
/// sees it.
struct Overlay {
    view: String,
    script: String,
}

impl Overlay {
    fn over(world: &World) -> Option<Overlay> {
        if !is_root() {
            return None;
        }
        let (view, top) = (world.beside("view"), world.beside("top"));
        fs::create_dir(&view).and_then(|()| fs::create_dir(&top)).expect("mkdir");
        let (tree, view, top) = (world.tree.display(), view.display().to_string(), top.display());
        let script = format!(
            "mount -t tmpfs tmpfs '{top}' && mkdir '{top}/upper' '{top}/work' && mount -t overlay \
            overlay \
             -o 'lowerdir={tree},upperdir={top}/upper,workdir={top}/work' '{view}' && exec \"$@\""
        );
        let overlay = Overlay { view, script };
        if !succeeds("unshare", &[&overlay.wrapper()[1..], &["true"]].concat()) {
            skip("no overlay can be mounted");
            return None;
        }
        Some(overlay)
    }

    fn wrapper(&self) -> [&str; 6] {
        ["unshare", "-m", "sh", "-c", &self.script, "sh"]
    }

    fn run(&self, world: &World) -> Run {
        world.run().paths(&[&self.view]).under(&self.wrapper())
    }
}

#[test]
fn lines_that_are_written_below_an_overlay_come_by_the_remote_sweep_alone() {
    let world = World::new();
    let Some(overlay) = Overlay::over(&world) else { return };
    world.mkdir("d");
    world.write("a.log", "one\n");
    world.write("d/b.log", "b one\n");
    let tail = overlay.run(&world).with(&["--rescan", "0", "--rescan-remote", "300ms"]).start();
    tail.wait_count(2);
    for round in 0..3 {
        world.append("a.log", format!("round {round}\n"));
        world.append("d/b.log", format!("b round {round}\n"));
        tail.wait_line(&format!("round {round}"));
        tail.wait_line(&format!("b round {round}"));
    }
    assert_eq!(tail.count(), 8);
    assert_eq!(
        tail.said("inotify does not report writes made directly into its layers"),
        1,
        "{}",
        tail.stderr()
    );
    let said = tail.stderr();
    assert!(said.contains("overlay") && said.contains(&overlay.view), "{said}");
}

#[test]
fn without_the_remote_sweep_nothing_tells_of_lines_below_an_overlay() {
    let world = World::new();
    let Some(overlay) = Overlay::over(&world) else { return };
    world.write("a.log", "one\n");
    world.write("b.log", "b one\n");
    let tail = overlay.run(&world).with(&["--rescan", "0", "--rescan-remote", "0"]).start();
    tail.wait_count(2);
    world.append("a.log", "two\n");
    // Through the overlay: reported by an event, and read after the earlier lines.
    let seen = tail.process.root().join(overlay.view.trim_start_matches('/')).join("b.log");
    OpenOptions::new()
        .append(true)
        .open(seen)
        .and_then(|mut file| file.write_all(b"b two\n"))
        .expect("append");
    tail.wait_line("b two");
    tail.settled();
    assert!(
        !tail.lines().contains(&"two".to_owned()),
        "events do tell on this kernel: the sweep need not"
    );
    assert_eq!(tail.said("events do not tell"), 0);
}

#[test]
fn a_remote_sweep_that_was_off_begins_at_sighup() {
    let world = World::new();
    let Some(overlay) = Overlay::over(&world) else { return };
    let settings = world.beside("manytail.toml");
    fs::write(&settings, "rescan = 0\nrescan_remote = 0\n").expect("write");
    world.write("a.log", "one\n");
    let tail = overlay.run(&world).with(&["--config".as_ref(), settings.as_os_str()]).start();
    tail.wait_count(1);
    world.append("a.log", "two\n");
    tail.settled();
    assert_eq!(tail.count(), 1, "events do tell on this kernel: the sweep need not");
    fs::write(&settings, "rescan = 0\nrescan_remote = '300ms'\n").expect("write");
    tail.signal(nix::sys::signal::Signal::SIGHUP);
    tail.wait_line("two");
    tail.wait_said("rescan_remote 0 -> 300ms");
}

#[test]
fn a_local_tree_is_not_swept_as_a_remote_one_is() {
    let world = World::new();
    world.write("a.log", "one\n");
    let tail = world.run().with(&["--rescan", "0", "--rescan-remote", "50ms"]).start().armed();
    tail.wait_line("one");
    // It sleeps: a sweep would wake it 20 times a second.
    tail.settled();
    assert_eq!(tail.said("events do not tell"), 0);
}

#[test]
fn doctor_says_what_an_overlay_does_not_tell_and_how_often_it_is_swept() {
    let world = World::new();
    let Some(overlay) = Overlay::over(&world) else { return };
    world.write("a.log", "one\n");
    let (code, findings, summary) = examine(doctor(&overlay.wrapper()).arg(&overlay.view));
    assert_eq!(code, 0, "{findings:#?}");
    let (verdict, finding) = about(&findings, "file system").remove(0);
    assert_eq!(verdict, "warning");
    assert!(
        finding.contains("overlay, 1 file: ") && finding.contains("looks at these files every 5s"),
        "{finding}"
    );
    assert_eq!(summary["files"], 1);
}

fn settings(world: &World, text: &str) -> std::path::PathBuf {
    crate::settings::write_settings(world, "manytail.toml", text)
}

#[test]
fn doctor_of_a_settings_file_tells_what_the_globs_of_each_input_take_and_tries_the_rest() {
    let world = World::new();
    world.mkdir("a/tmp");
    world.mkdir("b");
    for name in ["a/one.log", "a/notes.txt", "a/old.log.gz", "a/tmp/x.log", "b/two.out"] {
        world.write(name, "x\n");
    }
    world.symlink("one.log", "a/link.log");
    let listener =
        std::os::unix::net::UnixListener::bind(world.beside("out.sock")).expect("a socket");
    let text = |more: &str| {
        format!(
            "output = 'unix:{}'\nmetrics = ['tcp:127.0.0.1:0', 'textfile:{}']\ncontrol_socket = \
            '{}'\nstate_dir = '{}'\n{more}\
             [[input]]\npaths = ['{}']\ninclude = ['*.log']\nexclude = ['tmp/']\n[[input]]\npaths \
             = ['{}']\ninclude = ['*.lgo']\n",
            world.beside("out.sock").display(),
            world.beside("metrics.prom").display(),
            world.beside("control.sock").display(),
            world.beside("state").display(),
            world.at("a").display(),
            world.at("b").display()
        )
    };
    let path = settings(&world, &text(""));
    let (code, findings, summary) = examine(doctor(&[]).arg("--config").arg(&path));
    assert_eq!(code, 0, "{findings:#?}");
    assert_eq!(summary["files"], 1);
    let paths = about(&findings, "path");
    assert!(paths[0].0 == "ok" && paths[1].0 == "warning", "an input without a file: {paths:?}");
    let left_out = about(&findings, "left out");
    for words in [
        "1 matching no --include (as notes.txt)",
        "1 excluded by *.gz",
        "1 directories excluded by tmp/ (as tmp)",
        "link.log",
    ] {
        assert!(left_out[0].1.contains(words), "{words}: {left_out:?}");
    }
    assert!(left_out[1].1.contains("1 matching no --include (as two.out)"), "{left_out:?}");
    assert_eq!(about(&findings, "output")[0].0, "ok");
    assert_eq!(about(&findings, "metrics").len(), 2);
    assert_eq!(about(&findings, "control socket")[0].0, "ok");
    assert!(
        !world.beside("state").exists()
            && !world.beside("metrics.prom").exists()
            && !world.beside("control.sock").exists()
    );
    drop(listener);
    let (code, findings, _) = examine(doctor(&[]).arg("--config").arg(&path));
    assert_eq!(code, 1);
    assert!(
        about(&findings, "output")[0].1.contains("cannot connect: Connection refused"),
        "{findings:#?}"
    );
    let output = doctor(&[])
        .arg("--config")
        .arg(settings(&world, &text("pathes = 1\n")))
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let output = doctor(&[]).arg("--config").arg(&path).arg(&world.tree).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "PATHs are those of the file");
}

#[test]
fn doctor_looks_as_the_user_of_the_run() {
    if !is_root() {
        return skip("becoming another user needs root");
    }
    let world = World::new();
    world.append("secret.log", "x\n");
    world.chmod("secret.log", 0o600);
    let out = world.beside("out.log");
    let text = format!("output = 'file:{}'\npaths = ['{}']\n", out.display(), world.tree.display());
    let path = settings(&world, &text);
    let look = |options: &[&str]| examine(doctor(&[]).arg("--config").arg(&path).args(options));
    let (code, findings, _) = look(&[]);
    assert_eq!(code, 0, "root may all: {findings:#?}");
    let (code, findings, _) = look(&["--user", "nobody"]);
    assert_eq!(code, 1, "{findings:#?}");
    assert!(about(&findings, "output")[0].1.contains("cannot be made in"), "{findings:#?}");
    assert!(
        about(&findings, "permissions")
            .iter()
            .any(|(verdict, text)| verdict == "problem" && text.contains("uid 65534")),
        "{findings:#?}"
    );
    let (_, findings, _) = look(&["--user", "65534", "--cap-dac-read-search"]);
    assert!(
        about(&findings, "permissions").iter().all(|(verdict, _)| verdict == "ok"),
        "{findings:#?}"
    );
    assert_eq!(about(&findings, "output")[0].0, "problem", "reading is not writing");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    let output = doctor(&[])
        .arg("--config")
        .arg(&path)
        .args(["--user", "nobody"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2), "the run could not read its settings either");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"), "{output:?}");
    let output =
        doctor(&[]).arg(&world.tree).args(["--user", "no such user"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no user"), "{output:?}");
}

#[test]
fn check_tries_the_output_if_it_is_told_to() {
    let world = World::new();
    let check = |output: &str, options: &[&str]| {
        let mut command = Command::new(BINARY);
        crate::harness::remove_settings(&mut command);
        let output = command
            .arg("check")
            .arg(&world.tree)
            .args(["--output", output])
            .args(options)
            .output()
            .expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let gone = format!("unix:{}", world.beside("none.sock").display());
    assert_eq!(check(&gone, &[]), (Some(0), String::new()));
    let (code, said) = check(&gone, &["--connect"]);
    assert!(code == Some(1) && said.contains("cannot connect: No such file"), "{code:?} {said}");
    let file = format!("file:{}", world.beside("out.log").display());
    let (code, said) = check(&file, &["--connect"]);
    assert!(code == Some(0) && said.contains("it would be made"), "{code:?} {said}");
    assert!(!world.beside("out.log").exists());
    let run = world.run().output(&file).start();
    run.wait("the output", || world.beside("out.log").exists());
    let (code, said) = check(&file, &["--connect"]);
    assert!(
        code == Some(0) && said.contains(&format!("process {} has it locked", run.process.0)),
        "{code:?} {said}"
    );
}
