//! Reads `/proc` about a process: memory, descriptors, threads, CPU, watches.

use std::fs;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

/// As in inotify(7).
const IN_MODIFY: u32 = 2;

impl Process {
    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// The file system as the process sees it.
    pub(crate) fn root(self) -> PathBuf {
        self.file("root")
    }

    fn status(self, key: &str) -> u64 {
        let status = fs::read_to_string(self.file("status")).unwrap_or_default();
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Fields of `/proc/PID/stat` from the third (the state) on; empty when the process is gone.
    fn stat(self) -> Vec<String> {
        let stat = fs::read_to_string(self.file("stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .map(|(_, rest)| rest.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// `S` asleep, `R` runs or wants to, `T` stopped, `Z` exited; `-` gone.
    pub(crate) fn state(self) -> char {
        self.stat().first().and_then(|state| state.chars().next()).unwrap_or('-')
    }

    /// User and system time, in clock ticks of 10 ms.
    pub(crate) fn ticks(self) -> u64 {
        let stat = self.stat();
        [11, 12].into_iter().filter_map(|at| stat.get(at)?.parse::<u64>().ok()).sum()
    }

    /// The scheduling policy of its first thread: the 41st field of proc_pid_stat(5).
    pub(crate) fn policy(self) -> u64 {
        self.stat().get(38).and_then(|field| field.parse().ok()).expect("the process runs")
    }

    pub(crate) fn rss_kib(self) -> u64 {
        self.status("VmRSS")
    }

    pub(crate) fn rss_max_kib(self) -> u64 {
        self.status("VmHWM")
    }

    pub(crate) fn threads(self) -> u64 {
        self.status("Threads")
    }

    /// How often it went to sleep.
    pub(crate) fn switches(self) -> u64 {
        self.status("voluntary_ctxt_switches")
    }

    /// The same for all its threads. Under strace(1) each system call adds two.
    pub(crate) fn switches_of_all_threads(self) -> u64 {
        let Ok(threads) = fs::read_dir(self.file("task")) else { return 0 };
        let of = |path: PathBuf| {
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            let value = status.lines().find_map(|line| {
                line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok()
            });
            value.unwrap_or(0)
        };
        threads.flatten().map(|thread| of(thread.path())).sum()
    }

    pub(crate) fn descriptors(self) -> usize {
        fs::read_dir(self.file("fd")).map_or(0, Iterator::count)
    }

    /// Where its descriptors lead, as `/proc/PID/fd` shows it.
    pub(crate) fn open_files(self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.file("fd")) else { return Vec::new() };
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.map(|target| target.to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn inotify_instances(self) -> usize {
        self.open_files().iter().filter(|target| target.contains("inotify")).count()
    }

    /// How many directories it watches for changes of the files in them.
    pub(crate) fn watches(self) -> usize {
        self.watch_masks().filter(|mask| mask & IN_MODIFY != 0).count()
    }

    /// The same, including directories that are watched only for names, because they lead to a
    /// PATH.
    pub(crate) fn all_watches(self) -> usize {
        self.watch_masks().count()
    }

    /// The inode numbers of the directories that it watches.
    pub(crate) fn watched_inodes(self) -> Vec<u64> {
        self.watch_fields(" ino:").collect()
    }

    fn watch_masks(self) -> impl Iterator<Item = u32> {
        self.watch_fields(" mask:").map(|mask| mask as u32)
    }

    /// A hexadecimal field of each watch, see proc_pid_fdinfo(5).
    fn watch_fields(self, key: &'static str) -> impl Iterator<Item = u64> {
        let entries = fs::read_dir(self.file("fdinfo")).into_iter().flatten().flatten();
        let infos = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let field_of = move |line: &str| {
            let (_, field) = line.split_once(key)?;
            u64::from_str_radix(field.split(' ').next()?, 16).ok()
        };
        let fields = move |info: String| -> Vec<u64> {
            info.lines()
                .filter(|line| line.starts_with("inotify wd:"))
                .filter_map(field_of)
                .collect()
        };
        infos.flat_map(fields)
    }
}
