//! Tries the output, the metrics and the control socket as a run would use them.
//!
//! In: their settings. Out: a finding for each.
//! Always holds: nothing is created or written; a connection is closed at once, and a lock is held
//! only for a moment.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use mio::net::UnixStream;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::verdict::{Finding, Verdict};
use crate::config::{Config, Metrics, Output};
use crate::sink::{self, Brokers, Found};
use crate::status::numbers::{bytes_text, words};
use crate::sys::host::{self, Wanted};
use crate::sys::{descriptor, lock, trust};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Less room than this for an output file is a problem.
const ROOM_BYTES: u64 = 256 << 20;

fn bad(verdict: Verdict, about: &'static str, what: String, remedy: &str) -> Finding {
    Finding::bad(verdict, about, what, remedy)
}

/// Tries the output of a run.
pub(super) fn output(config: &Config) -> Vec<Finding> {
    let output = &config.output;
    match output {
        Output::Kafka(_) | Output::Nats(_) => broker(config),
        other => simple(other),
    }
}

/// Tries a broker.
fn broker(config: &Config) -> Vec<Finding> {
    const WAIT: &str = "mend that before the start: records would wait for it";
    let named = |text: &str| format!("{}: {text}", config.output);
    let finding = |found| match found {
        Found::Well(text) => Finding::ok("output", named(&text)),
        Found::Doubtful(text, remedy) => bad(Verdict::Warning, "output", named(&text), &remedy),
        Found::Wrong(text) => bad(Verdict::Problem, "output", named(&text), WAIT),
    };
    let longest = config.engine.record_bytes_max();
    let found = sink::try_out(&config.output, &Brokers::of(config), longest);
    found.into_iter().map(finding).collect()
}

/// Tries an output that is no broker.
fn simple(output: &Output) -> Vec<Finding> {
    match output {
        Output::Descriptor(_) => vec![Finding::ok(
            "output",
            format!("{output}: whoever starts the run opens it; not tried"),
        )],
        Output::File(path) if descriptor::named_by(path).is_some() => {
            vec![Finding::ok(
                "output",
                format!("{output}: whoever starts the run opens it; not tried"),
            )]
        }
        Output::File(path) => file(output, path),
        Output::Unix(path) => vec![unix(output, path)],
        Output::Tcp(address) => vec![tcp(output, address)],
        Output::Kafka(_) | Output::Nats(_) => Vec::new(),
    }
}

fn file(output: &Output, path: &Path) -> Vec<Finding> {
    let problem = |what: &str, remedy: &str| {
        bad(Verdict::Problem, "output", format!("{output}: {what}"), remedy)
    };
    let directory =
        path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let first = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            problem("it is a directory", "give the path of a file in it")
        }
        Ok(found) if found.file_type().is_socket() => {
            problem("it is a socket", "use unix:PATH to connect to it")
        }
        // Its reader would see a writer come and go.
        Ok(found) if found.file_type().is_fifo() => {
            Finding::ok("output", format!("{output}: a FIFO; not tried"))
        }
        Ok(found) if found.file_type().is_block_device() => {
            problem("it is a block device", "give the path of a file")
        }
        Ok(_) => open(output, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match host::may(directory, Wanted::Make) {
                Ok(()) => Finding::ok("output", format!("{output}: it would be made")),
                Err(error) => problem(
                    &format!("it cannot be made in {}: {}", directory.display(), words(&error)),
                    "make the directory, or let the user of the run write to it (ReadWritePaths= \
                    of a service)",
                ),
            }
        }
        Err(error) => {
            problem(&words(&error), "let the user of the run search the directories above it")
        }
    };
    let is_regular = std::fs::metadata(path).map_or(true, |found| found.is_file());
    std::iter::once(first).chain(is_regular.then(|| room(output, directory)).flatten()).collect()
}

fn open(output: &Output, path: &Path) -> Finding {
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = trust::link_flags(path)
        .and_then(|more| Ok(nix::fcntl::open(path, flags | more, Mode::empty())?));
    let opened = opened.and_then(|file| {
        trust::refuse_planted(path, &nix::sys::stat::fstat(&file)?).map(|()| file)
    });
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            let what = format!("{output}: it cannot be opened for writing: {}", words(&error));
            let remedy = "let the user of the run write to it (ReadWritePaths= of a service); if \
                it belongs to another user, give the output a directory of its own";
            return bad(Verdict::Problem, "output", what, remedy);
        }
    };
    match lock::try_lock(&file) {
        Ok(Err(in_use)) => bad(
            Verdict::Warning,
            "output",
            format!("{output}: {in_use}"),
            "nothing, if it is the run with these settings; else set another output",
        ),
        Ok(Ok(())) => Finding::ok("output", format!("{output}: it can be written to")),
        Err(error) => bad(
            Verdict::Problem,
            "output",
            format!("{output}: it cannot be locked: {}", words(&error)),
            "check the mount",
        ),
    }
}

fn room(output: &Output, directory: &Path) -> Option<Finding> {
    let space = host::space(directory).ok()?;
    let (free, inodes) = (bytes_text(space.bytes), space.inodes);
    Some(if space.bytes < ROOM_BYTES || inodes == Some(0) {
        let what = format!(
            "{output}: {free} are free there{}",
            if inodes == Some(0) { ", and no inode" } else { "" }
        );
        bad(Verdict::Problem, "output", what, "make room: records wait when the disk is full")
    } else {
        Finding::ok("output", format!("{output}: {free} are free there"))
    })
}

