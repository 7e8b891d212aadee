//! A million inputs to each decoder of bytes from outside: the journal, the kernel's events, and
//! the requests of HTTP clients. The inputs come from a seed, and a failure names its input.
//! `scripts/fuzz` goes further.

use manytail::testing::checkpoint::format::{
    FRAME_MAGIC, HEAD_BYTES, HEADER_BYTES, Head, Item, Kind, header, put,
};
use manytail::testing::checkpoint::journal::decode;
use manytail::testing::checkpoint::state::StoredOffsets;
use manytail::testing::checkpoint::{Entry, EntryFlags, OutputPoint};
use manytail::testing::config::Format;
use manytail::testing::daemon::http;
use manytail::testing::sink::Number;
use manytail::testing::sys::inotify::{Events, RawEvent, encode};
use manytail::testing::sys::{FileId, WatchId};

const INPUTS: u64 = 1_000_000;

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled",
/// 2016).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }

    /// A random range within `len`.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.below(len + 1), self.below(len + 1));
        one.min(other)..one.max(other)
    }
}

/// Changes bytes as disks, tools and people do.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    match random.below(8) {
        0 | 1 => {
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
        2 => bytes.truncate(random.below(bytes.len() + 1)),
        3 => bytes.extend_from_within(random.range(bytes.len())),
        4 => {
            let range = random.range(bytes.len());
            bytes[range].fill(0);
        }
        5 => drop(bytes.drain(random.range(bytes.len()))),
        6 => {
            let (at, len) = (random.below(bytes.len() + 1), random.below(40));
            bytes.splice(at..at, random.bytes(len));
        }
        _ => {
            let part = bytes[random.range(bytes.len())].to_vec();
            let at = random.below(bytes.len() + 1);
            bytes.splice(at..at, part);
        }
    }
}

fn item<'a>(random: &mut Random, path: &'a [u8]) -> Item<'a> {
    let id = FileId { device: 0xfd01, inode: random.below(6) as u64, inode_generation: 1 };
    let flags = EntryFlags::from_bits_truncate(random.next() as u8);
    let (mark_len, generation) = (random.below(65) as u8, random.below(9) as u32);
    let entry = Entry {
        id,
        generation,
        offset: random.next(),
        mark: 7,
        mark_len,
        flags,
        complete_at: random.next(),
        absent_since: 0,
    };
    match random.below(12) {
        8 => Item::Number(Number { this: random.next() >> 1, previous: random.below(3) as u64 }),
        9 => Item::Settled(random.below(3) as u64),
        10 => Item::Sequence(random.next()),
        11 => Item::Identity(b"manytail-a-1"),
        0 => Item::Forget(id, generation),
        1 => Item::Floor(random.below(1 << 14) as u16, generation),
        2 => Item::Output(Some(OutputPoint { id, len: random.next(), format: Format::Json })),
        // One PATH: with several, equal states may list them in another order.
        3 => Item::Scanned(b"/srv"),
        4 | 5 => Item::Entry(entry, None),
        _ => Item::Entry(entry, Some(path)),
    }
}

fn payload_of(random: &mut Random) -> Vec<u8> {
    let mut payload = Vec::new();
    for _ in 0..random.below(4) {
        let len = random.below(20);
        let path = random.bytes(len);
        put(&item(random, &path), &mut payload);
    }
    payload
}

fn push_frame(salt: u64, kind: Kind, sequence: u64, payload: &[u8], journal: &mut Vec<u8>) {
    journal.extend_from_slice(&Head::encode(salt, kind, sequence, payload));
    journal.extend_from_slice(payload);
}

/// A good journal, and its content after each number of frames.
struct Sample {
    salt: u64,
    bytes: Vec<u8>,
    said: Vec<Vec<u8>>,
}

fn said(state: &StoredOffsets) -> Vec<u8> {
    let mut said = Vec::new();
    state.items().for_each(|item| put(&item, &mut said));
    said
}

fn sample(seed: u64) -> Sample {
    let mut random = Random::new(seed);
    let salt = random.next();
    let mut bytes = header(salt).to_vec();
    let mut state = StoredOffsets::default();
    let mut said_after = vec![said(&state)];
    let parts = 1 + random.below(3) as u64;
    for sequence in 1..=parts + random.below(5) as u64 {
        let payload = payload_of(&mut random);
        let kind = if sequence < parts {
            Kind::Part
        } else if sequence == parts {
            Kind::LastPart
        } else {
            Kind::Commit
        };
        push_frame(salt, kind, sequence, &payload, &mut bytes);
        state.take_frame(&payload).unwrap();
        said_after.push(said(&state));
    }
    Sample { salt, bytes, said: said_after }
}

