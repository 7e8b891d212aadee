//! Signals: everything that was read is delivered, nothing is torn, and the second signal ends the
//! run at once.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Tail, wait_for};
use crate::world::{World, numbered, skip, succeeds, text};

#[test]
fn sigterm_and_sigint_end_the_run_with_0() {
    let world = World::new();
    world.write("a.log", "one\n");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let tail = world.run().start();
        tail.wait_line("one");
        let start = Instant::now();
        tail.signal(signal);
        assert_eq!(tail.wait_exit().code(), Some(0), "{signal}: {}", tail.stderr());
        assert!(start.elapsed() < Duration::from_secs(3), "{signal} took {:?}", start.elapsed());
        assert_eq!(tail.lines(), ["one"]);
    }
}

/// `Z-01` without stored state: within a run nothing is torn or repeated, and the output is a
/// prefix.
#[test]
fn sigterm_under_load_leaves_whole_records_and_a_prefix_of_each_file() {
    let world = World::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..3 {
            let mut writer = world.writer(format!("{number}.log"));
            let done = &done;
            scope.spawn(move || {
                for line in 0.. {
                    writeln!(writer, "line {line}").expect("write");
                    if line % 50 == 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let mut failures = Vec::new();
        for _ in 0..5 {
            let tail = world.run().start();
            thread::sleep(Duration::from_millis(300));
            tail.signal(Signal::SIGTERM);
            let status = tail.wait_exit();
            for (name, lines) in tail.lines_by_file() {
                if lines != numbered("line", 0..lines.len()) {
                    failures.push(format!(
                        "{name}: a gap, a repeat or a torn line in {} lines",
                        lines.len()
                    ));
                }
            }
            if status.code() != Some(0) {
                failures.push(status.to_string());
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(failures.is_empty(), "{failures:?}");
    });
}

/// `Z-02`
#[test]
fn sigterm_with_much_unread_is_quick() {
    let world = World::new();
    let lines = numbered(&"x".repeat(1_000), 0..50_000);
    world.write("a.log", text(&lines));
    let tail = world.run().start();
    tail.wait_count(10);
    let start = Instant::now();
    tail.terminate();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let got = tail.lines();
    assert!(got == lines[..got.len()], "a prefix");
}

/// Data that was read before the signal is delivered if the reader takes it in time.
#[test]
fn sigterm_waits_for_a_slow_reader_to_take_what_was_read() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.block();
    let lines = numbered(&"x".repeat(100), 0..2_000);
    world.append("a.log", text(&lines));
    tail.settled();
    tail.signal(Signal::SIGTERM);
    thread::sleep(Duration::from_millis(300));
    assert!(!tail.has_exited(), "it waits for the shutdown timeout of 5 s");
    tail.unblock();
    assert_eq!(tail.wait_exit().code(), Some(0));
    let got = tail.lines();
    // A batch that was filled before the signal is written whole.
    assert!(!got.is_empty() && got == lines[..got.len()], "{} lines", got.len());
}

#[test]
fn the_shutdown_timeout_ends_a_run_whose_output_is_blocked() {
    let world = World::new();
    let tail = world.run().with(&["--shutdown-timeout", "1s"]).start().armed();
    tail.block();
    world.append("a.log", text(&numbered(&"x".repeat(1_000), 0..4_000)));
    tail.settled();
    let start = Instant::now();
    tail.signal(Signal::SIGTERM);
    wait_for("the exit", || tail.has_exited());
    let took = start.elapsed();
    tail.unblock();
    assert_eq!(
        tail.wait_exit().code(),
        Some(0),
        "undelivered data at SIGTERM is no error: {}",
        tail.stderr()
    );
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(4)).contains(&took),
        "it took {took:?}"
    );
}

/// Sends this many signals to a blocked run, and waits until it has ended.
fn stop_blocked(tail: &Tail, signals: usize) {
    for _ in 0..signals {
        tail.signal(Signal::SIGTERM);
        wait_for("it to be taken", || tail.said("stopping") > 0 || tail.has_exited());
    }
    wait_for("the exit", || tail.has_exited());
    tail.unblock();
}

#[test]
fn a_once_that_a_signal_ends_before_everything_was_delivered_exits_with_1() {
    for signals in [1, 2] {
        let world = World::new();
        world.write("a.log", text(&numbered(&"x".repeat(1_000), 0..4_000)));
        let tail = world
            .run()
            .with(&["--once", "--shutdown-timeout", if signals == 1 { "100ms" } else { "1min" }])
            .blocked()
            .start();
        tail.settled();
        stop_blocked(&tail, signals);
        assert_eq!(tail.wait_exit().code(), Some(1));
        assert_eq!(
            tail.said("stopped before everything was read and delivered"),
            1,
            "{}",
            tail.stderr()
        );
    }
}

#[test]
fn a_stop_that_leaves_records_behind_says_how_much_and_whether_it_comes_again() {
    for (with_memory, signals, word) in [
        (true, 1, "the next run reads it again"),
        (false, 1, "without a state directory"),
        (false, 2, "without a state directory"),
    ] {
        let world = World::new();
        let run = if with_memory { crate::state::Memory::new(&world).run() } else { world.run() };
        let tail = run
            .with(&["--shutdown-timeout", if signals == 1 { "100ms" } else { "1min" }])
            .start()
            .armed();
        tail.block();
        world.append("a.log", text(&numbered(&"x".repeat(1_000), 0..4_000)));
        tail.settled();
        stop_blocked(&tail, signals);
        assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
        assert_eq!(
            (tail.warned("stopped before the output took all that was read"), tail.said(word)),
            (1, 1),
            "{}",
            tail.stderr()
        );
    }
}

#[test]
fn a_second_signal_ends_the_run_at_once() {
    for (first, second) in [
        (Signal::SIGTERM, Signal::SIGTERM),
        (Signal::SIGINT, Signal::SIGTERM),
        (Signal::SIGTERM, Signal::SIGINT),
    ] {
        let world = World::new();
        let tail = world.run().with(&["--shutdown-timeout", "1min"]).start().armed();
        tail.block();
        world.append("a.log", text(&numbered(&"x".repeat(1_000), 0..4_000)));
        tail.settled();
        tail.signal(first);
        thread::sleep(Duration::from_millis(100));
        assert!(!tail.has_exited(), "it waits for the output after {first}");
        let start = Instant::now();
        tail.signal(second);
        wait_for("the exit", || tail.has_exited());
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{first}, {second}: {:?}",
            start.elapsed()
        );
        tail.unblock();
    }
}

