//! FUSE mounts of users below a PATH, with servers that take requests and never answer: manytail
//! makes no requests to them, and no lines wait.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{BINARY, Tail, wait_for};
use crate::scrape::get;
use crate::world::{World, is_root, skip};

/// A sleeping server ends after this long, so that processes that hang in its mount continue.
const LIFETIME: Duration = Duration::from_secs(90);

const FUSE_INIT: u32 = 26;
/// Requests that need no answer: `FUSE_FORGET`, `FUSE_INTERRUPT`, `FUSE_DESTROY`,
/// `FUSE_BATCH_FORGET`.
const UNANSWERED: [u32; 4] = [2, 36, 38, 42];

/// A mount of a user, and the server behind it.
struct Sleeping {
    point: PathBuf,
    is_over: Arc<AtomicBool>,
    /// Requests for which a process waits.
    asked: Arc<AtomicUsize>,
    server: Option<JoinHandle<()>>,
}

impl Sleeping {
    /// Mounts for a user. `None`: this machine cannot do that.
    fn mount(user: u32, point: &Path, is_read: bool) -> Option<Sleeping> {
        if !is_root() {
            return None;
        }
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open("/dev/fuse")
            .ok()?;
        let mode = if point.is_dir() { "40000" } else { "100000" };
        let options = format!("fd=0,rootmode={mode},user_id={user},group_id={user},allow_other");
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse.sleeping", "-o", &options, "sleeping"]).arg(point);
        let done = mount.stdin(device.try_clone().expect("dup")).stderr(Stdio::null()).status();
        if !done.is_ok_and(|status| status.success()) {
            return None;
        }
        let (is_over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let server = {
            let (is_over, asked) = (Arc::clone(&is_over), Arc::clone(&asked));
            thread::spawn(move || serve(device, is_read, &is_over, &asked))
        };
        Some(Sleeping { point: point.to_owned(), is_over, asked, server: Some(server) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Sleeping {
    /// The mount is removed first. When the server's descriptor is closed, waiting processes get
    /// errors.
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.point).status();
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// Answers the first request, which makes the mount usable, and takes all others.
fn serve(mut device: File, is_read: bool, is_over: &AtomicBool, asked: &AtomicUsize) {
    let began = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    while !is_over.load(Ordering::Relaxed) && began.elapsed() < LIFETIME {
        let events = if is_read { PollFlags::POLLIN } else { PollFlags::empty() };
        let _ = poll(&mut [PollFd::new(device.as_fd(), events)], 50_u16);
        let Some(len) = is_read.then(|| device.read(&mut buffer).ok()).flatten() else { continue };
        let field =
            |at: usize| u32::from_ne_bytes(buffer[at..at + 4].try_into().expect("four bytes"));
        match field(4) {
            _ if len < 40 => {}
            FUSE_INIT => {
                let mut answer = [0_u8; 16 + 64];
                answer[..4].copy_from_slice(&80_u32.to_ne_bytes());
                answer[8..16].copy_from_slice(&buffer[8..16]);
                // The version, and the most bytes of a write.
                for (at, value) in [(16, 7_u32), (20, 31), (36, 4096)] {
                    answer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
                }
                device.write_all(&answer).expect("the first answer");
            }
            request if UNANSWERED.contains(&request) => {}
            _ => {
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

const USER: u32 = 2_005;

/// A tree with a file of another user, and a user's directory with one.
fn world() -> World {
    let world = World::new();
    world.mkdir("user/mount");
    world.append("user/mount/hidden.log", "before\n");
    world.append("other.log", "other\n");
    world
}

fn start(world: &World, options: &[&str]) -> (Tail, PathBuf) {
    let socket = world.beside("control.sock");
    let run = world.run().with(options).with(&[
        "--control-socket",
        socket.to_str().expect("UTF-8"),
        "--rescan",
        "100ms",
    ]);
    (run.start(), socket)
}

fn state(socket: &Path, path: &Path) -> Value {
    serde_json::from_str(&get(socket, &format!("/file?path={}", path.display())).body)
        .expect("JSON")
}

/// Checks that lines of others come, and that the run ends when asked.
fn others_are_served(world: &World, tail: &Tail) {
    for number in 0..20 {
        world.append("other.log", format!("line {number}\n"));
        tail.wait_line(&format!("line {number}"));
    }
}

#[test]
fn a_mount_of_a_user_whose_server_sleeps_stops_nobody() {
    let world = world();
    let point = world.at("user/mount");
    let Some(mount) = Sleeping::mount(USER, &point, true) else {
        return skip("a FUSE mount takes root and /dev/fuse");
    };
    let (tail, socket) = start(&world, &[]);
    tail.wait_line("other");
    tail.wait_said("mounted something here");
    others_are_served(&world, &tail);
    for path in [point.clone(), point.join("hidden.log"), point.join("a/b/c")] {
        let answer = state(&socket, &path);
        assert_eq!(answer["state"], "user_mount", "{answer}");
    }
    assert_eq!(get(&socket, "/status").code(), 200);
    assert!(get(&socket, "/metrics").body.contains("user_mount"));
    assert_eq!((tail.warned("user/mount"), mount.asked()), (1, 0), "{}", tail.stderr());
    assert!(
        !tail.lines().iter().any(|line| line == "before"),
        "what is below the mount is not to be had"
    );
    tail.signal(Signal::SIGTERM);
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
}

#[test]
fn what_a_mount_of_a_user_hides_comes_back_with_its_end() {
    let world = world();
    let (tail, socket) = start(&world, &[]);
    tail.wait_line("before");
    // Written to all the time through a descriptor that was opened before.
    let mut writer = world.writer("user/mount/hidden.log");
    let Some(mount) = Sleeping::mount(USER, &world.at("user/mount"), true) else {
        return skip("a FUSE mount takes root and /dev/fuse");
    };
    for number in 0..10 {
        writeln!(writer, "hidden {number}").expect("append");
        world.append("other.log", format!("meanwhile {number}\n"));
        tail.wait_line(&format!("meanwhile {number}"));
    }
    tail.wait_said("mounted something here");
    wait_for("the state", || {
        state(&socket, &world.at("user/mount/hidden.log"))["state"] == "user_mount"
    });
    others_are_served(&world, &tail);
    assert_eq!(mount.asked(), 0);
    drop(mount);
    tail.wait_line("hidden 9");
    let lines = tail.lines_by_file().remove("user/mount/hidden.log").expect("its lines");
    let expected: Vec<String> = std::iter::once("before".to_owned())
        .chain((0..10).map(|number| format!("hidden {number}")))
        .collect();
    assert_eq!(lines, expected, "each line once");
    assert_eq!(tail.warned("user/mount\""), 1, "{}", tail.stderr());
}

#[test]
fn a_mount_that_comes_and_goes_in_a_loop_is_never_entered() {
    let world = world();
    let point = world.at("user/mount");
    let Some(first) = Sleeping::mount(USER, &point, true) else {
        return skip("a FUSE mount takes root and /dev/fuse");
    };
    drop(first);
    let (tail, _) = start(&world, &[]);
    tail.wait_line("before");
    let mut writer = world.writer("user/mount/hidden.log");
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    let mut rounds = 0;
    thread::scope(|scope| {
        let _over = OnDrop(&is_over);
        // The file that the mount hides is written to all the time, so that it is opened again and
        // again.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                writeln!(writer, "hidden").expect("append");
                // The writer's rate; this does not wait for anything. The test is about opening
                // the file: millions of lines would only fill its memory.
                thread::sleep(Duration::from_millis(1));
            }
        });
        while began.elapsed() < Duration::from_secs(5) {
            let mount = Sleeping::mount(USER, &point, true).expect("it could be done before");
            world.append("other.log", format!("round {rounds}\n"));
            tail.wait_line(&format!("round {rounds}"));
            asked.fetch_add(mount.asked(), Ordering::Relaxed);
            rounds += 1;
        }
    });
    assert!(rounds > 5, "{rounds} rounds");
    assert_eq!(asked.load(Ordering::Relaxed), 0, "after {rounds} rounds");
    others_are_served(&world, &tail);
}

/// Sets the flag when it is dropped.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_mount_on_a_file_and_one_behind_a_link_are_left_out_as_well() {
    let world = world();
    let outside = world.beside("outside");
    fs::create_dir(&outside).expect("mkdir");
    world.append("user/file.log", "covered\n");
    symlink(&outside, world.at("user/way")).expect("ln -s");
    symlink(outside.join("deep/x.log"), world.at("user/x.log")).expect("ln -s");
    let points = [world.at("user/file.log"), outside.clone()];
    let mounts: Vec<Sleeping> =
        points.iter().filter_map(|point| Sleeping::mount(USER, point, true)).collect();
    if mounts.len() < points.len() {
        return skip("a FUSE mount takes root and /dev/fuse");
    }
    let (tail, socket) = start(&world, &["--follow-symlinks"]);
    tail.wait_line("before");
    others_are_served(&world, &tail);
    for path in ["user/file.log", "user/way", "user/way/x", "user/x.log"] {
        wait_for(path, || state(&socket, &world.at(path))["state"] == "user_mount");
    }
    assert_eq!(mounts.iter().map(Sleeping::asked).sum::<usize>(), 0);
    assert!(!tail.lines().iter().any(|line| line == "covered"));
}

#[test]
fn doctor_enters_no_mount_of_a_user_and_names_it() {
    let world = world();
    let Some(mount) = Sleeping::mount(USER, &world.at("user/mount"), true) else {
        return skip("a FUSE mount takes root and /dev/fuse");
    };
    let mut doctor = Command::new(BINARY);
    doctor.arg("doctor").arg(&world.tree).env_remove("STATE_DIRECTORY");
    let shown = String::from_utf8(doctor.output().expect("it runs").stdout).expect("UTF-8");
    assert!(
        shown.contains("mounts: 1 mount of users other than root") && shown.contains("user/mount"),
        "{shown}"
    );
    assert_eq!(mount.asked(), 0);
}

#[test]
fn a_mount_that_root_made_or_that_a_path_names_is_entered() {
    for (user, path) in [(0, ""), (USER, "user/mount")] {
        let world = world();
        let Some(mount) = Sleeping::mount(user, &world.at("user/mount"), true) else {
            return skip("a FUSE mount takes root and /dev/fuse");
        };
        let tail = world.run().paths(&[world.at(path)]).start();
        wait_for("the server to be asked", || mount.asked() > 0);
        assert_eq!(tail.said("mounted something here"), 0);
        // The call that it hangs in continues.
        drop(mount);
    }
}

/// The server takes no requests, so the kernel allows waiting processes to be killed.
#[test]
fn the_second_signal_ends_a_run_whose_call_does_not_return() {
    let world = world();
    let Some(_mount) = Sleeping::mount(USER, &world.at("user/mount"), false) else {
        return skip("a FUSE mount takes root and /dev/fuse");
    };
    // As a shell starts a process in its background.
    let ignores = "trap '' INT TERM; exec \"$@\"";
    for (script, signals) in [
        ("exec \"$@\"", [Signal::SIGTERM, Signal::SIGTERM]),
        ("exec \"$@\"", [Signal::SIGINT, Signal::SIGTERM]),
        ("exec \"$@\"", [Signal::SIGTERM, Signal::SIGINT]),
        (ignores, [Signal::SIGTERM, Signal::SIGINT]),
        (ignores, [Signal::SIGTERM, Signal::SIGTERM]),
    ] {
        let tail = world.run().shell(script).paths(&[world.at("user/mount")]).start();
        let wchan = format!("/proc/{}/wchan", tail.process.0);
        wait_for("the call", || {
            fs::read_to_string(&wchan)
                .is_ok_and(|place| place.contains("fuse") || place.contains("request"))
        });
        tail.signal(signals[0]);
        // Two pending signals of the same kind are one.
        let status = format!("/proc/{}/status", tail.process.0);
        let is_none_pending =
            |status: String| status.lines().any(|line| line == "ShdPnd:\t0000000000000000");
        wait_for("the first to be taken", || {
            fs::read_to_string(&status).is_ok_and(is_none_pending)
        });
        // One is not enough: the loop would have to handle it.
        assert!(!tail.has_exited());
        tail.signal(signals[1]);
        let status = tail.wait_exit();
        // Of two pending signals the kernel delivers the lower number first.
        assert!(
            signals.iter().any(|signal| status.signal() == Some(*signal as i32)),
            "{status}: {}",
            tail.stderr()
        );
        assert!(tail.stderr().contains("ended by the second signal"), "{}", tail.stderr());
    }
}
