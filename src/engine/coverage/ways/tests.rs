//! What makes a way due, and when it is walked.

use super::*;

const A: WatchId = WatchId(1);
const B: WatchId = WatchId(2);

/// A way through these names, each in a directory with this watch.
fn way(steps: &[(&str, &str, WatchId)], is_directory: bool) -> Way {
    let step = |&(directory, name, watch): &(&str, &str, WatchId)| Step {
        directory: directory.as_bytes().into(),
        name: name.as_bytes().into(),
        watch: Some(watch),
    };
    let real =
        steps.last().map_or(String::new(), |(directory, name, _)| format!("{directory}/{name}"));
    Way {
        steps: steps.iter().map(step).collect(),
        base: Vec::new(),
        real: real.into_bytes(),
        inode: is_directory.then_some((1, 2)),
        is_reported: true,
    }
}

/// Two PATHs, `/a/one` and `/a/b/two`, and the state directory `/a/state`; a turn has begun.
fn ways(now: Instant) -> Ways {
    let mut ways = Ways::new();
    ways.ways = vec![
        (Some(way(&[("/a", "one", A)], true)), Due::No),
        (Some(way(&[("/a", "b", A), ("/a/b", "two", B)], true)), Due::No),
    ];
    let state = way(&[("/a", "state", A), ("/a/state", "", WatchId(3))], true);
    ways.state = Some((b"/a/state".to_vec(), Some(state), Due::No));
    ways.index();
    ways.begin_turn(now);
    ways
}

fn due(ways: &Ways) -> [Due; 3] {
    [ways.ways[0].1, ways.ways[1].1, ways.state.as_ref().unwrap().2]
}

#[test]
fn a_change_makes_those_ways_due_that_it_is_on() {
    let now = crate::sys::clock::now().instant;
    type Change = fn(&mut Ways);
    let cases: [(Change, [Due; 3]); 8] = [
        (|ways| ways.name_changed(A, b"one", Due::Names), [Due::Names, Due::No, Due::No]),
        (|ways| ways.name_changed(A, b"b", Due::Attributes), [Due::No, Due::Attributes, Due::No]),
        (|ways| ways.name_changed(B, b"two", Due::Names), [Due::No, Due::Names, Due::No]),
        (|ways| ways.name_changed(A, b"other", Due::Names), [Due::No; 3]),
        (|ways| ways.name_changed(B, b"one", Due::Names), [Due::No; 3]),
        (|ways| ways.directory_changed(A, Due::Names), [Due::Names; 3]),
        (|ways| ways.directory_changed(WatchId(9), Due::Names), [Due::No; 3]),
        (Ways::events_lost, [Due::Names; 3]),
    ];
    for (at, (change, wanted)) in cases.into_iter().enumerate() {
        let mut ways = ways(now);
        change(&mut ways);
        assert_eq!(due(&ways), wanted, "case {at}");
        let is_due = wanted != [Due::No; 3];
        assert_eq!(ways.deadline(), is_due.then_some(now + SETTLE), "case {at}");
    }
}

#[test]
fn attributes_outweigh_names_in_whatever_order_they_come() {
    let now = crate::sys::clock::now().instant;
    for order in [[Due::Names, Due::Attributes], [Due::Attributes, Due::Names]] {
        let mut ways = ways(now);
        order.into_iter().for_each(|why| ways.name_changed(A, b"one", why));
        assert_eq!(due(&ways)[0], Due::Attributes);
    }
}

#[test]
fn the_state_directory_is_looked_at_when_a_file_of_it_is_touched_and_only_once() {
    let mut ways = ways(crate::sys::clock::now().instant);
    let inside = WatchId(3);
    for (watch, name, is_doubtful) in [
        (inside, b"journal.7".as_slice(), true),
        (inside, b"lock", true),
        (inside, b"other", false),
        (A, b"lock", false),
    ] {
        ways.name_changed(watch, name, Due::Names);
        assert_eq!(ways.take_state_doubt(), is_doubtful, "{name:?}");
        assert!(!ways.take_state_doubt());
    }
}

#[test]
fn walks_come_less_often_while_changes_go_on_and_soon_again_after_a_rest() {
    let start = crate::sys::clock::now().instant;
    let mut ways = ways(start);
    let mut now = start;
    let mut waits = Vec::new();
    for _ in 0..8 {
        ways.name_changed(A, b"one", Due::Names);
        let at = ways.deadline().expect("a change was noted");
        waits.push((at - now).as_millis());
        now = at;
        assert!(ways.begin_turn(now), "the time has come");
        ways.space(now);
        (ways.due_at, ways.walked_at) = (None, Some(now));
    }
    assert_eq!(waits, [20, 100, 200, 400, 800, 1600, 2000, 2000]);
    now += CALM_AFTER + SETTLE;
    assert!(!ways.begin_turn(now), "nothing changed");
    ways.name_changed(A, b"one", Due::Names);
    assert_eq!(ways.deadline(), Some(now + SETTLE));
    ways.space(now + SETTLE);
    assert_eq!(ways.spacing, SPACING_FIRST);
}

#[test]
fn mounts_concern_ways_that_lead_through_them_and_what_is_below_their_ends() {
    let ways = ways(crate::sys::clock::now().instant);
    for (point, concerns) in [
        ("/a/b", true),
        ("/a/b/two", true),
        ("/a/b/two/deep/er", true),
        ("/a/one/x", true),
        ("/a/other", false),
        ("/a/state/x", false),
        ("/", false),
    ] {
        assert_eq!(ways.concerns(point.as_bytes()), concerns, "{point}");
    }
}
