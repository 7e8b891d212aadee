//! `manytail jobs`: what the logs of jobs say last.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::{BINARY, binary_for, remove_settings};
use crate::jobs::Reading;
use crate::settings::write_settings;
use crate::world::{World, is_root};

const NOBODY: u32 = 65_534;

/// Runs `manytail jobs` with these arguments: exit code, stdout, stderr.
#[track_caller]
fn jobs(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    remove_settings(&mut command);
    answer(command.arg("jobs").args(arguments).current_dir(&world.tree))
}

#[track_caller]
fn answer(command: &mut Command) -> (i32, String, String) {
    let output = command.output().expect("manytail jobs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit"), text(output.stdout), text(output.stderr))
}

/// The rows of an answer in json.
#[track_caller]
fn rows(world: &World, arguments: &[&str]) -> Vec<Value> {
    let (_, out, said) = jobs(world, &[arguments, &["--format", "json"]].concat());
    let row = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line} {said}"));
    out.lines().map(row).collect()
}

#[track_caller]
fn ids(world: &World, arguments: &[&str]) -> Vec<String> {
    let name = |row: &Value| {
        let field = |name: &str| row["job"][name].as_str().unwrap_or_default().to_owned();
        [field("id"), field("task")].join("_")
    };
    rows(world, arguments).iter().map(name).collect()
}

fn slurm(world: &World) -> [String; 3] {
    ["--preset".into(), "slurm".into(), world.tree.display().to_string()]
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

#[test]
fn a_table_has_a_row_for_each_job_by_its_number_with_the_last_thing_that_its_log_says() {
    let world = World::new();
    world.mkdir("alice/run");
    world.write("alice/run/train-v2_4711023_17.out", "epoch 2\n\repoch 3  40%\repoch 3  45%\r");
    world.write("alice/slurm-9999.out", "first\nlast \x1b[31mred\n");
    world.write("alice/slurm-10000.out", "");
    world.write("alice/notes.txt", "no job\n");
    world.set_modified("alice/run/train-v2_4711023_17.out", ago(3 * 3600 + 12 * 60));
    let arguments = slurm(&world);
    let (code, out, said) = jobs(&world, &arguments.each_ref().map(String::as_str));
    assert_eq!(code, 0, "{said}");
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["JOB", "TASK", "USER", "AGE", "SIZE", "LAST", "LINE"]);
    assert_eq!((lines[1][0], &lines[1][5..]), ("9999", &["last", "?[31mred"][..]), "{out}");
    assert_eq!(lines[2][0], "10000");
    assert_eq!(lines[3][..2], ["4711023", "17"]);
    assert_eq!((lines[3][3], &lines[3][6..]), ("3h12m", &["epoch", "3", "45%"][..]), "{out}");
    assert!(said.contains("1 file has a name that tells no job, the first is "), "{said}");
    let columns: Vec<usize> =
        out.lines().filter_map(|line| line.find("KiB").or(line.find(" B "))).collect();
    assert!(columns.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 2), "{out}");
}

#[test]
fn json_has_the_fields_of_the_job_and_the_log_that_was_written_last() {
    let world = World::new();
    world.write("sim.o4711", "out\n");
    world.write("sim.e4711", "warning\n");
    world.set_modified("sim.o4711", ago(100));
    world.set_modified("sim.e4711", ago(50));
    let tree = world.tree.display().to_string();
    let found = rows(&world, &["--preset", "gridengine", &tree]);
    assert_eq!(found.len(), 1, "{found:?}");
    let row = &found[0];
    assert_eq!(row["job"], json!({"stream": "e", "id": "4711"}));
    assert_eq!(
        (&row["line"], &row["files"], &row["size"]),
        (&json!("warning"), &json!(2), &json!(12))
    );
    assert_eq!(row["path"], json!(format!("{tree}/sim.e4711")));
    let age = row["age_seconds"].as_u64().expect("a number");
    assert!((50..80).contains(&age), "{row}");
    assert!(row["modified"].as_str().is_some_and(|time| time.ends_with('Z')), "{row}");
    assert!(row["uid"].is_u64() && row.get("cut").is_none() && row.get("error").is_none());
    // A log without a line says nothing, though it is the youngest.
    world.write("sim.e4711", "");
    assert_eq!(rows(&world, &["--preset", "gridengine", &tree])[0]["line"], json!("out"));
}

