//! Reads encoded records: how far their lines bring a file, and whether its end was told.
//!
//! In: whole records, as [`crate::record`] wrote them. Out: the offset behind the last line, and
//! the bytes just before it, for the mark.
//! Always holds: a line that is not our record gives nothing.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::checkpoint::EntryFlags;
use crate::config::Format;
use crate::lines::End;
use crate::reader::{MARK_BYTES, mark_of};
use crate::record::{Event, syslog};

/// Device, inode, generation: the `file` of a json record.
pub type GenerationKey = (u64, u64, u32);

/// How far records bring a file.
#[derive(Debug, Default)]
pub struct Progress {
    /// The offset just behind the last line.
    pub end: u64,
    /// The last bytes before `end`, as far as the records contain them.
    last: Vec<u8>,
    /// There was a line.
    has_lines: bool,
    /// The last thing that was told is the end of the log.
    is_ended: bool,
    /// Up to where the last loss was told.
    lost_at: Option<u64>,
}

impl Progress {
    /// Adds the next line, or the next event.
    pub fn add(&mut self, line: &Line<'_>) {
        match line.event {
            Some(Kind::Lost) => {
                self.lost_at = Some(line.offset);
                return;
            }
            Some(Kind::End) => self.is_ended = true,
            None => (self.has_lines, self.is_ended) = (true, false),
        }
        if self.end != line.offset {
            self.last.clear();
        }
        self.last.extend_from_slice(&line.bytes);
        self.last.extend_from_slice(match line.eol {
            End::Newline => b"\n",
            End::Return => b"\r",
            End::Open => b"",
        });
        self.end = line.end();
        let surplus = self.last.len().saturating_sub(MARK_BYTES);
        self.last.drain(..surplus);
    }

    /// Whether there was a line.
    pub(crate) fn has_lines(&self) -> bool {
        self.has_lines
    }

    /// Whether the end of the log was told, and nothing of it since.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// These flags of an entry, as they are here.
    pub(crate) fn flags(&self, mut flags: EntryFlags) -> EntryFlags {
        flags.set(EntryFlags::ENDED, self.is_ended);
        flags
    }

    /// Whether a record is among those that were added, or before them.
    #[cfg(feature = "nats")]
    pub(crate) fn has(&self, line: &Line<'_>) -> bool {
        match line.event {
            None => line.end() <= self.end,
            Some(Kind::End) => line.offset < self.end || (self.is_ended && line.offset == self.end),
            Some(Kind::Lost) => self.lost_at.is_some_and(|at| line.offset <= at),
        }
    }

    /// What was told before this.
    #[cfg(feature = "nats")]
    pub(crate) fn follows(&mut self, before: &Progress) {
        self.lost_at = self.lost_at.max(before.lost_at);
        self.is_ended |= before.is_ended && before.end == self.end && !self.has_lines;
    }

    /// The mark of the bytes before `end`, and its length.
    pub(crate) fn mark(&self) -> (u32, u8) {
        (mark_of(&self.last), u8::try_from(self.last.len()).expect("at most the length of a mark"))
    }
}

/// What a record tells instead of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    End,
    Lost,
}

/// The line in a record, or the event.
#[derive(Debug)]
pub struct Line<'a> {
    offset: u64,
    bytes: Cow<'a, [u8]>,
    eol: End,
    event: Option<Kind>,
}

impl Line<'_> {
    /// The offset just behind it.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64 + u64::from(self.eol != End::Open)
    }
}

/// The members of a json record that identify its line.
#[derive(Deserialize)]
struct RecordFields<'a> {
    #[serde(borrow)]
    file: Cow<'a, str>,
    offset: u64,
    line: Option<String>,
    bytes: Option<Bytes>,
    #[serde(default = "newline", deserialize_with = "end")]
    eol: End,
    event: Option<String>,
}

/// The value of `bytes`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    /// The bytes of a line, as base64.
    Text(String),
    /// How many were lost.
    #[expect(dead_code, reason = "nothing follows from it")]
    Count(u64),
}

fn newline() -> End {
    End::Newline
}

/// Reads the value of `eol`.
fn end<'de, D: Deserializer<'de>>(value: D) -> Result<End, D::Error> {
    struct Values;

    impl Visitor<'_> for Values {
        type Value = End;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false or a carriage return")
        }

        fn visit_bool<E: Error>(self, is_ended: bool) -> Result<End, E> {
            Ok(if is_ended { End::Newline } else { End::Open })
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<End, E> {
            match text {
                "\r" => Ok(End::Return),
                _ => Err(E::custom("is no end of a line")),
            }
        }
    }

    value.deserialize_any(Values)
}

