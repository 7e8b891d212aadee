//! Batches and positions: what is offered again, what counts as acknowledged, when there is room.

use std::time::{Duration, Instant};

use super::FakeSink;
use crate::checkpoint::EntryFlags;
use crate::config::Format;
use crate::engine::namespace::registry::{Registry, SlotKey};
use crate::engine::namespace::tree::DirId;
use crate::engine::output::batch::Reached;
use crate::engine::output::outbox::Outbox;
use crate::engine::schedule::lag::Stamp;
use crate::sys::clock;

fn now() -> Instant {
    clock::now().instant
}

fn keys(count: u8) -> Vec<SlotKey> {
    let mut files = Registry::new();
    let ids: Vec<_> = (0..count).map(|n| files.insert(DirId(0), &[n])).collect();
    ids.into_iter().map(|id| files.key(id)).collect()
}

/// Encodes records of a file that was at `offset`.
fn put(outbox: &mut Outbox<FakeSink>, file: SlotKey, offset: u64, records: &str, is_plain: bool) {
    outbox.bytes().extend_from_slice(records.as_bytes());
    let reached = Reached {
        file,
        generation: 0,
        offset: offset + records.len() as u64,
        mark: 0,
        mark_len: 0,
        flags: EntryFlags::empty(),
        read_at: 7,
    };
    outbox.note(reached, offset, is_plain, Stamp::default());
}

/// An outbox with one batch in flight for each of `batches`. Each batch has the records of one
/// file, which are as long as they are in the file.
fn in_flight(sink: FakeSink, batches: &[&str]) -> Outbox<FakeSink> {
    let (mut outbox, keys) = (Outbox::new(sink), keys(8));
    for (records, &key) in batches.iter().zip(&keys) {
        put(&mut outbox, key, 0, records, true);
        outbox.send(now()).unwrap();
    }
    outbox
}

fn acked(outbox: &mut Outbox<FakeSink>) -> Vec<u64> {
    let mut offsets = Vec::new();
    outbox.collect_acks(|reached, _| offsets.push(reached.offset));
    offsets
}

#[test]
fn a_lost_receiver_gets_all_it_did_not_acknowledge_from_the_start_of_a_record() {
    let batches = ["aa\n", "b\nccc\n", "d\n"];
    let stream = batches.concat();
    for (unacknowledged, again_from) in
        [(0, 11), (1, 9), (2, 9), (3, 5), (6, 5), (7, 3), (8, 3), (9, 0), (11, 0), (99, 0)]
    {
        let mut outbox = in_flight(FakeSink::new(), &batches);
        assert_eq!(outbox.taken(), stream.len() as u64);
        outbox.sink_mut().restart = Some(unacknowledged);
        // The first call finds the loss.
        outbox.set_ready(now());
        outbox.send(now()).unwrap();
        outbox.send(now()).unwrap();
        let again = &outbox.sink().taken[stream.len()..];
        assert_eq!(again, &stream.as_bytes()[again_from..], "{unacknowledged} were lost");
        let taken = (stream.len() + again.len()) as u64;
        assert_eq!(outbox.taken(), taken, "what was taken again is something to commit");
        assert_eq!(acked(&mut outbox), [3, 6, 2], "each file is acknowledged once");
        assert!(outbox.is_empty());
    }
}

#[test]
fn a_file_that_moved_on_without_a_record_is_acknowledged_behind_what_is_on_its_way() {
    let mut sink = FakeSink::new();
    sink.unacknowledged = 3;
    let (mut outbox, keys) = (in_flight(sink, &["aa\n"]), keys(3));
    let moved = |file: SlotKey, offset: u64| {
        let flags = EntryFlags::empty();
        Reached { file, generation: 0, offset, mark: 0, mark_len: 0, flags, read_at: 0 }
    };
    outbox.note_moved(moved(keys[1], 50), 10, Stamp::default());
    outbox.note_moved(moved(keys[1], 70), 50, Stamp::default());
    assert!(acked(&mut outbox).is_empty() && outbox.holds(keys[1]));
    // Behind a record that is not on its way yet.
    put(&mut outbox, keys[2], 0, "b\n", true);
    outbox.note_moved(moved(keys[2], 9), 2, Stamp::default());
    outbox.sink_mut().unacknowledged = 0;
    assert_eq!(acked(&mut outbox), [3, 70]);
    outbox.send(now()).unwrap();
    assert_eq!((acked(&mut outbox), outbox.is_empty()), (vec![9], true));
}

