//! How files become known: before the start, while running, and by every way in which a name can
//! appear.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

use crate::world::{World, numbered, text};

/// `D-01`
#[test]
fn lines_written_before_the_start_are_delivered_in_order() {
    let world = World::new();
    world.write("a.log", "a1\na2\na3\n");
    world.write("b.log", "b1\nb2\n");
    world.run().start().expect(&[("a.log", &["a1", "a2", "a3"]), ("b.log", &["b1", "b2"])]);
}

/// `D-02`
#[test]
fn a_file_created_while_running_is_read_from_its_first_byte() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("a.log", "one\ntwo\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// `D-03`
#[test]
fn fifty_thousand_lines_appended_to_an_empty_file_come_in_exact_sequence() {
    let world = World::new();
    world.write("a.log", "");
    let tail = world.run().start().armed();
    let lines = numbered("line", 0..50_000);
    for chunk in lines.chunks(50) {
        world.append("a.log", text(chunk));
    }
    tail.expect_in_order(&lines);
}

/// `D-04`
#[test]
fn an_empty_file_neither_emits_nor_is_forgotten() {
    let world = World::new();
    world.write("a.log", "a\n");
    world.write("b.log", "b\n");
    world.write("c.log", "");
    world.write("d.log", "");
    let tail = world.run().start().armed();
    tail.expect(&[("a.log", &["a"]), ("b.log", &["b"])]);
    world.append("c.log", "c\n");
    world.append("d.log", "d\n");
    tail.expect(&[("a.log", &["a"]), ("b.log", &["b"]), ("c.log", &["c"]), ("d.log", &["d"])]);
}

/// `D-05`
#[test]
fn a_file_published_by_rename_comes_once_under_its_final_name() {
    let world = World::new();
    let tail = world.run().with(&["--include", "*.log"]).start();
    tail.canary_file("canary.log");
    world.write("x.tmp", "one\ntwo\n");
    tail.canary_file("canary2.log");
    world.rename("x.tmp", "x.log");
    tail.expect(&[("x.log", &["one", "two"])]);
}

/// `D-05`, when the temporary name is followed too.
#[test]
fn a_followed_file_that_is_renamed_is_not_read_again() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.write("x.tmp", "one\n");
    tail.wait_line("one");
    world.rename("x.tmp", "x.log");
    world.append("x.log", "two\n");
    tail.expect(&[("x.tmp", &["one"]), ("x.log", &["two"])]);
}

/// `D-06`
#[test]
fn a_complete_file_moved_or_linked_in_from_outside_comes_once() {
    let world = World::new();
    let tail = world.run().start().armed();
    fs::write(world.beside("moved"), "m1\nm2\n").expect("write");
    fs::write(world.beside("linked"), "l1\nl2\n").expect("write");
    fs::rename(world.beside("moved"), world.at("moved.log")).expect("rename");
    fs::hard_link(world.beside("linked"), world.at("linked.log")).expect("ln");
    tail.expect(&[("moved.log", &["m1", "m2"]), ("linked.log", &["l1", "l2"])]);
}

/// `D-07`
#[test]
fn overlapping_globs_and_paths_deliver_each_line_once() {
    let world = World::new();
    world.mkdir("sub");
    world.write("sub/a.log", "a\n");
    world.write("b.log", "b\n");
    let paths = [world.tree.clone(), world.at("sub"), world.tree.clone(), world.at("b.log")];
    let tail = world
        .run()
        .with(&["--include", "*.log", "--include", "*.*", "--include", "a*"])
        .paths(&paths)
        .start();
    tail.wait_count(2);
    world.append("sub/a.log", "a2\n");
    world.append("b.log", "b2\n");
    tail.expect(&[("sub/a.log", &["a", "a2"]), ("b.log", &["b", "b2"])]);
}

/// `D-07`, with a new file where two PATHs overlap.
#[test]
fn a_new_file_below_two_overlapping_paths_comes_once() {
    let world = World::new();
    world.mkdir("sub/deep");
    let paths = [world.at("sub"), world.tree.clone(), world.at("sub/deep")];
    let tail = world.run().paths(&paths).start().armed();
    tail.canary("sub/deep");
    world.write("sub/deep/a.log", "a\n");
    tail.expect(&[("sub/deep/a.log", &["a"])]);
}

/// `D-09`
#[test]
fn untidy_globs_still_match() {
    let world = World::new();
    world.mkdir("in/sub");
    world.mkdir("out");
    world.write("in/sub/a.log", "a\n");
    world.write("in/b.log", "b\n");
    world.write("out/c.log", "c\n");
    world.write("d.txt", "d\n");
    let args = [
        "--include",
        "in//sub/*.log",
        "--include",
        "./in/*.log",
        "--include",
        "out/x/../*.log",
        "--exclude",
        "./out/",
    ];
    world.run().with(&args).start().expect(&[("in/sub/a.log", &["a"]), ("in/b.log", &["b"])]);
}

