//! `file:PATH`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

fn output(path: &Path) -> Output {
    Output::File(path.to_owned())
}

fn open_for_reading(fifo: &Path) -> OwnedFd {
    nix::fcntl::open(fifo, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())
        .expect("the FIFO opens")
}

#[test]
fn file_is_created_appended_to_and_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    for text in ["one\n", "two\n"] {
        let mut driver = Driver::new(&output(&path));
        driver.add(text.as_bytes());
        driver.until_all_is_taken();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o137, 0, "0640 and no more");
        assert_eq!(driver.sink.own_file(), Some((metadata.dev(), metadata.ino())));
    }
    assert_eq!(read_file(&path), b"one\ntwo\n");
}

#[test]
fn symbolic_link_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (link, target) = (directory.path().join("link"), directory.path().join("target"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let mut driver = Driver::new(&output(&link));
    driver.add(b"one\n");
    driver.until_all_is_taken();
    assert_eq!(read_file(&target), b"one\n");
}

#[test]
fn places_where_no_file_can_be_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let refusal = Driver::refusal(&output(&missing.join("out")));
    assert!(
        refusal.contains(&format!("the directory {} does not exist", missing.display())),
        "{refusal}"
    );
    assert!(Driver::refusal(&output(directory.path())).contains("Is a directory"));
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(Driver::refusal(&output(&socket)).contains("use unix:PATH"));
}

#[test]
fn devices_are_written_and_a_full_one_is_tried_again() {
    let mut driver = Driver::new(&output(Path::new("/dev/null")));
    driver.add(b"one\n");
    driver.until_all_is_taken();
    assert_eq!(driver.sink.own_file(), None);
    let mut driver = Driver::new(&output(Path::new("/dev/full")));
    driver.add(b"one\n");
    driver.until_blocked();
    assert!(driver.sink.deadline().is_some());
}

#[test]
fn full_disk_holds_only_whole_records_and_gets_the_rest_when_there_is_room() {
    let Some(disk) = SmallDisk::new(1 << 20) else { return };
    let path = disk.path("out");
    let mut driver = Driver::new(&output(&path));
    driver.add(&records(400_000));
    let mut cuts = 0;
    for room in [0, 4096, 20_000, 70_000, 133_000] {
        let filler = disk.fill(room);
        let before = driver.taken;
        driver.until("what fits is taken", |driver| {
            driver.is_blocked && (driver.taken > before || room == 0)
        });
        let written = read_file(&path);
        assert!(written == driver.stream[..driver.taken]);
        assert!(
            written.is_empty() || written.ends_with(b"\n"),
            "a torn record with {room} bytes of room"
        );
        cuts += usize::from(!written.len().is_multiple_of(4096));
        assert!(driver.sink.deadline().is_some());
        std::fs::remove_file(filler).unwrap();
    }
    assert!(cuts > 0, "each time the room ended with a record");
    assert_eq!(driver.sink.point().unwrap().len, driver.taken as u64);
    driver.until_all_is_taken();
    assert!(read_file(&path) == driver.stream);
    assert_eq!(driver.sink.deadline(), None);
}

#[test]
fn record_larger_than_the_room_leaves_nothing_behind() {
    let Some(disk) = SmallDisk::new(256 * 1024) else { return };
    let path = disk.path("out");
    let mut driver = Driver::new(&output(&path));
    let filler = disk.fill(40_000);
    driver.add(b"small\n");
    driver.add(&long_record(100_000));
    driver.until_blocked();
    assert_eq!(read_file(&path), b"small\n");
    std::fs::remove_file(filler).unwrap();
    driver.until_all_is_taken();
    assert!(read_file(&path) == driver.stream);
}

