//! Resuming after a restart: only new bytes are delivered, wherever their file is now; files whose
//! content restarted meanwhile are read from the first byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::{difference, wait_for};
use crate::state::{ENDS, End, Memory, age, counter, create_on_inode};
use crate::world::{Random, World, numbered, skip, succeeds, text, tick};

/// `K-01`
#[test]
fn after_a_restart_only_what_was_appended_meanwhile_comes() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        world.mkdir("d");
        world.append("a.log", "one\ntwo\n");
        world.append("d/b.log", "b\n");
        let tail = memory.run().start().armed();
        tail.expect(&[("a.log", &["one", "two"]), ("d/b.log", &["b"])]);
        memory.end(&tail, end);
        world.append("a.log", "three\n");
        let tail = memory.run().json().start().armed();
        tail.expect(&[("a.log", &["three"])]);
        assert_eq!(tail.records()[0].origin().offset, 8);
        memory.end(&tail, end);
        let tail = memory.run().start().armed();
        tail.expect(&[]);
        world.append("d/b.log", "bb\n");
        tail.expect(&[("d/b.log", &["bb"])]);
    }
}

/// `K-01` and `Z-01`: stopped at any moment, everything that a pipe took is committed.
#[test]
fn many_orderly_restarts_under_load_give_every_line_once() {
    let world = World::new();
    let memory = Memory::new(&world);
    let mut random = Random(7);
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut collect = |lines: BTreeMap<String, Vec<String>>| {
        for (name, mut lines) in lines {
            got.entry(name).or_default().append(&mut lines);
        }
    };
    for round in 0..10 {
        let tail = memory.run().start();
        wait_for("the signals to be taken", || tail.process.inotify_instances() == 1);
        for step in 0..100 {
            let name = format!("d{}/{}.log", step % 5, random.below(30));
            world.mkdir(format!("d{}", step % 5));
            let lines = numbered(&format!("round {round} step {step}"), 0..1 + random.below(40));
            world.append(&name, text(&lines));
            expected.entry(name).or_default().extend(lines);
            if step == 20 + 5 * round {
                tail.terminate();
            }
        }
        collect(tail.lines_by_file());
    }
    let tail = memory.run().start().armed();
    tail.terminate();
    collect(tail.lines_by_file());
    let difference = difference(&got, &expected);
    assert!(difference.is_empty(), "{difference}");
}

/// `K-02`
#[test]
fn a_file_renamed_while_down_goes_on_and_its_old_name_is_a_new_file() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        world.append("a.log", "one\n");
        let tail = memory.run().json().start().armed();
        tail.wait_line("one");
        let file = tail.records()[0].origin().file.clone();
        memory.end(&tail, end);
        world.rename("a.log", "b.log");
        world.append("b.log", "two\n");
        world.append("a.log", "new\n");
        let tail = memory.run().json().start().armed();
        tail.expect(&[("a.log", &["new"]), ("b.log", &["two"])]);
        let of = |line: &str| {
            tail.records()
                .into_iter()
                .find(|record| record.text() == line)
                .expect("a record")
                .origin()
                .clone()
        };
        assert_eq!(
            (of("two").file, of("two").offset),
            (file.clone(), 4),
            "the same inode_generation under another name"
        );
        assert_ne!(of("new").file, file);
    }
}

#[test]
fn files_in_a_directory_renamed_while_down_go_on() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        world.mkdir("d/e");
        world.append("d/e/a.log", "one\n");
        world.append("d/b.log", "b\n");
        memory.run_until(2, end);
        world.rename("d", "f");
        world.append("f/e/a.log", "two\n");
        world.mkdir("d/e");
        world.append("d/e/a.log", "another\n");
        memory
            .run()
            .start()
            .armed()
            .expect(&[("d/e/a.log", &["another"]), ("f/e/a.log", &["two"])]);
    }
}

/// Stored names are not identities: two files swapped theirs.
#[test]
fn files_that_swapped_names_while_down_go_on() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "a\n");
    world.append("b.log", "bbbb\n");
    memory.run_until(2, End::Stopped);
    world.rename("a.log", "c");
    world.rename("b.log", "a.log");
    world.rename("c", "b.log");
    world.append("a.log", "of b\n");
    world.append("b.log", "of a\n");
    memory.run().start().armed().expect(&[("a.log", &["of b"]), ("b.log", &["of a"])]);
}

