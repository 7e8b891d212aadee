//! Arbitrary bytes as a client's request: the result is a request within the bytes, an error or
//! "incomplete", never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manytail::testing::daemon::http::{HEAD_BYTES_MAX, Head, Response, parse};

fuzz_target!(|bytes: &[u8]| match parse(bytes) {
    Head::Partial => assert!(bytes.len() < HEAD_BYTES_MAX),
    Head::Refused(code) => {
        let head = format!("HTTP/1.1 {code} ");
        assert!(Response::refusal(code).encode(false).starts_with(head.as_bytes()));
    }
    Head::Request(request) => {
        assert!(request.path.len() + request.query.len() < bytes.len());
        assert!(!request.path.contains('?'));
        // Bytes after the head change nothing.
        assert_eq!(parse(&[bytes, b"GET / HTTP/1.1\r\n\r\n"].concat()), Head::Request(request));
    }
});
