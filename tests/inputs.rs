//! Several inputs, and settings that change while the engine runs, on the real kernel, without a
//! process around the engine.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests drive the world: clocks, files"
)]

mod taking;

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use manytail::testing::config::{
    Binary, CarriageReturn, EndRules, EngineConfig, Filters, Format, InputConfig, JobRules, StartAt,
};
use manytail::testing::engine::Engine;
use manytail::testing::patterns::Patterns;
use manytail::testing::sys::{LinkRule, Linux, clock};
use taking::Taking;

/// What came out, record by record.
type Records = Rc<RefCell<Vec<String>>>;

fn keep(records: &Records) -> Taking {
    let records = Rc::clone(records);
    Taking::new(move |bytes| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        records.borrow_mut().extend(text.lines().map(str::to_owned));
    })
}

struct Tail {
    directory: tempfile::TempDir,
    engine: Engine<Linux, Taking>,
    records: Records,
    is_json: bool,
}

/// Globs to include, and to exclude, below these paths; `from` and labels.
struct Input {
    paths: Vec<&'static str>,
    include: Vec<&'static str>,
    exclude: Vec<&'static str>,
    from: StartAt,
    labels: Vec<(&'static str, &'static str)>,
}

fn input(paths: &[&'static str], include: &[&'static str]) -> Input {
    Input {
        paths: paths.to_vec(),
        include: include.to_vec(),
        exclude: Vec::new(),
        from: StartAt::Beginning,
        labels: Vec::new(),
    }
}