#[test]
fn a_file_moved_out_of_the_tree_and_back_around_a_restart_goes_on() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "one\n");
    let tail = memory.run().start().armed();
    tail.wait_line("one");
    world.rename("a.log", "../a.log");
    tail.settled();
    tail.terminate();
    world.append("../a.log", "two\n");
    world.rename("../a.log", "a.log");
    memory.run().start().armed().expect(&[("a.log", &["two"])]);
}

/// `K-04`: only what the output took is committed.
#[test]
fn a_stop_in_the_middle_of_a_file_behind_a_blocked_reader_loses_and_repeats_nothing() {
    let world = World::new();
    let memory = Memory::new(&world);
    let lines = numbered(&"x".repeat(1_000), 0..4_000);
    world.append("a.log", text(&lines));
    let mut got = Vec::new();
    for _ in 0..2 {
        let tail = memory.run().with(&["--shutdown-timeout", "200ms"]).blocked().start();
        tail.wait("its watch", || tail.process.watches() == 1);
        tail.settled();
        tail.signal(Signal::SIGTERM);
        wait_for("the exit", || tail.has_exited());
        tail.unblock();
        assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
        got.extend(tail.lines());
        assert!(got.len() < lines.len(), "the reader was meant to be blocked");
    }
    let tail = memory.run().start();
    tail.wait("the rest", || got.len() + tail.count() >= lines.len());
    tail.settled();
    got.extend(tail.lines());
    assert!(got == lines, "{} lines instead of {}", got.len(), lines.len());
}

/// A file that was rotated several times between two runs: the rest of each generation comes, the
/// oldest first.
#[test]
fn generations_rotated_while_down_come_in_order() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let lines = numbered("line", 0..40);
        world.append("a.log", text(&lines[..10]));
        memory.run_until(10, end);
        world.append("a.log", text(&lines[10..20]));
        tick();
        world.rename("a.log", "a.log.1");
        world.append("a.log", text(&lines[20..30]));
        tick();
        world.rename("a.log.1", "a.log.2");
        world.rename("a.log", "a.log.1");
        world.append("a.log", text(&lines[30..]));
        let tail = memory.run().start();
        tail.expect_in_order(&lines[10..]);
    }
}

/// Events report the newer file at once; the first scan finds the rest of the older one some time
/// later.
fn a_newer_generation_waits_for_the_rest_of_the_one_before(is_known: bool) {
    let world = World::in_memory();
    let memory = Memory::new(&world);
    world.mkdir("others");
    (0..20_000).for_each(|number| world.write(format!("others/{number}"), ""));
    world.append("a.log.1", "old 0\n");
    if is_known {
        world.append("a.log", "new 0\n");
    }
    tick();
    memory.run_until(1 + usize::from(is_known), End::Stopped);
    world.append("a.log.1", "old 1\n");
    tick();
    let tail = memory.run().start();
    // The files in the directory above have been examined by then, the others have not.
    tail.wait("the scan of the others", || tail.process.watches() == 2);
    let mut written = 1;
    while tail.count() < 2 {
        assert!(!tail.has_exited(), "{}", tail.stderr());
        world.append("a.log", format!("new {written}\n"));
        written += 1;
    }
    let mut expected = vec!["old 1".to_owned()];
    expected.extend(numbered("new", 1..written));
    tail.expect_in_order(&expected);
}

#[test]
fn a_generation_that_grows_during_the_first_scan_waits_for_the_rest_of_the_one_before() {
    a_newer_generation_waits_for_the_rest_of_the_one_before(true);
}

#[test]
fn a_generation_that_appears_during_the_first_scan_waits_for_the_rest_of_the_one_before() {
    a_newer_generation_waits_for_the_rest_of_the_one_before(false);
}

/// The new name of a rotated file does not match; it was followed before.
#[test]
fn a_file_rotated_while_down_to_a_name_outside_the_pattern_is_read_to_its_end() {
    let world = World::new();
    let memory = Memory::new(&world);
    let lines = numbered("line", 0..30);
    world.append("a.log", text(&lines[..10]));
    let tail = memory.run().with(&["--include", "*.log"]).start();
    tail.wait_count(10);
    tail.terminate();
    world.append("a.log", text(&lines[10..20]));
    tick();
    world.rename("a.log", "a.log.1");
    world.append("a.log", text(&lines[20..]));
    memory.run().with(&["--include", "*.log"]).start().expect_in_order(&lines[10..]);
}

