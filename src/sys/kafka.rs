//! The event queue of Kafka's client library, as something that can be polled; a call of it without
//! the wrapper's additions; whether the OpenSSL that it is built with serves threads.
//!
//! In: a client, and a descriptor that its context owns. Out: a write to that descriptor when the
//! queue stops being empty.
//! Always holds: the descriptor is open as long as the library may write to it. Who is woken has to
//! empty the queue: there is no further write while it is not empty.

use std::os::fd::{AsFd, AsRawFd};

use rdkafka::ClientContext;
use rdkafka::bindings::{
    rd_kafka_flush, rd_kafka_queue_destroy, rd_kafka_queue_get_main,
    rd_kafka_queue_io_event_enable, rd_kafka_queue_length,
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

/// The library sends what it collects, and collects nothing more, until all has arrived, for so
/// long at most. Blocks meanwhile, and takes no event: the wrapper's own call would.
pub(crate) fn push<C: ClientContext>(client: &Client<C>, milliseconds: u8) {
    #[expect(unsafe_code, reason = "the wrapper's call takes the events that the loop waits for")]
    // SAFETY: the client is alive, so its pointer is valid, and is that of a producer; any thread
    // may make the call. Its result says whether all arrived, which the reports say, too.
    unsafe {
        rd_kafka_flush(client.native_ptr(), milliseconds.into());
    }
}

/// Whether OpenSSL was built for programs with threads. Its `Configure` leaves them out, without a
/// word, when the compiler gets `-static`, as in every build with `+crt-static`; the library then
/// corrupts the heap as soon as two connections are made at once.
#[cfg(feature = "kafka-tls")]
pub(crate) fn tls_serves_threads() -> bool {
    fn thread() -> nix::libc::pthread_t {
        #[expect(unsafe_code, reason = "a call of OpenSSL")]
        // SAFETY: the call takes nothing, and returns an integer.
        unsafe {
            unsafe extern "C" {
                /// OpenSSL, `crypto/threads_pthread.c`: pthread_self(3); `crypto/threads_none.c`:
                /// the same for all threads.
                fn CRYPTO_THREAD_get_current_id() -> nix::libc::pthread_t;
            }
            CRYPTO_THREAD_get_current_id()
        }
    }
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new().spawn_scoped(scope, thread);
        // Without a second thread no client starts either, and its error gives the reason.
        other.map_or(true, |other| other.join().is_ok_and(|other| other != thread()))
    })
}

/// There is no OpenSSL.
#[cfg(not(feature = "kafka-tls"))]
pub(crate) fn tls_serves_threads() -> bool {
    true
}
