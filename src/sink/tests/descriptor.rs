//! `stdout` and `fd:N`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use mio::Interest;
use nix::pty::openpty;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::stat::Mode;
use nix::unistd::{Whence, lseek, mkfifo};

use super::super::channel::{Channel, Offer, Way};
use super::*;

#[test]
fn blocked_pipe_goes_on_when_read_and_keeps_the_flags_of_the_inherited_description() {
    let (reader, writer) = inherited_pipe();
    let before = status_flags(&writer);
    let mut driver = Driver::new(&hand_down(&writer));
    driver.add(&records(1 << 20));
    driver.until_blocked();
    assert_eq!(status_flags(&writer), before, "while blocked");
    let mut received = Vec::new();
    driver.until("all is received", |driver| {
        read_some(&reader, &mut received, 10_000);
        received.len() == driver.stream.len()
    });
    assert!(received == driver.stream);
    drop(driver);
    assert_eq!(status_flags(&writer), before, "afterwards");
}

#[test]
fn output_that_is_read_wakes_nobody_unless_it_is_full() {
    let (reader, writer) = inherited_pipe();
    assert_reads_wake_nobody(&reader, &writer);
    let (ours, peer) = UnixStream::pair().unwrap();
    peer.set_nonblocking(true).unwrap();
    assert_reads_wake_nobody(&peer.into(), &ours.into());
}

fn assert_reads_wake_nobody(reader: &OwnedFd, writer: &OwnedFd) {
    let mut driver = Driver::new(&hand_down(writer));
    let mut received = Vec::new();
    for was_full in [false, true] {
        if was_full {
            driver.add(&records(1 << 20));
            driver.until_blocked();
            driver.until("all is received", |driver| {
                read_some(reader, &mut received, 100_000);
                received.len() == driver.stream.len()
            });
            // Events that were still pending from that time.
            driver.turn(Duration::ZERO);
            assert!(driver.wake_ups > 0);
        }
        let before = driver.wake_ups;
        for _ in 0..100 {
            driver.add(b"a record\n");
            driver.turn(Duration::ZERO);
            read_some(reader, &mut received, 100);
        }
        driver.turn(TICK);
        assert!(received == driver.stream);
        assert_eq!(driver.wake_ups, before, "was full: {was_full}");
    }
}

#[test]
fn closed_reader_is_noticed_without_a_write() {
    let (reader, writer) = inherited_pipe();
    let mut driver = Driver::new(&hand_down(&writer));
    driver.add(b"a record\n");
    driver.until_all_is_taken();
    driver.turn(TICK);
    assert!(!driver.is_closed);
    drop(reader);
    driver.until("the loop says so", |driver| driver.wake_ups > 0);
    assert!(driver.is_closed);
}

#[test]
fn closed_reader_is_noticed_by_a_write_and_by_a_blocked_one() {
    for bytes in [10, 1 << 20] {
        let (reader, writer) = inherited_pipe();
        let mut driver = Driver::new(&hand_down(&writer));
        driver.add(&long_record(bytes));
        driver.turn(Duration::ZERO);
        drop(reader);
        driver.add(b"more\n");
        driver.until("closed", |driver| driver.is_closed);
    }
}

#[test]
fn pipe_whose_reader_was_gone_before_the_start_is_closed() {
    let (reader, writer) = inherited_pipe();
    drop(reader);
    let mut driver = Driver::new(&hand_down(&writer));
    driver.turn(Duration::ZERO);
    assert!(driver.is_closed);
}

#[test]
fn fifo_that_is_also_open_for_reading_is_not_mistaken_for_broken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let both = nix::fcntl::open(&path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    let reader = nix::fcntl::open(
        &path,
        OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    let mut driver = Driver::new(&hand_down(&both));
    driver.add(b"one\n");
    driver.until_all_is_taken();
    let mut received = Vec::new();
    read_some(&reader, &mut received, 100);
    drop(reader);
    driver.add(b"two\n");
    driver.until_all_is_taken();
    driver.turn(TICK);
    assert!(!driver.is_closed);
    read_some(&both, &mut received, 100);
    assert_eq!(received, b"one\ntwo\n");
}

/// [`Channel`] relies on this: epoll_ctl(2) with `EPOLL_CTL_MOD` reports the state from before the
/// call.
#[test]
fn asking_for_writable_reports_room_that_came_before() {
    let (reader, writer) = inherited_pipe();
    set_nonblocking(&writer);
    let mut poll = Poll::new().unwrap();
    let mut source = mio::unix::SourceFd(&writer.as_raw_fd());
    poll.registry().register(&mut source, Token(1), Interest::PRIORITY).unwrap();
    let mut events = Events::with_capacity(1);
    for _ in 0..3 {
        while nix::unistd::write(&writer, &[0; 4096]).is_ok() {}
        read_some(&reader, &mut Vec::new(), 1 << 20);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty(), "nothing is heard while at rest");
        poll.registry()
            .reregister(&mut source, Token(1), Interest::PRIORITY | Interest::WRITABLE)
            .unwrap();
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 1, "room is reported at once");
        poll.registry().reregister(&mut source, Token(1), Interest::PRIORITY).unwrap();
    }
}