/// `D-09`
#[test]
fn untidy_paths_still_lead_to_the_tree() {
    let world = World::new();
    world.mkdir("sub");
    world.write("sub/a.log", "a\n");
    for untidy in ["/sub/", "//sub", "/./sub", "/sub/../sub", "/sub/."] {
        let path = format!("{}{untidy}", world.tree.display());
        let tail = world.run().paths(&[&path]).start();
        tail.wait_count(1);
        world.append("sub/a.log", "b\n");
        tail.wait_count(2);
        tail.settled();
        assert_eq!(tail.lines(), ["a", "b"], "PATH {path}");
        world.write("sub/a.log", "a\n");
    }
}

#[test]
fn a_glob_without_slash_matches_the_name_at_any_depth_and_one_with_slash_the_path_below() {
    let world = World::new();
    world.mkdir("a/b");
    for name in ["x.log", "a/x.log", "a/b/x.log", "a/y.out", "a/b/y.out", "y.out"] {
        world.write(name, format!("{name}\n"));
    }
    let run = world.run().with(&["--include", "*.log", "--include", "a/*.out"]).start();
    let expected = ["x.log", "a/x.log", "a/b/x.log", "a/y.out"];
    run.expect_files(&expected.map(|name| (name.to_owned(), vec![name.to_owned()])).into());
}

#[test]
fn exclude_wins_over_include_and_prunes_directories() {
    let world = World::new();
    world.mkdir("old/deep");
    for name in ["a.log", "debug.log", "old/a.log", "old/deep/a.log"] {
        world.write(name, format!("{name}\n"));
    }
    let tail = world
        .run()
        .with(&["--include", "*.log", "--exclude", "debug*", "--exclude", "old"])
        .start();
    tail.canary_file("canary.log");
    world.append("old/deep/a.log", "more\n");
    world.append("debug.log", "more\n");
    tail.expect(&[("a.log", &["a.log"])]);
    assert_eq!(tail.process.watches(), 1, "excluded directories are not watched");
}

/// `E-08`
#[test]
fn compressed_files_are_left_out_by_default_and_only_then() {
    let world = World::new();
    let names = ["a.gz", "a.bz2", "a.xz", "a.zst", "a.lz4", "a.zip", "a.Z", "a.log"];
    for name in names {
        world.write(name, "x\n");
    }
    world.run().start().expect(&[("a.log", &["x"])]);
    // The user's own excludes add to the list.
    world.run().with(&["--exclude", "*.tmp"]).start().expect(&[("a.log", &["x"])]);
    let all = BTreeMap::from(names.map(|name| (name.to_owned(), vec!["x".to_owned()])));
    world.run().with(&["--no-default-excludes"]).start().expect_files(&all);
}

/// `D-10`
#[test]
fn names_of_any_bytes_round_trip_in_text() {
    let world = World::new();
    let names: [&[u8]; 8] = [
        b"with space",
        b"-dash",
        "na\u{ef}ve-\u{1f600}".as_bytes(),
        b"new\nline",
        b"tab\there",
        b"bad\xff\xfe",
        b"back\\slash",
        b"\x01\x7f",
    ];
    for name in names {
        world.write(OsStr::from_bytes(name), "x\n");
    }
    let tail = world.run().start();
    tail.wait_count(names.len());
    let path = |name: &[u8]| world.at(OsStr::from_bytes(name)).as_os_str().as_bytes().to_vec();
    let mut got: Vec<Vec<u8>> = tail.records().into_iter().map(|record| record.path).collect();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| path(name)).collect();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    let output = String::from_utf8(tail.capture().bytes()).expect("text paths are UTF-8");
    for escaped in [
        "/new\\x0aline\tx\n",
        "/tab\\x09here\tx\n",
        "/back\\x5cslash\tx\n",
        "/\\x01\\x7f\tx\n",
        "/na\u{ef}ve-\u{1f600}\tx\n",
    ] {
        assert!(output.to_lowercase().contains(escaped), "{escaped:?} in {output:?}");
    }
}

/// `D-10`
#[test]
fn a_name_that_is_not_utf8_has_path_bytes_in_json_and_others_have_none() {
    let world = World::new();
    world.write(OsStr::from_bytes(b"bad\xff"), "x\n");
    world.write("new\nline\"\\", "y\n");
    let tail = world.run().json().start();
    tail.wait_count(2);
    for record in tail.records() {
        assert_eq!(record.origin().has_path_bytes, record.path.ends_with(b"bad\xff"));
        assert!(
            record.path.ends_with(b"bad\xff") || record.path.ends_with(b"new\nline\"\\"),
            "{record:?}"
        );
    }
}

