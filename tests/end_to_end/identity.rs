//! Which file is which: device, inode and birth, never content or name alone.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;

use crate::world::{World, numbered, skip, text};

/// `I-01`
#[test]
fn files_of_identical_content_are_all_delivered() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for number in 0..50 {
        let lines = vec!["#!banner".to_owned(), "the same in all".to_owned()];
        world.write(format!("{number}.log"), text(&lines));
        expected.insert(format!("{number}.log"), lines);
    }
    world.run().start().expect_files(&expected);
}

/// `I-02`
#[test]
fn very_small_files_are_followed_without_waiting_for_more() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("newline", "\n");
    world.write("short", "x\n");
    world.write("byte", "y");
    tail.expect(&[("newline", &[""]), ("short", &["x"])]);
    world.append("byte", "\n");
    tail.expect(&[("newline", &[""]), ("short", &["x"]), ("byte", &["y"])]);
}

/// How often an inode number was reused in a test. A file system in memory never reuses one: there
/// the same steps are another case.
#[derive(Default)]
struct Reuse {
    numbers: HashSet<u64>,
    count: usize,
}

impl Reuse {
    /// Notes a new file; earlier files with the same number are deleted.
    fn made(&mut self, world: &World, name: &str) {
        let number = fs::metadata(world.at(name)).expect("stat").ino();
        self.count += usize::from(!self.numbers.insert(number));
    }
}

/// Skips a test about reuse if no number was reused.
fn expect_reuse(reuse: &[Reuse]) {
    if reuse.iter().all(|reuse| reuse.count == 0) {
        skip("no file system here hands an inode number out again");
    }
}

/// `I-03`
#[test]
fn a_new_file_on_the_inode_of_a_deleted_one_is_read_from_0() {
    let reuse = [World::new(), World::in_memory()].map(|world| {
        let mut reuse = Reuse::default();
        let tail = world.run().json().start().armed();
        let mut expected = Vec::new();
        let mut files = HashSet::new();
        for round in 0..30 {
            let lines = numbered(&format!("round {round}"), 0..round + 1);
            let name = format!("{round}.log");
            world.write(&name, text(&lines));
            reuse.made(&world, &name);
            expected.extend(lines);
            tail.wait_count(expected.len());
            let file = tail.records().last().expect("a record").origin().file.clone();
            assert!(
                files.insert(file.clone()),
                "round {round}: a second file is {file}; before: {files:?}"
            );
            world.remove(&name);
        }
        tail.expect_in_order(&expected);
        reuse
    });
    expect_reuse(&reuse);
}

/// `I-03`, where deletion and reuse happen between two turns.
#[test]
fn an_inode_reused_between_two_looks_is_a_new_file() {
    let reuse = [World::new(), World::in_memory()].map(|world| {
        let mut reuse = Reuse::default();
        let tail = world.run().start().armed();
        let mut expected = Vec::new();
        world.write("a-0.log", "first\n");
        reuse.made(&world, "a-0.log");
        expected.push("first".to_owned());
        for round in 1..20 {
            tail.wait_count(expected.len());
            tail.stop();
            world.remove(format!("a-{}.log", round - 1));
            let lines = numbered(&format!("round {round}, longer than before"), 0..round * 3);
            let name = format!("a-{round}.log");
            world.write(&name, text(&lines));
            reuse.made(&world, &name);
            expected.extend(lines);
            tail.go_on();
        }
        tail.expect_in_order(&expected);
        reuse
    });
    expect_reuse(&reuse);
}

