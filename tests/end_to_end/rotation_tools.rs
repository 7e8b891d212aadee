//! Rotation by tools: copytruncate by hand, and the real logrotate with a writer that does not
//! stop.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Tail, wait_for};
use crate::world::{World, numbered, skip, text};

/// `C-01`
#[test]
fn after_copytruncate_only_new_lines_follow() {
    let world = World::new();
    let tail = world.run().with(&["--exclude", "a.log.*"]).start().armed();
    let mut writer = world.writer("a.log");
    let lines = numbered("line", 0..1_000);
    for (round, chunk) in lines.chunks(100).enumerate() {
        writer.write_all(text(chunk).as_bytes()).expect("write");
        tail.wait_count((round + 1) * 100);
        fs::copy(world.at("a.log"), world.at("a.log.1")).expect("cp");
        world.truncate("a.log", 0);
        // Every other time the truncation and the next lines happen between two turns.
        if round % 2 == 0 {
            tail.settled();
        }
    }
    tail.expect_in_order(&lines);
}

/// `C-04`: identity is the inode, so a copy is another file.
#[test]
fn a_copy_that_matches_too_is_a_file_of_its_own() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "one\n");
    tail.wait_line("one");
    fs::copy(world.at("a.log"), world.at("a.log.1")).expect("cp");
    world.truncate("a.log", 0);
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"]), ("a.log.1", &["one"])]);
}

/// Whether `/usr/sbin/logrotate` exists. If not, the test is skipped.
fn has_logrotate() -> bool {
    let found = Path::new("/usr/sbin/logrotate").exists();
    if !found {
        skip("logrotate is not installed");
    }
    found
}

fn logrotate(world: &World, directives: &str) {
    let configuration = world.beside("logrotate.conf");
    let user = if nix::unistd::geteuid().is_root() { "su root root\n" } else { "" };
    fs::write(
        &configuration,
        format!("\"{}\" {{\n{user}{directives}\n}}\n", world.at("app.log").display()),
    )
    .expect("write");
    // logrotate refuses configurations that others can write to.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&configuration, mode).expect("chmod");
    let output = Command::new("/usr/sbin/logrotate")
        .arg("-f")
        .arg("-s")
        .arg(world.beside("state"))
        .arg(&configuration)
        .output();
    let output = output.expect("logrotate");
    assert!(output.status.success(), "logrotate: {}", String::from_utf8_lossy(&output.stderr));
}

/// Appends numbered lines until it is stopped; reopens the file when the file `reopen` appears
/// beside the tree.
#[derive(Default)]
struct Writer {
    done: AtomicBool,
    paused: AtomicBool,
    resting: AtomicBool,
    written: AtomicUsize,
}

impl Writer {
    fn run(&self, world: &World) {
        let open = || {
            OpenOptions::new().create(true).append(true).open(world.at("app.log")).expect("open")
        };
        let mut file = open();
        while !self.done.load(Ordering::SeqCst) {
            self.resting.store(self.paused.load(Ordering::SeqCst), Ordering::SeqCst);
            if self.resting.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            if fs::remove_file(world.beside("reopen")).is_ok() {
                file = open();
            }
            let number = self.written.load(Ordering::SeqCst);
            file.write_all(format!("line {number}\n").as_bytes()).expect("write");
            self.written.store(number + 1, Ordering::SeqCst);
            if number.is_multiple_of(20) {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        wait_for("the writer to rest", || self.resting.load(Ordering::SeqCst));
    }

    fn go_on(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Runs `rotations` while the writer writes, then ends the writer, also when a wait panics.
    fn beside(&self, world: &World, rotations: impl FnOnce()) {
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        thread::scope(|scope| {
            scope.spawn(|| self.run(world));
            let _end = End(&self.done);
            rotations();
        });
    }
}

fn wait_read(tail: &Tail, writer: &Writer) {
    let written = writer.written();
    tail.wait_line(&format!("line {}", written.saturating_sub(1)));
}

/// `N-13`
#[test]
fn logrotate_create_with_delayed_compression_gives_the_exact_sequence() {
    if !has_logrotate() {
        return;
    }
    let world = World::new();
    let tail = world.run().start().armed();
    let reopen = world.beside("reopen");
    let directives = format!(
        "rotate 3\ncreate 0644\ncompress\ndelaycompress\nsharedscripts\npostrotate\n touch \
        {}\nendscript",
        reopen.display()
    );
    let writer = Writer::default();
    writer.beside(&world, || {
        for _ in 0..6 {
            wait_for("some lines", || writer.written() > 0);
            wait_read(&tail, &writer);
            logrotate(&world, &directives);
            wait_for("the writer to open the new file", || !reopen.exists());
            wait_read(&tail, &writer);
        }
    });
    tail.expect_in_order(&numbered("line", 0..writer.written()));
    assert!(world.at("app.log.2.gz").exists(), "logrotate compressed the older ones");
    assert!(tail.lines_by_file().keys().all(|name| !name.ends_with(".gz")));
}

/// `N-13`, where the writer is never notified and continues in the renamed file.
#[test]
fn logrotate_create_with_a_writer_that_keeps_its_descriptor_gives_the_exact_sequence() {
    if !has_logrotate() {
        return;
    }
    let world = World::new();
    let tail = world.run().start().armed();
    let writer = Writer::default();
    writer.beside(&world, || {
        for _ in 0..3 {
            let before = writer.written();
            wait_for("some lines", || writer.written() > before + 100);
            logrotate(&world, "rotate 9\ncreate 0644");
        }
    });
    tail.expect_in_order(&numbered("line", 0..writer.written()));
}

/// `C-01` by logrotate. logrotate itself loses lines that are written between its copy and its
/// truncation; nothing may be repeated, torn or out of order.
#[test]
fn logrotate_copytruncate_under_a_writer_repeats_and_tears_nothing() {
    if !has_logrotate() {
        return;
    }
    let world = World::new();
    let tail = world.run().with(&["--exclude", "app.log.*"]).start().armed();
    let writer = Writer::default();
    writer.beside(&world, || {
        for _ in 0..6 {
            let before = writer.written();
            wait_for("some lines", || writer.written() > before + 300);
            logrotate(&world, "rotate 3\ncopytruncate");
        }
        let before = writer.written();
        wait_for("some lines", || writer.written() > before + 300);
    });
    wait_read(&tail, &writer);
    tail.settled();
    let lines = tail.lines();
    let numbers: Vec<usize> = lines
        .iter()
        .map(|line| line.strip_prefix("line ").and_then(|n| n.parse().ok()).expect("whole"))
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "a line was repeated or out of order"
    );
    assert!(
        numbers.len() * 2 > writer.written(),
        "{} of {} lines",
        numbers.len(),
        writer.written()
    );
}

/// `C-01` by logrotate, exact, as the writer pauses while logrotate works.
#[test]
fn logrotate_copytruncate_beside_a_resting_writer_gives_the_exact_sequence() {
    if !has_logrotate() {
        return;
    }
    let world = World::new();
    let tail = world.run().with(&["--exclude", "app.log.*"]).start().armed();
    let writer = Writer::default();
    writer.beside(&world, || {
        for _ in 0..6 {
            let before = writer.written();
            wait_for("some lines", || writer.written() > before + 300);
            writer.pause();
            wait_read(&tail, &writer);
            logrotate(&world, "rotate 3\ncopytruncate");
            writer.go_on();
        }
        let before = writer.written();
        wait_for("some lines", || writer.written() > before + 300);
    });
    tail.expect_in_order(&numbered("line", 0..writer.written()));
}