fn unix(output: &Output, path: &Path) -> Finding {
    match UnixStream::connect(path) {
        Ok(_) => Finding::ok("output", format!("{output}: accepts connections")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bad(
            Verdict::Warning,
            "output",
            format!("{output}: a process listens, but accepts no connections at the moment"),
            "check the receiver: records wait for it",
        ),
        Err(error) => {
            let what = format!("{output}: cannot connect: {}", words(&error));
            bad(
                Verdict::Problem,
                "output",
                what,
                "start the receiver, or let the user of the run write to the socket; records wait \
                for it",
            )
        }
    }
}

fn tcp(output: &Output, address: &str) -> Finding {
    let addresses: Vec<_> = match address.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let what = format!("{output}: the name cannot be resolved: {}", words(&error));
            return bad(
                Verdict::Problem,
                "output",
                what,
                "correct the name, or check /etc/resolv.conf",
            );
        }
    };
    let mut failures = Vec::new();
    for address in &addresses {
        match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
            Ok(_) => {
                return Finding::ok("output", format!("{output}: {address} accepts connections"));
            }
            Err(error) => failures.push(format!("{address}: {}", words(&error))),
        }
    }
    let what = format!("{output}: cannot connect: {}", failures.join(", "));
    bad(
        Verdict::Problem,
        "output",
        what,
        "start the receiver, or allow the connection; records wait for it",
    )
}

/// Tries the place of metrics.
pub(super) fn metrics(metrics: &Metrics) -> Finding {
    match metrics {
        Metrics::Tcp(address) => match TcpListener::bind(address) {
            Ok(_) => Finding::ok("metrics", format!("{metrics}: a run can listen there")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bad(
                Verdict::Warning,
                "metrics",
                format!("{metrics}: something listens there already"),
                "nothing, if it is the run with these settings; else set another port",
            ),
            Err(error) => {
                let what = format!("{metrics}: cannot listen there: {}", words(&error));
                bad(
                    Verdict::Problem,
                    "metrics",
                    what,
                    "set an address of this machine and a port above 1023",
                )
            }
        },
        Metrics::Unix(path) | Metrics::Textfile(path) => {
            made_in("metrics", &metrics.to_string(), path)
        }
    }
}

/// Tries whether a control socket can be created.
pub(super) fn control_socket(path: &Path) -> Finding {
    made_in("control socket", &path.display().to_string(), path)
}

/// Tries whether a socket or a file can be created at a path.
fn made_in(about: &'static str, name: &str, path: &Path) -> Finding {
    let directory =
        path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if UnixStream::connect(path).is_ok() {
        let remedy = "nothing, if it is the run with these settings; else set another path";
        return bad(
            Verdict::Warning,
            about,
            format!("{name}: something listens there already"),
            remedy,
        );
    }
    match host::may(directory, Wanted::Make) {
        Ok(()) => Finding::ok(about, format!("{name}: can be made")),
        Err(error) => {
            let what =
                format!("{name}: cannot be made in {}: {}", directory.display(), words(&error));
            bad(
                Verdict::Problem,
                about,
                what,
                "make the directory, and let the user of the run write to it",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn verdicts(findings: &[Finding]) -> Vec<Verdict> {
        findings.iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn a_receiver_that_is_there_is_told_from_one_that_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sock");
        assert_eq!(verdicts(&simple(&Output::Unix(path.clone()))), [Verdict::Problem]);
        let listener = UnixListener::bind(&path).expect("a socket");
        assert_eq!(verdicts(&simple(&Output::Unix(path.clone()))), [Verdict::Ok]);
        drop(listener);
        assert_eq!(
            verdicts(&simple(&Output::Unix(path.clone()))),
            [Verdict::Problem],
            "nobody listens"
        );
        assert!(simple(&Output::File(path))[0].finding.contains("it is a socket"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        assert_eq!(verdicts(&simple(&Output::Tcp(address.clone()))), [Verdict::Ok]);
        assert_eq!(metrics(&Metrics::Tcp(address.clone())).verdict, Verdict::Warning);
        drop(listener);
        assert_eq!(verdicts(&simple(&Output::Tcp(address.clone()))), [Verdict::Problem]);
        assert_eq!(metrics(&Metrics::Tcp(address)).verdict, Verdict::Ok);
    }

    #[test]
    fn a_file_is_tried_without_being_made_or_kept_locked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out");
        let found = simple(&Output::File(path.clone()));
        assert!(
            found[0].verdict == Verdict::Ok && found[0].finding.contains("would be made"),
            "{found:?}"
        );
        assert!(!path.exists());
        std::fs::write(&path, "").expect("write");
        for _ in 0..2 {
            assert_eq!(simple(&Output::File(path.clone()))[0].verdict, Verdict::Ok);
        }
        assert_eq!(
            simple(&Output::File(directory.path().join("none/out")))[0].verdict,
            Verdict::Problem
        );
        assert_eq!(simple(&Output::File(directory.path().to_owned()))[0].verdict, Verdict::Problem);
        assert_eq!(
            control_socket(&directory.path().join("none/control.sock")).verdict,
            Verdict::Problem
        );
    }
}
