//! What is decided about batches: their names and headers, and what a refusal or a lost answer
//! means.
//!
//! In: what the stream has as its last message below our subjects. Out: what to do next.
//! Always holds: a batch is sent again only with an expectation that the stream does not meet if
//! it has the batch already. Nothing here knows the client library: a simulated stream can be
//! asked the same questions.
//!
//! # Why each record is stored once
//!
//! A batch is stored as a whole or not at all. Its first message says which message must be the
//! last one below our filter of subjects, so that of all attempts to store something there, at
//! most one succeeds: the bytes of a lost attempt or of a former process that arrive late are
//! refused. Each message has the name of its batch, so the last message tells whether the batch in
//! doubt is there.

use std::fmt;

/// Most messages of a batch: the limit of the server.
pub const MESSAGES_MAX: usize = 1000;

/// A batch that holds more than this takes no further record.
pub const BATCH_BYTES: usize = 1024 * 1024;

/// The header with the name of a message's batch.
pub const BATCH_HEADER: &str = "Manytail-Batch";
/// The headers of a record that does not say itself which line it is.
pub const FILE_HEADER: &str = "Manytail-File";
/// The offset of the line.
pub const OFFSET_HEADER: &str = "Manytail-Offset";
/// The line has no newline in the file.
pub const PIECE_HEADER: &str = "Manytail-Piece";

/// Who sent a batch, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchName {
    /// Of the state directory.
    pub identity: String,
    /// Of the process.
    pub run: u64,
    /// Counts the batches of the process, from 1 on.
    pub number: u64,
}

impl fmt::Display for BatchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}/{}", self.identity, self.run, self.number)
    }
}

impl BatchName {
    /// Reads the value of [`BATCH_HEADER`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '/');
        let number = parts.next()?.parse().ok()?;
        let run = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some(BatchName { identity: parts.next()?.to_owned(), run, number })
    }

    /// `Nats-Batch-Id` of an attempt: at most 64 bytes.
    #[must_use]
    pub fn attempt(&self, attempt: u32) -> String {
        format!("{:016x}-{}-{attempt}", self.run, self.number)
    }
}

/// An identity as it may stand in a header.
#[must_use]
pub fn printable_identity(identity: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    identity.iter().map(|&byte| if is_plain(byte) { char::from(byte) } else { '_' }).collect()
}

/// The last message below our subjects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Last {
    /// Its sequence in the stream; 0: there is none.
    pub sequence: u64,
    /// Its batch. `None`: no manytail wrote it.
    pub batch: Option<BatchName>,
    /// Its subject.
    pub subject: String,
}

/// What this process knows of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The sequence of the last message below our subjects.
    pub end: u64,
    /// This process stored something, so no batch of an earlier one can be stored any more.
    pub has_stored: bool,
    /// There is a state directory: what an earlier process stored is not sent again.
    pub is_kept: bool,
}

/// What to do with a batch that was refused, or of which nothing was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is stored, and its last message has this sequence.
    Stored(u64),
    /// It is not stored: send it again, expecting this sequence.
    Send(u64),
    /// A batch of an earlier process with our state directory arrived after we asked for them, or
    /// one of ours that we gave up: a leader without a quorum stores what it took when it has one
    /// again. Its messages are those behind `after`, up to `end`; leave its records out, then send
    /// again.
    Late {
        /// What we knew of.
        after: u64,
        /// The sequence to expect next.
        end: u64,
    },
    /// Somebody else writes below our subjects. We do not fight.
    Foreign,
}

/// Decides about the batch `ours`.
#[must_use]
pub fn next(ours: &BatchName, expectation: &Expectation, last: &Last) -> Next {
    let Expectation { end, has_stored, is_kept } = *expectation;
    if last.batch.as_ref() == Some(ours) && last.sequence > 0 {
        return Next::Stored(last.sequence);
    }
    // Messages may have been removed: limits, a purge.
    if last.sequence <= end {
        return Next::Send(last.sequence);
    }
    let batch = last.batch.as_ref().filter(|batch| batch.identity == ours.identity);
    let is_former = batch.is_some_and(|batch| batch.run != ours.run);
    let is_given_up =
        batch.is_some_and(|batch| batch.run == ours.run && batch.number < ours.number);
    match (has_stored, is_kept) {
        _ if is_given_up => Next::Late { after: end, end: last.sequence },
        // Nothing is known about earlier runs, so their records may come twice.
        (false, false) => Next::Send(last.sequence),
        (false, true) if is_former => Next::Late { after: end, end: last.sequence },
        _ => Next::Foreign,
    }
}

