//! Where the files are that we write ourselves: what a rotation makes of them is beside them.
//!
//! In: the output, where metrics go, and what the standard descriptors are. Out: directories and names.
//! Always holds: only regular files have a place; a link to one has two: its own, and that of the file.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{Metrics, Output};

/// Standard error.
const DIAGNOSTICS: i32 = 2;

/// Device and inode of a directory, and a name in it.
type Place = ((u64, u64), Vec<u8>);

/// The places of all that this run writes.
pub(super) fn places(output: &Output, metrics: &[Metrics]) -> Vec<Place> {
    let mut places = path_of_descriptor(DIAGNOSTICS).map(|path| of_file(&path)).unwrap_or_default();
    match output {
        Output::Descriptor(number) => places.extend(path_of_descriptor(*number).map(|path| of_file(&path)).unwrap_or_default()),
        Output::File(path) => places.extend(of_file(path)),
        Output::Unix(_) | Output::Tcp(_) => {}
    }
    for metrics in metrics {
        if let Metrics::Textfile(path) = metrics {
            // It may not be there yet.
            places.extend(of_name(path));
        }
    }
    places
}

/// Of a file that a descriptor was redirected to.
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
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = directory.metadata().ok()?;
    Some(((found.dev(), found.ino()), path.file_name()?.as_bytes().to_vec()))
}