#[test]
fn a_file_truncated_while_down_restarts_with_a_greater_counter() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        world.append("a.log", "one\ntwo\nthree\n");
        let tail = memory.run().json().start().armed();
        tail.wait_count(3);
        let before = counter(&tail.records()[0]);
        memory.end(&tail, end);
        world.write("a.log", "new\n");
        let tail = memory.run().json().start().armed();
        tail.expect(&[("a.log", &["new"])]);
        let record = &tail.records()[0];
        assert_eq!(record.origin().offset, 0);
        assert!(counter(record) > before, "{} is not above {before}", counter(record));
    }
}

/// `T-05` across a restart: the size proves nothing.
#[test]
fn a_file_overwritten_in_place_while_down_restarts_with_a_greater_counter() {
    for (old, new) in [
        ("one\ntwo\n", "ONE\nTWO\n"),
        ("one\ntwo\n", "ONE\nTWO\nTHREE\n"),
        ("one\n", "another line\n"),
    ] {
        let world = World::new();
        let memory = Memory::new(&world);
        world.append("a.log", old);
        let tail = memory.run().json().start().armed();
        tail.wait_count(old.lines().count());
        let before = counter(&tail.records()[0]);
        tail.terminate();
        tick();
        world.overwrite("a.log", new);
        let tail = memory.run().json().start().armed();
        let expected: Vec<&str> = new.lines().collect();
        tail.expect(&[("a.log", &expected)]);
        assert_eq!(tail.records()[0].origin().offset, 0);
        assert!(counter(&tail.records()[0]) > before);
    }
}

/// `T-06`: the stored offset follows the truncation, although nothing was delivered since.
#[test]
fn a_file_truncated_to_nothing_is_remembered_as_empty() {
    for end in ENDS {
        for truncated_while_down in [false, true] {
            let world = World::new();
            let memory = Memory::new(&world);
            world.append("a.log", "one\ntwo\n");
            let tail = memory.run().json().start().armed();
            tail.wait_count(2);
            let before = counter(&tail.records()[0]);
            if truncated_while_down {
                memory.end(&tail, end);
                world.truncate("a.log", 0);
                let tail = memory.run().json().start().armed();
                tail.expect(&[]);
                memory.end(&tail, end);
            } else {
                world.truncate("a.log", 0);
                tail.settled();
                memory.end(&tail, end);
            }
            // The same bytes again, and more: neither size nor content show it.
            world.append("a.log", "one\ntwo\nthree\n");
            let tail = memory.run().json().start().armed();
            tail.expect(&[("a.log", &["one", "two", "three"])]);
            assert!(counter(&tail.records()[0]) > before, "{end:?}, {truncated_while_down}");
        }
    }
}

/// `C-05`
#[test]
fn after_copytruncate_while_down_only_the_new_content_comes() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let run = || memory.run().with(&["--exclude", "*.1"]);
        world.append("a.log", text(&numbered("old", 0..1_000)));
        let tail = run().start().armed();
        tail.wait_count(1_000);
        memory.end(&tail, end);
        fs::copy(world.at("a.log"), world.at("a.log.1")).expect("cp");
        world.truncate("a.log", 0);
        world.append("a.log", "new\n");
        let tail = run().start().armed();
        tail.expect(&[("a.log", &["new"])]);
        world.append("a.log", "newer\n");
        tail.expect(&[("a.log", &["new", "newer"])]);
    }
}

/// Another test may get the inode first, so this tries several times.
fn when_an_inode_comes_back(test: impl Fn() -> bool) {
    if !(0..10).any(|_| test()) {
        skip("the file system does not hand an inode out again");
    }
}