#[test]
fn jobs_are_chosen_by_number_by_user_and_by_how_long_nothing_came() {
    let world = World::new();
    for (name, age) in [("slurm-4711.out", 3600), ("a_4712_1.out", 10), ("a_4712_2.out", 7200)] {
        world.write(name, "x\n");
        world.set_modified(name, ago(age));
    }
    let base = slurm(&world);
    let with = |more: &[&str]| {
        let arguments: Vec<&str> =
            base.iter().map(String::as_str).chain(more.iter().copied()).collect();
        ids(&world, &arguments)
    };
    assert_eq!(with(&[]), ["4711_", "4712_1", "4712_2"]);
    assert_eq!(with(&["--job", "4712"]), ["4712_1", "4712_2"]);
    assert_eq!(with(&["--job", "4711", "--job", "4712"]).len(), 3);
    assert_eq!(with(&["--quiet-for", "30min"]), ["4711_", "4712_2"]);
    assert_eq!(with(&["--quiet-for", "30min", "--active-within", "90min"]), ["4711_"]);
    for name in ["4712_2", "4712.2", "4712[2]"] {
        assert_eq!(with(&["--job", name]), ["4712_2"], "{name}");
    }
    assert!(with(&["--job", "471"]).is_empty());
    let own = fs::metadata(&world.tree).map(|found| std::os::unix::fs::MetadataExt::uid(&found));
    let own = own.expect("it is there").to_string();
    assert_eq!(with(&["--uid", &own, "--job", "4711"]), ["4711_"]);
    assert!(with(&["--user", "4294967294"]).is_empty());
    let none: Vec<&str> = base.iter().map(String::as_str).chain(["--job", "1"]).collect();
    let (code, _, said) = jobs(&world, &none);
    assert!(code == 1 && said.contains("no log of such a job was found"), "{said}");
}

#[test]
fn the_settings_of_a_run_say_where_to_look_and_what_names_mean() {
    let world = World::new();
    world.mkdir("home/alice/4711");
    world.mkdir("spool");
    world.write("home/alice/4711/log.txt", "by path\n");
    world.write("spool/x-42.log", "by name\n");
    world.write("spool/x-43.log.gz", "excluded\n");
    let settings = format!(
        "format = 'json'\n[[input]]\npaths = [{:?}]\njob = '^[^/]+/(?P<id>\\d+)/'\n\
        [[input]]\npaths = [{:?}]\njob = 'x-(?P<id>\\d+)'\n[[input]]\npaths = [{:?}]\n",
        world.at("home"),
        world.at("spool"),
        world.at("missing"),
    );
    let path = write_settings(&world, "manytail.toml", &settings);
    let path = path.to_str().expect("UTF-8");
    assert_eq!(ids(&world, &["--config", path]), ["42_", "4711_"]);
    let (_, _, said) = jobs(&world, &["--config", path]);
    assert!(
        said.contains("1 could not be looked at") && said.contains("missing (it does not exist)"),
        "{said}"
    );
}

#[test]
fn a_log_that_the_caller_may_not_read_is_a_row_without_a_line() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.mkdir("open");
    world.mkdir("closed");
    world.write("open/slurm-4711.out", "secret\n");
    world.write("open/slurm-4712.out", "public\n");
    world.write("closed/slurm-4713.out", "secret\n");
    world.chmod("open/slurm-4711.out", 0o600);
    world.chmod("closed", 0o700);
    let mut command = Command::new(binary_for(NOBODY, &world.tree));
    remove_settings(&mut command);
    command.args(["jobs", "--preset", "slurm", "--format", "json"]).arg(&world.tree);
    let (code, out, said) = answer(command.uid(NOBODY).gid(NOBODY));
    assert_eq!(code, 0, "{said}");
    assert!(!out.contains("secret") && !out.contains("4713"), "{out}");
    let row: Value = serde_json::from_str(out.lines().next().expect("a row")).expect("json");
    assert_eq!((&row["line"], &row["error"]), (&Value::Null, &json!("Permission denied")));
    assert!(out.contains("public") && said.contains("closed (Permission denied)"), "{out} {said}");
}

#[test]
fn only_files_that_a_run_would_read_are_shown_where_the_owner_has_to_be_the_same() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.mkdir("alice");
    world.write("alice/slurm-4711.out", "own\n");
    world.write("alice/slurm-4712.out", "of a stranger\n");
    std::os::unix::fs::chown(world.at("alice/slurm-4712.out"), Some(NOBODY), None).expect("chown");
    let settings = |same: bool| {
        let text = format!("same_owner = {same}\npreset = 'slurm'\npaths = [{:?}]\n", world.tree);
        write_settings(&world, "manytail.toml", &text).to_str().expect("UTF-8").to_owned()
    };
    assert_eq!(ids(&world, &["--config", &settings(false)]), ["4711_", "4712_"]);
    assert_eq!(ids(&world, &["--config", &settings(true)]), ["4711_"]);
}

#[test]
fn a_line_longer_than_what_is_read_is_told_as_cut() {
    let world = World::new();
    world.write("slurm-4711.out", "x".repeat(10_000) + "end\n");
    let arguments = slurm(&world);
    let arguments = arguments.each_ref().map(String::as_str);
    let row = &rows(&world, &arguments)[0];
    let line = row["line"].as_str().expect("a line");
    assert!(line.len() == 4095 && line.ends_with("xend") && row["cut"] == true, "{}", line.len());
    assert!(jobs(&world, &arguments).1.contains("  ...xxx"));
}

