//! Arbitrary bytes as a journal: the result is a state or an error, never a panic. The checksums
//! are corrected first, or nothing would pass them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manytail::testing::checkpoint::format::{self, HEAD_BYTES, HEADER_BYTES, Head, items, put};
use manytail::testing::checkpoint::journal::decode;

const SALT: u64 = 7;

/// Writes a valid header, and the number and checksum of each frame that its head announces.
fn mend(bytes: &mut [u8]) {
    let Some(header) = bytes.first_chunk_mut::<HEADER_BYTES>() else { return };
    *header = format::header(SALT);
    let (mut at, mut sequence) = (HEADER_BYTES, 1);
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEAD_BYTES>()) {
        let Some(head) = Head::parse(head) else { return };
        let Some(payload) = bytes.get(at + HEAD_BYTES..at + HEAD_BYTES + head.payload_len) else {
            return;
        };
        let mended = Head::encode(SALT, head.kind, sequence, payload);
        bytes[at..at + HEAD_BYTES].copy_from_slice(&mended);
        at += HEAD_BYTES + head.payload_len;
        sequence += 1;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    if let Ok((state, extent)) = decode(&mended) {
        assert_eq!(extent.bytes + extent.torn_bytes, bytes.len() as u64);
        assert_eq!(state.entries().count(), state.len());
    }
    // As a payload: decoding and encoding give the same bytes.
    let mut again = Vec::new();
    for item in items(bytes) {
        let Ok(item) = item else { break };
        put(&item, &mut again);
        assert!(bytes.starts_with(&again));
    }
});