/// Reads a json record, without its newline.
pub fn parse_json(record: &[u8]) -> Option<(GenerationKey, Line<'_>)> {
    let fields: RecordFields<'_> = serde_json::from_slice(record).ok()?;
    let (bytes, eol, event) = match (fields.event.as_deref(), fields.line, fields.bytes) {
        (None, Some(_), Some(Bytes::Text(bytes))) => {
            (STANDARD.decode(bytes).ok()?, fields.eol, None)
        }
        (None, Some(line), None) => (line.into_bytes(), fields.eol, None),
        (Some(Event::END), None, None) => (Vec::new(), End::Open, Some(Kind::End)),
        (Some(Event::LOST), None, _) => (Vec::new(), End::Open, Some(Kind::Lost)),
        _ => return None,
    };
    let line = Line { offset: fields.offset, bytes: bytes.into(), eol, event };
    Some((generation_of(&fields.file)?, line))
}

/// Parses `fd01-1a2b3c-0`. With a fourth part it is of a run without a state directory, and its
/// generation is not one of ours.
fn generation_of(file: &str) -> Option<GenerationKey> {
    let mut parts = file.split('-');
    let device = u64::from_str_radix(parts.next()?, 16).ok()?;
    let inode = u64::from_str_radix(parts.next()?, 16).ok()?;
    let generation = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((device, inode, generation))
}

/// How far whole records of one file bring it. The first line starts at `offset`. Except in json,
/// the records must be whole lines: only json marks pieces and segments.
pub(crate) fn progress(format: Format, records: &[u8], offset: u64) -> Option<Progress> {
    let mut progress = Progress { end: offset, ..Progress::default() };
    for record in records.strip_suffix(b"\n")?.split(|&byte| byte == b'\n') {
        let line = match format {
            Format::Json => parse_json(record)?.1,
            _ => Line {
                offset: progress.end,
                bytes: line_of(format, record)?.into(),
                eol: End::Newline,
                event: None,
            },
        };
        progress.add(&line);
    }
    Some(progress)
}

/// Reads a record, without its newline, of which something else tells file and offset, and whether
/// it is a piece of a line. A json record tells them itself.
#[cfg(feature = "nats")]
pub(crate) fn parse_with<'a>(
    format: Format,
    record: &'a [u8],
    file: &str,
    offset: u64,
    is_piece: bool,
) -> Option<(GenerationKey, Line<'a>)> {
    if format == Format::Json {
        return parse_json(record);
    }
    let bytes = line_of(format, record)?.into();
    let eol = if is_piece { End::Open } else { End::Newline };
    Some((generation_of(file)?, Line { offset, bytes, eol, event: None }))
}

