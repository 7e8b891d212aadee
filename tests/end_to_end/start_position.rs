//! Where reading starts: `--from`, `--once`, `--ignore-older`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::world::{World, numbered, text};

const DAY: Duration = Duration::from_secs(86_400);

/// `P-01`
#[test]
fn from_end_delivers_only_what_is_appended() {
    let world = World::new();
    world.write("a.log", "old\nolder\n");
    let tail = world.run().with(&["--from", "end"]).start().armed();
    world.append("a.log", "new\nnewer\n");
    tail.expect(&[("a.log", &["new", "newer"])]);
}

/// `P-02`
#[test]
fn from_end_reads_files_that_appear_later_from_their_first_byte() {
    let world = World::new();
    fs::create_dir(world.beside("in")).expect("mkdir");
    fs::write(world.beside("in/b.log"), "moved in\n").expect("write");
    let tail = world.run().with(&["--from", "end"]).start().armed();
    world.write("a.log", "one\ntwo\n");
    world.mkdir("s");
    world.write("s/c.log", "three\n");
    fs::rename(world.beside("in"), world.at("in")).expect("rename");
    tail.expect(&[
        ("a.log", &["one", "two"]),
        ("in/b.log", &["moved in"]),
        ("s/c.log", &["three"]),
    ]);
}

/// `P-04`
#[test]
fn from_end_leaks_no_old_content_of_thousands_of_files() {
    let world = World::new();
    for directory in 0..20 {
        world.mkdir(format!("d{directory}"));
        for file in 0..150 {
            world.write(format!("d{directory}/{file}.log"), "old\nolder\n");
        }
    }
    let tail = world.run().with(&["--from", "end"]).start().armed();
    let mut expected = BTreeMap::new();
    for directory in 0..20 {
        for file in [0, 75, 149] {
            let name = format!("d{directory}/{file}.log");
            world.append(&name, "new\n");
            expected.insert(name, vec!["new".to_owned()]);
        }
    }
    tail.expect_files(&expected);
}

/// `P-05`
#[test]
fn from_end_delivers_an_unfinished_last_line_whole_when_it_is_finished() {
    let world = World::new();
    world.write("a.log", "old\nunfin");
    world.write("b.log", "unfin");
    // Longer than one read.
    let long = "x".repeat(300_000);
    world.write("c.log", format!("old\n{long}"));
    let tail = world.run().with(&["--from", "end"]).start().armed();
    for name in ["a.log", "b.log", "c.log"] {
        world.append(name, "ished\nnext\n");
    }
    let long = format!("{long}ished");
    tail.expect(&[
        ("a.log", &["unfinished", "next"]),
        ("b.log", &["unfinished", "next"]),
        ("c.log", &[&long, "next"]),
    ]);
}

/// `P-05`, with the offset in json.
#[test]
fn from_end_gives_the_offset_of_the_first_byte_of_the_unfinished_line() {
    let world = World::new();
    world.write("a.log", "old\nunfin");
    let tail = world.run().json().with(&["--from", "end"]).start().armed();
    world.append("a.log", "ished\n");
    tail.wait_count(1);
    let record = &tail.records()[0];
    assert_eq!((record.text().as_str(), record.origin().offset), ("unfinished", 4));
}

/// `P-08`
#[test]
fn once_reads_all_there_is_and_exits_with_0() {
    let world = World::new();
    world.mkdir("s/t");
    world.write("a.log", "one\ntwo\nunfinished");
    world.write("s/t/b.log", "b\n");
    world.write("empty.log", "");
    let finished = world.run().with(&["--once"]).finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let expected = [("a.log", vec!["one", "two", "unfinished"]), ("s/t/b.log", vec!["b"])];
    let expected = expected
        .map(|(name, lines)| (name.to_owned(), lines.into_iter().map(str::to_owned).collect()));
    assert_eq!(finished.lines, BTreeMap::from(expected));
}

/// `P-08`
#[test]
fn once_marks_a_final_line_without_newline_in_json() {
    let world = World::new();
    world.write("a.log", "one\nunfinished");
    let finished = world.run().json().with(&["--once"]).finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let got: Vec<_> = finished
        .records
        .iter()
        .map(|record| (record.text(), record.origin().offset, record.origin().eol))
        .collect();
    assert_eq!(got, [("one".to_owned(), 0, true), ("unfinished".to_owned(), 4, false)]);
}

