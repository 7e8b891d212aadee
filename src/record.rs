//! Encodes lines as records (raw, text, json or syslog) at the end of a buffer.
//!
//! In: a [`Source`] once per read, then its [`Line`]s. Out: one record per line, which ends with
//! `\n` and contains no other newline.
//! Always holds: a json record is one valid UTF-8 object for any bytes of line and path, and those
//! bytes can be recovered from it. Steady work allocates only to grow the caller's buffer.

mod digits;
mod json;
mod plain;
mod printable;
pub(crate) mod syslog;
mod time;

use std::time::SystemTime;

use self::digits::{digit_pair, push_decimal, push_hex, write_decimal};
use self::json::{json_plain_len_exact, push_base64};
use self::syslog::Syslog;
use self::time::FormattedTime;
use crate::config::{Format, UID};
use crate::lines::{End, Line, Lines};

pub(crate) use self::json::{push_json_path, push_json_text};
pub(crate) use self::printable::push_text_path;
pub(crate) use self::printable::{printable, shown};
pub(crate) use self::time::{SECOND_MAX, push_second};

/// What the records of one read have in common.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// PATH as given, joined with the path below it, as bytes.
    pub path: &'a [u8],
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// How many times the content of this inode restarted.
    pub generation: u32,
    /// The input's labels, encoded by [`encode_labels`] for this format.
    pub labels: &'a [u8],
    /// json: the member `job` with the comma before it; may be empty.
    pub job: &'a [u8],
    /// When the bytes were read. A time outside the years 1970 to 9999 is written as the nearest
    /// second within them.
    pub read_at: SystemTime,
}

/// What a json record tells of a file instead of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The log is over, as far as can be told. All its lines that were delivered come before this.
    End(EndCause),
    /// Bytes behind the offset were not delivered, and never will be.
    Lost {
        /// How many, as far as that is known; 0: not known.
        bytes: u64,
        /// Why.
        cause: LossCause,
    },
}

/// Why a log is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// A writer closed it, and nothing came since.
    Closed,
    /// Nothing came for long.
    Idle,
    /// It was deleted.
    Deleted,
    /// It was moved to where it is not followed, or is not followed any more.
    Left,
    /// Its content began anew.
    Replaced,
}

/// Why bytes were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossCause {
    /// The file was deleted.
    Deleted,
    /// The file was moved to where it is not followed.
    Moved,
    /// The file was truncated, or overwritten.
    Truncated,
}

impl Event {
    pub(crate) const END: &'static str = "end";
    pub(crate) const LOST: &'static str = "lost";

    fn name(&self) -> &'static str {
        match self {
            Event::End(_) => Event::END,
            Event::Lost { .. } => Event::LOST,
        }
    }

    fn cause(&self) -> &'static str {
        match self {
            Event::End(EndCause::Closed) => "closed",
            Event::End(EndCause::Idle) => "idle",
            Event::End(EndCause::Left) => "left",
            Event::End(EndCause::Replaced) => "replaced",
            Event::End(EndCause::Deleted) | Event::Lost { cause: LossCause::Deleted, .. } => {
                "deleted"
            }
            Event::Lost { cause: LossCause::Moved, .. } => "moved",
            Event::Lost { cause: LossCause::Truncated, .. } => "truncated",
        }
    }
}

/// Encodes lines as records of one format.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    /// json: the host with its key and a comma behind it; may be empty.
    host: Vec<u8>,
    /// The fourth part of `file`, with the dash before it; may be empty.
    run: Vec<u8>,
    /// The bytes before each line of the current source. In json [`RECORD_END`], which ends the
    /// previous record, and a whole record up to the bytes of the line.
    head: Vec<u8>,
    /// json: the position of the offset in `head`.
    offset_at: usize,
    /// json: the offset in `head` with its last four digits 0; each copy sets those digits. 0:
    /// `head` is valid for one offset only.
    myriad: u64,
    syslog: Syslog,
    time: FormattedTime,
}

/// The end of a json record that is a whole line.
const RECORD_END: &[u8] = b"\"}\n";

/// The bytes between the offset and the line.
const LINE_KEY: &[u8] = b",\"line\":\"";

