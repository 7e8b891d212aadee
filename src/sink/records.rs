//! Records on their way to a sink, and what each of them is of.
//!
//! In: encoded records, and for sinks that want it the file and offset of each. Out: [`Records`],
//! from any record of a batch on.
//! Always holds: a record ends with a newline and contains no other one. Where a sink wants
//! origins, each record of a batch has one.

use std::ops::Range;

/// What a sink looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// The bytes alone.
    Bytes,
    /// Also what each record is of. Such a sink takes whole records only.
    Origins,
}

/// Records on their way out, in order.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    /// Whole records; a front part of the first may have been accepted before.
    pub bytes: &'a [u8],
    /// One for each record. Empty if the sink wants bytes alone.
    of: &'a [Of],
    origins: &'a Origins,
}

/// What one record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Of {
    /// Bytes of the record, with its newline.
    pub(crate) len: u32,
    /// Which of the batch's origins.
    origin: u32,
    /// The offset of its line in the file.
    offset: u64,
    /// The line has no newline there: only a part of it was read, or it is not finished.
    is_piece: bool,
}

impl Of {
    /// The offset of its line in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its bytes, without the newline.
    pub bytes: &'a [u8],
    /// The offset of its line in the file, in bytes.
    pub offset: u64,
    /// The line has no newline there.
    pub is_piece: bool,
    /// The file.
    pub origin: Origin<'a>,
}

/// The file that records are of, at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Device, inode and generation, as in the `file` of json records.
    pub file: &'a [u8],
    /// PATH as given, joined with the path below it.
    pub path: &'a [u8],
    /// The topic or subject.
    pub destination: &'a [u8],
    /// What decides which records keep their order: the key of Kafka.
    pub key: &'a [u8],
}

/// The bounds of an origin's texts in the arena.
#[derive(Debug, Clone)]
struct Bounds {
    file: Range<usize>,
    path: Range<usize>,
    destination: Range<usize>,
    key: Range<usize>,
}

/// The origins of a batch, each text said once per file and batch.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    texts: Vec<u8>,
    list: Vec<Bounds>,
}

/// No origins, for sinks that want bytes alone.
static NONE: Origins = Origins { texts: Vec::new(), list: Vec::new() };

impl Origins {
    /// Drops the last origin if no record came of it. `last`: what the last record is of.
    pub(crate) fn drop_unused(&mut self, last: Option<&Of>) {
        let used = last.map_or(0, |of| of.origin as usize + 1);
        if used < self.list.len()
            && let Some(unused) = self.list.pop()
        {
            self.texts.truncate(unused.file.start);
        }
    }

    /// The records that follow are of this origin.
    pub(crate) fn begin(&mut self, origin: &Origin<'_>) {
        let last = self.list.len().checked_sub(1).map(|last| self.get_at(last));
        if last.as_ref() == Some(origin) {
            return;
        }
        let mut add = |text: &[u8]| {
            let start = self.texts.len();
            self.texts.extend_from_slice(text);
            start..self.texts.len()
        };
        let bounds = Bounds {
            file: add(origin.file),
            path: add(origin.path),
            destination: add(origin.destination),
            key: add(origin.key),
        };
        self.list.push(bounds);
    }

    /// The record that comes next, of the last origin.
    pub(crate) fn of(&self, len: usize, offset: u64, is_piece: bool) -> Of {
        let origin = self.list.len().checked_sub(1).expect("an origin comes before its records");
        Of {
            len: u32::try_from(len).expect("a batch is smaller than 4 GiB"),
            origin: u32::try_from(origin).expect("a batch has fewer than 2^32 files"),
            offset,
            is_piece,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.list.clear();
    }

    fn get(&self, number: u32) -> Origin<'_> {
        self.get_at(number as usize)
    }

    fn get_at(&self, place: usize) -> Origin<'_> {
        let bounds = &self.list[place];
        let text = |bounds: &Range<usize>| &self.texts[bounds.clone()];
        Origin {
            file: text(&bounds.file),
            path: text(&bounds.path),
            destination: text(&bounds.destination),
            key: text(&bounds.key),
        }
    }
}

impl<'a> Records<'a> {
    /// Records for a sink that wants bytes alone.
    #[must_use]
    pub fn plain(bytes: &'a [u8]) -> Self {
        Records { bytes, of: &[], origins: &NONE }
    }

    /// Records with what each of them is of.
    pub(crate) fn with_origins(bytes: &'a [u8], of: &'a [Of], origins: &'a Origins) -> Self {
        Records { bytes, of, origins }
    }

    /// The records one by one; none for a sink that wants bytes alone.
    pub fn iter(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let Records { mut bytes, of, origins } = *self;
        of.iter().map(move |of| {
            let (record, rest) = bytes.split_at(of.len as usize);
            bytes = rest;
            Record {
                bytes: record.strip_suffix(b"\n").expect("a record ends with a newline"),
                offset: of.offset,
                is_piece: of.is_piece,
                origin: origins.get(of.origin),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin<'a>(file: &'a str, key: &'a str) -> Origin<'a> {
        Origin { file: file.as_bytes(), path: b"/t/a", destination: b"jobs", key: key.as_bytes() }
    }

    #[test]
    fn files_of_which_no_record_came_take_no_room() {
        let mut origins = Origins::default();
        let mut of = Vec::new();
        for number in 0..1000 {
            let file = format!("1-{number}-0");
            origins.drop_unused(of.last());
            origins.begin(&origin(&file, "a"));
            if number == 500 {
                of.push(origins.of(4, 0, false));
            }
        }
        assert_eq!(origins.list.len(), 2);
        let records = Records::with_origins(b"one\n", &of, &origins);
        assert_eq!(records.iter().next().expect("one").origin.file, b"1-500-0");
        assert_eq!(origins.get_at(1).file, b"1-999-0");
    }

    #[test]
    fn each_record_comes_with_its_own_file_and_offset() {
        let mut origins = Origins::default();
        origins.begin(&origin("1-2-0", "a"));
        let mut of = vec![origins.of(4, 0, false), origins.of(1, 4, false)];
        origins.begin(&origin("1-3-0", "b"));
        of.push(origins.of(3, 100, true));
        let records = Records::with_origins(b"one\n\nxy\n", &of, &origins);
        let told: Vec<_> = records
            .iter()
            .map(|record| (record.bytes, record.offset, record.origin.file, record.origin.key))
            .collect();
        let expected = [("one", 0, "1-2-0", "a"), ("", 4, "1-2-0", "a"), ("xy", 100, "1-3-0", "b")]
            .map(|(line, offset, file, key)| {
                (line.as_bytes(), offset, file.as_bytes(), key.as_bytes())
            });
        assert_eq!(told, expected);
        let pieces: Vec<_> = records.iter().map(|record| record.is_piece).collect();
        assert_eq!(pieces, [false, false, true]);
        let rest = Records::with_origins(b"xy\n", &of[2..], &origins);
        assert_eq!(rest.iter().next().map(|record| record.offset), Some(100));
        assert_eq!(Records::plain(b"one\n").iter().count(), 0);
    }
}