/// An unfinished line stays in the file for the next run.
#[test]
fn an_unfinished_line_is_not_delivered_at_sigterm() {
    let world = World::new();
    let tail = world.run().start().armed();
    world.append("a.log", "one\nunfinished");
    tail.wait_line("one");
    tail.settled();
    tail.terminate();
    assert_eq!(tail.lines(), ["one"]);
}

#[test]
fn a_signal_during_the_first_scan_ends_the_run() {
    let world = World::in_memory();
    for directory in 0..50 {
        world.mkdir(format!("d{directory}"));
        for file in 0..200 {
            world.write(format!("d{directory}/{file}"), "x\n");
        }
    }
    for delay in [0, 5, 20] {
        let tail = world.run().start();
        wait_for("the signals to be taken", || tail.process.inotify_instances() == 1);
        thread::sleep(Duration::from_millis(delay));
        tail.terminate();
    }
}

/// `Z-05` without stored state: standard output ends with a whole record.
#[test]
fn the_output_ends_with_a_newline_whenever_the_run_is_stopped() {
    let world = World::new();
    world.write("a.log", text(&numbered(&"x".repeat(300), 0..30_000)));
    for delay in [10, 30, 60, 100] {
        let tail = world.run().json().start();
        thread::sleep(Duration::from_millis(delay));
        // The signal may not be handled yet: then the process ends at once. SIGINT would be lost
        // where a background job ignores it.
        tail.signal(Signal::SIGTERM);
        tail.wait_exit();
        let bytes = tail.capture().bytes();
        assert!(
            bytes.is_empty() || bytes.ends_with(b"\n"),
            "{} bytes end in a torn record",
            bytes.len()
        );
        tail.records();
    }
}

/// While the settings are read, signals are not served yet. strace makes that take longer.
#[test]
fn a_sighup_that_comes_before_the_daemon_is_there_does_not_end_it() {
    let delay = ["-e", "trace=openat", "-e", "inject=openat:delay_enter=1000000"];
    if !succeeds(
        "strace",
        &[&["-D", "-o", "/dev/null", "-P", "/nowhere"], &delay[..], &["true"]].concat(),
    ) {
        return skip("strace cannot delay calls here");
    }
    let world = World::new();
    world.write("a.log", "one\n");
    let config = world.beside("config.toml");
    std::fs::write(&config, "").expect("a file");
    let config = config.to_str().expect("UTF-8");
    let strace = [&["strace", "-D", "-q", "-o", "/dev/null", "-P", config], &delay[..]].concat();
    let tail = world.run().with(&["--config", config]).under(&strace).start();
    let mut stopped = 0;
    tail.wait("the call to be delayed", || {
        stopped = if tail.process.state() == 't' { stopped + 1 } else { 0 };
        stopped >= 20
    });
    tail.signal(Signal::SIGHUP);
    tail.wait_line("one");
    tail.wait_said("settings read again");
    world.append("a.log", "two\n");
    tail.wait_line("two");
}
