//! The places of the files that this run writes itself: rotated ones are beside them.
//!
//! In: the output, the places of metrics, and the standard descriptors. Out: directories and names;
//! warnings about files that others can replace.
//! Always holds: only regular files have a place; a link to one has two: its own, and that of the
//! file.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{Config, Metrics, Output};
use crate::sys::trust;

/// Standard error.
const DIAGNOSTICS: i32 = 2;

/// Device and inode of a directory, and a name in it.
type Place = ((u64, u64), Vec<u8>);

/// The places of all files that this run writes.
pub(super) fn places(output: &Output, metrics: &[Metrics]) -> Vec<Place> {
    let mut places = path_of_descriptor(DIAGNOSTICS).map(|path| of_file(&path)).unwrap_or_default();
    match output {
        Output::Descriptor(number) => places
            .extend(path_of_descriptor(*number).map(|path| of_file(&path)).unwrap_or_default()),
        Output::File(path) => places.extend(of_file(path)),
        Output::Unix(_) | Output::Tcp(_) | Output::Kafka(_) | Output::Nats(_) => {}
    }
    for metrics in metrics {
        if let Metrics::Textfile(path) = metrics {
            // It may not be there yet.
            places.extend(of_name(path));
        }
    }
    places
}

/// The paths that this run writes to or listens at, each with the option that sets it.
pub(super) fn names(config: &Config) -> Vec<(String, PathBuf)> {
    let mut names = Vec::new();
    if let Output::File(path) | Output::Unix(path) = &config.output {
        names.push((format!("--output {}", config.output), path.clone()));
    }
    names.extend(
        config
            .state_dir
            .iter()
            .map(|path| (format!("--state-dir {}", path.display()), path.clone())),
    );
    names.extend(config.metrics.iter().filter_map(|metrics| match metrics {
        Metrics::Unix(path) | Metrics::Textfile(path) => {
            Some((format!("--metrics {metrics}"), path.clone()))
        }
        Metrics::Tcp(_) => None,
    }));
    names.extend(
        config
            .control_socket
            .iter()
            .map(|path| (format!("--control-socket {}", path.display()), path.clone())),
    );
    names
}

/// Warns about paths that others could remove or replace. Call this once everything that a start
/// makes is there.
pub(super) fn warn_of_shared(names: &[(String, PathBuf)]) {
    for (option, path) in names {
        if let Some(shared) = trust::shared_above(path) {
            let directory = shared.directory.display();
            tracing::warn!(
                "{option}: others can replace it, because of the directory \
                {directory}, {}: \
                 use a directory that only this user can write to",
                shared.who
            );
        }
    }
}

/// The path of the file that a descriptor is redirected to.
fn path_of_descriptor(number: i32) -> Option<PathBuf> {
    Path::new("/proc/self/fd").join(number.to_string()).read_link().ok()
}

fn of_file(path: &Path) -> Vec<Place> {
    if !path.metadata().is_ok_and(|found| found.is_file()) {
        return Vec::new();
    }
    let target = path.canonicalize().ok().and_then(|target| of_name(&target));
    of_name(path).into_iter().chain(target).collect()
}

fn of_name(path: &Path) -> Option<Place> {
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let found = directory.metadata().ok()?;
    Some(((found.dev(), found.ino()), path.file_name()?.as_bytes().to_vec()))
}
