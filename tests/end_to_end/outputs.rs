//! Outputs other than sockets: standard output, inherited descriptors, files, FIFOs, full disks.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

use crate::harness::{Tail, wait_for};
use crate::records::{Format, Record, decode_all};
use crate::world::{World, is_root, make_fifo, numbered, open_fifo, skip, succeeds, text};

fn status_flags(descriptor: impl AsFd) -> OFlag {
    OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL).expect("F_GETFL"))
}

/// "The file status flags of an inherited stdout are left as they were."
#[test]
fn the_status_flags_of_an_inherited_pipe_stay_as_they_were_also_after_sigkill() {
    let world = World::new();
    let (ours, theirs) = std::io::pipe().expect("pipe");
    let before = status_flags(&theirs);
    let tail = world.run().stdout(theirs.try_clone().expect("dup")).start();
    world.append("a.log", "one\n");
    let mut reader = BufReader::new(ours);
    let mut line = String::new();
    reader.read_line(&mut line).expect("read");
    assert!(line.ends_with("\tone\n"));
    assert_eq!(status_flags(&theirs), before, "while it runs");
    // Also while it waits for room.
    world.append("a.log", text(&numbered(&"x".repeat(1_000), 0..1_000)));
    tail.settled();
    assert_eq!(status_flags(&theirs), before, "while it is blocked");
    tail.signal(Signal::SIGKILL);
    tail.wait_exit();
    assert_eq!(status_flags(&theirs), before, "after SIGKILL");
}

#[test]
fn the_status_flags_of_an_inherited_socket_and_file_stay_as_they_were() {
    let world = World::new();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    let file = File::create(world.beside("out")).expect("create");
    let before = (status_flags(&theirs), status_flags(&file));
    world.append("a.log", "one\n");
    let to_socket = world.run().stdout(OwnedFd::from(theirs.try_clone().expect("dup"))).start();
    let to_file = world.run().stdout(file.try_clone().expect("dup")).start();
    let mut line = String::new();
    BufReader::new(ours).read_line(&mut line).expect("read");
    wait_for("the line in the file", || {
        fs::read_to_string(world.beside("out")).expect("read").ends_with("\tone\n")
    });
    assert_eq!((status_flags(&theirs), status_flags(&file)), before);
    for tail in [to_socket, to_file] {
        tail.signal(Signal::SIGKILL);
        tail.wait_exit();
    }
    assert_eq!((status_flags(&theirs), status_flags(&file)), before, "after SIGKILL");
}

/// A pipe that its owner made non-blocking is served, too, and stays non-blocking.
#[test]
fn a_pipe_that_is_non_blocking_already_is_served() {
    let world = World::new();
    let (ours, theirs) = std::io::pipe().expect("pipe");
    let flags = status_flags(&theirs) | OFlag::O_NONBLOCK;
    fcntl(&theirs, FcntlArg::F_SETFL(flags)).expect("F_SETFL");
    let lines = numbered(&"x".repeat(100), 0..5_000);
    world.append("a.log", text(&lines));
    let tail = world.run().raw().stdout(theirs.try_clone().expect("dup")).start();
    tail.settled();
    let mut got = vec![0; text(&lines).len()];
    BufReader::new(ours).read_exact(&mut got).expect("read");
    assert!(got == text(&lines).as_bytes());
    assert_eq!(status_flags(&theirs), flags);
}

#[test]
fn an_inherited_descriptor_other_than_stdout_can_be_the_output() {
    let world = World::new();
    world.write("a.log", "one\n");
    let tail =
        world.run().with(&["--output", "fd:3"]).shell("exec \"$@\" 3>&1 1>/dev/null").start();
    tail.wait_line("one");
    world.append("a.log", "two\n");
    tail.expect(&[("a.log", &["one", "two"])]);
}

/// `W-06`
#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let world = World::new();
    world.append("a.log", text(&numbered("line", 0..100_000)));
    let (ours, theirs) = std::io::pipe().expect("pipe");
    let tail = world.run().raw().stdout(theirs).start();
    let mut line = String::new();
    BufReader::new(ours).read_line(&mut line).expect("read");
    assert_eq!(line, "line 0\n");
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
    assert_eq!(tail.warned(""), 0, "{}", tail.stderr());
}

/// `W-06`, by the real `head`.
#[test]
fn a_pipeline_into_head_ends() {
    let world = World::new();
    world.append("a.log", text(&numbered("line", 0..100_000)));
    let tail = world
        .run()
        .raw()
        .under(&["bash", "-c", "\"$@\" | head -1; exit ${PIPESTATUS[0]}", "bash"])
        .start();
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
    assert_eq!(tail.lines(), ["line 0"]);
}

