//! Files that may not be read: reported once, read once they may be, without harm to other files.

use std::io::Write;
use std::process::Command;

use crate::harness::wait_for;
use crate::world::{World, is_root, skip, succeeds};

/// A user who owns nothing: root reads everything.
const NOBODY: u32 = 65_534;

/// `M-01` and `M-04`
#[test]
fn an_unreadable_file_is_said_once_and_read_from_0_when_permissions_change() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.write("secret.log", "one\ntwo\n");
    world.chmod("secret.log", 0o000);
    world.write("open.log", "open\n");
    let tail = world.run().user(NOBODY).with(&["--include", "*.log"]).start();
    tail.wait_line("open");
    tail.wait_said("secret.log");
    world.append("secret.log", "three\n");
    tail.canary_file("canary.log");
    tail.settled();
    assert_eq!(tail.said("secret.log"), 1, "{}", tail.stderr());
    world.chmod("secret.log", 0o644);
    tail.expect(&[("open.log", &["open"]), ("secret.log", &["one", "two", "three"])]);
}

/// `M-02`
#[test]
fn a_file_that_becomes_unreadable_and_readable_again_has_no_gap_and_no_repeat() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let tail = world.run().user(NOBODY).start().armed();
    let mut writer = world.writer("a.log");
    writer.write_all(b"one\n").expect("write");
    tail.wait_line("one");
    // As long as it is still open after the read, it can be read.
    tail.wait_closed();
    world.chmod("a.log", 0o200);
    writer.write_all(b"two\n").expect("write");
    tail.wait_said("a.log");
    tail.settled();
    writer.write_all(b"three\n").expect("write");
    tail.canary("");
    world.chmod("a.log", 0o644);
    tail.wait_line("three");
    writer.write_all(b"four\n").expect("write");
    tail.expect(&[("a.log", &["one", "two", "three", "four"])]);
}

/// `M-03`
#[test]
fn an_unreadable_directory_is_said_once_and_picked_up_when_permissions_change() {
    if !is_root() {
        return;
    }
    for mode in [0o000, 0o644, 0o711] {
        let world = World::new();
        world.mkdir("locked/deep");
        world.mkdir("sibling");
        world.write("locked/a.log", "a\n");
        world.write("locked/deep/b.log", "b\n");
        world.write("sibling/c.log", "c\n");
        world.chmod("locked", mode);
        let tail = world.run().user(NOBODY).start();
        tail.wait_line("c");
        tail.wait_said("locked");
        tail.canary("");
        tail.settled();
        // A directory that may be listed but not entered causes three reports: itself and its two
        // entries.
        let most = if mode == 0o644 { 3 } else { 1 };
        assert!((1..=most).contains(&tail.said("locked")), "mode {mode:o}: {}", tail.stderr());
        world.chmod("locked", 0o755);
        tail.wait_count(3);
        world.append("locked/deep/b.log", "bb\n");
        tail.expect(&[
            ("locked/a.log", &["a"]),
            ("locked/deep/b.log", &["b", "bb"]),
            ("sibling/c.log", &["c"]),
        ]);
    }
}

#[test]
fn a_path_that_may_not_be_read_is_said_and_picked_up() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.mkdir("top");
    world.write("top/a.log", "a\n");
    world.chmod("top", 0o700);
    let tail = world.run().paths(&[world.at("top")]).user(NOBODY).with(&["--rescan", "1s"]).start();
    tail.wait_said("top");
    world.chmod("top", 0o755);
    tail.expect(&[("top/a.log", &["a"])]);
    world.append("top/a.log", "b\n");
    tail.expect(&[("top/a.log", &["a", "b"])]);
}

#[test]
fn many_unreadable_files_are_no_flood_of_diagnostics() {
    if !is_root() {
        return;
    }
    let world = World::new();
    for number in 0..1_000 {
        world.write(format!("secret-{number}"), "x\n");
        world.chmod(format!("secret-{number}"), 0o000);
    }
    let tail = world.run().user(NOBODY).start().armed();
    for number in 0..1_000 {
        world.append(format!("secret-{number}"), "y\n");
    }
    tail.canary("");
    tail.settled();
    let said = tail.said("secret-");
    assert!((1..=1_000).contains(&said), "{said} diagnostics");
    assert!(
        tail.stderr().lines().count() < 1_010,
        "at most one per file: {}",
        tail.stderr().lines().count()
    );
    assert_eq!(tail.count(), 0);
}