/// What the headers of a message say.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    /// The name of the batch.
    pub batch: &'a str,
    /// [`BatchName::attempt`].
    pub attempt: &'a str,
    /// Of the message within the batch, from 1 on.
    pub position: usize,
    /// It is the last one of the batch.
    pub is_last: bool,
    /// Of the first message: the sequence of the last message below this filter.
    pub expected: Option<(u64, &'a str)>,
    /// Of a record that does not say it itself: file, offset, and whether it is a piece of a line.
    pub line: Option<(&'a str, u64, bool)>,
}

impl Headers<'_> {
    /// Calls `put` for each name and value.
    pub fn each(&self, mut put: impl FnMut(&'static str, String)) {
        put("Nats-Batch-Id", self.attempt.to_owned());
        put("Nats-Batch-Sequence", self.position.to_string());
        if let Some((end, filter)) = self.expected {
            put("Nats-Expected-Last-Subject-Sequence", end.to_string());
            put("Nats-Expected-Last-Subject-Sequence-Subject", filter.to_owned());
        }
        if self.is_last {
            put("Nats-Batch-Commit", "1".to_owned());
        }
        put(BATCH_HEADER, self.batch.to_owned());
        if let Some((file, offset, is_piece)) = self.line {
            put(FILE_HEADER, file.to_owned());
            put(OFFSET_HEADER, offset.to_string());
            if is_piece {
                put(PIECE_HEADER, "1".to_owned());
            }
        }
    }

    /// Most bytes that the headers of a message take, wherever it stands in a batch. A server
    /// counts them as part of the payload.
    #[must_use]
    pub fn bytes_max(identity: &str, filter: &str, file: Option<&str>) -> usize {
        let batch = BatchName { identity: identity.to_owned(), run: u64::MAX, number: u64::MAX };
        let headers = Headers {
            batch: &batch.to_string(),
            attempt: &batch.attempt(u32::MAX),
            position: MESSAGES_MAX,
            is_last: true,
            expected: Some((u64::MAX, filter)),
            line: file.map(|file| (file, u64::MAX, true)),
        };
        let mut bytes = "NATS/1.0\r\n\r\n".len();
        headers.each(|name, value| bytes += name.len() + value.len() + ": \r\n".len());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(run: u64, number: u64) -> BatchName {
        BatchName { identity: "manytail-n/7-1a2b".to_owned(), run, number }
    }

    fn last(sequence: u64, batch: Option<BatchName>) -> Last {
        Last { sequence, batch, subject: "jobs.n7.a".to_owned() }
    }

    #[test]
    fn a_name_is_read_as_it_was_written_and_an_attempt_is_short() {
        let longest = name(u64::MAX, u64::MAX);
        assert_eq!(BatchName::parse(&longest.to_string()), Some(longest.clone()));
        assert!(longest.attempt(u32::MAX).len() <= 64);
        assert_ne!(name(1, 2).attempt(1), name(1, 2).attempt(2));
        for other in ["", "a/b/c", "a/1", "x", "a/0/-1"] {
            assert_eq!(BatchName::parse(other), None, "{other}");
        }
        assert_eq!(printable_identity(b"manytail-a/b c\r\n-1f"), "manytail-a_b_c__-1f");
    }

    #[test]
    fn the_last_message_decides_about_a_batch_in_doubt() {
        let ours = name(7, 3);
        let known = Expectation { end: 40, has_stored: true, is_kept: true };
        let decided = |last: &Last| next(&ours, &known, last);
        assert_eq!(decided(&last(50, Some(name(7, 3)))), Next::Stored(50));
        // Nothing was stored since, or messages were removed.
        assert_eq!(decided(&last(40, Some(name(7, 2)))), Next::Send(40));
        assert_eq!(decided(&last(12, Some(name(7, 1)))), Next::Send(12));
        assert_eq!(decided(&last(0, None)), Next::Send(0));
        // A message without our header, of another manytail, of a twin.
        assert_eq!(decided(&last(41, None)), Next::Foreign);
        let other = BatchName { identity: "b".to_owned(), ..ours.clone() };
        assert_eq!(decided(&last(41, Some(other))), Next::Foreign);
        assert_eq!(decided(&last(41, Some(name(8, 9)))), Next::Foreign);
        assert_eq!(decided(&last(41, Some(name(7, 4)))), Next::Foreign);
    }

    #[test]
    fn a_batch_that_was_given_up_and_stored_late_is_not_of_somebody_else() {
        for (has_stored, is_kept) in [(true, true), (true, false), (false, true), (false, false)] {
            let known = Expectation { end: 40, has_stored, is_kept };
            let decided = next(&name(7, 3), &known, &last(41, Some(name(7, 2))));
            assert_eq!(decided, Next::Late { after: 40, end: 41 });
        }
    }

    #[test]
    fn what_a_former_process_stored_late_is_left_out_before_our_first_batch() {
        let first = Expectation { end: 40, has_stored: false, is_kept: true };
        let former = last(45, Some(name(6, 12)));
        assert_eq!(next(&name(7, 1), &first, &former), Next::Late { after: 40, end: 45 });
        assert_eq!(next(&name(7, 1), &first, &last(45, None)), Next::Foreign);
        let unkept = Expectation { is_kept: false, ..first };
        assert_eq!(next(&name(7, 1), &unkept, &last(45, None)), Next::Send(45));
    }

    #[test]
    fn the_first_message_expects_and_the_last_one_commits() {
        let told = |position, is_last, expected, line| {
            let headers =
                Headers { batch: "i/1/2", attempt: "1-2-1", position, is_last, expected, line };
            let mut told = Vec::new();
            headers.each(|name, value| told.push(format!("{name}: {value}")));
            told.join(", ")
        };
        assert_eq!(
            told(1, false, Some((9, "jobs.n7.>")), None),
            "Nats-Batch-Id: 1-2-1, Nats-Batch-Sequence: 1, Nats-Expected-Last-Subject-Sequence: 9, \
            Nats-Expected-Last-Subject-Sequence-Subject: jobs.n7.>, Manytail-Batch: i/1/2"
        );
        assert_eq!(
            told(2, true, None, Some(("fd01-8-2", 77, true))),
            "Nats-Batch-Id: 1-2-1, Nats-Batch-Sequence: 2, Nats-Batch-Commit: 1, Manytail-Batch: \
            i/1/2, Manytail-File: fd01-8-2, Manytail-Offset: 77, Manytail-Piece: 1"
        );
        assert!(Headers::bytes_max("i", "jobs.n7.>", None) < 400);
        let with_file = Headers::bytes_max("i", "jobs.n7.>", Some("fd01-8-2"));
        assert!(with_file > Headers::bytes_max("i", "jobs.n7.>", None));
    }
}