/// `X-06` and `I-03` across a restart.
#[test]
fn a_new_file_on_the_inode_of_one_deleted_while_down_is_read_from_0() {
    // Longer than the previous file, with the same bytes at the beginning.
    for content in ["another\nfile\n", "one\n"] {
        when_an_inode_comes_back(|| {
            let world = World::new();
            let memory = Memory::new(&world);
            world.append("a.log", "one\n");
            let inode = fs::metadata(world.at("a.log")).expect("stat").ino();
            let tail = memory.run().json().start().armed();
            tail.wait_count(1);
            let before = tail.records()[0].clone();
            tail.terminate();
            tick();
            world.remove("a.log");
            if !create_on_inode(inode, &world.at("a.log"), content.as_bytes()) {
                return false;
            }
            let tail = memory.run().json().start().armed();
            let expected: Vec<&str> = content.lines().collect();
            tail.expect(&[("a.log", &expected)]);
            let record = &tail.records()[0];
            assert_eq!(record.origin().offset, 0);
            assert_ne!(record.origin().file, before.origin().file);
            assert!(counter(record) > counter(&before));
            true
        });
    }
}

/// `K-13`: the inode is reused after a run that did not know a file on it.
#[test]
fn the_counter_of_an_inode_grows_over_runs_that_did_not_see_it() {
    when_an_inode_comes_back(|| {
        let world = World::new();
        let memory = Memory::new(&world);
        world.append("a.log", "one\n");
        let inode = fs::metadata(world.at("a.log")).expect("stat").ino();
        let tail = memory.run().json().start().armed();
        tail.wait_count(1);
        let before = tail.records()[0].clone();
        world.remove("a.log");
        memory.wait_durable(&tail);
        tail.terminate();
        let tail = memory.run().json().start();
        tail.settled();
        tail.terminate();
        if !create_on_inode(inode, &world.at("b.log"), b"two\n") {
            return false;
        }
        let tail = memory.run().json().start();
        tail.expect(&[("b.log", &["two"])]);
        assert!(
            counter(&tail.records()[0]) > counter(&before),
            "{:?} after {before:?}",
            tail.records()[0]
        );
        true
    });
}

/// `X-06`, with any inode.
#[test]
fn a_file_deleted_and_made_again_while_down_is_read_from_0() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        world.append("a.log", "one\n");
        memory.run_until(1, end);
        world.remove("a.log");
        world.append("a.log", "longer than the one before\nsecond\n");
        memory
            .run()
            .start()
            .armed()
            .expect(&[("a.log", &["longer than the one before", "second"])]);
    }
}

/// `P-06`
#[test]
fn a_stored_offset_beats_from_end_and_from_beginning() {
    for end in ENDS {
        for (first, second) in
            [("end", "beginning"), ("end", "end"), ("beginning", "end"), ("beginning", "beginning")]
        {
            let world = World::new();
            let memory = Memory::new(&world);
            world.append("a.log", "old\n");
            let tail = memory.run().with(&["--from", first]).start().armed();
            world.append("a.log", "one\n");
            tail.wait_line("one");
            memory.end(&tail, end);
            world.append("a.log", "two\n");
            let tail = memory.run().with(&["--from", second]).start().armed();
            tail.expect(&[("a.log", &["two"])]);
        }
    }
}

#[test]
fn files_that_from_end_left_alone_remember_their_end() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        for number in 0..50 {
            world.append(format!("{number}.log"), format!("old {number}\n"));
        }
        let tail = memory.run().with(&["--from", "end"]).start().armed();
        memory.end(&tail, end);
        world.append("7.log", "new\n");
        memory.run().with(&["--from", "beginning"]).start().armed().expect(&[("7.log", &["new"])]);
    }
}

#[test]
fn files_that_appear_while_down_are_read_from_0_also_with_from_end() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let run = || memory.run().with(&["--from", "end"]);
        world.append("a.log", "old\n");
        let tail = run().start().armed();
        memory.end(&tail, end);
        world.append("b.log", "b\n");
        world.mkdir("d");
        world.append("d/c.log", "c\n");
        run().start().armed().expect(&[("b.log", &["b"]), ("d/c.log", &["c"])]);
    }
}

/// `--from end` applies at the first start of each PATH.
#[test]
fn from_end_counts_for_a_path_that_is_followed_for_the_first_time() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "old\n");
    let tail = memory.run().with(&["--from", "end"]).start().armed();
    tail.terminate();
    let other = world.beside("other");
    fs::create_dir(&other).expect("mkdir");
    fs::write(other.join("old.log"), "old\n").expect("write");
    world.append("new.log", "new\n");
    let paths = [world.tree.as_path(), &other];
    let tail = memory.run().with(&["--from", "end"]).paths(&paths).start().armed();
    fs::write(other.join("late.log"), "late\n").expect("write");
    tail.wait_line("late");
    tail.expect(&[
        ("new.log", &["new"]),
        (other.join("late.log").to_str().expect("UTF-8"), &["late"]),
    ]);
}

