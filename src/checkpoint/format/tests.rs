//! Tests of the journal's bytes.

use super::*;

const ID: FileId = FileId { device: 0xfd01, inode: 0x1a_2b3c, inode_generation: 0x0102_0304 };

fn entry() -> Entry {
    Entry {
        id: ID,
        generation: 7,
        offset: 0x1122_3344_5566_7788,
        mark: 0x99aa_bbcc,
        mark_len: 64,
        flags: EntryFlags::all(),
        complete_at: 1_790_000_000_123_456_789,
        absent_since: 1_790_000_000,
    }
}

fn every_item() -> Vec<Item<'static>> {
    vec![
        Item::Entry(entry(), None),
        Item::Entry(entry(), Some(b"d1/job\xff\n.log")),
        Item::Entry(Entry { mark_len: 0, flags: EntryFlags::empty(), ..entry() }, Some(b"")),
        Item::Forget(ID, u32::MAX),
        Item::Floor(16_383, 9),
        Item::Output(None),
        Item::Output(Some(OutputPoint { id: ID, len: u64::MAX, format: Format::Raw })),
        Item::Output(Some(OutputPoint { id: ID, len: 0, format: Format::Text })),
        Item::Output(Some(OutputPoint { id: ID, len: 5, format: Format::Json })),
        Item::Scanned(b"/srv/grid"),
        Item::Number(Number { this: 1 << 60, previous: 3 }),
        Item::Settled(u64::MAX),
        Item::Sequence(0),
        Item::Identity(b"manytail-node7-0badcafe"),
    ]
}

fn payload_of(items: &[Item<'_>]) -> Vec<u8> {
    let mut payload = Vec::new();
    items.iter().for_each(|item| put(item, &mut payload));
    payload
}

#[test]
fn every_item_comes_back_equal() {
    let payload = payload_of(&every_item());
    let back: Result<Vec<_>, _> = items(&payload).collect();
    assert_eq!(back.as_deref(), Ok(&every_item()[..]));
}

#[test]
fn a_payload_that_is_cut_gives_the_items_before_the_cut_and_at_most_one_error() {
    let payload = payload_of(&every_item());
    for cut in 0..payload.len() {
        let decoded: Vec<_> = items(&payload[..cut]).collect();
        let whole = decoded.iter().take_while(|item| item.is_ok()).count();
        assert!(decoded.len() - whole <= 1);
        assert!(
            decoded[..whole].iter().zip(every_item()).all(|(found, put)| *found == Ok(put)),
            "cut at {cut}"
        );
    }
}

#[test]
fn bytes_that_this_version_never_writes_are_malformed() {
    let entry = payload_of(&[Item::Entry(entry(), None)]);
    let first = |bytes: &[u8]| items(bytes).next().and_then(Result::err);
    let change = |at: usize, to: u8| {
        let mut bytes = entry.clone();
        bytes[at] = to;
        first(&bytes)
    };
    let refused = Some(Malformed { position: 0 });
    for tag in (0..=255).filter(|tag| !(1..=11).contains(tag)) {
        assert_eq!(change(0, tag), refused, "tag {tag}");
    }
    assert_eq!(change(37, 65), refused, "mark_len");
    assert_eq!(change(38, 16), refused, "flags");
    let mut output =
        payload_of(&[Item::Output(Some(OutputPoint { id: ID, len: 5, format: Format::Json }))]);
    *output.last_mut().unwrap() = 3;
    assert_eq!(first(&output), refused, "format");
    assert_eq!(first(&[4, 0x00, 0x40, 0, 0, 0, 0]), refused, "bucket");
    let second = [payload_of(&[Item::Output(None)]), vec![12]].concat();
    assert_eq!(items(&second).last(), Some(Err(Malformed { position: 1 })));
}

#[test]
fn a_path_too_long_to_store_is_stored_as_not_known() {
    let long = vec![b'a'; PATH_BYTES_MAX + 1];
    let payload = payload_of(&[
        Item::Entry(entry(), Some(&long)),
        Item::Scanned(&long),
        Item::Entry(entry(), Some(&long[1..])),
    ]);
    let back: Vec<_> = items(&payload).map(Result::unwrap).collect();
    assert_eq!(back, [Item::Entry(entry(), Some(b"")), Item::Entry(entry(), Some(&long[1..]))]);
}

#[test]
fn the_layout_is_the_one_that_is_documented() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    let header = header(0x0807_0605_0403_0201);
    assert_eq!(&header[..28], b"manytail journal\x02\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08");
    let payload = [5];
    let head = Head::encode(0x0807_0605_0403_0201, Kind::Commit, 0x0a, &payload);
    assert_eq!(&head[..17], b"\xa7\xf5\x00\x9d\x03\x01\0\0\0\x0a\0\0\0\0\0\0\0");
    let covered = [&[1, 2, 3, 4, 5, 6, 7, 8], &head[..17], &payload[..]].concat();
    assert_eq!(head[17..], crc32c::crc32c(&covered).to_le_bytes());
    let mut item = vec![1];
    item.extend(0xfd01_u64.to_le_bytes());
    item.extend(0x1a_2b3c_u64.to_le_bytes());
    item.extend(0x0102_0304_u32.to_le_bytes());
    item.extend(7_u32.to_le_bytes());
    item.extend(entry().offset.to_le_bytes());
    item.extend(0x99aa_bbcc_u32.to_le_bytes());
    item.extend([64, 15]);
    item.extend(entry().complete_at.to_le_bytes());
    item.extend(entry().absent_since.to_le_bytes());
    assert_eq!(payload_of(&[Item::Entry(entry(), None)]), item);
}

