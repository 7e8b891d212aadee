//! Each transition of a file between the queues, as a table.

use std::time::Duration;

use super::*;
use crate::engine::namespace::registry::Life;
use crate::engine::namespace::tree::{DirId, Role};

/// What happens to the file.
#[derive(Debug, Clone, Copy)]
enum Step {
    Dirty,
    Unread,
    DropUnread,
    Enqueue,
    /// It comes out of its queue, and is not read.
    Unqueue,
    /// It comes out of its queue, and is read.
    BeginRead,
    GoOn,
    GoOnFirst,
    ReachedEnd,
    Cool,
    EndCooling,
    HoldBack(HeldBack),
    Release(HeldBack),
    StopHoldingBack(HeldBack),
    EndByAge,
    ReleaseSuccessor,
    LoseTurn,
    Doubt,
    EndDoubt,
    Retry,
    BeginRetry,
}

use HeldBack::{ByAge as OfAge, Predecessor, Store};
use Step::*;

fn take(schedule: &mut Schedule, files: &mut Registry, step: Step, id: SlotId, now: Instant) {
    let mut tree = Tree::new(None);
    let dir = tree.add_root(b"/t/", Role::Listed);
    assert_eq!(dir, files.get(id).dir());
    match step {
        Dirty => schedule.mark_dirty(files, &tree, id),
        Unread => schedule.mark_unread(files, id),
        DropUnread => schedule.drop_unread(files, id),
        Enqueue => schedule.enqueue(files, &tree, id),
        Unqueue => {
            assert!(schedule.unread.pop(true).is_some(), "it is queued");
            Schedule::unqueue(files, id);
        }
        BeginRead => {
            assert!(schedule.unread.pop(true).is_some(), "it is queued");
            Schedule::begin_read(files, id);
        }
        GoOn => schedule.go_on(files, &tree, id),
        GoOnFirst => schedule.go_on_first(files, &tree, id),
        ReachedEnd => Schedule::reached_end(files, id),
        Cool => schedule.cool(files, id, Duration::from_secs(1), now),
        EndCooling => schedule.end_cooling(files, &tree, id),
        HoldBack(why) => Schedule::hold_back(files, id, why),
        Release(why) => schedule.release(files, &tree, id, why),
        StopHoldingBack(why) => Schedule::stop_holding_back(files, id, why),
        EndByAge => Schedule::end_by_age(files, id),
        ReleaseSuccessor => schedule.release_successor(files, &tree, id),
        LoseTurn => Schedule::lose_turn(files, id),
        Doubt => schedule.doubt(files, &tree, id),
        EndDoubt => Schedule::end_doubt(files, id),
        Retry => schedule.retry(files, id, now),
        BeginRetry => schedule.begin_retry(files, &tree, id),
    }
}

const QUEUED: State = State::DIRTY.union(State::QUEUED);
const COOLING_DIRTY: State = State::COOLING.union(State::DIRTY);