/// `P-05` across a restart.
#[test]
fn an_unfinished_line_that_from_end_found_is_delivered_whole_after_a_restart() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let run = || memory.run().json().with(&["--from", "end"]);
        let long = "x".repeat(300_000);
        world.write("a.log", "old\nunfin");
        world.write("b.log", format!("old\n{long}"));
        let tail = run().start().armed();
        memory.end(&tail, end);
        world.append("a.log", "ished\nnext\n");
        world.append("b.log", "ished\n");
        let tail = run().start().armed();
        tail.expect(&[("a.log", &["unfinished", "next"]), ("b.log", &[&format!("{long}ished")])]);
        assert!(
            tail.records()
                .iter()
                .all(|record| record.origin().offset == 4 || record.text() == "next")
        );
    }
}

/// `L-06` and `L-09`
#[test]
fn an_unfinished_line_is_delivered_whole_when_it_is_finished_after_a_restart() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        world.append("a.log", "one\nunfin");
        let tail = memory.run().start().armed();
        tail.expect(&[("a.log", &["one"])]);
        memory.end(&tail, end);
        // A run in which the file does not change.
        let tail = memory.run().start().armed();
        tail.expect(&[]);
        memory.end(&tail, end);
        world.append("a.log", "ished\n");
        memory.run().start().armed().expect(&[("a.log", &["unfinished"])]);
    }
}

/// `G-07`
#[test]
fn pieces_of_a_long_line_go_on_after_a_restart() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let run = || memory.run().json().with(&["--max-line-bytes", "1KiB"]);
        let line: String =
            (0..2_500).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
        world.append("a.log", &line[..2_300]);
        let tail = run().start().armed();
        tail.wait_count(2);
        tail.settled();
        memory.end(&tail, end);
        let mut records = tail.records();
        world.append("a.log", format!("{}\nnext\n", &line[2_300..]));
        let tail = run().start().armed();
        tail.wait_line("next");
        tail.settled();
        records.extend(tail.records());
        let next = records.pop().expect("a record");
        assert_eq!((next.text().as_str(), next.origin().offset), ("next", 2_501));
        let joined: String = records.iter().map(|record| record.text()).collect();
        assert_eq!(joined, line, "the pieces are the line");
        assert!(
            records
                .windows(2)
                .all(|pair| pair[0].end() == pair[1].origin().offset && !pair[0].origin().eol)
        );
        assert!(records.last().expect("a record").origin().eol);
    }
}

#[test]
fn a_piece_that_waited_for_partial_after_is_not_repeated_and_its_rest_comes() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let run = || memory.run().json().with(&["--partial-after", "100ms"]);
        world.append("a.log", "one\nunfin");
        let tail = run().start();
        tail.wait_line("unfin");
        memory.end(&tail, end);
        let tail = run().start().armed();
        tail.expect(&[]);
        memory.end(&tail, end);
        world.append("a.log", "ished\n");
        let tail = run().start().armed();
        tail.expect(&[("a.log", &["ished"])]);
        assert_eq!(tail.records()[0].origin().offset, 9);
    }
}

/// `P-08`
#[test]
fn a_second_once_delivers_only_what_is_new() {
    let world = World::new();
    let memory = Memory::new(&world);
    let once = || memory.run_without_commits().with(&["--once"]).finish();
    world.mkdir("d");
    world.append("a.log", "one\ntwo\n");
    world.append("d/b.log", "b\n");
    let files = |files: &[(&str, &[&str])]| {
        let owned = |(name, lines): &(&str, &[&str])| {
            ((*name).to_owned(), lines.iter().map(|&line| line.to_owned()).collect())
        };
        files.iter().map(owned).collect::<BTreeMap<String, Vec<String>>>()
    };
    assert_eq!(once().lines, files(&[("a.log", &["one", "two"]), ("d/b.log", &["b"])]));
    let again = once();
    assert_eq!((again.status.code(), again.lines), (Some(0), files(&[])), "{}", again.stderr);
    world.append("a.log", "three\n");
    world.append("c.log", "c\n");
    assert_eq!(once().lines, files(&[("a.log", &["three"]), ("c.log", &["c"])]));
    // A permanent run resumes from the offsets that `--once` stored.
    world.append("c.log", "cc\n");
    memory.run().start().armed().expect(&[("c.log", &["cc"])]);
}

