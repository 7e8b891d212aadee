//! The event queue of Kafka's client library, as something that can be polled.
//!
//! In: a client, and a descriptor that its context owns. Out: a write to that descriptor when the
//! queue stops being empty.
//! Always holds: the descriptor is open as long as the library may write to it. Who is woken has to
//! empty the queue: there is no further write while it is not empty.

use std::os::fd::{AsFd, AsRawFd};

use rdkafka::ClientContext;
use rdkafka::bindings::{
    rd_kafka_queue_destroy, rd_kafka_queue_get_main, rd_kafka_queue_io_event_enable,
    rd_kafka_queue_length,
};
use rdkafka::client::Client;

/// What the library writes: an eventfd(2) adds it.
static ONE: u64 = 1;

/// From now on the library writes to the context's descriptor, an eventfd(2), when the client's
/// queue stops being empty.
pub(crate) fn signal_events<C: ClientContext + AsFd>(client: &Client<C>) {
    let descriptor = client.context().as_fd().as_raw_fd();
    #[expect(unsafe_code, reason = "the wrapper has no call for it")]
    // SAFETY: the client is alive, so its pointer is valid; the reference to its main queue, which
    // is never null, is given back. The payload is copied by the call. The context owns the
    // descriptor, and a `Client` ends the library's threads before it gives up its context.
    unsafe {
        let queue = rd_kafka_queue_get_main(client.native_ptr());
        let payload = (&raw const ONE).cast();
        rd_kafka_queue_io_event_enable(queue, descriptor, payload, size_of_val(&ONE));
        rd_kafka_queue_destroy(queue);
    }
}

/// Whether events wait in the client's queue.
pub(crate) fn has_events<C: ClientContext>(client: &Client<C>) -> bool {
    #[expect(unsafe_code, reason = "the wrapper has no call for it")]
    // SAFETY: the client is alive, so its pointer is valid; the reference to its main queue, which
    // is never null, is given back.
    unsafe {
        let queue = rd_kafka_queue_get_main(client.native_ptr());
        let length = rd_kafka_queue_length(queue);
        rd_kafka_queue_destroy(queue);
        length > 0
    }
}
