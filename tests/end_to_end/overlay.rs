//! Logs on an overlay: the first change of a file in a lower layer copies it up, and it stays the
//! same file for manytail.
//!
//! The overlay is in its own mount namespace, which a helper process keeps; writers reach it
//! through that process's root.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Run, Tail};
use crate::world::{World, is_root, numbered, skip, text};

/// Mount options to test.
const KINDS: [&str; 6] = [
    "",
    ",xino=off",
    ",index=on",
    ",index=on,nfs_export=on",
    ",metacopy=on,redirect_dir=on",
    ",index=on,metacopy=on",
];

struct Overlay {
    world: World,
    /// Keeps the mount alive, and the upper layer if that is in memory.
    holder: Child,
    options: String,
    lower: PathBuf,
    state: PathBuf,
}

impl Overlay {
    /// An overlay with these logs in its lower layer, mounted at the tree. `None`: this machine
    /// cannot do that, and the test is skipped.
    fn new(options: &str, is_upper_elsewhere: bool, logs: &[(&str, &str)]) -> Option<Overlay> {
        if !is_root() {
            return None;
        }
        let world = World::new();
        let (lower, layers) = (world.beside("lower"), world.beside("layers"));
        fs::create_dir_all(&lower).expect("the lower layer");
        fs::create_dir_all(&layers).expect("the upper layer");
        for (name, content) in logs {
            fs::write(lower.join(name), content).expect("write");
        }
        let upper = if is_upper_elsewhere { "mount -t tmpfs tmpfs \"$2\" && " } else { "" };
        let script = format!(
            "{upper}mkdir -p \"$2/upper\" \"$2/work\" && {} && echo ready && exec cat",
            mount(options)
        );
        let mut holder = Command::new("unshare");
        holder.args(["-m", "sh", "-c", &script, "sh"]).args([&lower, &layers, &world.tree]);
        let mut holder = holder
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line).expect("read");
        if line != "ready\n" {
            let _ = holder.wait();
            skip(&format!("no overlay to be had with options {options:?}"));
            return None;
        }
        let state = world.beside("state");
        Some(Overlay { world, holder, options: options.to_owned(), lower, state })
    }

    /// The path by which a test reaches a file on the overlay.
    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.world.at(name).strip_prefix("/").expect("an absolute path"))
    }

    fn append(&self, name: &str, bytes: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.at(name));
        file.expect("open").write_all(bytes.as_bytes()).expect("append");
    }

    fn run(&self) -> Run {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        // The sweep would hide what events must achieve.
        self.world
            .run()
            .json()
            .with(&["--rescan-remote", "0"])
            .under(&["nsenter", &namespace, "--"])
    }

    fn run_with_state(&self) -> Run {
        self.run().with(&["--state-dir"]).with(&[&self.state])
    }

    /// Mounts the overlay again: most likely it has another device number, and the kernel has
    /// forgotten its files.
    fn mount_again(&self) {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        let script = format!("umount \"$3\" && {}", mount(&self.options));
        let mut command = Command::new("nsenter");
        command.args([&namespace, "--", "sh", "-c", &script, "sh"]);
        command.args([&self.lower, &self.world.beside("layers"), &self.world.tree]);
        assert!(command.status().expect("nsenter").success(), "cannot mount the overlay again");
    }

    fn birth(&self, name: &str) -> std::time::SystemTime {
        fs::metadata(self.at(name)).and_then(|found| found.created()).expect("a birth time")
    }

    fn inode(&self, name: &str) -> u64 {
        fs::metadata(self.at(name)).expect("stat").ino()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The mount command for a script whose arguments are the lower layer, the directory of the upper
/// layer, and the mount point.
fn mount(options: &str) -> String {
    format!(
        "mount -t overlay overlay -o \"lowerdir=$1,upperdir=$2/upper,workdir=$2/work{options}\" \
        \"$3\""
    )
}

/// Changes a file of the lower layer in one of all possible ways, chosen by the name of the log.
/// Returns the expected lines.
fn change(overlay: &Overlay, number: usize, name: &str) -> Vec<String> {
    let path = overlay.at(name);
    match number {
        0 => {}
        1 => fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod"),
        2 => std::os::unix::fs::chown(&path, Some(1), Some(1)).expect("chown"),
        3 => {
            let times = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
            // Without opening it for writing.
            fs::File::open(&path).and_then(|file| file.set_times(times)).expect("touch");
        }
        _ => {
            fs::rename(&path, overlay.at(format!("{name}.1"))).expect("mv");
            overlay.append(&format!("{name}.1"), "more\n");
            return vec!["more".to_owned()];
        }
    }
    overlay.append(name, "more\n");
    vec!["more".to_owned()]
}

const CHANGES: usize = 5;

fn logs() -> Vec<(String, String)> {
    (0..CHANGES)
        .map(|number| {
            (format!("{number}.log"), text(&numbered(&format!("log {number} line"), 0..20)))
        })
        .collect()
}

fn overlay_of(options: &str, is_upper_elsewhere: bool) -> Option<Overlay> {
    let logs = logs();
    let logs: Vec<(&str, &str)> =
        logs.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
    Overlay::new(options, is_upper_elsewhere, &logs)
}

/// Starts, and waits for all existing lines.
fn start(run: Run, lines: usize) -> Tail {
    let tail = run.start();
    tail.wait_count(lines);
    tail.settled();
    tail
}

#[test]
fn a_log_of_a_lower_layer_that_is_changed_goes_on_where_it_was() {
    for (options, is_elsewhere) in
        KINDS.iter().flat_map(|&options| [(options, false), (options, true)])
    {
        let Some(overlay) = overlay_of(options, is_elsewhere) else { continue };
        let tail = start(overlay.run(), CHANGES * 20);
        let births: Vec<_> =
            (0..CHANGES).map(|number| overlay.birth(&format!("{number}.log"))).collect();
        let mut count = CHANGES * 20;
        for number in 0..CHANGES {
            count += change(&overlay, number, &format!("{number}.log")).len();
            tail.wait_count(count);
        }
        tail.settled();
        assert_eq!(
            tail.count(),
            count,
            "{options:?} {is_elsewhere}: {:?}",
            &tail.lines()[CHANGES * 20..]
        );
        assert_ne!(overlay.birth("0.log"), births[0], "it was copied up");
        // A file that is checked again is still the same.
        fs::set_permissions(overlay.at("0.log"), fs::Permissions::from_mode(0o600)).expect("chmod");
        overlay.append("0.log", "and more\n");
        tail.wait_line("and more");
        tail.settled();
        assert_eq!(tail.count(), count + 1, "{options:?} {is_elsewhere}");
    }
}

#[test]
fn a_log_that_is_copied_up_by_a_truncation_restarts_once() {
    let Some(overlay) = overlay_of("", false) else { return };
    let tail = start(overlay.run(), CHANGES * 20);
    fs::write(overlay.at("0.log"), "new\n").expect("write");
    tail.wait_line("new");
    overlay.append("0.log", "newer\n");
    tail.wait_line("newer");
    tail.settled();
    assert_eq!(&tail.lines()[CHANGES * 20..], ["new", "newer"]);
}

#[test]
fn logs_that_are_copied_up_while_down_go_on_also_after_another_mount() {
    for (options, is_elsewhere) in
        KINDS.iter().flat_map(|&options| [(options, false), (options, true)])
    {
        for is_mounted_again in [false, true] {
            // Layers on two file systems, one of which has no UUID: after the next mount, nothing
            // shows that a file was copied from the other.
            if is_mounted_again && is_elsewhere {
                continue;
            }
            let Some(overlay) = overlay_of(options, is_elsewhere) else { continue };
            let output = overlay.world.beside("out.json");
            let tail = start(overlay.run_with_state().output_file(&output), CHANGES * 20);
            tail.terminate();
            let born = overlay.birth("0.log");
            for number in 0..CHANGES {
                // With another device number, a file is known by its path.
                let kind = if is_mounted_again && number == CHANGES - 1 { 0 } else { number };
                change(&overlay, kind, &format!("{number}.log"));
            }
            if is_mounted_again {
                overlay.mount_again();
            }
            assert_ne!(overlay.birth("0.log"), born, "it was copied up");
            let tail = overlay.run_with_state().output_file(&output).start();
            tail.wait_count(CHANGES * 21);
            tail.settled();
            overlay.append("0.log", "last\n");
            tail.wait_line("last");
            tail.settled();
            assert_eq!(
                tail.count(),
                CHANGES * 21 + 1,
                "{options:?} {is_elsewhere} {is_mounted_again}"
            );
            // Once more, with the identities as they are now.
            tail.terminate();
            let tail = overlay.run_with_state().output_file(&output).start();
            overlay.append("1.log", "after\n");
            tail.wait_line("after");
            tail.settled();
            assert_eq!(
                tail.count(),
                CHANGES * 21 + 2,
                "{options:?} {is_elsewhere} {is_mounted_again}"
            );
        }
    }
}

/// The inode changes, because the other name keeps the lower one.
#[test]
fn each_name_of_a_log_with_several_goes_on_by_itself_when_they_are_copied_up() {
    let Some(overlay) = Overlay::new("", false, &[("a.log", &text(&numbered("line", 0..20)))])
    else {
        return;
    };
    // Before anything reads the merged directory.
    fs::hard_link(overlay.lower.join("a.log"), overlay.lower.join("b.log")).expect("ln");
    overlay.mount_again();
    let tail = start(overlay.run(), 20);
    let inode = overlay.inode("a.log");
    overlay.append("a.log", "of a\n");
    tail.wait_line("of a");
    assert_ne!(overlay.inode("a.log"), inode, "the link was broken");
    assert_eq!(overlay.inode("b.log"), inode);
    overlay.append("b.log", "of b\n");
    tail.wait_line("of b");
    overlay.append("a.log", "of a again\n");
    overlay.append("b.log", "of b again\n");
    tail.wait_count(24);
    tail.settled();
    let mut lines = tail.lines().split_off(20);
    lines.sort();
    assert_eq!(lines, ["of a", "of a again", "of b", "of b again"]);
}

#[test]
fn a_log_that_is_deleted_and_made_again_on_an_overlay_is_read_from_0_also_with_equal_content() {
    for is_elsewhere in [false, true] {
        let Some(overlay) = overlay_of("", is_elsewhere) else { return };
        let tail = start(overlay.run(), CHANGES * 20);
        let lines = text(&numbered("a line of this log", 0..20));
        let mut count = CHANGES * 20;
        for round in 0..10 {
            // A file that was always in the upper layer, one that was copied up, and one of the
            // lower layer.
            for name in ["upper.log", "0.log", "1.log"] {
                if round > 0 || name != "upper.log" {
                    fs::remove_file(overlay.at(name)).expect("rm");
                }
                overlay.append(name, &lines);
                count += 20;
                tail.wait_count(count);
            }
        }
        tail.settled();
        assert_eq!(tail.count(), count);
    }
}

#[test]
fn a_log_made_again_while_down_on_the_same_inode_of_an_overlay_is_read_from_0() {
    let Some(overlay) = Overlay::new("", true, &[]) else { return };
    let output = overlay.world.beside("out.json");
    let lines = text(&numbered("a line of this log", 0..20));
    overlay.append("a.log", &lines);
    start(overlay.run_with_state().output_file(&output), 20).terminate();
    fs::remove_file(overlay.at("a.log")).expect("rm");
    overlay.append("a.log", &lines);
    overlay.append("a.log", "more\n");
    let tail = overlay.run_with_state().output_file(&output).start();
    tail.wait_count(41);
    tail.settled();
    assert_eq!(tail.count(), 41);
}