#[test]
fn shared_blocking_pipe_is_asked_first_and_never_blocks() {
    let (reader, writer) = inherited_pipe();
    let before = status_flags(&writer);
    let mut poll = Poll::new().unwrap();
    let poller = std::rc::Rc::new(Poller {
        registry: poll.registry().try_clone().unwrap(),
        token: Token(1),
    });
    let mut channel = Channel::new(
        writer.try_clone().unwrap(),
        Way::Ask { bytes_max: 4096 },
        Interest::PRIORITY,
        &poller,
    )
    .unwrap();
    let stream = records(1 << 20);
    let mut events = Events::with_capacity(1);
    let (mut taken, mut received, mut times_full) = (0, Vec::new(), 0);
    while taken < stream.len() {
        match channel.offer(&stream[taken..]).unwrap() {
            Offer::Took(bytes) => taken += bytes,
            Offer::Full => {
                times_full += 1;
                read_some(&reader, &mut received, 30_000);
                poll.poll(&mut events, Some(PATIENCE)).unwrap();
                assert!(!events.is_empty(), "room is heard of");
            }
        }
    }
    while received.len() < stream.len() {
        assert!(read_some(&reader, &mut received, 30_000));
    }
    assert!(received == stream && times_full > 1);
    assert_eq!(status_flags(&writer), before);
    drop(reader);
    assert_eq!(channel.offer(b"x\n"), Err(Errno::EPIPE));
    assert_eq!(channel.is_broken(), Ok(true));
}

#[test]
fn descriptors_that_cannot_be_written_are_refused() {
    let (reader, _writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    assert!(Driver::refusal(&hand_down(&reader)).contains("not open for writing"));
    assert!(Driver::refusal(&Output::Descriptor(987_654)).contains("fd:987654"));
    assert!(
        Driver::refusal(&Output::Descriptor(-1)).contains("was closed when manytail was started")
    );
    let ours =
        nix::fcntl::open("/dev/null", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    assert!(
        Driver::refusal(&Output::Descriptor(ours.as_raw_fd()))
            .contains("was closed when manytail was started"),
        "our own, not inherited"
    );
    let directory = nix::fcntl::open("/", OFlag::O_RDONLY, Mode::empty()).unwrap();
    assert!(Driver::refusal(&hand_down(&directory)).contains("not open for writing"));
    let epoll = nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).unwrap().0;
    assert!(Driver::refusal(&hand_down(&epoll)).contains("is not a pipe"));
    let (datagrams, _peer) = std::os::unix::net::UnixDatagram::pair().unwrap();
    assert!(Driver::refusal(&hand_down(&datagrams.into())).contains("is not a pipe"));
}

#[test]
fn regular_file_is_written_where_its_shared_position_stands() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(&path, flags, Mode::S_IRWXU).unwrap();
    nix::unistd::write(&file, b"before\n").unwrap();
    let mut driver = Driver::new(&hand_down(&file));
    driver.add(b"one\n");
    driver.until_all_is_taken();
    nix::unistd::write(&file, b"between\n").unwrap();
    driver.add(b"two\n");
    driver.until_all_is_taken();
    assert_eq!(read_file(&path), b"before\none\nbetween\ntwo\n");
    assert_eq!(lseek(&file, 0, Whence::SeekCur).unwrap(), 23);
    let stat = nix::sys::stat::fstat(&file).unwrap();
    assert_eq!(driver.sink.own_file(), Some((stat.st_dev, stat.st_ino)));
    assert_eq!(driver.sink.deadline(), None);
}

