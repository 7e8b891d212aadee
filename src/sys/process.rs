//! What `/proc` and `getrusage(2)` tell about this process, when somebody asks for it.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

use crate::status::Process;

/// Looks at this process. What cannot be told is 0.
#[must_use]
pub fn look() -> Process {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let micros = usage.map_or(0, |usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    Process {
        cpu_seconds: micros as f64 / 1e6,
        virtual_bytes: pages.next().unwrap_or(0) * page_bytes,
        resident_bytes: pages.next().unwrap_or(0) * page_bytes,
        // Without the one that lists them.
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64),
        max_fds: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
        threads: threads.unwrap_or(0),
    }
}
