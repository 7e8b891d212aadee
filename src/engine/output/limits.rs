//! How many bytes of records may wait for the output or for its acknowledgement.
//!
//! In: what the output is. Out: limits.
//! Always holds: no file is read while as much waits as an output may have on its way.

use crate::sink::{Sink, Wants};

/// While the output is blocked, backlog (bytes of files that a listing found, and of files with
/// more than fits into one turn) is read only until this part of what may be in flight waits.
pub(super) const BACKLOG_PART: usize = 16;

/// No file is read while this many bytes wait for the output or for its acknowledgement. A broker
/// acknowledges much at once and late; one with transactions nothing before a commit, which may
/// take a tenth of a second, in which nothing is sent: few of them make backlog come sooner.
pub(super) const IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
const UNCONFIRMED_BYTES_MAX: usize = 16 * 1024 * 1024;
const UNCOMMITTED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// No file is read once this many of them moved on without a record behind records that wait.
pub(super) const MOVED_MAX: usize = 65_536;

/// So many bytes more may wait of records that tell of files that go away.
pub(super) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// No file is read while this many bytes wait for the output.
pub(super) fn in_flight_max<S: Sink>(sink: &mut S) -> usize {
    match (sink.wants(), sink.receiver()) {
        (Wants::Bytes, _) => IN_FLIGHT_BYTES_MAX,
        (_, Some(receiver)) if receiver.has_transactions() => UNCOMMITTED_BYTES_MAX,
        (Wants::Origins, _) => UNCONFIRMED_BYTES_MAX,
    }
}
