//! Two names are exchanged in one step (`mv --exchange`): both files are followed at once, nothing
//! is read twice, and nothing is reported as lost.

use std::collections::BTreeMap;

use crate::harness::Tail;
use crate::world::World;

/// A change of names. Names that begin with `^` are beside the tree.
enum Step {
    Exchange(&'static str, &'static str),
    Rename(&'static str, &'static str),
}
use Step::{Exchange, Rename};

fn path(world: &World, name: &str) -> std::path::PathBuf {
    name.strip_prefix('^').map_or_else(|| world.at(name), |name| world.beside(name))
}

fn take(world: &World, steps: &[Step]) {
    for step in steps {
        match step {
            Exchange(one, other) => world.exchange(path(world, one), path(world, other)),
            Rename(from, to) => world.rename(path(world, from), path(world, to)),
        }
    }
}

/// Starts a run without a sweep: events have to suffice.
fn start(world: &World, args: &[&str]) -> Tail {
    world.run().json().with(&["--rescan", "0"]).with(args).start()
}

/// Makes the files, takes the steps while all of them grow, and then writes a line to each file by
/// the name that it has. `after` maps the names at the end that are followed to those at the start.
fn check(files: &[&str], args: &[&str], steps: &[Step], after: &[(&str, &str)]) {
    for is_stopped in [false, true] {
        let world = World::new();
        for file in files {
            let path = path(&world, file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir -p");
            world.append(&path, "first\n");
        }
        let tail = start(&world, args).armed();
        let inside = files
            .iter()
            .filter(|file| !file.starts_with('^'))
            .filter(|file| !file.ends_with(".gz"))
            .count();
        tail.wait_count(inside);
        if is_stopped {
            tail.stop();
        }
        for file in files {
            // Equal contents: only the identities differ.
            world.append(path(&world, file), "before\n");
        }
        take(&world, steps);
        for (now, _) in after {
            world.append(world.at(now), format!("after {now}\n"));
        }
        if is_stopped {
            tail.go_on();
        }
        for (now, _) in after {
            tail.wait_line(&format!("after {now}"));
        }
        tail.settled();
        // A file that stays open after a read is read once more under its old path.
        tail.wait_closed();
        for (now, _) in after {
            world.append(world.at(now), format!("end {now}\n"));
            tail.wait_line(&format!("end {now}"));
        }
        tail.settled();
        let records = tail.records();
        let mut stories: BTreeMap<String, Vec<(u64, String, String)>> = BTreeMap::new();
        for record in &records {
            let story = stories.entry(record.origin().file.clone()).or_default();
            story.push((record.origin().offset, record.text(), tail.name(record)));
        }
        for (now, before) in after {
            let line = format!("after {now}");
            let story = stories
                .values()
                .find(|story| story.iter().any(|(_, text, _)| *text == line))
                .expect("just waited for");
            let texts: Vec<&str> = story.iter().map(|(_, text, _)| text.as_str()).collect();
            let end = format!("end {now}");
            assert_eq!(
                texts,
                ["first", "before", &*line, &*end],
                "{now} was {before}: {stories:#?}"
            );
            assert_eq!(
                story[0].2,
                if before.starts_with('^') { *now } else { *before },
                "the name at the start: {stories:#?}"
            );
            assert_eq!(story[3].2, *now, "the name at the end: {stories:#?}");
        }
        // If an exchange moves a file with unread bytes out of the tree, they are lost, and
        // reported.
        let is_outside = |name: &&str| name.starts_with('^');
        let takes_out = steps.iter().any(
            |step| matches!(step, Exchange(one, other) if is_outside(one) || is_outside(other)),
        );
        let losses = if takes_out { tail.warned("moved to where nothing is watched") } else { 0 };
        assert_eq!(tail.warned(""), losses, "{}", tail.stderr());
    }
}

#[test]
fn two_directories_exchanged_are_both_followed_at_once() {
    check(
        &["a/x.log", "b/x.log", "a/s/y.log", "b/t/z.log"],
        &[],
        &[Exchange("a", "b")],
        &[
            ("a/x.log", "b/x.log"),
            ("b/x.log", "a/x.log"),
            ("b/s/y.log", "a/s/y.log"),
            ("a/t/z.log", "b/t/z.log"),
        ],
    );
}

#[test]
fn directories_exchanged_twice_or_three_times_are_followed() {
    let twice = [Exchange("a", "b"), Exchange("a", "b")];
    check(&["a/x.log", "b/x.log"], &[], &twice, &[("a/x.log", "a/x.log"), ("b/x.log", "b/x.log")]);
    let three = [Exchange("a", "b"), Exchange("b", "a"), Exchange("a", "b")];
    check(&["a/x.log", "b/x.log"], &[], &three, &[("a/x.log", "b/x.log"), ("b/x.log", "a/x.log")]);
}

#[test]
fn two_files_exchanged_go_on_under_their_new_names() {
    check(
        &["a.log", "b.log"],
        &[],
        &[Exchange("a.log", "b.log")],
        &[("a.log", "b.log"), ("b.log", "a.log")],
    );
    let twice = [Exchange("a.log", "b.log"), Exchange("a.log", "b.log")];
    check(&["a.log", "b.log"], &[], &twice, &[("a.log", "a.log"), ("b.log", "b.log")]);
    let three =
        [Exchange("a.log", "b.log"), Exchange("a.log", "b.log"), Exchange("b.log", "a.log")];
    check(&["a.log", "b.log"], &[], &three, &[("a.log", "b.log"), ("b.log", "a.log")]);
    check(
        &["d/a.log", "e/b.log"],
        &[],
        &[Exchange("d/a.log", "e/b.log")],
        &[("d/a.log", "e/b.log"), ("e/b.log", "d/a.log")],
    );
}

#[test]
fn a_file_exchanged_with_one_that_does_not_match_goes_on_under_its_name() {
    check(&["a.log", "b.gz"], &[], &[Exchange("a.log", "b.gz")], &[("b.gz", "a.log")]);
    check(&["a.log", "b.gz"], &[], &[Exchange("b.gz", "a.log")], &[("b.gz", "a.log")]);
    let back = [Exchange("a.log", "b.gz"), Exchange("a.log", "b.gz")];
    check(&["a.log", "b.gz"], &[], &back, &[("a.log", "a.log")]);
}

/// The kernel reports a rename from an unknown name over the file: only the next event shows that
/// the two changed places.
#[test]
fn a_file_that_did_not_match_is_read_under_the_name_that_an_exchange_gives_it() {
    for (one, other) in [("a.log", "b.gz"), ("b.gz", "a.log")] {
        let world = World::new();
        world.append("a.log", "first\n");
        world.append("b.gz", "of the other\n");
        let tail = start(&world, &[]).armed();
        tail.wait_line("first");
        world.exchange(world.at(one), world.at(other));
        tail.wait_line("of the other");
        world.append("b.gz", "second\n");
        world.append("a.log", "more of the other\n");
        tail.wait_line("second");
        tail.wait_line("more of the other");
        tail.settled();
        assert_eq!(tail.records().len(), 4, "{one} and {other}");
    }
}

/// A followed file gets a name that does not match. Later files of that name are not followed.
#[test]
fn what_takes_a_name_that_only_the_file_before_was_followed_by_is_left_out() {
    for is_stopped in [false, true] {
        let world = World::new();
        world.append("a.log", "first\n");
        world.append("x.gz", "not to be read\n");
        let tail = start(&world, &[]).armed();
        world.rename("a.log", "a.gz");
        world.append("a.gz", "second\n");
        tail.wait_line("second");
        if is_stopped {
            tail.stop();
        }
        world.exchange(world.at("a.gz"), world.at("x.gz"));
        world.append("x.gz", "third\n");
        world.append("a.gz", "not to be read\n");
        if is_stopped {
            tail.go_on();
        }
        tail.wait_line("third");
        tail.canary("");
        tail.settled();
        assert_eq!(tail.lines(), ["first", "second", "third"]);
    }
}

#[test]
fn a_directory_that_takes_a_name_that_only_the_one_before_was_followed_by_is_left_out() {
    let world = World::new();
    world.mkdir("a");
    world.append("a/x.log", "first\n");
    let tail = start(&world, &["--exclude", "old/"]).armed();
    world.rename("a", "old");
    world.append("old/x.log", "second\n");
    tail.wait_line("second");
    tail.wait_closed();
    std::fs::remove_dir_all(world.at("old")).expect("rm -r");
    world.mkdir("old");
    world.append("old/x.log", "not to be read\n");
    tail.canary("");
    tail.settled();
    world.append("old/x.log", "not to be read\n");
    tail.canary("");
    assert_eq!(tail.lines(), ["first", "second"]);
}

/// A rename within the second after an exchange does not belong to it.
#[test]
fn a_file_that_was_exchanged_a_moment_ago_is_rotated() {
    let steps = [Exchange("a.log", "b.log"), Rename("b.log", "b.log.1"), Rename("^c.log", "b.log")];
    check(
        &["a.log", "b.log", "^c.log"],
        &[],
        &steps,
        &[("a.log", "b.log"), ("b.log.1", "a.log"), ("b.log", "^c.log")],
    );
}

#[test]
fn a_file_and_a_directory_exchanged_are_both_followed() {
    let steps = [Exchange("a.log", "d.log")];
    check(
        &["a.log", "d.log/x.log"],
        &[],
        &steps,
        &[("d.log", "a.log"), ("a.log/x.log", "d.log/x.log")],
    );
    let steps = [Exchange("d.log", "a.log")];
    check(
        &["a.log", "d.log/x.log"],
        &[],
        &steps,
        &[("d.log", "a.log"), ("a.log/x.log", "d.log/x.log")],
    );
}

#[test]
fn directories_of_different_depths_are_exchanged() {
    check(
        &["a/b/c/x.log", "a/d/x.log", "e/x.log"],
        &[],
        &[Exchange("a/b/c", "a/d")],
        &[("a/b/c/x.log", "a/d/x.log"), ("a/d/x.log", "a/b/c/x.log")],
    );
    check(
        &["a/b/x.log", "e/x.log"],
        &[],
        &[Exchange("e", "a/b")],
        &[("a/b/x.log", "e/x.log"), ("e/x.log", "a/b/x.log")],
    );
}

#[test]
fn an_exchange_in_a_chain_of_renames_is_followed() {
    let steps = [Exchange("a", "b"), Rename("b", "c")];
    check(&["a/x.log", "b/x.log"], &[], &steps, &[("a/x.log", "b/x.log"), ("c/x.log", "a/x.log")]);
    let steps = [Exchange("a.log", "b.log"), Rename("b.log", "c.log")];
    check(&["a.log", "b.log"], &[], &steps, &[("a.log", "b.log"), ("c.log", "a.log")]);
    let steps = [Exchange("a.log", "b.log"), Rename("a.log", "c.log")];
    check(&["a.log", "b.log"], &[], &steps, &[("b.log", "a.log"), ("c.log", "b.log")]);
    let steps = [Rename("a", "t"), Rename("b", "a"), Rename("c", "b"), Rename("t", "c")];
    let after = [("a/x.log", "b/x.log"), ("b/x.log", "c/x.log"), ("c/x.log", "a/x.log")];
    check(&["a/x.log", "b/x.log", "c/x.log"], &[], &steps, &after);
    let steps = [Exchange("a", "b"), Exchange("b", "c")];
    let after = [("a/x.log", "b/x.log"), ("b/x.log", "c/x.log"), ("c/x.log", "a/x.log")];
    check(&["a/x.log", "b/x.log", "c/x.log"], &[], &steps, &after);
}

#[test]
fn a_directory_exchanged_with_one_that_is_left_out_goes_on_under_its_name() {
    for steps in [[Exchange("a", "out")], [Exchange("out", "a")]] {
        check(&["a/x.log"], &["--exclude", "out"], &[], &[("a/x.log", "a/x.log")]);
        let world = World::new();
        world.mkdir("a");
        world.mkdir("out");
        world.append("a/x.log", "a 0\n");
        world.append("out/x.log", "out 0\n");
        let tail = start(&world, &["--exclude", "out"]).armed();
        tail.wait_count(1);
        take(&world, &steps);
        world.append("out/x.log", "a 1\n");
        world.append("a/x.log", "out 1\n");
        tail.wait_count(4);
        tail.settled();
        let mut got: Vec<(String, String)> =
            tail.records().iter().map(|record| (tail.name(record), record.text())).collect();
        got.sort();
        let expected =
            [("a/x.log", "a 0"), ("a/x.log", "out 0"), ("a/x.log", "out 1"), ("out/x.log", "a 1")];
        assert_eq!(got, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
    }
}

/// The file that left the tree is no longer followed; the one that came in is followed from its
/// first byte.
#[test]
fn an_exchange_with_what_lies_outside_of_the_tree_brings_that_in() {
    for (inside, outside) in [("a", "^o"), ("^o", "a")] {
        check(
            &["a/x.log", "^o/x.log"],
            &[],
            &[Exchange(inside, outside)],
            &[("a/x.log", "^o/x.log")],
        );
    }
    for (inside, outside) in [("a.log", "^o.log"), ("^o.log", "a.log")] {
        check(&["a.log", "^o.log"], &[], &[Exchange(inside, outside)], &[("a.log", "^o.log")]);
    }
}

#[test]
fn a_directory_from_outside_is_followed_though_it_takes_the_name_of_a_file_that_does_not_match() {
    for (inside, outside) in [("a.gz", "^d"), ("^d", "a.gz")] {
        let steps = [Rename("a.log", "a.gz"), Exchange(inside, outside)];
        check(&["a.log", "^d/x.log"], &[], &steps, &[("a.gz/x.log", "^d/x.log")]);
    }
}

#[test]
fn an_exchange_with_a_sub_directory_that_is_not_followed_brings_its_file_in() {
    for (one, other) in [("a.log", "s/b.log"), ("s/b.log", "a.log")] {
        let world = World::new();
        world.mkdir("s");
        world.append("a.log", "a\n");
        world.append("s/b.log", "b\n");
        let tail = start(&world, &["--recursive", "false"]).armed();
        tail.wait_count(1);
        world.exchange(world.at(one), world.at(other));
        world.append("s/b.log", "not to be read\n");
        world.append("a.log", "b more\n");
        tail.expect(&[("a.log", &["a", "b", "b more"])]);
    }
}

#[test]
fn a_directory_exchanged_with_a_link_is_followed_where_it_is() {
    for follow in [false, true] {
        for (one, other) in [("a", "l"), ("l", "a")] {
            let world = World::new();
            std::fs::create_dir(world.beside("far")).expect("mkdir");
            world.append(world.beside("far/x.log"), "far 0\n");
            world.mkdir("a");
            world.append("a/x.log", "a 0\n");
            world.symlink(world.beside("far"), "l");
            let tail = start(&world, if follow { &["--follow-symlinks"] } else { &[] }).armed();
            tail.wait_count(1 + usize::from(follow));
            world.exchange(world.at(one), world.at(other));
            world.append("l/x.log", "a 1\n");
            world.append("a/x.log", "far 1\n");
            tail.wait_line("a 1");
            if follow {
                tail.wait_line("far 1");
            }
            tail.settled();
            assert_eq!(tail.count(), if follow { 4 } else { 2 }, "{:?}", tail.lines());
            let name = |line: &str| {
                tail.records()
                    .iter()
                    .find(|record| record.text() == line)
                    .map(|record| tail.name(record))
            };
            assert_eq!(name("a 1").as_deref(), Some("l/x.log"));
            assert_eq!(name("far 1").as_deref(), follow.then_some("a/x.log"));
        }
    }
}

#[test]
fn two_paths_exchanged_are_both_followed() {
    let world = World::new();
    world.mkdir("p");
    world.mkdir("q");
    world.append("p/x.log", "p 0\n");
    world.append("q/x.log", "q 0\n");
    let tail =
        world.run().json().with(&["--rescan", "0"]).paths(&[world.at("p"), world.at("q")]).start();
    tail.wait_count(2);
    tail.settled();
    // A file that stays open after a read is read once more under its old path.
    tail.wait_closed();
    world.exchange(world.at("p"), world.at("q"));
    world.append("p/x.log", "q 1\n");
    world.append("q/x.log", "p 1\n");
    tail.wait_count(4);
    world.append("p/x.log", "q 2\n");
    world.append("q/x.log", "p 2\n");
    tail.wait_count(6);
    tail.settled();
    let mut got: Vec<(String, String)> =
        tail.records().iter().map(|record| (record.text(), tail.name(record))).collect();
    got.sort();
    let expected = [
        ("p 0", "p/x.log"),
        ("p 1", "q/x.log"),
        ("p 2", "q/x.log"),
        ("q 0", "q/x.log"),
        ("q 1", "p/x.log"),
        ("q 2", "p/x.log"),
    ];
    assert_eq!(got, expected.map(|(text, name)| (text.to_owned(), name.to_owned())));
}

/// A rename over a name, followed by another rename of it, is not an exchange.
#[test]
fn a_file_that_covers_another_and_is_renamed_on_is_followed() {
    let world = World::new();
    for (first, second) in [("b.log", "c.log"), ("d.log", "a.log")] {
        world.append("a.log", "line\n");
        world.append(first, format!("covered {first}\n"));
        let tail = start(&world, &[]).armed();
        tail.wait_line(&format!("covered {first}"));
        tail.settled();
        tail.stop();
        world.append("a.log", "more\n");
        world.rename("a.log", first);
        world.rename(first, second);
        world.append(second, "most\n");
        tail.go_on();
        tail.wait_line("most");
        tail.settled();
        let last = tail.records().pop().expect("just waited for");
        assert_eq!(
            (tail.name(&last), tail.said("lost")),
            (second.to_owned(), 0),
            "{}",
            tail.stderr()
        );
        world.remove(second);
    }
}

/// If a file with unread bytes is replaced by a rename, they are lost and reported, even if it
/// looks like an exchange.
#[test]
fn unread_bytes_of_a_file_that_was_covered_are_said_to_be_lost() {
    let world = World::new();
    world.append("a.log", "a 0\n");
    world.append("b.log", "b 0\n");
    let tail = start(&world, &[]).armed();
    tail.wait_count(2);
    tail.at_rest();
    tail.stop();
    world.append("b.log", "nobody reads this\n");
    world.rename("a.log", "b.log");
    world.rename("b.log", "c.log");
    tail.go_on();
    tail.wait_said("is lost");
    world.append("c.log", "a 1\n");
    tail.wait_line("a 1");
}
