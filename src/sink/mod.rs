//! Where records go: the [`Sink`] trait, its contract, and the kinds of output.
//!
//! In: bytes of whole records, in order, possibly offered again. Out: how many were taken, and how many of those are safe.
//! Always holds: a sink never blocks the loop, never reorders, never drops; what it did not take stays with the caller.

use std::time::Instant;

/// What became of bytes offered to a [`Sink`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// This many bytes from the front were taken (at least 1 unless none were offered).
    Accepted(usize),
    /// Nothing fits now. Offer again when the loop calls [`Sink::ready`] or at [`Sink::deadline`].
    Blocked,
    /// The receiver of before is gone, and of all bytes taken so far the last `unacknowledged` never reached it for certain.
    /// The caller goes back to the start of the record in which the first of them lies and offers again from there.
    /// Said exactly once per loss; the next offer goes to the new receiver (or is `Blocked` until there is one).
    Restarted {
        /// Bytes taken but not acknowledged when the receiver was lost. At least the bytes of a torn last record.
        unacknowledged: u64,
    },
    /// Nobody will ever read again (`| head -1`): the run ends quietly.
    Closed,
}

/// An output that cannot go on. Everything that waiting can heal is [`Sent::Blocked`] instead.
#[derive(Debug, thiserror::Error)]
#[error("output {output}: cannot {action}")]
pub struct SinkError {
    /// The output as given on the command line.
    pub output: String,
    /// What failed: `open`, `write` ...
    pub action: &'static str,
    /// The system's reason.
    #[source]
    pub source: std::io::Error,
}

/// An output. Bytes count in stream order: `accepted` grows with what [`Sink::send`] takes, and `accepted - unacknowledged()` of
/// them are acknowledged, oldest first. Offsets may be stored only for acknowledged bytes.
pub trait Sink {
    /// Offers the next bytes of the stream, a run of whole records of which a front part may have been taken before.
    /// With no bytes it only looks whether the receiver is still there. Never blocks.
    ///
    /// # Errors
    /// When the output cannot go on, ever.
    fn send(&mut self, bytes: &[u8], now: Instant) -> Result<Sent, SinkError>;

    /// Bytes accepted but not yet acknowledged: 0 where taking is acknowledging (pipes, files, unix sockets); for TCP what the
    /// peer's kernel has not confirmed (`SIOCOUTQ`); for a broker what it has not.
    fn unacknowledged(&mut self) -> u64;

    /// The loop's word that the descriptor became writable, failed, or was closed by its peer.
    fn ready(&mut self, now: Instant);

    /// When to call again though nothing became ready: the end of a back-off, a full disk to be tried again.
    fn deadline(&self) -> Option<Instant>;

    /// SIGHUP: the next bytes go into a freshly opened file. Called only between two records. No effect on other kinds.
    ///
    /// # Errors
    /// When the file cannot be opened anew; the old one stays in use.
    fn reopen(&mut self) -> Result<(), SinkError>;

    /// Device and inode of a regular file that receives records, so that it is never followed as an input.
    fn own_file(&self) -> Option<(u64, u64)>;
}
