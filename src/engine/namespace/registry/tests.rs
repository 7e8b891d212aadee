//! What the registry has to keep: names, identities, generations, directories.

use super::*;

const DIR: DirId = DirId(0);

fn file(inode: u64, inode_generation: u32) -> FileId {
    FileId { device: 0xfd01, inode, inode_generation }
}

#[test]
fn a_renamed_file_is_found_under_its_new_name_only() {
    let mut files = Registry::new();
    let id = files.insert(DIR, b"a.log");
    files.identify(id, file(7, 1), 0);
    files.unbind(id);
    assert_eq!(files.find(DIR, b"a.log"), None);
    files.bind(id, DirId(3), b"a.log.1");
    assert_eq!(files.find(DirId(3), b"a.log.1"), Some(id));
    assert_eq!(files.find_id(file(7, 1)), Some(id));
    assert_eq!(files.in_dir(DirId(3)).collect::<Vec<_>>(), [id]);
    assert_eq!(files.in_dir(DIR).count(), 0);
}

#[test]
fn every_file_that_left_and_had_the_inode_of_a_new_one_is_found_until_it_is_forgotten() {
    let mut files = Registry::new();
    let mut left: Vec<SlotId> = (1..=3)
        .map(|inode_generation| {
            let id = files.insert(DIR, format!("{inode_generation}.log").as_bytes());
            files.identify(id, file(7, inode_generation), 0);
            files.unbind(id);
            files.set_life(id, Life::Parked);
            id
        })
        .collect();
    let new = files.insert(DIR, b"new.log");
    files.identify(new, file(7, 4), 0);
    while let Some(former) = files.find_former(file(7, 4)) {
        left.retain(|&id| id != former);
        files.free(former);
    }
    assert_eq!((left, files.len(), files.find_id(file(7, 4))), (vec![], 1, Some(new)));
}

#[test]
fn a_reused_inode_never_has_an_generation_twice() {
    let mut files = Registry::new();
    let mut last = None;
    for inode_generation in 0..100 {
        let id = files.insert(DIR, b"a.log");
        files.identify(id, file(7, inode_generation), 0);
        let generation = files.get(id).generation;
        assert!(last.is_none_or(|last| generation > last));
        last = Some(generation);
        files.unbind(id);
        files.free(id);
    }
    assert_eq!(files.len(), 0);
}

#[test]
fn a_new_life_of_an_inode_has_another_generation_though_the_old_one_is_not_let_go_yet() {
    let mut files = Registry::new();
    let (old, new) = (files.insert(DIR, b"old"), files.insert(DIR, b"new"));
    files.identify(old, file(7, 1), 0);
    files.identify(new, file(7, 2), 0);
    assert!(files.get(new).generation > files.get(old).generation);
}

#[test]
fn a_key_of_a_freed_slot_is_dead_though_the_slot_is_used_again() {
    let mut files = Registry::new();
    let id = files.insert(DIR, b"a");
    let key = files.key(id);
    files.unbind(id);
    files.free(id);
    assert_eq!(files.insert(DIR, b"b"), id);
    assert_eq!(files.alive(key), None);
}

#[test]
fn slots_and_names_do_not_grow_with_files_that_came_and_went() {
    let mut files = Registry::new();
    for round in 0..50 {
        let ids: Vec<SlotId> =
            (0..100).map(|n| files.insert(DIR, format!("job{n}-{round}.log").as_bytes())).collect();
        for id in ids {
            files.unbind(id);
            files.free(id);
        }
    }
    assert_eq!((files.slots.len(), files.len(), files.by_name.len()), (100, 0, 0));
}

#[test]
fn a_hard_link_is_found_by_either_name() {
    let mut files = Registry::new();
    let id = files.insert(DIR, b"a");
    files.add_alias(id, DIR, b"b");
    assert_eq!(files.find(DIR, b"b"), Some(id));
    assert_eq!(files.take_alias(id), Some((DIR, b"b".as_slice().into())));
    assert_eq!(files.find(DIR, b"b"), None);
}
