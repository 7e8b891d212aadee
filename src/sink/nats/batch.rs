//! Records that wait for the thread, and then go out as atomic batches.
//!
//! In: records, in order. Out: messages, each with its subject and what it stands for.
//! Always holds: a batch has at most [`MESSAGES_MAX`] records, and takes no more once it has
//! [`BATCH_BYTES`]. The weights of its messages sum up to the bytes that were accepted: what is
//! left out is counted with the message behind it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;

use super::protocol::{BATCH_BYTES, MESSAGES_MAX};
use crate::checkpoint::record_parser::{self, GenerationKey, Progress};
use crate::config::Format;
use crate::sink::{Origin, Record, Records};

/// Records that were accepted and not taken by the thread yet.
#[derive(Debug, Default)]
pub(super) struct Collected {
    bytes: Vec<u8>,
    records: Vec<Accepted>,
    sources: Vec<Source>,
}

/// One record among them.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    /// Where it ends, with its newline.
    end: usize,
    offset: u64,
    source: usize,
    is_piece: bool,
}

/// The file of records that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// As in the `file` of json records.
    pub(super) file: String,
    pub(super) path: Vec<u8>,
    pub(super) subject: String,
}

/// A record on its way.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) payload: Bytes,
    pub(super) offset: u64,
    pub(super) is_piece: bool,
    /// Which of the batch's sources.
    pub(super) source: usize,
    /// Accepted bytes that are done with it.
    pub(super) weight: u64,
}

/// Records that the thread took.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    pub(super) sources: Vec<Source>,
}

impl Collected {
    /// Takes records from the front. Returns their bytes.
    pub(super) fn accept(&mut self, records: &Records<'_>) -> usize {
        let before = self.bytes.len();
        for record in records.iter() {
            if self.is_full() {
                break;
            }
            self.push(&record);
        }
        self.bytes.len() - before
    }

    fn is_full(&self) -> bool {
        self.records.len() >= MESSAGES_MAX || self.bytes.len() >= BATCH_BYTES
    }

    fn push(&mut self, record: &Record<'_>) {
        if self.sources.last().is_none_or(|source| !source.is(&record.origin)) {
            self.sources.push(Source::of(&record.origin));
        }
        self.bytes.extend_from_slice(record.bytes);
        self.bytes.push(b'\n');
        self.records.push(Accepted {
            end: self.bytes.len(),
            offset: record.offset,
            source: self.sources.len() - 1,
            is_piece: record.is_piece,
        });
    }

    /// All of them, if there are any.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let Collected { bytes, records, sources } = std::mem::take(self);
        if records.is_empty() {
            return None;
        }
        let bytes = Bytes::from(bytes);
        let mut start = 0;
        let message = |record: Accepted| {
            let len = record.end - start;
            let payload = bytes.slice(start..record.end - 1);
            start = record.end;
            let Accepted { offset, source, is_piece, .. } = record;
            Message { payload, offset, is_piece, source, weight: len as u64 }
        };
        Some(Batch { messages: records.into_iter().map(message).collect(), sources })
    }
}

impl Source {
    fn is(&self, origin: &Origin<'_>) -> bool {
        self.file.as_bytes() == origin.file
            && self.subject.as_bytes() == origin.destination
            && self.path == origin.path
    }

    fn of(origin: &Origin<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Source {
            file: text(origin.file),
            path: origin.path.to_vec(),
            subject: text(origin.destination),
        }
    }
}

/// Records that a former process stored after we had asked: how far they bring each file.
#[derive(Debug, Default)]
pub(super) struct LateRecords {
    files: HashMap<GenerationKey, Progress>,
}

impl LateRecords {
    /// These records are in the stream, and those before them.
    pub(super) fn add(&mut self, file: GenerationKey, mut progress: Progress) {
        match self.files.entry(file) {
            Entry::Occupied(known) if known.get().end > progress.end => {}
            Entry::Occupied(mut known) => {
                progress.follows(known.get());
                known.insert(progress);
            }
            Entry::Vacant(place) => drop(place.insert(progress)),
        }
    }

    /// Whether the stream has this record. Records of a file come in order, so that the file is
    /// forgotten with the first one that is not there.
    fn has(&mut self, message: &Message, file: &str, format: Format) -> bool {
        let Some((file, line)) = record_parser::parse_with(
            format,
            &message.payload,
            file,
            message.offset,
            message.is_piece,
        ) else {
            return false;
        };
        let Some(progress) = self.files.get(&file) else { return false };
        if progress.has(&line) {
            return true;
        }
        self.files.remove(&file);
        false
    }
}