#[test]
fn stdout_on_a_full_disk_goes_on_with_the_rest_when_there_is_room() {
    let Some(disk) = SmallDisk::new(256 * 1024) else { return };
    let file = nix::fcntl::open(
        &disk.path("out"),
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC,
        Mode::S_IRWXU,
    )
    .unwrap();
    let filler = disk.fill(20 * 1024);
    let mut driver = Driver::new(&hand_down(&file));
    driver.add(&records(100 * 1024));
    driver.until_blocked();
    assert!(driver.taken > 0 && driver.sink.deadline().is_some());
    std::fs::remove_file(filler).unwrap();
    driver.until_all_is_taken();
    assert!(read_file(&disk.path("out")) == driver.stream);
    assert!(driver.restarts.is_empty());
    assert_eq!(driver.sink.deadline(), None);
}

#[test]
fn devices_are_written_directly_and_a_full_one_is_tried_again() {
    let open = |path: &str| {
        nix::fcntl::open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
    };
    let null = open("/dev/null");
    let mut driver = Driver::new(&hand_down(&null));
    driver.add(&records(200_000));
    driver.until_all_is_taken();
    let full = open("/dev/full");
    let mut driver = Driver::new(&hand_down(&full));
    driver.add(b"one\n");
    driver.until_blocked();
    let first = driver.sink.deadline().expect("tried again");
    driver.until("it was tried again", |driver| {
        driver.sink.deadline().is_some_and(|deadline| deadline > first)
    });
    assert_eq!(driver.taken, 0);
}

#[test]
fn socket_as_stdout_takes_one_byte_at_a_time_and_keeps_records_intact() {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.set_nonblocking(true).unwrap();
    let ours = OwnedFd::from(ours);
    setsockopt(&ours, sockopt::SndBuf, &1).unwrap();
    let before = status_flags(&ours);
    let mut driver = Driver::new(&hand_down(&ours));
    driver.add(&records(20_000));
    let mut received = Vec::new();
    let mut blocked = 0;
    driver.until("all is received", |driver| {
        blocked += usize::from(driver.is_blocked);
        // One byte, many times: the queue is as full as the smallest buffer lets it be.
        for _ in 0..512 {
            let mut byte = [0];
            if peer.read(&mut byte).is_ok_and(|read| read == 1) {
                received.push(byte[0]);
            }
        }
        received.len() == driver.stream.len()
    });
    assert!(received == driver.stream && blocked > 0);
    assert_eq!(status_flags(&ours), before);
}

#[test]
fn socket_as_stdout_is_not_disturbed_by_what_its_peer_says_and_notices_that_it_left() {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let ours = OwnedFd::from(ours);
    let mut driver = Driver::new(&hand_down(&ours));
    for _ in 0..20 {
        peer.write_all(b"unasked").unwrap();
        driver.turn(Duration::ZERO);
    }
    assert_eq!(driver.wake_ups, 0);
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    driver.add(b"one\n");
    driver.until_all_is_taken();
    assert!(!driver.is_closed, "it may still read");
    drop(peer);
    driver.until("the loop says so", |driver| driver.wake_ups > 0);
    driver.until("closed", |driver| driver.is_closed);
}

#[test]
fn terminal_blocks_and_goes_on_and_hangs_up() {
    let pty = openpty(None, None).unwrap();
    let mut raw = nix::sys::termios::tcgetattr(&pty.slave).unwrap();
    nix::sys::termios::cfmakeraw(&mut raw);
    nix::sys::termios::tcsetattr(&pty.slave, nix::sys::termios::SetArg::TCSANOW, &raw).unwrap();
    set_nonblocking(&pty.master);
    let before = status_flags(&pty.slave);
    let mut driver = Driver::new(&hand_down(&pty.slave));
    driver.add(&records(100_000));
    driver.until_blocked();
    let mut received = Vec::new();
    driver.until("all is shown", |driver| {
        read_some(&pty.master, &mut received, 3000);
        received.len() == driver.stream.len()
    });
    assert!(received == driver.stream);
    assert_eq!(status_flags(&pty.slave), before);
    drop(pty.master);
    driver.until("the hang-up is noticed", |driver| driver.is_closed);
}

#[test]
fn terminal_multiplexer_is_not_opened_again() {
    let pty = openpty(None, None).unwrap();
    let mut raw = nix::sys::termios::tcgetattr(&pty.slave).unwrap();
    nix::sys::termios::cfmakeraw(&mut raw);
    nix::sys::termios::tcsetattr(&pty.slave, nix::sys::termios::SetArg::TCSANOW, &raw).unwrap();
    set_nonblocking(&pty.slave);
    let mut driver = Driver::new(&hand_down(&pty.master));
    driver.add(&records(1000));
    let mut received = Vec::new();
    driver.until("it comes out at the other end", |driver| {
        read_some(&pty.slave, &mut received, 3000);
        received.len() == driver.stream.len()
    });
    assert!(received == driver.stream);
}
