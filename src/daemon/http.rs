//! The part of HTTP/1.1 that a scrape needs: one request head, one complete response, then the
//! connection is closed.
//!
//! In: arbitrary bytes from a client. Out: a method and a target, "incomplete", or the status code
//! of an error; and the bytes of a response.
//! Always holds: no input makes it panic or allocate; bodies and further requests on the same
//! connection are ignored.

use std::fmt::Write as _;

/// The most bytes that a request head may have.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most header lines that it may have.
const HEADERS_MAX: usize = 64;

/// The result of parsing the bytes received so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Head<'a> {
    /// The head is incomplete.
    Partial,
    /// The request is not served; the status code of the answer.
    Refused(u16),
    /// A complete head.
    Request(Request<'a>),
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `HEAD`: the answer without its body.
    pub is_head: bool,
    /// The path, as it was sent.
    pub path: &'a str,
    /// The part after the `?`.
    pub query: &'a str,
}

/// Reads a request head.
#[must_use]
pub fn parse(bytes: &[u8]) -> Head<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let (method, target) = match request.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => {
            return Head::Refused(431);
        }
        Ok(httparse::Status::Partial) => return Head::Partial,
        Err(httparse::Error::TooManyHeaders) => return Head::Refused(431),
        Err(httparse::Error::Version) => return Head::Refused(505),
        Err(_) => return Head::Refused(400),
        Ok(httparse::Status::Complete(_)) => {
            (request.method.unwrap_or_default(), request.path.unwrap_or_default())
        }
    };
    let is_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Head::Refused(405),
    };
    // A proxy's absolute form, RFC 9112 section 3.2.2: only the path counts.
    let target = target
        .strip_prefix("http://")
        .map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Head::Request(Request { is_head, path, query })
}

/// The value of a name in a query, with `%HH` decoded. It is bytes, as paths are. `None`: the name
/// is missing, or an escape is malformed.
#[must_use]
pub(crate) fn value(query: &str, name: &str) -> Option<Vec<u8>> {
    let encoded = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut value = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            value.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits"));
        } else {
            value.push(byte);
        }
    }
    Some(value)
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub code: u16,
    /// The media type of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The answer to a request that is not served.
    #[must_use]
    pub fn refusal(code: u16) -> Response {
        Response {
            code,
            media_type: "text/plain; charset=utf-8",
            body: format!("{} {}\n", code, reason(code)).into_bytes(),
        }
    }

    /// A text.
    #[must_use]
    pub fn text(body: impl Into<Vec<u8>>) -> Response {
        Response { code: 200, media_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// The head and the body, or the head alone.
    #[must_use]
    pub fn encode(&self, is_head: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: \
            no-store\r\nConnection: close\r\n",
            self.code,
            reason(self.code),
            self.media_type,
            self.body.len()
        );
        if self.code == 405 {
            write!(head, "Allow: GET, HEAD\r\n").expect("a string takes it");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_query_is_any_bytes() {
        assert_eq!(value("a=1&path=x%2Fy%fF%00+", "path"), Some(b"x/y\xff\0+".to_vec()));
        assert_eq!(value("path=", "path"), Some(Vec::new()));
        for bad in ["", "pat=1", "paths=1", "path=%", "path=%f", "path=%zz", "path=%\u{e9}"] {
            assert_eq!(value(bad, "path"), None, "{bad}");
        }
    }

    #[test]
    fn a_request_is_its_path_and_query_whatever_else_was_sent() {
        let expected = |is_head, path, query| Head::Request(Request { is_head, path, query });
        for (bytes, head) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", expected(false, "/metrics", "")),
            ("HEAD / HTTP/1.0\r\n\r\n", expected(true, "/", "")),
            (
                "GET /file?path=%2Fa?b HTTP/1.1\r\n\r\nGET /more",
                expected(false, "/file", "path=%2Fa?b"),
            ),
            ("GET http://node:9107/metrics HTTP/1.1\r\n\r\n", expected(false, "/metrics", "")),
            ("GET http://node HTTP/1.1\r\n\r\n", expected(false, "/", "")),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", Head::Partial),
            ("", Head::Partial),
            ("POST /metrics HTTP/1.1\r\n\r\n", Head::Refused(405)),
            ("GET /metrics HTTP/2.0\r\n\r\n", Head::Refused(505)),
            ("\x16\x03\x01\x02\0\x01", Head::Refused(400)),
            ("GET /met rics HTTP/1.1\r\n\r\n", Head::Refused(505)),
            ("GET /\x01 HTTP/1.1\r\n\r\n", Head::Refused(400)),
        ] {
            assert_eq!(parse(bytes.as_bytes()), head, "{bytes:?}");
        }
    }

    #[test]
    fn a_head_that_is_too_large_is_refused() {
        let long = format!("GET /{} ", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(parse(long.as_bytes()), Head::Refused(431));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(parse(many.as_bytes()), Head::Refused(431));
    }

    #[test]
    fn an_answer_tells_its_length_and_that_it_is_the_last() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let whole = text(Response::text("abc\n").encode(false));
        assert!(
            whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.ends_with("\r\n\r\nabc\n"),
            "{whole}"
        );
        assert!(
            whole.contains("Content-Length: 4\r\n") && whole.contains("Connection: close\r\n"),
            "{whole}"
        );
        let head = text(Response::refusal(405).encode(true));
        assert!(head.contains("Allow: GET, HEAD\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
