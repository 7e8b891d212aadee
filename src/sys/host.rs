//! What this machine, this user and this process may do: limits, what is used of them, permissions,
//! space.
//!
//! In: nothing, or a path. Out: numbers as the kernel tells them; `None` where it does not. Always
//! holds: nothing is opened but files of procfs and, for a moment, an inotify instance; nothing is
//! changed.

use std::fs;
use std::io;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, faccessat, geteuid};

/// `CAP_DAC_READ_SEARCH`, capabilities(7): reads every file and lists every directory.
pub(super) const CAP_DAC_READ_SEARCH: u32 = 2;

/// `CAP_DAC_OVERRIDE`: does that too.
const CAP_DAC_OVERRIDE: u32 = 1;

/// Whether the effective user may read (and, if wanted, enter or change) a file, access(2).
///
/// # Errors
/// `EACCES` if not; `EROFS` for changes on a file system that is mounted read-only; and those of a
/// look.
pub fn may(path: &Path, wanted: Wanted) -> io::Result<()> {
    let mode = match wanted {
        Wanted::Read => AccessFlags::R_OK,
        Wanted::List => AccessFlags::R_OK | AccessFlags::X_OK,
        Wanted::Make => AccessFlags::W_OK | AccessFlags::X_OK,
        Wanted::Change => AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK,
    };
    Ok(faccessat(AT_FDCWD, path, mode, AtFlags::AT_EACCESS)?)
}

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A file.
    Read,
    /// A directory, and to look at what is in it.
    List,
    /// A directory, to make files in it.
    Make,
    /// A directory, to list it and to make files in it.
    Change,
}

/// What this machine is called: gethostname(2), whole as it is set. What is not UTF-8 in it is
/// replaced.
///
/// # Errors
/// When the call fails.
pub fn name() -> io::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().into_owned())
}

/// The effective user.
#[must_use]
pub fn user() -> u32 {
    geteuid().as_raw()
}

/// Whether `CAP_DAC_READ_SEARCH` is effective: permissions do not matter then, but on some network
/// file systems.
#[must_use]
pub fn reads_all() -> bool {
    effective_capabilities().is_some_and(|all| all >> CAP_DAC_READ_SEARCH & 1 == 1)
}

/// Whether any capability is effective that lets this process read what its user may not; also if
/// the kernel does not tell and the user is root.
#[must_use]
pub fn overrides_permissions() -> bool {
    effective_capabilities()
        .map_or(user() == 0, |all| (all >> CAP_DAC_READ_SEARCH | all >> CAP_DAC_OVERRIDE) & 1 == 1)
}

fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    u64::from_str_radix(field(&status, "CapEff:")?, 16).ok()
}

/// Whether every user may make a hard link to a file of another one (`fs.protected_hardlinks`,
/// proc_sys_fs(5)).
#[must_use]
pub fn links_files_of_others() -> bool {
    limit(&["fs.protected_hardlinks"]).is_some_and(|limit| limit.value == 0)
}

/// The limit of descriptors of this process.
#[must_use]
pub fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

/// Memory that can be had without swapping, in bytes.
#[must_use]
pub fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    field(&text, "MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// A limit, and the sysctl that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// As in sysctl.conf(5).
    pub sysctl: &'static str,
    /// Its value.
    pub value: u64,
}

/// The lowest of the limits that these sysctls set. A user namespace has its own of some
/// (`user.max_inotify_watches`, namespaces(7)).
fn limit(sysctls: &[&'static str]) -> Option<Limit> {
    let read = |sysctl: &'static str| {
        let text =
            fs::read_to_string(Path::new("/proc/sys").join(sysctl.replace('.', "/"))).ok()?;
        Some(Limit { sysctl, value: text.trim().parse().ok()? })
    };
    // The first of equals: the one that people know.
    sysctls.iter().filter_map(|&sysctl| read(sysctl)).min_by_key(|limit| limit.value)
}

/// The limit to the inotify watches of a user.
#[must_use]
pub fn watches_max() -> Option<Limit> {
    limit(&["fs.inotify.max_user_watches", "user.max_inotify_watches"])
}

/// The limit to the inotify instances of a user.
#[must_use]
pub fn instances_max() -> Option<Limit> {
    limit(&["fs.inotify.max_user_instances", "user.max_inotify_instances"])
}

/// The limit to the events that wait in an inotify instance.
#[must_use]
pub fn queued_events_max() -> Option<Limit> {
    limit(&["fs.inotify.max_queued_events"])
}

/// Whether an inotify instance can be had: makes one, and gives it back.
///
/// # Errors
/// Those of `inotify_init1(2)`.
pub fn try_inotify() -> io::Result<()> {
    inotify::Inotify::init().map(drop)
}

/// Room of a file system for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub bytes: u64,
    /// Files; `None` where they are not counted.
    pub inodes: Option<u64>,
}

/// Room of the file system that holds `path`.
///
/// # Errors
/// Those of `statvfs(3)`.
pub fn space(path: &Path) -> io::Result<Space> {
    let found = statvfs(path)?;
    Ok(Space {
        bytes: found.blocks_available().saturating_mul(found.fragment_size()),
        inodes: (found.files() > 0).then(|| found.files_available()),
    })
}

/// What a process has of inotify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InotifyUse {
    /// The process.
    pub pid: i32,
    /// What it is called.
    pub name: String,
    /// Instances.
    pub instances: u64,
    /// Watches of all of them.
    pub watches: u64,
}

/// What the processes of this user have of inotify, as far as procfs lets us see; most watches
/// first. This process is left out.
#[must_use]
pub fn inotify_use() -> Vec<InotifyUse> {
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != own);
    let mut all: Vec<InotifyUse> = numbers.filter_map(use_of).collect();
    all.sort_by(|one, other| other.watches.cmp(&one.watches).then(one.pid.cmp(&other.pid)));
    all
}

/// `None`: of another user, gone, or without inotify.
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

/// Whether an error says that permissions are missing.
#[must_use]
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}
