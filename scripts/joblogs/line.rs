//! Writes and parses a line of a job.
//!
//! `<job> <seq> <sent> <state> <payload> #<sum>`: the job's name (`job0012345`), the line's number
//! within the job (from 1, across rotations), the time of writing (nanoseconds since 1970), the
//! job's state, its message, and a checksum of six hex digits. A canary is a line that begins with
//! `canary `: it tests whether a follower is awake and is not counted.

use crate::random::mix;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a job's name in its lines: `job` and seven digits.
pub(crate) const NAME_BYTES: usize = 10;
/// The shortest line that `--bytes` and `--line-bytes` may ask for, with its newline: two 20-digit
/// numbers, a state and the sum.
pub(crate) const LINE_BYTES_MIN: usize = 80;

const SUM_BYTES: usize = " #".len() + 6;

/// The content of a whole line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) job: u32,
    pub(crate) seq: u32,
    pub(crate) sent_ns: u64,
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Appends a whole line and its newline to `out`, filled up to `line_bytes` (with the newline) if
/// it is shorter.
pub(crate) fn write(out: &mut Vec<u8>, line: Line, line_bytes: usize) {
    let start = out.len();
    out.extend_from_slice(b"job");
    padded(out, u64::from(line.job), NAME_BYTES - 3);
    out.push(b' ');
    number(out, u64::from(line.seq));
    out.push(b' ');
    number(out, line.sent_ns);
    out.push(b' ');
    story(out, line);
    let missing = line_bytes.saturating_sub(out.len() - start + SUM_BYTES + 1);
    if missing > 0 {
        out.push(b' ');
        out.resize(out.len() + missing - 1, b'x');
    }
    let sum = sum(&out[start..]);
    out.extend_from_slice(b" #");
    for shift in [20, 16, 12, 8, 4, 0] {
        out.push(b"0123456789abcdef"[(sum >> shift) as usize & 15]);
    }
    out.push(b'\n');
}

/// Parses `bytes` (without newline), if they are exactly one whole line.
pub(crate) fn parse(bytes: &[u8]) -> Option<Line> {
    let (body, tail) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
    let digits = tail.strip_prefix(b" #")?;
    let mut given = 0;
    for digit in digits {
        given = given << 4 | (*digit as char).to_digit(16)?;
    }
    if given != sum(body) {
        return None;
    }
    let rest = body.strip_prefix(b"job")?;
    let (job, rest) = take_number(rest)?;
    let (seq, rest) = take_number(rest)?;
    let (sent_ns, _) = take_number(rest)?;
    Some(Line { job: u32::try_from(job).ok()?, seq: u32::try_from(seq).ok()?, sent_ns })
}

/// When a line was written, without checking whether it is whole.
pub(crate) fn sent_ns(bytes: &[u8]) -> Option<u64> {
    let (_, rest) = take_number(bytes.get(NAME_BYTES + 1..)?)?;
    Some(take_number(rest)?.0)
}

pub(crate) fn is_canary(bytes: &[u8]) -> bool {
    bytes.starts_with(b"canary ")
}

/// The state of a job at its line `seq`: PENDING, RUNNING, progress, and DONE or FAILED; then it is
/// queued again.
fn story(out: &mut Vec<u8>, line: Line) {
    let luck = mix(u64::from(line.job) + 1);
    let life = 5 + (luck % 60);
    let step = (u64::from(line.seq) + life - 1) % life;
    let node = luck >> 32 & 0xFFF;
    if step == 0 {
        out.extend_from_slice(b"PENDING queue=batch priority=");
        number(out, luck >> 20 & 1023);
    } else if step == 1 {
        out.extend_from_slice(b"RUNNING started host=node");
        padded(out, node, 4);
        out.extend_from_slice(b" slots=");
        number(out, 1 + (luck >> 44 & 15));
    } else if step < life - 1 {
        out.extend_from_slice(b"RUNNING host=node");
        padded(out, node, 4);
        out.extend_from_slice(b" progress=");
        number(out, step * 100 / life);
        out.extend_from_slice(b"% rss=");
        number(out, 64 + (luck >> 8 ^ step) % 16_000);
        out.extend_from_slice(b"MiB step=");
        number(out, step);
    } else if luck >> 60 == 0 {
        out.extend_from_slice(b"FAILED exit=1 signal=0 reason=application wall=");
        number(out, life * 30);
        out.push(b's');
    } else {
        out.extend_from_slice(b"DONE exit=0 wall=");
        number(out, life * 30);
        out.push(b's');
    }
}

/// 24 bits that change when any byte does.
fn sum(bytes: &[u8]) -> u32 {
    let mut hash = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        hash = fold(hash, u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    (fold(hash, u64::from_le_bytes(last)) >> 40) as u32
}

fn fold(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
    (product >> 64) as u64 ^ product as u64
}

fn number(out: &mut Vec<u8>, value: u64) {
    padded(out, value, 1);
}

fn padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

/// The number at the start of `bytes`, up to a blank, and the bytes after the blank.
fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b' ' if at > 0 => return Some((value, &bytes[at + 1..])),
            _ => return None,
        }
    }
    None
}
