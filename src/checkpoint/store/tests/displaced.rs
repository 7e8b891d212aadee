//! A store whose directory, lock or journal was removed or replaced while it was open.

use super::*;

/// A store with three commits, and its directory.
fn committed() -> (Store<Memory>, Memory) {
    let memory = Memory::new();
    let (mut store, _) = Store::open(memory.clone()).unwrap();
    store.begin(&commit(1)).unwrap();
    store.complete(&commit(2)).unwrap();
    store.append(&commit(3)).unwrap();
    assert!(store.check().is_ok());
    (store, memory)
}

#[test]
fn a_commit_into_a_journal_without_a_name_fails_and_the_next_journal_has_one() {
    type Displace = fn(&Memory);
    let displace: [(Displace, Displaced); 4] = [
        (|memory| memory.displace(None), Displaced::Directory),
        (Memory::unlock, Displaced::Lock),
        (|memory| memory.lose("journal.1"), Displaced::Journal),
        (|memory| memory.put("journal.1", Some(b"something else")), Displaced::Journal),
    ];
    for (displace, wanted) in displace {
        let (mut store, memory) = committed();
        displace(&memory);
        assert!(
            matches!(store.append(&commit(4)), Err(CommitError::Displaced(what)) if what == wanted),
            "{wanted}"
        );
        assert!(!store.is_appendable() && store.take_anew().is_none());
        store.begin(&commit(1)).unwrap();
        assert!(!store.is_appendable(), "the old one is not appended to meanwhile");
        (2..4).for_each(|number| store.extend(&commit(number)).unwrap());
        store.complete(&commit(4)).unwrap();
        assert!(store.is_appendable() && store.check().is_ok());
        let anew = store.take_anew().expect("it came into its place again");
        let is_foreign = memory.names().contains(&"journal.1.aside".to_owned());
        assert_eq!(
            anew.aside,
            if is_foreign { vec!["journal.1.aside".to_owned()] } else { Vec::new() }
        );
        let (_, state) = Store::open(memory.copied()).unwrap();
        assert_eq!(said(&state), said(&state_after(4)), "{wanted}");
    }
}

#[test]
fn a_journal_that_is_not_ours_is_kept_under_another_name_and_its_number_is_not_used() {
    let (mut store, memory) = committed();
    let theirs = Memory::new();
    theirs.put("journal.7", Some(b"theirs"));
    theirs.put("journal.7.aside", Some(b"older"));
    memory.displace(Some(&theirs));
    assert!(store.check().is_err());
    store.begin(&commit(1)).unwrap();
    store.complete(&commit(2)).unwrap();
    assert_eq!(
        store.take_anew().map(|anew| anew.aside),
        Some(vec!["journal.7.aside.2".to_owned()])
    );
    assert_eq!(memory.names(), ["journal.7.aside", "journal.7.aside.2", "journal.8"]);
    assert_eq!(memory.bytes_of("journal.7.aside.2"), b"theirs");
}

#[test]
fn a_place_that_another_process_has_is_left_alone_until_it_is_free() {
    let (mut store, memory) = committed();
    memory.displace(None);
    memory.get_mut().is_other_locked = true;
    assert!(store.check().is_err());
    assert!(matches!(store.begin(&commit(1)), Err(CommitError::Anew(_))));
    assert!(matches!(store.begin(&commit(1)), Err(CommitError::Anew(_))) && !store.is_appendable());
    memory.get_mut().is_other_locked = false;
    store.begin(&commit(1)).unwrap();
    store.complete(&commit(2)).unwrap();
    assert!(store.is_appendable());
}
