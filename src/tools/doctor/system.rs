//! Examines the machine, the user and the state directory.
//!
//! In: a [`Request`]. Out: a [`System`]: numbers, and kinds of trouble.
//! Always holds: the state directory is not created, and it is locked only while its journal is
//! read.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Request;
use crate::checkpoint::store::look as look_into;
use crate::diagnostics::with_causes;
use crate::file_systems::FileSystemType;
use crate::status::numbers::words;
use crate::sys::disk::{Access, DiskError, LinuxDisk};
use crate::sys::host::{self, InotifyUse, Limit, Space, Wanted};
use crate::sys::trust::{self, Shared};
use crate::sys::{FileSystem, Links, Linux};

/// The facts that do not depend on the trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct System {
    pub(super) user: u32,
    pub(super) reads_all: bool,
    pub(super) watches_max: Option<Limit>,
    pub(super) instances_max: Option<Limit>,
    pub(super) queued_events_max: Option<Limit>,
    /// Why the system refuses inotify entirely.
    pub(super) inotify_refused: Option<String>,
    /// Other processes of this user that use inotify, most watches first.
    pub(super) inotify: Vec<InotifyUse>,
    pub(super) descriptors_max: Option<u64>,
    pub(super) memory_available: Option<u64>,
    pub(super) state: Option<StateFacts>,
    /// Users can make hard links to files of others, and a run would read them.
    pub(super) reads_links_of_others: bool,
}

/// The state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateFacts {
    pub(super) path: PathBuf,
    pub(super) condition: Condition,
    /// The room on its file system, or where it would be created.
    pub(super) space: Option<Space>,
    pub(super) file_system: Option<FileSystemType>,
    /// The directory in which others could replace it.
    pub(super) shared: Option<Shared>,
}

/// Whether a run can use the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// It exists and has this many entries.
    Usable { entries: usize },
    /// A run would create it, below this directory.
    ToBeMade(PathBuf),
    /// Another process has locked it.
    InUse(Option<i32>),
    /// It cannot be used, for this reason.
    Refused(String),
    /// Its journal cannot be used, for this reason.
    Damaged(String),
}

pub(super) fn look(request: &Request) -> System {
    System {
        user: host::user(),
        reads_all: host::reads_all(),
        watches_max: host::watches_max(),
        instances_max: host::instances_max(),
        queued_events_max: host::queued_events_max(),
        inotify: host::inotify_use(),
        inotify_refused: host::try_inotify()
            .err()
            .filter(is_refused_altogether)
            .map(|error| words(&error)),
        descriptors_max: host::descriptors_max(),
        memory_available: host::memory_available(),
        state: request.state_dir.as_deref().map(look_at_state),
        reads_links_of_others: host::links_files_of_others() && !request.trees.same_owner,
    }
}

/// Whether a sandbox or the kernel itself refuses inotify, rather than a limit.
fn is_refused_altogether(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::ENOSYS | nix::libc::EPERM))
}

fn look_at_state(path: &Path) -> StateFacts {
    let (condition, existing) = match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            (Condition::Refused("it is not a directory".to_owned()), None)
        }
        Ok(found) => match others(&found) {
            Some(who) => (
                Condition::Refused(format!("a run would refuse to start: {who}")),
                Some(path.to_owned()),
            ),
            None => (condition_of(path), Some(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => to_be_made(path),
        Err(error) => (Condition::Refused(words(&error)), None),
    };
    let at = existing.as_deref();
    StateFacts {
        path: path.to_owned(),
        condition,
        space: at.and_then(|at| host::space(at).ok()),
        shared: trust::shared_above(path),
        file_system: at
            .and_then(|at| Linux::new().file_system(at.as_os_str().as_bytes(), Links::Follow).ok()),
    }
}

/// Who besides the user of the run can write to its state directory. Root may ask about the
/// directory of any user.
fn others(found: &std::fs::Metadata) -> Option<String> {
    let is_foreign = host::user() != 0 && found.uid() != 0 && found.uid() != host::user();
    if is_foreign {
        Some(format!("it belongs to user {}", found.uid()))
    } else {
        trust::others_by_mode(found.mode(), found.gid())
    }
}

/// The condition of a directory that exists.
fn condition_of(path: &Path) -> Condition {
    if let Err(error) = host::may(path, Wanted::Change) {
        return Condition::Refused(format!("it cannot be written to: {}", words(&error)));
    }
    let mut disk = match LinuxDisk::open(path, Access::Look) {
        Ok(disk) => disk,
        Err(DiskError::InUse { pid, .. }) => return Condition::InUse(pid),
        Err(error) => return Condition::Refused(with_causes(&error)),
    };
    match look_into(&mut disk) {
        Ok(found) => Condition::Usable { entries: found.map_or(0, |found| found.state.len()) },
        Err(error) => Condition::Damaged(with_causes(&error)),
    }
}

/// The condition of a missing directory: whether it can be created below the nearest one that
/// exists.
fn to_be_made(path: &Path) -> (Condition, Option<PathBuf>) {
    let above = path
        .ancestors()
        .skip(1)
        .map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let Some(above) = above.into_iter().find(|above| above.exists()) else {
        return (Condition::Refused("no directory above it exists".to_owned()), None);
    };
    match host::may(above, Wanted::Change) {
        Ok(()) if above.is_dir() => (Condition::ToBeMade(above.to_owned()), Some(above.to_owned())),
        Ok(()) => (Condition::Refused(format!("{} is not a directory", above.display())), None),
        Err(error) => {
            let why = format!(
                "it is missing and cannot be made in {}: {}",
                above.display(),
                words(&error)
            );
            (Condition::Refused(why), Some(above.to_owned()))
        }
    }
}