impl Encoder {
    /// An encoder without a source: [`Encoder::begin`] comes first.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Encoder {
            format,
            host: Vec::new(),
            run: Vec::new(),
            head: Vec::new(),
            offset_at: 0,
            myriad: 0,
            syslog: Syslog::default(),
            time: FormattedTime::new(),
        }
    }

    /// Sets the host's name, or none, for sources that begin from now on.
    pub fn set_host(&mut self, host: Option<&str>) {
        self.syslog.set_host(host);
        self.host.clear();
        if let Some(host) = host {
            self.host.extend_from_slice(b"\"host\":\"");
            push_json_text(host.as_bytes(), &mut self.host);
            self.host.extend_from_slice(b"\",");
        }
    }

    /// From now on `file` has a fourth part, the number of this run. For a run that does not know
    /// which generations were used before it.
    pub fn mark_run(&mut self, run: u64) {
        self.run.clear();
        self.run.push(b'-');
        push_hex(run, &mut self.run);
    }

    /// What [`Encoder::mark_run`] appends to `file`.
    pub(crate) fn run(&self) -> &[u8] {
        &self.run
    }

    /// Sets the source of the lines that follow, and encodes what their records share.
    pub fn begin(&mut self, source: &Source<'_>) {
        self.head.clear();
        match self.format {
            Format::Raw => {}
            Format::Text => {
                push_text_path(source.path, &mut self.head);
                self.head.push(b'\t');
            }
            Format::Json => self.begin_json(source),
            Format::Syslog => self.syslog.begin(source, &self.run, &mut self.time),
        }
    }

    /// Appends the record of `line` to `out`.
    #[inline]
    pub fn encode(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Raw | Format::Text => {
                out.reserve(self.head.len() + line.bytes.len() + 1);
                out.extend_from_slice(&self.head);
                out.extend_from_slice(line.bytes);
                out.push(b'\n');
            }
            Format::Json => self.encode_json(line, out),
            Format::Syslog => self.syslog.encode(line, out),
        }
    }

    /// Appends the json record of an event of the file that began last, which was delivered up to
    /// this offset. Other formats have no place for events.
    pub(crate) fn encode_event(&self, offset: u64, event: &Event, out: &mut Vec<u8>) {
        debug_assert!(self.offset_at > 0, "a record needs a source: begin comes before encode");
        out.extend_from_slice(&self.head[RECORD_END.len()..self.offset_at]);
        push_decimal(offset, out);
        out.extend_from_slice(b",\"event\":\"");
        out.extend_from_slice(event.name().as_bytes());
        out.push(b'"');
        if let Event::Lost { bytes: bytes @ 1.., .. } = *event {
            out.extend_from_slice(b",\"bytes\":");
            push_decimal(bytes, out);
        }
        out.extend_from_slice(b",\"why\":\"");
        out.extend_from_slice(event.cause().as_bytes());
        out.extend_from_slice(RECORD_END);
    }

    /// Appends the json records of the next lines that are not left out, up to the first line that
    /// is unfinished or needs an escape, or until `out` has `len_max` bytes. Returns the number of
    /// records, and of lines that were left out.
    ///
    /// The end of a record and the start of the next are copied together, and each line is searched
    /// once.
    // Out of line: most reads contain one line and never come here.
    #[inline(never)]
    pub(crate) fn encode_plain_lines(
        &mut self,
        lines: &mut Lines<'_>,
        len_max: usize,
        out: &mut Vec<u8>,
        leaves_out: impl Fn(&[u8]) -> bool,
    ) -> (usize, usize) {
        let (mut count, mut left_out) = (0, 0);
        while out.len() < len_max
            && let Some(line) = lines.next_plain(json_plain_len_exact)
        {
            if leaves_out(line.bytes) {
                left_out += 1;
                continue;
            }
            out.reserve(self.head.len() + line.bytes.len() + RECORD_END.len());
            self.push_head(line.offset, if count == 0 { RECORD_END.len() } else { 0 }, out);
            out.extend_from_slice(line.bytes);
            count += 1;
        }
        if count > 0 {
            out.extend_from_slice(RECORD_END);
        }
        (count, left_out)
    }

    fn begin_json(&mut self, source: &Source<'_>) {
        let head = &mut self.head;
        head.extend_from_slice(RECORD_END);
        head.extend_from_slice(b"{\"time\":\"");
        head.extend_from_slice(self.time.text_of(source.read_at));
        head.extend_from_slice(b"\",");
        head.extend_from_slice(&self.host);
        push_json_path(source.path, head);
        head.extend_from_slice(b",\"file\":\"");
        push_file(source.device, source.inode, source.generation, head);
        head.extend_from_slice(&self.run);
        head.push(b'"');
        head.extend_from_slice(source.labels);
        head.extend_from_slice(source.job);
        head.extend_from_slice(b",\"offset\":");
        self.offset_at = head.len();
        self.myriad = 0;
    }

    /// Appends `head` from byte `from` on, with the offset of the next line.
    #[inline]
    fn push_head(&mut self, offset: u64, from: usize, out: &mut Vec<u8>) {
        let mut low = offset.wrapping_sub(self.myriad);
        if self.myriad == 0 || low >= 10_000 {
            self.set_offset(offset);
            low = offset % 10_000;
        }
        out.extend_from_slice(&self.head[from..]);
        if self.myriad > 0 {
            // Most lines are close to the previous one. The digits are set in the copy, because a
            // copy of `head` would wait for bytes just written there.
            let ([thousands, hundreds], [tens, ones]) =
                (digit_pair(low / 100), digit_pair(low % 100));
            let end = out.len() - LINE_KEY.len();
            out[end - 4..end].copy_from_slice(&[thousands, hundreds, tens, ones]);
        }
    }

    #[cold]
    fn set_offset(&mut self, offset: u64) {
        self.head.truncate(self.offset_at);
        push_offset_and_key(offset, &mut self.head);
        self.myriad = offset - offset % 10_000;
    }

    fn encode_json(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        debug_assert!(self.offset_at > 0, "a record needs a source: begin comes before encode");
        // Room for a line that needs no escape: offset, keys and braces take fewer than 64 bytes.
        out.reserve(self.offset_at + line.bytes.len() + 64);
        out.extend_from_slice(&self.head[RECORD_END.len()..self.offset_at]);
        push_offset_and_key(line.offset, out);
        if !push_json_text(line.bytes, out) {
            out.extend_from_slice(b"\",\"bytes\":\"");
            push_base64(line.bytes, out);
        }
        if line.end == End::Newline {
            out.extend_from_slice(RECORD_END);
        } else {
            push_other_end(line.end == End::Return, out);
        }
    }
}

