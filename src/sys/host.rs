//! What this machine, this user and this process may do: limits and their use, permissions, space.
//!
//! In: nothing, or a path. Out: numbers as the kernel reports them; `None` where it does not.
//! Always holds: only files of procfs are opened and, for a moment, an inotify instance; nothing is
//! changed.

use std::fs;
use std::io;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, faccessat, geteuid};

/// `CAP_DAC_READ_SEARCH`, capabilities(7): may read every file and list every directory.
pub(super) const CAP_DAC_READ_SEARCH: u32 = 2;

/// `CAP_DAC_OVERRIDE`: may do that too.
const CAP_DAC_OVERRIDE: u32 = 1;

/// Checks whether the effective user has this permission for a file, access(2).
///
/// # Errors
/// `EACCES` if not; `EROFS` for changes on a file system that is mounted read-only; and those of
/// resolving the path.
pub(crate) fn may(path: &Path, wanted: Wanted) -> io::Result<()> {
    let mode = match wanted {
        Wanted::Read => AccessFlags::R_OK,
        Wanted::List => AccessFlags::R_OK | AccessFlags::X_OK,
        Wanted::Make => AccessFlags::W_OK | AccessFlags::X_OK,
        Wanted::Change => AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK,
    };
    Ok(faccessat(AT_FDCWD, path, mode, AtFlags::AT_EACCESS)?)
}

/// A permission to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// To read a file.
    Read,
    /// To list a directory and look at its entries.
    List,
    /// To create files in a directory.
    Make,
    /// To list a directory and create files in it.
    Change,
}

/// The complete name of this machine, gethostname(2). Bytes that are not UTF-8 are replaced.
///
/// # Errors
/// When the call fails.
pub(crate) fn name() -> io::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().into_owned())
}

/// The effective user.
#[must_use]
pub(crate) fn user() -> u32 {
    geteuid().as_raw()
}

/// Whether `CAP_DAC_READ_SEARCH` is effective. Then permissions matter only on some network file
/// systems.
#[must_use]
pub(crate) fn reads_all() -> bool {
    effective_capabilities().is_some_and(|all| all >> CAP_DAC_READ_SEARCH & 1 == 1)
}

/// Whether an effective capability lets this process read files that its user may not read. Also
/// true if the kernel does not report capabilities and the user is root.
#[must_use]
pub(crate) fn overrides_permissions() -> bool {
    effective_capabilities()
        .map_or(user() == 0, |all| (all >> CAP_DAC_READ_SEARCH | all >> CAP_DAC_OVERRIDE) & 1 == 1)
}

fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    u64::from_str_radix(field(&status, "CapEff:")?, 16).ok()
}

/// Whether every user may create a hard link to another user's file (`fs.protected_hardlinks`,
/// proc_sys_fs(5)).
#[must_use]
pub(crate) fn links_files_of_others() -> bool {
    limit(&["fs.protected_hardlinks"]).is_some_and(|limit| limit.value == 0)
}

/// The limit of descriptors of this process.
#[must_use]
pub(crate) fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

/// Memory that is available without swapping, in bytes.
#[must_use]
pub(crate) fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    field(&text, "MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// A limit, and the sysctl that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// As in sysctl.conf(5).
    pub sysctl: &'static str,
    /// Its value.
    pub value: u64,
}

/// The lowest of the limits that these sysctls set. A user namespace has limits of its own
/// (`user.max_inotify_watches`, namespaces(7)).
fn limit(sysctls: &[&'static str]) -> Option<Limit> {
    let read = |sysctl: &'static str| {
        let text =
            fs::read_to_string(Path::new("/proc/sys").join(sysctl.replace('.', "/"))).ok()?;
        Some(Limit { sysctl, value: text.trim().parse().ok()? })
    };
    // Of equal limits the first: it is the better known one.
    sysctls.iter().filter_map(|&sysctl| read(sysctl)).min_by_key(|limit| limit.value)
}

/// The limit of a user's inotify watches.
#[must_use]
pub(crate) fn watches_max() -> Option<Limit> {
    limit(&["fs.inotify.max_user_watches", "user.max_inotify_watches"])
}

/// The limit of a user's inotify instances.
#[must_use]
pub(crate) fn instances_max() -> Option<Limit> {
    limit(&["fs.inotify.max_user_instances", "user.max_inotify_instances"])
}

/// The limit of the events that one inotify instance queues.
#[must_use]
pub(crate) fn queued_events_max() -> Option<Limit> {
    limit(&["fs.inotify.max_queued_events"])
}

/// Creates an inotify instance and closes it, to see whether that is possible.
///
/// # Errors
/// Those of `inotify_init1(2)`.
pub(crate) fn try_inotify() -> io::Result<()> {
    inotify::Inotify::init().map(drop)
}

/// Free space of a file system for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; `None` where the file system does not count them.
    pub inodes: Option<u64>,
}

/// Free space of the file system that contains `path`.
///
/// # Errors
/// Those of `statvfs(3)`.
pub(crate) fn space(path: &Path) -> io::Result<Space> {
    let found = statvfs(path)?;
    Ok(Space {
        bytes: found.blocks_available().saturating_mul(found.fragment_size()),
        inodes: (found.files() > 0).then(|| found.files_available()),
    })
}

/// The inotify instances and watches of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InotifyUse {
    /// The process.
    pub pid: i32,
    /// Its name.
    pub name: String,
    /// Instances.
    pub instances: u64,
    /// Watches of all of them.
    pub watches: u64,
}

/// The inotify use of this user's other processes, as far as procfs shows it, most watches first.
#[must_use]
pub(crate) fn inotify_use() -> Vec<InotifyUse> {
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != own);
    let mut all: Vec<InotifyUse> = numbers.filter_map(use_of).collect();
    all.sort_by(|one, other| other.watches.cmp(&one.watches).then(one.pid.cmp(&other.pid)));
    all
}

/// `None`: the process belongs to another user, is gone, or does not use inotify.
fn use_of(pid: u32) -> Option<InotifyUse> {
    let home = Path::new("/proc").join(pid.to_string());
    let status = fs::read_to_string(home.join("status")).ok()?;
    let effective: u32 = field(&status, "Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    if effective != user() {
        return None;
    }
    let mut found = InotifyUse {
        pid: pid.cast_signed(),
        name: field(&status, "Name:")?.to_owned(),
        instances: 0,
        watches: 0,
    };
    for entry in fs::read_dir(home.join("fd")).ok()?.flatten() {
        let is_inotify = fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str() == "anon_inode:inotify");
        if is_inotify {
            found.instances += 1;
            let about =
                fs::read_to_string(home.join("fdinfo").join(entry.file_name())).unwrap_or_default();
            found.watches +=
                about.lines().filter(|line| line.starts_with("inotify wd:")).count() as u64;
        }
    }
    (found.instances > 0).then_some(found)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}