/// Two logs of equal length, whose last bytes are equal for longer than a mark, exchange their
/// names while they grow: by name and content each could be the other.
#[test]
fn logs_with_equal_line_ends_that_exchange_names_while_they_grow_stay_apart() {
    let world = World::new();
    let tail = world.run().json().with(&["--coalesce", "0", "--pace", "0"]).start().armed();
    let (mut a, mut b) = (world.writer("a.log"), world.writer("b.log"));
    let inode = |name: &str| format!("{:x}", fs::metadata(world.at(name)).expect("stat").ino());
    let inodes = [inode("a.log"), inode("b.log")];
    let rounds = 4_000;
    let line = |who: char, round: usize| format!("{who}{round:06} {}", "the same end ".repeat(8));
    for round in 0..rounds {
        writeln!(a, "{}", line('A', round)).expect("append");
        writeln!(b, "{}", line('B', round)).expect("append");
        world.rename("a.log", "c.log");
        world.rename("b.log", "a.log");
        world.rename("c.log", "b.log");
    }
    tail.wait("all lines", || tail.count() >= 2 * rounds);
    tail.settled();
    assert_eq!(tail.warned("lost"), 0, "nothing was lost:\n{}", tail.stderr());
    for (who, inode) in ['A', 'B'].into_iter().zip(&inodes) {
        let records = tail.records();
        let of_file =
            records.iter().filter(|record| record.origin().file.split('-').nth(1) == Some(inode));
        let lines: Vec<String> = of_file.map(crate::records::Record::text).collect();
        let expected: Vec<String> = (0..rounds).map(|round| line(who, round)).collect();
        assert_eq!(lines.len(), expected.len(), "lines of {who}");
        assert!(
            lines == expected,
            "some line of {who} came under the other's identity, or not in order"
        );
    }
}

/// `I-04`
#[test]
fn rotation_that_reuses_the_inode_of_the_one_before_last_gives_the_exact_sequence() {
    let reuse = [World::new(), World::in_memory()].map(|world| {
        let mut reuse = Reuse::default();
        let tail = world.run().start().armed();
        let lines = numbered("line", 0..2_000);
        for (round, chunk) in lines.chunks(50).enumerate() {
            // The files that are deleted here were read before the round began.
            tail.wait_count(round * 50);
            let stopped = round % 3 == 0;
            if stopped {
                tail.stop();
            }
            let _ = fs::remove_file(world.at("a.log.1"));
            if world.at("a.log").exists() {
                world.rename("a.log", "a.log.1");
            }
            world.append("a.log", text(chunk));
            reuse.made(&world, "a.log");
            if stopped {
                tail.go_on();
            }
        }
        tail.expect_in_order(&lines);
        reuse
    });
    expect_reuse(&reuse);
}

/// `I-09`: a new inode is a new file, so an editor's save is read whole.
#[test]
fn a_file_saved_by_an_editor_is_read_whole_again() {
    let world = World::new();
    let tail = world.run().with(&["--exclude", "*.tmp"]).start().armed();
    world.write("a.log", "one\ntwo\n");
    tail.wait_count(2);
    world.write("a.log.tmp", "one\ntwo\nthree\n");
    world.rename("a.log.tmp", "a.log");
    tail.expect_in_order(&["one", "two", "one", "two", "three"]);
}

/// Consumers drop repeats by `file` and `offset`.
#[test]
fn file_and_offset_never_name_two_records() {
    let world = World::in_memory();
    let tail = world.run().json().start().armed();
    let mut count = 0;
    for round in 0..40 {
        let name = format!("{}.log", round % 3);
        match round % 4 {
            0 => world.append(&name, format!("appended {round}\n")),
            1 => world.write(&name, format!("rewritten {round}\n")),
            2 => {
                let _ = fs::remove_file(world.at(&name));
                world.write(&name, format!("recreated {round}\n"));
            }
            _ => {
                world.write("../new", format!("replaced {round}\n"));
                world.rename("../new", &name);
            }
        }
        count += 1;
        tail.wait_count(count);
    }
    tail.settled();
    let records = tail.records();
    let mut seen = HashSet::new();
    for record in &records {
        assert!(seen.insert((record.origin().file.clone(), record.origin().offset)), "{record:?}");
    }
    assert_eq!(records.len(), count);
}