#[test]
fn a_span_is_acknowledged_once_it_is_acknowledged_whole() {
    for (unacknowledged, expected, is_empty) in [
        (0, &[3, 6, 2][..], true),
        (1, &[3, 6], false),
        (2, &[3, 6], false),
        (3, &[3], false),
        (8, &[3], false),
        (9, &[], false),
        (11, &[], false),
    ] {
        let mut outbox = in_flight(FakeSink::new(), &["aa\n", "b\nccc\n", "d\n"]);
        outbox.sink_mut().unacknowledged = unacknowledged;
        assert_eq!(acked(&mut outbox), expected, "{unacknowledged}");
        assert!(acked(&mut outbox).is_empty(), "none is acknowledged twice");
        assert_eq!(outbox.is_empty(), is_empty);
        outbox.sink_mut().unacknowledged = 0;
        let rest = [3, 6, 2].len() - expected.len();
        assert_eq!(acked(&mut outbox).len(), rest);
        assert!(outbox.is_empty() && outbox.unacknowledged_bytes() == 0);
    }
}

#[test]
fn of_a_span_that_was_taken_in_part_the_whole_records_count() {
    for (format, is_plain, room, expected) in [
        (Format::Raw, true, 1, None),
        (Format::Raw, true, 2, Some(2)),
        (Format::Raw, true, 4, Some(2)),
        (Format::Raw, true, 5, Some(5)),
        // Pieces of a line look like lines.
        (Format::Raw, false, 5, None),
        // These are no json records.
        (Format::Json, true, 5, None),
    ] {
        let (mut outbox, keys) = (Outbox::new(FakeSink { room, ..FakeSink::new() }), keys(1));
        put(&mut outbox, keys[0], 100, "a\nbb\ncc\n", is_plain);
        outbox.send(now()).unwrap();
        assert_eq!(outbox.taken(), room as u64);
        let reached = outbox.acknowledge_part(format);
        assert_eq!(reached.map(|reached| reached.offset), expected.map(|end| 100 + end));
        assert!(
            reached.is_none_or(|reached| reached.read_at == 0),
            "the file was not read to its end there"
        );
        let len = outbox.point(format).stored.expect("a file").len;
        assert_eq!(len, expected.unwrap_or(0), "the output counts up to the same record");
    }
}

#[test]
fn what_a_file_gives_back_is_offered_again() {
    for (gives_back, unsent) in [(true, 6), (false, 3)] {
        let sink = FakeSink { room: 6, gives_back, ..FakeSink::new() };
        let mut outbox = in_flight(sink, &["aa\n", "b\nccc\n"]);
        assert_eq!(acked(&mut outbox), [3]);
        outbox.withdraw();
        assert_eq!((outbox.sink().withdrawn, outbox.unsent()), (3, unsent));
        assert_eq!(outbox.point(Format::Raw).stored.unwrap().len, 3, "less what is not whole");
        assert_eq!(outbox.is_at_boundary(), gives_back, "`c` was in the middle of a record");
    }
    let mut outbox = in_flight(FakeSink { gives_back: true, ..FakeSink::new() }, &["aa\n"]);
    acked(&mut outbox);
    outbox.withdraw();
    assert_eq!(outbox.sink().withdrawn, 0, "there is nothing to give back");
}