#[test]
fn the_path_of_a_record_is_what_find_would_print() {
    let world = World::new();
    world.mkdir("sub");
    world.write("sub/a.log", "x\n");
    for (given, shown) in [
        ("tree", "tree/sub/a.log"),
        ("tree/", "tree/sub/a.log"),
        ("./tree/sub", "./tree/sub/a.log"),
    ] {
        let tail = world.run().in_directory(&world.beside("")).paths(&[given]).start();
        tail.wait_count(1);
        assert_eq!(String::from_utf8_lossy(&tail.records()[0].path), shown, "PATH {given}");
    }
    for (given, shown) in [(".", "./sub/a.log"), ("sub/a.log", "sub/a.log")] {
        let tail = world.run().in_directory(&world.tree).paths(&[given]).start();
        tail.wait_count(1);
        assert_eq!(String::from_utf8_lossy(&tail.records()[0].path), shown, "PATH {given}");
    }
}

/// `D-11`
#[test]
fn what_is_no_regular_file_is_said_once_and_never_opened() {
    let world = World::new();
    world.fifo("fifo.log");
    let _socket = UnixListener::bind(world.at("socket.log")).expect("socket");
    world.symlink("/dev/zero", "device.log");
    world.symlink("nowhere", "dangling.log");
    world.mkdir("directory.log");
    world.write("a.log", "a\n");
    let tail = world.run().with(&["--follow-symlinks", "--include", "*.log"]).start();
    tail.canary_file("canary.log");
    world.fifo("fifo2.log");
    world.symlink("/dev/zero", "device2.log");
    tail.canary_file("canary2.log");
    world.append("a.log", "b\n");
    tail.expect(&[("a.log", &["a", "b"])]);
    for name in ["fifo.log", "socket.log", "device.log", "fifo2.log", "device2.log"] {
        assert_eq!(tail.said(name), 1, "diagnostics about {name}");
    }
    assert!(tail.said("dangling.log") <= 1);
    let open = tail.process.open_files();
    assert!(!open.iter().any(|path| path.contains("fifo") || path.contains("zero")), "{open:?}");
}

/// `D-11`, found by the listing of a directory that was moved in.
#[test]
fn what_is_no_regular_file_is_said_in_a_directory_that_appears_too() {
    let world = World::new();
    let tail = world.run().start().armed();
    std::fs::create_dir(world.beside("made")).expect("mkdir");
    crate::world::make_fifo(&world.beside("made").join("fifo.log"));
    std::fs::write(world.beside("made").join("a.log"), "a\n").expect("write");
    std::fs::rename(world.beside("made"), world.at("moved")).expect("rename");
    tail.expect(&[("moved/a.log", &["a"])]);
    assert_eq!(tail.said("fifo.log"), 1, "diagnostics about the FIFO");
}

/// `D-12`
#[test]
fn a_missing_file_is_said_once_and_read_from_its_start_when_it_comes() {
    let world = World::new();
    let tail = world.run().paths(&[world.at("late.log")]).start();
    tail.wait_said("late.log");
    tail.settled();
    world.write("late.log", "one\ntwo\n");
    tail.expect(&[("late.log", &["one", "two"])]);
    assert_eq!(tail.warned("late.log"), 1, "one diagnostic");
}

/// `D-14`
#[test]
fn a_directory_replaced_by_a_file_of_its_name_is_followed() {
    let world = World::new();
    world.mkdir("a.log");
    let tail = world.run().start().armed();
    fs::remove_dir(world.at("a.log")).expect("rmdir");
    world.write("a.log", "in the tree\n");
    tail.expect(&[("a.log", &["in the tree"])]);
}

/// `D-14`, where the PATH itself is swapped.
#[test]
fn a_path_that_turns_from_a_directory_into_a_file_and_back_is_followed() {
    let world = World::new();
    world.mkdir("a.log");
    world.write("a.log/x", "below\n");
    let tail = world.run().paths(&[world.at("a.log")]).start();
    tail.expect(&[("a.log/x", &["below"])]);
    world.remove_dir("a.log");
    world.write("a.log", "file\n");
    tail.expect(&[("a.log/x", &["below"]), ("a.log", &["file"])]);
    world.remove("a.log");
    world.mkdir("a.log");
    world.write("a.log/y", "below again\n");
    tail.expect(&[("a.log/x", &["below"]), ("a.log", &["file"]), ("a.log/y", &["below again"])]);
}