/// Steps, the bits of the schedule after them, and why the file is queued, if it is.
const TABLE: &[(&[Step], State, Option<Because>)] = &[
    (&[], State::empty(), None),
    (&[Dirty], QUEUED, Some(Because::Changed)),
    (&[Dirty, Dirty, Enqueue], QUEUED, Some(Because::Changed)),
    (&[Unread], State::DIRTY, None),
    (&[Unread, Enqueue], QUEUED, Some(Because::Changed)),
    (&[Unread, DropUnread, Enqueue], State::empty(), None),
    (&[Dirty, Unqueue], State::DIRTY, None),
    (&[Dirty, Unqueue, Enqueue], QUEUED, Some(Because::Changed)),
    (&[Dirty, BeginRead], State::empty(), None),
    (&[Dirty, BeginRead, Dirty], QUEUED, Some(Because::Changed)),
    (&[Dirty, BeginRead, GoOn], QUEUED.union(State::HAS_MORE), Some(Because::HasMore)),
    (&[Dirty, BeginRead, GoOnFirst], QUEUED, Some(Because::Changed)),
    (&[Dirty, BeginRead, GoOn, BeginRead], State::HAS_MORE, None),
    (&[Dirty, BeginRead, GoOn, BeginRead, ReachedEnd], State::empty(), None),
    // It cools down.
    (&[Dirty, BeginRead, Cool], State::COOLING, None),
    (&[Cool, Dirty], COOLING_DIRTY, None),
    (&[Cool, Dirty, Enqueue], COOLING_DIRTY, None),
    (&[Cool, Unread], COOLING_DIRTY, None),
    (&[Cool, Unread, Unread], COOLING_DIRTY, None),
    (&[Cool, Unread, DropUnread], State::COOLING, None),
    (&[Cool, DropUnread], State::COOLING, None),
    (&[Cool, EndCooling], State::empty(), None),
    (&[Cool, Dirty, EndCooling], QUEUED, Some(Because::Changed)),
    (&[Cool, EndCooling, Dirty], QUEUED, Some(Because::Changed)),
    (&[Dirty, Cool], QUEUED.union(State::COOLING), Some(Because::Changed)),
    (&[Dirty, Cool, EndCooling], QUEUED, Some(Because::Changed)),
    (&[Dirty, EndCooling], QUEUED, Some(Because::Changed)),
    // Something else has to happen first.
    (&[HoldBack(Store), Dirty], State::UNSTORED.union(State::DIRTY), None),
    (&[HoldBack(Store), Release(Store)], State::empty(), None),
    (&[HoldBack(Store), Dirty, Release(Store)], QUEUED, Some(Because::Changed)),
    (&[HoldBack(Store), Dirty, StopHoldingBack(Store)], State::DIRTY, None),
    (
        &[HoldBack(Store), HoldBack(Predecessor), Dirty, Release(Store)],
        State::AWAITS_PREDECESSOR.union(State::DIRTY),
        None,
    ),
    (&[Cool, HoldBack(Store), Dirty, EndCooling], State::UNSTORED.union(State::DIRTY), None),
    (&[Cool, HoldBack(Store), Dirty, Release(Store)], COOLING_DIRTY, None),
    // By age.
    (&[HoldBack(OfAge), Dirty], State::BY_AGE.union(State::DIRTY), None),
    (&[HoldBack(OfAge), Dirty, EndByAge], State::BACKLOG.union(State::DIRTY), None),
    (
        &[HoldBack(OfAge), Dirty, EndByAge, Enqueue],
        QUEUED.union(State::BACKLOG),
        Some(Because::Backlog),
    ),
    (
        &[HoldBack(OfAge), Dirty, EndByAge, Enqueue, BeginRead, GoOn],
        QUEUED.union(State::BACKLOG).union(State::HAS_MORE),
        Some(Because::Backlog),
    ),
    (&[HoldBack(OfAge), Dirty, EndByAge, Enqueue, BeginRead, ReachedEnd], State::empty(), None),
    // It waits for its predecessor.
    (
        &[HoldBack(Predecessor), Dirty, ReleaseSuccessor],
        QUEUED.union(State::RELEASED),
        Some(Because::Changed),
    ),
    (&[HoldBack(Predecessor), Dirty, ReleaseSuccessor, BeginRead], State::empty(), None),
    (&[HoldBack(Predecessor), ReleaseSuccessor, LoseTurn], State::empty(), None),
    (&[HoldBack(Predecessor), Dirty, Release(Predecessor)], QUEUED, Some(Because::Changed)),
    // It is in doubt.
    (&[Doubt, Dirty], State::DOUBT.union(State::DIRTY), None),
    (&[Doubt, Dirty, EndDoubt], State::DIRTY, None),
    (&[Doubt, Dirty, EndDoubt, Enqueue], QUEUED, Some(Because::Changed)),
    (&[Retry], State::RETRY, None),
    (&[Retry, Dirty], QUEUED.union(State::RETRY), Some(Because::Changed)),
    (&[Retry, BeginRetry], State::DOUBT, None),
    (&[Retry, Unread, BeginRetry, Enqueue], State::DOUBT.union(State::DIRTY), None),
];

