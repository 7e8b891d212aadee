//! The records of a follower's output: splits a stream of bytes into whole records, and finds the
//! job's line in each.

use clap::ValueEnum;
use memchr::memmem;
use std::io::{self, Read};

const BUFFER_BYTES: usize = 1 << 20;

/// The output's format, as manytail names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Raw,
    Text,
    Json,
}

/// A parsed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) line: &'a [u8],
    pub(crate) path: Option<&'a [u8]>,
    /// RFC 3339 (json)
    pub(crate) time: Option<&'a [u8]>,
}

impl Format {
    /// Parses `bytes` (without newline); `None` if they are not a record of this format, or are a
    /// piece of a line.
    pub(crate) fn record(self, bytes: &[u8]) -> Option<Record<'_>> {
        match self {
            Format::Raw => Some(Record { line: bytes, path: None, time: None }),
            Format::Text => {
                let tab = memchr::memchr(b'\t', bytes)?;
                Some(Record { line: &bytes[tab + 1..], path: Some(&bytes[..tab]), time: None })
            }
            Format::Json => {
                let rest = bytes.strip_prefix(b"{\"time\":\"")?;
                let (time, rest) = rest.split_at(memchr::memchr(b'"', rest)?);
                let rest = rest.strip_prefix(b"\",\"path\":\"")?;
                let (path, rest) = rest.split_at(memchr::memchr(b'"', rest)?);
                let start = memmem::find(rest, b",\"line\":\"")? + ",\"line\":\"".len();
                let line = rest[start..].strip_suffix(b"\"}")?;
                Some(Record { line, path: Some(path), time: Some(time) })
            }
        }
    }
}

/// Reads in large pieces and returns only whole records.
pub(crate) struct Records<R> {
    input: R,
    buffer: Vec<u8>,
    /// The part of `buffer` that is filled and not returned yet.
    given: usize,
    filled: usize,
}

/// The result of one read.
pub(crate) enum Chunk<'a> {
    /// Whole records, each with its newline; perhaps none.
    Records(&'a [u8]),
    /// The end, and an unfinished record before it.
    End(&'a [u8]),
}

impl<R: Read> Records<R> {
    pub(crate) fn new(input: R) -> Self {
        Records { input, buffer: vec![0; BUFFER_BYTES], given: 0, filled: 0 }
    }

    /// One read.
    pub(crate) fn next(&mut self) -> io::Result<Chunk<'_>> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        let count = loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        if count == 0 {
            return Ok(Chunk::End(&self.buffer[..self.filled]));
        }
        let fresh = &self.buffer[self.filled..self.filled + count];
        self.given = memchr::memrchr(b'\n', fresh).map_or(0, |newline| self.filled + newline + 1);
        self.filled += count;
        Ok(Chunk::Records(&self.buffer[..self.given]))
    }
}

/// The records of `bytes`, without their newlines.
pub(crate) fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', bytes).map(move |newline| {
        let record = &bytes[from..newline];
        from = newline + 1;
        record
    })
}
