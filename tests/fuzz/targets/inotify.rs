//! Arbitrary bytes as the kernel's events: the result is events within the buffer, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manytail::testing::sys::inotify::Events;

fuzz_target!(|bytes: &[u8]| {
    let taken: usize = Events::new(bytes).map(|event| 16 + event.name.len()).sum();
    assert!(taken <= bytes.len());
    assert!(Events::new(bytes).all(|event| !event.name.contains(&0)));
});