#[test]
fn a_file_with_unread_bytes_is_queued_once_and_for_the_right_reason_unless_something_keeps_it() {
    for (steps, state, because) in TABLE {
        let (mut files, now) = (Registry::new(), crate::sys::clock::now().instant);
        let mut schedule = Schedule::new(now);
        let id = files.insert(DirId(0), b"x");
        files.set_life(id, Life::Following);
        for &step in *steps {
            take(&mut schedule, &mut files, step, id, now);
        }
        assert_eq!(files.get(id).state() & State::SCHEDULED, *state, "{steps:?}");
        let is_cooling_dirty = state.contains(State::COOLING | State::DIRTY);
        assert_eq!(schedule.cooling_dirty, usize::from(is_cooling_dirty), "{steps:?}");
        let is_doubted = !schedule.doubts.is_empty();
        assert_eq!(is_doubted, steps.iter().any(|step| matches!(step, Doubt | BeginRetry)));
        assert_eq!(schedule.unread.pop(true).map(|(_, because)| because), *because, "{steps:?}");
        assert!(schedule.unread.is_empty(), "{steps:?}: queued twice");
    }
}

#[test]
fn files_cool_down_in_the_order_of_their_ends_and_for_no_longer_than_a_new_limit() {
    let (mut files, start) = (Registry::new(), crate::sys::clock::now().instant);
    let mut schedule = Schedule::new(start);
    let ids = [b"a", b"b", b"c"].map(|name| files.insert(DirId(0), name));
    let at = |second| start + Duration::from_secs(second);
    for (id, seconds) in ids.into_iter().zip([3, 1, 5]) {
        schedule.cool(&mut files, id, Duration::from_secs(seconds), start);
    }
    assert_eq!(schedule.take_cooled(at(2)), None, "the second one waits for the first");
    assert_eq!(schedule.take_cooled(at(3)), Some(files.key(ids[0])));
    assert_eq!(schedule.take_cooled(at(3)), Some(files.key(ids[1])));
    assert_eq!(schedule.take_cooled(at(3)), None);
    schedule.cool_for_at_most(Duration::from_secs(1), at(3));
    assert_eq!(schedule.take_cooled(at(4)), Some(files.key(ids[2])));
    assert_eq!(schedule.deadline(), None);
}

/// A file that is followed below a PATH, of which something unfinished was read.
fn with_an_unfinished_line() -> (Registry, Tree, Schedule, SlotId, Instant) {
    let (mut files, start) = (Registry::new(), crate::sys::clock::now().instant);
    let (schedule, mut tree) = (Schedule::new(start), Tree::new(None));
    tree.add_root(b"/t/", Role::Listed);
    let id = files.insert(DirId(0), b"x");
    files.set_life(id, Life::Following);
    files.get_mut(id).scanned = 7;
    (files, tree, schedule, id, start)
}

#[test]
fn an_unfinished_line_is_a_piece_once_it_did_not_grow_for_the_time_set() {
    let (mut files, tree, mut schedule, id, start) = with_an_unfinished_line();
    let (key, after) = (files.key(id), Some(Duration::from_secs(2)));
    let at = |second| start + Duration::from_secs(second);
    let line = |after| (Unfinished::Line, after);
    schedule.time_piece(&mut files, id, line(None), start);
    assert!(!schedule.is_timed(id), "pieces are never due");
    schedule.time_piece(&mut files, id, line(after), at(0));
    schedule.time_piece(&mut files, id, line(after), at(1));
    assert_eq!(schedule.deadlines.pop_due(at(2)), Some((at(2), Task::DeliverPiece(key))));
    schedule.deliver_piece(&mut files, &tree, key, after, at(2));
    assert!(schedule.is_timed(id) && schedule.unread.is_empty(), "it grew after one second");
    assert_eq!(schedule.deadlines.pop_due(at(3)), Some((at(3), Task::DeliverPiece(key))));
    schedule.deliver_piece(&mut files, &tree, key, after, at(3));
    assert!(!schedule.is_timed(id) && files.get(id).state().contains(State::FLUSH));
    assert_eq!(schedule.unread.len(), 1);
}