/// `P-08`: the unfinished last line was delivered, as a piece.
#[test]
fn a_piece_that_once_delivered_is_not_repeated_and_its_rest_comes() {
    let world = World::new();
    let memory = Memory::new(&world);
    let once = || {
        let finished = memory.run().json().with(&["--once"]).finish();
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        let piece = |record: &crate::records::Record| {
            (record.text(), record.origin().offset, record.origin().eol)
        };
        finished.records.iter().map(piece).collect::<Vec<_>>()
    };
    world.append("a.log", "one\nunfin");
    assert_eq!(once(), [("one".to_owned(), 0, true), ("unfin".to_owned(), 4, false)]);
    assert_eq!(once(), []);
    world.append("a.log", "ish");
    assert_eq!(once(), [("ish".to_owned(), 9, false)]);
    world.append("a.log", "ed\nlast");
    assert_eq!(once(), [("ed".to_owned(), 12, true), ("last".to_owned(), 15, false)]);
    // When a newline is all that follows a piece, an empty record closes the line.
    world.append("a.log", "\n");
    assert_eq!(once(), [(String::new(), 19, true)]);
    assert_eq!(once(), []);
}

/// The paths of all files that a run opened, as strace saw it; none without strace.
fn opened(trace: &Path) -> String {
    wait_for("the end of the trace", || {
        fs::read_to_string(trace).is_ok_and(|trace| trace.contains("+++ exited"))
    });
    fs::read_to_string(trace).expect("read")
}

#[test]
fn files_that_did_not_change_while_down_are_not_opened() {
    if !succeeds("strace", &["-D", "-o", "/dev/null", "true"]) {
        return skip("strace does not work here");
    }
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        world.mkdir("d");
        for number in 0..100 {
            world.append(format!("d/same-{number}.log"), "one\ntwo\n");
            world.write(format!("d/same-empty-{number}.log"), "");
        }
        world.append("changed.log", "one\n");
        age();
        let tail = memory.run().start().armed();
        tail.wait_count(201);
        age();
        memory.end(&tail, end);
        world.append("changed.log", "two\n");
        let trace = world.beside("trace");
        let strace = [
            "strace",
            "-D",
            "-f",
            "-s",
            "4096",
            "-e",
            "trace=open,openat,openat2",
            "-o",
            trace.to_str().expect("UTF-8"),
        ];
        let tail = memory.run().under(&strace).start();
        tail.expect(&[("changed.log", &["two"])]);
        tail.terminate();
        let trace = opened(&trace);
        assert!(trace.contains("changed.log"), "the trace shows what is opened: {trace}");
        let needless: Vec<&str> = trace
            .lines()
            .filter(|line| line.contains("/same-") || line.contains("\"same-"))
            .collect();
        assert!(needless.is_empty(), "{end:?}: {} opened: {:?}", needless.len(), needless.first());
    }
}

/// `K-12`
#[test]
fn files_that_a_run_did_not_follow_are_not_read_again_by_the_next() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "a\n");
    world.append("b.log", "b\n");
    let other = world.beside("other");
    fs::create_dir(&other).expect("mkdir");
    memory.run_until(2, End::Stopped);
    world.append("b.log", "bb\n");
    // First excluded, then below a PATH that is not given.
    let tail = memory.run().with(&["--exclude", "b.log"]).start().armed();
    tail.expect(&[]);
    tail.terminate();
    let tail = memory.run().paths(&[&other]).start();
    tail.settled();
    tail.terminate();
    memory.run().start().armed().expect(&[("b.log", &["bb"])]);
}

/// The PATH is written in another way: identity counts.
#[test]
fn the_same_tree_by_another_path_is_not_read_again() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "one\n");
    memory.run_until(1, End::Stopped);
    world.append("a.log", "two\n");
    let finished = memory.run().with(&["--once"]).paths(&["."]).in_directory(&world.tree).finish();
    let lines: Vec<&String> = finished.lines.values().flatten().collect();
    assert_eq!(lines, ["two"], "{}", finished.stderr);
}