impl Input {
    fn excluding(mut self, globs: &[&'static str]) -> Input {
        self.exclude = globs.to_vec();
        self
    }

    fn at_end(mut self) -> Input {
        self.from = StartAt::End;
        self
    }

    fn labelled(mut self, label: (&'static str, &'static str)) -> Input {
        self.labels.push(label);
        self
    }

    fn config(&self, top: &Path) -> InputConfig {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        InputConfig {
            paths: self
                .paths
                .iter()
                .map(|path| top.join(path).as_os_str().as_bytes().to_vec())
                .collect(),
            patterns: Patterns::new(&owned(&self.include), &owned(&self.exclude), true).unwrap(),
            from: self.from,
            binary: Binary::Deliver,
            carriage_return: CarriageReturn::Data,
            multiline: None,
            filters: Filters::default(),
            ends: EndRules::default(),
            job: JobRules::default(),
            labels: self
                .labels
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

impl Tail {
    fn start(directory: tempfile::TempDir, format: Format, inputs: &[Input]) -> Tail {
        Tail::start_with(directory, format, inputs, |_| {})
    }

    fn start_with(
        directory: tempfile::TempDir,
        format: Format,
        inputs: &[Input],
        change: fn(&mut EngineConfig),
    ) -> Tail {
        let mut config = EngineConfig {
            inputs: inputs.iter().map(|input| input.config(directory.path())).collect(),
            recursive: true,
            follow_links: None,
            same_owner: false,
            format,
            host: None,
            routes: None,
            once: false,
            coalesce: Duration::ZERO,
            line_bytes_max: 1 << 20,
            partial_after: None,
            rescan: None,
            rescan_remote: None,
            ignore_older: None,
        };
        change(&mut config);
        let records = Records::default();
        let engine = Engine::new(config, Linux::new(), keep(&records), clock::now());
        Tail { directory, engine, records, is_json: format == Format::Json }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn append(&self, path: &str, line: &str) {
        append(&self.path(path), line);
    }

    fn reload(&mut self, inputs: &[Input]) {
        let inputs = inputs.iter().map(|input| input.config(self.directory.path())).collect();
        self.engine.reload(inputs, clock::now());
    }

    /// Turns until everything is at rest: by then everything that is due has come.
    fn settle(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut quiet = 0;
        while quiet < 40 {
            assert!(Instant::now() < deadline, "never at rest");
            self.engine.events_ready();
            let before = (self.engine.stats().events, self.engine.stats().records);
            let turn = self.engine.turn(clock::now()).unwrap();
            let is_quiet = turn != manytail::testing::engine::Turn::Again
                && before == (self.engine.stats().events, self.engine.stats().records);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if is_quiet {
                // A name that left the tree is confirmed as gone after 20 ms.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// The records since the last call, sorted: `path:line`, in json also the labels.
    fn take(&mut self) -> Vec<String> {
        self.settle();
        let top = format!("{}/", self.directory.path().display());
        let mut records: Vec<String> = self
            .records
            .borrow_mut()
            .drain(..)
            .map(|record| {
                if !self.is_json {
                    return record.replacen(&top, "", 1).replacen('\t', ":", 1);
                }
                let value: serde_json::Value = serde_json::from_str(&record).unwrap();
                let path = value["path"].as_str().unwrap().replacen(&top, "", 1);
                format!("{path}:{} {}", value["line"].as_str().unwrap(), value["labels"])
            })
            .collect();
        records.sort();
        records
    }
}

fn append(path: &Path, line: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// A directory with a first line in each of these files.
fn tree(files: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        append(&directory.path().join(file), "first");
    }
    directory
}

#[test]
fn each_input_has_its_own_globs_start_and_labels() {
    let directory = tree(&["a/1.log", "a/1.out", "b/1.log", "b/1.out"]);
    let inputs = [
        input(&["a"], &["*.log"]).labelled(("cluster", "north")).labelled(("\"q\"", "é")),
        input(&["b"], &[]).at_end().excluding(&["*.log"]),
    ];
    let mut tail = Tail::start(directory, Format::Json, &inputs);
    assert_eq!(tail.take(), [r#"a/1.log:first {"\"q\"":"é","cluster":"north"}"#]);
    tail.append("a/1.out", "never");
    tail.append("b/1.log", "never");
    tail.append("b/1.out", "second");
    tail.append("b/2.out", "first");
    tail.append("a/d/2.log", "first");
    let labels = r#"{"\"q\"":"é","cluster":"north"}"#;
    assert_eq!(
        tail.take(),
        [
            format!("a/d/2.log:first {labels}"),
            "b/1.out:second null".into(),
            "b/2.out:first null".into()
        ]
    );
}

#[test]
fn labels_stand_behind_file_in_the_order_of_the_settings() {
    let mut tail = Tail::start(
        tree(&["a/1.log"]),
        Format::Json,
        &[input(&["a"], &[]).labelled(("z", "1")).labelled(("a", "2"))],
    );
    tail.settle();
    let record = tail.records.borrow()[0].clone();
    let keys: Vec<&str> =
        ["\"file\":", "\"labels\":{\"z\":\"1\",\"a\":\"2\"}", "\"offset\":", "\"line\":"].to_vec();
    let places: Vec<usize> = keys
        .iter()
        .map(|key| record.find(key).unwrap_or_else(|| panic!("{key} in {record}")))
        .collect();
    assert!(places.is_sorted(), "{record}");
}

#[test]
fn a_file_belongs_to_the_first_input_that_accepts_it_and_none_of_a_later_one_is_lost() {
    let directory = tree(&["t/1.out", "t/1.err", "t/1.tmp", "t/d/2.out", "t/d/2.err"]);
    let inputs = [
        input(&["t"], &["*.out"]).labelled(("kind", "out")),
        input(&["t"], &["*.err", "*.out"]).labelled(("kind", "err")),
    ];
    let mut tail = Tail::start(directory, Format::Json, &inputs);
    let (out, err) = (r#"{"kind":"out"}"#, r#"{"kind":"err"}"#);
    let expected = [
        format!("t/1.err:first {err}"),
        format!("t/1.out:first {out}"),
        format!("t/d/2.err:first {err}"),
        format!("t/d/2.out:first {out}"),
    ];
    assert_eq!(tail.take(), expected);
    tail.append("t/e/3.err", "new");
    tail.append("t/e/3.out", "new");
    assert_eq!(tail.take(), [format!("t/e/3.err:new {err}"), format!("t/e/3.out:new {out}")]);
}

#[test]
fn an_input_within_another_ones_tree_reads_what_the_outer_one_leaves_out() {
    for inner_first in [false, true] {
        let directory = tree(&[
            "t/1.log",
            "t/jobs/2.log",
            "t/jobs/2.out",
            "t/jobs/tmp/3.log",
            "t/jobs/tmp/3.out",
        ]);
        let outer = input(&["t"], &["*.log"]).excluding(&["tmp/"]);
        let inner = input(&["t/jobs"], &["*.out", "tmp/*.log"]);
        let inputs = if inner_first { [inner, outer] } else { [outer, inner] };
        let mut tail = Tail::start(directory, Format::Text, &inputs);
        let expected = [
            "t/1.log:first",
            "t/jobs/2.log:first",
            "t/jobs/2.out:first",
            "t/jobs/tmp/3.log:first",
            "t/jobs/tmp/3.out:first",
        ];
        assert_eq!(tail.take(), expected, "inner first: {inner_first}");
        tail.append("t/jobs/tmp/3.log", "second");
        tail.append("t/jobs/tmp/e/4.log", "only the outer one, and it leaves tmp out");
        tail.append("t/jobs/e/4.log", "second");
        tail.append("t/jobs/e/4.out", "second");
        assert_eq!(
            tail.take(),
            ["t/jobs/e/4.log:second", "t/jobs/e/4.out:second", "t/jobs/tmp/3.log:second"],
            "inner first: {inner_first}"
        );
    }
}

#[test]
fn a_single_file_of_one_input_is_followed_though_the_input_of_its_directory_leaves_it_out() {
    for file_first in [false, true] {
        let directory = tree(&["t/1.log", "t/notes.txt", "t/other.txt"]);
        let (dir, file) =
            (input(&["t"], &["*.log"]), input(&["t/notes.txt"], &[]).labelled(("is", "file")));
        let inputs = if file_first { [file, dir] } else { [dir, file] };
        let mut tail = Tail::start(directory, Format::Json, &inputs);
        assert_eq!(
            tail.take(),
            ["t/1.log:first null", r#"t/notes.txt:first {"is":"file"}"#],
            "file first: {file_first}"
        );
        tail.append("t/notes.txt", "second");
        fs::remove_file(tail.path("t/1.log")).unwrap();
        assert_eq!(
            tail.take(),
            [r#"t/notes.txt:second {"is":"file"}"#],
            "file first: {file_first}"
        );
    }
}

#[test]
fn a_reload_starts_what_is_new_stops_what_is_gone_and_neither_repeats_nor_loses_what_stays() {
    let directory = tree(&["a/1.log", "b/1.log", "c/1.log"]);
    let mut tail = Tail::start(directory, Format::Text, &[input(&["a"], &[]), input(&["b"], &[])]);
    assert_eq!(tail.take(), ["a/1.log:first", "b/1.log:first"]);
    tail.append("b/1.log", "second");
    tail.reload(&[input(&["b"], &[]), input(&["c"], &[])]);
    tail.append("a/1.log", "not read");
    tail.append("b/1.log", "third");
    tail.append("c/1.log", "second");
    assert_eq!(tail.take(), ["b/1.log:second", "b/1.log:third", "c/1.log:first", "c/1.log:second"]);
    // Reading resumes in a file that comes back within ten minutes.
    tail.reload(&[input(&["a", "b"], &[])]);
    assert_eq!(tail.take(), ["a/1.log:not read"]);
    tail.append("c/1.log", "not read");
    tail.append("b/2.log", "first");
    assert_eq!(tail.take(), ["b/2.log:first"]);
    let sizes = tail.engine.sizes();
    assert_eq!((sizes.directories, sizes.watches), (2, 2), "no watch is left behind");
}

#[test]
fn a_reload_with_the_same_settings_looks_at_nothing() {
    let mut tail = Tail::start(tree(&["a/1.log"]), Format::Text, &[input(&["a"], &["*.log"])]);
    assert_eq!(tail.take(), ["a/1.log:first"]);
    let opens = tail.engine.stats().opens;
    tail.reload(&[input(&["a"], &["*.log"])]);
    assert!(tail.take().is_empty());
    assert_eq!(tail.engine.stats().opens, opens);
}

#[test]
fn globs_that_change_let_files_go_and_take_others_in_also_in_directories_that_were_left_out() {
    let directory = tree(&["t/1.log", "t/1.out", "t/tmp/2.log", "t/old/3.log"]);
    let mut tail =
        Tail::start(directory, Format::Text, &[input(&["t"], &["*.log"]).excluding(&["tmp/"])]);
    assert_eq!(tail.take(), ["t/1.log:first", "t/old/3.log:first"]);
    tail.reload(&[input(&["t"], &["*.out", "2.log"]).excluding(&["old/"])]);
    assert_eq!(tail.take(), ["t/1.out:first", "t/tmp/2.log:first"]);
    tail.append("t/1.log", "not read");
    tail.append("t/old/3.log", "not read");
    tail.append("t/tmp/2.log", "second");
    assert_eq!(tail.take(), ["t/tmp/2.log:second"]);
}

#[test]
fn a_rotated_file_whose_name_never_matched_is_read_on_after_globs_changed() {
    let mut tail = Tail::start(tree(&["t/app.log"]), Format::Text, &[input(&["t"], &["*.log"])]);
    assert_eq!(tail.take(), ["t/app.log:first"]);
    fs::rename(tail.path("t/app.log"), tail.path("t/app.log.1")).unwrap();
    assert!(tail.take().is_empty());
    tail.reload(&[input(&["t"], &["*.log", "*.out"])]);
    tail.append("t/app.log.1", "late");
    tail.append("t/app.log", "new");
    assert_eq!(tail.take(), ["t/app.log.1:late", "t/app.log:new"]);
}

#[test]
fn an_input_within_the_tree_of_a_removed_one_goes_on() {
    let directory = tree(&["t/1.log", "t/jobs/2.log", "t/jobs/2.out", "t/jobs/d/3.out"]);
    let mut tail = Tail::start(
        directory,
        Format::Text,
        &[input(&["t"], &["*.log"]), input(&["t/jobs"], &["*.out"])],
    );
    assert_eq!(
        tail.take(),
        ["t/1.log:first", "t/jobs/2.log:first", "t/jobs/2.out:first", "t/jobs/d/3.out:first"]
    );
    tail.append("t/jobs/d/3.out", "second");
    tail.reload(&[input(&["t/jobs"], &["*.out"])]);
    assert_eq!(tail.take(), ["t/jobs/d/3.out:second"]);
    tail.append("t/jobs/2.log", "not read");
    tail.append("t/jobs/2.out", "second");
    assert_eq!(tail.take(), ["t/jobs/2.out:second"]);
    tail.append("t/1.log", "not read");
    tail.append("t/jobs/d/e/4.out", "first");
    assert_eq!(tail.take(), ["t/jobs/d/e/4.out:first"]);
    assert_eq!(tail.engine.sizes().watches, 3, "jobs, d and e");
}

#[test]
fn an_input_that_is_added_around_another_takes_the_rest() {
    let directory = tree(&["t/1.log", "t/jobs/2.log", "t/jobs/2.out"]);
    let mut tail = Tail::start(directory, Format::Text, &[input(&["t/jobs"], &["*.out"])]);
    assert_eq!(tail.take(), ["t/jobs/2.out:first"]);
    tail.reload(&[input(&["t"], &["*.log"]), input(&["t/jobs"], &["*.out"])]);
    tail.append("t/jobs/2.out", "second");
    assert_eq!(tail.take(), ["t/1.log:first", "t/jobs/2.log:first", "t/jobs/2.out:second"]);
}

#[test]
fn from_end_applies_to_what_an_added_input_finds_and_not_to_what_comes_later() {
    let mut tail = Tail::start(tree(&["a/1.log", "b/1.log"]), Format::Text, &[input(&["a"], &[])]);
    assert_eq!(tail.take(), ["a/1.log:first"]);
    tail.reload(&[input(&["a"], &[]), input(&["b"], &[]).at_end()]);
    assert!(tail.take().is_empty());
    tail.append("b/1.log", "second");
    tail.append("b/2.log", "first");
    assert_eq!(tail.take(), ["b/1.log:second", "b/2.log:first"]);
}

#[test]
fn a_path_that_goes_to_another_input_has_its_labels_from_then_on_and_is_not_read_again() {
    let directory = tree(&["a/1.log", "b/1.log"]);
    let mut tail =
        Tail::start(directory, Format::Json, &[input(&["a", "b"], &[]).labelled(("n", "1"))]);
    assert_eq!(tail.take().len(), 2);
    tail.reload(&[
        input(&["a"], &[]).labelled(("n", "1")),
        input(&["b"], &[]).labelled(("n", "2")),
    ]);
    tail.settle();
    tail.append("a/1.log", "second");
    tail.append("b/1.log", "second");
    assert_eq!(tail.take(), [r#"a/1.log:second {"n":"1"}"#, r#"b/1.log:second {"n":"2"}"#]);
}

#[test]
fn single_files_are_added_and_removed_by_a_reload() {
    let mut tail = Tail::start(
        tree(&["a/1.log", "a/2.log", "a/3.log"]),
        Format::Text,
        &[input(&["a/1.log", "a/2.log"], &[])],
    );
    assert_eq!(tail.take(), ["a/1.log:first", "a/2.log:first"]);
    tail.reload(&[input(&["a/2.log", "a/3.log"], &[])]);
    tail.append("a/1.log", "not read");
    tail.append("a/2.log", "second");
    assert_eq!(tail.take(), ["a/2.log:second", "a/3.log:first"]);
    tail.reload(&[]);
    tail.append("a/2.log", "not read");
    assert!(tail.take().is_empty());
    assert_eq!(tail.engine.sizes().watches, 0);
}

#[test]
fn a_directory_that_moves_from_one_input_to_another_is_covered_by_the_new_ones_globs() {
    let directory = tree(&["a/d/1.log", "a/d/1.out", "b/2.out"]);
    let mut tail = Tail::start(
        directory,
        Format::Text,
        &[input(&["a"], &["*.log"]), input(&["b"], &["*.out"])],
    );
    assert_eq!(tail.take(), ["a/d/1.log:first", "b/2.out:first"]);
    fs::rename(tail.path("a/d"), tail.path("b/d")).unwrap();
    assert_eq!(tail.take(), ["b/d/1.out:first"]);
    tail.append("b/d/1.log", "goes on, as it was followed");
    tail.append("b/d/1.out", "second");
    tail.append("b/d/3.log", "not the new input's");
    assert_eq!(tail.take(), ["b/d/1.log:goes on, as it was followed", "b/d/1.out:second"]);
}

#[test]
fn a_missing_path_that_a_reload_names_is_picked_up_when_it_appears() {
    let mut tail = Tail::start(tree(&["a/1.log"]), Format::Text, &[input(&["a"], &[])]);
    assert_eq!(tail.take(), ["a/1.log:first"]);
    tail.reload(&[input(&["a"], &[]), input(&["later"], &[])]);
    assert!(tail.take().is_empty());
    tail.append("later/1.log", "first");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut came = Vec::new();
    while came.is_empty() {
        assert!(Instant::now() < deadline, "never picked up");
        came = tail.take();
    }
    assert_eq!(came, ["later/1.log:first"]);
}

#[test]
fn a_path_within_another_one_of_its_input_goes_on_when_the_outer_one_is_removed() {
    let directory = tree(&["t/1.log", "t/jobs/2.log", "t/jobs/d/3.log"]);
    let mut tail = Tail::start(directory, Format::Text, &[input(&["t"], &[]).at_end()]);
    assert!(tail.take().is_empty());
    tail.reload(&[input(&["t", "t/jobs"], &[]).at_end()]);
    assert!(tail.take().is_empty());
    let watches = tail.engine.sizes().watches;
    tail.reload(&[input(&["t/jobs"], &[]).at_end()]);
    assert_eq!(tail.engine.sizes().watches, watches - 1, "all but that of the outer one stay");
    // No listing has run: a new file is new, not found by the scan of a new PATH.
    tail.append("t/jobs/d/4.log", "first");
    tail.append("t/jobs/d/3.log", "second");
    assert_eq!(tail.take(), ["t/jobs/d/3.log:second", "t/jobs/d/4.log:first"]);
}

#[test]
fn a_path_that_gets_an_input_of_its_own_is_covered_by_that_ones_globs() {
    let directory = tree(&["t/1.log", "t/jobs/2.log", "t/jobs/2.out", "t/jobs/d/3.out"]);
    let mut tail = Tail::start(directory, Format::Text, &[input(&["t"], &["*.log"])]);
    assert_eq!(tail.take(), ["t/1.log:first", "t/jobs/2.log:first"]);
    tail.reload(&[input(&["t", "t/jobs"], &["*.log"])]);
    assert!(tail.take().is_empty());
    tail.reload(&[input(&["t"], &["*.log"]), input(&["t/jobs"], &["*.out"])]);
    assert_eq!(tail.take(), ["t/jobs/2.out:first", "t/jobs/d/3.out:first"]);
}

#[test]
fn a_file_that_only_a_removed_path_within_another_accepted_is_let_go() {
    let mut tail = Tail::start(
        tree(&["t/1.log", "t/jobs/tmp/2.out"]),
        Format::Text,
        &[input(&["t"], &["*.log"])],
    );
    assert_eq!(tail.take(), ["t/1.log:first"]);
    tail.reload(&[input(&["t"], &["*.log"]), input(&["t/jobs"], &["tmp/*.out"])]);
    assert_eq!(tail.take(), ["t/jobs/tmp/2.out:first"]);
    tail.reload(&[input(&["t"], &["*.log"])]);
    tail.settle();
    tail.append("t/jobs/tmp/2.out", "not read");
    assert!(tail.take().is_empty());
}

#[test]
fn globs_that_change_twice_before_all_was_listed_let_go_of_what_the_first_ones_took_in() {
    let mut tail = Tail::start(
        tree(&["t/1.log", "t/1.out", "t/1.err"]),
        Format::Text,
        &[input(&["t"], &["*.log"])],
    );
    assert_eq!(tail.take(), ["t/1.log:first"]);
    tail.reload(&[input(&["t"], &["*.out"])]);
    tail.reload(&[input(&["t"], &["*.err"])]);
    assert_eq!(tail.take(), ["t/1.err:first"]);
    tail.append("t/1.log", "not read");
    assert!(tail.take().is_empty());
}

#[test]
fn a_file_belongs_to_the_input_where_it_is_after_it_moved_or_lost_a_hard_link() {
    let of = |name: &'static str| input(&[name], &[]).labelled(("in", name));
    let mut tail = Tail::start(
        tree(&["a/1.log", "a/2.log", "a/d/3.log", "b/x"]),
        Format::Json,
        &[of("a"), of("b")],
    );
    fs::hard_link(tail.path("a/2.log"), tail.path("b/2.log")).unwrap();
    assert_eq!(tail.take().len(), 4);
    fs::rename(tail.path("a/1.log"), tail.path("b/1.log")).unwrap();
    fs::rename(tail.path("a/d"), tail.path("b/d")).unwrap();
    fs::remove_file(tail.path("a/2.log")).unwrap();
    tail.settle();
    for name in ["b/1.log", "b/2.log", "b/d/3.log"] {
        tail.append(name, "second");
    }
    let expected =
        ["b/1.log", "b/2.log", "b/d/3.log"].map(|name| format!(r#"{name}:second {{"in":"b"}}"#));
    assert_eq!(tail.take(), expected);
}

#[test]
fn inputs_in_another_order_take_the_files_that_several_accept() {
    let of = |name: &'static str| input(&["t"], &[]).labelled(("in", name));
    let outer = |name: &'static str| input(&["t/."], &[]).labelled(("in", name));
    let mut tail = Tail::start(tree(&["t/1.log"]), Format::Json, &[of("one"), outer("two")]);
    assert_eq!(tail.take(), [r#"t/1.log:first {"in":"one"}"#]);
    tail.reload(&[outer("two"), of("one")]);
    tail.settle();
    tail.append("t/1.log", "second");
    tail.append("t/2.log", "first");
    assert_eq!(tail.take(), [r#"t/1.log:second {"in":"two"}"#, r#"t/2.log:first {"in":"two"}"#]);
}

#[test]
fn a_single_file_of_two_inputs_goes_on_when_one_of_them_is_removed() {
    let inputs = || {
        vec![input(&["t"], &["*.log"]), input(&["t/notes.txt"], &[]), input(&["t/notes.txt"], &[])]
    };
    let mut tail = Tail::start(tree(&["t/1.log", "t/notes.txt"]), Format::Text, &inputs());
    assert_eq!(tail.take(), ["t/1.log:first", "t/notes.txt:first"]);
    tail.reload(&inputs()[..2]);
    tail.append("t/notes.txt", "second");
    assert_eq!(tail.take(), ["t/notes.txt:second"]);
}

#[test]
fn a_path_within_another_ones_tree_that_is_made_anew_is_covered_again_and_what_moved_away_is_not() {
    let inputs = [input(&["t"], &["*.log"]).at_end(), input(&["t/jobs"], &["*.out"]).at_end()];
    let mut tail = Tail::start(tree(&["t/jobs/1.out", "t/jobs/1.log"]), Format::Text, &inputs);
    assert!(tail.take().is_empty());
    fs::remove_dir_all(tail.path("t/jobs")).unwrap();
    tail.settle();
    let wait_for = |tail: &mut Tail, expected: &[&str]| {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut came = Vec::new();
        while came.len() < expected.len() {
            assert!(Instant::now() < deadline, "{came:?} instead of {expected:?}");
            came.extend(tail.take());
        }
        came.sort();
        assert_eq!(came, expected);
    };
    tail.append("t/jobs/2.log", "first");
    tail.append("t/jobs/2.out", "first");
    wait_for(&mut tail, &["t/jobs/2.log:first", "t/jobs/2.out:first"]);
    fs::rename(tail.path("t/jobs"), tail.path("t/old")).unwrap();
    tail.append("t/jobs/3.log", "first");
    tail.append("t/jobs/3.out", "first");
    tail.append("t/old/2.out", "second");
    wait_for(&mut tail, &["t/jobs/3.log:first", "t/jobs/3.out:first", "t/old/2.out:second"]);
    tail.append("t/old/4.out", "not the outer one's");
    tail.append("t/old/4.log", "first");
    wait_for(&mut tail, &["t/old/4.log:first"]);
}

#[test]
fn files_that_new_settings_let_go_are_not_read_again_when_others_bring_them_back() {
    const FILES: usize = 66_000;
    let directory = tree(&[]);
    fs::create_dir_all(directory.path().join("t/jobs")).unwrap();
    for number in 0..FILES {
        fs::write(directory.path().join(format!("t/jobs/{number}")), "x\n").unwrap();
    }
    let mut tail = Tail::start(directory, Format::Raw, &[input(&["t/jobs"], &[])]);
    assert_eq!(tail.take().len(), FILES);
    for paths in [["t"], ["t/jobs"], ["t"]] {
        let began = Instant::now();
        tail.reload(&[input(&paths, &[])]);
        assert!(began.elapsed() < Duration::from_secs(5), "the loop waits for it");
        assert!(tail.take().is_empty(), "{paths:?}");
    }
}

#[test]
fn a_name_that_an_event_tells_of_does_not_wait_for_a_sweep() {
    let directory = tree(&[]);
    fs::create_dir(directory.path().join("t")).unwrap();
    for number in 0..6_000 {
        fs::write(directory.path().join(format!("t/{number}")), "").unwrap();
    }
    let mut tail = Tail::start(directory, Format::Text, &[input(&["t"], &[])]);
    tail.settle();
    // Late by a whole pass: the whole pass is due at once.
    tail.engine.set_rescan(Some(Duration::from_millis(1)), None, clock::now());
    std::thread::sleep(Duration::from_millis(20));
    for _ in 0..12 {
        tail.engine.turn(clock::now()).unwrap();
    }
    tail.append("t/new", "first");
    let before = tail.records.borrow().len();
    let mut turns = 0;
    while tail.records.borrow().len() == before {
        tail.engine.events_ready();
        tail.engine.turn(clock::now()).unwrap();
        turns += 1;
    }
    assert!(turns <= 6, "{turns} turns, each with hundreds of looks");
}

#[test]
fn a_directory_that_moves_is_asked_anew_what_globs_about_paths_say_of_all_below_it() {
    let directory = tree(&["t/d2/d0/1.log", "t/d2/s/2.out", "t/d2/s/keep.log"]);
    let inputs =
        [input(&["t"], &["keep.log"]), input(&["t"], &[]).excluding(&["d2/d0", "d2/s/*.out"])];
    let mut tail = Tail::start(directory, Format::Text, &inputs);
    assert_eq!(tail.take(), ["t/d2/s/keep.log:first"]);
    fs::rename(tail.path("t/d2"), tail.path("t/e")).unwrap();
    let mut came = tail.take();
    came.sort_unstable();
    assert_eq!(came, ["t/e/d0/1.log:first", "t/e/s/2.out:first"]);
}

#[test]
fn a_path_that_was_a_file_is_followed_as_a_directory_also_without_recursion() {
    let directory = tree(&["t/a/1.log", "t/b"]);
    let mut tail =
        Tail::start_with(directory, Format::Text, &[input(&["t", "t/b"], &[])], |config| {
            config.recursive = false
        });
    assert_eq!(tail.take(), ["t/b:first"]);
    fs::remove_file(tail.path("t/b")).unwrap();
    assert!(tail.take().is_empty());
    tail.append("t/b/2.log", "second");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut came = Vec::new();
    while came.is_empty() {
        assert!(Instant::now() < deadline, "never picked up");
        came = tail.take();
    }
    assert_eq!(came, ["t/b/2.log:second"]);
}

#[test]
fn a_file_that_grew_just_before_a_reload_takes_it_in_starts_at_its_end() {
    let mut tail =
        Tail::start(tree(&["t/1.log", "t/2.out"]), Format::Text, &[input(&["t"], &["*.log"])]);
    assert_eq!(tail.take(), ["t/1.log:first"]);
    tail.append("t/2.out", "before the reload");
    tail.reload(&[input(&["t"], &[]).at_end()]);
    assert!(tail.take().is_empty(), "what was there before the reload is left alone");
    tail.append("t/2.out", "after");
    assert_eq!(tail.take(), ["t/2.out:after"]);
}

#[test]
fn a_file_that_started_at_its_end_and_is_replaced_from_outside_is_not_read_from_its_start() {
    let directory = tree(&["t/1.log", "outside/new"]);
    fs::hard_link(directory.path().join("t/1.log"), directory.path().join("t/2.log")).unwrap();
    let mut tail = Tail::start(directory, Format::Text, &[input(&["t"], &[]).at_end()]);
    assert!(tail.take().is_empty());
    tail.append("t/1.log", "seen");
    assert_eq!(tail.take().len(), 1);
    // Both names lead to the old file: the name by which it was found is replaced, and it continues
    // under the other.
    fs::copy(tail.path("outside/new"), tail.path("outside/other")).unwrap();
    fs::rename(tail.path("outside/new"), tail.path("t/1.log")).unwrap();
    assert_eq!(tail.take(), ["t/1.log:first"]);
    tail.append("t/2.log", "goes on");
    assert_eq!(tail.take(), ["t/2.log:goes on"]);
    fs::rename(tail.path("outside/other"), tail.path("t/2.log")).unwrap();
    assert_eq!(tail.take(), ["t/2.log:first"]);
}

#[test]
fn a_glob_about_paths_counts_from_the_path_of_its_own_input_also_below_a_path_within() {
    let directory = tree(&["t/d0/d2/s/1.log", "t/d2/s/2.log"]);
    let mut tail =
        Tail::start(directory, Format::Text, &[input(&["t/d0", "t"], &[]).excluding(&["d2/**"])]);
    assert_eq!(tail.take(), ["t/d0/d2/s/1.log:first"], "below t it is d0/d2/s");
}

#[test]
fn what_a_link_to_a_directory_leads_to_at_the_first_scan_starts_at_its_end() {
    let directory = tree(&["outside/1.log", "t/2.log"]);
    std::os::unix::fs::symlink(directory.path().join("outside"), directory.path().join("t/link"))
        .unwrap();
    let follow = |config: &mut EngineConfig| config.follow_links = Some(LinkRule::Owner);
    let mut tail =
        Tail::start_with(directory, Format::Text, &[input(&["t"], &[]).at_end()], follow);
    assert!(tail.take().is_empty(), "all of it was there before");
    tail.append("outside/1.log", "appended");
    assert_eq!(tail.take(), ["t/link/1.log:appended"]);
}
