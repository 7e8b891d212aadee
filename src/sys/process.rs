//! Figures about this process from `/proc` and `getrusage(2)`, and whether another process is about
//! to end.
//!
//! In: nothing, or a process id. Out: numbers; an answer.
//! Always holds: a missing figure is 0; a process that `/proc` hides does not count as ending.

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::signal::kill;
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

/// Resource use of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Mapped memory.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// The limit of open descriptors.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
}

/// Figures of this process. What the system does not report is 0.
#[must_use]
pub(crate) fn look() -> Process {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let seconds = |time: TimeVal| {
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0)).as_secs_f64()
    };
    let cpu_seconds =
        usage.map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()));
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(0);
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let threads =
        status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    Process {
        cpu_seconds,
        virtual_bytes: pages.next().unwrap_or(0) * page_bytes,
        resident_bytes: pages.next().unwrap_or(0) * page_bytes,
        // Not counting the descriptor that lists them.
        open_fds: fs::read_dir("/proc/self/fd")
            .map_or(0, |entries| entries.count().saturating_sub(1) as u64),
        max_fds: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
        threads: threads.unwrap_or(0),
    }
}

/// A process in a message: its number, if it is known.
pub(crate) fn in_words(pid: Option<i32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Whether a process is gone or about to end: killed, exiting, dumping core, or a zombie. Its locks
/// may last until the last of its threads and system calls has ended. Also `false` where `/proc`
/// does not show it.
#[must_use]
pub(crate) fn is_ending(pid: i32) -> bool {
    let home = std::path::Path::new("/proc").join(pid.to_string());
    let (Ok(stat), Ok(status)) =
        (fs::read_to_string(home.join("stat")), fs::read_to_string(home.join("status")))
    else {
        // Hidden by `/proc`, or gone.
        return kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
    };
    is_ending_by(&stat, &status)
}

/// Decides from the texts of `/proc/PID/stat` and `/proc/PID/status`.
fn is_ending_by(stat: &str, status: &str) -> bool {
    /// `PF_EXITING`, from the kernel's include/linux/sched.h.
    const EXITING: u64 = 0x4;
    /// The bit of SIGKILL: signal N is bit N - 1.
    const KILLED: u64 = 1 << (nix::libc::SIGKILL - 1);
    // The name before the state may contain any characters.
    let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let is_dead = fields.next().is_some_and(|state| ["Z", "X", "x"].contains(&state));
    let is_exiting = fields
        .nth(5)
        .and_then(|flags| flags.parse::<u64>().ok())
        .is_some_and(|flags| flags & EXITING != 0);
    let values = |name: &'static str| {
        status.lines().filter_map(move |line| line.strip_prefix(name)).map(str::trim)
    };
    let pending = |name| {
        values(name)
            .filter_map(|bits| u64::from_str_radix(bits, 16).ok())
            .any(|bits| bits & KILLED != 0)
    };
    let is_dumping = values("CoreDumping:").any(|value| value == "1");
    is_dead || is_exiting || is_dumping || pending("ShdPnd:") || pending("SigPnd:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_not_ending_and_one_that_is_dead_or_gone_is() {
        assert!(!is_ending(std::process::id().cast_signed()) && !is_ending(1));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        let deadline = std::time::Duration::from_secs(20);
        let began = super::super::clock::now().instant;
        // Nobody waits for it, so it becomes a zombie.
        while !is_ending(pid) {
            assert!(
                super::super::clock::now().instant.duration_since(began) < deadline,
                "it never ends"
            );
        }
        child.wait().unwrap();
        assert!(is_ending(pid), "it is gone");
    }

    #[test]
    fn whoever_is_killed_or_exits_is_ending_whatever_its_name_is() {
        let stat = |state: &str, flags: u64| {
            format!("7 (a) Z 4 () {state} 1 7 7 0 -1 {flags} 100 0 0 0 3 4")
        };
        let status = |pending: &str, dumping: u8| {
            format!("Name:\tx\nCoreDumping:\t{dumping}\nSigPnd:\t0\nShdPnd:\t{pending}\n")
        };
        let running = status("0000000000004000", 0);
        assert!(!is_ending_by(&stat("S", 4_194_560), &running), "SIGTERM may be a long while");
        assert!(
            is_ending_by(&stat("Z", 4_194_560), &running)
                && is_ending_by(&stat("D", 4_194_564), &running)
        );
        assert!(
            is_ending_by(&stat("D", 0), &status("0000000000000100", 0))
                && is_ending_by(&stat("R", 0), &status("0", 1))
        );
        for broken in ["", "7 (a", "7 (a) ", "7 (a) S x"] {
            assert!(!is_ending_by(broken, ""), "{broken}");
        }
    }
}