/// Checks that the result is an error, or the journal's content after some number of its frames.
fn check_prefix(sample: &Sample, bytes: &[u8], input: u64) -> bool {
    let Ok((state, extent)) = decode(bytes) else { return false };
    assert_eq!(said(&state), sample.said[extent.frames as usize], "input {input}");
    assert_eq!(
        (extent.salt, extent.bytes + extent.torn_bytes),
        (sample.salt, bytes.len() as u64),
        "input {input}"
    );
    true
}

#[test]
fn a_million_changed_journals_give_a_prefix_of_what_was_said_or_an_error() {
    let samples: Vec<Sample> = (0..64).map(sample).collect();
    for (sample, input) in samples.iter().zip(0..) {
        assert!(check_prefix(sample, &sample.bytes, input));
    }
    let (mut bytes, mut good) = (Vec::new(), 0);
    for input in 0..INPUTS {
        let mut random = Random::new(input);
        let sample = &samples[random.below(samples.len())];
        bytes.clear();
        bytes.extend_from_slice(&sample.bytes);
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        good += u64::from(check_prefix(sample, &bytes, input));
    }
    assert!((INPUTS / 100..INPUTS / 2).contains(&good), "{good} were good: both cases are tried");
}

#[test]
fn a_million_times_random_bytes_in_good_and_bad_frames_give_a_state_or_an_error() {
    let mut good = 0;
    for input in 0..INPUTS {
        let mut random = Random::new(!input);
        let mut bytes = if random.below(8) == 0 { Vec::new() } else { header(input).to_vec() };
        for sequence in 1..=random.below(4) as u64 {
            let len = random.below(60);
            let payload = random.bytes(len);
            match random.below(4) {
                0 => bytes.extend(payload),
                1 => bytes.extend([&FRAME_MAGIC[..], &payload].concat()),
                2 => push_frame(
                    input,
                    Kind::LastPart,
                    sequence,
                    &payload_of(&mut random),
                    &mut bytes,
                ),
                _ => push_frame(input, Kind::Commit, sequence, &payload, &mut bytes),
            }
        }
        if let Ok((_, extent)) = decode(&bytes) {
            assert_eq!(extent.bytes + extent.torn_bytes, bytes.len() as u64, "input {input}");
            assert!(extent.bytes >= (HEADER_BYTES + HEAD_BYTES) as u64, "input {input}");
            good += 1;
        }
    }
    assert!(good > INPUTS / 20, "{good} were good: both cases are tried");
}

#[test]
fn a_million_changed_event_buffers_give_events_within_the_buffer() {
    let mut bytes = Vec::new();
    for input in 0..INPUTS {
        let mut random = Random::new(input ^ 0x5555);
        bytes.clear();
        for _ in 0..random.below(4) {
            let len = random.below(24);
            let name: Vec<u8> = random.bytes(len).into_iter().filter(|byte| *byte != 0).collect();
            let (watch, mask, cookie) =
                (WatchId(random.below(9) as i32), random.next() as u32, random.next() as u32);
            encode(&RawEvent { watch, mask, cookie, name: &name }, &mut bytes);
        }
        if random.below(8) > 0 {
            mutate(&mut bytes, &mut random);
        }
        let mut taken = 0;
        for event in Events::new(&bytes) {
            taken += 16 + event.name.len();
            assert!(!event.name.contains(&0), "input {input}");
        }
        assert!(taken <= bytes.len(), "input {input}");
    }
}

#[test]
fn a_million_changed_requests_give_a_request_a_refusal_or_not_yet() {
    let samples: [&[u8]; 4] = [
        b"GET /metrics HTTP/1.1\r\nHost: node:9107\r\nAccept: \
            text/plain;version=0.0.4\r\nAccept-Encoding: gzip\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"GET /file?path=%2Fsrv%2Fjob7.log HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://node/metrics?a=b HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ];
    let (mut bytes, mut kinds) = (Vec::new(), [0_u64; 3]);
    for input in 0..INPUTS {
        let mut random = Random::new(input ^ 0xaaaa);
        bytes.clear();
        bytes.extend_from_slice(samples[random.below(samples.len())]);
        for _ in 0..random.below(4) {
            mutate(&mut bytes, &mut random);
        }
        match http::parse(&bytes) {
            http::Head::Partial => {
                assert!(bytes.len() < http::HEAD_BYTES_MAX, "input {input}");
                kinds[0] += 1;
            }
            http::Head::Refused(code) => {
                assert!([400, 405, 431, 505].contains(&code), "input {input}");
                kinds[1] += 1;
            }
            http::Head::Request(request) => {
                assert!(request.path.len() + request.query.len() < bytes.len(), "input {input}");
                assert!(!request.path.contains('?'), "input {input}");
                kinds[2] += 1;
            }
        }
    }
    assert!(kinds.iter().all(|&kind| kind > INPUTS / 20), "all three are tried: {kinds:?}");
}