/// The bytes of the line in a record that is not json.
fn line_of(format: Format, record: &[u8]) -> Option<&[u8]> {
    match format {
        Format::Json => None,
        Format::Raw => Some(record),
        // A path is written without TAB.
        Format::Text => memchr::memchr(b'\t', record).map(|tab| &record[tab + 1..]),
        Format::Syslog => syslog::line_of(record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_format_tell_how_far_they_bring_a_file() {
        let json = b"{\"time\":\"t\",\"path\":\"a\",\"file\":\"1-2-0\",\"offset\":10,\"line\":\"one\"}\n\
            \
            \
            \
            \
            {\"time\":\"t\",\"path\":\"a\",\"file\":\"1-2-0\",\"offset\":14,\"line\":\"t\\u0001\",\"eol\":false}\n";
        let after = progress(Format::Json, json, 10).unwrap();
        assert_eq!((after.end, after.mark()), (16, (mark_of(b"one\nt\x01"), 6)));
        let json = b"{\"time\":\"t\",\"path\":\"a\",\"file\":\"1-2-0\",\"offset\":10,\"line\":\"1%\",\"eol\":\"\\r\"}\n\
            {\"time\":\"t\",\"path\":\"a\",\"file\":\"1-2-0\",\"offset\":13,\"line\":\"2%\",\"eol\":\"\\r\"}\n";
        let after = progress(Format::Json, json, 10).unwrap();
        assert_eq!((after.end, after.mark()), (16, (mark_of(b"1%\r2%\r"), 6)));
        let skipped = String::from_utf8(json.to_vec()).unwrap().replace(":13,", ":23,");
        let after = progress(Format::Json, skipped.as_bytes(), 10).unwrap();
        assert_eq!((after.end, after.mark()), (26, (mark_of(b"2%\r"), 3)), "not what was between");
        let after = progress(Format::Raw, b"one\n\ntwo\n", 10).unwrap();
        assert_eq!((after.end, after.mark()), (19, (mark_of(b"one\n\ntwo\n"), 9)));
        let after = progress(Format::Text, b"d/a\\x09.log\tone\td\nb\t\n", 10).unwrap();
        assert_eq!((after.end, after.mark()), (17, (mark_of(b"one\td\n\n"), 7)));
    }

    #[test]
    fn a_record_of_a_run_that_kept_no_offsets_tells_nothing_of_ours() {
        let record = |file: &str| {
            format!(
                "{{\"time\":\"t\",\"path\":\"a\",\"file\":\"{file}\",\"offset\":0,\"line\":\"one\"}}"
            )
        };
        assert_eq!(parse_json(record("fd01-8-2").as_bytes()).unwrap().0, (0xfd01, 8, 2));
        for other in ["fd01-8-2-9f86d081884c7d65", "fd01-8-2-0", "fd01-8-2-", "fd01-8"] {
            assert!(parse_json(record(other).as_bytes()).is_none(), "{other}");
        }
    }

    fn event(offset: u64, rest: &str) -> String {
        format!("{{\"time\":\"t\",\"path\":\"a\",\"file\":\"1-2-0\",\"offset\":{offset},{rest}}}\n")
    }

    #[test]
    fn the_end_of_a_log_counts_until_a_line_follows_and_moves_no_offset_and_a_loss_changes_nothing()
    {
        let line = event(10, "\"line\":\"one\"");
        let end = event(14, "\"event\":\"end\",\"why\":\"closed\"");
        let lost = event(14, "\"event\":\"lost\",\"bytes\":7,\"why\":\"deleted\"");
        let mark = (mark_of(b"one\n"), 4);
        for (records, is_ended) in [
            (vec![&line], false),
            (vec![&line, &end], true),
            (vec![&line, &lost, &end], true),
            (vec![&line, &end, &lost], true),
        ] {
            let text: String = records.into_iter().map(String::as_str).collect();
            let after = progress(Format::Json, text.as_bytes(), 10).unwrap();
            assert_eq!((after.end, after.mark(), after.is_ended()), (14, mark, is_ended), "{text}");
        }
        let more = line.clone() + &end + &event(14, "\"line\":\"\"");
        let after = progress(Format::Json, more.as_bytes(), 10).unwrap();
        assert_eq!((after.end, after.is_ended(), after.has_lines()), (15, false, true));
        let alone = progress(Format::Json, end.as_bytes(), 14).unwrap();
        assert_eq!((alone.end, alone.is_ended(), alone.has_lines()), (14, true, false));
        let flags = alone.flags(EntryFlags::SKIP_NULS);
        assert_eq!(flags, EntryFlags::SKIP_NULS | EntryFlags::ENDED);
        assert_eq!(after.flags(flags), EntryFlags::SKIP_NULS);
    }

    #[cfg(feature = "nats")]
    #[test]
    fn an_event_is_there_only_if_it_was_added_or_lines_behind_it_were() {
        let line = event(10, "\"line\":\"one\"");
        let end = event(14, "\"event\":\"end\",\"why\":\"closed\"");
        let lost = event(14, "\"event\":\"lost\",\"why\":\"deleted\"");
        let has = |added: &[&str], asked: &str| {
            let mut progress = Progress::default();
            for text in added {
                progress.add(&parse_json(text.as_bytes()).unwrap().1);
            }
            progress.has(&parse_json(asked.as_bytes()).unwrap().1)
        };
        assert!(has(&[&line], &line) && !has(&[], &line));
        assert!(!has(&[&line], &end) && has(&[&line, &end], &end) && has(&[&end], &line));
        assert!(has(&[&line, &end, &event(14, "\"line\":\"two\"")], &end));
        assert!(!has(&[&line, &end], &lost) && has(&[&line, &lost], &lost));
    }

    #[test]
    fn what_is_no_record_tells_nothing() {
        assert!(progress(Format::Text, b"no tab\n", 0).is_none());
        assert!(progress(Format::Json, b"{}\n", 0).is_none());
        for eol in ["\"\"", "\"\\n\"", "\"\\r\\n\"", "1", "null"] {
            let record = format!(
                "{{\"time\":\"t\",\"path\":\"a\",\"file\":\"1-2-0\",\"offset\":0,\"line\":\"\",\"eol\":{eol}}}"
            );
            assert!(parse_json(record.as_bytes()).is_none(), "{eol}");
        }
        for rest in [
            "\"why\":\"closed\"",
            "\"event\":\"begin\"",
            "\"event\":\"end\",\"line\":\"\"",
            "\"event\":\"end\",\"bytes\":1",
            "\"event\":\"lost\",\"bytes\":-1",
            "\"line\":\"one\",\"bytes\":1",
            "\"bytes\":\"YQ==\"",
        ] {
            assert!(parse_json(event(0, rest).trim_end().as_bytes()).is_none(), "{rest}");
        }
        assert!(progress(Format::Raw, b"unfinished", 0).is_none());
    }
}