/// `W-10`
#[test]
fn a_reader_that_goes_away_while_nothing_is_written_is_noticed() {
    let world = World::new();
    world.append("a.log", "one\n");
    let (ours, theirs) = std::io::pipe().expect("pipe");
    let tail = world.run().stdout(theirs).start();
    let mut line = String::new();
    let mut reader = BufReader::new(ours);
    reader.read_line(&mut line).expect("read");
    tail.settled();
    assert!(!tail.has_exited());
    drop(reader);
    assert_eq!(tail.wait_exit().code(), Some(0), "{}", tail.stderr());
}

/// `W-10`
#[test]
fn a_fifo_opened_for_reading_and_writing_is_no_broken_pipe() {
    let world = World::new();
    make_fifo(&world.beside("fifo"));
    let both = OpenOptions::new().read(true).write(true).open(world.beside("fifo")).expect("open");
    world.append("a.log", "one\n");
    let tail = world.run().raw().stdout(both.try_clone().expect("dup")).start();
    let mut reader = BufReader::new(both);
    let mut line = String::new();
    reader.read_line(&mut line).expect("read");
    tail.settled();
    assert!(!tail.has_exited());
    world.append("a.log", "two\n");
    reader.read_line(&mut line).expect("read");
    assert_eq!(line, "one\ntwo\n");
}

#[test]
fn a_file_output_is_made_with_mode_0640_and_appended_to() {
    let world = World::new();
    world.write("a.log", "one\n");
    let output = world.beside("out.log");
    let script = "umask 022; exec \"$@\"";
    let tail = world.run().output_file(&output).shell(script).start();
    tail.wait_line("one");
    assert_eq!(fs::metadata(&output).expect("stat").permissions().mode() & 0o777, 0o640);
    tail.terminate();
    world.append("a.log", "two\n");
    let again = world.run().output_file(&output).start();
    again.wait_count(3);
    again.settled();
    // Without a state directory the file is read again from its beginning, and the old records
    // stay.
    assert_eq!(again.lines(), ["one", "one", "two"]);
}

/// `W-07`
#[test]
fn sighup_reopens_a_file_output_between_two_records() {
    let world = World::new();
    let output = world.beside("out.log");
    let tail = world.run().output_file(&output).start().armed();
    let lines = numbered("line", 0..20_000);
    let mut writer = world.writer("a.log");
    for (round, chunk) in lines.chunks(2_000).enumerate() {
        for part in chunk.chunks(10) {
            std::io::Write::write_all(&mut writer, text(part).as_bytes()).expect("write");
        }
        fs::rename(&output, world.beside(format!("out.{round}"))).expect("mv");
        tail.signal(Signal::SIGHUP);
        wait_for("the new file", || output.exists());
    }
    world.append("a.log", "end\n");
    wait_for("the last line", || fs::read_to_string(&output).expect("read").ends_with("\tend\n"));
    tail.terminate();
    let mut got = Vec::new();
    for round in 0..10 {
        got.extend(decode_all(
            Format::Text,
            &fs::read(world.beside(format!("out.{round}"))).expect("read"),
        ));
    }
    got.extend(decode_all(Format::Text, &fs::read(&output).expect("read")));
    let mut got: Vec<String> =
        got.iter().map(Record::text).filter(|line| !line.starts_with("canary")).collect();
    assert_eq!(got.pop().as_deref(), Some("end"));
    assert!(got == lines, "{} lines instead of {}", got.len(), lines.len());
}

#[test]
fn sighup_without_a_file_output_changes_nothing() {
    let world = World::new();
    let tail = world.run().start().armed();
    tail.signal(Signal::SIGHUP);
    world.append("a.log", "one\n");
    tail.expect(&[("a.log", &["one"])]);
}

/// "A FIFO given as `file:` is served as a pipe."
#[test]
fn a_fifo_given_as_a_file_is_served_as_a_pipe() {
    let world = World::new();
    let fifo = world.beside("fifo");
    make_fifo(&fifo);
    let lines = numbered(&"x".repeat(100), 0..3_000);
    world.append("a.log", text(&lines));
    let reader = open_fifo(&fifo);
    let tail = world.run().raw().output(&format!("file:{}", fifo.display())).start();
    // The reader came before any writer: it reads end-of-file until there is one.
    wait_for("the FIFO to be opened", || {
        tail.process.open_files().iter().any(|path| path.ends_with("/fifo"))
    });
    let mut got = vec![0; text(&lines).len()];
    BufReader::new(reader).read_exact(&mut got).expect("read");
    assert!(got == text(&lines).as_bytes());
}