/// `S-12`
#[test]
fn a_file_reached_only_through_a_link_goes_on() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let run = || memory.run().with(&["--follow-symlinks"]);
        fs::create_dir(world.beside("pods")).expect("mkdir");
        fs::write(world.beside("pods/0.log"), "one\n").expect("write");
        world.symlink(world.beside("pods/0.log"), "job.log");
        let tail = run().start();
        tail.wait_count(1);
        memory.end(&tail, end);
        world.append("../pods/0.log", "two\n");
        let tail = run().start();
        tail.wait_line("two");
        tail.settled();
        assert_eq!(tail.lines(), ["two"]);
    }
}

#[test]
fn a_hard_link_made_while_down_is_the_same_file() {
    let world = World::new();
    let memory = Memory::new(&world);
    world.append("a.log", "one\n");
    memory.run_until(1, End::Stopped);
    world.hard_link("a.log", "b.log");
    world.append("b.log", "two\n");
    let tail = memory.run().start().armed();
    tail.wait_line("two");
    tail.settled();
    assert_eq!(tail.lines(), ["two"]);
}

/// The next run also skips holes and NULs at the start of a truncated file.
#[test]
fn nuls_left_by_a_truncation_are_skipped_after_a_restart() {
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        world.append("a.log", "one\ntwo\n");
        memory.run_until(2, end);
        // The writer kept its position after the truncation.
        world.truncate("a.log", 0);
        world.truncate("a.log", 8);
        world.append("a.log", "three\n");
        memory.run().start().armed().expect(&[("a.log", &["three"])]);
    }
}

/// `X-07`
#[test]
fn what_was_deleted_is_not_in_the_state_any_more() {
    let world = World::new();
    let memory = Memory::new(&world);
    for name in ["kept.log", "deleted.log"] {
        world.append(name, "one\n");
    }
    let tail = memory.run().start().armed();
    tail.wait_count(2);
    memory.wait_durable(&tail);
    world.remove("deleted.log");
    memory.wait_durable(&tail);
    tail.terminate();
    let (code, listed, stderr) = memory.offsets(&["list"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(listed.contains("kept.log"), "{listed}");
    assert!(!listed.contains("deleted.log"), "{listed}");
}

/// Names that are not UTF-8 are stored and found as bytes.
#[test]
fn files_of_any_name_go_on() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    for end in ENDS {
        let world = World::new();
        let memory = Memory::new(&world);
        let names = [&b"\xff\xfe.log"[..], b"new\nline", b"tab\tand \\", &[b'n'; 255]]
            .map(OsStr::from_bytes);
        names.iter().for_each(|name| world.append(name, "one\n"));
        let tail = memory.run().start().armed();
        tail.wait_count(names.len());
        memory.end(&tail, end);
        names.iter().for_each(|name| world.append(name, "two\n"));
        let tail = memory.run().start().armed();
        tail.wait_count(names.len());
        tail.settled();
        assert_eq!(tail.lines(), vec!["two"; names.len()]);
    }
}

/// A look that cannot see everything does not say that a file is gone, however long ago the run
/// before took it for gone: it may have been moved meanwhile to where nothing can be seen yet.
#[test]
fn a_file_that_was_moved_to_a_path_that_is_missing_at_the_start_goes_on_there() {
    for (is_missing, expected) in [(true, vec!["two"]), (false, vec![])] {
        let world = World::new();
        let memory = Memory::new(&world);
        for directory in ["here", "there"] {
            world.mkdir(directory);
        }
        world.append("here/a.log", "one\n");
        let paths = [world.at("here"), world.at("there")];
        let run = || memory.run().paths(&paths);
        let tail = run().start();
        tail.expect(&[("here/a.log", &["one"])]);
        memory.end(&tail, End::Killed);
        memory.count_as_gone_for_an_hour();
        world.rename("here/a.log", if is_missing { "there/a.log" } else { "a.log" });
        if is_missing {
            world.rename("there", "away");
        }
        let tail = run().start();
        tail.canary("here");
        memory.wait_durable(&tail);
        if is_missing {
            world.append("away/a.log", "two\n");
            world.rename("away", "there");
            tail.wait_line("two");
        }
        tail.canary("there");
        assert_eq!(tail.lines(), expected);
        memory.end(&tail, End::Stopped);
        let (_, known, error) = memory.offsets(&["list"]);
        assert_eq!(known.contains("a.log"), is_missing, "{known}{error}");
    }
}