#[test]
fn a_header_is_told_from_foreign_damaged_and_newer_ones() {
    let good = header(42);
    assert_eq!(parse_header(&good), Ok((42, VERSION)));
    assert_eq!(parse_header(b""), Err(HeaderError::Foreign));
    assert_eq!(parse_header(&[0; 64]), Err(HeaderError::Foreign));
    assert_eq!(parse_header(&good[..31]), Err(HeaderError::Damaged));
    for at in 16..HEADER_BYTES {
        let mut bytes = good;
        bytes[at] ^= 0x10;
        assert_eq!(parse_header(&bytes), Err(HeaderError::Damaged), "byte {at}");
    }
    let of_version = |version: u8| {
        let mut other = good;
        other[16] = version;
        let crc = crc32c::crc32c(&other[..28]);
        other[28..].copy_from_slice(&crc.to_le_bytes());
        parse_header(&other)
    };
    assert_eq!(of_version(1), Ok((42, 1)), "an older one is read");
    assert_eq!(
        (of_version(0), of_version(3)),
        (Err(HeaderError::Version(0)), Err(HeaderError::Version(3)))
    );
}

#[test]
fn a_head_comes_back_and_no_changed_bit_of_it_passes() {
    let payload = b"payload";
    let bytes = Head::encode(42, Kind::LastPart, 3, payload);
    let passes = |bytes: &[u8; HEAD_BYTES], salt| {
        Head::parse(bytes)
            .is_some_and(|head| crc32c::crc32c_append(head.checksum(salt), payload) == head.crc)
    };
    assert!(passes(&bytes, 42));
    assert!(!passes(&bytes, 43));
    for bit in 0..HEAD_BYTES * 8 {
        let mut changed = bytes;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!passes(&changed, 42), "bit {bit}");
    }
}

#[test]
fn the_bucket_of_an_inode_is_the_one_of_version_1() {
    let known = |device, inode| generation_bucket(FileId { device, inode, inode_generation: 1 });
    assert_eq!(
        (known(0, 0), known(0, 1), known(0xfd01, 12)),
        (0, 10_125, generation_bucket(FileId { device: 0xfd01, inode: 12, inode_generation: 2 }))
    );
    assert!((0..100_000).all(|inode| usize::from(known(0xfd01, inode)) < GENERATION_BUCKETS));
}
