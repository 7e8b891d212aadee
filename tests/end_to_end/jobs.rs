//! Fields of jobs: what the names of logs and their owners tell.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::harness::{Run, Tail, wait_for};
use crate::insight;
use crate::scrape::get;
use crate::settings::{from_file, reload, run, write_settings};
use crate::state::Memory;
use crate::world::{World, is_root, numbered, text};

const SLURM: &str = r"(?:^|[._-]|\.[oe])(?P<id>\d{4,})(?:_(?P<task>\d{1,5}))?(?:[._-]|$)";

/// A run whose json records the test reads as they are.
pub(crate) struct Reading {
    pub(crate) tail: Tail,
    pub(crate) out: std::path::PathBuf,
}

impl Reading {
    pub(crate) fn start(world: &World, run: Run) -> Reading {
        let out = world.beside("out.json");
        let tail = run.with(&["--format", "json"]).output(&format!("file:{}", out.display()));
        Reading { tail: tail.start(), out }
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for the line, and returns the `job` of its record.
    #[track_caller]
    fn job_of(&self, line: &str) -> Value {
        let find = || self.records().into_iter().find(|record| record["line"] == line);
        self.tail.wait(&format!("the line {line:?}"), || find().is_some());
        find().expect("it is there").get("job").cloned().unwrap_or(Value::Null)
    }
}

#[test]
fn the_named_groups_of_a_pattern_are_fields_of_each_record_in_their_place() {
    let world = World::new();
    world.write("train-v2_4711023_17.out", "one\n");
    world.write("slurm-4711.out", "two\n");
    let run = world.run().with(&["--job", SLURM, "--host=n", "--label", "cluster=north"]);
    let reading = Reading::start(&world, run);
    assert_eq!(reading.job_of("one"), json!({"id": "4711023", "task": "17"}));
    assert_eq!(
        reading.job_of("two"),
        json!({"id": "4711"}),
        "a group that takes no part is left out"
    );
    let text = fs::read_to_string(&reading.out).expect("the output");
    let record = text.lines().find(|line| line.contains("\"one\"")).expect("it came");
    let keys =
        ["\"host\":", "\"path\":", "\"file\":", "\"labels\":{", "\"job\":{\"id\":", "\"offset\":"];
    let places: Vec<usize> = keys.iter().map(|key| record.find(key).expect(key)).collect();
    assert!(places.is_sorted(), "{record}");
}

#[test]
fn a_pattern_with_a_slash_is_compared_with_the_path_below_the_innermost_path_of_the_input() {
    let world = World::new();
    world.mkdir("alice/run/deep");
    world.mkdir("inner/bob");
    let settings = |pattern: &str| {
        format!(
            "format = 'json'\noutput = 'file:{}'\n[[input]]\npaths = [{:?}, {:?}, {:?}]\n\
            job = '{pattern}'\n",
            world.beside("out.json").display(),
            world.tree,
            world.at("inner"),
            world.at("single-9.log"),
        )
    };
    world.write("single-9.log", "single\n");
    let run = from_file(&world, &settings(r"^(?P<user>[^/]+)/(?:.*/)?[^/]*?(?P<id>\d+)[^/]*$"));
    let reading = Reading { tail: run.start(), out: world.beside("out.json") };
    world.append("alice/run/deep/train_4711.log", "deep\n");
    world.append("inner/bob/12.log", "inner\n");
    assert_eq!(reading.job_of("deep"), json!({"user": "alice", "id": "4711"}));
    assert_eq!(reading.job_of("inner"), json!({"user": "bob", "id": "12"}));
    assert_eq!(reading.job_of("single"), Value::Null, "its name has no slash");
}

#[test]
fn a_pattern_that_does_not_match_drops_nothing_and_status_and_metrics_tell_of_it() {
    let world = World::new();
    let metrics = world.beside("metrics.sock");
    let run = world.run().with(&["--job", SLURM]);
    let run = insight::with_socket(&world, run);
    let run = run.with(&["--metrics", &format!("unix:{}", metrics.display())]);
    let reading = Reading::start(&world, run);
    world.append("notes.txt", "no number\n");
    world.append("4711.out", "a number\n");
    assert_eq!(reading.job_of("no number"), Value::Null);
    assert_eq!(reading.job_of("a number"), json!({"id": "4711"}));
    let tree = world.tree.to_str().expect("UTF-8");
    let (_, said) = status(&world, &[]);
    let wanted = format!("no match in 1 read below {tree}, the last one of {tree}/notes.txt");
    assert!(said.contains(&wanted), "{said}");
    let told: Value = serde_json::from_str(&status(&world, &["--format", "json"]).1).expect("json");
    let example = format!("{tree}/notes.txt");
    assert_eq!(
        told["status"]["jobs"],
        json!([{"input": tree, "mismatches": 1, "example": example}])
    );
    let metric = format!("manytail_job_mismatches_total{{input=\"{tree}\"}} 1");
    let metrics = get(&metrics, "/metrics").body;
    assert!(metrics.contains(&metric), "{metrics}");
}

#[test]
fn uid_is_the_owner_of_the_file_also_of_one_that_stays_open() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let reading = Reading::start(&world, world.run().with(&["--uid"]));
    world.write("a.log", "mine\n");
    let own = fs::metadata(world.at("a.log")).expect("stat").uid();
    assert_eq!(reading.job_of("mine"), json!({ "uid": own }));
    std::os::unix::fs::chown(world.at("a.log"), Some(61_011), None).expect("chown");
    world.append("a.log", "theirs\n");
    assert_eq!(reading.job_of("theirs"), json!({"uid": 61_011}));
}