#[test]
fn backlog_leaves_room_for_new_lines_while_the_output_is_blocked() {
    for (waiting, is_blocked, has_room, has_room_for_backlog) in [
        (0, false, true, true),
        (0, true, true, true),
        (99, false, true, true),
        (99, true, true, true),
        (100, false, true, true),
        (100, true, true, false),
        (1_599, true, true, false),
        (1_600, false, false, false),
        (1_600, true, false, false),
    ] {
        let mut outbox = Outbox::new(FakeSink::new());
        outbox.limit(1_600);
        if is_blocked {
            outbox.block(now());
        }
        outbox.bytes().resize(waiting, b'x');
        let room = (outbox.has_room(), outbox.has_room_for_backlog());
        assert_eq!(room, (has_room, has_room_for_backlog), "{waiting} wait, {is_blocked}");
        assert_eq!((outbox.blocks(false), outbox.blocks(true)), (!room.0, !room.1));
        assert_eq!((outbox.unsent(), outbox.len_max()), (waiting as u64, 1_600));
    }
}

#[test]
fn the_limit_holds_for_bytes_in_flight_and_those_that_are_being_filled() {
    let mut outbox = in_flight(FakeSink { unacknowledged: 6, ..FakeSink::new() }, &["aaaaa\n"]);
    outbox.limit(10);
    assert_eq!((outbox.len_max(), outbox.has_room()), (4, true));
    outbox.bytes().extend_from_slice(b"bbb\n");
    assert!(!outbox.has_room());
    acked(&mut outbox);
    assert!(!outbox.has_room(), "nothing was acknowledged");
    outbox.sink_mut().unacknowledged = 0;
    acked(&mut outbox);
    assert!(outbox.has_room());
    outbox.limit(0);
    assert_eq!(outbox.len_max(), 1, "one record fits always");
}

#[test]
fn parts_that_follow_each_other_in_one_file_are_one_span() {
    let keys = keys(2);
    for (second, offset, spans) in
        [(keys[0], 2, &[4][..]), (keys[0], 3, &[2, 5]), (keys[1], 2, &[2, 4])]
    {
        let mut outbox = Outbox::new(FakeSink::new());
        put(&mut outbox, keys[0], 0, "a\n", true);
        put(&mut outbox, second, offset, "b\n", true);
        assert!(outbox.holds(keys[0]) && outbox.holds(second));
        outbox.send(now()).unwrap();
        assert_eq!(acked(&mut outbox), spans, "{offset}");
        assert!(!outbox.holds(keys[0]));
    }
}

#[test]
fn while_the_output_is_blocked_records_join_the_batch_that_is_being_filled() {
    let (mut outbox, keys) = (Outbox::new(FakeSink { room: 1, ..FakeSink::new() }), keys(1));
    let start = now();
    put(&mut outbox, keys[0], 0, "a\n", true);
    outbox.send(start).unwrap();
    assert_eq!((outbox.blocked(start), outbox.is_at_boundary()), (Some(Duration::ZERO), false));
    put(&mut outbox, keys[0], 2, "b\n", true);
    outbox.send(start + Duration::from_secs(3)).unwrap();
    assert_eq!(outbox.sink().taken, b"a", "a blocked sink is offered nothing");
    assert!(!outbox.bytes().is_empty(), "the batch is not sealed");
    outbox.sink_mut().room = usize::MAX;
    let later = start + Duration::from_secs(4);
    outbox.set_ready(later);
    outbox.send(later).unwrap();
    assert_eq!(outbox.sink().taken, b"a\nb\n");
    assert!(outbox.bytes().is_empty());
    assert_eq!(outbox.blocked(later), None);
    assert_eq!(outbox.blocked_in_all(later), Duration::from_secs(4));
}

#[test]
fn a_held_outbox_offers_nothing_and_a_closed_one_ends() {
    let (mut outbox, keys) = (Outbox::new(FakeSink::new()), keys(1));
    put(&mut outbox, keys[0], 0, "a\n", true);
    outbox.hold(true);
    outbox.send(now()).unwrap();
    assert!(outbox.sink().taken.is_empty() && !outbox.awaits_acks());
    outbox.hold(false);
    outbox.sink_mut().is_closed = true;
    outbox.send(now()).unwrap();
    assert!(outbox.is_closed() && !outbox.is_empty());
}