/// `M-05`
#[test]
fn an_append_only_file_is_followed() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.write("a.log", "one\n");
    let path = world.at("a.log");
    let path = path.to_str().expect("UTF-8");
    if !succeeds("chattr", &["+a", path]) {
        return skip("chattr +a does not work here");
    }
    let tail = world.run().start();
    tail.wait_line("one");
    world.append("a.log", "two\n");
    tail.wait_line("two");
    tail.settled();
    assert!(succeeds("chattr", &["-a", path]));
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// `M-05`
#[test]
fn a_read_only_bind_mount_is_followed() {
    if !is_root() {
        return;
    }
    if !succeeds("unshare", &["-m", "true"]) {
        return skip("no mount namespaces");
    }
    let world = World::new();
    std::fs::create_dir(world.beside("view")).expect("mkdir");
    world.write("a.log", "one\n");
    let (tree, view) = (world.tree.display(), world.beside("view"));
    let mount = format!(
        "mount --bind '{tree}' '{0}' && mount -o remount,bind,ro '{0}' && exec \"$@\"",
        view.display()
    );
    let tail =
        world.run().paths(&[&view]).under(&["unshare", "-m", "sh", "-c", &mount, "sh"]).start();
    tail.wait_line("one");
    world.append("a.log", "two\n");
    world.mkdir("s");
    world.write("s/b.log", "b\n");
    tail.wait_count(3);
    tail.settled();
    assert_eq!(tail.lines().len(), 3);
}

/// `M-06`
#[test]
fn the_capability_to_read_is_enough() {
    if !is_root() {
        return;
    }
    let set = [
        "--reuid",
        "65534",
        "--inh-caps",
        "+dac_read_search",
        "--ambient-caps",
        "+dac_read_search",
    ];
    if !succeeds("setpriv", &[&set[..], &["true"]].concat()) {
        return skip("setpriv cannot give capabilities");
    }
    let world = World::new();
    world.write("a.log", "one\n");
    world.chmod("a.log", 0o000);
    // The binary may be in a directory that only root can enter; the capability keeps that access.
    let command = [&["setpriv"][..], &set].concat();
    let tail = world.run().under(&command).start();
    tail.expect(&[("a.log", &["one"])]);
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// `O_NOATIME` is not allowed on files of others: they must be read nevertheless, and own files
/// without changing the access time.
#[test]
fn files_of_other_users_are_read() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.write("a.log", "one\n");
    let tail = world.run().user(NOBODY).start();
    tail.wait_line("one");
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
    assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
}

/// `M-07` without a security module: the target of a link may not be read.
#[test]
fn a_link_to_an_unreadable_target_is_said_and_does_no_harm() {
    if !is_root() {
        return;
    }
    let world = World::new();
    std::fs::create_dir(world.beside("private")).expect("mkdir");
    std::fs::write(world.beside("private/target.log"), "x\n").expect("write");
    assert!(
        Command::new("chmod")
            .arg("700")
            .arg(world.beside("private"))
            .status()
            .expect("chmod")
            .success()
    );
    world.symlink(world.beside("private/target.log"), "link.log");
    world.write("a.log", "a\n");
    let tail = world.run().user(NOBODY).with(&["--follow-symlinks"]).start().armed();
    wait_for("a diagnostic", || tail.said("link.log") + tail.said("target.log") > 0);
    tail.expect(&[("a.log", &["a"])]);
}

/// No event reports that a directory above the target of a link was opened.
#[test]
fn a_link_whose_target_may_be_reached_later_is_read_then() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let private = world.beside("private");
    let chmod = |mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&private, mode).expect("chmod");
    };
    std::fs::create_dir_all(private.join("deep")).expect("mkdir");
    std::fs::write(private.join("deep/target.log"), "one\n").expect("write");
    chmod(0o700);
    world.symlink(private.join("deep/target.log"), "link.log");
    let tail = world.run().user(NOBODY).with(&["--follow-symlinks=any"]).start().armed();
    wait_for("a diagnostic", || tail.said("link.log") > 0);
    chmod(0o755);
    tail.wait_line("one");
    chmod(0o700);
    let append = |line: &str| {
        let path = private.join("deep/target.log");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("open");
        file.write_all(line.as_bytes()).expect("write");
    };
    // The file may still be open after the first line.
    tail.wait_closed();
    append("two\n");
    wait_for("a diagnostic", || tail.said("link.log") + tail.said("target.log") > 1);
    chmod(0o755);
    tail.expect(&[("link.log", &["one", "two"])]);
}