#[test]
fn once_reads_a_large_tree_whole() {
    let world = World::new();
    let lines =
        numbered("line of some length, so that there are several budgets of it", 0..200_000);
    world.write("big.log", text(&lines));
    let mut expected = BTreeMap::from([("big.log".to_owned(), lines)]);
    for number in 0..500 {
        world.write(format!("{number}.log"), format!("{number}\nlast"));
        expected.insert(format!("{number}.log"), vec![number.to_string(), "last".to_owned()]);
    }
    let finished = world.run().with(&["--once"]).finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.lines == expected, "{} records", finished.records.len());
}

#[test]
fn once_on_an_empty_directory_exits_with_0() {
    let world = World::new();
    let finished = world.run().with(&["--once"]).finish();
    assert_eq!(
        (finished.status.code(), finished.records.len()),
        (Some(0), 0),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains("no file was found below"), "{}", finished.stderr);
}

#[test]
fn once_with_globs_that_match_nothing_says_so() {
    let world = World::new();
    world.write("a.log", "one\n");
    let finished = world.run().with(&["--once", "--include", "*.lgo"]).finish();
    assert_eq!(
        (finished.status.code(), finished.records.len()),
        (Some(0), 0),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains("no file was found below")
            && finished.stderr.contains("no glob matches"),
        "{}",
        finished.stderr
    );
    let finished = world.run().with(&["--once"]).finish();
    assert!(
        finished.records.len() == 1 && !finished.stderr.contains("no file was found"),
        "{}",
        finished.stderr
    );
}

#[test]
fn once_exits_with_1_when_no_path_exists() {
    let world = World::new();
    let finished =
        world.run().with(&["--once"]).paths(&[world.at("nowhere"), world.at("neither")]).finish();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("nowhere"), "{}", finished.stderr);
}

#[test]
fn once_reads_the_paths_that_exist_and_exits_with_1_for_the_others() {
    let world = World::new();
    world.write("a.log", "a\n");
    let finished =
        world.run().with(&["--once"]).paths(&[world.at("nowhere"), world.tree.clone()]).finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("could not be read: 1 PATH"), "{}", finished.stderr);
    assert_eq!(finished.lines, BTreeMap::from([("a.log".to_owned(), vec!["a".to_owned()])]));
    assert!(finished.stderr.contains("nowhere"), "{}", finished.stderr);
}

#[test]
fn a_path_that_is_a_file_is_followed_alone() {
    let world = World::new();
    world.write("a.log", "a\n");
    world.write("b.log", "no\n");
    let tail = world.run().paths(&[world.at("a.log")]).start();
    tail.wait_line("a");
    world.append("a.log", "aa\n");
    world.append("b.log", "no\n");
    world.write("c.log", "no\n");
    tail.expect(&[("a.log", &["a", "aa"])]);
}

#[test]
fn files_older_than_ignore_older_start_at_their_end() {
    let world = World::new();
    world.write("old.log", "old\n");
    world.set_modified("old.log", SystemTime::now() - 2 * DAY);
    world.write("young.log", "young\n");
    world.set_modified("young.log", SystemTime::now() - DAY / 2);
    let tail = world.run().with(&["--ignore-older", "1d"]).start().armed();
    // Moved in later: the same rule.
    for (name, age) in [("old2.log", 2 * DAY), ("young2.log", DAY / 2)] {
        world.write("../moving", format!("{name}\n"));
        world.set_modified("../moving", SystemTime::now() - age);
        world.rename("../moving", name);
    }
    tail.wait_count(2);
    world.append("old.log", "new\n");
    world.append("old2.log", "new2\n");
    tail.expect(&[
        ("old.log", &["new"]),
        ("young.log", &["young"]),
        ("old2.log", &["new2"]),
        ("young2.log", &["young2.log"]),
    ]);
}

/// `P-05`, for files that `--ignore-older` skips.
#[test]
fn an_old_file_that_ends_in_an_unfinished_line_gets_that_line_whole() {
    let world = World::new();
    world.write("old.log", "old\nunfin");
    world.set_modified("old.log", SystemTime::now() - 2 * DAY);
    let tail = world.run().with(&["--ignore-older", "1d"]).start().armed();
    world.append("old.log", "ished\n");
    tail.expect(&[("old.log", &["unfinished"])]);
}