#[test]
fn reopened_file_gets_the_next_records_and_a_failed_reopen_keeps_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("logs");
    std::fs::create_dir(&folder).unwrap();
    let (path, rotated) = (folder.join("out"), folder.join("out.1"));
    let mut driver = Driver::new(&output(&path));
    driver.add(b"one\n");
    driver.until_all_is_taken();
    std::fs::rename(&path, &rotated).unwrap();
    driver.add(b"two\n");
    driver.until_all_is_taken();
    driver.sink.reopen().unwrap();
    driver.add(b"three\n");
    driver.until_all_is_taken();
    assert_eq!(read_file(&rotated), b"one\ntwo\n");
    assert_eq!(read_file(&path), b"three\n");
    assert_eq!(driver.sink.own_file().unwrap().1, std::fs::metadata(&path).unwrap().ino());

    std::fs::rename(&folder, directory.path().join("elsewhere")).unwrap();
    let error = driver.sink.reopen().unwrap_err();
    assert!(error.source.to_string().contains("does not exist"));
    driver.add(b"four\n");
    driver.until_all_is_taken();
    assert_eq!(read_file(&directory.path().join("elsewhere/out")), b"three\nfour\n");
}

#[test]
fn full_disk_is_left_behind_by_a_reopen_elsewhere() {
    let Some(disk) = SmallDisk::new(64 * 1024) else { return };
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(disk.path("out"), &link).unwrap();
    let mut driver = Driver::new(&output(&link));
    driver.add(&records(100_000));
    driver.until_blocked();
    let first = driver.taken;
    std::fs::remove_file(&link).unwrap();
    driver.sink.reopen().unwrap();
    assert_eq!(driver.sink.deadline(), None, "the new file is tried at once");
    driver.until_all_is_taken();
    assert!(read_file(&disk.path("out")) == driver.stream[..first]);
    assert!(read_file(&link) == driver.stream[first..]);
}

#[test]
fn fifo_waits_for_a_late_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut driver = Driver::new(&output(&path));
    driver.add(&records(200_000));
    driver.until_blocked();
    assert_eq!(driver.taken, 0);
    assert!(driver.sink.deadline().is_some());
    let reader = open_for_reading(&path);
    let mut received = Vec::new();
    driver.until("all is received", |driver| {
        read_some(&reader, &mut received, 10_000);
        received.len() == driver.stream.len()
    });
    assert!(received == driver.stream && driver.restarts.is_empty());
}

#[test]
fn fifo_reader_that_leaves_in_the_middle_of_a_record_has_a_successor_that_gets_it_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let reader = open_for_reading(&path);
    let mut driver = Driver::new(&output(&path));
    driver.add(b"small\n");
    driver.add(&long_record(300_000));
    driver.until_blocked();
    let taken = driver.taken;
    drop(reader);
    driver.until("the loss is noticed", |driver| !driver.restarts.is_empty());
    assert_eq!(driver.restarts, [(taken as u64 - 6, 6)]);
    let reader = open_for_reading(&path);
    let mut received = Vec::new();
    driver.until("the successor has it all", |driver| {
        read_some(&reader, &mut received, 10_000);
        received.len() == driver.stream.len() - 6
    });
    assert!(received == driver.stream[6..]);
    assert_eq!(driver.restarts.len(), 1);
}

#[test]
fn idle_fifo_notices_that_its_reader_left_and_serves_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let reader = open_for_reading(&path);
    let mut driver = Driver::new(&output(&path));
    driver.add(b"one\n");
    driver.until_all_is_taken();
    drop(reader);
    driver.until("the loop says so", |driver| driver.wake_ups > 0 && !driver.restarts.is_empty());
    assert_eq!(driver.restarts, [(0, 4)]);
    driver.add(b"two\n");
    let reader = open_for_reading(&path);
    driver.until_all_is_taken();
    let mut received = Vec::new();
    read_some(&reader, &mut received, 100);
    assert_eq!(received, b"two\n");
}

#[test]
fn a_file_that_is_deleted_before_the_first_look_owes_nothing_that_earlier_runs_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    std::fs::write(&path, "of an earlier run\n").unwrap();
    let mut driver = Driver::new(&output(&path));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(driver.sink.place(), crate::sink::Place::Deleted);
    driver.sink.replace(None).unwrap();
    assert_eq!(driver.sink.owed(), 0);
    driver.add(b"one\n");
    driver.until_all_is_taken();
    assert_eq!(read_file(&path), b"one\n");
}
