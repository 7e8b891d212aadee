//! What is said about records that cannot go on, and about others who write to our subjects.
//!
//! In: the message in the way. Out: a sentence that names it and says what to do.
//! Always holds: nothing of a record's text is said.

use super::batch::{Message, Source};
use super::link::Failure;
use super::protocol::{BatchName, Last};
use super::stream::Stream;
use crate::config::SUBJECT_BYTES_MAX;

/// Why the server will never take a record.
pub(super) fn refused(message: &Message, source: &Source, limit: usize) -> String {
    let subject = source.subject.len();
    if subject > SUBJECT_BYTES_MAX {
        return format!("its subject has {subject} bytes, {SUBJECT_BYTES_MAX} fit");
    }
    format!(
        "it has {} bytes, and the server takes {limit} with headers: lower max_line_bytes, or \
        raise max_payload of the server and max_msg_size of the stream",
        message.payload.len()
    )
}

/// Such a record blocks the output.
pub(super) fn refused_record(path: &[u8], offset: u64, why: &str) -> Failure {
    let path = String::from_utf8_lossy(path);
    Failure::new(
        "the server does not take a record",
        format!("{path} at offset {offset}: {why}; or set on_refused = \"skip\""),
    )
}

/// Somebody else wrote below our subjects, and not before we began.
pub(super) fn foreign(ours: &BatchName, is_kept: bool, stream: &Stream, last: &Last) -> Failure {
    let who = match &last.batch {
        Some(batch) if batch.identity == ours.identity && is_kept => {
            "another manytail with a copy of this state directory".to_owned()
        }
        Some(batch) if batch.identity == ours.identity => {
            "another manytail of this host".to_owned()
        }
        Some(batch) => format!("another manytail, {},", batch.identity),
        None => "another program".to_owned(),
    };
    let (name, sequence, subject) = (&stream.name, last.sequence, &last.subject);
    Failure::new(
        "somebody else writes to our subjects",
        format!(
            "{who} wrote message {sequence} to {subject}: end it, then restart manytail to go on \
            behind that message, or remove it: nats stream rmm {name} {sequence}"
        ),
    )
}

/// What to say at a start if the last message is not ours.
pub(super) fn stranger(last: &Last, identity: &str) -> Option<String> {
    let who = match &last.batch {
        Some(batch) if batch.identity == identity => return None,
        Some(batch) => format!("another manytail ({})", batch.identity),
        None => "another program".to_owned(),
    };
    Some(format!(
        "{who} wrote to {}, which is one of our subjects, since the last commit; records go behind \
        its message {}",
        last.subject, last.sequence
    ))
}