/// `F-09`
#[test]
fn its_own_output_file_inside_the_tree_is_not_followed() {
    let world = World::new();
    let output = world.at("out.log");
    let tail = world.run().output_file(&output).start();
    tail.canary_file("canary.log");
    world.append("a.log", "one\n");
    tail.wait_line("one");
    tail.settled();
    tail.canary_file("canary2.log");
    tail.settled();
    assert_eq!(tail.lines(), ["one"]);
    assert!(tail.warned("out.log") <= 1, "{}", tail.stderr());
}

/// `F-09`, when the shell made it.
#[test]
fn standard_output_redirected_into_the_tree_is_not_followed() {
    let world = World::new();
    let output = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o644)
        .open(world.at("out.log"))
        .expect("open");
    let tail = world.run().stdout(output).start();
    world.append("a.log", "one\n");
    wait_for("the line", || {
        fs::read_to_string(world.at("out.log")).expect("read").contains("\tone\n")
    });
    tail.settled();
    world.append("a.log", "two\n");
    wait_for("the line", || {
        fs::read_to_string(world.at("out.log")).expect("read").contains("\ttwo\n")
    });
    tail.settled();
    let records = decode_all(Format::Text, &fs::read(world.at("out.log")).expect("read"));
    assert_eq!(records.len(), 2, "a feedback loop");
}

/// `F-09`, over a rotation of the output.
#[test]
fn a_rotated_output_file_inside_the_tree_makes_no_loop() {
    let world = World::new();
    let output = world.at("out.log");
    let tail = world.run().output_file(&output).start();
    tail.canary_file("canary.log");
    tail.settled();
    world.rename("out.log", "out.log.1");
    tail.signal(Signal::SIGHUP);
    wait_for("the new file", || output.exists());
    tail.settled();
    let size = |name: &str| fs::metadata(world.at(name)).map_or(0, |file| file.len());
    world.append("a.log", "one\n");
    wait_for("the line", || fs::read_to_string(&output).expect("read").contains("\tone\n"));
    tail.settled();
    let before = (size("out.log"), size("out.log.1"));
    tail.settled();
    assert_eq!(before, (size("out.log"), size("out.log.1")));
    assert!(before.0 + before.1 < 10_000, "a feedback loop: {before:?}");
}

/// Mounts a small file system in the process's own mount namespace and puts the output on it.
fn on_small_disk(world: &World) -> Option<Tail> {
    if !is_root() {
        return None;
    }
    if !succeeds("unshare", &["-m", "true"]) {
        skip("no mount namespaces");
        return None;
    }
    let disk = world.beside("disk");
    fs::create_dir(&disk).expect("mkdir");
    let script = format!(
        "mount -t tmpfs -o size=256k tmpfs '{0}' && head -c 131072 /dev/zero > '{0}/filler' && \
        exec \"$@\"",
        disk.display()
    );
    let output = format!("file:{}/out.log", disk.display());
    Some(world.run().output(&output).under(&["unshare", "-m", "sh", "-c", &script, "sh"]).start())
}

#[test]
fn a_full_disk_tears_no_record_and_delivery_goes_on_when_there_is_room() {
    let world = World::new();
    let Some(tail) = on_small_disk(&world) else { return };
    let disk = tail.process.root().join(world.beside("disk").strip_prefix("/").expect("absolute"));
    let output = disk.join("out.log");
    wait_for("the output", || output.exists());
    let lines = numbered(&"x".repeat(150), 0..1_000);
    world.append("a.log", text(&lines));
    wait_for("the disk to be full", || fs::metadata(&output).expect("stat").len() > 90_000);
    wait_for("a diagnostic", || tail.said("out.log") > 0);
    tail.settled();
    let bytes = fs::read(&output).expect("read");
    let full = decode_all(Format::Text, &bytes).len();
    assert!(full < lines.len(), "the disk was meant to be full");
    assert!(!tail.has_exited());
    fs::remove_file(disk.join("filler")).expect("rm");
    wait_for("the rest", || {
        fs::read(&output).expect("read").iter().filter(|&&byte| byte == b'\n').count()
            >= lines.len()
    });
    tail.settled();
    let got: Vec<String> = decode_all(Format::Text, &fs::read(&output).expect("read"))
        .iter()
        .map(Record::text)
        .collect();
    assert!(got == lines, "{} lines instead of {}", got.len(), lines.len());
    assert_eq!(tail.warned("out.log"), 1, "one diagnostic: {}", tail.stderr());
}

/// `/dev/full` fails every write, permanently.
#[test]
fn an_output_that_is_always_full_is_waited_for_without_spinning() {
    let world = World::new();
    world.append("a.log", "one\n");
    let tail = world.run().output("file:/dev/full").start();
    tail.settled();
    let ticks = tail.process.ticks();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(tail.has_exited() || tail.process.ticks() - ticks <= 5, "it spins");
}

