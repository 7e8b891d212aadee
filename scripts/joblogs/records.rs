//! The records of a follower's output: whole ones out of a stream of bytes, and the job's line in
//! each.

use clap::ValueEnum;
use memchr::memmem;
use std::io::{self, Read};

const BUFFER_BYTES: usize = 1 << 20;

/// The output's format; the contract's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Raw,
    Text,
    Json,
}

/// A record taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) line: &'a [u8],
    pub(crate) path: Option<&'a [u8]>,
    /// RFC 3339 (json)
    pub(crate) time: Option<&'a [u8]>,
}

impl Format {
    /// Takes `bytes` (without newline) apart; `None` if they are no record of this format, or a
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

/// Reads in large pieces and gives out whole records only.
pub(crate) struct Records<R> {
    input: R,
    buffer: Vec<u8>,
    /// What of `buffer` is filled and not yet given out.
    given: usize,
    filled: usize,
}

/// What one read brought.
pub(crate) enum Chunk<'a> {
    /// Whole records, each with its newline; maybe none.
    Records(&'a [u8]),
    /// The end, and what stood there unfinished.
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