#[test]
fn each_file_belongs_to_the_input_that_a_run_would_take_it_for() {
    let world = World::new();
    for name in ["home/inner", "plain"] {
        world.mkdir(name);
    }
    world.write("home/a-1.out", "x\n");
    world.write("home/a-2.log", "000 event\n\tmore\n...\n");
    world.write("home/inner/a-3.out", "x\n");
    world.write("home/inner/a-4.txt", "x\n");
    world.write("home/inner/a-5.none", "x\n");
    world.write("plain/a-6.out", "x\n");
    world.write("plain/a-7.out", "x\n");
    let input = |path: &str, more: &str| {
        let path = world.at(path);
        format!("[[input]]\npaths = [{path:?}]\njob = 'a-(?P<id>\\d+)'\n{more}\n")
    };
    let settings = "format = 'json'\n".to_owned()
        + &input("home", "include = ['*.log']\nrecord.end = '^\\.\\.\\.$'")
        + &input("home", "include = ['*.out']")
        + &input("home/inner", "include = ['*.txt']")
        + &input("plain/a-6.out", "")
        + &input("plain", "");
    let path = write_settings(&world, "manytail.toml", &settings);
    let path = path.to_str().expect("UTF-8");
    let found = rows(&world, &["--config", path]);
    let ids: Vec<&str> = found.iter().filter_map(|row| row["job"]["id"].as_str()).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "6", "7"]);
    assert_eq!(found[1]["line"], json!("\tmore"), "the mark of its end says nothing");
    let run = crate::settings::from_file(&world, &settings).with(&["--once"]);
    let delivered = Reading::start(&world, run);
    assert!(delivered.tail.wait_exit().success());
    let path_of = |row: &Value| row["path"].as_str().map(str::to_owned);
    let mut paths: Vec<String> = delivered.records().iter().filter_map(path_of).collect();
    paths.sort();
    paths.dedup();
    let mut shown: Vec<String> = found.iter().filter_map(path_of).collect();
    shown.sort();
    assert_eq!(shown, paths, "a run reads the same files");
    // `doctor` counts them with the input that has them.
    let (_, said, _) = crate::settings::run(&world, &["doctor", "--config", path], &[]);
    for (path, input, files) in
        [("home", 1, 1), ("home", 2, 2), ("home/inner", 3, 1), ("plain", 5, 1)]
    {
        let path = format!("{} (input {input}): ", world.at(path).display());
        let line = said
            .lines()
            .find(|line| line.contains(&path))
            .unwrap_or_else(|| panic!("{path} {said}"));
        assert!(line.contains(&format!("{files} file")), "{line}");
    }
}

#[test]
fn processes_are_told_from_each_other_and_names_of_one_file_are_not() {
    let world = World::new();
    for name in ["sim.42.0.out", "sim.42.0.err", "sim.42.1.out"] {
        world.write(name, "x\n");
    }
    world.hard_link("sim.42.1.out", "copy.42.1.out");
    let tree = world.tree.display().to_string();
    let found = rows(&world, &["--preset", "htcondor", &tree]);
    let shown: Vec<(&str, u64)> = found
        .iter()
        .filter_map(|row| Some((row["job"]["proc"].as_str()?, row["files"].as_u64()?)))
        .collect();
    assert_eq!(shown, [("0", 2), ("1", 1)]);
    let (_, out, _) = jobs(&world, &["--preset", "htcondor", &tree]);
    let tasks: Vec<&str> =
        out.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(tasks, ["0", "1"]);
}

#[test]
fn a_user_that_this_system_does_not_know_is_a_number() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.write("slurm-4711.out", "x\n");
    std::os::unix::fs::chown(world.at("slurm-4711.out"), Some(4_000_061), None).expect("chown");
    let arguments = slurm(&world);
    let arguments = arguments.each_ref().map(String::as_str);
    let row = &rows(&world, &arguments)[0];
    assert_eq!((&row["uid"], &row["user"]), (&json!(4_000_061), &Value::Null));
    assert!(jobs(&world, &arguments).1.contains(" 4000061 "));
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_to_do() {
    let world = World::new();
    let tree = world.tree.to_str().expect("UTF-8");
    let path = write_settings(&world, "manytail.toml", &format!("paths = ['{tree}']\n"));
    let config = path.to_str().expect("UTF-8");
    for (arguments, wanted) in [
        (&[tree][..], "no input has a pattern"),
        (&["--config", config], "no input has a pattern"),
        (&["--preset", "slurm", "--config", config], "cannot be used with"),
        (&["--pattern", "(?P<id>a)", "--config", config], "cannot be used with"),
        (&["--pattern", "(?P<name>a)", tree], "a group `id`"),
        (&["--preset", "airflow", tree], "a group `id`"),
        (&["--preset", "slurm"], "PATH"),
        (&["--pattern", "(", tree], "is no regular expression"),
        (&["--pattern", "a", tree], "has no named group"),
        (&["--preset", "slurm", "--user", "no such user", tree], "there is no user"),
        (&["--preset", "slurm", "--quiet-for", "long", tree], "--quiet-for"),
        (&["--preset", "slurm", "--include", "[", tree], "--include"),
    ] {
        let (code, out, said) = jobs(&world, arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {said}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
    let found = ids(&world, &["--pattern", r"(?P<id>\d+)", tree]);
    assert!(found.is_empty());
}