#[test]
fn an_output_file_that_cannot_be_opened_ends_the_run_with_1() {
    let world = World::new();
    let finished =
        world.run().output(&format!("file:{}/no/such/out.log", world.tree.display())).finish();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("no/such/out.log"), "what and where: {}", finished.stderr);
}

/// `W-09`: no record waits in a buffer for more.
#[test]
fn a_single_line_is_written_at_once() {
    let world = World::new();
    let tail = world.run().start().armed();
    for number in 0..20 {
        let start = std::time::Instant::now();
        world.append("a.log", format!("line {number}\n"));
        tail.wait_count(number + 1);
        assert!(start.elapsed().as_millis() < 2_000, "line {number} took {:?}", start.elapsed());
    }
}

/// A terminal is written to like anything else, and left as it was.
#[test]
fn a_terminal_gets_the_records() {
    let world = World::new();
    world.write("a.log", "one\n");
    // `script` gives its command a terminal.
    if !succeeds("script", &["-qec", "true", "/dev/null"]) {
        return skip("script(1) is not installed");
    }
    let command = "script -qec \"$*\" /dev/null";
    let mut words = vec!["sh", "-c", command, "sh"];
    words.extend(["timeout", "--foreground", "2"]);
    let tail = world.run().raw().under(&words).start();
    wait_for("the line", || String::from_utf8_lossy(&tail.capture().bytes()).contains("one\r\n"));
}

/// Splits a stream into messages by their lengths, as a receiver of RFC 6587 does: the path and the
/// line of each.
fn messages(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    while let Some(blank) = bytes.iter().position(|&byte| byte == b' ') {
        let len: usize =
            std::str::from_utf8(&bytes[..blank]).expect("digits").parse().expect("a number");
        let Some(message) = bytes.get(blank + 1..blank + 1 + len) else { break };
        bytes = &bytes[blank + 1 + len..];
        let message = message.strip_suffix(b"\n").expect("a newline");
        let after = |words: &str| {
            let at = message.windows(words.len()).position(|window| window == words.as_bytes());
            at.unwrap_or_else(|| panic!("no {words}: {}", message.escape_ascii())) + words.len()
        };
        assert!(message.starts_with(b"<13>1 20"), "{}", message.escape_ascii());
        let path =
            message[after("path=\"")..].split(|&byte| byte == b'"').next().unwrap_or_default();
        messages
            .push((String::from_utf8_lossy(path).into_owned(), message[after("\"] ")..].to_vec()));
    }
    messages
}

#[test]
fn syslog_goes_to_a_socket_message_by_message_and_is_sent_again_after_a_loss() {
    use std::io::Read;
    let world = World::new();
    let listener =
        std::os::unix::net::UnixListener::bind(world.beside("log.sock")).expect("a socket");
    let lines: Vec<String> = (0..500).map(|number| format!("{number} <13>1 \"] line")).collect();
    world.append("a.log", crate::world::text(&lines));
    let tail = world
        .run()
        .output(&format!("unix:{}", world.beside("log.sock").display()))
        .with(&["--format", "syslog"])
        .start();
    // The first receiver goes away in the middle of a message.
    let (mut first, _) = listener.accept().expect("a connection");
    let mut start = [0; 100];
    first.read_exact(&mut start).expect("the first bytes");
    drop(first);
    let (mut second, _) = listener.accept().expect("another connection");
    second.set_read_timeout(Some(std::time::Duration::from_millis(50))).expect("a timeout");
    let mut got = Vec::new();
    world.append("a.log", "last\n");
    wait_for("the last line", || {
        let mut buffer = [0; 65536];
        if let Ok(more) = second.read(&mut buffer) {
            got.extend_from_slice(&buffer[..more]);
        }
        messages(&got).last().is_some_and(|(_, line)| line == b"last")
    });
    let messages = messages(&got);
    assert!(messages.iter().all(|(path, _)| path == world.at("a.log").to_str().expect("UTF-8")));
    // The data in the first receiver's kernel is lost with it; the rest came in order, from the
    // start of a message.
    let expected: Vec<&[u8]> = lines.iter().map(String::as_bytes).chain([&b"last"[..]]).collect();
    let got: Vec<&[u8]> = messages.iter().map(|(_, line)| &**line).collect();
    assert!(expected.ends_with(&got), "{} of {}", got.len(), expected.len());
    tail.terminate();
}

#[test]
fn syslog_into_a_file_is_refused() {
    let world = World::new();
    let refused = world
        .run()
        .output(&format!("file:{}", world.beside("out").display()))
        .with(&["--format", "syslog"])
        .finish();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        refused.stderr.contains("--format") && refused.stderr.contains("use json or text there"),
        "{}",
        refused.stderr
    );
    assert!(!world.beside("out").exists());
}