#[test]
fn a_group_that_is_not_utf8_is_left_out_and_the_others_are_not() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    let run = world.run().with(&["--job", r"^(?P<user>[^-]+)-(?P<id>\d+)", "--uid"]);
    let reading = Reading::start(&world, run);
    world.append(OsStr::from_bytes(b"b\xf6b-7.log"), "odd\n");
    world.append(OsStr::from_bytes("jürgen-8.log".as_bytes()), "even\n");
    let uid = fs::metadata(&world.tree).expect("stat").uid();
    assert_eq!(reading.job_of("odd"), json!({"id": "7", "uid": uid}));
    assert_eq!(reading.job_of("even"), json!({"user": "jürgen", "id": "8", "uid": uid}));
}

#[test]
fn a_file_that_gets_another_name_has_the_fields_of_that_name() {
    let world = World::new();
    let reading = Reading::start(&world, world.run().with(&["--job", r"(?P<id>\d+)"]));
    let mut writer = world.writer("1.log");
    let mut write =
        |line: &str| std::io::Write::write_all(&mut writer, line.as_bytes()).expect("write");
    write("one\n");
    assert_eq!(reading.job_of("one"), json!({"id": "1"}));
    world.rename("1.log", "2.log");
    write("two\n");
    assert_eq!(reading.job_of("two"), json!({"id": "2"}));
    world.rename("2.log", "none.log");
    write("three\n");
    assert_eq!(reading.job_of("three"), Value::Null);
}

#[test]
fn a_reload_changes_the_pattern_of_an_input_and_no_line_is_lost() {
    let world = World::new();
    let settings = |rules: &str| {
        format!(
            "format = 'json'\noutput = 'file:{}'\n[[input]]\npaths = [{:?}]\n{rules}",
            world.beside("out.json").display(),
            world.tree
        )
    };
    let run = from_file(&world, &settings("job = '(?P<id>\\d+)'\n"));
    let reading = Reading { tail: run.start(), out: world.beside("out.json") };
    world.append("a7.log", "one\n");
    assert_eq!(reading.job_of("one"), json!({"id": "7"}));
    write_settings(&world, "manytail.toml", &settings("job = '(?P<name>[a-z])(?P<id>\\d+)'\n"));
    reload(&reading.tail, "settings read again: other rules for inputs");
    world.append("a7.log", "two\n");
    assert_eq!(reading.job_of("two"), json!({"name": "a", "id": "7"}));
    write_settings(&world, "manytail.toml", &settings("job = '(?P<id'\n"));
    reload(&reading.tail, "the settings stay as they are");
    world.append("a7.log", "three\n");
    assert_eq!(reading.job_of("three"), json!({"name": "a", "id": "7"}));
    write_settings(&world, "manytail.toml", &settings(""));
    reload(&reading.tail, "settings read again: other rules for inputs");
    world.append("a7.log", "four\n");
    assert_eq!(reading.job_of("four"), Value::Null);
    assert_eq!(reading.records().len(), 4);
}