/// Appends the end of a json record that no newline ends.
#[cold]
fn push_other_end(is_segment: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if is_segment {
        b"\",\"eol\":\"\\r\"}\n"
    } else {
        b"\",\"eol\":false}\n".as_slice()
    });
}

/// Adds to the json record at the end how many lines it has, if there are several.
pub(crate) fn push_lines(count: usize, out: &mut Vec<u8>) {
    if count > 1 {
        out.truncate(out.len() - b"}\n".len());
        out.extend_from_slice(b",\"lines\":");
        push_decimal(count as u64, out);
        out.extend_from_slice(b"}\n");
    }
}

/// Appends an offset and [`LINE_KEY`].
#[inline]
fn push_offset_and_key(offset: u64, out: &mut Vec<u8>) {
    let mut offset_and_key = *b"00000000000000000000,\"line\":\"";
    let digits = offset_and_key.first_chunk_mut().expect("20 digits come first");
    let at = write_decimal(offset, digits);
    out.extend_from_slice(&offset_and_key[at..]);
}

/// Labels as they are written in records of a format. Empty if there are none, or if the format has
/// no place for them.
#[must_use]
pub(crate) fn encode_labels(format: Format, labels: &[(String, String)]) -> Vec<u8> {
    match format {
        Format::Raw | Format::Text => Vec::new(),
        Format::Json => encode_json_labels(labels),
        Format::Syslog => syslog::encode_labels(labels),
    }
}

/// The member `labels` with the comma before it.
fn encode_json_labels(labels: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        out.extend_from_slice(if out.is_empty() { b",\"labels\":{\"".as_slice() } else { b",\"" });
        push_json_text(name.as_bytes(), &mut out);
        out.extend_from_slice(b"\":\"");
        push_json_text(value.as_bytes(), &mut out);
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// Appends a field of the member `job`, of which the brace at the end comes later.
pub(crate) fn push_job_field(name: &str, value: &str, out: &mut Vec<u8>) {
    push_job_key(name, out);
    out.push(b'"');
    push_json_text(value.as_bytes(), out);
    out.push(b'"');
}

/// Appends the owner of a file as a field of the member `job`, likewise.
pub(crate) fn push_job_owner(owner: u32, out: &mut Vec<u8>) {
    push_job_key(UID, out);
    push_decimal(u64::from(owner), out);
}

fn push_job_key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(if out.is_empty() { b",\"job\":{\"".as_slice() } else { b",\"" });
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends the `file` of a record, which identifies one generation of a file: `fd01-1a2b3c-0`.
pub(crate) fn push_file(device: u64, inode: u64, generation: u32, out: &mut Vec<u8>) {
    push_hex(device, out);
    out.push(b'-');
    push_hex(inode, out);
    out.push(b'-');
    push_decimal(u64::from(generation), out);
}

#[cfg(test)]
mod tests;
