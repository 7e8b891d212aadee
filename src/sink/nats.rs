//! `nats:SUBJECT`: records become messages of a JetStream stream, each once and in order.
//!
//! In: whole records, each with its file, offset and subject. Out: atomic batches, one after the
//! other, from a thread of its own; what the stream has beyond the last commit.
//! Always holds: a record is acknowledged when a quorum of the stream has it. No call on the loop
//! waits for the network: it copies records to the thread and collects what happened to them. The
//! protocol and why it holds are in [`protocol`].

#[cfg(feature = "nats")]
mod batch;
#[cfg(feature = "nats")]
mod connection;
#[cfg(feature = "nats")]
mod link;
pub(crate) mod positions;
pub(crate) mod protocol;
#[cfg(feature = "nats")]
mod publisher;
#[cfg(feature = "nats")]
mod requests;
#[cfg(feature = "nats")]
mod sentences;
#[cfg(feature = "nats")]
mod sink;
#[cfg(feature = "nats")]
mod stream;
#[cfg(feature = "nats")]
mod trial;

#[cfg(feature = "nats")]
pub(super) use sink::NatsSink;
#[cfg(feature = "nats")]
pub(super) use trial::try_out;

/// Between two steps of the protocol: tests end the process there.
#[cfg(feature = "nats")]
fn step() {
    #[cfg(test)]
    tests::step();
}

#[cfg(all(test, feature = "nats"))]
mod tests;