#[test]
fn records_with_a_job_are_known_again_after_a_kill() {
    let world = World::new();
    let memory = Memory::new(&world);
    let lines = numbered("line", 0..100);
    let with_job = |run: Run| run.with(&["--job", r"(?P<id>\d+)", "--uid"]);
    let reading = Reading::start(&world, with_job(memory.run_without_commits()));
    world.append("7.log", text(&lines));
    wait_for("the lines", || reading.records().len() == 100);
    reading.tail.settled();
    reading.tail.kill();
    let reading = Reading::start(&world, with_job(memory.run()));
    world.append("7.log", "after\n");
    reading.job_of("after");
    reading.tail.settled();
    assert_eq!(reading.records().len(), 101, "none comes again");
}

#[test]
fn a_bad_pattern_is_refused_with_its_place_and_a_sentence() {
    let world = World::new();
    let tree = world.tree.to_str().expect("UTF-8");
    for (rules, wanted) in [
        (
            "job = '(?P<id>'",
            "manytail.toml:3: job: `(?P<id>`: is no regular expression: unclosed group",
        ),
        ("job = '(\\d+)'", "manytail.toml:3: job: `(\\d+)`: has no named group"),
        ("job = '(?P<Id>a)'", "manytail.toml:3: job: `(?P<Id>a)`: the group `Id`"),
        ("job = ''", "manytail.toml:3: job: is empty"),
        ("job = '(?P<uid>a)'\nuid = true", "manytail.toml:3: job: has a group `uid`"),
        ("job = 7", "manytail.toml:3: job: expected a string"),
        ("uid = 'yes'", "manytail.toml:3: uid: expected true or false"),
    ] {
        let settings = format!("[[input]]\npaths = ['{tree}']\n{rules}\n");
        let path = write_settings(&world, "manytail.toml", &settings);
        for command in ["run", "check"] {
            let arguments = [command, "--config", path.to_str().expect("UTF-8")];
            let (code, _, said) = run(&world, &arguments, &[]);
            assert!(code == Some(2) && said.contains(wanted), "{rules}: {said}");
        }
    }
    let (code, _, said) = run(&world, &["check", "--job", "(?P<id>", tree], &[]);
    assert!(code == Some(2) && said.contains("--job"), "{said}");
    let (code, _, said) = run(&world, &["check", "--uid", tree], &[]);
    assert!(code == Some(0) && said.contains("another format they change nothing"), "{said}");
}

#[test]
fn check_tells_the_input_the_labels_and_the_job_of_a_path() {
    let world = World::new();
    let settings = r#"
format = "json"
[[input]]
paths = ["/home", "/scratch"]
exclude = ["tmp/"]
labels = { cluster = "north" }
job = '(?P<id>\d{4,})(?:_(?P<task>\d+))?'
uid = true
[[input]]
paths = ["/home/apps"]
include = ["*.log"]
job = '^(?P<app>[^/]+)/'
"#;
    let path = write_settings(&world, "manytail.toml", settings);
    let config = path.to_str().expect("UTF-8");
    let check = |arguments: &[&str]| {
        run(&world, &[&["check", "--config", config], arguments].concat(), &[])
    };
    let (code, said, _) =
        check(&["--path", "/home/bob/x_4711_17.out", "--path", "/home/apps/web/a.log"]);
    assert_eq!(code, Some(0));
    let place = |line: u32| format!("{config}:{line}");
    let wanted = format!(
        "/home/bob/x_4711_17.out\n  input   1 ({})\n  labels  cluster=north\n  job     id=4711 \
        task=17 uid=(the file's owner)\n/home/apps/web/a.log\n  input   2 ({})\n  \
        job     app=web\n",
        place(4),
        place(10)
    );
    assert_eq!(said, wanted);
    for (path, wanted) in [
        ("/home/bob/tmp/1.out", "not followed: input 1: `exclude` leaves out bob/tmp: tmp/"),
        ("/var/log/messages", "not followed: it is below no PATH"),
        ("/home/bob/a.gz", "not followed: input 1: `exclude` leaves out bob/a.gz: *.gz"),
    ] {
        let (code, said, _) = check(&["--path", path]);
        assert!(code == Some(1) && said.contains(wanted), "{said}");
    }
    // What the inner input leaves out, the outer one follows.
    let (_, said, _) = check(&["--path", "/home/apps/notes.txt"]);
    assert!(said.contains("input   1") && said.contains("does not match"), "{said}");
    let (_, said, _) = check(&["--report", "json", "--path", "/scratch/4711.out"]);
    let told: Value = serde_json::from_str(&said).expect("one object");
    let wanted = json!({"path": "/scratch/4711.out", "input": 1, "source": place(4),
        "labels": {"cluster": "north"}, "job": {"id": "4711"}, "uid": true});
    assert_eq!(told, wanted);
}

