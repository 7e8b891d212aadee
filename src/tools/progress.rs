//! The progress line of `--once` and of long first scans, on stderr, for a person at a terminal.
//!
//! In: how much was found and read so far, turn by turn. Out: one line that is rewritten in place
//! at most four times a second, and cleared at the end and before each diagnostic.
//! Always holds: nothing is written unless stderr is a terminal that can take it at once, and
//! records go elsewhere.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use crate::config::Output;
use crate::diagnostics::LogFormat;
use crate::status::numbers::{approximate, rounded, size};
use crate::status::stats::Reading;
use crate::tools::text::whole_seconds;

/// A shorter wait needs no line.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// The time between two updates of the line.
const EVERY: Duration = Duration::from_millis(250);

/// The rate is an average over this many updates: two seconds.
const SAMPLES: usize = 8;

/// The columns of a terminal of unknown size.
const COLUMNS: usize = 80;

/// Return to the first column, and clear to the end of the line.
const CLEAR: &[u8] = b"\r\x1b[K";

/// Whether a line is on the terminal: a diagnostic clears it first.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Clears the line and returns stderr, for diagnostics.
#[must_use]
pub(crate) fn cleared_stderr() -> io::Stderr {
    clear();
    io::stderr()
}

fn clear() {
    if IS_SHOWN.swap(false, Ordering::Relaxed) {
        // A failure means that the terminal is gone.
        io::stderr().write_all(CLEAR).ok();
    }
}

/// The progress line, while a person has to wait.
#[derive(Debug)]
pub(crate) struct Progress {
    /// When the wait began.
    begun: Option<Instant>,
    next: Option<Instant>,
    samples: VecDeque<(Instant, u64)>,
}

impl Progress {
    /// `None`: nobody would see the line, or it would damage other output.
    #[must_use]
    pub(crate) fn new(format: LogFormat, output: &Output) -> Option<Progress> {
        let stderr = io::stderr();
        let is_seen =
            format == LogFormat::Text && stderr.is_terminal() && !is_same_terminal(&stderr, output);
        is_seen.then(|| Progress {
            begun: None,
            next: None,
            samples: VecDeque::with_capacity(SAMPLES),
        })
    }

    /// When the next line is due.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Updates the line after a turn, if an update is due. Returns whether further updates are
    /// needed.
    pub(crate) fn turned(&mut self, reading: impl FnOnce() -> Reading, now: Instant) -> bool {
        let begun = *self.begun.get_or_insert(now);
        if now < *self.next.get_or_insert(begun + SHOWN_AFTER) {
            return true;
        }
        let reading = reading();
        if reading.is_done {
            self.next = None;
            return false;
        }
        self.next = Some(now + EVERY);
        let elapsed =
            now.saturating_duration_since(self.samples.front().map_or(begun, |(at, _)| *at));
        let before = self.samples.front().map_or(0, |(_, bytes)| *bytes);
        let rate = approximate(reading.read_bytes.saturating_sub(before)) / elapsed.as_secs_f64();
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, reading.read_bytes));
        show(&line(&reading, rate));
        true
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        clear();
    }
}

/// Whether records go to the same terminal: the line and the records would overwrite each other.
fn is_same_terminal(stderr: &io::Stderr, output: &Output) -> bool {
    let ours = fstat(stderr).map(|found| found.st_rdev);
    let theirs = match output {
        Output::Descriptor(1) => fstat(io::stdout()),
        Output::Descriptor(2) => return true,
        Output::Descriptor(number) => {
            nix::sys::stat::stat(format!("/proc/self/fd/{number}").as_str())
        }
        Output::File(path) => nix::sys::stat::stat(path),
        Output::Unix(_) | Output::Tcp(_) | Output::Kafka(_) | Output::Nats(_) => return false,
    };
    // A regular file's device number is 0.
    matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours == theirs.st_rdev)
}

/// Writes the line, unless the terminal is stopped (Ctrl-S): a run does not wait for it.
fn show(line: &str) {
    let stderr = io::stderr();
    let columns =
        terminal_size::terminal_size_of(&stderr).map_or(COLUMNS, |(width, _)| usize::from(width.0));
    let cut: String = line.chars().take(columns.saturating_sub(1)).collect();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let can_write = poll(&mut ready, PollTimeout::ZERO).is_ok()
        && ready[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT));
    if can_write {
        let text = [CLEAR, cut.as_bytes()].concat();
        IS_SHOWN.store((&stderr).write_all(&text).is_ok(), Ordering::Relaxed);
    }
}

fn line(reading: &Reading, rate: f64) -> String {
    let Reading { files, found_bytes, read_bytes, is_listing, .. } = *reading;
    let read = size(read_bytes);
    let rate_text = size(rounded(rate));
    if is_listing {
        return format!("{read} read, {files} files found, {rate_text}/s");
    }
    let left = found_bytes.saturating_sub(read_bytes);
    let percent = u128::from(read_bytes.min(found_bytes)) * 100 / u128::from(found_bytes.max(1));
    let wait = if rate < 1.0 {
        "stalled".to_owned()
    } else {
        format!("{} left", whole_seconds(rounded((approximate(left) / rate).ceil())))
    };
    format!("{percent}% {read} of {}, {files} files, {rate_text}/s, {wait}", size(found_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_bytes_files_rate_and_time_left() {
        let reading = Reading {
            files: 12,
            found_bytes: 4 << 30,
            read_bytes: 1 << 30,
            is_listing: false,
            is_done: false,
        };
        assert_eq!(
            line(&reading, (64 << 20) as f64),
            "25% 1.0 GiB of 4.0 GiB, 12 files, 64.0 MiB/s, 48s left"
        );
        assert_eq!(line(&reading, 0.0), "25% 1.0 GiB of 4.0 GiB, 12 files, 0 B/s, stalled");
        let grown = Reading { read_bytes: 5 << 30, ..reading };
        assert!(line(&grown, 1e6).starts_with("100% 5.0 GiB of 4.0 GiB"), "files grew meanwhile");
        let listing = Reading { is_listing: true, ..reading };
        assert_eq!(line(&listing, 1024.0), "1.0 GiB read, 12 files found, 1.0 KiB/s");
    }
}
