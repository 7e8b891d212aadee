//! Sentences that more than one answer has: a state, and the reason in words.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::output::outbox::Outbox;
use crate::engine::output::output_file::OutputFile;
use crate::record::SECOND_MAX;
use crate::sink::Sink;
use crate::status::file::{FileState, FileStatus, PathText, shown};
use crate::sys::Stat;
use crate::sys::failure::Failure;

/// A state, and the sentence that goes with it.
pub(in crate::engine) type Reason = (FileState, String);

pub(super) fn because(state: FileState, why: impl Into<String>) -> Reason {
    (state, why.into())
}

/// The answer about a file of which nothing is known.
pub(in crate::engine) fn nothing_known(asked: &[u8], (state, why): Reason) -> FileStatus {
    FileStatus {
        path: PathText::new(asked),
        asked: None,
        state,
        why,
        file: None,
        offset: None,
        size: None,
        unread_bytes: None,
        unfinished_bytes: None,
        modified: None,
        read_to_end: None,
        started_at_end: false,
        input: None,
        labels: BTreeMap::new(),
        job: None,
        uid: None,
    }
}

pub(super) fn in_state_directory(directory: &[u8]) -> Reason {
    because(
        FileState::StateDirectory,
        format!("it is in our own state directory, {}", shown(directory)),
    )
}

pub(super) fn is_user_mount(look: &io::Result<Stat>) -> bool {
    matches!(look, Err(error) if Failure::of(error) == Failure::UserMount)
}

pub(super) fn in_user_mount() -> Reason {
    because(
        FileState::UserMount,
        "a user other than root mounted something on it, or on a directory above it: left out \
        until it is unmounted",
    )
}

/// A time as text. A file may have a time that cannot be written; the nearest one is.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(SECOND_MAX);
    humantime::format_rfc3339_millis(time.clamp(SystemTime::UNIX_EPOCH, last)).to_string()
}

/// Why nothing is read while records wait for the output.
pub(super) fn blocked_in_words<S: Sink>(
    outbox: &Outbox<S>,
    output_file: &OutputFile,
    now: Instant,
) -> String {
    let for_now = outbox.blocked(now).unwrap_or_default();
    let state = outbox.sink().state();
    let trouble = match output_file.failure().map(str::to_owned).or(state.failure) {
        Some(failure) => format!("fails ({failure})"),
        None if !state.is_connected => "is not there".to_owned(),
        None => "takes nothing".to_owned(),
    };
    format!("the output {trouble}, for {:.1} s by now: records wait for it", for_now.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_written_is_told_as_the_nearest_one() {
        let far = Duration::from_secs(1 << 50);
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - far), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + far), "9999-12-31T23:59:59.000Z");
    }
}