/// Exit code and stdout of `manytail status`.
fn status(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let output = insight::status(world, arguments);
    (output.status.code(), insight::stdout(&output))
}

#[test]
fn status_of_a_job_tells_of_each_of_its_files_and_exits_1_if_there_is_none() {
    let world = World::new();
    let socket = insight::socket(&world);
    let settings = format!(
        "format = 'json'\noutput = 'file:{}'\ncontrol_socket = {socket:?}\n[[input]]\n\
        paths = [{:?}]\nlabels = {{ cluster = 'north' }}\npreset = 'slurm'\n[[input]]\n\
        paths = [{:?}]\n",
        world.beside("out.json").display(),
        world.at("a"),
        world.at("b"),
    );
    world.mkdir("a/deep");
    world.mkdir("b");
    let reading =
        Reading { tail: from_file(&world, &settings).start(), out: world.beside("out.json") };
    world.append("a/train_4711_1.out", "one\n");
    world.append("a/deep/train_4711_2.out", "two\npiece");
    world.append("a/train_4712.out", "other\n");
    world.append("b/4711.out", "no pattern here\n");
    assert_eq!(reading.job_of("two"), json!({"id": "4711", "task": "2"}));
    reading.job_of("no pattern here");
    reading.tail.at_rest();
    let (code, said) = status(&world, &["--job", "4711", "--format", "json"]);
    let mut told: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    told.sort_by_key(|file| file["path"].to_string());
    let uid = fs::metadata(&world.tree).expect("stat").uid();
    let of = |file: &Value| {
        ["path", "state", "offset", "input", "labels", "job", "uid"].map(|key| file[key].clone())
    };
    let labels = json!({"cluster": "north"});
    let path = |name: &str| json!(world.at(name).to_str().expect("UTF-8"));
    let wanted = [
        [
            path("a/deep/train_4711_2.out"),
            json!("unfinished"),
            json!(4),
            json!(1),
            labels.clone(),
            json!({"id": "4711", "task": "2"}),
            json!(uid),
        ],
        [
            path("a/train_4711_1.out"),
            json!("read_to_end"),
            json!(4),
            json!(1),
            labels,
            json!({"id": "4711", "task": "1"}),
            json!(uid),
        ],
    ];
    assert_eq!((code, told.iter().map(of).collect::<Vec<_>>()), (Some(0), wanted.to_vec()));
    let (code, said) = status(&world, &["--job", "4712"]);
    let lines = ["a/train_4712.out", "labels     cluster=north", "job        id=4712", "owner"];
    assert!(code == Some(0) && lines.iter().all(|line| said.contains(line)), "{said}");
    let (code, said) = status(&world, &["--job", "471"]);
    assert_eq!((code, &*said), (Some(1), "no file that is followed has a name of job 471\n"));
    assert_eq!(status(&world, &["--job", ""]).0, Some(2));
    assert_eq!(status(&world, &["--job", "1", "file"]).0, Some(2));
}

#[test]
fn a_daemon_whose_names_tell_no_job_says_so_when_it_is_asked_for_one() {
    let world = World::new();
    let run = insight::with_socket(&world, world.run().with(&["--job", "(?P<user>[a-z]+)"]));
    let reading = Reading::start(&world, run);
    world.append("bob.log", "one\n");
    reading.job_of("one");
    let (code, said) = status(&world, &["--job", "1"]);
    assert!(
        code == Some(1) && said.starts_with("no input has a pattern with a group `id`"),
        "{said}"
    );
    let (code, said) = status(&world, &["--job", "1", "--format", "json"]);
    assert_eq!((code, &*said), (Some(1), ""));
}