impl Batch {
    /// Leaves out what the stream has. Returns the bytes that are done with that, if no message
    /// remains to count them with.
    pub(super) fn leave_out(&mut self, late: &mut LateRecords, format: Format) -> u64 {
        let mut done = 0;
        if late.files.is_empty() {
            return done;
        }
        let Batch { messages, sources } = self;
        messages.retain_mut(|message| {
            if late.has(message, &sources[message.source].file, format) {
                done += message.weight;
                return false;
            }
            message.weight += std::mem::take(&mut done);
            true
        });
        if let Some(last) = messages.last_mut() {
            last.weight += std::mem::take(&mut done);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Of, Origins};

    fn origin<'a>(file: &'a str, subject: &'a str) -> Origin<'a> {
        let destination = subject.as_bytes();
        Origin { file: file.as_bytes(), path: b"/t/a", destination, key: b"" }
    }

    /// Lines of files, each at an offset.
    fn accept(waiting: &mut Collected, lines: &[(&str, u64, &str)]) -> usize {
        let (mut bytes, mut of, mut origins) = (Vec::new(), Vec::<Of>::new(), Origins::default());
        for (file, offset, line) in lines {
            origins.begin(&origin(file, "jobs.n7.a"));
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
            of.push(origins.of(line.len() + 1, *offset, false));
        }
        waiting.accept(&Records::with_origins(&bytes, &of, &origins))
    }

    fn weights(batch: &Batch) -> Vec<u64> {
        batch.messages.iter().map(|message| message.weight).collect()
    }

    #[test]
    fn a_message_is_a_record_without_its_newline_and_files_are_said_once() {
        let mut waiting = Collected::default();
        let lines = [("1-2-0", 0, "one"), ("1-2-0", 4, ""), ("1-3-0", 9, "two"), ("1-2-0", 5, "x")];
        assert_eq!(accept(&mut waiting, &lines), 11);
        let batch = waiting.take().expect("a batch");
        let payloads: Vec<&[u8]> = batch.messages.iter().map(|message| &*message.payload).collect();
        assert_eq!(payloads, [&b"one"[..], b"", b"two", b"x"]);
        let sources: Vec<usize> = batch.messages.iter().map(|message| message.source).collect();
        assert_eq!((sources, batch.sources.len()), (vec![0, 0, 1, 2], 3));
        assert_eq!(weights(&batch), [4, 1, 4, 2]);
        assert!(waiting.take().is_none(), "all of it was taken");
    }

    #[test]
    fn a_batch_is_full_at_its_limits_and_takes_one_record_of_any_size() {
        let mut waiting = Collected::default();
        let lines = vec![("1-2-0", 0, "x"); MESSAGES_MAX + 5];
        assert_eq!(accept(&mut waiting, &lines), 2 * MESSAGES_MAX);
        assert_eq!(accept(&mut waiting, &lines), 0);
        waiting.take().expect("a batch");
        let large = "x".repeat(3 * BATCH_BYTES);
        let taken = accept(&mut waiting, &[("1-2-0", 0, &large), ("1-2-0", 1, "y")]);
        assert_eq!(taken, large.len() + 1);
        assert_eq!(waiting.take().expect("a batch").messages.len(), 1);
    }

    fn upto(end: u64) -> Progress {
        let mut progress = Progress::default();
        progress.end = end;
        progress
    }

    #[test]
    fn what_the_stream_has_is_left_out_and_counted_with_what_follows() {
        let mut waiting = Collected::default();
        let lines = [
            ("1-2-0", 0, "one"),
            ("1-3-0", 0, "a"),
            ("1-2-0", 4, "two"),
            ("1-2-0", 8, "three"),
            ("1-3-0", 2, "b"),
        ];
        accept(&mut waiting, &lines);
        let mut late = LateRecords::default();
        late.add((1, 2, 0), upto(8));
        late.add((1, 3, 0), upto(2));
        let mut batch = waiting.take().expect("a batch");
        assert_eq!(batch.leave_out(&mut late, Format::Raw), 0);
        let left: Vec<&[u8]> = batch.messages.iter().map(|message| &*message.payload).collect();
        assert_eq!(left, [&b"three"[..], b"b"]);
        assert_eq!(weights(&batch), [4 + 2 + 4 + 6, 2]);
        assert!(late.files.is_empty(), "both files are beyond what the stream has");
        // Without a message that remains, the bytes are done at once; and a part of a record that
        // is there does not make it there.
        late.add((1, 2, 0), upto(17));
        accept(&mut waiting, &[("1-2-0", 14, "xy")]);
        assert_eq!(waiting.take().expect("a batch").leave_out(&mut late, Format::Raw), 3);
        accept(&mut waiting, &[("1-2-0", 17, "xyz"), ("1-2-0", 21, "z")]);
        late.add((1, 2, 0), upto(20));
        assert_eq!(waiting.take().expect("a batch").leave_out(&mut late, Format::Raw), 0);
    }
}