#[test]
fn an_open_record_falls_due_by_its_own_time_also_behind_a_longer_one_of_a_line() {
    let (mut files, tree, mut schedule, id, start) = with_an_unfinished_line();
    let (key, second) = (files.key(id), |count| Some(Duration::from_secs(count)));
    let at = |second| start + Duration::from_secs(second);
    schedule.time_piece(&mut files, id, (Unfinished::Line, second(30)), at(0));
    schedule.time_piece(&mut files, id, (Unfinished::Record, second(1)), at(2));
    schedule.time_piece(&mut files, id, (Unfinished::Line, second(30)), at(3));
    assert_eq!(schedule.deadlines.pop_due(at(3)), Some((at(3), Task::DeliverPiece(key))));
    assert_eq!(schedule.unfinished(id), Some((Unfinished::Line, at(3))));
    schedule.deliver_piece(&mut files, &tree, key, second(30), at(3));
    assert!(schedule.unread.is_empty(), "the line has 30 seconds");
    // The entry of the first line finds that another one is there.
    assert_eq!(schedule.deadlines.pop_due(at(30)), Some((at(30), Task::DeliverPiece(key))));
    schedule.deliver_piece(&mut files, &tree, key, second(30), at(30));
    assert_eq!((schedule.deadlines.next(), schedule.unread.len()), (Some(at(33)), 0));
    schedule.time_piece(&mut files, id, (Unfinished::Record, None), at(31));
    assert!(!schedule.is_timed(id) && !files.get(id).state().contains(State::TIMED));
    schedule.end_open_record(&mut files, &tree, id);
    assert_eq!(schedule.unread.len(), 1, "a successor does not wait for it for ever");
}

#[test]
fn a_file_without_a_name_is_judged_at_its_last_time_and_after_a_deletion_once_all_is_calm() {
    let (mut files, start) = (Registry::new(), crate::sys::clock::now().instant);
    let mut schedule = Schedule::new(start);
    let at = |millis| start + Duration::from_millis(millis);
    let ids = [b"moved", b"gone!", b"cover", b"other"].map(|name| files.insert(DirId(0), name));
    let [moved, deleted, covered, other] = ids.map(|id| files.key(id));
    schedule.judge_at(moved, at(20));
    schedule.judge_at(moved, at(50));
    assert!(!schedule.begin_judging(&files, moved, at(20), at(20)), "it left again since");
    assert!(schedule.begin_judging(&files, moved, at(50), at(50)));
    schedule.end_absence(&files, moved.id);
    assert!(!schedule.begin_judging(&files, moved, at(50), at(50)), "it has a name again");
    // A deletion waits for what is in doubt, but not for ever.
    schedule.await_judgement(deleted, at(0));
    assert_eq!(schedule.take_deleted(false, at(999)), None);
    assert_eq!(schedule.take_deleted(false, at(1_000)), Some(deleted));
    schedule.await_judgement(deleted, at(0));
    assert_eq!(schedule.take_deleted(true, at(1)), Some(deleted));
    // What a rename covered is judged later; what was deleted before it is not.
    schedule.await_judgement(other, at(0));
    schedule.judge_covered_at(covered, at(20));
    assert!(!schedule.is_judged_at(covered.id, at(20)), "it was not deleted");
    schedule.await_judgement(covered, at(0));
    schedule.judge_covered_at(covered, at(20));
    assert!(schedule.is_judged_at(covered.id, at(20)));
    assert_eq!(schedule.deleted().collect::<Vec<_>>(), [other]);
    // It moved, and was deleted before its time came.
    files.get_mut(covered.id).set(State::DELETED);
    assert!(!schedule.begin_judging(&files, covered, at(20), at(20)));
    assert_eq!(schedule.deleted().collect::<Vec<_>>(), [other, covered]);
}