/// `file` names device and inode in hex, and a counter.
#[test]
fn file_tells_device_and_inode() {
    let world = World::new();
    world.write("a.log", "one\n");
    let tail = world.run().json().start();
    tail.wait_count(1);
    let stat = fs::metadata(world.at("a.log")).expect("stat");
    let file = tail.records()[0].origin().file.clone();
    let parts: Vec<&str> = file.split('-').collect();
    assert_eq!(parts.len(), 3, "{file}");
    let number = |part: &str| u64::from_str_radix(part, 16).expect("hex");
    assert_eq!((number(parts[0]), number(parts[1])), (stat.dev(), stat.ino()), "{file}");
    assert!(parts[2].bytes().all(|byte| byte.is_ascii_digit()), "{file}");
}

/// Without a state directory the used identities are unknown: `--once` makes its own.
#[test]
fn once_without_a_state_directory_names_no_record_like_another_run() {
    let world = World::new();
    world.write("a.log", "one\ntwo\n");
    let service = world.run().json().start();
    service.wait_count(2);
    service.terminate();
    let mut seen: HashSet<(String, u64)> = HashSet::new();
    let mut take = |records: &[crate::records::Record]| {
        for record in records {
            assert!(
                seen.insert((record.origin().file.clone(), record.origin().offset)),
                "named before: {record:?}"
            );
        }
    };
    take(&service.records());
    let stat = fs::metadata(world.at("a.log")).expect("stat");
    let identity = format!("{:x}-{:x}-0-", stat.dev(), stat.ino());
    for round in 0..3 {
        // The same inode and the same offsets, but other lines.
        world.write("a.log", format!("{round}.1\n{round}.2\n"));
        world.write(format!("{round}.log"), "more\n");
        let finished = world.run().json().with(&["--once"]).finish();
        assert_eq!(finished.records.len(), 3 + round, "{}", finished.stderr);
        take(&finished.records);
        let marks: HashSet<&str> = finished
            .records
            .iter()
            .map(|record| record.origin().file.split('-').nth(3).expect("a fourth part"))
            .collect();
        assert_eq!(marks.len(), 1, "one number for the whole run: {marks:?}");
        assert!(finished.records.iter().any(|record| record.origin().file.starts_with(&identity)));
        for record in &finished.records {
            let parts: Vec<&str> = record.origin().file.split('-').collect();
            assert!(
                parts.len() == 4
                    && parts.iter().all(|part| !part.is_empty()
                        && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
            );
        }
    }
    let state = world.beside("state");
    let finished = world
        .run()
        .json()
        .with(&["--once", "--state-dir", state.to_str().expect("UTF-8")])
        .finish();
    assert!(
        finished.records.iter().all(|record| record.origin().file.split('-').count() == 3),
        "its numbers are kept"
    );
}

/// Records of `--once` in the output of a service do not belong to the service: they move none of
/// its offsets after a crash.
#[test]
fn records_that_once_appended_to_the_output_of_a_service_are_none_of_its_own() {
    let world = World::new();
    let (output, state) = (world.beside("out.json"), world.beside("state"));
    let service = || {
        world
            .run()
            .json()
            .with(&["--commit-interval", "1h", "--state-dir", state.to_str().expect("UTF-8")])
            .output_file(&output)
            .start()
    };
    world.write("a.log", "one\n");
    let tail = service();
    tail.wait_line("one");
    tail.kill();
    world.append("a.log", "two\nthree\n");
    let once = world.run().json().with(&["--once"]).output_file(&output).start();
    assert_eq!(once.wait_exit().code(), Some(0));
    let tail = service();
    tail.wait("all of it", || {
        tail.records().iter().filter(|record| record.origin().file.split('-').count() == 3).count()
            >= 3
    });
    tail.settled();
    let own: Vec<String> = tail
        .records()
        .iter()
        .filter(|record| record.origin().file.split('-').count() == 3)
        .map(crate::records::Record::text)
        .collect();
    assert_eq!(own, ["one", "two", "three"]);
}