/// More files than a part of an answer looks at.
#[test]
fn all_files_of_a_job_are_found_among_many() {
    let world = World::new();
    for number in 0..5_000 {
        world.write(format!("x_{}_{number}.out", 1000 + number % 50), "line\n");
    }
    let run = insight::with_socket(&world, world.run().with(&["--preset", "slurm"]));
    let reading = Reading::start(&world, run);
    wait_for("all lines", || reading.records().len() == 5_000);
    let (code, said) = status(&world, &["--job", "1007", "--format", "json"]);
    assert_eq!((code, said.lines().count()), (Some(0), 100));
}

#[test]
fn status_tells_the_files_and_lines_of_each_input_and_which_has_none() {
    let world = World::new();
    let socket = insight::socket(&world);
    world.mkdir("a");
    world.mkdir("b");
    let settings = |second: &str| {
        format!(
            "format = 'json'\noutput = 'file:{}'\ncontrol_socket = {socket:?}\n[[input]]\n\
            paths = [{:?}]\n[[input]]\npaths = [{:?}]\n{second}",
            world.beside("out.json").display(),
            world.at("a"),
            world.at("b"),
        )
    };
    let run = from_file(&world, &settings("include = ['*.none']\n"));
    let reading = Reading { tail: run.start(), out: world.beside("out.json") };
    world.append("a/1.log", "one\ntwo\n");
    world.append("a/2.log", "three\n");
    world.append("b/1.log", "left out\n");
    wait_for("the lines", || reading.records().len() == 3);
    let told = || {
        let (_, said) = status(&world, &["--format", "json"]);
        let told: Value = serde_json::from_str(&said).expect("json");
        told["status"]["inputs"].clone()
    };
    let path = |name: &str| world.at(name).to_str().expect("UTF-8").to_owned();
    let first = json!({"paths": [path("a")], "has_had_files": true, "files": 2, "records": 3,
        "bytes": 14});
    let none = json!({"paths": [path("b")], "has_had_files": false, "files": 0, "records": 0,
        "bytes": 0});
    assert_eq!(told(), json!([first, none]));
    let (_, said) = status(&world, &[]);
    let lines = [
        format!("input 1      {}: 2 files, 3 lines, 14 B", path("a")),
        format!("input 2      {}: no file so far", path("b")),
    ];
    assert!(lines.iter().all(|line| said.contains(line)), "{said}");
    write_settings(&world, "manytail.toml", &settings(""));
    reload(&reading.tail, "settings read again: other rules for inputs");
    wait_for("the line", || reading.records().len() == 4);
    let second = json!({"paths": [path("b")], "has_had_files": true, "files": 1, "records": 1,
        "bytes": 9});
    assert_eq!(told(), json!([first, second]), "counts go on");
}

#[test]
fn doctor_counts_the_names_that_a_preset_or_a_pattern_matches_and_names_five_that_it_does_not() {
    let world = World::new();
    world.mkdir("a");
    for number in 0..7 {
        world.write(format!("a/notes{number}.txt"), "x\n");
        world.write(format!("a/slurm-{}.out", 4_711_000 + number), "x\n");
    }
    world.write("a/binary.dat", "x\n");
    let tree = world.at("a");
    let tree = tree.to_str().expect("UTF-8");
    let (code, said, _) = run(&world, &["doctor", "--preset", "slurm", tree], &[]);
    let wanted = format!("jobs: {tree}: the pattern for jobs matches 7 of 14 files, but not ");
    assert!(said.contains(&wanted) && said.contains(" and 2 more"), "{said}");
    assert!(said.contains("1 matching no --include (as binary.dat)"), "{said}");
    assert_ne!(code, Some(2), "{said}");
    let settings = format!(
        "[[input]]\npaths = ['{tree}']\njob = '^(?P<id>\\d+)$'\n[[input]]\npaths = ['{}']\n",
        world.tree.display()
    );
    let path = write_settings(&world, "manytail.toml", &settings);
    let config = path.to_str().expect("UTF-8");
    let (_, said, _) = run(&world, &["doctor", "--config", config], &[]);
    let wanted = format!(
        "warning  jobs: {tree} (input 1): the pattern for jobs matches 0 of 15 files, but not "
    );
    assert!(said.contains(&wanted) && said.contains(" (input 2): 1 directory"), "{said}");
}
