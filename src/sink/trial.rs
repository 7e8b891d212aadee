//! What the trial of a broker finds out before a run: `check --connect`, `doctor --config`.
//!
//! In: answers of the broker. Out: findings, in the words in which a run would report them.
//! Always holds: nothing is made or changed at the broker, and no running manytail is disturbed.

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "kafka", feature = "nats")),
    expect(dead_code, reason = "a build without clients finds nothing")
)]
pub(crate) enum Found {
    /// As it should be.
    Well(String),
    /// A run works, but not as well as it could; and what to do about it.
    Doubtful(String, String),
    /// Records would wait.
    Wrong(String),
}
