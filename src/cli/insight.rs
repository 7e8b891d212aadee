//! `status` and `top`: how a running daemon does.
//!
//! In: what clap read. Out: requests that name a control socket.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Refusal, default_control_socket, one_of, refuse, refuse_because};
use crate::config::parse_duration;
use crate::status::file::ListKind;
use crate::tools::status::StatusRequest;
use crate::tools::style::Style;
use crate::tools::tap::TapRequest;
use crate::tools::top::TopRequest;

/// Where a daemon listens that systemd started.
const SYSTEM_SOCKET: &str = "/run/manytail/control.sock";

#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    /// Files to report on [default: the daemon itself]
    #[arg(value_name = "FILE")]
    files: Vec<OsString>,

    /// Report on the files whose names tell that they are of this job
    #[arg(long, value_name = "ID", conflicts_with_all = ["files", "list"])]
    job: Option<String>,

    /// List all of a kind: unreadable, blocked, polled, excluded or lost
    #[arg(long, value_name = "KIND", value_parser = one_of(&ListKind::NAMES), hide_possible_values = true, conflicts_with = "files")]
    list: Option<ListKind>,

    /// How the answer is written
    #[arg(short, long, value_name = "text|json", default_value = "text", value_parser = one_of(&Style::NAMES),
        hide_possible_values = true)]
    format: Style,

    /// The daemon's socket [default: $RUNTIME_DIRECTORY/control.sock, else
    /// /run/manytail/control.sock]
    #[arg(long, value_name = "PATH")]
    control_socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct TopOptions {
    /// Refresh period; 200ms to 5s
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,

    /// The daemon's socket [default: $RUNTIME_DIRECTORY/control.sock, else
    /// /run/manytail/control.sock]
    #[arg(long, value_name = "PATH")]
    control_socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct TapOptions {
    /// Maximum records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    records: u64,

    /// Maximum duration
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    lasts: Duration,

    /// The daemon's socket [default: $RUNTIME_DIRECTORY/control.sock, else
    /// /run/manytail/control.sock]
    #[arg(long, value_name = "PATH")]
    control_socket: Option<PathBuf>,
}

pub(super) const TAP_HELP: &str = "\
Copy records from the output of a running manytail. The output gets every record, and the daemon \
does not wait for the tap. Records beyond 256 KiB between two requests are left out and counted \
on stderr. Root and the user of the run see lines; other users see only their lengths. Two taps \
at once share the records. On a terminal, control characters become `?`; elsewhere, bytes are \
unchanged.";

pub(super) const TAP_EXAMPLES: &str = "\
Exit codes: 0 records passed, 1 none did, 2 bad usage, 3 no manytail answers.

Examples:
  manytail tap
  manytail tap -n 1000 --for 1min | jq -r .path | sort | uniq -c";

pub(super) const STATUS_HELP: &str = "\
Report whether a running manytail keeps up, or why not. The daemon needs a control socket: run \
--control-socket PATH, or systemd's RuntimeDirectory=.

With FILE: whether the file is known, its offset, size and unread bytes, and why it is not read \
if it is not; its input, labels, job and owner. Relative FILEs: from the daemon's directory, else \
from this one.
With --job: the same of each followed file whose name has this number of a job (`id` of job = \
PATTERN); of a job array, of each task.
With --list: files and directories, a line each, with the reason. unreadable: those that cannot \
be read; blocked: files that wait for the output; polled: directories that are listed every \
second; excluded: files and directories that are left out (lists all directories once more); \
lost: the last files that lost data.

text: one screen; of --list path, TAB, reason. json: one object, or one per FILE or line.";

pub(super) const STATUS_EXAMPLES: &str = "\
Exit codes: 0 keeping up (each FILE is read; the list is shown), 1 not keeping up, or attention is \
needed (a FILE is not read), 2 bad usage, 3 no manytail answers.

Examples:
  manytail status
  manytail status --format json | jq .rates
  manytail status /srv/grid/jobs/d7/job1.log
  manytail status --job 4711023
  manytail status --list excluded | grep -v 'excluded by'";

pub(super) const TOP_HELP: &str = "\
Show a running manytail live: rates, output, the files furthest behind and the busiest. q, Esc or \
Ctrl-C quits.

Needs a terminal; `manytail status` is for scripts.";

pub(super) const TOP_EXAMPLES: &str = "\
Exit codes: 0 done, 1 the terminal cannot be used, 2 bad usage, or there is no terminal.

Examples:
  manytail top
  manytail top --interval 500ms --control-socket /run/manytail/control.sock";

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(200)..=Duration::from_secs(5);
    if range.contains(&interval) {
        Ok(interval)
    } else {
        Err("must be between 200ms and 5s".to_owned())
    }
}

fn socket(given: Option<PathBuf>) -> PathBuf {
    given.or_else(default_control_socket).unwrap_or_else(|| SYSTEM_SOCKET.into())
}

pub(super) fn status(options: StatusOptions) -> Result<StatusRequest, Refusal> {
    let files: Vec<Vec<u8>> = options.files.into_iter().map(OsString::into_vec).collect();
    if files.iter().any(Vec::is_empty) {
        return Err(refuse("status", "FILE", "a FILE is empty"));
    }
    if options.job.as_deref() == Some("") {
        return Err(refuse("status", "job", "is empty"));
    }
    Ok(StatusRequest {
        socket: socket(options.control_socket),
        style: options.format,
        files,
        job: options.job,
        list: options.list,
    })
}

pub(super) fn tap(options: TapOptions) -> TapRequest {
    TapRequest {
        socket: socket(options.control_socket),
        records: options.records,
        lasts: options.lasts,
    }
}

pub(super) fn top(options: TopOptions) -> Result<TopRequest, Refusal> {
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(refuse_because(
            "top",
            "top: stdin and stdout must be a terminal; use `manytail status` in scripts",
        ));
    }
    Ok(TopRequest { socket: socket(options.control_socket), interval: options.interval })
}
