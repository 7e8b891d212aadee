//! The encoders: lines of 100 bytes with different contents, and the part that is encoded once per
//! read.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use manytail::testing::config::Format;
use manytail::testing::lines::{End, Line};
use manytail::testing::record::{Encoder, Source};

use crate::Case;
use crate::callgrind::{Units, only_this_is_counted};

/// Lines, or reads, of each case.
const COUNT: usize = 20_000;

/// Lines after which the buffer is emptied, as a batch is.
const LINES_PER_BATCH: usize = 500;

const PLAIN: &[u8] = b"2026-11-22T10:00:00 job 4711 RUNNING on node 17, step 3 of 128, loss \
    0.2718, all is well so far, go on";
const QUOTED: &[u8] =
    b"{\"level\":\"info\",\"job\":\"4711\",\"node\":\"17\"}\t\x1b[32mRUNNING\x1b[0m C:\\jobs\\4711 \
        \"step 3 of 128\" all is wel";
const UTF8: &str = "2026-11-22T10:00:00 Auftrag 4711 läuft auf Knoten 17, Schritt 3 von 128, \
    größter Fehler 0,27 — 進行中";
const INVALID: &[u8] =
    b"2026-11-22T10:00:00 Auftrag 4711 l\xe4uft auf Knoten 17, Schritt 3 von 128, gr\xf6\xdfter \
        Fehler 0,2718, Ende";

/// raw and text copy a line whatever it contains.
pub(crate) const CASES: [Case; 12] = [
    Case { name: "encode-raw-plain", run: || encode(Format::Raw, PLAIN) },
    Case { name: "encode-text-plain", run: || encode(Format::Text, PLAIN) },
    Case { name: "encode-json-plain", run: || encode(Format::Json, PLAIN) },
    Case { name: "encode-json-plain-20", run: || encode(Format::Json, &PLAIN[..20]) },
    Case { name: "encode-json-plain-1900", run: || encode(Format::Json, &PLAIN[..100].repeat(19)) },
    Case { name: "encode-json-quoted", run: || encode(Format::Json, QUOTED) },
    Case { name: "encode-json-utf8", run: || encode(Format::Json, UTF8.as_bytes()) },
    Case { name: "encode-json-invalid", run: || encode(Format::Json, INVALID) },
    Case { name: "begin-text", run: || begin(Format::Text, b"/jobs/d042/job0042042.log") },
    Case { name: "begin-json", run: || begin(Format::Json, b"/jobs/d042/job0042042.log") },
    Case {
        name: "begin-text-invalid",
        run: || begin(Format::Text, b"/jobs/d042/l\xe4uft\n42042.log"),
    },
    Case {
        name: "begin-json-invalid",
        run: || begin(Format::Json, b"/jobs/d042/l\xe4uft\n42042.log"),
    },
];

fn source(path: &[u8]) -> Source<'_> {
    let read_at = SystemTime::UNIX_EPOCH + Duration::new(1_795_341_600, 123_456_789);
    Source { path, device: 0xfd01, inode: 0x1a_2b3c, generation: 0, labels: b"", job: b"", read_at }
}

fn encode(format: Format, bytes: &[u8]) -> Units {
    let mut encoder = Encoder::new(format);
    encoder.begin(&source(b"/jobs/d042/job0042042.log"));
    let mut out = Vec::with_capacity(LINES_PER_BATCH * (2 * bytes.len() + 512));
    only_this_is_counted(&mut || {
        for at in 0..COUNT {
            if at % LINES_PER_BATCH == 0 {
                out.clear();
            }
            encoder.encode(
                &Line { bytes: black_box(bytes), offset: 1_000_000 + at as u64, end: End::Newline },
                &mut out,
            );
        }
    });
    black_box(&out);
    Units::new("line", COUNT)
}

/// A read begins within the same second as the previous one.
fn begin(format: Format, path: &[u8]) -> Units {
    let mut encoder = Encoder::new(format);
    encoder.begin(&source(path));
    only_this_is_counted(&mut || {
        for _ in 0..COUNT {
            encoder.begin(black_box(&source(path)));
        }
    });
    black_box(&encoder);
    Units::new("read", COUNT)
}
